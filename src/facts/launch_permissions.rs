//! What the controller's role may do of what a launch takes (IAM's policy simulator).

use aws_sdk_iam::types::{ContextEntry, ContextKeyTypeEnum, EvaluationResult};
use futures_util::future;
use serde::{Deserialize, Serialize};

use super::controller::Controller;
use super::{Ask, Reading};
use crate::aws::{Question, iam};
use crate::cluster::Target;
use crate::karpenter::launch_paths::LaunchPaths;
use crate::karpenter::launch_requests::{Carries, LaunchRequest, LaunchScope};
use crate::model::{Cluster, Decided, Fact, Observed, Unknown, Why};

/// What the simulator says of one action on one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Permitted {
    /// `ec2:RunInstances`
    pub action: String,
    /// An ARN, or `*`.
    pub resource: String,
    #[serde(flatten)]
    pub decided: Decided,
}

/// What the launches of this cluster depend on. None: no pool launches Spot.
pub(crate) fn scope(
    paths: &LaunchPaths<'_>,
    target: &Target,
    account: &str,
    controller: &Controller,
    ask: &Ask,
) -> Option<LaunchScope> {
    let subject = controller.subject(ask)?;
    let deployment = subject
        .planned
        .map(|planned| &planned.deployment)
        .or(subject.running)?;
    LaunchScope::of(
        paths,
        target,
        account,
        deployment.settings.interruption_queue.as_deref(),
    )
}

pub(super) const CALL: &str = "iam:SimulatePrincipalPolicy (a launch, as the controller)";

/// Asks the simulator, one request for each kind of context.
pub(super) async fn read(read: &Reading<'_>, controller: &Controller) -> Fact<Vec<Permitted>> {
    let Some(principal) = controller.role.known().map(|role| role.arn.as_str()) else {
        return Fact::not_asked(CALL, "the controller's role is not known");
    };
    let paths = read.launch_paths().await;
    let account = read.cluster().await.known().and_then(Cluster::account);
    let scope = account.and_then(|account| scope(&paths, read.target, account, controller, read.ask));
    let Some(scope) = scope else {
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
        let some = requests.iter().filter(|one| one.carries == carries).collect();
        simulate(read, principal, some, scope.context(carries))
    }))
    .await;
    let mut all = Vec::new();
    for answer in answers {
        match answer.observed {
            Observed::Known(some) => all.extend(some),
            other => return Fact::new(answer.call, other),
        }
    }
    Fact::new(CALL, Observed::Known(all))
}

async fn simulate(
    read: &Reading<'_>,
    principal: &str,
    requests: Vec<&LaunchRequest>,
    context: Vec<(String, Vec<String>)>,
) -> Fact<Vec<Permitted>> {
    let unique = |mut values: Vec<String>| {
        values.sort_unstable();
        values.dedup();
        values
    };
    let actions = unique(requests.iter().map(|one| one.action.to_owned()).collect());
    let resources = unique(requests.iter().map(|one| one.resource.clone()).collect());
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
    let subject = format!("{} as {principal}", actions.join(", "));
    let iam = read.session.iam();
    let listed = read
        .session
        .list(
            &Question::new("iam:SimulatePrincipalPolicy", &subject, principal),
            "EvaluationResults",
            |marker| {
                iam.simulate_principal_policy()
                    .policy_source_arn(principal)
                    .set_action_names(Some(actions.clone()))
                    .set_resource_arns(Some(resources.clone()))
                    .set_context_entries(Some(entries.clone()))
                    .set_marker(marker)
                    .send()
            },
            |answer| {
                let results = answer.evaluation_results.unwrap_or_default();
                let decisions = results.iter().flat_map(permitted).collect();
                Ok((decisions, answer.marker.filter(|_| answer.is_truncated)))
            },
        )
        .await;
    let call = listed.call.clone();
    // Every action is decided on every resource; what Karpenter does not ask for says nothing.
    let decided = |found: Vec<Permitted>| -> Result<Vec<Permitted>, Unknown> {
        let of = |request: &LaunchRequest| {
            found
                .iter()
                .find(|one| one.action == request.action && one.resource == request.resource)
                .cloned()
                .ok_or_else(|| {
                    let what = format!(
                        "the simulator did not decide on {} {}",
                        request.action, request.resource
                    );
                    Unknown::new(Why::Incomplete, what)
                })
        };
        requests.into_iter().map(of).collect()
    };
    let observed = match listed.observed {
        Observed::Known(found) => match decided(found) {
            Ok(all) => Observed::Known(all),
            Err(unknown) => Observed::Unknown(unknown),
        },
        other => other,
    };
    Fact::new(call, observed)
}

/// The decisions of a result: its own, and those on single resources.
fn permitted(result: &EvaluationResult) -> Vec<Permitted> {
    let action = &result.eval_action_name;
    let whole = iam::decided(result);
    let of_resources = result
        .resource_specific_results
        .iter()
        .flatten()
        .filter_map(|one| {
            let boundary = one.permissions_boundary_decision_detail.as_ref();
            let boundary = boundary.map(|detail| detail.allowed_by_permissions_boundary);
            Some(Permitted {
                action: action.clone(),
                resource: one.eval_resource_name.clone(),
                decided: Decided {
                    decision: iam::decision(&one.eval_resource_decision)?,
                    allowed_by_organizations: whole.as_ref().and_then(|whole| whole.allowed_by_organizations),
                    allowed_by_boundary: boundary
                        .or(whole.as_ref().and_then(|whole| whole.allowed_by_boundary)),
                    missing_context: one.missing_context_values.clone().unwrap_or_default(),
                },
            })
        });
    let own = whole.clone().map(|decided| Permitted {
        action: action.clone(),
        resource: result
            .eval_resource_name
            .clone()
            .unwrap_or_else(|| "*".to_owned()),
        decided,
    });
    of_resources.chain(own).collect()
}
