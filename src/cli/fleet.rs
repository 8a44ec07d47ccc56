//! `fleet`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::hook::IMAGE;
use crate::model::Shard;
use crate::text::ReportFile;

/// The name of every object that `fleet manifest` prints, where nothing else is said, and its namespace.
pub(crate) const NAME: &str = "capt-spot";

/// `fleet`
#[derive(Debug, Subcommand)]
pub enum FleetCommand {
    /// Which clusters there are: an inventory for preflight --clusters
    List(FleetList),
    /// Print the Job, or CronJob, that judges an inventory in shards, or the cluster that it runs in
    Manifest(Manifest),
    /// Put the results of shards together: one report, in every format
    Merge(Merge),
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

/// `fleet manifest`
#[derive(Debug, Clone, Args)]
#[command(
    long_about = "Print the Job, or with --schedule the CronJob, that judges the clusters of an inventory in shards, or without one the \
    cluster that it runs in.\n\n\
    Every index of the Job judges a shard: the clusters of its accounts. An index is tried again when its Pod is killed, and not \
    when a cluster is not ready; a failing index leaves the others alone. The results are NDJSON in the logs of the Pods (fleet merge \
    puts them together), and with --publish OpenReports objects beside the Job.\n\n\
    The objects are what kubectl apply, Kustomize and Argo CD take: namespaced, with stable names. The namespace, capt-spot or the one \
    given by -n, is yours to create. charts/capt-spot is the same as a Helm chart.",
    after_help = "Examples:\n  \
    kubectl capt-spot fleet manifest --clusters inventory.json --shards 8\n  \
    kubectl capt-spot fleet manifest --schedule '*/15 * * * *' --publish\n\n\
    Exit codes: 0 done, 1 an inventory that cannot be read, 2 wrong usage."
)]
pub struct Manifest {
    /// The inventory to judge, in a ConfigMap; without it, the cluster that the Job runs in (--cluster-name and --region, or the
    /// context's)
    #[arg(long, value_name = "FILE")]
    pub clusters: Option<PathBuf>,
    /// How many shards (default: one for every 50 clusters, no more than there are accounts)
    #[arg(long, value_name = "N", requires = "clusters", value_parser = shards)]
    pub shards: Option<usize>,
    /// How many shards at a time
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = shards)]
    pub parallelism: usize,
    /// When to run, as cron writes it, in UTC: a CronJob instead of a Job
    #[arg(long, value_name = "CRON")]
    pub schedule: Option<String>,
    /// Let it apply the results as OpenReports objects, in its namespace
    #[arg(long)]
    pub publish: bool,
    /// The name of the objects
    #[arg(long, value_name = "NAME", default_value = NAME)]
    pub name: String,
    /// The image to run; by its digest, nobody can move it
    #[arg(long, value_name = "IMAGE", default_value = IMAGE)]
    pub image: String,
    /// The service account to run as (default: --name)
    #[arg(long, value_name = "NAME")]
    pub service_account: Option<String>,
    /// The IAM role of the service account (IRSA); leave it out with EKS Pod Identity
    #[arg(long, value_name = "ARN")]
    pub role_arn: Option<String>,
    /// How long a run may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub deadline: u32,
    /// How often a shard is tried again whose Pod was killed
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=20))]
    pub retries: u32,
    /// More flags for the preflight in the cluster
    #[arg(last = true, value_name = "PREFLIGHT FLAGS")]
    pub flags: Vec<String>,
}

fn shards(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if (1..=Shard::MOST).contains(&n) => Ok(n),
        _ => Err(format!("from 1 to {}", Shard::MOST)),
    }
}

/// `fleet merge`
#[derive(Debug, Clone, Default, Args)]
#[command(
    long_about = "Put the results of shards together: one report, in every format.\n\n\
    Reads what preflight printed with -o json or -o ndjson: files, or the logs of Pods, in which other lines are passed over. A cluster \
    that is there more than once, because its Pod was started again, counts by its newest result. A shard that is missing, or did not \
    come to its end, and with --clusters every cluster without a result, is an entry that says so, and makes the exit code 3 unless \
    something is worse.",
    after_help = "Examples:\n  \
    kubectl capt-spot fleet merge shard-*.ndjson\n  \
    kubectl logs -l job-name=capt-spot --tail=-1 > logs\n  \
    kubectl capt-spot fleet merge logs\n  \
    kubectl capt-spot fleet merge *.ndjson --clusters inventory.json -o html\n\n\
    Exit codes: 0 all are ready, 1 one is not, 2 wrong usage, 3 undecided: one is, or a result is missing."
)]
pub struct Merge {
    /// The files; - is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The inventory that the shards are of: its clusters in its order, and those without a result
    #[arg(long, value_name = "FILE")]
    pub clusters: Option<PathBuf>,
    /// List what passed and what does not apply, too
    #[arg(long)]
    pub show_all: bool,
    /// Write the report to a file, too, in another format: html=report.html (repeatable)
    #[arg(long, value_name = "FORMAT=FILE")]
    pub report: Vec<ReportFile>,
}
