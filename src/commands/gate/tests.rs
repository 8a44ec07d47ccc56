use std::cell::RefCell;

use super::*;
use crate::checks::REGISTRY;

const CHART: &[u8] = b"---\r\n# Source: a\napiVersion: v1\nkind: Service\nmetadata: {name: a}\n\n\n";

fn report(verdict: Verdict) -> Report {
    assert!(!REGISTRY.is_empty());
    let facts = crate::facts::fixture::healthy();
    let selection = crate::report::Selection {
        skip: crate::checks::Group::ALL
            .iter()
            .map(|group| group.id().to_owned())
            .collect(),
        ..crate::report::Selection::default()
    };
    Report {
        verdict,
        ..crate::report::judge(&facts, &selection)
    }
}

struct Ran {
    result: Result<Exit, CliError>,
    stdout: Vec<u8>,
    stderr: String,
    file: Option<String>,
}

fn run(preflight: Result<Report, CliError>) -> Ran {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report");
    let piped = read(CHART, "ns").expect("read");
    let mut stdout = Vec::new();
    let stderr = RefCell::new(String::new());
    let destinations = Destinations {
        file: Some(&file),
        terminal: false,
    };
    let result = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(gate(
            &piped,
            destinations,
            &mut stdout,
            async |chart| {
                assert_eq!(chart.objects.len(), 1);
                preflight
            },
            |report| format!("verdict {}\n", report.verdict.word()),
            |text| stderr.borrow_mut().push_str(text),
        ));
    Ran {
        result,
        stdout,
        stderr: stderr.into_inner(),
        file: std::fs::read_to_string(&file).ok(),
    }
}

#[test]
fn ready_passes_the_bytes_on_and_says_nothing() {
    let ran = run(Ok(report(Verdict::Ready)));
    assert_eq!(ran.result.expect("fine"), Exit::Done);
    assert_eq!(ran.stdout, CHART);
    assert_eq!(ran.stderr, "");
    assert_eq!(ran.file.as_deref(), Some("verdict ready\n"));
}

#[test]
fn anything_else_passes_nothing_on_and_ends_with_one() {
    for verdict in [Verdict::NotReady, Verdict::Undecided] {
        let ran = run(Ok(report(verdict)));
        assert_eq!(ran.result.expect("a verdict").code(), 1);
        assert_eq!(ran.stdout, b"");
        let want = format!("verdict {}\n", verdict.word());
        assert_eq!(
            (ran.stderr.as_str(), ran.file.as_deref()),
            (want.as_str(), Some(want.as_str()))
        );
    }
    for exit in [Exit::Failed, Exit::Usage, Exit::Undecided] {
        let ran = run(Err(CliError {
            message: "no kubeconfig".to_owned(),
            exit,
        }));
        let stop = ran.result.expect_err("stopped");
        assert_eq!(
            (stop.message.as_str(), stop.exit),
            ("no kubeconfig", Exit::Failed)
        );
        assert_eq!(ran.stdout, b"");
        // The caller prints the message; said here too it would come twice.
        assert_eq!(ran.stderr, "");
        assert_eq!(ran.file.as_deref(), Some("error: no kubeconfig\n"));
    }
}

#[test]
fn input_that_cannot_be_judged_is_not_passed_on() {
    for (bytes, word) in [(&b""[..], "nothing on standard input"), (b"a: \xff", "not UTF-8")] {
        let stop = read(bytes, "ns").map(|_| ()).expect_err("refused");
        assert!(stop.message.contains(word), "{}", stop.message);
    }
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("pipe"))
        }
    }
    assert!(read(Broken, "ns").is_err());
}

#[test]
fn a_report_file_that_cannot_be_written_stops_before_anything_is_passed_on() {
    let piped = read(CHART, "ns").expect("read");
    let mut stdout = Vec::new();
    let folder = tempfile::tempdir().expect("a folder");
    let destinations = Destinations {
        file: Some(folder.path()),
        terminal: false,
    };
    let result = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(gate(
            &piped,
            destinations,
            &mut stdout,
            async |_| Ok(report(Verdict::Ready)),
            |_| String::new(),
            |_| (),
        ));
    assert!(result.is_err());
    assert_eq!(stdout, b"");
}
