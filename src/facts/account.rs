//! The account's side alone, without a cluster: the caller, the service-linked role, the quotas.

use super::*;
use crate::aws::Identity;

/// Why nothing of a cluster is known.
const WHY: &str = "only the account is asked about";

/// Reads it, concurrently. `target` names region, partition and profile, and no cluster.
pub async fn gather(
    target: &Target,
    identity: &Identity,
    http: &SharedHttpClient,
    timeout: Duration,
    calls: &Calls,
) -> Facts {
    let session = Session::open(identity, &target.region, http, timeout).await;
    let roles = Roles::default();
    let aws = Aws {
        session: &session,
        target,
        timeout,
        calls,
        roles: &roles,
    };
    let caller = async {
        let caller = aws.caller().await;
        let role = aws.caller_role(&caller).await;
        (caller, role)
    };
    let ((caller, caller_role), spot_role, spot_role_policies, spot_quotas) = join!(
        caller,
        aws.role(SPOT_ROLE),
        aws.attached_policies(SPOT_ROLE),
        aws.spot_quotas(vec![SpotQuota::Standard]),
    );
    let caller_may_create = aws.may_create(&spot_role, &caller, &caller_role).await;
    let ask = Ask {
        account_only: true,
        ..Ask::default()
    };
    Facts {
        format: FORMAT.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        gathered_at: Timestamp::now(),
        redacted: false,
        target: target.clone(),
        caller,
        caller_role,
        caller_may_create,
        cluster: Fact::not_asked("eks:DescribeCluster", WHY),
        access_entries: Fact::not_asked("eks:ListAccessEntries", WHY),
        spot_role,
        spot_role_policies,
        kubernetes_user: Fact::not_asked(access::grant().action(), WHY),
        aws_auth: Fact::not_asked(aws_auth::grant().action(), WHY),
        validation_webhook: Fact::not_asked(aws_auth::webhook_grant().action(), WHY),
        compute: compute::Compute {
            fargate_profiles: Fact::not_asked("eks:ListFargateProfiles", WHY),
            fargate_roles: BTreeMap::new(),
            node_groups: Fact::not_asked("eks:ListNodegroups", WHY),
        },
        pools: karpenter::Pools::not_asked(WHY),
        node_roles: Fact::not_asked("iam:GetRole", WHY),
        controller: controller::Controller::not_asked(&ask),
        traces: traces::Traces {
            events: Fact::not_asked("list events", WHY),
            claims: Fact::not_asked("list nodeclaims.karpenter.sh", WHY),
            nodes: Fact::not_asked("list nodes", WHY),
        },
        spot_quotas,
        may_install: Fact::not_asked(install::grant().action(), WHY),
        cluster_admins: Vec::new(),
        calls: calls.sorted(),
        ask,
    }
}
