//! Does the cluster take the instances of a role for nodes? And the remedies, as an aws-auth entry and as commands.
//!
//! What a node must be called and which groups it needs: EKS user guide, "Apply the aws-auth ConfigMap", "Windows" and
//! "Pod execution IAM role"; types of access entries: "Create access entries".

use super::decide::{Cluster, Decision, Existence, Outcome, PassedOverBecause, SourceKind, decide};
use super::entries::{AccessEntry, AuthenticationMode, EntryType};
use super::principal::{Arn, Caller};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What runs under the role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
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
    /// The role of the instance profile that the node class really uses, if that is known and another one.
    pub profile_role: Option<&'a str>,
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
            profile_role: None,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// The instance profile has another role, and that is the one nodes run under.
    OtherProfileRole {
        /// The profile's role.
        profile: String,
    },
    /// Managed node groups share the role: EKS edits aws-auth when they are deleted.
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
}

/// Judges the mapping of a node role.
pub fn judge_node_role(cluster: &Cluster<'_>, names: ClusterNames<'_>, role: &NodeRole<'_>) -> NodeVerdict {
    let caller = match Caller::of_role(role.arn, Some(role.kind.session())) {
        Ok(caller) => caller,
        Err(error) => {
            return NodeVerdict {
                standing: Standing::Broken,
                faults: vec![NodeFault::NotARole],
                message: format!("{} cannot be a node role: {error}", role.arn),
                decision: Decision::refused(role.arn, &error),
                remedy: None,
            };
        }
    };
    let caller = caller
        .with_private_dns_name(Some(DNS_NAME.to_owned()))
        .with_principal_id(role.id.map(str::to_owned));
    let decision = decide(cluster, &caller, role.existence);
    let mut judge = Judge {
        faults: Vec::new(),
        standing: Standing::Well,
        sentences: Vec::new(),
    };
    judge.mapping(cluster, role, &caller, &decision);
    judge.surroundings(names, role, &caller);
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
    let remedy = (judge.standing != Standing::Well && judge.standing != Standing::Unknown)
        .then(|| node_remedy(cluster, names, role, &judge.faults, &decision));
    NodeVerdict {
        standing: judge.standing,
        faults: judge.faults,
        message: judge.sentences.join(". "),
        decision,
        remedy,
    }
}

struct Judge {
    faults: Vec<NodeFault>,
    standing: Standing,
    sentences: Vec<String>,
}

impl Judge {
    fn fault(&mut self, standing: Standing, fault: NodeFault, sentence: String) {
        if standing > self.standing {
            self.faults.insert(0, fault);
            self.sentences.insert(0, sentence);
            self.standing = standing;
        } else {
            self.faults.push(fault);
            self.sentences.push(sentence);
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
                for over in decision
                    .passed_over
                    .iter()
                    .filter(|over| over.because != PassedOverBecause::Stale)
                    .take(3)
                {
                    sentence = format!("{sentence}; {}", over.message);
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
                    format!("{plural} of {arn} are refused: {}", decision.reason),
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
                if self.standing == Standing::Well {
                    self.sentences
                        .push(format!("{plural} of {arn} are mapped by {place}"));
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
            self.sentences.push(format!("{plural} are mapped by the {place}"));
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
                over.message.clone(),
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
                    "{place} does not give {plural} the group {}{hint}",
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

    fn surroundings(&mut self, names: ClusterNames<'_>, role: &NodeRole<'_>, caller: &Caller) {
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
        if let Some(profile) = role.profile_role
            && !super::gostr::equal_fold(profile, role.arn)
        {
            self.fault(
                Standing::Broken,
                NodeFault::OtherProfileRole {
                    profile: profile.to_owned(),
                },
                format!(
                    "the instance profile has the role {profile}, not {}: nodes run under the profile's role",
                    role.arn
                ),
            );
        }
        if !role.node_groups.is_empty() {
            self.fault(
                Standing::Flawed,
                NodeFault::SharedWithNodeGroup { node_groups: role.node_groups.to_vec() },
                format!(
                    "the role is shared with managed node group {}: when that is deleted, EKS may take the role out of \
                     aws-auth, and Karpenter's nodes with it",
                    role.node_groups.join(", ")
                ),
            );
        }
    }
}

fn node_remedy(
    cluster: &Cluster<'_>,
    names: ClusterNames<'_>,
    role: &NodeRole<'_>,
    faults: &[NodeFault],
    decision: &Decision,
) -> MappingRemedy {
    let profile = faults.iter().find_map(|fault| match fault {
        NodeFault::OtherProfileRole { profile } => Some(profile.as_str()),
        _ => None,
    });
    if faults.iter().any(|fault| {
        matches!(
            fault,
            NodeFault::OtherPartition { .. } | NodeFault::OtherAccount { .. } | NodeFault::RoleDeleted
        )
    }) {
        return MappingRemedy {
            text: format!(
                "give the node class a role of account {} in partition {} that exists, and map that",
                names.account, names.partition
            ),
            ..MappingRemedy::default()
        };
    }
    let only_shared = faults
        .iter()
        .all(|fault| matches!(fault, NodeFault::SharedWithNodeGroup { .. }));
    if only_shared {
        return MappingRemedy {
            text: "give Karpenter's nodes a role of their own, with its own mapping".to_owned(),
            ..MappingRemedy::default()
        };
    }
    if let Some(NodeFault::Lost { line }) = faults
        .iter()
        .find(|fault| matches!(fault, NodeFault::Lost { .. }))
    {
        let fix = decision
            .problems
            .iter()
            .find(|problem| problem.line == *line)
            .map(|problem| problem.fix.clone());
        let mut remedy = mapping_remedy(cluster.mode, names, role.arn, Want::Node(role.kind));
        remedy.text = format!(
            "mend mapRoles first: {}. Then: {}",
            fix.unwrap_or_default(),
            remedy.text
        );
        return remedy;
    }
    let mut remedy = mapping_remedy(
        cluster.mode,
        names,
        profile.unwrap_or(role.arn),
        Want::Node(role.kind),
    );
    let entry_in_the_way = faults
        .iter()
        .any(|fault| matches!(fault, NodeFault::WrongEntryType { .. } | NodeFault::StaleEntry));
    if entry_in_the_way {
        let arn = entry_arn(cluster.entries.unwrap_or_default(), role.arn);
        remedy = mapping_remedy(AuthenticationMode::Api, names, &arn, Want::Node(role.kind));
        remedy.text = format!(
            "delete the access entry and create it again as {}: an entry's type and the principal it is bound to cannot be \
             changed",
            role.kind.entry_type().as_str()
        );
        remedy.commands.insert(
            0,
            format!(
                "aws eks delete-access-entry --region {} --cluster-name {} --principal-arn {}",
                shell(names.region),
                shell(names.cluster),
                shell(&arn)
            ),
        );
    } else if let Some(line) = decision.source.as_ref().and_then(|source| source.line) {
        remedy.text = format!("replace the entry at line {line} of mapRoles by the one below");
        // eksctl adds a second entry for the same ARN; the last one wins, but two are one too many.
        remedy.commands.retain(|command| !command.starts_with("eksctl"));
    }
    remedy
}

/// The ARN of the entry that names the role, with its path.
fn entry_arn(entries: &[AccessEntry], role_arn: &str) -> String {
    let bare = super::principal::without_path(role_arn);
    entries
        .iter()
        .find(|entry| super::gostr::equal_fold(&super::principal::without_path(&entry.principal_arn), &bare))
        .map_or_else(|| role_arn.to_owned(), |entry| entry.principal_arn.clone())
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
