//! The README is true: its sample output is real output, its table of checks is the registry, the published schema is the
//! generated one. `CAPT_SPOT_UPDATE=1 cargo test --test it readme` writes them anew.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::program::{Ran, Stage};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn updating() -> bool {
    std::env::var_os("CAPT_SPOT_UPDATE").is_some()
}

/// Compares the part of the README between `<!-- output: NAME -->` and `<!-- end -->` with what it should be.
#[track_caller]
fn part(name: &str, want: &str) {
    let path = root().join("README.md");
    let readme = std::fs::read_to_string(&path).expect("the README");
    let start = format!("<!-- output: {name} -->\n");
    let from = readme.find(&start).expect("the marker") + start.len();
    let to = from + readme[from..].find("<!-- end -->").expect("the end marker");
    if updating() {
        let updated = format!("{}{want}{}", &readme[..from], &readme[to..]);
        std::fs::write(&path, updated).expect("the README is written");
        return;
    }
    assert_eq!(
        &readme[from..to],
        want,
        "CAPT_SPOT_UPDATE=1 cargo test --test it readme writes it anew"
    );
}

/// The stand-in's port is another one in every run.
fn without_port(text: &str, stage: &Stage) -> String {
    let url = stage.standin.kubernetes_url("demo");
    text.replace(&url, "http://127.0.0.1:40001")
}

fn explain(stage: &Stage) -> Vec<Value> {
    let ran: Ran = stage.run(&["explain", "-o", "json"]).expect(0);
    ran.json()["checks"].as_array().expect("checks").clone()
}

#[test]
fn the_sample_output_is_real() {
    let stage = Stage::fresh();
    let ran = stage.run(&["preflight", "--no-input"]).expect(1);
    part(
        "preflight",
        &format!("```text\n{}```\n", without_port(&ran.stdout, &stage)),
    );
}

#[test]
fn the_table_of_checks_is_the_registry() {
    let stage = Stage::fresh();
    let mut table = String::from("| check | group | what it says |\n|---|---|---|\n");
    for check in explain(&stage) {
        let text = |key: &str| check[key].as_str().expect("text").to_owned();
        table.push_str(&format!(
            "| [`{}`]({}) | {} | {} |\n",
            text("id"),
            text("docs"),
            text("group"),
            text("title")
        ));
    }
    part("checks", &table);
}

/// The schema that the program prints; a test of the library holds it to the types.
#[track_caller]
fn schema(stage: &Stage, kind: &str) -> jsonschema::Validator {
    let path = root().join(format!("schemas/{kind}.json"));
    let published = std::fs::read_to_string(&path).expect("the schema");
    assert_eq!(published, stage.run(&["schema", kind]).expect(0).stdout);
    let schema: Value = serde_json::from_str(&published).expect("JSON");
    jsonschema::validator_for(&schema).expect("a schema")
}

/// A real document meets the schema, and a damaged one does not.
#[track_caller]
fn meets(validator: &jsonschema::Validator, report: &Value, key: &str) {
    let errors: Vec<String> = validator
        .iter_errors(report)
        .map(|error| format!("{error} at {}", error.instance_path()))
        .collect();
    assert_eq!(errors, Vec::<String>::new(), "{report}");
    let mut damaged = report.clone();
    damaged[key] = 7.into();
    assert!(!validator.is_valid(&damaged), "the schema can tell");
    damaged.as_object_mut().expect("an object").remove(key);
    assert!(!validator.is_valid(&damaged), "the schema can tell");
}

#[test]
fn the_published_schema_is_the_generated_one_and_real_reports_meet_it() {
    let validator = schema(&Stage::fresh(), "preflight-report");
    for stage in [Stage::fresh(), Stage::healthy()] {
        let report = stage.preflight(&[]).json();
        meets(&validator, &report, "verdict");
        let mut damaged = report.clone();
        damaged["verdict"] = "perhaps".into();
        assert!(!validator.is_valid(&damaged), "the schema can tell");
    }
    // The first is the one that `schema` alone prints.
    let stage = Stage::fresh();
    assert_eq!(
        stage.run(&["schema"]).expect(0).stdout,
        stage.run(&["schema", "preflight-report"]).expect(0).stdout
    );
    stage.run(&["schema", "nonsense"]).expect(2);
}

#[test]
fn trusts_reports_meet_their_schema() {
    let stage = Stage::healthy();
    let validator = schema(&stage, "trust-report");
    for (args, code) in [
        (&["demo-admin"][..], 0),
        (&["demo-admin", "--try"], 0),
        (&["demo-admin", "--cdk"], 0),
        (&["missing"], 1),
        (&["arn:aws:iam::444455556666:role/x"], 3),
    ] {
        let ran = stage.run(&[&["trust", "-o", "json"], args].concat()).expect(code);
        meets(&validator, &ran.json(), "outcome");
    }
}

#[test]
fn whos_answers_meet_their_schemas() {
    let stage = Stage::healthy();
    let validator = schema(&stage, "whois");
    let (role, nobody) = (
        "arn:aws:iam::111122223333:role/demo-node",
        "arn:aws:iam::111122223333:role/nobody",
    );
    for args in [&[role][..], &[nobody], &["me"]] {
        let ran = stage.run(&[&["whois", "-o", "json"], args].concat());
        meets(&validator, &ran.json(), "outcome");
    }
    let validator = schema(&stage, "whois-list");
    let ran = stage.run(&["whois", "--all", "-o", "json"]).expect(0);
    meets(&validator, &ran.json(), "items");
}

#[test]
fn template_reports_meet_their_schema() {
    let stage = Stage::fresh();
    let validator = schema(&stage, "template-report");
    for name in ["workspace-template.yaml", "workspace-template.require.yaml"] {
        let file = root().join("examples").join(name);
        let ran = stage.run(&["template", "check", "-o", "json", file.to_str().expect("a path")]);
        meets(&validator, &ran.json(), "verdict");
    }
}

#[test]
fn yaml_is_the_same_report() {
    let stage = Stage::healthy();
    let file = stage.home.path().join("facts.json");
    let file = file.to_str().expect("a path");
    stage.run(&["preflight", "--save", file]).expect(0);
    let mut json = stage
        .run(&["preflight", "--from", file, "-o", "json"])
        .expect(0)
        .json();
    let yaml = stage
        .run(&["preflight", "--from", file, "-o", "yaml"])
        .expect(0)
        .stdout;
    let mut yaml: Value = serde_yaml::from_str(&yaml).expect("YAML");
    for document in [&mut json, &mut yaml] {
        document["generatedAt"] = Value::Null;
    }
    assert_eq!(yaml, json);
}

#[test]
fn every_check_is_explained_offline() {
    let stage = Stage::fresh();
    let checks = explain(&stage);
    assert!(checks.len() >= 12);
    for check in &checks {
        let id = check["id"].as_str().expect("an id");
        let ran = stage.run(&["explain", id]).expect(0);
        assert!(
            ran.stdout.contains(id) && ran.stdout.contains("https://"),
            "{}",
            ran.stdout
        );
    }
    assert!(
        stage
            .run(&["explain", "nonsense"])
            .expect(2)
            .stderr
            .contains("nonsense")
    );
    assert_eq!(stage.standin.calls().len(), 0);
}
