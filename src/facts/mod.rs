//! Everything that is read, gathered concurrently; the only part that asks AWS and Kubernetes (with [`crate::spot_role`], which
//! writes the one thing). One file a question; [`Reading`] says what waits for what.
//!
//! [`Facts`] are plain values: they can be saved, and judged later without a network.

pub mod access;
mod access_entries;
pub mod account;
mod ask;
pub mod assume;
pub mod aws_auth;
pub mod bindings;
pub mod cluster_admins;
pub mod compute;
mod connect;
pub mod controller;
#[cfg(test)]
pub(crate) mod fixture;
pub mod install;
pub mod karpenter;
pub mod kms;
pub mod launch_permissions;
pub mod launching;
pub mod management;
pub mod mappings;
mod node_roles;
mod pod_identity;
pub mod quotas;
pub mod redact;
pub mod saved;
mod spot_role;
pub mod traces;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use futures_util::stream::{self, StreamExt as _};
use futures_util::{FutureExt as _, join};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::aws::{Limits, Session, Sessions};
// Where they were, for those that name them so.
pub use crate::aws::{eks, iam, sts};
use crate::cluster::{Resolved, Target};
use crate::karpenter::launch_paths::LaunchPaths;
use crate::karpenter::objects::Deployment;
use crate::karpenter::traces::ClaimFold;
use crate::kube::Api;
use crate::model::{Call, Caller, Calls, Cluster, Fact, Observed, Role, SPOT_ROLE, Simulation, Unknown, Why};
pub use ask::{Ask, PoolsFile};
pub use connect::connect_as;
use eks_aws_auth::AccessEntry;
use iam_policy::arn;
pub use node_roles::{NamedBy, NodeRole};

/// The format of saved facts.
pub const FORMAT: &str = "capt-spot/facts/v1";

/// How many roles or instance profiles are read at a time: IAM's read rate is shared by the whole account.
const AT_ONCE: usize = 16;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// [`FORMAT`].
    pub format: String,
    /// The program's version that gathered them.
    pub version: String,
    pub gathered_at: Timestamp,
    /// `--redact`: identifying values are masked.
    #[serde(default)]
    pub redacted: bool,
    pub ask: Ask,
    pub target: Target,
    /// Who the AWS credentials are.
    pub caller: Fact<Caller>,
    /// The caller's own role, when the caller is a session of one.
    pub caller_role: Fact<Role>,
    /// Whether the caller may create the spot role; asked only when it is missing.
    pub caller_may_create: Fact<Simulation>,
    pub cluster: Fact<Cluster>,
    /// Its access entries. Absent: the cluster has none, in mode CONFIG_MAP.
    pub access_entries: Fact<Vec<AccessEntry>>,
    /// Why the policies of an access entry could not be read, by its principal.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub entry_policies_unread: BTreeMap<String, Unknown>,
    /// The service-linked role for EC2 Spot.
    pub spot_role: Fact<Role>,
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
    pub controller: controller::Controller,
    pub traces: traces::Traces,
    /// What else tells whether Karpenter can launch.
    #[serde(default)]
    pub launching: launching::Launching,
    /// The quotas that the pools' spot instances count against.
    pub spot_quotas: Vec<quotas::QuotaFact>,
    /// Whether the caller may do what installing the chart takes.
    pub may_install: Fact<Vec<install::Review>>,
    /// The roles that administer the cluster, as far as the mappings could be read. Facts of earlier versions have none.
    #[serde(default, alias = "rulers")]
    pub cluster_admins: Vec<cluster_admins::ClusterAdmin>,
    pub calls: Vec<Call>,
}

#[derive(Debug, Clone)]
pub struct Options {
    pub limits: Limits,
    /// `--use-exec`: run the exec plugin even where the token could be made here.
    pub use_exec: bool,
    /// What a run over many clusters shares; none: there is one cluster.
    pub sessions: Option<Sessions>,
}

/// Reads everything, concurrently. The session stays open for the one write.
pub async fn gather(
    resolved: &Resolved,
    ask: &Ask,
    http: &SharedHttpClient,
    options: &Options,
    calls: &Calls,
) -> (Facts, Session) {
    let read = Reading::open(resolved, ask, http, options, calls).await;
    // Each is boxed: together they are more than a thread's stack has.
    let aws = async {
        join!(
            spot_role::policies(&read).boxed_local(),
            spot_role::may_create(&read).boxed_local(),
            read.entries_and_policies().boxed_local(),
            compute::read(&read).boxed_local(),
            node_roles::read(&read).boxed_local(),
            quotas::of_pools(&read).boxed_local(),
            cluster_admins::read(&read).boxed_local(),
        )
    };
    let kubernetes = async {
        join!(
            access::of_caller(&read).boxed_local(),
            read.aws_auth().boxed_local(),
            aws_auth::validation_webhook(&read).boxed_local(),
            traces::read(&read).boxed_local(),
            controller::read(&read).boxed_local(),
            launching::read(&read).boxed_local(),
            install::read(&read).boxed_local(),
        )
    };
    let (
        (
            spot_role_policies,
            caller_may_create,
            access_entries,
            compute,
            node_roles,
            spot_quotas,
            cluster_admins,
        ),
        (kubernetes_user, aws_auth, validation_webhook, traces, controller, launching, may_install),
    ) = join!(aws.boxed_local(), kubernetes.boxed_local());
    let facts = Facts {
        format: FORMAT.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        gathered_at: read.now,
        redacted: false,
        ask: ask.clone(),
        target: read.target_as_read().await,
        caller: read.caller().await.clone(),
        caller_role: read.caller_role().await,
        caller_may_create,
        cluster: read.cluster().await.clone(),
        access_entries: access_entries.entries.clone(),
        entry_policies_unread: access_entries.policies_unread.clone(),
        spot_role: read.spot_role().await.clone(),
        spot_role_policies,
        kubernetes_user,
        aws_auth: aws_auth.clone(),
        validation_webhook,
        compute,
        pools: read.pools().await.clone(),
        node_roles,
        controller,
        traces,
        launching,
        spot_quotas,
        may_install,
        cluster_admins,
        calls: calls.sorted(),
    };
    (facts, read.session)
}

/// What questions are asked with, and what several of them wait for: that is read once, by whoever needs it first.
struct Reading<'a> {
    resolved: &'a Resolved,
    target: &'a Target,
    ask: &'a Ask,
    options: &'a Options,
    now: Timestamp,
    session: Session,
    /// Whose identity the cluster's token has.
    token_session: Session,
    api: OnceCell<Result<Api, Unknown>>,
    caller: OnceCell<Fact<Caller>>,
    cluster: OnceCell<Fact<Cluster>>,
    access_entries: OnceCell<access_entries::Entries>,
    aws_auth: OnceCell<Fact<aws_auth::AwsAuth>>,
    pools: OnceCell<karpenter::Pools>,
    claims: OnceCell<Fact<ClaimFold>>,
    /// The Pods of the controller that runs.
    controller_pods: OnceCell<Fact<Vec<launching::ControllerPod>>>,
    deployments: OnceCell<Fact<karpenter::List<Deployment>>>,
    roles: Mutex<BTreeMap<String, Arc<OnceCell<Fact<Role>>>>>,
}

impl<'a> Reading<'a> {
    async fn open(
        resolved: &'a Resolved,
        ask: &'a Ask,
        http: &SharedHttpClient,
        options: &'a Options,
        calls: &Calls,
    ) -> Self {
        let now = Timestamp::now();
        let (session, token_session) = connect::sessions(resolved, http, options, calls)
            .boxed_local()
            .await;
        Self {
            resolved,
            target: &resolved.target,
            ask,
            options,
            now,
            session,
            token_session,
            api: OnceCell::new(),
            caller: OnceCell::new(),
            cluster: OnceCell::new(),
            access_entries: OnceCell::new(),
            aws_auth: OnceCell::new(),
            pools: OnceCell::new(),
            claims: OnceCell::new(),
            controller_pods: OnceCell::new(),
            deployments: OnceCell::new(),
            roles: Mutex::default(),
        }
    }

    /// The target, with the server that EKS named where no kubeconfig did.
    async fn target_as_read(&self) -> Target {
        let mut target = self.target.clone();
        if self.resolved.endpoint_by_eks
            && let Some(cluster) = self.cluster().await.known()
        {
            target.server = cluster.endpoint.clone().unwrap_or_default();
            target
                .certificate_authority_sha256
                .clone_from(&cluster.certificate_authority_sha256);
        }
        target
    }

    /// The connection to the cluster; a token that is made for it waits for the cluster's endpoint.
    async fn api(&self) -> &Result<Api, Unknown> {
        let connect = async || {
            let api = connect::resolved(self).boxed_local().await?;
            Ok(match self.options.sessions {
                Some(_) => api.giving_up(),
                None => api,
            })
        };
        self.api.get_or_init(connect).await
    }

    /// What `ask` reads of the cluster; `call` names it where there is no connection.
    async fn of_api<T>(&self, call: impl Into<String>, ask: impl AsyncFnOnce(&Api) -> Fact<T>) -> Fact<T> {
        match self.api().await {
            Ok(api) => ask(api).await,
            Err(unknown) => unread(call, unknown),
        }
    }

    async fn caller(&self) -> &Fact<Caller> {
        self.caller
            .get_or_init(|| sts::caller(&self.session).boxed_local())
            .await
    }

    /// The caller's role, whose full ARN (with its path) the simulator wants.
    async fn caller_role(&self) -> Fact<Role> {
        const CALL: &str = "iam:GetRole (the caller's)";
        let Some(caller) = self.caller().await.known() else {
            return Fact::not_asked(CALL, "who the caller is could not be read");
        };
        match arn::assumed_role_name(&caller.arn) {
            Some(name) => self.role(&name).await,
            None => Fact::not_asked(CALL, "the caller is not a session of a role"),
        }
    }

    async fn cluster(&self) -> &Fact<Cluster> {
        self.cluster
            .get_or_init(|| eks::describe_cluster(&self.session, &self.target.cluster).boxed_local())
            .await
    }

    async fn entries_and_policies(&self) -> &access_entries::Entries {
        let read = || async {
            let entries = access_entries::read(&self.session, &self.target.cluster);
            let (mut read, cluster) = join!(entries, self.cluster());
            read.entries = access_entries::agreed(read.entries, cluster);
            read
        };
        self.access_entries.get_or_init(|| read().boxed_local()).await
    }

    async fn access_entries(&self) -> &Fact<Vec<AccessEntry>> {
        &self.entries_and_policies().await.entries
    }

    async fn aws_auth(&self) -> &Fact<aws_auth::AwsAuth> {
        self.aws_auth
            .get_or_init(|| self.of_api(aws_auth::call(), aws_auth::read).boxed_local())
            .await
    }

    async fn spot_role(&self) -> Fact<Role> {
        self.role(SPOT_ROLE).await
    }

    async fn pools(&self) -> &karpenter::Pools {
        let auto_mode = async { Some(self.cluster().await.known()?.auto_mode) };
        let read = || async {
            match self.api().await {
                Ok(api) => karpenter::pools(api, auto_mode).await,
                Err(unknown) => karpenter::unread_pools(unknown),
            }
        };
        self.pools.get_or_init(|| read().boxed_local()).await
    }

    /// The join of pools, classes and roles.
    async fn launch_paths(&self) -> LaunchPaths<'_> {
        let (pools, cluster) = join!(self.pools(), self.cluster());
        pools.launch_paths(self.ask, self.target, cluster)
    }

    async fn controller_pods(&self, namespace: &str) -> &Fact<Vec<launching::ControllerPod>> {
        self.controller_pods
            .get_or_init(|| launching::pods(self, namespace).boxed_local())
            .await
    }

    async fn claims(&self) -> &Fact<ClaimFold> {
        let read = || {
            self.of_api(karpenter::CLAIMS.listed(), async |api: &Api| {
                karpenter::claims(api, self.now).await
            })
        };
        self.claims.get_or_init(|| read().boxed_local()).await
    }

    async fn deployments(&self) -> &Fact<karpenter::List<Deployment>> {
        self.deployments
            .get_or_init(|| {
                self.of_api(controller::DEPLOYMENTS.listed(), controller::deployments)
                    .boxed_local()
            })
            .await
    }

    /// A role by its name, each read once.
    async fn role(&self, name: &str) -> Fact<Role> {
        let cell = {
            let mut cells = self.roles.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(cells.entry(name.to_owned()).or_default())
        };
        let read = || iam::get_role(&self.session, name).boxed_local();
        cell.get_or_init(read).await.clone()
    }

    /// Roles by their names, a bounded number at a time.
    async fn roles(&self, names: impl Iterator<Item = String>) -> BTreeMap<String, Fact<Role>> {
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
}

/// A fact that could not be read for this reason.
fn unread<T>(call: impl Into<String>, unknown: &Unknown) -> Fact<T> {
    Fact::new(call, Observed::Unknown(unknown.clone()))
}

/// A list of something that belongs to a parent. The service says "not found" for it where the parent is not there; where the parent
/// was just read, one of the two answers is wrong.
fn of_parent<T, P>(list: Fact<T>, parent: &Fact<P>) -> Fact<T> {
    if parent.known().is_none() || !list.observed.is_absent() {
        return list;
    }
    let detail = format!(
        "{} answered that what it belongs to does not exist, and {} found that",
        list.call, parent.call
    );
    Fact::new(
        list.call,
        Observed::Unknown(Unknown::new(Why::Incomplete, detail)),
    )
}
