//! Where AWS credentials were to come from: what to do when there are none, or AWS refuses them, depends on it.

use serde::{Deserialize, Serialize};

use super::{Command, Remedy, Target, Unknown};

/// Where AWS credentials come from, or were to come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum CredentialSource {
    /// Nothing gives any: no variable, no profile, no role of the machine.
    Nowhere {
        /// There are profiles to choose from.
        profiles: bool,
    },
    /// The configuration has no such profile.
    NoSuchProfile {
        /// The profile.
        profile: String,
    },
    /// An IAM Identity Center (SSO) session.
    Sso {
        /// The profile that has the session.
        profile: String,
    },
    /// Access keys in a profile.
    Keys {
        /// The profile.
        profile: String,
    },
    /// Temporary keys that `saml2aws` writes into a profile.
    Saml2aws {
        /// The profile; none: into the environment of a program.
        profile: Option<String>,
    },
    /// Granted: `assume PROFILE`.
    Granted {
        /// The profile.
        profile: String,
    },
    /// The program of a profile's `credential_process`.
    Process {
        /// The profile.
        profile: String,
    },
    /// A role that a profile assumes, with credentials that are none of these.
    AssumedRole {
        /// The profile.
        profile: String,
    },
    /// A program that runs another one with credentials: `aws-vault exec prod --`.
    Wrapper {
        /// Its words.
        words: Vec<String>,
    },
    /// Access keys in the environment.
    Environment,
    /// A token of a service account, or of a CI system (IRSA, OIDC).
    WebIdentity,
    /// EKS Pod Identity, or an ECS task's role.
    Container,
}

/// What tells where credentials come from.
pub struct Clues<'a> {
    /// The profile in force, `default` where none is named.
    pub profile: &'a str,
    /// It was named by a flag: then its credentials win over the environment's.
    pub by_flag: bool,
    /// The words of the kubeconfig's wrapper.
    pub wrapper: Option<&'a [String]>,
    /// A variable of the environment.
    pub var: &'a dyn Fn(&str) -> Option<String>,
    /// A key of a profile; none: there is no such profile.
    pub key: &'a dyn Fn(&str, &str) -> Option<String>,
    /// The profiles that there are.
    pub profiles: &'a [String],
}

impl CredentialSource {
    /// In the order in which the AWS SDK looks.
    pub fn of(clues: &Clues<'_>) -> Self {
        let var = |name: &str| (clues.var)(name).filter(|value| !value.is_empty());
        let profile = || clues.profile.to_owned();
        if let Some(words) = clues.wrapper {
            return Self::Wrapper {
                words: words.to_vec(),
            };
        }
        if !clues.by_flag && var("AWS_ACCESS_KEY_ID").is_some() {
            return match (var("AWS_VAULT"), var("EC2_SECURITY_TOKEN")) {
                (Some(vault), _) => Self::Wrapper {
                    words: ["aws-vault", "exec", &vault, "--"].map(str::to_owned).to_vec(),
                },
                (None, Some(_)) => Self::Saml2aws { profile: None },
                (None, None) if var("GRANTED_SSO").is_some() => Self::Granted { profile: profile() },
                (None, None) => Self::Environment,
            };
        }
        if clues.profiles.iter().any(|known| known == clues.profile) {
            return Self::of_profile(clues.profile, clues, 0);
        }
        if clues.by_flag || var("AWS_PROFILE").is_some() {
            Self::NoSuchProfile { profile: profile() }
        } else if var("AWS_WEB_IDENTITY_TOKEN_FILE").is_some() {
            Self::WebIdentity
        } else if var("AWS_CONTAINER_CREDENTIALS_FULL_URI").is_some()
            || var("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI").is_some()
        {
            Self::Container
        } else {
            Self::Nowhere {
                profiles: !clues.profiles.is_empty(),
            }
        }
    }

    fn of_profile(profile: &str, clues: &Clues<'_>, depth: u8) -> Self {
        let has = |key: &str| (clues.key)(profile, key);
        let name = profile.to_owned();
        if has("granted_sso_start_url").is_some() {
            Self::Granted { profile: name }
        } else if has("sso_session").is_some() || has("sso_start_url").is_some() {
            Self::Sso { profile: name }
        } else if has("x_principal_arn").is_some() {
            Self::Saml2aws { profile: Some(name) }
        } else if has("credential_process").is_some() {
            Self::Process { profile: name }
        } else if has("web_identity_token_file").is_some() {
            Self::WebIdentity
        } else if has("role_arn").is_some() {
            match has("source_profile").filter(|source| source != profile && depth < 8) {
                // What the role's credentials are made of has to work first.
                Some(source) => match Self::of_profile(&source, clues, depth + 1) {
                    Self::Keys { .. } | Self::Nowhere { .. } => Self::AssumedRole { profile: name },
                    source => source,
                },
                None => Self::AssumedRole { profile: name },
            }
        } else if has("aws_access_key_id").is_some() {
            Self::Keys { profile: name }
        } else {
            Self::Nowhere {
                profiles: clues.profiles.len() > 1,
            }
        }
    }

    /// What to do.
    pub fn remedy(&self, target: &Target) -> Remedy {
        let again = || target.capt_spot(&["preflight"]);
        let of_profile =
            |words: &[&str], profile: &str| Command::local(&[words, &["--profile", profile]].concat());
        let (text, command) = match self {
            Self::Nowhere { profiles: true } => (
                "Name one of the profiles with --profile or AWS_PROFILE.",
                Some(Command::local(&["aws", "configure", "list-profiles"])),
            ),
            Self::Nowhere { profiles: false } => (
                "Set up a profile, or the variables of another source.",
                Some(Command::local(&["aws", "configure", "sso"])),
            ),
            Self::NoSuchProfile { .. } => (
                "Name another profile, or set this one up.",
                Some(Command::local(&["aws", "configure", "list-profiles"])),
            ),
            Self::Sso { profile } => ("Log in.", Some(of_profile(&["aws", "sso", "login"], profile))),
            Self::Keys { profile } => (
                "Replace the profile's access keys.",
                Some(of_profile(&["aws", "configure"], profile)),
            ),
            Self::Saml2aws {
                profile: Some(profile),
            } => ("Log in.", Some(of_profile(&["saml2aws", "login"], profile))),
            Self::Saml2aws { profile: None } => (
                "Log in, and run it in saml2aws again.",
                Some(Command::local(&["saml2aws", "login"])),
            ),
            Self::Granted { profile } => (
                "Assume the role again.",
                Some(Command::local(&["assume", profile])),
            ),
            Self::Process { profile } => (
                "Run the program of the profile's credential_process, and see what it says.",
                Some(of_profile(
                    &["aws", "configure", "get", "credential_process"],
                    profile,
                )),
            ),
            Self::AssumedRole { profile } => (
                "See why the profile's role cannot be assumed.",
                Some(of_profile(&["aws", "sts", "get-caller-identity"], profile)),
            ),
            Self::Wrapper { words } => (
                "Run it in the program that has the credentials.",
                Some(again().run_by(words)),
            ),
            Self::Environment => (
                "Set new keys, or unset them to use a profile.",
                Some(Command::local(&[
                    "unset",
                    "AWS_ACCESS_KEY_ID",
                    "AWS_SECRET_ACCESS_KEY",
                    "AWS_SESSION_TOKEN",
                ])),
            ),
            Self::WebIdentity => (
                "See whether the token's file is there, and whether the role (AWS_ROLE_ARN) trusts its issuer and subject.",
                Some(Command::local(&["aws", "sts", "get-caller-identity"])),
            ),
            Self::Container if target.cluster.is_empty() => ("See the role of the container or task.", None),
            Self::Container => (
                "See the Pod Identity association of the service account.",
                Some(target.aws(&[
                    "eks",
                    "list-pod-identity-associations",
                    "--cluster-name",
                    &target.cluster,
                ])),
            ),
        };
        Remedy {
            text: text.to_owned(),
            commands: Command::lines(command.as_slice()),
            snippets: Vec::new(),
        }
    }
}

impl Unknown {
    /// How to get valid AWS credentials, where there are none; as the end of an error's text.
    pub fn how_to_log_in(&self, target: &Target) -> Option<String> {
        let remedy = self.credentials.as_ref()?.remedy(target);
        Some(format!(
            "\n  fix: {}\n    {}",
            remedy.text,
            remedy.commands.join("\n    ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Variables, profiles as `NAME KEY=VALUE ...`, a profile named by a flag, a wrapper; and the command.
    #[test]
    fn what_fits_each_source() {
        type Row = (
            &'static [(&'static str, &'static str)],
            &'static [&'static str],
            Option<&'static str>,
            &'static [&'static str],
        );
        let rows: &[Row] = &[
            (&[], &[], None, &[]),
            (&[], &["dev sso_session=corp"], None, &[]),
            (&[("AWS_PROFILE", "gone")], &["dev sso_session=corp"], None, &[]),
            (&[("AWS_PROFILE", "dev")], &["dev sso_session=corp"], None, &[]),
            (&[], &["default sso_start_url=https://x"], None, &[]),
            (
                &[],
                &["dev sso_session=corp", "prod role_arn=r source_profile=dev"],
                Some("prod"),
                &[],
            ),
            (
                &[],
                &["base aws_access_key_id=A", "prod role_arn=r source_profile=base"],
                Some("prod"),
                &[],
            ),
            (
                &[],
                &["a role_arn=r source_profile=b", "b role_arn=r source_profile=a"],
                Some("a"),
                &[],
            ),
            (&[], &["default aws_access_key_id=A"], None, &[]),
            (
                &[],
                &["saml aws_access_key_id=A x_principal_arn=p"],
                Some("saml"),
                &[],
            ),
            (&[], &["p credential_process=/opt/x"], Some("p"), &[]),
            (
                &[],
                &["g granted_sso_start_url=https://x credential_process=granted"],
                Some("g"),
                &[],
            ),
            (&[], &["w web_identity_token_file=/t role_arn=r"], Some("w"), &[]),
            (
                &[("AWS_ACCESS_KEY_ID", "A")],
                &["default sso_session=corp"],
                None,
                &[],
            ),
            (
                &[("AWS_ACCESS_KEY_ID", "A"), ("AWS_VAULT", "prod")],
                &[],
                None,
                &[],
            ),
            (
                &[("AWS_ACCESS_KEY_ID", "A"), ("EC2_SECURITY_TOKEN", "T")],
                &[],
                None,
                &[],
            ),
            (
                &[
                    ("AWS_ACCESS_KEY_ID", "A"),
                    ("GRANTED_SSO", "true"),
                    ("AWS_PROFILE", "dev"),
                ],
                &[],
                None,
                &[],
            ),
            (
                &[("AWS_ACCESS_KEY_ID", "A")],
                &["dev sso_session=corp"],
                Some("dev"),
                &[],
            ),
            (&[("AWS_WEB_IDENTITY_TOKEN_FILE", "/t")], &[], None, &[]),
            (
                &[(
                    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                    "http://169.254.170.23/v1/credentials",
                )],
                &[],
                None,
                &[],
            ),
            (
                &[],
                &["prod sso_session=corp"],
                None,
                &["aws-vault", "exec", "prod", "--"],
            ),
        ];
        let target: Target = serde_json::from_value(serde_json::json!({
            "context": "demo", "cluster": "demo", "region": "eu-west-1", "partition": "aws", "server": "https://x",
            "scope": {"context": "demo"}
        }))
        .expect("a target");
        let mut out = String::new();
        for (vars, profiles, flag, wrapper) in rows {
            let of = |name: &str| {
                vars.iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, value)| (*value).to_owned())
            };
            let key = |profile: &str, key: &str| {
                let line = profiles
                    .iter()
                    .find(|line| line.split(' ').next() == Some(profile))?;
                let value = line
                    .split(' ')
                    .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
                value.map(str::to_owned)
            };
            let names: Vec<String> = profiles
                .iter()
                .filter_map(|line| line.split(' ').next())
                .map(str::to_owned)
                .collect();
            let by_env = of("AWS_PROFILE");
            let words: Vec<String> = wrapper.iter().map(|word| (*word).to_owned()).collect();
            let source = CredentialSource::of(&Clues {
                profile: flag.or(by_env.as_deref()).unwrap_or("default"),
                by_flag: flag.is_some(),
                wrapper: (!words.is_empty()).then_some(&words),
                var: &of,
                key: &key,
                profiles: &names,
            });
            let remedy = source.remedy(&target);
            let given: Vec<String> = vars
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            out.push_str(&format!(
                "{} {profiles:?} {} {wrapper:?}\n  {source:?}\n  {} {:?}\n",
                given.join(" "),
                flag.unwrap_or("-"),
                remedy.text,
                remedy.commands
            ));
        }
        insta::assert_snapshot!(out);
    }
}
