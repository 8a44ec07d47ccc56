//! A Kubernetes API server: who asks, may they, and what is there. The order is the real one: authentication (401),
//! authorisation (403, also for what does not exist), then routing (404).

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::eks_token::EksToken;
use crate::http::{Answer, Reply, Request, either};
use crate::selector::{Fields, Labels};

/// A resource kind that the server has installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The API group; empty for the core group.
    pub group: String,
    /// `v1`
    pub version: String,
    /// `nodepools`
    pub plural: String,
    /// `NodePool`
    pub kind: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Whether the server itself defines it: lists of such kinds leave out apiVersion and kind in their items.
    pub builtin: bool,
}

impl Resource {
    /// A custom resource.
    pub fn custom(group: &str, version: &str, plural: &str, kind: &str, namespaced: bool) -> Self {
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            plural: plural.to_owned(),
            kind: kind.to_owned(),
            namespaced,
            builtin: false,
        }
    }

    fn builtin(group: &str, version: &str, plural: &str, kind: &str, namespaced: bool) -> Self {
        Self {
            builtin: true,
            ..Self::custom(group, version, plural, kind, namespaced)
        }
    }

    fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    fn key(&self) -> Key {
        (self.group.clone(), self.version.clone(), self.plural.clone())
    }
}

/// group, version, plural
type Key = (String, String, String);

/// A stored object: its value, and the text of it as lists hold it (made once, so that long lists cost a copy).
#[derive(Clone, Debug)]
struct Stored {
    value: Arc<Value>,
    item: Arc<str>,
}

/// Who may do what.
#[derive(Clone)]
pub enum Access {
    /// Everything, as `system:masters`.
    All,
    /// What any of these rules allows.
    Rules(Vec<Rule>),
    /// What this function allows.
    Decide(Arc<dyn Fn(&Attributes) -> bool + Send + Sync>),
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("All"),
            Self::Rules(rules) => f.debug_tuple("Rules").field(rules).finish(),
            Self::Decide(_) => f.write_str("Decide(..)"),
        }
    }
}

impl Access {
    /// Nothing but what every authenticated user may: discovery, and asking about oneself.
    pub fn none() -> Self {
        Self::Rules(Vec::new())
    }

    /// Every verb on everything, but for what `refused` matches: `("list", "nodepools")`.
    pub fn all_but(refused: &'static [(&'static str, &'static str)]) -> Self {
        Self::Decide(Arc::new(move |asked| {
            !refused.iter().any(|(verb, resource)| {
                crate::glob(verb, &asked.verb) && crate::glob(resource, &asked.resource)
            })
        }))
    }

    fn allows(&self, asked: &Attributes) -> bool {
        match self {
            Self::All => true,
            Self::Rules(rules) => rules.iter().any(|rule| rule.allows(asked)),
            Self::Decide(decide) => decide(asked),
        }
    }
}

/// One RBAC rule, as a binding grants it: `*` stands for any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// `get`, `list`, `create`, ...
    pub verbs: Vec<String>,
    /// Groups; empty text: the core group.
    pub groups: Vec<String>,
    /// Plurals, subresources as `pods/log`.
    pub resources: Vec<String>,
    /// Limits it to objects of these names.
    pub names: Vec<String>,
    /// The namespace of a RoleBinding; none: a ClusterRoleBinding.
    pub namespace: Option<String>,
}

impl Rule {
    /// These verbs on these resources (`nodepools.karpenter.sh`, `configmaps`, `*`), in every namespace.
    pub fn new(verbs: &[&str], resources: &[&str]) -> Self {
        let mut rule = Self {
            verbs: verbs.iter().map(|&verb| verb.to_owned()).collect(),
            ..Self::default()
        };
        for resource in resources {
            let (plural, group) = match *resource {
                "*" => ("*", "*"),
                other => other.split_once('.').unwrap_or((other, "")),
            };
            rule.resources.push(plural.to_owned());
            rule.groups.push(group.to_owned());
        }
        rule
    }

    /// In this namespace only.
    pub fn in_namespace(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// For objects of this name only.
    pub fn named(mut self, name: &str) -> Self {
        self.names.push(name.to_owned());
        self
    }

    fn allows(&self, asked: &Attributes) -> bool {
        let any = |list: &[String], text: &str| list.iter().any(|entry| entry == "*" || entry == text);
        let resource = if asked.subresource.is_empty() {
            asked.resource.clone()
        } else {
            format!("{}/{}", asked.resource, asked.subresource)
        };
        asked.path.is_empty()
            && any(&self.verbs, &asked.verb)
            && any(&self.groups, &asked.group)
            && any(&self.resources, &resource)
            && (self.names.is_empty() || any(&self.names, &asked.name))
            && self
                .namespace
                .as_ref()
                .is_none_or(|namespace| *namespace == asked.namespace)
    }
}

/// What is asked of the authoriser.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`
    pub verb: String,
    /// The API group; empty: core.
    pub group: String,
    /// `v1`
    pub version: String,
    /// The plural; empty for a path that is no resource.
    pub resource: String,
    /// `status`, `log`, ...
    pub subresource: String,
    /// The namespace; empty: the whole cluster.
    pub namespace: String,
    /// The object; empty: all.
    pub name: String,
    /// The path of a request that is about no resource.
    pub path: String,
}

impl Attributes {
    /// `list nodepools.karpenter.sh`, `get /version`
    pub(crate) fn summary(&self) -> String {
        if !self.path.is_empty() {
            return format!("{} {}", self.verb, self.path);
        }
        let sub = if self.subresource.is_empty() {
            String::new()
        } else {
            format!("/{}", self.subresource)
        };
        let group = if self.group.is_empty() {
            String::new()
        } else {
            format!(".{}", self.group)
        };
        format!("{} {}{sub}{group}", self.verb, self.resource)
    }

    /// The text of the real server: `nodepools.karpenter.sh is forbidden: User "x" cannot list resource ...`
    fn forbidden(&self, user: &str) -> Reply {
        if !self.path.is_empty() {
            let text = format!(
                "forbidden: User {user:?} cannot {} path {:?}",
                self.verb, self.path
            );
            return status(403, "Forbidden", &text, &json!({}));
        }
        let resource = if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        };
        let subject = qualified(&self.group, &self.resource, &self.name);
        let place = if self.namespace.is_empty() {
            " at the cluster scope".to_owned()
        } else {
            format!(" in the namespace {:?}", self.namespace)
        };
        let text = format!(
            "{subject} is forbidden: User {user:?} cannot {} resource {resource:?} in API group {:?}{place}",
            self.verb, self.group
        );
        status(
            403,
            "Forbidden",
            &text,
            &details(&self.group, &self.resource, &self.name),
        )
    }
}

/// A user as the API server sees one.
#[derive(Clone, Debug)]
pub struct User {
    /// The user name.
    pub name: String,
    /// The uid, where the authenticator gives one.
    pub uid: Option<String>,
    /// The groups; `system:authenticated` is added by the server.
    pub groups: Vec<String>,
    /// What the authenticator adds (accessKeyId, arn, canonicalArn, principalId, sessionName).
    pub extra: BTreeMap<String, Vec<String>>,
    /// What this user may do.
    pub access: Access,
}

impl User {
    /// A user who may do everything.
    pub fn admin(name: &str) -> Self {
        Self::new(name, &["system:masters"], Access::All)
    }

    /// A user with these groups and rights.
    pub fn new(name: &str, groups: &[&str], access: Access) -> Self {
        Self {
            name: name.to_owned(),
            uid: None,
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
            extra: BTreeMap::new(),
            access,
        }
    }
}

/// A Kubernetes API server.
#[derive(Clone, Debug)]
pub struct Kubernetes {
    /// The EKS cluster it belongs to; its address is that cluster's endpoint.
    pub name: String,
    /// `1.34`
    pub version: String,
    /// Whether it speaks TLS (read when the stand-in starts). kubectl and helm send no token without.
    pub tls: bool,
    /// Static bearer tokens.
    pub tokens: BTreeMap<String, User>,
    /// Who IAM principals are to this cluster, by canonical ARN (role sessions as the role, without path). EKS tokens of
    /// other principals are refused with 401, as are all if this is empty.
    pub principals: BTreeMap<String, User>,
    /// Whether an EKS token may also be a URL of the stand-in's own STS, which is what the AWS CLI makes of
    /// AWS_ENDPOINT_URL. A real cluster takes URLs of AWS's STS only; those are taken either way.
    pub accept_standin_sts: bool,
    /// The EKS tokens that were presented, in order.
    pub eks_tokens: Vec<EksToken>,
    /// The logs of Pods' containers, by namespace, name, and whether it is the one before the last restart.
    pub logs: BTreeMap<(String, String, bool), String>,
    resources: Vec<Resource>,
    objects: BTreeMap<Key, BTreeMap<(String, String), Stored>>,
    revision: u64,
}

impl Kubernetes {
    /// A server with the kinds that every cluster has, the namespaces of a fresh one, and no users.
    pub fn new(name: &str) -> Self {
        let mut api = Self {
            name: name.to_owned(),
            version: "1.34".to_owned(),
            tls: false,
            tokens: BTreeMap::new(),
            principals: BTreeMap::new(),
            accept_standin_sts: true,
            eks_tokens: Vec::new(),
            logs: BTreeMap::new(),
            resources: builtins(),
            objects: BTreeMap::new(),
            revision: 1000,
        };
        for namespace in ["default", "kube-node-lease", "kube-public", "kube-system"] {
            api.put(json!({
                "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace },
                "status": { "phase": "Active" },
            }));
        }
        api
    }

    /// Installs a kind: its routes, not the CustomResourceDefinition object; put that where a test reads it.
    pub fn install(&mut self, resource: Resource) -> &mut Self {
        self.resources.retain(|known| known.key() != resource.key());
        self.resources.push(resource);
        self
    }

    /// Removes the kinds of a group version (`karpenter.sh`, `v1`), and their objects.
    pub fn uninstall(&mut self, group: &str, version: &str) -> &mut Self {
        self.resources
            .retain(|known| known.group != group || known.version != version);
        self.objects.retain(|(g, v, _), _| g != group || v != version);
        self
    }

    /// Installs Karpenter's kinds as of API version `v1`: NodePool, NodeClaim, EC2NodeClass.
    pub fn install_karpenter_v1(&mut self) -> &mut Self {
        self.install_karpenter("v1")
    }

    /// Installs Karpenter's kinds as of API version `v1beta1` (0.32 to 1.0).
    pub fn install_karpenter_v1beta1(&mut self) -> &mut Self {
        self.install_karpenter("v1beta1")
    }

    /// Installs Karpenter's kinds as of API version `v1alpha5` (up to 0.32): Provisioner, Machine, AWSNodeTemplate.
    pub fn install_karpenter_v1alpha5(&mut self) -> &mut Self {
        self.install(Resource::custom(
            "karpenter.sh",
            "v1alpha5",
            "provisioners",
            "Provisioner",
            false,
        ));
        self.install(Resource::custom(
            "karpenter.sh",
            "v1alpha5",
            "machines",
            "Machine",
            false,
        ));
        self.install(Resource::custom(
            "karpenter.k8s.aws",
            "v1alpha1",
            "awsnodetemplates",
            "AWSNodeTemplate",
            false,
        ))
    }

    fn install_karpenter(&mut self, version: &str) -> &mut Self {
        self.install(Resource::custom(
            "karpenter.sh",
            version,
            "nodepools",
            "NodePool",
            false,
        ));
        self.install(Resource::custom(
            "karpenter.sh",
            version,
            "nodeclaims",
            "NodeClaim",
            false,
        ));
        self.install(Resource::custom(
            "karpenter.k8s.aws",
            version,
            "ec2nodeclasses",
            "EC2NodeClass",
            false,
        ))
    }

    /// Stores an object under its apiVersion, kind, namespace and name, replacing the one that is there. uid,
    /// creationTimestamp and resourceVersion are added where they are missing. Panics when the kind is not installed.
    #[track_caller]
    pub fn put(&mut self, mut object: Value) -> &mut Self {
        let api_version = text(&object, &["apiVersion"]).to_owned();
        let kind = text(&object, &["kind"]).to_owned();
        let found = self
            .resources
            .iter()
            .find(|known| known.kind == kind && known.api_version() == api_version);
        let Some(resource) = found.cloned() else {
            panic!("no kind {kind} in {api_version}: install it first")
        };
        self.revision += 1;
        let revision = self.revision;
        let name = text(&object, &["metadata", "name"]).to_owned();
        let namespace = match text(&object, &["metadata", "namespace"]) {
            "" if resource.namespaced => "default".to_owned(),
            other => other.to_owned(),
        };
        assert!(!name.is_empty(), "a {kind} without a name");
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            if resource.namespaced {
                metadata.insert("namespace".to_owned(), json!(namespace));
            }
            let uid = format!("00000000-0000-4000-8000-{revision:012}");
            metadata.entry("uid").or_insert_with(|| json!(uid));
            metadata
                .entry("creationTimestamp")
                .or_insert_with(|| json!("2024-05-02T09:00:00Z"));
            metadata.insert("resourceVersion".to_owned(), json!(revision.to_string()));
        }
        let item = if resource.builtin {
            let mut bare = object.clone();
            if let Some(fields) = bare.as_object_mut() {
                fields.shift_remove("apiVersion");
                fields.shift_remove("kind");
            }
            bare.to_string()
        } else {
            object.to_string()
        };
        let stored = Stored {
            value: Arc::new(object),
            item: item.into(),
        };
        self.objects
            .entry(resource.key())
            .or_default()
            .insert((namespace, name), stored);
        self
    }

    /// An object, by API version (`v1`, `karpenter.sh/v1`), plural, namespace (empty for a cluster-scoped one) and name.
    pub fn get(&self, api_version: &str, plural: &str, namespace: &str, name: &str) -> Option<&Value> {
        let objects = self.objects.get(&key(api_version, plural))?;
        objects
            .get(&(namespace.to_owned(), name.to_owned()))
            .map(|stored| stored.value.as_ref())
    }

    /// Changes an object in place. Panics when it is not there.
    #[track_caller]
    pub fn change(
        &mut self,
        api_version: &str,
        plural: &str,
        namespace: &str,
        name: &str,
        change: impl FnOnce(&mut Value),
    ) -> &mut Self {
        let Some(mut object) = self.get(api_version, plural, namespace, name).cloned() else {
            panic!("no {plural} {namespace}/{name} in {api_version}")
        };
        change(&mut object);
        self.put(object)
    }

    /// Removes an object; says whether it was there.
    pub fn remove(&mut self, api_version: &str, plural: &str, namespace: &str, name: &str) -> bool {
        self.objects
            .get_mut(&key(api_version, plural))
            .is_some_and(|objects| objects.remove(&(namespace.to_owned(), name.to_owned())).is_some())
    }

    /// Removes every object of a kind.
    pub fn clear(&mut self, api_version: &str, plural: &str) -> &mut Self {
        self.objects.remove(&key(api_version, plural));
        self
    }

    /// Stores kube-system/aws-auth with these `data` entries (`mapRoles`, `mapUsers`, `mapAccounts`).
    pub fn put_aws_auth(&mut self, data: &[(&str, &str)]) -> &mut Self {
        let data: Map<_, _> = data
            .iter()
            .map(|(key, value)| ((*key).to_owned(), json!(value)))
            .collect();
        self.put(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": "aws-auth", "namespace": "kube-system" },
            "data": data,
        }))
    }

    fn resource(&self, asked: &Attributes) -> Option<&Resource> {
        self.resources
            .iter()
            .find(|r| r.group == asked.group && r.version == asked.version && r.plural == asked.resource)
    }
}

fn key(api_version: &str, plural: &str) -> Key {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    (group.to_owned(), version.to_owned(), plural.to_owned())
}

fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    path.iter()
        .try_fold(value, |at, key| at.get(key))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// What a request asks for.
pub(crate) fn attributes(request: &Request) -> Attributes {
    let segments = request.segments();
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
        _ => {
            let verb = request.method.to_ascii_lowercase();
            return Attributes {
                verb,
                path: request.path.clone(),
                ..Attributes::default()
            };
        }
    };
    let (namespace, rest) = match rest {
        // `namespaces/x` alone is the namespace itself; so are its two subresources.
        ["namespaces", name, tail @ ..] if !tail.is_empty() && !matches!(tail, ["status" | "finalize"]) => {
            (*name, tail)
        }
        ["namespaces", name, ..] => (*name, rest),
        _ => ("", rest),
    };
    let mut rest = rest.iter();
    let resource = rest.next().copied().unwrap_or_default();
    let name = rest.next().copied().unwrap_or_default();
    let subresource = rest.next().copied().unwrap_or_default();
    let watching = matches!(request.query("watch"), Some("true" | "1"));
    let verb = match (request.method.as_str(), name.is_empty()) {
        ("GET" | "HEAD", true) if watching => "watch",
        ("GET" | "HEAD", true) => "list",
        ("GET" | "HEAD", false) => "get",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", true) => "deletecollection",
        ("DELETE", false) => "delete",
        (other, _) => other,
    };
    Attributes {
        verb: verb.to_owned(),
        group: group.to_owned(),
        version: version.to_owned(),
        resource: resource.to_owned(),
        subresource: subresource.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        path: String::new(),
    }
}

/// Who the authenticator takes the bearer of an EKS token for.
pub(crate) struct Bearer {
    /// The IAM identity's ARN and id.
    pub(crate) arn: String,
    pub(crate) user_id: String,
}

/// The user behind a request, or 401. The access key id of an EKS token is noted either way.
pub(crate) fn authenticate(
    api: &mut Kubernetes,
    request: &Request,
    bearer_of: &dyn Fn(&EksToken) -> Option<Bearer>,
    standin_sts: &str,
    access_key: &mut Option<String>,
) -> Result<User, Reply> {
    let Some(header) = request.header("authorization") else {
        return Ok(User::new(
            "system:anonymous",
            &["system:unauthenticated"],
            Access::none(),
        ));
    };
    let token = header.strip_prefix("Bearer ").unwrap_or_default().trim();
    if let Some(user) = api.tokens.get(token) {
        return Ok(authenticated(user.clone()));
    }
    let own_sts = api.accept_standin_sts.then_some(standin_sts);
    let Some(parsed) = EksToken::parse(token, &api.name, own_sts) else {
        return Err(unauthorized());
    };
    let bearer = bearer_of(&parsed).filter(|_| parsed.is_valid());
    let key = parsed.access_key.clone();
    *access_key = Some(key.clone());
    api.eks_tokens.push(parsed);
    let Some(bearer) = bearer else {
        return Err(unauthorized());
    };
    let canonical = canonical_arn(&bearer.arn);
    let Some(user) = api.principals.get(&canonical) else {
        return Err(unauthorized());
    };
    let mut user = user.clone();
    let account = canonical.split(':').nth(4).unwrap_or_default();
    let (principal, session) = bearer.user_id.split_once(':').unwrap_or((&bearer.user_id, ""));
    user.uid = Some(format!("aws-iam-authenticator:{account}:{principal}"));
    for (name, value) in [
        ("accessKeyId", key.as_str()),
        ("arn", &bearer.arn),
        ("canonicalArn", &canonical),
        ("principalId", principal),
        ("sessionName", session),
    ] {
        user.extra.insert(name.to_owned(), vec![value.to_owned()]);
    }
    Ok(authenticated(user))
}

fn authenticated(mut user: User) -> User {
    if !user.groups.iter().any(|group| group == "system:authenticated") {
        user.groups.push("system:authenticated".to_owned());
    }
    user
}

/// A role session's ARN as the role's (without path, which the session's ARN doesn't hold).
fn canonical_arn(arn: &str) -> String {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    match parts.as_slice() {
        [_, partition, "sts", _, account, resource] => {
            match resource.split('/').collect::<Vec<_>>().as_slice() {
                ["assumed-role", role, ..] => format!("arn:{partition}:iam::{account}:role/{role}"),
                _ => arn.to_owned(),
            }
        }
        _ => arn.to_owned(),
    }
}

/// Answers a request of this user.
pub(crate) fn answer(api: &Kubernetes, request: &Request, asked: &Attributes, user: &User) -> Reply {
    let answer = impersonated(api, request, user).and_then(|user| {
        authorise(asked, &user)?;
        route(api, request, asked, &user)
    });
    either(answer)
        .with("cache-control", "no-cache, private")
        .with("x-content-type-options", "nosniff")
        .with("audit-id", "00000000-0000-4000-8000-000000000000")
}

/// The user that a request is made as: `Impersonate-User` and `Impersonate-Group`, where the caller may. The rights are those of
/// the user of that name; a name that nobody has, has none.
fn impersonated(api: &Kubernetes, request: &Request, user: &User) -> Result<User, Reply> {
    let Some(name) = request.header("impersonate-user") else {
        return Ok(user.clone());
    };
    let asked = Attributes {
        verb: "impersonate".to_owned(),
        resource: "users".to_owned(),
        name: name.to_owned(),
        ..Attributes::default()
    };
    authorise(&asked, user)?;
    let groups = request.headers.get_all("impersonate-group").iter();
    let groups: Vec<&str> = groups.filter_map(|group| group.to_str().ok()).collect();
    let known = api
        .tokens
        .values()
        .chain(api.principals.values())
        .find(|user| user.name == name);
    let access = known.map_or_else(Access::none, |user| user.access.clone());
    Ok(authenticated(User::new(name, &groups, access)))
}

/// What every authenticated user may: `system:basic-user` and `system:discovery`; anyone: `system:public-info-viewer`.
fn default_rights(asked: &Attributes, user: &User) -> bool {
    let known = user.groups.iter().any(|group| group == "system:authenticated");
    let public = ["/healthz", "/livez", "/readyz", "/version", "/version/"];
    if !asked.path.is_empty() {
        let discovery = ["/api", "/apis", "/openapi"];
        let is_discovery = discovery.iter().any(|root| {
            asked
                .path
                .strip_prefix(root)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        return asked.verb == "get" && (public.contains(&asked.path.as_str()) || (known && is_discovery));
    }
    known
        && asked.verb == "create"
        && matches!(
            (asked.group.as_str(), asked.resource.as_str()),
            (
                "authorization.k8s.io",
                "selfsubjectaccessreviews" | "selfsubjectrulesreviews"
            ) | ("authentication.k8s.io", "selfsubjectreviews")
        )
}

fn authorise(asked: &Attributes, user: &User) -> Result<(), Reply> {
    if default_rights(asked, user) || user.access.allows(asked) {
        Ok(())
    } else {
        Err(asked.forbidden(&user.name))
    }
}

fn route(api: &Kubernetes, request: &Request, asked: &Attributes, user: &User) -> Answer {
    if !asked.path.is_empty() {
        return discovery(api, asked);
    }
    let Some(resource) = api.resource(asked) else {
        return Err(no_such_path());
    };
    match (asked.group.as_str(), asked.resource.as_str(), asked.verb.as_str()) {
        ("authentication.k8s.io", "selfsubjectreviews", "create") => Ok(self_subject_review(resource, user)),
        ("authorization.k8s.io", "selfsubjectaccessreviews", "create") => self_access_review(request, user),
        ("authorization.k8s.io", "selfsubjectrulesreviews", "create") => self_rules_review(request, user),
        (_, _, "get") if asked.subresource.is_empty() => get(api, resource, asked),
        ("", "pods", "get") if asked.subresource == "log" => log(api, resource, request, asked),
        (_, _, "list") => list(api, resource, request, asked),
        _ => {
            let text = "the server does not allow this method on the requested resource";
            Err(status(405, "MethodNotAllowed", text, &json!({})))
        }
    }
}

fn get(api: &Kubernetes, resource: &Resource, asked: &Attributes) -> Answer {
    let namespace = if resource.namespaced {
        asked.namespace.clone()
    } else {
        String::new()
    };
    let found = api
        .objects
        .get(&resource.key())
        .and_then(|all| all.get(&(namespace, asked.name.clone())));
    match found {
        Some(stored) => Ok(Reply::json(200, &stored.value)),
        None => {
            let text = format!(
                "{} not found",
                qualified(&asked.group, &asked.resource, &asked.name)
            );
            Err(status(
                404,
                "NotFound",
                &text,
                &details(&asked.group, &asked.resource, &asked.name),
            ))
        }
    }
}

/// The log of a Pod's container: text, at most `limitBytes` of its last `tailLines` lines.
fn log(api: &Kubernetes, resource: &Resource, request: &Request, asked: &Attributes) -> Answer {
    get(api, resource, asked)?;
    let previous = request.query("previous") == Some("true");
    let key = (asked.namespace.clone(), asked.name.clone(), previous);
    let Some(text) = api.logs.get(&key) else {
        return match previous {
            true => Err(bad_request(
                "previous terminated container \"controller\" not found",
            )),
            false => Ok(Reply::new(200, "text/plain", String::new())),
        };
    };
    let number = |name: &str| request.query(name).and_then(|text| text.parse::<usize>().ok());
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let skipped = lines
        .len()
        .saturating_sub(number("tailLines").unwrap_or(usize::MAX));
    let mut tail = lines[skipped..].concat();
    let limit = number("limitBytes").unwrap_or(usize::MAX).min(tail.len());
    tail.truncate(
        (0..=limit)
            .rev()
            .find(|at| tail.is_char_boundary(*at))
            .unwrap_or(0),
    );
    Ok(Reply::new(200, "text/plain", tail))
}

fn list(api: &Kubernetes, resource: &Resource, request: &Request, asked: &Attributes) -> Answer {
    let labels = Labels::parse(request.query("labelSelector").unwrap_or_default())
        .map_err(|text| bad_request(&text))?;
    let fields = Fields::parse(
        request.query("fieldSelector").unwrap_or_default(),
        &resource.plural,
    )
    .map_err(|text| bad_request(&text))?;
    let limit = match request.query("limit").filter(|text| !text.is_empty()) {
        None | Some("0") => usize::MAX,
        Some(text) => text
            .parse()
            .map_err(|_| bad_request(&format!("strconv.ParseInt: parsing {text:?}: invalid syntax")))?,
    };
    let from = match request.query("continue").filter(|text| !text.is_empty()) {
        None => None,
        Some(token) => Some(Continue::parse(token).ok_or_else(|| bad_request("continue key is not valid"))?),
    };
    let empty = BTreeMap::new();
    let all = api.objects.get(&resource.key()).unwrap_or(&empty);
    let everywhere = !resource.namespaced || asked.namespace.is_empty();
    let start = match &from {
        Some(token) => Bound::Excluded((token.namespace.clone(), token.name.clone())),
        None if everywhere => Bound::Unbounded,
        None => Bound::Included((asked.namespace.clone(), String::new())),
    };
    let mut matching = all
        .range((start, Bound::Unbounded))
        .take_while(|((namespace, _), _)| everywhere || *namespace == asked.namespace)
        .filter(|(_, stored)| labels.matches(&stored.value) && fields.matches(&stored.value));
    let mut items: Vec<&str> = Vec::new();
    let mut last = None;
    for (place, stored) in matching.by_ref().take(limit) {
        items.push(&stored.item);
        last = Some(place);
    }
    let served = from.as_ref().map_or(0, |token| token.served) + items.len();
    let more = matching.next().is_some();
    let mut metadata = Map::new();
    metadata.insert("resourceVersion".to_owned(), json!(api.revision.to_string()));
    if let Some((namespace, name)) = last.filter(|_| more) {
        let token = Continue {
            namespace: namespace.clone(),
            name: name.clone(),
            served,
        };
        metadata.insert("continue".to_owned(), json!(token.to_text()));
        // The server counts what is left only where nothing was filtered.
        if everywhere && labels.is_empty() && fields.is_empty() {
            metadata.insert(
                "remainingItemCount".to_owned(),
                json!(all.len().saturating_sub(served)),
            );
        }
    }
    let size: usize = items.iter().map(|item| item.len() + 1).sum();
    let mut body = String::with_capacity(size + 256);
    body.push_str(&format!(
        "{{\"kind\":\"{}List\",\"apiVersion\":\"{}\",\"metadata\":{},\"items\":[",
        resource.kind,
        resource.api_version(),
        Value::Object(metadata)
    ));
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            body.push(',');
        }
        body.push_str(item);
    }
    body.push_str("]}\n");
    Ok(Reply::new(200, "application/json", body))
}

/// A continue token: the last object served, and how many were. Opaque to clients.
struct Continue {
    namespace: String,
    name: String,
    served: usize,
}

impl Continue {
    fn to_text(&self) -> String {
        let place = format!("{}/{}", self.namespace, self.name);
        URL_SAFE_NO_PAD
            .encode(json!({ "v": "meta.k8s.io/v1", "start": place, "served": self.served }).to_string())
    }

    fn parse(token: &str) -> Option<Self> {
        let value: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        let (namespace, name) = value.get("start")?.as_str()?.split_once('/')?;
        let served = usize::try_from(value.get("served")?.as_u64()?).ok()?;
        Some(Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            served,
        })
    }
}

fn self_subject_review(resource: &Resource, user: &User) -> Reply {
    let mut info = Map::new();
    info.insert("username".to_owned(), json!(user.name));
    if let Some(uid) = &user.uid {
        info.insert("uid".to_owned(), json!(uid));
    }
    info.insert("groups".to_owned(), json!(user.groups));
    if !user.extra.is_empty() {
        info.insert("extra".to_owned(), json!(user.extra));
    }
    Reply::json(
        201,
        &json!({
            "kind": "SelfSubjectReview", "apiVersion": resource.api_version(),
            "metadata": { "creationTimestamp": null },
            "status": { "userInfo": info },
        }),
    )
}

/// The body of a create. A real server also reads protobuf, which kubectl sends for these kinds.
fn json_body(request: &Request) -> Result<Value, Reply> {
    if request
        .header("content-type")
        .is_some_and(|kind| kind.starts_with("application/vnd.kubernetes.protobuf"))
    {
        let text = "the body of the request was in an unknown format - accepted media types include: \
                    application/json, application/yaml";
        return Err(status(415, "UnsupportedMediaType", text, &json!({})));
    }
    serde_json::from_slice(&request.body).map_err(|error| bad_request(&error.to_string()))
}

fn self_access_review(request: &Request, user: &User) -> Answer {
    let body = json_body(request)?;
    let spec = body.get("spec").cloned().unwrap_or_else(|| json!({}));
    let asked = if let Some(resource) = spec.get("resourceAttributes") {
        let field = |name: &str| text(resource, &[name]).to_owned();
        Attributes {
            verb: field("verb"),
            group: field("group"),
            version: field("version"),
            resource: field("resource"),
            subresource: field("subresource"),
            namespace: field("namespace"),
            name: field("name"),
            path: String::new(),
        }
    } else {
        let other = &spec["nonResourceAttributes"];
        Attributes {
            verb: text(other, &["verb"]).to_owned(),
            path: text(other, &["path"]).to_owned(),
            ..Attributes::default()
        }
    };
    let allowed = default_rights(&asked, user) || user.access.allows(&asked);
    Ok(Reply::json(
        201,
        &json!({
            "kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1",
            "metadata": { "creationTimestamp": null },
            "spec": spec,
            "status": { "allowed": allowed },
        }),
    ))
}

fn self_rules_review(request: &Request, user: &User) -> Answer {
    let body = json_body(request)?;
    let namespace = text(&body, &["spec", "namespace"]).to_owned();
    if namespace.is_empty() {
        return Err(bad_request("no namespace on request"));
    }
    let rule = |verbs: &[String], groups: &[String], resources: &[String], names: &[String]| {
        let mut out = json!({ "verbs": verbs, "apiGroups": groups, "resources": resources });
        if !names.is_empty() {
            out["resourceNames"] = json!(names);
        }
        out
    };
    let star = ["*".to_owned()];
    let mut rules = vec![
        json!({ "verbs": ["create"], "apiGroups": ["authorization.k8s.io"],
                "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"] }),
        json!({ "verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"] }),
    ];
    match &user.access {
        Access::All => rules.push(rule(&star, &star, &star, &[])),
        Access::Rules(granted) => {
            let here = granted
                .iter()
                .filter(|r| r.namespace.as_ref().is_none_or(|n| *n == namespace));
            rules.extend(here.map(|r| rule(&r.verbs, &r.groups, &r.resources, &r.names)));
        }
        Access::Decide(_) => {}
    }
    // EKS always has a webhook authoriser, which can't list rules.
    Ok(Reply::json(
        201,
        &json!({
            "kind": "SelfSubjectRulesReview", "apiVersion": "authorization.k8s.io/v1",
            "metadata": { "creationTimestamp": null },
            "spec": {},
            "status": {
                "resourceRules": rules,
                "nonResourceRules": [{ "verbs": ["get"], "nonResourceURLs": ["/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz", "/version", "/version/"] }],
                "incomplete": true,
                "evaluationError": "webhook authorizer does not support user rule resolution",
            },
        }),
    ))
}

fn discovery(api: &Kubernetes, asked: &Attributes) -> Answer {
    let segments: Vec<&str> = asked.path.split('/').filter(|part| !part.is_empty()).collect();
    if asked.verb != "get" {
        let text = "the server does not allow this method on the requested resource";
        return Err(status(405, "MethodNotAllowed", text, &json!({})));
    }
    match segments.as_slice() {
        ["version"] => {
            let (major, minor) = api.version.split_once('.').unwrap_or(("1", &api.version));
            Ok(Reply::json(
                200,
                &json!({
                    "major": major, "minor": minor, "gitVersion": format!("v{}.2-eks-0a1b2c3", api.version),
                    "gitCommit": "0123456789abcdef0123456789abcdef01234567", "gitTreeState": "clean",
                    "buildDate": "2025-10-14T10:00:00Z", "goVersion": "go1.24.6", "compiler": "gc",
                    "platform": "linux/amd64",
                }),
            ))
        }
        ["healthz" | "livez" | "readyz"] => Ok(Reply::new(200, "text/plain; charset=utf-8", "ok")),
        ["api"] => Ok(Reply::json(
            200,
            &json!({ "kind": "APIVersions", "versions": ["v1"],
                     "serverAddressByClientCIDRs": [{ "clientCIDR": "0.0.0.0/0", "serverAddress": "ip-172-16-0-1.ec2.internal:443" }] }),
        )),
        ["apis"] => {
            let groups: Vec<Value> = groups(api)
                .into_iter()
                .map(|(group, versions)| group_json(&group, &versions))
                .collect();
            Ok(Reply::json(
                200,
                &json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups }),
            ))
        }
        ["apis", group] => match groups(api).remove(*group) {
            None => Err(no_such_path()),
            Some(versions) => {
                let mut out = json!({ "kind": "APIGroup", "apiVersion": "v1" });
                if let (Some(out), Value::Object(fields)) =
                    (out.as_object_mut(), group_json(group, &versions))
                {
                    out.extend(fields);
                }
                Ok(Reply::json(200, &out))
            }
        },
        ["api", version] => resource_list(api, "", version),
        ["apis", group, version] => resource_list(api, group, version),
        _ => Err(no_such_path()),
    }
}

/// The groups, with their versions in order of installation.
fn groups(api: &Kubernetes) -> BTreeMap<String, Vec<String>> {
    let mut out: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for resource in api.resources.iter().filter(|resource| !resource.group.is_empty()) {
        let versions = out.entry(resource.group.clone()).or_default();
        if !versions.contains(&resource.version) {
            versions.push(resource.version.clone());
        }
    }
    out
}

fn group_json(group: &str, versions: &[String]) -> Value {
    let version =
        |version: &String| json!({ "groupVersion": format!("{group}/{version}"), "version": version });
    let all: Vec<Value> = versions.iter().map(version).collect();
    let preferred = all.first().cloned().unwrap_or(Value::Null);
    json!({ "name": group, "versions": all, "preferredVersion": preferred })
}

/// What people type instead of the plural.
const SHORT_NAMES: &[(&str, &str)] = &[
    ("configmaps", "cm"),
    ("customresourcedefinitions", "crd"),
    ("daemonsets", "ds"),
    ("deployments", "deploy"),
    ("ec2nodeclasses", "ec2nc"),
    ("events", "ev"),
    ("namespaces", "ns"),
    ("nodes", "no"),
    ("poddisruptionbudgets", "pdb"),
    ("pods", "po"),
    ("serviceaccounts", "sa"),
    ("services", "svc"),
];

fn resource_list(api: &Kubernetes, group: &str, version: &str) -> Answer {
    let here: Vec<_> = api
        .resources
        .iter()
        .filter(|r| r.group == group && r.version == version)
        .collect();
    let Some(first) = here.first() else {
        return Err(no_such_path());
    };
    let resources: Vec<_> = here
        .iter()
        .map(|resource| {
            let review = resource.plural.ends_with("reviews");
            let verbs: &[&str] = if review {
                &["create"]
            } else {
                &[
                    "create",
                    "delete",
                    "deletecollection",
                    "get",
                    "list",
                    "patch",
                    "update",
                    "watch",
                ]
            };
            let mut out = json!({
                "name": resource.plural, "singularName": resource.kind.to_ascii_lowercase(),
                "namespaced": resource.namespaced, "kind": resource.kind, "verbs": verbs,
            });
            if let Some((_, short)) = SHORT_NAMES.iter().find(|(plural, _)| *plural == resource.plural) {
                out["shortNames"] = json!([short]);
            }
            out
        })
        .collect();
    Ok(Reply::json(
        200,
        &json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": first.api_version(), "resources": resources }),
    ))
}

/// A `Status` object.
pub(crate) fn status(code: u16, reason: &str, message: &str, details: &Value) -> Reply {
    let mut body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason,
    });
    if details.as_object().is_some_and(|details| !details.is_empty()) {
        body["details"] = details.clone();
    } else if reason == "Forbidden" {
        body["details"] = json!({});
    }
    body["code"] = json!(code);
    Reply::json(code, &body)
}

pub(crate) fn unauthorized() -> Reply {
    status(401, "Unauthorized", "Unauthorized", &json!({}))
        .with("cache-control", "no-cache, private")
        .with("audit-id", "00000000-0000-4000-8000-000000000000")
}

fn bad_request(message: &str) -> Reply {
    status(400, "BadRequest", message, &json!({}))
}

/// The answer for groups, versions and kinds that are not installed: plain text, no Status.
fn no_such_path() -> Reply {
    Reply::new(404, "text/plain; charset=utf-8", "404 page not found\n")
}

/// How the server says that it is asked too often (priority and fairness): plain text.
pub(crate) fn throttled() -> Reply {
    Reply::new(
        429,
        "text/plain; charset=utf-8",
        "Too many requests, please try again later.\n",
    )
    .with("retry-after", "1")
}

/// How it says that it is broken (500) or not ready (503).
pub(crate) fn broken(code: u16) -> Reply {
    match code {
        503 => status(
            503,
            "ServiceUnavailable",
            "the server is currently unable to handle the request",
            &json!({}),
        ),
        _ => status(
            code,
            "InternalError",
            "Internal error occurred: etcdserver: request timed out",
            &json!({
                "causes": [{ "message": "etcdserver: request timed out" }]
            }),
        ),
    }
}

/// `nodepools.karpenter.sh "default"`
fn qualified(group: &str, resource: &str, name: &str) -> String {
    let group = if group.is_empty() {
        String::new()
    } else {
        format!(".{group}")
    };
    let name = if name.is_empty() {
        String::new()
    } else {
        format!(" {name:?}")
    };
    format!("{resource}{group}{name}")
}

fn details(group: &str, resource: &str, name: &str) -> Value {
    let mut out = Map::new();
    for (key, value) in [("name", name), ("group", group), ("kind", resource)] {
        if !value.is_empty() {
            out.insert(key.to_owned(), json!(value));
        }
    }
    Value::Object(out)
}

/// The kinds that every cluster has and that a preflight may look at.
fn builtins() -> Vec<Resource> {
    /// group, version, and the kinds: plural, kind, namespaced
    type Group = (
        &'static str,
        &'static str,
        &'static [(&'static str, &'static str, bool)],
    );
    let table: &[Group] = &[
        (
            "",
            "v1",
            &[
                ("configmaps", "ConfigMap", true),
                ("endpoints", "Endpoints", true),
                ("events", "Event", true),
                ("namespaces", "Namespace", false),
                ("nodes", "Node", false),
                ("persistentvolumeclaims", "PersistentVolumeClaim", true),
                ("persistentvolumes", "PersistentVolume", false),
                ("pods", "Pod", true),
                ("secrets", "Secret", true),
                ("serviceaccounts", "ServiceAccount", true),
                ("services", "Service", true),
            ],
        ),
        (
            "apps",
            "v1",
            &[
                ("controllerrevisions", "ControllerRevision", true),
                ("daemonsets", "DaemonSet", true),
                ("deployments", "Deployment", true),
                ("replicasets", "ReplicaSet", true),
                ("statefulsets", "StatefulSet", true),
            ],
        ),
        (
            "batch",
            "v1",
            &[("cronjobs", "CronJob", true), ("jobs", "Job", true)],
        ),
        (
            "policy",
            "v1",
            &[("poddisruptionbudgets", "PodDisruptionBudget", true)],
        ),
        ("coordination.k8s.io", "v1", &[("leases", "Lease", true)]),
        (
            "rbac.authorization.k8s.io",
            "v1",
            &[
                ("clusterrolebindings", "ClusterRoleBinding", false),
                ("clusterroles", "ClusterRole", false),
                ("rolebindings", "RoleBinding", true),
                ("roles", "Role", true),
            ],
        ),
        (
            "admissionregistration.k8s.io",
            "v1",
            &[
                (
                    "mutatingwebhookconfigurations",
                    "MutatingWebhookConfiguration",
                    false,
                ),
                (
                    "validatingwebhookconfigurations",
                    "ValidatingWebhookConfiguration",
                    false,
                ),
            ],
        ),
        (
            "apiextensions.k8s.io",
            "v1",
            &[("customresourcedefinitions", "CustomResourceDefinition", false)],
        ),
        (
            "storage.k8s.io",
            "v1",
            &[("storageclasses", "StorageClass", false)],
        ),
        (
            "authentication.k8s.io",
            "v1",
            &[("selfsubjectreviews", "SelfSubjectReview", false)],
        ),
        (
            "authorization.k8s.io",
            "v1",
            &[
                ("selfsubjectaccessreviews", "SelfSubjectAccessReview", false),
                ("selfsubjectrulesreviews", "SelfSubjectRulesReview", false),
            ],
        ),
    ];
    table
        .iter()
        .flat_map(|(group, version, kinds)| {
            kinds.iter().map(move |(plural, kind, namespaced)| {
                Resource::builtin(group, version, plural, kind, *namespaced)
            })
        })
        .collect()
}
