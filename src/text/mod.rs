//! What a person sees: style, width, sanitizing, quoting, output formats.

mod format;
mod quote;
pub mod sanitize;
pub mod style;

pub use format::{Output, ReportFile, When};
pub use quote::quote;
