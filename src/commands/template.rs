//! `template check` and `template patch`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::capt::beside::Beside;
use crate::capt::check::{Management, check_files, check_objects};
use crate::capt::patch::{PatchError, PatchOptions, Patched, patch};
use crate::capt::report::TemplateReport;
use crate::capt::role::Mode;
use crate::capt::source::{Input, MAX_BYTES};
use crate::cli::Global;
use crate::cli::template::{CheckArgs, PatchArgs, TemplateCommand};
use crate::commands::{self, CliError};
use crate::model::Exit;
use crate::terminal::{self, Ui};
use crate::text::sanitize;

/// Runs it. `fetch` is called for `--from-cluster` only.
///
/// # Errors
/// An output format that a template report does not have; what `fetch` says; a file that cannot be read or written.
pub fn run(
    command: &TemplateCommand,
    global: &Global,
    fetch: impl FnOnce() -> Result<Management, CliError>,
) -> Result<Exit, CliError> {
    let ui = Ui::new(global.color, global.verbose, false);
    match command {
        TemplateCommand::Check(args) => {
            let report = if args.from_cluster {
                let there = fetch()?;
                for note in &there.notes {
                    terminal::err(&format!("note: {}", sanitize::line(note)));
                }
                check_objects(&there)
            } else {
                check(args)?
            };
            let document = report.document(Timestamp::now());
            commands::answer(&[report.page()], &document, &args.reporting, global, &ui)?;
            Ok(report.verdict.into())
        }
        TemplateCommand::Patch(args) => {
            let show = |text: &str| {
                // A reader that went away must not stop the question.
                let _ = terminal::out(text);
            };
            let ask = |question: &str| super::block_on(async { Ok(ui.consents(question).await?) });
            let (stdout, exit) = patch_file(args, ui.person && ui.reads_stdout, show, ask)?;
            // A file, and none of its bytes is ours to change.
            terminal::out(&stdout)?;
            Ok(exit)
        }
    }
}

fn check(args: &CheckArgs) -> Result<TemplateReport, CliError> {
    let (mut inputs, mut broken) = (Vec::new(), Vec::new());
    for path in &args.files {
        let files = expand(path).map_err(|e| CliError::usage(format!("{}: {e}", path.display())))?;
        for file in &files {
            match read(file) {
                Ok(input) => inputs.push(Input {
                    named: file == path,
                    ..input
                }),
                Err(_) if file != path && !matters(file) => {}
                Err(message) => broken.push(message),
            }
        }
    }
    let folders: BTreeSet<&Path> = inputs
        .iter()
        .filter(|input| input.reads_beside())
        .filter_map(|input| Path::new(&input.name).parent())
        .collect();
    let beside: BTreeMap<PathBuf, Beside> = folders
        .into_iter()
        .map(|folder| (folder.to_owned(), files_beside(folder)))
        .collect();
    if !broken.is_empty() {
        return Err(CliError::usage(broken.join("\nerror: ")));
    }
    check_files(&inputs, &beside).map_err(|broken| {
        let all: Vec<String> = broken.iter().map(ToString::to_string).collect();
        CliError::usage(all.join("\nerror: "))
    })
}

/// A folder's `.tf` and YAML files by name; any other path itself.
fn expand(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        let wanted = |e: &std::ffi::OsStr| ["tf", "tofu", "yaml", "yml"].iter().any(|w| e == *w);
        if file.extension().is_some_and(wanted) && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(io::Error::other("the folder holds no .tf and no YAML file"));
    }
    Ok(files)
}

/// Whether a YAML file of a folder that cannot be read may be about NodePools.
fn matters(path: &Path) -> bool {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    !path.extension().is_some_and(|e| e == "yaml" || e == "yml")
        || [
            "NodePool",
            "Provisioner",
            "WorkspaceTemplate",
            "HelmChartProxy",
            "karpenter",
        ]
        .iter()
        .any(|word| text.contains(word))
}

/// The text files that a module's expressions and charts may read: of the folder and three levels below it.
fn files_beside(folder: &Path) -> Beside {
    const LEVELS: usize = 3;
    const ENTRIES: usize = 2_000;
    let root = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let (mut files, mut left) = (BTreeMap::new(), ENTRIES);
    let mut folders = vec![(root.to_owned(), 0)];
    while let Some((folder, level)) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            left = left.saturating_sub(1);
            // A link may lead out of the folder.
            let Ok(kind) = entry.file_type() else { continue };
            if left == 0 || name.to_string_lossy().starts_with('.') {
                continue;
            }
            if kind.is_dir() && level < LEVELS {
                folders.push((path, level + 1));
            } else if kind.is_file()
                && path.extension().is_some_and(|e| {
                    ["yaml", "yml", "json", "tpl", "tftpl", "tmpl"]
                        .iter()
                        .any(|w| e == *w)
                })
                && entry.metadata().is_ok_and(|m| m.len() <= 1 << 20)
                && let (Ok(inside), Ok(text)) = (path.strip_prefix(root), fs::read_to_string(&path))
            {
                files.insert(inside.to_string_lossy().replace('\\', "/"), text);
            }
        }
    }
    Beside::new(files)
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

/// `template patch`: what goes to standard output, and the exit code. `person`: somebody can be asked. `show` gets the
/// difference before `ask` gets the question.
fn patch_file(
    args: &PatchArgs,
    person: bool,
    show: impl FnOnce(&str),
    ask: impl FnOnce(&str) -> Result<bool, CliError>,
) -> Result<(String, Exit), CliError> {
    let from_stdin = args.file.as_os_str() == "-";
    if args.in_place && from_stdin {
        return Err(CliError::usage(
            "--in-place needs a file; standard input cannot be written",
        ));
    }
    if args.account_file.is_some() && args.mode != Some(Mode::AccountTemplate) {
        return Err(CliError::usage(
            "--account-file goes with --mode account-template",
        ));
    }
    if args.in_place && !args.yes && !person {
        return Err(CliError::usage(
            "--in-place asks before it writes, and there is no terminal to ask on: add --yes",
        ));
    }
    let input = read(&args.file).map_err(CliError::usage)?;
    let options = PatchOptions {
        mode: args.mode,
        removed_block: args.removed_block,
        account_apart: args.account_file.is_some(),
    };
    let beside = match args.file.parent() {
        Some(folder) if input.reads_beside() && !from_stdin => files_beside(folder),
        _ => Beside::default(),
    };
    let patched = patch(&input, options, &beside).map_err(|e| match e {
        PatchError::Unreadable(e) => CliError::usage(e.to_string()),
        PatchError::Refused(reasons) => {
            let reasons: String = reasons.iter().map(|reason| format!("\n  {reason}")).collect();
            CliError::failed(format!("{} was not changed:{reasons}", input.name))
        }
    })?;
    let notes: Vec<String> = patched
        .notes
        .iter()
        .map(|note| format!("note: {}\n", sanitize::line(note)))
        .collect();
    let exit = if input.objects.modules.is_empty() {
        terminal::err(&format!("{} holds no module that can be judged", input.name));
        Exit::Undecided
    } else {
        Exit::Done
    };
    if !args.in_place {
        notes.iter().for_each(|note| terminal::err(note.trim_end()));
        put_account(args, &patched)?;
        return Ok((patched.text, exit));
    }
    if !patched.changed && patched.account.is_none() {
        notes.iter().for_each(|note| terminal::err(note.trim_end()));
        terminal::err(&format!("{} needs no change", input.name));
        return Ok((String::new(), exit));
    }
    show(&(difference(&input.name, &input.text, &patched.text) + &notes.concat()));
    let question = format!("Write this to {}?", input.name);
    let agreed = args.yes || ask(&question).inspect_err(|_| terminal::err("nothing was written"))?;
    if !agreed {
        terminal::err("nothing was written");
        return Ok((String::new(), Exit::Failed));
    }
    put_account(args, &patched)?;
    if patched.changed {
        replace(&args.file, patched.text.as_bytes()).map_err(|e| {
            CliError::failed(format!(
                "{} could not be written and is unchanged: {e}",
                input.name
            ))
        })?;
    }
    terminal::err(&format!("wrote {}", input.name));
    Ok((String::new(), exit))
}

/// Writes the account's documents to their file, never over something else.
fn put_account(args: &PatchArgs, patched: &Patched) -> Result<(), CliError> {
    let (Some(path), Some(documents)) = (&args.account_file, &patched.account) else {
        return Ok(());
    };
    match fs::read_to_string(path) {
        Ok(there) if there == *documents => return Ok(()),
        Ok(_) => {
            return Err(CliError::failed(format!(
                "{} exists with other content; nothing was written",
                path.display()
            )));
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(CliError::failed(format!("cannot read {}: {e}", path.display()))),
    }
    fs::File::create_new(path)
        .and_then(|mut f| f.write_all(documents.as_bytes()))
        .map_err(|e| CliError::failed(format!("cannot write {}: {e}", path.display())))?;
    terminal::err(&format!("wrote {}", path.display()));
    Ok(())
}

/// The change as a unified diff.
fn difference(name: &str, old: &str, new: &str) -> String {
    let diff = similar::TextDiff::from_lines(old, new);
    let (a, b) = (format!("a/{name}"), format!("b/{name}"));
    let text = diff.unified_diff().context_radius(3).header(&a, &b).to_string();
    sanitize::lines(&text)
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
            mode: None,
            in_place,
            yes,
            removed_block: false,
            account_file: None,
        }
    }

    /// Exit code, what was shown, whether somebody was asked.
    fn run(args: &PatchArgs, person: bool, answer: bool) -> (u8, String, bool) {
        let (mut shown, mut asked) = (String::new(), false);
        let ask = |_: &str| {
            asked = true;
            Ok(answer)
        };
        let exit = match patch_file(args, person, |text| shown.push_str(text), ask) {
            Ok((stdout, exit)) => {
                shown.push_str(&stdout);
                exit.code()
            }
            Err(stop) => {
                shown.push_str(&stop.message);
                stop.exit.code()
            }
        };
        (exit, shown, asked)
    }

    /// The exit code of a check.
    fn exit_of(path: &Path) -> u8 {
        let args = CheckArgs {
            files: vec![path.to_owned()],
            ..CheckArgs::default()
        };
        match check(&args) {
            Ok(report) => report.verdict.exit_code(),
            Err(stop) => stop.exit.code(),
        }
    }

    #[test]
    fn in_place_shows_asks_and_writes() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("main.tf");
        fs::write(&file, POOL).expect("written");
        let read = || fs::read_to_string(&file).expect("there");

        let (exit, shown, asked) = run(&args(&file, true, false), false, true);
        assert_eq!((exit, asked), (2, false));
        assert!(shown.contains("--yes"), "{shown}");
        assert_eq!(read(), POOL);

        let (exit, shown, asked) = run(&args(&file, true, false), true, false);
        assert_eq!((exit, asked), (1, true));
        assert!(
            shown.contains("+  depends_on = [data.aws_iam_role.spot]"),
            "{shown}"
        );
        assert_eq!(read(), POOL);

        let (exit, shown, asked) = run(&args(&file, true, true), false, false);
        assert_eq!((exit, asked), (0, false), "{shown}");
        let patched = read();
        assert_ne!(patched, POOL);

        let (exit, shown, asked) = run(&args(&file, true, false), true, true);
        assert_eq!((exit, asked, shown.as_str()), (0, false, ""));
        assert_eq!(read(), patched);
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
        let (exit, shown, _) = run(&args(&link, true, true), false, false);
        assert_eq!(exit, 0, "{shown}");
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
            mode: Some(Mode::AccountTemplate),
            account_file: Some(account.clone()),
            ..args(&file, false, false)
        };
        let (exit, shown, _) = run(&args, false, false);
        assert_eq!(exit, 0, "{shown}");
        assert!(shown.contains("data \"aws_iam_role\" \"spot\""));
        assert_eq!(exit_of(&account), 0);
        assert_eq!(run(&args, false, false).0, 0);
        fs::write(&account, "other: true\n").expect("written");
        assert_eq!(run(&args, false, false).0, 1);
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
        assert_eq!(exit_of(dir.path()), 0);
        fs::remove_file(dir.path().join("c.tf")).expect("removed");
        assert_eq!(exit_of(dir.path()), 1);
        assert_eq!(exit_of(&dir.path().join("none.tf")), 2);
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
