//! The caller as the cluster sees it (SelfSubjectReview).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::kube::{Api, Refusal};
use crate::model::Calls;
use crate::model::{Fact, Grant, Observed, Unknown, Why};

/// Who the API server takes the caller for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KubernetesUser {
    /// Username.
    pub username: String,
    /// Groups, `system:authenticated` among them.
    pub groups: Vec<String>,
    /// `extra.canonicalArn`, which EKS sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canonical_arn: Option<String>,
}

/// Every authenticated user may create this review by default (ClusterRole system:basic-user).
pub fn grant() -> Grant {
    Grant::Rbac {
        verb: "create".to_owned(),
        group: "authentication.k8s.io".to_owned(),
        resource: "selfsubjectreviews".to_owned(),
        namespace: None,
        name: None,
    }
}

/// Asks the API server who the caller is.
pub async fn whoami(api: &Api, calls: &Calls) -> Fact<KubernetesUser> {
    let grant = grant();
    let call = grant.action();
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let observed = match api
        .review("/apis/authentication.k8s.io/v1/selfsubjectreviews", &body, &grant)
        .await
    {
        Ok(value) => match value.pointer("/status/userInfo/username").and_then(Value::as_str) {
            Some(username) => Observed::Known(KubernetesUser {
                username: username.to_owned(),
                groups: strings(value.pointer("/status/userInfo/groups")),
                canonical_arn: strings(value.pointer("/status/userInfo/extra/canonicalArn"))
                    .into_iter()
                    .next(),
            }),
            None => Observed::Unknown(Unknown::new(
                Why::Unusable,
                "the answer to create selfsubjectreviews names no user",
            )),
        },
        Err(Refusal::NotFound | Refusal::NotInstalled | Refusal::Gone) => Observed::Unknown(Unknown::new(
            Why::Unusable,
            "the cluster does not serve SelfSubjectReview (Kubernetes before 1.28), or the server is no Kubernetes API",
        )),
        Err(Refusal::Unknown(unknown)) => Observed::Unknown(unknown),
    };
    calls.observed(&call, &observed);
    Fact::new(call, observed)
}

fn strings(value: Option<&Value>) -> Vec<String> {
    value
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}
