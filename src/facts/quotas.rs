//! The quotas on spot vCPUs (Service Quotas).

use std::time::Duration;

use futures_util::future;
use serde::{Deserialize, Serialize};

use super::Reading;
use crate::aws::{Question, Session};
use crate::karpenter::instances::{SpotQuota, spot_needs_of};
use crate::karpenter::launch_paths::LaunchPaths;
use crate::model::Fact;

/// One quota as it stands in the account and region.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuotaFact {
    pub quota: SpotQuota,
    /// Its value in vCPUs.
    pub vcpus: Fact<f64>,
}

/// How long a report waits for a quota. It is advisory, and from a network without a way to Service Quotas (a private one has an
/// endpoint for it less often than for anything else here) its answer would hold up all the others.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// Reads the quotas that matter to the pools, at the same time.
pub(super) async fn of_pools(read: &Reading<'_>) -> Vec<QuotaFact> {
    let wanted = wanted(&read.launch_paths().await);
    let session = read.session.with_request_timeout(PATIENCE);
    future::join_all(wanted.into_iter().map(|quota| get(&session, quota))).await
}

/// The quota of the Standard families, which every pool may launch.
pub(super) async fn standard(session: &Session) -> Vec<QuotaFact> {
    vec![get(&session.with_request_timeout(PATIENCE), SpotQuota::Standard).await]
}

async fn get(session: &Session, quota: SpotQuota) -> QuotaFact {
    let quotas = session.service_quotas();
    let code = quota.code();
    let resource = format!(
        "arn:{}:servicequotas:{}:*:ec2/{code}",
        session.partition(),
        session.region
    );
    let vcpus = session
        .ask(
            &Question::new("servicequotas:GetServiceQuota", &format!("ec2 {code}"), resource).of_account(""),
            &["Quota.Value"],
            || {
                quotas
                    .get_service_quota()
                    .service_code("ec2")
                    .quota_code(code)
                    .send()
            },
            |answer| {
                let value = answer.quota.and_then(|found| found.value);
                Ok(value.filter(|value| value.is_finite()).ok_or("holds no value")?)
            },
        )
        .await;
    QuotaFact { quota, vcpus }
}

/// The quotas that matter to the pools that can launch spot; Standard where there is no pool.
fn wanted(paths: &LaunchPaths<'_>) -> Vec<SpotQuota> {
    if paths.paths.is_empty() {
        return vec![SpotQuota::Standard];
    }
    spot_needs_of(paths.spot().map(|path| path.pool))
        .quotas
        .into_iter()
        .map(|need| need.quota)
        .collect()
}
