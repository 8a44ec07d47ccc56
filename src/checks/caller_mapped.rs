//! Whether the caller may install: who the cluster takes it for.

use serde_json::json;

use super::mapping_fix::{Want, mapping_fix};
use super::node_mapping::mappings;
use super::{Check, Group, Judgement, lost_cluster, never};
use crate::aws::token::AWS_CLI_SESSION_NAME;
use crate::facts::Facts;
use crate::model::{Language, Observed, Why};
use eks_aws_auth::{Caller, Existence, Outcome, decide};

pub(crate) static CALLER_MAPPED: Check = Check {
    id: "caller-mapped",
    group: Group::HelmAccess,
    title: "The cluster knows you",
    needed: never,
    judge: caller_mapped,
};

fn caller_mapped(facts: &Facts) -> Judgement {
    if let Some(reason) = lost_cluster(facts) {
        return Judgement::ground_lost(reason);
    }
    let unknown = match &facts.kubernetes_user.observed {
        Observed::Known(user) => {
            return Judgement::pass(format!(
                "the cluster authenticates you as {} ({})",
                user.username,
                user.groups.join(", ")
            ))
            .evidence("username", user.username.as_str())
            .evidence("groups", json!(user.groups))
            .from(&facts.kubernetes_user);
        }
        Observed::Absent => {
            return Judgement::undecided("the cluster names no user")
                .headline("Whom the cluster authenticates you as is not known")
                .from(&facts.kubernetes_user);
        }
        Observed::Unknown(unknown) => unknown,
    };
    if unknown.why != Why::TokenRefused {
        return Judgement::unknown("whom the cluster authenticates you as", unknown)
            .from(&facts.kubernetes_user);
    }
    // The token is the exec entry's role's, where it names one.
    let principal = match (&facts.target.role_arn, facts.caller.known()) {
        (Some(role), _) => Caller::of_role(role, Some(AWS_CLI_SESSION_NAME)),
        (None, Some(caller)) => Caller::parse(&caller.arn),
        (None, None) => return Judgement::unknown("who the caller is", unknown).from(&facts.kubernetes_user),
    };
    let arn = facts
        .target
        .role_arn
        .clone()
        .or_else(|| facts.caller.known().map(|caller| caller.arn.clone()))
        .unwrap_or_default();
    let mappings = mappings(facts);
    // A token that is refused can't read aws-auth either: what could not be read is not absent.
    let unread = mappings
        .as_ref()
        .is_some_and(|mappings| mappings.unread.is_some());
    let mut maybe_mapped = false;
    let reason = match (&principal, mappings) {
        (Ok(caller), Some(mappings)) => {
            let decision = decide(&mappings.cluster(), caller, Existence::Unknown);
            match decision.outcome {
                // The mapping looks right and the token is refused all the same: it has expired, or is another cluster's.
                Outcome::Mapped => format!(
                    "although {}; the token may have expired or be another cluster's",
                    decision.reason
                ),
                Outcome::NotMapped if unread => {
                    maybe_mapped = true;
                    format!(
                        "{} could not be read with it; either nothing there maps {arn}, or the token has \
                         expired or is another cluster's",
                        mappings.unread_what().join(" and ")
                    )
                }
                _ => decision.reason,
            }
        }
        (Err(error), _) => error.to_string(),
        (Ok(_), None) => "its mappings could not be read".to_owned(),
    };
    let mapped_arn = facts
        .caller_role
        .known()
        .map_or(arn.as_str(), |role| role.arn.as_str());
    let mapped_arn = facts.target.role_arn.as_deref().unwrap_or(mapped_arn);
    let mode = facts.cluster.known().map(|cluster| cluster.authentication_mode);
    let judgement = Judgement::fail(format!("the cluster does not admit {arn} (401): {reason}"))
        .headline("The cluster does not accept your identity");
    match mode {
        Some(mode) => {
            let fix = mapping_fix(&facts.target, mode, mapped_arn, Want::Admin);
            let condition = if maybe_mapped {
                "Ask somebody who has access to look; if it is not mapped"
            } else {
                "Ask somebody who has access"
            };
            let judgement = judgement.fix(format!("{condition}: {}", fix.text), fix.commands);
            match fix.entry {
                Some(entry) => judgement.snippet(Language::Yaml, entry),
                None => judgement,
            }
        }
        None => judgement,
    }
    .from(&facts.kubernetes_user)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::told_of;
    use crate::facts::fixture::{absent, denied, healthy, known_cluster};
    use crate::model::{Fact, Unknown};
    use eks_aws_auth::AuthenticationMode;

    fn refused(facts: &mut Facts) {
        let unknown = Unknown::new(Why::TokenRefused, "the cluster does not accept the token (401)");
        facts.kubernetes_user = Fact::new("create selfsubjectreviews", Observed::Unknown(unknown));
    }

    #[test]
    fn a_refused_token_is_explained_by_the_mappings() {
        insta::assert_snapshot!(told_of(
            healthy,
            caller_mapped,
            &[
                ("the cluster knows the caller", |_| {}),
                ("no user in the answer", |f| f.kubernetes_user = absent("x")),
                ("not allowed to ask", |f| f.kubernetes_user =
                    denied("create selfsubjectreviews")),
                ("refused although mapped", refused),
                // As in life, where the refused token can't read aws-auth either.
                ("refused, aws-auth not readable", |f| {
                    refused(f);
                    f.aws_auth = denied("get configmaps/aws-auth in kube-system");
                }),
                ("refused and not mapped", |f| {
                    refused(f);
                    f.aws_auth = absent("get configmaps/aws-auth in kube-system");
                }),
                ("refused and not mapped, access entries", |f| {
                    refused(f);
                    f.aws_auth = absent("get configmaps/aws-auth in kube-system");
                    known_cluster(f).authentication_mode = AuthenticationMode::Api;
                }),
                ("the token is another role's", |f| {
                    refused(f);
                    f.target.role_arn = Some("arn:aws:iam::111122223333:role/Deploy".to_owned());
                }),
                ("refused, the caller is not known", |f| {
                    refused(f);
                    f.caller = denied("sts:GetCallerIdentity");
                }),
                ("refused, the mode is not known", |f| {
                    refused(f);
                    f.cluster = denied("eks:DescribeCluster");
                }),
            ]
        ));
    }
}
