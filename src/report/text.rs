//! The report as a person reads it: grouped, a symbol and a word for each status, every remedy with its commands.
//!
//! Understandable without colour and without Unicode; commands are never wrapped, so that they can be pasted.

use anstyle::{AnsiColor, Style as Ansi};

use super::{Finding, Report, Verdict};
use crate::checks::{Group, REGISTRY, Status};
use crate::model::Why;
use crate::text::sanitize::{line, short_line};
use crate::text::style::{Style, bold, dim, wrap};

fn symbol(style: Style, status: Status) -> &'static str {
    match (status, style.unicode) {
        (Status::Pass, true) => "✓",
        (Status::Pass, false) => "+",
        (Status::Warn, _) => "!",
        (Status::Fail, true) => "✗",
        (Status::Fail, false) => "x",
        (Status::Unknown, _) => "?",
        (Status::Skip, _) => "-",
    }
}

fn ansi(status: Status) -> Ansi {
    // The eight basic colours follow the terminal's own theme, dark or light.
    match status {
        Status::Pass => AnsiColor::Green.on_default(),
        Status::Warn => AnsiColor::Yellow.on_default(),
        Status::Fail => AnsiColor::Red.on_default().bold(),
        Status::Unknown => AnsiColor::Magenta.on_default(),
        Status::Skip => Ansi::new().dimmed(),
    }
}

/// The whole report.
pub fn render(report: &Report, style: Style) -> String {
    let mut out = String::new();
    header(report, style, &mut out);
    if report.redacted {
        out.push_str(
            "judged from redacted facts: what identifies anybody is masked, and commands are left out\n",
        );
    }
    let mut said: Vec<(&str, &str)> = Vec::new();
    for group in Group::ALL {
        let findings: Vec<&Finding> = report
            .checks
            .iter()
            .filter(|finding| finding.group == group)
            .collect();
        if findings.is_empty() {
            continue;
        }
        out.push('\n');
        out.push_str(&style.paint(bold(), group.title()));
        out.push('\n');
        for finding in findings {
            one(finding, style, &mut said, &mut out);
        }
    }
    out.push('\n');
    footer(report, style, &mut out);
    out
}

fn header(report: &Report, style: Style, out: &mut String) {
    let target = &report.target;
    let account = target.account.as_deref().unwrap_or("unknown");
    out.push_str(&style.paint(bold(), &line(&target.cluster)));
    out.push_str(&format!("  {}, account {}", line(&target.region), line(account)));
    if let Some(version) = &target.version {
        out.push_str(&format!(", Kubernetes {}", line(version)));
    }
    out.push('\n');
    let mut row = |name: &str, value: &str| {
        out.push_str(&style.paint(dim(), &format!("  {name:<8} ")));
        out.push_str(&short_line(value));
        out.push('\n');
    };
    row("context", &target.context);
    row("caller", report.caller.arn.as_deref().unwrap_or("unknown"));
    if let Some(user) = &report.caller.kubernetes_user {
        row("as user", user);
    }
    if let Some(mode) = &target.authentication_mode {
        row("mode", mode);
    }
}

/// Columns of a finding: `  ✓ pass     ` and then the text.
const TEXT_COLUMN: usize = 12;

/// From this width on, a short text stands beside the check's id; below, the two would make a jagged page.
const WIDE: usize = 110;

/// Columns of a check's id, where the text stands beside it.
const ID_COLUMN: usize = 23;

/// `said` holds the reasons for not knowing that the report has given already, each with the finding that gave it.
fn one<'a>(finding: &'a Finding, style: Style, said: &mut Vec<(&'a str, &'a str)>, out: &mut String) {
    let status = format!("{} {:<7}", symbol(style, finding.status), finding.status.word());
    out.push_str("  ");
    out.push_str(&style.paint(ansi(finding.status), &status));
    out.push(' ');
    out.push_str(&style.paint(bold(), &finding.id));
    let first = finding
        .reason
        .as_deref()
        .and_then(|reason| said.iter().find(|(given, _)| *given == reason));
    let message = match (first, &finding.reason) {
        (Some((_, id)), Some(reason)) => finding
            .message
            .replace(reason.as_str(), &format!("the same reason as {id}")),
        _ => finding.message.clone(),
    };
    let message = short_line(&message);
    // Where the terminal is wide enough, what fits stands on the check's own line.
    let beside = TEXT_COLUMN + ID_COLUMN + textwrap::core::display_width(&message) <= style.width;
    if style.width >= WIDE && beside && finding.id.len() < ID_COLUMN {
        out.push_str(&" ".repeat(ID_COLUMN - finding.id.len()));
        out.push_str(&message);
    } else {
        out.push('\n');
        out.push_str(&" ".repeat(TEXT_COLUMN));
        out.push_str(&wrap(style, TEXT_COLUMN, TEXT_COLUMN, &message));
    }
    out.push('\n');
    let repeated = first.is_some();
    if let (Some(reason), false) = (&finding.reason, repeated) {
        said.push((reason, &finding.id));
    }
    if let (Some(remedy), false) = (&finding.remedy, repeated) {
        let text = format!("fix: {}", short_line(&remedy.text));
        out.push_str(&" ".repeat(TEXT_COLUMN));
        out.push_str(&wrap(style, TEXT_COLUMN, TEXT_COLUMN + 5, &text));
        out.push('\n');
        for command in &remedy.commands {
            // A command of several lines (a YAML entry to paste) keeps them.
            for part in command.lines() {
                out.push_str(&" ".repeat(TEXT_COLUMN + 5));
                out.push_str(&style.paint(AnsiColor::Cyan.on_default(), &line(part)));
                out.push('\n');
            }
        }
    }
    if style.verbose {
        for (call, told) in &finding.sources {
            let text = format!("from: {}: {}", short_line(call), short_line(told));
            out.push_str(&" ".repeat(TEXT_COLUMN));
            out.push_str(&style.paint(dim(), &wrap(style, TEXT_COLUMN, TEXT_COLUMN + 6, &text)));
            out.push('\n');
        }
        if matches!(finding.status, Status::Fail | Status::Warn) {
            out.push_str(&" ".repeat(TEXT_COLUMN));
            out.push_str(&style.paint(dim(), &format!("docs: {}", line(&finding.docs))));
            out.push('\n');
        }
    }
}

/// What a verdict of `ready` says in words when everything was judged: no more than what was found bears out.
fn promise(report: &Report, cluster: &str) -> String {
    let passed = |id: &str| {
        let of = |finding: &&Finding| finding.id == id;
        let found = report.checks.iter().find(of);
        found.is_some_and(|finding| finding.status == Status::Pass)
    };
    if passed("spot-role-exists") && passed("pools-want-spot") {
        format!("Karpenter can get spot capacity on {cluster}")
    } else {
        format!("nothing that must be mended was found on {cluster}")
    }
}

fn footer(report: &Report, style: Style, out: &mut String) {
    let cluster = line(&report.target.cluster);
    let named = |status: Status| -> String {
        let ids: Vec<&str> = report
            .checks
            .iter()
            .filter(|finding| finding.status == status)
            .map(|finding| finding.id.as_str())
            .collect();
        ids.join(", ")
    };
    let (head, colour, sentence) = match report.verdict {
        Verdict::Ready if left_out(report) > 0 => {
            ("ready", Status::Pass, partly_ready(report, &named(Status::Warn)))
        }
        Verdict::Ready => {
            let look = match report.summary.warn {
                0 => String::new(),
                _ => format!("; look at {}", named(Status::Warn)),
            };
            (
                "ready",
                Status::Pass,
                format!("{}{look}", promise(report, &cluster)),
            )
        }
        Verdict::NotReady if report.summary.fail == 0 => (
            "not ready",
            Status::Fail,
            format!("--strict: {} counts as a failure", named(Status::Warn)),
        ),
        Verdict::NotReady => (
            "not ready",
            Status::Fail,
            format!(
                "Karpenter will not work with spot on {cluster} as it is: {}",
                named(Status::Fail)
            ),
        ),
        Verdict::Undecided => (
            "undecided",
            Status::Unknown,
            format!(
                "nothing failed, but something needed could not be told: {}",
                undecided_names(report)
            ),
        ),
    };
    let text = format!("{head}: {sentence}");
    let wrapped = wrap(style, 0, 2, &text);
    match wrapped.strip_prefix(head) {
        Some(rest) => {
            out.push_str(&style.paint(ansi(colour).bold(), head));
            out.push_str(rest);
        }
        None => out.push_str(&wrapped),
    }
    out.push('\n');
    let s = report.summary;
    out.push_str(&style.paint(
        dim(),
        &format!(
            "{} pass, {} warn, {} fail, {} unknown, {} skip",
            s.pass, s.warn, s.fail, s.unknown, s.skip
        ),
    ));
    out.push('\n');
    if not_reached(report) {
        let hint = "not everything could be reached: look at the network, the VPN and HTTPS_PROXY (AWS_ENDPOINT_URL, if it is set); \
                    --request-timeout 30s waits longer, -v shows every call";
        out.push_str(&wrap(style, 0, 2, hint));
        out.push('\n');
    }
    if s.fail + s.warn > 0 && !style.verbose {
        out.push_str(&style.paint(dim(), "more on a check: kubectl capt-spot explain CHECK"));
        out.push('\n');
    }
}

/// How many checks `--only` and `--skip` kept from being judged.
pub(crate) fn left_out(report: &Report) -> usize {
    let switched_off = report
        .checks
        .iter()
        .filter(|finding| finding.message == crate::checks::SWITCHED_OFF)
        .count();
    REGISTRY.len().saturating_sub(report.checks.len()) + switched_off
}

/// Part of the checks don't tell whether Karpenter gets spot capacity.
fn partly_ready(report: &Report, warned: &str) -> String {
    let left_out = left_out(report);
    let judged = REGISTRY.len().saturating_sub(left_out);
    let look = if warned.is_empty() {
        String::new()
    } else {
        format!("; look at {warned}")
    };
    format!(
        "nothing is wrong on {} in what was judged, {judged} of {} checks{look}; --only or --skip left {left_out} out, and whether \
         Karpenter gets spot capacity is not told without them",
        line(&report.target.cluster),
        REGISTRY.len()
    )
}

/// A network that does not answer is mended in one place, not at each check.
fn not_reached(report: &Report) -> bool {
    let marks = [Why::Unreachable, Why::TimedOut].map(|why| format!("{}:", why.words()));
    report
        .checks
        .iter()
        .filter_map(|finding| finding.reason.as_deref())
        .any(|reason| marks.iter().any(|mark| reason.starts_with(mark.as_str())))
}

fn undecided_names(report: &Report) -> String {
    let ids: Vec<&str> = report
        .checks
        .iter()
        .filter(|finding| finding.status == Status::Unknown)
        .map(|finding| finding.id.as_str())
        .collect();
    if ids.is_empty() {
        "what the chosen checks rest on (see the skipped ones)".to_owned()
    } else {
        ids.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_is_not_broken() {
        let narrow = Style {
            width: 40,
            ..Style::PLAIN
        };
        for (text, want) in [
            (
                "To mend it, once for the account: `kubectl capt-spot create-role`.",
                "To mend it, once for the account:\n`kubectl capt-spot create-role`.",
            ),
            // Longer than a line: broken as anything else is.
            (
                "see `- rolearn: arn:aws:iam::111122223333:role/demo-node`",
                "see `- rolearn:\narn:aws:iam::111122223333:role/demo-node`",
            ),
            // Never closed: nothing is quoted.
            (
                "a line that was cut off: `- rolearn: and more",
                "a line that was cut off: `- rolearn: and\nmore",
            ),
        ] {
            assert_eq!(wrap(narrow, 0, 0, text), want);
        }
    }
}
