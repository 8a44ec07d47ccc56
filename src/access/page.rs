//! What the answers say to people and CI systems.

use super::diff::{Change, Compared, Diff, Fate};
use super::migrate::{NotCarried, Plan, Step, Verification};
use super::state::Access;
use crate::checks::{Judgement, Status};
use crate::model::Exit;
use crate::report::whois::with_problems;
use crate::report::{Finding, Page, Row};

/// How many findings of one kind a page has; the document has them all.
const MOST: usize = 1_000;

pub(super) fn finding(id: &str, title: &str, judgement: Judgement) -> Finding {
    Finding::new(id, "access", title, judgement).explained_in("access.md")
}

fn status_of(exit: Exit) -> Status {
    match exit {
        Exit::Done => Status::Pass,
        Exit::Undecided => Status::Unknown,
        _ => Status::Fail,
    }
}

impl Change {
    fn finding(&self) -> Finding {
        let from = |access: &Access| match access {
            Access::Granted(grant) => grant.from.clone(),
            Access::None { why } | Access::Unknown { why } => why.clone(),
        };
        let mut message = self.changes.join("; ");
        if !message.is_empty() {
            message.push_str(". ");
        }
        message.push_str(&format!(
            "Before: {}. After: {}",
            from(&self.before),
            from(&self.after)
        ));
        let (id, says, of): (_, _, fn(String) -> Judgement) = match self.result {
            Fate::Lost => ("access-lost", "loses access", Judgement::fail),
            Fate::Changed => ("access-changed", "has other access", Judgement::fail),
            Fate::Unknown => ("access-unknown", "is unknown", Judgement::undecided),
            Fate::Gained => ("access-gained", "gains access", Judgement::warn),
            Fate::Gone => ("access-gone", "does not exist", Judgement::warn),
            Fate::Same => ("access-same", "has the same access", Judgement::pass),
        };
        let headline = format!("{} {says}", self.principal);
        finding(id, &headline, of(message).headline(headline.clone()))
    }
}

impl Diff {
    fn closing(&self) -> String {
        let said: Vec<String> = Fate::ALL
            .into_iter()
            .map(|fate| (self.count(fate), fate.word()))
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        match said.is_empty() {
            true => "no one has access before or after".to_owned(),
            false => said.join(", "),
        }
    }

    fn findings(&self) -> Vec<Finding> {
        let lockouts = self.lockouts.iter().map(|lockout| {
            let judgement = Judgement::fail("What it had before the change is gone after it")
                .headline(lockout.trim_end_matches('.'));
            finding(
                "access-lockout",
                "Nobody that must not be is locked out",
                judgement,
            )
        });
        let mut findings: Vec<Finding> = lockouts.collect();
        for fate in Fate::ALL {
            let of = self.items.iter().filter(|item| item.result == fate);
            findings.extend(of.take(MOST).map(Change::finding));
        }
        findings
    }
}

impl Compared {
    /// `subject`: what is compared.
    pub(crate) fn page(&self, subject: &str) -> Page {
        let diff = &self.diff;
        let exit = diff.exit();
        let word = match exit {
            Exit::Undecided => "UNDECIDED",
            Exit::Done if diff.count(Fate::Gained) > 0 => "ONLY GAINS",
            Exit::Done => "SAME ACCESS",
            _ if diff.count(Fate::Lost) > 0 => "LOSES ACCESS",
            _ => "OTHER ACCESS",
        };
        let mut page = Page::new("access", status_of(exit), word, subject);
        page.findings = diff.findings();
        let page = page.section("Note", self.caveats.iter().map(Row::new));
        with_problems(page.closing(diff.closing()), &self.problems)
    }
}

impl NotCarried {
    fn row(&self, status: Option<Status>) -> Row {
        let principal = match self.principal.as_str() {
            "" => "(no principal)",
            principal => principal,
        };
        let from = match self.from.as_str() {
            "" => String::new(),
            from => format!(" ({from})"),
        };
        Row {
            status,
            ..Row::new(format!("{principal}{from}: {}", self.why))
        }
    }
}

impl Step {
    fn row(&self, number: usize) -> Row {
        let check = (!self.check.is_empty()).then(|| "# Check:".to_owned());
        let lines: Vec<&String> = self.commands.iter().chain(&check).chain(&self.check).collect();
        let lines: Vec<&str> = lines.into_iter().map(String::as_str).collect();
        Row::new(format!("{number}. {}. {}", self.title, self.note)).code(lines.join("\n"))
    }
}

impl Plan {
    /// `subject`: the cluster.
    pub(crate) fn page(&self, subject: &str) -> Page {
        let exit = self.exit();
        let word = match exit {
            Exit::Done => "PLAN",
            Exit::Undecided => "PLAN, UNDECIDED",
            _ => "PLAN WITH LOSSES",
        };
        let mut page = Page::new("access", status_of(exit), word, subject).about(format!(
            "From mode {} to API: {} access entries. Nothing was changed.",
            self.authentication_mode,
            self.entries.len()
        ));
        // What changes in a plan is meant to: it is said, and fails nothing.
        page.findings
            .extend(self.proof.findings().into_iter().map(|finding| Finding {
                status: match finding.id.as_str() {
                    "access-changed" => Status::Warn,
                    _ => finding.status,
                },
                ..finding
            }));
        let steps = self.steps.iter().enumerate();
        let page = page
            .section("Steps", steps.map(|(n, step)| step.row(n + 1)))
            .section(
                "Not carried over as it is",
                self.not_carried
                    .iter()
                    .take(MOST)
                    .map(|one| one.row(Some(Status::Warn))),
            )
            .section(
                "Left out: they match no one",
                self.left_out.iter().take(MOST).map(|one| one.row(None)),
            )
            .section("Note", self.caveats.iter().map(Row::new))
            .closing(self.proof.closing());
        with_problems(page, &self.problems)
    }
}

impl Verification {
    /// `subject`: the cluster.
    pub(crate) fn page(&self, subject: &str) -> Page {
        let exit = self.exit();
        let word = match exit {
            Exit::Done => "VERIFIED",
            Exit::Undecided => "UNDECIDED",
            _ => "NOT AS PLANNED",
        };
        let mut page = Page::new("access", status_of(exit), word, subject);
        let title = "Every access entry is as planned";
        let of = |what: &String, judgement: fn(String) -> Judgement| {
            finding(
                "access-entry",
                title,
                judgement("The plan says otherwise".to_owned()).headline(what.clone()),
            )
        };
        page.findings
            .extend(self.wrong.iter().take(MOST).map(|what| of(what, Judgement::fail)));
        page.findings.extend(
            self.unknown
                .iter()
                .take(MOST)
                .map(|what| of(what, Judgement::undecided)),
        );
        page.closing(match exit {
            Exit::Done => format!("the cluster has all {} access entries of the plan", self.planned),
            _ => format!(
                "{} of {} access entries are not as planned or not known",
                self.wrong.len() + self.unknown.len(),
                self.planned
            ),
        })
    }
}
