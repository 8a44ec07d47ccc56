//! How `create-role` ended.

use serde::{Deserialize, Serialize};

use super::{Envelope, Finding, Page, within_a_sentence};
use crate::checks::{Judgement, Status, find};
use crate::model::SPOT_ROLE;

/// What `create-role -o json` prints, however it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CreateRoleResult {
    /// `CreateRoleResult`.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// How it ended.
    pub outcome: CreateRoleOutcome,
    /// The role's ARN; null where it is not there.
    pub role: Option<String>,
    /// The account.
    pub account: Option<String>,
    /// The identity that asked.
    pub caller: Option<String>,
    /// EKS cluster name.
    pub cluster: String,
    /// AWS region.
    pub region: String,
    /// The same in words.
    pub message: String,
}

/// How `create-role` ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum CreateRoleOutcome {
    /// The role was created.
    Created,
    /// The role was there.
    Exists,
    /// `--dry-run`: the role is missing.
    WouldCreate,
    /// A person was asked, and did not agree.
    Declined,
    /// Nothing was created: something that makes it safe is missing or wrong, nobody could be asked, or IAM denied it.
    Refused,
    /// The call failed, or the role is not seen after it.
    Failed,
}

impl CreateRoleResult {
    /// As people and CI systems see it.
    pub fn page(&self, judgement: Judgement) -> Page {
        let (status, word, id) = match self.outcome {
            CreateRoleOutcome::Created => (Status::Pass, "CREATED", "spot-role-exists"),
            CreateRoleOutcome::Exists => (Status::Pass, "EXISTS", "spot-role-exists"),
            CreateRoleOutcome::WouldCreate => (Status::Warn, "DRY RUN", "spot-role-exists"),
            CreateRoleOutcome::Declined => (Status::Fail, "DECLINED", "spot-role-exists"),
            CreateRoleOutcome::Refused => (Status::Fail, "REFUSED", "spot-role-creatable"),
            CreateRoleOutcome::Failed => (Status::Fail, "FAILED", "spot-role-creatable"),
        };
        let account = self.account.as_deref().unwrap_or("unknown");
        let finding = Finding::new(
            id,
            "spot-role",
            find(id).map_or(id, |check| check.title),
            judgement,
        );
        let closing = match finding.status {
            Status::Pass => self.message.clone(),
            _ => within_a_sentence(&finding.headline),
        };
        let mut page = Page::new(
            "create-role",
            status,
            word,
            format!("{SPOT_ROLE} (account {account})"),
        )
        .place(&["accounts", account])
        .finding(finding)
        .closing(closing);
        for (name, value) in [("role", &self.role), ("caller", &self.caller)] {
            if let Some(value) = value {
                page = page.field(name, value);
            }
        }
        page.field("cluster", format!("{} ({})", self.cluster, self.region))
    }
}
