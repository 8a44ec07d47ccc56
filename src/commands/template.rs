//! `template check` and `template patch`.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::capt::check::{Management, check_files, check_objects};
use crate::capt::patch::{Mode, PatchError, Wish, patch};
use crate::capt::report::{TemplateReport, sanitised};
use crate::capt::source::{Input, MAX_BYTES};
use crate::cli::Global;
use crate::cli::template::{CheckArgs, PatchArgs, TemplateCommand};
use crate::commands::Stop;
use crate::model::Exit;
use crate::terminal::{self, Ui};
use crate::text::Output;

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
            if !matches!(
                global.output,
                Output::Text | Output::Json | Output::Yaml | Output::Sarif
            ) {
                return Err(Stop::usage("template check writes text, json, yaml and sarif"));
            }
            if args.from_cluster {
                let there = fetch()?;
                let mut outcome = render(&check_objects(&there), global.output);
                for note in &there.notes {
                    outcome.stderr.push_str(&format!("note: {}\n", sanitised(note)));
                }
                outcome
            } else {
                check(args, global.output)
            }
        }
        TemplateCommand::Patch(args) => {
            let ui = Ui::new(global.color, global.verbose, false);
            patch_file(
                args,
                ui.person,
                |text| {
                    // A reader that went away must not stop the question.
                    let _ = terminal::out(text);
                },
                |question| {
                    let asked = async { Ok(ui.ask(question).await?) };
                    crate::commands::block_on(asked).map_err(|stop: Stop| anyhow::anyhow!(stop.message))
                },
            )
        }
    };
    let Outcome { stdout, stderr, exit } = outcome;
    if !stderr.is_empty() {
        terminal::err(stderr.trim_end());
    }
    match command {
        TemplateCommand::Check(_) => terminal::out_as(global.output, &stdout)?,
        // A file, and none of its bytes is ours to change.
        TemplateCommand::Patch(_) => terminal::out(&stdout)?,
    }
    Ok(match exit {
        0 => Exit::Done,
        1 => Exit::Failed,
        3 => Exit::Undecided,
        _ => Exit::Usage,
    })
}

/// What a verb did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// For standard output.
    pub stdout: String,
    /// For standard error.
    pub stderr: String,
    /// The exit code.
    pub exit: u8,
}

impl Outcome {
    fn error(exit: u8, message: impl AsRef<str>) -> Self {
        Self {
            stdout: String::new(),
            stderr: format!("error: {}\n", sanitised(message.as_ref())),
            exit,
        }
    }
}

/// `template check` of files. (`--from-cluster` is [`super::check::check_objects`] on what the API server gave.)
pub fn check(args: &CheckArgs, format: Output) -> Outcome {
    let mut inputs = Vec::new();
    for path in &args.files {
        for file in match expand(path) {
            Ok(files) => files,
            Err(e) => return Outcome::error(2, format!("{}: {e}", path.display())),
        } {
            match read(&file) {
                Ok(input) => inputs.push(input),
                Err(message) => return Outcome::error(2, message),
            }
        }
    }
    match check_files(&inputs) {
        Ok(report) => render(&report, format),
        Err(e) => Outcome::error(2, e.to_string()),
    }
}

/// A report as asked for, with its exit code.
pub fn render(report: &TemplateReport, format: Output) -> Outcome {
    let stdout = match format {
        Output::Json => report.json(),
        Output::Yaml => report.yaml(),
        Output::Sarif => report.sarif(),
        _ => report.text(),
    };
    Outcome {
        stdout,
        stderr: String::new(),
        exit: report.exit_code(),
    }
}

/// A directory's `.tf` files by name; any other path itself.
fn expand(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        if file.extension().is_some_and(|e| e == "tf" || e == "tofu") && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        Err(io::Error::other(
            "the directory holds no .tf file (YAML files are named one by one)",
        ))
    } else {
        Ok(files)
    }
}

fn read(path: &Path) -> Result<Input, String> {
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    // One byte more than can be is enough to see that it is too much.
    let limit = MAX_BYTES as u64 + 1;
    let result = if name == "-" {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        fs::File::open(path).and_then(|f| f.take(limit).read_to_end(&mut bytes))
    };
    result.map_err(|e| format!("cannot read {name}: {e}"))?;
    Input::read(if name == "-" { "stdin" } else { &name }, bytes).map_err(|e| e.to_string())
}

/// `template patch`. `terminal`: a person can be asked. `show` gets the difference before `ask` gets the question.
pub fn patch_file(
    args: &PatchArgs,
    terminal: bool,
    mut show: impl FnMut(&str),
    mut ask: impl FnMut(&str) -> anyhow::Result<bool>,
) -> Outcome {
    let from_stdin = args.file.as_os_str() == "-";
    if args.in_place && from_stdin {
        return Outcome::error(2, "--in-place needs a file; standard input cannot be written");
    }
    if args.account_file.is_some() && args.mode != Mode::AccountTemplate {
        return Outcome::error(2, "--account-file goes with --mode account-template");
    }
    if args.in_place && !args.yes && !terminal {
        return Outcome::error(
            2,
            "--in-place asks before it writes, and there is no terminal to ask on: add --yes",
        );
    }
    let input = match read(&args.file) {
        Ok(input) => input,
        Err(message) => return Outcome::error(2, message),
    };
    let wish = Wish {
        mode: args.mode,
        removed_block: args.removed_block,
        account_apart: args.account_file.is_some(),
    };
    let patched = match patch(&input, wish) {
        Ok(patched) => patched,
        Err(PatchError::Unreadable(e)) => return Outcome::error(2, e.to_string()),
        Err(PatchError::Refused(reasons)) => {
            let mut stderr = format!("error: {} was not changed:\n", sanitised(&input.name));
            for reason in reasons {
                stderr.push_str(&format!("  {}\n", sanitised(&reason)));
            }
            return Outcome {
                stdout: String::new(),
                stderr,
                exit: 1,
            };
        }
    };
    let mut outcome = Outcome::default();
    for note in &patched.notes {
        outcome.stderr.push_str(&format!("note: {}\n", sanitised(note)));
    }
    if input.modules.is_empty() {
        outcome.stderr.push_str(&format!(
            "{} holds no module that can be looked into\n",
            sanitised(&input.name)
        ));
        outcome.exit = 3;
    }
    if !args.in_place {
        if let Err(message) = put_account(args, patched.account.as_deref(), &mut outcome) {
            return Outcome::error(1, message);
        }
        outcome.stdout = patched.text;
        return outcome;
    }
    if !patched.changed && patched.account.is_none() {
        outcome
            .stderr
            .push_str(&format!("{} needs no change\n", sanitised(&input.name)));
        return outcome;
    }
    show(&difference(&input.name, &input.text, &patched.text));
    for note in std::mem::take(&mut outcome.stderr).lines() {
        show(&format!("{note}\n"));
    }
    if !args.yes {
        match ask(&format!("Write this to {}?", sanitised(&input.name))) {
            Ok(true) => {}
            Ok(false) => {
                outcome.stderr.push_str("nothing was written\n");
                outcome.exit = 1;
                return outcome;
            }
            Err(e) => return Outcome::error(1, format!("nothing was written: {e:#}")),
        }
    }
    if let Err(message) = put_account(args, patched.account.as_deref(), &mut outcome) {
        return Outcome::error(1, message);
    }
    if patched.changed
        && let Err(e) = replace(&args.file, patched.text.as_bytes())
    {
        return Outcome::error(
            1,
            format!("{} could not be written and is as it was: {e}", input.name),
        );
    }
    outcome
        .stderr
        .push_str(&format!("wrote {}\n", sanitised(&input.name)));
    outcome
}

fn put_account(args: &PatchArgs, documents: Option<&str>, outcome: &mut Outcome) -> Result<(), String> {
    let (Some(path), Some(documents)) = (&args.account_file, documents) else {
        return Ok(());
    };
    match fs::read_to_string(path) {
        Ok(there) if there == documents => return Ok(()),
        Ok(_) => {
            return Err(format!(
                "{} is there already and says something else; nothing was written",
                path.display()
            ));
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(format!("cannot read {}: {e}", path.display())),
    }
    let written = fs::File::create_new(path).and_then(|mut f| f.write_all(documents.as_bytes()));
    written.map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    outcome
        .stderr
        .push_str(&format!("wrote {}\n", sanitised(&path.display().to_string())));
    Ok(())
}

/// The change as a unified diff.
pub fn difference(name: &str, old: &str, new: &str) -> String {
    let diff = similar::TextDiff::from_lines(old, new);
    let (a, b) = (format!("a/{name}"), format!("b/{name}"));
    sanitised(
        &diff
            .unified_diff()
            .context_radius(3)
            .header(&a, &b)
            .to_string()
            .replace('\r', ""),
    )
}

/// Replaces a file in one step, keeping its permissions; a reader sees the old file or the new one.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A link stays a link: the file behind it is replaced.
    let path = path.canonicalize()?;
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut new = tempfile::Builder::new()
        .prefix(".capt-spot-")
        .tempfile_in(directory)?;
    new.write_all(bytes)?;
    new.as_file()
        .set_permissions(fs::metadata(&path)?.permissions())?;
    new.as_file().sync_all()?;
    new.persist(&path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOL: &str = "resource \"kubectl_manifest\" \"np\" {\n  yaml_body = \"apiVersion: karpenter.sh/v1\\nkind: NodePool\\n\"\n}\n";

    fn args(file: &Path, in_place: bool, yes: bool) -> PatchArgs {
        PatchArgs {
            file: file.to_owned(),
            mode: Mode::Require,
            in_place,
            yes,
            removed_block: false,
            account_file: None,
        }
    }

    fn run(args: &PatchArgs, terminal: bool, answer: bool) -> (Outcome, String, usize) {
        let (mut shown, mut asked) = (String::new(), 0);
        let outcome = patch_file(
            args,
            terminal,
            |text| shown.push_str(text),
            |_| {
                asked += 1;
                Ok(answer)
            },
        );
        (outcome, shown, asked)
    }

    #[test]
    fn in_place_shows_asks_and_writes() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("main.tf");
        fs::write(&file, POOL).expect("written");
        let read = || fs::read_to_string(&file).expect("there");

        let (outcome, _, asked) = run(&args(&file, true, false), false, true);
        assert_eq!((outcome.exit, asked), (2, 0));
        assert!(outcome.stderr.contains("--yes"), "{}", outcome.stderr);
        assert_eq!(read(), POOL);

        let (outcome, shown, asked) = run(&args(&file, true, false), true, false);
        assert_eq!((outcome.exit, asked), (1, 1));
        assert!(
            shown.contains("+  depends_on = [data.aws_iam_role.spot]"),
            "{shown}"
        );
        assert_eq!(read(), POOL);

        let (outcome, _, asked) = run(&args(&file, true, true), false, false);
        assert_eq!((outcome.exit, asked), (0, 0), "{}", outcome.stderr);
        let mended = read();
        assert_ne!(mended, POOL);

        let (outcome, shown, asked) = run(&args(&file, true, false), true, true);
        assert_eq!((outcome.exit, asked, shown.as_str()), (0, 0, ""));
        assert_eq!(read(), mended);
        let names: Vec<_> = fs::read_dir(dir.path())
            .expect("read")
            .flatten()
            .map(|e| e.file_name())
            .collect();
        assert_eq!(names, ["main.tf"], "nothing is left behind");
    }

    #[cfg(unix)]
    #[test]
    fn the_file_keeps_its_permissions_and_a_link_stays_one() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let dir = tempfile::tempdir().expect("a directory");
        let (file, link) = (dir.path().join("real.tf"), dir.path().join("link.tf"));
        fs::write(&file, POOL).expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("set");
        symlink(&file, &link).expect("linked");
        let (outcome, _, _) = run(&args(&link, true, true), false, false);
        assert_eq!(outcome.exit, 0, "{}", outcome.stderr);
        assert!(link.symlink_metadata().expect("there").is_symlink());
        let mode = fs::metadata(&file).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        assert_ne!(fs::read_to_string(&file).expect("there"), POOL);
    }

    #[test]
    fn the_account_file_is_written_once_and_never_over_something_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let (file, account) = (dir.path().join("main.tf"), dir.path().join("account.yaml"));
        fs::write(&file, POOL).expect("written");
        let args = PatchArgs {
            mode: Mode::AccountTemplate,
            account_file: Some(account.clone()),
            ..args(&file, false, false)
        };
        let (outcome, _, _) = run(&args, false, false);
        assert_eq!(outcome.exit, 0, "{}", outcome.stderr);
        assert!(outcome.stdout.contains("data \"aws_iam_role\" \"spot\""));
        let written = CheckArgs {
            files: vec![account.clone()],
            from_cluster: false,
        };
        let report = check(&written, Output::Json);
        assert_eq!(report.exit, 0, "{}", report.stdout);
        assert_eq!(run(&args, false, false).0.exit, 0);
        fs::write(&account, "other: true\n").expect("written");
        assert_eq!(run(&args, false, false).0.exit, 1);
        assert_eq!(fs::read_to_string(&account).expect("there"), "other: true\n");
    }

    #[test]
    fn a_directory_is_one_module() {
        let dir = tempfile::tempdir().expect("a directory");
        let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("written");
        put("a.tf", &POOL.replace("\n}\n", "\n  wait_for = local.role\n}\n"));
        put("b.tf", "locals {\n  role = data.aws_iam_role.r.arn\n}\n");
        put(
            "c.tf",
            "data \"aws_iam_role\" \"r\" {\n  name = \"AWSServiceRoleForEC2Spot\"\n}\n",
        );
        let args = CheckArgs {
            files: vec![dir.path().to_owned()],
            from_cluster: false,
        };
        let outcome = check(&args, Output::Text);
        assert_eq!(outcome.exit, 0, "{}", outcome.stdout);
        fs::remove_file(dir.path().join("c.tf")).expect("removed");
        assert_eq!(check(&args, Output::Text).exit, 1);
        let missing = CheckArgs {
            files: vec![dir.path().join("none.tf")],
            from_cluster: false,
        };
        assert_eq!(check(&missing, Output::Text).exit, 2);
    }

    #[test]
    fn the_flags_are_well_formed() {
        use clap::CommandFactory as _;

        #[derive(clap::Parser)]
        struct Cli {
            #[command(subcommand)]
            _command: TemplateCommand,
        }
        Cli::command().debug_assert();
    }
}
