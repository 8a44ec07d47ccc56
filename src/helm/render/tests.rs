use std::path::Path;

use super::*;
use crate::helm::env::HelmEnv;
use crate::helm::program::write_script;

/// A helm that writes down how it was called, one line a call, and answers `get values` from a file.
fn helm(folder: &Path, get_values: &str) -> Helm {
    let text = format!(
        "#!/bin/sh\n\
         echo \"$@\" >> '{log}'\n\
         case \"$1 $2\" in\n\
         'get values') {get_values} ;;\n\
         'install --help') printf 'Flags:\\n      --brand-new   a switch\\n' ;;\n\
         *' --help') printf 'Flags:\\n' ;;\n\
         template*) for word; do case \"$word\" in *capt-spot-*.yaml) cat \"$word\"; ls -l \"$word\" | cut -c1-10;; esac; done; cat ;;\n\
         esac\n",
        log = folder.join("log").display()
    );
    let path = folder.join("helm");
    write_script(&path, &text);
    let env = HelmEnv {
        bin: Some(path.into()),
        ..HelmEnv::default()
    };
    Helm::locate(&env, None).expect("there")
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(work)
}

fn words(line: &str) -> Vec<OsString> {
    line.split(' ').map(OsString::from).collect()
}

struct Run {
    rendered: Rendered,
    /// How helm was called, the temporary file's name left out.
    calls: Vec<String>,
}

fn run(verb: Verb, line: &str, get_values: &str) -> Run {
    let folder = tempfile::tempdir().expect("a folder");
    let helm = helm(folder.path(), get_values);
    let invocation = wait(split(&helm, verb, &words(line))).expect("valid");
    let rendered = wait(render(
        &helm,
        &invocation,
        Some(b"stdin"),
        &TemplateOptions::default(),
    ))
    .expect("rendered");
    let calls = std::fs::read_to_string(folder.path().join("log")).expect("called");
    let calls = calls
        .lines()
        .map(|line| {
            line.split(' ')
                .map(|word| {
                    if word.contains("capt-spot-") {
                        assert!(!Path::new(word).exists(), "the values stay behind in {word}");
                        "FILE"
                    } else {
                        word
                    }
                })
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    Run { rendered, calls }
}

#[test]
fn an_install_is_rendered_as_given() {
    let run = run(
        Verb::Install,
        "karpenter ./chart --wait -n kube-system -f -",
        "exit 9",
    );
    assert_eq!(
        run.calls,
        ["template --skip-tests --include-crds karpenter ./chart -n kube-system -f -"]
    );
    assert_eq!(
        run.rendered,
        Rendered {
            yaml: "stdin".into(),
            previous: Previous::NotAsked
        }
    );
}

#[test]
fn an_upgrade_takes_the_old_values_that_helm_would_take() {
    let there = "echo 'settings: {clusterName: demo}'";
    for (line, get, template) in [
        (
            "r c -n ns --kube-context k",
            Some("get values --output=yaml -n ns --kube-context k -- r"),
            "template --skip-tests --is-upgrade --values FILE r c -n ns --kube-context k",
        ),
        (
            "r c --reuse-values --set a=b",
            Some("get values --output=yaml --all -- r"),
            "template --skip-tests --is-upgrade --values FILE r c --set a=b",
        ),
        (
            "r c --reset-then-reuse-values --set a=b",
            Some("get values --output=yaml -- r"),
            "template --skip-tests --is-upgrade --values FILE r c --set a=b",
        ),
        // These bring all their values; only whether the release is there matters, and only to --install.
        (
            "r c --set a=b",
            None,
            "template --skip-tests --is-upgrade r c --set a=b",
        ),
        (
            "r c --reset-values",
            None,
            "template --skip-tests --is-upgrade r c",
        ),
        (
            "r c -i -f v.yaml",
            Some("get values --output=yaml -- r"),
            "template --skip-tests --is-upgrade r c -f v.yaml",
        ),
    ] {
        let run = run(Verb::Upgrade, line, there);
        let want: Vec<_> = get.into_iter().chain([template]).collect();
        assert_eq!(run.calls, want, "{line}");
        if template.contains("FILE") {
            let yaml = "settings: {clusterName: demo}\n-rw-------\nstdin";
            assert_eq!(
                run.rendered,
                Rendered {
                    yaml: yaml.into(),
                    previous: Previous::Used
                }
            );
        }
    }
}

#[test]
fn a_release_without_values_adds_none() {
    for nothing in ["echo null", "echo '{}'", "true"] {
        let run = run(Verb::Upgrade, "r c", nothing);
        assert_eq!(run.calls[1], "template --skip-tests --is-upgrade r c");
        assert_eq!(run.rendered.previous, Previous::Used);
    }
}

#[test]
fn a_release_that_is_not_there_makes_an_upgrade_an_install() {
    let run = run(
        Verb::Upgrade,
        "r c --install",
        "echo 'Error: release: not found' >&2; exit 1",
    );
    assert_eq!(run.calls[1], "template --skip-tests --include-crds r c");
    assert_eq!(run.rendered.previous, Previous::None);
}

#[test]
fn a_release_that_cannot_be_read_is_not_taken_for_absent() {
    let run = run(Verb::Upgrade, "r c", "echo 'Error: query: forbidden' >&2; exit 1");
    assert_eq!(run.calls[1], "template --skip-tests --is-upgrade r c");
    assert_eq!(
        run.rendered.previous,
        Previous::Unreadable("Error: query: forbidden".into())
    );
}

#[test]
fn an_unknown_flag_is_looked_up_in_this_helms_help() {
    let mut run = run(Verb::Install, "r --brand-new c --yes", "exit 9");
    run.calls[..2].sort();
    assert_eq!(
        run.calls,
        [
            "install --help",
            "template --help",
            "template --skip-tests --include-crds r c"
        ]
    );
}
