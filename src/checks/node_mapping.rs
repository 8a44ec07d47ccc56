//! Whether Karpenter's nodes may join.
use std::sync::LazyLock;

use serde_json::json;

use super::karpenter::count;
use super::{Check, Group, Judgement, Status, always, lost_cluster};
use crate::facts::{self, Facts, NamedBy};
use crate::karpenter::objects::NodeOs;
use crate::model::{Fact, Observed, Unknown};
use eks_aws_auth::{
    AccessEntry, AuthenticationMode, AwsAuth, Cluster, ClusterNames, Existence, MapKey, MappingRemedy,
    NamedRole, NodeFault, NodeKind, NodeRole, NodeVerdict, Part, Problem, Settings, Standing,
    judge_node_role,
};

/// What changes aws-auth.
pub(super) const EDIT: &str = "kubectl edit configmap aws-auth -n kube-system";

/// What an absent ConfigMap is to the authenticator.
static NO_AWS_AUTH: LazyLock<AwsAuth> = LazyLock::new(AwsAuth::default);

/// The cluster's mappings, as far as they were read: what the authenticator's evaluator takes.
pub(crate) struct Mappings<'a> {
    mode: AuthenticationMode,
    aws_auth: Option<&'a AwsAuth>,
    entries: Option<&'a [AccessEntry]>,
    /// Why something that counts in this mode could not be read.
    pub(crate) unread: Option<&'a Unknown>,
}

impl Mappings<'_> {
    /// As the evaluator takes it.
    pub(crate) fn cluster(&self) -> Cluster<'_> {
        Cluster {
            mode: self.mode,
            aws_auth: self.aws_auth,
            entries: self.entries,
            settings: Settings::default(),
        }
    }

    /// Whether access entries count and could not be read.
    pub(crate) fn entries_unread(&self) -> bool {
        self.mode.uses_entries() && self.entries.is_none()
    }

    /// What counts in this mode and could not be read.
    pub(crate) fn unread_what(&self) -> Vec<&'static str> {
        let entries = (self.mode.uses_entries() && self.entries.is_none()).then_some("access entries");
        let map = (self.mode.uses_aws_auth() && self.aws_auth.is_none()).then_some("aws-auth");
        [entries, map].into_iter().flatten().collect()
    }
}

/// The mappings of the cluster; none when not even its authentication mode is known.
pub(crate) fn mappings(facts: &Facts) -> Option<Mappings<'_>> {
    mappings_of(&facts.cluster, &facts.aws_auth, &facts.access_entries)
}

/// The same, of what was read for another question.
pub(crate) fn mappings_of<'a>(
    cluster: &Fact<facts::eks::Cluster>,
    aws_auth: &'a Fact<facts::aws_auth::AwsAuth>,
    access_entries: &'a Fact<Vec<AccessEntry>>,
) -> Option<Mappings<'a>> {
    let mode = cluster.known()?.authentication_mode;
    let unread_map = aws_auth.observed.unknown().filter(|_| mode.uses_aws_auth());
    let unread_entries = access_entries.observed.unknown().filter(|_| mode.uses_entries());
    let aws_auth = match &aws_auth.observed {
        Observed::Known(map) => Some(map.taken_in()),
        Observed::Absent => Some(&*NO_AWS_AUTH),
        Observed::Unknown(_) => None,
    };
    let entries = match &access_entries.observed {
        Observed::Known(entries) => Some(entries.as_slice()),
        Observed::Absent => Some(&[][..]),
        Observed::Unknown(_) => None,
    };
    Some(Mappings {
        mode,
        aws_auth,
        entries,
        unread: unread_entries.or(unread_map),
    })
}

/// What a check says that rests on the cluster's authentication mode where that is not known.
pub(super) fn mode_not_known(facts: &Facts) -> Judgement {
    match facts.cluster.observed.unknown() {
        Some(unknown) => Judgement::unknown("the cluster's authentication mode", unknown),
        None => Judgement::ground_lost("the cluster was not found: see cluster-found"),
    }
    .from(&facts.cluster)
}

/// The names that commands about the cluster's access need.
pub(crate) fn names(facts: &Facts) -> ClusterNames<'_> {
    let account = facts
        .cluster
        .known()
        .and_then(facts::eks::Cluster::account)
        .or(facts.target.account.as_deref())
        .or(facts.caller.known().map(|caller| caller.account.as_str()))
        .unwrap_or_default();
    ClusterNames {
        cluster: &facts.target.cluster,
        region: &facts.target.region,
        account,
        partition: &facts.target.partition,
    }
}

/// What IAM says of a role, for the evaluator.
pub(crate) fn existence(role: &Observed<crate::model::Role>) -> Existence {
    match role {
        Observed::Known(role) => role.created.map_or(Existence::Unknown, Existence::Since),
        Observed::Absent => Existence::Deleted,
        Observed::Unknown(_) => Existence::Unknown,
    }
}

/// Something wrong with aws-auth in a sentence: the place, the line as it stands there, what is lost by it.
pub(super) fn told(map: &AwsAuth, problem: &Problem) -> String {
    let place = match (&problem.key, problem.line) {
        (Some(key), Some(line)) => format!("{key} line {line}: "),
        (Some(key), None) => format!("{key}: "),
        (None, _) => String::new(),
    };
    let quote = quote(map, problem)
        .map(|quote| format!(" (`{quote}`)"))
        .unwrap_or_default();
    let lost = if problem.lost.is_empty() {
        String::new()
    } else {
        format!("; lost: {}", problem.lost)
    };
    format!("{place}{}{quote}{lost}", problem.message)
}

fn quote<'a>(map: &'a AwsAuth, problem: &Problem) -> Option<&'a str> {
    let key = MapKey::ALL
        .into_iter()
        .find(|key| problem.key.as_deref() == Some(key.as_str()))?;
    map.quote(key, problem.line?).filter(|quote| !quote.is_empty())
}

/// The sentences of several problems, as many as anybody reads in one message; the evidence has more.
pub(super) fn told_together(map: &AwsAuth, problems: &[&Problem]) -> String {
    const MOST: usize = 5;
    let mut sentences: Vec<String> = problems.iter().take(MOST).map(|one| told(map, one)).collect();
    if problems.len() > MOST {
        sentences.push(format!("and {} more", problems.len() - MOST));
    }
    sentences.join(". ")
}

/// What to do about them, each with its place where there are several.
pub(super) fn fixes(problems: &[&Problem]) -> String {
    if let [only] = problems {
        return only.fix.clone();
    }
    let place = |problem: &Problem| match (&problem.key, problem.line) {
        (Some(key), Some(line)) => format!("{key} line {line}: "),
        (Some(key), None) => format!("{key}: "),
        (None, _) => String::new(),
    };
    problems
        .iter()
        .take(5)
        .map(|problem| format!("{}{}", place(problem), problem.fix))
        .collect::<Vec<_>>()
        .join(". ")
}

/// The problems as evidence, with the lines quoted.
pub(super) fn listed(map: &AwsAuth, problems: &[&Problem]) -> serde_json::Value {
    let all = problems.iter().take(50).map(|problem| {
        let mut value = json!(problem);
        if let (Some(quote), Some(fields)) = (quote(map, problem), value.as_object_mut()) {
            fields.insert("quote".to_owned(), json!(quote));
        }
        value
    });
    all.collect()
}

/// Whether EKS's webhook checks what is saved; null where that is not known.
pub(super) fn webhook(facts: &Facts) -> serde_json::Value {
    match &facts.validation_webhook.observed {
        Observed::Known(_) => json!(true),
        Observed::Absent => json!(false),
        Observed::Unknown(_) => serde_json::Value::Null,
    }
}

/// A remedy's sentence on the webhook, where it is there.
pub(super) fn webhook_word(facts: &Facts) -> &'static str {
    match facts.validation_webhook.known() {
        Some(_) => {
            " EKS's webhook looks at aws-auth when it is saved and may refuse a change, with its reason; what is in there already it \
             has not looked at."
        }
        None => "",
    }
}

/// A person's end of a sentence.
pub(super) fn sentence(text: &str) -> String {
    if text.is_empty() || text.ends_with(['.', '!', '?']) {
        text.to_owned()
    } else {
        format!("{text}.")
    }
}

pub(crate) static AWS_AUTH_PARSES: Check = Check {
    id: "aws-auth-parses",
    group: Group::NodeMapping,
    title: "aws-auth is read without loss",
    needed: always,
    judge: aws_auth_parses,
};

fn aws_auth_parses(facts: &Facts) -> Judgement {
    if let Some(reason) = lost_cluster(facts) {
        return Judgement::ground_lost(reason);
    }
    let Some(mode) = facts.cluster.known().map(|cluster| cluster.authentication_mode) else {
        return mode_not_known(facts);
    };
    if !mode.uses_aws_auth() {
        return Judgement::skip("in authentication mode API the cluster ignores aws-auth")
            .from(&facts.cluster);
    }
    let map = match &facts.aws_auth.observed {
        Observed::Known(map) => map.taken_in(),
        Observed::Absent if mode == AuthenticationMode::ConfigMap => {
            return Judgement::warn("there is no ConfigMap kube-system/aws-auth, and in authentication mode CONFIG_MAP nothing else lets nodes in")
                .remedy(
                    "Create it with the node role in it (see node-role-mapped), or switch the cluster to access entries.",
                    [format!(
                        "aws eks update-cluster-config --name {} --region {} --access-config authenticationMode=API_AND_CONFIG_MAP",
                        crate::text::quote(&facts.target.cluster),
                        crate::text::quote(&facts.target.region)
                    )],
                )
                .from(&facts.aws_auth);
        }
        Observed::Absent => {
            return Judgement::pass(
                "there is no ConfigMap kube-system/aws-auth; access entries decide alone",
            )
            .from(&facts.aws_auth);
        }
        Observed::Unknown(unknown) => {
            return Judgement::unknown("the ConfigMap kube-system/aws-auth", unknown).from(&facts.aws_auth);
        }
    };
    let errors: Vec<&Problem> = map.errors().collect();
    let lost_keys: Vec<&str> = [MapKey::MapRoles, MapKey::MapUsers, MapKey::MapAccounts]
        .into_iter()
        .filter(|key| {
            let empty = match key {
                MapKey::MapAccounts => map.accounts.is_empty(),
                _ => map.mappings(*key).is_empty() && !map.dropped.iter().any(|dropped| dropped.key == *key),
            };
            empty
                && errors
                    .iter()
                    .any(|problem| problem.key.as_deref() == Some(key.as_str()))
        })
        .map(MapKey::as_str)
        .collect();
    let judgement = if errors.is_empty() {
        Judgement::pass(format!(
            "{}, {}, {}, nothing lost",
            count(map.roles.len(), "role", "roles"),
            count(map.users.len(), "user", "users"),
            count(map.accounts.len(), "account", "accounts")
        ))
    } else {
        let message = told_together(map, &errors);
        let base = if lost_keys.is_empty() {
            Judgement::warn(message)
        } else {
            Judgement::fail(message)
        };
        base.remedy(
            format!("{}{}", sentence(&fixes(&errors)), webhook_word(facts)),
            [EDIT.to_owned()],
        )
    };
    judgement
        .evidence("problems", listed(map, &errors))
        .evidence("lostKeys", json!(lost_keys))
        .evidence("validationWebhook", webhook(facts))
        .from(&facts.aws_auth)
        .from(&facts.validation_webhook)
}

pub(crate) static NODE_ROLE_MAPPED: Check = Check {
    id: "node-role-mapped",
    group: Group::NodeMapping,
    title: "The cluster lets nodes with this role join",
    needed: always,
    judge: node_role_mapped,
};

/// A role that nodes run under, with the verdict on its mapping.
pub(super) struct Judged<'f> {
    /// Who named it, and what was read.
    pub(super) role: &'f facts::NodeRole,
    /// The role that nodes run under: the named one, or what the node class's instance profile holds instead.
    pub(super) name: String,
    /// What IAM says of the named role; none where that is another account's, or the profile holds another.
    pub(super) found: Option<&'f Observed<crate::model::Role>>,
    /// The role in the profile, where it is another one than is named.
    pub(super) held: Option<&'f crate::model::Role>,
    /// Its mapping.
    pub(super) verdict: NodeVerdict,
}

impl Judged<'_> {
    /// What IAM says of the role that nodes run under.
    pub(super) fn existence(&self) -> Existence {
        match (self.held, self.found) {
            (Some(held), _) => held.created.map_or(Existence::Unknown, Existence::Since),
            (None, Some(found)) => existence(found),
            (None, None) => Existence::Unknown,
        }
    }

    /// Whether IAM cannot be asked about it.
    pub(super) fn is_foreign(&self) -> bool {
        self.found.is_none() && self.held.is_none()
    }
}

/// Whether the role that was given is another account's or partition's: these credentials' IAM knows nothing of it.
fn is_foreign(given: &str, names: ClusterNames<'_>) -> bool {
    given.parse::<iam_policy::arn::Arn>().is_ok_and(|arn| {
        let account_known = !arn.account.is_empty() && !names.account.is_empty();
        arn.partition.as_str() != names.partition || (account_known && arn.account != names.account)
    })
}

/// Whether two ARNs name one role; a role's name is its account's only one, whatever the path.
fn same_role(one: &str, other: &str) -> bool {
    let account = |arn: &str| arn.split(':').nth(4).map(str::to_owned);
    account(one) == account(other)
        && iam_policy::arn::role_name(one).eq_ignore_ascii_case(&iam_policy::arn::role_name(other))
}

/// Each node role with the verdict on its mapping; roles whose name is not known are left out.
pub(super) fn node_verdicts<'f>(facts: &'f Facts, mappings: &Mappings<'_>) -> Vec<Judged<'f>> {
    let names = names(facts);
    let roles = facts.node_roles.known().map(Vec::as_slice).unwrap_or_default();
    let node_groups = facts
        .compute
        .node_groups
        .known()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let judge = |arn: &str,
                 kind: NodeKind,
                 found: Option<&crate::model::Role>,
                 existence,
                 named: Option<NamedRole<'_>>| {
        let shared: Vec<String> = node_groups
            .iter()
            .filter(|group| same_role(&group.role_arn, arn))
            .map(|group| group.name.clone())
            .collect();
        let asked = NodeRole {
            existence,
            id: found.map(|found| found.id.as_str()).filter(|id| !id.is_empty()),
            node_groups: &shared,
            named,
            ..NodeRole::new(arn, kind)
        };
        judge_node_role(&mappings.cluster(), names, &asked)
    };
    let kind_of = |role: &facts::NodeRole| match role.os {
        NodeOs::Windows => NodeKind::Windows,
        NodeOs::Linux | NodeOs::Unknown => NodeKind::Linux,
    };
    let mut judged: Vec<Judged<'f>> = Vec::new();
    for role in roles.iter().filter(|role| !role.name.is_empty()) {
        let kind = kind_of(role);
        // What Windows nodes need is all that Linux nodes need, and more.
        let windows_too = |other: &facts::NodeRole| {
            kind == NodeKind::Linux && other.name == role.name && kind_of(other) == NodeKind::Windows
        };
        if roles.iter().any(windows_too) {
            continue;
        }
        let foreign = is_foreign(&role.given, names);
        let arn = match role.role.known() {
            Some(known) if !foreign => known.arn.clone(),
            _ if role.given.starts_with("arn:") => role.given.clone(),
            _ => format!(
                "arn:{}:iam::{}:role/{}",
                names.partition,
                names.account,
                role.given.trim_start_matches('/')
            ),
        };
        let mut others: Vec<(&crate::model::Role, &str)> = Vec::new();
        let mut as_named = role.profiles_in_use.is_empty();
        for in_use in &role.profiles_in_use {
            match in_use.profile.known() {
                Some(crate::model::InstanceProfile {
                    name,
                    role: Some(held),
                    ..
                }) if !same_role(&held.arn, &arn) => {
                    if !others.iter().any(|(other, _)| same_role(&other.arn, &held.arn)) {
                        others.push((held, name));
                    }
                }
                _ => as_named = true,
            }
        }
        if as_named {
            let (found, existence) = match foreign {
                true => (None, Existence::Unknown),
                false => (Some(&role.role.observed), existence(&role.role.observed)),
            };
            judged.push(Judged {
                role,
                name: role.name.clone(),
                found,
                held: None,
                verdict: judge(&arn, kind, found.and_then(Observed::known), existence, None),
            });
        }
        for (held, profile) in others {
            let existence = held.created.map_or(Existence::Unknown, Existence::Since);
            let named = NamedRole { arn: &arn, profile };
            judged.push(Judged {
                role,
                name: held.name.clone(),
                found: None,
                held: Some(held),
                verdict: judge(&held.arn, kind, Some(held), existence, Some(named)),
            });
        }
    }
    judged
}

/// What is known of the node roles' mappings, or the judgement of every check that needs them.
pub(super) fn judged(facts: &Facts) -> Result<(Mappings<'_>, Vec<Judged<'_>>), Box<Judgement>> {
    if let Some(reason) = lost_cluster(facts) {
        return Err(Box::new(Judgement::ground_lost(reason)));
    }
    let Some(mappings) = mappings(facts) else {
        return Err(Box::new(mode_not_known(facts)));
    };
    match &facts.node_roles.observed {
        Observed::Known(roles) if roles.is_empty() => Err(Box::new(Judgement::skip(
            "which role the nodes have is not known: see node-role-known",
        ))),
        Observed::Known(_) => {
            let judged = node_verdicts(facts, &mappings);
            if judged.is_empty() {
                return Err(Box::new(Judgement::ground_lost(
                    "no instance profile of the node classes has a role: see node-role-known",
                )));
            }
            Ok((mappings, judged))
        }
        Observed::Unknown(unknown) => Err(Box::new(
            Judgement::unknown("the role of Karpenter's nodes", unknown).from(&facts.node_roles),
        )),
        Observed::Absent => Err(Box::new(Judgement::skip(
            "which role the nodes have is not known: see node-role-known",
        ))),
    }
}

/// Whether the role is not there because all of mapRoles is lost: aws-auth-parses says that.
pub(super) fn is_lost(part: &Part) -> bool {
    part.faults
        .iter()
        .any(|fault| matches!(fault, NodeFault::Lost { .. }))
}

/// The remedies of several roles as one: words, and commands without repetition.
pub(super) fn remedies<'a>(
    remedies: impl Iterator<Item = (&'a str, &'a MappingRemedy)>,
) -> Option<(String, Vec<String>)> {
    let all: Vec<(&str, &MappingRemedy)> = remedies.collect();
    let mut commands: Vec<String> = Vec::new();
    for (_, remedy) in &all {
        let entry = remedy
            .aws_auth_entry
            .as_ref()
            .map(|entry| format!("# in {EDIT}, under mapRoles:\n{entry}"));
        for command in remedy.commands.iter().cloned().chain(entry) {
            if !commands.contains(&command) {
                commands.push(command);
            }
        }
    }
    let text = match all.as_slice() {
        [] => return None,
        [(_, only)] => only.text.clone(),
        several => several
            .iter()
            .map(|(name, remedy)| format!("{name}: {}", remedy.text))
            .collect::<Vec<_>>()
            .join(". "),
    };
    Some((text, commands))
}

fn node_role_mapped(facts: &Facts) -> Judgement {
    let (mappings, judged) = match judged(facts) {
        Ok(judged) => judged,
        Err(judgement) => return *judgement,
    };
    let evidence: Vec<_> = judged
        .iter()
        .map(|one| {
            let verdict = &one.verdict;
            json!({
                "role": one.name, "standing": verdict.standing, "faults": verdict.faults,
                "username": verdict.decision.username, "groups": verdict.decision.groups, "source": verdict.decision.source
            })
        })
        .collect();
    let of_others = |part: &Part| !is_lost(part);
    let told: Vec<(&Judged<'_>, &Part)> = judged
        .iter()
        .filter_map(|one| Some((one, one.verdict.mapping.as_ref().filter(|part| of_others(part))?)))
        .collect();
    let judgement = match told.iter().map(|(_, part)| part.standing).max() {
        None => follow_on(&judged),
        Some(worst) => {
            let messages = |all: bool| {
                told.iter()
                    .filter(|(_, part)| all || part.standing != Standing::Well)
                    .map(|(_, part)| part.message.as_str())
                    .collect::<Vec<_>>()
                    .join("; ")
            };
            let mut message = messages(worst == Standing::Well);
            let not_mapped = |(_, part): &(&Judged<'_>, &Part)| part.faults.contains(&NodeFault::NotMapped);
            if let (true, Some(written)) = (told.iter().any(not_mapped), last_written(facts)) {
                message = format!("{message}; aws-auth was last written by {written}");
            }
            if matches!(worst, Standing::Well | Standing::Flawed) {
                for unseen in unseen(facts, &judged) {
                    message = format!("{message}; {unseen}");
                }
            }
            match (worst, mappings.unread) {
                (Standing::Unknown, Some(unknown)) => {
                    Judgement::unknown("how the node role is mapped", unknown)
                }
                (Standing::Unknown, None) => Judgement::undecided(message),
                (Standing::Well, _) => Judgement::pass(message),
                (Standing::Flawed, _) => Judgement::warn(message),
                (Standing::Broken, _) => Judgement::fail(message),
            }
        }
    };
    let mut judgement = judgement;
    let mending = told
        .iter()
        .filter_map(|(one, part)| Some((one.name.as_str(), part.remedy.as_ref()?)));
    if let (Status::Warn | Status::Fail, Some((text, commands))) = (judgement.status, remedies(mending)) {
        judgement = judgement.remedy(text, commands);
    }
    judgement
        .evidence("roles", json!(evidence))
        .from(&facts.access_entries)
        .from(&facts.aws_auth)
        .from(&facts.compute.node_groups)
}

/// Which check says why nothing can be said of these roles' mappings.
fn follow_on(judged: &[Judged<'_>]) -> Judgement {
    let lost = judged
        .iter()
        .any(|one| one.verdict.mapping.as_ref().is_some_and(is_lost));
    if lost {
        return Judgement::ground_lost(
            "all of mapRoles is lost, the nodes' mapping too: see aws-auth-parses",
        );
    }
    let names: Vec<&str> = judged.iter().map(|one| one.name.as_str()).collect();
    let names = names.join(", ");
    if judged.iter().any(|one| one.verdict.is_named_somewhere()) {
        let gone = judged.iter().all(|one| one.existence() == Existence::Deleted);
        Judgement::ground_lost(if gone {
            format!("IAM no longer has {names}, which is mapped: see node-role-current")
        } else {
            format!("{names} is not the role that was mapped: see node-role-current")
        })
    } else {
        Judgement::ground_lost(format!("IAM has no role {names}: see node-role-known"))
    }
}

/// What could not be read and might speak against a good mapping, each with its reason.
fn unseen(facts: &Facts, judged: &[Judged<'_>]) -> Vec<String> {
    let shared =
        facts.compute.node_groups.observed.unknown().map(|unknown| {
            format!("whether a managed node group shares the role could not be read: {unknown}")
        });
    let profile = judged
        .iter()
        .flat_map(|one| &one.role.profiles_in_use)
        .find_map(|in_use| Some((in_use, in_use.profile.observed.unknown()?)));
    let profile = profile.map(|(in_use, unknown)| {
        format!(
            "whether the instance profile of the node class {} really holds the role could not be read: {unknown}",
            in_use.class
        )
    });
    shared.into_iter().chain(profile).collect()
}

/// Who wrote aws-auth last, where the API server tells.
fn last_written(facts: &Facts) -> Option<&str> {
    let time = |manager: &&String| manager.rsplit(' ').next().unwrap_or_default().to_owned();
    facts
        .aws_auth
        .known()
        .and_then(|map| map.managers.iter().max_by_key(time))
        .map(String::as_str)
}

pub(crate) static NODE_ROLE_KNOWN: Check = Check {
    id: "node-role-known",
    group: Group::NodeMapping,
    title: "The role of Karpenter's nodes is known, and IAM has it",
    needed: always,
    judge: node_role_known,
};

fn node_role_known(facts: &Facts) -> Judgement {
    if let Some(reason) = lost_cluster(facts) {
        return Judgement::ground_lost(reason);
    }
    let roles = match &facts.node_roles.observed {
        Observed::Known(roles) => roles,
        Observed::Absent => return Judgement::undecided("nobody was asked").from(&facts.node_roles),
        Observed::Unknown(unknown) => {
            return Judgement::unknown("the role of Karpenter's nodes", unknown).from(&facts.node_roles);
        }
    };
    let cluster = &facts.target.cluster;
    if roles.is_empty() {
        let classes = facts
            .pools
            .node_classes
            .known()
            .map_or(0, |list| list.items.len());
        let what = if classes == 0 {
            format!(
                "Karpenter is not there yet, and IAM has neither KarpenterNodeRole-{cluster} nor {cluster}-node"
            )
        } else {
            "no EC2NodeClass names a role or an instance profile".to_owned()
        };
        return Judgement::warn(format!(
            "{what}: which role its nodes will have is not known, so nothing below could look at it"
        ))
        .remedy(
            "Name it.",
            [facts
                .target
                .capt_spot(&["preflight", "--node-role", "NAME"])
                .to_string()],
        )
        .from(&facts.node_roles);
    }
    let names = names(facts);
    let mappings = mappings(facts);
    let verdicts = mappings
        .as_ref()
        .map(|mappings| node_verdicts(facts, mappings))
        .unwrap_or_default();
    let mut missing = Vec::new();
    let mut found = Vec::new();
    // Deleted behind a mapping that is still there.
    let mut behind = Vec::new();
    for role in roles {
        let who = match &role.named_by {
            NamedBy::Flag => "--node-role".to_owned(),
            NamedBy::NodeClass { name } => format!("EC2NodeClass {name}"),
            NamedBy::Convention => "the usual name".to_owned(),
        };
        if is_foreign(&role.given, names) {
            found.push(format!(
                "{} ({who}; of another account or partition, so these credentials cannot look it up)",
                role.given
            ));
            continue;
        }
        let mapped = verdicts.iter().any(|one| {
            std::ptr::eq(one.role, role) && one.found.is_some() && one.verdict.is_named_somewhere()
        });
        match (&role.role.observed, &role.instance_profile) {
            (Observed::Known(known), _) => found.push(format!("{} ({who})", known.arn)),
            (Observed::Absent, Some(profile)) => missing.push(format!(
                "the instance profile {profile} ({who}) does not exist or holds no role"
            )),
            (Observed::Absent, None) if mapped => behind.push(format!("{} ({who})", role.given)),
            (Observed::Absent, None) => missing.push(format!("IAM has no role {} ({who})", role.given)),
            (Observed::Unknown(unknown), _) => {
                return Judgement::unknown(&format!("the role {}", role.given), unknown).from(&role.role);
            }
        }
    }
    let mut judgement = if missing.is_empty() && !behind.is_empty() {
        Judgement::ground_lost(format!(
            "IAM no longer has {}, which the cluster still maps: see node-role-current",
            behind.join(", ")
        ))
    } else if missing.is_empty() {
        Judgement::pass(found.join(", "))
    } else {
        Judgement::fail(missing.join("; ")).remedy(
            "Create the role (Karpenter's getting-started CloudFormation or CAPT's template does), or mend its name in the EC2NodeClass.",
            ["kubectl get ec2nodeclasses -o yaml".to_owned()],
        )
    };
    for role in roles {
        judgement = judgement.from(&role.role);
    }
    judgement
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fixture::{absent, denied, healthy, known, unreachable};
    use eks_aws_auth::EntryType;

    type Damage = fn(&mut Facts);

    fn cluster(facts: &mut Facts) -> &mut facts::eks::Cluster {
        match &mut facts.cluster.observed {
            Observed::Known(cluster) => cluster,
            other => panic!("{other:?}"),
        }
    }

    fn map_roles(facts: &mut Facts, text: &str) {
        let data = [("mapRoles".to_owned(), text.to_owned())].into();
        facts.aws_auth = known(
            "get configmaps/aws-auth",
            facts::aws_auth::AwsAuth::new(data, Vec::new()),
        );
    }

    fn entries(facts: &mut Facts, mode: AuthenticationMode, kind: EntryType) {
        cluster(facts).authentication_mode = mode;
        let username = "system:node:{{EC2PrivateDNSName}}";
        let entry = AccessEntry::new(
            "arn:aws:iam::111122223333:role/demo-node",
            kind,
            username,
            &["system:nodes"],
        );
        facts.access_entries = known("eks:ListAccessEntries", vec![entry]);
    }

    #[test]
    fn each_check_on_each_way_things_can_be() {
        let rows: &[(&str, &Check, Damage, Status, &str)] = &[
            ("good", &AWS_AUTH_PARSES, |_| {}, Status::Pass, "nothing lost"),
            (
                "not YAML",
                &AWS_AUTH_PARSES,
                |f| map_roles(f, "- rolearn: a\n\tusername: b\n"),
                Status::Fail,
                "mapRoles line",
            ),
            (
                "an entry without a role",
                &AWS_AUTH_PARSES,
                |f| map_roles(f, "- username: x\n- rolearn: a\n"),
                Status::Warn,
                "mapRoles line 1",
            ),
            (
                "missing",
                &AWS_AUTH_PARSES,
                |f| f.aws_auth = absent("x"),
                Status::Warn,
                "there is no ConfigMap",
            ),
            (
                "denied",
                &AWS_AUTH_PARSES,
                |f| f.aws_auth = denied("x"),
                Status::Unknown,
                "denied",
            ),
            (
                "ignored",
                &AWS_AUTH_PARSES,
                |f| cluster(f).authentication_mode = AuthenticationMode::Api,
                Status::Skip,
                "ignores aws-auth",
            ),
            ("good", &NODE_ROLE_KNOWN, |_| {}, Status::Pass, "role/demo-node"),
            (
                "nobody names one",
                &NODE_ROLE_KNOWN,
                |f| f.node_roles = known("x", vec![]),
                Status::Warn,
                "neither KarpenterNodeRole-demo nor demo-node",
            ),
            (
                "unread",
                &NODE_ROLE_KNOWN,
                |f| f.node_roles = unreachable("x"),
                Status::Unknown,
                "could not be read",
            ),
            ("good", &NODE_ROLE_MAPPED, |_| {}, Status::Pass, "demo-node"),
            (
                "not mapped",
                &NODE_ROLE_MAPPED,
                |f| map_roles(f, "[]"),
                Status::Fail,
                "demo-node",
            ),
            (
                "no aws-auth",
                &NODE_ROLE_MAPPED,
                |f| f.aws_auth = absent("x"),
                Status::Fail,
                "demo-node",
            ),
            (
                "groups forgotten",
                &NODE_ROLE_MAPPED,
                |f| {
                    map_roles(
                        f,
                        "- rolearn: arn:aws:iam::111122223333:role/demo-node\n  username: system:node:{{EC2PrivateDNSName}}\n",
                    )
                },
                Status::Fail,
                "system:nodes",
            ),
            (
                "denied",
                &NODE_ROLE_MAPPED,
                |f| f.aws_auth = denied("x"),
                Status::Unknown,
                "denied",
            ),
            (
                "by an entry",
                &NODE_ROLE_MAPPED,
                |f| entries(f, AuthenticationMode::Api, EntryType::Ec2Linux),
                Status::Pass,
                "demo-node",
            ),
            (
                "by an entry of the wrong type, which hides the good line",
                &NODE_ROLE_MAPPED,
                |f| entries(f, AuthenticationMode::ApiAndConfigMap, EntryType::Standard),
                Status::Fail,
                "STANDARD",
            ),
            (
                "entries not readable",
                &NODE_ROLE_MAPPED,
                |f| {
                    cluster(f).authentication_mode = AuthenticationMode::ApiAndConfigMap;
                    f.access_entries = denied("eks:ListAccessEntries");
                },
                Status::Unknown,
                "denied",
            ),
        ];
        for (name, check, damage, status, says) in rows {
            let mut facts = healthy();
            damage(&mut facts);
            let judgement = (check.judge)(&facts);
            assert_eq!(
                judgement.status, *status,
                "{} / {name}: {}",
                check.id, judgement.message
            );
            assert!(
                judgement.message.contains(says),
                "{} / {name}: {}",
                check.id,
                judgement.message
            );
            if *status == Status::Fail {
                assert!(
                    judgement.remedy.is_some_and(|remedy| !remedy.commands.is_empty()),
                    "{} / {name}",
                    check.id
                );
            }
        }
    }
}
