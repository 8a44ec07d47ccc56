//! Everything that is read, gathered concurrently; the only part that talks to AWS and Kubernetes (with
//! [`crate::spot_role`], which writes the one thing).
//!
//! [`Facts`] are plain values: they can be saved, and judged later without a network.

pub mod access;
pub mod account;
pub mod assume;
pub mod aws_auth;
pub mod cluster_admins;
pub mod compute;
pub mod controller;
pub mod eks;
#[cfg(test)]
pub(crate) mod fixture;
pub mod iam;
pub mod install;
pub mod karpenter;
pub mod management;
pub mod mappings;
pub mod quotas;
pub mod redact;
pub mod sts;
pub mod traces;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use futures_util::stream::{self, StreamExt as _};
use futures_util::{future, join};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::aws::Session;
use crate::aws::token;
use crate::cluster::exec::KnownExec;
use crate::cluster::kubeconfig::KubeContext;
use crate::cluster::{Resolved, Target};
use crate::karpenter::identity::Association;
use crate::karpenter::instances::{SpotQuota, spot_needs_of};
use crate::karpenter::nodepools_file::Manifests;
use crate::karpenter::objects::{Deployment, NodeClass, NodeOs, NodePool};
use crate::karpenter::requirements::{admitted, spot_verdict};
use crate::karpenter::traces::{ClaimFold, NodeFold};
use crate::kube::exec_plugin;
use crate::kube::{Api, Authentication};
use crate::model::{Call, Calls, SPOT_ROLE};
use crate::model::{Fact, Grant, Observed, Unknown, Why};
use eks_aws_auth::AccessEntry;
use iam_policy::arn;

/// The format of saved facts.
pub const FORMAT: &str = "capt-spot/facts/v1";

/// How many roles or instance profiles are read at a time: IAM's read rate is shared by the whole account.
const AT_ONCE: usize = 16;

/// What was asked for, as far as judging depends on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ask {
    /// `--node-role`: a name or an ARN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_role: Option<String>,
    /// A chart is about to be installed.
    #[serde(default)]
    pub installing: bool,
    /// The cluster that the chart names (CLUSTER_NAME).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart_cluster: Option<String>,
    /// No cluster is asked, the account's side alone.
    #[serde(default)]
    pub account_only: bool,
    /// `-n`: the namespace of the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// What else the chart says, when it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart: Option<install::Chart>,
    /// `--nodepools`: what the file holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodepools: Option<PoolsFile>,
}

/// Node pools and node classes that are not in the cluster yet: from `--nodepools FILE`, or from the chart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolsFile {
    /// The file, as a person would name it.
    pub file: String,
    /// The pools in it.
    pub pools: Vec<NodePool>,
    /// The node classes in it.
    #[serde(default)]
    pub node_classes: Vec<NodeClass>,
    /// A sentence with its line for each object that could not be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub broken: Vec<String>,
}

impl PoolsFile {
    /// What judging needs of manifests.
    pub fn new(file: impl Into<String>, manifests: Manifests) -> Self {
        Self {
            file: file.into(),
            pools: manifests.pools.into_iter().map(|one| one.value).collect(),
            node_classes: manifests.node_classes.into_iter().map(|one| one.value).collect(),
            broken: manifests
                .broken
                .iter()
                .map(|one| format!("line {}: {}", one.line, one.value))
                .collect(),
        }
    }
}

/// Who named a node role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "by")]
pub enum NamedBy {
    /// `--node-role`.
    Flag,
    /// An EC2NodeClass (or AWSNodeTemplate), by its role or its instance profile.
    NodeClass {
        /// Its name.
        name: String,
    },
    /// Nobody yet: the name that Karpenter's documentation (`KarpenterNodeRole-CLUSTER`) or CAPT (`CLUSTER-node`) gives
    /// it, found in IAM.
    Convention,
}

/// A role that Karpenter's nodes have, or are about to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRole {
    /// Who named it.
    pub named_by: NamedBy,
    /// Its name as it was given: a name, a name with a path, or an ARN.
    pub given: String,
    /// Its name without path.
    pub name: String,
    /// The instance profile it was found through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_profile: Option<String>,
    /// What runs on its nodes.
    pub os: NodeOs,
    /// The role in IAM.
    pub role: Fact<crate::model::Role>,
    /// The instance profiles that the node classes with this `spec.role` really use (`status.instanceProfile`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles_in_use: Vec<ProfileInUse>,
}

/// The instance profile that a node class which names a role launches its nodes with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProfileInUse {
    /// The node class.
    pub class: String,
    /// The profile, with the role in it.
    pub profile: Fact<crate::model::InstanceProfile>,
}

/// Everything that was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// [`FORMAT`].
    pub format: String,
    /// The program's version that gathered them.
    pub version: String,
    /// When.
    pub gathered_at: Timestamp,
    /// `--redact`: identifying values are masked.
    #[serde(default)]
    pub redacted: bool,
    /// What was asked for.
    pub ask: Ask,
    /// The target.
    pub target: Target,
    /// Who the AWS credentials are.
    pub caller: Fact<sts::Caller>,
    /// The caller's own role, when the caller is a session of one.
    pub caller_role: Fact<crate::model::Role>,
    /// Whether the caller may create the spot role; asked only when it is missing.
    pub caller_may_create: Fact<crate::model::Simulation>,
    /// The cluster.
    pub cluster: Fact<eks::Cluster>,
    /// Its access entries. Absent: the cluster has none, in mode CONFIG_MAP.
    pub access_entries: Fact<Vec<AccessEntry>>,
    /// The service-linked role for EC2 Spot.
    pub spot_role: Fact<crate::model::Role>,
    /// The policies attached to it.
    pub spot_role_policies: Fact<Vec<String>>,
    /// Who the cluster takes the caller for.
    pub kubernetes_user: Fact<access::KubernetesUser>,
    /// kube-system/aws-auth.
    pub aws_auth: Fact<aws_auth::AwsAuth>,
    /// EKS's webhook that checks changes of aws-auth.
    pub validation_webhook: Fact<aws_auth::Webhook>,
    /// Fargate profiles and managed node groups.
    pub compute: compute::Compute,
    /// NodePools and EC2NodeClasses.
    pub pools: karpenter::Pools,
    /// The roles of Karpenter's nodes. Known and empty: nobody names one and IAM has none of the usual names.
    pub node_roles: Fact<Vec<NodeRole>>,
    /// Karpenter's controller and its identity.
    pub controller: controller::Controller,
    /// What failed launches left behind.
    pub traces: traces::Traces,
    /// The quotas that the pools' spot instances count against.
    pub spot_quotas: Vec<quotas::QuotaFact>,
    /// Whether the caller may do what installing the chart takes.
    pub may_install: Fact<Vec<install::Review>>,
    /// The roles that administer the cluster, as far as the mappings could be read. Facts of earlier versions have none.
    #[serde(default, alias = "rulers")]
    pub cluster_admins: Vec<cluster_admins::ClusterAdmin>,
    /// Every call that was made.
    pub calls: Vec<Call>,
}

/// How to gather.
#[derive(Debug, Clone)]
pub struct Options {
    /// `--request-timeout`
    pub timeout: Duration,
    /// `--use-exec`: run the exec plugin even where the token could be made here.
    pub use_exec: bool,
}

/// What stays open after gathering, for the one write.
#[derive(Debug, Clone)]
pub struct Reach {
    /// The AWS session that the facts were read with.
    pub session: Session,
    /// A connection to the cluster, when one could be made.
    pub api: Result<Api, Unknown>,
}

/// `eu-west-1` has no bearing on IAM, which is one endpoint a partition: the SDK picks it by the session's region.
fn spot_role_arn(partition: &str, account: &str) -> String {
    format!("arn:{partition}:iam::{account}:role/aws-service-role/spot.amazonaws.com/{SPOT_ROLE}")
}

/// Opens the AWS sessions of a target: the one for reading (and writing), and the one whose identity the token has.
async fn sessions(
    resolved: &Resolved,
    http: &SharedHttpClient,
    options: &Options,
    calls: &Calls,
) -> (Session, Session) {
    let timeout = options.timeout;
    let region = &resolved.target.region;
    let token_region = resolved
        .exec
        .as_ref()
        .and_then(|exec| exec.region())
        .unwrap_or(region);
    let (base, token) = if resolved.identity == resolved.token_identity && token_region == region {
        let session = Session::open(&resolved.identity, region, http, timeout).await;
        (session.clone(), session)
    } else {
        join!(
            Session::open(&resolved.identity, region, http, timeout),
            Session::open(&resolved.token_identity, token_region, http, timeout)
        )
    };
    let Some(role) = &resolved.target.role_arn else {
        return (base, token);
    };
    let sts = aws_sdk_sts::Client::new(&base.config);
    let (caller, assumed) = join!(
        sts::caller(&sts, timeout, calls),
        as_role(token, role, resolved.exec.as_ref(), timeout, calls)
    );
    // The exec entry's role in another account than the credentials': that role is what reaches the cluster's account.
    // In the same account the credentials themselves stay, which are the ones with rights in IAM.
    let elsewhere = match (caller.known(), role.split(':').nth(4)) {
        (Some(caller), Some(account)) => caller.account != account,
        _ => false,
    };
    let explicit_profile = resolved.identity != resolved.token_identity;
    if elsewhere && !explicit_profile && assumed.credentials.is_ok() {
        (assumed.clone(), assumed)
    } else {
        (base, assumed)
    }
}

/// The session as the exec entry's role; without credentials, and with the reason, when the role cannot be assumed.
async fn as_role(
    session: Session,
    role: &str,
    exec: Option<&KnownExec>,
    timeout: Duration,
    calls: &Calls,
) -> Session {
    let external_id = exec.and_then(|exec| exec.external_id.clone());
    let session_name = exec.and_then(|exec| exec.session_name.clone());
    match assume(&session, role, external_id, session_name, timeout, calls).await {
        Ok(credentials) => session.with_credentials(credentials),
        Err(unknown) => Session {
            credentials: Err(unknown),
            ..session
        },
    }
}

async fn assume(
    session: &Session,
    role: &str,
    external_id: Option<String>,
    session_name: Option<String>,
    timeout: Duration,
    calls: &Calls,
) -> Result<aws_credential_types::Credentials, Unknown> {
    if let Err(unknown) = &session.credentials {
        return Err(unknown.clone());
    }
    let call = format!("sts:AssumeRole {role}");
    let grant = Grant::Iam {
        action: "sts:AssumeRole".to_owned(),
        resource: role.to_owned(),
    };
    let answer = aws_sdk_sts::Client::new(&session.config)
        .assume_role()
        .role_arn(role)
        .role_session_name(session_name.unwrap_or_else(|| token::AWS_CLI_SESSION_NAME.to_owned()))
        .set_external_id(external_id)
        .send()
        .await;
    match answer {
        Ok(answer) => match answer.credentials {
            Some(found) => {
                calls.record(&call, "assumed");
                Ok(aws_credential_types::Credentials::new(
                    found.access_key_id,
                    found.secret_access_key,
                    Some(found.session_token),
                    None,
                    "exec-entry-role",
                ))
            }
            None => Err(Unknown::new(
                Why::Unusable,
                format!("the answer to {call} holds no credentials"),
            )),
        },
        Err(error) => {
            let unknown = crate::aws::failure(&error, grant, timeout).unknown;
            calls.record(&call, unknown.to_string());
            Err(unknown)
        }
    }
}

/// A context's own words about how to reach its API server.
struct Entry<'a> {
    context: &'a KubeContext,
    config: Option<&'a ::kube::Config>,
    config_error: Option<&'a str>,
    exec: Option<&'a KnownExec>,
}

/// The cluster that a token can be made for here, without running the plugin.
fn token_cluster<'a>(exec: Option<&'a KnownExec>, options: &Options) -> Option<&'a str> {
    exec.filter(|exec| exec.not_reproducible.is_none() && !options.use_exec)?
        .cluster
        .as_deref()
}

/// A connection to the cluster, its token made here where that is possible: where the plugin is a known one and
/// `token_session`, in the token's region, is given.
async fn connect(
    entry: Entry<'_>,
    token_session: Option<(&Session, &str)>,
    options: &Options,
    calls: &Calls,
) -> Result<Api, Unknown> {
    let mut config = entry.config.cloned().ok_or_else(|| {
        Unknown::new(
            Why::Unreachable,
            format!(
                "the kubeconfig entry cannot be used: {}",
                entry.config_error.unwrap_or("no configuration")
            ),
        )
    })?;
    let made_here = token_cluster(entry.exec, options).zip(token_session);
    let authentication = match (made_here, &entry.context.user.exec) {
        (Some((cluster, (session, region))), Some(_)) => {
            let credentials = session.credentials.as_ref().map_err(Clone::clone)?;
            token::eks_token(credentials, region, cluster, std::time::SystemTime::now())
                .map(Authentication::Token)
                .map_err(|error| {
                    Unknown::new(
                        Why::Unauthenticated,
                        format!("the EKS token could not be made: {error}"),
                    )
                })?
        }
        (_, Some(exec)) => {
            let call = format!("exec {}", exec.command.as_deref().unwrap_or("(no command)"));
            let result = exec_plugin::run(exec, &entry.context.cluster, options.timeout).await;
            calls.record(
                &call,
                result
                    .as_ref()
                    .map_or_else(ToString::to_string, |_| "a credential".to_owned()),
            );
            result?
        }
        (_, None) => Authentication::AsConfigured,
    };
    crate::kube::authenticate(&mut config, &authentication)?;
    Api::new(config, options.timeout)
}

/// A connection to the resolved target.
async fn connect_resolved(
    resolved: &Resolved,
    token_session: &Session,
    options: &Options,
    calls: &Calls,
) -> Result<Api, Unknown> {
    let entry = Entry {
        context: &resolved.context,
        config: resolved.config.as_ref(),
        config_error: resolved.config_error.as_deref(),
        exec: resolved.exec.as_ref(),
    };
    let region = resolved
        .exec
        .as_ref()
        .and_then(KnownExec::region)
        .unwrap_or(&resolved.target.region);
    connect(entry, Some((token_session, region)), options, calls).await
}

/// Reads everything, concurrently.
pub async fn gather(
    resolved: &Resolved,
    ask: &Ask,
    http: &SharedHttpClient,
    options: &Options,
    calls: &Calls,
) -> (Facts, Reach) {
    let timeout = options.timeout;
    let target = &resolved.target;
    let gathered_at = Timestamp::now();
    let (session, token_session) = sessions(resolved, http, options, calls).await;
    let api = connect_resolved(resolved, &token_session, options, calls);
    let roles = Roles::default();
    let aws = Aws {
        session: &session,
        target,
        timeout,
        calls,
        roles: &roles,
    };
    let shared = Shared::default();
    let ((aws_facts, caller, caller_role, caller_may_create), compute, (api, kubernetes_facts)) = join!(
        async {
            let spot = async { join!(shared.spot_role(&aws), aws.attached_policies(SPOT_ROLE)) };
            let caller = async {
                let caller = shared.caller(&aws).await;
                let role = aws.caller_role(caller).await;
                (caller, role)
            };
            let (cluster, entries, (spot_role, spot_role_policies), (caller, caller_role)) =
                join!(shared.cluster(&aws), shared.access_entries(&aws), spot, caller);
            let may_create = aws.may_create(spot_role, caller, &caller_role).await;
            (
                (
                    cluster.clone(),
                    entries.clone(),
                    spot_role.clone(),
                    spot_role_policies,
                ),
                caller.clone(),
                caller_role,
                may_create,
            )
        },
        aws.compute(),
        async {
            let api = api.await;
            let facts = kubernetes_side(&api, &aws, ask, &shared, gathered_at).await;
            (api, facts)
        }
    );
    let (cluster, mut access_entries, spot_role, spot_role_policies) = aws_facts;
    let KubernetesSide {
        user: kubernetes_user,
        aws_auth,
        validation_webhook,
        pools,
        node_roles,
        controller,
        traces,
        spot_quotas,
        may_install,
        cluster_admins,
    } = kubernetes_facts;
    // Asked beside DescribeCluster and not after it; in mode CONFIG_MAP there are none, whatever the answer was.
    if cluster
        .known()
        .is_some_and(|cluster| cluster.authentication_mode == eks_aws_auth::AuthenticationMode::ConfigMap)
    {
        access_entries.observed = Observed::Absent;
    }
    let facts = Facts {
        format: FORMAT.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        gathered_at,
        redacted: false,
        ask: ask.clone(),
        target: target.clone(),
        caller,
        caller_role,
        caller_may_create,
        cluster,
        access_entries,
        spot_role,
        spot_role_policies,
        kubernetes_user,
        aws_auth,
        validation_webhook,
        compute,
        pools,
        node_roles,
        controller,
        traces,
        spot_quotas,
        may_install,
        cluster_admins,
        calls: calls.sorted(),
    };
    (facts, Reach { session, api })
}

/// The AWS reads of one target; without credentials each of them is unknown for that one reason.
#[derive(Clone, Copy)]
struct Aws<'a> {
    session: &'a Session,
    target: &'a Target,
    timeout: Duration,
    calls: &'a Calls,
    roles: &'a Roles,
}

/// Roles by name, each read once in a run by whoever needs it first.
#[derive(Default)]
struct Roles(Mutex<BTreeMap<String, Arc<OnceCell<Fact<crate::model::Role>>>>>);

impl Roles {
    fn cell(&self, name: &str) -> Arc<OnceCell<Fact<crate::model::Role>>> {
        let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(cells.entry(name.to_owned()).or_default())
    }
}

impl Aws<'_> {
    fn blocked<T>(&self, call: &str) -> Option<Fact<T>> {
        let unknown = self.session.credentials.as_ref().err()?;
        Some(Fact::new(call, Observed::Unknown(unknown.clone())))
    }

    async fn caller(&self) -> Fact<sts::Caller> {
        if let Some(blocked) = self.blocked("sts:GetCallerIdentity") {
            return blocked;
        }
        sts::caller(
            &aws_sdk_sts::Client::new(&self.session.config),
            self.timeout,
            self.calls,
        )
        .await
    }

    /// The caller's role, whose full ARN (with its path) the simulator wants.
    async fn caller_role(&self, caller: &Fact<sts::Caller>) -> Fact<crate::model::Role> {
        const CALL: &str = "iam:GetRole (the caller's)";
        let Some(known) = caller.known() else {
            return Fact::not_asked(CALL, "who the caller is could not be read");
        };
        match arn::assumed_role_name(&known.arn) {
            Some(name) => self.role(&name).await,
            None => Fact::not_asked(CALL, "the caller is no session of a role"),
        }
    }

    async fn may_create(
        &self,
        spot_role: &Fact<crate::model::Role>,
        caller: &Fact<sts::Caller>,
        role: &Fact<crate::model::Role>,
    ) -> Fact<crate::model::Simulation> {
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
                    format!(
                        "the caller's role {name} could not be read, and the simulator wants its full ARN"
                    ),
                );
            }
            (None, _) if known.arn.contains(":user/") => known.arn.clone(),
            (None, _) => return Fact::not_asked(CALL, "the simulator takes IAM users and roles only"),
        };
        self.simulate(&principal, &known.account).await
    }

    /// Whether this role may create the spot role; asked only when that is missing.
    async fn may_create_as(
        &self,
        spot_role: &Fact<crate::model::Role>,
        principal: Option<&str>,
    ) -> Fact<crate::model::Simulation> {
        const CALL: &str = "iam:SimulatePrincipalPolicy iam:CreateServiceLinkedRole (as the controller)";
        if !spot_role.observed.is_absent() {
            return Fact::not_asked(CALL, ROLE_NOT_MISSING);
        }
        match principal.and_then(|arn| Some((arn, arn.parse::<arn::Arn>().ok()?.account))) {
            Some((principal, account)) => self.simulate(principal, &account).await,
            None => Fact::not_asked(CALL, "the controller's role is not known"),
        }
    }

    async fn simulate(&self, principal: &str, account: &str) -> Fact<crate::model::Simulation> {
        let resource = spot_role_arn(&self.target.partition, account);
        iam::simulate(
            &aws_sdk_iam::Client::new(&self.session.config),
            principal,
            "iam:CreateServiceLinkedRole",
            &resource,
            &[("iam:AWSServiceName", "spot.amazonaws.com")],
            self.timeout,
            self.calls,
        )
        .await
    }

    /// What a principal's own policies say about assuming a role, as `aws eks get-token` does it.
    async fn may_assume(&self, principal: &str, role: &arn::Arn) -> Fact<crate::model::Simulation> {
        iam::simulate(
            &aws_sdk_iam::Client::new(&self.session.config),
            principal,
            iam_policy::evaluate::ASSUME_ROLE,
            &role.to_string(),
            &[("sts:RoleSessionName", cluster_admins::GET_TOKEN_SESSION)],
            self.timeout,
            self.calls,
        )
        .await
    }

    async fn cluster(&self) -> Fact<eks::Cluster> {
        if let Some(blocked) = self.blocked(&format!("eks:DescribeCluster {}", self.target.cluster)) {
            return blocked;
        }
        let client = aws_sdk_eks::Client::new(&self.session.config);
        eks::describe_cluster(
            &client,
            &self.target.cluster,
            &self.target.region,
            self.timeout,
            self.calls,
        )
        .await
    }

    async fn access_entries(&self) -> Fact<Vec<AccessEntry>> {
        if let Some(blocked) = self.blocked(&format!("eks:ListAccessEntries {}", self.target.cluster)) {
            return blocked;
        }
        let client = aws_sdk_eks::Client::new(&self.session.config);
        eks::access_entries(
            &client,
            &self.target.cluster,
            &self.target.region,
            self.timeout,
            self.calls,
        )
        .await
    }

    /// Fargate profiles with their roles, and managed node groups.
    async fn compute(&self) -> compute::Compute {
        let Target { cluster, region, .. } = self.target;
        let client = aws_sdk_eks::Client::new(&self.session.config);
        let fargate = async {
            if let Some(blocked) = self.blocked(&format!("eks:ListFargateProfiles {cluster}")) {
                return (blocked, BTreeMap::new());
            }
            let profiles =
                compute::fargate_profiles(&client, cluster, region, self.timeout, self.calls).await;
            let roles = self
                .roles(
                    profiles
                        .known()
                        .into_iter()
                        .flatten()
                        .map(|profile| arn::role_name(&profile.role_arn)),
                )
                .await;
            (profiles, roles)
        };
        let node_groups = async {
            if let Some(blocked) = self.blocked(&format!("eks:ListNodegroups {cluster}")) {
                return blocked;
            }
            compute::node_groups(&client, cluster, region, self.timeout, self.calls).await
        };
        let ((fargate_profiles, fargate_roles), node_groups) = join!(fargate, node_groups);
        compute::Compute {
            fargate_profiles,
            fargate_roles,
            node_groups,
        }
    }

    /// Roles by their names, each read once, a bounded number at a time.
    async fn roles(&self, names: impl Iterator<Item = String>) -> BTreeMap<String, Fact<crate::model::Role>> {
        let names: BTreeSet<String> = names.collect();
        stream::iter(names)
            .map(|name| async move {
                let role = self.role(&name).await;
                (name, role)
            })
            .buffered(AT_ONCE)
            .collect()
            .await
    }

    async fn role(&self, name: &str) -> Fact<crate::model::Role> {
        if let Some(blocked) = self.blocked(&format!("iam:GetRole {name}")) {
            return blocked;
        }
        let client = aws_sdk_iam::Client::new(&self.session.config);
        let read = || iam::get_role(&client, &self.target.partition, name, self.timeout, self.calls);
        self.roles.cell(name).get_or_init(read).await.clone()
    }

    async fn attached_policies(&self, name: &str) -> Fact<Vec<String>> {
        if let Some(blocked) = self.blocked(&format!("iam:ListAttachedRolePolicies {name}")) {
            return blocked;
        }
        let client = aws_sdk_iam::Client::new(&self.session.config);
        iam::attached_policies(&client, &self.target.partition, name, self.timeout, self.calls).await
    }

    async fn pod_identity_associations(&self) -> Fact<Vec<Association>> {
        let Target { cluster, region, .. } = self.target;
        if let Some(blocked) = self.blocked(&format!("eks:ListPodIdentityAssociations {cluster}")) {
            return blocked;
        }
        let client = aws_sdk_eks::Client::new(&self.session.config);
        eks::pod_identity_associations(&client, cluster, region, self.timeout, self.calls).await
    }

    async fn pod_identity_association(&self, listed: Association) -> Fact<Association> {
        let Target { cluster, region, .. } = self.target;
        let client = aws_sdk_eks::Client::new(&self.session.config);
        eks::pod_identity_association(&client, cluster, region, listed, self.timeout, self.calls).await
    }

    async fn agent_addon(&self) -> Fact<String> {
        let Target { cluster, region, .. } = self.target;
        const AGENT: &str = controller::AGENT;
        if let Some(blocked) = self.blocked(&format!("eks:DescribeAddon {cluster} {AGENT}")) {
            return blocked;
        }
        let client = aws_sdk_eks::Client::new(&self.session.config);
        eks::addon_status(&client, cluster, region, AGENT, self.timeout, self.calls).await
    }

    /// The provider of the cluster's issuer, in the cluster's account.
    async fn oidc_provider(&self, cluster: &Fact<eks::Cluster>) -> Fact<crate::model::OidcProvider> {
        const CALL: &str = "iam:GetOpenIDConnectProvider";
        let known = match &cluster.observed {
            Observed::Known(known) => known,
            Observed::Absent => return Fact::not_asked(CALL, "the cluster was not found"),
            Observed::Unknown(unknown) => return unread(CALL, unknown),
        };
        let issuer = known.oidc_issuer.as_deref().map(|issuer| {
            issuer
                .strip_prefix("https://")
                .unwrap_or(issuer)
                .trim_end_matches('/')
        });
        let (Some(issuer), Some(account)) = (issuer, known.account()) else {
            return Fact::not_asked(CALL, "eks:DescribeCluster shows no OIDC issuer");
        };
        let arn = format!(
            "arn:{}:iam::{account}:oidc-provider/{issuer}",
            self.target.partition
        );
        let client = aws_sdk_iam::Client::new(&self.session.config);
        iam::get_oidc_provider(&client, &arn, self.timeout, self.calls).await
    }

    /// The quotas that the spot instances of these pools count against.
    async fn spot_quotas(&self, wanted: Vec<SpotQuota>) -> Vec<quotas::QuotaFact> {
        let patience = self.timeout.min(quotas::PATIENCE);
        let client = quotas::client(&self.session.config, patience);
        let Target {
            partition, region, ..
        } = self.target;
        future::join_all(wanted.into_iter().map(|quota| {
            let client = &client;
            async move {
                if let Some(vcpus) = self.blocked(&quotas::call(quota)) {
                    return quotas::QuotaFact { quota, vcpus };
                }
                quotas::get(client, partition, region, quota, patience, self.calls).await
            }
        }))
        .await
    }

    async fn instance_profile(&self, name: &str) -> Fact<crate::model::InstanceProfile> {
        if let Some(blocked) = self.blocked(&format!("iam:GetInstanceProfile {name}")) {
            return blocked;
        }
        let client = aws_sdk_iam::Client::new(&self.session.config);
        iam::get_instance_profile(&client, &self.target.partition, name, self.timeout, self.calls).await
    }
}

/// Why the simulator was not asked.
const ROLE_NOT_MISSING: &str = "the role is not missing";

/// A fact that could not be read for this reason.
fn unread<T>(call: impl Into<String>, unknown: &Unknown) -> Fact<T> {
    Fact::new(call, Observed::Unknown(unknown.clone()))
}

/// What several readers wait for, read once by whoever needs it first.
#[derive(Default)]
struct Shared {
    caller: OnceCell<Fact<sts::Caller>>,
    cluster: OnceCell<Fact<eks::Cluster>>,
    access_entries: OnceCell<Fact<Vec<AccessEntry>>>,
    aws_auth: OnceCell<Fact<aws_auth::AwsAuth>>,
    spot_role: OnceCell<Fact<crate::model::Role>>,
    pools: OnceCell<karpenter::Pools>,
    claims: OnceCell<Fact<ClaimFold>>,
    deployments: OnceCell<Fact<karpenter::List<Deployment>>>,
}

impl Shared {
    async fn cluster(&self, aws: &Aws<'_>) -> &Fact<eks::Cluster> {
        self.cluster.get_or_init(|| aws.cluster()).await
    }

    async fn caller(&self, aws: &Aws<'_>) -> &Fact<sts::Caller> {
        self.caller.get_or_init(|| aws.caller()).await
    }

    async fn access_entries(&self, aws: &Aws<'_>) -> &Fact<Vec<AccessEntry>> {
        self.access_entries.get_or_init(|| aws.access_entries()).await
    }

    async fn aws_auth(&self, api: &Result<Api, Unknown>, calls: &Calls) -> &Fact<aws_auth::AwsAuth> {
        let read = || async {
            match api {
                Ok(api) => aws_auth::read(api, calls).await,
                Err(unknown) => unread(aws_auth::grant().action(), unknown),
            }
        };
        self.aws_auth.get_or_init(read).await
    }

    async fn spot_role(&self, aws: &Aws<'_>) -> &Fact<crate::model::Role> {
        self.spot_role.get_or_init(|| aws.role(SPOT_ROLE)).await
    }

    async fn pools(&self, api: &Result<Api, Unknown>, calls: &Calls) -> &karpenter::Pools {
        let read = || async {
            match api {
                Ok(api) => karpenter::pools(api, calls).await,
                Err(unknown) => karpenter::Pools {
                    node_pools: unread("list nodepools.karpenter.sh", unknown),
                    node_classes: unread("list ec2nodeclasses.karpenter.k8s.aws", unknown),
                },
            }
        };
        self.pools.get_or_init(read).await
    }

    async fn claims(&self, api: &Result<Api, Unknown>, now: Timestamp, calls: &Calls) -> &Fact<ClaimFold> {
        let read = || async {
            match api {
                Ok(api) => karpenter::claims(api, now, calls).await,
                Err(unknown) => unread("list nodeclaims.karpenter.sh", unknown),
            }
        };
        self.claims.get_or_init(read).await
    }

    async fn deployments(
        &self,
        api: &Result<Api, Unknown>,
        aws: &Aws<'_>,
    ) -> &Fact<karpenter::List<Deployment>> {
        self.deployments
            .get_or_init(|| controller::deployments(api, aws))
            .await
    }
}

struct KubernetesSide {
    user: Fact<access::KubernetesUser>,
    aws_auth: Fact<aws_auth::AwsAuth>,
    validation_webhook: Fact<aws_auth::Webhook>,
    pools: karpenter::Pools,
    node_roles: Fact<Vec<NodeRole>>,
    controller: controller::Controller,
    traces: traces::Traces,
    spot_quotas: Vec<quotas::QuotaFact>,
    may_install: Fact<Vec<install::Review>>,
    cluster_admins: Vec<cluster_admins::ClusterAdmin>,
}

/// Reads the cluster, and what of AWS depends on what is in it.
async fn kubernetes_side(
    api: &Result<Api, Unknown>,
    aws: &Aws<'_>,
    ask: &Ask,
    shared: &Shared,
    now: Timestamp,
) -> KubernetesSide {
    let calls = aws.calls;
    let user = async {
        match api {
            Ok(api) => access::whoami(api, calls).await,
            Err(unknown) => unread(access::grant().action(), unknown),
        }
    };
    let webhook = async {
        match api {
            Ok(api) => aws_auth::webhook(api, calls).await,
            Err(unknown) => unread(aws_auth::webhook_grant().action(), unknown),
        }
    };
    let events = async {
        match api {
            Ok(api) => traces::events(api, calls).await,
            Err(unknown) => unread("list events", unknown),
        }
    };
    let roles = async { node_roles(shared.pools(api, calls).await, aws, ask).await };
    let spot_quotas = async {
        let pools = shared.pools(api, calls).await;
        aws.spot_quotas(wanted_quotas(pools, ask)).await
    };
    let may_install = async {
        let running = !ask.installing
            && shared
                .deployments(api, aws)
                .await
                .known()
                .is_some_and(|list| !list.items.is_empty());
        if running {
            return Fact::not_asked(
                install::grant().action(),
                "Karpenter is installed, and nothing is about to be",
            );
        }
        install::read(api, aws, ask).await
    };
    let (
        user,
        aws_auth,
        validation_webhook,
        node_roles,
        events,
        claims,
        nodes,
        spot_quotas,
        controller,
        may_install,
        cluster_admins,
    ) = join!(
        user,
        shared.aws_auth(api, calls),
        webhook,
        roles,
        events,
        shared.claims(api, now, calls),
        nodes(api, aws, ask, shared, now),
        spot_quotas,
        controller::read(api, aws, ask, shared),
        may_install,
        cluster_admins::read(api, aws, shared),
    );
    let claims = claims.clone();
    KubernetesSide {
        user,
        aws_auth: aws_auth.clone(),
        validation_webhook,
        pools: shared.pools(api, calls).await.clone(),
        node_roles,
        controller,
        traces: traces::Traces {
            events,
            claims,
            nodes,
        },
        spot_quotas,
        may_install,
        cluster_admins,
    }
}

/// Nodes tell how Karpenter's pools run and whether there is any but Fargate's: where nothing of Karpenter's is there
/// or about to be, nobody needs them.
async fn nodes(
    api: &Result<Api, Unknown>,
    aws: &Aws<'_>,
    ask: &Ask,
    shared: &Shared,
    now: Timestamp,
) -> Fact<NodeFold> {
    const CALL: &str = "list nodes";
    let api_or_why = match api {
        Ok(api) => api,
        Err(unknown) => return unread(CALL, unknown),
    };
    let (pools, claims, deployments) = join!(
        shared.pools(api, aws.calls),
        shared.claims(api, now, aws.calls),
        shared.deployments(api, aws)
    );
    let nothing = match &pools.node_pools.observed {
        Observed::Known(pools) => pools.items.is_empty() && pools.broken.is_empty(),
        Observed::Absent => true,
        Observed::Unknown(_) => false,
    } && match &claims.observed {
        Observed::Known(claims) => claims.seen == 0 && claims.broken.count == 0,
        Observed::Absent => true,
        Observed::Unknown(_) => false,
    } && deployments.known().is_none_or(|list| list.items.is_empty());
    if nothing && !ask.installing {
        return Fact::not_asked(CALL, "there is no node pool and no node claim");
    }
    traces::nodes(api_or_why, aws.calls).await
}

/// The quotas that matter to the pools that can launch spot, those of the file among them; Standard where there is none.
fn wanted_quotas(pools: &karpenter::Pools, ask: &Ask) -> Vec<SpotQuota> {
    let known = pools.node_pools.known().map_or(&[][..], |list| &list.items);
    let filed = ask.nodepools.as_ref().map_or(&[][..], |file| &file.pools);
    let all: Vec<&NodePool> = known.iter().chain(filed).filter(|pool| !pool.deleting).collect();
    if all.is_empty() {
        return vec![SpotQuota::Standard];
    }
    let spot = all
        .into_iter()
        .filter(|pool| spot_verdict(pool).can_launch_spot());
    spot_needs_of(spot)
        .quotas
        .into_iter()
        .map(|need| need.quota)
        .collect()
}

/// Which roles Karpenter's nodes have: the flag's, else every node class's, else the usual names where IAM has them.
async fn node_roles(pools: &karpenter::Pools, aws: &Aws<'_>, ask: &Ask) -> Fact<Vec<NodeRole>> {
    if let Some(given) = &ask.node_role {
        let name = arn::role_name(given);
        let role = aws.role(&name).await;
        let found = NodeRole {
            named_by: NamedBy::Flag,
            given: given.clone(),
            name,
            instance_profile: None,
            os: NodeOs::Linux,
            role,
            profiles_in_use: Vec::new(),
        };
        return Fact::new("--node-role", Observed::Known(vec![found]));
    }
    let classes = match &pools.node_classes.observed {
        Observed::Unknown(unknown) => {
            return Fact::new(
                pools.node_classes.call.clone(),
                Observed::Unknown(unknown.clone()),
            );
        }
        Observed::Absent => &[][..],
        Observed::Known(list) => &list.items[..],
    };
    let filed = ask.nodepools.as_ref().map_or(&[][..], |file| &file.node_classes);
    let classes = if classes.is_empty() { filed } else { classes };
    if classes.is_empty() {
        let names = [
            format!("KarpenterNodeRole-{}", aws.target.cluster),
            format!("{}-node", aws.target.cluster),
        ];
        let roles = future::join_all(names.iter().map(|name| aws.role(name))).await;
        let mut found = Vec::new();
        for (name, role) in names.into_iter().zip(roles) {
            match role.observed {
                Observed::Absent => {}
                Observed::Unknown(unknown) => return Fact::new(role.call, Observed::Unknown(unknown)),
                Observed::Known(_) => found.push(NodeRole {
                    named_by: NamedBy::Convention,
                    given: name.clone(),
                    name,
                    instance_profile: None,
                    os: NodeOs::Linux,
                    role,
                    profiles_in_use: Vec::new(),
                }),
            }
        }
        return Fact::new(
            format!("iam:GetRole KarpenterNodeRole-{0}, {0}-node", aws.target.cluster),
            Observed::Known(found),
        );
    }
    // Several classes often share a role: each name is read once.
    let systems = systems_of(pools, ask);
    let mut wanted: Vec<Wanted> = Vec::new();
    for class in classes {
        let status_profile = class.status_instance_profile.as_ref();
        let want = match (&class.role, class.instance_profile.as_ref().or(status_profile)) {
            (Some(role), _) => Want::Role(role.clone()),
            (None, Some(profile)) => Want::Profile(profile.clone()),
            (None, None) => continue,
        };
        let os = match class.os() {
            NodeOs::Unknown => systems
                .get(class.name.as_str())
                .copied()
                .unwrap_or(NodeOs::Unknown),
            known => known,
        };
        let profile = match (&want, status_profile) {
            (Want::Role(_), Some(profile)) => Some((class.name.clone(), profile.clone())),
            _ => None,
        };
        match wanted
            .iter_mut()
            .find(|known| known.want == want && known.os == os)
        {
            Some(known) => known.profiles.extend(profile),
            None => wanted.push(Wanted {
                class: class.name.clone(),
                os,
                want,
                profiles: profile.into_iter().collect(),
            }),
        }
    }
    let found = stream::iter(wanted)
        .map(|wanted| wanted.read(aws))
        .buffered(AT_ONCE)
        .collect()
        .await;
    Fact::new(pools.node_classes.call.clone(), Observed::Known(found))
}

/// What the node classes' pools say of the operating system, where they leave no choice: a class of the AMI family
/// `Custom` does not tell.
fn systems_of<'a>(pools: &'a karpenter::Pools, ask: &'a Ask) -> BTreeMap<&'a str, NodeOs> {
    let known = pools.node_pools.known().map_or(&[][..], |list| &list.items);
    let filed = ask.nodepools.as_ref().map_or(&[][..], |file| &file.pools);
    let mut systems = BTreeMap::new();
    for pool in known.iter().chain(filed).filter(|pool| !pool.deleting) {
        let Some(class) = &pool.node_class else { continue };
        let admitted = admitted(pool, "kubernetes.io/os");
        match (admitted.has("windows"), admitted.has("linux")) {
            // Windows nodes need one group more than Linux nodes, so that is what a class of both is asked for.
            (true, false) => systems.insert(class.name.as_str(), NodeOs::Windows),
            (false, true) => match systems.get(class.name.as_str()) {
                Some(_) => None,
                None => systems.insert(class.name.as_str(), NodeOs::Linux),
            },
            _ => None,
        };
    }
    systems
}

use crate::model::InstanceProfile;

struct Wanted {
    class: String,
    os: NodeOs,
    want: Want,
    /// Node classes with the instance profiles that they use.
    profiles: Vec<(String, String)>,
}

#[derive(PartialEq, Eq)]
enum Want {
    Role(String),
    Profile(String),
}

impl Wanted {
    async fn read(self, aws: &Aws<'_>) -> NodeRole {
        let named_by = NamedBy::NodeClass { name: self.class };
        match self.want {
            Want::Role(given) => {
                let name = arn::role_name(&given);
                let profiles = stream::iter(self.profiles)
                    .map(|(class, profile)| async move {
                        let profile = aws.instance_profile(&profile).await;
                        ProfileInUse { class, profile }
                    })
                    .buffered(AT_ONCE)
                    .collect();
                let (role, profiles_in_use) = join!(aws.role(&name), profiles);
                NodeRole {
                    named_by,
                    given,
                    name,
                    instance_profile: None,
                    os: self.os,
                    role,
                    profiles_in_use,
                }
            }
            Want::Profile(profile) => {
                let fact = aws.instance_profile(&profile).await;
                let (name, role) = match fact.observed {
                    Observed::Known(InstanceProfile { role: Some(role), .. }) => {
                        (role.name.clone(), Observed::Known(role))
                    }
                    Observed::Known(_) => (String::new(), Observed::Absent),
                    Observed::Absent => (String::new(), Observed::Absent),
                    Observed::Unknown(unknown) => (String::new(), Observed::Unknown(unknown)),
                };
                NodeRole {
                    named_by,
                    given: profile.clone(),
                    name,
                    instance_profile: Some(profile),
                    os: self.os,
                    role: Fact::new(fact.call, role),
                    profiles_in_use: Vec::new(),
                }
            }
        }
    }
}
