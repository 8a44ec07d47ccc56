//! What to do about an answer: the smallest trust policy that would do, and the way there.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::model::Role;
use crate::model::{Observed, Unknown};
use crate::text::quote;
use iam_policy::arn::{Arn, PrincipalArn};
use iam_policy::document::{self, PolicyDocument};

use super::principal::{Caller, is_unique_id};
use super::{Identity, Outcome, Question, Reason, TrustVerdict};
use iam_policy::kleene::Tri;

/// What to do, in words, commands and documents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TrustRemedy {
    /// In words.
    pub text: String,
    /// Commands that can be pasted.
    #[serde(default)]
    pub commands: Vec<String>,
}

/// The smallest trust policy that lets P assume R.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SmallestPolicy {
    /// The document.
    pub document: Value,
    /// Whom it names.
    pub names: String,
    /// Why it names the principal and not the account.
    pub why: String,
    /// What to look at before it is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caution: Option<String>,
}

/// `{"Effect": "Allow", "Principal": {"AWS": NAMES}, "Action": "sts:AssumeRole"}`
fn statement(names: &Arn) -> Value {
    json!({
        "Effect": "Allow",
        "Principal": {"AWS": names.to_string()},
        "Action": super::ACTION
    })
}

fn document(names: &Arn) -> Value {
    json!({"Version": "2012-10-17", "Statement": [statement(names)]})
}

/// The smallest trust policy for the question; none where there is nobody to name.
pub fn smallest(question: &Question<'_>) -> Option<SmallestPolicy> {
    let names = nameable(question)?;
    let account = &names.account;
    let role = question.role_arn;
    let caution = match (&question.subject.who, question.subject.verified_role_arn()) {
        (Caller::Known(PrincipalArn::Session { role, .. }), None) => Some(format!(
            "A session's ARN does not tell the path of its role, and the role {role} was not read: look at its ARN with \
             `aws iam get-role`. IAM refuses a trust policy that names a role which does not exist."
        )),
        _ => None,
    };
    Some(SmallestPolicy {
        document: document(&names),
        why: format!(
            "It names {names} and not the account. With arn:{}:iam::{account}:root in its place, every principal of the \
             account whose own policies allow sts:AssumeRole on {role} (an Allow on * is enough) takes the role, and with it \
             what the cluster gives it: that is what CVE-2023-35165 (GHSA-rx28-r23p-2qc3) mended in CDK.",
            names.partition
        ),
        names: names.to_string(),
        caution,
    })
}

/// Whom a trust policy can name for P: the user, or the role (a session's name changes).
fn nameable(question: &Question<'_>) -> Option<Arn> {
    match &question.subject.who {
        Caller::Known(PrincipalArn::Root(_) | PrincipalArn::FederatedUser(_)) | Caller::SomeRole { .. } => {
            None
        }
        Caller::Known(_) if question.subject.who.partition() != question.role_arn.partition => None,
        Caller::Known(_) => question.subject.iam_arn(),
    }
}

/// R's trust policy with one statement more, and without the dead ids that IAM would refuse to store again. None when
/// the policy was not read, or is too odd to be written back.
pub fn with_statement(role: &Role, names: &Arn) -> Option<Value> {
    let mut value = document::decode(&role.trust).ok()?;
    let parsed = PolicyDocument::from_value(&value).ok()?;
    if parsed.statements.iter().any(|one| !one.problems.is_empty()) {
        return None;
    }
    let found = value.as_object_mut()?.get_mut("Statement").map(Value::take);
    let mut statements = match found {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(all)) => all,
        Some(one) => vec![one],
    };
    let mut kept = Vec::with_capacity(statements.len() + 1);
    for mut one in statements.drain(..) {
        match without_dead(&mut one) {
            Kept::Whole => kept.push(one),
            Kept::Nobody => {}
            Kept::Unclear => return None,
        }
    }
    kept.push(statement(names));
    let object = value.as_object_mut()?;
    object.insert("Statement".to_owned(), Value::Array(kept));
    object.entry("Version").or_insert_with(|| json!("2012-10-17"));
    Some(value)
}

enum Kept {
    Whole,
    /// Only dead ids were in it.
    Nobody,
    /// Taking the dead ids out would turn its meaning around.
    Unclear,
}

fn without_dead(statement: &mut Value) -> Kept {
    let is_dead = |value: &Value| value.as_str().is_some_and(is_unique_id);
    for (element, turned) in [("Principal", false), ("NotPrincipal", true)] {
        let Some(Value::Object(kinds)) = statement.get_mut(element) else {
            continue;
        };
        let emptied = match kinds.get_mut("AWS") {
            Some(Value::Array(all)) => {
                let before = all.len();
                all.retain(|value| !is_dead(value));
                before > 0 && all.is_empty()
            }
            Some(one) => is_dead(one),
            None => false,
        };
        if emptied {
            kinds.remove("AWS");
            if kinds.is_empty() {
                return if turned { Kept::Unclear } else { Kept::Nobody };
            }
        }
    }
    Kept::Whole
}

/// What to do about the answer. None where nothing is to be done.
pub fn remedy(question: &Question<'_>, verdict: &TrustVerdict) -> Option<TrustRemedy> {
    let role = question.role_arn;
    let role_name = role.role_name().unwrap_or_default();
    let who = &question.subject.who;
    let same_account = who.account() == role.account;
    let names = nameable(question);
    let simulate = question.subject.iam_arn().map(|arn| {
        format!(
            "aws iam simulate-principal-policy --policy-source-arn {} --action-names sts:AssumeRole --resource-arns {} \
             --query 'EvaluationResults[].MatchedStatements'",
            quote(&arn.to_string()),
            quote(&role.to_string())
        )
    });
    let show = format!(
        "aws iam get-role --role-name {} --query Role.AssumeRolePolicyDocument",
        quote(role_name)
    );
    let try_it = format!("kubectl capt-spot trust {} --try", quote(&role.to_string()));
    let with = |text: String, commands: Vec<String>| Some(TrustRemedy { text, commands });
    match verdict.reason {
        Reason::NamedDirectly | Reason::RoleNamed => None,
        Reason::AccountTrusted => with(
            format!(
                "It works. So does every other principal of account {} whose own policies allow sts:AssumeRole on the role; \
                 naming the principal, as in the smallest trust policy, closes that.",
                who.account()
            ),
            Vec::new(),
        ),
        Reason::EverybodyTrusted => with(
            "It works, and it may for anybody: only the statement's conditions, if it has any, keep strangers out. Name the \
             principal instead, as in the smallest trust policy."
                .to_owned(),
            Vec::new(),
        ),
        Reason::RoleMissing => {
            let text = format!(
                "Check the name and the account of {role}. If it is to be made, make it with the smallest trust policy, and map \
                 it in the cluster afterwards."
            );
            let make = names.map(|names| {
                let path = role
                    .path()
                    .filter(|path| *path != "/")
                    .map(|path| format!(" --path {}", quote(path)))
                    .unwrap_or_default();
                format!(
                    "aws iam create-role --role-name {}{path} --assume-role-policy-document {}",
                    quote(role_name),
                    quote(&document(&names).to_string())
                )
            });
            with(text, make.into_iter().collect())
        }
        Reason::PrincipalMissing => with(
            format!(
                "Check the name and the account of {}. A principal that is made again under its old name is another one to \
                 IAM: a trust policy that named the old one has to be written again.",
                who.words()
            ),
            Vec::new(),
        ),
        Reason::PrincipalCannotAssume => with(
            "Use an IAM user, or a role: those can call sts:AssumeRole.".to_owned(),
            Vec::new(),
        ),
        Reason::OtherPartition => with(
            format!("Use a principal and a role of one partition; {role} is in {}.", role.partition),
            Vec::new(),
        ),
        Reason::DeniedByTrust => {
            let exception = names.map(|names| {
                format!(
                    " To let {names} through and nobody else, add \"ArnNotEquals\": {{\"aws:PrincipalArn\": \"{names}\"}} to \
                     its Condition."
                )
            });
            with(
                format!(
                    "No Allow helps against a Deny: take {} of {role}'s trust policy out, or narrow it.{}",
                    verdict
                        .decided_by
                        .as_ref()
                        .map_or_else(|| "the Deny".to_owned(), |by| format!("statement {}", by.index + 1)),
                    exception.unwrap_or_default()
                ),
                vec![show],
            )
        }
        Reason::NotTrusted
        | Reason::PrincipalDeleted
        | Reason::ServiceOnly
        | Reason::FederatedOnly
        | Reason::ConditionNotMet => trust_it(question, verdict, names, same_account, show),
        Reason::IdentityMissing => {
            let own = own_statement(question);
            let both = if same_account {
                names.as_ref().and_then(|names| update(question, names))
            } else {
                None
            };
            let text = match (&both, same_account) {
                (Some(_), _) => format!(
                    "Name {} in the role's trust policy (then its own policies need not allow it), or give it an Allow of its \
                     own: {own}.",
                    names.as_ref().map_or_else(|| who.words(), ToString::to_string)
                ),
                (None, true) => format!("Give {} an Allow of its own: {own}.", who.words()),
                (None, false) => format!(
                    "Give {} an Allow of its own in its account {}: {own}. Across accounts the trust policy alone is never \
                     enough.",
                    who.words(),
                    who.account()
                ),
            };
            with(text, both.into_iter().chain(put_policy(question)).collect())
        }
        Reason::IdentityDenied => with(
            "No Allow helps against a Deny: find the statement that denies it, and take it out or narrow it. An SCP's or a \
             boundary's Deny can show here too."
                .to_owned(),
            simulate.into_iter().collect(),
        ),
        Reason::Boundary => {
            let boundary = question
                .subject
                .role
                .known()
                .and_then(|role| role.boundary.clone())
                .unwrap_or_else(|| "the permissions boundary".to_owned());
            with(
                format!(
                    "Let {boundary} allow it: {}. A boundary limits a role also where the trust policy names the role.",
                    own_statement(question)
                ),
                simulate.into_iter().collect(),
            )
        }
        Reason::Organization => with(
            format!(
                "Ask whoever runs the organisation to let its service control policies allow sts:AssumeRole on {role} in \
                 account {}.",
                who.account()
            ),
            Vec::new(),
        ),
        Reason::RoleUnread => match question.role {
            Observed::Unknown(unknown) => with(grant_words(unknown, &format!("read {role}")), vec![try_it]),
            _ => None,
        },
        Reason::TrustUnreadable => with("Look at the trust policy as IAM has it.".to_owned(), vec![show]),
        Reason::IdentityUnread => match question.identity {
            Identity::Simulated(Observed::Unknown(unknown)) => with(
                format!(
                    "{} Or try it, which is the only proof: --try really assumes the role.",
                    grant_words(unknown, "ask IAM what the principal's own policies say")
                ),
                vec![try_it],
            ),
            _ => with(
                "Try it, which is the only proof: --try really assumes the role.".to_owned(),
                vec![try_it],
            ),
        },
        Reason::DenyUnclear | Reason::TrustUnclear => with(
            "Try it, which is the only proof: --try really assumes the role, and asks the cluster who it is then.".to_owned(),
            vec![try_it],
        ),
    }
}

fn grant_words(unknown: &Unknown, what: &str) -> String {
    match &unknown.grant {
        Some(grant) => format!("To {what}, ask for {}: {}.", grant.action(), grant.statement()),
        None => format!("To {what} was not possible: {unknown}."),
    }
}

/// P is not trusted: the statement to add, and what else is needed.
fn trust_it(
    question: &Question<'_>,
    verdict: &TrustVerdict,
    names: Option<Arn>,
    same_account: bool,
    show: String,
) -> Option<TrustRemedy> {
    let role = question.role_arn;
    let Some(names) = names else {
        return Some(TrustRemedy {
            text: format!(
                "Make the role that is to assume {role} first, and name it in the trust policy: a principal that does not exist \
                 cannot be named."
            ),
            commands: vec![show],
        });
    };
    let mut text = match verdict.reason {
        Reason::PrincipalDeleted => format!(
            "Write {names} into the trust policy in place of the dead id (for IAM, one that is made again under its old name is \
             another principal)."
        ),
        Reason::ServiceOnly | Reason::FederatedOnly => format!(
            "Add a statement that names {names}, and leave the others. Where the role is a service's own (a node role, a \
             service-linked role), take another role instead."
        ),
        Reason::ConditionNotMet => format!(
            "Meet the condition, or add a statement that names {names} without it. kubectl, the AWS CLI's get-token and CDK's \
             handler pass no external id and the session name {}.",
            super::GET_TOKEN_SESSION
        ),
        _ => format!("Add a statement that names {names}."),
    };
    let mut commands = Vec::new();
    match update(question, &names) {
        Some(command) => {
            text.push_str(" The command below keeps the other statements");
            let dead = question
                .role
                .known()
                .is_some_and(|role| role.trust.contains("AROA") || role.trust.contains("AIDA"));
            text.push_str(if dead { ", but for dead ids." } else { "." });
            commands.push(command);
        }
        None => {
            text.push_str(" The trust policy cannot be written back by itself; add the statement by hand.");
            commands.push(show);
        }
    }
    if !same_account {
        text.push_str(&format!(
            " It is of another account, so it needs an Allow of its own as well: {}.",
            own_statement(question)
        ));
        commands.extend(put_policy(question));
    }
    Some(TrustRemedy { text, commands })
}

/// The command that writes R's trust policy with P in it.
fn update(question: &Question<'_>, names: &Arn) -> Option<String> {
    let role = question.role.known()?;
    let document = with_statement(role, names)?;
    Some(format!(
        "aws iam update-assume-role-policy --role-name {} --policy-document {}",
        quote(&role.name),
        quote(&document.to_string())
    ))
}

fn own_statement(question: &Question<'_>) -> String {
    json!({"Effect": "Allow", "Action": super::ACTION, "Resource": question.role_arn.to_string()}).to_string()
}

/// The command that gives P an Allow of its own. None for roles whose policies are made elsewhere.
fn put_policy(question: &Question<'_>) -> Option<String> {
    let Caller::Known(who) = &question.subject.who else {
        return None;
    };
    let document = json!({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": super::ACTION, "Resource": question.role_arn.to_string()}]
    });
    let policy_name = format!("assume-{}", question.role_arn.role_name()?);
    let (verb, flag, name) = match who {
        PrincipalArn::User(arn) => ("put-user-policy", "--user-name", arn.resource.rsplit('/').next()?),
        // IAM Identity Center writes these roles from permission sets and refuses other hands.
        PrincipalArn::Role(_) | PrincipalArn::Session { .. }
            if who
                .role_name()
                .is_some_and(|name| name.starts_with("AWSReservedSSO_")) =>
        {
            return None;
        }
        PrincipalArn::Role(_) | PrincipalArn::Session { .. } => {
            ("put-role-policy", "--role-name", who.role_name()?)
        }
        PrincipalArn::FederatedUser(_) | PrincipalArn::Root(_) => return None,
    };
    Some(format!(
        "aws iam {verb} {flag} {} --policy-name {} --policy-document {}",
        quote(name),
        quote(&policy_name),
        quote(&document.to_string())
    ))
}

/// Whether the caller is a session of the role that is asked about.
pub fn is_itself(question: &Question<'_>) -> Tri {
    let Caller::Known(who) = &question.subject.who else {
        return Tri::Unknown;
    };
    let same = who.arn().account == question.role_arn.account
        && who.arn().partition == question.role_arn.partition
        && who.role_name().is_some()
        && who.role_name() == question.role_arn.role_name();
    same.into()
}

/// What `--try` could show that judging can't; said beside a pass.
pub fn proof(outcome: Outcome) -> Option<&'static str> {
    (outcome != Outcome::Fail).then_some("The only proof is a real sts:AssumeRole: --try makes one.")
}
