//! Whether the node role is still the one that its mapping was made for.

use serde_json::json;

use super::mapping_fix::fixed;
use super::node_mapping::{judged, with_headline, worst_of};
use super::node_verdict::Standing;
use super::{Check, Group, Judgement, Status, always};
use crate::facts::Facts;
use crate::model::Observed;
use eks_aws_auth::{Existence, Outcome, SourceKind};

pub(crate) static NODE_ROLE_CURRENT: Check = Check {
    id: "node-role-current",
    group: Group::NodeMapping,
    title: "The node role is still the one that was mapped",
    needed: always,
    judge: node_role_current,
};

fn node_role_current(facts: &Facts) -> Judgement {
    let (mappings, judged) = match judged(facts) {
        Ok(judged) => judged,
        Err(judgement) => return *judgement,
    };
    let entries = mappings.cluster().entries;
    let mut good = Vec::new();
    let mut elsewhere = Vec::new();
    let mut bad: Vec<(Standing, String)> = Vec::new();
    let mut unknown: Option<Judgement> = None;
    let mut evidence = Vec::new();
    for one in &judged {
        let verdict = &one.verdict;
        let currency = verdict.currency();
        let name = &one.of.name;
        let entry = verdict
            .decision
            .source
            .as_ref()
            .filter(|source| source.kind == SourceKind::AccessEntry)
            .and_then(|source| entries?.get(source.index?));
        let created = match one.of.found {
            Some(Observed::Known(role)) => role.created,
            _ => one.of.held.and_then(|role| role.created),
        };
        evidence.push(json!({
            "role": name, "created": created.map(|at| at.to_string()), "faults": currency.faults,
            "source": verdict.decision.source,
            "entryCreated": entry.and_then(|entry| entry.created_at).map(|at| at.to_string())
        }));
        if let Some(Observed::Unknown(why)) = one.of.found {
            unknown.get_or_insert_with(|| {
                Judgement::unknown(&format!("the role {name}"), why).from(&one.of.role.role)
            });
        } else if one.verdict.role.existence == Existence::Deleted && !verdict.is_named_somewhere() {
            elsewhere.push(format!("IAM has no role {name}: see node-role-known"));
        } else if currency.standing != Standing::Well {
            let by = match (&verdict.decision.outcome, &verdict.decision.source) {
                (Outcome::NotMapped, _) | (_, None) => String::new(),
                (_, Some(source)) => match &source.quote {
                    Some(quote) => format!(". {source} (`{quote}`) still names it"),
                    None => format!(". {source} still names it"),
                },
            };
            bad.push((currency.standing, format!("{}{by}", currency.message)));
        } else if let (true, Some(why)) = (mappings.entries_unread(), mappings.unread) {
            unknown.get_or_insert_with(|| {
                Judgement::unknown("the access entries", why).from(&facts.access_entries)
            });
        } else if one.of.is_foreign() {
            elsewhere.push(format!(
                "{name} is another account's, which these credentials cannot read: see node-role-mapped"
            ));
        } else if let Some(entry) = entry {
            match (created, entry.created_at) {
                (Some(created), Some(bound)) => good.push(format!(
                    "{name} was created at {created}, its access entry at {bound}: it is bound to this role"
                )),
                _ => {
                    unknown.get_or_insert_with(|| {
                        Judgement::undecided(format!(
                            "unknown whether the access entry of {name} is bound to this role: when the two were created was not read"
                        ))
                    });
                }
            }
        } else if verdict.decision.outcome == Outcome::NotMapped {
            elsewhere.push(format!("nothing maps {name}: see node-role-mapped"));
        } else {
            good.push(format!("IAM has {name}, and aws-auth goes by the name"));
        }
    }
    let worst = bad.iter().map(|(standing, _)| *standing).max();
    let message = |sentences: &[(Standing, String)]| {
        sentences
            .iter()
            .map(|(_, sentence)| sentence.as_str())
            .collect::<Vec<_>>()
            .join("; ")
    };
    let mut judgement = match (worst, unknown) {
        (Some(Standing::Broken), _) => Judgement::fail(message(&bad)),
        (_, Some(unknown)) => unknown,
        (Some(_), None) => Judgement::warn(message(&bad)),
        (None, None) if good.is_empty() => Judgement::ground_lost(elsewhere.join("; ")),
        (None, None) => Judgement::pass(good.join("; ")),
    };
    let parts: Vec<_> = judged.iter().map(|one| (one, one.verdict.currency())).collect();
    if let (Status::Warn | Status::Fail, Some((one, part))) = (judgement.status, worst_of(&parts)) {
        let fixes: Vec<_> = parts
            .iter()
            .filter_map(|(one, part)| one.fix(facts, &mappings, part))
            .collect();
        judgement = fixed(
            with_headline(judgement, part.headline(one.verdict.role.kind)),
            &fixes,
        );
    }
    for one in &judged {
        judgement = judgement.from(&one.of.role.role);
    }
    judgement
        .evidence("roles", json!(evidence))
        .from(&facts.access_entries)
}
