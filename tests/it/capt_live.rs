//! CAPT live, as a user runs it: a kind cluster that manages, an EKS cluster that works.

use base64::Engine as _;
use capt_spot_standin::{Access, Fault, Kubeconfig, Kubernetes, Resource, Rule, User, World, scenario};
use serde_json::{Value, json};

use crate::support::program::{Ran, Stage};

/// The token with which the management cluster takes the person for an administrator.
const ADMIN: &str = "management-admin-token";

/// The token of somebody whose rights a test sets.
const SOMEBODY: &str = "management-somebody-token";

const MANAGEMENT: &str = "management";

/// The example of a template whose NodePool does not wait for the role.
fn module() -> String {
    let text = include_str!("../../examples/workspace-template.yaml");
    let template: Value = text
        .split("\n---\n")
        .map(|document| serde_yaml::from_str(document).expect("YAML"))
        .find(|value: &Value| value["kind"] == "WorkspaceTemplate")
        .expect("the example has one");
    template["spec"]["template"]["spec"]["forProvider"]["module"]
        .as_str()
        .expect("an inline module")
        .to_owned()
}

fn template(namespace: &str, name: &str, module: &str) -> Value {
    json!({
        "apiVersion": "infrastructure.cluster.x-k8s.io/v1beta1", "kind": "WorkspaceTemplate",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"template": {"spec": {"forProvider": {"source": "Inline", "module": module}}}},
    })
}

fn control_plane(namespace: &str, name: &str, template: &str) -> Value {
    json!({
        "apiVersion": "controlplane.cluster.x-k8s.io/v1beta1", "kind": "CAPTControlPlane",
        "metadata": {"name": name, "namespace": namespace, "labels": {"cluster.x-k8s.io/cluster-name": name}},
        "spec": {"version": "1.34", "workspaceTemplateRef": {"name": template}, "controlPlaneConfig": {"region": "eu-west-1"}},
        "status": {"phase": "Ready", "secretsReady": true},
    })
}

fn secret(namespace: &str, cluster: &str, kubeconfig: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "cluster.x-k8s.io/secret",
        "metadata": {"name": format!("{cluster}-kubeconfig"), "namespace": namespace},
        "data": {"value": base64::engine::general_purpose::STANDARD.encode(kubeconfig)},
    })
}

fn install(api: &mut Kubernetes, version: &str) {
    for (group, plural, kind) in [
        (
            "infrastructure.cluster.x-k8s.io",
            "workspacetemplates",
            "WorkspaceTemplate",
        ),
        (
            "controlplane.cluster.x-k8s.io",
            "captcontrolplanes",
            "CAPTControlPlane",
        ),
    ] {
        api.install(Resource::custom(group, version, plural, kind, true));
    }
}

/// The workload cluster `demo` with everything in order, and a kind cluster with CAPT on it; the kubeconfig knows the
/// latter only.
fn stage() -> Stage {
    let mut world: World = scenario::healthy();
    let mut management = Kubernetes::new(MANAGEMENT);
    management
        .tokens
        .insert(ADMIN.to_owned(), User::admin("kubernetes-admin"));
    install(&mut management, "v1beta1");
    world.kubernetes.push(management);
    let stage = Stage::new(world);
    stage.write_kubeconfig(&kind(&stage, ADMIN));
    stage
}

fn kind(stage: &Stage, token: &str) -> Kubeconfig {
    stage.standin.kubeconfig(MANAGEMENT).kind(token)
}

fn change(stage: &Stage, work: impl FnOnce(&mut Kubernetes)) {
    stage.standin.world(|world| work(world.kubernetes(MANAGEMENT)));
}

/// From now on the person is somebody with these rights.
fn become_somebody(stage: &Stage, rules: Vec<Rule>) {
    change(stage, |api| {
        let somebody = User::new("somebody", &[], Access::Rules(rules));
        api.tokens.insert(SOMEBODY.to_owned(), somebody);
    });
    stage.write_kubeconfig(&kind(stage, SOMEBODY));
}

/// What Cluster API writes: a static token, nothing that names AWS.
fn cluster_api_kubeconfig(stage: &Stage) -> String {
    stage
        .standin
        .kubeconfig(scenario::CLUSTER)
        .cluster_api(scenario::ADMIN_TOKEN)
        .yaml()
}

fn check(stage: &Stage, more: &[&str]) -> Ran {
    stage.run(&[&["template", "check", "--from-cluster"], more].concat())
}

fn on_demo(stage: &Stage, more: &[&str]) -> Ran {
    stage.preflight(&[&["--capt", "demo", "-n", "prod"], more].concat())
}

/// Words of a text, however its lines are broken.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn templates_of_a_kind_cluster_are_judged_with_who_uses_them() {
    let stage = stage();
    change(&stage, |api| {
        api.put(template("prod", "eks", &module()));
        api.put(template("staging", "vpc", "variable \"name\" {}\n"));
        api.put(control_plane("prod", "demo", "eks"));
    });
    let ran = check(&stage, &["-o", "json"]).expect(1);
    let report = ran.json();
    assert_eq!(report["verdict"], "not-ready");
    assert_eq!(report["summary"]["modules"], 2);
    let finding = &report["findings"][0];
    assert_eq!(finding["id"], "role-neither-made-nor-required");
    assert_eq!(finding["object"]["namespace"], "prod");
    assert_eq!(
        finding["fix"]["commands"][0],
        "kubectl get workspacetemplates.infrastructure.cluster.x-k8s.io eks -n prod -o yaml --context kind-kind > eks.yaml"
    );
    let users: Vec<&Value> = report["modules"]
        .as_array()
        .expect("modules")
        .iter()
        .map(|module| &module["usedBy"])
        .collect();
    assert!(users.contains(&&json!(["prod/demo"])), "{users:?}");
    assert_eq!(ran.stderr, "");
    let text = check(&stage, &[]).expect(1).stdout;
    assert!(text.contains("prod/eks") && text.contains("prod/demo"), "{text}");
    assert_eq!(
        check(&stage, &["-o", "sarif"]).expect(1).json()["version"],
        "2.1.0"
    );
    assert_eq!(stage.writes(), [""; 0]);
    // No AWS: a management cluster is not an EKS target.
    assert!(
        stage
            .standin
            .actions()
            .iter()
            .all(|action| action.starts_with("kubernetes:")),
        "{:?}",
        stage.standin.actions()
    );
}

#[test]
fn a_namespace_is_all_that_is_read_when_it_is_named() {
    let stage = stage();
    change(&stage, |api| {
        api.put(template("prod", "eks", &module()));
        api.put(template("staging", "vpc", "variable \"name\" {}\n"));
    });
    become_somebody(
        &stage,
        vec![
            Rule::new(
                &["list"],
                &[
                    "workspacetemplates.infrastructure.cluster.x-k8s.io",
                    "captcontrolplanes.controlplane.cluster.x-k8s.io",
                ],
            )
            .in_namespace("staging"),
        ],
    );
    let ran = check(&stage, &["-n", "staging", "-o", "json"]).expect(0);
    assert_eq!(ran.json()["summary"]["modules"], 1);
    let ran = check(&stage, &["-n", "empty"]).expect(3);
    assert!(
        flat(&ran.stdout).contains("\"verbs\":[\"list\"]} in the namespace empty"),
        "{}",
        ran.stdout
    );
    check(&stage, &["-n", "a/b"]).expect(2);
}

#[test]
fn denied_is_undecided_and_names_the_rule() {
    let stage = stage();
    change(&stage, |api| {
        api.put(template("prod", "eks", &module()));
        api.put(control_plane("prod", "demo", "eks"));
    });
    become_somebody(&stage, Vec::new());
    let ran = check(&stage, &["-o", "json"]).expect(3);
    assert_eq!(ran.json()["verdict"], "undecided");
    let why = ran.json()["undecided"][0].as_str().expect("a reason").to_owned();
    for part in [
        "list workspacetemplates.infrastructure.cluster.x-k8s.io",
        "context kind-kind",
        "denied by the cluster's RBAC",
        r#"{"apiGroups":["infrastructure.cluster.x-k8s.io"],"resources":["workspacetemplates"],"verbs":["list"]}"#,
        "-n",
    ] {
        assert!(why.contains(part), "{part}: {why}");
    }
    let ran = check(&stage, &[]).expect(3);
    assert!(
        ran.stdout.contains("UNDECIDED") && ran.stdout.contains("RBAC"),
        "{}",
        ran.stdout
    );
    // The control planes alone: the verdict stands, and what is not known is said.
    become_somebody(
        &stage,
        vec![Rule::new(
            &["list"],
            &["workspacetemplates.infrastructure.cluster.x-k8s.io"],
        )],
    );
    let ran = check(&stage, &["-o", "json"]).expect(1);
    assert_eq!(ran.json()["modules"][0]["usedBy"], Value::Null);
    assert!(
        ran.stderr
            .contains("note: which cluster uses a template is not known")
            && ran.stderr.contains(r#""resources":["captcontrolplanes"]"#),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_cluster_without_capt_is_no_comfort() {
    let stage = stage();
    change(&stage, |api| {
        api.uninstall("infrastructure.cluster.x-k8s.io", "v1beta1");
        api.uninstall("controlplane.cluster.x-k8s.io", "v1beta1");
    });
    let ran = check(&stage, &[]).expect(3);
    assert!(
        flat(&ran.stdout).contains("does not serve WorkspaceTemplates"),
        "{}",
        ran.stdout
    );
    assert!(
        flat(&ran.stdout).contains("CAPT is not installed there"),
        "{}",
        ran.stdout
    );
    // Installed and empty is something else.
    change(&stage, |api| install(api, "v1beta1"));
    let ran = check(&stage, &[]).expect(3);
    assert!(
        flat(&ran.stdout).contains("There is no WorkspaceTemplate on this cluster"),
        "{}",
        ran.stdout
    );
    let ran = check(&stage, &["-n", "prod"]).expect(3);
    assert!(
        flat(&ran.stdout).contains("in the namespace prod"),
        "{}",
        ran.stdout
    );
    // A management cluster that serves the later version only.
    change(&stage, |api| {
        api.uninstall("infrastructure.cluster.x-k8s.io", "v1beta1");
        api.uninstall("controlplane.cluster.x-k8s.io", "v1beta1");
        install(api, "v1beta2");
        let mut later = template("prod", "eks", &module());
        later["apiVersion"] = json!("infrastructure.cluster.x-k8s.io/v1beta2");
        api.put(later);
    });
    assert_eq!(
        check(&stage, &["-o", "json"]).expect(1).json()["summary"]["modules"],
        1
    );
}

#[test]
fn every_page_is_read_and_an_expired_one_starts_anew() {
    let stage = stage();
    change(&stage, |api| {
        for number in 0..250 {
            api.put(template(
                "prod",
                &format!("template-{number:03}"),
                "variable \"name\" {}\n",
            ));
        }
        api.put(template("prod", "zz-last", &module()));
    });
    let list = "kubernetes:list workspacetemplates.infrastructure.cluster.x-k8s.io";
    let report = check(&stage, &["-o", "json"]).expect(1).json();
    assert_eq!(report["summary"]["modules"], 251);
    assert_eq!(report["findings"][0]["object"]["name"], "zz-last");
    let pages = || {
        stage
            .standin
            .actions()
            .iter()
            .filter(|action| *action == list)
            .count()
    };
    assert_eq!(pages(), 3);
    stage.standin.clear_calls();
    let gone = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410,
        "message": "The provided continue parameter is too old"});
    stage
        .standin
        .fault(list, Fault::json(410, &gone))
        .after(1)
        .times(1);
    let report = check(&stage, &["-o", "json"]).expect(1).json();
    assert_eq!(report["summary"]["modules"], 251);
    assert_eq!(pages(), 5);
}

#[test]
fn an_unreachable_or_odd_management_cluster_is_undecided() {
    let stage = stage();
    change(&stage, |api| {
        api.put(template("prod", "eks", &module()));
    });
    stage
        .standin
        .fault("kubernetes:list workspacetemplates*", Fault::proxy_page(403));
    let ran = check(&stage, &[]).expect(3);
    assert!(
        flat(&ran.stdout).contains("is a proxy in between?"),
        "{}",
        ran.stdout
    );
    stage.standin.clear_faults();
    stage.write_kubeconfig(&kind(&stage, "no-such-token"));
    let ran = check(&stage, &[]).expect(3);
    assert!(flat(&ran.stdout).contains("401 Unauthorized"), "{}", ran.stdout);
    let ran = check(&stage, &["--context", "no-such"]).expect(1);
    assert!(
        ran.stderr.contains("no context \"no-such\"") && ran.stderr.contains("kind-kind"),
        "{}",
        ran.stderr
    );
}

#[test]
fn an_eks_management_cluster_gets_its_token_made_here() {
    let stage = Stage::healthy();
    stage.standin.world(|world| {
        let api = world.kubernetes(scenario::CLUSTER);
        install(api, "v1beta1");
        api.put(template("prod", "eks", &module()));
    });
    check(&stage, &[]).expect(1);
    let tokens = stage
        .standin
        .world(|world| world.kubernetes(scenario::CLUSTER).eks_tokens.len());
    assert!(
        tokens > 0,
        "the aws program is not run: the test's PATH may not even have it"
    );
}

#[test]
fn the_workload_cluster_is_judged_from_its_secret() {
    let stage = stage();
    let kubeconfig = cluster_api_kubeconfig(&stage);
    change(&stage, |api| {
        api.put(secret("prod", "demo", &kubeconfig));
        api.put(control_plane("prod", "demo", "eks"));
    });
    let before = std::fs::read_dir(stage.home.path()).expect("a home").count();
    let ran = on_demo(&stage, &["-v"]).expect(0);
    let report = ran.json();
    assert_eq!(report["verdict"], "ready", "{}", ran.stdout);
    // The kubeconfig names nothing of AWS: found by its endpoint, in the control plane's region.
    assert_eq!(report["target"]["cluster"], "demo");
    assert_eq!(report["target"]["region"], "eu-west-1");
    assert_eq!(ran.status("endpoint-matches"), "pass");
    assert!(
        ran.stderr
            .contains("get secrets/demo-kubeconfig in prod -> found"),
        "{}",
        ran.stderr
    );
    for secret in [ADMIN, scenario::ADMIN_TOKEN] {
        assert!(!ran.stdout.contains(secret) && !ran.stderr.contains(secret));
    }
    assert_eq!(
        std::fs::read_dir(stage.home.path()).expect("a home").count(),
        before
    );
    assert_eq!(stage.writes(), [""; 0]);
    let saved = stage.home.path().join("facts.json");
    on_demo(&stage, &["--save", saved.to_str().expect("a name")]).expect(0);
    let facts = std::fs::read_to_string(saved).expect("saved");
    assert!(!facts.contains(scenario::ADMIN_TOKEN) && !facts.contains("certificate-authority-data"));
}

#[test]
fn printed_commands_lead_to_the_same_cluster_again() {
    let stage = stage();
    stage.standin.world(|world| {
        world
            .account(scenario::ACCOUNT)
            .roles
            .retain(|role| role.name != "AWSServiceRoleForEC2Spot");
    });
    let kubeconfig = stage.standin.kubeconfig(scenario::CLUSTER).yaml();
    change(&stage, |api| {
        api.put(secret("prod", "demo", &kubeconfig));
    });
    let ran = on_demo(&stage, &[]).expect(1);
    let command = "kubectl capt-spot create-role --context kind-kind --capt demo -n prod";
    assert_eq!(
        ran.check("spot-role-exists")["remedy"]["commands"][0],
        command,
        "{}",
        ran.stdout
    );
    let args: Vec<&str> = command.split(' ').skip(2).chain(["--yes"]).collect();
    let ran = stage.run(&args).expect(0);
    assert!(
        ran.stdout
            .starts_with("CREATED  AWSServiceRoleForEC2Spot (account 111122223333)"),
        "{}",
        ran.stdout
    );
    on_demo(&stage, &[]).expect(0);
}

#[test]
fn the_contexts_namespace_is_the_default_one() {
    let stage = stage();
    let kubeconfig = cluster_api_kubeconfig(&stage);
    change(&stage, |api| {
        api.put(secret("prod", "demo", &kubeconfig));
        api.put(control_plane("prod", "demo", "eks"));
    });
    let ran = stage.preflight(&["--capt", "demo"]).expect(1);
    assert!(
        ran.stderr.contains("the Secret default/demo-kubeconfig"),
        "{}",
        ran.stderr
    );
    let mut config = kind(&stage, ADMIN);
    config.namespace = Some("prod".to_owned());
    stage.write_kubeconfig(&config);
    stage.preflight(&["--capt", "demo"]).expect(0);
}

#[test]
fn a_missing_secret_says_how_far_capt_is() {
    let stage = stage();
    let ran = on_demo(&stage, &[]).expect(1);
    for part in [
        "the Secret prod/demo-kubeconfig on the management cluster (context kind-kind) does not exist",
        "no CAPTControlPlane in prod is of a Cluster demo",
        "kubectl get clusters.cluster.x-k8s.io -A --context kind-kind",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    change(&stage, |api| {
        let mut plane = control_plane("prod", "demo-x7k2p", "eks");
        plane["metadata"]["labels"] = json!({"cluster.x-k8s.io/cluster-name": "demo"});
        plane["status"] = json!({"phase": "Creating", "secretsReady": false});
        api.put(plane);
    });
    let ran = on_demo(&stage, &[]).expect(1);
    assert!(
        ran.stderr
            .contains("its CAPTControlPlane is Creating, its secrets are not ready yet"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.stdout, "");
}

#[test]
fn a_secret_that_may_not_be_read_names_the_rule() {
    let stage = stage();
    let kubeconfig = cluster_api_kubeconfig(&stage);
    change(&stage, |api| {
        api.put(secret("prod", "demo", &kubeconfig));
    });
    become_somebody(&stage, Vec::new());
    let ran = on_demo(&stage, &[]).expect(3);
    for part in [
        "get secrets/demo-kubeconfig in prod denied by the cluster's RBAC",
        r#"{"apiGroups":[""],"resources":["secrets"],"verbs":["get"],"resourceNames":["demo-kubeconfig"]} in the namespace prod"#,
        "on the management cluster (context kind-kind)",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    // That one rule is enough where the flags name the cluster.
    become_somebody(
        &stage,
        vec![
            Rule::new(&["get"], &["secrets"])
                .named("demo-kubeconfig")
                .in_namespace("prod"),
        ],
    );
    on_demo(&stage, &["--cluster-name", "demo", "--region", "eu-west-1"]).expect(0);
    // Without them the region is not known: the control plane would tell, and may not be asked.
    let mut stage = stage;
    stage.unset("AWS_REGION");
    stage.unset("AWS_DEFAULT_REGION");
    let ran = on_demo(&stage, &[]).expect(1);
    for part in [
        "the kubeconfig in the Secret prod/demo-kubeconfig",
        "--cluster-name",
        "its CAPTControlPlane could not be asked either",
        r#""resources":["captcontrolplanes"]"#,
    ] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
}

#[test]
fn what_is_wrong_in_a_secret_is_said_without_its_content() {
    let stage = stage();
    let good = cluster_api_kubeconfig(&stage);
    let plugin = stage
        .standin
        .kubeconfig(scenario::CLUSTER)
        .command("/bin/sh", &["-c", "touch ran"])
        .yaml();
    for (kubeconfig, says) in [
        ("very-secret-token: [".to_owned(), "is not YAML (line 1"),
        ("very-secret-token".to_owned(), "is YAML, but not a kubeconfig"),
        (String::new(), "is empty"),
        (good.replace("clusters:", "clutters:"), "is broken"),
        (good.replace("token:", "tokenFile:"), "names a file (tokenFile:"),
        (plugin.clone(), "wants to run the program \"/bin/sh\""),
    ] {
        change(&stage, |api| {
            api.put(secret("prod", "demo", &kubeconfig));
        });
        let ran = on_demo(&stage, &[]).expect(1);
        assert!(
            ran.stderr.contains("the Secret prod/demo-kubeconfig") && ran.stderr.contains(says),
            "{says}: {}",
            ran.stderr
        );
        assert!(!ran.stderr.contains("very-secret"), "{}", ran.stderr);
        assert_eq!(ran.stdout, "");
    }
    assert!(!stage.home.path().join("ran").exists());
    // Said so, it runs.
    on_demo(&stage, &["--use-exec"]).expect(3);
    assert!(stage.home.path().join("ran").exists());
}

#[test]
fn an_old_token_of_capt_gives_way_to_the_callers_own() {
    let stage = stage();
    // As CAPT's kubeconfig template writes it: eksctl's names, and the token of the day Terraform ran.
    let url = "https://sts.eu-west-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Date=20200102T030405Z";
    let old = format!(
        "k8s-aws-v1.{}",
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(url)
    );
    let kubeconfig = stage
        .standin
        .kubeconfig(scenario::CLUSTER)
        .eksctl("admin")
        .token(&old)
        .yaml();
    change(&stage, |api| {
        api.put(secret("prod", "demo", &kubeconfig));
    });
    let ran = on_demo(&stage, &["-v"]).expect(0);
    assert!(
        ran.stderr
            .contains("token of prod/demo-kubeconfig -> expired at 2020-01-02T03:19:05Z; one of the AWS credentials is used instead"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.json()["target"]["cluster"], "demo");
    assert!(!ran.stderr.contains(&old) && !ran.stdout.contains(&old));
}

#[test]
fn flags_that_do_not_go_together_are_refused() {
    let stage = stage();
    for more in [["--from", "x"], ["--contexts", "*"]] {
        on_demo(&stage, &more).expect(2);
    }
    on_demo(&stage, &["--all-contexts"]).expect(2);
    let ran = stage.preflight(&["--capt", "../../x"]).expect(2);
    assert!(ran.stderr.contains("is not a Kubernetes name"), "{}", ran.stderr);
    assert_eq!(stage.standin.actions(), [""; 0]);
}

#[test]
fn the_eks_clusters_of_a_management_cluster_are_listed() {
    let stage = stage();
    let cluster = |namespace: &str, name: &str, kind: &str| {
        json!({
            "apiVersion": "cluster.x-k8s.io/v1beta1", "kind": "Cluster",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"controlPlaneRef": {"kind": kind, "name": name}},
        })
    };
    change(&stage, |api| {
        api.install(Resource::custom(
            "cluster.x-k8s.io",
            "v1beta1",
            "clusters",
            "Cluster",
            true,
        ));
        api.install(Resource::custom(
            "controlplane.cluster.x-k8s.io",
            "v1beta2",
            "awsmanagedcontrolplanes",
            "AWSManagedControlPlane",
            true,
        ));
        // CAPT's, which tells the name; one that does not, nor its kubeconfig; one of which only the kubeconfig tells.
        let mut plane = control_plane("prod", "demo", "eks");
        plane["status"]["workspaceTemplateStatus"] = json!({"outputs": {"cluster_name": "demo"}});
        api.put(plane);
        api.put(cluster("prod", "demo", "CAPTControlPlane"));
        api.put(cluster("prod", "young", "CAPTControlPlane"));
        api.put(control_plane("prod", "young", "eks"));
        api.put(cluster("staging", "told", "CAPTControlPlane"));
        api.put(control_plane("staging", "told", "eks"));
        let kubeconfig = Kubeconfig::new("told", "eu-west-1", "123456789012", "https://127.0.0.1:1");
        api.put(secret("staging", "told", &kubeconfig.yaml()));
        // CAPA's, and one that is not EKS's.
        api.put(cluster("prod", "managed", "AWSManagedControlPlane"));
        api.put(json!({
            "apiVersion": "controlplane.cluster.x-k8s.io/v1beta2", "kind": "AWSManagedControlPlane",
            "metadata": {"name": "managed", "namespace": "prod"},
            "spec": {"region": "us-east-1", "eksClusterName": "prod_managed"},
        }));
        api.put(cluster("prod", "own", "KubeadmControlPlane"));
    });
    let ran = stage.run(&["fleet", "list", "--cluster-api"]).expect(3);
    insta::assert_snapshot!("listed_of_cluster_api", ran.stdout);
    let ran = stage
        .run(&["fleet", "list", "--cluster-api", "-n", "staging", "-o", "json"])
        .expect(0);
    let inventory = ran.json();
    assert_eq!(inventory["clusters"].as_array().map(Vec::len), Some(1));
    assert_eq!(inventory["clusters"][0]["source"], "cluster-api");
    become_somebody(&stage, Vec::new());
    let ran = stage.run(&["fleet", "list", "--cluster-api"]).expect(1);
    assert!(ran.stderr.contains("could not be listed"), "{}", ran.stderr);
}
