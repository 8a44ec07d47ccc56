//! What tests of checks share.

use std::fmt::Write as _;

use crate::facts::Facts;
use crate::facts::fixture::healthy;
use crate::model::Judgement;

pub(crate) type Damage = fn(&mut Facts);

/// A check's whole finding in each of these worlds, as a reviewer reads it.
pub(crate) fn told_of(
    world: fn() -> Facts,
    judge: fn(&Facts) -> Judgement,
    cases: &[(&str, Damage)],
) -> String {
    let all = cases.iter().map(|(name, damage)| {
        let mut facts = world();
        damage(&mut facts);
        format!("# {name}\n{}", told(&judge(&facts)))
    });
    all.collect::<Vec<_>>().join("\n")
}

fn told(judgement: &Judgement) -> String {
    let mut out = judgement.status.word().to_owned();
    if let Some(skip) = &judgement.skip {
        _ = write!(out, " ({skip:?})");
    }
    if let Some(headline) = &judgement.headline {
        _ = write!(out, ": {headline}");
    }
    _ = writeln!(out, "\n{}", judgement.message);
    if let Some(remedy) = &judgement.remedy {
        _ = writeln!(out, "fix: {}", remedy.text);
        for command in &remedy.commands {
            _ = writeln!(out, "  $ {command}");
        }
        for line in remedy.snippets.iter().flat_map(|snippet| snippet.text.lines()) {
            _ = writeln!(out, "  | {line}");
        }
    }
    if !judgement.evidence.is_empty() {
        _ = writeln!(out, "evidence: {}", serde_json::json!(judgement.evidence));
    }
    out
}

/// The snapshots of its findings: one that passes and one that does not, at least.
#[test]
fn every_check_has_a_snapshot() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/checks/snapshots");
    let texts: Vec<(String, String)> = std::fs::read_dir(folder)
        .expect("the snapshots")
        .filter_map(|file| {
            let path = file.ok()?.path();
            let text = std::fs::read_to_string(&path).ok()?;
            Some((path.file_stem()?.to_str()?.to_owned(), text))
        })
        .collect();
    for check in crate::checks::REGISTRY {
        let module = check.id.replace('-', "_");
        let of_check = texts
            .iter()
            .filter(|(name, _)| name.split("__").any(|part| part == module));
        let findings: Vec<&str> = of_check
            .flat_map(|(_, text)| text.split("\n# ").skip(1))
            .filter_map(|finding| finding.lines().nth(1)?.split([':', ' ']).next())
            .collect();
        for good in [true, false] {
            assert!(
                findings
                    .iter()
                    .any(|status| matches!(*status, "pass" | "skip") == good),
                "{} has no snapshot of a finding that is {}: {findings:?}",
                check.id,
                if good { "good" } else { "bad" }
            );
        }
    }
}

mod fixes {
    use super::*;
    use crate::checks::REGISTRY;
    use crate::facts::fixture::{absent, denied, known_cluster, unreachable, with_karpenter};
    use crate::model::CommandScope;

    const WORLDS: &[(&str, Damage)] = &[
        ("healthy", |_| {}),
        ("Karpenter is there", |f| *f = with_karpenter()),
        ("creating", |f| known_cluster(f).status = "CREATING".into()),
        ("gone", |f| f.cluster = absent("x")),
        ("another endpoint", |f| {
            f.target.server = "https://OLD.gr7.eu-west-1.eks.amazonaws.com".into()
        }),
        ("a tunnel", |f| f.target.server = "https://localhost:8443".into()),
        ("sources disagree", |f| {
            f.target.disagreements.push("a names b".into())
        }),
        ("another account", |f| {
            f.target.account = Some("123456789012".into())
        }),
        ("no spot role", |f| f.spot_role = absent("x")),
        ("no aws-auth", |f| f.aws_auth = absent("x")),
        ("no node role", |f| f.node_roles = absent("x")),
        ("nothing may be installed", |f| {
            f.may_install = crate::facts::fixture::known("x", Vec::new());
        }),
        ("all denied", |f| {
            f.cluster = denied("eks:DescribeCluster");
            f.spot_role = denied("iam:GetRole");
            f.aws_auth = denied("x");
            f.kubernetes_user = denied("x");
            f.node_roles = denied("iam:GetRole");
            f.may_install = denied("x");
        }),
        ("nothing answers", |f| {
            f.caller = unreachable("x");
            f.cluster = unreachable("x");
            f.spot_role = unreachable("x");
        }),
        ("another cluster's chart", |f| {
            f.ask.installing = true;
            f.ask.chart_cluster = Some("other".into());
        }),
    ];

    /// Whoever pastes it may have another current context and another default profile.
    fn names_its_target(command: &str, context: &str, kubeconfig: Option<&str>) -> bool {
        let words = shlex::split(command).unwrap_or_default();
        let has = |flag: &str, value: &str| words.windows(2).any(|two| two[0] == flag && two[1] == value);
        let in_file = kubeconfig.is_none_or(|file| has("--kubeconfig", file));
        match words.first().map(String::as_str) {
            Some("kubectl") if words.get(1).is_some_and(|word| word == "capt-spot") => {
                // What asks no cluster needs none.
                matches!(words.get(2).map(String::as_str), Some("policy" | "explain"))
                    || has("--context", context) && in_file
            }
            Some("kubectl") => has("--context", context) && in_file,
            Some("helm") => has("--kube-context", context) && in_file,
            Some("aws") if words.get(1).is_some_and(|word| word == "configure") => true,
            Some("aws" | "eksctl") => has("--region", "eu-west-1") && has("--profile", "prod-admin"),
            _ => false,
        }
    }

    #[test]
    fn every_command_of_every_fix_names_its_target() {
        let mut wrong = Vec::new();
        let here = CommandScope {
            context: Some("prod".to_owned()),
            kubeconfig: Some("/etc/kube/prod".to_owned()),
            own: Vec::new(),
        };
        let nowhere = CommandScope::default();
        for (scope, context, file) in [
            (here, "prod", Some("/etc/kube/prod")),
            (nowhere, "demo.eu-west-1", None),
        ] {
            for (name, damage) in WORLDS {
                let mut facts = healthy();
                damage(&mut facts);
                facts.target.scope = scope.clone();
                facts.target.profile = Some("prod-admin".to_owned());
                for check in REGISTRY {
                    let remedy = (check.judge)(&facts).remedy.unwrap_or_default();
                    let of_target = |command: &&String| !names_its_target(command, context, file);
                    wrong.extend(
                        remedy
                            .commands
                            .iter()
                            .filter(of_target)
                            .map(|command| format!("{} / {name}: {command}", check.id)),
                    );
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn a_hostile_name_stays_one_word_in_a_command() {
        for check in REGISTRY {
            for (name, damage) in WORLDS {
                let mut facts = healthy();
                damage(&mut facts);
                facts.target.cluster = "$(reboot) x".to_owned();
                for command in (check.judge)(&facts).remedy.unwrap_or_default().commands {
                    if !command.contains("reboot") {
                        continue;
                    }
                    let words = shlex::split(&command).expect("a command");
                    assert!(
                        words.iter().any(|word| word.contains("$(reboot) x")),
                        "{} / {name}: {command}",
                        check.id
                    );
                }
            }
        }
    }
}
