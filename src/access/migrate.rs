//! The way from aws-auth to access entries: a plan, and the proof of what it changes. Writes nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};

use super::caller_of;
use super::diff::{Diff, Meaning, diff};
use super::state::{Access, Grant, MASTERS, State, Subject};
use crate::facts::bindings::Binding;
use crate::model::{Command, Exit, Target};
use crate::text::sanitize::{line, short_line};
use crate::text::style::{Style, bold, wrap};
use eks_aws_auth::{
    AccessEntry, AccessScope, AssociatedPolicy, AuthenticationMode, EntryType, Existence, PrincipalKind,
    State as Standing, list_all,
};

/// An access entry to be created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Planned {
    pub(crate) principal_arn: String,
    #[serde(rename = "type")]
    pub(crate) kind: EntryType,
    /// None: what EKS gives by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) username: Option<String>,
    pub(crate) kubernetes_groups: Vec<String>,
    /// ARNs of access policies, for the whole cluster.
    pub(crate) policies: Vec<String>,
    /// The line that it replaces.
    pub(crate) from: String,
}

/// Something that does not become an access entry, or not all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
pub(crate) struct Step {
    pub(crate) title: String,
    pub(crate) note: String,
    pub(crate) commands: Vec<String>,
    pub(crate) check: Vec<String>,
}

/// The plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Plan {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) authentication_mode: AuthenticationMode,
    pub(crate) entries: Vec<Planned>,
    /// Lines that match nobody: nothing is lost by leaving them out.
    pub(crate) left_out: Vec<NotCarried>,
    pub(crate) not_carried: Vec<NotCarried>,
    pub(crate) steps: Vec<Step>,
    /// The access of every principal before the first step and after the last.
    pub(crate) proof: Diff,
    pub(crate) caveats: Vec<String>,
}

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

struct Planner<'a> {
    state: &'a State,
    target: &'a Target,
    bindings: Option<&'a [Binding]>,
    entries: Vec<Planned>,
    left_out: Vec<NotCarried>,
    not_carried: Vec<NotCarried>,
    caveats: Vec<String>,
    rbac: Vec<Command>,
    /// Roles whose path is not known.
    unread: Vec<String>,
}

impl Planner<'_> {
    fn not_carried(&mut self, principal: &str, from: &str, why: impl Into<String>, commands: &[Command]) {
        self.rbac.extend(commands.iter().cloned());
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
        match caller.kind {
            PrincipalKind::FederatedUser => {
                return self.not_carried(arn, from, "an access entry takes roles and users only", &[]);
            }
            PrincipalKind::Role if arn.contains(":role/aws-service-role/") => {
                return self.not_carried(
                    arn,
                    from,
                    "an access entry does not take service-linked roles",
                    &[],
                );
            }
            PrincipalKind::Role if self.state.existence(arn) == Existence::Deleted => {
                return self.left_out.push(NotCarried {
                    principal: arn.to_owned(),
                    from: from.to_owned(),
                    why: "IAM has no such role".to_owned(),
                    commands: Vec::new(),
                });
            }
            PrincipalKind::Role if self.state.full_arn(arn).is_none() => self.unread.push(arn.to_owned()),
            _ => {}
        }
        let mut planned = Planned {
            principal_arn: arn.to_owned(),
            kind: EntryType::Standard,
            username: None,
            kubernetes_groups: Vec::new(),
            policies: Vec::new(),
            from: grant.from.clone(),
        };
        if let Some(kind) = node_type(grant) {
            if grant.groups.contains(MASTERS) {
                self.not_carried(
                    arn,
                    from,
                    "nodes are not made administrators: system:masters is left out",
                    &[],
                );
            }
            planned.kind = kind;
            return self.entries.push(planned);
        }
        match username_fault(&grant.username) {
            None => planned.username = Some(grant.username.clone()),
            Some(why) => self.not_carried(
                arn,
                from,
                format!("the username {:?} becomes EKS's default: {why}", grant.username),
                &[],
            ),
        }
        for group in &grant.groups {
            match group.strip_prefix("system:") {
                Some("masters") => planned.policies.push(format!(
                    "arn:{}:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy",
                    self.target.partition
                )),
                // Every user that is authenticated has it.
                Some("authenticated") => {}
                Some(rest) => {
                    if let Some(replacement) = self.replaced(arn, from, group, rest) {
                        planned.kubernetes_groups.push(replacement);
                    }
                }
                None if group.contains("{{") || group.trim().is_empty() => {
                    self.not_carried(
                        arn,
                        from,
                        format!("the group {group:?} cannot be an access entry's"),
                        &[],
                    );
                }
                None => planned.kubernetes_groups.push(group.clone()),
            }
        }
        self.entries.push(planned);
    }

    /// A group that access entries reserve: its bindings are made again for one without the prefix.
    fn replaced(&mut self, arn: &str, from: &str, group: &str, rest: &str) -> Option<String> {
        let Some(bindings) = self.bindings else {
            self.not_carried(
                arn,
                from,
                format!(
                    "access entries reserve the group {group}, and what is bound to it could not be read"
                ),
                &[],
            );
            return None;
        };
        let of_group: Vec<&Binding> = bindings
            .iter()
            .filter(|binding| binding.groups.iter().any(|name| name == group))
            .collect();
        if of_group.is_empty() {
            self.not_carried(
                arn,
                from,
                format!("access entries reserve the group {group}; nothing is bound to it"),
                &[],
            );
            return None;
        }
        // A name that nothing else is bound to: it must give no more than the old one did.
        let replacement = format!("migrated:{rest}");
        let commands: Vec<Command> = of_group
            .iter()
            .enumerate()
            .map(|(n, binding)| {
                let name = format!("from-{}-{n}", rest.replace(':', "-"));
                let role = if binding.cluster_role {
                    "--clusterrole"
                } else {
                    "--role"
                };
                match &binding.namespace {
                    None => self.target.kubectl(&[
                        "create",
                        "clusterrolebinding",
                        &name,
                        "--clusterrole",
                        &binding.role,
                        "--group",
                        &replacement,
                    ]),
                    Some(namespace) => self.target.kubectl(&[
                        "create",
                        "rolebinding",
                        &name,
                        role,
                        &binding.role,
                        "--group",
                        &replacement,
                        "-n",
                        namespace,
                    ]),
                }
            })
            .collect();
        let why = format!(
            "access entries reserve the group {group}: it becomes {replacement}, with the same bindings"
        );
        self.not_carried(arn, from, why, &commands);
        Some(replacement)
    }

    /// Lines that match nobody.
    fn left_out(&mut self) {
        for listed in list_all(&self.state.cluster(), |arn| self.state.existence(arn)) {
            let why = match listed.state {
                Standing::NeverMatches { why } | Standing::Dropped { why } => why,
                Standing::Displaced { by_line } => {
                    format!("line {by_line} names the same principal, and wins")
                }
                Standing::Stale { why } => why,
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

/// What EKS makes of a planned entry, as far as its user guide says.
fn made(planned: &Planned) -> AccessEntry {
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
    AccessEntry {
        kubernetes_groups: groups,
        policies: Some(
            planned
                .policies
                .iter()
                .map(|arn| AssociatedPolicy {
                    policy_arn: arn.clone(),
                    access_scope: AccessScope {
                        kind: "cluster".to_owned(),
                        namespaces: Vec::new(),
                    },
                })
                .collect(),
        ),
        ..AccessEntry::new(&planned.principal_arn, planned.kind.clone(), &username, &[])
    }
}

/// What of a plan the cluster does not have yet, or has otherwise. Empty: every step was carried out.
pub(crate) fn verify(planned: &[Planned], cluster: &State) -> Vec<String> {
    let mut wrong = Vec::new();
    if !cluster.mode.uses_entries() {
        wrong.push("the authentication mode is still CONFIG_MAP".to_owned());
    }
    for one in planned {
        let entries = cluster.entries.iter().flatten();
        let Some(entry) = entries
            .clone()
            .find(|entry| entry.principal_arn.eq_ignore_ascii_case(&one.principal_arn))
        else {
            wrong.push(format!("{} has no access entry", one.principal_arn));
            continue;
        };
        let mut differs = |what: &str, found: String, wanted: String| {
            if found != wanted {
                wrong.push(format!(
                    "{}: {what} {found:?} instead of {wanted:?}",
                    one.principal_arn
                ));
            }
        };
        let sorted = |mut words: Vec<String>| {
            words.sort();
            words.join(", ")
        };
        differs("type", entry.kind_str().to_owned(), one.kind.as_str().to_owned());
        if one.kind != EntryType::Standard {
            continue;
        }
        if let Some(username) = &one.username {
            differs(
                "username",
                entry.username.clone().unwrap_or_default(),
                username.clone(),
            );
        }
        let groups = |groups: &[String]| sorted(groups.to_vec());
        differs(
            "groups",
            groups(&entry.kubernetes_groups),
            groups(&one.kubernetes_groups),
        );
        let policies = entry
            .policies
            .iter()
            .flatten()
            .map(|policy| policy.policy_arn.clone())
            .collect();
        differs("policies", sorted(policies), sorted(one.policies.clone()));
    }
    wrong
}

/// Makes the plan. Both aws-auth (where it counts) and the access entries must have been read.
pub(crate) fn plan(
    state: &State,
    target: &Target,
    bindings: Option<&[Binding]>,
    you: Option<&str>,
    meaning: Meaning<'_>,
) -> Plan {
    let mut planner = Planner {
        state,
        target,
        bindings,
        entries: Vec::new(),
        left_out: Vec::new(),
        not_carried: Vec::new(),
        caveats: Vec::new(),
        rbac: Vec::new(),
        unread: Vec::new(),
    };
    for subject in state.subjects().values() {
        match (subject, state.access(subject)) {
            (_, Access::Granted(grant)) if grant.from.starts_with("access entry") => {}
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
    let mut entries = state.entries.clone().unwrap_or_default();
    entries.extend(planner.entries.iter().map(made));
    let end = State::new(AuthenticationMode::Api, state.aws_auth.clone(), Some(entries));
    if planner.entries.iter().any(|one| one.kind != EntryType::Standard) {
        planner.caveats.push(
            "the type of a node's entry gives it what the groups of its line gave it, also where the proof says that a group is lost"
                .to_owned(),
        );
    }
    let steps = steps(target, state.mode, &planner.entries, &planner.rbac);
    Plan {
        api_version: crate::report::API_VERSION.to_owned(),
        kind: "AccessPlan".to_owned(),
        authentication_mode: state.mode,
        entries: planner.entries,
        left_out: planner.left_out,
        not_carried: planner.not_carried,
        steps,
        proof: diff(state, &end, you, meaning),
        caveats: planner.caveats,
    }
}

fn steps(target: &Target, mode: AuthenticationMode, entries: &[Planned], rbac: &[Command]) -> Vec<Step> {
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
        "Save aws-auth",
        "The way back from API_AND_CONFIG_MAP: delete the new entries, and the lines count again.",
        &[target
            .kubectl(&["get", "configmap", "aws-auth", "-n", "kube-system", "-o", "yaml"])
            .into_file("aws-auth-before.yaml")],
        &[],
    )];
    if mode == AuthenticationMode::ConfigMap {
        steps.push(step(
            "Let access entries count",
            "This cannot be undone: the mode never goes back to CONFIG_MAP. In CONFIG_MAP mode the cluster's creator is an administrator \
             that AWS does not show; from here on it is an access entry, unless the platform version is too old: look for it, and keep it.",
            &[switch("API_AND_CONFIG_MAP"), wait.clone()],
            &[shows.clone(), target.aws(&["eks", "list-access-entries", "--cluster-name", cluster])],
        ));
    }
    if !rbac.is_empty() {
        steps.push(step(
            "Bind the groups that get another name",
            "Before the entries: an entry hides its line at once.",
            rbac,
            &[],
        ));
    }
    let mut create = Vec::new();
    for entry in entries {
        let arn = entry.principal_arn.as_str();
        let mut words = vec![
            "eks",
            "create-access-entry",
            "--cluster-name",
            cluster,
            "--principal-arn",
            arn,
        ];
        words.extend(["--type", entry.kind.as_str()]);
        if let Some(username) = &entry.username {
            words.extend(["--username", username]);
        }
        if !entry.kubernetes_groups.is_empty() {
            words.push("--kubernetes-groups");
            words.extend(entry.kubernetes_groups.iter().map(String::as_str));
        }
        create.push(target.aws(&words));
        for policy in &entry.policies {
            create.push(target.aws(&[
                "eks",
                "associate-access-policy",
                "--cluster-name",
                cluster,
                "--principal-arn",
                arn,
                "--policy-arn",
                policy,
                "--access-scope",
                "type=cluster",
            ]));
        }
    }
    if !create.is_empty() {
        steps.push(step(
            "Create the access entries",
            "Each hides its line at once. An administrator has no rights between its two commands.",
            &create,
            &[target.capt_spot(&["access", "diff", "--authentication-mode", "API"])],
        ));
    }
    if mode != AuthenticationMode::Api {
        steps.push(step(
            "Let aws-auth no longer count",
            "This cannot be undone. Wait until new nodes have joined by their entries.",
            &[switch("API"), wait],
            &[shows, target.capt_spot(&["preflight"])],
        ));
    }
    steps
}

impl Plan {
    /// 1 where somebody loses access, 3 where that is unknown.
    pub(crate) fn exit(&self) -> Exit {
        let count = |word| self.proof.summary.get(word).copied().unwrap_or_default();
        match (count("lost"), count("unknown")) {
            (0, 0) => Exit::Done,
            (0, _) => Exit::Undecided,
            _ => Exit::Failed,
        }
    }

    pub(crate) fn text(&self, style: Style) -> String {
        let mut out = format!(
            "{}\n",
            style.paint(
                bold(),
                &format!(
                    "A plan from {} to API: {} access entries. Nothing was changed.",
                    self.authentication_mode,
                    self.entries.len()
                )
            )
        );
        for (n, step) in self.steps.iter().enumerate() {
            let _ = writeln!(
                out,
                "\n{}",
                style.paint(bold(), &format!("{}. {}", n + 1, step.title))
            );
            let _ = writeln!(out, "   {}", wrap(style, 3, 3, &step.note));
            for command in &step.commands {
                let _ = writeln!(out, "     {}", line(command));
            }
            if !step.check.is_empty() {
                let _ = writeln!(out, "   Check:");
            }
            for command in &step.check {
                let _ = writeln!(out, "     {}", line(command));
            }
        }
        for (title, items) in [
            ("Cannot be carried over", &self.not_carried),
            ("Left out: they match no one", &self.left_out),
        ] {
            if !items.is_empty() {
                let _ = writeln!(out, "\n{}", style.paint(bold(), title));
            }
            for item in items {
                let text = format!(
                    "{} ({}): {}",
                    short_line(&item.principal),
                    item.from,
                    short_line(&item.why)
                );
                let _ = writeln!(out, "  - {}", wrap(style, 4, 4, &text));
            }
        }
        for caveat in &self.caveats {
            let _ = writeln!(out, "\nNote: {}", wrap(style, 6, 6, &short_line(caveat)));
        }
        let _ = write!(
            out,
            "\n{}\n{}",
            style.paint(bold(), "Proof: everyone's access before and after"),
            self.proof.text(style)
        );
        out
    }

    /// An eksctl ClusterConfig.
    pub(crate) fn eksctl(&self, target: &Target) -> Value {
        let entries: Vec<Value> = self.entries.iter().map(eksctl_entry).collect();
        json!({
            "apiVersion": "eksctl.io/v1alpha5", "kind": "ClusterConfig",
            "metadata": {"name": target.cluster, "region": target.region},
            "accessConfig": {"authenticationMode": "API_AND_CONFIG_MAP", "accessEntries": entries},
        })
    }

    /// CloudFormation resources.
    pub(crate) fn cloudformation(&self, target: &Target) -> Value {
        let mut resources = serde_json::Map::new();
        for (name, entry) in self.named() {
            let name: String = name.split('_').map(capital).collect();
            let mut properties = json!({"ClusterName": target.cluster, "PrincipalArn": entry.principal_arn, "Type": entry.kind.as_str()});
            if let Some(username) = &entry.username {
                properties["Username"] = json!(username);
            }
            if !entry.kubernetes_groups.is_empty() {
                properties["KubernetesGroups"] = json!(entry.kubernetes_groups);
            }
            if !entry.policies.is_empty() {
                let policy = |arn: &String| json!({"PolicyArn": arn, "AccessScope": {"Type": "cluster"}});
                properties["AccessPolicies"] = entry.policies.iter().map(policy).collect();
            }
            resources.insert(
                name,
                json!({"Type": "AWS::EKS::AccessEntry", "Properties": properties}),
            );
        }
        json!({"Resources": resources})
    }

    /// Terraform, with the blocks that take over what the commands have created.
    pub(crate) fn terraform(&self, target: &Target) -> String {
        let mut out = String::new();
        let cluster = target.cluster.as_str();
        for (name, entry) in self.named() {
            let arn = &entry.principal_arn;
            let _ = write!(
                out,
                "resource \"aws_eks_access_entry\" \"{name}\" {{\n  cluster_name  = {}\n  principal_arn = {}\n  type          = {}\n",
                hcl(cluster),
                hcl(arn),
                hcl(entry.kind.as_str())
            );
            if let Some(username) = &entry.username {
                let _ = writeln!(out, "  user_name     = {}", hcl(username));
            }
            if !entry.kubernetes_groups.is_empty() {
                let groups: Vec<String> = entry.kubernetes_groups.iter().map(|group| hcl(group)).collect();
                let _ = writeln!(out, "  kubernetes_groups = [{}]", groups.join(", "));
            }
            out.push_str("}\n\n");
            let import =
                |address: &str, id: &str| format!("import {{\n  to = {address}\n  id = {}\n}}\n\n", hcl(id));
            out.push_str(&import(
                &format!("aws_eks_access_entry.{name}"),
                &format!("{cluster}:{arn}"),
            ));
            for policy in &entry.policies {
                let _ = write!(
                    out,
                    "resource \"aws_eks_access_policy_association\" \"{name}\" {{\n  cluster_name  = {}\n  principal_arn = {}\n  policy_arn    = {}\n\n  access_scope {{\n    type = \"cluster\"\n  }}\n}}\n\n",
                    hcl(cluster),
                    hcl(arn),
                    hcl(policy)
                );
                let address = format!("aws_eks_access_policy_association.{name}");
                out.push_str(&import(&address, &format!("{cluster}#{arn}#{policy}")));
            }
        }
        out
    }

    /// The entries with a name each, of letters, digits and underscores.
    fn named(&self) -> Vec<(String, &Planned)> {
        let mut taken: BTreeMap<String, usize> = BTreeMap::new();
        self.entries
            .iter()
            .map(|entry| {
                let name = entry
                    .principal_arn
                    .rsplit(['/', ':'])
                    .next()
                    .unwrap_or_default()
                    .to_lowercase();
                let name: String = name
                    .chars()
                    .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
                    .collect();
                let name = if name.starts_with(|c: char| c.is_ascii_alphabetic()) {
                    name
                } else {
                    format!("p_{name}")
                };
                let count = taken
                    .entry(name.clone())
                    .and_modify(|count| *count += 1)
                    .or_insert(1);
                let name = if *count > 1 {
                    format!("{name}_{count}")
                } else {
                    name
                };
                (name, entry)
            })
            .collect()
    }
}

fn eksctl_entry(entry: &Planned) -> Value {
    let mut value = json!({"principalARN": entry.principal_arn, "type": entry.kind.as_str()});
    if let Some(username) = &entry.username {
        value["kubernetesUsername"] = json!(username);
    }
    if !entry.kubernetes_groups.is_empty() {
        value["kubernetesGroups"] = json!(entry.kubernetes_groups);
    }
    if !entry.policies.is_empty() {
        let policy = |arn: &String| json!({"policyARN": arn, "accessScope": {"type": "cluster"}});
        value["accessPolicies"] = entry.policies.iter().map(policy).collect();
    }
    value
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_ascii_uppercase().to_string() + chars.as_str()
    })
}

/// A string of HCL: nothing in it is a template.
fn hcl(text: &str) -> String {
    let text = line(text).replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", text.replace("${", "$${").replace("%{", "%%{"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fixture::healthy;
    use eks_aws_auth::AwsAuth;
    use proptest::prelude::*;

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
";

    fn state(mode: AuthenticationMode, roles: &str, accounts: &str, entries: Vec<AccessEntry>) -> State {
        let data = [("mapRoles", roles), ("mapAccounts", accounts)];
        let data = data.map(|(key, text)| (key.to_owned(), text.to_owned()));
        State::new(mode, Some(AwsAuth::parse(&data.into())), Some(entries))
    }

    fn planned(state: &State) -> Plan {
        let developers = Binding {
            namespace: Some("a".to_owned()),
            role: "edit".to_owned(),
            cluster_role: true,
            users: Vec::new(),
            groups: vec!["system:developers".to_owned()],
        };
        plan(state, &healthy().target, Some(&[developers]), None, &|_| None)
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
        let forms = [
            plan.text(Style::PLAIN),
            serde_yaml::to_string(&plan.eksctl(&target)).unwrap(),
            serde_yaml::to_string(&plan.cloudformation(&target)).unwrap(),
            plan.terraform(&target),
        ];
        insta::assert_snapshot!(forms.join("\n----\n"));
    }

    #[test]
    fn what_was_carried_out_is_verified() {
        let start = state(AuthenticationMode::ConfigMap, LINES, "", Vec::new());
        let plan = planned(&start);
        assert_eq!(verify(&plan.entries, &start).len(), 1 + plan.entries.len());
        let mut entries: Vec<AccessEntry> = plan.entries.iter().map(made).collect();
        let done = state(AuthenticationMode::Api, LINES, "", entries.clone());
        assert_eq!(verify(&plan.entries, &done), [""; 0]);
        entries[0].kubernetes_groups.push("more".to_owned());
        let other = state(AuthenticationMode::Api, LINES, "", entries);
        assert_eq!(
            verify(&plan.entries, &other),
            ["arn:aws:iam::111122223333:role/Admin: groups \"more\" instead of \"\""]
        );
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

    proptest! {
        /// Who gets another answer at the end of the plan is in it as changed, lost or unknown; who is called the same gets
        /// the same answer. The start is the authenticator's own: tests/oracle.rs of eks-aws-auth holds that.
        #[test]
        fn the_proof_misses_nobody(
            lines in proptest::collection::vec((0..6_usize, 0..6_usize, 0..5_usize), 0..8),
            account in any::<bool>(),
            entry in proptest::option::of((0..6_usize, 0..3_usize)),
            both in any::<bool>(),
        ) {
            let names = ["A", "a", "B", "team/B", "demo-node", "C"];
            let users = [
                "u", "u:{{SessionName}}", "{{SessionName}}", "system:node:{{EC2PrivateDNSName}}", "system:x", "",
            ];
            let groups = ["[]", "[g]", "[system:masters, g]", "[system:bootstrappers, system:nodes]", "[system:developers]"];
            let text: String = lines.iter().map(|(name, user, group)| format!(
                "- rolearn: arn:aws:iam::111122223333:role/{}\n  username: \"{}\"\n  groups: {}\n",
                names[*name], users[*user], groups[*group]
            )).collect();
            let kinds = [EntryType::Standard, EntryType::Ec2Linux, EntryType::FargateLinux];
            let entries = entry.map(|(name, kind)| AccessEntry {
                policies: Some(Vec::new()),
                ..AccessEntry::new(&format!("arn:aws:iam::111122223333:role/{}", names[name]), kinds[kind].clone(), "e", &["x"])
            });
            let mode = if both { AuthenticationMode::ApiAndConfigMap } else { AuthenticationMode::ConfigMap };
            let accounts = if account { "- \"111122223333\"\n" } else { "" };
            let start = state(mode, &text, accounts, entries.into_iter().collect());
            let plan = planned(&start);
            let mut all = start.entries.clone().unwrap_or_default();
            all.extend(plan.entries.iter().map(made));
            let end = State::new(AuthenticationMode::Api, start.aws_auth.clone(), Some(all));
            for name in ["A", "B", "demo-node", "C", "Nobody"] {
                let arn = format!("arn:aws:sts::111122223333:assumed-role/{name}/i-0123456789abcdef0");
                let caller = eks_aws_auth::Caller::parse(&arn).unwrap();
                let answer = |state: &State| {
                    let ways = eks_aws_auth::outcomes(&state.cluster(), &caller, Existence::Unknown);
                    ways.into_iter().map(|way| (way.outcome, way.username, way.groups)).collect::<Vec<_>>()
                };
                let (before, after) = (answer(&start), answer(&end));
                let key = format!("role/{name}").to_lowercase();
                let own = plan.proof.items.iter().find(|item| {
                    let principal = item.principal.to_lowercase();
                    principal.ends_with(&key) || principal.ends_with(&format!("/{}", name.to_lowercase()))
                });
                let of_account = plan.proof.items.iter().find(|item| item.principal.contains("of account"));
                match own.or(of_account.filter(|_| !before.is_empty())) {
                    Some(item) if item.result == super::super::diff::Fate::Same => prop_assert_eq!(before, after, "{}", arn),
                    Some(_) => {}
                    None => prop_assert!(before == after, "{} is not in the proof: {:?}, then {:?}", arn, before, after),
                }
            }
        }
    }
}
