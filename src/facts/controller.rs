//! Karpenter's controller and where its AWS credentials come from: its Deployment and service account (Kubernetes API),
//! Pod Identity associations and the agent's add-on (EKS), the OIDC provider and the role (IAM).

use futures_util::join;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::karpenter::{List, PAGE, observed};
use super::traces::list_grant;
use super::{Ask, Aws, Shared, eks, unread};
use crate::cluster::Target;
use crate::karpenter::identity::{Association, Mechanism};
use crate::karpenter::objects::{Deployment, ServiceAccount};
use crate::kube::{Api, Refusal};
use crate::model::{Fact, Grant, Observed, Unknown, Why};
use iam_policy::arn::Arn;

/// The Pod Identity agent: its add-on, its DaemonSet.
pub const AGENT: &str = "eks-pod-identity-agent";
/// How Karpenter's chart labels everything it makes.
const SELECTOR: &str = "labelSelector=app.kubernetes.io%2Fname%3Dkarpenter";
/// The label that EKS puts on a pod that runs on Fargate.
const FARGATE_PROFILE: &str = "eks.amazonaws.com/fargate-profile";

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
    /// The Deployment of the chart, else the one that runs.
    pub deployment: &'a Deployment,
    /// The Deployment that runs.
    pub running: Option<&'a Deployment>,
    /// The Deployment of the chart, and the service account that the chart makes, if it makes one.
    pub planned: Option<&'a super::install::PlannedController>,
}

impl Controller {
    /// The Deployment that runs the controller, among those that are labelled as Karpenter: the one that has a cluster's
    /// name in its environment (old charts have a webhook's Deployment beside it).
    pub fn running(&self) -> Option<&Deployment> {
        let all = &self.deployments.known()?.items;
        all.iter()
            .find(|deployment| deployment.settings.cluster_name.is_some())
            .or_else(|| all.first())
    }

    /// The controller whose identity matters. None: it is not there, or that could not be read.
    pub fn subject<'a>(&'a self, ask: &'a Ask) -> Option<Subject<'a>> {
        subject(self.running(), ask)
    }
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

    /// How the controller gets credentials.
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
fn role_to_read(mechanism: &Mechanism, cluster: &eks::Cluster, target: &Target) -> Option<String> {
    let arn: Arn = mechanism.role_arn()?.parse().ok()?;
    let here = Some(arn.account.as_str()) == cluster.account() && arn.partition.as_str() == target.partition;
    arn.role_name()
        .filter(|_| here && arn.service == "iam")
        .map(str::to_owned)
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
    let ((associations, association), oidc_provider, service_account, pods, addon, agent_pods, cluster) = join!(
        associations,
        provider,
        account,
        pods(api, aws, &namespace),
        aws.agent_addon(),
        agent_pods(api, aws),
        shared.cluster(aws),
    );
    controller = Controller {
        service_account,
        pods,
        associations,
        association,
        addon,
        agent_pods,
        oidc_provider,
        ..controller
    };
    let wanted = controller
        .subject(ask)
        .zip(cluster.known())
        .and_then(|(subject, cluster)| role_to_read(&controller.mechanism(&subject), cluster, aws.target));
    if let Some(name) = wanted {
        controller.role = aws.role(&name).await;
        let spot_role = shared.spot_role(aws).await;
        let principal = controller.role.known().map(|role| role.arn.as_str());
        controller.may_create = aws.may_create_as(spot_role, principal).await;
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
fn segment(name: &str) -> String {
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

async fn pods(api: &Result<Api, Unknown>, aws: &Aws<'_>, namespace: &str) -> Fact<ControllerPods> {
    let grant = Grant::Rbac {
        verb: "list".to_owned(),
        group: String::new(),
        resource: "pods".to_owned(),
        namespace: Some(namespace.to_owned()),
        name: None,
    };
    let call = grant.action();
    let api = match api {
        Ok(api) => api,
        Err(unknown) => return unread(call, unknown),
    };
    let path = format!("/api/v1/namespaces/{}/pods?{SELECTOR}", segment(namespace));
    let listed = api
        .fold(
            &path,
            PAGE,
            &grant,
            ControllerPods::default,
            |pods: &mut ControllerPods, item| {
                pods.total += 1;
                let labelled = item
                    .get("metadata")
                    .and_then(|metadata| metadata.get("labels")?.get(FARGATE_PROFILE))
                    .is_some();
                let node = item
                    .pointer("/spec/nodeName")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                // EKS names Fargate's nodes so.
                if labelled || node.starts_with("fargate-") {
                    pods.on_fargate += 1;
                }
            },
        )
        .await;
    let observed = observed(&call, listed);
    aws.calls.observed(&call, &observed);
    Fact::new(call, observed)
}
