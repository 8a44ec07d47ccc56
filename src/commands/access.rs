//! `access`: list, diff, migrate.

use std::path::Path;

use super::whois::files::{self, entries_in, manifest_in};
use super::whois::{self, HIDDEN_CREATOR};
use crate::access::{AccessList, Compared, Document, Planned, State, UsedBy, diff, list, plan, verify};
use crate::aws;
use crate::cli::access::{AccessCommand, Diff, Files, Migrate, PlanForm};
use crate::cli::{Global, Reporting};
use crate::cluster;
use crate::commands::{self, CliError};
use crate::facts::bindings::{Binding, Rights};
use crate::facts::mappings::{self, About};
use crate::facts::{Facts, aws_auth, saved};
use crate::model::{Caller, Calls, Cluster, Exit, Fact, Observed, Role, Target, Unknown};
use crate::report::whois::{AskedCluster, Ground, Placed, Unread, place_problems};
use crate::report::{Envelope, json};
use crate::terminal::{self, Ui};
use crate::text::{Output, read_bounded};
use eks_aws_auth::{AccessEntry, AuthenticationMode, AwsAuth, Existence, Loss, Manifest, Problem, Severity};
use iam_policy::arn::{self, Arn};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Runs it.
///
/// # Errors
/// Wrong usage; a file that cannot be read; a target that cannot be resolved.
pub fn run(command: &AccessCommand, global: &Global) -> Result<Exit, CliError> {
    let ui = Ui::new(global.color, global.verbose, true);
    match command {
        AccessCommand::List(args) => {
            let csv = Global {
                output: Output::Csv,
                ..global.clone()
            };
            let global = if args.csv { &csv } else { global };
            run_list(&args.files, args.used_by, &args.reporting, global)
        }
        AccessCommand::Diff(args) => run_diff(args, global, &ui),
        AccessCommand::Migrate(args) => run_migrate(args, global, &ui),
    }
}

/// What to do with a manifest that the API server would refuse.
#[derive(Clone, Copy)]
enum Rejected {
    /// It is listed with what is wrong.
    Shown,
    /// It cannot be a state of the cluster.
    Refused,
}

/// A state, and what was read beside it.
#[derive(Clone)]
struct Known {
    state: State,
    /// Where the cluster was asked, or its facts were saved.
    target: Option<Target>,
    account: Option<String>,
    webhook: Option<bool>,
    rights: Option<Rights>,
    you: Option<String>,
    /// The file that aws-auth is from.
    manifest: Option<Manifest>,
    /// What could not be read.
    unread: Vec<Unread>,
    caveats: Vec<String>,
}

impl Known {
    /// Nothing, to be filled by files.
    fn nothing(files: &Files) -> Self {
        let mode = match files.access_entries {
            Some(_) => AuthenticationMode::ApiAndConfigMap,
            None => AuthenticationMode::ConfigMap,
        };
        let mode = files.authentication_mode.unwrap_or(mode);
        let missing = |what: &str, says: &str| {
            format!("no {what} given: this is as if the cluster had none, and in mode {mode} {says}")
        };
        let mut caveats = Vec::new();
        if files.filename.is_none() && mode.uses_aws_auth() {
            caveats.push(missing("aws-auth was", "it counts"));
        }
        if files.access_entries.is_none() && mode.uses_entries() {
            caveats.push(missing("access entries were", "they come first"));
        }
        Self {
            state: State::new(mode, Some(AwsAuth::default()), Some(Vec::new())),
            target: None,
            account: None,
            webhook: None,
            rights: None,
            you: None,
            manifest: None,
            unread: Vec::new(),
            caveats,
        }
    }

    /// Files replace what was there.
    ///
    /// # Errors
    /// A file that cannot be read, or that the API server would refuse.
    fn over(mut self, files: &Files, rejected: Rejected) -> Result<Self, CliError> {
        if let Some(path) = files.filename.as_deref() {
            let manifest = manifest_in(path)?;
            if let (Some(problem), Rejected::Refused) = (manifest.rejected(), rejected) {
                return Err(CliError::failed(format!(
                    "{}: {}\n  fix: {}",
                    path.display(),
                    problem.message,
                    problem.fix
                )));
            }
            self.state.set_aws_auth(AwsAuth::parse(&manifest.data));
            self.manifest = Some(manifest);
        }
        if let Some(path) = files.access_entries.as_deref() {
            self.state.set_entries(entries_in(path)?);
        }
        if let (Some(mode), Some(target)) = (files.authentication_mode, &self.target)
            && mode != self.state.mode
        {
            let own = self.state.mode;
            self.caveats.push(format!(
                "judged as if the mode were {mode}; the cluster {} has {own}",
                target.cluster
            ));
        }
        self.state.mode = files.authentication_mode.unwrap_or(self.state.mode);
        let entries = self.state.entries.as_deref().unwrap_or_default().len();
        if self.state.mode == AuthenticationMode::ConfigMap && entries > 0 {
            self.caveats.push(format!(
                "in mode CONFIG_MAP a cluster has no access entries: the {entries} that were given do not count"
            ));
        }
        Ok(self)
    }

    /// Everything that is wrong with aws-auth, where it counts.
    fn problems(&self) -> Vec<Placed<Problem>> {
        if !self.state.mode.uses_aws_auth() {
            return Vec::new();
        }
        let of_file = self.manifest.iter().flat_map(|manifest| &manifest.problems);
        let of_map = self.state.aws_auth.iter().flat_map(|map| &map.problems);
        let all = of_file.chain(of_map).cloned().collect();
        place_problems(all, &|key, line| self.manifest.as_ref()?.file_line(key, line))
    }

    /// The mistakes that lose something.
    fn losses(&self) -> Vec<Placed<Problem>> {
        let mut problems = self.problems();
        problems.retain(|placed| {
            let problem = &placed.what;
            problem.severity == Severity::Error || matches!(problem.loss, Loss::Key(_) | Loss::Chance)
        });
        problems
    }

    /// What was not read, and what AWS does not show, as notes.
    fn notes(&self) -> Vec<String> {
        let unread = self.unread.iter().map(|unread| {
            let grant = unread.grant.as_ref().map(|grant| format!("; ask for {grant}"));
            format!(
                "{} could not be read: {}{}",
                unread.what,
                unread.reason,
                grant.unwrap_or_default()
            )
        });
        let mut notes: Vec<String> = unread.chain(self.caveats.iter().cloned()).collect();
        if self.state.mode == AuthenticationMode::ConfigMap && self.target.is_some() {
            notes.push(HIDDEN_CREATOR.to_owned());
        }
        notes
    }

    fn ground(&self) -> Ground {
        Ground {
            authentication_mode: Some(self.state.mode),
            target: self.target.as_ref().map(|target| AskedCluster {
                context: target.context.clone(),
                cluster: target.cluster.clone(),
                region: target.region.clone(),
                account: self.account.clone(),
            }),
            validation_webhook: self.webhook,
            unread: self.unread.clone(),
            ..Ground::default()
        }
    }

    fn subject(&self) -> String {
        match &self.target {
            Some(target) => format!("{} ({})", target.cluster, target.region),
            None => "files".to_owned(),
        }
    }
}

/// What a live cluster and saved facts have in common.
struct Read<'a> {
    target: &'a Target,
    cluster: &'a Fact<Cluster>,
    aws_auth: &'a Fact<aws_auth::AwsAuth>,
    entries: &'a Fact<Vec<AccessEntry>>,
    webhook: &'a Fact<aws_auth::Webhook>,
    caller: &'a Fact<Caller>,
    you: &'a Fact<Caller>,
    bindings: Option<&'a Fact<Vec<Binding>>>,
}

impl Read<'_> {
    /// # Errors
    /// Credentials of another account, no such cluster, or a mode that is neither read nor given.
    fn known(
        &self,
        mode: Option<AuthenticationMode>,
        roles: &mut dyn Iterator<Item = (&str, &Observed<Role>)>,
    ) -> Result<Known, CliError> {
        let of_cluster = whois::own_account(self.target, self.cluster, self.caller)?;
        let mode = match (mode, &self.cluster.observed) {
            (_, Observed::Known(cluster)) => cluster.authentication_mode,
            (Some(mode), _) => mode,
            (None, Observed::Unknown(unknown)) => {
                return Err(CliError {
                    message: format!(
                        "the cluster's authentication mode could not be read: {unknown}\n  fix: give it with --authentication-mode"
                    ),
                    exit: Exit::Undecided,
                });
            }
            // Refused above.
            (None, Observed::Absent) => AuthenticationMode::ConfigMap,
        };
        let mut unread = Vec::new();
        let mut note = |what: &str, unknown: &Unknown| unread.push(whois::unread(what, unknown));
        let aws_auth = match &self.aws_auth.observed {
            Observed::Known(map) => Some(map.taken_in().clone()),
            Observed::Absent => Some(AwsAuth::default()),
            Observed::Unknown(unknown) => {
                if mode.uses_aws_auth() {
                    note("the ConfigMap kube-system/aws-auth", unknown);
                }
                None
            }
        };
        let entries = match &self.entries.observed {
            Observed::Known(entries) => Some(entries.clone()),
            Observed::Absent => Some(Vec::new()),
            Observed::Unknown(unknown) => {
                if mode.uses_entries() {
                    note("the access entries", unknown);
                }
                None
            }
        };
        let rights = match self.bindings.map(|fact| &fact.observed) {
            Some(Observed::Known(bindings)) => Some(Rights::new(bindings.clone())),
            Some(Observed::Unknown(unknown)) => {
                note(
                    "what groups and users are bound to (RoleBindings, ClusterRoleBindings)",
                    unknown,
                );
                None
            }
            _ => None,
        };
        let state = State::new(mode, aws_auth, entries);
        let account = self.caller.known().map(|caller| caller.account.clone());
        let mut of_iam = Vec::new();
        let mut asked = std::collections::HashSet::new();
        let mut not_read: Option<(String, Unknown)> = None;
        for (name, role) in roles {
            asked.insert(name.to_lowercase());
            match (role, &account) {
                (Observed::Known(role), _) => {
                    let existence = role.created.map_or(Existence::Unknown, Existence::Since);
                    of_iam.push((role.arn.clone(), existence, Some(role.arn.clone())));
                }
                // IAM speaks of its own account alone.
                (Observed::Absent, Some(account)) => {
                    let arn = format!("arn:{}:iam::{account}:role/{name}", self.target.partition);
                    of_iam.push((arn, Existence::Deleted, None));
                }
                (Observed::Absent, None) => {}
                (Observed::Unknown(unknown), _) => {
                    not_read.get_or_insert_with(|| (name.to_owned(), unknown.clone()));
                }
            }
        }
        if let Some((name, unknown)) = not_read {
            let what = format!(
                "whether roles are those that their entries were made for, and their paths (first: {name})"
            );
            unread.push(whois::unread(&what, &unknown));
        }
        let mut caveats = Vec::new();
        let own = |arn: &String| -> Option<String> {
            let parsed: Arn = arn.parse().ok()?;
            (Some(&parsed.account) == account.as_ref()).then_some(parsed.role_name()?.to_lowercase())
        };
        let missed = state
            .lines()
            .filter_map(|arn| own(&arn))
            .filter(|name| !asked.contains(name))
            .count();
        if self.bindings.is_some() && missed > 0 {
            caveats.push(format!(
                "IAM was asked about the first {} roles of aws-auth: whether the other {missed} exist, and their paths, is not known",
                mappings::MOST_ROLES
            ));
        }
        Ok(Known {
            state: state.with_roles(of_iam),
            target: Some(self.target.clone()),
            account: of_cluster.or(account),
            webhook: match &self.webhook.observed {
                Observed::Known(_) => Some(true),
                Observed::Absent => Some(false),
                Observed::Unknown(_) => None,
            },
            rights,
            you: self.you.known().map(|caller| caller.arn.clone()),
            manifest: None,
            unread,
            caveats,
        })
    }
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
    if global.verbose > 0 {
        for call in &read.calls {
            terminal::err(&format!("  {} -> {}", call.call, call.answer));
        }
    }
    let of = Read {
        target: &target,
        cluster: &read.cluster,
        aws_auth: &read.aws_auth,
        entries: &read.access_entries,
        webhook: &read.validation_webhook,
        caller: &read.caller,
        you: read.token_caller.as_ref().unwrap_or(&read.caller),
        bindings: read.bindings.as_ref(),
    };
    let mut roles = read
        .roles
        .iter()
        .map(|(name, role)| (name.as_str(), &role.observed));
    of.known(mode, &mut roles)
}

/// What a preflight saved. It holds no bindings, and of roles those that Karpenter's nodes and the caller have.
fn from_facts(path: &Path, mode: Option<AuthenticationMode>) -> Result<Known, CliError> {
    let facts: Facts = saved::load(path).map_err(CliError::failed)?;
    let of = Read {
        target: &facts.target,
        cluster: &facts.cluster,
        aws_auth: &facts.aws_auth,
        entries: &facts.access_entries,
        webhook: &facts.validation_webhook,
        caller: &facts.caller,
        you: &facts.caller,
        bindings: None,
    };
    let caller = facts
        .caller
        .known()
        .and_then(|caller| arn::assumed_role_name(&caller.arn));
    let caller = caller
        .iter()
        .map(|name| (name.as_str(), &facts.caller_role.observed));
    let nodes = facts.node_roles.known().into_iter().flatten();
    let nodes = nodes.map(|node| (node.name.as_str(), &node.role.observed));
    let mut roles = caller.chain(nodes).filter(|(_, role)| role.unknown().is_none());
    of.known(mode, &mut roles)
}

fn known_of(files: &Files, rejected: Rejected, global: &Global, ui: &Ui) -> Result<Known, CliError> {
    let mode = files.authentication_mode;
    let base = match (&files.facts, &files.filename, &files.access_entries) {
        (Some(facts), _, _) => from_facts(facts, mode)?,
        (None, None, None) => live(global, ui, mode)?,
        (None, _, _) => Known::nothing(files),
    };
    base.over(files, rejected)
}

/// Standard input is there once.
///
/// # Errors
/// Wrong usage.
fn one_standard_input(files: &[&Files]) -> Result<(), CliError> {
    let dash = Some(Path::new("-"));
    let paths = files.iter().flat_map(|files| {
        [
            files.filename.as_deref(),
            files.access_entries.as_deref(),
            files.facts.as_deref(),
        ]
    });
    match paths.filter(|path| *path == dash).count() {
        0 | 1 => Ok(()),
        _ => Err(CliError::usage("only one file can be standard input")),
    }
}

fn document<T: Serialize>(kind: &str, schema: &str, answer: T) -> Document<T> {
    Document {
        envelope: Envelope::new(kind, schema, Timestamp::now()),
        answer,
    }
}

/// `access list`, and `whois --all`.
pub(super) fn run_list(
    files: &Files,
    used_by: Option<UsedBy>,
    reporting: &Reporting,
    global: &Global,
) -> Result<Exit, CliError> {
    let ui = Ui::new(global.color, global.verbose, true);
    one_standard_input(&[files])?;
    let known = known_of(files, Rejected::Shown, global, &ui)?;
    let mut caveats = known.caveats.clone();
    if known.state.mode == AuthenticationMode::ConfigMap {
        caveats.push(HIDDEN_CREATOR.to_owned());
    }
    let file_line = |source: &eks_aws_auth::Source| {
        let (key, line) = source.key.zip(source.line)?;
        known.manifest.as_ref()?.file_line(key.as_str(), line)
    };
    let list = AccessList {
        items: list(&known.state, used_by, known.rights.as_ref(), &file_line),
        caveats,
        problems: known.problems(),
        ground: known.ground(),
    };
    let page = list.page(global.output == Output::Text);
    let complete = known.unread.is_empty();
    drop(known);
    let document = document("AccessList", "access-list", list);
    commands::answer(&[page], &document, reporting, global, &ui)?;
    Ok(match complete {
        true => Exit::Done,
        false => Exit::Undecided,
    })
}

fn run_diff(args: &Diff, global: &Global, ui: &Ui) -> Result<Exit, CliError> {
    let files = &args.after;
    let given = [&files.filename, &files.access_entries, &files.facts];
    let after_given = given.iter().any(|file| file.is_some()) || files.authentication_mode.is_some();
    let saved = [&args.from_file, &args.from_access_entries, &args.from_facts];
    let before_given = saved.iter().any(|file| file.is_some());
    if !after_given && !before_given {
        return Err(CliError::usage(
            "nothing to compare with\n  fix: name the state after: -f FILE, --access-entries FILE, --facts FILE or --authentication-mode MODE; or the state before: --from-file FILE, --from-facts FILE",
        ));
    }
    let from = Files {
        filename: args.from_file.clone(),
        access_entries: args.from_access_entries.clone(),
        authentication_mode: args.from_authentication_mode,
        facts: args.from_facts.clone(),
    };
    one_standard_input(&[&from, files])?;
    let mut before = known_of(&from, Rejected::Refused, global, ui)?;
    let mut after = match &files.facts {
        Some(facts) => from_facts(facts, files.authentication_mode)?,
        // What was saved, and what there is now.
        None if !after_given => {
            let now = live(global, ui, None)?;
            before.state.take_roles(&now.state);
            before.rights.clone_from(&now.rights);
            before.you.clone_from(&now.you);
            now
        }
        None => Known {
            caveats: Vec::new(),
            unread: Vec::new(),
            target: None,
            ..before.clone()
        },
    }
    .over(files, Rejected::Refused)?;
    if after_given {
        after.state.take_roles(&before.state);
    }
    let mut caveats = before.notes();
    caveats.extend(after.notes());
    let mut seen = std::collections::HashSet::new();
    caveats.retain(|caveat| seen.insert(caveat.clone()));
    let diff = diff(
        &before.state,
        &after.state,
        before.you.as_deref(),
        before.rights.as_ref(),
    );
    let subject = match before.target {
        Some(_) => before.subject(),
        None => after.subject(),
    };
    let exit = diff.exit();
    let compared = Compared {
        diff,
        caveats,
        problems: after.losses(),
    };
    let page = compared.page(&subject);
    let document = document("AccessDiff", "access-diff", compared);
    commands::answer(&[page], &document, &args.reporting, global, ui)?;
    Ok(exit)
}

fn run_migrate(args: &Migrate, global: &Global, ui: &Ui) -> Result<Exit, CliError> {
    one_standard_input(&[&args.files])?;
    let planned = args.verify.as_deref().map(planned_in).transpose()?;
    let known = known_of(&args.files, Rejected::Refused, global, ui)?;
    if let Some(planned) = planned {
        let found = verify(&planned, &known.state);
        let exit = found.exit();
        let page = found.page(&known.subject());
        let document = document("AccessVerification", "access-verification", found);
        commands::answer(&[page], &document, &args.reporting, global, ui)?;
        return Ok(exit);
    }
    let state = &known.state;
    if (state.mode.uses_aws_auth() && state.aws_auth.is_none())
        || (state.mode.uses_entries() && state.entries.is_none())
    {
        return Err(CliError {
            message: format!("a plan needs all of the mappings: {}", known.notes().join("; ")),
            exit: Exit::Undecided,
        });
    }
    let mut target = match &known.target {
        Some(target) => target.clone(),
        None => named_target(global)?,
    };
    target.account = target.account.or_else(|| known.account.clone());
    let mut plan = plan(state, &target, known.rights.as_ref(), known.you.as_deref());
    plan.caveats.extend(known.notes());
    plan.problems = known.losses();
    let exit = plan.exit();
    let form = match args.form {
        PlanForm::Commands => {
            let page = plan.page(&format!("{} ({})", target.cluster, target.region));
            // A full aws-auth and its plan as JSON are each tens of MiB.
            drop(known);
            let document = document("AccessPlan", "access-plan", plan);
            commands::answer(&[page], &document, &args.reporting, global, ui)?;
            return Ok(exit);
        }
        PlanForm::Eksctl => json::to_yaml(&plan.eksctl(&target)),
        PlanForm::Cloudformation => json::to_yaml(&plan.cloudformation(&target)),
        PlanForm::Terraform => plan.terraform(&target),
    };
    if global.output != Output::Text {
        return Err(CliError::usage(
            "--form and --output are two forms\n  fix: leave one of them out",
        ));
    }
    terminal::out(&form)?;
    for note in &plan.caveats {
        terminal::err(&format!("note: {note}"));
    }
    Ok(exit)
}

/// The entries of a plan that was saved.
fn planned_in(path: &Path) -> Result<Vec<Planned>, CliError> {
    #[derive(Deserialize)]
    struct Saved {
        kind: String,
        entries: Vec<Planned>,
    }
    /// More than a plan of a full aws-auth takes.
    const MOST: usize = 64 * 1024 * 1024;
    let wrong = |why: &dyn std::fmt::Display| {
        CliError::failed(format!(
            "{} is not a plan: {why}\n  fix: save one with kubectl capt-spot access migrate -o json",
            path.display()
        ))
    };
    let text = read_bounded(path, MOST)
        .map_err(|error| CliError::failed(format!("reading {} failed: {error}", path.display())))?;
    let saved: Saved = serde_json::from_str(&text).map_err(|error| wrong(&error))?;
    match saved.kind.as_str() {
        "AccessPlan" => Ok(saved.entries),
        other => Err(wrong(&format!("its kind is {other:?}"))),
    }
}

/// The cluster that files do not name.
fn named_target(global: &Global) -> Result<Target, CliError> {
    match (&global.cluster_name, &global.region) {
        (Some(cluster), Some(region)) => Ok(files::target(cluster, region)),
        _ => Err(CliError::usage(
            "files do not name the cluster that the plan is for\n  fix: give --cluster-name and --region",
        )),
    }
}
