//! Whether launched instances become nodes.

use jiff::SignedDuration;
use serde_json::json;

use super::karpenter::{Installed, NOT_YET, count, installed, names, short};
use super::parts::together;
use super::spot_failures_seen::{span, when};
use super::{Check, Group, Judgement, Status, lost_cluster, never};
use crate::facts::Facts;
use crate::karpenter::traces::{
    ClaimFold, JOIN_TIMEOUT, NeverJoined, UnhealthyPool, Unregistered, pool_traces,
};
use crate::model::{Command, Observed, argv};

pub(crate) static CHECK: Check = Check {
    id: "node-registration",
    group: Group::Karpenter,
    title: "Launched instances join the cluster",
    needed: never,
    judge,
};

const HEADLINE: &str = "Instances are launched and never join the cluster";

/// The check that found the mapping of the node role wrong, and its finding: that is why instances don't join.
fn mapping_problem(facts: &Facts) -> Option<(&'static str, Judgement)> {
    ["node-role-mapped", "node-role-current", "aws-auth-parses"]
        .into_iter()
        .find_map(|id| {
            let judgement = (super::find(id)?.judge)(facts);
            (judgement.status == Status::Fail).then_some((id, judgement))
        })
}

fn describe(one: &Unregistered) -> String {
    let waiting = one.waiting_seconds.map_or_else(
        || "for an unknown time".to_owned(),
        |seconds| format!("for {}", span(SignedDuration::from_secs(seconds))),
    );
    let of = [
        one.node_pool.as_ref().map(|pool| format!("pool {pool}")),
        one.provider_id
            .as_deref()
            .and_then(|id| id.rsplit('/').next())
            .map(str::to_owned),
        Some(waiting),
        Some(one.reason.clone()).filter(|reason| !reason.is_empty()),
    ];
    format!(
        "{} ({})",
        one.name,
        of.into_iter().flatten().collect::<Vec<_>>().join(", ")
    )
}

/// Instances that wait: from 5 minutes on they are late, from 15 on Karpenter gives up.
fn of_waiting(claims: &ClaimFold) -> Option<Judgement> {
    if claims.unregistered == 0 {
        return None;
    }
    let longest: Vec<String> = claims.longest_unregistered.iter().take(3).map(describe).collect();
    let text = format!(
        "{} of {} joined the cluster; waiting longest: {}",
        claims.unregistered,
        match claims.launched {
            1 => "1 launched instance has not".to_owned(),
            launched => format!("{launched} launched instances have not"),
        },
        longest.join(", ")
    );
    // One instance among many may have a fault of its own.
    Some(match claims.given_up > 0 && claims.registered == 0 {
        true => Judgement::fail(text).headline(HEADLINE),
        false if claims.given_up > 0 => {
            Judgement::warn(text).headline("An instance did not join the cluster")
        }
        false => Judgement::warn(format!("{text}; Karpenter gives up after {}", span(JOIN_TIMEOUT)))
            .headline("An instance takes long to join the cluster"),
    })
}

/// Claims that are gone and never had a node: between two instances that never join there is nothing else to see.
fn of_vanished(facts: &Facts, registered: u64) -> Option<Judgement> {
    let from_log = facts
        .launching
        .log
        .known()
        .map_or(&[][..], |log| &log.never_joined);
    let mut gone: Vec<&NeverJoined> = facts.traces.never_joined.iter().chain(from_log).collect();
    gone.sort_by_key(|one| std::cmp::Reverse(one.last_seen));
    let mut names_seen = std::collections::BTreeSet::new();
    gone.retain(|one| names_seen.insert(&one.claim));
    let newest = gone.first()?;
    let now = facts.gathered_at;
    let text = format!(
        "{} never had a node until Karpenter deleted them, last {}: {}",
        count(gone.len(), "NodeClaim", "NodeClaims"),
        when(newest.last_seen, now),
        names(gone.iter().map(|one| one.claim.as_str()))
    );
    let lately = now.duration_since(newest.last_seen) <= SignedDuration::from_hours(1);
    Some(match lately && registered == 0 {
        true => Judgement::fail(text).headline(HEADLINE),
        false => Judgement::warn(text).headline("An instance was launched and never joined the cluster"),
    })
}

/// `NodeRegistrationHealthy=False` stays after its cause is gone.
fn of_unhealthy(facts: &Facts, unhealthy: &[UnhealthyPool], waiting: bool) -> Option<Judgement> {
    let first = unhealthy.first()?;
    let since = first
        .since
        .map(|at| format!(" since {}", when(at, facts.gathered_at)))
        .unwrap_or_default();
    let reason = match first.reason.as_str() {
        "" => String::new(),
        reason => format!(" ({reason}: {})", short(&first.message)),
    };
    let text = format!(
        "the nodes of {} did not join: {} has NodeRegistrationHealthy=False{since}{reason}",
        names(unhealthy.iter().map(|pool| pool.name.as_str())),
        first.name
    );
    Some(match waiting {
        true => Judgement::fail(text).headline(HEADLINE),
        false => Judgement::warn(format!(
            "{text}; nothing waits now, and the condition stays until a node of the pool registers or the pool or its class changes"
        ))
        .headline("Instances of a node pool did not join the cluster"),
    })
}

fn judge(facts: &Facts) -> Judgement {
    if let Some(reason) = lost_cluster(facts) {
        return Judgement::ground_lost(reason);
    }
    let fact = &facts.traces.claims;
    if installed(facts) == Installed::NotYet {
        return Judgement::skip(NOT_YET).from(fact);
    }
    let pools = facts.pools.node_pools.known().map_or(&[][..], |list| &list.items);
    let (_, unhealthy) = pool_traces(pools);
    let claims = fact.known();
    let registered = claims.map_or(0, |claims| claims.registered);
    let mut parts: Vec<Judgement> = [
        claims.and_then(of_waiting),
        of_vanished(facts, registered),
        of_unhealthy(
            facts,
            &unhealthy,
            claims.is_some_and(|claims| claims.unregistered > 0),
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    let judgement = if parts.is_empty() {
        match &fact.observed {
            Observed::Unknown(unknown) => Judgement::unknown("the NodeClaims", unknown)
                .headline("Unknown whether instances join the cluster"),
            Observed::Absent => Judgement::skip("the cluster serves no NodeClaims"),
            Observed::Known(claims) => Judgement::pass(all_joined(claims)),
        }
    } else {
        parts.push(cause(facts, claims));
        let mapped = mapping_problem(facts).is_some();
        let mut all = together(parts);
        // With a mapping that is wrong no instance will ever join.
        if mapped && all.status == Status::Warn {
            all.status = Status::Fail;
            all.headline = Some(HEADLINE.to_owned());
        }
        all
    };
    with_evidence(judgement, claims, &unhealthy)
        .from(fact)
        .from(&facts.pools.node_pools)
}

fn all_joined(claims: &ClaimFold) -> String {
    let joining = match claims.joining {
        0 => String::new(),
        joining => format!("; {joining} launched less than five minutes ago"),
    };
    match claims.launched {
        0 => "no instance is launched".to_owned(),
        launched => format!(
            "{} of {launched} launched instances have joined{joining}",
            claims.registered
        ),
    }
}

/// Why, as far as that is known, and what to look at.
fn cause(facts: &Facts, claims: Option<&ClaimFold>) -> Judgement {
    if let Some((id, problem)) = mapping_problem(facts) {
        let what = problem.headline.unwrap_or(problem.message);
        return Judgement::pass(format!("the reason: {what} (see {id})")).fix(
            format!("Fix what {id} found; each such instance is paid for, and replaced after 15 minutes."),
            [facts.target.capt_spot(&["preflight", "--only", id])],
        );
    }
    let known = match super::find("node-role-mapped").map(|check| (check.judge)(facts).status) {
        Some(Status::Pass | Status::Warn) => "the node role is mapped, so it is something else",
        _ => "it is not known whether the node role is mapped",
    };
    let first = claims.and_then(|claims| claims.longest_unregistered.first());
    let mut commands: Vec<Command> = vec![match first {
        Some(one) => facts.target.kubectl(&["describe", "nodeclaim", &one.name]),
        None => facts.target.kubectl(&["get", "nodeclaims", "-o", "wide"]),
    }];
    let instance = first
        .and_then(|one| one.provider_id.as_deref()?.rsplit('/').next())
        .filter(|id| id.starts_with("i-"));
    if let Some(instance) = instance {
        commands.push(facts.target.aws(&argv(
            "ec2 get-console-output --instance-id {} --latest --output text",
            &[instance],
        )));
    }
    Judgement::pass(known).fix(
        "Such an instance is paid for, and replaced after 15 minutes. Its console output says more: no route to the API server, a wrong AMI, failing user data and an encrypted volume (spot-kms-grant) are the usual reasons.",
        commands,
    )
}

fn with_evidence(
    mut judgement: Judgement,
    claims: Option<&ClaimFold>,
    unhealthy: &[UnhealthyPool],
) -> Judgement {
    if let Some(claims) = claims {
        judgement = judgement.evidence(
            "nodeClaims",
            json!({"read": claims.seen, "launched": claims.launched, "registered": claims.registered,
                   "joining": claims.joining, "unregistered": claims.unregistered}),
        );
        if claims.unregistered > 0 {
            let longest: Vec<_> = claims.longest_unregistered.iter().take(10).collect();
            judgement = judgement.evidence("longestUnregistered", json!(longest));
        }
    }
    if !unhealthy.is_empty() {
        let some: Vec<_> = unhealthy.iter().take(50).collect();
        judgement = judgement.evidence("unhealthyPools", json!(some));
    }
    judgement
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::checks::testing::told_of;
    use crate::facts::fixture::{
        absent, at, claim, denied, healthy, known, node_pool, with_conditions, with_karpenter, with_pools,
    };

    fn claims(facts: &mut Facts, items: &[Value]) {
        let mut fold = ClaimFold::new(facts.gathered_at);
        items.iter().for_each(|item| fold.add_json(item));
        facts.traces.claims = known("list nodeclaims.karpenter.sh", fold);
    }

    fn waiting(name: &str, since: &str) -> Value {
        let mut claim = claim(
            name,
            json!([
            {"type": "Launched", "status": "True", "lastTransitionTime": since},
            {"type": "Registered", "status": "Unknown", "reason": "NodeNotFound"}]),
        );
        claim["status"]["providerID"] = json!("aws:///eu-west-1a/i-0123456789abcdef0");
        claim
    }

    fn joined() -> Value {
        claim(
            "general-aaaaa",
            json!([{"type": "Launched", "status": "True"}, {"type": "Registered", "status": "True"}]),
        )
    }

    fn unmapped(facts: &mut Facts) {
        facts.aws_auth = absent("get configmaps/aws-auth in kube-system");
    }

    fn sticky(facts: &mut Facts) {
        let pool = with_conditions(
            node_pool("general", json!([])),
            json!([
            {"type": "Ready", "status": "True", "reason": "Ready"},
            {"type": "NodeRegistrationHealthy", "status": "False", "reason": "RegistrationFailed",
             "message": "Failed to register node", "lastTransitionTime": "1969-12-31T22:00:00Z"}]),
        );
        with_pools(facts, vec![pool]);
    }

    fn vanished(facts: &mut Facts) {
        facts.traces.never_joined = vec![NeverJoined {
            claim: "general-bbbbb".into(),
            last_seen: at("1969-12-31T23:57:00Z").expect("a time"),
        }];
    }

    #[test]
    fn instances_that_join_and_that_do_not() {
        insta::assert_snapshot!(told_of(
            with_karpenter,
            judge,
            &[
                ("joined", |_| {}),
                ("before Karpenter", |f| *f = healthy()),
                ("just launched", |f| claims(
                    f,
                    &[waiting("new", "1969-12-31T23:57:00Z")]
                )),
                ("late", |f| claims(f, &[waiting("late", "1969-12-31T23:52:00Z")])),
                ("given up", |f| claims(
                    f,
                    &[waiting("lost", "1969-12-31T23:40:00Z")]
                )),
                ("one among others", |f| claims(
                    f,
                    &[waiting("lost", "1969-12-31T23:40:00Z"), joined()]
                )),
                ("the role is not mapped", |f| {
                    unmapped(f);
                    claims(f, &[waiting("late", "1969-12-31T23:52:00Z")]);
                }),
                ("vanished between two claims", |f| {
                    claims(f, &[]);
                    vanished(f);
                }),
                ("vanished, and others join", vanished),
                ("the condition is left over", sticky),
                ("the condition, and one that waits", |f| {
                    sticky(f);
                    claims(f, &[waiting("lost", "1969-12-31T23:40:00Z")]);
                }),
                ("claims not readable", |f| f.traces.claims =
                    denied("list nodeclaims.karpenter.sh")),
                ("no such cluster", |f| f.cluster =
                    absent("eks:DescribeCluster demo")),
            ]
        ));
    }
}
