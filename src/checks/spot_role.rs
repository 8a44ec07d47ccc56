//! The service-linked role AWSServiceRoleForEC2Spot.

use serde_json::json;

use super::{Check, Group, Judgement, Status, always, karpenter, lost_ground, never};
use crate::facts::Facts;
use crate::model::SPOT_ROLE;
use crate::model::permission;
use crate::model::{DeniedBy, Observed, Why};
use crate::model::{Role, SimulatedDecision, Simulation};
use crate::spot_trust::{self, Defect};

const SPOT_DOCS: &str =
    "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/service-linked-roles-spot-instance-requests.html";

/// The command that creates the role for this target.
pub(crate) fn create_command(facts: &Facts) -> String {
    facts.target.capt_spot(&["create-role"]).to_string()
}

/// The account the facts about roles are about.
fn account(facts: &Facts) -> &str {
    facts
        .caller
        .known()
        .map_or("(unknown account)", |caller| caller.account.as_str())
}

/// When the cluster could not be read and nothing else names its account: the credentials' account may be another one.
fn account_not_confirmed(facts: &Facts) -> Option<String> {
    let unknown = facts.cluster.observed.unknown()?;
    let same_by_kubeconfig = match (&facts.target.account, facts.caller.known()) {
        (Some(account), Some(caller)) => *account == caller.account,
        _ => false,
    };
    (!same_by_kubeconfig).then(|| {
        format!(
            "whether account {} is the cluster's could not be read: {unknown}",
            account(facts)
        )
    })
}

pub static SPOT_ROLE_EXISTS: Check = Check {
    id: "spot-role-exists",
    group: Group::SpotRole,
    title: "The account has the EC2 Spot service-linked role",
    needed: always,
    judge: spot_role_exists,
};

fn spot_role_exists(facts: &Facts) -> Judgement {
    if let Some(reason) = lost_ground(facts) {
        return Judgement::ground_lost(reason);
    }
    let account_id = account(facts);
    match &facts.spot_role.observed {
        Observed::Unknown(unknown) => Judgement::unknown(&format!("the role {SPOT_ROLE}"), unknown),
        _ if account_not_confirmed(facts).is_some() => {
            let why = account_not_confirmed(facts).unwrap_or_default();
            let there = if facts.spot_role.observed.is_absent() { "has no" } else { "has a" };
            Judgement::undecided(format!("account {account_id} {there} role {SPOT_ROLE}, but {why}"))
        }
        Observed::Known(role) => {
            Judgement::pass(format!("{} exists", role.arn)).evidence("arn", role.arn.as_str()).evidence("path", role.path.as_str())
        }
        Observed::Absent => {
            let what = format!("account {account_id} has no role {SPOT_ROLE}");
            let remedy_text = "Create it once for the account. It is free, and every cluster of the account uses the same one.";
            let commands = [
                create_command(facts),
                format!(
                    "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com{}",
                    facts.target.profile.as_ref().map(|p| format!(" --profile {}", crate::text::quote(p))).unwrap_or_default()
                ),
            ];
            match karpenter::spot_demand(facts) {
                karpenter::SpotDemand::No(why) => {
                    Judgement::warn(format!("{what}; {why}, so nothing asks for spot yet")).remedy(remedy_text, commands)
                }
                karpenter::SpotDemand::Yes | karpenter::SpotDemand::Assumed if controller_may_create(facts) => {
                    Judgement::warn(format!(
                        "{what}; but {} may create it, says the policy simulator, and then does so at the first spot launch",
                        controller_words(facts)
                    ))
                    .remedy(remedy_text, commands)
                }
                karpenter::SpotDemand::Yes | karpenter::SpotDemand::Assumed => Judgement::fail(format!(
                    "{what}: EC2 will refuse Karpenter's spot requests, and since Karpenter 1.5 it falls back to on-demand prices in silence"
                ))
                .remedy(remedy_text, commands),
            }
            .evidence("account", account_id)
        }
    }
    .from(&facts.spot_role)
}

pub static SPOT_ROLE_INTACT: Check = Check {
    id: "spot-role-intact",
    group: Group::SpotRole,
    title: "The Spot role is the real service-linked one: path, trust and policy",
    needed: always,
    judge: spot_role_intact,
};

/// What is wrong with a role of the name; empty when it is the service-linked role. `policies` none: not read.
pub(crate) fn defects(role: &Role, policies: Option<&[String]>) -> Vec<Defect> {
    spot_trust::defects(&spot_trust::RoleFacts {
        arn: &role.arn,
        path: &role.path,
        trust: &role.trust,
        policies,
    })
}

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
            return Judgement::unknown(&format!("the role {SPOT_ROLE}"), unknown).from(&facts.spot_role);
        }
    };
    if let Some(why) = account_not_confirmed(facts) {
        return Judgement::undecided(why).from(&facts.cluster);
    }
    let policies = facts.spot_role_policies.known().map(Vec::as_slice);
    let found = defects(role, policies);
    let judgement = if let Some(impostor) = found.iter().find(|defect| defect.is_impostor()) {
        Judgement::fail(format!(
            "{} is an ordinary role of that name, not the service-linked one: {impostor}",
            role.arn
        ))
        .remedy(
            "EC2 cannot use it, and it keeps the real one from being created. Find out who uses it, rename or delete it, then create the service-linked role.",
            [
                format!("aws iam get-role --role-name {SPOT_ROLE}"),
                format!("aws iam list-entities-for-policy --policy-arn arn:{}:iam::aws:policy/aws-service-role/AWSEC2SpotServiceRolePolicy", facts.target.partition),
                create_command(facts),
            ],
        )
    } else if let Some(defect) = found.first() {
        Judgement::fail(format!("{} is damaged: {}", role.arn, found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))
            .evidence("defect", defect.to_string())
            .remedy(
                "AWS owns this role and its policy; create it anew when no spot instances run: delete it, then create it.",
                [format!("aws iam delete-service-linked-role --role-name {SPOT_ROLE}"), create_command(facts)],
            )
    } else {
        match &facts.spot_role_policies.observed {
            Observed::Unknown(unknown) => Judgement::unknown("the policies of the role", unknown),
            _ => Judgement::pass("its path, trust and policy are the service-linked role's"),
        }
    };
    judgement
        .evidence("arn", role.arn.as_str())
        .evidence(
            "defects",
            json!(found.iter().map(ToString::to_string).collect::<Vec<_>>()),
        )
        .from(&facts.spot_role)
        .from(&facts.spot_role_policies)
}

pub static SPOT_ROLE_CREATABLE: Check = Check {
    id: "spot-role-creatable",
    group: Group::SpotRole,
    title: "The missing Spot role can be created",
    needed: never,
    judge: spot_role_creatable,
};

/// What the simulator does not see, for messages that rest on its yes.
const BLIND_SPOTS: &str =
    "it does not see session policies, VPC endpoint policies and conditional service control policies";

/// What the simulator's answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
enum May {
    Yes,
    No(DeniedBy),
    /// It depends on these condition keys.
    Depends(String),
}

fn may(simulation: &Simulation) -> May {
    if simulation.allowed_by_organizations == Some(false) {
        return May::No(DeniedBy::ServiceControlPolicy);
    }
    match simulation.decision {
        // An explicit deny is one wherever it stands; a boundary only fails to allow.
        SimulatedDecision::ExplicitDeny => May::No(DeniedBy::ExplicitDeny),
        _ if simulation.allowed_by_boundary == Some(false) => May::No(DeniedBy::PermissionsBoundary),
        SimulatedDecision::Allowed => May::Yes,
        SimulatedDecision::ImplicitDeny if simulation.missing_context.is_empty() => {
            May::No(DeniedBy::MissingAllow)
        }
        SimulatedDecision::ImplicitDeny => May::Depends(simulation.missing_context.join(", ")),
    }
}

/// Whether the policy simulator says that Karpenter's controller creates the missing role by itself.
pub(crate) fn controller_may_create(facts: &Facts) -> bool {
    facts
        .controller
        .may_create
        .known()
        .is_some_and(|simulation| may(simulation) == May::Yes)
}

/// Whether the policy simulator says that the caller would be refused.
pub(crate) fn caller_is_refused(facts: &Facts) -> bool {
    facts
        .caller_may_create
        .known()
        .is_some_and(|simulation| matches!(may(simulation), May::No(_)))
}

/// Who launches, in words.
fn controller_words(facts: &Facts) -> String {
    let principal = facts
        .controller
        .may_create
        .known()
        .map(|simulation| simulation.principal.as_str())
        .or_else(|| facts.controller.role.known().map(|role| role.arn.as_str()))
        .unwrap_or("(unknown)");
    if facts.controller.subject(&facts.ask).is_none() && karpenter::auto_mode(facts) {
        format!("EKS Auto Mode, which launches with the cluster's role {principal},")
    } else {
        format!("Karpenter's controller role {principal}")
    }
}

/// What is known of the controller's right to create it, as the end of a sentence; nothing where nobody asked.
fn about_controller(facts: &Facts) -> Option<String> {
    let who = controller_words(facts);
    match &facts.controller.may_create.observed {
        Observed::Known(simulation) => Some(match may(simulation) {
            May::Yes => format!("{who} may create it as well"),
            May::No(DeniedBy::MissingAllow) => format!("{who} may not (none of its policies allows it)"),
            May::No(by) => format!("{who} may not create it{}", by.clause()),
            May::Depends(keys) => format!("whether {who} may create it depends on {keys}"),
        }),
        Observed::Absent => Some(format!("the simulator does not find {who}")),
        Observed::Unknown(unknown) if unknown.why == Why::NotAsked => None,
        Observed::Unknown(unknown) => Some(format!(
            "whether {who} may create it could not be read: {unknown}"
        )),
    }
}

fn spot_role_creatable(facts: &Facts) -> Judgement {
    if let Some(reason) = lost_ground(facts) {
        return Judgement::ground_lost(reason);
    }
    match &facts.spot_role.observed {
        Observed::Known(_) => return Judgement::skip("the role exists").from(&facts.spot_role),
        Observed::Unknown(_) => {
            return Judgement::skip("whether the role is missing could not be read: see spot-role-exists")
                .from(&facts.spot_role);
        }
        Observed::Absent => {}
    }
    let who = facts
        .caller
        .known()
        .map_or("the caller", |caller| caller.arn.as_str());
    let ask = |judgement: Judgement| {
        judgement.remedy(
            format!(
                "Ask for this statement, or ask somebody who has it to run the command: {}",
                permission::create_statement(&facts.target.partition)
            ),
            [
                "kubectl capt-spot policy create".to_owned(),
                create_command(facts),
            ],
        )
    };
    let controller_may = controller_may_create(facts);
    let instead = || {
        format!(
            "{} may, and then does so at the first spot launch, says the policy simulator ({BLIND_SPOTS})",
            controller_words(facts)
        )
    };
    let with_controller = |text: String| match about_controller(facts) {
        Some(more) => format!("{text}; {more}"),
        None => text,
    };
    let mut judgement = match &facts.caller_may_create.observed {
        Observed::Known(simulation) => {
            let judgement = match may(simulation) {
                May::Yes => Judgement::pass(with_controller(format!(
                    "{who} may create it, says the policy simulator ({BLIND_SPOTS})"
                ))),
                May::No(by) => {
                    let text = format!("{who} may not create it{}", by.clause());
                    if controller_may {
                        Judgement::warn(format!("{text}; {}", instead()))
                    } else if let karpenter::SpotDemand::No(why) = karpenter::spot_demand(facts) {
                        // The role is missed by nobody yet, and spot-role-exists only warns: so does this.
                        ask(Judgement::warn(with_controller(format!(
                            "{text}; {why}, so nothing asks for spot yet"
                        ))))
                    } else {
                        ask(Judgement::fail(with_controller(text)))
                    }
                    .evidence("deniedBy", json!(by))
                }
                May::Depends(keys) => {
                    let text =
                        format!("it depends on condition keys that the simulator was not told: {keys}");
                    if controller_may {
                        Judgement::warn(format!("whether {who} may: {text}; {}", instead()))
                    } else {
                        Judgement::undecided(with_controller(text))
                    }
                }
            };
            judgement.evidence("principal", simulation.principal.as_str())
        }
        Observed::Absent if controller_may => {
            Judgement::warn(format!("the simulator does not find {who}; {}", instead()))
        }
        Observed::Absent => {
            Judgement::undecided(with_controller(format!("the simulator does not find {who}")))
        }
        Observed::Unknown(unknown) if controller_may => Judgement::warn(format!(
            "whether {who} may create it could not be read ({unknown}); {}",
            instead()
        )),
        Observed::Unknown(unknown) => {
            let judgement = Judgement::unknown(&format!("whether {who} may create it"), unknown);
            let message = with_controller(judgement.message.clone());
            Judgement { message, ..judgement }
        }
    };
    if let Some(simulation) = facts.controller.may_create.known() {
        judgement = judgement
            .evidence("controller", simulation.principal.as_str())
            .evidence("controllerMay", controller_may);
    }
    judgement
        .from(&facts.caller_may_create)
        .from(&facts.controller.may_create)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fixture::{absent, capacity_type, denied, healthy, known, node_pool, role, with_pools};
    use crate::model::Simulation;

    type Damage = fn(&mut Facts);

    /// The controller's role may, or may not.
    fn controller(facts: &mut Facts, decision: SimulatedDecision) {
        facts.controller.role = known("iam:GetRole demo-karpenter", role("demo-karpenter"));
        facts.controller.may_create = known(
            "iam:SimulatePrincipalPolicy",
            Simulation {
                principal: "arn:aws:iam::111122223333:role/demo-karpenter".into(),
                decision,
                allowed_by_organizations: None,
                allowed_by_boundary: None,
                missing_context: Vec::new(),
            },
        );
    }

    fn missing(
        facts: &mut Facts,
        decision: SimulatedDecision,
        organization: Option<bool>,
        boundary: Option<bool>,
    ) {
        facts.spot_role = absent("iam:GetRole AWSServiceRoleForEC2Spot");
        facts.caller_may_create = known(
            "iam:SimulatePrincipalPolicy",
            Simulation {
                principal: "arn:aws:iam::111122223333:role/Admin".into(),
                decision,
                allowed_by_organizations: organization,
                allowed_by_boundary: boundary,
                missing_context: Vec::new(),
            },
        );
    }

    #[test]
    fn each_check_on_each_way_things_can_be() {
        let rows: &[(&str, &Check, Damage, Status, &str)] = &[
            (
                "good",
                &SPOT_ROLE_EXISTS,
                |_| {},
                Status::Pass,
                "AWSServiceRoleForEC2Spot exists",
            ),
            (
                "missing",
                &SPOT_ROLE_EXISTS,
                |f| f.spot_role = absent("x"),
                Status::Fail,
                "account 111122223333 has no role",
            ),
            (
                "denied",
                &SPOT_ROLE_EXISTS,
                |f| f.spot_role = denied("iam:GetRole"),
                Status::Unknown,
                "iam:GetRole denied",
            ),
            (
                "whose account is not known",
                &SPOT_ROLE_EXISTS,
                |f| f.cluster = denied("eks:DescribeCluster"),
                Status::Unknown,
                "whether account 111122223333 is the cluster's could not be read",
            ),
            (
                "no cluster",
                &SPOT_ROLE_EXISTS,
                |f| f.cluster = absent("x"),
                Status::Skip,
                "the cluster was not found",
            ),
            (
                "good",
                &SPOT_ROLE_INTACT,
                |_| {},
                Status::Pass,
                "its path, trust and policy",
            ),
            (
                "missing",
                &SPOT_ROLE_INTACT,
                |f| f.spot_role = absent("x"),
                Status::Skip,
                "see spot-role-exists",
            ),
            (
                "an ordinary role of that name",
                &SPOT_ROLE_INTACT,
                |f| f.spot_role = known("x", role(SPOT_ROLE)),
                Status::Fail,
                "an ordinary role of that name",
            ),
            (
                "policy taken off",
                &SPOT_ROLE_INTACT,
                |f| f.spot_role_policies = known("x", vec![]),
                Status::Fail,
                "is not attached",
            ),
            (
                "policies not readable",
                &SPOT_ROLE_INTACT,
                |f| f.spot_role_policies = denied("iam:ListAttachedRolePolicies"),
                Status::Unknown,
                "iam:ListAttachedRolePolicies denied",
            ),
            (
                "there",
                &SPOT_ROLE_CREATABLE,
                |_| {},
                Status::Skip,
                "the role exists",
            ),
            (
                "allowed",
                &SPOT_ROLE_CREATABLE,
                |f| missing(f, SimulatedDecision::Allowed, Some(true), None),
                Status::Pass,
                "may create it, says the policy simulator",
            ),
            (
                "no allow",
                &SPOT_ROLE_CREATABLE,
                |f| missing(f, SimulatedDecision::ImplicitDeny, None, None),
                Status::Fail,
                "no policy of the caller",
            ),
            (
                "denied",
                &SPOT_ROLE_CREATABLE,
                |f| missing(f, SimulatedDecision::ExplicitDeny, None, None),
                Status::Fail,
                "explicit deny",
            ),
            (
                "organisation",
                &SPOT_ROLE_CREATABLE,
                |f| missing(f, SimulatedDecision::ImplicitDeny, Some(false), None),
                Status::Fail,
                "service control policy",
            ),
            (
                "boundary",
                &SPOT_ROLE_CREATABLE,
                |f| missing(f, SimulatedDecision::ImplicitDeny, None, Some(false)),
                Status::Fail,
                "permissions boundary",
            ),
            (
                "nobody may, and no pool can launch spot",
                &SPOT_ROLE_CREATABLE,
                |f| {
                    with_pools(f, vec![node_pool("general", capacity_type(&["on-demand"]))]);
                    missing(f, SimulatedDecision::ImplicitDeny, None, None);
                },
                Status::Warn,
                "nothing asks for spot yet",
            ),
            (
                "missing, and the controller creates it",
                &SPOT_ROLE_EXISTS,
                |f| {
                    f.spot_role = absent("x");
                    controller(f, SimulatedDecision::Allowed);
                },
                Status::Warn,
                "but Karpenter's controller role arn:aws:iam::111122223333:role/demo-karpenter may create it",
            ),
            (
                "missing, and the controller may not",
                &SPOT_ROLE_EXISTS,
                |f| {
                    f.spot_role = absent("x");
                    controller(f, SimulatedDecision::ImplicitDeny);
                },
                Status::Fail,
                "EC2 will refuse",
            ),
            (
                "both may",
                &SPOT_ROLE_CREATABLE,
                |f| {
                    missing(f, SimulatedDecision::Allowed, None, None);
                    controller(f, SimulatedDecision::Allowed);
                },
                Status::Pass,
                "demo-karpenter may create it as well",
            ),
            (
                "the caller may, the controller may not",
                &SPOT_ROLE_CREATABLE,
                |f| {
                    missing(f, SimulatedDecision::Allowed, None, None);
                    controller(f, SimulatedDecision::ExplicitDeny);
                },
                Status::Pass,
                "demo-karpenter may not create it by an explicit deny",
            ),
            (
                "the controller may, the caller may not",
                &SPOT_ROLE_CREATABLE,
                |f| {
                    missing(f, SimulatedDecision::ImplicitDeny, None, None);
                    controller(f, SimulatedDecision::Allowed);
                },
                Status::Warn,
                "demo-karpenter may, and then does so at the first spot launch",
            ),
            (
                "neither may",
                &SPOT_ROLE_CREATABLE,
                |f| {
                    missing(f, SimulatedDecision::ImplicitDeny, None, None);
                    controller(f, SimulatedDecision::ImplicitDeny);
                },
                Status::Fail,
                "Karpenter's controller role arn:aws:iam::111122223333:role/demo-karpenter may not (none of its policies allows it)",
            ),
            (
                "Auto Mode launches with the cluster's role",
                &SPOT_ROLE_EXISTS,
                |f| {
                    f.spot_role = absent("x");
                    controller(f, SimulatedDecision::Allowed);
                    if let Observed::Known(cluster) = &mut f.cluster.observed {
                        cluster.auto_mode = true;
                    }
                },
                Status::Warn,
                "EKS Auto Mode, which launches with the cluster's role",
            ),
            (
                "an explicit deny is no missing boundary",
                &SPOT_ROLE_CREATABLE,
                |f| missing(f, SimulatedDecision::ExplicitDeny, None, Some(false)),
                Status::Fail,
                "explicit deny",
            ),
            (
                "condition keys that are not known",
                &SPOT_ROLE_CREATABLE,
                |f| {
                    missing(f, SimulatedDecision::ImplicitDeny, None, None);
                    if let Observed::Known(simulation) = &mut f.caller_may_create.observed {
                        simulation.missing_context = vec!["aws:PrincipalTag/team".into()];
                    }
                },
                Status::Unknown,
                "aws:PrincipalTag/team",
            ),
            (
                "simulator denied, the controller may",
                &SPOT_ROLE_CREATABLE,
                |f| {
                    f.spot_role = absent("x");
                    f.caller_may_create = denied("iam:SimulatePrincipalPolicy");
                    controller(f, SimulatedDecision::Allowed);
                },
                Status::Warn,
                "demo-karpenter may, and then does so",
            ),
            (
                "simulator denied",
                &SPOT_ROLE_CREATABLE,
                |f| {
                    f.spot_role = absent("x");
                    f.caller_may_create = denied("iam:SimulatePrincipalPolicy");
                },
                Status::Unknown,
                "iam:SimulatePrincipalPolicy denied",
            ),
        ];
        for (name, check, damage, status, says) in rows {
            let mut facts = healthy();
            damage(&mut facts);
            let judgement = (check.judge)(&facts);
            assert_eq!(
                judgement.status, *status,
                "{} / {name}: {}",
                check.id, judgement.message
            );
            assert!(
                judgement.message.contains(says),
                "{} / {name}: {}",
                check.id,
                judgement.message
            );
            if matches!(status, Status::Fail) {
                assert!(
                    judgement.remedy.is_some_and(|remedy| !remedy.commands.is_empty()),
                    "{} / {name}",
                    check.id
                );
            }
        }
    }
}
