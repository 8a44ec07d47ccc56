//! Tables from AWS's documented semantics, and the laws that hold whatever the documents are.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::arn::Arn;
use crate::condition::ContextValue;
use crate::document::PolicyDocument;
use crate::evaluate::{
    ASSUME_ROLE, Admitted, Decision, OwnSide, Request, SAML, WEB_IDENTITY, admitted, evaluate,
};
use crate::kleene::Tri::{self, False, True, Unknown};
use crate::principal::{Class, Identity, Requester};

const ROLE: &str = "arn:aws:iam::111122223333:role/kubectl";
const USER: &str = "arn:aws:iam::111122223333:user/eve";
const ADMIN: &str = "arn:aws:iam::111122223333:role/admin";
const SESSION: &str = "arn:aws:sts::111122223333:assumed-role/admin/eve";
const ROOT: &str = "arn:aws:iam::111122223333:root";
const OTHER: &str = "arn:aws:iam::444455556666:role/admin";
const NOW: &str = "2026-11-25T22:00:00Z";

fn known(arn: &str) -> Requester {
    Requester::from(arn.parse::<crate::arn::PrincipalArn>().expect("a principal"))
}

fn statement(effect: &str, principal: Value, more: Value) -> Value {
    let mut one = json!({"Effect": effect, "Principal": principal, "Action": "sts:AssumeRole"});
    if let (Some(one), Value::Object(more)) = (one.as_object_mut(), more) {
        one.extend(more);
    }
    one
}

fn aws(who: &str) -> Value {
    json!({"AWS": who})
}

fn document(statements: Value) -> PolicyDocument {
    let text = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    PolicyDocument::parse(&text).expect("a document")
}

fn ask<'d>(document: &'d PolicyDocument, requester: &Requester, action: &str) -> Decision<'d> {
    let role: Arn = ROLE.parse().expect("an ARN");
    let request = Request {
        requester,
        action,
        resource: &role,
        context: &|key| match key {
            "aws:currenttime" => Some(ContextValue::one(NOW)),
            "sts:externalid" => Some(ContextValue::Absent),
            "sts:rolesessionname" => Some(ContextValue::one("EKSGetTokenAuth")),
            _ => None,
        },
    };
    evaluate(document, &request)
}

fn may(statements: Value, who: &str) -> Tri {
    ask(&document(statements), &known(who), ASSUME_ROLE).verdict
}

#[test]
fn whom_an_entry_names() {
    for (named, who, want) in [
        (aws(USER), USER, True),
        (aws(ROOT), USER, True),
        (aws("111122223333"), SESSION, True),
        (aws(ADMIN), SESSION, True),
        (aws(SESSION), SESSION, True),
        (aws(SESSION), ADMIN, Unknown),
        (aws(&SESSION.replace("eve", "adam")), SESSION, False),
        (aws("arn:aws:iam::111122223333:user/admin"), ADMIN, False),
        (aws(OTHER), ADMIN, False),
        (aws("arn:aws:iam::111122223333:role/Admin"), ADMIN, False),
        // A path given by hand may be wrong.
        (aws("arn:aws:iam::111122223333:role/team/admin"), ADMIN, Unknown),
        (json!({"AWS": []}), ADMIN, False),
        (json!({"Service": "ec2.amazonaws.com"}), ADMIN, False),
        (json!({"Service": "*"}), ADMIN, False),
        (json!({"Federated": "*"}), ADMIN, False),
        (aws("AROAEXAMPLEEXAMPLE99"), ADMIN, False),
        (aws("arn:aws:iam::111122223333:role/*"), ADMIN, False),
        (aws("arn:aws:iam::111122223333:group/admins"), ADMIN, False),
        (aws("admin"), ADMIN, False),
        (json!("*"), OTHER, True),
    ] {
        let found = may(statement("Allow", named.clone(), json!({})), who);
        assert_eq!(found, want, "{named} {who}");
    }
}

#[test]
fn a_principal_of_another_partition_is_that_principal() {
    for (named, who, want) in [
        ("arn:aws-cn:iam::111122223333:role/admin", ADMIN, False),
        ("arn:aws-cn:iam::111122223333:root", ADMIN, False),
        (
            "arn:aws-cn:iam::111122223333:root",
            "arn:aws-cn:iam::111122223333:role/admin",
            True,
        ),
    ] {
        let found = may(statement("Allow", aws(named), json!({})), who);
        assert_eq!(found, want, "{named} {who}");
        let both = json!([
            statement("Allow", aws(who), json!({})),
            statement("Deny", aws(named), json!({}))
        ]);
        assert_eq!(may(both, who), !want, "{named} {who}");
    }
}

#[test]
fn a_deny_decides_whatever_else_allows() {
    let mfa = json!({"Condition": {"Bool": {"aws:MultiFactorAuthPresent": "false"}}});
    let more = |who: Value, more: Value| statement("Deny", who, more);
    let deny = |who: Value| more(who, json!({}));
    for (deny, want) in [
        (deny(aws(ADMIN)), False),
        // It covers sts:AssumeRole alone, and only that is allowed.
        (deny(json!("*")), False),
        (more(aws(ROOT), json!({"Action": "sts:*"})), False),
        (more(json!("*"), json!({"Action": SAML})), True),
        (deny(aws(OTHER)), True),
        (deny(json!({"Service": "ec2.amazonaws.com"})), True),
        (deny(aws("AROAEXAMPLEEXAMPLE99")), True),
        (more(json!("*"), mfa), Unknown),
        // What IAM would not have stored may deny anything.
        (deny(json!("arn:aws:iam::444455556666:root")), Unknown),
        (deny(aws("arn:aws:iam::111122223333:role/*")), Unknown),
        (more(aws(OTHER), json!({"Action": {"a": 1}})), Unknown),
        (statement("deny", json!("*"), json!({})), Unknown),
    ] {
        let allow = statement("Allow", aws(ADMIN), json!({}));
        for order in [json!([allow, deny]), json!([deny, allow])] {
            assert_eq!(may(order, ADMIN), want, "{deny}");
        }
    }
}

#[test]
fn not_principal_spares_only_whom_it_names_with_everything_they_belong_to() {
    let but = |effect: &str, who: Value| json!({"Effect": effect, "NotPrincipal": {"AWS": who}, "Action": "sts:AssumeRole"});
    for (listed, who, want) in [
        (json!([SESSION, ADMIN, ROOT]), SESSION, True),
        (json!([ADMIN, ROOT]), SESSION, False),
        (json!([SESSION, ROOT]), SESSION, False),
        (json!([SESSION, ADMIN]), SESSION, False),
        (json!([USER, ROOT]), USER, True),
        (json!([USER]), USER, Unknown),
        (json!([ROOT]), USER, Unknown),
        // Which session of a role calls is not known.
        (json!([ADMIN, ROOT]), ADMIN, Unknown),
        (json!([SESSION, ADMIN, ROOT]), ADMIN, Unknown),
        (json!([OTHER]), ADMIN, False),
        (json!("*"), ADMIN, True),
    ] {
        let both = json!([
            statement("Allow", json!("*"), json!({})),
            but("Deny", listed.clone())
        ]);
        assert_eq!(may(both, who), want, "{listed} {who}");
    }
    // With a permissions boundary it is always denied.
    let spared = document(json!([
        statement("Allow", json!("*"), json!({})),
        but("Deny", json!([USER, ROOT]))
    ]));
    let Requester::Known(user) = known(USER) else {
        return;
    };
    let bounded = Requester::from(Identity {
        has_boundary: true,
        ..*user
    });
    assert_eq!(ask(&spared, &bounded, ASSUME_ROLE).verdict, False);
    // With Allow it is not supported; whom it names it does not allow.
    assert_eq!(may(but("Allow", json!([ADMIN])), ADMIN), False);
    assert_eq!(may(but("Allow", json!([OTHER])), ADMIN), Unknown);
}

#[test]
fn conditions_of_an_allow() {
    let full = "arn:aws:iam::111122223333:role/team/admin";
    let Requester::Known(session) = known(SESSION) else {
        return;
    };
    let session = Requester::from(Identity {
        role_arn: full.parse().ok(),
        id: Some("AROACALLERCALLER0001".to_owned()),
        ..*session
    });
    let check = |condition: Value, want| {
        let policy = document(statement("Allow", aws(full), json!({"Condition": condition})));
        let decision = ask(&policy, &session, ASSUME_ROLE);
        assert_eq!(decision.verdict, want, "{condition}");
        assert_eq!(decision.unknown().is_empty(), want != Unknown, "{condition}");
    };
    let accounts = "444455556666,111122223333";
    for (operator, key, value, want) in [
        ("StringEquals", "sts:ExternalId", "x", False),
        ("StringEqualsIfExists", "sts:ExternalId", "x", True),
        ("StringLike", "STS:rolesessionname", "EKS*", True),
        ("ArnEquals", "aws:PrincipalArn", full, True),
        ("ArnEquals", "aws:PrincipalArn", ADMIN, False),
        ("StringEquals", "aws:PrincipalAccount", accounts, True),
        ("Bool", "aws:PrincipalIsAWSService", "true", False),
        ("StringEquals", "aws:SourceAccount", "111122223333", False),
        ("StringLike", "aws:userid", "AROACALLERCALLER0001:*", True),
        ("StringEquals", "sts:RoleSessionName", "${aws:username}", Unknown),
        // A missing key: a set operator with a negation is false.
        ("ForAnyValue:StringNotEquals", "aws:CalledVia", "x", False),
        ("ForAllValues:StringNotEquals", "aws:CalledVia", "x", True),
        // What is over, and what holds for every address, is decided.
        ("DateLessThan", "aws:CurrentTime", "2020-01-01T00:00:00Z", False),
        ("DateGreaterThan", "aws:CurrentTime", "2020-01-01T00:00:00Z", True),
        ("IpAddress", "aws:SourceIp", "0.0.0.0/0", True),
        ("IpAddress", "aws:SourceIp", "192.0.2.0/24", Unknown),
        ("Bool", "aws:MultiFactorAuthPresent", "true", Unknown),
        ("StringEquals", "aws:PrincipalOrgID", "o-example", Unknown),
        ("StringEquals", "new:Key", "a", Unknown),
    ] {
        let values: Vec<&str> = value.split(',').collect();
        check(json!({operator: {key: values}}), want);
    }
    // All must hold: one that does not is enough.
    let mfa = json!({"aws:MultiFactorAuthPresent": "true"});
    check(
        json!({"Bool": mfa, "StringEquals": {"sts:ExternalId": "x"}}),
        False,
    );
}

const PROVIDER: &str = "arn:aws:iam::111122223333:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/AAAA";

#[test]
fn web_identity() {
    let requester = Requester::Federated(PROVIDER.to_owned());
    let sub = "oidc.eks.eu-west-1.amazonaws.com/id/AAAA:sub";
    let role: Arn = ROLE.parse().expect("an ARN");
    let check = |condition: Value, want| {
        let one = json!({"Effect": "Allow", "Principal": {"Federated": PROVIDER}, "Action": WEB_IDENTITY, "Condition": condition});
        let policy = document(one);
        let request = Request {
            requester: &requester,
            action: WEB_IDENTITY,
            resource: &role,
            context: &|key| {
                (key == sub.to_lowercase()).then(|| ContextValue::one("system:serviceaccount:a:b"))
            },
        };
        assert_eq!(evaluate(&policy, &request).verdict, want, "{condition}");
    };
    check(json!({}), True);
    let email = sub.replace(":sub", ":email");
    let old = sub.replace("AAAA", "OLD");
    let google = "accounts.google.com:aud";
    for (operator, key, value, want) in [
        ("StringEquals", sub, "system:serviceaccount:a:b", True),
        ("StringEquals", sub, "system:serviceaccount:a:*", False),
        ("StringLike", sub, "system:serviceaccount:a:*", True),
        ("ForAnyValue:StringNotEquals", google, "x", False),
        ("StringEquals", &old, "x", False),
        ("StringEquals", "sub", "system:serviceaccount:a:b", False),
        ("ArnLike", "aws:PrincipalArn", "arn:aws:iam::1:*", Unknown),
        ("StringEquals", &email, "x", Unknown),
    ] {
        check(json!({operator: {key: value}}), want);
    }
}

#[test]
fn a_document_that_iam_would_refuse_is_never_a_pass() {
    for more in [
        json!({"Resource": "*"}),
        json!({"Comment": "x"}),
        json!({"Sid": 1}),
        json!({"NotPrincipal": "*"}),
    ] {
        assert_eq!(
            may(statement("Allow", aws(USER), more.clone()), USER),
            Unknown,
            "{more}"
        );
    }
    let repeated =
        r#"{"Statement": [{"Effect": "Deny", "Effect": "Allow", "Principal": "*", "Action": "*"}]}"#;
    assert!(PolicyDocument::parse(repeated).is_err());
}

#[test]
fn both_sides_in_one_account_and_across_accounts() {
    let silent = |boundary_limits| OwnSide::Silent { boundary_limits };
    for (named, who, own, want) in [
        (aws(USER), USER, silent(false), True),
        (aws(USER), USER, silent(true), True),
        (aws(ADMIN), SESSION, silent(false), True),
        (aws(ADMIN), SESSION, silent(true), False),
        (aws(SESSION), SESSION, silent(true), True),
        (aws(ROOT), USER, silent(false), False),
        (aws(ROOT), USER, OwnSide::Allows, True),
        (aws(USER), USER, OwnSide::Stops, False),
        (aws(USER), USER, OwnSide::Unknown, Unknown),
        (aws(OTHER), USER, OwnSide::Unknown, False),
        (aws(OTHER), OTHER, silent(false), False),
        (aws(OTHER), OTHER, OwnSide::Allows, True),
        (json!("*"), USER, silent(false), True),
        // How a boundary limits a bare star is not documented.
        (json!("*"), USER, silent(true), Unknown),
    ] {
        let policy = document(statement("Allow", named.clone(), json!({})));
        let found = ask(&policy, &known(who), ASSUME_ROLE).with_own_side(&own, who != OTHER);
        assert_eq!(found, want, "{named} {who} {own:?}");
    }
}

/// The policy of a KMS key, for a role whose own policies say nothing of KMS: what the document leaves to the account's
/// policies is not enough.
#[test]
fn a_resource_policy_says_how_it_allows() {
    let key: Arn = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd"
        .parse()
        .expect("an ARN");
    let silent = OwnSide::Silent {
        boundary_limits: false,
    };
    let with = |effect: &str, principal: Value, resource: &str| {
        statement(
            effect,
            principal,
            json!({"Action": "kms:*", "Resource": resource}),
        )
    };
    let on = |resource: &str| with("Allow", aws(ADMIN), resource);
    let allow = |principal: Value| with("Allow", principal, "*");
    let but = |deny: Value| json!([allow(aws(ADMIN)), deny]);
    let foreign = aws("arn:aws-cn:iam::111122223333:role/admin");
    // KMS refuses a statement without a Resource.
    let unsaid = statement("Allow", aws(ADMIN), json!({"Action": "kms:*"}));
    let other = "arn:aws:kms:*:*:key/other*";
    for (statements, want, class) in [
        (allow(aws(ROOT)), False, Some(Class::Account)),
        (allow(aws(ADMIN)), True, Some(Class::Role)),
        (but(allow(aws(ROOT))), True, Some(Class::Role)),
        (allow(json!("*")), True, Some(Class::Anyone)),
        (allow(aws(OTHER)), False, None),
        (allow(foreign), False, None),
        (on(&key.to_string()), True, Some(Class::Role)),
        (on(other), False, None),
        (unsaid, Unknown, None),
        (on("key"), Unknown, None),
        (on("arn:aws:kms:${aws:RequestedRegion}:*:key/*"), Unknown, None),
        (but(with("Deny", aws(ROOT), "*")), False, Some(Class::Role)),
        (but(with("Deny", aws(ADMIN), other)), True, Some(Class::Role)),
    ] {
        let policy = document(statements.clone());
        let request = Request {
            requester: &known(ADMIN),
            action: "kms:Decrypt",
            resource: &key,
            context: &|_| None,
        };
        let decision = evaluate(&policy, &request);
        assert_eq!(decision.with_own_side(&silent, true), want, "{statements}");
        assert_eq!(decision.class(), class, "{statements}");
        // Across accounts the role's own policies must allow it too.
        assert_ne!(decision.with_own_side(&silent, false), True, "{statements}");
    }
}

fn lets_in(statements: Value) -> Vec<String> {
    let role: Arn = ROLE.parse().expect("an ARN");
    let words = |one: &Admitted| {
        let home = one.requester.home().map_or("", |(_, account)| account);
        format!("{} {home} {:?}", one.who, one.may)
    };
    admitted(&document(statements), &role, NOW)
        .iter()
        .map(words)
        .collect()
}

#[test]
fn who_gets_in_at_all() {
    let conditions = |block: Value| statement("Allow", json!("*"), json!({"Condition": block}));
    for (statements, want) in [
        (json!([]), &[][..]),
        (
            statement(
                "Allow",
                json!({"AWS": [ROOT, OTHER], "Service": "ec2.amazonaws.com"}),
                json!({}),
            ),
            &[
                "arn:aws:iam::111122223333:root 111122223333 True",
                "arn:aws:iam::444455556666:role/admin 444455556666 True",
                "the service ec2.amazonaws.com  True",
            ],
        ),
        (
            statement("Allow", json!("*"), json!({})),
            &[
                "everybody (*) 111122223333 True",
                "everybody (*) 000000000000 True",
            ],
        ),
        (
            conditions(json!({"StringEquals": {"aws:PrincipalAccount": "111122223333"}})),
            &["everybody (*) 111122223333 True"],
        ),
        (
            conditions(json!({"StringEquals": {"aws:PrincipalAccount": "444455556666"}})),
            &["everybody (*) 444455556666 True"],
        ),
        (
            conditions(json!({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/ci-*"}})),
            &["everybody (*) 000000000000 True"],
        ),
        (
            conditions(json!({"StringEquals": {"aws:PrincipalOrgID": "o-example"}})),
            &[
                "everybody (*) 111122223333 Unknown",
                "everybody (*) 000000000000 Unknown",
            ],
        ),
        // Only sts:AssumeRole is allowed, and a Deny covers that alone.
        (
            json!([
                statement("Allow", aws(ROOT), json!({})),
                statement("Deny", json!("*"), json!({}))
            ]),
            &[],
        ),
        (statement("Allow", aws("AROAEXAMPLEEXAMPLE99"), json!({})), &[]),
        (
            statement("Allow", aws("arn:aws-cn:iam::111122223333:root"), json!({})),
            &[],
        ),
        (
            json!({"Effect": "Allow", "Principal": {"Federated": PROVIDER}, "Action": WEB_IDENTITY}),
            &[
                "the identity provider arn:aws:iam::111122223333:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/AAAA  True",
            ],
        ),
    ] {
        assert_eq!(lets_in(statements.clone()), want, "{statements}");
    }
}

fn any_statement() -> impl Strategy<Value = Value> {
    let principal = prop_oneof![
        Just(json!("*")),
        prop::sample::select(vec![
            USER,
            ADMIN,
            SESSION,
            ROOT,
            OTHER,
            "AROAEXAMPLEEXAMPLE99",
            "x*"
        ])
        .prop_map(aws),
    ];
    let condition = prop_oneof![
        Just(json!({})),
        Just(json!({"Bool": {"aws:MultiFactorAuthPresent": "true"}})),
        Just(json!({"StringEquals": {"aws:PrincipalAccount": "111122223333"}})),
        Just(json!({"Odd": {"k": "v"}})),
    ];
    (
        prop::sample::select(vec!["Allow", "Deny", "allow"]),
        prop::sample::select(vec!["Principal", "NotPrincipal"]),
        principal,
        prop::sample::select(vec!["sts:*", "sts:AssumeRole", "iam:*"]),
        condition,
    )
        .prop_map(|(effect, element, principal, action, condition)| {
            json!({"Effect": effect, element: principal, "Action": action, "Condition": condition})
        })
}

proptest! {
    /// A Deny never lets anybody in, an Allow never keeps anybody out, and the order does not matter.
    #[test]
    fn statements_only_push_one_way(
        mut all in prop::collection::vec(any_statement(), 0..5),
        who in prop::sample::select(vec![USER, ADMIN, SESSION, OTHER]),
    ) {
        let before = may(json!(all), who);
        let mut turned = all.clone();
        turned.reverse();
        prop_assert_eq!(may(json!(turned), who), before);
        let deny = statement("Deny", json!("*"), json!({}));
        let mut denied = all.clone();
        denied.push(deny);
        prop_assert_eq!(may(json!(denied), who), False);
        all.push(statement("Allow", json!("*"), json!({})));
        prop_assert!(may(json!(all), who).rank() >= before.rank());
    }

    /// Whoever gets in at all can be asked for, and gets in.
    #[test]
    fn whoever_is_admitted_may(all in prop::collection::vec(any_statement(), 0..5)) {
        let policy = document(json!(all));
        let role: Arn = ROLE.parse().expect("an ARN");
        for one in admitted(&policy, &role, NOW) {
            prop_assert_ne!(one.may, False);
        }
    }
}
