//! The one join of node pool, node class and node role: of the cluster's objects, and those of a file or chart, which win by
//! name. Every check that speaks of a pool, a class or a node role reads it.

use super::json::clip;
use super::objects::{
    Condition, ConditionStatus, List, NodeClass, NodeClassKind, NodeClassRef, NodeOs, NodePool,
};
use super::requirements::{SpotVerdict, admitted, spot_verdict_in};
use crate::model::{Observed, Unknown};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Inventory<'a> {
    /// NodePools and Provisioners of the cluster.
    pub(crate) pools: &'a Observed<List<NodePool>>,
    /// EC2NodeClasses and AWSNodeTemplates of the cluster.
    pub(crate) classes: &'a Observed<List<NodeClass>>,
    /// NodeClasses of EKS Auto Mode.
    pub(crate) auto_mode_classes: &'a Observed<List<NodeClass>>,
    /// Whether Auto Mode is on; none: not known.
    pub(crate) auto_mode: Option<bool>,
    pub(crate) filed: Option<Filed<'a>>,
    pub(crate) region: &'a str,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Filed<'a> {
    /// As a person would name it.
    pub(crate) name: &'a str,
    pub(crate) pools: &'a [NodePool],
    pub(crate) classes: &'a [NodeClass],
    /// A sentence for each object that could not be read.
    pub(crate) broken: &'a [String],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source<'a> {
    Cluster,
    /// The file or chart of that name.
    File(&'a str),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ClassLink<'a> {
    Found(&'a NodeClass, Source<'a>),
    /// It is in neither the cluster nor the file.
    Missing,
    /// The cluster serves no such kind, for the reason given.
    NotServed(String),
    Unread(&'a Unknown),
    /// One class could not be understood, and it may be this one.
    NotUnderstood(&'a str),
    Unnamed,
}

/// What the class says about the role of the pool's nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NamedIdentity<'a> {
    /// The role's name, perhaps with a path.
    Role(&'a str),
    /// The instance profile that holds the role.
    Profile(&'a str),
}

impl<'a> NamedIdentity<'a> {
    /// What a class says. Karpenter takes `spec.role` first.
    pub(crate) fn of(class: &'a NodeClass) -> Option<Self> {
        let profile = class
            .instance_profile
            .as_ref()
            .or(class.status_instance_profile.as_ref());
        match (&class.role, profile) {
            (Some(role), _) => Some(Self::Role(role)),
            (None, profile) => profile.map(|profile| Self::Profile(profile)),
        }
    }
}

/// A pool with all that it launches with. Pools that are being deleted have none.
#[derive(Debug, Clone)]
pub(crate) struct LaunchPath<'a> {
    pub(crate) pool: &'a NodePool,
    pub(crate) source: Source<'a>,
    pub(crate) spot: SpotVerdict,
    pub(crate) class: ClassLink<'a>,
    /// None: the class is not known, or names neither role nor profile yet.
    pub(crate) identity: Option<NamedIdentity<'a>>,
    /// The instance profile that Karpenter made for the class's role.
    pub(crate) made_profile: Option<&'a str>,
    pub(crate) os: NodeOs,
}

/// Every launch path, and what stands in the way of knowing them all.
#[derive(Debug, Clone, Default)]
pub(crate) struct LaunchPaths<'a> {
    pub(crate) paths: Vec<LaunchPath<'a>>,
    /// A sentence for each pool that could not be understood.
    pub(crate) broken: Vec<String>,
    /// Classes that no pool uses, those of a file included.
    pub(crate) unused: Vec<(&'a NodeClass, Source<'a>)>,
    /// Why the cluster's pools could not be read.
    pub(crate) unread: Option<&'a Unknown>,
    /// Why its EC2NodeClasses could not be read.
    pub(crate) classes_unread: Option<&'a Unknown>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Obstacle<'a> {
    /// The class is missing, of a kind that is not served, or not named.
    Class(String),
    ClassDeleting(&'a str),
    /// A condition of the pool or, where `class` is given, of its class.
    Condition {
        class: Option<&'a str>,
        condition: &'a Condition,
    },
    /// Karpenter launches nothing for it, for a reason in its own spec.
    Stopped(String),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Readiness<'a> {
    Ready,
    /// It does not, for these reasons.
    NotReady(Vec<Obstacle<'a>>),
    /// It has not finished judging the pool or its class: these conditions are `Unknown`.
    Pending(Vec<Obstacle<'a>>),
    /// There is no condition: Karpenter has not seen the pool, or is a version that writes none.
    NotJudged,
    Unread(&'a Unknown),
    /// A class could not be understood, and it may be this one.
    NotUnderstood(&'a str),
}

pub(crate) fn launch_paths(inventory: Inventory<'_>) -> LaunchPaths<'_> {
    let filed = inventory.filed;
    let in_file = filed.iter().flat_map(|file| {
        let source = Source::File(file.name);
        file.pools.iter().map(move |pool| (pool, source))
    });
    let replaced = |pool: &NodePool| {
        filed.is_some_and(|file| {
            file.pools
                .iter()
                .any(|one| one.name == pool.name && one.kind() == pool.kind())
        })
    };
    let there = inventory.pools.known();
    let mut paths: Vec<LaunchPath<'_>> = there
        .into_iter()
        .flat_map(|list| &list.items)
        .filter(|pool| !pool.deleting && !replaced(pool))
        .map(|pool| (pool, Source::Cluster))
        .chain(in_file)
        .map(|(pool, source)| launch_path(inventory, pool, source))
        .collect();
    // A class of AMIs that may hold anything is asked for what all of its pools say.
    let systems: Vec<NodeOs> = paths
        .iter()
        .map(|path| match (path.os, &path.class) {
            (NodeOs::Unknown, ClassLink::Found(class, _)) => shared_os(&paths, class),
            (os, _) => os,
        })
        .collect();
    for (path, os) in paths.iter_mut().zip(systems) {
        path.os = os;
    }
    let used = |class: &NodeClass| {
        paths
            .iter()
            .any(|path| matches!(path.class, ClassLink::Found(used, _) if std::ptr::eq(used, class)))
    };
    let unused = classes(inventory).filter(|(class, _)| !used(class)).collect();
    let broken = there
        .into_iter()
        .flat_map(|list| list.broken.iter().cloned())
        .chain(filed.iter().flat_map(|file| {
            file.broken
                .iter()
                .map(move |broken| format!("{}, {broken}", file.name))
        }))
        .collect();
    LaunchPaths {
        paths,
        broken,
        unused,
        unread: inventory.pools.unknown(),
        classes_unread: inventory.classes.unknown(),
    }
}

/// All classes; one of the file hides the cluster's of the same name.
fn classes(inventory: Inventory<'_>) -> impl Iterator<Item = (&NodeClass, Source<'_>)> {
    let filed = inventory.filed;
    let hidden = move |class: &NodeClass| {
        filed.is_some_and(|file| {
            file.classes
                .iter()
                .any(|one| one.name == class.name && one.kind == class.kind)
        })
    };
    let in_file = filed.into_iter().flat_map(|file| {
        file.classes
            .iter()
            .map(move |class| (class, Source::File(file.name)))
    });
    [inventory.classes, inventory.auto_mode_classes]
        .into_iter()
        .filter_map(Observed::known)
        .flat_map(|list| &list.items)
        .filter(move |class| !hidden(class))
        .map(|class| (class, Source::Cluster))
        .chain(in_file)
}

fn launch_path<'a>(inventory: Inventory<'a>, pool: &'a NodePool, source: Source<'a>) -> LaunchPath<'a> {
    let class = class_link(inventory, pool);
    let found = match class {
        ClassLink::Found(class, _) => Some(class),
        _ => None,
    };
    let identity = match found {
        Some(class) => NamedIdentity::of(class),
        None => pool
            .inline_instance_profile
            .as_deref()
            .map(NamedIdentity::Profile),
    };
    LaunchPath {
        pool,
        source,
        spot: spot_verdict_in(pool, inventory.region),
        identity,
        made_profile: found.and_then(NodeClass::made_profile),
        os: found.map_or(NodeOs::Unknown, NodeClass::os),
        class,
    }
}

/// The kind that a reference means. None: not one of AWS's.
fn kind_of(reference: &NodeClassRef) -> Option<NodeClassKind> {
    match (reference.group.as_str(), reference.kind.as_str()) {
        ("eks.amazonaws.com", _) => Some(NodeClassKind::EksNodeClass),
        ("karpenter.k8s.aws", "AWSNodeTemplate") => Some(NodeClassKind::AwsNodeTemplate),
        ("karpenter.k8s.aws" | "", _) => Some(NodeClassKind::Ec2NodeClass),
        _ => None,
    }
}

fn class_link<'a>(inventory: Inventory<'a>, pool: &'a NodePool) -> ClassLink<'a> {
    let Some(reference) = &pool.node_class else {
        return ClassLink::Unnamed;
    };
    let Some(kind) = kind_of(reference) else {
        return ClassLink::NotServed(format!(
            "{} is not an API group of Karpenter's AWS provider or of EKS Auto Mode",
            clip(&reference.group)
        ));
    };
    let found = classes(inventory).find(|(class, _)| class.kind == kind && class.name == reference.name);
    if let Some((class, source)) = found {
        return ClassLink::Found(class, source);
    }
    let auto_mode = kind == NodeClassKind::EksNodeClass;
    if auto_mode && inventory.auto_mode == Some(false) {
        return ClassLink::NotServed("EKS Auto Mode is off".to_owned());
    }
    let served = if auto_mode {
        inventory.auto_mode_classes
    } else {
        inventory.classes
    };
    match served {
        Observed::Unknown(unknown) => ClassLink::Unread(unknown),
        Observed::Absent => ClassLink::NotServed(format!("the cluster has no {kind} kind")),
        Observed::Known(list) => list
            .broken
            .first()
            .map_or(ClassLink::Missing, |broken| ClassLink::NotUnderstood(broken)),
    }
}

/// What the pools of a class say of the operating system, where they leave no choice. Windows nodes need one group more than
/// Linux nodes, so that is what a class of both is asked for.
fn shared_os(paths: &[LaunchPath<'_>], class: &NodeClass) -> NodeOs {
    let mut shared = NodeOs::Unknown;
    for path in paths {
        if !matches!(path.class, ClassLink::Found(used, _) if std::ptr::eq(used, class)) {
            continue;
        }
        let systems = admitted(path.pool, "kubernetes.io/os");
        match (systems.has("windows"), systems.has("linux")) {
            (true, false) => return NodeOs::Windows,
            (false, true) => shared = NodeOs::Linux,
            _ => {}
        }
    }
    shared
}

impl<'a> LaunchPaths<'a> {
    pub(crate) fn spot(&self) -> impl Iterator<Item = &LaunchPath<'a>> {
        self.paths.iter().filter(|path| path.spot.can_launch_spot())
    }

    /// The classes that pools use, each once.
    pub(crate) fn used_classes(&self) -> Vec<(&'a NodeClass, Source<'a>)> {
        let mut used: Vec<(&NodeClass, Source<'_>)> = Vec::new();
        for path in &self.paths {
            if let ClassLink::Found(class, source) = path.class
                && !used.iter().any(|(known, _)| std::ptr::eq(*known, class))
            {
                used.push((class, source));
            }
        }
        used
    }
}

impl<'a> LaunchPath<'a> {
    /// `EC2NodeClass default`.
    pub(crate) fn class_name(&self) -> String {
        match &self.pool.node_class {
            Some(class) => format!("{} {}", clip(&class.kind), clip(&class.name)),
            None => "node class".to_owned(),
        }
    }

    pub(crate) fn is_auto_mode(&self) -> bool {
        self.pool.node_class.as_ref().and_then(kind_of) == Some(NodeClassKind::EksNodeClass)
    }

    /// Whether Karpenter uses the pool, in its own words where it has any. What comes from a file it has not seen.
    pub(crate) fn readiness(&self) -> Readiness<'a> {
        let mut against = Vec::new();
        let mut seen_class = None;
        match &self.class {
            ClassLink::Unread(unknown) => {
                return Readiness::Unread(unknown);
            }
            ClassLink::NotUnderstood(broken) => return Readiness::NotUnderstood(broken),
            ClassLink::Found(class, source) => {
                if class.deleting {
                    against.push(Obstacle::ClassDeleting(&class.name));
                } else if *source == Source::Cluster {
                    seen_class = Some(*class);
                }
            }
            ClassLink::Missing => {
                against.push(Obstacle::Class(format!("{} does not exist", self.class_name())))
            }
            ClassLink::NotServed(why) => {
                against.push(Obstacle::Class(format!(
                    "{} cannot exist: {why}",
                    self.class_name()
                )));
            }
            // A Provisioner may hold all of it itself.
            ClassLink::Unnamed if self.pool.kind() == "Provisioner" => {}
            ClassLink::Unnamed => against.push(Obstacle::Class("it names no node class".to_owned())),
        }
        let pool_conditions = match self.source {
            Source::Cluster => &self.pool.conditions[..],
            Source::File(_) => &[],
        };
        let class_conditions = seen_class.map_or(&[][..], |class| &class.conditions);
        let mut pending = Vec::new();
        let class_name = seen_class.map(|class| class.name.as_str());
        let not_true = roots(class_conditions)
            .map(|condition| (class_name, condition))
            .chain(
                roots(pool_conditions)
                    // It only repeats what the class says, or what is not so any more with the file's class.
                    .filter(|one| {
                        one.kind != "NodeClassReady"
                            || (seen_class.is_some_and(|class| class.conditions.is_empty())
                                && against.is_empty())
                    })
                    .map(|condition| (None, condition)),
            );
        let mut by_condition = Vec::new();
        for (class, condition) in not_true {
            let obstacle = Obstacle::Condition { class, condition };
            match condition.status {
                ConditionStatus::False => by_condition.push(obstacle),
                _ => pending.push(obstacle),
            }
        }
        against.extend(by_condition);
        // Nothing explains it, and Karpenter ignores the pool all the same.
        if against.is_empty()
            && pending.is_empty()
            && seen_class.is_some()
            && let Some(ready) = pool_conditions.iter().find(|one| one.kind == "Ready")
        {
            let obstacle = Obstacle::Condition {
                class: None,
                condition: ready,
            };
            match ready.status {
                ConditionStatus::True => {}
                ConditionStatus::False => against.push(obstacle),
                ConditionStatus::Unknown => pending.push(obstacle),
            }
        }
        against.extend(self.pool.stopped().map(Obstacle::Stopped));
        if !against.is_empty() {
            Readiness::NotReady(against)
        } else if !pending.is_empty() {
            Readiness::Pending(pending)
        } else if pool_conditions
            .iter()
            .any(|one| one.kind == "Ready" && one.status == ConditionStatus::True)
            && !matches!(self.class, ClassLink::Found(_, Source::File(_)))
        {
            Readiness::Ready
        } else {
            Readiness::NotJudged
        }
    }
}

/// The conditions that are not True and that others only sum up. `NodeRegistrationHealthy` is no part of readiness.
fn roots(conditions: &[Condition]) -> impl Iterator<Item = &Condition> {
    conditions.iter().filter(|one| {
        one.status != ConditionStatus::True && one.kind != "Ready" && one.kind != "NodeRegistrationHealthy"
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::Why;

    fn pool(name: &str, class: Value, conditions: Value) -> NodePool {
        let item = json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": name},
            "spec": {"template": {"spec": {"nodeClassRef": class}}}, "status": {"conditions": conditions}
        });
        NodePool::from_json(&item, None).expect("a good pool")
    }

    fn ec2(name: &str) -> Value {
        json!({"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": name})
    }

    fn class(name: &str, role: &str, conditions: Value) -> NodeClass {
        let item =
            json!({"metadata": {"name": name}, "spec": {"role": role}, "status": {"conditions": conditions}});
        NodeClass::from_json(&item, NodeClassKind::Ec2NodeClass).expect("a good class")
    }

    fn list<T>(items: Vec<T>) -> Observed<List<T>> {
        Observed::Known(List {
            items,
            broken: Vec::new(),
        })
    }

    fn condition(kind: &str, status: &str, reason: &str) -> Value {
        json!({"type": kind, "status": status, "reason": reason, "message": format!("about {kind}")})
    }

    /// One line a pool: name, source, class, role, readiness.
    fn shown(inventory: Inventory<'_>) -> String {
        let joined = launch_paths(inventory);
        let mut lines: Vec<String> = joined
            .paths
            .iter()
            .map(|path| {
                let class = match &path.class {
                    ClassLink::Found(class, source) => format!("{} from {source:?}", class.name),
                    other => format!("{other:?}"),
                };
                format!(
                    "{} from {:?}; class {class}; {:?}; {:?}",
                    path.pool.name,
                    path.source,
                    path.identity,
                    path.readiness()
                )
            })
            .collect();
        lines.extend(
            joined
                .unused
                .iter()
                .map(|(class, source)| format!("unused: {} from {source:?}", class.name)),
        );
        lines.join("\n")
    }

    fn inventory<'a>(
        pools: &'a Observed<List<NodePool>>,
        classes: &'a Observed<List<NodeClass>>,
    ) -> Inventory<'a> {
        Inventory {
            pools,
            classes,
            auto_mode_classes: &Observed::Absent,
            auto_mode: Some(false),
            filed: None,
            region: "eu-west-1",
        }
    }

    #[test]
    fn the_file_wins_by_name_for_pools_and_for_classes() {
        let ready = json!([condition("Ready", "True", "Ready")]);
        let pools = list(vec![
            pool("kept", ec2("old"), ready.clone()),
            pool("replaced", ec2("old"), ready.clone()),
            pool("of-the-new-class", ec2("both"), ready.clone()),
        ]);
        let classes = list(vec![
            class("old", "old-role", ready.clone()),
            class(
                "both",
                "role-before",
                json!([condition("SubnetsReady", "False", "SubnetsNotFound")]),
            ),
            class("nobody", "unused-role", json!([])),
        ]);
        let filed_pools = [
            pool("replaced", ec2("new"), json!([])),
            pool("added", ec2("nowhere"), json!([])),
        ];
        let filed_classes = [
            class("new", "new-role", json!([])),
            class("both", "role-after", json!([])),
        ];
        insta::assert_snapshot!(shown(Inventory {
            filed: Some(Filed {
                name: "pools.yaml",
                pools: &filed_pools,
                classes: &filed_classes,
                broken: &[]
            }),
            ..inventory(&pools, &classes)
        }));
    }

    #[test]
    fn a_class_is_missing_deleted_not_served_or_not_known() {
        let auto = json!({"group": "eks.amazonaws.com", "kind": "NodeClass", "name": "default"});
        let other = json!({"group": "karpenter.azure.com", "kind": "AKSNodeClass", "name": "default"});
        let mut gone = class("gone", "r", json!([]));
        gone.deleting = true;
        let pools = list(vec![
            pool(
                "missing",
                ec2("nowhere"),
                json!([condition("NodeClassReady", "False", "NodeClassNotFound")]),
            ),
            pool(
                "deleted",
                ec2("gone"),
                json!([condition("NodeClassReady", "False", "NodeClassTerminating")]),
            ),
            pool("auto", auto, json!([])),
            pool("azure", other, json!([])),
            pool("unnamed", json!(null), json!([])),
        ]);
        let classes = list(vec![gone]);
        let denied = Observed::Unknown(Unknown::new(Why::TimedOut, "no answer"));
        let unread = Inventory {
            auto_mode_classes: &denied,
            auto_mode: None,
            ..inventory(&pools, &denied)
        };
        let not_installed = Observed::Absent;
        insta::assert_snapshot!(format!(
            "{}\n-- not readable\n{}\n-- not installed\n{}",
            shown(inventory(&pools, &classes)),
            shown(unread),
            shown(inventory(&pools, &not_installed))
        ));
    }

    /// Conditions as Karpenter 1.14.3 writes them.
    #[test]
    fn karpenters_own_words() {
        let not_ready = |pool_says: Value, class_says: Value| {
            let pools = list(vec![pool("default", ec2("default"), pool_says)]);
            let classes = list(vec![class("default", "r", class_says)]);
            shown(inventory(&pools, &classes))
        };
        let summed = |kind: &str| {
            json!([
                condition("NodeClassReady", kind, "UnhealthyDependents"),
                condition("Ready", kind, "UnhealthyDependents")
            ])
        };
        let ready = json!([condition("Ready", "True", "Ready")]);
        insta::assert_snapshot!(
            [
                not_ready(ready.clone(), ready.clone()),
                not_ready(
                    summed("False"),
                    json!([
                        condition("SubnetsReady", "False", "SubnetsNotFound"),
                        condition("Ready", "False", "UnhealthyDependents")
                    ])
                ),
                not_ready(
                    summed("Unknown"),
                    json!([condition(
                        "ValidationSucceeded",
                        "Unknown",
                        "AwaitingReconciliation"
                    )])
                ),
                not_ready(
                    json!([
                        condition("ValidationSucceeded", "False", "NodePoolValidationFailed"),
                        condition("Ready", "False", "x")
                    ]),
                    ready.clone()
                ),
                not_ready(
                    json!([condition("Ready", "False", "SomethingNew")]),
                    ready.clone()
                ),
                not_ready(
                    json!([
                        condition("NodeRegistrationHealthy", "False", "RegistrationFailed"),
                        condition("Ready", "True", "Ready")
                    ]),
                    ready.clone()
                ),
                not_ready(json!([]), ready),
                not_ready(summed("False"), json!([])),
            ]
            .join("\n")
        );
    }

    #[test]
    fn custom_amis_run_what_all_their_pools_say() {
        let system = |name: &str, os: &str| {
            let mut pool = pool(name, ec2("custom"), json!([]));
            pool.template_labels
                .insert("kubernetes.io/os".to_owned(), os.to_owned());
            pool
        };
        let pools = list(vec![system("a", "linux"), system("b", "windows")]);
        let classes = list(vec![class("custom", "r", json!([]))]);
        let joined = launch_paths(inventory(&pools, &classes));
        assert!(joined.paths.iter().all(|path| path.os == NodeOs::Windows));
    }
}
