//! The way from aws-auth to access entries: a plan, and the proof of what it changes. Writes nothing.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::{Deserialize, Serialize};

use super::caller_of;
use super::diff::{Diff, Fate, diff, words};
use super::state::{Access, Grant, MASTERS, State, Subject};
use crate::facts::bindings::{Binding, Rights};
use crate::model::{Command, Exit, Target};
use crate::report::whois::Placed;
use eks_aws_auth::{
    AccessEntry, AccessScope, AssociatedPolicy, AuthenticationMode, AwsAuth, EntryType, Existence,
    PrincipalKind, Problem, State as Standing, list_all,
};

/// An access entry to be created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Planned {
    pub(crate) principal_arn: String,
    #[serde(rename = "type")]
    pub(crate) kind: EntryType,
    /// None: what EKS gives by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) username: Option<String>,
    pub(crate) kubernetes_groups: Vec<String>,
    /// ARNs of access policies, for the whole cluster.
    pub(crate) policies: Vec<String>,
    /// The line that it replaces.
    pub(crate) from: String,
    /// The principal has an entry that does not count; it is deleted first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) replaces_entry: bool,
}

/// Something that does not become an access entry, or not all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct NotCarried {
    pub(crate) principal: String,
    pub(crate) from: String,
    pub(crate) why: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) commands: Vec<String>,
}

/// A step, with the check after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Step {
    pub(crate) title: String,
    pub(crate) note: String,
    pub(crate) commands: Vec<String>,
    pub(crate) check: Vec<String>,
}

/// The plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Plan {
    /// The mode that the cluster has now.
    pub(crate) authentication_mode: AuthenticationMode,
    pub(crate) entries: Vec<Planned>,
    /// Lines that match no one: nothing is lost by leaving them out.
    pub(crate) left_out: Vec<NotCarried>,
    pub(crate) not_carried: Vec<NotCarried>,
    pub(crate) steps: Vec<Step>,
    /// The access of every principal before the first step and after the last.
    pub(crate) proof: Diff,
    pub(crate) caveats: Vec<String>,
    /// The mistakes in aws-auth that lose something.
    pub(crate) problems: Vec<Placed<Problem>>,
}

/// The file that the plan's first step saves, and its checks read.
const PLAN_FILE: &str = "access-plan.json";

/// Prefixes that usernames of access entries must not have (EKS user guide, "Create access entries").
const RESERVED: [&str; 5] = ["system:", "eks:", "aws:", "amazon:", "iam:"];

/// Why EKS does not take a username for an entry, if it does not.
fn username_fault(username: &str) -> Option<&'static str> {
    if username.is_empty() {
        return Some("the username is empty");
    }
    if RESERVED.iter().any(|prefix| username.starts_with(prefix)) {
        return Some("access entries reserve this prefix of usernames");
    }
    let rest = username.replace("{{SessionName}}", "");
    if rest.contains("{{") {
        return Some("access entries have no such placeholder");
    }
    match username.find("{{SessionName}}") {
        Some(at) if !username[..at].contains(':') => {
            Some("an access entry needs a colon before {{SessionName}}")
        }
        _ => None,
    }
}

/// The type of a node's entry, by what the line gives it.
fn node_type(grant: &Grant) -> Option<EntryType> {
    if !grant.groups.contains("system:nodes") {
        return None;
    }
    match grant.username.as_str() {
        "system:node:{{EC2PrivateDNSName}}" if grant.groups.contains("eks:kube-proxy-windows") => {
            Some(EntryType::Ec2Windows)
        }
        "system:node:{{EC2PrivateDNSName}}" => Some(EntryType::Ec2Linux),
        "system:node:{{SessionName}}" if grant.is_fargate() => Some(EntryType::FargateLinux),
        "system:node:{{SessionName}}" => Some(EntryType::HybridLinux),
        _ => None,
    }
}

/// Whom a binding is for.
#[derive(Clone, Copy)]
enum Bound {
    Group,
    User,
}

struct Planner<'a> {
    state: &'a State,
    target: &'a Target,
    rights: Option<&'a Rights>,
    /// Names of users and groups that mappings give.
    given: HashSet<String>,
    /// Groups with another name, and the commands that bind it.
    renamed: BTreeMap<String, (String, Vec<Command>)>,
    /// Bindings that are made for other names.
    made: Vec<Binding>,
    entries: Vec<Planned>,
    left_out: Vec<NotCarried>,
    not_carried: Vec<NotCarried>,
    rbac: Vec<Command>,
    /// Roles whose path was not read.
    without_path: Vec<String>,
    /// Principals whose end is not known, and why.
    open: Vec<(String, String)>,
}

impl<'a> Planner<'a> {
    fn new(state: &'a State, target: &'a Target, rights: Option<&'a Rights>) -> Self {
        let lines = state
            .aws_auth
            .iter()
            .flat_map(|map| map.roles.iter().chain(&map.users));
        let of_lines = lines.flat_map(|line| line.groups.iter().chain([&line.username]));
        let entries = state.entries.iter().flatten();
        let of_entries = entries.flat_map(|entry| entry.kubernetes_groups.iter().chain(&entry.username));
        Self {
            state,
            target,
            rights,
            given: of_lines.chain(of_entries).cloned().collect(),
            renamed: BTreeMap::new(),
            made: Vec::new(),
            entries: Vec::new(),
            left_out: Vec::new(),
            not_carried: Vec::new(),
            rbac: Vec::new(),
            without_path: Vec::new(),
            open: Vec::new(),
        }
    }

    fn not_carried(&mut self, principal: &str, from: &str, why: impl Into<String>, commands: &[Command]) {
        self.not_carried.push(NotCarried {
            principal: principal.to_owned(),
            from: from.to_owned(),
            why: why.into(),
            commands: Command::lines(commands),
        });
    }

    fn principal(&mut self, arn: &str, grant: &Grant) {
        let from = grant.from.as_str();
        let Ok(caller) = caller_of(arn) else { return };
        let role = caller.kind == PrincipalKind::Role;
        match caller.kind {
            PrincipalKind::FederatedUser => {
                return self.not_carried(arn, from, "an access entry takes roles and users only", &[]);
            }
            PrincipalKind::Role if arn.contains(":role/aws-service-role/") => {
                let why = "an access entry does not take service-linked roles";
                return self.not_carried(arn, from, why, &[]);
            }
            PrincipalKind::Role if self.state.existence(arn) == Existence::Deleted => {
                return self.left_out.push(NotCarried {
                    principal: arn.to_owned(),
                    from: from.to_owned(),
                    why: "IAM has no such role".to_owned(),
                    commands: Vec::new(),
                });
            }
            _ => {}
        }
        if role && self.state.full_arn(arn).is_none() {
            // Roles of permission sets always have a path.
            let name = caller.canonical_arn.rsplit('/').next().unwrap_or_default();
            if name.to_lowercase().starts_with("awsreservedsso_") {
                let why = "an access entry needs the role's ARN with its path (aws-reserved/sso.amazonaws.com/...), which was not read from IAM";
                let ask = self
                    .target
                    .aws(&["iam", "get-role", "--role-name", name, "--query", "Role.Arn"]);
                self.open.push((arn.to_owned(), why.to_owned()));
                return self.not_carried(arn, from, why, &[ask]);
            }
            self.without_path.push(arn.to_owned());
        }
        let mut planned = Planned {
            principal_arn: arn.to_owned(),
            kind: EntryType::Standard,
            username: None,
            kubernetes_groups: Vec::new(),
            policies: Vec::new(),
            from: grant.from.clone(),
            // What gives the access is a line: an entry for the same principal does not count.
            replaces_entry: self.state.mode.uses_entries()
                && self
                    .state
                    .entries
                    .iter()
                    .flatten()
                    .any(|entry| entry.principal_arn == arn),
        };
        if let Some(kind) = node_type(grant) {
            if !role
                || self
                    .target
                    .account
                    .as_ref()
                    .is_some_and(|own| *own != caller.account)
            {
                let why = format!(
                    "EKS takes the type {} for roles of the cluster's own account only: give these nodes a role of it",
                    kind.as_str()
                );
                return self.not_carried(arn, from, why, &[]);
            }
            if grant.groups.contains(MASTERS) {
                let why = "nodes are not made administrators: system:masters is left out";
                self.not_carried(arn, from, why, &[]);
            }
            planned.kind = kind;
            return self.entries.push(planned);
        }
        planned.username = self.username(arn, from, &grant.username);
        for group in &grant.groups {
            if group == MASTERS {
                planned.policies.push(format!(
                    "arn:{}:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy",
                    self.target.partition
                ));
            } else if group.starts_with("system:") {
                planned
                    .kubernetes_groups
                    .extend(self.renamed_group(arn, from, group));
            } else if group.contains("{{") || group.trim().is_empty() {
                let why = format!("the group {group:?} cannot be an access entry's");
                self.not_carried(arn, from, why, &[]);
            } else {
                planned.kubernetes_groups.push(group.clone());
            }
        }
        self.entries.push(planned);
    }

    /// The username of an entry; none: EKS's default.
    fn username(&mut self, arn: &str, from: &str, username: &str) -> Option<String> {
        let Some(fault) = username_fault(username) else {
            return Some(username.to_owned());
        };
        // Who is bound by its username keeps its rights under another one.
        let bound = self
            .rights
            .map(|rights| rights.of_user(username))
            .unwrap_or_default();
        let name = (!bound.is_empty())
            .then(|| self.new_name(Bound::User, username))
            .flatten();
        let Some(name) = name.filter(|name| username_fault(name).is_none()) else {
            let mut why = format!("the username {username:?} becomes EKS's default: {fault}");
            if self.rights.is_none() {
                why.push_str("; what is bound to the user could not be read");
            }
            self.not_carried(arn, from, why, &[]);
            return None;
        };
        let prefix = name.strip_suffix(bare(username)).unwrap_or_default().to_owned();
        let commands: Vec<Command> = bound
            .into_iter()
            .filter_map(|(user, binding)| self.bind(binding, Bound::User, &format!("{prefix}{}", bare(user))))
            .collect();
        let why = format!("the username {username:?} becomes {name:?}, with the same bindings: {fault}");
        self.not_carried(arn, from, why, &commands);
        self.rbac.extend(commands);
        Some(name)
    }

    /// A group that access entries reserve: its bindings are made again for one without the prefix.
    fn renamed_group(&mut self, arn: &str, from: &str, group: &str) -> Option<String> {
        let bound = match self.rights {
            None => {
                let why = format!(
                    "access entries reserve the group {group}, and what is bound to it could not be read"
                );
                self.not_carried(arn, from, why, &[]);
                return None;
            }
            Some(rights) => rights.of_group(group),
        };
        if bound.is_empty() {
            let why = format!("access entries reserve the group {group}; nothing is bound to it");
            self.not_carried(arn, from, why, &[]);
            return None;
        }
        if !self.renamed.contains_key(group) {
            let name = self.new_name(Bound::Group, group)?;
            let commands: Vec<Command> = bound
                .into_iter()
                .filter_map(|binding| self.bind(binding, Bound::Group, &name))
                .collect();
            self.rbac.extend(commands.iter().cloned());
            self.renamed.insert(group.to_owned(), (name, commands));
        }
        let (name, commands) = self.renamed.get(group)?.clone();
        let why =
            format!("access entries reserve the group {group}: it becomes {name}, with the same bindings");
        self.not_carried(arn, from, why, &commands);
        Some(name)
    }

    /// A name that gives no more and no less than this one did: either no one has it, or an earlier run of the plan bound it.
    fn new_name(&self, kind: Bound, old: &str) -> Option<String> {
        let candidates =
            ["migrated:", "migrated2:", "migrated3:"].map(|prefix| format!("{prefix}{}", bare(old)));
        candidates.into_iter().find(|name| {
            let made = self.bound(kind, name);
            match made.is_empty() {
                true => !self.given.contains(name),
                false => made == self.bound(kind, old),
            }
        })
    }

    /// What is bound to a name: namespace, role, and whether that is a ClusterRole.
    fn bound(&self, kind: Bound, name: &str) -> BTreeSet<(Option<&'a str>, &'a str, bool)> {
        let Some(rights) = self.rights else {
            return BTreeSet::new();
        };
        let bindings: Vec<&Binding> = match kind {
            Bound::Group => rights.of_group(name),
            Bound::User => rights
                .of_user(name)
                .into_iter()
                .map(|(_, binding)| binding)
                .collect(),
        };
        bindings.into_iter().map(Binding::role).collect()
    }

    /// The command that makes a binding again for another name; none: it is there.
    fn bind(&mut self, binding: &Binding, kind: Bound, name: &str) -> Option<Command> {
        let (users, groups) = match kind {
            Bound::Group => (Vec::new(), vec![name.to_owned()]),
            Bound::User => (vec![name.to_owned()], Vec::new()),
        };
        let again = Binding {
            users,
            groups,
            ..binding.clone()
        };
        if self.bound(kind, name).contains(&binding.role()) || self.made.contains(&again) {
            return None;
        }
        // A name of a binding may hold anything but these.
        let own = format!("{}-{}", name.replace(['/', '%'], "-"), self.made.len());
        self.made.push(again);
        let flag = match kind {
            Bound::Group => "--group",
            Bound::User => "--user",
        };
        let role = if binding.cluster_role {
            "--clusterrole"
        } else {
            "--role"
        };
        let mut words = match binding.namespace {
            None => vec!["create", "clusterrolebinding"],
            Some(_) => vec!["create", "rolebinding"],
        };
        words.extend([own.as_str(), role, &binding.role, flag, name]);
        words.extend(binding.namespace.iter().flat_map(|namespace| ["-n", namespace]));
        Some(self.target.kubectl(&words))
    }

    /// Lines that match no one.
    fn left_out(&mut self) {
        for listed in list_all(&self.state.cluster(), |arn| self.state.existence_of_entry(arn)) {
            let why = match listed.state {
                Standing::NeverMatches { why } | Standing::Dropped { why } | Standing::Stale { why } => why,
                Standing::Displaced { by_line } => {
                    format!("line {by_line} names the same principal, and wins")
                }
                _ => continue,
            };
            self.left_out.push(NotCarried {
                principal: listed.principal,
                from: listed.source.to_string(),
                why,
                commands: Vec::new(),
            });
        }
    }
}

/// A name without the prefix that entries reserve.
fn bare(name: &str) -> &str {
    name.strip_prefix("system:").unwrap_or(name)
}

/// What EKS makes of a planned entry, as far as its user guide says.
pub(super) fn made(planned: &Planned) -> AccessEntry {
    let default = || match caller_of(&planned.principal_arn) {
        Ok(caller) if caller.kind == PrincipalKind::Role => {
            let name = caller.canonical_arn.rsplit('/').next().unwrap_or_default();
            format!(
                "arn:{}:sts::{}:assumed-role/{name}/{{{{SessionName}}}}",
                caller.partition, caller.account
            )
        }
        _ => planned.principal_arn.clone(),
    };
    let (username, groups) = match planned.kind {
        EntryType::Ec2Linux | EntryType::Ec2Windows => (
            "system:node:{{EC2PrivateDNSName}}".to_owned(),
            vec!["system:nodes".to_owned()],
        ),
        EntryType::FargateLinux | EntryType::HybridLinux => (
            "system:node:{{SessionName}}".to_owned(),
            vec!["system:nodes".to_owned()],
        ),
        _ => (
            planned.username.clone().unwrap_or_else(default),
            planned.kubernetes_groups.clone(),
        ),
    };
    let policy = |arn: &String| AssociatedPolicy {
        policy_arn: arn.clone(),
        access_scope: AccessScope {
            kind: "cluster".to_owned(),
            namespaces: Vec::new(),
        },
    };
    AccessEntry {
        kubernetes_groups: groups,
        policies: Some(planned.policies.iter().map(policy).collect()),
        ..AccessEntry::new(&planned.principal_arn, planned.kind.clone(), &username, &[])
    }
}

/// How the cluster compares with a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Verification {
    /// How many entries the plan has.
    pub(crate) planned: usize,
    /// What the cluster does not have, or has otherwise.
    pub(crate) wrong: Vec<String>,
    /// What could not be read.
    pub(crate) unknown: Vec<String>,
}

impl Verification {
    pub(crate) fn exit(&self) -> Exit {
        match (self.wrong.is_empty(), self.unknown.is_empty()) {
            (true, true) => Exit::Done,
            (true, false) => Exit::Undecided,
            (false, _) => Exit::Failed,
        }
    }
}

/// Compares the cluster with the entries of a plan.
pub(crate) fn verify(planned: &[Planned], cluster: &State) -> Verification {
    let mut found = Verification {
        planned: planned.len(),
        ..Verification::default()
    };
    let Some(entries) = &cluster.entries else {
        found
            .unknown
            .push("the access entries could not be read".to_owned());
        return found;
    };
    if !cluster.mode.uses_entries() {
        found
            .wrong
            .push("the authentication mode is still CONFIG_MAP".to_owned());
        return found;
    }
    let mut promised = State::new(
        AuthenticationMode::Api,
        Some(AwsAuth::default()),
        Some(planned.iter().map(made).collect()),
    );
    promised.take_roles(cluster);
    let by_arn: BTreeMap<String, &AccessEntry> = entries
        .iter()
        .map(|entry| (entry.principal_arn.to_lowercase(), entry))
        .collect();
    for one in planned {
        let arn = &one.principal_arn;
        let subject = Subject::Principal(arn.clone());
        let Some(entry) = by_arn.get(&arn.to_lowercase()) else {
            found.wrong.push(format!("{arn} has no access entry"));
            continue;
        };
        let (kind, wanted) = (entry.kind_str(), one.kind.as_str());
        if kind != wanted {
            found
                .wrong
                .push(format!("{arn}: type {kind} instead of {wanted}"));
            continue;
        }
        match (promised.access(&subject), cluster.access(&subject)) {
            (Access::Granted(mut wanted), Access::Granted(is)) => {
                // What EKS gives by itself is known roughly: a node's groups, the username where none is given.
                if one.kind != EntryType::Standard {
                    continue;
                }
                if one.username.is_none() {
                    wanted.username.clone_from(&is.username);
                }
                let differs = words(&wanted, &is, None);
                found.wrong.extend(
                    differs
                        .iter()
                        .map(|what| format!("{arn}: against the plan, {what}")),
                );
            }
            (_, Access::Unknown { why }) => found.unknown.push(format!("{arn}: {why}")),
            (_, Access::None { why }) => found.wrong.push(format!("{arn}: {why}")),
            (Access::None { why } | Access::Unknown { why }, _) => {
                found.unknown.push(format!("{arn}: {why}"))
            }
        }
    }
    found
}

/// The state after the last step.
pub(super) fn ends_as(start: &State, planned: &[Planned]) -> State {
    let mut entries = match start.mode.uses_entries() {
        true => start.entries.clone().unwrap_or_default(),
        // They are the new ones alone.
        false => Vec::new(),
    };
    let replaced = planned.iter().filter(|one| one.replaces_entry);
    let replaced: HashSet<&str> = replaced.map(|one| one.principal_arn.as_str()).collect();
    entries.retain(|entry| !replaced.contains(entry.principal_arn.as_str()));
    entries.extend(planned.iter().map(made));
    // aws-auth does not count any more.
    let mut end = State::new(AuthenticationMode::Api, None, Some(entries));
    end.take_roles(start);
    end
}

/// Makes the plan. aws-auth, where it counts, and the access entries must have been read.
pub(crate) fn plan(state: &State, target: &Target, rights: Option<&Rights>, you: Option<&str>) -> Plan {
    let mut planner = Planner::new(state, target, rights);
    for subject in state.subjects().values() {
        match (subject, state.access(subject)) {
            (_, Access::Granted(grant)) if grant.entry.is_some() => {}
            (Subject::Principal(arn), Access::Granted(grant)) => planner.principal(arn, &grant),
            (Subject::Account(account), Access::Granted(grant)) => planner.not_carried(
                &subject.shown(),
                &grant.from,
                format!("access entries know no whole account: name those principals of {account} that use the cluster"),
                &[],
            ),
            (_, Access::Unknown { why }) => planner.not_carried(&subject.shown(), "", why, &[]),
            (_, Access::None { .. }) => {}
        }
    }
    planner.left_out();
    let mut end = ends_as(state, &planner.entries);
    for (arn, why) in &planner.open {
        end.leave_open(arn, why.clone());
    }
    // The new names are bound before the entries are made.
    let rights = rights.map(|rights| rights.with(&planner.made));
    let mut caveats = Vec::new();
    if planner.entries.iter().any(|one| one.kind != EntryType::Standard) {
        caveats.push(
            "the type of a node's entry gives it what the groups of its line gave it, also where the proof says that a group is lost"
                .to_owned(),
        );
    }
    if let Some(first) = planner.without_path.first() {
        caveats.push(format!(
            "whether {} has a path could not be read from IAM: an access entry needs the role's ARN with its path, and EKS refuses \
             one without{}",
            first,
            match planner.without_path.len() {
                1 => String::new(),
                n => format!(" (the same for {} more)", n - 1),
            }
        ));
    }
    Plan {
        authentication_mode: state.mode,
        steps: steps(target, state.mode, &planner.entries, &planner.rbac),
        proof: diff(state, &end, you, rights.as_ref()),
        entries: planner.entries,
        left_out: planner.left_out,
        not_carried: planner.not_carried,
        caveats,
        problems: Vec::new(),
    }
}

fn steps(target: &Target, mode: AuthenticationMode, entries: &[Planned], rbac: &[Command]) -> Vec<Step> {
    // aws-auth does not count any more: there is nothing to carry over.
    if mode == AuthenticationMode::Api {
        return Vec::new();
    }
    let cluster = target.cluster.as_str();
    let switch = |mode: &str| {
        let config = format!("authenticationMode={mode}");
        target.aws(&[
            "eks",
            "update-cluster-config",
            "--name",
            cluster,
            "--access-config",
            &config,
        ])
    };
    let wait = target.aws(&["eks", "wait", "cluster-active", "--name", cluster]);
    let shows = target.aws(&[
        "eks",
        "describe-cluster",
        "--name",
        cluster,
        "--query",
        "cluster.accessConfig",
    ]);
    let step = |title: &str, note: &str, commands: &[Command], check: &[Command]| Step {
        title: title.to_owned(),
        note: note.to_owned(),
        commands: Command::lines(commands),
        check: Command::lines(check),
    };
    let mut steps = vec![step(
        "Save aws-auth and this plan",
        "The way back from API_AND_CONFIG_MAP: delete the new entries, and the lines count again.",
        &[
            target
                .kubectl(&["get", "configmap", "aws-auth", "-n", "kube-system", "-o", "yaml"])
                .into_file("aws-auth-before.yaml"),
            target
                .capt_spot(&["access", "migrate", "-o", "json"])
                .into_file(PLAN_FILE),
        ],
        &[],
    )];
    if mode == AuthenticationMode::ConfigMap {
        steps.push(step(
            "Let access entries count",
            "This cannot be undone: the mode never goes back to CONFIG_MAP. In CONFIG_MAP mode the cluster's creator is an administrator \
             that AWS does not show; from here on it is an access entry, unless the platform version is too old: look for it, and keep \
             it. EKS also makes the entries of managed node groups and Fargate profiles.",
            &[switch("API_AND_CONFIG_MAP"), wait.clone()],
            &[shows.clone(), target.aws(&["eks", "list-access-entries", "--cluster-name", cluster])],
        ));
    }
    if !rbac.is_empty() {
        steps.push(step(
            "Bind the names that change",
            "Before the entries: an entry hides its line at once.",
            rbac,
            &[],
        ));
    }
    let mut create = Vec::new();
    for entry in entries {
        let of = |verb: &str, more: &[&str]| {
            let arn = entry.principal_arn.as_str();
            let words = ["eks", verb, "--cluster-name", cluster, "--principal-arn", arn];
            target.aws(&[&words[..], more].concat())
        };
        if entry.replaces_entry {
            create.push(of("delete-access-entry", &[]));
        }
        let mut words = vec!["--type", entry.kind.as_str()];
        if let Some(username) = &entry.username {
            words.extend(["--username", username]);
        }
        if !entry.kubernetes_groups.is_empty() {
            words.push("--kubernetes-groups");
            words.extend(entry.kubernetes_groups.iter().map(String::as_str));
        }
        create.push(of("create-access-entry", &words));
        for policy in &entry.policies {
            create.push(of(
                "associate-access-policy",
                &["--policy-arn", policy, "--access-scope", "type=cluster"],
            ));
        }
    }
    if !create.is_empty() {
        steps.push(step(
            "Create the access entries",
            "Each hides its line at once. An administrator has no rights between its two commands. Where EKS says \
             ResourceInUseException, it has made the entry already.",
            &create,
            &[
                target.capt_spot(&["access", "migrate", "--verify", PLAN_FILE]),
                target.capt_spot(&["access", "diff", "--authentication-mode", "API"]),
            ],
        ));
    }
    steps.push(step(
        "Let aws-auth no longer count",
        "This cannot be undone. Wait until new nodes have joined by their entries.",
        &[switch("API"), wait],
        &[shows, target.capt_spot(&["preflight"])],
    ));
    steps
}

impl Plan {
    /// 1 where somebody loses access, 3 where that is unknown.
    pub(crate) fn exit(&self) -> Exit {
        match (self.proof.count(Fate::Lost), self.proof.count(Fate::Unknown)) {
            (0, 0) => Exit::Done,
            (0, _) => Exit::Undecided,
            _ => Exit::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fixture::healthy;

    const LINES: &str = "\
- rolearn: arn:aws:iam::111122223333:role/demo-node
  username: system:node:{{EC2PrivateDNSName}}
  groups: [system:bootstrappers, system:nodes]
- rolearn: arn:aws:iam::111122223333:role/Admin
  username: admin:{{SessionName}}
  groups: [system:masters]
- rolearn: arn:aws:iam::111122223333:role/team/Dev
  username: dev
- rolearn: arn:aws:iam::111122223333:role/Viewer
  username: '{{SessionName}}'
  groups: [viewers, system:developers]
- rolearn: arn:aws:iam::111122223333:role/Robot
  username: system:robot
- rolearn: arn:aws:iam::111122223333:role/Twin
  username: twin
- rolearn: arn:aws:iam::999999999999:role/twin
  username: twin
";

    fn state(mode: AuthenticationMode, roles: &str, accounts: &str, entries: Vec<AccessEntry>) -> State {
        let data = [("mapRoles", roles), ("mapAccounts", accounts)];
        let data = data.map(|(key, text)| (key.to_owned(), text.to_owned()));
        State::new(mode, Some(AwsAuth::parse(&data.into())), Some(entries))
    }

    fn rights() -> Rights {
        let binding = |namespace: &str, users: &[&str], groups: &[&str]| Binding {
            namespace: Some(namespace.to_owned()),
            role: "edit".to_owned(),
            cluster_role: true,
            users: users.iter().map(|&user| user.to_owned()).collect(),
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
        };
        Rights::new(vec![
            binding("a", &[], &["system:developers"]),
            binding("b", &["system:robot"], &["system:developers"]),
            binding("c", &["jo"], &[]),
        ])
    }

    fn planned(state: &State) -> Plan {
        plan(state, &healthy().target, Some(&rights()), None)
    }

    #[test]
    fn the_whole_way() {
        let start = state(
            AuthenticationMode::ConfigMap,
            LINES,
            "- \"444455556666\"\n",
            Vec::new(),
        );
        let plan = planned(&start);
        let target = healthy().target;
        insta::assert_json_snapshot!(plan);
        let forms = [
            serde_yaml::to_string(&plan.eksctl(&target)).unwrap(),
            serde_yaml::to_string(&plan.cloudformation(&target)).unwrap(),
            plan.terraform(&target),
        ];
        insta::assert_snapshot!("the_forms", forms.join("\n----\n"));
    }

    #[test]
    fn what_was_carried_out_is_verified() {
        let start = state(AuthenticationMode::ConfigMap, LINES, "", Vec::new());
        let plan = planned(&start);
        let wrong = |state: &State| verify(&plan.entries, state).wrong;
        assert_eq!(wrong(&start), ["the authentication mode is still CONFIG_MAP"]);
        let with = |entries: Vec<AccessEntry>| state(AuthenticationMode::Api, LINES, "", entries);
        assert_eq!(wrong(&with(Vec::new())).len(), plan.entries.len());
        let entries: Vec<AccessEntry> = plan.entries.iter().map(made).collect();
        let done = verify(&plan.entries, &with(entries.clone()));
        assert_eq!((done.exit(), done.planned), (Exit::Done, plan.entries.len()));

        let admin = "arn:aws:iam::111122223333:role/Admin";
        let at = entries
            .iter()
            .position(|entry| entry.principal_arn == admin)
            .unwrap();
        let changed = |change: &dyn Fn(&mut AccessEntry)| {
            let mut entries = entries.clone();
            change(&mut entries[at]);
            verify(&plan.entries, &with(entries))
        };
        let more = changed(&|entry| entry.kubernetes_groups.push("more".to_owned()));
        assert_eq!(
            more.wrong,
            [format!("{admin}: against the plan, gains group more")]
        );
        // The same policy, but not for the whole cluster.
        let narrower = changed(&|entry| {
            for policy in entry.policies.iter_mut().flatten() {
                policy.access_scope.kind = "namespace".to_owned();
                policy.access_scope.namespaces = vec!["a".to_owned()];
            }
        });
        assert_eq!(narrower.exit(), Exit::Failed);
        let node = changed(&|entry| entry.kind = Some(EntryType::Ec2Linux));
        assert_eq!(
            node.wrong,
            [format!("{admin}: type EC2_LINUX instead of STANDARD")]
        );
        assert_eq!(changed(&|entry| entry.policies = None).exit(), Exit::Undecided);
        // An entry that is older than its role is for a role that is gone.
        let created = |at: &str| Some(at.parse().unwrap());
        let mut entries = entries.clone();
        entries[at].created_at = created("2025-01-01T00:00:00Z");
        let since = Existence::Since("2026-01-01T00:00:00Z".parse().unwrap());
        let stale = with(entries).with_roles([(admin.to_owned(), since, Some(admin.to_owned()))]);
        assert_eq!(verify(&plan.entries, &stale).exit(), Exit::Failed);
        let unread = State::new(AuthenticationMode::Api, None, None);
        assert_eq!(verify(&plan.entries, &unread).exit(), Exit::Undecided);
    }

    #[test]
    fn usernames_that_eks_does_not_take() {
        for (username, good) in [
            ("dev", true),
            ("dev:{{SessionName}}", true),
            ("{{SessionName}}", false),
            ("dev-{{SessionName}}", false),
            ("system:dev", false),
            ("", false),
            ("dev:{{SessionNameRaw}}", false),
        ] {
            assert_eq!(username_fault(username).is_none(), good, "{username}");
        }
    }

    fn fate<'p>(plan: &'p Plan, principal: &str) -> Option<&'p crate::access::diff::Change> {
        plan.proof.items.iter().find(|item| item.principal == principal)
    }

    /// Worlds in which a plan that looks right would end somebody's access.
    #[test]
    fn what_would_make_same_a_lie() {
        let role = |name: &str| format!("arn:aws:iam::111122223333:role/{name}");
        let line = |arn: &str, user: &str, groups: &str| {
            format!("- rolearn: {arn}\n  username: \"{user}\"\n  groups: [{groups}]\n")
        };
        let both = AuthenticationMode::ApiAndConfigMap;
        let one = |arn: &str, user: &str, groups: &str| {
            planned(&state(
                AuthenticationMode::ConfigMap,
                &line(arn, user, groups),
                "",
                Vec::new(),
            ))
        };

        // A role of a permission set without its path: its entry would be for a role that is not there.
        let sso = role("AWSReservedSSO_Dev_0123456789abcdef");
        let plan = one(&sso, "dev", "g");
        assert_eq!(
            (plan.entries.len(), plan.exit()),
            (0, Exit::Undecided),
            "{plan:#?}"
        );
        let start = state(
            AuthenticationMode::ConfigMap,
            &line(&sso, "dev", "g"),
            "",
            Vec::new(),
        );
        let full = sso.replace("role/", "role/aws-reserved/sso.amazonaws.com/eu-west-1/");
        let start = start.with_roles([(sso.clone(), Existence::Unknown, Some(full.clone()))]);
        let plan = planned(&start);
        assert_eq!(plan.entries[0].principal_arn, full);
        assert_eq!(fate(&plan, &full).unwrap().result, Fate::Same);

        // Letter case does not matter to aws-auth; a session, a path or a blank match no one.
        let plan = one("ARN:AWS:IAM::111122223333:ROLE/Dev", "dev", "g");
        assert_eq!(plan.entries[0].principal_arn, role("Dev"));
        for never in [
            "arn:aws:sts::111122223333:assumed-role/Dev/s".to_owned(),
            role("team/Dev"),
            format!("\"{} \"", role("Dev")),
        ] {
            let plan = one(&never, "dev", "g");
            assert_eq!((plan.entries.len(), plan.left_out.len()), (0, 1), "{never}");
        }

        // EKS takes nodes' types for roles of its own account only.
        let mut target = healthy().target;
        target.account = Some("999999999999".to_owned());
        let node = line(&role("N"), "system:node:{{EC2PrivateDNSName}}", "system:nodes");
        let start = state(AuthenticationMode::ConfigMap, &node, "", Vec::new());
        let plan = plan_of(&start, &target);
        assert_eq!((plan.entries.len(), plan.exit()), (0, Exit::Failed));

        // An entry of a role that was made again does not count: it is deleted first, and so is not in the end state.
        let since = Existence::Since("2026-01-01T00:00:00Z".parse().unwrap());
        let old = AccessEntry {
            created_at: Some("2025-01-01T00:00:00Z".parse().unwrap()),
            policies: Some(Vec::new()),
            ..AccessEntry::new(&role("Dev"), EntryType::Standard, "other", &["other"])
        };
        let start = state(both, &line(&role("Dev"), "dev", "g"), "", vec![old.clone()]);
        let start = start.with_roles([(role("Dev"), since, Some(role("Dev")))]);
        let plan = planned(&start);
        assert_eq!(fate(&plan, &role("Dev")).unwrap().result, Fate::Same);
        let create = &plan
            .steps
            .iter()
            .find(|step| step.title.starts_with("Create"))
            .unwrap()
            .commands;
        assert!(create[0].contains("delete-access-entry"), "{create:?}");
        // One that counts hides its line, and stays as it is.
        let start = state(both, &line(&role("Dev"), "dev", "g"), "", vec![old]);
        let plan = planned(&start);
        assert_eq!((plan.entries.len(), plan.exit()), (0, Exit::Done));
        assert_eq!(fate(&plan, &role("Dev")).unwrap().result, Fate::Same);

        // A node's username for people: sessions that are no instance had no access, and get it.
        let plan = one(&role("P"), "system:node:{{EC2PrivateDNSName}}", "g");
        assert_eq!(fate(&plan, &role("P")).unwrap().result, Fate::Changed);

        // Another name must not give what somebody else has: `migrated:developers` is bound to more.
        let mut bindings = vec![
            ("a", "system:developers"),
            ("a", "migrated:developers"),
            ("b", "migrated:developers"),
        ];
        let rights = |bindings: &[(&str, &str)]| {
            Rights::new(
                bindings
                    .iter()
                    .map(|(namespace, group)| Binding {
                        namespace: Some((*namespace).to_owned()),
                        role: "edit".to_owned(),
                        cluster_role: true,
                        users: Vec::new(),
                        groups: vec![(*group).to_owned()],
                    })
                    .collect(),
            )
        };
        let start = state(
            AuthenticationMode::ConfigMap,
            &line(&role("D"), "d", "system:developers"),
            "",
            Vec::new(),
        );
        let groups = |rights: Rights| {
            super::plan(&start, &healthy().target, Some(&rights), None).entries[0]
                .kubernetes_groups
                .clone()
        };
        assert_eq!(groups(rights(&bindings)), ["migrated2:developers"]);
        // What an earlier run has bound is taken again.
        bindings.pop();
        assert_eq!(groups(rights(&bindings)), ["migrated:developers"]);
    }

    fn plan_of(state: &State, target: &Target) -> Plan {
        plan(state, target, Some(&rights()), None)
    }

    #[test]
    fn nothing_is_planned_where_aws_auth_does_not_count() {
        let start = state(AuthenticationMode::Api, LINES, "", Vec::new());
        let plan = planned(&start);
        assert_eq!(
            (plan.entries.len(), plan.steps.len(), plan.exit()),
            (0, 0, Exit::Done)
        );
    }
}
