//! The caller as the cluster sees it (SelfSubjectReview).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Reading;
use crate::kube::{Api, Resource};
use crate::model::{Fact, Observed, Unknown, Why};

/// Who the API server takes the caller for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KubernetesUser {
    pub username: String,
    /// Groups, `system:authenticated` among them.
    pub groups: Vec<String>,
    /// `extra.canonicalArn`, which EKS sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canonical_arn: Option<String>,
}

/// Every authenticated user may create this review by default (ClusterRole system:basic-user).
const REVIEW: Resource<'static> = Resource::new(
    "authentication.k8s.io",
    "v1",
    "SelfSubjectReview",
    "selfsubjectreviews",
);

pub fn call() -> String {
    REVIEW.grant("create", None).action()
}

/// Asks the API server who the caller is.
pub async fn whoami(api: &Api) -> Fact<KubernetesUser> {
    let call = call();
    let answer = api.review(&REVIEW, None).await;
    let observed = match answer {
        Ok(value) => match value.pointer("/status/userInfo/username").and_then(Value::as_str) {
            Some(username) => Observed::Known(KubernetesUser {
                username: username.to_owned(),
                groups: strings(value.pointer("/status/userInfo/groups")),
                canonical_arn: strings(value.pointer("/status/userInfo/extra/canonicalArn"))
                    .into_iter()
                    .next(),
            }),
            None => Observed::Unknown(Unknown::new(
                Why::Malformed,
                format!("the answer to {call} names no user"),
            )),
        },
        Err(unknown) => Observed::Unknown(unknown),
    };
    api.calls().observed(&call, &observed);
    Fact::new(call, observed)
}

pub(super) async fn of_caller(read: &Reading<'_>) -> Fact<KubernetesUser> {
    read.of_api(call(), whoami).await
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
