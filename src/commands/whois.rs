//! `whois`: who the cluster takes a principal for, live or from files.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;

use crate::aws;
use crate::cli::{Global, Whois as Args};
use crate::cluster;
use crate::commands::{self, Stop};
use crate::facts::mappings::{self, About, Mappings};
use crate::model::Calls;
use crate::model::Exit;
use crate::model::{Observed, Unknown, Why};
use crate::report::whois::{
    AskedCluster, Ground, ServersWord, Unread, Whois, WhoisList, render, render_list,
};
use crate::terminal::{self, Ui};
use crate::text::sanitize;
use eks_aws_auth::{
    AccessEntry, Alternative, Arn, AuthenticationMode, AwsAuth, Caller, Cluster, ClusterNames, Decision,
    Existence, IdentityError, MAX_MANIFEST_BYTES, Manifest, MappingRemedy, NodeKind, Outcome, PARTITIONS,
    PassedOverBecause, PrincipalKind, Problem, Settings, Severity, SourceKind, Want, decide, list_all,
    mapping_remedy,
};

/// Runs it.
///
/// # Errors
/// Wrong usage; a file that cannot be read or is none; a target that cannot be told.
pub fn run(args: &Args, global: &Global) -> Result<Exit, Stop> {
    commands::text_json_or_yaml(global, "whois")?;
    let asked = args.principal.as_deref().map(Asked::read).transpose()?;
    // Standard input is read without a runtime, which would take Ctrl-C for itself.
    if args.filename.is_some() || args.access_entries.is_some() {
        return offline(args, global, asked);
    }
    crate::commands::block_on(live(args, global, asked))
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    /// `me`
    Me,
    /// An ARN.
    Arn(String),
    /// A name, perhaps with a path, of a role or user whose account is not said.
    Name { kind: &'static str, name: String },
}

impl Asked {
    fn read(text: &str) -> Result<Self, Stop> {
        let text = text.trim();
        if text == "me" {
            return Ok(Self::Me);
        }
        let wrong = |what: &str| {
            Stop::usage(format!(
                "\"{}\" is {what}\n  fix: write arn:aws:iam::111122223333:role/NAME, arn:aws:sts::111122223333:assumed-role/NAME/SESSION, \
                 arn:aws:iam::111122223333:user/NAME, the name of a role, or me",
                sanitize::short_line(text)
            ))
        };
        if text
            .get(..4)
            .is_some_and(|start| start.eq_ignore_ascii_case("arn:"))
        {
            return match Arn::parse(text) {
                Some(_) => Ok(Self::Arn(text.to_owned())),
                None => Err(wrong(
                    "not an ARN (arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE)",
                )),
            };
        }
        let (kind, name) = match text.split_once('/') {
            Some(("role", name)) => ("role", name),
            Some(("user", name)) => ("user", name),
            _ => ("role", text.trim_start_matches('/')),
        };
        // IAM's names: letters, digits and +=,.@_-
        let last = name.rsplit('/').next().unwrap_or_default();
        let good = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-/".contains(c);
        if last.is_empty() || last.len() > 64 || name.len() > 576 || !name.chars().all(good) {
            return Err(wrong("neither an ARN nor the name of a role"));
        }
        Ok(Self::Name {
            kind,
            name: name.to_owned(),
        })
    }
}

/// Whoever an ARN stands for; a role's own ARN for any session of it.
fn caller_of(arn: &str) -> Result<Caller, IdentityError> {
    let caller = Caller::parse(arn)?;
    match caller.kind {
        PrincipalKind::Role => Caller::of_role(arn, None),
        _ => Ok(caller),
    }
}

fn with_flags(caller: Caller, args: &Args) -> Caller {
    let (key, dns, id) = (
        args.access_key_id.clone().or(caller.access_key_id.clone()),
        args.private_dns_name.clone().or(caller.private_dns_name.clone()),
        args.principal_id.clone().or(caller.principal_id.clone()),
    );
    caller
        .with_access_key_id(key)
        .with_private_dns_name(dns)
        .with_principal_id(id)
}

// ---------------------------------------------------------------- files

fn offline(args: &Args, global: &Global, asked: Option<Asked>) -> Result<Exit, Stop> {
    if asked == Some(Asked::Me) {
        return Err(Stop::usage(
            "a file does not tell who you are\n  fix: name the ARN (aws sts get-caller-identity shows yours), or leave -f and --access-entries out to ask the cluster",
        ));
    }
    let dash = Path::new("-");
    if args.filename.as_deref() == Some(dash) && args.access_entries.as_deref() == Some(dash) {
        return Err(Stop::usage(
            "-f and --access-entries cannot both be standard input",
        ));
    }
    let manifest = args
        .filename
        .as_deref()
        .map(|path| {
            let bytes = bytes_of(path)?;
            Manifest::read(&bytes).map_err(|error| Stop::failed(format!("{}: {error}", path.display())))
        })
        .transpose()?;
    let entries = args.access_entries.as_deref().map(entries_of).transpose()?;
    let mode = args.authentication_mode.unwrap_or(match &entries {
        Some(_) => AuthenticationMode::ApiAndConfigMap,
        None => AuthenticationMode::ConfigMap,
    });
    let aws_auth = manifest
        .as_ref()
        .map(|manifest| AwsAuth::parse(&manifest.data))
        .unwrap_or_default();
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
    let entries = entries.unwrap_or_default();
    let cluster = Cluster {
        mode,
        aws_auth: Some(&aws_auth),
        entries: Some(&entries),
        settings: Settings::default(),
    };
    let file_problems: Vec<Problem> = match &manifest {
        Some(manifest) if mode.uses_aws_auth() => manifest.problems.clone(),
        _ => Vec::new(),
    };
    let ground = Ground {
        authentication_mode: Some(mode),
        target: None,
        validation_webhook: None,
        unread: Vec::new(),
    };
    let file_line = |key: &str, line: usize| manifest.as_ref()?.file_line(key, line);
    let style = Ui::new(global.color, global.verbose, true).style;
    let Some(asked) = asked else {
        let listed = list_all(&cluster, |_| Existence::Unknown);
        let mut problems = file_problems;
        if mode.uses_aws_auth() {
            problems.extend(aws_auth.problems.iter().cloned());
        }
        let list = WhoisList::new(listed, caveats, problems, ground, &file_line);
        terminal::out_as(global.output, &render_list(&list, global.output, style))?;
        return Ok(list.exit());
    };
    let arn = match asked {
        Asked::Arn(arn) => arn,
        Asked::Name { kind, name } => {
            let (partition, account) = only_account(&aws_auth, &entries)?;
            format!("arn:{partition}:iam::{account}:{kind}/{name}")
        }
        Asked::Me => return Err(Stop::usage("a file does not tell who you are")),
    };
    let caller = caller_of(&arn).map(|caller| with_flags(caller, args));
    let mut decision = match &caller {
        Ok(caller) => decide(&cluster, caller, Existence::Unknown),
        Err(error) => Decision {
            problems: cluster_problems(&cluster),
            ..Decision::refused(&arn, error)
        },
    };
    let by_entry = |decision: &Decision| {
        decision
            .source
            .as_ref()
            .is_some_and(|source| source.kind == SourceKind::AccessEntry)
    };
    let rejected = file_problems
        .iter()
        .find(|problem| problem.severity == Severity::Error);
    if let (Some(problem), Ok(_), false) = (rejected, &caller, by_entry(&decision)) {
        decision = Decision {
            outcome: Outcome::Denied,
            username: None,
            groups: Vec::new(),
            source: None,
            reason: format!(
                "the API server refuses this ConfigMap, so nothing in it ever counts: {}",
                problem.message
            ),
            alternatives: Vec::new(),
            ..decision
        };
    }
    decision.problems.splice(0..0, file_problems);
    decision.caveats.extend(caveats);
    decision.caveats.extend(hidden_creator(&decision, mode));
    let names = ClusterNames {
        cluster: "CLUSTER",
        region: "REGION",
        account: caller.as_ref().map_or("", |caller| &caller.account),
        partition: caller.as_ref().map_or("aws", |caller| &caller.partition),
    };
    let remedy = caller
        .as_ref()
        .ok()
        .and_then(|caller| remedy(&decision, caller, &caller.canonical_arn, mode, names, &entries));
    let policies = policies(&decision, &entries);
    let mut whois = Whois::new(decision, ground, &file_line);
    whois.remedy = remedy;
    whois.policies = policies;
    terminal::out_as(global.output, &render(&whois, global.output, style))?;
    Ok(whois.exit())
}

/// What nothing shows: who created a cluster of mode CONFIG_MAP.
const HIDDEN_CREATOR: &str = "in mode CONFIG_MAP the principal that created the cluster is an administrator without any mapping that shows";

/// The caveat on a principal that nothing maps.
fn hidden_creator(decision: &Decision, mode: AuthenticationMode) -> Option<String> {
    let unmapped = decision.outcome == Outcome::NotMapped && mode == AuthenticationMode::ConfigMap;
    unmapped.then(|| HIDDEN_CREATOR.to_owned())
}

fn cluster_problems(cluster: &Cluster<'_>) -> Vec<Problem> {
    match cluster.aws_auth {
        Some(aws_auth) if cluster.mode.uses_aws_auth() => aws_auth.problems.clone(),
        _ => Vec::new(),
    }
}

fn policies(decision: &Decision, entries: &[AccessEntry]) -> Option<Vec<eks_aws_auth::AssociatedPolicy>> {
    let source = decision.source.as_ref()?;
    if source.kind != SourceKind::AccessEntry || decision.outcome != Outcome::Mapped {
        return None;
    }
    entries.get(source.index?)?.policies.clone()
}

/// How to let the principal in, where nothing maps it.
fn remedy(
    decision: &Decision,
    caller: &Caller,
    full_arn: &str,
    mode: AuthenticationMode,
    names: ClusterNames<'_>,
    entries: &[AccessEntry],
) -> Option<MappingRemedy> {
    let nobody_else = matches!(
        caller.kind,
        PrincipalKind::Role | PrincipalKind::AssumedRole | PrincipalKind::User
    );
    if decision.outcome != Outcome::NotMapped || !nobody_else {
        return None;
    }
    let stale = decision
        .passed_over
        .iter()
        .find(|over| over.because == PassedOverBecause::Stale)
        .and_then(|over| entries.get(over.source.index?));
    let want = match stale
        .and_then(|entry| entry.kind.as_ref())
        .map(eks_aws_auth::EntryType::as_str)
    {
        Some("EC2_LINUX") => Want::Node(NodeKind::Linux),
        Some("EC2_WINDOWS") => Want::Node(NodeKind::Windows),
        Some("FARGATE_LINUX") => Want::Node(NodeKind::Fargate),
        _ => Want::Admin,
    };
    let arn = stale.map_or(full_arn, |entry| entry.principal_arn.as_str());
    let mut remedy = mapping_remedy(
        if stale.is_some() {
            AuthenticationMode::Api
        } else {
            mode
        },
        names,
        arn,
        want,
    );
    let as_what = match want {
        Want::Admin => "as an administrator (choose narrower groups or another policy for anybody else)",
        Want::Node(_) => "as the node that it was",
    };
    remedy.text = match stale {
        Some(_) => format!("{as_what}: delete the access entry and create it again"),
        None => format!("{as_what}: {}", remedy.text),
    };
    if stale.is_some() {
        remedy.commands.insert(
            0,
            format!(
                "aws eks delete-access-entry --region {} --cluster-name {} --principal-arn {}",
                crate::text::quote(names.region),
                crate::text::quote(names.cluster),
                crate::text::quote(arn)
            ),
        );
    }
    Some(remedy)
}

/// Reads a file, as much of it as may be.
fn bytes_of(path: &Path) -> Result<Vec<u8>, Stop> {
    let failed = |error: std::io::Error| Stop::failed(format!("reading {} failed: {error}", path.display()));
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

/// Access entries from a file: an array of `accessEntry` objects, or what `aws eks describe-access-entry` prints, once or
/// several times after each other.
fn entries_of(path: &Path) -> Result<Vec<AccessEntry>, Stop> {
    let bytes = bytes_of(path)?;
    let failed = |what: String| Stop::failed(format!("{}: {what}", path.display()));
    if bytes.len() > MAX_MANIFEST_BYTES {
        return Err(failed("the file is larger than 8 MiB".to_owned()));
    }
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
    let mut entries = Vec::new();
    for document in serde_json::Deserializer::from_slice(bytes).into_iter::<serde_json::Value>() {
        let document = document.map_err(|error| failed(format!("not JSON: {error}")))?;
        entries_in(document, &mut entries).map_err(failed)?;
    }
    if entries.is_empty() && bytes.trim_ascii().is_empty() {
        return Err(failed(
            "the file is empty; [] is a list of no access entries".to_owned(),
        ));
    }
    Ok(entries)
}

fn entries_in(value: serde_json::Value, entries: &mut Vec<AccessEntry>) -> Result<(), String> {
    use serde_json::Value;
    const WANTED: &str =
        "an array of the accessEntry objects that `aws eks describe-access-entry` shows is needed";
    match value {
        Value::Array(items) => {
            for item in items {
                match item {
                    Value::Object(_) => entries_in(item, entries)?,
                    Value::String(_) => {
                        return Err(format!(
                            "it lists principals, as ListAccessEntries does, without username and type; {WANTED}"
                        ));
                    }
                    _ => return Err(format!("an entry is no object; {WANTED}")),
                }
            }
            Ok(())
        }
        Value::Object(mut map) => {
            if let Some(inner) = map.remove("accessEntry").or_else(|| map.remove("accessEntries")) {
                return entries_in(inner, entries);
            }
            if !map.contains_key("principalArn") {
                return Err(format!("an object has no principalArn; {WANTED}"));
            }
            let entry = serde_json::from_value(Value::Object(map))
                .map_err(|error| format!("the access entry {} is unusable: {error}", entries.len() + 1))?;
            entries.push(entry);
            Ok(())
        }
        _ => Err(format!("it is neither an array nor an object; {WANTED}")),
    }
}

/// The partition and account of everything that files name, if it is one.
fn only_account(aws_auth: &AwsAuth, entries: &[AccessEntry]) -> Result<(String, String), Stop> {
    let arns: Vec<Arn> = aws_auth
        .roles
        .iter()
        .chain(&aws_auth.users)
        .map(|mapping| mapping.arn.as_str())
        .chain(entries.iter().map(|entry| entry.principal_arn.as_str()))
        .filter_map(Arn::parse)
        .collect();
    let accounts: BTreeSet<&str> = arns
        .iter()
        .map(|arn| arn.account.as_str())
        .chain(aws_auth.accounts.iter().map(|account| account.account.as_str()))
        .filter(|account| account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit()))
        .collect();
    let partitions: BTreeSet<&str> = arns
        .iter()
        .map(|arn| arn.partition.as_str())
        .filter(|partition| PARTITIONS.contains(partition))
        .collect();
    let one = |set: &BTreeSet<&str>| match set.len() {
        1 => set.first().map(|one| (*one).to_owned()),
        _ => None,
    };
    let partition = match partitions.len() {
        0 => Some("aws".to_owned()),
        _ => one(&partitions),
    };
    match (partition, one(&accounts)) {
        (Some(partition), Some(account)) => Ok((partition, account)),
        _ => {
            let seen: Vec<&str> = accounts.iter().copied().take(5).collect();
            let seen = if seen.is_empty() {
                "the files name no account".to_owned()
            } else {
                format!("the files name several: {}", seen.join(", "))
            };
            Err(Stop::usage(format!(
                "of which account the name is cannot be told: {seen}\n  fix: write the whole ARN, arn:aws:iam::ACCOUNT:role/NAME"
            )))
        }
    }
}

// ---------------------------------------------------------------- the cluster

async fn live(args: &Args, global: &Global, asked: Option<Asked>) -> Result<Exit, Stop> {
    let ui = Ui::new(global.color, global.verbose, true);
    let http = aws::http_client().map_err(Stop::failed)?;
    let calls = Calls::default();
    let options = commands::options(global);
    let about = match &asked {
        None => About::Everybody,
        Some(Asked::Me) => About::Me,
        Some(Asked::Name { kind: "role", name }) => About::Role(iam_policy::arn::role_name(name)),
        Some(Asked::Name { .. }) => About::Other,
        Some(Asked::Arn(arn)) => role_in(arn).map_or(About::Other, About::Role),
    };
    let request = commands::request(global);
    let work = async {
        let resolved = cluster::resolve(&request, &http, options.limits, &calls).await?;
        let read = mappings::gather(&resolved, &about, &http, &options, &calls).await;
        Ok::<_, Stop>((resolved.target, read))
    };
    let (target, read) = ui.progress("reading AWS and the cluster", work).await?;
    if global.verbose > 0 {
        for call in &read.calls {
            terminal::err(&format!("  {} -> {}", call.call, call.answer));
        }
    }
    let cluster_account = read.cluster.known().and_then(|cluster| cluster.account());
    let credentials = read.caller.known().map(|caller| caller.account.as_str());
    if let (Some(credentials), Some(cluster)) = (credentials, target.account.as_deref().or(cluster_account))
        && credentials != cluster
    {
        return Err(Stop::failed(format!(
            "the credentials are of account {credentials}, the cluster {} is in account {cluster}\n  fix: name a profile of that account with --profile",
            target.cluster
        )));
    }
    if read.cluster.observed.is_absent() {
        return Err(Stop::failed(format!(
            "EKS has no cluster {} in {} of account {}\n  fix: name it with --context, or with --cluster-name, --region and --profile",
            target.cluster,
            target.region,
            credentials.unwrap_or("unknown")
        )));
    }
    let account = cluster_account
        .or(target.account.as_deref())
        .or(credentials)
        .map(str::to_owned);
    let place = Place {
        args,
        target: &target,
        read: &read,
        account: account.as_deref(),
        aws_auth: match &read.aws_auth.observed {
            Observed::Known(map) => Some(map.taken_in().clone()),
            Observed::Absent => Some(AwsAuth::default()),
            Observed::Unknown(_) => None,
        },
    };
    match asked {
        None => {
            let list = place.list();
            terminal::out_as(global.output, &render_list(&list, global.output, ui.style))?;
            Ok(list.exit())
        }
        Some(asked) => {
            let whois = place.whois(&asked)?;
            terminal::out_as(global.output, &render(&whois, global.output, ui.style))?;
            Ok(whois.exit())
        }
    }
}

/// The name of the role that an ARN is about.
fn role_in(arn: &str) -> Option<String> {
    let parsed = Arn::parse(arn)?;
    match (parsed.service.as_str(), parsed.kind()) {
        ("iam", "role") => Some(parsed.name().to_owned()),
        ("sts", "assumed-role") => iam_policy::arn::assumed_role_name(arn),
        _ => None,
    }
    .filter(|name| !name.is_empty())
}

fn unread(what: &str, unknown: &Unknown) -> Unread {
    Unread {
        what: what.to_owned(),
        reason: unknown.to_string(),
        grant: unknown.grant.as_ref().map(|grant| grant.statement()),
    }
}

/// The cluster as it was read.
struct Place<'a> {
    args: &'a Args,
    target: &'a cluster::Target,
    read: &'a Mappings,
    account: Option<&'a str>,
    aws_auth: Option<AwsAuth>,
}

impl Place<'_> {
    fn modes(&self) -> Vec<AuthenticationMode> {
        use AuthenticationMode::{Api, ApiAndConfigMap, ConfigMap};
        let known = self
            .read
            .cluster
            .known()
            .map(|cluster| cluster.authentication_mode);
        match self.args.authentication_mode.or(known) {
            Some(mode) => vec![mode],
            None => vec![ApiAndConfigMap, ConfigMap, Api],
        }
    }

    fn cluster(&self, mode: AuthenticationMode) -> Cluster<'_> {
        Cluster {
            mode,
            aws_auth: self.aws_auth.as_ref(),
            entries: self.entries(),
            settings: Settings::default(),
        }
    }

    fn entries(&self) -> Option<&[AccessEntry]> {
        match &self.read.access_entries.observed {
            Observed::Known(entries) => Some(entries.as_slice()),
            Observed::Absent => Some(&[]),
            Observed::Unknown(_) => None,
        }
    }

    fn ground(&self, unread: Vec<Unread>) -> Ground {
        let mode = match self.modes().as_slice() {
            [one] => Some(*one),
            _ => None,
        };
        Ground {
            authentication_mode: mode,
            target: Some(AskedCluster {
                context: self.target.context.clone(),
                cluster: self.target.cluster.clone(),
                region: self.target.region.clone(),
                account: self.account.map(str::to_owned),
            }),
            validation_webhook: match &self.read.validation_webhook.observed {
                Observed::Known(_) => Some(true),
                Observed::Absent => Some(false),
                Observed::Unknown(_) => None,
            },
            unread,
        }
    }

    /// What the mode makes count and could not be read.
    fn missing(&self, mode: AuthenticationMode) -> Vec<Unread> {
        let entries = self
            .read
            .access_entries
            .observed
            .unknown()
            .filter(|_| mode.uses_entries());
        let aws_auth = self
            .read
            .aws_auth
            .observed
            .unknown()
            .filter(|_| mode.uses_aws_auth());
        entries
            .map(|unknown| unread("the access entries", unknown))
            .into_iter()
            .chain(aws_auth.map(|unknown| unread("the ConfigMap kube-system/aws-auth", unknown)))
            .collect()
    }

    fn mode_caveat(&self) -> Option<String> {
        let asked = self.args.authentication_mode?;
        let real = self.read.cluster.known()?.authentication_mode;
        (asked != real).then(|| format!("judged as if the mode were {asked}; the cluster's is {real}"))
    }

    fn mode_unread(&self) -> Option<Unread> {
        let unknown = self.read.cluster.observed.unknown()?;
        self.args
            .authentication_mode
            .is_none()
            .then(|| unread("the cluster's authentication mode", unknown))
    }

    /// What IAM says of a principal: nothing, for those of other accounts.
    fn existence(&self, arn: &str) -> Existence {
        let Some((name, account)) = role_in(arn).zip(Arn::parse(arn).map(|arn| arn.account)) else {
            return Existence::Unknown;
        };
        let same_account = self
            .read
            .caller
            .known()
            .is_some_and(|caller| caller.account == account);
        match self.read.roles.get(&name).map(|role| &role.observed) {
            Some(Observed::Known(role))
                if Arn::parse(&role.arn).is_some_and(|arn| arn.account == account) =>
            {
                role.created.map_or(Existence::Unknown, Existence::Since)
            }
            Some(Observed::Absent) if same_account => Existence::Deleted,
            _ => Existence::Unknown,
        }
    }

    fn list(&self) -> WhoisList {
        let modes = self.modes();
        let mode = modes
            .first()
            .copied()
            .unwrap_or(AuthenticationMode::ApiAndConfigMap);
        let mut unread_now: Vec<Unread> = self.mode_unread().into_iter().chain(self.missing(mode)).collect();
        for role in self.read.roles.values() {
            if let Observed::Unknown(unknown) = &role.observed {
                unread_now.push(unread(
                    "whether a role is still the one that its entry was made for",
                    unknown,
                ));
            }
        }
        unread_now.dedup();
        let listed = list_all(&self.cluster(mode), |arn| self.existence(arn));
        let mut caveats: Vec<String> = self.mode_caveat().into_iter().collect();
        if mode == AuthenticationMode::ConfigMap {
            caveats.push(HIDDEN_CREATOR.to_owned());
        }
        let problems = cluster_problems(&self.cluster(mode));
        WhoisList::new(listed, caveats, problems, self.ground(unread_now), &|_, _| None)
    }

    /// The ARN that is asked about, and the caller behind it.
    fn principal(&self, asked: &Asked) -> Result<(String, Result<Caller, IdentityError>), Stop> {
        match asked {
            Asked::Me => {
                let fact = self.read.token_caller.as_ref().unwrap_or(&self.read.caller);
                match &fact.observed {
                    Observed::Known(me) => {
                        let caller = caller_of(&me.arn).map(|caller| {
                            caller
                                .with_access_key_id(self.read.access_key_id.clone())
                                .with_principal_id(Some(me.user_id.clone()).filter(|id| !id.is_empty()))
                        });
                        Ok((me.arn.clone(), caller))
                    }
                    Observed::Unknown(unknown) => Err(Stop {
                        message: format!("who you are to AWS could not be read: {unknown}"),
                        exit: Exit::Undecided,
                    }),
                    Observed::Absent => Err(Stop::failed("AWS does not say who you are")),
                }
            }
            Asked::Arn(arn) => Ok((arn.clone(), caller_of(arn))),
            Asked::Name { kind, name } => {
                let known = self
                    .read
                    .roles
                    .get(&iam_policy::arn::role_name(name))
                    .and_then(|role| role.known())
                    .map(|role| role.arn.clone());
                let arn = match (known, self.account) {
                    (Some(arn), _) => arn,
                    (None, Some(account)) => {
                        format!("arn:{}:iam::{account}:{kind}/{name}", self.target.partition)
                    }
                    (None, None) => {
                        return Err(Stop {
                            message:
                                "of which account the name is could not be read\n  fix: write the whole ARN"
                                    .to_owned(),
                            exit: Exit::Undecided,
                        });
                    }
                };
                let caller = caller_of(&arn);
                Ok((arn, caller))
            }
        }
    }

    fn whois(&self, asked: &Asked) -> Result<Whois, Stop> {
        let (arn, caller) = self.principal(asked)?;
        let caller = match caller {
            Ok(caller) => with_flags(caller, self.args),
            Err(error) => {
                return Ok(Whois::new(
                    Decision::refused(&arn, &error),
                    self.ground(Vec::new()),
                    &|_, _| None,
                ));
            }
        };
        let existence = self.existence(&arn);
        let role = role_in(&arn).and_then(|name| self.read.roles.get(&name));
        let mut ways = Vec::new();
        let mut open: Vec<Unread> = Vec::new();
        for mode in self.modes() {
            let decision = decide(&self.cluster(mode), &caller, existence);
            let by_entry = decision
                .source
                .as_ref()
                .is_some_and(|source| source.kind == SourceKind::AccessEntry);
            let mut missing = self.missing(mode);
            if by_entry && self.entries().is_some() {
                // aws-auth is not looked at after an entry.
                missing.clear();
                // Whether the entry is bound to this role or to an earlier one of its name.
                let live_session = asked == &Asked::Me;
                if let (Existence::Unknown, Some(Observed::Unknown(unknown)), false, true) = (
                    existence,
                    role.map(|role| &role.observed),
                    live_session,
                    self.of_this_account(&caller),
                ) {
                    missing.push(unread(
                        "whether the role is still the one that the entry was made for",
                        unknown,
                    ));
                }
            }
            for one in missing {
                if !open.contains(&one) {
                    open.push(one);
                }
            }
            ways.push(decision);
        }
        let same = |a: &Decision, b: &Decision| {
            (a.outcome, &a.username, &a.groups) == (b.outcome, &b.username, &b.groups)
        };
        let agree = ways.windows(2).all(|pair| same(&pair[0], &pair[1]));
        if !agree {
            open.extend(self.mode_unread());
        }
        let mode_not_needed = agree && ways.len() > 1;
        let mode = self
            .modes()
            .first()
            .copied()
            .unwrap_or(AuthenticationMode::ApiAndConfigMap);
        let mut decision = ways.swap_remove(0);
        decision.caveats.extend(self.mode_caveat());
        if mode_not_needed {
            decision
                .caveats
                .push("the authentication mode could not be read; it makes no difference here".to_owned());
        }
        decision.caveats.extend(hidden_creator(&decision, mode));
        self.about_the_role(&arn, &caller, existence, &mut decision);
        let entries = self.entries().unwrap_or_default();
        let names = ClusterNames {
            cluster: &self.target.cluster,
            region: &self.target.region,
            account: self.account.unwrap_or_default(),
            partition: &self.target.partition,
        };
        let full_arn = role
            .and_then(|role| role.known())
            .map_or(caller.canonical_arn.as_str(), |role| role.arn.as_str());
        let mut remedy = remedy(&decision, &caller, full_arn, mode, names, entries);
        let policies = policies(&decision, entries);
        let mut undecided = !open.is_empty();
        let mut user = None;
        if asked == &Asked::Me {
            undecided &= !self.servers_word(&mut decision, &mut user);
            if !undecided {
                open.clear();
            }
            if decision.outcome == Outcome::Mapped {
                remedy = None;
            }
        }
        if undecided {
            remedy = None;
            let what: Vec<&str> = open.iter().map(|unread| unread.what.as_str()).collect();
            let mut alternatives = vec![alternative(&decision)];
            for way in &ways {
                let way = alternative(way);
                if !alternatives.iter().any(|other| {
                    (other.outcome, &other.username, &other.groups)
                        == (way.outcome, &way.username, &way.groups)
                }) {
                    alternatives.push(way);
                }
            }
            decision = Decision {
                outcome: Outcome::Ambiguous,
                username: None,
                groups: Vec::new(),
                source: None,
                reason: format!(
                    "it cannot be told without {}; what could be read would make it: {}",
                    what.join(" and "),
                    decision.reason
                ),
                alternatives,
                ..decision
            };
        }
        let mut whois = Whois::new(decision, self.ground(open), &|_, _| None);
        whois.undecided = undecided;
        whois.remedy = remedy;
        whois.policies = policies.filter(|_| !undecided);
        whois.kubernetes_user = user;
        Ok(whois)
    }

    fn of_this_account(&self, caller: &Caller) -> bool {
        self.read
            .caller
            .known()
            .is_none_or(|me| me.account == caller.account)
    }

    /// What IAM told of the role, where somebody should know it.
    fn about_the_role(&self, arn: &str, caller: &Caller, existence: Existence, decision: &mut Decision) {
        let Some(name) = role_in(arn) else { return };
        if !self.of_this_account(caller) {
            decision.caveats.push(format!(
                "{name} is a role of account {}, which these credentials cannot look into: whether it still exists is not known",
                caller.account
            ));
            return;
        }
        if existence == Existence::Deleted {
            decision.caveats.push(format!(
                "IAM has no role {name}: nobody can call as it now. aws-auth maps by name, so whoever makes a role of that name gets what is mapped"
            ));
        }
        if let Some(role) = self.read.roles.get(&name).and_then(|role| role.known())
            && caller.kind == PrincipalKind::Role
            && role.arn != arn
        {
            decision.caveats.push(format!("IAM has the role as {}", role.arn));
        }
    }

    /// Lays the API server's own word over the decision; whether it gave one.
    fn servers_word(&self, decision: &mut Decision, user: &mut Option<ServersWord>) -> bool {
        match &self.read.kubernetes_user.observed {
            Observed::Known(known) => {
                *user = Some(ServersWord {
                    username: known.username.clone(),
                    groups: known.groups.clone(),
                });
                let mut groups = known.groups.clone();
                groups.retain(|group| group != "system:authenticated");
                if decision.outcome == Outcome::Mapped && decision.username.as_ref() == Some(&known.username)
                {
                    return true;
                }
                let told = match decision.outcome {
                    Outcome::Mapped => format!(
                        "the mappings would make it {:?}",
                        decision.username.as_deref().unwrap_or_default()
                    ),
                    _ => decision.reason.clone(),
                };
                *decision = Decision {
                    outcome: Outcome::Mapped,
                    username: Some(known.username.clone()),
                    groups,
                    source: None,
                    reason: format!(
                        "the API server itself says so (SelfSubjectReview), although {told}: the kubeconfig may not authenticate by \
                         IAM, or this is the principal that created the cluster, whose access need not show"
                    ),
                    alternatives: Vec::new(),
                    ..decision.clone()
                };
                true
            }
            Observed::Unknown(unknown)
                if unknown.why == Why::Unauthenticated && decision.outcome == Outcome::Mapped =>
            {
                decision.caveats.push(format!(
                    "the API server refused the token all the same ({unknown}): it may have expired or be another cluster's, or the mapping is younger than a minute"
                ));
                false
            }
            _ => false,
        }
    }
}

fn alternative(decision: &Decision) -> Alternative {
    Alternative {
        outcome: decision.outcome,
        username: decision.username.clone(),
        groups: decision.groups.clone(),
        source: decision.source.clone(),
        reason: decision.reason.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for() {
        let name = |kind, name: &str| Asked::Name {
            kind,
            name: name.to_owned(),
        };
        for (text, want) in [
            ("me", Some(Asked::Me)),
            (
                " arn:aws:iam::111122223333:role/Dev\n",
                Some(Asked::Arn("arn:aws:iam::111122223333:role/Dev".to_owned())),
            ),
            ("Dev", Some(name("role", "Dev"))),
            ("role/team/Dev", Some(name("role", "team/Dev"))),
            ("/team/Dev", Some(name("role", "team/Dev"))),
            ("user/alice", Some(name("user", "alice"))),
            ("arn:aws:iam", None),
            ("ARN:aws:iam::111122223333:role/Dev", None),
            ("arn:", None),
            ("", None),
            ("two words", None),
            ("a\u{1b}[31m", None),
            ("role/", None),
            (&"x".repeat(65), None),
        ] {
            assert_eq!(Asked::read(text).ok(), want, "{text:?}");
        }
    }
}
