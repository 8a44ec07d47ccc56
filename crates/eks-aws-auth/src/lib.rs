//! Who the cluster takes a principal for, decided exactly as EKS does; pure.
//!
//! [`AwsAuth::parse`] takes in the ConfigMap's `data` ([`Manifest::read`] gets it from a file), [`Caller`] is who asks,
//! [`AccessEntry`] and [`AuthenticationMode`] come from the EKS API, and [`decide`] puts them together: mode, entries, then
//! aws-auth. [`judge_node_role`] asks on behalf of a node role's instances and knows the remedies; [`list_all`] shows every
//! principal, those that are hidden too.
//!
//! What is right here is what the authenticator does, odd or not. Where the rules come from is said beside each; the golden
//! cases (`tests/golden`) and the differential test against the authenticator's own code
//! (`tests/it/authenticator_oracle.rs`) hold them.

mod decide;
mod document;
mod entries;
mod gostr;
mod hygiene;
mod listing;
mod manifest;
mod node;
mod principal;
mod render;
mod template;
mod yaml;

pub use decide::*;
pub use document::*;
pub use entries::*;
pub use listing::*;
pub use manifest::*;
pub use node::*;
pub use principal::*;
pub use render::*;

/// The webhook with which clusters since about June 2023 check aws-auth when it is saved (comments on
/// kubernetes-sigs/aws-iam-authenticator#607). Its rules are not published, so its presence proves nothing about what is
/// stored: it changes what can be saved, and says nothing of what was saved before.
pub const VALIDATION_WEBHOOK: &str = "eks-aws-auth-configmap-validation-webhook";

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
