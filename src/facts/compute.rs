//! What else runs on the cluster beside Karpenter's nodes, and under which roles: Fargate profiles and managed node
//! groups (EKS).

use std::collections::BTreeMap;

use futures_util::join;
use iam_policy::arn;
use serde::{Deserialize, Serialize};

use super::{Reading, of_parent};
use crate::aws::{Question, Session, describe_each};
use crate::model::{Fact, Role};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FargateProfile {
    pub name: String,
    /// `podExecutionRoleArn`: what its pods' kubelets join with.
    pub role_arn: String,
    /// `ACTIVE`, `CREATING`, `DELETING`, ...
    pub status: String,
    /// The namespaces of its selectors; `*` and `?` are wildcards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeGroup {
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
    pub fargate_roles: BTreeMap<String, Fact<Role>>,
    pub node_groups: Fact<Vec<NodeGroup>>,
}

/// Reads both, and the roles of the Fargate profiles.
pub(super) async fn read(read: &Reading<'_>) -> Compute {
    let (session, cluster) = (&read.session, &read.target.cluster);
    let fargate = async {
        let (profiles, described) = join!(fargate_profiles(session, cluster), read.cluster());
        let profiles = of_parent(profiles, described);
        let roles = profiles.known().into_iter().flatten();
        let roles = read
            .roles(roles.map(|profile| arn::role_name(&profile.role_arn)))
            .await;
        (profiles, roles)
    };
    let ((fargate_profiles, fargate_roles), node_groups, described) =
        join!(fargate, node_groups(session, cluster), read.cluster());
    Compute {
        fargate_profiles,
        fargate_roles,
        node_groups: of_parent(node_groups, described),
    }
}

async fn fargate_profiles(session: &Session, cluster: &str) -> Fact<Vec<FargateProfile>> {
    let eks = session.eks();
    let listed = session
        .list(
            &Question::new(
                "eks:ListFargateProfiles",
                cluster,
                session.eks_arn(&format!("cluster/{cluster}")),
            ),
            "fargateProfileNames",
            |token| {
                eks.list_fargate_profiles()
                    .cluster_name(cluster)
                    .set_next_token(token)
                    .send()
            },
            |page| Ok((page.fargate_profile_names.unwrap_or_default(), page.next_token)),
        )
        .await;
    describe_each(listed, |name| fargate_profile(session, cluster, name)).await
}

async fn fargate_profile(session: &Session, cluster: &str, name: String) -> Fact<FargateProfile> {
    let eks = session.eks();
    session
        .ask(
            &Question::new(
                "eks:DescribeFargateProfile",
                &format!("{cluster} {name}"),
                session.eks_arn(&format!("fargateprofile/{cluster}/*")),
            ),
            &["fargateProfile.podExecutionRoleArn", "fargateProfile.status"],
            || {
                eks.describe_fargate_profile()
                    .cluster_name(cluster)
                    .fargate_profile_name(&name)
                    .send()
            },
            |answer| {
                let found = answer.fargate_profile.ok_or("holds no Fargate profile")?;
                let selectors = found.selectors.unwrap_or_default();
                Ok(FargateProfile {
                    name: name.clone(),
                    role_arn: found.pod_execution_role_arn.ok_or("names no role")?,
                    status: found
                        .status
                        .map(|status| status.as_str().to_owned())
                        .unwrap_or_default(),
                    namespaces: selectors
                        .into_iter()
                        .filter_map(|selector| selector.namespace)
                        .collect(),
                })
            },
        )
        .await
}

async fn node_groups(session: &Session, cluster: &str) -> Fact<Vec<NodeGroup>> {
    let eks = session.eks();
    let listed = session
        .list(
            &Question::new(
                "eks:ListNodegroups",
                cluster,
                session.eks_arn(&format!("cluster/{cluster}")),
            ),
            "nodegroups",
            |token| {
                eks.list_nodegroups()
                    .cluster_name(cluster)
                    .set_next_token(token)
                    .send()
            },
            |page| Ok((page.nodegroups.unwrap_or_default(), page.next_token)),
        )
        .await;
    describe_each(listed, |name| node_group(session, cluster, name)).await
}

async fn node_group(session: &Session, cluster: &str, name: String) -> Fact<NodeGroup> {
    let eks = session.eks();
    session
        .ask(
            &Question::new(
                "eks:DescribeNodegroup",
                &format!("{cluster} {name}"),
                session.eks_arn(&format!("nodegroup/{cluster}/*")),
            ),
            &["nodegroup.nodeRole"],
            || {
                eks.describe_nodegroup()
                    .cluster_name(cluster)
                    .nodegroup_name(&name)
                    .send()
            },
            |answer| {
                let role = answer.nodegroup.and_then(|found| found.node_role);
                Ok(NodeGroup {
                    name: name.clone(),
                    role_arn: role.ok_or("names no role")?,
                })
            },
        )
        .await
}
