//! Pod Identity: the cluster's associations, and the add-on of the agent (EKS).

use crate::aws::{Question, Session};
use crate::karpenter::identity::Association;
use crate::model::Fact;

/// Reads the cluster's associations. The list leaves their roles out.
pub async fn associations(session: &Session, cluster: &str) -> Fact<Vec<Association>> {
    let eks = session.eks();
    session
        .list(
            &Question::new(
                "eks:ListPodIdentityAssociations",
                cluster,
                session.eks_arn(&format!("cluster/{cluster}")),
            ),
            "associations",
            |token| {
                eks.list_pod_identity_associations()
                    .cluster_name(cluster)
                    .set_next_token(token)
                    .send()
            },
            |page| {
                let found = page.associations.unwrap_or_default().into_iter();
                let all = found
                    .map(|one| {
                        Some(Association {
                            namespace: one.namespace?,
                            service_account: one.service_account?,
                            id: one.association_id,
                            role_arn: None,
                            session_tags_disabled: None,
                        })
                    })
                    .collect::<Option<_>>()
                    .ok_or("holds an association without its service account")?;
                Ok((all, page.next_token))
            },
        )
        .await
}

/// Reads one association with its role.
pub async fn association(session: &Session, cluster: &str, listed: Association) -> Fact<Association> {
    let eks = session.eks();
    let subject = format!("{cluster} {}/{}", listed.namespace, listed.service_account);
    let resource = session.eks_arn(&format!("podidentityassociation/{cluster}/*"));
    let id = listed.id.clone();
    session
        .ask(
            &Question::new("eks:DescribePodIdentityAssociation", &subject, resource),
            &["association.roleArn"],
            || {
                eks.describe_pod_identity_association()
                    .cluster_name(cluster)
                    .set_association_id(id)
                    .send()
            },
            |answer| {
                let found = answer.association.ok_or("holds no association")?;
                Ok(Association {
                    role_arn: found.role_arn,
                    session_tags_disabled: found.disable_session_tags,
                    ..listed
                })
            },
        )
        .await
}

/// Reads an add-on's status, `ACTIVE` when all is well.
pub async fn addon_status(session: &Session, cluster: &str, addon: &str) -> Fact<String> {
    let eks = session.eks();
    session
        .ask(
            &Question::new(
                "eks:DescribeAddon",
                &format!("{cluster} {addon}"),
                session.eks_arn(&format!("addon/{cluster}/{addon}/*")),
            ),
            &["addon.status"],
            || {
                eks.describe_addon()
                    .cluster_name(cluster)
                    .addon_name(addon)
                    .send()
            },
            |answer| {
                let status = answer.addon.and_then(|found| found.status);
                Ok(status.ok_or("holds no status")?.as_str().to_owned())
            },
        )
        .await
}
