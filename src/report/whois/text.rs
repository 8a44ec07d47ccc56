//! `whois` for people.

use anstyle::AnsiColor;

use super::{Ground, Item, Placed, Whois, WhoisList};
use crate::text::sanitize::{line, short_line};
use crate::text::style::{Style, bold, dim, wrap};
use eks_aws_auth::{
    AssociatedPolicy, AuthenticationMode, Listed, MapKey, Outcome, Problem, Severity, Source, SourceKind,
    State,
};

/// Where the values of the fields begin.
const COLUMN: usize = 12;

fn field(out: &mut String, style: Style, name: &str, value: &str) {
    if !name.is_empty() {
        out.push_str("  ");
        out.push_str(&style.paint(dim(), name));
        out.push_str(&" ".repeat(COLUMN.saturating_sub(2 + name.len())));
    } else {
        out.push_str(&" ".repeat(COLUMN));
    }
    out.push_str(&wrap(style, COLUMN, COLUMN, &short_line(value)));
    out.push('\n');
}

/// A line that is pasted: never wrapped.
fn pasted(out: &mut String, style: Style, indent: usize, text: &str) {
    for part in text.lines() {
        out.push_str(&" ".repeat(indent));
        out.push_str(&style.paint(AnsiColor::Cyan.on_default(), &line(part)));
        out.push('\n');
    }
}

fn heading(out: &mut String, style: Style, text: &str) {
    out.push('\n');
    out.push_str(&style.paint(bold(), text));
    out.push('\n');
}

fn item(out: &mut String, style: Style, text: &str) {
    out.push_str("  - ");
    out.push_str(&wrap(style, 4, 4, &short_line(text)));
    out.push('\n');
}

fn groups_of(groups: &[String]) -> String {
    if groups.is_empty() {
        return "(none)".to_owned();
    }
    groups
        .iter()
        .map(|group| if group.is_empty() { "\"\"" } else { group })
        .collect::<Vec<_>>()
        .join(", ")
}

fn username_of(username: Option<&str>) -> &str {
    match username {
        None => "(not read)",
        Some("") => "\"\" (empty)",
        Some(name) => name,
    }
}

fn policy_of(policy: &AssociatedPolicy) -> String {
    let name = policy.policy_arn.rsplit('/').next().unwrap_or_default();
    if policy.access_scope.kind == "namespace" {
        format!(
            "{name} (namespaces {})",
            policy.access_scope.namespaces.join(", ")
        )
    } else {
        format!("{name} (whole cluster)")
    }
}

fn source_of(source: &Placed<Source>) -> String {
    let file = source
        .file_line
        .map(|line| format!(" (line {line} of the file)"))
        .unwrap_or_default();
    match (&source.what.kind, &source.what.quote) {
        (SourceKind::AwsAuth, Some(quote)) => format!("aws-auth, {}{file}: {quote}", source.what),
        (SourceKind::AwsAuth, None) => format!("aws-auth, {}{file}", source.what),
        (SourceKind::AccessEntry, _) => source.what.to_string(),
    }
}

/// One principal.
pub(super) fn answer(whois: &Whois, style: Style) -> String {
    let mut out = verdict(whois, style);
    problems(&whois.problems, style, &mut out);
    remedy(whois, style, &mut out);
    out
}

/// Several principals, or everyone.
pub(super) fn list(list: &WhoisList, style: Style) -> String {
    let answers = list.items.iter().filter_map(|item| match item {
        Item::Answer(whois) => Some(whois),
        Item::Listed(_) => None,
    });
    let answers: Vec<String> = answers
        .map(|whois| {
            let mut out = verdict(whois, style);
            remedy(whois, style, &mut out);
            out
        })
        .collect();
    if answers.is_empty() {
        return table(list, style);
    }
    let mut out = answers.join("\n");
    problems(&list.problems, style, &mut out);
    out
}

fn verdict(whois: &Whois, style: Style) -> String {
    let (word, colour) = match (whois.undecided, whois.outcome) {
        (true, _) => ("undecided", AnsiColor::Magenta.on_default()),
        (_, Outcome::Mapped) => ("mapped", AnsiColor::Green.on_default()),
        (_, Outcome::NotMapped) => ("not mapped", AnsiColor::Red.on_default().bold()),
        (_, Outcome::Denied) => ("denied", AnsiColor::Red.on_default().bold()),
        (_, Outcome::Ambiguous) => ("ambiguous", AnsiColor::Red.on_default().bold()),
    };
    let mut out = format!(
        "{}  {}\n",
        style.paint(colour, word),
        style.paint(bold(), &short_line(&whois.principal))
    );
    let mut row = |name: &str, value: &str| field(&mut out, style, name, value);
    if let Some(canonical) = whois
        .canonical_arn
        .as_ref()
        .filter(|arn| **arn != whois.principal)
    {
        row("compared", canonical);
    }
    if whois.outcome == Outcome::Mapped {
        row("username", username_of(whois.username.as_deref()));
        row("groups", &groups_of(&whois.groups));
        for (n, policy) in whois.policies.iter().flatten().enumerate() {
            row(if n == 0 { "policies" } else { "" }, &policy_of(policy));
        }
    }
    if let Some(source) = &whois.source {
        row("from", &source_of(source));
    }
    row("why", &whois.reason);
    ground(&whois.ground, style, &mut out);
    if let Some(user) = &whois.kubernetes_user {
        let name = username_of(Some(&user.username));
        let answer = format!("answers {name} ({})", groups_of(&user.groups));
        field(&mut out, style, "server", &answer);
    }
    if !whois.alternatives.is_empty() {
        heading(&mut out, style, "What is possible");
        for way in &whois.alternatives {
            let end = match way.outcome {
                Outcome::Mapped => {
                    let name = username_of(way.username.as_deref());
                    format!("{name} ({})", groups_of(&way.groups))
                }
                Outcome::NotMapped => "not mapped".to_owned(),
                Outcome::Denied => "denied".to_owned(),
                Outcome::Ambiguous => "ambiguous".to_owned(),
            };
            item(&mut out, style, &format!("{end}: {}", way.reason));
        }
    }
    unread(&whois.ground, style, &mut out);
    if !whois.passed_over.is_empty() {
        heading(&mut out, style, "Passed over");
        for over in &whois.passed_over {
            item(&mut out, style, &over.message);
            if let Some(quote) = &over.source.quote {
                pasted(&mut out, style, 6, &short_line(quote));
            }
        }
    }
    caveats(&whois.caveats, style, &mut out);
    out
}

fn caveats(caveats: &[String], style: Style, out: &mut String) {
    if !caveats.is_empty() {
        heading(out, style, "Note");
        for caveat in caveats {
            item(out, style, caveat);
        }
    }
}

fn remedy(whois: &Whois, style: Style, out: &mut String) {
    let Some(remedy) = &whois.remedy else { return };
    heading(out, style, "To map it");
    out.push_str("  ");
    out.push_str(&wrap(style, 2, 2, &short_line(&remedy.text)));
    out.push('\n');
    for command in remedy.commands.iter().chain(&remedy.aws_auth_entry) {
        pasted(out, style, 4, command);
    }
}

fn ground(ground: &Ground, style: Style, out: &mut String) {
    if let Some(target) = &ground.target {
        let account = target.account.as_deref().unwrap_or("unknown");
        let text = format!("{}  {}, account {account}", target.cluster, target.region);
        field(out, style, "cluster", &text);
    }
    let mode = match ground.authentication_mode {
        Some(AuthenticationMode::ConfigMap) => "CONFIG_MAP (only aws-auth counts)",
        Some(AuthenticationMode::ApiAndConfigMap) => {
            "API_AND_CONFIG_MAP (access entries first, then aws-auth)"
        }
        Some(AuthenticationMode::Api) => "API (only access entries count)",
        None => "could not be read",
    };
    field(out, style, "mode", mode);
    if ground.validation_webhook == Some(true) && ground.authentication_mode != Some(AuthenticationMode::Api)
    {
        field(
            out,
            style,
            "webhook",
            "EKS's webhook checks changes of aws-auth and may refuse some; it has not checked what was saved before",
        );
    }
}

fn unread(ground: &Ground, style: Style, out: &mut String) {
    if ground.unread.is_empty() {
        return;
    }
    heading(out, style, "Could not be read");
    for unread in &ground.unread {
        item(out, style, &format!("{}: {}", unread.what, unread.reason));
        if let Some(grant) = &unread.grant {
            pasted(out, style, 6, grant);
        }
    }
}

/// JSON has all problems.
const MOST: usize = 100;

fn problems(problems: &[Placed<Problem>], style: Style, out: &mut String) {
    if problems.is_empty() {
        return;
    }
    heading(out, style, "Problems of aws-auth");
    for placed in problems.iter().take(MOST) {
        let problem = &placed.what;
        let place = match (&problem.key, problem.line, placed.file_line) {
            (Some(key), Some(line), Some(file)) => format!("{key} line {line} (line {file} of the file): "),
            (Some(key), Some(line), None) => format!("{key} line {line}: "),
            (Some(key), None, _) => format!("{key}: "),
            (None, _, _) => String::new(),
        };
        let (mark, colour) = match problem.severity {
            Severity::Error => (
                if style.unicode { "✗" } else { "x" },
                AnsiColor::Red.on_default().bold(),
            ),
            Severity::Warning => ("!", AnsiColor::Yellow.on_default()),
        };
        out.push_str("  ");
        out.push_str(&style.paint(colour, mark));
        out.push(' ');
        out.push_str(&wrap(
            style,
            4,
            4,
            &short_line(&format!("{place}{}", problem.message)),
        ));
        out.push('\n');
        for (name, text) in [("lost", &problem.lost), ("fix", &problem.fix)] {
            if !text.is_empty() {
                let text = format!("{name}: {}", short_line(text));
                out.push_str("    ");
                out.push_str(&wrap(style, 4, 10, &text));
                out.push('\n');
            }
        }
    }
    if problems.len() > MOST {
        out.push_str(&format!("    and {} more: see -o json\n", problems.len() - MOST));
    }
}

fn state_of(state: &State) -> (&'static str, Option<String>) {
    match state {
        State::InForce => ("in force", None),
        State::Hidden { by } => ("hidden", Some(format!("the access entry of {by} hides it"))),
        State::Displaced { by_line } => (
            "displaced",
            Some(format!(
                "line {by_line} names the same principal, and the last one wins"
            )),
        ),
        State::Later { by_line } => (
            "masked",
            Some(format!("mapRoles line {by_line} is looked at first")),
        ),
        State::Chance { other_line } => (
            "chance",
            Some(format!("line {other_line} names the same principal but for case")),
        ),
        State::Ignored => (
            "ignored",
            Some("the authentication mode leaves it out".to_owned()),
        ),
        State::Stale { why } => ("stale", Some(why.clone())),
        State::NeverMatches { why } => ("no match", Some(why.clone())),
        State::Dropped { why } => ("dropped", Some(why.clone())),
    }
}

/// A row of the table, and what is to be said about its state.
fn row_of(listed: &Listed) -> ([String; 5], Option<String>) {
    let principal = if listed.principal.is_empty() {
        "(none)"
    } else {
        &listed.principal
    };
    let from = match (listed.source.kind, listed.source.key, listed.source.line) {
        (SourceKind::AwsAuth, Some(key), Some(line)) => format!("{key}:{line}"),
        _ => listed
            .source
            .entry_type
            .clone()
            .unwrap_or_else(|| "entry".to_owned()),
    };
    let user = match listed.source.key {
        Some(MapKey::MapAccounts) => "(its own ARN)",
        _ => username_of(listed.username.as_deref()),
    };
    let mut rights = listed.groups.clone();
    rights.extend(listed.policies.iter().flatten().map(policy_of));
    let (state, why) = state_of(&listed.state);
    let row = [state, &from, principal, user, &rights.join(", ")];
    (row.map(|cell| short_line(cell).into_owned()), why)
}

fn table(list: &WhoisList, style: Style) -> String {
    let mut out = String::new();
    ground(&list.ground, style, &mut out);
    let rows: Vec<_> = list
        .items
        .iter()
        .filter_map(|item| match item {
            Item::Listed(placed) => Some(row_of(&placed.what)),
            Item::Answer(_) => None,
        })
        .collect();
    out.push('\n');
    if rows.is_empty() {
        out.push_str("No principal is mapped.\n");
    } else {
        let head = ["STATE", "FROM", "PRINCIPAL", "USERNAME", "GROUPS AND POLICIES"].map(str::to_owned);
        // One long name must not push every other one off the screen.
        let width = |column: usize, most: usize| {
            let cells = rows
                .iter()
                .map(|(row, _)| textwrap::core::display_width(&row[column]));
            cells
                .chain([head[column].len()])
                .max()
                .unwrap_or_default()
                .min(most)
        };
        let widths = [width(0, 72), width(1, 72), width(2, 72), width(3, 48), 0];
        let line = |row: &[String; 5]| {
            let mut text = String::new();
            for (cell, width) in row.iter().zip(widths) {
                text.push_str(cell);
                text.push_str(&" ".repeat(width.saturating_sub(textwrap::core::display_width(cell)) + 2));
            }
            format!("{}\n", text.trim_end())
        };
        out.push_str(&line(&head));
        for (row, why) in &rows {
            out.push_str(&line(row));
            if let Some(why) = why {
                let why = style.paint(dim(), &wrap(style, 4, 4, &short_line(why)));
                out.push_str(&format!("    {why}\n"));
            }
        }
    }
    unread(&list.ground, style, &mut out);
    caveats(&list.caveats, style, &mut out);
    problems(&list.problems, style, &mut out);
    out
}
