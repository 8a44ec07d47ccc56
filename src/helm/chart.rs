//! What a rendered chart says: is it Karpenter, for which cluster, under which identity, and what it would create.
//!
//! Pure. The input is what `helm template` prints (or what a post-renderer gets): YAML documents of any origin, so
//! size, depth and aliases are bounded, and a document that can't be read costs that document only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::karpenter::BrokenObject;
use crate::karpenter::objects::{Deployment, ServiceAccount};

/// Largest text that is read. Karpenter's chart with its CRDs renders to half a MiB.
pub const MAX_BYTES: usize = 64 * 1024 * 1024;
/// Most documents.
const MAX_DOCUMENTS: usize = 10_000;
/// Most values (scalars, lists, maps), aliases replayed, in all documents together.
const MAX_VALUES: usize = 4_000_000;
/// Most values that aliases may add to one document.
const MAX_REPLAYED: usize = 20_000;
/// What a refused document with aliases counts for: what it has cost is not known, and twenty of them are enough.
const REFUSED: usize = MAX_VALUES / 20;
/// Deepest nesting: half of what serde_json itself allows, far more than any CRD has.
const MAX_DEPTH: usize = 64;
/// Reading recurses with the depth; an unoptimized build takes more for [`MAX_DEPTH`] levels than a thread's 2 MiB.
const STACK: usize = 16 * 1024 * 1024;
/// Most problems that are kept; all are counted.
const KEPT_PROBLEMS: usize = 20;
/// Longest name that is kept, in characters. Kubernetes allows 253.
const MAX_NAME: usize = 300;

/// Annotation that makes an object a hook.
const HOOK: &str = "helm.sh/hook";

/// What the chart about to be installed says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChartFacts {
    /// The namespace of the release: where objects go that name none.
    pub release_namespace: String,
    /// Karpenter's controller in it. `None`: the chart isn't Karpenter, and checks that need it are skipped.
    pub karpenter: Option<KarpenterChart>,
    /// Further Deployments that look like Karpenter's controller. One cluster can hold one.
    pub other_controllers: Vec<String>,
    /// Everything it would create, in the order rendered; hooks are among them.
    pub objects: Vec<ChartObject>,
    /// Roles and ClusterRoles in it. Creating one needs every right in it, or `escalate`.
    pub roles: Vec<ChartRole>,
    /// RoleBindings and ClusterRoleBindings in it. Creating one needs the rights of its role, or `bind`.
    pub bindings: Vec<ChartBinding>,
    /// `NodePool` and `Provisioner` objects in it, as JSON.
    pub node_pools: Vec<Value>,
    /// `EC2NodeClass`, `AWSNodeTemplate` and Auto Mode's `NodeClass` objects in it, as JSON.
    pub node_classes: Vec<Value>,
    /// Documents that could not be read, at most a few of them.
    pub problems: Vec<ChartProblem>,
    /// How many could not be read.
    pub problem_count: u64,
}

/// Karpenter's controller as the chart would install it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KarpenterChart {
    /// The Deployment, its namespace filled in.
    pub deployment: Deployment,
    /// The cluster that it will work on.
    pub cluster_name: ClusterName,
    /// The service account that it will run as, where the chart makes it. `None`: `serviceAccount.create` is false and
    /// the account named in the Deployment must be there already.
    pub service_account: Option<ServiceAccount>,
    /// `FEATURE_GATES`, taken apart.
    pub feature_gates: BTreeMap<String, bool>,
}

/// How the chart names the EKS cluster (`settings.clusterName`, `CLUSTER_NAME`, `--cluster-name`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClusterName {
    /// By this name.
    Named(String),
    /// Through a Secret, ConfigMap or field, which is not read.
    Elsewhere,
    /// Not at all: the controller stops at its start (`missing field, cluster-name`).
    Missing,
}

/// One object of the chart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChartObject {
    /// The API group, empty for the core group.
    pub group: String,
    /// The version in it.
    pub version: String,
    /// The kind.
    pub kind: String,
    /// The resource in the API's paths and in RBAC: from the chart's own CRD, a list of irregular ones, or by the
    /// rule that generated clients use.
    pub resource: String,
    /// Where it lives.
    pub scope: Scope,
    /// `metadata.name`, empty where the chart leaves it to `generateName`.
    pub name: String,
    /// The hooks it is for (`pre-install`, `test`); empty for an ordinary object.
    pub hooks: Vec<String>,
    /// A CustomResourceDefinition from `crds/` or from a template.
    pub is_crd: bool,
}

/// Where an object lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// In no namespace.
    Cluster,
    /// In this namespace.
    Namespace(String),
    /// The kind is none that Kubernetes has or the chart defines. Helm puts such an object without a namespace into
    /// this one if the kind turns out to be namespaced.
    NamespaceIfNamespaced(String),
}

/// A Role or ClusterRole of the chart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChartRole {
    /// The namespace; `None` for a ClusterRole.
    pub namespace: Option<String>,
    /// `metadata.name`.
    pub name: String,
    /// What it allows.
    pub rules: Vec<Rule>,
    /// It has an `aggregationRule`, whose creation needs every right there is (or `escalate`).
    pub aggregates: bool,
}

/// A RoleBinding or ClusterRoleBinding of the chart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChartBinding {
    /// The namespace; `None` for a ClusterRoleBinding.
    pub namespace: Option<String>,
    /// `metadata.name`.
    pub name: String,
    /// `Role` or `ClusterRole`.
    pub role_kind: String,
    /// The role that it binds.
    pub role_name: String,
}

/// One rule of a role (rbac.authorization.k8s.io/v1 PolicyRule).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    /// API groups, `""` for core, `*` for all.
    pub api_groups: Vec<String>,
    /// Resources and subresources.
    pub resources: Vec<String>,
    /// Verbs.
    pub verbs: Vec<String>,
    /// Only these objects; empty for all.
    pub resource_names: Vec<String>,
    /// Paths that are no resources.
    #[serde(rename = "nonResourceURLs")]
    pub non_resource_urls: Vec<String>,
}

/// A document that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChartProblem {
    /// The template it comes from (helm's `# Source:` line), or `document N`.
    pub place: String,
    /// What is wrong.
    pub problem: String,
}

/// The rendered text as a whole can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChartError {
    /// Larger than [`MAX_BYTES`].
    #[error("the rendered chart is larger than {} MiB", MAX_BYTES / (1024 * 1024))]
    TooLarge,
    /// Too many documents, or too many values in them.
    #[error("the rendered chart holds more than can be looked at ({0})")]
    TooMuch(&'static str),
}

impl ChartObject {
    /// Whether installing (`upgrade` false) or upgrading creates it. Tests and the hooks of other occasions are not
    /// created; helm's own list of hooks is `release.HookEvent`.
    pub fn is_created(&self, upgrade: bool) -> bool {
        let occasions = if upgrade {
            ["pre-upgrade", "post-upgrade"]
        } else {
            ["pre-install", "post-install"]
        };
        self.hooks.is_empty() || self.hooks.iter().any(|hook| occasions.contains(&hook.as_str()))
    }

    /// The namespace to ask about, where it has one.
    pub fn namespace(&self) -> Option<&str> {
        match &self.scope {
            Scope::Cluster => None,
            Scope::Namespace(name) | Scope::NamespaceIfNamespaced(name) => Some(name),
        }
    }
}

impl ChartFacts {
    /// Reads a rendered chart. `release_namespace` is where helm puts what names no namespace.
    ///
    /// # Errors
    /// When the text as a whole is beyond the bounds. Single documents that can't be read become
    /// [`ChartFacts::problems`].
    pub fn read(rendered: &str, release_namespace: &str) -> Result<Self, ChartError> {
        if rendered.len() > MAX_BYTES {
            return Err(ChartError::TooLarge);
        }
        std::thread::scope(|scope| {
            let reader = std::thread::Builder::new()
                .stack_size(STACK)
                .spawn_scoped(scope, || read(rendered, release_namespace));
            match reader.map(std::thread::ScopedJoinHandle::join) {
                Ok(Ok(facts)) => facts,
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                Err(_) => read(rendered, release_namespace),
            }
        })
    }
}

/// A document of the text and where it comes from.
struct Document<'a> {
    place: String,
    text: &'a str,
}

/// Splits at `---`, as helm does, so that one broken document leaves the others readable.
fn documents(text: &str) -> impl Iterator<Item = Document<'_>> {
    let mut starts = vec![0];
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        if let Some(rest) = line.strip_prefix("---")
            && rest.chars().next().is_none_or(char::is_whitespace)
        {
            starts.push(offset);
        }
        offset += line.len();
    }
    let ends: Vec<_> = starts.iter().skip(1).copied().chain([text.len()]).collect();
    let mut number = 0;
    starts.into_iter().zip(ends).filter_map(move |(start, end)| {
        let text = &text[start..end];
        let blank = |line: &str| {
            let line = line.strip_prefix("---").unwrap_or(line).trim();
            line.is_empty() || line.starts_with('#')
        };
        if text.lines().all(blank) {
            return None;
        }
        number += 1;
        let source = text
            .lines()
            .take(3)
            .find_map(|line| line.strip_prefix("# Source: "));
        let place = source.map_or_else(|| format!("document {number}"), |source| clip(source.trim()));
        Some(Document { place, text })
    })
}

fn clip(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect()
}

fn options(values: usize) -> serde_yaml::Options {
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_documents: 2,
            max_nodes: values,
            max_events: values.saturating_mul(2),
            max_depth: MAX_DEPTH,
            max_aliases: 10_000,
            max_anchors: 10_000,
            max_merge_keys: 10_000,
        },
        alias_limits: serde_yaml::alias_limits! {
            max_total_replayed_events: MAX_REPLAYED.min(values),
            max_replay_stack_depth: 16,
        },
        with_snippet: false,
    }
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum::<usize>(),
        _ => 0,
    }
}

fn read(rendered: &str, release_namespace: &str) -> Result<ChartFacts, ChartError> {
    let mut facts = ChartFacts {
        release_namespace: release_namespace.to_owned(),
        ..ChartFacts::default()
    };
    let mut values = MAX_VALUES;
    let mut found = Found::default();
    for (index, document) in documents(rendered).enumerate() {
        if index == MAX_DOCUMENTS {
            return Err(ChartError::TooMuch("documents"));
        }
        if values == 0 {
            return Err(ChartError::TooMuch("values"));
        }
        match serde_yaml::from_str_with_options::<Value>(document.text, options(values)) {
            Ok(value) => {
                values = values.saturating_sub(count(&value));
                found.take(&document.place, value, &mut facts);
            }
            Err(error) => {
                let aliases = document.text.contains('*');
                values = values.saturating_sub(if aliases { REFUSED } else { document.text.len() });
                let error = error.without_snippet();
                problem(
                    &mut facts,
                    &document.place,
                    format!(
                        "is not YAML: {}",
                        error.render_with_formatter(&serde_yaml::UserMessageFormatter)
                    ),
                );
            }
        }
    }
    found.finish(&mut facts);
    Ok(facts)
}

fn problem(facts: &mut ChartFacts, place: &str, problem: String) {
    facts.problem_count += 1;
    if facts.problems.len() < KEPT_PROBLEMS {
        facts.problems.push(ChartProblem {
            place: place.to_owned(),
            problem: clip(&problem),
        });
    }
}

/// What is only understood when all documents have been seen.
#[derive(Default)]
struct Found {
    /// (group, kind) to (plural, cluster-scoped) of the CRDs.
    defined: BTreeMap<(String, String), (String, bool)>,
    controllers: Vec<(Deployment, ClusterName)>,
    accounts: Vec<ServiceAccount>,
    /// `metadata.namespace` of each object.
    namespaces: Vec<Option<String>>,
    /// `aws.clusterName` of the ConfigMap that charts up to 0.31 keep their settings in.
    global_settings: Option<String>,
}

fn text<'a>(value: &'a Value, path: &[&str]) -> Option<&'a str> {
    path.iter().try_fold(value, |value, key| value.get(key))?.as_str()
}

impl Found {
    fn take(&mut self, place: &str, value: Value, facts: &mut ChartFacts) {
        let kind = text(&value, &["kind"]).map(clip);
        let api = text(&value, &["apiVersion"]).map(clip);
        let (kind, api) = match (kind, api) {
            (Some(kind), Some(api)) => (kind, api),
            _ if value.is_null() => return,
            _ => {
                problem(
                    facts,
                    place,
                    "has no apiVersion and kind: it is not a Kubernetes object".to_owned(),
                );
                return;
            }
        };
        let (group, version) = match api.split_once('/') {
            Some((group, version)) => (group.to_owned(), version.to_owned()),
            None => (String::new(), api),
        };
        if group.is_empty() && kind == "List" {
            if let Value::Object(mut fields) = value
                && let Some(Value::Array(items)) = fields.shift_remove("items")
            {
                for item in items {
                    self.take(place, item, facts);
                }
            }
            return;
        }
        let name = text(&value, &["metadata", "name"]).map(clip).unwrap_or_default();
        let namespace = text(&value, &["metadata", "namespace"])
            .filter(|name| !name.is_empty())
            .map(clip);
        let hooks = value
            .get("metadata")
            .and_then(|metadata| metadata.get("annotations")?.get(HOOK)?.as_str())
            .map(|hooks| {
                hooks
                    .split(',')
                    .map(|hook| clip(hook.trim()))
                    .filter(|hook| !hook.is_empty())
                    .collect()
            })
            .unwrap_or_default();
        let is_crd = group == "apiextensions.k8s.io" && kind == "CustomResourceDefinition";
        self.look_into(place, &group, &kind, &name, namespace.as_deref(), &value, facts);
        facts.objects.push(ChartObject {
            group,
            version,
            kind,
            resource: String::new(),
            scope: Scope::Cluster,
            name,
            hooks,
            is_crd,
        });
        self.namespaces.push(namespace);
    }

    #[allow(clippy::too_many_arguments)]
    fn look_into(
        &mut self,
        place: &str,
        group: &str,
        kind: &str,
        name: &str,
        namespace: Option<&str>,
        value: &Value,
        facts: &mut ChartFacts,
    ) {
        let namespaced = || namespace.unwrap_or(&facts.release_namespace).to_owned();
        match (group, kind) {
            ("apps", "Deployment") if is_controller(value) => match Deployment::from_json(value) {
                Ok(mut deployment) => {
                    deployment.namespace = namespaced();
                    self.controllers.push((deployment, cluster_name(value)));
                }
                Err(broken) => broken_object(facts, place, &broken),
            },
            ("", "ServiceAccount") => match ServiceAccount::from_json(value) {
                Ok(mut account) => {
                    account.namespace = namespaced();
                    self.accounts.push(account);
                }
                Err(broken) => broken_object(facts, place, &broken),
            },
            ("", "ConfigMap") if name == "karpenter-global-settings" => {
                self.global_settings = text(value, &["data", "aws.clusterName"])
                    .filter(|name| !name.is_empty())
                    .map(clip);
            }
            ("apiextensions.k8s.io", "CustomResourceDefinition") => {
                if let (Some(group), Some(kind), Some(plural)) = (
                    text(value, &["spec", "group"]),
                    text(value, &["spec", "names", "kind"]),
                    text(value, &["spec", "names", "plural"]),
                ) {
                    let cluster = text(value, &["spec", "scope"]) == Some("Cluster");
                    self.defined
                        .insert((clip(group), clip(kind)), (clip(plural), cluster));
                }
            }
            ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => {
                let rules = match value.get("rules") {
                    None | Some(Value::Null) => Ok(Vec::new()),
                    Some(rules) => Vec::<Rule>::deserialize(rules),
                };
                match rules {
                    Ok(rules) => facts.roles.push(ChartRole {
                        namespace: (kind == "Role").then(namespaced),
                        name: name.to_owned(),
                        rules,
                        aggregates: value.get("aggregationRule").is_some_and(|rule| !rule.is_null()),
                    }),
                    Err(error) => problem(facts, place, format!("has rules that can't be read: {error}")),
                }
            }
            ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
                facts.bindings.push(ChartBinding {
                    namespace: (kind == "RoleBinding").then(namespaced),
                    name: name.to_owned(),
                    role_kind: text(value, &["roleRef", "kind"]).map(clip).unwrap_or_default(),
                    role_name: text(value, &["roleRef", "name"]).map(clip).unwrap_or_default(),
                });
            }
            ("karpenter.sh", "NodePool" | "Provisioner") => facts.node_pools.push(value.clone()),
            ("karpenter.k8s.aws", "EC2NodeClass" | "AWSNodeTemplate")
            | ("eks.amazonaws.com", "NodeClass") => {
                facts.node_classes.push(value.clone());
            }
            _ => {}
        }
    }

    fn finish(self, facts: &mut ChartFacts) {
        for (object, namespace) in facts.objects.iter_mut().zip(self.namespaces) {
            let key = (object.group.clone(), object.kind.clone());
            let defined = self.defined.get(&key);
            object.resource = match defined {
                Some((plural, _)) => plural.clone(),
                None => plural(&object.kind),
            };
            let cluster = match defined {
                Some((_, cluster)) => Some(*cluster),
                None => cluster_scoped(&object.group, &object.kind),
            };
            let given = namespace.is_some();
            let namespace = namespace.unwrap_or_else(|| facts.release_namespace.clone());
            object.scope = match cluster {
                Some(true) => Scope::Cluster,
                Some(false) => Scope::Namespace(namespace),
                None if given => Scope::Namespace(namespace),
                None => Scope::NamespaceIfNamespaced(namespace),
            };
        }
        let mut controllers = self.controllers.into_iter();
        if let Some((deployment, cluster_name)) = controllers.next() {
            let cluster_name = match (cluster_name, self.global_settings) {
                (ClusterName::Missing | ClusterName::Elsewhere, Some(name)) => ClusterName::Named(name),
                (name, _) => name,
            };
            let service_account = self.accounts.into_iter().find(|account| {
                account.name == deployment.service_account && account.namespace == deployment.namespace
            });
            let feature_gates = deployment
                .settings
                .feature_gates
                .as_deref()
                .map(feature_gates)
                .unwrap_or_default();
            facts.karpenter = Some(KarpenterChart {
                deployment,
                cluster_name,
                service_account,
                feature_gates,
            });
        }
        facts.other_controllers = controllers
            .map(|(deployment, _)| format!("{}/{}", deployment.namespace, deployment.name))
            .collect();
    }
}

fn broken_object(facts: &mut ChartFacts, place: &str, broken: &BrokenObject) {
    problem(facts, place, format!("{broken}"));
}

fn containers(deployment: &Value) -> impl Iterator<Item = &Value> {
    deployment
        .pointer("/spec/template/spec/containers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn environment(container: &Value) -> impl Iterator<Item = &Value> {
    container
        .get("env")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// Whether a Deployment is Karpenter's controller: labelled as the chart does it, or, where an umbrella chart has
/// changed the name, with the environment that only Karpenter's chart gives. (The old chart's separate webhook bears
/// the label too, but no container called `controller`.)
fn is_controller(deployment: &Value) -> bool {
    let container =
        |name: &str| containers(deployment).any(|container| text(container, &["name"]) == Some(name));
    if Deployment::is_karpenter(deployment) {
        return container("controller") || !container("webhook");
    }
    containers(deployment).any(|container| {
        let image = text(container, &["image"]).unwrap_or_default();
        let image = image.split('@').next().unwrap_or_default();
        let (path, last) = image.rsplit_once('/').unwrap_or(("", image));
        let repository = last.split(':').next().unwrap_or_default();
        repository == "controller" && path.rsplit('/').next() == Some("karpenter")
            || environment(container).any(|variable| text(variable, &["name"]) == Some("KARPENTER_SERVICE"))
    })
}

/// The cluster's name as the controller will see it: its `--cluster-name` flag stands over CLUSTER_NAME
/// (karpenter-provider-aws, `pkg/operator/options`).
fn cluster_name(deployment: &Value) -> ClusterName {
    let all: Vec<_> = containers(deployment).collect();
    let controller = all
        .iter()
        .find(|container| text(container, &["name"]) == Some("controller"))
        .or(all.first());
    let Some(container) = controller else {
        return ClusterName::Missing;
    };
    let words: Vec<&str> = ["command", "args"]
        .iter()
        .filter_map(|field| container.get(field)?.as_array())
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (index, word) in words.iter().enumerate() {
        let name = word
            .strip_prefix("--")
            .or_else(|| word.strip_prefix('-'))
            .unwrap_or("");
        let value = match name.split_once('=') {
            Some(("cluster-name", value)) => Some(value),
            None if name == "cluster-name" => words.get(index + 1).copied(),
            _ => None,
        };
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            return ClusterName::Named(clip(value));
        }
    }
    // The last one of a name counts (a container's environment is a map to the kubelet).
    let variable = environment(container)
        .filter(|variable| text(variable, &["name"]) == Some("CLUSTER_NAME"))
        .last();
    match variable {
        Some(variable) => match text(variable, &["value"]) {
            Some(value) if !value.is_empty() => ClusterName::Named(clip(value)),
            _ if variable.get("valueFrom").is_some_and(|from| !from.is_null()) => ClusterName::Elsewhere,
            _ => ClusterName::Missing,
        },
        None if container
            .get("envFrom")
            .and_then(Value::as_array)
            .is_some_and(|from| !from.is_empty()) =>
        {
            ClusterName::Elsewhere
        }
        None => ClusterName::Missing,
    }
}

/// `A=true,B=false`, as Karpenter reads it; what isn't of that form is left out.
fn feature_gates(text: &str) -> BTreeMap<String, bool> {
    text.split(',')
        .filter_map(|gate| {
            let (name, on) = gate.split_once('=')?;
            Some((clip(name.trim()), on.trim().parse().ok()?))
        })
        .take(100)
        .collect()
}

/// The resource of a kind by the rule of Kubernetes' code generators (`meta.UnsafeGuessKindToResource`).
fn plural(kind: &str) -> String {
    let lower = kind.to_lowercase();
    // Plural already; the rule would give `endpointses`.
    if lower == "endpoints" {
        return lower;
    }
    let vowel_before_y = ["ay", "ey", "oy", "uy"].iter().any(|end| lower.ends_with(end));
    if ["s", "x", "ch", "sh"].iter().any(|end| lower.ends_with(end)) {
        format!("{lower}es")
    } else if lower.ends_with('y') && !vowel_before_y {
        format!("{}ies", &lower[..lower.len() - 1])
    } else {
        format!("{lower}s")
    }
}

/// Whether a kind of Kubernetes or of Karpenter lives in no namespace. `None`: not known here.
fn cluster_scoped(group: &str, kind: &str) -> Option<bool> {
    let cluster: &[&str] = match group {
        "" => &["Namespace", "Node", "PersistentVolume"],
        "rbac.authorization.k8s.io" => &["ClusterRole", "ClusterRoleBinding"],
        "apiextensions.k8s.io" => &["CustomResourceDefinition"],
        "admissionregistration.k8s.io" => &[
            "MutatingWebhookConfiguration",
            "ValidatingWebhookConfiguration",
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
            "MutatingAdmissionPolicy",
            "MutatingAdmissionPolicyBinding",
        ],
        "apiregistration.k8s.io" => &["APIService"],
        "certificates.k8s.io" => &["CertificateSigningRequest", "ClusterTrustBundle"],
        "flowcontrol.apiserver.k8s.io" => &["FlowSchema", "PriorityLevelConfiguration"],
        "node.k8s.io" => &["RuntimeClass"],
        "scheduling.k8s.io" => &["PriorityClass"],
        "storage.k8s.io" => &[
            "StorageClass",
            "CSIDriver",
            "CSINode",
            "VolumeAttachment",
            "VolumeAttributesClass",
        ],
        "networking.k8s.io" => &["IngressClass", "IPAddress", "ServiceCIDR"],
        "policy" => &["PodSecurityPolicy"],
        "karpenter.sh" => &["NodePool", "NodeClaim", "NodeOverlay", "Provisioner", "Machine"],
        "karpenter.k8s.aws" => &["EC2NodeClass", "AWSNodeTemplate"],
        "eks.amazonaws.com" => &["NodeClass"],
        "apps" | "batch" | "autoscaling" | "coordination.k8s.io" | "discovery.k8s.io" | "events.k8s.io" => {
            &[]
        }
        _ => return None,
    };
    Some(cluster.contains(&kind))
}

#[cfg(test)]
mod tests;
