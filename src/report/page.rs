//! A verb's answer as people and CI systems see it. `-o json` and `-o yaml` print the verb's own document instead.

use jiff::Timestamp;

use super::Finding;
use crate::checks::{Skip, Status};

/// A verb's answer: what the text, JUnit, SARIF, Markdown and GitHub renderers take.
///
/// A verb makes one like this, beside its own document (any serializable value that flattens an [`super::Envelope`]), and hands
/// both to `commands::print`:
///
/// ```ignore
/// let page = Page::new("trust", Status::Fail, "CANNOT ASSUME", "demo-admin (account 111122223333)")
///     .note("context: prod")                          // beside the subject
///     .field("principal", &principal.arn)             // a row under it
///     .finding(Finding::new("trust-policy", "trust", "The role trusts the principal", judgement))
///     .closing("the trust policy names another account");
/// commands::print(&[page], &document, global, &ui)?;
/// Ok(exit)
/// ```
///
/// Findings may stand in any order: renderers put fail, unknown and warn first, and fold pass and skip. Text may come from
/// anywhere: renderers clean it.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The verb: names suites and SARIF's categories.
    pub verb: &'static str,
    /// The answer's colour.
    pub status: Status,
    /// The answer in capitals: `NOT READY`.
    pub word: String,
    /// What tells it from the others of one run: the context.
    pub name: String,
    /// What it is about: `demo (eu-west-1, account 111122223333)`.
    pub subject: String,
    /// Beside the subject: `context: prod`.
    pub notes: Vec<String>,
    /// Sentences under the first line: before installation, offline.
    pub about: Vec<String>,
    /// Rows of a name and a value under them.
    pub fields: Vec<(String, String)>,
    /// A list that is the answer itself.
    pub table: Option<Table>,
    /// What was found.
    pub findings: Vec<Finding>,
    /// What is said beside the findings, under them.
    pub sections: Vec<Section>,
    /// The answer in a few words, for the last line.
    pub closing: String,
    /// SARIF's path for findings without a file of their own: `clusters/ACCOUNT/REGION/NAME`.
    pub place: String,
    /// `--strict`: a warning counts as a failure.
    pub strict: bool,
    /// `--show-all`: what passed is listed, too.
    pub show_all: bool,
    /// What it is about, for formats that tell many clusters apart.
    pub about_cluster: AboutCluster,
}

/// The cluster, or the account alone, that a page is about. None: not known, or not about any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AboutCluster {
    /// The account.
    pub account: Option<String>,
    /// AWS region.
    pub region: Option<String>,
    /// EKS cluster name.
    pub cluster: Option<String>,
    /// Its ARN.
    pub arn: Option<String>,
    /// Kubernetes version.
    pub version: Option<String>,
    /// When it was judged, or tried to.
    pub at: Option<Timestamp>,
    /// Whether it could be judged at all.
    pub judged: bool,
}

impl AboutCluster {
    /// The cluster's name; of one that could not be judged what it was asked for by; none of an account alone.
    pub(crate) fn name<'a>(&'a self, page: &'a Page) -> Option<&'a str> {
        let asked_for = (!self.judged).then_some(page.name.as_str());
        self.cluster.as_deref().or(asked_for)
    }
}

impl Page {
    /// An answer of `verb` about `subject`, in a word and its colour.
    pub fn new(
        verb: &'static str,
        status: Status,
        word: impl Into<String>,
        subject: impl Into<String>,
    ) -> Self {
        let subject = subject.into();
        Self {
            verb,
            status,
            word: word.into(),
            notes: Vec::new(),
            about: Vec::new(),
            fields: Vec::new(),
            table: None,
            findings: Vec::new(),
            sections: Vec::new(),
            closing: String::new(),
            place: place(&[verb, &subject]),
            name: subject.clone(),
            subject,
            strict: false,
            show_all: false,
            about_cluster: AboutCluster::default(),
        }
    }

    /// A cluster that was asked for and could not be judged.
    pub fn unresolved(verb: &'static str, context: &str, error: &str) -> Self {
        let judgement = super::Judgement::undecided(error).headline("The cluster could not be judged");
        Self::new(verb, Status::Unknown, "UNDECIDED", context)
            .place(&["clusters", "unknown", "unknown", context])
            .finding(Finding::new(
                "cluster-found",
                "target",
                crate::checks::cluster_found::CLUSTER_FOUND.title,
                judgement,
            ))
            .closing("the cluster could not be judged")
    }

    /// The same of a cluster of which something is known.
    pub(crate) fn not_judged(target: &super::Unresolved, error: &str) -> Self {
        let mut page = Self::unresolved("preflight", &target.context, error);
        if let Some(cluster) = &target.cluster {
            let or_unknown = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
            let (account, region) = (or_unknown(&target.account), or_unknown(&target.region));
            page = page.place(&["clusters", &account, &region, cluster]);
        }
        page.about_cluster = AboutCluster {
            account: target.account.clone(),
            region: target.region.clone(),
            cluster: target.cluster.clone(),
            ..AboutCluster::default()
        };
        page
    }

    /// Adds a word beside the subject.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Adds a sentence under the first line.
    #[must_use]
    pub fn about(mut self, sentence: impl Into<String>) -> Self {
        self.about.push(sentence.into());
        self
    }

    /// Adds a row of a name and a value.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl Into<String>) -> Self {
        self.fields.push((name.to_owned(), value.into()));
        self
    }

    /// Adds statements beside the findings, if there are any.
    #[must_use]
    pub fn section(self, title: &str, rows: impl IntoIterator<Item = Row>) -> Self {
        self.add_section(title, None, rows.into_iter().collect())
    }

    /// The same, listed by `--show-all` alone, and else only named: `4 limits`.
    #[must_use]
    pub fn folded_section(self, title: &str, named: &str, rows: impl IntoIterator<Item = Row>) -> Self {
        self.add_section(title, Some(named.to_owned()), rows.into_iter().collect())
    }

    fn add_section(mut self, title: &str, folded: Option<String>, rows: Vec<Row>) -> Self {
        if !rows.is_empty() {
            self.sections.push(Section {
                title: title.to_owned(),
                rows,
                folded,
            });
        }
        self
    }

    /// Adds a finding.
    #[must_use]
    pub fn finding(mut self, finding: Finding) -> Self {
        self.findings.push(finding);
        self
    }

    /// Says the answer in a few words, for the last line.
    #[must_use]
    pub fn closing(mut self, closing: impl Into<String>) -> Self {
        self.closing = closing.into();
        self
    }

    /// SARIF's path, of segments.
    #[must_use]
    pub fn place(mut self, segments: &[&str]) -> Self {
        self.place = place(segments);
        self
    }

    /// How many findings are of that status.
    pub(crate) fn count(&self, status: Status) -> usize {
        let of = |finding: &&Finding| finding.status == status;
        self.findings.iter().filter(of).count()
    }

    /// What a finding counts as here.
    pub(crate) fn counts_as(&self, finding: &Finding) -> Status {
        match finding.status {
            Status::Warn if self.strict => Status::Fail,
            status => status,
        }
    }

    /// The groups of the findings, in their order.
    pub(crate) fn groups(&self) -> Vec<&str> {
        let mut groups: Vec<&str> = Vec::new();
        for finding in &self.findings {
            if !groups.contains(&finding.group.as_str()) {
                groups.push(&finding.group);
            }
        }
        groups
    }

    /// `12 passed, 6 not applicable`; empty where everything is a problem, and where one finding that passed is the answer.
    pub(crate) fn folded(&self) -> String {
        let alone = self.findings.len() == 1;
        let skipped = |skip: Skip| {
            let of = |finding: &&Finding| finding.skip == Some(skip);
            self.findings.iter().filter(of).count()
        };
        let counted = [
            (if alone { 0 } else { self.count(Status::Pass) }, "passed"),
            (skipped(Skip::NotApplicable), "not applicable"),
            (skipped(Skip::GroundLost), "not judged"),
            (skipped(Skip::SwitchedOff), "left out"),
        ];
        let counted = counted.iter().filter(|(n, _)| *n > 0);
        counted
            .map(|(n, word)| format!("{n} {word}"))
            .chain(self.sections.iter().filter_map(|section| section.folded.clone()))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// Statements under a title: the steps to an answer, its limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// The title.
    pub title: String,
    /// The statements.
    pub rows: Vec<Row>,
    /// Only `--show-all` lists them; how they are named where it is not given.
    pub folded: Option<String>,
}

/// A statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its mark; none: a dash.
    pub status: Option<Status>,
    /// The statement.
    pub text: String,
    /// What goes with it as it is: a line of a file, a document.
    pub code: String,
}

impl Row {
    /// A statement alone.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            status: None,
            text: text.into(),
            code: String::new(),
        }
    }

    /// A statement that is good or not.
    pub fn judged(status: Status, text: impl Into<String>) -> Self {
        Self {
            status: Some(status),
            ..Self::new(text)
        }
    }

    /// Adds what goes with it as it is.
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.code = code.into();
        self
    }
}

/// Rows under a head; the last column may be of any width.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// The names of the columns.
    pub head: Vec<&'static str>,
    /// The cells of each row, and what is to be said of it.
    pub rows: Vec<(Vec<String>, Option<String>)>,
}

/// A path that is the same in every run, each segment as a URI has it.
fn place(segments: &[&str]) -> String {
    let segments: Vec<String> = segments.iter().map(|segment| segment_of_uri(segment)).collect();
    segments.join("/")
}

pub(crate) fn segment_of_uri(segment: &str) -> String {
    const KEEP: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'.')
        .remove(b'-')
        .remove(b'_')
        .remove(b'~');
    percent_encoding::utf8_percent_encode(segment, KEEP).to_string()
}
