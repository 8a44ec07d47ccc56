//! What else runs on the cluster beside Karpenter's nodes, and under which roles: Fargate profiles and managed node
//! groups (EKS).

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use serde::{Deserialize, Serialize};

use crate::aws;
use crate::model::Calls;
use crate::model::{Fact, Grant, Observed, Unknown, Why};

/// How many of them are described at a time: EKS's read rate is shared by the whole account.
const AT_ONCE: usize = 16;

/// A Fargate profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FargateProfile {
    /// Its name.
    pub name: String,
    /// `podExecutionRoleArn`: what its pods' kubelets join with.
    pub role_arn: String,
    /// `ACTIVE`, `CREATING`, `DELETING`, ...
    pub status: String,
    /// The namespaces of its selectors; `*` and `?` are wildcards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
}

/// A managed node group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeGroup {
    /// Its name.
    pub name: String,
    /// `nodeRole`.
    pub role_arn: String,
}

/// Both, with what IAM says of the profiles' roles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Compute {
    /// The Fargate profiles. Known and empty: there are none.
    pub fargate_profiles: Fact<Vec<FargateProfile>>,
    /// Their pod execution roles in IAM, by name.
    #[serde(default)]
    pub fargate_roles: BTreeMap<String, Fact<crate::model::Role>>,
    /// The managed node groups.
    pub node_groups: Fact<Vec<NodeGroup>>,
}

/// What one kind is called in calls and grants.
struct Kind<'a> {
    cluster: &'a str,
    region: &'a str,
    list: &'static str,
    describe: &'static str,
    /// The resource type in ARNs.
    resource: &'static str,
    plural: &'static str,
}

impl Kind<'_> {
    fn call(&self) -> String {
        format!("{} {}", self.list, self.cluster)
    }

    fn list_grant(&self) -> Grant {
        super::eks::cluster_grant(self.list, self.region, self.cluster)
    }

    fn describe_grant(&self) -> Grant {
        let Self {
            cluster,
            region,
            resource,
            ..
        } = self;
        let partition = iam_policy::arn::partition_of_region(region);
        Grant::Iam {
            action: self.describe.to_owned(),
            resource: format!("arn:{partition}:eks:{region}:*:{resource}/{cluster}/*"),
        }
    }

    /// What the failed list means.
    fn not_listed<T>(&self, failure: aws::Failure, calls: &Calls) -> Fact<T> {
        let observed = if failure.is_not_found() {
            Observed::Absent
        } else {
            Observed::Unknown(failure.unknown)
        };
        calls.observed(&self.call(), &observed);
        Fact::new(self.call(), observed)
    }

    /// Describes the listed ones, a bounded number at a time and in their order. One that cannot be read makes all of it
    /// unknown; one that was deleted meanwhile is left out.
    async fn described<T, F>(
        &self,
        names: Vec<String>,
        describe: impl Fn(String) -> F,
        calls: &Calls,
    ) -> Fact<Vec<T>>
    where
        F: Future<Output = Result<Option<T>, aws::Failure>>,
    {
        calls.record(&self.call(), format!("{} {}", names.len(), self.plural));
        let mut answers = stream::iter(names)
            .map(|name| {
                let call = format!("{} {} {name}", self.describe, self.cluster);
                let described = describe(name);
                async move { (call, described.await) }
            })
            .buffered(AT_ONCE);
        let mut all = Vec::new();
        while let Some((call, answer)) = answers.next().await {
            match answer {
                Ok(Some(one)) => {
                    calls.record(&call, "found");
                    all.push(one);
                }
                Ok(None) => {
                    let unknown = Unknown::new(Why::Unusable, format!("the answer to {call} names no role"));
                    calls.record(&call, unknown.to_string());
                    return Fact::new(call, Observed::Unknown(unknown));
                }
                Err(failure) if failure.is_not_found() => calls.record(&call, "absent"),
                Err(failure) => {
                    calls.record(&call, failure.unknown.to_string());
                    return Fact::new(call, Observed::Unknown(failure.unknown));
                }
            }
        }
        Fact::new(self.call(), Observed::Known(all))
    }
}

/// Reads every Fargate profile: all pages of the list, the profiles concurrently.
pub async fn fargate_profiles(
    client: &aws_sdk_eks::Client,
    cluster: &str,
    region: &str,
    timeout: Duration,
    calls: &Calls,
) -> Fact<Vec<FargateProfile>> {
    let kind = Kind {
        cluster,
        region,
        list: "eks:ListFargateProfiles",
        describe: "eks:DescribeFargateProfile",
        resource: "fargateprofile",
        plural: "Fargate profiles",
    };
    let mut names = Vec::new();
    let mut pages = client
        .list_fargate_profiles()
        .cluster_name(cluster)
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        match page {
            Ok(page) => names.extend(page.fargate_profile_names.unwrap_or_default()),
            Err(error) => return kind.not_listed(aws::failure(&error, kind.list_grant(), timeout), calls),
        }
    }
    let describe = |name: String| {
        let request = client
            .describe_fargate_profile()
            .cluster_name(cluster)
            .fargate_profile_name(&name);
        let grant = kind.describe_grant();
        async move {
            let answer = request
                .send()
                .await
                .map_err(|error| aws::failure(&error, grant, timeout))?;
            Ok(answer.fargate_profile.and_then(|found| {
                Some(FargateProfile {
                    name,
                    role_arn: found.pod_execution_role_arn.filter(|arn| !arn.is_empty())?,
                    status: found
                        .status
                        .map(|status| status.as_str().to_owned())
                        .unwrap_or_default(),
                    namespaces: found
                        .selectors
                        .unwrap_or_default()
                        .into_iter()
                        .filter_map(|selector| selector.namespace)
                        .collect(),
                })
            }))
        }
    };
    kind.described(names, describe, calls).await
}

/// Reads every managed node group: all pages of the list, the groups concurrently.
pub async fn node_groups(
    client: &aws_sdk_eks::Client,
    cluster: &str,
    region: &str,
    timeout: Duration,
    calls: &Calls,
) -> Fact<Vec<NodeGroup>> {
    let kind = Kind {
        cluster,
        region,
        list: "eks:ListNodegroups",
        describe: "eks:DescribeNodegroup",
        resource: "nodegroup",
        plural: "node groups",
    };
    let mut names = Vec::new();
    let mut pages = client
        .list_nodegroups()
        .cluster_name(cluster)
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        match page {
            Ok(page) => names.extend(page.nodegroups.unwrap_or_default()),
            Err(error) => return kind.not_listed(aws::failure(&error, kind.list_grant(), timeout), calls),
        }
    }
    let describe = |name: String| {
        let request = client
            .describe_nodegroup()
            .cluster_name(cluster)
            .nodegroup_name(&name);
        let grant = kind.describe_grant();
        async move {
            let answer = request
                .send()
                .await
                .map_err(|error| aws::failure(&error, grant, timeout))?;
            Ok(answer.nodegroup.and_then(|found| {
                Some(NodeGroup {
                    name,
                    role_arn: found.node_role.filter(|arn| !arn.is_empty())?,
                })
            }))
        }
    };
    kind.described(names, describe, calls).await
}
