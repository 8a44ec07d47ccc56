//! Whether the caller may install the chart: one SelfSubjectAccessReview for each thing that helm would do (Kubernetes API).
//!
//! The input, [`Chart`], is what the rendered chart says; without one, what Karpenter's own chart holds.

use std::collections::BTreeSet;

use futures_util::stream::{self, StreamExt as _};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SelfSubjectAccessReviewSpec,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Ask, Reading, unread};
use crate::karpenter::objects::{Deployment, ServiceAccount};
use crate::kube::{Api, Resource};
use crate::model::{Fact, Observed, Unknown, Why};

/// How many reviews are asked at a time; the API server lets one client have that many.
const AT_ONCE: usize = 16;
/// Most single rights of roles that are asked about. Karpenter's chart has about 130.
const MOST_RIGHTS: usize = 600;
/// Karpenter's documentation installs here, and so does its chart's default.
pub const DEFAULT_NAMESPACE: &str = "kube-system";
const RBAC: &str = "rbac.authorization.k8s.io";

/// The chart about to be installed, as far as checks depend on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Chart {
    /// Karpenter's controller in it; none: the chart isn't Karpenter's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<PlannedController>,
    /// Everything that helm does to the API server to install it.
    #[serde(default)]
    pub needed: Vec<Needed>,
    /// The Roles and ClusterRoles in it.
    #[serde(default)]
    pub roles: Vec<PlannedRole>,
    /// The RoleBindings and ClusterRoleBindings in it.
    #[serde(default)]
    pub bindings: Vec<PlannedBinding>,
}

/// Karpenter's controller as the chart would install it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedController {
    /// Its Deployment, the namespace filled in.
    pub deployment: Deployment,
    /// The service account that the chart makes. None: it makes none, so it must be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<ServiceAccount>,
    /// The service account's name comes from the release's, which helm makes up when it installs (`--generate-name`).
    #[serde(default)]
    pub name_is_generated: bool,
}

/// One thing that somebody must be allowed to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Needed {
    /// API group, empty for the core group; `*` for any.
    #[serde(default)]
    pub group: String,
    /// Resource, with its subresource after a slash: `pods/eviction`; `*` for any. Empty for a path that is no resource.
    #[serde(default)]
    pub resource: String,
    /// Verb; `*` for any.
    pub verb: String,
    /// Namespace; none for the whole cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The one object; none for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A path that is no resource, `/healthz`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

impl Needed {
    /// A verb on a resource, `group` empty for the core group.
    pub fn new(verb: &str, group: &str, resource: &str, namespace: Option<&str>) -> Self {
        Self {
            group: group.to_owned(),
            resource: resource.to_owned(),
            verb: verb.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: None,
            path: None,
        }
    }

    /// The same for one object.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Every right there is: who has it may do everything, roles included.
    pub fn everything() -> Self {
        Self::new("*", "*", "*", None)
    }

    /// `RESOURCE.GROUP`, as kubectl writes it.
    pub fn kind(&self) -> String {
        match &self.path {
            Some(path) => path.clone(),
            None if self.group.is_empty() => self.resource.clone(),
            None => match self.resource.split_once('/') {
                Some((resource, sub)) => format!("{resource}.{}/{sub}", self.group),
                None => format!("{}.{}", self.resource, self.group),
            },
        }
    }

    fn spec(&self) -> SelfSubjectAccessReviewSpec {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        if let Some(path) = &self.path {
            return SelfSubjectAccessReviewSpec {
                non_resource_attributes: Some(NonResourceAttributes {
                    path: given(path),
                    verb: given(&self.verb),
                }),
                ..SelfSubjectAccessReviewSpec::default()
            };
        }
        let (resource, sub) = self.resource.split_once('/').unwrap_or((&self.resource, ""));
        SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: given(&self.group),
                resource: given(resource),
                subresource: given(sub),
                verb: given(&self.verb),
                namespace: self.namespace.clone(),
                name: self.name.clone(),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    pub groups: Vec<String>,
    pub resources: Vec<String>,
    pub verbs: Vec<String>,
    /// Only these objects; empty for all.
    pub names: Vec<String>,
    pub paths: Vec<String>,
}

/// A Role or ClusterRole that the chart creates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedRole {
    /// Namespace; none for a ClusterRole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    pub name: String,
    pub rules: Vec<Rule>,
    /// It aggregates others, so that creating it needs every right there is.
    #[serde(default)]
    pub aggregates: bool,
}

/// A RoleBinding or ClusterRoleBinding that the chart creates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedBinding {
    /// Namespace; none for a ClusterRoleBinding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    pub name: String,
    /// The role is a ClusterRole, not a Role of the same namespace.
    pub cluster_role: bool,
    pub role: String,
}

impl PlannedRole {
    /// The right to create it whatever is in it.
    pub fn escalate(&self) -> Needed {
        let resource = if self.namespace.is_some() {
            "roles"
        } else {
            "clusterroles"
        };
        Needed::new("escalate", RBAC, resource, self.namespace.as_deref()).named(&self.name)
    }

    /// Every single right in it, as somebody must have it in `namespace` to hand it on.
    pub fn rights(&self, namespace: Option<&str>) -> Vec<Needed> {
        let mut all = Vec::new();
        for rule in &self.rules {
            for verb in &rule.verbs {
                for group in &rule.groups {
                    for resource in &rule.resources {
                        let one = Needed::new(verb, group, resource, namespace);
                        if rule.names.is_empty() {
                            all.push(one);
                        } else {
                            all.extend(rule.names.iter().map(|name| one.clone().named(name)));
                        }
                    }
                }
                all.extend(rule.paths.iter().map(|path| Needed {
                    path: Some(path.clone()),
                    ..Needed::new(verb, "", "", None)
                }));
            }
        }
        all
    }
}

impl PlannedBinding {
    /// The right to bind that role whatever is in it.
    pub fn bind(&self) -> Needed {
        let resource = if self.cluster_role {
            "clusterroles"
        } else {
            "roles"
        };
        Needed::new("bind", RBAC, resource, self.namespace.as_deref()).named(&self.role)
    }
}

impl Chart {
    /// The role that a binding binds, where the chart has it.
    pub fn role_of(&self, binding: &PlannedBinding) -> Option<&PlannedRole> {
        self.roles.iter().find(|role| {
            role.name == binding.role
                && if binding.cluster_role {
                    role.namespace.is_none()
                } else {
                    role.namespace == binding.namespace
                }
        })
    }

    /// Everything to ask about at first: what helm does, `escalate` and `bind`, and whether the caller may do everything.
    fn first(&self) -> BTreeSet<Needed> {
        self.needed
            .iter()
            .cloned()
            .chain(self.roles.iter().map(PlannedRole::escalate))
            .chain(self.bindings.iter().map(PlannedBinding::bind))
            .chain([Needed::everything()])
            .collect()
    }

    /// What remains to be asked after the first answers: the rights in the roles that the caller may not create, or bind,
    /// whatever is in them.
    fn second(&self, answers: &[Review]) -> BTreeSet<Needed> {
        let allowed = |needed: &Needed| answers.iter().any(|one| one.needed == *needed && one.allowed);
        if allowed(&Needed::everything()) {
            return BTreeSet::new();
        }
        let roles = self
            .roles
            .iter()
            .filter(|role| !role.aggregates && !allowed(&role.escalate()))
            .flat_map(|role| role.rights(role.namespace.as_deref()));
        let bindings = self
            .bindings
            .iter()
            .filter(|binding| !allowed(&binding.bind()))
            .filter_map(|binding| Some(self.role_of(binding)?.rights(binding.namespace.as_deref())))
            .flatten();
        roles.chain(bindings).take(MOST_RIGHTS).collect()
    }
}

/// What Karpenter's own chart creates (`charts/karpenter` of aws/karpenter-provider-aws, 1.x), where the chart itself is
/// not known, and what helm itself needs for its release. The roles' rules differ by version, so they are left out.
pub fn default_needed(namespace: &str) -> Vec<Needed> {
    let mut all = Vec::new();
    let mut object = |group: &str, resource: &str, namespace: Option<&str>| {
        for verb in ["create", "get"] {
            all.push(Needed::new(verb, group, resource, namespace));
        }
    };
    for (group, resource) in [
        ("", "serviceaccounts"),
        ("", "services"),
        ("apps", "deployments"),
        ("policy", "poddisruptionbudgets"),
        (RBAC, "roles"),
        (RBAC, "rolebindings"),
    ] {
        object(group, resource, Some(namespace));
    }
    // One pair lies there always, to find the cluster's DNS.
    if namespace != DEFAULT_NAMESPACE {
        object(RBAC, "roles", Some(DEFAULT_NAMESPACE));
        object(RBAC, "rolebindings", Some(DEFAULT_NAMESPACE));
    }
    object(RBAC, "clusterroles", None);
    object(RBAC, "clusterrolebindings", None);
    object("apiextensions.k8s.io", "customresourcedefinitions", None);
    all.extend(release_needed(namespace));
    all
}

/// What helm needs to keep its release (Secrets of type helm.sh/release.v1), whatever the chart.
pub fn release_needed(namespace: &str) -> Vec<Needed> {
    ["create", "get", "list", "update"]
        .map(|verb| Needed::new(verb, "", "secrets", Some(namespace)))
        .to_vec()
}

/// The chart to judge: the one about to be installed, else Karpenter's own.
pub fn chart(ask: &Ask) -> Chart {
    ask.chart.clone().unwrap_or_else(|| Chart {
        needed: default_needed(ask.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE)),
        ..Chart::default()
    })
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    #[serde(flatten)]
    pub needed: Needed,
    pub allowed: bool,
}

/// Every authenticated user may create this review by default (ClusterRole system:basic-user).
const REVIEW: Resource<'static> = Resource::new(
    "authorization.k8s.io",
    "v1",
    "SelfSubjectAccessReview",
    "selfsubjectaccessreviews",
);

/// Asks the API server about everything that installing needs; the rights inside of roles only where they decide.
pub(super) async fn read(read: &Reading<'_>) -> Fact<Vec<Review>> {
    let call = REVIEW.grant("create", None).action();
    let deployments = match read.ask.installing {
        true => None,
        false => read.deployments().await.known(),
    };
    if deployments.is_some_and(|list| !list.items.is_empty()) {
        return Fact::not_asked(call, "Karpenter is installed, and nothing is about to be");
    }
    let api = match read.api().await {
        Ok(api) => api,
        Err(unknown) => return unread(call, unknown),
    };
    let many = read.options.sessions.is_some();
    let observed = match all_reviews(api, &chart(read.ask), many).await {
        Ok(answers) => Observed::Known(answers),
        Err(unknown) => Observed::Unknown(unknown),
    };
    match &observed {
        Observed::Known(answers) => api.calls().record(&call, format!("{} answers", answers.len())),
        other => api.calls().observed(&call, other),
    }
    Fact::new(call, observed)
}

/// `many`: over many clusters one question that mostly answers all the others comes first, and not beside them.
async fn all_reviews(api: &Api, chart: &Chart, many: bool) -> Result<Vec<Review>, Unknown> {
    if many {
        let everything = review(api, Needed::everything()).await?;
        if everything.allowed {
            let all = chart.first().into_iter();
            return Ok(all
                .map(|needed| Review {
                    needed,
                    allowed: true,
                })
                .collect());
        }
    }
    let mut answers = reviews(api, chart.first()).await?;
    let more = reviews(api, chart.second(&answers)).await?;
    let known: BTreeSet<Needed> = answers.iter().map(|one| one.needed.clone()).collect();
    answers.extend(more.into_iter().filter(|one| !known.contains(&one.needed)));
    Ok(answers)
}

async fn reviews(api: &Api, all: BTreeSet<Needed>) -> Result<Vec<Review>, Unknown> {
    let mut answers = stream::iter(all)
        .map(|needed| async move { review(api, needed).await })
        .buffered(AT_ONCE);
    let mut known = Vec::new();
    while let Some(answer) = answers.next().await {
        known.push(answer?);
    }
    Ok(known)
}

async fn review(api: &Api, needed: Needed) -> Result<Review, Unknown> {
    let answer = api.review(&REVIEW, Some(&needed.spec())).await?;
    let flag = |pointer| answer.pointer(pointer).and_then(Value::as_bool);
    let allowed = flag("/status/allowed").ok_or_else(|| {
        Unknown::new(
            Why::Malformed,
            "the answer to create selfsubjectaccessreviews says neither yes nor no",
        )
    })?;
    Ok(Review {
        needed,
        allowed: allowed && flag("/status/denied") != Some(true),
    })
}
