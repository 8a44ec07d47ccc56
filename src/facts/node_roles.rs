//! The roles that Karpenter's nodes have, or are about to have (IAM).

use futures_util::stream::{self, StreamExt as _};
use futures_util::{future, join};
use iam_policy::arn;
use serde::{Deserialize, Serialize};

use super::{AT_ONCE, Reading, unread};
use crate::aws::iam;
use crate::karpenter::launch_paths::{ClassLink, NamedIdentity};
use crate::karpenter::nodepools_file::placeholder;
use crate::karpenter::objects::NodeOs;
use crate::model::{Fact, InstanceProfile, Observed, Role};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "by")]
pub enum NamedBy {
    /// `--node-role`.
    Flag,
    /// An EC2NodeClass (or AWSNodeTemplate), by its role or its instance profile.
    NodeClass { name: String },
    /// Nobody yet: the name that Karpenter's documentation (`KarpenterNodeRole-CLUSTER`) or CAPT (`CLUSTER-node`) gives
    /// it, found in IAM.
    Convention,
}

/// A role that Karpenter's nodes have, or are about to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRole {
    pub named_by: NamedBy,
    /// Its name as it was given: a name, a name with a path, or an ARN.
    pub given: String,
    pub name: String,
    /// The instance profile it was found through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_profile: Option<String>,
    pub os: NodeOs,
    pub role: Fact<Role>,
    /// The instance profiles that the node classes with this `spec.role` really use (`status.instanceProfile`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles_in_use: Vec<ProfileInUse>,
}

/// The instance profile that a node class which names a role launches its nodes with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProfileInUse {
    pub class: String,
    /// The profile, with the role in it.
    pub profile: Fact<InstanceProfile>,
}

/// Which roles Karpenter's nodes have: the flag's, else those of the launch paths, else the usual names where IAM has them.
///
/// EKS Auto Mode's nodes are left out: EKS itself maps their roles.
pub(super) async fn read(read: &Reading<'_>) -> Fact<Vec<NodeRole>> {
    const CALL: &str = "list ec2nodeclasses.karpenter.k8s.aws";
    if let Some(given) = &read.ask.node_role {
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
    let paths = read.launch_paths().await;
    let own = || paths.paths.iter().filter(|path| !path.is_auto_mode());
    // Where no pool is known, every class may be used.
    let any_class = paths.paths.is_empty();
    let needs_classes = any_class || own().any(|path| matches!(path.class, ClassLink::Unread(_)));
    if let Some(unknown) = paths.classes_unread.filter(|_| needs_classes) {
        return unread(CALL, unknown);
    }
    // Several classes often share a role: each name is read once.
    let mut asked: Vec<AskedRole> = Vec::new();
    for path in own() {
        let class = path.pool.node_class.as_ref();
        let class = class.map_or(&path.pool.name, |class| &class.name);
        add(&mut asked, class, path.identity, path.made_profile, path.os);
    }
    if any_class {
        for (class, _) in &paths.unused {
            let (identity, made) = (NamedIdentity::of(class), class.made_profile());
            add(&mut asked, &class.name, identity, made, class.os());
        }
    }
    if asked.is_empty() && own().next().is_none() && !any_class {
        return Fact::new(CALL, Observed::Known(Vec::new()));
    }
    if asked.is_empty() {
        return conventional(read).await;
    }
    let found = stream::iter(asked)
        .map(|asked| asked.read(read))
        .buffered(AT_ONCE)
        .collect()
        .await;
    Fact::new(CALL, Observed::Known(found))
}

/// The roles of the usual names that are in IAM.
async fn conventional(read: &Reading<'_>) -> Fact<Vec<NodeRole>> {
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
    Fact::new(
        format!("iam:GetRole KarpenterNodeRole-{0}, {0}-node", read.target.cluster),
        Observed::Known(found),
    )
}

/// Adds a role to those that are read, if it is a new one.
fn add(
    asked: &mut Vec<AskedRole>,
    class: &str,
    identity: Option<NamedIdentity<'_>>,
    made_profile: Option<&str>,
    os: NodeOs,
) {
    let named = match identity {
        Some(NamedIdentity::Role(role)) => Named::Role(role.to_owned()),
        Some(NamedIdentity::Profile(profile)) => Named::Profile(profile.to_owned()),
        None => return,
    };
    let profile = made_profile.map(|profile| (class.to_owned(), profile.to_owned()));
    match asked
        .iter_mut()
        .find(|known| known.named == named && known.os == os)
    {
        // Two pools may have one class.
        Some(known) => {
            let new = profile.filter(|one| !known.profiles.contains(one));
            known.profiles.extend(new);
        }
        None => asked.push(AskedRole {
            class: class.to_owned(),
            os,
            named,
            profiles: profile.into_iter().collect(),
        }),
    }
}

/// A role that a node class names, to be read.
struct AskedRole {
    class: String,
    os: NodeOs,
    named: Named,
    /// Node classes with the instance profiles that they use.
    profiles: Vec<(String, String)>,
}

#[derive(PartialEq, Eq)]
enum Named {
    Role(String),
    Profile(String),
}

impl AskedRole {
    async fn read(self, read: &Reading<'_>) -> NodeRole {
        let named_by = NamedBy::NodeClass { name: self.class };
        let (Named::Role(given) | Named::Profile(given)) = &self.named;
        if let Some(variable) = placeholder(given) {
            let why = format!("{given} has the variable {variable}, which is not filled in");
            return NodeRole {
                named_by,
                given: given.clone(),
                name: String::new(),
                instance_profile: None,
                os: self.os,
                role: Fact::not_asked("iam:GetRole", why),
                profiles_in_use: Vec::new(),
            };
        }
        match self.named {
            Named::Role(given) => {
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
            Named::Profile(profile) => {
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
