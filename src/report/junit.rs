//! The report as JUnit XML (the schema of the Jenkins xUnit plugin), for CI systems that show tests.
//!
//! A failing check is a failure, one that could not be read an error, a warning passes with its message on `system-out`
//! (with `--strict` the exit code says more), a skipped one is skipped.

use std::fmt::Write as _;

use super::{Finding, Report};
use crate::checks::{Group, Status};

/// The document.
pub fn render(report: &Report) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let total = report.checks.len();
    let s = report.summary;
    let name = format!("capt-spot preflight {}", report.target.context);
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "<testsuites name=\"{}\" tests=\"{total}\" failures=\"{}\" errors=\"{}\">",
        escape(&name),
        s.fail,
        s.unknown
    );
    for group in Group::ALL {
        let findings: Vec<&Finding> = report
            .checks
            .iter()
            .filter(|finding| finding.group == group)
            .collect();
        if findings.is_empty() {
            continue;
        }
        let count = |status: Status| findings.iter().filter(|finding| finding.status == status).count();
        let _ = writeln!(
            out,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\">",
            group.id(),
            findings.len(),
            count(Status::Fail),
            count(Status::Unknown),
            count(Status::Skip)
        );
        for finding in findings {
            case(finding, group, &mut out);
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

fn case(finding: &Finding, group: Group, out: &mut String) {
    let _ = write!(
        out,
        "    <testcase classname=\"capt-spot.{}\" name=\"{}\"",
        group.id(),
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
            c if super::sanitize::harmless(c) && !matches!(c, '\u{FFFE}' | '\u{FFFF}') => out.push(c),
            c => out.extend(c.escape_unicode()),
        }
    }
    out
}
