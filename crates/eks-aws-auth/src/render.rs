//! A decision and the list of principals as text for people.

use super::decide::{Decision, Outcome};
use super::document::{Problem, Severity};
use super::listing::{Listed, State};
use std::fmt::Write as _;

/// The most problems and passed-over entries that are written out; JSON has them all.
const MOST: usize = 20;

/// A decision as text, without colour. `file_line` gives the line of the file at hand for a key's line, where there is a
/// file ([`super::Manifest::file_line`]).
pub fn decision_text(decision: &Decision, file_line: impl Fn(&str, usize) -> Option<usize>) -> String {
    let mut out = String::new();
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(out, "{name:<10}{}", plain(value));
    };
    row("principal", &decision.principal);
    if let Some(canonical) = decision
        .canonical_arn
        .as_deref()
        .filter(|arn| *arn != decision.principal)
    {
        row("compared", canonical);
    }
    row(
        "outcome",
        match decision.outcome {
            Outcome::Mapped => "mapped",
            Outcome::NotMapped => "not mapped (401 Unauthorized)",
            Outcome::Denied => "denied (401 Unauthorized)",
            Outcome::Ambiguous => "ambiguous: it depends on chance",
        },
    );
    if decision.outcome == Outcome::Mapped {
        row(
            "username",
            decision
                .username
                .as_deref()
                .map_or("(not read)", |name| if name.is_empty() { "\"\"" } else { name }),
        );
        let groups = if decision.groups.is_empty() {
            "(none)".to_owned()
        } else {
            decision.groups.join(", ")
        };
        row("groups", &groups);
    }
    if let Some(source) = &decision.source {
        let mut place = source.to_string();
        if let (Some(key), Some(line)) = (source.key, source.line)
            && let Some(in_file) = file_line(key.as_str(), line)
        {
            let _ = write!(place, " (line {in_file} of the file)");
        }
        if let Some(quote) = &source.quote {
            let _ = write!(place, ": {quote}");
        }
        row("source", &place);
    }
    row("reason", &decision.reason);
    for way in &decision.alternatives {
        let who = match (&way.outcome, &way.username) {
            (Outcome::Mapped, Some(username)) => format!("{username:?}, groups {}", way.groups.join(", ")),
            (outcome, _) => format!("{outcome:?}"),
        };
        row("perhaps", &format!("{who}: {}", way.reason));
    }
    for caveat in &decision.caveats {
        row("note", caveat);
    }
    if !decision.passed_over.is_empty() {
        out.push_str("\nPassed over\n");
        for over in decision.passed_over.iter().take(MOST) {
            let _ = writeln!(out, "  {}", plain(&over.message));
        }
        more(&mut out, decision.passed_over.len());
    }
    problems(&mut out, &decision.problems, file_line);
    out
}

fn problems(out: &mut String, problems: &[Problem], file_line: impl Fn(&str, usize) -> Option<usize>) {
    if problems.is_empty() {
        return;
    }
    out.push_str("\nProblems of aws-auth\n");
    // What loses something first; within that, the order of the text.
    let mut ordered: Vec<&Problem> = problems.iter().collect();
    ordered.sort_by_key(|problem| std::cmp::Reverse(problem.severity));
    for problem in ordered.into_iter().take(MOST) {
        let severity = match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let place = match (&problem.key, problem.line) {
            (Some(key), Some(line)) => match file_line(key, line) {
                Some(in_file) => format!("{key} line {line} (line {in_file} of the file): "),
                None => format!("{key} line {line}: "),
            },
            (Some(key), None) => format!("{key}: "),
            _ => String::new(),
        };
        let _ = writeln!(
            out,
            "  {severity:<8}{}",
            plain(&format!("{place}{}", problem.message))
        );
        if !problem.lost.is_empty() {
            let _ = writeln!(out, "          lost: {}", plain(&problem.lost));
        }
        if !problem.fix.is_empty() {
            let _ = writeln!(out, "          fix:  {}", plain(&problem.fix));
        }
    }
    more(out, problems.len());
}

fn more(out: &mut String, count: usize) {
    if count > MOST {
        let _ = writeln!(out, "  and {} more (-o json shows all)", count - MOST);
    }
}

/// Every principal as text, one a line.
pub fn listing_text(listed: &[Listed]) -> String {
    let mut out = String::new();
    for one in listed {
        let principal = if one.principal.is_empty() {
            "(no principal)"
        } else {
            &one.principal
        };
        let state = match &one.state {
            State::InForce => "in force".to_owned(),
            State::Hidden { by } => format!("hidden by the access entry of {by}"),
            State::Displaced { by_line } => format!("displaced by line {by_line}"),
            State::Later { by_line } => format!("does not count: mapRoles line {by_line} comes first"),
            State::Chance { other_line } => format!("by chance, this or line {other_line}"),
            State::Ignored => "ignored by the authentication mode".to_owned(),
            State::Stale { why } => format!("stale: {why}"),
            State::NeverMatches { why } => format!("never matches: {why}"),
            State::Dropped { why } => format!("dropped: {why}"),
        };
        let source = match one.source.line {
            Some(_) => one.source.to_string(),
            None => format!(
                "access entry ({})",
                one.source.entry_type.as_deref().unwrap_or("STANDARD")
            ),
        };
        let _ = writeln!(out, "{}", plain(principal));
        let _ = writeln!(out, "  {}: {}", plain(&source), plain(&state));
        if let Some(username) = one.username.as_deref() {
            let groups = if one.groups.is_empty() {
                "no groups".to_owned()
            } else {
                one.groups.join(", ")
            };
            let _ = writeln!(out, "  {}; {}", plain(&format!("{username:?}")), plain(&groups));
        }
        for policy in one.policies.iter().flatten() {
            let scope = match policy.access_scope.namespaces.as_slice() {
                [] => policy.access_scope.kind.clone(),
                namespaces => namespaces.join(", "),
            };
            let _ = writeln!(out, "  {} ({})", plain(&policy.policy_arn), plain(&scope));
        }
    }
    out
}

/// Text from elsewhere: nothing in it steers a terminal or breaks the line.
fn plain(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
    };
    if !text.chars().any(steers) {
        return text.to_owned();
    }
    text.chars()
        .map(|c| {
            if steers(c) {
                c.escape_unicode().to_string()
            } else {
                c.to_string()
            }
        })
        .collect()
}
