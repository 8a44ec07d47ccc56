//! Karpenter's requirement algebra, and whether a pool can launch spot by it.
//!
//! A requirement is a set of label values: a list, the complement of a list, or the integers within bounds. The same
//! key given twice intersects, and a label of the node template counts as a list of one. A key that no requirement
//! mentions admits every value. Values compare as text, case-sensitive; `minValues` does not change what is admitted.
//!
//! Source: kubernetes-sigs/karpenter `pkg/scheduling/requirement.go` and `requirements.go`,
//! `pkg/apis/v1/nodeclaim_validation.go`, and for the defaults of a Provisioner aws/karpenter-provider-aws
//! `pkg/apis/v1alpha5/provisioner.go`.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::json::clip;
use super::objects::{Api, CAPACITY_TYPE_LABEL, NodePool, Requirement};

/// A set of label values, as one or more requirements on one key admit them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueSet {
    /// `values` are the ones left out, not the ones let in.
    complement: bool,
    values: BTreeSet<String>,
    /// Bounds: with either, only integers are admitted. Lists never have them; they are applied to the list.
    at_least: Option<i64>,
    at_most: Option<i64>,
}

/// Why a requirement means nothing. The API server refuses such a pool, so it can only come from a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum RequirementFault {
    /// Not one of the eight operators. They are case-sensitive.
    #[error(
        "{operator:?} is not an operator (In, NotIn, Exists, DoesNotExist, Gt, Lt, Gte, Lte; upper and lower case matter)"
    )]
    UnknownOperator {
        /// What is written.
        operator: String,
    },
    /// `In` without values.
    #[error("In needs at least one value")]
    NoValues,
    /// `Gt`, `Lt`, `Gte`, `Lte` need exactly one integer that is not negative.
    #[error("{operator} needs exactly one integer that is not negative")]
    BadBound {
        /// The operator.
        operator: String,
    },
}

impl ValueSet {
    /// Every value: what an absent requirement means.
    pub fn any() -> Self {
        Self {
            complement: true,
            values: BTreeSet::new(),
            at_least: None,
            at_most: None,
        }
    }

    /// No value at all.
    pub fn nothing() -> Self {
        Self {
            complement: false,
            values: BTreeSet::new(),
            at_least: None,
            at_most: None,
        }
    }

    /// Exactly these values.
    pub fn of<T: Into<String>>(values: impl IntoIterator<Item = T>) -> Self {
        Self {
            values: values.into_iter().map(Into::into).collect(),
            ..Self::nothing()
        }
    }

    /// Every value but these.
    pub fn all_but<T: Into<String>>(values: impl IntoIterator<Item = T>) -> Self {
        Self {
            values: values.into_iter().map(Into::into).collect(),
            ..Self::any()
        }
    }

    fn bounded(at_least: Option<i64>, at_most: Option<i64>) -> Self {
        Self {
            at_least,
            at_most,
            ..Self::any()
        }
    }

    /// What one requirement admits.
    pub fn from_requirement(requirement: &Requirement) -> Result<Self, RequirementFault> {
        let bound = || {
            let one = match requirement.values.as_slice() {
                [one] => one.parse::<i64>().ok().filter(|bound| *bound >= 0),
                _ => None,
            };
            one.ok_or_else(|| RequirementFault::BadBound {
                operator: requirement.operator.clone(),
            })
        };
        let values = || requirement.values.iter().cloned();
        match requirement.operator.as_str() {
            "In" if requirement.values.is_empty() => Err(RequirementFault::NoValues),
            "In" => Ok(Self::of(values())),
            "NotIn" => Ok(Self::all_but(values())),
            "Exists" => Ok(Self::any()),
            "DoesNotExist" => Ok(Self::nothing()),
            "Gte" => Ok(Self::bounded(Some(bound()?), None)),
            "Lte" => Ok(Self::bounded(None, Some(bound()?))),
            // No integer lies above the largest one.
            "Gt" => Ok(bound()?
                .checked_add(1)
                .map_or_else(Self::nothing, |least| Self::bounded(Some(least), None))),
            "Lt" => Ok(Self::bounded(None, Some(bound()?.saturating_sub(1)))),
            other => Err(RequirementFault::UnknownOperator {
                operator: clip(other),
            }),
        }
    }

    /// The values that both admit.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let at_least = self.at_least.into_iter().chain(other.at_least).max();
        let at_most = self.at_most.into_iter().chain(other.at_most).min();
        if let (Some(least), Some(most)) = (at_least, at_most)
            && least > most
        {
            return Self::nothing();
        }
        let complement = self.complement && other.complement;
        let mut values: BTreeSet<String> = match (self.complement, other.complement) {
            (true, true) => &self.values | &other.values,
            (true, false) => &other.values - &self.values,
            (false, true) => &self.values - &other.values,
            (false, false) => &self.values & &other.values,
        };
        if complement {
            return Self {
                complement,
                values,
                at_least,
                at_most,
            };
        }
        values.retain(|value| within(value, at_least, at_most));
        Self {
            complement,
            values,
            at_least: None,
            at_most: None,
        }
    }

    /// Whether `value` is admitted.
    pub fn has(&self, value: &str) -> bool {
        self.values.contains(value) != self.complement && within(value, self.at_least, self.at_most)
    }

    /// The values, where they are a list; `None` where the set is open.
    pub fn listed(&self) -> Option<&BTreeSet<String>> {
        (!self.complement).then_some(&self.values)
    }

    /// Whether nothing is admitted. An open set within bounds counts as not empty, as it does for Karpenter.
    pub fn is_empty(&self) -> bool {
        !self.complement && self.values.is_empty()
    }

    /// The smallest integer that is admitted, if there is one at or above `floor`. Only the bounds and the list count,
    /// not the values left out.
    pub fn smallest_integer(&self, floor: i64) -> Option<i64> {
        match self.listed() {
            Some(values) => values
                .iter()
                .filter_map(|value| value.parse().ok())
                .filter(|n: &i64| *n >= floor)
                .min(),
            None => {
                let least = self.at_least.map_or(floor, |least| least.max(floor));
                self.at_most.is_none_or(|most| least <= most).then_some(least)
            }
        }
    }

    /// Whether an object *without* the label is refused: true for a list and for `Exists`, false for `NotIn` and
    /// `DoesNotExist` (`Requirements.Intersects` in Karpenter).
    pub fn needs_the_label(&self) -> bool {
        match self.complement {
            true => self.values.is_empty(),
            false => !self.values.is_empty(),
        }
    }
}

/// Whether `value` is an integer within the bounds; without bounds everything is.
fn within(value: &str, at_least: Option<i64>, at_most: Option<i64>) -> bool {
    if at_least.is_none() && at_most.is_none() {
        return true;
    }
    value
        .parse::<i64>()
        .is_ok_and(|n| at_least.is_none_or(|least| n >= least) && at_most.is_none_or(|most| n <= most))
}

/// Where a constraint on a label was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The requirement at this index.
    Requirement(usize),
    /// A label of the node template.
    TemplateLabel,
    /// What Karpenter's webhook adds to a v1alpha5 Provisioner that does not mention the key.
    WebhookDefault,
}

/// One constraint of a pool on one label.
struct Constraint {
    origin: Origin,
    requirement: Requirement,
    set: ValueSet,
}

impl Constraint {
    fn named(&self, pool: &NodePool) -> String {
        describe(pool, self.origin, &self.requirement)
    }
}

/// What all of them together admit.
fn merged(constraints: &[Constraint]) -> ValueSet {
    constraints
        .iter()
        .fold(ValueSet::any(), |all, one| all.intersection(&one.set))
}

/// The older names of labels, which Karpenter reads as the newer ones (`NormalizedLabels`).
fn normalized(key: &str) -> &str {
    match key {
        "beta.kubernetes.io/arch" => "kubernetes.io/arch",
        "beta.kubernetes.io/os" => "kubernetes.io/os",
        "beta.kubernetes.io/instance-type" => "node.kubernetes.io/instance-type",
        "failure-domain.beta.kubernetes.io/zone" => "topology.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region" => "topology.kubernetes.io/region",
        other => other,
    }
}

const CATEGORY: &str = "karpenter.k8s.aws/instance-category";
const FAMILY: &str = "karpenter.k8s.aws/instance-family";
const TYPE: &str = "node.kubernetes.io/instance-type";

/// What the webhook adds to a Provisioner for `key`. Only `spec.requirements` count as mentioning a key, labels do not.
fn webhook_default(pool: &NodePool, key: &str) -> Option<Requirement> {
    if pool.api != Api::V1Alpha5 {
        return None;
    }
    let mentions = |key: &str| {
        pool.requirements
            .iter()
            .any(|requirement| normalized(&requirement.key) == key)
    };
    if mentions(key) {
        return None;
    }
    let values: &[&str] = match key {
        CAPACITY_TYPE_LABEL => &["on-demand"],
        "kubernetes.io/arch" => &["amd64"],
        "kubernetes.io/os" => &["linux"],
        CATEGORY if !mentions(FAMILY) && !mentions(TYPE) => &["c", "m", "r"],
        _ => return None,
    };
    Some(Requirement {
        key: key.to_owned(),
        operator: "In".to_owned(),
        values: values.iter().map(|value| (*value).to_owned()).collect(),
        min_values: None,
    })
}

/// Everything that constrains `key` in `pool`, in the order a reader meets it.
fn constraints(
    pool: &NodePool,
    key: &str,
) -> Result<Vec<Constraint>, Box<(Origin, Requirement, RequirementFault)>> {
    let written = pool
        .requirements
        .iter()
        .enumerate()
        .filter(|(_, requirement)| normalized(&requirement.key) == key)
        .map(|(index, requirement)| (Origin::Requirement(index), requirement.clone()));
    let default = webhook_default(pool, key).map(|requirement| (Origin::WebhookDefault, requirement));
    let labels = pool
        .template_labels
        .iter()
        .filter(|(label, _)| normalized(label) == key)
        .map(|(label, value)| {
            let requirement = Requirement {
                key: label.clone(),
                operator: "In".to_owned(),
                values: vec![value.clone()],
                min_values: None,
            };
            (Origin::TemplateLabel, requirement)
        });
    written
        .chain(default)
        .chain(labels)
        .map(
            |(origin, requirement)| match ValueSet::from_requirement(&requirement) {
                Ok(set) => Ok(Constraint {
                    origin,
                    requirement,
                    set,
                }),
                Err(fault) => Err(Box::new((origin, requirement, fault))),
            },
        )
        .collect()
}

/// What the pool admits for `key`: the intersection of its requirements, its template's label and, for a Provisioner,
/// the webhook's default. A requirement that means nothing admits nothing.
pub fn admitted(pool: &NodePool, key: &str) -> ValueSet {
    match constraints(pool, normalized(key)) {
        Ok(list) => merged(&list),
        Err(_) => ValueSet::nothing(),
    }
}

/// The requirements of a pool that mean nothing, each with its path. The API server refuses such a pool.
pub fn faults(pool: &NodePool) -> Vec<(String, RequirementFault)> {
    pool.requirements
        .iter()
        .enumerate()
        .filter_map(|(index, requirement)| {
            let fault = ValueSet::from_requirement(requirement).err()?;
            Some((format!("{} ({requirement})", pool.requirement_path(index)), fault))
        })
        .collect()
}

/// Why an API server would not take this NodePool, or Karpenter would not use it, a sentence each: the rules of the CRD and of
/// Karpenter's validation at run time. A pool in the cluster has passed the first and says the second in its conditions, so this is
/// for files.
pub fn refusals(pool: &NodePool) -> Vec<String> {
    const MOST_REQUIREMENTS: usize = 100;
    let mut refused: Vec<String> = faults(pool)
        .into_iter()
        .map(|(place, fault)| format!("{place}: {fault}"))
        .collect();
    if pool.requirements.len() > MOST_REQUIREMENTS {
        refused.push(format!(
            "{} requirements; at most {MOST_REQUIREMENTS} are taken",
            pool.requirements.len()
        ));
    }
    for (index, requirement) in pool.requirements.iter().enumerate() {
        let place = || format!("{} ({requirement})", pool.requirement_path(index));
        if let Some(why) = refused_label(&requirement.key) {
            refused.push(format!("{}: {why}", place()));
        }
        if let Some(value) = requirement.values.iter().find(|value| !is_label_value(value)) {
            refused.push(format!("{}: {:?} is not a label value", place(), clip(value)));
        }
        if requirement.operator == "In" && !requirement.values.is_empty() && counted(pool, requirement) == 0 {
            refused.push(format!(
                "{}: none of the values is one that Karpenter knows",
                place()
            ));
        }
        match requirement.min_values {
            Some(least) if !(1..=50).contains(&least) => {
                refused.push(format!("{}: minValues is {least}, not between 1 and 50", place()));
            }
            Some(least)
                if requirement.operator == "In"
                    && counted(pool, requirement) < usize::try_from(least).unwrap_or(0) =>
            {
                refused.push(format!(
                    "{}: minValues is {least}, and there are fewer values",
                    place()
                ));
            }
            _ => {}
        }
    }
    for (key, value) in &pool.template_labels {
        let why = match refused_label(key) {
            None if !is_label_value(value) => Some("it is not a label value".to_owned()),
            why => why,
        };
        if let Some(why) = why {
            refused.push(format!(
                "{} ({}: {}): {why}",
                pool.labels_path(),
                clip(key),
                clip(value)
            ));
        }
    }
    if pool.api == Api::V1
        && pool
            .node_class
            .as_ref()
            .is_none_or(|class| class.group.is_empty())
    {
        refused.push("spec.template.spec.nodeClassRef needs a group, a kind and a name".to_owned());
    }
    if let Some(weight) = pool.weight.filter(|weight| !(1..=100).contains(weight)) {
        refused.push(format!("spec.weight is {weight}, not between 1 and 100"));
    }
    for taint in &pool.repeated_taints {
        refused.push(format!("the taint {} stands there twice", clip(taint)));
    }
    if pool.replicas.is_some() {
        if pool.weight.is_some() {
            refused.push("spec.weight: a static pool has none".to_owned());
        }
        if pool.limits.keys().any(|resource| resource != "nodes") {
            refused.push("spec.limits: a static pool has a limit on nodes only".to_owned());
        }
    }
    refused
}

/// How many values of a requirement count towards its minValues: of labels whose values Karpenter knows, only those.
fn counted(pool: &NodePool, requirement: &Requirement) -> usize {
    let known = CapacityType::known(pool.api);
    let counts = |value: &&String| match requirement.key.as_str() {
        CAPACITY_TYPE_LABEL => known.iter().any(|capacity| capacity.as_str() == *value),
        "karpenter.k8s.aws/instance-tenancy" => ["default", "dedicated"].contains(&value.as_str()),
        "karpenter.k8s.aws/capacity-reservation-type" => {
            ["default", "capacity-block"].contains(&value.as_str())
        }
        _ => true,
    };
    requirement.values.iter().filter(counts).count()
}

/// Why a label may not be given to nodes or asked for. Labels of Karpenter's AWS provider are more with every version, so only
/// those are refused here that are none of its kinds.
fn refused_label(key: &str) -> Option<String> {
    const OF_INSTANCES: [&str; 3] = ["instance-", "capacity-reservation-", "placement-group-"];
    if !is_qualified_name(key) {
        return Some("it is not the name of a label".to_owned());
    }
    let (domain, name) = key.split_once('/').unwrap_or(("", key));
    let within = |restricted: &str| {
        domain
            .strip_suffix(restricted)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let restricted = match key {
        CAPACITY_TYPE_LABEL => false,
        "kubernetes.io/hostname" => true,
        _ if within("karpenter.sh") => true,
        _ if within("karpenter.k8s.aws") => !OF_INSTANCES.iter().any(|kind| name.starts_with(kind)),
        _ => false,
    };
    restricted.then(|| "Karpenter keeps that label for itself".to_owned())
}

fn is_label_value(value: &str) -> bool {
    value.is_empty() || is_name_part(value)
}

fn is_qualified_name(key: &str) -> bool {
    match key.split_once('/') {
        None => is_name_part(key),
        Some((domain, name)) => {
            let part = |part: &str| {
                !part.is_empty()
                    && part
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                    && !part.starts_with('-')
                    && !part.ends_with('-')
            };
            domain.len() <= 253 && domain.split('.').all(part) && is_name_part(name)
        }
    }
}

fn is_name_part(name: &str) -> bool {
    let outer = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    name.len() <= 63
        && outer(name.bytes().next())
        && outer(name.bytes().last())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// A value of `karpenter.sh/capacity-type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CapacityType {
    /// Capacity blocks and on-demand capacity reservations (Karpenter 1.3 and later).
    Reserved,
    /// EC2 Spot.
    Spot,
    /// EC2 On-Demand.
    OnDemand,
}

impl CapacityType {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Spot => "spot",
            Self::OnDemand => "on-demand",
        }
    }

    /// The ones that exist in an API version.
    fn known(api: Api) -> &'static [Self] {
        match api {
            Api::V1 => &[Self::Spot, Self::OnDemand, Self::Reserved],
            Api::V1Beta1 | Api::V1Alpha5 => &[Self::Spot, Self::OnDemand],
        }
    }
}

impl fmt::Display for CapacityType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a pool can launch spot. Each `why` is a sentence that names the requirement and its index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum SpotVerdict {
    /// Spot is admitted.
    CanLaunchSpot {
        /// Nothing but spot is: without the role, nothing launches.
        must: bool,
        /// What else is admitted: what it silently falls back to without the role.
        also: Vec<CapacityType>,
        /// Which requirement admits it, or that none restricts it.
        why: String,
        /// Values beside the good ones that are no capacity type; Karpenter ignores them.
        ignored: Vec<String>,
    },
    /// Spot is not admitted, something else is.
    CannotLaunchSpot {
        /// What is admitted.
        can: Vec<CapacityType>,
        /// Which requirement leaves spot out.
        why: String,
        /// Values beside the good ones that are no capacity type, `Spot` for instance; Karpenter ignores them.
        ignored: Vec<String>,
    },
    /// A list without a single known value: the API server takes it, the pool never gets ready.
    NeverMatches {
        /// The values, as written.
        values: Vec<String>,
        /// Which requirement it is.
        why: String,
    },
    /// The requirements leave no capacity type at all.
    CanLaunchNothing {
        /// Which requirements contradict each other, or which one is none.
        why: String,
    },
}

impl SpotVerdict {
    /// Whether the pool can launch spot.
    pub fn can_launch_spot(&self) -> bool {
        matches!(self, Self::CanLaunchSpot { .. })
    }

    /// The reason, a sentence.
    pub fn why(&self) -> &str {
        match self {
            Self::CanLaunchSpot { why, .. }
            | Self::CannotLaunchSpot { why, .. }
            | Self::NeverMatches { why, .. }
            | Self::CanLaunchNothing { why } => why,
        }
    }
}

/// Names a constraint: its path and what it says.
fn describe(pool: &NodePool, origin: Origin, requirement: &Requirement) -> String {
    match origin {
        Origin::Requirement(index) => format!("{} ({requirement})", pool.requirement_path(index)),
        Origin::TemplateLabel => {
            let value = requirement
                .values
                .first()
                .map(|value| clip(value))
                .unwrap_or_default();
            format!("{} ({}: {value})", pool.labels_path(), clip(&requirement.key))
        }
        Origin::WebhookDefault => {
            format!("the default that Karpenter's webhook gives a Provisioner ({requirement})")
        }
    }
}

/// Joins descriptions for a sentence: `a`, `a and b`, `a, b and c`.
fn join(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

/// Labels that only reserved capacity has: Spot and on-demand offerings carry `DoesNotExist` for them.
const RESERVATION: [&str; 3] = [
    "karpenter.k8s.aws/capacity-reservation-id",
    "karpenter.k8s.aws/capacity-reservation-type",
    "karpenter.k8s.aws/capacity-reservation-interruptible",
];

/// What in the pool only reserved capacity can satisfy.
fn needs_reservation(pool: &NodePool) -> Option<String> {
    RESERVATION.into_iter().find_map(|key| {
        let constraints = constraints(pool, key).ok()?;
        let one = constraints.iter().find(|one| one.set.needs_the_label())?;
        merged(&constraints).needs_the_label().then(|| one.named(pool))
    })
}

/// Why the pool can launch nothing in this region: its requirements name the region or zones of another one.
fn elsewhere(pool: &NodePool, region: &str) -> Option<String> {
    let zone_ids = zone_id_prefix(region);
    type IsHere<'a> = &'a dyn Fn(&str) -> bool;
    let checks: [(&str, IsHere<'_>); 3] = [
        ("topology.kubernetes.io/region", &|value| value == region),
        ("topology.kubernetes.io/zone", &|value| value.starts_with(region)),
        ("topology.k8s.aws/zone-id", &|value| {
            zone_ids.as_ref().is_none_or(|prefix| value.starts_with(prefix))
        }),
    ];
    checks.into_iter().find_map(|(key, is_here)| {
        let constraints = constraints(pool, key).ok()?;
        let merged = merged(&constraints);
        let here = match merged.listed() {
            Some(values) => values.iter().any(|value| is_here(value)),
            None => key != "topology.kubernetes.io/region" || merged.has(region),
        };
        let named: Vec<String> = constraints.iter().map(|one| one.named(pool)).collect();
        (!here).then(|| format!("{} leaves nothing in {region}", join(&named)))
    })
}

/// What the ids of a region's zones begin with: `euw1-az` in eu-west-1. None: the region is not named as AWS names them.
fn zone_id_prefix(region: &str) -> Option<String> {
    let mut parts: Vec<&str> = region.split('-').collect();
    let number = parts
        .pop()
        .filter(|number| number.bytes().all(|b| b.is_ascii_digit()))?;
    let direction = match parts.pop()? {
        "northeast" => "ne",
        "northwest" => "nw",
        "southeast" => "se",
        "southwest" => "sw",
        word @ ("north" | "south" | "east" | "west" | "central") => word.get(..1)?,
        _ => return None,
    };
    let (area, rest) = parts.split_first()?;
    let rest: String = rest.iter().filter_map(|word| word.get(..1)).collect();
    Some(format!("{area}{rest}{direction}{number}-"))
}

/// Whether `pool` can launch spot, must, or can't, and why; wherever it is.
pub fn spot_verdict(pool: &NodePool) -> SpotVerdict {
    verdict(pool, None)
}

/// The same in a cluster of this region.
pub fn spot_verdict_in(pool: &NodePool, region: &str) -> SpotVerdict {
    verdict(pool, Some(region).filter(|region| !region.is_empty()))
}

fn verdict(pool: &NodePool, region: Option<&str>) -> SpotVerdict {
    let constraints = match constraints(pool, CAPACITY_TYPE_LABEL) {
        Ok(constraints) => constraints,
        Err(refused) => {
            let (origin, requirement, fault) = *refused;
            let named = describe(pool, origin, &requirement);
            return SpotVerdict::CanLaunchNothing {
                why: format!("{named} is refused by the API server: {fault}"),
            };
        }
    };
    let known = CapacityType::known(pool.api);
    let is_known = |value: &str| known.iter().any(|capacity| capacity.as_str() == value);

    if let Some(never) = never_matches(pool, &constraints, known) {
        return never;
    }
    if let Some(why) = region.and_then(|region| elsewhere(pool, region)) {
        return SpotVerdict::CanLaunchNothing { why };
    }
    let merged = merged(&constraints);
    let mut can: Vec<CapacityType> = known
        .iter()
        .copied()
        .filter(|capacity| merged.has(capacity.as_str()))
        .collect();
    let ignored: Vec<String> = merged
        .listed()
        .map(|values| values.iter().filter(|value| !is_known(value)).cloned().collect())
        .unwrap_or_default();
    if let Some(needs) = needs_reservation(pool)
        && !can.is_empty()
    {
        can.retain(|capacity| *capacity == CapacityType::Reserved);
        let why = format!(
            "{needs} asks for a capacity reservation, which neither Spot nor on-demand instances have"
        );
        return match can.is_empty() {
            true => SpotVerdict::CanLaunchNothing { why },
            false => SpotVerdict::CannotLaunchSpot { can, why, ignored },
        };
    }
    let excluding = |left_out: &[CapacityType]| -> Vec<String> {
        let excludes = |one: &&Constraint| left_out.iter().any(|capacity| !one.set.has(capacity.as_str()));
        constraints
            .iter()
            .filter(excludes)
            .map(|one| one.named(pool))
            .collect()
    };
    if can.is_empty() {
        let named = excluding(known);
        let why = match named.as_slice() {
            [one] => format!("{one} admits no capacity type"),
            several => format!(
                "{} contradict each other: no capacity type is left",
                join(several)
            ),
        };
        return SpotVerdict::CanLaunchNothing { why };
    }
    if !merged.has(CapacityType::Spot.as_str()) {
        let named = excluding(&[CapacityType::Spot]);
        let verb = if named.len() == 1 { "leaves" } else { "leave" };
        let hint = hint(ignored.iter(), known);
        return SpotVerdict::CannotLaunchSpot {
            can,
            why: format!("{} {verb} spot out{hint}", join(&named)),
            ignored,
        };
    }
    let also: Vec<CapacityType> = can
        .into_iter()
        .filter(|capacity| *capacity != CapacityType::Spot)
        .collect();
    let named: Vec<String> = constraints.iter().map(|one| one.named(pool)).collect();
    let why = match named.len() {
        0 => {
            format!("no requirement on {CAPACITY_TYPE_LABEL}: every capacity type is admitted, spot included")
        }
        1 => format!("{} admits spot", join(&named)),
        _ => format!("{} all admit spot", join(&named)),
    };
    SpotVerdict::CanLaunchSpot {
        must: also.is_empty(),
        also,
        why,
        ignored,
    }
}

/// Karpenter checks each `In` by itself: one without a known value keeps the pool from getting ready. It does not check labels.
fn never_matches(pool: &NodePool, constraints: &[Constraint], known: &[CapacityType]) -> Option<SpotVerdict> {
    let is_known = |value: &String| known.iter().any(|capacity| capacity.as_str() == value);
    let (constraint, values) = constraints.iter().find_map(|one| {
        let values = one.set.listed().filter(|_| one.origin != Origin::TemplateLabel)?;
        (!values.is_empty() && !values.iter().any(is_known)).then_some((one, values))
    })?;
    let named = constraint.named(pool);
    let names: Vec<String> = known.iter().map(ToString::to_string).collect();
    let hint = hint(values.iter(), known);
    Some(SpotVerdict::NeverMatches {
        values: constraint.requirement.values.clone(),
        why: format!(
            "{named} has no value that is a capacity type{hint}; known are {}. The API server takes it, but the \
             pool never gets ready and launches nothing",
            names.join(", ")
        ),
    })
}

/// A hint where a value differs from a capacity type only by case, dashes or a slip of the finger.
fn hint<'a>(values: impl Iterator<Item = &'a String>, known: &[CapacityType]) -> String {
    let folded = |text: &str| {
        text.chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_lowercase())
            .collect::<String>()
    };
    for value in values {
        for capacity in known {
            let (written, meant) = (folded(value), folded(capacity.as_str()));
            if written == meant || (written.starts_with(&meant) && written.len() <= meant.len() + 2) {
                return format!(" (is {:?} meant to be {:?}?)", clip(value), capacity.as_str());
            }
        }
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn pool(requirements: Value) -> NodePool {
        let item = json!({
            "apiVersion": "karpenter.sh/v1",
            "kind": "NodePool",
            "metadata": {"name": "general"},
            "spec": {"template": {"spec": {"requirements": requirements}}}
        });
        NodePool::from_json(&item, None).expect("a good pool")
    }

    fn capacity(operator: &str, values: &[&str]) -> Value {
        json!({"key": "karpenter.sh/capacity-type", "operator": operator, "values": values})
    }

    fn verdict(requirements: Value) -> SpotVerdict {
        spot_verdict(&pool(requirements))
    }

    /// A short form of a verdict for tables.
    fn short(verdict: &SpotVerdict) -> String {
        let list = |types: &[CapacityType]| {
            types
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("+")
        };
        match verdict {
            SpotVerdict::CanLaunchSpot { must: true, .. } => "must".to_owned(),
            SpotVerdict::CanLaunchSpot { also, .. } => format!("can, also {}", list(also)),
            SpotVerdict::CannotLaunchSpot { can, .. } => format!("cannot, only {}", list(can)),
            SpotVerdict::NeverMatches { values, .. } => format!("never {}", values.join("+")),
            SpotVerdict::CanLaunchNothing { .. } => "nothing".to_owned(),
        }
    }

    /// The table of operators: domain facts on `karpenter.sh/capacity-type`, read from Karpenter's source.
    #[test]
    fn operators_on_capacity_type() {
        const ALL: &str = "can, also on-demand+reserved";
        let one = |operator: &str, values: &[&str]| json!([capacity(operator, values)]);
        let two = |a: Value, b: Value| json!([a, b]);
        let of = |key: &str, operator: &str, values: &[&str]| {
            let key = format!("karpenter.k8s.aws/capacity-reservation-{key}");
            json!({"key": key, "operator": operator, "values": values})
        };
        let spot = || capacity("In", &["spot"]);
        let both = || capacity("In", &["spot", "on-demand"]);
        let not_spot = || capacity("NotIn", &["spot"]);
        let arm = json!([{"key": "kubernetes.io/arch", "operator": "In", "values": ["arm64"]}]);
        let cases = [
            (json!([]), ALL),
            (arm, ALL),
            (one("Exists", &[]), ALL),
            (one("NotIn", &["on-demand"]), "can, also reserved"),
            (one("NotIn", &["on-demand", "reserved"]), "must"),
            (one("NotIn", &["spot"]), "cannot, only on-demand+reserved"),
            (one("In", &["spot"]), "must"),
            (one("In", &["on-demand", "spot"]), "can, also on-demand"),
            (one("In", &["spot", "reserved"]), "can, also reserved"),
            (one("In", &["on-demand"]), "cannot, only on-demand"),
            (one("In", &["reserved"]), "cannot, only reserved"),
            (
                one("In", &["on-demand", "reserved"]),
                "cannot, only on-demand+reserved",
            ),
            (one("In", &["spott"]), "never spott"),
            (one("In", &["Spot"]), "never Spot"),
            (one("In", &["spott", "on-demand"]), "cannot, only on-demand"),
            (one("In", &["spott", "spot"]), "must"),
            (one("DoesNotExist", &[]), "nothing"),
            (one("Gt", &["1"]), "nothing"),
            (one("Lt", &["1"]), "nothing"),
            (one("Gte", &["1"]), "nothing"),
            (one("Lte", &["1"]), "nothing"),
            // The same key twice intersects.
            (two(both(), not_spot()), "cannot, only on-demand"),
            (two(both(), spot()), "must"),
            (two(spot(), capacity("In", &["on-demand"])), "nothing"),
            (two(spot(), not_spot()), "nothing"),
            (
                two(not_spot(), capacity("NotIn", &["on-demand"])),
                "cannot, only reserved",
            ),
            (two(capacity("Exists", &[]), spot()), "must"),
            // Each list must hold a known value, whatever the others say.
            (two(spot(), capacity("In", &["spott"])), "never spott"),
            // Only reserved capacity has these labels.
            (json!([of("type", "In", &["default"])]), "cannot, only reserved"),
            (two(of("id", "Exists", &[]), spot()), "nothing"),
            (json!([of("id", "NotIn", &["cr-1"])]), ALL),
            (json!([of("interruptible", "DoesNotExist", &[])]), ALL),
            // Only a file can hold these.
            (one("In", &[]), "nothing"),
            (one("in", &["spot"]), "nothing"),
            (one("Gt", &["one"]), "nothing"),
        ];
        for (requirements, expected) in cases {
            assert_eq!(short(&verdict(requirements.clone())), expected, "{requirements}");
        }
    }

    #[test]
    fn zones_of_another_region_launch_nothing() {
        let zone = |key: &str, operator: &str, values: &[&str]| {
            let requirements = json!([{"key": key, "operator": operator, "values": values}]);
            short(&spot_verdict_in(&pool(requirements), "eu-west-1"))
        };
        const ZONE: &str = "topology.kubernetes.io/zone";
        const OLD_ZONE: &str = "failure-domain.beta.kubernetes.io/zone";
        const REGION: &str = "topology.kubernetes.io/region";
        const ID: &str = "topology.k8s.aws/zone-id";
        const ALL: &str = "can, also on-demand+reserved";
        let cases = [
            (ZONE, "In", &["eu-west-1a", "us-east-1a"][..], ALL),
            (ZONE, "In", &["us-east-1a"], "nothing"),
            (OLD_ZONE, "In", &["us-east-1a"], "nothing"),
            (ZONE, "NotIn", &["eu-west-1a"], ALL),
            (ZONE, "DoesNotExist", &[], "nothing"),
            (ID, "In", &["euw1-az2"], ALL),
            (ID, "In", &["use1-az2"], "nothing"),
            (REGION, "In", &["us-east-1"], "nothing"),
            (REGION, "NotIn", &["eu-west-1"], "nothing"),
            (REGION, "Exists", &[], ALL),
        ];
        for (key, operator, values, expected) in cases {
            assert_eq!(
                zone(key, operator, values),
                expected,
                "{key} {operator} {values:?}"
            );
        }
        let prefixes = [
            "us-gov-west-1",
            "ap-northeast-1",
            "eu-central-2",
            "cn-north-1",
            "moon",
        ]
        .map(|region| zone_id_prefix(region).unwrap_or_default());
        assert_eq!(prefixes, ["usgw1-", "apne1-", "euc2-", "cnn1-", ""]);
    }

    #[test]
    fn what_only_a_file_can_hold_is_refused() {
        let of = |spec: Value| {
            let item =
                json!({"apiVersion": "karpenter.sh/v1", "metadata": {"name": "general"}, "spec": spec});
            refusals(&NodePool::from_json(&item, None).expect("a readable pool")).join("\n")
        };
        let class = json!({"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"});
        let good = json!({"template": {
            "metadata": {"labels": {"team": "a", "karpenter.sh/capacity-type": "spot", "node.kubernetes.io/role": "x"}},
            "spec": {"nodeClassRef": class, "requirements": [
                {"key": "karpenter.k8s.aws/instance-brand-new", "operator": "In", "values": ["a", "b"], "minValues": 2}]}}});
        assert_eq!(of(good), "");
        let bad = json!({"replicas": 2, "weight": 1, "limits": {"cpu": 1}, "template": {
        "metadata": {"labels": {"karpenter.sh/nodepool": "x", "team": "no good"}},
        "spec": {"requirements": [
            {"key": "kubernetes.io/hostname", "operator": "In", "values": ["a"]},
            {"key": "karpenter.sh/registered", "operator": "Exists"},
            {"key": "karpenter.k8s.aws/family", "operator": "Exists"},
            {"key": "not a label", "operator": "Exists"},
            {"key": "team", "operator": "in", "values": ["a"]},
            {"key": "team", "operator": "In", "values": ["a"], "minValues": 2},
            {"key": "team", "operator": "Exists", "minValues": 51},
        ]}}});
        insta::assert_snapshot!(of(bad));
    }

    #[test]
    fn a_label_of_the_template_is_a_list_of_one() {
        let mut labelled = pool(json!([]));
        labelled
            .template_labels
            .insert(CAPACITY_TYPE_LABEL.to_owned(), "on-demand".to_owned());
        assert_eq!(short(&spot_verdict(&labelled)), "cannot, only on-demand");
        assert_eq!(
            spot_verdict(&labelled).why(),
            "spec.template.metadata.labels (karpenter.sh/capacity-type: on-demand) leaves spot out"
        );
        labelled
            .template_labels
            .insert(CAPACITY_TYPE_LABEL.to_owned(), "spot".to_owned());
        assert_eq!(short(&spot_verdict(&labelled)), "must");
        labelled.requirements = pool(json!([capacity("In", &["on-demand"])])).requirements;
        assert_eq!(short(&spot_verdict(&labelled)), "nothing");
    }

    #[test]
    fn defaults_are_a_matter_of_the_version() {
        let provisioner = |spec: Value| {
            let item = json!({
                "apiVersion": "karpenter.sh/v1alpha5", "kind": "Provisioner",
                "metadata": {"name": "default"}, "spec": spec
            });
            NodePool::from_json(&item, None).expect("a good provisioner")
        };
        let bare = spot_verdict(&provisioner(json!({})));
        assert_eq!(short(&bare), "cannot, only on-demand");
        assert!(bare.why().contains("webhook"), "{}", bare.why());
        assert_eq!(
            short(&spot_verdict(&provisioner(
                json!({"requirements": [capacity("In", &["spot"])]})
            ))),
            "must"
        );
        assert_eq!(
            short(&spot_verdict(&provisioner(
                json!({"requirements": [capacity("Exists", &[])]})
            ))),
            "can, also on-demand"
        );
        // The webhook looks at the requirements only, so a label collides with its default.
        let labelled = provisioner(json!({"labels": {"karpenter.sh/capacity-type": "spot"}}));
        assert_eq!(short(&spot_verdict(&labelled)), "nothing");

        let mut beta = pool(json!([]));
        beta.api = Api::V1Beta1;
        assert_eq!(short(&spot_verdict(&beta)), "can, also on-demand");
    }

    #[test]
    fn reasons_name_the_requirement_and_its_index() {
        let arch = json!({"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]});
        let why = |requirements| verdict(requirements).why().to_owned();
        insta::assert_snapshot!(
            [
                why(json!([])),
                why(json!([arch, capacity("In", &["spot", "on-demand"])])),
                why(json!([arch, capacity("In", &["on-demand"])])),
                why(json!([arch, capacity("In", &["on-demand", "Spot"])])),
                why(json!([arch, capacity("In", &["spott"])])),
                why(json!([capacity("In", &["spot"]), arch, capacity("NotIn", &["spot"])])),
                why(json!([arch, capacity("DoesNotExist", &[])])),
                why(json!([arch, capacity("in", &["spot"])])),
            ]
            .join("\n"),
            @r#"
            no requirement on karpenter.sh/capacity-type: every capacity type is admitted, spot included
            spec.template.spec.requirements[1] (karpenter.sh/capacity-type In [spot, on-demand]) admits spot
            spec.template.spec.requirements[1] (karpenter.sh/capacity-type In [on-demand]) leaves spot out
            spec.template.spec.requirements[1] (karpenter.sh/capacity-type In [on-demand, Spot]) leaves spot out (is "Spot" meant to be "spot"?)
            spec.template.spec.requirements[1] (karpenter.sh/capacity-type In [spott]) has no value that is a capacity type (is "spott" meant to be "spot"?); known are spot, on-demand, reserved. The API server takes it, but the pool never gets ready and launches nothing
            spec.template.spec.requirements[0] (karpenter.sh/capacity-type In [spot]) and spec.template.spec.requirements[2] (karpenter.sh/capacity-type NotIn [spot]) contradict each other: no capacity type is left
            spec.template.spec.requirements[1] (karpenter.sh/capacity-type DoesNotExist) admits no capacity type
            spec.template.spec.requirements[1] (karpenter.sh/capacity-type in [spot]) is refused by the API server: "in" is not an operator (In, NotIn, Exists, DoesNotExist, Gt, Lt, Gte, Lte; upper and lower case matter)
            "#
        );
    }

    #[test]
    fn hostile_values_are_shortened() {
        let long = "x".repeat(100_000);
        let many: Vec<&str> = std::iter::repeat_n(long.as_str(), 50).collect();
        let verdict = verdict(json!([capacity("In", &many)]));
        assert!(verdict.why().len() < 3_000, "{} bytes", verdict.why().len());
        assert!(matches!(verdict, SpotVerdict::NeverMatches { .. }));
    }

    #[test]
    fn faults_are_listed_for_every_key() {
        let pool = pool(json!([
            {"key": "karpenter.k8s.aws/instance-cpu", "operator": "Gt", "values": ["-1"]},
            {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]},
            {"key": "kubernetes.io/os", "operator": "IN", "values": ["linux"]},
        ]));
        let found = faults(&pool);
        assert_eq!(found.len(), 2);
        assert_eq!(
            found[0].1,
            RequirementFault::BadBound {
                operator: "Gt".to_owned()
            }
        );
        assert!(
            found[1].0.starts_with("spec.template.spec.requirements[2] "),
            "{}",
            found[1].0
        );
        // A fault on another key says nothing about capacity types.
        assert_eq!(short(&spot_verdict(&pool)), "can, also on-demand+reserved");
    }

    #[test]
    fn bounds() {
        let set = |operator: &str, values: &[&str]| {
            ValueSet::from_requirement(&Requirement {
                min_values: None,
                key: "k".to_owned(),
                operator: operator.to_owned(),
                values: values.iter().map(|value| (*value).to_owned()).collect(),
            })
            .expect("a good requirement")
        };
        let between = set("Gt", &["2"]).intersection(&set("Lte", &["4"]));
        assert_eq!(
            ["2", "3", "4", "5", "x", ""].map(|value| between.has(value)),
            [false, true, true, false, false, false]
        );
        assert!(set("Gt", &["4"]).intersection(&set("Lt", &["5"])).is_empty());
        assert!(set("Gt", &["9223372036854775807"]).is_empty());
        assert_eq!(
            set("In", &["8", "x", "04"]).intersection(&set("Gte", &["4"])),
            ValueSet::of(["8", "04"])
        );
        assert_eq!(set("Gt", &["3"]).smallest_integer(1), Some(4));
        assert_eq!(set("Lt", &["3"]).smallest_integer(4), None);
        assert_eq!(set("In", &["16", "8"]).smallest_integer(1), Some(8));
        assert_eq!(set("In", &["16", "8"]).smallest_integer(9), Some(16));
    }

    /// The brute-force model: a requirement is a predicate on values, said with no algebra at all.
    fn admits(requirement: &Requirement, value: &str) -> bool {
        let bound = || requirement.values[0].parse::<i64>().expect("made below");
        let number = value.parse::<i64>();
        let listed = requirement.values.iter().any(|one| one == value);
        match requirement.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            "Exists" => true,
            "DoesNotExist" => false,
            "Gt" => number.is_ok_and(|number| number > bound()),
            "Lt" => number.is_ok_and(|number| number < bound()),
            "Gte" => number.is_ok_and(|number| number >= bound()),
            "Lte" => number.is_ok_and(|number| number <= bound()),
            other => panic!("made below: {other}"),
        }
    }

    const UNIVERSE: [&str; 14] = [
        "spot",
        "on-demand",
        "reserved",
        "Spot",
        "spott",
        "",
        "0",
        "1",
        "2",
        "3",
        "03",
        "-1",
        "9223372036854775807",
        "9223372036854775808",
    ];

    fn a_requirement() -> impl Strategy<Value = Requirement> {
        let values = proptest::sample::subsequence(UNIVERSE.to_vec(), 1..=5);
        let bound = prop_oneof![
            (0i64..5).prop_map(|bound| bound.to_string()),
            Just(i64::MAX.to_string())
        ];
        let operator = proptest::sample::select(vec![
            "In",
            "NotIn",
            "Exists",
            "DoesNotExist",
            "Gt",
            "Lt",
            "Gte",
            "Lte",
        ]);
        (operator, values, bound).prop_map(|(operator, values, bound)| Requirement {
            min_values: None,
            key: CAPACITY_TYPE_LABEL.to_owned(),
            operator: operator.to_owned(),
            values: match operator {
                "In" | "NotIn" => values.into_iter().map(str::to_owned).collect(),
                "Exists" | "DoesNotExist" => Vec::new(),
                _ => vec![bound],
            },
        })
    }

    proptest! {
        /// Whatever is intersected, in whatever order, a value is admitted exactly where every requirement admits it.
        #[test]
        fn intersection_agrees_with_the_model(requirements in proptest::collection::vec(a_requirement(), 0..6)) {
            let mut pool = pool(json!([]));
            pool.requirements = requirements.clone();
            let merged = admitted(&pool, CAPACITY_TYPE_LABEL);
            pool.requirements.reverse();
            let reversed = admitted(&pool, CAPACITY_TYPE_LABEL);
            for value in UNIVERSE {
                let expected = requirements.iter().all(|requirement| admits(requirement, value));
                prop_assert_eq!(merged.has(value), expected, "{} in {:?}", value, merged);
                prop_assert_eq!(reversed.has(value), expected, "{} in {:?}", value, reversed);
                if expected {
                    prop_assert!(!merged.is_empty());
                    prop_assert!(merged.listed().is_none_or(|values| values.contains(value)));
                }
            }
        }

        /// The verdict follows from the same predicate.
        #[test]
        fn verdict_agrees_with_the_model(requirements in proptest::collection::vec(a_requirement(), 0..5)) {
            let mut pool = pool(json!([]));
            pool.requirements = requirements.clone();
            let all = |value: &str| requirements.iter().all(|requirement| admits(requirement, value));
            let known = ["spot", "on-demand", "reserved"];
            let unready = requirements.iter().any(|requirement| {
                requirement.operator == "In" && !requirement.values.iter().any(|value| known.contains(&value.as_str()))
            });
            let verdict = spot_verdict(&pool);
            prop_assert!(!verdict.why().is_empty());
            match verdict {
                SpotVerdict::NeverMatches { .. } => prop_assert!(unready),
                SpotVerdict::CanLaunchSpot { must, also, .. } => {
                    prop_assert!(!unready && all("spot"));
                    prop_assert_eq!(must, !all("on-demand") && !all("reserved"));
                    prop_assert!(also.iter().all(|capacity| all(capacity.as_str())));
                }
                SpotVerdict::CannotLaunchSpot { can, .. } => {
                    prop_assert!(!unready && !all("spot") && !can.is_empty());
                    prop_assert!(can.iter().all(|capacity| all(capacity.as_str())));
                }
                SpotVerdict::CanLaunchNothing { .. } => {
                    prop_assert!(!unready && known.iter().all(|value| !all(value)));
                }
            }
        }
    }
}
