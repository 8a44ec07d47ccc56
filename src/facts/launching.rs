//! What else tells whether Karpenter can launch: its controller's Pods and their logs (Kubernetes API), and the KMS keys of its
//! volumes.

use futures_util::{future, join};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Reading, controller, kms, unread};
use crate::karpenter::traces::LogFold;
use crate::kube::{Api, Resource};
use crate::model::{Fact, Grant, Observed};

/// The label that EKS puts on a pod that runs on Fargate.
const FARGATE_PROFILE: &str = "eks.amazonaws.com/fargate-profile";
/// Most Pods whose logs are read: Karpenter runs two.
const MOST_PODS: usize = 4;
/// Most bytes of one container's log.
const MOST_BYTES: usize = 2 * 1024 * 1024;
/// Most lines of it; Karpenter's have about 500 bytes.
const MOST_LINES: usize = 4000;

const PODS: Resource<'static> = Resource::core("Pod", "pods");

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Launching {
    pub controller_pods: Fact<Vec<ControllerPod>>,
    /// What the logs of their containers tell, current and previous.
    pub log: Fact<LogFold>,
    /// The KMS keys that the node classes in use name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kms_keys: Vec<kms::KmsKey>,
}

impl Default for Launching {
    /// What facts of earlier versions hold.
    fn default() -> Self {
        Self::not_asked("these facts are of an earlier version")
    }
}

impl Launching {
    /// Facts that nobody asked for.
    pub fn not_asked(because: &str) -> Self {
        Self {
            controller_pods: Fact::not_asked("list pods", because),
            log: Fact::not_asked("get pods/log", because),
            kms_keys: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ControllerPod {
    pub name: String,
    /// It runs, or is about to run, on Fargate.
    #[serde(default)]
    pub on_fargate: bool,
    /// What keeps it from being ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<Waiting>,
    /// How often the containers were started again.
    #[serde(default)]
    pub restarts: u64,
}

/// Why a Pod is not ready.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// `ImagePullBackOff`, `CrashLoopBackOff`, `Unschedulable`.
    pub reason: String,
    /// The kubelet's or the scheduler's words.
    pub message: String,
}

impl ControllerPod {
    fn of(pod: &Value) -> Self {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let list = |pointer: &str| {
            pod.pointer(pointer)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
        };
        let labelled = pod
            .get("metadata")
            .and_then(|metadata| metadata.get("labels")?.get(FARGATE_PROFILE))
            .is_some();
        // EKS names Fargate's nodes so.
        let on_node = text(pod.pointer("/spec/nodeName")).starts_with("fargate-");
        let waiting = |value: &Value| Waiting {
            reason: text(value.get("reason")),
            message: text(value.get("message")),
        };
        let of_container = list("/status/containerStatuses")
            .find_map(|status| status.pointer("/state/waiting").map(waiting));
        let of_scheduler = || {
            list("/status/conditions")
                .find(|one| text(one.get("type")) == "PodScheduled" && text(one.get("status")) == "False")
                .map(waiting)
        };
        Self {
            name: text(pod.pointer("/metadata/name")),
            on_fargate: labelled || on_node,
            waits_for: of_container.or_else(of_scheduler),
            restarts: list("/status/containerStatuses")
                .filter_map(|status| status.get("restartCount")?.as_u64())
                .sum(),
        }
    }
}

pub(super) async fn read(read: &Reading<'_>) -> Launching {
    let of_controller = async {
        // The Pods of the controller that runs, whatever is about to be installed.
        let Some(running) = controller::running(read.deployments().await) else {
            return Launching::not_asked("Karpenter's controller is not there");
        };
        let pods = read.controller_pods(&running.namespace).await;
        Launching {
            log: log(read, &running.namespace, pods).await,
            controller_pods: pods.clone(),
            kms_keys: Vec::new(),
        }
    };
    let (launching, kms_keys) = join!(of_controller, kms::read(read));
    Launching {
        kms_keys,
        ..launching
    }
}

pub(super) async fn pods(read: &Reading<'_>, namespace: &str) -> Fact<Vec<ControllerPod>> {
    let pods = PODS.within(namespace);
    let ask = async |api: &Api| {
        api.list(&pods.selected(controller::SELECTOR), Vec::new, |pods, pod| {
            pods.push(ControllerPod::of(pod));
        })
        .await
    };
    read.of_api(pods.listed(), ask).await
}

/// Reads the last lines of the logs of these Pods, of the containers before a restart too.
///
/// Reading a log is more than others may: that it is not allowed lowers nothing.
async fn log(read: &Reading<'_>, namespace: &str, pods: &Fact<Vec<ControllerPod>>) -> Fact<LogFold> {
    let grant = Grant::Rbac {
        verb: "get".to_owned(),
        group: String::new(),
        resource: "pods/log".to_owned(),
        namespace: Some(namespace.to_owned()),
        name: None,
    };
    let call = grant.action();
    let (api, pods) = match (read.api().await, &pods.observed) {
        (Ok(api), Observed::Known(pods)) => (api, pods),
        (Err(unknown), _) | (_, Observed::Unknown(unknown)) => return unread(call, unknown),
        (_, Observed::Absent) => return Fact::not_asked(call, "the controller has no Pods"),
    };
    let wanted = pods.iter().take(MOST_PODS).flat_map(|pod| {
        let previous = (pod.restarts > 0).then_some((&pod.name, true));
        previous.into_iter().chain([(&pod.name, false)])
    });
    let resource = PODS.within(namespace);
    let answers = wanted.map(|(pod, previous)| {
        let query = format!(
            "container=controller&previous={previous}&tailLines={MOST_LINES}&limitBytes={MOST_BYTES}"
        );
        let (resource, grant) = (&resource, &grant);
        async move { (pod, api.log(resource, pod, &query, MOST_BYTES, grant).await) }
    });
    let mut fold = LogFold::default();
    let (mut any, mut refused) = (pods.is_empty(), None);
    for (pod, answer) in future::join_all(answers).await {
        match answer {
            Ok(text) => {
                any = true;
                fold.add_text(pod, &text.unwrap_or_default());
            }
            Err(unknown) => refused = refused.or(Some(unknown)),
        }
    }
    let observed = match refused {
        Some(unknown) if !any => Observed::Unknown(unknown),
        _ => Observed::Known(fold),
    };
    match &observed {
        Observed::Known(fold) => api.calls().record(&call, format!("{} lines", fold.lines)),
        other => api.calls().observed(&call, other),
    }
    Fact::new(call, observed)
}
