//! Commands for a person to paste. There is no other way to make one: it is built from the target, so that it acts on that
//! target wherever it is pasted.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Target;
use crate::text::quote;

/// What makes a command of this machine mean the target: kept apart from the target's own facts, because a saved report or
/// a Job in the cluster has no context of this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommandScope {
    /// The kubeconfig's context. None: this machine has none for the target (`--capt`, an inventory, inside a pod).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// `--kubeconfig`, when it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<String>,
    /// The words with which this program finds the target again, where its context is not enough: `--cluster-name`,
    /// `--capt` with the management cluster's context.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own: Vec<String>,
}

/// A command for a person to paste, on one line, quoted for a POSIX shell.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Command {
    line: String,
    /// The command that makes the context which this one names, where this machine has none.
    before: Option<String>,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

fn joined<W: AsRef<str>>(words: impl IntoIterator<Item = W>) -> String {
    words
        .into_iter()
        .map(|word| quote(word.as_ref()))
        .collect::<Vec<_>>()
        .join(" ")
}

/// The words of a command line; each `{}` is the next value, as one word whatever is in it.
pub fn argv<'a>(line: &'a str, values: &[&'a str]) -> Vec<&'a str> {
    let mut values = values.iter().copied();
    line.split_whitespace()
        .map(|word| match word {
            "{}" => values.next().unwrap_or(word),
            _ => word,
        })
        .collect()
}

impl Command {
    fn of(program: &str, words: &[&str], flags: &[(&str, Option<&str>)]) -> Self {
        let flags = flags
            .iter()
            .filter_map(|(flag, value)| value.map(|value| [*flag, value]))
            .flatten();
        // What stands behind `--` belongs to another program.
        let (own, rest) = words.split_at(words.iter().position(|word| *word == "--").unwrap_or(words.len()));
        let line = joined(
            [program]
                .into_iter()
                .chain(own.iter().copied())
                .chain(flags)
                .chain(rest.iter().copied()),
        );
        Self { line, before: None }
    }

    /// A command that no cluster and no account has to do with: `terraform fmt`, an editor on a file.
    pub fn local(words: &[&str]) -> Self {
        Self {
            line: joined(words),
            before: None,
        }
    }

    /// The same, run by another program: `aws-vault exec prod --`.
    #[must_use]
    pub fn run_by(mut self, words: &[String]) -> Self {
        self.line = format!("{} {}", joined(words), self.line);
        self
    }

    /// The same, its output written to a file.
    #[must_use]
    pub fn into_file(mut self, path: &str) -> Self {
        self.line = format!("{} > {}", self.line, quote(path));
        self
    }

    /// The same, its output read by another command.
    #[must_use]
    pub fn piped(mut self, into: Self) -> Self {
        self.line = format!("{} | {}", self.line, into.line);
        self.before = self.before.or(into.before);
        self
    }

    /// The lines to paste, in order: what a command needs first stands before it, once.
    pub fn lines(commands: &[Self]) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for command in commands {
            for line in command.before.iter().chain([&command.line]) {
                if !lines.contains(line) {
                    lines.push(line.clone());
                }
            }
        }
        lines
    }
}

impl CommandScope {
    /// `kubectl ...` on the cluster of the context, whatever kind of cluster it is (a management cluster).
    pub fn kubectl(&self, words: &[&str]) -> Command {
        let flags = [
            ("--context", self.context.as_deref()),
            ("--kubeconfig", self.kubeconfig.as_deref()),
        ];
        Command::of("kubectl", words, &flags)
    }

    /// `--context` and `--kubeconfig`, for another command of this program.
    pub fn words(&self) -> Vec<String> {
        [("--context", &self.context), ("--kubeconfig", &self.kubeconfig)]
            .into_iter()
            .filter_map(|(flag, value)| value.clone().map(|value| [flag.to_owned(), value]))
            .flatten()
            .collect()
    }
}

impl Target {
    /// The context's name in commands, and the command that makes it, where this machine has none.
    fn context_for_commands(&self) -> (String, Option<String>) {
        if let Some(context) = &self.scope.context {
            return (context.clone(), None);
        }
        let alias = format!("{}.{}", self.cluster, self.region);
        let make = self.aws(&[
            "eks",
            "update-kubeconfig",
            "--name",
            &self.cluster,
            "--alias",
            &alias,
        ]);
        (alias, Some(make.line))
    }

    fn with_context(
        &self,
        program: &str,
        words: &[&str],
        flag: &str,
        more: &[(&str, Option<&str>)],
    ) -> Command {
        let (context, before) = self.context_for_commands();
        let kubeconfig = ("--kubeconfig", self.scope.kubeconfig.as_deref());
        let flags: Vec<_> = [(flag, Some(context.as_str())), kubeconfig]
            .into_iter()
            .chain(more.iter().copied())
            .collect();
        Command {
            before,
            ..Command::of(program, words, &flags)
        }
    }

    /// `kubectl ... --context CONTEXT`.
    pub fn kubectl(&self, words: &[&str]) -> Command {
        self.with_context("kubectl", words, "--context", &[])
    }

    /// `helm ... --kube-context CONTEXT`.
    pub fn helm(&self, words: &[&str]) -> Command {
        self.with_context("helm", words, "--kube-context", &[])
    }

    /// `aws ... --region REGION --profile PROFILE`.
    pub fn aws(&self, words: &[&str]) -> Command {
        self.in_account("aws", words)
    }

    /// `eksctl ... --region REGION --profile PROFILE`.
    pub fn eksctl(&self, words: &[&str]) -> Command {
        self.in_account("eksctl", words)
    }

    fn in_account(&self, program: &str, words: &[&str]) -> Command {
        let region = Some(self.region.as_str()).filter(|region| !region.is_empty());
        Command::of(
            program,
            words,
            &[("--region", region), ("--profile", self.profile.as_deref())],
        )
    }

    /// `kubectl capt-spot ...` about this target.
    pub fn capt_spot(&self, words: &[&str]) -> Command {
        let own: Vec<&str> = ["capt-spot"]
            .into_iter()
            .chain(words.iter().copied())
            .chain(self.scope.own.iter().map(String::as_str))
            .collect();
        // `--capt` names the management cluster's context itself.
        if self.scope.own.iter().any(|word| word == "--context") {
            return Command::of("kubectl", &own, &[]);
        }
        self.with_context("kubectl", &own, "--context", &[])
    }
}
