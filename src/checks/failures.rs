//! What already went wrong: launches that failed, and instances that never joined.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::karpenter::{Wanted, auto_mode, count, is_there, mapping_problem, names, spot_wanted};
use super::spot_role::create_command;
use super::{Check, Group, Judgement, Status, lost_cluster, never};
use crate::facts::Facts;
use crate::karpenter::instances::SpotQuota;
use crate::karpenter::traces::{
    Cause, SpotShare, Trace, TraceSource, Traces, UnhealthyPool, Unregistered, pool_traces, spot_share,
};
use crate::model::{Observed, Unknown};
use crate::text::quote;

/// How long after the role was made a refusal still tells of the time before: IAM is eventually consistent, and Karpenter
/// leaves spot alone for three minutes after a refusal.
const SETTLING: SignedDuration = SignedDuration::from_mins(5);
/// What was last seen within this time is taken for going on: Karpenter tries again every few minutes.
const STILL: SignedDuration = SignedDuration::from_mins(15);

pub(crate) static SPOT_FAILURES_SEEN: Check = Check {
    id: "spot-failures-seen",
    group: Group::Karpenter,
    title: "No failed Spot launches found",
    needed: never,
    judge: spot_failures_seen,
};

pub(crate) static NODE_REGISTRATION: Check = Check {
    id: "node-registration",
    group: Group::Karpenter,
    title: "Launched instances join the cluster",
    needed: never,
    judge: node_registration,
};

/// One thing that was found.
struct Part {
    status: Status,
    text: String,
    remedy: Option<(String, Vec<String>)>,
}

impl Part {
    fn new(status: Status, text: String) -> Self {
        Self {
            status,
            text,
            remedy: None,
        }
    }

    fn remedy(mut self, text: impl Into<String>, commands: impl IntoIterator<Item = String>) -> Self {
        self.remedy = Some((text.into(), commands.into_iter().collect()));
        self
    }
}

/// Worst first.
fn severity(status: Status) -> u8 {
    match status {
        Status::Fail => 0,
        Status::Unknown => 1,
        Status::Warn => 2,
        Status::Pass | Status::Skip => 3,
    }
}

/// Puts parts together: the worst decides, all are said, and every remedy is given.
fn together(mut parts: Vec<Part>) -> Judgement {
    parts.sort_by_key(|part| severity(part.status));
    let worst = parts.first().map_or(Status::Pass, |part| part.status);
    let message = parts
        .iter()
        .map(|part| part.text.as_str())
        .collect::<Vec<_>>()
        .join("; ");
    let judgement = match worst {
        Status::Fail => Judgement::fail(message),
        Status::Unknown => Judgement::undecided(message),
        Status::Warn => Judgement::warn(message),
        Status::Pass | Status::Skip => Judgement::pass(message),
    };
    let remedies: Vec<(String, Vec<String>)> = parts.into_iter().filter_map(|part| part.remedy).collect();
    if remedies.is_empty() {
        return judgement;
    }
    let text = remedies
        .iter()
        .map(|(text, _)| text.as_str())
        .collect::<Vec<_>>()
        .join(" ");
    let mut commands: Vec<String> = Vec::new();
    for command in remedies.into_iter().flat_map(|(_, commands)| commands) {
        if !commands.contains(&command) {
            commands.push(command);
        }
    }
    judgement.remedy(text, commands)
}

/// `12 min`, `3 h`, as a person says it.
fn span(duration: SignedDuration) -> String {
    let minutes = duration.as_mins();
    match minutes {
        ..=0 => "less than a minute".to_owned(),
        1..120 => format!("{minutes} min"),
        120..2880 => format!("{} h", minutes / 60),
        _ => format!("{} days", minutes / 1440),
    }
}

/// `2025-06-01T10:00:00Z (12 min ago)`
fn when(at: Timestamp, now: Timestamp) -> String {
    format!("{at:.0} ({} ago)", span(now.duration_since(at)))
}

/// The traces of all sources.
fn all_traces(facts: &Facts) -> (Traces, Vec<UnhealthyPool>) {
    let mut all = Traces::default();
    if let Some(events) = facts.traces.events.known() {
        all.merge(events.fold.traces.clone());
    }
    if let Some(claims) = facts.traces.claims.known() {
        all.merge(claims.traces.clone());
    }
    let pools = facts.pools.node_pools.known().map_or(&[][..], |list| &list.items);
    let (of_pools, unhealthy) = pool_traces(pools);
    all.merge(of_pools);
    (all, unhealthy)
}

/// What was seen, where, when: of the newest trace of a cause.
fn describe(traces: &Traces, cause: Cause, now: Timestamp) -> String {
    let many = traces.count(cause);
    let Some(newest) = traces.of(cause).next() else {
        return count(usize::try_from(many).unwrap_or(usize::MAX), "trace", "traces");
    };
    let times = traces.of(cause).map(|trace| trace.count).sum::<u64>().max(many);
    let place = match &newest.source {
        TraceSource::Event { namespace, .. } => format!("an Event in {namespace}"),
        TraceSource::Condition { condition, .. } => format!("its condition {condition}"),
    };
    let last = newest
        .last_seen
        .map(|at| format!(", last {}", when(at, now)))
        .unwrap_or_default();
    let often = match times {
        1 => "once".to_owned(),
        times => format!("{times} times"),
    };
    format!(
        "{often}{last}: {} {}, by {place}",
        newest.about.kind, newest.about.name
    )
}

fn newest(traces: &Traces, cause: Cause) -> Option<Timestamp> {
    traces.of(cause).filter_map(|trace| trace.last_seen).max()
}

/// Whether it goes on: a condition that stands, or an Event of the last minutes.
fn goes_on(traces: &Traces, cause: Cause, now: Timestamp) -> bool {
    traces.of(cause).any(|trace| match trace.source {
        TraceSource::Condition { .. } => true,
        TraceSource::Event { .. } => trace.last_seen.is_none_or(|at| now.duration_since(at) <= STILL),
    })
}

fn short(message: &str) -> String {
    const LONGEST: usize = 240;
    match message.char_indices().nth(LONGEST) {
        None => message.to_owned(),
        Some((end, _)) => format!("{}…", &message[..end]),
    }
}

/// What the traces of a missing role mean, now.
fn role_part(facts: &Facts, traces: &Traces) -> Option<Part> {
    if traces.count(Cause::SpotRoleMissing) == 0 {
        return None;
    }
    let now = facts.gathered_at;
    let seen = describe(traces, Cause::SpotRoleMissing, now);
    let refused = format!("EC2 refused spot for want of the service-linked role {seen}");
    let role = facts.spot_role.known();
    if let Some(created) = role.and_then(|role| role.created)
        && newest(traces, Cause::SpotRoleMissing).is_some_and(|last| last <= created + SETTLING)
    {
        return Some(Part::new(
            Status::Pass,
            format!("{refused}; that was before the role was created ({created:.0})"),
        ));
    }
    if let Wanted::No(why) = spot_wanted(facts) {
        return Some(Part::new(Status::Warn, format!("{refused}; by now {why}")));
    }
    if role.is_some() {
        return Some(
            Part::new(
                Status::Fail,
                format!("{refused}; and yet the role exists in the account of these credentials"),
            )
            .remedy(
                "Is Karpenter's controller in another account, or was the role deleted in between? Look at what its role is refused.",
                ["kubectl get events -A --field-selector type=Warning --sort-by .lastTimestamp".to_owned()],
            ),
        );
    }
    Some(Part::new(Status::Fail, refused).remedy(
        "Create the role; Karpenter tries spot again after three minutes.",
        [create_command(facts)],
    ))
}

fn quota_part(facts: &Facts, traces: &Traces) -> Option<Part> {
    if traces.count(Cause::SpotQuotaReached) == 0 {
        return None;
    }
    let quota = SpotQuota::Standard;
    Some(
        Part::new(
            Status::Warn,
            format!(
                "the quota of spot vCPUs was reached {}; Karpenter falls back to on-demand without a word",
                describe(traces, Cause::SpotQuotaReached, facts.gathered_at)
            ),
        )
        .remedy(
            "Ask for a higher quota (this one is for the standard families; see spot-quota).",
            [request_command(facts, quota, 64)],
        ),
    )
}

/// The command that asks for a higher quota.
pub(super) fn request_command(facts: &Facts, quota: SpotQuota, vcpus: u32) -> String {
    format!(
        "aws service-quotas request-service-quota-increase --service-code ec2 --quota-code {} --desired-value {vcpus} --region {}{}",
        quota.code(),
        quote(&facts.target.region),
        facts
            .target
            .profile
            .as_ref()
            .map(|profile| format!(" --profile {}", quote(profile)))
            .unwrap_or_default()
    )
}

fn refused_part(facts: &Facts, traces: &Traces) -> Option<Part> {
    let trace = traces.of(Cause::NotAuthorized).next()?;
    let now = facts.gathered_at;
    let status = if goes_on(traces, Cause::NotAuthorized, now) {
        Status::Fail
    } else {
        Status::Warn
    };
    Some(
        Part::new(
            status,
            format!(
                "AWS refused the controller something else {}: {}",
                describe(traces, Cause::NotAuthorized, now),
                short(&trace.message)
            ),
        )
        .remedy(
            "The controller's role lacks a permission (iam:PassRole on the node role is a frequent one), or a policy of the organisation denies it. An encoded message can be read by whoever may sts:DecodeAuthorizationMessage.",
            ["aws sts decode-authorization-message --encoded-message MESSAGE --query DecodedMessage --output text".to_owned()],
        ),
    )
}

fn unexplained_part(facts: &Facts, traces: &Traces) -> Option<Part> {
    let trace = traces.of(Cause::LaunchFailed).next()?;
    let seen = describe(traces, Cause::LaunchFailed, facts.gathered_at);
    let missing = facts.spot_role.observed.is_absent();
    let why = if missing {
        "; Karpenter 1.1 writes no more than this where the spot role is missing, and it is"
    } else {
        ""
    };
    Some(
        Part::new(
            Status::Warn,
            format!("a launch failed {seen} (\"{}\"){why}", short(&trace.message)),
        )
        .remedy(
            "The controller's log has the whole error.",
            match facts.controller.running() {
                Some(running) => vec![format!(
                    "kubectl -n {} logs deployment/{} --tail=200",
                    quote(&running.namespace),
                    quote(&running.name)
                )],
                None => vec![format!("kubectl describe nodeclaim {}", quote(&trace.about.name))],
            },
        ),
    )
}

/// How the pools that may launch spot really run. Since Karpenter 1.5 it is the one lasting trace of a missing role.
fn share(facts: &Facts) -> Option<SpotShare> {
    let pools = &facts.pools.node_pools.known()?.items;
    let nodes = facts.traces.nodes.known()?;
    Some(spot_share(pools, nodes))
}

fn share_part(facts: &Facts, share: &SpotShare) -> Option<Part> {
    if share.on_demand_only.is_empty() {
        return None;
    }
    let only = share.on_demand_only.len();
    let pools = names(share.on_demand_only.iter().map(|one| one.pool.as_str()));
    let text = format!(
        "{only} of {} that may launch spot {} on-demand nodes only ({pools}); {} of their {} on-demand, {} spot",
        count(
            usize::try_from(share.pools).unwrap_or(usize::MAX),
            "node pool",
            "node pools"
        ),
        if only == 1 { "has" } else { "have" },
        share.on_demand,
        match share.nodes {
            1 => "1 node is".to_owned(),
            nodes => format!("{nodes} nodes are"),
        },
        share.spot
    );
    if !facts.spot_role.observed.is_absent() {
        return Some(Part::new(Status::Pass, text));
    }
    let silent = match facts.controller.running().and_then(|running| running.version) {
        Some(version) if version.hides_missing_spot_role() => {
            format!(
                ": Karpenter {version} leaves no other trace of the missing role, and this costs on-demand prices"
            )
        }
        _ => ": that costs on-demand prices".to_owned(),
    };
    Some(
        Part::new(Status::Warn, format!("{text}{silent}"))
            .remedy("Create the role.", [create_command(facts)]),
    )
}

/// What could not be read, of the sources of traces.
fn unread(facts: &Facts) -> Vec<(&'static str, &Unknown)> {
    [
        ("the Events", facts.traces.events.observed.unknown()),
        ("the NodeClaims", facts.traces.claims.observed.unknown()),
        ("the node pools", facts.pools.node_pools.observed.unknown()),
    ]
    .into_iter()
    .filter_map(|(what, unknown)| Some((what, unknown?)))
    .collect()
}

fn spot_failures_seen(facts: &Facts) -> Judgement {
    if let Some(reason) = lost_cluster(facts) {
        return Judgement::ground_lost(reason);
    }
    let (traces, _) = all_traces(facts);
    let unread = unread(facts);
    let nothing_there = !is_there(facts) && !auto_mode(facts) && traces.counts.is_empty();
    let not_installed = facts.pools.node_pools.observed.is_absent()
        && facts.traces.claims.observed.is_absent()
        && facts
            .controller
            .deployments
            .known()
            .is_none_or(|list| list.items.is_empty());
    if nothing_there && (not_installed || unread.is_empty()) {
        return Judgement::skip(
            "Karpenter is not installed, or has no node pool: nothing can have failed yet",
        )
        .from(&facts.traces.events)
        .from(&facts.traces.claims);
    }
    let share = share(facts);
    let mut parts: Vec<Part> = [
        role_part(facts, &traces),
        quota_part(facts, &traces),
        refused_part(facts, &traces),
        unexplained_part(facts, &traces),
    ]
    .into_iter()
    .flatten()
    .collect();
    let reach = reach(facts);
    let found_nothing = parts.is_empty();
    parts.extend(share.as_ref().and_then(|share| share_part(facts, share)));
    let failed = parts.iter().any(|part| part.status == Status::Fail);
    let judgement = match unread.first() {
        Some((what, unknown)) if !failed => {
            let judgement = Judgement::unknown(what, unknown);
            // What was found all the same is said.
            let rest: Vec<String> = parts.into_iter().map(|part| part.text).collect();
            let message = match rest.is_empty() {
                true => judgement.message.clone(),
                false => format!("{}; {}", judgement.message, rest.join("; ")),
            };
            Judgement { message, ..judgement }
        }
        Some((what, unknown)) => {
            parts.push(Part::new(
                Status::Pass,
                format!("{what} could not be read: {unknown}"),
            ));
            together(parts)
        }
        None => {
            if found_nothing {
                parts.insert(0, Part::new(Status::Pass, reach.clone()));
            }
            together(parts)
        }
    };
    with_evidence(facts, judgement, &traces, share.as_ref())
}

/// That nothing was found, and how far back it could be seen.
fn reach(facts: &Facts) -> String {
    let events = facts.traces.events.known();
    let back = events.and_then(|events| events.reaches_back_to());
    let events = match (events.map(|events| events.fold.seen), back) {
        (Some(0), Some(back)) => format!("no Event but normal ones since {}", when(back, facts.gathered_at)),
        (Some(seen), Some(back)) => format!(
            "{} since {}",
            count(
                usize::try_from(seen).unwrap_or(usize::MAX),
                "warning Event",
                "warning Events"
            ),
            when(back, facts.gathered_at)
        ),
        _ => "no Event at all".to_owned(),
    };
    let claims = facts.traces.claims.known().map_or(0, |claims| claims.seen);
    format!(
        "nothing tells of a failed launch: {events}, and {}; Events live about an hour, so a failure before that left no trace",
        count(
            usize::try_from(claims).unwrap_or(usize::MAX),
            "NodeClaim",
            "NodeClaims"
        )
    )
}

fn with_evidence(
    facts: &Facts,
    mut judgement: Judgement,
    traces: &Traces,
    share: Option<&SpotShare>,
) -> Judgement {
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
    }
    if !traces.counts.is_empty() {
        let newest: Vec<&Trace> = traces.newest.iter().take(10).collect();
        judgement = judgement
            .evidence("traces", json!(traces.counts))
            .evidence("newest", json!(newest));
    }
    if let Some(share) = share.filter(|share| share.pools > 0) {
        let mut share = share.clone();
        share.on_demand_only.truncate(50);
        judgement = judgement.evidence("spotShare", json!(share));
    }
    if let Some(version) = facts.controller.running().and_then(|running| running.version) {
        judgement = judgement.evidence("karpenterVersion", version.to_string());
    }
    judgement
        .from(&facts.traces.events)
        .from(&facts.traces.claims)
        .from(&facts.pools.node_pools)
        .from(&facts.traces.nodes)
}

fn describe_unregistered(one: &Unregistered) -> String {
    let pool = one
        .node_pool
        .as_ref()
        .map(|pool| format!("pool {pool}, "))
        .unwrap_or_default();
    let instance = one
        .provider_id
        .as_deref()
        .and_then(|id| id.rsplit('/').next())
        .map(|id| format!("{id}, "))
        .unwrap_or_default();
    let waiting = one.waiting_seconds.map_or_else(
        || "for an unknown time".to_owned(),
        |seconds| format!("for {}", span(SignedDuration::from_secs(seconds))),
    );
    let reason = if one.reason.is_empty() {
        String::new()
    } else {
        format!(", {}", one.reason)
    };
    format!("{} ({pool}{instance}{waiting}{reason})", one.name)
}

/// What the check of the mapping says, where it found nothing wrong.
fn not_the_mapping(facts: &Facts) -> &'static str {
    match super::find("node-role-mapped").map(|check| (check.judge)(facts).status) {
        Some(Status::Pass | Status::Warn) => "the node role is mapped, so it is something else",
        _ => "whether the node role's mapping explains it is not known here",
    }
}

fn node_registration(facts: &Facts) -> Judgement {
    if let Some(reason) = lost_cluster(facts) {
        return Judgement::ground_lost(reason);
    }
    let fact = &facts.traces.claims;
    let (_, unhealthy) = all_traces(facts);
    let claims = match &fact.observed {
        Observed::Known(claims) => Some(claims),
        Observed::Absent if unhealthy.is_empty() => {
            return Judgement::skip("there are no NodeClaims here: Karpenter is not installed").from(fact);
        }
        Observed::Unknown(unknown) if unhealthy.is_empty() => {
            return Judgement::unknown("the NodeClaims", unknown).from(fact);
        }
        Observed::Absent | Observed::Unknown(_) => None,
    };
    let mapping = mapping_problem(facts);
    let mut parts = Vec::new();
    if let Some(claims) = claims.filter(|claims| claims.unregistered > 0) {
        let longest = claims
            .longest_unregistered
            .iter()
            .take(3)
            .map(describe_unregistered)
            .collect::<Vec<_>>()
            .join(", ");
        // One instance among many may have a fault of its own.
        let status = if mapping.is_some() || claims.registered == 0 {
            Status::Fail
        } else {
            Status::Warn
        };
        parts.push(Part::new(
            status,
            format!(
                "{} of {} joined the cluster; waiting longest: {longest}",
                match claims.unregistered {
                    1 => "1".to_owned(),
                    many => many.to_string(),
                },
                match claims.launched {
                    1 => "1 launched instance has not".to_owned(),
                    launched => format!("{launched} launched instances have not"),
                }
            ),
        ));
    }
    if let Some(first) = unhealthy.first() {
        let since = first
            .since
            .map(|at| format!(" since {}", when(at, facts.gathered_at)))
            .unwrap_or_default();
        let reason = if first.reason.is_empty() {
            String::new()
        } else {
            format!(" ({}: {})", first.reason, short(&first.message))
        };
        parts.push(Part::new(
            Status::Fail,
            format!(
                "the nodes of {} don't join: {} has NodeRegistrationHealthy=False{since}{reason}",
                names(unhealthy.iter().map(|pool| pool.name.as_str())),
                first.name
            ),
        ));
    }
    if parts.is_empty() {
        let Some(claims) = claims else {
            return Judgement::undecided("the NodeClaims could not be read").from(fact);
        };
        let joining = match claims.joining {
            0 => String::new(),
            joining => format!("; {joining} launched less than five minutes ago are about to"),
        };
        let text = match claims.launched {
            0 => "no instance is launched".to_owned(),
            launched => format!(
                "{} of {launched} launched instances have joined{joining}",
                claims.registered
            ),
        };
        return Judgement::pass(text)
            .evidence("nodeClaims", json!({"read": claims.seen, "launched": claims.launched, "registered": claims.registered, "joining": claims.joining}))
            .from(fact);
    }
    match &mapping {
        Some(problem) => {
            let remedy = problem.remedy.clone().unwrap_or_default();
            parts.push(
                Part::new(Status::Pass, format!("what explains it: {}", problem.message))
                    .remedy(remedy.text, remedy.commands),
            );
        }
        None => {
            let first = claims.and_then(|claims| claims.longest_unregistered.first());
            let mut commands = vec![match first {
                Some(one) => format!("kubectl describe nodeclaim {}", quote(&one.name)),
                None => "kubectl get nodeclaims".to_owned(),
            }];
            if let Some(instance) = first
                .and_then(|one| one.provider_id.as_deref())
                .and_then(|id| id.rsplit('/').next())
                .filter(|id| id.starts_with("i-"))
            {
                commands.push(format!(
                    "aws ec2 get-console-output --latest --output text --instance-id {} --region {}",
                    quote(instance),
                    quote(&facts.target.region)
                ));
            }
            parts.push(
                Part::new(Status::Pass, not_the_mapping(facts).to_owned())
                .remedy(
                    "Such an instance costs money and is replaced every 15 minutes. Look at its console output: no route to the API server, a wrong AMI and failing user data are the usual reasons.",
                    commands,
                ),
            );
        }
    }
    let mut judgement = together(parts);
    if let Some(claims) = claims {
        judgement = judgement
            .evidence(
                "nodeClaims",
                json!({"read": claims.seen, "launched": claims.launched, "registered": claims.registered,
                       "joining": claims.joining, "unregistered": claims.unregistered}),
            )
            .evidence(
                "longestUnregistered",
                json!(claims.longest_unregistered.iter().take(10).collect::<Vec<_>>()),
            );
    }
    if !unhealthy.is_empty() {
        judgement = judgement.evidence(
            "unhealthyPools",
            json!(unhealthy.iter().take(50).collect::<Vec<_>>()),
        );
    }
    judgement.from(fact).from(&facts.pools.node_pools)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::facts::fixture::{
        absent, at, capacity_type, claim, denied, event, healthy, known, node, node_pool, spot_role,
        with_karpenter, with_pools,
    };
    use crate::karpenter::traces::{ClaimFold, NodeFold};
    use crate::report::{Selection, Verdict, judge};

    /// EC2's error, word for word.
    const NO_ROLE: &str = "AuthFailure.ServiceLinkedRoleCreationNotPermitted: The provided credentials do not have permission to create the service-linked role for EC2 Spot Instances.";

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

    fn nodes(facts: &mut Facts, items: &[Value]) {
        let mut fold = NodeFold::default();
        items.iter().for_each(|item| fold.add_json(item));
        facts.traces.nodes = known("list nodes", fold);
    }

    fn missing(facts: &mut Facts) {
        facts.spot_role = absent("iam:GetRole AWSServiceRoleForEC2Spot");
    }

    fn launched(status: &str, reason: &str, message: &str) -> Value {
        json!([{"type": "Launched", "status": status, "reason": reason, "message": message,
                "lastTransitionTime": "1969-12-31T23:30:00Z"}])
    }

    fn waiting(name: &str) -> Value {
        let mut claim = claim(
            name,
            json!([{"type": "Launched", "status": "True", "lastTransitionTime": "1969-12-31T23:48:00Z"},
                   {"type": "Registered", "status": "Unknown", "reason": "NodeNotFound"}]),
        );
        claim["status"]["providerID"] = json!("aws:///eu-west-1a/i-0123456789abcdef0");
        claim
    }

    type Damage = fn(&mut Facts);

    #[test]
    fn failures_of_every_kind() {
        const SOON: &str = "1969-12-31T23:55:00Z";
        let rows: &[(&str, Damage, Status, &[&str])] = &[
            (
                "good",
                |_| {},
                Status::Pass,
                &[
                    "no Event but normal ones since 1969-12-31T23:10:00Z (50 min ago)",
                    "1 NodeClaim",
                ],
            ),
            (
                "before Karpenter",
                |f| *f = healthy(),
                Status::Skip,
                &["not installed"],
            ),
            (
                "before Karpenter, Events denied",
                |f| {
                    *f = healthy();
                    f.traces.events = denied("list events");
                },
                Status::Skip,
                &["not installed"],
            ),
            (
                "Events denied",
                |f| f.traces.events = denied("list events"),
                Status::Unknown,
                &["the Events could not be read"],
            ),
            (
                "claims denied",
                |f| f.traces.claims = denied("list nodeclaims"),
                Status::Unknown,
                &["the NodeClaims could not be read"],
            ),
            (
                "pools denied",
                |f| f.pools.node_pools = denied("list nodepools"),
                Status::Unknown,
                &["the node pools could not be read"],
            ),
            (
                "1.5 and later: an Event with an empty reason",
                |f| {
                    missing(f);
                    events(f, &[event("", NO_ROLE, SOON)]);
                },
                Status::Fail,
                &[
                    "EC2 refused spot for want of the service-linked role 3 times",
                    "NodeClaim general-aaaaa, by an Event in default",
                ],
            ),
            (
                "the same, the claims not readable",
                |f| {
                    missing(f);
                    events(f, &[event("InsufficientCapacityError", NO_ROLE, SOON)]);
                    f.traces.claims = denied("list nodeclaims");
                },
                Status::Fail,
                &[
                    "for want of the service-linked role",
                    "the NodeClaims could not be read",
                ],
            ),
            (
                "1.2 to 1.4",
                |f| {
                    missing(f);
                    claims(
                        f,
                        &[claim("a", launched("Unknown", "SpotSLRCreationFailed", "x"))],
                    );
                },
                Status::Fail,
                &["by its condition Launched"],
            ),
            (
                "1.1, the role missing",
                |f| {
                    missing(f);
                    claims(
                        f,
                        &[claim(
                            "a",
                            launched("Unknown", "LaunchFailed", "Error creating fleet"),
                        )],
                    );
                },
                Status::Warn,
                &[
                    "Error creating fleet",
                    "Karpenter 1.1 writes no more than this where the spot role is missing, and it is",
                ],
            ),
            (
                "a pool's condition",
                |f| {
                    missing(f);
                    let mut pool = node_pool("general", json!([]));
                    pool.conditions =
                        serde_json::from_value(json!([{"type": "NodeRegistrationHealthy", "status": "False",
                        "reason": "SpotSLRCreationFailed", "message": "", "lastTransition": null}]))
                        .expect("a condition");
                    with_pools(f, vec![pool]);
                },
                Status::Fail,
                &["NodePool general, by its condition NodeRegistrationHealthy"],
            ),
            (
                "mended since",
                |f| {
                    let mut role = spot_role();
                    role.created = at("1969-12-31T23:56:00Z");
                    f.spot_role = known("x", role);
                    events(f, &[event("", NO_ROLE, SOON)]);
                },
                Status::Pass,
                &["that was before the role was created (1969-12-31T23:56:00Z)"],
            ),
            (
                "the role is there, and yet",
                |f| {
                    let mut role = spot_role();
                    role.created = at("1969-12-01T00:00:00Z");
                    f.spot_role = known("x", role);
                    events(f, &[event("", NO_ROLE, SOON)]);
                },
                Status::Fail,
                &["and yet the role exists"],
            ),
            (
                "nothing wants spot any more",
                |f| {
                    missing(f);
                    with_pools(f, vec![node_pool("general", capacity_type(&["on-demand"]))]);
                    events(f, &[event("", NO_ROLE, SOON)]);
                },
                Status::Warn,
                &["by now the only node pool cannot launch spot"],
            ),
            (
                "quota",
                |f| {
                    events(
                        f,
                        &[event(
                            "",
                            "MaxSpotInstanceCountExceeded: Max spot instance count exceeded",
                            SOON,
                        )],
                    )
                },
                Status::Warn,
                &["the quota of spot vCPUs was reached"],
            ),
            (
                "something else refused, just now",
                |f| {
                    events(
                        f,
                        &[event(
                            "",
                            "UnauthorizedOperation: You are not authorized to perform: ec2:RunInstances",
                            SOON,
                        )],
                    )
                },
                Status::Fail,
                &["AWS refused the controller something else", "ec2:RunInstances"],
            ),
            (
                "something else refused, a while ago",
                |f| {
                    events(
                        f,
                        &[event(
                            "",
                            "UnauthorizedOperation: ec2:RunInstances",
                            "1969-12-31T23:20:00Z",
                        )],
                    )
                },
                Status::Warn,
                &["last 1969-12-31T23:20:00Z (40 min ago)"],
            ),
            (
                "silent: on-demand only, the role missing",
                |f| {
                    missing(f);
                    nodes(f, &[node("general", "on-demand"), node("general", "on-demand")]);
                },
                Status::Warn,
                &[
                    "1 of 1 node pool that may launch spot has on-demand nodes only (general); 2 of their 2 nodes are on-demand, 0 spot",
                    "Karpenter 1.8.1 leaves no other trace",
                ],
            ),
            (
                "on-demand only, the role there",
                |f| nodes(f, &[node("general", "on-demand")]),
                Status::Pass,
                &[
                    "nothing tells of a failed launch",
                    "has on-demand nodes only (general); 1 of their 1 node is on-demand",
                ],
            ),
            (
                "on-demand only, the Events not readable",
                |f| {
                    missing(f);
                    f.traces.events = denied("list events");
                    nodes(f, &[node("general", "on-demand")]);
                },
                Status::Unknown,
                &["the Events could not be read", "on-demand nodes only"],
            ),
        ];
        for (name, damage, status, says) in rows {
            let mut facts = with_karpenter();
            damage(&mut facts);
            let judgement = spot_failures_seen(&facts);
            assert_eq!(judgement.status, *status, "{name}: {}", judgement.message);
            for text in *says {
                assert!(judgement.message.contains(text), "{name}: {}", judgement.message);
            }
            if *status == Status::Fail {
                assert!(
                    judgement.remedy.is_some_and(|remedy| !remedy.commands.is_empty()),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn instances_that_do_not_join() {
        let unhealthy: Damage = |f| {
            let mut pool = node_pool("general", json!([]));
            pool.conditions = serde_json::from_value(json!([{"type": "NodeRegistrationHealthy", "status": "False",
                "reason": "RegistrationFailed", "message": "Failed to register node", "lastTransition": "1969-12-31T23:00:00Z"}]))
            .expect("a condition");
            with_pools(f, vec![pool]);
        };
        let rows: &[(&str, Damage, Status, &[&str])] = &[
            (
                "good",
                |_| {},
                Status::Pass,
                &["1 of 1 launched instances have joined"],
            ),
            (
                "before Karpenter",
                |f| *f = healthy(),
                Status::Skip,
                &["no NodeClaims here"],
            ),
            (
                "denied",
                |f| f.traces.claims = denied("list nodeclaims"),
                Status::Unknown,
                &["the NodeClaims could not be read"],
            ),
            (
                "none joins",
                |f| claims(f, &[waiting("general-bbbbb")]),
                Status::Fail,
                &[
                    "1 of 1 launched instance has not joined",
                    "general-bbbbb (pool general, i-0123456789abcdef0, for 12 min, NodeNotFound)",
                ],
            ),
            (
                "one among others",
                |f| {
                    let joined = claim(
                        "a",
                        json!([{"type": "Launched", "status": "True"}, {"type": "Registered", "status": "True"}]),
                    );
                    claims(f, &[joined, waiting("general-bbbbb")]);
                },
                Status::Warn,
                &["1 of 2 launched instances have not joined"],
            ),
            (
                "an unhealthy pool",
                unhealthy,
                Status::Fail,
                &[
                    "the nodes of general don't join",
                    "RegistrationFailed",
                    "(60 min ago)",
                ],
            ),
            (
                "an unhealthy pool, claims denied",
                |f| {
                    let mut pool = node_pool("general", json!([]));
                    pool.conditions =
                        serde_json::from_value(json!([{"type": "NodeRegistrationHealthy", "status": "False",
                        "reason": "RegistrationFailed", "message": "", "lastTransition": null}]))
                        .expect("a condition");
                    with_pools(f, vec![pool]);
                    f.traces.claims = denied("list nodeclaims");
                },
                Status::Fail,
                &["NodeRegistrationHealthy=False"],
            ),
        ];
        for (name, damage, status, says) in rows {
            let mut facts = with_karpenter();
            damage(&mut facts);
            let judgement = node_registration(&facts);
            assert_eq!(judgement.status, *status, "{name}: {}", judgement.message);
            for text in *says {
                assert!(judgement.message.contains(text), "{name}: {}", judgement.message);
            }
        }
    }

    /// The command names the instance whose console to read.
    #[test]
    fn the_console_of_an_instance_that_does_not_join() {
        let mut facts = with_karpenter();
        claims(&mut facts, &[waiting("general-bbbbb")]);
        let remedy = node_registration(&facts).remedy.expect("a remedy");
        if super::super::find("node-role-mapped").is_none() {
            assert_eq!(
                remedy.commands,
                [
                    "kubectl describe nodeclaim general-bbbbb",
                    "aws ec2 get-console-output --latest --output text --instance-id i-0123456789abcdef0 --region eu-west-1"
                ]
            );
        }
    }

    /// What can't be read about the past never decides; a failure does.
    #[test]
    fn the_verdict() {
        let of = |damage: Damage| {
            let mut facts = with_karpenter();
            damage(&mut facts);
            let selection = Selection {
                only: vec!["karpenter".to_owned()],
                ..Selection::default()
            };
            judge(&facts, &selection).verdict
        };
        assert_eq!(of(|_| {}), Verdict::Ready);
        assert_eq!(of(|f| f.traces.events = denied("list events")), Verdict::Ready);
        assert_eq!(
            of(|f| f.traces.claims = denied("list nodeclaims")),
            Verdict::Ready
        );
        assert_eq!(of(|f| claims(f, &[waiting("x")])), Verdict::NotReady);
        assert_eq!(
            of(|f| f.controller.associations = denied("eks:ListPodIdentityAssociations")),
            Verdict::Ready,
            "the annotation alone decides"
        );
        assert_eq!(
            of(|f| f.controller.role = denied("iam:GetRole")),
            Verdict::Undecided
        );
    }
}
