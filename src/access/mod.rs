//! Who has access to a cluster: the principals that are asked about, the files that say who has it, and how to map one. Pure.

mod asked;
mod diff;
mod entries_file;
mod fix;
mod forms;
mod list;
mod migrate;
mod page;
#[cfg(test)]
mod proof;
mod state;

pub(crate) use asked::{Asked, account_of_files, caller_of, role_in};
pub(crate) use diff::{Compared, diff};
pub(crate) use entries_file::entries_from;
pub(crate) use fix::{Unmapped, whois_fix};
pub(crate) use list::{AccessList, list};
#[cfg(test)]
pub(crate) use migrate::{Plan, Verification};
pub(crate) use migrate::{Planned, plan, verify};
pub(crate) use state::State;

/// What `-o json` prints.
#[derive(Debug, Clone, serde::Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Document<T> {
    /// What every document begins with.
    #[serde(flatten)]
    pub(crate) envelope: crate::report::Envelope,
    #[serde(flatten)]
    pub(crate) answer: T,
}

/// Whose access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum UsedBy {
    /// Nodes
    Nodes,
    /// Cluster administrators
    Admins,
    /// Fargate pods
    Fargate,
}
