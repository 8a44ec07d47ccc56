//! `template check` and `template patch`.

use crate::capt::check::{Management, check_objects};
use crate::capt::command::{Outcome, TemplateCommand, TemplateFormat, check, patch_file, render};
use crate::capt::report::sanitised;
use crate::cli::{Global, Output};
use crate::commands::Stop;
use crate::exit::Exit;
use crate::ui::{self, Ui};

/// Runs it. `fetch` is called for `--from-cluster` only.
///
/// # Errors
/// An output format that a template report does not have; what `fetch` says; writing failed.
pub fn run(
    command: &TemplateCommand,
    global: &Global,
    fetch: impl FnOnce() -> Result<Management, Stop>,
) -> Result<Exit, Stop> {
    let outcome = match command {
        TemplateCommand::Check(args) => {
            let format = match global.output {
                Output::Text => TemplateFormat::Text,
                Output::Json => TemplateFormat::Json,
                Output::Yaml => TemplateFormat::Yaml,
                Output::Sarif => TemplateFormat::Sarif,
                _ => return Err(Stop::usage("template check writes text, json, yaml and sarif")),
            };
            if args.from_cluster {
                let there = fetch()?;
                let mut outcome = render(&check_objects(&there), format);
                for note in &there.notes {
                    outcome.stderr.push_str(&format!("note: {}\n", sanitised(note)));
                }
                outcome
            } else {
                check(args, format)
            }
        }
        TemplateCommand::Patch(args) => {
            let ui = Ui::new(global, false);
            patch_file(
                args,
                ui.person,
                |text| {
                    // A reader that went away must not stop the question.
                    let _ = ui::out(text);
                },
                |question| {
                    let asked = async { Ok(ui.ask(question).await?) };
                    crate::block_on(asked).map_err(|stop: Stop| anyhow::anyhow!(stop.message))
                },
            )
        }
    };
    let Outcome { stdout, stderr, exit } = outcome;
    if !stderr.is_empty() {
        ui::err(stderr.trim_end());
    }
    match command {
        TemplateCommand::Check(_) => ui::out_as(global.output, &stdout)?,
        // A file, and none of its bytes is ours to change.
        TemplateCommand::Patch(_) => ui::out(&stdout)?,
    }
    Ok(match exit {
        0 => Exit::Done,
        1 => Exit::Failed,
        3 => Exit::Undecided,
        _ => Exit::Usage,
    })
}
