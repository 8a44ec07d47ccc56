//! The published JSON Schemas: one for every kind of document that `-o json` and `-o yaml` print. They are the files in
//! `schemas/`; a test generates them from the types, which is why nothing of the generator is in the program.

use clap::ValueEnum;

/// A kind of document with a published schema.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Published {
    /// `preflight`
    #[default]
    PreflightReport,
    /// `preflight` of several clusters
    PreflightReportList,
    /// `create-role`
    CreateRoleResult,
    /// `account`
    AccountReport,
    /// `trust`
    TrustReport,
    /// `template check`
    TemplateReport,
    /// `whois ARN`
    Whois,
    /// `whois ARN ARN`
    WhoisList,
    /// `access list`
    AccessList,
    /// `access diff`
    AccessDiff,
    /// `access migrate`
    AccessPlan,
    /// `access migrate --verify`
    AccessVerification,
    /// `fleet list`
    ClusterInventory,
    /// The last line of `preflight --shard I/N -o ndjson`
    PreflightShard,
}

impl Published {
    /// The schema, with a line end last.
    pub fn schema(self) -> &'static str {
        match self {
            Self::PreflightReport => include_str!("../../schemas/preflight-report.json"),
            Self::PreflightReportList => include_str!("../../schemas/preflight-report-list.json"),
            Self::CreateRoleResult => include_str!("../../schemas/create-role-result.json"),
            Self::AccountReport => include_str!("../../schemas/account-report.json"),
            Self::TrustReport => include_str!("../../schemas/trust-report.json"),
            Self::TemplateReport => include_str!("../../schemas/template-report.json"),
            Self::Whois => include_str!("../../schemas/whois.json"),
            Self::WhoisList => include_str!("../../schemas/whois-list.json"),
            Self::AccessList => include_str!("../../schemas/access-list.json"),
            Self::AccessDiff => include_str!("../../schemas/access-diff.json"),
            Self::AccessPlan => include_str!("../../schemas/access-plan.json"),
            Self::AccessVerification => include_str!("../../schemas/access-verification.json"),
            Self::ClusterInventory => include_str!("../../schemas/cluster-inventory.json"),
            Self::PreflightShard => include_str!("../../schemas/preflight-shard.json"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access;
    use crate::capt::report::Document;
    use crate::fleet::inventory::Inventory;
    use crate::report::account::AccountReport;
    use crate::report::create_role::CreateRoleResult;
    use crate::report::whois::{Whois, WhoisList};
    use crate::report::{PreflightReportList, PreflightShard, Report};
    use crate::trust::report::TrustReport;
    use schemars::generate::SchemaSettings;
    use schemars::{JsonSchema, Schema};

    /// Of the documents as they are written: what is always there is required.
    fn written<T: JsonSchema>() -> Schema {
        SchemaSettings::draft2020_12()
            .for_serialize()
            .into_generator()
            .into_root_schema_for::<T>()
    }

    #[test]
    fn the_published_schemas_are_those_of_the_types() {
        for kind in Published::value_variants() {
            let mut generated = match kind {
                Published::PreflightReport => written::<Report>(),
                Published::PreflightReportList => written::<PreflightReportList>(),
                Published::CreateRoleResult => written::<CreateRoleResult>(),
                Published::AccountReport => written::<AccountReport>(),
                Published::TrustReport => written::<TrustReport>(),
                Published::TemplateReport => written::<Document<'static>>(),
                Published::Whois => written::<Whois>(),
                Published::WhoisList => written::<WhoisList>(),
                Published::AccessList => written::<access::Document<access::AccessList>>(),
                Published::AccessDiff => written::<access::Document<access::Compared>>(),
                Published::AccessPlan => written::<access::Document<access::Plan>>(),
                Published::AccessVerification => written::<access::Document<access::Verification>>(),
                Published::ClusterInventory => written::<Inventory>(),
                Published::PreflightShard => written::<PreflightShard>(),
            };
            let name = kind.to_possible_value().expect("a name");
            generated.insert(
                "$id".to_owned(),
                crate::report::schema_url(name.get_name()).into(),
            );
            let generated = serde_json::to_string_pretty(&generated).expect("JSON") + "\n";
            let name = format!("schemas/{}.json", name.get_name());
            if std::env::var_os("CAPT_SPOT_UPDATE").is_some() {
                let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(&name);
                std::fs::write(path, &generated).expect("written");
            } else {
                assert!(
                    kind.schema() == generated,
                    "{name} is another: CAPT_SPOT_UPDATE=1 cargo test --lib schema writes it again"
                );
            }
        }
    }
}
