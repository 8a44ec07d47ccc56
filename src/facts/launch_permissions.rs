//! What the controller's role may do of what a launch takes (IAM's policy simulator).

use aws_sdk_iam::types::{ContextEntry, ContextKeyTypeEnum, EvaluationResult, PolicyEvaluationDecisionType};
use futures_util::future;
use serde::{Deserialize, Serialize};

use super::{Aws, Shared};
use crate::facts::Ask;
use crate::karpenter::launch_paths::LaunchPaths;
use crate::karpenter::launch_requests::{Carries, LaunchRequest, LaunchScope};
use crate::model::{Fact, Grant, Observed, SimulatedDecision, Unknown, Why};

/// What the simulator says of one action on one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Permitted {
    /// `ec2:RunInstances`
    pub action: String,
    /// An ARN, or `*`.
    pub resource: String,
    /// The decision.
    pub decision: SimulatedDecision,
    /// Whether the organization's policies allow it, when the simulator looked at them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_by_organizations: Option<bool>,
    /// Whether the permissions boundary allows it, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_by_boundary: Option<bool>,
    /// Condition keys that the policies look at and the simulation did not have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_context: Vec<String>,
}

/// What the launches of this cluster depend on. None: no pool launches Spot.
pub(crate) fn scope(
    paths: &LaunchPaths<'_>,
    target: &crate::cluster::Target,
    account: &str,
    controller: &super::controller::Controller,
    ask: &Ask,
) -> Option<LaunchScope> {
    let subject = controller.subject(ask)?;
    let deployment = subject
        .planned
        .map(|planned| &planned.deployment)
        .or(subject.running)?;
    LaunchScope::of(
        paths,
        &target.cluster,
        &target.region,
        &target.partition,
        account,
        deployment.settings.interruption_queue.as_deref(),
    )
}

pub(super) const CALL: &str = "iam:SimulatePrincipalPolicy (a launch, as the controller)";

/// Asks the simulator, one request for each kind of context.
pub(super) async fn read(
    aws: &Aws<'_>,
    shared: &Shared,
    paths: &LaunchPaths<'_>,
    controller: &super::controller::Controller,
    ask: &Ask,
) -> Fact<Vec<Permitted>> {
    let Some(principal) = controller.role.known().map(|role| role.arn.as_str()) else {
        return Fact::not_asked(CALL, "the controller's role is not known");
    };
    let account = shared
        .cluster(aws)
        .await
        .known()
        .and_then(super::eks::Cluster::account);
    let Some(scope) = account.and_then(|account| scope(paths, aws.target, account, controller, ask)) else {
        return Fact::not_asked(CALL, "no node pool launches Spot");
    };
    let requests = scope.requests();
    let kinds = [
        Carries::Nothing,
        Carries::NewTags,
        Carries::ExistingTags,
        Carries::Role,
    ];
    let answers = future::join_all(kinds.map(|carries| {
        let some: Vec<&LaunchRequest> = requests.iter().filter(|one| one.carries == carries).collect();
        simulate(aws, principal, some, scope.context(carries))
    }))
    .await;
    let mut all = Vec::new();
    for answer in answers {
        match answer {
            Ok(some) => all.extend(some),
            Err(unknown) => {
                aws.calls.record(CALL, unknown.to_string());
                return Fact::new(CALL, Observed::Unknown(unknown));
            }
        }
    }
    aws.calls.record(CALL, format!("{} decisions", all.len()));
    Fact::new(CALL, Observed::Known(all))
}

async fn simulate(
    aws: &Aws<'_>,
    principal: &str,
    requests: Vec<&LaunchRequest>,
    context: Vec<(String, Vec<String>)>,
) -> Result<Vec<Permitted>, Unknown> {
    if requests.is_empty() {
        return Ok(Vec::new());
    }
    let grant = Grant::Iam {
        action: "iam:SimulatePrincipalPolicy".to_owned(),
        resource: principal.to_owned(),
    };
    let unique = |values: Vec<String>| {
        let mut values = values;
        values.sort_unstable();
        values.dedup();
        values
    };
    let entries: Vec<ContextEntry> = context
        .into_iter()
        .map(|(key, values)| {
            ContextEntry::builder()
                .context_key_type(match values.len() {
                    1 => ContextKeyTypeEnum::String,
                    _ => ContextKeyTypeEnum::StringList,
                })
                .context_key_name(key)
                .set_context_key_values(Some(values))
                .build()
        })
        .collect();
    let mut pages = aws_sdk_iam::Client::new(&aws.session.config)
        .simulate_principal_policy()
        .policy_source_arn(principal)
        .set_action_names(Some(unique(
            requests.iter().map(|one| one.action.to_owned()).collect(),
        )))
        .set_resource_arns(Some(unique(
            requests.iter().map(|one| one.resource.clone()).collect(),
        )))
        .set_context_entries(Some(entries))
        .into_paginator()
        .send();
    let mut found: Vec<Permitted> = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| crate::aws::failure(&error, grant.clone(), aws.timeout).unknown)?;
        found.extend(
            page.evaluation_results
                .unwrap_or_default()
                .iter()
                .flat_map(permitted),
        );
    }
    // Every action is decided on every resource; what Karpenter does not ask for says nothing.
    requests
        .into_iter()
        .map(|request| {
            found
                .iter()
                .find(|one| one.action == request.action && one.resource == request.resource)
                .cloned()
                .ok_or_else(|| {
                    Unknown::new(
                        Why::Unusable,
                        format!(
                            "the simulator did not decide on {} {}",
                            request.action, request.resource
                        ),
                    )
                })
        })
        .collect()
}

/// The decisions of a result: its own, and those on single resources.
fn permitted(result: &EvaluationResult) -> Vec<Permitted> {
    let decision = |decision: &PolicyEvaluationDecisionType| match decision {
        PolicyEvaluationDecisionType::Allowed => Some(SimulatedDecision::Allowed),
        PolicyEvaluationDecisionType::ExplicitDeny => Some(SimulatedDecision::ExplicitDeny),
        PolicyEvaluationDecisionType::ImplicitDeny => Some(SimulatedDecision::ImplicitDeny),
        _ => None,
    };
    let allowed_by_organizations = result
        .organizations_decision_detail
        .as_ref()
        .map(|detail| detail.allowed_by_organizations);
    let boundary = result
        .permissions_boundary_decision_detail
        .as_ref()
        .map(|detail| detail.allowed_by_permissions_boundary);
    let own = decision(&result.eval_decision).map(|decision| Permitted {
        action: result.eval_action_name.clone(),
        resource: result
            .eval_resource_name
            .clone()
            .unwrap_or_else(|| "*".to_owned()),
        decision,
        allowed_by_organizations,
        allowed_by_boundary: boundary,
        missing_context: result.missing_context_values.clone().unwrap_or_default(),
    });
    let of_resources = result
        .resource_specific_results
        .iter()
        .flatten()
        .filter_map(|one| {
            Some(Permitted {
                action: result.eval_action_name.clone(),
                resource: one.eval_resource_name.clone(),
                decision: decision(&one.eval_resource_decision)?,
                allowed_by_organizations,
                allowed_by_boundary: one
                    .permissions_boundary_decision_detail
                    .as_ref()
                    .map(|detail| detail.allowed_by_permissions_boundary)
                    .or(boundary),
                missing_context: one.missing_context_values.clone().unwrap_or_default(),
            })
        });
    of_resources.chain(own).collect()
}
