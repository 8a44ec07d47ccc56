//! Will Karpenter get EC2 Spot capacity on this EKS cluster, and if not, what exactly must change?
//!
//! Data goes one way: flags -> [`cluster`] -> [`facts`] -> [`checks`] -> [`report`] -> the screen. Only [`cluster`] reads the
//! kubeconfig, only [`facts`] talks to AWS and Kubernetes, only [`spot_role`] writes.

mod access;
mod aws;
mod capt;
mod checks;
mod cli;
mod cluster;
mod commands;
mod facts;
mod fleet;
mod helm;
/// What node pools mean, compared with Karpenter's own code in tests.
pub mod karpenter;
mod kube;
mod model;
mod report;
mod spot_role;
mod terminal;
mod text;
mod trust;

use std::ffi::OsString;

use clap::FromArgMatches as _;

use cli::{Cli, Verb};
use commands::{CliError, block_on, block_on_to_the_end};
use model::Exit;

/// Runs the program with these arguments; the first is the name it was called by.
pub fn run(args: Vec<OsString>) -> Exit {
    let called_as = called_as(args.first());
    let args = commands::raw::plain_words(args);
    if let Some((before, verb, words)) = commands::raw::split(&args) {
        return ended(commands::raw::run(before, verb, words, &called_as));
    }
    let cli = match cli::command(&called_as)
        .try_get_matches_from(args)
        .and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches))
    {
        Ok(mut cli) => {
            namespace_of_helm(&mut cli);
            cli
        }
        Err(error) => {
            // Help and version go to stdout with 0, wrong usage to stderr with 2.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            };
        }
    };
    if cli.global.quiet {
        terminal::be_quiet();
    }
    ended(dispatch(&cli))
}

fn ended(result: Result<Exit, CliError>) -> Exit {
    result.unwrap_or_else(|stop| {
        if !stop.message.is_empty() {
            terminal::err(&format!("error: {}", stop.message));
        }
        stop.exit
    })
}

/// `kubectl capt-spot` or `helm capt-spot`, as the person typed it; or the file's own name.
fn called_as(argv0: Option<&OsString>) -> String {
    if std::env::var_os("HELM_PLUGIN_NAME").is_some() {
        return "helm capt-spot".to_owned();
    }
    let stem = argv0
        .and_then(|name| std::path::Path::new(name).file_stem())
        .map(|stem| stem.to_string_lossy().into_owned())
        .unwrap_or_default();
    if stem.is_empty() || stem == "kubectl-capt_spot" {
        terminal::KUBECTL.to_owned()
    } else {
        stem
    }
}

/// Helm keeps `-n` from a plugin and says it in HELM_NAMESPACE, which is always set: "default" is what it says when
/// nobody named one. A post-renderer is no such plugin.
fn namespace_of_helm(cli: &mut Cli) {
    let asks = matches!(
        cli.verb,
        Verb::Hook(_) | Verb::Preflight(_) | Verb::CreateRole(_) | Verb::Template(_)
    );
    if asks && cli.global.namespace.is_none() && std::env::var_os("HELM_PLUGIN_NAME").is_some() {
        cli.global.namespace = std::env::var("HELM_NAMESPACE")
            .ok()
            .filter(|name| !name.is_empty() && name != "default");
    }
}

fn dispatch(cli: &Cli) -> Result<Exit, CliError> {
    let global = &cli.global;
    if !global.as_groups.is_empty() && global.as_user.is_none() {
        return Err(CliError::usage(
            "--as-group goes with --as: a group alone cannot be impersonated",
        ));
    }
    match &cli.verb {
        Verb::Explain(args) => commands::explain::run(args, global),
        Verb::Policy(args) => commands::policy::run(args, global),
        Verb::Completion(args) => commands::completion::run(args),
        Verb::Schema(args) => {
            terminal::out(args.report.schema())?;
            Ok(Exit::Done)
        }
        Verb::Version(args) => block_on(commands::version::run(args, global)),
        Verb::Man { folder } => commands::man::run(folder),
        Verb::Template(command) => {
            commands::template::run(command, global, || block_on(commands::capt::fetch(global)))
        }
        Verb::Hook(args) => commands::hook::run(args, global),
        Verb::Gate(args) => block_on(commands::gate::run(args, global)),
        // Taken before clap: see commands::raw.
        Verb::Install(_) | Verb::Upgrade(_) => Err(CliError::usage("name the release and the chart")),
        Verb::Trust(args) => block_on(commands::trust::run(args, global)),
        Verb::Account(args) => block_on(commands::account::run(args, global)),
        Verb::Preflight(args) if commands::clusters::are_asked(args) => {
            block_on_to_the_end(commands::clusters::run(args, global))
        }
        Verb::Preflight(args) => block_on(commands::preflight::run(args, global)),
        Verb::Fleet(command) => block_on(commands::fleet::run(command, global)),
        Verb::Whois(args) => commands::whois::run(args, global),
        Verb::Access(command) => commands::access::run(command, global),
        Verb::CreateRole(args) => block_on(commands::create_role::run(args, global)),
    }
}
