//! `man FOLDER`: the manual pages, for the release's archives.

use std::path::Path;

use crate::cli;
use crate::commands::CliError;
use crate::model::Exit;
use crate::terminal;

/// Writes a page for the program and one for each verb: `kubectl-capt_spot.1`, `kubectl-capt_spot-preflight.1`.
///
/// # Errors
/// Writing failed.
pub fn run(folder: &Path) -> Result<Exit, CliError> {
    std::fs::create_dir_all(folder)?;
    let command = cli::command(terminal::KUBECTL)
        .name("kubectl-capt_spot")
        .disable_help_subcommand(true);
    clap_mangen::generate_to(command, folder)?;
    Ok(Exit::Done)
}
