//! The answer of `trust`: its document, and its page.

use serde::{Deserialize, Serialize};

use crate::model::{Judgement, Language, Remedy, Snippet, Status};
use crate::report::{Envelope, Finding, Page, Row, within_a_sentence};

use super::advice::{self, SmallestPolicy};
use super::cdk::{CdkAnswer, Part};
use super::{Outcome, Question, Reason, TrustVerdict};
use iam_policy::kleene::Tri;

/// What `trust -o json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TrustReport {
    /// What every document begins with.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// Who wants to assume the role.
    pub principal: Party,
    /// The role.
    pub role: Party,
    /// The answer.
    #[serde(flatten)]
    pub verdict: TrustVerdict,
    /// The smallest trust policy that would do; none where there is nobody to name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smallest_trust_policy: Option<SmallestPolicy>,
    /// What `--try` found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried: Option<Tried>,
    /// The answer of `--cdk`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cdk: Option<CdkAnswer>,
    /// The role is in IAM, so that `--try` could prove it.
    #[serde(skip)]
    #[cfg_attr(test, schemars(skip))]
    pub can_be_tried: bool,
}

/// One side of the question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Party {
    /// Its ARN; none for a role that is not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arn: Option<String>,
    /// `user`, `role`, `role session`, `root user`, `federated user`
    pub kind: String,
    /// For a session, the IAM ARN of its role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// Its account.
    pub account: String,
}

/// What `--try` found: a real sts:AssumeRole, and who the cluster authenticates that session as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Tried {
    /// Whether sts:AssumeRole succeeded; unknown when it could not be asked.
    pub assumed: Outcome,
    /// What STS said, where it refused or could not be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The session's ARN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_arn: Option<String>,
    /// The user name that the cluster gives it; none when the cluster refused it or was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Its groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// What the cluster said, where it refused or could not be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_error: Option<String>,
}

impl TrustReport {
    /// Puts question and answer together.
    pub(crate) fn new(question: &Question<'_>, verdict: TrustVerdict) -> Self {
        let known = question.requester.known();
        let arn = known.map(|one| one.arn.arn().to_string());
        let role_arn = known
            .map(|one| one.iam_arn().to_string())
            .filter(|iam| Some(iam) != arn.as_ref());
        let account = question.requester.home().map(|(_, account)| account.to_owned());
        Self {
            envelope: Envelope::new("TrustReport", "trust-report", question.now),
            principal: Party {
                arn,
                kind: known.map_or("role", |one| one.arn.kind()).to_owned(),
                role_arn,
                account: account.unwrap_or_default(),
            },
            role: Party {
                arn: Some(question.role_arn.to_string()),
                kind: "role".to_owned(),
                role_arn: None,
                account: question.role_arn.account.clone(),
            },
            smallest_trust_policy: advice::smallest(question),
            verdict,
            tried: None,
            cdk: None,
            can_be_tried: question.target.is_some(),
        }
    }

    /// The answer as the exit code counts it: a real try outweighs the judgement, `--cdk` counts as a whole.
    pub(crate) fn outcome(&self) -> Outcome {
        let judged = match &self.tried {
            Some(tried) if tried.assumed != Outcome::Unknown => tried.assumed,
            _ => self.verdict.outcome,
        };
        match &self.cdk {
            None => judged,
            Some(cdk) => {
                let tri = |outcome| match outcome {
                    Outcome::Pass => Tri::True,
                    Outcome::Fail => Tri::False,
                    Outcome::Unknown => Tri::Unknown,
                };
                let others = cdk
                    .parts
                    .iter()
                    .filter(|part| part.part != "trusted")
                    .map(|part| tri(part.outcome));
                Tri::all(others.chain([tri(judged)])).into()
            }
        }
    }
}

impl From<Outcome> for Status {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Pass => Self::Pass,
            Outcome::Fail => Self::Fail,
            Outcome::Unknown => Self::Unknown,
        }
    }
}

impl TrustReport {
    /// As people and CI systems see it.
    pub(crate) fn page(&self) -> Page {
        let outcome = self.outcome();
        let word = match (outcome, self.cdk.is_some()) {
            (Outcome::Pass, false) => "CAN ASSUME",
            (Outcome::Fail, false) => "CANNOT ASSUME",
            (Outcome::Pass, true) => "READY FOR CDK",
            (Outcome::Fail, true) => "NOT READY FOR CDK",
            (Outcome::Unknown, _) => "UNDECIDED",
        };
        let role = self.role.arn.as_deref().unwrap_or_default();
        let (principal, kind) = (&self.principal, &self.principal.kind);
        let who = match (&principal.arn, &principal.role_arn) {
            (Some(arn), Some(role)) => format!("{arn} ({kind} of {role})"),
            (Some(arn), None) => format!("{arn} ({kind})"),
            (None, _) => format!("a {kind} of account {} that is not known yet", principal.account),
        };
        let trusted = self.trusted();
        let closing = match (&self.cdk, trusted.status) {
            (Some(cdk), _) => cdk.message.clone(),
            (None, Status::Fail | Status::Unknown) => within_a_sentence(&trusted.headline),
            (None, _) => within_a_sentence(self.verdict.reason.headline()),
        };
        let page = Page::new("trust", outcome.into(), word, role)
            .place(&[
                "trust",
                role,
                principal.arn.as_deref().unwrap_or(&principal.account),
            ])
            .field("principal", who)
            .finding(trusted)
            .closing(closing);
        let parts = self.cdk.iter().flat_map(|cdk| &cdk.parts);
        let page = parts.filter_map(Part::finding).fold(page, Page::finding);
        self.sections(page)
    }

    /// Whether the principal may assume the role.
    fn trusted(&self) -> Finding {
        let verdict = &self.verdict;
        let tried = self
            .tried
            .as_ref()
            .filter(|tried| tried.assumed != Outcome::Unknown);
        let mut judgement = match tried {
            Some(tried) if tried.assumed != verdict.outcome => {
                let error = tried.error.as_deref().unwrap_or("sts:AssumeRole gave a session");
                Judgement::new(tried.assumed.into(), error).headline("A real sts:AssumeRole was refused")
            }
            _ => Judgement::new(verdict.outcome.into(), &verdict.message).headline(verdict.reason.headline()),
        };
        let by_cdk = self.cdk.iter().flat_map(|cdk| &cdk.parts);
        let by_cdk = by_cdk.filter(|part| part.part == "trusted");
        let mut by_cdk = by_cdk.filter_map(|part| part.remedy.clone()).map(|text| Remedy {
            text,
            ..Remedy::default()
        });
        judgement.remedy = verdict.remedy.clone().or_else(|| by_cdk.next());
        if let (Some(remedy), Some(smallest)) = (&mut judgement.remedy, &self.smallest_trust_policy)
            && remedy.snippets.is_empty()
            && remedy.commands.is_empty()
        {
            remedy.snippets.push(Snippet {
                language: Language::Json,
                text: pretty(&smallest.document),
            });
        }
        // It works, and for more than the one who asked.
        if judgement.status == Status::Pass && judgement.remedy.is_some() {
            judgement = Judgement {
                status: Status::Warn,
                ..judgement
            };
        }
        Finding::new(
            "role-trusts-principal",
            "trust",
            "The principal may assume the role",
            judgement,
        )
        .explained_in("cdk.md")
    }

    fn sections(&self, page: Page) -> Page {
        let verdict = &self.verdict;
        // What the finding says already is not said again.
        let new = |what: &str| !verdict.message.contains(what);
        let steps = verdict.steps.iter().filter(|step| new(&step.message));
        let steps = steps.map(|step| Row::judged(step.outcome.into(), &step.message));
        let (deciding, limits): (Vec<_>, Vec<_>) = verdict.could_not_see.iter().partition(|one| one.decides);
        let deciding = deciding
            .into_iter()
            .filter(|one| one.grant.is_some() || new(&one.what));
        let deciding = deciding.map(|one| Row::new(&one.what).code(one.grant.clone().unwrap_or_default()));
        let mut limits: Vec<Row> = limits.into_iter().map(|one| Row::new(&one.what)).collect();
        if !limits.is_empty() && self.tried.is_none() && self.can_be_tried {
            limits.extend(advice::proof(verdict.outcome).map(Row::new));
        }
        let page = page
            .section("How it was judged", steps)
            .section("Not known, and decides", deciding)
            .section("Odd in the trust policy", verdict.hints.iter().map(Row::new))
            .section("Tried", self.tried.iter().flat_map(Tried::rows))
            .folded_section(
                "Never visible from here",
                &format!("{} limits", limits.len()),
                limits,
            );
        let page = match &self.cdk {
            Some(cdk) => page.section(
                "For the stack",
                [Row::new("CDK reads it from these lines").code(&cdk.stack)],
            ),
            None => page,
        };
        let smallest = self.smallest_trust_policy.iter().flat_map(|smallest| {
            let why = Row::new(&smallest.why).code(pretty(&smallest.document));
            [why].into_iter().chain(smallest.caution.iter().map(Row::new))
        });
        page.folded_section(
            "The smallest trust policy that would do",
            "1 policy that would do",
            smallest,
        )
    }
}

fn pretty(document: &serde_json::Value) -> String {
    serde_json::to_string_pretty(document).unwrap_or_default()
}

impl Part {
    /// What `--cdk` asks beside the trust.
    fn finding(&self) -> Option<Finding> {
        let (id, title, headline) = match self.part.as_str() {
            "mapped" => (
                "role-mapped",
                "The role administers the cluster",
                "The role does not administer the cluster",
            ),
            "right-account" => (
                "role-in-account",
                "The role is in the cluster's account",
                "The role is not in the cluster's account",
            ),
            _ => return None,
        };
        let headline = match self.outcome {
            Outcome::Unknown => format!("Unknown whether {}", within_a_sentence(title)),
            _ => headline.to_owned(),
        };
        let mut judgement = Judgement::new(self.outcome.into(), &self.message).headline(headline);
        if let Some(text) = &self.remedy {
            judgement = judgement.fix(text, []);
        }
        Some(Finding::new(id, "trust", title, judgement).explained_in("cdk.md"))
    }
}

impl Tried {
    fn rows(&self) -> Vec<Row> {
        let session = match (&self.session_arn, &self.error) {
            (Some(arn), _) => format!("sts:AssumeRole gave {arn}"),
            (None, Some(error)) => format!("sts:AssumeRole: {error}"),
            (None, None) => "sts:AssumeRole gave no session".to_owned(),
        };
        let groups = match self.groups.as_slice() {
            [] => "no groups".to_owned(),
            groups => format!("groups {}", groups.join(", ")),
        };
        let cluster = match (&self.username, &self.cluster_error) {
            (Some(name), _) => Some(Row::judged(
                Status::Pass,
                format!("the cluster authenticates it as {name}, {groups}"),
            )),
            (None, Some(error)) => Some(Row::judged(Status::Unknown, format!("the cluster: {error}"))),
            (None, None) => None,
        };
        [Row::judged(self.assumed.into(), session)]
            .into_iter()
            .chain(cluster)
            .collect()
    }
}

impl Reason {
    /// The same in a few words.
    fn headline(self) -> &'static str {
        match self {
            Self::NamedDirectly => "The trust policy names the principal",
            Self::RoleNamed => "The trust policy names the principal's role",
            Self::AccountTrusted => "The role trusts its whole account",
            Self::EverybodyTrusted => "The role trusts everybody, under its conditions",
            Self::RoleMissing => "The role does not exist",
            Self::PrincipalMissing => "The principal does not exist",
            Self::PrincipalCannotAssume => "A principal of this kind cannot assume roles",
            Self::OtherPartition => "Principal and role are in different partitions",
            Self::DeniedByTrust => "The trust policy denies it",
            Self::NotTrusted => "The trust policy does not name the principal",
            Self::PrincipalDeleted => "The trust policy names a principal that was deleted",
            Self::ServiceOnly => "Only AWS services may assume the role",
            Self::FederatedOnly => "Only identity providers may give the role to somebody",
            Self::ConditionNotMet => "A condition of the trust policy does not hold",
            Self::IdentityMissing => "The principal's own policies do not allow it",
            Self::IdentityDenied => "The principal's own policies deny it",
            Self::Boundary => "The principal's permissions boundary does not allow it",
            Self::Organization => "A service control policy does not allow it",
            Self::RoleUnread => "The role could not be read",
            Self::TrustUnreadable => "The role's trust policy is not a policy document",
            Self::DenyUnclear => "A Deny of the trust policy may apply",
            Self::TrustUnclear => "Whether the trust policy allows it depends on what is not known here",
            Self::IdentityUnread => "The principal's own policies could not be read",
        }
    }
}
