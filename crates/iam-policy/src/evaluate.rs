//! May this principal do that, by this policy document? The one evaluator, in three values.
//!
//! Sources: IAM user guide, "Policy evaluation logic", "AWS JSON policy elements: NotPrincipal", "AWS global condition
//! context keys", "IAM and AWS STS condition context keys".

use std::collections::BTreeSet;

use crate::arn::{Arn, PrincipalArn};
use crate::condition::{self, ContextValue};
use crate::document::{
    Comparison, Condition, Effect, Names, PolicyDocument, Principal, SetOperator, Statement, Who,
};
use crate::kleene::Tri;
use crate::principal::{self, Class, Oddity, Requester};

/// `sts:AssumeRole`
pub const ASSUME_ROLE: &str = "sts:AssumeRole";
/// `sts:AssumeRoleWithWebIdentity`
pub const WEB_IDENTITY: &str = "sts:AssumeRoleWithWebIdentity";
/// `sts:AssumeRoleWithSAML`
pub const SAML: &str = "sts:AssumeRoleWithSAML";

/// The question.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Who.
    pub requester: &'a Requester,
    /// What.
    pub action: &'a str,
    /// On what the document stands: the role for a trust policy, else the resource itself (a KMS key).
    pub resource: &'a Arn,
    /// What is known of the request, by condition key in lower case; none: what follows from the rest of the question.
    pub context: &'a dyn Fn(&str) -> Option<ContextValue>,
}

/// The answer.
#[derive(Debug)]
pub struct Decision<'d> {
    /// Whether the document lets the requester.
    pub verdict: Tri,
    /// Whether a Deny applies.
    pub deny: Tri,
    /// Whether an Allow does.
    pub allow: Tri,
    /// Every statement, in the order of the document.
    pub statements: Vec<Judged<'d>>,
}

/// One statement, judged for the question.
#[derive(Debug)]
pub struct Judged<'d> {
    /// It.
    pub statement: &'d Statement,
    /// Whether the action (and the resource) is among its own.
    pub action: Tri,
    /// Which of its principals is the requester, and how directly.
    pub about: Vec<(Tri, Class)>,
    /// Whether all its conditions hold.
    pub conditions: Tri,
    /// The conditions that are known not to hold.
    pub unmet: Vec<&'d Condition>,
    /// Whether IAM would have stored it; what it would refuse may not mean what it seems to.
    pub accepted: Tri,
    /// What is odd about its principals.
    pub oddities: Vec<Oddity>,
    /// What would have to be known.
    pub open: BTreeSet<String>,
}

impl Judged<'_> {
    /// Whether one of its principals is the requester.
    pub fn is_about(&self) -> Tri {
        Tri::any(self.about.iter().map(|(holds, _)| *holds))
    }

    /// Everything but the principals.
    pub fn frame(&self) -> Tri {
        Tri::all([self.action, self.conditions, self.accepted])
    }

    /// Whether it applies. A Deny that IAM would refuse may deny anything; an effect that is neither may be either.
    pub fn applies(&self) -> Tri {
        let applies = self.frame().and(self.is_about());
        match self.statement.effect {
            Some(Effect::Allow) => applies,
            Some(Effect::Deny) if self.accepted == Tri::True => applies,
            Some(Effect::Deny) => Tri::Unknown,
            None => applies.and(Tri::Unknown),
        }
    }

    /// Whether it allows; otherwise it may deny.
    pub fn is_allow(&self) -> bool {
        self.statement.effect == Some(Effect::Allow)
    }

    fn rank(&self) -> [u8; 4] {
        [self.applies(), self.is_about(), self.action, self.conditions].map(Tri::rank)
    }
}

impl<'d> Decision<'d> {
    /// How directly the requester is allowed: the most direct way of all Allows that apply.
    pub fn class(&self) -> Option<Class> {
        let ways = self
            .allows()
            .filter(|one| one.frame() == Tri::True)
            .flat_map(|one| &one.about);
        ways.filter(|(holds, _)| *holds == Tri::True)
            .map(|(_, class)| *class)
            .max()
    }

    /// The Allows.
    pub fn allows(&self) -> impl DoubleEndedIterator<Item = &Judged<'d>> {
        self.statements.iter().filter(|one| one.is_allow())
    }

    /// What may deny.
    pub fn denies(&self) -> impl DoubleEndedIterator<Item = &Judged<'d>> {
        self.statements.iter().filter(|one| !one.is_allow())
    }

    /// The Deny that counts, where one does or may.
    pub fn denied_by(&self) -> Option<&Judged<'d>> {
        self.denies()
            .find(|one| self.deny != Tri::False && one.applies() == self.deny)
    }

    /// The Allow that answers best: that applies, else that may, else that comes nearest.
    pub fn nearest(&self) -> Option<&Judged<'d>> {
        // The first of the best, as a person reads the document from the top.
        self.allows().rev().max_by_key(|one| one.rank())
    }

    /// What would have to be known, where the answer depends on it.
    pub fn unknown(&self) -> Vec<String> {
        if self.verdict != Tri::Unknown {
            return Vec::new();
        }
        let open = self
            .statements
            .iter()
            .filter(|one| one.applies() == Tri::Unknown && (!one.is_allow() || self.allow == Tri::Unknown));
        let mut all = Vec::new();
        for one in open {
            let verb = if one.is_allow() {
                "may allow it"
            } else {
                "may deny it"
            };
            all.push(format!("{} {verb}: {}", one.statement.name(), one.open_words()));
        }
        all
    }
}

impl Judged<'_> {
    /// What would have to be known, in words.
    pub fn open_words(&self) -> String {
        if self.open.is_empty() {
            return "what it depends on is not known".to_owned();
        }
        self.open
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("; ")
    }
}

/// Judges a document for a question.
pub fn evaluate<'d>(document: &'d PolicyDocument, request: &Request<'_>) -> Decision<'d> {
    let statements: Vec<Judged<'d>> = document
        .statements
        .iter()
        .map(|statement| judge(document, statement, request))
        .collect();
    let any = |allow: bool| {
        let these = statements.iter().filter(|one| one.is_allow() == allow);
        Tri::any(these.map(Judged::applies))
    };
    let (deny, allow) = (any(false), any(true));
    Decision {
        verdict: allow.and(!deny),
        deny,
        allow,
        statements,
    }
}

fn judge<'d>(document: &PolicyDocument, statement: &'d Statement, request: &Request<'_>) -> Judged<'d> {
    let mut open = BTreeSet::new();
    let mut oddities = Vec::new();
    let mut unmet = Vec::new();
    let action = statement.actions.has_action(request.action).map(Tri::from);
    if action.is_none() {
        open.insert("it names no Action".to_owned());
    }
    let context = |key: &str| context(request, key);
    let conditions = Tri::all(statement.conditions.iter().map(|one| {
        let holds = condition::judge(one, document.has_variables(), &context);
        match holds {
            Tri::Unknown => {
                open.insert(format!("its condition {one} depends on what is not known here"));
            }
            Tri::False => unmet.push(one),
            Tri::True => {}
        }
        holds
    }));
    let mut accepted = Tri::True;
    if !statement.problems.is_empty() {
        open.insert(format!("IAM would refuse it ({})", statement.problems.join(", ")));
        accepted = Tri::Unknown;
    }
    // A role's trust policy has no Resource, the policy of anything else must have one.
    let of_role = request.resource.service == "iam";
    let resource = match of_role {
        true => Tri::True,
        false => statement
            .resources
            .has_resource(&request.resource.to_string(), document.has_variables()),
    };
    if of_role != (statement.resources == Names::Unsaid) {
        open.insert(match of_role {
            true => "it has a Resource, which a trust policy may not have".to_owned(),
            false => "it names no Resource".to_owned(),
        });
        accepted = Tri::Unknown;
    } else if resource == Tri::Unknown {
        open.insert(format!(
            "whether its Resource is {} is not known",
            request.resource
        ));
    }
    let about = match &statement.who {
        Who::Principal(entries) => entries
            .iter()
            .map(|entry| {
                let found = principal::matches(entry, request.requester);
                let refused = found.oddity.as_ref().is_some_and(Oddity::is_refused);
                // Nobody knows what a Deny denies that IAM would not have stored.
                if refused && statement.effect != Some(Effect::Allow) {
                    open.insert(format!("IAM would refuse the principal {entry}"));
                    accepted = Tri::Unknown;
                }
                if found.holds == Tri::Unknown {
                    open.insert(format!("whether {entry} is the principal is not known"));
                }
                let class = match found.class {
                    Class::Anyone if names_principal_arn(&statement.conditions) => Class::Direct,
                    class => class,
                };
                oddities.extend(found.oddity);
                (found.holds, class)
            })
            .collect(),
        Who::NotPrincipal(entries) => {
            let holds = not_principal(request.requester, statement.effect, entries, &mut oddities);
            if holds == Tri::Unknown {
                open.insert(if statement.effect == Some(Effect::Allow) {
                    "NotPrincipal with Allow is not supported by AWS".to_owned()
                } else {
                    "its NotPrincipal does not name the principal with everything it belongs to, and AWS may then deny it"
                        .to_owned()
                });
            }
            vec![(holds, Class::Anyone)]
        }
        Who::Unsaid => {
            open.insert("it names no Principal".to_owned());
            vec![(Tri::Unknown, Class::Anyone)]
        }
    };
    Judged {
        statement,
        action: action.unwrap_or(Tri::Unknown).and(resource),
        about,
        conditions,
        unmet,
        accepted,
        oddities,
        open,
    }
}

/// Whether the statement is about the requester, who is not among those that `NotPrincipal` names. With Deny, AWS looks
/// at the account, then the role, then the session: each of them must be named to be spared; and a principal that has a
/// permissions boundary is always denied. With Allow it is not supported, and new trust policies with it are refused.
fn not_principal(
    requester: &Requester,
    effect: Option<Effect>,
    entries: &[Principal],
    oddities: &mut Vec<Oddity>,
) -> Tri {
    let (mut named, mut role, mut account) = (Tri::False, Tri::False, Tri::False);
    for entry in entries {
        let found = principal::matches(entry, requester);
        match found.class {
            Class::Anyone => return Tri::False,
            Class::Account => account = account.or(found.holds),
            Class::Role => role = role.or(found.holds),
            Class::Direct => named = named.or(found.holds),
        }
        oddities.extend(found.oddity);
    }
    let listed = Tri::any([named, role, account]);
    if effect == Some(Effect::Allow) {
        return if listed == Tri::True {
            Tri::False
        } else {
            Tri::Unknown
        };
    }
    let identity = match requester {
        Requester::Service(_) | Requester::Federated(_) => return !named,
        Requester::SomeRole { .. } => None,
        Requester::Known(identity) => Some(identity),
    };
    if identity.is_some_and(|one| one.has_boundary) {
        return Tri::True;
    }
    match identity.map(|one| &one.arn) {
        Some(PrincipalArn::Session { .. }) => !Tri::all([named, role, account]),
        // Which session calls is not known, and so not whether it is named.
        None | Some(PrincipalArn::Role(_)) if listed == Tri::False => Tri::True,
        None | Some(PrincipalArn::Role(_)) => Tri::Unknown,
        Some(_) => match (named.and(account), listed) {
            (Tri::True, _) => Tri::False,
            (_, Tri::False) => Tri::True,
            _ => Tri::Unknown,
        },
    }
}

/// `*` narrowed by aws:PrincipalArn grants as if it named the principal (IAM user guide, "IAM role principals").
pub fn names_principal_arn(conditions: &[Condition]) -> bool {
    conditions.iter().any(|one| {
        let operator = &one.operator;
        one.key.eq_ignore_ascii_case("aws:PrincipalArn")
            && !operator.if_exists
            && !operator.negated
            && operator.set != Some(SetOperator::ForAllValues)
            && matches!(
                operator.comparison,
                Comparison::Text | Comparison::TextIgnoreCase | Comparison::Like | Comparison::Arn
            )
    })
}

/// What the request has for a condition key.
fn context(request: &Request<'_>, key: &str) -> ContextValue {
    let key = key.to_ascii_lowercase();
    if let Some(value) = (request.context)(&key) {
        return value;
    }
    match key.as_str() {
        "aws:securetransport" => return ContextValue::one("true"),
        "aws:currenttime" | "aws:epochtime" | "aws:requestedregion" => return ContextValue::Present,
        "aws:resourceaccount" => return ContextValue::one(&request.resource.account),
        _ => {}
    }
    match request.requester {
        Requester::Known(_) | Requester::SomeRole { .. } => of_principal(request.requester, &key),
        Requester::Service(service) => match key.as_str() {
            "aws:principalisawsservice" => ContextValue::one("true"),
            "aws:principalservicename" => ContextValue::one(service),
            "sts:externalid" | "aws:username" => ContextValue::Absent,
            _ => ContextValue::Unknown,
        },
        Requester::Federated(provider) => {
            let own = provider
                .split_once(":oidc-provider/")
                .map_or(provider.as_str(), |(_, issuer)| issuer)
                .to_ascii_lowercase();
            let of_own = key.strip_prefix(&own).is_some_and(|rest| rest.starts_with(':'));
            // A key of another provider, or a slip in this one's name. Keys of AWS have no dot in their prefix.
            let prefix = key.split(':').next().unwrap_or_default();
            let of_other =
                key.starts_with("http") || prefix.contains(['.', '/']) || matches!(prefix, "sub" | "aud");
            if of_other && !of_own {
                ContextValue::Absent
            } else {
                ContextValue::Unknown
            }
        }
    }
}

fn of_principal(requester: &Requester, key: &str) -> ContextValue {
    let identity = requester.known();
    let arn = identity.map(|one| &one.arn);
    let user = matches!(arn, Some(PrincipalArn::User(_)));
    // A session of a role may carry tags, a source identity and MFA from before; a user's request does not.
    let of_session = |user_has: ContextValue| if user { user_has } else { ContextValue::Unknown };
    let id = identity.and_then(|one| one.id.as_deref());
    match key {
        "aws:principalarn" => match (identity.and_then(|one| one.role_arn.as_ref()), arn) {
            (Some(role), Some(PrincipalArn::Role(_) | PrincipalArn::Session { .. })) => {
                ContextValue::one(role.to_string())
            }
            (None, Some(PrincipalArn::Session { .. })) | (_, None) => ContextValue::Present,
            (_, Some(arn)) => ContextValue::one(arn.arn().to_string()),
        },
        "aws:principalaccount" => requester
            .home()
            .map_or(ContextValue::Absent, |(_, own)| ContextValue::one(own)),
        "aws:principaltype" => ContextValue::one(match arn {
            Some(PrincipalArn::User(_)) => "User",
            Some(PrincipalArn::Root(_)) => "Account",
            Some(PrincipalArn::FederatedUser(_)) => "FederatedUser",
            Some(PrincipalArn::Role(_) | PrincipalArn::Session { .. }) | None => "AssumedRole",
        }),
        "aws:userid" => match (arn, id) {
            (Some(PrincipalArn::User(_)), Some(id)) => ContextValue::one(id),
            (Some(PrincipalArn::Session { session, .. }), Some(id)) => {
                ContextValue::one(format!("{id}:{session}"))
            }
            _ => ContextValue::Present,
        },
        "aws:username" => match arn {
            Some(PrincipalArn::User(arn)) => {
                ContextValue::one(arn.resource.rsplit('/').next().unwrap_or_default())
            }
            _ => ContextValue::Absent,
        },
        // Requests through a VPC endpoint have none; an ordinary one has.
        "aws:sourceip" => ContextValue::Present,
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
        "sts:rolesessionname" => ContextValue::Present,
        "aws:tokenissuetime" if user => ContextValue::Unknown,
        "aws:tokenissuetime" => ContextValue::Present,
        "sts:sourceidentity"
        | "aws:sourceidentity"
        | "sts:transitivetagkeys"
        | "aws:tagkeys"
        | "aws:federatedprovider" => of_session(ContextValue::Absent),
        key if key.starts_with("aws:requesttag/") => of_session(ContextValue::Absent),
        _ => ContextValue::Unknown,
    }
}

/// Somebody whom a role's trust policy lets in, or may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// Who, as the document names them.
    pub who: Principal,
    /// Whom the question was asked for.
    pub requester: Requester,
    /// Unknown: under conditions that the request decides, or the document is odd.
    pub may: Tri,
}

/// Everybody whom a role's trust policy names and lets in: users, roles and accounts by [`ASSUME_ROLE`], services too,
/// identity providers by the other two forms of it. `*` is asked for a principal inside the role's account, for one
/// outside, and for those that its conditions name.
pub fn admitted(document: &PolicyDocument, role: &Arn, now: &str) -> Vec<Admitted> {
    let mut found: Vec<Admitted> = Vec::new();
    let allows = document
        .statements
        .iter()
        .filter(|one| one.effect == Some(Effect::Allow));
    for (statement, who) in allows.flat_map(|one| {
        let entries = match &one.who {
            Who::Principal(entries) => entries.clone(),
            // Not supported, or nobody said: it may be anybody.
            Who::NotPrincipal(_) | Who::Unsaid => vec![Principal::Anyone],
        };
        entries.into_iter().map(move |entry| (one, entry))
    }) {
        for requester in candidates(&who, statement, role) {
            let outside = |found: &Admitted| found.requester.home() == requester.home();
            let known = found.iter().position(|one| one.who == who && outside(one));
            let actions: &[&str] = match requester {
                Requester::Federated(_) => &[WEB_IDENTITY, SAML],
                _ => &[ASSUME_ROLE],
            };
            let may = Tri::any(actions.iter().map(|action| {
                let request = Request {
                    requester: &requester,
                    action,
                    resource: role,
                    context: &|key| (key == "aws:currenttime").then(|| ContextValue::one(now)),
                };
                evaluate(document, &request).verdict
            }));
            match known.and_then(|at| found.get_mut(at)) {
                Some(one) if one.may.rank() < may.rank() => {
                    one.may = may;
                    one.requester = requester;
                }
                Some(_) => {}
                None if may == Tri::False => {}
                None => found.push(Admitted {
                    who: who.clone(),
                    requester,
                    may,
                }),
            }
        }
    }
    found
}

/// Whom to ask for where a statement names this principal.
fn candidates(who: &Principal, statement: &Statement, role: &Arn) -> Vec<Requester> {
    let somebody_of = |account: &str, name: &str| {
        let arn = format!("arn:{}:iam::{account}:role/{name}", role.partition);
        arn.parse::<PrincipalArn>().ok().map(Requester::from)
    };
    match who {
        Principal::Service(name) => vec![Requester::Service(
            name.strip_suffix(".cn").unwrap_or(name).to_owned(),
        )],
        Principal::Federated(name) => vec![Requester::Federated(name.clone())],
        Principal::Aws(text) => match text.parse::<PrincipalArn>() {
            // Partitions do not trust each other.
            Ok(arn) if arn.arn().partition != role.partition => Vec::new(),
            Ok(PrincipalArn::Root(arn)) => somebody_of(&arn.account, ANYBODY).into_iter().collect(),
            Ok(arn) => vec![Requester::from(arn)],
            Err(_) => somebody_of(text, ANYBODY).into_iter().collect(),
        },
        Principal::Anyone => {
            let mut all: Vec<Requester> = [&role.account, STRANGER]
                .into_iter()
                .filter_map(|account| somebody_of(account, ANYBODY))
                .collect();
            for condition in &statement.conditions {
                if !condition.key.to_ascii_lowercase().starts_with("aws:principal") {
                    continue;
                }
                for value in &condition.values {
                    let account = value.split(':').nth(4).unwrap_or(value);
                    let stranger = if account.contains(['*', '?']) {
                        STRANGER
                    } else {
                        account
                    };
                    // The conditions name a pattern: somebody who fits it.
                    let concrete = value
                        .replacen(account, stranger, 1)
                        .replace(['*', '?'], "x")
                        .parse::<PrincipalArn>();
                    match concrete {
                        Ok(arn) if arn.arn().partition == role.partition => {
                            all.push(Requester::from(arn));
                        }
                        _ => all.extend(somebody_of(stranger, ANYBODY)),
                    }
                }
            }
            all
        }
        Principal::CanonicalUser(_) | Principal::Other { .. } => Vec::new(),
    }
}

/// The name of a role that no document names.
const ANYBODY: &str = "anybody";
/// An account that no document names.
const STRANGER: &str = "000000000000";

/// What the requester's own side says of the action: its policies, its permissions boundary and its organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnSide {
    /// It could not be read, or it depends on what is not known.
    Unknown,
    /// It stops the action whatever the other side says: an explicit deny, the organization, or there is no such principal.
    Stops,
    /// It allows it.
    Allows,
    /// It neither allows nor denies it.
    Silent {
        /// It has a permissions boundary, and that does not allow it.
        boundary_limits: bool,
    },
}

impl Decision<'_> {
    /// Both sides together: the document's and the requester's own, of the same account as the resource or of another
    /// (IAM user guide, "Policy evaluation for requests within a single account", "Cross-account policy evaluation logic").
    pub fn with_own_side(&self, own: &OwnSide, same_account: bool) -> Tri {
        let floor = match own {
            OwnSide::Unknown => Tri::Unknown,
            OwnSide::Stops => Tri::False,
            OwnSide::Allows | OwnSide::Silent { .. } => Tri::True,
        };
        let granted = Tri::any(self.allows().map(|one| one.granted(own, same_account)));
        Tri::all([!self.deny, granted, floor])
    }
}

impl Judged<'_> {
    /// Whether it grants, given the requester's own side.
    pub fn granted(&self, own: &OwnSide, same_account: bool) -> Tri {
        let through = self
            .about
            .iter()
            .map(|&(holds, class)| holds.and(self.lets_through(class, own, same_account)));
        self.frame().and(Tri::any(through))
    }

    /// Whether the requester's own side lets a grant of this directness through.
    pub fn lets_through(&self, class: Class, own: &OwnSide, same_account: bool) -> Tri {
        match (own, class) {
            (OwnSide::Unknown, _) => Tri::Unknown,
            (OwnSide::Stops, _) => Tri::False,
            (OwnSide::Allows, _) => Tri::True,
            // Across accounts both sides must allow it.
            (OwnSide::Silent { .. }, _) if !same_account => Tri::False,
            (OwnSide::Silent { .. }, Class::Account) => Tri::False,
            (OwnSide::Silent { .. }, Class::Direct) => Tri::True,
            // Only what limits the role counts, not what doesn't grant.
            (OwnSide::Silent { boundary_limits }, Class::Role) => Tri::from(!boundary_limits),
            // How a boundary limits a bare `*` is not documented.
            (
                OwnSide::Silent {
                    boundary_limits: true,
                },
                Class::Anyone,
            ) => Tri::Unknown,
            (OwnSide::Silent { .. }, Class::Anyone) => Tri::True,
        }
    }

    /// The way in which it is about the requester that counts: the one that grants, else the most direct one.
    pub fn class(&self, own: &OwnSide, same_account: bool) -> Class {
        let possible = self.about.iter().filter(|(holds, _)| *holds != Tri::False);
        possible
            .max_by_key(|&&(holds, class)| {
                let granted = holds.and(self.lets_through(class, own, same_account));
                (granted.rank(), holds.rank(), class)
            })
            .map_or(Class::Direct, |(_, class)| *class)
    }
}
