//! Whether the cluster admits Fargate's pods: Karpenter's own controller often runs there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::mapping_fix::fixed;
use super::node_mapping::{Mappings, fix_of, home, mappings, mode_not_known, with_headline, worst_of};
use super::node_verdict::{NodeKind, NodeRole, NodeVerdict, Part, Standing, judge_node_role};
use super::{Check, Group, Judgement, Status, lost_cluster, never};
use crate::facts::Facts;
use crate::facts::compute::FargateProfile;
use crate::model::Observed;
use iam_policy::document::glob;

pub(crate) static FARGATE_ROLE_MAPPED: Check = Check {
    id: "fargate-role-mapped",
    group: Group::NodeMapping,
    title: "The cluster lets Pods on Fargate join",
    needed: never,
    judge: fargate_role_mapped,
};

/// A pod execution role with the profiles that have it, and the verdict on its mapping.
pub(super) struct Judged<'f> {
    profiles: Vec<&'f FargateProfile>,
    pub(super) verdict: NodeVerdict,
}

impl Judged<'_> {
    fn who(&self) -> String {
        let names: Vec<&str> = self
            .profiles
            .iter()
            .map(|profile| profile.name.as_str())
            .collect();
        let plural = if names.len() == 1 { "" } else { "s" };
        format!("Fargate profile{plural} {}", names.join(", "))
    }
}

/// Every pod execution role of a profile that is not being deleted, with the verdict on its mapping.
pub(super) fn fargate_verdicts<'f>(facts: &'f Facts, mappings: &Mappings<'_>) -> Vec<Judged<'f>> {
    let mut by_role: BTreeMap<&str, Vec<&FargateProfile>> = BTreeMap::new();
    for profile in facts.compute.fargate_profiles.known().into_iter().flatten() {
        if profile.status != "DELETING" {
            by_role.entry(&profile.role_arn).or_default().push(profile);
        }
    }
    by_role
        .into_iter()
        .map(|(arn, profiles)| {
            let found = facts
                .compute
                .fargate_roles
                .get(&iam_policy::arn::role_name(arn))
                .map(|role| &role.observed);
            let asked = NodeRole::new(arn, NodeKind::Fargate).read(found);
            Judged {
                profiles,
                verdict: judge_node_role(&mappings.cluster(), home(facts), asked),
            }
        })
        .collect()
}

/// Whether one of the profiles takes pods of a namespace that Karpenter is in, or may be.
fn may_hold_karpenter(facts: &Facts, profiles: &[&FargateProfile]) -> bool {
    let mut namespaces: BTreeSet<&str> = facts
        .controller
        .deployments
        .known()
        .into_iter()
        .flat_map(|list| list.items.iter().map(|deployment| deployment.namespace.as_str()))
        .collect();
    if namespaces.is_empty() {
        // Where its documentation and its older chart put it.
        namespaces = match facts.ask.namespace.as_deref() {
            Some(asked) => [asked].into(),
            None => ["karpenter", "kube-system"].into(),
        };
    }
    profiles.iter().any(|profile| {
        profile.namespaces.is_empty()
            || profile
                .namespaces
                .iter()
                .any(|selected| namespaces.iter().any(|namespace| glob(selected, namespace)))
    })
}

fn fargate_role_mapped(facts: &Facts) -> Judgement {
    if let Some(reason) = lost_cluster(facts) {
        return Judgement::ground_lost(reason);
    }
    let fact = &facts.compute.fargate_profiles;
    match &fact.observed {
        Observed::Unknown(unknown) => return Judgement::unknown("the Fargate profiles", unknown).from(fact),
        Observed::Absent => return Judgement::skip("the cluster has no Fargate profile").from(fact),
        Observed::Known(profiles) if profiles.is_empty() => {
            return Judgement::skip("the cluster has no Fargate profile").from(fact);
        }
        Observed::Known(_) => {}
    }
    let Some(mappings) = mappings(facts) else {
        return mode_not_known(facts);
    };
    let judged = fargate_verdicts(facts, &mappings);
    if judged.is_empty() {
        return Judgement::skip("every Fargate profile is being deleted").from(fact);
    }
    // All of mapRoles is lost: that is told once, by the check that names the line.
    let told: Vec<(&Judged<'_>, Part<'_>)> = judged
        .iter()
        .filter(|one| !one.verdict.mapping().is_some_and(|part| part.is_lost()))
        .map(|one| (one, one.verdict.whole()))
        .collect();
    let Some((_, worst)) = worst_of(&told) else {
        return Judgement::ground_lost("all of mapRoles is lost, Fargate's roles too: see aws-auth-parses")
            .from(fact);
    };
    let of = |wanted: fn(Standing) -> bool| {
        let some: Vec<String> = told
            .iter()
            .filter(|(_, part)| wanted(part.standing))
            .map(|(one, part)| format!("{}: {}", one.who(), part.message))
            .collect();
        some.join("; ")
    };
    let fails = told
        .iter()
        .any(|(one, part)| part.standing == Standing::Broken && may_hold_karpenter(facts, &one.profiles));
    let amiss = |standing| matches!(standing, Standing::Flawed | Standing::Broken);
    let mut judgement = match (worst.standing, mappings.unread) {
        (Standing::Well, _) => Judgement::pass(of(|_| true)),
        (Standing::Broken, _) if fails => Judgement::fail(of(amiss)),
        (Standing::Flawed | Standing::Broken, _) => Judgement::warn(of(amiss)),
        (Standing::Unknown, Some(unknown)) => {
            Judgement::unknown("how Fargate's pod execution roles are mapped", unknown)
        }
        (Standing::Unknown, None) => Judgement::undecided(of(|standing| standing == Standing::Unknown)),
    };
    judgement = with_headline(judgement, worst.headline(NodeKind::Fargate));
    if let Status::Warn | Status::Fail = judgement.status {
        let bad: Vec<_> = told.iter().filter(|(_, part)| amiss(part.standing)).collect();
        let who: Vec<String> = bad.iter().map(|(one, _)| one.who()).collect();
        let fixes: Vec<_> = who
            .iter()
            .map(String::as_str)
            .zip(
                bad.iter()
                    .map(|(one, part)| fix_of(facts, &mappings, &one.verdict, part)),
            )
            .collect();
        judgement = fixed(judgement, &fixes);
    }
    let evidence: Vec<_> = judged
        .iter()
        .map(|one| {
            let profiles: Vec<&str> = one.profiles.iter().map(|profile| profile.name.as_str()).collect();
            let mut evidence = one.verdict.evidence(&one.verdict.role.arn);
            evidence["profiles"] = json!(profiles);
            evidence
        })
        .collect();
    judgement
        .evidence("roles", json!(evidence))
        .from(fact)
        .from(&facts.access_entries)
        .from(&facts.aws_auth)
}
