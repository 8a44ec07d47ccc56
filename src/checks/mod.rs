//! The checks: pure functions from facts to findings, and the one registry of them.
//!
//! A new check is one file with a `static` and its function, its page in docs/checks/, and one line in [`REGISTRY`] and in [`pages`]. Ids are kebab-case and never reused.

pub(crate) mod aws_auth_hygiene;
pub(crate) mod aws_auth_parses;
pub(crate) mod caller_mapped;
pub(crate) mod can_install;
pub(crate) mod cluster_found;
pub(crate) mod cluster_matches_chart;
pub(crate) mod controller_identity;
pub(crate) mod controller_may_launch;
pub(crate) mod controller_running;
pub(crate) mod endpoint_matches;
pub(crate) mod fargate_role_mapped;
pub(crate) mod interruption_queue;
pub(crate) mod karpenter;
pub(crate) mod mapping_fix;
pub(crate) mod masters_trust;
pub(crate) mod node_mapping;
pub(crate) mod node_registration;
pub(crate) mod node_role_current;
pub(crate) mod node_role_known;
pub(crate) mod node_role_mapped;
pub(crate) mod node_verdict;
pub(crate) mod pages;
mod parts;
pub(crate) mod pools_ready;
pub(crate) mod pools_want_spot;
pub(crate) mod same_account;
pub(crate) mod spot_failures_seen;
pub(crate) mod spot_kms_grant;
pub(crate) mod spot_quota;
pub(crate) mod spot_role;
pub(crate) mod spot_role_creatable;
pub(crate) mod spot_role_exists;
pub(crate) mod spot_role_intact;
#[cfg(test)]
pub(crate) mod testing;

use serde::{Deserialize, Serialize};

use crate::facts::Facts;
pub use crate::model::{Judgement, Remedy, Skip, Status};

/// Every check, in the order of the report.
pub static REGISTRY: &[&Check] = &[
    &cluster_found::CLUSTER_FOUND,
    &endpoint_matches::ENDPOINT_MATCHES,
    &same_account::SAME_ACCOUNT,
    &cluster_matches_chart::CLUSTER_MATCHES_CHART,
    &spot_role_exists::SPOT_ROLE_EXISTS,
    &spot_role_intact::SPOT_ROLE_INTACT,
    &spot_role_creatable::SPOT_ROLE_CREATABLE,
    &spot_quota::CHECK,
    &spot_kms_grant::CHECK,
    &aws_auth_parses::AWS_AUTH_PARSES,
    &node_role_known::NODE_ROLE_KNOWN,
    &node_role_mapped::NODE_ROLE_MAPPED,
    &node_role_current::NODE_ROLE_CURRENT,
    &fargate_role_mapped::FARGATE_ROLE_MAPPED,
    &aws_auth_hygiene::AWS_AUTH_HYGIENE,
    &caller_mapped::CALLER_MAPPED,
    &can_install::CAN_INSTALL,
    &masters_trust::MASTERS_TRUST,
    &pools_want_spot::CHECK,
    &pools_ready::CHECK,
    &controller_running::CHECK,
    &controller_identity::CONTROLLER_IDENTITY,
    &controller_may_launch::CHECK,
    &interruption_queue::CHECK,
    &spot_failures_seen::CHECK,
    &node_registration::CHECK,
];

/// A check: what it is, and how it judges.
pub struct Check {
    /// Kebab-case, never reused.
    pub id: &'static str,
    /// Its group.
    pub group: Group,
    /// What a pass says, in a few words; the first paragraph of its page.
    pub title: &'static str,
    /// Whether the verdict needs it, given the facts.
    pub needed: fn(&Facts) -> bool,
    /// The judgement.
    pub judge: fn(&Facts) -> Judgement,
}

/// A group of checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// Which cluster and account.
    Target,
    /// The service-linked role.
    SpotRole,
    /// Whether nodes may join.
    NodeMapping,
    /// Whether the caller may install.
    HelmAccess,
    /// Karpenter's own objects and traces.
    Karpenter,
}

impl Group {
    /// All groups, in the order of the report.
    pub const ALL: [Self; 5] = [
        Self::Target,
        Self::SpotRole,
        Self::NodeMapping,
        Self::HelmAccess,
        Self::Karpenter,
    ];

    /// The id, as `--only` and `--skip` take it.
    pub fn id(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::SpotRole => "spot-role",
            Self::NodeMapping => "node-mapping",
            Self::HelmAccess => "helm-access",
            Self::Karpenter => "karpenter",
        }
    }

    /// The heading in a report.
    pub fn title(self) -> &'static str {
        match self {
            Self::Target => "Target",
            Self::SpotRole => "EC2 Spot service-linked role",
            Self::NodeMapping => "Nodes may join",
            Self::HelmAccess => "You may install",
            Self::Karpenter => "Karpenter",
        }
    }
}

/// What a check says that `--skip` named.
pub(crate) const SWITCHED_OFF: &str = "switched off by --skip";

/// The check of that id.
pub fn find(id: &str) -> Option<&'static Check> {
    REGISTRY.iter().copied().find(|check| check.id == id)
}

/// What to do about a name that is neither a check nor a group: the one that was meant, if it is near, and where all are.
pub fn instead_of(name: &str) -> String {
    let ids = REGISTRY
        .iter()
        .map(|check| check.id)
        .chain(Group::ALL.iter().map(|group| group.id()));
    // No id is longer, and what is typed may be.
    let nearest = ids
        .filter(|_| name.len() <= 64)
        .map(|id| (strsim::levenshtein(name, id), id))
        .min();
    let list = "kubectl capt-spot explain lists them";
    match nearest {
        Some((distance, id)) if distance <= 3 => format!("{id} is the nearest; {list}"),
        _ => list.to_owned(),
    }
}

/// Always needed for the verdict.
pub(crate) fn always(_: &Facts) -> bool {
    true
}

/// Never needed for the verdict.
pub(crate) fn never(_: &Facts) -> bool {
    false
}

/// What the facts about the account and the cluster rest on; when it is gone, the reason.
///
/// One cause is reported once: the check that found it fails, everything that rests on it is skipped with this reason.
pub fn lost_ground(facts: &Facts) -> Option<String> {
    if let Some((credentials, cluster)) = same_account::account_mismatch(facts) {
        return Some(format!(
            "the credentials are of account {credentials}, the cluster is in account {cluster}: see same-account"
        ));
    }
    if facts.cluster.observed.is_absent() {
        return Some("the cluster was not found: see cluster-found".to_owned());
    }
    None
}

/// The same, for checks that ask the cluster itself: also a cluster that is not there yet or no more.
pub fn lost_cluster(facts: &Facts) -> Option<String> {
    if let Some(reason) = lost_ground(facts) {
        return Some(reason);
    }
    let cluster = facts.cluster.known()?;
    (!cluster_found::serves(&cluster.status))
        .then(|| format!("the cluster is {}: see cluster-found", cluster.status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_told_from_nonsense() {
        for (typed, meant) in [
            ("spot-role-exist", Some("spot-role-exists")),
            ("spot-rolle", Some("spot-role")),
            ("node_role_mapped", Some("node-role-mapped")),
            ("karpentr", Some("karpenter")),
            ("nonsense", None),
            ("", None),
            (&"x".repeat(100_000), None),
        ] {
            let said = instead_of(typed);
            let want = meant.map(|id| format!("{id} is the nearest"));
            assert_eq!(
                said.split("; ").next().filter(|_| said.contains("; ")),
                want.as_deref(),
                "{typed:.20}"
            );
            assert!(said.contains("explain lists them"));
        }
    }

    #[test]
    fn ids_are_unique_and_kebab_case() {
        let mut seen = std::collections::BTreeSet::new();
        for check in REGISTRY {
            assert!(seen.insert(check.id), "{} is there twice", check.id);
            assert!(
                check.id.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'),
                "{}",
                check.id
            );
            assert!(!check.title.is_empty());
        }
    }
}
