//! Who gains, loses or changes access between two states.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::state::{Access, Grant, State, Subject};
use crate::model::Exit;
use crate::text::sanitize::short_line;
use crate::text::style::{Style, bold, wrap};

/// What becomes of a principal's access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fate {
    Lost,
    Changed,
    Unknown,
    Gained,
    Same,
}

/// A principal in both states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Change {
    pub(crate) principal: String,
    pub(crate) result: Fate,
    /// What changes, in words: the username, each group, each policy.
    pub(crate) changes: Vec<String>,
    pub(crate) before: Access,
    pub(crate) after: Access,
}

/// The comparison of two states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Diff {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) summary: BTreeMap<&'static str, usize>,
    /// Who is locked out that must not be: you, nodes, Fargate, every administrator.
    pub(crate) lockouts: Vec<String>,
    /// The worst first.
    pub(crate) items: Vec<Change>,
}

/// What a group is bound to, for people: "edit in namespaces a, b".
pub(crate) type Meaning<'a> = &'a dyn Fn(&str) -> Option<String>;

fn change(subject: &Subject, before: &State, after: &State, meaning: Meaning<'_>) -> Option<Change> {
    let (was, is) = (before.access(subject), after.access(subject));
    let (result, changes) = match (&was, &is) {
        (Access::None { .. }, Access::None { .. }) => return None,
        (Access::Unknown { why }, _) | (_, Access::Unknown { why }) => (Fate::Unknown, vec![why.clone()]),
        (Access::Granted(was), Access::Granted(is)) => {
            let changes = words(was, is, meaning);
            let same = changes.is_empty();
            (if same { Fate::Same } else { Fate::Changed }, changes)
        }
        (Access::Granted(grant), Access::None { .. }) => {
            (Fate::Lost, words(grant, &Grant::default(), meaning))
        }
        (Access::None { .. }, Access::Granted(grant)) => {
            (Fate::Gained, words(&Grant::default(), grant, meaning))
        }
    };
    Some(Change {
        principal: subject.shown(),
        result,
        changes,
        before: was,
        after: is,
    })
}

fn words(was: &Grant, is: &Grant, meaning: Meaning<'_>) -> Vec<String> {
    let mut words = Vec::new();
    if was.username != is.username {
        words.push(match (was.username.as_str(), is.username.as_str()) {
            (_, "") => format!("username {:?}", was.username),
            ("", _) => format!("username {:?}", is.username),
            _ => format!("username {:?} becomes {:?}", was.username, is.username),
        });
    }
    let meant = |group: &str| {
        meaning(group)
            .map(|what| format!(" ({what})"))
            .unwrap_or_default()
    };
    words.extend(
        was.groups
            .difference(&is.groups)
            .map(|group| format!("loses group {group}{}", meant(group))),
    );
    words.extend(
        was.policies
            .difference(&is.policies)
            .map(|policy| format!("loses {policy}")),
    );
    words.extend(
        is.groups
            .difference(&was.groups)
            .map(|group| format!("gains group {group}{}", meant(group))),
    );
    words.extend(
        is.policies
            .difference(&was.policies)
            .map(|policy| format!("gains {policy}")),
    );
    words
}

/// Compares two states. `you`: the ARN of whoever asks, where it is known.
pub(crate) fn diff(before: &State, after: &State, you: Option<&str>, meaning: Meaning<'_>) -> Diff {
    let mut subjects = before.subjects();
    for (key, subject) in after.subjects() {
        subjects.entry(key).or_insert(subject);
    }
    let mut items: Vec<Change> = subjects
        .values()
        .filter_map(|subject| change(subject, before, after, meaning))
        .collect();
    items.sort_by(|a, b| (a.result, &a.principal).cmp(&(b.result, &b.principal)));
    let mut summary: BTreeMap<&'static str, usize> = ["lost", "changed", "unknown", "gained", "same"]
        .into_iter()
        .map(|word| (word, 0))
        .collect();
    for item in &items {
        *summary.entry(word(item.result)).or_default() += 1;
    }
    Diff {
        api_version: crate::report::API_VERSION.to_owned(),
        kind: "AccessDiff".to_owned(),
        summary,
        lockouts: lockouts(&items, before, after, you),
        items,
    }
}

fn word(fate: Fate) -> &'static str {
    match fate {
        Fate::Lost => "lost",
        Fate::Changed => "changed",
        Fate::Unknown => "unknown",
        Fate::Gained => "gained",
        Fate::Same => "same",
    }
}

fn lockouts(items: &[Change], before: &State, after: &State, you: Option<&str>) -> Vec<String> {
    let mut said = Vec::new();
    if let Some(you) = you {
        let you = Subject::Principal(you.to_owned());
        if let (Access::Granted(_), Access::None { .. }) = (before.access(&you), after.access(&you)) {
            said.push(format!("This locks you out ({}).", you.shown()));
        }
    }
    for item in items {
        let Some(was) = item.before.grant().filter(|grant| grant.is_node()) else {
            continue;
        };
        let stays = item.after.grant().is_some_and(|grant| grant.is_node());
        if !stays && item.result != Fate::Unknown {
            let whose = if was.is_fargate() { "Fargate pods" } else { "nodes" };
            said.push(format!("This locks out the {whose} of {}.", item.principal));
        }
    }
    let admins = |side: fn(&Change) -> &Access| {
        items
            .iter()
            .filter(|item| side(item).grant().is_some_and(Grant::is_admin))
            .count()
    };
    let unknown = items.iter().any(|item| item.result == Fate::Unknown);
    if admins(|item| &item.before) > 0 && admins(|item| &item.after) == 0 && !unknown {
        said.push("This locks out every administrator that is mapped.".to_owned());
    }
    said
}

impl Diff {
    /// 0 the same or only gains, 1 somebody loses or changes, 3 unknown.
    pub(crate) fn exit(&self) -> Exit {
        match self.items.first().map(|item| item.result) {
            Some(Fate::Lost | Fate::Changed) => Exit::Failed,
            Some(Fate::Unknown) => Exit::Undecided,
            _ => Exit::Done,
        }
    }

    fn verdict(&self) -> String {
        let said: Vec<String> = ["lost", "changed", "unknown", "gained"]
            .into_iter()
            .filter_map(|word| {
                self.summary
                    .get(word)
                    .filter(|count| **count > 0)
                    .map(|count| format!("{count} {word}"))
            })
            .collect();
        let same = self.summary.get("same").copied().unwrap_or_default();
        match said.as_slice() {
            [] => format!("SAME ACCESS for all {same} principals"),
            said => format!("{}; {same} the same", said.join(", ").to_uppercase()),
        }
    }

    pub(crate) fn text(&self, style: Style) -> String {
        let mut out = format!("{}\n", style.paint(bold(), &self.verdict()));
        for lockout in &self.lockouts {
            let _ = writeln!(
                out,
                "\n{} {}",
                if style.unicode { "✗" } else { "x" },
                wrap(style, 2, 2, &short_line(lockout))
            );
        }
        for item in self.items.iter().filter(|item| item.result != Fate::Same) {
            let _ = writeln!(out, "\n{:<8} {}", word(item.result), short_line(&item.principal));
            for change in &item.changes {
                let _ = writeln!(out, "         {}", wrap(style, 9, 9, &short_line(change)));
            }
            for (when, access) in [("before", &item.before), ("after", &item.after)] {
                let from = match access {
                    Access::Granted(grant) => grant.from.as_str(),
                    Access::None { why } | Access::Unknown { why } => why.as_str(),
                };
                let _ = writeln!(out, "         {when}: {}", wrap(style, 9, 11, &short_line(from)));
            }
        }
        out
    }

    /// A table for a pull request.
    pub(crate) fn markdown(&self) -> String {
        let mut out = format!("### {}\n", self.verdict());
        for lockout in &self.lockouts {
            let _ = writeln!(out, "\n**{}**", cell(lockout));
        }
        let changed: Vec<&Change> = self
            .items
            .iter()
            .filter(|item| item.result != Fate::Same)
            .collect();
        if !changed.is_empty() {
            out.push_str("\n| principal | result | changes |\n|---|---|---|\n");
        }
        for item in changed {
            let _ = writeln!(
                out,
                "| {} | {} | {} |",
                cell(&item.principal),
                word(item.result),
                cell(&item.changes.join("; "))
            );
        }
        out
    }
}

/// A cell of a Markdown table.
pub(super) fn cell(text: &str) -> String {
    let text = short_line(text);
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '|' | '\\' | '`' | '*' | '_' | '<' | '>' | '[' | ']' | '~') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use eks_aws_auth::{AccessEntry, AuthenticationMode, AwsAuth, EntryType};

    fn state(mode: AuthenticationMode, map_roles: &str, entries: Vec<AccessEntry>) -> State {
        let data = [("mapRoles".to_owned(), map_roles.to_owned())].into();
        State::new(mode, Some(AwsAuth::parse(&data)), Some(entries))
    }

    fn line(name: &str, username: &str, groups: &str) -> String {
        format!(
            "- rolearn: arn:aws:iam::111122223333:role/{name}\n  username: \"{username}\"\n  groups: [{groups}]\n"
        )
    }

    #[test]
    fn who_gains_loses_and_changes() {
        let node = line(
            "demo-node",
            "system:node:{{EC2PrivateDNSName}}",
            "system:bootstrappers, system:nodes",
        );
        let admin = line("Admin", "admin", "system:masters");
        let dev = |groups: &str| line("Dev", "dev", groups);
        let same = line("Same", "same", "");
        let before = [node.as_str(), &admin, &dev("edit-a, view"), &same].concat();
        let after = [dev("view, edit-b").as_str(), &same, &line("New", "new", "")].concat();
        let mode = AuthenticationMode::ConfigMap;
        let meaning = |group: &str| (group == "edit-a").then(|| "edit in namespace a".to_owned());
        let you = Some("arn:aws:sts::111122223333:assumed-role/Admin/jo");
        let result = diff(
            &state(mode, &before, vec![]),
            &state(mode, &after, vec![]),
            you,
            &meaning,
        );
        assert_eq!(result.exit(), Exit::Failed);
        insta::assert_snapshot!(format!("{}\n{}", result.text(Style::PLAIN), result.markdown()));
        let same = diff(
            &state(mode, &before, vec![]),
            &state(mode, &before, vec![]),
            you,
            &meaning,
        );
        assert_eq!((same.exit(), same.lockouts.len()), (Exit::Done, 0));
        let gains = diff(
            &state(mode, "", vec![]),
            &state(mode, &before, vec![]),
            you,
            &meaning,
        );
        assert_eq!(gains.exit(), Exit::Done);
    }

    #[test]
    fn what_is_not_read_is_unknown() {
        let mode = AuthenticationMode::ApiAndConfigMap;
        let unread = State::new(mode, Some(AwsAuth::default()), None);
        let result = diff(
            &unread,
            &state(mode, &line("Dev", "dev", ""), vec![]),
            None,
            &|_| None,
        );
        assert_eq!(result.exit(), Exit::Undecided);
        // An entry whose policies were not read: whether it loses some is not known.
        let entry = AccessEntry::new(
            "arn:aws:iam::111122223333:role/Dev",
            EntryType::Standard,
            "dev",
            &[],
        );
        let with_entry = state(mode, "", vec![entry]);
        assert_eq!(
            diff(&with_entry, &with_entry, None, &|_| None).exit(),
            Exit::Undecided
        );
    }

    #[test]
    fn a_large_aws_auth_is_compared_at_once() {
        let many: String = (0..9_000).map(|n| line(&format!("r{n}"), "u", "g")).collect();
        let mode = AuthenticationMode::ApiAndConfigMap;
        let entries = (0..2_000)
            .map(|n| AccessEntry {
                policies: Some(Vec::new()),
                ..AccessEntry::new(
                    &format!("arn:aws:iam::111122223333:role/r{n}"),
                    EntryType::Standard,
                    "u",
                    &["g"],
                )
            })
            .collect();
        let all = state(mode, &many, entries);
        let result = diff(
            &all,
            &state(AuthenticationMode::ConfigMap, &many, vec![]),
            None,
            &|_| None,
        );
        assert_eq!(result.summary["same"], 9_000);
    }
}
