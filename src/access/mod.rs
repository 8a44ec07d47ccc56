//! Who has access to a cluster: the principals that are asked about, the files that say who has it, and how to map one. Pure.

mod asked;
mod diff;
mod entries_file;
mod fix;
mod list;
mod migrate;
mod state;

pub(crate) use asked::{Asked, account_of_files, caller_of, role_in};
pub(crate) use diff::diff;
pub(crate) use entries_file::entries_from;
pub(crate) use fix::{Unmapped, whois_fix};
pub(crate) use list::{AccessList, list};
pub(crate) use migrate::{plan, verify};
pub(crate) use state::State;

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
