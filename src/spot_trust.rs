//! Is a role of the name AWSServiceRoleForEC2Spot the service-linked role? By path, trust and policy, not by name. Pure.
//!
//! Facts: EC2 user guide, "Service-linked role for Spot Instance requests"; the same service principal in every partition.

use std::fmt;

use iam_policy::document::{Effect, PolicyDocument, Principal, Who};

/// The path of the role.
pub const PATH: &str = "/aws-service-role/spot.amazonaws.com/";
/// The managed policy's name with its path.
const POLICY: &str = "aws-service-role/AWSEC2SpotServiceRolePolicy";
/// The one principal that may assume it.
const PRINCIPAL: &str = "spot.amazonaws.com";

/// What is looked at.
#[derive(Debug, Clone, Copy)]
pub struct RoleFacts<'a> {
    /// Full ARN.
    pub arn: &'a str,
    /// Path.
    pub path: &'a str,
    /// The trust policy, URL-encoded or not.
    pub trust: &'a str,
    /// ARNs of the attached policies; none: not read.
    pub policies: Option<&'a [String]>,
}

/// A way in which a role is not the service-linked role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Defect {
    /// Another path: an ordinary role of that name.
    Path(String),
    /// The trust policy is not JSON.
    TrustUnreadable,
    /// EC2 Spot may not assume it.
    Trust {
        /// Who may, as far as it says.
        principals: Vec<String>,
    },
    /// The managed policy is not attached.
    Policy {
        /// What is.
        attached: Vec<String>,
    },
}

impl Defect {
    /// Whether this is another role altogether, and not the right one damaged.
    pub fn is_impostor(&self) -> bool {
        matches!(self, Self::Path(_))
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |items: &[String]| {
            if items.is_empty() {
                "nobody".to_owned()
            } else {
                items.join(", ")
            }
        };
        match self {
            Self::Path(path) => write!(f, "its path is {path}, not {PATH}"),
            Self::TrustUnreadable => f.write_str("its trust policy could not be understood"),
            Self::Trust { principals } => {
                write!(
                    f,
                    "its trust policy lets {} assume it, not the service {PRINCIPAL}",
                    list(principals)
                )
            }
            Self::Policy { attached } => {
                let attached = if attached.is_empty() {
                    "nothing".to_owned()
                } else {
                    attached.join(", ")
                };
                write!(
                    f,
                    "the policy AWSEC2SpotServiceRolePolicy is not attached ({attached} is)"
                )
            }
        }
    }
}

/// Everything that is wrong with it; empty when it is the service-linked role.
pub fn defects(role: &RoleFacts<'_>) -> Vec<Defect> {
    let mut found = Vec::new();
    if role.path != PATH || !role.arn.contains(&format!(":role{PATH}")) {
        found.push(Defect::Path(role.path.to_owned()));
    }
    match trusted_services(role.trust) {
        None => found.push(Defect::TrustUnreadable),
        Some((services, _)) if services.iter().any(|service| service == PRINCIPAL) => {}
        Some((_, all)) => found.push(Defect::Trust { principals: all }),
    }
    if let Some(policies) = role.policies
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

/// (services that may sts:AssumeRole, everybody who may), by the Allow statements that no Deny takes back.
fn trusted_services(document: &str) -> Option<(Vec<String>, Vec<String>)> {
    let document = PolicyDocument::parse(document).ok()?;
    let about_assuming = |effect: Effect| {
        document
            .statements
            .iter()
            .filter(move |one| {
                one.effect == Some(effect) && one.actions.has_action("sts:AssumeRole") == Some(true)
            })
            .filter_map(|one| match &one.who {
                Who::Principal(who) => Some(who),
                Who::NotPrincipal(_) | Who::Unsaid => None,
            })
            .flatten()
    };
    let denied: Vec<&Principal> = about_assuming(Effect::Deny).collect();
    let (mut services, mut all) = (Vec::new(), Vec::new());
    for who in about_assuming(Effect::Allow) {
        if denied.contains(&who) || denied.contains(&&Principal::Anyone) {
            continue;
        }
        match who {
            Principal::Service(name) => {
                services.push(name.clone());
                all.push(name.clone());
            }
            Principal::Anyone => all.push("*".to_owned()),
            Principal::Aws(name) | Principal::Federated(name) | Principal::CanonicalUser(name) => {
                all.push(name.clone())
            }
            Principal::Other { value, .. } => all.push(value.clone()),
        }
    }
    Some((services, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str =
        "arn:aws:iam::111122223333:role/aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot";
    const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"spot.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

    fn texts(arn: &str, path: &str, trust: &str, policies: Option<&[String]>) -> Vec<String> {
        defects(&RoleFacts {
            arn,
            path,
            trust,
            policies,
        })
        .iter()
        .map(ToString::to_string)
        .collect()
    }

    #[test]
    fn the_real_one_in_every_shape_that_iam_sends() {
        let policy = ["arn:aws:iam::aws:policy/aws-service-role/AWSEC2SpotServiceRolePolicy".to_owned()];
        let encoded =
            percent_encoding::utf8_percent_encode(TRUST, percent_encoding::NON_ALPHANUMERIC).to_string();
        for trust in [TRUST, &encoded] {
            assert_eq!(texts(ARN, PATH, trust, Some(&policy)), Vec::<String>::new());
            assert_eq!(texts(ARN, PATH, trust, None), Vec::<String>::new());
        }
        let china = ["arn:aws-cn:iam::aws:policy/aws-service-role/AWSEC2SpotServiceRolePolicy".to_owned()];
        assert!(texts(&ARN.replace("arn:aws:", "arn:aws-cn:"), PATH, TRUST, Some(&china)).is_empty());
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(
            texts(
                "arn:aws:iam::111122223333:role/AWSServiceRoleForEC2Spot",
                "/",
                TRUST,
                None
            ),
            ["its path is /, not /aws-service-role/spot.amazonaws.com/"]
        );
        let ec2 = TRUST.replace("spot.amazonaws.com", "ec2.amazonaws.com");
        assert_eq!(
            texts(ARN, PATH, &ec2, None),
            ["its trust policy lets ec2.amazonaws.com assume it, not the service spot.amazonaws.com"]
        );
        assert_eq!(
            texts(ARN, PATH, "", None),
            ["its trust policy could not be understood"]
        );
        assert_eq!(
            texts(ARN, PATH, TRUST, Some(&[])),
            ["the policy AWSEC2SpotServiceRolePolicy is not attached (nothing is)"]
        );
        let both = TRUST.replace(
            "]}",
            r#",{"Effect":"Deny","Principal":{"Service":"spot.amazonaws.com"},"Action":"sts:*"}]}"#,
        );
        assert_eq!(
            texts(ARN, PATH, &both, None),
            ["its trust policy lets nobody assume it, not the service spot.amazonaws.com"]
        );
        let deny = TRUST.replace("Allow", "Deny");
        assert_eq!(
            texts(ARN, PATH, &deny, None),
            ["its trust policy lets nobody assume it, not the service spot.amazonaws.com"]
        );
    }
}
