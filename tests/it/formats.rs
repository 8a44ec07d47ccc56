//! The reports that other programs read, held to the schemas that those programs go by: SARIF to the one of OASIS, JUnit to the
//! one of the Jenkins xUnit plugin.

use std::path::{Path, PathBuf};
use std::process::Command;

use capt_spot_standin::{Because, scenario};
use serde_json::{Value, json};

use crate::support::program::{Ran, Stage};
use crate::support::testbed::Testbed;

/// Text that a document must survive: markup, control characters, a direction override, what XML can't hold at all.
pub const HOSTILE: &str = "</failure>]]>&\"'<b>\u{1b}[31m\u{0}\u{7f}\u{85}\u{202e}\u{fffe}\u{ffff}\u{1f600}";

/// Runs that between them have findings of every status.
pub fn stages() -> Vec<(&'static str, Stage)> {
    let denied = Stage::healthy();
    denied.standin.world(|world| {
        let account = world.account(scenario::ACCOUNT);
        let caller = account
            .access_keys
            .get_mut(scenario::ACCESS_KEY)
            .expect("the caller");
        caller.deny_because("iam:GetRole", Because::NoIdentityPolicy);
    });
    let mut world = scenario::healthy();
    let kubernetes = world.kubernetes(scenario::CLUSTER);
    kubernetes.put(scenario::node_pool(
        "odd",
        &json!([{"key": "karpenter.sh/capacity-type", "operator": "In", "values": [HOSTILE]}]),
    ));
    kubernetes.put_aws_auth(&[(
        "mapRoles",
        &format!("- rolearn: {}\n  username: x", json!(HOSTILE)),
    )]);
    vec![
        ("healthy", Stage::healthy()),
        ("fresh", Stage::fresh()),
        ("denied", denied),
        ("hostile", Stage::new(world)),
        ("several", Stage::with_a_second_context()),
    ]
}

fn report(stage: &Stage, format: &str) -> Ran {
    let ran = stage.run(&["preflight", "--all-contexts", "-o", format]);
    assert!([0, 1, 3].contains(&ran.code), "{ran:?}");
    ran
}

#[test]
fn sarif_is_what_its_schema_says() {
    let Some(bed) = Testbed::require(&["sarif-schema"]) else {
        return;
    };
    let text = std::fs::read_to_string(bed.path("sarif-schema")).expect("the schema");
    let mut schema: Value = serde_json::from_str(&text).expect("JSON");
    // Two patterns have a bracket too many, which ECMA-262 admits and this validator doesn't; our documents name no language.
    for of in ["run", "toolComponent"] {
        let language = &mut schema["definitions"][of]["properties"]["language"];
        let language = language.as_object_mut().expect("an object");
        assert!(language.remove("pattern").is_some());
    }
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let valid = |name: &str, text: &str| {
        let document: Value = serde_json::from_str(text).expect("JSON");
        let errors: Vec<String> = validator
            .iter_errors(&document)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{name}: {errors:#?}");
        document
    };
    for (name, stage) in stages() {
        let mut document = valid(name, &report(&stage, "sarif").stdout);
        what_github_takes(&document);
        document["runs"][0]["invocations"][0]["executionSuccessful"] = json!("alarming");
        assert!(!validator.is_valid(&document), "the schema can tell");
    }
    let bare = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/workspace-template.yaml");
    let bare = bare.to_str().expect("UTF-8");
    let ran = Stage::healthy().run(&["template", "check", bare, "-o", "sarif"]);
    valid("template check", &ran.stdout);
}

/// What GitHub asks for beyond the schema (docs.github.com, "SARIF support for code scanning").
fn what_github_takes(document: &Value) {
    let runs = document["runs"].as_array().expect("runs");
    assert_eq!(runs.len(), 1);
    let rules = runs[0]["tool"]["driver"]["rules"].as_array().expect("rules");
    let results = runs[0]["results"].as_array().expect("results");
    assert!(results.len() <= 5_000);
    for result in results {
        assert!(["error", "warning", "note"].contains(&result["level"].as_str().expect("a level")));
        assert!(result["kind"].is_null(), "what passed would become an alert");
        let location = &result["locations"][0]["physicalLocation"];
        let uri = location["artifactLocation"]["uri"].as_str().expect("a URI");
        assert!(
            !uri.starts_with('/') && !uri.contains("://") && !uri.contains(' '),
            "{uri}"
        );
        assert!(location["region"]["startLine"].as_u64() >= Some(1));
        let fingerprints = result["partialFingerprints"].as_object().expect("fingerprints");
        assert!(!fingerprints.is_empty());
        let rule = &rules[usize::try_from(result["ruleIndex"].as_u64().expect("a rule")).expect("small")];
        assert_eq!(rule["id"], result["ruleId"]);
        assert!(
            rule["help"]["markdown"]
                .as_str()
                .is_some_and(|help| !help.is_empty())
        );
        assert!(
            rule["properties"]["tags"]
                .as_array()
                .is_some_and(|tags| tags.len() <= 10)
        );
    }
}

/// Says of each file whether the schema admits it, and why not.
const VALIDATE: &str = "
import sys, xmlschema
schema = xmlschema.XMLSchema(sys.argv[1])
for path in sys.argv[2:]:
    errors = [f'{error.path}: {error.reason}' for error in schema.iter_errors(path)]
    print('; '.join(errors) or 'valid')
";

#[test]
fn junit_is_what_its_schema_says() {
    let Some(bed) = Testbed::require(&["junit-schema", "xmlschema"]) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let mut files: Vec<(String, PathBuf)> = Vec::new();
    let mut write = |name: &str, text: &str| {
        let path = folder.path().join(format!("{name}.xml"));
        std::fs::write(&path, text).expect("written");
        files.push((name.to_owned(), path));
    };
    for (name, stage) in stages() {
        let text = report(&stage, "junit").stdout;
        write(name, &text);
        if name == "fresh" {
            write(
                "damaged",
                &text
                    .replace("<testcase ", "<test-case ")
                    .replace("</testcase>", "</test-case>"),
            );
        }
    }
    let output = Command::new(bed.path("xmlschema"))
        .args(["-c", VALIDATE])
        .arg(bed.path("junit-schema"))
        .args(files.iter().map(|(_, path)| path))
        .output()
        .expect("python");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(said.lines().count(), files.len());
    for ((name, _), line) in files.iter().zip(said.lines()) {
        assert_eq!(line == "valid", name != "damaged", "{name}: {line}");
    }
}

#[test]
fn a_pool_of_a_file_is_located_in_it() {
    let stage = Stage::fresh();
    let pool = |name: &str, values: &str| {
        format!(
            "apiVersion: karpenter.sh/v1\nkind: NodePool\nmetadata: {{name: {name}}}\nspec:\n  template:\n    spec:\n      \
             nodeClassRef: {{group: karpenter.k8s.aws, kind: EC2NodeClass, name: default}}\n      \
             requirements:\n      - {{key: karpenter.sh/capacity-type, operator: In, values: [{values}]}}\n"
        )
    };
    let text = format!("{}---\n{}", pool("good", "spot"), pool("typo", "spott"));
    std::fs::write(stage.home.path().join("pools.yaml"), text).expect("written");
    let sarif = |args: &[&str]| -> Value {
        let ran = stage.run(&[&["preflight", "-o", "sarif", "--nodepools"], args].concat());
        let results = ran.expect(1).json()["runs"][0]["results"].take();
        let mut results = results.as_array().expect("results").iter();
        let found = results.find(|result| result["ruleId"] == "pools-want-spot");
        found.expect("a result")["locations"][0]["physicalLocation"].clone()
    };
    assert_eq!(
        sarif(&["pools.yaml"]),
        json!({"artifactLocation": {"uri": "pools.yaml"}, "region": {"startLine": 11}})
    );
}
