//! What several tests need.

pub mod browser;
pub mod karpenter;
pub mod kubelet;
pub mod program;
pub mod relay;
pub mod shell;
pub mod terminal;
pub mod testbed;
