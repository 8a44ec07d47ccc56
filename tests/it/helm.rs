//! As a plugin of real helm 3 and 4, against a real API server and the stand-ins of AWS: what a blocked install leaves
//! behind, what a good one does, and what reaches helm.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use capt_spot_standin::{Addon, Endpoint, Fault, PodIdentity, World, pod_identity_trust, scenario};
use serde_json::{Value, json};

use crate::support::dist::dist;
use crate::support::program::{BINARY, Ran, Stage};
use crate::support::terminal::Terminal;
use crate::support::testbed::{
    ApiServer, Registry, Request, Testbed, User, base64, output, run_with_stdin, succeed,
};

/// Both majors, by the test bed's names.
const HELMS: [&str; 2] = ["helm3", "helm4"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn chart() -> PathBuf {
    root().join("tests/charts/karpenter")
}

/// Pod Identity for the service account that the chart makes in kube-system.
fn controller_identity(world: &mut World) {
    let account = world.account(scenario::ACCOUNT);
    account.role_mut("demo-karpenter").trust = pod_identity_trust();
    let role = account.iam_arn("role/demo-karpenter");
    let cluster = world.cluster(scenario::CLUSTER);
    cluster
        .pod_identities
        .push(PodIdentity::new("kube-system", "karpenter", &role));
    cluster
        .addons
        .push(Addon::new("eks-pod-identity-agent", "v1.3.9-eksbuild.3"));
}

/// A real API server that AWS (the stand-ins) knows as the cluster `demo`, and a user with helm and the plugin.
struct Cluster {
    stage: Stage,
    server: ApiServer,
    bed: Testbed,
    /// How much was written before the tests began.
    before: usize,
}

impl Cluster {
    fn start(mut world: World) -> Option<Self> {
        let bed = Testbed::require(&["kube-apiserver", "kubectl", "helm3", "helm4"])?;
        let server = ApiServer::start(&bed);
        let eks = world.cluster(scenario::CLUSTER);
        eks.endpoint = Endpoint::Is(server.url().to_owned());
        eks.ca_data = Some(base64(server.ca()));
        controller_identity(&mut world);
        // The one thing of the scenario's cluster that the verdict rests on.
        let aws_auth = world
            .kubernetes(scenario::CLUSTER)
            .get("v1", "configmaps", "kube-system", "aws-auth")
            .map(|object| {
                json!({"apiVersion": "v1", "kind": "ConfigMap", "data": object["data"],
                                 "metadata": {"name": "aws-auth", "namespace": "kube-system"}})
            })
            .expect("the scenario has it");
        server.apply(&aws_auth.to_string());
        let arn = format!(
            "arn:aws:eks:{}:{}:cluster/{}",
            scenario::REGION,
            scenario::ACCOUNT,
            scenario::CLUSTER
        );
        let stage = Stage::new(world);
        stage.write_kubeconfig_text(&server.kubeconfig(&arn, server.token(User::Admin)));
        let before = server.writes_of(User::Admin).len();
        Some(Self {
            stage,
            server,
            bed,
            before,
        })
    }

    /// Every write to the cluster since the start, by the server's audit log.
    fn written(&self) -> Vec<Request> {
        self.server.writes_of(User::Admin).split_off(self.before)
    }

    /// Helm in this user's environment, with a data folder of its own that the plugin is installed in.
    fn helm(&self, helm: &str, args: &[&str]) -> Command {
        let data = self.stage.home.path().join(helm);
        if !data.exists() {
            std::fs::create_dir(&data).expect("a folder");
            let mut install = self.plain_helm(helm);
            install
                .args(["plugin", "install"])
                .arg(dist().join("helm-plugin/capt-spot"));
            succeed(output(install));
        }
        let mut command = self.plain_helm(helm);
        command.args(args);
        command
    }

    fn plain_helm(&self, helm: &str) -> Command {
        let mut command = self.bed.command(helm, self.stage.home.path());
        command
            .envs(self.stage.environment())
            .env("HELM_DATA_HOME", self.stage.home.path().join(helm))
            .current_dir(self.stage.home.path())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, helm: &str, args: &[&str]) -> Ran {
        Ran::from(&self.helm(helm, args).output().expect("helm starts"))
    }

    /// `helm capt-spot install karpenter CHART -n kube-system --set settings.clusterName=demo` and more.
    fn install(&self, helm: &str, more: &[&str]) -> Ran {
        let chart = chart().display().to_string();
        let line = ["capt-spot", "install", "karpenter", &chart, "-n", "kube-system"];
        self.run(helm, &[&line[..], more].concat())
    }

    fn get(&self, args: &[&str]) -> String {
        let mut kubectl = self.server.kubectl(User::Admin);
        kubectl.args(args);
        succeed(output(kubectl))
    }

    fn releases(&self) -> String {
        self.get(&["get", "secrets", "-A", "-l", "owner=helm", "-o", "name"])
    }

    fn uninstall(&self, helm: &str) {
        succeed(output(
            self.helm(helm, &["uninstall", "karpenter", "-n", "kube-system"]),
        ));
    }
}

const GOOD: [&str; 2] = ["--set", "settings.clusterName=demo"];

#[test]
fn a_blocked_install_writes_nothing_and_says_why() {
    let Some(cluster) = Cluster::start(scenario::fresh_account_karpenter_on_fargate()) else {
        return;
    };
    for helm in HELMS {
        for more in [
            &[][..],
            &["--create-namespace", "-n", "brand-new"],
            &["--wait", "--atomic"],
            &["--dry-run=client"],
            &["--dry-run=server", "--yes"],
        ] {
            let ran = cluster.install(helm, &[&GOOD[..], more].concat());
            assert_eq!(ran.code, 1, "{helm} {more:?}\n{}\n{}", ran.stdout, ran.stderr);
            assert_eq!(ran.stdout, "", "{helm} {more:?}");
            assert!(ran.stderr.contains("spot-role-exists"), "{}", ran.stderr);
            assert!(
                ran.stderr.contains("nothing was written to the cluster"),
                "{}",
                ran.stderr
            );
        }
    }
    assert_eq!(cluster.written(), [], "of the cluster");
    assert_eq!(
        cluster.stage.writes(),
        [""; 0],
        "of AWS, not even with --yes in a dry run"
    );
}

#[test]
fn a_chart_for_another_cluster_is_blocked() {
    let Some(cluster) = Cluster::start(scenario::healthy()) else {
        return;
    };
    for helm in HELMS {
        let ran = cluster
            .install(helm, &["--set", "settings.clusterName=other"])
            .expect(1);
        assert!(ran.stderr.contains("cluster-matches-chart"), "{}", ran.stderr);
        assert!(ran.stderr.contains("other"), "{}", ran.stderr);
    }
    assert_eq!(cluster.written(), []);
}

#[test]
fn a_good_install_is_helms_own_and_so_is_the_upgrade() {
    let Some(cluster) = Cluster::start(scenario::healthy()) else {
        return;
    };
    let home = cluster.stage.home.path();
    std::fs::write(
        home.join("my values.yaml"),
        "replicas: 3\nsettings: {clusterName: demo}\n",
    )
    .expect("written");
    std::fs::write(home.join("note"), "from a file").expect("written");
    for helm in HELMS {
        let ran = cluster
            .install(
                helm,
                &[
                    "-f",
                    "my values.yaml",
                    "--set-file",
                    "note=note",
                    "--version",
                    "1.6.0",
                    "--timeout=2m",
                    "-o",
                    "json",
                ],
            )
            .expect(0);
        let release: Value = serde_json::from_str(&ran.stdout).expect("helm's JSON and nothing else");
        assert_eq!(release["info"]["status"], "deployed");
        let deployment = cluster.get(&[
            "get",
            "deployment",
            "karpenter",
            "-n",
            "kube-system",
            "-o",
            "json",
        ]);
        let deployment: Value = serde_json::from_str(&deployment).expect("JSON");
        assert_eq!(deployment["spec"]["replicas"], 3);
        let note = &deployment["spec"]["template"]["metadata"]["annotations"]["capt-spot.test/note"];
        assert_eq!(note, "from a file");

        // The name is taken: helm's own refusal and exit code.
        let ran = cluster.install(helm, &GOOD).expect(1);
        assert!(
            ran.stderr.contains("a name that is still in use"),
            "{}",
            ran.stderr
        );

        // No value is given: helm takes the release's own, and so does the preflight.
        let chart = chart().display().to_string();
        let upgrade = ["capt-spot", "upgrade", "karpenter", &chart, "-n", "kube-system"];
        let ran = cluster.run(helm, &upgrade).expect(0);
        assert!(ran.stdout.contains("has been upgraded"), "{}", ran.stdout);
        let history = cluster
            .run(helm, &["history", "karpenter", "-n", "kube-system", "-o", "json"])
            .expect(0);
        assert_eq!(history.json().as_array().map(Vec::len), Some(2));
        // With other values it is judged by those.
        let other = [
            &upgrade[..],
            &["--reuse-values", "--set", "settings.clusterName=other"],
        ]
        .concat();
        let ran = cluster.run(helm, &other).expect(1);
        assert!(ran.stderr.contains("cluster-matches-chart"), "{}", ran.stderr);
        cluster.uninstall(helm);

        // upgrade --install where nothing is.
        let ran = cluster
            .run(helm, &[&upgrade[..], &["--install"], &GOOD[..]].concat())
            .expect(0);
        assert!(ran.stdout.contains("STATUS: deployed"), "{}", ran.stdout);
        cluster.uninstall(helm);
    }
    assert_eq!(cluster.stage.writes(), [""; 0]);
}

#[test]
fn the_missing_role_is_created_with_yes_and_then_helm_runs() {
    let Some(cluster) = Cluster::start(scenario::fresh_account_karpenter_on_fargate()) else {
        return;
    };
    let ran = cluster
        .install("helm4", &[&GOOD[..], &["--yes"]].concat())
        .expect(0);
    assert!(
        ran.stderr
            .contains("the role was created: arn:aws:iam::111122223333:role/aws-service-role/"),
        "{}",
        ran.stderr
    );
    assert!(ran.stdout.contains("STATUS: deployed"), "{}", ran.stdout);
    assert_eq!(cluster.stage.writes(), ["iam:CreateServiceLinkedRole"]);
}

#[test]
fn at_a_terminal_the_missing_role_is_offered_before_helm_runs() {
    let Some(cluster) = Cluster::start(scenario::fresh_account_karpenter_on_fargate()) else {
        return;
    };
    let chart = chart().display().to_string();
    let line = ["capt-spot", "install", "karpenter", &chart, "-n", "kube-system"];
    let line = [&line[..], &GOOD].concat();
    for helm in HELMS {
        let mut terminal = Terminal::run(&cluster.helm(helm, &line));
        terminal.wait_for("Create it now?");
        terminal.press("n\r");
        let (code, shown, _) = terminal.end();
        assert_eq!(code, 1, "{helm}: {shown}");
        assert!(
            shown.contains("nothing was written to the cluster"),
            "{helm}: {shown}"
        );
        // A dry run asks nothing.
        let dry = [&line[..], &["--dry-run=client"]].concat();
        let (code, shown, _) = Terminal::run(&cluster.helm(helm, &dry)).end();
        assert_eq!(code, 1, "{helm}: {shown}");
        assert!(!shown.contains("Create it now?"), "{helm}: {shown}");
    }
    assert_eq!(cluster.written(), []);
    assert_eq!(cluster.stage.writes(), [""; 0]);

    let mut terminal = Terminal::run(&cluster.helm("helm4", &line));
    terminal.wait_for("Create it now?");
    terminal.press("y\r");
    let (code, shown, _) = terminal.end();
    assert_eq!(code, 0, "{shown}");
    assert!(
        shown.contains("the role was created: arn:aws:iam::111122223333:role/aws-service-role/"),
        "{shown}"
    );
    assert!(shown.contains("STATUS: deployed"), "{shown}");
    assert_eq!(cluster.stage.writes(), ["iam:CreateServiceLinkedRole"]);
}

#[test]
fn charts_from_an_oci_registry_and_from_a_repository() {
    let Some(cluster) = Cluster::start(scenario::healthy()) else {
        return;
    };
    let Some(bed) = Testbed::require(&["oci-registry", "helm4"]) else {
        return;
    };
    let charts = tempfile::tempdir().expect("a folder");
    let registry = Registry::start(&bed, charts.path());
    let helm = |args: &[&str]| {
        let mut command = cluster.plain_helm("helm4");
        command.args(args).current_dir(charts.path());
        succeed(output(command))
    };
    helm(&["package", &chart().display().to_string()]);
    helm(&["repo", "index", "."]);
    let packed = std::fs::read_dir(charts.path()).expect("readable");
    let packed: Vec<PathBuf> = packed
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "tgz"))
        .collect();
    let [packed] = &packed[..] else {
        panic!("one chart: {packed:?}");
    };
    let oci = registry.oci("karpenter");
    helm(&["push", &packed.display().to_string(), &oci, "--plain-http"]);

    let chart = format!("{oci}/karpenter");
    let repository = registry.repository();
    for from in [
        &[&chart, "--plain-http"][..],
        &["karpenter", "--repo", &repository],
    ] {
        for helm in HELMS {
            let line = [
                &["capt-spot", "install", "karpenter"],
                from,
                &["-n", "kube-system"],
            ]
            .concat();
            let version = ["--version", "1.6.0"];
            let other = ["--set", "settings.clusterName=other"];
            let ran = cluster
                .run(helm, &[&line[..], &version, &other].concat())
                .expect(1);
            assert!(ran.stderr.contains("cluster-matches-chart"), "{}", ran.stderr);
            let ran = cluster
                .run(helm, &[&line[..], &["--version", "9.9.9"], &GOOD].concat())
                .expect(1);
            assert!(ran.stderr.contains("9.9.9"), "{}", ran.stderr);
            let ran = cluster
                .run(helm, &[&line[..], &version, &GOOD].concat())
                .expect(0);
            assert!(ran.stdout.contains("STATUS: deployed"), "{}", ran.stdout);
            cluster.uninstall(helm);
        }
    }
}

/// Every file below a folder, with the time of its last change.
fn files_of(folder: &Path, all: &mut Vec<(PathBuf, std::time::SystemTime)>) {
    for entry in std::fs::read_dir(folder).expect("readable") {
        let entry = entry.expect("an entry");
        let about = entry.metadata().expect("metadata");
        all.push((entry.path(), about.modified().expect("a time")));
        if about.is_dir() {
            files_of(&entry.path(), all);
        }
    }
}

/// So it may be read-only; root, as whom CI often runs, could write all the same.
#[test]
fn nothing_is_written_into_the_plugin_s_folder() {
    let Some(cluster) = Cluster::start(scenario::fresh_account_karpenter_on_fargate()) else {
        return;
    };
    for helm in HELMS {
        let files = || {
            let mut all = Vec::new();
            // Helm installs a folder by a link to it.
            files_of(&dist().join("helm-plugin/capt-spot"), &mut all);
            all.sort();
            all
        };
        cluster.run(helm, &["capt-spot", "--version"]).expect(0);
        let before = files();
        assert!(before.iter().any(|(path, _)| path.ends_with("plugin.yaml")));
        cluster.install(helm, &GOOD).expect(1);
        let forced = [&GOOD[..], &["--force-install"]].concat();
        cluster.install(helm, &forced).expect(0);
        cluster.uninstall(helm);
        assert_eq!(before, files(), "{helm}");
    }
}

#[test]
fn forced_it_installs_and_says_so() {
    let Some(cluster) = Cluster::start(scenario::fresh_account_karpenter_on_fargate()) else {
        return;
    };
    for helm in HELMS {
        let ran = cluster
            .install(helm, &[&GOOD[..], &["--force-install"]].concat())
            .expect(0);
        assert!(
            ran.stderr
                .contains("INSTALLING ALTHOUGH THE CLUSTER IS NOT READY"),
            "{}",
            ran.stderr
        );
        assert!(ran.stdout.contains("STATUS: deployed"), "{}", ran.stdout);
        cluster.uninstall(helm);
    }
    assert_eq!(cluster.stage.writes(), [""; 0]);
}

#[test]
fn what_helm_refuses_it_says_once_with_its_own_code() {
    let Some(cluster) = Cluster::start(scenario::healthy()) else {
        return;
    };
    for helm in HELMS {
        for (more, says) in [
            (&["--set", "failWith=this chart is odd"][..], "this chart is odd"),
            (&["--no-such-flag"], "unknown flag: --no-such-flag"),
        ] {
            let ran = cluster.install(helm, more).expect(1);
            assert_eq!(
                ran.stderr.matches(says).count(),
                1,
                "{helm} {more:?}\n{}",
                ran.stderr
            );
            assert_eq!(ran.stdout, "");
        }
        let repo = ["karpenter", "--repo", "http://127.0.0.1:1/", "--version", "1.6.0"];
        let ran = cluster
            .run(
                helm,
                &[&["capt-spot", "install", "karpenter"][..], &repo].concat(),
            )
            .expect(1);
        assert!(ran.stderr.contains("127.0.0.1:1"), "{}", ran.stderr);
        let ran = cluster
            .run(helm, &["capt-spot", "install", "--node-role"])
            .expect(2);
        assert!(ran.stderr.contains("--node-role needs a value"), "{}", ran.stderr);
        let ran = cluster.run(helm, &["capt-spot", "install", "--help"]).expect(0);
        assert!(
            ran.stdout.contains("helm capt-spot install RELEASE CHART"),
            "{}",
            ran.stdout
        );
    }
    assert_eq!(cluster.written(), []);
}

#[test]
fn values_on_standard_input_reach_the_preflight_and_helm() {
    let Some(cluster) = Cluster::start(scenario::healthy()) else {
        return;
    };
    let chart = chart().display().to_string();
    for helm in HELMS {
        let line = [
            "capt-spot",
            "install",
            "karpenter",
            &chart,
            "-n",
            "kube-system",
            "-f",
            "-",
        ];
        let values = "replicas: 5\nsettings: {clusterName: demo}\n";
        let ran = Ran::from(&run_with_stdin(cluster.helm(helm, &line), values)).expect(0);
        assert!(ran.stdout.contains("STATUS: deployed"), "{}", ran.stdout);
        let replicas = [
            "get",
            "deployment",
            "karpenter",
            "-n",
            "kube-system",
            "-o",
            "jsonpath={.spec.replicas}",
        ];
        assert_eq!(cluster.get(&replicas), "5");
        cluster.uninstall(helm);
    }
}

#[test]
fn helm_bin_that_leads_nowhere_and_a_relative_one() {
    let Some(cluster) = Cluster::start(scenario::healthy()) else {
        return;
    };
    let chart = chart().display().to_string();
    let line = [
        "install",
        "karpenter",
        &chart,
        "-n",
        "kube-system",
        "--set",
        "settings.clusterName=demo",
    ];
    let ran = Ran::from(
        &cluster
            .stage
            .command(&line)
            .env("HELM_BIN", "./nowhere")
            .output()
            .expect("starts"),
    )
    .expect(1);
    assert!(ran.stderr.contains("HELM_BIN says ./nowhere"), "{}", ran.stderr);
    assert_eq!(cluster.written(), []);

    // Not under helm at all: kubectl capt-spot install, with kubectl's --context.
    let folder = cluster.stage.home.path().join("a folder");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::copy(cluster.bed.path("helm4"), folder.join("helm")).expect("copied");
    let arn = "arn:aws:eks:eu-west-1:111122223333:cluster/demo";
    let line = [&line[..], &["--context", arn]].concat();
    let ran = Ran::from(
        &cluster
            .stage
            .command(&line)
            .env("HELM_BIN", "a folder/helm")
            .output()
            .expect("starts"),
    )
    .expect(0);
    assert!(ran.stdout.contains("STATUS: deployed"), "{}", ran.stdout);
}

#[test]
fn a_chart_that_is_not_karpenter_is_judged_by_the_rest() {
    let Some(cluster) = Cluster::start(scenario::healthy()) else {
        return;
    };
    let chart = cluster.stage.home.path().join("other");
    std::fs::create_dir_all(chart.join("templates")).expect("a folder");
    std::fs::write(
        chart.join("Chart.yaml"),
        "apiVersion: v2\nname: other\nversion: 1.0.0\n",
    )
    .expect("written");
    std::fs::write(
        chart.join("templates/a.yaml"),
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n",
    )
    .expect("written");
    for helm in HELMS {
        let ran = cluster
            .run(helm, &["capt-spot", "install", "other", "./other"])
            .expect(0);
        assert!(ran.stdout.contains("STATUS: deployed"), "{}", ran.stdout);
        succeed(output(cluster.helm(helm, &["uninstall", "other"])));
    }
}

/// A chart of these templates in the user's home.
fn small_chart(cluster: &Cluster, name: &str, templates: &[(&str, &str)]) {
    let chart = cluster.stage.home.path().join(name);
    std::fs::create_dir_all(chart.join("templates")).expect("a folder");
    std::fs::write(
        chart.join("Chart.yaml"),
        format!("apiVersion: v2\nname: {name}\nversion: 1.0.0\n"),
    )
    .expect("written");
    for (file, text) in templates {
        std::fs::write(chart.join("templates").join(file), text).expect("written");
    }
}

/// What the preflight of this line finds about the controller and the pools: `status id`.
fn found(cluster: &Cluster, helm: &str, line: &[&str]) -> Vec<String> {
    let line = [
        &["capt-spot", "-o", "json"],
        line,
        &["--dry-run=client", "--report=report.json"],
    ]
    .concat();
    let ran = cluster.run(helm, &line);
    let text = std::fs::read_to_string(cluster.stage.home.path().join("report.json"));
    let text = text.unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    let report: Value = serde_json::from_str(&text).expect("JSON");
    let checks = report["checks"].as_array().expect("checks").iter();
    checks
        .map(|check| format!("{} {}", check["status"], check["id"]).replace('"', ""))
        .filter(|line| {
            let about = [
                "controller-identity",
                "pools-want-spot",
                "can-install",
                "cluster-matches-chart",
            ];
            about.iter().any(|id| line.ends_with(id))
        })
        .collect()
}

const CRD: &str = "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: nodepools.karpenter.sh}
spec: {group: karpenter.sh, scope: Cluster, names: {kind: NodePool, plural: nodepools}}
";

const POOL: &str = "apiVersion: karpenter.sh/v1
kind: NodePool
metadata: {name: default}
spec:
  template:
    spec:
      nodeClassRef: {group: karpenter.k8s.aws, kind: EC2NodeClass, name: default}
      requirements:
      - {key: karpenter.sh/capacity-type, operator: In, values: [spot]}
---
apiVersion: karpenter.k8s.aws/v1
kind: EC2NodeClass
metadata: {name: default}
spec: {role: demo-node}
";

#[test]
fn each_chart_is_judged_for_what_it_holds() {
    let Some(cluster) = Cluster::start(scenario::healthy()) else {
        return;
    };
    small_chart(&cluster, "karpenter-crd", &[("crd.yaml", CRD)]);
    small_chart(&cluster, "default-nodepool", &[("pool.yaml", POOL)]);
    let karpenter = chart().display().to_string();
    let namespace = ["-n", "new-namespace", "--create-namespace"];
    for helm in HELMS {
        let judged = |line: &[&str]| found(&cluster, helm, line);
        let crds = judged(&[&["install", "crd", "./karpenter-crd"][..], &namespace].concat());
        insta::assert_snapshot!("a chart of CRDs alone", crds.join("\n"));
        let pools = judged(&[&["install", "pools", "./default-nodepool"][..], &namespace].concat());
        insta::assert_snapshot!("a chart of node pools alone", pools.join("\n"));
        let controller = judged(&[
            "install",
            "karpenter",
            &karpenter,
            "-n",
            "kube-system",
            GOOD[0],
            GOOD[1],
        ]);
        insta::assert_snapshot!("Karpenter's chart", controller.join("\n"));
        let generated = judged(&[
            "install",
            "--generate-name",
            &karpenter,
            "-n",
            "kube-system",
            GOOD[0],
            GOOD[1],
        ]);
        insta::assert_snapshot!(
            "Karpenter's chart under a name that helm makes up",
            generated.join("\n")
        );
    }
}

#[test]
fn a_release_that_cannot_be_read_is_said_to_be_that() {
    let Some(cluster) = Cluster::start(scenario::healthy()) else {
        return;
    };
    small_chart(
        &cluster,
        "strict",
        &[(
            "a.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ required \"a name is needed\" .Values.name }}}\n",
        )],
    );
    let arn = format!(
        "arn:aws:eks:{}:{}:cluster/demo",
        scenario::REGION,
        scenario::ACCOUNT
    );
    let viewer = cluster
        .server
        .kubeconfig(&arn, cluster.server.token(User::Viewer));
    cluster.stage.write_kubeconfig_text(&viewer);
    for helm in HELMS {
        let ran = cluster
            .run(
                helm,
                &["capt-spot", "upgrade", "strict", "./strict", "-n", "kube-system"],
            )
            .expect(1);
        assert!(
            ran.stderr.contains("the release strict could not be read"),
            "{}",
            ran.stderr
        );
        assert!(ran.stderr.contains("secrets is forbidden"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("a name is needed"), "{}", ran.stderr);
    }
}

#[test]
fn the_pipeline_s_identity_is_asked_about() {
    let Some(cluster) = Cluster::start(scenario::healthy()) else {
        return;
    };
    let karpenter = chart().display().to_string();
    for helm in HELMS {
        let line = [
            "install",
            "karpenter",
            &karpenter,
            "-n",
            "kube-system",
            GOOD[0],
            GOOD[1],
        ];
        let judged = |more: &[&str]| {
            let lines = found(&cluster, helm, &[&line[..], more].concat());
            lines.into_iter().find(|line| line.ends_with("can-install"))
        };
        assert_eq!(judged(&[]).as_deref(), Some("pass can-install"));
        assert_eq!(
            judged(&["--kube-as-user", "nobody"]).as_deref(),
            Some("fail can-install")
        );
    }
}

#[test]
fn the_hooks_manifest_is_taken_by_the_api_server() {
    let Some(cluster) = Cluster::start(scenario::healthy()) else {
        return;
    };
    let ran = cluster
        .stage
        .run(&[
            "hook",
            "--cluster-name",
            "demo",
            "--role-arn",
            "arn:aws:iam::111122223333:role/capt-spot",
        ])
        .expect(0);
    cluster.server.apply(&ran.stdout);
    let job = cluster.get(&[
        "get",
        "job",
        "capt-spot-preflight",
        "-n",
        "kube-system",
        "-o",
        "json",
    ]);
    let job: Value = serde_json::from_str(&job).expect("JSON");
    let pod = &job["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], "capt-spot-preflight");
    assert_eq!(pod["containers"][0]["args"][0], "preflight");
    // Its service account may read what the preflight reads, and create nothing.
    let can = |verb: &str, what: &str| {
        let mut kubectl = cluster.server.kubectl(User::Admin);
        kubectl.args([
            "auth",
            "can-i",
            verb,
            what,
            "-n",
            "kube-system",
            "--as",
            "system:serviceaccount:kube-system:capt-spot-preflight",
        ]);
        output(kubectl).status.success()
    };
    // The authorizer's cache follows what was written.
    let allowed = (0..50).any(|_| can("get", "configmaps/aws-auth"));
    assert!(allowed, "{}", ran.stdout);
    assert!(!can("create", "configmaps"));
    assert!(!can("get", "secrets"));
}

#[test]
fn the_post_renderer_passes_bytes_on_or_nothing() {
    let Some(cluster) = Cluster::start(scenario::fresh_account_karpenter_on_fargate()) else {
        return;
    };
    let chart_text = "---\n# Source: x\napiVersion: v1\r\nkind: ConfigMap\nmetadata: {name: a}\n\n";
    let report = cluster.stage.home.path().join("report.txt");
    let gate = || cluster.stage.command(&["gate", "--report", "report.txt"]);
    let ran = Ran::from(&run_with_stdin(gate(), chart_text)).expect(1);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("spot-role-exists"), "{}", ran.stderr);
    let written = std::fs::read_to_string(&report).expect("a report");
    assert!(written.contains("spot-role-exists"), "{written}");

    // Real helm stops on it: helm 3 takes a path, helm 4 the name of a plugin.
    let post_renderers = [("helm3", BINARY), ("helm4", "capt-spot-gate")];
    for (helm, post_renderer) in post_renderers {
        let mut install = cluster.plain_helm("helm4");
        install
            .args(["plugin", "install"])
            .arg(dist().join("helm-postrenderer/capt-spot-gate"));
        if helm == "helm4" {
            succeed(output(install));
        }
        let chart = chart().display().to_string();
        let mut line = vec![
            "install",
            "karpenter",
            &chart,
            "--skip-crds",
            "--post-renderer",
            post_renderer,
        ];
        if helm == "helm3" {
            line.extend(["--post-renderer-args", "gate"]);
        }
        line.extend(GOOD);
        let ran = Ran::from(&cluster.helm(helm, &line).output().expect("helm starts")).expect(1);
        assert_eq!(cluster.releases(), "", "{}", ran.stderr);
    }

    cluster.stage.standin.world(|world| {
        world.account(scenario::ACCOUNT).add_spot_role();
    });
    let ran = Ran::from(&run_with_stdin(gate(), chart_text)).expect(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), (chart_text, ""));
    for (helm, post_renderer) in post_renderers {
        let chart = chart().display().to_string();
        let mut line = vec![
            "install",
            "karpenter",
            &chart,
            "-n",
            "kube-system",
            "--post-renderer",
            post_renderer,
        ];
        if helm == "helm3" {
            line.extend(["--post-renderer-args", "gate"]);
        }
        line.extend(GOOD);
        let ran = Ran::from(&cluster.helm(helm, &line).output().expect("helm starts")).expect(0);
        assert!(ran.stdout.contains("STATUS: deployed"), "{}", ran.stdout);
        cluster.uninstall(helm);
    }
}

#[test]
fn completion_through_helm() {
    let Some(cluster) = Cluster::start(scenario::healthy()) else {
        return;
    };
    for helm in HELMS {
        let ran = cluster.run(helm, &["__complete", "capt-spot", "pref"]).expect(0);
        assert!(ran.stdout.starts_with("preflight\t"), "{}", ran.stdout);
        let ran = cluster
            .run(helm, &["__complete", "capt-spot", "install", "--force-i"])
            .expect(0);
        assert!(ran.stdout.starts_with("--force-install\t"), "{}", ran.stdout);
    }
}

/// Sends SIGINT to one process, as Ctrl-C does to each of a group.
fn interrupt(child: &std::process::Child) {
    let mut kill = Command::new("kill");
    kill.args(["-INT", &child.id().to_string()]);
    succeed(output(kill));
}

#[test]
fn ctrl_c_while_checking_leaves_nothing() {
    let Some(cluster) = Cluster::start(scenario::healthy()) else {
        return;
    };
    let temporary = tempfile::tempdir().expect("a folder");
    let chart = chart().display().to_string();
    let line = [&["install", "karpenter", &chart, "--yes"][..], &GOOD].concat();
    let (asked, heard) = std::sync::mpsc::channel();
    cluster
        .stage
        .standin
        .change_on("sts:GetCallerIdentity", 1, move |_| {
            let _ = asked.send(());
        });
    cluster.stage.standin.fault("iam:GetRole", Fault::Hang);
    let child = cluster
        .stage
        .command(&[&line[..], &["--request-timeout", "0"]].concat())
        .env("HELM_BIN", cluster.bed.path("helm4"))
        .env("TMPDIR", temporary.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    heard.recv().expect("AWS is asked");
    interrupt(&child);
    let ran = Ran::from(&child.wait_with_output().expect("it ends")).expect(130);
    assert_eq!(ran.stdout, "");
    assert_eq!(cluster.written(), []);
    assert_eq!(cluster.stage.writes(), [""; 0]);
    let left = std::fs::read_dir(temporary.path()).expect("readable").count();
    assert_eq!(left, 0, "temporary files stay behind");
}

#[test]
fn ctrl_c_while_helm_works_is_helms() {
    let Some(cluster) = Cluster::start(scenario::healthy()) else {
        return;
    };
    let chart = chart().display().to_string();
    // Nothing runs pods here, so helm waits until it is told to stop.
    let line = [
        &["install", "karpenter", &chart, "-n", "kube-system", "--wait"][..],
        &GOOD,
    ]
    .concat();
    let mut child = cluster
        .stage
        .command(&line)
        .env("HELM_BIN", cluster.bed.path("helm3"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    while cluster
        .get(&["get", "deployments", "-n", "kube-system", "-o", "name"])
        .is_empty()
        && child.try_wait().expect("a child").is_none()
    {}
    interrupt(&child);
    let ran = Ran::from(&child.wait_with_output().expect("it ends")).expect(1);
    assert!(
        ran.stderr.contains("Error: INSTALLATION FAILED"),
        "{}",
        ran.stderr
    );
}
