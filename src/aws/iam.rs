//! Roles, instance profiles, providers and the policy simulator (IAM).

use aws_sdk_iam::types::{EvaluationResult, PolicyEvaluationDecisionType};
use jiff::Timestamp;

use super::{Question, Session};
use crate::model::{
    Decided, Fact, InstanceProfile, OidcProvider, Role, SPOT_ROLE, SimulatedDecision, Simulation,
};

/// A policy document as IAM sends it, URL-encoded (RFC 3986); as it is where it is no such text.
fn decoded(document: &str) -> String {
    if document.trim_start().starts_with('{') {
        return document.to_owned();
    }
    percent_encoding::percent_decode_str(document)
        .decode_utf8()
        .map_or_else(|_| document.to_owned(), std::borrow::Cow::into_owned)
}

/// A role with all that every role has.
fn role(from: &aws_sdk_iam::types::Role) -> Result<Role, String> {
    let trust = decoded(from.assume_role_policy_document.as_deref().unwrap_or_default());
    for (field, value) in [
        ("RoleName", &from.role_name),
        ("Path", &from.path),
        ("Arn", &from.arn),
        ("RoleId", &from.role_id),
        ("AssumeRolePolicyDocument", &trust),
    ] {
        if value.trim().is_empty() {
            return Err(format!("holds a role without {field}"));
        }
    }
    Ok(Role {
        name: from.role_name.clone(),
        path: from.path.clone(),
        arn: from.arn.clone(),
        id: from.role_id.clone(),
        created: Timestamp::from_second(from.create_date.secs()).ok(),
        trust,
        boundary: from
            .permissions_boundary
            .as_ref()
            .and_then(|b| b.permissions_boundary_arn.clone()),
    })
}

/// The role of this name, whatever its path.
fn role_resource(session: &Session, name: &str) -> String {
    let path = match name {
        SPOT_ROLE => "aws-service-role/spot.amazonaws.com/",
        _ => "",
    };
    format!("arn:{}:iam::*:role/{path}{name}", session.partition())
}

/// Reads a role by its name (without path).
pub async fn get_role(session: &Session, name: &str) -> Fact<Role> {
    let iam = session.iam();
    session
        .ask(
            &Question::new("iam:GetRole", name, role_resource(session, name)).of_account(""),
            &[
                "Role.RoleName",
                "Role.Path",
                "Role.Arn",
                "Role.RoleId",
                "Role.CreateDate",
                "Role.AssumeRolePolicyDocument",
            ],
            || iam.get_role().role_name(name).send(),
            |answer| {
                let role = role(&answer.role.ok_or("holds no role")?)?;
                if role.name == name {
                    Ok(role)
                } else {
                    Err(format!("is about the role {}", role.name))
                }
            },
        )
        .await
}

/// The ARNs of the managed policies attached to a role.
pub async fn attached_policies(session: &Session, name: &str) -> Fact<Vec<String>> {
    let iam = session.iam();
    session
        .list(
            &Question::new("iam:ListAttachedRolePolicies", name, role_resource(session, name)).of_account(""),
            "AttachedPolicies",
            |marker| {
                iam.list_attached_role_policies()
                    .role_name(name)
                    .set_marker(marker)
                    .send()
            },
            |page| {
                let arns = page.attached_policies.unwrap_or_default().into_iter();
                let arns = arns
                    .map(|policy| policy.policy_arn.ok_or("holds a policy without its ARN"))
                    .collect::<Result<_, _>>()?;
                if page.is_truncated && page.marker.is_none() {
                    return Err("goes on without saying where".to_owned());
                }
                Ok((arns, page.marker.filter(|_| page.is_truncated)))
            },
        )
        .await
}

/// Reads an instance profile with its role.
pub async fn get_instance_profile(session: &Session, name: &str) -> Fact<InstanceProfile> {
    let iam = session.iam();
    let resource = format!("arn:{}:iam::*:instance-profile/{name}", session.partition());
    session
        .ask(
            &Question::new("iam:GetInstanceProfile", name, resource).of_account(""),
            &["InstanceProfile.Arn", "InstanceProfile.Roles[]"],
            || iam.get_instance_profile().instance_profile_name(name).send(),
            |answer| {
                let found = answer.instance_profile.ok_or("holds no instance profile")?;
                if found.instance_profile_name != name {
                    return Err(format!(
                        "is about the instance profile {}",
                        found.instance_profile_name
                    ));
                }
                Ok(InstanceProfile {
                    name: found.instance_profile_name,
                    arn: found.arn,
                    role: found.roles.first().map(role).transpose()?,
                })
            },
        )
        .await
}

/// Simulates one action. `context` holds string condition keys with their values.
///
/// The simulator's blind spots: session policies, resource policies of roles, service control policies with
/// conditions, VPC endpoint policies (IAM user guide, "Testing IAM policies with the policy simulator").
pub async fn simulate(
    session: &Session,
    principal: &str,
    action: &str,
    resource: &str,
    context: &[(&str, &str)],
) -> Fact<Simulation> {
    use aws_sdk_iam::types::{ContextEntry, ContextKeyTypeEnum};
    let iam = session.iam();
    let subject = format!("{action} as {principal}");
    session
        .ask(
            &Question::new("iam:SimulatePrincipalPolicy", &subject, principal)
                .of_account(&format!("{resource} {context:?}")),
            &["EvaluationResults[]"],
            || {
                let mut request = iam
                    .simulate_principal_policy()
                    .policy_source_arn(principal)
                    .action_names(action)
                    .resource_arns(resource);
                for (key, value) in context {
                    request = request.context_entries(
                        ContextEntry::builder()
                            .context_key_name(*key)
                            .context_key_type(ContextKeyTypeEnum::String)
                            .context_key_values(*value)
                            .build(),
                    );
                }
                request.send()
            },
            |answer| {
                let results = answer.evaluation_results.unwrap_or_default();
                let result = results.into_iter().next().ok_or("holds no result")?;
                let decided = decided(&result)
                    .ok_or_else(|| format!("has the decision {}", result.eval_decision.as_str()))?;
                Ok(Simulation {
                    principal: principal.to_owned(),
                    decided,
                })
            },
        )
        .await
}

/// The decision as a whole. None: one that this program does not know.
pub(crate) fn decided(result: &EvaluationResult) -> Option<Decided> {
    let organizations = result.organizations_decision_detail.as_ref();
    let boundary = result.permissions_boundary_decision_detail.as_ref();
    Some(Decided {
        decision: decision(&result.eval_decision)?,
        allowed_by_organizations: organizations.map(|detail| detail.allowed_by_organizations),
        allowed_by_boundary: boundary.map(|detail| detail.allowed_by_permissions_boundary),
        missing_context: result.missing_context_values.clone().unwrap_or_default(),
    })
}

pub(crate) fn decision(decision: &PolicyEvaluationDecisionType) -> Option<SimulatedDecision> {
    match decision {
        PolicyEvaluationDecisionType::Allowed => Some(SimulatedDecision::Allowed),
        PolicyEvaluationDecisionType::ExplicitDeny => Some(SimulatedDecision::ExplicitDeny),
        PolicyEvaluationDecisionType::ImplicitDeny => Some(SimulatedDecision::ImplicitDeny),
        _ => None,
    }
}

/// Reads the OIDC provider with this ARN. Cheaper than listing them, and the grant is narrower.
pub async fn get_oidc_provider(session: &Session, arn: &str) -> Fact<OidcProvider> {
    let iam = session.iam();
    session
        .ask(
            &Question::new("iam:GetOpenIDConnectProvider", arn, arn),
            &["Url", "ClientIDList[]"],
            || {
                iam.get_open_id_connect_provider()
                    .open_id_connect_provider_arn(arn)
                    .send()
            },
            |answer| {
                Ok(OidcProvider {
                    arn: arn.to_owned(),
                    audiences: answer.client_id_list.unwrap_or_default(),
                })
            },
        )
        .await
}
