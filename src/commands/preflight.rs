//! `preflight`: reads, judges, prints the report; offers to create the missing role.

use std::path::Path;
use std::time::Duration;

use crate::checks::Status;
use crate::cli::{Global, Preflight};
use crate::cluster::resolve::Request;
use crate::commands::{self, Stop};
use crate::facts::redact::redact;
use crate::facts::{Ask, Facts, PoolsFile, Reach, saved};
use crate::karpenter::nodepools_file;
use crate::model::Calls;
use crate::model::Exit;
use crate::report::{self, Report, Selection, Verdict, text};
use crate::spot_role::{self, Plan, Todo};
use crate::terminal::{self, Ui};
use crate::text::{Output, read_bounded};

/// How long to pause between two tries of `--wait`.
const PAUSE: Duration = Duration::from_secs(5);

/// Runs it.
///
/// # Errors
/// The target could not be told, a file could not be read or written, wrong names in `--only` or `--skip`.
pub async fn run(args: &Preflight, global: &Global) -> Result<Exit, Stop> {
    let selection = Selection {
        only: args.only.clone(),
        skip: args.skip.clone(),
        strict: args.strict,
    };
    commands::known_names(&selection)?;
    let ui = Ui::new(global.color, global.verbose, args.no_input);
    if let Some(path) = &args.from {
        let facts = saved::load(path).map_err(Stop::failed)?;
        return print(&report::judge(&facts, &selection), global, &ui);
    }
    if args.all_contexts || args.contexts.is_some() {
        return super::contexts::run(args, global, &selection, &ui).await;
    }
    let ask = ask(args, global)?;
    let request = Request {
        capt: commands::capt::cluster(args.capt.as_ref(), global),
        ..commands::request(global)
    };
    let deadline = args.wait.map(|wait| tokio::time::Instant::now() + wait);
    let way = Way {
        global,
        request: &request,
        ask: &ask,
        selection: &selection,
        ui: &ui,
        consent: if args.yes { Consent::Given } else { Consent::Ask },
        // The question comes after what it is about; other formats stay one document.
        show: &|report| match global.output {
            Output::Text => {
                terminal::out_as(Output::Text, &text::render(report, ui.style)).map_err(Stop::from)
            }
            _ => Ok(()),
        },
    };
    let Read { facts, report, shown } = loop {
        let read = way.go().await?;
        let report = &read.report;
        match deadline {
            // The last try is at the deadline itself: a wait shorter than the pause is a wait, too.
            Some(deadline) if report.verdict != Verdict::Ready && tokio::time::Instant::now() < deadline => {
                let next = deadline.min(tokio::time::Instant::now() + PAUSE);
                ui.progress(
                    &format!("{}; trying again", not_yet(report)),
                    tokio::time::sleep_until(next),
                )
                .await;
            }
            _ => break read,
        }
    };
    let exit = if shown && global.output == Output::Text {
        exit_of(&report)
    } else {
        print(&report, global, &ui)?
    };
    // After the report: a disk that is full must not cost it.
    if let Some(path) = &args.save {
        match args.redact {
            None => saved::save(&facts, path).map_err(Stop::failed)?,
            Some(what) => {
                let redacted = redact(&facts, what).map_err(Stop::failed)?;
                saved::save(&redacted.facts, path).map_err(Stop::failed)?;
                terminal::err(&redacted.said);
            }
        }
    }
    Ok(exit)
}

/// Whether the missing role may be created on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// Nothing may be created, nothing is asked.
    Never,
    /// A person may be asked, if one is there.
    Ask,
    /// `--yes`.
    Given,
}

/// One way through: read, judge, offer.
pub(crate) struct Way<'a> {
    pub(crate) global: &'a Global,
    pub(crate) request: &'a Request,
    pub(crate) ask: &'a Ask,
    pub(crate) selection: &'a Selection,
    pub(crate) ui: &'a Ui,
    pub(crate) consent: Consent,
    /// Puts the report before the person's eyes, before the question about it.
    pub(crate) show: &'a dyn Fn(&Report) -> Result<(), Stop>,
}

/// What was read, and what is made of it.
pub(crate) struct Read {
    pub(crate) facts: Facts,
    pub(crate) report: Report,
    /// This very report was shown before a question that was answered with no.
    pub(crate) shown: bool,
}

/// What the flags ask for.
///
/// # Errors
/// The file of `--nodepools` can't be read.
pub(crate) fn ask(args: &Preflight, global: &Global) -> Result<Ask, Stop> {
    Ok(Ask {
        node_role: args.node_role.clone(),
        namespace: global.namespace.clone(),
        nodepools: args.nodepools.as_deref().map(pools_file).transpose()?,
        ..Ask::default()
    })
}

/// The node pools of `--nodepools FILE`; `-` is standard input.
///
/// # Errors
/// The file can't be read, or holds no manifests.
pub(crate) fn pools_file(path: &Path) -> Result<PoolsFile, Stop> {
    let name = if path == Path::new("-") {
        "stdin".to_owned()
    } else {
        path.display().to_string()
    };
    let text = read_bounded(path, nodepools_file::MAX_BYTES)
        .map_err(|error| Stop::failed(format!("reading the node pools from {name} failed: {error}")))?;
    let manifests = nodepools_file::read(&text)
        .map_err(|error| Stop::failed(format!("{name} holds no usable manifests: {error}")))?;
    Ok(PoolsFile::new(name, manifests))
}

async fn read(global: &Global, request: &Request, ask: &Ask, ui: &Ui) -> Result<(Facts, Reach, Calls), Stop> {
    let result = ui
        .progress(
            "reading AWS and the cluster",
            commands::gather(global, request, ask),
        )
        .await?;
    if global.verbose > 0 {
        commands::print_calls(&result.0);
    }
    Ok(result)
}

impl Way<'_> {
    /// Reads and judges; then offers to create the missing role, where it is missing, could be made, and a person (or
    /// `--yes`) is there, and reads and judges again.
    pub(crate) async fn go(&self) -> Result<Read, Stop> {
        let (facts, reach, calls) = read(self.global, self.request, self.ask, self.ui).await?;
        let report = report::judge(&facts, self.selection);
        let as_it_is = |facts, report, shown| Ok(Read { facts, report, shown });
        let yes = match self.consent {
            Consent::Never => return as_it_is(facts, report, false),
            Consent::Ask if !self.ui.person => return as_it_is(facts, report, false),
            Consent::Ask => false,
            Consent::Given => true,
        };
        let may_not = crate::checks::spot_role::caller_is_refused(&facts);
        if !wants_role(&report, may_not, yes) {
            return as_it_is(facts, report, false);
        }
        let plan = match spot_role::plan(&facts, None) {
            Ok(Todo::Create(plan)) => plan,
            Ok(Todo::Nothing(_)) => return as_it_is(facts, report, false),
            Err(refusal) if yes => return Err(Stop::failed(refusal.to_string())),
            Err(_) => return as_it_is(facts, report, false),
        };
        if !yes {
            (self.show)(&report)?;
            terminal::err("");
            terminal::err(&describe(&plan));
            if !self.ui.ask("Create it now?").await? {
                terminal::err("Nothing was created.");
                return as_it_is(facts, report, true);
            }
        }
        let created = self
            .ui
            .progress(
                "creating the role and waiting until IAM shows it",
                spot_role::create(&plan, &reach, self.global.request_timeout, &calls),
            )
            .await
            .map_err(|refusal| Stop::failed(refusal.to_string()))?;
        terminal::err(&done(&created));
        terminal::err("");
        let (facts, _, _) = read(self.global, self.request, self.ask, self.ui).await?;
        let report = report::judge(&facts, self.selection);
        as_it_is(facts, report, false)
    }
}

/// What is waited for.
fn not_yet(report: &Report) -> String {
    let ids: Vec<&str> = report
        .checks
        .iter()
        .filter(|finding| matches!(finding.status, Status::Fail | Status::Unknown))
        .map(|finding| finding.id.as_str())
        .collect();
    let word = report.verdict.word().replace('-', " ");
    match ids.split_at_checked(2) {
        Some((first, rest)) if !rest.is_empty() => {
            format!("{word} ({} and {} more)", first.join(", "), rest.len())
        }
        _ if ids.is_empty() => word,
        _ => format!("{word} ({})", ids.join(", ")),
    }
}

fn exit_of(report: &Report) -> Exit {
    Exit::from(report.verdict)
}

/// Whether the missing role stands in the report as something to mend, and not as something the caller may not do.
fn wants_role(report: &Report, may_not: bool, yes: bool) -> bool {
    let status = |id: &str| {
        report
            .checks
            .iter()
            .find(|finding| finding.id == id)
            .map(|finding| finding.status)
    };
    let missing = matches!(status("spot-role-exists"), Some(Status::Fail | Status::Warn));
    missing && (yes || !may_not)
}

/// What would be created, where, and by whom.
pub(crate) fn describe(plan: &Plan) -> String {
    format!(
        "The role to create: {}, for all clusters of the account\n  account  {}\n  cluster  {} ({})\n  caller   {}",
        crate::model::SPOT_ROLE,
        plan.account,
        plan.cluster,
        plan.region,
        plan.caller
    )
}

/// What was created.
pub(crate) fn done(created: &spot_role::Created) -> String {
    if created.by_somebody_else {
        format!(
            "{} is there: somebody else created it in the meantime.",
            created.role.arn
        )
    } else {
        format!("Created {}.", created.role.arn)
    }
}

fn print(report: &Report, global: &Global, ui: &Ui) -> Result<Exit, Stop> {
    let rendered = report::render(report, global.output, ui.style);
    terminal::out_as(global.output, &rendered)?;
    Ok(exit_of(report))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fixture::healthy;
    use crate::facts::redact::Redact;

    fn statuses(facts: &Facts) -> Vec<(String, Status)> {
        let report = report::judge(facts, &Selection::default());
        let checks = report.checks.into_iter();
        checks.map(|finding| (finding.id, finding.status)).collect()
    }

    #[test]
    fn masked_facts_are_judged_the_same_and_say_so() {
        let mut facts = healthy();
        facts.target.server = "https://tunnel.corp.example:8443".to_owned();
        for what in [Redact::Ids, Redact::Names] {
            let masked = redact(&facts, what).expect("facts again");
            assert_eq!(statuses(&facts), statuses(&masked.facts));
            let text = serde_json::to_string(&masked.facts).expect("facts are JSON");
            assert!(
                !text.contains("111122223333") && !text.contains("corp.example"),
                "{text}"
            );
            assert_eq!(text.contains("demo"), what == Redact::Ids, "{text}");
            assert!(masked.facts.redacted);
            insta::assert_snapshot!(format!("{what:?}"), masked.said);
        }
    }
}
