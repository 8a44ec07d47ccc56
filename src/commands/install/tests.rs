use std::cell::{Cell, RefCell};

use super::*;
use crate::helm::args::parse;
use crate::helm::flags::FlagTable;
use crate::model::Judgement;
use crate::report::{Envelope, Finding, ReportCaller, ReportTarget, Summary};

fn invocation(line: &str) -> Invocation {
    let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
    parse(&words, &FlagTable::new(Verb::Install)).expect(line)
}

fn installation(line: &str) -> Installation {
    let invocation = invocation(line);
    Installation {
        may_create: may_create(&invocation),
        cluster: ClusterChoice::of(&invocation, &HelmEnv::default()),
        chart: ChartFacts::default(),
        previous: Previous::NotAsked,
        invocation,
    }
}

fn report(verdict: Verdict) -> Report {
    let finding = |id: &str, status| {
        let judgement = Judgement {
            status,
            ..Judgement::pass("")
        };
        Finding::new(id, "spot-role", "", judgement)
    };
    Report {
        envelope: Envelope::new("PreflightReport", "preflight-report", jiff::Timestamp::UNIX_EPOCH),
        partial: false,
        strict: false,
        phase: None,
        offline: None,
        target: ReportTarget {
            context: String::new(),
            cluster: String::new(),
            region: String::new(),
            account: None,
            partition: String::new(),
            arn: None,
            server: String::new(),
            authentication_mode: None,
            version: None,
        },
        caller: ReportCaller {
            arn: None,
            account: None,
            kubernetes_user: None,
        },
        verdict,
        summary: Summary::default(),
        checks: match verdict {
            Verdict::Ready => vec![finding("spot-role-exists", Status::Pass)],
            Verdict::NotReady => vec![
                finding("spot-role-exists", Status::Fail),
                finding("same-account", Status::Unknown),
            ],
            Verdict::Undecided => vec![finding("same-account", Status::Unknown)],
        },
    }
}

struct Ran {
    result: Result<Exit, CliError>,
    shown: usize,
    said: String,
    helm_ran: bool,
}

fn run(line: &str, preflight: Result<Report, CliError>) -> Ran {
    let (shown, helm_ran, said) = (Cell::new(0), Cell::new(false), RefCell::new(String::new()));
    let result = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(gate(
            &installation(line),
            async |_| {
                assert!(!helm_ran.get(), "helm ran before the verdict");
                preflight
            },
            |_| {
                shown.set(shown.get() + 1);
                Ok(())
            },
            |text| said.borrow_mut().push_str(text),
            || {
                helm_ran.set(true);
                Ok(42)
            },
        ));
    Ran {
        result,
        shown: shown.get(),
        said: said.into_inner(),
        helm_ran: helm_ran.get(),
    }
}

#[test]
fn ready_hands_over_and_hands_on_helms_exit_code() {
    let ran = run("r c", Ok(report(Verdict::Ready)));
    assert_eq!(ran.result.expect("fine"), Exit::Other(42));
    assert!(ran.helm_ran);
    assert_eq!((ran.shown, ran.said.as_str()), (0, ""));
}

#[test]
fn not_ready_and_undecided_block() {
    for (verdict, exit) in [
        (Verdict::NotReady, Exit::Failed),
        (Verdict::Undecided, Exit::Undecided),
    ] {
        let ran = run("r c --yes", Ok(report(verdict)));
        assert_eq!(ran.result.expect("a verdict"), exit);
        assert!(!ran.helm_ran);
        assert_eq!(ran.shown, 1);
        assert_eq!(
            ran.said,
            "helm install was not run: nothing was written to the cluster."
        );
    }
}

#[test]
fn forced_installs_and_says_so_loudly() {
    let ran = run("r c --force-install", Ok(report(Verdict::NotReady)));
    assert_eq!(ran.result.expect("fine"), Exit::Other(42));
    assert_eq!(ran.shown, 1);
    insta::assert_snapshot!(ran.said, @r"
    WARNING: --force-install: INSTALLING ALTHOUGH THE CLUSTER IS NOT READY.
      failed:  spot-role-exists
      unknown: same-account
    ");
    // Where it is ready there is nothing to be loud about.
    assert_eq!(run("r c --force-install", Ok(report(Verdict::Ready))).said, "");
}

#[test]
fn a_preflight_that_cannot_be_made_blocks_unless_forced() {
    let ran = run("r c", Err(CliError::failed("no kubeconfig")));
    assert_eq!(ran.result.expect_err("stopped").message, "no kubeconfig");
    assert!(!ran.helm_ran);
    let ran = run("r c --force-install", Err(CliError::failed("no kubeconfig")));
    assert!(ran.helm_ran);
    assert!(ran.said.contains("NOTHING COULD BE CHECKED"), "{}", ran.said);
    assert!(ran.said.contains("no kubeconfig"), "{}", ran.said);
    // Wrong usage and Ctrl-C stay what they are.
    for exit in [Exit::Usage, Exit::Interrupted] {
        let stop = CliError {
            message: String::new(),
            exit,
        };
        let ran = run("r c --force-install", Err(stop));
        assert_eq!(ran.result.expect_err("stopped").exit, exit);
        assert!(!ran.helm_ran);
    }
}

#[test]
fn a_dry_run_stands_over_yes() {
    for (line, want) in [
        ("r c", MayCreate::AfterAsking),
        ("r c --yes", MayCreate::WithoutAsking),
        ("r c --no-input", MayCreate::Never),
        ("r c --yes --no-input", MayCreate::WithoutAsking),
        ("r c --yes --dry-run", MayCreate::Never),
        ("r c --yes --dry-run=server", MayCreate::Never),
        ("r c --yes --dry-run=none", MayCreate::WithoutAsking),
    ] {
        assert_eq!(may_create(&invocation(line)), want, "{line}");
    }
}

#[test]
fn what_cannot_be_seen_is_said() {
    let mut odd = installation("r c --kube-token x");
    odd.previous = Previous::Unreadable("Error: forbidden".to_owned());
    odd.chart = ChartFacts::read("key: [", "ns").expect("read");
    odd.chart.other_controllers = vec!["ns/second".to_owned()];
    let all = odd.blind_spots();
    assert_eq!(all.len(), 4, "{all:?}");
    for (text, word) in all
        .iter()
        .zip(["--kube-token", "Error: forbidden", "document 1", "ns/second"])
    {
        assert!(text.contains(word), "{text}");
    }
    assert!(installation("r c").blind_spots().is_empty());
}

#[test]
fn the_cluster_of_the_chart() {
    let of = |container: &str| {
        let mut some = installation("r c");
        let text = format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: k, labels: {{app.kubernetes.io/name: karpenter}}}}\n\
             spec: {{template: {{spec: {{containers: [{{name: controller, {container}}}]}}}}}}\n"
        );
        some.chart = ChartFacts::read(&text, "ns").expect("read");
        some.chart_cluster().map(str::to_owned)
    };
    assert_eq!(
        of("env: [{name: CLUSTER_NAME, value: demo}]").as_deref(),
        Some("demo")
    );
    assert_eq!(of("env: []"), None);
    assert_eq!(installation("r c").chart_cluster(), None);
}

#[test]
fn helms_own_error_is_handed_on_once_with_its_code() {
    let failed = |stderr: &str, code| {
        let stop = CliError::from(HelmError::Failed {
            command: "template".to_owned(),
            stderr: stderr.to_owned(),
            code,
        });
        (stop.message, stop.exit)
    };
    assert_eq!(
        failed("Error: chart requires kubeVersion\n", Some(1)),
        ("chart requires kubeVersion".to_owned(), Exit::Other(1))
    );
    assert_eq!(
        failed("WARNING: open kubeconfig\nError: bad\nUse --debug\n", Some(1)).0,
        "bad\nUse --debug"
    );
    assert_eq!(
        failed("panic: no prefix", Some(2)),
        ("panic: no prefix".to_owned(), Exit::Other(2))
    );
    assert_eq!(
        failed("", None),
        ("helm template failed and said nothing".to_owned(), Exit::Other(1))
    );
    let usage = parse(
        &["r".into(), "c".into(), "--region".into()],
        &FlagTable::new(Verb::Install),
    );
    let stop = CliError::from(SplitError::from(usage.expect_err("no value")));
    assert_eq!(stop.exit, Exit::Usage);
}

#[test]
fn the_usage_text() {
    insta::assert_snapshot!(usage(Verb::Upgrade, "helm capt-spot"));
}
