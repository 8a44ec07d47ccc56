//! What a failed launch leaves behind in the cluster.
//!
//! What a missing service-linked role looks like changed with every Karpenter version: a condition that quotes EC2, one
//! that quotes nothing, one with a reason of its own, and since 1.5.0 nothing but Events. So Events are judged by their
//! text whatever their reason, and conditions by text and reason. Events live for about an hour: that there are none
//! proves nothing, and the folds below say how far back they could see.
//!
//! Lists of Events, NodeClaims and Nodes may be long; each is folded one item at a time and keeps a bounded amount.
//!
//! Sources: aws/karpenter-provider-aws `pkg/errors/errors.go` (`ToReasonMessage`), `pkg/providers/instance`, PR 7998;
//! kubernetes-sigs/karpenter `pkg/controllers/nodeclaim/lifecycle`.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json::BrokenObject;
use super::objects::{
    ComputeType, Condition, ConditionStatus, Event, KarpenterNode, NodeClaim, NodePool, ObjectRef,
    keep_message,
};
use super::requirements::{CapacityType, SpotVerdict, spot_verdict};

/// How many traces of each cause are kept as evidence. All are counted.
pub const KEPT_TRACES: usize = 20;
/// How many broken items of each list are kept. All are counted.
pub const KEPT_BROKEN: usize = 5;
/// How long an instance may take to join before that is worth a word. Karpenter itself gives up after 15 minutes.
pub const JOIN_GRACE: SignedDuration = SignedDuration::from_mins(5);

/// Why a launch failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The account has no `AWSServiceRoleForEC2Spot` and the controller may not create it.
    SpotRoleMissing,
    /// The account's quota of spot vCPUs is used up. Karpenter falls back as silently as for the role.
    SpotQuotaReached,
    /// EC2 or IAM refused the controller something else.
    NotAuthorized,
    /// A launch failed and the text does not tell why. Karpenter 1.1 leaves only this for a missing role.
    LaunchFailed,
}

/// Where a trace was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum TraceSource {
    /// In an Event.
    Event {
        /// Its namespace.
        namespace: String,
        /// Its reason, often empty.
        reason: String,
    },
    /// In a condition.
    Condition {
        /// Its type, as in `Launched`.
        condition: String,
        /// Its status.
        status: ConditionStatus,
        /// Its reason.
        reason: String,
    },
}

/// One thing seen that tells of a failed launch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    /// What it tells of.
    pub cause: Cause,
    /// The object it is about.
    pub about: ObjectRef,
    /// Where it was seen.
    pub source: TraceSource,
    /// The text, shortened to about a kilobyte.
    pub message: String,
    /// When it was first seen, if that is known.
    pub first_seen: Option<Timestamp>,
    /// When it was last seen, if that is known.
    pub last_seen: Option<Timestamp>,
    /// How many times, at least 1.
    pub count: u64,
}

/// Traces: all counted, the newest of each cause kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Traces {
    /// How many objects or Events told of each cause.
    pub counts: BTreeMap<Cause, u64>,
    /// The newest of each cause, at most [`KEPT_TRACES`] each, newest first.
    pub newest: Vec<Trace>,
}

impl Traces {
    /// Adds one.
    pub fn add(&mut self, trace: Trace) {
        let cause = trace.cause;
        *self.counts.entry(cause).or_default() += 1;
        let at = self
            .newest
            .partition_point(|kept| kept.last_seen >= trace.last_seen);
        self.newest.insert(at, trace);
        if self.newest.iter().filter(|kept| kept.cause == cause).count() > KEPT_TRACES
            && let Some(oldest) = self.newest.iter().rposition(|kept| kept.cause == cause)
        {
            self.newest.remove(oldest);
        }
    }

    /// Adds all of another list.
    pub fn merge(&mut self, other: Self) {
        let mut counts = other.counts;
        for trace in other.newest {
            if let Some(count) = counts.get_mut(&trace.cause) {
                *count = count.saturating_sub(1);
            }
            self.add(trace);
        }
        for (cause, count) in counts {
            if count > 0 {
                *self.counts.entry(cause).or_default() += count;
            }
        }
    }

    /// How many told of `cause`.
    pub fn count(&self, cause: Cause) -> u64 {
        self.counts.get(&cause).copied().unwrap_or(0)
    }

    /// The kept ones of `cause`, newest first.
    pub fn of(&self, cause: Cause) -> impl Iterator<Item = &Trace> {
        self.newest.iter().filter(move |trace| trace.cause == cause)
    }
}

/// Items that could not be read: counted, a few kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Broken {
    /// How many.
    pub count: u64,
    /// The first [`KEPT_BROKEN`] of them.
    pub first: Vec<BrokenObject>,
}

impl Broken {
    fn add(&mut self, broken: BrokenObject) {
        self.count += 1;
        if self.first.len() < KEPT_BROKEN {
            self.first.push(broken);
        }
    }
}

/// What a reason and a text tell of, whoever wrote them. `None`: nothing about launches.
///
/// The text decides before the reason, because only old versions quote EC2 and only new ones have reasons.
pub fn cause_of(reason: &str, message: &str) -> Option<Cause> {
    if message.contains("ServiceLinkedRoleCreationNotPermitted") || reason == "SpotSLRCreationFailed" {
        Some(Cause::SpotRoleMissing)
    } else if message.contains("MaxSpotInstanceCountExceeded") || reason == "SpotQuotaExceeded" {
        Some(Cause::SpotQuotaReached)
    } else if message.contains("UnauthorizedOperation") || reason == "Unauthorized" {
        Some(Cause::NotAuthorized)
    } else {
        None
    }
}

/// What all Events of the cluster tell, read one at a time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventFold {
    /// How many Events were read.
    pub seen: u64,
    /// When the one that was repeated longest ago was last seen: how far back this view reaches.
    pub oldest: Option<Timestamp>,
    /// When the newest was last seen.
    pub newest: Option<Timestamp>,
    /// What they tell of.
    pub traces: Traces,
    /// Items that were no Events.
    pub broken: Broken,
}

impl EventFold {
    /// Reads one item of a list of Events.
    pub fn add_json(&mut self, item: &Value) {
        match Event::from_json(item) {
            Ok(event) => self.add(event),
            Err(broken) => self.broken.add(broken),
        }
    }

    /// Takes one Event.
    pub fn add(&mut self, event: Event) {
        self.seen += 1;
        if let Some(at) = event.last_seen.or(event.first_seen) {
            self.oldest = Some(self.oldest.map_or(at, |oldest| oldest.min(at)));
            self.newest = Some(self.newest.map_or(at, |newest| newest.max(at)));
        }
        let Some(cause) = cause_of(&event.reason, &event.message) else {
            return;
        };
        // Anything may say "Unauthorized"; only about Karpenter's own objects does it tell of a launch.
        let about_karpenter = matches!(
            event.about.kind.as_str(),
            "NodeClaim" | "NodePool" | "EC2NodeClass" | "Machine"
        );
        if cause == Cause::NotAuthorized && !about_karpenter {
            return;
        }
        self.traces.add(Trace {
            cause,
            about: event.about,
            source: TraceSource::Event {
                namespace: event.namespace,
                reason: event.reason,
            },
            message: keep_message(&event.message),
            first_seen: event.first_seen,
            last_seen: event.last_seen,
            count: event.count,
        });
    }
}

fn condition_trace(cause: Cause, about: ObjectRef, condition: &Condition) -> Trace {
    Trace {
        cause,
        about,
        source: TraceSource::Condition {
            condition: condition.kind.clone(),
            status: condition.status,
            reason: condition.reason.clone(),
        },
        message: condition.message.clone(),
        first_seen: condition.last_transition,
        last_seen: condition.last_transition,
        count: 1,
    }
}

/// An instance that was launched and has not joined the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unregistered {
    /// The NodeClaim.
    pub name: String,
    /// Its pool.
    pub node_pool: Option<String>,
    /// Its node class: by its role the mapping problem can be found.
    pub node_class: Option<String>,
    /// The instance, `aws:///ZONE/i-...`.
    pub provider_id: Option<String>,
    /// Since when it is launched (else: made).
    pub since: Option<Timestamp>,
    /// For how many seconds, at the time given to the fold.
    pub waiting_seconds: Option<i64>,
    /// The reason of `Registered`, as in `NodeNotFound`.
    pub reason: String,
    /// Its message.
    pub message: String,
}

/// What all NodeClaims tell, read one at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimFold {
    /// The time that ages are relative to.
    pub now: Timestamp,
    /// How many NodeClaims were read.
    pub seen: u64,
    /// How many are launched.
    pub launched: u64,
    /// How many have joined.
    pub registered: u64,
    /// How many are launched and younger than [`JOIN_GRACE`]: not joined yet, which is as it should be.
    pub joining: u64,
    /// How many should have joined and have not.
    pub unregistered: u64,
    /// Those that have waited longest, at most [`KEPT_TRACES`], longest first.
    pub longest_unregistered: Vec<Unregistered>,
    /// What their conditions tell of.
    pub traces: Traces,
    /// Items that were no NodeClaims.
    pub broken: Broken,
}

impl ClaimFold {
    /// Begins; ages are relative to `now`.
    pub fn new(now: Timestamp) -> Self {
        Self {
            now,
            seen: 0,
            launched: 0,
            registered: 0,
            joining: 0,
            unregistered: 0,
            longest_unregistered: Vec::new(),
            traces: Traces::default(),
            broken: Broken::default(),
        }
    }

    /// Reads one item of a list of NodeClaims.
    pub fn add_json(&mut self, item: &Value) {
        match NodeClaim::from_json(item) {
            Ok(claim) => self.add(&claim),
            Err(broken) => self.broken.add(broken),
        }
    }

    /// Takes one NodeClaim.
    pub fn add(&mut self, claim: &NodeClaim) {
        self.seen += 1;
        self.add_trace(claim);
        let is = |kind: &str, status| {
            claim
                .condition(kind)
                .is_some_and(|condition| condition.status == status)
        };
        // v1beta1 before 0.37 has no `Launched` on old claims; an instance there is proves the same.
        let launched = is("Launched", ConditionStatus::True) || claim.provider_id.is_some();
        if launched {
            self.launched += 1;
        }
        if is("Registered", ConditionStatus::True) || claim.node_name.is_some() {
            self.registered += 1;
            return;
        }
        if !launched {
            return;
        }
        let since = claim
            .condition("Launched")
            .filter(|condition| condition.status == ConditionStatus::True)
            .and_then(|condition| condition.last_transition)
            .or(claim.created);
        let waiting = since.map(|since| self.now.duration_since(since));
        if waiting.is_some_and(|waiting| waiting < JOIN_GRACE) {
            self.joining += 1;
            return;
        }
        self.unregistered += 1;
        let condition = claim.condition("Registered");
        let at = self
            .longest_unregistered
            .partition_point(|kept| match (kept.since, since) {
                (Some(kept), Some(since)) => kept <= since,
                (kept, _) => kept.is_some(),
            });
        if at < KEPT_TRACES {
            self.longest_unregistered.insert(
                at,
                Unregistered {
                    name: claim.name.clone(),
                    node_pool: claim.node_pool.clone(),
                    node_class: claim.node_class.clone(),
                    provider_id: claim.provider_id.clone(),
                    since,
                    waiting_seconds: waiting.map(|waiting| waiting.as_secs()),
                    reason: condition
                        .map(|condition| condition.reason.clone())
                        .unwrap_or_default(),
                    message: condition
                        .map(|condition| condition.message.clone())
                        .unwrap_or_default(),
                },
            );
            self.longest_unregistered.truncate(KEPT_TRACES);
        }
    }

    fn add_trace(&mut self, claim: &NodeClaim) {
        // One claim counts once, with the condition that tells most.
        let told = claim
            .conditions
            .iter()
            .filter(|condition| condition.status != ConditionStatus::True)
            .filter_map(|condition| {
                let failed = condition.kind == "Launched" && condition.reason == "LaunchFailed";
                let cause = cause_of(&condition.reason, &condition.message)
                    .or_else(|| failed.then_some(Cause::LaunchFailed))?;
                Some((cause, condition))
            })
            .min_by_key(|(cause, _)| *cause);
        if let Some((cause, condition)) = told {
            let about = ObjectRef {
                kind: "NodeClaim".to_owned(),
                namespace: String::new(),
                name: claim.name.clone(),
            };
            self.traces.add(condition_trace(cause, about, condition));
        }
    }
}

/// A pool whose nodes don't join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnhealthyPool {
    /// The pool.
    pub name: String,
    /// Its node class.
    pub node_class: Option<String>,
    /// The reason of `NodeRegistrationHealthy`, as in `RegistrationFailed`.
    pub reason: String,
    /// Its message.
    pub message: String,
    /// Since when.
    pub since: Option<Timestamp>,
}

/// What the conditions of the pools tell: traces of failed launches, and the pools with
/// `NodeRegistrationHealthy=False` (Karpenter 1.4 and later) for any other reason.
pub fn pool_traces<'a>(pools: impl IntoIterator<Item = &'a NodePool>) -> (Traces, Vec<UnhealthyPool>) {
    let mut traces = Traces::default();
    let mut unhealthy = Vec::new();
    for pool in pools {
        let about = || ObjectRef {
            kind: pool.kind().to_owned(),
            namespace: String::new(),
            name: pool.name.clone(),
        };
        let told = pool
            .conditions
            .iter()
            .filter(|condition| condition.status != ConditionStatus::True)
            .filter_map(|condition| Some((cause_of(&condition.reason, &condition.message)?, condition)))
            .min_by_key(|(cause, _)| *cause);
        if let Some((cause, condition)) = told {
            traces.add(condition_trace(cause, about(), condition));
        }
        if let Some(condition) = pool.condition("NodeRegistrationHealthy")
            && condition.status == ConditionStatus::False
            && cause_of(&condition.reason, &condition.message).is_none()
        {
            unhealthy.push(UnhealthyPool {
                name: pool.name.clone(),
                node_class: pool.node_class.as_ref().map(|class| class.name.clone()),
                reason: condition.reason.clone(),
                message: condition.message.clone(),
                since: condition.last_transition,
            });
        }
    }
    (traces, unhealthy)
}

/// The nodes of one pool, by capacity type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolNodes {
    /// Spot instances.
    pub spot: u64,
    /// On-demand instances.
    pub on_demand: u64,
    /// Reserved capacity.
    pub reserved: u64,
    /// Nodes without the label, or with another value.
    pub other: u64,
}

impl PoolNodes {
    /// All of them.
    pub fn total(self) -> u64 {
        self.spot + self.on_demand + self.reserved + self.other
    }
}

/// What all Nodes tell, read one at a time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeFold {
    /// How many Nodes were read.
    pub seen: u64,
    /// Nodes that are EC2 instances (managed, self-managed or Karpenter's): DaemonSets run there.
    pub ec2: u64,
    /// Fargate.
    pub fargate: u64,
    /// EKS Auto Mode.
    pub auto_mode: u64,
    /// Hybrid nodes.
    pub hybrid: u64,
    /// The nodes of each pool.
    pub pools: BTreeMap<String, PoolNodes>,
    /// Items that were no Nodes.
    pub broken: Broken,
}

impl NodeFold {
    /// Reads one item of a list of Nodes.
    pub fn add_json(&mut self, item: &Value) {
        match KarpenterNode::from_json(item) {
            Ok(node) => self.add(node),
            Err(broken) => self.broken.add(broken),
        }
    }

    /// Takes one Node.
    pub fn add(&mut self, node: KarpenterNode) {
        self.seen += 1;
        match node.compute {
            ComputeType::Ec2 => self.ec2 += 1,
            ComputeType::Fargate => self.fargate += 1,
            ComputeType::Auto => self.auto_mode += 1,
            ComputeType::Hybrid => self.hybrid += 1,
            ComputeType::Other => {}
        }
        if let Some(pool) = node.node_pool {
            let nodes = self.pools.entry(pool).or_default();
            match node.capacity_type.as_deref() {
                Some("spot") => nodes.spot += 1,
                Some("on-demand") => nodes.on_demand += 1,
                Some("reserved") => nodes.reserved += 1,
                _ => nodes.other += 1,
            }
        }
    }

    /// Whether the cluster has no node but Fargate's, where no DaemonSet runs. `None`: there is no node at all, so that
    /// can't be told.
    pub fn is_fargate_only(&self) -> Option<bool> {
        (self.seen > 0).then_some(self.fargate == self.seen)
    }
}

/// A pool that may launch spot and runs on on-demand capacity alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OnDemandOnly {
    /// The pool.
    pub pool: String,
    /// How many on-demand nodes it has.
    pub on_demand: u64,
    /// Of how many in all.
    pub total: u64,
}

/// How the pools that may launch spot really run: since Karpenter 1.5 this is the only lasting trace of a missing role.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpotShare {
    /// Pools that may launch spot or on-demand and have nodes.
    pub pools: u64,
    /// All nodes of those pools.
    pub nodes: u64,
    /// How many of these are spot.
    pub spot: u64,
    /// How many are on-demand.
    pub on_demand: u64,
    /// The pools among them without a single spot node, those with the most nodes first.
    pub on_demand_only: Vec<OnDemandOnly>,
}

/// Compares what the pools may launch with what they run. It is evidence, not proof: pods can ask for on-demand, and
/// spot can be short.
pub fn spot_share<'a>(pools: impl IntoIterator<Item = &'a NodePool>, nodes: &NodeFold) -> SpotShare {
    let mut share = SpotShare::default();
    for pool in pools {
        let falls_back = matches!(
            spot_verdict(pool),
            SpotVerdict::CanLaunchSpot { also, .. } if also.contains(&CapacityType::OnDemand)
        );
        let Some(running) = nodes
            .pools
            .get(&pool.name)
            .filter(|running| falls_back && running.total() > 0)
        else {
            continue;
        };
        share.pools += 1;
        share.nodes += running.total();
        share.spot += running.spot;
        share.on_demand += running.on_demand;
        if running.spot == 0 && running.on_demand > 0 {
            share.on_demand_only.push(OnDemandOnly {
                pool: pool.name.clone(),
                on_demand: running.on_demand,
                total: running.total(),
            });
        }
    }
    share
        .on_demand_only
        .sort_by(|a, b| b.on_demand.cmp(&a.on_demand).then_with(|| a.pool.cmp(&b.pool)));
    share
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// EC2's error, word for word.
    const NO_ROLE: &str = "AuthFailure.ServiceLinkedRoleCreationNotPermitted: The provided credentials do not have \
                           permission to create the service-linked role for EC2 Spot Instances.";

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a good time")
    }

    fn event(reason: &str, message: &str, last: &str) -> Value {
        json!({
            "metadata": {"name": "e", "namespace": "default"},
            "involvedObject": {"kind": "NodeClaim", "name": "general-abcde", "namespace": ""},
            "reason": reason, "message": message, "type": "Warning",
            "firstTimestamp": "2025-06-01T10:00:00Z", "lastTimestamp": last, "count": 3
        })
    }

    fn claim(conditions: Value) -> Value {
        json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
            "metadata": {
                "name": "general-abcde", "creationTimestamp": "2025-06-01T10:00:00Z",
                "labels": {"karpenter.sh/nodepool": "general"}
            },
            "spec": {"nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"}},
            "status": {"conditions": conditions}
        })
    }

    fn claims(items: &[Value]) -> ClaimFold {
        let mut fold = ClaimFold::new(at("2025-06-01T10:20:00Z"));
        items.iter().for_each(|item| fold.add_json(item));
        fold
    }

    /// What a missing role leaves on the NodeClaim, by Karpenter version.
    #[test]
    fn missing_role_on_node_claims_of_every_version() {
        let launched = |status: &str, reason: &str, message: &str| {
            json!([{"type": "Launched", "status": status, "reason": reason, "message": message,
                    "lastTransitionTime": "2025-06-01T10:00:05Z"}])
        };
        let slr_message = "User does not hae sufficient permission to create the Spot ServiceLinkedRole to launch \
                           spot instances";
        let cases = [
            (
                "0.32 to 0.37",
                launched("False", "LaunchFailed", &format!("creating instance, {NO_ROLE}")),
                Cause::SpotRoleMissing,
            ),
            (
                "1.0",
                launched("Unknown", "LaunchFailed", NO_ROLE),
                Cause::SpotRoleMissing,
            ),
            (
                "1.1",
                launched("Unknown", "LaunchFailed", "Error creating fleet"),
                Cause::LaunchFailed,
            ),
            (
                "1.2 to 1.4",
                launched("Unknown", "SpotSLRCreationFailed", slr_message),
                Cause::SpotRoleMissing,
            ),
            (
                "quota, 1.2",
                launched(
                    "Unknown",
                    "SpotQuotaExceeded",
                    "A spot instance launch was requested",
                ),
                Cause::SpotQuotaReached,
            ),
            (
                "quota, 1.0",
                launched(
                    "Unknown",
                    "LaunchFailed",
                    "MaxSpotInstanceCountExceeded: Max spot instance count exceeded",
                ),
                Cause::SpotQuotaReached,
            ),
            (
                "denied",
                launched(
                    "Unknown",
                    "Unauthorized",
                    "User is not authorized to perform this operation",
                ),
                Cause::NotAuthorized,
            ),
        ];
        for (version, conditions, expected) in cases {
            let fold = claims(&[claim(conditions)]);
            assert_eq!(fold.traces.counts, BTreeMap::from([(expected, 1)]), "{version}");
            assert_eq!(fold.traces.newest[0].about.name, "general-abcde", "{version}");
            assert_eq!((fold.launched, fold.unregistered), (0, 0), "{version}");
        }
        let fine = launched("True", "Launched", "");
        assert_eq!(claims(&[claim(fine)]).traces, Traces::default());
    }

    #[test]
    fn events_are_judged_by_text_whatever_their_reason() {
        let mut fold = EventFold::default();
        let list = format!("creating instance, with fleet error(s), UnfulfillableCapacity: none; {NO_ROLE}");
        fold.add_json(&event("", NO_ROLE, "2025-06-01T10:05:00Z"));
        fold.add_json(&event("InsufficientCapacityError", &list, "2025-06-01T10:10:00Z"));
        fold.add_json(&event(
            "InsufficientCapacityError",
            "UnfulfillableCapacity: none",
            "2025-06-01T10:11:00Z",
        ));
        fold.add_json(&event(
            "Scheduled",
            "Successfully assigned default/web to node",
            "2025-06-01T09:40:00Z",
        ));
        fold.add_json(&event(
            "",
            "MaxSpotInstanceCountExceeded: Max spot instance count exceeded",
            "2025-06-01T10:12:00Z",
        ));
        let mut elsewhere = event("Unauthorized", "token expired", "2025-06-01T10:01:00Z");
        elsewhere["involvedObject"]["kind"] = json!("Pod");
        fold.add_json(&elsewhere);
        fold.add_json(&json!({"metadata": {"name": "e"}, "message": 5}));
        assert_eq!(fold.seen, 6);
        assert_eq!(fold.oldest, Some(at("2025-06-01T09:40:00Z")));
        assert_eq!(fold.newest, Some(at("2025-06-01T10:12:00Z")));
        assert_eq!(
            fold.traces.counts,
            BTreeMap::from([(Cause::SpotRoleMissing, 2), (Cause::SpotQuotaReached, 1)])
        );
        let newest: Vec<_> = fold
            .traces
            .of(Cause::SpotRoleMissing)
            .map(|trace| &trace.source)
            .collect();
        assert_eq!(
            newest,
            [
                &TraceSource::Event {
                    namespace: "default".into(),
                    reason: "InsufficientCapacityError".into()
                },
                &TraceSource::Event {
                    namespace: "default".into(),
                    reason: String::new()
                },
            ]
        );
        assert_eq!(fold.broken.count, 1);
        assert_eq!(
            fold.broken.first[0].to_string(),
            "Event e: message is a number, not a string"
        );
    }

    #[test]
    fn events_of_the_newer_api_are_read_too() {
        let mut fold = EventFold::default();
        fold.add_json(&json!({
            "metadata": {"name": "e", "namespace": "default", "creationTimestamp": "2025-06-01T10:00:00Z"},
            "regarding": {"kind": "NodeClaim", "name": "general-abcde"},
            "note": NO_ROLE, "eventTime": "2025-06-01T10:00:00.123456Z",
            "series": {"count": 7, "lastObservedTime": "2025-06-01T10:30:00.000000Z"}
        }));
        let trace = &fold.traces.newest[0];
        assert_eq!(
            (trace.cause, trace.count, trace.about.name.as_str()),
            (Cause::SpotRoleMissing, 7, "general-abcde")
        );
        assert_eq!(trace.last_seen, Some(at("2025-06-01T10:30:00Z")));
        assert_eq!(trace.first_seen, Some(at("2025-06-01T10:00:00.123456Z")));
    }

    #[test]
    fn the_deciding_words_survive_shortening() {
        let long = format!(
            "{}{NO_ROLE}{}",
            "fleet error; ".repeat(5_000),
            "more; ".repeat(5_000)
        );
        let mut fold = EventFold::default();
        fold.add_json(&event("", &long, "2025-06-01T10:00:00Z"));
        let kept = &fold.traces.newest[0].message;
        assert!(kept.len() < 1_200, "{} bytes", kept.len());
        assert!(
            kept.contains("ServiceLinkedRoleCreationNotPermitted: The provided credentials"),
            "{kept}"
        );
        // The same for a condition, which is judged after it was shortened.
        let conditions =
            json!([{"type": "Launched", "status": "Unknown", "reason": "LaunchFailed", "message": long}]);
        assert_eq!(
            claims(&[claim(conditions)]).traces.count(Cause::SpotRoleMissing),
            1
        );
    }

    #[test]
    fn instances_that_do_not_join() {
        let conditions = |launched_at: &str, registered: &str| {
            json!([
                {"type": "Launched", "status": "True", "reason": "Launched", "message": "", "lastTransitionTime": launched_at},
                {"type": "Registered", "status": registered, "reason": "NodeNotFound",
                 "message": "Node not registered with cluster", "lastTransitionTime": launched_at},
            ])
        };
        let fold = claims(&[
            claim(conditions("2025-06-01T10:08:00Z", "Unknown")),
            claim(conditions("2025-06-01T10:16:00Z", "Unknown")),
            claim(conditions("2025-06-01T10:06:00Z", "Unknown")),
            claim(conditions("2025-06-01T10:00:00Z", "True")),
            claim(json!([])),
        ]);
        assert_eq!(
            (
                fold.seen,
                fold.launched,
                fold.registered,
                fold.joining,
                fold.unregistered
            ),
            (5, 4, 1, 1, 2)
        );
        let waiting: Vec<_> = fold
            .longest_unregistered
            .iter()
            .map(|one| one.waiting_seconds)
            .collect();
        assert_eq!(waiting, [Some(14 * 60), Some(12 * 60)]);
        let one = &fold.longest_unregistered[0];
        assert_eq!(
            (one.reason.as_str(), one.node_class.as_deref()),
            ("NodeNotFound", Some("default"))
        );
        assert_eq!(fold.traces, Traces::default());
    }

    fn pool(name: &str, requirements: Value, conditions: Value) -> NodePool {
        let item = json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": name},
            "spec": {"template": {"spec": {
                "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"},
                "requirements": requirements}}},
            "status": {"conditions": conditions}
        });
        NodePool::from_json(&item, None).expect("a good pool")
    }

    #[test]
    fn conditions_of_pools() {
        let unhealthy = |reason: &str, message: &str| json!([{"type": "NodeRegistrationHealthy", "status": "False", "reason": reason, "message": message}]);
        let pools = [
            pool(
                "fine",
                json!([]),
                json!([{"type": "NodeRegistrationHealthy", "status": "True", "reason": "NodeRegistrationHealthy"}]),
            ),
            pool(
                "new",
                json!([]),
                json!([{"type": "NodeRegistrationHealthy", "status": "Unknown", "reason": "AwaitingReconciliation"}]),
            ),
            pool("no-role", json!([]), unhealthy("SpotSLRCreationFailed", "")),
            pool(
                "no-join",
                json!([]),
                unhealthy("RegistrationFailed", "Failed to register node"),
            ),
        ];
        let (traces, unhealthy) = pool_traces(&pools);
        assert_eq!(traces.counts, BTreeMap::from([(Cause::SpotRoleMissing, 1)]));
        assert_eq!(traces.newest[0].about.name, "no-role");
        assert_eq!(unhealthy.len(), 1);
        assert_eq!(
            (unhealthy[0].name.as_str(), unhealthy[0].reason.as_str()),
            ("no-join", "RegistrationFailed")
        );
    }

    #[test]
    fn how_many_of_how_many() {
        let node = |pool: &str, capacity: &str| json!({"metadata": {"name": "n", "labels": {"karpenter.sh/nodepool": pool, "karpenter.sh/capacity-type": capacity}}});
        let mut nodes = NodeFold::default();
        for (pool, capacity, count) in [
            ("mixed", "on-demand", 5),
            ("good", "spot", 2),
            ("good", "on-demand", 1),
            ("plain", "on-demand", 9),
        ] {
            for _ in 0..count {
                nodes.add_json(&node(pool, capacity));
            }
        }
        nodes.add_json(
            &json!({"metadata": {"name": "f", "labels": {"eks.amazonaws.com/compute-type": "fargate"}}}),
        );
        let only =
            |value: &str| json!([{"key": "karpenter.sh/capacity-type", "operator": "In", "values": [value]}]);
        let pools = [
            pool("mixed", json!([]), json!([])),
            pool("good", json!([]), json!([])),
            pool("plain", only("on-demand"), json!([])),
            pool("empty", json!([]), json!([])),
            pool("must", only("spot"), json!([])),
        ];
        let share = spot_share(&pools, &nodes);
        assert_eq!(
            share,
            SpotShare {
                pools: 2,
                nodes: 8,
                spot: 2,
                on_demand: 6,
                on_demand_only: vec![OnDemandOnly {
                    pool: "mixed".into(),
                    on_demand: 5,
                    total: 5
                }],
            }
        );
        assert_eq!(
            (nodes.seen, nodes.ec2, nodes.fargate, nodes.is_fargate_only()),
            (18, 17, 1, Some(false))
        );
        assert_eq!(NodeFold::default().is_fargate_only(), None);
    }

    #[test]
    fn folds_can_be_saved_and_loaded() {
        let mut fold = EventFold::default();
        fold.add_json(&event("", NO_ROLE, "2025-06-01T10:05:00Z"));
        let text = serde_json::to_string(&fold).expect("serializes");
        assert_eq!(
            serde_json::from_str::<EventFold>(&text).expect("deserializes"),
            fold
        );
        let fold = claims(&[claim(
            json!([{"type": "Launched", "status": "Unknown", "reason": "LaunchFailed", "message": NO_ROLE}]),
        )]);
        let text = serde_json::to_string(&fold).expect("serializes");
        assert_eq!(
            serde_json::from_str::<ClaimFold>(&text).expect("deserializes"),
            fold
        );
    }

    proptest! {
        /// However many there are: all are counted, a bounded number is kept, and these are the newest.
        #[test]
        fn memory_is_bounded_and_the_newest_are_kept(seconds in proptest::collection::vec(0i64..10_000, 0..200)) {
            let mut fold = EventFold::default();
            for second in &seconds {
                let time = Timestamp::from_second(*second).expect("in range");
                fold.add_json(&event("", NO_ROLE, &time.to_string()));
            }
            prop_assert_eq!(fold.traces.count(Cause::SpotRoleMissing), seconds.len() as u64);
            let kept: Vec<i64> =
                fold.traces.newest.iter().filter_map(|trace| trace.last_seen).map(Timestamp::as_second).collect();
            let mut expected = seconds.clone();
            expected.sort_by(|a, b| b.cmp(a));
            expected.truncate(KEPT_TRACES);
            prop_assert_eq!(kept, expected);
            prop_assert_eq!(fold.oldest.map(Timestamp::as_second), seconds.iter().copied().min());
        }

        /// Whatever JSON comes, it is counted as read or as broken, and nothing panics.
        #[test]
        fn nothing_is_dropped(items in proptest::collection::vec(any_json(), 0..10)) {
            let mut events = EventFold::default();
            let mut nodes = NodeFold::default();
            let mut fold = ClaimFold::new(at("2025-06-01T10:20:00Z"));
            for item in &items {
                events.add_json(item);
                nodes.add_json(item);
                fold.add_json(item);
            }
            let all = items.len() as u64;
            prop_assert_eq!(events.seen + events.broken.count, all);
            prop_assert_eq!(nodes.seen + nodes.broken.count, all);
            prop_assert_eq!(fold.seen + fold.broken.count, all);
        }
    }

    /// JSON of any shape, with the field names that are read.
    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-zA-Z0-9:-]{0,12}".prop_map(Value::from),
            Just(json!("2025-06-01T10:00:00Z")),
            Just(json!("True")),
        ];
        leaf.prop_recursive(5, 40, 6, |inner| {
            let key = proptest::sample::select(vec![
                "metadata",
                "name",
                "labels",
                "status",
                "conditions",
                "type",
                "status",
                "reason",
                "message",
                "spec",
                "involvedObject",
                "regarding",
                "kind",
                "namespace",
                "count",
                "lastTimestamp",
                "series",
            ]);
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((key, inner), 0..6).prop_map(|pairs| pairs
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect()),
            ]
        })
    }
}
