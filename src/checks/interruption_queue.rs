//! Whether Karpenter hears of Spot interruptions.

use super::karpenter::{Installed, NOT_YET, SpotDemand, auto_mode, installed, spot_demand};
use super::{Check, Group, Judgement, lost_cluster, never};
use crate::facts::Facts;

pub(crate) static CHECK: Check = Check {
    id: "interruption-queue",
    group: Group::Karpenter,
    title: "Karpenter handles Spot interruptions",
    needed: never,
    judge,
};

fn judge(facts: &Facts) -> Judgement {
    if let Some(reason) = lost_cluster(facts) {
        return Judgement::ground_lost(reason);
    }
    let fact = &facts.controller.deployments;
    let Some(subject) = facts.controller.subject(&facts.ask) else {
        return match installed(facts) {
            _ if facts.ask.installing => Judgement::skip(
                "the chart about to be installed holds no Karpenter controller, or is not known",
            ),
            Installed::AutoMode => Judgement::skip("EKS Auto Mode handles interruptions itself"),
            Installed::NotYet => Judgement::skip(NOT_YET),

            _ => Judgement::skip("Karpenter's controller is not known: see controller-running"),
        }
        .from(fact);
    };
    if let SpotDemand::No(why) = spot_demand(facts) {
        return Judgement::skip(why).from(fact);
    }
    let deployment = match subject.planned {
        Some(planned) => &planned.deployment,
        None => match subject.running {
            Some(running) => running,
            None => return Judgement::skip("Karpenter's controller is not known").from(fact),
        },
    };
    let judgement = match &deployment.settings.interruption_queue {
        Some(queue) => Judgement::pass(format!("interruptions come through the queue {queue}")).evidence("queue", queue.as_str()),
        None => Judgement::warn(
            "INTERRUPTION_QUEUE is not set: Karpenter is not notified when EC2 reclaims a Spot instance, and the node vanishes with its Pods, undrained",
        )
        .headline("Spot interruptions are not handled: nodes vanish undrained")
        .fix(
            "Create an SQS queue and the EventBridge rules that fill it (Karpenter's CloudFormation has both), then set settings.interruptionQueue.",
            subject.planned.is_none().then(|| {
                facts.target.helm(&[
                    "upgrade",
                    &deployment.name,
                    "oci://public.ecr.aws/karpenter/karpenter",
                    "--version",
                    &deployment.version.map_or_else(|| "VERSION".to_owned(), |version| version.to_string()),
                    "-n",
                    &deployment.namespace,
                    "--reuse-values",
                    "--set",
                    "settings.interruptionQueue=QUEUE",
                ])
            }),
        ),
    };
    let judgement = if auto_mode(facts) {
        judgement.evidence("autoMode", true)
    } else {
        judgement
    };
    judgement.from(fact)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::told_of;
    use crate::facts::fixture::{capacity_type, denied, healthy, node_pool, with_karpenter, with_pools};
    use crate::model::Observed;

    fn queue(facts: &mut Facts, queue: Option<&str>) {
        if let Observed::Known(list) = &mut facts.controller.deployments.observed {
            list.items[0].settings.interruption_queue = queue.map(str::to_owned);
        }
    }

    #[test]
    fn queues() {
        insta::assert_snapshot!(told_of(
            with_karpenter,
            judge,
            &[
                ("a queue", |f| queue(f, Some("demo"))),
                ("none", |f| queue(f, None)),
                ("none, and no Spot", |f| {
                    queue(f, None);
                    with_pools(f, vec![node_pool("plain", capacity_type(&["on-demand"]))]);
                }),
                ("before Karpenter", |f| *f = healthy()),
                ("not readable", |f| f.controller.deployments =
                    denied("list deployments.apps")),
            ]
        ));
    }
}
