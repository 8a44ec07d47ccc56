//! The program as a user runs it.

mod authenticator_oracle;
mod bad_input;
mod capt_live;
mod completeness;
mod create_role;
mod credentials;
mod e2e;
mod e2e_authenticator;
mod e2e_create_role;
mod e2e_kubeconfig;
mod e2e_outage;
mod e2e_rbac;
mod formats;
mod helm;
mod karpenter;
mod masters;
mod node_mapping;
mod policy;
mod preflight;
mod pty;
mod readme;
mod support;
mod template;
mod testbed;
mod trust;
mod whois;
