//! The flags of `hook`.

use clap::Args;

/// The image of this version: a release is built with its image's digest.
pub(crate) const IMAGE: &str = match option_env!("CAPT_SPOT_IMAGE") {
    Some(image) => image,
    None => concat!("ghcr.io/appthrust/kubectl-capt-spot:v", env!("CARGO_PKG_VERSION")),
};
/// The name of every object, and the default name of the service account.
pub(crate) const NAME: &str = "capt-spot-preflight";

/// `hook`
#[derive(Debug, Clone, Args)]
#[command(
    long_about = "Print the Job that runs the preflight in the cluster, for GitOps (Helm hook, Argo CD PreSync).\n\n\
    The Job's cluster is --cluster-name, or else the one that the context names. The objects go into kube-system, or \
    the namespace given by -n. Values may be Helm expressions when the output becomes a template of a chart.\n\n\
    Helm creates a chart's CRDs and the release's record before it runs the hook; helm install --no-hooks skips it.",
    after_help = "Examples:\n  \
    kubectl capt-spot hook --role-arn arn:aws:iam::111122223333:role/preflight\n  \
    kubectl capt-spot hook --cluster-name '{{ .Values.settings.clusterName }}'\n\n\
    Exit codes: 0 done, 2 wrong usage, or no cluster named."
)]
pub struct Hook {
    /// The image to run
    #[arg(long, value_name = "IMAGE", default_value = IMAGE)]
    pub image: String,
    /// The service account to run as
    #[arg(long, value_name = "NAME", default_value = NAME)]
    pub service_account: String,
    /// The IAM role of the service account (IRSA); leave it out with EKS Pod Identity
    #[arg(long, value_name = "ARN")]
    pub role_arn: Option<String>,
    /// How long the preflight may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub deadline: u32,
    /// More flags for the preflight in the cluster
    #[arg(last = true, value_name = "PREFLIGHT FLAGS")]
    pub flags: Vec<String>,
}
