//! `fleet`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `fleet`
#[derive(Debug, Subcommand)]
pub enum FleetCommand {
    /// Which clusters there are: an inventory for preflight --clusters
    List(FleetList),
}

/// `fleet list`
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Examples:\n  \
    kubectl capt-spot fleet list -o json > inventory.json    kubeconfig's contexts\n  \
    kubectl capt-spot fleet list --organization --role-name reader -o json\n  \
    kubectl capt-spot fleet list --accounts ids.txt --role-name reader -o json\n  \
    kubectl capt-spot fleet list --cluster-api --context management\n\n\
    The inventory is what -o json and yaml print. Accounts and regions that could not be listed are part of it, with the reason.\n\
    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 something could not be listed.")]
pub struct FleetList {
    /// Only the contexts of the kubeconfig whose names match
    #[arg(long, value_name = "GLOB", conflicts_with_all = ["organization", "accounts", "cluster_api"])]
    pub contexts: Option<String>,
    /// The clusters of every account of the AWS organization
    #[arg(long, conflicts_with_all = ["accounts", "cluster_api"])]
    pub organization: bool,
    /// The clusters of these accounts: a line an account, its id first, or what aws organizations list-accounts prints; - is stdin
    #[arg(long, value_name = "FILE", conflicts_with = "cluster_api")]
    pub accounts: Option<PathBuf>,
    /// The EKS clusters among the Clusters of a Cluster API management cluster, the context's; -n limits it to a namespace
    #[arg(long)]
    pub cluster_api: bool,
    /// The role to take on in every account but your own
    #[arg(long, value_name = "NAME", value_parser = role_name)]
    pub role_name: Option<String>,
    /// The external id that the role asks for
    #[arg(long, value_name = "ID", requires = "role_name")]
    pub external_id: Option<String>,
    /// A session tag that the role asks for (repeatable)
    #[arg(long, value_name = "KEY=VALUE", requires = "role_name", value_parser = tag)]
    pub session_tag: Vec<(String, String)>,
    /// Only these regions, comma-separated (default: those that the account has switched on)
    #[arg(long, value_name = "REGIONS", value_delimiter = ',', value_parser = region)]
    pub regions: Vec<String>,
    /// How many accounts or contexts to ask at a time
    #[arg(long, value_name = "N", default_value_t = super::PARALLEL, value_parser = super::parallel)]
    pub parallel: usize,
}

fn role_name(text: &str) -> Result<String, String> {
    // A path may stand before it.
    let of_a_name = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-/".contains(c);
    let good =
        !text.is_empty() && text.chars().all(of_a_name) && !text.starts_with('/') && !text.ends_with('/');
    match good {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "\"{}\" is not the name of a role, with its path if it has one",
            text.escape_debug()
        )),
    }
}

fn region(text: &str) -> Result<String, String> {
    match crate::cluster::clues::looks_like_region(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("\"{}\" is not an AWS region", text.escape_debug())),
    }
}

fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("\"{}\" is not KEY=VALUE", text.escape_debug())),
    }
}
