//! `fleet merge`: the results of shards as one report.

use std::path::Path;

use crate::cli::Global;
use crate::cli::fleet::Merge;
use crate::commands::{self, CliError};
use crate::fleet::inventory::Inventory;
use crate::fleet::merge::{self, Part};
use crate::fleet::overview::Overview;
use crate::model::Exit;
use crate::report::{self, Envelope, Item, Page, PreflightReportList};
use crate::terminal::{self, Ui};
use crate::text::{Output, read_bounded};

/// The largest file of results: some ten thousand clusters.
const MOST_BYTES: usize = 512 * 1024 * 1024;

/// Offline.
///
/// # Errors
/// A file that cannot be read, or holds something else.
pub(crate) fn run(args: &Merge, global: &Global) -> Result<Exit, CliError> {
    let ui = Ui::new(global.color, global.verbose, true);
    let inventory = match &args.clusters {
        Some(path) => Some(Inventory::load(path).map_err(CliError::failed)?),
        None => None,
    };
    let mut parts = Vec::new();
    for path in &args.files {
        let name = if path == Path::new("-") {
            "standard input".to_owned()
        } else {
            path.display().to_string()
        };
        let text = read_bounded(path, MOST_BYTES)
            .map_err(|error| CliError::failed(format!("reading the results in {name} failed: {error}")))?;
        parts.push(Part::read(&name, &text).map_err(CliError::failed)?);
    }
    let merged = merge::merge(parts, inventory.as_ref());
    for note in &merged.notes {
        terminal::note(note);
    }
    let pages: Vec<Page> = merged
        .items
        .iter()
        .map(|item: &Item| item.page(args.show_all))
        .collect();
    let list = PreflightReportList {
        envelope: Envelope::new(
            "PreflightReportList",
            "preflight-report-list",
            jiff::Timestamp::now(),
        ),
        shard: None,
        items: merged.items,
    };
    match global.output {
        Output::Text if pages.len() > 1 => {
            let mut text = String::new();
            if args.show_all {
                text = report::render(&pages, &list, Output::Text, ui.style) + "\n";
            }
            text += &overview(&list.items, &pages).render(ui.style, args.show_all, 0);
            terminal::out_as(Output::Text, &text)?;
        }
        _ => commands::print(&pages, &list, global, &ui)?,
    }
    commands::write_reports(&args.report, &pages, &list)?;
    Ok(merged.exit)
}

/// As `preflight` shows many clusters.
fn overview(items: &[Item], pages: &[Page]) -> Overview {
    let mut overview = Overview::default();
    for (place, (item, page)) in items.iter().zip(pages).enumerate() {
        match item {
            Item::Report(report) => overview.judged(place, report),
            Item::NotJudged { target, .. } => overview.not_judged(place, target, page, Exit::Failed),
        }
    }
    overview
}
