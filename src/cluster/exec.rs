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
    /// The plugin.
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
    /// The entry's environment.
    pub env: BTreeMap<String, String>,
    /// What the program cannot reproduce in process, when there is something: then the plugin runs as configured.
    pub not_reproducible: Option<String>,
}

impl KnownExec {
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

/// Reads an exec entry when it runs one of the two known plugins.
pub fn known(exec: &ExecConfig) -> Option<KnownExec> {
    let command = exec.command.as_deref()?;
    let args: Vec<&str> = exec.args.iter().flatten().map(String::as_str).collect();
    let mut known = match base_name(command) {
        "aws" | "aws2" => aws_cli(&args)?,
        "aws-iam-authenticator" | "heptio-authenticator-aws" => iam_authenticator(&args)?,
        _ => return None,
    };
    known.env = env_of(exec);
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
    let args: Vec<&str> = exec.args.iter().flatten().map(String::as_str).collect();
    // A shell's -c takes one string; its words are enough for a clue.
    let words: Vec<&str> = args.iter().flat_map(|arg| arg.split_whitespace()).collect();
    for (at, word) in words.iter().enumerate() {
        let rest = &words[at + 1..];
        let found = match base_name(word) {
            "aws" | "aws2" => aws_cli(rest),
            "aws-iam-authenticator" => iam_authenticator(rest),
            _ => None,
        };
        if let Some(mut known) = found {
            known.env = env_of(exec);
            return Some(known);
        }
    }
    None
}

/// `aws [global flags] eks get-token [flags]`
fn aws_cli(args: &[&str]) -> Option<KnownExec> {
    // Global flags of the AWS CLI that take no value.
    const SWITCHES: &[&str] = &[
        "--debug",
        "--no-verify-ssl",
        "--no-paginate",
        "--no-sign-request",
        "--no-cli-pager",
        "--cli-auto-prompt",
        "--no-cli-auto-prompt",
        "--version",
    ];
    // Global flags with a value that change nothing about the token.
    const IGNORED: &[&str] = &[
        "--output",
        "--query",
        "--color",
        "--cli-read-timeout",
        "--cli-connect-timeout",
        "--cli-binary-format",
    ];
    let mut positional: Vec<&str> = Vec::new();
    let mut known = empty(Plugin::AwsCli);
    let mut words = Words::new(args);
    while let Some(word) = words.next() {
        let Some((flag, inline)) = split_flag(word) else {
            positional.push(word);
            continue;
        };
        if SWITCHES.contains(&flag) {
            if flag == "--no-verify-ssl" || flag == "--no-sign-request" {
                known.not_reproducible = Some(format!("it has the flag {flag}"));
            }
            continue;
        }
        let value = words.value(inline);
        match flag {
            "--cluster-name" | "--cluster-id" => known.cluster = value,
            "--region" => known.region = value,
            "--profile" => known.profile_flag = value,
            "--role-arn" => known.role_arn = value,
            flag if IGNORED.contains(&flag) => {}
            flag => known.not_reproducible = Some(format!("it has the flag {flag}")),
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

    fn entry(command: &str, args: &[&str], env: &[(&str, &str)]) -> ExecConfig {
        let json = serde_json::json!({
            "apiVersion": "client.authentication.k8s.io/v1beta1",
            "command": command,
            "args": args,
            "env": env.iter().map(|(name, value)| serde_json::json!({"name": name, "value": value})).collect::<Vec<_>>(),
        });
        serde_json::from_value(json).expect("an exec entry")
    }

    #[test]
    fn every_spelling_of_the_known_plugins() {
        type Row = (
            &'static str,
            &'static [&'static str],
            Option<&'static str>,
            Option<&'static str>,
            Option<&'static str>,
            Option<&'static str>,
        );
        let rows: &[Row] = &[
            (
                "aws",
                &["eks", "get-token", "--cluster-name", "demo"],
                Some("demo"),
                None,
                None,
                None,
            ),
            (
                "aws",
                &["eks", "get-token", "--cluster-name=demo"],
                Some("demo"),
                None,
                None,
                None,
            ),
            (
                "/usr/local/bin/aws",
                &[
                    "--region",
                    "eu-west-1",
                    "eks",
                    "get-token",
                    "--cluster-name",
                    "demo",
                    "--output",
                    "json",
                ],
                Some("demo"),
                Some("eu-west-1"),
                None,
                None,
            ),
            (
                "aws.exe",
                &[
                    "--profile=prod",
                    "eks",
                    "get-token",
                    "--cluster-name",
                    "demo",
                    "--role-arn=arn:aws:iam::111122223333:role/Admin",
                ],
                Some("demo"),
                None,
                Some("prod"),
                Some("arn:aws:iam::111122223333:role/Admin"),
            ),
            (
                "aws",
                &["eks", "get-token", "--cluster-id", "d3adb33f"],
                Some("d3adb33f"),
                None,
                None,
                None,
            ),
            (
                "aws-iam-authenticator",
                &["token", "-i", "demo"],
                Some("demo"),
                None,
                None,
                None,
            ),
            (
                "aws-iam-authenticator",
                &["token", "-idemo"],
                Some("demo"),
                None,
                None,
                None,
            ),
            (
                "aws-iam-authenticator",
                &["token", "-i=demo"],
                Some("demo"),
                None,
                None,
                None,
            ),
            (
                "aws-iam-authenticator",
                &["token", "--cluster-id=demo", "--region=eu-west-1"],
                Some("demo"),
                Some("eu-west-1"),
                None,
                None,
            ),
            (
                "aws-iam-authenticator",
                &[
                    "token",
                    "-i",
                    "demo",
                    "-r",
                    "arn:aws:iam::111122223333:role/Admin",
                ],
                Some("demo"),
                None,
                None,
                Some("arn:aws:iam::111122223333:role/Admin"),
            ),
            (
                "aws-iam-authenticator",
                &["token", "--cluster-id", "demo", "--token-only", "--role", "r"],
                Some("demo"),
                None,
                None,
                Some("r"),
            ),
        ];
        for (command, args, cluster, region, profile, role) in rows {
            let known = known(&entry(command, args, &[])).unwrap_or_else(|| panic!("{command} {args:?}"));
            assert_eq!(known.cluster.as_deref(), *cluster, "{args:?}");
            assert_eq!(known.region(), *region, "{args:?}");
            assert_eq!(known.profile(), *profile, "{args:?}");
            assert_eq!(known.role_arn.as_deref(), *role, "{args:?}");
            assert_eq!(known.not_reproducible, None, "{args:?}");
        }
    }

    #[test]
    fn other_commands_are_not_taken_for_them() {
        for (command, args) in [
            ("aws", vec!["sts", "get-caller-identity"]),
            ("aws", vec![]),
            ("gke-gcloud-auth-plugin", vec![]),
            ("aws-iam-authenticator", vec!["verify", "-i", "demo"]),
            (
                "aws-vault",
                vec![
                    "exec",
                    "prod",
                    "--",
                    "aws",
                    "eks",
                    "get-token",
                    "--cluster-name",
                    "demo",
                ],
            ),
        ] {
            assert_eq!(known(&entry(command, &args, &[])), None, "{command} {args:?}");
        }
    }

    #[test]
    fn a_wrapper_still_tells_the_cluster() {
        for args in [
            vec![
                "exec",
                "prod",
                "--",
                "aws",
                "eks",
                "get-token",
                "--cluster-name",
                "demo",
                "--region",
                "eu-west-1",
            ],
            vec!["-c", "aws eks get-token --cluster-name demo --region eu-west-1"],
        ] {
            let known = wrapped(&entry("wrapper", &args, &[])).expect("a clue");
            assert_eq!(
                (known.cluster.as_deref(), known.region()),
                (Some("demo"), Some("eu-west-1")),
                "{args:?}"
            );
        }
    }

    #[test]
    fn the_flag_beats_the_environment_and_the_unknown_is_left_to_the_plugin() {
        let known_one = known(&entry(
            "aws",
            &["eks", "get-token", "--cluster-name", "demo", "--profile", "a"],
            &[("AWS_PROFILE", "b")],
        ));
        assert_eq!(
            known_one.and_then(|k| k.profile().map(str::to_owned)).as_deref(),
            Some("a")
        );
        let by_env = known(&entry(
            "aws",
            &["eks", "get-token", "--cluster-name", "demo"],
            &[("AWS_PROFILE", "b"), ("AWS_REGION", "eu-west-1")],
        ))
        .expect("known");
        assert_eq!(
            (by_env.profile(), by_env.region()),
            (Some("b"), Some("eu-west-1"))
        );
        let odd = known(&entry(
            "aws",
            &["eks", "get-token", "--cluster-name", "demo"],
            &[("AWS_WEB_IDENTITY_TOKEN_FILE", "/x")],
        ));
        assert_eq!(
            odd.and_then(|k| k.not_reproducible).as_deref(),
            Some("its environment sets AWS_WEB_IDENTITY_TOKEN_FILE")
        );
    }
}
