//! JUnit XML (the schema of the Jenkins xUnit plugin), for CI systems that show tests.
//!
//! A failing check is a failure, one that could not be read an error; a warning passes with its message on `system-out`, and
//! fails with `--strict`; a skipped one is skipped.

use std::fmt::Write as _;

use super::{Finding, Page};
use crate::checks::Status;
use crate::text::sanitize::{defused, harmless};

/// The document: a suite is a group of checks, of several answers with its name before it.
pub(crate) fn render(pages: &[Page]) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let sum = |status: Status| -> usize { pages.iter().map(|page| counted(page, None, status)).sum() };
    let verb = pages.first().map_or("", |page| page.verb);
    let name = match pages {
        [one] => format!("capt-spot {verb} {}", one.subject),
        several => format!("capt-spot {verb}, {} reports", several.len()),
    };
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "<testsuites name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\">",
        escape(&name),
        pages.iter().map(|page| page.findings.len()).sum::<usize>(),
        sum(Status::Fail),
        sum(Status::Unknown)
    );
    for page in pages {
        for group in page.groups() {
            suite(page, group, pages.len() > 1, &mut out);
        }
    }
    out.push_str("</testsuites>\n");
    out
}

fn counted(page: &Page, group: Option<&str>, status: Status) -> usize {
    page.findings
        .iter()
        .filter(|finding| group.is_none_or(|group| finding.group == group))
        .filter(|finding| page.counts_as(finding) == status)
        .count()
}

fn suite(page: &Page, group: &str, several: bool, out: &mut String) {
    let findings: Vec<&Finding> = page
        .findings
        .iter()
        .filter(|finding| finding.group == group)
        .collect();
    let (name, class) = if several {
        (
            format!("{} {group}", page.name),
            format!("capt-spot.{}.{group}", page.name.replace('.', "_")),
        )
    } else {
        (group.to_owned(), format!("capt-spot.{group}"))
    };
    let _ = writeln!(
        out,
        "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\">",
        escape(&name),
        findings.len(),
        counted(page, Some(group), Status::Fail),
        counted(page, Some(group), Status::Unknown),
        counted(page, Some(group), Status::Skip)
    );
    let class = escape(&class);
    for finding in findings {
        case(page, finding, &class, out);
    }
    out.push_str("  </testsuite>\n");
}

fn case(page: &Page, finding: &Finding, class: &str, out: &mut String) {
    let _ = write!(
        out,
        "    <testcase classname=\"{class}\" name=\"{}\"",
        escape(&finding.id)
    );
    let headline = escape(&finding.headline);
    let body = escape(&body(finding));
    let _ = match (page.counts_as(finding), finding.status) {
        (Status::Pass, _) => writeln!(out, "/>"),
        (Status::Warn, _) => writeln!(
            out,
            ">\n      <system-out>warn: {body}</system-out>\n    </testcase>"
        ),
        (Status::Fail, Status::Warn) => writeln!(
            out,
            ">\n      <failure message=\"{headline}\" type=\"warn (--strict)\">{body}</failure>\n    </testcase>"
        ),
        (Status::Fail, _) => writeln!(
            out,
            ">\n      <failure message=\"{headline}\" type=\"fail\">{body}</failure>\n    </testcase>"
        ),
        (Status::Unknown, _) => writeln!(
            out,
            ">\n      <error message=\"{headline}\" type=\"unknown\">{body}</error>\n    </testcase>"
        ),
        (Status::Skip, _) => writeln!(
            out,
            ">\n      <skipped message=\"{}\"/>\n    </testcase>",
            escape(&finding.message)
        ),
    };
}

/// Headline, message and fix as plain text.
fn body(finding: &Finding) -> String {
    format!("{}\n{}", finding.headline, finding.told("\n"))
}

/// Text for XML 1.0: markup escaped, and the characters that no XML document may hold written out.
fn escape(text: &str) -> String {
    let text = defused(text);
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            c if harmless(c) && !matches!(c, '\u{FFFE}' | '\u{FFFF}') => out.push(c),
            c => out.extend(c.escape_unicode()),
        }
    }
    out
}
