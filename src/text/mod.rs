//! What a person sees: style, width, sanitizing, quoting, output formats.

mod format;
mod quote;
mod read;
pub mod sanitize;
pub mod secrets;
pub mod style;

pub use format::{Output, ReportFile, When};
pub use quote::quote;
pub use read::read_bounded;
