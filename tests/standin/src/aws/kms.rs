//! KMS: keys, their policies and their grants.

use serde_json::{Value, json};

use super::{Aws, Caller, Operation, amz_json_error, page};
use crate::http::{Answer, Reply};
use crate::world::{KmsKey, World};

pub(super) fn answer(world: &World, caller: &Caller, operation: &Operation) -> Answer {
    let wanted = operation.parameter("KeyId").unwrap_or_default();
    let found = world.accounts.iter().find_map(|account| {
        let key = account.kms_keys.iter().find(|key| {
            let arn = key.arn(&account.partition, &account.id);
            let alias = key
                .alias
                .as_ref()
                .map(|alias| arn.replace(&format!("key/{}", key.id), alias));
            let own = account.id == world.accounts[caller.account].id;
            wanted == arn
                || alias.as_deref() == Some(wanted)
                || own && (wanted == key.id || key.alias.as_deref() == Some(wanted))
        })?;
        Some((account, key))
    });
    let Some((account, key)) = found else {
        let text = format!("Invalid keyId '{wanted}'");
        return Err(amz_json_error(400, "NotFoundException", &text));
    };
    let arn = key.arn(&account.partition, &account.id);
    caller.may(Aws::Kms, &operation.action(), &arn)?;
    // An alias is a name for DescribeKey and not for the others.
    if operation.name != "DescribeKey" && wanted.contains("alias/") {
        return Err(amz_json_error(
            400,
            "InvalidArnException",
            "An alias is not taken here.",
        ));
    }
    match operation.name.as_str() {
        "DescribeKey" => ok(&json!({ "KeyMetadata": metadata(key, &account.id, &arn) })),
        "GetKeyPolicy" => ok(&json!({ "PolicyName": "default", "Policy": key.policy.to_string() })),
        "ListGrants" => {
            let size = world.page_size.min(50);
            let (some, next) = page(&key.grants, operation.parameter("Marker"), size)
                .ok_or_else(|| amz_json_error(400, "InvalidMarkerException", "Invalid marker."))?;
            let mut out = json!({ "Grants": some, "Truncated": next.is_some() });
            if let Some(next) = next {
                out["NextMarker"] = json!(next);
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

fn metadata(key: &KmsKey, account: &str, arn: &str) -> Value {
    json!({
        "AWSAccountId": account,
        "KeyId": key.id,
        "Arn": arn,
        "Enabled": key.state == "Enabled",
        "KeyState": key.state,
        "KeyManager": key.manager,
        "KeyUsage": "ENCRYPT_DECRYPT",
        "KeySpec": "SYMMETRIC_DEFAULT",
        "Origin": "AWS_KMS",
        "MultiRegion": false,
    })
}

fn ok(value: &Value) -> Answer {
    Ok(Reply::new(200, "application/x-amz-json-1.1", value.to_string()))
}
