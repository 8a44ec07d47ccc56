//! What the report says, beside what Karpenter itself says and does: its controller, unmodified, on a real API server and
//! moto's EC2. Each world is brought about, waited for, and judged by the program; what Karpenter does in it is asserted, too.
//!
//! Slow worlds are recorded once, by `make record-karpenter`, and judged from there (`tests/it/recorded_karpenter.rs`).

use serde_json::{Value, json};

use crate::support::karpenter::{PARTS, Stage, condition, node_class, recording};
use crate::support::program::Ran;
use crate::support::testbed::Testbed;

const BOTH: &[&str] = &["spot", "on-demand"];

/// What is not as it should be, over all worlds of a test: one wrong verdict hides none of the others.
#[derive(Default)]
pub struct Verdicts(Vec<String>);

impl Verdicts {
    /// The exit code, and the status of these checks.
    pub fn expect(&mut self, world: &str, ran: &Ran, code: i32, statuses: &[(&str, &str)]) {
        if ran.code != code {
            self.0
                .push(format!("{world}: exit code {}, not {code}", ran.code));
        }
        let report = ran.json();
        let checks = report["checks"].as_array().expect("checks");
        for (id, status) in statuses {
            match checks.iter().find(|check| check["id"] == *id) {
                None => self.0.push(format!("{world}: no check {id}")),
                Some(check) if check["status"] != *status => self.0.push(format!(
                    "{world}: {id} is {}, not {status}: {}",
                    check["status"], check["message"]
                )),
                Some(_) => {}
            }
        }
    }

    /// # Panics
    /// When something is not as it should be.
    pub fn settle(self) {
        assert!(self.0.is_empty(), "{}", self.0.join("\n"));
    }
}

fn judged(stage: &Stage) -> Ran {
    stage.shell.capt_spot(&["preflight", "-o", "json"])
}

fn warns(event: &Value, kind: &str, text: &str) -> bool {
    event["type"] == "Warning"
        && event["involvedObject"]["kind"] == kind
        && (event["reason"] == text
            || event["message"]
                .as_str()
                .is_some_and(|message| message.contains(text)))
}

/// A claim of this pool whose instance runs.
fn launched(claim: &Value, pool: &str) -> bool {
    claim["metadata"]["labels"]["karpenter.sh/nodepool"] == pool
        && condition(claim, "Launched")["status"] == "True"
}

fn capacity_type(claim: &Value) -> &Value {
    &claim["metadata"]["labels"]["karpenter.sh/capacity-type"]
}

/// The capacity types that a claim may still become.
fn narrowed(claim: &Value) -> Value {
    let requirements = claim["spec"]["requirements"].as_array().expect("requirements");
    let found = requirements
        .iter()
        .find(|one| one["key"] == "karpenter.sh/capacity-type");
    found.expect("a requirement on the capacity type")["values"].clone()
}

/// The refusal of a Spot launch, by the text of its Event, and the on-demand instance that Karpenter launches instead.
fn falls_back(stage: &Stage, pool: &str, error: &str) {
    stage.until("Spot is refused", "events", |event| {
        warns(event, "NodeClaim", error)
    });
    let claim = stage.until("an on-demand instance runs", "nodeclaims", |claim| {
        launched(claim, pool)
    });
    assert_eq!(capacity_type(&claim), "on-demand");
    assert_eq!(narrowed(&claim), json!(["on-demand"]), "the trace that lasts");
}

/// The main job: no role, `create-role`, Spot.
#[test]
fn without_the_role_nothing_is_spot_and_with_it_karpenter_launches_spot() {
    let Some(bed) = Testbed::require(PARTS) else {
        return;
    };
    let mut verdicts = Verdicts::default();
    let mut stage = Stage::new(&bed);
    stage.start_controller();

    stage.pool("spot-only", &["spot"], "True");
    stage.pool("mixed", BOTH, "True");
    stage.pod("spot-only");
    stage.pod("mixed");
    falls_back(&stage, "mixed", "ServiceLinkedRoleCreationNotPermitted");
    stage.until(
        "nothing is left for the pool that wants only Spot",
        "events",
        |event| warns(event, "NodePool", "NoCompatibleInstanceTypes"),
    );
    stage.record("no-role");
    let report = judged(&stage);
    let expected = [
        ("spot-role-exists", "fail"),
        ("pools-want-spot", "pass"),
        ("pools-ready", "pass"),
        ("controller-running", "pass"),
        ("controller-identity", "pass"),
        ("interruption-queue", "pass"),
        ("spot-failures-seen", "fail"),
    ];
    verdicts.expect("no-role", &report, 1, &expected);
    let message = report.message("spot-failures-seen");
    // One refusal of each pool's claim, and two Events of each.
    if !message.contains("2 NodeClaims") {
        verdicts
            .0
            .push(format!("no-role: two NodeClaims were refused: {message}"));
    }

    let created = stage.shell.capt_spot(&["create-role", "--yes"]).expect(0);
    assert!(created.stdout.starts_with("Created "), "{created:?}");
    if recording() {
        // The controller tries Spot again by itself, about three minutes after it was refused.
        let claim = stage.until("Spot is launched", "nodeclaims", |claim| {
            launched(claim, "spot-only")
        });
        assert_eq!(capacity_type(&claim), "spot");
        stage.record("role-created");
    }

    // A controller that has just started knows of no refusal.
    stage.clear();
    stage.start_controller();
    stage.pool("mixed", BOTH, "True");
    stage.pod("mixed");
    let claim = stage.until("Spot is launched", "nodeclaims", |claim| launched(claim, "mixed"));
    assert_eq!(capacity_type(&claim), "spot");
    assert_eq!(narrowed(&claim), json!(["on-demand", "spot"]));
    stage.record("waits-for-its-node");
    verdicts.expect(
        "waits-for-its-node",
        &judged(&stage),
        0,
        &[("node-registration", "pass")],
    );
    stage.node_joins(&claim);
    stage.until("the claim is ready", "nodeclaims", |claim| {
        condition(claim, "Ready")["status"] == "True"
    });
    stage.until("the pool knows that nodes register", "nodepools", |pool| {
        condition(pool, "NodeRegistrationHealthy")["status"] == "True"
    });
    stage.record("healthy");
    let expected = [
        ("spot-role-exists", "pass"),
        ("pools-ready", "pass"),
        ("controller-running", "pass"),
        ("spot-failures-seen", "pass"),
        ("node-registration", "pass"),
    ];
    verdicts.expect("healthy", &judged(&stage), 0, &expected);
    verdicts.settle();
}

/// The role is there, and still nothing, or nothing on Spot, is launched.
#[test]
fn with_the_role_what_else_keeps_karpenter_from_spot() {
    let Some(bed) = Testbed::require(PARTS) else {
        return;
    };
    let mut verdicts = Verdicts::default();
    let mut stage = Stage::new(&bed);
    stage.shell.capt_spot(&["create-role", "--yes"]).expect(0);

    // A selector that matches nothing: the class is not ready, so the pool is not, so Karpenter ignores it.
    stage.start_controller();
    let mut class = node_class();
    class["spec"]["subnetSelectorTerms"] = json!([{ "tags": { "karpenter.sh/discovery": "another" } }]);
    stage.pool_of(&class, "default", BOTH, "False");
    stage.record("no-subnets");
    let not_ready = [
        ("pools-ready", "fail"),
        ("controller-running", "pass"),
        ("spot-role-exists", "pass"),
    ];
    verdicts.expect("no-subnets", &judged(&stage), 1, &not_ready);

    // The controller's dry run of a launch is refused by IAM.
    stage.clear();
    stage.allow_controller(&[
        "ec2:Describe*",
        "ec2:CreateLaunchTemplate",
        "ec2:RunInstances",
        "ec2:CreateTags",
    ]);
    stage.start_controller();
    stage.pool("default", BOTH, "False");
    let class = stage.until("the class says why", "ec2nodeclasses", |class| {
        condition(class, "ValidationSucceeded")["status"] == "False"
    });
    assert_eq!(
        condition(&class, "ValidationSucceeded")["reason"],
        "CreateFleetAuthCheckFailed"
    );
    stage.record("no-create-fleet");
    verdicts.expect("no-create-fleet", &judged(&stage), 1, &not_ready);
    stage.allow_controller(&["ec2:*"]);

    // The dry run is allowed, and the launch is not.
    stage.clear();
    stage.refuse_launches(&json!({ "spot": "UnauthorizedOperation", "on_demand": "UnauthorizedOperation" }));
    stage.start_controller();
    stage.pool("default", BOTH, "True");
    stage.pod("default");
    stage.until("the launch is refused", "nodeclaims", |claim| {
        condition(claim, "Launched")["reason"] == "Unauthorized"
    });
    stage.record("launch-refused");
    let failed = [("pools-ready", "pass"), ("spot-failures-seen", "fail")];
    verdicts.expect("launch-refused", &judged(&stage), 1, &failed);

    stage.clear();
    stage.refuse_launches(&json!({ "spot": "InvalidAMIID.NotFound", "on_demand": "InvalidAMIID.NotFound" }));
    stage.start_controller();
    stage.pool("default", BOTH, "True");
    stage.pod("default");
    stage.until("the launch fails", "nodeclaims", |claim| {
        condition(claim, "Launched")["reason"] == "AMINotFound"
    });
    stage.record("ami-not-found");
    verdicts.expect("ami-not-found", &judged(&stage), 1, &failed);

    // Nothing is wrong with the cluster or the account: there is no Spot capacity just now.
    let warned = [("pools-ready", "pass"), ("spot-failures-seen", "warn")];
    for (world, error) in [
        ("no-spot-capacity", "InsufficientInstanceCapacity"),
        ("spot-quota-exceeded", "MaxSpotInstanceCountExceeded"),
    ] {
        stage.clear();
        stage.refuse_launches(&json!({ "spot": error }));
        stage.start_controller();
        stage.pool("default", BOTH, "True");
        stage.pod("default");
        falls_back(&stage, "default", error);
        stage.record(world);
        verdicts.expect(world, &judged(&stage), 0, &warned);
    }
    verdicts.settle();
}

/// Karpenter waits 15 minutes for a node, and says that none comes after two that did not.
#[test]
fn slow_worlds_are_recorded() {
    if !recording() {
        return;
    }
    let Some(bed) = Testbed::require(PARTS) else {
        return;
    };
    let unhealthy = |pool: &Value| condition(pool, "NodeRegistrationHealthy")["status"] == "False";
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut stage = Stage::new(&bed);
            stage.shell.capt_spot(&["create-role", "--yes"]).expect(0);
            stage.start_controller();
            stage.pool("default", BOTH, "True");
            stage.pod("default");
            let first = stage.until("Spot is launched", "nodeclaims", |claim| {
                launched(claim, "default")
            });
            let first = first["metadata"]["name"].as_str().expect("a name").to_owned();
            stage.until_gone(&first);
            stage.record("never-joined-first-claim-deleted");
            let second = stage.until("the next one is launched", "nodeclaims", |claim| {
                claim["metadata"]["name"] != first && launched(claim, "default")
            });
            stage.record("never-joined-second-claim");
            stage.until_gone(second["metadata"]["name"].as_str().expect("a name"));
            stage.until("the pool says so", "nodepools", unhealthy);
            stage.record("never-joined-twice");
        });
        scope.spawn(|| {
            let mut stage = Stage::new(&bed);
            stage.shell.capt_spot(&["create-role", "--yes"]).expect(0);
            stage.refuse_launches(
                &json!({ "spot": "UnauthorizedOperation", "on_demand": "UnauthorizedOperation" }),
            );
            stage.start_controller();
            stage.pool("default", BOTH, "True");
            stage.pod("default");
            stage.until("two launches timed out", "nodepools", unhealthy);
            stage.record("launch-refused-twice");
        });
    });
}
