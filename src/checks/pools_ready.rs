//! Whether Karpenter itself says that the pools and their classes are ready.

use serde_json::json;

use super::karpenter::{
    Installed, NOT_YET, count, installed, launch_paths, names, once_installed, several, short,
};
use super::{Check, Group, Judgement, lost_cluster};
use crate::facts::Facts;
use crate::karpenter::launch_paths::{ClassLink, LaunchPath, Obstacle, Readiness, Source};
use crate::karpenter::objects::{Api, ConditionStatus};
use crate::model::{Command, Unknown, argv};

pub(crate) static CHECK: Check = Check {
    id: "pools-ready",
    group: Group::Karpenter,
    title: "Karpenter itself reports the node pools and their classes ready",
    needed: once_installed,
    judge,
};

fn judge(facts: &Facts) -> Judgement {
    if let Some(reason) = lost_cluster(facts) {
        return Judgement::ground_lost(reason);
    }
    if installed(facts) == Installed::NotYet {
        return Judgement::skip(NOT_YET).from(&facts.controller.deployments);
    }
    let paths = launch_paths(facts);
    let judgement = match (paths.unread, paths.broken.first()) {
        (Some(unknown), _) => {
            Judgement::unknown("the node pools", unknown).headline("The node pools could not be read")
        }
        (None, _) if paths.paths.is_empty() && paths.broken.is_empty() => {
            Judgement::skip("there is no node pool yet")
        }
        (None, broken) => {
            let judged = of_all(facts, &paths.paths);
            match broken {
                Some(broken)
                    if judged.status == super::Status::Pass || judged.status == super::Status::Warn =>
                {
                    Judgement::undecided(format!(
                        "a node pool could not be understood: {broken}; {}",
                        judged.message
                    ))
                    .headline("A node pool could not be understood")
                }
                _ => judged,
            }
        }
    };
    judgement
        .from(&facts.pools.node_pools)
        .from(&facts.pools.node_classes)
}

/// The pools by what Karpenter says of them.
#[derive(Default)]
struct Sorted<'p, 'f> {
    works: Vec<&'p str>,
    /// Not in the cluster as they are judged here.
    not_applied: Vec<&'p str>,
    not_ready: Vec<(&'p LaunchPath<'f>, Vec<Obstacle<'f>>)>,
    stopped: Vec<(&'p str, String)>,
    pending: Vec<(&'p LaunchPath<'f>, Vec<Obstacle<'f>>)>,
    /// A class that could not be read, and why.
    unread: Option<(&'p LaunchPath<'f>, &'f Unknown)>,
    unknown: Vec<String>,
}

fn sorted<'p, 'f>(facts: &Facts, paths: &'p [LaunchPath<'f>]) -> Sorted<'p, 'f> {
    let version = facts.controller.running().and_then(|running| running.version);
    let mut all = Sorted::default();
    for path in paths {
        let name = path.pool.name.as_str();
        match path.readiness() {
            Readiness::Ready => all.works.push(name),
            Readiness::NotReady(against) => {
                let stopped = against.iter().find_map(|one| match one {
                    Obstacle::Stopped(why) => Some(why.clone()),
                    _ => None,
                });
                match stopped {
                    Some(why) if against.len() == 1 => all.stopped.push((name, why)),
                    _ => all.not_ready.push((path, against)),
                }
            }
            Readiness::Pending(conditions) => all.pending.push((path, conditions)),
            Readiness::Unread(unknown) => all.unread = Some((path, unknown)),
            Readiness::NotUnderstood(broken) => all.unknown.push(format!(
                "{name}: {} may be the one that could not be understood: {broken}",
                path.class_name()
            )),
            Readiness::NotJudged => {
                let filed = path.source != Source::Cluster
                    || matches!(path.class, ClassLink::Found(_, Source::File(_)));
                // Pools have conditions since v1.
                let too_old = path.pool.api != Api::V1 || version.is_some_and(|version| version.major < 1);
                if filed {
                    all.not_applied.push(name);
                } else if too_old {
                    all.works.push(name);
                } else {
                    all.unknown
                        .push(format!("{name}: Karpenter has written no condition"));
                }
            }
        }
    }
    all
}

fn of_all(facts: &Facts, paths: &[LaunchPath<'_>]) -> Judgement {
    let all = sorted(facts, paths);
    let works: Vec<&str> = all.works.iter().chain(&all.not_applied).copied().collect();
    let pools = count(paths.len(), "node pool", "node pools");
    let still = match works.len() {
        0 => String::new(),
        _ => format!("; ready: {}", names(works.iter().copied())),
    };
    let stopped = all
        .stopped
        .iter()
        .take(3)
        .map(|(name, why)| format!("{name} launches nothing now: {why}"))
        .collect::<Vec<_>>()
        .join(", ");
    let with_stopped = |text: String| match stopped.as_str() {
        "" => text,
        stopped => format!("{text}; {stopped}"),
    };
    let judgement = if let Some((path, against)) = all.not_ready.first() {
        let of_each = |(path, against): &(&LaunchPath<'_>, Vec<Obstacle<'_>>)| {
            format!("{}: {}", path.pool.name, told(against))
        };
        let told = several(all.not_ready.iter().map(of_each), 3, "; ");
        let (fix, commands) = fix(facts, path, against);
        Judgement::fail(with_stopped(format!(
            "Karpenter ignores {} of {pools}: {told}{still}",
            all.not_ready.len()
        )))
        .headline(headline(against))
        .fix(fix, commands)
    } else if let Some((path, unknown)) = all.unread {
        let judgement = Judgement::unknown(&path.class_name(), unknown);
        let message = with_stopped(format!("{}: {}{still}", path.pool.name, judgement.message));
        Judgement { message, ..judgement }.headline("The node class of a node pool could not be read")
    } else if !all.unknown.is_empty() {
        Judgement::undecided(with_stopped(format!(
            "{}{still}",
            names(all.unknown.iter().map(String::as_str))
        )))
        .headline("Unknown whether Karpenter uses a node pool")
    } else if let Some((path, conditions)) = all.pending.first() {
        Judgement::undecided(with_stopped(format!(
            "Karpenter has not finished looking at {}: {}{still}",
            path.pool.name,
            told(conditions)
        )))
        .headline("Karpenter has not finished looking at a node pool")
        .fix(
            "It takes a few seconds; --wait 1m repeats the check until then.",
            [],
        )
    } else if !all.stopped.is_empty() {
        let text = format!("{stopped}{still}");
        let judgement = match works.is_empty() {
            true => Judgement::fail(text).headline("Every node pool is switched off or at its limit"),
            false => Judgement::warn(text).headline("A node pool is switched off or at its limit"),
        };
        let commands = super::pools_want_spot::edits(
            &facts.target,
            paths.iter().filter(|path| path.pool.stopped().is_some()),
        );
        judgement.fix(
            "Raise spec.limits (or spec.replicas of a static pool), if the pool is to launch nodes.",
            commands,
        )
    } else {
        let not_applied = match all.not_applied.len() {
            0 => String::new(),
            _ => format!(
                "; Karpenter has not seen yet: {}",
                names(all.not_applied.iter().copied())
            ),
        };
        let text = match all.works.len() {
            0 => not_applied.trim_start_matches("; ").to_owned(),
            ready => format!(
                "{ready} of {pools} ready: {}{not_applied}",
                names(all.works.iter().copied())
            ),
        };
        Judgement::pass(text)
    };
    judgement
        .evidence("ready", json!(all.works.iter().take(50).collect::<Vec<_>>()))
        .evidence(
            "notReady",
            json!(
                all.not_ready
                    .iter()
                    .take(50)
                    .map(|(path, against)| json!({"pool": path.pool.name, "because": against.iter().map(words).collect::<Vec<_>>()}))
                    .collect::<Vec<_>>()
            ),
        )
}

fn told(obstacles: &[Obstacle<'_>]) -> String {
    obstacles.iter().take(3).map(words).collect::<Vec<_>>().join(", ")
}

/// An obstacle, Karpenter's own words quoted.
fn words(obstacle: &Obstacle<'_>) -> String {
    match obstacle {
        Obstacle::Class(why) | Obstacle::Stopped(why) => why.clone(),
        Obstacle::ClassDeleting(name) => format!("node class {name} is being deleted"),
        Obstacle::Condition { class, condition } => {
            let of = class
                .map(|class| format!("node class {class} has "))
                .unwrap_or_default();
            let status = match condition.status {
                ConditionStatus::True => "True",
                ConditionStatus::False => "False",
                ConditionStatus::Unknown => "Unknown",
            };
            let message = match condition.message.as_str() {
                "" => String::new(),
                message => format!(": {}", short(message)),
            };
            format!("{of}{}={status} ({}{message})", condition.kind, condition.reason)
        }
    }
}

fn headline(against: &[Obstacle<'_>]) -> &'static str {
    match against.first() {
        Some(Obstacle::Class(_)) => "A node pool names a node class that does not exist",
        Some(Obstacle::ClassDeleting(_)) => "The node class of a node pool is being deleted",
        Some(Obstacle::Condition { class, condition }) => match (condition.kind.as_str(), class) {
            ("SubnetsReady", _) => "Karpenter finds no subnets for its nodes",
            ("SecurityGroupsReady", _) => "Karpenter finds no security groups for its nodes",
            ("AMIsReady", _) => "Karpenter finds no AMI for its nodes",
            ("InstanceProfileReady", _) => "Karpenter has no instance profile for its nodes",
            ("ValidationSucceeded", Some(_)) => "AWS refuses Karpenter's own dry run of a launch",
            ("ValidationSucceeded", None) => "Karpenter finds a node pool invalid",
            _ => "Karpenter ignores a node pool that is not ready",
        },
        Some(Obstacle::Stopped(_)) | None => "Karpenter ignores a node pool that is not ready",
    }
}

fn fix(facts: &Facts, path: &LaunchPath<'_>, against: &[Obstacle<'_>]) -> (&'static str, Vec<Command>) {
    let target = &facts.target;
    let edit_pool = super::pools_want_spot::edits(target, [path]);
    let class_words = |verb: &'static str| -> Vec<Command> {
        path.pool
            .node_class
            .iter()
            .map(|class| target.kubectl(&[verb, &class_kind(&class.group, &class.kind), &class.name]))
            .collect()
    };
    match against.first() {
        Some(Obstacle::Class(_)) => (
            "Apply that node class, or name one that exists in spec.template.spec.nodeClassRef.",
            edit_pool,
        ),
        Some(Obstacle::ClassDeleting(_)) => (
            "Wait until it is gone and apply it again, or name another one in spec.template.spec.nodeClassRef.",
            edit_pool,
        ),
        Some(Obstacle::Condition {
            class: Some(class),
            condition,
        }) => match condition.kind.as_str() {
            "SubnetsReady" | "SecurityGroupsReady" | "AMIsReady" => (
                "Correct the selector terms of the node class, or tag what they are to find.",
                class_words("edit"),
            ),
            "InstanceProfileReady" => (
                "Karpenter makes the instance profile from spec.role: see whether the role exists, and what the controller may do (controller-may-launch).",
                class_words("describe"),
            ),
            "ValidationSucceeded" => (
                "Give the controller's role what is refused (see controller-may-launch). After a change of IAM policies, an annotation makes Karpenter try again.",
                [target.kubectl(&argv(
                    "annotate ec2nodeclass {} {} --overwrite",
                    &[class, &format!("revalidate={}", facts.gathered_at.as_second())],
                ))]
                .into_iter()
                .chain(class_words("describe"))
                .collect(),
            ),
            _ => (
                "Look at the conditions of the node class.",
                class_words("describe"),
            ),
        },
        Some(Obstacle::Condition { class: None, .. }) => ("Correct what the condition names.", edit_pool),
        Some(Obstacle::Stopped(_)) | None => ("", edit_pool),
    }
}

/// A kind as kubectl takes it: `NodeClass` alone may be another group's.
fn class_kind(group: &str, kind: &str) -> String {
    match group {
        "" | "karpenter.k8s.aws" => kind.to_lowercase(),
        group => format!("{}.{group}", kind.to_lowercase()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::checks::testing::told_of;
    use crate::facts::fixture::{
        denied, healthy, node_class, node_pool, with_classes, with_conditions, with_karpenter, with_pools,
    };
    use crate::karpenter::objects::{NodeClass, NodeClassKind};
    use crate::model::Observed;

    fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
        json!({"type": kind, "status": status, "reason": reason, "message": message})
    }

    fn class_says(facts: &mut Facts, conditions: Value) {
        let class = json!({"metadata": {"name": "default"}, "spec": {"role": "demo-node"}, "status": {"conditions": conditions}});
        let class = NodeClass::from_json(&class, NodeClassKind::Ec2NodeClass).expect("a good class");
        with_classes(facts, vec![class]);
    }

    fn first_pool(facts: &mut Facts) -> &mut crate::karpenter::objects::NodePool {
        match &mut facts.pools.node_pools.observed {
            Observed::Known(list) => &mut list.items[0],
            _ => panic!("no pool"),
        }
    }

    #[test]
    fn what_karpenter_says() {
        insta::assert_snapshot!(told_of(
            with_karpenter,
            judge,
            &[
                ("ready", |_| {}),
                ("before Karpenter, with pools", |f| {
                    *f = healthy();
                    with_pools(f, vec![node_pool("general", json!([]))]);
                }),
                ("no subnets", |f| class_says(
                    f,
                    json!([
                        condition(
                            "SubnetsReady",
                            "False",
                            "SubnetsNotFound",
                            "SubnetSelector did not match any Subnets"
                        ),
                        condition("Ready", "False", "UnhealthyDependents", "")
                    ])
                )),
                ("no CreateFleet", |f| class_says(
                    f,
                    json!([condition(
                        "ValidationSucceeded",
                        "False",
                        "CreateFleetAuthCheckFailed",
                        "Controller isn't authorized to call ec2:CreateFleet"
                    )])
                )),
                ("one of two", |f| {
                    let ready = node_pool("other", json!([]));
                    with_pools(
                        f,
                        vec![
                            node_pool("general", json!([])),
                            with_conditions(ready, json!([condition("Ready", "True", "Ready", "")])),
                        ],
                    );
                    first_pool(f).node_class.as_mut().expect("a class").name = "gone".into();
                }),
                ("the class is being deleted", |f| {
                    let mut class = node_class();
                    class.deleting = true;
                    with_classes(f, vec![class]);
                }),
                ("Auto Mode's class without Auto Mode", |f| first_pool(f)
                    .node_class
                    .as_mut()
                    .expect("a class")
                    .group =
                    "eks.amazonaws.com".into()),
                ("invalid", |f| *first_pool(f) = with_conditions(
                    node_pool("general", json!([])),
                    json!([condition(
                        "ValidationSucceeded",
                        "False",
                        "NodePoolValidationFailed",
                        "no valid values found in [spott]"
                    )])
                )),
                ("not finished", |f| class_says(
                    f,
                    json!([condition(
                        "ValidationSucceeded",
                        "Unknown",
                        "AwaitingReconciliation",
                        "object is awaiting reconciliation"
                    )])
                )),
                ("no conditions", |f| first_pool(f).conditions.clear()),
                ("switched off", |f| {
                    first_pool(f).limits.insert("cpu".into(), "0".into());
                }),
                ("at its limit, beside another", |f| {
                    with_pools(
                        f,
                        vec![
                            node_pool("general", json!([])),
                            with_conditions(
                                node_pool("other", json!([])),
                                json!([condition("Ready", "True", "Ready", "")]),
                            ),
                        ],
                    );
                    let pool = first_pool(f);
                    pool.limits.insert("cpu".into(), "10".into());
                    pool.used.insert("cpu".into(), "10".into());
                }),
                ("classes denied", |f| f.pools.node_classes =
                    denied("list ec2nodeclasses.karpenter.k8s.aws")),
                ("pools denied", |f| f.pools.node_pools =
                    denied("list nodepools.karpenter.sh")),
            ]
        ));
    }
}
