//! Whether it is known which role Karpenter's nodes have.

use super::node_mapping::{is_foreign, mappings, node_verdicts};
use super::{Check, Group, Judgement, always, lost_cluster};
use crate::facts::{Facts, NamedBy};
use crate::model::Observed;

pub static NODE_ROLE_KNOWN: Check = Check {
    id: "node-role-known",
    group: Group::NodeMapping,
    title: "The role of Karpenter's nodes is known, and IAM has it",
    needed: always,
    judge: node_role_known,
};

fn node_role_known(facts: &Facts) -> Judgement {
    if let Some(reason) = lost_cluster(facts) {
        return Judgement::ground_lost(reason);
    }
    let roles = match &facts.node_roles.observed {
        Observed::Known(roles) => roles,
        Observed::Absent => return Judgement::undecided("it was not looked for").from(&facts.node_roles),
        Observed::Unknown(unknown) => {
            return Judgement::unknown("the role of Karpenter's nodes", unknown).from(&facts.node_roles);
        }
    };
    let cluster = &facts.target.cluster;
    if roles.is_empty() {
        let classes = facts
            .pools
            .node_classes
            .known()
            .map_or(0, |list| list.items.len());
        let what = if classes == 0 {
            format!(
                "Karpenter is not installed yet, and IAM has neither KarpenterNodeRole-{cluster} nor {cluster}-node"
            )
        } else {
            "no EC2NodeClass names a role or an instance profile".to_owned()
        };
        return Judgement::warn(format!(
            "{what}: which role its nodes will have is not known, so its mapping could not be checked"
        ))
        .headline("Which role Karpenter's nodes will have is not known")
        .fix(
            "Name it.",
            [facts.target.capt_spot(&["preflight", "--node-role", "NAME"])],
        )
        .from(&facts.node_roles);
    }
    let mappings = mappings(facts);
    let verdicts = mappings
        .as_ref()
        .map(|mappings| node_verdicts(facts, mappings))
        .unwrap_or_default();
    let mut missing = Vec::new();
    let mut found = Vec::new();
    // Deleted behind a mapping that is still there.
    let mut behind = Vec::new();
    for role in roles {
        let who = match &role.named_by {
            NamedBy::Flag => "--node-role".to_owned(),
            NamedBy::NodeClass { name } => format!("EC2NodeClass {name}"),
            NamedBy::Convention => "the usual name".to_owned(),
        };
        if is_foreign(&role.given, facts) {
            found.push(format!(
                "{} ({who}; of another account or partition, so these credentials cannot look it up)",
                role.given
            ));
            continue;
        }
        let mapped = verdicts.iter().any(|one| {
            std::ptr::eq(one.of.role, role) && one.of.found.is_some() && one.verdict.is_named_somewhere()
        });
        match (&role.role.observed, &role.instance_profile) {
            (Observed::Known(known), _) => found.push(format!("{} ({who})", known.arn)),
            (Observed::Absent, Some(profile)) => missing.push(format!(
                "the instance profile {profile} ({who}) does not exist or holds no role"
            )),
            (Observed::Absent, None) if mapped => behind.push(format!("{} ({who})", role.given)),
            (Observed::Absent, None) => missing.push(format!("IAM has no role {} ({who})", role.given)),
            (Observed::Unknown(unknown), _) => {
                return Judgement::unknown(&format!("the role {}", role.given), unknown).from(&role.role);
            }
        }
    }
    let mut judgement = if missing.is_empty() && !behind.is_empty() {
        Judgement::ground_lost(format!(
            "IAM no longer has {}, which the cluster still maps: see node-role-current",
            behind.join(", ")
        ))
    } else if missing.is_empty() {
        Judgement::pass(found.join(", "))
    } else {
        Judgement::fail(missing.join("; "))
            .headline("New nodes cannot start: IAM has no such role")
            .fix(
                "Create the role (Karpenter's getting-started CloudFormation or CAPT's template does), or correct its name in the \
                 EC2NodeClass.",
                [facts.target.kubectl(&["get", "ec2nodeclasses", "-o", "yaml"])],
            )
    };
    for role in roles {
        judgement = judgement.from(&role.role);
    }
    judgement
}
