//! The flags of `fleet`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::text::ReportFile;

/// `fleet`
#[derive(Debug, Clone, Subcommand)]
pub enum Fleet {
    /// Put the results of shards together: one report, in every format
    Merge(Merge),
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
