//! Whether Karpenter's nodes may join.
use serde_json::json;

use super::{Check, Group, Judgement, Status, always, lost_cluster};
use crate::authenticator::{
    AccessEntry, AuthenticationMode, AwsAuth, Cluster, ClusterNames, Existence, MapKey, NodeKind, NodeRole,
    NodeVerdict, Problem, Settings, Severity, Standing, judge_node_role,
};
use crate::facts::{self, Facts, NamedBy};
use crate::karpenter::objects::NodeOs;
use crate::observed::{Fact, Observed, Unknown};

/// The cluster's mappings, as far as they were read: what the authenticator's evaluator takes.
pub(crate) struct Mappings<'a> {
    mode: AuthenticationMode,
    aws_auth: Option<AwsAuth>,
    entries: Option<&'a [AccessEntry]>,
    /// Why something that counts in this mode could not be read.
    pub(crate) unread: Option<&'a Unknown>,
}

impl Mappings<'_> {
    /// As the evaluator takes it.
    pub(crate) fn cluster(&self) -> Cluster<'_> {
        Cluster {
            mode: self.mode,
            aws_auth: self.aws_auth.as_ref(),
            entries: self.entries,
            settings: Settings::default(),
        }
    }

    /// What counts in this mode and could not be read.
    pub(crate) fn unread_what(&self) -> Vec<&'static str> {
        let entries = (self.mode.uses_entries() && self.entries.is_none()).then_some("access entries");
        let map = (self.mode.uses_aws_auth() && self.aws_auth.is_none()).then_some("aws-auth");
        [entries, map].into_iter().flatten().collect()
    }
}

/// The mappings of the cluster; none when not even its authentication mode is known.
pub(crate) fn mappings(facts: &Facts) -> Option<Mappings<'_>> {
    mappings_of(&facts.cluster, &facts.aws_auth, &facts.access_entries)
}

/// The same, of what was read for another question.
pub(crate) fn mappings_of<'a>(
    cluster: &Fact<facts::eks::Cluster>,
    aws_auth: &'a Fact<facts::aws_auth::AwsAuth>,
    access_entries: &'a Fact<Vec<AccessEntry>>,
) -> Option<Mappings<'a>> {
    let mode = cluster.known()?.authentication_mode;
    let unread_map = aws_auth.observed.unknown().filter(|_| mode.uses_aws_auth());
    let unread_entries = access_entries.observed.unknown().filter(|_| mode.uses_entries());
    let aws_auth = match &aws_auth.observed {
        Observed::Known(map) => Some(AwsAuth::parse(&map.data)),
        Observed::Absent => Some(AwsAuth::default()),
        Observed::Unknown(_) => None,
    };
    let entries = match &access_entries.observed {
        Observed::Known(entries) => Some(entries.as_slice()),
        Observed::Absent => Some(&[][..]),
        Observed::Unknown(_) => None,
    };
    Some(Mappings {
        mode,
        aws_auth,
        entries,
        unread: unread_entries.or(unread_map),
    })
}

/// The names that commands about the cluster's access need.
pub(crate) fn names(facts: &Facts) -> ClusterNames<'_> {
    let account = facts
        .cluster
        .known()
        .and_then(facts::eks::Cluster::account)
        .or(facts.target.account.as_deref())
        .or(facts.caller.known().map(|caller| caller.account.as_str()))
        .unwrap_or_default();
    ClusterNames {
        cluster: &facts.target.cluster,
        region: &facts.target.region,
        account,
        partition: &facts.target.partition,
    }
}

/// What IAM says of a role, for the evaluator.
pub(crate) fn existence(role: &Observed<facts::iam::Role>) -> Existence {
    match role {
        Observed::Known(role) => role.created.map_or(Existence::Unknown, Existence::Since),
        Observed::Absent => Existence::Deleted,
        Observed::Unknown(_) => Existence::Unknown,
    }
}

/// See [`Check::explanation`].
pub static AWS_AUTH_PARSES: Check = Check {
    id: "aws-auth-parses",
    group: Group::NodeMapping,
    title: "aws-auth is read without loss",
    explanation: "Reads the ConfigMap kube-system/aws-auth as EKS's authenticator does. It never rejects the document as a \
        whole: a YAML error loses all of that key (with mapRoles, the nodes too), a bad entry is left out alone, a field of the \
        wrong type is emptied and the entry stays. None of that shows anywhere. To mend it: the finding names the line, what \
        is lost by it and the fix; `kubectl edit configmap aws-auth -n kube-system`, then run this again.",
    docs: "https://docs.aws.amazon.com/eks/latest/userguide/auth-configmap.html",
    needed: always,
    judge: aws_auth_parses,
};

fn aws_auth_parses(facts: &Facts) -> Judgement {
    if let Some(reason) = lost_cluster(facts) {
        return Judgement::ground_lost(reason);
    }
    let mode = match &facts.cluster.observed {
        Observed::Known(cluster) => cluster.authentication_mode,
        Observed::Absent => return Judgement::ground_lost("the cluster was not found: see cluster-found"),
        Observed::Unknown(unknown) => {
            return Judgement::unknown("the cluster's authentication mode", unknown).from(&facts.cluster);
        }
    };
    if !mode.uses_aws_auth() {
        return Judgement::skip("in authentication mode API the cluster ignores aws-auth")
            .from(&facts.cluster);
    }
    let edit = "kubectl edit configmap aws-auth -n kube-system";
    let map = match &facts.aws_auth.observed {
        Observed::Known(map) => AwsAuth::parse(&map.data),
        Observed::Absent if mode == AuthenticationMode::ConfigMap => {
            return Judgement::warn("there is no ConfigMap kube-system/aws-auth, and in authentication mode CONFIG_MAP nothing else lets nodes in")
                .remedy(
                    "Create it with the node role in it (see node-role-mapped), or switch the cluster to access entries.",
                    [format!(
                        "aws eks update-cluster-config --name {} --region {} --access-config authenticationMode=API_AND_CONFIG_MAP",
                        crate::shell::quote(&facts.target.cluster),
                        crate::shell::quote(&facts.target.region)
                    )],
                )
                .from(&facts.aws_auth);
        }
        Observed::Absent => {
            return Judgement::pass(
                "there is no ConfigMap kube-system/aws-auth; access entries decide alone",
            )
            .from(&facts.aws_auth);
        }
        Observed::Unknown(unknown) => {
            return Judgement::unknown("the ConfigMap kube-system/aws-auth", unknown).from(&facts.aws_auth);
        }
    };
    let errors: Vec<&Problem> = map.errors().collect();
    let lost_keys: Vec<&str> = [MapKey::MapRoles, MapKey::MapUsers, MapKey::MapAccounts]
        .into_iter()
        .filter(|key| {
            let empty = match key {
                MapKey::MapAccounts => map.accounts.is_empty(),
                _ => map.mappings(*key).is_empty() && !map.dropped.iter().any(|dropped| dropped.key == *key),
            };
            empty
                && errors
                    .iter()
                    .any(|problem| problem.key.as_deref() == Some(key.as_str()))
        })
        .map(MapKey::as_str)
        .collect();
    let told = |problem: &Problem| {
        let place = match (&problem.key, problem.line) {
            (Some(key), Some(line)) => format!("{key} line {line}: "),
            (Some(key), None) => format!("{key}: "),
            (None, _) => String::new(),
        };
        let lost = if problem.lost.is_empty() {
            String::new()
        } else {
            format!("; lost: {}", problem.lost)
        };
        format!("{place}{}{lost}", problem.message)
    };
    let judgement = match errors.as_slice() {
        [] => Judgement::pass(format!(
            "{} roles, {} users, {} accounts, nothing lost",
            map.roles.len(),
            map.users.len(),
            map.accounts.len()
        )),
        [first, rest @ ..] => {
            let more = if rest.is_empty() {
                String::new()
            } else {
                format!(" (and {} more)", rest.len())
            };
            let message = format!("{}{more}", told(first));
            let base = if lost_keys.is_empty() {
                Judgement::warn(message)
            } else {
                Judgement::fail(message)
            };
            base.remedy(first.fix.clone(), [edit.to_owned()])
        }
    };
    judgement
        .evidence(
            "problems",
            json!(
                map.problems
                    .iter()
                    .filter(|problem| problem.severity == Severity::Error)
                    .take(50)
                    .collect::<Vec<_>>()
            ),
        )
        .evidence("lostKeys", json!(lost_keys))
        .from(&facts.aws_auth)
}

/// See [`Check::explanation`].
pub static NODE_ROLE_MAPPED: Check = Check {
    id: "node-role-mapped",
    group: Group::NodeMapping,
    title: "The cluster lets nodes of that role in",
    explanation: "Decides as EKS's authenticator does what an instance of each node role would be to the cluster: by an access \
        entry (type EC2_LINUX or EC2_WINDOWS), by a line of aws-auth (username system:node:{{EC2PrivateDNSName}}, groups \
        system:bootstrappers and system:nodes), or by neither, as the authentication mode has it. An entry hides the line of the \
        same role; a role's path in aws-auth never matches. Without a mapping, instances launch, never join, and are replaced \
        every 15 minutes: it costs money in silence. To mend it: the finding prints the exact entry and the command.",
    docs: "https://karpenter.sh/docs/troubleshooting/#node-launchreadiness",
    needed: always,
    judge: node_role_mapped,
};

/// Each node role with the verdict on its mapping; roles whose name is not known are left out.
pub(crate) fn node_verdicts(facts: &Facts, mappings: &Mappings<'_>) -> Vec<(String, NodeVerdict)> {
    let names = names(facts);
    let roles = facts.node_roles.known().map(Vec::as_slice).unwrap_or_default();
    roles
        .iter()
        .filter(|role| !role.name.is_empty())
        .map(|role| {
            let arn = match role.role.known() {
                Some(known) => known.arn.clone(),
                None if role.given.starts_with("arn:") => role.given.clone(),
                None => format!(
                    "arn:{}:iam::{}:role/{}",
                    names.partition,
                    names.account,
                    role.given.trim_start_matches('/')
                ),
            };
            let kind = match role.os {
                NodeOs::Windows => NodeKind::Windows,
                NodeOs::Linux | NodeOs::Unknown => NodeKind::Linux,
            };
            let mut asked = NodeRole::new(&arn, kind);
            asked.existence = existence(&role.role.observed);
            asked.id = role
                .role
                .known()
                .map(|known| known.id.as_str())
                .filter(|id| !id.is_empty());
            (
                role.name.clone(),
                judge_node_role(&mappings.cluster(), names, &asked),
            )
        })
        .collect()
}

fn node_role_mapped(facts: &Facts) -> Judgement {
    if let Some(reason) = lost_cluster(facts) {
        return Judgement::ground_lost(reason);
    }
    let Some(mappings) = mappings(facts) else {
        return match facts.cluster.observed.unknown() {
            Some(unknown) => {
                Judgement::unknown("the cluster's authentication mode", unknown).from(&facts.cluster)
            }
            None => Judgement::ground_lost("the cluster was not found: see cluster-found"),
        };
    };
    match &facts.node_roles.observed {
        Observed::Known(roles) if roles.is_empty() => {
            return Judgement::skip("which role the nodes have is not known: see node-role-known");
        }
        Observed::Known(_) => {}
        Observed::Unknown(unknown) => {
            return Judgement::unknown("the role of Karpenter's nodes", unknown).from(&facts.node_roles);
        }
        Observed::Absent => {
            return Judgement::skip("which role the nodes have is not known: see node-role-known");
        }
    }
    let verdicts = node_verdicts(facts, &mappings);
    let Some((_, worst)) = verdicts.iter().max_by_key(|(_, verdict)| verdict.standing) else {
        return Judgement::ground_lost(
            "no instance profile of the node classes has a role: see node-role-known",
        );
    };
    let message = if worst.standing == Standing::Well {
        verdicts
            .iter()
            .map(|(_, verdict)| verdict.message.as_str())
            .collect::<Vec<_>>()
            .join("; ")
    } else {
        let bad = verdicts
            .iter()
            .filter(|(_, verdict)| verdict.standing != Standing::Well);
        bad.map(|(_, verdict)| verdict.message.as_str())
            .collect::<Vec<_>>()
            .join("; ")
    };
    let mut judgement = match (worst.standing, mappings.unread) {
        (Standing::Unknown, Some(unknown)) => Judgement::unknown("how the node role is mapped", unknown),
        (Standing::Unknown, None) => Judgement::undecided(message),
        (Standing::Well, _) => Judgement::pass(message),
        (Standing::Flawed, _) => Judgement::warn(message),
        (Standing::Broken, _) => Judgement::fail(message),
    };
    if let (Status::Warn | Status::Fail, Some(remedy)) = (judgement.status, &worst.remedy) {
        let mut commands = remedy.commands.clone();
        if let Some(entry) = &remedy.aws_auth_entry {
            let comment = "# or, in kubectl edit configmap aws-auth -n kube-system, under mapRoles:";
            commands.push(format!("{comment}\n{entry}"));
        }
        judgement = judgement.remedy(remedy.text.clone(), commands);
    }
    let evidence: Vec<_> = verdicts
        .iter()
        .map(|(name, verdict)| {
            json!({
                "role": name, "standing": verdict.standing, "faults": verdict.faults,
                "username": verdict.decision.username, "groups": verdict.decision.groups, "source": verdict.decision.source
            })
        })
        .collect();
    judgement
        .evidence("roles", json!(evidence))
        .from(&facts.access_entries)
        .from(&facts.aws_auth)
}

/// See [`Check::explanation`].
pub static NODE_ROLE_KNOWN: Check = Check {
    id: "node-role-known",
    group: Group::NodeMapping,
    title: "The role of Karpenter's nodes is known, and IAM has it",
    explanation: "Finds out which IAM role Karpenter's nodes have: --node-role; else every EC2NodeClass's spec.role or instance \
        profile (iam:GetInstanceProfile); else, before Karpenter is there, the names that Karpenter's documentation \
        (KarpenterNodeRole-CLUSTER) and CAPT (CLUSTER-node) give it, where IAM has them. A role that IAM does not have means \
        that instances cannot launch at all. To mend it: create the role, or name it with --node-role.",
    docs: "https://karpenter.sh/docs/concepts/nodeclasses/#specrole",
    needed: always,
    judge: node_role_known,
};

fn node_role_known(facts: &Facts) -> Judgement {
    if let Some(reason) = lost_cluster(facts) {
        return Judgement::ground_lost(reason);
    }
    let roles = match &facts.node_roles.observed {
        Observed::Known(roles) => roles,
        Observed::Absent => return Judgement::undecided("nobody was asked").from(&facts.node_roles),
        Observed::Unknown(unknown) => {
            return Judgement::unknown("the role of Karpenter's nodes", unknown).from(&facts.node_roles);
        }
    };
    let cluster = &facts.target.cluster;
    if roles.is_empty() {
        let classes = facts
            .pools
            .node_classes
            .known()
            .map_or(0, |list| list.items.len());
        let what = if classes == 0 {
            format!(
                "Karpenter is not there yet, and IAM has neither KarpenterNodeRole-{cluster} nor {cluster}-node"
            )
        } else {
            "no EC2NodeClass names a role or an instance profile".to_owned()
        };
        return Judgement::warn(format!(
            "{what}: which role its nodes will have is not known, so nothing below could look at it"
        ))
        .remedy(
            "Name it.",
            [format!(
                "kubectl capt-spot preflight{} --node-role NAME",
                facts.target.own_flags
            )],
        )
        .from(&facts.node_roles);
    }
    let mut missing = Vec::new();
    let mut found = Vec::new();
    for role in roles {
        let who = match &role.named_by {
            NamedBy::Flag => "--node-role".to_owned(),
            NamedBy::NodeClass { name } => format!("EC2NodeClass {name}"),
            NamedBy::Convention => "the usual name".to_owned(),
        };
        match (&role.role.observed, &role.instance_profile) {
            (Observed::Known(known), _) => found.push(format!("{} ({who})", known.arn)),
            (Observed::Absent, Some(profile)) => missing.push(format!(
                "the instance profile {profile} ({who}) does not exist or holds no role"
            )),
            (Observed::Absent, None) => missing.push(format!("IAM has no role {} ({who})", role.given)),
            (Observed::Unknown(unknown), _) => {
                return Judgement::unknown(&format!("the role {}", role.given), unknown).from(&role.role);
            }
        }
    }
    let mut judgement = if missing.is_empty() {
        Judgement::pass(found.join(", "))
    } else {
        Judgement::fail(missing.join("; ")).remedy(
            "Create the role (Karpenter's getting-started CloudFormation or CAPT's template does), or mend its name in the EC2NodeClass.",
            ["kubectl get ec2nodeclasses -o yaml".to_owned()],
        )
    };
    for role in roles {
        judgement = judgement.from(&role.role);
    }
    judgement
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authenticator::EntryType;
    use crate::facts::fixture::{absent, denied, healthy, known, unreachable};

    type Damage = fn(&mut Facts);

    fn cluster(facts: &mut Facts) -> &mut facts::eks::Cluster {
        match &mut facts.cluster.observed {
            Observed::Known(cluster) => cluster,
            other => panic!("{other:?}"),
        }
    }

    fn map_roles(facts: &mut Facts, text: &str) {
        let data = [("mapRoles".to_owned(), text.to_owned())].into();
        facts.aws_auth = known(
            "get configmaps/aws-auth",
            facts::aws_auth::AwsAuth {
                data,
                managers: Vec::new(),
            },
        );
    }

    fn entries(facts: &mut Facts, mode: AuthenticationMode, kind: EntryType) {
        cluster(facts).authentication_mode = mode;
        let username = "system:node:{{EC2PrivateDNSName}}";
        let entry = AccessEntry::new(
            "arn:aws:iam::111122223333:role/demo-node",
            kind,
            username,
            &["system:nodes"],
        );
        facts.access_entries = known("eks:ListAccessEntries", vec![entry]);
    }

    #[test]
    fn each_check_on_each_way_things_can_be() {
        let rows: &[(&str, &Check, Damage, Status, &str)] = &[
            ("good", &AWS_AUTH_PARSES, |_| {}, Status::Pass, "nothing lost"),
            (
                "not YAML",
                &AWS_AUTH_PARSES,
                |f| map_roles(f, "- rolearn: a\n\tusername: b\n"),
                Status::Fail,
                "mapRoles line",
            ),
            (
                "an entry without a role",
                &AWS_AUTH_PARSES,
                |f| map_roles(f, "- username: x\n- rolearn: a\n"),
                Status::Warn,
                "mapRoles line 1",
            ),
            (
                "missing",
                &AWS_AUTH_PARSES,
                |f| f.aws_auth = absent("x"),
                Status::Warn,
                "there is no ConfigMap",
            ),
            (
                "denied",
                &AWS_AUTH_PARSES,
                |f| f.aws_auth = denied("x"),
                Status::Unknown,
                "denied",
            ),
            (
                "ignored",
                &AWS_AUTH_PARSES,
                |f| cluster(f).authentication_mode = AuthenticationMode::Api,
                Status::Skip,
                "ignores aws-auth",
            ),
            ("good", &NODE_ROLE_KNOWN, |_| {}, Status::Pass, "role/demo-node"),
            (
                "nobody names one",
                &NODE_ROLE_KNOWN,
                |f| f.node_roles = known("x", vec![]),
                Status::Warn,
                "neither KarpenterNodeRole-demo nor demo-node",
            ),
            (
                "unread",
                &NODE_ROLE_KNOWN,
                |f| f.node_roles = unreachable("x"),
                Status::Unknown,
                "could not be read",
            ),
            ("good", &NODE_ROLE_MAPPED, |_| {}, Status::Pass, "demo-node"),
            (
                "not mapped",
                &NODE_ROLE_MAPPED,
                |f| map_roles(f, "[]"),
                Status::Fail,
                "demo-node",
            ),
            (
                "no aws-auth",
                &NODE_ROLE_MAPPED,
                |f| f.aws_auth = absent("x"),
                Status::Fail,
                "demo-node",
            ),
            (
                "groups forgotten",
                &NODE_ROLE_MAPPED,
                |f| {
                    map_roles(
                        f,
                        "- rolearn: arn:aws:iam::111122223333:role/demo-node\n  username: system:node:{{EC2PrivateDNSName}}\n",
                    )
                },
                Status::Fail,
                "system:nodes",
            ),
            (
                "denied",
                &NODE_ROLE_MAPPED,
                |f| f.aws_auth = denied("x"),
                Status::Unknown,
                "denied",
            ),
            (
                "by an entry",
                &NODE_ROLE_MAPPED,
                |f| entries(f, AuthenticationMode::Api, EntryType::Ec2Linux),
                Status::Pass,
                "demo-node",
            ),
            (
                "by an entry of the wrong type, which hides the good line",
                &NODE_ROLE_MAPPED,
                |f| entries(f, AuthenticationMode::ApiAndConfigMap, EntryType::Standard),
                Status::Fail,
                "STANDARD",
            ),
            (
                "entries not readable",
                &NODE_ROLE_MAPPED,
                |f| {
                    cluster(f).authentication_mode = AuthenticationMode::ApiAndConfigMap;
                    f.access_entries = denied("eks:ListAccessEntries");
                },
                Status::Unknown,
                "denied",
            ),
        ];
        for (name, check, damage, status, says) in rows {
            let mut facts = healthy();
            damage(&mut facts);
            let judgement = (check.judge)(&facts);
            assert_eq!(
                judgement.status, *status,
                "{} / {name}: {}",
                check.id, judgement.message
            );
            assert!(
                judgement.message.contains(says),
                "{} / {name}: {}",
                check.id,
                judgement.message
            );
            if *status == Status::Fail {
                assert!(
                    judgement.remedy.is_some_and(|remedy| !remedy.commands.is_empty()),
                    "{} / {name}",
                    check.id
                );
            }
        }
    }
}
