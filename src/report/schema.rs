//! The published JSON Schemas: one for every kind of document that `-o json` and `-o yaml` print. The files in `schemas/`
//! are these, word for word.

use clap::ValueEnum;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, schema_for};

use super::Report;
use super::whois::{Whois, WhoisList};
use crate::capt::report::TemplateReport;
use crate::trust::report::TrustReport;

/// A kind of document with a published schema.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Published {
    /// `preflight`
    #[default]
    PreflightReport,
    /// `trust`
    TrustReport,
    /// `template check`
    TemplateReport,
    /// `whois ARN`
    Whois,
    /// `whois --all`
    WhoisList,
}

impl Published {
    /// The schema, with a line end last.
    pub fn schema(self) -> String {
        let schema = match self {
            Self::PreflightReport => schema_for!(Report),
            Self::TrustReport => written::<TrustReport>(),
            Self::TemplateReport => written::<TemplateReport>(),
            Self::Whois => written::<Whois>(),
            Self::WhoisList => written::<WhoisList>(),
        };
        let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
        text.push('\n');
        text
    }
}

/// Of the documents as they are written: what is always there is required.
fn written<T: JsonSchema>() -> schemars::Schema {
    SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator()
        .into_root_schema_for::<T>()
}
