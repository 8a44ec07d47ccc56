//! The accounts of an organization (AWS Organizations), and the regions of an account (EC2).

use iam_policy::arn::{self, Partition};
use serde_json::{Value, json};

use super::{Question, Session, raw};
use crate::model::Fact;

/// An account of the organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberAccount {
    /// Twelve digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `ACTIVE`, `SUSPENDED`, `PENDING_CLOSURE`, `CLOSED`, `PENDING_ACTIVATION`.
    pub state: String,
}

/// The region that an organization's partition keeps it in.
fn home(partition: &str) -> &'static str {
    match partition.parse() {
        Ok(Partition::AwsCn) => "cn-northwest-1",
        Ok(Partition::AwsUsGov) => "us-gov-west-1",
        Ok(Partition::AwsEusc) => "eusc-de-east-1",
        Ok(Partition::AwsIso) => "us-iso-east-1",
        Ok(Partition::AwsIsoB) => "us-isob-east-1",
        Ok(Partition::AwsIsoE) => "eu-isoe-west-1",
        Ok(Partition::AwsIsoF) => "us-isof-south-1",
        _ => "us-east-1",
    }
}

/// Every account of the organization. Asked of its management account, or of a delegated administrator.
pub async fn list_accounts(session: &Session) -> Fact<Vec<MemberAccount>> {
    let region = home(session.partition());
    let request = |token: Option<String>| {
        let body = match token {
            Some(token) => json!({"NextToken": token}),
            None => json!({}),
        };
        raw::Request {
            service: "organizations",
            region: region.to_owned(),
            endpoint: format!(
                "https://organizations.{region}.{}",
                arn::dns_suffix(session.partition())
            ),
            headers: vec![
                ("content-type", "application/x-amz-json-1.1".to_owned()),
                (
                    "x-amz-target",
                    "AWSOrganizationsV20161128.ListAccounts".to_owned(),
                ),
            ],
            body: body.to_string(),
        }
    };
    session
        .list(
            &Question::new("organizations:ListAccounts", "", "*"),
            "Accounts",
            |token| raw::send(session, request(token)),
            |body: String| {
                let page: Value = serde_json::from_str(&body).map_err(|_| "is not JSON".to_owned())?;
                let text = |value: &Value, name: &str| Some(value.get(name)?.as_str()?.to_owned());
                let accounts = page["Accounts"].as_array().into_iter().flatten();
                let accounts = accounts
                    .map(|account| {
                        Ok(MemberAccount {
                            id: text(account, "Id").ok_or("holds an account without Id")?,
                            name: text(account, "Name").unwrap_or_default(),
                            // Status is the earlier field, and on its way out.
                            state: text(account, "State")
                                .or_else(|| text(account, "Status"))
                                .ok_or("holds an account without State")?,
                        })
                    })
                    .collect::<Result<_, &str>>()?;
                Ok((accounts, text(&page, "NextToken")))
            },
        )
        .await
}

/// The regions that the account has switched on.
pub async fn regions(session: &Session) -> Fact<Vec<String>> {
    let region = &session.region;
    let request = raw::Request {
        service: "ec2",
        region: region.clone(),
        endpoint: format!("https://ec2.{region}.{}", arn::dns_suffix(session.partition())),
        headers: vec![(
            "content-type",
            "application/x-www-form-urlencoded; charset=utf-8".to_owned(),
        )],
        body: "Action=DescribeRegions&Version=2016-11-15".to_owned(),
    };
    session
        .ask(
            &Question::new("ec2:DescribeRegions", "", "*").of_account(""),
            &["item.regionName"],
            || raw::send(session, request),
            |body: String| {
                let mut regions = raw::texts(&body, "regionName");
                regions.sort_unstable();
                regions.dedup();
                Ok(regions)
            },
        )
        .await
}
