//! Karpenter's objects (Kubernetes API): node pools and node classes in whichever version the cluster serves.

use futures_util::join;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Ask, eks};
use crate::cluster::Target;
use crate::karpenter::launch_paths::{Filed, Inventory, LaunchPaths, launch_paths};
pub use crate::karpenter::objects::List;
use crate::karpenter::objects::{Api as KarpenterApi, NodeClass, NodeClassKind, NodePool};
use crate::karpenter::traces::ClaimFold;
use crate::kube::{Api, Refusal};
use crate::model::Calls;
use crate::model::{Fact, Grant, Observed, Unknown, Why};

/// How many objects one page of a list holds.
pub(super) const PAGE: usize = 500;

/// Karpenter's node pools and node classes. Absent: the cluster does not serve the kind, Karpenter is not installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pools {
    /// NodePools, or Provisioners of v1alpha5.
    pub node_pools: Fact<List<NodePool>>,
    /// EC2NodeClasses, or AWSNodeTemplates of v1alpha1.
    pub node_classes: Fact<List<NodeClass>>,
    /// NodeClasses of EKS Auto Mode; not asked where that is off.
    #[serde(default = "auto_mode_off")]
    pub auto_mode_classes: Fact<List<NodeClass>>,
}

/// What facts of earlier versions say of Auto Mode's classes.
fn auto_mode_off() -> Fact<List<NodeClass>> {
    Fact::not_asked(AUTO_MODE_CLASSES.grant().action(), "EKS Auto Mode is off")
}

const AUTO_MODE_CLASSES: Served = Served {
    group: "eks.amazonaws.com",
    version: "v1",
    plural: "nodeclasses",
};

impl Pools {
    /// Facts that nobody asked for.
    pub fn not_asked(because: &str) -> Self {
        Self {
            node_pools: Fact::not_asked("list nodepools.karpenter.sh", because),
            node_classes: Fact::not_asked("list ec2nodeclasses.karpenter.k8s.aws", because),
            auto_mode_classes: Fact::not_asked(AUTO_MODE_CLASSES.grant().action(), because),
        }
    }

    /// None of them could be read, for this reason.
    pub(super) fn unread(unknown: &Unknown) -> Self {
        let unread = |call: &str| Fact::new(call, Observed::Unknown(unknown.clone()));
        Self {
            node_pools: Fact::new("list nodepools.karpenter.sh", Observed::Unknown(unknown.clone())),
            node_classes: unread("list ec2nodeclasses.karpenter.k8s.aws"),
            auto_mode_classes: unread("list nodeclasses.eks.amazonaws.com"),
        }
    }

    /// The join of all of them with what a file or chart holds.
    pub(crate) fn launch_paths<'a>(
        &'a self,
        ask: &'a Ask,
        target: &'a Target,
        cluster: &'a Fact<eks::Cluster>,
    ) -> LaunchPaths<'a> {
        launch_paths(Inventory {
            pools: &self.node_pools.observed,
            classes: &self.node_classes.observed,
            auto_mode_classes: &self.auto_mode_classes.observed,
            auto_mode: cluster.known().map(|cluster| cluster.auto_mode),
            filed: ask.nodepools.as_ref().map(|file| Filed {
                name: &file.file,
                pools: &file.pools,
                classes: &file.node_classes,
                broken: &file.broken,
            }),
            region: &target.region,
        })
    }
}

/// Reads all lists at the same time; Auto Mode's classes where `auto_mode`, once known, does not say that it is off.
pub async fn pools(api: &Api, auto_mode: impl Future<Output = Option<bool>>, calls: &Calls) -> Pools {
    let auto_mode_classes = async {
        if auto_mode.await == Some(false) {
            return auto_mode_off();
        }
        auto_mode_classes(api, calls).await
    };
    let (node_pools, node_classes, auto_mode_classes) = join!(
        node_pools(api, calls),
        node_classes(api, calls),
        auto_mode_classes
    );
    Pools {
        node_pools,
        node_classes,
        auto_mode_classes,
    }
}

async fn auto_mode_classes(api: &Api, calls: &Calls) -> Fact<List<NodeClass>> {
    let call = AUTO_MODE_CLASSES.grant().action();
    let listed = fold(
        api,
        &AUTO_MODE_CLASSES,
        &List::default,
        |list, item| match NodeClass::from_json(item, NodeClassKind::EksNodeClass) {
            Ok(class) => list.items.push(class),
            Err(broken) => list.broken.push(broken.to_string()),
        },
    )
    .await;
    let observed = observed(&call, listed);
    match &observed {
        Observed::Known(list) => calls.record(&call, format!("{} items", list.items.len())),
        other => calls.observed(&call, other),
    }
    Fact::new(call, observed)
}

/// A kind in one version.
pub(super) struct Served {
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) plural: &'static str,
}

impl Served {
    pub(super) fn grant(&self) -> Grant {
        Grant::Rbac {
            verb: "list".to_owned(),
            group: self.group.to_owned(),
            resource: self.plural.to_owned(),
            namespace: None,
            name: None,
        }
    }

    fn path(&self) -> String {
        format!("/apis/{}/{}/{}", self.group, self.version, self.plural)
    }
}

const fn karpenter(version: &'static str, plural: &'static str) -> Served {
    Served {
        group: "karpenter.sh",
        version,
        plural,
    }
}

const fn karpenter_aws(version: &'static str, plural: &'static str) -> Served {
    Served {
        group: "karpenter.k8s.aws",
        version,
        plural,
    }
}

async fn node_pools(api: &Api, calls: &Calls) -> Fact<List<NodePool>> {
    let versions = [
        (karpenter("v1", "nodepools"), KarpenterApi::V1),
        (karpenter("v1beta1", "nodepools"), KarpenterApi::V1Beta1),
        (karpenter("v1alpha5", "provisioners"), KarpenterApi::V1Alpha5),
    ];
    list(api, calls, &versions, |item, version| {
        NodePool::from_json(item, Some(*version)).map_err(|broken| broken.to_string())
    })
    .await
}

async fn node_classes(api: &Api, calls: &Calls) -> Fact<List<NodeClass>> {
    let versions = [
        (karpenter_aws("v1", "ec2nodeclasses"), NodeClassKind::Ec2NodeClass),
        (
            karpenter_aws("v1beta1", "ec2nodeclasses"),
            NodeClassKind::Ec2NodeClass,
        ),
        (
            karpenter_aws("v1alpha1", "awsnodetemplates"),
            NodeClassKind::AwsNodeTemplate,
        ),
    ];
    list(api, calls, &versions, |item, kind| {
        NodeClass::from_json(item, *kind).map_err(|broken| broken.to_string())
    })
    .await
}

/// What all NodeClaims (Machines of v1alpha5) tell, without keeping them. Absent: the cluster does not serve the kind.
pub(super) async fn claims(api: &Api, now: Timestamp, calls: &Calls) -> Fact<ClaimFold> {
    let versions = [
        (karpenter("v1", "nodeclaims"), ()),
        (karpenter("v1beta1", "nodeclaims"), ()),
        (karpenter("v1alpha5", "machines"), ()),
    ];
    first_served(
        api,
        calls,
        &versions,
        || ClaimFold::new(now),
        |fold, item, ()| fold.add_json(item),
        |fold| fold.seen + fold.broken.count,
    )
    .await
}

async fn list<V, T: Clone>(
    api: &Api,
    calls: &Calls,
    versions: &[(Served, V)],
    parse: impl Fn(&Value, &V) -> Result<T, String>,
) -> Fact<List<T>> {
    first_served(
        api,
        calls,
        versions,
        List::default,
        |list: &mut List<T>, item, version| match parse(item, version) {
            Ok(parsed) => list.items.push(parsed),
            Err(broken) => list.broken.push(broken),
        },
        |list| (list.items.len() + list.broken.len()) as u64,
    )
    .await
}

/// Folds every kind of `versions`, each in the newest version that is served; beside it, at the same time, asks which versions
/// the group serves, so that an older Karpenter costs one more request and a missing one costs none. Karpenter 0.32 to 0.37 serve
/// two kinds side by side: v1alpha5's Provisioner and v1beta1's NodePool.
async fn first_served<V, S: Clone>(
    api: &Api,
    calls: &Calls,
    versions: &[(Served, V)],
    start: impl Fn() -> S,
    add: impl Fn(&mut S, &Value, &V),
    count: impl Fn(&S) -> u64,
) -> Fact<S> {
    let Some((newest, newest_as)) = versions.first() else {
        return Fact::not_asked("list", "no version is known");
    };
    let call = newest.grant().action();
    let group_path = format!("/apis/{}", newest.group);
    let discovery_grant = Grant::Rbac {
        verb: "get".to_owned(),
        group: newest.group.to_owned(),
        resource: "(discovery)".to_owned(),
        namespace: None,
        name: None,
    };
    let (listed, group) = join!(
        fold(api, newest, &start, |state, item| add(state, item, newest_as)),
        api.get(&group_path, &discovery_grant)
    );
    let served = match group {
        Ok(group) => Ok(group
            .get("versions")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|version| version.get("version").and_then(Value::as_str).map(str::to_owned))
            .collect()),
        Err(Refusal::NotInstalled | Refusal::NotFound | Refusal::Gone) => Ok(Vec::new()),
        Err(Refusal::Unknown(unknown)) => Err(unknown),
    };
    let is_served = |version: &str, served: &[String]| served.iter().any(|known| known == version);
    let listed = match (listed, served) {
        (Err(Refusal::NotInstalled | Refusal::NotFound), Err(unknown)) => {
            calls.record(&call, unknown.to_string());
            return Fact::new(call, Observed::Unknown(unknown));
        }
        // The API server asks RBAC before it looks whether it has the kind, so a denial alone says nothing about that;
        // what it serves is told to everybody who is logged in (ClusterRole system:discovery).
        (Err(Refusal::Unknown(denied)), Ok(served))
            if !matches!(denied.why, Why::Denied { .. }) || is_served(newest.version, &served) =>
        {
            Err(Refusal::Unknown(denied))
        }
        (Err(Refusal::NotInstalled | Refusal::NotFound | Refusal::Unknown(_)), Ok(served)) => {
            older(api, versions, &served, None, &start, &add).await
        }
        (Ok(state), Ok(served)) => older(api, versions, &served, Some(state), &start, &add).await,
        (other, _) => other,
    };
    let observed = observed(&call, listed);
    match &observed {
        Observed::Known(state) => calls.record(&call, format!("{} items", count(state))),
        other => calls.observed(&call, other),
    }
    Fact::new(call, observed)
}

/// Reads the older versions that are served, each kind once, onto what the newest held.
async fn older<V, S: Clone>(
    api: &Api,
    versions: &[(Served, V)],
    served: &[String],
    newest: Option<S>,
    start: &impl Fn() -> S,
    add: &impl Fn(&mut S, &Value, &V),
) -> Result<S, Refusal> {
    let mut read: Vec<&str> = versions
        .first()
        .filter(|_| newest.is_some())
        .map(|(newest, _)| newest.plural)
        .into_iter()
        .collect();
    let mut state = newest;
    for (kind, version) in versions.iter().skip(1) {
        if read.contains(&kind.plural) || !served.iter().any(|known| known == kind.version) {
            continue;
        }
        let before = || state.clone().unwrap_or_else(start);
        match fold(api, kind, &before, |state, item| add(state, item, version)).await {
            Ok(found) => {
                state = Some(found);
                read.push(kind.plural);
            }
            // A group may serve a version without this kind in it: v1beta1 has no Provisioner.
            Err(Refusal::NotInstalled | Refusal::NotFound) => {}
            Err(refusal) => return Err(refusal),
        }
    }
    state.ok_or(Refusal::NotInstalled)
}

/// What the end of reading a list means: a kind that is not served is absent.
pub(super) fn observed<S>(call: &str, listed: Result<S, Refusal>) -> Observed<S> {
    match listed {
        Ok(state) => Observed::Known(state),
        Err(Refusal::NotInstalled | Refusal::NotFound) => Observed::Absent,
        Err(Refusal::Gone) => Observed::Unknown(Unknown::new(
            Why::Unusable,
            format!("{call}: the list expired while it was read"),
        )),
        Err(Refusal::Unknown(unknown)) => Observed::Unknown(unknown),
    }
}

async fn fold<S>(
    api: &Api,
    served: &Served,
    start: &impl Fn() -> S,
    add: impl Fn(&mut S, &Value),
) -> Result<S, Refusal> {
    api.fold(&served.path(), PAGE, &served.grant(), start, |state, item| {
        add(state, &item);
    })
    .await
}
