//! The cluster admins: roles that aws-auth maps to `system:masters`, or that an access entry gives
//! AmazonEKSClusterAdminPolicy for the whole cluster (entries cannot carry `system:` groups). As IAM has them, and what the
//! caller's own policies say about assuming them. Nothing here waits for more than the mapping that names a role.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::join;
use futures_util::stream::{self, StreamExt as _};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use super::Reading;
use crate::aws::iam;
use crate::model::{Caller, Fact, Observed, Role, Unknown};
use eks_aws_auth::{
    self, AccessEntry, AuthenticationMode, Cluster, Existence, Settings, Source, SourceKind, State, list_all,
};
use iam_policy::arn::{Arn, PrincipalArn};
use iam_policy::condition::ContextValue;
use iam_policy::document::PolicyDocument;
use iam_policy::evaluate::{ASSUME_ROLE, Request, evaluate};
use iam_policy::kleene::Tri;
use iam_policy::principal::{Identity, Requester};

/// The group that may do everything.
pub(crate) const MASTERS: &str = "system:masters";
/// The access policy that is its counterpart; its ARN ends so in every partition.
const CLUSTER_ADMIN: &str = ":cluster-access-policy/AmazonEKSClusterAdminPolicy";
/// The session name that `aws eks get-token` and aws-cli's `update-kubeconfig --role-arn` entries use.
pub(crate) const GET_TOKEN_SESSION: &str = "EKSGetTokenAuth";

/// By what a role administers the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AdminBy {
    /// A line of aws-auth that gives `system:masters`.
    AwsAuth {
        /// `mapRoles` (or `mapUsers`, where a role's ARN works too).
        key: String,
        /// Its place in the list, from 0.
        index: usize,
        /// Its line in the value, from 1.
        line: Option<usize>,
    },
    /// An access entry with AmazonEKSClusterAdminPolicy for the whole cluster.
    AccessEntry,
}

impl std::fmt::Display for AdminBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AwsAuth {
                key,
                index,
                line: Some(line),
            } => write!(f, "aws-auth {key}[{index}], line {line}"),
            Self::AwsAuth { key, index, .. } => write!(f, "aws-auth {key}[{index}]"),
            Self::AccessEntry => f.write_str("access entry"),
        }
    }
}

/// A role that a mapping makes a cluster admin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MappedAdmin {
    /// As it is mapped: in aws-auth without its path.
    pub arn: Arn,
    pub by: AdminBy,
    /// Why its access entry is bound to an earlier role of that name, where it is.
    pub stale: Option<String>,
}

/// Whether an access entry has AmazonEKSClusterAdminPolicy for the whole cluster; none when its policies were not read.
pub(crate) fn is_cluster_admin(entry: &AccessEntry) -> Option<bool> {
    entry.policies.as_ref().map(|policies| {
        policies.iter().any(|policy| {
            policy.policy_arn.ends_with(CLUSTER_ADMIN)
                && policy.access_scope.kind.eq_ignore_ascii_case("cluster")
        })
    })
}

/// The access entry behind a decision, where one decided.
pub(crate) fn entry_of<'a>(cluster: &Cluster<'a>, source: &Source) -> Option<&'a AccessEntry> {
    (source.kind == SourceKind::AccessEntry)
        .then(|| cluster.entries?.get(source.index?))
        .flatten()
}

/// The roles that administer the cluster, each by the line or entry that is in force for it. `existence` tells what IAM
/// says about a principal, where it was asked. Linear in the mappings.
pub(crate) fn mapped_admins(
    cluster: &Cluster<'_>,
    existence: impl Fn(&str) -> Existence,
) -> Vec<MappedAdmin> {
    let mut found = Vec::new();
    for listed in list_all(cluster, existence) {
        let stale = match &listed.state {
            State::InForce => None,
            State::Stale { why } => Some(why.clone()),
            _ => continue,
        };
        let Ok(PrincipalArn::Role(arn)) = listed.principal.parse::<PrincipalArn>() else {
            continue;
        };
        let by = match (listed.source.kind, listed.source.key, listed.source.index) {
            (SourceKind::AccessEntry, ..)
                if entry_of(cluster, &listed.source).and_then(is_cluster_admin) == Some(true) =>
            {
                AdminBy::AccessEntry
            }
            (SourceKind::AwsAuth, Some(key), Some(index))
                if listed.groups.iter().any(|group| group == MASTERS) =>
            {
                AdminBy::AwsAuth {
                    key: key.to_string(),
                    index,
                    line: listed.source.line,
                }
            }
            _ => continue,
        };
        found.push(MappedAdmin { arn, by, stale });
    }
    found
}

/// The access entries whose policies were not read, and could hold AmazonEKSClusterAdminPolicy.
pub(crate) fn policies_unread<'a>(cluster: &Cluster<'a>) -> Vec<&'a AccessEntry> {
    let entries = cluster.entries.filter(|_| cluster.mode.uses_entries());
    entries
        .unwrap_or_default()
        .iter()
        .filter(|entry| is_cluster_admin(entry).is_none())
        .filter(|entry| matches!(entry.principal_arn.parse(), Ok(PrincipalArn::Role(_))))
        .filter(|entry| matches!(entry.kind_str(), "STANDARD" | "EC2"))
        .collect()
}

/// How many roles are read at a time: IAM's read rate is shared by the whole account.
const AT_ONCE: usize = 16;

/// How many roles of either kind of mapping are read: no cluster has so many, but a document can.
pub const MOST: usize = 100;

/// A role that administers the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterAdmin {
    pub arn: String,
    pub role: Fact<Role>,
    /// What the caller's own policies say about assuming it; asked only where the answer depends on it.
    pub may_assume: Fact<crate::model::Simulation>,
}

/// Roles that are read, each once: a cluster on its way to access entries has the same roles in both places.
type Cells = Mutex<BTreeMap<String, Arc<OnceCell<ClusterAdmin>>>>;

/// Reads them. Those of access entries don't wait for aws-auth, and those of aws-auth not for access entries: a line that
/// an entry hides is read in vain, which costs less than waiting for all entries.
pub(super) async fn read(read: &Reading<'_>) -> Vec<ClusterAdmin> {
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
    mapped_admins(&cluster, |_| Existence::Unknown)
        .into_iter()
        .map(|admin| admin.arn)
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

async fn one(arn: Arn, read: &Reading<'_>) -> ClusterAdmin {
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
            may_assume(caller_known, &caller_role, known, read).await
        }
        _ => Fact::not_asked(SIMULATE, "the role or the caller could not be read"),
    };
    ClusterAdmin {
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
    caller_role: &Fact<Role>,
    role: &Role,
    read: &Reading<'_>,
) -> Fact<crate::model::Simulation> {
    const CALL: &str = "iam:SimulatePrincipalPolicy sts:AssumeRole";
    let (Some(identity), Ok(role_arn)) = (
        identity_of(caller, &caller_role.observed),
        role.arn.parse::<Arn>(),
    ) else {
        return Fact::not_asked(CALL, "the simulator takes users and roles only");
    };
    if is_session_of(&identity, role) {
        return Fact::not_asked(CALL, "the caller is a session of it");
    }
    let requester = Requester::from(identity);
    let open = PolicyDocument::parse(&role.trust).map(|document| {
        let request = Request {
            requester: &requester,
            action: ASSUME_ROLE,
            resource: &role_arn,
            context: &get_token,
        };
        evaluate(&document, &request).verdict != Tri::False
    });
    let source = match (open, requester.known().map(|one| &one.arn)) {
        (Ok(false), _) => return Fact::not_asked(CALL, "the trust policy decides alone"),
        (_, Some(PrincipalArn::User(arn))) => arn.to_string(),
        (_, Some(PrincipalArn::Role(_) | PrincipalArn::Session { .. })) => match &caller_role.observed {
            Observed::Known(own) => own.arn.clone(),
            Observed::Absent => return Fact::new(CALL, Observed::Absent),
            Observed::Unknown(unknown) => return Fact::new(CALL, Observed::Unknown(unknown.clone())),
        },
        _ => return Fact::not_asked(CALL, "the simulator takes users and roles only"),
    };
    // As `aws eks get-token` does it.
    let context = [("sts:RoleSessionName", GET_TOKEN_SESSION)];
    iam::simulate(
        &read.session,
        &source,
        ASSUME_ROLE,
        &role_arn.to_string(),
        &context,
    )
    .await
}

/// The caller, with the caller's role where that was read; none where STS names nobody known.
pub(crate) fn identity_of(caller: &Caller, role: &Observed<Role>) -> Option<Identity> {
    let arn: PrincipalArn = caller.arn.parse().ok()?;
    let role = role.known().filter(|_| arn.role_name().is_some());
    let id = caller.user_id.split(':').next().filter(|id| !id.is_empty());
    Some(Identity {
        role_arn: role.and_then(|role| role.arn.parse().ok()),
        id: role
            .map(|role| role.id.as_str())
            .filter(|id| !id.is_empty())
            .or(id)
            .map(str::to_owned),
        has_boundary: role.is_some_and(|role| role.boundary.is_some()),
        arn,
    })
}

/// Whether it is a session of this role.
pub(crate) fn is_session_of(identity: &Identity, role: &Role) -> bool {
    matches!(identity.arn, PrincipalArn::Session { .. })
        && identity
            .role_arn
            .as_ref()
            .is_some_and(|own| own.to_string() == role.arn)
}

/// What the request carries that `aws eks get-token --role-arn` makes: its session name, and no external id.
pub(crate) fn get_token(key: &str) -> Option<ContextValue> {
    match key {
        "sts:rolesessionname" => Some(ContextValue::one(GET_TOKEN_SESSION)),
        "sts:externalid" => Some(ContextValue::Absent),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fixture::{admin_entry, map_roles};
    use eks_aws_auth::EntryType;

    const ROLE: &str = "arn:aws:iam::111122223333:role/team/kubectl";

    #[test]
    fn the_admins_are_those_in_force() {
        let map = map_roles(
            "- rolearn: arn:aws:iam::111122223333:role/a\n  groups: [system:masters]\n\
             - rolearn: arn:aws:iam::111122223333:role/b\n  groups: [system:masters]\n\
             - rolearn: arn:aws:iam::111122223333:role/b\n  groups: [viewers]\n\
             - rolearn: arn:aws:iam::111122223333:role/team/c\n  groups: [system:masters]\n\
             - rolearn: arn:aws:iam::111122223333:role/d\n  groups: [viewers]\n\
             - rolearn: arn:aws:iam::111122223333:role/kubectl\n  groups: [system:masters]\n",
        );
        let entries = [
            admin_entry(ROLE, "cluster"),
            admin_entry("arn:aws:iam::111122223333:role/e", "namespace"),
            admin_entry("arn:aws:iam::111122223333:user/eve", "cluster"),
        ];
        for (mode, want) in [
            ("CONFIG_MAP", vec!["a mapRoles[0]", "kubectl mapRoles[5]"]),
            ("API_AND_CONFIG_MAP", vec!["kubectl entry", "a mapRoles[0]"]),
            ("API", vec!["kubectl entry"]),
        ] {
            let cluster = Cluster {
                mode: mode.parse().unwrap(),
                aws_auth: Some(&map),
                entries: Some(&entries),
                settings: Settings::default(),
            };
            let found: Vec<String> = mapped_admins(&cluster, |_| Existence::Unknown)
                .into_iter()
                .map(|admin| {
                    let name = admin.arn.role_name().unwrap_or_default().to_owned();
                    match admin.by {
                        AdminBy::AccessEntry => format!("{name} entry"),
                        AdminBy::AwsAuth { key, index, .. } => format!("{name} {key}[{index}]"),
                    }
                })
                .collect();
            assert_eq!(found, want, "{mode}");
        }
    }

    #[test]
    fn an_entry_of_an_earlier_role_leaves_its_line_in_force() {
        let map =
            map_roles("- rolearn: arn:aws:iam::111122223333:role/kubectl\n  groups: [system:masters]\n");
        let mut entry = admin_entry(ROLE, "cluster");
        entry.created_at = Some("2026-01-01T00:00:00Z".parse().unwrap());
        let mut unread = AccessEntry::new("arn:aws:iam::111122223333:role/x", EntryType::Standard, "u", &[]);
        unread.policies = None;
        let entries = [entry, unread];
        let cluster = Cluster {
            mode: AuthenticationMode::ApiAndConfigMap,
            aws_auth: Some(&map),
            entries: Some(&entries),
            settings: Settings::default(),
        };
        let later = Existence::Since("2026-02-01T00:00:00Z".parse().unwrap());
        let found = mapped_admins(&cluster, |_| later);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].by == AdminBy::AccessEntry && found[0].stale.is_some());
        assert!(found[1].by != AdminBy::AccessEntry && found[1].stale.is_none());
        let names: Vec<&str> = policies_unread(&cluster)
            .iter()
            .map(|entry| entry.principal_arn.as_str())
            .collect();
        assert_eq!(names, ["arn:aws:iam::111122223333:role/x"]);
        let cluster = Cluster {
            mode: AuthenticationMode::ConfigMap,
            ..cluster
        };
        assert_eq!(policies_unread(&cluster).len(), 0);
    }
}
