//! `create-role`: shows account, cluster and caller, asks, creates, waits until IAM shows it.

use crate::cli::{CreateRole, Global};
use crate::commands::preflight::{describe, done};
use crate::commands::{self, Stop};
use crate::exit::Exit;
use crate::facts::Ask;
use crate::spot_role::{self, Todo};
use crate::target::resolve::Request;
use crate::ui::{self, Ui};

/// Runs it.
///
/// # Errors
/// The target could not be told, something that makes the write safe could not be verified, or IAM refused.
pub async fn run(args: &CreateRole, global: &Global) -> Result<Exit, Stop> {
    if global.output != crate::cli::Output::Text {
        return Err(Stop::usage(
            "create-role prints no report\n  fix: leave --output out; kubectl capt-spot preflight --only spot-role -o json tells whether the role is there",
        ));
    }
    let ui = Ui::new(global, args.no_input);
    let request = Request {
        capt: commands::capt::cluster(args.capt.as_ref(), global),
        ..commands::request(global)
    };
    let ask = Ask::default();
    let work = commands::gather(global, &request, &ask);
    let (facts, reach, calls) = ui.progress("reading AWS and the cluster", work).await?;
    if global.verbose > 0 {
        commands::print_calls(&facts);
    }
    let plan = match spot_role::plan(&facts, args.expect_account.as_deref())
        .map_err(|refusal| Stop::failed(refusal.to_string()))?
    {
        Todo::Nothing(role) => {
            ui::out(&format!("{} exists already: nothing to do.\n", role.arn))?;
            return Ok(Exit::Done);
        }
        Todo::Create(plan) => plan,
    };
    ui::err(&describe(&plan));
    if args.dry_run {
        ui::out("dry run: the role is missing and would be created; nothing was done.\n")?;
        return Ok(Exit::Done);
    }
    if !args.yes {
        if !ui.person {
            return Err(Stop::usage(
                "the role is missing, and nobody is there to ask\n  fix: run it at a terminal, or say --yes to create it without asking",
            ));
        }
        if !ui.ask("Create it now?").await? {
            ui::err("Nothing was created.");
            return Ok(Exit::Failed);
        }
    }
    let work = spot_role::create(&plan, &reach, global.request_timeout, &calls);
    let created = ui
        .progress("creating the role and waiting until IAM shows it", work)
        .await
        .map_err(|refusal| Stop::failed(refusal.to_string()))?;
    ui::out(&format!("{}\n", done(&created)))?;
    Ok(Exit::Done)
}
