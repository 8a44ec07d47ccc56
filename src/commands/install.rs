//! `install` and `upgrade`: the preflight of this very installation, then helm with the same words.
//!
//! The order is the promise: nothing of helm that writes runs before the verdict, and with a dry run nothing is
//! written in AWS either. The parts that read or write come in as closures, so that the order can be tested.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::Path;

use crate::checks::Status;
use crate::cli::Global;
use crate::cluster::kubeconfig::{self, Sources};
use crate::cluster::resolve::Request;
use crate::commands::offer::{MayCreate, Run};
use crate::commands::{self, CliError};
use crate::helm::args::{Invocation, OUR_FLAGS, TemplateOptions, parse};
use crate::helm::chart::{ChartFacts, ClusterName, MAX_BYTES};
use crate::helm::env::{ClusterChoice, HelmEnv};
use crate::helm::flags::{FlagTable, Verb};
use crate::helm::program::{Helm, HelmError};
use crate::helm::render::{self, Previous, SplitError};
use crate::model::Exit;
use crate::report::{Report, Selection, Verdict};
use crate::terminal::{self, Ui};
use crate::text::When;
use crate::text::style::Style;

/// What helm's namespace is when nothing says otherwise.
const DEFAULT_NAMESPACE: &str = "default";

/// What this line consents to. A dry run stands over `--yes`.
pub fn may_create(invocation: &Invocation) -> MayCreate {
    if invocation.view.dry_run {
        MayCreate::Never
    } else if invocation.ours.yes {
        MayCreate::WithoutAsking
    } else if invocation.ours.no_input {
        MayCreate::Never
    } else {
        MayCreate::AfterAsking
    }
}

/// What is about to be installed, for the preflight.
#[derive(Debug, Clone, PartialEq)]
pub struct Installation {
    /// The line.
    pub invocation: Invocation,
    /// The cluster it goes to.
    pub cluster: ClusterChoice,
    /// What the chart says. `None`: the rendered text could not be looked at, and `note` says why.
    pub chart: ChartFacts,
    /// What was found of the release that is there.
    pub previous: Previous,
    /// Whether the role may be created.
    pub may_create: MayCreate,
}

impl Installation {
    /// The cluster that the chart names, where it can be told.
    pub fn chart_cluster(&self) -> Option<&str> {
        match &self.chart.karpenter.as_ref()?.cluster_name {
            ClusterName::Named(name) => Some(name),
            ClusterName::Elsewhere | ClusterName::Missing => None,
        }
    }

    /// What the preflight can't see of this installation, one sentence each. None of it may be taken for good.
    pub fn blind_spots(&self) -> Vec<String> {
        let mut all = Vec::new();
        if let Some(why) = self.cluster.departs_from_context() {
            all.push(format!("The checks are about the context's cluster, but {why}."));
        }
        if let Previous::Unreadable(error) = &self.previous {
            all.push(format!(
                "The values of the installed release could not be read, so the chart was judged without them: {error}"
            ));
        }
        if self.chart.problem_count > 0 {
            let first = self
                .chart
                .problems
                .first()
                .map(|problem| format!(" ({} {})", problem.place, problem.problem))
                .unwrap_or_default();
            all.push(format!(
                "{} of the chart's documents could not be read{first}.",
                self.chart.problem_count
            ));
        }
        if !self.chart.other_controllers.is_empty() {
            all.push(format!(
                "The chart holds several Karpenter controllers; only the first was judged, not {}.",
                self.chart.other_controllers.join(", ")
            ));
        }
        all
    }
}

/// What follows from a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// helm runs. The text, where there is one, is said before.
    HandOver(Option<String>),
    /// helm does not run.
    Block(Exit),
}

/// Decides. `forced` is `--force-install`.
pub fn decide(verdict: Verdict, report: &Report, forced: bool) -> Decision {
    match (verdict, forced) {
        (Verdict::Ready, _) => Decision::HandOver(None),
        (_, false) => Decision::Block(Exit::from(verdict)),
        (_, true) => Decision::HandOver(Some(loud(report))),
    }
}

fn loud(report: &Report) -> String {
    let ids = |status| {
        report
            .checks
            .iter()
            .filter(|finding| finding.status == status)
            .map(|finding| finding.id.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let (failed, unknown) = (ids(Status::Fail), ids(Status::Unknown));
    let mut text = "WARNING: --force-install: INSTALLING ALTHOUGH THE CLUSTER IS NOT READY.".to_owned();
    if !failed.is_empty() {
        text.push_str(&format!("\n  failed:  {failed}"));
    }
    if !unknown.is_empty() {
        text.push_str(&format!("\n  unknown: {unknown}"));
    }
    text
}

/// The gate: the preflight, the verdict, then helm or not.
///
/// `preflight` reads and judges (and, with consent, creates the role); `show` puts its report before the person's eyes,
/// on standard error; `hand_over` runs helm. Nothing is handed over that is not ready, unless forced.
///
/// # Errors
/// The preflight could not be made (and `--force-install` was not given), or helm could not be started.
pub async fn gate(
    installation: &Installation,
    preflight: impl AsyncFnOnce(&Installation) -> Result<Report, CliError>,
    mut show: impl FnMut(&Report) -> Result<(), CliError>,
    mut say: impl FnMut(&str),
    hand_over: impl FnOnce() -> Result<u8, HelmError>,
) -> Result<Exit, CliError> {
    let forced = installation.invocation.ours.force_install;
    for blind in installation.blind_spots() {
        say(&format!("warning: {blind}"));
    }
    let decision = match preflight(installation).await {
        Ok(report) => {
            if report.verdict != Verdict::Ready {
                show(&report)?;
            }
            decide(report.verdict, &report, forced)
        }
        // Wrong usage and Ctrl-C are not what --force-install is about.
        Err(stop) if forced && stop.exit == Exit::Failed => Decision::HandOver(Some(format!(
            "WARNING: --force-install: INSTALLING ALTHOUGH NOTHING COULD BE CHECKED.\n  {}",
            stop.message
        ))),
        Err(stop) => return Err(stop),
    };
    match decision {
        Decision::Block(exit) => {
            say(&format!(
                "helm {} was not run: nothing was written to the cluster.",
                installation.invocation.verb.as_str()
            ));
            Ok(exit)
        }
        Decision::HandOver(warning) => {
            if let Some(warning) = warning {
                say(&warning);
            }
            hand_over().map(Exit::Other).map_err(CliError::from)
        }
    }
}

impl From<HelmError> for CliError {
    fn from(error: HelmError) -> Self {
        match error {
            // helm's own words, once, and its own exit code.
            HelmError::Failed {
                stderr,
                code,
                command,
            } => {
                let said = helms_error(&stderr);
                let said = if said.is_empty() {
                    format!("helm {command} failed and said nothing")
                } else {
                    said.to_owned()
                };
                let code = code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
                Self {
                    message: said,
                    exit: Exit::Other(code),
                }
            }
            HelmError::Io(error) => error.into(),
            other => Self::failed(other.to_string()),
        }
    }
}

/// helm's error without what it wrote before (warnings that it will write again) and without its prefix, which ours
/// replaces.
fn helms_error(stderr: &str) -> &str {
    const PREFIX: &str = "Error: ";
    let text = stderr.trim();
    let start = if text.starts_with(PREFIX) {
        Some(0)
    } else {
        text.find("\nError: ").map(|at| at + 1)
    };
    match start {
        Some(start) => text.get(start + PREFIX.len()..).unwrap_or(text),
        None => text,
    }
}

impl From<SplitError> for CliError {
    fn from(error: SplitError) -> Self {
        match error {
            SplitError::Usage(error) => Self::usage(error.to_string()),
            SplitError::Helm(error) => error.into(),
        }
    }
}

/// Everything before the preflight: the line split, helm found, the chart rendered and read.
pub struct Prepared {
    /// What is about to be installed.
    pub installation: Installation,
    /// The helm that will do it.
    pub helm: Helm,
    /// What was read of standard input, if helm's line has values from `-`.
    pub stdin: Option<Vec<u8>>,
}

impl Prepared {
    /// Hands over to helm. Returns on Unix only when that failed.
    ///
    /// # Errors
    /// helm could not be started.
    pub fn hand_over(&self) -> Result<u8, HelmError> {
        let invocation = &self.installation.invocation;
        let mut words: Vec<OsString> = vec![invocation.verb.as_str().into()];
        words.extend(invocation.helm.iter().cloned());
        self.helm.hand_over(&words, self.stdin.as_deref())
    }
}

/// Prepares. Nothing is written anywhere. `context_namespace` tells the namespace of a context, where neither flag
/// nor environment names one.
///
/// # Errors
/// Wrong usage, no helm, or a chart that does not render.
pub async fn prepare(
    verb: Verb,
    words: &[OsString],
    env: &HelmEnv,
    context_namespace: impl FnOnce(&ClusterChoice) -> Option<String>,
) -> Result<Prepared, CliError> {
    let path = std::env::var_os("PATH");
    let mut helm = Helm::locate(env, path.as_deref())?;
    let invocation = render::split(&helm, verb, words).await?;
    let cluster = ClusterChoice::of(&invocation, env);
    if let Some(context) = &invocation.ours.context {
        helm = helm.with_env("HELM_KUBECONTEXT", context);
    }
    if let Some(profile) = &invocation.ours.profile {
        // The kubeconfig's exec plugin is to be the identity that was checked.
        helm = helm.with_env("AWS_PROFILE", profile);
    }
    let stdin = if invocation.view.reads_stdin {
        Some(read_stdin()?)
    } else {
        None
    };
    let rendered = render::render(&helm, &invocation, stdin.as_deref(), &TemplateOptions::default()).await?;
    let namespace = cluster
        .namespace
        .clone()
        .or_else(|| context_namespace(&cluster))
        .unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
    let chart =
        ChartFacts::read(&rendered.yaml, &namespace).map_err(|error| CliError::failed(error.to_string()))?;
    let may_create = may_create(&invocation);
    let previous = rendered.previous;
    Ok(Prepared {
        installation: Installation {
            invocation,
            cluster,
            chart,
            previous,
            may_create,
        },
        helm,
        stdin,
    })
}

fn read_stdin() -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
    std::io::stdin()
        .lock()
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| CliError::failed(format!("reading values from standard input failed: {error}")))?;
    if bytes.len() > MAX_BYTES {
        return Err(CliError::failed("the values on standard input are too large"));
    }
    Ok(bytes)
}

/// `--help`. helm's own flags are helm's to explain.
pub fn usage(verb: Verb, called_as: &str) -> String {
    let (line, flag) = match verb {
        Verb::Install => ("install RELEASE CHART", ""),
        Verb::Upgrade => ("upgrade [--install] RELEASE CHART", "--install "),
    };
    let width = OUR_FLAGS
        .iter()
        .map(|flag| flag.name.len() + flag.value.len() + 3)
        .max()
        .unwrap_or_default();
    let mut text = format!(
        "Checks whether Karpenter will get spot capacity with this very installation, then runs helm {word} with the same\n\
         arguments. Not ready: the report on standard error, exit code 1, and nothing is written to the cluster.\n\n\
         Usage: {called_as} {line} [helm's flags] [flags]\n\nFlags, beside all of helm {word}:\n",
        word = verb.as_str(),
    );
    for flag in OUR_FLAGS {
        let name = if flag.value.is_empty() {
            format!("--{}", flag.name)
        } else {
            format!("--{} {}", flag.name, flag.value)
        };
        text.push_str(&format!("  {name:width$}  {}\n", flag.help));
    }
    text.push_str(&format!(
        "\nExamples:\n  \
         {called_as} {word} {flag}karpenter \\\n      \
         oci://public.ecr.aws/karpenter/karpenter -n kube-system -f values.yaml\n\n\
         helm's flags are passed on unchanged: see helm {word} --help. With any --dry-run nothing is written, in AWS either.\n\
         Exit codes: 0 helm's own once it runs, 1 not ready, 2 wrong usage, 3 undecided, 130 interrupted.\n",
        word = verb.as_str()
    ));
    text
}

/// Runs it: prepares, checks, hands over. On Unix it returns only when helm was not run.
///
/// `global` is what stood before the verb.
///
/// # Errors
/// Wrong usage, no helm, a chart that does not render, an unknown target.
pub fn run(verb: Verb, words: &[OsString], global: &Global, called_as: &str) -> Result<Exit, CliError> {
    if let Ok(line) = parse(words, &FlagTable::new(verb))
        && line.view.help
    {
        terminal::out(&usage(verb, called_as))?;
        return Ok(Exit::Done);
    }
    let words = with_globals(global, words);
    // Runs to the verdict and no further: when helm takes over, nothing of ours is waiting for anything.
    let (prepared, exit) = crate::commands::block_on(checked(verb, &words, global))?;
    if exit != Exit::Done {
        return Ok(exit);
    }
    Ok(Exit::Other(prepared.hand_over()?))
}

/// Flags that stood before the verb, put where they stand over nothing that follows.
fn with_globals(global: &Global, words: &[OsString]) -> Vec<OsString> {
    let mut all: Vec<OsString> = Vec::new();
    for (flag, value) in [
        ("--context", &global.context),
        ("--namespace", &global.namespace),
        ("--cluster-name", &global.cluster_name),
        ("--region", &global.region),
        ("--profile", &global.profile),
        ("--kube-as-user", &global.as_user),
    ] {
        if let Some(value) = value {
            all.push(format!("{flag}={value}").into());
        }
    }
    all.extend(
        global
            .as_groups
            .iter()
            .map(|group| format!("--kube-as-group={group}").into()),
    );
    if let Some(file) = &global.kubeconfig {
        all.extend(["--kubeconfig".into(), file.into()]);
    }
    all.extend(words.iter().cloned());
    all
}

async fn checked(verb: Verb, words: &[OsString], global: &Global) -> Result<(Prepared, Exit), CliError> {
    let env = HelmEnv::read(|name| std::env::var_os(name));
    let prepared = prepare(verb, words, &env, context_namespace).await?;
    let installation = &prepared.installation;
    let ours = &installation.invocation.ours;
    let global = globals(installation, global)?;
    let selection = Selection {
        only: ours.only.clone(),
        skip: ours.skip.clone(),
        strict: ours.strict,
    };
    commands::known_names(&selection)?;
    let ui = Ui::new(global.color, global.verbose, ours.no_input).with_report_on_stderr(global.color);
    let shown = std::cell::Cell::new(false);
    let show = |report: &Report| {
        if !shown.replace(true) {
            terminal::err_rendered(global.output, &report.render(global.output, ui.style, false));
        }
        Ok(())
    };
    let preflight = async |installation: &Installation| {
        let request = Request {
            chart_cluster: installation.chart_cluster().map(str::to_owned),
            ..commands::request(&global)
        };
        let mut ask = crate::helm::ask::ask(
            &installation.chart,
            verb == Verb::Upgrade,
            installation.invocation.view.create_namespace,
            ours.node_role.clone(),
        );
        if let Some(path) = &ours.nodepools {
            ask.nodepools = Some(commands::preflight::pools_file(Path::new(path))?);
        }
        let run = Run {
            global: &global,
            request: &request,
            ask: &ask,
            selection: &selection,
            ui: &ui,
            may_create: installation.may_create,
            show: &show,
        };
        let read = run.judge().await?;
        if !read.shown {
            // A role was created since: this is another report.
            shown.set(false);
        }
        if let Some(file) = &ours.report {
            write_report(file, &read.report.render(global.output, Style::PLAIN, false))?;
        }
        Ok(read.report)
    };
    // Helm itself runs when nothing here is left running.
    let handed = std::cell::Cell::new(false);
    let exit = gate(installation, preflight, show, terminal::err, || {
        handed.set(true);
        Ok(0)
    })
    .await?;
    let exit = if handed.get() { Exit::Done } else { exit };
    Ok((prepared, exit))
}

fn write_report(file: &Path, text: &str) -> Result<(), CliError> {
    std::fs::write(file, text).map_err(|error| {
        CliError::failed(format!(
            "writing the report to {} failed: {error}",
            file.display()
        ))
    })
}

/// Our flags for the preflight of this installation.
fn globals(installation: &Installation, global: &Global) -> Result<Global, CliError> {
    let ours = &installation.invocation.ours;
    let cluster = &installation.cluster;
    let request_timeout = match &ours.request_timeout {
        Some(text) => crate::cli::duration(text)
            .map_err(|error| CliError::usage(format!("--request-timeout: {error}")))?,
        None => global.request_timeout,
    };
    let color = match installation.invocation.view.color.as_deref() {
        Some("never") => When::Never,
        Some("always") => When::Always,
        _ => global.color,
    };
    Ok(Global {
        context: cluster.context.clone(),
        kubeconfig: cluster.kubeconfig.clone().map(Into::into),
        namespace: cluster.namespace.clone(),
        as_user: cluster.as_user.clone(),
        as_groups: cluster.as_groups.clone(),
        cluster_name: ours.cluster_name.clone(),
        region: ours.region.clone(),
        profile: ours.profile.clone(),
        request_timeout,
        color,
        ..global.clone()
    })
}

/// The namespace of the context, from the kubeconfig. What is wrong with the kubeconfig is the preflight's to say.
fn context_namespace(cluster: &ClusterChoice) -> Option<String> {
    let file = cluster.kubeconfig.as_ref().map(Path::new);
    let config = kubeconfig::load(&Sources::from_env(file)).ok()??;
    kubeconfig::context(&config, cluster.context.as_deref())
        .ok()?
        .namespace
        .filter(|namespace| !namespace.is_empty())
}

#[cfg(test)]
mod tests;
