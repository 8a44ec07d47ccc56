//! Whether the context is an EKS cluster that takes Karpenter.

use super::same_account::account_mismatch;
use super::{Check, Group, Judgement, always};
use crate::facts::Facts;
use crate::model::{Observed, argv};

/// A status in which the API server answers.
pub(super) fn serves(status: &str) -> bool {
    matches!(status, "ACTIVE" | "UPDATING")
}

pub(crate) static CLUSTER_FOUND: Check = Check {
    id: "cluster-found",
    group: Group::Target,
    title: "The context is an EKS cluster, and the cluster is active",
    needed: always,
    judge: cluster_found,
};

fn cluster_found(facts: &Facts) -> Judgement {
    let target = &facts.target;
    let name = target.cluster.as_str();
    match &facts.cluster.observed {
        Observed::Known(cluster) => {
            let status = cluster.status.as_str();
            let version = cluster.version.as_deref().unwrap_or("of unknown version");
            let judgement = if !serves(status) {
                not_serving(facts, status)
            } else if target.disagreements.is_empty() {
                Judgement::pass(format!(
                    "{name} in {} is {status}, Kubernetes {version}",
                    target.region
                ))
            } else {
                Judgement::warn(format!(
                    "{name} in {} is {status}, but the sources disagree: {}",
                    target.region,
                    target.disagreements.join("; ")
                ))
                .headline("The kubeconfig names more than one cluster")
                .fix(
                    "Check that this is the cluster you mean; name it with --context, or write the kubeconfig entry again.",
                    [target.aws(&["eks", "update-kubeconfig", "--name", name])],
                )
            };
            judgement
                .evidence("status", status)
                .evidence("arn", cluster.arn.as_str())
        }
        Observed::Absent => {
            let account = facts
                .caller
                .known()
                .map_or("the credentials", |caller| caller.account.as_str());
            if account_mismatch(facts).is_some() {
                return Judgement::ground_lost(format!(
                    "{name} was looked for in account {account}, which is not the account that the kubeconfig names: see same-account"
                ))
                .from(&facts.cluster);
            }
            Judgement::fail(format!(
                "EKS has no cluster {name} in {} of account {account}",
                target.region
            ))
            .headline("The cluster does not exist in this account and region")
            .fix(
                "Is it another region or profile? See which clusters exist, and name yours with --region, --profile, \
                 --cluster-name or --context. A kubeconfig entry outlives its cluster.",
                [target.aws(&["eks", "list-clusters"])],
            )
        }
        Observed::Unknown(unknown) => Judgement::unknown(&format!("the cluster {name}"), unknown),
    }
    .from(&facts.cluster)
}

fn not_serving(facts: &Facts, status: &str) -> Judgement {
    let target = &facts.target;
    let name = target.cluster.as_str();
    let failed = Judgement::fail(format!("{name} in {} is {status}, not ACTIVE", target.region))
        .headline("The cluster is not active");
    match status {
        "CREATING" | "PENDING" => failed.fix(
            "Wait until it is active, then run this again.",
            [target.aws(&["eks", "wait", "cluster-active", "--name", name])],
        ),
        _ => failed.fix(
            "See what EKS says about it.",
            [target.aws(&argv(
                "eks describe-cluster --name {} --query cluster.health",
                &[name],
            ))],
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::told_of;
    use crate::facts::fixture::{absent, denied, healthy, known_cluster};

    #[test]
    fn each_way_it_can_be() {
        let said = told_of(
            healthy,
            CLUSTER_FOUND.judge,
            &[
                ("good", |_| {}),
                ("updating", |f| known_cluster(f).status = "UPDATING".into()),
                ("creating", |f| known_cluster(f).status = "CREATING".into()),
                ("deleting", |f| known_cluster(f).status = "DELETING".into()),
                ("gone", |f| f.cluster = absent("eks:DescribeCluster demo")),
                ("gone, and the account is another one", |f| {
                    f.cluster = absent("eks:DescribeCluster demo");
                    f.target.account = Some("123456789012".into());
                }),
                ("denied", |f| f.cluster = denied("eks:DescribeCluster")),
                ("the sources disagree", |f| {
                    f.target
                        .disagreements
                        .push("the context names a, the exec entry b".into());
                }),
            ],
        );
        insta::assert_snapshot!(said);
    }
}
