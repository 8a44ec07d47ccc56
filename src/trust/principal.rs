//! Whom a `Principal` entry means, and whether that is the principal asked about.
//!
//! Source: IAM user guide, "AWS JSON policy elements: Principal" and "NotPrincipal".

use crate::model::Caller as Identity;
use crate::model::{Observed, Unknown};
use crate::model::{Role, Simulation};
use iam_policy::arn::{AccountId, Arn, Partition, PrincipalArn, RoleName, shown};
use iam_policy::document::Principal;

use iam_policy::kleene::Tri;

/// Who wants to assume the role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Somebody with an ARN.
    Known(PrincipalArn),
    /// A role of this account that does not exist yet, or is not known: what CDK makes for its handler.
    SomeRole {
        /// Its partition.
        partition: Partition,
        /// Its account.
        account: AccountId,
    },
}

impl Caller {
    /// Its partition.
    pub fn partition(&self) -> Partition {
        match self {
            Self::Known(who) => who.arn().partition,
            Self::SomeRole { partition, .. } => *partition,
        }
    }

    /// Its account.
    pub fn account(&self) -> &str {
        match self {
            Self::Known(who) => &who.arn().account,
            Self::SomeRole { account, .. } => account.as_str(),
        }
    }

    /// How a person is told who it is.
    pub fn words(&self) -> String {
        match self {
            Self::Known(who) => who.arn().to_string(),
            Self::SomeRole { account, .. } => format!("a role of account {account} that is not known yet"),
        }
    }
}

/// Who wants to assume the role, with what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Who.
    pub who: Caller,
    /// For a role or a session of one: the role in IAM. A session's ARN does not tell the role's path, this does.
    pub role: Observed<crate::model::Role>,
    /// The unique id, when known: `AIDA...`, `AROA...`.
    pub id: Option<String>,
}

impl Subject {
    /// The caller of AWS, with the caller's role where that was read; none where STS names nobody known.
    pub fn of_caller(caller: &Identity, role: &Observed<Role>) -> Option<Self> {
        let who: PrincipalArn = caller.arn.parse().ok()?;
        let role = match who.role_name() {
            Some(_) => role.clone(),
            None => Observed::Unknown(Unknown::not_asked("it is no role")),
        };
        let id = caller.user_id.split(':').next().unwrap_or_default();
        Some(Self {
            who: Caller::Known(who),
            role,
            id: (!id.is_empty()).then(|| id.to_owned()),
        })
    }

    /// Whether it is a session of this role.
    pub fn is_session_of(&self, role: &Role) -> bool {
        matches!(&self.who, Caller::Known(PrincipalArn::Session { .. }))
            && self.role.known().is_some_and(|own| own.arn == role.arn)
    }

    /// The ARN that the policy simulator takes for it; what the simulation is otherwise.
    ///
    /// # Errors
    /// Why the simulator can't be asked; absent for a role that does not exist.
    pub fn simulated_as(&self) -> Result<String, Observed<Simulation>> {
        let not_asked = |why: &str| Err(Observed::Unknown(Unknown::not_asked(why)));
        let Caller::Known(who) = &self.who else {
            return not_asked("the principal is not known yet");
        };
        match who {
            PrincipalArn::User(arn) => Ok(arn.to_string()),
            PrincipalArn::Role(_) | PrincipalArn::Session { .. } => match &self.role {
                Observed::Known(role) => Ok(role.arn.clone()),
                Observed::Absent => Err(Observed::Absent),
                Observed::Unknown(unknown) => Err(Observed::Unknown(Unknown {
                    detail: format!(
                        "the simulator wants the full ARN of the role, which could not be read: {unknown}"
                    ),
                    ..unknown.clone()
                })),
            },
            PrincipalArn::Root(_) | PrincipalArn::FederatedUser(_) => {
                not_asked("the simulator takes users and roles only")
            }
        }
    }

    /// The IAM ARN that policies and the simulator know it by: the user, or the role behind a session. A role's path is
    /// right only when the role was read.
    pub fn iam_arn(&self) -> Option<Arn> {
        let Caller::Known(who) = &self.who else {
            return None;
        };
        match who {
            PrincipalArn::Role(_) | PrincipalArn::Session { .. } => {
                self.verified_role_arn().or_else(|| match who {
                    PrincipalArn::Session { arn, role, .. } => Some(Arn {
                        service: "iam".to_owned(),
                        resource: format!("role/{role}"),
                        ..arn.clone()
                    }),
                    other => Some(other.arn().clone()),
                })
            }
            other => Some(other.arn().clone()),
        }
    }

    /// The role's ARN as IAM has it.
    pub fn verified_role_arn(&self) -> Option<Arn> {
        self.role.known()?.arn.parse().ok()
    }

    /// The unique id, of the role where it was read.
    pub fn unique_id(&self) -> Option<&str> {
        self.role
            .known()
            .map(|role| role.id.as_str())
            .filter(|id| !id.is_empty())
            .or(self.id.as_deref())
    }
}

/// How directly a statement names the principal. It decides which other policies matter (IAM user guide, "Policy
/// evaluation for requests within a single account").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// The very user or session: an Allow is needed nowhere else, and no implicit deny limits it.
    Direct,
    /// The role: an Allow is needed nowhere else, but a permissions boundary or session policy limits it.
    Role,
    /// The account: the principal's own policies must allow it as well.
    Account,
    /// Everybody.
    Anyone,
}

impl Class {
    /// `names this role`, as the end of a sentence.
    pub fn words(self, account: &str) -> String {
        match self {
            Self::Direct => "names it".to_owned(),
            Self::Role => "names its role".to_owned(),
            Self::Account => format!("trusts the whole account {account}"),
            Self::Anyone => "trusts everybody".to_owned(),
        }
    }
}

/// Why an entry names nobody, or not whom it seems to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Oddity {
    /// The unique id of a user or role that no longer exists.
    Deleted {
        /// The id.
        id: String,
        /// Whether the id is the caller's own; then IAM has not caught up yet.
        own: bool,
    },
    /// `arn:aws:iam::111122223333:role/*`
    PartialWildcard(String),
    /// No ARN, or one of nobody.
    Malformed(String, String),
    /// Another cloud.
    WrongPartition(String, Partition),
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
                if id.starts_with("AIDA") {
                    "user"
                } else if id.starts_with("AROA") {
                    "role"
                } else {
                    "principal"
                }
            ),
            Self::Deleted { id, own: true } => format!(
                "{id} is this principal's own id, which IAM shows as an ARN when all is well: it may still be catching up"
            ),
            Self::PartialWildcard(text) => format!(
                "{} names nobody: a principal cannot be part of an ARN with * or ?, only a condition on aws:PrincipalArn can",
                shown(text)
            ),
            Self::Malformed(text, why) => {
                if why.starts_with(&shown(text)) {
                    format!("as a principal, {why}")
                } else {
                    format!("{} names nobody: {why}", shown(text))
                }
            }
            Self::WrongPartition(text, partition) => format!(
                "{} is of another partition than the role, which is in {partition}: partitions do not trust each other",
                shown(text)
            ),
            Self::Case(text) => format!(
                "{} differs in upper and lower case, and principals are compared exactly",
                shown(text)
            ),
            Self::Path(text) => format!("{} is another path than the role has", shown(text)),
        }
    }
}

/// What one entry of `Principal` is to the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Whether it means the caller.
    pub holds: Tri,
    /// How directly, where it does or may.
    pub class: Class,
    /// What is odd about it.
    pub oddity: Option<Oddity>,
}

impl Match {
    const fn new(holds: Tri, class: Class) -> Self {
        Self {
            holds,
            class,
            oddity: None,
        }
    }

    const fn nobody(oddity: Oddity) -> Self {
        Self {
            holds: Tri::False,
            class: Class::Direct,
            oddity: Some(oddity),
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

/// Whether an entry means the caller. `home` is the partition of the role that is to be assumed.
pub fn matches(entry: &Principal, subject: &Subject, home: Partition) -> Match {
    let text = match entry {
        Principal::Anyone => return Match::new(Tri::True, Class::Anyone),
        Principal::Aws(text) => text,
        // A service or an identity provider calls in its own name; a user or role is neither.
        Principal::Service(_)
        | Principal::Federated(_)
        | Principal::CanonicalUser(_)
        | Principal::Other { .. } => {
            return Match::new(Tri::False, Class::Direct);
        }
    };
    if let Ok(account) = text.parse::<AccountId>() {
        return Match::new((subject.who.account() == account.as_str()).into(), Class::Account);
    }
    if is_unique_id(text) {
        let own = subject.unique_id() == Some(text.as_str());
        return Match {
            holds: if own { Tri::Unknown } else { Tri::False },
            class: match &subject.who {
                Caller::Known(PrincipalArn::User(_)) => Class::Direct,
                _ => Class::Role,
            },
            oddity: Some(Oddity::Deleted {
                id: text.clone(),
                own,
            }),
        };
    }
    if text.contains(['*', '?']) {
        return Match::nobody(Oddity::PartialWildcard(text.clone()));
    }
    let named = match text.parse::<PrincipalArn>() {
        Ok(named) => named,
        Err(error) => return Match::nobody(Oddity::Malformed(text.clone(), error.to_string())),
    };
    if named.arn().partition != home {
        return Match::nobody(Oddity::WrongPartition(text.clone(), home));
    }
    if let PrincipalArn::Root(arn) = &named {
        let same = arn.partition == subject.who.partition() && arn.account == subject.who.account();
        return Match::new(same.into(), Class::Account);
    }
    if named.arn().account != subject.who.account() || named.arn().partition != subject.who.partition() {
        return Match::new(Tri::False, Class::Direct);
    }
    match &subject.who {
        Caller::SomeRole { .. } => match named {
            PrincipalArn::Role(_) => Match::new(Tri::Unknown, Class::Role),
            PrincipalArn::Session { .. } => Match::new(Tri::Unknown, Class::Direct),
            _ => Match::new(Tri::False, Class::Direct),
        },
        Caller::Known(who) => matches_known(&named, who, subject, text),
    }
}

/// The same account and partition on both sides.
fn matches_known(named: &PrincipalArn, who: &PrincipalArn, subject: &Subject, text: &str) -> Match {
    let equal = |class: Class| {
        let same = named.arn() == who.arn();
        let mut found = Match::new(same.into(), class);
        if !same
            && named
                .arn()
                .to_string()
                .eq_ignore_ascii_case(&who.arn().to_string())
        {
            found.oddity = Some(Oddity::Case(text.to_owned()));
        }
        found
    };
    match (named, who) {
        (PrincipalArn::User(_), PrincipalArn::User(_))
        | (PrincipalArn::FederatedUser(_), PrincipalArn::FederatedUser(_))
        | (PrincipalArn::Session { .. }, PrincipalArn::Session { .. }) => equal(Class::Direct),
        (PrincipalArn::Role(named), PrincipalArn::Role(_) | PrincipalArn::Session { .. }) => {
            matches_role(named, who, subject, text)
        }
        // The caller is a role; which session of it calls is not known.
        (PrincipalArn::Session { role, .. }, PrincipalArn::Role(arn)) => {
            let same = arn.role_name() == Some(role.as_str());
            Match::new(if same { Tri::Unknown } else { Tri::False }, Class::Direct)
        }
        _ => Match::new(Tri::False, Class::Direct),
    }
}

fn matches_role(named: &Arn, who: &PrincipalArn, subject: &Subject, text: &str) -> Match {
    let verified = subject.verified_role_arn();
    let known = match (&verified, who) {
        (Some(arn), _) => Some(arn),
        (None, PrincipalArn::Role(arn)) => Some(arn),
        // The ARN of a session does not tell the path. A name is unique in its account whatever the path is.
        (None, _) => None,
    };
    let name = named.role_name().unwrap_or_default();
    let own = who.role_name().unwrap_or_default();
    match known {
        Some(arn) if arn == named => Match::new(Tri::True, Class::Role),
        None if name == own => Match::new(Tri::True, Class::Role),
        Some(_) if name == own => Match {
            // As read from IAM the path is right; as given it may not be.
            holds: if verified.is_some() {
                Tri::False
            } else {
                Tri::Unknown
            },
            class: Class::Role,
            oddity: Some(Oddity::Path(text.to_owned())),
        },
        _ if name.eq_ignore_ascii_case(own) => Match {
            holds: Tri::False,
            class: Class::Role,
            oddity: Some(Oddity::Case(text.to_owned())),
        },
        _ => Match::new(Tri::False, Class::Role),
    }
}

/// The name of the role behind the caller.
pub fn role_name(who: &Caller) -> Option<RoleName> {
    match who {
        Caller::Known(who) => who.role_name()?.parse().ok(),
        Caller::SomeRole { .. } => None,
    }
}
