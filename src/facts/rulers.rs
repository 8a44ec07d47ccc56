//! The roles that rule the cluster: as IAM has them, and what the caller's own policies say about assuming them. Which roles
//! those are is read off the mappings; nothing here waits for more than the mapping that names a role.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::join;
use futures_util::stream::{self, StreamExt as _};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use super::Reading;
use crate::aws::iam;
use crate::model::{Caller, Fact, Observed, Unknown};
use crate::trust::mapping;
use crate::trust::principal::Subject;
use crate::trust::{self, Identity, Outcome, Question, Request};
use eks_aws_auth::{self, AuthenticationMode, Existence, Settings};
use iam_policy::arn::Arn;

/// How many roles are read at a time: IAM's read rate is shared by the whole account.
const AT_ONCE: usize = 16;

/// How many roles of either kind of mapping are read: no cluster has so many rulers, but a document can.
pub const MOST: usize = 100;

/// A role that rules the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ruler {
    /// As it is mapped.
    pub arn: String,
    /// The role in IAM.
    pub role: Fact<crate::model::Role>,
    /// What the caller's own policies say about assuming it; asked only where the answer hangs on it.
    pub may_assume: Fact<crate::model::Simulation>,
}

/// Roles that are read, each once: a cluster on its way to access entries has the same roles in both places.
type Cells = Mutex<BTreeMap<String, Arc<OnceCell<Ruler>>>>;

/// Reads them. Those of access entries don't wait for aws-auth, and those of aws-auth not for access entries: a line that
/// an entry hides is read in vain, which costs less than waiting for all entries.
pub(super) async fn read(read: &Reading<'_>) -> Vec<Ruler> {
    let Some(cluster) = read.cluster().await.known() else {
        return Vec::new();
    };
    let mode = cluster.authentication_mode;
    let cells = Cells::default();
    let of_entries = async {
        if mode.uses_entries() {
            let entries = read.access_entries().await.known();
            let arns = named(AuthenticationMode::Api, None, entries.map(Vec::as_slice));
            read_all(arns, read, &cells).await;
        }
    };
    let of_aws_auth = async {
        if mode.uses_aws_auth()
            && let Some(map) = read.aws_auth().await.known()
        {
            let arns = named(AuthenticationMode::ConfigMap, Some(map.taken_in()), None);
            read_all(arns, read, &cells).await;
        }
    };
    join!(of_entries, of_aws_auth);
    let cells = cells.into_inner().unwrap_or_else(PoisonError::into_inner);
    cells
        .into_values()
        .filter_map(|cell| cell.get().cloned())
        .collect()
}

fn named(
    mode: AuthenticationMode,
    aws_auth: Option<&eks_aws_auth::AwsAuth>,
    entries: Option<&[eks_aws_auth::AccessEntry]>,
) -> Vec<Arn> {
    let cluster = eks_aws_auth::Cluster {
        mode,
        aws_auth,
        entries,
        settings: Settings::default(),
    };
    // Whether an entry is bound to an earlier role of the name is judged once the roles are read.
    mapping::rulers(&cluster, |_| Existence::Unknown)
        .into_iter()
        .map(|ruler| ruler.arn)
        .take(MOST)
        .collect()
}

async fn read_all(arns: Vec<Arn>, read: &Reading<'_>, cells: &Cells) {
    stream::iter(arns)
        .map(|arn| async move {
            // A name is unique in its account, whatever the path is.
            let name = format!("{} {}", arn.account, arn.role_name().unwrap_or_default());
            let cell = {
                let mut cells = cells.lock().unwrap_or_else(PoisonError::into_inner);
                Arc::clone(cells.entry(name).or_default())
            };
            cell.get_or_init(|| one(arn, read)).await;
        })
        .buffer_unordered(AT_ONCE)
        .collect::<()>()
        .await;
}

async fn one(arn: Arn, read: &Reading<'_>) -> Ruler {
    const SIMULATE: &str = "iam:SimulatePrincipalPolicy sts:AssumeRole";
    let name = arn.role_name().unwrap_or_default();
    let caller = read.caller().await;
    let role = match elsewhere(caller, &arn) {
        Some(unknown) => Fact::new(format!("iam:GetRole {name}"), Observed::Unknown(unknown)),
        None => read.role(name).await,
    };
    let may_assume = match (caller.known(), role.known()) {
        (Some(caller_known), Some(known)) => {
            let caller_role = read.caller_role().await;
            may_assume(caller_known, &caller_role, known, &role.observed, read).await
        }
        _ => Fact::not_asked(SIMULATE, "the role or the caller could not be read"),
    };
    Ruler {
        arn: arn.to_string(),
        role,
        may_assume,
    }
}

/// Why IAM can't be asked about a role: it answers for the credentials' own account only.
fn elsewhere(caller: &Fact<Caller>, role: &Arn) -> Option<Unknown> {
    match &caller.observed {
        Observed::Known(caller) if caller.account == role.account => None,
        Observed::Known(caller) => Some(Unknown::not_asked(format!(
            "it is of account {}, and the credentials, of {}, can't read its trust policy there",
            role.account, caller.account
        ))),
        Observed::Absent => Some(Unknown::not_asked("STS names no caller")),
        Observed::Unknown(unknown) => Some(unknown.clone()),
    }
}

async fn may_assume(
    caller: &Caller,
    caller_role: &Fact<crate::model::Role>,
    role: &crate::model::Role,
    observed: &Observed<crate::model::Role>,
    read: &Reading<'_>,
) -> Fact<crate::model::Simulation> {
    const CALL: &str = "iam:SimulatePrincipalPolicy sts:AssumeRole";
    let (Some(subject), Ok(role_arn)) = (
        Subject::of_caller(caller, &caller_role.observed),
        role.arn.parse::<Arn>(),
    ) else {
        return Fact::not_asked(CALL, "the simulator takes users and roles only");
    };
    if subject.is_session_of(role) {
        return Fact::not_asked(CALL, "the caller is a session of it");
    }
    let not_asked = Identity::Simulated(Observed::Unknown(Unknown::not_asked("not yet")));
    let question = Question {
        subject: &subject,
        role_arn: &role_arn,
        role: observed,
        identity: &not_asked,
        request: &Request::of_get_token(),
    };
    if trust::judge(&question).outcome != Outcome::Unknown {
        return Fact::not_asked(CALL, "the trust policy decides alone");
    }
    match subject.simulated_as() {
        // As `aws eks get-token` does it.
        Ok(source) => {
            let context = [("sts:RoleSessionName", crate::trust::GET_TOKEN_SESSION)];
            iam::simulate(
                &read.session,
                &source,
                crate::trust::ACTION,
                &role_arn.to_string(),
                &context,
            )
            .await
        }
        Err(observed) => Fact::new(CALL, observed),
    }
}
