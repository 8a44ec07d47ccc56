//! What several tests need.

pub mod karpenter;
pub mod program;
pub mod relay;
pub mod shell;
pub mod terminal;
pub mod testbed;
