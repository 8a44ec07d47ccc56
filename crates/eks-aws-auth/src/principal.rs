//! The caller, as the authenticator reads it from an ARN.
//!
//! Rules: `pkg/arn/arn.go` (`Canonicalize`), `pkg/endpoints/partitions.go` and `pkg/token/token.go`
//! (`getIdentityFromSTSResponse`) of kubernetes-sigs/aws-iam-authenticator.

use thiserror::Error;

/// The partitions that the authenticator knows.
pub(crate) const PARTITIONS: [&str; 8] = [
    "aws",
    "aws-cn",
    "aws-us-gov",
    "aws-iso",
    "aws-iso-b",
    "aws-iso-e",
    "aws-iso-f",
    "aws-eusc",
];

/// Why an ARN cannot be a caller: the token is refused before anything is looked up.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum IdentityError {
    /// Not of the form `arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE`.
    #[error("{0:?} is not an ARN (arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE)")]
    NotAnArn(String),
    /// A partition that the authenticator does not know.
    #[error("partition {0:?} is not recognized by the authenticator")]
    UnknownPartition(String),
    /// `assumed-role/ROLE` without the session.
    #[error("the assumed-role ARN {0:?} has no session part (assumed-role/ROLE/SESSION)")]
    NoSession(String),
    /// A session name with a colon, which tears the user id apart.
    #[error("the session name {0:?} contains a colon, which no role session name can")]
    MalformedSession(String),
    /// An sts or iam resource that cannot call.
    #[error("{resource:?} is not an identity: {service} identities are {expected}")]
    UnknownResource {
        /// `sts` or `iam`.
        service: String,
        /// The resource part of the ARN.
        resource: String,
        /// What it could have been.
        expected: &'static str,
    },
    /// An ARN of some other service.
    #[error("{0:?} is not a service with identities (iam or sts)")]
    UnknownService(String),
}

/// An ARN in its six parts, the region left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arn {
    pub(crate) partition: String,
    pub(crate) service: String,
    /// 12 digits if it is an account.
    pub(crate) account: String,
    /// Everything after the fifth colon.
    pub(crate) resource: String,
}

impl Arn {
    /// Splits an ARN as the AWS SDKs do: only the prefix and the number of parts are checked.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        if parts.next() != Some("arn") {
            return None;
        }
        let mut next = || parts.next().map(str::to_owned);
        let (partition, service) = (next()?, next()?);
        let _region = next()?;
        Some(Self {
            partition,
            service,
            account: next()?,
            resource: next()?,
        })
    }

    /// The last part of the resource: the name without its path.
    pub(crate) fn name(&self) -> &str {
        self.resource.rsplit('/').next().unwrap_or_default()
    }

    /// The path of an IAM role or user between its kind and its name (`team/` in `role/team/Dev`), empty if it has none.
    pub(crate) fn path(&self) -> &str {
        let rest = self.resource.split_once('/').map_or("", |(_, rest)| rest);
        rest.rfind('/').map_or("", |at| &rest[..=at])
    }

    /// The kind of the resource: `role`, `user`, `assumed-role`, `instance-profile`, `root`, ...
    pub(crate) fn kind(&self) -> &str {
        self.resource.split('/').next().unwrap_or_default()
    }
}

/// What a caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrincipalKind {
    /// `iam ... role/...`. No caller has this ARN; it stands for any session of the role.
    Role,
    /// `iam ... user/...`
    User,
    /// `iam ... root`
    Root,
    /// `sts ... federated-user/...`
    FederatedUser,
    /// `sts ... assumed-role/ROLE/SESSION`
    AssumedRole,
}

/// An identity that AWS vouches for. Facts that are not known stay `None`: templates that need them are then left as they
/// are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The ARN as given.
    pub arn: String,
    /// The ARN that mappings are compared with: an assumed role's role, everything else as it is.
    pub canonical_arn: String,
    /// What it is.
    pub kind: PrincipalKind,
    /// Partition of the ARN.
    pub partition: String,
    /// Account of the ARN.
    pub account: String,
    /// Session of an assumed role; empty for users, `None` where the ARN stands for any session of a role.
    pub session: Option<String>,
    /// Access key id, for `{{AccessKeyID}}`.
    pub access_key_id: Option<String>,
    /// The instance's private DNS name, for `{{EC2PrivateDNSName}}`.
    pub private_dns_name: Option<String>,
    /// The unique id behind the name (`AROA...`, `AIDA...`), which access entries are matched by.
    pub principal_id: Option<String>,
    /// The role's full ARN, where it is known whether it has a path: an access entry is for one role, path included, and
    /// a session's ARN has lost the path.
    pub role_arn: Option<String>,
}

impl Caller {
    /// Takes an ARN as `sts:GetCallerIdentity` returns it.
    ///
    /// # Errors
    /// [`IdentityError`] where the authenticator refuses the identity.
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        let arn = Arn::parse(text).ok_or_else(|| IdentityError::NotAnArn(text.to_owned()))?;
        if !PARTITIONS.contains(&arn.partition.as_str()) {
            return Err(IdentityError::UnknownPartition(arn.partition));
        }
        let unknown_resource = |expected| IdentityError::UnknownResource {
            service: arn.service.clone(),
            resource: arn.resource.clone(),
            expected,
        };
        let (kind, canonical_arn, session) = match (arn.service.as_str(), arn.kind()) {
            ("sts", "federated-user") => (PrincipalKind::FederatedUser, text.to_owned(), Some(String::new())),
            ("sts", "assumed-role") => {
                let rest = arn.resource.split_once('/').map_or("", |(_, rest)| rest);
                let (role, session) = rest
                    .rsplit_once('/')
                    .ok_or_else(|| IdentityError::NoSession(text.to_owned()))?;
                if session.contains(':') {
                    return Err(IdentityError::MalformedSession(session.to_owned()));
                }
                let canonical = format!("arn:{}:iam::{}:role/{role}", arn.partition, arn.account);
                (PrincipalKind::AssumedRole, canonical, Some(session.to_owned()))
            }
            ("sts", _) => {
                return Err(unknown_resource(
                    "assumed-role/ROLE/SESSION and federated-user/NAME",
                ));
            }
            ("iam", "role") => (PrincipalKind::Role, text.to_owned(), None),
            ("iam", "user") => (PrincipalKind::User, text.to_owned(), Some(String::new())),
            ("iam", "root") => (PrincipalKind::Root, text.to_owned(), Some(String::new())),
            ("iam", _) => return Err(unknown_resource("role/NAME, user/NAME and root")),
            _ => return Err(IdentityError::UnknownService(arn.service)),
        };
        Ok(Self {
            arn: text.to_owned(),
            canonical_arn,
            kind,
            partition: arn.partition,
            account: arn.account,
            session,
            access_key_id: None,
            private_dns_name: None,
            principal_id: None,
            role_arn: None,
        })
    }

    /// A session of a role, from the role's own ARN. The session's ARN has no path, as STS leaves it out; a path that is
    /// given is kept beside it, for access entries. A session of `None` stands for any.
    ///
    /// # Errors
    /// [`IdentityError`] where the ARN is not a role's.
    pub fn of_role(role_arn: &str, session: Option<&str>) -> Result<Self, IdentityError> {
        let mut caller = Self::parse(role_arn)?;
        let arn = Arn::parse(role_arn).ok_or_else(|| IdentityError::NotAnArn(role_arn.to_owned()))?;
        if caller.kind != PrincipalKind::Role {
            return Err(IdentityError::UnknownResource {
                service: arn.service,
                resource: arn.resource,
                expected: "role/NAME here",
            });
        }
        caller.canonical_arn = format!("arn:{}:iam::{}:role/{}", arn.partition, arn.account, arn.name());
        if !arn.path().is_empty() {
            caller.role_arn = Some(role_arn.to_owned());
        }
        if let Some(session) = session {
            caller.arn = format!(
                "arn:{}:sts::{}:assumed-role/{}/{session}",
                arn.partition,
                arn.account,
                arn.name()
            );
            caller.kind = PrincipalKind::AssumedRole;
            caller.session = Some(session.to_owned());
        }
        Ok(caller)
    }

    /// The same caller with its access key id.
    #[must_use]
    pub fn with_access_key_id(mut self, id: Option<String>) -> Self {
        self.access_key_id = id;
        self
    }

    /// The same caller with its instance's private DNS name.
    #[must_use]
    pub fn with_private_dns_name(mut self, name: Option<String>) -> Self {
        self.private_dns_name = name;
        self
    }

    /// The same caller with its role's ARN as IAM has it: with its path, or certainly without one.
    #[must_use]
    pub fn with_role_arn(mut self, arn: &str) -> Self {
        self.role_arn = Some(arn.to_owned());
        self
    }

    /// The same caller with its unique id. A session's id (`AROA...:SESSION`) is cut to the role's.
    #[must_use]
    pub fn with_principal_id(mut self, id: Option<String>) -> Self {
        self.principal_id = id.map(|id| match self.kind {
            PrincipalKind::AssumedRole | PrincipalKind::Role => {
                id.split(':').next().unwrap_or_default().to_owned()
            }
            _ => id,
        });
        self
    }
}

/// A role's ARN without its path, as the authenticator strips it for access entries. Other ARNs stay as they are.
pub(crate) fn without_path(arn: &str) -> String {
    match Arn::parse(arn) {
        Some(parsed) if parsed.kind() == "role" && parsed.resource.matches('/').count() > 1 => {
            format!(
                "arn:{}:iam::{}:role/{}",
                parsed.partition,
                parsed.account,
                parsed.name()
            )
        }
        _ => arn.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_canonicalised() {
        for (arn, expected) in [
            (
                "arn:aws:iam::123456789012:user/Alice",
                Some("arn:aws:iam::123456789012:user/Alice"),
            ),
            (
                "arn:aws:iam::123456789012:role/a/Users",
                Some("arn:aws:iam::123456789012:role/a/Users"),
            ),
            (
                "arn:aws:iam::123456789012:root",
                Some("arn:aws:iam::123456789012:root"),
            ),
            (
                "arn:aws:sts::123456789012:federated-user/Bob",
                Some("arn:aws:sts::123456789012:federated-user/Bob"),
            ),
            (
                "arn:aws:sts::123456789012:assumed-role/Admin/Session",
                Some("arn:aws:iam::123456789012:role/Admin"),
            ),
            (
                "arn:aws:sts:eu-west-1:123456789012:assumed-role/A/",
                Some("arn:aws:iam::123456789012:role/A"),
            ),
            (
                "arn:aws-eusc:sts::123456789012:assumed-role/a/b/S",
                Some("arn:aws-eusc:iam::123456789012:role/a/b"),
            ),
            ("arn:aws:iam:us-east-1:1:rolf", None),
            ("arn:aws:sts::123456789012:assumed-role/Admin", None),
            ("arn:aws:sts::123456789012:assumed-role", None),
            ("arn:aws:sts::123456789012:root", None),
            ("arn:AWS:iam::123456789012:root", None),
            ("ARN:aws:iam::123456789012:root", None),
            ("arn:aws:s3:::bucket", None),
            ("arn:aws:iam::123456789012", None),
            ("", None),
        ] {
            let canonical = Caller::parse(arn).map(|caller| caller.canonical_arn).ok();
            assert_eq!(canonical.as_deref(), expected, "{arn}");
        }
    }

    #[test]
    fn a_session_of_a_role_has_no_path() {
        let caller = Caller::of_role(
            "arn:aws:iam::111122223333:role/team/Node",
            Some("i-0123456789abcdef0"),
        )
        .unwrap();
        assert_eq!(caller.canonical_arn, "arn:aws:iam::111122223333:role/Node");
        assert_eq!(
            caller.arn,
            "arn:aws:sts::111122223333:assumed-role/Node/i-0123456789abcdef0"
        );
        assert!(Caller::of_role("arn:aws:iam::111122223333:user/a", None).is_err());
    }
}
