//! The README is true: its sample output and its picture are real output, links lead somewhere, the published schema is the
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
        "CAPT_SPOT_UPDATE=1 cargo test --test it readme writes it again"
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
    assert!(ran.stdout.lines().count() <= 15, "{}", ran.stdout);
    part(
        "preflight",
        &format!("```text\n{}```\n", without_port(&ran.stdout, &stage)),
    );
    stage.run(&["create-role", "--yes"]).expect(0);
    let ran = stage.run(&["preflight", "--no-input"]).expect(0);
    part(
        "ready",
        &format!("```text\n{}```\n", without_port(&ran.stdout, &stage)),
    );
}

#[test]
fn the_readme_is_short() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README");
    let words = readme.split_whitespace().count();
    assert!(words <= 1_200, "{words} words");
}

/// A file that is made of real output.
#[track_caller]
fn file(name: &str, want: &str) {
    let path = root().join(name);
    if updating() {
        std::fs::write(&path, want).expect("written");
    }
    assert_eq!(
        std::fs::read_to_string(&path).unwrap_or_default(),
        want,
        "CAPT_SPOT_UPDATE=1 cargo test --test it readme writes {name} anew"
    );
}

/// The colours that a picture has for the program's: of dark and light terminals.
struct Theme {
    back: &'static str,
    text: &'static str,
    red: &'static str,
    green: &'static str,
    yellow: &'static str,
    magenta: &'static str,
    cyan: &'static str,
    dim: &'static str,
}

const LIGHT: Theme = Theme {
    back: "#ffffff",
    text: "#1f2328",
    red: "#cf222e",
    green: "#1a7f37",
    yellow: "#9a6700",
    magenta: "#8250df",
    cyan: "#0969da",
    dim: "#656d76",
};

const DARK: Theme = Theme {
    back: "#0d1117",
    text: "#e6edf3",
    red: "#ff7b72",
    green: "#3fb950",
    yellow: "#d29922",
    magenta: "#bc8cff",
    cyan: "#79c0ff",
    dim: "#8d96a0",
};

/// What a terminal shows of the output, as a picture.
fn picture(output: &str, theme: &Theme) -> String {
    const LINE: usize = 20;
    // Commands are not wrapped.
    let escapes = regex_lite::Regex::new("\u{1b}\\[[0-9;]*m").expect("a pattern");
    let bare = escapes.replace_all(output, "");
    let columns = bare
        .lines()
        .map(|line| line.chars().count())
        .max()
        .unwrap_or(0)
        .max(80);
    let width = columns * 8 + 40;
    let height = (output.lines().count() + 1) * LINE + 40;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{}\"/>\n\
         <g font-family=\"ui-monospace, SFMono-Regular, Menlo, Consolas, monospace\" font-size=\"13.3\" fill=\"{}\" xml:space=\"preserve\">\n",
        theme.back, theme.text
    );
    let lines = ["$ kubectl capt-spot preflight"]
        .into_iter()
        .chain(output.lines());
    for (n, line) in lines.enumerate() {
        svg.push_str(&format!("<text x=\"20\" y=\"{}\">", 34 + n * LINE));
        for (at, part) in line.split('\u{1b}').enumerate() {
            let (codes, text) = match (at, part.strip_prefix('[').and_then(|rest| rest.split_once('m'))) {
                (1.., Some((codes, text))) => (codes, text),
                _ => ("0", part),
            };
            let text = text
                .replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;");
            let attributes: String = codes
                .split(';')
                .map(|code| match code {
                    "1" => " font-weight=\"bold\"".to_owned(),
                    "2" => format!(" fill=\"{}\"", theme.dim),
                    "31" => format!(" fill=\"{}\"", theme.red),
                    "32" => format!(" fill=\"{}\"", theme.green),
                    "33" => format!(" fill=\"{}\"", theme.yellow),
                    "35" => format!(" fill=\"{}\"", theme.magenta),
                    "36" => format!(" fill=\"{}\"", theme.cyan),
                    _ => String::new(),
                })
                .collect();
            if !text.is_empty() {
                svg.push_str(&format!("<tspan{attributes}>{text}</tspan>"));
            }
        }
        svg.push_str("</text>\n");
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}

#[test]
fn the_pictures_are_of_the_current_output() {
    let stage = Stage::fresh();
    let ran = stage
        .run(&["preflight", "--no-input", "--color", "always"])
        .expect(1);
    // Two escapes in a row are one look: bold and a colour.
    let joined = regex_lite::Regex::new("\u{1b}\\[([0-9;]+)m\u{1b}\\[([0-9;]+)m").expect("a pattern");
    let output = joined.replace_all(&ran.stdout, "\u{1b}[${1};${2}m").into_owned();
    for (name, theme) in [("docs/report-light.svg", LIGHT), ("docs/report-dark.svg", DARK)] {
        file(name, &picture(&output, &theme));
    }
}

/// Every Markdown file of the repository that people read.
fn pages() -> Vec<PathBuf> {
    fn look(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if path.is_dir() && !name.starts_with('.') && name != "target" && name != "node_modules" {
                look(&path, found);
            } else if name.ends_with(".md") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    look(&root(), &mut found);
    found
}

/// What GitHub makes of a heading.
fn anchor(heading: &str) -> String {
    heading
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect::<String>()
        .to_lowercase()
}

#[test]
fn every_link_leads_somewhere() {
    let link = regex_lite::Regex::new(r#"\]\(([^)\s]+)\)|(?:src|srcset|href)="([^"]+)""#).expect("a pattern");
    let mut dead = Vec::new();
    let mut followed = 0;
    for page in pages() {
        let text = std::fs::read_to_string(&page).expect("a page");
        for found in link.captures_iter(&text) {
            let to = found.get(1).or(found.get(2)).map_or("", |to| to.as_str());
            if to.contains("://") || to.starts_with("mailto:") {
                continue;
            }
            followed += 1;
            let (file, part) = to
                .split_once('#')
                .map_or((to, None), |(file, part)| (file, Some(part)));
            let path = if file.is_empty() {
                page.clone()
            } else {
                page.parent().expect("a folder").join(file)
            };
            let there = match part {
                None => path.exists(),
                Some(part) => std::fs::read_to_string(&path).is_ok_and(|text| {
                    text.lines()
                        .filter_map(|line| line.strip_prefix('#'))
                        .any(|line| anchor(line.trim_start_matches('#').trim()) == part)
                }),
            };
            if !there {
                dead.push(format!("{}: {to}", page.display()));
            }
        }
    }
    assert!(followed > 50, "{followed} links");
    assert!(dead.is_empty(), "{}", dead.join("\n"));
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
    let ran = stage.run(&["whois", role, nobody, "-o", "json"]).expect(1);
    meets(&validator, &ran.json(), "items");
    let validator = schema(&stage, "access-list");
    for all in [["whois", "--all"], ["access", "list"]] {
        let ran = stage.run(&[&all[..], &["-o", "json"]].concat()).expect(0);
        meets(&validator, &ran.json(), "items");
    }
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
