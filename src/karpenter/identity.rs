//! How Karpenter's controller gets AWS credentials.
//!
//! With **Pod Identity** an association of the cluster names namespace, service account and role. With **IRSA** an
//! annotation on the service account names the role. Where both are there, the association wins: EKS's webhook gives the
//! pod one kind of credentials, and asks for associations first (aws/amazon-eks-pod-identity-webhook
//! `pkg/handler/handler.go`). Keys or a profile in the pod's environment come before both in the AWS SDK's chain.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::objects::{ControllerSettings, ServiceAccount};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Association {
    pub namespace: String,
    pub service_account: String,
    /// Its id, as in `a-0123456789abcdef0`.
    pub id: Option<String>,
    /// The role, from DescribePodIdentityAssociation; ListPodIdentityAssociations leaves it out.
    pub role_arn: Option<String>,
    /// Whether EKS leaves its session tags out.
    pub session_tags_disabled: Option<bool>,
}

/// How the controller gets credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "way", rename_all = "kebab-case")]
pub(crate) enum Mechanism {
    PodIdentity {
        /// The role, where it was read.
        role_arn: Option<String>,
    },
    /// By a token of the cluster's issuer.
    Irsa {
        role_arn: String,
        /// It comes from `AWS_ROLE_ARN` on the Deployment and not from the annotation.
        by_environment: bool,
    },
    /// By what somebody put into its environment.
    Environment { variable: String },
    /// In none of these.
    Neither,
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PodIdentity { role_arn: Some(role) } => write!(f, "Pod Identity, role {role}"),
            Self::PodIdentity { role_arn: None } => f.write_str("Pod Identity"),
            Self::Irsa {
                role_arn,
                by_environment: false,
            } => write!(f, "IRSA, role {role_arn}"),
            Self::Irsa { role_arn, .. } => write!(f, "AWS_ROLE_ARN {role_arn}"),
            Self::Environment { variable } => write!(f, "{variable} in its environment"),
            Self::Neither => f.write_str("neither IRSA nor Pod Identity"),
        }
    }
}

impl Mechanism {
    /// Which of the ways is taken.
    pub(crate) fn of(
        settings: &ControllerSettings,
        association: Option<&Association>,
        account: Option<&ServiceAccount>,
    ) -> Self {
        let irsa = |role_arn: &String, by_environment| Self::Irsa {
            role_arn: role_arn.clone(),
            by_environment,
        };
        let annotated = account.and_then(|account| account.role_arn.as_ref());
        match (
            &settings.credentials_from,
            association,
            annotated,
            &settings.aws_role_arn,
        ) {
            (Some(variable), ..) => Self::Environment {
                variable: variable.clone(),
            },
            (_, Some(association), ..) => Self::PodIdentity {
                role_arn: association.role_arn.clone(),
            },
            (_, _, Some(role), _) => irsa(role, false),
            (_, _, _, Some(role)) => irsa(role, true),
            _ => Self::Neither,
        }
    }

    /// The role, where one is known.
    pub(crate) fn role_arn(&self) -> Option<&str> {
        match self {
            Self::PodIdentity { role_arn } => role_arn.as_deref(),
            Self::Irsa { role_arn, .. } => Some(role_arn),
            Self::Environment { .. } | Self::Neither => None,
        }
    }
}
