//! The two exec plugins whose token this program makes itself: `aws eks get-token` and `aws-iam-authenticator token`.
//!
//! Flags are read in either spelling (`--cluster-name X`, `--cluster-name=X`, `-i X`, `-iX`), as botocore's and cobra's
//! parsers take them.

use std::collections::BTreeMap;

use kube::config::ExecConfig;

use crate::kube::exec_plugin::env_of;
use serde::{Deserialize, Serialize};

/// Which known plugin an exec entry runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Plugin {
    /// `aws eks get-token`
    AwsCli,
    /// `aws-iam-authenticator token`
    IamAuthenticator,
}

/// What an exec entry of a known plugin names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownExec {
    pub plugin: Plugin,
    /// `--cluster-name`, `--cluster-id` or `-i`: what goes into the token's `x-k8s-aws-id` header.
    pub cluster: Option<String>,
    /// `--region`
    pub region: Option<String>,
    /// `--profile`
    pub profile_flag: Option<String>,
    /// `--role-arn`, `--role` or `-r`
    pub role_arn: Option<String>,
    /// `--external-id` or `-e`
    pub external_id: Option<String>,
    /// `--session-name` or `-s`
    pub session_name: Option<String>,
    pub env: BTreeMap<String, String>,
    /// What the program cannot reproduce in process, when there is something: then the plugin runs as configured.
    pub not_reproducible: Option<String>,
    /// The words of a program that gives the plugin its credentials: `aws-vault exec prod --`.
    pub credentials_by: Option<Vec<String>>,
}

impl KnownExec {
    #[cfg(test)]
    /// The AWS profile that the entry names, by flag or by AWS_PROFILE / AWS_DEFAULT_PROFILE.
    pub fn profile(&self) -> Option<&str> {
        self.profile_flag
            .as_deref()
            .or_else(|| self.env.get("AWS_PROFILE").map(String::as_str))
            .or_else(|| self.env.get("AWS_DEFAULT_PROFILE").map(String::as_str))
            .filter(|profile| !profile.is_empty())
    }

    /// The region that the entry names, by flag or by AWS_REGION / AWS_DEFAULT_REGION.
    pub fn region(&self) -> Option<&str> {
        self.region
            .as_deref()
            .or_else(|| self.env.get("AWS_REGION").map(String::as_str))
            .or_else(|| self.env.get("AWS_DEFAULT_REGION").map(String::as_str))
            .filter(|region| !region.is_empty())
    }
}

fn base_name(command: &str) -> &str {
    let base = command.rsplit(['/', '\\']).next().unwrap_or(command);
    base.strip_suffix(".exe")
        .or_else(|| base.strip_suffix(".cmd"))
        .unwrap_or(base)
}

/// Variables that change who the plugin is in ways the in-process token follows.
const FOLLOWED: &[&str] = &[
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    // These change nothing about the token that EKS takes.
    "AWS_STS_REGIONAL_ENDPOINTS",
    "AWS_PAGER",
    "AWS_MAX_ATTEMPTS",
    "AWS_RETRY_MODE",
    "AWS_DEFAULT_OUTPUT",
    "AWS_SDK_LOAD_CONFIG",
    "AWS_EC2_METADATA_DISABLED",
];

/// Reads an exec entry when it runs one of the two known plugins, by itself or through what adds nothing but variables (`env`, a
/// shell with one plain command).
pub fn known(exec: &ExecConfig) -> Option<KnownExec> {
    let Unwrapped {
        mut known,
        wrapper: Wrapper::None,
    } = unwrap(exec)?
    else {
        return None;
    };
    if known.not_reproducible.is_none() {
        known.not_reproducible = known
            .env
            .keys()
            .find(|name| name.starts_with("AWS_") && !FOLLOWED.contains(&name.as_str()))
            .map(|name| format!("its environment sets {name}"));
    }
    if known.not_reproducible.is_none()
        && !exec
            .drop_env
            .iter()
            .flatten()
            .all(|name| !name.starts_with("AWS_"))
    {
        known.not_reproducible = Some("it drops AWS variables from the environment".to_owned());
    }
    Some(known)
}

/// What another command's arguments tell of the cluster, when it wraps a known plugin
/// (`aws-vault exec PROFILE -- aws eks get-token --cluster-name X`). It still runs as configured.
pub fn wrapped(exec: &ExecConfig) -> Option<KnownExec> {
    let Unwrapped { mut known, wrapper } = unwrap(exec)?;
    // What the shell has yet to expand tells nothing.
    for told in [
        &mut known.cluster,
        &mut known.region,
        &mut known.profile_flag,
        &mut known.role_arn,
    ] {
        told.take_if(|value| value.contains(['$', '`']));
    }
    if let Wrapper::Credentials { command, profile } = wrapper {
        // Where the profile alone has credentials they are used; else only the wrapper has them.
        if let Some(profile) = profile {
            known.env.entry("AWS_PROFILE".to_owned()).or_insert(profile);
        }
        known.credentials_by = Some(command);
    }
    Some(known)
}

/// A known plugin, and what stands around it.
struct Unwrapped {
    known: KnownExec,
    wrapper: Wrapper,
}

enum Wrapper {
    /// Nothing that changes what the plugin does.
    None,
    /// Something: the plugin alone would do something else.
    Other,
    /// A program that gives a command the credentials of a profile.
    Credentials {
        /// The words before the command: `aws-vault exec prod --`.
        command: Vec<String>,
        profile: Option<String>,
    },
}

fn unwrap(exec: &ExecConfig) -> Option<Unwrapped> {
    let command = exec.command.clone()?;
    let args = exec.args.iter().flatten().cloned();
    let mut words: Vec<String> = std::iter::once(command).chain(args).collect();
    let mut env = env_of(exec);
    let mut wrapper = Wrapper::None;
    // A wrapper in a wrapper in a wrapper is as deep as anybody goes.
    for _ in 0..8 {
        let first = base_name(words.first()?).to_owned();
        match first.as_str() {
            "aws" | "aws2" | "aws-iam-authenticator" | "heptio-authenticator-aws" => {
                let args: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
                let mut known = match first.as_str() {
                    "aws" | "aws2" => aws_cli(&args)?,
                    _ => iam_authenticator(&args)?,
                };
                known.env = env;
                return Some(Unwrapped { known, wrapper });
            }
            "env" => {
                let rest = words.split_off(1);
                let mut rest = rest.into_iter().peekable();
                while let Some(word) =
                    rest.next_if(|word| word.starts_with('-') || assignment(word).is_some())
                {
                    match assignment(&word) {
                        Some((name, value)) => drop(env.insert(name.to_owned(), value.to_owned())),
                        // -i, -u NAME: less than what this process has.
                        None => wrapper = Wrapper::Other,
                    }
                }
                words = rest.collect();
            }
            "sh" | "bash" | "zsh" | "dash" | "ksh" => {
                let script = words
                    .iter()
                    .skip_while(|word| {
                        !(word.starts_with('-') && !word.starts_with("--") && word.ends_with('c'))
                    })
                    .nth(1)?;
                let (inner, plain) = shell_command(script)?;
                words = inner;
                if !plain {
                    wrapper = Wrapper::Other;
                }
                while let Some((name, value)) = words.first().and_then(|word| assignment(word)) {
                    env.insert(name.to_owned(), value.to_owned());
                    words.remove(0);
                }
            }
            "exec" | "command" => drop(words.remove(0)),
            program => {
                let at = words.iter().skip(1).position(|word| word == "--");
                let plugin =
                    |word: &String| matches!(base_name(word), "aws" | "aws2" | "aws-iam-authenticator");
                let found = match at.or_else(|| words.iter().skip(1).position(plugin)) {
                    Some(at) if words[at + 1] == "--" => at + 2,
                    Some(at) => at + 1,
                    // Somebody's own shell: the command is one of its words.
                    None => {
                        words = words.iter().skip(1).find_map(|word| shell_command(word))?.0;
                        wrapper = Wrapper::Other;
                        continue;
                    }
                };
                let profile = match program {
                    "aws-vault" => plain_words(&words[1..found]).nth(1),
                    "assume" | "assumego" | "granted" => plain_words(&words[1..found]).next(),
                    "saml2aws" => flag_value(&words[1..found], &["--exec-profile", "-p", "--profile"]),
                    _ => None,
                }
                .map(str::to_owned);
                let gives = matches!(
                    program,
                    "aws-vault" | "assume" | "assumego" | "granted" | "saml2aws" | "aws-okta" | "leapp"
                );
                let rest = words.split_off(found);
                wrapper = match gives {
                    true => Wrapper::Credentials {
                        command: words,
                        profile,
                    },
                    false => Wrapper::Other,
                };
                words = rest;
            }
        }
    }
    None
}

/// The words that are no flags and no `--`.
fn plain_words(words: &[String]) -> impl Iterator<Item = &str> {
    words
        .iter()
        .map(String::as_str)
        .filter(|word| !word.starts_with('-'))
}

fn flag_value<'a>(words: &'a [String], flags: &[&str]) -> Option<&'a str> {
    words.iter().enumerate().find_map(|(at, word)| {
        let (flag, inline) = split_flag(word)?;
        let value = inline.or_else(|| words.get(at + 1).map(String::as_str));
        value.filter(|_| flags.contains(&flag))
    })
}

/// `NAME=VALUE`
fn assignment(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (!name.is_empty() && name.chars().all(plain)).then_some((name, value))
}

/// The words of the first command of a shell script that runs a known plugin, and whether the script is that command and nothing
/// else: no pipe, no list, no expansion.
fn shell_command(script: &str) -> Option<(Vec<String>, bool)> {
    // shlex knows quotes and not operators: those that nothing quotes get room.
    let mut spaced = String::with_capacity(script.len() + 8);
    let mut quote = None;
    let mut plain = true;
    let mut chars = script.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '|' | ';' | '&' | '<' | '>' | '(' | ')' | '\n') => {
                plain = false;
                spaced.push_str(" \n| ");
            }
            (Some('\''), c) if c != '\'' => spaced.push(c),
            (_, '\\') => {
                spaced.push(c);
                spaced.extend(chars.next());
            }
            (None, '\'' | '"') => {
                quote = Some(c);
                spaced.push(c);
            }
            (Some(open), c) if open == c => {
                quote = None;
                spaced.push(c);
            }
            (_, '$' | '`') | (None, '*' | '?' | '~' | '#') => {
                plain = false;
                spaced.push(c);
            }
            (_, c) => spaced.push(c),
        }
    }
    let words = shlex::split(&spaced)?;
    let runs = |command: &&[String]| {
        command
            .iter()
            .any(|word| matches!(base_name(word), "aws" | "aws2" | "aws-iam-authenticator"))
    };
    let command = words.split(|word| word == "|").find(runs)?.to_vec();
    Some((command, plain))
}

/// The AWS CLI's flags that take no value and change nothing about the token.
const SWITCHES: &[&str] = &[
    "--debug",
    "--no-paginate",
    "--no-cli-pager",
    "--cli-auto-prompt",
    "--no-cli-auto-prompt",
    "--version",
];

/// Its global flags with a value, or that change the token; a prefix that means only one of them means that one (argparse).
const GLOBAL: &[&str] = &[
    "--endpoint-url",
    "--no-verify-ssl",
    "--output",
    "--query",
    "--profile",
    "--region",
    "--color",
    "--no-sign-request",
    "--ca-bundle",
    "--cli-read-timeout",
    "--cli-connect-timeout",
    "--cli-binary-format",
];

/// The flags of `get-token`; looked at where no global flag is meant.
const GET_TOKEN: &[&str] = &["--cluster-name", "--cluster-id", "--role-arn"];

/// The flag that a word means; `aws eks update-kubeconfig --role-arn` itself writes `--role`. None: none, or several.
fn meant(flag: &str) -> Option<&'static str> {
    for flags in [&[SWITCHES, GLOBAL].concat()[..], GET_TOKEN] {
        if let Some(exact) = flags.iter().find(|known| **known == flag) {
            return Some(exact);
        }
    }
    for flags in [&[SWITCHES, GLOBAL].concat()[..], GET_TOKEN] {
        let mut begin = flags.iter().filter(|known| known.starts_with(flag));
        match (begin.next(), begin.next()) {
            (None, _) => {}
            (Some(one), None) => return Some(one),
            (Some(_), Some(_)) => return None,
        }
    }
    None
}

/// `aws [global flags] eks get-token [flags]`
fn aws_cli(args: &[&str]) -> Option<KnownExec> {
    let mut positional: Vec<&str> = Vec::new();
    let mut known = empty(Plugin::AwsCli);
    let mut words = Words::new(args);
    while let Some(word) = words.next() {
        let Some((flag, inline)) = split_flag(word) else {
            positional.push(word);
            continue;
        };
        let meant = meant(flag);
        match meant {
            Some(switch) if SWITCHES.contains(&switch) => continue,
            Some(switch @ ("--no-verify-ssl" | "--no-sign-request")) => {
                known.not_reproducible = Some(format!("it has the flag {switch}"));
                continue;
            }
            _ => {}
        }
        let value = words.value(inline);
        match meant {
            Some("--cluster-name" | "--cluster-id") => known.cluster = value,
            Some("--region") => known.region = value,
            Some("--profile") => known.profile_flag = value,
            Some("--role-arn") => known.role_arn = value,
            Some("--endpoint-url" | "--ca-bundle") | None => {
                known.not_reproducible = Some(format!("it has the flag {flag}"));
            }
            Some(_) => {}
        }
    }
    (positional.first() == Some(&"eks") && positional.get(1) == Some(&"get-token")).then_some(known)
}

/// `aws-iam-authenticator token [flags]`
fn iam_authenticator(args: &[&str]) -> Option<KnownExec> {
    const SWITCHES: &[&str] = &["--cache", "--token-only", "--forward-session-name"];
    let mut positional: Vec<&str> = Vec::new();
    let mut known = empty(Plugin::IamAuthenticator);
    let mut words = Words::new(args);
    while let Some(word) = words.next() {
        let Some((flag, inline)) = split_flag(word) else {
            positional.push(word);
            continue;
        };
        if SWITCHES.contains(&flag) {
            if flag == "--forward-session-name" {
                known.not_reproducible = Some(format!("it has the flag {flag}"));
            }
            continue;
        }
        let value = words.value(inline);
        match flag {
            "--cluster-id" | "-i" => known.cluster = value,
            "--region" => known.region = value,
            "--role" | "-r" => known.role_arn = value,
            "--external-id" | "-e" => known.external_id = value,
            "--session-name" | "-s" => known.session_name = value,
            "--config" | "-c" | "--log-format" | "-l" | "--feature-gates" => {}
            flag => known.not_reproducible = Some(format!("it has the flag {flag}")),
        }
    }
    (positional.first() == Some(&"token")).then_some(known)
}

fn empty(plugin: Plugin) -> KnownExec {
    KnownExec {
        plugin,
        cluster: None,
        region: None,
        profile_flag: None,
        role_arn: None,
        external_id: None,
        session_name: None,
        env: BTreeMap::new(),
        not_reproducible: None,
        credentials_by: None,
    }
}

/// `--flag=value` -> (`--flag`, value), `-ivalue` and `-i=value` -> (`-i`, value); none for a plain word.
fn split_flag(word: &str) -> Option<(&str, Option<&str>)> {
    if let Some(long) = word.strip_prefix("--") {
        if long.is_empty() {
            return None;
        }
        return Some(match word.split_once('=') {
            Some((flag, value)) => (flag, Some(value)),
            None => (word, None),
        });
    }
    let rest = word.strip_prefix('-')?;
    let first = rest.chars().next()?;
    let end = 1 + first.len_utf8();
    let value = &word[end..];
    let value = value.strip_prefix('=').unwrap_or(value);
    Some((&word[..end], (!value.is_empty()).then_some(value)))
}

struct Words<'a> {
    words: std::slice::Iter<'a, &'a str>,
}

impl<'a> Words<'a> {
    fn new(words: &'a [&'a str]) -> Self {
        Self { words: words.iter() }
    }

    fn next(&mut self) -> Option<&'a str> {
        self.words.next().copied()
    }

    fn value(&mut self, inline: Option<&str>) -> Option<String> {
        inline
            .map(str::to_owned)
            .or_else(|| self.next().map(str::to_owned))
            .filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kubeconfig's exec entry: `NAME=value ... command args`, quoted as in a shell.
    fn entry(line: &str) -> ExecConfig {
        let mut words = shlex::split(line).expect("words").into_iter().peekable();
        let mut env = Vec::new();
        while let Some(word) = words.next_if(|word| assignment(word).is_some()) {
            let (name, value) = assignment(&word).expect("an assignment");
            env.push(serde_json::json!({"name": name, "value": value}));
        }
        let json = serde_json::json!({
            "apiVersion": "client.authentication.k8s.io/v1beta1",
            "command": words.next().unwrap_or_default(),
            "args": words.collect::<Vec<_>>(),
            "env": env,
        });
        serde_json::from_value(json).expect("an exec entry")
    }

    /// What is understood of it: made in process, or a clue to the cluster while the command runs as it stands, or nothing.
    fn told(line: &str) -> String {
        let entry = entry(line);
        let (kind, understood) = match (known(&entry), wrapped(&entry)) {
            (Some(known), _) => ("in process", known),
            (None, Some(clue)) => ("clue", clue),
            (None, None) => return format!("{line}\n    nothing\n"),
        };
        let mut told = format!("{line}\n    {kind}:");
        for (name, value) in [
            ("cluster", understood.cluster.as_deref()),
            ("region", understood.region()),
            ("profile", understood.profile()),
            ("role", understood.role_arn.as_deref()),
            ("not reproducible", understood.not_reproducible.as_deref()),
        ] {
            if let Some(value) = value {
                told.push_str(&format!(" {name}={value}"));
            }
        }
        if let Some(by) = understood.credentials_by {
            told.push_str(&format!(" credentials by `{}`", by.join(" ")));
        }
        told + "\n"
    }

    #[test]
    fn what_an_exec_entry_is_understood_as() {
        let lines = [
            // Every spelling of the known plugins.
            "aws eks get-token --cluster-name demo",
            "aws eks get-token --cluster-name=demo",
            "/usr/local/bin/aws --region eu-west-1 eks get-token --cluster-name demo --output json",
            "aws.exe --profile=prod eks get-token --cluster-name demo --role-arn=arn:aws:iam::111122223333:role/Admin",
            "aws eks get-token --cluster-id d3adb33f",
            "aws-iam-authenticator token -i demo",
            "aws-iam-authenticator token -idemo",
            "aws-iam-authenticator token -i=demo",
            "aws-iam-authenticator token --cluster-id=demo --region=eu-west-1",
            "aws-iam-authenticator token -i demo -r arn:aws:iam::111122223333:role/Admin",
            "aws-iam-authenticator token --cluster-id demo --token-only --role r",
            // Flags as argparse takes them: a beginning that only one flag has is that flag.
            "aws eks get-token --cluster-name demo --role r",
            "aws eks get-token --cluster-name demo --ro r",
            "aws eks get-token --cluster-name demo --role-a=r",
            "aws eks get-token --cluster-name demo --reg eu-west-1 --prof=p",
            "aws eks get-token --cluster-name demo --out json --deb",
            "aws eks get-token --cluster-name demo --r x",
            "aws eks get-token --cluster-name demo --cl x",
            "aws eks get-token --cluster-name demo --cluster x",
            "aws eks get-token --cluster-name demo --endpoint x",
            "aws eks get-token --cluster-name demo --no-sign",
            "aws eks get-token --cluster-name demo --role",
            "aws eks get-token --cluster-name demo --nonsense",
            // The environment: the flag beats it, and what changes the token in other ways is left to the plugin.
            "AWS_PROFILE=b aws eks get-token --cluster-name demo --profile a",
            "AWS_PROFILE=b AWS_REGION=eu-west-1 aws eks get-token --cluster-name demo",
            "AWS_WEB_IDENTITY_TOKEN_FILE=/x aws eks get-token --cluster-name demo",
            // What adds nothing is looked through.
            "env AWS_PROFILE=prod aws eks get-token --cluster-name demo",
            r#"bash -c "AWS_PROFILE=prod aws eks get-token --cluster-name 'demo'""#,
            r#"/bin/sh -ec 'exec env AWS_PROFILE="prod" aws eks get-token --cluster-name demo'"#,
            // What may add something is a clue.
            "bash -c 'aws eks get-token --cluster-name demo --profile prod | cat'",
            "bash -c 'source ~/.env; aws --profile prod eks get-token --cluster-name demo>&1'",
            "bash -c 'aws eks get-token --profile prod --cluster-name demo --region $REGION'",
            "bash -c 'aws eks get-token --cluster-name ${CLUSTER} --region eu-west-1'",
            "env -i AWS_PROFILE=prod aws eks get-token --cluster-name demo",
            "my-wrapper aws eks get-token --cluster-name demo --profile prod",
            "wrapper exec prod -- aws eks get-token --cluster-name demo --region eu-west-1",
            "wrapper -c 'aws eks get-token --cluster-name demo --region eu-west-1'",
            // Programs that give credentials.
            "aws-vault exec prod -- aws eks get-token --cluster-name demo",
            "aws-vault exec --no-session prod -- aws eks get-token --cluster-name demo",
            "saml2aws exec --exec-profile prod -- aws eks get-token --cluster-name demo",
            "assume prod --exec -- aws eks get-token --cluster-name demo",
            // Others.
            "aws sts get-caller-identity",
            "aws",
            "gke-gcloud-auth-plugin",
            "aws-iam-authenticator verify -i demo",
            "bash -c",
            r#"bash -c "aws 'unclosed""#,
            "bash script.sh",
            "env",
            "env A=b",
            "aws-vault exec prod --",
            "''",
        ];
        insta::assert_snapshot!(lines.map(told).concat());
    }
}
