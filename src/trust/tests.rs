//! What the evaluator's answer becomes: reasons, words, what to do. The rules themselves are tested in `iam-policy`.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::cdk::{CdkAnswer, CdkQuestion, Mapping};
use super::report::{Tried, TrustReport};
use super::*;
use crate::facts::cluster_admins::GET_TOKEN_SESSION;
use crate::facts::fixture::healthy;
use crate::model::{Decided, Grant, Why};
use crate::text::Output;
use crate::text::style::Style;
use iam_policy::arn::AccountId;
use iam_policy::document::with_statement;

const A: &str = "111122223333";
const R: &str = "arn:aws:iam::111122223333:role/kubectl";
const USER: &str = "arn:aws:iam::111122223333:user/eve";
const ADMIN: &str = "arn:aws:iam::111122223333:role/admin";
const SESSION: &str = "arn:aws:sts::111122223333:assumed-role/admin/eve";
const ROOT: &str = "arn:aws:iam::111122223333:root";
const DEAD: &str = "AROAEXAMPLEEXAMPLE99";
const OTHER: &str = "arn:aws:sts::444455556666:assumed-role/admin/eve";

use Outcome::{Fail, Pass};

fn denied(action: &str) -> Unknown {
    let grant = Grant::Iam {
        action: action.to_owned(),
        resource: "*".to_owned(),
    };
    Unknown::denied(DeniedBy::MissingAllow, "", grant)
}

fn role_of(trust: &str) -> Role {
    Role {
        trust: trust.to_owned(),
        arn: R.to_owned(),
        ..crate::facts::fixture::role("kubectl")
    }
}

fn known(arn: &str) -> Requester {
    Requester::from(arn.parse::<PrincipalArn>().expect("a principal"))
}

fn some_role() -> Requester {
    Requester::SomeRole {
        partition: iam_policy::arn::Partition::Aws,
        account: A.parse().expect("an account"),
    }
}

fn simulated(change: impl FnOnce(&mut Decided)) -> Identity {
    let mut decided = Decided::plain(SimulatedDecision::ImplicitDeny);
    change(&mut decided);
    let principal = String::new();
    Identity::Simulated(Observed::Known(Simulation { principal, decided }))
}

fn allowed() -> Identity {
    simulated(|found| found.decision = SimulatedDecision::Allowed)
}

fn implicit() -> Identity {
    simulated(|_| {})
}

fn explicit() -> Identity {
    simulated(|found| found.decision = SimulatedDecision::ExplicitDeny)
}

fn unread() -> Identity {
    Identity::Simulated(Observed::Unknown(denied("iam:SimulatePrincipalPolicy")))
}

fn promised() -> Identity {
    Identity::Promised("CDK".to_owned())
}

fn plain(report: &TrustReport) -> String {
    crate::report::render(&[report.page()], report, Output::Text, Style::PLAIN)
}

struct Asked {
    requester: Requester,
    role_arn: Arn,
    role: Observed<Role>,
    identity: Identity,
    target: Option<Target>,
}

impl Asked {
    fn new(requester: Requester, trust: &Value, identity: Identity) -> Self {
        Self {
            requester,
            role_arn: R.parse().expect("an ARN"),
            role: Observed::Known(role_of(&trust.to_string())),
            identity,
            target: Some(healthy().target),
        }
    }

    fn question(&self) -> Question<'_> {
        Question {
            requester: &self.requester,
            own_role: None,
            requester_gone: false,
            role_arn: &self.role_arn,
            role: &self.role,
            identity: &self.identity,
            session_name: GET_TOKEN_SESSION,
            external_id: None,
            now: jiff::Timestamp::UNIX_EPOCH,
            target: self.target.as_ref(),
        }
    }

    fn judge(&self) -> TrustVerdict {
        judge(&self.question())
    }

    fn text(&self) -> String {
        plain(&TrustReport::new(&self.question(), self.judge()))
    }
}

fn ask(who: &str, trust: &Value, identity: Identity) -> TrustVerdict {
    Asked::new(known(who), trust, identity).judge()
}

fn statement(effect: &str, principal: Value) -> Value {
    json!({"Effect": effect, "Principal": principal, "Action": ASSUME_ROLE})
}

fn document(statements: Value) -> Value {
    json!({"Version": "2012-10-17", "Statement": statements})
}

fn allow(principal: Value) -> Value {
    document(statement("Allow", principal))
}

fn aws(who: &str) -> Value {
    json!({"AWS": who})
}

fn with(one: Value, condition: Value) -> Value {
    let mut one = one;
    one["Condition"] = condition;
    one
}

#[test]
fn every_reason() {
    use Outcome::Unknown as Open;
    use Reason::*;
    let foreign = "arn:aws-cn:iam::111122223333:role/admin";
    let mfa = || json!({"Bool": {"aws:MultiFactorAuthPresent": "true"}});
    let external = json!({"StringEquals": {"sts:ExternalId": "x"}});
    let if_external = document(with(statement("Allow", aws(USER)), external));
    let if_mfa = document(with(statement("Allow", aws(USER)), mfa()));
    let and = |deny: Value| document(json!([statement("Allow", aws(USER)), deny]));
    let denied = and(statement("Deny", json!("*")));
    let denied_if = and(with(statement("Deny", json!("*")), mfa()));
    // The account's part needs its own policies, which don't allow it; the session's part doesn't.
    let either = || allow(json!({"AWS": [ROOT, SESSION]}));
    let (user, root) = (|| allow(aws(USER)), || allow(aws(ROOT)));
    let (admin, anyone) = (|| allow(aws(ADMIN)), || allow(json!("*")));
    let service = allow(json!({"Service": "ec2.amazonaws.com"}));
    let provider = allow(json!({"Federated": "okta"}));
    let missing = simulated(|found| found.missing_context = vec!["aws:SourceIp".to_owned()]);
    let no_scp = simulated(|found| found.allowed_by_organizations = Some(false));
    let bounded = simulated(|found| found.allowed_by_boundary = Some(false));
    let gone = Identity::Simulated(Observed::Absent);
    for (who, trust, identity, outcome, reason) in [
        (USER, user(), implicit(), Pass, NamedDirectly),
        (SESSION, admin(), implicit(), Pass, RoleNamed),
        (USER, root(), allowed(), Pass, AccountTrusted),
        (USER, anyone(), implicit(), Pass, EverybodyTrusted),
        (USER, denied, allowed(), Fail, DeniedByTrust),
        (USER, admin(), allowed(), Fail, NotTrusted),
        (USER, document(json!([])), allowed(), Fail, NotTrusted),
        (USER, allow(aws(DEAD)), allowed(), Fail, PrincipalDeleted),
        (USER, service, allowed(), Fail, ServiceOnly),
        (USER, provider, allowed(), Fail, FederatedOnly),
        (USER, if_external, allowed(), Fail, ConditionNotMet),
        (USER, root(), implicit(), Fail, IdentityMissing),
        (OTHER, allow(aws(OTHER)), implicit(), Fail, IdentityMissing),
        (USER, user(), explicit(), Fail, IdentityDenied),
        (SESSION, admin(), bounded, Fail, Boundary),
        (USER, user(), no_scp, Fail, Organization),
        (USER, denied_if, allowed(), Open, DenyUnclear),
        (USER, if_mfa, allowed(), Open, TrustUnclear),
        (ADMIN, either(), implicit(), Open, TrustUnclear),
        (ADMIN, either(), allowed(), Pass, AccountTrusted),
        (USER, user(), unread(), Open, IdentityUnread),
        (USER, user(), missing, Open, IdentityUnread),
        (USER, user(), gone, Fail, PrincipalMissing),
        (ROOT, anyone(), allowed(), Fail, PrincipalCannotAssume),
        (foreign, anyone(), allowed(), Fail, OtherPartition),
    ] {
        let verdict = ask(who, &trust, identity.clone());
        let found = (verdict.outcome, verdict.reason);
        assert_eq!(
            found,
            (outcome, reason),
            "{who} {trust} {identity:?}: {}",
            verdict.message
        );
    }
    let timed_out = Unknown::new(Why::TimedOut, "no answer in 10 s");
    for (role, outcome, reason) in [
        (Observed::Absent, Fail, RoleMissing),
        (Observed::Unknown(timed_out), Open, RoleUnread),
        (Observed::Known(role_of("<html>")), Open, TrustUnreadable),
        (Observed::Known(role_of("{}")), Fail, NotTrusted),
    ] {
        let mut asked = Asked::new(known(USER), &json!({}), allowed());
        asked.role = role;
        let verdict = asked.judge();
        assert_eq!((verdict.outcome, verdict.reason), (outcome, reason));
        assert!(verdict.remedy.is_some());
    }
}

#[test]
fn the_handler_that_cdk_is_yet_to_make() {
    let pattern = json!({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::111122223333:role/Stack-*"}});
    for (trust, want) in [
        (allow(aws(ROOT)), Pass),
        (allow(aws(OTHER)), Fail),
        (allow(aws(ADMIN)), Outcome::Unknown),
        (allow(aws(USER)), Fail),
        (allow(json!({"Service": "lambda.amazonaws.com"})), Fail),
        (
            document(with(statement("Allow", json!("*")), pattern)),
            Outcome::Unknown,
        ),
    ] {
        let verdict = Asked::new(some_role(), &trust, promised()).judge();
        assert_eq!(verdict.outcome, want, "{trust}: {}", verdict.message);
    }
}

#[test]
fn the_smallest_policy_and_the_one_that_is_written_back_would_do() {
    for who in [USER, ADMIN, SESSION, OTHER] {
        let asked = Asked::new(known(who), &document(json!([])), allowed());
        let smallest = advice::smallest(&asked.question()).expect("somebody to name");
        assert_eq!(ask(who, &smallest.document, allowed()).outcome, Pass, "{who}");
        assert!(!smallest.document.to_string().contains(":root"));
    }
    let trust = json!({"Version": "2008-10-17", "Id": "x", "Statement": [
        statement("Allow", json!({"AWS": [DEAD, USER]})),
        statement("Allow", aws("AIDAEXAMPLEEXAMPLE99")),
    ]});
    let one = statement("Allow", aws(ADMIN));
    assert_eq!(
        with_statement(&trust.to_string(), one.clone()),
        Some(json!({"Version": "2008-10-17", "Id": "x",
                    "Statement": [statement("Allow", json!({"AWS": [USER]})), one.clone()]}))
    );
    // What would lose its meaning, or has none, is not written back.
    for before in [
        r#"{"Statement": {"Effect": "Deny", "NotPrincipal": {"AWS": "AROAEXAMPLEEXAMPLE99"}, "Action": "*"}}"#,
        r#"{"Statement": {"Effect": "allow", "Action": "*"}}"#,
        r#"{"Statement": [], "Statement": []}"#,
        "[]",
    ] {
        assert_eq!(with_statement(before, one.clone()), None, "{before}");
    }
}

#[test]
fn the_report_of_a_person() {
    let mfa = json!({"Bool": {"aws:MultiFactorAuthPresent": "true"}});
    let mut account = statement("Allow", aws(ROOT));
    account["Sid"] = json!("Account");
    let mut file = Asked::new(known(USER), &allow(aws(ROOT)), Identity::LeftOut);
    file.target = None;
    let mut refused = Asked::new(
        known(USER),
        &allow(json!("arn:aws:iam::111122223333:root")),
        Identity::LeftOut,
    );
    refused.target = None;
    let texts = [
        Asked::new(known(SESSION), &document(account), implicit()),
        Asked::new(
            known(ADMIN),
            &document(json!([
                statement("Allow", json!({"Service": "ec2.amazonaws.com"})),
                statement("Allow", aws(DEAD)),
            ])),
            allowed(),
        ),
        Asked::new(
            known(ADMIN),
            &document(with(statement("Allow", aws(ADMIN)), mfa)),
            unread(),
        ),
        Asked::new(known(USER), &allow(aws(USER)), implicit()),
        Asked::new(known(OTHER), &allow(aws(USER)), implicit()),
        file,
        refused,
    ]
    .map(|one| one.text());
    insta::assert_snapshot!(texts.join("\n==========\n"));
}

#[test]
fn the_report_of_a_machine() {
    let asked = Asked::new(known(SESSION), &allow(aws(ROOT)), implicit());
    insta::assert_json_snapshot!(TrustReport::new(&asked.question(), asked.judge()));
}

fn cdk(
    mapping: &Mapping,
    requester: &Requester,
    trust: &Value,
    identity: Identity,
    account: Option<&str>,
) -> CdkAnswer {
    let asked = Asked::new(requester.clone(), trust, identity);
    let account: Option<AccountId> = account.map(|id| id.parse().expect("an account"));
    cdk::judge(&CdkQuestion {
        role_arn: &asked.role_arn,
        cluster: "demo",
        cluster_account: account.as_ref(),
        mapping,
        handler: requester,
        trust: &asked.judge(),
    })
}

#[test]
fn one_answer_for_the_stack() {
    let admin = Mapping::Admin {
        from: "aws-auth mapRoles[2], line 7".to_owned(),
    };
    let less = Mapping::Less {
        from: "access entry".to_owned(),
        has: "the group viewers".to_owned(),
    };
    let nobody = Mapping::Nobody {
        why: "no line names it".to_owned(),
    };
    let unread_map = Mapping::Unread {
        why: "configmaps denied".to_owned(),
    };
    let by_root = allow(aws(ROOT));
    for (mapping, trust, account, want) in [
        (&admin, &by_root, Some(A), Pass),
        (&less, &by_root, Some(A), Fail),
        (&nobody, &by_root, Some(A), Fail),
        (&unread_map, &by_root, Some(A), Outcome::Unknown),
        (&admin, &by_root, None, Outcome::Unknown),
        (&admin, &by_root, Some("444455556666"), Fail),
        (&admin, &allow(aws(ADMIN)), Some(A), Outcome::Unknown),
    ] {
        let answer = cdk(mapping, &some_role(), trust, promised(), account);
        assert_eq!(answer.outcome, want, "{mapping:?} {trust}: {}", answer.message);
    }
    // With the handler's own role the stack names it, and the trust policy need not trust the account.
    let answer = cdk(&admin, &known(ADMIN), &allow(aws(ADMIN)), implicit(), Some(A));
    assert_eq!(answer.outcome, Pass);
    insta::assert_snapshot!(answer.stack);
}

#[test]
fn a_try_outweighs_the_judgement() {
    let asked = Asked::new(known(ADMIN), &allow(aws(ADMIN)), unread());
    let mut report = TrustReport::new(&asked.question(), asked.judge());
    assert_eq!(report.outcome(), Outcome::Unknown);
    for assumed in [Outcome::Unknown, Fail, Pass] {
        report.tried = Some(Tried {
            assumed,
            error: None,
            session_arn: None,
            username: None,
            groups: Vec::new(),
            cluster_error: None,
        });
        assert_eq!(report.outcome(), assumed);
    }
    // --cdk needs the rest as well.
    let nobody = Mapping::Nobody {
        why: "no line".to_owned(),
    };
    report.cdk = Some(cdk(&nobody, &known(ADMIN), &allow(aws(ADMIN)), unread(), Some(A)));
    assert_eq!(report.outcome(), Fail);
}

fn any_statement() -> impl Strategy<Value = Value> {
    (
        prop::sample::select(vec!["Allow", "Allow", "Deny", "deny"]),
        prop::sample::select(vec!["Principal", "NotPrincipal"]),
        prop::sample::select(vec![USER, ADMIN, SESSION, ROOT, DEAD, "x*", "*"]),
        prop::sample::select(vec!["sts:AssumeRole", "sts:*", "sts:TagSession"]),
        prop::sample::select(vec!["sts:ExternalId", "x:y", "aws:PrincipalAccount"]),
    )
        .prop_map(|(effect, element, who, action, key)| {
            json!({"Effect": effect, element: aws(who), "Action": action, "Condition": {"StringNotEquals": {key: "a"}}})
        })
}

proptest! {
    /// An unknown always says what it depends on, and nothing else does; what is told without the identity side stays.
    #[test]
    fn an_unknown_names_what_decides(
        who in prop::sample::select(vec![known(USER), known(ADMIN), known(SESSION), known(OTHER), some_role()]),
        statements in prop::collection::vec(any_statement(), 0..4),
        identity in prop::sample::select(vec![allowed(), implicit(), explicit(), unread(), promised()]),
    ) {
        let trust = document(json!(statements));
        let vague = Asked::new(who.clone(), &trust, unread()).judge();
        prop_assert_ne!(vague.outcome, Pass);
        let asked = Asked::new(who, &trust, identity);
        let verdict = asked.judge();
        prop_assert!(vague.outcome != Fail || verdict.outcome == Fail, "{vague:?} {verdict:?}");
        let names = verdict.could_not_see.iter().any(|one| one.decides);
        prop_assert_eq!(names, verdict.outcome == Outcome::Unknown, "{:?}", verdict);
        prop_assert!(verdict.outcome == Pass || verdict.remedy.is_some(), "{verdict:?}");
        if verdict.outcome == Pass {
            prop_assert_eq!(verdict.decided_by.clone().map(|by| by.effect), Some("Allow".to_owned()));
        }
        let report = TrustReport::new(&asked.question(), verdict);
        let text = plain(&report);
        prop_assert!(text.chars().all(|c| c == '\n' || crate::text::sanitize::harmless(c)));
        for command in report.verdict.remedy.iter().flat_map(|remedy| &remedy.commands) {
            prop_assert!(shlex::split(command).is_some(), "{command}");
        }
    }
}
