//! Whether the AWS credentials are of the account that the cluster is in.

use super::{Check, Group, Judgement, always};
use crate::facts::Facts;
use crate::model::{Command, Observed};

/// (credentials' account, cluster's account) when they are known to differ. The kubeconfig's own word counts too: a
/// cluster of the same name in the wrong account would otherwise look right.
pub(crate) fn account_mismatch(facts: &Facts) -> Option<(String, String)> {
    let caller = &facts.caller.known()?.account;
    let by_kubeconfig = facts.target.account.as_deref();
    let by_eks = facts.cluster.known().and_then(|cluster| cluster.account());
    [by_kubeconfig, by_eks]
        .into_iter()
        .flatten()
        .find(|account| *account != caller)
        .map(|account| (caller.clone(), account.to_owned()))
}

pub(crate) static SAME_ACCOUNT: Check = Check {
    id: "same-account",
    group: Group::Target,
    title: "The AWS credentials belong to the cluster's account",
    needed: always,
    judge: same_account,
};

fn same_account(facts: &Facts) -> Judgement {
    let caller = match &facts.caller.observed {
        Observed::Known(caller) => caller,
        Observed::Absent => return Judgement::undecided("STS names no caller").from(&facts.caller),
        Observed::Unknown(unknown) => {
            return Judgement::unknown("the identity of the AWS credentials", unknown).from(&facts.caller);
        }
    };
    if let Some((credentials, cluster)) = account_mismatch(facts) {
        return Judgement::fail(format!(
            "the credentials are of account {credentials} ({}), the cluster {} is in account {cluster}",
            caller.arn, facts.target.cluster
        ))
        .headline("The AWS credentials are of another account than the cluster")
        .evidence("credentials", credentials.as_str())
        .evidence("cluster", cluster.as_str())
        .fix(
            format!(
                "Use credentials of account {cluster}: name their profile with --profile or AWS_PROFILE. Nothing is written \
                 until then. Your profiles:"
            ),
            [Command::local(&["aws", "configure", "list-profiles"])],
        )
        .from(&facts.caller)
        .from(&facts.cluster);
    }
    match &facts.cluster.observed {
        Observed::Known(cluster) => match cluster.account() {
            Some(account) => {
                Judgement::pass(format!("account {account}, as {}", caller.arn)).evidence("account", account)
            }
            None => Judgement::undecided(format!("the cluster's ARN {} names no account", cluster.arn))
                .headline("The cluster's account is not known"),
        },
        Observed::Absent => Judgement::ground_lost("the cluster was not found: see cluster-found"),
        Observed::Unknown(unknown) => Judgement::unknown("the cluster's account", unknown),
    }
    .from(&facts.caller)
    .from(&facts.cluster)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::told_of;
    use crate::checks::{REGISTRY, Skip, Status};
    use crate::facts::fixture::{absent, denied, healthy, known_cluster};

    #[test]
    fn each_way_it_can_be() {
        let said = told_of(
            healthy,
            SAME_ACCOUNT.judge,
            &[
                ("good", |_| {}),
                ("the cluster is elsewhere", |f| {
                    known_cluster(f).arn = "arn:aws:eks:eu-west-1:123456789012:cluster/demo".into();
                }),
                ("the kubeconfig names another account", |f| {
                    f.target.account = Some("123456789012".into());
                }),
                ("no cluster", |f| f.cluster = absent("eks:DescribeCluster demo")),
                ("the cluster could not be read", |f| {
                    f.cluster = denied("eks:DescribeCluster")
                }),
                ("no identity", |f| f.caller = denied("sts:GetCallerIdentity")),
            ],
        );
        insta::assert_snapshot!(said);
    }

    #[test]
    fn what_rests_on_a_wrong_account_is_not_judged() {
        let mut facts = healthy();
        facts.target.account = Some("123456789012".to_owned());
        for check in REGISTRY {
            let judgement = (check.judge)(&facts);
            match check.id {
                "same-account" => assert_eq!(judgement.status, Status::Fail),
                "cluster-found" | "cluster-matches-chart" => {}
                id => assert_eq!(
                    judgement.skip,
                    Some(Skip::GroundLost),
                    "{id}: {}",
                    judgement.message
                ),
            }
        }
    }
}
