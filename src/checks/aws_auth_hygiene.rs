//! What aws-auth holds that is read without complaint and does not do what it seems to.

use std::collections::BTreeSet;

use serde_json::json;

use super::fargate_role_mapped::fargate_verdicts;
use super::karpenter::count;
use super::mapping_fix::edit;
use super::node_mapping::{
    fixes, listed, mappings, mode_not_known, node_verdicts, sentence, told_together, webhook, webhook_word,
};
use super::node_verdict::Standing;
use super::{Check, Group, Judgement, lost_cluster, never};
use crate::facts::Facts;
use crate::model::Observed;
use eks_aws_auth::{Loss, MapKey, Mistake, Outcome, PassedOverBecause, Problem, Severity};

pub static AWS_AUTH_HYGIENE: Check = Check {
    id: "aws-auth-hygiene",
    group: Group::NodeMapping,
    title: "aws-auth does what it seems to say",
    needed: never,
    judge: aws_auth_hygiene,
};

/// The entries that the checks of the nodes' roles find fault with, and whether they name misspelled keys: one cause is
/// reported once.
fn told_elsewhere(facts: &Facts) -> (BTreeSet<(String, usize)>, bool) {
    let Some(mappings) = mappings(facts) else {
        return Default::default();
    };
    let (nodes, fargate) = (
        node_verdicts(facts, &mappings),
        fargate_verdicts(facts, &mappings),
    );
    let verdicts = nodes
        .iter()
        .map(|one| &one.verdict)
        .chain(fargate.iter().map(|one| &one.verdict))
        .filter(|verdict| matches!(verdict.whole().standing, Standing::Flawed | Standing::Broken));
    let mut entries = BTreeSet::new();
    let mut keys = false;
    for verdict in verdicts {
        keys |= verdict.whole().is_not_mapped();
        let decision = &verdict.decision;
        let near = decision
            .passed_over
            .iter()
            .filter(|over| decision.outcome == Outcome::NotMapped && over.because != PassedOverBecause::Stale)
            .map(|over| &over.source);
        for source in near.chain(&decision.source) {
            if let (Some(key), Some(index)) = (source.key, source.index) {
                entries.insert((key.to_string(), index));
            }
        }
    }
    (entries, keys)
}

fn aws_auth_hygiene(facts: &Facts) -> Judgement {
    if let Some(reason) = lost_cluster(facts) {
        return Judgement::ground_lost(reason);
    }
    let Some(mode) = facts.cluster.known().map(|cluster| cluster.authentication_mode) else {
        return mode_not_known(facts);
    };
    let map = match &facts.aws_auth.observed {
        Observed::Known(map) => map.taken_in(),
        Observed::Absent => {
            return Judgement::skip("there is no ConfigMap kube-system/aws-auth").from(&facts.aws_auth);
        }
        Observed::Unknown(_) if !mode.uses_aws_auth() => {
            return Judgement::skip("in authentication mode API the cluster ignores aws-auth")
                .from(&facts.cluster);
        }
        Observed::Unknown(unknown) => {
            return Judgement::unknown("the ConfigMap kube-system/aws-auth", unknown).from(&facts.aws_auth);
        }
    };
    let entries = map.roles.len() + map.users.len() + map.accounts.len();
    if !mode.uses_aws_auth() {
        let left = match entries {
            0 => String::new(),
            1 => "; the entry that is still in it does not count".to_owned(),
            n => format!("; the {n} entries that are still in it do not count"),
        };
        return Judgement::skip(format!(
            "in authentication mode API the cluster ignores aws-auth{left}"
        ))
        .evidence("ignoredEntries", entries)
        .from(&facts.cluster);
    }
    let (elsewhere, keys_elsewhere) = told_elsewhere(facts);
    let is_elsewhere = |problem: &&Problem| {
        let entry = problem.key.clone().zip(problem.index);
        let key = keys_elsewhere
            && problem.mistake == Some(Mistake::Key)
            && problem.loss == Loss::Key(MapKey::MapRoles);
        key || entry.is_some_and(|entry| elsewhere.contains(&entry))
    };
    let (theirs, ours): (Vec<&Problem>, Vec<&Problem>) = map
        .problems
        .iter()
        .filter(|problem| problem.severity == Severity::Warning)
        .partition(is_elsewhere);
    let others = match theirs.len() {
        0 => "",
        _ => " (what is wrong with the nodes' own lines: see node-role-mapped and fargate-role-mapped)",
    };
    let judgement = if ours.is_empty() {
        Judgement::pass(format!(
            "{}, no known mistakes{others}",
            count(entries, "entry", "entries")
        ))
    } else {
        Judgement::warn(format!("{}{others}", told_together(map, &ours)))
            .headline("aws-auth has entries that do not do what they seem to")
            .fix(
                format!("{}{}", sentence(&fixes(&ours)), webhook_word(facts)),
                [edit(&facts.target)],
            )
    };
    judgement
        .evidence("problems", listed(map, &ours))
        .evidence("count", ours.len())
        .evidence(
            "writtenBy",
            json!(facts.aws_auth.known().map(|map| map.managers.as_slice())),
        )
        .evidence("validationWebhook", webhook(facts))
        .from(&facts.aws_auth)
        .from(&facts.validation_webhook)
}
