//! The program as a user runs it.

mod bad_input;
mod capt_live;
mod completeness;
mod create_role;
mod e2e;
mod e2e_authenticator;
mod e2e_create_role;
mod e2e_karpenter;
mod e2e_outage;
mod e2e_rbac;
mod formats;
mod helm;
mod karpenter;
mod masters;
mod node_mapping;
mod nodepool_oracle;
mod policy;
mod preflight;
mod pty;
mod readme;
mod recorded_karpenter;
mod support;
mod template;
mod testbed;
mod trust;
mod whois;
