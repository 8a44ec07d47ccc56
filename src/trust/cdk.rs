//! `trust --cdk`: can CDK's `kubectlRoleArn` be this role? One answer from three: mapped, trusted, in the right account.
//!
//! From CDK's `aws-eks/lib/kubectl-provider.ts`: for an imported cluster the handler's role (`kubectlLambdaRole`, or one
//! that CDK makes) gets an Allow for `sts:AssumeRole` on the role and runs `aws eks update-kubeconfig --role-arn`; the
//! role's trust policy it cannot change. So the trust in `:root` that CDK's README asks for is sufficient and not needed.

use serde::{Deserialize, Serialize};

use iam_policy::arn::{AccountId, Arn};

use super::{Outcome, TrustVerdict};
use iam_policy::kleene::Tri;
use iam_policy::principal::Requester;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mapping {
    /// A cluster admin: `system:masters`, or AmazonEKSClusterAdminPolicy for the whole cluster.
    Admin {
        /// From where: `aws-auth mapRoles[2], line 7`, `access entry`.
        from: String,
    },
    /// It is somebody, with less power.
    Less {
        from: String,
        /// Its groups and policies, in words.
        has: String,
    },
    Nobody {
        why: String,
    },
    Unread {
        why: String,
    },
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct CdkQuestion<'a> {
    pub role_arn: &'a Arn,
    pub cluster: &'a str,
    /// The cluster's account; none when not known.
    pub cluster_account: Option<&'a AccountId>,
    pub mapping: &'a Mapping,
    /// Who is to assume it: the handler's role, or [`Requester::SomeRole`] of the account where CDK is to make it.
    pub handler: &'a Requester,
    /// Whether that may.
    pub trust: &'a TrustVerdict,
}

/// One of the three.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// `mapped`, `trusted`, `right-account`
    pub part: String,
    /// Whether it is good.
    pub outcome: Outcome,
    /// What was found.
    pub message: String,
    /// What to do, where it is not good.
    #[serde(skip)]
    #[cfg_attr(test, schemars(skip))]
    pub remedy: Option<String>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CdkAnswer {
    /// In one word.
    pub outcome: Outcome,
    /// In a sentence.
    pub message: String,
    /// Mapped, trusted, in the right account.
    pub parts: Vec<Part>,
    /// The line for the stack.
    pub line: String,
    /// The lines around it, in TypeScript.
    pub stack: String,
    /// What to do, where something is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// A text in single quotes of TypeScript.
fn quoted(text: &str) -> String {
    let mut out = String::from("'");
    for c in text.chars() {
        match c {
            '\'' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if crate::text::sanitize::harmless(c) => out.push(c),
            c => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
        }
    }
    out.push('\'');
    out
}

/// Judges it.
pub(crate) fn judge(question: &CdkQuestion<'_>) -> CdkAnswer {
    let role = question.role_arn;
    let mapped = match question.mapping {
        Mapping::Admin { from } => (Tri::True, format!("it is a cluster admin, by {from}")),
        Mapping::Less { from, has } => (
            Tri::False,
            format!(
                "the cluster knows it, by {from}, but as {has}: CDK needs system:masters or AmazonEKSClusterAdminPolicy for the whole cluster"
            ),
        ),
        Mapping::Nobody { why } => (Tri::False, format!("the cluster does not know it: {why}")),
        Mapping::Unread { why } => (
            Tri::Unknown,
            format!("whether the cluster knows it could not be read: {why}"),
        ),
    };
    let account = match question.cluster_account {
        None => (Tri::Unknown, "the cluster's account is not known".to_owned()),
        Some(account) if account.as_str() == role.account => {
            (Tri::True, format!("it is in the cluster's account, {account}"))
        }
        Some(account) => (
            Tri::False,
            format!(
                "it is in account {}, the cluster in {account}: is the ARN from another environment? CDK's handler runs beside \
                 the cluster",
                role.account
            ),
        ),
    };
    let parts: Vec<Part> = [
        ("mapped", mapped),
        (
            "trusted",
            (question.trust.outcome.into(), question.trust.message.clone()),
        ),
        ("right-account", account),
    ]
    .into_iter()
    .map(|(name, (holds, message))| Part {
        part: name.to_owned(),
        outcome: holds.into(),
        message,
        remedy: match holds {
            Tri::True => None,
            _ => advice(question, name),
        },
    })
    .collect();
    let remedies: Vec<&str> = parts.iter().filter_map(|part| part.remedy.as_deref()).collect();
    let outcome = Tri::all(parts.iter().map(|part| part.outcome.into()));
    let missing: Vec<&str> = parts
        .iter()
        .filter(|part| part.outcome != Outcome::Pass)
        .map(|part| part.part.as_str())
        .collect();
    let message = match outcome {
        Tri::True => format!("{role} can be CDK's kubectlRoleArn for {}", question.cluster),
        Tri::False => format!(
            "{role} cannot be CDK's kubectlRoleArn for {} as things are: {}",
            question.cluster,
            missing.join(", ")
        ),
        Tri::Unknown => format!(
            "unknown whether {role} can be CDK's kubectlRoleArn for {}: {}",
            question.cluster,
            missing.join(", ")
        ),
    };
    CdkAnswer {
        outcome: outcome.into(),
        message,
        line: format!("kubectlRoleArn: {},", quoted(&role.to_string())),
        stack: stack(question),
        remedy: (!remedies.is_empty()).then(|| remedies.join(" ")),
        parts,
    }
}

fn stack(question: &CdkQuestion<'_>) -> String {
    let mut out = format!(
        "const cluster = eks.Cluster.fromClusterAttributes(this, 'Cluster', {{\n  clusterName: {},\n  kubectlRoleArn: {},\n",
        quoted(question.cluster),
        quoted(&question.role_arn.to_string())
    );
    // A Lambda function runs as a role; a person who asks about themselves is not the handler.
    if let Some(who @ iam_policy::arn::PrincipalArn::Role(_)) = question.handler.known().map(|one| &one.arn) {
        out.push_str(&format!(
            "  kubectlLambdaRole: iam.Role.fromRoleArn(this, 'KubectlHandlerRole', {}),\n",
            quoted(&who.arn().to_string())
        ));
    }
    out.push_str("});\n");
    out
}

/// What to do about one part, where it is not good.
fn advice(question: &CdkQuestion<'_>, part: &str) -> Option<String> {
    let role = question.role_arn;
    match part {
        "mapped" => Some(match question.mapping {
            Mapping::Unread { .. } => "Allow the mapping to be read (see the message).".to_owned(),
            _ => format!(
                "Map it. Where the cluster uses access entries: an entry for {role} of type STANDARD, and AmazonEKSClusterAdminPolicy \
                 with cluster scope. In aws-auth: its ARN without the path, and the group system:masters."
            ),
        }),
        "trusted" => Some(match question.handler {
            Requester::SomeRole { .. } if question.trust.outcome == Outcome::Unknown => {
                "CDK makes the handler's role at deployment, so no policy can name it before. Make a role for the handler \
                 yourself (trusted by lambda.amazonaws.com), give it to the cluster as kubectlLambdaRole, name it in the trust \
                 policy, and ask again with --principal."
                    .to_owned()
            }
            Requester::SomeRole { .. } => {
                "The trust policy names no principal that CDK's handler could be. Make a role for the handler yourself (trusted by \
                 lambda.amazonaws.com), give it to the cluster as kubectlLambdaRole, name it in the trust policy, and ask again \
                 with --principal. Trusting the whole account works too, and admits everyone there whose own policies allow \
                 it (CVE-2023-35165)."
                    .to_owned()
            }
            _ => question
                .trust
                .remedy
                .as_ref()
                .map_or_else(|| "Lift what could not be read.".to_owned(), |remedy| remedy.text.clone()),
        }),
        _ => question
            .cluster_account
            .map(|_| "Use a role of the cluster's account.".to_owned()),
    }
}
