//! What a kube context resolves to.

use serde::{Deserialize, Serialize};

use super::CommandScope;

/// What the kube context resolves to. Plain values without secrets: it goes into the report and into saved facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// The kubeconfig's context; `in-cluster` inside a pod.
    pub context: String,
    /// EKS cluster name.
    pub cluster: String,
    /// AWS region, `eu-west-1`.
    pub region: String,
    /// AWS partition of the region, `aws`.
    pub partition: String,
    /// The account that the kubeconfig itself names (in an ARN), before anything was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The API server's URL as the kubeconfig has it, without user information.
    pub server: String,
    /// The AWS profile that the flags or the exec entry name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The role that the exec entry assumes for the cluster's token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// SHA-256 of the kubeconfig's certificate authority data (public), to tell a tunnel's far end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_authority_sha256: Option<String>,
    /// The kubeconfig says not to verify the server's certificate (`insecure-skip-tls-verify`).
    #[serde(default)]
    pub insecure: bool,
    /// How commands that are printed reach it.
    #[serde(default)]
    pub scope: CommandScope,
    /// Every source that named the cluster, region or account.
    #[serde(default)]
    pub clues: Vec<Clue>,
    /// Where sources disagree, a sentence each.
    #[serde(default)]
    pub disagreements: Vec<String>,
}

/// What a clue is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum About {
    /// The EKS cluster's name.
    Cluster,
    /// The AWS region.
    Region,
    /// The AWS account.
    Account,
}

impl About {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Region => "region",
            Self::Account => "account",
        }
    }
}

/// Where a clue stands; in the order in which they are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClueSource {
    /// `--cluster-name`, `--region`.
    Flag,
    /// The chart that is about to be installed, where nothing in the kubeconfig names the cluster (inside a pod).
    Chart,
    /// The exec entry of the context's user.
    Exec,
    /// An ARN as the cluster entry's name.
    ClusterArn,
    /// An ARN as the context's name.
    ContextArn,
    /// An ARN as the user entry's name.
    UserArn,
    /// eksctl's `NAME.REGION.eksctl.io`.
    Eksctl,
    /// The API server's host.
    Host,
    /// The CAPTControlPlane on the management cluster.
    ControlPlane,
    /// AWS_REGION, AWS_DEFAULT_REGION or the profile's region.
    Environment,
    /// EKS itself: the cluster whose endpoint is the kubeconfig's server.
    Endpoint,
}

impl ClueSource {
    /// The source as words in a sentence.
    pub fn words(self) -> &'static str {
        match self {
            Self::Flag => "the flags",
            Self::Chart => "the chart",
            Self::Exec => "the exec entry",
            Self::ClusterArn => "the cluster entry's name",
            Self::ContextArn => "the context's name",
            Self::UserArn => "the user entry's name",
            Self::Eksctl => "the eksctl name",
            Self::Host => "the server's host",
            Self::ControlPlane => "the CAPTControlPlane",
            Self::Environment => "the AWS environment",
            Self::Endpoint => "the endpoint as EKS lists it",
        }
    }
}

/// One thing that one source says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clue {
    /// What it is about.
    pub about: About,
    /// What it says.
    pub value: String,
    /// Who says it.
    pub source: ClueSource,
}
