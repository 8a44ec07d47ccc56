//! Does the cluster authenticate the instances of a role as nodes? Pure.
//!
//! What a node must be called and which groups it needs: EKS user guide, "Apply the aws-auth ConfigMap", "Windows" and
//! "Pod execution IAM role"; types of access entries: "Create access entries".

use eks_aws_auth::{
    Caller, Cluster, Decision, EntryType, Existence, Loss, MapKey, Mistake, Outcome, PassedOver,
    PassedOverBecause, Problem, Severity, Source, SourceKind, decide,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::model::{Observed, Role};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeKind {
    /// EC2 instances with Linux or Bottlerocket.
    Linux,
    /// EC2 instances with Windows.
    Windows,
    /// Pods on Fargate: the profile's pod execution role.
    Fargate,
}

impl NodeKind {
    /// The username, as a template, that such a node must get.
    pub(crate) fn username(self) -> &'static str {
        match self {
            Self::Linux | Self::Windows => "system:node:{{EC2PrivateDNSName}}",
            Self::Fargate => "system:node:{{SessionName}}",
        }
    }

    /// The groups an aws-auth entry gives such a node.
    pub(crate) fn groups(self) -> &'static [&'static str] {
        match self {
            Self::Linux => &["system:bootstrappers", "system:nodes"],
            Self::Windows => &["eks:kube-proxy-windows", "system:bootstrappers", "system:nodes"],
            Self::Fargate => &["system:bootstrappers", "system:nodes", "system:node-proxier"],
        }
    }

    /// The type of its access entry.
    pub(crate) fn entry_type(self) -> EntryType {
        match self {
            Self::Linux => EntryType::Ec2Linux,
            Self::Windows => EntryType::Ec2Windows,
            Self::Fargate => EntryType::FargateLinux,
        }
    }

    fn plural(self) -> &'static str {
        match self {
            Self::Linux => "Linux nodes",
            Self::Windows => "Windows nodes",
            Self::Fargate => "Fargate pods",
        }
    }

    fn session(self) -> &'static str {
        match self {
            Self::Linux | Self::Windows => "i-0123456789abcdef0",
            Self::Fargate => "fargate-ip-10-0-0-1.internal",
        }
    }
}

const DNS_NAME: &str = "ip-10-0-0-1.internal";

/// A role that nodes run under, with what is known about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeRole {
    /// With its path if IAM told it: an access entry needs it, aws-auth must not have it.
    pub(crate) arn: String,
    pub(crate) kind: NodeKind,
    /// Whether IAM has the role, and since when.
    pub(crate) existence: Existence,
    /// The role's unique id (`AROA...`).
    pub(crate) id: Option<String>,
    /// Managed node groups with the same role.
    pub(crate) node_groups: Vec<String>,
    /// What the node class names instead, if its instance profile holds this role and not the one that it names.
    pub(crate) named: Option<NamedRole>,
}

/// A role that a node class names, while its instance profile holds another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedRole {
    pub(crate) arn: String,
    pub(crate) profile: String,
}

impl NodeRole {
    /// A role of which nothing but its ARN is known.
    pub(crate) fn new(arn: &str, kind: NodeKind) -> Self {
        Self {
            arn: arn.to_owned(),
            kind,
            existence: Existence::Unknown,
            id: None,
            node_groups: Vec::new(),
            named: None,
        }
    }

    /// With what IAM says of it.
    pub(crate) fn read(self, role: Option<&Observed<Role>>) -> Self {
        Self {
            existence: role.map_or(Existence::Unknown, existence),
            id: role
                .and_then(Observed::known)
                .map(|role| role.id.clone())
                .filter(|id| !id.is_empty()),
            ..self
        }
    }
}

/// What IAM says of a role, for the evaluator.
pub(crate) fn existence(role: &Observed<Role>) -> Existence {
    match role {
        Observed::Known(role) => role.created.map_or(Existence::Unknown, Existence::Since),
        Observed::Absent => Existence::Deleted,
        Observed::Unknown(_) => Existence::Unknown,
    }
}

/// How the nodes of a role are served by its mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Standing {
    /// They join.
    Well,
    /// They join, but something is wrong.
    Flawed,
    /// Unknown: something that decides could not be read.
    Unknown,
    /// They do not join, or not as nodes.
    Broken,
}

/// One thing that is wrong with a node role's mapping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "fault")]
pub(crate) enum NodeFault {
    /// Nothing maps the role.
    NotMapped,
    /// The mapping exists, but its text is lost with the whole of `mapRoles`.
    Lost { line: Option<usize> },
    /// It is refused.
    Denied,
    /// Which mapping counts depends on chance.
    Ambiguous,
    /// The username is not a node's.
    WrongUsername { found: String, wanted: String },
    /// Groups are missing.
    MissingGroups {
        found: Vec<String>,
        missing: Vec<String>,
    },
    /// The access entry has the wrong type, which cannot be changed.
    WrongEntryType { found: String, wanted: String },
    /// A wrong access entry hides a line of aws-auth.
    HidesAwsAuth { line: Option<usize> },
    /// The access entry is bound to an earlier role of that name.
    StaleEntry,
    /// IAM does not know the role.
    RoleDeleted,
    /// The role is in another partition than the cluster.
    OtherPartition { role: String, cluster: String },
    /// The role is in another account than the cluster.
    OtherAccount { role: String, cluster: String },
    /// The ARN is not a role's.
    NotARole,
    /// The instance profile has another role than the node class names, and that is the one nodes run under.
    OtherProfileRole {
        /// The role that the node class names.
        named: String,
        profile: String,
    },
    /// Managed node groups share the role: EKS keeps its mapping up for them, and takes it away with them.
    SharedWithNodeGroup { node_groups: Vec<String> },
    /// The nodes would be administrators.
    Masters,
    /// Access entries or aws-auth could not be read.
    NotReadable,
}

impl NodeFault {
    /// About the role itself, whatever its mapping says: whether it is still the one that the mapping was made for.
    fn is_of_currency(&self) -> bool {
        matches!(self, Self::StaleEntry | Self::RoleDeleted)
    }
}

/// A fault with how bad it is, in a sentence that names the deciding line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) standing: Standing,
    pub(crate) fault: NodeFault,
    sentence: String,
}

/// What the cluster makes of the nodes of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeVerdict {
    pub(crate) role: NodeRole,
    /// What is wrong, worst first.
    found: Vec<Found>,
    /// What maps the role, where nothing is wrong with that.
    mapped: Option<String>,
    /// The decision on a made-up instance of the role.
    pub(crate) decision: Decision,
}

/// A verdict, or one side of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part<'a> {
    pub(crate) standing: Standing,
    /// What is wrong, worst first.
    pub(crate) faults: Vec<&'a NodeFault>,
    pub(crate) message: String,
}

impl Part<'_> {
    /// Whether all of mapRoles is lost, this role's line with it.
    pub(crate) fn is_lost(&self) -> bool {
        self.faults
            .iter()
            .any(|fault| matches!(fault, NodeFault::Lost { .. }))
    }

    pub(crate) fn is_not_mapped(&self) -> bool {
        self.faults.contains(&&NodeFault::NotMapped)
    }

    /// What is wrong, in a few words.
    pub(crate) fn headline(&self, kind: NodeKind) -> Option<String> {
        let (nodes, plain) = match kind {
            NodeKind::Fargate => ("Fargate pods", "Fargate pods"),
            _ => ("New nodes", "nodes"),
        };
        let joins = self.standing != Standing::Broken;
        Some(match self.faults.first()? {
            NodeFault::NotMapped => format!("{nodes} cannot join: their role is not mapped"),
            NodeFault::Lost { .. } => format!("{nodes} cannot join: all of mapRoles is lost"),
            NodeFault::Denied => format!("{nodes} cannot join: the cluster refuses their role"),
            NodeFault::Ambiguous => {
                format!("{nodes} may not join: which of two mappings counts depends on chance")
            }
            NodeFault::WrongUsername { .. } => {
                format!("{nodes} cannot join: their mapping has the wrong username")
            }
            NodeFault::MissingGroups { .. } if joins => format!("The mapping of {plain} lacks a group"),
            NodeFault::MissingGroups { .. } => format!("{nodes} cannot join: their mapping lacks a group"),
            NodeFault::WrongEntryType { .. } | NodeFault::HidesAwsAuth { .. } if joins => {
                format!("The access entry of {plain} has the wrong type")
            }
            NodeFault::WrongEntryType { .. } | NodeFault::HidesAwsAuth { .. } => {
                format!("{nodes} cannot join: their access entry has the wrong type")
            }
            NodeFault::StaleEntry if joins => {
                "A leftover access entry is for a role that was deleted".to_owned()
            }
            NodeFault::StaleEntry => {
                format!("{nodes} cannot join: their access entry is for a role that was deleted")
            }
            NodeFault::RoleDeleted => format!("{nodes} cannot start: IAM has no such role"),
            NodeFault::OtherPartition { .. } | NodeFault::OtherAccount { .. } => {
                format!("{nodes} cannot start: their role is in another account")
            }
            NodeFault::NotARole => format!("{nodes} cannot start: what is named is not a role"),
            NodeFault::OtherProfileRole { .. } => {
                "The instance profile holds another role than the node class names".to_owned()
            }
            NodeFault::SharedWithNodeGroup { .. } => {
                "Karpenter's nodes share their role with a managed node group".to_owned()
            }
            NodeFault::Masters => "The nodes' role is a cluster administrator".to_owned(),
            NodeFault::NotReadable => format!("Unknown whether the role of the {plain} is mapped"),
        })
    }
}

impl NodeVerdict {
    fn part(&self, keep: impl Fn(&NodeFault) -> bool, mapped: Option<&str>) -> Part<'_> {
        let kept = self.found.iter().filter(|found| keep(&found.fault));
        let sentences: Vec<&str> = kept
            .clone()
            .map(|found| found.sentence.as_str())
            .chain(mapped)
            .collect();
        Part {
            standing: kept
                .clone()
                .map(|found| found.standing)
                .max()
                .unwrap_or(Standing::Well),
            message: sentences.join(". "),
            faults: kept.map(|found| &found.fault).collect(),
        }
    }

    pub(crate) fn whole(&self) -> Part<'_> {
        self.part(|_| true, self.mapped.as_deref())
    }

    /// The mapping alone, taking the role for the one it was made for. None where that one is gone and nothing else maps the
    /// role: then there is nothing else to say.
    pub(crate) fn mapping(&self) -> Option<Part<'_>> {
        let has = |fault: &NodeFault| self.found.iter().any(|found| found.fault == *fault);
        let gone = has(&NodeFault::RoleDeleted)
            || has(&NodeFault::StaleEntry) && self.decision.outcome == Outcome::NotMapped;
        (!gone).then(|| self.part(|fault| !fault.is_of_currency(), self.mapped.as_deref()))
    }

    /// Whether the role is still the one that the mapping was made for.
    pub(crate) fn currency(&self) -> Part<'_> {
        self.part(NodeFault::is_of_currency, None)
    }

    /// For machines.
    pub(crate) fn evidence(&self, role: &str) -> Value {
        let (decision, whole) = (&self.decision, self.whole());
        json!({
            "role": role, "standing": whole.standing, "faults": whole.faults,
            "username": decision.username, "groups": decision.groups, "source": decision.source
        })
    }

    /// Whether anything in the cluster is meant for this role, whether or not it counts.
    pub(crate) fn is_named_somewhere(&self) -> bool {
        self.decision.outcome != Outcome::NotMapped || stale(&self.decision).is_some()
    }
}

fn stale(decision: &Decision) -> Option<&PassedOver> {
    decision
        .passed_over
        .iter()
        .find(|over| over.because == PassedOverBecause::Stale)
}

/// Judges the mapping of a node role. `home`: partition and account of the cluster.
pub(crate) fn judge_node_role(cluster: &Cluster<'_>, home: (&str, &str), role: NodeRole) -> NodeVerdict {
    let caller = match Caller::of_role(&role.arn, Some(role.kind.session())) {
        Ok(caller) => caller,
        Err(error) => {
            return NodeVerdict {
                found: vec![Found {
                    standing: Standing::Broken,
                    fault: NodeFault::NotARole,
                    sentence: format!("{} cannot be a node role: {error}", role.arn),
                }],
                mapped: None,
                decision: Decision::refused(&role.arn, &error),
                role,
            };
        }
    };
    let mut caller = caller
        .with_private_dns_name(Some(DNS_NAME.to_owned()))
        .with_principal_id(role.id.clone());
    if matches!(role.existence, Existence::Since(_)) {
        caller = caller.with_role_arn(&role.arn);
    }
    let decision = decide(cluster, &caller, role.existence);
    let mut judge = Judge::default();
    if role.existence == Existence::Deleted {
        judge.fault(
            Standing::Broken,
            NodeFault::RoleDeleted,
            format!(
                "IAM has no role {}: instances cannot run under it",
                caller.canonical_arn
            ),
        );
    }
    judge.mapping(cluster, &role, &caller, &decision);
    judge.surroundings(home, &role, &caller, &decision);
    judge.found.sort_by_key(|found| std::cmp::Reverse(found.standing));
    NodeVerdict {
        found: judge.found,
        mapped: judge.mapped,
        decision,
        role,
    }
}

#[derive(Default)]
struct Judge {
    found: Vec<Found>,
    mapped: Option<String>,
}

impl Judge {
    fn fault(&mut self, standing: Standing, fault: NodeFault, sentence: String) {
        self.found.push(Found {
            standing,
            fault,
            sentence,
        });
    }

    fn mapping(&mut self, cluster: &Cluster<'_>, role: &NodeRole, caller: &Caller, decision: &Decision) {
        let arn = &caller.canonical_arn;
        let plural = role.kind.plural();
        let entries_unread = cluster.mode.uses_entries() && cluster.entries.is_none();
        let aws_auth_unread = cluster.mode.uses_aws_auth() && cluster.aws_auth.is_none();
        let from_entry = decision
            .source
            .as_ref()
            .is_some_and(|source| source.kind == SourceKind::AccessEntry);
        if entries_unread || (aws_auth_unread && !from_entry) {
            self.fault(
                Standing::Unknown,
                NodeFault::NotReadable,
                format!("unknown whether {arn} is mapped: {}", decision.caveats.join("; ")),
            );
            return;
        }
        let place = decision.source.as_ref().map(|source| match &source.quote {
            Some(quote) => format!("{source} (`{quote}`)"),
            None => source.to_string(),
        });
        let place = place.unwrap_or_else(|| "nothing".to_owned());
        match decision.outcome {
            Outcome::NotMapped => {
                let lost = lost_map_roles(cluster).find(|problem| problem.severity == Severity::Error);
                let mut sentence = format!("{plural} of {arn} cannot join: {}", decision.reason);
                if let Some(problem) = lost {
                    sentence = format!("{sentence} ({})", problem.message);
                }
                for problem in misspelled(cluster) {
                    sentence = format!("{sentence}; {}", problem.message);
                }
                for over in decision
                    .passed_over
                    .iter()
                    .filter(|over| over.because != PassedOverBecause::Stale)
                    .take(3)
                {
                    sentence = format!("{sentence}; {}{}", over.message, quoted(Some(&over.source)));
                }
                let fault = match lost {
                    Some(problem) => NodeFault::Lost { line: problem.line },
                    None => NodeFault::NotMapped,
                };
                self.fault(Standing::Broken, fault, sentence);
            }
            Outcome::Denied => {
                self.fault(
                    Standing::Broken,
                    NodeFault::Denied,
                    format!(
                        "{plural} of {arn} are refused: {}{}",
                        decision.reason,
                        quoted(decision.source.as_ref())
                    ),
                );
            }
            Outcome::Ambiguous => {
                self.fault(
                    Standing::Broken,
                    NodeFault::Ambiguous,
                    format!("{plural} of {arn}: {}", decision.reason),
                );
            }
            Outcome::Mapped if from_entry => self.entry(cluster, role, decision, &place),
            Outcome::Mapped => {
                self.identity(role, caller, decision, &place);
                if self.found.is_empty() {
                    self.mapped = Some(format!("{plural} of {arn} are mapped by {place}"));
                }
            }
        }
        if let Some(stale) = stale(decision) {
            let standing = if decision.outcome == Outcome::Mapped {
                Standing::Flawed
            } else {
                Standing::Broken
            };
            self.fault(standing, NodeFault::StaleEntry, stale.message.clone());
        }
    }

    fn entry(&mut self, cluster: &Cluster<'_>, role: &NodeRole, decision: &Decision, place: &str) {
        let entry = decision
            .source
            .as_ref()
            .and_then(|source| source.index)
            .and_then(|index| cluster.entries.unwrap_or_default().get(index));
        let Some(entry) = entry else { return };
        let wanted = role.kind.entry_type();
        let found = entry.kind.clone().unwrap_or(EntryType::Standard);
        let plural = role.kind.plural();
        if found == wanted {
            self.mapped = Some(format!("{plural} are mapped by the {place}"));
            return;
        }
        // Windows nodes' entries carry all that Linux nodes need.
        let joins = found == EntryType::Ec2Windows && wanted == EntryType::Ec2Linux;
        let standing = if joins { Standing::Flawed } else { Standing::Broken };
        let username = decision.username.as_deref().unwrap_or("an unread username");
        self.fault(
            standing,
            NodeFault::WrongEntryType { found: found.as_str().to_owned(), wanted: wanted.as_str().to_owned() },
            format!(
                "the access entry of {} has the type {}, which gives its instances the username {username:?}; {plural} need {}, and the \
                 type of an entry cannot be changed",
                entry.principal_arn,
                found.as_str(),
                wanted.as_str()
            ),
        );
        for over in decision
            .passed_over
            .iter()
            .filter(|over| over.because == PassedOverBecause::HiddenByEntry)
        {
            self.fault(
                standing,
                NodeFault::HidesAwsAuth {
                    line: over.source.line,
                },
                format!("{}{}", over.message, quoted(Some(&over.source))),
            );
        }
    }

    fn identity(&mut self, role: &NodeRole, caller: &Caller, decision: &Decision, place: &str) {
        let plural = role.kind.plural();
        let username = decision.username.as_deref().unwrap_or_default();
        let session = caller.session.as_deref().unwrap_or_default();
        let by_dns = format!("system:node:{DNS_NAME}");
        let by_session = format!("system:node:{session}");
        let good = match role.kind {
            NodeKind::Fargate => username == by_session,
            _ => username == by_dns,
        };
        if !good {
            let wanted = role.kind.username();
            let found = decision.username.clone().unwrap_or_default();
            let (found, hint) = match found.as_str() {
                found if found == by_session => (
                    "system:node:{{SessionName}}".to_owned(),
                    " ({{SessionName}} is the instance id: right only for Fargate, hybrid nodes and nodes named after their \
                     instance id)",
                ),
                found if found == by_dns => (
                    "system:node:{{EC2PrivateDNSName}}".to_owned(),
                    " (Fargate pods have no instance)",
                ),
                "" => (String::new(), " (the username is empty)"),
                found if found.contains("{{ ") || found.contains(" }}") => (
                    found.to_owned(),
                    " (blanks within the braces: nothing is replaced)",
                ),
                found => (found.to_owned(), ""),
            };
            self.fault(
                Standing::Broken,
                NodeFault::WrongUsername {
                    found: found.clone(),
                    wanted: wanted.to_owned(),
                },
                format!(
                    "{place} gives {plural} the username {found:?}{hint}; it must be {wanted:?}, or they cannot register"
                ),
            );
        }
        let missing: Vec<String> = role
            .kind
            .groups()
            .iter()
            .filter(|group| !decision.groups.iter().any(|found| found == *group))
            .map(|group| (*group).to_owned())
            .collect();
        if !missing.is_empty() {
            let only_bootstrappers = missing == ["system:bootstrappers"];
            let glued = decision
                .groups
                .iter()
                .find(|group| group.contains(" - ") || group.contains(',') || group.is_empty());
            let hint = match glued {
                Some(group) if group.is_empty() => " (one group is empty)".to_owned(),
                Some(group) => {
                    format!(" ({group:?} is one group to YAML: each needs its own '- ' in the same column)")
                }
                None => String::new(),
            };
            self.fault(
                if only_bootstrappers {
                    Standing::Flawed
                } else {
                    Standing::Broken
                },
                NodeFault::MissingGroups {
                    found: decision.groups.clone(),
                    missing: missing.clone(),
                },
                format!(
                    "{place} does not give {plural} the {} {}{hint}",
                    if missing.len() == 1 { "group" } else { "groups" },
                    missing.join(" and ")
                ),
            );
        }
        if decision.groups.iter().any(|group| group == "system:masters") {
            self.fault(
                Standing::Flawed,
                NodeFault::Masters,
                format!(
                    "{place} puts {plural} into system:masters: every pod on them can become administrator"
                ),
            );
        }
    }

    fn surroundings(
        &mut self,
        (partition, account): (&str, &str),
        role: &NodeRole,
        caller: &Caller,
        decision: &Decision,
    ) {
        if caller.partition != partition {
            self.fault(
                Standing::Broken,
                NodeFault::OtherPartition {
                    role: caller.partition.clone(),
                    cluster: partition.to_owned(),
                },
                format!(
                    "{} is in partition {}, the cluster in {}: instances of the cluster cannot run under it",
                    role.arn, caller.partition, partition
                ),
            );
        } else if caller.account != account {
            self.fault(
                Standing::Broken,
                NodeFault::OtherAccount {
                    role: caller.account.clone(),
                    cluster: account.to_owned(),
                },
                format!(
                    "{} is in account {}, the cluster in {}: instances of the cluster cannot run under it",
                    role.arn, caller.account, account
                ),
            );
        }
        if let Some(NamedRole { arn, profile }) = &role.named
            && !arn.eq_ignore_ascii_case(&role.arn)
        {
            self.fault(
                Standing::Flawed,
                NodeFault::OtherProfileRole {
                    named: arn.clone(),
                    profile: profile.clone(),
                },
                format!(
                    "the node class names {arn}, but its instance profile {profile} holds {}: nodes run under the profile's role",
                    role.arn
                ),
            );
        }
        if !role.node_groups.is_empty() {
            let what = match decision.source.as_ref().map(|source| source.kind) {
                Some(SourceKind::AccessEntry) => "delete the access entry",
                _ => "take the role out of aws-auth",
            };
            self.fault(
                Standing::Flawed,
                NodeFault::SharedWithNodeGroup { node_groups: role.node_groups.clone() },
                format!(
                    "{} is shared with the managed node group {}: EKS keeps that mapping, and may {what} when the node group is \
                     deleted, which locks Karpenter's nodes out too",
                    caller.canonical_arn,
                    role.node_groups.join(", ")
                ),
            );
        }
    }
}

/// The line of aws-auth as it stands there, in brackets.
fn quoted(source: Option<&Source>) -> String {
    source
        .and_then(|source| source.quote.as_ref())
        .map(|quote| format!(" (`{quote}`)"))
        .unwrap_or_default()
}

/// The problems by which all of mapRoles is lost.
fn lost_map_roles<'a>(cluster: &Cluster<'a>) -> impl Iterator<Item = &'a Problem> {
    let aws_auth = cluster
        .aws_auth
        .filter(|_| cluster.mode.uses_aws_auth())
        .map(|aws_auth| aws_auth.problems.as_slice());
    aws_auth
        .unwrap_or_default()
        .iter()
        .filter(|problem| problem.loss == Loss::Key(MapKey::MapRoles))
}

/// Keys of `data` that are spelled so that the authenticator does not read them as `mapRoles`, and hold something.
pub(super) fn misspelled<'a>(cluster: &Cluster<'a>) -> impl Iterator<Item = &'a Problem> {
    lost_map_roles(cluster).filter(|problem| problem.mistake == Some(Mistake::Key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use eks_aws_auth::{AccessEntry, AuthenticationMode, AwsAuth, Settings};

    const ROLE: &str = "arn:aws:iam::111122223333:role/KarpenterNode";
    const HOME: (&str, &str) = ("aws", "111122223333");
    const DNS: &str = "system:node:{{EC2PrivateDNSName}}";
    const SESSION: &str = "system:node:{{SessionName}}";
    const BOTH: [&str; 2] = ["system:bootstrappers", "system:nodes"];

    fn line(arn: &str, username: &str, groups: &[&str]) -> String {
        format!("- rolearn: {arn}\n  username: \"{username}\"\n  groups: {groups:?}\n")
    }

    fn judge(
        mode: AuthenticationMode,
        map_roles: &str,
        entries: &[AccessEntry],
        home: (&str, &str),
        role: NodeRole,
    ) -> NodeVerdict {
        let aws_auth = AwsAuth::parse(&[("mapRoles".to_owned(), map_roles.to_owned())].into());
        let cluster = Cluster {
            mode,
            aws_auth: Some(&aws_auth),
            entries: Some(entries),
            settings: Settings::default(),
        };
        judge_node_role(&cluster, home, role)
    }

    #[test]
    fn lines_are_judged_by_what_they_make_of_an_instance() {
        use NodeKind::{Fargate, Linux, Windows};
        use Standing::{Broken, Flawed, Well};
        let windows = ["eks:kube-proxy-windows", "system:bootstrappers", "system:nodes"];
        let masters = ["system:bootstrappers", "system:nodes", "system:masters"];
        let fargate = ["system:bootstrappers", "system:nodes", "system:node-proxier"];
        let with_path = "arn:aws:iam::111122223333:role/x/KarpenterNode";
        let blanks = "system:node:{{ EC2PrivateDNSName }}";
        let tab = "- rolearn: x\n\tusername: y\n".to_owned();
        for (text, kind, standing, fault) in [
            (line(ROLE, DNS, &BOTH), Linux, Well, ""),
            (line(ROLE, DNS, &BOTH), Windows, Broken, "missingGroups"),
            (line(ROLE, DNS, &windows), Windows, Well, ""),
            (line(ROLE, DNS, &BOTH[..1]), Linux, Broken, "missingGroups"),
            (line(ROLE, DNS, &BOTH[1..]), Linux, Flawed, "missingGroups"),
            (line(ROLE, SESSION, &BOTH), Linux, Broken, "wrongUsername"),
            (line(ROLE, blanks, &BOTH), Linux, Broken, "wrongUsername"),
            (line(with_path, DNS, &BOTH), Linux, Broken, "notMapped"),
            (tab, Linux, Broken, "lost"),
            (String::new(), Linux, Broken, "notMapped"),
            (line(ROLE, DNS, &masters), Linux, Flawed, "masters"),
            (line(ROLE, SESSION, &fargate), Fargate, Well, ""),
            (line(ROLE, DNS, &BOTH), Fargate, Broken, "denied"),
        ] {
            let verdict = judge(
                AuthenticationMode::ConfigMap,
                &text,
                &[],
                HOME,
                NodeRole::new(ROLE, kind),
            );
            let whole = verdict.whole();
            assert_eq!(whole.standing, standing, "{text}: {verdict:#?}");
            assert_eq!(first(&whole), fault, "{text}: {verdict:#?}");
            assert!(!whole.message.is_empty(), "{text}");
        }
    }

    /// The name of the worst fault.
    fn first(part: &Part<'_>) -> String {
        let fault = part.faults.first().map(|fault| json!(fault)["fault"].clone());
        fault
            .and_then(|fault| Some(fault.as_str()?.to_owned()))
            .unwrap_or_default()
    }

    #[test]
    fn entries_are_judged_by_their_type() {
        let person = "arn:aws:sts::111122223333:assumed-role/KarpenterNode/{{SessionName}}";
        for (kind, username, standing) in [
            (EntryType::Ec2Linux, DNS, Standing::Well),
            (EntryType::Ec2Windows, DNS, Standing::Flawed),
            (EntryType::Standard, person, Standing::Broken),
            (EntryType::FargateLinux, SESSION, Standing::Broken),
        ] {
            let entries = [AccessEntry::new(ROLE, kind.clone(), username, &["system:nodes"])];
            let mode = AuthenticationMode::ApiAndConfigMap;
            let verdict = judge(
                mode,
                &line(ROLE, DNS, &BOTH),
                &entries,
                HOME,
                NodeRole::new(ROLE, NodeKind::Linux),
            );
            let whole = verdict.whole();
            assert_eq!(whole.standing, standing, "{kind:?}: {verdict:#?}");
            let hides = whole.faults.contains(&&NodeFault::HidesAwsAuth { line: Some(1) });
            assert_eq!(hides, standing != Standing::Well, "{verdict:#?}");
        }
    }

    #[test]
    fn an_entry_for_a_role_of_another_path_is_stale() {
        let node = |path: &str| format!("arn:aws:iam::111122223333:role/{path}KarpenterNode");
        let since = Existence::Since("2024-01-01T00:00:00Z".parse().unwrap());
        for (entry, role, existence, mapped) in [
            ("a/", "a/", since, true),
            ("a/", "b/", Existence::Unknown, false),
            ("a/", "", Existence::Unknown, true),
            ("a/", "", since, false),
        ] {
            let entries = [AccessEntry::new(
                &node(entry),
                EntryType::Ec2Linux,
                DNS,
                &["system:nodes"],
            )];
            let arn = node(role);
            let role = NodeRole {
                existence,
                ..NodeRole::new(&arn, NodeKind::Linux)
            };
            let verdict = judge(AuthenticationMode::Api, "", &entries, HOME, role);
            assert_eq!(verdict.whole().standing == Standing::Well, mapped, "{verdict:#?}");
        }
    }

    #[test]
    fn what_is_around_a_role_is_told_apart() {
        let groups = vec!["blue".to_owned()];
        let other = "arn:aws:iam::111122223333:role/Other";
        let good = NodeRole::new(ROLE, NodeKind::Linux);
        let named = Some(NamedRole {
            arn: other.to_owned(),
            profile: "demo_1".to_owned(),
        });
        let sharing = NodeRole {
            node_groups: groups,
            ..good.clone()
        };
        let in_profile = NodeRole {
            named,
            ..good.clone()
        };
        let gone = NodeRole {
            existence: Existence::Deleted,
            ..good.clone()
        };
        let user = NodeRole::new("arn:aws:iam::111122223333:user/a", NodeKind::Linux);
        for (home, role, standing, fault) in [
            (HOME, sharing, Standing::Flawed, "sharedWithNodeGroup"),
            (HOME, in_profile, Standing::Flawed, "otherProfileRole"),
            (
                ("aws-cn", HOME.1),
                good.clone(),
                Standing::Broken,
                "otherPartition",
            ),
            (
                ("aws", "444455556666"),
                good.clone(),
                Standing::Broken,
                "otherAccount",
            ),
            (HOME, gone, Standing::Broken, "roleDeleted"),
            (HOME, user, Standing::Broken, "notARole"),
        ] {
            let text = line(ROLE, DNS, &BOTH);
            let verdict = judge(AuthenticationMode::ConfigMap, &text, &[], home, role);
            let whole = verdict.whole();
            assert_eq!((whole.standing, first(&whole)), (standing, fault.to_owned()));
        }
        let deleted = NodeRole {
            existence: Existence::Deleted,
            ..good
        };
        let verdict = judge(
            AuthenticationMode::ConfigMap,
            &line(ROLE, DNS, &BOTH),
            &[],
            HOME,
            deleted,
        );
        assert!(verdict.mapping().is_none() && verdict.is_named_somewhere());
        assert_eq!(verdict.currency().standing, Standing::Broken);
    }

    #[test]
    fn what_could_not_be_read_is_unknown() {
        let cluster = Cluster {
            mode: AuthenticationMode::ApiAndConfigMap,
            aws_auth: Some(&AwsAuth::default()),
            entries: None,
            settings: Settings::default(),
        };
        let verdict = judge_node_role(&cluster, HOME, NodeRole::new(ROLE, NodeKind::Linux));
        assert_eq!(verdict.whole().faults, [&NodeFault::NotReadable]);
    }
}
