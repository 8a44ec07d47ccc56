//! What already went wrong: launches that failed.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::karpenter::{
    Installed, NOT_YET, SpotDemand, count, installed, launch_paths, names, short, spot_demand,
};
use super::parts::together;
use super::{Check, Group, Judgement, Status, lost_cluster, never};
use crate::facts::Facts;
use crate::karpenter::instances::SpotQuota;
use crate::karpenter::requirements::{CapacityType, SpotVerdict};
use crate::karpenter::traces::{Cause, PoolClaims, Told, Trace, TraceSource, Traces, pool_traces};
use crate::model::{Command, Observed, Unknown, argv};

/// How long after the role was made a refusal still tells of the time before: IAM is eventually consistent, and Karpenter
/// leaves Spot alone for three minutes after a refusal.
const SETTLING: SignedDuration = SignedDuration::from_mins(5);
/// What was last seen within this time is taken for going on: Karpenter tries again every few minutes.
const STILL: SignedDuration = SignedDuration::from_mins(15);

pub(crate) static CHECK: Check = Check {
    id: "spot-failures-seen",
    group: Group::Karpenter,
    title: "No failed Spot launches found",
    needed: never,
    judge,
};

/// `12 min`, `3 h`, as a person says it.
pub(super) fn span(duration: SignedDuration) -> String {
    let minutes = duration.as_mins();
    match minutes {
        ..=0 => "less than a minute".to_owned(),
        1..120 => format!("{minutes} min"),
        120..2880 => format!("{} h", minutes / 60),
        _ => format!("{} days", minutes / 1440),
    }
}

/// `2025-06-01T10:00:00Z (12 min ago)`
pub(super) fn when(at: Timestamp, now: Timestamp) -> String {
    format!("{at:.0} ({} ago)", span(now.duration_since(at)))
}

fn all_traces(facts: &Facts) -> Traces {
    let mut all = Traces::default();
    let sources = [
        facts.traces.events.known().map(|events| &events.fold.traces),
        facts.traces.claims.known().map(|claims| &claims.traces),
        facts.launching.log.known().map(|log| &log.traces),
    ];
    sources.into_iter().flatten().for_each(|traces| all.merge(traces));
    let pools = facts.pools.node_pools.known().map_or(&[][..], |list| &list.items);
    all.merge(&pool_traces(pools).0);
    all
}

/// `2 NodeClaims, last 2025-06-01T10:00:00Z (12 min ago): NodeClaim general-abcde, by an Event in default`
fn seen(told: &Told, now: Timestamp) -> String {
    let claims = match told.count() {
        0 => String::new(),
        claims => format!("{}, ", count(claims, "NodeClaim", "NodeClaims")),
    };
    let Some(newest) = told.newest.first() else {
        return claims;
    };
    let last = newest
        .last_seen
        .map(|at| format!("last {}: ", when(at, now)))
        .unwrap_or_default();
    let place = match &newest.source {
        TraceSource::Event { namespace, .. } => format!("an Event in {namespace}"),
        TraceSource::Condition {
            condition, reason, ..
        } => format!("its condition {condition} ({reason})"),
        TraceSource::Log { pod } => format!("the log of {pod}"),
    };
    format!(
        "{claims}{last}{} {}, by {place}",
        newest.about.kind, newest.about.name
    )
}

/// Whether it goes on: a condition that stands, or something of the last minutes.
fn goes_on(told: &Told, now: Timestamp) -> bool {
    told.newest.iter().any(|trace| match trace.source {
        TraceSource::Condition { .. } => true,
        TraceSource::Event { .. } | TraceSource::Log { .. } => {
            trace.last_seen.is_none_or(|at| now.duration_since(at) <= STILL)
        }
    })
}

/// What happens to the Pods: pools of Spot alone have nothing to fall back to.
fn consequence(facts: &Facts) -> &'static str {
    let paths = launch_paths(facts);
    let falls_back = |spot: &SpotVerdict| matches!(spot, SpotVerdict::CanLaunchSpot { also, .. } if also.contains(&CapacityType::OnDemand));
    let (some, all) = (
        paths.spot().any(|path| falls_back(&path.spot)),
        paths.spot().all(|path| falls_back(&path.spot)),
    );
    match (some, all) {
        (true, true) => "Karpenter launches on-demand instances instead, at on-demand prices",
        (true, false) => {
            "pools that also admit on-demand run at on-demand prices, Pods that need Spot stay Pending"
        }
        (false, _) => "the Pods stay Pending",
    }
}

/// What the traces of a missing role mean, now.
fn of_the_role(facts: &Facts, told: &Told) -> Judgement {
    const HEADLINE: &str = "EC2 refused Spot: the service-linked role is missing";
    let now = facts.gathered_at;
    let refused = format!(
        "EC2 refused Spot without the service-linked role: {}",
        seen(told, now)
    );
    let role = facts.spot_role.known();
    if let Some(created) = role.and_then(|role| role.created)
        && told.last_seen().is_some_and(|last| last <= created + SETTLING)
    {
        return Judgement::pass(format!(
            "{refused}; that was before the role was created ({created:.0})"
        ));
    }
    if let SpotDemand::No(why) = spot_demand(facts) {
        return Judgement::warn(format!("{refused}; by now {why}")).headline(HEADLINE);
    }
    if role.is_some() {
        return Judgement::fail(format!("{refused}; even so, the role exists in the account of these credentials"))
            .headline("EC2 refuses Spot for a missing role, although the role exists")
            .fix(
                "Is Karpenter's controller in another account, or was the role deleted in between? The Events say what its role is refused.",
                [warnings(facts)],
            );
    }
    Judgement::fail(format!("{refused}; {}", consequence(facts)))
        .headline(HEADLINE)
        .fix(
            "Create the role; Karpenter tries Spot again after three minutes.",
            [facts.target.capt_spot(&["create-role"])],
        )
}

fn warnings(facts: &Facts) -> Command {
    facts.target.kubectl(&argv(
        "get events -A --field-selector type=Warning --sort-by .lastTimestamp",
        &[],
    ))
}

/// The controller's log, or the claim where there is no controller.
fn log_of_controller(facts: &Facts, trace: Option<&Trace>) -> Option<Command> {
    match (facts.controller.running(), trace) {
        (Some(running), _) => Some(facts.target.kubectl(&argv(
            "logs {} -c controller --tail=200 -n {}",
            &[&format!("deployment/{}", running.name), &running.namespace],
        ))),
        (None, Some(trace)) => Some(
            facts
                .target
                .kubectl(&["describe", "nodeclaim", &trace.about.name]),
        ),
        (None, None) => None,
    }
}

/// The encoded message of EC2 in a text.
fn encoded_message(text: &str) -> Option<&str> {
    let rest = text.split("Encoded authorization failure message:").nth(1)?;
    rest.split_whitespace().next().filter(|word| word.len() > 20)
}

/// What a cause is called, and what to do about it.
fn words(cause: Cause) -> (&'static str, &'static str, &'static str) {
    match cause {
        Cause::SpotRoleMissing => ("the service-linked role is missing", "", ""),
        Cause::SpotQuotaReached => (
            "the quota of Spot vCPUs was reached",
            "The quota of Spot vCPUs is used up",
            "Ask for a higher quota (this one is for the standard families; see spot-quota).",
        ),
        Cause::NoCapacity => (
            "EC2 had no Spot capacity for what the pools ask for",
            "EC2 had no capacity for the pools' instance types",
            "Admit more instance types and zones; Karpenter tries again by itself.",
        ),
        Cause::NotAuthorized => (
            "AWS refused the controller a launch",
            "AWS refuses the controller a permission that a launch takes",
            "The controller's role lacks a permission (iam:PassRole on the node role is a frequent one), or a policy of the organization denies it: see controller-may-launch.",
        ),
        Cause::Ami => (
            "the AMI could not be used",
            "The AMI of a node class does not exist or is not shared with the account",
            "Correct amiSelectorTerms of the node class, or have the AMI's owner share it.",
        ),
        Cause::KmsKey => (
            "a KMS key could not be used",
            "EC2 may not use the KMS key of the volumes",
            "See spot-kms-grant.",
        ),
        Cause::Network => (
            "subnets and security groups do not fit together",
            "The security groups and subnets of a node class are not of one VPC",
            "Correct the selector terms of the node class.",
        ),
        Cause::FreeAddresses => (
            "the subnets have no free addresses",
            "The subnets have no free IP addresses left",
            "Add subnets to the node class's selector, or larger ones.",
        ),
        Cause::InstanceProfile => (
            "the instance profile does not exist",
            "The instance profile of the nodes does not exist",
            "Correct spec.instanceProfile of the node class, or use spec.role.",
        ),
        Cause::LaunchTemplate => (
            "the launch template was gone",
            "Karpenter's launch template was deleted",
            "Karpenter makes a new one; see who deletes its launch templates.",
        ),
        Cause::UserData => (
            "the user data is too long",
            "The user data of a node class is longer than EC2 takes",
            "Shorten spec.userData of the node class.",
        ),
        Cause::AccountVerification => (
            "AWS is still verifying the account for this region",
            "AWS has not verified the account for this region yet",
            "AWS does that by itself within minutes to hours, else ask its support.",
        ),
        Cause::FreeTier => (
            "the account may only use free-tier instance types",
            "The account may only use instance types of the free tier",
            "Upgrade the account's plan, or admit only eligible types.",
        ),
        Cause::FleetQuota => (
            "the quota of fleets was reached",
            "The quota of EC2 fleets is used up",
            "Ask for a higher quota of fleets in Service Quotas.",
        ),
        Cause::VcpuQuota => (
            "the quota of on-demand vCPUs was reached",
            "The quota of on-demand vCPUs is used up",
            "Ask for a higher quota of on-demand vCPUs in Service Quotas.",
        ),
        Cause::RequestLimit => (
            "EC2 asked to slow down",
            "EC2 limits the account's requests",
            "Karpenter tries again; see what else calls EC2 so often.",
        ),
        Cause::InternalError => (
            "EC2 failed with an internal error",
            "EC2 failed",
            "Karpenter tries again. If it goes on, look at volumes with a KMS key (spot-kms-grant) and at AWS's health.",
        ),
        Cause::NodeClass => (
            "the node class was missing or not ready",
            "A launch found no node class that is ready",
            "See pools-ready.",
        ),
        Cause::LaunchFailed => (
            "a launch failed",
            "Launches fail",
            "The controller's log has the whole error.",
        ),
    }
}

/// What the traces of any other cause mean.
fn of_cause(facts: &Facts, cause: Cause, told: &Told) -> Judgement {
    let now = facts.gathered_at;
    let (what, headline, fix) = words(cause);
    let newest = told.newest.first();
    let quoted = newest
        .map(|trace| trace.message.as_str())
        .filter(|message| !message.is_empty())
        .map(|message| format!(" (\"{}\")", short(message)))
        .unwrap_or_default();
    let mut text = format!("{what}: {}{quoted}", seen(told, now));
    // Karpenter tries these again by itself, and may well succeed.
    let passing = matches!(
        cause,
        Cause::SpotQuotaReached
            | Cause::NoCapacity
            | Cause::RequestLimit
            | Cause::InternalError
            | Cause::LaunchTemplate
    );
    if matches!(cause, Cause::SpotQuotaReached | Cause::NoCapacity) {
        let again = match cause {
            Cause::SpotQuotaReached => "; Karpenter tries again every 10 seconds, and meanwhile ",
            _ => "; Karpenter tries again after about three minutes, and meanwhile ",
        };
        text = format!("{text}{again}{}", consequence(facts));
    }
    let may_be_the_role = cause == Cause::LaunchFailed && facts.spot_role.observed.is_absent();
    if may_be_the_role {
        text.push_str("; Karpenter 1.1 writes no more than this where the Spot role is missing, and it is");
    }
    let judgement = match passing || !goes_on(told, now) {
        true => Judgement::warn(text),
        false => Judgement::fail(text),
    };
    let commands: Vec<Command> = match cause {
        Cause::SpotQuotaReached => vec![super::spot_quota::request(facts, SpotQuota::Standard, 64)],
        Cause::NotAuthorized => told
            .newest
            .iter()
            .find_map(|trace| encoded_message(&trace.message))
            .map(|encoded| {
                facts.target.aws(&argv(
                    "sts decode-authorization-message --encoded-message {} --query DecodedMessage \
                     --output text",
                    &[encoded],
                ))
            })
            .into_iter()
            .chain(log_of_controller(facts, newest))
            .collect(),
        Cause::NoCapacity => vec![warnings(facts)],
        Cause::LaunchFailed if may_be_the_role => vec![facts.target.capt_spot(&["create-role"])],
        _ => log_of_controller(facts, newest).into_iter().collect(),
    };
    let fix = match may_be_the_role {
        true => "Create the role; Karpenter tries again.",
        false => fix,
    };
    judgement.headline(headline).fix(fix, commands)
}

/// The trace that lasts: claims that could only become on-demand instances, although their pool admits Spot.
fn of_narrowed_claims(facts: &Facts, role_refused: bool) -> Option<Judgement> {
    let claims = facts.traces.claims.known()?;
    let paths = launch_paths(facts);
    let both: Vec<(&str, &PoolClaims)> = paths
        .spot()
        .filter_map(|path| Some((path.pool.name.as_str(), claims.pools.get(&path.pool.name)?)))
        .collect();
    let sum = |of: fn(&PoolClaims) -> u64| both.iter().map(|(_, claims)| of(claims)).sum::<u64>();
    let (narrowed, all) = (sum(|claims| claims.only_on_demand), sum(|claims| claims.launched));
    if narrowed == 0 {
        return None;
    }
    let pools = names(
        both.iter()
            .filter(|(_, claims)| claims.only_on_demand > 0)
            .map(|(pool, _)| *pool),
    );
    let text = format!(
        "{narrowed} of {} of pools that admit Spot could only become on-demand ({pools}), and cost on-demand prices",
        count(all, "NodeClaim", "NodeClaims")
    );
    let newest = both
        .iter()
        .filter_map(|(_, claims)| claims.newest_only_on_demand)
        .max();
    let created = facts.spot_role.known().and_then(|role| role.created);
    if role_refused && facts.spot_role.observed.is_absent() {
        return Some(Judgement::warn(text));
    }
    if facts.spot_role.observed.is_absent() {
        return Some(
            Judgement::warn(format!("{text}: the Spot role is missing"))
                .headline("Pools that admit Spot run on-demand: the Spot role is missing")
                .fix("Create the role.", [facts.target.capt_spot(&["create-role"])]),
        );
    }
    if let (Some(newest), Some(created)) = (newest, created)
        && newest <= created + SETTLING
    {
        return Some(Judgement::pass(format!(
            "{text}; they are from before the role was created, and stay until Karpenter replaces them"
        )));
    }
    Some(Judgement::pass(format!(
        "{text}: their Pods ask for on-demand, or Spot was refused just before"
    )))
}

/// What could not be read, of the sources of traces.
fn unread(facts: &Facts) -> Option<(&'static str, &Unknown)> {
    [
        ("the Events", facts.traces.events.observed.unknown()),
        ("the NodeClaims", facts.traces.claims.observed.unknown()),
        ("the node pools", facts.pools.node_pools.observed.unknown()),
    ]
    .into_iter()
    .find_map(|(what, unknown)| Some((what, unknown?)))
}

fn judge(facts: &Facts) -> Judgement {
    if let Some(reason) = lost_cluster(facts) {
        return Judgement::ground_lost(reason);
    }
    let traces = all_traces(facts);
    if installed(facts) == Installed::NotYet && traces.0.is_empty() {
        return Judgement::skip(NOT_YET)
            .from(&facts.traces.events)
            .from(&facts.traces.claims);
    }
    let role_refused = traces.of(Cause::SpotRoleMissing).is_some();
    // After a refusal Spot counts as unavailable for some minutes, and that is only its consequence.
    let only_follows = |cause: Cause| {
        cause == Cause::NoCapacity && (role_refused || traces.of(Cause::SpotQuotaReached).is_some())
    };
    let mut parts: Vec<Judgement> = traces
        .0
        .iter()
        .filter(|(cause, _)| !only_follows(**cause))
        .map(|(cause, told)| match cause {
            Cause::SpotRoleMissing => of_the_role(facts, told),
            _ => of_cause(facts, *cause, told),
        })
        .collect();
    if parts.is_empty() {
        parts.push(Judgement::pass(nothing_found(facts)));
    }
    parts.extend(of_narrowed_claims(facts, role_refused));
    if let Some((what, unknown)) = unread(facts) {
        let failed = parts.iter().any(|part| part.status == Status::Fail);
        parts.push(match failed {
            // One thing is certain, whatever else there is.
            true => Judgement::pass(format!("{what} could not be read: {unknown}")),
            false => {
                Judgement::unknown(what, unknown).headline("Traces of failed launches could not be read")
            }
        });
    }
    with_evidence(facts, together(parts), &traces)
}

/// That nothing was found, and how far back it could be seen.
fn nothing_found(facts: &Facts) -> String {
    let events = facts.traces.events.known();
    let back = events.and_then(|events| events.reaches_back_to());
    let events = match (events.map(|events| events.fold.seen), back) {
        (Some(0), Some(back)) => format!("no warning Events since {}", when(back, facts.gathered_at)),
        (Some(seen), Some(back)) => format!(
            "none of {} since {} is about one",
            count(seen, "warning Event", "warning Events"),
            when(back, facts.gathered_at)
        ),
        _ => "no Events at all".to_owned(),
    };
    let claims = facts.traces.claims.known().map_or(0, |claims| claims.seen);
    let log = match &facts.launching.log.observed {
        Observed::Known(log) => match log.oldest {
            Some(oldest) => format!(
                "the controller's log goes back to {}",
                when(oldest, facts.gathered_at)
            ),
            None => "the controller's log is empty".to_owned(),
        },
        // Said once, and it lowers nothing.
        Observed::Unknown(unknown) if unknown.grant.is_some() => {
            format!(
                "Events live about an hour, and the controller's log, which goes back further, was not readable ({unknown})"
            )
        }
        Observed::Absent | Observed::Unknown(_) => {
            "Events live about an hour, so a failure before that left no trace".to_owned()
        }
    };
    format!(
        "no failed launches found: {events}, {}; {log}",
        count(claims, "NodeClaim", "NodeClaims")
    )
}

fn with_evidence(facts: &Facts, mut judgement: Judgement, traces: &Traces) -> Judgement {
    if let Some(events) = facts.traces.events.known() {
        let back = events.reaches_back_to();
        judgement = judgement.evidence(
            "events",
            json!({
                "read": events.fold.seen,
                "notUnderstood": events.fold.broken.count,
                "reachesBackTo": back.map(|at| at.to_string()),
                "reachesBackMinutes": back.map(|at| facts.gathered_at.duration_since(at).as_mins()),
            }),
        );
    }
    if let Some(claims) = facts.traces.claims.known() {
        judgement = judgement.evidence(
            "nodeClaims",
            json!({"read": claims.seen, "notUnderstood": claims.broken.count}),
        );
        let pools: serde_json::Map<_, _> = claims
            .pools
            .iter()
            .take(50)
            .map(|(pool, claims)| (pool.clone(), json!(claims)))
            .collect();
        judgement = judgement.evidence("pools", pools);
    }
    if !traces.0.is_empty() {
        let counts: serde_json::Map<_, _> = traces
            .0
            .iter()
            .map(|(cause, told)| {
                (
                    json!(cause).as_str().unwrap_or_default().to_owned(),
                    json!(told.count()),
                )
            })
            .collect();
        let newest: Vec<&Trace> = traces
            .0
            .values()
            .flat_map(|told| told.newest.iter().take(3))
            .take(10)
            .collect();
        judgement = judgement
            .evidence("traces", counts)
            .evidence("newest", json!(newest));
    }
    if let Some(version) = facts.controller.running().and_then(|running| running.version) {
        judgement = judgement.evidence("karpenterVersion", version.to_string());
    }
    judgement
        .from(&facts.traces.events)
        .from(&facts.traces.claims)
        .from(&facts.pools.node_pools)
        .from(&facts.launching.log)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::checks::testing::told_of;
    use crate::facts::fixture::{
        absent, at, capacity_type, claim, denied, event, healthy, known, node_pool, spot_role,
        with_karpenter, with_pools,
    };
    use crate::karpenter::traces::{ClaimFold, LogFold};

    /// EC2's error, word for word.
    const NO_ROLE: &str = "AuthFailure.ServiceLinkedRoleCreationNotPermitted: The provided credentials do not have permission to create the service-linked role for EC2 Spot Instances.";
    const SOON: &str = "1969-12-31T23:55:00Z";

    fn events(facts: &mut Facts, items: &[Value]) {
        if let Observed::Known(events) = &mut facts.traces.events.observed {
            items.iter().for_each(|item| events.fold.add_json(item));
        }
    }

    fn claims(facts: &mut Facts, items: &[Value]) {
        let mut fold = ClaimFold::new(facts.gathered_at);
        items.iter().for_each(|item| fold.add_json(item));
        facts.traces.claims = known("list nodeclaims.karpenter.sh", fold);
    }

    fn missing(facts: &mut Facts) {
        facts.spot_role = absent("iam:GetRole AWSServiceRoleForEC2Spot");
    }

    /// A claim whose launch did not succeed.
    fn failed(reason: &str, message: &str) -> Value {
        claim(
            "general-bbbbb",
            json!([{"type": "Launched", "status": "Unknown", "reason": reason, "message": message,
                                       "lastTransitionTime": "1969-12-31T23:30:00Z"}]),
        )
    }

    /// A claim of an on-demand instance in a pool that admits both.
    fn narrowed(name: &str) -> Value {
        let mut claim = claim(
            name,
            json!([{"type": "Launched", "status": "True"}, {"type": "Registered", "status": "True"}]),
        );
        claim["spec"]["requirements"] = capacity_type(&["on-demand"]);
        claim
    }

    #[test]
    fn the_missing_role() {
        insta::assert_snapshot!(told_of(
            with_karpenter,
            judge,
            &[
                ("two Events of one claim, and the claim that came instead", |f| {
                    missing(f);
                    events(
                        f,
                        &[
                            event("", NO_ROLE, SOON),
                            event("InsufficientCapacityError", NO_ROLE, SOON),
                        ],
                    );
                    claims(f, &[narrowed("general-ccccc")]);
                }),
                ("a pool of Spot alone", |f| {
                    missing(f);
                    with_pools(f, vec![node_pool("general", capacity_type(&["spot"]))]);
                    events(f, &[event("", NO_ROLE, SOON)]);
                }),
                ("only the narrowed claims are left", |f| {
                    missing(f);
                    claims(f, &[narrowed("general-ccccc"), narrowed("general-ddddd")]);
                }),
                ("before the role was created", |f| {
                    let mut role = spot_role();
                    role.created = at("1969-12-31T23:58:00Z");
                    f.spot_role = known("iam:GetRole AWSServiceRoleForEC2Spot", role);
                    events(f, &[event("", NO_ROLE, SOON)]);
                    claims(f, &[narrowed("general-ccccc")]);
                }),
                ("although the role is there", |f| {
                    let mut role = spot_role();
                    role.created = at("1969-12-01T00:00:00Z");
                    f.spot_role = known("iam:GetRole AWSServiceRoleForEC2Spot", role);
                    events(f, &[event("", NO_ROLE, SOON)]);
                }),
                ("nothing wants Spot any more", |f| {
                    missing(f);
                    with_pools(f, vec![node_pool("general", capacity_type(&["on-demand"]))]);
                    events(f, &[event("", NO_ROLE, SOON)]);
                }),
                ("Karpenter 1.2 to 1.4", |f| {
                    missing(f);
                    claims(
                        f,
                        &[failed(
                            "SpotSLRCreationFailed",
                            "User does not have sufficient permission",
                        )],
                    );
                }),
                ("Karpenter 1.1", |f| {
                    missing(f);
                    claims(f, &[failed("LaunchFailed", "Error creating fleet")]);
                }),
            ]
        ));
    }

    #[test]
    fn every_other_cause() {
        insta::assert_snapshot!(told_of(
            with_karpenter,
            judge,
            &[
                ("nothing", |_| {}),
                ("before Karpenter", |f| *f = healthy()),
                ("the log is not readable", |f| f.launching.log =
                    denied("get pods/log in kube-system")),
                ("the log goes back further", |f| {
                    let mut log = LogFold::default();
                    log.add_text(
                        "karpenter-0",
                        r#"{"level":"INFO","time":"1969-12-31T20:00:00Z","message":"starting"}"#,
                    );
                    f.launching.log = known("get pods/log in kube-system", log);
                }),
                ("only the log tells", |f| {
                    missing(f);
                    let mut log = LogFold::default();
                    log.add_text("karpenter-0", &json!({"level": "ERROR", "time": "1969-12-31T22:00:00Z", "message": "failed launching nodeclaim", "NodeClaim": {"name": "general-eeeee"}, "error": NO_ROLE}).to_string());
                    f.launching.log = known("get pods/log in kube-system", log);
                }),
                ("the quota", |f| events(
                    f,
                    &[event(
                        "InsufficientCapacityError",
                        "creating instance, insufficient capacity, with fleet error(s), MaxSpotInstanceCountExceeded: Max spot instance count exceeded",
                        SOON
                    )]
                )),
                ("the quota, Spot alone", |f| {
                    with_pools(f, vec![node_pool("general", capacity_type(&["spot"]))]);
                    events(
                        f,
                        &[event(
                            "InsufficientCapacityError",
                            "MaxSpotInstanceCountExceeded: Max spot instance count exceeded",
                            SOON,
                        )],
                    );
                }),
                ("no capacity", |f| events(
                    f,
                    &[event(
                        "InsufficientCapacityError",
                        "creating instance, insufficient capacity, with fleet error(s), InsufficientInstanceCapacity: We currently do not have sufficient capacity",
                        SOON
                    )]
                )),
                ("refused", |f| claims(
                    f,
                    &[failed(
                        "Unauthorized",
                        "User is not authorized to perform this operation due to a service control policy"
                    )]
                )),
                ("refused, with EC2's message", |f| events(
                    f,
                    &[event(
                        "LaunchFailed",
                        "UnauthorizedOperation: You are not authorized. Encoded authorization failure message: abcDEF0123456789abcDEF0123456789",
                        SOON
                    )]
                )),
                ("refused, hours ago", |f| events(
                    f,
                    &[event(
                        "LaunchFailed",
                        "UnauthorizedOperation: no",
                        "1969-12-31T23:20:00Z"
                    )]
                )),
                ("the AMI", |f| claims(
                    f,
                    &[failed(
                        "AMINotFound",
                        "AMI used for instance launch either does not exist or you don't have permissions to use it"
                    )]
                )),
                ("no addresses", |f| claims(
                    f,
                    &[failed("InsufficientFreeAddressesInSubnet", "")]
                )),
                ("a reason of the future", |f| claims(
                    f,
                    &[failed("OfTheFuture", "nobody knows")]
                )),
                ("not launched yet", |f| claims(
                    f,
                    &[failed(
                        "AwaitingReconciliation",
                        "object is awaiting reconciliation"
                    )]
                )),
                ("Events not readable", |f| f.traces.events = denied("list events")),
                ("Events not readable, and a claim that fails", |f| {
                    f.traces.events = denied("list events");
                    claims(f, &[failed("AMINotFound", "")]);
                }),
                ("no such cluster", |f| f.cluster =
                    absent("eks:DescribeCluster demo")),
            ]
        ));
    }
}
