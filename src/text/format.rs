//! What the flags say about output.

use clap::ValueEnum;

/// Output formats.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Text,
    /// The contract's JSON
    Json,
    /// The same as YAML
    Yaml,
    /// JUnit XML, for CI systems that show tests
    Junit,
    /// SARIF 2.1.0, for code-scanning dashboards
    Sarif,
    /// Markdown, for pull requests and issues
    Markdown,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}
