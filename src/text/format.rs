//! What the flags say about output.

use std::path::PathBuf;
use std::str::FromStr;

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
    /// The same as one line of JSON for each cluster
    Ndjson,
    /// JUnit XML, for CI systems that show tests
    Junit,
    /// SARIF 2.1.0, for code-scanning dashboards
    Sarif,
    /// Markdown, for pull requests and issues
    Markdown,
    /// Annotations of GitHub Actions; the Markdown goes to the step's summary
    Github,
    /// Comma-separated values, for spreadsheets
    Csv,
    /// One self-contained page for a browser
    Html,
    /// OpenMetrics, for Prometheus
    Openmetrics,
    /// OpenReports objects, for Policy Reporter and others
    Openreports,
}

/// `--report FORMAT=FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportFile {
    /// The format.
    pub format: Output,
    /// The file.
    pub path: PathBuf,
}

impl FromStr for ReportFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (format, path) = text
            .split_once('=')
            .filter(|(_, path)| !path.is_empty())
            .ok_or_else(|| format!("\"{text}\" is not FORMAT=FILE; for example junit=report.xml"))?;
        Ok(Self {
            format: Output::from_str(format, false)
                .map_err(|_| format!("\"{format}\" is not a format: {}", Output::names()))?,
            path: PathBuf::from(path),
        })
    }
}

impl Output {
    fn names() -> String {
        let names = Self::value_variants().iter().filter_map(Self::to_possible_value);
        let names: Vec<String> = names.map(|value| value.get_name().to_owned()).collect();
        names.join(", ")
    }
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
