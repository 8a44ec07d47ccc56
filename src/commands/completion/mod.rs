//! `completion`: the shell's own completion script for the binary, and what kubectl and helm ask for.
//!
//! kubectl runs `kubectl_complete-capt_spot WORD...`, helm runs `plugin.complete WORD...`; both come down to
//! `kubectl-capt_spot __complete WORD...`. The last word is the one being typed. The answer is Cobra's: candidates, one a
//! line, a tab before the description, then `:DIRECTIVE`.

use std::borrow::Cow;
use std::ffi::OsString;

use clap::{Arg, ArgAction, Command, ValueEnum as _};
use clap_complete::Shell;

use crate::checks::{Group, REGISTRY};
use crate::cli::{self, Completion};
use crate::cluster::kubeconfig::{self, Sources};
use crate::commands::CliError;
use crate::helm::args::OUR_FLAGS;
use crate::model::Exit;
use crate::terminal;
use crate::text::Output;

/// The hidden verb that kubectl's and helm's completion call.
pub const VERB: &str = "__complete";
/// Cobra's directive: complete file names.
const FILES: u8 = 0;
/// Cobra's directive: what is printed is all there is.
const NO_FILES: u8 = 4;

/// Scripts that ask the program, as kubectl and helm do: so they know contexts, checks and formats, too. (clap's own for bash
/// loses its way behind the verb with a name like ours, which has a `-` and a `_`.)
const BASH: &str = include_str!("bash");
const FISH: &str = include_str!("fish");
const POWERSHELL: &str = include_str!("powershell");
const ZSH: &str = include_str!("zsh");

/// Runs it. Offline.
///
/// # Errors
/// Writing failed.
pub fn run(args: &Completion) -> Result<Exit, CliError> {
    terminal::out(&script(args.shell))?;
    Ok(Exit::Done)
}

fn script(shell: Shell) -> Cow<'static, str> {
    match shell {
        Shell::Bash => BASH.into(),
        Shell::Fish => FISH.into(),
        Shell::PowerShell => POWERSHELL.into(),
        Shell::Zsh => ZSH.into(),
        other => {
            let mut command = cli::command(terminal::KUBECTL);
            let mut text = Vec::new();
            clap_complete::generate(other, &mut command, "kubectl-capt_spot", &mut text);
            String::from_utf8_lossy(&text).into_owned().into()
        }
    }
}

/// Answers kubectl and helm. Reads nothing but the kubeconfig, and that only for names of contexts.
///
/// # Errors
/// Writing failed.
pub fn answer(words: &[OsString]) -> Result<Exit, CliError> {
    let words: Vec<String> = words
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    terminal::out(&complete(&cli::command(terminal::KUBECTL), &words, contexts).print())?;
    Ok(Exit::Done)
}

fn contexts() -> Vec<String> {
    match kubeconfig::load(&Sources::from_env(None)) {
        Ok(Some(config)) => config.contexts.into_iter().map(|context| context.name).collect(),
        Ok(None) | Err(_) => Vec::new(),
    }
}

/// What may stand where the person types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates {
    all: Vec<(String, String)>,
    directive: u8,
}

impl Candidates {
    fn files() -> Self {
        Self {
            all: Vec::new(),
            directive: FILES,
        }
    }

    fn words(words: impl IntoIterator<Item = (String, String)>) -> Self {
        Self {
            all: words.into_iter().collect(),
            directive: NO_FILES,
        }
    }

    /// As Cobra prints them.
    pub fn print(&self) -> String {
        let mut text = String::new();
        for (word, help) in &self.all {
            let clean = |text: &str| text.replace(|c: char| c.is_control(), " ");
            text.push_str(&clean(word));
            if !help.is_empty() {
                text.push('\t');
                text.push_str(&clean(help));
            }
            text.push('\n');
        }
        text.push_str(&format!(":{}\n", self.directive));
        text
    }
}

/// Candidates for the last of `words`.
pub fn complete(root: &Command, words: &[String], contexts: impl FnOnce() -> Vec<String>) -> Candidates {
    let mut root = root.clone();
    // Gives every verb the global flags.
    root.build();
    let (typed, before) = match words.split_last() {
        Some((typed, before)) => (typed.as_str(), before),
        None => ("", &[][..]),
    };
    let mut command = &root;
    let mut positionals = 0;
    let mut waiting: Option<&Arg> = None;
    let mut rest = false;
    for word in before {
        if rest || waiting.take().is_some() {
            continue;
        }
        if word == "--" {
            rest = true;
        } else if let Some(arg) = flag(command, word) {
            waiting = (takes_value(arg) && !word.contains('=')).then_some(arg);
        } else if word.starts_with('-') {
            // Not ours: a flag of helm after install or upgrade.
        } else if let Some(verb) = command.find_subcommand(word) {
            command = verb;
            positionals = 0;
        } else {
            positionals += 1;
        }
    }
    let installs = matches!(command.get_name(), "install" | "upgrade");
    let all = if let Some(arg) = waiting {
        values(arg, contexts)
    } else if rest {
        Candidates::files()
    } else if let Some((name, _)) = typed.split_once('=')
        && let Some(arg) = flag(command, name)
    {
        let mut values = values(arg, contexts);
        for (word, _) in &mut values.all {
            word.insert_str(0, &format!("{name}="));
        }
        values
    } else if typed.starts_with('-') {
        let mut all: Vec<_> = command
            .get_arguments()
            .filter(|arg| !arg.is_hide_set())
            .filter_map(|arg| Some((format!("--{}", arg.get_long()?), help(arg))))
            .collect();
        if installs {
            let ours = OUR_FLAGS
                .iter()
                .map(|flag| (format!("--{}", flag.name), flag.help.to_owned()));
            all.extend(ours);
            all.sort();
            all.dedup_by(|a, b| a.0 == b.0);
        }
        Candidates::words(all)
    } else if command.has_subcommands() {
        let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
        Candidates::words(verbs.map(|verb| {
            let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
            (verb.get_name().to_owned(), about)
        }))
    } else if installs {
        // A release, then a chart, which may be a folder.
        Candidates::files()
    } else {
        match command.get_positionals().nth(positionals) {
            Some(arg) if arg.is_last_set() => Candidates::words([]),
            Some(arg) => values(arg, contexts),
            None => Candidates::words([]),
        }
    };
    Candidates {
        all: all
            .all
            .into_iter()
            .filter(|(word, _)| word.starts_with(typed))
            .collect(),
        ..all
    }
}

fn takes_value(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append) && !arg.is_require_equals_set()
}

fn help(arg: &Arg) -> String {
    arg.get_help().map(ToString::to_string).unwrap_or_default()
}

/// The flag that a word is: `--name`, `--name=value`, `-n`.
fn flag<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    let name = word.split('=').next().unwrap_or_default();
    if let Some(long) = name.strip_prefix("--") {
        return command.get_arguments().find(|arg| arg.get_long() == Some(long));
    }
    let mut chars = name.strip_prefix('-')?.chars();
    let short = chars.next()?;
    chars.next().is_none().then_some(())?;
    command.get_arguments().find(|arg| arg.get_short() == Some(short))
}

fn values(arg: &Arg, contexts: impl FnOnce() -> Vec<String>) -> Candidates {
    let possible = arg.get_possible_values();
    if !possible.is_empty() {
        return Candidates::words(possible.iter().filter(|value| !value.is_hide_set()).map(|value| {
            let help = value.get_help().map(ToString::to_string).unwrap_or_default();
            (value.get_name().to_owned(), help)
        }));
    }
    let checks = || {
        REGISTRY
            .iter()
            .map(|check| (check.id.to_owned(), check.title.to_owned()))
    };
    let groups = || {
        Group::ALL
            .iter()
            .map(|group| (group.id().to_owned(), group.title().to_owned()))
    };
    match arg.get_id().as_str() {
        "context" => Candidates::words(contexts().into_iter().map(|name| (name, String::new()))),
        "only" | "skip" => Candidates::words(groups().chain(checks())),
        "check" => Candidates::words(groups().chain(checks())),
        // A file follows the sign.
        "report" => {
            let formats = Output::value_variants()
                .iter()
                .filter_map(Output::to_possible_value);
            Candidates::words(formats.map(|format| {
                let help = format.get_help().map(ToString::to_string).unwrap_or_default();
                (format!("{}=", format.get_name()), help)
            }))
        }
        _ => {
            let names = arg.get_value_names().unwrap_or_default();
            if names.iter().any(|name| name.as_str().contains("FILE")) {
                Candidates::files()
            } else {
                Candidates::words([])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(line: &[&str]) -> Candidates {
        let words: Vec<String> = line.iter().map(|word| (*word).to_owned()).collect();
        complete(&cli::command(terminal::KUBECTL), &words, || {
            vec!["demo".to_owned(), "other".to_owned()]
        })
    }

    fn words(line: &[&str]) -> Vec<String> {
        let candidates = at(line);
        assert_eq!(candidates.directive, NO_FILES, "{line:?}");
        candidates.all.into_iter().map(|(word, _)| word).collect()
    }

    /// Bash itself runs the script, as readline would, on a stand-in that prints what it was asked.
    #[cfg(unix)]
    #[test]
    fn bash_asks_with_the_words_of_the_line_and_puts_in_what_follows_its_break() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("script"), BASH).expect("written");
        let bash = |line: &str, current: &str, answers: &str| {
            let play = format!(
                ". {}/script\nprogram() {{ printf '%s,' \"$@\" >&3; printf -- '{answers}'; }}\n\
                 COMP_LINE={line:?} COMP_POINT={}\n_kubectl_capt_spot program {current:?} x 3>{}/asked\n\
                 printf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
                dir.path().display(),
                line.len(),
                dir.path().display(),
            );
            let ran = std::process::Command::new("bash")
                .args(["--norc", "-c", &play])
                .output();
            // A machine without bash has nobody to complete for.
            let ran = ran.ok()?;
            let asked = std::fs::read_to_string(dir.path().join("asked")).expect("asked");
            Some((asked, String::from_utf8_lossy(&ran.stdout).into_owned()))
        };
        for (line, current, answers, asked, got) in [
            (
                "program pre",
                "pre",
                r"preflight\tRead\n:4\n",
                "__complete,pre,",
                "preflight\n",
            ),
            ("program preflight ", "", r":4\n", "__complete,preflight,,", "\n"),
            (
                "program preflight --context arn:aws:eks:eu",
                "eu",
                r"arn:aws:eks:eu-west-1:1:cluster/demo\n:4\n",
                "__complete,preflight,--context,arn:aws:eks:eu,",
                "eu-west-1:1:cluster/demo\n",
            ),
            (
                "program preflight --only=sp",
                "sp",
                r"--only=spot-role\n--only=spot-quota\n:4\n",
                "__complete,preflight,--only=sp,",
                "spot-role\nspot-quota\n",
            ),
        ] {
            let Some(seen) = bash(line, current, answers) else {
                return;
            };
            assert_eq!(seen, (asked.to_owned(), got.to_owned()), "{line}");
        }
    }

    #[test]
    fn verbs_flags_and_values() {
        assert_eq!(words(&["pref"]), ["preflight"]);
        assert!(words(&[""]).contains(&"create-role".to_owned()));
        assert_eq!(words(&["preflight", "--node-r"]), ["--node-role"]);
        assert!(words(&["preflight", "--"]).contains(&"--context".to_owned()));
        assert_eq!(words(&["preflight", "--context", ""]), ["demo", "other"]);
        assert_eq!(words(&["--context", "d"]), ["demo"]);
        assert_eq!(words(&["preflight", "--context=o"]), ["--context=other"]);
        assert_eq!(words(&["--context", "demo", "expl"]), ["explain"]);
        assert_eq!(words(&["explain", "spot-role-ex"]), ["spot-role-exists"]);
        assert_eq!(words(&["preflight", "--only", "spot-role"])[0], "spot-role");
        assert_eq!(words(&["preflight", "-o", "js"]), ["json"]);
        assert_eq!(words(&["policy", "rb"]), ["rbac"]);
        assert!(words(&["completion", ""]).contains(&"zsh".to_owned()));
        assert_eq!(words(&["create-role", "x", "y"]), Vec::<String>::new());
    }

    #[test]
    fn files_where_a_file_is_meant() {
        for line in [
            &["preflight", "--save", ""][..],
            &["--kubeconfig", ""],
            &["preflight", "--", "x"],
        ] {
            assert_eq!(at(line), Candidates::files(), "{line:?}");
        }
    }

    #[test]
    fn printed_as_cobra_does() {
        let candidates = Candidates::words([("a".into(), "b\nc".into()), ("d".into(), String::new())]);
        assert_eq!(candidates.print(), "a\tb c\nd\n:4\n");
        assert_eq!(Candidates::files().print(), ":0\n");
    }

    proptest! {
        #[test]
        fn any_line_gets_an_answer(line in proptest::collection::vec("(--?)?[a-z=-]{0,8}", 0..5)) {
            let words: Vec<&str> = line.iter().map(String::as_str).collect();
            let printed = at(&words).print();
            prop_assert!(printed.ends_with(":4\n") || printed.ends_with(":0\n"));
        }
    }
}
