//! The real components of `tests/testbed`, as a test starts them.
//!
//! `make test` provisions them into `target/testbed`; `testbed.json` there says what there is. A test begins with
//!
//! ```ignore
//! let Some(bed) = Testbed::require(&["kube-apiserver", "kubectl"]) else { return };
//! ```
//!
//! and is listed as not run when one of them is missing; with `CI=true` it fails instead.
//!
//! Every server is a child that listens on loopback on a free port and ends when its stdin is closed. The test process holds the
//! other end, so a server never outlives it, whether the test passes, panics or is killed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use capt_spot_standin::oracle;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How long a server gets to say what a test waits for: a start takes three seconds, on a crowded machine ten times that.
const LIMIT: Duration = Duration::from_secs(180);

/// The account in which moto's caller lives.
pub const ACCOUNT: &str = "111122223333";

/// The region that moto is asked for.
pub const REGION: &str = "eu-west-1";

/// The components that a test asked for; all of them are there.
pub struct Testbed {
    paths: BTreeMap<String, PathBuf>,
}

impl Testbed {
    /// The components by the names that `provision.py --list` prints, or `None` when one is not there; the calling test is then
    /// written down in `target/testbed/not-run.txt`, which `make test` prints at its end.
    ///
    /// # Panics
    /// With `CI=true` in the environment when a component is missing: there, a test that was not run is a failure.
    pub fn require(names: &[&str]) -> Option<Self> {
        oracle::require(names).map(|paths| Self { paths })
    }

    /// Where a component is.
    ///
    /// # Panics
    /// When the test did not name it in [`Testbed::require`].
    pub fn path(&self, name: &str) -> &Path {
        self.paths
            .get(name)
            .unwrap_or_else(|| panic!("Testbed::require did not ask for {name}"))
    }

    /// A program of the test bed, in an empty environment but for PATH and a HOME of its own.
    pub fn command(&self, name: &str, home: &Path) -> Command {
        let mut command = Command::new(self.path(name));
        command
            .env_clear()
            .env("HOME", home)
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }
}

/// A server of the test bed. Dropped, it is told to end and waited for.
///
/// It says what there is to know in lines of JSON on its stdout, the first once it is ready.
pub(super) struct Server {
    child: Child,
    said: mpsc::Receiver<String>,
    log: PathBuf,
    suspended: bool,
}

impl Server {
    /// Starts the program; its stderr goes to `log`.
    pub(super) fn start(mut command: Command, log: PathBuf) -> Self {
        let errors = File::create(&log).unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = child.stdout.take().expect("stdout is piped");
        let (send, said) = mpsc::channel();
        // The thread ends with the program's stdout, or when nobody listens any more.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            said,
            log,
            suspended: false,
        }
    }

    /// Waits for the next line that the server says.
    pub(super) fn next<T: for<'a> Deserialize<'a>>(&self) -> T {
        match self.said.recv_timeout(LIMIT) {
            Ok(line) => serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")),
            Err(mpsc::RecvTimeoutError::Disconnected) => panic!("the server ended:\n{}", self.last_words()),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                panic!("the server said nothing for {LIMIT:?}:\n{}", self.last_words())
            }
        }
    }

    /// Tells the server one line on its stdin.
    pub(super) fn tell(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("stdin is piped");
        writeln!(stdin, "{line}").expect("the server reads its stdin");
    }

    fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Ends the server now, as a crash would.
    fn kill(&mut self) {
        self.child.kill().expect("a child of ours can be killed");
        self.child.wait().expect("a child of ours can be waited for");
    }

    /// Stops the server where it is (SIGSTOP): it keeps its connections and answers nothing.
    fn suspend(&mut self) {
        // The shell's own kill: not every machine has the program.
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("kill -STOP {}", self.child.id()));
        succeed(output(command));
        self.suspended = true;
        // The signal stops one thread after the other, each when it is next scheduled.
        let begun = Instant::now();
        while !self.is_stopped() {
            assert!(begun.elapsed() < LIMIT, "the server doesn't stop");
            std::thread::yield_now();
        }
    }

    /// Whether each of its threads is stopped.
    fn is_stopped(&self) -> bool {
        let tasks =
            fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("Linux' list of its threads");
        tasks.map_while(Result::ok).all(|task| {
            // `PID (NAME) STATE ...`
            fs::read_to_string(task.path().join("stat")).is_ok_and(|stat| {
                stat.rsplit_once(')')
                    .is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
            })
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.suspended {
            // It can't read its stdin, but it can be killed.
            let _ = self.child.kill();
        }
        drop(self.child.stdin.take());
        // The server closes its own within two seconds once stdin is closed, and cuts off what hangs; so this wait ends.
        let _ = self.child.wait();
    }
}

/// Who talks to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// Group system:masters.
    Admin,
    /// ClusterRole `view`, and may read the ConfigMap aws-auth. Not NodePools: Karpenter's chart aggregates into `admin` only.
    Viewer,
    /// Logged in, without any right of its own.
    Nobody,
}

impl User {
    /// The name by which the API server knows the user.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Viewer => "viewer",
            Self::Nobody => "nobody",
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadyApiServer {
    url: String,
    ca: String,
    version: String,
    tokens: BTreeMap<String, String>,
    audit_log: PathBuf,
}

/// A real kube-apiserver on a real etcd, empty but for what an API server makes by itself.
pub struct ApiServer {
    // Ended before its directory is removed: fields are dropped in this order.
    server: Server,
    ready: ReadyApiServer,
    dir: tempfile::TempDir,
    kubectl: PathBuf,
}

impl ApiServer {
    /// Starts one. It takes about three seconds and 300 MB.
    pub fn start(bed: &Testbed) -> Self {
        Self::start_with(bed, &[])
    }

    /// Starts one with further arguments of testbed-apiserver, such as `--token-webhook FILE`.
    pub fn start_with(bed: &Testbed, arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut command = bed.command("kube-apiserver", dir.path());
        command
            .arg("--audit-log")
            .arg(dir.path().join("audit.log"))
            .args(arguments);
        // Its own temporary directory goes where ours goes, even when it is killed.
        command.env("TMPDIR", dir.path());
        let server = Server::start(command, dir.path().join("apiserver.log"));
        let ready = server.next();
        let this = Self {
            server,
            ready,
            dir,
            kubectl: bed.path("kubectl").to_owned(),
        };
        for user in [User::Admin, User::Viewer, User::Nobody] {
            fs::write(
                this.own_kubeconfig(user),
                this.kubeconfig("testbed", this.token(user)),
            )
            .expect("a temporary file");
        }
        this
    }

    /// `https://127.0.0.1:PORT`
    pub fn url(&self) -> &str {
        &self.ready.url
    }

    /// Its CA, as PEM.
    pub fn ca(&self) -> &str {
        &self.ready.ca
    }

    /// Its version, such as `v1.36.3`.
    pub fn version(&self) -> &str {
        &self.ready.version
    }

    /// The bearer token of a user.
    pub fn token(&self, user: User) -> &str {
        &self.ready.tokens[user.name()]
    }

    /// A kubeconfig with one context, one cluster and one user, all named `name` (an EKS cluster's ARN, as `aws eks
    /// update-kubeconfig` names them), and a static token.
    pub fn kubeconfig(&self, name: &str, token: &str) -> String {
        self.kubeconfig_with(name, &serde_json::json!({ "token": token }))
    }

    /// The same with any user entry, such as one with an exec plugin.
    pub fn kubeconfig_with(&self, name: &str, user: &Value) -> String {
        kubeconfig(name, self.url(), self.ca(), user)
    }

    pub(super) fn own_kubeconfig(&self, user: User) -> PathBuf {
        self.dir.path().join(format!("{}.kubeconfig", user.name()))
    }

    /// Real kubectl, talking to this server as `user`.
    pub fn kubectl(&self, user: User) -> Command {
        let mut command = Command::new(&self.kubectl);
        command
            .env_clear()
            .env("HOME", self.dir.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("KUBECONFIG", self.own_kubeconfig(user));
        command
    }

    /// Stores objects as the admin does: YAML or JSON, several documents.
    pub fn apply(&self, manifest: &str) {
        let mut command = self.kubectl(User::Admin);
        command.args(["apply", "--server-side", "--force-conflicts", "-f", "-"]);
        succeed(run_with_stdin(command, manifest));
    }

    /// Stores the `status` of objects that are there; the custom resources have it as a subresource, as Karpenter's do.
    pub fn apply_status(&self, manifest: &str) {
        let mut command = self.kubectl(User::Admin);
        command.args([
            "apply",
            "--server-side",
            "--force-conflicts",
            "--subresource=status",
            "-f",
            "-",
        ]);
        succeed(run_with_stdin(command, manifest));
    }

    /// Installs definitions of `tests/testbed/crds`, such as `karpenter-v1`, and waits until they are served.
    pub fn install_crds(&self, file: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/testbed/crds/{file}.yaml"));
        let mut apply = self.kubectl(User::Admin);
        apply.args(["apply", "--server-side", "-f"]).arg(&path);
        succeed(output(apply));
        let mut wait = self.kubectl(User::Admin);
        wait.args(["wait", "--for=condition=Established", "--timeout=60s", "-f"])
            .arg(&path);
        succeed(output(wait));
    }

    /// Every request that `user` made so far, as the server's audit log has it.
    pub fn requests_of(&self, user: User) -> Vec<Request> {
        let log = fs::read_to_string(&self.ready.audit_log).expect("the audit log");
        let events = log
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("one JSON event a line"));
        let of_user = events.filter(|event| event["user"]["username"] == user.name());
        of_user
            .filter(|event| event["stage"] == "ResponseComplete")
            .map(|event| Request {
                verb: text(&event["verb"]),
                uri: text(&event["requestURI"]),
                status: event["responseStatus"]["code"].as_u64().unwrap_or(0),
            })
            .collect()
    }

    /// The requests of `user` that would change something, whether they were allowed or not. Reviews (of access, of oneself) are
    /// POSTs that store nothing, and don't count.
    pub fn writes_of(&self, user: User) -> Vec<Request> {
        let reads = ["get", "list", "watch"];
        let mut requests = self.requests_of(user);
        requests.retain(|request| {
            !reads.contains(&request.verb.as_str())
                && !request.uri.starts_with("/apis/authorization.k8s.io/")
                && !request.uri.starts_with("/apis/authentication.k8s.io/")
        });
        requests
    }

    /// Ends the server as a crash would; its address refuses connections from then on.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Stops it where it is (SIGSTOP): connections are taken and kept, and nothing is answered.
    pub fn suspend(&mut self) {
        self.server.suspend();
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        let address = self.url().trim_start_matches("https://");
        address.parse().expect("an address and a port")
    }
}

/// A kubeconfig with one context, cluster and user of this name.
pub fn kubeconfig(name: &str, server: &str, ca: &str, user: &Value) -> String {
    // JSON is YAML.
    serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{ "name": name, "cluster": { "server": server, "certificate-authority-data": base64(ca) } }],
        "users": [{ "name": name, "user": user }],
        "contexts": [{ "name": name, "context": { "cluster": name, "user": name } }],
    })
    .to_string()
}

/// As kubeconfigs and EKS have certificates.
pub fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// One request, as the audit log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `get`, `list`, `create`, ...
    pub verb: String,
    /// Path and query.
    pub uri: String,
    /// The HTTP status that was answered.
    pub status: u64,
}

#[derive(Deserialize)]
struct ReadyMoto {
    url: String,
    credentials: Credentials,
}

/// Keys of a session, as AssumeRole answers them.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Credentials {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
}

/// moto: AWS as people who have nothing to do with this project understand it. Empty at the start.
///
/// Where it differs from AWS the program is not bent to it: see `tests/testbed/README.md`.
pub struct Moto {
    server: Mutex<Server>,
    ready: ReadyMoto,
    dir: tempfile::TempDir,
    aws: PathBuf,
}

impl Moto {
    /// Starts one.
    pub fn start(bed: &Testbed) -> Self {
        Self::start_with(bed, &[])
    }

    /// Starts one on which Karpenter's controller can work (`tests/testbed/python/moto_karpenter.py`).
    pub fn start_for_karpenter(bed: &Testbed) -> Self {
        Self::start_with(bed, &["karpenter"])
    }

    fn start_with(bed: &Testbed, arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let python = bed.path("moto").with_file_name("python");
        let mut command = Command::new(python);
        command
            .env_clear()
            .env("HOME", dir.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        // With AWS's own managed policies, as moto's authors read them from AWS.
        command.env("MOTO_IAM_LOAD_MANAGED_POLICIES", "true");
        command
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testbed/python/moto_stand.py"))
            .arg(ACCOUNT)
            .args(arguments);
        let server = Server::start(command, dir.path().join("moto.log"));
        let ready = server.next();
        Self {
            server: Mutex::new(server),
            ready,
            dir,
            aws: bed.path("awscli").to_owned(),
        }
    }

    /// `http://127.0.0.1:PORT`, for AWS_ENDPOINT_URL.
    pub fn url(&self) -> &str {
        &self.ready.url
    }

    /// The environment that makes any AWS client talk to this moto as a session of the role `admin` of [`ACCOUNT`].
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let keys = &self.ready.credentials;
        vec![
            ("AWS_ENDPOINT_URL", self.url().to_owned()),
            ("AWS_ACCESS_KEY_ID", keys.access_key_id.clone()),
            ("AWS_SECRET_ACCESS_KEY", keys.secret_access_key.clone()),
            ("AWS_SESSION_TOKEN", keys.session_token.clone()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_DEFAULT_REGION", REGION.to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ]
    }

    /// Makes a call as boto3 names it, such as `("iam", "create_role", ...)`: the quick way to set the account up.
    ///
    /// # Panics
    /// When the call fails.
    #[track_caller]
    pub fn call(&self, service: &str, operation: &str, parameters: &Value) -> Value {
        let mut server = self.server.lock().expect("nobody panicked with it");
        server.tell(&serde_json::json!([service, operation, parameters]).to_string());
        let answer: Value = server.next();
        assert_eq!(answer.get("error"), None);
        answer
    }

    /// EKS says from now on that the cluster `demo` is this API server; it must have been created.
    pub fn cluster_is(&self, server: &ApiServer) {
        let place =
            serde_json::json!({ "name": "demo", "endpoint": server.url(), "ca": base64(server.ca()) });
        self.call("clusters", "is_at", &place);
    }

    /// Runs the real AWS CLI against it and returns what it answers (`null` for nothing).
    ///
    /// # Panics
    /// When the command fails.
    pub fn aws(&self, arguments: &[&str]) -> Value {
        let mut command = Command::new(&self.aws);
        command
            .env_clear()
            .env("HOME", self.dir.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
            .envs(self.environment())
            .env("AWS_PAGER", "")
            .args(arguments)
            .args(["--output", "json"]);
        let out = succeed(output(command));
        if out.trim().is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&out).expect("the AWS CLI prints JSON")
        }
    }
}

/// AWS keys and whose they are, as the authenticator's STS knows them.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    pub access_key_id: String,
    pub secret_access_key: String,
    /// Empty for a user's own keys.
    pub session_token: String,
    pub arn: String,
    pub account: String,
    pub user_id: String,
}

impl Identity {
    /// The keys of a role's session.
    pub fn session(account: &str, role: &str, session: &str) -> Self {
        Self {
            access_key_id: "ASIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: "session/token+of==this role".to_owned(),
            arn: format!("arn:aws:sts::{account}:assumed-role/{role}/{session}"),
            account: account.to_owned(),
            user_id: format!("AROAIOSFODNN7EXAMPLE:{session}"),
        }
    }

    /// The environment by which any AWS client has these keys.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ACCESS_KEY_ID", self.access_key_id.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.secret_access_key.clone()),
            ("AWS_SESSION_TOKEN", self.session_token.clone()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_DEFAULT_REGION", REGION.to_owned()),
            ("AWS_STS_REGIONAL_ENDPOINTS", "regional".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ]
    }
}

/// The real aws-iam-authenticator as an API server's token webhook. Its STS checks signatures and knows the given identities.
pub struct Authenticator {
    server: Server,
    webhook: WebhookConfig,
    // Removed last.
    _dir: tempfile::TempDir,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WebhookConfig {
    webhook_config: String,
}

/// What the authenticator's companion says when aws-auth was read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AwsAuthRead {
    #[serde(rename = "awsAuth")]
    _times: u32,
}

impl Authenticator {
    /// Makes its certificates and starts its STS. The authenticator itself starts with [`Authenticator::follow`].
    pub fn prepare(bed: &Testbed, cluster: &str, identities: &[Identity]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let known = dir.path().join("identities.json");
        fs::write(&known, serde_json::to_vec(identities).expect("plain data")).expect("a temporary file");
        let program = bed.path("aws-iam-authenticator");
        let mut command = Command::new(program.with_file_name("testbed-authenticator"));
        command
            .env_clear()
            .env("HOME", dir.path())
            .env("TMPDIR", dir.path());
        command
            .arg("--authenticator")
            .arg(program)
            .arg("--identities")
            .arg(&known)
            .args(["--cluster-id", cluster]);
        let server = Server::start(command, dir.path().join("authenticator.log"));
        let webhook = server.next();
        Self {
            server,
            webhook,
            _dir: dir,
        }
    }

    /// An API server that asks this authenticator about the tokens that it doesn't know.
    pub fn api_server(&self, bed: &Testbed) -> ApiServer {
        ApiServer::start_with(bed, &["--token-webhook", &self.webhook.webhook_config])
    }

    /// Starts the authenticator on the aws-auth of `server`, which must be there, and waits until it has read one. That may be
    /// an older one than the server's last, and it says so before it goes by it: what a test relies on it asks for [`until`] it is so.
    pub fn follow(&mut self, server: &ApiServer) {
        self.server
            .tell(&server.own_kubeconfig(User::Admin).to_string_lossy());
        self.server.next::<AwsAuthRead>();
    }
}

/// An OCI registry, and a chart repository beside it.
pub struct Registry {
    _server: Server,
    address: String,
}

#[derive(Deserialize)]
struct Listens {
    address: String,
}

impl Registry {
    /// Starts it; `charts` is the folder of the chart repository.
    pub fn start(bed: &Testbed, charts: &Path) -> Self {
        let mut command = Command::new(bed.path("oci-registry"));
        command.env_clear().arg(charts);
        let server = Server::start(command, charts.join("registry.log"));
        let Listens { address } = server.next();
        Self {
            _server: server,
            address,
        }
    }

    /// A reference in it, as helm takes it.
    pub fn oci(&self, path: &str) -> String {
        format!("oci://{}/{path}", self.address)
    }

    /// The chart repository.
    pub fn repository(&self) -> String {
        format!("http://{}/charts", self.address)
    }
}

/// Asks again and again, until it is so.
///
/// # Panics
/// When it takes longer than anything does that still works.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < end, "not within {LIMIT:?}: {what}");
    }
}

/// Runs a command to its end with nothing on stdin.
pub fn output(mut command: Command) -> Output {
    command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Runs a command to its end with `input` on stdin.
pub fn run_with_stdin(mut command: Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let out = child
        .wait_with_output()
        .expect("a child of ours can be waited for");
    // A program that ends without reading everything is judged by what it says, not by the pipe it broke.
    let _ = writer.join();
    out
}

/// The stdout of a command that must have succeeded.
///
/// # Panics
/// When it failed, with what it printed.
pub fn succeed(out: Output) -> String {
    let stdout = String::from_utf8_lossy(&out.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(
        out.status.success(),
        "{}\nstdout: {stdout}\nstderr: {stderr}",
        out.status
    );
    stdout
}
