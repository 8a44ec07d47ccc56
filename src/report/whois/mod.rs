//! What `whois` says of one principal, or of several. Pure.

mod page;

pub(crate) use page::{ground, unread, with_problems};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Envelope;
use crate::model::{Exit, Snippet};
use eks_aws_auth::{
    Alternative, AssociatedPolicy, AuthenticationMode, Decision, Outcome, PassedOver, Problem, Source,
};

/// Something in aws-auth, with its line in the file that was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Placed<T> {
    /// What.
    #[serde(flatten)]
    pub what: T,
    /// The line within the file, where it corresponds to the one within the key's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_line: Option<usize>,
}

/// The cluster that was asked. Absent where files were judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AskedCluster {
    /// The kube context.
    pub context: String,
    /// EKS cluster name.
    pub cluster: String,
    /// AWS region.
    pub region: String,
    /// The cluster's account.
    pub account: Option<String>,
}

/// Something that could not be read and may change the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Unread {
    /// What.
    pub what: String,
    /// Why not.
    pub reason: String,
    /// The smallest permission that lifts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
}

/// Who the API server says the caller is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ServersWord {
    /// Username.
    pub username: String,
    /// Groups, `system:authenticated` among them.
    pub groups: Vec<String>,
}

/// Where it was looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Ground {
    /// The authentication mode that was judged by; null where it could not be read.
    pub authentication_mode: Option<AuthenticationMode>,
    /// The cluster, where one was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<AskedCluster>,
    /// The API server checks changes of aws-auth by EKS's webhook; null where that is not known. It is not trusted: what it
    /// refuses is not published, it may be passed by, and what is in there already it has never looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_webhook: Option<bool>,
    /// What could not be read and may change the answer.
    pub unread: Vec<Unread>,
    /// When.
    #[serde(skip)]
    #[cfg_attr(test, schemars(skip))]
    pub asked_at: Timestamp,
}

/// How to map a principal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct MappingRemedy {
    /// In words.
    pub text: String,
    /// The entry to put into `mapRoles` or `mapUsers`, where aws-auth counts.
    pub aws_auth_entry: Option<String>,
    /// Lines that can be pasted into a shell, in order. None for files: they name no cluster.
    pub commands: Vec<String>,
    /// The same entry, as in the other reports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snippets: Vec<Snippet>,
}

/// Who the cluster authenticates a principal as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Whois {
    /// `Whois`.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// The principal that was asked for.
    pub principal: String,
    /// The ARN that mappings are compared with; null for what is not an identity.
    pub canonical_arn: Option<String>,
    /// How it ends. `ambiguous` also where something that decides could not be read; then `undecided` is true.
    pub outcome: Outcome,
    /// Something that decides could not be read.
    pub undecided: bool,
    /// Username, if mapped.
    pub username: Option<String>,
    /// Groups, if mapped, before the API server adds `system:authenticated`.
    pub groups: Vec<String>,
    /// The access policies of the entry that decided, if they were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<Vec<AssociatedPolicy>>,
    /// What decided.
    pub source: Option<Placed<Source>>,
    /// Why, in a sentence.
    pub reason: String,
    /// The possible ends, for `ambiguous`.
    pub alternatives: Vec<Alternative>,
    /// What looked as if it were meant for this principal and did not count.
    pub passed_over: Vec<PassedOver>,
    /// What is not known, and what follows from it.
    pub caveats: Vec<String>,
    /// Everything that is wrong with aws-auth.
    pub problems: Vec<Placed<Problem>>,
    /// How to map it, where it is not mapped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<MappingRemedy>,
    /// Who the API server itself says the caller is, for `me`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes_user: Option<ServersWord>,
    /// Where it was looked up.
    #[serde(flatten)]
    pub ground: Ground,
}

/// A line for a key's line, in the file that was given.
pub type FileLine<'a> = &'a dyn Fn(&str, usize) -> Option<usize>;

/// Problems with their lines in the file.
pub fn place_problems(problems: Vec<Problem>, file_line: FileLine<'_>) -> Vec<Placed<Problem>> {
    problems
        .into_iter()
        .map(|problem| Placed {
            file_line: problem
                .key
                .as_deref()
                .zip(problem.line)
                .and_then(|(key, line)| file_line(key, line)),
            what: problem,
        })
        .collect()
}

fn place_source(source: Source, file_line: FileLine<'_>) -> Placed<Source> {
    Placed {
        file_line: source
            .key
            .zip(source.line)
            .and_then(|(key, line)| file_line(key.as_str(), line)),
        what: source,
    }
}

impl Whois {
    /// From a decision.
    pub fn new(decision: Decision, ground: Ground, file_line: FileLine<'_>) -> Self {
        Self {
            envelope: Envelope::new("Whois", "whois", ground.asked_at),
            principal: decision.principal,
            canonical_arn: decision.canonical_arn,
            outcome: decision.outcome,
            undecided: false,
            username: decision.username,
            groups: decision.groups,
            policies: None,
            source: decision.source.map(|source| place_source(source, file_line)),
            reason: decision.reason,
            alternatives: decision.alternatives,
            passed_over: decision.passed_over,
            caveats: decision.caveats,
            problems: place_problems(decision.problems, file_line),
            remedy: None,
            kubernetes_user: None,
            ground,
        }
    }

    /// The exit code: 0 mapped, 1 anything else that is certain, 3 where something that decides could not be read.
    pub fn exit(&self) -> Exit {
        match (self.undecided, self.outcome) {
            (true, _) => Exit::Undecided,
            (false, Outcome::Mapped) => Exit::Done,
            (false, Outcome::NotMapped | Outcome::Denied | Outcome::Ambiguous) => Exit::Failed,
        }
    }
}

/// The principals that were asked for, in that order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct WhoisList {
    /// `WhoisList`.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// The answers in the order of the principals.
    pub items: Vec<Whois>,
    /// What is not known, and what follows from it.
    pub caveats: Vec<String>,
    /// Everything that is wrong with aws-auth.
    pub problems: Vec<Placed<Problem>>,
    /// Where it was looked up.
    #[serde(flatten)]
    pub ground: Ground,
}

impl WhoisList {
    /// Of several principals.
    pub fn of_answers(answers: Vec<Whois>, ground: Ground) -> Self {
        let problems = answers
            .first()
            .map(|one| one.problems.clone())
            .unwrap_or_default();
        Self {
            envelope: Envelope::new("WhoisList", "whois-list", ground.asked_at),
            items: answers,
            caveats: Vec::new(),
            problems,
            ground,
        }
    }

    /// The exit code: the worst of the answers.
    pub fn exit(&self) -> Exit {
        let own = match self.ground.unread.as_slice() {
            [] => Exit::Done,
            _ => Exit::Undecided,
        };
        self.items.iter().map(Whois::exit).fold(own, Exit::worse)
    }
}
