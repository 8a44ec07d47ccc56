//! From the authenticator's decision to what `trust` and `masters-trust` ask of it: does this role rule the cluster?

use eks_aws_auth::{
    AccessEntry, Caller, Cluster, Decision, Existence, Outcome, Source, SourceKind, State, decide, list_all,
};
use iam_policy::arn::{Arn, PrincipalArn};

use super::GET_TOKEN_SESSION;
use super::cdk::Mapping;
use super::masters::Power;

/// The group that may do everything.
const MASTERS: &str = "system:masters";
/// The access policy that is its counterpart; its ARN ends so in every partition.
const CLUSTER_ADMIN: &str = ":cluster-access-policy/AmazonEKSClusterAdminPolicy";

/// Whether an access entry has AmazonEKSClusterAdminPolicy for the whole cluster; none when its policies were not read.
pub fn is_cluster_admin(entry: &AccessEntry) -> Option<bool> {
    entry.policies.as_ref().map(|policies| {
        policies.iter().any(|policy| {
            policy.policy_arn.ends_with(CLUSTER_ADMIN)
                && policy.access_scope.kind.eq_ignore_ascii_case("cluster")
        })
    })
}

fn entry_of<'a>(cluster: &Cluster<'a>, source: &Source) -> Option<&'a AccessEntry> {
    (source.kind == SourceKind::AccessEntry)
        .then(|| cluster.entries?.get(source.index?))
        .flatten()
}

fn words(source: &Source) -> String {
    match source.kind {
        SourceKind::AwsAuth => format!("aws-auth {source}"),
        SourceKind::AccessEntry => source.to_string(),
    }
}

/// What the cluster makes of a role. `unread` is why something that counts could not be read, when it could not.
pub fn of_role(cluster: &Cluster<'_>, role: &Arn, existence: Existence, unread: Option<String>) -> Mapping {
    let caller = match Caller::of_role(&role.to_string(), Some(GET_TOKEN_SESSION)) {
        Ok(caller) => caller,
        Err(error) => {
            return Mapping::Nobody {
                why: error.to_string(),
            };
        }
    };
    if let Some(why) = unread {
        return Mapping::Unread { why };
    }
    let decision = decide(cluster, &caller, existence);
    let Some(source) = decision
        .source
        .as_ref()
        .filter(|_| decision.outcome == Outcome::Mapped)
    else {
        return match decision.outcome {
            Outcome::Ambiguous => Mapping::Unread { why: decision.reason },
            _ => Mapping::Nobody { why: decision.reason },
        };
    };
    let from = words(source);
    if decision.groups.iter().any(|group| group == MASTERS) {
        return Mapping::Rules { from };
    }
    let entry = entry_of(cluster, source);
    match entry.map(is_cluster_admin) {
        Some(Some(true)) => Mapping::Rules {
            from: format!("{from} with AmazonEKSClusterAdminPolicy"),
        },
        Some(None) => Mapping::Unread {
            why: format!("the policies of the {from} were not read"),
        },
        Some(Some(false)) | None => Mapping::Less {
            has: less(&decision, entry),
            from,
        },
    }
}

fn less(decision: &Decision, entry: Option<&AccessEntry>) -> String {
    let mut all = vec![decision.username.as_deref().map_or_else(
        || "a user without a name".to_owned(),
        |name| format!("user {name}"),
    )];
    if !decision.groups.is_empty() {
        all.push(format!("groups {}", decision.groups.join(", ")));
    }
    for policy in entry
        .and_then(|entry| entry.policies.as_deref())
        .unwrap_or_default()
    {
        let name = policy.policy_arn.rsplit('/').next().unwrap_or_default();
        let scope = if policy.access_scope.kind.eq_ignore_ascii_case("cluster") {
            "for the whole cluster".to_owned()
        } else {
            format!("for {}", policy.access_scope.namespaces.join(", "))
        };
        all.push(format!("{name} {scope}"));
    }
    all.join(", ")
}

/// A role that rules the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruler {
    /// As it is mapped: in aws-auth without its path.
    pub arn: Arn,
    /// By what.
    pub power: Power,
    /// Why its access entry is bound to an earlier role of that name, where it is.
    pub stale: Option<String>,
}

/// The roles that rule the cluster, each by the line or entry that is in force for it. `existence` tells what IAM says about
/// a principal, where it was asked. Linear in the mappings.
pub fn rulers(cluster: &Cluster<'_>, existence: impl Fn(&str) -> Existence) -> Vec<Ruler> {
    let mut found = Vec::new();
    for listed in list_all(cluster, existence) {
        let stale = match &listed.state {
            State::InForce => None,
            State::Stale { why } => Some(why.clone()),
            _ => continue,
        };
        let Ok(PrincipalArn::Role(arn)) = listed.principal.parse::<PrincipalArn>() else {
            continue;
        };
        let power = match listed.source.kind {
            SourceKind::AccessEntry => {
                let rules = entry_of(cluster, &listed.source).and_then(is_cluster_admin);
                if rules != Some(true) {
                    continue;
                }
                Power::AccessEntry
            }
            SourceKind::AwsAuth => {
                let (Some(key), Some(index)) = (listed.source.key, listed.source.index) else {
                    continue;
                };
                if !listed.groups.iter().any(|group| group == MASTERS) {
                    continue;
                }
                Power::AwsAuth {
                    key: key.to_string(),
                    index,
                    line: listed.source.line,
                }
            }
        };
        found.push(Ruler { arn, power, stale });
    }
    found
}

/// The access entries whose policies were not read, and could hold AmazonEKSClusterAdminPolicy.
pub fn policies_unread<'a>(cluster: &Cluster<'a>) -> Vec<&'a AccessEntry> {
    let entries = cluster.entries.filter(|_| cluster.mode.uses_entries());
    entries
        .unwrap_or_default()
        .iter()
        .filter(|entry| is_cluster_admin(entry).is_none())
        .filter(|entry| matches!(entry.principal_arn.parse(), Ok(PrincipalArn::Role(_))))
        .filter(|entry| matches!(entry.kind_str(), "STANDARD" | "EC2"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use eks_aws_auth::{AccessScope, AssociatedPolicy, AuthenticationMode, AwsAuth, EntryType, Settings};
    use std::collections::BTreeMap;

    fn aws_auth(map_roles: &str) -> AwsAuth {
        AwsAuth::parse(&BTreeMap::from([("mapRoles".to_owned(), map_roles.to_owned())]))
    }

    fn admin_entry(arn: &str, scope: &str) -> AccessEntry {
        let mut entry = AccessEntry::new(arn, EntryType::Standard, "u", &[]);
        entry.policies = Some(vec![AssociatedPolicy {
            policy_arn: "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy".into(),
            access_scope: AccessScope {
                kind: scope.into(),
                namespaces: vec!["a".into()],
            },
        }]);
        entry
    }

    const ROLE: &str = "arn:aws:iam::111122223333:role/team/kubectl";

    fn kind(mapping: &Mapping) -> &'static str {
        match mapping {
            Mapping::Rules { .. } => "rules",
            Mapping::Less { .. } => "less",
            Mapping::Nobody { .. } => "nobody",
            Mapping::Unread { .. } => "unread",
        }
    }

    #[test]
    fn what_the_cluster_makes_of_a_role() {
        let line = |arn: &str, group: &str| {
            aws_auth(&format!("- rolearn: {arn}\n  username: u\n  groups: [{group}]\n"))
        };
        let bare = "arn:aws:iam::111122223333:role/kubectl";
        let unread_policies = AccessEntry::new(ROLE, EntryType::Standard, "u", &[]);
        for (mode, map, entries, unread, want) in [
            ("CONFIG_MAP", line(bare, "system:masters"), vec![], None, "rules"),
            ("CONFIG_MAP", line(bare, "viewers"), vec![], None, "less"),
            // A path in aws-auth never matches.
            ("CONFIG_MAP", line(ROLE, "system:masters"), vec![], None, "nobody"),
            (
                "CONFIG_MAP",
                AwsAuth::default(),
                vec![admin_entry(ROLE, "cluster")],
                None,
                "nobody",
            ),
            ("API", line(bare, "system:masters"), vec![], None, "nobody"),
            (
                "API",
                AwsAuth::default(),
                vec![admin_entry(ROLE, "cluster")],
                None,
                "rules",
            ),
            (
                "API",
                AwsAuth::default(),
                vec![admin_entry(ROLE, "namespace")],
                None,
                "less",
            ),
            (
                "API",
                AwsAuth::default(),
                vec![unread_policies.clone()],
                None,
                "unread",
            ),
            // An entry hides the line.
            (
                "API_AND_CONFIG_MAP",
                line(bare, "system:masters"),
                vec![admin_entry(ROLE, "namespace")],
                None,
                "less",
            ),
            (
                "API_AND_CONFIG_MAP",
                line(bare, "system:masters"),
                vec![],
                Some("denied".to_owned()),
                "unread",
            ),
        ] {
            let mode: AuthenticationMode = mode.parse().unwrap();
            let cluster = Cluster {
                mode,
                aws_auth: Some(&map),
                entries: Some(&entries),
                settings: Settings::default(),
            };
            let found = of_role(&cluster, &ROLE.parse().unwrap(), Existence::Unknown, unread);
            assert_eq!(kind(&found), want, "{mode} {found:?}");
        }
    }

    #[test]
    fn the_rulers_are_those_in_force() {
        let map = aws_auth(
            "- rolearn: arn:aws:iam::111122223333:role/a\n  groups: [system:masters]\n\
             - rolearn: arn:aws:iam::111122223333:role/b\n  groups: [system:masters]\n\
             - rolearn: arn:aws:iam::111122223333:role/b\n  groups: [viewers]\n\
             - rolearn: arn:aws:iam::111122223333:role/team/c\n  groups: [system:masters]\n\
             - rolearn: arn:aws:iam::111122223333:role/d\n  groups: [viewers]\n\
             - rolearn: arn:aws:iam::111122223333:role/kubectl\n  groups: [system:masters]\n",
        );
        let entries = [
            admin_entry(ROLE, "cluster"),
            admin_entry("arn:aws:iam::111122223333:role/e", "namespace"),
            admin_entry("arn:aws:iam::111122223333:user/eve", "cluster"),
        ];
        for (mode, want) in [
            ("CONFIG_MAP", vec!["a mapRoles[0]", "kubectl mapRoles[5]"]),
            ("API_AND_CONFIG_MAP", vec!["kubectl entry", "a mapRoles[0]"]),
            ("API", vec!["kubectl entry"]),
        ] {
            let cluster = Cluster {
                mode: mode.parse().unwrap(),
                aws_auth: Some(&map),
                entries: Some(&entries),
                settings: Settings::default(),
            };
            let found: Vec<String> = rulers(&cluster, |_| Existence::Unknown)
                .into_iter()
                .map(|ruler| {
                    let name = ruler.arn.role_name().unwrap_or_default().to_owned();
                    match ruler.power {
                        Power::AccessEntry => format!("{name} entry"),
                        Power::AwsAuth { key, index, .. } => format!("{name} {key}[{index}]"),
                    }
                })
                .collect();
            assert_eq!(found, want, "{mode}");
        }
    }

    #[test]
    fn an_entry_of_an_earlier_role_leaves_its_line_in_force() {
        let map = aws_auth("- rolearn: arn:aws:iam::111122223333:role/kubectl\n  groups: [system:masters]\n");
        let mut entry = admin_entry(ROLE, "cluster");
        entry.created_at = Some("2026-01-01T00:00:00Z".parse().unwrap());
        let mut unread = AccessEntry::new("arn:aws:iam::111122223333:role/x", EntryType::Standard, "u", &[]);
        unread.policies = None;
        let entries = [entry, unread];
        let cluster = Cluster {
            mode: AuthenticationMode::ApiAndConfigMap,
            aws_auth: Some(&map),
            entries: Some(&entries),
            settings: Settings::default(),
        };
        let later = Existence::Since("2026-02-01T00:00:00Z".parse().unwrap());
        let found = rulers(&cluster, |_| later);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].power == Power::AccessEntry && found[0].stale.is_some());
        assert!(found[1].power != Power::AccessEntry && found[1].stale.is_none());
        let names: Vec<&str> = policies_unread(&cluster)
            .iter()
            .map(|entry| entry.principal_arn.as_str())
            .collect();
        assert_eq!(names, ["arn:aws:iam::111122223333:role/x"]);
        let cluster = Cluster {
            mode: AuthenticationMode::ConfigMap,
            ..cluster
        };
        assert_eq!(policies_unread(&cluster).len(), 0);
    }
}
