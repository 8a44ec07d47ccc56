//! The cluster and its access entries (EKS).

use std::time::Duration;

use base64::Engine as _;
use futures_util::stream::{self, StreamExt as _};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::aws;
use crate::karpenter::identity::Association;
use crate::model::Calls;
use crate::model::{Fact, Grant, Observed, Unknown, Why};
use eks_aws_auth::{AccessEntry, AccessScope, AssociatedPolicy, AuthenticationMode};

/// How many access entries are described at a time: EKS's read rate is shared by the whole account.
const AT_ONCE: usize = 16;

/// An EKS cluster as `eks:DescribeCluster` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// Name.
    pub name: String,
    /// ARN; its account is the cluster's account.
    pub arn: String,
    /// `ACTIVE`, `CREATING`, `DELETING`, `FAILED`, `UPDATING`, `PENDING`.
    pub status: String,
    /// The API server's endpoint; absent while creating.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Kubernetes version, `1.34`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `eks.12`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform_version: Option<String>,
    /// The authentication mode. Absent in the answer of clusters older than access entries: `CONFIG_MAP`.
    pub authentication_mode: AuthenticationMode,
    /// Whether the answer stated the mode.
    pub authentication_mode_stated: bool,
    /// The OIDC issuer's URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oidc_issuer: Option<String>,
    /// SHA-256 of the certificate authority data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_authority_sha256: Option<String>,
    /// EKS Auto Mode's compute is on.
    pub auto_mode: bool,
    /// The cluster's own role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// The role of Auto Mode's nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_mode_node_role: Option<String>,
    /// When it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// Whether the endpoint is reachable from outside the VPC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_endpoint: Option<bool>,
}

impl Cluster {
    /// The account in the cluster's ARN.
    pub fn account(&self) -> Option<&str> {
        self.arn
            .split(':')
            .nth(4)
            .filter(|account| account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit()))
    }
}

/// Names of all clusters of the region.
///
/// # Errors
/// Why they could not be listed.
pub async fn list_clusters(
    client: &aws_sdk_eks::Client,
    region: &str,
    timeout: Duration,
    calls: &Calls,
) -> Result<Vec<String>, Unknown> {
    const CALL: &str = "eks:ListClusters";
    let mut names = Vec::new();
    let mut pages = client.list_clusters().into_paginator().send();
    while let Some(page) = pages.next().await {
        match page {
            Ok(page) => names.extend(page.clusters.unwrap_or_default()),
            Err(error) => {
                let unknown = aws::failure(
                    &error,
                    crate::cluster::resolve::list_clusters_grant(region),
                    timeout,
                )
                .unknown;
                calls.record(CALL, unknown.to_string());
                return Err(unknown);
            }
        }
    }
    calls.record(CALL, format!("{} clusters", names.len()));
    Ok(names)
}

pub(super) fn cluster_grant(action: &str, region: &str, cluster: &str) -> Grant {
    let partition = iam_policy::arn::partition_of_region(region);
    Grant::Iam {
        action: action.to_owned(),
        resource: format!("arn:{partition}:eks:{region}:*:cluster/{cluster}"),
    }
}

/// Reads the cluster.
pub async fn describe_cluster(
    client: &aws_sdk_eks::Client,
    name: &str,
    region: &str,
    timeout: Duration,
    calls: &Calls,
) -> Fact<Cluster> {
    let call = format!("eks:DescribeCluster {name}");
    let grant = cluster_grant("eks:DescribeCluster", region, name);
    let observed = match client.describe_cluster().name(name).send().await {
        Ok(answer) => match answer.cluster.and_then(cluster) {
            Some(found) if found.name == name => Observed::Known(found),
            _ => Observed::Unknown(Unknown::new(
                Why::Unusable,
                format!("the answer to eks:DescribeCluster {name} holds no such cluster"),
            )),
        },
        Err(error) => {
            let failure = aws::failure(&error, grant, timeout);
            if failure.is_not_found() {
                Observed::Absent
            } else {
                Observed::Unknown(failure.unknown)
            }
        }
    };
    calls.observed(&call, &observed);
    Fact::new(call, observed)
}

fn cluster(from: aws_sdk_eks::types::Cluster) -> Option<Cluster> {
    let stated = from
        .access_config
        .as_ref()
        .and_then(|access| access.authentication_mode.as_ref());
    let authentication_mode = match stated.map(aws_sdk_eks::types::AuthenticationMode::as_str) {
        None | Some("CONFIG_MAP") => AuthenticationMode::ConfigMap,
        Some("API_AND_CONFIG_MAP") => AuthenticationMode::ApiAndConfigMap,
        Some("API") => AuthenticationMode::Api,
        // A mode of the future: nothing can be said about who it lets in.
        Some(_) => return None,
    };
    let ca = from
        .certificate_authority
        .and_then(|ca| ca.data)
        .and_then(|data| base64::engine::general_purpose::STANDARD.decode(data.trim()).ok())
        .map(|pem| crate::cluster::resolve::sha256_hex(&pem));
    let compute = from.compute_config.as_ref();
    Some(Cluster {
        authentication_mode_stated: stated.is_some(),
        name: from.name?,
        arn: from.arn?,
        status: from
            .status
            .map(|status| status.as_str().to_owned())
            .unwrap_or_default(),
        endpoint: from.endpoint,
        version: from.version,
        platform_version: from.platform_version,
        authentication_mode,
        oidc_issuer: from
            .identity
            .and_then(|identity| identity.oidc)
            .and_then(|oidc| oidc.issuer),
        certificate_authority_sha256: ca,
        auto_mode: compute.and_then(|compute| compute.enabled).unwrap_or(false),
        auto_mode_node_role: compute.and_then(|compute| compute.node_role_arn.clone()),
        role_arn: from.role_arn,
        created: from
            .created_at
            .and_then(|at| Timestamp::from_second(at.secs()).ok()),
        public_endpoint: from.resources_vpc_config.map(|vpc| vpc.endpoint_public_access),
    })
}

/// Reads every access entry: all pages of the list, the entries themselves and their policies concurrently.
///
/// One entry that cannot be read makes the whole list unknown: a missing entry could be the one that decides.
pub async fn access_entries(
    client: &aws_sdk_eks::Client,
    name: &str,
    region: &str,
    timeout: Duration,
    calls: &Calls,
) -> Fact<Vec<AccessEntry>> {
    let call = format!("eks:ListAccessEntries {name}");
    let grant = cluster_grant("eks:ListAccessEntries", region, name);
    let mut principals = Vec::new();
    let mut pages = client
        .list_access_entries()
        .cluster_name(name)
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        match page {
            Ok(page) => principals.extend(page.access_entries.unwrap_or_default()),
            Err(error) => {
                let failure = aws::failure(&error, grant, timeout);
                // A cluster in mode CONFIG_MAP has no entries, and EKS says so as an invalid request.
                let no_entries = failure.code.as_deref() == Some("InvalidRequestException")
                    && failure.message.contains("authentication mode");
                let observed = if failure.is_not_found() || no_entries {
                    Observed::Absent
                } else {
                    Observed::Unknown(failure.unknown)
                };
                calls.observed(&call, &observed);
                return Fact::new(call, observed);
            }
        }
    }
    calls.record(&call, format!("{} access entries", principals.len()));
    let mut entries = Vec::with_capacity(principals.len());
    let mut answers = stream::iter(principals)
        .map(|principal| {
            let client = client.clone();
            async move { access_entry(&client, name, region, &principal, timeout, calls).await }
        })
        .buffered(AT_ONCE);
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(Some(entry)) => entries.push(entry),
            // Deleted between the list and the description.
            Ok(None) => {}
            Err(unknown) => return Fact::new(call, Observed::Unknown(unknown)),
        }
    }
    Fact::new(call, Observed::Known(entries))
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

/// EKS sends seconds with a fraction; the fraction decides when a role and its entry are made in one run.
fn timestamp(at: aws_smithy_types::DateTime) -> Option<Timestamp> {
    Timestamp::new(at.secs(), i32::try_from(at.subsec_nanos()).ok()?).ok()
}

async fn access_entry(
    client: &aws_sdk_eks::Client,
    cluster: &str,
    region: &str,
    principal: &str,
    timeout: Duration,
    calls: &Calls,
) -> Result<Option<AccessEntry>, Unknown> {
    let partition = iam_policy::arn::partition_of_region(region);
    let resource = format!("arn:{partition}:eks:{region}:*:access-entry/{cluster}/*");
    let grant = |action: &str| Grant::Iam {
        action: action.to_owned(),
        resource: resource.clone(),
    };
    let call = format!("eks:DescribeAccessEntry {principal}");
    let policies_call = format!("eks:ListAssociatedAccessPolicies {principal}");
    let describe = client
        .describe_access_entry()
        .cluster_name(cluster)
        .principal_arn(principal)
        .send();
    let policies = async {
        let mut all = Vec::new();
        let mut pages = client
            .list_associated_access_policies()
            .cluster_name(cluster)
            .principal_arn(principal)
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            match page {
                Ok(page) => all.extend(page.associated_access_policies.unwrap_or_default()),
                Err(error) => {
                    return Err(aws::failure(
                        &error,
                        grant("eks:ListAssociatedAccessPolicies"),
                        timeout,
                    ));
                }
            }
        }
        Ok(all)
    };
    let (described, policies) = futures_util::join!(describe, policies);
    let policies = match policies {
        Ok(all) => {
            calls.record(&policies_call, format!("{} policies", all.len()));
            Some(
                all.into_iter()
                    .map(|policy| AssociatedPolicy {
                        policy_arn: policy.policy_arn.unwrap_or_default(),
                        access_scope: policy.access_scope.map(scope).unwrap_or_default(),
                    })
                    .collect(),
            )
        }
        Err(failure) => {
            calls.record(&policies_call, failure.unknown.to_string());
            None
        }
    };
    match described {
        Ok(answer) => {
            let entry = answer.access_entry.ok_or_else(|| {
                Unknown::new(
                    Why::Unusable,
                    format!("the answer to eks:DescribeAccessEntry {principal} holds no entry"),
                )
            })?;
            calls.record(
                &call,
                format!("type {}", entry.r#type.as_deref().unwrap_or("not stated")),
            );
            Ok(Some(AccessEntry {
                principal_arn: entry.principal_arn.unwrap_or_else(|| principal.to_owned()),
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
                policies,
            }))
        }
        Err(error) => {
            let failure = aws::failure(&error, grant("eks:DescribeAccessEntry"), timeout);
            calls.record(&call, failure.unknown.to_string());
            if failure.is_not_found() {
                Ok(None)
            } else {
                Err(failure.unknown)
            }
        }
    }
}

/// Reads the cluster's Pod Identity associations; all pages. The list leaves their roles out.
pub async fn pod_identity_associations(
    client: &aws_sdk_eks::Client,
    name: &str,
    region: &str,
    timeout: Duration,
    calls: &Calls,
) -> Fact<Vec<Association>> {
    let call = format!("eks:ListPodIdentityAssociations {name}");
    let grant = cluster_grant("eks:ListPodIdentityAssociations", region, name);
    let mut all = Vec::new();
    let mut pages = client
        .list_pod_identity_associations()
        .cluster_name(name)
        .into_paginator()
        .send();
    let observed = loop {
        match pages.next().await {
            None => break Observed::Known(all),
            Some(Ok(page)) => {
                all.extend(
                    page.associations
                        .unwrap_or_default()
                        .into_iter()
                        .map(|one| Association {
                            namespace: one.namespace.unwrap_or_default(),
                            service_account: one.service_account.unwrap_or_default(),
                            id: one.association_id,
                            role_arn: None,
                            session_tags_disabled: None,
                        }),
                )
            }
            Some(Err(error)) => {
                let failure = aws::failure(&error, grant, timeout);
                break if failure.is_not_found() {
                    Observed::Absent
                } else {
                    Observed::Unknown(failure.unknown)
                };
            }
        }
    };
    match &observed {
        Observed::Known(all) => calls.record(&call, format!("{} associations", all.len())),
        other => calls.observed(&call, other),
    }
    Fact::new(call, observed)
}

/// Reads one association with its role.
pub async fn pod_identity_association(
    client: &aws_sdk_eks::Client,
    name: &str,
    region: &str,
    listed: Association,
    timeout: Duration,
    calls: &Calls,
) -> Fact<Association> {
    let call = format!(
        "eks:DescribePodIdentityAssociation {name} {}/{}",
        listed.namespace, listed.service_account
    );
    let partition = iam_policy::arn::partition_of_region(region);
    let grant = Grant::Iam {
        action: "eks:DescribePodIdentityAssociation".to_owned(),
        resource: format!("arn:{partition}:eks:{region}:*:podidentityassociation/{name}/*"),
    };
    let answer = client
        .describe_pod_identity_association()
        .cluster_name(name)
        .set_association_id(listed.id.clone())
        .send()
        .await;
    let observed = match answer {
        Ok(answer) => match answer.association {
            Some(found) if found.role_arn.is_some() => Observed::Known(Association {
                role_arn: found.role_arn,
                session_tags_disabled: found.disable_session_tags,
                ..listed
            }),
            _ => Observed::Unknown(Unknown::new(
                Why::Unusable,
                format!("the answer to {call} names no role"),
            )),
        },
        Err(error) => {
            let failure = aws::failure(&error, grant, timeout);
            if failure.is_not_found() {
                Observed::Absent
            } else {
                Observed::Unknown(failure.unknown)
            }
        }
    };
    calls.observed(&call, &observed);
    Fact::new(call, observed)
}

/// Reads an add-on's status, `ACTIVE` when all is well.
pub async fn addon_status(
    client: &aws_sdk_eks::Client,
    name: &str,
    region: &str,
    addon: &str,
    timeout: Duration,
    calls: &Calls,
) -> Fact<String> {
    let call = format!("eks:DescribeAddon {name} {addon}");
    let partition = iam_policy::arn::partition_of_region(region);
    let grant = Grant::Iam {
        action: "eks:DescribeAddon".to_owned(),
        resource: format!("arn:{partition}:eks:{region}:*:addon/{name}/{addon}/*"),
    };
    let answer = client
        .describe_addon()
        .cluster_name(name)
        .addon_name(addon)
        .send()
        .await;
    let observed = match answer {
        Ok(answer) => match answer.addon.and_then(|found| found.status) {
            Some(status) => Observed::Known(status.as_str().to_owned()),
            None => Observed::Unknown(Unknown::new(
                Why::Unusable,
                format!("the answer to {call} holds no status"),
            )),
        },
        Err(error) => {
            let failure = aws::failure(&error, grant, timeout);
            if failure.is_not_found() {
                Observed::Absent
            } else {
                Observed::Unknown(failure.unknown)
            }
        }
    };
    calls.observed(&call, &observed);
    Fact::new(call, observed)
}
