//! Service Quotas.

use serde_json::{Value, json};

use super::{Aws, Caller, Operation, amz_json_error, page};
use crate::http::{Answer, Reply};
use crate::world::{Quota, World};

pub(super) fn answer(world: &World, caller: &Caller, operation: &Operation) -> Answer {
    let account = &world.accounts[caller.account];
    let service = operation.parameter("ServiceCode").unwrap_or_default();
    let region = &caller.region;
    let arn = |code: &str| {
        format!(
            "arn:{}:servicequotas:{region}:{}:{service}/{code}",
            account.partition, account.id
        )
    };
    let here: Vec<&Quota> = account
        .quotas
        .iter()
        .filter(|quota| quota.region == *region && quota.service == service)
        .collect();
    let show = |quota: &Quota, value: f64, applied: bool| {
        json!({
            "ServiceCode": quota.service,
            "ServiceName": if quota.service == "ec2" { "Amazon Elastic Compute Cloud (Amazon EC2)" } else { &quota.service },
            "QuotaArn": if applied { arn(&quota.code) } else {
                format!("arn:{}:servicequotas:{region}::{service}/{}", account.partition, quota.code)
            },
            "QuotaCode": quota.code,
            "QuotaName": quota.name,
            "Value": value,
            "Unit": "None",
            "Adjustable": true,
            "GlobalQuota": false,
            "UsageMetric": {
                "MetricNamespace": "AWS/Usage",
                "MetricName": "ResourceCount",
                "MetricDimensions": { "Class": "Standard/Spot", "Resource": "vCPU", "Service": "EC2", "Type": "Resource" },
                "MetricStatisticRecommendation": "Maximum",
            },
            "QuotaAppliedAtLevel": "ACCOUNT",
        })
    };
    let one = || {
        let code = operation.parameter("QuotaCode").unwrap_or_default();
        here.iter()
            .find(|quota| quota.code == code)
            .copied()
            .ok_or_else(no_such_resource)
    };
    let action = operation.action();
    match operation.name.as_str() {
        "GetServiceQuota" => {
            caller.may(
                Aws::Quotas,
                &action,
                &arn(operation.parameter("QuotaCode").unwrap_or_default()),
            )?;
            let quota = one()?;
            ok(&json!({ "Quota": show(quota, quota.value.unwrap_or(quota.default), true) }))
        }
        "GetAWSDefaultServiceQuota" => {
            caller.may(
                Aws::Quotas,
                &action,
                &arn(operation.parameter("QuotaCode").unwrap_or_default()),
            )?;
            let quota = one()?;
            ok(&json!({ "Quota": show(quota, quota.default, false) }))
        }
        "ListServiceQuotas" => {
            caller.may(Aws::Quotas, &action, "*")?;
            if here.is_empty() {
                return Err(no_such_resource());
            }
            let wanted = operation
                .json
                .get("MaxResults")
                .and_then(Value::as_u64)
                .unwrap_or(100);
            let size = usize::try_from(wanted).unwrap_or(usize::MAX).min(world.page_size);
            let (some, next) = page(&here, operation.parameter("NextToken"), size).ok_or_else(|| {
                amz_json_error(
                    400,
                    "InvalidPaginationTokenException",
                    "The pagination token is invalid.",
                )
            })?;
            let quotas: Vec<_> = some
                .iter()
                .map(|q| show(q, q.value.unwrap_or(q.default), true))
                .collect();
            let mut out = json!({ "Quotas": quotas });
            if let Some(next) = next {
                out["NextToken"] = json!(next);
            }
            ok(&out)
        }
        other => Err(amz_json_error(
            400,
            "UnknownOperationException",
            &format!("Unknown operation {other}"),
        )),
    }
}

fn ok(value: &Value) -> Answer {
    Ok(Reply::new(200, "application/x-amz-json-1.1", value.to_string()))
}

fn no_such_resource() -> Reply {
    amz_json_error(
        400,
        "NoSuchResourceException",
        "The request failed because the specified service or quota does not exist.",
    )
}
