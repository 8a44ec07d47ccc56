//! RoleBindings and ClusterRoleBindings: what the groups and users of a mapping may do.

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

/// What a group may do: "edit in namespaces a, b; view in the whole cluster".
pub fn meaning_of_group(bindings: &[Binding], group: &str) -> Option<String> {
    let mut whole = Vec::new();
    let mut by_role: std::collections::BTreeMap<&str, Vec<&str>> = std::collections::BTreeMap::new();
    for binding in bindings
        .iter()
        .filter(|binding| binding.groups.iter().any(|name| name == group))
    {
        match &binding.namespace {
            None => whole.push(format!("{} in the whole cluster", binding.role)),
            Some(namespace) => by_role.entry(&binding.role).or_default().push(namespace),
        }
    }
    whole.extend(by_role.into_iter().map(|(role, namespaces)| {
        let (one, many) = ("namespace", "namespaces");
        let word = if namespaces.len() == 1 { one } else { many };
        format!("{role} in {word} {}", namespaces.join(", "))
    }));
    (!whole.is_empty()).then(|| whole.join("; "))
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
        let told = meaning_of_group(&bindings, "dev");
        assert_eq!(
            told.as_deref(),
            Some("view in the whole cluster; edit in namespaces a, b")
        );
        assert_eq!(meaning_of_group(&bindings, "ops"), None);
    }
}
