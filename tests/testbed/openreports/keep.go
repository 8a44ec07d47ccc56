// Package openreports keeps the module with the definitions of OpenReports' kinds in go.sum; nothing is built from it.
package openreports

import _ "github.com/openreports/reports-api/apis/openreports.io/v1alpha1"
