//go:build !linux

package main

import (
	"errors"
	"os/exec"
)

func dieWithParent(*exec.Cmd) {}

func startIsolated(*exec.Cmd) error { return errors.ErrUnsupported }

func loopbackUp() error { return errors.ErrUnsupported }
