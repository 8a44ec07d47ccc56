//! The stand-ins, asked by the plainest client there is.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::scenario::{self, ACCESS_KEY, ACCOUNT, ADMIN_TOKEN, CLUSTER, REGION, VIEW_TOKEN};
use crate::*;

/// An answer as it came over the wire.
#[derive(Debug)]
struct Got {
    status: u16,
    head: String,
    body: String,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The text of an XML element, entities undone.
    fn xml(&self, name: &str) -> &str {
        let from = self
            .body
            .find(&format!("<{name}>"))
            .unwrap_or_else(|| panic!("no <{name}> in {}", self.body));
        let rest = &self.body[from + name.len() + 2..];
        &rest[..rest.find(&format!("</{name}>")).expect("closed")]
    }

    fn code(&self) -> (u16, &str, &str) {
        (self.status, self.xml("Code"), self.xml("Message"))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// One request on a connection of its own.
fn send(url: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> std::io::Result<Got> {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://"))?;
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: standin\r\nconnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(text.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let answer = String::from_utf8(bytes).expect("utf-8");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(ErrorKind::UnexpectedEof)?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .expect("a status line");
    Ok(Got {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    })
}

fn authorization(key: &str, region: &str, service: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential={key}/20260101/{region}/{service}/aws4_request, SignedHeaders=host, Signature=0"
    )
}

/// A signed request of the query protocol.
fn query(standin: &Standin, key: &str, service: &str, form: &str) -> Got {
    let authorization = authorization(key, "us-east-1", service);
    let version = if service == "sts" {
        "2011-06-15"
    } else {
        "2010-05-08"
    };
    let token = if key.starts_with("ASIA") {
        vec![("x-amz-security-token", "x")]
    } else {
        Vec::new()
    };
    let mut headers = vec![
        ("authorization", authorization.as_str()),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    headers.extend(token);
    send(
        &standin.aws_url(),
        "POST",
        "/",
        &headers,
        &format!("{form}&Version={version}"),
    )
    .expect("an answer")
}

fn iam(standin: &Standin, form: &str) -> Got {
    query(standin, ACCESS_KEY, "iam", form)
}

fn eks_as(standin: &Standin, key: &str, region: &str, path: &str) -> Got {
    let authorization = authorization(key, region, "eks");
    send(
        &standin.aws_url(),
        "GET",
        path,
        &[("authorization", &authorization)],
        "",
    )
    .expect("an answer")
}

fn eks(standin: &Standin, path: &str) -> Got {
    eks_as(standin, ACCESS_KEY, REGION, path)
}

fn quotas(standin: &Standin, operation: &str, body: &Value) -> Got {
    let authorization = authorization(ACCESS_KEY, REGION, "servicequotas");
    let target = format!("ServiceQuotasV20190624.{operation}");
    let headers = [
        ("authorization", authorization.as_str()),
        ("content-type", "application/x-amz-json-1.1"),
        ("x-amz-target", &target),
    ];
    send(&standin.aws_url(), "POST", "/", &headers, &body.to_string()).expect("an answer")
}

fn kube_send(standin: &Standin, token: &str, method: &str, path: &str, body: &str) -> std::io::Result<Got> {
    let bearer = format!("Bearer {token}");
    let mut headers = vec![("content-type", "application/json")];
    if !token.is_empty() {
        headers.push(("authorization", &bearer));
    }
    send(&standin.kubernetes_url(CLUSTER), method, path, &headers, body)
}

fn kube(standin: &Standin, token: &str, path: &str) -> Got {
    kube_send(standin, token, "GET", path, "").expect("an answer")
}

fn post(standin: &Standin, token: &str, path: &str, body: &Value) -> Got {
    kube_send(standin, token, "POST", path, &body.to_string()).expect("an answer")
}

fn fresh() -> Standin {
    Standin::start(scenario::fresh_account_karpenter_on_fargate()).expect("started")
}

// --- AWS ---

#[test]
fn sts_says_who_signs() {
    let standin = fresh();
    let got = query(&standin, ACCESS_KEY, "sts", "Action=GetCallerIdentity");
    assert_eq!(got.status, 200);
    assert_eq!(got.header("content-type"), Some("text/xml"));
    assert!(got.body.starts_with(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>"
    ));
    assert_eq!(got.xml("Arn"), "arn:aws:iam::111122223333:user/platform-admin");
    assert_eq!(got.xml("Account"), ACCOUNT);
    assert!(got.xml("UserId").starts_with("AIDA"));
}

#[test]
fn sts_answers_a_presigned_url() {
    let standin = fresh();
    let path = format!(
        "/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Credential={ACCESS_KEY}%2F20260101%2Feu-west-1%2Fsts%2Faws4_request&X-Amz-Signature=abc"
    );
    let got = send(&standin.aws_url(), "GET", &path, &[], "").expect("an answer");
    assert_eq!((got.status, got.xml("Account")), (200, ACCOUNT));
    let calls = standin.calls();
    assert_eq!(calls[0].action, "sts:GetCallerIdentity");
    assert_eq!(calls[0].access_key.as_deref(), Some(ACCESS_KEY));
    assert!(
        calls[0].parameters.is_empty(),
        "no signature in the record: {:?}",
        calls[0].parameters
    );
}

#[test]
fn keys_that_are_unknown_expired_or_missing() {
    let standin = fresh();
    standin.world(|world| {
        let account = world.account(ACCOUNT);
        account.add_user("AKIAEXPIRED", "old").expired = true;
        account.add_session("ASIAWITHOUTTOKEN", "demo-admin", "someone");
    });
    const INVALID: &str = "The security token included in the request is invalid.";
    assert_eq!(
        query(&standin, "AKIANOBODY", "iam", "Action=GetRole&RoleName=x").code(),
        (403, "InvalidClientTokenId", INVALID)
    );
    assert_eq!(
        query(&standin, "AKIAEXPIRED", "sts", "Action=GetCallerIdentity").code(),
        (
            403,
            "ExpiredToken",
            "The security token included in the request is expired"
        )
    );
    let got = eks_as(&standin, "AKIANOBODY", REGION, "/clusters");
    assert_eq!(
        (got.status, got.header("x-amzn-errortype"), got.json()),
        (
            403,
            Some("UnrecognizedClientException"),
            json!({ "message": INVALID })
        )
    );
    // A temporary key needs its session token.
    assert_eq!(
        eks_as(&standin, "ASIAWITHOUTTOKEN", REGION, "/clusters").status,
        403
    );
    assert_eq!(
        query(&standin, "ASIAWITHOUTTOKEN", "sts", "Action=GetCallerIdentity").status,
        200
    );
    let unsigned = send(&standin.aws_url(), "GET", "/clusters", &[], "").expect("an answer");
    assert_eq!(
        unsigned.header("x-amzn-errortype"),
        Some("MissingAuthenticationTokenException")
    );
}

#[test]
fn assume_role_gives_a_session_in_the_roles_account() {
    let mut world = scenario::fresh_account_karpenter_on_fargate();
    let mut other = Account::new("444455556666");
    other.roles.push(Role {
        session_denied: vec![Denial {
            action: "eks:*".to_owned(),
            resource: None,
            because: Because::NoIdentityPolicy,
        }],
        ..Role::new("reader", principal_trust(ACCOUNT)).with_path("/team/")
    });
    world.accounts.push(other);
    let standin = Standin::start(world).expect("started");

    let got = query(
        &standin,
        ACCESS_KEY,
        "sts",
        "Action=AssumeRole&RoleArn=arn%3Aaws%3Aiam%3A%3A444455556666%3Arole%2Fteam%2Freader&RoleSessionName=me",
    );
    assert_eq!(got.status, 200, "{}", got.body);
    assert_eq!(got.xml("Arn"), "arn:aws:sts::444455556666:assumed-role/reader/me");
    assert!(got.xml("AssumedRoleId").ends_with(":me"));
    let key = got.xml("AccessKeyId").to_owned();
    let who = query(&standin, &key, "sts", "Action=GetCallerIdentity");
    assert_eq!(who.xml("Arn"), "arn:aws:sts::444455556666:assumed-role/reader/me");
    assert_eq!(who.xml("Account"), "444455556666");

    // Whether it exists is not said, and a path is part of the ARN.
    let got = query(
        &standin,
        ACCESS_KEY,
        "sts",
        "Action=AssumeRole&RoleArn=arn:aws:iam::444455556666:role/reader&RoleSessionName=me",
    );
    assert_eq!(
        got.code(),
        (
            403,
            "AccessDenied",
            "User: arn:aws:iam::111122223333:user/platform-admin is not authorized to perform: sts:AssumeRole on \
             resource: arn:aws:iam::444455556666:role/reader"
        )
    );
    assert!(standin.writes().is_empty());
}

#[test]
fn iam_shows_a_role() {
    let standin = fresh();
    standin.world(|world| {
        let role = world.account(ACCOUNT).role_mut("demo-node");
        role.permissions_boundary = Some("arn:aws:iam::111122223333:policy/edge".to_owned());
        role.tags = vec![("team".to_owned(), "a & b".to_owned())];
        role.max_session_duration = 7200;
    });
    let got = iam(&standin, "Action=GetRole&RoleName=DEMO-node");
    assert_eq!(got.status, 200);
    assert_eq!(got.xml("RoleName"), "demo-node");
    assert_eq!(got.xml("Path"), "/");
    assert_eq!(got.xml("Arn"), "arn:aws:iam::111122223333:role/demo-node");
    assert_eq!(got.xml("CreateDate"), "2024-05-01T10:00:00Z");
    assert_eq!(got.xml("MaxSessionDuration"), "7200");
    assert_eq!(
        got.xml("PermissionsBoundaryArn"),
        "arn:aws:iam::111122223333:policy/edge"
    );
    assert_eq!(got.xml("Value"), "a &amp; b");
    let trust = http::decode(got.xml("AssumeRolePolicyDocument"));
    let trust: Value = serde_json::from_str(&trust).expect("JSON");
    assert_eq!(trust["Statement"][0]["Principal"]["Service"], "ec2.amazonaws.com");
    assert!(
        got.xml("AssumeRolePolicyDocument")
            .starts_with("%7B%22Version%22%3A%222012-10-17%22")
    );

    let got = iam(&standin, "Action=GetRole&RoleName=AWSServiceRoleForEC2Spot");
    assert_eq!(
        got.code(),
        (
            404,
            "NoSuchEntity",
            "The role with name AWSServiceRoleForEC2Spot cannot be found."
        )
    );
    let got = iam(&standin, "Action=GetInstanceProfile&InstanceProfileName=none");
    assert_eq!(
        got.code(),
        (404, "NoSuchEntity", "Instance Profile none cannot be found.")
    );
    let got = iam(&standin, "Action=GetRole");
    assert_eq!((got.status, got.xml("Code")), (400, "ValidationError"));
    let got = iam(&standin, "Action=DeleteEverything");
    assert_eq!(
        got.code(),
        (
            400,
            "InvalidAction",
            "Could not find operation DeleteEverything for version 2010-05-08"
        )
    );
}

#[test]
fn iam_pages_with_markers() {
    let standin = fresh();
    let mut seen = Vec::new();
    let mut marker = String::new();
    for _ in 0..5 {
        let got = iam(
            &standin,
            &format!("Action=ListAttachedRolePolicies&RoleName=demo-node&MaxItems=1{marker}"),
        );
        seen.push(got.xml("PolicyName").to_owned());
        if got.xml("IsTruncated") == "false" {
            break;
        }
        marker = format!("&Marker={}", got.xml("Marker"));
    }
    assert_eq!(
        seen,
        [
            "AmazonEKSWorkerNodePolicy",
            "AmazonEKS_CNI_Policy",
            "AmazonEC2ContainerRegistryPullOnly"
        ]
    );
    let got = iam(
        &standin,
        "Action=ListAttachedRolePolicies&RoleName=demo-node&Marker=rubbish",
    );
    assert_eq!((got.status, got.xml("Code")), (400, "ValidationError"));
}

#[test]
fn the_spot_role_is_made_once_and_seen_late() {
    let standin = fresh();
    standin.world(|world| world.account(ACCOUNT).reads_until_visible = 2);
    const CREATE: &str = "Action=CreateServiceLinkedRole&AWSServiceName=spot.amazonaws.com";
    const GET: &str = "Action=GetRole&RoleName=AWSServiceRoleForEC2Spot";

    let suffixed = iam(&standin, &format!("{CREATE}&CustomSuffix=two"));
    assert_eq!(
        suffixed.code(),
        (
            400,
            "InvalidInput",
            "Custom suffix is not allowed for spot.amazonaws.com"
        )
    );
    let made = iam(&standin, CREATE);
    assert_eq!(made.status, 200);
    let arn = "arn:aws:iam::111122223333:role/aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot";
    assert_eq!(made.xml("Arn"), arn);
    assert_eq!(iam(&standin, GET).status, 404);
    let policies = "Action=ListAttachedRolePolicies&RoleName=AWSServiceRoleForEC2Spot";
    assert_eq!(iam(&standin, policies).status, 404);
    assert_eq!(iam(&standin, GET).status, 404);
    assert_eq!(iam(&standin, GET).xml("Arn"), arn);
    assert_eq!(
        iam(&standin, policies).xml("PolicyArn"),
        "arn:aws:iam::aws:policy/aws-service-role/AWSEC2SpotServiceRolePolicy"
    );
    const TAKEN: &str = "Service role name AWSServiceRoleForEC2Spot has been taken in this account, please try a different suffix.";
    assert_eq!(iam(&standin, CREATE).code(), (400, "InvalidInput", TAKEN));
    standin.world(|world| world.account(ACCOUNT).taken = TakenError::EntityAlreadyExists);
    assert_eq!(iam(&standin, CREATE).code(), (409, "EntityAlreadyExists", TAKEN));

    let writes: Vec<_> = standin
        .writes()
        .into_iter()
        .map(|call| (call.action, call.status))
        .collect();
    let create = "iam:CreateServiceLinkedRole".to_owned();
    let statuses = [Some(400), Some(200), Some(400), Some(409)];
    assert_eq!(writes, statuses.map(|status| (create.clone(), status)));
}

#[test]
fn denials_are_worded_by_their_policy() {
    let arn = "arn:aws:iam::111122223333:role/aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot";
    let cases = [
        (Because::Unsaid, ""),
        (
            Because::NoIdentityPolicy,
            " because no identity-based policy allows the iam:CreateServiceLinkedRole action",
        ),
        (
            Because::ServiceControlPolicy(None),
            " with an explicit deny in a service control policy",
        ),
        (
            Because::ServiceControlPolicy(Some("arn:aws:organizations::1:policy/o-1/p-1".to_owned())),
            " with an explicit deny in a service control policy: arn:aws:organizations::1:policy/o-1/p-1",
        ),
        (
            Because::PermissionsBoundary,
            " with an explicit deny in a permissions boundary",
        ),
        (
            Because::NoPermissionsBoundary,
            " because no permissions boundary allows the iam:CreateServiceLinkedRole action",
        ),
    ];
    for (because, tail) in cases {
        let standin = fresh();
        standin.world(|world| {
            let caller = world.account(ACCOUNT).add_user(ACCESS_KEY, "platform-admin");
            caller.deny_because("iam:CreateServiceLinkedRole", because);
        });
        let got = iam(
            &standin,
            "Action=CreateServiceLinkedRole&AWSServiceName=spot.amazonaws.com",
        );
        let message = format!(
            "User: arn:aws:iam::111122223333:user/platform-admin is not authorized to perform: \
             iam:CreateServiceLinkedRole on resource: {arn}{tail}"
        );
        assert_eq!(got.code(), (403, "AccessDenied", message.as_str()));
    }
}

#[test]
fn denials_reach_every_service_and_only_their_resource() {
    let standin = fresh();
    standin.world(|world| {
        let caller = world.account(ACCOUNT).add_user(ACCESS_KEY, "platform-admin");
        caller.deny_on("iam:GetRole", "role demo-node", Because::NoIdentityPolicy);
        caller.deny("eks:DescribeCluster").deny("servicequotas:*");
    });
    let got = iam(&standin, "Action=GetRole&RoleName=demo-node");
    assert_eq!(
        got.code(),
        (
            403,
            "AccessDenied",
            "User: arn:aws:iam::111122223333:user/platform-admin is not authorized to perform: iam:GetRole on \
             resource: role demo-node because no identity-based policy allows the iam:GetRole action"
        )
    );
    assert_eq!(iam(&standin, "Action=GetRole&RoleName=demo-cluster").status, 200);
    let got = eks(&standin, "/clusters/demo");
    assert_eq!(
        (got.status, got.header("x-amzn-errortype")),
        (403, Some("AccessDeniedException"))
    );
    assert_eq!(
        got.json()["message"],
        "User: arn:aws:iam::111122223333:user/platform-admin is not authorized to perform: eks:DescribeCluster on \
         resource: arn:aws:eks:eu-west-1:111122223333:cluster/demo because no identity-based policy allows the \
         eks:DescribeCluster action"
    );
    assert_eq!(eks(&standin, "/clusters").status, 200);
    let got = quotas(
        &standin,
        "GetServiceQuota",
        &json!({ "ServiceCode": "ec2", "QuotaCode": "L-34B43A08" }),
    );
    assert_eq!(
        (got.status, &got.json()["__type"]),
        (400, &json!("AccessDeniedException"))
    );
}

#[test]
fn the_simulator_decides_as_told_and_its_context_is_recorded() {
    let standin = fresh();
    standin.world(|world| {
        let account = world.account(ACCOUNT);
        account.simulation.insert(
            0,
            Simulated {
                allowed_by_organizations: Some(false),
                allowed_by_boundary: Some(true),
                missing_context: vec!["aws:SourceIp".to_owned()],
                matched: vec!["deny-all".to_owned()],
                ..Simulated::new("iam:CreateServiceLinkedRole", Decision::ExplicitDeny)
            }
            .for_source("arn:aws:iam::111122223333:user/*"),
        );
    });
    let ask = |source: &str| {
        iam(
            &standin,
            &format!(
                "Action=SimulatePrincipalPolicy&PolicySourceArn={source}&ActionNames.member.1=iam%3ACreateServiceLinkedRole\
                 &ActionNames.member.2=iam%3AGetRole&ResourceArns.member.1=arn%3Aone\
                 &ContextEntries.member.1.ContextKeyName=iam%3AAWSServiceName\
                 &ContextEntries.member.1.ContextKeyValues.member.1=spot.amazonaws.com"
            ),
        )
    };
    let got = ask("arn:aws:iam::111122223333:user/platform-admin");
    assert_eq!(got.status, 200);
    let members: Vec<_> = got.body.split("<EvalActionName>").skip(1).collect();
    assert_eq!(members.len(), 2);
    assert!(
        members[0].starts_with("iam:CreateServiceLinkedRole</EvalActionName><EvalResourceName>arn:one</")
    );
    for part in [
        "<EvalDecision>explicitDeny</EvalDecision>",
        "<MissingContextValues><member>aws:SourceIp</member></MissingContextValues>",
        "<OrganizationsDecisionDetail><AllowedByOrganizations>false</AllowedByOrganizations></OrganizationsDecisionDetail>",
        "<AllowedByPermissionsBoundary>true</AllowedByPermissionsBoundary>",
        "<SourcePolicyId>deny-all</SourcePolicyId>",
    ] {
        assert!(members[0].contains(part), "{part} in {}", members[0]);
    }
    assert!(members[1].contains("<EvalDecision>allowed</EvalDecision>"));
    assert!(!members[1].contains("Organizations"));
    let call = &standin.calls()[0];
    assert_eq!(
        call.parameter("ContextEntries.member.1.ContextKeyName"),
        Some("iam:AWSServiceName")
    );
    assert!(!call.is_write());

    // Karpenter's role may not, by the scenario.
    assert!(
        ask("arn:aws:iam::111122223333:role/demo-karpenter")
            .body
            .contains("implicitDeny")
    );
    let got = ask("arn:aws:iam::111122223333:role/gone");
    assert_eq!(
        got.code(),
        (404, "NoSuchEntity", "The role with name gone cannot be found.")
    );
    let got = ask("arn:aws:sts::111122223333:assumed-role/demo-admin/me");
    assert_eq!(
        got.code(),
        (
            400,
            "InvalidInput",
            "Invalid Entity Arn: arn:aws:sts::111122223333:assumed-role/demo-admin/me does not clearly define entity \
             type and name."
        )
    );
}

#[test]
fn eks_shows_a_cluster_of_its_region() {
    let standin = fresh();
    let got = eks(&standin, "/clusters/demo");
    let cluster = &got.json()["cluster"];
    assert_eq!(cluster["arn"], "arn:aws:eks:eu-west-1:111122223333:cluster/demo");
    assert_eq!(cluster["endpoint"], standin.kubernetes_url(CLUSTER));
    assert_eq!(cluster["status"], "ACTIVE");
    assert_eq!(
        cluster["accessConfig"],
        json!({ "authenticationMode": "API_AND_CONFIG_MAP" })
    );
    assert_eq!(cluster["createdAt"], 1_714_636_800.0);
    let got = eks_as(&standin, ACCESS_KEY, "us-east-1", "/clusters/demo");
    assert_eq!(
        (got.status, got.header("x-amzn-errortype")),
        (404, Some("ResourceNotFoundException"))
    );
    assert_eq!(got.json()["message"], "No cluster found for name: demo.");

    standin.world(|world| {
        let cluster = world.cluster(CLUSTER);
        cluster.status = "CREATING".to_owned();
        cluster.endpoint = Endpoint::Absent;
        cluster.ca_data = None;
        cluster.authentication_mode = None;
        cluster.auto_mode = Some(AutoMode {
            enabled: true,
            node_pools: vec!["system".to_owned()],
            node_role_arn: Some("arn:aws:iam::111122223333:role/auto".to_owned()),
        });
        cluster.extra.insert("health".to_owned(), Value::Null);
    });
    let cluster = &eks(&standin, "/clusters/demo").json()["cluster"];
    assert_eq!(cluster["status"], "CREATING");
    for absent in ["endpoint", "accessConfig", "health"] {
        assert_eq!(cluster.get(absent), None, "{absent}");
    }
    assert_eq!(cluster["certificateAuthority"], json!({}));
    assert_eq!(
        cluster["computeConfig"]["nodeRoleArn"],
        "arn:aws:iam::111122223333:role/auto"
    );
}

#[test]
fn eks_access_entries() {
    let standin = fresh();
    let node = "arn:aws:iam::111122223333:role/demo-node";
    standin.world(|world| {
        let entries = &mut world.cluster(CLUSTER).access_entries;
        entries.push(AccessEntry::new(node, "EC2_LINUX"));
        entries.push(AccessEntry::new(
            "arn:aws:iam::111122223333:role/team/dev",
            "STANDARD",
        ));
        world.page_size = 2;
    });
    let first = eks(&standin, "/clusters/demo/access-entries?maxResults=100").json();
    assert_eq!(first["accessEntries"].as_array().map(Vec::len), Some(2));
    let token = first["nextToken"].as_str().expect("a token");
    let second = eks(
        &standin,
        &format!("/clusters/demo/access-entries?nextToken={token}"),
    )
    .json();
    assert_eq!(
        second["accessEntries"],
        json!(["arn:aws:iam::111122223333:role/team/dev"])
    );
    assert_eq!(second["nextToken"], Value::Null);

    let path = "/clusters/demo/access-entries/arn%3Aaws%3Aiam%3A%3A111122223333%3Arole%2Fdemo-node";
    let entry = &eks(&standin, path).json()["accessEntry"];
    assert_eq!(entry["principalArn"], node);
    assert_eq!(entry["type"], "EC2_LINUX");
    assert_eq!(entry["username"], "system:node:{{EC2PrivateDNSName}}");
    assert_eq!(entry["kubernetesGroups"], json!(["system:nodes"]));
    let arn = entry["accessEntryArn"].as_str().expect("an ARN");
    assert!(
        arn.starts_with("arn:aws:eks:eu-west-1:111122223333:access-entry/demo/role/111122223333/demo-node/")
    );
    let path = "/clusters/demo/access-entries/arn%3Aaws%3Aiam%3A%3A111122223333%3Arole%2Fteam%2Fdev";
    let username = &eks(&standin, path).json()["accessEntry"]["username"];
    assert_eq!(
        username,
        "arn:aws:sts::111122223333:assumed-role/dev/{{SessionName}}"
    );

    let path = "/clusters/demo/access-entries/arn%3Aaws%3Aiam%3A%3A111122223333%3Auser%2Fplatform-admin/access-policies";
    let policies = eks(&standin, path).json();
    assert_eq!(
        policies["associatedAccessPolicies"][0]["accessScope"]["type"],
        "cluster"
    );
    let got = eks(
        &standin,
        "/clusters/demo/access-entries/arn:aws:iam::111122223333:role%2Fgone",
    );
    assert_eq!(
        (got.status, got.header("x-amzn-errortype")),
        (404, Some("ResourceNotFoundException"))
    );

    standin.world(|world| world.cluster(CLUSTER).authentication_mode = Some(AuthenticationMode::ConfigMap));
    let got = eks(&standin, "/clusters/demo/access-entries");
    assert_eq!(
        (got.status, got.header("x-amzn-errortype")),
        (400, Some("InvalidRequestException"))
    );
    assert_eq!(
        got.json()["message"],
        "The cluster's authentication mode must be set to one of [API, API_AND_CONFIG_MAP] to perform this operation."
    );
}

#[test]
fn eks_profiles_groups_addons_and_associations() {
    let standin = fresh();
    standin.world(|world| {
        let cluster = world.cluster(CLUSTER);
        cluster
            .nodegroups
            .push(Nodegroup::new("system", "arn:aws:iam::111122223333:role/system"));
        for account in ["karpenter", "other"] {
            let role = format!("arn:aws:iam::111122223333:role/{account}");
            cluster
                .pod_identities
                .push(PodIdentity::new("karpenter", account, &role));
        }
    });
    let profile = &eks(&standin, "/clusters/demo/fargate-profiles/karpenter").json()["fargateProfile"];
    assert_eq!(
        profile["podExecutionRoleArn"],
        "arn:aws:iam::111122223333:role/demo-fargate"
    );
    assert_eq!(
        profile["selectors"],
        json!([{ "namespace": "karpenter", "labels": {} }])
    );
    assert_eq!(
        eks(&standin, "/clusters/demo/fargate-profiles").json()["fargateProfileNames"],
        json!(["karpenter"])
    );
    assert_eq!(
        eks(&standin, "/clusters/demo/node-groups").json()["nodegroups"],
        json!(["system"])
    );
    let group = &eks(&standin, "/clusters/demo/node-groups/system").json()["nodegroup"];
    assert_eq!(group["nodeRole"], "arn:aws:iam::111122223333:role/system");
    assert_eq!(
        eks(&standin, "/clusters/demo/addons/coredns").json()["addon"]["status"],
        "ACTIVE"
    );
    let path = "/clusters/demo/pod-identity-associations?namespace=karpenter&serviceAccount=karpenter";
    let found = eks(&standin, path).json();
    let found = found["associations"].as_array().expect("a list");
    assert_eq!(found.len(), 1);
    // The list leaves out the role.
    assert_eq!(found[0].get("roleArn"), None);
    let id = found[0]["associationId"].as_str().expect("an id");
    let path = format!("/clusters/demo/pod-identity-associations/{id}");
    let role = &eks(&standin, &path).json()["association"]["roleArn"];
    assert_eq!(role, "arn:aws:iam::111122223333:role/karpenter");

    for (path, message) in [
        ("fargate-profiles/x", "No Fargate Profile found with name: x."),
        ("node-groups/x", "No node group found for name: x."),
        ("addons/x", "No addon: x found in cluster: demo"),
    ] {
        let got = eks(&standin, &format!("/clusters/demo/{path}"));
        assert_eq!((got.status, &got.json()["message"]), (404, &json!(message)));
    }
    assert_eq!(eks(&standin, "/nonsense").status, 403);
}

#[test]
fn quotas_of_the_region() {
    let standin = fresh();
    let spot = json!({ "ServiceCode": "ec2", "QuotaCode": "L-34B43A08" });
    let got = quotas(&standin, "GetServiceQuota", &spot);
    assert_eq!(got.header("content-type"), Some("application/x-amz-json-1.1"));
    assert_eq!(got.json()["Quota"]["Value"], 32.0);
    assert_eq!(
        quotas(&standin, "GetAWSDefaultServiceQuota", &spot).json()["Quota"]["Value"],
        5.0
    );
    let first = quotas(
        &standin,
        "ListServiceQuotas",
        &json!({ "ServiceCode": "ec2", "MaxResults": 1 }),
    )
    .json();
    let token = &first["NextToken"];
    let second = quotas(
        &standin,
        "ListServiceQuotas",
        &json!({ "ServiceCode": "ec2", "NextToken": token }),
    )
    .json();
    assert_eq!(first["Quotas"][0]["QuotaCode"], "L-34B43A08");
    assert_eq!(
        (&second["Quotas"][0]["QuotaCode"], second.get("NextToken")),
        (&json!("L-3819A6DF"), None)
    );
    let got = quotas(
        &standin,
        "GetServiceQuota",
        &json!({ "ServiceCode": "ec2", "QuotaCode": "L-0" }),
    );
    assert_eq!(
        (got.status, &got.json()["__type"]),
        (400, &json!("NoSuchResourceException"))
    );
}

// --- Kubernetes ---

#[test]
fn kubernetes_authenticates_first() {
    let standin = fresh();
    let got = kube(&standin, "nobody", "/api/v1/nodes");
    assert_eq!(got.status, 401);
    assert_eq!(
        got.json(),
        json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "Unauthorized",
                "reason": "Unauthorized", "code": 401 })
    );
    // Without a token one is anonymous: known to the server, without rights.
    let got = kube(&standin, "", "/api/v1/nodes");
    assert_eq!(got.status, 403);
    assert_eq!(
        got.json()["message"],
        "nodes is forbidden: User \"system:anonymous\" cannot list resource \"nodes\" in API group \"\" at the cluster scope"
    );
    assert_eq!(kube(&standin, "", "/version").json()["minor"], "34");
}

#[test]
fn kubernetes_forbids_before_it_looks() {
    let standin = fresh();
    let cases = [
        (
            "/apis/karpenter.sh/v1/nodepools",
            "nodepools.karpenter.sh is forbidden: User \"viewer\" cannot list resource \"nodepools\" in API group \
             \"karpenter.sh\" at the cluster scope",
        ),
        (
            "/apis/karpenter.sh/v1/nodepools/default",
            "nodepools.karpenter.sh \"default\" is forbidden: User \"viewer\" cannot get resource \"nodepools\" in API \
             group \"karpenter.sh\" at the cluster scope",
        ),
        (
            "/apis/not.installed/v1/namespaces/default/things",
            "things.not.installed is forbidden: User \"viewer\" cannot list resource \"things\" in API group \
             \"not.installed\" in the namespace \"default\"",
        ),
        (
            "/api/v1/namespaces/kube-system/secrets/x",
            "secrets \"x\" is forbidden: User \"viewer\" cannot get resource \"secrets\" in API group \"\" in the \
             namespace \"kube-system\"",
        ),
        (
            "/metrics",
            "forbidden: User \"viewer\" cannot get path \"/metrics\"",
        ),
    ];
    for (path, message) in cases {
        let got = kube(&standin, VIEW_TOKEN, path);
        assert_eq!(
            (got.status, &got.json()["message"]),
            (403, &json!(message)),
            "{path}"
        );
    }
    let details = &kube(&standin, VIEW_TOKEN, "/apis/karpenter.sh/v1/nodepools/default").json()["details"];
    assert_eq!(
        *details,
        json!({ "name": "default", "group": "karpenter.sh", "kind": "nodepools" })
    );
    assert_eq!(
        kube(
            &standin,
            VIEW_TOKEN,
            "/api/v1/namespaces/kube-system/configmaps/aws-auth"
        )
        .status,
        200
    );
}

#[test]
fn kubernetes_tells_a_missing_object_from_a_missing_kind() {
    let standin = fresh();
    let got = kube(&standin, ADMIN_TOKEN, "/apis/karpenter.sh/v1/nodepools/none");
    assert_eq!(
        got.json(),
        json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "nodepools.karpenter.sh \"none\" not found", "reason": "NotFound",
                "details": { "name": "none", "group": "karpenter.sh", "kind": "nodepools" }, "code": 404 })
    );
    for path in [
        "/apis/karpenter.sh/v1beta1/nodepools",
        "/apis/no.such/v1",
        "/api/v1/gizmos",
        "/nowhere",
    ] {
        let got = kube(&standin, ADMIN_TOKEN, path);
        assert_eq!(
            (got.status, got.body.as_str()),
            (404, "404 page not found\n"),
            "{path}"
        );
        assert_eq!(got.header("content-type"), Some("text/plain; charset=utf-8"));
    }
}

#[test]
fn kubernetes_gets_and_lists() {
    let standin = fresh();
    let got = kube(
        &standin,
        ADMIN_TOKEN,
        "/api/v1/namespaces/kube-system/configmaps/aws-auth",
    )
    .json();
    assert_eq!(
        (&got["kind"], &got["apiVersion"]),
        (&json!("ConfigMap"), &json!("v1"))
    );
    assert!(
        got["data"]["mapRoles"]
            .as_str()
            .is_some_and(|text| text.contains("role/demo-node"))
    );
    // Built-in kinds leave out kind and apiVersion in lists, custom resources don't.
    let list = kube(&standin, ADMIN_TOKEN, "/api/v1/configmaps").json();
    assert_eq!(
        (&list["kind"], list["items"][0].get("kind")),
        (&json!("ConfigMapList"), None)
    );
    let list = kube(&standin, ADMIN_TOKEN, "/apis/karpenter.sh/v1/nodepools").json();
    assert_eq!(list["apiVersion"], "karpenter.sh/v1");
    assert_eq!(list["items"][0]["kind"], "NodePool");
    // A namespace holds its own only.
    let count = |path: &str| {
        kube(&standin, ADMIN_TOKEN, path).json()["items"]
            .as_array()
            .map(Vec::len)
    };
    assert_eq!(count("/api/v1/namespaces/karpenter/pods"), Some(2));
    assert_eq!(count("/api/v1/namespaces/default/pods"), Some(0));
    assert_eq!(
        count("/api/v1/pods?labelSelector=app.kubernetes.io%2Fname%3Dkarpenter"),
        Some(2)
    );
    assert_eq!(
        count("/api/v1/pods?labelSelector=app.kubernetes.io%2Fname+notin+(karpenter)"),
        Some(0)
    );
    assert_eq!(
        count("/api/v1/nodes?labelSelector=!eks.amazonaws.com%2Fcompute-type"),
        Some(0)
    );
    assert_eq!(
        count("/api/v1/namespaces?fieldSelector=metadata.name%3Dkarpenter"),
        Some(1)
    );
    let got = kube(
        &standin,
        ADMIN_TOKEN,
        "/api/v1/nodes?fieldSelector=spec.podCIDR%3Dx",
    );
    assert_eq!(
        (got.status, &got.json()["message"]),
        (400, &json!("field label not supported: spec.podCIDR"))
    );

    standin.world(|world| {
        let api = world.kubernetes(CLUSTER);
        api.change("karpenter.sh/v1", "nodepools", "", "default", |pool| {
            pool["spec"]["weight"] = json!(7)
        });
        assert!(api.remove("v1", "configmaps", "kube-system", "aws-auth"));
        assert!(!api.remove("v1", "configmaps", "kube-system", "aws-auth"));
    });
    assert_eq!(
        kube(&standin, ADMIN_TOKEN, "/apis/karpenter.sh/v1/nodepools/default").json()["spec"]["weight"],
        7
    );
    assert_eq!(
        kube(
            &standin,
            ADMIN_TOKEN,
            "/api/v1/namespaces/kube-system/configmaps/aws-auth"
        )
        .status,
        404
    );
}

#[test]
fn kubernetes_pages_fifty_thousand_events() {
    const ALL: usize = 50_000;
    const LIMIT: usize = 500;
    let standin = fresh();
    standin.world(|world| {
        let api = world.kubernetes(CLUSTER);
        for number in 0..ALL {
            let name = format!("karpenter.{number:05}");
            let reason = if number % 1000 == 0 { "SpotSLRCreationFailed" } else { "Launched" };
            api.put(json!({
                "apiVersion": "v1", "kind": "Event",
                "metadata": { "name": name, "namespace": if number % 2 == 0 { "default" } else { "karpenter" } },
                "involvedObject": { "kind": "NodeClaim", "name": "default-abcde" },
                "reason": reason, "message": "launched", "type": "Normal",
            }));
        }
    });
    let collect = |path: &str, limit: usize| {
        let (mut names, mut pages, mut token) = (Vec::new(), 0, String::new());
        loop {
            let page = kube(
                &standin,
                ADMIN_TOKEN,
                &format!("{path}limit={limit}&continue={token}"),
            )
            .json();
            pages += 1;
            let items = page["items"].as_array().expect("a list");
            assert!(items.len() <= limit);
            names.extend(
                items
                    .iter()
                    .map(|item| item["metadata"]["name"].as_str().expect("a name").to_owned()),
            );
            match page["metadata"]["continue"].as_str() {
                Some(next) => token = next.to_owned(),
                None => break (names, pages),
            }
            if path == "/api/v1/events?" {
                assert_eq!(page["metadata"]["remainingItemCount"], ALL - names.len());
            }
        }
    };
    let (mut names, pages) = collect("/api/v1/events?", LIMIT);
    assert_eq!(pages, ALL / LIMIT);
    names.sort();
    names.dedup();
    assert_eq!(names.len(), ALL);
    let (names, pages) = collect("/api/v1/namespaces/karpenter/events?", 10_000);
    assert_eq!((names.len(), pages), (ALL / 2, 3));
    let (names, _) = collect("/api/v1/events?fieldSelector=reason%3DSpotSLRCreationFailed&", 7);
    assert_eq!(names.len(), ALL / 1000);
    assert_eq!(
        kube(&standin, ADMIN_TOKEN, "/api/v1/events?limit=1&continue=rubbish").status,
        400
    );
}

#[test]
fn kubernetes_reviews_oneself() {
    let standin = fresh();
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let body = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
    let got = post(&standin, VIEW_TOKEN, path, &body);
    assert_eq!(got.status, 201);
    assert_eq!(
        got.json()["status"]["userInfo"],
        json!({ "username": "viewer", "groups": ["viewers", "system:authenticated"] })
    );
    assert_eq!(post(&standin, "", path, &body).status, 403);

    let may = |token: &str, attributes: Value| {
        let body = json!({ "spec": { "resourceAttributes": attributes } });
        let got = post(
            &standin,
            token,
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            &body,
        );
        assert_eq!(got.status, 201);
        assert_eq!(
            got.json()["spec"]["resourceAttributes"],
            body["spec"]["resourceAttributes"]
        );
        got.json()["status"]["allowed"].as_bool().expect("a decision")
    };
    let pools = json!({ "verb": "list", "group": "karpenter.sh", "resource": "nodepools" });
    assert!(may(ADMIN_TOKEN, pools.clone()));
    assert!(!may(VIEW_TOKEN, pools));
    assert!(may(
        VIEW_TOKEN,
        json!({ "verb": "get", "resource": "configmaps", "namespace": "kube-system" })
    ));
    assert!(!may(
        VIEW_TOKEN,
        json!({ "verb": "create", "resource": "configmaps", "namespace": "kube-system" })
    ));

    let body = json!({ "spec": { "namespace": "karpenter" } });
    let rules = post(
        &standin,
        VIEW_TOKEN,
        "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
        &body,
    )
    .json();
    assert_eq!(rules["status"]["incomplete"], true);
    assert!(
        rules["status"]["resourceRules"]
            .to_string()
            .contains("configmaps")
    );
    assert!(standin.writes().is_empty(), "asking is no write");
    assert_eq!(
        kube_send(&standin, ADMIN_TOKEN, "DELETE", "/api/v1/nodes/x", "")
            .expect("an answer")
            .status,
        405
    );
    assert_eq!(standin.writes()[0].action, "kubernetes:delete nodes");
}

#[test]
fn rules_allow_what_they_name() {
    let mut world = scenario::fresh_account_karpenter_on_fargate();
    let rules = vec![
        Rule::new(&["get"], &["configmaps"])
            .in_namespace("kube-system")
            .named("aws-auth"),
        Rule::new(&["list"], &["nodepools.karpenter.sh"]),
    ];
    let api = world.kubernetes(CLUSTER);
    api.tokens.insert(
        "narrow".to_owned(),
        User::new("narrow", &[], Access::Rules(rules)),
    );
    let all_but = Access::all_but(&[("list", "nodeclaims"), ("*", "secrets")]);
    api.tokens
        .insert("wide".to_owned(), User::new("wide", &[], all_but));
    let standin = Standin::start(world).expect("started");
    let cases = [
        (
            "narrow",
            "/api/v1/namespaces/kube-system/configmaps/aws-auth",
            200,
        ),
        ("narrow", "/api/v1/namespaces/kube-system/configmaps/other", 403),
        ("narrow", "/api/v1/namespaces/default/configmaps/aws-auth", 403),
        ("narrow", "/api/v1/namespaces/kube-system/configmaps", 403),
        ("narrow", "/apis/karpenter.sh/v1/nodepools", 200),
        ("narrow", "/apis/karpenter.sh/v1/nodepools/default", 403),
        ("narrow", "/apis", 200),
        ("wide", "/apis/karpenter.sh/v1/nodeclaims", 403),
        ("wide", "/apis/karpenter.sh/v1/nodeclaims/x", 404),
        ("wide", "/api/v1/secrets", 403),
        ("wide", "/api/v1/pods", 200),
    ];
    for (token, path, status) in cases {
        assert_eq!(kube(&standin, token, path).status, status, "{token} {path}");
    }
}

#[test]
fn kubernetes_discovery() {
    let standin = fresh();
    let groups = kube(&standin, ADMIN_TOKEN, "/apis").json();
    let names: Vec<_> = groups["groups"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|g| g["name"].clone())
        .collect();
    assert!(names.contains(&json!("karpenter.sh")) && names.contains(&json!("apps")));
    let group = kube(&standin, ADMIN_TOKEN, "/apis/karpenter.sh").json();
    assert_eq!(group["preferredVersion"]["groupVersion"], "karpenter.sh/v1");
    let resources = kube(&standin, ADMIN_TOKEN, "/apis/karpenter.k8s.aws/v1").json();
    assert_eq!(resources["resources"][0]["kind"], "EC2NodeClass");
    standin.world(|world| {
        world
            .kubernetes(CLUSTER)
            .uninstall("karpenter.sh", "v1")
            .install_karpenter_v1beta1();
    });
    assert_eq!(
        kube(&standin, ADMIN_TOKEN, "/apis/karpenter.sh/v1/nodepools").status,
        404
    );
    assert_eq!(
        kube(&standin, ADMIN_TOKEN, "/apis/karpenter.sh/v1beta1/nodepools").status,
        200
    );
}

// --- EKS tokens ---

#[test]
fn an_eks_token_becomes_the_mapped_user() {
    let standin = fresh();
    let token = eks_token::make(ACCESS_KEY, REGION, CLUSTER, None);
    let got = post(
        &standin,
        &token,
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        &json!({}),
    );
    assert_eq!(got.status, 201, "{}", got.body);
    let info = &got.json()["status"]["userInfo"];
    assert_eq!(info["username"], "arn:aws:iam::111122223333:user/platform-admin");
    assert_eq!(info["extra"]["accessKeyId"], json!([ACCESS_KEY]));
    assert_eq!(info["extra"]["sessionName"], json!([""]));
    let uid = info["uid"].as_str().expect("a uid");
    assert!(
        uid.starts_with("aws-iam-authenticator:111122223333:AIDA"),
        "{uid}"
    );
    let tokens = standin.world(|world| world.kubernetes(CLUSTER).eks_tokens.clone());
    assert_eq!(tokens.len(), 1);
    assert!(tokens[0].is_valid());
    assert_eq!(tokens[0].host, "sts.eu-west-1.amazonaws.com");
    assert_eq!(tokens[0].signed_headers, ["host", "x-k8s-aws-id"]);
    assert_eq!(standin.calls()[0].access_key.as_deref(), Some(ACCESS_KEY));
}

#[test]
fn a_role_session_becomes_the_roles_user() {
    let standin = fresh();
    standin.world(|world| {
        world
            .account(ACCOUNT)
            .add_session("ASIASESSION", "demo-admin", "me");
    });
    let token = eks_token::make("ASIASESSION", REGION, CLUSTER, Some("session/token+="));
    let got = post(
        &standin,
        &token,
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        &json!({}),
    );
    let info = &got.json()["status"]["userInfo"];
    assert_eq!(info["username"], "demo-admin");
    assert_eq!(
        info["extra"]["canonicalArn"],
        json!(["arn:aws:iam::111122223333:role/demo-admin"])
    );
    assert_eq!(
        info["extra"]["arn"],
        json!(["arn:aws:sts::111122223333:assumed-role/demo-admin/me"])
    );
    assert_eq!(info["extra"]["sessionName"], json!(["me"]));
    let record = format!("{:?}", standin.calls());
    let tokens = standin.world(|world| format!("{:?}", world.kubernetes(CLUSTER).eks_tokens));
    assert!(!record.contains("session/token") && !tokens.contains("session/token"));
}

#[test]
fn eks_tokens_that_are_refused() {
    let standin = fresh();
    standin.world(|world| {
        world.account(ACCOUNT).add_user("AKIAUNMAPPED", "stranger");
        world.account(ACCOUNT).add_user("AKIAEXPIRED", "old").expired = true;
        world
            .account(ACCOUNT)
            .add_session("ASIASESSION", "demo-admin", "me");
    });
    let good = eks_token::make(ACCESS_KEY, REGION, CLUSTER, None);
    let cases = [
        (
            "another cluster",
            eks_token::make(ACCESS_KEY, REGION, "other", None),
        ),
        (
            "unknown key",
            eks_token::make("AKIANOBODY", REGION, CLUSTER, None),
        ),
        (
            "nobody to this cluster",
            eks_token::make("AKIAUNMAPPED", REGION, CLUSTER, None),
        ),
        ("expired", eks_token::make("AKIAEXPIRED", REGION, CLUSTER, None)),
        (
            "no session token",
            eks_token::make("ASIASESSION", REGION, CLUSTER, None),
        ),
        ("cut short", good[..good.len() - 8].to_owned()),
        ("empty", "k8s-aws-v1.".to_owned()),
        ("another version", good.replace("k8s-aws-v1.", "k8s-aws-v2.")),
    ];
    for (what, token) in cases {
        assert_eq!(kube(&standin, &token, "/api/v1/nodes").status, 401, "{what}");
    }
    assert_eq!(kube(&standin, &good, "/api/v1/nodes").status, 200);
}

#[test]
fn objections_of_the_authenticator() {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let good = eks_token::make(ACCESS_KEY, REGION, CLUSTER, None);
    let url = engine.decode(&good["k8s-aws-v1.".len()..]).expect("base64");
    let url = String::from_utf8(url).expect("text");
    let cases = [
        (
            "https://",
            "http://",
            "unexpected scheme \"http\" in pre-signed URL",
        ),
        (
            "sts.eu-west-1.amazonaws.com",
            "127.0.0.1:80",
            "unexpected hostname \"127.0.0.1:80\" in pre-signed URL",
        ),
        (
            "GetCallerIdentity",
            "GetSessionToken",
            "unexpected action parameter in pre-signed URL",
        ),
        (
            "host%3Bx-k8s-aws-id",
            "host",
            "client did not sign the x-k8s-aws-id header in the pre-signed URL",
        ),
        (
            "X-Amz-Expires=60",
            "X-Amz-Expires=901",
            "invalid X-Amz-Expires parameter in pre-signed URL: 901",
        ),
        (
            "X-Amz-Date=20",
            "X-Amz-Date=19",
            "X-Amz-Date parameter is expired",
        ),
        (
            "Version=",
            "Extra=1&Version=",
            "non-whitelisted query parameter \"extra\"",
        ),
    ];
    for (from, to, problem) in cases {
        let changed = url.replacen(from, to, 1);
        assert_ne!(changed, url, "{from}");
        let token = format!("k8s-aws-v1.{}", engine.encode(changed));
        let parsed = EksToken::parse(&token, CLUSTER, None).expect("a token");
        assert_eq!(parsed.problem.as_deref(), Some(problem));
        assert!(!parsed.is_valid());
    }
}

#[test]
fn the_signature_is_that_of_aws_sigv4() {
    use base64::Engine as _;
    // Made by the crate aws-sigv4 1.6 for cluster `demo`, a session token and the stand-in's secret, long ago.
    let url = "https://sts.eu-west-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15\
               &X-Amz-Algorithm=AWS4-HMAC-SHA256\
               &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20260101%2Feu-west-1%2Fsts%2Faws4_request\
               &X-Amz-Date=20260101T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host%3Bx-k8s-aws-id\
               &X-Amz-Signature=2a71d2436b8d856f26e24f096f9f2a103f0286670152b164f4cf955b5ffc8419\
               &X-Amz-Security-Token=a%2Fb%2Bc%3D%3D";
    let encoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(url);
    let token = format!("k8s-aws-v1.{encoded}");
    let parsed = EksToken::parse(&token, CLUSTER, None).expect("a token");
    assert!(parsed.signed_for_cluster);
    assert!(parsed.has_session_token);
    assert_eq!(parsed.problem.as_deref(), Some("X-Amz-Date parameter is expired"));
    assert!(
        !EksToken::parse(&token, "other", None)
            .expect("a token")
            .signed_for_cluster
    );
}

#[test]
fn a_token_for_the_stand_ins_own_sts() {
    let standin = fresh();
    // What the AWS CLI makes where AWS_ENDPOINT_URL is set.
    let token = eks_token::make_for(&standin.aws_url(), ACCESS_KEY, REGION, CLUSTER, None);
    assert_eq!(kube(&standin, &token, "/api/v1/nodes").status, 200);
    standin.world(|world| world.kubernetes(CLUSTER).accept_standin_sts = false);
    assert_eq!(kube(&standin, &token, "/api/v1/nodes").status, 401);
    let other = eks_token::make_for("http://127.0.0.1:1", ACCESS_KEY, REGION, CLUSTER, None);
    standin.world(|world| world.kubernetes(CLUSTER).accept_standin_sts = true);
    assert_eq!(kube(&standin, &other, "/api/v1/nodes").status, 401);
}

// --- TLS ---

/// A GET over TLS that trusts this authority.
fn tls_get(url: &str, ca_pem: &str, headers: &str, path: &str) -> std::io::Result<String> {
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    let ca = rustls::pki_types::CertificateDer::from_pem_slice(ca_pem.as_bytes()).expect("PEM");
    roots.add(ca).expect("a certificate");
    let config = rustls::ClientConfig::builder_with_provider(std::sync::Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .expect("protocol versions")
    .with_root_certificates(roots)
    .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from("127.0.0.1").expect("a name");
    let client = rustls::ClientConnection::new(std::sync::Arc::new(config), name).expect("a client");
    let tcp = TcpStream::connect(url.trim_start_matches("https://"))?;
    let mut stream = rustls::StreamOwned::new(client, tcp);
    let request = format!("GET {path} HTTP/1.1\r\nhost: standin\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        // The server ends the connection without TLS's farewell.
        Err(error) if error.kind() == ErrorKind::UnexpectedEof && !bytes.is_empty() => {}
        other => drop(other?),
    }
    Ok(String::from_utf8(bytes).expect("utf-8"))
}

#[test]
fn listeners_speak_tls_where_the_world_says_so() {
    let mut world = scenario::fresh_account_karpenter_on_fargate();
    world.aws_tls = true;
    world.kubernetes(CLUSTER).tls = true;
    let standin = Standin::start(world).expect("started");
    let (aws, api) = (standin.aws_url(), standin.kubernetes_url(CLUSTER));
    assert!(aws.starts_with("https://127.0.0.1:") && api.starts_with("https://127.0.0.1:"));
    let ca = standin.ca_pem().expect("an authority");

    let bearer = format!("authorization: Bearer {ADMIN_TOKEN}\r\n");
    let got = tls_get(
        &api,
        ca,
        &bearer,
        "/api/v1/namespaces/kube-system/configmaps/aws-auth",
    )
    .expect("an answer");
    assert!(got.starts_with("HTTP/1.1 200 OK\r\n"), "{got}");
    let signed = format!("authorization: {}\r\n", authorization(ACCESS_KEY, REGION, "eks"));
    let got = tls_get(&aws, ca, &signed, "/clusters/demo").expect("an answer");
    let (_, body) = got.split_once("\r\n\r\n").expect("a body");
    let cluster: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(cluster["cluster"]["endpoint"], api);
    // kubeconfig and DescribeCluster hold the same authority.
    let data = cluster["cluster"]["certificateAuthority"]["data"]
        .as_str()
        .expect("data");
    let yaml = standin.kubeconfig(CLUSTER).yaml();
    assert!(yaml.contains(&format!("    certificate-authority-data: \"{data}\"\n")));
    assert!(
        !standin
            .kubeconfig(CLUSTER)
            .without_ca()
            .yaml()
            .contains("certificate-authority")
    );

    standin.fault("eks:*", Fault::Truncated).times(1);
    let cut = tls_get(&aws, ca, &signed, "/clusters/demo").expect("an answer");
    let (_, cut) = cut.split_once("\r\n\r\n").expect("a head");
    assert_eq!(cut, &body[..body.len() / 2]);

    let other = tls::Tls::new().expect("another authority");
    assert!(
        tls_get(&api, &other.ca_pem, &bearer, "/version").is_err(),
        "not trusted"
    );
    assert!(
        kube_send(&standin, ADMIN_TOKEN, "GET", "/version", "").is_err(),
        "no plain HTTP here"
    );
    assert_eq!(fresh().ca_pem(), None);
}

// --- faults, record, lifetime ---

#[test]
fn each_service_throttles_and_breaks_in_its_own_words() {
    let standin = fresh();
    standin.fault("iam:*", Fault::Throttled).times(1);
    standin.fault("eks:ListClusters", Fault::Throttled).times(1);
    standin.fault("eks:ListClusters", Fault::Broken(503)).times(1);
    standin.fault("kubernetes:list nodes", Fault::Throttled).times(1);
    standin
        .fault("kubernetes:list nodes", Fault::Broken(500))
        .times(1);
    assert_eq!(
        iam(&standin, "Action=GetRole&RoleName=demo-node").code(),
        (400, "Throttling", "Rate exceeded")
    );
    assert_eq!(iam(&standin, "Action=GetRole&RoleName=demo-node").status, 200);
    let got = eks(&standin, "/clusters");
    assert_eq!(
        (got.status, got.header("x-amzn-errortype")),
        (429, Some("TooManyRequestsException"))
    );
    assert_eq!(
        eks(&standin, "/clusters").header("x-amzn-errortype"),
        Some("ServiceUnavailableException")
    );
    assert_eq!(eks(&standin, "/clusters").status, 200);
    let got = kube(&standin, ADMIN_TOKEN, "/api/v1/nodes");
    assert_eq!((got.status, got.header("retry-after")), (429, Some("1")));
    assert_eq!(
        kube(&standin, ADMIN_TOKEN, "/api/v1/nodes").json()["reason"],
        "InternalError"
    );
    assert_eq!(kube(&standin, ADMIN_TOKEN, "/api/v1/nodes").status, 200);
}

#[test]
fn faults_match_by_object_skip_and_end() {
    let standin = fresh();
    standin.fault("iam:GetRole demo-node", Fault::proxy_page(502));
    standin
        .fault(
            "kubernetes:get configmaps kube-system/aws-auth",
            Fault::json(418, &json!({})),
        )
        .after(1)
        .times(1);
    let got = iam(&standin, "Action=GetRole&RoleName=demo-node");
    assert_eq!(
        (got.status, got.header("content-type")),
        (502, Some("text/html; charset=utf-8"))
    );
    assert_eq!(iam(&standin, "Action=GetRole&RoleName=demo-cluster").status, 200);
    let aws_auth = "/api/v1/namespaces/kube-system/configmaps/aws-auth";
    let statuses: Vec<_> = (0..3)
        .map(|_| kube(&standin, ADMIN_TOKEN, aws_auth).status)
        .collect();
    assert_eq!(statuses, [200, 418, 200]);
    standin.clear_faults();
    assert_eq!(iam(&standin, "Action=GetRole&RoleName=demo-node").status, 200);
    assert_eq!(standin.calls()[0].fault, Some(Fault::proxy_page(502)));
}

#[test]
fn a_truncated_body_is_shorter_than_promised() {
    let standin = fresh();
    standin.fault("eks:DescribeCluster", Fault::Truncated);
    let got = eks(&standin, "/clusters/demo");
    let promised: usize = got
        .header("content-length")
        .and_then(|text| text.parse().ok())
        .expect("a length");
    assert_eq!(got.status, 200);
    assert_eq!(got.body.len(), promised / 2);
}

#[test]
fn a_reset_connection_gives_no_answer() {
    let standin = fresh();
    standin.fault("kubernetes:*", Fault::Reset);
    let error = kube_send(&standin, ADMIN_TOKEN, "GET", "/version", "").expect_err("no answer");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(standin.unanswered().len(), 1);
}

#[test]
fn what_hangs_is_let_go_when_the_stand_in_stops() {
    let standin = fresh();
    standin.fault("iam:GetRole", Fault::Hang);
    let url = standin.aws_url();
    let authorization = authorization(ACCESS_KEY, "us-east-1", "iam");
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).expect("connected");
    let body = "Action=GetRole&RoleName=x&Version=2010-05-08";
    let request = format!(
        "POST / HTTP/1.1\r\nhost: standin\r\nauthorization: {authorization}\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("sent");
    while standin.unanswered().is_empty() {
        std::thread::yield_now();
    }
    // Others are served meanwhile.
    assert_eq!(
        query(&standin, ACCESS_KEY, "sts", "Action=GetCallerIdentity").status,
        200
    );
    drop(standin);
    let mut rest = Vec::new();
    // Closed or reset: but nothing came, and the read ends.
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.is_empty());
    assert!(
        TcpStream::connect(url.trim_start_matches("http://")).is_err(),
        "the port is closed"
    );
}

#[test]
fn a_slow_answer_is_whole() {
    let standin = fresh();
    standin.fault(
        "sts:*",
        Fault::Slow {
            chunk: 100,
            pause: Duration::from_millis(1),
        },
    );
    let got = query(&standin, ACCESS_KEY, "sts", "Action=GetCallerIdentity");
    assert_eq!(got.xml("Account"), ACCOUNT);
    assert_eq!(
        got.header("content-length"),
        Some(got.body.len().to_string().as_str())
    );
}

#[test]
fn an_answer_comes_after_the_delay() {
    let standin = fresh();
    let delay = Duration::from_millis(20);
    standin.delay(delay);
    eks(&standin, "/clusters");
    let call = &standin.calls()[0];
    assert!(call.ended.expect("answered") >= call.started + delay);
    standin.fault("eks:*", Fault::Delay(delay));
    eks(&standin, "/clusters");
    let call = &standin.calls()[1];
    assert!(call.ended.expect("answered") >= call.started + 2 * delay);
    assert_eq!(call.status, Some(200));
}

#[test]
fn delayed_answers_wait_side_by_side() {
    let standin = fresh();
    standin.delay(Duration::from_secs(3600));
    let url = standin.aws_url();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let url = url.clone();
            std::thread::spawn(move || send(&url, "GET", "/clusters", &[], "").is_err())
        })
        .collect();
    // Served one after the other, there would never be eight of them.
    while standin.unanswered().len() < clients.len() {
        std::thread::yield_now();
    }
    drop(standin);
    for client in clients {
        assert!(client.join().expect("ended"));
    }
}

#[test]
fn the_longest_chain_is_the_most_calls_that_do_not_overlap() {
    let standin = fresh();
    for _ in 0..5 {
        eks(&standin, "/clusters");
    }
    let template = standin.calls();
    let call = |index: usize, started: u64, ended: u64| Call {
        started: Duration::from_millis(started),
        ended: Some(Duration::from_millis(ended)),
        ..template[index].clone()
    };
    // One long call beside three that follow each other, and one that overlaps two of them.
    let calls = [
        call(0, 0, 100),
        call(1, 0, 10),
        call(2, 10, 20),
        call(3, 15, 35),
        call(4, 21, 31),
    ];
    let numbers: Vec<_> = longest_chain(&calls).iter().map(|call| call.number).collect();
    assert_eq!(numbers, [1, 2, 4]);
    assert_eq!(
        longest_chain(&template).len(),
        5,
        "a client that waits makes a chain"
    );
}

#[test]
fn the_world_changes_between_two_calls() {
    let standin = fresh();
    standin.change_on("iam:GetRole AWSServiceRoleForEC2Spot", 2, |world| {
        world.account(ACCOUNT).add_spot_role();
    });
    let statuses: Vec<_> = (0..3)
        .map(|_| iam(&standin, "Action=GetRole&RoleName=AWSServiceRoleForEC2Spot").status)
        .collect();
    assert_eq!(statuses, [404, 200, 200]);
}

#[test]
fn the_record_is_in_order_and_can_be_cleared() {
    let standin = fresh();
    iam(&standin, "Action=GetRole&RoleName=demo-node");
    kube(&standin, VIEW_TOKEN, "/apis/karpenter.sh/v1/nodepools");
    kube(
        &standin,
        ADMIN_TOKEN,
        "/api/v1/namespaces/kube-system/configmaps/aws-auth",
    );
    assert_eq!(
        standin.actions(),
        [
            "iam:GetRole",
            "kubernetes:list nodepools.karpenter.sh",
            "kubernetes:get configmaps"
        ]
    );
    let calls = standin.calls();
    assert_eq!(
        calls[0].parameters,
        [("RoleName".to_owned(), "demo-node".to_owned())]
    );
    assert_eq!(
        (calls[0].region.as_str(), calls[0].status),
        ("us-east-1", Some(200))
    );
    assert_eq!(
        (calls[1].caller.as_deref(), calls[1].status),
        (Some("viewer"), Some(403))
    );
    let asked = calls[2].kubernetes.as_ref().expect("Kubernetes");
    assert_eq!(
        (asked.namespace.as_str(), asked.name.as_str()),
        ("kube-system", "aws-auth")
    );
    assert!(!format!("{calls:?}").contains(ADMIN_TOKEN));
    standin.clear_calls();
    assert!(standin.calls().is_empty());
}

#[test]
fn stand_ins_run_side_by_side_and_inside_a_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let (one, two) = (fresh(), Standin::start(scenario::healthy()).expect("started"));
        assert_ne!(one.aws_url(), two.aws_url());
        assert_eq!(
            iam(&one, "Action=GetRole&RoleName=AWSServiceRoleForEC2Spot").status,
            404
        );
        assert_eq!(
            iam(&two, "Action=GetRole&RoleName=AWSServiceRoleForEC2Spot").status,
            200
        );
    });
}

#[test]
fn scenarios_hang_together_in_every_mode() {
    for mode in [
        AuthenticationMode::ConfigMap,
        AuthenticationMode::ApiAndConfigMap,
        AuthenticationMode::Api,
    ] {
        let mut world = scenario::karpenter_on_fargate(mode);
        let account = world.account(ACCOUNT).clone();
        let arns: Vec<_> = account.roles.iter().map(|role| account.role_arn(role)).collect();
        let cluster = &account.clusters[0];
        for arn in cluster
            .fargate_profiles
            .iter()
            .map(|profile| &profile.pod_execution_role_arn)
        {
            assert!(arns.contains(arn), "{arn}");
        }
        let issuer = cluster
            .oidc_issuer
            .as_deref()
            .expect("an issuer")
            .trim_start_matches("https://");
        assert_eq!(account.oidc_providers[0].url, issuer);
        let controller = account.role("demo-karpenter").expect("the controller's role");
        assert!(controller.trust.to_string().contains(&format!("{issuer}:sub")));
        let api = world.kubernetes(CLUSTER);
        let aws_auth = api.get("v1", "configmaps", "kube-system", "aws-auth");
        assert_eq!(aws_auth.is_some(), mode != AuthenticationMode::Api);
        // Every principal that matters is mapped, and in one place only.
        let lines: Vec<_> = aws_auth
            .into_iter()
            .flat_map(|map| map["data"].as_object().expect("data").values())
            .flat_map(|text| text.as_str().expect("text").lines())
            .filter_map(|line| line.split_once("arn: ").map(|(_, arn)| arn.to_owned()))
            .collect();
        let mut mapped: Vec<_> = cluster
            .access_entries
            .iter()
            .map(|entry| entry.principal_arn.clone())
            .collect();
        mapped.extend(lines);
        mapped.sort();
        let expected = [
            "role/demo-admin",
            "role/demo-fargate",
            "role/demo-node",
            "user/platform-admin",
        ];
        assert_eq!(
            mapped,
            expected.map(|resource| account.iam_arn(resource)),
            "{mode:?}"
        );
        let class = api
            .get("karpenter.k8s.aws/v1", "ec2nodeclasses", "", "default")
            .expect("the node class");
        let profile = class["status"]["instanceProfile"].as_str().expect("a profile");
        assert!(account.instance_profiles.contains_key(profile));
    }
}

#[test]
fn kubeconfigs_of_the_usual_tools() {
    let standin = fresh();
    let base = || standin.kubeconfig(CLUSTER);
    let arn = "arn:aws:eks:eu-west-1:111122223333:cluster/demo";
    let with_role = base()
        .with_role("arn:aws:iam::111122223333:role/demo-admin")
        .with_profile("work");
    let cases = [
        (base(), arn, Some("aws")),
        (with_role, arn, Some("aws")),
        (base().authenticator(), "demo", Some("aws-iam-authenticator")),
        (base().eksctl("dev"), "dev@demo.eu-west-1.eksctl.io", Some("aws")),
        (base().cluster_api("t"), "demo-capi-admin@demo", None),
        (base().arn_named("t"), arn, None),
        (base().kind("t"), "kind-kind", None),
    ];
    for (config, context, command) in &cases {
        let yaml = config.yaml();
        assert_eq!(config.context, *context);
        assert!(yaml.contains(&format!("current-context: \"{context}\"\n")));
        assert!(yaml.contains(&format!("server: \"{}\"\n", standin.kubernetes_url(CLUSTER))));
        match command {
            Some(command) => assert!(
                yaml.contains(&format!("      command: \"{command}\"\n")),
                "{yaml}"
            ),
            None => assert!(yaml.contains("    token: \"t\"\n"), "{yaml}"),
        }
    }
    let yaml = cases[1].0.yaml();
    assert!(yaml.contains("      - \"--role-arn\"\n      - \"arn:aws:iam::111122223333:role/demo-admin\"\n"));
    assert!(yaml.contains("      - name: \"AWS_PROFILE\"\n        value: \"work\"\n"));
    let file = Kubeconfig::file(&[cases[0].0.clone(), cases[3].0.clone()]);
    assert_eq!(file.matches("\n- name: ").count(), 6);
    assert_eq!(file.matches("current-context").count(), 1);
}

#[test]
fn the_environment_leads_here_and_nowhere_else() {
    let standin = fresh();
    let env = standin.env();
    let value = |name: &str| {
        env.iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
    };
    assert_eq!(value("AWS_ENDPOINT_URL"), Some(standin.aws_url()));
    assert_eq!(value("AWS_ACCESS_KEY_ID").as_deref(), Some(ACCESS_KEY));
    assert_eq!(value("AWS_SESSION_TOKEN"), None);
    let session = standin.env_as("ASIASESSION", "us-west-2");
    assert!(session.iter().any(|(key, _)| key == "AWS_SESSION_TOKEN"));
    assert!(Standin::env_to_remove().iter().all(|name| value(name).is_none()));
}

#[test]
fn patterns() {
    let cases = [
        ("*", "anything", true),
        ("iam:GetRole", "iam:GetRole", true),
        ("iam:GetRole", "iam:GetRolePolicy", false),
        ("iam:*", "iam:GetRole", true),
        ("iam:*", "eks:ListClusters", false),
        ("*Role", "iam:GetRole", true),
        ("i*R*e", "iam:GetRole", true),
        ("a*a", "a", false),
        ("a*b*a", "aba", true),
        ("", "", true),
        ("", "x", false),
    ];
    for (pattern, text, expected) in cases {
        assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
    }
}
