//! Who the credentials are (STS).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::aws;
use crate::model::Calls;
use crate::model::{Fact, Grant, Observed, Unknown, Why};

/// What `sts:GetCallerIdentity` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// `arn:aws:sts::111122223333:assumed-role/Admin/alice` or an IAM user's ARN.
    pub arn: String,
    /// Twelve digits.
    pub account: String,
    /// `AROA...:alice` or `AIDA...`; the part before the colon is the principal's id.
    pub user_id: String,
}

/// Asks who the credentials are. No permission is needed for it.
pub async fn caller(client: &aws_sdk_sts::Client, timeout: Duration, calls: &Calls) -> Fact<Caller> {
    const CALL: &str = "sts:GetCallerIdentity";
    let grant = Grant::Iam {
        action: CALL.to_owned(),
        resource: "*".to_owned(),
    };
    let observed = match client.get_caller_identity().send().await {
        Ok(answer) => match (answer.arn, answer.account) {
            (Some(arn), Some(account)) => Observed::Known(Caller {
                arn,
                account,
                user_id: answer.user_id.unwrap_or_default(),
            }),
            _ => Observed::Unknown(Unknown::new(
                Why::Unusable,
                "the answer to sts:GetCallerIdentity names no ARN and account",
            )),
        },
        Err(error) => Observed::Unknown(aws::failure(&error, grant, timeout).unknown),
    };
    calls.observed(CALL, &observed);
    Fact::new(CALL, observed)
}
