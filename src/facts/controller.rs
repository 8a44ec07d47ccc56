//! Karpenter's controller and where its AWS credentials come from: its Deployment and service account (Kubernetes API),
//! Pod Identity associations and the agent's add-on (EKS), the OIDC provider and the role (IAM).

use futures_util::join;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::karpenter::{List, PAGE, observed};
use super::launch_permissions::{self, Permitted};
use super::traces::list_grant;
use super::{Ask, Aws, Shared, eks, launching, unread};
use crate::cluster::Target;
use crate::karpenter::identity::{self, Agent, Association, ClusterIdentity, IdentityFacts, Seen};
use crate::karpenter::objects::{Deployment, ServiceAccount};
use crate::karpenter::traces::NodeFold;
use crate::kube::{Api, Refusal};
use crate::model::{Fact, Grant, Observed, Unknown, Why};

/// The Pod Identity agent: its add-on, its DaemonSet.
pub const AGENT: &str = "eks-pod-identity-agent";
/// How Karpenter's chart labels everything it makes.
pub(super) const SELECTOR: &str = "labelSelector=app.kubernetes.io%2Fname%3Dkarpenter";

/// Everything about the controller's identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Controller {
    /// The Deployments labelled as Karpenter in all namespaces. Known and empty: it does not run here.
    pub deployments: Fact<List<Deployment>>,
    /// The controller's service account, as it is in the cluster.
    pub service_account: Fact<ServiceAccount>,
    /// Where the controller's pods run.
    pub pods: Fact<ControllerPods>,
    /// The cluster's Pod Identity associations, without their roles.
    pub associations: Fact<Vec<Association>>,
    /// The controller's own association, with its role. Absent: there is none.
    pub association: Fact<Association>,
    /// The status of the agent's add-on.
    pub addon: Fact<String>,
    /// The agent's DaemonSet.
    pub agent_pods: Fact<AgentPods>,
    /// The OIDC provider of the cluster's issuer, in the account.
    pub oidc_provider: Fact<crate::model::OidcProvider>,
    /// The controller's role.
    pub role: Fact<crate::model::Role>,
    /// Whether the controller's role (in Auto Mode the cluster's) may create the spot role; asked only when that is
    /// missing.
    pub may_create: Fact<crate::model::Simulation>,
    /// What the controller's role may do of what a launch takes.
    #[serde(default = "not_simulated")]
    pub may_launch: Fact<Vec<Permitted>>,
}

/// What facts of earlier versions say of it.
fn not_simulated() -> Fact<Vec<Permitted>> {
    Fact::not_asked(launch_permissions::CALL, "these facts are of an earlier version")
}

/// The controller's pods.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ControllerPods {
    /// How many there are.
    pub total: u64,
    /// How many of them run, or are about to run, on Fargate.
    pub on_fargate: u64,
}

/// The agent's DaemonSet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentPods {
    /// `status.desiredNumberScheduled`.
    pub desired: i64,
    /// `status.numberReady`.
    pub ready: i64,
}

/// The controller whose identity matters: the one about to be installed, else the one that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its service account.
    pub service_account: &'a str,
    /// The Deployment that runs.
    pub running: Option<&'a Deployment>,
    /// The Deployment of the chart, and the service account that the chart makes, if it makes one.
    pub planned: Option<&'a super::install::PlannedController>,
}

impl Controller {
    /// The Deployment that runs the controller, among those that are labelled as Karpenter: the one that has a cluster's
    /// name in its environment (old charts have a webhook's Deployment beside it).
    pub fn running(&self) -> Option<&Deployment> {
        running(&self.deployments)
    }

    /// The controller whose identity matters. None: it is not there, or that could not be read.
    pub fn subject<'a>(&'a self, ask: &'a Ask) -> Option<Subject<'a>> {
        subject(self.running(), ask)
    }
}

pub(super) fn running(deployments: &Fact<List<Deployment>>) -> Option<&Deployment> {
    let all = &deployments.known()?.items;
    all.iter()
        .find(|deployment| deployment.settings.cluster_name.is_some())
        .or_else(|| all.first())
}

fn subject<'a>(running: Option<&'a Deployment>, ask: &'a Ask) -> Option<Subject<'a>> {
    let planned = ask.chart.as_ref().and_then(|chart| chart.controller.as_ref());
    let deployment = planned.map(|planned| &planned.deployment).or(running)?;
    Some(Subject {
        namespace: &deployment.namespace,
        service_account: &deployment.service_account,
        running,
        planned,
    })
}

fn seen<T: Clone>(fact: &Fact<T>) -> Seen<T> {
    match &fact.observed {
        Observed::Known(value) => Seen::Known(value.clone()),
        Observed::Absent => Seen::Absent,
        Observed::Unknown(unknown) => Seen::Unknown(unknown.to_string()),
    }
}

/// What [`identity::judge`] looks at, put together from the facts. None: no controller, or no cluster, is known.
pub fn identity_facts(
    target: &Target,
    ask: &Ask,
    cluster: &Fact<eks::Cluster>,
    controller: &Controller,
    nodes: &Fact<NodeFold>,
) -> Option<IdentityFacts> {
    let subject = controller.subject(ask)?;
    let cluster = cluster.known()?;
    let deployment = match subject.planned {
        Some(planned) => &planned.deployment,
        None => subject.running?,
    };
    let made_by_chart = subject
        .planned
        .and_then(|planned| planned.service_account.clone());
    // The chart's own account is what it will be, whatever is there now.
    let service_account = match made_by_chart {
        Some(account) => Seen::Known(account),
        None => seen(&controller.service_account),
    };
    let must_exist = subject
        .planned
        .is_some_and(|planned| planned.service_account.is_none());
    let mut associations = seen(&controller.associations);
    if let (Seen::Known(all), Some(own)) = (&mut associations, controller.association.known()) {
        for one in all.iter_mut().filter(|one| is_for(one, &subject)) {
            *one = own.clone();
        }
    }
    Some(IdentityFacts {
        cluster: ClusterIdentity {
            name: cluster.name.clone(),
            region: target.region.clone(),
            account: cluster.account().unwrap_or_default().to_owned(),
            partition: target.partition.clone(),
            issuer: cluster.oidc_issuer.clone(),
            auto_mode: cluster.auto_mode,
        },
        namespace: subject.namespace.to_owned(),
        service_account_name: subject.service_account.to_owned(),
        deployment: match subject.running {
            Some(running) => Some(running.name.clone()),
            None => must_exist.then(|| deployment.name.clone()),
        },
        ready: subject.planned.is_none() && deployment.ready_replicas > 0,
        host_network: deployment.host_network,
        env_role_arn: deployment.settings.aws_role_arn.clone(),
        service_account,
        oidc_providers: match seen(&controller.oidc_provider) {
            Seen::Known(provider) => Seen::Known(vec![provider.arn]),
            Seen::Absent => Seen::Known(Vec::new()),
            Seen::Unknown(why) => Seen::Unknown(why),
        },
        associations,
        agent: agent(&controller.addon, &controller.agent_pods),
        controller_on_fargate: match seen(&controller.pods) {
            Seen::Known(pods) => Seen::Known(pods.total > 0 && pods.on_fargate == pods.total),
            Seen::Absent => Seen::Absent,
            Seen::Unknown(why) => Seen::Unknown(why),
        },
        fargate_only: match &nodes.observed {
            Observed::Known(nodes) => nodes.is_fargate_only().map_or(Seen::Absent, Seen::Known),
            Observed::Absent => Seen::Absent,
            Observed::Unknown(unknown) => Seen::Unknown(unknown.to_string()),
        },
        role_trust: match &controller.role.observed {
            Observed::Known(role) => Seen::Known(role.trust.clone()),
            Observed::Absent => Seen::Absent,
            Observed::Unknown(unknown) => Seen::Unknown(unknown.to_string()),
        },
    })
}

fn is_for(association: &Association, subject: &Subject<'_>) -> bool {
    association.namespace == subject.namespace && association.service_account == subject.service_account
}

/// The agent runs as that DaemonSet, whoever installed it: without it there is none, whatever EKS answered or not.
fn agent(addon: &Fact<String>, pods: &Fact<AgentPods>) -> Seen<Agent> {
    match (&addon.observed, &pods.observed) {
        (addon, Observed::Known(pods)) => Seen::Known(Agent {
            addon_status: addon.known().cloned(),
            desired: Some(pods.desired),
            ready: Some(pods.ready),
        }),
        (Observed::Known(status), _) => Seen::Known(Agent {
            addon_status: Some(status.clone()),
            desired: None,
            ready: None,
        }),
        (_, Observed::Absent) => Seen::Absent,
        (_, Observed::Unknown(unknown)) => Seen::Unknown(unknown.to_string()),
    }
}

/// Reads the Deployments labelled as Karpenter, in all namespaces.
pub(super) async fn deployments(api: &Result<Api, Unknown>, aws: &Aws<'_>) -> Fact<List<Deployment>> {
    let grant = list_grant("apps", "deployments");
    let call = grant.action();
    let api = match api {
        Ok(api) => api,
        Err(unknown) => return unread(call, unknown),
    };
    let path = format!("/apis/apps/v1/deployments?{SELECTOR}");
    let listed = api
        .fold(&path, PAGE, &grant, List::default, |list, item| {
            // A server that does not know the selector must not make others Karpenter.
            if Deployment::is_karpenter(&item) {
                match Deployment::from_json(&item) {
                    Ok(deployment) => list.items.push(deployment),
                    Err(broken) => list.broken.push(broken.to_string()),
                }
            }
        })
        .await;
    let observed = observed(&call, listed);
    match &observed {
        Observed::Known(list) => aws.calls.record(&call, format!("{} items", list.items.len())),
        other => aws.calls.observed(&call, other),
    }
    Fact::new(call, observed)
}

/// Reads everything else about the controller. The longest chain: Deployment, service account, role, simulation.
pub(super) async fn read(
    api: &Result<Api, Unknown>,
    aws: &Aws<'_>,
    ask: &Ask,
    shared: &Shared,
) -> Controller {
    let deployments = shared.deployments(api, aws).await.clone();
    let mut controller = Controller {
        deployments,
        ..Controller::not_asked(ask)
    };
    let Some(subject) = controller.subject(ask) else {
        // In Auto Mode the cluster's own role launches; anywhere else nothing of Karpenter's is there.
        let cluster = shared.cluster(aws).await;
        if cluster.known().is_some_and(|cluster| cluster.auto_mode) {
            let (principal, spot_role) = (
                cluster.known().and_then(|cluster| cluster.role_arn.clone()),
                shared.spot_role(aws).await,
            );
            controller.may_create = aws.may_create_as(spot_role, principal.as_deref()).await;
        }
        return controller;
    };
    let (namespace, name) = (subject.namespace.to_owned(), subject.service_account.to_owned());
    let made_by_chart = subject
        .planned
        .is_some_and(|planned| planned.service_account.is_some());
    let associations = async {
        let all = aws.pod_identity_associations().await;
        let own = match &all.observed {
            Observed::Known(all) => all
                .iter()
                .find(|one| one.namespace == namespace && one.service_account == name)
                .cloned(),
            _ => None,
        };
        let own = match (&all.observed, own) {
            (_, Some(own)) => aws.pod_identity_association(own).await,
            (Observed::Unknown(unknown), None) => {
                Fact::new(all.call.clone(), Observed::Unknown(unknown.clone()))
            }
            (_, None) => Fact::new(all.call.clone(), Observed::Absent),
        };
        (all, own)
    };
    let provider = async {
        let cluster = shared.cluster(aws).await;
        aws.oidc_provider(cluster).await
    };
    let account = async {
        if made_by_chart {
            return Fact::not_asked(account_grant(&namespace, &name).action(), "the chart makes it");
        }
        service_account(api, aws, &namespace, &name).await
    };
    let runs_there = subject
        .running
        .is_some_and(|running| running.namespace == namespace);
    let pods = async {
        match runs_there {
            true => shared.controller_pods(api, aws, &namespace).await.clone(),
            false => launching::pods(api, aws, &namespace).await,
        }
    };
    let ((associations, association), oidc_provider, service_account, pods, addon, agent_pods, cluster) = join!(
        associations,
        provider,
        account,
        pods,
        aws.agent_addon(),
        agent_pods(api, aws),
        shared.cluster(aws),
    );
    controller = Controller {
        service_account,
        pods: Fact::new(
            pods.call,
            pods.observed.map(|pods| ControllerPods {
                total: pods.len() as u64,
                on_fargate: pods.iter().filter(|pod| pod.on_fargate).count() as u64,
            }),
        ),
        associations,
        association,
        addon,
        agent_pods,
        oidc_provider,
        ..controller
    };
    let nodes = Fact::not_asked("list nodes", "the role does not depend on it");
    let wanted = identity_facts(aws.target, ask, cluster, &controller, &nodes)
        .as_ref()
        .and_then(identity::role_to_read);
    if let Some(name) = wanted {
        controller.role = aws.role(&name).await;
        let (spot_role, paths) = join!(shared.spot_role(aws), shared.launch_paths(api, aws, ask));
        let principal = controller.role.known().map(|role| role.arn.as_str());
        let (may_create, may_launch) = join!(
            aws.may_create_as(spot_role, principal),
            launch_permissions::read(aws, shared, &paths, &controller, ask),
        );
        controller = Controller {
            may_create,
            may_launch,
            ..controller
        };
    }
    controller
}

impl Controller {
    /// Facts that nobody asked for.
    pub fn not_asked(ask: &Ask) -> Self {
        let because = if ask.installing {
            "the chart about to be installed names no controller"
        } else {
            "Karpenter's controller is not there"
        };
        Self {
            deployments: Fact::not_asked("list deployments.apps", because),
            service_account: Fact::not_asked("get serviceaccounts", because),
            pods: Fact::not_asked("list pods", because),
            associations: Fact::not_asked("eks:ListPodIdentityAssociations", because),
            association: Fact::not_asked("eks:DescribePodIdentityAssociation", because),
            addon: Fact::not_asked(format!("eks:DescribeAddon {AGENT}"), because),
            agent_pods: Fact::not_asked(agent_grant().action(), because),
            oidc_provider: Fact::not_asked("iam:GetOpenIDConnectProvider", because),
            role: Fact::not_asked("iam:GetRole (the controller's)", because),
            may_create: Fact::not_asked("iam:SimulatePrincipalPolicy (as the controller)", because),
            may_launch: Fact::not_asked(launch_permissions::CALL, because),
        }
    }
}

fn account_grant(namespace: &str, name: &str) -> Grant {
    Grant::Rbac {
        verb: "get".to_owned(),
        group: String::new(),
        resource: "serviceaccounts".to_owned(),
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
    }
}

fn agent_grant() -> Grant {
    Grant::Rbac {
        verb: "get".to_owned(),
        group: "apps".to_owned(),
        resource: "daemonsets".to_owned(),
        namespace: Some("kube-system".to_owned()),
        name: Some(AGENT.to_owned()),
    }
}

/// A name as one segment of a path.
pub(super) fn segment(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string()
}

async fn get<T>(
    api: &Result<Api, Unknown>,
    aws: &Aws<'_>,
    path: &str,
    grant: &Grant,
    parse: impl FnOnce(&Value) -> Result<T, String>,
) -> Fact<T> {
    let call = grant.action();
    let api = match api {
        Ok(api) => api,
        Err(unknown) => return unread(call, unknown),
    };
    let observed = match api.get(path, grant).await {
        Ok(value) => match parse(&value) {
            Ok(parsed) => Observed::Known(parsed),
            Err(broken) => Observed::Unknown(Unknown::new(Why::Unusable, broken)),
        },
        Err(Refusal::NotFound) => Observed::Absent,
        Err(Refusal::NotInstalled | Refusal::Gone) => Observed::Unknown(Unknown::new(
            Why::Unusable,
            format!("the answer to {call} was no Kubernetes status: the server is no Kubernetes API"),
        )),
        Err(Refusal::Unknown(unknown)) => Observed::Unknown(unknown),
    };
    aws.calls.observed(&call, &observed);
    Fact::new(call, observed)
}

async fn service_account(
    api: &Result<Api, Unknown>,
    aws: &Aws<'_>,
    namespace: &str,
    name: &str,
) -> Fact<ServiceAccount> {
    let path = format!(
        "/api/v1/namespaces/{}/serviceaccounts/{}",
        segment(namespace),
        segment(name)
    );
    get(api, aws, &path, &account_grant(namespace, name), |value| {
        ServiceAccount::from_json(value).map_err(|broken| broken.to_string())
    })
    .await
}

async fn agent_pods(api: &Result<Api, Unknown>, aws: &Aws<'_>) -> Fact<AgentPods> {
    let path = format!("/apis/apps/v1/namespaces/kube-system/daemonsets/{AGENT}");
    get(api, aws, &path, &agent_grant(), |value| {
        let number = |pointer| value.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
        Ok(AgentPods {
            desired: number("/status/desiredNumberScheduled"),
            ready: number("/status/numberReady"),
        })
    })
    .await
}
