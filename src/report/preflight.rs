//! A preflight's report as a page.

use super::block::{self, Block};
use super::page::AboutCluster;
use super::{Finding, Offline, Page, Phase, Report, Verdict};
use crate::checks::{REGISTRY, Skip, Status};

impl Report {
    /// As people and CI systems see it.
    pub fn page(&self, show_all: bool) -> Page {
        let (status, word) = match self.verdict {
            Verdict::Ready => (Status::Pass, "READY"),
            Verdict::NotReady => (Status::Fail, "NOT READY"),
            Verdict::Undecided => (Status::Unknown, "UNDECIDED"),
        };
        let target = &self.target;
        let account = target.account.as_deref().unwrap_or("unknown");
        let subject = format!("{} ({}, account {account})", target.cluster, target.region);
        let mut page = Page {
            findings: self.checks.clone(),
            name: target.context.clone(),
            strict: self.strict,
            show_all,
            about_cluster: AboutCluster {
                account: target.account.clone(),
                region: Some(target.region.clone()),
                cluster: Some(target.cluster.clone()),
                arn: target.arn.clone(),
                version: target.version.clone(),
                at: Some(self.envelope.generated_at),
                judged: true,
            },
            ..Page::new("preflight", status, word, subject)
        }
        .place(&["clusters", account, &target.region, &target.cluster])
        .closing(self.closing());
        // The name that `aws eks update-kubeconfig` gives says what stands here already.
        if target.arn.as_deref() != Some(target.context.as_str()) && !target.context.is_empty() {
            page = page.note(format!("context: {}", target.context));
        }
        match self.phase {
            Some(Phase::BeforeInstallation) => {
                page = page.about("Before installation: Karpenter is not in the cluster yet.");
            }
            Some(Phase::Installing | Phase::Installed) | None => {}
        }
        if let Some(offline) = &self.offline {
            page = page.about(from_file(offline));
        }
        if self.partial {
            page = page.about(format!(
                "Partial: --only or --skip left out {} of {} checks, among them some that the verdict needs.",
                self.left_out(),
                REGISTRY.len()
            ));
        }
        if self.strict {
            page = page.about("Strict: a warning counts as a failure.");
        }
        page
    }

    /// How many checks `--only` and `--skip` kept from being judged.
    fn left_out(&self) -> usize {
        let switched_off = |finding: &&Finding| finding.skip == Some(Skip::SwitchedOff);
        let absent = REGISTRY.len().saturating_sub(self.checks.len());
        absent + self.checks.iter().filter(switched_off).count()
    }

    /// The answer in a few words.
    fn closing(&self) -> String {
        let of = |status: Status| -> Vec<Block<'_>> {
            block::problems(&self.checks)
                .into_iter()
                .filter(|block| block.status == status)
                .collect()
        };
        let warnings = match self.summary.warn {
            0 => String::new(),
            1 => " (1 warning)".to_owned(),
            n => format!(" ({n} warnings)"),
        };
        match self.verdict {
            Verdict::Ready if self.partial => format!("nothing is wrong in what was judged{warnings}"),
            Verdict::Ready => {
                let passed = |id: &str| self.checks.iter().any(|f| f.id == id && f.status == Status::Pass);
                let cluster = &self.target.cluster;
                // No more than what was found bears out.
                if passed("spot-role-exists") && passed("pools-want-spot") {
                    format!("Karpenter can get Spot capacity on {cluster}{warnings}")
                } else {
                    format!("no problem found on {cluster}{warnings}")
                }
            }
            Verdict::NotReady if self.summary.fail == 0 => {
                format!("--strict, and {}", headlines(&of(Status::Warn)))
            }
            Verdict::NotReady => headlines(&of(Status::Fail)),
            Verdict::Undecided => match of(Status::Unknown).as_slice() {
                [] => "what the chosen checks rest on is missing (--show-all lists why)".to_owned(),
                unknown => headlines(unknown),
            },
        }
    }
}

/// The answer in a few words: what is wrong, or `ready` where nothing is.
pub(crate) fn closing_of(verdict: Verdict, findings: &[Finding], ready: String) -> String {
    let of = |wanted: &[Status]| {
        let blocks = block::problems(findings).into_iter();
        headlines(
            &blocks
                .filter(|block| wanted.contains(&block.status))
                .collect::<Vec<_>>(),
        )
    };
    match verdict {
        Verdict::Ready => ready,
        Verdict::NotReady => of(&[Status::Fail, Status::Warn]),
        Verdict::Undecided => of(&[Status::Unknown]),
    }
}

fn from_file(offline: &Offline) -> String {
    format!(
        "Offline: judges facts gathered at {} by version {}{}.",
        offline.gathered_at,
        offline.version,
        if offline.redacted { ", redacted" } else { "" }
    )
}

/// The first headline within a sentence, and how many more there are.
fn headlines(blocks: &[Block<'_>]) -> String {
    let Some(first) = blocks.first() else {
        return String::new();
    };
    let text = within_a_sentence(&first.headline);
    match blocks.len() - 1 {
        0 => text,
        1 => format!("{text} (and 1 more problem)"),
        more => format!("{text} (and {more} more problems)"),
    }
}

pub(crate) fn within_a_sentence(headline: &str) -> String {
    const LOWERED: &[&str] = &[
        "A",
        "An",
        "Another",
        "Creating",
        "Destroying",
        "New",
        "No",
        "Nobody",
        "Nodes",
        "Nothing",
        "Only",
        "Pods",
        "Principal",
        "Some",
        "Something",
        "The",
        "Unknown",
        "What",
        "Whether",
        "Who",
        "You",
        "Your",
    ];
    match headline.split_once(' ') {
        Some((word, rest)) if LOWERED.contains(&word) => format!("{} {rest}", word.to_lowercase()),
        _ => headline.to_owned(),
    }
}
