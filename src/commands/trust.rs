//! `trust ROLE`: may a principal assume a role; with `--cdk`, can CDK's kubectlRoleArn be that role; with `-f`, before IAM
//! has it.

use crate::aws::sts::{self, AssumeRole};
use crate::aws::{self, eks, iam};
use crate::checks::node_mapping::mappings_of;
use crate::checks::node_verdict::existence;
use crate::cli::Global;
use crate::cli::trust::Trust;
use crate::cluster::{self, resolve::Resolved};
use crate::commands::{self, CliError};
use crate::facts::assume::{self, About, Assume, Who};
use crate::facts::cluster_admins::identity_of;
use crate::facts::{self, Options, access};
use crate::model::Calls;
use crate::model::Exit;
use crate::model::{Observed, Unknown, Why};
use crate::terminal::{self, Ui};
use crate::text::read_bounded;
use crate::trust::cdk::{self, CdkQuestion, Mapping};
use crate::trust::report::{Tried, TrustReport};
use crate::trust::{self, Identity, Outcome, Question, mapping};
use iam_policy::arn::{Arn, PrincipalArn, RoleName};
use iam_policy::evaluate::ASSUME_ROLE;
use iam_policy::principal::{self, Requester};

/// Runs it.
///
/// # Errors
/// The role's name is none, the target could not be told, the output could not be written.
pub async fn run(args: &Trust, global: &Global) -> Result<Exit, CliError> {
    let ui = Ui::new(global.color, global.verbose, true);
    if let Some(file) = &args.filename {
        return print(&of_file(args, file)?, args, global, &ui);
    }
    // Wrong usage is said before anything is read.
    let role = args.role.as_deref().unwrap_or_default();
    let name = RoleName::from_given(role).map_err(|error| CliError::usage(error.to_string()))?;
    let given = given(role)?;
    let http = aws::http_client().map_err(CliError::failed)?;
    let calls = Calls::default();
    let request = commands::request(global);
    let options = commands::options(global);
    let resolved = cluster::resolve(&request, &http, options.limits, &calls).await?;
    let about = About {
        role: name.as_str(),
        account: given.as_ref().map(|arn| arn.account.as_str()),
        who: match (&args.principal, args.cdk) {
            (Some(who), _) => Who::Named(who),
            (None, true) => Who::Nobody,
            (None, false) => Who::Caller,
        },
        mappings: args.cdk,
    };
    let facts = ui
        .progress(
            if args.cdk {
                "reading AWS and the cluster"
            } else {
                "reading AWS"
            },
            assume::gather(&resolved, &about, &http, &options, &calls),
        )
        .await;
    let side = Side {
        facts: &facts,
        options: &options,
        calls: &calls,
    };
    let report = side.answer(args, &name, given, &resolved).await?;
    if global.verbose > 0 {
        for call in calls.sorted() {
            terminal::err(&format!("  {} -> {}", call.call, call.answer));
        }
    }
    print(&report, args, global, &ui)
}

fn print(report: &TrustReport, args: &Trust, global: &Global, ui: &Ui) -> Result<Exit, CliError> {
    commands::answer(&[report.page()], report, &args.reporting, global, ui)?;
    Ok(match report.outcome() {
        Outcome::Pass => Exit::Done,
        Outcome::Fail => Exit::Failed,
        Outcome::Unknown => Exit::Undecided,
    })
}

/// A trust policy before IAM has it: judged alone, without a network.
fn of_file(args: &Trust, file: &std::path::Path) -> Result<TrustReport, CliError> {
    let Some(principal) = &args.principal else {
        return Err(CliError::usage(
            "-f needs --principal: who is to assume the role?",
        ));
    };
    let home = principal.arn();
    let role_arn = match &args.role {
        Some(role) => given(role)?
            .filter(|arn| arn.role_name().is_some())
            .ok_or_else(|| CliError::usage("with -f, ROLE is the role's ARN, or is left out"))?,
        // The role that the file is for has no name yet; as long as nothing names it, it is the principal's neighbour.
        None => Arn {
            service: "iam".to_owned(),
            resource: "role/ROLE".to_owned(),
            ..home.clone()
        },
    };
    let trust = read_policy(file)?;
    let role = crate::model::Role {
        name: role_arn.role_name().unwrap_or_default().to_owned(),
        path: role_arn.path().unwrap_or("/").to_owned(),
        arn: role_arn.to_string(),
        id: String::new(),
        created: None,
        trust,
        boundary: None,
    };
    let requester = Requester::from(principal.clone());
    let question = Question {
        requester: &requester,
        own_role: None,
        requester_gone: false,
        role_arn: &role_arn,
        role: &Observed::Known(role),
        identity: &Identity::LeftOut,
        session_name: &args.session_name,
        external_id: args.external_id.as_deref(),
        now: jiff::Timestamp::now(),
        target: None,
    };
    Ok(TrustReport::new(&question, trust::judge(&question)))
}

/// The text of a policy document; longer than any document is refused.
fn read_policy(file: &std::path::Path) -> Result<String, CliError> {
    read_bounded(file, iam_policy::document::LONGEST_DOCUMENT).map_err(|error| {
        CliError::failed(format!(
            "{} could not be read: {error}\n  fix: give the JSON of a trust policy",
            file.display()
        ))
    })
}

/// The role's ARN, where one was given.
fn given(role: &str) -> Result<Option<Arn>, CliError> {
    if !role.starts_with("arn:") {
        return Ok(None);
    }
    role.parse()
        .map(Some)
        .map_err(|error: iam_policy::arn::ArnError| CliError::usage(error.to_string()))
}

/// What was read, and what it takes to ask more.
struct Side<'a> {
    facts: &'a Assume,
    options: &'a Options,
    calls: &'a Calls,
}

impl Side<'_> {
    async fn answer(
        &self,
        args: &Trust,
        name: &RoleName,
        given: Option<Arn>,
        resolved: &Resolved,
    ) -> Result<TrustReport, CliError> {
        let facts = self.facts;
        let cluster_account = facts
            .cluster
            .known()
            .and_then(|cluster| cluster.account())
            .or(facts.target.account.as_deref())
            .and_then(|account| account.parse().ok());
        let own_account = facts.caller.known().map(|caller| caller.account.clone());
        // The role's account: its ARN's, else the credentials', where a name is looked up.
        let account = given
            .as_ref()
            .map(|arn| arn.account.clone())
            .or_else(|| own_account.clone())
            .or_else(|| cluster_account.as_ref().map(ToString::to_string))
            .ok_or_else(|| {
                let why = facts.caller.observed.unknown();
                let how = why
                    .and_then(|why| why.how_to_log_in(&facts.target))
                    .unwrap_or_else(|| "\n  fix: give its ARN, or credentials with --profile".to_owned());
                let why = why.map(ToString::to_string).unwrap_or_default();
                CliError::failed(format!(
                    "the account of the role {name} is not known ({why}){how}"
                ))
            })?;
        let role = facts.role.clone();
        let asked = given.clone().map_or_else(
            || format!("arn:{}:iam::{account}:role/{name}", facts.target.partition),
            |arn| iam_policy::arn::canonical(&arn).unwrap_or(arn).to_string(),
        );
        // The ARN as IAM has it: a path that was left out or mistaken is put right, and said.
        let role_arn: Arn = role
            .known()
            .map_or(asked.as_str(), |role| role.arn.as_str())
            .parse()
            .map_err(|error: iam_policy::arn::ArnError| CliError::failed(error.to_string()))?;
        let mut hints = Vec::new();
        if given.is_some() && role_arn.to_string() != asked {
            hints.push(format!(
                "the role's ARN in IAM is {role_arn}, not {asked}: sts:AssumeRole and CDK take that one only"
            ));
        }
        let requester = self.requester(args, &cluster_account, &account, &mut hints)?;
        let identity = if matches!(requester, Requester::SomeRole { .. }) {
            Identity::Promised("the statement that CDK gives its handler's role".to_owned())
        } else {
            Identity::Simulated(self.identity(&requester, &role_arn, &args.session_name).await)
        };
        let is_role = !matches!(requester.known().map(|one| &one.arn), Some(PrincipalArn::User(_)));
        let question = Question {
            requester: &requester,
            own_role: facts.own_role.known().filter(|_| is_role),
            requester_gone: is_role && facts.own_role.is_absent(),
            role_arn: &role_arn,
            role: &role,
            identity: &identity,
            session_name: &args.session_name,
            external_id: args.external_id.as_deref(),
            now: jiff::Timestamp::now(),
            target: Some(&facts.target),
        };
        let mut report = TrustReport::new(&question, trust::judge(&question));
        if trust::advice::is_itself(&requester, &role_arn) {
            hints.push("the principal is a session of this role already: it need not assume it".to_owned());
        }
        report.verdict.hints.splice(0..0, hints);
        if args.cdk {
            report.cdk = Some(cdk::judge(&CdkQuestion {
                role_arn: &role_arn,
                cluster: &facts.target.cluster,
                cluster_account: cluster_account.as_ref(),
                mapping: &self.mapping(&role_arn, &role),
                handler: &requester,
                trust: &report.verdict,
            }));
        }
        if args.try_it {
            report.tried = Some(self.try_it(args, &role_arn, resolved).await);
        }
        Ok(report)
    }

    fn requester(
        &self,
        args: &Trust,
        cluster_account: &Option<iam_policy::arn::AccountId>,
        role_account: &str,
        hints: &mut Vec<String>,
    ) -> Result<Requester, CliError> {
        let facts = self.facts;
        let who = match (&args.principal, args.cdk) {
            (Some(who), _) => who.clone(),
            (None, true) => {
                let account = match cluster_account {
                    Some(account) => account.clone(),
                    None => role_account
                        .parse()
                        .map_err(|error: iam_policy::arn::ArnError| CliError::failed(error.to_string()))?,
                };
                return Ok(Requester::SomeRole {
                    partition: iam_policy::arn::Partition::of_region(&facts.target.region),
                    account,
                });
            }
            (None, false) => match &facts.caller.observed {
                Observed::Known(caller) => caller
                    .arn
                    .parse()
                    .map_err(|error: iam_policy::arn::ArnError| CliError::failed(error.to_string()))?,
                Observed::Unknown(unknown) => {
                    let how = unknown.how_to_log_in(&facts.target).unwrap_or_else(|| {
                        "\n  fix: name the principal with --principal, or give credentials with --profile"
                            .to_owned()
                    });
                    return Err(CliError::failed(format!(
                        "who the caller is could not be read: {unknown}{how}"
                    )));
                }
                Observed::Absent => return Err(CliError::failed("STS names no caller")),
            },
        };
        let caller = facts
            .caller
            .known()
            .filter(|caller| caller.arn == who.arn().to_string());
        if let Some(identity) = caller.and_then(|caller| identity_of(caller, &facts.own_role)) {
            return Ok(Requester::from(identity));
        }
        let role = facts.own_role.known().filter(|_| who.role_name().is_some());
        let role_arn: Option<Arn> = role.and_then(|role| role.arn.parse().ok());
        let arn = match (who, &role_arn) {
            (PrincipalArn::Role(given), Some(real)) if given != *real => {
                hints.push(format!("the principal's ARN in IAM is {real}, not {given}"));
                PrincipalArn::Role(real.clone())
            }
            (who, _) => who,
        };
        Ok(Requester::from(principal::Identity {
            arn,
            role_arn,
            id: role.map(|role| role.id.clone()),
            has_boundary: role.is_some_and(|role| role.boundary.is_some()),
        }))
    }

    /// What the principal's own policies say.
    async fn identity(
        &self,
        requester: &Requester,
        role: &Arn,
        session_name: &str,
    ) -> Observed<crate::model::Simulation> {
        let facts = self.facts;
        let account = requester.home().map(|(_, account)| account);
        if let Some(unknown) = assume::cannot_ask(&facts.session, &facts.caller, account) {
            return Observed::Unknown(unknown);
        }
        let source = match trust::simulated_as(requester, &facts.own_role) {
            Ok(source) => source,
            Err(observed) => return observed,
        };
        iam::simulate(
            &facts.session,
            &source,
            ASSUME_ROLE,
            &role.to_string(),
            &[("sts:RoleSessionName", session_name)],
        )
        .await
        .observed
    }

    fn mapping(&self, role_arn: &Arn, role: &Observed<crate::model::Role>) -> Mapping {
        let facts = self.facts;
        match mappings_of(&facts.cluster, &facts.aws_auth, &facts.access_entries) {
            Some(found) => mapping::of_role(
                &found.cluster(),
                role_arn,
                existence(role),
                found.unread.map(ToString::to_string),
            ),
            None => Mapping::Unread {
                why: self.facts.cluster.observed.unknown().map_or_else(
                    || "the cluster was not found".to_owned(),
                    |unknown| format!("the cluster's authentication mode: {unknown}"),
                ),
            },
        }
    }

    /// The one proof: sts:AssumeRole as the caller, a token made of what it gives, and a SelfSubjectReview with that.
    async fn try_it(&self, args: &Trust, role: &Arn, resolved: &Resolved) -> Tried {
        let mut tried = Tried {
            assumed: Outcome::Unknown,
            error: None,
            session_arn: None,
            username: None,
            groups: Vec::new(),
            cluster_error: None,
        };
        let role = role.to_string();
        let answer = sts::assume_role(
            &self.facts.session,
            AssumeRole {
                role: &role,
                session_name: &args.session_name,
                external_id: args.external_id.as_deref(),
                // The shortest that STS gives.
                seconds: Some(900),
                tags: None,
            },
        )
        .await;
        let session = match answer.observed {
            Observed::Known(session) => session,
            Observed::Absent => {
                tried.error = Some(format!("{} found no such role", answer.call));
                return tried;
            }
            Observed::Unknown(unknown) => {
                // A denial is an answer; an endpoint that cannot be reached is none.
                if matches!(unknown.why, Why::Denied { .. }) {
                    tried.assumed = Outcome::Fail;
                }
                tried.error = Some(unknown.to_string());
                return tried;
            }
        };
        tried.assumed = Outcome::Pass;
        tried.session_arn = session.arn;
        match self.whoami(&session.credentials, resolved).await {
            Ok(user) => {
                tried.username = Some(user.username);
                tried.groups = user.groups;
            }
            Err(why) => tried.cluster_error = Some(why.to_string()),
        }
        tried
    }

    async fn whoami(
        &self,
        credentials: &aws_credential_types::Credentials,
        resolved: &Resolved,
    ) -> Result<access::KubernetesUser, Unknown> {
        let described = match self.facts.cluster.observed {
            Observed::Known(_) => self.facts.cluster.clone(),
            _ => eks::describe_cluster(&self.facts.session, &resolved.target.cluster).await,
        };
        let api = facts::connect_as(credentials, resolved, &described, self.options, self.calls)?;
        match access::whoami(&api).await.observed {
            Observed::Known(user) => Ok(user),
            Observed::Absent => Err(Unknown::not_asked("the cluster names no user")),
            Observed::Unknown(unknown) => Err(unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        trust: Trust,
    }

    #[test]
    fn the_command_line() {
        let parse = |args: &[&str]| Line::try_parse_from([&["trust"], args].concat()).map(|line| line.trust);
        let plain = parse(&["kubectl"]).unwrap();
        assert_eq!(plain.session_name, "EKSGetTokenAuth");
        assert!(!plain.cdk && !plain.try_it && plain.principal.is_none());
        let who = parse(&[
            "kubectl",
            "--principal",
            "arn:aws:iam::111122223333:role/a",
            "--cdk",
        ])
        .unwrap();
        assert_eq!(who.principal.unwrap().kind(), "role");
        for (args, part) in [
            (&[][..], "<ROLE|--filename <FILE>>"),
            (&["a", "--principal", "111122223333"], "is not an ARN"),
            (
                &["a", "--principal", "arn:aws:iam::111122223333:group/a"],
                "a group only carries policies",
            ),
            (&["a", "--try", "--cdk"], "cannot be used with"),
            (
                &["a", "--try", "--principal", "arn:aws:iam::111122223333:role/a"],
                "cannot be used with",
            ),
        ] {
            let error = parse(args).unwrap_err().to_string();
            assert!(error.contains(part), "{args:?}: {error}");
        }
    }
}
