//! May principal P assume role R: what the trust policy says and what P's own policies say, in one answer. Pure.
//!
//! The trust side is [`iam_policy::evaluate`]'s; the identity side comes from `iam:SimulatePrincipalPolicy`, which discards
//! trust policies for `sts:Assume*` (aws/aws-cli#10314).

pub(crate) mod advice;
pub(crate) mod cdk;
pub(crate) mod mapping;
pub(crate) mod report;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::model::{DeniedBy, May, Observed, Remedy, Role, SimulatedDecision, Simulation, Target, Unknown};
use iam_policy::arn::{Arn, PrincipalArn};
use iam_policy::condition::ContextValue;
use iam_policy::document::{PolicyDocument, Principal, Who};
use iam_policy::evaluate::{self, ASSUME_ROLE, Decision, Judged, OwnSide, evaluate};
use iam_policy::kleene::Tri;
use iam_policy::principal::{Class, Oddity, Requester};

/// What the identity side of P says: P's own policies, its permissions boundary and its organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    /// The answer of `iam:SimulatePrincipalPolicy` for P, `sts:AssumeRole` and R. Absent: IAM has no such P.
    Simulated(Observed<Simulation>),
    /// It will be allowed by whoever makes P, who is named (CDK adds the statement to its handler's role).
    Promised(String),
    /// Nobody is asked: the trust policy is judged alone.
    LeftOut,
}

impl Identity {
    fn side(&self) -> OwnSide {
        match self {
            Self::Promised(_) | Self::LeftOut => OwnSide::Allows,
            Self::Simulated(Observed::Unknown(_)) => OwnSide::Unknown,
            Self::Simulated(Observed::Absent) => OwnSide::Stops,
            Self::Simulated(Observed::Known(found)) => found.decided.own_side(),
        }
    }
}

/// The whole question.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    /// P.
    pub requester: &'a Requester,
    /// P's own role, where it is one and was read.
    pub own_role: Option<&'a Role>,
    /// IAM was asked for P's own role, and has none.
    pub requester_gone: bool,
    /// R's ARN: as asked, or as IAM has it.
    pub role_arn: &'a Arn,
    /// R in IAM, with its trust policy.
    pub role: &'a Observed<Role>,
    /// P's side.
    pub identity: &'a Identity,
    /// `sts:RoleSessionName` of the request.
    pub session_name: &'a str,
    /// `sts:ExternalId` of the request.
    pub external_id: Option<&'a str>,
    /// The time of the request.
    pub now: jiff::Timestamp,
    /// Whom commands are for; none: a file is judged.
    pub target: Option<&'a Target>,
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
    /// What it depends on is not known.
    Unknown,
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

impl From<Outcome> for Tri {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Pass => Self::True,
            Outcome::Fail => Self::False,
            Outcome::Unknown => Self::Unknown,
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
    /// Fail: no principal of this kind can call sts:AssumeRole (root users, federated users).
    PrincipalCannotAssume,
    /// Fail: P and R are in different partitions.
    OtherPartition,
    /// Fail: a Deny of the trust policy.
    DeniedByTrust,
    /// Fail: no statement of the trust policy names P.
    NotTrusted,
    /// Fail: the trust policy names a principal that was deleted, and nobody that is P.
    PrincipalDeleted,
    /// Fail: only AWS services may assume R.
    ServiceOnly,
    /// Fail: only identity providers may let people assume R.
    FederatedOnly,
    /// Fail: a statement names P, and one of its conditions does not hold.
    ConditionNotMet,
    /// Fail: the account is trusted (or is another one), and P's own policies do not allow it.
    IdentityMissing,
    /// Fail: P's own policies deny it.
    IdentityDenied,
    /// Fail: P's permissions boundary does not allow it.
    Boundary,
    /// Fail: the organization's service control policies do not allow it.
    Organization,
    /// Unknown: R could not be read.
    RoleUnread,
    /// Unknown: R's trust policy is not a policy document.
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
pub struct Limitation {
    /// What, and why.
    pub what: String,
    /// Whether the answer depends on it.
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
    pub could_not_see: Vec<Limitation>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<Remedy>,
}

/// How a person is told who it is.
pub(crate) fn words(requester: &Requester) -> String {
    match requester {
        Requester::Known(one) => one.arn.arn().to_string(),
        Requester::SomeRole { account, .. } => format!("a role of account {account} that is not known yet"),
        Requester::Service(name) | Requester::Federated(name) => name.clone(),
    }
}

impl Question<'_> {
    fn context(&self, key: &str) -> Option<ContextValue> {
        match key {
            "sts:rolesessionname" => Some(ContextValue::one(self.session_name)),
            "sts:externalid" => Some(self.external_id.map_or(ContextValue::Absent, ContextValue::one)),
            "aws:currenttime" => Some(ContextValue::one(self.now.to_string())),
            _ => None,
        }
    }

    fn same_account(&self) -> bool {
        self.requester
            .home()
            .is_some_and(|(_, account)| account == self.role_arn.account)
    }

    fn kind(&self) -> &'static str {
        match self.requester.known().map(|one| &one.arn) {
            Some(PrincipalArn::User(_)) => "user",
            _ => "role",
        }
    }
}

/// Judges the whole question.
pub(crate) fn judge(question: &Question<'_>) -> TrustVerdict {
    let mut verdict = decide(question);
    verdict.could_not_see.extend(limitations(question, &verdict));
    verdict.remedy = advice::remedy(question, &verdict);
    verdict
}

/// An answer that needs no look at the trust policy, or that stops before it.
fn settled(step: &str, reason: Reason, outcome: Outcome, message: String) -> TrustVerdict {
    TrustVerdict {
        outcome,
        reason,
        decided_by: None,
        steps: vec![Step {
            step: step.to_owned(),
            outcome,
            message: message.clone(),
        }],
        message,
        hints: Vec::new(),
        could_not_see: Vec::new(),
        remedy: None,
    }
}

/// No principal of another partition, no root user and no federated user, whatever policies say.
fn before_any_policy(question: &Question<'_>) -> Option<TrustVerdict> {
    let (who, role_arn) = (words(question.requester), question.role_arn);
    let fail = |step, reason, message| Some(settled(step, reason, Outcome::Fail, message));
    if let Some((partition, _)) = question.requester.home()
        && partition != role_arn.partition
    {
        let message = format!(
            "{who} is in the partition {partition}, {role_arn} in {}: partitions do not trust each other",
            role_arn.partition
        );
        return fail("same-partition", Reason::OtherPartition, message);
    }
    let cannot = match question.requester.known().map(|one| &one.arn) {
        Some(PrincipalArn::Root(_)) => Some("a root user cannot call sts:AssumeRole (AWS denies it always)"),
        Some(PrincipalArn::FederatedUser(_)) => {
            Some("the credentials of GetFederationToken can call nothing of STS but GetCallerIdentity")
        }
        _ => None,
    };
    if let Some(cannot) = cannot {
        return fail(
            "principal-can-assume",
            Reason::PrincipalCannotAssume,
            format!("{who}: {cannot}"),
        );
    }
    if question.requester_gone || matches!(question.identity, Identity::Simulated(Observed::Absent)) {
        let message = format!("{who} does not exist: IAM has no such {}", question.kind());
        return fail("principal-can-assume", Reason::PrincipalMissing, message);
    }
    None
}

/// R's trust policy.
fn document(question: &Question<'_>) -> Result<PolicyDocument, Box<TrustVerdict>> {
    let role_arn = question.role_arn;
    let stop = |reason, outcome, message| Box::new(settled("role-exists", reason, outcome, message));
    let unknown = |reason, message: String, what, grant| {
        let mut verdict = stop(reason, Outcome::Unknown, message);
        verdict.could_not_see.push(Limitation {
            what,
            decides: true,
            grant,
        });
        verdict
    };
    match question.role {
        Observed::Known(role) => PolicyDocument::parse(&role.trust).map_err(|error| {
            let message = format!("the trust policy of {role_arn} could not be understood: {error}");
            unknown(Reason::TrustUnreadable, message.clone(), message, None)
        }),
        Observed::Absent => {
            let message = format!("{role_arn} does not exist");
            Err(stop(Reason::RoleMissing, Outcome::Fail, message))
        }
        Observed::Unknown(why) => Err(unknown(
            Reason::RoleUnread,
            format!("{role_arn} could not be read: {why}"),
            format!("the trust policy of {role_arn}: {why}"),
            why.grant.as_ref().map(|grant| grant.statement()),
        )),
    }
}

fn decide(question: &Question<'_>) -> TrustVerdict {
    if let Some(verdict) = before_any_policy(question) {
        return verdict;
    }
    let document = match document(question) {
        Ok(document) => document,
        Err(verdict) => return *verdict,
    };
    let request = evaluate::Request {
        requester: question.requester,
        action: ASSUME_ROLE,
        resource: question.role_arn,
        context: &|key| question.context(key),
    };
    Sides::new(question, &document, evaluate(&document, &request)).verdict()
}

/// The trust policy's side, judged, beside the question with P's own side.
struct Sides<'a> {
    question: &'a Question<'a>,
    document: &'a PolicyDocument,
    decision: Decision<'a>,
    own: OwnSide,
    same_account: bool,
    /// The index of the Allow that answers best.
    best: Option<usize>,
    outcome: Tri,
}

impl<'a> Sides<'a> {
    fn new(question: &'a Question<'a>, document: &'a PolicyDocument, decision: Decision<'a>) -> Self {
        let (own, same_account) = (question.identity.side(), question.same_account());
        // The first of the best, as a person reads the document from the top.
        let best = decision.allows().rev().max_by_key(|one| {
            (
                one.granted(&own, same_account).rank(),
                one.applies().rank(),
                one.is_about().rank(),
                one.action.rank(),
            )
        });
        let best = best.map(|one| one.statement.index);
        let outcome = decision.with_own_side(&own, same_account);
        Self {
            question,
            document,
            decision,
            own,
            same_account,
            best,
            outcome,
        }
    }

    fn best(&self) -> Option<&Judged<'a>> {
        self.decision.statements.get(self.best?)
    }

    fn class(&self) -> Option<Class> {
        Some(self.best()?.class(&self.own, self.same_account))
    }

    fn best_name(&self) -> String {
        self.best()
            .map_or_else(|| "the trust policy".to_owned(), |one| one.statement.name())
    }

    fn verdict(&self) -> TrustVerdict {
        let decision = &self.decision;
        let (deny_words, trust_words) = (self.deny_words(), self.trust_words());
        let (own_holds, own_words) = self.own_words();
        let mut steps = vec![
            (
                "role-exists",
                Tri::True,
                format!("{} exists", self.question.role_arn),
            ),
            ("trust-denies", !decision.deny, deny_words.clone()),
            ("trust-allows", decision.allow, trust_words.clone()),
        ];
        if *self.question.identity == Identity::LeftOut {
            steps.remove(0);
        }
        if decision.deny != Tri::True && decision.allow != Tri::False {
            steps.push(("identity", own_holds, own_words.clone()));
        }
        let reason = self.reason(own_holds);
        let may = |verb: &str| {
            format!(
                "{} {verb} assume {}",
                words(self.question.requester),
                self.question.role_arn
            )
        };
        let one = self.best_name();
        let message = match (self.outcome, reason) {
            (Tri::True, Reason::NamedDirectly) => {
                format!("{}: {one} of its trust policy names it", may("may"))
            }
            (Tri::True, Reason::RoleNamed) => {
                format!("{}: {one} of its trust policy names its role", may("may"))
            }
            (Tri::True, Reason::AccountTrusted) => format!(
                "{}: {one} of its trust policy trusts the account, and {own_words}",
                may("may")
            ),
            (Tri::True, _) => format!("{}: {one} of its trust policy trusts everybody", may("may")),
            (Tri::False, Reason::DeniedByTrust) => format!("{}: {deny_words}", may("may not")),
            (Tri::False, _) if decision.allow == Tri::False => format!("{}: {trust_words}", may("may not")),
            (Tri::False, _) => format!("{}: {own_words}", may("may not")),
            (Tri::Unknown, reason) => {
                let because = match reason {
                    Reason::DenyUnclear => deny_words,
                    Reason::TrustUnclear if decision.allow == Tri::Unknown => trust_words,
                    _ => own_words.clone(),
                };
                format!("whether {} is unknown: {because}", may("may"))
            }
        };
        TrustVerdict {
            outcome: self.outcome.into(),
            reason,
            message,
            decided_by: self.decided_by(),
            steps: steps
                .into_iter()
                .map(|(step, holds, message)| Step {
                    step: step.to_owned(),
                    outcome: holds.into(),
                    message,
                })
                .collect(),
            hints: self.hints(),
            could_not_see: self.open(own_holds, own_words),
            remedy: None,
        }
    }

    fn reason(&self, own_holds: Tri) -> Reason {
        let decision = &self.decision;
        match self.outcome {
            Tri::True => match self.class() {
                Some(Class::Role) => Reason::RoleNamed,
                Some(Class::Account) => Reason::AccountTrusted,
                Some(Class::Anyone) => Reason::EverybodyTrusted,
                Some(Class::Direct) | None => Reason::NamedDirectly,
            },
            Tri::False if decision.deny == Tri::True => Reason::DeniedByTrust,
            Tri::False if decision.allow == Tri::False => self.not_trusted_reason(),
            Tri::False => match self.question.identity {
                Identity::Simulated(Observed::Known(found)) => match found.decided.may() {
                    May::No(DeniedBy::ServiceControlPolicy) => Reason::Organization,
                    May::No(DeniedBy::ExplicitDeny) => Reason::IdentityDenied,
                    May::No(DeniedBy::PermissionsBoundary) => Reason::Boundary,
                    _ => Reason::IdentityMissing,
                },
                _ => Reason::PrincipalMissing,
            },
            Tri::Unknown if decision.deny == Tri::Unknown => Reason::DenyUnclear,
            Tri::Unknown if decision.allow == Tri::Unknown || self.naming_unclear(own_holds) => {
                Reason::TrustUnclear
            }
            Tri::Unknown => Reason::IdentityUnread,
        }
    }

    /// P's own policies don't allow it; whether they need to depends on which entry of the statement means P.
    fn naming_unclear(&self, own_holds: Tri) -> bool {
        matches!(self.own, OwnSide::Silent { .. })
            && self.outcome == Tri::Unknown
            && own_holds == Tri::Unknown
    }

    /// The statement that decided.
    fn decided_by(&self) -> Option<Decider> {
        let decision = &self.decision;
        let one = match (self.outcome, decision.denied_by()) {
            (Tri::False | Tri::Unknown, Some(deny)) => Some(deny),
            (Tri::False, None) => self.best().filter(|one| {
                decision.allow != Tri::False || (one.is_about() != Tri::False && one.action != Tri::False)
            }),
            _ => self.best(),
        };
        one.map(|one| Decider {
            index: one.statement.index,
            sid: one.statement.sid.clone(),
            effect: one
                .statement
                .effect
                .map_or_else(|| "unclear".to_owned(), |effect| effect.to_string()),
        })
    }

    fn hints(&self) -> Vec<String> {
        let mut hints: Vec<String> = Vec::new();
        for one in &self.decision.statements {
            let odd = one.oddities.iter().map(Oddity::words);
            let refused = one
                .statement
                .problems
                .iter()
                .map(|problem| format!("{problem}, which IAM would refuse"));
            for what in odd.chain(refused) {
                let hint = format!("{}: {what}", one.statement.name());
                if !hints.contains(&hint) {
                    hints.push(hint);
                }
            }
        }
        hints
    }

    fn deny_words(&self) -> String {
        match (self.decision.deny, self.decision.denied_by()) {
            (Tri::True, Some(one)) => format!("{} of the trust policy denies it", one.statement.name()),
            (Tri::Unknown, Some(one)) => {
                format!("{} may deny it: {}", one.statement.name(), one.open_words())
            }
            _ if self.decision.denies().next().is_none() => "the trust policy has no Deny".to_owned(),
            _ => "no Deny of the trust policy applies to it".to_owned(),
        }
    }

    fn trust_words(&self) -> String {
        let account = self.question.requester.home().map_or("", |(_, account)| account);
        match (self.decision.allow, self.best(), self.class()) {
            (Tri::True, Some(one), Some(class)) => format!(
                "{} of the trust policy {}",
                one.statement.name(),
                match class {
                    Class::Direct => "names it".to_owned(),
                    Class::Role => "names its role".to_owned(),
                    Class::Account => format!("trusts the whole account {account}"),
                    Class::Anyone => "trusts everybody".to_owned(),
                }
            ),
            (Tri::Unknown, Some(one), _) => {
                format!("{} may allow it: {}", one.statement.name(), one.open_words())
            }
            _ => self.not_trusted_words(),
        }
    }

    /// What P's own side says, and whether that is enough for the statement that answers best.
    fn own_words(&self) -> (Tri, String) {
        let one = self.best_name();
        let class = self.class().unwrap_or(Class::Account);
        let need = match (self.same_account, class) {
            (true, Class::Account) => {
                format!("{one} trusts the account, so its own policies must allow sts:AssumeRole as well")
            }
            (true, Class::Role) => format!(
                "{one} names the role, so its own policies need not allow it, but a permissions boundary must"
            ),
            (true, Class::Direct | Class::Anyone) => "its own policies need not allow it".to_owned(),
            (false, _) => {
                "it is of another account, so its own policies must allow sts:AssumeRole as well".to_owned()
            }
        };
        let found = match self.question.identity {
            Identity::Promised(by) => return (Tri::True, format!("{by} allows sts:AssumeRole on it")),
            Identity::LeftOut => {
                let need = match class {
                    Class::Account => "its own policies must allow sts:AssumeRole as well".to_owned(),
                    _ => need,
                };
                return (Tri::True, format!("{need}; they are not looked at here"));
            }
            Identity::Simulated(Observed::Absent) => {
                return (Tri::False, format!("IAM has no such {}", self.question.kind()));
            }
            Identity::Simulated(Observed::Unknown(unknown)) => {
                return (
                    Tri::Unknown,
                    format!("{need}, and what they say could not be read: {unknown}"),
                );
            }
            Identity::Simulated(Observed::Known(found)) => &found.decided,
        };
        if found.allowed_by_organizations == Some(false) {
            let text = "a service control policy of its organization does not allow sts:AssumeRole";
            return (Tri::False, text.to_owned());
        }
        if !found.missing_context.is_empty() {
            let text = format!(
                "its own policies look at {}, which the simulator was not given, so its answer does not count",
                found.missing_context.join(", ")
            );
            return (Tri::Unknown, text);
        }
        let enough = self.best().map_or(Tri::True, |one| {
            one.lets_through(class, &self.own, self.same_account)
        });
        let text = match found.decision {
            SimulatedDecision::Allowed => "its own policies allow sts:AssumeRole on it".to_owned(),
            SimulatedDecision::ExplicitDeny => {
                "its own policies (or its permissions boundary) deny it explicitly".to_owned()
            }
            SimulatedDecision::ImplicitDeny if enough == Tri::True && self.outcome == Tri::Unknown => {
                let open = self.best().map(Judged::open_words).unwrap_or_default();
                let text = format!(
                    "its own policies do not allow it, so it depends on whether {one} names it: {open}"
                );
                return (Tri::Unknown, text);
            }
            SimulatedDecision::ImplicitDeny if enough == Tri::True => need,
            SimulatedDecision::ImplicitDeny if found.allowed_by_boundary == Some(false) => {
                format!("its permissions boundary does not allow sts:AssumeRole ({need})")
            }
            SimulatedDecision::ImplicitDeny => format!("{need}, and none of them does"),
        };
        (enough, text)
    }

    /// What decides and is not known.
    fn open(&self, own_holds: Tri, own_words: String) -> Vec<Limitation> {
        if self.outcome != Tri::Unknown {
            return Vec::new();
        }
        let limitation = |what| Limitation {
            what,
            decides: true,
            grant: None,
        };
        let mut all: Vec<Limitation> = self.decision.unknown().into_iter().map(limitation).collect();
        match self.question.identity {
            Identity::Simulated(Observed::Unknown(unknown)) => all.push(Limitation {
                grant: unknown.grant.as_ref().map(|grant| grant.statement()),
                ..limitation(format!(
                    "what the own policies of {} say: {unknown}",
                    words(self.question.requester)
                ))
            }),
            _ if own_holds == Tri::Unknown => all.push(limitation(own_words)),
            _ => {}
        }
        all
    }

    /// An Allow that names P, and whose condition does not hold.
    fn unmet(&self) -> Option<&Judged<'a>> {
        self.decision.allows().find(|one| {
            one.action == Tri::True && one.is_about() != Tri::False && one.conditions == Tri::False
        })
    }

    fn not_trusted_reason(&self) -> Reason {
        if self.unmet().is_some() {
            return Reason::ConditionNotMet;
        }
        let deleted = |odd: &Oddity| matches!(odd, Oddity::Deleted { .. });
        if self.decision.allows().any(|one| one.oddities.iter().any(deleted)) {
            return Reason::PrincipalDeleted;
        }
        let trusted: Vec<&Principal> = self
            .decision
            .allows()
            .flat_map(|one| match &one.statement.who {
                Who::Principal(who) => who.as_slice(),
                Who::NotPrincipal(_) | Who::Unsaid => &[],
            })
            .collect();
        let all = |is: fn(&Principal) -> bool| !trusted.is_empty() && trusted.iter().all(|who| is(who));
        if all(|who| matches!(who, Principal::Service(_))) {
            Reason::ServiceOnly
        } else if all(|who| matches!(who, Principal::Federated(_))) {
            Reason::FederatedOnly
        } else {
            Reason::NotTrusted
        }
    }

    fn not_trusted_words(&self) -> String {
        const MOST: usize = 8;
        if let Some(one) = self.unmet() {
            let unmet: Vec<String> = one.unmet.iter().map(ToString::to_string).collect();
            return format!(
                "{} names it, but its condition does not hold: {}",
                one.statement.name(),
                unmet.join("; ")
            );
        }
        let mut trusted: Vec<String> = Vec::new();
        for one in self.decision.allows() {
            let otherwise = if one.action == Tri::True {
                ""
            } else {
                ", for other actions"
            };
            let entries = match &one.statement.who {
                Who::Principal(who) => who.iter().map(ToString::to_string).collect(),
                Who::NotPrincipal(_) => vec!["everybody but some".to_owned()],
                Who::Unsaid => Vec::new(),
            };
            for who in entries {
                let who = format!("{who}{otherwise}");
                if !trusted.contains(&who) {
                    trusted.push(who);
                }
            }
        }
        let more = trusted.len().saturating_sub(MOST);
        trusted.truncate(MOST);
        let mut list = trusted.join("; ");
        if more > 0 {
            list.push_str(&format!("; and {more} more"));
        }
        match self.not_trusted_reason() {
            Reason::ServiceOnly => format!("the trust policy trusts services only: {list}"),
            Reason::FederatedOnly => format!(
                "the trust policy trusts identity providers only, through AssumeRoleWithSAML or AssumeRoleWithWebIdentity: \
                 {list}"
            ),
            Reason::PrincipalDeleted => {
                format!(
                    "no statement of the trust policy names it, and one names a principal that was deleted: {list}"
                )
            }
            _ if self.document.statements.is_empty() || list.is_empty() => {
                "the trust policy allows no one".to_owned()
            }
            _ => format!("no statement of the trust policy names it; it trusts {list}"),
        }
    }
}

/// What can never be seen from here, and does not decide (IAM user guide, "Testing IAM policies with the IAM policy
/// simulator").
fn limitations(question: &Question<'_>, verdict: &TrustVerdict) -> Vec<Limitation> {
    if verdict.outcome == Outcome::Fail {
        return Vec::new();
    }
    let mut all = Vec::new();
    let mut add = |what: &str| {
        all.push(Limitation {
            what: what.to_owned(),
            decides: false,
            grant: None,
        });
    };
    if *question.identity == Identity::LeftOut {
        add(
            "the principal's own policies, its permissions boundary and its organization: a file is judged alone",
        );
    }
    if question.kind() == "role" {
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
        Identity::Simulated(_) if !question.same_account() => {
            add("what the other account's administrators may still change");
        }
        Identity::Simulated(_) | Identity::LeftOut => {}
    }
    all
}

/// The ARN that the policy simulator takes for P.
///
/// # Errors
/// Why the simulator can't be asked; absent for a role that does not exist.
pub(crate) fn simulated_as(
    requester: &Requester,
    own_role: &Observed<Role>,
) -> Result<String, Observed<Simulation>> {
    let not_asked = |why: &str| Err(Observed::Unknown(Unknown::not_asked(why)));
    match requester.known().map(|one| &one.arn) {
        Some(PrincipalArn::User(arn)) => Ok(arn.to_string()),
        Some(PrincipalArn::Role(_) | PrincipalArn::Session { .. }) => match own_role {
            Observed::Known(role) => Ok(role.arn.clone()),
            Observed::Absent => Err(Observed::Absent),
            Observed::Unknown(unknown) => Err(Observed::Unknown(Unknown {
                detail: format!(
                    "the simulator wants the full ARN of the role, which could not be read: {unknown}"
                ),
                ..unknown.clone()
            })),
        },
        Some(PrincipalArn::Root(_) | PrincipalArn::FederatedUser(_)) => {
            not_asked("the simulator takes users and roles only")
        }
        None => not_asked("the principal is not known yet"),
    }
}
