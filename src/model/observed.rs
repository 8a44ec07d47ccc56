//! What was read, in three values: known, absent, or unknown with the reason.
//!
//! The wall between reading and judging (DESIGN.md section 1, "Fact"): a check gets these values and nothing that
//! could read more. `Unknown` is a variant and not an `Option`, so that no check can take "could not read" for
//! "is not there".

use std::fmt;

use serde::{Deserialize, Serialize};

use super::CredentialSource;

/// One thing read from AWS or Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Observed<T> {
    /// It was read.
    Known(T),
    /// The service itself said that it isn't there (`NoSuchEntity`, `ResourceNotFoundException`, a `NotFound` status).
    Absent,
    /// It could not be read.
    Unknown(Unknown),
}

impl<T> Observed<T> {
    /// The value, when known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Absent | Self::Unknown(_) => None,
        }
    }

    /// Whether the service said that it isn't there.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// Why it could not be read, when it could not.
    pub fn unknown(&self) -> Option<&Unknown> {
        match self {
            Self::Unknown(unknown) => Some(unknown),
            Self::Known(_) | Self::Absent => None,
        }
    }

    /// The same observation about another value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Observed<U> {
        match self {
            Self::Known(value) => Observed::Known(f(value)),
            Self::Absent => Observed::Absent,
            Self::Unknown(unknown) => Observed::Unknown(unknown),
        }
    }
}

/// An observation and the call that made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact<T> {
    /// The call, as a person would write it: `iam:GetRole AWSServiceRoleForEC2Spot`.
    pub call: String,
    /// What it told.
    pub observed: Observed<T>,
}

impl<T> Fact<T> {
    /// An observation made by `call`.
    pub fn new(call: impl Into<String>, observed: Observed<T>) -> Self {
        Self {
            call: call.into(),
            observed,
        }
    }

    /// A fact that was not asked for, and why.
    pub fn not_asked(call: impl Into<String>, because: impl Into<String>) -> Self {
        Self::new(call, Observed::Unknown(Unknown::not_asked(because)))
    }

    /// The value, when known.
    pub fn known(&self) -> Option<&T> {
        self.observed.known()
    }
}

/// Why a thing could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unknown {
    /// The kind of reason.
    pub why: Why,
    /// What the other side said, or what happened, in one sentence without secrets.
    pub detail: String,
    /// The smallest permission that would lift it, when a permission would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<Box<Grant>>,
    /// Where the AWS credentials come from that are missing or refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Box<CredentialSource>>,
}

impl Unknown {
    /// Not asked, because something it rests on is missing.
    pub fn not_asked(because: impl Into<String>) -> Self {
        Self {
            why: Why::NotAsked,
            detail: because.into(),
            grant: None,
            credentials: None,
        }
    }

    /// A reason without a permission that would lift it.
    pub fn new(why: Why, detail: impl Into<String>) -> Self {
        Self {
            why,
            detail: detail.into(),
            grant: None,
            credentials: None,
        }
    }

    /// A denial, with the permission that would lift it.
    pub fn denied(by: DeniedBy, detail: impl Into<String>, grant: Grant) -> Self {
        Self {
            why: Why::Denied { by },
            detail: detail.into(),
            grant: Some(Box::new(grant)),
            credentials: None,
        }
    }

    /// Without AWS credentials, or with such as AWS refuses, from there.
    #[must_use]
    pub fn of_credentials(mut self, source: CredentialSource) -> Self {
        self.credentials = Some(Box::new(source));
        self
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.why, &self.grant) {
            (Why::Denied { by }, Some(grant)) => {
                write!(f, "{} denied{}", grant.action(), by.clause())?;
                if self.detail.is_empty() {
                    Ok(())
                } else {
                    write!(f, ": {}", self.detail)
                }
            }
            (why, _) => write!(f, "{}: {}", why.words(), self.detail),
        }
    }
}

/// The kinds of reason for not knowing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// The caller may not.
    Denied {
        /// Who says no.
        by: DeniedBy,
    },
    /// The caller is not accepted at all: no credentials, or expired.
    Unauthenticated,
    /// The cluster does not accept the token (HTTP 401).
    TokenRefused,
    /// No answer came: DNS, connection, TLS.
    Unreachable,
    /// No answer came in time.
    TimedOut,
    /// The service asked to slow down until the retries were used up.
    Throttled,
    /// The service failed (HTTP 5xx).
    ServiceFailed,
    /// An answer came that is not the protocol's: a proxy's HTML page, half a document.
    Unusable,
    /// An answer of the protocol's came without what every such answer has, or larger than any.
    Malformed,
    /// The answer is not all of it: a list without an end, or one that contradicts what the service said elsewhere.
    Incomplete,
    /// Nobody asked, for the reason given.
    NotAsked,
}

impl Why {
    /// The reason as the beginning of a sentence.
    pub fn words(self) -> &'static str {
        match self {
            Self::Denied { .. } => "denied",
            Self::Unauthenticated | Self::TokenRefused => "not authenticated",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed out",
            Self::Throttled => "throttled",
            Self::ServiceFailed => "the service failed",
            Self::Unusable => "the answer could not be used",
            Self::Malformed => "malformed",
            Self::Incomplete => "incomplete",
            Self::NotAsked => "not asked",
        }
    }
}

/// Who denies (IAM user guide, "Troubleshoot access denied error messages").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum DeniedBy {
    /// No policy allows it.
    MissingAllow,
    /// An identity-based policy denies it explicitly.
    ExplicitDeny,
    /// A service control policy of the organization.
    ServiceControlPolicy,
    /// A resource control policy of the organization.
    ResourceControlPolicy,
    /// A permissions boundary.
    PermissionsBoundary,
    /// A session policy.
    SessionPolicy,
    /// A VPC endpoint policy.
    VpcEndpointPolicy,
    /// Kubernetes RBAC.
    Rbac,
    /// The message doesn't say.
    Unstated,
}

impl DeniedBy {
    /// Reads the tail of an AWS access-denied message. The tail may be absent, and since 2026 an explicit deny may be
    /// followed by the policy's ARN, so prefixes are matched.
    pub fn from_aws_message(message: &str) -> Self {
        let explicit = message.contains("with an explicit deny");
        for (part, by) in [
            ("service control policy", Self::ServiceControlPolicy),
            ("resource control policy", Self::ResourceControlPolicy),
            ("permissions boundary", Self::PermissionsBoundary),
            ("session policy", Self::SessionPolicy),
            ("VPC endpoint policy", Self::VpcEndpointPolicy),
        ] {
            if message.contains(part) {
                return by;
            }
        }
        if explicit {
            Self::ExplicitDeny
        } else if message.contains("no identity-based policy allows")
            || message.contains("no resource-based policy allows")
        {
            Self::MissingAllow
        } else {
            Self::Unstated
        }
    }

    /// ` by a service control policy`, or nothing.
    pub fn clause(self) -> &'static str {
        match self {
            Self::MissingAllow => " (no policy of the caller allows it)",
            Self::ExplicitDeny => " by an explicit deny",
            Self::ServiceControlPolicy => " by a service control policy of the organization",
            Self::ResourceControlPolicy => " by a resource control policy of the organization",
            Self::PermissionsBoundary => " by a permissions boundary",
            Self::SessionPolicy => " by a session policy",
            Self::VpcEndpointPolicy => " by a VPC endpoint policy",
            Self::Rbac => " by the cluster's RBAC",
            Self::Unstated => "",
        }
    }
}

/// The smallest permission that lifts an unknown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Grant {
    /// An IAM action on a resource.
    Iam {
        /// `iam:GetRole`
        action: String,
        /// An ARN pattern, or `*` where the action has no resource.
        resource: String,
    },
    /// A Kubernetes RBAC rule.
    Rbac {
        /// `get`, `list`, `create`
        verb: String,
        /// API group; empty for the core group.
        group: String,
        /// `configmaps`
        resource: String,
        /// Namespace of the rule; none for the whole cluster.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
        /// Name of the one object; none for all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
}

impl Grant {
    /// The denied action: `iam:GetRole`, or `get configmaps/aws-auth in kube-system`.
    pub fn action(&self) -> String {
        match self {
            Self::Iam { action, .. } => action.clone(),
            Self::Rbac {
                verb,
                group,
                resource,
                namespace,
                name,
            } => {
                let mut text = format!("{verb} {resource}");
                if !group.is_empty() {
                    text.push('.');
                    text.push_str(group);
                }
                if let Some(name) = name {
                    text.push('/');
                    text.push_str(name);
                }
                if let Some(namespace) = namespace {
                    text.push_str(" in ");
                    text.push_str(namespace);
                }
                text
            }
        }
    }

    /// The grant as something that can be asked for: an IAM statement or an RBAC rule, on one line.
    pub fn statement(&self) -> String {
        match self {
            Self::Iam { action, resource } => {
                serde_json::json!({"Effect": "Allow", "Action": action, "Resource": resource}).to_string()
            }
            Self::Rbac {
                verb,
                group,
                resource,
                name,
                ..
            } => {
                let mut rule = serde_json::json!({
                    "apiGroups": [group], "resources": [resource], "verbs": [verb]
                });
                if let (Some(name), Some(map)) = (name, rule.as_object_mut()) {
                    map.insert("resourceNames".to_owned(), serde_json::json!([name]));
                }
                rule.to_string()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_denies_is_read_from_the_tail_of_the_message() {
        let head = "User: arn:aws:iam::111122223333:user/a is not authorized to perform: iam:CreateServiceLinkedRole \
                    on resource: arn:aws:iam::111122223333:role/x";
        for (tail, by) in [
            ("", DeniedBy::Unstated),
            (
                " because no identity-based policy allows the iam:GetRole action",
                DeniedBy::MissingAllow,
            ),
            (
                " with an explicit deny in an identity-based policy",
                DeniedBy::ExplicitDeny,
            ),
            (
                " with an explicit deny in a service control policy",
                DeniedBy::ServiceControlPolicy,
            ),
            (
                " with an explicit deny in a service control policy: arn:aws:organizations::1:policy/o-1/service_control_policy/p-1",
                DeniedBy::ServiceControlPolicy,
            ),
            (
                " because no permissions boundary allows the iam:GetRole action",
                DeniedBy::PermissionsBoundary,
            ),
            (
                " with an explicit deny in a permissions boundary",
                DeniedBy::PermissionsBoundary,
            ),
            (
                " because no session policy allows the iam:GetRole action",
                DeniedBy::SessionPolicy,
            ),
        ] {
            assert_eq!(DeniedBy::from_aws_message(&format!("{head}{tail}")), by, "{tail}");
        }
    }

    #[test]
    fn a_denial_names_the_action_and_its_grant() {
        let unknown = Unknown::denied(
            DeniedBy::Rbac,
            "",
            Grant::Rbac {
                verb: "get".into(),
                group: String::new(),
                resource: "configmaps".into(),
                namespace: Some("kube-system".into()),
                name: Some("aws-auth".into()),
            },
        );
        assert_eq!(
            unknown.to_string(),
            "get configmaps/aws-auth in kube-system denied by the cluster's RBAC"
        );
        assert_eq!(
            unknown.grant.map(|g| g.statement()).unwrap_or_default(),
            r#"{"apiGroups":[""],"resources":["configmaps"],"verbs":["get"],"resourceNames":["aws-auth"]}"#
        );
    }
}
