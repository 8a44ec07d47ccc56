//! What `whois` says, as JSON, YAML and text. Pure.

use anstyle::AnsiColor;
use serde::{Deserialize, Serialize};

use super::{API_VERSION, json};
use crate::model::Exit;
use crate::text::Output;
use crate::text::sanitize::{line, short_line};
use crate::text::style::{Style, bold, dim, wrap};
use eks_aws_auth::{
    Alternative, AssociatedPolicy, AuthenticationMode, Decision, Listed, MappingRemedy, Outcome, PassedOver,
    Problem, Severity, Source, SourceKind, State,
};

/// Something in aws-auth, with its line in the file that was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Placed<T> {
    /// What.
    #[serde(flatten)]
    pub what: T,
    /// The line within the file, where it corresponds to the one within the key's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_line: Option<usize>,
}

/// The cluster that was asked. Absent where files were judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AskedCluster {
    /// The kube context.
    pub context: String,
    /// EKS cluster name.
    pub cluster: String,
    /// AWS region.
    pub region: String,
    /// The cluster's account.
    pub account: Option<String>,
}

/// Something that could not be read and may change the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Unread {
    /// What.
    pub what: String,
    /// Why not.
    pub reason: String,
    /// The smallest permission that lifts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
}

/// Who the API server says the caller is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ServersWord {
    /// Username.
    pub username: String,
    /// Groups, `system:authenticated` among them.
    pub groups: Vec<String>,
}

/// Where everything that is said stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Ground {
    /// The authentication mode that was judged by; null where it could not be read.
    pub authentication_mode: Option<AuthenticationMode>,
    /// The cluster, where one was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<AskedCluster>,
    /// The API server checks changes of aws-auth by EKS's webhook; null where that is not known. It is not trusted: what it
    /// refuses is not published, it may be passed by, and what is in there already it has never looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_webhook: Option<bool>,
    /// What could not be read and may change the answer.
    pub unread: Vec<Unread>,
}

/// Who the cluster takes a principal for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Whois {
    /// `capt-spot/v1`
    pub api_version: String,
    /// `Whois`.
    pub kind: String,
    /// The principal that was asked for.
    pub principal: String,
    /// The ARN that mappings are compared with; null for what is no identity.
    pub canonical_arn: Option<String>,
    /// How it ends. `ambiguous` also where something that decides could not be read; then `undecided` is true.
    pub outcome: Outcome,
    /// Something that decides could not be read.
    pub undecided: bool,
    /// Username, if mapped.
    pub username: Option<String>,
    /// Groups, if mapped, before the API server adds `system:authenticated`.
    pub groups: Vec<String>,
    /// The access policies of the entry that decided, if they were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<Vec<AssociatedPolicy>>,
    /// What decided.
    pub source: Option<Placed<Source>>,
    /// Why, in a sentence.
    pub reason: String,
    /// The possible ends, for `ambiguous`.
    pub alternatives: Vec<Alternative>,
    /// What looked as if it were meant for this principal and did not count.
    pub passed_over: Vec<PassedOver>,
    /// What could not be known, and what follows from it.
    pub caveats: Vec<String>,
    /// Everything that is wrong with aws-auth.
    pub problems: Vec<Placed<Problem>>,
    /// How to let it in, where it is not mapped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<MappingRemedy>,
    /// Who the API server itself says the caller is, for `me`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes_user: Option<ServersWord>,
    /// Where it was looked up.
    #[serde(flatten)]
    pub ground: Ground,
}

/// A line for a key's line, in the file that was given.
pub type FileLine<'a> = &'a dyn Fn(&str, usize) -> Option<usize>;

/// Problems with their lines in the file.
pub fn place_problems(problems: Vec<Problem>, file_line: FileLine<'_>) -> Vec<Placed<Problem>> {
    problems
        .into_iter()
        .map(|problem| Placed {
            file_line: problem
                .key
                .as_deref()
                .zip(problem.line)
                .and_then(|(key, line)| file_line(key, line)),
            what: problem,
        })
        .collect()
}

fn place_source(source: Source, file_line: FileLine<'_>) -> Placed<Source> {
    Placed {
        file_line: source
            .key
            .zip(source.line)
            .and_then(|(key, line)| file_line(key.as_str(), line)),
        what: source,
    }
}

impl Whois {
    /// From a decision.
    pub fn new(decision: Decision, ground: Ground, file_line: FileLine<'_>) -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            kind: "Whois".to_owned(),
            principal: decision.principal,
            canonical_arn: decision.canonical_arn,
            outcome: decision.outcome,
            undecided: false,
            username: decision.username,
            groups: decision.groups,
            policies: None,
            source: decision.source.map(|source| place_source(source, file_line)),
            reason: decision.reason,
            alternatives: decision.alternatives,
            passed_over: decision.passed_over,
            caveats: decision.caveats,
            problems: place_problems(decision.problems, file_line),
            remedy: None,
            kubernetes_user: None,
            ground,
        }
    }

    /// The exit code: 0 mapped, 1 anything else that is certain, 3 where something that decides could not be read.
    pub fn exit(&self) -> Exit {
        match (self.undecided, self.outcome) {
            (true, _) => Exit::Undecided,
            (false, Outcome::Mapped) => Exit::Done,
            (false, Outcome::NotMapped | Outcome::Denied | Outcome::Ambiguous) => Exit::Failed,
        }
    }
}

/// Every principal of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct WhoisList {
    /// `capt-spot/v1`
    pub api_version: String,
    /// `WhoisList`.
    pub kind: String,
    /// Access entries first, then aws-auth, each in its own order.
    pub items: Vec<Placed<Listed>>,
    /// What could not be known, and what follows from it.
    pub caveats: Vec<String>,
    /// Everything that is wrong with aws-auth.
    pub problems: Vec<Placed<Problem>>,
    /// Where it was looked up.
    #[serde(flatten)]
    pub ground: Ground,
}

impl WhoisList {
    /// From the list.
    pub fn new(
        listed: Vec<Listed>,
        caveats: Vec<String>,
        problems: Vec<Problem>,
        ground: Ground,
        file_line: FileLine<'_>,
    ) -> Self {
        let items = listed
            .into_iter()
            .map(|listed| Placed {
                file_line: listed
                    .source
                    .key
                    .zip(listed.source.line)
                    .and_then(|(key, line)| file_line(key.as_str(), line)),
                what: listed,
            })
            .collect();
        Self {
            api_version: API_VERSION.to_owned(),
            kind: "WhoisList".to_owned(),
            items,
            caveats,
            problems: place_problems(problems, file_line),
            ground,
        }
    }

    /// The exit code: 3 where something that belongs into the list could not be read.
    pub fn exit(&self) -> Exit {
        if self.ground.unread.is_empty() {
            Exit::Done
        } else {
            Exit::Undecided
        }
    }
}

/// In the format that was asked for.
pub fn render(whois: &Whois, output: Output, style: Style) -> String {
    match output {
        Output::Json => json::pretty(whois),
        Output::Yaml => json::to_yaml(whois),
        _ => text(whois, style),
    }
}

/// The list in the format that was asked for.
pub fn render_list(list: &WhoisList, output: Output, style: Style) -> String {
    match output {
        Output::Json => json::pretty(list),
        Output::Yaml => json::to_yaml(list),
        _ => table(list, style),
    }
}

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

/// For people.
pub fn text(whois: &Whois, style: Style) -> String {
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
    if let Some(canonical) = whois
        .canonical_arn
        .as_ref()
        .filter(|arn| **arn != whois.principal)
    {
        field(&mut out, style, "compared", canonical);
    }
    if whois.outcome == Outcome::Mapped {
        field(
            &mut out,
            style,
            "username",
            username_of(whois.username.as_deref()),
        );
        field(&mut out, style, "groups", &groups_of(&whois.groups));
        let mut name = "policies";
        for policy in whois.policies.as_deref().unwrap_or_default() {
            field(&mut out, style, name, &policy_of(policy));
            name = "";
        }
    }
    if let Some(source) = &whois.source {
        field(&mut out, style, "from", &source_of(source));
    }
    field(&mut out, style, "why", &whois.reason);
    ground(&whois.ground, style, &mut out);
    if let Some(user) = &whois.kubernetes_user {
        field(
            &mut out,
            style,
            "server",
            &format!(
                "says {} ({})",
                username_of(Some(&user.username)),
                groups_of(&user.groups)
            ),
        );
    }
    if !whois.alternatives.is_empty() {
        heading(&mut out, style, "What is possible");
        for way in &whois.alternatives {
            let end = match way.outcome {
                Outcome::Mapped => format!(
                    "{} ({})",
                    username_of(way.username.as_deref()),
                    groups_of(&way.groups)
                ),
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
    if !whois.caveats.is_empty() {
        heading(&mut out, style, "Mind");
        for caveat in &whois.caveats {
            item(&mut out, style, caveat);
        }
    }
    problems(&whois.problems, style, &mut out);
    if let Some(remedy) = &whois.remedy {
        heading(&mut out, style, "To let it in");
        out.push_str("  ");
        out.push_str(&wrap(style, 2, 2, &short_line(&remedy.text)));
        out.push('\n');
        if let Some(entry) = &remedy.aws_auth_entry {
            pasted(&mut out, style, 4, entry);
        }
        for command in &remedy.commands {
            pasted(&mut out, style, 4, command);
        }
    }
    out
}

fn ground(ground: &Ground, style: Style, out: &mut String) {
    if let Some(target) = &ground.target {
        let account = target.account.as_deref().unwrap_or("unknown");
        let text = format!("{}  {}, account {account}", target.cluster, target.region);
        field(out, style, "cluster", &text);
    }
    let mode = match ground.authentication_mode {
        Some(AuthenticationMode::ConfigMap) => "CONFIG_MAP (aws-auth alone counts)",
        Some(AuthenticationMode::ApiAndConfigMap) => {
            "API_AND_CONFIG_MAP (access entries first, then aws-auth)"
        }
        Some(AuthenticationMode::Api) => "API (access entries alone count)",
        None => "could not be read",
    };
    field(out, style, "mode", mode);
    if ground.validation_webhook == Some(true) && ground.authentication_mode != Some(AuthenticationMode::Api)
    {
        field(
            out,
            style,
            "webhook",
            "EKS's webhook looks at changes of aws-auth and may refuse some; what is in there already it has not looked at",
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

/// More problems than this, and nobody reads them; JSON has them all.
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

fn table(list: &WhoisList, style: Style) -> String {
    let mut out = String::new();
    ground(&list.ground, style, &mut out);
    if list.items.is_empty() {
        out.push_str("\nNothing maps anybody.\n");
    } else {
        out.push('\n');
        let rows: Vec<[String; 4]> = list
            .items
            .iter()
            .map(|placed| {
                let listed = &placed.what;
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
                let account = listed.source.key == Some(eks_aws_auth::MapKey::MapAccounts);
                let user = if account {
                    "(its own ARN)"
                } else {
                    username_of(listed.username.as_deref())
                };
                [
                    state_of(&listed.state).0.to_owned(),
                    from,
                    short_line(principal).into_owned(),
                    short_line(user).into_owned(),
                ]
            })
            .collect();
        let head = ["STATE", "FROM", "PRINCIPAL", "USERNAME"];
        // One long name must not push every other one off the screen.
        let width = |column: usize| {
            rows.iter()
                .map(|row| textwrap::core::display_width(&row[column]))
                .chain([head[column].len()])
                .max()
                .unwrap_or_default()
                .min(72)
        };
        let widths = [width(0), width(1), width(2), width(3).min(48)];
        let print = |out: &mut String, row: [&str; 4], last: &str| {
            let mut text = String::new();
            for (cell, width) in row.iter().zip(widths) {
                text.push_str(cell);
                text.push_str(&" ".repeat(width.saturating_sub(textwrap::core::display_width(cell)) + 2));
            }
            text.push_str(last);
            out.push_str(text.trim_end());
            out.push('\n');
        };
        print(&mut out, head, "GROUPS AND POLICIES");
        for (row, placed) in rows.iter().zip(&list.items) {
            let mut rights = placed.what.groups.clone();
            rights.extend(placed.what.policies.iter().flatten().map(policy_of));
            let rights = short_line(&rights.join(", ")).into_owned();
            print(&mut out, [&row[0], &row[1], &row[2], &row[3]], &rights);
            if let Some(why) = state_of(&placed.what.state).1 {
                out.push_str("    ");
                out.push_str(&style.paint(dim(), &wrap(style, 4, 4, &short_line(&why))));
                out.push('\n');
            }
        }
    }
    unread(&list.ground, style, &mut out);
    if !list.caveats.is_empty() {
        heading(&mut out, style, "Mind");
        for caveat in &list.caveats {
            item(&mut out, style, caveat);
        }
    }
    problems(&list.problems, style, &mut out);
    out
}
