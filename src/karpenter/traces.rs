//! What a failed launch leaves behind in the cluster.
//!
//! What a missing service-linked role looks like changed with every Karpenter version: a condition that quotes EC2, one
//! that quotes nothing, one with a reason of its own, and since 1.5.0 nothing but Events. So Events are judged by their
//! text whatever their reason, and a NodeClaim whose `Launched` is not True for any reason but the initial one *is* a failed
//! launch, whatever the reason is called. Events live for about an hour: that there are none proves nothing, and the folds below say
//! how far back they could see.
//!
//! Lists of Events, NodeClaims and Nodes may be long; each is folded one item at a time and keeps a bounded amount.
//!
//! Sources: aws/karpenter-provider-aws `pkg/errors/errors.go` (`ToReasonMessage`), `pkg/providers/instance`, PR 7998;
//! kubernetes-sigs/karpenter `pkg/controllers/nodeclaim/lifecycle`.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json::BrokenObject;
use super::objects::{
    Condition, ConditionStatus, Event, NodeClaim, NodePool, ObjectRef, compute_type, keep_message,
    launched_as,
};
use super::requirements::ValueSet;

/// How many traces of each cause are kept as evidence. All are counted.
pub const KEPT_TRACES: usize = 20;
/// How many broken items of each list are kept. All are counted.
pub const KEPT_BROKEN: usize = 5;
/// How many names of NodeClaims are kept of each cause, so that a claim which several sources tell of counts once.
const KEPT_NAMES: usize = 1000;
/// How long an instance may take to join before that is worth a word.
pub const JOIN_GRACE: SignedDuration = SignedDuration::from_mins(5);
/// When Karpenter gives up on it and launches another one (`liveness.go`).
pub const JOIN_TIMEOUT: SignedDuration = SignedDuration::from_mins(15);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The account has no `AWSServiceRoleForEC2Spot` and the controller may not create it.
    SpotRoleMissing,
    /// The account's quota of Spot vCPUs is used up.
    SpotQuotaReached,
    /// The AMI does not exist, or its owner does not share it.
    Ami,
    /// EC2 or IAM refused the controller something else.
    NotAuthorized,
    KmsKey,
    /// Security groups and subnets of different VPCs, or no subnet.
    Network,
    /// The subnets have no addresses left.
    FreeAddresses,
    InstanceProfile,
    /// The launch template does not exist any more.
    LaunchTemplate,
    UserData,
    /// The account is not verified for this region yet.
    AccountVerification,
    /// The account may only use instance types of the free tier.
    FreeTier,
    /// The quota of fleets is used up.
    FleetQuota,
    /// The quota of on-demand vCPUs is used up.
    VcpuQuota,
    /// EC2 asked to slow down.
    RequestLimit,
    InternalError,
    /// The node class was missing or not ready.
    NodeClass,
    /// EC2 had no such instance just then.
    NoCapacity,
    /// A launch failed and the text does not tell why. Karpenter 1.1 leaves only this for a missing role.
    LaunchFailed,
}

/// A cause, Karpenter's reasons for it, and the texts that tell of it.
type CauseRow = (Cause, &'static [&'static str], &'static [&'static str]);

/// What tells of each cause, in the order in which Karpenter itself looks. Texts are looked for first: only old versions quote
/// EC2, and only new ones have reasons.
const CAUSES: &[CauseRow] = &[
    (
        Cause::SpotRoleMissing,
        &["SpotSLRCreationFailed"],
        &["ServiceLinkedRoleCreationNotPermitted"],
    ),
    (
        Cause::Ami,
        &["AMIAuthorizationFailure", "InvalidAMIID", "AMINotFound"],
        &["Not authorized for images", "InvalidAMIID."],
    ),
    (Cause::KmsKey, &[], &["InvalidKMSKey", "KMS key", "KMSKey"]),
    (
        Cause::NotAuthorized,
        &["Unauthorized"],
        &["UnauthorizedOperation", "AccessDenied", "AuthFailure"],
    ),
    (
        Cause::Network,
        &["SecurityGroupSubnetVPCMismatch", "SubnetResolutionFailed"],
        &["belong to different networks"],
    ),
    (
        Cause::InstanceProfile,
        &["InstanceProfileNameInvalid"],
        &[
            "iamInstanceProfile.name is invalid",
            "Invalid IAM Instance Profile name",
        ],
    ),
    (
        Cause::LaunchTemplate,
        &["LaunchTemplateNotFound"],
        &[
            "InvalidLaunchTemplateId.NotFound",
            "InvalidLaunchTemplateName.NotFound",
        ],
    ),
    (
        Cause::UserData,
        &["UserDataSizeLimitExceeded"],
        &["User data is limited to"],
    ),
    (
        Cause::RequestLimit,
        &["RequestLimitExceeded"],
        &["RequestLimitExceeded"],
    ),
    (Cause::InternalError, &["InternalError"], &["InternalError"]),
    (
        Cause::FreeTier,
        &["FreeTierIneligible"],
        &["not eligible for Free Tier"],
    ),
    (
        Cause::FleetQuota,
        &["FleetQuotaExceeded"],
        &["MaxFleetCountExceeded"],
    ),
    (
        Cause::AccountVerification,
        &["AccountPendingVerification"],
        &["PendingVerification"],
    ),
    (
        Cause::SpotQuotaReached,
        &["SpotQuotaExceeded"],
        &["MaxSpotInstanceCountExceeded"],
    ),
    (Cause::VcpuQuota, &["VCPULimitExceeded"], &["VcpuLimitExceeded"]),
    (
        Cause::FreeAddresses,
        &["InsufficientFreeAddressesInSubnet"],
        &["InsufficientFreeAddressesInSubnet"],
    ),
    (
        Cause::NodeClass,
        &["NodeClassResolutionFailed", "NodeClassNotReady"],
        &["Failed resolving NodeClass", "NodeClassNotReady"],
    ),
    (
        Cause::NoCapacity,
        &[
            "InsufficientCapacityError",
            "NoCompatibleInstanceTypes",
            "InstanceTypeResolutionFailed",
        ],
        &[
            "InsufficientInstanceCapacity",
            "UnfulfillableCapacity",
            "SpotMaxPriceTooLow",
            "all requested instance types were unavailable",
        ],
    ),
    (Cause::LaunchFailed, &["LaunchFailed"], &[]),
];

/// Texts that decide; where a message is too long to keep, the part around one of them is kept.
pub(super) fn markers() -> impl Iterator<Item = &'static str> {
    CAUSES.iter().flat_map(|(_, _, texts)| texts.iter().copied())
}

/// What a reason and a text tell of, whoever wrote them. `None`: nothing about launches.
pub fn cause_of(reason: &str, message: &str) -> Option<Cause> {
    let by_text = CAUSES
        .iter()
        .find(|(_, _, texts)| texts.iter().any(|text| message.contains(text)));
    by_text
        .or_else(|| CAUSES.iter().find(|(_, reasons, _)| reasons.contains(&reason)))
        .map(|(cause, _, _)| *cause)
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum TraceSource {
    Event {
        namespace: String,
        reason: String,
    },
    Condition {
        /// Its type, as in `Launched`.
        condition: String,
        status: ConditionStatus,
        reason: String,
    },
    Log {
        pod: String,
    },
}

/// One thing seen that tells of a failed launch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    pub about: ObjectRef,
    pub source: TraceSource,
    /// The text, shortened to about a kilobyte.
    pub message: String,
    /// When it was last seen, if that is known.
    pub last_seen: Option<Timestamp>,
}

/// What tells of one cause.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// The NodeClaims, each once; the first thousand.
    pub claims: BTreeSet<String>,
    /// How many times one more was told of.
    #[serde(default)]
    pub more: u64,
    /// The newest traces, at most [`KEPT_TRACES`], newest first.
    pub newest: Vec<Trace>,
}

impl Told {
    /// How many NodeClaims, at most: those beyond the thousand may be told of twice.
    pub fn count(&self) -> u64 {
        u64::try_from(self.claims.len())
            .unwrap_or(u64::MAX)
            .saturating_add(self.more)
    }

    pub fn last_seen(&self) -> Option<Timestamp> {
        self.newest.iter().filter_map(|trace| trace.last_seen).max()
    }

    fn claim(&mut self, name: String) {
        if self.claims.len() < KEPT_NAMES {
            self.claims.insert(name);
        } else if !self.claims.contains(&name) {
            self.more += 1;
        }
    }

    fn keep(&mut self, trace: Trace) {
        let at = self
            .newest
            .partition_point(|kept| kept.last_seen >= trace.last_seen);
        self.newest.insert(at, trace);
        self.newest.truncate(KEPT_TRACES);
    }
}

/// What tells of failed launches, by cause.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Traces(pub BTreeMap<Cause, Told>);

impl Traces {
    pub fn add(&mut self, cause: Cause, trace: Trace) {
        let told = self.0.entry(cause).or_default();
        if matches!(trace.about.kind.as_str(), "NodeClaim" | "Machine") {
            told.claim(trace.about.name.clone());
        }
        told.keep(trace);
    }

    pub fn merge(&mut self, other: &Self) {
        for (cause, others) in &other.0 {
            let told = self.0.entry(*cause).or_default();
            others.claims.iter().cloned().for_each(|claim| told.claim(claim));
            told.more += others.more;
            others.newest.iter().cloned().for_each(|trace| told.keep(trace));
        }
    }

    pub fn of(&self, cause: Cause) -> Option<&Told> {
        self.0.get(&cause)
    }
}

/// Items that could not be read: counted, a few kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Broken {
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

/// What the Events that are not `Normal` tell, read one at a time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventFold {
    pub seen: u64,
    /// When the one that was repeated longest ago was last seen: how far back this view reaches.
    pub oldest: Option<Timestamp>,
    pub traces: Traces,
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

    pub fn add(&mut self, event: Event) {
        self.seen += 1;
        if let Some(at) = event.last_seen.or(event.first_seen) {
            self.oldest = Some(self.oldest.map_or(at, |oldest| oldest.min(at)));
        }
        // Anything may say "Unauthorized": only about Karpenter's own objects does a text tell of a launch. What EC2 says about the
        // role and the quota is its own word wherever it stands.
        let about_karpenter = matches!(event.about.kind.as_str(), "NodeClaim" | "NodePool" | "Machine");
        let Some(cause) = cause_of(&event.reason, &event.message).filter(|cause| {
            about_karpenter || matches!(cause, Cause::SpotRoleMissing | Cause::SpotQuotaReached)
        }) else {
            return;
        };
        let trace = Trace {
            about: event.about,
            source: TraceSource::Event {
                namespace: event.namespace,
                reason: event.reason,
            },
            message: keep_message(&event.message),
            last_seen: event.last_seen.or(event.first_seen),
        };
        self.traces.add(cause, trace);
    }
}

/// What the `Normal` Events about NodeClaims tell: which of them never had a node. A claim that never joins is deleted after 15
/// minutes, and this is all that is left of it.
#[derive(Debug, Clone, Default)]
pub struct JoinFold {
    /// Claims without a node, with when that was first and last said.
    without_node: BTreeMap<String, (Timestamp, Timestamp)>,
    joined: HashSet<String>,
}

impl JoinFold {
    /// Most claims that are remembered.
    const MOST: usize = 20_000;

    /// Reads one item of a list of Events.
    pub fn add_json(&mut self, item: &Value) {
        let Ok(event) = Event::from_json(item) else { return };
        let (Some(first), Some(last)) = (event.first_seen, event.last_seen) else {
            return;
        };
        let name = event.about.name;
        if event.reason == "DisruptionBlocked"
            && event
                .message
                .to_ascii_lowercase()
                .contains("does not have an associated node")
        {
            if self.without_node.len() < Self::MOST {
                let times = self.without_node.entry(name).or_insert((first, last));
                *times = (times.0.min(first), times.1.max(last));
            }
        } else if event.reason == "Registered"
            && event.message.contains("-> True")
            && self.joined.len() < Self::MOST
        {
            self.joined.insert(name);
        }
    }

    /// The claims that are gone and never had a node, newest first: those that are there speak for themselves.
    pub fn never_joined(self, there: &HashSet<String>) -> Vec<NeverJoined> {
        let mut gone: Vec<NeverJoined> = self
            .without_node
            .into_iter()
            .filter(|(name, (first, last))| {
                !there.contains(name)
                    && !self.joined.contains(name)
                    // Every claim is without a node for a short while, and versions before 1.1 do not say when that ends.
                    && last.duration_since(*first) >= JOIN_GRACE
            })
            .map(|(claim, (_, last_seen))| NeverJoined { claim, last_seen })
            .collect();
        gone.sort_by_key(|one| std::cmp::Reverse(one.last_seen));
        gone.truncate(KEPT_NAMES);
        gone
    }
}

/// A NodeClaim that is gone and never had a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NeverJoined {
    pub claim: String,
    /// When that was last said.
    pub last_seen: Timestamp,
}

/// What the controller's log tells, line by line. It outlives the Events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogFold {
    pub lines: u64,
    /// How many of these are not JSON, as Karpenter writes it.
    pub not_json: u64,
    /// When the oldest line was written.
    pub oldest: Option<Timestamp>,
    pub traces: Traces,
    /// Claims that were launched, never registered, and deleted after Karpenter's 15 minutes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub never_joined: Vec<NeverJoined>,
}

impl LogFold {
    /// Reads the log of one container, oldest line first.
    pub fn add_text(&mut self, pod: &str, text: &str) {
        /// A claim that is deleted so long after its launch has timed out.
        const TIMED_OUT: SignedDuration = SignedDuration::from_mins(14);
        let mut launched: BTreeMap<String, Timestamp> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            self.lines += 1;
            let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(line) else {
                self.not_json += 1;
                continue;
            };
            let word = |key: &str| fields.get(key).and_then(Value::as_str).unwrap_or_default();
            let at: Option<Timestamp> = word("time").parse().ok();
            self.oldest = self.oldest.into_iter().chain(at).min();
            // Before 0.36 the claim's name was a field of its own.
            let claim = fields
                .get("NodeClaim")
                .and_then(|claim| claim.get("name")?.as_str())
                .or_else(|| fields.get("nodeclaim")?.as_str())
                .unwrap_or_default();
            if claim.is_empty() {
                continue;
            }
            match (word("message"), at) {
                ("launched nodeclaim", Some(at)) => {
                    launched.insert(claim.to_owned(), at);
                }
                ("registered nodeclaim", _) => {
                    launched.remove(claim);
                }
                ("deleted nodeclaim", Some(at)) => {
                    let since = launched.remove(claim);
                    let waited = since.is_some_and(|since| at.duration_since(since) >= TIMED_OUT);
                    self.never_joined
                        .extend(
                            (waited && self.never_joined.len() < KEPT_NAMES).then(|| NeverJoined {
                                claim: claim.to_owned(),
                                last_seen: at,
                            }),
                        );
                }
                _ => {}
            }
            if word("level") != "ERROR" {
                continue;
            }
            if let Some(cause) = cause_of("", word("error")) {
                let trace = Trace {
                    about: ObjectRef {
                        kind: "NodeClaim".to_owned(),
                        namespace: String::new(),
                        name: claim.to_owned(),
                    },
                    source: TraceSource::Log { pod: pod.to_owned() },
                    message: keep_message(word("error")),
                    last_seen: at,
                };
                self.traces.add(cause, trace);
            }
        }
    }
}

fn condition_trace(kind: &str, name: &str, condition: &Condition) -> Trace {
    Trace {
        about: ObjectRef {
            kind: kind.to_owned(),
            namespace: String::new(),
            name: name.to_owned(),
        },
        source: TraceSource::Condition {
            condition: condition.kind.clone(),
            status: condition.status,
            reason: condition.reason.clone(),
        },
        message: condition.message.clone(),
        last_seen: condition.last_transition,
    }
}

/// An instance that was launched and has not joined the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unregistered {
    pub name: String,
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
    pub message: String,
}

/// The claims of one pool that are launched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolClaims {
    pub launched: u64,
    /// Those that are Spot instances.
    pub spot: u64,
    /// Those that could only become on-demand instances. A claim of a pool that admits both has both, unless Spot was refused
    /// before it, or its Pods ask for on-demand.
    pub only_on_demand: u64,
    /// When the newest of these was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_only_on_demand: Option<Timestamp>,
}

/// What all NodeClaims tell, read one at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimFold {
    /// The time that ages are relative to.
    pub now: Timestamp,
    pub seen: u64,
    pub launched: u64,
    pub registered: u64,
    /// How many are launched and younger than [`JOIN_GRACE`]: not joined yet, which is as it should be.
    pub joining: u64,
    /// How many should have joined and have not.
    pub unregistered: u64,
    /// How many of these are older than [`JOIN_TIMEOUT`].
    #[serde(default)]
    pub given_up: u64,
    /// Those that have waited longest, at most [`KEPT_TRACES`], longest first.
    pub longest_unregistered: Vec<Unregistered>,
    /// By pool; at most a thousand pools.
    #[serde(default)]
    pub pools: BTreeMap<String, PoolClaims>,
    pub traces: Traces,
    pub broken: Broken,
    /// The names of all, while other lists are compared with it.
    #[serde(skip)]
    pub names: HashSet<String>,
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
            given_up: 0,
            longest_unregistered: Vec::new(),
            pools: BTreeMap::new(),
            traces: Traces::default(),
            broken: Broken::default(),
            names: HashSet::new(),
        }
    }

    /// Reads one item of a list of NodeClaims.
    pub fn add_json(&mut self, item: &Value) {
        match NodeClaim::from_json(item) {
            Ok(claim) => self.add(&claim),
            Err(broken) => self.broken.add(broken),
        }
    }

    pub fn add(&mut self, claim: &NodeClaim) {
        self.seen += 1;
        self.names.insert(claim.name.clone());
        let is = |kind: &str, status| {
            claim
                .condition(kind)
                .is_some_and(|condition| condition.status == status)
        };
        // v1beta1 before 0.37 has no `Launched` on old claims; an instance there is proves the same.
        let launched = is("Launched", ConditionStatus::True) || claim.provider_id.is_some();
        if !launched {
            self.add_failure(claim);
        } else {
            self.launched += 1;
            self.add_to_pool(claim);
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
        self.given_up += u64::from(waiting.is_none_or(|waiting| waiting >= JOIN_TIMEOUT));
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

    /// A claim that is not launched, and not for the reason that every claim begins with.
    fn add_failure(&mut self, claim: &NodeClaim) {
        // knative's conditions, up to 0.37, begin without a reason.
        const INITIAL: [&str; 2] = ["", "AwaitingReconciliation"];
        let Some(condition) = claim.condition("Launched") else {
            return;
        };
        if condition.status == ConditionStatus::Unknown && INITIAL.contains(&condition.reason.as_str()) {
            return;
        }
        let cause = cause_of(&condition.reason, &condition.message).unwrap_or(Cause::LaunchFailed);
        self.traces
            .add(cause, condition_trace("NodeClaim", &claim.name, condition));
    }

    fn add_to_pool(&mut self, claim: &NodeClaim) {
        const MOST: usize = 1000;
        let Some(pool) = &claim.node_pool else { return };
        if self.pools.len() >= MOST && !self.pools.contains_key(pool) {
            return;
        }
        let of_pool = self.pools.entry(pool.clone()).or_default();
        of_pool.launched += 1;
        of_pool.spot += u64::from(claim.capacity_type.as_deref() == Some("spot"));
        let admitted = claim
            .capacity_types
            .iter()
            .filter_map(|requirement| ValueSet::from_requirement(requirement).ok())
            .fold(ValueSet::any(), |all, one| all.intersection(&one));
        if admitted.has("on-demand") && !admitted.has("spot") {
            of_pool.only_on_demand += 1;
            of_pool.newest_only_on_demand = of_pool.newest_only_on_demand.max(claim.created);
        }
    }
}

/// A pool whose nodes don't join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnhealthyPool {
    pub name: String,
    /// The reason of `NodeRegistrationHealthy`, as in `RegistrationFailed`.
    pub reason: String,
    pub message: String,
    pub since: Option<Timestamp>,
}

/// What `NodeRegistrationHealthy=False` (Karpenter 1.4 and later) tells. Its reason is `RegistrationFailed` where instances did not
/// join, else the reason for which they were not launched.
pub fn pool_traces<'a>(pools: impl IntoIterator<Item = &'a NodePool>) -> (Traces, Vec<UnhealthyPool>) {
    let mut traces = Traces::default();
    let mut unhealthy = Vec::new();
    for pool in pools {
        let Some(condition) = pool
            .condition("NodeRegistrationHealthy")
            .filter(|condition| condition.status == ConditionStatus::False)
        else {
            continue;
        };
        if matches!(condition.reason.as_str(), "" | "RegistrationFailed") {
            unhealthy.push(UnhealthyPool {
                name: pool.name.clone(),
                reason: condition.reason.clone(),
                message: condition.message.clone(),
                since: condition.last_transition,
            });
        } else {
            let cause = cause_of(&condition.reason, &condition.message).unwrap_or(Cause::LaunchFailed);
            traces.add(cause, condition_trace(pool.kind(), &pool.name, condition));
        }
    }
    (traces, unhealthy)
}

/// What runs the nodes, read one at a time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeFold {
    pub seen: u64,
    /// Nodes that are EC2 instances (managed, self-managed or Karpenter's): DaemonSets run there.
    pub ec2: u64,
    pub fargate: u64,
    /// Karpenter's nodes by the pool that made them, of the first [`MOST_NODE_POOLS`] pools.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pools: BTreeMap<String, PoolNodes>,
    pub broken: Broken,
}

/// How the nodes of a pool run, by their label `karpenter.sh/capacity-type`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PoolNodes {
    /// Spot instances.
    pub spot: u64,
    /// On-demand instances.
    pub on_demand: u64,
    /// Instances of a capacity reservation.
    pub reserved: u64,
}

/// More pools than anybody has.
const MOST_NODE_POOLS: usize = 1000;

impl NodeFold {
    /// Reads one item of a list of Nodes.
    pub fn add_json(&mut self, item: &Value) {
        let kind = match compute_type(item) {
            Ok(kind) => kind,
            Err(broken) => return self.broken.add(broken),
        };
        self.seen += 1;
        match kind {
            "" | "ec2" => self.ec2 += 1,
            "fargate" => self.fargate += 1,
            _ => {}
        }
        if let Some((pool, capacity_type)) = launched_as(item)
            && (self.pools.len() < MOST_NODE_POOLS || self.pools.contains_key(pool))
        {
            let nodes = self.pools.entry(pool.to_owned()).or_default();
            match capacity_type {
                "spot" => nodes.spot += 1,
                "on-demand" => nodes.on_demand += 1,
                "reserved" => nodes.reserved += 1,
                _ => {}
            }
        }
    }

    /// Whether the cluster has no node but Fargate's, where no DaemonSet runs. `None`: there is no node at all, so that
    /// is unknown.
    pub fn is_fargate_only(&self) -> Option<bool> {
        (self.seen > 0).then_some(self.fargate == self.seen)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

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

    fn claim(name: &str, conditions: Value) -> Value {
        json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
            "metadata": {
                "name": name, "creationTimestamp": "2025-06-01T10:00:00Z",
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

    fn launched(status: &str, reason: &str, message: &str) -> Value {
        json!([{"type": "Launched", "status": status, "reason": reason, "message": message}])
    }

    /// `CAUSE CLAIMS`, one a line.
    fn counts(traces: &Traces) -> Vec<(Cause, u64)> {
        traces
            .0
            .iter()
            .map(|(cause, told)| (*cause, told.count()))
            .collect()
    }

    /// What a launch that failed leaves on the NodeClaim, by Karpenter version.
    #[test]
    fn a_launch_that_is_not_true_is_a_failed_one() {
        let quoted = format!("creating instance, {NO_ROLE}");
        use Cause::{Ami, FreeAddresses, LaunchFailed, NotAuthorized, SpotQuotaReached, SpotRoleMissing};
        let images = "AuthFailure: Not authorized for images";
        let count = "MaxSpotInstanceCountExceeded: Max";
        let addresses = "InsufficientFreeAddressesInSubnet";
        let waiting = "object is awaiting reconciliation";
        let cases = [
            ("False", "LaunchFailed", &*quoted, Some(SpotRoleMissing)),
            ("Unknown", "LaunchFailed", NO_ROLE, Some(SpotRoleMissing)),
            // 1.1
            (
                "Unknown",
                "LaunchFailed",
                "Error creating fleet",
                Some(LaunchFailed),
            ),
            // 1.2 to 1.4
            (
                "Unknown",
                "SpotSLRCreationFailed",
                "User has not",
                Some(SpotRoleMissing),
            ),
            ("Unknown", "SpotQuotaExceeded", "", Some(SpotQuotaReached)),
            ("Unknown", "LaunchFailed", count, Some(SpotQuotaReached)),
            ("Unknown", "Unauthorized", "User is not", Some(NotAuthorized)),
            ("Unknown", "AMINotFound", "", Some(Ami)),
            ("Unknown", "LaunchFailed", images, Some(Ami)),
            ("Unknown", addresses, "", Some(FreeAddresses)),
            ("False", "OfTheFuture", "nobody knows", Some(LaunchFailed)),
            ("Unknown", "AwaitingReconciliation", waiting, None),
            ("Unknown", "", "", None),
            ("True", "Launched", "", None),
        ];
        for (status, reason, message, expected) in cases {
            let fold = claims(&[claim("a", launched(status, reason, message))]);
            let expected: Vec<_> = expected.into_iter().map(|cause| (cause, 1)).collect();
            assert_eq!(counts(&fold.traces), expected, "{status} {reason} {message}");
        }
    }

    #[test]
    fn events_are_judged_by_text_whatever_their_reason_and_claims_are_counted() {
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
            "Successfully assigned",
            "2025-06-01T09:40:00Z",
        ));
        let mut elsewhere = event("Unauthorized", "token expired", "2025-06-01T10:01:00Z");
        elsewhere["involvedObject"]["kind"] = json!("Pod");
        fold.add_json(&elsewhere);
        // events.k8s.io
        fold.add_json(&json!({
            "metadata": {"name": "e", "namespace": "default", "creationTimestamp": "2025-06-01T10:00:00Z"},
            "regarding": {"kind": "NodeClaim", "name": "general-other"},
            "note": NO_ROLE, "eventTime": "2025-06-01T10:00:00.123456Z",
            "series": {"count": 7, "lastObservedTime": "2025-06-01T10:30:00.000000Z"}
        }));
        fold.add_json(&json!({"metadata": {"name": "e"}, "message": 5}));
        assert_eq!(fold.seen, 6);
        assert_eq!(fold.oldest, Some(at("2025-06-01T09:40:00Z")));
        assert_eq!(
            counts(&fold.traces),
            [(Cause::SpotRoleMissing, 2), (Cause::NoCapacity, 1)]
        );
        let role = fold.traces.of(Cause::SpotRoleMissing).expect("traces");
        assert_eq!(role.last_seen(), Some(at("2025-06-01T10:30:00Z")));
        assert_eq!(
            fold.broken.first[0].to_string(),
            "Event e: message is a number, not a string"
        );
        // Another source that tells of the same claim.
        let mut all = fold.traces.clone();
        all.merge(
            &claims(&[claim(
                "general-abcde",
                launched("Unknown", "SpotSLRCreationFailed", ""),
            )])
            .traces,
        );
        assert_eq!(all.of(Cause::SpotRoleMissing).map(Told::count), Some(2));
        let saved = serde_json::to_string(&all).expect("serializes");
        assert_eq!(serde_json::from_str::<Traces>(&saved).expect("deserializes"), all);
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
        let kept = &fold.traces.of(Cause::SpotRoleMissing).expect("a trace").newest[0].message;
        assert!(
            kept.len() < 1_200 && kept.contains("NotPermitted: The provided credentials"),
            "{kept}"
        );
        // The same for a condition, which is judged after it was shortened.
        let fold = claims(&[claim("a", launched("Unknown", "LaunchFailed", &long))]);
        assert_eq!(counts(&fold.traces), [(Cause::SpotRoleMissing, 1)]);
    }

    #[test]
    fn instances_that_do_not_join() {
        let conditions = |launched_at: &str, registered: &str| {
            json!([
                {"type": "Launched", "status": "True", "reason": "Launched", "lastTransitionTime": launched_at},
                {"type": "Registered", "status": registered, "reason": "NodeNotFound", "lastTransitionTime": launched_at},
            ])
        };
        let fold = claims(&[
            claim("a", conditions("2025-06-01T10:08:00Z", "Unknown")),
            claim("b", conditions("2025-06-01T10:16:00Z", "Unknown")),
            claim("c", conditions("2025-06-01T10:04:00Z", "Unknown")),
            claim("d", conditions("2025-06-01T10:00:00Z", "True")),
            claim("e", json!([])),
        ]);
        assert_eq!((fold.seen, fold.launched, fold.registered), (5, 4, 1));
        assert_eq!((fold.joining, fold.unregistered, fold.given_up), (1, 2, 1));
        let waiting: Vec<_> = fold
            .longest_unregistered
            .iter()
            .map(|one| (one.name.as_str(), one.waiting_seconds))
            .collect();
        assert_eq!(waiting, [("c", Some(16 * 60)), ("a", Some(12 * 60))]);
    }

    #[test]
    fn a_claim_that_is_gone_and_never_had_a_node() {
        let mut fold = JoinFold::default();
        const BLOCKED: &str = "Nodeclaim does not have an associated node";
        const REGISTERED: &str = "Status condition transitioned, Type: Registered, Status: Unknown -> True";
        let disrupted = "DisruptionBlocked";
        for (claim, reason, message, first, last) in [
            ("lost", disrupted, BLOCKED, "10:00", "10:14"),
            ("there", disrupted, BLOCKED, "10:00", "10:14"),
            ("joined", disrupted, BLOCKED, "10:00", "10:14"),
            ("soon", disrupted, BLOCKED, "10:00", "10:02"),
            ("budget", disrupted, "Pdb prevents evictions", "10:00", "10:14"),
            ("joined", "Registered", REGISTERED, "10:00", "10:00"),
        ] {
            let at = |time: &str| format!("2025-06-01T{time}:00Z");
            let mut event = event(reason, message, &at(last));
            event["firstTimestamp"] = json!(at(first));
            event["involvedObject"]["name"] = json!(claim);
            fold.add_json(&event);
        }
        let there = HashSet::from(["there".to_owned()]);
        let expected = NeverJoined {
            claim: "lost".into(),
            last_seen: at("2025-06-01T10:14:00Z"),
        };
        assert_eq!(fold.never_joined(&there), [expected]);
    }

    #[test]
    fn what_a_pool_says_of_its_nodes() {
        let pool = |name: &str, reason: &str| {
            let item = json!({
                "apiVersion": "karpenter.sh/v1", "metadata": {"name": name}, "spec": {"template": {"spec": {}}},
                "status": {"conditions": [
                    {"type": "NodeClassReady", "status": "False", "reason": "Unauthorized"},
                    {"type": "NodeRegistrationHealthy", "status": "False", "reason": reason}]}
            });
            NodePool::from_json(&item, None).expect("a good pool")
        };
        let pools = [
            pool("no-role", "SpotSLRCreationFailed"),
            pool("new", "OfTheFuture"),
            pool("no-join", "RegistrationFailed"),
        ];
        let (traces, unhealthy) = pool_traces(&pools);
        assert_eq!(
            counts(&traces),
            [(Cause::SpotRoleMissing, 0), (Cause::LaunchFailed, 0)]
        );
        assert_eq!(
            unhealthy
                .iter()
                .map(|pool| pool.name.as_str())
                .collect::<Vec<_>>(),
            ["no-join"]
        );
    }

    /// What Karpenter 1.14.3 left behind, as `make record-karpenter` wrote it down.
    #[test]
    fn recorded_worlds() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/karpenter-1.14.3");
        let mut worlds: Vec<String> = std::fs::read_dir(folder)
            .expect("the records")
            .filter_map(|entry| {
                entry
                    .ok()?
                    .file_name()
                    .into_string()
                    .ok()?
                    .strip_suffix(".json")
                    .map(str::to_owned)
            })
            .collect();
        worlds.sort();
        let mut said = String::new();
        for world in worlds {
            let read = |ending: &str| {
                std::fs::read_to_string(format!("{folder}/{world}.{ending}")).expect("a record")
            };
            let record: Value = serde_json::from_str(&read("json")).expect("JSON");
            let now = at(record["recordedAt"].as_str().expect("a time"));
            let (mut events, mut claims, mut log) =
                (EventFold::default(), ClaimFold::new(now), LogFold::default());
            let mut joins = JoinFold::default();
            for object in record["objects"].as_array().expect("objects") {
                match object["kind"].as_str() {
                    Some("Event")
                        if object["type"] == "Normal" && object["involvedObject"]["kind"] == "NodeClaim" =>
                    {
                        joins.add_json(object)
                    }
                    Some("Event") if object["type"] != "Normal" => events.add_json(object),
                    Some("NodeClaim") => claims.add_json(object),
                    _ => {}
                }
            }
            log.add_text("karpenter-0", &read("log"));
            let short = |traces: &Traces| {
                counts(traces)
                    .iter()
                    .map(|(cause, count)| format!("{cause:?} {count}"))
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            writeln!(
                said,
                "{world}\n  events: {}\n  claims: {}; {:?}\n  log: {}; never joined: {}\n  gone: {}",
                short(&events.traces),
                short(&claims.traces),
                claims
                    .pools
                    .iter()
                    .map(|(pool, of)| format!(
                        "{pool}: {} launched, {} Spot, {} only on-demand",
                        of.launched, of.spot, of.only_on_demand
                    ))
                    .collect::<Vec<_>>(),
                short(&log.traces),
                log.never_joined.len(),
                joins.never_joined(&claims.names).len(),
            )
            .expect("a string");
            assert_eq!(
                events.broken.count + claims.broken.count + log.not_json,
                0,
                "{world}"
            );
        }
        insta::assert_snapshot!(said);
    }

    proptest! {
        /// However many there are: all are counted, a bounded number is kept, and these are the newest.
        #[test]
        fn memory_is_bounded_and_the_newest_are_kept(seconds in proptest::collection::vec(0i64..10_000, 1..200)) {
            let mut fold = EventFold::default();
            for (number, second) in seconds.iter().enumerate() {
                let time = Timestamp::from_second(*second).expect("in range");
                let mut event = event("", NO_ROLE, &time.to_string());
                event["involvedObject"]["name"] = json!(format!("claim-{number}"));
                fold.add_json(&event);
            }
            let told = fold.traces.of(Cause::SpotRoleMissing).expect("traces");
            prop_assert_eq!(told.count(), seconds.len() as u64);
            let kept: Vec<i64> = told.newest.iter().filter_map(|trace| trace.last_seen).map(Timestamp::as_second).collect();
            let mut expected = seconds.clone();
            expected.sort_by(|a, b| b.cmp(a));
            expected.truncate(KEPT_TRACES);
            prop_assert_eq!(kept, expected);
            prop_assert_eq!(fold.oldest.map(Timestamp::as_second), seconds.iter().copied().min());
        }

        /// Whatever JSON comes, it is counted as read or as broken, and nothing panics.
        #[test]
        fn nothing_is_dropped(items in proptest::collection::vec(any_json(), 0..10), log in ".{0,200}") {
            let mut events = EventFold::default();
            let mut nodes = NodeFold::default();
            let mut joins = JoinFold::default();
            let mut fold = ClaimFold::new(at("2025-06-01T10:20:00Z"));
            let mut lines = LogFold::default();
            for item in &items {
                events.add_json(item);
                nodes.add_json(item);
                fold.add_json(item);
                joins.add_json(item);
                lines.add_text("pod", &item.to_string());
            }
            lines.add_text("pod", &log);
            joins.never_joined(&fold.names);
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
