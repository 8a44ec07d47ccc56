//! The flags of `gate`.

use std::path::PathBuf;

use clap::Args;

/// `gate`
#[derive(Debug, Clone, Default, Args)]
#[command(
    long_about = "Post-renderer for helm: passes the chart on when ready, nothing and exit code 1 when not.\n\n\
    Helm passes neither context nor namespace to a post-renderer: give them with --post-renderer-args --context=NAME. Helm creates a \
    chart's CRDs before it runs a post-renderer; `install` and `upgrade` of this program check before anything is written.",
    after_help = "Examples:\n  \
    Helm 3: helm install ... \\\n    --post-renderer kubectl-capt_spot --post-renderer-args gate\n  \
    Helm 4: helm install ... --post-renderer capt-spot-gate   (a plugin)\n\n\
    Exit codes: 0 ready, 1 anything else, which is what helm understands."
)]
pub struct Gate {
    /// Write the report to this file too
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Show a report that blocks on the terminal too, because Helm 4 hides standard error
    #[arg(long)]
    pub tty: bool,
    /// The role of Karpenter's nodes, by name or ARN, where nothing names it yet
    #[arg(long, value_name = "NAME|ARN", value_parser = crate::cli::role)]
    pub node_role: Option<String>,
    /// Judge only these checks or groups (repeatable, or comma-separated)
    #[arg(long, value_name = "CHECK|GROUP", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Leave these checks or groups out (repeatable, or comma-separated)
    #[arg(long, value_name = "CHECK|GROUP", value_delimiter = ',')]
    pub skip: Vec<String>,
    /// Count a warning as a failure
    #[arg(long)]
    pub strict: bool,
}
