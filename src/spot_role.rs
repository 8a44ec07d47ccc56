//! The one write: CreateServiceLinkedRole for EC2 Spot, in the account the cluster is in and in no other.
//!
//! Texts and codes as in the IAM API reference and as seen from AWS: "has been taken in this account" comes as
//! `InvalidInput`, which a bad suffix gives too, so the text decides.

use std::time::Duration;

use crate::aws::{self, Failure, Session, eks, iam, sts};
use crate::checks::spot_role::{Defect, defects};
use crate::checks::{self, Judgement, Status};
use crate::facts::Facts;
use crate::model::Calls;
use crate::model::permission;
use crate::model::{Command, DeniedBy, Grant, Language, Observed, Role, SPOT_ROLE, Unknown, Why};

/// The service whose role it is.
pub const SERVICE: &str = "spot.amazonaws.com";

/// How long IAM may take to show a role that it has created, counted in answers that may take `--request-timeout` each.
const PATIENCE: u32 = 6;
/// And at most this long.
const MOST_PATIENCE: Duration = Duration::from_secs(60);

/// Where a role would be created, verified: the only way to get one is [`plan`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The cluster's account, which is the credentials' account.
    pub account: String,
    /// The cluster.
    pub cluster: String,
    /// Its region.
    pub region: String,
    /// The caller's ARN.
    pub caller: String,
    /// The profile, for commands.
    pub profile: Option<String>,
    partition: String,
}

/// What there is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Todo {
    /// The role is there and intact.
    Nothing(Role),
    /// It is missing and may be created here.
    Create(Plan),
}

/// Why the role is not there: nothing was written, or it is not known what was.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// Nothing was asked of IAM, or IAM denied it; else the call failed.
    pub refused: bool,
    /// What is wrong, and what to do.
    pub judgement: Box<Judgement>,
}

impl Refusal {
    /// Something that makes the write safe could not be verified, or is wrong.
    fn unsafe_because(judgement: Judgement) -> Self {
        let message = format!("the role is not created: {}", judgement.message);
        let headline = judgement
            .headline
            .clone()
            .unwrap_or_else(|| UNVERIFIED.to_owned());
        Self {
            refused: true,
            judgement: Box::new(
                Judgement {
                    status: Status::Fail,
                    message,
                    ..judgement
                }
                .headline(headline),
            ),
        }
    }

    fn failed(headline: &str, message: String, fix: &str) -> Self {
        let judgement = Judgement::fail(message).headline(headline);
        let judgement = match fix {
            "" => judgement,
            fix => judgement.fix(fix, []),
        };
        Self {
            refused: false,
            judgement: Box::new(judgement),
        }
    }

    /// IAM denied it.
    fn denied(plan: &Plan, by: DeniedBy, message: &str) -> Self {
        let ask = match by {
            DeniedBy::ServiceControlPolicy | DeniedBy::ResourceControlPolicy => {
                "Ask the organization's administrators to allow this action; the caller also needs this statement"
            }
            DeniedBy::PermissionsBoundary => {
                "The boundary and a policy of the caller both need this statement"
            }
            DeniedBy::ExplicitDeny => "The denying statement must be removed, and the caller needs this one",
            _ => "Ask for this statement, or ask somebody who has it to run this command",
        };
        let said = match message {
            "" => String::new(),
            message => format!(". IAM says: {message}"),
        };
        let message = format!(
            "{} may not call iam:CreateServiceLinkedRole{}{said}",
            plan.caller,
            by.clause()
        );
        let statement = permission::create_statement(&plan.partition);
        let statement = serde_json::to_string_pretty(&statement).unwrap_or_default();
        Self {
            refused: true,
            judgement: Box::new(
                Judgement::fail(message)
                    .headline("IAM does not let the caller create the role")
                    .fix(
                        format!("{ask} (`kubectl capt-spot policy create` prints the whole policy)."),
                        [],
                    )
                    .snippet(Language::Json, statement),
            ),
        }
    }

    fn right_before_the_call(mut self) -> Self {
        if self.refused {
            self.judgement.message = format!("right before the call, {}", self.judgement.message);
        }
        self
    }
}

/// What is said where nothing better is.
const UNVERIFIED: &str = "What makes it safe to create the role could not be verified";

/// Decides from the facts whether the role may be created here. Pure.
///
/// # Errors
/// Anything that makes the write unsafe: an unread cluster, another account, another endpoint, an impostor.
pub fn plan(facts: &Facts, expect_account: Option<&str>) -> Result<Todo, Refusal> {
    let refuse = |judgement| Err(Refusal::unsafe_because(judgement));
    let caller = match &facts.caller.observed {
        Observed::Known(caller) => caller,
        Observed::Absent => return refuse(Judgement::fail("STS names no caller")),
        Observed::Unknown(unknown) => {
            let judgement = Judgement::unknown("who the AWS credentials are", unknown);
            return refuse(match &unknown.credentials {
                None => judgement,
                Some(source) => Judgement {
                    remedy: Some(source.remedy(&facts.target)),
                    ..judgement.headline("No valid AWS credentials")
                },
            });
        }
    };
    for check in ["same-account", "endpoint-matches"] {
        let judgement = checks::find(check).map(|check| (check.judge)(facts));
        if let Some(judgement) = judgement.filter(|judgement| judgement.status == Status::Fail) {
            return refuse(judgement);
        }
    }
    let cluster = match &facts.cluster.observed {
        Observed::Known(cluster) => cluster,
        Observed::Absent => {
            let message = format!(
                "EKS has no cluster {} in {} of account {}, so this may be the wrong account",
                facts.target.cluster, facts.target.region, caller.account
            );
            return refuse(
                Judgement::fail(message)
                    .headline("EKS does not have this cluster")
                    .fix(
                        "Name the cluster with --context, or --cluster-name and --region.",
                        [],
                    ),
            );
        }
        Observed::Unknown(unknown) => return refuse(Judgement::unknown("the cluster's account", unknown)),
    };
    let Some(account) = cluster.account() else {
        let message = format!("the cluster's ARN {} names no account", cluster.arn);
        return refuse(Judgement::fail(message));
    };
    if account != caller.account {
        let message = format!(
            "the credentials are of account {}, the cluster is in account {account}",
            caller.account
        );
        return refuse(Judgement::fail(message).headline("The credentials are of another account"));
    }
    if let Some(expected) = expect_account
        && expected != account
    {
        let message = format!("--expect-account says {expected}, the cluster is in account {account}");
        return refuse(Judgement::fail(message).headline("The cluster is in another account than expected"));
    }
    match &facts.spot_role.observed {
        Observed::Known(role) => {
            match defects(role, facts.spot_role_policies.known().map(Vec::as_slice)).first() {
                None => Ok(Todo::Nothing(role.clone())),
                Some(defect) => Err(impostor(role, defect)),
            }
        }
        Observed::Unknown(unknown) => refuse(Judgement::unknown("whether the role exists", unknown)),
        Observed::Absent => Ok(Todo::Create(Plan {
            account: account.to_owned(),
            cluster: facts.target.cluster.clone(),
            region: facts.target.region.clone(),
            caller: caller.arn.clone(),
            profile: facts.target.profile.clone(),
            partition: facts.target.partition.clone(),
        })),
    }
}

/// What creating led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// The role as IAM shows it.
    pub role: Role,
    /// How it came about.
    pub how: How,
}

/// How the role came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// By this program.
    Created,
    /// By somebody else, or by a request of this program whose answer was lost, before the one that was answered.
    Meanwhile,
    /// The answer was lost; the role is there.
    AnswerLost,
}

/// Verifies caller and cluster once more, creates the role, and waits until IAM shows it.
///
/// # Errors
/// See [`Refusal`].
pub async fn create(
    plan: &Plan,
    facts: &Facts,
    session: &Session,
    calls: &Calls,
) -> Result<Created, Refusal> {
    let timeout = session.limits.request;
    verify(plan, facts, session).await?;
    let outstanding = Outstanding {
        account: &plan.account,
    };
    let answer = request(session, plan, timeout, calls).await;
    let shown = match &answer {
        Err(refusal) => Err(refusal.clone()),
        Ok(_) => shown(session, timeout).await,
    };
    std::mem::forget(outstanding);
    match (answer?, shown?) {
        (answer, Ok(role)) => Ok(Created {
            role,
            how: match answer {
                Answer::Created => How::Created,
                Answer::Taken => How::Meanwhile,
                Answer::Lost(_) => How::AnswerLost,
            },
        }),
        (Answer::Created, Err(why)) => Err(Refusal::failed(
            "IAM does not show the role yet",
            format!("the role was created, but IAM does not show it yet: {why}"),
            "Run the command again in a minute.",
        )),
        (Answer::Taken, Err(why)) => Err(Refusal::failed(
            "IAM does not show the role that it says is there",
            format!(
                "nothing was created: IAM says that the role's name has been taken in this account, and does not show the role: {why}"
            ),
            "Run the command again in a minute; if it stays so, look for the role in the IAM console.",
        )),
        (Answer::Lost(lost), Err(why)) => Err(Refusal::failed(
            "IAM's answer was lost",
            format!(
                "the role may have been created: the answer to the request was lost ({lost}), and the role is not seen: {why}"
            ),
            "Run the command again in a minute; it does nothing if the role is there by then.",
        )),
    }
}

/// Dropped before IAM's answer was understood, because a signal ended the program: says what may have happened.
struct Outstanding<'a> {
    account: &'a str,
}

impl Drop for Outstanding<'_> {
    fn drop(&mut self) {
        crate::terminal::err(&format!(
            "interrupted after the request was sent: the role may have been created in account {}\n  fix: see whether it is there: kubectl capt-spot create-role --dry-run",
            self.account
        ));
    }
}

/// Reads caller and cluster again, and plans again: what was planned must still be what is to be done.
async fn verify(plan: &Plan, facts: &Facts, session: &Session) -> Result<(), Refusal> {
    let (caller, cluster) = tokio::join!(
        sts::caller(session),
        eks::describe_cluster(session, &plan.cluster),
    );
    let now = Facts {
        caller,
        cluster,
        ..facts.clone()
    };
    match self::plan(&now, Some(&plan.account)) {
        Ok(_) => Ok(()),
        Err(refusal) => Err(refusal.right_before_the_call()),
    }
}

/// What IAM said to the request.
enum Answer {
    Created,
    /// The role exists already.
    Taken,
    /// Nothing that can be understood: the role may be there.
    Lost(String),
}

async fn request(
    session: &Session,
    plan: &Plan,
    timeout: Duration,
    calls: &Calls,
) -> Result<Answer, Refusal> {
    const CALL: &str = "iam:CreateServiceLinkedRole spot.amazonaws.com";
    // No description: another one than AWS's own breaks CloudFormation's adoption of the role.
    let answer = session
        .iam()
        .create_service_linked_role()
        .aws_service_name(SERVICE)
        .send()
        .await;
    let failure = match answer {
        Ok(answer) if answer.role().is_some() => {
            calls.record(CALL, "created");
            return Ok(Answer::Created);
        }
        Ok(_) => {
            calls.record(CALL, "an answer without a role");
            return Ok(Answer::Lost("it holds no role".to_owned()));
        }
        Err(error) => {
            let grant = Grant::Iam {
                action: "iam:CreateServiceLinkedRole".to_owned(),
                resource: "*".to_owned(),
            };
            aws::failure(&error, grant, timeout)
        }
    };
    calls.record(CALL, failure.unknown.to_string());
    match meaning(&failure) {
        Meaning::Taken => Ok(Answer::Taken),
        Meaning::Lost => Ok(Answer::Lost(failure.unknown.to_string())),
        Meaning::Denied(by) => Err(Refusal::denied(plan, by, &failure.message)),
        Meaning::Refused => Err(Refusal::failed(
            "Creating the role failed",
            format!("creating the role failed: {}", failure.unknown),
            "",
        )),
    }
}

/// Reads until IAM shows the role, which is eventually consistent; the inner error says why it is not seen.
async fn shown(session: &Session, timeout: Duration) -> Result<Result<Role, String>, Refusal> {
    let patience = (timeout * PATIENCE).min(MOST_PATIENCE);
    let started = tokio::time::Instant::now();
    let mut pause = Duration::from_millis(200);
    loop {
        let fact = iam::get_role(session, SPOT_ROLE).await;
        let last: Option<Unknown> = match fact.observed {
            Observed::Known(role) => {
                return match defects(&role, None).first() {
                    None => Ok(Ok(role)),
                    Some(defect) => Err(impostor(&role, defect)),
                };
            }
            Observed::Absent => None,
            Observed::Unknown(unknown) => Some(unknown),
        };
        if started.elapsed() + pause > patience {
            return Ok(Err(match last {
                Some(unknown) => unknown.to_string(),
                None => format!("iam:GetRole says NoSuchEntity after {} s", patience.as_secs()),
            }));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

fn impostor(role: &Role, defect: &Defect) -> Refusal {
    let explain = Command::local(&["kubectl", "capt-spot", "explain", "spot-role-intact"]);
    let message = format!(
        "{} exists and {} the service-linked role: {defect}",
        role.arn,
        defect.verb()
    );
    Refusal::unsafe_because(
        Judgement::fail(message)
            .headline("A role with the Spot role's name is not the service-linked role")
            .fix("See what is wrong with it.", [explain]),
    )
}

enum Meaning {
    /// The role exists already.
    Taken,
    Denied(DeniedBy),
    /// IAM says no, in its own words.
    Refused,
    /// No answer in IAM's own words, or one that says that IAM failed on the way.
    Lost,
}

fn meaning(failure: &Failure) -> Meaning {
    match failure.code.as_deref() {
        Some("EntityAlreadyExists" | "EntityAlreadyExistsException") => Meaning::Taken,
        // InvalidInput is also what a bad suffix gives: the text decides.
        Some("InvalidInput" | "InvalidInputException")
            if failure.message.contains("has been taken in this account") =>
        {
            Meaning::Taken
        }
        Some("AccessDenied" | "AccessDeniedException") => {
            Meaning::Denied(DeniedBy::from_aws_message(&failure.message))
        }
        // Without credentials nothing was sent.
        None if failure.unknown.why == Why::Unauthenticated => Meaning::Refused,
        None => Meaning::Lost,
        Some(_) if failure.status.is_some_and(|status| status >= 500) => Meaning::Lost,
        Some(_) => Meaning::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fixture::{ACCOUNT, absent, denied, healthy, known, role, unreachable};

    type Damage = fn(&mut Facts);

    #[test]
    fn nothing_is_planned_unless_everything_that_makes_it_safe_was_verified() {
        let missing = |facts: &mut Facts| facts.spot_role = absent("iam:GetRole");
        let mut facts = healthy();
        assert!(matches!(plan(&facts, None), Ok(Todo::Nothing(_))));
        missing(&mut facts);
        match plan(&facts, Some(ACCOUNT)) {
            Ok(Todo::Create(plan)) => assert_eq!(plan.account, ACCOUNT),
            other => panic!("{other:?}"),
        }
        let rows: &[(Damage, &str)] = &[
            (
                |f| f.caller = denied("sts:GetCallerIdentity"),
                "who the AWS credentials are",
            ),
            (
                |f| f.cluster = denied("eks:DescribeCluster"),
                "the cluster's account could not be read",
            ),
            (
                |f| f.cluster = unreachable("eks:DescribeCluster"),
                "the cluster's account could not be read",
            ),
            (
                |f| f.cluster = absent("eks:DescribeCluster"),
                "may be the wrong account",
            ),
            (
                |f| f.target.account = Some("444455556666".into()),
                "is in account 444455556666",
            ),
            (
                |f| f.target.server = "https://OLD.gr7.eu-west-1.eks.amazonaws.com".into(),
                "is another EKS endpoint",
            ),
            (|f| f.spot_role = denied("iam:GetRole"), "whether the role exists"),
            (|f| f.spot_role = denied("iam:GetRole"), "\n  fix: "),
            (
                |f| f.spot_role = denied("iam:GetRole"),
                "kubectl capt-spot policy read",
            ),
            (
                |f| f.spot_role = known("iam:GetRole", role(SPOT_ROLE)),
                "is not the service-linked role",
            ),
        ];
        for (damage, says) in rows {
            let mut facts = healthy();
            missing(&mut facts);
            damage(&mut facts);
            match plan(&facts, None) {
                Err(why) if why.refused => assert!(why.judgement.to_string().contains(says), "{why:?}"),
                other => panic!("{says}: {other:?}"),
            }
        }
        let mut facts = healthy();
        missing(&mut facts);
        assert!(plan(&facts, Some("444455556666")).is_err_and(|why| why.refused));
    }

    #[test]
    fn what_iam_answers_to_the_write() {
        let failure = |code: &str, message: &str| Failure {
            code: Some(code.to_owned()),
            message: message.to_owned(),
            status: Some(400),
            unknown: Unknown::not_asked("x"),
        };
        let taken = "Service role name AWSServiceRoleForEC2Spot has been taken in this account, please try a different suffix.";
        assert!(matches!(meaning(&failure("InvalidInput", taken)), Meaning::Taken));
        assert!(matches!(
            meaning(&failure("EntityAlreadyExists", "")),
            Meaning::Taken
        ));
        assert!(matches!(
            meaning(&failure("InvalidInput", "The specified suffix is invalid.")),
            Meaning::Refused
        ));
        assert!(matches!(
            meaning(&failure(
                "AccessDenied",
                "x with an explicit deny in a service control policy"
            )),
            Meaning::Denied(DeniedBy::ServiceControlPolicy)
        ));
    }
}
