//! Clusters (EKS).

use base64::Engine as _;
use eks_aws_auth::AuthenticationMode;
use jiff::Timestamp;
use sha2::Digest as _;

use super::{Question, Session};
pub use crate::model::Cluster;
use crate::model::Fact;

/// Names of all clusters of the region.
pub async fn list_clusters(session: &Session) -> Fact<Vec<String>> {
    let eks = session.eks();
    session
        .list(
            &Question::new("eks:ListClusters", "", session.eks_arn("cluster/*")),
            "clusters",
            |token| eks.list_clusters().set_next_token(token).send(),
            |page| Ok((page.clusters.unwrap_or_default(), page.next_token)),
        )
        .await
}

/// Reads a cluster.
pub async fn describe_cluster(session: &Session, name: &str) -> Fact<Cluster> {
    let eks = session.eks();
    session
        .ask(
            &Question::new(
                "eks:DescribeCluster",
                name,
                session.eks_arn(&format!("cluster/{name}")),
            ),
            &["cluster.name", "cluster.arn", "cluster.status"],
            || eks.describe_cluster().name(name).send(),
            |answer| {
                let found = cluster(answer.cluster.ok_or("holds no cluster")?)?;
                if found.name == name {
                    Ok(found)
                } else {
                    Err(format!("is about the cluster {}", found.name))
                }
            },
        )
        .await
}

fn cluster(from: aws_sdk_eks::types::Cluster) -> Result<Cluster, String> {
    let stated = from
        .access_config
        .as_ref()
        .and_then(|access| access.authentication_mode.as_ref());
    let authentication_mode = match stated.map(aws_sdk_eks::types::AuthenticationMode::as_str) {
        None | Some("CONFIG_MAP") => AuthenticationMode::ConfigMap,
        Some("API_AND_CONFIG_MAP") => AuthenticationMode::ApiAndConfigMap,
        Some("API") => AuthenticationMode::Api,
        // Nothing can be said about who it lets in.
        Some(other) => {
            return Err(format!(
                "has the authentication mode {other}, which this version does not know"
            ));
        }
    };
    let status = from.status.map(|status| status.as_str().to_owned());
    let status = status.ok_or("has no status")?;
    if matches!(status.as_str(), "ACTIVE" | "UPDATING") && from.endpoint.as_deref().is_none_or(str::is_empty)
    {
        return Err(format!("has no endpoint, although the cluster is {status}"));
    }
    let ca_data = from.certificate_authority.and_then(|ca| ca.data);
    let ca = ca_data
        .as_deref()
        .and_then(|data| base64::engine::general_purpose::STANDARD.decode(data.trim()).ok())
        .map(|pem| sha256_hex(&pem));
    let compute = from.compute_config.as_ref();
    Ok(Cluster {
        name: from.name.ok_or("has no name")?,
        arn: from.arn.ok_or("has no ARN")?,
        status,
        endpoint: from.endpoint,
        version: from.version,
        platform_version: from.platform_version,
        authentication_mode,
        oidc_issuer: from
            .identity
            .and_then(|identity| identity.oidc)
            .and_then(|oidc| oidc.issuer),
        certificate_authority_sha256: ca,
        certificate_authority_data: ca_data,
        auto_mode: compute.and_then(|compute| compute.enabled).unwrap_or(false),
        role_arn: from.role_arn,
        created: from
            .created_at
            .and_then(|at| Timestamp::from_second(at.secs()).ok()),
    })
}

/// SHA-256 of a PEM bundle, blank space at its ends left out.
pub fn sha256_hex(pem: &[u8]) -> String {
    sha2::Sha256::digest(pem.trim_ascii())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
