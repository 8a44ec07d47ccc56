//! What failed launches left behind in the cluster (Kubernetes API): Events, NodeClaims, and how the nodes really run.
//!
//! Each list may be long (50,000 Events, 10,000 NodeClaims); it is folded page by page and never kept.

use futures_util::join;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::karpenter::{PAGE, observed};
use crate::karpenter::traces::{ClaimFold, EventFold, JoinFold, NeverJoined, NodeFold};
use crate::kube::Api;
use crate::model::Calls;
use crate::model::{Fact, Grant, Observed};

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

/// What the Events tell.
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

/// The permission that listing a kind of the core group in all namespaces needs.
pub(super) fn list_grant(group: &str, resource: &str) -> Grant {
    Grant::Rbac {
        verb: "list".to_owned(),
        group: group.to_owned(),
        resource: resource.to_owned(),
        namespace: None,
        name: None,
    }
}

/// Reads the Events of all namespaces.
///
/// `Normal` Events are left out by the server: a busy cluster has tens of thousands of them, and everything that Karpenter
/// and its AWS provider publish about a failed launch is a `Warning` (`InsufficientCapacityErrorEvent` and the others in
/// `pkg/controllers/nodeclaim/lifecycle/events.go` and `pkg/cloudprovider/events`). `!=` and not `=`, so that a type of the
/// future is read as well. No selector narrows the reason or the object: Karpenter's Event about the missing role has an
/// empty reason. One page of everything, asked beside it, tells how far back Events go where nothing was wrong.
pub async fn events(api: &Api, calls: &Calls) -> Fact<Events> {
    let grant = list_grant("", "events");
    let call = grant.action();
    let (fold, sample) = join!(
        api.fold(
            "/api/v1/events?fieldSelector=type!%3DNormal",
            PAGE,
            &grant,
            EventFold::default,
            |fold, item| fold.add_json(&item),
        ),
        api.page("/api/v1/events", PAGE, None, &grant)
    );
    let observed = observed(&call, fold).map(|fold| Events {
        fold,
        sample_oldest: sample.ok().and_then(|page| oldest(&page.items)),
    });
    match &observed {
        Observed::Known(events) => calls.record(
            &call,
            format!("{} items", events.fold.seen + events.fold.broken.count),
        ),
        other => calls.observed(&call, other),
    }
    Fact::new(call, observed)
}

/// Reads the `Normal` Events about NodeClaims, which tell of claims that never joined. None: it could not be read, as the Events
/// themselves tell.
pub(super) async fn joins(api: &Api, calls: &Calls) -> Option<JoinFold> {
    let grant = list_grant("", "events");
    let path = "/api/v1/events?fieldSelector=type%3DNormal%2CinvolvedObject.kind%3DNodeClaim";
    let folded = api
        .fold(path, PAGE, &grant, JoinFold::default, |fold, item| {
            fold.add_json(&item)
        })
        .await;
    let observed = observed("list events (about NodeClaims)", folded);
    calls.observed("list events (about NodeClaims)", &observed);
    match observed {
        Observed::Known(fold) => Some(fold),
        Observed::Absent | Observed::Unknown(_) => None,
    }
}

fn oldest(items: &[Value]) -> Option<Timestamp> {
    let mut all = EventFold::default();
    items.iter().for_each(|item| all.add_json(item));
    all.oldest
}

/// Reads all Nodes.
pub async fn nodes(api: &Api, calls: &Calls) -> Fact<NodeFold> {
    let grant = list_grant("", "nodes");
    let call = grant.action();
    let listed = api
        .fold("/api/v1/nodes", PAGE, &grant, NodeFold::default, |fold, item| {
            fold.add_json(&item);
        })
        .await;
    let observed = observed(&call, listed);
    match &observed {
        Observed::Known(nodes) => calls.record(&call, format!("{} items", nodes.seen + nodes.broken.count)),
        other => calls.observed(&call, other),
    }
    Fact::new(call, observed)
}
