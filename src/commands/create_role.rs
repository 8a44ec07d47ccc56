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
    let end = match spot_role::plan(&facts, args.expect_account.as_deref()) {
        Err(refusal) => End::refused(refusal),
        Ok(Todo::Nothing(role)) => End::good(
            CreateRoleOutcome::Exists,
            role,
            "the role exists already: nothing to do",
        ),
        Ok(Todo::Create(_)) if args.dry_run => End::dry_run(&facts),
        Ok(Todo::Create(_)) if !args.yes && !ui.person => End::nobody(&facts),
        Ok(Todo::Create(plan)) => {
            let agreed = args.yes || {
                terminal::note(&describe(&plan));
                ui.consents("Create it now?").await?
            };
            match agreed {
                false => End::declined(),
                true => match try_to_create(&ui, &plan, &facts, &session, &calls).await {
                    Err(refusal) => End::refused(refusal),
                    Ok(created) => {
                        let said = done(&created);
                        let outcome = match created.how {
                            How::Created | How::AnswerLost => CreateRoleOutcome::Created,
                            How::Meanwhile => CreateRoleOutcome::Exists,
                        };
                        End::good(outcome, created.role, said)
                    }
                },
            }
        }
    };
    end.told(args, global, &facts, &ui)
}

/// How it ended.
struct End {
    outcome: CreateRoleOutcome,
    exit: Exit,
    role: Option<Role>,
    message: String,
    /// What is wrong, where something is.
    judgement: Option<Judgement>,
}

impl End {
    fn good(outcome: CreateRoleOutcome, role: Role, message: &str) -> Self {
        Self {
            outcome,
            exit: Exit::Done,
            role: Some(role),
            message: message.to_owned(),
            judgement: None,
        }
    }

    fn bad(outcome: CreateRoleOutcome, exit: Exit, message: String, judgement: Judgement) -> Self {
        Self {
            outcome,
            exit,
            role: None,
            message,
            judgement: Some(judgement),
        }
    }

    fn refused(refusal: Refusal) -> Self {
        let outcome = match refusal.refused {
            true => CreateRoleOutcome::Refused,
            false => CreateRoleOutcome::Failed,
        };
        Self::bad(outcome, Exit::Failed, refusal.to_string(), refusal.judgement)
    }

    fn dry_run(facts: &Facts) -> Self {
        let judgement = Judgement::warn("The role would be created; nothing was done.")
            .headline(MISSING)
            .fix(
                "Without --dry-run it is created, after asking.",
                [facts.target.capt_spot(&["create-role"])],
            );
        let message = "dry run: the role is missing and would be created; nothing was done".to_owned();
        Self::bad(CreateRoleOutcome::WouldCreate, Exit::Done, message, judgement)
    }

    fn nobody(facts: &Facts) -> Self {
        let message = "the role is missing, and nobody is there to ask";
        let fix = "Run it at a terminal, or add --yes to create the role without asking.";
        let judgement = Judgement::fail(message)
            .headline("Nobody is there to ask")
            .fix(fix, [facts.target.capt_spot(&["create-role", "--yes"])]);
        let message = format!("{message}\n  fix: {fix}");
        Self::bad(CreateRoleOutcome::Refused, Exit::Usage, message, judgement)
    }

    fn declined() -> Self {
        let judgement = Judgement::fail("The answer was not yes: nothing was created.").headline(MISSING);
        let message = "nothing was created: the answer was not yes".to_owned();
        Self::bad(CreateRoleOutcome::Declined, Exit::Failed, message, judgement)
    }

    /// Tells it in the format that was asked for.
    fn told(self, args: &CreateRole, global: &Global, facts: &Facts, ui: &Ui) -> Result<Exit, CliError> {
        let caller = facts.caller.known();
        let result = CreateRoleResult {
            envelope: Envelope::new("CreateRoleResult", "create-role-result", jiff::Timestamp::now()),
            outcome: self.outcome,
            role: self.role.map(|role| role.arn),
            account: caller.map(|caller| caller.account.clone()),
            caller: caller.map(|caller| caller.arn.clone()),
            cluster: facts.target.cluster.clone(),
            region: facts.target.region.clone(),
            message: self.message,
        };
        commands::answer(
            &[result.page(self.judgement)],
            &result,
            &args.reporting,
            global,
            ui,
        )?;
        // Where no person reads the page, one may still read the error.
        let read = global.output == Output::Text && !global.quiet;
        match self.exit {
            Exit::Done => Ok(Exit::Done),
            exit if read => Ok(exit),
            exit => Err(CliError {
                message: result.message,
                exit,
            }),
        }
    }
}

const MISSING: &str = "The EC2 Spot service-linked role is missing";
