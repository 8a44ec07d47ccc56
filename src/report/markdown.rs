//! The report as Markdown, for pull requests and issues.

use super::text::left_out;
use super::{Report, Verdict};
use crate::checks::{Group, Status};
use crate::text::sanitize::line;

/// The document.
pub fn render(report: &Report) -> String {
    let target = &report.target;
    let verdict = match report.verdict {
        Verdict::Ready => "ready",
        Verdict::NotReady => "not ready",
        Verdict::Undecided => "undecided",
    };
    // Ready in a few checks is not ready.
    let part = match (report.verdict, left_out(report)) {
        (Verdict::Ready, 1..) => format!(" in what was judged, without {} checks", left_out(report)),
        _ => String::new(),
    };
    let mut out = format!(
        "## EC2 Spot preflight: {} is {verdict}{part}\n\nRegion {}, account {}, caller {}\n\n",
        text(&target.cluster),
        text(&target.region),
        text(target.account.as_deref().unwrap_or("unknown")),
        text(report.caller.arn.as_deref().unwrap_or("unknown")),
    );
    out.push_str("| | check | finding |\n|---|---|---|\n");
    for group in Group::ALL {
        for finding in report.checks.iter().filter(|finding| finding.group == group.id()) {
            let status = match finding.status {
                Status::Pass => "pass",
                Status::Warn => "**warn**",
                Status::Fail => "**FAIL**",
                Status::Unknown => "**unknown**",
                Status::Skip => "skip",
            };
            out.push_str(&format!(
                "| {status} | [`{}`]({}) | {} |\n",
                finding.id,
                finding.docs,
                text(&finding.message)
            ));
        }
    }
    let with_remedy: Vec<_> = report
        .checks
        .iter()
        .filter_map(|finding| finding.remedy.as_ref().map(|remedy| (finding, remedy)))
        .collect();
    if !with_remedy.is_empty() {
        out.push_str("\n### What to do\n");
    }
    for (finding, remedy) in with_remedy {
        out.push_str(&format!("\n**{}**: {}\n", finding.id, text(&remedy.text)));
        if !remedy.commands.is_empty() {
            let commands: Vec<String> = remedy
                .commands
                .iter()
                .flat_map(|command| command.lines().map(|one| line(one).into_owned()))
                .collect();
            let fence = fence_for(&commands);
            out.push_str(&format!("\n{fence}sh\n{}\n{fence}\n", commands.join("\n")));
        }
    }
    let s = report.summary;
    out.push_str(&format!(
        "\n{} pass, {} warn, {} fail, {} unknown, {} skip\n",
        s.pass, s.warn, s.fail, s.unknown, s.skip
    ));
    out
}

/// A fence that no line of the block can end: a hostile name may hold backticks.
fn fence_for(lines: &[String]) -> String {
    let longest = lines
        .iter()
        .flat_map(|one| one.split(|c| c != '`'))
        .map(str::len)
        .max()
        .unwrap_or(0);
    "`".repeat(longest.max(2) + 1)
}

/// Text from elsewhere, with nothing in it that Markdown or HTML would take for its own.
fn text(from: &str) -> String {
    let mut out = String::with_capacity(from.len());
    for c in line(from).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '!' | '~' => {
                out.push('\\');
                out.push(c);
            }
            // A mention or an issue reference would call people.
            '@' => out.push_str("&#64;"),
            c => out.push(c),
        }
    }
    out
}
