//! Who gains, loses or changes access between two states.

use std::collections::BTreeMap;

use serde::Serialize;

use super::state::{Access, Grant, State, Subject};
use crate::facts::bindings::{Binding, Rights, meaning};
use crate::model::Exit;
use crate::report::whois::Placed;
use eks_aws_auth::{Existence, Problem};

/// What becomes of a principal's access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fate {
    /// It had access and has none.
    Lost,
    /// Another username, another group or another policy.
    Changed,
    Unknown,
    Gained,
    /// Its access goes, and IAM knows no such principal: no one has it.
    Gone,
    Same,
}

/// A principal in both states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Diff {
    pub(crate) summary: BTreeMap<&'static str, usize>,
    /// Who is locked out that must not be: you, nodes, Fargate, every administrator, everyone.
    pub(crate) lockouts: Vec<String>,
    /// The worst first.
    pub(crate) items: Vec<Change>,
}

/// What `access diff` prints.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Compared {
    #[serde(flatten)]
    pub(crate) diff: Diff,
    /// What could not be read, and what AWS does not show.
    pub(crate) caveats: Vec<String>,
    /// The mistakes in the aws-auth after that lose something.
    pub(crate) problems: Vec<Placed<Problem>>,
}

fn change(subject: &Subject, before: &State, after: &State, rights: Option<&Rights>) -> Option<Change> {
    let (was, is) = (before.access(subject), after.access(subject));
    let gone = matches!(subject, Subject::Principal(arn) if before.existence(arn) == Existence::Deleted);
    let (result, changes) = match (&was, &is) {
        (Access::None { .. }, Access::None { .. }) => return None,
        (Access::Unknown { why }, _) | (_, Access::Unknown { why }) => (Fate::Unknown, vec![why.clone()]),
        (Access::Granted(was), Access::Granted(is)) => {
            let changes = words(was, is, rights);
            let same = changes.is_empty();
            (if same { Fate::Same } else { Fate::Changed }, changes)
        }
        (Access::Granted(_), Access::None { .. }) if gone => (
            Fate::Gone,
            vec!["IAM has no role of this name: no one loses anything".to_owned()],
        ),
        (Access::Granted(grant), Access::None { .. }) => {
            (Fate::Lost, words(grant, &Grant::default(), rights))
        }
        (Access::None { .. }, Access::Granted(grant)) => {
            (Fate::Gained, words(&Grant::default(), grant, rights))
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

pub(super) fn words(was: &Grant, is: &Grant, rights: Option<&Rights>) -> Vec<String> {
    let mut words = Vec::new();
    if was.username != is.username {
        words.push(match (was.username.as_str(), is.username.as_str()) {
            (_, "") => format!("username {:?}", was.username),
            ("", _) => format!("username {:?}", is.username),
            _ => format!("username {:?} becomes {:?}", was.username, is.username),
        });
        // Bindings can name users as well as groups.
        let (lost, gained) = (
            what_a_user_may(rights, &was.username),
            what_a_user_may(rights, &is.username),
        );
        if lost != gained {
            words.extend(lost.map(|what| format!("loses {what}, bound to the user")));
            words.extend(gained.map(|what| format!("gains {what}, bound to the user")));
        }
    }
    let bound = |group: &str| {
        let what = rights.and_then(|rights| meaning(rights.of_group(group)));
        what.map(|what| format!(" ({what})")).unwrap_or_default()
    };
    for (verb, these, those) in [("loses", was, is), ("gains", is, was)] {
        let groups = these.groups.difference(&those.groups);
        words.extend(groups.map(|group| format!("{verb} group {group}{}", bound(group))));
        let policies = these.policies.difference(&those.policies);
        words.extend(policies.map(|policy| format!("{verb} {policy}")));
    }
    words
}

/// What bindings give the users that a username can become.
pub(super) fn what_a_user_may(rights: Option<&Rights>, username: &str) -> Option<String> {
    let bindings: Vec<(&str, &Binding)> = rights?.of_user(username);
    meaning(bindings.into_iter().map(|(_, binding)| binding))
}

/// Compares two states. `you`: the ARN of whoever asks, where it is known.
pub(crate) fn diff(before: &State, after: &State, you: Option<&str>, rights: Option<&Rights>) -> Diff {
    let mut subjects = before.subjects();
    for (key, subject) in after.subjects() {
        subjects.entry(key).or_insert(subject);
    }
    let mut items: Vec<Change> = subjects
        .values()
        .filter_map(|subject| change(subject, before, after, rights))
        .collect();
    items.sort_by(|a, b| (a.result, &a.principal).cmp(&(b.result, &b.principal)));
    let mut summary: BTreeMap<&'static str, usize> = Fate::ALL.map(|fate| (fate.word(), 0)).into();
    for item in &items {
        *summary.entry(item.result.word()).or_default() += 1;
    }
    Diff {
        summary,
        lockouts: lockouts(&items, before, after, you, rights),
        items,
    }
}

impl Fate {
    pub(crate) const ALL: [Self; 6] = [
        Self::Lost,
        Self::Changed,
        Self::Unknown,
        Self::Gained,
        Self::Gone,
        Self::Same,
    ];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Changed => "changed",
            Self::Unknown => "unknown",
            Self::Gained => "gained",
            Self::Gone => "gone",
            Self::Same => "same",
        }
    }
}

fn lockouts(
    items: &[Change],
    before: &State,
    after: &State,
    you: Option<&str>,
    rights: Option<&Rights>,
) -> Vec<String> {
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
        let stays = item.after.grant().is_some_and(Grant::is_node);
        if !stays && !matches!(item.result, Fate::Unknown | Fate::Gone) {
            let whose = if was.is_fargate() { "Fargate pods" } else { "nodes" };
            said.push(format!("This locks out the {whose} of {}.", item.principal));
        }
    }
    if items.iter().any(|item| item.result == Fate::Unknown) {
        return said;
    }
    let count = |of: &dyn Fn(&Grant) -> bool, side: fn(&Change) -> &Access| {
        let items = items.iter().filter(|item| item.result != Fate::Gone);
        items.filter(|item| side(item).grant().is_some_and(of)).count()
    };
    let all_lost = |of: &dyn Fn(&Grant) -> bool| {
        count(of, |item| &item.before) > 0 && count(of, |item| &item.after) == 0
    };
    if all_lost(&|_| true) {
        said.push("This locks out everyone.".to_owned());
    } else if all_lost(&|grant| grant.is_admin(rights)) {
        said.push("This locks out every administrator that is mapped.".to_owned());
    }
    said
}

impl Diff {
    /// How many have this fate.
    pub(crate) fn count(&self, fate: Fate) -> usize {
        self.summary.get(fate.word()).copied().unwrap_or_default()
    }

    /// 0 the same or only gains, 1 somebody loses or changes, 3 unknown.
    pub(crate) fn exit(&self) -> Exit {
        match self.items.first().map(|item| item.result) {
            Some(Fate::Lost | Fate::Changed) => Exit::Failed,
            Some(Fate::Unknown) => Exit::Undecided,
            _ => Exit::Done,
        }
    }
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

    fn binding(namespace: Option<&str>, role: &str, users: &[&str], groups: &[&str]) -> Binding {
        let own = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Binding {
            namespace: namespace.map(str::to_owned),
            role: role.to_owned(),
            cluster_role: true,
            users: own(users),
            groups: own(groups),
        }
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
        let ops = |username: &str| line("Ops", username, "");
        let same = line("Same", "same", "");
        let before = [
            node.as_str(),
            &admin,
            &dev("edit-a, view"),
            &ops("ops:{{SessionName}}"),
            &same,
        ]
        .concat();
        let after = [
            dev("view, edit-b, system:authenticated").as_str(),
            &ops("o:{{SessionName}}"),
            &same,
            &line("New", "new", ""),
        ]
        .concat();
        let mode = AuthenticationMode::ConfigMap;
        let rights = Rights::new(vec![
            binding(Some("a"), "edit", &[], &["edit-a"]),
            binding(Some("a"), "edit", &["ops:jo"], &[]),
            binding(Some("b"), "edit", &["ops:ann"], &[]),
        ]);
        let you = Some("arn:aws:sts::111122223333:assumed-role/Admin/jo");
        let diff = |before: &State, after: &State| diff(before, after, you, Some(&rights));
        let result = diff(&state(mode, &before, vec![]), &state(mode, &after, vec![]));
        assert_eq!(result.exit(), Exit::Failed);
        insta::assert_json_snapshot!(result);
        let same = diff(&state(mode, &before, vec![]), &state(mode, &before, vec![]));
        assert_eq!((same.exit(), same.lockouts.len()), (Exit::Done, 0));
        let gains = diff(&state(mode, "", vec![]), &state(mode, &before, vec![]));
        assert_eq!(gains.exit(), Exit::Done);
        let all = diff(&state(mode, &before, vec![]), &state(mode, "\t", vec![]));
        assert_eq!(
            all.lockouts.last().map(String::as_str),
            Some("This locks out everyone.")
        );
    }

    /// Groups and users that a ClusterRoleBinding makes administrators count as such.
    #[test]
    fn the_last_administrator_may_be_one_by_a_binding() {
        let mode = AuthenticationMode::ConfigMap;
        let both = line("Ops", "ops", "admins") + &line("Dev", "dev", "");
        let rights = Rights::new(vec![binding(None, "cluster-admin", &[], &["admins"])]);
        let result = diff(
            &state(mode, &both, vec![]),
            &state(mode, &line("Dev", "dev", ""), vec![]),
            None,
            Some(&rights),
        );
        assert_eq!(
            result.lockouts,
            ["This locks out every administrator that is mapped."]
        );
    }

    /// A line for a role that IAM does not have goes without anybody losing access.
    #[test]
    fn nobody_loses_what_a_deleted_role_had() {
        let mode = AuthenticationMode::ConfigMap;
        let arn = "arn:aws:iam::111122223333:role/Dev".to_owned();
        let before = state(mode, &line("Dev", "system:node:x", ""), vec![]);
        let before = before.with_roles([(arn, Existence::Deleted, None)]);
        let mut after = state(mode, "", vec![]);
        after.take_roles(&before);
        let result = diff(&before, &after, None, None);
        assert_eq!((result.exit(), result.count(Fate::Gone)), (Exit::Done, 1));
        assert_eq!(result.lockouts, [""; 0]);
    }

    #[test]
    fn what_is_not_read_is_unknown() {
        let mode = AuthenticationMode::ApiAndConfigMap;
        let unread = State::new(mode, Some(AwsAuth::default()), None);
        let result = diff(&unread, &state(mode, &line("Dev", "dev", ""), vec![]), None, None);
        assert_eq!(result.exit(), Exit::Undecided);
        // An entry whose policies were not read: whether it loses some is not known.
        let role = |path: &str| format!("arn:aws:iam::111122223333:role/{path}Dev");
        let entry = |path: &str| AccessEntry::new(&role(path), EntryType::Standard, "dev", &[]);
        let with_entry = state(mode, "", vec![entry("")]);
        assert_eq!(diff(&with_entry, &with_entry, None, None).exit(), Exit::Undecided);
        // Of two entries that differ in the role's path one is for a role that is gone, and only IAM knows which.
        let two = ["a/", "b/"].map(|path| AccessEntry {
            policies: Some(Vec::new()),
            username: Some(path.to_owned()),
            ..entry(path)
        });
        let two = state(mode, "", two.into());
        assert_eq!(diff(&two, &two, None, None).exit(), Exit::Undecided);
        let known = two.with_roles([(role("b/"), Existence::Unknown, Some(role("b/")))]);
        assert_eq!(diff(&known, &known, None, None).exit(), Exit::Done);
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
            None,
        );
        assert_eq!(result.summary["same"], 9_000);
    }
}
