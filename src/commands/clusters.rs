//! `preflight --all-contexts`, `--contexts GLOB` and `--clusters FILE`: the preflight of many clusters in one run.

use std::path::Path;

use kube::config::Kubeconfig;

use crate::aws;
use crate::cli::{Global, Preflight};
use crate::cluster::kubeconfig::{self, Sources};
use crate::cluster::resolve::Request;
use crate::commands::{self, CliError, publish};
use crate::facts::redact::redact;
use crate::facts::{Facts, saved};
use crate::fleet::Shard;
use crate::fleet::engine::{Asked, Engine, Outcome};
use crate::fleet::inventory::{Inventory, ProblemKind};
use crate::fleet::overview::Overview;
use crate::model::Exit;
use crate::report::{self, Envelope, Item, Page, PreflightReportList, PreflightShard};
use crate::terminal::{self, Ui};
use crate::text::Output;

/// Whether the flags ask for many clusters.
pub fn are_asked(args: &Preflight) -> bool {
    args.from.is_none() && (args.all_contexts || args.contexts.is_some() || args.clusters.is_some())
}

/// Runs it. Nothing is ever asked or created here. A signal ends it with what is known by then.
///
/// # Errors
/// No kubeconfig, a bad pattern or inventory, or no context that matches.
pub async fn run(args: &Preflight, global: &Global) -> Result<Exit, CliError> {
    let selection = super::preflight::selection(args)?;
    let ui = Ui::new(global.color, global.verbose, true);
    for (flag, value) in [
        ("--cluster-name", &global.cluster_name),
        ("--cluster", &global.cluster),
    ] {
        if value.is_some() {
            return Err(CliError::usage(format!(
                "{flag} names one cluster, and many are asked for\n  fix: leave {flag} out"
            )));
        }
    }
    if args.shard.is_some() && args.clusters.is_none() {
        return Err(CliError::usage(
            "--shard goes with --clusters: an inventory says whose account a cluster is in",
        ));
    }
    let shard = args.shard.unwrap_or(Shard::WHOLE);
    let asked = match &args.clusters {
        Some(path) => of_inventory(path, shard, global)?,
        None => of_kubeconfig(args, global)?,
    };
    let engine = Engine {
        http: aws::http_client().map_err(CliError::failed)?,
        request: Request {
            // Each cluster has its own.
            context: None,
            ..commands::request(global)
        },
        limits: commands::options(global).limits,
        use_exec: global.use_exec,
        ask: super::preflight::ask(args, global)?,
        selection,
        sessions: aws::Sessions::default(),
    };
    if let Some(folder) = &args.save {
        std::fs::create_dir_all(folder).map_err(|error| {
            CliError::failed(format!("the folder {} cannot be made: {error}", folder.display()))
        })?;
    }
    let mut results = Results::new(args, global, &ui, &asked);
    let progress = ui.counted("reading AWS and the clusters");
    let stopped = engine
        .run(&asked, args.parallel, commands::signalled(), |place, outcome| {
            results.add(place, outcome);
            progress.line(
                &results.overview.last_line(ui.style),
                &results.overview.so_far(asked.len()),
            );
        })
        .await;
    progress.end();
    let objects = results.to_publish();
    let exit = results.finish(stopped, args.shard)?;
    if args.publish {
        publish::publish(objects, global).await?;
    }
    Ok(exit)
}

/// The contexts of the kubeconfig that were asked for.
fn of_kubeconfig(args: &Preflight, global: &Global) -> Result<Vec<Asked>, CliError> {
    let config = kubeconfig::load(&Sources::from_env(global.kubeconfig.as_deref()))?.ok_or_else(|| {
        CliError::usage("inside a pod there are no contexts: leave --contexts and --all-contexts out")
    })?;
    let names = contexts(&config, args.contexts.as_deref())?;
    Ok(names
        .iter()
        .map(|name| Asked::context(&config, name, args.all_contexts))
        .collect())
}

/// The names of the contexts that match.
///
/// # Errors
/// A bad pattern, or none does.
pub fn contexts(config: &Kubeconfig, glob: Option<&str>) -> Result<Vec<String>, CliError> {
    let matcher = match glob {
        Some(glob) => {
            let glob =
                globset::Glob::new(glob).map_err(|error| CliError::usage(format!("--contexts: {error}")))?;
            Some(glob.compile_matcher())
        }
        None => None,
    };
    let there: Vec<&str> = config
        .contexts
        .iter()
        .map(|context| context.name.as_str())
        .collect();
    let names: Vec<String> = there
        .iter()
        .filter(|name| matcher.as_ref().is_none_or(|matcher| matcher.is_match(name)))
        .map(|name| (*name).to_owned())
        .collect();
    if !names.is_empty() {
        return Ok(names);
    }
    let known = match there.len() {
        0 => "none".to_owned(),
        n if n > 20 => format!("{} and {} more", there[..20].join(", "), n - 20),
        _ => there.join(", "),
    };
    Err(CliError::failed(format!(
        "no context of the kubeconfig matches {}\n  fix: it has: {known}",
        glob.unwrap_or("*")
    )))
}

/// The clusters of an inventory, this shard's.
fn of_inventory(path: &Path, shard: Shard, global: &Global) -> Result<Vec<Asked>, CliError> {
    let whole = Inventory::load(path).map_err(CliError::failed)?;
    let Inventory {
        clusters, problems, ..
    } = whole.shard(shard);
    for problem in &problems {
        if problem.kind != ProblemKind::Unread {
            terminal::note(&format!("{}: {}", problem.subject, problem.reason));
        }
    }
    // A kubeconfig may be there, and need not.
    let wanted = clusters.iter().any(|entry| entry.context.is_some());
    let config = match wanted {
        true => match kubeconfig::load(&Sources::from_env(global.kubeconfig.as_deref())) {
            Ok(config) => config,
            Err(error) if global.kubeconfig.is_some() => return Err(error.into()),
            Err(_) => None,
        },
        false => None,
    };
    Ok(Asked::of_inventory(clusters, problems, config.as_ref()))
}

/// What became of the clusters, as much of it as the formats need.
struct Results<'a> {
    args: &'a Preflight,
    global: &'a Global,
    ui: &'a Ui,
    asked: &'a [Asked],
    overview: Overview,
    /// By place. Of what is streamed or only counted nothing stays.
    kept: Option<Vec<Option<(Page, Item)>>>,
    not_meant: Vec<bool>,
    lines: usize,
    judged: usize,
    failed: Option<CliError>,
}

impl<'a> Results<'a> {
    fn new(args: &'a Preflight, global: &'a Global, ui: &'a Ui, asked: &'a [Asked]) -> Self {
        let folds = match global.output {
            Output::Ndjson => true,
            Output::Text => !args.show_all && global.verbose == 0,
            _ => false,
        };
        let keep = !folds || !args.report.is_empty() || args.publish;
        Self {
            args,
            global,
            ui,
            asked,
            overview: Overview::default(),
            kept: keep.then(|| asked.iter().map(|_| None).collect()),
            not_meant: vec![false; asked.len()],
            lines: 0,
            judged: 0,
            failed: None,
        }
    }

    fn add(&mut self, place: usize, outcome: Outcome) {
        match outcome {
            // With --all-contexts, a kind cluster beside the others was not asked for; a named one was.
            Outcome::NotMeant(why) => {
                self.not_meant[place] = true;
                terminal::note(&format!("{}: {why}", self.asked[place].unresolved().context));
            }
            Outcome::NotJudged(error) => {
                let exit = match &self.asked[place] {
                    Asked::Unlisted(_) => Exit::Undecided,
                    Asked::Context { .. } | Asked::Entry(_) => Exit::Failed,
                };
                self.not_judged(place, error, exit);
            }
            Outcome::Judged(judged) => {
                let (facts, report) = *judged;
                self.judged += 1;
                if self.global.verbose > 0 {
                    commands::print_calls(&facts);
                }
                self.save(&facts);
                drop(facts);
                self.overview.judged(place, &report);
                if self.global.output == Output::Ndjson {
                    self.stream(&report);
                }
                if let Some(kept) = &mut self.kept {
                    let page = report.page(self.args.show_all);
                    kept[place] = Some((page, Item::Report(Box::new(report))));
                }
            }
        }
    }

    fn not_judged(&mut self, place: usize, error: String, exit: Exit) {
        let target = self.asked[place].unresolved();
        let page = Page::not_judged(&target, &error);
        self.overview.not_judged(place, &target, &page, exit);
        let item = Item::NotJudged { target, error };
        if self.global.output == Output::Ndjson {
            self.stream(&item);
        }
        if let Some(kept) = &mut self.kept {
            kept[place] = Some((page, item));
        }
    }

    /// Prints a line as soon as it is known.
    fn stream(&mut self, item: &impl serde::Serialize) {
        self.lines += 1;
        let line = report::json::ndjson(item);
        if let Err(error) = terminal::out(&line) {
            self.failed.get_or_insert(error.into());
        }
    }

    /// `--save FOLDER`: a file a cluster.
    fn save(&mut self, facts: &Facts) {
        let Some(folder) = &self.args.save else { return };
        let name = report::page::segment_of_uri(&facts.target.context);
        let path = folder.join(format!("{}.json", name.chars().take(200).collect::<String>()));
        let saved = match self.args.redact {
            None => saved::save(facts, &path),
            Some(what) => redact(facts, what).and_then(|redacted| {
                terminal::note(&format!("{}: {}", path.display(), redacted.said));
                saved::save(&redacted.facts, &path)
            }),
        };
        if let Err(error) = saved {
            terminal::err(&error);
            self.failed.get_or_insert_with(|| CliError {
                message: String::new(),
                exit: Exit::Failed,
            });
        }
    }

    /// The results so far, where they are to be published.
    fn to_publish(&self) -> Vec<serde_json::Value> {
        let kept = self.kept.iter().flatten().flatten().map(|(page, _)| page);
        match self.args.publish {
            true => report::openreports::objects(kept),
            false => Vec::new(),
        }
    }

    fn finish(mut self, stopped: Option<Exit>, shard: Option<Shard>) -> Result<Exit, CliError> {
        let (args, global, ui) = (self.args, self.global, self.ui);
        let known = self.overview.len() + self.not_meant.iter().filter(|not| **not).count();
        let missing = self.asked.len() - known;
        if let Some(kept) = &self.kept {
            // Every cluster that was asked for has an entry.
            let open: Vec<usize> = (0..kept.len())
                .filter(|place| kept[*place].is_none() && !self.not_meant[*place])
                .collect();
            for place in open {
                let target = self.asked[place].unresolved();
                let error = "the run was interrupted before this cluster was judged".to_owned();
                let page = Page::not_judged(&target, &error);
                if let Some(kept) = &mut self.kept {
                    kept[place] = Some((page, Item::NotJudged { target, error }));
                }
            }
        }
        let mut exit = self.overview.exit();
        // Accounts fall to shards as their numbers have it: one without any is judged to its end.
        let empty = self.asked.is_empty() && shard.is_some_and(|shard| shard.of > 1);
        if empty {
            terminal::note("no account of the inventory falls to this shard");
        } else if self.judged == 0 {
            exit = exit.worse(Exit::Undecided);
            if self.overview.len() == 0 && missing == 0 {
                terminal::err(match args.clusters {
                    Some(_) => "there is no cluster to judge here: nothing was judged",
                    None => "no context of the kubeconfig is an EKS cluster: nothing was judged",
                });
            }
        }
        let (pages, items): (Vec<Page>, Vec<Item>) = self.kept.take().into_iter().flatten().flatten().unzip();
        let list = PreflightReportList {
            envelope: Envelope::new(
                "PreflightReportList",
                "preflight-report-list",
                jiff::Timestamp::now(),
            ),
            shard,
            items,
        };
        match global.output {
            Output::Text => {
                let mut text = String::new();
                if args.show_all || global.verbose > 0 {
                    text = report::render(&pages, &list, Output::Text, ui.style) + "\n";
                }
                if self.overview.len() > 0 || missing > 0 {
                    text += &self.overview.render(ui.style, args.show_all, missing);
                }
                terminal::out_as(Output::Text, &text)?;
            }
            // Streamed; the last line of a shard says that it is whole.
            Output::Ndjson => {
                if let Some(shard) = shard.filter(|_| missing == 0) {
                    let last = PreflightShard {
                        envelope: Envelope::new("PreflightShard", "preflight-shard", jiff::Timestamp::now()),
                        shard,
                        items: self.lines,
                    };
                    terminal::out(&report::json::ndjson(&last))?;
                }
            }
            _ => commands::print(&pages, &list, global, ui)?,
        }
        commands::write_reports(&args.report, &pages, &list)?;
        if let Some(stopped) = stopped {
            return Ok(stopped);
        }
        match self.failed {
            Some(error) if error.message.is_empty() => Ok(exit.worse(error.exit)),
            Some(error) => Err(error),
            None => Ok(exit),
        }
    }
}
