//! Karpenter's controller at work: a real API server, moto as its EC2, and what a person does to see it launch.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use super::shell::{Shell, cluster_arn};
use super::testbed::{ACCOUNT, ApiServer, Moto, REGION, Server, Testbed, User, output, succeed};

/// What every test with a controller needs.
pub const PARTS: &[&str] = &[
    "kube-apiserver",
    "kubectl",
    "moto",
    "awscli",
    "karpenter",
    "nodepool-oracle",
];

/// How long a world may take: a live one some seconds, on a crowded machine ten times that. In those that are only recorded
/// Karpenter waits 15 minutes for a node, twice.
fn limit() -> Duration {
    Duration::from_mins(if recording() { 40 } else { 5 })
}

/// The controller's role.
const ROLE: &str = "KarpenterController";

/// The kinds that a record holds: everything that Karpenter says, and what it is asked.
const RECORDED: &str = "nodepools,nodeclaims,ec2nodeclasses,events,nodes,pods";

#[derive(Deserialize)]
struct ReadyController {
    /// Whether it runs in a network namespace of its own; it works either way.
    #[serde(rename = "isolated")]
    _isolated: bool,
}

/// A cluster with Karpenter in it.
pub struct Stage {
    // Ended first: it talks to the others.
    controller: Option<Server>,
    pub server: ApiServer,
    pub moto: Moto,
    pub shell: Shell,
    controller_keys: Vec<(&'static str, String)>,
    programs: PathBuf,
    kubectl: PathBuf,
    dir: tempfile::TempDir,
}

impl Stage {
    /// Account and cluster, everything in order but for the spot role, which nobody has made. The controller is installed
    /// and runs, as far as the API server knows; it really does after [`Stage::start_controller`].
    pub fn new(bed: &Testbed) -> Self {
        let moto = Moto::start_for_karpenter(bed);
        let server = ApiServer::start(bed);
        let controller_keys = set_up_account(&moto);
        moto.cluster_is(&server);
        let shell = Shell::new(
            bed,
            &server.kubeconfig(&cluster_arn(ACCOUNT), server.token(User::Admin)),
            moto.environment(),
        );
        let dir = tempfile::tempdir().expect("a temporary directory");
        // The definitions of this version, with their schemas and rules.
        let mut crds = bed.command("nodepool-oracle", dir.path());
        crds.arg("crds");
        server.apply(&succeed(output(crds)));
        let mut wait = server.kubectl(User::Admin);
        wait.args([
            "wait",
            "--for=condition=Established",
            "--timeout=60s",
            "crd",
            "--all",
        ]);
        succeed(output(wait));
        server.apply(crate::e2e::AWS_AUTH);
        server.apply(&installation());
        server.apply_status(&installation_status());
        Self {
            controller: None,
            server,
            moto,
            shell,
            controller_keys,
            programs: bed.path("karpenter").with_file_name(""),
            kubectl: bed.path("kubectl").to_owned(),
            dir,
        }
    }

    /// Starts the controller, anew if it runs: what it remembers of refusals is gone then.
    pub fn start_controller(&mut self) {
        self.stop_controller();
        let mut command = Command::new(self.programs.join("testbed-karpenter"));
        let reach = |url: &str| {
            url.split_once("://")
                .map_or(url, |(_, address)| address)
                .to_owned()
        };
        command
            .env_clear()
            .env("HOME", self.dir.path())
            .env("TMPDIR", self.dir.path())
            .env("KUBECONFIG", self.server.own_kubeconfig(User::Admin))
            .envs(self.moto.environment())
            .envs(self.controller_keys.iter().cloned())
            .envs([
                ("CLUSTER_NAME", "demo"),
                ("INTERRUPTION_QUEUE", "demo"),
                ("DISABLE_LEADER_ELECTION", "true"),
                ("SYSTEM_NAMESPACE", "kube-system"),
                ("KARPENTER_SERVICE", "karpenter"),
                ("LOG_LEVEL", "debug"),
            ])
            .arg("--controller")
            .arg(self.programs.join("karpenter"))
            .arg("--log")
            .arg(self.log())
            .arg("--reach")
            .arg(reach(self.server.url()))
            .arg("--reach")
            .arg(reach(self.moto.url()));
        let controller = Server::start(command, self.dir.path().join("testbed-karpenter.log"));
        controller.next::<ReadyController>();
        self.controller = Some(controller);
    }

    /// Ends it, as a node that dies does.
    pub fn stop_controller(&mut self) {
        drop(self.controller.take());
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("controller.log")
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        let mut command = self.server.kubectl(User::Admin);
        command.args(arguments);
        succeed(output(command))
    }

    /// Takes everything away that a world left behind, with the controller's memory of it.
    pub fn clear(&mut self) {
        self.stop_controller();
        let kinds = [
            "nodepools",
            "nodeclaims",
            "ec2nodeclasses",
            "nodes",
            "pods",
            "events",
        ];
        for kind in kinds {
            // Nobody is there any more who would take the finalizers off.
            let left = self.kubectl(&["get", kind, "-A", "-o", "name"]);
            for object in left.lines().filter(|_| !matches!(kind, "pods" | "events")) {
                self.kubectl(&[
                    "patch",
                    object,
                    "--type=merge",
                    "-p",
                    r#"{"metadata":{"finalizers":null}}"#,
                ]);
            }
            if matches!(kind, "pods" | "events") {
                self.kubectl(&[
                    "delete",
                    kind,
                    "-n",
                    "default",
                    "--all",
                    "--force",
                    "--grace-period=0",
                ]);
            } else {
                self.kubectl(&["delete", kind, "--all"]);
            }
        }
        self.refuse_launches(&json!({}));
    }

    /// Stores the class `default` and a pool for it, and waits for what the controller says of the pool: `Ready` is this.
    pub fn pool(&self, name: &str, capacity_types: &[&str], ready: &str) {
        self.pool_of(&node_class(), name, capacity_types, ready);
    }

    /// The same with a class of the test's own.
    pub fn pool_of(&self, class: &Value, name: &str, capacity_types: &[&str], ready: &str) {
        self.server.apply(&class.to_string());
        self.server.apply(&node_pool(name, capacity_types).to_string());
        self.until(&format!("pool {name} is Ready={ready}"), "nodepools", |pool| {
            pool["metadata"]["name"] == name && condition(pool, "Ready")["status"] == ready
        });
    }

    /// A Pod that no node takes, and that this pool's nodes would: the scheduler would mark it so.
    pub fn pod(&self, pool: &str) {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": format!("waits-for-{pool}"), "namespace": "default" },
            "spec": {
                "nodeSelector": { "karpenter.sh/nodepool": pool },
                "containers": [{ "name": "pause", "image": "pause", "resources": { "requests": { "cpu": "1" } } }],
            },
        });
        self.server.apply(&pod.to_string());
        let unschedulable = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": pod["metadata"],
            "status": { "conditions": [{
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": "0/0 nodes are available", "lastTransitionTime": now(),
            }] },
        });
        self.server.apply_status(&unschedulable.to_string());
    }

    /// The instance of a claim joins the cluster as its kubelet would, and is ready.
    pub fn node_joins(&self, claim: &Value) {
        let name = format!("ip-10-0-0-1.{REGION}.compute.internal");
        let mut node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": name, "labels": { "kubernetes.io/os": "linux", "kubernetes.io/hostname": name } },
            "spec": {
                "providerID": claim["status"]["providerID"],
                "taints": [{ "key": "karpenter.sh/unregistered", "effect": "NoExecute" }],
            },
        });
        self.server.apply(&node.to_string());
        node["status"] = json!({
            "capacity": claim["status"]["capacity"], "allocatable": claim["status"]["allocatable"],
            "conditions": [{ "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is ready",
                             "lastHeartbeatTime": now(), "lastTransitionTime": now() }],
        });
        let object = node.as_object_mut().expect("an object");
        object.remove("spec");
        self.server.apply_status(&node.to_string());
        // The API server taints every new node, and nobody is there who would see that it is ready.
        self.kubectl(&["taint", "node", &name, "node.kubernetes.io/not-ready-"]);
    }

    /// How launches end from now on, by capacity type (`spot`, `on_demand`) and EC2's error code; those not named succeed.
    pub fn refuse_launches(&self, codes: &Value) {
        self.moto.call("launches", "refuse", codes);
    }

    /// What the controller's role may do in EC2.
    pub fn allow_controller(&self, actions: &[&str]) {
        let policy = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": actions, "Resource": "*" }] });
        self.moto.call(
            "iam",
            "put_role_policy",
            &json!({ "RoleName": ROLE, "PolicyName": "controller", "PolicyDocument": policy.to_string() }),
        );
    }

    /// Waits until an object of this kind is so, and returns it.
    ///
    /// # Panics
    /// When none is for a long time, with the end of the controller's log.
    pub fn until(&self, what: &str, kind: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        self.until_change(what, kind, |_, object| is_so(object))
    }

    /// Waits until this claim is gone.
    pub fn until_gone(&self, claim: &str) {
        self.until_change(&format!("{claim} is deleted"), "nodeclaims", |change, object| {
            change == "DELETED" && object["metadata"]["name"] == claim
        });
    }

    fn until_change(&self, what: &str, kind: &str, is_so: impl Fn(&str, &Value) -> bool) -> Value {
        let end = Instant::now() + limit();
        loop {
            let mut command = Command::new(&self.kubectl);
            command
                .env_clear()
                .env("HOME", self.dir.path())
                .env("KUBECONFIG", self.server.own_kubeconfig(User::Admin))
                .args([
                    "get",
                    kind,
                    "-A",
                    "-o",
                    "json",
                    "--watch",
                    "--output-watch-events",
                ])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null());
            let mut watch = command.spawn().expect("kubectl starts");
            let changes = BufReader::new(watch.stdout.take().expect("stdout is piped"));
            let (send, changed) = mpsc::channel();
            std::thread::spawn(move || {
                let changes = serde_json::Deserializer::from_reader(changes).into_iter::<Value>();
                for change in changes.map_while(Result::ok) {
                    if send.send(change).is_err() {
                        break;
                    }
                }
            });
            let found = loop {
                match changed.recv_timeout(end.saturating_duration_since(Instant::now())) {
                    Ok(change) if is_so(change["type"].as_str().unwrap_or_default(), &change["object"]) => {
                        break Some(change["object"].clone());
                    }
                    Ok(_) => {}
                    // API servers end a watch after some minutes, and another one begins.
                    Err(mpsc::RecvTimeoutError::Disconnected) => break None,
                    Err(mpsc::RecvTimeoutError::Timeout) => {
                        let _ = watch.kill();
                        panic!("not within {:?}: {what}\n{}", limit(), self.last_words());
                    }
                }
            };
            let _ = watch.kill();
            let _ = watch.wait();
            if let Some(object) = found {
                return object;
            }
        }
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// With `make record-karpenter`, writes down what is in the cluster, and the controller's log, as a fixture of this name.
    pub fn record(&self, name: &str) {
        if !recording() {
            return;
        }
        let list: Value =
            serde_json::from_str(&self.kubectl(&["get", RECORDED, "-A", "-o", "json"])).expect("JSON");
        let mut objects = list["items"].as_array().cloned().expect("a list");
        for object in &mut objects {
            let metadata = object["metadata"].as_object_mut().expect("metadata");
            metadata.remove("managedFields");
        }
        let record = json!({ "recordedAt": now(), "objects": objects });
        let text = serde_json::to_string_pretty(&record).expect("plain data");
        let folder = fixtures();
        std::fs::create_dir_all(&folder).expect("the fixtures' folder");
        std::fs::write(folder.join(format!("{name}.json")), text + "\n").expect("a fixture");
        // At the level that the chart sets, without the hundred lines of its parts' start.
        let log = std::fs::read_to_string(self.log()).expect("the controller's log");
        let left_out = [r#""level":"DEBUG""#, r#""message":"Starting "#];
        let log = log
            .lines()
            .filter(|line| !left_out.iter().any(|text| line.contains(text)));
        let log: String = log.map(|line| format!("{line}\n")).collect();
        std::fs::write(folder.join(format!("{name}.log")), log).expect("a fixture");
    }
}

/// Whether this run is to write fixtures.
pub fn recording() -> bool {
    std::env::var_os("CAPT_SPOT_RECORD_KARPENTER").is_some()
}

/// The fixtures; the version is in the folder's name.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/karpenter-1.14.3")
}

/// Seconds are as fine as Kubernetes writes a time.
fn now() -> String {
    format!("{:.0}", jiff::Timestamp::now())
}

/// A condition of an object, or null.
pub fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let all = object["status"]["conditions"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    all.iter().find(|one| one["type"] == kind).unwrap_or(&Value::Null)
}

/// An EC2NodeClass as Karpenter's guide has it.
pub fn node_class() -> Value {
    json!({
        "apiVersion": "karpenter.k8s.aws/v1", "kind": "EC2NodeClass", "metadata": { "name": "default" },
        "spec": {
            "role": "demo-node",
            "amiSelectorTerms": [{ "alias": "al2023@latest" }],
            "subnetSelectorTerms": [{ "tags": { "karpenter.sh/discovery": "demo" } }],
            "securityGroupSelectorTerms": [{ "tags": { "karpenter.sh/discovery": "demo" } }],
        },
    })
}

fn node_pool(name: &str, capacity_types: &[&str]) -> Value {
    json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": { "name": name },
        "spec": { "template": { "spec": {
            "nodeClassRef": { "group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default" },
            "requirements": [{ "key": "karpenter.sh/capacity-type", "operator": "In", "values": capacity_types }],
        } } },
    })
}

/// The chart's Deployment and ServiceAccount; the process itself is the test's.
fn installation() -> String {
    let labels = json!({
        "app.kubernetes.io/name": "karpenter", "app.kubernetes.io/instance": "karpenter",
        "app.kubernetes.io/version": "1.14.3", "helm.sh/chart": "karpenter-1.14.3",
    });
    let env = json!([{ "name": "CLUSTER_NAME", "value": "demo" }, { "name": "INTERRUPTION_QUEUE", "value": "demo" }]);
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": { "name": "karpenter", "namespace": "kube-system", "labels": labels,
                      "annotations": { "eks.amazonaws.com/role-arn": format!("arn:aws:iam::{ACCOUNT}:role/{ROLE}") } },
    });
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "karpenter", "namespace": "kube-system", "labels": labels },
        "spec": {
            "replicas": 1,
            "selector": { "matchLabels": { "app.kubernetes.io/name": "karpenter" } },
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "serviceAccountName": "karpenter",
                    "containers": [{ "name": "controller", "image": "public.ecr.aws/karpenter/controller:1.14.3", "env": env }],
                },
            },
        },
    });
    format!("{account}\n---\n{deployment}")
}

fn installation_status() -> String {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "karpenter", "namespace": "kube-system" },
        "status": { "observedGeneration": 1, "replicas": 1, "readyReplicas": 1, "availableReplicas": 1, "updatedReplicas": 1,
                    "conditions": [{ "type": "Available", "status": "True", "reason": "MinimumReplicasAvailable",
                                     "message": "Deployment has minimum availability." }] },
    })
    .to_string()
}

/// Roles, cluster, network, images and queue; returns the keys of the controller's role.
fn set_up_account(moto: &Moto) -> Vec<(&'static str, String)> {
    let network = json!({ "serviceIpv4Cidr": "10.100.0.0/16" });
    let cluster = json!({
        "name": "demo", "roleArn": format!("arn:aws:iam::{ACCOUNT}:role/demo-cluster"),
        "resourcesVpcConfig": { "subnetIds": ["subnet-1"] }, "kubernetesNetworkConfig": network,
    });
    let cluster = moto.call("eks", "create_cluster", &cluster);
    let issuer = cluster["cluster"]["identity"]["oidc"]["issuer"]
        .as_str()
        .expect("an issuer");
    let provider =
        json!({ "Url": issuer, "ClientIDList": ["sts.amazonaws.com"], "ThumbprintList": ["0".repeat(40)] });
    let provider = moto.call("iam", "create_open_id_connect_provider", &provider);
    let issuer = issuer.trim_start_matches("https://");
    let irsa = json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
        "Principal": { "Federated": provider["OpenIDConnectProviderArn"] },
        "Condition": { "StringEquals": {
            format!("{issuer}:sub"): "system:serviceaccount:kube-system:karpenter",
            format!("{issuer}:aud"): "sts.amazonaws.com",
        } },
    }] });
    let trusting = |principal: Value| crate::e2e::trusting(&principal);
    for (role, trust) in [
        // The caller's own: the program asks IAM for it.
        (
            "admin",
            trusting(json!({ "AWS": format!("arn:aws:iam::{ACCOUNT}:root") })),
        ),
        (
            "demo-cluster",
            trusting(json!({ "Service": "eks.amazonaws.com" })),
        ),
        ("demo-node", trusting(json!({ "Service": "ec2.amazonaws.com" }))),
        (
            "demo-fargate",
            trusting(json!({ "Service": "eks-fargate-pods.amazonaws.com" })),
        ),
        (ROLE, irsa.to_string()),
    ] {
        moto.call(
            "iam",
            "create_role",
            &json!({ "RoleName": role, "AssumeRolePolicyDocument": trust }),
        );
    }
    let mut tagged: Vec<Value> = Vec::new();
    let subnets = moto.call("ec2", "describe_subnets", &json!({}));
    let groups = moto.call("ec2", "describe_security_groups", &json!({}));
    for (list, id) in [
        (&subnets["Subnets"], "SubnetId"),
        (&groups["SecurityGroups"], "GroupId"),
    ] {
        let list = list.as_array().expect("moto has a default VPC");
        tagged.extend(list.iter().map(|one| one[id].clone()));
    }
    let tag = json!([{ "Key": "karpenter.sh/discovery", "Value": "demo" }]);
    moto.call("ec2", "create_tags", &json!({ "Resources": tagged, "Tags": tag }));
    for architecture in ["x86_64", "arm64"] {
        let image = json!({ "Name": format!("al2023-{architecture}"), "Architecture": architecture });
        moto.call("ec2", "register_image", &image);
    }
    moto.call("sqs", "create_queue", &json!({ "QueueName": "demo" }));
    let session =
        json!({ "RoleArn": format!("arn:aws:iam::{ACCOUNT}:role/{ROLE}"), "RoleSessionName": "karpenter" });
    let keys = moto.call("sts", "assume_role", &session)["Credentials"].clone();
    let key = |name: &str| keys[name].as_str().expect("keys are text").to_owned();
    vec![
        ("AWS_ACCESS_KEY_ID", key("AccessKeyId")),
        ("AWS_SECRET_ACCESS_KEY", key("SecretAccessKey")),
        ("AWS_SESSION_TOKEN", key("SessionToken")),
    ]
}
