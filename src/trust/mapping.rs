//! From the authenticator's decision to what `trust --cdk` asks of it: is this role a cluster admin?

use eks_aws_auth::{AccessEntry, Caller, Cluster, Decision, Existence, Outcome, Source, SourceKind, decide};
use iam_policy::arn::Arn;

use super::cdk::Mapping;
use crate::facts::cluster_admins::{GET_TOKEN_SESSION, MASTERS, entry_of, is_cluster_admin};

fn words(source: &Source) -> String {
    match source.kind {
        SourceKind::AwsAuth => format!("aws-auth {source}"),
        SourceKind::AccessEntry => source.to_string(),
    }
}

/// What the cluster makes of a role. `unread` is why something that counts could not be read, when it could not.
pub(crate) fn of_role(
    cluster: &Cluster<'_>,
    role: &Arn,
    existence: Existence,
    unread: Option<String>,
) -> Mapping {
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
        return Mapping::Admin { from };
    }
    let entry = entry_of(cluster, source);
    match entry.map(is_cluster_admin) {
        Some(Some(true)) => Mapping::Admin {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fixture::{admin_entry, map_roles};
    use eks_aws_auth::{AuthenticationMode, AwsAuth, EntryType, Settings};

    const ROLE: &str = "arn:aws:iam::111122223333:role/team/kubectl";

    fn kind(mapping: &Mapping) -> &'static str {
        match mapping {
            Mapping::Admin { .. } => "admin",
            Mapping::Less { .. } => "less",
            Mapping::Nobody { .. } => "nobody",
            Mapping::Unread { .. } => "unread",
        }
    }

    #[test]
    fn what_the_cluster_makes_of_a_role() {
        let line = |arn: &str, group: &str| {
            map_roles(&format!("- rolearn: {arn}\n  username: u\n  groups: [{group}]\n"))
        };
        let bare = "arn:aws:iam::111122223333:role/kubectl";
        let unread_policies = AccessEntry::new(ROLE, EntryType::Standard, "u", &[]);
        let masters = || line(bare, "system:masters");
        let (none, entry) = (AwsAuth::default, |scope| vec![admin_entry(ROLE, scope)]);
        let denied = Some("denied".to_owned());
        for (mode, map, entries, unread, want) in [
            ("CONFIG_MAP", masters(), vec![], None, "admin"),
            ("CONFIG_MAP", line(bare, "viewers"), vec![], None, "less"),
            // A path in aws-auth never matches.
            ("CONFIG_MAP", line(ROLE, "system:masters"), vec![], None, "nobody"),
            ("CONFIG_MAP", none(), entry("cluster"), None, "nobody"),
            ("API", masters(), vec![], None, "nobody"),
            ("API", none(), entry("cluster"), None, "admin"),
            ("API", none(), entry("namespace"), None, "less"),
            ("API", none(), vec![unread_policies], None, "unread"),
            // An entry hides the line.
            ("API_AND_CONFIG_MAP", masters(), entry("namespace"), None, "less"),
            ("API_AND_CONFIG_MAP", masters(), vec![], denied, "unread"),
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
}
