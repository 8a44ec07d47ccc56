//! Whether the controller's role allows what a Spot launch takes.

use std::collections::BTreeMap;

use serde_json::json;

use super::karpenter::{Installed, NOT_YET, SpotDemand, installed, launch_paths, spot_demand};
use super::{Check, Group, Judgement, lost_ground, never};
use crate::facts::Facts;
use crate::facts::launch_permissions::scope;
use crate::karpenter::launch_requests::{Carries, LaunchRequest};
use crate::model::{DeniedBy, Language, May, Observed};

pub(crate) static CHECK: Check = Check {
    id: "controller-may-launch",
    group: Group::Karpenter,
    title: "The controller's role allows the calls that a Spot launch takes",
    needed: never,
    judge,
};

/// Who refuses, as the beginning of a sentence about the role.
fn refuses(by: DeniedBy) -> &'static str {
    match by {
        DeniedBy::ExplicitDeny => "a policy explicitly denies",
        DeniedBy::PermissionsBoundary => "the permissions boundary does not allow",
        DeniedBy::ServiceControlPolicy => "the organization's policies do not allow",
        _ => "no policy allows",
    }
}

fn judge(facts: &Facts) -> Judgement {
    if let Some(reason) = lost_ground(facts) {
        return Judgement::ground_lost(reason);
    }
    let fact = &facts.controller.may_launch;
    if facts.controller.subject(&facts.ask).is_none() {
        return match installed(facts) {
            Installed::AutoMode => Judgement::skip("EKS Auto Mode launches with the cluster's own role"),
            Installed::NotYet => Judgement::skip(NOT_YET),
            Installed::Yes | Installed::Removed | Installed::Unread(..) => {
                Judgement::skip("Karpenter's controller is not known: see controller-running")
            }
        };
    }
    if let SpotDemand::No(why) = spot_demand(facts) {
        return Judgement::skip(why);
    }
    if facts.controller.role.known().is_none() {
        return Judgement::skip("the controller's role is not known: see controller-identity")
            .from(&facts.controller.role);
    }
    let paths = launch_paths(facts);
    let account = facts.cluster.known().and_then(crate::model::Cluster::account);
    let scope =
        account.and_then(|account| scope(&paths, &facts.target, account, &facts.controller, &facts.ask));
    let Some(scope) = scope else {
        return Judgement::skip("no node pool of Karpenter launches Spot yet").from(fact);
    };
    let permitted = match &fact.observed {
        Observed::Known(permitted) => permitted,
        Observed::Unknown(unknown) => {
            return Judgement::unknown("what the controller's role may do", unknown)
                .headline("What the controller may do could not be read")
                .from(fact);
        }
        Observed::Absent => {
            return Judgement::undecided("the controller's role is not there: see controller-identity")
                .from(fact);
        }
    };
    let requests = scope.requests();
    let of = |one: &LaunchRequest| {
        permitted
            .iter()
            .find(|known| known.action == one.action && known.resource == one.resource)
    };
    let mut undecided: Vec<&str> = Vec::new();
    let mut refused: BTreeMap<DeniedBy, Vec<&LaunchRequest>> = BTreeMap::new();
    for one in &requests {
        let Some(known) = of(one) else { continue };
        match known.decided.may() {
            May::Yes => {}
            May::No(by) => refused.entry(by).or_default().push(one),
            // What policies ask for and the simulation did not have may be there in the real request.
            May::Depends(_) => undecided.extend(known.decided.missing_context.iter().map(String::as_str)),
        }
    }
    let role = facts
        .controller
        .role
        .known()
        .map_or("the controller's role", |role| role.name.as_str());
    let judgement = if refused.is_empty() && undecided.is_empty() {
        Judgement::pass(format!(
            "{role} may do all of the {} things that a Spot launch takes",
            requests.len()
        ))
    } else if refused.is_empty() {
        let mut keys = undecided;
        keys.sort_unstable();
        keys.dedup();
        Judgement::undecided(format!(
            "{role}'s policies depend on {}, which the simulator was not given",
            keys.join(", ")
        ))
        .headline("What the controller may do depends on more than the simulator knows")
    } else {
        refusals(facts, role, &refused).evidence(
            "refused",
            json!(
                refused
                    .values()
                    .flatten()
                    .map(|one| json!({"action": one.action, "resource": one.resource}))
                    .collect::<Vec<_>>()
            ),
        )
    };
    judgement.from(fact)
}

/// `instance`, `spot-instances-request`, `role/demo-node`: what a person knows a resource by.
fn kind(resource: &str) -> &str {
    let last = resource.splitn(6, ':').nth(5).unwrap_or(resource);
    match last.split_once('/') {
        Some(("role", _)) | None => last,
        Some((kind, _)) => kind,
    }
}

/// `ec2:RunInstances (instance, volume)`
fn listed(requests: &[&LaunchRequest]) -> String {
    let mut by_action: Vec<(&str, Vec<&str>)> = Vec::new();
    for one in requests {
        match by_action.iter_mut().find(|(action, _)| *action == one.action) {
            Some((_, kinds)) => kinds.push(kind(&one.resource)),
            None => by_action.push((one.action, vec![kind(&one.resource)])),
        }
    }
    let shown = by_action.iter().map(|(action, kinds)| match kinds.as_slice() {
        ["*"] => (*action).to_owned(),
        kinds => format!("{action} ({})", kinds.join(", ")),
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn refusals(facts: &Facts, role: &str, refused: &BTreeMap<DeniedBy, Vec<&LaunchRequest>>) -> Judgement {
    let all = || refused.values().flatten();
    let text = refused
        .iter()
        .map(|(by, requests)| format!("{} {role}: {}", refuses(*by), listed(requests)))
        .collect::<Vec<_>>()
        .join("; ");
    let launches = all().any(|one| one.launches);
    let forgotten = all().all(|one| one.resource.contains(":spot-instances-request/"));
    // What Karpenter does is a better witness than a simulation.
    let spot_runs = facts
        .traces
        .claims
        .known()
        .is_some_and(|claims| claims.pools.values().any(|pool| pool.spot > 0));
    let judgement = match (launches, spot_runs) {
        (true, false) => Judgement::fail(text),
        (true, true) => Judgement::warn(format!("{text}; even so, Spot instances run")),
        (false, _) => Judgement::warn(text),
    };
    let headline = match (launches, forgotten) {
        (true, true) => "The controller's role forgets spot-instances-request: EC2 refuses Spot",
        (true, false) => "The controller's role does not allow what a Spot launch takes",
        (false, _) => "The controller's role lacks permissions besides launching",
    };
    let mut judgement = judgement.headline(headline);
    let missing = refused.get(&DeniedBy::MissingAllow);
    let words = match (missing.is_some(), refused.len()) {
        (true, 1) => {
            "Add the statements below to a policy of the role. Karpenter's CloudFormation has all of them."
        }
        (true, _) => "Add the statements below to a policy of the role, and change what denies or limits it.",
        (false, _) => {
            "Change the policy, the permissions boundary or the organization's policy that denies it."
        }
    };
    judgement = judgement.fix(
        words,
        [facts
            .target
            .aws(&["iam", "list-attached-role-policies", "--role-name", role])],
    );
    if let Some(missing) = missing {
        let policy = json!({"Version": "2012-10-17", "Statement": statements(facts, missing)});
        judgement = judgement.snippet(
            Language::Json,
            serde_json::to_string_pretty(&policy).unwrap_or_default(),
        );
    }
    judgement
}

/// The smallest statements that allow these requests, tied to this cluster's tags.
fn statements(facts: &Facts, missing: &[&LaunchRequest]) -> Vec<serde_json::Value> {
    let tag = format!("kubernetes.io/cluster/{}", facts.target.cluster);
    let mut all = Vec::new();
    for carries in [
        Carries::Nothing,
        Carries::NewTags,
        Carries::ExistingTags,
        Carries::Role,
    ] {
        // Statements of one kind of request that need the same resources are one.
        let mut by_resources: BTreeMap<Vec<String>, Vec<&str>> = BTreeMap::new();
        let mut actions: Vec<&str> = missing
            .iter()
            .filter(|one| one.carries == carries)
            .map(|one| one.action)
            .collect();
        actions.dedup();
        for action in actions {
            let resources = missing
                .iter()
                .filter(|one| one.carries == carries && one.action == action)
                .map(|one| any_of(&one.resource))
                .collect();
            by_resources.entry(resources).or_default().push(action);
        }
        for (resources, actions) in by_resources {
            let mut statement = json!({"Effect": "Allow", "Action": actions, "Resource": resources});
            let condition = match carries {
                Carries::NewTags => Some(json!({"StringEquals": {format!("aws:RequestTag/{tag}"): "owned"}})),
                Carries::ExistingTags => {
                    Some(json!({"StringEquals": {format!("aws:ResourceTag/{tag}"): "owned"}}))
                }
                Carries::Role if actions.contains(&"iam:PassRole") => Some(
                    json!({"StringEquals": {"iam:PassedToService": match facts.target.partition.as_str() {
                        "aws-cn" => "ec2.amazonaws.com.cn",
                        _ => "ec2.amazonaws.com",
                    }}}),
                ),
                Carries::Nothing | Carries::Role => None,
            };
            if let (Some(condition), Some(map)) = (condition, statement.as_object_mut()) {
                map.insert("Condition".to_owned(), condition);
            }
            all.push(statement);
        }
    }
    all
}

/// Every resource of that kind; a role and a queue stay themselves.
fn any_of(resource: &str) -> String {
    match resource.rsplit_once('/') {
        Some((kind, _)) if resource.contains(":ec2:") || resource.contains(":instance-profile/") => {
            format!("{kind}/*")
        }
        _ => resource.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::told_of;
    use crate::facts::fixture::{capacity_type, denied, healthy, node_pool, with_karpenter, with_pools};
    use crate::facts::launch_permissions::Permitted;
    use crate::karpenter::traces::ClaimFold;
    use crate::model::SimulatedDecision;

    fn refuse(facts: &mut Facts, which: fn(&Permitted) -> bool, how: fn(&mut Permitted)) {
        if let Observed::Known(all) = &mut facts.controller.may_launch.observed {
            all.iter_mut().filter(|one| which(one)).for_each(how);
        }
    }

    fn implicitly(one: &mut Permitted) {
        one.decided.decision = SimulatedDecision::ImplicitDeny;
    }

    #[test]
    fn roles_that_may_and_may_not() {
        insta::assert_snapshot!(told_of(
            with_karpenter,
            judge,
            &[
                ("may do all", |_| {}),
                ("forgets spot-instances-request", |f| refuse(
                    f,
                    |one| one.resource.contains("spot-instances-request"),
                    implicitly
                )),
                ("forgets it, and Spot runs", |f| {
                    let mut fold = ClaimFold::new(f.gathered_at);
                    let mut claim = crate::facts::fixture::claim(
                        "general-aaaaa",
                        json!([{"type": "Launched", "status": "True"}]),
                    );
                    claim["metadata"]["labels"]["karpenter.sh/capacity-type"] = json!("spot");
                    fold.add_json(&claim);
                    f.traces.claims = crate::facts::fixture::known("list nodeclaims.karpenter.sh", fold);
                    refuse(
                        f,
                        |one| one.resource.contains("spot-instances-request"),
                        implicitly,
                    );
                }),
                ("may not pass the node role", |f| refuse(
                    f,
                    |one| one.action == "iam:PassRole",
                    implicitly
                )),
                ("may nothing", |f| refuse(f, |_| true, implicitly)),
                ("denied by the organization", |f| refuse(
                    f,
                    |one| one.action == "ec2:RunInstances",
                    |one| one.decided.allowed_by_organizations = Some(false)
                )),
                ("limited by a boundary", |f| refuse(
                    f,
                    |one| one.action == "ec2:CreateFleet",
                    |one| {
                        one.decided.decision = SimulatedDecision::ImplicitDeny;
                        one.decided.allowed_by_boundary = Some(false);
                    }
                )),
                ("explicitly denied", |f| refuse(
                    f,
                    |one| one.action == "ec2:CreateTags",
                    |one| one.decided.decision = SimulatedDecision::ExplicitDeny
                )),
                ("only the queue", |f| refuse(
                    f,
                    |one| one.action.starts_with("sqs:"),
                    implicitly
                )),
                ("depends on another key", |f| refuse(
                    f,
                    |one| one.action == "ec2:CreateFleet",
                    |one| {
                        one.decided.decision = SimulatedDecision::ImplicitDeny;
                        one.decided.missing_context = vec!["aws:SourceVpc".into()];
                    }
                )),
                ("the simulator is denied", |f| f.controller.may_launch =
                    denied("iam:SimulatePrincipalPolicy")),
                ("before Karpenter", |f| *f = healthy()),
                ("nothing wants Spot", |f| with_pools(
                    f,
                    vec![node_pool("a", capacity_type(&["on-demand"]))]
                )),
            ]
        ));
    }
}
