//! Karpenter's objects (Kubernetes API): node pools and node classes in whichever version the cluster serves.

use futures_util::join;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Ask, unread};
use crate::cluster::Target;
use crate::karpenter::launch_paths::{Filed, Inventory, LaunchPaths, launch_paths};
pub use crate::karpenter::objects::List;
use crate::karpenter::objects::{Api as KarpenterApi, NodeClass, NodeClassKind, NodePool};
use crate::karpenter::traces::ClaimFold;
use crate::kube::{Api, Resource};
use crate::model::{Cluster, Fact, Unknown};

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

/// Auto Mode's classes where it is off, and in facts of earlier versions.
fn auto_mode_off() -> Fact<List<NodeClass>> {
    Fact::not_asked(AUTO_MODE_CLASSES.listed(), "EKS Auto Mode is off")
}

impl Pools {
    /// The join of all of them with what a file or chart holds.
    pub(crate) fn launch_paths<'a>(
        &'a self,
        ask: &'a Ask,
        target: &'a Target,
        cluster: &'a Fact<Cluster>,
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

/// The calls that list them, for facts that were not read.
pub(super) fn unread_pools(unknown: &Unknown) -> Pools {
    Pools {
        node_pools: unread(NODE_POOLS.listed(), unknown),
        node_classes: unread(NODE_CLASSES.listed(), unknown),
        auto_mode_classes: unread(AUTO_MODE_CLASSES.listed(), unknown),
    }
}

const NODE_POOLS: Resource<'static> = Resource::new("karpenter.sh", "v1", "NodePool", "nodepools");
const NODE_CLASSES: Resource<'static> =
    Resource::new("karpenter.k8s.aws", "v1", "EC2NodeClass", "ec2nodeclasses");
const AUTO_MODE_CLASSES: Resource<'static> =
    Resource::new("eks.amazonaws.com", "v1", "NodeClass", "nodeclasses");
/// The newest kind of them; its call stands for all.
pub(super) const CLAIMS: Resource<'static> = Resource::new("karpenter.sh", "v1", "NodeClaim", "nodeclaims");

/// Reads all lists at the same time; Auto Mode's classes where `auto_mode`, once known, does not say that it is off.
pub(super) async fn pools(api: &Api, auto_mode: impl Future<Output = Option<bool>>) -> Pools {
    let auto_mode_classes = async {
        if auto_mode.await == Some(false) {
            return auto_mode_off();
        }
        api.list_served(&[AUTO_MODE_CLASSES], List::default, |list, item, _| {
            let read = NodeClass::from_json(item, NodeClassKind::EksNodeClass);
            list.add(read.map_err(|broken| broken.to_string()));
        })
        .await
    };
    let (node_pools, node_classes, auto_mode_classes) =
        join!(node_pools(api), node_classes(api), auto_mode_classes);
    Pools {
        node_pools,
        node_classes,
        auto_mode_classes,
    }
}

async fn node_pools(api: &Api) -> Fact<List<NodePool>> {
    let versions = [
        NODE_POOLS,
        Resource::new("karpenter.sh", "v1beta1", "NodePool", "nodepools"),
        Resource::new("karpenter.sh", "v1alpha5", "Provisioner", "provisioners"),
    ];
    let read_as = [KarpenterApi::V1, KarpenterApi::V1Beta1, KarpenterApi::V1Alpha5];
    api.list_served(&versions, List::default, |list, item, version| {
        list.add(NodePool::from_json(item, Some(read_as[version])).map_err(|broken| broken.to_string()));
    })
    .await
}

async fn node_classes(api: &Api) -> Fact<List<NodeClass>> {
    let versions = [
        NODE_CLASSES,
        Resource::new("karpenter.k8s.aws", "v1beta1", "EC2NodeClass", "ec2nodeclasses"),
        Resource::new(
            "karpenter.k8s.aws",
            "v1alpha1",
            "AWSNodeTemplate",
            "awsnodetemplates",
        ),
    ];
    let read_as = [
        NodeClassKind::Ec2NodeClass,
        NodeClassKind::Ec2NodeClass,
        NodeClassKind::AwsNodeTemplate,
    ];
    api.list_served(&versions, List::default, |list, item, version| {
        list.add(NodeClass::from_json(item, read_as[version]).map_err(|broken| broken.to_string()));
    })
    .await
}

/// What all NodeClaims (Machines of v1alpha5) tell, without keeping them. Absent: the cluster does not serve the kind.
pub(super) async fn claims(api: &Api, now: Timestamp) -> Fact<ClaimFold> {
    let versions = [
        CLAIMS,
        Resource::new("karpenter.sh", "v1beta1", "NodeClaim", "nodeclaims"),
        Resource::new("karpenter.sh", "v1alpha5", "Machine", "machines"),
    ];
    api.list_served(
        &versions,
        || ClaimFold::new(now),
        |fold: &mut ClaimFold, item, _| fold.add_json(item),
    )
    .await
}
