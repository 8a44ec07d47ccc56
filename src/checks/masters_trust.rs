//! Whether the roles that rule the cluster are there, and who can assume them.

use std::collections::HashMap;

use super::node_mapping::{existence, mappings, mode_not_known};
use super::{Check, Group, Judgement, lost_cluster, never, target};
use crate::facts::Facts;
use crate::facts::rulers::{MOST, Ruler};
use crate::model::{Grant, Observed, Unknown};
use crate::text::quote;
use crate::trust::mapping::{self, policies_unread};
use crate::trust::masters::{self, Incomplete, Master, Power};
use crate::trust::principal::Subject;
use crate::trust::{self, Identity, Question, Request, TrustVerdict};
use eks_aws_auth::{AccessEntry, Cluster, Existence};
use iam_policy::arn::Arn;

pub static MASTERS_TRUST: Check = Check {
    id: "masters-trust",
    group: Group::HelmAccess,
    title: "The cluster's admin roles exist, and the right principals can assume them",
    needed: never,
    judge: masters_trust,
};

fn masters_trust(facts: &Facts) -> Judgement {
    if let Some(reason) = lost_cluster(facts) {
        return Judgement::ground_lost(reason);
    }
    let Some(mappings) = mappings(facts) else {
        return mode_not_known(facts);
    };
    let cluster = mappings.cluster();
    let read: HashMap<(String, String), &Ruler> = facts
        .rulers
        .iter()
        .filter_map(|ruler| Some((key(&ruler.arn.parse().ok()?)?, ruler)))
        .collect();
    let of = |arn: &Arn| read.get(&key(arn)?).copied();
    let exists = |principal: &str| {
        let arn = principal.parse::<Arn>().ok();
        match arn.as_ref().and_then(of) {
            Some(ruler) => existence(&ruler.role.observed),
            None => Existence::Unknown,
        }
    };
    let caller = facts
        .caller
        .known()
        .and_then(|caller| Subject::of_caller(caller, &facts.caller_role.observed));
    let mut sources = Vec::new();
    let masters: Vec<Master> = mapping::rulers(&cluster, exists)
        .into_iter()
        .map(|ruler| {
            let found = of(&ruler.arn);
            sources.extend(found);
            master(facts, ruler, found, caller.as_ref())
        })
        .collect();
    let judgement = masters::judge(&masters, &incomplete(facts, &cluster));
    sources
        .into_iter()
        .fold(judgement, |judgement, ruler| judgement.from(&ruler.role))
}

/// Account and name: aws-auth leaves the path out, and a name is unique in its account whatever the path is.
fn key(arn: &Arn) -> Option<(String, String)> {
    Some((arn.account.clone(), arn.role_name()?.to_owned()))
}

fn master(facts: &Facts, ruler: mapping::Ruler, found: Option<&Ruler>, caller: Option<&Subject>) -> Master {
    let role = found.map_or_else(
        || {
            Observed::Unknown(Unknown::not_asked(if facts.rulers.len() >= MOST {
                "only the first hundred are read"
            } else {
                "these facts hold no read of it"
            }))
        },
        |found| found.role.observed.clone(),
    );
    let arn = ruler.arn.to_string();
    // An access entry names the whole ARN, aws-auth the name alone.
    let elsewhere = role
        .known()
        .filter(|role| ruler.power == Power::AccessEntry && role.arn != arn)
        .map(|role| format!("the role of that name is now {}", role.arn));
    Master {
        is_caller: role
            .known()
            .zip(caller)
            .is_some_and(|(role, caller)| caller.is_session_of(role)),
        caller: found
            .zip(caller)
            .and_then(|(found, caller)| verdict(found, caller)),
        unmap: Some(match ruler.power {
            Power::AwsAuth { .. } => format!(
                "kubectl edit configmap aws-auth -n kube-system --context {}",
                quote(&facts.target.context)
            ),
            Power::AccessEntry => format!(
                "aws eks delete-access-entry --cluster-name {} --principal-arn {}{}",
                quote(&facts.target.cluster),
                quote(&arn),
                target::aws_flags(facts)
            ),
        }),
        stale: elsewhere.or(ruler.stale),
        power: ruler.power,
        role,
        arn,
    }
}

/// Whether the caller may assume it; none where the role could not be read.
fn verdict(found: &Ruler, caller: &Subject) -> Option<TrustVerdict> {
    let role_arn: Arn = found.role.known()?.arn.parse().ok()?;
    Some(trust::judge(&Question {
        subject: caller,
        role_arn: &role_arn,
        role: &found.role.observed,
        identity: &Identity::Simulated(found.may_assume.observed.clone()),
        request: &Request::of_get_token(),
    }))
}

/// What of the mappings could not be read, and may hide a role that rules.
fn incomplete(facts: &Facts, cluster: &Cluster<'_>) -> Vec<Incomplete> {
    let mut parts = Vec::new();
    let unread = facts.access_entries.observed.unknown();
    if let Some(unknown) = unread.filter(|_| cluster.mode.uses_entries()) {
        parts.push(Incomplete::new("the access entries", unknown));
    }
    let unread = facts.aws_auth.observed.unknown();
    if let Some(unknown) = unread.filter(|_| cluster.mode.uses_aws_auth()) {
        parts.push(Incomplete::new("aws-auth", unknown));
    }
    let entries = policies_unread(cluster);
    parts.extend(entries.into_iter().map(|entry| of_policies(facts, entry)));
    parts
}

/// An entry whose policies were not read; why is in the record of the calls.
fn of_policies(facts: &Facts, entry: &AccessEntry) -> Incomplete {
    const ACTION: &str = "eks:ListAssociatedAccessPolicies";
    let call = format!("{ACTION} {}", entry.principal_arn);
    let why = facts
        .calls
        .iter()
        .find(|one| one.call == call)
        .map(|one| one.answer.as_str());
    let denied = why.is_some_and(|why| why.starts_with(ACTION) && why.contains(" denied"));
    Incomplete {
        what: format!(
            "the policies of the access entry of {} could not be read{}",
            entry.principal_arn,
            why.map(|why| format!(": {why}")).unwrap_or_default()
        ),
        grant: denied.then(|| {
            Box::new(Grant::Iam {
                action: ACTION.to_owned(),
                resource: format!(
                    "arn:{}:eks:{}:*:access-entry/{}/*",
                    facts.target.partition, facts.target.region, facts.target.cluster
                ),
            })
        }),
    }
}
