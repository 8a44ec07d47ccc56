//! The verbs whose words clap must not touch: `install` and `upgrade`, which hand helm's words on as they are, and
//! `__complete`, whose words are an unfinished line.

use std::ffi::OsString;

use clap::{ArgAction, CommandFactory as _, Parser as _};

use crate::cli::{Cli, Global};
use crate::commands::{CliError, completion, install};
use crate::helm::flags::Verb;
use crate::model::Exit;

/// A verb whose words are taken as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RawVerb {
    /// `install`, `upgrade`
    Helm(Verb),
    /// `__complete`
    Complete,
}

/// Splits a line with such a verb: what stands before it (with the program's name), the verb, what follows.
pub fn split(args: &[OsString]) -> Option<(&[OsString], RawVerb, &[OsString])> {
    let command = Cli::command();
    let mut at = 1;
    loop {
        let word = args.get(at)?.to_str()?;
        let Some(name) = word.strip_prefix('-') else {
            let verb = match word {
                "install" => RawVerb::Helm(Verb::Install),
                "upgrade" => RawVerb::Helm(Verb::Upgrade),
                completion::VERB => RawVerb::Complete,
                _ => return None,
            };
            return Some((args.get(..at)?, verb, args.get(at + 1..)?));
        };
        // A global flag of ours, with or without its value in the next word.
        let takes_next = command.get_arguments().any(|arg| {
            let named = match name.strip_prefix('-') {
                Some(long) => arg.get_long() == Some(long),
                None => arg.get_short().is_some_and(|short| name.chars().eq([short])),
            };
            // A flag whose value stands behind a `=` never has it in the next word.
            named
                && matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
                && !arg.is_require_equals_set()
        });
        at += if takes_next { 2 } else { 1 };
    }
}

/// `help [VERB]` is `[VERB] --help`, for those who know it from kubectl and helm.
pub fn plain_words(args: Vec<OsString>) -> Vec<OsString> {
    let word = args.get(1).and_then(|word| word.to_str());
    match word {
        Some("help") => {
            let mut line = args;
            line.remove(1);
            line.push("--help".into());
            line
        }
        _ => args,
    }
}

/// Runs it.
///
/// # Errors
/// What the verb says; wrong flags before it.
pub fn run(
    before: &[OsString],
    verb: RawVerb,
    words: &[OsString],
    called_as: &str,
) -> Result<Exit, CliError> {
    let verb = match verb {
        RawVerb::Complete => return completion::answer(words),
        RawVerb::Helm(verb) => verb,
    };
    let global = global(before)?;
    if global.quiet {
        crate::terminal::be_quiet();
    }
    install::run(verb, words, &global, called_as)
}

/// The flags before the verb. `schema` is a verb that takes nothing.
fn global(before: &[OsString]) -> Result<Global, CliError> {
    let line = before.iter().cloned().chain(["schema".into()]);
    Cli::try_parse_from(line).map(|cli| cli.global).map_err(|error| {
        let text = error.render().to_string();
        CliError::usage(text.trim_end().trim_start_matches("error: ").to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: &str) -> Option<(String, RawVerb, String)> {
        let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let join = |words: &[OsString]| {
            words
                .iter()
                .map(|w| w.to_string_lossy())
                .collect::<Vec<_>>()
                .join(" ")
        };
        split(&args).map(|(before, verb, words)| (join(before), verb, join(words)))
    }

    #[test]
    fn the_verb_is_found_behind_our_flags() {
        let install = RawVerb::Helm(Verb::Install);
        for (line, want) in [
            (
                "x install r c -n y --set a=b",
                Some(("x", install, "r c -n y --set a=b")),
            ),
            (
                "x --context a -n b -v upgrade --install r c",
                Some((
                    "x --context a -n b -v",
                    RawVerb::Helm(Verb::Upgrade),
                    "--install r c",
                )),
            ),
            ("x -v=6 install r", Some(("x -v=6", install, "r"))),
            ("x --context=a install -h", Some(("x --context=a", install, "-h"))),
            ("x -n install preflight", None),
            ("x preflight install", None),
            ("x explain upgrade", None),
            (
                "x __complete install -",
                Some(("x", RawVerb::Complete, "install -")),
            ),
            ("x --help", None),
            ("x", None),
        ] {
            let want = want.map(|(before, verb, words)| (before.to_owned(), verb, words.to_owned()));
            assert_eq!(at(line), want, "{line}");
        }
    }

    #[test]
    fn words_of_kubectl_and_helm_are_understood() {
        let plain = |line: &str| {
            super::plain_words(line.split(' ').map(OsString::from).collect())
                .iter()
                .map(|word| word.to_string_lossy().into_owned())
                .collect::<Vec<_>>()
                .join(" ")
        };
        for (line, want) in [
            ("x help", "x --help"),
            ("x help policy read", "x policy read --help"),
            ("x help install", "x install --help"),
            ("x preflight help", "x preflight help"),
            ("x", "x"),
        ] {
            assert_eq!(plain(line), want);
        }
    }

    #[test]
    fn flags_before_the_verb_are_ours() {
        let global = |line: &str| super::global(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert_eq!(
            global("x --context a -n b")
                .map(|g| (g.context, g.namespace))
                .ok(),
            Some((Some("a".into()), Some("b".into())))
        );
        let stop = global("x --no-such").expect_err("refused");
        assert_eq!(stop.exit, Exit::Usage);
    }
}
