//! The KMS keys that node classes name for their volumes (KMS).

use aws_sdk_kms::types::KeyManagerType;
use futures_util::{future, join};
use serde::{Deserialize, Serialize};

use super::{Aws, quotas};
use crate::karpenter::launch_paths::LaunchPaths;
use crate::model::{Fact, Grant, Observed, Unknown, Why};

/// Most keys that are looked at.
const MOST: usize = 20;
/// Most pages of a key's grants.
const MOST_PAGES: usize = 50;

/// One key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KmsKey {
    /// As the classes name it: an id, an ARN, or an alias.
    pub given: String,
    /// The classes that name it.
    pub classes: Vec<String>,
    /// It.
    pub key: Fact<KeyState>,
    /// Its policy, JSON.
    pub policy: Fact<String>,
    /// Its grants.
    pub grants: Fact<Vec<KeyGrant>>,
}

/// What DescribeKey says of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyState {
    /// Its ARN.
    pub arn: String,
    /// `Enabled`, `Disabled`, `PendingDeletion`, ...
    pub state: String,
    /// AWS manages it (`aws/ebs`): everybody in the account may use it through EC2.
    pub aws_managed: bool,
}

/// One grant on a key.
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

/// Reads all of them.
pub(super) async fn read(aws: &Aws<'_>, paths: &LaunchPaths<'_>) -> Vec<KmsKey> {
    let keys = named(paths);
    if keys.is_empty() {
        return Vec::new();
    }
    // Advisory, and from a private network there is often no way to KMS: it does not hold up the others.
    let patience = aws.timeout.min(quotas::PATIENCE);
    let timeouts = aws
        .session
        .config
        .timeout_config()
        .map_or_else(aws_config::timeout::TimeoutConfig::builder, |timeouts| {
            timeouts.to_builder()
        })
        .operation_timeout(patience)
        .build();
    let config = aws_sdk_kms::config::Builder::from(&aws.session.config).timeout_config(timeouts);
    let client = aws_sdk_kms::Client::from_conf(config.build());
    let reader = Reader {
        aws,
        client,
        patience,
    };
    future::join_all(
        keys.into_iter()
            .map(|(given, classes)| reader.key(given, classes)),
    )
    .await
}

struct Reader<'a> {
    aws: &'a Aws<'a>,
    client: aws_sdk_kms::Client,
    patience: std::time::Duration,
}

impl Reader<'_> {
    fn grant(&self, action: &str, key: &str) -> Grant {
        let resource = match key.starts_with("arn:") && key.contains(":key/") {
            true => key.to_owned(),
            false => format!(
                "arn:{}:kms:{}:*:key/*",
                self.aws.target.partition, self.aws.target.region
            ),
        };
        Grant::Iam {
            action: action.to_owned(),
            resource,
        }
    }

    async fn key(&self, given: String, classes: Vec<String>) -> KmsKey {
        let key = self.describe(&given).await;
        let (policy, grants) = match key.known() {
            Some(state) if !state.aws_managed => join!(self.policy(&state.arn), self.grants(&state.arn)),
            Some(_) => (
                Fact::not_asked("kms:GetKeyPolicy", "AWS manages the key"),
                Fact::not_asked("kms:ListGrants", "AWS manages the key"),
            ),
            None => (
                Fact::not_asked("kms:GetKeyPolicy", "the key is not known"),
                Fact::not_asked("kms:ListGrants", "the key is not known"),
            ),
        };
        KmsKey {
            given,
            classes,
            key,
            policy,
            grants,
        }
    }

    async fn describe(&self, given: &str) -> Fact<KeyState> {
        let call = format!("kms:DescribeKey {given}");
        if let Some(blocked) = self.aws.blocked(&call) {
            return blocked;
        }
        let observed = match self.client.describe_key().key_id(given).send().await {
            Ok(answer) => match answer.key_metadata {
                Some(found) if found.arn.is_some() => Observed::Known(KeyState {
                    arn: found.arn.unwrap_or_default(),
                    state: found
                        .key_state
                        .map_or_else(|| "Unknown".to_owned(), |state| state.as_str().to_owned()),
                    aws_managed: found.key_manager == Some(KeyManagerType::Aws),
                }),
                _ => Observed::Unknown(Unknown::new(
                    Why::Unusable,
                    format!("the answer to {call} holds no key"),
                )),
            },
            Err(error) => {
                let failure =
                    crate::aws::failure(&error, self.grant("kms:DescribeKey", given), self.patience);
                match failure.is_not_found() || failure.code.as_deref() == Some("NotFoundException") {
                    true => Observed::Absent,
                    false => Observed::Unknown(failure.unknown),
                }
            }
        };
        self.aws.calls.observed(&call, &observed);
        Fact::new(call, observed)
    }

    async fn policy(&self, arn: &str) -> Fact<String> {
        let call = format!("kms:GetKeyPolicy {arn}");
        let answer = self
            .client
            .get_key_policy()
            .key_id(arn)
            .policy_name("default")
            .send()
            .await;
        let observed = match answer {
            Ok(answer) => match answer.policy {
                Some(policy) => Observed::Known(policy),
                None => Observed::Unknown(Unknown::new(
                    Why::Unusable,
                    format!("the answer to {call} holds no policy"),
                )),
            },
            Err(error) => {
                let grant = self.grant("kms:GetKeyPolicy", arn);
                Observed::Unknown(crate::aws::failure(&error, grant, self.patience).unknown)
            }
        };
        self.aws.calls.observed(&call, &observed);
        Fact::new(call, observed)
    }

    async fn grants(&self, arn: &str) -> Fact<Vec<KeyGrant>> {
        let call = format!("kms:ListGrants {arn}");
        let mut found = Vec::new();
        let mut marker: Option<String> = None;
        let mut observed = None;
        for _ in 0..MOST_PAGES {
            let page = self
                .client
                .list_grants()
                .key_id(arn)
                .set_marker(marker.clone())
                .send()
                .await;
            let page = match page {
                Ok(page) => page,
                Err(error) => {
                    let grant = self.grant("kms:ListGrants", arn);
                    observed = Some(Observed::Unknown(
                        crate::aws::failure(&error, grant, self.patience).unknown,
                    ));
                    break;
                }
            };
            let Some(grants) = page.grants else {
                let text = format!("the answer to {call} holds no list");
                observed = Some(Observed::Unknown(Unknown::new(Why::Unusable, text)));
                break;
            };
            found.extend(grants.into_iter().map(|grant| {
                KeyGrant {
                    grantee: grant.grantee_principal.unwrap_or_default(),
                    operations: grant
                        .operations
                        .unwrap_or_default()
                        .iter()
                        .map(|operation| operation.as_str().to_owned())
                        .collect(),
                }
            }));
            match (page.truncated, page.next_marker) {
                (true, Some(next)) if marker.as_deref() != Some(next.as_str()) => marker = Some(next),
                (false, _) => {
                    observed = Some(Observed::Known(std::mem::take(&mut found)));
                    break;
                }
                _ => break,
            }
        }
        let observed = observed.unwrap_or_else(|| {
            Observed::Unknown(Unknown::new(
                Why::Unusable,
                format!("the answer to {call} has no end"),
            ))
        });
        self.aws.calls.observed(&call, &observed);
        Fact::new(call, observed)
    }
}
