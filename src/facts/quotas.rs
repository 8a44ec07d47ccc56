//! The quotas on spot vCPUs (Service Quotas).

use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::timeout::TimeoutConfig;
use serde::{Deserialize, Serialize};

use crate::aws;
use crate::karpenter::instances::SpotQuota;
use crate::model::Calls;
use crate::model::{Fact, Grant, Observed, Unknown, Why};

/// One quota as it stands in the account and region.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuotaFact {
    /// Which.
    pub quota: SpotQuota,
    /// Its value in vCPUs.
    pub vcpus: Fact<f64>,
}

/// How long a report waits for a quota. It is advisory, and from a network without a way to Service Quotas (a private one has an
/// endpoint for it less often than for anything else here) its answer would hold up all the others.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// A client that gives up after that time.
pub fn client(config: &SdkConfig, patience: Duration) -> aws_sdk_servicequotas::Client {
    // What a connection takes stays as it is: with the same settings it is the same connector.
    let timeouts = config
        .timeout_config()
        .map_or_else(TimeoutConfig::builder, TimeoutConfig::to_builder)
        .operation_timeout(patience)
        .build();
    let config = aws_sdk_servicequotas::config::Builder::from(config).timeout_config(timeouts);
    aws_sdk_servicequotas::Client::from_conf(config.build())
}

/// The permission that reading a quota needs.
pub fn grant(partition: &str, region: &str, quota: SpotQuota) -> Grant {
    Grant::Iam {
        action: "servicequotas:GetServiceQuota".to_owned(),
        resource: format!("arn:{partition}:servicequotas:{region}:*:ec2/{}", quota.code()),
    }
}

/// The name of the call.
pub fn call(quota: SpotQuota) -> String {
    format!("servicequotas:GetServiceQuota ec2 {}", quota.code())
}

/// Reads one quota.
pub async fn get(
    client: &aws_sdk_servicequotas::Client,
    partition: &str,
    region: &str,
    quota: SpotQuota,
    patience: Duration,
    calls: &Calls,
) -> QuotaFact {
    let name = call(quota);
    let answer = client
        .get_service_quota()
        .service_code("ec2")
        .quota_code(quota.code())
        .send()
        .await;
    let observed = match answer {
        Ok(answer) => match answer.quota.and_then(|found| found.value) {
            Some(value) if value.is_finite() => Observed::Known(value),
            _ => Observed::Unknown(Unknown::new(
                Why::Unusable,
                format!("the answer to {name} holds no value"),
            )),
        },
        Err(error) => {
            let failure = aws::failure(&error, grant(partition, region, quota), patience);
            if failure.is_not_found() {
                Observed::Absent
            } else if failure.unknown.why == Why::TimedOut {
                Observed::Unknown(Unknown::new(
                    Why::TimedOut,
                    format!(
                        "no answer to {name} within {} s, and a report does not wait longer for a quota",
                        patience.as_secs_f32()
                    ),
                ))
            } else {
                Observed::Unknown(failure.unknown)
            }
        }
    };
    match &observed {
        Observed::Known(value) => calls.record(&name, format!("{value} vCPUs")),
        other => calls.observed(&name, other),
    }
    QuotaFact {
        quota,
        vcpus: Fact::new(name, observed),
    }
}
