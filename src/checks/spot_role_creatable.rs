//! Whether the missing role can be created.

use serde_json::json;

use super::spot_role::create_commands;
use super::{Check, Group, Judgement, karpenter, lost_ground, never};
use crate::facts::Facts;
use crate::model::permission;
use crate::model::{Command, DeniedBy, Language, May, Observed, Why};

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

/// Whether the policy simulator says that Karpenter's controller creates the missing role by itself.
pub(crate) fn controller_may_create(facts: &Facts) -> bool {
    facts
        .controller
        .may_create
        .known()
        .is_some_and(|simulation| simulation.decided.may() == May::Yes)
}

/// Whether the policy simulator says that the caller would be refused.
pub(crate) fn caller_is_refused(facts: &Facts) -> bool {
    facts
        .caller_may_create
        .known()
        .is_some_and(|simulation| matches!(simulation.decided.may(), May::No(_)))
}

/// Who launches, in words.
pub(super) fn controller_words(facts: &Facts) -> String {
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
        Observed::Known(simulation) => Some(match simulation.decided.may() {
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
        let statement = permission::create_statement(&facts.target.partition);
        judgement
            .headline("The missing EC2 Spot role cannot be created with these credentials")
            .fix(
                "Ask for the statement below (the first command prints the whole policy), or ask someone who has it to run \
                 the second.",
                [Command::local(&["kubectl", "capt-spot", "policy", "create"])]
                    .into_iter()
                    .chain(create_commands(facts).into_iter().take(1)),
            )
            .snippet(Language::Json, serde_json::to_string_pretty(&statement).unwrap_or_default())
    };
    const UNKNOWN: &str = "Unknown whether you may create the missing EC2 Spot role";
    let instead_of_caller = |message: String| {
        Judgement::warn(message).headline("Karpenter creates the EC2 Spot role, you may not")
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
            let judgement = match simulation.decided.may() {
                May::Yes => Judgement::pass(with_controller(format!(
                    "{who} may create it, says the policy simulator ({BLIND_SPOTS})"
                ))),
                May::No(by) => {
                    let text = format!("{who} may not create it{}", by.clause());
                    if controller_may {
                        instead_of_caller(format!("{text}; {}", instead()))
                    } else if let karpenter::SpotDemand::No(why) = karpenter::spot_demand(facts) {
                        // Nothing needs the role yet, and spot-role-exists only warns: so does this.
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
                        format!("it depends on condition keys that the simulator was not given: {keys}");
                    if controller_may {
                        instead_of_caller(format!("whether {who} may: {text}; {}", instead()))
                    } else {
                        Judgement::undecided(with_controller(text)).headline(UNKNOWN)
                    }
                }
            };
            judgement.evidence("principal", simulation.principal.as_str())
        }
        Observed::Absent if controller_may => {
            instead_of_caller(format!("the simulator does not find {who}; {}", instead()))
        }
        Observed::Absent => {
            Judgement::undecided(with_controller(format!("the simulator does not find {who}")))
                .headline(UNKNOWN)
        }
        Observed::Unknown(unknown) if controller_may => instead_of_caller(format!(
            "whether {who} may create it could not be read ({unknown}); {}",
            instead()
        )),
        Observed::Unknown(unknown) => {
            let judgement =
                Judgement::unknown(&format!("whether {who} may create it"), unknown).headline(UNKNOWN);
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
pub(super) mod tests {
    use super::*;
    use crate::checks::testing::{Damage, told_of};
    use crate::facts::fixture::{absent, capacity_type, denied, healthy, known, node_pool, role, with_pools};
    use crate::model::{Decided, SimulatedDecision, Simulation};

    fn simulation(principal: &str, decision: SimulatedDecision) -> Simulation {
        Simulation {
            principal: format!("arn:aws:iam::111122223333:role/{principal}"),
            decided: Decided::plain(decision),
        }
    }

    /// The controller's role may, or may not.
    pub(in super::super) fn controller(facts: &mut Facts, decision: SimulatedDecision) {
        facts.controller.role = known("iam:GetRole demo-karpenter", role("demo-karpenter"));
        let found = simulation("demo-karpenter", decision);
        facts.controller.may_create = known("iam:SimulatePrincipalPolicy", found);
    }

    fn missing(facts: &mut Facts, decision: SimulatedDecision) -> &mut Decided {
        facts.spot_role = absent("iam:GetRole AWSServiceRoleForEC2Spot");
        facts.caller_may_create = known("iam:SimulatePrincipalPolicy", simulation("Admin", decision));
        let Observed::Known(found) = &mut facts.caller_may_create.observed else {
            panic!("just put there");
        };
        &mut found.decided
    }

    #[test]
    fn each_way_things_can_be() {
        use SimulatedDecision::{Allowed, ExplicitDeny, ImplicitDeny};
        let cases: &[(&str, Damage)] = &[
            ("there", |_| {}),
            ("unread", |f| f.spot_role = denied("iam:GetRole")),
            ("allowed", |f| {
                missing(f, Allowed).allowed_by_organizations = Some(true)
            }),
            ("no allow", |f| _ = missing(f, ImplicitDeny)),
            ("denied", |f| _ = missing(f, ExplicitDeny)),
            ("the organization", |f| {
                missing(f, ImplicitDeny).allowed_by_organizations = Some(false)
            }),
            ("a boundary", |f| {
                missing(f, ImplicitDeny).allowed_by_boundary = Some(false)
            }),
            ("an explicit deny is not a missing boundary", |f| {
                missing(f, ExplicitDeny).allowed_by_boundary = Some(false);
            }),
            ("no one may, and no pool can launch spot", |f| {
                with_pools(f, vec![node_pool("general", capacity_type(&["on-demand"]))]);
                missing(f, ImplicitDeny);
            }),
            ("both may", |f| {
                missing(f, Allowed);
                controller(f, Allowed);
            }),
            ("the caller may, the controller may not", |f| {
                missing(f, Allowed);
                controller(f, ExplicitDeny);
            }),
            ("the controller may, the caller may not", |f| {
                missing(f, ImplicitDeny);
                controller(f, Allowed);
            }),
            ("neither may", |f| {
                missing(f, ImplicitDeny);
                controller(f, ImplicitDeny);
            }),
            ("condition keys that are not known", |f| {
                missing(f, ImplicitDeny).missing_context = vec!["aws:PrincipalTag/team".into()];
            }),
            ("the simulator denied, the controller may", |f| {
                f.spot_role = absent("iam:GetRole");
                f.caller_may_create = denied("iam:SimulatePrincipalPolicy");
                controller(f, Allowed);
            }),
            ("the simulator denied", |f| {
                f.spot_role = absent("iam:GetRole");
                f.caller_may_create = denied("iam:SimulatePrincipalPolicy");
            }),
            ("the simulator does not find the caller", |f| {
                f.spot_role = absent("iam:GetRole");
                f.caller_may_create = absent("iam:SimulatePrincipalPolicy");
            }),
        ];
        insta::assert_snapshot!(told_of(healthy, spot_role_creatable, cases));
    }
}
