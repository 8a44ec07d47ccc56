//! Whether the account has the service-linked role.

use super::spot_role::{account, account_not_confirmed, create_commands};
use super::spot_role_creatable::{controller_may_create, controller_words};
use super::{Check, Group, Judgement, always, karpenter, lost_ground};
use crate::facts::Facts;
use crate::model::{Observed, SPOT_ROLE};

pub static SPOT_ROLE_EXISTS: Check = Check {
    id: "spot-role-exists",
    group: Group::SpotRole,
    title: "The account has the EC2 Spot service-linked role",
    needed: always,
    judge: spot_role_exists,
};

pub(super) fn spot_role_exists(facts: &Facts) -> Judgement {
    if let Some(reason) = lost_ground(facts) {
        return Judgement::ground_lost(reason);
    }
    let account_id = account(facts);
    let judgement = match &facts.spot_role.observed {
        Observed::Unknown(unknown) => Judgement::unknown(&format!("the role {SPOT_ROLE}"), unknown)
            .headline("The EC2 Spot service-linked role could not be read"),
        Observed::Known(role) => match account_not_confirmed(facts) {
            Some(why) => unconfirmed(format!("account {account_id} has a role {SPOT_ROLE}, but {why}")),
            None => Judgement::pass(format!("{} exists", role.arn))
                .evidence("arn", role.arn.as_str())
                .evidence("path", role.path.as_str()),
        },
        Observed::Absent => match account_not_confirmed(facts) {
            Some(why) => unconfirmed(format!("account {account_id} has no role {SPOT_ROLE}, but {why}")),
            None => missing(facts, account_id),
        },
    };
    judgement.from(&facts.spot_role)
}

fn unconfirmed(message: String) -> Judgement {
    Judgement::undecided(message).headline("The cluster's account could not be read")
}

fn missing(facts: &Facts, account_id: &str) -> Judgement {
    let what = format!("account {account_id} has no role {SPOT_ROLE}");
    let judgement = match karpenter::spot_demand(facts) {
        karpenter::SpotDemand::No(why) => {
            Judgement::warn(format!("{what}; {why}, so nothing asks for spot yet"))
        }
        karpenter::SpotDemand::Yes | karpenter::SpotDemand::Assumed if controller_may_create(facts) => {
            Judgement::warn(format!(
                "{what}; but {} may create it, says the policy simulator, and then does so at the first spot launch",
                controller_words(facts)
            ))
        }
        karpenter::SpotDemand::Yes | karpenter::SpotDemand::Assumed => Judgement::fail(format!(
            "{what}: EC2 will refuse Karpenter's spot requests, and since Karpenter 1.5 it silently falls back to on-demand prices"
        )),
    };
    judgement
        .headline("The EC2 Spot service-linked role is missing")
        .fix(
            "Create it once for the account. It is free, and every cluster of the account uses the same one.",
            create_commands(facts),
        )
        .evidence("account", account_id)
}

#[cfg(test)]
mod tests {
    use super::super::spot_role_creatable::tests::controller;
    use super::*;
    use crate::checks::testing::{Damage, told_of};
    use crate::facts::fixture::{absent, capacity_type, denied, healthy, node_pool, with_pools};
    use crate::model::SimulatedDecision;

    #[test]
    fn each_way_things_can_be() {
        let cases: &[(&str, Damage)] = &[
            ("there", |_| {}),
            ("missing", |f| f.spot_role = absent("iam:GetRole")),
            ("missing, and no pool can launch spot", |f| {
                with_pools(f, vec![node_pool("general", capacity_type(&["on-demand"]))]);
                f.spot_role = absent("iam:GetRole");
            }),
            ("missing, and the controller creates it", |f| {
                f.spot_role = absent("iam:GetRole");
                controller(f, SimulatedDecision::Allowed);
            }),
            ("missing, and the controller may not", |f| {
                f.spot_role = absent("iam:GetRole");
                controller(f, SimulatedDecision::ImplicitDeny);
            }),
            ("Auto Mode launches with the cluster's role", |f| {
                f.spot_role = absent("iam:GetRole");
                controller(f, SimulatedDecision::Allowed);
                if let Observed::Known(cluster) = &mut f.cluster.observed {
                    cluster.auto_mode = true;
                }
            }),
            ("denied", |f| f.spot_role = denied("iam:GetRole")),
            ("an account that is not confirmed", |f| {
                f.cluster = denied("eks:DescribeCluster")
            }),
            ("no cluster", |f| f.cluster = absent("eks:DescribeCluster")),
        ];
        insta::assert_snapshot!(told_of(healthy, spot_role_exists, cases));
    }
}
