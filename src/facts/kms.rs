//! The KMS keys that node classes name for their volumes (KMS).

use aws_sdk_kms::types::KeyManagerType;
use futures_util::{future, join};
use serde::{Deserialize, Serialize};

use super::{Reading, quotas};
use crate::aws::{Question, Session};
use crate::karpenter::launch_paths::LaunchPaths;
use crate::model::Fact;

/// Most keys that are looked at.
const MOST: usize = 20;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KmsKey {
    /// As the classes name it: an id, an ARN, or an alias.
    pub given: String,
    pub classes: Vec<String>,
    pub key: Fact<KeyState>,
    /// Its policy, JSON.
    pub policy: Fact<String>,
    pub grants: Fact<Vec<KeyGrant>>,
}

/// What DescribeKey says of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyState {
    pub arn: String,
    /// `Enabled`, `Disabled`, `PendingDeletion`, ...
    pub state: String,
    /// AWS manages it (`aws/ebs`): everybody in the account may use it through EC2.
    pub aws_managed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyGrant {
    /// Who has it.
    pub grantee: String,
    /// `Decrypt`, `CreateGrant`, ...
    pub operations: Vec<String>,
}

/// The keys that the classes in use name.
fn named(paths: &LaunchPaths<'_>) -> Vec<(String, Vec<String>)> {
    let mut keys: Vec<(String, Vec<String>)> = Vec::new();
    for (class, _) in paths.used_classes() {
        for key in &class.kms_keys {
            match keys.iter_mut().find(|(known, _)| known == key) {
                Some((_, classes)) => classes.push(class.name.clone()),
                None => keys.push((key.clone(), vec![class.name.clone()])),
            }
        }
    }
    keys.truncate(MOST);
    keys
}

pub(super) async fn read(read: &Reading<'_>) -> Vec<KmsKey> {
    let keys = named(&read.launch_paths().await);
    // Advisory, and from a private network there is often no way to KMS: it does not hold up the others.
    let session = read.session.with_request_timeout(quotas::PATIENCE);
    let all = keys
        .into_iter()
        .map(|(given, classes)| key(&session, given, classes));
    future::join_all(all).await
}

async fn key(session: &Session, given: String, classes: Vec<String>) -> KmsKey {
    let key = describe(session, &given).await;
    let (policy, grants) = match key.known() {
        Some(state) if !state.aws_managed => join!(policy(session, &state.arn), grants(session, &state.arn)),
        state => {
            let why = match state {
                Some(_) => "AWS manages the key",
                None => "the key is not known",
            };
            (
                Fact::not_asked("kms:GetKeyPolicy", why),
                Fact::not_asked("kms:ListGrants", why),
            )
        }
    };
    KmsKey {
        given,
        classes,
        key,
        policy,
        grants,
    }
}

fn question(session: &Session, action: &str, key: &str) -> Question {
    let resource = match key.starts_with("arn:") && key.contains(":key/") {
        true => key.to_owned(),
        false => format!("arn:{}:kms:{}:*:key/*", session.partition(), session.region),
    };
    Question::new(action, key, resource).of_account("")
}

async fn describe(session: &Session, given: &str) -> Fact<KeyState> {
    let kms = session.kms();
    let question = question(session, "kms:DescribeKey", given);
    session
        .ask(
            &question,
            &["KeyMetadata.Arn", "KeyMetadata.KeyState"],
            || kms.describe_key().key_id(given).send(),
            |answer| {
                let found = answer.key_metadata.ok_or("holds no key")?;
                Ok(KeyState {
                    arn: found.arn.ok_or("holds no ARN")?,
                    state: found.key_state.ok_or("holds no state")?.as_str().to_owned(),
                    aws_managed: found.key_manager == Some(KeyManagerType::Aws),
                })
            },
        )
        .await
}

async fn policy(session: &Session, arn: &str) -> Fact<String> {
    let kms = session.kms();
    session
        .ask(
            &question(session, "kms:GetKeyPolicy", arn),
            &["Policy"],
            || kms.get_key_policy().key_id(arn).policy_name("default").send(),
            |answer| Ok(answer.policy.ok_or("holds no policy")?),
        )
        .await
}

async fn grants(session: &Session, arn: &str) -> Fact<Vec<KeyGrant>> {
    let kms = session.kms();
    session
        .list(
            &question(session, "kms:ListGrants", arn),
            "Grants",
            |marker| kms.list_grants().key_id(arn).set_marker(marker).send(),
            |answer| {
                let grants = answer
                    .grants
                    .unwrap_or_default()
                    .into_iter()
                    .map(|grant| KeyGrant {
                        grantee: grant.grantee_principal.unwrap_or_default(),
                        operations: grant
                            .operations
                            .unwrap_or_default()
                            .iter()
                            .map(|operation| operation.as_str().to_owned())
                            .collect(),
                    });
                Ok((grants.collect(), answer.next_marker.filter(|_| answer.truncated)))
            },
        )
        .await
}
