//! *Absent* and *empty* come from complete answers only: a service that says half of something, nothing, or two things at once leaves
//! the fact unknown, and the report is never `ready` on it.

use std::collections::BTreeMap;
use std::path::Path;

use capt_spot_standin::Fault;

use crate::support::program::Stage;

fn reply(status: u16, content_type: &str, body: &str) -> Fault {
    Fault::Reply {
        status,
        content_type: content_type.to_owned(),
        body: body.to_owned(),
    }
}

fn json_reply(body: &str) -> Fault {
    reply(200, "application/json", body)
}

/// What nothing of Kubernetes' says: the plain text of a path that is not served.
fn plain_404() -> Fault {
    reply(404, "text/plain; charset=utf-8", "404 page not found\n")
}

/// A call, what is wrong with its answer, and the check that must not judge from it.
struct Row {
    name: &'static str,
    call: &'static str,
    fault: Fault,
    check: &'static str,
}

fn rows() -> Vec<Row> {
    let row = |name, call, fault, check| Row {
        name,
        call,
        fault,
        check,
    };
    let cut_role = "<GetRoleResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><GetRoleResult><Role>\
                    <RoleName>AWSServiceRoleForEC2Spot</RoleName><Arn>arn:aws:iam::111122223333:role/aws-service-role/\
                    spot.amazonaws.com/AWSServiceRoleForEC2Spot</Arn>";
    let bare_role = format!("{cut_role}</Role></GetRoleResult></GetRoleResponse>");
    const ENTRIES: &str = "eks:ListAccessEntries*";
    const MAPPED: &str = "node-role-mapped";
    vec![
        row("entries: an empty body", ENTRIES, json_reply(""), MAPPED),
        row(
            "entries: 204",
            ENTRIES,
            reply(204, "application/json", ""),
            MAPPED,
        ),
        row("entries: no list", ENTRIES, json_reply("{}"), MAPPED),
        row(
            "entries: null",
            ENTRIES,
            json_reply(r#"{"accessEntries":null}"#),
            MAPPED,
        ),
        row(
            "entries: a token that repeats",
            ENTRIES,
            json_reply(r#"{"accessEntries":[],"nextToken":"a"}"#),
            MAPPED,
        ),
        row(
            "entries: 404 of a cluster that is there",
            ENTRIES,
            reply(
                404,
                "application/json",
                r#"{"__type":"ResourceNotFoundException","message":"No cluster found for name: demo."}"#,
            ),
            MAPPED,
        ),
        row(
            "entries: another mode than the cluster's",
            ENTRIES,
            reply(
                400,
                "application/json",
                r#"{"__type":"InvalidRequestException","message":"The cluster's authentication mode must be set to one of [API, API_AND_CONFIG_MAP] to perform this operation."}"#,
            ),
            MAPPED,
        ),
        row(
            "Fargate profiles: no list",
            "eks:ListFargateProfiles*",
            json_reply("{}"),
            "fargate-role-mapped",
        ),
        row(
            "the role: cut off",
            "iam:GetRole*",
            reply(200, "text/xml", cut_role),
            "spot-role-intact",
        ),
        row(
            "the role: without its trust policy",
            "iam:GetRole*",
            reply(200, "text/xml", &bare_role),
            "spot-role-intact",
        ),
        row(
            "the role's policies: without the list",
            "iam:ListAttachedRolePolicies*",
            reply(
                200,
                "text/xml",
                "<ListAttachedRolePoliciesResponse><ListAttachedRolePoliciesResult><IsTruncated>false</IsTruncated>\
                 </ListAttachedRolePoliciesResult></ListAttachedRolePoliciesResponse>",
            ),
            "spot-role-intact",
        ),
        row(
            "the cluster: without its endpoint",
            "eks:DescribeCluster*",
            json_reply(
                r#"{"cluster":{"name":"demo","arn":"arn:aws:eks:eu-west-1:111122223333:cluster/demo","status":"ACTIVE"}}"#,
            ),
            "cluster-found",
        ),
        row(
            "node pools: plain 404 although the group is served",
            "kubernetes:list nodepools*",
            plain_404(),
            "pools-want-spot",
        ),
        row(
            "node pools: null",
            "kubernetes:list nodepools*",
            json_reply(
                r#"{"kind":"NodePoolList","apiVersion":"karpenter.sh/v1","metadata":{},"items":null}"#,
            ),
            "pools-want-spot",
        ),
        row(
            "node pools: a list of something else",
            "kubernetes:list nodepools*",
            json_reply(r#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[]}"#),
            "pools-want-spot",
        ),
        row(
            "Deployments: plain 404",
            "kubernetes:list deployments*",
            plain_404(),
            "controller-identity",
        ),
        row(
            "Events: plain 404",
            "kubernetes:list events*",
            plain_404(),
            "spot-failures-seen",
        ),
        row(
            "aws-auth: something else",
            "kubernetes:get configmaps*",
            json_reply(r#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":"aws-auth"}}"#),
            "aws-auth-parses",
        ),
    ]
}

#[test]
fn half_an_answer_is_unknown() {
    let stage = Stage::healthy();
    stage.preflight(&[]).expect(0);
    let mut wrong = Vec::new();
    for row in rows() {
        stage.standin.clear_faults();
        stage.standin.fault(row.call, row.fault);
        let ran = stage.preflight(&[]);
        let status = ran.status(row.check);
        if status != "unknown" {
            wrong.push(format!("{}: {} is {status}", row.name, row.check));
        }
        let verdict = ran.json()["verdict"].clone();
        // Advisory checks may be unknown in a ready report.
        let needed = !matches!(
            row.check,
            "fargate-role-mapped" | "spot-failures-seen" | "controller-identity" | "pools-want-spot"
        );
        if needed && verdict == "ready" {
            wrong.push(format!("{}: ready", row.name));
        }
        let text = format!("{}{}", ran.stdout, ran.stderr);
        for never in ["panicked", "delete-service-linked-role"] {
            if text.contains(never) {
                wrong.push(format!("{}: {never}", row.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Each request of a preflight is in the table of docs/performance.md, with the checks that need it.
#[test]
fn a_preflight_asks_no_more_than_it_judges() {
    let stage = Stage::healthy();
    stage.preflight(&[]).expect(0);
    let mut asked: BTreeMap<String, usize> = BTreeMap::new();
    for action in stage.standin.actions() {
        *asked.entry(action).or_default() += 1;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/performance.md")).expect("docs/performance.md");
    let (_, table) = page
        .split_once("## What one preflight asks")
        .expect("the section");
    let mut told: BTreeMap<String, usize> = BTreeMap::new();
    for row in table.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [count, action, reason] = cells[..] else {
            panic!("{row}");
        };
        let checks: Vec<&str> = reason.split('`').skip(1).step_by(2).collect();
        let known = |check: &&str| root.join(format!("docs/checks/{check}.md")).exists();
        assert!(
            !checks.is_empty() && checks.iter().all(known),
            "{action}: which checks need it?"
        );
        told.insert(action.to_owned(), count.parse().expect("a number"));
    }
    assert_eq!(
        asked, told,
        "docs/performance.md says what a preflight asks, and why"
    );
    let all = format!("\n{} in all.\n", asked.values().sum::<usize>());
    assert!(table.contains(&all), "{all}");
}
