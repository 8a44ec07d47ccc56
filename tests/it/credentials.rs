//! Credentials go where they belong: a token made here to the cluster that the person named, nothing of a Secret's to this machine's
//! profiles and programs, and nothing secret into the output.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use capt_spot_standin::{Kubernetes, Resource, Standin, User, scenario};
use serde_json::{Value, json};

use crate::support::program::Stage;

/// Somebody else's server: a cluster of the same name in a world of its own.
fn foreign() -> Standin {
    Standin::start(scenario::healthy()).expect("another world")
}

const COMMANDS: [&[&str]; 6] = [
    &["preflight", "-o", "json"],
    &[
        "preflight",
        "-o",
        "json",
        "--cluster-name",
        "demo",
        "--region",
        "eu-west-1",
    ],
    &["create-role", "--dry-run"],
    &["whois", "me", "-o", "json"],
    &["trust", "demo-admin", "--try", "-o", "json"],
    &["template", "check", "--from-cluster"],
];

#[test]
fn another_server_gets_no_token() {
    let stage = Stage::healthy();
    let foreign = foreign();
    let server = foreign.kubernetes_url(scenario::CLUSTER);
    let kubeconfig = stage.standin.kubeconfig(scenario::CLUSTER).server(&server);
    stage.write_kubeconfig(&kubeconfig);
    for command in COMMANDS {
        let ran = stage.run(command);
        let got = foreign.actions();
        assert!(got.is_empty(), "{command:?}: {got:?}");
        assert!(
            !ran.stdout.contains("k8s-aws-v1.") && !ran.stderr.contains("k8s-aws-v1."),
            "{command:?}"
        );
    }
    let ran = stage.preflight(&[]).expect(3);
    assert_eq!(ran.status("aws-auth-parses"), "unknown");
    let message = ran.message("aws-auth-parses");
    assert!(
        message.contains("127.0.0.1 gets no token: it is not the endpoint"),
        "{message}"
    );
}

#[test]
fn nobody_gets_a_token_while_the_endpoint_is_not_known() {
    let stage = Stage::healthy();
    stage
        .standin
        .fault("eks:DescribeCluster*", capt_spot_standin::Fault::Broken(500));
    let ran = stage.preflight(&["--request-timeout", "2s"]).expect(3);
    let message = ran.message("caller-mapped");
    assert!(message.contains("gets no token"), "{message}");
    let asked = stage.standin.actions();
    assert!(
        !asked.iter().any(|action| action.starts_with("kubernetes:")),
        "{asked:?}"
    );
}

const MANAGEMENT: &str = "management";

/// A stage whose management cluster has this kubeconfig for `prod/demo`.
fn managed(kubeconfig: &str) -> Stage {
    let mut world = scenario::healthy();
    let mut management = Kubernetes::new(MANAGEMENT);
    management
        .tokens
        .insert("admin".to_owned(), User::admin("kubernetes-admin"));
    management.install(Resource::custom(
        "controlplane.cluster.x-k8s.io",
        "v1beta1",
        "captcontrolplanes",
        "CAPTControlPlane",
        true,
    ));
    world.kubernetes.push(management);
    let stage = Stage::new(world);
    stage.write_kubeconfig(&stage.standin.kubeconfig(MANAGEMENT).kind("admin"));
    let own = stage.standin.kubernetes_url(scenario::CLUSTER);
    put_secret(&stage, &kubeconfig.replace("SERVER", &own));
    stage
}

fn put_secret(stage: &Stage, kubeconfig: &str) {
    let value = base64::engine::general_purpose::STANDARD.encode(kubeconfig);
    stage.standin.world(|world| {
        world.kubernetes(MANAGEMENT).put(json!({
            "apiVersion": "v1", "kind": "Secret", "type": "cluster.x-k8s.io/secret",
            "metadata": {"name": "demo-kubeconfig", "namespace": "prod"},
            "data": {"value": value},
        }));
    });
}

fn kubeconfig(cluster: &Value, exec: &Value) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "k", "cluster": cluster}],
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "users": [{"name": "u", "user": {"exec": exec}}],
    })
    .to_string()
}

fn get_token(args: &[&str], env: &Value) -> Value {
    let args: Vec<&str> = ["eks", "get-token"].iter().chain(args).copied().collect();
    json!({"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "aws", "args": args, "env": env})
}

const ON_DEMO: [&str; 4] = ["--capt", "demo", "-n", "prod"];

#[test]
fn a_secret_uses_nothing_of_this_machine() {
    // A profile that is not there, a role that may not be assumed, keys of somebody else: each would fail.
    let wild = get_token(
        &[
            "--cluster-name",
            "demo",
            "--region",
            "eu-west-1",
            "--profile",
            "prodadmin",
            "--role-arn",
            "arn:aws:iam::999999999999:role/none",
        ],
        &json!([{"name": "AWS_ACCESS_KEY_ID", "value": "AKIANOBODY"}, {"name": "AWS_SECRET_ACCESS_KEY", "value": "x"},
                {"name": "AWS_CONFIG_FILE", "value": "/etc/shadow"}]),
    );
    let stage = managed(&kubeconfig(&json!({"server": "SERVER"}), &wild));
    let ran = stage.preflight(&ON_DEMO).expect(0);
    assert_eq!(ran.json()["verdict"], "ready");
    let asked = stage.standin.actions();
    assert!(
        !asked.iter().any(|action| action == "sts:AssumeRole"),
        "{asked:?}"
    );
}

#[test]
fn a_secret_sends_no_token_elsewhere() {
    let exec = get_token(&["--cluster-name", "demo", "--region", "eu-west-1"], &json!([]));
    let stage = managed(&kubeconfig(&json!({"server": "SERVER"}), &exec));
    let foreign = foreign();
    let server = foreign.kubernetes_url(scenario::CLUSTER);
    put_secret(&stage, &kubeconfig(&json!({"server": server}), &exec));
    let ran = stage.preflight(&ON_DEMO).expect(3);
    assert!(ran.message("aws-auth-parses").contains("gets no token"));
    assert_eq!(foreign.actions(), [""; 0]);
    // A cluster that only the Secret names is not asked for a token either, wherever it is.
    let other = get_token(&["--cluster-name", "prod", "--region", "eu-west-1"], &json!([]));
    put_secret(&stage, &kubeconfig(&json!({"server": server}), &other));
    let ran = stage.preflight(&ON_DEMO).expect(1);
    assert!(
        ran.stderr.contains("only the Secret names the cluster \"prod\"")
            && ran.stderr.contains("--cluster-name"),
        "{}",
        ran.stderr
    );
    assert_eq!(foreign.actions(), [""; 0]);
}

#[test]
fn a_secret_does_not_switch_verification_off_for_a_token_made_here() {
    let exec = get_token(&["--cluster-name", "demo", "--region", "eu-west-1"], &json!([]));
    let cluster = json!({"server": "SERVER", "insecure-skip-tls-verify": true});
    let stage = managed(&kubeconfig(&cluster, &exec));
    let message = stage.preflight(&ON_DEMO).expect(3).message("aws-auth-parses");
    assert!(message.contains("insecure-skip-tls-verify"), "{message}");
}

/// The stage's kubeconfig with more in its cluster entry.
fn with_cluster(stage: &Stage, more: &str) {
    let text = stage.standin.kubeconfig(scenario::CLUSTER).yaml();
    let (before, after) = text.split_once("server: ").expect("a server");
    stage.write_kubeconfig_text(&format!("{before}{more}\n    server: {after}"));
}

#[test]
fn a_proxys_password_is_never_shown() {
    for proxy in [
        "ftp://user:hunter2@proxy.example",
        "http://user:hunter2@127.0.0.1:1",
        "socks5://user:hunter2@127.0.0.1:1",
    ] {
        let stage = Stage::healthy();
        with_cluster(&stage, &format!("proxy-url: {proxy}"));
        let facts = stage.home.path().join("facts.json");
        let ran = stage
            .preflight(&["-v", "--save", facts.to_str().expect("a name")])
            .expect(3);
        let saved = std::fs::read_to_string(facts).expect("saved");
        for text in [&ran.stdout, &ran.stderr, &saved] {
            assert!(!text.contains("hunter2"), "{proxy}: {text}");
        }
    }
}

/// A SOCKS5 proxy without authentication; counts its connections.
fn socks5() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            counted.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || -> std::io::Result<()> {
                let mut head = [0; 2];
                client.read_exact(&mut head)?;
                client.read_exact(&mut vec![0; usize::from(head[1])])?;
                client.write_all(&[5, 0])?;
                let mut asked = [0; 4];
                client.read_exact(&mut asked)?;
                let host = match asked[3] {
                    1 => {
                        let mut ip = [0; 4];
                        client.read_exact(&mut ip)?;
                        std::net::Ipv4Addr::from(ip).to_string()
                    }
                    _ => {
                        let mut length = [0];
                        client.read_exact(&mut length)?;
                        let mut name = vec![0; usize::from(length[0])];
                        client.read_exact(&mut name)?;
                        String::from_utf8_lossy(&name).into_owned()
                    }
                };
                let mut port = [0; 2];
                client.read_exact(&mut port)?;
                let mut server = TcpStream::connect((host.as_str(), u16::from_be_bytes(port)))?;
                client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
                let (mut from, mut to) = (server.try_clone()?, client.try_clone()?);
                std::thread::spawn(move || std::io::copy(&mut from, &mut to));
                std::io::copy(&mut client, &mut server)?;
                Ok(())
            });
        }
    });
    (format!("socks5://{address}"), count)
}

#[test]
fn a_socks5_proxy_is_used() {
    let (proxy, count) = socks5();
    let stage = Stage::healthy();
    with_cluster(&stage, &format!("proxy-url: {proxy}"));
    stage.preflight(&[]).expect(0);
    assert!(count.load(Ordering::SeqCst) > 0);
}

#[test]
fn a_servers_query_string_is_dropped() {
    let stage = Stage::healthy();
    let server = stage.standin.kubernetes_url(scenario::CLUSTER);
    let kubeconfig = stage.standin.kubeconfig(scenario::CLUSTER);
    stage.write_kubeconfig(&kubeconfig.server(&format!("{server}/?token=hunter2#hunter2")));
    let ran = stage.preflight(&["-v"]).expect(0);
    assert!(
        !ran.stdout.contains("hunter2") && !ran.stderr.contains("hunter2"),
        "{}",
        ran.stdout
    );
}

#[test]
fn what_is_not_verified_is_said() {
    let mut world = scenario::healthy();
    world.kubernetes(scenario::CLUSTER).tls = true;
    let stage = Stage::new(world);
    let kubeconfig = stage.standin.kubeconfig(scenario::CLUSTER).without_ca().yaml();
    let (before, after) = kubeconfig.split_once("server: ").expect("a server");
    stage.write_kubeconfig_text(&format!(
        "{before}insecure-skip-tls-verify: true\n    server: {after}"
    ));
    let ran = stage.preflight(&[]);
    assert_eq!(ran.status("aws-auth-parses"), "pass", "{}", ran.stdout);
    assert_eq!(ran.status("endpoint-matches"), "warn");
    assert!(
        ran.message("endpoint-matches")
            .contains("insecure-skip-tls-verify")
    );
}

#[test]
fn what_a_plugin_says_is_shown_without_what_looks_like_a_secret() {
    let stage = Stage::healthy();
    let said = "login failed for eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln, password=hunter2 wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    let script = format!("echo '{said}' >&2; exit 1");
    let kubeconfig = stage
        .standin
        .kubeconfig(scenario::CLUSTER)
        .command("sh", &["-c", &script]);
    stage.write_kubeconfig(&kubeconfig);
    let message = stage.preflight(&[]).expect(3).message("caller-mapped");
    assert!(message.contains("login failed for"), "{message}");
    for secret in ["eyJ", "hunter2", "wJalr"] {
        assert!(!message.contains(secret), "{message}");
    }
}
