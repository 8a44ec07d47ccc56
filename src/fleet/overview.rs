//! What is said of many clusters together: a line for each, worst first, and every problem once, with the clusters and accounts that
//! have it. Made as results come, so that a report that was looked at can be forgotten. Pure.

use std::collections::BTreeMap;

use textwrap::core::display_width;

use crate::checks::{Group, Remedy, Status};
use crate::model::Exit;
use crate::report::block;
use crate::report::text::{ansi, symbol, titled};
use crate::report::{Page, Report, Unresolved};
use crate::text::sanitize::short_line;
use crate::text::style::{Style, dim, wrap};

/// So many clusters that are ready get a line each; more are counted.
const MOST_READY: usize = 20;

/// So many clusters or accounts are named beside a problem.
const MOST_NAMED: usize = 5;

/// So many characters of a cluster's own reason.
const LONGEST_REASON: usize = 240;

/// The clusters so far.
#[derive(Debug, Default)]
pub struct Overview {
    rows: Vec<Row>,
    problems: BTreeMap<Key, Problem>,
    exit: Option<Exit>,
}

/// One cluster's line.
#[derive(Debug)]
struct Row {
    place: usize,
    status: Status,
    word: String,
    /// Cluster, region, account, and what else tells it from the others.
    cells: [String; 3],
    note: Option<String>,
    closing: String,
}

/// Fail, then unknown, then warn; then by the check and what it found.
type Key = (u8, String, String);

/// A problem that clusters have.
#[derive(Debug)]
struct Problem {
    status: Status,
    id: String,
    headline: String,
    /// It is the account's: fixed once, it is fixed for all its clusters.
    of_account: bool,
    clusters: Vec<(usize, String)>,
    /// Each with its first cluster's commands.
    accounts: BTreeMap<String, (usize, Vec<String>)>,
    /// The first cluster's.
    remedy: (usize, Option<Remedy>),
    /// Where each has a reason of its own.
    reasons: Vec<(usize, String)>,
}

impl Overview {
    /// Adds a cluster that was judged.
    pub fn judged(&mut self, place: usize, report: &Report) {
        let target = &report.target;
        let account = target.account.clone().unwrap_or_default();
        // The name that `aws eks update-kubeconfig` gives says what stands here already.
        let arn = format!("cluster/{}", target.cluster);
        let told =
            |context: &str| context.is_empty() || context.starts_with("arn:") && context.ends_with(&arn);
        self.add(
            place,
            &report.page(false),
            [target.cluster.clone(), target.region.clone(), account],
            Some(target.context.clone()).filter(|context| !told(context)),
            Exit::from(report.verdict),
        );
    }

    /// Adds a cluster that could not be judged at all.
    pub fn not_judged(&mut self, place: usize, target: &Unresolved, page: &Page, exit: Exit) {
        let cell = |value: &Option<String>| value.clone().unwrap_or_default();
        let cluster = target.cluster.clone().unwrap_or_else(|| target.context.clone());
        let cells = [cluster, cell(&target.region), cell(&target.account)];
        self.add(place, page, cells, None, exit);
    }

    fn add(&mut self, place: usize, page: &Page, cells: [String; 3], note: Option<String>, exit: Exit) {
        self.exit = Some(self.exit.unwrap_or(Exit::Done).worse(exit));
        let (name, account) = (cells[0].clone(), cells[2].clone());
        for found in block::problems(&page.findings) {
            let first = found.findings[0];
            let rank = match found.status {
                Status::Fail => 0,
                Status::Unknown => 1,
                _ => 2,
            };
            let problem = self
                .problems
                .entry((rank, first.id.clone(), found.headline.clone()))
                .or_insert_with(|| Problem {
                    status: found.status,
                    id: first.id.clone(),
                    headline: found.headline.clone(),
                    of_account: first.group == Group::SpotRole.id(),
                    clusters: Vec::new(),
                    accounts: BTreeMap::new(),
                    remedy: (place, found.remedy.clone()),
                    reasons: Vec::new(),
                });
            problem.clusters.push((place, name.clone()));
            // Results come in any order; what is said of them does not depend on it.
            if place < problem.remedy.0 {
                problem.remedy = (place, found.remedy.clone());
            }
            if !account.is_empty() {
                let commands = found.remedy.map(|remedy| remedy.commands).unwrap_or_default();
                let first = problem.accounts.entry(account.clone()).or_default();
                if first.1.is_empty() || place < first.0 {
                    *first = (place, commands);
                }
            }
            if found.status == Status::Unknown && problem.reasons.len() < 10 * MOST_NAMED {
                let reason = found.message.lines().next().unwrap_or_default();
                let short: String = reason.chars().take(LONGEST_REASON).collect();
                let more = if short.len() < reason.len() { " ..." } else { "" };
                problem.reasons.push((place, format!("{name}: {short}{more}")));
            }
        }
        self.rows.push(Row {
            place,
            status: page.status,
            word: page.word.clone(),
            cells,
            note,
            closing: page.closing.clone(),
        });
    }

    /// How many clusters there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The worst exit code of all.
    pub fn exit(&self) -> Exit {
        self.exit.unwrap_or(Exit::Done)
    }

    fn count(&self, status: Status) -> usize {
        self.rows.iter().filter(|row| row.status == status).count()
    }

    /// What to say while it goes on.
    pub fn so_far(&self, of: usize) -> String {
        format!("{} of {of} clusters, {}", self.rows.len(), self.counts())
    }

    fn counts(&self) -> String {
        format!(
            "{} not ready, {} undecided, {} ready",
            self.count(Status::Fail),
            self.count(Status::Unknown),
            self.count(Status::Pass)
        )
    }

    /// The line of the cluster that was added last.
    pub fn last_line(&self, style: Style) -> String {
        let Some(row) = self.rows.last() else {
            return String::new();
        };
        let [cluster, region, account] = &row.cells;
        let place: Vec<&str> = [cluster, region, account]
            .into_iter()
            .map(String::as_str)
            .filter(|cell| !cell.is_empty())
            .collect();
        let closing = match row.status {
            Status::Pass => String::new(),
            _ => format!("  {}", short_line(&row.closing)),
        };
        format!(
            "{} {}  {}{closing}",
            symbol(style, row.status),
            row.word,
            short_line(&place.join(" "))
        )
    }

    /// All of it, as a person reads it. `missing` clusters have no result: the run was interrupted.
    pub fn render(&self, style: Style, show_all: bool, missing: usize) -> String {
        let style = Style {
            width: style.width.clamp(40, 140),
            ..style
        };
        let mut out = String::new();
        self.table(style, show_all, &mut out);
        for problem in self.problems.values() {
            out.push('\n');
            problem.render(style, &mut out);
        }
        out.push('\n');
        let (status, word) = match () {
            () if self.count(Status::Fail) > 0 => (Status::Fail, "NOT READY"),
            () if self.count(Status::Unknown) > 0 || missing > 0 || self.rows.is_empty() => {
                (Status::Unknown, "UNDECIDED")
            }
            () => (Status::Pass, "READY"),
        };
        let interrupted = match missing {
            0 => String::new(),
            n => format!("; interrupted, {n} not judged"),
        };
        let clusters = match self.rows.len() {
            1 => "1 cluster".to_owned(),
            n => format!("{n} clusters"),
        };
        let text = format!("{word}: {clusters}: {}{interrupted}", self.counts());
        let text = wrap(style, 0, 2, &text);
        let rest = text.strip_prefix(word).unwrap_or(&text);
        out.push_str(&style.paint(ansi(status), word));
        out.push_str(rest);
        out.push('\n');
        out
    }

    fn table(&self, style: Style, show_all: bool, out: &mut String) {
        let rank = |status: Status| match status {
            Status::Fail => 0,
            Status::Unknown => 1,
            Status::Warn => 2,
            Status::Pass | Status::Skip => 3,
        };
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        rows.sort_by_key(|row| (rank(row.status), row.place));
        let ready = self.count(Status::Pass);
        let folded = ready > MOST_READY && !show_all;
        if folded {
            rows.retain(|row| row.status != Status::Pass);
        }
        let cells: Vec<[String; 4]> = rows
            .iter()
            .map(|row| {
                let [cluster, region, account] = &row.cells;
                [&row.word, cluster, region, account].map(|cell| short_line(cell).into_owned())
            })
            .collect();
        let widths = [0, 1, 2, 3].map(|at| {
            let widths = cells.iter().map(|row| display_width(&row[at]));
            widths.max().unwrap_or(0).min(60)
        });
        // The mark, and two blanks before every column that is there.
        let columns: usize = widths
            .iter()
            .filter(|width| **width > 0)
            .map(|width| width + 2)
            .sum();
        for (row, cells) in rows.iter().zip(&cells) {
            let mut line = format!("{} ", symbol(style, row.status));
            let mut plain = display_width(&line);
            for (cell, width) in cells.iter().zip(widths) {
                if width == 0 {
                    continue;
                }
                line.push_str(cell);
                line.push_str(&" ".repeat(width.saturating_sub(display_width(cell)) + 2));
                plain += width.max(display_width(cell)) + 2;
            }
            let more: Vec<String> = [
                row.note.as_ref().map(|note| format!("context: {note}")),
                (row.status != Status::Pass).then(|| row.closing.clone()),
            ]
            .into_iter()
            .flatten()
            .map(|text| short_line(&text).into_owned())
            .collect();
            // Beside the columns where it fits, else below.
            let beside = match more.as_slice() {
                [one] => columns + 2 + display_width(one) <= style.width && plain <= columns + 2,
                _ => false,
            };
            let line = match beside {
                true => line.as_str(),
                false => line.trim_end(),
            };
            let head = format!("{} {}", symbol(style, row.status), row.word);
            let rest = line.strip_prefix(head.as_str()).unwrap_or_default();
            out.push_str(&style.paint(ansi(row.status), &head));
            out.push_str(rest);
            for text in more {
                if beside {
                    out.push_str(&style.paint(dim(), &text));
                } else {
                    out.push_str("\n    ");
                    out.push_str(&style.paint(dim(), &wrap(style, 4, 4, &text)));
                }
            }
            out.push('\n');
        }
        if folded {
            let text = format!("{ready} clusters are ready (--show-all lists them)");
            out.push_str(&style.paint(ansi(Status::Pass), symbol(style, Status::Pass)));
            out.push(' ');
            out.push_str(&style.paint(dim(), &wrap(style, 2, 2, &text)));
            out.push('\n');
        }
    }
}

fn counted(n: usize, one: &str) -> String {
    match n {
        1 => format!("1 {one}"),
        n => format!("{n} {one}s"),
    }
}

/// The first few, and how many there are besides.
fn some(names: &[String]) -> String {
    let shown = names.len().min(MOST_NAMED);
    let text = names[..shown].join(", ");
    match names.len() - shown {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

impl Problem {
    fn render(&self, style: Style, out: &mut String) {
        titled(self.status, &self.headline, &self.id, style, out);
        let mut clusters = self.clusters.clone();
        clusters.sort_unstable();
        let names: Vec<String> = clusters.into_iter().map(|(_, name)| name).collect();
        let mut sentence = counted(names.len(), "cluster");
        if self.accounts.len() > 1 || self.of_account && !self.accounts.is_empty() {
            sentence.push_str(&format!(" of {}", counted(self.accounts.len(), "account")));
        }
        let text = format!("{sentence}: {}", some(&names));
        let line = |text: &str, out: &mut String| {
            out.push_str("  ");
            out.push_str(&wrap(style, 2, 2, &short_line(text)));
            out.push('\n');
        };
        line(&text, out);
        let mut reasons = self.reasons.clone();
        reasons.sort_unstable();
        for (_, reason) in reasons.iter().take(MOST_NAMED) {
            line(reason, out);
        }
        let Some(remedy) = &self.remedy.1 else { return };
        if self.of_account && self.accounts.values().any(|(_, commands)| !commands.is_empty()) {
            let each = match self.accounts.len() {
                1 => "Fix, once in the account:",
                _ => "Fix, once in each account:",
            };
            line(each, out);
            for (account, (_, commands)) in self.accounts.iter().take(MOST_NAMED) {
                if self.accounts.len() > 1 {
                    line(&format!("{account}:"), out);
                }
                for command in commands {
                    out.push_str(&format!("    {}\n", short_line(command)));
                }
            }
            if self.accounts.len() > MOST_NAMED {
                let more = self.accounts.len() - MOST_NAMED;
                line(
                    &format!("and in {} more (-o json lists all)", counted(more, "account")),
                    out,
                );
            }
            return;
        }
        if !remedy.text.is_empty() {
            line(&format!("Fix: {}", remedy.text), out);
        }
        if let [_] = names.as_slice() {
            for command in &remedy.commands {
                out.push_str(&format!("    {}\n", short_line(command)));
            }
        } else {
            out.push_str(&format!(
                "    kubectl capt-spot explain {}\n",
                short_line(&self.id)
            ));
        }
    }
}
