//! `whois -f`: files, without a network.

use std::io::Read as _;
use std::path::Path;

use super::{cluster_problems, hidden_creator, policies, print, remedy, with_flags};
use crate::access::{Asked, Unmapped, account_of_files, caller_of, entries_from, whois_fix};
use crate::cli::{Global, Whois as Args};
use crate::commands::CliError;
use crate::model::{Exit, Target};
use crate::report::whois::{Ground, Whois};
use crate::terminal::Ui;
use eks_aws_auth::{
    AccessEntry, AuthenticationMode, AwsAuth, Cluster, Decision, Existence, MAX_MANIFEST_BYTES, Manifest,
    Outcome, Settings, SourceKind, decide,
};

/// aws-auth from a file.
pub(in crate::commands) fn manifest_in(path: &Path) -> Result<Manifest, CliError> {
    Manifest::read(&bytes_of(path)?).map_err(|error| CliError::failed(format!("{}: {error}", path.display())))
}

/// Access entries from a file.
pub(in crate::commands) fn entries_in(path: &Path) -> Result<Vec<AccessEntry>, CliError> {
    entries_from(&bytes_of(path)?).map_err(|error| CliError::failed(format!("{}: {error}", path.display())))
}

/// What the files say.
struct Files {
    manifest: Option<Manifest>,
    aws_auth: AwsAuth,
    entries: Vec<AccessEntry>,
    mode: AuthenticationMode,
    /// What was not given and counts.
    caveats: Vec<String>,
    asked_at: jiff::Timestamp,
}

pub(super) fn run(args: &Args, global: &Global, asked: &[Asked]) -> Result<Exit, CliError> {
    if asked.contains(&Asked::Me) {
        return Err(CliError::usage(
            "a file does not say who you are\n  fix: name the ARN (aws sts get-caller-identity shows yours), or leave -f and --access-entries out to ask the cluster",
        ));
    }
    let files = Files::read(args)?;
    let ui = Ui::new(global.color, global.verbose, true);
    let answers = asked
        .iter()
        .map(|asked| files.whois(asked, args))
        .collect::<Result<Vec<_>, _>>()?;
    print(answers, args, global, &ui)
}

impl Files {
    fn read(args: &Args) -> Result<Self, CliError> {
        let dash = Some(Path::new("-"));
        if args.filename.as_deref() == dash && args.access_entries.as_deref() == dash {
            return Err(CliError::usage(
                "-f and --access-entries cannot both be standard input",
            ));
        }
        let manifest = args.filename.as_deref().map(manifest_in).transpose()?;
        let entries = args.access_entries.as_deref().map(entries_in).transpose()?;
        let mode = args.authentication_mode.unwrap_or(match &entries {
            Some(_) => AuthenticationMode::ApiAndConfigMap,
            None => AuthenticationMode::ConfigMap,
        });
        let mut caveats = Vec::new();
        if manifest.is_none() && mode.uses_aws_auth() {
            caveats.push(format!(
                "no aws-auth was given (-f): this is as if the cluster had none, and in mode {mode} it counts"
            ));
        }
        if entries.is_none() && mode.uses_entries() {
            caveats.push(format!(
                "no access entries were given (--access-entries): this is as if the cluster had none, and in mode {mode} they come first"
            ));
        }
        Ok(Self {
            aws_auth: manifest
                .as_ref()
                .map(|manifest| AwsAuth::parse(&manifest.data))
                .unwrap_or_default(),
            manifest,
            entries: entries.unwrap_or_default(),
            mode,
            caveats,
            asked_at: jiff::Timestamp::now(),
        })
    }

    fn cluster(&self) -> Cluster<'_> {
        Cluster {
            mode: self.mode,
            aws_auth: Some(&self.aws_auth),
            entries: Some(&self.entries),
            settings: Settings::default(),
        }
    }

    /// The manifest, where it counts.
    fn counting(&self) -> Option<&Manifest> {
        self.manifest.as_ref().filter(|_| self.mode.uses_aws_auth())
    }

    fn ground(&self) -> Ground {
        Ground {
            authentication_mode: Some(self.mode),
            asked_at: self.asked_at,
            ..Ground::default()
        }
    }

    fn file_line(&self, key: &str, line: usize) -> Option<usize> {
        self.manifest.as_ref()?.file_line(key, line)
    }

    fn whois(&self, asked: &Asked, args: &Args) -> Result<Whois, CliError> {
        let arn = match asked {
            Asked::Arn(arn) => arn.clone(),
            Asked::Name { kind, name } => {
                let (partition, account) =
                    account_of_files(&self.aws_auth, &self.entries).map_err(CliError::usage)?;
                format!("arn:{partition}:iam::{account}:{kind}/{name}")
            }
            Asked::Me => return Err(CliError::usage("a file does not say who you are")),
        };
        let cluster = self.cluster();
        let caller = caller_of(&arn).map(|caller| with_flags(caller, args));
        let mut decision = match &caller {
            Ok(caller) => decide(&cluster, caller, Existence::Unknown),
            Err(error) => Decision {
                problems: cluster_problems(&cluster),
                ..Decision::refused(&arn, error)
            },
        };
        let by_entry = decision
            .source
            .as_ref()
            .is_some_and(|source| source.kind == SourceKind::AccessEntry);
        if let Some(manifest) = self.counting() {
            if let (Some(problem), true) = (manifest.rejected(), caller.is_ok() && !by_entry) {
                decision = Decision {
                    outcome: Outcome::Denied,
                    username: None,
                    groups: Vec::new(),
                    source: None,
                    reason: format!(
                        "the API server refuses this ConfigMap, so nothing in it counts: {}",
                        problem.message
                    ),
                    alternatives: Vec::new(),
                    ..decision
                };
            }
            decision.problems.splice(0..0, manifest.problems.iter().cloned());
            if decision.outcome == Outcome::NotMapped && !manifest.references.is_empty() {
                let names: Vec<&str> = manifest.references.iter().map(String::as_str).take(10).collect();
                decision.caveats.push(format!(
                    "the stack names principals by reference ({}), and whether this is one of them is known once it is deployed",
                    names.join(", ")
                ));
            }
        }
        decision.caveats.extend(self.caveats.iter().cloned());
        decision.caveats.extend(hidden_creator(&decision, self.mode));
        let target = target("", "");
        let fix = caller.as_ref().ok().and_then(|caller| {
            let of = Unmapped {
                target: &target,
                mode: self.mode,
                aws_auth: Some(&self.aws_auth),
                entries: &self.entries,
                caller,
                role: None,
            };
            whois_fix(&decision, &of)
        });
        let policies = policies(&decision, &self.entries);
        let file_line = |key: &str, line: usize| self.file_line(key, line);
        let mut whois = Whois::new(decision, self.ground(), &file_line);
        whois.remedy = fix.map(|mut fix| {
            // A file names no cluster that they could be for.
            fix.commands.clear();
            remedy(fix)
        });
        whois.policies = policies;
        Ok(whois)
    }
}

/// A cluster of which nothing but its name is known; nothing of it for files.
pub(in crate::commands) fn target(cluster: &str, region: &str) -> Target {
    Target {
        context: String::new(),
        cluster: cluster.to_owned(),
        region: region.to_owned(),
        partition: iam_policy::arn::partition_of_region(region).to_owned(),
        account: None,
        server: String::new(),
        profile: None,
        role_arn: None,
        certificate_authority_sha256: None,
        insecure: false,
        scope: crate::model::CommandScope::default(),
        clues: Vec::new(),
        disagreements: Vec::new(),
    }
}

/// Reads a file, as much of it as may be.
fn bytes_of(path: &Path) -> Result<Vec<u8>, CliError> {
    let failed =
        |error: std::io::Error| CliError::failed(format!("reading {} failed: {error}", path.display()));
    let most = MAX_MANIFEST_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().lock().take(most).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path)
            .map_err(failed)?
            .take(most)
            .read_to_end(&mut bytes)
    }
    .map_err(failed)?;
    Ok(bytes)
}
