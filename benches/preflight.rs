//! Speed, size and memory, printed and never judged: `make bench`.
//!
//! The preflight runs as a process against loopback stand-ins with 0 and 50 ms added to every answer, and is compared with
//! (a) the same requests sent concurrently by a bare client, a process too, each as soon as those that it depends on are
//! answered, and (b) the shell pipeline that people use today. The bare client neither signs nor parses, so it is a floor, and
//! one for which nothing depends on anything is printed beside it. Every ratio is of medians taken in this one run, taking turns.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use capt_spot_standin::{
    AccessEntry, AuthenticationMode, Call, Role, Standin, longest_chain, principal_trust, scenario,
};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_kubectl-capt_spot");

/// Set for the child that is the bare client: the file with the requests.
const BARE: &str = "CAPT_SPOT_BENCH_BARE";

/// Set for the child that runs one program, its arguments, and says on stderr how much memory that took at its peak.
const PEAK: &str = "CAPT_SPOT_BENCH_PEAK";

const RUNS: usize = 15;

fn main() {
    if let Some(file) = std::env::var_os(BARE) {
        bare_client(Path::new(&file));
        return;
    }
    if std::env::var_os(PEAK).is_some() {
        launcher();
        return;
    }
    let home = tempfile::tempdir().expect("a home");
    // `cargo bench --bench preflight -- fleet`
    if std::env::args().any(|argument| argument == "fleet") {
        fleet(home.path());
        return;
    }
    size_and_start();
    let waves = record(home.path());
    for delay in [0, 50] {
        against_bare_client(home.path(), &waves, Duration::from_millis(delay));
    }
    scale(home.path());
    access(home.path());
    against_shell(home.path());
    fleet(home.path());
}

struct Spread {
    min: Duration,
    median: Duration,
    max: Duration,
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |d: Duration| d.as_secs_f64() * 1000.0;
        write!(
            f,
            "{:8.1} ms  (min {:.1}, max {:.1})",
            ms(self.median),
            ms(self.min),
            ms(self.max)
        )
    }
}

fn spread(mut times: Vec<Duration>) -> Spread {
    times.sort_unstable();
    Spread {
        min: times[0],
        median: times[times.len() / 2],
        max: times[times.len() - 1],
    }
}

fn ratio(a: &Spread, b: &Spread) -> f64 {
    a.median.as_secs_f64() / b.median.as_secs_f64()
}

fn timed(command: &mut Command) -> Duration {
    let started = Instant::now();
    let output = command.stdin(Stdio::null()).output().expect("it starts");
    let took = started.elapsed();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    took
}

/// Peak memory of a run, in MiB.
///
/// A launcher starts it: the kernel counts what the process had before exec, and this one holds the stand-ins' worlds.
fn peak_mib(run: &Command) -> f64 {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.arg(run.get_program()).args(run.get_args()).env_clear();
    command.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command
        .env(PEAK, "1")
        .stdin(Stdio::null())
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    let bytes: f64 = said
        .lines()
        .last()
        .and_then(|line| line.parse().ok())
        .unwrap_or_else(|| panic!("no peak: {said}"));
    bytes / (1024.0 * 1024.0)
}

#[allow(clippy::print_stderr, reason = "what it was started for")]
fn launcher() {
    let mut args = std::env::args_os().skip(1);
    let program = args.next().expect("a program");
    let ran = Command::new(program)
        .args(args)
        .env_remove(PEAK)
        .stdout(Stdio::null())
        .status();
    ran.expect("it starts");
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN).expect("rusage");
    // Kilobytes on Linux, bytes on macOS.
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    eprintln!("{}", usage.max_rss() * unit);
}

fn size_and_start() {
    let bytes = std::fs::metadata(BINARY).expect("the binary").len();
    #[allow(clippy::cast_precision_loss, reason = "a printed figure")]
    let mib = bytes as f64 / (1024.0 * 1024.0);
    println!("binary               {mib:8.2} MiB");
    let times = (0..RUNS)
        .map(|_| timed(Command::new(BINARY).arg("--version").env_clear()))
        .collect();
    println!("--version            {}", spread(times));
}

fn preflight(standin: &Standin, home: &Path, kubeconfig: &Path) -> Command {
    program(&["preflight", "-o", "json"], standin, home, kubeconfig)
}

fn program(args: &[&str], standin: &Standin, home: &Path, kubeconfig: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command
        .args(args)
        .env_clear()
        .env("HOME", home)
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("KUBECONFIG", kubeconfig)
        .envs(standin.env());
    command
}

fn stage(standin: &Standin, home: &Path) -> PathBuf {
    let path = home.join("kubeconfig");
    std::fs::write(&path, standin.kubeconfig(scenario::CLUSTER).yaml()).expect("the kubeconfig");
    path
}

/// What the preflight asked, by waves: a request is in the wave after the last one that was answered before it was sent. Told
/// apart by a delay that nothing else takes.
struct Waves {
    calls: Vec<Call>,
    of: Vec<usize>,
}

fn record(home: &Path) -> Waves {
    let standin = Standin::start(scenario::healthy()).expect("the stand-ins");
    let kubeconfig = stage(&standin, home);
    standin.delay(Duration::from_millis(200));
    timed(&mut preflight(&standin, home, &kubeconfig));
    let mut calls = standin.calls();
    calls.sort_by_key(|call| call.started);
    let mut of: Vec<usize> = Vec::new();
    for (n, call) in calls.iter().enumerate() {
        let before = calls[..n].iter().zip(&of);
        let waited_for = before.filter(|(other, _)| other.ended.is_some_and(|ended| ended <= call.started));
        of.push(waited_for.map(|(_, wave)| wave + 1).max().unwrap_or(0));
    }
    Waves { calls, of }
}

fn against_bare_client(home: &Path, waves: &Waves, delay: Duration) {
    let standin = Standin::start(scenario::healthy()).expect("the stand-ins");
    let kubeconfig = stage(&standin, home);
    standin.delay(delay);
    let (in_waves, at_once) = (home.join("waves.json"), home.join("at-once.json"));
    let requests = |wave: &dyn Fn(usize) -> usize| requests(&standin, &waves.calls, wave).to_string();
    std::fs::write(&in_waves, requests(&|n| waves.of[n])).expect("the requests");
    std::fs::write(&at_once, requests(&|_| 0)).expect("the requests");
    let bare =
        |file: &Path| timed(Command::new(std::env::current_exe().expect("this program")).env(BARE, file));
    let (mut ours, mut dependent, mut floor) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        ours.push(timed(&mut preflight(&standin, home, &kubeconfig)));
        dependent.push(bare(&in_waves));
        floor.push(bare(&at_once));
    }
    let (ours, dependent, floor) = (spread(ours), spread(dependent), spread(floor));
    println!("\n{} ms added to every answer", delay.as_millis());
    println!("  preflight          {ours}");
    println!("  bare client (a)    {dependent}");
    println!("  ratio              {:8.2} times (a)", ratio(&ours, &dependent));
    println!("  all at once        {floor}");
    println!("  ratio              {:8.2} times that", ratio(&ours, &floor));
    println!("  requests           {:5}", waves.calls.len());
    if delay.is_zero() {
        println!(
            "  peak memory        {:8.1} MiB",
            peak_mib(&preflight(&standin, home, &kubeconfig))
        );
    } else {
        let chain = longest_chain(&waves.calls);
        println!(
            "  longest chain      {:5} requests that wait for one another: {}",
            chain.len(),
            names(&chain)
        );
        println!(
            "  delays in it       {:8.1}",
            ours.median.as_secs_f64() / delay.as_secs_f64()
        );
    }
}

fn names(chain: &[&Call]) -> String {
    chain
        .iter()
        .map(|call| call.action.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

/// The recorded requests for the bare client, each with its wave.
fn requests(standin: &Standin, calls: &[Call], wave: &dyn Fn(usize) -> usize) -> Value {
    let requests: Vec<Value> = calls
        .iter()
        .enumerate()
        .map(|(n, call)| {
            let kubernetes = call.kubernetes.is_some();
            let base = if kubernetes { standin.kubernetes_url(scenario::CLUSTER) } else { standin.aws_url() };
            let service = call.action.split(':').next().unwrap_or_default();
            let form = service == "iam" || service == "sts";
            let body = if form {
                let mut pairs = vec![format!("Action={}", call.action.split(':').nth(1).unwrap_or_default())];
                pairs.extend(call.parameters.iter().filter(|(name, _)| name != "Action").map(|(name, value)| {
                    format!("{name}={}", percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC))
                }));
                pairs.join("&")
            } else {
                String::new()
            };
            let path = if kubernetes && !call.parameters.is_empty() && !call.path.contains('?') {
                let query: Vec<String> = call.parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
                format!("{}?{}", call.path, query.join("&"))
            } else {
                call.path.clone()
            };
            json!({
                "address": base.trim_start_matches("http://"), "method": call.method, "path": path, "body": body, "wave": wave(n),
                "authorization": if kubernetes {
                    format!("Bearer {}", scenario::ADMIN_TOKEN)
                } else {
                    format!(
                        "AWS4-HMAC-SHA256 Credential={}/20260101/{}/{service}/aws4_request, SignedHeaders=host, Signature=0",
                        scenario::ACCESS_KEY, call.region
                    )
                }
            })
        })
        .collect();
    Value::Array(requests)
}

/// Wave after wave, each request on a connection and a thread of its own; every answer read to its end.
fn bare_client(file: &Path) {
    let text = std::fs::read_to_string(file).expect("the requests");
    let requests: Vec<Value> = serde_json::from_str(&text).expect("the requests");
    for wave in 0.. {
        let wave: Vec<&Value> = requests
            .iter()
            .filter(|request| request["wave"] == wave)
            .collect();
        if wave.is_empty() {
            return;
        }
        std::thread::scope(|scope| {
            for request in wave {
                scope.spawn(move || send(request));
            }
        });
    }
}

fn send(request: &Value) {
    let text = |key: &str| request[key].as_str().unwrap_or_default();
    let mut stream = TcpStream::connect(text("address")).expect("a connection");
    let body = text("body");
    let head = format!(
        "{} {} HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        text("method"),
        text("path"),
        text("address"),
        text("authorization"),
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("answered");
    assert!(!answer.is_empty());
}

/// 1,000 node pools, 10,000 node claims, 50,000 events, an aws-auth of a mebibyte.
fn scale(home: &Path) {
    let mut world = scenario::healthy();
    let kubernetes = world.kubernetes(scenario::CLUSTER);
    for n in 0..1000 {
        kubernetes.put(scenario::node_pool(&format!("pool-{n}"), &json!([])));
    }
    for n in 0..10_000 {
        kubernetes.put(json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
            "metadata": {"name": format!("claim-{n}"), "labels": {"karpenter.sh/nodepool": format!("pool-{}", n % 1000)}},
            "spec": {},
            "status": {"nodeName": format!("node-{n}"), "conditions": [
                {"type": "Launched", "status": "True", "reason": "Launched", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"},
                {"type": "Registered", "status": "True", "reason": "Registered", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
            ]}
        }));
    }
    for n in 0..50_000 {
        kubernetes.put(json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": format!("event-{n}"), "namespace": "default"},
            "involvedObject": {"kind": "Pod", "name": format!("pod-{n}"), "namespace": "default"},
            "reason": "Scheduled", "type": if n % 2 == 0 { "Warning" } else { "Normal" },
            "message": format!("Successfully assigned default/pod-{n} to a node"),
            "lastTimestamp": "2026-01-01T00:00:00Z"
        }));
    }
    let role = |n: usize| {
        format!(
            "- rolearn: arn:aws:iam::111122223333:role/role-{n}\n  username: user-{n}\n  groups: [group-{n}]\n"
        )
    };
    let mut map_roles = String::from(
        "- rolearn: arn:aws:iam::111122223333:role/demo-node\n  username: system:node:{{EC2PrivateDNSName}}\n  groups: [system:bootstrappers, system:nodes]\n",
    );
    let mut n = 0;
    while map_roles.len() < 1_000_000 {
        map_roles.push_str(&role(n));
        n += 1;
    }
    kubernetes.put_aws_auth(&[("mapRoles", map_roles.as_str())]);
    let standin = Standin::start(world).expect("the stand-ins");
    let kubeconfig = stage(&standin, home);
    let times: Vec<Duration> = (0..3)
        .map(|_| {
            let started = Instant::now();
            let output = preflight(&standin, home, &kubeconfig)
                .output()
                .expect("it starts");
            assert!(
                !output.stdout.is_empty(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            started.elapsed()
        })
        .collect();
    println!("\n1,000 node pools, 10,000 node claims, 50,000 events, 1 MiB of aws-auth");
    println!("  preflight          {}", spread(times));
    println!(
        "  peak memory        {:8.1} MiB",
        peak_mib(&preflight(&standin, home, &kubeconfig))
    );
}

/// A mebibyte of aws-auth, 2,000 access entries of 2,000 roles, 5,000 bindings.
fn access(home: &Path) {
    let mut world = scenario::karpenter_on_fargate(AuthenticationMode::ApiAndConfigMap);
    let account = world.account(scenario::ACCOUNT);
    account.add_spot_role();
    let trust = principal_trust(scenario::ACCOUNT);
    account
        .roles
        .extend((0..2_000).map(|n| Role::new(&format!("role-{n}"), trust.clone())));
    let arn = |n: usize| format!("arn:aws:iam::111122223333:role/role-{n}");
    let entries = &mut world.cluster(scenario::CLUSTER).access_entries;
    entries.extend((0..2_000).map(|n| AccessEntry::new(&arn(n), "STANDARD")));
    let kubernetes = world.kubernetes(scenario::CLUSTER);
    let mut map_roles = String::new();
    for n in 0.. {
        map_roles.push_str(&format!(
            "- rolearn: {}\n  username: user-{n}:{{{{SessionName}}}}\n  groups: [group-{n}, system:group-{}]\n",
            arn(n),
            n % 100
        ));
        if map_roles.len() > 1_000_000 {
            break;
        }
    }
    kubernetes.put_aws_auth(&[("mapRoles", map_roles.as_str())]);
    for n in 0..5_000 {
        let subject = match n % 3 {
            0 => json!({"kind": "User", "name": format!("user-{n}:jo")}),
            1 => json!({"kind": "Group", "name": format!("group-{n}")}),
            _ => json!({"kind": "Group", "name": format!("system:group-{}", n % 100)}),
        };
        kubernetes.put(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": format!("binding-{n}"), "namespace": format!("namespace-{}", n % 50)},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
            "subjects": [subject]
        }));
    }
    let standin = Standin::start(world).expect("the stand-ins");
    let kubeconfig = stage(&standin, home);
    println!("\n1 MiB of aws-auth, 2,000 access entries, 5,000 bindings");
    for verb in ["list", "migrate"] {
        let run = || program(&["access", verb, "-o", "json"], &standin, home, &kubeconfig);
        standin.clear_calls();
        let times: Vec<Duration> = (0..3)
            .map(|_| {
                let started = Instant::now();
                let output = run().output().expect("it starts");
                // A plan for so many roles that IAM does not have is one with losses.
                let code = output.status.code();
                assert!(
                    matches!(code, Some(0 | 1)),
                    "{code:?} {}",
                    String::from_utf8_lossy(&output.stderr)
                );
                started.elapsed()
            })
            .collect();
        println!("  access {verb:<12}{}", spread(times));
        println!("  requests           {:5}", standin.calls().len() / 3);
        println!("  peak memory        {:8.1} MiB", peak_mib(&run()));
    }
}

/// What people do today, one after the other.
fn against_shell(home: &Path) {
    let bed = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/testbed");
    let (aws, kubectl) = (bed.join("venv/bin/aws"), bed.join("bin/kubectl"));
    if !aws.exists() || !kubectl.exists() {
        println!("\nshell pipeline (b): not run: make testbed brings the AWS CLI and kubectl");
        return;
    }
    let mut world = scenario::healthy();
    // kubectl sends no credentials over plain HTTP.
    world.kubernetes(scenario::CLUSTER).tls = true;
    let standin = Standin::start(world).expect("the stand-ins");
    let kubeconfig = stage(&standin, home);
    let script = format!(
        "set -e\naws sts get-caller-identity\naws eks describe-cluster --name {0}\naws iam get-role --role-name AWSServiceRoleForEC2Spot\n\
         kubectl get configmap aws-auth -n kube-system -o yaml\nkubectl get nodepools,ec2nodeclasses -o yaml\n",
        scenario::CLUSTER
    );
    let path = std::env::join_paths([
        bed.join("venv/bin"),
        bed.join("bin"),
        "/usr/bin".into(),
        "/bin".into(),
    ])
    .expect("a PATH");
    let shell = || {
        let mut command = Command::new("sh");
        command
            .args(["-c", &script])
            .env_clear()
            .env("HOME", home)
            .env("PATH", &path)
            .env("AWS_PAGER", "")
            .env("KUBECONFIG", &kubeconfig)
            .envs(standin.env());
        command
    };
    let (mut ours, mut pipeline) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        ours.push(timed(&mut preflight(&standin, home, &kubeconfig)));
        pipeline.push(timed(&mut shell()));
    }
    let (ours, pipeline) = (spread(ours), spread(pipeline));
    println!("\nshell pipeline of aws and kubectl (b), 0 ms added, the cluster over TLS");
    println!("  preflight          {ours}");
    println!("  pipeline (b)       {pipeline}");
    println!(
        "  ratio              {:8.1} times faster than (b)",
        ratio(&pipeline, &ours)
    );
}

/// Many clusters of many accounts: how cost grows with them, against a run a cluster and against the shell loop of today.
#[allow(clippy::cast_precision_loss, reason = "printed figures")]
fn fleet(home: &Path) {
    const DELAY: Duration = Duration::from_millis(50);
    const PARALLEL: u32 = 16;
    println!("\nmany clusters, 50 ms added to every answer, {PARALLEL} at a time");
    let inventory = |accounts: usize, each: usize| {
        let clusters = (0..accounts).flat_map(|account| {
            (0..each).map(move |cluster| {
                let id = scenario::fleet_account(account);
                let role = format!("arn:aws:iam::{id}:role/{}", scenario::FLEET_ROLE);
                let name = scenario::fleet_cluster(account, cluster);
                json!({"account": id, "region": scenario::REGION, "name": name, "roleArn": role})
            })
        });
        let clusters: Vec<Value> = clusters.collect();
        json!({"apiVersion": "capt-spot/v1", "kind": "ClusterInventory", "clusters": clusters})
    };
    let file = home.join("inventory.json");
    let judge = |standin: &Standin, inventory: &Value, format: &str| {
        std::fs::write(&file, inventory.to_string()).expect("the inventory");
        let mut command = Command::new(BINARY);
        command
            .args(["preflight", "--output", format, "--clusters"])
            .arg(&file)
            .env_clear()
            .env("HOME", home)
            .envs(standin.env());
        command
    };
    let mut all = Duration::ZERO;
    for (accounts, each) in [(5, 2), (10, 10), (50, 20)] {
        let count = accounts * each;
        let standin = Standin::start(scenario::fleet(accounts, each)).expect("the stand-ins");
        standin.delay(DELAY);
        let inventory = inventory(accounts, each);
        let took = timed(&mut judge(&standin, &inventory, "ndjson"));
        let calls = standin.calls();
        let of_iam = calls
            .iter()
            .filter(|call| call.action.starts_with("iam:"))
            .count();
        let spot_roles = calls
            .iter()
            .filter(|call| call.long.ends_with("GetRole AWSServiceRoleForEC2Spot"))
            .count();
        let kubernetes = calls.iter().filter(|call| call.kubernetes.is_some()).count();
        let requests = u32::try_from(calls.len()).expect("a number");
        let ideal = DELAY * requests / PARALLEL;
        println!("  {count} clusters of {accounts} accounts");
        println!("    wall time        {:8.1} s", took.as_secs_f64());
        println!(
            "    of requests x latency / parallelism  {:.2}",
            took.as_secs_f64() / ideal.as_secs_f64()
        );
        println!(
            "    requests         {requests:8} ({} of AWS, {kubernetes} of Kubernetes), {:.1} a cluster",
            calls.len() - kubernetes,
            f64::from(requests) / count as f64
        );
        println!(
            "    of IAM           {:8.1} an account, GetRole of the Spot role {:.1}",
            of_iam as f64 / accounts as f64,
            spot_roles as f64 / accounts as f64
        );
        for format in ["ndjson", "text", "json"] {
            if count == 1000 || format == "ndjson" {
                let mib = peak_mib(&judge(&standin, &inventory, format));
                println!("    peak memory      {mib:8.1} MiB ({format})");
            }
        }
        all = took;
    }
    // A run a cluster: each reads the account anew.
    let standin = Standin::start(scenario::fleet(1, 1)).expect("the stand-ins");
    standin.delay(DELAY);
    let one = inventory(1, 1);
    let runs = spread(
        (0..RUNS)
            .map(|_| timed(&mut judge(&standin, &one, "ndjson")))
            .collect(),
    );
    let requests = standin.calls().len() / RUNS;
    let separate = runs.median * 1000;
    println!("  1,000 separate runs of this program, one after the other, from a sample of {RUNS}");
    println!(
        "    wall time        {:8.1} s, {requests} requests a cluster",
        separate.as_secs_f64()
    );
    println!(
        "    ratio            {:8.1} times as long as one run",
        separate.as_secs_f64() / all.as_secs_f64()
    );
    let bed = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/testbed");
    let (aws, kubectl) = (bed.join("venv/bin/aws"), bed.join("bin/kubectl"));
    if !aws.exists() || !kubectl.exists() {
        println!("  shell loop: not run: make testbed brings the AWS CLI and kubectl");
        return;
    }
    let mut world = scenario::healthy();
    world.kubernetes(scenario::CLUSTER).tls = true;
    let standin = Standin::start(world).expect("the stand-ins");
    standin.delay(DELAY);
    let script = format!(
        "set -e\naws iam get-role --role-name AWSServiceRoleForEC2Spot\n\
         aws eks update-kubeconfig --name {0} --kubeconfig loop\n\
         kubectl --kubeconfig loop get configmap aws-auth -n kube-system -o yaml\n\
         kubectl --kubeconfig loop get nodepools,ec2nodeclasses -o yaml\n",
        scenario::CLUSTER
    );
    let path = std::env::join_paths([
        bed.join("venv/bin"),
        bed.join("bin"),
        "/usr/bin".into(),
        "/bin".into(),
    ])
    .expect("a PATH");
    let shell = || {
        let mut command = Command::new("sh");
        command
            .args(["-c", &script])
            .current_dir(home)
            .env_clear()
            .env("HOME", home)
            .env("PATH", &path)
            .env("AWS_PAGER", "")
            .envs(standin.env());
        command
    };
    let loops = spread((0..3).map(|_| timed(&mut shell())).collect());
    let thousand = loops.median * 1000;
    println!("  shell loop of aws and kubectl, which reads four things a cluster, from a sample of 3");
    println!("    wall time        {:8.1} s", thousand.as_secs_f64());
    println!(
        "    ratio            {:8.1} times as long as one run",
        thousand.as_secs_f64() / all.as_secs_f64()
    );
}
