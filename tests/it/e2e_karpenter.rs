//! What the report says, beside what Karpenter itself says and does: its controller, unmodified, on a real API server and
//! moto's EC2. Each world is brought about, waited for, and judged by the program; what Karpenter does in it is asserted, too.
//!
//! Slow worlds are recorded once, by `make record-karpenter`, and judged from there (`tests/it/recorded_karpenter.rs`).

use serde_json::{Value, json};

use crate::recorded_karpenter::Verdicts;
use crate::support::karpenter::{PARTS, Stage, condition, node_class, recording};
use crate::support::program::Ran;
use crate::support::testbed::Testbed;

const BOTH: &[&str] = &["spot", "on-demand"];

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
    verdicts.of("no-role", &report);
    let message = report.message("spot-failures-seen");
    // One refusal of each pool's claim, and two Events of each.
    verdicts.check(message.contains("2 NodeClaims"), || {
        format!("no-role: two NodeClaims were refused: {message}")
    });

    let created = stage.shell.capt_spot(&["create-role", "--yes"]).expect(0);
    assert!(created.stdout.starts_with("CREATED"), "{created:?}");
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
    verdicts.of("waits-for-its-node", &judged(&stage));
    stage.node_joins(&claim);
    stage.until("the claim is ready", "nodeclaims", |claim| {
        condition(claim, "Ready")["status"] == "True"
    });
    stage.until("the pool knows that nodes register", "nodepools", |pool| {
        condition(pool, "NodeRegistrationHealthy")["status"] == "True"
    });
    stage.record("healthy");
    verdicts.of("healthy", &judged(&stage));
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
    verdicts.of("no-subnets", &judged(&stage));

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
    verdicts.of("no-create-fleet", &judged(&stage));
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
    verdicts.of("launch-refused", &judged(&stage));

    stage.clear();
    stage.refuse_launches(&json!({ "spot": "InvalidAMIID.NotFound", "on_demand": "InvalidAMIID.NotFound" }));
    stage.start_controller();
    stage.pool("default", BOTH, "True");
    stage.pod("default");
    stage.until("the launch fails", "nodeclaims", |claim| {
        condition(claim, "Launched")["reason"] == "AMINotFound"
    });
    stage.record("ami-not-found");
    verdicts.of("ami-not-found", &judged(&stage));

    // Nothing is wrong with the cluster or the account: there is no Spot capacity just now.
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
        verdicts.of(world, &judged(&stage));
    }
    verdicts.settle();
}

/// Karpenter waits 15 minutes for a node, and says that none comes after two that did not.
#[test]
#[ignore = "takes 35 minutes and only writes records: make record-karpenter"]
fn slow_worlds_are_recorded() {
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
