//! The checks: pure functions from facts to findings, and the one registry of them.
//!
//! A new check is one `static` beside its function, in the file of its group, and one line in [`REGISTRY`]; `explain`,
//! the README's table and SARIF's rules come from there. Ids are kebab-case and never reused.

pub mod can_install;
pub mod controller;
pub mod failures;
pub mod fargate;
pub mod helm_access;
pub mod hygiene;
pub mod karpenter;
pub mod masters_trust;
pub mod node_current;
pub mod node_mapping;
pub mod quota;
pub mod spot_role;
pub mod target;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::facts::Facts;
use crate::observed::{Fact, Unknown};

/// Every check, in the order of the report.
pub static REGISTRY: &[&Check] = &[
    &target::CLUSTER_FOUND,
    &target::ENDPOINT_MATCHES,
    &target::SAME_ACCOUNT,
    &target::CLUSTER_MATCHES_CHART,
    &spot_role::SPOT_ROLE_EXISTS,
    &spot_role::SPOT_ROLE_INTACT,
    &spot_role::SPOT_ROLE_CREATABLE,
    &quota::SPOT_QUOTA,
    &node_mapping::AWS_AUTH_PARSES,
    &node_mapping::NODE_ROLE_KNOWN,
    &node_mapping::NODE_ROLE_MAPPED,
    &node_current::NODE_ROLE_CURRENT,
    &fargate::FARGATE_ROLE_MAPPED,
    &hygiene::AWS_AUTH_HYGIENE,
    &helm_access::CALLER_MAPPED,
    &can_install::CAN_INSTALL,
    &masters_trust::MASTERS_TRUST,
    &karpenter::POOLS_WANT_SPOT,
    &controller::CONTROLLER_IDENTITY,
    &failures::SPOT_FAILURES_SEEN,
    &failures::NODE_REGISTRATION,
];

/// A check: what it is, and how it judges.
pub struct Check {
    /// Kebab-case, never reused.
    pub id: &'static str,
    /// Its group.
    pub group: Group,
    /// A few words.
    pub title: &'static str,
    /// What it looks at, why it matters, how to mend it; for `explain`.
    pub explanation: &'static str,
    /// The documentation to read on.
    pub docs: &'static str,
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

/// The status of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Good, and it was read.
    Pass,
    /// It will work, or may, but somebody should look.
    Warn,
    /// It will not work.
    Fail,
    /// It could not be read.
    Unknown,
    /// It was not judged, for the reason in the message.
    Skip,
}

impl Status {
    /// The word in a report.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Unknown => "unknown",
            Self::Skip => "skip",
        }
    }
}

/// What a check says that `--skip` named.
pub(crate) const SWITCHED_OFF: &str = "switched off by --skip";

/// Why a check was skipped; only the first kind leaves the verdict alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// There is nothing to judge here.
    NotApplicable,
    /// What it rests on is gone (no such cluster, wrong account): it must not count as good.
    GroundLost,
    /// `--skip`.
    SwitchedOff,
}

/// What to do about a finding.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Remedy {
    /// In words.
    pub text: String,
    /// Commands that can be pasted.
    pub commands: Vec<String>,
}

/// What a check makes of the facts.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The status.
    pub status: Status,
    /// Why it was skipped, when it was.
    pub skip: Option<Skip>,
    /// Names the things found; one or a few sentences.
    pub message: String,
    /// The values behind it.
    pub evidence: Map<String, Value>,
    /// What to do.
    pub remedy: Option<Remedy>,
    /// Why it could not be read, when it could not; a report says the same reason once.
    pub reason: Option<String>,
    /// The calls it rests on, with what they told.
    pub sources: Vec<(String, String)>,
}

impl Judgement {
    fn new(status: Status, message: impl Into<String>) -> Self {
        Self {
            status,
            skip: None,
            message: message.into(),
            evidence: Map::new(),
            remedy: None,
            reason: None,
            sources: Vec::new(),
        }
    }

    /// Good.
    pub fn pass(message: impl Into<String>) -> Self {
        Self::new(Status::Pass, message)
    }

    /// Somebody should look.
    pub fn warn(message: impl Into<String>) -> Self {
        Self::new(Status::Warn, message)
    }

    /// It will not work.
    pub fn fail(message: impl Into<String>) -> Self {
        Self::new(Status::Fail, message)
    }

    /// Not judged, and nothing is missing by that.
    pub fn skip(message: impl Into<String>) -> Self {
        Self {
            skip: Some(Skip::NotApplicable),
            ..Self::new(Status::Skip, message)
        }
    }

    /// Not judged because what it rests on is gone.
    pub fn ground_lost(message: impl Into<String>) -> Self {
        Self {
            skip: Some(Skip::GroundLost),
            ..Self::new(Status::Skip, message)
        }
    }

    /// It could not be read: names the denied action or verb and the smallest grant that lifts it.
    pub fn unknown(what: &str, unknown: &Unknown) -> Self {
        let mut judgement = Self::new(Status::Unknown, format!("{what} could not be read: {unknown}"));
        judgement.reason = Some(unknown.to_string());
        if let Some(grant) = &unknown.grant {
            judgement = judgement
                .evidence("denied", grant.action())
                .evidence("grant", grant.statement())
                .remedy(
                    crate::policy_print::grant_remedy(grant),
                    crate::policy_print::grant_commands(grant),
                );
        }
        judgement
    }

    /// It can't be told, for a reason of its own.
    pub fn undecided(message: impl Into<String>) -> Self {
        Self::new(Status::Unknown, message)
    }

    /// Adds a value.
    pub fn evidence(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.evidence.insert(key.to_owned(), value.into());
        self
    }

    /// Says what to do.
    pub fn remedy<C: Into<String>>(
        mut self,
        text: impl Into<String>,
        commands: impl IntoIterator<Item = C>,
    ) -> Self {
        self.remedy = Some(Remedy {
            text: text.into(),
            commands: commands.into_iter().map(Into::into).collect(),
        });
        self
    }

    /// Names the call it rests on.
    pub fn from<T>(mut self, fact: &Fact<T>) -> Self {
        use crate::observed::Observed;
        let told = match &fact.observed {
            Observed::Known(_) => "found".to_owned(),
            Observed::Absent => "absent".to_owned(),
            Observed::Unknown(unknown) => unknown.to_string(),
        };
        if !self.sources.iter().any(|(call, _)| *call == fact.call) {
            self.sources.push((fact.call.clone(), told));
        }
        self
    }
}

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
    let nearest = ids.map(|id| (distance(name, id), id)).min();
    let list = "kubectl capt-spot explain lists them";
    match nearest {
        Some((distance, id)) if distance <= 3 => format!("{id} is the nearest; {list}"),
        _ => list.to_owned(),
    }
}

/// How many letters must be put in, taken out or changed to make one of the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    // No id is longer, and what is typed may be.
    if a.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (above, y) in row.iter().skip(1).zip(b.chars()) {
            left = (above + 1).min(left + 1).min(corner + usize::from(x != y));
            corner = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
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
    if let Some((credentials, cluster)) = target::account_mismatch(facts) {
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
    (!target::serves(&cluster.status))
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
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn ids_are_unique_kebab_case_and_documented() {
        let mut seen = std::collections::BTreeSet::new();
        for check in REGISTRY {
            assert!(seen.insert(check.id), "{} is there twice", check.id);
            assert!(
                check.id.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'),
                "{}",
                check.id
            );
            assert!(check.docs.starts_with("https://"), "{}", check.id);
            assert!(check.explanation.len() > 80, "{} says too little", check.id);
            assert!(!check.title.is_empty());
        }
    }
}
