//! The service-linked role for EC2 Spot, and who may create it (IAM).

use futures_util::join;
use iam_policy::arn::{self, Arn};

use super::{Reading, of_parent};
use crate::aws::{Session, iam};
use crate::model::{Caller, Fact, Role, SPOT_ROLE, Simulation};

/// Why the simulator was not asked.
const ROLE_NOT_MISSING: &str = "the role is not missing";

/// `eu-west-1` has no bearing on IAM, which is one endpoint a partition: the SDK picks it by the session's region.
pub(super) fn role_arn(partition: &str, account: &str) -> String {
    format!("arn:{partition}:iam::{account}:role/aws-service-role/spot.amazonaws.com/{SPOT_ROLE}")
}

pub(super) async fn policies(read: &Reading<'_>) -> Fact<Vec<String>> {
    let (policies, role) = join!(iam::attached_policies(&read.session, SPOT_ROLE), read.spot_role());
    of_parent(policies, &role)
}

/// Whether the caller may create it; asked only when it is missing.
pub(super) async fn may_create(read: &Reading<'_>) -> Fact<Simulation> {
    let (spot_role, caller, role) = join!(read.spot_role(), read.caller(), read.caller_role());
    may_create_by(&read.session, &spot_role, caller, &role).await
}

/// The same, of what was read already.
pub(super) async fn may_create_by(
    session: &Session,
    spot_role: &Fact<Role>,
    caller: &Fact<Caller>,
    role: &Fact<Role>,
) -> Fact<Simulation> {
    const CALL: &str = "iam:SimulatePrincipalPolicy iam:CreateServiceLinkedRole";
    if !spot_role.observed.is_absent() {
        return Fact::not_asked(CALL, ROLE_NOT_MISSING);
    }
    let Some(known) = caller.known() else {
        return Fact::not_asked(CALL, "who the caller is could not be read");
    };
    let principal = match (arn::assumed_role_name(&known.arn), role.known()) {
        (Some(_), Some(role)) => role.arn.clone(),
        (Some(name), None) => {
            return Fact::not_asked(
                CALL,
                format!("the caller's role {name} could not be read, and the simulator wants its full ARN"),
            );
        }
        (None, _) if known.arn.contains(":user/") => known.arn.clone(),
        (None, _) => return Fact::not_asked(CALL, "the simulator takes IAM users and roles only"),
    };
    simulate(session, &principal, &known.account).await
}

/// Whether this role may create it; asked only when it is missing.
pub(super) async fn may_create_as(read: &Reading<'_>, principal: Option<&str>) -> Fact<Simulation> {
    const CALL: &str = "iam:SimulatePrincipalPolicy iam:CreateServiceLinkedRole (as the controller)";
    if !read.spot_role().await.observed.is_absent() {
        return Fact::not_asked(CALL, ROLE_NOT_MISSING);
    }
    match principal.and_then(|arn| Some((arn, arn.parse::<Arn>().ok()?.account))) {
        Some((principal, account)) => simulate(&read.session, principal, &account).await,
        None => Fact::not_asked(CALL, "the controller's role is not known"),
    }
}

async fn simulate(session: &Session, principal: &str, account: &str) -> Fact<Simulation> {
    iam::simulate(
        session,
        principal,
        "iam:CreateServiceLinkedRole",
        &role_arn(session.partition(), account),
        &[("iam:AWSServiceName", "spot.amazonaws.com")],
    )
    .await
}
