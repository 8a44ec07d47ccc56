//! The one write: CreateServiceLinkedRole for EC2 Spot, in the account the cluster is in and in no other.
//!
//! Texts and codes as in the IAM API reference and as seen from AWS: "has been taken in this account" comes as
//! `InvalidInput`, which a bad suffix gives too, so the text decides.

use std::fmt;
use std::time::Duration;

use crate::aws::{self, Failure};
use crate::checks::spot_role::defects;
use crate::checks::target::account_mismatch;
use crate::cluster::clues::{host_of, region_of_eks_host};
use crate::cluster::resolve::same_endpoint;
use crate::facts::iam;
use crate::facts::{Facts, Reach, sts};
use crate::model::Calls;
use crate::model::permission;
use crate::model::{DeniedBy, Grant, Observed, Role, SPOT_ROLE, Unknown};

/// The service whose role it is.
pub const SERVICE: &str = "spot.amazonaws.com";

/// How long IAM may take to show a role that it has created.
const PATIENCE: Duration = Duration::from_secs(60);

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

/// Why nothing is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Something that makes the write safe could not be verified, or is wrong.
    Unsafe(String),
    /// IAM denied it.
    Denied {
        /// The caller.
        caller: String,
        /// Who denies.
        by: DeniedBy,
        /// What IAM said.
        message: String,
        /// The policy statement to ask for.
        statement: String,
    },
    /// The call failed.
    Failed(String),
    /// It was created, but IAM does not show it yet.
    NotShown(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsafe(why) => write!(f, "the role is not created: {why}"),
            Self::Denied {
                caller,
                by,
                message,
                statement,
            } => {
                write!(
                    f,
                    "{caller} may not call iam:CreateServiceLinkedRole{}",
                    by.clause()
                )?;
                if !message.is_empty() {
                    write!(f, "\n  IAM says: {message}")?;
                }
                let ask = match by {
                    DeniedBy::ServiceControlPolicy | DeniedBy::ResourceControlPolicy => {
                        "ask those who run the organisation to let this action through; beside that the caller needs this statement"
                    }
                    DeniedBy::PermissionsBoundary => {
                        "the boundary and a policy of the caller both need this statement"
                    }
                    DeniedBy::ExplicitDeny => {
                        "the denying statement must go; beside that the caller needs this one"
                    }
                    _ => "ask for this statement, or ask somebody who has it to run this command",
                };
                write!(
                    f,
                    "\n  fix: {ask}:\n    {statement}\n    (kubectl capt-spot policy create prints the whole policy)"
                )
            }
            Self::Failed(why) => write!(f, "creating the role failed: {why}"),
            Self::NotShown(why) => write!(
                f,
                "the role was created, but IAM does not show it yet: {why}\n  fix: run the command again in a minute"
            ),
        }
    }
}

/// What lifts a denial, as an indented `fix:`; empty where nothing was denied.
fn lift(unknown: &Unknown) -> String {
    let Some(grant) = &unknown.grant else {
        return String::new();
    };
    let commands: String = permission::grant_commands(grant)
        .iter()
        .map(|command| format!("\n    {command}"))
        .collect();
    format!("\n  fix: {}{commands}", permission::grant_remedy(grant))
}

/// Decides from the facts whether the role may be created here. Pure.
///
/// # Errors
/// Anything that makes the write unsafe: an unread cluster, another account, another endpoint, an impostor.
pub fn plan(facts: &Facts, expect_account: Option<&str>) -> Result<Todo, Refusal> {
    let refuse = |why: String| Err(Refusal::Unsafe(why));
    let caller = match &facts.caller.observed {
        Observed::Known(caller) => caller,
        Observed::Absent => return refuse("STS names no caller".to_owned()),
        Observed::Unknown(unknown) => {
            return refuse(format!(
                "who the AWS credentials are could not be read: {unknown}{}",
                lift(unknown)
            ));
        }
    };
    if let Some((credentials, cluster)) = account_mismatch(facts) {
        return refuse(format!(
            "the credentials are of account {credentials}, the cluster {} is in account {cluster}\n  fix: name the profile of account {cluster} with --profile",
            facts.target.cluster
        ));
    }
    let cluster = match &facts.cluster.observed {
        Observed::Known(cluster) => cluster,
        Observed::Absent => {
            return refuse(format!(
                "EKS has no cluster {} in {} of account {}, so this may be the wrong account\n  fix: name the cluster with --context, or --cluster-name and --region",
                facts.target.cluster, facts.target.region, caller.account
            ));
        }
        Observed::Unknown(unknown) => {
            return refuse(format!(
                "the cluster's account could not be verified: {unknown}{}",
                lift(unknown)
            ));
        }
    };
    let Some(account) = cluster.account() else {
        return refuse(format!("the cluster's ARN {} names no account", cluster.arn));
    };
    if account != caller.account {
        return refuse(format!(
            "the credentials are of account {}, the cluster is in account {account}",
            caller.account
        ));
    }
    if let Some(expected) = expect_account
        && expected != account
    {
        return refuse(format!(
            "--expect-account says {expected}, the cluster is in account {account}"
        ));
    }
    let endpoint = cluster.endpoint.as_deref().unwrap_or_default();
    let other_eks = host_of(&facts.target.server)
        .as_deref()
        .is_some_and(|host| region_of_eks_host(host).is_some())
        && !same_endpoint(&facts.target.server, endpoint);
    if other_eks && !endpoint.is_empty() {
        return refuse(format!(
            "the kubeconfig's server {} is not the endpoint of {} ({endpoint}), so this may be the wrong account\n  fix: aws eks update-kubeconfig --name {} --region {}",
            facts.target.server,
            facts.target.cluster,
            crate::text::quote(&facts.target.cluster),
            crate::text::quote(&facts.target.region),
        ));
    }
    match &facts.spot_role.observed {
        Observed::Known(role) => {
            match defects(role, facts.spot_role_policies.known().map(Vec::as_slice)).first() {
                None => Ok(Todo::Nothing(role.clone())),
                Some(defect) => refuse(format!(
                    "{} exists and {} the service-linked role: {defect}\n  fix: see kubectl capt-spot explain spot-role-intact",
                    role.arn,
                    defect.verb()
                )),
            }
        }
        Observed::Unknown(unknown) => refuse(format!(
            "whether the role exists could not be read: {unknown}{}",
            lift(unknown)
        )),
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
    /// Somebody else created it in the meantime.
    pub by_somebody_else: bool,
}

/// Verifies the account once more, creates the role, and waits until IAM shows it.
///
/// # Errors
/// See [`Refusal`].
pub async fn create(
    plan: &Plan,
    reach: &Reach,
    timeout: Duration,
    calls: &Calls,
) -> Result<Created, Refusal> {
    let sts = aws_sdk_sts::Client::new(&reach.session.config);
    let caller = sts::caller(&sts, timeout, calls).await;
    match caller.observed {
        Observed::Known(now) if now.account == plan.account => {}
        Observed::Known(now) => {
            return Err(Refusal::Unsafe(format!(
                "the credentials were of account {} and are now of account {}",
                plan.account, now.account
            )));
        }
        Observed::Absent => return Err(Refusal::Unsafe("STS names no caller".to_owned())),
        Observed::Unknown(unknown) => {
            return Err(Refusal::Unsafe(format!(
                "the account could not be verified right before the call: {unknown}"
            )));
        }
    }
    let client = aws_sdk_iam::Client::new(&reach.session.config);
    const CALL: &str = "iam:CreateServiceLinkedRole spot.amazonaws.com";
    // No description: another one than AWS's own breaks CloudFormation's adoption of the role.
    let answer = client
        .create_service_linked_role()
        .aws_service_name(SERVICE)
        .send()
        .await;
    let by_somebody_else = match answer {
        Ok(_) => {
            calls.record(CALL, "created");
            false
        }
        Err(error) => {
            let grant = Grant::Iam {
                action: "iam:CreateServiceLinkedRole".to_owned(),
                resource: "*".to_owned(),
            };
            let failure = aws::failure(&error, grant, timeout);
            calls.record(CALL, failure.unknown.to_string());
            match meaning(&failure) {
                Meaning::Taken => true,
                Meaning::Denied(by) => {
                    return Err(Refusal::Denied {
                        caller: plan.caller.clone(),
                        by,
                        message: failure.message,
                        statement: permission::create_statement(&plan.partition).to_string(),
                    });
                }
                Meaning::Other => return Err(Refusal::Failed(failure.unknown.to_string())),
            }
        }
    };
    let role = shown(&client, plan, timeout, calls).await?;
    Ok(Created {
        role,
        by_somebody_else,
    })
}

/// Reads until IAM shows the role: IAM is eventually consistent.
async fn shown(
    client: &aws_sdk_iam::Client,
    plan: &Plan,
    timeout: Duration,
    calls: &Calls,
) -> Result<Role, Refusal> {
    let started = tokio::time::Instant::now();
    let mut pause = Duration::from_millis(200);
    loop {
        let fact = iam::get_role(client, &plan.partition, SPOT_ROLE, timeout, calls).await;
        let last: Option<Unknown> = match fact.observed {
            Observed::Known(role) => {
                return match defects(&role, None).first() {
                    None => Ok(role),
                    Some(defect) => Err(Refusal::Failed(format!(
                        "{} exists and {} the service-linked role: {defect}\n  fix: see kubectl capt-spot explain spot-role-intact",
                        role.arn,
                        defect.verb()
                    ))),
                };
            }
            Observed::Absent => None,
            Observed::Unknown(unknown) => Some(unknown),
        };
        if started.elapsed() + pause > PATIENCE {
            return Err(Refusal::NotShown(match last {
                Some(unknown) => unknown.to_string(),
                None => format!("iam:GetRole says NoSuchEntity after {} s", PATIENCE.as_secs()),
            }));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

enum Meaning {
    /// The role exists already.
    Taken,
    Denied(DeniedBy),
    Other,
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
        _ => Meaning::Other,
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
                "account could not be verified",
            ),
            (
                |f| f.cluster = unreachable("eks:DescribeCluster"),
                "account could not be verified",
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
                "is not the endpoint",
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
                Err(Refusal::Unsafe(why)) => assert!(why.contains(says), "{why}"),
                other => panic!("{says}: {other:?}"),
            }
        }
        let mut facts = healthy();
        missing(&mut facts);
        assert!(matches!(
            plan(&facts, Some("444455556666")),
            Err(Refusal::Unsafe(_))
        ));
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
            Meaning::Other
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
