//! What the checks of the service-linked role AWSServiceRoleForEC2Spot share: the account, and what makes it that role.

use std::fmt;

use crate::facts::Facts;
use crate::model::{Command, Role, SPOT_ROLE_PATH};
use iam_policy::arn::Arn;
use iam_policy::document::PolicyDocument;
use iam_policy::evaluate::{ASSUME_ROLE, Request, admitted, evaluate};
use iam_policy::kleene::Tri;
use iam_policy::principal::Requester;

/// The one principal that may assume it, the same in every partition.
const SERVICE: &str = "spot.amazonaws.com";
/// The managed policy's name with its path.
const POLICY: &str = "aws-service-role/AWSEC2SpotServiceRolePolicy";

/// The commands that create the role. Our own verifies the cluster's account, so that it needs a cluster.
pub(super) fn create_commands(facts: &Facts) -> Vec<Command> {
    let target = &facts.target;
    let ours = (!facts.ask.account_only).then(|| target.capt_spot(&["create-role"]));
    let theirs = target.aws(&["iam", "create-service-linked-role", "--aws-service-name", SERVICE]);
    ours.into_iter().chain([theirs]).collect()
}

/// The account the facts about roles are about.
pub(super) fn account(facts: &Facts) -> &str {
    facts
        .caller
        .known()
        .map_or("(unknown account)", |caller| caller.account.as_str())
}

/// When the cluster could not be read and nothing else names its account: the credentials' account may be another one.
pub(super) fn account_not_confirmed(facts: &Facts) -> Option<String> {
    if facts.ask.account_only {
        return None;
    }
    let unknown = facts.cluster.observed.unknown()?;
    let same_by_kubeconfig = match (&facts.target.account, facts.caller.known()) {
        (Some(account), Some(caller)) => *account == caller.account,
        _ => false,
    };
    (!same_by_kubeconfig).then(|| {
        format!(
            "whether account {} is the cluster's could not be read: {unknown}",
            account(facts)
        )
    })
}

/// A way in which a role of that name is not the service-linked role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Defect {
    /// Another path: an ordinary role of that name.
    Path(String),
    /// EC2 Spot may not assume it.
    Trust {
        /// Who may.
        admits: Vec<String>,
    },
    /// The managed policy is not attached.
    Policy {
        /// What is.
        attached: Vec<String>,
    },
    /// What was read does not tell: a trust policy that can't be understood, an answer that contradicts itself.
    Unclear(String),
}

impl Defect {
    /// `ROLE ... the service-linked role`.
    pub(crate) fn verb(&self) -> &'static str {
        match self {
            Self::Unclear(_) => "may not be",
            _ => "is not",
        }
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |items: &[String], none: &str| match items {
            [] => none.to_owned(),
            items => items.join(", "),
        };
        match self {
            Self::Path(path) => write!(f, "its path is {path}, not {SPOT_ROLE_PATH}"),
            Self::Trust { admits } => write!(
                f,
                "its trust policy admits {}, not the service {SERVICE}",
                list(admits, "no one")
            ),
            Self::Policy { attached } => write!(
                f,
                "the policy AWSEC2SpotServiceRolePolicy is not attached ({} is)",
                list(attached, "nothing")
            ),
            Self::Unclear(why) => f.write_str(why),
        }
    }
}

/// Everything that is wrong with a role of the name; empty when it is the service-linked role. `policies` none: not read.
/// A name proves nothing: path, trust and policy do.
pub(crate) fn defects(role: &Role, policies: Option<&[String]>) -> Vec<Defect> {
    let mut found = Vec::new();
    let arn = role.arn.parse::<Arn>().ok();
    let same_path = arn.as_ref().and_then(Arn::path) == Some(role.path.as_str());
    if role.path != SPOT_ROLE_PATH {
        found.push(if same_path {
            Defect::Path(role.path.clone())
        } else {
            contradiction(role)
        });
    } else if !same_path {
        found.push(contradiction(role));
    }
    found.extend(arn.and_then(|arn| trust_defect(&arn, &role.trust)));
    if let Some(policies) = policies
        && !policies
            .iter()
            .any(|arn| arn.ends_with(&format!(":iam::aws:policy/{POLICY}")))
    {
        found.push(Defect::Policy {
            attached: policies.to_vec(),
        });
    }
    found
}

fn contradiction(role: &Role) -> Defect {
    Defect::Unclear(format!(
        "IAM's answer contradicts itself: the path {}, the ARN {}",
        role.path, role.arn
    ))
}

fn trust_defect(role: &Arn, trust: &str) -> Option<Defect> {
    let document = match PolicyDocument::parse(trust) {
        Ok(document) => document,
        Err(error) => {
            return Some(Defect::Unclear(format!(
                "its trust policy could not be understood: {error}"
            )));
        }
    };
    let request = Request {
        requester: &Requester::Service(SERVICE.to_owned()),
        action: ASSUME_ROLE,
        resource: role,
        context: &|_| None,
    };
    let decision = evaluate(&document, &request);
    match decision.verdict {
        Tri::True => None,
        Tri::Unknown => Some(Defect::Unclear(format!(
            "unknown whether its trust policy admits the service {SERVICE}: {}",
            decision.unknown().join("; ")
        ))),
        Tri::False => {
            let who = admitted(&document, role, "");
            Some(Defect::Trust {
                admits: who.iter().map(|one| one.who.to_string()).collect(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fixture::spot_role;

    fn texts(change: impl FnOnce(&mut Role), policies: Option<&[String]>) -> Vec<String> {
        let mut role = spot_role();
        change(&mut role);
        defects(&role, policies).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_real_one_in_every_shape_that_iam_sends() {
        let encode = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
        };
        for partition in ["aws", "aws-cn", "aws-us-gov"] {
            let policy = [format!("arn:{partition}:iam::aws:policy/{POLICY}")];
            let there =
                |role: &mut Role| role.arn = role.arn.replace("arn:aws:", &format!("arn:{partition}:"));
            assert_eq!(texts(there, Some(&policy)), [""; 0]);
            assert_eq!(
                texts(|role| role.trust = encode(&role.trust), Some(&policy)),
                [""; 0]
            );
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let deny = r#",{"Effect":"Deny","Principal":{"Service":"spot.amazonaws.com"},"Action":"sts:*"}]}"#;
        let odd_deny = r#",{"Effect":"Deny","Principal":"spot.amazonaws.com","Action":"sts:*"}]}"#;
        let all = [
            texts(
                |role| {
                    role.path = "/".to_owned();
                    role.arn = role.arn.replace("aws-service-role/spot.amazonaws.com/", "");
                },
                None,
            ),
            texts(|role| role.path = "/".to_owned(), None),
            texts(|role| role.trust = role.trust.replace("spot.", "ec2."), None),
            texts(|role| role.trust = role.trust.replace("Allow", "Deny"), None),
            texts(|role| role.trust = role.trust.replace("]}", deny), None),
            texts(|role| role.trust = role.trust.replace("]}", odd_deny), None),
            texts(|role| role.trust = String::new(), None),
            texts(
                |role| {
                    role.trust = role
                        .trust
                        .replace("{\"Effect\"", "{\"Effect\":\"Deny\",\"Effect\"")
                },
                None,
            ),
            texts(|_| {}, Some(&[])),
        ];
        insta::assert_snapshot!(all.concat().join("\n"));
    }
}
