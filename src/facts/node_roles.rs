//! The roles that Karpenter's nodes have, or are about to have (IAM).

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt as _};
use futures_util::{future, join};
use iam_policy::arn;
use serde::{Deserialize, Serialize};

use super::{AT_ONCE, Ask, Reading, karpenter};
use crate::aws::iam;
use crate::karpenter::objects::NodeOs;
use crate::karpenter::requirements::admitted;
use crate::model::{Fact, InstanceProfile, Observed, Role};

/// Who named a node role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "by")]
pub enum NamedBy {
    /// `--node-role`.
    Flag,
    /// An EC2NodeClass (or AWSNodeTemplate), by its role or its instance profile.
    NodeClass {
        /// Its name.
        name: String,
    },
    /// Nobody yet: the name that Karpenter's documentation (`KarpenterNodeRole-CLUSTER`) or CAPT (`CLUSTER-node`) gives
    /// it, found in IAM.
    Convention,
}

/// A role that Karpenter's nodes have, or are about to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRole {
    /// Who named it.
    pub named_by: NamedBy,
    /// Its name as it was given: a name, a name with a path, or an ARN.
    pub given: String,
    /// Its name without path.
    pub name: String,
    /// The instance profile it was found through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_profile: Option<String>,
    /// What runs on its nodes.
    pub os: NodeOs,
    /// The role in IAM.
    pub role: Fact<Role>,
    /// The instance profiles that the node classes with this `spec.role` really use (`status.instanceProfile`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles_in_use: Vec<ProfileInUse>,
}

/// The instance profile that a node class which names a role launches its nodes with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProfileInUse {
    /// The node class.
    pub class: String,
    /// The profile, with the role in it.
    pub profile: Fact<InstanceProfile>,
}

/// Which roles Karpenter's nodes have: the flag's, else every node class's, else the usual names where IAM has them.
pub(super) async fn read(read: &Reading<'_>) -> Fact<Vec<NodeRole>> {
    let ask = read.ask;
    if let Some(given) = &ask.node_role {
        let name = arn::role_name(given);
        let role = read.role(&name).await;
        let found = NodeRole {
            named_by: NamedBy::Flag,
            given: given.clone(),
            name,
            instance_profile: None,
            os: NodeOs::Linux,
            role,
            profiles_in_use: Vec::new(),
        };
        return Fact::new("--node-role", Observed::Known(vec![found]));
    }
    let pools = read.pools().await;
    let classes = match &pools.node_classes.observed {
        Observed::Unknown(unknown) => {
            return Fact::new(
                pools.node_classes.call.clone(),
                Observed::Unknown(unknown.clone()),
            );
        }
        Observed::Absent => &[][..],
        Observed::Known(list) => &list.items[..],
    };
    let filed = ask.nodepools.as_ref().map_or(&[][..], |file| &file.node_classes);
    let classes = if classes.is_empty() { filed } else { classes };
    if classes.is_empty() {
        let names = [
            format!("KarpenterNodeRole-{}", read.target.cluster),
            format!("{}-node", read.target.cluster),
        ];
        let roles = future::join_all(names.iter().map(|name| read.role(name))).await;
        let mut found = Vec::new();
        for (name, role) in names.into_iter().zip(roles) {
            match role.observed {
                Observed::Absent => {}
                Observed::Unknown(unknown) => return Fact::new(role.call, Observed::Unknown(unknown)),
                Observed::Known(_) => found.push(NodeRole {
                    named_by: NamedBy::Convention,
                    given: name.clone(),
                    name,
                    instance_profile: None,
                    os: NodeOs::Linux,
                    role,
                    profiles_in_use: Vec::new(),
                }),
            }
        }
        return Fact::new(
            format!("iam:GetRole KarpenterNodeRole-{0}, {0}-node", read.target.cluster),
            Observed::Known(found),
        );
    }
    // Several classes often share a role: each name is read once.
    let systems = systems_of(pools, ask);
    let mut wanted: Vec<Wanted> = Vec::new();
    for class in classes {
        let status_profile = class.status_instance_profile.as_ref();
        let want = match (&class.role, class.instance_profile.as_ref().or(status_profile)) {
            (Some(role), _) => Want::Role(role.clone()),
            (None, Some(profile)) => Want::Profile(profile.clone()),
            (None, None) => continue,
        };
        let os = match class.os() {
            NodeOs::Unknown => systems
                .get(class.name.as_str())
                .copied()
                .unwrap_or(NodeOs::Unknown),
            known => known,
        };
        let profile = match (&want, status_profile) {
            (Want::Role(_), Some(profile)) => Some((class.name.clone(), profile.clone())),
            _ => None,
        };
        match wanted
            .iter_mut()
            .find(|known| known.want == want && known.os == os)
        {
            Some(known) => known.profiles.extend(profile),
            None => wanted.push(Wanted {
                class: class.name.clone(),
                os,
                want,
                profiles: profile.into_iter().collect(),
            }),
        }
    }
    let found = stream::iter(wanted)
        .map(|wanted| wanted.read(read))
        .buffered(AT_ONCE)
        .collect()
        .await;
    Fact::new(pools.node_classes.call.clone(), Observed::Known(found))
}

/// What the node classes' pools say of the operating system, where they leave no choice: a class of the AMI family
/// `Custom` does not tell.
fn systems_of<'a>(pools: &'a karpenter::Pools, ask: &'a Ask) -> BTreeMap<&'a str, NodeOs> {
    let known = pools.node_pools.known().map_or(&[][..], |list| &list.items);
    let filed = ask.nodepools.as_ref().map_or(&[][..], |file| &file.pools);
    let mut systems = BTreeMap::new();
    for pool in known.iter().chain(filed).filter(|pool| !pool.deleting) {
        let Some(class) = &pool.node_class else { continue };
        let admitted = admitted(pool, "kubernetes.io/os");
        match (admitted.has("windows"), admitted.has("linux")) {
            // Windows nodes need one group more than Linux nodes, so that is what a class of both is asked for.
            (true, false) => systems.insert(class.name.as_str(), NodeOs::Windows),
            (false, true) => match systems.get(class.name.as_str()) {
                Some(_) => None,
                None => systems.insert(class.name.as_str(), NodeOs::Linux),
            },
            _ => None,
        };
    }
    systems
}

struct Wanted {
    class: String,
    os: NodeOs,
    want: Want,
    /// Node classes with the instance profiles that they use.
    profiles: Vec<(String, String)>,
}

#[derive(PartialEq, Eq)]
enum Want {
    Role(String),
    Profile(String),
}

impl Wanted {
    async fn read(self, read: &Reading<'_>) -> NodeRole {
        let named_by = NamedBy::NodeClass { name: self.class };
        match self.want {
            Want::Role(given) => {
                let name = arn::role_name(&given);
                let profiles = stream::iter(self.profiles)
                    .map(|(class, profile)| async move {
                        let profile = iam::get_instance_profile(&read.session, &profile).await;
                        ProfileInUse { class, profile }
                    })
                    .buffered(AT_ONCE)
                    .collect();
                let (role, profiles_in_use) = join!(read.role(&name), profiles);
                NodeRole {
                    named_by,
                    given,
                    name,
                    instance_profile: None,
                    os: self.os,
                    role,
                    profiles_in_use,
                }
            }
            Want::Profile(profile) => {
                let fact = iam::get_instance_profile(&read.session, &profile).await;
                let (name, role) = match fact.observed {
                    Observed::Known(InstanceProfile { role: Some(role), .. }) => {
                        (role.name.clone(), Observed::Known(role))
                    }
                    Observed::Known(_) => (String::new(), Observed::Absent),
                    Observed::Absent => (String::new(), Observed::Absent),
                    Observed::Unknown(unknown) => (String::new(), Observed::Unknown(unknown)),
                };
                NodeRole {
                    named_by,
                    given: profile.clone(),
                    name,
                    instance_profile: Some(profile),
                    os: self.os,
                    role: Fact::new(fact.call, role),
                    profiles_in_use: Vec::new(),
                }
            }
        }
    }
}
