//! Kube context -> target: which EKS cluster, in which region and account, reached with which AWS profile and role.
//!
//! [`kubeconfig`] reads the files, [`exec`] understands the two known exec plugins, [`clues`] (pure) collects what the
//! flags, the exec entry, the names and the server's host say, and [`resolve`] puts them together, asking EKS only
//! where the kubeconfig alone does not tell.

pub mod clues;
pub mod exec;
pub mod kubeconfig;
pub mod resolve;

pub use crate::model::Target;
pub(crate) use resolve::environment_region;
pub use resolve::{Resolved, plain, resolve};

/// Why no target could be found. Each says what was tried and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// No kubeconfig file exists and the program is not in a pod.
    #[error(
        "no kubeconfig: {tried} does not exist\n  fix: name one with --kubeconfig or KUBECONFIG, or write one: aws eks update-kubeconfig --name CLUSTER --region REGION"
    )]
    NoKubeconfig {
        /// The paths that were looked at.
        tried: String,
    },
    /// A kubeconfig file could not be read or parsed.
    #[error("the kubeconfig {path} cannot be used: {detail}")]
    BadKubeconfig { path: String, detail: String },
    /// No context was named and the files set none.
    #[error("the kubeconfig sets no current-context\n  fix: name one with --context; it has: {known}")]
    NoCurrentContext { known: String },
    /// The context does not exist.
    #[error("the kubeconfig has no context \"{context}\"\n  fix: it has: {known}")]
    NoSuchContext { context: String, known: String },
    /// The context names a cluster or user that the files do not have.
    #[error(
        "the context \"{context}\" names the {kind} \"{name}\", which the kubeconfig does not have\n  fix: write the entry again (aws eks update-kubeconfig --name CLUSTER --region REGION) or correct the file"
    )]
    Dangling {
        context: String,
        /// `cluster` or `user`.
        kind: &'static str,
        name: String,
    },
    /// The context is something else than EKS.
    #[error("the context \"{context}\" is not an EKS cluster: {why}")]
    NotEks { context: String, why: String },
    /// Nothing names the cluster or region.
    #[error(
        "the context \"{context}\" does not say which EKS cluster it is ({why})\n  fix: name it with {flags}"
    )]
    NotTold {
        context: String,
        why: String,
        /// The flags to give.
        flags: String,
    },
}
