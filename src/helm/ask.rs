//! From what a rendered chart says to what the checks are asked: the same installation, in the words of the facts.

use std::collections::BTreeSet;

use crate::facts::install::{
    Chart, Needed, PlannedBinding, PlannedController, PlannedRole, Rule, release_needed,
};
use crate::facts::{Ask, PoolsFile};
use crate::helm::args::PLACEHOLDER;
use crate::helm::chart::{ChartFacts, ClusterName};
use crate::karpenter::objects::{NodeClass, NodeClassKind, NodePool};

/// What the checks are asked about this chart.
///
/// `upgrade`: helm changes objects that are there, so it patches beside creating. `create_namespace`: `--create-namespace`.
pub fn ask(chart: &ChartFacts, upgrade: bool, create_namespace: bool, node_role: Option<String>) -> Ask {
    let chart_cluster = chart
        .karpenter
        .as_ref()
        .and_then(|karpenter| match &karpenter.cluster_name {
            ClusterName::Named(name) => Some(name.clone()),
            ClusterName::Elsewhere | ClusterName::Missing => None,
        });
    Ask {
        account_only: false,
        node_role,
        installing: true,
        chart_cluster,
        namespace: Some(chart.release_namespace.clone()),
        chart: Some(planned(chart, upgrade, create_namespace)),
        nodepools: pools(chart),
    }
}

fn planned(chart: &ChartFacts, upgrade: bool, create_namespace: bool) -> Chart {
    let verbs: &[&str] = if upgrade {
        &["create", "get", "patch"]
    } else {
        &["create", "get"]
    };
    let mut needed: BTreeSet<Needed> = release_needed(&chart.release_namespace).into_iter().collect();
    for object in chart.objects.iter().filter(|object| object.is_created(upgrade)) {
        for verb in verbs {
            // helm never touches a CRD of crds/ that is there.
            if object.is_crd && *verb == "patch" {
                continue;
            }
            needed.insert(Needed::new(
                verb,
                &object.group,
                &object.resource,
                object.namespace(),
            ));
        }
    }
    if create_namespace {
        needed.insert(Needed::new("create", "", "namespaces", None));
    }
    Chart {
        controller: chart.karpenter.as_ref().map(|karpenter| PlannedController {
            deployment: karpenter.deployment.clone(),
            service_account: karpenter.service_account.clone(),
            name_is_generated: karpenter.deployment.service_account.contains(PLACEHOLDER),
        }),
        needed: needed.into_iter().collect(),
        roles: chart
            .roles
            .iter()
            .map(|role| PlannedRole {
                namespace: role.namespace.clone(),
                name: role.name.clone(),
                rules: role
                    .rules
                    .iter()
                    .map(|rule| Rule {
                        groups: rule.api_groups.clone(),
                        resources: rule.resources.clone(),
                        verbs: rule.verbs.clone(),
                        names: rule.resource_names.clone(),
                        paths: rule.non_resource_urls.clone(),
                    })
                    .collect(),
                aggregates: role.aggregates,
            })
            .collect(),
        bindings: chart
            .bindings
            .iter()
            .map(|binding| PlannedBinding {
                namespace: binding.namespace.clone(),
                name: binding.name.clone(),
                cluster_role: binding.role_kind == "ClusterRole",
                role: binding.role_name.clone(),
            })
            .collect(),
    }
}

/// The node pools and node classes that the chart brings along; none when it brings none.
fn pools(chart: &ChartFacts) -> Option<PoolsFile> {
    if chart.node_pools.is_empty() && chart.node_classes.is_empty() {
        return None;
    }
    let mut file = PoolsFile {
        file: "the chart".to_owned(),
        ..PoolsFile::default()
    };
    for pool in &chart.node_pools {
        match NodePool::from_json(pool, None) {
            Ok(pool) => file.pools.push(pool),
            Err(broken) => file.broken.push(broken.to_string()),
        }
    }
    for class in &chart.node_classes {
        let kind = match class.get("kind").and_then(serde_json::Value::as_str) {
            Some("AWSNodeTemplate") => NodeClassKind::AwsNodeTemplate,
            Some("NodeClass") => NodeClassKind::EksNodeClass,
            _ => NodeClassKind::Ec2NodeClass,
        };
        match NodeClass::from_json(class, kind) {
            Ok(class) => file.node_classes.push(class),
            Err(broken) => file.broken.push(broken.to_string()),
        }
    }
    Some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RENDERED: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: { name: karpenter, namespace: kube-system }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: karpenter }
rules: [{ apiGroups: [karpenter.sh], resources: [nodepools], verbs: [get] }]
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: nodepools.karpenter.sh }
spec: { group: karpenter.sh, scope: Cluster, names: { kind: NodePool, plural: nodepools } }
---
apiVersion: karpenter.sh/v1
kind: NodePool
metadata: { name: default }
spec: { template: { spec: { requirements: [] } } }
";

    #[test]
    fn a_name_that_helm_makes_up_is_not_taken_for_the_service_account_s() {
        let deployment = |account: &str| {
            format!(
                "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: karpenter\n  labels: {{app.kubernetes.io/name: karpenter}}\n\
                 spec: {{template: {{spec: {{serviceAccountName: {account}, containers: [{{name: controller}}]}}}}}}\n"
            )
        };
        for (account, generated) in [("karpenter", false), ("capt-spot-placeholder-karpenter", true)] {
            let chart = ChartFacts::read(&deployment(account), "karpenter").expect("a chart");
            let planned = ask(&chart, false, false, None)
                .chart
                .and_then(|chart| chart.controller);
            assert_eq!(planned.map(|planned| planned.name_is_generated), Some(generated));
        }
    }

    #[test]
    fn a_chart_is_asked_about_object_by_object() {
        let chart = ChartFacts::read(RENDERED, "karpenter").expect("a chart");
        let asked = ask(&chart, false, true, None);
        assert_eq!(asked.namespace.as_deref(), Some("karpenter"));
        assert_eq!(asked.nodepools.map(|file| file.pools.len()), Some(1));
        let planned = asked.chart.expect("a chart");
        let has = |verb: &str, group: &str, resource: &str, namespace: Option<&str>| {
            planned
                .needed
                .contains(&Needed::new(verb, group, resource, namespace))
        };
        assert!(has("create", "", "serviceaccounts", Some("kube-system")));
        assert!(has("create", "", "namespaces", None));
        assert!(has("create", "", "secrets", Some("karpenter")));
        assert!(!has("patch", "", "serviceaccounts", Some("kube-system")));
        assert_eq!(planned.roles.len(), 1);
        let upgraded = ask(&chart, true, false, None).chart.expect("a chart");
        let patch = |group: &str, resource: &str, namespace: Option<&str>| {
            upgraded
                .needed
                .contains(&Needed::new("patch", group, resource, namespace))
        };
        assert!(patch("", "serviceaccounts", Some("kube-system")));
    }
}
