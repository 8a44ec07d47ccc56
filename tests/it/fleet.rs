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
