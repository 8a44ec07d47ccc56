//! What several checks ask of Karpenter's objects.

use crate::facts::Facts;
use crate::karpenter::launch_paths::LaunchPaths;
use crate::model::{Observed, Unknown};

/// Whether anything in the cluster asks for Spot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpotDemand {
    /// At least one pool can launch Spot.
    Yes,
    /// There are pools, and none can; the reason as a clause.
    No(String),
    /// No pools are known: Spot is assumed.
    Assumed,
}

/// Every pool with what it launches with.
pub(crate) fn launch_paths(facts: &Facts) -> LaunchPaths<'_> {
    facts
        .pools
        .launch_paths(&facts.ask, &facts.target, &facts.cluster)
}

/// Judged by the pools that are there, and those of `--nodepools`.
pub fn spot_demand(facts: &Facts) -> SpotDemand {
    let paths = launch_paths(facts);
    if paths.spot().next().is_some() {
        return SpotDemand::Yes;
    }
    // A pool that could not be read or understood may want Spot.
    if paths.paths.is_empty() || paths.unread.is_some() || !paths.broken.is_empty() {
        return SpotDemand::Assumed;
    }
    SpotDemand::No(none_can(paths.paths.len()))
}

/// That no pool can launch Spot.
pub(super) fn none_can(pools: usize) -> String {
    match pools {
        1 => "the only node pool cannot launch Spot".to_owned(),
        many => format!("none of the {many} node pools can launch Spot"),
    }
}

/// Whether anything of Karpenter's is in the cluster: its controller, a pool, or a claim.
pub(crate) fn is_there(facts: &Facts) -> bool {
    facts.controller.running().is_some()
        || facts
            .pools
            .node_pools
            .known()
            .is_some_and(|list| !list.items.is_empty() || !list.broken.is_empty())
        || facts
            .traces
            .claims
            .known()
            .is_some_and(|claims| claims.seen + claims.broken.count > 0)
}

/// Whether EKS runs Karpenter itself here.
pub(super) fn auto_mode(facts: &Facts) -> bool {
    facts.cluster.known().is_some_and(|cluster| cluster.auto_mode)
}

/// How far Karpenter is in this cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Installed<'a> {
    /// Its controller's Deployment is there.
    Yes,
    /// EKS Auto Mode runs it, and there is no other.
    AutoMode,
    /// Neither a Deployment nor a NodeClaim, whether there are pools already or not.
    NotYet,
    /// No Deployment, but NodeClaims: somebody removed the controller.
    Removed,
    /// What would tell could not be read.
    Unread(&'a str, &'a Unknown),
}

/// Why the controller's checks are skipped before Karpenter is installed.
pub(super) const NOT_YET: &str =
    "Karpenter is not installed yet: there is neither its Deployment nor a NodeClaim";

/// How far Karpenter is.
pub(super) fn installed(facts: &Facts) -> Installed<'_> {
    let deployments = &facts.controller.deployments;
    let claims = &facts.traces.claims;
    match (&deployments.observed, &claims.observed) {
        (Observed::Known(list), _) if !list.items.is_empty() || !list.broken.is_empty() => Installed::Yes,
        _ if auto_mode(facts) => Installed::AutoMode,
        // The cluster says that it has none of Karpenter's kinds.
        (Observed::Unknown(_), Observed::Absent) if facts.pools.node_pools.observed.is_absent() => {
            Installed::NotYet
        }
        (Observed::Unknown(unknown), _) => Installed::Unread("Karpenter's Deployment", unknown),
        (_, Observed::Known(claims)) if claims.seen + claims.broken.count > 0 => Installed::Removed,
        (_, Observed::Unknown(unknown)) => Installed::Unread("the NodeClaims", unknown),
        _ => Installed::NotYet,
    }
}

/// Once Karpenter is there.
pub(super) fn once_installed(facts: &Facts) -> bool {
    !matches!(installed(facts), Installed::NotYet)
}

/// `1 node pool`, `3 node pools`.
pub(super) fn count(n: impl TryInto<u64>, one: &str, many: &str) -> String {
    let n = n.try_into().unwrap_or(u64::MAX);
    format!("{n} {}", if n == 1 { one } else { many })
}

/// The first few names, and how many more there are.
pub(super) fn names<'a>(all: impl IntoIterator<Item = &'a str>) -> String {
    first_of(all, 5, ", ", " ")
}

/// The first `most`, and how many more there are: `a; b; and 3 more`.
pub(super) fn several<T: AsRef<str>>(all: impl IntoIterator<Item = T>, most: usize, by: &str) -> String {
    first_of(all, most, by, by)
}

fn first_of<T: AsRef<str>>(all: impl IntoIterator<Item = T>, most: usize, by: &str, last: &str) -> String {
    let mut all = all.into_iter();
    let shown: Vec<T> = all.by_ref().take(most).collect();
    let shown: Vec<&str> = shown.iter().map(AsRef::as_ref).collect();
    match all.count() {
        0 => shown.join(by),
        more => format!("{}{last}and {more} more", shown.join(by)),
    }
}

/// What somebody else wrote, shortened for a sentence.
pub(super) fn short(message: &str) -> String {
    const LONGEST: usize = 240;
    match message.char_indices().nth(LONGEST) {
        None => message.to_owned(),
        Some((end, _)) => format!("{}…", &message[..end]),
    }
}
