//! `whois` as pages.

use super::{Ground, Placed, Unread, Whois, WhoisList};
use crate::checks::{Judgement, Status, find};
use crate::model::{Language, Remedy, Snippet};

use crate::report::{Finding, Page, Row, within_a_sentence};
use eks_aws_auth::{
    Alternative, AssociatedPolicy, AuthenticationMode, Outcome, Problem, Severity, Source, SourceKind,
};

/// The page that explains the answers.
const DOCS: &str = "troubleshooting.md#you-must-be-logged-in-to-the-server-unauthorized";

/// JSON has all problems.
const MOST: usize = 100;

impl Whois {
    /// As people and CI systems see it.
    pub fn page(&self) -> Page {
        let page = self.answer();
        with_problems(page, &self.problems)
    }

    fn answer(&self) -> Page {
        let (status, word) = match (self.undecided, self.outcome) {
            (true, _) => (Status::Unknown, "UNDECIDED"),
            (_, Outcome::Mapped) => (Status::Pass, "MAPPED"),
            (_, Outcome::NotMapped) => (Status::Fail, "NOT MAPPED"),
            (_, Outcome::Denied) => (Status::Fail, "DENIED"),
            (_, Outcome::Ambiguous) => (Status::Fail, "AMBIGUOUS"),
        };
        let mut page = Page::new("whois", status, word, &self.principal);
        if let Some(canonical) = self.canonical_arn.as_ref().filter(|arn| **arn != self.principal) {
            page = page.field("compared", canonical);
        }
        if self.outcome == Outcome::Mapped {
            page = page
                .field("username", username_of(self.username.as_deref()))
                .field("groups", groups_of(&self.groups));
            for (n, policy) in self.policies.iter().flatten().enumerate() {
                page = page.field(if n == 0 { "policies" } else { "" }, policy_of(policy));
            }
        }
        if let Some(source) = &self.source {
            page = page.field("from", source_of(source));
        }
        page = ground(&self.ground, Some(&self.principal), page);
        if let Some(user) = &self.kubernetes_user {
            let name = username_of(Some(&user.username));
            page = page.field("server", format!("answers {name} ({})", groups_of(&user.groups)));
        }
        let finding = self.finding();
        let closing = match finding.status {
            Status::Pass => self.reason.clone(),
            _ => within_a_sentence(&finding.headline),
        };
        page.finding(finding)
            .section("What is possible", self.alternatives.iter().map(alternative))
            .section(
                "Passed over",
                self.passed_over
                    .iter()
                    .map(|over| Row::new(&over.message).code(over.source.quote.clone().unwrap_or_default())),
            )
            .section("Note", self.caveats.iter().map(Row::new))
            .closing(closing)
    }

    fn finding(&self) -> Finding {
        const TITLE: &str = "The cluster authenticates this principal";
        let judgement = match (self.undecided, self.outcome) {
            (true, _) => unread(&self.ground.unread),
            (_, Outcome::Mapped) => Judgement::pass(&self.reason),
            (_, Outcome::NotMapped) => {
                Judgement::fail(&self.reason).headline("The cluster does not know this principal")
            }
            (_, Outcome::Denied) => {
                Judgement::fail(&self.reason).headline("The cluster refuses this principal")
            }
            (_, Outcome::Ambiguous) => {
                Judgement::fail(&self.reason).headline("Who this principal is depends on chance")
            }
        };
        let mut finding = Finding::new("principal-mapped", "whois", TITLE, judgement).explained_in(DOCS);
        if let Some(remedy) = &self.remedy {
            finding.remedy = Some(Remedy {
                text: remedy.text.clone(),
                commands: remedy.commands.clone(),
                snippets: remedy.snippets.clone(),
            });
        }
        finding
    }
}

impl WhoisList {
    /// As people and CI systems see it: a page for every principal that was asked for.
    pub fn pages(&self) -> Vec<Page> {
        let mut pages: Vec<Page> = self.items.iter().map(Whois::answer).collect();
        // The problems are the cluster's, so they are said once.
        let last = pages.pop().map(|last| with_problems(last, &self.problems));
        pages.extend(last);
        pages
    }
}

fn groups_of(groups: &[String]) -> String {
    if groups.is_empty() {
        return "(none)".to_owned();
    }
    groups
        .iter()
        .map(|group| if group.is_empty() { "\"\"" } else { group })
        .collect::<Vec<_>>()
        .join(", ")
}

fn username_of(username: Option<&str>) -> &str {
    match username {
        None => "(not read)",
        Some("") => "\"\" (empty)",
        Some(name) => name,
    }
}

fn policy_of(policy: &AssociatedPolicy) -> String {
    let name = policy.policy_arn.rsplit('/').next().unwrap_or_default();
    if policy.access_scope.kind == "namespace" {
        format!(
            "{name} (namespaces {})",
            policy.access_scope.namespaces.join(", ")
        )
    } else {
        format!("{name} (whole cluster)")
    }
}

fn source_of(source: &Placed<Source>) -> String {
    let file = source
        .file_line
        .map(|line| format!(" (line {line} of the file)"))
        .unwrap_or_default();
    match (&source.what.kind, &source.what.quote) {
        (SourceKind::AwsAuth, Some(quote)) => format!("aws-auth, {}{file}: {quote}", source.what),
        (SourceKind::AwsAuth, None) => format!("aws-auth, {}{file}", source.what),
        (SourceKind::AccessEntry, _) => source.what.to_string(),
    }
}

fn alternative(way: &Alternative) -> Row {
    let end = match way.outcome {
        Outcome::Mapped => {
            let name = username_of(way.username.as_deref());
            format!("{name} ({})", groups_of(&way.groups))
        }
        Outcome::NotMapped => "not mapped".to_owned(),
        Outcome::Denied => "denied".to_owned(),
        Outcome::Ambiguous => "ambiguous".to_owned(),
    };
    Row::new(format!("{end}: {}", way.reason))
}

/// Where it was looked up. `principal` tells the answers of one cluster apart.
pub(crate) fn ground(ground: &Ground, principal: Option<&str>, mut page: Page) -> Page {
    let more = principal.as_slice();
    if let Some(target) = &ground.target {
        let account = target.account.as_deref().unwrap_or("unknown");
        let place = ["clusters", account, &target.region, &target.cluster];
        page = page.place(&[&place, more].concat()).field(
            "cluster",
            format!("{} ({}, account {account})", target.cluster, target.region),
        );
    }
    let mode = match ground.authentication_mode {
        Some(AuthenticationMode::ConfigMap) => "CONFIG_MAP (only aws-auth counts)",
        Some(AuthenticationMode::ApiAndConfigMap) => {
            "API_AND_CONFIG_MAP (access entries first, then aws-auth)"
        }
        Some(AuthenticationMode::Api) => "API (only access entries count)",
        None => "could not be read",
    };
    page = page.field("mode", mode);
    if ground.validation_webhook == Some(true) && ground.authentication_mode != Some(AuthenticationMode::Api)
    {
        page = page.field(
            "webhook",
            "EKS's webhook checks changes of aws-auth and may refuse some; it has not checked what was saved before",
        );
    }
    page
}

/// What could not be read, with the statements that lift it.
pub(crate) fn unread(unread: &[Unread]) -> Judgement {
    let reasons: Vec<String> = unread
        .iter()
        .map(|one| format!("{}: {}", one.what, one.reason))
        .collect();
    let snippets: Vec<Snippet> = unread
        .iter()
        .filter_map(|one| one.grant.clone())
        .map(|text| Snippet {
            language: Language::Json,
            text,
        })
        .collect();
    let judgement = Judgement::undecided(reasons.join("; ")).headline("What decides could not be read");
    Judgement {
        remedy: (!snippets.is_empty()).then(|| Remedy {
            text: "Ask for what lifts it.".to_owned(),
            commands: Vec::new(),
            snippets,
        }),
        ..judgement
    }
}

/// What is wrong with aws-auth stands beside the answer: as warnings, which leave the exit code alone.
pub(crate) fn with_problems(mut page: Page, problems: &[Placed<Problem>]) -> Page {
    let findings = problems.iter().take(MOST).map(problem);
    page.findings.extend(findings);
    if problems.len() > MOST {
        let more = problems.len() - MOST;
        page = page.section(
            "Note",
            [Row::new(format!(
                "aws-auth has {more} more problems: see -o json"
            ))],
        );
    }
    page
}

fn problem(placed: &Placed<Problem>) -> Finding {
    let problem = &placed.what;
    let place = match (&problem.key, problem.line, placed.file_line) {
        (Some(key), Some(line), Some(file)) => format!("{key} line {line} (line {file} of the file): "),
        (Some(key), Some(line), None) => format!("{key} line {line}: "),
        (Some(key), None, _) => format!("{key}: "),
        (None, _, _) => String::new(),
    };
    let lost = match problem.lost.as_str() {
        "" => String::new(),
        lost => format!("Lost: {lost}"),
    };
    let mut judgement = Judgement::warn(lost).headline(format!("{place}{}", problem.message));
    if !problem.fix.is_empty() {
        judgement = judgement.fix(&problem.fix, []);
    }
    let id = match problem.severity {
        Severity::Error => "aws-auth-parses",
        Severity::Warning => "aws-auth-hygiene",
    };
    Finding::new(
        id,
        "node-mapping",
        find(id).map_or(id, |check| check.title),
        judgement,
    )
}
