//! Who asks, and whether an entry of `Principal` means them.
//!
//! Source: IAM user guide, "AWS JSON policy elements: Principal".

use crate::arn::{AccountId, Arn, Partition, PrincipalArn, shown};
use crate::document::Principal;
use crate::kleene::Tri;

/// Who makes the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requester {
    /// A user, a role or a session.
    Known(Box<Identity>),
    /// A role of this account that does not exist yet, or is not known.
    SomeRole {
        /// Its partition.
        partition: Partition,
        /// Its account.
        account: AccountId,
    },
    /// An AWS service: `ec2.amazonaws.com`.
    Service(String),
    /// Whoever comes with a token or assertion of this provider: its ARN, or a name like `cognito-identity.amazonaws.com`.
    Federated(String),
}

/// A user, a role or a session, with what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its ARN.
    pub arn: PrincipalArn,
    /// For a role or a session of one: the role's ARN as IAM has it. A session's ARN does not tell the role's path.
    pub role_arn: Option<Arn>,
    /// The unique id: `AIDA...`, or the role's `AROA...`.
    pub id: Option<String>,
    /// It has a permissions boundary.
    pub has_boundary: bool,
}

impl From<PrincipalArn> for Identity {
    fn from(arn: PrincipalArn) -> Self {
        Self {
            arn,
            role_arn: None,
            id: None,
            has_boundary: false,
        }
    }
}

impl Identity {
    /// The IAM ARN that policies know it by: the user, or the role behind a session. A role's path is right only where
    /// [`Self::role_arn`] is known.
    pub fn iam_arn(&self) -> Arn {
        match (&self.arn, &self.role_arn) {
            (PrincipalArn::Role(_) | PrincipalArn::Session { .. }, Some(role)) => role.clone(),
            (PrincipalArn::Session { arn, role, .. }, None) => Arn {
                service: "iam".to_owned(),
                resource: format!("role/{role}"),
                ..arn.clone()
            },
            (other, _) => other.arn().clone(),
        }
    }
}

impl<I: Into<Identity>> From<I> for Requester {
    fn from(identity: I) -> Self {
        Self::Known(Box::new(identity.into()))
    }
}

impl Requester {
    /// The partition and account; services and identity providers have none.
    pub fn home(&self) -> Option<(Partition, &str)> {
        match self {
            Self::Known(one) => Some((one.arn.arn().partition, &one.arn.arn().account)),
            Self::SomeRole { partition, account } => Some((*partition, account.as_str())),
            Self::Service(_) | Self::Federated(_) => None,
        }
    }

    /// The user, role or session, when it is one that is known.
    pub fn known(&self) -> Option<&Identity> {
        match self {
            Self::Known(one) => Some(one),
            Self::SomeRole { .. } | Self::Service(_) | Self::Federated(_) => None,
        }
    }
}

/// How directly a statement names the requester, the most direct way last. It decides which other policies matter (IAM
/// user guide, "Policy evaluation for requests within a single account").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The account: the principal's own policies must allow it as well.
    Account,
    /// Everybody.
    Anyone,
    /// The role: an Allow is needed nowhere else, but a permissions boundary or session policy limits it.
    Role,
    /// The very user, session, service or provider: an Allow is needed nowhere else, and no implicit deny limits it.
    Direct,
}

/// Why an entry names nobody, or not whom it seems to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Oddity {
    /// The unique id of a user or role that no longer exists.
    Deleted {
        /// The id.
        id: String,
        /// Whether the id is the requester's own; then IAM has not caught up yet.
        own: bool,
    },
    /// `arn:aws:iam::111122223333:role/*`
    PartialWildcard(String),
    /// Not an ARN, or one of nobody.
    Malformed(String, String),
    /// Equal but for the case.
    Case(String),
    /// The same role name with another path.
    Path(String),
}

impl Oddity {
    /// In words.
    pub fn words(&self) -> String {
        match self {
            Self::Deleted { id, own: false } => format!(
                "{id} is the unique id of a {} that was deleted: IAM shows the id when the ARN behind it is gone, and one \
                 that is made again under the same name has another id",
                match id.get(..4) {
                    Some("AIDA") => "user",
                    Some("AROA") => "role",
                    _ => "principal",
                }
            ),
            Self::Deleted { id, own: true } => format!(
                "{id} is this principal's own id, which IAM shows as an ARN when all is well: it may still be catching up"
            ),
            Self::PartialWildcard(text) => format!(
                "{} names nobody: a principal cannot be part of an ARN with * or ?, only a condition on aws:PrincipalArn can",
                shown(text)
            ),
            Self::Malformed(text, why) if why.starts_with(&shown(text)) => format!("as a principal, {why}"),
            Self::Malformed(text, why) => format!("{} names nobody: {why}", shown(text)),
            Self::Case(text) => format!(
                "{} differs in upper and lower case, and principals are compared exactly",
                shown(text)
            ),
            Self::Path(text) => format!("{} is another path than the role has", shown(text)),
        }
    }

    /// Whether IAM would have refused to store the entry.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::PartialWildcard(_) | Self::Malformed(..))
    }
}

/// What one entry of `Principal` is to the requester.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Whether it means the requester.
    pub holds: Tri,
    /// How directly, where it does or may.
    pub class: Class,
    /// What is odd about it.
    pub oddity: Option<Oddity>,
}

impl Match {
    fn new(holds: impl Into<Tri>, class: Class) -> Self {
        Self {
            holds: holds.into(),
            class,
            oddity: None,
        }
    }

    fn but(self, oddity: Oddity) -> Self {
        Self {
            oddity: Some(oddity),
            ..self
        }
    }
}

/// A unique id of IAM: `AROA...` of roles, `AIDA...` of users, and the other prefixes of its table ("IAM identifiers",
/// "Understanding unique ID prefixes").
pub fn is_unique_id(text: &str) -> bool {
    const PREFIXES: [&str; 9] = [
        "AROA", "AIDA", "AGPA", "AIPA", "ANPA", "ANVA", "ASCA", "APKA", "ABIA",
    ];
    text.len() >= 16
        && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
        && PREFIXES.iter().any(|prefix| text.starts_with(prefix))
}

/// Whether an entry means the requester.
pub fn matches(entry: &Principal, requester: &Requester) -> Match {
    match (entry, requester) {
        (Principal::Anyone, _) => Match::new(true, Class::Anyone),
        // In China some services still have the name with that partition's suffix beside the common one.
        (Principal::Service(named), Requester::Service(service)) => Match::new(
            named.strip_suffix(".cn").unwrap_or(named) == service,
            Class::Direct,
        ),
        (Principal::Federated(named), Requester::Federated(provider)) => {
            Match::new(named == provider, Class::Direct)
        }
        // A service or an identity provider calls in its own name; a user or role is neither.
        (
            Principal::Service(_)
            | Principal::Federated(_)
            | Principal::CanonicalUser(_)
            | Principal::Other { .. },
            _,
        ) => Match::new(false, Class::Direct),
        (Principal::Aws(text), _) => matches_aws(text, requester),
    }
}

fn matches_aws(text: &str, requester: &Requester) -> Match {
    let nobody = |oddity| Match::new(false, Class::Direct).but(oddity);
    let home = requester.home();
    if let Ok(account) = text.parse::<AccountId>() {
        let same = home.is_some_and(|(_, own)| own == account.as_str());
        return Match::new(same, Class::Account);
    }
    if is_unique_id(text) {
        let known = requester.known();
        let own = known.is_some_and(|known| known.id.as_deref() == Some(text));
        let class = match known.map(|known| &known.arn) {
            Some(PrincipalArn::User(_)) => Class::Direct,
            _ => Class::Role,
        };
        return Match::new(if own { Tri::Unknown } else { Tri::False }, class).but(Oddity::Deleted {
            id: text.to_owned(),
            own,
        });
    }
    if text.contains(['*', '?']) {
        return nobody(Oddity::PartialWildcard(text.to_owned()));
    }
    let named = match text.parse::<PrincipalArn>() {
        Ok(named) => named,
        Err(error) => return nobody(Oddity::Malformed(text.to_owned(), error.to_string())),
    };
    // An ARN of another partition is that principal, and nobody of this one.
    let same_account = home == Some((named.arn().partition, &named.arn().account));
    match (&named, requester) {
        (PrincipalArn::Root(_), _) => Match::new(same_account, Class::Account),
        _ if !same_account => Match::new(false, Class::Direct),
        (PrincipalArn::Role(_), Requester::SomeRole { .. }) => Match::new(Tri::Unknown, Class::Role),
        (PrincipalArn::Session { .. }, Requester::SomeRole { .. }) => Match::new(Tri::Unknown, Class::Direct),
        (_, Requester::Known(identity)) => matches_identity(&named, identity, text),
        _ => Match::new(false, Class::Direct),
    }
}

/// The same account and partition on both sides.
fn matches_identity(named: &PrincipalArn, identity: &Identity, text: &str) -> Match {
    match (named, &identity.arn) {
        (PrincipalArn::User(_), PrincipalArn::User(_))
        | (PrincipalArn::FederatedUser(_), PrincipalArn::FederatedUser(_))
        | (PrincipalArn::Session { .. }, PrincipalArn::Session { .. }) => {
            let (named, own) = (named.arn(), identity.arn.arn());
            let found = Match::new(named == own, Class::Direct);
            if named != own && named.to_string().eq_ignore_ascii_case(&own.to_string()) {
                return found.but(Oddity::Case(text.to_owned()));
            }
            found
        }
        (PrincipalArn::Role(named), PrincipalArn::Role(_) | PrincipalArn::Session { .. }) => {
            matches_role(named, identity, text)
        }
        // Which session of the role calls is not known.
        (PrincipalArn::Session { role, .. }, PrincipalArn::Role(arn)) => {
            let same = arn.role_name() == Some(role.as_str());
            Match::new(if same { Tri::Unknown } else { Tri::False }, Class::Direct)
        }
        _ => Match::new(false, Class::Direct),
    }
}

fn matches_role(named: &Arn, identity: &Identity, text: &str) -> Match {
    let verified = identity.role_arn.as_ref();
    let known = verified.or(match &identity.arn {
        PrincipalArn::Role(arn) => Some(arn),
        // The ARN of a session does not tell the path. A name is unique in its account whatever the path is.
        _ => None,
    });
    let name = named.role_name().unwrap_or_default();
    let own = identity.arn.role_name().unwrap_or_default();
    match known {
        Some(arn) if arn == named => Match::new(true, Class::Role),
        None if name == own => Match::new(true, Class::Role),
        // As read from IAM the path is right; as given it may not be.
        Some(_) if name == own => {
            let holds = if verified.is_some() {
                Tri::False
            } else {
                Tri::Unknown
            };
            Match::new(holds, Class::Role).but(Oddity::Path(text.to_owned()))
        }
        _ if name.eq_ignore_ascii_case(own) => {
            Match::new(false, Class::Role).but(Oddity::Case(text.to_owned()))
        }
        _ => Match::new(false, Class::Role),
    }
}
