//! `create-role`: shows account, cluster and caller, asks, creates, waits until IAM shows it.

use crate::cli::{CreateRole, Global};
use crate::cluster::resolve::Request;
use crate::commands::offer::{create, describe, done};
use crate::commands::{self, CliError};
use crate::facts::{Ask, Facts};
use crate::model::Exit;
use crate::report::json::{pretty, to_yaml};
use crate::report::{CreateRoleOutcome, CreateRoleResult, Envelope};
use crate::spot_role::{self, How, Todo};
use crate::terminal::{self, Ui};
use crate::text::Output;

/// Runs it.
///
/// # Errors
/// The target could not be told, something that makes the write safe could not be verified, or IAM refused.
pub async fn run(args: &CreateRole, global: &Global) -> Result<Exit, CliError> {
    commands::text_json_or_yaml(global, "create-role")?;
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
    let plan = match spot_role::plan(&facts, args.expect_account.as_deref())
        .map_err(|refusal| CliError::failed(refusal.to_string()))?
    {
        Todo::Nothing(role) => {
            let said = format!("{} exists already: nothing to do.", role.arn);
            terminal::out_as(
                global.output,
                &outcome(global, &facts, CreateRoleOutcome::Exists, Some(&role.arn), &said),
            )?;
            return Ok(Exit::Done);
        }
        Todo::Create(plan) => plan,
    };
    terminal::note(&describe(&plan));
    if args.dry_run {
        let said = "dry run: the role is missing and would be created; nothing was done.";
        terminal::out_as(
            global.output,
            &outcome(global, &facts, CreateRoleOutcome::WouldCreate, None, said),
        )?;
        return Ok(Exit::Done);
    }
    if !args.yes {
        if !ui.person {
            return Err(CliError::usage(
                "the role is missing, and nobody is there to ask\n  fix: run it at a terminal, or say --yes to create it without asking",
            ));
        }
        if !ui.consents("Create it now?").await? {
            terminal::err("Nothing was created.");
            return Ok(Exit::Failed);
        }
    }
    let created = create(&ui, &plan, &facts, &session, &calls).await?;
    let word = match created.how {
        How::Created | How::AnswerLost => CreateRoleOutcome::Created,
        How::Meanwhile => CreateRoleOutcome::Exists,
    };
    let said = done(&created);
    terminal::out_as(
        global.output,
        &outcome(global, &facts, word, Some(&created.role.arn), &said),
    )?;
    Ok(Exit::Done)
}

/// How it ended, in the format that was asked for.
fn outcome(
    global: &Global,
    facts: &Facts,
    outcome: CreateRoleOutcome,
    role: Option<&str>,
    said: &str,
) -> String {
    let caller = facts.caller.known();
    let result = CreateRoleResult {
        envelope: Envelope::new("CreateRoleResult", "create-role-result", jiff::Timestamp::now()),
        outcome,
        role: role.map(str::to_owned),
        account: caller.map(|caller| caller.account.clone()),
        caller: caller.map(|caller| caller.arn.clone()),
        cluster: facts.target.cluster.clone(),
        region: facts.target.region.clone(),
        message: said.to_owned(),
    };
    match global.output {
        Output::Json => pretty(&result),
        Output::Yaml => to_yaml(&result),
        _ => format!("{said}\n"),
    }
}
