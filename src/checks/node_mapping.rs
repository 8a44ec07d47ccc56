//! What the checks of the node-mapping group share: the mappings as they were read, the node roles with the verdict on each,
//! and the words about aws-auth's problems.

use std::sync::LazyLock;

use serde_json::json;

use super::karpenter::several;
use super::mapping_fix::{Fix, node_fix};
use super::node_verdict::{NamedRole, NodeKind, NodeRole, NodeVerdict, Part, Standing, judge_node_role};
use super::{Judgement, lost_cluster};
use crate::facts::{self, Facts};
use crate::karpenter::objects::NodeOs;
use crate::model::{Fact, Observed, Unknown};
use eks_aws_auth::{AccessEntry, AuthenticationMode, AwsAuth, Cluster, MapKey, Problem, Settings};

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

/// The cluster's account, as far as it is known.
pub(crate) fn account(facts: &Facts) -> &str {
    facts
        .cluster
        .known()
        .and_then(facts::eks::Cluster::account)
        .or(facts.target.account.as_deref())
        .or(facts.caller.known().map(|caller| caller.account.as_str()))
        .unwrap_or_default()
}

/// Partition and account of the cluster.
pub(super) fn home(facts: &Facts) -> (&str, &str) {
    (&facts.target.partition, account(facts))
}

/// Something wrong with aws-auth in a sentence: the place, the line as it stands there, what is lost by it.
pub(super) fn told(map: &AwsAuth, problem: &Problem) -> String {
    let place = place(problem);
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

fn place(problem: &Problem) -> String {
    match (&problem.key, problem.line) {
        (Some(key), Some(line)) => format!("{key} line {line}: "),
        (Some(key), None) => format!("{key}: "),
        (None, _) => String::new(),
    }
}

fn quote<'a>(map: &'a AwsAuth, problem: &Problem) -> Option<&'a str> {
    let key = MapKey::ALL
        .into_iter()
        .find(|key| problem.key.as_deref() == Some(key.as_str()))?;
    map.quote(key, problem.line?).filter(|quote| !quote.is_empty())
}

/// The sentences of several problems, as many as anybody reads in one message; the evidence has more.
pub(super) fn told_together(map: &AwsAuth, problems: &[&Problem]) -> String {
    several(problems.iter().map(|one| told(map, one)), 5, ". ")
}

/// What to do about them, each with its place where there are several.
pub(super) fn fixes(problems: &[&Problem]) -> String {
    if let [only] = problems {
        return only.fix.clone();
    }
    let all = problems.iter().take(5);
    let all = all.map(|problem| format!("{}{}", place(problem), problem.fix));
    all.collect::<Vec<_>>().join(". ")
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
            " EKS's webhook checks aws-auth when it is saved and may refuse a change, with its reason; it has not checked what was \
             saved before."
        }
        None => "",
    }
}

/// With a full stop.
pub(super) fn sentence(text: &str) -> String {
    if text.is_empty() || text.ends_with(['.', '!', '?']) {
        text.to_owned()
    } else {
        format!("{text}.")
    }
}

/// A role that nodes run under.
pub(super) struct RoleInUse<'f> {
    /// Who named it, and what was read.
    pub(super) role: &'f facts::NodeRole,
    /// The role that nodes run under: the named one, or what the node class's instance profile holds instead.
    pub(super) name: String,
    /// What IAM says of the named role; none where that is another account's, or the profile holds another.
    pub(super) found: Option<&'f Observed<crate::model::Role>>,
    /// The role in the profile, where it is another one than is named.
    pub(super) held: Option<&'f crate::model::Role>,
}

/// The same with the verdict on its mapping.
pub(super) struct Judged<'f> {
    pub(super) of: RoleInUse<'f>,
    pub(super) verdict: NodeVerdict,
}

impl RoleInUse<'_> {
    /// Whether IAM cannot be asked about it.
    pub(super) fn is_foreign(&self) -> bool {
        self.found.is_none() && self.held.is_none()
    }
}

impl Judged<'_> {
    /// What to do about a side of the verdict, with the role's name.
    pub(super) fn fix(&self, facts: &Facts, mappings: &Mappings<'_>, part: &Part<'_>) -> Option<(&str, Fix)> {
        let bad = matches!(part.standing, Standing::Flawed | Standing::Broken);
        bad.then(|| {
            (
                self.of.name.as_str(),
                fix_of(facts, mappings, &self.verdict, part),
            )
        })
    }
}

/// What to do about a side of a verdict.
pub(super) fn fix_of(facts: &Facts, mappings: &Mappings<'_>, verdict: &NodeVerdict, part: &Part<'_>) -> Fix {
    node_fix(
        &facts.target,
        account(facts),
        &mappings.cluster(),
        verdict,
        &part.faults,
    )
}

/// Whether the role that was given is another account's or partition's: these credentials' IAM knows nothing of it.
pub(super) fn is_foreign(given: &str, facts: &Facts) -> bool {
    let account = account(facts);
    given.parse::<iam_policy::arn::Arn>().is_ok_and(|arn| {
        let account_known = !arn.account.is_empty() && !account.is_empty();
        arn.partition.as_str() != facts.target.partition || (account_known && arn.account != account)
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
    let roles = facts.node_roles.known().map(Vec::as_slice).unwrap_or_default();
    let node_groups = facts
        .compute
        .node_groups
        .known()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let shared = |arn: &str| -> Vec<String> {
        let groups = node_groups.iter().filter(|group| same_role(&group.role_arn, arn));
        groups.map(|group| group.name.clone()).collect()
    };
    let kind_of = |role: &facts::NodeRole| match role.os {
        NodeOs::Windows => NodeKind::Windows,
        NodeOs::Linux | NodeOs::Unknown => NodeKind::Linux,
    };
    let judge = |of: RoleInUse<'f>, asked: NodeRole| Judged {
        verdict: judge_node_role(&mappings.cluster(), home(facts), asked),
        of,
    };
    let mut all: Vec<Judged<'f>> = Vec::new();
    for role in roles.iter().filter(|role| !role.name.is_empty()) {
        let kind = kind_of(role);
        // What Windows nodes need is all that Linux nodes need, and more.
        let windows_too = |other: &facts::NodeRole| {
            kind == NodeKind::Linux && other.name == role.name && kind_of(other) == NodeKind::Windows
        };
        if roles.iter().any(windows_too) {
            continue;
        }
        let foreign = is_foreign(&role.given, facts);
        let arn = match role.role.known() {
            Some(known) if !foreign => known.arn.clone(),
            _ if role.given.starts_with("arn:") => role.given.clone(),
            _ => format!(
                "arn:{}:iam::{}:role/{}",
                facts.target.partition,
                account(facts),
                role.given.trim_start_matches('/')
            ),
        };
        let mut others: Vec<(&crate::model::Role, &str)> = Vec::new();
        let mut as_named = role.profiles_in_use.is_empty();
        for profile in &role.profiles_in_use {
            match profile.profile.known() {
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
            let of = RoleInUse {
                role,
                name: role.name.clone(),
                found: (!foreign).then_some(&role.role.observed),
                held: None,
            };
            let asked = NodeRole {
                node_groups: shared(&arn),
                ..NodeRole::new(&arn, kind).read(of.found)
            };
            all.push(judge(of, asked));
        }
        for (held, profile) in others {
            let asked = NodeRole {
                node_groups: shared(&held.arn),
                named: Some(NamedRole {
                    arn: arn.clone(),
                    profile: profile.to_owned(),
                }),
                ..NodeRole::new(&held.arn, kind).read(Some(&Observed::Known(held.clone())))
            };
            let of = RoleInUse {
                role,
                name: held.name.clone(),
                found: None,
                held: Some(held),
            };
            all.push(judge(of, asked));
        }
    }
    all
}

/// The worst of the roles' parts, for the headline.
pub(super) fn worst_of<'p, J>(parts: &'p [(J, Part<'p>)]) -> Option<(&'p J, &'p Part<'p>)> {
    let (one, part) = parts.iter().rev().max_by_key(|(_, part)| part.standing)?;
    Some((one, part))
}

pub(super) fn with_headline(judgement: Judgement, headline: Option<String>) -> Judgement {
    match headline {
        Some(headline) => judgement.headline(headline),
        None => judgement,
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::told_of;
    use crate::checks::{
        aws_auth_hygiene::AWS_AUTH_HYGIENE, aws_auth_parses::AWS_AUTH_PARSES,
        fargate_role_mapped::FARGATE_ROLE_MAPPED, node_role_current::NODE_ROLE_CURRENT,
        node_role_known::NODE_ROLE_KNOWN, node_role_mapped::NODE_ROLE_MAPPED,
    };
    use crate::facts::compute::FargateProfile;
    use crate::facts::fixture::{absent, denied, healthy, known, role, unreachable};
    use eks_aws_auth::EntryType;

    const NODE: &str = "arn:aws:iam::111122223333:role/demo-node";
    const DNS: &str = "system:node:{{EC2PrivateDNSName}}";

    fn mode(facts: &mut Facts, mode: AuthenticationMode) {
        if let Observed::Known(cluster) = &mut facts.cluster.observed {
            cluster.authentication_mode = mode;
        }
    }

    fn map(facts: &mut Facts, key: &str, text: &str) {
        let data = [(key.to_owned(), text.to_owned())].into();
        facts.aws_auth = known(
            "get configmaps/aws-auth",
            facts::aws_auth::AwsAuth::new(data, vec!["eksctl 2026-01-02T03:04:05Z".to_owned()]),
        );
    }

    fn line(username: &str, groups: &str) -> String {
        format!("- rolearn: {NODE}\n  username: {username}\n  groups: [{groups}]\n")
    }

    fn entry(facts: &mut Facts, kind: EntryType) {
        mode(facts, AuthenticationMode::ApiAndConfigMap);
        let mut entry = AccessEntry::new(NODE, kind, DNS, &["system:nodes"]);
        entry.created_at = Some("2024-01-01T00:00:00Z".parse().unwrap());
        facts.access_entries = known("eks:ListAccessEntries", vec![entry]);
    }

    fn recreated(facts: &mut Facts) {
        entry(facts, EntryType::Ec2Linux);
        if let Observed::Known(roles) = &mut facts.node_roles.observed {
            let mut again = role("demo-node");
            again.created = Some("2025-01-01T00:00:00Z".parse().unwrap());
            roles[0].role = known("iam:GetRole demo-node", again);
        }
    }

    fn deleted(facts: &mut Facts) {
        if let Observed::Known(roles) = &mut facts.node_roles.observed {
            roles[0].role = absent("iam:GetRole demo-node");
        }
    }

    fn fargate(facts: &mut Facts) {
        let profile = FargateProfile {
            name: "karpenter".to_owned(),
            status: "ACTIVE".to_owned(),
            role_arn: "arn:aws:iam::111122223333:role/demo-fargate".to_owned(),
            namespaces: vec!["karpenter".to_owned()],
        };
        facts.compute.fargate_profiles = known("eks:ListFargateProfiles", vec![profile]);
    }

    #[test]
    fn aws_auth_parses() {
        insta::assert_snapshot!(told_of(
            healthy,
            AWS_AUTH_PARSES.judge,
            &[
                ("good", |_| {}),
                ("not YAML", |f| map(
                    f,
                    "mapRoles",
                    &format!("{}\tx: y\n", line(DNS, "system:nodes"))
                )),
                ("an entry without a role, groups that are a text", |f| {
                    map(
                        f,
                        "mapRoles",
                        "- username: x\n- rolearn: a\n  username: u\n  groups: system:masters\n",
                    );
                }),
                ("no ConfigMap", |f| f.aws_auth = absent("x")),
                ("no ConfigMap, and entries count", |f| {
                    mode(f, AuthenticationMode::ApiAndConfigMap);
                    f.aws_auth = absent("x");
                }),
                ("denied", |f| f.aws_auth = denied("get configmaps/aws-auth")),
                ("mode API", |f| mode(f, AuthenticationMode::Api)),
            ]
        ));
    }

    #[test]
    fn node_role_known() {
        insta::assert_snapshot!(told_of(
            healthy,
            NODE_ROLE_KNOWN.judge,
            &[
                ("good", |_| {}),
                ("nothing names one", |f| f.node_roles = known("x", vec![])),
                ("unreachable", |f| f.node_roles = unreachable("iam:GetRole")),
                ("deleted, and a line still names it", |f| {
                    map(f, "mapRoles", &line(DNS, "system:bootstrappers, system:nodes"));
                    deleted(f);
                }),
                ("deleted, and nothing names it", |f| {
                    map(f, "mapRoles", "[]");
                    deleted(f);
                }),
            ]
        ));
    }

    #[test]
    fn node_role_mapped() {
        insta::assert_snapshot!(told_of(
            healthy,
            NODE_ROLE_MAPPED.judge,
            &[
                ("good", |_| {}),
                ("not mapped", |f| map(f, "mapRoles", "[]")),
                ("a key in the wrong case", |f| {
                    map(f, "maproles", &line(DNS, "system:bootstrappers, system:nodes"));
                }),
                ("a path in the ARN", |f| {
                    let text = line(DNS, "system:bootstrappers, system:nodes").replace("role/", "role/team/");
                    map(f, "mapRoles", &text);
                }),
                ("no groups", |f| map(f, "mapRoles", &line(DNS, ""))),
                ("a wrong username", |f| {
                    map(
                        f,
                        "mapRoles",
                        &line(
                            "system:node:{{SessionName}}",
                            "system:bootstrappers, system:nodes",
                        ),
                    );
                }),
                ("an administrator", |f| {
                    map(
                        f,
                        "mapRoles",
                        &line(DNS, "system:bootstrappers, system:nodes, system:masters"),
                    );
                }),
                ("by an entry", |f| entry(f, EntryType::Ec2Linux)),
                ("an entry of the wrong type hides the line", |f| entry(
                    f,
                    EntryType::Standard
                )),
                ("entries denied", |f| {
                    mode(f, AuthenticationMode::ApiAndConfigMap);
                    f.access_entries = denied("eks:ListAccessEntries");
                }),
                ("all of mapRoles is lost", |f| map(
                    f,
                    "mapRoles",
                    "- a: b\n\tc: d\n"
                )),
            ]
        ));
    }

    #[test]
    fn node_role_current() {
        insta::assert_snapshot!(told_of(
            healthy,
            NODE_ROLE_CURRENT.judge,
            &[
                ("good", |_| {}),
                ("created again behind its entry", |f| {
                    map(f, "mapRoles", "[]");
                    recreated(f);
                }),
                ("the same, and a line catches it", recreated),
                ("deleted, and a line still names it", deleted),
                ("nothing maps it", |f| map(f, "mapRoles", "[]")),
            ]
        ));
    }

    #[test]
    fn fargate_role_mapped() {
        insta::assert_snapshot!(told_of(
            healthy,
            FARGATE_ROLE_MAPPED.judge,
            &[
                ("no profile", |_| {}),
                ("not mapped, and Karpenter may be in it", fargate),
                ("not mapped, and Karpenter is elsewhere", |f| {
                    fargate(f);
                    f.ask.namespace = Some("kube-system".to_owned());
                }),
                ("mapped as an EC2 node", |f| {
                    fargate(f);
                    let text =
                        line(DNS, "system:bootstrappers, system:nodes").replace("demo-node", "demo-fargate");
                    map(f, "mapRoles", &text);
                }),
            ]
        ));
    }

    #[test]
    fn aws_auth_hygiene() {
        insta::assert_snapshot!(told_of(
            healthy,
            AWS_AUTH_HYGIENE.judge,
            &[
                ("good", |_| {}),
                ("others' mistakes", |f| {
                    let others = "- rolearn: arn:aws:iam::111122223333:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_A_1\n  \
                                  username: a\n- rolearn: arn:aws:iam::111122223333:root\n  username: b\n";
                    map(
                        f,
                        "mapRoles",
                        &format!("{}{others}", line(DNS, "system:bootstrappers, system:nodes")),
                    );
                }),
                ("mode API", |f| mode(f, AuthenticationMode::Api)),
            ]
        ));
    }
}
