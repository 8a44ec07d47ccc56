//! The decision: authentication mode, access entries, then aws-auth.
//!
//! Rules: `pkg/server/server.go` (`doMapping`), `pkg/mapper/configmap/mapper.go`, `pkg/config/mapper.go` and
//! `pkg/mapper/dynamicfile/mapper.go` of kubernetes-sigs/aws-iam-authenticator; the EKS user guide for the modes.

use crate::document::{AwsAuth, Loss, MapKey, Mapping, Problem};
use crate::entries::{AccessEntry, AuthenticationMode};
use crate::gostr;
use crate::principal::{Arn, Caller, IdentityError, PrincipalKind, without_path};
use crate::template;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What the cluster knows, as far as it could be read.
#[derive(Clone, Debug)]
pub struct Cluster<'a> {
    /// The authentication mode.
    pub mode: AuthenticationMode,
    /// aws-auth. An absent ConfigMap is `AwsAuth::default()`; `None` is one that could not be read.
    pub aws_auth: Option<&'a AwsAuth>,
    /// The access entries; `None` if they could not be read.
    pub entries: Option<&'a [AccessEntry]>,
    /// Settings of the authenticator.
    pub settings: Settings,
}

/// Settings of the authenticator that change what it decides. The default is what EKS is taken to use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Feature gate `SSORoleMatch` (alpha, off by default).
    pub sso_role_match: bool,
    /// Prefixes that usernames from aws-auth must not have. EKS reserves none there: nodes need `system:`.
    pub reserved_prefixes: Vec<String>,
}

/// What IAM says about the principal behind the caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existence {
    /// Not asked, or not answered.
    #[default]
    Unknown,
    /// It is there, since then (`CreateDate`).
    Since(Timestamp),
    /// IAM does not know it (`NoSuchEntity`).
    Deleted,
}

/// How it ends for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The cluster knows the caller.
    Mapped,
    /// Nothing maps the caller: 401.
    NotMapped,
    /// Refused for another reason, without looking further.
    Denied,
    /// It depends on the order in which the authenticator happens to walk a map.
    Ambiguous,
}

/// The kind of thing that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    /// A line of the ConfigMap.
    AwsAuth,
    /// An access entry.
    AccessEntry,
}

/// A place in aws-auth or an access entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Which of the two.
    pub kind: SourceKind,
    /// aws-auth: the key.
    pub key: Option<MapKey>,
    /// The place in the list, from 0.
    pub index: Option<usize>,
    /// aws-auth: the entry's first line within the key's text, from 1.
    pub line: Option<usize>,
    /// The principal as it is written there.
    pub arn: String,
    /// aws-auth: the line that names the principal.
    pub quote: Option<String>,
    /// Access entry: its type.
    pub entry_type: Option<String>,
}

impl Source {
    pub(crate) fn mapping(mapping: &Mapping) -> Self {
        let arn = match &mapping.sso {
            Some(sso) => sso.pattern(),
            None => mapping.arn.clone(),
        };
        Self {
            kind: SourceKind::AwsAuth,
            key: Some(mapping.key),
            index: Some(mapping.index),
            line: Some(mapping.line),
            arn,
            quote: Some(mapping.quote.clone()),
            entry_type: None,
        }
    }

    pub(crate) fn line(key: MapKey, index: usize, line: usize, arn: String, aws_auth: &AwsAuth) -> Self {
        Self {
            kind: SourceKind::AwsAuth,
            key: Some(key),
            index: Some(index),
            line: Some(line),
            arn,
            quote: aws_auth.quote(key, line).map(str::to_owned),
            entry_type: None,
        }
    }

    pub(crate) fn entry(entry: &AccessEntry, index: usize) -> Self {
        Self {
            kind: SourceKind::AccessEntry,
            key: None,
            index: Some(index),
            line: None,
            arn: entry.principal_arn.clone(),
            quote: None,
            entry_type: Some(entry.kind_str().to_owned()),
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.kind, self.key, self.line) {
            (SourceKind::AwsAuth, Some(key), Some(line)) => write!(f, "{key} line {line}"),
            (SourceKind::AwsAuth, _, _) => f.write_str("aws-auth"),
            (SourceKind::AccessEntry, _, _) => {
                write!(
                    f,
                    "access entry of {} ({})",
                    self.arn,
                    self.entry_type.as_deref().unwrap_or("STANDARD")
                )
            }
        }
    }
}

/// Why something that looks as if it were meant for the caller did not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum PassedOverBecause {
    /// The ARN has a role path, which never matches.
    RolePath,
    /// The ARN lacks the user's path, or has another one.
    UserPath,
    /// The same name in another account.
    OtherAccount,
    /// The same name in another partition.
    OtherPartition,
    /// The same name, but as a user instead of a role or the reverse.
    OtherKind,
    /// The ARN of an assumed role, which never matches.
    AssumedRoleArn,
    /// The ARN of an instance profile, which never matches.
    InstanceProfileArn,
    /// Stray characters (blanks, quotes, a comment) in the ARN.
    StrayCharacters,
    /// Wildcards, which are not supported.
    Wildcard,
    /// A later entry for the same principal displaces it.
    Displaced,
    /// Something that is looked at earlier decided.
    Later,
    /// An access entry hides it.
    HiddenByEntry,
    /// The authentication mode leaves it out.
    Mode,
    /// An `sso` entry, matched only behind a feature gate that is off.
    SsoGate,
    /// The entry is bound to an earlier principal of that name.
    Stale,
}

/// Something that looks as if it were meant for the caller and did not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PassedOver {
    /// Where it stands.
    pub source: Source,
    /// Why it did not count.
    pub because: PassedOverBecause,
    /// The same in words, with the place.
    pub message: String,
}

/// One of several ways it can end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Alternative {
    /// How.
    pub outcome: Outcome,
    /// Username, if mapped.
    pub username: Option<String>,
    /// Groups, if mapped.
    pub groups: Vec<String>,
    /// What decides.
    pub source: Option<Source>,
    /// Why.
    pub reason: String,
}

/// Who the cluster authenticates a principal as, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// The principal that was asked for.
    pub principal: String,
    /// The ARN that mappings are compared with; none for what is not an identity.
    pub canonical_arn: Option<String>,
    /// How it ends.
    pub outcome: Outcome,
    /// Username, if mapped. Placeholders whose fact is not known stay in it.
    pub username: Option<String>,
    /// Groups, if mapped, before the API server adds `system:authenticated`.
    pub groups: Vec<String>,
    /// What decided.
    pub source: Option<Source>,
    /// Why, in a sentence.
    pub reason: String,
    /// The possible ends, for `ambiguous`.
    pub alternatives: Vec<Alternative>,
    /// What looked as if it were meant for this principal and did not count.
    pub passed_over: Vec<PassedOver>,
    /// What could not be known, and what follows from it.
    pub caveats: Vec<String>,
    /// Everything that is wrong with aws-auth.
    pub problems: Vec<Problem>,
}

impl Decision {
    /// The decision on something that is not an identity.
    pub fn refused(principal: &str, error: &IdentityError) -> Self {
        Self {
            principal: principal.to_owned(),
            canonical_arn: None,
            outcome: Outcome::Denied,
            username: None,
            groups: Vec::new(),
            source: None,
            reason: error.to_string(),
            alternatives: Vec::new(),
            passed_over: Vec::new(),
            caveats: Vec::new(),
            problems: Vec::new(),
        }
    }
}

/// How it can end for a caller: one way, or several where chance decides; none where nothing maps it. What nearly matched is
/// not looked for, so this takes no longer for a large aws-auth than for a small one.
pub fn outcomes(cluster: &Cluster<'_>, caller: &Caller, existence: Existence) -> Vec<Alternative> {
    let mut ways = Vec::new();
    let mut ignored = Vec::new();
    if cluster.mode.uses_entries() {
        let named = cluster.entries.unwrap_or_default().iter().enumerate();
        let named = named.filter(|(_, entry)| names(entry, caller));
        ways.extend(from_entries(named, caller, existence, &mut ignored));
    }
    if let (true, true, Some(aws_auth)) = (ways.is_empty(), cluster.mode.uses_aws_auth(), cluster.aws_auth) {
        ways = from_aws_auth(aws_auth, &cluster.settings, caller, &mut ignored);
    }
    distinct(ways)
}

fn distinct(ways: Vec<Alternative>) -> Vec<Alternative> {
    let mut distinct: Vec<Alternative> = Vec::new();
    for way in ways {
        let same = |other: &Alternative| {
            (other.outcome, &other.username, &other.groups) == (way.outcome, &way.username, &way.groups)
        };
        if !distinct.iter().any(same) {
            distinct.push(way);
        }
    }
    distinct
}

/// Decides on a caller.
pub fn decide(cluster: &Cluster<'_>, caller: &Caller, existence: Existence) -> Decision {
    let mut passed_over = Vec::new();
    let mut caveats = Vec::new();
    let mut ways = Vec::new();

    if cluster.mode.uses_entries() {
        match cluster.entries {
            Some(entries) => {
                let entries = entries.iter().enumerate();
                ways.extend(from_entries(entries, caller, existence, &mut passed_over));
            }
            None => caveats.push(
                "the access entries could not be read: one of them may decide instead, since they come before aws-auth"
                    .to_owned(),
            ),
        }
    } else {
        for (index, entry) in cluster.entries.unwrap_or_default().iter().enumerate() {
            if names(entry, caller) {
                let source = Source::entry(entry, index);
                let message = format!(
                    "{source} does not count: the authentication mode is {}",
                    cluster.mode
                );
                passed_over.push(PassedOver {
                    source,
                    because: PassedOverBecause::Mode,
                    message,
                });
            }
        }
    }

    let empty = AwsAuth::default();
    let aws_auth = cluster.aws_auth.unwrap_or(&empty);
    if cluster.mode.uses_aws_auth() {
        if cluster.aws_auth.is_none() {
            caveats.push("aws-auth could not be read: it may map this principal".to_owned());
        }
        let hidden = !ways.is_empty();
        let found = from_aws_auth(aws_auth, &cluster.settings, caller, &mut passed_over);
        if hidden {
            for source in found.iter().filter_map(|way| way.source.clone()) {
                let message =
                    format!("{source} is hidden by the access entry: an entry wins, and nothing is merged");
                passed_over.push(PassedOver {
                    source,
                    because: PassedOverBecause::HiddenByEntry,
                    message,
                });
            }
        } else {
            ways = found;
            passed_over.extend(near_misses(aws_auth, caller));
        }
    } else {
        let mut ignored = Vec::new();
        for source in from_aws_auth(aws_auth, &cluster.settings, caller, &mut ignored)
            .into_iter()
            .filter_map(|way| way.source)
        {
            let message = format!(
                "{source} does not count: the authentication mode is {}, which ignores aws-auth",
                cluster.mode
            );
            passed_over.push(PassedOver {
                source,
                because: PassedOverBecause::Mode,
                message,
            });
        }
    }

    let by_entry = ways
        .iter()
        .filter_map(|way| way.source.as_ref())
        .find(|source| source.kind == SourceKind::AccessEntry && lacks_sso_path(&source.arn));
    if let Some(source) = by_entry {
        caveats.push(format!(
            "{source}: the roles of permission sets have the path aws-reserved/sso.amazonaws.com/, and an access entry needs it; an \
             entry without it is for a role that does not exist"
        ));
    }

    let mut distinct = distinct(ways);
    if caller.kind == PrincipalKind::Role {
        caveats.push(
            "only sessions of a role call: this is for any of them, and the session's name is left open"
                .to_owned(),
        );
    }
    let problems = if cluster.mode.uses_aws_auth() {
        aws_auth.problems.clone()
    } else {
        Vec::new()
    };
    let decision = Decision {
        principal: caller.arn.clone(),
        canonical_arn: Some(caller.canonical_arn.clone()),
        outcome: Outcome::NotMapped,
        username: None,
        groups: Vec::new(),
        source: None,
        reason: String::new(),
        alternatives: Vec::new(),
        passed_over,
        caveats,
        problems,
    };
    match distinct.len() {
        0 => Decision {
            reason: not_mapped_reason(cluster, aws_auth, caller),
            ..decision
        },
        1 => {
            let Some(way) = distinct.pop() else {
                return decision;
            };
            Decision {
                outcome: way.outcome,
                username: way.username,
                groups: way.groups,
                source: way.source,
                reason: way.reason,
                ..decision
            }
        }
        count => {
            let by_entries = distinct.iter().all(|way| {
                way.source
                    .as_ref()
                    .is_some_and(|source| source.kind == SourceKind::AccessEntry)
            });
            let which = if by_entries {
                "which one it is depends on which of these roles exists (an account has one role of a name; the entries of the \
                 others were left behind)"
            } else {
                "which one it is depends on the order in which the authenticator happens to walk its map, and can change with \
                 every request"
            };
            let places: Vec<String> = distinct
                .iter()
                .filter_map(|way| way.source.as_ref())
                .map(ToString::to_string)
                .collect();
            Decision {
                outcome: Outcome::Ambiguous,
                reason: format!("{count} outcomes are possible ({}): {which}", places.join(", ")),
                alternatives: distinct,
                ..decision
            }
        }
    }
}

fn not_mapped_reason(cluster: &Cluster<'_>, aws_auth: &AwsAuth, caller: &Caller) -> String {
    let arn = &caller.canonical_arn;
    let lost: Vec<String> = aws_auth
        .errors()
        .filter(|problem| matches!(problem.loss, Loss::Key(_)))
        .filter_map(|problem| {
            Some(format!(
                "{} is lost to a mistake on line {}",
                problem.key.as_ref()?,
                problem.line?
            ))
        })
        .collect();
    let lost = if lost.is_empty() || !cluster.mode.uses_aws_auth() {
        String::new()
    } else {
        format!("; all of {}", lost.join(", and all of "))
    };
    match cluster.mode {
        AuthenticationMode::Api => format!("no access entry is for {arn} (and mode API ignores aws-auth)"),
        AuthenticationMode::ConfigMap => format!("nothing in aws-auth maps {arn}{lost}"),
        AuthenticationMode::ApiAndConfigMap => {
            format!("no access entry is for {arn}, and nothing in aws-auth maps it{lost}")
        }
    }
}

/// Whether it names the role of a permission set without the path that those have
/// (terraform-aws-modules/terraform-aws-eks#2969).
fn lacks_sso_path(arn: &str) -> bool {
    Arn::parse(arn).is_some_and(|arn| {
        arn.kind() == "role" && arn.name().starts_with("AWSReservedSSO_") && arn.path().is_empty()
    })
}

/// Whether an entry names the caller's principal (paths left out, as STS leaves them out).
fn names(entry: &AccessEntry, caller: &Caller) -> bool {
    let canonical = match caller.kind {
        PrincipalKind::Role => without_path(&caller.canonical_arn),
        _ => caller.canonical_arn.clone(),
    };
    gostr::to_lower(&without_path(&entry.principal_arn)) == gostr::to_lower(&canonical)
}

fn from_entries<'e>(
    entries: impl Iterator<Item = (usize, &'e AccessEntry)>,
    caller: &Caller,
    existence: Existence,
    passed_over: &mut Vec<PassedOver>,
) -> Vec<Alternative> {
    let mut ways: Vec<Alternative> = Vec::new();
    for (index, entry) in entries {
        let source = Source::entry(entry, index);
        if !names(entry, caller) {
            if let Some((because, why)) = near_miss(&entry.principal_arn, caller)
                && matches!(
                    because,
                    PassedOverBecause::OtherAccount
                        | PassedOverBecause::OtherPartition
                        | PassedOverBecause::UserPath
                )
            {
                let message = format!("{source}: {why}");
                passed_over.push(PassedOver {
                    source,
                    because,
                    message,
                });
            }
            continue;
        }
        if let Some(why) =
            other_path(entry, caller).or_else(|| stale(entry, caller.principal_id.as_deref(), existence))
        {
            let message = format!("{source} does not count: {why}; delete the entry and create it again");
            passed_over.push(PassedOver {
                source,
                because: PassedOverBecause::Stale,
                message,
            });
            continue;
        }
        // A cluster has one entry per ARN; what a file repeats does not count twice.
        let repeated = |way: &Alternative| {
            way.source
                .as_ref()
                .is_some_and(|other| gostr::equal_fold(&other.arn, &source.arn))
        };
        if ways.iter().any(repeated) {
            continue;
        }
        let username = entry.username.as_deref().unwrap_or_default();
        let mut way = render(username, &entry.kubernetes_groups, caller, source);
        if entry.username.is_none() && way.outcome == Outcome::Mapped {
            way.username = None;
            way.reason.push_str("; its username was not read");
        }
        ways.push(way);
    }
    ways
}

/// Why an entry is not for the caller's role, whose full ARN is known: a role's name is unique in its account, so of two
/// roles that differ in the path alone one is gone.
fn other_path(entry: &AccessEntry, caller: &Caller) -> Option<String> {
    let asked = Arn::parse(caller.role_arn.as_deref()?)?;
    let bound = Arn::parse(&entry.principal_arn)?;
    let with_path = |arn: &Arn| match arn.path() {
        "" => "without a path".to_owned(),
        path => format!("with the path {path}"),
    };
    (!gostr::equal_fold(asked.path(), bound.path())).then(|| {
        format!(
            "it is for the role of that name {}, and this one is {}; an account has one role of a name, so the entry's role is gone \
             if this one exists",
            with_path(&bound),
            with_path(&asked)
        )
    })
}

/// Why an entry is bound to somebody else than the principal that has its name now.
pub(crate) fn stale(entry: &AccessEntry, principal_id: Option<&str>, existence: Existence) -> Option<String> {
    if let (Some(bound), Some(current)) = (entry.principal_id.as_deref(), principal_id) {
        return (bound != current).then(|| {
            format!("it is bound to {bound}, but the principal of that name is now {current}: it was deleted and re-created")
        });
    }
    match (existence, entry.created_at) {
        (Existence::Deleted, _) => Some("IAM no longer knows its principal".to_owned()),
        (Existence::Since(since), Some(created)) if since > created => Some(format!(
            "it was made on {created}, before the principal ({since}): it is bound to an earlier principal of that name"
        )),
        _ => None,
    }
}

fn render(username: &str, groups: &[String], caller: &Caller, source: Source) -> Alternative {
    let mut open = Vec::new();
    let mut one = |template: &str| {
        template::render(template, caller).map(|rendered| {
            open.extend(rendered.open);
            rendered.text
        })
    };
    let rendered = one(username).and_then(|username| {
        Ok((
            username,
            groups
                .iter()
                .map(|group| one(group))
                .collect::<Result<Vec<_>, _>>()?,
        ))
    });
    match rendered {
        Ok((username, groups)) => {
            open.sort_unstable();
            open.dedup();
            let left_open = if open.is_empty() {
                String::new()
            } else {
                format!("; {} is left open", open.join(", "))
            };
            Alternative {
                outcome: Outcome::Mapped,
                username: Some(username),
                groups,
                reason: format!("{source} maps {}{left_open}", source.arn),
                source: Some(source),
            }
        }
        Err(why) => Alternative {
            outcome: Outcome::Denied,
            username: None,
            groups: Vec::new(),
            reason: format!(
                "{source} maps {}, but {why}; nothing else is tried after that",
                source.arn
            ),
            source: Some(source),
        },
    }
}

/// All ways aws-auth can go for the caller; none if it maps nobody.
fn from_aws_auth(
    aws_auth: &AwsAuth,
    settings: &Settings,
    caller: &Caller,
    passed_over: &mut Vec<PassedOver>,
) -> Vec<Alternative> {
    let subject = gostr::to_lower(&caller.canonical_arn);
    let mut found = Vec::new();
    for key in [MapKey::MapRoles, MapKey::MapUsers] {
        let matching = matching(aws_auth, key, settings, &subject, passed_over);
        found.push((aws_auth.perhaps_lost.contains(&key), matching));
    }
    let account = aws_auth
        .accounts
        .iter()
        .find(|account| account.account == caller.account);

    // Each key whose entries may be lost by chance is tried with and without them.
    let mut ways: Vec<Alternative> = Vec::new();
    let mut open = true;
    for (perhaps_lost, matching) in &found {
        if !open {
            for mapping in matching {
                let source = Source::mapping(mapping);
                let message = format!("{source} does not count: mapRoles is looked at first, and decided");
                passed_over.push(PassedOver {
                    source,
                    because: PassedOverBecause::Later,
                    message,
                });
            }
            continue;
        }
        for mapping in matching {
            let mut way = render(
                &mapping.username,
                &mapping.groups,
                caller,
                Source::mapping(mapping),
            );
            let reserved = way.username.as_deref().and_then(|username| {
                settings
                    .reserved_prefixes
                    .iter()
                    .find(|prefix| !prefix.is_empty() && username.starts_with(*prefix))
            });
            if let Some(prefix) = reserved {
                way.reason = format!(
                    "{} maps it to a username with the reserved prefix {prefix:?}",
                    way.source.as_ref().map(ToString::to_string).unwrap_or_default()
                );
                way.outcome = Outcome::Denied;
                way.username = None;
                way.groups.clear();
            }
            ways.push(way);
        }
        open = matching.is_empty() || *perhaps_lost;
    }
    if open {
        if let Some(account) = account {
            let source = Source::line(
                MapKey::MapAccounts,
                account.index,
                account.line,
                account.account.clone(),
                aws_auth,
            );
            ways.push(Alternative {
                outcome: Outcome::Mapped,
                username: Some(caller.canonical_arn.clone()),
                groups: Vec::new(),
                reason: format!(
                    "{source} maps every principal of account {} to its own ARN, without groups",
                    account.account
                ),
                source: Some(source),
            });
        } else if !ways.is_empty() {
            ways.push(Alternative {
                outcome: Outcome::NotMapped,
                username: None,
                groups: Vec::new(),
                reason: "the key's entries may be lost".to_owned(),
                source: None,
            });
        }
    }
    ways
}

/// The entries of one key that match, after later ones have displaced earlier ones.
fn matching<'m>(
    aws_auth: &'m AwsAuth,
    key: MapKey,
    settings: &Settings,
    subject: &str,
    passed_over: &mut Vec<PassedOver>,
) -> Vec<&'m Mapping> {
    let mut matching = Vec::new();
    for (mapping, winner) in aws_auth.candidates(key, subject) {
        if let Some(sso) = &mapping.sso
            && !sso_matches(&sso.pattern(), subject)
        {
            continue;
        }
        let source = Source::mapping(mapping);
        if mapping.sso.is_some() && !settings.sso_role_match {
            let message = format!(
                "{source} does not count: sso entries need the feature gate SSORoleMatch, which is off"
            );
            passed_over.push(PassedOver {
                source,
                because: PassedOverBecause::SsoGate,
                message,
            });
        } else if winner.index != mapping.index {
            let message = format!(
                "{source} does not count: line {} names the same principal, and the last one wins",
                winner.line
            );
            passed_over.push(PassedOver {
                source,
                because: PassedOverBecause::Displaced,
                message,
            });
        } else {
            matching.push(mapping);
        }
    }
    matching
}

/// `ArnLike` for the patterns of `sso` entries: six parts, exact but for the `*` at the end, which does not cross lines.
fn sso_matches(pattern: &str, subject: &str) -> bool {
    let (pattern, subject): (Vec<&str>, Vec<&str>) =
        (pattern.splitn(6, ':').collect(), subject.splitn(6, ':').collect());
    if pattern.len() != 6 || subject.len() != 6 || pattern[..5] != subject[..5] {
        return false;
    }
    let prefix = pattern[5].strip_suffix('*').unwrap_or(pattern[5]);
    subject[5]
        .strip_prefix(prefix)
        .is_some_and(|rest| !rest.contains('\n'))
}

/// Whether a principal that does not match is close to the caller, and how it differs.
fn near_miss(written: &str, caller: &Caller) -> Option<(PassedOverBecause, String)> {
    use PassedOverBecause as Because;
    let canonical = &caller.canonical_arn;
    let caller_arn = Arn::parse(canonical)?;
    let stray = |c: char| {
        c.is_whitespace()
            || c.is_control()
            || matches!(
                c,
                '"' | '\'' | '`' | '\u{200B}'..='\u{201F}' | '\u{FEFF}' | ',' | ';'
            )
    };
    let bare = written.split(" #").next().unwrap_or_default();
    let bare = bare.split('#').next().unwrap_or_default().trim_matches(stray);
    let bare_without_inner: String = bare.chars().filter(|c| !stray(*c)).collect();
    if written != bare_without_inner && gostr::equal_fold(&bare_without_inner, canonical) {
        return Some((
            Because::StrayCharacters,
            format!("stray characters in the ARN {written:?}, which is compared as it is"),
        ));
    }
    let arn = Arn::parse(&bare_without_inner)?;
    if written.contains(['*', '?']) && wildcard_matches(written, canonical) {
        return Some((
            Because::Wildcard,
            "wildcards are not supported: the ARN is compared as it is".to_owned(),
        ));
    }
    let name = match arn.kind() {
        "assumed-role" => arn.resource.split('/').nth(1).unwrap_or_default(),
        _ => arn.name(),
    };
    if arn.kind() == "root" || !gostr::equal_fold(name, caller_arn.name()) {
        return None;
    }
    let same_account = arn.account == caller_arn.account;
    let same_partition = arn.partition == caller_arn.partition;
    if !same_account {
        let also = if same_partition {
            ""
        } else {
            ", and another partition"
        };
        return Some((
            Because::OtherAccount,
            format!("same name in another account ({}){also}", arn.account),
        ));
    }
    if !same_partition {
        return Some((
            Because::OtherPartition,
            format!("same name in another partition ({})", arn.partition),
        ));
    }
    match (arn.kind(), caller_arn.kind()) {
        ("role", "role") if !arn.path().is_empty() => Some((
            Because::RolePath,
            "same role with a path, which never matches".to_owned(),
        )),
        ("user", "user") if arn.path() != caller_arn.path() => Some((
            Because::UserPath,
            "same user with another path; a user's path must be given in full".to_owned(),
        )),
        ("assumed-role", "role") => Some((
            Because::AssumedRoleArn,
            "ARN of an assumed role, which never matches; use the role's".to_owned(),
        )),
        ("instance-profile", "role") => Some((
            Because::InstanceProfileArn,
            "ARN of an instance profile, which never matches; use its role's".to_owned(),
        )),
        (a, b) if a != b => Some((
            Because::OtherKind,
            format!("same name, but as {a} instead of {b}"),
        )),
        _ => None,
    }
}

/// Glob match with `*` and `?`, letter case aside, in time proportional to the product of the lengths at worst.
fn wildcard_matches(pattern: &str, subject: &str) -> bool {
    let (pattern, subject) = (
        gostr::to_lower(pattern).into_bytes(),
        gostr::to_lower(subject).into_bytes(),
    );
    let (mut p, mut s) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while s < subject.len() {
        match pattern.get(p) {
            Some(b'*') => {
                back = Some((p, s));
                p += 1;
            }
            Some(&c) if c == b'?' || c == subject[s] => {
                p += 1;
                s += 1;
            }
            _ => match back {
                Some((star, from)) => {
                    p = star + 1;
                    s = from + 1;
                    back = Some((star, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

/// The entries of aws-auth that nearly name the caller, with what keeps them from it.
pub(crate) fn near_misses(aws_auth: &AwsAuth, caller: &Caller) -> Vec<PassedOver> {
    const MOST: usize = 50;
    let subject = gostr::to_lower(&caller.canonical_arn);
    aws_auth
        .roles
        .iter()
        .chain(&aws_auth.users)
        .filter(|mapping| mapping.sso.is_none() && !gostr::equal_fold(&mapping.arn, &subject))
        .filter_map(|mapping| {
            let (because, why) = near_miss(&mapping.arn, caller)?;
            let source = Source::mapping(mapping);
            let message = format!("{source}: {why}");
            Some(PassedOver {
                source,
                because,
                message,
            })
        })
        .take(MOST)
        .collect()
}
