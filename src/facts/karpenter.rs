//! Karpenter's objects (Kubernetes API): node pools and node classes in whichever version the cluster serves.

use futures_util::join;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::karpenter::objects::{Api as KarpenterApi, NodeClass, NodeClassKind, NodePool};
use crate::karpenter::traces::ClaimFold;
use crate::kube::{Api, Refusal};
use crate::model::Calls;
use crate::model::{Fact, Grant, Observed, Unknown, Why};

/// How many objects one page of a list holds.
pub(super) const PAGE: usize = 500;

/// A list of one kind, and the items that could not be understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct List<T> {
    /// The items that were understood.
    pub items: Vec<T>,
    /// A sentence for each item that was not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub broken: Vec<String>,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            broken: Vec::new(),
        }
    }
}

/// Karpenter's node pools and node classes. Absent: the cluster does not serve the kind, Karpenter is not installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pools {
    /// NodePools, or Provisioners of v1alpha5.
    pub node_pools: Fact<List<NodePool>>,
    /// EC2NodeClasses, or AWSNodeTemplates of v1alpha1.
    pub node_classes: Fact<List<NodeClass>>,
}

impl Pools {
    /// Facts that nobody asked for.
    pub fn not_asked(because: &str) -> Self {
        Self {
            node_pools: Fact::not_asked("list nodepools.karpenter.sh", because),
            node_classes: Fact::not_asked("list ec2nodeclasses.karpenter.k8s.aws", because),
        }
    }
}

/// Reads both lists at the same time.
pub async fn pools(api: &Api, calls: &Calls) -> Pools {
    let (node_pools, node_classes) = join!(node_pools(api, calls), node_classes(api, calls));
    Pools {
        node_pools,
        node_classes,
    }
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

async fn list<V, T>(
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

/// Folds the newest version that is served; beside it, at the same time, asks which versions the group serves, so that
/// an older Karpenter costs one more request and a missing one costs none.
async fn first_served<V, S>(
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
            let mut older = versions
                .iter()
                .skip(1)
                .filter(|(served_as, _)| is_served(served_as.version, &served));
            // A group may serve a version without this kind in it: v1beta1 has no Provisioner.
            loop {
                match older.next() {
                    Some((older, version)) => {
                        match fold(api, older, &start, |state, item| add(state, item, version)).await {
                            Err(Refusal::NotInstalled | Refusal::NotFound) => {}
                            other => break other,
                        }
                    }
                    None => break Err(Refusal::NotInstalled),
                }
            }
        }
        (other, _) => other,
    };
    let observed = observed(&call, listed);
    match &observed {
        Observed::Known(state) => calls.record(&call, format!("{} items", count(state))),
        other => calls.observed(&call, other),
    }
    Fact::new(call, observed)
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
