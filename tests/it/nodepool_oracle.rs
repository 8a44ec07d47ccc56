//! The differential proof of what a NodePool means: generated pools, judged here and by Karpenter's own code
//! (`tests/testbed/karpenter/oracle`).
//!
//! `CAPT_SPOT_NODEPOOL_ORACLE` names the oracle (default: the test bed's). Without it the tests are noted as not run, and with
//! `CI=true` they fail. `CAPT_SPOT_FUZZ_POOLS` makes a longer run, with pools of its own (`make fuzz-nodepools`).

// Helpers of tests; what they say is for whoever runs them.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::{BTreeMap, BTreeSet};

use capt_spot::karpenter::objects::NodePool;
use capt_spot::karpenter::requirements::{admitted, faults, refusals, spot_verdict_in};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde::Deserialize;
use serde_json::{Value, json};

use capt_spot_standin::oracle::Oracle;

const POOLS: u32 = 2_000;

/// What Karpenter's code says of a pool.
#[derive(Debug, Deserialize)]
struct Answer {
    refused: Vec<String>,
    invalid: Vec<String>,
    capacity_types: BTreeSet<String>,
    launches: BTreeMap<String, Vec<String>>,
}

impl Answer {
    fn launches_spot(&self) -> bool {
        self.launches.contains_key("spot")
    }
}

/// The oracle's instance types are m5.large (with a reservation), c5.2xlarge, m6g.xlarge, g4dn.xlarge and, without Spot,
/// hpc7g.4xlarge; its zones eu-west-1a and -b. Values are taken from there, so that what it can't launch nobody can.
const LABELS: &[(&str, &[&str])] = &[
    (
        "karpenter.sh/capacity-type",
        &["spot", "on-demand", "reserved", "spott", "Spot"],
    ),
    (
        "karpenter.k8s.aws/capacity-reservation-id",
        &["cr-0123456789abcdef0", "cr-other"],
    ),
    (
        "karpenter.k8s.aws/capacity-reservation-type",
        &["default", "capacity-block"],
    ),
    (
        "karpenter.k8s.aws/capacity-reservation-interruptible",
        &["false", "true"],
    ),
    (
        "topology.kubernetes.io/zone",
        &["eu-west-1a", "eu-west-1b", "us-east-1a"],
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        &["eu-west-1a", "eu-west-1b"],
    ),
    ("topology.k8s.aws/zone-id", &["euw1-az1", "euw1-az2", "use1-az1"]),
    ("karpenter.k8s.aws/instance-family", &["m5", "c5", "hpc7g"]),
    (
        "karpenter.k8s.aws/instance-tenancy",
        &["default", "dedicated", "host"],
    ),
    ("kubernetes.io/arch", &["amd64", "arm64"]),
    ("karpenter.k8s.aws/instance-cpu", &["2", "4", "8"]),
    ("team", &["a", "b"]),
    ("karpenter.sh/nodepool", &["default"]),
    ("kubernetes.io/hostname", &["a"]),
];

fn label() -> impl Strategy<Value = (&'static str, &'static [&'static str])> {
    prop_oneof![
        3 => Just(LABELS[0]),
        5 => select(LABELS),
    ]
}

fn requirement() -> impl Strategy<Value = Value> {
    let operator = prop_oneof![
        10 => select(&["In", "NotIn", "Exists", "DoesNotExist"][..]),
        2 => select(&["Gt", "Lt", "Gte", "Lte"][..]),
        1 => select(&["in", "Equals"][..]),
    ];
    (label(), operator).prop_flat_map(|((key, known), operator)| {
        let values = match operator {
            "Exists" | "DoesNotExist" => Just(Vec::new()).boxed(),
            "Gt" | "Lt" | "Gte" | "Lte" => select(&["0", "3", "9223372036854775807", "-1", "many"][..])
                .prop_map(|bound| vec![bound])
                .boxed(),
            _ => prop_oneof![
                12 => subsequence(known, 1..=known.len()),
                1 => Just(Vec::new()),
            ]
            .boxed(),
        };
        let least = prop_oneof![9 => Just(None), 1 => (1..4_u32).prop_map(Some)];
        (Just(key), Just(operator), values, least).prop_map(|(key, operator, values, least)| {
            let mut requirement = json!({ "key": key, "operator": operator });
            if !values.is_empty() {
                requirement["values"] = json!(values);
            }
            if let Some(least) = least {
                requirement["minValues"] = json!(least);
            }
            requirement
        })
    })
}

fn pool() -> impl Strategy<Value = Value> {
    let labels = prop_oneof![
        3 => Just(Vec::new()),
        1 => prop::collection::vec(
            label().prop_flat_map(|(key, known)| (Just(key), select(known))), 1..3),
    ];
    let taints = prop_oneof![
        8 => Just(json!(null)),
        1 => Just(json!([{ "key": "team", "value": "a", "effect": "NoSchedule" }])),
        1 => Just(json!([{ "key": "team", "effect": "NoSchedule" }, { "key": "team", "effect": "NoSchedule" }])),
    ];
    let weight = prop_oneof![8 => Just(None), 1 => Just(Some(10)), 1 => Just(Some(101))];
    let replicas = prop_oneof![9 => Just(None), 1 => Just(Some(1))];
    let requirements = prop::collection::vec(requirement(), 0..5);
    (requirements, labels, taints, weight, replicas).prop_map(
        |(requirements, labels, taints, weight, replicas)| {
            let mut pool = named(&requirements);
            let template = &mut pool["spec"]["template"];
            if !labels.is_empty() {
                template["metadata"]["labels"] = labels
                    .into_iter()
                    .collect::<BTreeMap<_, _>>()
                    .into_iter()
                    .collect();
            }
            if !taints.is_null() {
                template["spec"]["taints"] = taints;
            }
            if let Some(weight) = weight {
                pool["spec"]["weight"] = json!(weight);
            }
            if let Some(replicas) = replicas {
                pool["spec"]["replicas"] = json!(replicas);
            }
            pool
        },
    )
}

fn named(requirements: &[Value]) -> Value {
    json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": { "name": "default" },
        "spec": { "template": { "spec": {
            "nodeClassRef": { "group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default" },
            "requirements": requirements,
        } } },
    })
}

/// How the two judge a pool differently, if they do.
fn disagreement(pool: &Value, answer: &Answer) -> Option<String> {
    let ours = match NodePool::from_json(pool, None) {
        Ok(ours) => ours,
        Err(_) if !answer.refused.is_empty() => return None,
        Err(broken) => return Some(format!("Karpenter takes it, and it can't be read here: {broken}")),
    };
    let verdict = spot_verdict_in(&ours, "eu-west-1");
    let refused = refusals(&ours);
    let can = faults(&ours).is_empty() && refused.is_empty() && verdict.can_launch_spot();
    // Which instance types and zones there are is not known here: a pool that Karpenter takes and that none of the oracle's few
    // types fits, or only the one without Spot, is not compared.
    let of_types = answer.refused.is_empty()
        && answer.invalid.is_empty()
        && answer
            .launches
            .values()
            .flatten()
            .all(|one| one.starts_with("hpc"));
    if can && of_types {
        return None;
    }
    if can != answer.launches_spot() {
        return Some(format!(
            "Spot here: {can} ({}; {refused:?}); Karpenter: {answer:?}",
            verdict.why()
        ));
    }
    if answer.refused.is_empty() && answer.invalid.is_empty() {
        let admits = admitted(&ours, "karpenter.sh/capacity-type");
        let known = ["on-demand", "reserved", "spot"];
        let admits: BTreeSet<String> = known
            .into_iter()
            .filter(|one| admits.has(one))
            .map(str::to_owned)
            .collect();
        if admits != answer.capacity_types {
            return Some(format!("admitted here: {admits:?}; Karpenter: {answer:?}"));
        }
    }
    None
}

#[test]
fn pools_mean_what_karpenter_makes_of_them() {
    let Some(oracle) = Oracle::start("nodepool-oracle", "CAPT_SPOT_NODEPOOL_ORACLE") else {
        return;
    };
    let oracle = std::cell::RefCell::new(oracle);
    let tally = std::cell::RefCell::new(BTreeMap::<&str, u32>::new());
    let asked = std::env::var("CAPT_SPOT_FUZZ_POOLS")
        .ok()
        .map(|pools| pools.parse().unwrap());
    let config = Config {
        cases: asked.unwrap_or(POOLS),
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = match asked {
        Some(_) => TestRunner::new(config),
        None => TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[5; 32])),
    };
    let outcome = runner.run(&pool(), |pool| {
        let answer: Answer = oracle.borrow_mut().ask(std::slice::from_ref(&pool)).remove(0);
        let kind = match &answer {
            answer if !answer.refused.is_empty() => "refused",
            answer if !answer.invalid.is_empty() => "invalid",
            answer if answer.launches_spot() => "spot",
            _ => "no spot",
        };
        *tally.borrow_mut().entry(kind).or_default() += 1;
        match disagreement(&pool, &answer) {
            None => Ok(()),
            Some(how) => Err(TestCaseError::fail(format!("{how}\n{pool}"))),
        }
    });
    eprintln!("{:?}", tally.borrow());
    if let Err(failed) = outcome {
        panic!("{failed}");
    }
    // A generator that made only rubbish, or only good pools, would prove nothing.
    let all: u32 = tally.borrow().values().sum();
    for kind in ["refused", "invalid", "spot", "no spot"] {
        let share = tally.borrow().get(kind).copied().unwrap_or(0) * 100 / all;
        assert!((5..=70).contains(&share), "{kind}: {share} % of {all}");
    }
}
