//! The flags of `fleet`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::hook::IMAGE;
use crate::model::Shard;
use crate::text::ReportFile;

/// The name of every object that `fleet manifest` prints, where nothing else is said, and its namespace.
pub(crate) const NAME: &str = "capt-spot";

/// `fleet`
#[derive(Debug, Clone, Subcommand)]
pub enum Fleet {
    /// Print the Job, or CronJob, that judges an inventory in shards, or the cluster that it runs in
    Manifest(Manifest),
    /// Put the results of shards together: one report, in every format
    Merge(Merge),
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
    kubectl logs -l job-name=capt-spot --tail=-1 | kubectl capt-spot fleet merge -\n  \
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
