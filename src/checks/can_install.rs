//! Whether the caller may create what the chart holds.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::{Check, Group, Judgement, lost_cluster};
use crate::facts::Facts;
use crate::facts::install::{Chart, DEFAULT_NAMESPACE, Needed, PlannedRole, Review, chart};
use crate::model::{Command, Observed, Why};

pub(crate) static CAN_INSTALL: Check = Check {
    id: "can-install",
    group: Group::HelmAccess,
    title: "You may create what the chart contains",
    needed: |facts| facts.ask.installing,
    judge: can_install,
};

struct Answers<'a>(BTreeMap<&'a Needed, bool>);

impl Answers<'_> {
    fn allowed(&self, needed: &Needed) -> bool {
        self.0.get(needed).copied().unwrap_or(false)
    }

    fn everything(&self) -> bool {
        self.allowed(&Needed::everything())
    }

    /// The rights in a role that the caller does not have, as it would hand them out in `namespace`.
    fn lacking(&self, role: &PlannedRole, namespace: Option<&str>) -> Vec<Needed> {
        role.rights(namespace)
            .into_iter()
            .filter(|right| !self.allowed(right))
            .collect()
    }
}

/// A role or a binding that the API server would refuse, and why.
struct Escalation {
    what: String,
    /// `escalate` or `bind`, which would do.
    instead: Needed,
    why: String,
}

fn escalations(chart: &Chart, answers: &Answers<'_>) -> Vec<Escalation> {
    if answers.everything() {
        return Vec::new();
    }
    let mut found = Vec::new();
    let lacks = |lacking: &[Needed]| -> Option<String> {
        let first = lacking.first()?;
        Some(match lacking.len() {
            1 => format!("it grants {} {}", first.verb, first.kind()),
            more => format!(
                "it grants {more} rights that you lack, {} {} for one",
                first.verb,
                first.kind()
            ),
        })
    };
    for role in &chart.roles {
        let kind = if role.namespace.is_some() {
            "Role"
        } else {
            "ClusterRole"
        };
        if answers.allowed(&role.escalate()) {
            continue;
        }
        let why = if role.aggregates {
            Some("it aggregates other roles, which takes every right there is".to_owned())
        } else {
            lacks(&answers.lacking(role, role.namespace.as_deref()))
        };
        found.extend(why.map(|why| Escalation {
            what: format!("{kind} {}", role.name),
            instead: role.escalate(),
            why,
        }));
    }
    for binding in &chart.bindings {
        let kind = if binding.namespace.is_some() {
            "RoleBinding"
        } else {
            "ClusterRoleBinding"
        };
        if answers.allowed(&binding.bind()) {
            continue;
        }
        let why = match chart.role_of(binding) {
            Some(role) => lacks(&answers.lacking(role, binding.namespace.as_deref())),
            None => Some(format!(
                "what its role {} allows is not in the chart",
                binding.role
            )),
        };
        found.extend(why.map(|why| Escalation {
            what: format!("{kind} {}", binding.name),
            instead: binding.bind(),
            why,
        }));
    }
    found
}

fn can_install(facts: &Facts) -> Judgement {
    if let Some(reason) = lost_cluster(facts) {
        return Judgement::ground_lost(reason);
    }
    let fact = &facts.may_install;
    let reviews = match &fact.observed {
        Observed::Known(reviews) => reviews,
        Observed::Unknown(unknown) if unknown.why == Why::NotAsked => {
            return Judgement::skip(unknown.detail.clone());
        }
        Observed::Unknown(unknown) => {
            return Judgement::unknown("what you may do in the cluster", unknown).from(fact);
        }
        Observed::Absent => return Judgement::undecided("not asked").from(fact),
    };
    let chart = chart(&facts.ask);
    let answers = Answers(
        reviews
            .iter()
            .map(|Review { needed, allowed }| (needed, *allowed))
            .collect(),
    );
    let missing: BTreeSet<&Needed> = chart
        .needed
        .iter()
        .filter(|needed| !answers.everything() && !answers.allowed(needed))
        .collect();
    let escalations = escalations(&chart, &answers);
    let known = facts.ask.chart.is_some();
    let of_what = if known {
        "the chart".to_owned()
    } else {
        format!(
            "Karpenter's chart (as it is by default, in {})",
            facts.ask.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE)
        )
    };
    let user = facts
        .kubernetes_user
        .known()
        .map_or("the caller", |user| user.username.as_str());
    let total = chart.needed.iter().collect::<BTreeSet<_>>().len();
    if missing.is_empty() && escalations.is_empty() {
        let roles = match (known, answers.everything()) {
            (false, false) => {
                "; whether also what is in its roles may be granted is known with the chart (kubectl capt-spot install)"
            }
            _ => "",
        };
        return Judgement::pass(format!(
            "{user} may create everything that {of_what} holds{roles}"
        ))
        .evidence("asked", reviews.len())
        .evidence("fromChart", known)
        .from(fact);
    }
    let mut said = Vec::new();
    if !missing.is_empty() {
        said.push(format!(
            "{user} lacks {} of the {total} permissions that installing {of_what} takes: {}",
            missing.len(),
            list(&missing)
        ));
    }
    if !escalations.is_empty() {
        let shown: Vec<String> = escalations
            .iter()
            .take(4)
            .map(|one| format!("{} ({})", one.what, one.why))
            .collect();
        let more = match escalations.len().checked_sub(4) {
            Some(more @ 1..) => format!(" and {more} more"),
            _ => String::new(),
        };
        said.push(format!(
            "the API server does not let anyone grant rights that they lack, so it would refuse {}{more}",
            shown.join(", ")
        ));
    }
    let message = said.join("; ");
    let judgement = if facts.ask.installing {
        Judgement::fail(message)
    } else {
        Judgement::warn(format!("{message}; somebody else may have to install it"))
    };
    let names: Vec<String> = missing.iter().map(|needed| describe(needed)).collect();
    let refused: Vec<_> = escalations
        .iter()
        .map(|one| json!({"object": one.what, "why": one.why, "instead": describe(&one.instead)}))
        .collect();
    judgement
        .headline("You lack permissions that installing Karpenter needs")
        .fix(
            "Ask somebody who may to install it, or have an administrator of the cluster grant it; the simplest is cluster-admin for the time of the install (with access entries: the policy AmazonEKSClusterAdminPolicy).",
            grants(&missing, &escalations, facts),
        )
        .evidence("asked", reviews.len())
        .evidence("fromChart", known)
        .evidence("missing", json!(names))
        .evidence("refused", json!(refused))
        .from(fact)
}

/// `create deployments.apps in kube-system`
fn describe(needed: &Needed) -> String {
    let mut text = format!("{} {}", needed.verb, needed.kind());
    if let Some(name) = &needed.name {
        text.push_str(&format!(" {name}"));
    }
    if let Some(namespace) = &needed.namespace {
        text.push_str(&format!(" in {namespace}"));
    }
    text
}

/// A kind of object in its place.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Place<'a> {
    namespace: Option<&'a str>,
    kind: String,
    name: Option<&'a str>,
}

/// The verbs that are missing, by kind and place; paths that are no resources are left out.
fn by_place<'a>(missing: impl IntoIterator<Item = &'a Needed>) -> BTreeMap<Place<'a>, BTreeSet<&'a str>> {
    let mut all: BTreeMap<Place<'a>, BTreeSet<&'a str>> = BTreeMap::new();
    for needed in missing.into_iter().filter(|needed| needed.path.is_none()) {
        let place = Place {
            namespace: needed.namespace.as_deref(),
            kind: needed.kind(),
            name: needed.name.as_deref(),
        };
        all.entry(place).or_default().insert(&needed.verb);
    }
    all
}

fn join(words: &BTreeSet<&str>, by: &str) -> String {
    words.iter().copied().collect::<Vec<_>>().join(by)
}

/// All that is missing, verbs together: `create/get deployments.apps in kube-system`.
fn list(missing: &BTreeSet<&Needed>) -> String {
    by_place(missing.iter().copied())
        .iter()
        .map(|(place, verbs)| {
            let name = place.name.map(|name| format!(" {name}")).unwrap_or_default();
            let within = place
                .namespace
                .map(|namespace| format!(" in {namespace}"))
                .unwrap_or_default();
            format!("{} {}{name}{within}", join(verbs, "/"), place.kind)
        })
        .collect::<Vec<_>>()
        .join(", ")
}

/// What one `kubectl create role` grants: it takes verbs and resources together.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Role<'a> {
    namespace: Option<&'a str>,
    verbs: BTreeSet<&'a str>,
    name: Option<&'a str>,
}

/// The commands of an administrator that grant exactly what is missing.
fn grants(missing: &BTreeSet<&Needed>, escalations: &[Escalation], facts: &Facts) -> Vec<Command> {
    let user = facts
        .kubernetes_user
        .known()
        .map_or("USER", |user| user.username.as_str());
    let all = missing
        .iter()
        .copied()
        .chain(escalations.iter().map(|one| &one.instead));
    let mut roles: BTreeMap<Role<'_>, BTreeSet<String>> = BTreeMap::new();
    for (place, verbs) in by_place(all) {
        let role = Role {
            namespace: place.namespace,
            verbs,
            name: place.name,
        };
        roles.entry(role).or_default().insert(place.kind);
    }
    let mut commands = Vec::new();
    for (index, (role, kinds)) in roles.into_iter().enumerate() {
        let name = format!("karpenter-install-{}", index + 1);
        let mut what = vec![
            format!("--verb={}", join(&role.verbs, ",")),
            format!("--resource={}", kinds.into_iter().collect::<Vec<_>>().join(",")),
        ];
        what.extend(role.name.map(|name| format!("--resource-name={name}")));
        let (within, kind) = match role.namespace {
            None => (Vec::new(), "clusterrole"),
            Some(namespace) => (vec!["-n", namespace], "role"),
        };
        let binding = format!("{kind}binding");
        let role_flag = format!("--{kind}={name}");
        let user_flag = format!("--user={user}");
        let create: Vec<&str> = ["create", kind, &name]
            .into_iter()
            .chain(what.iter().map(String::as_str))
            .chain(within.iter().copied())
            .collect();
        let bind: Vec<&str> = ["create", &binding, &name, &role_flag, &user_flag]
            .into_iter()
            .chain(within.iter().copied())
            .collect();
        commands.push(facts.target.kubectl(&create));
        commands.push(facts.target.kubectl(&bind));
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::told_of;
    use crate::facts::fixture::{denied, healthy, known, with_karpenter};
    use crate::facts::install::{PlannedBinding, Rule, default_needed, release_needed};

    const RBAC: &str = "rbac.authorization.k8s.io";

    /// A chart with a ClusterRole that hands out two rights, bound in the cluster and once more in one namespace.
    fn a_chart() -> Chart {
        let rules = vec![Rule {
            groups: vec![String::new()],
            resources: vec!["pods".into(), "pods/eviction".into()],
            verbs: vec!["create".into()],
            ..Rule::default()
        }];
        let mut needed = release_needed("karpenter");
        needed.push(Needed::new("create", RBAC, "clusterroles", None));
        needed.push(Needed::new("create", "apps", "deployments", Some("karpenter")));
        Chart {
            controller: None,
            needed,
            roles: vec![PlannedRole {
                namespace: None,
                name: "karpenter-core".into(),
                rules,
                aggregates: false,
            }],
            bindings: vec![
                PlannedBinding {
                    namespace: None,
                    name: "karpenter-core".into(),
                    cluster_role: true,
                    role: "karpenter-core".into(),
                },
                PlannedBinding {
                    namespace: Some("karpenter".into()),
                    name: "karpenter-local".into(),
                    cluster_role: true,
                    role: "karpenter-core".into(),
                },
            ],
        }
    }

    /// The answers of somebody who has exactly these rights.
    fn answers(facts: &mut Facts, allowed: &[Needed]) {
        let chart = chart(&facts.ask);
        let mut asked: BTreeSet<Needed> = chart.needed.iter().cloned().collect();
        asked.insert(Needed::everything());
        for role in &chart.roles {
            asked.insert(role.escalate());
            asked.extend(role.rights(role.namespace.as_deref()));
        }
        for binding in &chart.bindings {
            asked.insert(binding.bind());
            asked.extend(
                chart
                    .role_of(binding)
                    .map(|role| role.rights(binding.namespace.as_deref()))
                    .unwrap_or_default(),
            );
        }
        let reviews = asked
            .into_iter()
            .map(|needed| Review {
                allowed: allowed.contains(&needed),
                needed,
            })
            .collect();
        facts.may_install = known("create selfsubjectaccessreviews", reviews);
    }

    fn installing(facts: &mut Facts, chart: Chart, allowed: &[Needed]) {
        facts.ask.installing = true;
        facts.ask.chart = Some(chart);
        answers(facts, allowed);
    }

    /// With these rights beside those to create the objects themselves.
    fn with(facts: &mut Facts, more: impl FnOnce(&Chart) -> Vec<Needed>) {
        let chart = a_chart();
        let allowed = [chart.needed.clone(), more(&chart)].concat();
        installing(facts, chart, &allowed);
    }

    #[test]
    fn each_way_things_can_be() {
        insta::assert_snapshot!(told_of(
            healthy,
            can_install,
            &[
                ("an administrator, with the chart", |f| installing(
                    f,
                    a_chart(),
                    &[Needed::everything()]
                )),
                ("an administrator, without it", |f| answers(
                    f,
                    &[Needed::everything()]
                )),
                ("nothing is allowed", |f| installing(f, a_chart(), &[])),
                // Before an install it is a warning: somebody else may do it.
                ("nothing is allowed, without the chart", |f| answers(f, &[])),
                ("all but what is in its roles, without the chart", |f| {
                    answers(f, &default_needed("kube-system"));
                }),
                // Who may create roles still may not hand out what they lack.
                ("the chart's objects alone", |f| with(f, |_| Vec::new())),
                ("one right of the role too", |f| with(f, |chart| vec![
                    chart.roles[0].rights(None)[0].clone()
                ])),
                (
                    "the role's rights, in the cluster and in the binding's namespace",
                    |f| with(f, |chart| {
                        let role = &chart.roles[0];
                        [role.rights(None), role.rights(Some("karpenter"))].concat()
                    })
                ),
                ("escalate on the role and bind in one of two places", |f| with(
                    f,
                    |chart| { vec![chart.roles[0].escalate(), chart.bindings[0].bind()] }
                )),
                ("escalate on the role and bind in each place", |f| with(
                    f,
                    |chart| {
                        vec![
                            chart.roles[0].escalate(),
                            chart.bindings[0].bind(),
                            chart.bindings[1].bind(),
                        ]
                    }
                )),
                (
                    "a role that aggregates, and a binding to one from elsewhere",
                    |f| {
                        let mut chart = a_chart();
                        chart.roles[0].aggregates = true;
                        chart.bindings = vec![PlannedBinding {
                            namespace: None,
                            name: "b".into(),
                            cluster_role: true,
                            role: "cluster-admin".into(),
                        }];
                        let rights = [chart.needed.clone(), chart.roles[0].rights(None)].concat();
                        installing(f, chart, &rights);
                    }
                ),
                ("Karpenter is there", |f| *f = with_karpenter()),
                ("not readable", |f| f.may_install =
                    denied("create selfsubjectaccessreviews")),
            ]
        ));
    }

    #[test]
    fn needed_while_installing() {
        let mut facts = healthy();
        assert!(!(CAN_INSTALL.needed)(&facts));
        facts.ask.installing = true;
        assert!((CAN_INSTALL.needed)(&facts));
    }
}
