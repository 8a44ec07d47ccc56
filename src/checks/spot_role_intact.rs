//! Whether the role of that name is the service-linked one.

use super::spot_role::{Defect, account_not_confirmed, create_commands, defects};
use super::spot_role_exists::spot_role_exists;
use super::{Check, Group, Judgement, Status, always, lost_ground};
use crate::facts::Facts;
use crate::model::{Observed, Role, SPOT_ROLE};

pub static SPOT_ROLE_INTACT: Check = Check {
    id: "spot-role-intact",
    group: Group::SpotRole,
    title: "The Spot role is the real service-linked one: path, trust and policy",
    needed: always,
    judge: spot_role_intact,
};

fn spot_role_intact(facts: &Facts) -> Judgement {
    if let Some(reason) = lost_ground(facts) {
        return Judgement::ground_lost(reason);
    }
    let role = match &facts.spot_role.observed {
        Observed::Known(role) => role,
        Observed::Absent => {
            let why = "the role does not exist: see spot-role-exists";
            // Judged alone (--only), what is not there must not pass for intact; where its absence is only worth a warning,
            // there is nothing to be intact.
            let judgement = if spot_role_exists(facts).status == Status::Fail {
                Judgement::ground_lost(why)
            } else {
                Judgement::skip(why)
            };
            return judgement.from(&facts.spot_role);
        }
        Observed::Unknown(unknown) => {
            return Judgement::unknown(&format!("the role {SPOT_ROLE}"), unknown)
                .headline("The EC2 Spot service-linked role could not be read")
                .from(&facts.spot_role);
        }
    };
    if let Some(why) = account_not_confirmed(facts) {
        return Judgement::undecided(why)
            .headline("The cluster's account could not be read")
            .from(&facts.cluster);
    }
    let found = defects(role, facts.spot_role_policies.known().map(Vec::as_slice));
    let texts: Vec<String> = found.iter().map(ToString::to_string).collect();
    judged(facts, role, &found, &texts.join("; "))
        .evidence("arn", role.arn.as_str())
        .evidence("defects", texts)
        .from(&facts.spot_role)
        .from(&facts.spot_role_policies)
}

fn judged(facts: &Facts, role: &Role, found: &[Defect], texts: &str) -> Judgement {
    const UNREAD: &str = "Unknown whether the EC2 Spot role is the service-linked one";
    let target = &facts.target;
    let show = target.aws(&["iam", "get-role", "--role-name", SPOT_ROLE]);
    let list = target.aws(&["iam", "list-attached-role-policies", "--role-name", SPOT_ROLE]);
    let create = create_commands(facts).into_iter().next();
    if found.iter().any(|defect| matches!(defect, Defect::Path(_))) {
        return Judgement::fail(format!(
            "{} is an ordinary role of that name, not the service-linked one: {texts}",
            role.arn
        ))
        .headline("An ordinary role takes the name of the EC2 Spot service-linked role")
        .fix(
            "EC2 cannot use it, and it keeps the real one from being created. Find out who uses it, move them to a role of \
             another name, remove it with the tool that created it, then create the service-linked role.",
            [show, list].into_iter().chain(create),
        );
    }
    // What can't be understood is no proof of damage.
    if found.iter().any(|defect| matches!(defect, Defect::Unclear(_))) {
        return Judgement::undecided(format!("{}: {texts}", role.arn))
            .headline(UNREAD)
            .fix(
                "Look at the role as IAM has it, and leave it alone until that is clear.",
                [show, list],
            );
    }
    match (&facts.spot_role_policies.observed, found) {
        (Observed::Unknown(unknown), []) => {
            Judgement::unknown("the policies of the role", unknown).headline(UNREAD)
        }
        (Observed::Absent, []) => Judgement::undecided(format!(
            "IAM's answers contradict each other: {} exists, and its policies are those of a role that does not",
            role.arn
        ))
        .headline(UNREAD),
        (_, []) => Judgement::pass("its path, trust and policy are the service-linked role's"),
        (policies, _) => {
            let judgement = Judgement::fail(format!("{} is damaged: {texts}", role.arn))
                .headline("The EC2 Spot service-linked role is damaged");
            if policies.known().is_none() {
                return judgement.fix("Read its policies too before you change anything.", [show, list]);
            }
            judgement.fix(
                "AWS owns this role and its policy, and neither can be edited. While no Spot instances run in the account, \
                 delete it, then create it again.",
                [target.aws(&["iam", "delete-service-linked-role", "--role-name", SPOT_ROLE])]
                    .into_iter()
                    .chain(create),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::{Damage, told_of};
    use crate::facts::fixture::{absent, denied, healthy, known, role, spot_role};

    fn trust(facts: &mut Facts, trust: &str) {
        let mut role = spot_role();
        role.trust = trust.to_owned();
        facts.spot_role = known("iam:GetRole", role);
    }

    const EC2: &str = r#"{"Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

    #[test]
    fn each_way_things_can_be() {
        let cases: &[(&str, Damage)] = &[
            ("intact", |_| {}),
            ("missing", |f| f.spot_role = absent("iam:GetRole")),
            ("denied", |f| f.spot_role = denied("iam:GetRole")),
            ("an ordinary role of that name", |f| {
                f.spot_role = known("iam:GetRole", role(SPOT_ROLE));
            }),
            ("the policy taken off", |f| {
                f.spot_role_policies = known("iam:ListAttachedRolePolicies", vec![]);
            }),
            ("policies not readable", |f| {
                f.spot_role_policies = denied("iam:ListAttachedRolePolicies");
            }),
            ("policies of a role that is not there", |f| {
                f.spot_role_policies = absent("iam:ListAttachedRolePolicies");
            }),
            ("another service is trusted", |f| trust(f, EC2)),
            (
                "another service is trusted, and the policies are not readable",
                |f| {
                    trust(f, EC2);
                    f.spot_role_policies = denied("iam:ListAttachedRolePolicies");
                },
            ),
            // Never a reason to delete anything.
            ("no trust policy", |f| trust(f, "")),
            ("a trust policy that is not JSON", |f| trust(f, "%7B%22Statement")),
            ("a path that contradicts the ARN", |f| {
                let mut role = spot_role();
                role.path = "/".to_owned();
                f.spot_role = known("iam:GetRole", role);
            }),
        ];
        insta::assert_snapshot!(told_of(healthy, spot_role_intact, cases));
    }
}
