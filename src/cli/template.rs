//! The flags of `template check` and `template patch`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::capt::role::Mode;
use crate::cli::Reporting;

/// `kubectl capt-spot template ...`
#[derive(Debug, Clone, Subcommand)]
pub enum TemplateCommand {
    /// Does every NodePool of a WorkspaceTemplate wait for the Spot role?
    #[command(
        long_about = "Does every NodePool of a WorkspaceTemplate wait for the Spot role?\n\n\
Reads CAPT WorkspaceTemplates and Crossplane Workspaces with inline Terraform, .tf files, and what brings NodePools to a cluster \
from outside a module: NodePool manifests, HelmChartProxy, HelmRelease, Application and ConfigMap objects. Finds every NodePool \
that they make (kubectl_manifest, kubernetes_manifest, helm_release values; here-documents, yamlencode, for_each, file() and \
templatefile() in the module's folder, charts in that folder), judges by its requirements whether it can launch Spot, and whether \
it depends, directly or through others, on something that creates or requires the account's role AWSServiceRoleForEC2Spot. \
Nothing is run, and AWS is not asked.\n\n\
A value that only Terraform or Helm knows (a variable, a data source) counts as \"may launch Spot\", and the report says so. It also \
says what it could not see: the inside of called modules, files and charts from elsewhere. A module that sets up Karpenter for \
NodePools that were not read is undecided.",
        after_help = "Examples:\n  \
kubectl capt-spot template check workspace-template.yaml\n  \
kubectl capt-spot template check ./module -o sarif\n  \
kubectl capt-spot template check --from-cluster --context management\n\n\
Exit codes: 0 nothing found (notes do not count), 1 errors or warnings, 2 wrong usage or a file that is not \
YAML or Terraform, 3 undecided: nothing was found, but something that matters could not be read."
    )]
    Check(CheckArgs),
    /// Make the NodePools of a WorkspaceTemplate wait for the Spot role
    #[command(
        long_about = "Make the NodePools of a WorkspaceTemplate wait for the Spot role.\n\n\
Prints the patched file, or writes it with --in-place. Everything else in the file keeps its bytes: comments, order, \
here-documents, indentation. Patching a patched file changes nothing. What cannot be patched safely is refused with the line \
and the steps to take by hand, and then nothing is written.",
        after_long_help = PATCH_HELP
    )]
    Patch(PatchArgs),
}

const PATCH_HELP: &str = "\
Modes and their consequences. Without --mode each module keeps what it is for: one that only creates
the role gets create, every other one require.

  require
    The module reads the role (data \"aws_iam_role\") and never owns it; the NodePools depend on
    that. Where the role is missing, a plan fails before anything is created, with the command that
    creates the role. Right for every cluster's template. Somebody has to create the role once
    per account: kubectl capt-spot create-role. Terraform needs iam:GetRole and iam:ListRoles.
    An aws_iam_service_linked_role in the module is taken out. In a workspace that has it in its
    state, run `terraform state rm` for it BEFORE the next apply, or that apply deletes the
    account's role. With --removed-block the file says so to Terraform itself (1.7 and later;
    Crossplane's provider-terraform has 1.5 and would stop on it).

  create
    The module creates the role where the variable create_spot_service_linked_role is true
    (default: false), and requires it everywhere else. For the ONE workspace of an account that
    is to own the role. Where the account has the role already, creating it fails (InvalidInput):
    leave the variable false there. The role has prevent_destroy: that workspace cannot be
    destroyed, nor the variable set back, before `terraform state rm` took the role out. A
    WorkspaceTemplate that is there for the role alone passes the variable as \"true\" and so goes
    on creating it. Where a file has several modules, only the one that owns the role creates it.

  account-template
    As require, and a WorkspaceTemplate of its own with its WorkspaceTemplateApply, named
    ec2-spot-service-linked-role, that owns the role: apply it once per account, not once per
    cluster. Clusters then come and go without touching the role; until it is there, their plans
    fail and are tried again. Where the account has the role already, set its variable to false.

Examples:
  kubectl capt-spot template patch workspace-template.yaml --in-place
  kubectl capt-spot template patch main.tf --mode create > patched.tf

Exit codes: 0 patched, or nothing to fix; 1 refused, or not agreed to; 2 wrong usage or a file
that is not YAML or Terraform; 3 undecided: the file holds no module that can be judged.";

/// Flags of `template check`.
#[derive(Debug, Clone, Default, Args)]
pub struct CheckArgs {
    /// YAML or .tf files; a folder stands for its .tf and YAML files, - for standard input
    ///
    /// .tf files of one folder are one module, as in Terraform. NodePools outside a module are judged by the module of their
    /// folder that makes the cluster, else by all such modules.
    #[arg(
        value_name = "FILE",
        required_unless_present = "from_cluster",
        conflicts_with = "from_cluster"
    )]
    pub files: Vec<PathBuf>,
    /// Read the WorkspaceTemplates and CAPTControlPlanes of the management cluster that the context names
    ///
    /// In all namespaces, or in the one that -n names. Needs list on workspacetemplates.infrastructure.cluster.x-k8s.io and
    /// captcontrolplanes.controlplane.cluster.x-k8s.io. Changes nothing.
    #[arg(long)]
    pub from_cluster: bool,
    /// How it is reported
    #[command(flatten)]
    pub reporting: Reporting,
}

/// Flags of `template patch`.
#[derive(Debug, Clone, Args)]
pub struct PatchArgs {
    /// The YAML or .tf file; - for standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Who takes care of the role (default: what the module is for); --help has the consequences of each
    #[arg(long, value_enum)]
    pub mode: Option<Mode>,
    /// Show the difference, ask, and write the file
    #[arg(long)]
    pub in_place: bool,
    /// With --in-place: write without asking
    #[arg(long, requires = "in_place")]
    pub yes: bool,
    /// Leave a `removed` block where the module owned the role, so that Terraform forgets it without deleting it
    ///
    /// Needs Terraform or OpenTofu 1.7; Crossplane's provider-terraform runs 1.5 and refuses the block.
    #[arg(long)]
    pub removed_block: bool,
    /// With --mode account-template: where to put the account's WorkspaceTemplate and WorkspaceTemplateApply
    ///
    /// Without it they are added to the end of FILE, which must then be YAML. An existing file is not overwritten.
    #[arg(long, value_name = "PATH")]
    pub account_file: Option<PathBuf>,
}
