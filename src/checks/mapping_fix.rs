//! How to map a principal: the aws-auth entry for a file, the commands for a shell.

use eks_aws_auth::{
    AccessEntry, AuthenticationMode, Cluster, Decision, Existence, MapKey, Outcome, PassedOverBecause, Source,
};
use iam_policy::arn::Arn;

use super::Judgement;
use super::node_verdict::{NodeFault, NodeKind, NodeRole, NodeVerdict, misspelled};
use crate::model::{Command, Language, Target, argv};

/// What a principal should be to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Node(NodeKind),
    /// A person or program that may look at everything but Secrets.
    Viewer,
    /// An administrator (`system:masters`, or the policy AmazonEKSClusterAdminPolicy).
    Admin,
}

/// What to do about a mapping.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fix {
    /// In words.
    pub(crate) text: String,
    pub(crate) commands: Vec<Command>,
    /// The entry for mapRoles or mapUsers, where aws-auth counts.
    pub(crate) entry: Option<String>,
}

impl Fix {
    fn of(text: impl Into<String>, commands: impl IntoIterator<Item = Command>) -> Self {
        Self {
            text: text.into(),
            commands: commands.into_iter().collect(),
            entry: None,
        }
    }
}

/// What changes aws-auth by hand.
pub(crate) fn edit(target: &Target) -> Command {
    target.kubectl(&["edit", "configmap", "aws-auth", "-n", "kube-system"])
}

/// Lays the fixes of several principals into one finding, each with its name where there are several.
pub(super) fn fixed(judgement: Judgement, fixes: &[(&str, Fix)]) -> Judgement {
    let text = match fixes {
        [] => return judgement,
        [(_, only)] => only.text.clone(),
        several => {
            let each: Vec<String> = several
                .iter()
                .map(|(name, fix)| format!("{name}: {}", fix.text))
                .collect();
            each.join(" ")
        }
    };
    let commands = fixes.iter().flat_map(|(_, fix)| fix.commands.iter().cloned());
    let mut entries: Vec<&String> = Vec::new();
    for entry in fixes.iter().filter_map(|(_, fix)| fix.entry.as_ref()) {
        if !entries.contains(&entry) {
            entries.push(entry);
        }
    }
    let judgement = judgement.fix(text, commands);
    entries.into_iter().fold(judgement, |judgement, entry| {
        judgement.snippet(Language::Yaml, entry.as_str())
    })
}

fn without_path(arn: &str) -> String {
    match arn.parse::<Arn>() {
        Ok(parsed) => match parsed.role_name() {
            Some(name) => format!(
                "arn:{}:iam::{}:role/{name}",
                parsed.partition.as_str(),
                parsed.account
            ),
            None => arn.to_owned(),
        },
        Err(_) => arn.to_owned(),
    }
}

fn name_of(arn: &str) -> &str {
    arn.rsplit(['/', ':']).next().unwrap_or(arn)
}

/// The kind of nodes that run under a role, as far as its name tells: it must never be made an administrator.
pub(crate) fn node_kind_by_name(role_arn: &str) -> Option<NodeKind> {
    let name = name_of(role_arn).to_ascii_lowercase();
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let word = |wanted: &str| {
        name.split(|c: char| !c.is_ascii_alphanumeric())
            .any(|word| word == wanted)
    };
    if plain.contains("fargatepodexecution") || word("fargate") {
        return Some(NodeKind::Fargate);
    }
    let node = ["noderole", "nodeinstancerole", "nodegroup", "karpenternode"]
        .iter()
        .any(|part| plain.contains(part));
    (node || word("node") || word("nodes")).then_some(NodeKind::Linux)
}

/// How to map a principal, by the authentication mode. `arn`: the role or user with its path, if it has one.
pub(crate) fn mapping_fix(target: &Target, mode: AuthenticationMode, arn: &str, want: Want) -> Fix {
    if let (Want::Viewer | Want::Admin, Some(_)) = (want, node_kind_by_name(arn)) {
        return Fix::of(
            format!(
                "{} looks like a node role: every pod on its nodes would have its access. Use another identity, and map that.",
                name_of(arn)
            ),
            [],
        );
    }
    let is_user = arn.contains(":user/");
    let in_aws_auth = without_path(arn);
    let (field, key) = if is_user {
        ("userarn", MapKey::MapUsers)
    } else {
        ("rolearn", MapKey::MapRoles)
    };
    let username = match want {
        Want::Node(kind) => kind.username(),
        Want::Viewer | Want::Admin => name_of(arn),
    };
    let groups: &[&str] = match want {
        Want::Node(kind) => kind.groups(),
        Want::Viewer => &[],
        Want::Admin => &["system:masters"],
    };
    let mut entry = format!("- {field}: {in_aws_auth}\n  username: \"{username}\"");
    if !groups.is_empty() {
        entry.push_str("\n  groups:");
    }
    for group in groups {
        entry.push_str(&format!("\n    - {group}"));
    }
    let cluster = target.cluster.as_str();
    let create = |more: &[&str]| {
        let words = [
            "eks",
            "create-access-entry",
            "--cluster-name",
            cluster,
            "--principal-arn",
            arn,
        ];
        target.aws(&[&words, more].concat())
    };
    let associate = |policy: &str| {
        let policy = format!("arn:{}:eks::aws:cluster-access-policy/{policy}", target.partition);
        target.aws(&argv(
            "eks associate-access-policy --cluster-name {} --principal-arn {} --policy-arn {} \
             --access-scope type=cluster",
            &[cluster, arn, &policy],
        ))
    };
    let by_entry = match want {
        Want::Node(kind) => vec![create(&["--type", kind.entry_type().as_str()])],
        Want::Viewer => vec![create(&[]), associate("AmazonEKSViewPolicy")],
        Want::Admin => vec![create(&[]), associate("AmazonEKSClusterAdminPolicy")],
    };
    match mode {
        AuthenticationMode::ConfigMap => {
            let mut words = vec![
                "create",
                "iamidentitymapping",
                "--cluster",
                cluster,
                "--arn",
                &in_aws_auth,
                "--username",
                username,
            ];
            words.extend(groups.iter().flat_map(|group| ["--group", group]));
            // A file names no cluster.
            let done_by = if cluster.is_empty() {
                ""
            } else {
                "; the command does it"
            };
            let mut commands = vec![target.eksctl(&words)];
            if want == Want::Viewer {
                let binding = format!("view-{}", username.to_ascii_lowercase());
                commands.push(target.kubectl(&argv(
                    "create clusterrolebinding {} --clusterrole view --user {}",
                    &[&binding, username],
                )));
            }
            Fix {
                text: format!("Add the entry below to {key} of aws-auth{done_by}."),
                commands,
                entry: Some(entry),
            }
        }
        AuthenticationMode::ApiAndConfigMap => Fix {
            text: format!(
                "Create an access entry, or add the entry below to {key} of aws-auth; one of the two is enough."
            ),
            commands: by_entry,
            entry: Some(entry),
        },
        AuthenticationMode::Api => Fix::of(
            "Create an access entry; in API mode the cluster ignores aws-auth.",
            by_entry,
        ),
    }
}

/// Deletes an access entry and creates it again, so that it is bound to the role that has the name now, or has another type.
pub(crate) fn recreate(target: &Target, bound: &str, arn: &str, want: Want) -> Vec<Command> {
    let delete = target.aws(&argv(
        "eks delete-access-entry --cluster-name {} --principal-arn {}",
        &[&target.cluster, bound],
    ));
    let create = mapping_fix(target, AuthenticationMode::Api, arn, want).commands;
    std::iter::once(delete).chain(create).collect()
}

/// The entry that names the role, whatever the path.
fn entry_of<'a>(entries: &'a [AccessEntry], role_arn: &str) -> Option<&'a AccessEntry> {
    let bare = without_path(role_arn);
    entries
        .iter()
        .find(|entry| without_path(&entry.principal_arn).eq_ignore_ascii_case(&bare))
}

/// What to do about these faults of a node role's mapping.
pub(super) fn node_fix(
    target: &Target,
    account: &str,
    cluster: &Cluster<'_>,
    verdict: &NodeVerdict,
    faults: &[&NodeFault],
) -> Fix {
    if let Some(fix) = role_fix(target, account, cluster, &verdict.role, faults) {
        return fix;
    }
    let role = &verdict.role;
    let has = |wanted: fn(&NodeFault) -> bool| faults.iter().any(|fault| wanted(fault));
    let mut fix = mapping_fix(target, cluster.mode, &role.arn, Want::Node(role.kind));
    if let (Some(problem), true) = (
        misspelled(cluster).next(),
        faults.contains(&&NodeFault::NotMapped),
    ) {
        fix.text = format!(
            "In aws-auth, {}. If the role is not in there, add the entry below.",
            problem.fix
        );
        fix.commands = vec![edit(target)];
    } else if let (Some(entry), true) = (
        entry_of(cluster.entries.unwrap_or_default(), &role.arn),
        has(|fault| matches!(fault, NodeFault::WrongEntryType { .. } | NodeFault::StaleEntry)),
    ) {
        return Fix::of(
            format!(
                "Delete the access entry and create it again as {}: an entry's type and the principal that it is bound to cannot be \
                 changed.",
                role.kind.entry_type().as_str()
            ),
            recreated(target, entry, role),
        );
    } else if let Some(line) = meant(&verdict.decision) {
        fix.text = format!("Replace the entry at line {line} of mapRoles by the one below");
        match cluster.mode {
            AuthenticationMode::ApiAndConfigMap => {
                fix.text.push_str(", or create the access entry, which hides it.")
            }
            // eksctl adds a second entry for the same ARN; the last one wins, but two are one too many.
            _ => {
                fix.text.push('.');
                fix.commands = vec![edit(target)];
            }
        }
    }
    if let Some((named, profile)) = other_role(faults) {
        fix.text = format!(
            "{} Or give the instance profile {profile} the role that the node class names, {named}, once that is mapped.",
            fix.text
        );
    }
    fix
}

/// The named role and the profile that holds another one.
fn other_role<'f>(faults: &[&'f NodeFault]) -> Option<(&'f str, &'f str)> {
    faults.iter().find_map(|fault| match fault {
        NodeFault::OtherProfileRole { named, profile } => Some((named.as_str(), profile.as_str())),
        _ => None,
    })
}

/// The entry again, with IAM's own word on the ARN, which has the path of now; else what the entry says.
fn recreated(target: &Target, entry: &AccessEntry, role: &NodeRole) -> Vec<Command> {
    let current = match role.existence {
        Existence::Since(_) => &role.arn,
        Existence::Unknown | Existence::Deleted => &entry.principal_arn,
    };
    recreate(target, &entry.principal_arn, current, Want::Node(role.kind))
}

/// What to do where it is not the mapping that is wrong, but the role.
fn role_fix(
    target: &Target,
    account: &str,
    cluster: &Cluster<'_>,
    role: &NodeRole,
    faults: &[&NodeFault],
) -> Option<Fix> {
    use NodeFault::{OtherAccount, OtherPartition, OtherProfileRole, RoleDeleted, SharedWithNodeGroup};
    let has = |wanted: fn(&NodeFault) -> bool| faults.iter().any(|fault| wanted(fault));
    let only = |wanted: fn(&NodeFault) -> bool| faults.iter().all(|fault| wanted(fault));
    if has(|fault| matches!(fault, OtherPartition { .. } | OtherAccount { .. })) {
        let list = "get ec2nodeclasses -o custom-columns=NAME:.metadata.name,ROLE:.spec.role";
        let text = format!(
            "Give the node class a role of account {account} in partition {}, and map that.",
            target.partition
        );
        return Some(Fix::of(text, [target.kubectl(&argv(list, &[]))]));
    }
    if has(|fault| matches!(fault, RoleDeleted)) {
        let bound = entry_of(cluster.entries.unwrap_or_default(), &role.arn);
        return Some(match bound.filter(|_| cluster.mode.uses_entries()) {
            Some(entry) => Fix::of(
                "Create the role again (or name one that exists), then delete its access entry and create it again: the entry stays \
                 bound to the deleted role.",
                recreated(target, entry, role),
            ),
            None => Fix::of(
                "Create the role again, or name one that exists. The line in aws-auth goes by the name, so whatever role is created \
                 under it can join.",
                [target.aws(&["iam", "get-role", "--role-name", name_of(&role.arn)])],
            ),
        });
    }
    if only(|fault| matches!(fault, SharedWithNodeGroup { .. })) {
        let text = "Give Karpenter's nodes a role of their own, with its own mapping.";
        return Some(Fix::of(text, []));
    }
    let (named, profile) = other_role(faults)?;
    if !only(|fault| matches!(fault, OtherProfileRole { .. } | SharedWithNodeGroup { .. })) {
        return None;
    }
    let change = |verb: &str, role: &str| {
        target.aws(&argv(
            "iam {} --instance-profile-name {} --role-name {}",
            &[verb, profile, name_of(role)],
        ))
    };
    Some(Fix::of(
        "Name the profile's role in the node class; or put the named role into the profile, once it is mapped too.",
        [
            change("remove-role-from-instance-profile", &role.arn),
            change("add-role-to-instance-profile", named),
        ],
    ))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fixture::healthy;
    use eks_aws_auth::AwsAuth;

    fn told(fix: &Fix) -> String {
        let mut lines = vec![fix.text.clone()];
        lines.extend(Command::lines(&fix.commands));
        lines.extend(fix.entry.clone());
        lines.join("\n")
    }

    #[test]
    fn fixes_follow_the_mode_and_what_is_wanted() {
        let target = healthy().target;
        let mut all = String::new();
        use AuthenticationMode::{Api, ApiAndConfigMap, ConfigMap};
        for (mode, who, want) in [
            (ConfigMap, "role/team/Nodes", Want::Node(NodeKind::Windows)),
            (Api, "role/team/Nodes", Want::Node(NodeKind::Linux)),
            (ConfigMap, "role/team/Dev", Want::Viewer),
            (ApiAndConfigMap, "user/alice", Want::Viewer),
            (Api, "role/Ops", Want::Admin),
            (Api, "role/KarpenterNodeRole-demo", Want::Admin),
        ] {
            let arn = &format!("arn:aws:iam::111122223333:{who}");
            all.push_str(&format!(
                "# {mode} {arn} {want:?}\n{}\n\n",
                told(&mapping_fix(&target, mode, arn, want))
            ));
        }
        insta::assert_snapshot!(all);
    }

    #[test]
    fn an_entry_is_read_as_it_is_printed() {
        let arn = "arn:aws:iam::111122223333:role/team/Nodes";
        let fix = mapping_fix(
            &healthy().target,
            AuthenticationMode::ConfigMap,
            arn,
            Want::Node(NodeKind::Linux),
        );
        let aws_auth = AwsAuth::parse(&[("mapRoles".to_owned(), fix.entry.unwrap())].into());
        assert!(aws_auth.problems.is_empty(), "{:?}", aws_auth.problems);
        assert_eq!(aws_auth.roles[0].groups, NodeKind::Linux.groups());
    }

    #[test]
    fn node_roles_are_known_by_their_names() {
        use NodeKind::{Fargate, Linux};
        for (name, kind) in [
            ("KarpenterNodeRole-demo", Some(Linux)),
            ("demo-node", Some(Linux)),
            ("eksctl-demo-nodegroup-ng-1-NodeInstanceRole-1A2B", Some(Linux)),
            ("eks-fargate-profile", Some(Fargate)),
            ("AmazonEKSFargatePodExecutionRole", Some(Fargate)),
            ("Developer", None),
            ("nodejs-deployer", None),
            ("anode", None),
        ] {
            let arn = format!("arn:aws:iam::111122223333:role/{name}");
            assert_eq!(node_kind_by_name(&arn), kind, "{name}");
        }
    }
}
