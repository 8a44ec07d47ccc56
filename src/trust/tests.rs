//! Tables from AWS's documented semantics, and the laws that must hold whatever the documents are.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::principal::{Caller, Subject};
use super::report::TrustReport;
use super::*;
use crate::model::{DeniedBy, Grant, Why};
use iam_policy::condition::ContextValue;

const A: &str = "111122223333";
const B: &str = "444455556666";
const R: &str = "arn:aws:iam::111122223333:role/kubectl";

fn not_asked() -> Unknown {
    Unknown::not_asked("nobody asked")
}

fn denied(action: &str) -> Unknown {
    Unknown::denied(
        DeniedBy::MissingAllow,
        "",
        Grant::Iam {
            action: action.to_owned(),
            resource: "*".to_owned(),
        },
    )
}

fn role_of(arn: &str, trust: &str) -> Role {
    let parsed: Arn = arn.parse().unwrap();
    Role {
        name: parsed.role_name().unwrap().to_owned(),
        path: parsed.path().unwrap().to_owned(),
        arn: arn.to_owned(),
        id: "AROAEXAMPLEEXAMPLE01".to_owned(),
        created: None,
        trust: trust.to_owned(),
        boundary: None,
    }
}

fn subject(arn: &str) -> Subject {
    Subject {
        who: Caller::Known(arn.parse().unwrap()),
        role: Observed::Unknown(not_asked()),
        id: None,
    }
}

/// A session of the role with that full ARN.
fn session_of(role: &str, session: &str) -> Subject {
    let arn: Arn = role.parse().unwrap();
    let name = arn.role_name().unwrap();
    Subject {
        who: Caller::Known(
            format!(
                "arn:{}:sts::{}:assumed-role/{name}/{session}",
                arn.partition, arn.account
            )
            .parse()
            .unwrap(),
        ),
        role: Observed::Known(Role {
            id: "AROACALLERCALLER0001".to_owned(),
            ..role_of(role, "{}")
        }),
        id: None,
    }
}

fn simulation(decision: SimulatedDecision) -> Simulation {
    Simulation {
        principal: String::new(),
        decision,
        allowed_by_organizations: None,
        allowed_by_boundary: None,
        missing_context: Vec::new(),
    }
}

fn known(found: Simulation) -> Identity {
    Identity::Simulated(Observed::Known(found))
}

fn allowed() -> Identity {
    known(simulation(SimulatedDecision::Allowed))
}

fn implicit() -> Identity {
    known(simulation(SimulatedDecision::ImplicitDeny))
}

fn explicit() -> Identity {
    known(simulation(SimulatedDecision::ExplicitDeny))
}

fn bounded(decision: SimulatedDecision, by_boundary: bool) -> Identity {
    known(Simulation {
        allowed_by_boundary: Some(by_boundary),
        ..simulation(decision)
    })
}

fn unread() -> Identity {
    Identity::Simulated(Observed::Unknown(denied("iam:SimulatePrincipalPolicy")))
}

struct Asked {
    subject: Subject,
    role_arn: Arn,
    role: Observed<Role>,
    identity: Identity,
    request: Request,
}

impl Asked {
    fn new(subject: Subject, trust: &Value, identity: Identity) -> Self {
        Self {
            subject,
            role_arn: R.parse().unwrap(),
            role: Observed::Known(role_of(R, &trust.to_string())),
            identity,
            request: Request::of_get_token(),
        }
    }

    fn question(&self) -> Question<'_> {
        Question {
            subject: &self.subject,
            role_arn: &self.role_arn,
            role: &self.role,
            identity: &self.identity,
            request: &self.request,
        }
    }

    fn judge(&self) -> TrustVerdict {
        judge(&self.question())
    }
}

fn ask(principal: &str, trust: &Value, identity: Identity) -> TrustVerdict {
    Asked::new(subject(principal), trust, identity).judge()
}

/// One Allow of sts:AssumeRole for this `Principal`.
fn allow(principal: Value) -> Value {
    document(vec![statement("Allow", principal)])
}

fn statement(effect: &str, principal: Value) -> Value {
    json!({"Effect": effect, "Principal": principal, "Action": "sts:AssumeRole"})
}

fn document(statements: Vec<Value>) -> Value {
    json!({"Version": "2012-10-17", "Statement": statements})
}

fn aws(arn: &str) -> Value {
    json!({"AWS": arn})
}

fn user(account: &str) -> String {
    format!("arn:aws:iam::{account}:user/eve")
}

fn role(account: &str) -> String {
    format!("arn:aws:iam::{account}:role/admin")
}

fn session(account: &str) -> String {
    format!("arn:aws:sts::{account}:assumed-role/admin/eve")
}

fn root(account: &str) -> String {
    format!("arn:aws:iam::{account}:root")
}

use Outcome::{Fail, Pass};

/// IAM user guide, "Policy evaluation for requests within a single account": role trust policies must always allow, and how
/// they name the principal decides whether the identity side must as well. "Cross-account policy evaluation logic": both.
#[test]
fn both_sides_in_one_account_and_across_accounts() {
    let nobody = document(vec![]);
    for (account, principal, named) in [
        (A, user(A), user(A)),
        (A, role(A), role(A)),
        (A, session(A), role(A)),
        (A, session(A), session(A)),
        (B, user(B), user(B)),
        (B, role(B), role(B)),
        (B, session(B), role(B)),
        (B, session(B), session(B)),
    ] {
        let same = account == A;
        let (by_name, by_account) = (allow(aws(&named)), allow(aws(&root(account))));
        for (trust, identity, want) in [
            (&nobody, implicit(), Fail),
            (&nobody, allowed(), Fail),
            (&nobody, explicit(), Fail),
            (&by_name, implicit(), if same { Pass } else { Fail }),
            (&by_name, allowed(), Pass),
            (&by_name, explicit(), Fail),
            (&by_name, unread(), Outcome::Unknown),
            (&by_account, implicit(), Fail),
            (&by_account, allowed(), Pass),
            (&by_account, explicit(), Fail),
            (&by_account, unread(), Outcome::Unknown),
        ] {
            let verdict = ask(&principal, trust, identity.clone());
            assert_eq!(
                verdict.outcome, want,
                "{principal} {trust} {identity:?}: {}",
                verdict.message
            );
        }
        // The account by its digits is the same as its root.
        for identity in [implicit(), allowed(), explicit(), unread()] {
            let by_digits = ask(&principal, &allow(aws(account)), identity.clone());
            let by_root = ask(&principal, &by_account, identity);
            assert_eq!(
                (by_digits.outcome, by_digits.reason, by_digits.message),
                (by_root.outcome, by_root.reason, by_root.message)
            );
        }
    }
}

/// The table "Resource-based policies and implicit denies in other policy types (same account)".
#[test]
fn what_an_implicit_deny_of_a_boundary_limits() {
    use SimulatedDecision::{Allowed, ImplicitDeny};
    for (principal, named, by_boundary, decision, want) in [
        // The role's ARN: limited by the boundary, and not by a missing Allow.
        (role(A), role(A), false, ImplicitDeny, Fail),
        (session(A), role(A), false, ImplicitDeny, Fail),
        (session(A), role(A), true, ImplicitDeny, Pass),
        (session(A), role(A), true, Allowed, Pass),
        // The session's own ARN: not limited.
        (session(A), session(A), false, ImplicitDeny, Pass),
        // The user's ARN: not limited.
        (user(A), user(A), false, ImplicitDeny, Pass),
        // The account: everything counts.
        (user(A), root(A), false, ImplicitDeny, Fail),
        (user(A), root(A), true, ImplicitDeny, Fail),
        // Across accounts a boundary always counts.
        (user(B), user(B), false, ImplicitDeny, Fail),
    ] {
        let verdict = ask(&principal, &allow(aws(&named)), bounded(decision, by_boundary));
        assert_eq!(
            verdict.outcome, want,
            "{principal} named {named}, boundary {by_boundary}: {}",
            verdict.message
        );
    }
    let limited = ask(&session(A), &allow(aws(&role(A))), bounded(ImplicitDeny, false));
    assert_eq!(limited.reason, Reason::Boundary);
    assert!(
        limited.message.contains("permissions boundary does not allow"),
        "{}",
        limited.message
    );
}

#[test]
fn everybody() {
    let by_arn = |operator: &str, value: &str| {
        let mut one = statement("Allow", json!("*"));
        one["Condition"] = json!({operator: {"aws:PrincipalArn": value}});
        document(vec![one])
    };
    let boundary = || bounded(SimulatedDecision::ImplicitDeny, false);
    for (trust, principal, identity, want) in [
        (allow(json!("*")), user(A), implicit(), Pass),
        (allow(json!({"AWS": "*"})), role(A), implicit(), Pass),
        (allow(json!("*")), user(B), implicit(), Fail),
        (allow(json!("*")), user(B), allowed(), Pass),
        (allow(json!("*")), user(A), explicit(), Fail),
        // How a boundary limits a bare star is not documented.
        (allow(json!("*")), role(A), boundary(), Outcome::Unknown),
        (
            allow(json!({"AWS": ["*", role(A)]})),
            role(A),
            boundary(),
            Outcome::Unknown,
        ),
        // A star as a service or as a provider is nobody.
        (allow(json!({"Service": "*"})), user(A), allowed(), Fail),
        (allow(json!({"Federated": "*"})), user(A), allowed(), Fail),
        // With aws:PrincipalArn it acts like a direct grant.
        (by_arn("ArnEquals", &role(A)), role(A), implicit(), Pass),
        (
            by_arn("ArnLike", "arn:aws:iam::111122223333:role/*"),
            role(A),
            boundary(),
            Pass,
        ),
        (by_arn("StringEquals", &user(A)), user(A), boundary(), Pass),
        (
            by_arn("ArnNotEquals", &user(B)),
            user(A),
            boundary(),
            Outcome::Unknown,
        ),
        (by_arn("ArnEquals", &role(B)), role(A), allowed(), Fail),
    ] {
        let verdict = ask(&principal, &trust, identity.clone());
        assert_eq!(
            verdict.outcome, want,
            "{principal} {trust} {identity:?}: {}",
            verdict.message
        );
    }
}

#[test]
fn who_is_named_and_who_is_not() {
    for (named, principal, want, reason) in [
        (
            json!({"AWS": [user(B), role(A)]}),
            role(A),
            Pass,
            Reason::RoleNamed,
        ),
        (aws(&user(A)), user(A), Pass, Reason::NamedDirectly),
        (aws(&session(A)), session(A), Pass, Reason::NamedDirectly),
        // Another session of the same role.
        (
            aws("arn:aws:sts::111122223333:assumed-role/admin/adam"),
            session(A),
            Fail,
            Reason::NotTrusted,
        ),
        // Which session the role will be is not known.
        (aws(&session(A)), role(A), Outcome::Unknown, Reason::TrustUnclear),
        // A user of the name of a role is somebody else.
        (
            aws("arn:aws:iam::111122223333:user/admin"),
            role(A),
            Fail,
            Reason::NotTrusted,
        ),
        (aws(&role(B)), role(A), Fail, Reason::NotTrusted),
        (aws(&root(B)), role(A), Fail, Reason::NotTrusted),
        // Names are compared exactly.
        (
            aws("arn:aws:iam::111122223333:user/Eve"),
            user(A),
            Fail,
            Reason::NotTrusted,
        ),
        (
            aws("arn:aws:iam::111122223333:role/Admin"),
            role(A),
            Fail,
            Reason::NotTrusted,
        ),
        // A path given by hand may be wrong.
        (
            aws("arn:aws:iam::111122223333:role/team/admin"),
            role(A),
            Outcome::Unknown,
            Reason::TrustUnclear,
        ),
        (json!({"AWS": []}), role(A), Fail, Reason::NotTrusted),
        (
            json!({"Service": "ec2.amazonaws.com"}),
            role(A),
            Fail,
            Reason::ServiceOnly,
        ),
        (
            json!({"Service": ["ec2.amazonaws.com", "lambda.amazonaws.com"]}),
            role(A),
            Fail,
            Reason::ServiceOnly,
        ),
        (
            json!({"Federated": "arn:aws:iam::111122223333:saml-provider/okta"}),
            role(A),
            Fail,
            Reason::FederatedOnly,
        ),
        (
            json!({"Service": "ec2.amazonaws.com", "Federated": "cognito-identity.amazonaws.com"}),
            role(A),
            Fail,
            Reason::NotTrusted,
        ),
        (
            json!({"CanonicalUser": "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be"}),
            role(A),
            Fail,
            Reason::NotTrusted,
        ),
        (
            aws("AROAEXAMPLEEXAMPLE99"),
            role(A),
            Fail,
            Reason::PrincipalDeleted,
        ),
        (
            aws("AIDAEXAMPLEEXAMPLE99"),
            user(A),
            Fail,
            Reason::PrincipalDeleted,
        ),
        (
            json!({"AWS": ["AROAEXAMPLEEXAMPLE99", role(A)]}),
            role(A),
            Pass,
            Reason::RoleNamed,
        ),
        // Part of an ARN cannot be a wildcard, and what is no ARN is nobody.
        (
            aws("arn:aws:iam::111122223333:role/*"),
            role(A),
            Fail,
            Reason::NotTrusted,
        ),
        (
            aws("arn:aws:iam::111122223333:*"),
            role(A),
            Fail,
            Reason::NotTrusted,
        ),
        (
            aws("arn:aws:iam::*:role/admin"),
            role(A),
            Fail,
            Reason::NotTrusted,
        ),
        (
            aws("arn:aws:iam::…:role/admin"),
            role(A),
            Fail,
            Reason::NotTrusted,
        ),
        (
            aws("arn:aws:iam::111122223333"),
            role(A),
            Fail,
            Reason::NotTrusted,
        ),
        (
            aws("arn:aws:iam::111122223333:group/admins"),
            role(A),
            Fail,
            Reason::NotTrusted,
        ),
        (
            aws("arn:aws-cn:iam::111122223333:role/admin"),
            role(A),
            Fail,
            Reason::NotTrusted,
        ),
        (aws("admin"), role(A), Fail, Reason::NotTrusted),
    ] {
        let verdict = ask(&principal, &allow(named.clone()), allowed());
        assert_eq!(
            (verdict.outcome, verdict.reason),
            (want, reason),
            "{principal} {named}: {}",
            verdict.message
        );
    }
}

#[test]
fn the_hints_name_what_is_odd() {
    for (named, want) in [
        (
            aws("AROAEXAMPLEEXAMPLE99"),
            "is the unique id of a role that was deleted",
        ),
        (
            aws("AIDAEXAMPLEEXAMPLE99"),
            "is the unique id of a user that was deleted",
        ),
        (
            aws("arn:aws:iam::111122223333:role/*"),
            "only a condition on aws:PrincipalArn can",
        ),
        (
            aws("arn:aws:iam::…:role/admin"),
            "\"…\" is no AWS account id: twelve digits",
        ),
        (aws("admin"), "as a principal, \"admin\" is no ARN"),
        (
            aws("arn:aws-cn:iam::111122223333:role/admin"),
            "is of another partition than the role",
        ),
        (
            aws("arn:aws:iam::111122223333:role/Admin"),
            "differs in upper and lower case",
        ),
        (
            aws("arn:aws:iam::111122223333:role/team/admin"),
            "is another path than the role has",
        ),
        (
            aws("arn:aws:iam::111122223333:instance-profile/admin"),
            "an instance profile only carries a role",
        ),
        (json!("arn:aws:iam::111122223333:root"), "which IAM would refuse"),
    ] {
        let verdict = ask(&role(A), &allow(named.clone()), allowed());
        assert!(
            verdict.hints.iter().any(|hint| hint.contains(want)),
            "{named}: {:?}",
            verdict.hints
        );
        assert_ne!(verdict.outcome, Pass);
    }
    // The id of the caller itself: IAM has not caught up.
    let mut own = Asked::new(
        session_of("arn:aws:iam::111122223333:role/team/admin", "eve"),
        &allow(aws("AROACALLERCALLER0001")),
        allowed(),
    );
    let verdict = own.judge();
    assert_eq!(verdict.outcome, Outcome::Unknown);
    assert!(
        verdict.hints[0].contains("this principal's own id"),
        "{:?}",
        verdict.hints
    );
    own.subject.role = Observed::Unknown(not_asked());
    assert_eq!(own.judge().outcome, Fail);
}

#[test]
fn the_path_of_a_session_is_told_by_its_role() {
    let full = "arn:aws:iam::111122223333:role/team/admin";
    for (named, read, want) in [
        (full, true, Pass),
        // A name is unique in its account, so the path of the entry is the path of the role.
        (full, false, Pass),
        ("arn:aws:iam::111122223333:role/admin", true, Fail),
        ("arn:aws:iam::111122223333:role/team/other", false, Fail),
    ] {
        let mut asked = Asked::new(session_of(full, "eve"), &allow(aws(named)), implicit());
        if !read {
            asked.subject.role = Observed::Unknown(not_asked());
        }
        assert_eq!(asked.judge().outcome, want, "{named} {read}");
    }
}

#[test]
fn actions() {
    for (actions, want) in [
        (json!({"Action": "sts:AssumeRole"}), Pass),
        (json!({"Action": ["sts:TagSession", "sts:AssumeRole"]}), Pass),
        (json!({"Action": "sts:*"}), Pass),
        (json!({"Action": "*"}), Pass),
        (json!({"Action": "STS:assumerole"}), Pass),
        (json!({"Action": "sts:Assume*"}), Pass),
        (json!({"Action": "sts:AssumeRol?"}), Pass),
        (json!({"Action": "sts:AssumeRoleWithWebIdentity"}), Fail),
        (
            json!({"Action": ["sts:AssumeRoleWithSAML", "sts:TagSession"]}),
            Fail,
        ),
        (json!({"Action": []}), Fail),
        (json!({"NotAction": "sts:TagSession"}), Pass),
        (json!({"NotAction": "sts:*"}), Fail),
        (json!({}), Outcome::Unknown),
    ] {
        let mut one = json!({"Effect": "Allow", "Principal": aws(&role(A))});
        one.as_object_mut()
            .unwrap()
            .extend(actions.as_object().unwrap().clone());
        let verdict = ask(&role(A), &document(vec![one]), allowed());
        assert_eq!(verdict.outcome, want, "{actions}: {}", verdict.message);
    }
}

#[test]
fn a_deny_decides_whatever_else_allows() {
    let ok = statement("Allow", aws(&role(A)));
    let deny = |principal: Value, condition: Option<Value>| {
        let mut one = statement("Deny", principal);
        one["Sid"] = json!("No");
        if let Some(condition) = condition {
            one["Condition"] = condition;
        }
        one
    };
    for (one, want) in [
        (deny(aws(&role(A)), None), Fail),
        (deny(aws(&root(A)), None), Fail),
        (deny(aws(A), None), Fail),
        (deny(json!("*"), None), Fail),
        (deny(aws(&role(B)), None), Pass),
        (deny(aws(&root(B)), None), Pass),
        (deny(json!({"Service": "ec2.amazonaws.com"}), None), Pass),
        (deny(aws("AROAEXAMPLEEXAMPLE99"), None), Pass),
        (deny(aws(&session(A)), None), Outcome::Unknown),
        // A Deny that IAM would not have stored.
        (
            deny(aws("arn:aws:iam::111122223333:role/*"), None),
            Outcome::Unknown,
        ),
        // Conditions.
        (
            deny(
                json!("*"),
                Some(json!({"Bool": {"aws:MultiFactorAuthPresent": "false"}})),
            ),
            Outcome::Unknown,
        ),
        (
            deny(
                json!("*"),
                Some(json!({"NotIpAddress": {"aws:SourceIp": "192.0.2.0/24"}})),
            ),
            Outcome::Unknown,
        ),
        (
            deny(
                json!("*"),
                Some(json!({"ArnNotEquals": {"aws:PrincipalArn": role(A)}})),
            ),
            Pass,
        ),
        (
            deny(
                json!("*"),
                Some(json!({"ArnNotEquals": {"aws:PrincipalArn": role(B)}})),
            ),
            Fail,
        ),
        (
            deny(
                json!("*"),
                Some(json!({"StringNotEquals": {"aws:PrincipalAccount": A}})),
            ),
            Pass,
        ),
        (
            deny(
                json!("*"),
                Some(json!({"StringEquals": {"aws:PrincipalAccount": A}})),
            ),
            Fail,
        ),
        (
            deny(json!("*"), Some(json!({"Null": {"sts:ExternalId": "true"}}))),
            Fail,
        ),
        (
            deny(
                json!("*"),
                Some(json!({"StringNotEquals": {"aws:PrincipalOrgID": "o-example"}})),
            ),
            Outcome::Unknown,
        ),
        // All operators must hold: one that is known not to is enough.
        (
            deny(
                json!("*"),
                Some(
                    json!({"Bool": {"aws:MultiFactorAuthPresent": "false"}, "StringEquals": {"aws:PrincipalAccount": B}}),
                ),
            ),
            Pass,
        ),
    ] {
        for order in [vec![ok.clone(), one.clone()], vec![one.clone(), ok.clone()]] {
            let verdict = ask(&role(A), &document(order), allowed());
            assert_eq!(verdict.outcome, want, "{one}: {}", verdict.message);
            if want == Fail {
                assert_eq!(verdict.reason, Reason::DeniedByTrust);
                assert_eq!(verdict.decided_by.unwrap().sid.as_deref(), Some("No"));
            }
            if want == Outcome::Unknown {
                assert_eq!(verdict.reason, Reason::DenyUnclear);
                assert!(verdict.could_not_see.iter().any(|blind| blind.decides), "{one}");
            }
        }
    }
}

/// IAM user guide, "AWS JSON policy elements: NotPrincipal".
#[test]
fn not_principal() {
    let ok = statement("Allow", json!("*"));
    let but = |effect: &str, who: Value| json!({"Effect": effect, "NotPrincipal": {"AWS": who}, "Action": "sts:AssumeRole"});
    for (one, want) in [
        // It spares only whom it names together with the account.
        (but("Deny", json!([role(A), root(A)])), Pass),
        (but("Deny", json!([role(A)])), Outcome::Unknown),
        (but("Deny", json!([root(A)])), Outcome::Unknown),
        (but("Deny", json!([role(B), root(B)])), Fail),
        (but("Deny", json!("*")), Pass),
    ] {
        let verdict = ask(&role(A), &document(vec![ok.clone(), one.clone()]), allowed());
        assert_eq!(verdict.outcome, want, "{one}: {}", verdict.message);
    }
    // It always denies a principal that has a permissions boundary.
    let spared = document(vec![ok, but("Deny", json!([role(A), root(A)]))]);
    let verdict = ask(&role(A), &spared, bounded(SimulatedDecision::Allowed, true));
    assert_eq!(verdict.outcome, Fail, "{}", verdict.message);
    // With Allow it is not supported; whom it names it does not allow.
    for (one, want) in [
        (but("Allow", json!([role(A)])), Fail),
        (but("Allow", json!([root(A)])), Fail),
        (but("Allow", json!([role(B)])), Outcome::Unknown),
    ] {
        let verdict = ask(&role(A), &document(vec![one.clone()]), allowed());
        assert_eq!(verdict.outcome, want, "{one}: {}", verdict.message);
    }
}

#[test]
fn conditions_of_an_allow() {
    let full = "arn:aws:iam::111122223333:role/team/admin";
    let who = || session_of(full, "eve");
    for (condition, want) in [
        (json!({"StringEquals": {"sts:ExternalId": "x"}}), Fail),
        (json!({"StringEqualsIfExists": {"sts:ExternalId": "x"}}), Pass),
        (
            json!({"StringEquals": {"sts:RoleSessionName": "EKSGetTokenAuth"}}),
            Pass,
        ),
        (json!({"StringLike": {"STS:rolesessionname": "EKS*"}}), Pass),
        (
            json!({"StringEquals": {"sts:RoleSessionName": "${aws:username}"}}),
            Outcome::Unknown,
        ),
        (json!({"ArnEquals": {"aws:PrincipalArn": full}}), Pass),
        (
            json!({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::111122223333:role/team/*"}}),
            Pass,
        ),
        (
            json!({"ArnEquals": {"aws:PrincipalArn": "arn:aws:iam::111122223333:role/admin"}}),
            Fail,
        ),
        (json!({"StringEquals": {"aws:PrincipalAccount": [B, A]}}), Pass),
        (
            json!({"StringEquals": {"aws:PrincipalType": "AssumedRole"}}),
            Pass,
        ),
        (json!({"StringEquals": {"aws:PrincipalType": "User"}}), Fail),
        (json!({"Bool": {"aws:PrincipalIsAWSService": "false"}}), Pass),
        (json!({"Bool": {"aws:PrincipalIsAWSService": true}}), Fail),
        (json!({"Bool": {"aws:ViaAWSService": "false"}}), Pass),
        (json!({"Bool": {"aws:SecureTransport": "true"}}), Pass),
        (json!({"Null": {"aws:SourceArn": "true"}}), Pass),
        (json!({"StringEquals": {"aws:SourceAccount": A}}), Fail),
        (json!({"Null": {"aws:TokenIssueTime": "false"}}), Pass),
        (
            json!({"StringLike": {"aws:userid": "AROACALLERCALLER0001:*"}}),
            Pass,
        ),
        (
            json!({"StringLike": {"aws:userid": "AROAEXAMPLEEXAMPLE99:*"}}),
            Fail,
        ),
        (json!({"StringEquals": {"aws:username": "eve"}}), Fail),
        (
            json!({"ForAnyValue:StringEquals": {"aws:PrincipalServiceNamesList": "x"}}),
            Fail,
        ),
        (json!({"ForAllValues:StringEquals": {"aws:CalledVia": "x"}}), Pass),
        // What can't be known.
        (
            json!({"Bool": {"aws:MultiFactorAuthPresent": "true"}}),
            Outcome::Unknown,
        ),
        (
            json!({"BoolIfExists": {"aws:MultiFactorAuthPresent": "true"}}),
            Outcome::Unknown,
        ),
        (
            json!({"NumericLessThan": {"aws:MultiFactorAuthAge": 3600}}),
            Outcome::Unknown,
        ),
        (
            json!({"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}),
            Outcome::Unknown,
        ),
        (
            json!({"StringEquals": {"aws:PrincipalOrgID": "o-example"}}),
            Outcome::Unknown,
        ),
        (
            json!({"StringEquals": {"aws:PrincipalTag/team": "a"}}),
            Outcome::Unknown,
        ),
        (
            json!({"StringEquals": {"aws:RequestTag/team": "a"}}),
            Outcome::Unknown,
        ),
        (
            json!({"DateLessThan": {"aws:CurrentTime": "2030-01-01T00:00:00Z"}}),
            Outcome::Unknown,
        ),
        (
            json!({"StringEquals": {"sts:SourceIdentity": "eve"}}),
            Outcome::Unknown,
        ),
        (json!({"StringEquals": {"new:Key": "a"}}), Outcome::Unknown),
        (
            json!({"StringResembles": {"aws:PrincipalAccount": A}}),
            Outcome::Unknown,
        ),
        // All must hold.
        (
            json!({"Bool": {"aws:MultiFactorAuthPresent": "true"}, "StringEquals": {"aws:PrincipalAccount": B}}),
            Fail,
        ),
        (
            json!({"StringEquals": {"aws:PrincipalAccount": A, "sts:ExternalId": "x"}}),
            Fail,
        ),
    ] {
        let mut one = statement("Allow", aws(full));
        one["Condition"] = condition.clone();
        let verdict = Asked::new(who(), &document(vec![one]), allowed()).judge();
        assert_eq!(verdict.outcome, want, "{condition}: {}", verdict.message);
        if want == Fail {
            assert_eq!(verdict.reason, Reason::ConditionNotMet, "{condition}");
        }
        if want == Outcome::Unknown {
            assert_eq!(verdict.reason, Reason::TrustUnclear, "{condition}");
            let key = condition
                .as_object()
                .unwrap()
                .values()
                .next()
                .unwrap()
                .as_object()
                .unwrap();
            let key = key.keys().next().unwrap();
            assert!(
                verdict
                    .could_not_see
                    .iter()
                    .any(|blind| blind.decides && blind.what.contains(key.as_str())),
                "{condition}: {:?}",
                verdict.could_not_see
            );
        }
    }
}

#[test]
fn what_a_users_request_does_not_have() {
    for (condition, want) in [
        (json!({"StringEquals": {"aws:username": "eve"}}), Pass),
        (
            json!({"StringEquals": {"sts:RoleSessionName": "${aws:username}"}}),
            Fail,
        ),
        (json!({"Null": {"aws:RequestTag/team": "true"}}), Pass),
        (json!({"Null": {"sts:SourceIdentity": "true"}}), Pass),
        (json!({"StringEquals": {"aws:PrincipalType": "User"}}), Pass),
        // A user may have a token of GetSessionToken, with MFA or without.
        (json!({"Null": {"aws:TokenIssueTime": "true"}}), Outcome::Unknown),
    ] {
        let mut one = statement("Allow", aws(&user(A)));
        one["Condition"] = condition.clone();
        let verdict = ask(&user(A), &document(vec![one]), allowed());
        assert_eq!(verdict.outcome, want, "{condition}: {}", verdict.message);
    }
    // Old documents have no variables.
    let mut one = statement("Allow", aws(&user(A)));
    one["Condition"] = json!({"StringEquals": {"sts:ExternalId": "${aws:username}"}});
    let mut asked = Asked::new(subject(&user(A)), &json!({"Statement": one}), allowed());
    asked.request.external_id = Some("${aws:username}".to_owned());
    assert_eq!(asked.judge().outcome, Pass);
    asked.request.external_id = Some("eve".to_owned());
    assert_eq!(asked.judge().outcome, Fail);
}

#[test]
fn what_is_told_of_the_request_counts() {
    let mut one = statement("Allow", aws(&role(A)));
    one["Condition"] =
        json!({"Bool": {"aws:MultiFactorAuthPresent": "true"}, "StringEquals": {"sts:ExternalId": "x"}});
    let mut asked = Asked::new(subject(&role(A)), &document(vec![one]), allowed());
    asked.request.external_id = Some("x".to_owned());
    assert_eq!(asked.judge().outcome, Outcome::Unknown);
    for (mfa, want) in [("true", Pass), ("false", Fail)] {
        asked.request = asked
            .request
            .with("AWS:MultiFactorAuthPresent", ContextValue::one(mfa));
        assert_eq!(asked.judge().outcome, want, "{mfa}");
    }
}

#[test]
fn the_identity_side() {
    let by_role = allow(aws(&role(A)));
    let with = |change: &dyn Fn(&mut Simulation)| {
        let mut found = simulation(SimulatedDecision::Allowed);
        change(&mut found);
        known(found)
    };
    for (identity, want, reason) in [
        (allowed(), Pass, Reason::RoleNamed),
        (implicit(), Pass, Reason::RoleNamed),
        (explicit(), Fail, Reason::IdentityDenied),
        (
            with(&|found| found.allowed_by_organizations = Some(false)),
            Fail,
            Reason::Organization,
        ),
        (
            with(&|found| found.allowed_by_organizations = Some(true)),
            Pass,
            Reason::RoleNamed,
        ),
        (
            with(&|found| found.missing_context = vec!["aws:MultiFactorAuthPresent".into()]),
            Outcome::Unknown,
            Reason::IdentityUnread,
        ),
        (
            with(&|found| {
                found.decision = SimulatedDecision::ExplicitDeny;
                found.missing_context = vec!["aws:SourceIp".into()];
            }),
            Outcome::Unknown,
            Reason::IdentityUnread,
        ),
        (unread(), Outcome::Unknown, Reason::IdentityUnread),
        (
            Identity::Simulated(Observed::Unknown(not_asked())),
            Outcome::Unknown,
            Reason::IdentityUnread,
        ),
        (
            Identity::Simulated(Observed::Absent),
            Fail,
            Reason::PrincipalMissing,
        ),
        (Identity::Promised("CDK".into()), Pass, Reason::RoleNamed),
    ] {
        let verdict = ask(&role(A), &by_role, identity.clone());
        assert_eq!(
            (verdict.outcome, verdict.reason),
            (want, reason),
            "{identity:?}: {}",
            verdict.message
        );
    }
    // What could not be read names the grant that lifts it.
    let verdict = ask(&role(A), &by_role, unread());
    let blind = verdict.could_not_see.iter().find(|blind| blind.decides).unwrap();
    assert_eq!(
        blind.grant.as_deref(),
        Some(r#"{"Effect":"Allow","Action":"iam:SimulatePrincipalPolicy","Resource":"*"}"#)
    );
    // Where the trust policy decides by itself, the identity side does not matter.
    assert_eq!(ask(&role(A), &allow(aws(&role(B))), unread()).outcome, Fail);
    assert_eq!(
        ask(&role(A), &document(vec![statement("Deny", json!("*"))]), unread()).reason,
        Reason::DeniedByTrust
    );
}

#[test]
fn before_any_policy() {
    let trust = allow(json!("*"));
    for (principal, reason) in [
        (root(A), Reason::PrincipalCannotAssume),
        (
            "arn:aws:sts::111122223333:federated-user/eve".to_owned(),
            Reason::PrincipalCannotAssume,
        ),
        (
            "arn:aws-cn:iam::111122223333:role/admin".to_owned(),
            Reason::OtherPartition,
        ),
    ] {
        let verdict = ask(&principal, &trust, allowed());
        assert_eq!((verdict.outcome, verdict.reason), (Fail, reason), "{principal}");
        assert!(verdict.could_not_see.is_empty());
    }
    for (role, want, reason) in [
        (Observed::Absent, Fail, Reason::RoleMissing),
        (
            Observed::Unknown(denied("iam:GetRole")),
            Outcome::Unknown,
            Reason::RoleUnread,
        ),
        (
            Observed::Unknown(Unknown::new(Why::TimedOut, "no answer in 10 s")),
            Outcome::Unknown,
            Reason::RoleUnread,
        ),
        (
            Observed::Known(role_of(R, "")),
            Outcome::Unknown,
            Reason::TrustUnreadable,
        ),
        (
            Observed::Known(role_of(R, "<html>")),
            Outcome::Unknown,
            Reason::TrustUnreadable,
        ),
        (Observed::Known(role_of(R, "{}")), Fail, Reason::NotTrusted),
    ] {
        let mut asked = Asked::new(subject(&user(A)), &trust, allowed());
        asked.role = role.clone();
        let verdict = asked.judge();
        assert_eq!((verdict.outcome, verdict.reason), (want, reason), "{role:?}");
        assert!(verdict.remedy.is_some(), "{role:?}");
    }
    // The caller's own role is gone.
    let mut asked = Asked::new(subject(&role(A)), &trust, allowed());
    asked.subject.role = Observed::Absent;
    assert_eq!(asked.judge().reason, Reason::PrincipalMissing);
}

#[test]
fn the_statement_that_decided() {
    let mut named = statement("Allow", aws(&role(A)));
    named["Sid"] = json!("Admins");
    let trust = document(vec![
        statement("Allow", json!({"Service": "ec2.amazonaws.com"})),
        named,
        statement("Allow", aws(&root(A))),
    ]);
    let verdict = ask(&role(A), &trust, implicit());
    assert_eq!(
        verdict.decided_by,
        Some(Decider {
            index: 1,
            sid: Some("Admins".into()),
            effect: "Allow".into()
        })
    );
    // Nobody else is named: no statement decided.
    assert_eq!(ask(&role(B), &trust, allowed()).decided_by, None);
    // One of a hundred.
    let mut many: Vec<Value> = (0..99)
        .map(|n| statement("Allow", aws(&format!("arn:aws:iam::111122223333:role/r{n}"))))
        .collect();
    many.push(statement("Allow", aws(&role(A))));
    let verdict = ask(&role(A), &document(many), implicit());
    assert_eq!(verdict.decided_by.unwrap().index, 99);
}

#[test]
fn a_document_that_iam_would_refuse_is_no_pass() {
    for (key, value) in [
        ("Resource", json!("*")),
        ("Comment", json!("x")),
        ("Sid", json!(1)),
    ] {
        let mut one = statement("Allow", aws(&role(A)));
        one[key] = value;
        let verdict = ask(&role(A), &document(vec![one]), allowed());
        assert_eq!(verdict.outcome, Outcome::Unknown, "{key}");
    }
    // An effect that is neither may be either.
    let odd = document(vec![
        statement("Allow", aws(&role(A))),
        statement("deny", json!("*")),
    ]);
    assert_eq!(ask(&role(A), &odd, allowed()).outcome, Outcome::Unknown);
    assert_eq!(
        ask(
            &role(A),
            &document(vec![statement("allow", json!("*"))]),
            allowed()
        )
        .outcome,
        Fail
    );
}

#[test]
fn url_encoded_is_the_same() {
    let trust = allow(aws(&role(A)));
    let plain = Asked::new(subject(&role(A)), &trust, implicit());
    let mut encoded = Asked::new(subject(&role(A)), &trust, implicit());
    encoded.role = Observed::Known(role_of(
        R,
        &percent_encoding::utf8_percent_encode(&trust.to_string(), percent_encoding::NON_ALPHANUMERIC)
            .to_string(),
    ));
    assert_eq!(plain.judge(), encoded.judge());
}

#[test]
fn other_partitions_are_judged_like_the_first() {
    for partition in ["aws-cn", "aws-us-gov", "aws-eusc", "aws-iso-f"] {
        let to = |text: &str| text.replace("arn:aws:", &format!("arn:{partition}:"));
        let mut asked = Asked::new(subject(&to(&role(A))), &allow(aws(&to(&root(A)))), allowed());
        asked.role_arn = to(R).parse().unwrap();
        assert_eq!(asked.judge().outcome, Pass, "{partition}");
        let smallest = advice::smallest(&asked.question()).unwrap();
        assert_eq!(smallest.names, to(&role(A)));
        assert!(smallest.why.contains(&to(&root(A))));
    }
}

#[test]
fn the_smallest_policy_would_do() {
    let empty = document(vec![]);
    for principal in [user(A), role(A), session(A), user(B), role(B), session(B)] {
        let asked = Asked::new(subject(&principal), &empty, allowed());
        assert_eq!(asked.judge().outcome, Fail);
        let smallest = advice::smallest(&asked.question()).unwrap();
        let verdict = ask(&principal, &smallest.document, allowed());
        assert_eq!(verdict.outcome, Pass, "{principal}: {}", verdict.message);
        assert!(!smallest.document.to_string().contains(":root"));
        // Within one account it is enough by itself.
        let alone = ask(&principal, &smallest.document, implicit());
        assert_eq!(alone.outcome == Pass, principal.contains(A), "{principal}");
    }
    for nobody in [root(A), "arn:aws:sts::111122223333:federated-user/eve".to_owned()] {
        let asked = Asked::new(subject(&nobody), &empty, allowed());
        assert_eq!(advice::smallest(&asked.question()), None);
    }
    // The path of a session's role is not in its ARN.
    let read = Asked::new(
        session_of("arn:aws:iam::111122223333:role/team/admin", "eve"),
        &empty,
        allowed(),
    );
    let smallest = advice::smallest(&read.question()).unwrap();
    assert_eq!(smallest.names, "arn:aws:iam::111122223333:role/team/admin");
    assert_eq!(smallest.caution, None);
    let unread = Asked::new(subject(&session(A)), &empty, allowed());
    assert!(advice::smallest(&unread.question()).unwrap().caution.is_some());
}

#[test]
fn what_is_written_back_keeps_the_others_and_would_do() {
    let mut odd = statement(
        "Allow",
        json!({"Federated": "arn:aws:iam::111122223333:saml-provider/okta"}),
    );
    odd["Action"] = json!("sts:AssumeRoleWithSAML");
    odd["Condition"] = json!({"StringEquals": {"SAML:aud": "https://signin.aws.amazon.com/saml"}});
    let trust = json!({"Version": "2008-10-17", "Id": "x", "Statement": [
        odd,
        statement("Allow", json!({"AWS": ["AROAEXAMPLEEXAMPLE99", role(B)]})),
        statement("Allow", aws("AIDAEXAMPLEEXAMPLE99")),
        statement("Deny", aws(&user(B))),
    ]});
    let names: Arn = role(A).parse().unwrap();
    let written = advice::with_statement(&role_of(R, &trust.to_string()), &names).unwrap();
    assert_eq!(
        written,
        json!({"Version": "2008-10-17", "Id": "x", "Statement": [
            odd,
            statement("Allow", json!({"AWS": [role(B)]})),
            statement("Deny", aws(&user(B))),
            statement("Allow", aws(&role(A))),
        ]})
    );
    assert_eq!(ask(&role(A), &written, implicit()).outcome, Pass);
    // One statement as an object, and none at all.
    for before in [json!({"Statement": statement("Allow", aws(&role(B)))}), json!({})] {
        let written = advice::with_statement(&role_of(R, &before.to_string()), &names).unwrap();
        assert_eq!(ask(&role(A), &written, implicit()).outcome, Pass, "{written}");
        assert_eq!(written["Version"], json!("2012-10-17"));
    }
    // What would lose its meaning, or has none, is not written back.
    for before in [
        json!({"Statement": {"Effect": "Deny", "NotPrincipal": {"AWS": "AROAEXAMPLEEXAMPLE99"}, "Action": "*"}}),
        json!({"Statement": {"Effect": "allow", "Action": "*"}}),
        json!([]),
    ] {
        assert_eq!(
            advice::with_statement(&role_of(R, &before.to_string()), &names),
            None,
            "{before}"
        );
    }
}

#[test]
fn every_answer_that_is_no_plain_pass_says_what_to_do() {
    let spare = allow(aws(&role(B)));
    for (principal, trust, identity, part, command) in [
        (
            role(A),
            &spare,
            allowed(),
            "Add a statement that names",
            "aws iam update-assume-role-policy --role-name kubectl",
        ),
        (
            session(B),
            &allow(aws(&role(A))),
            allowed(),
            "needs an Allow of its own as well",
            "aws iam put-role-policy --role-name admin --policy-name assume-kubectl",
        ),
        (
            role(A),
            &allow(aws(&root(A))),
            implicit(),
            "Name arn:aws:iam::111122223333:role/admin in the role's trust policy",
            "aws iam put-role-policy",
        ),
        (
            user(B),
            &allow(aws(&root(B))),
            implicit(),
            "the trust policy alone is never enough",
            "aws iam put-user-policy --user-name eve",
        ),
        (
            role(A),
            &allow(aws(&role(A))),
            explicit(),
            "No Allow helps against a Deny",
            "aws iam simulate-principal-policy",
        ),
        (
            role(A),
            &document(vec![statement("Deny", json!("*"))]),
            allowed(),
            "\"ArnNotEquals\": {\"aws:PrincipalArn\": \"arn:aws:iam::111122223333:role/admin\"}",
            "aws iam get-role --role-name kubectl",
        ),
        (
            role(A),
            &allow(aws(&root(A))),
            allowed(),
            "So does every other principal",
            "",
        ),
        (
            role(A),
            &allow(aws(&role(A))),
            unread(),
            "iam:SimulatePrincipalPolicy",
            "--try",
        ),
    ] {
        let verdict = ask(&principal, trust, identity);
        let remedy = verdict.remedy.unwrap_or_else(|| panic!("{}", verdict.message));
        assert!(remedy.text.contains(part), "{}", remedy.text);
        assert!(
            command.is_empty() == remedy.commands.is_empty()
                && (command.is_empty() || remedy.commands.iter().any(|one| one.contains(command))),
            "{:?}",
            remedy.commands
        );
        // Whatever is printed is one shell word a word.
        for one in &remedy.commands {
            assert!(shlex::split(one).is_some(), "{one}");
        }
    }
    assert_eq!(ask(&role(A), &allow(aws(&role(A))), implicit()).remedy, None);
    // Identity Center's roles are made elsewhere.
    let sso = "arn:aws:sts::111122223333:assumed-role/AWSReservedSSO_Admin_0123456789abcdef/eve";
    let verdict = ask(sso, &allow(aws(&root(A))), implicit());
    assert!(
        verdict
            .remedy
            .unwrap()
            .commands
            .iter()
            .all(|one| !one.contains("put-role-policy"))
    );
}

// ---- laws ----

fn rank(outcome: Outcome) -> u8 {
    match outcome {
        Fail => 0,
        Outcome::Unknown => 1,
        Pass => 2,
    }
}

fn any_principal_value() -> impl Strategy<Value = Value> {
    let arn = prop::sample::select(vec![
        user(A),
        role(A),
        session(A),
        root(A),
        A.to_owned(),
        user(B),
        root(B),
        "AROAEXAMPLEEXAMPLE99".to_owned(),
        "arn:aws:iam::111122223333:role/*".to_owned(),
        "arn:aws:iam::…:root".to_owned(),
        "arn:aws-cn:iam::111122223333:root".to_owned(),
        "*".to_owned(),
    ]);
    prop_oneof![
        Just(json!("*")),
        arn.clone().prop_map(|arn| json!({"AWS": arn})),
        prop::collection::vec(arn, 0..3).prop_map(|all| json!({"AWS": all, "Service": "ec2.amazonaws.com"})),
        Just(json!({"Federated": "x"})),
        Just(json!(7)),
    ]
}

fn any_condition() -> impl Strategy<Value = Option<Value>> {
    let operator = prop::sample::select(vec![
        "StringEquals",
        "StringNotEquals",
        "StringLikeIfExists",
        "ArnLike",
        "ArnNotEquals",
        "Bool",
        "Null",
        "ForAllValues:StringEquals",
        "ForAnyValue:StringNotLike",
        "IpAddress",
        "Odd",
    ]);
    let key = prop::sample::select(vec![
        "aws:PrincipalArn",
        "aws:PrincipalAccount",
        "sts:ExternalId",
        "x:y",
        "aws:SourceIp",
    ]);
    let value = prop::sample::select(vec![
        "a",
        "b",
        "true",
        "false",
        "*",
        A,
        "arn:aws:iam::111122223333:*",
        "${x:y}",
    ]);
    prop::option::of(
        (operator, key, value).prop_map(|(operator, key, value)| json!({operator: {key: value}})),
    )
}

fn any_statement() -> impl Strategy<Value = Value> {
    (
        prop::sample::select(vec!["Allow", "Allow", "Allow", "Deny", "deny"]),
        any_principal_value(),
        prop::bool::weighted(0.1),
        prop::sample::select(vec!["sts:AssumeRole", "sts:*", "sts:TagSession"]),
        any_condition(),
    )
        .prop_map(|(effect, principal, not, action, condition)| {
            let key = if not { "NotPrincipal" } else { "Principal" };
            let mut one = json!({"Effect": effect, key: principal, "Action": action});
            if let Some(condition) = condition {
                one["Condition"] = condition;
            }
            one
        })
}

fn any_subject() -> impl Strategy<Value = Subject> {
    prop_oneof![
        Just(subject(&user(A))),
        Just(subject(&role(A))),
        Just(subject(&session(A))),
        Just(session_of("arn:aws:iam::111122223333:role/admin", "eve")),
        Just(subject(&user(B))),
        Just(subject(&root(A))),
        Just(Subject {
            who: Caller::SomeRole {
                partition: iam_policy::arn::Partition::Aws,
                account: A.parse().unwrap(),
            },
            role: Observed::Unknown(not_asked()),
            id: None,
        }),
    ]
}

fn any_identity() -> impl Strategy<Value = Identity> {
    prop_oneof![
        Just(allowed()),
        Just(implicit()),
        Just(explicit()),
        Just(bounded(SimulatedDecision::ImplicitDeny, false)),
        Just(bounded(SimulatedDecision::Allowed, true)),
        Just(unread()),
        Just(Identity::Promised("CDK".into())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn adding_a_deny_never_helps_and_adding_an_allow_never_hurts(
        who in any_subject(),
        statements in prop::collection::vec(any_statement(), 0..4),
        more in any_statement(),
        at in 0usize..5,
        identity in any_identity(),
    ) {
        let before = Asked::new(who.clone(), &document(statements.clone()), identity.clone()).judge();
        let mut longer = statements;
        longer.insert(at.min(longer.len()), more.clone());
        let after = Asked::new(who, &document(longer), identity).judge();
        if more["Effect"] == json!("Allow") {
            prop_assert!(rank(after.outcome) >= rank(before.outcome), "{more}: {before:?} {after:?}");
        } else {
            prop_assert!(rank(after.outcome) <= rank(before.outcome), "{more}: {before:?} {after:?}");
        }
    }

    /// Nothing is claimed that a value not known here could change.
    #[test]
    fn an_unknown_value_decides_nothing(
        who in any_subject(),
        statements in prop::collection::vec(any_statement(), 0..4),
        identity in any_identity(),
        value in prop::option::of(prop::sample::select(vec!["a", "b", "true", "false", A])),
    ) {
        let mut asked = Asked::new(who, &document(statements), identity);
        let vague = asked.judge();
        asked.request = asked.request.with("x:y", match value {
            Some(value) => ContextValue::one(value),
            None => ContextValue::Absent,
        });
        let finer = asked.judge();
        prop_assert!(vague.outcome == Outcome::Unknown || vague.outcome == finer.outcome, "{vague:?} {finer:?}");
    }

    /// The same for the identity side: what was told without it stays.
    #[test]
    fn an_unread_identity_side_never_passes_and_never_contradicts(
        who in any_subject(),
        statements in prop::collection::vec(any_statement(), 0..4),
        identity in any_identity(),
    ) {
        let trust = document(statements);
        let vague = Asked::new(who.clone(), &trust, unread()).judge();
        prop_assert_ne!(vague.outcome, Pass);
        let finer = Asked::new(who, &trust, identity).judge();
        // A permissions boundary is only seen with the identity side, and makes NotPrincipal deny.
        prop_assert!(vague.outcome != Fail || finer.outcome == Fail, "{vague:?} {finer:?}");
    }

    /// An unknown always says what it hangs on, and nothing else does.
    #[test]
    fn an_unknown_names_what_decides(
        who in any_subject(),
        statements in prop::collection::vec(any_statement(), 0..4),
        identity in any_identity(),
    ) {
        let asked = Asked::new(who, &document(statements), identity);
        let verdict = asked.judge();
        let names = verdict.could_not_see.iter().any(|blind| blind.decides);
        prop_assert_eq!(names, verdict.outcome == Outcome::Unknown, "{:?}", verdict);
        prop_assert!(verdict.outcome == Pass || verdict.remedy.is_some(), "{verdict:?}");
        if verdict.outcome == Pass {
            let decider = verdict.decided_by.clone();
            prop_assert_eq!(decider.map(|by| by.effect), Some("Allow".to_owned()));
        }
        // The steps tell the same story: one that fails where it fails.
        let worst = verdict.steps.iter().map(|step| rank(step.outcome)).min();
        if verdict.outcome != Pass {
            prop_assert!(worst <= Some(rank(verdict.outcome)), "{verdict:?}");
        }
        let report = TrustReport::new(&asked.question(), verdict);
        let text = serde_json::to_string(&report).unwrap();
        prop_assert_eq!(serde_json::from_str::<TrustReport>(&text).unwrap(), report.clone());
        let text = report::render_text(&report, crate::text::style::Style::PLAIN);
        prop_assert!(text.chars().all(|c| c == '\n' || crate::text::sanitize::harmless(c)));
    }

    #[test]
    fn no_document_and_no_name_makes_it_panic(
        trust in "\\PC{0,80}|[{}\\[\\]\":,a-zA-Z*%0-9 ]{0,80}",
        name in "\\PC{0,40}",
        context in "\\PC{0,12}",
    ) {
        let mut asked = Asked::new(subject(&role(A)), &json!({}), allowed());
        asked.role = Observed::Known(Role { trust, name: name.clone(), ..role_of(R, "") });
        asked.request.external_id = Some(name.clone());
        let verdict = asked.judge();
        prop_assert_ne!(verdict.outcome, Pass);
        let mut one = statement("Allow", json!({"AWS": name}));
        one["Condition"] = json!({context.clone(): {context.clone(): [name, context]}});
        let _ = Asked::new(subject(&session(A)), &document(vec![one]), allowed()).judge();
    }
}

#[test]
fn the_report_of_a_person() {
    let mut trusted = statement("Allow", aws(&root(A)));
    trusted["Sid"] = json!("Account");
    let mut with_mfa = statement("Allow", aws(&role(A)));
    with_mfa["Condition"] = json!({"Bool": {"aws:MultiFactorAuthPresent": "true"}});
    let asked = [
        Asked::new(
            session_of("arn:aws:iam::111122223333:role/team/admin", "eve"),
            &document(vec![trusted]),
            implicit(),
        ),
        Asked::new(
            subject(&role(A)),
            &document(vec![
                statement("Allow", json!({"Service": "ec2.amazonaws.com"})),
                statement("Allow", aws("AROAEXAMPLEEXAMPLE99")),
            ]),
            allowed(),
        ),
        Asked::new(subject(&role(A)), &document(vec![with_mfa]), unread()),
        Asked::new(subject(&user(A)), &allow(aws(&user(A))), implicit()),
    ];
    let texts: Vec<String> = asked
        .iter()
        .map(|one| {
            let report = TrustReport::new(&one.question(), one.judge());
            report::render_text(
                &report.with_flags(" --region eu-west-1", ""),
                crate::text::style::Style::PLAIN,
            )
        })
        .collect();
    insta::assert_snapshot!(texts.join("\n==========\n"));
}

#[test]
fn the_report_of_a_machine() {
    let asked = Asked::new(
        session_of("arn:aws:iam::111122223333:role/team/admin", "eve"),
        &allow(aws(&root(A))),
        implicit(),
    );
    insta::assert_json_snapshot!(TrustReport::new(&asked.question(), asked.judge()));
}

#[test]
fn the_account_and_a_session_that_may_be_it() {
    // A role as the principal: the account's part needs its own policies, which don't allow it; the session's part doesn't.
    let trust = allow(
        json!({"AWS": ["arn:aws:iam::111122223333:root", "arn:aws:sts::111122223333:assumed-role/admin/eve"]}),
    );
    let verdict = ask("arn:aws:iam::111122223333:role/admin", &trust, implicit());
    assert_eq!(
        (verdict.outcome, verdict.reason),
        (Outcome::Unknown, Reason::TrustUnclear),
        "{verdict:?}"
    );
    assert!(
        verdict.message.contains("assumed-role/admin/eve"),
        "{}",
        verdict.message
    );
    let verdict = ask("arn:aws:iam::111122223333:role/admin", &trust, allowed());
    assert_eq!(verdict.outcome, Pass, "{verdict:?}");
}

// ---- masters-trust ----

use super::masters::{Master, Power, assumable};

fn master(arn: &str, role: Observed<Role>) -> Master {
    Master {
        arn: arn.to_owned(),
        power: Power::AwsAuth {
            key: "mapRoles".into(),
            index: 2,
            line: Some(7),
        },
        role,
        caller: None,
        is_caller: false,
        stale: None,
        unmap: None,
    }
}

#[test]
fn whether_anything_can_assume_a_role() {
    let saml = json!({"Effect": "Allow", "Principal": {"Federated": "arn:aws:iam::111122223333:saml-provider/okta"},
        "Action": "sts:AssumeRoleWithSAML", "Condition": {"StringEquals": {"SAML:aud": "https://signin.aws.amazon.com/saml"}}});
    let oidc = json!({"Effect": "Allow", "Principal": {"Federated": "arn:aws:iam::111122223333:oidc-provider/x"},
        "Action": ["sts:AssumeRoleWithWebIdentity"]});
    let wrong_action =
        json!({"Effect": "Allow", "Principal": {"Federated": "x"}, "Action": "sts:AssumeRole"});
    for (statements, want) in [
        (vec![], Tri::False),
        (vec![statement("Allow", aws(&role(A)))], Tri::True),
        (vec![statement("Allow", aws(A))], Tri::True),
        (vec![statement("Allow", json!("*"))], Tri::True),
        (
            vec![statement("Allow", json!({"Service": "ec2.amazonaws.com"}))],
            Tri::True,
        ),
        (vec![saml.clone()], Tri::True),
        (vec![oidc], Tri::True),
        (vec![wrong_action], Tri::False),
        (vec![statement("Allow", aws("AROAEXAMPLEEXAMPLE99"))], Tri::False),
        (
            vec![statement("Allow", aws("arn:aws:iam::111122223333:role/*"))],
            Tri::False,
        ),
        (
            vec![statement("Allow", aws("arn:aws-cn:iam::111122223333:root"))],
            Tri::False,
        ),
        (vec![statement("Allow", aws("arn:aws:iam::…:root"))], Tri::False),
        (
            vec![json!({"Effect": "Allow", "Principal": "*", "Action": "sts:TagSession"})],
            Tri::False,
        ),
        (
            vec![json!({"Effect": "Allow", "NotPrincipal": {"AWS": A}, "Action": "sts:*"})],
            Tri::Unknown,
        ),
        (
            vec![
                statement("Allow", json!("*")),
                json!({"Effect": "Deny", "Principal": "*", "Action": "sts:*"}),
            ],
            Tri::False,
        ),
        // A Deny of one way in leaves the others.
        (vec![saml, statement("Deny", json!("*"))], Tri::True),
    ] {
        let found = assumable(
            &PolicyDocument::from_value(&document(statements.clone())).unwrap(),
            iam_policy::arn::Partition::Aws,
        );
        assert_eq!(found.by_anything, want, "{statements:?}");
        assert_eq!(found.by.is_empty(), want != Tri::True, "{statements:?}");
    }
}

#[test]
fn the_roles_that_rule_the_cluster() {
    use crate::checks::Status;
    let good = || master(R, Observed::Known(role_of(R, &allow(aws(&role(A))).to_string())));
    let gone = || master("arn:aws:iam::111122223333:role/old", Observed::Absent);
    let dead = || {
        master(
            R,
            Observed::Known(role_of(R, &allow(aws("AROAEXAMPLEEXAMPLE99")).to_string())),
        )
    };
    let hidden = || master(R, Observed::Unknown(denied("iam:GetRole")));
    for (masters, incomplete, status, part) in [
        (
            vec![],
            vec![],
            Status::Skip,
            "no role is mapped to system:masters",
        ),
        (
            vec![],
            vec!["aws-auth: denied".to_owned()],
            Status::Unknown,
            "aws-auth: denied",
        ),
        (
            vec![good()],
            vec![],
            Status::Pass,
            "arn:aws:iam::111122223333:role/kubectl (aws-auth mapRoles[2], line 7): it exists and can be assumed",
        ),
        (
            vec![good(), gone()],
            vec![],
            Status::Warn,
            "role/old (aws-auth mapRoles[2], line 7) does not exist",
        ),
        (
            vec![dead()],
            vec![],
            Status::Warn,
            "lets nobody assume it (it names AROAEXAMPLEEXAMPLE99, deleted)",
        ),
        (
            vec![good(), hidden()],
            vec![],
            Status::Unknown,
            "iam:GetRole denied",
        ),
        (
            vec![good()],
            vec!["access entries: denied".to_owned()],
            Status::Unknown,
            "access entries: denied",
        ),
        (vec![gone(), hidden()], vec![], Status::Warn, "iam:GetRole denied"),
        (
            vec![master(R, Observed::Known(role_of(R, "<html>")))],
            vec![],
            Status::Unknown,
            "is not JSON",
        ),
    ] {
        let incomplete: Vec<masters::Incomplete> = incomplete
            .into_iter()
            .map(|what: String| masters::Incomplete { what, grant: None })
            .collect();
        let judgement = masters::judge(&masters, &incomplete);
        assert_eq!(judgement.status, status, "{}", judgement.message);
        assert!(judgement.message.contains(part), "{}", judgement.message);
    }
    // The denied action and its grant are named, the mappings' own before the roles'.
    let judgement = masters::judge(&[hidden()], &[]);
    assert_eq!(judgement.evidence["denied"], json!("iam:GetRole"));
    let map = masters::Incomplete::new("aws-auth", &denied("eks:ListAccessEntries"));
    for masters in [vec![], vec![hidden()], vec![good()]] {
        let judgement = masters::judge(&masters, std::slice::from_ref(&map));
        assert_eq!(judgement.status, Status::Unknown);
        assert_eq!(judgement.evidence["denied"], json!("eks:ListAccessEntries"));
        assert!(judgement.remedy.is_some());
    }
    // An entry that was made for an earlier role of the name.
    let mut earlier = good();
    earlier.stale = Some("it was made before the role".to_owned());
    earlier.unmap = Some("aws eks delete-access-entry".to_owned());
    let judgement = masters::judge(&[earlier], &[]);
    assert_eq!(judgement.status, Status::Warn);
    assert!(
        judgement.message.contains("made before the role"),
        "{}",
        judgement.message
    );
    assert_eq!(
        judgement.remedy.map(|remedy| remedy.commands),
        Some(vec!["aws eks delete-access-entry".to_owned()])
    );
    // Whether the caller can.
    for (verdict, words) in [
        (
            ask(&role(A), &allow(aws(&role(A))), implicit()),
            "the caller may assume it",
        ),
        (
            ask(&role(B), &allow(aws(&role(A))), implicit()),
            "but not by the caller",
        ),
        (
            ask(&role(A), &allow(aws(&role(A))), unread()),
            "whether by the caller can't be told",
        ),
    ] {
        let mut one = good();
        one.caller = Some(verdict);
        let judgement = masters::judge(&[one], &[]);
        assert_eq!(judgement.status, Status::Pass);
        assert!(judgement.message.contains(words), "{}", judgement.message);
    }
}

// ---- --cdk ----

use super::cdk::{CdkQuestion, Mapping};

fn cdk(
    mapping: &Mapping,
    handler: &Subject,
    trust: &Value,
    identity: Identity,
    account: Option<&str>,
) -> cdk::CdkAnswer {
    let asked = Asked::new(handler.clone(), trust, identity);
    let account: Option<iam_policy::arn::AccountId> = account.map(|id| id.parse().unwrap());
    cdk::judge(&CdkQuestion {
        role_arn: &asked.role_arn,
        cluster: "demo",
        cluster_account: account.as_ref(),
        mapping,
        handler: &handler.who,
        trust: &asked.judge(),
    })
}

fn some_role() -> Subject {
    Subject {
        who: Caller::SomeRole {
            partition: iam_policy::arn::Partition::Aws,
            account: A.parse().unwrap(),
        },
        role: Observed::Unknown(not_asked()),
        id: None,
    }
}

#[test]
fn the_handler_that_cdk_is_yet_to_make() {
    let promised = || Identity::Promised("CDK".to_owned());
    let mut bounded_to_arn = statement("Allow", json!("*"));
    bounded_to_arn["Condition"] =
        json!({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::111122223333:role/Stack-*"}});
    for (trust, want) in [
        (allow(aws(&root(A))), Pass),
        (allow(aws(A)), Pass),
        (allow(aws(&root(B))), Fail),
        (allow(aws(&role(A))), Outcome::Unknown),
        (allow(aws(&role(B))), Fail),
        (allow(aws(&user(A))), Fail),
        (allow(json!({"Service": "lambda.amazonaws.com"})), Fail),
        (document(vec![bounded_to_arn]), Outcome::Unknown),
    ] {
        let verdict = Asked::new(some_role(), &trust, promised()).judge();
        assert_eq!(verdict.outcome, want, "{trust}: {}", verdict.message);
    }
}

#[test]
fn one_answer_for_the_stack() {
    let rules = Mapping::Rules {
        from: "aws-auth mapRoles[2], line 7".into(),
    };
    let less = Mapping::Less {
        from: "access entry".into(),
        has: "the group viewers".into(),
    };
    let nobody = Mapping::Nobody {
        why: "no line is about it".into(),
    };
    let unread = Mapping::Unread {
        why: "configmaps denied".into(),
    };
    let by_root = allow(aws(&root(A)));
    let promised = || Identity::Promised("CDK".to_owned());
    for (mapping, trust, account, want) in [
        (&rules, &by_root, Some(A), Pass),
        (&less, &by_root, Some(A), Fail),
        (&nobody, &by_root, Some(A), Fail),
        (&unread, &by_root, Some(A), Outcome::Unknown),
        (&rules, &by_root, None, Outcome::Unknown),
        (&rules, &by_root, Some(B), Fail),
        (&rules, &allow(aws(&role(A))), Some(A), Outcome::Unknown),
        (&unread, &allow(aws(&role(B))), None, Fail),
    ] {
        let answer = cdk(mapping, &some_role(), trust, promised(), account);
        assert_eq!(
            answer.outcome, want,
            "{mapping:?} {trust} {account:?}: {}",
            answer.message
        );
        assert_eq!(
            answer.remedy.is_none(),
            want == Pass || account.is_none() && mapping == &rules,
            "{answer:?}"
        );
        assert_eq!(
            answer.line,
            "kubectlRoleArn: 'arn:aws:iam::111122223333:role/kubectl',"
        );
    }
    // With the handler's own role the stack names it, and the trust policy need not trust the account.
    let answer = cdk(
        &rules,
        &subject(&role(A)),
        &allow(aws(&role(A))),
        implicit(),
        Some(A),
    );
    assert_eq!(answer.outcome, Pass);
    assert_eq!(
        answer.stack,
        "const cluster = eks.Cluster.fromClusterAttributes(this, 'Cluster', {\n  clusterName: 'demo',\n  kubectlRoleArn: \
         'arn:aws:iam::111122223333:role/kubectl',\n  kubectlLambdaRole: iam.Role.fromRoleArn(this, 'KubectlHandlerRole', \
         'arn:aws:iam::111122223333:role/admin'),\n});\n"
    );
}

#[test]
fn a_try_outweighs_the_judgement() {
    use super::report::Tried;
    let asked = Asked::new(subject(&role(A)), &allow(aws(&role(A))), unread());
    let mut report = TrustReport::new(&asked.question(), asked.judge());
    assert_eq!(report.outcome(), Outcome::Unknown);
    let tried = |assumed| Tried {
        assumed,
        error: None,
        session_arn: None,
        username: None,
        groups: Vec::new(),
        cluster_error: None,
    };
    for (assumed, want) in [(Pass, Pass), (Fail, Fail), (Outcome::Unknown, Outcome::Unknown)] {
        report.tried = Some(tried(assumed));
        assert_eq!(report.outcome(), want);
    }
    // --cdk needs the rest as well.
    report.tried = Some(tried(Pass));
    let nobody = Mapping::Nobody {
        why: "no line".into(),
    };
    report.cdk = Some(cdk(
        &nobody,
        &subject(&role(A)),
        &allow(aws(&role(A))),
        unread(),
        Some(A),
    ));
    assert_eq!(report.outcome(), Fail);
}
