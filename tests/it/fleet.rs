//! Many clusters in one run: what is read once, what is streamed, and that no cluster hides or delays another.

use std::collections::BTreeMap;
use std::path::PathBuf;

use capt_spot_standin::{Because, Fault, scenario};
use serde_json::{Value, json};

use crate::support::program::{Ran, Stage};

/// The stand-in of an organization, and the inventory of it.
struct Fleet {
    stage: Stage,
    accounts: usize,
    clusters: usize,
}

impl Fleet {
    fn new(accounts: usize, clusters: usize) -> Self {
        Self {
            stage: Stage::without_kubeconfig(scenario::fleet(accounts, clusters)),
            accounts,
            clusters,
        }
    }

    /// Every cluster, in the order of accounts, each reached by its account's role.
    fn inventory(&self) -> Value {
        let entries = (0..self.accounts).flat_map(|account| {
            (0..self.clusters).map(move |cluster| {
                let id = scenario::fleet_account(account);
                json!({
                    "account": id,
                    "region": scenario::REGION,
                    "name": scenario::fleet_cluster(account, cluster),
                    "roleArn": format!("arn:aws:iam::{id}:role/{}", scenario::FLEET_ROLE),
                })
            })
        });
        json!({
            "apiVersion": "capt-spot/v1",
            "kind": "ClusterInventory",
            "clusters": entries.collect::<Vec<_>>(),
        })
    }

    fn write(&self, inventory: &Value) -> PathBuf {
        let path = self.stage.home.path().join("inventory.json");
        std::fs::write(&path, inventory.to_string()).expect("written");
        path
    }

    /// Judges them all.
    fn judge(&self, more: &[&str]) -> Ran {
        let path = self.write(&self.inventory());
        let args = [&["preflight", "--clusters", path.to_str().expect("a path")], more];
        self.stage.run(&args.concat())
    }

    /// How often an action was asked for in each account.
    fn asked(&self, action: &str) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for call in self.stage.standin.calls() {
            if call.long.starts_with(action) {
                let caller = call.caller.unwrap_or_default();
                let account = caller.split(':').nth(4).unwrap_or_default().to_owned();
                *counts.entry(account).or_default() += 1;
            }
        }
        counts
    }
}

fn verdicts(ran: &Ran) -> Vec<(String, String)> {
    let list = ran.json();
    let items = list["items"].as_array().expect("items");
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    items
        .iter()
        .map(|item| (text(&item["target"]["cluster"]), text(&item["verdict"])))
        .collect()
}

#[test]
fn what_belongs_to_an_account_is_read_once() {
    let fleet = Fleet::new(2, 3);
    let ran = fleet.judge(&["-o", "json"]).expect(0);
    let all: Vec<(String, String)> = (0..2)
        .flat_map(|account| (0..3).map(move |n| (scenario::fleet_cluster(account, n), "ready".to_owned())))
        .collect();
    assert_eq!(verdicts(&ran), all, "every cluster, in order");
    for action in [
        "iam:GetRole AWSServiceRoleForEC2Spot",
        "iam:ListAttachedRolePolicies AWSServiceRoleForEC2Spot",
        "sts:GetCallerIdentity",
        "servicequotas:GetServiceQuota",
    ] {
        let of_fleet: Vec<usize> = fleet
            .asked(action)
            .into_iter()
            .filter(|(account, _)| account != scenario::ACCOUNT)
            .map(|(_, count)| count)
            .collect();
        assert_eq!(of_fleet, [1, 1], "{action}");
    }
    assert_eq!(fleet.asked("sts:AssumeRole").values().sum::<usize>(), 2);
    for cluster in 0..3 {
        let name = scenario::fleet_cluster(0, cluster);
        let described = fleet.asked(&format!("eks:DescribeCluster {name}"));
        assert_eq!(described.values().sum::<usize>(), 1, "{name}");
    }
    let mut by_action: BTreeMap<String, usize> = BTreeMap::new();
    for call in fleet.stage.standin.calls() {
        *by_action.entry(call.action).or_default() += 1;
    }
    insta::assert_json_snapshot!(by_action);
}

/// A world in which much is wrong, in different ways.
fn troubled() -> Fleet {
    let fleet = Fleet::new(5, 2);
    fleet.stage.standin.world(|world| {
        // Two accounts lack the role, in a third the caller may not ask IAM.
        for n in [1, 2] {
            let account = world.account(&scenario::fleet_account(n));
            account
                .roles
                .retain(|role| role.name != "AWSServiceRoleForEC2Spot");
        }
        let denied = world.account(&scenario::fleet_account(3));
        denied.role_mut(scenario::FLEET_ROLE).session_denied = vec![capt_spot_standin::Denial {
            action: "iam:*".to_owned(),
            resource: None,
            because: Because::NoIdentityPolicy,
        }];
        // The fourth has no such role to take on.
        let account = world.account(&scenario::fleet_account(4));
        account.roles.retain(|role| role.name != scenario::FLEET_ROLE);
        // A private endpoint, from a network that does not reach it.
        world.cluster(&scenario::fleet_cluster(0, 1)).endpoint =
            capt_spot_standin::Endpoint::Is("http://127.0.0.1:9".to_owned());
    });
    fleet
}

#[test]
fn an_overview_of_many_clusters() {
    let mut fleet = troubled();
    let steady = |text: &str| {
        let ports = regex_lite::Regex::new(r"127\.0\.0\.1:[0-9]+").expect("a pattern");
        ports.replace_all(text, "127.0.0.1:PORT").into_owned()
    };
    for columns in ["80", "120", "40"] {
        fleet.stage.set("COLUMNS", columns);
        let ran = fleet.judge(&[]).expect(1);
        insta::assert_snapshot!(format!("overview_{columns}"), steady(&ran.stdout));
    }
    let ran = fleet.judge(&["-o", "json"]).expect(1);
    let of: BTreeMap<String, String> = verdicts(&ran).into_iter().collect();
    let said = |account, n| of[&scenario::fleet_cluster(account, n)].as_str();
    assert_eq!(said(0, 0), "ready");
    assert_eq!(
        said(0, 1),
        "undecided",
        "AWS's side is judged, the rest is unknown"
    );
    let list = ran.json();
    let private = &list["items"][1];
    let status = |id: &str| {
        let checks = private["checks"].as_array().expect("checks");
        let check = checks.iter().find(|check| check["id"] == id).expect("the check");
        check["status"].as_str().expect("a status").to_owned()
    };
    assert_eq!(status("spot-role-exists"), "pass");
    assert_eq!(status("cluster-found"), "pass");
    assert_eq!(status("aws-auth-parses"), "unknown");
    assert_eq!((said(1, 0), said(2, 1)), ("not-ready", "not-ready"));
    assert_eq!((said(3, 0), said(4, 0)), ("undecided", "undecided"));
}

#[test]
fn no_cluster_hides_another() {
    let fleet = Fleet::new(4, 2);
    let standin = &fleet.stage.standin;
    // One account throttled, one API server that takes connections and says nothing, one region's quotas without an answer.
    standin.fault(
        &format!("iam:* of {}", scenario::fleet_account(0)),
        Fault::Throttled,
    );
    standin.fault(
        &format!("kubernetes:* of {}", scenario::fleet_cluster(1, 0)),
        Fault::Hang,
    );
    standin.fault(
        &format!("servicequotas:* of {}", scenario::fleet_account(2)),
        Fault::Hang,
    );
    let ran = fleet.judge(&["-o", "json", "--request-timeout", "2s"]).expect(3);
    let words: Vec<String> = verdicts(&ran).into_iter().map(|(_, verdict)| verdict).collect();
    assert_eq!(
        words,
        [
            "undecided",
            "undecided",
            "undecided",
            "ready",
            "ready",
            "ready",
            "ready",
            "ready"
        ]
    );
    // The server that never answered was not asked again and again.
    let hung = fleet.stage.standin.calls();
    let hung = hung
        .iter()
        .filter(|call| call.ended.is_none() && call.kubernetes.is_some());
    assert!(hung.count() < 25);
}

#[test]
fn results_stream_and_shards_add_up() {
    let fleet = Fleet::new(5, 2);
    let mut names = Vec::new();
    for index in 0..3 {
        let shard = format!("{index}/3");
        let ran = fleet.judge(&["-o", "ndjson", "--shard", &shard]);
        let lines: Vec<Value> = ran
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        let (last, reports) = lines.split_last().expect("a last line");
        assert_eq!(last["kind"], "PreflightShard");
        assert_eq!(last["shard"], json!({"index": index, "of": 3}));
        assert_eq!(last["items"], reports.len());
        let accounts: std::collections::BTreeSet<&str> = reports
            .iter()
            .filter_map(|report| report["target"]["account"].as_str())
            .collect();
        assert_eq!(reports.len(), 2 * accounts.len(), "an account is in one shard");
        names.extend(
            reports
                .iter()
                .map(|report| report["target"]["cluster"].as_str().expect("a name").to_owned()),
        );
        let json = fleet.judge(&["-o", "json", "--shard", &shard]).json();
        assert_eq!(json["shard"], last["shard"]);
        assert_eq!(json["items"].as_array().map(Vec::len), Some(reports.len()));
    }
    names.sort_unstable();
    let all: Vec<String> = (0..5)
        .flat_map(|account| (0..2).map(move |n| scenario::fleet_cluster(account, n)))
        .collect();
    assert_eq!(names, all);
    let empty = (0..40)
        .map(|index| fleet.judge(&["-o", "ndjson", "--shard", &format!("{index}/40")]))
        .find(|ran| ran.stdout.lines().count() == 1)
        .expect("five accounts leave shards without any")
        .expect(0);
    assert!(empty.stderr.contains("no account"), "{}", empty.stderr);
    for (shard, says) in [("3/3", "does not exist"), ("0", "not I/N"), ("0/0", "0 shards")] {
        let ran = fleet.judge(&["--shard", shard]).expect(2);
        assert!(ran.stderr.contains(says), "{}", ran.stderr);
    }
}

#[test]
fn bad_inventories_are_refused_and_nothing_is_asked() {
    let fleet = Fleet::new(1, 1);
    let mut twice = fleet.inventory();
    let first = twice["clusters"][0].clone();
    twice["clusters"].as_array_mut().expect("a list").push(first);
    let mut version = fleet.inventory();
    version["apiVersion"] = json!("capt-spot/v2");
    let mut partition = fleet.inventory();
    partition["clusters"][0]["partition"] = json!("aws-moon");
    let mut said = Vec::new();
    for inventory in [&twice, &version, &partition, &json!([])] {
        let path = fleet.write(inventory);
        let ran = fleet
            .stage
            .run(&["preflight", "--clusters", path.to_str().expect("a path")])
            .expect(1);
        assert_eq!(ran.stdout, "");
        said.push(
            ran.stderr
                .replace(&fleet.stage.home.path().display().to_string(), "HOME"),
        );
    }
    let path = fleet.write(&fleet.inventory());
    let path = path.to_str().expect("a path");
    for args in [
        &["preflight", "--clusters", "/no/such/file"][..],
        &["preflight", "--clusters", path, "--cluster-name", "demo"],
    ] {
        said.push(fleet.stage.run(args).stderr);
    }
    for args in [
        &["preflight", "--clusters", path, "--contexts", "*"][..],
        &["preflight", "--clusters", path, "--yes"],
        &["preflight", "--clusters", path, "--parallel", "0"],
        &["preflight", "--all-contexts", "--shard", "0/2"],
    ] {
        fleet.stage.run(args).expect(2);
    }
    insta::assert_snapshot!(said.join("\n"));
    assert_eq!(fleet.stage.standin.actions(), [""; 0]);
}

#[test]
fn saved_facts_are_a_file_a_cluster() {
    let fleet = Fleet::new(1, 2);
    let folder = fleet.stage.home.path().join("facts");
    let ran = fleet
        .judge(&["-o", "json", "--save", folder.to_str().expect("a path")])
        .expect(0);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    assert_eq!(files.len(), 2);
    for (n, file) in files.iter().enumerate() {
        let again = fleet
            .stage
            .run(&[
                "preflight",
                "-o",
                "json",
                "--from",
                file.to_str().expect("a path"),
            ])
            .expect(0);
        assert_eq!(again.json()["checks"], ran.json()["items"][n]["checks"]);
    }
}

/// A run that was interrupted says what is known, and names the rest.
#[cfg(unix)]
#[test]
fn ctrl_c_prints_what_is_known() {
    use std::io::{BufRead as _, BufReader, Read as _};
    let fleet = Fleet::new(2, 1);
    let hung = scenario::fleet_cluster(1, 0);
    fleet
        .stage
        .standin
        .fault(&format!("kubernetes:* of {hung}"), Fault::Hang);
    let path = fleet.write(&fleet.inventory());
    let list = fleet.stage.home.path().join("list.json");
    let report = format!("json={}", list.display());
    let mut command = fleet.stage.command(&[
        "preflight",
        "--clusters",
        path.to_str().expect("a path"),
        "-o",
        "ndjson",
        "--request-timeout",
        "0",
        "--overall-timeout",
        "0",
        "--report",
        &report,
    ]);
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("its output"));
    let mut first = String::new();
    stdout.read_line(&mut first).expect("a line");
    let first: Value = serde_json::from_str(&first).expect("JSON");
    assert_eq!(first["verdict"], "ready");
    let kill = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(kill.expect("kill").success());
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).expect("the rest");
    assert_eq!(rest, "");
    assert_eq!(child.wait().expect("its end").code(), Some(130));
    let list: Value = serde_json::from_str(&std::fs::read_to_string(&list).expect("the list")).expect("JSON");
    assert_eq!(list["items"][0]["verdict"], "ready");
    assert_eq!(list["items"][1]["target"]["cluster"], json!(hung));
    let error = list["items"][1]["error"].as_str().expect("an error");
    assert!(error.contains("interrupted"), "{error}");
}

#[test]
fn an_inventory_s_context_is_taken_where_the_kubeconfig_has_it() {
    let stage = Stage::healthy();
    let inventory = stage.run(&["fleet", "list", "-o", "json"]).expect(0).json();
    let context = inventory["clusters"][0]["context"].as_str().expect("a context");
    assert_eq!(inventory["clusters"][0]["account"], scenario::ACCOUNT);
    let path = stage.home.path().join("inventory.json");
    std::fs::write(&path, inventory.to_string()).expect("written");
    let path = path.to_str().expect("a path");
    let judged = |stage: &Stage| {
        let ran = stage.run(&["preflight", "--clusters", path, "-o", "json"]);
        ran.expect(0).json()["items"][0]["target"].clone()
    };
    assert_eq!(judged(&stage)["context"], context);
    // Without it the cluster is found by EKS.
    std::fs::remove_file(stage.kubeconfig()).expect("removed");
    let target = judged(&stage);
    assert_eq!(target["context"], target["arn"]);
    assert_eq!(target["server"], stage.standin.kubernetes_url(scenario::CLUSTER));
    // A context that leads elsewhere by now is not judged under the inventory's name.
    let mut other = inventory.clone();
    other["clusters"][0]["name"] = json!("other");
    other["clusters"][0]["arn"] = Value::Null;
    std::fs::write(path, other.to_string()).expect("written");
    stage.write_kubeconfig(&stage.standin.kubeconfig(scenario::CLUSTER));
    let ran = stage
        .run(&["preflight", "--clusters", path, "-o", "json"])
        .expect(1);
    let error = ran.json()["items"][0]["error"].clone();
    assert!(
        error
            .as_str()
            .is_some_and(|error| error.contains("the inventory says other")),
        "{error}"
    );
}

#[test]
fn clusters_of_accounts_with_what_could_not_be_listed() {
    let fleet = troubled();
    let standin = &fleet.stage.standin;
    standin.world(|world| {
        let mut far = world.account(&scenario::fleet_account(0)).clusters[0].clone();
        far.region = "us-east-1".to_owned();
        far.name = "far".to_owned();
        world.account(&scenario::fleet_account(0)).clusters.push(far);
        let denied = world.account(&scenario::fleet_account(3));
        denied.role_mut(scenario::FLEET_ROLE).session_denied = vec![capt_spot_standin::Denial {
            action: "eks:ListClusters".to_owned(),
            resource: None,
            because: Because::ServiceControlPolicy(None),
        }];
    });
    standin.fault("eks:ListClusters ap-south-1", Fault::Hang);
    let accounts = fleet.stage.home.path().join("accounts");
    let ids: Vec<String> = (0..5)
        .map(|n| format!("{} team-{n}", scenario::fleet_account(n)))
        .collect();
    std::fs::write(&accounts, ids.join("\n")).expect("written");
    let list = |more: &[&str]| {
        let args = [
            &[
                "fleet",
                "list",
                "--accounts",
                accounts.to_str().expect("a path"),
                "--role-name",
                scenario::FLEET_ROLE,
                "--external-id",
                "x-1",
                "--session-tag",
                "team=platform",
                "--regions",
                "eu-west-1,us-east-1,ap-south-1",
                "--request-timeout",
                "2s",
            ],
            more,
        ];
        fleet.stage.run(&args.concat())
    };
    let ran = list(&[]).expect(3);
    insta::assert_snapshot!("listed", ran.stdout);
    let mut inventory = list(&["-o", "json"]).expect(3).json();
    for field in ["generatedAt", "tool", "$schema"] {
        inventory[field] = json!("...");
    }
    inventory["clusters"]
        .as_array_mut()
        .expect("clusters")
        .truncate(2);
    insta::assert_json_snapshot!("inventory", inventory);
    let assumed = standin.calls();
    let assumed = assumed
        .iter()
        .find(|call| call.action == "sts:AssumeRole")
        .expect("a role was taken on");
    for (name, value) in [
        ("ExternalId", "x-1"),
        ("Tags.member.1.Key", "team"),
        ("Tags.member.1.Value", "platform"),
    ] {
        assert_eq!(assumed.parameter(name), Some(value));
    }
    // What could not be listed is not passed over when the inventory is judged.
    let path = fleet.stage.home.path().join("listed.json");
    std::fs::write(&path, list(&["-o", "json"]).stdout).expect("written");
    let judged = fleet.stage.run(&[
        "preflight",
        "--clusters",
        path.to_str().expect("a path"),
        "-o",
        "json",
        "--request-timeout",
        "2s",
    ]);
    let list = judged.json();
    let unlisted: Vec<&str> = list["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter(|item| item["error"].is_string() && item["target"]["cluster"].is_null())
        .filter_map(|item| item["target"]["context"].as_str())
        .collect();
    assert_eq!(unlisted.len(), 3 + 3 + 1, "{unlisted:?}");
}

#[test]
fn wrong_uses_of_fleet_list() {
    let stage = Stage::healthy();
    let file = stage.home.path().join("accounts");
    std::fs::write(&file, "12345\n").expect("written");
    let file = file.to_str().expect("a path");
    let mut said = Vec::new();
    for (args, code) in [
        (&["--contexts", "nothing-*"][..], 1),
        (&["--accounts", "/no/such/file"], 1),
        (&["--accounts", file], 1),
        (&["--organization", "--accounts", file], 2),
        (&["--organization", "--role-name", "a b"], 2),
        (&["--organization", "--regions", "moon"], 2),
        (&["--organization", "--external-id", "x"], 2),
        (&["-o", "junit"], 2),
        (&["--cluster-api"], 1),
    ] {
        let ran = stage.run(&[&["fleet", "list"], args].concat()).expect(code);
        let first = ran.stderr.lines().next().unwrap_or_default();
        said.push(first.replace(&stage.home.path().display().to_string(), "HOME"));
    }
    insta::assert_snapshot!(said.join("\n"));
}

/// An organization on moto, which other people wrote: its accounts by ListAccounts, their regions by DescribeRegions, a role in each.
#[test]
fn an_organization_on_moto() {
    use crate::support::testbed::{ACCOUNT, Moto, Testbed};
    let Some(bed) = Testbed::require(&["moto", "awscli"]) else {
        return;
    };
    let moto = Moto::start(&bed);
    moto.call(
        "organizations",
        "create_organization",
        &json!({"FeatureSet": "ALL"}),
    );
    let mut ids = Vec::new();
    for name in ["payments", "search", "closed"] {
        let email = format!("{name}@example.com");
        let made = moto.call(
            "organizations",
            "create_account",
            &json!({"AccountName": name, "Email": email}),
        );
        let id = made["CreateAccountStatus"]["AccountId"]
            .as_str()
            .expect("an id")
            .to_owned();
        ids.push(id);
    }
    moto.call("organizations", "close_account", &json!({"AccountId": ids[2]}));
    for (id, region, cluster) in [
        (ids[0].as_str(), "eu-west-1", "checkout"),
        (&ids[0], "us-east-1", "ledger"),
        (&ids[1], "eu-west-1", "index"),
        (ACCOUNT, "eu-west-1", "hub"),
    ] {
        let cluster = json!({
            "name": cluster, "roleArn": format!("arn:aws:iam::{id}:role/cluster"),
            "resourcesVpcConfig": { "subnetIds": ["subnet-1"] }
        });
        moto.call(&format!("eks {id} {region}"), "create_cluster", &cluster);
        for name in ["reader", "cluster"] {
            let trust = crate::e2e::trusting(&json!({"AWS": format!("arn:aws:iam::{ACCOUNT}:root")}));
            let role = json!({"RoleName": name, "AssumeRolePolicyDocument": trust});
            if region == "eu-west-1" {
                moto.call(&format!("iam {id} {region}"), "create_role", &role);
            }
        }
    }
    let mut stage = Stage::healthy();
    for (name, value) in moto.environment() {
        stage.set(name, &value);
    }
    std::fs::remove_file(stage.kubeconfig()).expect("removed");
    let ran = stage
        .run(&[
            "fleet",
            "list",
            "--organization",
            "--role-name",
            "reader",
            "-o",
            "json",
        ])
        .expect(0);
    let inventory = ran.json();
    let mut found: Vec<(String, String, String)> = inventory["clusters"]
        .as_array()
        .expect("clusters")
        .iter()
        .map(|entry| {
            let text = |name: &str| entry[name].as_str().expect("a text").to_owned();
            assert_eq!(entry["roleArn"].is_null(), text("account") == ACCOUNT, "{entry}");
            (text("account"), text("region"), text("name"))
        })
        .collect();
    found.sort();
    let mut wanted: Vec<(String, String, String)> = [
        (ids[0].as_str(), "eu-west-1", "checkout"),
        (&ids[0], "us-east-1", "ledger"),
        (&ids[1], "eu-west-1", "index"),
        (ACCOUNT, "eu-west-1", "hub"),
    ]
    .map(|(account, region, name)| (account.to_owned(), region.to_owned(), name.to_owned()))
    .to_vec();
    wanted.sort();
    assert_eq!(found, wanted);
    let problems = inventory["problems"].as_array().expect("problems");
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0]["kind"], "suspended");
    assert_eq!(problems[0]["account"], json!(ids[2]));
    // The clusters' own API servers are moto's invention: AWS's side is judged, account by account.
    let path = stage.home.path().join("inventory.json");
    std::fs::write(&path, &ran.stdout).expect("written");
    let judged = stage.run(&[
        "preflight",
        "--clusters",
        path.to_str().expect("a path"),
        "-o",
        "json",
        "--request-timeout",
        "2s",
    ]);
    for item in judged.json()["items"].as_array().expect("items") {
        let caller = item["caller"]["account"].as_str().expect("an account");
        assert_eq!(item["target"]["account"], caller, "{}", item["target"]);
        let checks = item["checks"].as_array().expect("checks");
        let status = |id: &str| checks.iter().find(|check| check["id"] == id).expect("it")["status"].clone();
        assert_eq!(
            (status("cluster-found"), status("spot-role-exists")),
            (json!("pass"), json!("fail"))
        );
        assert_eq!(status("aws-auth-parses"), "unknown");
    }
    // Without an organization, and without the right to see it.
    let ran = stage
        .run(&["fleet", "list", "--organization", "--profile", "none"])
        .expect(1);
    assert!(ran.stderr.contains("could not be listed"), "{}", ran.stderr);
}

/// Fewer requests, the same findings.
#[test]
fn among_many_a_cluster_is_judged_as_alone() {
    let before = || {
        let mut world = scenario::healthy();
        let kubernetes = world.kubernetes(scenario::CLUSTER);
        kubernetes.uninstall("karpenter.sh", "v1");
        kubernetes.uninstall("karpenter.k8s.aws", "v1");
        kubernetes.clear("apps/v1", "deployments");
        world
    };
    let viewer = || {
        let mut world = before();
        let kubernetes = world.kubernetes(scenario::CLUSTER);
        let viewer = kubernetes.tokens[scenario::VIEW_TOKEN].clone();
        kubernetes.principals.insert(
            format!("arn:aws:iam::{}:user/platform-admin", scenario::ACCOUNT),
            viewer,
        );
        world
    };
    let without_identity = || {
        let mut world = scenario::healthy();
        world.kubernetes(scenario::CLUSTER).change(
            "v1",
            "serviceaccounts",
            "karpenter",
            "karpenter",
            |account| {
                account["metadata"]["annotations"] = json!({});
            },
        );
        world
    };
    for (name, world) in [
        ("healthy", scenario::healthy()),
        ("fresh", scenario::fresh_account_karpenter_on_fargate()),
        ("before the installation", before()),
        ("a viewer", viewer()),
        ("no identity", without_identity()),
    ] {
        let stage = Stage::new(world);
        let alone = stage.preflight(&[]).json();
        let among = stage.preflight(&["--all-contexts"]).json();
        for field in ["checks", "verdict", "target", "caller", "phase"] {
            assert_eq!(alone[field], among["items"][0][field], "{name}: {field}");
        }
    }
}

#[test]
fn contexts_of_one_identity_share_what_is_the_account_s() {
    let stage = Stage::with_a_second_context();
    let count = |stage: &Stage, action: &str| {
        let calls = stage.standin.calls();
        calls.iter().filter(|call| call.long.starts_with(action)).count()
    };
    stage.preflight(&["--all-contexts"]).expect(0);
    for action in [
        "iam:GetRole AWSServiceRoleForEC2Spot",
        "iam:GetRole demo-node",
        "sts:GetCallerIdentity",
        "servicequotas:GetServiceQuota",
    ] {
        assert_eq!(count(&stage, action), 1, "{action}");
    }
    // A finding names its source, whoever read it first.
    stage.standin.clear_calls();
    let ran = stage.run(&["preflight", "--all-contexts", "-v"]).expect(0);
    assert_eq!(
        ran.stderr
            .matches("iam:GetRole AWSServiceRoleForEC2Spot -> found")
            .count(),
        2,
        "{}",
        ran.stderr
    );
}

/// At a terminal each cluster has a line as soon as it is judged; Ctrl-C ends with the overview.
#[cfg(unix)]
#[test]
fn at_a_terminal_each_cluster_is_told_of_at_once() {
    use crate::support::terminal::Terminal;
    let fleet = Fleet::new(2, 1);
    fleet.stage.standin.fault(
        &format!("kubernetes:* of {}", scenario::fleet_cluster(1, 0)),
        Fault::Hang,
    );
    let path = fleet.write(&fleet.inventory());
    let command = fleet.stage.command(&[
        "preflight",
        "--clusters",
        path.to_str().expect("a path"),
        "--request-timeout",
        "0",
        "--overall-timeout",
        "0",
    ]);
    let mut terminal = Terminal::run(&command);
    terminal.wait_for("READY  a0-c0 eu-west-1");
    terminal.wait_for("1 of 2 clusters");
    terminal.press("\u{3}");
    let (code, shown, _) = terminal.end();
    assert_eq!(code, 130, "{shown}");
    assert!(shown.contains("; interrupted, 1 not"), "{shown}");
}
