//! `fleet`.

mod manifest;
mod merge;

use crate::aws::{self, Sessions};
use crate::cli::Global;
use crate::cli::fleet::{FleetCommand, FleetList};
use crate::cluster::{self, environment_region};
use crate::commands::{self, CliError};
use crate::facts::management;
use crate::fleet::inventory::{Inventory, ProblemKind, Source};
use crate::fleet::list::{Found, Lister, Search, accounts_of_text, kubeconfig_here};
use crate::model::permission::rule;
use crate::model::{Calls, Exit, Unknown};
use crate::report::json;
use crate::terminal::{self, Ui};
use crate::text::{Output, read_bounded};

/// The largest file of accounts that is read.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// Runs it.
///
/// # Errors
/// See each verb.
pub async fn run(command: &FleetCommand, global: &Global) -> Result<Exit, CliError> {
    match command {
        FleetCommand::List(args) => list(args, global).await,
        FleetCommand::Manifest(args) => manifest::run(args, global),
        FleetCommand::Merge(args) => merge::run(args, global),
    }
}

/// `fleet list`
///
/// # Errors
/// Wrong usage, or the accounts, the contexts or the Clusters could not be listed at all.
async fn list(args: &FleetList, global: &Global) -> Result<Exit, CliError> {
    commands::text_json_or_yaml(global, "fleet list")?;
    let ui = Ui::new(global.color, global.verbose, true);
    let lister = Lister {
        http: aws::http_client().map_err(CliError::failed)?,
        request: commands::request(global),
        limits: commands::options(global).limits,
        parallel: args.parallel,
        sessions: Sessions::default(),
        calls: Calls::default(),
    };
    let found = ui.progress("listing clusters", look(args, global, &lister)).await;
    if global.verbose > 0 {
        for call in lister.calls.sorted() {
            terminal::err(&format!("  {} -> {}", call.call, call.answer));
        }
    }
    let Found { clusters, problems } = found?;
    let inventory = Inventory::new(clusters, problems, jiff::Timestamp::now());
    match global.output {
        Output::Yaml => terminal::out(&json::to_yaml(&inventory))?,
        Output::Json => terminal::out(&json::pretty(&inventory))?,
        _ => terminal::out_as(Output::Text, &inventory.text(ui.style))?,
    }
    let unread = inventory
        .problems
        .iter()
        .filter(|problem| problem.kind == ProblemKind::Unread)
        .count();
    if unread > 0 && global.output != Output::Text {
        terminal::note(&format!(
            "{unread} of what was looked through could not be listed: see the inventory's problems"
        ));
    }
    Ok(match unread {
        0 => Exit::Done,
        _ => Exit::Undecided,
    })
}

async fn look(args: &FleetList, global: &Global, lister: &Lister) -> Result<Found, CliError> {
    if args.cluster_api {
        return of_cluster_api(global, lister).await;
    }
    if !args.organization && args.accounts.is_none() {
        let config = kubeconfig_here(&lister.request)?;
        let names = commands::clusters::contexts(&config, args.contexts.as_deref())?;
        let file = global.kubeconfig.as_ref().map(|path| path.display().to_string());
        return Ok(lister.contexts(&config, &names, file.as_deref()).await);
    }
    let region = match args.regions.first().or(global.region.as_ref()) {
        Some(region) => region.clone(),
        None => {
            let identity = aws::Identity {
                profile_flag: global.profile.clone(),
                ..aws::Identity::default()
            };
            // Any region of the partition answers which regions there are.
            environment_region(&identity)
                .await
                .unwrap_or_else(|| "us-east-1".to_owned())
        }
    };
    let (accounts, source) = match &args.accounts {
        Some(path) => {
            let failed = |why: &dyn std::fmt::Display| {
                CliError::failed(format!(
                    "the accounts in {} cannot be used: {why}",
                    path.display()
                ))
            };
            let text = read_bounded(path, MOST_BYTES).map_err(|error| failed(&error))?;
            let accounts = accounts_of_text(&text).map_err(|error| failed(&error))?;
            (accounts, Source::Accounts)
        }
        None => {
            let accounts = lister.organization(&region).await.map_err(|unknown| {
                CliError::failed(format!(
                    "the organization's accounts could not be listed: {unknown}{}\n  fix: ask with the management account or a delegated administrator, or list them in a file: --accounts FILE",
                    permission(&unknown)
                ))
            })?;
            (accounts, Source::Organizations)
        }
    };
    let search = Search {
        role_name: args.role_name.clone(),
        external_id: args.external_id.clone(),
        session_tags: args.session_tag.iter().cloned().collect(),
        regions: args.regions.clone(),
        source,
    };
    Ok(lister.accounts(accounts, &search, &region).await)
}

async fn of_cluster_api(global: &Global, lister: &Lister) -> Result<Found, CliError> {
    let plain = cluster::plain(&lister.request).await?;
    let options = commands::options(global);
    let place = format!("the management cluster (context {})", plain.context.name);
    let api = management::connect(&plain, &options, &lister.calls)
        .await
        .map_err(|unknown| CliError::failed(format!("{place} could not be asked: {unknown}")))?;
    lister
        .cluster_api(&api, global.namespace.as_deref())
        .await
        .map_err(|why| CliError::failed(format!("the Clusters of {place} could not be listed: {why}")))
}

/// What to ask for, when a permission would help; on a line of its own.
fn permission(unknown: &Unknown) -> String {
    unknown
        .grant
        .as_ref()
        .map(|grant| format!("\n  fix: ask for {}", rule(grant)))
        .unwrap_or_default()
}
