//! Every call of a run meets every fault: no answer that went wrong is taken for a good one, and nothing is written that was
//! not verified.
//!
//! `make test` strikes each call of the preflight with each fault, and each call that `create-role` rests on; `make fault-matrix`
//! strikes every call of both in every authentication mode.

// What the matrix found is for whoever runs it.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use capt_spot_standin::{AuthenticationMode, Fault, World, scenario};
use serde_json::{Value, json};

use crate::support::program::{Ran, Stage};

/// No run may take longer, whatever answers it gets: the longest chain of requests, each with its retries.
const BOUND: Duration = Duration::from_secs(60);

/// One way to go wrong.
struct Case {
    name: &'static str,
    fault: Fault,
    /// How many calls it strikes; none: all. What strikes once, a retry may heal.
    times: Option<usize>,
}

fn case(name: &'static str, fault: Fault) -> Case {
    Case {
        name,
        fault,
        times: None,
    }
}

fn reply(status: u16, content_type: &str, body: impl Into<String>) -> Fault {
    Fault::Reply {
        status,
        content_type: content_type.to_owned(),
        body: body.into(),
    }
}

/// An error in the service's own words: IAM and STS speak XML, the other services JSON, Kubernetes its `Status`.
fn typed(action: &str, status: u16, xml: &str, json_code: &str, kube_reason: &str) -> Fault {
    let service = action.split(':').next().unwrap_or_default();
    match service {
        "iam" | "sts" => reply(
            status,
            "text/xml",
            format!(
                "<ErrorResponse><Error><Type>Sender</Type><Code>{xml}</Code><Message>no</Message></Error>\
                 <RequestId>1</RequestId></ErrorResponse>"
            ),
        ),
        "kubernetes" => Fault::json(
            status,
            &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "no",
                    "reason": kube_reason, "code": status}),
        ),
        _ => Fault::json(status, &json!({"__type": json_code, "message": "no"})),
    }
}

/// The faults of the matrix, in the words of the service that is called.
fn cases(action: &str) -> Vec<Case> {
    let of_kubernetes = action.starts_with("kubernetes:");
    let of_xml = action.starts_with("iam:") || action.starts_with("sts:");
    let good_type = if of_xml { "text/xml" } else { "application/json" };
    let mut cases = vec![
        case(
            "403",
            typed(action, 403, "AccessDenied", "AccessDeniedException", "Forbidden"),
        ),
        case(
            "401",
            typed(
                action,
                401,
                "InvalidClientTokenId",
                "UnrecognizedClientException",
                "Unauthorized",
            ),
        ),
        case(
            "404 typed",
            typed(
                action,
                404,
                "NoSuchEntity",
                "ResourceNotFoundException",
                "NotFound",
            ),
        ),
        case(
            "404 text",
            reply(404, "text/plain; charset=utf-8", "404 page not found\n"),
        ),
        case("429", Fault::Throttled),
        Case {
            times: Some(1),
            ..case("429 once", Fault::Throttled)
        },
        case("500", Fault::Broken(500)),
        case("503", Fault::Broken(503)),
        case("hang", Fault::Hang),
        case("reset", Fault::Reset),
        case("truncated", Fault::Truncated),
        case("HTML with 200", Fault::proxy_page(200)),
        case("HTML with 407", Fault::proxy_page(407)),
        case("empty 200", reply(200, good_type, "")),
        case("204", reply(204, good_type, "")),
        case("{}", reply(200, good_type, "{}")),
        case("null", reply(200, good_type, "null")),
        case("wrong content type", reply(200, "image/png", "\u{1}\u{2}")),
        case(
            "gzip garbage",
            Fault::Header("content-encoding", "gzip".to_owned()),
        ),
        case("same token again", Fault::MorePages),
        case(
            "slow",
            Fault::Slow {
                chunk: 1,
                pause: Duration::from_millis(100),
            },
        ),
        case("without end", Fault::Endless),
        case("redirect", reply(307, "text/plain", "elsewhere")),
        case(
            "clock",
            typed(
                action,
                403,
                "RequestExpired",
                "InvalidSignatureException",
                "Unauthorized",
            ),
        ),
        case(
            "expired token",
            typed(
                action,
                403,
                "ExpiredToken",
                "ExpiredTokenException",
                "Unauthorized",
            ),
        ),
    ];
    if of_kubernetes {
        cases.push(case(
            "items: null",
            Fault::json(
                200,
                &json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": null}),
            ),
        ));
        cases.push(case(
            "another kind",
            Fault::json(
                200,
                &json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}),
            ),
        ));
    }
    if of_xml {
        cases.push(case(
            "empty XML",
            reply(
                200,
                "text/xml",
                "<R xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"></R>",
            ),
        ));
    }
    cases
}

/// The calls of a world's ready preflight whose facts a needed check rests on (DESIGN's contract): when one of them goes wrong
/// for good, the verdict is not `ready`.
const NEEDED: &[&str] = &[
    "sts:GetCallerIdentity",
    "eks:DescribeCluster",
    "eks:ListAccessEntries",
    "iam:GetRole AWSServiceRoleForEC2Spot",
    "iam:ListAttachedRolePolicies AWSServiceRoleForEC2Spot",
    "iam:GetRole demo-node",
    "kubernetes:get configmaps kube-system/aws-auth",
    "kubernetes:list nodepools",
    "kubernetes:list ec2nodeclasses",
    "kubernetes:list deployments",
    "kubernetes:get serviceaccounts",
];

fn needed(long: &str, mode: AuthenticationMode) -> bool {
    let idle = match mode {
        AuthenticationMode::ConfigMap => "eks:ListAccessEntries",
        AuthenticationMode::Api => "kubernetes:get configmaps",
        AuthenticationMode::ApiAndConfigMap => return NEEDED.iter().any(|call| long.starts_with(call)),
    };
    !long.starts_with(idle) && NEEDED.iter().any(|call| long.starts_with(call))
}

/// Faults that change nothing about what was read.
fn harmless(case: &Case, long: &str) -> bool {
    // Only a list has pages; what is not compressed is refused by some clients and read by others.
    let paged = case.name == "same token again" && !(long.contains(":List") || long.contains(":list "));
    case.times.is_some() || paged || case.name == "gzip garbage"
}

/// What the whole matrix found.
#[derive(Default)]
struct Found {
    cases: usize,
    false_ready: usize,
    unasked_writes: usize,
    wrong: Vec<String>,
}

/// Each action with what it is about, of a run that nothing disturbs.
fn calls_of(stage: &Stage) -> Vec<String> {
    let mut calls: Vec<String> = stage
        .standin
        .calls()
        .into_iter()
        .map(|call| call.long.trim_end().to_owned())
        .collect();
    calls.sort();
    calls.dedup();
    calls
}

fn verdict(ran: &Ran) -> Option<String> {
    let report: Value = serde_json::from_str(&ran.stdout).ok()?;
    report["verdict"].as_str().map(str::to_owned)
}

/// Shares the cases among two workers, each with stand-ins of its own.
fn over(
    world: impl Fn() -> World + Sync,
    calls: &[String],
    run: impl Fn(&Stage, &str, &Case) -> Vec<String> + Sync,
) -> Found {
    let work: Mutex<Vec<(String, Case)>> = Mutex::new(
        calls
            .iter()
            .flat_map(|call| cases(call).into_iter().map(|case| (call.clone(), case)))
            .collect(),
    );
    let found = Mutex::new(Found::default());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut stage = Stage::new(world());
                loop {
                    let next = work.lock().unwrap_or_else(PoisonError::into_inner).pop();
                    let Some((call, case)) = next else { return };
                    stage.standin.clear_faults();
                    stage.standin.clear_calls();
                    // The time without an answer is in the record: `*` takes what stands behind.
                    {
                        let setting = stage.standin.fault(&format!("{call}*"), case.fault.clone());
                        if let Some(times) = case.times {
                            let _ = setting.times(times);
                        }
                    }
                    let wrong = run(&stage, &call, &case);
                    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                    found.cases += 1;
                    for what in wrong {
                        found.false_ready += usize::from(what.starts_with("false ready"));
                        found.unasked_writes += usize::from(what.starts_with("unasked write"));
                        found.wrong.push(format!("{call}: {}: {what}", case.name));
                    }
                    drop(found);
                    if !stage.standin.writes().is_empty() {
                        stage = Stage::new(world());
                    }
                }
            });
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// What holds for every run: it ends in time, does not panic, and prints one report that agrees with its exit code.
fn common(ran: &Ran, took: Duration) -> Vec<String> {
    let mut wrong = Vec::new();
    if took > BOUND {
        wrong.push(format!("took {took:?}"));
    }
    if ran.stderr.contains("panicked") || ran.code < 0 {
        wrong.push(format!("died: {} {}", ran.code, ran.stderr));
    }
    wrong
}

fn preflights(mode: AuthenticationMode) -> Found {
    let world = move || {
        let mut world = scenario::karpenter_on_fargate(mode);
        world.account(scenario::ACCOUNT).add_spot_role();
        world
    };
    let stage = Stage::new(world());
    let whole = stage.preflight(&[]).expect(0);
    assert_eq!(verdict(&whole).as_deref(), Some("ready"));
    let calls = calls_of(&stage);
    for call in NEEDED {
        let read = calls.iter().any(|one| one.starts_with(call));
        assert!(
            read || !needed(call, mode),
            "{call} is no longer made: {calls:#?}"
        );
    }
    over(world, &calls, |stage, call, case| {
        let started = Instant::now();
        let ran = stage.preflight(&["--request-timeout", "1s"]);
        let mut wrong = common(&ran, started.elapsed());
        let code = match verdict(&ran).as_deref() {
            Some("ready") => 0,
            Some("not-ready") => 1,
            Some("undecided") => 3,
            _ => {
                wrong.push(format!("no report: {} {}", ran.stdout, ran.stderr));
                ran.code
            }
        };
        if ran.code != code {
            wrong.push(format!("exit code {} with the verdict of {code}", ran.code));
        }
        if code == 0 && needed(call, mode) && !harmless(case, call) {
            wrong.push("false ready".to_owned());
        }
        if !stage.writes().is_empty() {
            wrong.push("unasked write".to_owned());
        }
        wrong
    })
}

/// What has to be verified before the role may be created.
const VERIFIED: &[&str] = &[
    "sts:GetCallerIdentity",
    "eks:DescribeCluster",
    "iam:GetRole AWSServiceRoleForEC2Spot",
];

fn creations(mode: AuthenticationMode) -> Found {
    let world = move || scenario::karpenter_on_fargate(mode);
    let stage = Stage::new(world());
    let args = ["create-role", "--yes", "-o", "json"];
    let _ = stage.run(&args).expect(0);
    let mut calls = calls_of(&stage);
    if !whole() {
        // What else is read is the preflight's, whose cases are above.
        calls.retain(|call| {
            call.starts_with("iam:CreateServiceLinkedRole")
                || VERIFIED.iter().any(|one| call.starts_with(one))
        });
    }
    over(world, &calls, |stage, call, case| {
        let started = Instant::now();
        let ran = stage.run(&[args.as_slice(), &["--request-timeout", "1s"]].concat());
        let mut wrong = common(&ran, started.elapsed());
        let writes = stage.writes();
        // That the role is not there is what IAM says anyway.
        let true_answer = case.name == "404 typed" && call.starts_with("iam:GetRole");
        let verified =
            !VERIFIED.iter().any(|one| call.starts_with(one)) || harmless(case, call) || true_answer;
        if !writes.is_empty() && !verified {
            wrong.push("unasked write".to_owned());
        }
        let there = stage.standin.world(|world| {
            world
                .account(scenario::ACCOUNT)
                .role("AWSServiceRoleForEC2Spot")
                .is_some()
        });
        if ran.code == 0 && !there {
            wrong.push("said to be done, and it is not".to_owned());
        }
        if ran.code == 0 && serde_json::from_str::<Value>(&ran.stdout).is_err() {
            wrong.push(format!("no answer: {}", ran.stdout));
        }
        wrong
    })
}

fn report(parts: Vec<(&str, Found)>) {
    let mut sum = Found::default();
    let mut by_part = BTreeMap::new();
    for (name, found) in parts {
        by_part.insert(name.to_owned(), found.cases);
        sum.cases += found.cases;
        sum.false_ready += found.false_ready;
        sum.unasked_writes += found.unasked_writes;
        sum.wrong
            .extend(found.wrong.into_iter().map(|one| format!("{name}: {one}")));
    }
    println!(
        "fault matrix: {} cases, {} false ready, {} unasked writes {by_part:?}",
        sum.cases, sum.false_ready, sum.unasked_writes
    );
    sum.wrong.sort();
    assert!(
        sum.wrong.is_empty(),
        "{} wrong:\n{}",
        sum.wrong.len(),
        sum.wrong.join("\n")
    );
}

/// `make fault-matrix`: the full product.
fn whole() -> bool {
    std::env::var_os("CAPT_SPOT_FAULT_MATRIX").is_some()
}

#[test]
fn no_fault_makes_a_false_ready_or_an_unasked_write() {
    let mut modes = vec![AuthenticationMode::ApiAndConfigMap];
    if whole() {
        modes.extend([AuthenticationMode::ConfigMap, AuthenticationMode::Api]);
    }
    let mut parts = Vec::new();
    for mode in modes {
        parts.push(("preflight", preflights(mode)));
        parts.push(("create-role", creations(mode)));
    }
    report(parts);
}
