//! Helm: the command line, the environment, the rendered chart, the helm that does the installing.

pub mod args;
pub mod ask;
pub mod chart;
pub mod env;
pub mod flags;
pub mod program;
pub mod render;
