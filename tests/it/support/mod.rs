//! What several tests need.

pub mod browser;
pub mod dist;
pub mod karpenter;
pub mod kubelet;
pub mod program;
pub mod relay;
pub mod release_page;
pub mod shell;
pub mod terminal;
pub mod testbed;
