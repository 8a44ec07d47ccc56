//! What the answers say to people and CI systems.

use super::diff::{Change, Diff, Fate};
use super::migrate::{NotCarried, Plan, Step, Verification};
use super::state::Access;
use crate::checks::{Judgement, Status};
use crate::model::Exit;
use crate::report::{Finding, Page, docs_url};

/// How many finding of one kind a page has; the document has them all.
const MOST: usize = 1_000;

fn finding(id: &str, title: &str, judgement: Judgement) -> Finding {
    Finding {
        docs: docs_url("access.md"),
        ..Finding::new(id, "access", title, judgement)
    }
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
            true => "nobody has access before or after".to_owned(),
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

    /// `subject`: what is compared.
    pub(crate) fn page(&self, subject: &str, caveats: &[String]) -> Page {
        let exit = self.exit();
        let word = match exit {
            Exit::Undecided => "UNDECIDED",
            Exit::Done if self.count(Fate::Gained) > 0 => "ONLY GAINS",
            Exit::Done => "SAME ACCESS",
            _ if self.count(Fate::Lost) > 0 => "LOSES ACCESS",
            _ => "OTHER ACCESS",
        };
        let mut page = Page::new("access diff", status_of(exit), word, subject);
        page.about = caveats.to_vec();
        page.findings = self.findings();
        page.closing(self.closing())
    }
}

impl NotCarried {
    fn finding(&self, id: &str, says: &str) -> Finding {
        let principal = match self.principal.as_str() {
            "" => "(no principal)",
            principal => principal,
        };
        let headline = format!("{principal} {says}");
        let from = match self.from.as_str() {
            "" => String::new(),
            from => format!("{from}: "),
        };
        let judgement = Judgement::warn(format!("{from}{}", self.why)).headline(headline.clone());
        finding(id, &headline, judgement)
    }
}

impl Step {
    fn finding(&self, number: usize) -> Finding {
        let headline = format!("{number}. {}", self.title);
        let mut lines = self.commands.clone();
        if !self.check.is_empty() {
            lines.push("# Check:".to_owned());
            lines.extend(self.check.iter().cloned());
        }
        let mut judgement = Judgement::warn(self.note.clone()).headline(headline.clone());
        judgement.remedy = Some(crate::checks::Remedy {
            commands: lines,
            ..Default::default()
        });
        finding("access-step", &headline, judgement)
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
        let mut page = Page::new("access migrate", status_of(exit), word, subject).about(format!(
            "From mode {} to API: {} access entries. Nothing was changed.",
            self.authentication_mode,
            self.entries.len()
        ));
        page.about.extend(self.caveats.iter().cloned());
        page.findings
            .extend(self.steps.iter().enumerate().map(|(n, step)| step.finding(n + 1)));
        let of = |items: &[NotCarried], id: &str, says: &str| -> Vec<Finding> {
            items.iter().take(MOST).map(|one| one.finding(id, says)).collect()
        };
        page.findings.extend(of(
            &self.not_carried,
            "access-not-carried",
            "is not carried over as it is",
        ));
        page.findings.extend(of(
            &self.left_out,
            "access-left-out",
            "is left out: it matches nobody",
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
        page.closing(self.proof.closing())
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
        let mut page = Page::new("access migrate", status_of(exit), word, subject);
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
