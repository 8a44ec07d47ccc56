//! Typed views of the Kubernetes objects that Karpenter makes or is made of.
//!
//! Each is read from one item of JSON (`serde_json::Value`) and keeps only what judging needs, so that tens of
//! thousands of them fit into little memory. Unknown fields are ignored; a field of the wrong type makes the whole
//! object a [`BrokenObject`], because a half-read object would be judged wrongly.
//!
//! Sources: `pkg/apis/*` of kubernetes-sigs/karpenter and aws/karpenter-provider-aws at the versions named.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json::{At, BrokenObject, Item, clip};

/// The label that says whether a node is spot, on-demand or reserved.
pub const CAPACITY_TYPE_LABEL: &str = "karpenter.sh/capacity-type";
/// The label with the name of the NodePool that made a node or NodeClaim (v1beta1 and later).
pub const NODEPOOL_LABEL: &str = "karpenter.sh/nodepool";
/// The label with the name of the Provisioner that made a node (v1alpha5).
pub const PROVISIONER_LABEL: &str = "karpenter.sh/provisioner-name";
/// The label that EKS puts on nodes that are not plain EC2 instances.
pub const EKS_COMPUTE_TYPE_LABEL: &str = "eks.amazonaws.com/compute-type";
/// The service account annotation that names the role of IRSA.
pub const ROLE_ARN_ANNOTATION: &str = "eks.amazonaws.com/role-arn";
/// The service account annotation that changes the audience of IRSA's token.
pub const AUDIENCE_ANNOTATION: &str = "eks.amazonaws.com/audience";

/// Longest condition or event message that is kept, in bytes.
const MAX_MESSAGE: usize = 1024;

/// A message shortened to what a report can show. What EC2 said about the service-linked role or a quota often comes
/// last in a long list of fleet errors, so the part around it is kept.
pub(crate) fn keep_message(text: &str) -> String {
    if text.len() <= MAX_MESSAGE {
        return text.to_owned();
    }
    let marker = super::traces::markers()
        .filter_map(|marker| text.find(marker))
        .min();
    match marker {
        Some(at) if at + 200 > MAX_MESSAGE / 2 => {
            // The part that is cut out ends before the marker, wherever that begins.
            let head = floor_char_boundary(text, (MAX_MESSAGE / 2).min(at));
            let start = floor_char_boundary(text, at.saturating_sub(100)).max(head);
            let end = floor_char_boundary(text, start + MAX_MESSAGE / 2);
            let gap = if start > head { "…" } else { "" };
            let rest = if end < text.len() { "…" } else { "" };
            format!("{}{gap}{}{rest}", &text[..head], &text[start..end])
        }
        _ => format!("{}…", &text[..floor_char_boundary(text, MAX_MESSAGE)]),
    }
}

/// The largest index at or below `index` that lies between two characters.
fn floor_char_boundary(text: &str, index: usize) -> usize {
    let index = index.min(text.len());
    (0..=index)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

/// The objects of one kind, and a sentence for each that could not be understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct List<T> {
    /// The items that were understood.
    pub items: Vec<T>,
    /// A sentence for each item that was not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub broken: Vec<String>,
}

impl<T> List<T> {
    /// Takes an item in, or the sentence about one that was not understood.
    pub fn add(&mut self, item: Result<T, String>) {
        match item {
            Ok(item) => self.items.push(item),
            Err(broken) => self.broken.push(broken),
        }
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            broken: Vec::new(),
        }
    }
}

/// The API version of a Karpenter object. v1alpha5 and v1alpha1 objects are other kinds (`Provisioner`,
/// `AWSNodeTemplate`) with other defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Api {
    /// `Provisioner` karpenter.sh/v1alpha5 and `AWSNodeTemplate` karpenter.k8s.aws/v1alpha1: Karpenter up to 0.32.
    #[serde(rename = "v1alpha5")]
    V1Alpha5,
    /// Karpenter 0.32 to 1.0.
    #[serde(rename = "v1beta1")]
    V1Beta1,
    /// Karpenter 1.0 and later.
    #[serde(rename = "v1")]
    V1,
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1Alpha5 => "v1alpha5",
            Self::V1Beta1 => "v1beta1",
            Self::V1 => "v1",
        })
    }
}

impl Api {
    /// The API version of an item, from its own `apiVersion` or, where a list leaves that out, from the list's.
    fn of(item: Item<'_>, served: Option<Api>) -> Result<Self, BrokenObject> {
        let at = item.at(&["apiVersion"])?;
        let Some(text) = at.non_empty()? else {
            return served.ok_or_else(|| at.broken("is missing"));
        };
        match text.rsplit('/').next() {
            Some("v1") => Ok(Self::V1),
            Some("v1beta1") => Ok(Self::V1Beta1),
            Some("v1alpha5" | "v1alpha1") => Ok(Self::V1Alpha5),
            _ => Err(at.broken(format!(
                "is {:?}, a version that is not known here (known: v1, v1beta1, v1alpha5)",
                clip(&text)
            ))),
        }
    }
}

/// The status of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ConditionStatus {
    /// The condition holds.
    True,
    /// It does not.
    False,
    /// Karpenter can't tell, or is still at it.
    Unknown,
}

/// One entry of `status.conditions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// As in `Launched`, `Registered`, `Ready`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// One word, empty where none was given.
    pub reason: String,
    /// Free text, shortened to about a kilobyte.
    pub message: String,
    /// When `status` last changed.
    pub last_transition: Option<Timestamp>,
}

fn conditions(item: Item<'_>) -> Result<Vec<Condition>, BrokenObject> {
    item.at(&["status", "conditions"])?
        .elements()?
        .into_iter()
        .map(|entry| {
            let status = entry.field("status")?;
            Ok(Condition {
                kind: entry.field("type")?.required_string()?,
                status: match status.required_string()?.as_str() {
                    "True" => ConditionStatus::True,
                    "False" => ConditionStatus::False,
                    "Unknown" => ConditionStatus::Unknown,
                    other => return Err(status.broken(format!("is {:?}", clip(other)))),
                },
                reason: entry.field("reason")?.string()?.unwrap_or_default(),
                message: keep_message(&entry.field("message")?.string()?.unwrap_or_default()),
                last_transition: entry.field("lastTransitionTime")?.time()?,
            })
        })
        .collect()
}

/// One node selector requirement as written. The algebra is in [`super::requirements`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt`, `Lt`, `Gte` or `Lte`, as written: the API server refuses others,
    /// but a file may hold anything.
    pub operator: String,
    /// The values, in the order written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// `minValues`: how many of the values must be left to choose from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_values: Option<i64>,
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 5;
        write!(f, "{} {}", clip(&self.key), clip(&self.operator))?;
        if self.values.is_empty() {
            return Ok(());
        }
        let shown: Vec<String> = self.values.iter().take(SHOWN).map(|value| clip(value)).collect();
        let more = self.values.len().saturating_sub(SHOWN);
        match more {
            0 => write!(f, " [{}]", shown.join(", ")),
            _ => write!(f, " [{}, and {more} more]", shown.join(", ")),
        }
    }
}

/// What kind of object holds the EC2 side of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NodeClassKind {
    /// `EC2NodeClass` of karpenter.k8s.aws (v1beta1, v1).
    #[serde(rename = "EC2NodeClass")]
    Ec2NodeClass,
    /// `AWSNodeTemplate` of karpenter.k8s.aws/v1alpha1.
    #[serde(rename = "AWSNodeTemplate")]
    AwsNodeTemplate,
    /// `NodeClass` of eks.amazonaws.com: EKS Auto Mode.
    #[serde(rename = "NodeClass")]
    EksNodeClass,
}

impl NodeClassKind {
    /// The Kubernetes kind.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ec2NodeClass => "EC2NodeClass",
            Self::AwsNodeTemplate => "AWSNodeTemplate",
            Self::EksNodeClass => "NodeClass",
        }
    }
}

impl fmt::Display for NodeClassKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which node class a pool uses.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeClassRef {
    /// The API group, as in `karpenter.k8s.aws`; empty where the pool does not say (v1beta1 may).
    pub group: String,
    /// The kind, as in `EC2NodeClass`.
    pub kind: String,
    /// The name.
    pub name: String,
}

/// A `NodePool` (v1, v1beta1) or a `Provisioner` (v1alpha5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodePool {
    /// The API version; v1alpha5 is a `Provisioner`.
    pub api: Api,
    /// `metadata.name`.
    pub name: String,
    /// `spec.template.spec.requirements` (`spec.requirements` of a Provisioner), in order.
    pub requirements: Vec<Requirement>,
    /// `spec.template.metadata.labels` (`spec.labels` of a Provisioner).
    pub template_labels: BTreeMap<String, String>,
    /// The node class, where one is named.
    pub node_class: Option<NodeClassRef>,
    /// The instance profile that an old Provisioner holds itself, in `spec.provider`.
    pub inline_instance_profile: Option<String>,
    /// `spec.limits`: see [`Self::stopped`].
    pub limits: BTreeMap<String, String>,
    /// `status.resources`: what its nodes have together.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub used: BTreeMap<String, String>,
    /// `spec.weight`: pools with a higher one are tried first.
    pub weight: Option<i64>,
    /// Taints that stand there twice, as `KEY=EFFECT`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repeated_taints: Vec<String>,
    /// `spec.replicas`: a static pool, which keeps that many nodes whatever the Pods ask for (Karpenter 1.8 and later).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i64>,
    /// `status.conditions`.
    pub conditions: Vec<Condition>,
    /// The pool is being deleted and launches nothing any more.
    pub deleting: bool,
}

/// The taints of `taints` and of `startupTaints` that stand in their list twice: Karpenter refuses such a pool.
fn repeated_taints(spec: &At<'_>) -> Result<Vec<String>, BrokenObject> {
    let mut repeated = Vec::new();
    for list in ["taints", "startupTaints"] {
        let mut seen = BTreeSet::new();
        for taint in spec.field(list)?.elements()? {
            let key = taint.field("key")?.string()?.unwrap_or_default();
            let effect = taint.field("effect")?.string()?.unwrap_or_default();
            let taint = format!("{key}={effect}");
            if !seen.insert(taint.clone()) {
                repeated.push(taint);
            }
        }
    }
    Ok(repeated)
}

impl NodePool {
    /// Reads one item. `served` is the API version of the list it came in, used where the item itself says none.
    pub fn from_json(item: &Value, served: Option<Api>) -> Result<Self, BrokenObject> {
        let item = Item::new("NodePool", item);
        match Api::of(item, served)? {
            Api::V1Alpha5 => Self::from_provisioner(item),
            api => Self::from_node_pool(item, api),
        }
    }

    fn from_node_pool(item: Item<'_>, api: Api) -> Result<Self, BrokenObject> {
        let template = item.at(&["spec", "template"])?;
        if !template.is_present() {
            return Err(template.broken("is missing"));
        }
        let spec = template.field("spec")?;
        let class = spec.field("nodeClassRef")?;
        let node_class = if class.is_present() {
            // v1 has `group`; v1beta1 had `apiVersion`, and only `name` was required.
            let group = match class.field("group")?.non_empty()? {
                Some(group) => group,
                None => class
                    .field("apiVersion")?
                    .string()?
                    .and_then(|version| version.split_once('/').map(|(group, _)| group.to_owned()))
                    .unwrap_or_default(),
            };
            let kind = class.field("kind")?.non_empty()?;
            Some(NodeClassRef {
                kind: kind.unwrap_or_else(|| {
                    let auto_mode = group == "eks.amazonaws.com";
                    let kind = if auto_mode {
                        NodeClassKind::EksNodeClass
                    } else {
                        NodeClassKind::Ec2NodeClass
                    };
                    kind.as_str().to_owned()
                }),
                group,
                name: class.field("name")?.required_string()?,
            })
        } else {
            None
        };
        Ok(Self {
            api,
            name: item.name()?,
            requirements: requirements(&spec.field("requirements")?)?,
            template_labels: template.field("metadata")?.field("labels")?.string_map()?,
            node_class,
            inline_instance_profile: None,
            limits: item.at(&["spec", "limits"])?.string_map()?,
            used: item.at(&["status", "resources"])?.string_map()?,
            weight: item.at(&["spec", "weight"])?.integer()?,
            repeated_taints: repeated_taints(&spec)?,
            replicas: item.at(&["spec", "replicas"])?.integer()?,
            conditions: conditions(item)?,
            deleting: item.at(&["metadata", "deletionTimestamp"])?.is_present(),
        })
    }

    fn from_provisioner(item: Item<'_>) -> Result<Self, BrokenObject> {
        let item = Item::new("Provisioner", item.root());
        let spec = item.at(&["spec"])?;
        let reference = spec.field("providerRef")?;
        let node_class = if reference.is_present() {
            Some(NodeClassRef {
                group: "karpenter.k8s.aws".to_owned(),
                kind: NodeClassKind::AwsNodeTemplate.as_str().to_owned(),
                name: reference.field("name")?.required_string()?,
            })
        } else {
            None
        };
        Ok(Self {
            api: Api::V1Alpha5,
            name: item.name()?,
            requirements: requirements(&spec.field("requirements")?)?,
            template_labels: spec.field("labels")?.string_map()?,
            node_class,
            inline_instance_profile: spec.field("provider")?.field("instanceProfile")?.non_empty()?,
            limits: spec.field("limits")?.field("resources")?.string_map()?,
            used: item.at(&["status", "resources"])?.string_map()?,
            weight: spec.field("weight")?.integer()?,
            repeated_taints: repeated_taints(&spec)?,
            replicas: None,
            conditions: conditions(item)?,
            deleting: item.at(&["metadata", "deletionTimestamp"])?.is_present(),
        })
    }

    /// `NodePool` or `Provisioner`.
    pub fn kind(&self) -> &'static str {
        match self.api {
            Api::V1Alpha5 => "Provisioner",
            Api::V1Beta1 | Api::V1 => "NodePool",
        }
    }

    /// The path of the requirement at `index`, as a person would look it up.
    pub fn requirement_path(&self, index: usize) -> String {
        match self.api {
            Api::V1Alpha5 => format!("spec.requirements[{index}]"),
            Api::V1Beta1 | Api::V1 => format!("spec.template.spec.requirements[{index}]"),
        }
    }

    /// The path of the labels that its nodes get.
    pub fn labels_path(&self) -> &'static str {
        match self.api {
            Api::V1Alpha5 => "spec.labels",
            Api::V1Beta1 | Api::V1 => "spec.template.metadata.labels",
        }
    }

    /// Why Karpenter launches nothing for the pool now although its requirements may admit it: a limit, or a static pool of no
    /// nodes. Both are ways to switch a pool off, and say nothing about what it is for.
    ///
    /// Every instance has the resources named here, so a limit on one of them stops the pool. A limit on any other (a GPU) only
    /// leaves out the instance types that have it (`filterByRemainingResources`).
    pub fn stopped(&self) -> Option<String> {
        const EVERY_INSTANCE_HAS: [&str; 5] = ["cpu", "memory", "ephemeral-storage", "pods", "nodes"];
        if self.replicas == Some(0) {
            return Some("it is static with 0 replicas".to_owned());
        }
        EVERY_INSTANCE_HAS.into_iter().find_map(|resource| {
            let text = self.limits.get(resource)?;
            let limit = quantity(text)?;
            if limit <= 0.0 {
                return Some(format!("its limit on {resource} is 0"));
            }
            let used = self.used.get(resource)?;
            (quantity(used)? >= limit).then(|| {
                format!(
                    "its limit on {resource} is reached ({} of {})",
                    clip(used),
                    clip(text)
                )
            })
        })
    }

    /// The condition of the given type.
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }
}

/// A Kubernetes quantity: `500m`, `10Gi`, `1e3`.
fn quantity(text: &str) -> Option<f64> {
    let digits = |c: char| c.is_ascii_digit() || matches!(c, '.' | '+' | '-');
    let (number, suffix) = text.split_at(text.find(|c| !digits(c)).unwrap_or(text.len()));
    let number: f64 = number.parse().ok()?;
    let power = match suffix {
        "" => 0,
        "n" => -9,
        "u" => -6,
        "m" => -3,
        "k" => 3,
        "M" => 6,
        "G" => 9,
        "T" => 12,
        "P" => 15,
        "E" => 18,
        _ => {
            if let Some(at) = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]
                .iter()
                .position(|one| *one == suffix)
            {
                return Some(number * 1024_f64.powi(i32::try_from(at).ok()? + 1));
            }
            suffix.strip_prefix(['e', 'E'])?.parse().ok()?
        }
    };
    Some(number * 10_f64.powi(power))
}

fn requirements(list: &At<'_>) -> Result<Vec<Requirement>, BrokenObject> {
    list.elements()?
        .into_iter()
        .map(|entry| {
            Ok(Requirement {
                key: entry.field("key")?.required_string()?,
                operator: entry.field("operator")?.required_string()?,
                values: entry.field("values")?.strings()?,
                min_values: entry.field("minValues")?.integer()?,
            })
        })
        .collect()
}

/// What its nodes run, as far as the node class tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeOs {
    /// A Linux AMI family.
    Linux,
    /// A Windows AMI family: aws-auth needs the group `eks:kube-proxy-windows`, an access entry the type EC2_WINDOWS.
    Windows,
    /// AMIs chosen by id, name or tag: they may hold anything.
    Unknown,
}

/// An `EC2NodeClass` (v1, v1beta1), an `AWSNodeTemplate` (v1alpha1) or an Auto Mode `NodeClass`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeClass {
    /// Which of the three.
    pub kind: NodeClassKind,
    /// `metadata.name`.
    pub name: String,
    /// `spec.role`: a role name, from Karpenter 1.2 possibly with a path.
    pub role: Option<String>,
    /// `spec.instanceProfile`: the name of an instance profile that somebody else made.
    pub instance_profile: Option<String>,
    /// `status.instanceProfile`: the name of the one in use. Its role is the node role.
    pub status_instance_profile: Option<String>,
    /// `spec.amiFamily`.
    pub ami_family: Option<String>,
    /// The `alias` of `spec.amiSelectorTerms`, as in `al2023@latest`.
    pub ami_alias: Option<String>,
    /// The KMS keys of `spec.blockDeviceMappings`: an id, an ARN or an alias each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kms_keys: Vec<String>,
    /// `status.conditions`.
    pub conditions: Vec<Condition>,
    /// It is being deleted.
    pub deleting: bool,
}

impl NodeClass {
    /// Reads one item of kind `kind`.
    pub fn from_json(item: &Value, kind: NodeClassKind) -> Result<Self, BrokenObject> {
        let item = Item::new(kind.as_str(), item);
        let spec = item.at(&["spec"])?;
        let terms = spec.field("amiSelectorTerms")?.elements()?;
        let mut ami_alias = None;
        for term in &terms {
            if let Some(alias) = term.field("alias")?.non_empty()? {
                ami_alias = Some(alias);
                break;
            }
        }
        let mut kms_keys = Vec::new();
        for mapping in spec.field("blockDeviceMappings")?.elements()? {
            if let Some(key) = mapping.field("ebs")?.field("kmsKeyID")?.non_empty()?
                && !kms_keys.contains(&key)
            {
                kms_keys.push(key);
            }
        }
        Ok(Self {
            kind,
            name: item.name()?,
            role: spec.field("role")?.non_empty()?,
            instance_profile: spec.field("instanceProfile")?.non_empty()?,
            status_instance_profile: item.at(&["status", "instanceProfile"])?.non_empty()?,
            ami_family: spec.field("amiFamily")?.non_empty()?,
            ami_alias,
            kms_keys,
            conditions: conditions(item)?,
            deleting: item.at(&["metadata", "deletionTimestamp"])?.is_present(),
        })
    }

    /// The condition of the given type.
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }

    /// The instance profile that Karpenter made for `spec.role`.
    pub(crate) fn made_profile(&self) -> Option<&str> {
        self.role.as_ref()?;
        self.status_instance_profile.as_deref()
    }

    /// What its nodes run. Karpenter takes the family from `amiFamily`, else from the alias before `@`
    /// (`EC2NodeClass.AMIFamily`); Auto Mode is Bottlerocket, and an AWSNodeTemplate without a family is AL2.
    pub fn os(&self) -> NodeOs {
        let family = match (&self.ami_family, &self.ami_alias) {
            (Some(family), _) => family.as_str(),
            (None, Some(alias)) => alias.split('@').next().unwrap_or_default(),
            (None, None) => match self.kind {
                NodeClassKind::AwsNodeTemplate | NodeClassKind::EksNodeClass => return NodeOs::Linux,
                NodeClassKind::Ec2NodeClass => return NodeOs::Unknown,
            },
        };
        let family = family.to_ascii_lowercase();
        if family.starts_with("windows") {
            NodeOs::Windows
        } else if family == "custom" {
            NodeOs::Unknown
        } else {
            NodeOs::Linux
        }
    }
}

/// A `NodeClaim` (v1, v1beta1) or a v1alpha5 `Machine`: one instance that Karpenter asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeClaim {
    /// `metadata.name`.
    pub name: String,
    /// The pool that made it.
    pub node_pool: Option<String>,
    /// `spot`, `on-demand` or `reserved`, once it is launched.
    pub capacity_type: Option<String>,
    /// The node class it uses.
    pub node_class: Option<String>,
    /// `spec.requirements` on the capacity type: what it may still become.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capacity_types: Vec<Requirement>,
    /// The node that joined for it.
    pub node_name: Option<String>,
    /// `aws:///ZONE/i-...`, once it is launched.
    pub provider_id: Option<String>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// `status.conditions`.
    pub conditions: Vec<Condition>,
}

impl NodeClaim {
    /// Reads one item.
    pub fn from_json(item: &Value) -> Result<Self, BrokenObject> {
        let item = Item::new("NodeClaim", item);
        let pool = item
            .label(NODEPOOL_LABEL)
            .or_else(|| item.label(PROVISIONER_LABEL));
        Ok(Self {
            name: item.name()?,
            node_pool: pool.map(str::to_owned),
            capacity_type: item.label(CAPACITY_TYPE_LABEL).map(str::to_owned),
            node_class: item.at(&["spec", "nodeClassRef", "name"])?.non_empty()?,
            capacity_types: requirements(&item.at(&["spec", "requirements"])?)?
                .into_iter()
                .filter(|requirement| requirement.key == CAPACITY_TYPE_LABEL)
                .collect(),
            node_name: item.at(&["status", "nodeName"])?.non_empty()?,
            provider_id: item.at(&["status", "providerID"])?.non_empty()?,
            created: item.at(&["metadata", "creationTimestamp"])?.time()?,
            conditions: conditions(item)?,
        })
    }

    /// The condition of the given type, a Machine's (`MachineLaunched`) included.
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions
            .iter()
            .find(|condition| condition.kind.strip_prefix("Machine").unwrap_or(&condition.kind) == kind)
    }
}

/// What EKS says runs a Node, from the label `eks.amazonaws.com/compute-type`; empty: a plain EC2 instance.
pub(crate) fn compute_type(node: &Value) -> Result<&str, BrokenObject> {
    let item = Item::new("Node", node);
    item.name()?;
    Ok(item.label(EKS_COMPUTE_TYPE_LABEL).unwrap_or_default())
}

/// Karpenter's pool (or provisioner) and the capacity type of a Node that it launched.
pub(crate) fn launched_as(node: &Value) -> Option<(&str, &str)> {
    let item = Item::new("Node", node);
    let pool = item
        .label(NODEPOOL_LABEL)
        .or_else(|| item.label(PROVISIONER_LABEL))?;
    Some((pool, item.label(CAPACITY_TYPE_LABEL)?))
}

/// The object that an Event is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// Its kind, as in `NodeClaim`.
    pub kind: String,
    /// Its namespace, empty for objects of the whole cluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// An Event, of `v1` or of `events.k8s.io/v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// The namespace it lies in; events about objects of the whole cluster lie in `default`.
    pub namespace: String,
    /// What it is about.
    pub about: ObjectRef,
    /// One word. **May be empty**: Karpenter's events about a missing service-linked role have none.
    pub reason: String,
    /// Free text. Complete when read; shortened to about a kilobyte when kept as evidence.
    pub message: String,
    /// When it was first seen.
    pub first_seen: Option<Timestamp>,
    /// When it was last seen.
    pub last_seen: Option<Timestamp>,
}

impl Event {
    /// Reads one item.
    pub fn from_json(item: &Value) -> Result<Self, BrokenObject> {
        let item = Item::new("Event", item);
        let top = item.top();
        let old = top.field("involvedObject")?;
        let about = if old.is_present() {
            old
        } else {
            top.field("regarding")?
        };
        let text = |at: At<'_>| Ok(at.string()?.unwrap_or_default());
        let message = match top.field("message")?.string()? {
            Some(message) => message,
            None => text(top.field("note")?)?,
        };
        let series = top.field("series")?;
        let event_time = top.field("eventTime")?.time()?;
        let created = item.at(&["metadata", "creationTimestamp"])?.time()?;
        let first = [
            top.field("firstTimestamp")?.time()?,
            top.field("deprecatedFirstTimestamp")?.time()?,
            event_time,
            created,
        ];
        let last = [
            series.field("lastObservedTime")?.time()?,
            top.field("lastTimestamp")?.time()?,
            top.field("deprecatedLastTimestamp")?.time()?,
            event_time,
            created,
        ];
        Ok(Self {
            namespace: text(item.at(&["metadata", "namespace"])?)?,
            about: ObjectRef {
                kind: text(about.field("kind")?)?,
                namespace: text(about.field("namespace")?)?,
                name: text(about.field("name")?)?,
            },
            reason: text(top.field("reason")?)?,
            message,
            first_seen: first.into_iter().flatten().next(),
            last_seen: last.into_iter().flatten().max(),
        })
    }
}

/// A Karpenter version, from the tag of its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KarpenterVersion {
    /// The first number.
    pub major: u32,
    /// The second.
    pub minor: u32,
    /// The third, 0 where the tag has none.
    pub patch: u32,
}

impl fmt::Display for KarpenterVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl KarpenterVersion {
    /// From a version text: `1.5.0`, `v0.37.1`, `1.6.0-rc.1`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let core = text.split(['-', '+']).next()?;
        let mut numbers = core.split('.').map(|part| part.parse::<u32>().ok());
        let major = numbers.next()??;
        let minor = numbers.next()??;
        let patch = match numbers.next() {
            Some(patch) => patch?,
            None => 0,
        };
        numbers.next().is_none().then_some(Self { major, minor, patch })
    }

    /// From an image reference: the tag after the last colon, a digest left aside.
    pub fn from_image(image: &str) -> Option<Self> {
        let image = image.split('@').next()?;
        let (_, last) = image.rsplit_once('/').unwrap_or(("", image));
        Self::parse(last.rsplit_once(':')?.1)
    }
}

/// The environment of the controller, as far as the Deployment spells it out. A value taken from a Secret or ConfigMap
/// is not read and counts as absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ControllerSettings {
    /// `CLUSTER_NAME`: the EKS cluster it works on.
    pub cluster_name: Option<String>,
    /// `INTERRUPTION_QUEUE`: without it, spot interruptions come unannounced.
    pub interruption_queue: Option<String>,
    /// `FEATURE_GATES`, as written.
    pub feature_gates: Option<String>,
    /// `AWS_ROLE_ARN`, where somebody set it by hand.
    pub aws_role_arn: Option<String>,
    /// The variable that gives the AWS SDK credentials before any role: `AWS_ACCESS_KEY_ID`, `AWS_PROFILE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_from: Option<String>,
    /// There is `envFrom`: what is in it is not known.
    #[serde(default)]
    pub env_from: bool,
}

/// The Deployment of Karpenter's controller, found by the label `app.kubernetes.io/name: karpenter`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deployment {
    /// Its namespace; empty in a manifest that leaves it to `helm -n`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// The service account of its pods (`default` where none is named).
    pub service_account: String,
    /// The controller's image.
    pub image: Option<String>,
    /// The version, from the image's tag or else from the label `app.kubernetes.io/version`.
    pub version: Option<KarpenterVersion>,
    /// The controller's environment.
    pub settings: ControllerSettings,
    /// `spec.replicas`, 1 where not given.
    pub replicas: i64,
    /// `status.readyReplicas`.
    pub ready_replicas: i64,
    /// `status.conditions`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The pods use the host's network and so can reach the instance's own credentials.
    pub host_network: bool,
}

impl Deployment {
    /// Whether this item is labelled as Karpenter. Other Deployments are no error, they are not Karpenter.
    pub fn is_karpenter(item: &Value) -> bool {
        Item::new("Deployment", item).label("app.kubernetes.io/name") == Some("karpenter")
    }

    /// Reads one item.
    pub fn from_json(item: &Value) -> Result<Self, BrokenObject> {
        let item = Item::new("Deployment", item);
        let pod = item.at(&["spec", "template", "spec"])?;
        let containers = pod.field("containers")?.elements()?;
        // The chart calls it `controller`; a hand-made one may not, but then it is the only container.
        let mut controller = containers.first();
        for container in &containers {
            if container.field("name")?.string()?.as_deref() == Some("controller") {
                controller = Some(container);
                break;
            }
        }
        let mut image = None;
        let mut settings = ControllerSettings::default();
        if let Some(container) = controller {
            image = container.field("image")?.non_empty()?;
            settings.env_from = !container.field("envFrom")?.elements()?.is_empty();
            for variable in container.field("env")?.elements()? {
                let value = variable.field("value")?.non_empty()?;
                match variable.field("name")?.string()?.as_deref() {
                    Some("CLUSTER_NAME") => settings.cluster_name = value,
                    Some("INTERRUPTION_QUEUE") => settings.interruption_queue = value,
                    Some("FEATURE_GATES") => settings.feature_gates = value,
                    Some("AWS_ROLE_ARN") => settings.aws_role_arn = value,
                    Some(name @ ("AWS_ACCESS_KEY_ID" | "AWS_PROFILE")) => {
                        settings.credentials_from = Some(name.to_owned());
                    }
                    _ => {}
                }
            }
        }
        let label = item.label("app.kubernetes.io/version");
        let version = image
            .as_deref()
            .and_then(KarpenterVersion::from_image)
            .or_else(|| label.and_then(KarpenterVersion::parse));
        let service_account = match pod.field("serviceAccountName")?.non_empty()? {
            Some(name) => Some(name),
            None => pod.field("serviceAccount")?.non_empty()?,
        };
        Ok(Self {
            namespace: item.at(&["metadata", "namespace"])?.string()?.unwrap_or_default(),
            name: item.name()?,
            service_account: service_account.unwrap_or_else(|| "default".to_owned()),
            image,
            version,
            settings,
            replicas: item.at(&["spec", "replicas"])?.integer()?.unwrap_or(1),
            ready_replicas: item.at(&["status", "readyReplicas"])?.integer()?.unwrap_or(0),
            conditions: conditions(item)?,
            host_network: pod
                .field("hostNetwork")?
                .value()
                .and_then(Value::as_bool)
                .unwrap_or(false),
        })
    }
}

/// A ServiceAccount with the annotations of IRSA.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccount {
    /// Its namespace; empty in a manifest that leaves it to `helm -n`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `eks.amazonaws.com/role-arn`. Its absence is no error: Pod Identity needs none.
    pub role_arn: Option<String>,
    /// `eks.amazonaws.com/audience`, `sts.amazonaws.com` where absent.
    pub audience: Option<String>,
}

impl ServiceAccount {
    /// Reads one item.
    pub fn from_json(item: &Value) -> Result<Self, BrokenObject> {
        let item = Item::new("ServiceAccount", item);
        let annotations = item.at(&["metadata", "annotations"])?.string_map()?;
        let annotation = |key: &str| annotations.get(key).filter(|value| !value.is_empty()).cloned();
        Ok(Self {
            namespace: item.at(&["metadata", "namespace"])?.string()?.unwrap_or_default(),
            name: item.name()?,
            role_arn: annotation(ROLE_ARN_ANNOTATION),
            audience: annotation(AUDIENCE_ANNOTATION),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn class(kind: NodeClassKind, spec: Value) -> NodeClass {
        NodeClass::from_json(&json!({"metadata": {"name": "c"}, "spec": spec}), kind).expect("a good class")
    }

    #[test]
    fn node_classes_of_every_version() {
        use NodeClassKind::{AwsNodeTemplate, Ec2NodeClass, EksNodeClass};
        use NodeOs::{Linux, Unknown, Windows};
        let alias = |alias: &str| json!({"amiSelectorTerms": [{"alias": alias}]});
        let by_id = json!([{"id": "ami-1"}]);
        let custom = json!({"amiFamily": "Custom", "amiSelectorTerms": by_id});
        let cases = [
            (Ec2NodeClass, alias("al2023@latest"), Linux),
            (Ec2NodeClass, alias("windows2022@latest"), Windows),
            (Ec2NodeClass, json!({"amiFamily": "Windows2019"}), Windows),
            (Ec2NodeClass, json!({"amiFamily": "Bottlerocket"}), Linux),
            (Ec2NodeClass, custom, Unknown),
            (Ec2NodeClass, json!({"amiSelectorTerms": by_id}), Unknown),
            (AwsNodeTemplate, json!({}), Linux),
            (EksNodeClass, json!({"role": "demo-auto"}), Linux),
        ];
        for (kind, spec, expected) in cases {
            assert_eq!(class(kind, spec.clone()).os(), expected, "{kind} {spec}");
        }
        let full = json!({
            "metadata": {"name": "default", "deletionTimestamp": "2025-06-01T10:00:00Z"},
            "spec": {"role": "path/KarpenterNodeRole-demo", "instanceProfile": ""},
            "status": {"instanceProfile": "demo_1234",
                       "conditions": [{"type": "Ready", "status": "False", "reason": "X", "message": "m"}]}
        });
        let full = NodeClass::from_json(&full, Ec2NodeClass).expect("a good class");
        assert_eq!(full.role.as_deref(), Some("path/KarpenterNodeRole-demo"));
        assert_eq!(full.instance_profile, None);
        assert_eq!(full.status_instance_profile.as_deref(), Some("demo_1234"));
        assert!(full.deleting);
        assert_eq!(full.conditions[0].status, ConditionStatus::False);
    }

    #[test]
    fn node_class_references_of_every_version() {
        let reference = |version: &str, reference: Value| {
            let item = json!({"apiVersion": version, "metadata": {"name": "p"},
                              "spec": {"template": {"spec": {"nodeClassRef": reference}}}});
            let found = NodePool::from_json(&item, None)
                .expect("a good pool")
                .node_class
                .expect("a reference");
            (found.group, found.kind, found.name)
        };
        let v1 = json!({"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "d"});
        let auto = json!({"group": "eks.amazonaws.com", "kind": "NodeClass", "name": "d"});
        let beta = json!({"apiVersion": "karpenter.k8s.aws/v1beta1", "kind": "EC2NodeClass", "name": "d"});
        for (version, given, group, kind) in [
            ("karpenter.sh/v1", v1, "karpenter.k8s.aws", "EC2NodeClass"),
            ("karpenter.sh/v1", auto, "eks.amazonaws.com", "NodeClass"),
            ("karpenter.sh/v1beta1", beta, "karpenter.k8s.aws", "EC2NodeClass"),
            ("karpenter.sh/v1beta1", json!({"name": "d"}), "", "EC2NodeClass"),
        ] {
            let (found_group, found_kind, name) = reference(version, given);
            assert_eq!((&*found_group, &*found_kind, &*name), (group, kind, "d"));
        }
    }

    #[test]
    fn the_version_of_a_list_serves_items_without_one() {
        let item = json!({"metadata": {"name": "p"}, "spec": {"template": {"spec": {}}}});
        assert_eq!(
            NodePool::from_json(&item, Some(Api::V1)).map(|pool| pool.api),
            Ok(Api::V1)
        );
        let error = NodePool::from_json(&item, None).expect_err("no version");
        assert_eq!(error.to_string(), "NodePool p: apiVersion is missing");
        let item = json!({"metadata": {"name": "p"},
                          "spec": {"providerRef": {"name": "d"}, "limits": {"resources": {"cpu": 10}}}});
        let old = NodePool::from_json(&item, Some(Api::V1Alpha5)).expect("a good provisioner");
        assert_eq!(
            (old.kind(), old.limits.get("cpu").map(String::as_str)),
            ("Provisioner", Some("10"))
        );
    }

    #[test]
    fn pools_that_are_switched_off() {
        let stopped = |spec: Value, used: Value| {
            let mut item = json!({"metadata": {"name": "p"}, "spec": {"template": {"spec": {}}}, "status": {"resources": used}});
            for (key, value) in spec.as_object().expect("an object") {
                item["spec"][key] = value.clone();
            }
            NodePool::from_json(&item, Some(Api::V1))
                .expect("a good pool")
                .stopped()
        };
        let limits = |limits: Value| json!({"limits": limits});
        let gpu = limits(json!({"cpu": "10", "nvidia.com/gpu": "0"}));
        let no_memory = limits(json!({"cpu": "10", "memory": "0Gi"}));
        let room = limits(json!({"cpu": "1k", "memory": "100Gi"}));
        let used_up = "its limit on memory is reached (2000Mi of 1Gi)";
        let one_of = "its limit on cpu is reached (1 of 1000m)";
        let none = || json!(null);
        let cases = [
            (limits(json!({"cpu": 0})), none(), "its limit on cpu is 0"),
            (no_memory, none(), "its limit on memory is 0"),
            // Only the types with a GPU are left out.
            (gpu, none(), ""),
            (limits(json!({"cpu": "1000m"})), json!({"cpu": "1"}), one_of),
            (
                limits(json!({"memory": "1Gi"})),
                json!({"memory": "2000Mi"}),
                used_up,
            ),
            (room, json!({"cpu": "999", "memory": "1e9"}), ""),
            (limits(json!({"cpu": ""})), json!({"cpu": "1"}), ""),
            (limits(none()), none(), ""),
            (json!({"replicas": 0}), none(), "it is static with 0 replicas"),
            (json!({"replicas": 1}), none(), ""),
        ];
        for (spec, used, expected) in cases {
            let found = stopped(spec.clone(), used).unwrap_or_default();
            assert_eq!(found, expected, "{spec}");
        }
    }

    #[test]
    fn broken_objects_name_the_field() {
        let pool = |requirements: Value| {
            let item = json!({"apiVersion": "karpenter.sh/v1", "metadata": {"name": "p"},
                              "spec": {"template": {"spec": {"requirements": requirements}}}});
            NodePool::from_json(&item, None).expect_err("broken").to_string()
        };
        let at = "NodePool p: spec.template.spec.requirements";
        assert_eq!(pool(json!("x")), format!("{at} is a string, not a list"));
        assert_eq!(pool(json!([5])), format!("{at}[0] is a number, not an object"));
        assert_eq!(
            pool(json!([{"operator": "In"}])),
            format!("{at}[0].key is missing")
        );
        assert_eq!(
            pool(json!([{"key": "k", "operator": "In", "values": [{}]}])),
            format!("{at}[0].values[0] is an object, not a string")
        );
        let nameless = NodePool::from_json(
            &json!({"apiVersion": "karpenter.sh/v1", "spec": {"template": {}}}),
            None,
        );
        assert_eq!(
            nameless.expect_err("broken").to_string(),
            "NodePool (without a name): metadata.name is missing"
        );
        let time =
            NodeClaim::from_json(&json!({"metadata": {"name": "c", "creationTimestamp": "yesterday"}}));
        assert_eq!(
            time.expect_err("broken").to_string(),
            "NodeClaim c: metadata.creationTimestamp is not an RFC 3339 time: \"yesterday\""
        );
        let long = "n".repeat(10_000);
        let error = NodePool::from_json(&json!({"metadata": {"name": long}}), None).expect_err("broken");
        assert!(error.to_string().len() < 400, "{} bytes", error.to_string().len());
    }

    #[test]
    fn versions_of_images() {
        let version = |major, minor, patch| Some(KarpenterVersion { major, minor, patch });
        let cases = [
            (
                "public.ecr.aws/karpenter/controller:1.5.0@sha256:339a",
                version(1, 5, 0),
            ),
            ("public.ecr.aws/karpenter/controller:v0.32.1", version(0, 32, 1)),
            ("registry.example:5000/controller:1.6.0-rc.1", version(1, 6, 0)),
            ("registry.example:5000/karpenter/controller", None),
            ("controller:latest", None),
            ("controller@sha256:339aef3f", None),
            ("controller:1", None),
            ("controller:1.2", version(1, 2, 0)),
            ("controller:1.2.3.4", None),
            ("controller:99999999999.1.1", None),
            ("", None),
        ];
        for (image, expected) in cases {
            assert_eq!(KarpenterVersion::from_image(image), expected, "{image}");
        }
    }

    #[test]
    fn deployments() {
        let item = json!({
            "metadata": {"name": "k", "namespace": "karpenter",
                         "labels": {"app.kubernetes.io/name": "karpenter", "app.kubernetes.io/version": "0.37.0"}},
            "spec": {"template": {"spec": {"serviceAccount": "old-style", "hostNetwork": true, "containers": [
                {"name": "sidecar", "image": "other:1.0.0", "env": [{"name": "CLUSTER_NAME", "value": "wrong"}]},
                {"name": "controller", "image": "controller@sha256:00", "env": [
                    {"name": "CLUSTER_NAME", "value": "demo"},
                    {"name": "INTERRUPTION_QUEUE", "value": ""},
                    {"name": "AWS_SECRET_ACCESS_KEY", "value": "hush"},
                    {"name": "AWS_ROLE_ARN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}]}}},
            "status": {"readyReplicas": 1}
        });
        assert!(Deployment::is_karpenter(&item));
        assert!(!Deployment::is_karpenter(&json!({"metadata": {"labels": 5}})));
        let deployment = Deployment::from_json(&item).expect("a good deployment");
        assert_eq!(deployment.service_account, "old-style");
        assert_eq!(
            deployment.version.map(|version| version.to_string()).as_deref(),
            Some("0.37.0")
        );
        assert_eq!(
            (
                deployment.replicas,
                deployment.ready_replicas,
                deployment.host_network
            ),
            (1, 1, true)
        );
        assert_eq!(
            deployment.settings,
            ControllerSettings {
                cluster_name: Some("demo".into()),
                ..ControllerSettings::default()
            }
        );
        // Nothing that is not listed is kept: a saved file has no secret in it.
        let saved = serde_json::to_string(&deployment).expect("serializes");
        assert!(!saved.contains("hush"));
    }

    #[test]
    fn words_that_straddle_the_cut_survive() {
        let marker = "ServiceLinkedRoleCreationNotPermitted";
        for before in 0..1_100 {
            let text = format!("{}{marker}{}", "b".repeat(before), "a".repeat(2_000));
            let kept = keep_message(&text);
            assert!(kept.contains(marker), "{before}: {kept}");
            assert!(kept.len() <= MAX_MESSAGE + 10, "{before}: {} bytes", kept.len());
        }
    }

    proptest! {
        /// Shortening keeps whole characters and a bounded length, and never loses what decides.
        #[test]
        fn messages_are_shortened(before in ".{0,700}", after in ".{0,2000}", marked in any::<bool>()) {
            let marker = "ServiceLinkedRoleCreationNotPermitted";
            let text = format!("{before}{}{after}", if marked { marker } else { "" });
            let kept = keep_message(&text);
            prop_assert!(kept.len() <= MAX_MESSAGE + 10);
            if marked {
                prop_assert!(kept.contains(marker), "{}", kept);
            }
            if text.len() <= MAX_MESSAGE {
                prop_assert_eq!(kept, text);
            }
        }
    }
}
