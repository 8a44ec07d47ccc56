//! Roles, instance profiles and simulations, as IAM shows them.

use super::DeniedBy;
use iam_policy::evaluate::OwnSide;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// An IAM role as `iam:GetRole` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// Name without path.
    pub name: String,
    /// `/` or `/aws-service-role/spot.amazonaws.com/`.
    pub path: String,
    /// Full ARN with path.
    pub arn: String,
    /// `AROA...`, new for every creation.
    pub id: String,
    /// When it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// The trust policy, JSON. IAM sends it URL-encoded; it is kept decoded, so that masking saved facts finds what is in it.
    #[serde(default)]
    pub trust: String,
    /// ARN of the permissions boundary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boundary: Option<String>,
}

/// An instance profile and its role (IAM allows one).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceProfile {
    /// Name of the profile.
    pub name: String,
    /// ARN of the profile.
    pub arn: String,
    /// The role in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

/// What the policy simulator says of one action on one resource, for this principal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Simulation {
    pub principal: String,
    #[serde(flatten)]
    pub decided: Decided,
}

/// The simulator's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decided {
    /// The overall decision.
    pub decision: SimulatedDecision,
    /// Whether the organization's policies allow it, when the simulator looked at them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_by_organizations: Option<bool>,
    /// Whether the permissions boundary allows it, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_by_boundary: Option<bool>,
    /// Condition keys that the policies look at and the simulation did not have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_context: Vec<String>,
}

/// What the simulator's answer comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum May {
    Yes,
    No(DeniedBy),
    /// It depends on these condition keys.
    Depends(String),
}

impl Decided {
    /// This decision, and nothing else.
    #[cfg(test)]
    pub fn plain(decision: SimulatedDecision) -> Self {
        Self {
            decision,
            allowed_by_organizations: None,
            allowed_by_boundary: None,
            missing_context: Vec::new(),
        }
    }

    pub(crate) fn may(&self) -> May {
        match self.decision {
            _ if self.allowed_by_organizations == Some(false) => May::No(DeniedBy::ServiceControlPolicy),
            // An explicit deny is one wherever it stands; a boundary only fails to allow.
            SimulatedDecision::ExplicitDeny => May::No(DeniedBy::ExplicitDeny),
            _ if self.allowed_by_boundary == Some(false) => May::No(DeniedBy::PermissionsBoundary),
            SimulatedDecision::Allowed => May::Yes,
            SimulatedDecision::ImplicitDeny if self.missing_context.is_empty() => {
                May::No(DeniedBy::MissingAllow)
            }
            SimulatedDecision::ImplicitDeny => May::Depends(self.missing_context.join(", ")),
        }
    }

    /// What it says for judging a role's trust policy beside it.
    pub(crate) fn own_side(&self) -> OwnSide {
        match self.decision {
            _ if self.allowed_by_organizations == Some(false) => OwnSide::Stops,
            _ if !self.missing_context.is_empty() => OwnSide::Unknown,
            SimulatedDecision::Allowed => OwnSide::Allows,
            SimulatedDecision::ExplicitDeny => OwnSide::Stops,
            SimulatedDecision::ImplicitDeny => OwnSide::Silent {
                boundary_limits: self.allowed_by_boundary == Some(false),
            },
        }
    }
}

/// `EvalDecision` of the simulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SimulatedDecision {
    /// Some policy allows it and none denies it.
    Allowed,
    /// A policy denies it.
    ExplicitDeny,
    /// No policy allows it.
    ImplicitDeny,
}

/// An OpenID Connect provider of the account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OidcProvider {
    /// Its ARN.
    pub arn: String,
    /// The audiences that it takes tokens for.
    pub audiences: Vec<String>,
}
