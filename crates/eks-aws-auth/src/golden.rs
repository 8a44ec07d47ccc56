//! The golden cases, each replayed through the authenticator's own code.

use super::*;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
    #[serde(default)]
    chain_cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Case {
    name: String,
    #[serde(default)]
    inferred: bool,
    #[serde(default)]
    authentication_mode: Option<AuthenticationMode>,
    #[serde(default)]
    access_entries: Vec<GoldenEntry>,
    config_map: BTreeMap<String, serde_json::Value>,
    principal_arn: String,
    #[serde(default)]
    principal_id: Option<String>,
    #[serde(default)]
    access_key_id: Option<String>,
    #[serde(default)]
    ec2_private_dns_name: Option<String>,
    #[serde(default)]
    sso_role_match_gate: bool,
    #[serde(default)]
    reserved_prefixes: Vec<String>,
    #[serde(default)]
    parse_errors: bool,
    #[serde(default)]
    expect: Option<Mapped>,
    #[serde(default)]
    expect_one_of: Vec<Mapped>,
    #[serde(default)]
    not_mapped: bool,
    #[serde(default)]
    expect_error: Option<String>,
    #[serde(default)]
    source: String,
    #[serde(default)]
    note: String,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Mapped {
    username: String,
    groups: Vec<String>,
}

#[derive(Deserialize)]
struct GoldenEntry {
    principal_arn: String,
    principal_id: String,
    username: String,
    groups: Vec<String>,
}

fn check(case: &Case) -> Result<(), String> {
    let mut data = BTreeMap::new();
    for (key, value) in &case.config_map {
        match value.as_str() {
            Some(text) => data.insert(key.clone(), text.to_owned()),
            // The API server does not take such a ConfigMap; reading manifests has its own tests.
            None => {
                return case
                    .expect_error
                    .is_some()
                    .then_some(())
                    .ok_or("not a text".to_owned());
            }
        };
    }
    let aws_auth = AwsAuth::parse(&data);
    if aws_auth.parse_errors != case.parse_errors {
        return Err(format!(
            "parse_errors {}: {:?}",
            aws_auth.parse_errors, aws_auth.problems
        ));
    }
    let entries: Vec<AccessEntry> = case
        .access_entries
        .iter()
        .map(|entry| AccessEntry {
            principal_id: Some(entry.principal_id.clone()),
            username: Some(entry.username.clone()),
            kubernetes_groups: entry.groups.clone(),
            ..AccessEntry::new(&entry.principal_arn, EntryType::Standard, "", &[])
        })
        .collect();
    let cluster = Cluster {
        mode: case.authentication_mode.unwrap_or(AuthenticationMode::ConfigMap),
        aws_auth: Some(&aws_auth),
        entries: Some(&entries),
        settings: Settings {
            sso_role_match: case.sso_role_match_gate,
            reserved_prefixes: case.reserved_prefixes.clone(),
        },
    };
    let decision = match Caller::parse(&case.principal_arn) {
        Ok(caller) => {
            let caller = caller
                .with_access_key_id(case.access_key_id.clone())
                .with_private_dns_name(case.ec2_private_dns_name.clone())
                .with_principal_id(case.principal_id.clone());
            decide(&cluster, &caller, Existence::Unknown)
        }
        Err(error) => Decision::refused(&case.principal_arn, &error),
    };
    let mapped = || Mapped {
        username: decision.username.clone().unwrap_or_default(),
        groups: decision.groups.clone(),
    };
    let good = match (&case.expect, case.not_mapped, &case.expect_error) {
        (Some(expected), _, _) => decision.outcome == Outcome::Mapped && mapped() == *expected,
        (None, true, _) => decision.outcome == Outcome::NotMapped,
        (None, false, Some(_)) => decision.outcome == Outcome::Denied,
        (None, false, None) => {
            let found: Vec<Mapped> = decision
                .alternatives
                .iter()
                .map(|way| Mapped {
                    username: way.username.clone().unwrap_or_default(),
                    groups: way.groups.clone(),
                })
                .collect();
            decision.outcome == Outcome::Ambiguous
                && found.len() == case.expect_one_of.len()
                && case.expect_one_of.iter().all(|expected| found.contains(expected))
        }
    };
    if good {
        Ok(())
    } else {
        Err(format!("{decision:#?}"))
    }
}

fn check_all(cases: &[Case]) {
    let failures: Vec<String> = cases
        .iter()
        .filter_map(|case| Some(format!("{}: {}", case.name, check(case).err()?)))
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {}:\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
}

#[test]
fn golden_cases() {
    let golden: Golden = serde_yaml::from_str(include_str!("../golden/aws_auth_cases.yaml")).unwrap();
    assert_eq!((golden.cases.len(), golden.chain_cases.len()), (69, 4));
    check_all(&golden.cases);
    check_all(&golden.chain_cases);
}

#[test]
fn quirks() {
    let quirks: Golden = serde_yaml::from_str(include_str!("../golden/quirks.yaml")).unwrap();
    assert!(quirks.cases.len() > 45);
    check_all(&quirks.cases);
}
