//! `preflight`: reads, judges, prints the report; offers to create the missing role.

use std::path::Path;
use std::time::Duration;

use crate::checks::Status;
use crate::cli::{Global, Preflight};
use crate::cluster::resolve::Request;
use crate::commands::offer::{Judged, MayCreate, Run};
use crate::commands::{self, CliError, publish};
use crate::facts::redact::redact;
use crate::facts::{Ask, PoolsFile, saved};
use crate::karpenter::nodepools_file;
use crate::model::Exit;
use crate::report::{self, Report, Selection, Verdict};
use crate::terminal::{self, Ui};
use crate::text::{Output, read_bounded};

/// How long to pause between two tries of `--wait`.
const PAUSE: Duration = Duration::from_secs(5);

/// Runs it.
///
/// # Errors
/// The target could not be told, a file could not be read or written, wrong names in `--only` or `--skip`.
pub async fn run(args: &Preflight, global: &Global) -> Result<Exit, CliError> {
    let selection = selection(args)?;
    let ui = Ui::new(global.color, global.verbose, args.no_input);
    if let Some(path) = &args.from {
        let facts = saved::load(path).map_err(CliError::failed)?;
        let mut report = report::judge(&facts, &selection);
        report.offline = Some(report::Offline {
            gathered_at: report::whole_seconds(facts.gathered_at),
            version: facts.version.clone(),
            redacted: facts.redacted,
        });
        report.envelope.generated_at = report::whole_seconds(jiff::Timestamp::now());
        return print(&report, args, global, &ui);
    }
    let ask = ask(args, global)?;
    let request = Request {
        capt: commands::capt::cluster(args.capt.as_ref(), global),
        ..commands::request(global)
    };
    let deadline = args.wait.map(|wait| tokio::time::Instant::now() + wait);
    let run = Run {
        global,
        request: &request,
        ask: &ask,
        selection: &selection,
        ui: &ui,
        // A question about a report that went into a pipe or a file would be about something that nobody has seen.
        may_create: if args.yes {
            MayCreate::WithoutAsking
        } else if global.output == Output::Text && ui.reads_stdout {
            MayCreate::AfterAsking
        } else {
            MayCreate::Never
        },
        // The question comes after what it is about; other formats stay one document.
        show: &|report| {
            let text = report.render(Output::Text, ui.style, args.show_all);
            Ok(terminal::out_as(Output::Text, &text)?)
        },
    };
    let Judged { facts, report, shown } = loop {
        let read = run.judge().await?;
        let report = &read.report;
        match deadline {
            // The last try is at the deadline itself: a wait shorter than the pause is a wait, too.
            // Who said no is not asked again.
            Some(deadline)
                if report.verdict != Verdict::Ready
                    && !read.shown
                    && tokio::time::Instant::now() < deadline =>
            {
                let next = deadline.min(tokio::time::Instant::now() + PAUSE);
                ui.progress(
                    &format!("{}; trying again", not_yet(report)),
                    tokio::time::sleep_until(next),
                )
                .await;
            }
            _ => break read,
        }
    };
    let exit = if shown {
        write_reports(&report, args)?;
        exit_of(&report)
    } else {
        print(&report, args, global, &ui)?
    };
    if args.publish {
        let page = report.page(args.show_all);
        publish::publish(report::openreports::objects(std::iter::once(&page)), global).await?;
    }
    // After the report: a disk that is full must not cost it.
    if let Some(path) = &args.save {
        match args.redact {
            None => saved::save(&facts, path).map_err(CliError::failed)?,
            Some(what) => {
                let redacted = redact(&facts, what).map_err(CliError::failed)?;
                saved::save(&redacted.facts, path).map_err(CliError::failed)?;
                terminal::err(&redacted.said);
            }
        }
    }
    Ok(exit)
}

/// Which checks the flags choose.
///
/// # Errors
/// A name that is neither a check nor a group.
pub(crate) fn selection(args: &Preflight) -> Result<Selection, CliError> {
    let selection = Selection {
        only: args.only.clone(),
        skip: args.skip.clone(),
        strict: args.strict,
    };
    commands::known_names(&selection)?;
    Ok(selection)
}

/// What the flags ask for.
///
/// # Errors
/// The file of `--nodepools` can't be read.
pub(crate) fn ask(args: &Preflight, global: &Global) -> Result<Ask, CliError> {
    Ok(Ask {
        node_role: args.node_role.clone(),
        namespace: global.namespace.clone(),
        nodepools: args.nodepools.as_deref().map(pools_file).transpose()?,
        ..Ask::default()
    })
}

/// The node pools of `--nodepools FILE`; `-` is standard input.
///
/// # Errors
/// The file can't be read, or holds no manifests.
pub(crate) fn pools_file(path: &Path) -> Result<PoolsFile, CliError> {
    let name = if path == Path::new("-") {
        "stdin".to_owned()
    } else {
        path.display().to_string()
    };
    let text = read_bounded(path, nodepools_file::MAX_BYTES)
        .map_err(|error| CliError::failed(format!("reading the node pools from {name} failed: {error}")))?;
    let manifests = nodepools_file::read(&text)
        .map_err(|error| CliError::failed(format!("{name} holds no usable manifests: {error}")))?;
    Ok(PoolsFile::new(name, manifests))
}

/// What is waited for.
fn not_yet(report: &Report) -> String {
    let ids: Vec<&str> = report
        .checks
        .iter()
        .filter(|finding| matches!(finding.status, Status::Fail | Status::Unknown))
        .map(|finding| finding.id.as_str())
        .collect();
    let word = report.verdict.word().replace('-', " ");
    match ids.split_at_checked(2) {
        Some((first, rest)) if !rest.is_empty() => {
            format!("{word} ({} and {} more)", first.join(", "), rest.len())
        }
        _ if ids.is_empty() => word,
        _ => format!("{word} ({})", ids.join(", ")),
    }
}

fn exit_of(report: &Report) -> Exit {
    Exit::from(report.verdict)
}

fn print(report: &Report, args: &Preflight, global: &Global, ui: &Ui) -> Result<Exit, CliError> {
    commands::print(&[report.page(args.show_all)], report, global, ui)?;
    write_reports(report, args)?;
    Ok(exit_of(report))
}

fn write_reports(report: &Report, args: &Preflight) -> Result<(), CliError> {
    commands::write_reports(&args.report, &[report.page(args.show_all)], report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Facts;
    use crate::facts::fixture::healthy;
    use crate::facts::redact::Redact;

    fn statuses(facts: &Facts) -> Vec<(String, Status)> {
        let report = report::judge(facts, &Selection::default());
        let checks = report.checks.into_iter();
        checks.map(|finding| (finding.id, finding.status)).collect()
    }

    #[test]
    fn masked_facts_are_judged_the_same_and_say_so() {
        let mut facts = healthy();
        facts.target.server = "https://tunnel.corp.example:8443".to_owned();
        for what in [Redact::Ids, Redact::Names] {
            let masked = redact(&facts, what).expect("facts again");
            assert_eq!(statuses(&facts), statuses(&masked.facts));
            let text = serde_json::to_string(&masked.facts).expect("facts are JSON");
            assert!(
                !text.contains("111122223333") && !text.contains("corp.example"),
                "{text}"
            );
            assert_eq!(text.contains("demo"), what == Redact::Ids, "{text}");
            assert!(masked.facts.redacted);
            insta::assert_snapshot!(format!("redacted_{what:?}"), masked.said);
        }
    }
}
