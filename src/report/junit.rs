//! The report as JUnit XML (the schema of the Jenkins xUnit plugin), for CI systems that show tests.
//!
//! A failing check is a failure, one that could not be read an error, a warning passes with its message on `system-out`
//! (with `--strict` the exit code says more), a skipped one is skipped.

use std::fmt::Write as _;

use super::{Finding, Report};
use crate::checks::{Group, Status};

/// The document, of one cluster or of several; a suite is a group of checks, of several clusters with its context before it.
pub fn render(reports: &[Report]) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let sum = |of: fn(&Report) -> usize| reports.iter().map(of).sum::<usize>();
    let name = match reports {
        [one] => format!("capt-spot preflight {}", one.target.context),
        several => format!("capt-spot preflight of {} clusters", several.len()),
    };
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "<testsuites name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\">",
        escape(&name),
        sum(|report| report.checks.len()),
        sum(|report| report.summary.fail),
        sum(|report| report.summary.unknown)
    );
    for report in reports {
        let context = (reports.len() > 1).then_some(report.target.context.as_str());
        for group in Group::ALL {
            suite(report, group, context, &mut out);
        }
    }
    out.push_str("</testsuites>\n");
    out
}

fn suite(report: &Report, group: Group, context: Option<&str>, out: &mut String) {
    let findings: Vec<&Finding> = report
        .checks
        .iter()
        .filter(|finding| finding.group == group.id())
        .collect();
    if findings.is_empty() {
        return;
    }
    let count = |status: Status| findings.iter().filter(|finding| finding.status == status).count();
    let (name, class) = match context {
        Some(context) => (
            escape(&format!("{context} {}", group.id())),
            escape(&format!("capt-spot.{}.{}", context.replace('.', "_"), group.id())),
        ),
        None => (group.id().to_owned(), format!("capt-spot.{}", group.id())),
    };
    let _ = writeln!(
        out,
        "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\">",
        findings.len(),
        count(Status::Fail),
        count(Status::Unknown),
        count(Status::Skip)
    );
    for finding in findings {
        case(finding, &class, out);
    }
    out.push_str("  </testsuite>\n");
}

fn case(finding: &Finding, class: &str, out: &mut String) {
    let _ = write!(
        out,
        "    <testcase classname=\"{class}\" name=\"{}\"",
        escape(&finding.id)
    );
    let message = escape(&finding.message);
    let body = escape(&body(finding));
    let _ = match finding.status {
        Status::Pass => writeln!(out, "/>"),
        Status::Warn => writeln!(
            out,
            ">\n      <system-out>warn: {body}</system-out>\n    </testcase>"
        ),
        Status::Fail => {
            writeln!(
                out,
                ">\n      <failure message=\"{message}\" type=\"fail\">{body}</failure>\n    </testcase>"
            )
        }
        Status::Unknown => {
            writeln!(
                out,
                ">\n      <error message=\"{message}\" type=\"unknown\">{body}</error>\n    </testcase>"
            )
        }
        Status::Skip => writeln!(out, ">\n      <skipped message=\"{message}\"/>\n    </testcase>"),
    };
}

/// Message and remedy, as plain text.
fn body(finding: &Finding) -> String {
    let mut text = finding.message.clone();
    if let Some(remedy) = &finding.remedy {
        text.push_str("\nfix: ");
        text.push_str(&remedy.text);
        for command in &remedy.commands {
            text.push_str("\n  ");
            text.push_str(command);
        }
    }
    text
}

/// Text for XML 1.0: markup escaped, and the characters that no XML document may hold written out.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            c if crate::text::sanitize::harmless(c) && !matches!(c, '\u{FFFE}' | '\u{FFFF}') => out.push(c),
            c => out.extend(c.escape_unicode()),
        }
    }
    out
}
