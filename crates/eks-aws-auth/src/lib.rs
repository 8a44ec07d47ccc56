#![doc = include_str!("../README.md")]

mod decide;
mod document;
mod entries;
mod gostr;
mod hygiene;
mod listing;
mod manifest;
mod principal;
mod template;
mod yaml;

pub use decide::{
    Alternative, Cluster, Decision, Existence, Outcome, PassedOver, PassedOverBecause, Settings, Source,
    SourceKind, decide, outcomes,
};
pub use document::{
    Account, AwsAuth, Dropped, Loss, MapKey, Mapping, Mistake, Problem, Severity, SsoMatcher,
};
pub use entries::{AccessEntry, AccessScope, AssociatedPolicy, AuthenticationMode, EntryType};
pub use listing::{Listed, State, list_all};
pub use manifest::{MAX_MANIFEST_BYTES, Manifest, ManifestError};
pub use principal::{Caller, IdentityError, PrincipalKind};

/// The webhook with which clusters since about June 2023 check aws-auth when it is saved (comments on
/// kubernetes-sigs/aws-iam-authenticator#607). Its rules are not published, so its presence proves nothing about what is
/// stored: it changes what can be saved, and says nothing of what was saved before.
pub const VALIDATION_WEBHOOK: &str = "eks-aws-auth-configmap-validation-webhook";

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
