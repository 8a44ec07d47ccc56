//! Every principal that the cluster knows.

use std::fmt::Write as _;

use serde::Serialize;

use super::UsedBy;
use super::diff::{Meaning, cell};
use super::state::{Grant, State, policy_shown};
use crate::text::sanitize::short_line;
use crate::text::style::{Style, bold, dim, wrap};
use eks_aws_auth::{AuthenticationMode, Existence, State as Standing, list_all};

/// A line or an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Listed {
    pub(crate) principal: String,
    /// Whether it counts: `in force`, `hidden`, `displaced`, `no match`, ...
    pub(crate) state: &'static str,
    /// Why it does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<String>,
    pub(crate) username: Option<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) policies: Vec<String>,
    /// The line or the entry.
    pub(crate) source: String,
    pub(crate) admin: bool,
    pub(crate) node: bool,
    pub(crate) fargate: bool,
    /// What the groups are bound to, where that was read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) may: Vec<String>,
}

/// All of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AccessList {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) authentication_mode: AuthenticationMode,
    pub(crate) items: Vec<Listed>,
    /// What could not be read, and what AWS does not show.
    pub(crate) caveats: Vec<String>,
}

pub(crate) fn list(
    state: &State,
    used_by: Option<UsedBy>,
    caveats: Vec<String>,
    meaning: Meaning<'_>,
) -> AccessList {
    let all = list_all(&state.cluster(), |arn| state.existence(arn));
    let items = all.into_iter().map(|listed| {
        let (word, mut why) = standing(&listed.state);
        let grant = Grant {
            username: listed.username.clone().unwrap_or_default(),
            groups: listed.groups.iter().cloned().collect(),
            policies: listed.policies.iter().flatten().map(policy_shown).collect(),
            from: listed.source.to_string(),
        };
        if state.existence(&listed.principal) == Existence::Deleted && word == "in force" {
            why = Some(
                "IAM has no such role: anyone who creates a role with this name gets its access".to_owned(),
            );
        }
        let may = listed
            .groups
            .iter()
            .filter_map(|group| Some(format!("{group}: {}", meaning(group)?)))
            .collect();
        Listed {
            principal: listed.principal,
            state: word,
            why,
            admin: grant.is_admin(),
            node: grant.is_node() && !grant.is_fargate(),
            fargate: grant.is_node() && grant.is_fargate(),
            username: listed.username,
            groups: listed.groups,
            policies: grant.policies.into_iter().collect(),
            source: grant.from,
            may,
        }
    });
    let wanted = |one: &Listed| match used_by {
        None => true,
        Some(UsedBy::Admins) => one.admin,
        Some(UsedBy::Nodes) => one.node,
        Some(UsedBy::Fargate) => one.fargate,
    };
    AccessList {
        api_version: crate::report::API_VERSION.to_owned(),
        kind: "AccessList".to_owned(),
        authentication_mode: state.mode,
        items: items.filter(wanted).collect(),
        caveats,
    }
}

fn standing(state: &Standing) -> (&'static str, Option<String>) {
    match state {
        Standing::InForce => ("in force", None),
        Standing::Hidden { by } => ("hidden", Some(format!("the access entry of {by} hides it"))),
        Standing::Displaced { by_line } => (
            "displaced",
            Some(format!(
                "line {by_line} names the same principal, and the last one wins"
            )),
        ),
        Standing::Later { by_line } => ("masked", Some(format!("mapRoles line {by_line} comes first"))),
        Standing::Chance { other_line } => (
            "chance",
            Some(format!("line {other_line} names the same principal but for case")),
        ),
        Standing::Ignored => (
            "ignored",
            Some("the authentication mode leaves it out".to_owned()),
        ),
        Standing::Stale { why } => ("stale", Some(why.clone())),
        Standing::NeverMatches { why } => ("no match", Some(why.clone())),
        Standing::Dropped { why } => ("dropped", Some(why.clone())),
    }
}

impl Listed {
    fn role(&self) -> &'static str {
        match (self.admin, self.node, self.fargate) {
            (true, ..) => "admin",
            (_, true, _) => "node",
            (_, _, true) => "fargate",
            _ => "",
        }
    }

    fn cells(&self) -> [String; 7] {
        [
            self.principal.clone(),
            self.state.to_owned(),
            self.role().to_owned(),
            self.username.clone().unwrap_or_default(),
            self.groups.join(" "),
            self.policies.join("; "),
            self.source.clone(),
        ]
    }
}

const HEAD: [&str; 7] = [
    "principal",
    "state",
    "role",
    "username",
    "groups",
    "policies",
    "source",
];

impl AccessList {
    pub(crate) fn text(&self, style: Style) -> String {
        let mut out = format!(
            "{} principals, mode {}\n",
            self.items.len(),
            self.authentication_mode
        );
        for one in &self.items {
            let principal = if one.principal.is_empty() {
                "(no principal)"
            } else {
                &one.principal
            };
            let head = format!("{:<10}{}", one.state, short_line(principal));
            let _ = writeln!(out, "\n{}  {}", style.paint(bold(), &head), one.role());
            let mut rights = vec![match one.username.as_deref() {
                None => "(its own ARN)".to_owned(),
                Some("") => "\"\" (empty)".to_owned(),
                Some(name) => name.to_owned(),
            }];
            rights.extend((!one.groups.is_empty()).then(|| format!("groups {}", one.groups.join(", "))));
            rights.extend(one.policies.iter().cloned());
            let lines = std::iter::once(rights.join("; ")).chain(one.may.iter().cloned());
            for line in lines {
                let _ = writeln!(out, "          {}", wrap(style, 10, 10, &short_line(&line)));
            }
            let from = match &one.why {
                Some(why) => format!("{}: {why}", one.source),
                None => one.source.clone(),
            };
            let _ = writeln!(
                out,
                "          {}",
                style.paint(dim(), &wrap(style, 10, 10, &short_line(&from)))
            );
        }
        for caveat in &self.caveats {
            let _ = writeln!(out, "\nNote: {}", wrap(style, 6, 6, &short_line(caveat)));
        }
        out
    }

    /// A cell that begins like a formula is text to a spreadsheet.
    pub(crate) fn csv(&self) -> String {
        let field = |text: &str| {
            let text = short_line(text);
            let formula = text.starts_with(['=', '+', '-', '@']);
            format!(
                "\"{}{}\"",
                if formula { "'" } else { "" },
                text.replace('"', "\"\"")
            )
        };
        let mut out = HEAD.join(",") + "\n";
        for one in &self.items {
            let row: Vec<String> = one.cells().iter().map(|cell| field(cell)).collect();
            out.push_str(&(row.join(",") + "\n"));
        }
        out
    }

    pub(crate) fn markdown(&self) -> String {
        let mut out = format!("| {} |\n|{}\n", HEAD.join(" | "), "---|".repeat(HEAD.len()));
        for one in &self.items {
            let row: Vec<String> = one.cells().iter().map(|text| cell(text)).collect();
            let _ = writeln!(out, "| {} |", row.join(" | "));
        }
        out
    }
}
