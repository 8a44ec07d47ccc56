//! `gate`: the post-renderer, a second belt for plain `helm install --post-renderer`.
//!
//! Helm pipes the rendered chart through it. Ready: the same bytes come out. Not ready: nothing comes out and the exit
//! code is 1, so that helm stops. It is no more than a second belt: helm has created the chart's CRDs before it runs.
//! Any byte of ours on standard output would become part of the chart, so nothing else ever goes there.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::path::Path;

use crate::cli::Global;
use crate::cli::gate::Gate;
use crate::cluster::resolve::Request;
use crate::commands::offer::{MayCreate, Run};
use crate::commands::{self, CliError};
use crate::helm::chart::{ChartFacts, MAX_BYTES};
use crate::model::Exit;
use crate::report::{Report, Selection, Verdict};
use crate::terminal::{self, Ui};
use crate::text::sanitize;
use crate::text::style::Style;

/// Runs it. Nothing is ever asked or created.
///
/// # Errors
/// Standard input cannot be judged, or the target is unknown. Nothing was passed on then.
pub async fn run(args: &Gate, global: &Global) -> Result<Exit, CliError> {
    let failed = |stop: CliError| CliError {
        exit: Exit::Failed,
        ..stop
    };
    let selection = Selection {
        only: args.only.clone(),
        skip: args.skip.clone(),
        strict: args.strict,
    };
    commands::known_names(&selection)?;
    let namespace = global.namespace.as_deref().unwrap_or("default");
    let piped = read(io::stdin().lock(), namespace)?;
    let ui = Ui::new(global.color, global.verbose, true).with_report_on_stderr(global.color);
    let preflight = async |chart: &ChartFacts| {
        // A post-renderer is not told whether this is an install or an upgrade; what both need is asked.
        let ask = crate::helm::ask::ask(chart, false, false, args.node_role.clone());
        let request = Request {
            chart_cluster: ask.chart_cluster.clone(),
            ..commands::request(global)
        };
        let run = Run {
            global,
            request: &request,
            ask: &ask,
            selection: &selection,
            ui: &ui,
            may_create: MayCreate::Never,
            show: &|_| Ok(()),
        };
        Ok(run.judge().await?.report)
    };
    let destinations = Destinations {
        file: args.report.as_deref(),
        terminal: args.tty,
    };
    let plain = |report: &Report| {
        let style = Style {
            color: false,
            ..ui.style
        };
        report.render(global.output, style, false)
    };
    gate(
        &piped,
        destinations,
        io::stdout().lock(),
        preflight,
        plain,
        |text| terminal::err_rendered(global.output, text),
    )
    .await
    .map_err(failed)
}

/// What came in.
pub struct Piped {
    /// Every byte, to be handed on.
    pub bytes: Vec<u8>,
    /// What they say.
    pub chart: ChartFacts,
}

/// Reads all of `input`. Only then is anything known; helm writes it in one go.
///
/// # Errors
/// It could not be read, is too large, or is not text.
pub fn read(mut input: impl Read, namespace: &str) -> Result<Piped, CliError> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
    input
        .by_ref()
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| CliError::failed(format!("reading the rendered chart failed: {error}")))?;
    if bytes.is_empty() {
        return Err(CliError::failed(
            "there is nothing on standard input\n  fix: this verb is a post-renderer: helm install --post-renderer kubectl-capt_spot --post-renderer-args gate ...",
        ));
    }
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| CliError::failed("what helm rendered is not UTF-8; nothing is passed on"))?;
    let chart = ChartFacts::read(text, namespace).map_err(|error| CliError::failed(error.to_string()))?;
    Ok(Piped { bytes, chart })
}

/// Where the report goes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Destinations<'a> {
    /// `--report FILE`.
    pub file: Option<&'a Path>,
    /// `--tty`: the terminal too, because helm hides standard error (Helm 4 does).
    pub terminal: bool,
}

/// Judges and passes on, or not. `render` makes text of the report.
///
/// # Errors
/// The preflight could not be made; the report file could not be written; the output is gone. Nothing has been passed
/// on then.
pub async fn gate(
    piped: &Piped,
    destinations: Destinations<'_>,
    mut output: impl Write,
    preflight: impl AsyncFnOnce(&ChartFacts) -> Result<Report, CliError>,
    render: impl Fn(&Report) -> String,
    mut stderr: impl FnMut(&str),
) -> Result<Exit, CliError> {
    let report = match preflight(&piped.chart).await {
        Ok(report) => report,
        Err(stop) => {
            tell(
                &format!("error: {}\n", sanitize::lines(&stop.message)),
                destinations,
                &mut |_| (),
            )?;
            return Err(CliError {
                exit: Exit::Failed,
                ..stop
            });
        }
    };
    let text = render(&report);
    if report.verdict != Verdict::Ready {
        tell(&text, destinations, &mut stderr)?;
        return Ok(Exit::Failed);
    }
    if let Some(file) = destinations.file {
        write_file(file, &text)?;
    }
    output
        .write_all(&piped.bytes)
        .and_then(|()| output.flush())
        .map_err(|error| CliError::failed(format!("handing the chart back to helm failed: {error}")))?;
    Ok(Exit::Done)
}

fn tell(text: &str, destinations: Destinations<'_>, stderr: &mut impl FnMut(&str)) -> Result<(), CliError> {
    stderr(text);
    if destinations.terminal {
        // Without a terminal (CI) there is none to write to, which is no error.
        let _ = write_terminal(text);
    }
    match destinations.file {
        Some(file) => write_file(file, text),
        None => Ok(()),
    }
}

fn write_file(file: &Path, text: &str) -> Result<(), CliError> {
    std::fs::write(file, text).map_err(|error| {
        CliError::failed(format!(
            "writing the report to {} failed: {error}",
            file.display()
        ))
    })
}

fn write_terminal(text: &str) -> io::Result<()> {
    let name = if cfg!(windows) { "CONOUT$" } else { "/dev/tty" };
    OpenOptions::new()
        .write(true)
        .open(name)?
        .write_all(text.as_bytes())
}

#[cfg(test)]
mod tests;
