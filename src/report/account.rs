//! The account's side alone: the same checks and findings as a preflight's, without a cluster.

use serde::{Deserialize, Serialize};

use super::page::AboutCluster;
use super::{Envelope, Finding, Page, Selection, Summary, Verdict, closing_of, judge};
use crate::checks::Status;
use crate::facts::Facts;

/// The checks that need no cluster.
const CHECKS: [&str; 4] = [
    "spot-role-exists",
    "spot-role-intact",
    "spot-role-creatable",
    "spot-quota",
];

/// What `account -o json` prints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AccountReport {
    /// What every document begins with.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// The account.
    pub target: AccountTarget,
    /// Who asked.
    pub caller: AccountCaller,
    /// The answer.
    pub verdict: Verdict,
    /// How many findings of each status.
    pub summary: Summary,
    /// The findings.
    pub checks: Vec<Finding>,
}

/// The account a report is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AccountTarget {
    /// The account. Null: not known.
    pub account: Option<String>,
    /// AWS region, for the quotas.
    pub region: String,
    /// AWS partition.
    pub partition: String,
}

/// Who asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AccountCaller {
    /// The AWS identity. Null: not known.
    pub arn: Option<String>,
}

impl AccountReport {
    /// Judges the account's side.
    pub fn new(facts: &Facts, strict: bool) -> Self {
        let selection = Selection {
            only: CHECKS.map(str::to_owned).to_vec(),
            strict,
            ..Selection::default()
        };
        let report = judge(facts, &selection);
        let caller = facts.caller.known();
        Self {
            envelope: Envelope::new("AccountReport", "account-report", facts.gathered_at),
            target: AccountTarget {
                account: caller.map(|caller| caller.account.clone()),
                region: report.target.region,
                partition: report.target.partition,
            },
            caller: AccountCaller {
                arn: report.caller.arn,
            },
            verdict: report.verdict,
            summary: report.summary,
            checks: report.checks,
        }
    }

    /// As people and CI systems see it.
    pub fn page(&self, strict: bool) -> Page {
        let (status, word) = match self.verdict {
            Verdict::Ready => (Status::Pass, "READY"),
            Verdict::NotReady => (Status::Fail, "NOT READY"),
            Verdict::Undecided => (Status::Unknown, "UNDECIDED"),
        };
        let account = self.target.account.as_deref().unwrap_or("unknown");
        let subject = format!("account {account} ({})", self.target.region);
        let ready = format!("account {account} is ready for Spot");
        Page {
            findings: self.checks.clone(),
            strict,
            about_cluster: AboutCluster {
                account: self.target.account.clone(),
                region: Some(self.target.region.clone()),
                at: Some(self.envelope.generated_at),
                judged: true,
                ..AboutCluster::default()
            },
            ..Page::new("account", status, word, subject)
        }
        .place(&["accounts", account, &self.target.region])
        .about("The account's side alone: no cluster is asked.")
        .closing(closing_of(self.verdict, &self.checks, ready))
    }
}
