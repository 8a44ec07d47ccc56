//! The ConfigMap kube-system/aws-auth, as it is.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Reading;
use crate::kube::{Api, Resource};
use crate::model::Fact;
use eks_aws_auth::{self, VALIDATION_WEBHOOK};

/// The ConfigMap's data and who wrote it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AwsAuth {
    /// `data`, every key as it is.
    data: BTreeMap<String, String>,
    /// The field managers that wrote it, with the time: `eks 2026-01-02T03:04:05Z`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub managers: Vec<String>,
    /// What the authenticator makes of `data`, taken in once: several checks look at it, and it may have a MiB.
    #[serde(skip)]
    taken_in: OnceLock<Arc<eks_aws_auth::AwsAuth>>,
}

impl PartialEq for AwsAuth {
    fn eq(&self, other: &Self) -> bool {
        (&self.data, &self.managers) == (&other.data, &other.managers)
    }
}

impl Eq for AwsAuth {}

impl AwsAuth {
    /// From the ConfigMap's `data` and the field managers that wrote it.
    pub fn new(data: BTreeMap<String, String>, managers: Vec<String>) -> Self {
        Self {
            data,
            managers,
            taken_in: OnceLock::new(),
        }
    }

    /// What the authenticator makes of it.
    pub fn taken_in(&self) -> &eks_aws_auth::AwsAuth {
        self.taken_in
            .get_or_init(|| Arc::new(eks_aws_auth::AwsAuth::parse(&self.data)))
    }
}

const CONFIG_MAP: Resource<'static> = Resource::core("ConfigMap", "configmaps").within("kube-system");

/// The name of the call that reads the ConfigMap.
pub fn call() -> String {
    CONFIG_MAP.named("aws-auth")
}

pub async fn read(api: &Api) -> Fact<AwsAuth> {
    api.get(&CONFIG_MAP, "aws-auth", parse).await
}

/// EKS's webhook that checks changes of aws-auth. What it refuses is not published, and it has never looked at what was
/// there before it: seeing it says what may be refused when aws-auth is saved, and nothing about what is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {}

const WEBHOOKS: Resource<'static> = Resource::new(
    "admissionregistration.k8s.io",
    "v1",
    "ValidatingWebhookConfiguration",
    "validatingwebhookconfigurations",
);

/// The name of the call that looks for the webhook.
pub fn webhook_call() -> String {
    WEBHOOKS.named(VALIDATION_WEBHOOK)
}

/// Looks whether the webhook is there.
pub async fn webhook(api: &Api) -> Fact<Webhook> {
    api.get(&WEBHOOKS, VALIDATION_WEBHOOK, |_| Ok(Webhook {})).await
}

pub(super) async fn validation_webhook(read: &Reading<'_>) -> Fact<Webhook> {
    read.of_api(webhook_call(), webhook).await
}

fn parse(value: &Value) -> Result<AwsAuth, String> {
    let data = match value.get("data") {
        None | Some(Value::Null) => BTreeMap::new(),
        Some(Value::Object(data)) => data
            .iter()
            .map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect::<Option<_>>()
            .ok_or("has data that is not text")?,
        Some(_) => return Err("has data that is not a map".to_owned()),
    };
    let managers = value
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|field| {
            let manager = field.get("manager")?.as_str()?;
            let time = field
                .get("time")
                .and_then(Value::as_str)
                .unwrap_or("at an unknown time");
            Some(format!("{manager} {time}"))
        })
        .take(20)
        .collect();
    Ok(AwsAuth::new(data, managers))
}
