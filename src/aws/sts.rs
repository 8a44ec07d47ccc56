//! Who the credentials are, and taking on a role (STS).

use std::collections::BTreeMap;

use aws_credential_types::Credentials;

use super::{Question, Session};
pub use crate::model::Caller;
use crate::model::Fact;

/// Asks who the credentials are. No permission is needed for it.
pub async fn caller(session: &Session) -> Fact<Caller> {
    let sts = session.sts();
    session
        .ask(
            &Question::new("sts:GetCallerIdentity", "", "*").of_account(""),
            &["Arn", "Account", "UserId"],
            || sts.get_caller_identity().send(),
            |answer| {
                let (Some(arn), Some(account), Some(user_id)) = (answer.arn, answer.account, answer.user_id)
                else {
                    return Err("names no ARN and account".to_owned());
                };
                Ok(Caller {
                    arn,
                    account,
                    user_id,
                })
            },
        )
        .await
}

/// How a role is taken on.
#[derive(Debug, Clone, Copy)]
pub struct AssumeRole<'a> {
    /// The role's ARN.
    pub role: &'a str,
    /// `RoleSessionName`
    pub session_name: &'a str,
    /// `ExternalId`
    pub external_id: Option<&'a str>,
    /// `DurationSeconds`; STS's own where none is asked for.
    pub seconds: Option<i32>,
    /// `Tags`
    pub tags: Option<&'a BTreeMap<String, String>>,
}

/// A session of a role: its ARN, and its credentials. Secret.
#[derive(Clone)]
pub struct RoleSession {
    /// `arn:aws:sts::111122223333:assumed-role/Admin/EKSGetTokenAuth`
    pub arn: Option<String>,
    /// The credentials.
    pub credentials: Credentials,
}

/// Takes on a role. Never absent.
pub async fn assume_role(session: &Session, assume: AssumeRole<'_>) -> Fact<RoleSession> {
    let sts = session.sts();
    let tag = |(key, value): (&String, &String)| {
        let tag = aws_sdk_sts::types::Tag::builder().key(key).value(value);
        // Key and value are there.
        tag.build().ok()
    };
    let tags: Option<Vec<_>> = assume.tags.map(|tags| tags.iter().filter_map(tag).collect());
    session
        .ask(
            &Question::new("sts:AssumeRole", assume.role, assume.role),
            &[
                "Credentials.AccessKeyId",
                "Credentials.SecretAccessKey",
                "Credentials.SessionToken",
            ],
            || {
                sts.assume_role()
                    .role_arn(assume.role)
                    .role_session_name(assume.session_name)
                    .set_external_id(assume.external_id.map(str::to_owned))
                    .set_duration_seconds(assume.seconds)
                    .set_tags(tags.clone())
                    .send()
            },
            |answer| {
                let found = answer.credentials.ok_or("holds no credentials")?;
                Ok(RoleSession {
                    arn: answer.assumed_role_user.map(|user| user.arn),
                    credentials: Credentials::new(
                        found.access_key_id,
                        found.secret_access_key,
                        Some(found.session_token),
                        None,
                        "assumed-role",
                    ),
                })
            },
        )
        .await
}
