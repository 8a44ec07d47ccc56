//! Whether the authenticator reads all of aws-auth.

use serde_json::json;

use super::karpenter::count;
use super::mapping_fix::edit;
use super::node_mapping::{fixes, listed, mode_not_known, sentence, told_together, webhook, webhook_word};
use super::{Check, Group, Judgement, always, lost_cluster};
use crate::facts::Facts;
use crate::model::{Observed, argv};
use eks_aws_auth::{AuthenticationMode, Loss, MapKey, Problem};

pub(crate) static AWS_AUTH_PARSES: Check = Check {
    id: "aws-auth-parses",
    group: Group::NodeMapping,
    title: "aws-auth is read without loss",
    needed: always,
    judge: aws_auth_parses,
};

fn aws_auth_parses(facts: &Facts) -> Judgement {
    if let Some(reason) = lost_cluster(facts) {
        return Judgement::ground_lost(reason);
    }
    let Some(mode) = facts.cluster.known().map(|cluster| cluster.authentication_mode) else {
        return mode_not_known(facts);
    };
    if !mode.uses_aws_auth() {
        return Judgement::skip("in authentication mode API the cluster ignores aws-auth")
            .from(&facts.cluster);
    }
    let map = match &facts.aws_auth.observed {
        Observed::Known(map) => map.taken_in(),
        Observed::Absent if mode == AuthenticationMode::ConfigMap => {
            let switch = facts.target.aws(&argv(
                "eks update-cluster-config --name {} --access-config authenticationMode=API_AND_CONFIG_MAP",
                &[&facts.target.cluster],
            ));
            return Judgement::warn(
                "there is no ConfigMap kube-system/aws-auth, and in authentication mode CONFIG_MAP nothing else maps nodes",
            )
            .headline("aws-auth does not exist, and nothing else maps nodes")
            .fix(
                "Create it with the node role in it (see node-role-mapped), or let the cluster use access entries too; that cannot be \
                 undone.",
                [switch],
            )
            .from(&facts.aws_auth);
        }
        Observed::Absent => {
            return Judgement::pass("there is no ConfigMap kube-system/aws-auth; only access entries count")
                .from(&facts.aws_auth);
        }
        Observed::Unknown(unknown) => {
            return Judgement::unknown("the ConfigMap kube-system/aws-auth", unknown).from(&facts.aws_auth);
        }
    };
    let errors: Vec<&Problem> = map.errors().collect();
    let lost_keys: Vec<&str> = MapKey::ALL
        .into_iter()
        .filter(|key| errors.iter().any(|problem| problem.loss == Loss::Key(*key)))
        .map(MapKey::as_str)
        .collect();
    let judgement = if errors.is_empty() {
        Judgement::pass(format!(
            "{}, {}, {}, nothing lost",
            count(map.roles.len(), "role", "roles"),
            count(map.users.len(), "user", "users"),
            count(map.accounts.len(), "account", "accounts")
        ))
    } else {
        let message = told_together(map, &errors);
        let base = match lost_keys.as_slice() {
            [] => Judgement::warn(message).headline("aws-auth has entries that are not read"),
            keys => Judgement::fail(message).headline(format!(
                "aws-auth is broken: all of {} is lost",
                keys.join(" and ")
            )),
        };
        base.fix(
            format!("{}{}", sentence(&fixes(&errors)), webhook_word(facts)),
            [edit(&facts.target)],
        )
    };
    judgement
        .evidence("problems", listed(map, &errors))
        .evidence("lostKeys", json!(lost_keys))
        .evidence("validationWebhook", webhook(facts))
        .from(&facts.aws_auth)
        .from(&facts.validation_webhook)
}
