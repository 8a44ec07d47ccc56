//! `preflight --all-contexts` and `--contexts GLOB`: the preflight of several clusters in one run.

use futures_util::stream::{self, StreamExt as _};

use crate::cli::{Global, Preflight};
use crate::cluster::TargetError;
use crate::cluster::kubeconfig::{self, Sources};
use crate::commands::{self, CliError};
use crate::model::Exit;
use crate::report::{self, Report, Selection, json};
use crate::terminal::{self, Ui};
use crate::text::Output;

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
    let mut reports: Vec<Report> = Vec::new();
    for (name, result) in results {
        match result {
            Ok((facts, _, _)) => {
                let report = report::judge(&facts, selection);
                exit = exit.worse(Exit::from(report.verdict));
                reports.push(report);
            }
            Err(stop) => {
                terminal::err(&format!("{name}: {}", stop.message));
                // With --all-contexts, a kind cluster beside the others is no failure; a named one is.
                let passed_over = args.all_contexts && is_not_eks(&config, &name);
                if !passed_over {
                    exit = exit.worse(stop.exit);
                }
            }
        }
    }
    let rendered = match global.output {
        Output::Json => json::pretty(&list(&reports)),
        Output::Yaml => json::to_yaml(&list(&reports)),
        Output::Junit => report::junit::render(&reports),
        Output::Sarif => report::sarif::render(&reports),
        one => {
            let rendered: Vec<String> = reports
                .iter()
                .map(|report| report::render(report, one, ui.style))
                .collect();
            rendered.join("\n")
        }
    };
    terminal::out_as(global.output, &rendered)?;
    Ok(exit)
}

fn is_not_eks(config: &kube::config::Kubeconfig, name: &str) -> bool {
    match kubeconfig::context(config, Some(name)) {
        Ok(context) => crate::cluster::clues::not_eks(&context).is_some(),
        Err(TargetError::Dangling { .. }) => false,
        Err(_) => false,
    }
}

fn list(reports: &[Report]) -> serde_json::Value {
    serde_json::json!({"apiVersion": report::API_VERSION, "kind": "PreflightReportList", "items": reports})
}
