//! Whether the cluster admits Karpenter's nodes.

use serde_json::json;

use super::mapping_fix::fixed;
use super::node_mapping::{Judged, judged, with_headline, worst_of};
use super::node_verdict::{Part, Standing};
use super::{Check, Group, Judgement, Status, always};
use crate::facts::Facts;
use eks_aws_auth::Existence;

pub(crate) static NODE_ROLE_MAPPED: Check = Check {
    id: "node-role-mapped",
    group: Group::NodeMapping,
    title: "The cluster lets nodes with this role join",
    needed: always,
    judge: node_role_mapped,
};

fn node_role_mapped(facts: &Facts) -> Judgement {
    let (mappings, judged) = match judged(facts) {
        Ok(judged) => judged,
        Err(judgement) => return *judgement,
    };
    let evidence: Vec<_> = judged
        .iter()
        .map(|one| one.verdict.evidence(&one.of.name))
        .collect();
    let told: Vec<(&Judged<'_>, Part<'_>)> = judged
        .iter()
        .filter_map(|one| Some((one, one.verdict.mapping().filter(|part| !part.is_lost())?)))
        .collect();
    let judgement = match told.iter().map(|(_, part)| part.standing).max() {
        None => follow_on(&judged),
        Some(worst) => {
            let messages = |all: bool| {
                told.iter()
                    .filter(|(_, part)| all || part.standing != Standing::Well)
                    .map(|(_, part)| part.message.as_str())
                    .collect::<Vec<_>>()
                    .join("; ")
            };
            let mut message = messages(worst == Standing::Well);
            let not_mapped = told.iter().any(|(_, part)| part.is_not_mapped());
            if let (true, Some(written)) = (not_mapped, last_written(facts)) {
                message = format!("{message}; aws-auth was last written by {written}");
            }
            if matches!(worst, Standing::Well | Standing::Flawed) {
                for unseen in unseen(facts, &judged) {
                    message = format!("{message}; {unseen}");
                }
            }
            match (worst, mappings.unread) {
                (Standing::Unknown, Some(unknown)) => {
                    Judgement::unknown("how the node role is mapped", unknown)
                }
                (Standing::Unknown, None) => Judgement::undecided(message),
                (Standing::Well, _) => Judgement::pass(message),
                (Standing::Flawed, _) => Judgement::warn(message),
                (Standing::Broken, _) => Judgement::fail(message),
            }
        }
    };
    let judgement = match worst_of(&told) {
        Some((one, part)) => with_headline(judgement, part.headline(one.verdict.role.kind)),
        None => judgement,
    };
    let fixes: Vec<_> = told
        .iter()
        .filter_map(|(one, part)| one.fix(facts, &mappings, part))
        .collect();
    let judgement = match judgement.status {
        Status::Warn | Status::Fail => fixed(judgement, &fixes),
        _ => judgement,
    };
    judgement
        .evidence("roles", json!(evidence))
        .from(&facts.access_entries)
        .from(&facts.aws_auth)
        .from(&facts.compute.node_groups)
}

/// Which check says why nothing can be said of these roles' mappings.
fn follow_on(judged: &[Judged<'_>]) -> Judgement {
    let lost = judged
        .iter()
        .any(|one| one.verdict.mapping().is_some_and(|part| part.is_lost()));
    if lost {
        return Judgement::ground_lost(
            "all of mapRoles is lost, the nodes' mapping too: see aws-auth-parses",
        );
    }
    let names: Vec<&str> = judged.iter().map(|one| one.of.name.as_str()).collect();
    let names = names.join(", ");
    if judged.iter().any(|one| one.verdict.is_named_somewhere()) {
        let gone = judged
            .iter()
            .all(|one| one.verdict.role.existence == Existence::Deleted);
        Judgement::ground_lost(if gone {
            format!("IAM no longer has {names}, which is mapped: see node-role-current")
        } else {
            format!("{names} is not the role that was mapped: see node-role-current")
        })
    } else {
        Judgement::ground_lost(format!("IAM has no role {names}: see node-role-known"))
    }
}

/// What could not be read and might speak against a good mapping, each with its reason.
fn unseen(facts: &Facts, judged: &[Judged<'_>]) -> Vec<String> {
    let shared =
        facts.compute.node_groups.observed.unknown().map(|unknown| {
            format!("whether a managed node group shares the role could not be read: {unknown}")
        });
    let profile = judged
        .iter()
        .flat_map(|one| &one.of.role.profiles_in_use)
        .find_map(|in_use| Some((in_use, in_use.profile.observed.unknown()?)));
    let profile = profile.map(|(in_use, unknown)| {
        format!(
            "whether the instance profile of the node class {} really holds the role could not be read: {unknown}",
            in_use.class
        )
    });
    shared.into_iter().chain(profile).collect()
}

/// Who wrote aws-auth last, where the API server tells.
fn last_written(facts: &Facts) -> Option<&str> {
    let time = |manager: &&String| manager.rsplit(' ').next().unwrap_or_default().to_owned();
    facts
        .aws_auth
        .known()
        .and_then(|map| map.managers.iter().max_by_key(time))
        .map(String::as_str)
}
