use proptest::prelude::*;

use super::*;

/// What helm 4.2 printed for tests/charts/karpenter with CRDs, hooks, a NodePool and a role annotation.
const RENDERED: &str = include_str!("rendered.yaml");

fn facts(text: &str) -> ChartFacts {
    ChartFacts::read(text, "kube-system").expect("within bounds")
}

fn deployment(container: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: karpenter\n  labels: {{app.kubernetes.io/name: karpenter}}\n\
         spec:\n  template:\n    spec:\n      containers:\n      - name: controller\n{container}"
    )
}

#[test]
fn what_a_rendered_chart_says() {
    let facts = facts(RENDERED);
    let karpenter = facts.karpenter.as_ref().expect("it is Karpenter");
    assert_eq!(karpenter.cluster_name, ClusterName::Named("demo".into()));
    assert_eq!(karpenter.deployment.namespace, "kube-system");
    assert_eq!(karpenter.deployment.name, "kp-karpenter");
    assert_eq!(karpenter.deployment.replicas, 2);
    assert_eq!(karpenter.deployment.service_account, "kp-karpenter");
    assert_eq!(
        karpenter.deployment.settings.interruption_queue.as_deref(),
        Some("q")
    );
    assert_eq!(
        karpenter.deployment.version.map(|v| v.to_string()).as_deref(),
        Some("1.6.0")
    );
    let account = karpenter.service_account.as_ref().expect("the chart makes it");
    assert_eq!(
        account.role_arn.as_deref(),
        Some("arn:aws:iam::111122223333:role/KarpenterController-demo")
    );
    assert_eq!(
        karpenter.feature_gates,
        BTreeMap::from([
            ("ReservedCapacity".to_owned(), true),
            ("SpotToSpotConsolidation".to_owned(), false)
        ])
    );
    assert_eq!(facts.node_pools.len(), 1);
    assert!(facts.problems.is_empty(), "{:?}", facts.problems);
    let objects: Vec<_> = facts
        .objects
        .iter()
        .map(|object| {
            let hooks = object.hooks.join(",");
            let place = match &object.scope {
                Scope::Cluster => "-",
                Scope::Namespace(name) => name.as_str(),
                Scope::NamespaceIfNamespaced(_) => "?",
            };
            format!(
                "{}/{} {} {place} {} {hooks}",
                object.group, object.version, object.resource, object.name
            )
            .trim_end()
            .to_owned()
        })
        .collect();
    insta::assert_snapshot!(objects.join("\n"), @r"
    apiextensions.k8s.io/v1 customresourcedefinitions - ec2nodeclasses.karpenter.k8s.aws
    apiextensions.k8s.io/v1 customresourcedefinitions - nodeclaims.karpenter.sh
    apiextensions.k8s.io/v1 customresourcedefinitions - nodepools.karpenter.sh
    policy/v1 poddisruptionbudgets kube-system kp-karpenter
    /v1 serviceaccounts kube-system kp-karpenter
    rbac.authorization.k8s.io/v1 clusterroles - kp-karpenter
    rbac.authorization.k8s.io/v1 clusterrolebindings - kp-karpenter
    rbac.authorization.k8s.io/v1 roles kube-system kp-karpenter-dns
    rbac.authorization.k8s.io/v1 rolebindings kube-system kp-karpenter-dns
    /v1 services kube-system kp-karpenter
    apps/v1 deployments kube-system kp-karpenter
    karpenter.sh/v1 nodepools - default
    /v1 configmaps kube-system kp-karpenter-before pre-install,pre-upgrade
    /v1 configmaps kube-system kp-karpenter-test test
    ");
    assert_eq!(facts.roles.len(), 2);
    assert_eq!(facts.roles[0].rules.len() + facts.roles[1].rules.len(), 3);
    let names: Vec<_> = facts
        .bindings
        .iter()
        .map(|binding| (binding.namespace.as_deref(), binding.role_kind.as_str()))
        .collect();
    assert_eq!(names, [(None, "ClusterRole"), (Some("kube-system"), "Role")]);
    let json = serde_json::to_value(&facts).expect("serializes");
    assert_eq!(
        serde_json::from_value::<ChartFacts>(json).expect("and back"),
        facts
    );
}

#[test]
fn hooks_count_on_their_occasion_only() {
    let facts = facts(RENDERED);
    let created = |upgrade| {
        facts
            .objects
            .iter()
            .filter(|object| object.kind == "ConfigMap" && object.is_created(upgrade))
            .map(|object| object.name.as_str())
            .collect::<Vec<_>>()
    };
    assert_eq!(created(false), ["kp-karpenter-before"]);
    assert_eq!(created(true), ["kp-karpenter-before"]);
}

#[test]
fn a_chart_that_is_not_karpenter_says_so() {
    let facts = facts(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, labels: {app.kubernetes.io/name: web}}\n\
         spec: {template: {spec: {containers: [{name: controller, image: example.com/team/controller:1}]}}}\n",
    );
    assert_eq!(facts.karpenter, None);
    assert_eq!(facts.objects.len(), 1);
    assert_eq!(facts.objects[0].scope, Scope::Namespace("kube-system".into()));
    assert!(facts.problems.is_empty());
}

#[test]
fn karpenter_is_known_by_its_label_its_image_or_its_environment() {
    let with = |labels: &str, containers: &str| {
        let text = format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: x, labels: {{{labels}}}}}\n\
             spec: {{template: {{spec: {{containers: [{containers}]}}}}}}\n"
        );
        facts(&text).karpenter.is_some()
    };
    assert!(with("app.kubernetes.io/name: karpenter", "{name: controller}"));
    assert!(with(
        "",
        "{name: controller, image: 'public.ecr.aws/karpenter/controller:1.6.0@sha256:00'}"
    ));
    assert!(with(
        "",
        "{name: x, image: '111122223333.dkr.ecr.eu-west-1.amazonaws.com/karpenter/controller'}"
    ));
    assert!(with(
        "",
        "{name: manager, env: [{name: KARPENTER_SERVICE, value: x}]}"
    ));
    assert!(!with(
        "",
        "{name: controller, image: 'example.com/other/controller:1'}"
    ));
    assert!(!with(
        "",
        "{name: controller, image: 'example.com/karpenter/controller-runtime'}"
    ));
    // The webhook of charts before 0.20 bears the label too.
    assert!(!with("app.kubernetes.io/name: karpenter", "{name: webhook}"));
}

#[test]
fn how_the_cluster_is_named() {
    for (container, want) in [
        (
            "        env: [{name: CLUSTER_NAME, value: demo}]\n",
            ClusterName::Named("demo".into()),
        ),
        (
            "        env: [{name: CLUSTER_NAME, value: old}, {name: CLUSTER_NAME, value: demo}]\n",
            ClusterName::Named("demo".into()),
        ),
        (
            "        env: [{name: CLUSTER_NAME, value: ''}]\n",
            ClusterName::Missing,
        ),
        (
            "        env: [{name: OTHER, value: demo}]\n",
            ClusterName::Missing,
        ),
        ("        image: x\n", ClusterName::Missing),
        (
            "        env: [{name: CLUSTER_NAME, valueFrom: {configMapKeyRef: {name: a, key: b}}}]\n",
            ClusterName::Elsewhere,
        ),
        (
            "        envFrom: [{configMapRef: {name: a}}]\n",
            ClusterName::Elsewhere,
        ),
        (
            "        args: [--cluster-name=demo]\n",
            ClusterName::Named("demo".into()),
        ),
        (
            "        args: [--cluster-name, demo]\n        env: [{name: CLUSTER_NAME, value: other}]\n",
            ClusterName::Named("demo".into()),
        ),
        ("        args: [--cluster-name]\n", ClusterName::Missing),
    ] {
        let karpenter = facts(&deployment(container)).karpenter.expect(container);
        assert_eq!(karpenter.cluster_name, want, "{container}");
    }
    let old = format!(
        "{}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: karpenter-global-settings}}\n\
         data: {{aws.clusterName: demo}}\n",
        deployment("        envFrom: [{configMapRef: {name: a}}]\n")
    );
    assert_eq!(
        facts(&old).karpenter.expect("Karpenter").cluster_name,
        ClusterName::Named("demo".into())
    );
}

#[test]
fn a_service_account_that_the_chart_does_not_make_is_not_found() {
    let text = format!(
        "{}---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: default, namespace: elsewhere}}\n",
        deployment("        image: x\n")
    );
    let karpenter = facts(&text).karpenter.expect("Karpenter");
    assert_eq!(karpenter.deployment.service_account, "default");
    assert_eq!(karpenter.service_account, None);
}

#[test]
fn a_broken_document_costs_that_document_only() {
    let text = format!(
        "---\n# Source: chart/templates/bad.yaml\nkey: [1, 2\n---\njust text\n---\n# nothing\n---\n{}\n---\n\
         apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {{name: a, namespace: b}}\n- 7\n",
        deployment("        env: [{name: CLUSTER_NAME, value: demo}]\n")
    );
    let facts = facts(&text);
    assert!(facts.karpenter.is_some());
    let places: Vec<_> = facts
        .problems
        .iter()
        .map(|problem| problem.place.as_str())
        .collect();
    assert_eq!(places, ["chart/templates/bad.yaml", "document 2", "document 4"]);
    assert_eq!(facts.problem_count, 3);
    assert!(
        facts.problems[0].problem.starts_with("is not YAML: "),
        "{}",
        facts.problems[0].problem
    );
    assert_eq!(facts.objects[1].scope, Scope::Namespace("b".into()));
}

#[test]
fn kinds_of_the_charts_own_definitions() {
    let facts = facts(
        "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a}\n---\n\
         apiVersion: example.com/v1\nkind: Spot\nmetadata: {name: b}\n---\n\
         apiVersion: other.example.com/v1\nkind: Policy\nmetadata: {name: c}\n---\n\
         apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: stuff.example.com}\n\
         spec: {group: example.com, scope: Cluster, names: {kind: Thing, plural: stuff}}\n---\n\
         apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: spots.example.com}\n\
         spec: {group: example.com, scope: Namespaced, names: {kind: Spot, plural: spots}}\n",
    );
    let of = |kind: &str| {
        facts
            .objects
            .iter()
            .find(|object| object.kind == kind)
            .expect("there")
    };
    assert_eq!(
        (of("Thing").resource.as_str(), &of("Thing").scope),
        ("stuff", &Scope::Cluster)
    );
    assert_eq!(of("Spot").scope, Scope::Namespace("kube-system".into()));
    assert_eq!(of("Policy").resource, "policies");
    assert_eq!(
        of("Policy").scope,
        Scope::NamespaceIfNamespaced("kube-system".into())
    );
    assert!(of("CustomResourceDefinition").is_crd);
}

#[test]
fn plurals() {
    for (kind, want) in [
        ("Deployment", "deployments"),
        ("Ingress", "ingresses"),
        ("IngressClass", "ingressclasses"),
        ("NetworkPolicy", "networkpolicies"),
        ("Endpoints", "endpoints"),
        ("EC2NodeClass", "ec2nodeclasses"),
        ("NodePool", "nodepools"),
        ("Gateway", "gateways"),
        ("ConfigMap", "configmaps"),
    ] {
        assert_eq!(plural(kind), want);
    }
}

#[test]
fn hostile_text_is_bounded() {
    // An alias bomb: refused, and the document after it is read.
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let previous = format!("*a{}, ", level - 1).repeat(10);
        bomb.push_str(&format!("a{level}: &a{level} [{previous}]\n"));
    }
    let read = facts(&format!(
        "{bomb}---\napiVersion: v1\nkind: Service\nmetadata: {{name: a}}\n"
    ));
    assert_eq!(read.problem_count, 1);
    assert_eq!(read.objects.len(), 1);
    // Many of them: the whole is refused.
    let many = format!("---\n{bomb}").repeat(200);
    assert_eq!(ChartFacts::read(&many, "x"), Err(ChartError::TooMuch("values")));
    let deep = "[".repeat(100_000);
    assert_eq!(facts(&deep).problem_count, 1);
    let documents = "---\na: b\n".repeat(MAX_DOCUMENTS + 1);
    assert_eq!(
        ChartFacts::read(&documents, "x"),
        Err(ChartError::TooMuch("documents"))
    );
    let names = facts("apiVersion: v1\nkind: \"S\\e[31mervice\"\nmetadata: {name: \"a\\nb\"}\n");
    assert_eq!(names.objects[0].kind, "S[31mervice");
    assert_eq!(names.objects[0].name, "ab");
    assert_eq!(facts("").objects.len(), 0);
}

proptest! {
    #[test]
    fn any_text_is_read(text in any::<String>()) {
        let _ = ChartFacts::read(&text, "ns");
    }

    #[test]
    fn any_damage_is_survived(at in 0..RENDERED.len(), what in "\\PC{0,6}") {
        let mut text = RENDERED.to_owned();
        let at = (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.insert_str(at, &what);
        let _ = ChartFacts::read(&text, "ns");
    }
}
