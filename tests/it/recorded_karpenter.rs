//! What Karpenter's controller left behind in a cluster, as `make record-karpenter` wrote it down (`tests/fixtures`), judged as
//! if it were so now: the worlds that take it a quarter of an hour or more, and all others again without it.

use capt_spot_standin::{InstanceProfile, World, scenario};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::support::karpenter::fixtures;
use crate::support::program::{Ran, Stage};

/// What the report is to say of a world, whether it is live or recorded.
pub struct Expected {
    pub world: &'static str,
    pub code: i32,
    pub statuses: &'static [(&'static str, &'static str)],
}

/// The role is missing in the first; everything but what the name says is in order.
pub const WORLDS: &[Expected] = &[
    Expected {
        world: "no-role",
        code: 1,
        statuses: &[
            ("spot-role-exists", "fail"),
            ("pools-want-spot", "pass"),
            ("pools-ready", "pass"),
            ("controller-running", "pass"),
            ("controller-identity", "pass"),
            ("interruption-queue", "pass"),
            ("spot-failures-seen", "fail"),
        ],
    },
    Expected {
        world: "waits-for-its-node",
        code: 0,
        statuses: &[
            ("pools-ready", "pass"),
            ("spot-failures-seen", "pass"),
            ("node-registration", "pass"),
        ],
    },
    Expected {
        world: "healthy",
        code: 0,
        statuses: &[
            ("spot-role-exists", "pass"),
            ("pools-ready", "pass"),
            ("controller-running", "pass"),
            ("controller-identity", "pass"),
            ("spot-failures-seen", "pass"),
            ("node-registration", "pass"),
        ],
    },
    Expected {
        world: "no-subnets",
        code: 1,
        statuses: NOT_READY,
    },
    Expected {
        world: "no-create-fleet",
        code: 1,
        statuses: NOT_READY,
    },
    Expected {
        world: "launch-refused",
        code: 1,
        statuses: LAUNCH_FAILED,
    },
    Expected {
        world: "ami-not-found",
        code: 1,
        statuses: LAUNCH_FAILED,
    },
    // Nothing is wrong with the cluster: there is on-demand, and Spot is tried again.
    Expected {
        world: "no-spot-capacity",
        code: 0,
        statuses: FALLS_BACK,
    },
    Expected {
        world: "spot-quota-exceeded",
        code: 0,
        statuses: FALLS_BACK,
    },
];

const NOT_READY: &[(&str, &str)] = &[
    ("spot-role-exists", "pass"),
    ("controller-running", "pass"),
    ("pools-ready", "fail"),
];
const LAUNCH_FAILED: &[(&str, &str)] = &[
    ("pools-ready", "pass"),
    ("spot-failures-seen", "fail"),
    // An instance that was never launched is not one that did not join.
    ("node-registration", "pass"),
];
const FALLS_BACK: &[(&str, &str)] = &[("pools-ready", "pass"), ("spot-failures-seen", "warn")];

/// Worlds that Karpenter takes its time for. In each the role is there.
const SLOW: &[Expected] = &[
    // The controller tried again by itself. Its on-demand instance from before is still there.
    Expected {
        world: "role-created",
        code: 0,
        statuses: &[("spot-role-exists", "pass"), ("pools-ready", "pass")],
    },
    // Between two claims there is nothing but a Normal Event about the one that is gone.
    Expected {
        world: "never-joined-first-claim-deleted",
        code: 1,
        statuses: &[("node-registration", "fail")],
    },
    Expected {
        world: "never-joined-second-claim",
        code: 1,
        statuses: &[("node-registration", "fail")],
    },
    Expected {
        world: "never-joined-twice",
        code: 1,
        statuses: &[("node-registration", "fail")],
    },
    Expected {
        world: "launch-refused-twice",
        code: 1,
        statuses: LAUNCH_FAILED,
    },
];

/// What is not as it should be, over all worlds of a test: one wrong verdict hides none of the others.
#[derive(Default)]
pub struct Verdicts(Vec<String>);

impl Verdicts {
    /// Compares a report with what is expected of this world.
    pub fn of(&mut self, world: &str, ran: &Ran) {
        let expected = WORLDS.iter().find(|one| one.world == world);
        self.compare(expected.expect("a world of the table"), ran);
    }

    fn compare(&mut self, expected: &Expected, ran: &Ran) {
        let world = expected.world;
        self.check(ran.code == expected.code, || {
            format!("{world}: exit code {}, not {}", ran.code, expected.code)
        });
        let report = ran.json();
        for (id, status) in expected.statuses {
            let checks = report["checks"].as_array().expect("checks");
            match checks.iter().find(|check| check["id"] == *id) {
                None => self.check(false, || format!("{world}: no check {id}")),
                Some(check) => self.check(check["status"] == *status, || {
                    let (is, why) = (&check["status"], &check["message"]);
                    format!("{world}: {id} is {is}, not {status}: {why}")
                }),
            }
        }
    }

    /// Notes what is not so.
    pub fn check(&mut self, is_so: bool, otherwise: impl FnOnce() -> String) {
        if !is_so {
            self.0.push(otherwise());
        }
    }

    /// # Panics
    /// When something is not as it should be.
    pub fn settle(self) {
        assert!(self.0.is_empty(), "\n{}", self.0.join("\n"));
    }
}

/// The stand-ins with what a record holds, as if it had been made this long ago.
fn replay(record: &str, ago: SignedDuration) -> Stage {
    let path = fixtures().join(format!("{record}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let record_of: Value = serde_json::from_str(&text).expect("a record is JSON");
    let recorded_at = record_of["recordedAt"]
        .as_str()
        .and_then(|at| at.parse::<Timestamp>().ok());
    let later = Timestamp::now().duration_since(recorded_at.expect("a time")) - ago;

    let mut world = if record == "no-role" {
        scenario::fresh_account_karpenter_on_fargate()
    } else {
        scenario::healthy()
    };
    if record == "role-created" {
        // A little before the claim that got Spot, and after the refusal.
        world
            .account(scenario::ACCOUNT)
            .role_mut("AWSServiceRoleForEC2Spot")
            .create_date = Timestamp::now() - SignedDuration::from_mins(3);
    }
    let mut objects = record_of["objects"].as_array().cloned().expect("objects");
    for object in &mut objects {
        shift(object, later);
    }
    put(&mut world, objects);
    Stage::new(world)
}

fn put(world: &mut World, objects: Vec<Value>) {
    let account = world.account(scenario::ACCOUNT);
    for profile in objects
        .iter()
        .filter_map(|object| object["status"]["instanceProfile"].as_str())
    {
        account
            .instance_profiles
            .insert(profile.to_owned(), InstanceProfile::of("demo-node"));
    }
    let api = world.kubernetes(scenario::CLUSTER);
    for (version, plural) in [
        ("karpenter.sh/v1", "nodepools"),
        ("karpenter.k8s.aws/v1", "ec2nodeclasses"),
    ] {
        api.clear(version, plural);
    }
    let deployment = api.get("apps/v1", "deployments", "karpenter", "karpenter");
    let deployment = deployment
        .expect("the scenario's controller")
        .to_string()
        .replace("1.8.1", "1.14.3");
    api.put(serde_json::from_str(&deployment).expect("it was JSON"));
    for object in objects {
        api.put(object);
    }
}

/// Moves every time in it.
fn shift(value: &mut Value, later: SignedDuration) {
    match value {
        Value::String(text) => {
            // What Kubernetes writes to the second stays so.
            let precise = text.contains('.');
            if let Some(at) = text
                .ends_with('Z')
                .then(|| text.parse::<Timestamp>().ok())
                .flatten()
            {
                let moved = at + later;
                *text = if precise {
                    format!("{moved:.6}")
                } else {
                    format!("{moved:.0}")
                };
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|one| shift(one, later)),
        Value::Object(fields) => fields.values_mut().for_each(|one| shift(one, later)),
        _ => {}
    }
}

#[test]
fn records_are_judged_as_the_live_worlds_are() {
    let mut verdicts = Verdicts::default();
    for expected in WORLDS.iter().chain(SLOW) {
        let ran = replay(expected.world, SignedDuration::ZERO).preflight(&[]);
        verdicts.compare(expected, &ran);
    }
    verdicts.settle();
}

/// Karpenter waits 15 minutes for a node; from 5 on it is late.
#[test]
fn the_longer_an_instance_does_not_join_the_worse_it_is() {
    let mut verdicts = Verdicts::default();
    for (minutes, code, status) in [(4, 0, "pass"), (6, 0, "warn"), (16, 1, "fail")] {
        let ran = replay("waits-for-its-node", SignedDuration::from_mins(minutes)).preflight(&[]);
        let (is, message) = (ran.status("node-registration"), ran.message("node-registration"));
        verdicts.check(is == status && ran.code == code, || {
            format!("after {minutes} minutes: exit code {}, {is}: {message}", ran.code)
        });
    }
    verdicts.settle();
}

/// A refusal leaves two Events of one NodeClaim; what it cost is said of the claims that became on-demand.
#[test]
fn claims_are_counted_and_not_events() {
    let ran = replay("no-role", SignedDuration::ZERO).preflight(&[]);
    let message = ran.message("spot-failures-seen");
    assert!(message.contains("2 NodeClaims"), "{message}");
}
