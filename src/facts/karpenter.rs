//! Karpenter's objects (Kubernetes API): node pools and node classes in whichever version the cluster serves.

use futures_util::join;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::unread;
use crate::karpenter::objects::{Api as KarpenterApi, NodeClass, NodeClassKind, NodePool};
use crate::karpenter::traces::ClaimFold;
use crate::kube::{Api, Resource};
use crate::model::{Fact, Unknown};

/// A list of one kind, and the items that could not be understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct List<T> {
    /// The items that were understood.
    pub items: Vec<T>,
    /// A sentence for each item that was not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub broken: Vec<String>,
}

impl<T> List<T> {
    /// Takes an item in, or the sentence about one that was not understood.
    pub fn add(&mut self, item: Result<T, String>) {
        match item {
            Ok(item) => self.items.push(item),
            Err(broken) => self.broken.push(broken),
        }
    }
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

/// The calls that list them, for facts that were not read.
pub(super) fn unread_pools(unknown: &Unknown) -> Pools {
    Pools {
        node_pools: unread(NODE_POOLS.listed(), unknown),
        node_classes: unread(NODE_CLASSES.listed(), unknown),
    }
}

const NODE_POOLS: Resource<'static> = Resource::new("karpenter.sh", "v1", "NodePool", "nodepools");
const NODE_CLASSES: Resource<'static> =
    Resource::new("karpenter.k8s.aws", "v1", "EC2NodeClass", "ec2nodeclasses");
/// The newest kind of them; its call stands for all.
pub(super) const CLAIMS: Resource<'static> = Resource::new("karpenter.sh", "v1", "NodeClaim", "nodeclaims");

/// Reads both lists at the same time.
pub async fn pools(api: &Api) -> Pools {
    let (node_pools, node_classes) = join!(node_pools(api), node_classes(api));
    Pools {
        node_pools,
        node_classes,
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
