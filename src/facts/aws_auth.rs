//! The ConfigMap kube-system/aws-auth, as it is.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::kube::{Api, Refusal};
use crate::model::Calls;
use crate::model::{Fact, Grant, Observed, Unknown, Why};
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

/// The permission it needs.
pub fn grant() -> Grant {
    Grant::Rbac {
        verb: "get".to_owned(),
        group: String::new(),
        resource: "configmaps".to_owned(),
        namespace: Some("kube-system".to_owned()),
        name: Some("aws-auth".to_owned()),
    }
}

/// Reads the ConfigMap.
pub async fn read(api: &Api, calls: &Calls) -> Fact<AwsAuth> {
    let grant = grant();
    let call = grant.action();
    let observed = match api
        .get("/api/v1/namespaces/kube-system/configmaps/aws-auth", &grant)
        .await
    {
        Ok(value) => parse(&value),
        Err(Refusal::NotFound) => Observed::Absent,
        Err(Refusal::NotInstalled | Refusal::Gone) => Observed::Unknown(Unknown::new(
            Why::Unusable,
            format!(
                "the answer to {call} was 404 without a Kubernetes status: the server is no Kubernetes API"
            ),
        )),
        Err(Refusal::Unknown(unknown)) => Observed::Unknown(unknown),
    };
    calls.observed(&call, &observed);
    Fact::new(call, observed)
}

/// EKS's webhook that checks changes of aws-auth. What it refuses is not published, and it has never looked at what was
/// there before it: seeing it says what may be refused when aws-auth is saved, and nothing about what is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    /// `Ignore`: where it does not answer, everything is saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_policy: Option<String>,
}

/// The permission that seeing the webhook needs.
pub fn webhook_grant() -> Grant {
    Grant::Rbac {
        verb: "get".to_owned(),
        group: "admissionregistration.k8s.io".to_owned(),
        resource: "validatingwebhookconfigurations".to_owned(),
        namespace: None,
        name: Some(VALIDATION_WEBHOOK.to_owned()),
    }
}

/// Looks whether the webhook is there.
pub async fn webhook(api: &Api, calls: &Calls) -> Fact<Webhook> {
    let grant = webhook_grant();
    let call = grant.action();
    let path =
        format!("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/{VALIDATION_WEBHOOK}");
    let observed = match api.get(&path, &grant).await {
        Ok(value) if value.get("kind").and_then(Value::as_str) == Some("ValidatingWebhookConfiguration") => {
            Observed::Known(Webhook {
                failure_policy: value
                    .pointer("/webhooks/0/failurePolicy")
                    .and_then(Value::as_str)
                    .map(str::to_owned),
            })
        }
        Err(Refusal::NotFound) => Observed::Absent,
        Ok(_) | Err(Refusal::NotInstalled | Refusal::Gone) => Observed::Unknown(Unknown::new(
            Why::Unusable,
            format!("the answer to {call} is no webhook configuration"),
        )),
        Err(Refusal::Unknown(unknown)) => Observed::Unknown(unknown),
    };
    calls.observed(&call, &observed);
    Fact::new(call, observed)
}

fn parse(value: &Value) -> Observed<AwsAuth> {
    if value.get("kind").and_then(Value::as_str) != Some("ConfigMap") {
        return Observed::Unknown(Unknown::new(
            Why::Unusable,
            "the answer to get configmaps/aws-auth is no ConfigMap",
        ));
    }
    let data = match value.get("data") {
        None | Some(Value::Null) => BTreeMap::new(),
        Some(Value::Object(data)) => data
            .iter()
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect(),
        Some(_) => {
            return Observed::Unknown(Unknown::new(
                Why::Unusable,
                "the ConfigMap aws-auth has data that is no map",
            ));
        }
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
    Observed::Known(AwsAuth::new(data, managers))
}
