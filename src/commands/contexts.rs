//! `preflight --all-contexts` and `--contexts GLOB`: the preflight of several clusters in one run.

use futures_util::stream::{self, StreamExt as _};

use crate::cli::{Global, Preflight};
use crate::cluster::TargetError;
use crate::cluster::kubeconfig::{self, Sources};
use crate::commands::{self, CliError};
use crate::model::Exit;
use crate::report::{self, Envelope, Item, Page, PreflightReportList, Selection, Unresolved};
use crate::terminal::{self, Ui};

/// How many clusters are read at a time.
const AT_ONCE: usize = 4;

/// Runs it. Nothing is ever asked or created here.
///
/// # Errors
/// No kubeconfig, a bad pattern, or no context that matches.
pub async fn run(
    args: &Preflight,
    global: &Global,
    selection: &Selection,
    ui: &Ui,
) -> Result<Exit, CliError> {
    let config = kubeconfig::load(&Sources::from_env(global.kubeconfig.as_deref()))?.ok_or_else(|| {
        CliError::usage("inside a pod there are no contexts: leave --contexts and --all-contexts out")
    })?;
    let matcher = match &args.contexts {
        Some(glob) => {
            let glob =
                globset::Glob::new(glob).map_err(|error| CliError::usage(format!("--contexts: {error}")))?;
            Some(glob.compile_matcher())
        }
        None => None,
    };
    let names: Vec<String> = config
        .contexts
        .iter()
        .map(|context| context.name.clone())
        .filter(|name| matcher.as_ref().is_none_or(|matcher| matcher.is_match(name)))
        .collect();
    if names.is_empty() {
        let there: Vec<&str> = config
            .contexts
            .iter()
            .map(|context| context.name.as_str())
            .collect();
        return Err(CliError::failed(format!(
            "no context of the kubeconfig matches {}\n  fix: it has: {}",
            args.contexts.as_deref().unwrap_or("*"),
            if there.is_empty() {
                "none".to_owned()
            } else {
                there.join(", ")
            }
        )));
    }
    let ask = super::preflight::ask(args, global)?;
    let work = stream::iter(names)
        .map(|name| {
            let global = Global {
                context: Some(name.clone()),
                ..global.clone()
            };
            let ask = ask.clone();
            async move {
                let result = commands::gather(&global, &commands::request(&global), &ask).await;
                (name, result)
            }
        })
        .buffered(AT_ONCE)
        .collect::<Vec<_>>();
    let results = ui.progress("reading AWS and the clusters", work).await;
    let mut exit = Exit::Done;
    let mut pages: Vec<Page> = Vec::new();
    let mut items: Vec<Item> = Vec::new();
    let mut judged = 0;
    for (name, result) in results {
        match result {
            Ok((facts, _, _)) => {
                let report = report::judge(&facts, selection);
                exit = exit.worse(Exit::from(report.verdict));
                judged += 1;
                pages.push(report.page(args.show_all));
                items.push(Item::Report(Box::new(report)));
            }
            // With --all-contexts, a kind cluster beside the others was not asked for; a named one was.
            Err(stop) if args.all_contexts && is_not_eks(&config, &name) => {
                terminal::err(&format!("{name}: {}", stop.message));
            }
            Err(stop) => {
                exit = exit.worse(stop.exit);
                pages.push(Page::unresolved("preflight", &name, &stop.message));
                items.push(Item::NotJudged {
                    target: Unresolved {
                        context: name,
                        ..Unresolved::default()
                    },
                    error: stop.message,
                });
            }
        }
    }
    if judged == 0 {
        exit = exit.worse(Exit::Undecided);
        if items.is_empty() {
            terminal::err("no context of the kubeconfig is an EKS cluster: nothing was judged");
        }
    }
    let list = PreflightReportList {
        envelope: Envelope::new(
            "PreflightReportList",
            "preflight-report-list",
            jiff::Timestamp::now(),
        ),
        shard: None,
        items,
    };
    commands::print(&pages, &list, global, ui)?;
    commands::write_reports(&args.report, &pages, &list)?;
    Ok(exit)
}

fn is_not_eks(config: &kube::config::Kubeconfig, name: &str) -> bool {
    match kubeconfig::context(config, Some(name)) {
        Ok(context) => crate::cluster::clues::not_eks(&context).is_some(),
        Err(TargetError::Dangling { .. }) => false,
        Err(_) => false,
    }
}
