//! Who has which access in a state of the cluster's mappings.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use super::{caller_of, role_in};
use crate::facts::bindings::Rights;
use eks_aws_auth::{
    AccessEntry, AssociatedPolicy, AuthenticationMode, AwsAuth, Caller, Cluster, EntryType, Existence,
    Outcome, PrincipalKind, Settings, SourceKind, outcomes,
};
use iam_policy::arn::Arn;

pub(crate) const MASTERS: &str = "system:masters";
const CLUSTER_ADMIN: &str = "AmazonEKSClusterAdminPolicy";

/// A principal that is named somewhere, or all the others of an account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// By its ARN; a role's with its path where that is known.
    Principal(String),
    /// Every principal of this account that is not named itself (mapAccounts).
    Account(String),
}

impl Subject {
    /// One text for all ways to write the same principal: aws-auth leaves a role's path out, and case does not matter.
    pub(super) fn key(&self) -> String {
        match self {
            Self::Account(account) => account.clone(),
            Self::Principal(arn) => match (arn.parse::<Arn>(), role_in(arn)) {
                (Ok(parsed), Some(role)) => {
                    format!("{} {} {role}", parsed.partition.as_str(), parsed.account)
                }
                _ => arn.clone(),
            }
            .to_lowercase(),
        }
    }

    /// As a person reads it.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Principal(arn) => arn.clone(),
            Self::Account(account) => format!("every other principal of account {account}"),
        }
    }
}

/// What a principal gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Grant {
    /// With its placeholders.
    pub(crate) username: String,
    /// Without `system:authenticated`, which the API server gives everyone.
    pub(crate) groups: BTreeSet<String>,
    /// `AmazonEKSViewPolicy (namespaces a, b)`.
    pub(crate) policies: BTreeSet<String>,
    /// The line or the entry.
    pub(crate) from: String,
    /// The type of the access entry; none: a line of aws-auth gives it.
    #[serde(rename = "entryType", skip_serializing_if = "Option::is_none")]
    pub(crate) entry: Option<EntryType>,
}

impl Grant {
    /// Cluster administrators are those of `system:masters`, of EKS's policy for the whole cluster, and whomever a
    /// ClusterRoleBinding gives `cluster-admin`.
    pub(crate) fn is_admin(&self, rights: Option<&Rights>) -> bool {
        let bound = |rights: &Rights| {
            let of_groups = self.groups.iter().flat_map(|group| rights.of_group(group));
            let of_user = rights
                .of_user(&self.username)
                .into_iter()
                .map(|(_, binding)| binding);
            of_groups.chain(of_user).any(|binding| {
                binding.namespace.is_none() && binding.cluster_role && binding.role == "cluster-admin"
            })
        };
        self.groups.contains(MASTERS)
            || self
                .policies
                .iter()
                .any(|policy| policy.starts_with(CLUSTER_ADMIN) && policy.ends_with("(whole cluster)"))
            || rights.is_some_and(bound)
    }

    pub(crate) fn is_node(&self) -> bool {
        self.username.starts_with("system:node:") || self.entry == Some(EntryType::Ec2)
    }

    pub(crate) fn is_fargate(&self) -> bool {
        self.is_node()
            && (self.groups.contains("system:node-proxier") || self.entry == Some(EntryType::FargateLinux))
    }
}

/// A policy as a person reads it.
pub(crate) fn policy_shown(policy: &AssociatedPolicy) -> String {
    let name = policy.policy_arn.rsplit('/').next().unwrap_or_default();
    if policy.access_scope.kind.eq_ignore_ascii_case("namespace") {
        format!(
            "{name} (namespaces {})",
            policy.access_scope.namespaces.join(", ")
        )
    } else {
        format!("{name} (whole cluster)")
    }
}

/// The access of a principal, as far as it is certain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", tag = "access")]
pub(crate) enum Access {
    /// It gets in.
    Granted(Grant),
    /// It does not.
    None {
        /// Why.
        why: String,
    },
    /// Something that decides is not known.
    Unknown {
        /// What.
        why: String,
    },
}

impl Access {
    pub(crate) fn grant(&self) -> Option<&Grant> {
        match self {
            Self::Granted(grant) => Some(grant),
            _ => None,
        }
    }
}

/// A state of the mappings: live, from files, or planned.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) mode: AuthenticationMode,
    /// None: it could not be read.
    pub(crate) aws_auth: Option<AwsAuth>,
    /// None: they could not be read.
    pub(crate) entries: Option<Vec<AccessEntry>>,
    /// What IAM says of a role, with its full ARN, by the subject's key.
    roles: HashMap<String, (Existence, Option<String>)>,
    /// Whose access is not known whatever the mappings say, by the subject's key, and why.
    open: HashMap<String, String>,
    by_subject: HashMap<String, Vec<usize>>,
}

impl State {
    pub(crate) fn new(
        mode: AuthenticationMode,
        aws_auth: Option<AwsAuth>,
        entries: Option<Vec<AccessEntry>>,
    ) -> Self {
        let mut by_subject: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, entry) in entries.iter().flatten().enumerate() {
            let key = Subject::Principal(entry.principal_arn.clone()).key();
            by_subject.entry(key).or_default().push(index);
        }
        Self {
            mode,
            aws_auth,
            entries,
            roles: HashMap::new(),
            open: HashMap::new(),
            by_subject,
        }
    }

    /// Another aws-auth.
    pub(crate) fn set_aws_auth(&mut self, aws_auth: AwsAuth) {
        self.aws_auth = Some(aws_auth);
    }

    /// Other access entries.
    pub(crate) fn set_entries(&mut self, entries: Vec<AccessEntry>) {
        let other = Self::new(self.mode, self.aws_auth.take(), Some(entries));
        let roles = std::mem::take(&mut self.roles);
        *self = Self { roles, ..other };
    }

    /// The same with what IAM says of roles: existence, and the full ARN of those that exist.
    #[must_use]
    pub(crate) fn with_roles(
        mut self,
        roles: impl IntoIterator<Item = (String, Existence, Option<String>)>,
    ) -> Self {
        for (arn, existence, full) in roles {
            self.roles
                .insert(Subject::Principal(arn).key(), (existence, full));
        }
        self
    }

    /// What IAM says does not change with the mappings.
    pub(crate) fn take_roles(&mut self, other: &Self) {
        self.roles.clone_from(&other.roles);
    }

    /// The access of this principal is not known, for this reason.
    pub(super) fn leave_open(&mut self, arn: &str, why: String) {
        self.open.insert(Subject::Principal(arn.to_owned()).key(), why);
    }

    /// The principals of aws-auth's lines, as IAM writes them; lines that match no one are for no one.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        let lines = self
            .aws_auth
            .iter()
            .flat_map(|map| map.roles.iter().chain(&map.users));
        lines.filter_map(eks_aws_auth::Mapping::principal)
    }

    /// Everything that decides in this state.
    pub(crate) fn cluster(&self) -> Cluster<'_> {
        Cluster {
            mode: self.mode,
            aws_auth: self.aws_auth.as_ref(),
            entries: self.entries.as_deref(),
            settings: Settings::default(),
        }
    }

    pub(crate) fn existence(&self, arn: &str) -> Existence {
        let known = self.roles.get(&Subject::Principal(arn.to_owned()).key());
        known.map_or(Existence::Unknown, |(existence, _)| *existence)
    }

    /// The same of the role that an entry is for, path included: an account has one role of a name.
    pub(crate) fn existence_of_entry(&self, arn: &str) -> Existence {
        match self.full_arn(arn) {
            Some(full) if !full.eq_ignore_ascii_case(arn) => Existence::Deleted,
            _ => self.existence(arn),
        }
    }

    /// The role's ARN with its path, as IAM has it.
    pub(crate) fn full_arn(&self, arn: &str) -> Option<&str> {
        self.roles
            .get(&Subject::Principal(arn.to_owned()).key())?
            .1
            .as_deref()
    }

    /// Whom it names, by key. Entries come first: they know a role's path.
    pub(crate) fn subjects(&self) -> BTreeMap<String, Subject> {
        let of_entries = self
            .entries
            .iter()
            .flatten()
            .map(|entry| entry.principal_arn.clone());
        // A session is no one's principal, neither in an entry nor in a line.
        let is_principal =
            |arn: &String| caller_of(arn).is_ok_and(|caller| caller.kind != PrincipalKind::AssumedRole);
        let principals = of_entries
            .filter(is_principal)
            .chain(self.lines())
            .map(|arn| Subject::Principal(self.full_arn(&arn).map_or(arn.clone(), str::to_owned)));
        let accounts = self.aws_auth.iter().flat_map(|map| &map.accounts);
        let accounts = accounts
            .filter(|account| account.account.len() == 12)
            .map(|account| Subject::Account(account.account.clone()));
        let mut subjects = BTreeMap::new();
        for subject in principals.chain(accounts) {
            subjects.entry(subject.key()).or_insert(subject);
        }
        subjects
    }

    /// What a subject gets. As long for a large state as for a small one.
    pub(crate) fn access(&self, subject: &Subject) -> Access {
        if self.mode.uses_entries() && self.entries.is_none() {
            return Access::Unknown {
                why: "the access entries could not be read".to_owned(),
            };
        }
        let aws_auth_unread = self.mode.uses_aws_auth() && self.aws_auth.is_none();
        let unread = || Access::Unknown {
            why: "aws-auth could not be read".to_owned(),
        };
        let arn = match subject {
            Subject::Principal(arn) => arn,
            Subject::Account(account) => {
                if aws_auth_unread {
                    return unread();
                }
                let counts = self.mode.uses_aws_auth();
                let listed = self
                    .aws_auth
                    .iter()
                    .flat_map(|map| &map.accounts)
                    .find(|one| one.account == *account);
                return match listed.filter(|_| counts) {
                    Some(listed) => Access::Granted(Grant {
                        username: "(its own ARN)".to_owned(),
                        from: format!("mapAccounts line {}", listed.line),
                        ..Grant::default()
                    }),
                    None => Access::None {
                        why: "mapAccounts does not list the account".to_owned(),
                    },
                };
            }
        };
        let caller = match caller_of(arn) {
            Ok(caller) => caller,
            Err(error) => {
                return Access::None {
                    why: error.to_string(),
                };
            }
        };
        if let Some(why) = self.open.get(&subject.key()) {
            return Access::Unknown { why: why.clone() };
        }
        let caller = match (self.full_arn(arn), caller.kind) {
            (Some(full), PrincipalKind::Role | PrincipalKind::AssumedRole) => caller.with_role_arn(full),
            // Which path the role has, only IAM knows: of entries that differ in it, one is for a role that is gone.
            _ => Caller {
                role_arn: None,
                ..caller
            },
        };
        let all = self.entries.as_deref().unwrap_or_default();
        let mine = self.by_subject.get(&subject.key()).into_iter().flatten();
        let mine: Vec<AccessEntry> = mine.filter_map(|&index| all.get(index).cloned()).collect();
        let cluster = Cluster {
            entries: Some(&mine),
            ..self.cluster()
        };
        let ways = outcomes(&cluster, &caller, self.existence(arn));
        let by_entry = |source: SourceKind| source == SourceKind::AccessEntry;
        match ways.as_slice() {
            [] if aws_auth_unread => unread(),
            [] => Access::None {
                why: "nothing maps it".to_owned(),
            },
            [way] => {
                let Some(source) = &way.source else {
                    return Access::None {
                        why: way.reason.clone(),
                    };
                };
                if aws_auth_unread && !by_entry(source.kind) {
                    return unread();
                }
                if way.outcome != Outcome::Mapped {
                    return Access::None {
                        why: way.reason.clone(),
                    };
                }
                let entry = source
                    .index
                    .filter(|_| by_entry(source.kind))
                    .and_then(|index| mine.get(index));
                let (Some(username), true) = (&way.username, entry.is_none_or(is_read)) else {
                    return Access::Unknown {
                        why: format!("the username or the policies of the {source} were not read"),
                    };
                };
                let policies = entry
                    .and_then(|entry| entry.policies.as_deref())
                    .unwrap_or_default();
                Access::Granted(Grant {
                    username: username.clone(),
                    groups: groups_of(&way.groups),
                    policies: policies.iter().map(policy_shown).collect(),
                    from: source.to_string(),
                    entry: entry.map(|entry| entry.kind.clone().unwrap_or(EntryType::Standard)),
                })
            }
            several => Access::Unknown {
                why: format!(
                    "{} outcomes are possible, and which one it is depends on chance",
                    several.len()
                ),
            },
        }
    }
}

/// Whether an entry's policies are known; only these types can have any.
fn is_read(entry: &AccessEntry) -> bool {
    entry.policies.is_some() || !matches!(entry.kind_str(), "STANDARD" | "EC2")
}

pub(crate) fn groups_of(groups: &[String]) -> BTreeSet<String> {
    let groups = groups
        .iter()
        .filter(|group| group.as_str() != "system:authenticated");
    groups.cloned().collect()
}
