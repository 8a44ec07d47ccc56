//! Every principal that the cluster knows.

use serde::Serialize;

use super::UsedBy;
use super::diff::what_a_user_may;
use super::page::finding;
use super::state::{Grant, State, groups_of, policy_shown};
use crate::checks::{Judgement, Status};
use crate::facts::bindings::{Rights, meaning};
use crate::report::whois::{Ground, Placed, ground, unread, with_problems};
use crate::report::{Page, Row, Table};
use eks_aws_auth::{Existence, Listed, MapKey, Problem, Source, State as Standing, list_all};

/// A line or an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Item {
    /// As it stands there, with its line in the file that was given.
    #[serde(flatten)]
    pub(crate) listed: Placed<Listed>,
    /// It makes a cluster administrator, by a group, a policy or a binding.
    pub(crate) admin: bool,
    pub(crate) node: bool,
    pub(crate) fargate: bool,
    /// What the username and the groups are bound to, where that was read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) may: Vec<String>,
    /// It is in force, and for no one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
}

/// All of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct AccessList {
    /// Access entries first, then aws-auth, each in its own order.
    pub(crate) items: Vec<Item>,
    /// What is not known, and what follows from it.
    pub(crate) caveats: Vec<String>,
    /// Everything that is wrong with aws-auth.
    pub(crate) problems: Vec<Placed<Problem>>,
    /// Where it was looked up.
    #[serde(flatten)]
    pub(crate) ground: Ground,
}

pub(crate) fn list(
    state: &State,
    used_by: Option<UsedBy>,
    rights: Option<&Rights>,
    file_line: &dyn Fn(&Source) -> Option<usize>,
) -> Vec<Item> {
    let all = list_all(&state.cluster(), |arn| state.existence_of_entry(arn));
    let items = all
        .into_iter()
        .map(|listed| item(listed, state, rights, file_line));
    let wanted = |one: &Item| match used_by {
        None => true,
        Some(UsedBy::Admins) => one.admin,
        Some(UsedBy::Nodes) => one.node,
        Some(UsedBy::Fargate) => one.fargate,
    };
    items.filter(wanted).collect()
}

fn item(
    listed: Listed,
    state: &State,
    rights: Option<&Rights>,
    file_line: &dyn Fn(&Source) -> Option<usize>,
) -> Item {
    let entry = listed.source.entry_type.as_ref();
    let grant = Grant {
        username: listed.username.clone().unwrap_or_default(),
        groups: groups_of(&listed.groups),
        policies: listed.policies.iter().flatten().map(policy_shown).collect(),
        from: String::new(),
        entry: entry.map(|name| name.clone().into()),
    };
    let deleted =
        listed.state == Standing::InForce && state.existence(&listed.principal) == Existence::Deleted;
    let of_groups = grant.groups.iter().filter_map(|group| {
        let what = meaning(rights?.of_group(group))?;
        Some(format!("group {group}: {what}"))
    });
    let of_user = what_a_user_may(rights, &grant.username);
    let of_user = of_user.map(|what| format!("user {}: {what}", grant.username));
    let fargate = grant.is_fargate();
    Item {
        admin: grant.is_admin(rights),
        node: grant.is_node() && !fargate,
        fargate,
        may: of_groups.chain(of_user).collect(),
        note: deleted.then(|| {
            "IAM has no such role: anyone who creates a role with this name gets its access".to_owned()
        }),
        listed: Placed {
            file_line: file_line(&listed.source),
            what: listed,
        },
    }
}

/// Whether it counts, in a word, and why not.
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

impl Item {
    fn part(&self) -> &'static str {
        match (self.admin, self.node, self.fargate) {
            (true, ..) => "admin",
            (_, true, _) => "node",
            (_, _, true) => "fargate",
            _ => "",
        }
    }

    fn username(&self) -> &str {
        let listed = &self.listed.what;
        match (listed.username.as_deref(), listed.source.key) {
            (None, Some(MapKey::MapAccounts)) => "(its own ARN)",
            (None, None) => "(not read)",
            (None, Some(_)) => "",
            (Some(""), _) => "\"\" (empty)",
            (Some(name), _) => name,
        }
    }

    fn policies(&self) -> Vec<String> {
        self.listed
            .what
            .policies
            .iter()
            .flatten()
            .map(policy_shown)
            .collect()
    }

    fn source(&self) -> String {
        let place = self.listed.what.source.to_string();
        match self.listed.file_line {
            Some(line) => format!("{place} (line {line} of the file)"),
            None => place,
        }
    }

    /// Everything in a cell of its own.
    fn cells(&self) -> Vec<String> {
        let (state, _) = standing(&self.listed.what.state);
        vec![
            state.to_owned(),
            self.part().to_owned(),
            self.principal().to_owned(),
            self.username().to_owned(),
            self.listed.what.groups.join(" "),
            self.policies().join("; "),
            self.source(),
        ]
    }

    fn principal(&self) -> &str {
        match self.listed.what.principal.as_str() {
            "" => "(none)",
            principal => principal,
        }
    }

    /// What is to be said of it: why it does not count, or what may surprise.
    fn said(&self) -> Option<String> {
        let (_, why) = standing(&self.listed.what.state);
        why.or_else(|| self.note.clone())
    }

    /// What an ARN leaves no room for.
    fn beneath(&self) -> String {
        let groups = &self.listed.what.groups;
        let mut parts = vec![self.username().to_owned()];
        parts.extend((!groups.is_empty()).then(|| format!("groups {}", groups.join(", "))));
        parts.extend(self.policies());
        parts.extend(self.may.iter().cloned());
        parts.push(match self.said() {
            Some(said) => format!("{}: {said}", self.source()),
            None => self.source(),
        });
        parts.retain(|part| !part.is_empty());
        parts.join("; ")
    }
}

impl AccessList {
    /// As people and CI systems see it. `narrow`: for a terminal.
    pub(crate) fn page(&self, narrow: bool) -> Page {
        let open = &self.ground.unread;
        let (status, word) = match open.is_empty() {
            true => (Status::Pass, "COMPLETE"),
            false => (Status::Unknown, "INCOMPLETE"),
        };
        let in_force = self
            .items
            .iter()
            .filter(|one| one.listed.what.state == Standing::InForce);
        let said = match self.items.len() {
            0 => "no principal is mapped".to_owned(),
            n => format!("{n} principals, {} in force", in_force.count()),
        };
        let judgement = match open.as_slice() {
            [] => Judgement::pass(&said),
            open => unread(open),
        };
        let read = finding("mappings-read", "Every mapping was read", judgement);
        let page = Page::new("access", status, word, "the principals of the cluster");
        let page = ground(&self.ground, None, page)
            .finding(read)
            .section("Note", self.caveats.iter().map(Row::new))
            .closing(said);
        let table = match narrow {
            true => Table {
                head: vec!["STATE", "ROLE", "PRINCIPAL"],
                rows: self
                    .items
                    .iter()
                    .map(|one| (one.cells()[..3].to_vec(), Some(one.beneath())))
                    .collect(),
            },
            false => Table {
                head: HEAD.to_vec(),
                rows: self.items.iter().map(|one| (one.cells(), one.said())).collect(),
            },
        };
        let page = Page {
            table: (!self.items.is_empty()).then_some(table),
            ..page
        };
        with_problems(page, &self.problems)
    }
}

const HEAD: [&str; 7] = [
    "state",
    "role",
    "principal",
    "username",
    "groups",
    "policies",
    "source",
];
