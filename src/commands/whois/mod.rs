//! `whois`: who the cluster authenticates principals as, live or from files.

pub(in crate::commands) mod files;
mod live;

use crate::access::Asked;
use crate::checks::mapping_fix::Fix;
use crate::cli::access::Files;
use crate::cli::{Global, Whois as Args};
use crate::commands::{self, CliError};
use crate::model::{
    Caller as CallerFact, Cluster as ClusterFact, Command, Exit, Fact, Language, Snippet, Target, Unknown,
};
use crate::report::whois::{MappingRemedy, Unread, Whois, WhoisList};
use crate::terminal::Ui;
use eks_aws_auth::{
    AccessEntry, AssociatedPolicy, AuthenticationMode, Caller, Cluster, Decision, Outcome, Problem,
    SourceKind,
};

/// Runs it.
///
/// # Errors
/// Wrong usage; a file that cannot be read or is something else; a target that cannot be resolved.
pub fn run(args: &Args, global: &Global) -> Result<Exit, CliError> {
    if args.all {
        let files = Files {
            filename: args.filename.clone(),
            access_entries: args.access_entries.clone(),
            authentication_mode: args.authentication_mode,
            facts: None,
        };
        return super::access::run_list(&files, None, &args.reporting, global);
    }
    let asked = args
        .principals
        .iter()
        .map(|text| Asked::read(text))
        .collect::<Result<Vec<_>, _>>();
    let asked = asked.map_err(CliError::usage)?;
    // Standard input is read without a runtime, which would take Ctrl-C for itself.
    if args.filename.is_some() || args.access_entries.is_some() {
        return files::run(args, global, &asked);
    }
    commands::block_on(live::run(args, global, &asked))
}

/// Prints the answers: one as it is, several as a list.
fn print(answers: Vec<Whois>, args: &Args, global: &Global, ui: &Ui) -> Result<Exit, CliError> {
    if let [only] = answers.as_slice() {
        commands::answer(&[only.page()], only, &args.reporting, global, ui)?;
        return Ok(only.exit());
    }
    let ground = answers.first().map(|one| one.ground.clone()).unwrap_or_default();
    print_list(&WhoisList::of_answers(answers, ground), args, global, ui)
}

fn print_list(list: &WhoisList, args: &Args, global: &Global, ui: &Ui) -> Result<Exit, CliError> {
    commands::answer(&list.pages(), list, &args.reporting, global, ui)?;
    Ok(list.exit())
}

/// The cluster's account, as far as the target and EKS tell.
///
/// # Errors
/// No such cluster, or credentials of another account.
pub(super) fn own_account(
    target: &Target,
    cluster: &Fact<ClusterFact>,
    caller: &Fact<CallerFact>,
) -> Result<Option<String>, CliError> {
    let of_cluster = cluster.known().and_then(|cluster| cluster.account());
    let of_cluster = of_cluster.or(target.account.as_deref());
    let credentials = caller.known().map(|caller| caller.account.as_str());
    if let (Some(credentials), Some(account)) = (credentials, target.account.as_deref().or(of_cluster))
        && credentials != account
    {
        return Err(CliError::failed(format!(
            "the credentials are of account {credentials}, the cluster {} is in account {account}\n  fix: name a profile of that account with --profile",
            target.cluster
        )));
    }
    if cluster.observed.is_absent() {
        return Err(CliError::failed(format!(
            "EKS has no cluster {} in {} of account {}\n  fix: name it with --context, or with --cluster-name, --region and --profile",
            target.cluster,
            target.region,
            credentials.unwrap_or("unknown")
        )));
    }
    Ok(of_cluster.map(str::to_owned))
}

/// Something that could not be read.
pub(super) fn unread(what: &str, unknown: &Unknown) -> Unread {
    Unread {
        what: what.to_owned(),
        reason: unknown.to_string(),
        grant: unknown.grant.as_ref().map(|grant| grant.statement()),
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

/// What AWS does not show in mode CONFIG_MAP.
pub(super) const HIDDEN_CREATOR: &str =
    "in CONFIG_MAP mode the cluster's creator is an administrator that AWS does not show";

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

fn policies(decision: &Decision, entries: &[AccessEntry]) -> Option<Vec<AssociatedPolicy>> {
    let source = decision.source.as_ref()?;
    if source.kind != SourceKind::AccessEntry || decision.outcome != Outcome::Mapped {
        return None;
    }
    entries.get(source.index?)?.policies.clone()
}

fn remedy(fix: Fix) -> MappingRemedy {
    MappingRemedy {
        text: fix.text,
        commands: Command::lines(&fix.commands),
        snippets: fix
            .entry
            .iter()
            .map(|entry| Snippet {
                language: Language::Yaml,
                text: entry.clone(),
            })
            .collect(),
        aws_auth_entry: fix.entry,
    }
}
