//! May principal P assume role R (`sts:AssumeRole`). Pure, and three-valued through and through.
//!
//! What must hold (IAM user guide, "Policy evaluation logic", "AWS JSON policy elements: Principal"):
//! no Deny anywhere; a statement of R's trust policy that allows P, also within one account; and, depending on how
//! directly that statement names P, an Allow in P's own policies. The identity side comes from
//! `iam:SimulatePrincipalPolicy`, which discards trust policies for `sts:Assume*` (aws/aws-cli#10314), so that the trust
//! side is judged here.

pub mod advice;
pub mod cdk;
pub mod mapping;
pub mod masters;
pub mod principal;
pub mod report;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::{Observed, Unknown};
use crate::model::{Role, SimulatedDecision, Simulation};
use iam_policy::arn::{Arn, PrincipalArn};
use iam_policy::document::{self, Comparison, Condition, Effect, PolicyDocument, Principal, Statement, Who};

use iam_policy::condition::{self, ContextValue};
use iam_policy::kleene::Tri;
use principal::{Caller, Class, Oddity, Subject};

/// The action that is asked for.
pub const ACTION: &str = "sts:AssumeRole";

/// The session name that `aws eks get-token` and aws-cli's `update-kubeconfig --role-arn` entries use.
pub const GET_TOKEN_SESSION: &str = "EKSGetTokenAuth";

/// What the identity side of P says: P's own policies, its permissions boundary and its organisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// The answer of `iam:SimulatePrincipalPolicy` for P, `sts:AssumeRole` and R. Absent: IAM has no such P.
    Simulated(Observed<Simulation>),
    /// It will be allowed by whoever makes P, who is named (CDK adds the statement to its handler's role).
    Promised(String),
}

/// The request as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// `sts:RoleSessionName`; [`GET_TOKEN_SESSION`] for kubectl. None: not known.
    pub session_name: Option<String>,
    /// `sts:ExternalId`. None: the request carries none.
    pub external_id: Option<String>,
    /// What else is known of the request, by condition key in any case.
    pub context: BTreeMap<String, ContextValue>,
}

impl Request {
    /// As `aws eks get-token --role-arn` makes it, which CDK's handler runs: no external id.
    pub fn of_get_token() -> Self {
        Self {
            session_name: Some(GET_TOKEN_SESSION.to_owned()),
            ..Self::default()
        }
    }

    /// Says what the request has for a key.
    pub fn with(mut self, key: &str, value: ContextValue) -> Self {
        self.context.insert(key.to_ascii_lowercase(), value);
        self
    }
}

/// The whole question.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// P.
    pub subject: &'a Subject,
    /// R's ARN: as asked, or as IAM has it.
    pub role_arn: &'a Arn,
    /// R in IAM, with its trust policy.
    pub role: &'a Observed<Role>,
    /// P's side.
    pub identity: &'a Identity,
    /// The request.
    pub request: &'a Request,
}

/// The answer in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It may, as far as can be seen from here; what can't is in `couldNotSee`.
    Pass,
    /// It may not.
    Fail,
    /// It can't be told.
    Unknown,
}

impl Outcome {
    /// `pass`, `fail`, `unknown`
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Unknown => "unknown",
        }
    }
}

impl From<Tri> for Outcome {
    fn from(holds: Tri) -> Self {
        match holds {
            Tri::True => Self::Pass,
            Tri::False => Self::Fail,
            Tri::Unknown => Self::Unknown,
        }
    }
}

/// What the answer rests on; for machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Pass: the trust policy names the user or session.
    NamedDirectly,
    /// Pass: the trust policy names the role.
    RoleNamed,
    /// Pass: the trust policy trusts the account, and the principal's own policies allow it.
    AccountTrusted,
    /// Pass: the trust policy trusts everybody, under its conditions.
    EverybodyTrusted,
    /// Fail: R does not exist.
    RoleMissing,
    /// Fail: P does not exist.
    PrincipalMissing,
    /// Fail: nobody like P can call sts:AssumeRole (root users, federated users).
    PrincipalCannotAssume,
    /// Fail: P and R are in different partitions.
    OtherPartition,
    /// Fail: a Deny of the trust policy.
    DeniedByTrust,
    /// Fail: no statement of the trust policy is about P.
    NotTrusted,
    /// Fail: the trust policy names a principal that was deleted, and nobody that is P.
    PrincipalDeleted,
    /// Fail: only AWS services may assume R.
    ServiceOnly,
    /// Fail: only identity providers may let people assume R.
    FederatedOnly,
    /// Fail: a statement is about P, and one of its conditions does not hold.
    ConditionNotMet,
    /// Fail: the account is trusted (or is another one), and P's own policies do not allow it.
    IdentityMissing,
    /// Fail: P's own policies deny it.
    IdentityDenied,
    /// Fail: P's permissions boundary does not allow it.
    Boundary,
    /// Fail: the organisation's service control policies do not allow it.
    Organization,
    /// Unknown: R could not be read.
    RoleUnread,
    /// Unknown: R's trust policy is no policy document.
    TrustUnreadable,
    /// Unknown: a Deny of the trust policy may apply.
    DenyUnclear,
    /// Unknown: whether the trust policy allows it depends on what can't be seen.
    TrustUnclear,
    /// Unknown: P's side could not be read.
    IdentityUnread,
}

/// One step on the way to the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// What was asked: `same-partition`, `role-exists`, `principal-can-assume`, `trust-denies`, `trust-allows`,
    /// `identity`.
    pub step: String,
    /// Whether this step is good.
    pub outcome: Outcome,
    /// What was found.
    pub message: String,
}

/// Something that could not be seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Blind {
    /// What, and why.
    pub what: String,
    /// Whether the answer hangs on it.
    pub decides: bool,
    /// The smallest grant that lifts it, as a statement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
}

/// The statement that decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Decider {
    /// Its place in the document, from 0.
    pub index: usize,
    /// Its `Sid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// `Allow` or `Deny`.
    pub effect: String,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TrustVerdict {
    /// In one word.
    pub outcome: Outcome,
    /// What it rests on.
    pub reason: Reason,
    /// In a sentence.
    pub message: String,
    /// The statement of the trust policy that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<Decider>,
    /// The way to it.
    pub steps: Vec<Step>,
    /// What is odd about the trust policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
    /// What could not be seen. Entries that decide are there only when the outcome is unknown.
    pub could_not_see: Vec<Blind>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<advice::TrustRemedy>,
}

/// One statement, judged for P.
struct Judged<'a> {
    statement: &'a Statement,
    /// Action and conditions hold, and IAM would have accepted the statement.
    frame: Tri,
    /// Conditions alone.
    conditions: Tri,
    action: Tri,
    /// Who of it is P, and how directly; the or of these is whether it is about P.
    about: Vec<(Tri, Class)>,
    oddities: Vec<Oddity>,
    /// What would have to be known.
    open: BTreeSet<String>,
    /// Conditions that are known not to hold.
    unmet: Vec<String>,
}

impl Judged<'_> {
    fn is_about(&self) -> Tri {
        Tri::any(self.about.iter().map(|(holds, _)| *holds))
    }

    fn applies(&self) -> Tri {
        self.frame.and(self.is_about())
    }

    fn decider(&self) -> Decider {
        Decider {
            index: self.statement.index,
            sid: self.statement.sid.clone(),
            effect: self
                .statement
                .effect
                .map_or_else(|| "unclear".to_owned(), |effect| effect.to_string()),
        }
    }
}

/// Judges the whole question.
pub fn judge(question: &Question<'_>) -> TrustVerdict {
    let mut verdict = decide(question);
    verdict.could_not_see.extend(always_blind(question, &verdict));
    verdict.remedy = advice::remedy(question, &verdict);
    verdict
}

fn decide(question: &Question<'_>) -> TrustVerdict {
    let Question {
        subject,
        role_arn,
        role,
        identity,
        ..
    } = *question;
    let who = subject.who.words();
    let mut steps = Vec::new();
    let mut step = |name: &str, outcome: Tri, message: String| {
        steps.push(Step {
            step: name.to_owned(),
            outcome: outcome.into(),
            message,
        });
    };
    let stop = |steps: Vec<Step>, reason: Reason, outcome: Outcome, message: String| TrustVerdict {
        outcome,
        reason,
        message,
        decided_by: None,
        steps,
        hints: Vec::new(),
        could_not_see: Vec::new(),
        remedy: None,
    };

    // Nobody of another partition, no root user and no federated user, whatever policies say.
    if subject.who.partition() != role_arn.partition {
        let message = format!(
            "{who} is in the partition {}, {role_arn} in {}: partitions do not trust each other",
            subject.who.partition(),
            role_arn.partition
        );
        step("same-partition", Tri::False, message.clone());
        return stop(steps, Reason::OtherPartition, Outcome::Fail, message);
    }
    if let Caller::Known(found) = &subject.who {
        let cannot = match found {
            PrincipalArn::Root(_) => Some("a root user cannot call sts:AssumeRole (AWS denies it always)"),
            PrincipalArn::FederatedUser(_) => {
                Some("the credentials of GetFederationToken can call nothing of STS but GetCallerIdentity")
            }
            _ => None,
        };
        if let Some(cannot) = cannot {
            let message = format!("{who}: {cannot}");
            step("principal-can-assume", Tri::False, message.clone());
            return stop(steps, Reason::PrincipalCannotAssume, Outcome::Fail, message);
        }
    }
    let gone = subject.role.is_absent() || matches!(identity, Identity::Simulated(Observed::Absent));
    if gone {
        let message = format!("{who} does not exist: IAM has no such {}", kind_of(subject));
        step("principal-can-assume", Tri::False, message.clone());
        return stop(steps, Reason::PrincipalMissing, Outcome::Fail, message);
    }

    // R and its trust policy.
    let role = match role {
        Observed::Known(role) => role,
        Observed::Absent => {
            let message = format!("{role_arn} does not exist");
            step("role-exists", Tri::False, message.clone());
            return stop(steps, Reason::RoleMissing, Outcome::Fail, message);
        }
        Observed::Unknown(unknown) => {
            let message = format!("{role_arn} could not be read: {unknown}");
            step("role-exists", Tri::Unknown, message.clone());
            let mut verdict = stop(steps, Reason::RoleUnread, Outcome::Unknown, message);
            verdict.could_not_see.push(blind(
                format!("the trust policy of {role_arn}: {unknown}"),
                unknown,
            ));
            return verdict;
        }
    };
    let document = match PolicyDocument::parse(&role.trust) {
        Ok(document) => document,
        Err(error) => {
            let message = format!("the trust policy of {role_arn} could not be understood: {error}");
            step("role-exists", Tri::Unknown, message.clone());
            let mut verdict = stop(steps, Reason::TrustUnreadable, Outcome::Unknown, message.clone());
            verdict.could_not_see.push(Blind {
                what: message,
                decides: true,
                grant: None,
            });
            return verdict;
        }
    };
    step("role-exists", Tri::True, format!("{role_arn} exists"));

    let judged: Vec<Judged<'_>> = document
        .statements
        .iter()
        .map(|statement| judge_statement(question, &document, statement))
        .collect();
    // A statement whose effect can't be told may be a Deny, and is never an Allow.
    let denies: Vec<&Judged<'_>> = judged
        .iter()
        .filter(|one| one.statement.effect != Some(Effect::Allow))
        .collect();
    let allows: Vec<&Judged<'_>> = judged
        .iter()
        .filter(|one| one.statement.effect == Some(Effect::Allow))
        .collect();
    let denied_by = |one: &Judged<'_>| match one.statement.effect {
        Some(Effect::Deny) => one.applies(),
        _ => one.applies().and(Tri::Unknown),
    };
    let deny = Tri::any(denies.iter().map(|one| denied_by(one)));
    let trusts = Tri::any(allows.iter().map(|one| one.applies()));
    let same_account = subject.who.account() == role_arn.account;
    let granted = |one: &Judged<'_>| {
        one.frame.and(Tri::any(one.about.iter().map(|&(holds, class)| {
            holds.and(identity_for(class, one.statement, same_account, identity))
        })))
    };
    let allow = Tri::any(allows.iter().map(|one| granted(one)));
    let identity_alone = identity_floor(identity);
    let outcome = Tri::all([!deny, allow, identity_alone]);

    let mut hints: Vec<String> = Vec::new();
    for one in &judged {
        for oddity in &one.oddities {
            let hint = format!("{}: {}", one.statement.name(), oddity.words());
            if !hints.contains(&hint) {
                hints.push(hint);
            }
        }
        for problem in &one.statement.problems {
            hints.push(format!(
                "{}: {problem}, which IAM would refuse",
                one.statement.name()
            ));
        }
    }

    // The steps in words.
    let mut could_not_see = Vec::new();
    let first_deny = denies
        .iter()
        .find(|one| denied_by(one) == deny && deny != Tri::False);
    step(
        "trust-denies",
        !deny,
        match (deny, first_deny) {
            (Tri::False, _) if denies.is_empty() => "the trust policy has no Deny".to_owned(),
            (Tri::True, Some(one)) => format!("{} denies it", one.statement.name()),
            (Tri::Unknown, Some(one)) => {
                format!("{} may deny it: {}", one.statement.name(), open_words(&one.open))
            }
            _ => "no Deny of the trust policy is about it".to_owned(),
        },
    );
    let best = best_allow(&allows, &granted);
    let trust_words = match (trusts, best) {
        (Tri::True, Some(one)) => format!(
            "{} of the trust policy {}",
            one.statement.name(),
            class_of(one, same_account, identity).words(subject.who.account())
        ),
        (Tri::Unknown, Some(one)) => {
            format!("{} may allow it: {}", one.statement.name(), open_words(&one.open))
        }
        _ => not_trusted_words(&document, &allows),
    };
    step("trust-allows", trusts, trust_words.clone());

    let mut needs = identity_words(identity, best, same_account, subject);
    // One entry of the statement surely means P, but only through P's own policies, which don't allow it; another entry
    // would do without them, and whether it means P is not known.
    let naming_unclear = deny == Tri::False
        && trusts == Tri::True
        && allow == Tri::Unknown
        && needs.0 == Tri::True
        && identity_alone == Tri::True;
    if naming_unclear && let Some(one) = best {
        needs = (
            Tri::Unknown,
            format!(
                "its own policies do not allow it, so that it hangs on whether {} names it: {}",
                one.statement.name(),
                open_words(&one.open)
            ),
        );
    }
    if deny != Tri::True && trusts != Tri::False {
        step("identity", needs.0, needs.1.clone());
    }

    let decider = match outcome {
        Tri::True => best.map(Judged::decider),
        _ if deny == Tri::True => first_deny.map(|one| one.decider()),
        Tri::False => best
            .filter(|one| trusts != Tri::False || (one.is_about() != Tri::False && one.action != Tri::False))
            .map(Judged::decider),
        Tri::Unknown => match (deny, first_deny) {
            (Tri::Unknown, Some(one)) => Some(one.decider()),
            _ => best.map(Judged::decider),
        },
    };
    let may = |verb: &str| format!("{who} {verb} assume {role_arn}");
    let (reason, message) = match outcome {
        Tri::True => {
            let one = best.map_or_else(String::new, |one| one.statement.name());
            let class = best.map_or(Class::Direct, |one| class_of(one, same_account, identity));
            let (reason, because) = match class {
                Class::Direct => (
                    Reason::NamedDirectly,
                    format!("{one} of its trust policy names it"),
                ),
                Class::Role => (
                    Reason::RoleNamed,
                    format!("{one} of its trust policy names its role"),
                ),
                Class::Account => (
                    Reason::AccountTrusted,
                    format!("{one} of its trust policy trusts the account, and {}", needs.1),
                ),
                Class::Anyone => (
                    Reason::EverybodyTrusted,
                    format!("{one} of its trust policy trusts everybody"),
                ),
            };
            (reason, format!("{}: {because}", may("may")))
        }
        Tri::False if deny == Tri::True => (
            Reason::DeniedByTrust,
            format!(
                "{}: {} of its trust policy denies it",
                may("may not"),
                first_deny.map_or_else(String::new, |one| one.statement.name())
            ),
        ),
        Tri::False if trusts == Tri::False => {
            let reason = not_trusted_reason(&document, &allows);
            (reason, format!("{}: {trust_words}", may("may not")))
        }
        Tri::False => (
            identity_reason(identity),
            format!("{}: {}", may("may not"), needs.1),
        ),
        Tri::Unknown => {
            for one in denies.iter().filter(|one| denied_by(one) == Tri::Unknown) {
                push_open(&mut could_not_see, one, "may deny it");
            }
            for one in allows
                .iter()
                .filter(|one| one.applies() == Tri::Unknown && trusts != Tri::True)
            {
                push_open(&mut could_not_see, one, "may allow it");
            }
            let identity_open = needs.0 == Tri::Unknown || identity_alone == Tri::Unknown;
            if identity_open {
                could_not_see.push(match identity {
                    Identity::Simulated(Observed::Unknown(unknown)) => {
                        blind(format!("what {who}'s own policies say: {unknown}"), unknown)
                    }
                    _ => Blind {
                        what: needs.1.clone(),
                        decides: true,
                        grant: None,
                    },
                });
            }
            let reason = if deny == Tri::Unknown {
                Reason::DenyUnclear
            } else if trusts == Tri::Unknown || naming_unclear {
                Reason::TrustUnclear
            } else {
                Reason::IdentityUnread
            };
            let because = match reason {
                Reason::DenyUnclear => steps_message(&steps, "trust-denies"),
                Reason::TrustUnclear if !naming_unclear => trust_words,
                _ => needs.1,
            };
            (reason, format!("whether {} can't be told: {because}", may("may")))
        }
    };
    TrustVerdict {
        outcome: outcome.into(),
        reason,
        message,
        decided_by: decider,
        steps,
        hints,
        could_not_see,
        remedy: None,
    }
}

fn steps_message(steps: &[Step], name: &str) -> String {
    steps
        .iter()
        .find(|step| step.step == name)
        .map(|step| step.message.clone())
        .unwrap_or_default()
}

fn kind_of(subject: &Subject) -> &'static str {
    match &subject.who {
        Caller::Known(PrincipalArn::User(_)) => "user",
        _ => "role",
    }
}

fn blind(what: String, unknown: &Unknown) -> Blind {
    Blind {
        what,
        decides: true,
        grant: unknown.grant.as_ref().map(|grant| grant.statement()),
    }
}

fn push_open(into: &mut Vec<Blind>, one: &Judged<'_>, verb: &str) {
    into.push(Blind {
        what: format!("{} {verb}: {}", one.statement.name(), open_words(&one.open)),
        decides: true,
        grant: None,
    });
}

fn open_words(open: &BTreeSet<String>) -> String {
    if open.is_empty() {
        "what it depends on is not known".to_owned()
    } else {
        open.iter().cloned().collect::<Vec<_>>().join("; ")
    }
}

/// The Allow that answers best: one that grants, else one that may, else the one that is closest to being about P.
fn best_allow<'a, 'b>(
    allows: &[&'b Judged<'a>],
    granted: &dyn Fn(&Judged<'a>) -> Tri,
) -> Option<&'b Judged<'a>> {
    let rank = |one: &Judged<'a>| {
        (
            tri_rank(granted(one)),
            tri_rank(one.applies()),
            tri_rank(one.is_about()),
            tri_rank(one.action),
        )
    };
    // The first of the best, as a person reads the document from the top.
    allows.iter().copied().rev().max_by_key(|one| rank(one))
}

/// The way in which a statement is about P that counts: the one that grants, else the most direct one.
fn class_of(one: &Judged<'_>, same_account: bool, identity: &Identity) -> Class {
    let strength = |class: Class| match class {
        Class::Direct => 3,
        Class::Role => 2,
        Class::Anyone => 1,
        Class::Account => 0,
    };
    one.about
        .iter()
        .filter(|(holds, _)| *holds != Tri::False)
        .max_by_key(|&&(holds, class)| {
            let granted = holds.and(identity_for(class, one.statement, same_account, identity));
            (tri_rank(granted), tri_rank(holds), strength(class))
        })
        .map_or(Class::Direct, |(_, class)| *class)
}

fn tri_rank(holds: Tri) -> u8 {
    match holds {
        Tri::True => 2,
        Tri::Unknown => 1,
        Tri::False => 0,
    }
}

fn judge_statement<'a>(
    question: &Question<'_>,
    document: &PolicyDocument,
    statement: &'a Statement,
) -> Judged<'a> {
    let mut open = BTreeSet::new();
    let mut oddities = Vec::new();
    let action = match statement.actions.has_action(ACTION) {
        Some(has) => Tri::from(has),
        None => {
            open.insert("it names no Action".to_owned());
            Tri::Unknown
        }
    };
    let get = |key: &str| context(question, key);
    let mut unmet = Vec::new();
    let conditions = Tri::all(statement.conditions.iter().map(|one| {
        let holds = condition::judge(one, document.has_variables(), &get);
        match holds {
            Tri::Unknown => {
                open.insert(why_open(one));
            }
            Tri::False => unmet.push(one.to_string()),
            Tri::True => {}
        }
        holds
    }));
    // What IAM would not have stored is not built upon: it may not mean what it seems to.
    let accepted = if statement.problems.is_empty() {
        Tri::True
    } else {
        open.insert(format!("IAM would refuse it ({})", statement.problems.join(", ")));
        Tri::Unknown
    };
    let accepted = if statement.resources == document::Names::Unsaid {
        accepted
    } else {
        open.insert("it has a Resource, which a trust policy may not have".to_owned());
        accepted.and(Tri::Unknown)
    };
    let home = question.role_arn.partition;
    let about = match &statement.who {
        Who::Principal(entries) => entries
            .iter()
            .map(|entry| {
                let found = principal::matches(entry, question.subject, home);
                let mut holds = found.holds;
                // A Deny that IAM would not have stored: nobody knows what it denies.
                if statement.effect != Some(Effect::Allow)
                    && matches!(
                        found.oddity,
                        Some(Oddity::PartialWildcard(_) | Oddity::Malformed(..))
                    )
                {
                    holds = Tri::Unknown;
                    open.insert(format!("IAM would refuse the principal {entry}"));
                }
                if holds == Tri::Unknown {
                    open.insert(why_unclear(question.subject, entry));
                }
                let class = match found.class {
                    Class::Anyone if names_principal_arn(&statement.conditions) => Class::Direct,
                    class => class,
                };
                oddities.extend(found.oddity);
                (holds, class)
            })
            .collect(),
        Who::NotPrincipal(entries) => {
            vec![not_principal(
                question,
                statement,
                entries,
                &mut open,
                &mut oddities,
            )]
        }
        Who::Unsaid => {
            open.insert("it names no Principal".to_owned());
            vec![(Tri::Unknown, Class::Anyone)]
        }
    };
    Judged {
        statement,
        frame: Tri::all([action, conditions, accepted]),
        conditions,
        action,
        about,
        oddities,
        open,
        unmet,
    }
}

/// `NotPrincipal` (IAM user guide, "AWS JSON policy elements: NotPrincipal"): with Deny it spares only whom it names
/// together with the account; with Allow it is not supported, and in trust policies new ones are refused.
fn not_principal(
    question: &Question<'_>,
    statement: &Statement,
    entries: &[Principal],
    open: &mut BTreeSet<String>,
    oddities: &mut Vec<Oddity>,
) -> (Tri, Class) {
    let subject = question.subject;
    let (mut named, mut account, mut anyone) = (Tri::False, Tri::False, false);
    for entry in entries {
        let found = principal::matches(entry, subject, question.role_arn.partition);
        match found.class {
            Class::Anyone => anyone = true,
            Class::Account => account = account.or(found.holds),
            Class::Direct | Class::Role => named = named.or(found.holds),
        }
        oddities.extend(found.oddity);
    }
    if anyone {
        return (Tri::False, Class::Anyone);
    }
    if statement.effect == Some(Effect::Allow) {
        let listed = named.or(account);
        if listed == Tri::True {
            return (Tri::False, Class::Anyone);
        }
        open.insert("NotPrincipal with Allow is not supported by AWS".to_owned());
        return (Tri::Unknown, Class::Anyone);
    }
    let bounded = subject.role.known().is_some_and(|role| role.boundary.is_some())
        || matches!(question.identity, Identity::Simulated(Observed::Known(found)) if found.allowed_by_boundary.is_some());
    if bounded {
        // It denies every principal that has a permissions boundary, named or not.
        return (Tri::True, Class::Anyone);
    }
    let spared = named.and(account);
    let listed = named.or(account);
    match (spared, listed) {
        (Tri::True, _) => (Tri::False, Class::Anyone),
        (_, Tri::False) => (Tri::True, Class::Anyone),
        _ => {
            open.insert(
                "its NotPrincipal names the principal or the account and not both, and AWS then may deny either"
                    .to_owned(),
            );
            (Tri::Unknown, Class::Anyone)
        }
    }
}

/// `*` narrowed by aws:PrincipalArn grants as if it named the principal (IAM user guide, "IAM role principals").
fn names_principal_arn(conditions: &[Condition]) -> bool {
    conditions.iter().any(|one| {
        one.key.eq_ignore_ascii_case("aws:PrincipalArn")
            && !one.operator.if_exists
            && one.operator.set != Some(document::SetOperator::ForAllValues)
            && matches!(
                one.operator.comparison,
                Comparison::StringEquals { negated: false }
                    | Comparison::StringEqualsIgnoreCase { negated: false }
                    | Comparison::StringLike { negated: false }
                    | Comparison::Arn { negated: false, .. }
            )
    })
}

fn why_open(condition: &Condition) -> String {
    format!("its condition {condition} depends on what is not known here")
}

fn why_unclear(subject: &Subject, entry: &Principal) -> String {
    match &subject.who {
        Caller::SomeRole { .. } => format!("whether that role will be {entry} is not known"),
        Caller::Known(PrincipalArn::Role(_)) => {
            format!("whether {entry} is a session of it, or it, is not known")
        }
        Caller::Known(_) => format!("whether {entry} is it can't be told"),
    }
}

/// What the request has for a condition key (IAM user guide, "AWS global condition context keys" and "IAM and AWS STS
/// condition context keys").
pub fn context(question: &Question<'_>, key: &str) -> ContextValue {
    let key = key.to_ascii_lowercase();
    let request = question.request;
    if let Some(value) = request.context.get(&key) {
        return value.clone();
    }
    let subject = question.subject;
    let who = match &subject.who {
        Caller::Known(who) => Some(who),
        Caller::SomeRole { .. } => None,
    };
    let user = matches!(who, Some(PrincipalArn::User(_)));
    // A session of a role may carry tags, a source identity and MFA from before; a user's request does not.
    let of_session = |user_has: ContextValue| if user { user_has } else { ContextValue::Unknown };
    match key.as_str() {
        "aws:principalarn" => match (subject.verified_role_arn(), who) {
            (Some(arn), Some(PrincipalArn::Role(_) | PrincipalArn::Session { .. })) => {
                ContextValue::one(arn.to_string())
            }
            (None, Some(PrincipalArn::Session { .. })) | (_, None) => ContextValue::Present,
            (_, Some(who)) => ContextValue::one(who.arn().to_string()),
        },
        "aws:principalaccount" => ContextValue::one(subject.who.account()),
        "aws:principaltype" => ContextValue::one(match who {
            Some(PrincipalArn::User(_)) => "User",
            Some(PrincipalArn::Root(_)) => "Account",
            Some(PrincipalArn::FederatedUser(_)) => "FederatedUser",
            Some(PrincipalArn::Role(_) | PrincipalArn::Session { .. }) | None => "AssumedRole",
        }),
        "aws:userid" => match (who, subject.unique_id()) {
            (Some(PrincipalArn::User(_)), Some(id)) => ContextValue::one(id),
            (Some(PrincipalArn::Session { session, .. }), Some(id)) => {
                ContextValue::one(format!("{id}:{session}"))
            }
            _ => ContextValue::Present,
        },
        "aws:username" => match who {
            Some(PrincipalArn::User(arn)) => {
                ContextValue::one(arn.resource.rsplit('/').next().unwrap_or_default())
            }
            _ => ContextValue::Absent,
        },
        "aws:principalisawsservice" | "aws:viaawsservice" => ContextValue::one("false"),
        "aws:principalservicename"
        | "aws:principalservicenameslist"
        | "aws:sourceaccount"
        | "aws:sourcearn"
        | "aws:sourceorgid"
        | "aws:sourceorgpaths"
        | "aws:calledvia"
        | "aws:calledviafirst"
        | "aws:calledvialast"
        | "sts:awsservicename" => ContextValue::Absent,
        "aws:securetransport" => ContextValue::one("true"),
        "aws:currenttime" | "aws:epochtime" | "aws:requestedregion" => ContextValue::Present,
        "aws:resourceaccount" => ContextValue::one(&question.role_arn.account),
        "sts:externalid" => match &request.external_id {
            Some(id) => ContextValue::one(id),
            None => ContextValue::Absent,
        },
        "sts:rolesessionname" => match &request.session_name {
            Some(name) => ContextValue::one(name),
            None => ContextValue::Present,
        },
        "aws:tokenissuetime" => {
            if user {
                ContextValue::Unknown
            } else {
                ContextValue::Present
            }
        }
        "sts:sourceidentity"
        | "aws:sourceidentity"
        | "sts:transitivetagkeys"
        | "aws:tagkeys"
        | "aws:federatedprovider" => of_session(ContextValue::Absent),
        key if key.starts_with("aws:requesttag/") => of_session(ContextValue::Absent),
        _ => ContextValue::Unknown,
    }
}

/// Whether P's side lets a grant of this directness through.
fn identity_for(class: Class, statement: &Statement, same_account: bool, identity: &Identity) -> Tri {
    let found = match identity {
        Identity::Promised(_) => return Tri::True,
        Identity::Simulated(Observed::Unknown(_)) => return Tri::Unknown,
        Identity::Simulated(Observed::Absent) => return Tri::False,
        Identity::Simulated(Observed::Known(found)) => found,
    };
    if found.allowed_by_organizations == Some(false) {
        return Tri::False;
    }
    if !found.missing_context.is_empty() {
        return Tri::Unknown;
    }
    match found.decision {
        SimulatedDecision::Allowed => Tri::True,
        SimulatedDecision::ExplicitDeny => Tri::False,
        // Across accounts both sides must allow it.
        SimulatedDecision::ImplicitDeny if !same_account => Tri::False,
        SimulatedDecision::ImplicitDeny => match class {
            Class::Account => Tri::False,
            Class::Direct => Tri::True,
            // Only what limits the role counts, not what doesn't grant.
            Class::Role => Tri::from(found.allowed_by_boundary != Some(false)),
            // How a boundary limits a bare `*` is not documented.
            Class::Anyone if found.allowed_by_boundary == Some(false) => {
                if names_principal_arn(&statement.conditions) {
                    Tri::True
                } else {
                    Tri::Unknown
                }
            }
            Class::Anyone => Tri::True,
        },
    }
}

/// What P's side says whatever the trust policy says: an explicit deny or the organisation stops everything.
fn identity_floor(identity: &Identity) -> Tri {
    match identity {
        Identity::Promised(_) => Tri::True,
        Identity::Simulated(Observed::Unknown(_)) => Tri::Unknown,
        Identity::Simulated(Observed::Absent) => Tri::False,
        Identity::Simulated(Observed::Known(found)) => {
            if found.allowed_by_organizations == Some(false) {
                Tri::False
            } else if !found.missing_context.is_empty() {
                Tri::Unknown
            } else {
                Tri::from(found.decision != SimulatedDecision::ExplicitDeny)
            }
        }
    }
}

fn identity_reason(identity: &Identity) -> Reason {
    match identity {
        Identity::Simulated(Observed::Known(found)) => {
            if found.allowed_by_organizations == Some(false) {
                Reason::Organization
            } else if found.decision == SimulatedDecision::ExplicitDeny {
                Reason::IdentityDenied
            } else if found.allowed_by_boundary == Some(false) {
                Reason::Boundary
            } else {
                Reason::IdentityMissing
            }
        }
        _ => Reason::PrincipalMissing,
    }
}

fn identity_words(
    identity: &Identity,
    best: Option<&Judged<'_>>,
    same_account: bool,
    subject: &Subject,
) -> (Tri, String) {
    let class = best.map_or(Class::Account, |one| class_of(one, same_account, identity));
    let holds = best.map_or_else(
        || identity_floor(identity),
        |one| identity_for(class, one.statement, same_account, identity).and(identity_floor(identity)),
    );
    let one = best.map_or_else(|| "the trust policy".to_owned(), |one| one.statement.name());
    let need = match (same_account, class) {
        (true, Class::Account) => {
            format!("{one} trusts the account, so its own policies must allow sts:AssumeRole as well")
        }
        (true, Class::Role) => {
            format!(
                "{one} names the role, so its own policies need not allow it, but a permissions boundary must"
            )
        }
        (true, Class::Direct | Class::Anyone) => "its own policies need not allow it".to_owned(),
        (false, _) => {
            "it is of another account, so its own policies must allow sts:AssumeRole as well".to_owned()
        }
    };
    let found = match identity {
        Identity::Promised(by) => return (Tri::True, format!("{by} allows sts:AssumeRole on it")),
        Identity::Simulated(Observed::Absent) => {
            return (Tri::False, format!("IAM has no such {}", kind_of(subject)));
        }
        Identity::Simulated(Observed::Unknown(unknown)) => {
            return (
                Tri::Unknown,
                format!("{need}, and what they say could not be read: {unknown}"),
            );
        }
        Identity::Simulated(Observed::Known(found)) => found,
    };
    let text = if found.allowed_by_organizations == Some(false) {
        "a service control policy of its organisation does not allow sts:AssumeRole".to_owned()
    } else if !found.missing_context.is_empty() {
        format!(
            "its own policies look at {}, which the simulator was not told, so its answer does not count",
            found.missing_context.join(", ")
        )
    } else {
        match found.decision {
            SimulatedDecision::Allowed => "its own policies allow sts:AssumeRole on it".to_owned(),
            SimulatedDecision::ExplicitDeny => {
                "its own policies (or its permissions boundary) deny it explicitly".to_owned()
            }
            SimulatedDecision::ImplicitDeny if holds == Tri::True => need,
            SimulatedDecision::ImplicitDeny if found.allowed_by_boundary == Some(false) => {
                format!("its permissions boundary does not allow sts:AssumeRole ({need})")
            }
            SimulatedDecision::ImplicitDeny => format!("{need}, and none of them does"),
        }
    };
    (holds, text)
}

/// Nobody who could be P is trusted: why.
fn not_trusted_reason(document: &PolicyDocument, allows: &[&Judged<'_>]) -> Reason {
    if allows
        .iter()
        .any(|one| one.action == Tri::True && one.is_about() != Tri::False && one.conditions == Tri::False)
    {
        return Reason::ConditionNotMet;
    }
    if allows.iter().any(|one| {
        one.oddities
            .iter()
            .any(|odd| matches!(odd, Oddity::Deleted { .. }))
    }) {
        return Reason::PrincipalDeleted;
    }
    let mut kinds = document
        .statements
        .iter()
        .filter(|statement| statement.effect == Some(Effect::Allow))
        .flat_map(|statement| match &statement.who {
            Who::Principal(who) => who.as_slice(),
            _ => &[],
        })
        .peekable();
    if kinds.peek().is_none() {
        return Reason::NotTrusted;
    }
    let all: Vec<&Principal> = kinds.collect();
    if all.iter().all(|who| matches!(who, Principal::Service(_))) {
        Reason::ServiceOnly
    } else if all.iter().all(|who| matches!(who, Principal::Federated(_))) {
        Reason::FederatedOnly
    } else {
        Reason::NotTrusted
    }
}

fn not_trusted_words(document: &PolicyDocument, allows: &[&Judged<'_>]) -> String {
    if let Some(one) = allows
        .iter()
        .find(|one| one.action == Tri::True && one.is_about() != Tri::False && one.conditions == Tri::False)
    {
        return format!(
            "{} is about it, but its condition does not hold: {}",
            one.statement.name(),
            one.unmet.join("; ")
        );
    }
    let mut trusted: Vec<String> = Vec::new();
    for one in allows {
        let for_action = if one.action == Tri::True {
            ""
        } else {
            ", for other actions"
        };
        let all: Vec<String> = match &one.statement.who {
            Who::Principal(who) => who.iter().map(|who| format!("{who}{for_action}")).collect(),
            Who::NotPrincipal(_) => vec![format!("everybody but some{for_action}")],
            Who::Unsaid => Vec::new(),
        };
        for who in all {
            if !trusted.contains(&who) {
                trusted.push(who);
            }
        }
    }
    const MOST: usize = 8;
    let more = trusted.len().saturating_sub(MOST);
    trusted.truncate(MOST);
    let mut list = trusted.join("; ");
    if more > 0 {
        list.push_str(&format!("; and {more} more"));
    }
    match not_trusted_reason(document, allows) {
        Reason::ServiceOnly => format!("the trust policy trusts services only: {list}"),
        Reason::FederatedOnly => {
            format!(
                "the trust policy trusts identity providers only, through AssumeRoleWithSAML or AssumeRoleWithWebIdentity: {list}"
            )
        }
        Reason::PrincipalDeleted => {
            format!(
                "no statement of the trust policy is about it, and one names a principal that was deleted: {list}"
            )
        }
        _ if list.is_empty() => "the trust policy allows nobody".to_owned(),
        _ => format!("no statement of the trust policy is about it; it trusts {list}"),
    }
}

/// What never can be seen from here, and does not decide (IAM user guide, "Testing IAM policies with the IAM policy
/// simulator"; issues in `aws-auth-and-access-entries`).
fn always_blind(question: &Question<'_>, verdict: &TrustVerdict) -> Vec<Blind> {
    if verdict.outcome == Outcome::Fail {
        return Vec::new();
    }
    let mut all = Vec::new();
    let mut add = |what: &str| {
        all.push(Blind {
            what: what.to_owned(),
            decides: false,
            grant: None,
        });
    };
    let who = &question.subject.who;
    let session = !matches!(who, Caller::Known(PrincipalArn::User(_)));
    if session {
        add("session policies that narrow the caller's session");
        add(
            "session tags marked transitive and a source identity: with them the trust policy must allow sts:TagSession or \
             sts:SetSourceIdentity too",
        );
    }
    add("service control policies with conditions, and resource control policies");
    add("VPC endpoint policies, and the address the request comes from");
    add("changes of the last minutes: IAM is eventually consistent");
    match question.identity {
        Identity::Promised(_) => {
            add("permissions boundaries and service control policies of a role that does not exist yet");
        }
        Identity::Simulated(_) if who.account() != question.role_arn.account => {
            add("what the other account's administrators may still change");
        }
        Identity::Simulated(_) => {}
    }
    all
}
