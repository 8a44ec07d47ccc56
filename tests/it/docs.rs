//! The pages are true: every command of theirs runs, and the pipelines are what GitHub and GitLab take.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use capt_spot_standin::{principal_trust, scenario};
use serde_json::{Value, json};

use crate::support::program::{BINARY, Ran, Stage};
use crate::support::testbed::Testbed;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// `README.md`, `docs/*.md`, `docs/checks/*.md`.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md")];
    for folder in ["docs", "docs/checks"] {
        let files = std::fs::read_dir(root().join(folder)).expect("a folder");
        pages.extend(
            files
                .flatten()
                .map(|file| file.path())
                .filter(|path| path.extension().is_some_and(|ext| ext == "md")),
        );
    }
    pages.sort();
    pages
}

/// The fenced blocks of one language, under the heading before each.
fn blocks(page: &str, language: &str) -> Vec<(String, String)> {
    let (mut found, mut heading, mut open) = (Vec::new(), String::new(), None::<(bool, String)>);
    for line in page.lines() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(named)) => open = Some((named == language, String::new())),
            (None, None) if line.starts_with('#') => {
                line.trim_start_matches(['#', ' ']).clone_into(&mut heading)
            }
            (None, None) => {}
            (Some(_), Some(_)) => {
                let (wanted, text) = open.take().expect("it is open");
                if wanted {
                    found.push((heading.clone(), text));
                }
            }
            (Some((_, text)), None) => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    found
}

/// What a reader puts in for what the pages leave to them.
const PLACES: &[(&str, &str)] = &[
    ("CONTEXT", "arn:aws:eks:eu-west-1:111122223333:cluster/demo"),
    ("PROFILE", "reader"),
    ("ACCOUNT", scenario::ACCOUNT),
    ("CLUSTER", scenario::CLUSTER),
    ("REGION", "eu-west-1"),
    ("ROLE", "demo-admin"),
    ("INSTANCE", "i-0123456789abcdef0"),
    ("PIPELINE", "pipeline"),
    ("GROUP", "platform"),
    ("USER", "alice"),
    ("FILE", "workspace-template.yaml"),
];

/// A home with all that the pages name: a profile, files, a `kubectl` that knows this plugin.
fn reader() -> Stage {
    let mut stage = Stage::healthy();
    let home = stage.home.path().to_owned();
    let put = |name: &str, text: &str| {
        let path = home.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    };
    let aws_auth = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "aws-auth", "namespace": "kube-system"},
        "data": {"mapRoles": "- rolearn: arn:aws:iam::111122223333:role/demo-admin\n  username: demo-admin\n"}});
    for name in ["aws-auth.yaml", "old-aws-auth.yaml", "new-aws-auth.yaml"] {
        put(name, &aws_auth.to_string());
    }
    let template = std::fs::read_to_string(root().join("examples/workspace-template.yaml")).expect("there");
    for name in [
        "workspace-template.yaml",
        "examples/workspace-template.yaml",
        "templates/eks.yaml",
    ] {
        put(name, &template);
    }
    let pool = scenario::node_pool("general", &json!([]));
    put("pools.yaml", &pool.to_string());
    put("addons/karpenter-helmchartproxy.yaml", &pool.to_string());
    put(
        "trust-policy.json",
        &principal_trust("arn:aws:iam::111122223333:role/pipeline").to_string(),
    );
    let of = |stage: &Stage, name: &str| {
        let environment = stage.environment();
        environment
            .into_iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
    };
    let key = of(&stage, "AWS_ACCESS_KEY_ID").expect("a key");
    let secret = of(&stage, "AWS_SECRET_ACCESS_KEY").expect("a secret");
    put(
        "config",
        &format!(
            "[profile reader]\nregion = eu-west-1\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
        ),
    );
    stage.set("AWS_CONFIG_FILE", home.join("config").to_str().expect("a path"));
    put(
        "bin/kubectl",
        &format!("#!/bin/sh\nshift\nexec '{BINARY}' \"$@\"\n"),
    );
    let kubectl = home.join("bin/kubectl");
    std::fs::set_permissions(&kubectl, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("a program");
    stage
}

fn filled_in(line: &str) -> String {
    // Longer names first: ROLE is in PROFILE's neighbourhood, not in it.
    let word = regex_lite::Regex::new(r"\b[A-Z]{4,}\b").expect("a pattern");
    let of = |found: &regex_lite::Captures<'_>| {
        let name = &found[0];
        let place = PLACES.iter().find(|(known, _)| *known == name);
        place.map_or_else(|| name.to_owned(), |(_, value)| (*value).to_owned())
    };
    word.replace_all(line, of).into_owned()
}

#[test]
fn every_command_of_the_pages_runs() {
    let mut ran = 0;
    for page in pages() {
        let text = std::fs::read_to_string(&page).expect("a page");
        let stage = reader();
        let path = format!(
            "{}:{}",
            stage.home.path().join("bin").display(),
            std::env::var("PATH").unwrap_or_default()
        );
        for (heading, block) in blocks(&text, "sh") {
            for line in block.replace("\\\n", " ").lines() {
                if !line.trim_start().starts_with("kubectl capt-spot ") {
                    continue;
                }
                let output = Command::new("sh")
                    .args(["-c", &filled_in(line)])
                    .env_clear()
                    .envs(stage.environment())
                    .env("PATH", &path)
                    .env("KUBECONFIG", stage.kubeconfig())
                    .current_dir(stage.home.path())
                    .stdin(std::process::Stdio::null())
                    .output()
                    .expect("a shell");
                let told = Ran::from(&output);
                // Nobody is there to be asked, which is wrong usage of a verb that asks.
                let asks = told.code == 2 && told.stderr.contains("--yes");
                let place = format!("{}, {heading}", page.display());
                assert!(
                    [0, 1, 3].contains(&told.code) || asks,
                    "{place}: {line}\n{told:?}"
                );
                assert!(!told.stderr.contains("panicked"), "{place}: {line}\n{told:?}");
                ran += 1;
            }
        }
    }
    assert!(ran > 50, "{ran} commands were run");
}

#[test]
fn the_pipelines_are_what_their_servers_take() {
    let Some(bed) = Testbed::require(&["github-workflow-schema", "gitlab-ci-schema"]) else {
        return;
    };
    let page = std::fs::read_to_string(root().join("docs/ci.md")).expect("the page");
    let recipes = blocks(&page, "yaml");
    let recipe = |of: &str| {
        let found = recipes.iter().find(|(heading, _)| heading.starts_with(of));
        found
            .map(|(_, text)| (format!("docs/ci.md, {of}"), text.clone()))
            .expect("a recipe")
    };
    let mut workflows = vec![recipe("GitHub")];
    for file in std::fs::read_dir(root().join(".github/workflows"))
        .expect("workflows")
        .flatten()
    {
        let text = std::fs::read_to_string(file.path()).expect("a workflow");
        workflows.push((file.path().display().to_string(), text));
    }
    for (schema, documents) in [
        ("github-workflow-schema", workflows),
        ("gitlab-ci-schema", vec![recipe("GitLab")]),
    ] {
        let text = std::fs::read_to_string(bed.path(schema)).expect("the schema");
        let schema: Value = serde_json::from_str(&text).expect("JSON");
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        for (name, text) in documents {
            let mut document: Value = serde_yaml::from_str(&text).expect("YAML");
            let errors: BTreeSet<String> = validator
                .iter_errors(&document)
                .map(|error| format!("{}: {error}", error.instance_path()))
                .collect();
            assert!(errors.is_empty(), "{name}: {errors:#?}");
            // The schema can tell.
            document["jobs"] = json!("nonsense");
            document["spot-preflight"] = json!("nonsense");
            assert!(!validator.is_valid(&document), "{name}");
        }
    }
}

/// Every shell that Debian has completes from the program itself: contexts, checks, formats.
#[test]
fn zsh_and_fish_complete_contexts_checks_and_formats() {
    let Some(bed) = Testbed::require(&["zsh", "fish"]) else {
        return;
    };
    let stage = reader();
    let home = stage.home.path();
    std::os::unix::fs::symlink(BINARY, home.join("bin/kubectl-capt_spot")).expect("a link");
    let path = format!(
        "{}:{}",
        home.join("bin").display(),
        std::env::var("PATH").unwrap_or_default()
    );
    for shell in ["zsh", "fish"] {
        let script = stage.run(&["completion", shell]).expect(0).stdout;
        std::fs::write(home.join(shell), script).expect("written");
    }
    let complete = |shell: &str, line: &str| -> Vec<String> {
        let play = match shell {
            // The last step of zsh's own functions, which print here what they would offer.
            "zsh" => format!(
                "compdef() {{ : }}\n_files() {{ print -r FILES }}\n_describe() {{ print -rl -- \"${{(@P)2}}\" }}\n\
                 . ./zsh\nwords=(${{(z)1}}); [[ $1 == *' ' ]] && words+=('')\nCURRENT=$#words\n_kubectl-capt_spot\n# {line}"
            ),
            _ => "source ./fish; complete -C \"$argv[1]\"".to_owned(),
        };
        let output = Command::new(bed.path(shell))
            .args(match shell {
                "zsh" => vec!["-f", "-c", &play, "zsh", line],
                _ => vec!["--no-config", "-c", &play, line],
            })
            .env_clear()
            .envs(stage.environment())
            .env("PATH", &path)
            .env("KUBECONFIG", stage.kubeconfig())
            .current_dir(home)
            .output()
            .expect("a shell");
        let told = Ran::from(&output);
        assert_eq!(
            (told.code, told.stderr.as_str()),
            (0, ""),
            "{shell} {line}: {told:?}"
        );
        let words = told.stdout.lines().map(|one| match shell {
            "zsh" => one
                .replace("\\:", "\u{0}")
                .split(':')
                .next()
                .unwrap_or_default()
                .replace('\u{0}', ":"),
            _ => one.split('\t').next().unwrap_or_default().to_owned(),
        });
        words.collect()
    };
    let context = PLACES[0].1;
    for (line, want) in [
        ("kubectl-capt_spot create-r", vec!["create-role"]),
        ("kubectl-capt_spot preflight --context ", vec![context]),
        (
            "kubectl-capt_spot preflight --context arn:aws:eks:eu",
            vec![context],
        ),
        ("kubectl-capt_spot preflight -o sar", vec!["sarif"]),
        ("kubectl-capt_spot preflight --report jun", vec!["junit="]),
        (
            "kubectl-capt_spot preflight --only spot-role-in",
            vec!["spot-role-intact"],
        ),
        ("kubectl-capt_spot explain spot-role-in", vec!["spot-role-intact"]),
    ] {
        for shell in ["zsh", "fish"] {
            assert_eq!(complete(shell, line), want, "{shell}: {line}");
        }
    }
    assert_eq!(complete("zsh", "kubectl-capt_spot preflight --from "), ["FILES"]);
}

/// The parts of a verb's help, in this order.
const PARTS: &[&str] = &[
    "Usage: ",
    "Commands:",
    "Arguments:",
    "Options:",
    "Flags, ",
    "Cluster:",
    "AWS:",
    "Output:",
    "Examples:",
    "Exit codes: ",
];

#[test]
fn the_help_of_every_verb_has_the_same_order() {
    let stage = Stage::healthy();
    let verbs = |line: &[&str]| -> Vec<String> {
        let ran = stage.run(&[&["__complete"], line, &[""]].concat()).expect(0);
        let words = ran
            .stdout
            .lines()
            .map(|line| line.split('\t').next().unwrap_or_default());
        words
            .filter(|word| !word.starts_with(':'))
            .map(str::to_owned)
            .collect()
    };
    let mut lines: Vec<Vec<String>> = verbs(&[]).into_iter().map(|verb| vec![verb]).collect();
    // Its own flag for the format puts one heading elsewhere.
    lines.retain(|line| line != &["fleet"]);
    for group in ["access", "template"] {
        lines.retain(|line| line != &[group]);
        lines.extend(
            verbs(&[group])
                .into_iter()
                .map(|verb| vec![group.to_owned(), verb]),
        );
    }
    assert!(lines.len() > 15, "{lines:?}");
    for line in lines {
        let words: Vec<&str> = line.iter().map(String::as_str).chain(["--help"]).collect();
        let help = stage.run(&words).expect(0).stdout;
        let parts: Vec<usize> = help
            .lines()
            .filter_map(|line| PARTS.iter().position(|part| line.starts_with(part)))
            .collect();
        assert!(parts.is_sorted_by(|a, b| a < b), "{words:?}\n{help}");
        assert_eq!(parts.last(), Some(&(PARTS.len() - 1)), "{words:?}\n{help}");
        assert!(help.contains("\nExamples:\n"), "{words:?}\n{help}");
        // The codes ascend, 130 last.
        let codes = help.split("Exit codes: ").last().unwrap_or_default();
        let codes = codes.split(|c: char| !c.is_ascii_alphanumeric());
        let codes: Vec<u16> = codes.filter_map(|word| word.parse().ok()).collect();
        assert!(
            codes.first() == Some(&0) && codes.is_sorted(),
            "{words:?}: {codes:?}"
        );
    }
}
