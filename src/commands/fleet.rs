//! `fleet`: many clusters.

mod manifest;

use std::path::Path;

use crate::cli::Global;
use crate::cli::fleet::{Fleet, Merge};
use crate::commands::{self, CliError};
use crate::fleet::inventory::Inventory;
use crate::fleet::merge::{self, Part};
use crate::model::Exit;
use crate::report::{Envelope, Item, Page, PreflightReportList};
use crate::terminal::{self, Ui};
use crate::text::read_bounded;

/// The largest file of results: some ten thousand clusters.
const MOST_BYTES: usize = 512 * 1024 * 1024;

/// Runs it.
///
/// # Errors
/// As its verbs.
pub fn run(verb: &Fleet, global: &Global) -> Result<Exit, CliError> {
    match verb {
        Fleet::Manifest(args) => manifest::run(args, global),
        Fleet::Merge(args) => merge(args, global),
    }
}

/// Offline.
///
/// # Errors
/// A file that cannot be read, or holds something else.
fn merge(args: &Merge, global: &Global) -> Result<Exit, CliError> {
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
    commands::print(&pages, &list, global, &ui)?;
    commands::write_reports(&args.report, &pages, &list)?;
    Ok(merged.exit)
}
