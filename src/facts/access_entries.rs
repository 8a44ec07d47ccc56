//! The cluster's access entries (EKS).

use std::collections::BTreeMap;

use eks_aws_auth::{AccessEntry, AccessScope, AssociatedPolicy, AuthenticationMode};
use futures_util::join;
use jiff::Timestamp;

use crate::aws::{Question, Session, describe_each};
use crate::model::{Cluster, Fact, Observed, Unknown, Why};

/// The entries, and why the policies of some could not be read, by principal.
#[derive(Debug, Clone)]
pub struct Entries {
    pub entries: Fact<Vec<AccessEntry>>,
    pub policies_unread: BTreeMap<String, Unknown>,
}

/// Reads every access entry, the entries themselves and their policies concurrently.
pub async fn read(session: &Session, cluster: &str) -> Entries {
    let eks = session.eks();
    let listed = session
        .list(
            &Question::new(
                "eks:ListAccessEntries",
                cluster,
                session.eks_arn(&format!("cluster/{cluster}")),
            ),
            "accessEntries",
            |token| {
                eks.list_access_entries()
                    .cluster_name(cluster)
                    .set_next_token(token)
                    .send()
            },
            |page| Ok((page.access_entries.unwrap_or_default(), page.next_token)),
        )
        .await;
    let described = describe_each(listed, |principal| describe(session, cluster, principal)).await;
    let mut policies_unread = BTreeMap::new();
    let observed = described.observed.map(|all| {
        let entries = all.into_iter().map(|(entry, unread)| {
            policies_unread.extend(unread.map(|unread| (entry.principal_arn.clone(), unread)));
            entry
        });
        entries.collect()
    });
    Entries {
        entries: Fact::new(described.call, observed),
        policies_unread,
    }
}

/// What the list means beside what EKS says of the cluster, which is asked at the same time: in mode CONFIG_MAP there are no
/// entries, whatever the answer was; in the other modes a list that is not there contradicts the mode.
pub fn agreed(entries: Fact<Vec<AccessEntry>>, cluster: &Fact<Cluster>) -> Fact<Vec<AccessEntry>> {
    let observed = match cluster.known().map(|cluster| cluster.authentication_mode) {
        Some(AuthenticationMode::ConfigMap) => Observed::Absent,
        _ => return super::of_parent(entries, cluster),
    };
    Fact::new(entries.call, observed)
}

/// EKS sends seconds with a fraction; the fraction decides when a role and its entry are made in one run.
fn timestamp(at: aws_smithy_types::DateTime) -> Option<Timestamp> {
    Timestamp::new(at.secs(), i32::try_from(at.subsec_nanos()).ok()?).ok()
}

/// The entry, and why its policies could not be read.
async fn describe(
    session: &Session,
    cluster: &str,
    principal: String,
) -> Fact<(AccessEntry, Option<Unknown>)> {
    let eks = session.eks();
    let resource = session.eks_arn(&format!("access-entry/{cluster}/*"));
    let question = Question::new("eks:DescribeAccessEntry", &principal, resource);
    let described = session.ask(
        &question,
        &["accessEntry.principalArn", "accessEntry.type"],
        || {
            eks.describe_access_entry()
                .cluster_name(cluster)
                .principal_arn(&principal)
                .send()
        },
        |answer| {
            let entry = answer.access_entry.ok_or("holds no entry")?;
            if entry.principal_arn.as_deref() != Some(&principal) {
                return Err("is about another principal".to_owned());
            }
            Ok(AccessEntry {
                principal_arn: principal.clone(),
                username: entry.username,
                kubernetes_groups: entry.kubernetes_groups.unwrap_or_default(),
                kind: entry
                    .r#type
                    .and_then(|kind| serde_json::from_value(kind.into()).ok()),
                created_at: entry.created_at.and_then(timestamp),
                modified_at: entry.modified_at.and_then(timestamp),
                access_entry_arn: entry.access_entry_arn,
                cluster_name: entry.cluster_name,
                principal_id: None,
                policies: None,
            })
        },
    );
    let (entry, policies) = join!(described, policies(session, cluster, &principal));
    let (policies, unread) = match policies.observed {
        Observed::Known(policies) => (Some(policies), None),
        Observed::Absent => (
            None,
            Some(Unknown::new(
                Why::Incomplete,
                "EKS did not find the entry that it listed",
            )),
        ),
        Observed::Unknown(unknown) => (None, Some(unknown)),
    };
    let with_policies = |entry| (AccessEntry { policies, ..entry }, unread);
    Fact::new(entry.call, entry.observed.map(with_policies))
}

async fn policies(session: &Session, cluster: &str, principal: &str) -> Fact<Vec<AssociatedPolicy>> {
    let eks = session.eks();
    let resource = session.eks_arn(&format!("access-entry/{cluster}/*"));
    session
        .list(
            &Question::new("eks:ListAssociatedAccessPolicies", principal, resource),
            "associatedAccessPolicies",
            |token| {
                eks.list_associated_access_policies()
                    .cluster_name(cluster)
                    .principal_arn(principal)
                    .set_next_token(token)
                    .send()
            },
            |page| {
                let found = page.associated_access_policies.unwrap_or_default().into_iter();
                let policies = found
                    .map(|policy| {
                        Ok(AssociatedPolicy {
                            policy_arn: policy.policy_arn.ok_or("holds a policy without its ARN")?,
                            access_scope: scope(
                                policy.access_scope.ok_or("holds a policy without its scope")?,
                            ),
                        })
                    })
                    .collect::<Result<_, &str>>()?;
                Ok((policies, page.next_token))
            },
        )
        .await
}

fn scope(from: aws_sdk_eks::types::AccessScope) -> AccessScope {
    AccessScope {
        kind: from
            .r#type
            .map(|kind| kind.as_str().to_owned())
            .unwrap_or_default(),
        namespaces: from.namespaces.unwrap_or_default(),
    }
}
