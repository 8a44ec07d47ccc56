//! What to do about an answer: the smallest trust policy that would do, and the way there.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::facts::cluster_admins::GET_TOKEN_SESSION;
use crate::model::{Command, Language, Observed, Remedy, Role, Snippet, Unknown, argv};
use iam_policy::arn::{Arn, PrincipalArn};
use iam_policy::document::with_statement;
use iam_policy::evaluate::ASSUME_ROLE;
use iam_policy::principal::Requester;

use super::{Identity, Outcome, Question, Reason, TrustVerdict, words};

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

fn statement(names: &Arn) -> Value {
    json!({"Effect": "Allow", "Principal": {"AWS": names.to_string()}, "Action": ASSUME_ROLE})
}

fn own_statement(question: &Question<'_>) -> Value {
    json!({"Effect": "Allow", "Action": ASSUME_ROLE, "Resource": question.role_arn.to_string()})
}

fn of(statement: Value) -> Value {
    json!({"Version": "2012-10-17", "Statement": [statement]})
}

/// The smallest trust policy for the question; none where there is no principal to name.
pub(crate) fn smallest(question: &Question<'_>) -> Option<SmallestPolicy> {
    let names = nameable(question)?;
    let (account, role) = (&names.account, question.role_arn);
    let caution = match question.requester.known().map(|one| (&one.arn, &one.role_arn)) {
        Some((PrincipalArn::Session { role, .. }, None)) => Some(format!(
            "A session's ARN does not tell the path of its role, and the role {role} was not read: look at its ARN with \
             `aws iam get-role`. IAM refuses a trust policy that names a role which does not exist."
        )),
        _ => None,
    };
    Some(SmallestPolicy {
        document: of(statement(&names)),
        why: format!(
            "It names {names} and not the account. With arn:{}:iam::{account}:root in its place, every principal of the \
             account whose own policies allow sts:AssumeRole on {role} (an Allow on * is enough) could assume it, and gain \
             what the cluster gives it: that is what CVE-2023-35165 (GHSA-rx28-r23p-2qc3) fixed in CDK.",
            names.partition
        ),
        names: names.to_string(),
        caution,
    })
}

/// Whom a trust policy can name for P: the user, or the role (a session's name changes).
fn nameable(question: &Question<'_>) -> Option<Arn> {
    let known = question.requester.known()?;
    match &known.arn {
        PrincipalArn::Root(_) | PrincipalArn::FederatedUser(_) => None,
        who if who.arn().partition != question.role_arn.partition => None,
        _ => Some(known.iam_arn()),
    }
}

/// The words, commands and documents of one answer, as they are put together.
struct Advice<'a> {
    question: &'a Question<'a>,
    remedy: Remedy,
    commands: Vec<Command>,
    /// What the documents are to be saved as.
    files: Vec<String>,
}

impl Advice<'_> {
    fn say(&mut self, text: impl AsRef<str>) {
        if !self.remedy.text.is_empty() {
            self.remedy.text.push(' ');
        }
        self.remedy.text.push_str(text.as_ref());
    }

    fn aws(&mut self, words: &[&str]) {
        self.commands
            .extend(self.question.target.map(|target| target.aws(words)));
    }

    /// A document, and the command that reads it from a file; for a file that is judged alone, the document.
    fn document(&mut self, file: &str, document: &Value, command: &[&str], flag: &str) {
        let from = format!("file://{file}");
        let words: Vec<&str> = command.iter().copied().chain([flag, &from]).collect();
        self.aws(&words);
        self.files.push(file.to_owned());
        self.remedy.snippets.push(Snippet {
            language: Language::Json,
            text: serde_json::to_string_pretty(document).unwrap_or_default(),
        });
    }

    fn show(&mut self) {
        let name = self.question.role_arn.role_name().unwrap_or_default();
        self.aws(&argv(
            "iam get-role --role-name {} --query Role.AssumeRolePolicyDocument",
            &[name],
        ));
    }

    fn simulate(&mut self) {
        if let Some(known) = self.question.requester.known() {
            let (who, role) = (known.iam_arn().to_string(), self.question.role_arn.to_string());
            self.aws(&argv(
                "iam simulate-principal-policy --policy-source-arn {} --action-names {} --resource-arns {} \
                 --query EvaluationResults[].MatchedStatements",
                &[&who, ASSUME_ROLE, &role],
            ));
        }
    }

    fn try_it(&mut self) {
        let role = self.question.role_arn.to_string();
        let command = self
            .question
            .target
            .map(|target| target.capt_spot(&["trust", &role, "--try"]));
        self.commands.extend(command);
    }

    /// R's trust policy with P in it, where it can be written back.
    fn update(&mut self, names: &Arn) -> bool {
        let Observed::Known(role) = self.question.role else {
            return false;
        };
        let Some(document) = with_statement(&role.trust, statement(names)) else {
            return false;
        };
        let command = ["iam", "update-assume-role-policy", "--role-name", &role.name];
        self.document("trust-policy.json", &document, &command, "--policy-document");
        true
    }

    /// An Allow of P's own. Not for roles whose policies are made elsewhere.
    fn put_policy(&mut self) {
        let Some(who) = self.question.requester.known().map(|one| &one.arn) else {
            return;
        };
        let (verb, flag, name) = match who {
            PrincipalArn::User(arn) => ("put-user-policy", "--user-name", arn.resource.rsplit('/').next()),
            // IAM Identity Center writes these roles from permission sets and refuses other hands.
            _ if who
                .role_name()
                .is_none_or(|name| name.starts_with("AWSReservedSSO_")) =>
            {
                return;
            }
            _ => ("put-role-policy", "--role-name", who.role_name()),
        };
        let role = self.question.role_arn.role_name().unwrap_or_default();
        let policy_name = format!("assume-{role}");
        let command = [
            "iam",
            verb,
            flag,
            name.unwrap_or_default(),
            "--policy-name",
            &policy_name,
        ];
        self.document(
            &format!("{policy_name}.json"),
            &of(own_statement(self.question)),
            &command,
            "--policy-document",
        );
    }

    fn role_missing(&mut self, names: Option<Arn>) {
        let role = self.question.role_arn;
        self.say(format!(
            "Check the name and the account of {role}. If it is to be created, create it with the smallest trust policy, and \
             map it in the cluster afterwards."
        ));
        let Some(names) = names else { return };
        let mut command = vec![
            "iam",
            "create-role",
            "--role-name",
            role.role_name().unwrap_or_default(),
        ];
        if let Some(path) = role.path().filter(|path| *path != "/") {
            command.extend(["--path", path]);
        }
        self.document(
            "trust-policy.json",
            &of(statement(&names)),
            &command,
            "--assume-role-policy-document",
        );
    }

    /// P is not trusted: the statement to add, and what else is needed.
    fn trust_it(&mut self, reason: Reason, names: Option<Arn>) {
        let role = self.question.role_arn;
        let Some(names) = names else {
            self.say(format!(
                "Create the role that is to assume {role} first, and name it in the trust policy: a principal that does not \
                 exist cannot be named."
            ));
            return self.show();
        };
        self.say(match reason {
            Reason::PrincipalDeleted => format!(
                "Write {names} into the trust policy in place of the dead id (to IAM, a principal that is created again under \
                 its old name is another one)."
            ),
            Reason::ServiceOnly | Reason::FederatedOnly => format!(
                "Add a statement that names {names}, and leave the others. Where the role is a service's own (a node role, a \
                 service-linked role), use another role instead."
            ),
            Reason::ConditionNotMet => format!(
                "Meet the condition, or add a statement that names {names} without it. kubectl, the AWS CLI's get-token and \
                 CDK's handler pass no external id and the session name {GET_TOKEN_SESSION}."
            ),
            _ => format!("Add a statement that names {names}."),
        });
        if !self.update(&names) {
            self.say("The trust policy cannot be written back as it is; add the statement by hand.");
            self.show();
        }
        if !self.question.same_account() {
            self.say("It is of another account, so it needs an Allow of its own as well.");
            self.put_policy();
        }
    }

    fn identity_missing(&mut self, names: Option<Arn>) {
        let (who, own) = (words(self.question.requester), own_statement(self.question));
        match names.filter(|_| self.question.same_account()) {
            Some(names) => {
                self.say(format!(
                    "Name {names} in the role's trust policy (then its own policies need not allow it), or give it an Allow of \
                     its own: {own}."
                ));
                self.update(&names);
            }
            None => self.say(format!(
                "Give {who} an Allow of its own: {own}. Across accounts the trust policy alone is never enough."
            )),
        }
        self.put_policy();
    }
}

fn grant_words(unknown: &Unknown, what: &str) -> String {
    match &unknown.grant {
        Some(grant) => format!("To {what}, ask for {}: {}.", grant.action(), grant.statement()),
        None => format!("To {what} was not possible: {unknown}."),
    }
}

/// What to do about the answer. None where nothing is to be done.
pub(crate) fn remedy(question: &Question<'_>, verdict: &TrustVerdict) -> Option<Remedy> {
    const PROOF: &str = "Try it, which is the only proof: --try really assumes the role, and asks the cluster who it is then.";
    let (role, who) = (question.role_arn, words(question.requester));
    let account = question.requester.home().map_or("", |(_, account)| account);
    let names = nameable(question);
    let mut advice = Advice {
        question,
        remedy: Remedy::default(),
        commands: Vec::new(),
        files: Vec::new(),
    };
    match verdict.reason {
        Reason::NamedDirectly | Reason::RoleNamed => return None,
        Reason::AccountTrusted => advice.say(format!(
            "It works. So does every other principal of account {account} whose own policies allow sts:AssumeRole on the \
             role; to close that, name the principal, as in the smallest trust policy."
        )),
        Reason::EverybodyTrusted => advice.say(
            "It works, and it may for anyone: only the statement's conditions, if it has any, keep strangers out. Name the \
             principal instead, as in the smallest trust policy.",
        ),
        Reason::RoleMissing => advice.role_missing(names),
        Reason::PrincipalMissing => advice.say(format!(
            "Check the name and the account of {who}. To IAM, a principal that is created again under its old name is another \
             one: a trust policy that named the old one has to be written again."
        )),
        Reason::PrincipalCannotAssume => advice.say("Use an IAM user, or a role: those can call sts:AssumeRole."),
        Reason::OtherPartition => advice.say(format!(
            "Use a principal and a role of one partition; {role} is in {}.",
            role.partition
        )),
        Reason::DeniedByTrust => {
            let deny = verdict
                .decided_by
                .as_ref()
                .map_or_else(|| "the Deny".to_owned(), |by| format!("statement {}", by.index + 1));
            advice.say(format!(
                "No Allow helps against a Deny: remove {deny} from the trust policy of {role}, or narrow it."
            ));
            if let Some(names) = names {
                advice.say(format!(
                    "To let only {names} through, add \"ArnNotEquals\": {{\"aws:PrincipalArn\": \"{names}\"}} to its Condition."
                ));
            }
            advice.show();
        }
        Reason::NotTrusted
        | Reason::PrincipalDeleted
        | Reason::ServiceOnly
        | Reason::FederatedOnly
        | Reason::ConditionNotMet => advice.trust_it(verdict.reason, names),
        Reason::IdentityMissing => advice.identity_missing(names),
        Reason::IdentityDenied => {
            advice.say(
                "No Allow helps against a Deny: find the statement that denies it, and remove or narrow it. A Deny of an \
                 SCP or a boundary can show here too.",
            );
            advice.simulate();
        }
        Reason::Boundary => {
            let boundary = question.role_boundary().unwrap_or("the permissions boundary");
            advice.say(format!(
                "Let {boundary} allow it: {}. A boundary limits a role also where the trust policy names the role.",
                own_statement(question)
            ));
            advice.simulate();
        }
        Reason::Organization => advice.say(format!(
            "Ask the administrators of the organization to let its service control policies allow sts:AssumeRole on {role} in \
             account {account}."
        )),
        Reason::RoleUnread => {
            if let Observed::Unknown(unknown) = question.role {
                advice.say(grant_words(unknown, &format!("read {role}")));
            }
            advice.try_it();
        }
        Reason::TrustUnreadable => {
            advice.say(if question.target.is_some() {
                "Look at the trust policy as IAM has it."
            } else {
                "IAM would refuse this document."
            });
            advice.show();
        }
        Reason::DenyUnclear | Reason::TrustUnclear | Reason::IdentityUnread => {
            if let Identity::Simulated(Observed::Unknown(unknown)) = question.identity
                && verdict.reason == Reason::IdentityUnread
            {
                advice.say(grant_words(unknown, "ask IAM what the principal's own policies say"));
            }
            advice.say(if question.target.is_some() {
                PROOF
            } else {
                "Ask again once IAM has the role, without -f: then more is known of the principal."
            });
            advice.try_it();
        }
    }
    if question.target.is_some() && !advice.files.is_empty() {
        let one = if advice.files.len() == 1 {
            "document"
        } else {
            "documents"
        };
        advice.say(format!(
            "Save the {one} below as {} first.",
            advice.files.join(" and ")
        ));
    }
    advice.remedy.commands = Command::lines(&advice.commands);
    Some(advice.remedy)
}

/// Whether P is a session of R already.
pub(crate) fn is_itself(requester: &Requester, role_arn: &Arn) -> bool {
    requester.known().is_some_and(|one| {
        let own = one.iam_arn();
        own.account == role_arn.account
            && own.partition == role_arn.partition
            && one.arn.role_name().is_some()
            && one.arn.role_name() == role_arn.role_name()
    })
}

/// What `--try` could show that judging can't; said beside a pass.
pub(crate) fn proof(outcome: Outcome) -> Option<&'static str> {
    (outcome != Outcome::Fail).then_some("The only proof is a real sts:AssumeRole: --try makes one.")
}

impl Question<'_> {
    /// The ARN of P's permissions boundary, where its role was read.
    fn role_boundary(&self) -> Option<&str> {
        self.own_role.and_then(|role: &Role| role.boundary.as_deref())
    }
}
