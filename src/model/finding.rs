//! What judging says: a status, a sentence, the values behind it, and what to do.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Command, Fact, Observed, Unknown};

/// The status of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Good, and it was read.
    Pass,
    /// It will work, or may, but somebody should look.
    Warn,
    /// It will not work.
    Fail,
    /// It could not be read.
    Unknown,
    /// It was not judged, for the reason in the message.
    Skip,
}

impl Status {
    /// The word in a report.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Unknown => "unknown",
            Self::Skip => "skip",
        }
    }
}

/// Why a check was skipped; only the first kind leaves the verdict alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Skip {
    /// There is nothing to judge here.
    NotApplicable,
    /// What it rests on is gone (no such cluster, wrong account): it must not count as good.
    GroundLost,
    /// `--skip`.
    SwitchedOff,
}

/// What to do about a finding.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Remedy {
    /// In words.
    pub text: String,
    /// Lines that can be pasted into a shell, in order.
    pub commands: Vec<String>,
    /// What goes into a file and not into a shell.
    #[serde(default)]
    pub snippets: Vec<Snippet>,
}

/// A piece of a file: YAML, JSON or HCL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Snippet {
    /// What it is written in.
    pub language: Language,
    /// It.
    pub text: String,
}

/// What a snippet is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// YAML.
    Yaml,
    /// JSON.
    Json,
    /// Terraform.
    Hcl,
}

/// What a check makes of the facts.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The status.
    pub status: Status,
    /// Why it was skipped, when it was.
    pub skip: Option<Skip>,
    /// What is wrong, in a few words without names; a check's title where it says nothing of its own.
    pub headline: Option<String>,
    /// Names the things found; one or a few sentences.
    pub message: String,
    /// The values behind it.
    pub evidence: Map<String, Value>,
    /// What to do.
    pub remedy: Option<Remedy>,
    /// Why it could not be read, when one fact is the reason; a report says the same reason once.
    pub cause: Option<Unknown>,
    /// The calls it rests on, with what they told.
    pub sources: Vec<(String, String)>,
    /// The file it is about, when it is about one.
    pub file: Option<FilePlace>,
}

/// A place in a file that the person gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePlace {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What it is about, the same when lines move: an object's or a block's name.
    pub key: String,
}

/// As an error: the message, and what to do below it.
impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let Some(remedy) = &self.remedy else {
            return Ok(());
        };
        write!(f, "\n  fix: {}", remedy.text)?;
        let snippets = remedy.snippets.iter().map(|snippet| &snippet.text);
        let mut lines = remedy
            .commands
            .iter()
            .chain(snippets)
            .flat_map(|text| text.lines());
        lines.try_for_each(|line| write!(f, "\n    {line}"))
    }
}

impl Judgement {
    pub(crate) fn new(status: Status, message: impl Into<String>) -> Self {
        Self {
            status,
            skip: None,
            headline: None,
            message: message.into(),
            evidence: Map::new(),
            remedy: None,
            cause: None,
            sources: Vec::new(),
            file: None,
        }
    }

    /// Good.
    pub fn pass(message: impl Into<String>) -> Self {
        Self::new(Status::Pass, message)
    }

    /// Somebody should look.
    pub fn warn(message: impl Into<String>) -> Self {
        Self::new(Status::Warn, message)
    }

    /// It will not work.
    pub fn fail(message: impl Into<String>) -> Self {
        Self::new(Status::Fail, message)
    }

    /// Not judged, and nothing is missing by that.
    pub fn skip(message: impl Into<String>) -> Self {
        Self {
            skip: Some(Skip::NotApplicable),
            ..Self::new(Status::Skip, message)
        }
    }

    /// Not judged because what it rests on is gone.
    pub fn ground_lost(message: impl Into<String>) -> Self {
        Self {
            skip: Some(Skip::GroundLost),
            ..Self::new(Status::Skip, message)
        }
    }

    /// It could not be read: names the denied action or verb and the smallest grant that lifts it.
    pub fn unknown(what: &str, unknown: &Unknown) -> Self {
        let mut judgement = Self::new(Status::Unknown, format!("{what} could not be read: {unknown}"));
        judgement.cause = Some(unknown.clone());
        if let Some(grant) = &unknown.grant {
            judgement = judgement
                .evidence("denied", grant.action())
                .evidence("grant", grant.statement())
                .fix(
                    super::permission::grant_remedy(grant),
                    super::permission::grant_commands(grant),
                );
        }
        judgement
    }

    /// Unknown, for a reason of its own.
    pub fn undecided(message: impl Into<String>) -> Self {
        Self::new(Status::Unknown, message)
    }

    /// Adds a value.
    pub fn evidence(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.evidence.insert(key.to_owned(), value.into());
        self
    }

    /// What is wrong, in a few words: "New nodes cannot join: their role is not mapped".
    #[must_use]
    pub fn headline(mut self, headline: impl Into<String>) -> Self {
        self.headline = Some(headline.into());
        self
    }

    /// Says what to do, with commands that can be pasted.
    #[must_use]
    pub fn fix(mut self, text: impl Into<String>, commands: impl IntoIterator<Item = Command>) -> Self {
        let commands: Vec<Command> = commands.into_iter().collect();
        self.remedy = Some(Remedy {
            text: text.into(),
            commands: Command::lines(&commands),
            snippets: Vec::new(),
        });
        self
    }

    /// Adds a piece of a file to what to do.
    #[must_use]
    pub fn snippet(mut self, language: Language, text: impl Into<String>) -> Self {
        self.remedy.get_or_insert_default().snippets.push(Snippet {
            language,
            text: text.into(),
        });
        self
    }

    /// Names the place in a file that it is about.
    pub fn in_file(self, file: Option<FilePlace>) -> Self {
        Self { file, ..self }
    }

    /// Names the call it rests on.
    pub fn from<T>(mut self, fact: &Fact<T>) -> Self {
        let told = match &fact.observed {
            Observed::Known(_) => "found".to_owned(),
            Observed::Absent => "absent".to_owned(),
            Observed::Unknown(unknown) => unknown.to_string(),
        };
        if !self.sources.iter().any(|(call, _)| *call == fact.call) {
            self.sources.push((fact.call.clone(), told));
        }
        self
    }
}
