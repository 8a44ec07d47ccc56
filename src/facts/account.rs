//! The account's side alone, without a cluster: the caller, the service-linked role, the quota.

use super::*;
use crate::aws::Identity;

/// Why nothing of a cluster is known.
const WHY: &str = "only the account is asked about";

/// Reads it, concurrently. `target` names region, partition and profile, and no cluster.
pub async fn gather(
    target: &Target,
    identity: &Identity,
    http: &SharedHttpClient,
    limits: Limits,
    calls: &Calls,
) -> Facts {
    let session = Session::open(identity, &target.region, http, limits, calls).await;
    let caller = async {
        let caller = sts::caller(&session).await;
        let name = caller
            .known()
            .and_then(|caller| arn::assumed_role_name(&caller.arn));
        let role = match name {
            Some(name) => iam::get_role(&session, &name).await,
            None => Fact::not_asked(
                "iam:GetRole (the caller's)",
                "the caller is not a session of a role",
            ),
        };
        (caller, role)
    };
    let ((caller, caller_role), spot_role, spot_role_policies, spot_quotas) = join!(
        caller,
        iam::get_role(&session, SPOT_ROLE),
        iam::attached_policies(&session, SPOT_ROLE),
        quotas::standard(&session),
    );
    let caller_may_create = spot_role::may_create_by(&session, &spot_role, &caller, &caller_role).await;
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
        entry_policies_unread: BTreeMap::new(),
        spot_role_policies: of_parent(spot_role_policies, &spot_role),
        spot_role,
        kubernetes_user: Fact::not_asked("create selfsubjectreviews.authentication.k8s.io", WHY),
        aws_auth: Fact::not_asked(aws_auth::call(), WHY),
        validation_webhook: Fact::not_asked(aws_auth::webhook_call(), WHY),
        compute: compute::Compute {
            fargate_profiles: Fact::not_asked("eks:ListFargateProfiles", WHY),
            fargate_roles: BTreeMap::new(),
            node_groups: Fact::not_asked("eks:ListNodegroups", WHY),
        },
        pools: karpenter::unread_pools(&Unknown::not_asked(WHY)),
        node_roles: Fact::not_asked("iam:GetRole", WHY),
        controller: controller::Controller::not_asked(&ask),
        traces: traces::Traces {
            events: Fact::not_asked("list events", WHY),
            claims: Fact::not_asked("list nodeclaims.karpenter.sh", WHY),
            nodes: Fact::not_asked("list nodes", WHY),
            never_joined: Vec::new(),
        },
        launching: launching::Launching::not_asked(WHY),
        spot_quotas,
        may_install: Fact::not_asked("create selfsubjectaccessreviews.authorization.k8s.io", WHY),
        cluster_admins: Vec::new(),
        calls: calls.sorted(),
        ask,
    }
}
