//! Karpenter's controller and where its AWS credentials come from: its Deployment and service account (Kubernetes API),
//! Pod Identity associations and the agent's add-on (EKS), the OIDC provider and the role (IAM).

use futures_util::join;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::karpenter::List;
use super::launch_permissions::{self, Permitted};
use super::{Ask, Reading, launching, of_parent, pod_identity, spot_role, unread};
use crate::aws::iam;
use crate::cluster::Target;
use crate::karpenter::identity::{Association, Mechanism};
use crate::karpenter::objects::{Deployment, ServiceAccount};
use crate::kube::{Api, Resource};
use crate::model::{Cluster, Fact, Observed};
use iam_policy::arn::Arn;

/// The Pod Identity agent: its add-on, its DaemonSet.
pub const AGENT: &str = "eks-pod-identity-agent";
/// How Karpenter's chart labels everything it makes.
pub(super) const SELECTOR: &str = "labelSelector=app.kubernetes.io%2Fname%3Dkarpenter";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Controller {
    /// The Deployments labelled as Karpenter in all namespaces. Known and empty: it does not run here.
    pub deployments: Fact<List<Deployment>>,
    /// The controller's service account, as it is in the cluster.
    pub service_account: Fact<ServiceAccount>,
    pub pods: Fact<ControllerPods>,
    /// The cluster's Pod Identity associations, without their roles.
    pub associations: Fact<Vec<Association>>,
    /// The controller's own association, with its role. Absent: there is none.
    pub association: Fact<Association>,
    /// The status of the agent's add-on.
    pub addon: Fact<String>,
    pub agent_pods: Fact<AgentPods>,
    /// The OIDC provider of the cluster's issuer, in the account.
    pub oidc_provider: Fact<crate::model::OidcProvider>,
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

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ControllerPods {
    pub total: u64,
    /// How many of them run, or are about to run, on Fargate.
    pub on_fargate: u64,
}

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
    pub namespace: &'a str,
    pub service_account: &'a str,
    /// The Deployment of the chart, else the one that runs.
    pub deployment: &'a Deployment,
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
        deployment,
        running,
        planned,
    })
}

impl Controller {
    /// The service account of the controller: what the chart makes it, else what is there now.
    pub(crate) fn account<'a>(&'a self, subject: &Subject<'a>) -> Observed<&'a ServiceAccount> {
        if let Some(account) = subject
            .planned
            .and_then(|planned| planned.service_account.as_ref())
        {
            return Observed::Known(account);
        }
        match &self.service_account.observed {
            Observed::Known(account) => Observed::Known(account),
            Observed::Absent => Observed::Absent,
            Observed::Unknown(unknown) => Observed::Unknown(unknown.clone()),
        }
    }

    /// The association for the controller's service account, with its role where that was read.
    pub(crate) fn own_association(&self, subject: &Subject<'_>) -> Option<&Association> {
        let is_own = |one: &&Association| {
            one.namespace == subject.namespace && one.service_account == subject.service_account
        };
        self.association
            .known()
            .filter(is_own)
            .or_else(|| self.associations.known()?.iter().find(is_own))
    }

    pub(crate) fn mechanism(&self, subject: &Subject<'_>) -> Mechanism {
        Mechanism::of(
            &subject.deployment.settings,
            self.own_association(subject),
            self.account(subject).known().copied(),
        )
    }
}

/// The name of the role whose trust policy is needed. None: there is none, or it lies in another account or partition,
/// where a role of the same name here would mislead.
fn role_to_read(mechanism: &Mechanism, cluster: &Cluster, target: &Target) -> Option<String> {
    let arn: Arn = mechanism.role_arn()?.parse().ok()?;
    let here = Some(arn.account.as_str()) == cluster.account() && arn.partition.as_str() == target.partition;
    arn.role_name()
        .filter(|_| here && arn.service == "iam")
        .map(str::to_owned)
}

pub(super) const DEPLOYMENTS: Resource<'static> = Resource::new("apps", "v1", "Deployment", "deployments");
const DAEMON_SETS: Resource<'static> =
    Resource::new("apps", "v1", "DaemonSet", "daemonsets").within("kube-system");
const SERVICE_ACCOUNTS: Resource<'static> = Resource::core("ServiceAccount", "serviceaccounts");

/// Reads the Deployments labelled as Karpenter, in all namespaces.
pub(super) async fn deployments(api: &Api) -> Fact<List<Deployment>> {
    api.list(&DEPLOYMENTS.selected(SELECTOR), List::default, |list, item| {
        // A server that does not know the selector must not make others Karpenter.
        if Deployment::is_karpenter(item) {
            list.add(Deployment::from_json(item).map_err(|broken| broken.to_string()));
        }
    })
    .await
}

/// Reads everything else about the controller. The longest chain: Deployment, service account, role, simulation.
pub(super) async fn read(read: &Reading<'_>) -> Controller {
    let deployments = read.deployments().await.clone();
    let mut controller = Controller {
        deployments,
        ..Controller::not_asked(read.ask)
    };
    let Some(subject) = controller.subject(read.ask) else {
        // In Auto Mode the cluster's own role launches; anywhere else nothing of Karpenter's is there.
        if let Some(cluster) = read.cluster().await.known()
            && cluster.auto_mode
        {
            controller.may_create = spot_role::may_create_as(read, cluster.role_arn.as_deref()).await;
        }
        return controller;
    };
    let (namespace, name) = (subject.namespace.to_owned(), subject.service_account.to_owned());
    let made_by_chart = subject
        .planned
        .is_some_and(|planned| planned.service_account.is_some());
    let account = async {
        let accounts = SERVICE_ACCOUNTS.within(&namespace);
        if made_by_chart {
            return Fact::not_asked(accounts.named(&name), "the chart makes it");
        }
        let ask = async |api: &Api| {
            api.get(&accounts, &name, |value| {
                ServiceAccount::from_json(value).map_err(|broken| broken.to_string())
            })
            .await
        };
        read.of_api(accounts.named(&name), ask).await
    };
    let runs_there = subject
        .running
        .is_some_and(|running| running.namespace == namespace);
    let pods = async {
        let pods = match runs_there {
            true => read.controller_pods(&namespace).await.clone(),
            false => launching::pods(read, &namespace).await,
        };
        let counted = pods.observed.map(|pods| ControllerPods {
            total: pods.len() as u64,
            on_fargate: pods.iter().filter(|pod| pod.on_fargate).count() as u64,
        });
        Fact::new(pods.call, counted)
    };
    let agent = || async {
        join!(
            pod_identity::addon_status(&read.session, &read.target.cluster, AGENT),
            agent_pods(read)
        )
    };
    // Nobody asks about the agent where the controller has another way to credentials: known later, and over many clusters
    // requests count more than one answer's time.
    let many = read.options.sessions.is_some();
    let beside = async {
        match many {
            true => None,
            false => Some(agent().await),
        }
    };
    let ((associations, association), oidc_provider, service_account, pods, beside, cluster) = join!(
        associations(read, &namespace, &name),
        oidc_provider(read),
        account,
        pods,
        beside,
        read.cluster(),
    );
    controller = Controller {
        service_account,
        pods,
        associations,
        association,
        oidc_provider,
        ..controller
    };
    let by_irsa = controller
        .subject(read.ask)
        .is_some_and(|subject| matches!(controller.mechanism(&subject), Mechanism::Irsa { .. }));
    let agent = match beside {
        Some(agent) => Some(agent),
        None if by_irsa => None,
        None => Some(agent().await),
    };
    if let Some((addon, agent_pods)) = agent {
        controller = Controller {
            addon,
            agent_pods,
            ..controller
        };
    }
    let wanted = controller
        .subject(read.ask)
        .zip(cluster.known())
        .and_then(|(subject, cluster)| role_to_read(&controller.mechanism(&subject), cluster, read.target));
    if let Some(name) = wanted {
        controller.role = read.role(&name).await;
        let principal = controller.role.known().map(|role| role.arn.as_str());
        let (may_create, may_launch) = join!(
            spot_role::may_create_as(read, principal),
            launch_permissions::read(read, &controller),
        );
        controller = Controller {
            may_create,
            may_launch,
            ..controller
        };
    }
    controller
}

/// The cluster's Pod Identity associations, and the controller's own with its role.
async fn associations(
    read: &Reading<'_>,
    namespace: &str,
    name: &str,
) -> (Fact<Vec<Association>>, Fact<Association>) {
    let all = pod_identity::associations(&read.session, &read.target.cluster);
    let (all, cluster) = join!(all, read.cluster());
    let all = of_parent(all, cluster);
    let own = match &all.observed {
        Observed::Unknown(unknown) => unread(all.call.clone(), unknown),
        Observed::Absent => Fact::new(all.call.clone(), Observed::Absent),
        Observed::Known(listed) => {
            let mut own = listed
                .iter()
                .filter(|one| one.namespace == namespace && one.service_account == name);
            match own.next() {
                Some(own) => {
                    let own = pod_identity::association(&read.session, &read.target.cluster, own.clone());
                    of_parent(own.await, &all)
                }
                None => Fact::new(all.call.clone(), Observed::Absent),
            }
        }
    };
    (all, own)
}

/// The provider of the cluster's issuer, in the cluster's account.
async fn oidc_provider(read: &Reading<'_>) -> Fact<crate::model::OidcProvider> {
    const CALL: &str = "iam:GetOpenIDConnectProvider";
    let known = match &read.cluster().await.observed {
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
        read.target.partition
    );
    iam::get_oidc_provider(&read.session, &arn).await
}

async fn agent_pods(read: &Reading<'_>) -> Fact<AgentPods> {
    let ask = async |api: &Api| {
        api.get(&DAEMON_SETS, AGENT, |value| {
            let number = |pointer| value.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
            Ok(AgentPods {
                desired: number("/status/desiredNumberScheduled"),
                ready: number("/status/numberReady"),
            })
        })
        .await
    };
    read.of_api(DAEMON_SETS.named(AGENT), ask).await
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
            agent_pods: Fact::not_asked(DAEMON_SETS.named(AGENT), because),
            oidc_provider: Fact::not_asked("iam:GetOpenIDConnectProvider", because),
            role: Fact::not_asked("iam:GetRole (the controller's)", because),
            may_create: Fact::not_asked("iam:SimulatePrincipalPolicy (as the controller)", because),
            may_launch: Fact::not_asked(launch_permissions::CALL, because),
        }
    }
}
