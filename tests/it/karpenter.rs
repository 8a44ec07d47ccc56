//! What Karpenter will do here, and what already went wrong: as a user runs it, against the stand-ins.

use std::sync::Arc;

use capt_spot_standin::{
    Access, Addon, AuthenticationMode, AutoMode, Decision, Fault, PodIdentity, Quota, Role, Simulated, User,
    World, pod_identity_trust, scenario,
};
use serde_json::{Value, json};

use crate::support::program::Stage;

const CHECKS: [&str; 4] = [
    "pools-want-spot",
    "controller-identity",
    "spot-failures-seen",
    "node-registration",
];

/// EC2's error, word for word.
const NO_ROLE: &str = "AuthFailure.ServiceLinkedRoleCreationNotPermitted: The provided credentials do not have permission to create the service-linked role for EC2 Spot Instances.";

/// A time this many minutes ago, as Kubernetes writes it.
fn minutes_ago(minutes: i64) -> String {
    let at = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(minutes);
    format!("{at:.0}")
}

fn event(name: &str, kind: &str, reason: &str, message: &str, minutes: i64) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": "default"},
        "involvedObject": {"apiVersion": "karpenter.sh/v1", "kind": "NodeClaim", "name": "default-abcde"},
        "type": kind, "reason": reason, "message": message, "count": 2,
        "firstTimestamp": minutes_ago(minutes + 1), "lastTimestamp": minutes_ago(minutes)
    })
}

fn claim(name: &str, conditions: Value, provider_id: Option<&str>) -> Value {
    let mut claim = json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
        "metadata": {"name": name, "labels": {"karpenter.sh/nodepool": "default"}, "creationTimestamp": minutes_ago(30)},
        "spec": {"nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"}},
        "status": {"conditions": conditions}
    });
    if let Some(id) = provider_id {
        claim["status"]["providerID"] = json!(id);
    }
    claim
}

fn node(name: &str, capacity_type: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels":
        {"karpenter.sh/nodepool": "default", "karpenter.sh/capacity-type": capacity_type}}})
}

fn with(world: World, change: impl FnOnce(&mut World)) -> Stage {
    let mut world = world;
    change(&mut world);
    Stage::new(world)
}

fn healthy_with(change: impl FnOnce(&mut World)) -> Stage {
    with(scenario::healthy(), change)
}

/// The caller becomes a user of the cluster who may do everything but this.
fn refuse(stage: &Stage, refused: &'static [(&'static str, &'static str)]) {
    stage.standin.world(|world| {
        for user in world.kubernetes(scenario::CLUSTER).principals.values_mut() {
            *user = User {
                access: Access::all_but(refused),
                ..user.clone()
            };
        }
    });
}

#[test]
fn karpenter_on_fargate_with_irsa_is_good() {
    let stage = healthy_with(|world| {
        world
            .kubernetes(scenario::CLUSTER)
            .put(event("old", "Normal", "Pulled", "image", 42));
    });
    let ran = stage.preflight(&[]).expect(0);
    for id in CHECKS {
        assert_eq!(ran.status(id), "pass", "{id}: {}", ran.message(id));
    }
    let identity = ran.message("controller-identity");
    assert!(
        identity.contains("karpenter/karpenter: IRSA, role arn:aws:iam::111122223333:role/demo-karpenter"),
        "{identity}"
    );
    // The oldest Event, a normal one, tells how far back that could be seen.
    let seen = ran.check("spot-failures-seen");
    let back = seen["evidence"]["events"]["reachesBackMinutes"].as_i64();
    assert!(back.is_some_and(|back| (41..=43).contains(&back)), "{seen}");
    assert_eq!(ran.status("spot-quota"), "pass", "{}", ran.message("spot-quota"));
    assert_eq!(
        ran.status("can-install"),
        "skip",
        "{}",
        ran.message("can-install")
    );
    assert_eq!(stage.writes(), [""; 0]);
}

#[test]
fn a_denied_read_makes_its_own_checks_unknown_and_leaves_the_others_alone() {
    /// (verb, resource) pairs that are refused, and the checks that are unknown by that.
    type Row = (&'static [(&'static str, &'static str)], &'static [&'static str]);
    let rows: [Row; 7] = [
        (&[("list", "events")], &["spot-failures-seen"]),
        (
            &[("list", "nodeclaims")],
            &["spot-failures-seen", "node-registration"],
        ),
        (
            &[("list", "nodepools")],
            &["pools-want-spot", "pools-ready", "spot-failures-seen"],
        ),
        (
            &[("list", "deployments")],
            &["controller-running", "controller-identity"],
        ),
        (&[("get", "serviceaccounts")], &["controller-identity"]),
        (&[("get", "pods")], &[]),
        (&[("list", "nodes"), ("list", "pods"), ("get", "daemonsets")], &[]),
    ];
    for (refused, unknown) in rows {
        let stage = Stage::healthy();
        refuse(&stage, refused);
        let ran = stage.preflight(&[]);
        let report = ran.json();
        for check in report["checks"].as_array().expect("checks") {
            let id = check["id"].as_str().expect("an id");
            let expected = unknown.contains(&id);
            assert_eq!(check["status"] == "unknown", expected, "{refused:?}: {check}");
            if expected {
                let (verb, resource) = refused[0];
                let denied = check["evidence"]["denied"].as_str().expect("what is denied");
                assert!(
                    denied.starts_with(&format!("{verb} {resource}")),
                    "{refused:?}: {check}"
                );
            }
        }
        let needed = unknown
            .iter()
            .any(|id| matches!(*id, "controller-identity" | "controller-running" | "pools-ready"));
        assert_eq!(
            ran.code,
            if needed { 3 } else { 0 },
            "{refused:?}: {}",
            ran.stdout
        );
    }
}

#[test]
fn a_denied_call_of_aws_makes_its_own_checks_unknown() {
    for (action, unknown, code) in [
        ("iam:GetOpenIDConnectProvider", Some("controller-identity"), 3),
        ("servicequotas:GetServiceQuota", Some("spot-quota"), 0),
        // The annotation decides, and it was read.
        ("eks:ListPodIdentityAssociations", None, 0),
        ("eks:DescribeAddon", None, 0),
    ] {
        let stage = Stage::healthy();
        stage.standin.world(|world| {
            let account = world.account(scenario::ACCOUNT);
            let caller = account
                .access_keys
                .get_mut(scenario::ACCESS_KEY)
                .expect("the caller");
            caller.deny(action);
        });
        let ran = stage.preflight(&[]).expect(code);
        let report = ran.json();
        let found: Vec<&str> = report["checks"]
            .as_array()
            .expect("checks")
            .iter()
            .filter(|check| check["status"] == "unknown")
            .filter_map(|check| check["id"].as_str())
            .collect();
        assert_eq!(found, unknown.into_iter().collect::<Vec<_>>(), "{action}");
        if let Some(id) = unknown {
            let check = ran.check(id);
            assert_eq!(check["evidence"]["denied"], action, "{check}");
        }
    }
}

#[test]
fn the_silent_failure_of_new_versions_is_found_by_its_words() {
    for (namespace, reason) in [("default", ""), ("karpenter", "InsufficientCapacityError")] {
        let stage = with(scenario::fresh_account_karpenter_on_fargate(), |world| {
            let mut event = event("e", "Warning", reason, NO_ROLE, 3);
            event["metadata"]["namespace"] = json!(namespace);
            world.kubernetes(scenario::CLUSTER).put(event);
        });
        let ran = stage.preflight(&[]).expect(1);
        let seen = ran.check("spot-failures-seen");
        assert_eq!(seen["status"], "fail", "{seen}");
        assert_eq!(seen["evidence"]["traces"]["spot-role-missing"], 1, "{seen}");
        let message = ran.message("spot-failures-seen");
        assert!(
            message.contains("NodeClaim default-abcde")
                && message.contains(&format!("an Event in {namespace}")),
            "{message}"
        );
    }
}

#[test]
fn conditions_of_older_versions_and_instances_that_never_join() {
    let stage = with(scenario::fresh_account_karpenter_on_fargate(), |world| {
        let launched = json!([{"type": "Launched", "status": "Unknown", "reason": "SpotSLRCreationFailed", "message": "x",
                               "lastTransitionTime": minutes_ago(9)}]);
        world
            .kubernetes(scenario::CLUSTER)
            .put(claim("default-a", launched, None));
    });
    let ran = stage.preflight(&[]).expect(1);
    assert_eq!(ran.status("spot-failures-seen"), "fail");

    let waiting = || {
        let conditions = json!([
            {"type": "Launched", "status": "True", "reason": "Launched", "lastTransitionTime": minutes_ago(16)},
            {"type": "Registered", "status": "Unknown", "reason": "NodeNotFound", "message": "Node not registered with cluster"}
        ]);
        claim(
            "default-b",
            conditions,
            Some("aws:///eu-west-1a/i-0123456789abcdef0"),
        )
    };
    let stage = healthy_with(|world| {
        world.kubernetes(scenario::CLUSTER).put(waiting());
    });
    let ran = stage.preflight(&[]).expect(1);
    let found = ran.check("node-registration");
    assert_eq!(found["status"], "fail", "{found}");
    assert!(
        found["remedy"]["commands"]
            .to_string()
            .contains("i-0123456789abcdef0"),
        "{found}"
    );

    // With the node role out of aws-auth, that is what explains it.
    let stage = healthy_with(|world| {
        world.cluster(scenario::CLUSTER).authentication_mode = Some(AuthenticationMode::ConfigMap);
        let kubernetes = world.kubernetes(scenario::CLUSTER);
        kubernetes.put(waiting());
        kubernetes.put_aws_auth(&[("mapRoles", "[]")]);
    });
    let ran = stage.preflight(&[]).expect(1);
    let message = ran.message("node-registration");
    assert!(
        message.contains("the reason:") && message.contains("(see node-role-mapped)"),
        "{message}"
    );
    assert_eq!(ran.status("node-role-mapped"), "fail");
}

#[test]
fn pod_identity() {
    fn world(change: impl FnOnce(&mut World)) -> Stage {
        healthy_with(|world| {
            let account = world.account(scenario::ACCOUNT);
            let controller = Role::new("demo-pod-identity", pod_identity_trust());
            let arn = account.role_arn(&controller);
            account.roles.push(controller);
            let cluster = world.cluster(scenario::CLUSTER);
            cluster
                .pod_identities
                .push(PodIdentity::new("karpenter", "karpenter", &arn));
            cluster
                .addons
                .push(Addon::new("eks-pod-identity-agent", "v1.3.8-eksbuild.2"));
            let kubernetes = world.kubernetes(scenario::CLUSTER);
            kubernetes.put(node("ip-10-0-1-5", "spot")).put(
                json!({"apiVersion": "apps/v1", "kind": "DaemonSet",
                    "metadata": {"name": "eks-pod-identity-agent", "namespace": "kube-system"},
                    "status": {"desiredNumberScheduled": 1, "numberReady": 1}}),
            );
            change(world);
        })
    }
    let off_fargate = |world: &mut World| {
        world.kubernetes(scenario::CLUSTER).clear("v1", "pods");
    };
    let ran = world(off_fargate).preflight(&[]).expect(0);
    let message = ran.message("controller-identity");
    assert!(
        message.contains("Pod Identity, role arn:aws:iam::111122223333:role/demo-pod-identity"),
        "{message}"
    );
    // On Fargate no agent runs.
    let ran = world(|_| {}).preflight(&[]).expect(1);
    let message = ran.message("controller-identity");
    assert!(
        message.contains("runs on Fargate, where no agent runs"),
        "{message}"
    );
    // Without the agent.
    let ran = world(|world| {
        off_fargate(world);
        world.cluster(scenario::CLUSTER).addons.clear();
        world.kubernetes(scenario::CLUSTER).clear("apps/v1", "daemonsets");
    })
    .preflight(&[])
    .expect(1);
    assert!(
        ran.message("controller-identity")
            .contains("no Pod Identity agent")
    );
}

#[test]
fn a_controller_that_may_create_the_role_makes_its_absence_a_warning() {
    let stage = with(scenario::fresh_account_karpenter_on_fargate(), |world| {
        world.account(scenario::ACCOUNT).simulation = vec![
            Simulated::new("iam:CreateServiceLinkedRole", Decision::Allowed)
                .for_source("arn:aws:iam::111122223333:role/demo-karpenter"),
            Simulated::new("iam:CreateServiceLinkedRole", Decision::ImplicitDeny),
        ];
    });
    let ran = stage.preflight(&[]).expect(0);
    assert_eq!(ran.status("spot-role-exists"), "warn");
    assert_eq!(ran.status("spot-role-creatable"), "warn");
    for id in ["spot-role-exists", "spot-role-creatable"] {
        assert!(
            ran.message(id).contains("role/demo-karpenter"),
            "{}",
            ran.message(id)
        );
    }
    stage.preflight(&["--strict"]).expect(1);
}

#[test]
fn pools_that_cannot_launch_spot_make_the_missing_role_a_warning() {
    let on_demand = json!([{"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]}]);
    let stage = with(scenario::fresh_account_karpenter_on_fargate(), |world| {
        world
            .kubernetes(scenario::CLUSTER)
            .put(scenario::node_pool("default", &on_demand));
    });
    let ran = stage.preflight(&[]).expect(0);
    assert_eq!(ran.status("pools-want-spot"), "warn");
    assert_eq!(ran.status("spot-role-exists"), "warn");
    assert_eq!(ran.status("spot-quota"), "skip");
}

#[test]
fn node_pools_from_a_file_before_karpenter_is_there() {
    let stage = with(scenario::fresh_account_karpenter_on_fargate(), |world| {
        let kubernetes = world.kubernetes(scenario::CLUSTER);
        kubernetes.uninstall("karpenter.sh", "v1");
        kubernetes.uninstall("karpenter.k8s.aws", "v1");
        kubernetes.clear("apps/v1", "deployments");
    });
    let pool = |values: &str| {
        format!(
            "apiVersion: karpenter.sh/v1\nkind: NodePool\nmetadata: {{name: general}}\nspec:\n  template:\n    spec:\n      \
             nodeClassRef: {{group: karpenter.k8s.aws, kind: EC2NodeClass, name: default}}\n      \
             requirements:\n      - {{key: karpenter.sh/capacity-type, operator: In, values: [{values}]}}\n---\n\
             apiVersion: karpenter.k8s.aws/v1\nkind: EC2NodeClass\nmetadata: {{name: default}}\nspec: {{role: demo-node}}\n"
        )
    };
    let file = stage.home.path().join("pools.yaml");
    let path = file.to_str().expect("a path");
    assert!(
        stage
            .preflight(&[])
            .message("pools-want-spot")
            .contains("Spot is assumed")
    );
    for (values, status, role) in [
        ("on-demand", "warn", "warn"),
        ("spot", "pass", "fail"),
        ("spott", "fail", "warn"),
    ] {
        std::fs::write(&file, pool(values)).expect("written");
        let ran = stage.preflight(&["--nodepools", path]);
        assert_eq!(
            ran.status("pools-want-spot"),
            status,
            "{values}: {}",
            ran.message("pools-want-spot")
        );
        assert_eq!(ran.status("spot-role-exists"), role, "{values}");
        assert!(
            ran.message("node-role-known").contains("EC2NodeClass default"),
            "{values}"
        );
        // Saved facts carry the file.
        let saved = stage.home.path().join("facts.json");
        let saved = saved.to_str().expect("a path");
        let live = stage.run(&["preflight", "--nodepools", path, "--save", saved]);
        let offline = stage.run(&["preflight", "--from", saved]);
        assert_eq!(
            (live.code, live.stdout),
            (offline.code, offline.stdout),
            "{values}"
        );
    }
    std::fs::write(&file, "a: [").expect("written");
    let ran = stage.run(&["preflight", "--nodepools", path]).expect(1);
    assert!(
        ran.stderr.contains("pools.yaml") && ran.stderr.contains("line 1"),
        "{}",
        ran.stderr
    );
    let ran = stage.run(&["preflight", "--nodepools", "/nonexistent"]).expect(1);
    assert!(ran.stderr.contains("/nonexistent"), "{}", ran.stderr);
}

#[test]
fn everything_that_installing_lacks_in_one_report() {
    let before = |world: &mut World| {
        world
            .kubernetes(scenario::CLUSTER)
            .clear("apps/v1", "deployments");
    };
    let stage = healthy_with(before);
    assert_eq!(stage.preflight(&[]).status("can-install"), "pass");
    let stage = healthy_with(before);
    stage.standin.world(|world| {
        for user in world.kubernetes(scenario::CLUSTER).principals.values_mut() {
            user.access = Access::Decide(Arc::new(|asked| {
                let cluster_wide = asked.resource.starts_with("clusterrole")
                    || asked.resource == "customresourcedefinitions";
                asked.verb != "*" && !(asked.verb == "create" && cluster_wide)
            }));
        }
    });
    let ran = stage.preflight(&["-n", "karpenter"]).expect(0);
    let check = ran.check("can-install");
    assert_eq!(check["status"], "warn", "{check}");
    assert_eq!(
        check["evidence"]["missing"],
        json!([
            "create customresourcedefinitions.apiextensions.k8s.io",
            "create clusterrolebindings.rbac.authorization.k8s.io",
            "create clusterroles.rbac.authorization.k8s.io"
        ]),
        "{check}"
    );
    let asked: Vec<String> = stage
        .standin
        .calls()
        .iter()
        .filter(|call| call.path.ends_with("selfsubjectaccessreviews"))
        .map(|call| call.action.clone())
        .collect();
    assert!(asked.len() > 10, "{asked:?}");
    assert_eq!(stage.writes(), [""; 0]);
}

/// A private network has an endpoint for Service Quotas less often than for anything else here.
#[test]
fn a_quota_that_does_not_answer_holds_nothing_up() {
    let stage = Stage::healthy();
    stage.standin.fault("servicequotas:GetServiceQuota", Fault::Hang);
    let ran = stage.preflight(&["--request-timeout", "5m"]).expect(0);
    assert_eq!(ran.json()["verdict"], "ready");
    assert_eq!(ran.status("spot-quota"), "unknown");
    let message = ran.message("spot-quota");
    assert!(
        message.ends_with("no answer to servicequotas:GetServiceQuota within 3 s"),
        "{message}"
    );
}

#[test]
fn a_fresh_accounts_quota_is_a_warning() {
    let stage = healthy_with(|world| {
        world.account(scenario::ACCOUNT).quotas = vec![Quota::standard_spot(scenario::REGION, 5.0)];
    });
    let ran = stage.preflight(&[]).expect(0);
    let quota = ran.check("spot-quota");
    assert_eq!(quota["status"], "warn", "{quota}");
    let commands = quota["remedy"]["commands"].to_string();
    assert!(commands.contains("--quota-code L-34B43A08"), "{commands}");
}

/// Lists come in pages of 500 and are read to their end.
#[test]
fn long_lists_are_read_to_their_end() {
    let stage = with(scenario::fresh_account_karpenter_on_fargate(), |world| {
        let kubernetes = world.kubernetes(scenario::CLUSTER);
        for n in 0..1201 {
            kubernetes.put(event(&format!("e{n:05}"), "Warning", "BackOff", "restarting", 1));
            kubernetes.put(event(&format!("n{n:05}"), "Normal", "Pulled", "image", 1));
            let joined =
                json!([{"type": "Launched", "status": "True"}, {"type": "Registered", "status": "True"}]);
            kubernetes.put(claim(&format!("default-{n:05}"), joined, None));
        }
        kubernetes.put(event("z", "Warning", "", NO_ROLE, 1));
    });
    let ran = stage.preflight(&[]).expect(1);
    let seen = ran.check("spot-failures-seen");
    assert_eq!(seen["status"], "fail", "{seen}");
    assert_eq!(
        seen["evidence"]["events"]["read"], 1202,
        "normal Events are left to the server: {seen}"
    );
    assert_eq!(seen["evidence"]["nodeClaims"]["read"], 1201, "{seen}");
    let pages = |resource: &str| {
        stage
            .standin
            .calls()
            .iter()
            .filter(|call| call.action == format!("kubernetes:list {resource}"))
            .inspect(|call| assert_eq!(call.parameter("limit"), Some("500"), "{resource}"))
            .count()
    };
    // One more page of Events tells how far back they go, and the normal ones about NodeClaims which of those never joined.
    assert_eq!(
        (pages("events"), pages("nodeclaims.karpenter.sh")),
        (3 + 1 + 3, 3)
    );
}

#[test]
fn old_versions_are_read_as_well() {
    for old in ["v1beta1", "v1alpha5"] {
        let stage = healthy_with(|world| {
            let kubernetes = world.kubernetes(scenario::CLUSTER);
            kubernetes.uninstall("karpenter.sh", "v1");
            kubernetes.uninstall("karpenter.k8s.aws", "v1");
            if old == "v1beta1" {
                kubernetes.install_karpenter_v1beta1();
            } else {
                kubernetes.install_karpenter_v1alpha5();
            }
            let (kind, conditions) = match old {
                "v1beta1" => (
                    "NodeClaim",
                    json!([{"type": "Launched", "status": "False", "reason": "LaunchFailed", "message": NO_ROLE}]),
                ),
                _ => (
                    "Machine",
                    json!([{"type": "MachineLaunched", "status": "False", "reason": "LaunchFailed", "message": NO_ROLE}]),
                ),
            };
            kubernetes.put(json!({
                "apiVersion": format!("karpenter.sh/{old}"), "kind": kind,
                "metadata": {"name": "x", "creationTimestamp": minutes_ago(5)}, "status": {"conditions": conditions}
            }));
        });
        stage.standin.world(|world| {
            world
                .account(scenario::ACCOUNT)
                .roles
                .retain(|role| role.name != "AWSServiceRoleForEC2Spot");
        });
        let ran = stage.preflight(&[]).expect(1);
        let seen = ran.check("spot-failures-seen");
        assert_eq!(seen["status"], "fail", "{old}: {seen}");
    }
}

#[test]
fn auto_mode_without_a_controller_of_its_own() {
    let stage = with(scenario::fresh_account_karpenter_on_fargate(), |world| {
        let account = world.account(scenario::ACCOUNT);
        account.simulation = vec![
            Simulated::new("iam:CreateServiceLinkedRole", Decision::Allowed)
                .for_source("arn:aws:iam::111122223333:role/demo-cluster"),
        ];
        world.cluster(scenario::CLUSTER).auto_mode = Some(AutoMode {
            enabled: true,
            node_pools: vec!["general-purpose".to_owned()],
            node_role_arn: None,
        });
        world
            .kubernetes(scenario::CLUSTER)
            .clear("apps/v1", "deployments");
    });
    let ran = stage.preflight(&[]).expect(0);
    assert_eq!(ran.status("controller-identity"), "skip");
    assert!(ran.message("controller-identity").contains("EKS Auto Mode"));
    assert_eq!(ran.status("spot-role-exists"), "warn");
    assert!(
        ran.message("spot-role-exists").contains("EKS Auto Mode"),
        "{}",
        ran.message("spot-role-exists")
    );
}
