//! What failed launches left behind in the cluster (Kubernetes API): Events, NodeClaims, and how the nodes really run.
//!
//! Each list may be long (50,000 Events, 10,000 NodeClaims); it is folded page by page and never kept.

use futures_util::join;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Reading;
use crate::karpenter::traces::{ClaimFold, EventFold, JoinFold, NeverJoined, NodeFold};
use crate::kube::{Api, Resource};
use crate::model::{Fact, Observed};

/// Everything that tells of launches that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traces {
    /// The Events of all namespaces that are not `Normal`.
    pub events: Fact<Events>,
    /// NodeClaims, or Machines of v1alpha5. Absent: the cluster does not serve the kind.
    pub claims: Fact<ClaimFold>,
    /// Nodes by pool and capacity type; not asked where there is nothing of Karpenter's.
    pub nodes: Fact<NodeFold>,
    /// NodeClaims that are gone and never had a node, as far as Events tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub never_joined: Vec<NeverJoined>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Events {
    /// The Events that are not `Normal`.
    pub fold: EventFold,
    /// When the oldest of a sample of all Events was last seen: the API server's memory reaches back at least to there,
    /// even where nothing was wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_oldest: Option<Timestamp>,
}

impl Events {
    /// How far back this view reaches, as far as it can be told.
    pub fn reaches_back_to(&self) -> Option<Timestamp> {
        self.fold.oldest.into_iter().chain(self.sample_oldest).min()
    }
}

pub(super) const EVENTS: Resource<'static> = Resource::core("Event", "events");
pub(super) const NODES: Resource<'static> = Resource::core("Node", "nodes");

pub(super) async fn read(read: &Reading<'_>) -> Traces {
    let (events, joins, claims, nodes) = join!(
        read.of_api(EVENTS.listed(), events),
        read.of_api(EVENTS.listed(), joins),
        read.claims(),
        nodes_of_pools(read)
    );
    let never_joined = match (joins.observed, claims.known()) {
        (Observed::Known(joins), Some(claims)) => joins.never_joined(&claims.names),
        _ => Vec::new(),
    };
    Traces {
        events,
        claims: claims.clone(),
        nodes,
        never_joined,
    }
}

/// Nodes tell how Karpenter's pools run and whether there is any but Fargate's: where nothing of Karpenter's is there or about to
/// be, nobody needs them.
async fn nodes_of_pools(read: &Reading<'_>) -> Fact<NodeFold> {
    let (pools, claims, deployments) = join!(read.pools(), read.claims(), read.deployments());
    let nothing = match &pools.node_pools.observed {
        Observed::Known(pools) => pools.items.is_empty() && pools.broken.is_empty(),
        Observed::Absent => true,
        Observed::Unknown(_) => false,
    } && match &claims.observed {
        Observed::Known(claims) => claims.seen == 0 && claims.broken.count == 0,
        Observed::Absent => true,
        Observed::Unknown(_) => false,
    } && deployments.known().is_none_or(|list| list.items.is_empty());
    if nothing && !read.ask.installing {
        return Fact::not_asked(NODES.listed(), "there is no node pool and no node claim");
    }
    read.of_api(NODES.listed(), nodes).await
}

/// Reads the Events of all namespaces.
///
/// `Normal` Events are left out by the server: a busy cluster has tens of thousands of them, and everything that Karpenter
/// and its AWS provider publish about a failed launch is a `Warning` (`InsufficientCapacityErrorEvent` and the others in
/// `pkg/controllers/nodeclaim/lifecycle/events.go` and `pkg/cloudprovider/events`). `!=` and not `=`, so that a type of the
/// future is read as well. No selector narrows the reason or the object: Karpenter's Event about the missing role has an
/// empty reason. One page of everything, asked beside it, tells how far back Events go where nothing was wrong.
pub async fn events(api: &Api) -> Fact<Events> {
    let warnings = EVENTS.selected("fieldSelector=type!%3DNormal");
    let (fold, sample) = join!(
        api.list(&warnings, EventFold::default, |fold, item| fold.add_json(item)),
        api.first_page(&EVENTS)
    );
    let sample_oldest = sample.ok().and_then(|items| oldest(&items));
    Fact::new(
        fold.call,
        fold.observed.map(|fold| Events { fold, sample_oldest }),
    )
}

/// Reads the `Normal` Events about NodeClaims, which tell of claims that never joined. That they could not be read is told by the
/// other Events.
async fn joins(api: &Api) -> Fact<JoinFold> {
    let normal = EVENTS.selected("fieldSelector=type%3DNormal%2CinvolvedObject.kind%3DNodeClaim");
    api.list(&normal, JoinFold::default, |fold, item| fold.add_json(item))
        .await
}

fn oldest(items: &[Value]) -> Option<Timestamp> {
    let mut all = EventFold::default();
    items.iter().for_each(|item| all.add_json(item));
    all.oldest
}

pub async fn nodes(api: &Api) -> Fact<NodeFold> {
    api.list(&NODES, NodeFold::default, |fold, item| fold.add_json(item))
        .await
}
