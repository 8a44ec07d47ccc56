//! The proof of a plan, proved: generated mappings, judged by the authenticator's own code before (`tests/testbed/oracle`) and by
//! our evaluator of the plan's end state after. Whoever the plan calls `same` gets the same answer, and whoever's answer changes is in
//! it.
//!
//! `CAPT_SPOT_FUZZ_PLANS` and `CAPT_SPOT_FUZZ_SEED` make a longer or another run.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use capt_spot_standin::oracle::Oracle;
use serde::{Deserialize, Serialize};

use super::diff::{Change, Fate};
use super::migrate::{Plan, ends_as, plan};
use super::state::{State, Subject};
use crate::facts::bindings::{Binding, Rights};
use crate::facts::fixture::healthy;
use eks_aws_auth::{
    AccessEntry, AuthenticationMode, AwsAuth, Caller, EntryType, Existence, Outcome, outcomes,
};

const CASES: usize = 20_000;
/// Of everybody who may call, so many are asked about in a case.
const ASKED: usize = 10;
const SEED: u64 = 0x5eed_0002;
const OWN: &str = "111122223333";
const OTHER: &str = "444455556666";
const DNS: &str = "ip-10-0-0-1.ec2.internal";
const KEY: &str = "AKIAEXAMPLE";

const NAMES: &[&str] = &[
    "A",
    "a",
    "B",
    "demo-node",
    "C",
    "AWSReservedSSO_Dev_0123456789abcdef",
];
const USERNAMES: &[&str] = &[
    "u",
    "u:{{SessionName}}",
    "{{SessionName}}",
    "{{SessionNameRaw}}",
    "x:{{SessionNameRaw}}",
    "{{AccountID}}:{{SessionName}}",
    "{{AccessKeyID}}",
    "system:node:{{EC2PrivateDNSName}}",
    "system:node:{{SessionName}}",
    "system:x",
    "eks:x",
    "migrated:x",
    "",
];
const GROUPS: &[&str] = &[
    "",
    "g",
    "g, h",
    "system:masters, g",
    "system:bootstrappers, system:nodes",
    "system:bootstrappers, system:nodes, system:node-proxier",
    "system:nodes, eks:kube-proxy-windows",
    "system:developers",
    "system:developers, migrated:developers",
    "system:authenticated, g",
    "\"g-{{AccountID}}\"",
    "\"{{SessionName}}\"",
    "\"\"",
];
const SESSIONS: &[&str] = &["i-0123456789abcdef0", "jo@x", "s1"];

#[derive(Serialize)]
struct Request {
    data: BTreeMap<String, String>,
    principals: Vec<Principal>,
    sso_role_match: bool,
    parse_repeatedly: u32,
}

#[derive(Clone, Serialize)]
struct Principal {
    arn: String,
    access_key_id: &'static str,
    private_dns_name: &'static str,
}

#[derive(Deserialize)]
struct Answer {
    outcomes: Vec<BTreeSet<Way>>,
}

#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Way {
    outcome: String,
    username: String,
    groups: Vec<String>,
}

/// What a principal ends as; none: it has no access. The API server gives `system:authenticated` to everybody.
type End = Option<(String, BTreeSet<String>)>;

fn end(username: String, groups: impl IntoIterator<Item = String>) -> End {
    let groups = groups.into_iter().filter(|group| group != "system:authenticated");
    Some((username, groups.collect()))
}

struct Random(u64);

impl Random {
    /// splitmix64
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap_or_default()
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// What stands in `rolearn` or `userarn`: mostly a role, sometimes what only looks like one.
    fn written(&mut self) -> String {
        let name = self.pick(NAMES);
        let account = self.pick(&[OWN, OWN, OWN, OTHER]);
        match self.below(40) {
            0..=24 => format!("arn:aws:iam::{account}:role/{name}"),
            25 | 26 => format!("arn:aws:iam::{account}:role/team/{name}"),
            27 => format!("ARN:AWS:IAM::{account}:ROLE/{name}"),
            28..=31 => format!("arn:aws:iam::{account}:user/{name}"),
            32 => format!("arn:aws:iam::{account}:user/team/{name}"),
            33 => format!("arn:aws:sts::{account}:assumed-role/{name}/s1"),
            34 => format!("arn:aws:iam::{account}:root"),
            35 => format!("arn:aws:sts::{account}:federated-user/{name}"),
            36 => format!("arn:aws-cn:iam::{account}:role/{name}"),
            37 => format!("\"arn:aws:iam::{account}:role/{name} \""),
            38 => format!("arn:aws:iam::{account}:role/{name}*"),
            _ => format!("arn:aws:iam::{account}:instance-profile/{name}"),
        }
    }

    fn text(&mut self, field: &str) -> String {
        let mut text = String::new();
        for _ in 0..self.below(6) {
            text.push_str(&format!(
                "- {field}: {}\n  username: \"{}\"\n  groups: [{}]\n",
                self.written(),
                self.pick(USERNAMES),
                self.pick(GROUPS)
            ));
        }
        // Mistakes that lose an entry, or all of them.
        match self.below(30) {
            0 => text.push_str("- username: nobody\n"),
            1 => text.push_str("\t- x\n"),
            2 => text = text.replace("  groups: [", "  groups: x["),
            _ => {}
        }
        text
    }

    fn entries(&mut self) -> Vec<AccessEntry> {
        let kinds = [
            EntryType::Standard,
            EntryType::Standard,
            EntryType::Ec2Linux,
            EntryType::FargateLinux,
            EntryType::Ec2,
        ];
        let mut entries: Vec<AccessEntry> = Vec::new();
        for _ in 0..self.below(4) {
            let (kind, name) = (self.below(4), self.pick(NAMES));
            let arn = match kind {
                0 => format!("arn:aws:iam::{OWN}:user/{name}"),
                1 => format!("arn:aws:iam::{OWN}:role/team/{name}"),
                _ => format!("arn:aws:iam::{OWN}:role/{name}"),
            };
            let kind = kinds[self.below(kinds.len())].clone();
            let (username, groups): (&str, &[&str]) = match kind {
                EntryType::Ec2Linux => ("system:node:{{EC2PrivateDNSName}}", &["system:nodes"]),
                EntryType::FargateLinux => ("system:node:{{SessionName}}", &["system:nodes"]),
                _ => (self.pick(&["e", "e:{{SessionName}}"]), &["x"]),
            };
            let entry = AccessEntry {
                policies: Some(Vec::new()),
                ..AccessEntry::new(&arn, kind, username, groups)
            };
            // A cluster has one entry for an ARN.
            if !entries
                .iter()
                .any(|other| other.principal_arn == entry.principal_arn)
            {
                entries.push(entry);
            }
        }
        entries
    }

    fn rights(&mut self) -> Option<Rights> {
        let names = [
            "system:developers",
            "migrated:developers",
            "g",
            "system:nodes",
            "system:x",
            "jo-x",
            "s1",
        ];
        let bindings = (0..self.below(5)).map(|n| Binding {
            namespace: self.chance(50).then(|| format!("ns{n}")),
            role: "edit".to_owned(),
            cluster_role: true,
            users: vec![self.pick(&names).to_owned()],
            groups: vec![self.pick(&names).to_owned()],
        });
        let bindings: Vec<Binding> = bindings.collect();
        self.chance(90).then(|| Rights::new(bindings))
    }
}

/// Everybody who may call.
fn everybody() -> Vec<Principal> {
    let mut arns = Vec::new();
    for account in [OWN, OTHER] {
        for name in NAMES.iter().filter(|name| **name != "a").chain(&["Nobody"]) {
            for session in SESSIONS {
                arns.push(format!("arn:aws:sts::{account}:assumed-role/{name}/{session}"));
            }
            arns.push(format!("arn:aws:iam::{account}:user/{name}"));
        }
        arns.push(format!("arn:aws:iam::{account}:user/team/C"));
        arns.push(format!("arn:aws:iam::{account}:root"));
        arns.push(format!("arn:aws:sts::{account}:federated-user/C"));
    }
    let principal = |arn: String| Principal {
        arn,
        access_key_id: KEY,
        private_dns_name: DNS,
    };
    arns.into_iter().map(principal).collect()
}

/// By our evaluator. None: chance decides.
fn ours(state: &State, arn: &str) -> Option<(End, bool)> {
    let caller = Caller::parse(arn)
        .expect("a caller")
        .with_access_key_id(Some(KEY.to_owned()))
        .with_private_dns_name(Some(DNS.to_owned()));
    let ways = outcomes(&state.cluster(), &caller, Existence::Unknown);
    match ways.as_slice() {
        [] => Some((None, false)),
        [way] => {
            let by_entry = way
                .source
                .as_ref()
                .is_some_and(|source| source.entry_type.is_some());
            let mapped = way.outcome == Outcome::Mapped;
            let username = way.username.clone().filter(|_| mapped);
            Some((username.and_then(|name| end(name, way.groups.clone())), by_entry))
        }
        _ => None,
    }
}

struct Case {
    data: BTreeMap<String, String>,
    start: State,
    principals: Vec<Principal>,
    plan: Plan,
    end: State,
}

fn case(random: &mut Random, everybody: &[Principal]) -> Case {
    let mut data = BTreeMap::from([
        ("mapRoles".to_owned(), random.text("rolearn")),
        ("mapUsers".to_owned(), random.text("userarn")),
    ]);
    if random.chance(30) {
        let accounts = format!("- \"{OWN}\"\n- \"{}\"\n", random.pick(&[OTHER, "12"]));
        data.insert("mapAccounts".to_owned(), accounts);
    }
    let mode = random.pick(&[
        AuthenticationMode::ConfigMap,
        AuthenticationMode::ApiAndConfigMap,
        AuthenticationMode::ApiAndConfigMap,
        AuthenticationMode::Api,
    ]);
    let entries = match mode {
        AuthenticationMode::ConfigMap => Vec::new(),
        _ => random.entries(),
    };
    let start = State::new(mode, Some(AwsAuth::parse(&data)), Some(entries));
    let mut target = healthy().target;
    target.account = Some(OWN.to_owned());
    let plan = plan(&start, &target, random.rights().as_ref(), None);
    let end = ends_as(&start, &plan.entries);
    let principals = (0..ASKED).map(|_| everybody[random.below(everybody.len())].clone());
    Case {
        principals: principals.collect(),
        data,
        start,
        plan,
        end,
    }
}

/// Who of the plan a principal is: by its own name, or as one of its account.
fn of_plan<'p>(items: &HashMap<String, &'p Change>, arn: &str) -> Option<&'p Change> {
    let own = Subject::Principal(arn.to_owned()).key();
    let account = Subject::Account(arn.split(':').nth(4).unwrap_or_default().to_owned()).shown();
    items.get(&own).or_else(|| items.get(&account)).copied()
}

#[test]
fn who_is_called_the_same_gets_the_same_answer() {
    let Some(mut oracle) = Oracle::start("authenticator-oracle", "CAPT_SPOT_ORACLE") else {
        return;
    };
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|value| value.parse::<u64>().expect("a number"))
    };
    let cases = number("CAPT_SPOT_FUZZ_PLANS").map_or(CASES, |n| usize::try_from(n).expect("a number"));
    let seed = number("CAPT_SPOT_FUZZ_SEED").unwrap_or(SEED);
    let mut random = Random(seed);
    let everybody = everybody();
    let mut tally: BTreeMap<&str, usize> = BTreeMap::new();
    let mut left = cases;
    while left > 0 {
        let batch: Vec<Case> = (0..left.min(500))
            .map(|_| case(&mut random, &everybody))
            .collect();
        left -= batch.len();
        let requests: Vec<Request> = batch
            .iter()
            .map(|case| Request {
                data: case.data.clone(),
                principals: case.principals.clone(),
                sso_role_match: false,
                parse_repeatedly: 0,
            })
            .collect();
        let answers: Vec<Answer> = oracle.ask(&requests);
        for (case, answer) in batch.iter().zip(answers) {
            let keyed = case
                .plan
                .proof
                .items
                .iter()
                .map(|item| match item.principal.starts_with("arn:") {
                    true => (Subject::Principal(item.principal.clone()).key(), item),
                    false => (item.principal.clone(), item),
                });
            let items: HashMap<String, &Change> = keyed.collect();
            for (principal, ways) in case.principals.iter().zip(answer.outcomes) {
                let arn = principal.arn.as_str();
                // The authenticator's code knows no access entries: where one decides, the answer before is ours.
                let by_entry = ours(&case.start, arn).filter(|(_, by_entry)| *by_entry);
                let entries_only = !case.start.mode.uses_aws_auth();
                let before: BTreeSet<End> = match by_entry {
                    Some((own, _)) => BTreeSet::from([own]),
                    None if entries_only => match ours(&case.start, arn) {
                        Some((own, _)) => BTreeSet::from([own]),
                        None => BTreeSet::new(),
                    },
                    None => ways
                        .into_iter()
                        .map(|way| (way.outcome == "mapped").then_some(way))
                        .map(|way| way.and_then(|way| end(way.username, way.groups)))
                        .collect(),
                };
                let after = ours(&case.end, arn).map(|(own, _)| own);
                let same = before.len() == 1 && before.first() == after.as_ref();
                let item = of_plan(&items, arn);
                let fate = item.map(|item| item.result);
                let says = || {
                    format!(
                        "seed {seed}: {arn} is {fate:?} in the plan; before {before:?}, after {after:?}\n{:#?}\n{:#?}\n{item:#?}",
                        case.data, case.start.entries
                    )
                };
                match fate {
                    Some(Fate::Same) => assert!(same, "{}", says()),
                    // Some sessions of it get another answer, if not this one.
                    Some(_) => {}
                    None => assert!(same, "{}", says()),
                }
                if !same && fate == Some(Fate::Gone) {
                    panic!("{}", says());
                }
                *tally.entry(fate.map_or("nobody", Fate::word)).or_default() += 1;
            }
        }
    }
    // A generator of worlds in which nothing happens would prove nothing.
    for word in ["same", "changed", "lost", "unknown", "nobody"] {
        let share = tally.get(word).copied().unwrap_or_default() * 1_000 / (cases * ASKED);
        assert!(share >= 5, "{word}: {tally:?}");
    }
}
