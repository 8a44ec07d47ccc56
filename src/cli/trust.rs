//! The flags of `trust`.

use std::path::PathBuf;

use clap::Args;
use iam_policy::arn::PrincipalArn;

use crate::cli::Reporting;
use crate::facts::cluster_admins::GET_TOKEN_SESSION;

/// `trust`
#[derive(Debug, Clone, Default, Args)]
#[command(
    group = clap::ArgGroup::new("about").args(["role", "filename"]).required(true).multiple(true),
    long_about = "May a principal assume a role (sts:AssumeRole)?\n\n\
        Reads the role's trust policy and judges it statement by statement: principals in every form, NotPrincipal, Deny, \
        wildcards, conditions. Asks IAM what the principal's own policies say (iam:SimulatePrincipalPolicy) where that counts. \
        Says which statement decided, what could not be seen, and prints the smallest trust policy that would do.\n\n\
        The answer is pass, fail or unknown; unknown never counts as good. The request is the one that kubectl and CDK make: \
        session name EKSGetTokenAuth, no external id.",
    after_help = "Examples:\n  \
        kubectl capt-spot trust kubectl-role\n  \
        kubectl capt-spot trust kubectl-role --principal \\\n      arn:aws:iam::111122223333:role/cdk-handler\n  \
        kubectl capt-spot trust kubectl-role --cdk\n  \
        kubectl capt-spot trust kubectl-role --try\n  \
        kubectl capt-spot trust -f trust-policy.json --principal \\\n      arn:aws:iam::111122223333:role/cdk-handler\n\n\
        Exit codes: 0 it may, 1 it may not, 2 wrong usage, 3 undecided, 130 interrupted."
)]
pub struct Trust {
    /// The role: a name, a name with its path, or an ARN
    #[arg(value_name = "ROLE")]
    pub role: Option<String>,
    /// Judge this trust policy instead of a role's in IAM, offline; - is standard input. Needs --principal
    #[arg(short, long, value_name = "FILE", requires = "principal", conflicts_with_all = ["cdk", "try_it"])]
    pub filename: Option<PathBuf>,
    /// The ARN of the user, role or session that is to assume it (default: the caller)
    #[arg(long, value_name = "ARN", value_parser = principal)]
    pub principal: Option<PrincipalArn>,
    /// Also answer whether CDK's kubectlRoleArn can be this role: mapped, trusted, in the right account; with the lines for
    /// the stack. Without --principal, for the handler's role that CDK is yet to create
    #[arg(long)]
    pub cdk: bool,
    /// Really assume the role as the caller (for 15 minutes), and ask the cluster who it is then
    #[arg(long = "try", conflicts_with_all = ["principal", "cdk"])]
    pub try_it: bool,
    /// The external id that the request carries
    #[arg(long, value_name = "ID")]
    pub external_id: Option<String>,
    /// The session name that the request carries
    #[arg(long, value_name = "NAME", default_value = GET_TOKEN_SESSION)]
    pub session_name: String,
    /// How it is reported
    #[command(flatten)]
    pub reporting: Reporting,
}

fn principal(text: &str) -> Result<PrincipalArn, String> {
    text.parse::<PrincipalArn>().map_err(|error| error.to_string())
}
