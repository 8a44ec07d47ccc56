//! What the golden cases do not reach: chains of sources, node roles, mistakes, files, hostile input.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const ROLE: &str = "arn:aws:iam::111122223333:role/KarpenterNode";
fn decide_arn(cluster: &Cluster<'_>, arn: &str) -> Decision {
    match Caller::parse(arn) {
        Ok(caller) => decide(cluster, &caller, Existence::Unknown),
        Err(error) => Decision::refused(arn, &error),
    }
}

fn roles(text: &str) -> AwsAuth {
    AwsAuth::parse(&BTreeMap::from([("mapRoles".to_owned(), text.to_owned())]))
}

fn users(text: &str) -> AwsAuth {
    AwsAuth::parse(&BTreeMap::from([("mapUsers".to_owned(), text.to_owned())]))
}

fn node_entry(arn: &str, username: &str, groups: &[&str]) -> String {
    let groups: String = groups.iter().map(|group| format!("  - {group}\n")).collect();
    format!("- rolearn: {arn}\n  username: \"{username}\"\n  groups:\n{groups}")
}

fn cluster<'a>(mode: AuthenticationMode, aws_auth: &'a AwsAuth, entries: &'a [AccessEntry]) -> Cluster<'a> {
    Cluster {
        mode,
        aws_auth: Some(aws_auth),
        entries: Some(entries),
        settings: Settings::default(),
    }
}

fn config_map(aws_auth: &AwsAuth) -> Cluster<'_> {
    cluster(AuthenticationMode::ConfigMap, aws_auth, &[])
}

#[test]
fn the_deciding_line_and_index_are_told() {
    let aws_auth = roles(
        "# people\n- rolearn: arn:aws:iam::111122223333:role/A\n  username: a\n-\n  username: b\n  rolearn: arn:aws:iam::111122223333:role/B\n",
    );
    let decision = decide_arn(
        &config_map(&aws_auth),
        "arn:aws:sts::111122223333:assumed-role/B/s",
    );
    let source = decision.source.unwrap();
    assert_eq!(
        (source.key, source.index, source.line),
        (Some(MapKey::MapRoles), Some(1), Some(5))
    );
    assert_eq!(
        source.quote.as_deref(),
        Some("rolearn: arn:aws:iam::111122223333:role/B")
    );
}

#[test]
fn json_of_a_decision_keeps_the_contract() {
    let aws_auth = roles(&node_entry(ROLE, "u-{{SessionName}}", &["g"]));
    let decision = decide_arn(
        &config_map(&aws_auth),
        "arn:aws:sts::111122223333:assumed-role/KarpenterNode/s",
    );
    let json = serde_json::to_value(&decision).unwrap();
    assert_eq!(json["outcome"], "mapped");
    assert_eq!(json["username"], "u-s");
    assert_eq!(json["groups"], serde_json::json!(["g"]));
    assert_eq!(json["source"]["kind"], "aws-auth");
    assert_eq!(json["source"]["key"], "mapRoles");
    assert_eq!(
        (&json["source"]["index"], &json["source"]["line"]),
        (&0.into(), &1.into())
    );
    let broken = roles("- rolearn: x\n\tusername: y\n");
    let json = serde_json::to_value(decide_arn(
        &config_map(&broken),
        "arn:aws:iam::111122223333:user/a",
    ))
    .unwrap();
    assert_eq!(
        (&json["outcome"], &json["username"], &json["source"]),
        (&"not-mapped".into(), &().into(), &().into())
    );
    let problem = &json["problems"][0];
    assert_eq!(
        (&problem["key"], &problem["line"]),
        (&"mapRoles".into(), &2.into())
    );
    assert!(
        problem["lost"]
            .as_str()
            .unwrap()
            .starts_with("all of mapRoles (1 entry)"),
        "{problem}"
    );
    assert!(problem["fix"].as_str().unwrap().contains("tab"), "{problem}");
}

#[test]
fn users_that_differ_in_case_alone_are_chance() {
    let aws_auth = users(
        "- userarn: arn:aws:iam::111122223333:user/Al\n  username: one\n- userarn: arn:aws:iam::111122223333:user/al\n  username: two\n",
    );
    let decision = decide_arn(&config_map(&aws_auth), "arn:aws:iam::111122223333:user/AL");
    assert_eq!(decision.outcome, Outcome::Ambiguous);
    let usernames: Vec<_> = decision
        .alternatives
        .iter()
        .map(|way| way.username.as_deref().unwrap())
        .collect();
    assert_eq!(usernames, ["one", "two"]);
    // The same by both does not depend on chance.
    let aws_auth = users(
        "- userarn: arn:aws:iam::111122223333:user/Al\n  username: one\n- userarn: arn:aws:iam::111122223333:user/al\n  username: one\n",
    );
    assert_eq!(
        decide_arn(&config_map(&aws_auth), "arn:aws:iam::111122223333:user/AL").outcome,
        Outcome::Mapped
    );
}

#[test]
fn near_misses_say_how_they_miss() {
    use PassedOverBecause as Because;
    for (written, because) in [
        ("arn:aws:iam::111122223333:role/team/Dev", Because::RolePath),
        ("arn:aws:iam::444455556666:role/Dev", Because::OtherAccount),
        ("arn:aws-cn:iam::111122223333:role/Dev", Because::OtherPartition),
        ("arn:aws:iam::111122223333:user/Dev", Because::OtherKind),
        (
            "arn:aws:sts::111122223333:assumed-role/Dev/s1",
            Because::AssumedRoleArn,
        ),
        (
            "arn:aws:iam::111122223333:instance-profile/Dev",
            Because::InstanceProfileArn,
        ),
        (
            "\"arn:aws:iam::111122223333:role/Dev \"",
            Because::StrayCharacters,
        ),
        (
            "arn:aws:iam::111122223333:role/Dev#node",
            Because::StrayCharacters,
        ),
        ("arn:aws:iam::111122223333:role/D*", Because::Wildcard),
    ] {
        let aws_auth = roles(&format!("- username: x\n  rolearn: {written}\n"));
        let decision = decide_arn(
            &config_map(&aws_auth),
            "arn:aws:sts::111122223333:assumed-role/Dev/s1",
        );
        assert_eq!(decision.outcome, Outcome::NotMapped, "{written}");
        let found: Vec<_> = decision
            .passed_over
            .iter()
            .map(|over| (over.because, over.source.line))
            .collect();
        assert_eq!(found, [(because, Some(1))], "{written}");
    }
    let aws_auth = roles("- rolearn: arn:aws:iam::111122223333:role/Other\n");
    let decision = decide_arn(
        &config_map(&aws_auth),
        "arn:aws:sts::111122223333:assumed-role/Dev/s1",
    );
    assert!(decision.passed_over.is_empty());
}

#[test]
fn an_entry_hides_lines_and_the_mode_ignores_them() {
    let aws_auth = roles(&node_entry(ROLE, "from-cm", &["cm"]));
    let entries = [AccessEntry::new(
        ROLE,
        EntryType::Standard,
        "from-entry",
        &["entry"],
    )];
    let session = "arn:aws:sts::111122223333:assumed-role/KarpenterNode/s1";
    for (mode, username, because) in [
        (
            AuthenticationMode::ApiAndConfigMap,
            "from-entry",
            PassedOverBecause::HiddenByEntry,
        ),
        (AuthenticationMode::Api, "from-entry", PassedOverBecause::Mode),
        (AuthenticationMode::ConfigMap, "from-cm", PassedOverBecause::Mode),
    ] {
        let decision = decide_arn(&cluster(mode, &aws_auth, &entries), session);
        assert_eq!(decision.username.as_deref(), Some(username), "{mode}");
        assert_eq!(
            decision
                .passed_over
                .iter()
                .map(|over| over.because)
                .collect::<Vec<_>>(),
            [because],
            "{mode}"
        );
    }
}

#[test]
fn an_entry_with_a_path_is_for_the_role_without() {
    let entries = [AccessEntry::new(
        "arn:aws:iam::111122223333:role/team/KarpenterNode",
        EntryType::Ec2Linux,
        "system:node:{{EC2PrivateDNSName}}",
        &["system:nodes"],
    )];
    let empty = AwsAuth::default();
    let cluster = cluster(AuthenticationMode::Api, &empty, &entries);
    let node = "arn:aws:sts::111122223333:assumed-role/KarpenterNode/i-0123456789abcdef0";
    assert_eq!(decide_arn(&cluster, node).outcome, Outcome::Mapped);
    // A person with the node's role is refused, and nothing else is tried.
    let person = "arn:aws:sts::111122223333:assumed-role/KarpenterNode/alice";
    assert_eq!(decide_arn(&cluster, person).outcome, Outcome::Denied);
}

#[test]
fn of_entries_that_differ_in_the_path_one_counts() {
    let of = |path: &str, username: &str| {
        AccessEntry::new(
            &format!("arn:aws:iam::111122223333:role/{path}Dev"),
            EntryType::Standard,
            username,
            &[],
        )
    };
    let entries = [of("team/", "t"), of("ops/", "o")];
    let empty = AwsAuth::default();
    let cluster = cluster(AuthenticationMode::Api, &empty, &entries);
    let of_role = |path: &str| {
        let caller = Caller::of_role(&format!("arn:aws:iam::111122223333:role/{path}Dev"), None).unwrap();
        decide(&cluster, &caller, Existence::Unknown)
    };
    assert_eq!(of_role("ops/").username.as_deref(), Some("o"));
    assert_eq!(of_role("team/").username.as_deref(), Some("t"));
    let other = of_role("other/");
    assert_eq!(other.outcome, Outcome::NotMapped);
    assert_eq!(
        other
            .passed_over
            .iter()
            .map(|over| over.because)
            .collect::<Vec<_>>(),
        [PassedOverBecause::Stale, PassedOverBecause::Stale]
    );
    // A session of a role whose path is known is decided the same way.
    let session = Caller::of_role("arn:aws:iam::111122223333:role/ops/Dev", Some("s")).unwrap();
    assert_eq!(
        decide(&cluster, &session, Existence::Unknown).username.as_deref(),
        Some("o")
    );
    let without = Caller::of_role("arn:aws:iam::111122223333:role/Dev", Some("s"))
        .unwrap()
        .with_role_arn("arn:aws:iam::111122223333:role/Dev");
    assert_eq!(
        decide(&cluster, &without, Existence::Unknown).outcome,
        Outcome::NotMapped
    );
    // A session's ARN has no path: either may be meant, and only IAM knows which of the two exists.
    let session = decide_arn(&cluster, "arn:aws:sts::111122223333:assumed-role/Dev/s");
    assert_eq!(session.outcome, Outcome::Ambiguous);
    assert_eq!(session.alternatives.len(), 2);
    assert!(
        session.reason.contains("which of these roles exists"),
        "{}",
        session.reason
    );
}

#[test]
fn a_recreated_role_is_told_by_its_dates() {
    let mut entry = AccessEntry::new(ROLE, EntryType::Standard, "entry", &[]);
    entry.created_at = Some("2024-05-01T00:00:00Z".parse().unwrap());
    let entries = [entry];
    let empty = AwsAuth::default();
    let cluster = cluster(AuthenticationMode::Api, &empty, &entries);
    let caller = Caller::of_role(ROLE, Some("s")).unwrap();
    for (existence, outcome) in [
        (Existence::Unknown, Outcome::Mapped),
        (
            Existence::Since("2024-04-30T23:59:59Z".parse().unwrap()),
            Outcome::Mapped,
        ),
        (
            Existence::Since("2024-05-01T00:00:01Z".parse().unwrap()),
            Outcome::NotMapped,
        ),
        (Existence::Deleted, Outcome::NotMapped),
    ] {
        assert_eq!(
            decide(&cluster, &caller, existence).outcome,
            outcome,
            "{existence:?}"
        );
    }
}

#[test]
fn what_could_not_be_read_is_said() {
    let aws_auth = roles(&node_entry(ROLE, "u", &[]));
    let unread = Cluster {
        mode: AuthenticationMode::ApiAndConfigMap,
        aws_auth: Some(&aws_auth),
        entries: None,
        settings: Settings::default(),
    };
    let decision = decide_arn(&unread, "arn:aws:sts::111122223333:assumed-role/KarpenterNode/s");
    assert_eq!((decision.outcome, decision.caveats.len()), (Outcome::Mapped, 1));
}

#[test]
fn the_usual_mistakes_are_found() {
    let node =
        "  username: system:node:{{EC2PrivateDNSName}}\n  groups: [system:bootstrappers, system:nodes]\n";
    for (text, mistake) in [
        (
            format!("- rolearn: arn:aws:iam::111122223333:role/a/b\n{node}"),
            Mistake::RolePath,
        ),
        (
            format!(
                "- rolearn: arn:aws:iam::111122223333:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_A_1\n{node}"
            ),
            Mistake::SsoRolePath,
        ),
        (
            format!("- rolearn: arn:aws:iam::111122223333:instance-profile/b\n{node}"),
            Mistake::NotARole,
        ),
        (
            format!("- rolearn: arn:aws:sts::111122223333:assumed-role/b/s\n{node}"),
            Mistake::NotARole,
        ),
        (
            format!("- rolearn: arn:aws:iam::111122223333:role/\u{a0}b\n{node}"),
            Mistake::StrayCharacters,
        ),
        (
            format!("- rolearn: arn:aws:iam::11112222333:role/b\n{node}"),
            Mistake::NotAnArn,
        ),
        (format!("- rolearn: KarpenterNode\n{node}"), Mistake::NotAnArn),
        (
            format!("- rolearn: arn:aws:iam::111122223333:role/*\n{node}"),
            Mistake::Wildcard,
        ),
        (
            format!("- rolearn: {ROLE}\n  username: \"{{{{ SessionName }}}}\"\n"),
            Mistake::Template,
        ),
        (
            format!(
                "- rolearn: {ROLE}\n  username: system:node:{{{{SessionName}}}}\n  groups: [system:nodes]\n"
            ),
            Mistake::Template,
        ),
        (format!("- rolearn: {ROLE}\n"), Mistake::Template),
        (
            format!("- rolearn: {ROLE}\n  username: u\n  groups: [\"a,b\"]\n"),
            Mistake::Groups,
        ),
        (
            format!("- rolearn: {ROLE}\n  username: u\n  groups:\n    - a\n     - b\n"),
            Mistake::Groups,
        ),
        (
            format!("- rolearn: {ROLE}\n  username: system:node:x\n"),
            Mistake::Groups,
        ),
        (
            format!("- rolearn: {ROLE}\n  username: u\n  group: [a]\n"),
            Mistake::Field,
        ),
        (
            format!("- rolearn: {ROLE}\n{node}- rolearn: {ROLE}\n{node}"),
            Mistake::Duplicate,
        ),
        (
            "- rolearn: arn:aws:iam::111122223333:root\n  username: u\n".to_owned(),
            Mistake::Root,
        ),
    ] {
        let aws_auth = roles(&text);
        assert_eq!(aws_auth.problems.len(), 1, "{text}{:#?}", aws_auth.problems);
        assert_eq!(aws_auth.problems[0].mistake, Some(mistake), "{text}");
        assert_eq!(aws_auth.problems[0].severity, Severity::Warning, "{text}");
        assert!(!aws_auth.parse_errors, "{text}");
    }
    assert_eq!(roles(&format!("- rolearn: {ROLE}\n{node}")).problems, []);
    let misspelled = AwsAuth::parse(&BTreeMap::from([(
        "maproles".to_owned(),
        format!("- rolearn: {ROLE}\n"),
    )]));
    assert_eq!(misspelled.problems[0].mistake, Some(Mistake::Key));
    assert!(misspelled.roles.is_empty());
}

#[test]
fn everybody_is_listed() {
    let aws_auth = AwsAuth::parse(&BTreeMap::from([
        (
            "mapRoles".to_owned(),
            "- rolearn: arn:aws:iam::111122223333:role/A\n  username: a1\n- rolearn: arn:aws:iam::111122223333:role/a\n  username: a2\n\
             - rolearn: arn:aws:iam::111122223333:role/x/P\n  username: p\n- username: nobody\n- rolearn: arn:aws:iam::111122223333:role/E\n  username: e\n"
                .to_owned(),
        ),
        ("mapUsers".to_owned(), "- userarn: arn:aws:iam::111122223333:role/A\n  username: u\n".to_owned()),
        ("mapAccounts".to_owned(), "- \"111122223333\"\n".to_owned()),
    ]));
    let entries = [AccessEntry::new(
        "arn:aws:iam::111122223333:role/E",
        EntryType::Standard,
        "e",
        &[],
    )];
    let states = |mode| -> Vec<String> {
        list_all(&cluster(mode, &aws_auth, &entries), |_| Existence::Unknown)
            .into_iter()
            .map(|listed| {
                format!(
                    "{} {}",
                    listed.source,
                    serde_json::to_value(listed.state).unwrap()["state"]
                        .as_str()
                        .unwrap()
                )
            })
            .collect()
    };
    assert_eq!(
        states(AuthenticationMode::ApiAndConfigMap),
        [
            "access entry of arn:aws:iam::111122223333:role/E (STANDARD) inForce",
            "mapRoles line 1 displaced",
            "mapRoles line 3 inForce",
            "mapRoles line 5 neverMatches",
            "mapRoles line 8 hidden",
            "mapUsers line 1 later",
            "mapRoles line 7 dropped",
            "mapAccounts line 1 inForce",
        ]
    );
    assert!(
        states(AuthenticationMode::Api)
            .iter()
            .skip(1)
            .all(|state| state.ends_with("ignored") || state.ends_with("dropped"))
    );
}

fn manifest(text: &str) -> Result<Manifest, ManifestError> {
    Manifest::read(text.as_bytes())
}

#[test]
fn manifests_are_read_in_every_form() {
    let value = "    - rolearn: arn:aws:iam::111122223333:role/Dev\n      username: u\n";
    let data = format!("data:\n  mapRoles: |\n{value}");
    let head = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: aws-auth\n  namespace: kube-system\n";
    let noise = "  annotations:\n    kubectl.kubernetes.io/last-applied-configuration: |\n      \
                 {\"data\":{\"mapRoles\":\"- rolearn: old\"}}\n  managedFields: []\n";
    let other = "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\ndata: {a: b}\n";
    let bare = "mapRoles: |\n  - rolearn: arn:aws:iam::111122223333:role/Dev\n    username: u\n";
    let indented: String = format!("{head}{data}")
        .lines()
        .map(|line| format!("  {line}\n"))
        .collect();
    let json = serde_json::json!({"kind": "List", "items": [{"kind": "Secret"}, {"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "aws-auth", "namespace": "kube-system"},
        "data": {"mapRoles": "- rolearn: arn:aws:iam::111122223333:role/Dev\n  username: u\n"}}]});
    for (name, text, file_line) in [
        ("a ConfigMap", format!("{head}{data}"), Some(8)),
        ("with last-applied", format!("{head}{noise}{data}"), Some(12)),
        ("data alone", data.clone(), Some(3)),
        ("bare data", bare.to_owned(), Some(2)),
        (
            "second of two documents",
            format!("{other}---\n{head}{data}"),
            Some(13),
        ),
        (
            "a list",
            format!("kind: List\nitems:\n- kind: Secret\n-\n{indented}"),
            Some(12),
        ),
        ("CRLF", format!("{head}{data}").replace('\n', "\r\n"), Some(8)),
        ("BOM", format!("\u{feff}{head}{data}"), Some(8)),
        ("JSON", json.to_string(), None),
        ("pretty JSON", serde_json::to_string_pretty(&json).unwrap(), None),
    ] {
        let manifest = manifest(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(manifest.problems.is_empty(), "{name}: {:?}", manifest.problems);
        assert_eq!(manifest.file_line("mapRoles", 1), file_line, "{name}");
        let aws_auth = AwsAuth::parse(&manifest.data);
        assert_eq!(
            (aws_auth.roles.len(), aws_auth.problems.len()),
            (1, 0),
            "{name}: {aws_auth:?}"
        );
    }
}

#[test]
fn manifests_that_the_api_server_refuses_are_named() {
    let head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: aws-auth, namespace: kube-system}\n";
    let rows = [
        (
            "mapRoles:\n- rolearn: x\n".to_owned(),
            "\"mapRoles\" is a list where a text is needed (data values must be strings)",
        ),
        (
            "mapAccounts: 111122223333\n".to_owned(),
            "\"mapAccounts\" is a number where a text is needed (data values must be strings)",
        ),
        (
            format!("{head}data: [1]\n"),
            "data is a list where a map is needed",
        ),
        (
            format!("{head}data: {{map Roles: x}}\n"),
            "\"map Roles\" cannot be a key of a ConfigMap: letters, digits, '-', '_' and '.' can",
        ),
        (
            format!("{head}immutable: \"true\"\n"),
            "immutable is a text where true or false is needed",
        ),
        (
            format!("{head}binaryData: {{a: 'no base64!'}}\n"),
            "\"a\" in binaryData is not base64",
        ),
        (
            format!("{head}binaryData: [a]\n"),
            "binaryData is a list where a map is needed",
        ),
        (
            format!("{head}data: {{a: x}}\nbinaryData: {{a: eA==}}\n"),
            "\"a\" is in data and in binaryData",
        ),
        (
            head.replace("ConfigMap", "configmap"),
            "kind is \"configmap\", and case matters",
        ),
        (head.replace("kind: ConfigMap", "data: {}"), "kind is missing"),
        (
            head.replace("kind: ConfigMap", "kind: 1\ndata: {}"),
            "kind is a number where a text is needed",
        ),
        (head.replace("apiVersion: v1\n", ""), "apiVersion is missing"),
        (
            head.replace("v1", "v2"),
            "there is no ConfigMap in apiVersion \"v2\"",
        ),
        (
            head.replace("v1", "1"),
            "apiVersion is a number where a text is needed",
        ),
        (
            head.replace("{name: aws-auth, namespace: kube-system}", "aws-auth"),
            "metadata is a text where a map is needed",
        ),
        (head.replace("name: aws-auth, ", ""), "metadata.name is missing"),
        (
            head.replace("aws-auth", "123"),
            "metadata.name is a number where a text is needed",
        ),
        (
            head.replace("kube-system", "[a]"),
            "metadata.namespace is a list where a text is needed",
        ),
        (
            head.replace("namespace: kube-system", "labels: {a: 1}"),
            "metadata.labels: \"a\" is a number where a text is needed",
        ),
        (
            head.replace("namespace: kube-system", "annotations: {a: true}"),
            "metadata.annotations: \"a\" is true or false where a text is needed",
        ),
        (
            head.replace("namespace: kube-system", "finalizers: a"),
            "metadata.finalizers is a text where a list is needed",
        ),
    ];
    for (text, why) in rows {
        let manifest = manifest(&text).unwrap();
        let rejected = manifest.rejected().map(|problem| problem.message.as_str());
        assert_eq!(
            rejected,
            Some(format!("ConfigMap rejected: {why}").as_str()),
            "{text}"
        );
    }
    // Taken, and still not what is meant. Karpenter's troubleshooting page had the first one.
    for text in [
        format!("{head}data:\nmapRoles: |\n  - rolearn: x\n"),
        head.replace("kube-system", "default"),
        format!("{head}immutable: true\n"),
        format!("{head}binaryData: {{mapRoles: eA==}}\n"),
    ] {
        let manifest = manifest(&text).unwrap();
        assert!(
            manifest.rejected().is_none() && manifest.data.is_empty(),
            "{text}: {manifest:?}"
        );
        assert_eq!(manifest.problems.len(), 1, "{text}: {manifest:?}");
    }
}

#[test]
fn the_template_of_a_cdk_stack_is_a_manifest() {
    let objects = serde_json::json!([{"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "aws-auth", "namespace": "kube-system", "labels": {"aws.cdk.eks/prune-c8": ""}},
        "data": {"mapRoles": serde_json::json!([
            {"rolearn": "NODE", "username": "system:node:{{EC2PrivateDNSName}}", "groups": ["system:bootstrappers", "system:nodes"]},
            {"rolearn": "arn:PARTITION:iam::111122223333:role/Dev", "username": "dev", "groups": []}]).to_string()}}])
    .to_string();
    let (before, after) = objects.split_once("NODE").unwrap();
    let (middle, after) = after.split_once("PARTITION").unwrap();
    let parts = serde_json::json!([before, {"Fn::GetAtt": ["NodeRole", "Arn"]}, middle, {"Ref": "AWS::Partition"}, after]);
    let stack = serde_json::json!({"Resources": {"Other": {"Type": "AWS::IAM::Role"}, "ClusterAwsAuth": {
        "Type": "Custom::AWSCDK-EKS-KubernetesResource", "Properties": {"Manifest": {"Fn::Join": ["", parts]}}}}});
    for text in [
        serde_json::to_string_pretty(&stack).unwrap(),
        serde_yaml::to_string(&stack).unwrap(),
    ] {
        let manifest = manifest(&text).unwrap();
        assert!(manifest.problems.is_empty(), "{manifest:?}");
        assert_eq!(manifest.references.iter().collect::<Vec<_>>(), ["NodeRole.Arn"]);
        let aws_auth = AwsAuth::parse(&manifest.data);
        let arns: Vec<&str> = aws_auth.roles.iter().map(|role| role.arn.as_str()).collect();
        assert_eq!(arns, ["${NodeRole.Arn}", "arn:aws:iam::111122223333:role/Dev"]);
        let mistakes: Vec<_> = aws_auth.problems.iter().map(|problem| problem.mistake).collect();
        assert_eq!(mistakes, [Some(Mistake::Unsubstituted)]);
    }
    let without = manifest(r#"{"Resources": {"A": {"Type": "AWS::IAM::Role"}}}"#)
        .unwrap_err()
        .to_string();
    assert!(
        without.starts_with("no aws-auth in the file: it holds a stack's template without"),
        "{without}"
    );
}

#[test]
fn files_that_are_no_aws_auth_say_what_they_are() {
    for (bytes, expected) in [
        (&b""[..], "the file is empty"),
        (b" \n", "the file is empty"),
        (b"a\n\xff\n", "line 2 is not UTF-8: save the file as UTF-8"),
        (b"\xff\xfea\0", "the file is UTF-16: save it as UTF-8"),
        (
            b"kind: Secret\nmetadata: {name: x}\n",
            "no aws-auth in the file: it holds a \"Secret\" named \"x\".",
        ),
        (
            b"- rolearn: x\n",
            "no aws-auth in the file: it holds a list of entries,",
        ),
        (b"hello", "no aws-auth in the file: it holds a text at the top."),
        (b"a: [\n", "line 2 of the file is not YAML"),
        (b"{}", "no aws-auth in the file: it holds a map with the keys ."),
        (b"---\n---\n", "no aws-auth in the file: it holds no document."),
        (
            b"kind: List\nitems: []\n",
            "no aws-auth in the file: it holds an empty list.",
        ),
    ] {
        let error = Manifest::read(bytes).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error:?} instead of {expected:?}");
    }
    assert_eq!(
        Manifest::read(&vec![b' '; MAX_MANIFEST_BYTES + 1]),
        Err(ManifestError::TooLarge)
    );
}

#[test]
fn bombs_and_depths_end() {
    let mut bomb = "a0: &a0 [x]\n".to_owned();
    for level in 1..60 {
        bomb.push_str(&format!("a{level}: &a{level} [*a{0}, *a{0}, *a{0}]\n", level - 1));
    }
    assert!(matches!(manifest(&bomb), Err(ManifestError::NotYaml { .. })));
    let long = "x".repeat(500_000);
    let many = format!("- &a {long}\n{}", "- {rolearn: *a}\n".repeat(30_000));
    let aws_auth = roles(&many);
    assert!(aws_auth.parse_errors && aws_auth.roles.is_empty());
    for text in [
        "[", "{", "- ", "? ", "&a ", "!", "'", "{a: ", "\t", "- - [", "a: ",
    ] {
        let text = text.repeat((1 << 20) / text.len());
        let _ = roles(&text);
        let _ = manifest(&text);
    }
    // A whole mebibyte of entries on one line, each with something to complain about.
    let line = format!("[{}]", "{rolearn: a},".repeat((1 << 20) / 13));
    let aws_auth = roles(&line);
    assert!(aws_auth.roles.len() > 80_000);
    let _ = list_all(&config_map(&aws_auth), |_| Existence::Unknown);
    let _ = decide_arn(&config_map(&aws_auth), "arn:aws:iam::111122223333:user/a");
}

proptest! {
    #[test]
    fn any_text_is_taken_in(text in "\\PC*|[-\\[\\]{}:,?&*!|>'\"%@`# \\n\\t\\r a-c]{0,80}") {
        let data = MapKey::ALL.map(|key| (key.as_str().to_owned(), text.clone()));
        let aws_auth = AwsAuth::parse(&BTreeMap::from(data));
        for problem in &aws_auth.problems {
            let key = MapKey::ALL.into_iter().find(|key| problem.key.as_deref() == Some(key.as_str()));
            if let (Some(key), Some(line)) = (key, problem.line) {
                prop_assert!(aws_auth.quote(key, line).is_some(), "no line {}: {:?}", line, problem);
            }
        }
        let _ = Manifest::read(text.as_bytes());
    }

    #[test]
    fn any_bytes_are_a_file(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Manifest::read(&bytes);
    }

    #[test]
    fn any_arn_gets_an_answer(arn in "(arn:)?[a-z-]{0,8}:(iam|sts|s3):?:[0-9]{0,12}:(role|user|assumed-role|root)?[/a-zA-Z0-9@_:.*-]{0,20}") {
        let aws_auth = roles(&format!("- rolearn: {arn}\n  username: u\n"));
        let decision = decide_arn(&config_map(&aws_auth), &arn);
        prop_assert!(!decision.reason.is_empty());
        prop_assert_ne!(decision.outcome, Outcome::Ambiguous);
    }
}

/// Whom a line is for, and that the list says of the others that they match nobody.
#[test]
fn a_line_is_for_one_principal_or_nobody() {
    for (written, want) in [
        (
            "arn:aws:iam::111122223333:role/Dev",
            Some("arn:aws:iam::111122223333:role/Dev"),
        ),
        (
            "ARN:AWS:IAM::111122223333:ROLE/Dev",
            Some("arn:aws:iam::111122223333:role/Dev"),
        ),
        (
            "arn:aws:iam::111122223333:role/\u{212A}arpenter",
            Some("arn:aws:iam::111122223333:role/karpenter"),
        ),
        (
            "arn:aws-cn:iam::111122223333:user/team/Jo",
            Some("arn:aws-cn:iam::111122223333:user/team/Jo"),
        ),
        (
            "arn:aws:iam::111122223333:root",
            Some("arn:aws:iam::111122223333:root"),
        ),
        (
            "arn:aws:sts::111122223333:federated-user/jo",
            Some("arn:aws:sts::111122223333:federated-user/jo"),
        ),
        ("arn:aws:iam::111122223333:role/team/Dev", None),
        ("arn:aws:iam::111122223333:role/", None),
        ("arn:aws:iam::111122223333:role/D\u{e9}v", None),
        ("arn:aws:iam::111122223333:role/Dev*", None),
        ("arn:aws:iam:eu-west-1:111122223333:role/Dev", None),
        ("arn:aws:iam::1111:role/Dev", None),
        ("arn:aws-xx:iam::111122223333:role/Dev", None),
        ("arn:aws:sts::111122223333:assumed-role/Dev/s", None),
        ("arn:aws:iam::111122223333:instance-profile/Dev", None),
        ("Dev", None),
    ] {
        let aws_auth = roles(&node_entry(written, "u", &[]));
        assert_eq!(aws_auth.roles[0].principal().as_deref(), want, "{written}");
        let listed = list_all(&config_map(&aws_auth), |_| Existence::Unknown);
        let never = matches!(listed[0].state, State::NeverMatches { .. });
        assert_eq!(never, want.is_none(), "{written}: {:?}", listed[0].state);
        if let Some(arn) = want {
            let decision = decide_arn(&config_map(&aws_auth), arn);
            assert_eq!(decision.outcome, Outcome::Mapped, "{written}");
        }
    }
}
