//! Does the cluster take the instances of a role for nodes? And the remedies, as an aws-auth entry and as commands.
//!
//! What a node must be called and which groups it needs: EKS user guide, "Apply the aws-auth ConfigMap", "Windows" and
//! "Pod execution IAM role"; types of access entries: "Create access entries".

use super::decide::{Cluster, Decision, Existence, Outcome, PassedOverBecause, Source, SourceKind, decide};
use super::document::{MapKey, Mistake, Problem};
use super::entries::{AccessEntry, AuthenticationMode, EntryType};
use super::principal::{Arn, Caller};
use serde::{Deserialize, Serialize};

/// What runs under the role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum NodeKind {
    /// EC2 instances with Linux or Bottlerocket.
    Linux,
    /// EC2 instances with Windows.
    Windows,
    /// Pods on Fargate: the profile's pod execution role.
    Fargate,
}

impl NodeKind {
    /// The username, as a template, that such a node must get.
    pub fn username(self) -> &'static str {
        match self {
            Self::Linux | Self::Windows => "system:node:{{EC2PrivateDNSName}}",
            Self::Fargate => "system:node:{{SessionName}}",
        }
    }

    /// The groups an aws-auth entry gives such a node.
    pub fn groups(self) -> &'static [&'static str] {
        match self {
            Self::Linux => &["system:bootstrappers", "system:nodes"],
            Self::Windows => &["eks:kube-proxy-windows", "system:bootstrappers", "system:nodes"],
            Self::Fargate => &["system:bootstrappers", "system:nodes", "system:node-proxier"],
        }
    }

    /// The type of its access entry.
    pub fn entry_type(self) -> EntryType {
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
pub struct NodeRole<'a> {
    /// The role's ARN. With its path if IAM told it: an access entry needs it, aws-auth must not have it.
    pub arn: &'a str,
    /// What runs under it.
    pub kind: NodeKind,
    /// Whether IAM has the role, and since when.
    pub existence: Existence,
    /// The role's unique id (`AROA...`).
    pub id: Option<&'a str>,
    /// The nodes are named after their instance ids (nodeadm's feature gate `InstanceIdNodeName`), so `{{SessionName}}` is
    /// right for them.
    pub named_by_instance_id: bool,
    /// Managed node groups with the same role.
    pub node_groups: &'a [String],
    /// What the node class names instead, if its instance profile holds this role and not the one that it names.
    pub named: Option<NamedRole<'a>>,
}

/// A role that a node class names, while its instance profile holds another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedRole<'a> {
    /// The role's ARN.
    pub arn: &'a str,
    /// The instance profile's name.
    pub profile: &'a str,
}

impl<'a> NodeRole<'a> {
    /// A role of which nothing but its ARN is known.
    pub fn new(arn: &'a str, kind: NodeKind) -> Self {
        Self {
            arn,
            kind,
            existence: Existence::Unknown,
            id: None,
            named_by_instance_id: false,
            node_groups: &[],
            named: None,
        }
    }
}

/// The cluster's names, for the checks of account and partition and for commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterNames<'a> {
    /// Name of the cluster.
    pub cluster: &'a str,
    /// Its region.
    pub region: &'a str,
    /// Its account.
    pub account: &'a str,
    /// Its partition.
    pub partition: &'a str,
}

/// How nodes of the role fare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// They join.
    Well,
    /// They join, but something is amiss.
    Flawed,
    /// It cannot be told from what could be read.
    Unknown,
    /// They do not join, or not as nodes.
    Broken,
}

/// One thing that is wrong with a node role's mapping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "fault")]
pub enum NodeFault {
    /// Nothing maps the role.
    NotMapped,
    /// The mapping exists, but its text is lost with the whole of `mapRoles`.
    Lost {
        /// Line of the mistake.
        line: Option<usize>,
    },
    /// It is refused.
    Denied,
    /// It depends on chance.
    Ambiguous,
    /// The username is not a node's.
    WrongUsername {
        /// As written.
        found: String,
        /// As it should be.
        wanted: String,
    },
    /// Groups are missing.
    MissingGroups {
        /// As mapped.
        found: Vec<String>,
        /// The missing ones.
        missing: Vec<String>,
    },
    /// The access entry has the wrong type, which cannot be changed.
    WrongEntryType {
        /// Its type.
        found: String,
        /// The right one.
        wanted: String,
    },
    /// A wrong access entry hides a line of aws-auth.
    HidesAwsAuth {
        /// The line.
        line: Option<usize>,
    },
    /// The access entry is bound to an earlier role of that name.
    StaleEntry,
    /// IAM does not know the role.
    RoleDeleted,
    /// The role is in another partition than the cluster.
    OtherPartition {
        /// The role's.
        role: String,
        /// The cluster's.
        cluster: String,
    },
    /// The role is in another account than the cluster.
    OtherAccount {
        /// The role's.
        role: String,
        /// The cluster's.
        cluster: String,
    },
    /// The ARN is no role's.
    NotARole,
    /// The instance profile has another role than the node class names, and that is the one nodes run under.
    OtherProfileRole {
        /// The role that the node class names.
        named: String,
        /// The instance profile.
        profile: String,
    },
    /// Managed node groups share the role: EKS keeps its mapping up for them, and takes it away with them.
    SharedWithNodeGroup {
        /// Their names.
        node_groups: Vec<String>,
    },
    /// The nodes would be administrators.
    Masters,
    /// Access entries or aws-auth could not be read.
    NotReadable,
}

/// What to do, in words, as an aws-auth entry and as commands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct MappingRemedy {
    /// In words.
    pub text: String,
    /// The entry to put into `mapRoles`, where aws-auth counts.
    pub aws_auth_entry: Option<String>,
    /// Commands for a POSIX shell; one of several ways where there are several.
    pub commands: Vec<String>,
}

/// How the nodes of a role fare, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct NodeVerdict {
    /// In a word.
    pub standing: Standing,
    /// What is wrong, worst first.
    pub faults: Vec<NodeFault>,
    /// In a sentence or two, with the deciding line.
    pub message: String,
    /// The decision on a made-up instance of the role (session `i-0123456789abcdef0`).
    pub decision: Decision,
    /// What to do, unless all is well.
    pub remedy: Option<MappingRemedy>,
    /// The mapping alone, taking the role for the one it was made for. None where that one is gone and nothing else maps
    /// the role: then there is nothing else to say.
    pub mapping: Option<Part>,
    /// Whether the role is still the one that the mapping was made for.
    pub currency: Part,
}

impl NodeVerdict {
    /// Whether anything in the cluster is meant for this role, whether or not it counts.
    pub fn is_named_somewhere(&self) -> bool {
        let stale = |over: &super::decide::PassedOver| over.because == PassedOverBecause::Stale;
        self.decision.outcome != Outcome::NotMapped || self.decision.passed_over.iter().any(stale)
    }
}

/// One side of a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// In a word.
    pub standing: Standing,
    /// What is wrong, worst first.
    pub faults: Vec<NodeFault>,
    /// In a sentence or two.
    pub message: String,
    /// What to do, unless all is well.
    pub remedy: Option<MappingRemedy>,
}

/// Judges the mapping of a node role.
pub fn judge_node_role(cluster: &Cluster<'_>, names: ClusterNames<'_>, role: &NodeRole<'_>) -> NodeVerdict {
    let caller = match Caller::of_role(role.arn, Some(role.kind.session())) {
        Ok(caller) => caller,
        Err(error) => {
            let message = format!("{} cannot be a node role: {error}", role.arn);
            let part = Part {
                standing: Standing::Broken,
                faults: vec![NodeFault::NotARole],
                message: message.clone(),
                remedy: None,
            };
            return NodeVerdict {
                standing: Standing::Broken,
                faults: part.faults.clone(),
                message,
                decision: Decision::refused(role.arn, &error),
                remedy: None,
                mapping: Some(part),
                currency: Part {
                    standing: Standing::Well,
                    faults: Vec::new(),
                    message: String::new(),
                    remedy: None,
                },
            };
        }
    };
    let caller = caller
        .with_private_dns_name(Some(DNS_NAME.to_owned()))
        .with_principal_id(role.id.map(str::to_owned));
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
    judge.mapping(cluster, role, &caller, &decision);
    judge.surroundings(names, role, &caller, &decision);
    judge.said.sort_by_key(|said| std::cmp::Reverse(said.standing));
    let remedy = |faults: &[NodeFault]| node_remedy(cluster, names, role, faults, &decision);
    let of_currency = |fault: &NodeFault| matches!(fault, NodeFault::StaleEntry | NodeFault::RoleDeleted);
    let all = judge.part(|_| true, judge.mapped.as_deref(), remedy);
    let currency = judge.part(of_currency, None, remedy);
    let gone = currency.faults.contains(&NodeFault::RoleDeleted)
        || currency.faults.contains(&NodeFault::StaleEntry) && decision.outcome == Outcome::NotMapped;
    let mapping = (!gone).then(|| judge.part(|fault| !of_currency(fault), judge.mapped.as_deref(), remedy));
    NodeVerdict {
        standing: all.standing,
        faults: all.faults,
        message: all.message,
        remedy: all.remedy,
        mapping,
        currency,
        decision,
    }
}

/// A fault as it is told.
struct Said {
    standing: Standing,
    fault: NodeFault,
    sentence: String,
}

#[derive(Default)]
struct Judge {
    said: Vec<Said>,
    /// What maps the role, where nothing is wrong with that.
    mapped: Option<String>,
}

impl Judge {
    fn fault(&mut self, standing: Standing, fault: NodeFault, sentence: String) {
        self.said.push(Said {
            standing,
            fault,
            sentence,
        });
    }

    /// The faults that `keep` keeps, as a whole.
    fn part(
        &self,
        keep: impl Fn(&NodeFault) -> bool,
        mapped: Option<&str>,
        remedy: impl Fn(&[NodeFault]) -> MappingRemedy,
    ) -> Part {
        let kept: Vec<&Said> = self.said.iter().filter(|said| keep(&said.fault)).collect();
        let standing = kept
            .iter()
            .map(|said| said.standing)
            .max()
            .unwrap_or(Standing::Well);
        let faults: Vec<NodeFault> = kept.iter().map(|said| said.fault.clone()).collect();
        let message = kept
            .iter()
            .map(|said| said.sentence.as_str())
            .chain(mapped)
            .collect::<Vec<_>>()
            .join(". ");
        let remedy = matches!(standing, Standing::Flawed | Standing::Broken).then(|| remedy(&faults));
        Part {
            standing,
            faults,
            message,
            remedy,
        }
    }

    fn mapping(&mut self, cluster: &Cluster<'_>, role: &NodeRole<'_>, caller: &Caller, decision: &Decision) {
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
                format!(
                    "whether {arn} is mapped cannot be told: {}",
                    decision.caveats.join("; ")
                ),
            );
            return;
        }
        let stale = decision
            .passed_over
            .iter()
            .find(|over| over.because == PassedOverBecause::Stale);
        let place = decision.source.as_ref().map(|source| match &source.quote {
            Some(quote) => format!("{source} (`{quote}`)"),
            None => source.to_string(),
        });
        let place = place.unwrap_or_else(|| "nothing".to_owned());
        match decision.outcome {
            Outcome::NotMapped => {
                let lost = cluster
                    .mode
                    .uses_aws_auth()
                    .then_some(cluster.aws_auth)
                    .flatten()
                    .and_then(|aws_auth| {
                        aws_auth.errors().find(|problem| {
                            problem.key.as_deref() == Some("mapRoles") && problem.lost.starts_with("all of")
                        })
                    });
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
                if self.said.is_empty() {
                    self.mapped = Some(format!("{plural} of {arn} are mapped by {place}"));
                }
            }
        }
        if let Some(stale) = stale {
            let standing = if decision.outcome == Outcome::Mapped {
                Standing::Flawed
            } else {
                Standing::Broken
            };
            self.fault(standing, NodeFault::StaleEntry, stale.message.clone());
        }
    }

    fn entry(&mut self, cluster: &Cluster<'_>, role: &NodeRole<'_>, decision: &Decision, place: &str) {
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
                "the access entry of {} has the type {}, which makes its instances {username:?}; {plural} need {}, and the \
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

    fn identity(&mut self, role: &NodeRole<'_>, caller: &Caller, decision: &Decision, place: &str) {
        let plural = role.kind.plural();
        let username = decision.username.as_deref().unwrap_or_default();
        let session = caller.session.as_deref().unwrap_or_default();
        let by_dns = format!("system:node:{DNS_NAME}");
        let by_session = format!("system:node:{session}");
        let good = match role.kind {
            NodeKind::Fargate => username == by_session,
            _ => username == by_dns || (role.named_by_instance_id && username == by_session),
        };
        if !good {
            let wanted = if role.named_by_instance_id {
                "system:node:{{SessionName}}"
            } else {
                role.kind.username()
            };
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
                    "{place} makes {plural} {found:?}{hint}; they must be {wanted:?}, or they cannot register"
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
        names: ClusterNames<'_>,
        role: &NodeRole<'_>,
        caller: &Caller,
        decision: &Decision,
    ) {
        if caller.partition != names.partition {
            self.fault(
                Standing::Broken,
                NodeFault::OtherPartition {
                    role: caller.partition.clone(),
                    cluster: names.partition.to_owned(),
                },
                format!(
                    "{} is in partition {}, the cluster in {}: instances of the cluster cannot run under it",
                    role.arn, caller.partition, names.partition
                ),
            );
        } else if caller.account != names.account {
            self.fault(
                Standing::Broken,
                NodeFault::OtherAccount {
                    role: caller.account.clone(),
                    cluster: names.account.to_owned(),
                },
                format!(
                    "{} is in account {}, the cluster in {}: instances of the cluster cannot run under it",
                    role.arn, caller.account, names.account
                ),
            );
        }
        if let Some(NamedRole { arn, profile }) = role.named
            && !super::gostr::equal_fold(arn, role.arn)
        {
            self.fault(
                Standing::Flawed,
                NodeFault::OtherProfileRole {
                    named: arn.to_owned(),
                    profile: profile.to_owned(),
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
                NodeFault::SharedWithNodeGroup { node_groups: role.node_groups.to_vec() },
                format!(
                    "{} is shared with the managed node group {}: EKS itself keeps that mapping up, and when the node group \
                     goes it may {what}, and Karpenter's nodes are shut out with it",
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

/// Keys of `data` that are spelled so that the authenticator does not read them as `mapRoles`, and hold something.
fn misspelled<'a>(cluster: &Cluster<'a>) -> impl Iterator<Item = &'a Problem> {
    let aws_auth = cluster
        .aws_auth
        .filter(|_| cluster.mode.uses_aws_auth())
        .map(|aws_auth| aws_auth.problems.as_slice());
    aws_auth.unwrap_or_default().iter().filter(|problem| {
        problem.mistake == Some(Mistake::Key)
            && !problem.lost.is_empty()
            && problem.fix.ends_with(MapKey::MapRoles.as_str())
    })
}

/// What to do about these faults.
fn node_remedy(
    cluster: &Cluster<'_>,
    names: ClusterNames<'_>,
    role: &NodeRole<'_>,
    faults: &[NodeFault],
    decision: &Decision,
) -> MappingRemedy {
    let has = |wanted: fn(&NodeFault) -> bool| faults.iter().any(wanted);
    if has(|fault| {
        matches!(
            fault,
            NodeFault::OtherPartition { .. } | NodeFault::OtherAccount { .. }
        )
    }) {
        return MappingRemedy {
            text: format!(
                "give the node class a role of account {} in partition {}, and map that",
                names.account, names.partition
            ),
            aws_auth_entry: None,
            commands: vec![
                "kubectl get ec2nodeclasses -o custom-columns=NAME:.metadata.name,ROLE:.spec.role".to_owned(),
            ],
        };
    }
    let entries = cluster.entries.unwrap_or_default();
    let bound = entry_of(entries, role.arn);
    if has(|fault| matches!(fault, NodeFault::RoleDeleted)) {
        let (text, commands) = match bound.filter(|_| cluster.mode.uses_entries()) {
            Some(entry) => (
                "create the role again (or name one that exists), then delete its access entry and create it again: the entry \
                 stays bound to the role that is gone",
                recreate(names, role, &entry.principal_arn),
            ),
            None => (
                "create the role again, or name one that exists; the line in aws-auth goes by the name, so it lets in whatever \
                 is created under it",
                vec![format!(
                    "aws iam get-role --role-name {}",
                    shell(Arn::parse(role.arn).as_ref().map_or(role.arn, |arn| arn.name()))
                )],
            ),
        };
        return MappingRemedy {
            text: text.to_owned(),
            aws_auth_entry: None,
            commands,
        };
    }
    let only = |wanted: fn(&NodeFault) -> bool| faults.iter().all(wanted);
    if only(|fault| matches!(fault, NodeFault::SharedWithNodeGroup { .. })) {
        return MappingRemedy {
            text: "give Karpenter's nodes a role of their own, with its own mapping".to_owned(),
            ..MappingRemedy::default()
        };
    }
    let other = faults.iter().find_map(|fault| match fault {
        NodeFault::OtherProfileRole { named, profile } => Some((named, profile)),
        _ => None,
    });
    if let Some((named, profile)) = other
        && only(|fault| {
            matches!(
                fault,
                NodeFault::OtherProfileRole { .. } | NodeFault::SharedWithNodeGroup { .. }
            )
        })
    {
        let name = |arn: &str| shell(Arn::parse(arn).as_ref().map_or(arn, |arn| arn.name()));
        return MappingRemedy {
            text: "name the profile's role in the node class, or put the named role into the profile, once that is mapped too"
                .to_owned(),
            aws_auth_entry: None,
            commands: vec![
                format!(
                    "aws iam remove-role-from-instance-profile --instance-profile-name {0} --role-name {1}",
                    shell(profile),
                    name(role.arn)
                ),
                format!(
                    "aws iam add-role-to-instance-profile --instance-profile-name {0} --role-name {1}",
                    shell(profile),
                    name(named)
                ),
            ],
        };
    }
    let want = Want::Node(role.kind);
    let mut remedy = mapping_remedy(cluster.mode, names, role.arn, want);
    if let Some(NodeFault::Lost { line }) = faults
        .iter()
        .find(|fault| matches!(fault, NodeFault::Lost { .. }))
    {
        let fix = decision
            .problems
            .iter()
            .find(|problem| problem.line == *line)
            .map(|problem| problem.fix.as_str());
        remedy.text = format!(
            "mend mapRoles first: {}. Then: {}",
            fix.unwrap_or_default(),
            remedy.text
        );
        return remedy;
    }
    if let (Some(problem), true) = (
        misspelled(cluster).next(),
        has(|fault| matches!(fault, NodeFault::NotMapped)),
    ) {
        remedy.text = format!("{}. If the role is not in there: {}", problem.fix, remedy.text);
        return remedy;
    }
    if let (Some(entry), true) = (
        bound,
        has(|fault| matches!(fault, NodeFault::WrongEntryType { .. } | NodeFault::StaleEntry)),
    ) {
        return MappingRemedy {
            text: format!(
                "delete the access entry and create it again as {}: an entry's type and the principal it is bound to cannot be \
                 changed",
                role.kind.entry_type().as_str()
            ),
            aws_auth_entry: None,
            commands: recreate(names, role, &entry.principal_arn),
        };
    }
    let instead = other.map(|(named, profile)| {
        format!(". Or give the instance profile {profile} the role that the node class names, {named}, once that is mapped")
    });
    if let Some(line) = meant(decision) {
        remedy.text = match cluster.mode {
            AuthenticationMode::ApiAndConfigMap => format!(
                "replace the entry at line {line} of mapRoles by the one below, or create the access entry, which hides it"
            ),
            _ => format!("replace the entry at line {line} of mapRoles by the one below"),
        };
        // eksctl adds a second entry for the same ARN; the last one wins, but two are one too many.
        remedy.commands.retain(|command| !command.starts_with("eksctl"));
        if remedy.commands.is_empty() {
            remedy
                .commands
                .push("kubectl edit configmap aws-auth -n kube-system".to_owned());
        }
    }
    remedy.text.push_str(&instead.unwrap_or_default());
    remedy
}

/// The line of mapRoles that maps the role, or that was meant to: to be replaced.
fn meant(decision: &Decision) -> Option<usize> {
    let of_roles = |source: &Source| source.line.filter(|_| source.key == Some(MapKey::MapRoles));
    let nearly = decision.passed_over.iter().find(|over| {
        decision.outcome == Outcome::NotMapped
            && matches!(
                over.because,
                PassedOverBecause::RolePath
                    | PassedOverBecause::AssumedRoleArn
                    | PassedOverBecause::InstanceProfileArn
                    | PassedOverBecause::StrayCharacters
            )
    });
    decision
        .source
        .as_ref()
        .or(nearly.map(|over| &over.source))
        .and_then(of_roles)
}

/// The commands that bind an access entry to the role that has its name now.
fn recreate(names: ClusterNames<'_>, role: &NodeRole<'_>, bound: &str) -> Vec<String> {
    // IAM's own word on the ARN, with the path that it has now; else what the entry says.
    let arn = match role.existence {
        Existence::Since(_) => role.arn,
        Existence::Unknown | Existence::Deleted => bound,
    };
    let mut commands = vec![format!(
        "aws eks delete-access-entry --region {} --cluster-name {} --principal-arn {}",
        shell(names.region),
        shell(names.cluster),
        shell(bound)
    )];
    commands.extend(mapping_remedy(AuthenticationMode::Api, names, arn, Want::Node(role.kind)).commands);
    commands
}

/// The entry that names the role, whatever the path.
fn entry_of<'a>(entries: &'a [AccessEntry], role_arn: &str) -> Option<&'a AccessEntry> {
    let bare = super::principal::without_path(role_arn);
    entries
        .iter()
        .find(|entry| super::gostr::equal_fold(&super::principal::without_path(&entry.principal_arn), &bare))
}

/// What a principal should be to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// A node of that kind.
    Node(NodeKind),
    /// An administrator (`system:masters`, or the policy AmazonEKSClusterAdminPolicy).
    Admin,
}

/// How to map a principal, by the authentication mode. `arn`: the role or user with its path, if it has one.
pub fn mapping_remedy(
    mode: AuthenticationMode,
    names: ClusterNames<'_>,
    arn: &str,
    want: Want,
) -> MappingRemedy {
    let in_aws_auth = super::principal::without_path(arn);
    let is_user = Arn::parse(arn).is_some_and(|arn| arn.kind() == "user");
    let (username, groups): (String, &[&str]) = match want {
        Want::Node(kind) => (kind.username().to_owned(), kind.groups()),
        Want::Admin => (
            Arn::parse(arn)
                .map(|arn| arn.name().to_owned())
                .filter(|name| !name.is_empty())
                .unwrap_or("admin".to_owned()),
            &["system:masters"],
        ),
    };
    let field = if is_user { "userarn" } else { "rolearn" };
    let key = if is_user { "mapUsers" } else { "mapRoles" };
    let (region, cluster, partition) = (shell(names.region), shell(names.cluster), names.partition);
    let entry = {
        let groups: String = groups.iter().map(|group| format!("\n    - {group}")).collect();
        format!("- {field}: {in_aws_auth}\n  username: \"{username}\"\n  groups:{groups}")
    };
    let group_flags: String = groups.iter().map(|group| format!(" --group {group}")).collect();
    let eksctl = format!(
        "eksctl create iamidentitymapping --region {region} --cluster {cluster} --arn {} --username {}{group_flags}",
        shell(&in_aws_auth),
        shell(&username)
    );
    let create = match want {
        Want::Node(kind) => vec![format!(
            "aws eks create-access-entry --region {region} --cluster-name {cluster} --principal-arn {} --type {}",
            shell(arn),
            kind.entry_type().as_str()
        )],
        Want::Admin => vec![
            format!(
                "aws eks create-access-entry --region {region} --cluster-name {cluster} --principal-arn {}",
                shell(arn)
            ),
            format!(
                "aws eks associate-access-policy --region {region} --cluster-name {cluster} --principal-arn {} --policy-arn \
                 arn:{partition}:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy --access-scope type=cluster",
                shell(arn)
            ),
        ],
    };
    match mode {
        AuthenticationMode::ConfigMap => MappingRemedy {
            text: format!(
                "add the entry to {key} (kubectl edit --namespace kube-system configmap/aws-auth), or let eksctl do it"
            ),
            aws_auth_entry: Some(entry),
            commands: vec![eksctl],
        },
        AuthenticationMode::ApiAndConfigMap => MappingRemedy {
            text: format!(
                "create an access entry, or add the entry to {key} of aws-auth; one of the two is enough"
            ),
            aws_auth_entry: Some(entry),
            commands: create,
        },
        AuthenticationMode::Api => MappingRemedy {
            text: "create an access entry; aws-auth does not count in mode API".to_owned(),
            aws_auth_entry: None,
            commands: create,
        },
    }
}

/// A word for a POSIX shell.
fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@=+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let word: String = word.chars().filter(|c| !c.is_control()).collect();
    format!("'{}'", word.replace('\'', r"'\''"))
}
