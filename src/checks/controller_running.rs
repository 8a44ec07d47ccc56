//! Whether Karpenter's controller runs.

use serde_json::json;

use super::karpenter::{Installed, NOT_YET, count, installed, once_installed, short};
use super::{Check, Group, Judgement, Status, lost_cluster};
use crate::facts::Facts;
use crate::facts::launching::ControllerPod;
use crate::karpenter::objects::{ConditionStatus, Deployment};
use crate::model::argv;

pub(crate) static CHECK: Check = Check {
    id: "controller-running",
    group: Group::Karpenter,
    title: "Karpenter's controller is running",
    needed: once_installed,
    judge,
};

fn judge(facts: &Facts) -> Judgement {
    if let Some(reason) = lost_cluster(facts) {
        return Judgement::ground_lost(reason);
    }
    let fact = &facts.controller.deployments;
    let judgement = match installed(facts) {
        Installed::NotYet => Judgement::skip(NOT_YET),
        Installed::AutoMode => {
            Judgement::skip("EKS Auto Mode runs Karpenter inside EKS: there is no controller in the cluster")
                .evidence("autoMode", true)
        }
        Installed::Unread(what, unknown) => {
            Judgement::unknown(what, unknown).headline("Unknown whether Karpenter's controller runs")
        }
        Installed::Removed => removed(facts),
        Installed::Yes => match facts.controller.running() {
            Some(deployment) => running(facts, deployment),
            None => {
                let broken = fact.known().and_then(|list| list.broken.first());
                Judgement::undecided(format!(
                    "Karpenter's Deployment could not be understood: {}",
                    broken.map_or("no reason", String::as_str)
                ))
                .headline("Karpenter's Deployment could not be understood")
            }
        },
    };
    let replaced = facts
        .ask
        .chart
        .as_ref()
        .is_some_and(|chart| chart.controller.is_some());
    let mut judgement = judgement.from(fact);
    if replaced && judgement.status == Status::Fail {
        // An upgrade may be what brings it back.
        judgement.status = Status::Warn;
        judgement
            .message
            .push_str("; the chart about to be installed replaces it");
    }
    judgement
}

fn removed(facts: &Facts) -> Judgement {
    let claims = facts.traces.claims.known().map_or(0, |claims| claims.seen);
    Judgement::fail(format!(
        "the cluster has {}, but no Deployment labelled app.kubernetes.io/name=karpenter in any namespace: nothing launches nodes, or deletes them",
        count(usize::try_from(claims).unwrap_or(usize::MAX), "NodeClaim", "NodeClaims")
    ))
    .headline("Karpenter's controller was removed")
    .fix(
        "Install Karpenter again. A controller under other labels, or outside of the cluster, is not seen here.",
        [facts
            .target
            .kubectl(&["get", "deployments", "-A", "-l", "app.kubernetes.io/name=karpenter"])],
    )
}

fn running(facts: &Facts, deployment: &Deployment) -> Judgement {
    let name = format!("{}/{}", deployment.namespace, deployment.name);
    let version = deployment
        .version
        .map(|version| format!(", Karpenter {version}"))
        .unwrap_or_default();
    let judgement = if deployment.replicas == 0 {
        Judgement::fail(format!(
            "the Deployment {name} is scaled to 0: nothing launches nodes"
        ))
        .headline("Karpenter's controller is scaled to 0")
        .fix(
            "Scale it up again.",
            [facts.target.kubectl(&argv(
                "scale {} --replicas=2 -n {}",
                &[&format!("deployment/{}", deployment.name), &deployment.namespace],
            ))],
        )
    } else if deployment.ready_replicas == 0 {
        not_ready(facts, deployment, &name)
    } else {
        Judgement::pass(format!(
            "{} of {} of the Deployment {name} ready{version}",
            deployment.ready_replicas,
            count(
                usize::try_from(deployment.replicas).unwrap_or(0),
                "replica",
                "replicas"
            )
        ))
    };
    judgement
        .evidence("deployment", name)
        .evidence("replicas", deployment.replicas)
        .evidence("readyReplicas", deployment.ready_replicas)
        .from(&facts.launching.controller_pods)
}

fn not_ready(facts: &Facts, deployment: &Deployment, name: &str) -> Judgement {
    let target = &facts.target;
    let pods = facts.launching.controller_pods.known();
    let waiting: Vec<&ControllerPod> = pods
        .into_iter()
        .flatten()
        .filter(|pod| pod.waits_for.is_some())
        .collect();
    let mut said: Vec<String> = waiting
        .iter()
        .take(3)
        .map(|pod| {
            let waits = pod.waits_for.as_ref();
            let (reason, message) =
                waits.map_or(("", ""), |waits| (waits.reason.as_str(), waits.message.as_str()));
            match message {
                "" => format!("Pod {} waits: {reason}", pod.name),
                message => format!("Pod {} waits: {reason} ({})", pod.name, short(message)),
            }
        })
        .collect();
    if pods.is_some_and(Vec::is_empty) {
        said.push("it has no Pods".to_owned());
    }
    said.extend(
        deployment
            .conditions
            .iter()
            .filter(|one| match one.kind.as_str() {
                "ReplicaFailure" => one.status == ConditionStatus::True,
                _ => one.status == ConditionStatus::False,
            })
            .take(2)
            .map(|one| format!("{}: {} ({})", one.kind, one.reason, short(&one.message))),
    );
    let why = match said.is_empty() {
        true => String::new(),
        false => format!(": {}", said.join("; ")),
    };
    let first = waiting
        .iter()
        .find_map(|pod| pod.waits_for.as_ref())
        .map_or("", |waits| waits.reason.as_str());
    let nowhere = nowhere_to_run(facts, &deployment.namespace);
    let (headline, text) = match first {
        "ImagePullBackOff" | "ErrImagePull" | "InvalidImageName" => (
            "The image of Karpenter's controller cannot be pulled",
            "Correct the image or its tag, or let the nodes reach its registry.",
        ),
        "CrashLoopBackOff" => (
            "Karpenter's controller crashes",
            "Its log says why: no credentials (controller-identity) and a wrong cluster name are frequent.",
        ),
        "Unschedulable" if nowhere => (
            "Karpenter's controller has nowhere to run",
            "Karpenter does not run on the nodes that it creates: create a Fargate profile that selects its namespace, or a node group.",
        ),
        "Unschedulable" => (
            "No node takes Karpenter's controller",
            "The scheduler's message says what is missing. Karpenter does not run on the nodes that it creates.",
        ),
        _ => (
            "No replica of Karpenter's controller is ready",
            "See what its Pods wait for.",
        ),
    };
    let namespace = deployment.namespace.as_str();
    let describe = target.kubectl(&argv(
        "describe pods -l app.kubernetes.io/name=karpenter -n {}",
        &[namespace],
    ));
    let log = target.kubectl(&argv(
        "logs {} -c controller --tail=200 -n {}",
        &[&format!("deployment/{}", deployment.name), namespace],
    ));
    let commands = match first {
        "CrashLoopBackOff" => vec![log, describe],
        "Unschedulable" if nowhere => vec![target.eksctl(&argv(
            "create fargateprofile --cluster {} --name karpenter --namespace {}",
            &[&target.cluster, namespace],
        ))],
        _ => vec![describe],
    };
    let where_to = match nowhere && first == "Unschedulable" {
        true => format!("; no Fargate profile selects the namespace {namespace}, and there is no EC2 node"),
        false => String::new(),
    };
    Judgement::fail(format!(
        "the Deployment {name} has no ready replica{why}{where_to}"
    ))
    .headline(headline)
    .fix(text, commands)
    .evidence("waiting", json!(waiting.iter().take(5).collect::<Vec<_>>()))
}

/// Whether it is known that there is neither an EC2 node nor a Fargate profile for the namespace.
fn nowhere_to_run(facts: &Facts, namespace: &str) -> bool {
    let no_node = facts.traces.nodes.known().is_some_and(|nodes| nodes.ec2 == 0);
    let no_profile = facts.compute.fargate_profiles.known().is_some_and(|profiles| {
        !profiles.iter().any(|profile| {
            profile
                .namespaces
                .iter()
                .any(|pattern| iam_policy::document::glob(pattern, namespace))
        })
    });
    no_node && no_profile
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::told_of;
    use crate::facts::fixture::{absent, denied, healthy, known, node_pool, with_karpenter, with_pools};
    use crate::facts::karpenter::List;
    use crate::facts::launching::Waiting;
    use crate::karpenter::traces::NodeFold;
    use crate::model::Observed;

    fn deployment(facts: &mut Facts) -> &mut Deployment {
        match &mut facts.controller.deployments.observed {
            Observed::Known(list) => &mut list.items[0],
            _ => panic!("no Deployment"),
        }
    }

    fn waits(facts: &mut Facts, reason: &str, message: &str) {
        deployment(facts).ready_replicas = 0;
        let pod = ControllerPod {
            name: "karpenter-0".into(),
            waits_for: Some(Waiting {
                reason: reason.into(),
                message: message.into(),
            }),
            ..ControllerPod::default()
        };
        facts.launching.controller_pods = known("list pods in kube-system", vec![pod]);
    }

    #[test]
    fn controllers_in_every_state() {
        insta::assert_snapshot!(told_of(
            with_karpenter,
            judge,
            &[
                ("runs", |_| {}),
                ("before Karpenter", |f| *f = healthy()),
                ("before Karpenter, with pools", |f| {
                    *f = healthy();
                    with_pools(f, vec![node_pool("general", json!([]))]);
                }),
                ("removed", |f| f.controller.deployments =
                    known("list deployments.apps", List::default())),
                ("Auto Mode", |f| {
                    f.controller.deployments = known("list deployments.apps", List::default());
                    if let Observed::Known(cluster) = &mut f.cluster.observed {
                        cluster.auto_mode = true;
                    }
                }),
                ("scaled to 0", |f| {
                    deployment(f).replicas = 0;
                    deployment(f).ready_replicas = 0;
                }),
                ("the image is not there", |f| waits(
                    f,
                    "ImagePullBackOff",
                    "Back-off pulling image \"public.ecr.aws/karpenter/controller:9.9.9\""
                )),
                ("it crashes", |f| waits(
                    f,
                    "CrashLoopBackOff",
                    "back-off 5m0s restarting failed container"
                )),
                ("no Fargate profile for its namespace", |f| {
                    waits(f, "Unschedulable", "no nodes available to schedule pods");
                    f.traces.nodes = known("list nodes", NodeFold::default());
                }),
                ("Pods not readable", |f| {
                    deployment(f).ready_replicas = 0;
                    f.launching.controller_pods = denied("list pods");
                }),
                ("Deployments not readable", |f| f.controller.deployments =
                    denied("list deployments.apps")),
                ("Deployments not readable, nothing of Karpenter's served", |f| {
                    *f = healthy();
                    f.controller.deployments = denied("list deployments.apps");
                }),
                ("no such cluster", |f| f.cluster =
                    absent("eks:DescribeCluster demo")),
            ]
        ));
    }
}
