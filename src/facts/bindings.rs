//! RoleBindings and ClusterRoleBindings: what the groups and users of a mapping may do.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures_util::join;
use serde_json::Value;

use super::Reading;
use crate::kube::{Api, Resource};
use crate::model::{Fact, Observed};

/// A binding of a role to users and groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// None: it holds in the whole cluster.
    pub namespace: Option<String>,
    pub role: String,
    /// Whether it is a ClusterRole.
    pub cluster_role: bool,
    pub users: Vec<String>,
    pub groups: Vec<String>,
}

impl Binding {
    /// What it gives: namespace, role, and whether that is a ClusterRole.
    pub fn role(&self) -> (Option<&str>, &str, bool) {
        (self.namespace.as_deref(), &self.role, self.cluster_role)
    }
}

const CLUSTER: Resource<'static> = Resource::new(
    "rbac.authorization.k8s.io",
    "v1",
    "ClusterRoleBinding",
    "clusterrolebindings",
);
const NAMESPACED: Resource<'static> =
    Resource::new("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings");

async fn list(api: &Api, resource: &Resource<'_>) -> Fact<Vec<Binding>> {
    api.list(resource, Vec::new, |bindings, item| {
        bindings.extend(binding(item))
    })
    .await
}

/// Both kinds as one fact: unknown where either is.
pub(super) async fn read(read: &Reading<'_>) -> Fact<Vec<Binding>> {
    read.of_api(CLUSTER.listed(), async |api: &Api| {
        let (cluster, namespaced) = join!(list(api, &CLUSTER), list(api, &NAMESPACED));
        match (cluster.observed, namespaced.observed) {
            (Observed::Known(mut all), Observed::Known(more)) => {
                all.extend(more);
                Fact::new(cluster.call, Observed::Known(all))
            }
            (Observed::Known(_), other) => Fact::new(namespaced.call, other),
            (other, _) => Fact::new(cluster.call, other),
        }
    })
    .await
}

fn binding(item: &Value) -> Option<Binding> {
    let text = |pointer: &str| item.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let of_kind = |kind: &str| {
        let subjects = item
            .get("subjects")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        subjects
            .filter(|subject| subject["kind"] == kind)
            .filter_map(|subject| subject["name"].as_str().map(str::to_owned))
            .collect()
    };
    Some(Binding {
        namespace: text("/metadata/namespace"),
        role: text("/roleRef/name")?,
        cluster_role: text("/roleRef/kind").as_deref() != Some("Role"),
        users: of_kind("User"),
        groups: of_kind("Group"),
    })
}

/// All bindings, found by whom they are for.
#[derive(Debug, Clone, Default)]
pub struct Rights {
    all: Vec<Binding>,
    by_group: HashMap<String, Vec<usize>>,
    /// Sorted, so that the users of a template with a beginning are found at once.
    by_user: BTreeMap<String, Vec<usize>>,
}

impl Rights {
    /// The same and these.
    #[must_use]
    pub fn with(&self, more: &[Binding]) -> Self {
        Self::new(self.all.iter().chain(more).cloned().collect())
    }

    /// Of these bindings.
    pub fn new(all: Vec<Binding>) -> Self {
        let mut rights = Self::default();
        for (at, binding) in all.iter().enumerate() {
            for group in &binding.groups {
                rights.by_group.entry(group.clone()).or_default().push(at);
            }
            for user in &binding.users {
                rights.by_user.entry(user.clone()).or_default().push(at);
            }
        }
        rights.all = all;
        rights
    }

    /// The bindings of a group.
    pub fn of_group(&self, group: &str) -> Vec<&Binding> {
        let found = self.by_group.get(group).into_iter().flatten();
        found.filter_map(|&at| self.all.get(at)).collect()
    }

    /// The bindings of the users that a username with placeholders can become, with those users.
    pub fn of_user(&self, template: &str) -> Vec<(&str, &Binding)> {
        let beginning = template.split("{{").next().unwrap_or_default();
        let from = self.by_user.range(beginning.to_owned()..);
        from.take_while(|(user, _)| user.starts_with(beginning))
            .filter(|(user, _)| can_become(template, user))
            .flat_map(|(user, bindings)| bindings.iter().map(move |&at| (user.as_str(), at)))
            .filter_map(|(user, at)| Some((user, self.all.get(at)?)))
            .collect()
    }
}

/// Whether the placeholders of a username can be filled so that it is this user. None of them (session, account, access key,
/// private DNS name) holds a colon or a slash.
fn can_become(template: &str, user: &str) -> bool {
    // Where in the user one can be after what was seen of the template.
    let mut ends = BTreeSet::from([0]);
    let mut rest = template;
    while let Some((before, (_, after))) = rest
        .split_once("{{")
        .and_then(|(before, rest)| Some((before, rest.split_once("}}")?)))
    {
        let begun = ends.iter().filter(|&&at| user[at..].starts_with(before));
        let filled = begun.filter_map(|&at| {
            let at = at + before.len();
            let most = user[at..].find([':', '/']).map_or(user.len(), |end| at + end);
            let first = user[at..].chars().next()?.len_utf8();
            Some((at + first..=most).filter(|&end| user.is_char_boundary(end)))
        });
        ends = filled.flatten().collect();
        rest = after;
    }
    ends.into_iter().any(|at| &user[at..] == rest)
}

/// What bindings give: "view in the whole cluster; edit in namespaces a, b". None: nothing.
pub fn meaning<'a>(bindings: impl IntoIterator<Item = &'a Binding>) -> Option<String> {
    let mut whole = BTreeSet::new();
    let mut by_role: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for binding in bindings {
        match &binding.namespace {
            None => {
                whole.insert(format!("{} in the whole cluster", binding.role));
            }
            Some(namespace) => {
                by_role.entry(&binding.role).or_default().insert(namespace);
            }
        }
    }
    let named = by_role.into_iter().map(|(role, namespaces)| {
        let word = if namespaces.len() == 1 {
            "namespace"
        } else {
            "namespaces"
        };
        let namespaces: Vec<&str> = namespaces.into_iter().collect();
        format!("{role} in {word} {}", namespaces.join(", "))
    });
    let all: Vec<String> = whole.into_iter().chain(named).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_group_may_do() {
        let of = |namespace: Value, role: &str| {
            binding(
                &json!({"metadata": {"name": "x", "namespace": namespace}, "roleRef": {"name": role},
                "subjects": [{"kind": "Group", "name": "dev"}, {"kind": "User", "name": "dev"}]}),
            )
        };
        let bindings: Vec<Binding> = [
            of(json!("a"), "edit"),
            of(json!("b"), "edit"),
            of(Value::Null, "view"),
            binding(&json!({"roleRef": {}})),
        ]
        .into_iter()
        .flatten()
        .collect();
        let rights = Rights::new(bindings);
        assert_eq!(
            meaning(rights.of_group("dev")).as_deref(),
            Some("view in the whole cluster; edit in namespaces a, b")
        );
        assert_eq!(meaning(rights.of_group("ops")), None);
    }

    #[test]
    fn which_users_a_username_can_become() {
        let to = |user: &str| Binding {
            namespace: None,
            role: "view".to_owned(),
            cluster_role: true,
            users: vec![user.to_owned()],
            groups: Vec::new(),
        };
        let rights = Rights::new(["dev", "dev:jo", "dev:jo:x", "deva", "ops:jo"].map(to).to_vec());
        for (template, users) in [
            ("dev", &["dev"][..]),
            ("dev:{{SessionName}}", &["dev:jo"]),
            ("{{SessionName}}:jo", &["dev:jo", "ops:jo"]),
            ("d{{SessionName}}:{{AccountID}}", &["dev:jo"]),
            ("{{SessionName}}", &["dev", "deva"]),
            ("de{{", &[]),
            ("", &[]),
        ] {
            let found: Vec<&str> = rights.of_user(template).iter().map(|(user, _)| *user).collect();
            assert_eq!(found, users, "{template}");
        }
    }
}
