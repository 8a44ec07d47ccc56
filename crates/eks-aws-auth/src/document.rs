//! The ConfigMap `kube-system/aws-auth` as the authenticator takes it in: what it maps, what is lost, and why.
//!
//! Rules: `pkg/mapper/configmap/configmap.go` (`ParseMap`) and `pkg/config/mapper.go` (`Validate`, `Key`) of
//! kubernetes-sigs/aws-iam-authenticator, and Go's `encoding/json`.

use crate::gostr;
use crate::yaml::{self, Fails, Json, JsonDocument, Member, YamlError};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// A key of the ConfigMap's `data` that the authenticator reads. The names are exact: `maproles` is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum MapKey {
    /// Roles (and whatever else stands there: the type of the principal is not checked).
    MapRoles,
    /// Users.
    MapUsers,
    /// Accounts whose principals all get in, under their own ARN and without groups.
    MapAccounts,
}

impl MapKey {
    /// All of them, in the order in which they are asked.
    pub const ALL: [Self; 3] = [Self::MapRoles, Self::MapUsers, Self::MapAccounts];

    /// The key as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MapRoles => "mapRoles",
            Self::MapUsers => "mapUsers",
            Self::MapAccounts => "mapAccounts",
        }
    }

    /// The field that names the principal, where entries have fields.
    fn arn_field(self) -> &'static str {
        match self {
            Self::MapUsers => "userarn",
            _ => "rolearn",
        }
    }

    fn everybody(self) -> &'static str {
        match self {
            Self::MapRoles => "every role mapping, the nodes' too",
            Self::MapUsers => "every user mapping",
            Self::MapAccounts => "every account",
        }
    }
}

impl std::fmt::Display for MapKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How much a problem matters to the authenticator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Read without complaint, but it can hardly be meant.
    Warning,
    /// The authenticator logs "Errors parsing configmap" and goes on with what is left.
    Error,
}

/// How much is lost by a problem.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loss {
    /// Nothing.
    #[default]
    Nothing,
    /// An entry, or a part of one.
    Part,
    /// All of a key.
    Key(MapKey),
    /// It depends on the order in which the authenticator walks a map.
    Chance,
}

/// Which of the usual mistakes a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Mistake {
    /// A role's ARN with its path (kubernetes-sigs/aws-iam-authenticator#268).
    RolePath,
    /// A permission set's role with its path (terraform-aws-modules/terraform-aws-eks#2292).
    SsoRolePath,
    /// The ARN of an instance profile, of a session, or of something else that is not a role
    /// (terraform-aws-modules/terraform-aws-eks#2781).
    NotARole,
    /// A username that is empty, wrong for a node, or with a placeholder that is none (awslabs/amazon-eks-ami#1821).
    Template,
    /// Groups that are missing or run together (terraform-aws-modules/terraform-aws-eks#494).
    Groups,
    /// Text that is not YAML, or not a list (aws/containers-roadmap#1209).
    Syntax,
    /// A value of the wrong type.
    Type,
    /// A key of `data` in the wrong case or place, or with a list instead of a text (eksctl-io/eksctl#5928).
    Key,
    /// A field that is not read.
    Field,
    /// Not an ARN, or not of an account.
    NotAnArn,
    /// A placeholder of a template (`${NodeRole.Arn}`) that is not filled in.
    Unsubstituted,
    /// Blanks, quotes or a comment within the ARN.
    StrayCharacters,
    /// A wildcard in the ARN.
    Wildcard,
    /// The account's root user where everybody may be meant (kubernetes-sigs/aws-iam-authenticator#797).
    Root,
    /// An `sso` entry.
    Sso,
    /// Two entries for one principal.
    Duplicate,
}

/// Something wrong with the ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The key of `data` it is in.
    pub key: Option<String>,
    /// The line within that key's text, from 1.
    pub line: Option<usize>,
    /// The entry's place in the key's list, from 0, where the problem is one entry's.
    pub index: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What is lost by it; empty if nothing is.
    pub lost: String,
    /// How much that is.
    #[serde(skip)]
    pub loss: Loss,
    /// What to do about it.
    pub fix: String,
    /// How much it matters.
    pub severity: Severity,
    /// Which of the usual mistakes it is.
    pub mistake: Option<Mistake>,
}

/// The `sso` part of an entry: a permission set instead of a role. Matched only behind a feature gate that is off by
/// default (`SSORoleMatch`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SsoMatcher {
    /// Name of the permission set.
    pub permission_set_name: String,
    /// Account of the role.
    #[serde(rename = "accountID")]
    pub account_id: String,
    /// Partition; with any set, the pattern never matches.
    pub partition: String,
}

impl SsoMatcher {
    /// Why the authenticator refuses it, if it does.
    fn fault(&self) -> Option<String> {
        let account_ok = self.account_id.len() == 12 && self.account_id.bytes().all(|c| c.is_ascii_digit());
        if !account_ok {
            return Some(format!(
                "sso.accountID {} is not a 12-digit account",
                shown(&self.account_id)
            ));
        }
        let name = &self.permission_set_name;
        let name_ok = (1..=32).contains(&name.len())
            && name
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || b"_+=,.@-".contains(&c));
        if !name_ok {
            return Some(format!(
                "sso.permissionSetName {} is not the name of a permission set",
                shown(name)
            ));
        }
        if !self.partition.is_empty() && !crate::principal::PARTITIONS.contains(&self.partition.as_str()) {
            return Some(format!(
                "sso.partition {} is not a partition",
                shown(&self.partition)
            ));
        }
        None
    }

    /// The lower-cased pattern that canonical role ARNs are held against. The partition is lost from it when one is
    /// given (`pkg/config/mapper.go`, `SSOArnLike`).
    pub(crate) fn pattern(&self) -> String {
        let partition = if self.partition.is_empty() { "aws" } else { "" };
        gostr::to_lower(&format!(
            "arn:{partition}:iam::{}:role/AWSReservedSSO_{}_*",
            self.account_id, self.permission_set_name
        ))
    }
}

/// An entry of `mapRoles` or `mapUsers` that is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Mapping {
    /// The key it is under.
    pub key: MapKey,
    /// Its place in that list, from 0, dropped entries counted.
    pub index: usize,
    /// Its first line within that key's text, from 1.
    pub line: usize,
    /// `rolearn` or `userarn`, as written. Empty for an `sso` entry.
    pub arn: String,
    /// The permission set, for an `sso` entry.
    pub sso: Option<SsoMatcher>,
    /// The username, with its templates. May be empty: that is not checked.
    pub username: String,
    /// The groups, with their templates.
    pub groups: Vec<String>,
    /// The line that names the principal, from 1.
    pub arn_line: usize,
    /// That line's text, trimmed.
    pub quote: String,
}

impl Mapping {
    /// The principal that it is for, as IAM and STS write its ARN; none where it matches nobody. The authenticator does not mind
    /// letter case, so `ARN:AWS:IAM::111122223333:ROLE/Dev` is for the role `Dev`.
    pub fn principal(&self) -> Option<String> {
        // Folding keeps the number of characters. What is not ASCII afterwards is nobody's name.
        let folded = gostr::fold_text(&self.arn);
        if self.sso.is_some() || !folded.is_ascii() {
            return None;
        }
        let mut parts = folded.splitn(6, ':');
        let mut next = || parts.next();
        let ("arn", partition, service, "", account, resource) =
            (next()?, next()?, next()?, next()?, next()?, next()?)
        else {
            return None;
        };
        let (kind, rest) = resource.split_once('/').unwrap_or((resource, ""));
        let name_of = |c: u8| c.is_ascii_alphanumeric() || b"_+=,.@-".contains(&c);
        let good = match (service, kind) {
            ("iam", "role") | ("sts", "federated-user") => !rest.is_empty() && rest.bytes().all(name_of),
            // A user's path may hold anything that can be seen.
            ("iam", "user") => {
                let (path, name) = rest.rsplit_once('/').unwrap_or(("", rest));
                !name.is_empty() && name.bytes().all(name_of) && path.bytes().all(|c| c.is_ascii_graphic())
            }
            ("iam", "root") => resource == "root",
            _ => false,
        };
        let of_account = account.len() == 12 && account.bytes().all(|c| c.is_ascii_digit());
        if !good || !of_account || !crate::principal::PARTITIONS.contains(&partition) {
            return None;
        }
        // The name keeps its letter case, as far as it is written in ASCII.
        let own = folded.len() - rest.len();
        let name = self.arn.chars().zip(folded.chars()).skip(own);
        let name = name.map(|(written, folded)| if written.is_ascii() { written } else { folded });
        Some(folded.chars().take(own).chain(name).collect())
    }

    /// The key under which the authenticator keeps the entry; of entries with the same key the last one stays.
    pub(crate) fn store_key(&self) -> String {
        match (&self.sso, self.key) {
            (Some(sso), _) => sso.pattern(),
            (None, MapKey::MapRoles) => gostr::to_lower(&self.arn),
            (None, _) => self.arn.clone(),
        }
    }
}

/// An item of `mapAccounts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// The account as text; unquoted leading zeros survive.
    pub account: String,
    /// Its place in the list, from 0.
    pub index: usize,
    /// Its line within the text, from 1.
    pub line: usize,
}

/// An entry that the authenticator leaves out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Dropped {
    /// The key it is under.
    pub key: MapKey,
    /// Its place in the list, from 0.
    pub index: usize,
    /// Its first line within the text, from 1.
    pub line: usize,
    /// Why it is left out.
    pub why: String,
}

/// What the authenticator makes of the ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AwsAuth {
    /// Entries of `mapRoles` in force (before later ones of the same key displace them), in order.
    pub roles: Vec<Mapping>,
    /// Entries of `mapUsers` in force, in order.
    pub users: Vec<Mapping>,
    /// Items of `mapAccounts`.
    pub accounts: Vec<Account>,
    /// Entries left out.
    pub dropped: Vec<Dropped>,
    /// Everything that is wrong, in the order of the keys and their lines.
    pub problems: Vec<Problem>,
    /// The authenticator logs "Errors parsing configmap". Also set where it depends on chance whether it does.
    pub parse_errors: bool,
    /// Whether a key's entries are lost depends on the order in which Go walks a map.
    pub(crate) perhaps_lost: Vec<MapKey>,
    /// The texts, for quoting.
    texts: BTreeMap<MapKey, Text>,
    index: [Index; 2],
}

/// Where the entries of a key are found by their principal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Index {
    /// Positions by ARN, case folded.
    by_arn: HashMap<String, Vec<usize>>,
    /// Positions of the `sso` entries, which are patterns.
    patterns: Vec<usize>,
    /// For each position that of the last entry for the same principal, which displaces the others.
    winner: Vec<usize>,
}

impl Index {
    fn of(mappings: &[Mapping]) -> Self {
        let keys: Vec<String> = mappings.iter().map(Mapping::store_key).collect();
        let last: HashMap<&str, usize> = keys
            .iter()
            .enumerate()
            .map(|(at, key)| (key.as_str(), at))
            .collect();
        let mut index = Self {
            winner: keys.iter().map(|key| last[key.as_str()]).collect(),
            ..Self::default()
        };
        for (at, mapping) in mappings.iter().enumerate() {
            match &mapping.sso {
                Some(_) => index.patterns.push(at),
                None => index
                    .by_arn
                    .entry(gostr::fold_text(&mapping.arn))
                    .or_default()
                    .push(at),
            }
        }
        index
    }
}

impl AwsAuth {
    /// Takes in the `data` of the ConfigMap. Absent keys are fine, any text is.
    pub fn parse(data: &BTreeMap<String, String>) -> Self {
        let mut this = Self::default();
        for key in MapKey::ALL {
            let Some(text) = data.get(key.as_str()) else {
                continue;
            };
            let text = Text::new(text);
            if !is_skippable(&text.text) {
                match key {
                    MapKey::MapAccounts => this.parse_accounts(&text),
                    _ => this.parse_mappings(key, &text),
                }
            }
            this.texts.insert(key, text);
        }
        this.index = [Index::of(&this.roles), Index::of(&this.users)];
        this.note_misspelled_keys(data);
        let usual = crate::hygiene::look(&this);
        this.problems.extend(usual);
        let order = |problem: &Problem| {
            let key = MapKey::ALL
                .iter()
                .position(|key| problem.key.as_deref() == Some(key.as_str()));
            (key.unwrap_or(MapKey::ALL.len()), problem.line)
        };
        this.problems.sort_by_key(order);
        this
    }

    /// A line of a key's text, from 1, trimmed and cut to 160 characters. Control characters are left as they are.
    pub fn quote(&self, key: MapKey, line: usize) -> Option<&str> {
        self.texts.get(&key)?.quote(line)
    }

    /// The mappings of one key, in order.
    pub fn mappings(&self, key: MapKey) -> &[Mapping] {
        match key {
            MapKey::MapRoles => &self.roles,
            MapKey::MapUsers => &self.users,
            MapKey::MapAccounts => &[],
        }
    }

    /// The entries of a key that may be meant for a canonical ARN (every `sso` entry may), in order, each with the one that
    /// displaces it (itself, where none does).
    pub(crate) fn candidates(&self, key: MapKey, subject: &str) -> Vec<(&Mapping, &Mapping)> {
        let index = match key {
            MapKey::MapRoles => &self.index[0],
            MapKey::MapUsers => &self.index[1],
            MapKey::MapAccounts => return Vec::new(),
        };
        let mappings = self.mappings(key);
        let mut positions = index
            .by_arn
            .get(&gostr::fold_text(subject))
            .cloned()
            .unwrap_or_default();
        positions.extend(&index.patterns);
        positions.sort_unstable();
        positions
            .into_iter()
            .map(|at| (&mappings[at], &mappings[index.winner[at]]))
            .collect()
    }

    /// The problems that make the authenticator lose something.
    pub fn errors(&self) -> impl Iterator<Item = &Problem> {
        self.problems
            .iter()
            .filter(|problem| problem.severity == Severity::Error)
    }

    fn error(
        &mut self,
        key: MapKey,
        index: impl Into<Option<usize>>,
        line: Option<usize>,
        message: String,
        (loss, lost): (Loss, String),
        fix: String,
    ) {
        let whole = matches!(loss, Loss::Key(_) | Loss::Chance);
        self.parse_errors = true;
        self.problems.push(Problem {
            key: Some(key.to_string()),
            line,
            index: index.into(),
            message,
            lost,
            loss,
            fix,
            severity: Severity::Error,
            mistake: Some(if whole { Mistake::Syntax } else { Mistake::Type }),
        });
    }

    fn warn(&mut self, key: MapKey, index: usize, line: usize, message: String, fix: String) {
        let mistake = if key == MapKey::MapAccounts {
            Mistake::NotAnArn
        } else {
            Mistake::Field
        };
        self.problems.push(Problem {
            key: Some(key.to_string()),
            line: Some(line),
            index: Some(index),
            message,
            lost: String::new(),
            loss: Loss::Nothing,
            fix,
            severity: Severity::Warning,
            mistake: Some(mistake),
        });
    }

    fn note_misspelled_keys(&mut self, data: &BTreeMap<String, String>) {
        for (name, text) in data {
            let Some(key) = MapKey::ALL.into_iter().find(|key| {
                key.as_str() != name
                    && key
                        .as_str()
                        .eq_ignore_ascii_case(&name.replace(['-', '_', '.'], ""))
            }) else {
                continue;
            };
            let (loss, lost) = match is_skippable(text) {
                true => (Loss::Nothing, String::new()),
                false => whole_key(key, text),
            };
            self.problems.push(Problem {
                key: Some(name.clone()),
                line: None,
                index: None,
                message: format!(
                    "the key is spelled {}: the authenticator reads only {key}, exactly so",
                    shown(name)
                ),
                lost,
                loss,
                fix: format!("rename the key to {key}"),
                severity: Severity::Warning,
                mistake: Some(Mistake::Key),
            });
        }
    }

    fn parse_accounts(&mut self, text: &Text) {
        let key = MapKey::MapAccounts;
        let strings = yaml::to_strings(&text.text);
        for (account, index, mark) in strings.items {
            self.accounts.push(Account {
                account,
                index,
                line: text.line_of(mark.byte),
            });
        }
        let count = strings.errors.len();
        for (at, error) in strings.errors.into_iter().enumerate() {
            let line = text.line_of(error.byte);
            let stopping = strings.stopped && at + 1 == count;
            let lost = match (
                stopping,
                self.accounts.iter().any(|account| !account.account.is_empty()),
            ) {
                (true, true) => part("this account and those after it"),
                (true, false) => whole_key(key, &text.text),
                (false, _) => part("this item alone; the others stay"),
            };
            let fix = if stopping {
                syntax_fix(text, line, &error.problem)
            } else {
                "write the account alone on its line: - \"111122223333\"".to_owned()
            };
            self.error(key, None, Some(line), error.problem, lost, fix);
        }
        for at in 0..self.accounts.len() {
            let Account { account, line, .. } = self.accounts[at].clone();
            if account.len() != 12 || !account.bytes().all(|c| c.is_ascii_digit()) {
                self.warn(
                    key,
                    self.accounts[at].index,
                    line,
                    format!(
                        "{} is not an account of 12 digits, so it matches nobody",
                        shown(&account)
                    ),
                    "write the account as 12 digits in quotes".to_owned(),
                );
            }
        }
    }

    fn parse_mappings(&mut self, key: MapKey, text: &Text) {
        let first = text.text.trim_start_matches(char::is_whitespace);
        if first.starts_with('{') {
            let line = text.line_of(text.text.len() - first.len());
            self.error(
                key,
                None,
                Some(line),
                format!("{key} begins with '{{': it is taken for a JSON object, where a list is needed"),
                whole_key(key, &text.text),
                "put the entries into a list: begin each with '- ', or use a JSON array".to_owned(),
            );
            return;
        }
        let json = match yaml::to_json(&text.text) {
            Ok(json) => json,
            Err(YamlError { byte, problem }) => {
                let line = text.line_of(byte);
                let fix = syntax_fix(text, line, &problem);
                self.error(
                    key,
                    None,
                    Some(line),
                    format!("not YAML: {problem}"),
                    whole_key(key, &text.text),
                    fix,
                );
                return;
            }
        };
        match json.fails {
            Fails::Always => {
                let (byte, what) = json.first_failure();
                self.error(
                    key,
                    None,
                    byte.map(|byte| text.line_of(byte)),
                    format!("{what}, which cannot be turned into JSON"),
                    whole_key(key, &text.text),
                    "take that value out, or put it in quotes".to_owned(),
                );
                return;
            }
            Fails::Perhaps => {
                self.perhaps_lost.push(key);
                self.error(
                    key, None,
                    None,
                    "two keys of one map become the same JSON key, and one of the values cannot be turned into JSON: which \
                     one stays is chance"
                        .to_owned(),
                    (Loss::Chance, format!("by chance, {}", whole_key(key, &text.text).1)),
                    "keep one of the two keys".to_owned(),
                );
            }
            Fails::Never => {}
        }
        let Some((root, mark)) = json.root else { return };
        match json.get(root) {
            Json::Null => {}
            Json::Array(items) => {
                for (index, (item, mark)) in items.iter().enumerate() {
                    let line = text.line_of(mark.byte);
                    self.parse_entry(
                        Entry {
                            key,
                            text,
                            json: &json,
                            index,
                            line,
                        },
                        *item,
                    );
                }
            }
            other => {
                let line = text.line_of(mark.byte);
                self.error(
                    key,
                    None,
                    Some(line),
                    format!("{key} is {} where a list is needed", describe(other)),
                    whole_key(key, &text.text),
                    format!(
                        "begin each entry with '- ': - {}: arn:aws:iam::111122223333:...",
                        key.arn_field()
                    ),
                );
            }
        }
    }

    fn parse_entry(&mut self, entry: Entry<'_>, item: usize) {
        let Entry {
            key,
            text,
            json,
            index,
            line,
        } = entry;
        let mut raw = Raw {
            arn_line: line,
            ..Raw::default()
        };
        match json.get(item) {
            Json::Object(members) => self.parse_fields(entry, members, &mut raw),
            Json::Null => {}
            other => {
                self.error(
                    key,
                    index,
                    Some(line),
                    format!("entry {index} is {} where a map is needed", describe(other)),
                    part("this entry alone"),
                    format!("write it as a map: - {}: ...", key.arn_field()),
                );
                self.dropped.push(Dropped {
                    key,
                    index,
                    line,
                    why: format!("it is {}", describe(other)),
                });
                return;
            }
        }
        let fault = match key {
            MapKey::MapRoles => match (&raw.sso, raw.arn.is_empty()) {
                (None, true) => Some("it has no rolearn".to_owned()),
                (Some(_), false) => Some("it has both rolearn and sso".to_owned()),
                (Some(sso), true) => sso.fault(),
                (None, false) => None,
            },
            _ => raw.arn.is_empty().then(|| "it has no userarn".to_owned()),
        };
        if let Some(why) = fault {
            self.error(
                key,
                index,
                Some(line),
                format!("entry {index} is dropped: {why}"),
                part("this entry alone"),
                format!(
                    "give it one {}, in quotes, or take the entry out",
                    key.arn_field()
                ),
            );
            self.dropped.push(Dropped {
                key,
                index,
                line,
                why,
            });
            return;
        }
        let quote = text.quote(raw.arn_line).unwrap_or_default().to_owned();
        let mapping = Mapping {
            key,
            index,
            line,
            arn: raw.arn,
            sso: raw.sso,
            username: raw.username,
            groups: raw.groups.into_vec(),
            arn_line: raw.arn_line,
            quote,
        };
        match key {
            MapKey::MapRoles => self.roles.push(mapping),
            _ => self.users.push(mapping),
        }
    }

    fn parse_fields(&mut self, entry: Entry<'_>, members: &[(Vec<u8>, Member)], raw: &mut Raw) {
        let Entry {
            key,
            text,
            json,
            index,
            ..
        } = entry;
        let mut seen: Vec<&'static str> = Vec::new();
        for (name, member) in members {
            let Ok(name) = std::str::from_utf8(name) else {
                continue;
            };
            let names: &[&'static str] = match key {
                MapKey::MapRoles => &["rolearn", "sso", "username", "groups", "userid"],
                _ => &["userarn", "username", "groups", "userid"],
            };
            let line = text.line_of(member.mark.byte);
            let Some(&field) = names.iter().find(|field| gostr::equal_fold(field, name)) else {
                self.note_unknown_field(key, index, text.line_of(member.key.byte), name);
                continue;
            };
            if seen.contains(&field) || member.repeated {
                self.warn(
                    key, index,
                    text.line_of(member.key.byte),
                    format!("entry {index} gives {field} more than once; the last one in the decoder's order counts"),
                    format!("keep one {field}"),
                );
            }
            seen.push(field);
            let value = json.get(member.value);
            let mismatch = match field {
                "username" => set_string(&mut raw.username, value),
                "groups" => {
                    let strays = raw.groups.set(json, value);
                    for (byte, what) in strays.unwrap_or_default() {
                        self.error(
                            key, index,
                            Some(text.line_of(byte)),
                            format!("a group of entry {index} is {what} where a text is needed: it becomes an empty group"),
                            part("this group alone"),
                            "put the group's name in quotes".to_owned(),
                        );
                    }
                    !matches!(value, Json::Null | Json::Array(_))
                }
                "userid" => set_string(&mut String::new(), value),
                "sso" => {
                    self.parse_sso(entry, value, raw);
                    !matches!(value, Json::Null | Json::Object(_))
                }
                _ => {
                    raw.arn_line = line;
                    set_string(&mut raw.arn, value)
                }
            };
            if mismatch {
                let what = describe(value);
                let (needed, lost) = match field {
                    "groups" => ("a list", part("the groups: the entry stays, with none")),
                    "sso" => ("a map", part("this entry")),
                    "username" => ("a text", part("the username: the entry stays, with an empty one")),
                    "userid" => ("a text", (Loss::Nothing, String::new())),
                    _ => ("a text", part("this entry")),
                };
                let fix = match (field, value) {
                    ("groups", Json::String(_)) => {
                        "make it a YAML list: one line '- GROUP' for each".to_owned()
                    }
                    ("groups", Json::Null | Json::Array(_)) => String::new(),
                    (_, Json::Number | Json::Bool(_)) => format!("put the value of {field} in quotes"),
                    _ => format!("write {field} as {needed}"),
                };
                self.error(
                    key,
                    index,
                    Some(line),
                    format!("{field} of entry {index} is {what} where {needed} is needed"),
                    lost,
                    fix,
                );
            }
        }
    }

    fn parse_sso(&mut self, entry: Entry<'_>, value: &Json, raw: &mut Raw) {
        let Entry {
            key,
            text,
            json,
            index,
            ..
        } = entry;
        match value {
            Json::Null => raw.sso = None,
            Json::Object(members) => {
                let sso = raw.sso.get_or_insert_default();
                for (name, member) in members {
                    let Ok(name) = std::str::from_utf8(name) else {
                        continue;
                    };
                    let target = [
                        ("permissionSetName", &mut sso.permission_set_name),
                        ("accountID", &mut sso.account_id),
                        ("partition", &mut sso.partition),
                    ]
                    .into_iter()
                    .find(|(field, _)| gostr::equal_fold(field, name));
                    let Some((field, target)) = target else { continue };
                    let value = json.get(member.value);
                    if set_string(target, value) {
                        self.error(
                            key,
                            index,
                            Some(text.line_of(member.mark.byte)),
                            format!(
                                "sso.{field} of entry {index} is {} where a text is needed",
                                describe(value)
                            ),
                            part("this field"),
                            format!("put the value of {field} in quotes"),
                        );
                    }
                }
            }
            _ => {
                raw.sso.get_or_insert_default();
            }
        }
    }

    fn note_unknown_field(&mut self, key: MapKey, index: usize, line: usize, name: &str) {
        let plain: String = name
            .chars()
            .filter(|c| c.is_ascii_alphanumeric())
            .collect::<String>()
            .to_ascii_lowercase();
        let meant = match plain.as_str() {
            "group" | "grups" | "groupes" => "groups",
            "user" | "name" | "usernames" => "username",
            "role" | "arn" | "rolearns" | "rolearn" if key == MapKey::MapRoles => "rolearn",
            "user arn" | "arn" | "userarns" | "userarn" if key == MapKey::MapUsers => "userarn",
            "userarn" if key == MapKey::MapRoles => "rolearn",
            "rolearn" if key == MapKey::MapUsers => "userarn",
            "username" => "username",
            "groups" => "groups",
            _ => return,
        };
        self.warn(
            key,
            index,
            line,
            format!(
                "entry {index} has a field {}, which is not read; {meant} may be meant",
                shown(name)
            ),
            format!("rename it to {meant}"),
        );
    }
}

#[derive(Clone, Copy)]
struct Entry<'a> {
    key: MapKey,
    text: &'a Text,
    json: &'a JsonDocument,
    index: usize,
    line: usize,
}

#[derive(Default)]
struct Raw {
    arn: String,
    arn_line: usize,
    sso: Option<SsoMatcher>,
    username: String,
    groups: Strings,
}

/// A Go slice of strings that is decoded into more than once: elements beyond a shorter list stay in its memory and come
/// back when a longer list leaves them unset (`encoding/json`, `decodeState.array`).
#[derive(Default)]
struct Strings {
    memory: Vec<String>,
    len: usize,
}

impl Strings {
    /// Decodes into the slice; the elements that are not strings are handed back.
    fn set(&mut self, json: &JsonDocument, value: &Json) -> Option<Vec<(usize, &'static str)>> {
        match value {
            Json::Null => *self = Self::default(),
            Json::Array(items) => {
                let mut strays = Vec::new();
                for (at, (item, mark)) in items.iter().enumerate() {
                    if at == self.memory.len() {
                        self.memory.push(String::new());
                    }
                    let value = json.get(*item);
                    if set_string(&mut self.memory[at], value) {
                        strays.push((mark.byte, describe(value)));
                    }
                }
                self.len = items.len();
                if items.is_empty() {
                    self.memory.clear();
                }
                return Some(strays);
            }
            _ => {}
        }
        None
    }

    fn into_vec(mut self) -> Vec<String> {
        self.memory.truncate(self.len);
        self.memory
    }
}

/// Decodes into a Go string: null leaves it alone, any other type does too and is a mismatch (`true`).
fn set_string(target: &mut String, value: &Json) -> bool {
    match value {
        Json::String(text) => {
            target.clone_from(text);
            false
        }
        Json::Null => false,
        _ => true,
    }
}

fn describe(value: &Json) -> &'static str {
    match value {
        Json::Null => "nothing",
        Json::Bool(_) => "true or false (YAML 1.1 reads y, n, yes, no, on and off so)",
        Json::Number => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "a map",
    }
}

/// A value the authenticator passes over without a word.
fn is_skippable(text: &str) -> bool {
    matches!(text.trim(), "" | "``" | "\"\"" | "''")
}

/// A key's text with the places where its lines begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Text {
    text: String,
    starts: Vec<usize>,
}

impl Text {
    fn new(text: &str) -> Self {
        let starts = text
            .match_indices('\n')
            .map(|(at, _)| at + 1)
            .filter(|&at| at < text.len());
        Self {
            starts: std::iter::once(0).chain(starts).collect(),
            text: text.to_owned(),
        }
    }

    /// The line, from 1, that a byte is on; the last line for the end of the text.
    fn line_of(&self, byte: usize) -> usize {
        self.starts.partition_point(|&start| start <= byte).max(1)
    }

    /// A line, from 1, trimmed and cut to a length that fits a message.
    fn quote(&self, line: usize) -> Option<&str> {
        const LONGEST: usize = 160;
        let at = line.checked_sub(1)?;
        let start = *self.starts.get(at)?;
        let end = self.starts.get(at + 1).copied().unwrap_or(self.text.len());
        let line = self.text.get(start..end)?.trim();
        Some(
            line.char_indices()
                .nth(LONGEST)
                .map_or(line, |(cut, _)| &line[..cut]),
        )
    }

    fn indentation(&self, line: usize) -> &str {
        let start = line
            .checked_sub(1)
            .and_then(|at| self.starts.get(at))
            .copied()
            .unwrap_or(self.text.len());
        let rest = &self.text[start..];
        &rest[..rest.len() - rest.trim_start_matches([' ', '\t']).len()]
    }
}

/// A name from the document, cut to a length that fits a message and with its control characters spelled out.
pub(crate) fn shown(name: &str) -> String {
    const LONGEST: usize = 80;
    match name.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{:?}...", &name[..cut]),
        None => format!("{name:?}"),
    }
}

fn part(lost: &str) -> (Loss, String) {
    (Loss::Part, lost.to_owned())
}

fn whole_key(key: MapKey, text: &str) -> (Loss, String) {
    let entries = match key {
        MapKey::MapAccounts => text
            .lines()
            .filter(|line| line.trim_start().starts_with('-'))
            .count(),
        _ => text.to_ascii_lowercase().matches(key.arn_field()).count(),
    };
    let counted = match entries {
        0 => String::new(),
        1 => " (1 entry)".to_owned(),
        n => format!(" ({n} entries)"),
    };
    (
        Loss::Key(key),
        format!("all of {key}{counted}: {}", key.everybody()),
    )
}

/// What to do about a text that is not YAML.
fn syntax_fix(text: &Text, line: usize, problem: &str) -> String {
    let near = [line, line.saturating_sub(1), line + 1];
    for at in near {
        if text.indentation(at).contains('\t') {
            return format!("replace the tab at the start of line {at} by spaces");
        }
    }
    for at in near {
        if let Some((_, value)) = text.quote(at).and_then(|content| content.split_once(':'))
            && value.trim_start().starts_with("{{")
        {
            return format!("put the value on line {at} in quotes: \"{}\"", value.trim());
        }
    }
    if problem.contains("did not find expected") || problem.contains("not allowed in this context") {
        return format!(
            "check the indentation around line {line}: every entry's '- ' must stand in one column, and its fields two \
             columns further"
        );
    }
    format!("correct line {line}")
}
