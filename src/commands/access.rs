//! `access`: list, diff, migrate.

use super::whois::files::{entries_in, manifest_in};
use crate::access::{AccessList, State, diff, list, plan, verify};
use crate::aws;
use crate::cli::Global;
use crate::cli::access::{AccessCommand, Diff, Files, List, Migrate, PlanForm};
use crate::cluster;
use crate::commands::{self, CliError};
use crate::facts::bindings::{Binding, meaning_of_group};
use crate::facts::mappings::{self, About, Mappings};
use crate::model::{Calls, Exit, Observed, Target};
use crate::report::json;
use crate::terminal::{self, Ui};
use crate::text::{Output, sanitize};
use eks_aws_auth::{AuthenticationMode, AwsAuth, Existence};
use serde::Serialize;

/// Runs it.
///
/// # Errors
/// Wrong usage; a file that cannot be read; a target that cannot be resolved.
pub fn run(command: &AccessCommand, global: &Global) -> Result<Exit, CliError> {
    if !matches!(
        global.output,
        Output::Text | Output::Json | Output::Yaml | Output::Markdown
    ) {
        return Err(CliError::usage(
            "access prints text, json, yaml or markdown\n  fix: leave --output out, or take one of these",
        ));
    }
    let ui = Ui::new(global.color, global.verbose, true);
    match command {
        AccessCommand::List(args) => run_list(args, global, &ui),
        AccessCommand::Diff(args) => run_diff(args, global, &ui),
        AccessCommand::Migrate(args) => run_migrate(args, global, &ui),
    }
}

/// A state, and what was read beside it.
struct Known {
    state: State,
    /// Where the cluster was asked.
    target: Option<Target>,
    bindings: Option<Vec<Binding>>,
    you: Option<String>,
    /// What could not be read.
    unread: Vec<String>,
}

impl Known {
    fn meaning(&self) -> impl Fn(&str) -> Option<String> + '_ {
        |group| meaning_of_group(self.bindings.as_deref()?, group)
    }
}

/// Files over a state: what is given replaces what was there.
///
/// # Errors
/// A file that cannot be read, or that the API server would refuse.
fn over(files: &Files, base: Option<&State>) -> Result<State, CliError> {
    let aws_auth = match files.filename.as_deref() {
        None => base.map_or_else(|| Some(AwsAuth::default()), |base| base.aws_auth.clone()),
        Some(path) => {
            let manifest = manifest_in(path)?;
            if let Some(problem) = manifest.rejected() {
                return Err(CliError::failed(format!(
                    "{}: {}\n  fix: {}",
                    path.display(),
                    problem.message,
                    problem.fix
                )));
            }
            Some(AwsAuth::parse(&manifest.data))
        }
    };
    let entries = match files.access_entries.as_deref() {
        None => base.map_or_else(|| Some(Vec::new()), |base| base.entries.clone()),
        Some(path) => Some(entries_in(path)?),
    };
    let mode = files.authentication_mode.or(base.map(|base| base.mode));
    let mode = mode.unwrap_or(match files.access_entries {
        Some(_) => AuthenticationMode::ApiAndConfigMap,
        None => AuthenticationMode::ConfigMap,
    });
    Ok(State::new(mode, aws_auth, entries))
}

fn offline(files: &Files) -> Result<Known, CliError> {
    Ok(Known {
        state: over(files, None)?,
        target: None,
        bindings: None,
        you: None,
        unread: Vec::new(),
    })
}

fn live(global: &Global, ui: &Ui, mode: Option<AuthenticationMode>) -> Result<Known, CliError> {
    let http = aws::http_client().map_err(CliError::failed)?;
    let calls = Calls::default();
    let options = commands::options(global);
    let request = commands::request(global);
    let about = About {
        me: true,
        everyone: true,
        lines: true,
        ..About::default()
    };
    let work = async {
        let resolved = cluster::resolve(&request, &http, options.limits, &calls).await?;
        let read = mappings::gather(&resolved, &about, &http, &options, &calls).await;
        Ok::<_, CliError>((resolved.target, read))
    };
    let (target, read) = commands::block_on(ui.progress("reading AWS and the cluster", work))?;
    known(target, read, mode)
}

fn known(target: Target, read: Mappings, mode: Option<AuthenticationMode>) -> Result<Known, CliError> {
    let undecided = |message: String| CliError {
        message,
        exit: Exit::Undecided,
    };
    let mode = match (mode, &read.cluster.observed) {
        (Some(mode), _) => mode,
        (None, Observed::Known(cluster)) => cluster.authentication_mode,
        (None, Observed::Absent) => {
            return Err(CliError::failed(format!(
                "EKS has no cluster {} in {}\n  fix: name it with --context, or with --cluster-name, --region and --profile",
                target.cluster, target.region
            )));
        }
        (None, Observed::Unknown(unknown)) => {
            return Err(undecided(format!(
                "the cluster's authentication mode could not be read: {unknown}\n  fix: give it with --authentication-mode"
            )));
        }
    };
    let mut unread = Vec::new();
    let mut note =
        |what: &str, why: &dyn std::fmt::Display| unread.push(format!("{what} could not be read: {why}"));
    let aws_auth = match &read.aws_auth.observed {
        Observed::Known(map) => Some(map.taken_in().clone()),
        Observed::Absent => Some(AwsAuth::default()),
        Observed::Unknown(unknown) => {
            note("aws-auth", unknown);
            None
        }
    };
    let entries = match &read.access_entries.observed {
        Observed::Known(entries) => Some(entries.clone()),
        Observed::Absent => Some(Vec::new()),
        Observed::Unknown(unknown) => {
            note("the access entries", unknown);
            None
        }
    };
    let bindings = match read.bindings.as_ref().map(|fact| &fact.observed) {
        Some(Observed::Known(bindings)) => Some(bindings.clone()),
        Some(Observed::Unknown(unknown)) => {
            note(
                "what groups are bound to (RoleBindings, ClusterRoleBindings)",
                unknown,
            );
            None
        }
        _ => None,
    };
    let account = read
        .caller
        .known()
        .map(|caller| caller.account.clone())
        .unwrap_or_default();
    let roles: Vec<_> = read
        .roles
        .iter()
        .filter_map(|(name, role)| {
            let arn = |name: &str| format!("arn:{}:iam::{account}:role/{name}", target.partition);
            match &role.observed {
                Observed::Known(role) => {
                    let existence = role.created.map_or(Existence::Unknown, Existence::Since);
                    Some((role.arn.clone(), existence, Some(role.arn.clone())))
                }
                Observed::Absent => Some((arn(name), Existence::Deleted, None)),
                Observed::Unknown(_) => None,
            }
        })
        .collect();
    let me = read.token_caller.as_ref().unwrap_or(&read.caller).known();
    Ok(Known {
        state: State::new(mode, aws_auth, entries).with_roles(roles),
        you: me.map(|caller| caller.arn.clone()),
        target: Some(target),
        bindings,
        unread,
    })
}

fn known_of(files: &Files, global: &Global, ui: &Ui) -> Result<Known, CliError> {
    match (&files.filename, &files.access_entries) {
        (None, None) => live(global, ui, files.authentication_mode),
        _ => offline(files),
    }
}

fn print<T: Serialize>(
    value: &T,
    global: &Global,
    text: impl FnOnce() -> String,
    markdown: impl FnOnce() -> String,
) -> Result<(), CliError> {
    let out = match global.output {
        Output::Json => json::pretty(value),
        Output::Yaml => json::to_yaml(value),
        Output::Markdown => markdown(),
        _ => text(),
    };
    Ok(terminal::out_as(global.output, &out)?)
}

fn run_list(args: &List, global: &Global, ui: &Ui) -> Result<Exit, CliError> {
    let known = known_of(&args.files, global, ui)?;
    let mut caveats = known.unread.clone();
    if known.state.mode == AuthenticationMode::ConfigMap {
        caveats.push(super::whois::HIDDEN_CREATOR.to_owned());
    }
    let list: AccessList = list(&known.state, args.used_by, caveats, &known.meaning());
    let text = || if args.csv { list.csv() } else { list.text(ui.style) };
    print(&list, global, text, || list.markdown())?;
    Ok(if known.unread.is_empty() {
        Exit::Done
    } else {
        Exit::Undecided
    })
}

fn run_diff(args: &Diff, global: &Global, ui: &Ui) -> Result<Exit, CliError> {
    let files = &args.after;
    if files.filename.is_none() && files.access_entries.is_none() && files.authentication_mode.is_none() {
        return Err(CliError::usage(
            "nothing to compare with\n  fix: name the state after: -f FILE, --access-entries FILE or --authentication-mode MODE",
        ));
    }
    let from = Files {
        filename: args.from_file.clone(),
        access_entries: args.from_access_entries.clone(),
        authentication_mode: args.from_authentication_mode,
    };
    let before = known_of(&from, global, ui)?;
    let mut after = over(files, Some(&before.state))?;
    after.take_roles(&before.state);
    let result = diff(&before.state, &after, before.you.as_deref(), &before.meaning());
    for unread in &before.unread {
        terminal::err(&format!("note: {unread}"));
    }
    print(&result, global, || result.text(ui.style), || result.markdown())?;
    Ok(result.exit())
}

fn run_migrate(args: &Migrate, global: &Global, ui: &Ui) -> Result<Exit, CliError> {
    let known = known_of(&args.files, global, ui)?;
    if known.state.aws_auth.is_none() || known.state.entries.is_none() {
        return Err(CliError {
            message: format!("a plan needs all of the mappings: {}", known.unread.join("; ")),
            exit: Exit::Undecided,
        });
    }
    let target = match &known.target {
        Some(target) => target.clone(),
        None => named_target(global)?,
    };
    let start = match args.verify {
        // What the lines alone would become, whatever was done since.
        true => {
            let lines = known.state.aws_auth.clone();
            let mut start = State::new(AuthenticationMode::ConfigMap, lines, Some(Vec::new()));
            start.take_roles(&known.state);
            start
        }
        false => known.state.clone(),
    };
    let plan = plan(
        &start,
        &target,
        known.bindings.as_deref(),
        known.you.as_deref(),
        &known.meaning(),
    );
    for unread in &known.unread {
        terminal::err(&format!("note: {unread}"));
    }
    if args.verify {
        let wrong = verify(&plan.entries, &known.state);
        let value = serde_json::json!({"apiVersion": crate::report::API_VERSION, "kind": "AccessVerification", "wrong": wrong});
        let text = || match wrong.as_slice() {
            [] => "VERIFIED: the cluster has every access entry of the plan\n".to_owned(),
            wrong => format!("NOT AS PLANNED\n\n{}\n", sanitize::line(&wrong.join("\n"))),
        };
        print(&value, global, text, text)?;
        return Ok(if wrong.is_empty() {
            Exit::Done
        } else {
            Exit::Failed
        });
    }
    let text = || match args.form {
        PlanForm::Commands => plan.text(ui.style),
        PlanForm::Eksctl => json::to_yaml(&plan.eksctl(&target)),
        PlanForm::Cloudformation => json::to_yaml(&plan.cloudformation(&target)),
        PlanForm::Terraform => plan.terraform(&target),
    };
    print(&plan, global, text, || plan.proof.markdown())?;
    Ok(plan.exit())
}

/// The cluster that files do not name.
fn named_target(global: &Global) -> Result<Target, CliError> {
    match (&global.cluster_name, &global.region) {
        (Some(cluster), Some(region)) => Ok(super::whois::files::target(cluster, region)),
        _ => Err(CliError::usage(
            "files do not name the cluster that the plan is for\n  fix: give --cluster-name and --region",
        )),
    }
}
