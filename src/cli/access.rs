//! `access`.

use std::path::PathBuf;

use super::Reporting;
use crate::access::UsedBy;
use clap::{Args, Subcommand, ValueEnum};
use eks_aws_auth::AuthenticationMode;

/// `access`
#[derive(Debug, Subcommand)]
pub enum AccessCommand {
    /// Every principal that the cluster knows, from aws-auth and access entries
    List(List),
    /// Who gains, loses or changes access between two states
    Diff(Diff),
    /// A plan from aws-auth to access entries, with proof; writes nothing
    Migrate(Migrate),
}

/// A state from files; what is not given is read from the cluster.
#[derive(Debug, Clone, Default, Args)]
pub struct Files {
    /// This aws-auth manifest, or its bare data; - is standard input
    #[arg(short, long, value_name = "FILE")]
    pub filename: Option<PathBuf>,
    /// These access entries: a JSON array of DescribeAccessEntry's accessEntry objects; - is standard input
    #[arg(long, value_name = "FILE")]
    pub access_entries: Option<PathBuf>,
    /// This authentication mode: CONFIG_MAP, API_AND_CONFIG_MAP or API
    #[arg(long, value_name = "MODE")]
    pub authentication_mode: Option<AuthenticationMode>,
    /// Facts that preflight --save wrote
    #[arg(long, value_name = "FILE")]
    pub facts: Option<PathBuf>,
}

/// `access list`
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Examples:\n  \
    kubectl capt-spot access list\n  \
    kubectl capt-spot access list --used-by admins\n  \
    kubectl capt-spot access list -o csv > access.csv\n\n\
    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 something could not be read.")]
pub struct List {
    /// Instead of the cluster
    #[command(flatten)]
    pub files: Files,
    /// Only these
    #[arg(long, value_enum, value_name = "WHO")]
    pub used_by: Option<UsedBy>,
    /// How it is told
    #[command(flatten)]
    pub reporting: Reporting,
    /// The same as -o csv
    #[arg(long, hide = true)]
    pub csv: bool,
}

/// `access diff`
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Examples:\n  \
    kubectl capt-spot access diff -f new-aws-auth.yaml\n  \
    kubectl capt-spot access diff --from-file old.yaml -f new.yaml   offline\n  \
    kubectl capt-spot access diff --from-facts before.json --facts after.json\n  \
    kubectl capt-spot access diff --authentication-mode API\n\n\
    Exit codes: 0 same or only gains, 1 somebody loses or changes access, 3 unknown.")]
pub struct Diff {
    /// The state after
    #[command(flatten)]
    pub after: Files,
    /// How it is told
    #[command(flatten)]
    pub reporting: Reporting,
    /// The aws-auth before, instead of the cluster's
    #[arg(long, value_name = "FILE")]
    pub from_file: Option<PathBuf>,
    /// The access entries before, instead of the cluster's
    #[arg(long, value_name = "FILE")]
    pub from_access_entries: Option<PathBuf>,
    /// The authentication mode before, instead of the cluster's
    #[arg(long, value_name = "MODE")]
    pub from_authentication_mode: Option<AuthenticationMode>,
    /// Facts that preflight --save wrote, instead of the cluster
    #[arg(long, value_name = "FILE")]
    pub from_facts: Option<PathBuf>,
}

/// In which form the plan is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum PlanForm {
    /// aws eks commands, step by step
    #[default]
    Commands,
    /// An eksctl ClusterConfig
    Eksctl,
    /// Terraform, with import blocks
    Terraform,
    /// CloudFormation resources
    Cloudformation,
}

/// `access migrate`
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Examples:\n  \
    kubectl capt-spot access migrate\n  \
    kubectl capt-spot access migrate -o json > plan.json\n  \
    kubectl capt-spot access migrate --verify plan.json\n  \
    kubectl capt-spot access migrate --form terraform\n\n\
    Exit codes: 0 done, 1 not everything can be moved, 2 wrong usage, 3 something could not be read.")]
pub struct Migrate {
    /// Instead of the cluster
    #[command(flatten)]
    pub files: Files,
    /// How it is told
    #[command(flatten)]
    pub reporting: Reporting,
    /// The form of the access entries
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    pub form: PlanForm,
    /// Compare the cluster with this plan (of -o json), after its steps
    #[arg(long, value_name = "FILE", conflicts_with = "form")]
    pub verify: Option<PathBuf>,
}
