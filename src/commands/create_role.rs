//! `create-role`: shows account, cluster and caller, asks, creates, waits until IAM shows it.

use crate::checks::Judgement;
use crate::cli::{CreateRole, Global};
use crate::cluster::resolve::Request;
use crate::commands::offer::{describe, done, try_to_create};
use crate::commands::{self, CliError};
use crate::facts::{Ask, Facts};
use crate::model::{Exit, Role};
use crate::report::Envelope;
use crate::report::create_role::{CreateRoleOutcome, CreateRoleResult};
use crate::spot_role::{self, How, Refusal, Todo};
use crate::terminal::{self, Ui};
use crate::text::Output;

/// Runs it.
///
/// # Errors
/// The target could not be told, or the output could not be written. Every other end is a document.
pub async fn run(args: &CreateRole, global: &Global) -> Result<Exit, CliError> {
    let ui = Ui::new(global.color, global.verbose, args.no_input);
    let request = Request {
        capt: commands::capt::cluster(args.capt.as_ref(), global),
        ..commands::request(global)
    };
    let ask = Ask::default();
    let work = commands::gather(global, &request, &ask);
    let (facts, session, calls) = ui.progress("reading AWS and the cluster", work).await?;
    if global.verbose > 0 {
        commands::print_calls(&facts);
    }
    let target = &facts.target;
    let end = match spot_role::plan(&facts, args.expect_account.as_deref()) {
        Err(refusal) => End::from(refusal),
        Ok(Todo::Nothing(role)) => End::good(
            CreateRoleOutcome::Exists,
            &role,
            "the role exists already: nothing to do",
        ),
        Ok(Todo::Create(_)) if args.dry_run => End {
            outcome: CreateRoleOutcome::WouldCreate,
            exit: Exit::Done,
            role: None,
            judgement: Judgement::warn("dry run: the role is missing and would be created; nothing was done")
                .headline(MISSING)
                .fix(
                    "Without --dry-run it is created, after asking.",
                    [target.capt_spot(&["create-role"])],
                ),
        },
        Ok(Todo::Create(_)) if !args.yes && !ui.person => End {
            outcome: CreateRoleOutcome::Refused,
            exit: Exit::Usage,
            role: None,
            judgement: Judgement::fail("the role is missing, and nobody is there to ask")
                .headline("Nobody is there to ask")
                .fix(
                    "Run it at a terminal, or add --yes to create the role without asking.",
                    [target.capt_spot(&["create-role", "--yes"])],
                ),
        },
        Ok(Todo::Create(plan)) => {
            let agreed = args.yes || {
                terminal::note(&describe(&plan));
                ui.consents("Create it now?").await?
            };
            match agreed {
                false => End {
                    outcome: CreateRoleOutcome::Declined,
                    exit: Exit::Failed,
                    role: None,
                    judgement: Judgement::fail("nothing was created: the answer was not yes")
                        .headline(MISSING),
                },
                true => match try_to_create(&ui, &plan, &facts, &session, &calls).await {
                    Err(refusal) => End::from(refusal),
                    Ok(created) => {
                        let outcome = match created.how {
                            How::Created | How::AnswerLost => CreateRoleOutcome::Created,
                            How::Meanwhile => CreateRoleOutcome::Exists,
                        };
                        End::good(outcome, &created.role, done(&created))
                    }
                },
            }
        }
    };
    end.reported(args, global, &facts, &ui)
}

const MISSING: &str = "The EC2 Spot service-linked role is missing";

/// How it ended.
struct End {
    outcome: CreateRoleOutcome,
    exit: Exit,
    role: Option<String>,
    judgement: Judgement,
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self {
            outcome: match refusal.refused {
                true => CreateRoleOutcome::Refused,
                false => CreateRoleOutcome::Failed,
            },
            exit: Exit::Failed,
            role: None,
            judgement: *refusal.judgement,
        }
    }
}

impl End {
    fn good(outcome: CreateRoleOutcome, role: &Role, message: &str) -> Self {
        Self {
            outcome,
            exit: Exit::Done,
            role: Some(role.arn.clone()),
            judgement: Judgement::pass(message),
        }
    }

    /// In the format that was asked for.
    fn reported(self, args: &CreateRole, global: &Global, facts: &Facts, ui: &Ui) -> Result<Exit, CliError> {
        let caller = facts.caller.known();
        let result = CreateRoleResult {
            envelope: Envelope::new("CreateRoleResult", "create-role-result", jiff::Timestamp::now()),
            outcome: self.outcome,
            role: self.role,
            account: caller.map(|caller| caller.account.clone()),
            caller: caller.map(|caller| caller.arn.clone()),
            cluster: facts.target.cluster.clone(),
            region: facts.target.region.clone(),
            message: self.judgement.message.clone(),
        };
        let error = self.judgement.to_string();
        commands::answer(
            &[result.page(self.judgement)],
            &result,
            &args.reporting,
            global,
            ui,
        )?;
        // Where nobody reads the page, somebody may still read the error.
        let read = global.output == Output::Text && !global.quiet;
        match self.exit {
            exit if read || exit == Exit::Done => Ok(exit),
            exit => Err(CliError { message: error, exit }),
        }
    }
}
