//! `masters-trust`: the roles that rule the cluster. Does each exist, can anything assume it, can the caller? Pure.
//!
//! A role rules the cluster when aws-auth maps it to `system:masters`, or an access entry gives it
//! AmazonEKSClusterAdminPolicy with cluster scope (entries cannot carry `system:` groups).

use serde_json::{Value, json};

use crate::checks::Judgement;
use crate::model::Role;
use crate::model::{Grant, Observed, Unknown};
use iam_policy::arn::{Arn, Partition, PrincipalArn};
use iam_policy::document::{Effect, PolicyDocument, Principal, Statement, Who};

use super::principal::is_unique_id;
use super::{Outcome, TrustVerdict};
use iam_policy::kleene::Tri;

/// Where a role's power over the cluster comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Power {
    /// A line of aws-auth that gives `system:masters`.
    AwsAuth {
        /// `mapRoles` (or `mapUsers`, where a role's ARN works too).
        key: String,
        /// Its place in the list, from 0.
        index: usize,
        /// Its line in the value, from 1.
        line: Option<usize>,
    },
    /// An access entry with AmazonEKSClusterAdminPolicy for the whole cluster.
    AccessEntry,
}

impl Power {
    fn words(&self) -> String {
        match self {
            Self::AwsAuth { key, index, line } => match line {
                Some(line) => format!("aws-auth {key}[{index}], line {line}"),
                None => format!("aws-auth {key}[{index}]"),
            },
            Self::AccessEntry => "access entry".to_owned(),
        }
    }
}

/// One role that rules the cluster, with what was found out about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Master {
    /// The ARN as it is mapped.
    pub arn: String,
    /// Where its power comes from.
    pub power: Power,
    /// The role in IAM.
    pub role: Observed<Role>,
    /// Whether the caller may assume it; none when nobody asked.
    pub caller: Option<TrustVerdict>,
    /// Whether the caller is a session of it.
    pub is_caller: bool,
    /// Why the mapping is another role's: an access entry is bound to the role that was there when the entry was made.
    pub stale: Option<String>,
    /// The command that takes the mapping away.
    pub unmap: Option<String>,
}

/// A part of the mappings that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incomplete {
    /// What, and why.
    pub what: String,
    /// The smallest permission that would lift it.
    pub grant: Option<Box<Grant>>,
}

impl Incomplete {
    /// A part, and why it could not be read.
    pub fn new(what: &str, unknown: &Unknown) -> Self {
        Self {
            what: format!("{what} could not be read: {unknown}"),
            grant: unknown.grant.clone(),
        }
    }
}

/// Who can assume a role, by its trust policy alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assumable {
    /// Whether anything can.
    pub by_anything: Tri,
    /// Whom the trust policy lets in, in its order, each once.
    pub by: Vec<String>,
    /// Ids of deleted principals in it.
    pub dead: Vec<String>,
}

/// Looks through every Allow for somebody who is there: principals by sts:AssumeRole, services, and identity providers
/// through the two other forms of it. `home` is the role's partition.
pub fn assumable(document: &PolicyDocument, home: Partition) -> Assumable {
    let mut by: Vec<String> = Vec::new();
    let mut dead: Vec<String> = Vec::new();
    let mut anything = Tri::False;
    for statement in &document.statements {
        if statement.effect != Some(Effect::Allow) {
            continue;
        }
        let entries = match &statement.who {
            Who::Principal(entries) => entries,
            Who::NotPrincipal(_) | Who::Unsaid => {
                anything = anything.or(Tri::Unknown);
                continue;
            }
        };
        for entry in entries {
            if let Principal::Aws(id) = entry
                && is_unique_id(id)
            {
                if !dead.contains(id) {
                    dead.push(id.clone());
                }
                continue;
            }
            if !is_somebody(entry, home) || !lets_in(statement, entry) {
                continue;
            }
            anything = anything.or(if statement.problems.is_empty() {
                Tri::True
            } else {
                Tri::Unknown
            });
            let words = if statement.conditions.is_empty() {
                entry.to_string()
            } else {
                format!("{entry} (under conditions)")
            };
            if !by.contains(&words) {
                by.push(words);
            }
        }
    }
    if denies_everybody(document) {
        anything = Tri::False;
        by.clear();
    }
    Assumable {
        by_anything: anything,
        by,
        dead,
    }
}

/// Whether the statement's actions are the one by which this kind of principal gets in.
fn lets_in(statement: &Statement, entry: &Principal) -> bool {
    let has = |action: &str| statement.actions.has_action(action) == Some(true);
    match entry {
        Principal::Federated(_) => has("sts:AssumeRoleWithSAML") || has("sts:AssumeRoleWithWebIdentity"),
        _ => has(super::ACTION),
    }
}

fn is_somebody(entry: &Principal, home: Partition) -> bool {
    match entry {
        Principal::Anyone | Principal::Service(_) | Principal::Federated(_) => true,
        Principal::Aws(text) => {
            text.parse::<iam_policy::arn::AccountId>().is_ok()
                || text
                    .parse::<PrincipalArn>()
                    .is_ok_and(|who| who.arn().partition == home && !text.contains(['*', '?']))
        }
        Principal::CanonicalUser(_) | Principal::Other { .. } => false,
    }
}

fn denies_everybody(document: &PolicyDocument) -> bool {
    document.statements.iter().any(|statement| {
        statement.effect == Some(Effect::Deny)
            && statement.problems.is_empty()
            && statement.conditions.is_empty()
            && [
                super::ACTION,
                "sts:AssumeRoleWithSAML",
                "sts:AssumeRoleWithWebIdentity",
            ]
            .iter()
            .all(|action| statement.actions.has_action(action) == Some(true))
            && matches!(&statement.who, Who::Principal(who) if who.contains(&Principal::Anyone))
    })
}

/// How one master fares.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fares {
    Well,
    Gone,
    Stale(String),
    NobodyCan(Vec<String>),
    Unreadable(String),
    Unread(Unknown),
}

fn fares(master: &Master) -> (Fares, Vec<String>) {
    match &master.role {
        Observed::Absent => (Fares::Gone, Vec::new()),
        Observed::Unknown(unknown) => (Fares::Unread(unknown.clone()), Vec::new()),
        Observed::Known(role) => {
            if let Some(why) = &master.stale {
                return (Fares::Stale(why.clone()), Vec::new());
            }
            let home = role
                .arn
                .parse::<Arn>()
                .map_or(Partition::Aws, |arn| arn.partition);
            match PolicyDocument::parse(&role.trust) {
                Err(error) => (Fares::Unreadable(error.to_string()), Vec::new()),
                Ok(document) => {
                    let found = assumable(&document, home);
                    match found.by_anything {
                        Tri::False => (Fares::NobodyCan(found.dead), Vec::new()),
                        Tri::True => (Fares::Well, found.by),
                        Tri::Unknown => (
                            Fares::Unreadable(
                                "its trust policy has statements that IAM would refuse".to_owned(),
                            ),
                            found.by,
                        ),
                    }
                }
            }
        }
    }
}

/// Judges all of them. `incomplete` names what could not be read of the mappings themselves (aws-auth, access entries).
pub fn judge(masters: &[Master], incomplete: &[Incomplete]) -> Judgement {
    let mut unread: Vec<String> = incomplete.iter().map(|part| part.what.clone()).collect();
    let mut grant = incomplete.iter().find_map(|part| part.grant.clone());
    if masters.is_empty() {
        return if incomplete.is_empty() {
            Judgement::skip(
                "no role is mapped to system:masters, and no access entry has AmazonEKSClusterAdminPolicy for the whole cluster \
                 (a cluster's creator in mode CONFIG_MAP rules it unseen)",
            )
        } else {
            ask_for(
                Judgement::undecided(format!(
                    "which roles rule the cluster could not be told: {}",
                    sentences(&unread, &[])
                )),
                grant.as_deref(),
            )
        };
    }
    let mut wrong = Vec::new();
    let mut good = Vec::new();
    let mut commands = Vec::new();
    let mut evidence: Vec<Value> = Vec::new();
    for master in masters {
        let (found, by) = fares(master);
        let named = format!("{} ({})", master.arn, master.power.words());
        let caller = if master.is_caller {
            "is the caller"
        } else {
            match &master.caller {
                None => "not asked",
                Some(verdict) => match verdict.outcome {
                    Outcome::Pass => "yes",
                    Outcome::Fail => "no",
                    Outcome::Unknown => "unknown",
                },
            }
        };
        evidence.push(json!({
            "arn": master.arn,
            "from": master.power.words(),
            "exists": match &master.role {
                Observed::Known(_) => json!(true),
                Observed::Absent => json!(false),
                Observed::Unknown(_) => Value::Null,
            },
            "assumableBy": by,
            "caller": caller,
        }));
        match found {
            Fares::Well => good.push(format!("{named}{}", caller_words(master))),
            Fares::Gone => {
                wrong.push(format!(
                    "{named} does not exist: its mapping gives nobody anything, and gives the cluster to whoever makes a role of \
                     that name"
                ));
                commands.extend(master.unmap.clone());
            }
            Fares::Stale(why) => {
                wrong.push(format!(
                    "{named} exists, and its mapping does not hold for it: {why}"
                ));
                commands.extend(master.unmap.clone());
            }
            Fares::NobodyCan(dead) => {
                let dead = if dead.is_empty() {
                    String::new()
                } else {
                    format!(" (it names {}, deleted)", dead.join(", "))
                };
                wrong.push(format!(
                    "{named} exists, and its trust policy lets nobody assume it{dead}"
                ));
                commands.push(format!(
                    "kubectl capt-spot trust {}",
                    crate::text::quote(&master.arn)
                ));
            }
            Fares::Unreadable(why) => unread.push(format!("{named}: {why}")),
            Fares::Unread(unknown) => {
                grant = grant.or_else(|| unknown.grant.clone());
                unread.push(format!("{named} could not be read: {unknown}"));
            }
        }
    }
    commands.dedup();
    commands.truncate(NAMED);
    let judgement = if !wrong.is_empty() {
        Judgement::warn(sentences(&wrong, &unread)).remedy(
            "Take the dead mappings out, or make the roles again and let somebody assume them.",
            commands,
        )
    } else if !unread.is_empty() {
        ask_for(Judgement::undecided(sentences(&unread, &good)), grant.as_deref())
    } else {
        Judgement::pass(sentences(&good, &[]))
    };
    judgement.evidence("roles", evidence)
}

/// Names the denied action and what to ask for.
fn ask_for(judgement: Judgement, grant: Option<&Grant>) -> Judgement {
    match grant {
        Some(grant) => judgement
            .evidence("denied", grant.action())
            .evidence("grant", grant.statement())
            .remedy(
                crate::model::permission::grant_remedy(grant),
                crate::model::permission::grant_commands(grant),
            ),
        None => judgement,
    }
}

/// How many roles a sentence names; all of them are in the evidence.
const NAMED: usize = 20;

fn sentences(first: &[String], then: &[String]) -> String {
    let all = first.iter().chain(then);
    let mut words: Vec<&str> = all.take(NAMED).map(String::as_str).collect();
    let more = (first.len() + then.len()).saturating_sub(NAMED);
    let rest = format!("and {more} more");
    if more > 0 {
        words.push(&rest);
    }
    words.join("; ")
}

fn caller_words(master: &Master) -> &'static str {
    if master.is_caller {
        return ": the caller is a session of it";
    }
    match master.caller.as_ref().map(|verdict| verdict.outcome) {
        Some(Outcome::Pass) => ": it exists, and the caller may assume it",
        Some(Outcome::Fail) => ": it exists and can be assumed, but not by the caller",
        Some(Outcome::Unknown) => ": it exists and can be assumed; whether by the caller can't be told",
        None => ": it exists and can be assumed",
    }
}
