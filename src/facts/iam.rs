//! Roles, instance profiles and providers (IAM).

use std::time::Duration;

use jiff::Timestamp;

use crate::aws;
use crate::model::Calls;
use crate::model::{Fact, Grant, Observed, Unknown, Why};
use crate::model::{InstanceProfile, OidcProvider, Role, SimulatedDecision, Simulation};

fn timestamp(value: &aws_smithy_types::DateTime) -> Option<Timestamp> {
    Timestamp::from_second(value.secs()).ok()
}

/// A policy document as IAM sends it, URL-encoded (RFC 3986); as it is where it is no such text.
fn decoded(document: &str) -> String {
    if document.trim_start().starts_with('{') {
        return document.to_owned();
    }
    percent_encoding::percent_decode_str(document)
        .decode_utf8()
        .map_or_else(|_| document.to_owned(), std::borrow::Cow::into_owned)
}

fn role(from: &aws_sdk_iam::types::Role) -> Role {
    Role {
        name: from.role_name.clone(),
        path: from.path.clone(),
        arn: from.arn.clone(),
        id: from.role_id.clone(),
        created: timestamp(&from.create_date),
        trust: decoded(from.assume_role_policy_document.as_deref().unwrap_or_default()),
        boundary: from
            .permissions_boundary
            .as_ref()
            .and_then(|b| b.permissions_boundary_arn.clone()),
    }
}

/// `iam:GetRole` needs this. The resource is narrowed to the name, whatever its path.
pub fn get_role_grant(partition: &str, name: &str) -> Grant {
    let resource = if name == super::SPOT_ROLE {
        format!("arn:{partition}:iam::*:role/aws-service-role/spot.amazonaws.com/{name}")
    } else {
        format!("arn:{partition}:iam::*:role/{name}")
    };
    Grant::Iam {
        action: "iam:GetRole".to_owned(),
        resource,
    }
}

/// Reads a role by its name (without path).
pub async fn get_role(
    client: &aws_sdk_iam::Client,
    partition: &str,
    name: &str,
    timeout: Duration,
    calls: &Calls,
) -> Fact<Role> {
    let call = format!("iam:GetRole {name}");
    let grant = get_role_grant(partition, name);
    let observed = match client.get_role().role_name(name).send().await {
        Ok(answer) => match answer.role {
            // An answer without the fields that every role has is no answer.
            Some(found) if !found.arn.is_empty() && found.role_name == name => Observed::Known(role(&found)),
            _ => Observed::Unknown(Unknown::new(
                Why::Unusable,
                format!("the answer to iam:GetRole {name} holds no such role"),
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

/// The ARNs of the managed policies attached to a role; all pages.
pub async fn attached_policies(
    client: &aws_sdk_iam::Client,
    partition: &str,
    name: &str,
    timeout: Duration,
    calls: &Calls,
) -> Fact<Vec<String>> {
    let call = format!("iam:ListAttachedRolePolicies {name}");
    let Grant::Iam { resource, .. } = get_role_grant(partition, name) else {
        return Fact::not_asked(call, "no grant");
    };
    let grant = Grant::Iam {
        action: "iam:ListAttachedRolePolicies".to_owned(),
        resource,
    };
    let mut arns = Vec::new();
    let mut pages = client
        .list_attached_role_policies()
        .role_name(name)
        .into_paginator()
        .send();
    let observed = loop {
        match pages.next().await {
            None => break Observed::Known(arns),
            Some(Ok(page)) => {
                arns.extend(
                    page.attached_policies
                        .unwrap_or_default()
                        .into_iter()
                        .filter_map(|policy| policy.policy_arn),
                );
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
    calls.observed(&call, &observed);
    Fact::new(call, observed)
}

/// Reads an instance profile with its role.
pub async fn get_instance_profile(
    client: &aws_sdk_iam::Client,
    partition: &str,
    name: &str,
    timeout: Duration,
    calls: &Calls,
) -> Fact<InstanceProfile> {
    let call = format!("iam:GetInstanceProfile {name}");
    let grant = Grant::Iam {
        action: "iam:GetInstanceProfile".to_owned(),
        resource: format!("arn:{partition}:iam::*:instance-profile/{name}"),
    };
    let observed = match client
        .get_instance_profile()
        .instance_profile_name(name)
        .send()
        .await
    {
        Ok(answer) => match answer.instance_profile {
            Some(found) if !found.arn.is_empty() => Observed::Known(InstanceProfile {
                name: found.instance_profile_name,
                arn: found.arn,
                role: found.roles.first().map(role),
            }),
            _ => Observed::Unknown(Unknown::new(
                Why::Unusable,
                format!("the answer to iam:GetInstanceProfile {name} holds no such profile"),
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

/// Simulates one action. `context` holds string condition keys with their values.
///
/// The simulator's blind spots: session policies, resource policies of roles, service control policies with
/// conditions, VPC endpoint policies (IAM user guide, "Testing IAM policies with the policy simulator").
pub async fn simulate(
    client: &aws_sdk_iam::Client,
    principal: &str,
    action: &str,
    resource: &str,
    context: &[(&str, &str)],
    timeout: Duration,
    calls: &Calls,
) -> Fact<Simulation> {
    use aws_sdk_iam::types::{ContextEntry, ContextKeyTypeEnum, PolicyEvaluationDecisionType as Decision};
    let call = format!("iam:SimulatePrincipalPolicy {action} as {principal}");
    let grant = Grant::Iam {
        action: "iam:SimulatePrincipalPolicy".to_owned(),
        resource: principal.to_owned(),
    };
    let mut request = client
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
    let observed = match request.send().await {
        Ok(answer) => match answer.evaluation_results.unwrap_or_default().into_iter().next() {
            Some(result) => match &result.eval_decision {
                Decision::Allowed | Decision::ExplicitDeny | Decision::ImplicitDeny => {
                    Observed::Known(Simulation {
                        principal: principal.to_owned(),
                        decision: match &result.eval_decision {
                            Decision::Allowed => SimulatedDecision::Allowed,
                            Decision::ExplicitDeny => SimulatedDecision::ExplicitDeny,
                            _ => SimulatedDecision::ImplicitDeny,
                        },
                        allowed_by_organizations: result
                            .organizations_decision_detail
                            .map(|detail| detail.allowed_by_organizations),
                        allowed_by_boundary: result
                            .permissions_boundary_decision_detail
                            .map(|detail| detail.allowed_by_permissions_boundary),
                        missing_context: result.missing_context_values.unwrap_or_default(),
                    })
                }
                other => Observed::Unknown(Unknown::new(
                    Why::Unusable,
                    format!("the simulator answered {}", other.as_str()),
                )),
            },
            None => Observed::Unknown(Unknown::new(
                Why::Unusable,
                "the simulator answered without a result",
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

/// Reads the OIDC provider with this ARN. Cheaper than listing them, and the grant is narrower.
pub async fn get_oidc_provider(
    client: &aws_sdk_iam::Client,
    arn: &str,
    timeout: Duration,
    calls: &Calls,
) -> Fact<OidcProvider> {
    let call = format!("iam:GetOpenIDConnectProvider {arn}");
    let grant = Grant::Iam {
        action: "iam:GetOpenIDConnectProvider".to_owned(),
        resource: arn.to_owned(),
    };
    let answer = client
        .get_open_id_connect_provider()
        .open_id_connect_provider_arn(arn)
        .send()
        .await;
    let observed = match answer {
        Ok(answer) if answer.url.is_some() => Observed::Known(OidcProvider {
            arn: arn.to_owned(),
            audiences: answer.client_id_list.unwrap_or_default(),
        }),
        Ok(_) => Observed::Unknown(Unknown::new(
            Why::Unusable,
            format!("the answer to {call} holds no provider"),
        )),
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
