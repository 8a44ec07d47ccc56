//! One file a verb, thin: parse what is left to parse, call, print.

pub mod access;
pub mod account;
pub mod capt;
pub mod clusters;
pub mod completion;
pub mod create_role;
pub mod explain;
pub mod fleet;
pub mod gate;
pub mod hook;
pub mod install;
pub mod man;
pub mod offer;
mod pod;
pub mod policy;
pub mod preflight;
mod publish;
pub mod raw;
pub mod template;
pub mod trust;
pub mod version;
pub mod whois;

use std::io::Write as _;

use serde::Serialize;

use crate::aws;
use crate::cli::{Global, Reporting};
use crate::cluster::kubeconfig::Overrides;
use crate::cluster::resolve::Request;
use crate::cluster::{self, clues};
use crate::facts::{self, Ask, Facts, Options};
use crate::model::{Calls, Exit};
use crate::report::{self, Page};
use crate::terminal::{self, Ui};
use crate::text::style::Style;
use crate::text::{Output, ReportFile};

/// An error for the person: printed as it is, with this exit code.
#[derive(Debug)]
pub struct CliError {
    /// What was tried, what happened, what to do.
    pub message: String,
    /// The exit code.
    pub exit: crate::model::Exit,
}

impl CliError {
    /// The thing asked for failed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            exit: crate::model::Exit::Failed,
        }
    }

    /// Wrong usage.
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            exit: crate::model::Exit::Usage,
        }
    }
}

impl From<cluster::TargetError> for CliError {
    fn from(error: cluster::TargetError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::Interrupted {
            return Self {
                message: String::new(),
                exit: crate::model::Exit::Interrupted,
            };
        }
        Self::failed(format!("writing the output failed: {error}"))
    }
}

/// Refuses the formats that only a report has.
///
/// # Errors
/// Another format than text, json or yaml.
pub fn text_json_or_yaml(global: &Global, verb: &str) -> Result<(), CliError> {
    match global.output {
        Output::Text | Output::Json | Output::Yaml => Ok(()),
        _ => Err(CliError::usage(format!(
            "{verb} prints text, json or yaml
  fix: leave --output out, or take one of these"
        ))),
    }
}

/// Prints answers to stdout in the format that was asked for; `document` is what JSON and YAML print. With `-o github`, the
/// Markdown is added to the step's summary.
///
/// # Errors
/// Standard output or the summary could not be written.
pub fn print(pages: &[Page], document: &impl Serialize, global: &Global, ui: &Ui) -> Result<(), CliError> {
    fits(global.output, pages)?;
    let rendered = report::render(pages, document, global.output, ui.style);
    terminal::out_as(global.output, &rendered)?;
    if global.output == Output::Github
        && let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty())
    {
        let summary = report::render(pages, document, Output::Markdown, ui.style);
        std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .and_then(|mut file| file.write_all(summary.as_bytes()))
            .map_err(|error| {
                CliError::failed(format!(
                    "writing the step's summary to {} (GITHUB_STEP_SUMMARY) failed: {error}",
                    path.display()
                ))
            })?;
    }
    Ok(())
}

/// Metrics and OpenReports objects are about clusters and accounts.
fn fits(format: Output, pages: &[Page]) -> Result<(), CliError> {
    let of_clusters = matches!(format, Output::Openmetrics | Output::Openreports);
    match pages
        .iter()
        .find(|page| of_clusters && !["preflight", "account"].contains(&page.verb))
    {
        None => Ok(()),
        Some(page) => Err(CliError::usage(format!(
            "{} has no metrics and no OpenReports objects: preflight and account have\n  fix: take another format",
            page.verb
        ))),
    }
}

/// Prints answers, and writes the further reports that the flags ask for.
///
/// # Errors
/// The same, or a file could not be written.
pub(crate) fn answer(
    pages: &[Page],
    document: &impl Serialize,
    how: &Reporting,
    global: &Global,
    ui: &Ui,
) -> Result<(), CliError> {
    let pages: Vec<Page> = pages
        .iter()
        .map(|page| Page {
            show_all: how.show_all,
            ..page.clone()
        })
        .collect();
    print(&pages, document, global, ui)?;
    write_reports(&how.report, &pages, document)
}

/// Writes the reports of `--report FORMAT=FILE`, without colour.
///
/// # Errors
/// A file could not be written.
pub fn write_reports(
    files: &[ReportFile],
    pages: &[Page],
    document: &impl Serialize,
) -> Result<(), CliError> {
    for ReportFile { format, path } in files {
        fits(*format, pages)?;
        let rendered = report::render(pages, document, *format, Style::PLAIN);
        std::fs::write(path, rendered).map_err(|error| {
            CliError::failed(format!(
                "writing the report to {} failed: {error}",
                path.display()
            ))
        })?;
    }
    Ok(())
}

/// Refuses names in `--only` and `--skip` that are neither a check nor a group.
///
/// # Errors
/// Wrong usage, with the name that was meant.
pub fn known_names(selection: &crate::report::Selection) -> Result<(), CliError> {
    match selection.unknown_names().first() {
        None => Ok(()),
        Some(name) => Err(CliError::usage(format!(
            "\"{name}\" is neither a check nor a group\n  fix: {}",
            crate::checks::instead_of(name)
        ))),
    }
}

/// The request for a target that the flags make.
pub fn request(global: &Global) -> Request {
    // Helm gives a plugin its own --kube-context in this variable, and swallows the flag.
    let helm_context = || {
        std::env::var("HELM_KUBECONTEXT")
            .ok()
            .filter(|context| !context.is_empty() && std::env::var_os("HELM_PLUGIN_NAME").is_some())
    };
    Request {
        kubeconfig: global.kubeconfig.clone(),
        in_memory: None,
        loaded: None,
        capt: None,
        context: global
            .context
            .clone()
            .filter(|context| !context.is_empty())
            .or_else(helm_context),
        overrides: Overrides {
            cluster: global.cluster.clone(),
            user: global.user.clone(),
            as_user: global.as_user.clone(),
            as_groups: global.as_groups.clone(),
        },
        flags: clues::Flags {
            cluster: global.cluster_name.clone(),
            region: global.region.clone(),
            profile: global.profile.clone(),
        },
        chart_cluster: None,
    }
}

/// How to read; the clock of the whole run starts now.
pub fn options(global: &Global) -> Options {
    Options {
        limits: aws::Limits::start(global.request_timeout, global.overall_timeout),
        use_exec: global.use_exec,
        sessions: None,
    }
}

/// Resolves the target and reads everything.
///
/// # Errors
/// The target could not be told (with `--capt`: its kubeconfig could not be had), or AWS_CA_BUNDLE is unusable.
pub async fn gather(
    global: &Global,
    request: &Request,
    ask: &Ask,
) -> Result<(Facts, aws::Session, Calls), CliError> {
    let http = aws::http_client().map_err(CliError::failed)?;
    let calls = Calls::default();
    let options = options(global);
    let onward = match &request.capt {
        Some(cluster) => Some(capt::workload(request, cluster, &options, &calls).await?),
        None => None,
    };
    let request = onward.as_ref().unwrap_or(request);
    let resolved = cluster::resolve(request, &http, options.limits, &calls)
        .await
        .map_err(|error| match &request.in_memory {
            Some(given) => capt::not_resolved(given, &error),
            None => error.into(),
        })?;
    let (facts, session) = facts::gather(&resolved, ask, &http, &options, &calls).await;
    Ok((facts, session, calls))
}

/// Every call and its answer, for `-v`.
pub fn print_calls(facts: &Facts) {
    for call in &facts.calls {
        crate::terminal::err(&format!("  {} -> {}", call.call, call.answer));
    }
}

/// Runs `work` on this thread; it heeds signals itself ([`signalled`]).
///
/// # Errors
/// What `work` says.
pub(crate) fn block_on_to_the_end<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = runtime()?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}

fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::failed(format!("the program could not start: {error}")))
}

/// Runs `work` on this thread, until it is done or a signal ends it.
///
/// # Errors
/// What `work` says, or that it was interrupted.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        tokio::select! {
            biased;
            exit = signalled() => Err(CliError { message: String::new(), exit }),
            result = work => result,
        }
    });
    // Names being resolved on a helper thread, or a question still open, must not hold up the exit.
    runtime.shutdown_background();
    result
}

/// Waits for Ctrl-C or a request to end. SIGHUP stays the system's, which heeds nohup.
pub(crate) async fn signalled() -> Exit {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        // As the first process of a container the program would otherwise not be ended by it.
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            return tokio::select! {
                _ = terminate.recv() => Exit::Terminated,
                _ = tokio::signal::ctrl_c() => Exit::Interrupted,
            };
        }
    }
    let _ = tokio::signal::ctrl_c().await;
    Exit::Interrupted
}
