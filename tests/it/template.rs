//! `template check` and `template patch` as a user runs them, and what they write as others read it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::testbed::Testbed;

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

/// Runs the program without a terminal.
fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-capt_spot"));
    command
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_clear();
    command.stdin(Stdio::null()).output().expect("the program runs")
}

fn stdout(out: &Output) -> String {
    String::from_utf8(out.stdout.clone()).expect("UTF-8")
}

fn stderr(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

fn json(arguments: &[&str]) -> (i32, Value) {
    let out = run(&[arguments, &["-o", "json"]].concat());
    let value = serde_json::from_str(&stdout(&out)).unwrap_or_else(|e| panic!("{e}: {}", stderr(&out)));
    (out.status.code().expect("a code"), value)
}

const MODES: [&str; 3] = ["require", "create", "account-template"];

#[test]
fn check_names_file_and_both_lines() {
    let (code, report) = json(&["template", "check", "examples/workspace-template.yaml"]);
    assert_eq!(code, 1);
    assert_eq!(report["apiVersion"], "capt-spot/v1");
    assert_eq!(report["kind"], "TemplateReport");
    assert_eq!(report["verdict"], "not-ready");
    let finding = &report["findings"][0];
    assert_eq!(finding["id"], "role-neither-made-nor-required");
    assert_eq!(finding["file"], "examples/workspace-template.yaml");
    let text = std::fs::read_to_string(example("workspace-template.yaml")).expect("there");
    let line = usize::try_from(finding["yamlLine"].as_u64().expect("a line")).expect("small");
    assert_eq!(
        text.lines().nth(line - 1).map(str::trim),
        Some("resource \"kubectl_manifest\" \"node_pool\" {")
    );
    assert!(finding["hclLine"].as_u64().expect("a line") < line as u64);
    let shown = run(&["template", "check", "examples/workspace-template.yaml"]);
    let expected = std::fs::read_to_string(example("workspace-template.report.txt")).expect("there");
    assert_eq!((shown.status.code(), stdout(&shown)), (Some(1), expected));
}

#[test]
fn sarif_says_what_json_says() {
    let out = run(&[
        "template",
        "check",
        "examples/workspace-template.yaml",
        "-o",
        "sarif",
    ]);
    assert_eq!(out.status.code(), Some(1));
    let sarif: Value = serde_json::from_str(&stdout(&out)).expect("JSON");
    assert_eq!(sarif["version"], "2.1.0");
    let run = &sarif["runs"][0];
    let result = &run["results"][0];
    let rule = usize::try_from(result["ruleIndex"].as_u64().expect("an index")).expect("small");
    assert_eq!(run["tool"]["driver"]["rules"][rule]["id"], result["ruleId"]);
    let (_, report) = json(&["template", "check", "examples/workspace-template.yaml"]);
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["region"]["startLine"], report["findings"][0]["yamlLine"]);
}

#[test]
fn patch_writes_the_examples_and_nothing_is_left_to_find() {
    for mode in MODES {
        let out = run(&[
            "template",
            "patch",
            "--mode",
            mode,
            "examples/workspace-template.yaml",
        ]);
        assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
        let after = example(&format!("workspace-template.{mode}.yaml"));
        let expected = std::fs::read_to_string(&after).expect("there");
        assert_eq!(stdout(&out), expected, "{mode}");
        let after = after.to_str().expect("a name").to_owned();
        assert_eq!(json(&["template", "check", &after]).0, 0, "{mode}");
        let again = run(&["template", "patch", "--mode", mode, &after]);
        assert_eq!(stdout(&again), expected, "{mode} twice");
    }
}

#[test]
fn in_place_never_writes_unasked() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("template.yaml");
    std::fs::copy(example("workspace-template.yaml"), &file).expect("copied");
    let name = file.to_str().expect("a name").to_owned();
    let before = std::fs::read_to_string(&file).expect("there");
    let out = run(&["template", "patch", "--in-place", &name]);
    assert_eq!(out.status.code(), Some(2));
    assert!(stderr(&out).contains("--yes"), "{}", stderr(&out));
    assert_eq!(std::fs::read_to_string(&file).expect("there"), before);
    let out = run(&["template", "patch", "--in-place", "--yes", &name]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let expected = std::fs::read_to_string(example("workspace-template.require.yaml")).expect("there");
    assert_eq!(std::fs::read_to_string(&file).expect("there"), expected);
}

#[test]
fn bad_input_is_wrong_usage_with_a_place() {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, text, place) in [
        (
            "broken.tf",
            "resource \"a\" \"b\" {\n  x = = 1\n}\n",
            "broken.tf:2:7: ",
        ),
        ("broken.yaml", "a: [1\nb: }\n", "broken.yaml:2:2: "),
    ] {
        let file = dir.path().join(name);
        std::fs::write(&file, text).expect("written");
        for verb in ["check", "patch"] {
            let out = run(&["template", verb, file.to_str().expect("a name")]);
            assert_eq!(out.status.code(), Some(2), "{verb} {name}");
            assert!(stderr(&out).contains(place), "{}", stderr(&out));
            assert!(out.stdout.is_empty());
        }
    }
    assert_eq!(run(&["template", "check"]).status.code(), Some(2));
    let missing = run(&["template", "check", "no-such-file.tf"]);
    assert_eq!(missing.status.code(), Some(2), "{}", stderr(&missing));
}

#[test]
fn help_has_the_consequences_of_each_mode() {
    let help = stdout(&run(&["template", "patch", "--help"]));
    for word in [
        "require",
        "create",
        "account-template",
        "terraform state rm",
        "prevent_destroy",
        "iam:ListRoles",
    ] {
        assert!(help.contains(word), "{word} is missing in\n{help}");
    }
}

/// The modules of the mended examples, read by an independent HCL parser, and by terraform where it is there.
#[test]
fn what_is_written_is_terraform_to_others() {
    const READ: &str = "
import sys, json, hcl2
for block in [hcl2.loads(sys.stdin.read())]:
    print(json.dumps(block))
";
    let python = Testbed::require(&["python-hcl2"]).map(|bed| bed.path("python-hcl2").to_owned());
    let terraform = Command::new("terraform").arg("version").output().is_ok();
    let examples = MODES.map(|mode| {
        let text = std::fs::read_to_string(example(&format!("workspace-template.{mode}.yaml")));
        (mode, text.expect("there"))
    });
    // Each module of a file keeps what it is for.
    let several = ("several", patched_by_purpose());
    for (mode, text) in examples.into_iter().chain([several]) {
        for module in modules(&text) {
            if let Some(python) = &python {
                let parsed = piped(Command::new(python).args(["-c", READ]), &module);
                assert!(parsed.status.success(), "{mode}: {}", stderr(&parsed));
                let parsed = stdout(&parsed);
                for word in ["aws_iam_role", "AWSServiceRoleForEC2Spot", "precondition"] {
                    assert!(parsed.contains(word), "{mode}: {word}");
                }
                if parsed.contains("kubectl_manifest") {
                    assert!(
                        parsed.contains("data.aws_iam_role.spot"),
                        "{mode}: the NodePool waits"
                    );
                }
                // None creates the role unasked.
                assert_eq!(
                    parsed.contains("var.create_spot_service_linked_role ? 1 : 0"),
                    module.contains("resource \"aws_iam_service_linked_role\""),
                    "{mode}"
                );
                assert_eq!(
                    parsed.contains("\"aws_service_name\""),
                    module.contains("resource \"aws_iam_service_linked_role\""),
                    "{mode}"
                );
            }
            if terraform {
                let formatted = piped(
                    Command::new("terraform").args(["fmt", "-check", "-diff", "-"]),
                    &module,
                );
                assert!(
                    formatted.status.success(),
                    "{mode}: {}{}",
                    stdout(&formatted),
                    stderr(&formatted)
                );
            }
        }
    }
}

/// A template that sets up Karpenter for NodePools elsewhere, and one for the role alone, patched without --mode.
fn patched_by_purpose() -> String {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("two.yaml");
    let template = |name: &str, module: &str| {
        let lines: String = module.lines().map(|line| format!("          {line}\n")).collect();
        format!(
            "apiVersion: infrastructure.cluster.x-k8s.io/v1beta1\nkind: WorkspaceTemplate\nmetadata:\n  name: {name}\nspec:\n  \
             template:\n    spec:\n      forProvider:\n        source: Inline\n        module: |\n{lines}"
        )
    };
    let karpenter =
        "module \"karpenter\" {\n  source = \"terraform-aws-modules/eks/aws//modules/karpenter\"\n}\n";
    let role = "resource \"aws_iam_service_linked_role\" \"spot\" {\n  aws_service_name = \"spot.amazonaws.com\"\n}\n";
    let text = format!("{}---\n{}", template("eks", karpenter), template("role", role));
    std::fs::write(&file, text).expect("written");
    let file = file.to_str().expect("a name");
    let out = run(&["template", "patch", "--in-place", "--yes", file]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    assert_eq!(json(&["template", "check", file]).0, 0);
    std::fs::read_to_string(file).expect("there")
}

#[test]
fn a_folder_is_read_with_its_yaml() {
    let dir = tempfile::tempdir().expect("a directory");
    let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("written");
    let folder = dir.path().to_str().expect("a name");
    put(
        "main.tf",
        "module \"karpenter\" {\n  source = \"terraform-aws-modules/eks/aws//modules/karpenter\"\n}\n",
    );
    // Not about NodePools: whatever it is, it is passed over.
    put("values.yaml", "replicas: 2\n");
    put("broken.yaml", "a: [1\nb: }\n");
    let (code, report) = json(&["template", "check", folder]);
    assert_eq!((code, &report["verdict"]), (3, &Value::from("undecided")));
    put(
        "pools.yaml",
        "apiVersion: karpenter.sh/v1\nkind: NodePool\nmetadata: {name: default}\n",
    );
    let (code, report) = json(&["template", "check", folder]);
    assert_eq!((code, &report["verdict"]), (1, &Value::from("not-ready")));
    let fix = report["findings"][0]["fix"]["commands"][0]
        .as_str()
        .expect("a command");
    let words: Vec<&str> = fix.split(' ').skip(2).chain(["--yes"]).collect();
    let out = run(&words);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    assert_eq!(json(&["template", "check", folder]).0, 0);
    // One that cannot be read and is about them stops the check, with its line and what to do.
    put("pools.yaml", "kind: NodePool\n{{ if .x }}\na: b\n");
    let out = run(&["template", "check", folder]);
    assert_eq!(out.status.code(), Some(2));
    let said = stderr(&out);
    assert!(
        said.contains("pools.yaml:2:") && said.contains("helm template"),
        "{said}"
    );
}

/// Every `module` of a YAML stream, as a YAML parser gives it.
fn modules(text: &str) -> Vec<String> {
    text.split("\n---\n")
        .filter_map(|document| {
            let value: Value = serde_yaml::from_str(document).expect("YAML");
            value
                .pointer("/spec/template/spec/forProvider/module")?
                .as_str()
                .map(str::to_owned)
        })
        .collect()
}

fn piped(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(input.as_bytes())
        .expect("written");
    child.wait_with_output().expect("it ends")
}
