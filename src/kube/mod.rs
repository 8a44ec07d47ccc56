//! The only way to read from a Kubernetes API: [`Api::get`] for one object, [`Api::list`] for all of a kind that every cluster has,
//! [`Api::list_served`] for a kind that may not be installed.
//!
//! They own the bounds of time and size, the record of the call, the permission that lifts a denial, and completeness: *absent*
//! comes only from the API server's own "not found" for that very object, or for a kind that its discovery does not list either;
//! *empty* only from a list of that kind whose items are there to the last page.

pub mod exec_plugin;
mod log;
mod resource;

pub use resource::Resource;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::join;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReviewSpec;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::aws::{Limits, Pages};
use crate::model::{Calls, DeniedBy, Fact, Grant, Observed, Unknown, Why};

/// No single answer may be larger: a page of 500 objects of 1.5 MiB (etcd's limit) never comes in practice.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// A connection to one cluster's API server.
#[derive(Clone)]
pub struct Api {
    client: kube::Client,
    limits: Limits,
    calls: Calls,
    /// What each API group serves, asked once.
    groups: Arc<Mutex<BTreeMap<String, Arc<Asked>>>>,
    /// In a run over many clusters: what became of the first requests.
    contact: Option<Arc<Contact>>,
}

/// Whether an API server ever answered. One that takes no connection, or takes it and says nothing, is not tried again and again
/// while other clusters wait for their turn.
#[derive(Debug, Default)]
struct Contact {
    answered: AtomicBool,
    lost: OnceLock<Unknown>,
}

impl Contact {
    fn note(&self, outcome: &Result<Value, Refusal>) {
        match outcome {
            Err(Refusal::Unknown(unknown)) if matches!(unknown.why, Why::Unreachable | Why::TimedOut) => {
                if !self.answered.load(Ordering::Relaxed) {
                    self.lost.get_or_init(|| unknown.clone());
                }
            }
            _ => self.answered.store(true, Ordering::Relaxed),
        }
    }

    /// Why nothing more is asked.
    fn lost(&self) -> Option<&Unknown> {
        self.lost.get().filter(|_| !self.answered.load(Ordering::Relaxed))
    }
}

type Asked = OnceCell<Result<Group, Unknown>>;

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// What an API group serves.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Group {
    /// These versions.
    Served(Vec<String>),
    /// Nothing: it is not installed.
    Absent,
}

/// What the API server answered when it did not answer with the object.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Refusal {
    /// The API server said that the object does not exist (a `NotFound` status); with the name that it says, where it says one.
    NotFound(Option<String>),
    /// A path that is not served (the API server's plain `404 page not found`).
    NotServed,
    /// A page token has expired (410 Gone): the list must be read anew.
    Gone,
    /// It could not be read.
    Unknown(Unknown),
}

impl Api {
    /// A client for a configuration whose authentication is complete.
    ///
    /// # Errors
    /// Unusable certificates or proxy settings.
    pub fn new(mut config: kube::Config, limits: Limits, calls: &Calls) -> Result<Self, Unknown> {
        config.connect_timeout = crate::aws::connect_timeout(limits.request);
        if config.cluster_url.scheme_str() == Some("http") {
            // A tunnel or a proxy on this machine: without TLS there is nothing to read the machine's certificates for.
            config.root_cert = Some(Vec::new());
        }
        // Its policy retries 15 times with growing pauses; a preflight has its own bound.
        config.default_retry = false;
        let client = kube::Client::try_from(config).map_err(|error| {
            Unknown::new(
                Why::Unreachable,
                format!(
                    "the kubeconfig entry cannot be used: {}",
                    crate::aws::chain(&error)
                ),
            )
        })?;
        Ok(Self {
            client,
            limits,
            calls: calls.clone(),
            groups: Arc::default(),
            contact: None,
        })
    }

    /// Gives a server up that answered none of the first requests.
    #[must_use]
    pub fn giving_up(self) -> Self {
        Self {
            contact: Some(Arc::default()),
            ..self
        }
    }

    /// Where the calls to this API server are written down.
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    /// Reads one object. `take` makes the value of it; its error goes on after "the answer to CALL".
    pub async fn get<T>(
        &self,
        resource: &Resource<'_>,
        name: &str,
        take: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Fact<T> {
        let grant = resource.grant("get", Some(name));
        let call = grant.action();
        let malformed = |what: String| {
            Observed::Unknown(Unknown::new(
                Why::Malformed,
                format!("the answer to {call} {what}"),
            ))
        };
        let observed = match self
            .send(Method::GET, &resource.path(Some(name)), &[], &grant)
            .await
        {
            Ok(value) => {
                let text = |pointer| value.pointer(pointer).and_then(Value::as_str);
                match (text("/kind"), text("/metadata/name")) {
                    (Some(kind), _) if kind != resource.kind() => malformed(format!("is a {kind}")),
                    (Some(_), Some(found)) if found == name => match take(&value) {
                        Ok(value) => Observed::Known(value),
                        Err(what) => malformed(what),
                    },
                    (None, _) => malformed("names no kind".to_owned()),
                    (Some(_), _) => malformed(format!("is not {name}")),
                }
            }
            Err(Refusal::NotFound(found)) if found.as_deref().is_none_or(|found| found == name) => {
                Observed::Absent
            }
            Err(Refusal::NotFound(_) | Refusal::NotServed | Refusal::Gone) => {
                Observed::Unknown(not_there(&call))
            }
            Err(Refusal::Unknown(unknown)) => Observed::Unknown(unknown),
        };
        self.calls.observed(&call, &observed);
        Fact::new(call, observed)
    }

    /// Reads a list of a kind that every cluster serves, folding every item into `start()`, a page of memory at a time. Never
    /// absent.
    pub async fn list<T>(
        &self,
        resource: &Resource<'_>,
        start: impl Fn() -> T,
        fold: impl FnMut(&mut T, &Value),
    ) -> Fact<T> {
        let call = resource.listed();
        let mut seen = 0;
        let observed = match self.fold(resource, start, fold, &mut seen).await {
            Ok(value) => Observed::Known(value),
            Err(refusal) => Observed::Unknown(refusal.unknown(&call)),
        };
        self.listed(call, observed, seen)
    }

    /// The first page of such a list, for a look at a few.
    ///
    /// # Errors
    /// Why it could not be read.
    pub async fn first_page(&self, resource: &Resource<'_>) -> Result<Vec<Value>, Unknown> {
        let page = self.page(resource, None).await;
        page.map(|(items, _)| items)
            .map_err(|refusal| refusal.unknown(&resource.listed()))
    }

    /// Reads a list of a kind that may not be installed, in the first of these versions (the newest first) that is served. `fold`
    /// also gets the version's place among them. Absent: the cluster does not serve the kind. An older version with another name
    /// for the kind is read as well: Karpenter 0.32 to 0.37 serve v1alpha5's Provisioners beside v1beta1's NodePools.
    ///
    /// Beside the newest version, at the same time, it asks which versions the group serves: an older one costs one more request,
    /// and a kind that is not there costs none.
    pub async fn list_served<T: Clone>(
        &self,
        versions: &[Resource<'_>],
        start: impl Fn() -> T,
        fold: impl Fn(&mut T, &Value, usize),
    ) -> Fact<T> {
        let Some(newest) = versions.first() else {
            return Fact::not_asked("list", "no version is known");
        };
        let call = newest.listed();
        let mut seen = 0;
        let mut place = 0;
        let (first, group) = join!(
            self.fold(newest, &start, |state, item| fold(state, item, 0), &mut seen),
            self.group(newest.group())
        );
        let observed = match (first, group) {
            (Ok(value), _) => Observed::Known(value),
            (Err(Refusal::Unknown(unknown)), _) if !matches!(unknown.why, Why::Denied { .. }) => {
                Observed::Unknown(unknown)
            }
            // The API server asks RBAC before it looks whether it has the kind, so a denial alone says nothing about that; what it
            // serves is told to everybody who is logged in (ClusterRole system:discovery).
            (Err(Refusal::Unknown(denied)), Err(_)) => Observed::Unknown(denied),
            (Err(Refusal::Gone), _) => Observed::Unknown(Refusal::Gone.unknown(&call)),
            (Err(Refusal::NotFound(_) | Refusal::NotServed), Err(unknown)) => Observed::Unknown(unknown),
            (Err(Refusal::NotFound(_) | Refusal::NotServed), Ok(Group::Absent)) => Observed::Absent,
            (Err(Refusal::Unknown(denied)), Ok(Group::Absent)) => {
                match self.lists_group(newest.group()).await {
                    Ok(false) => Observed::Absent,
                    Ok(true) | Err(_) => Observed::Unknown(denied),
                }
            }
            (Err(refusal), Ok(Group::Served(served))) => {
                let is_served = |one: &Resource<'_>| served.iter().any(|version| version == one.version());
                let mut refused = Err(refusal);
                loop {
                    let one = &versions[place];
                    match refused {
                        Ok(value) => break Observed::Known(value),
                        Err(Refusal::NotFound(_) | Refusal::NotServed) if is_served(one) => {
                            // A group may serve a version without this kind in it: v1beta1 has no Provisioner.
                            match self.serves_kind(one).await {
                                Ok(false) => {}
                                Ok(true) => break Observed::Unknown(not_there(&call)),
                                Err(unknown) => break Observed::Unknown(unknown),
                            }
                        }
                        Err(Refusal::NotFound(_) | Refusal::NotServed) => {}
                        Err(Refusal::Unknown(Unknown {
                            why: Why::Denied { .. },
                            ..
                        })) if !is_served(one) => {}
                        Err(refusal) => break Observed::Unknown(refusal.unknown(&call)),
                    }
                    let older = versions
                        .iter()
                        .enumerate()
                        .skip(place + 1)
                        .find(|(_, one)| is_served(one));
                    let Some((next, one)) = older else {
                        break Observed::Absent;
                    };
                    place = next;
                    refused = self
                        .fold(one, &start, |state, item| fold(state, item, place), &mut seen)
                        .await;
                }
            }
        };
        let observed = match observed {
            Observed::Known(value) => self.beside(versions, place, value, &fold, &mut seen).await,
            other => other,
        };
        self.listed(call, observed, seen)
    }

    /// Reads the kinds of other names that older versions serve onto what the version at `place` held.
    async fn beside<T: Clone>(
        &self,
        versions: &[Resource<'_>],
        place: usize,
        mut value: T,
        fold: &impl Fn(&mut T, &Value, usize),
        seen: &mut u64,
    ) -> Observed<T> {
        let others: Vec<(usize, &Resource<'_>)> = versions
            .iter()
            .enumerate()
            .skip(place + 1)
            .filter(|(_, one)| one.plural() != versions[place].plural())
            .collect();
        let Some((_, first)) = others.first() else {
            return Observed::Known(value);
        };
        let served = match self.group(first.group()).await {
            Ok(Group::Served(served)) => served,
            Ok(Group::Absent) => return Observed::Known(value),
            Err(unknown) => return Observed::Unknown(unknown),
        };
        for (at, one) in others {
            if !served.iter().any(|version| version == one.version()) {
                continue;
            }
            let mut more = 0;
            let read = self.fold(
                one,
                || value.clone(),
                |state, item| fold(state, item, at),
                &mut more,
            );
            match read.await {
                Ok(found) => {
                    value = found;
                    *seen += more;
                }
                Err(Refusal::NotFound(_) | Refusal::NotServed) => {}
                Err(refusal) => return Observed::Unknown(refusal.unknown(&one.listed())),
            }
        }
        Observed::Known(value)
    }

    /// Sends one of the review kinds, which the API server answers and does not store. Not written down: often many of them are one
    /// question.
    ///
    /// # Errors
    /// Why there is no answer of that kind.
    pub async fn review(
        &self,
        resource: &Resource<'_>,
        spec: Option<&SelfSubjectAccessReviewSpec>,
    ) -> Result<Value, Unknown> {
        let grant = resource.grant("create", None);
        let call = grant.action();
        let mut body = json!({
            "apiVersion": format!("{}/{}", resource.group(), resource.version()),
            "kind": resource.kind(),
        });
        if let Some(spec) = spec {
            body["spec"] = json!(spec);
        }
        let body = body.to_string().into_bytes();
        let answer = self
            .send(Method::POST, &resource.path(None), &body, &grant)
            .await
            .map_err(|refusal| match refusal {
                Refusal::Unknown(unknown) => unknown,
                _ => not_there(&call),
            })?;
        if answer.get("kind").and_then(Value::as_str) == Some(resource.kind()) {
            return Ok(answer);
        }
        Err(Unknown::new(
            Why::Malformed,
            format!("the answer to {call} is not a {}", resource.kind()),
        ))
    }

    fn listed<T>(&self, call: String, observed: Observed<T>, seen: u64) -> Fact<T> {
        match &observed {
            Observed::Known(_) => self.calls.record(&call, format!("{seen} items")),
            other => self.calls.observed(&call, other),
        }
        Fact::new(call, observed)
    }

    /// Applies one object of this program's own, server-side: the fields that it once set and sets no longer go, those of others stay.
    /// Nothing else here writes.
    ///
    /// # Errors
    /// Why it could not be applied.
    pub async fn apply(
        &self,
        resource: &Resource<'_>,
        name: &str,
        object: &Value,
        manager: &str,
    ) -> Result<(), Unknown> {
        let grant = resource.grant("patch", Some(name));
        let call = grant.action();
        let path = format!("{}?fieldManager={manager}&force=true", resource.path(Some(name)));
        let body = object.to_string().into_bytes();
        let applied = self.send(Method::PATCH, &path, &body, &grant).await;
        let applied = applied.map_err(|refusal| match refusal {
            Refusal::Unknown(unknown) => unknown,
            _ => Unknown::new(
                Why::Unusable,
                format!(
                    "{call}: the cluster does not have the kind {} ({})",
                    resource.kind(),
                    resource.group()
                ),
            ),
        });
        let told = applied
            .as_ref()
            .map_or_else(ToString::to_string, |_| "applied".to_owned());
        self.calls.record(&call, told);
        applied.map(drop)
    }

    /// Reads a list to its end. An expired page token (410 Gone) starts once more from the beginning. `seen` counts the items.
    async fn fold<T>(
        &self,
        resource: &Resource<'_>,
        start: impl Fn() -> T,
        mut fold: impl FnMut(&mut T, &Value),
        seen: &mut u64,
    ) -> Result<T, Refusal> {
        let call = resource.listed();
        let mut restarted = false;
        'again: loop {
            *seen = 0;
            let mut state = start();
            let mut pages = Pages::default();
            loop {
                let (items, next) = match self.page(resource, pages.token()).await {
                    Ok(page) => page,
                    Err(Refusal::Gone) if !restarted => {
                        restarted = true;
                        continue 'again;
                    }
                    // A page ago the kind was there.
                    Err(refusal) if !pages.is_first() => {
                        return Err(Refusal::Unknown(refusal.unknown(&call)));
                    }
                    Err(refusal) => return Err(refusal),
                };
                *seen += items.len() as u64;
                items.iter().for_each(|item| fold(&mut state, item));
                if !pages.turn(next, &call).map_err(Refusal::Unknown)? {
                    return Ok(state);
                }
            }
        }
    }

    async fn page(
        &self,
        resource: &Resource<'_>,
        token: Option<&str>,
    ) -> Result<(Vec<Value>, Option<String>), Refusal> {
        let grant = resource.grant("list", None);
        let path = resource.page_path(token);
        let mut value = self.send(Method::GET, &path, &[], &grant).await?;
        let malformed = |what: &str| {
            Err(Refusal::Unknown(Unknown::new(
                Why::Malformed,
                format!("the answer to {} {what}", grant.action()),
            )))
        };
        let kind = value.get("kind").and_then(Value::as_str);
        if kind.and_then(|kind| kind.strip_suffix("List")) != Some(resource.kind()) {
            return malformed(&format!("is not a {}List", resource.kind()));
        }
        let next = match value.pointer("/metadata/continue") {
            None | Some(Value::Null) => None,
            Some(Value::String(next)) => Some(next.clone()),
            Some(_) => return malformed("has a page token that is not text"),
        };
        match value.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok((items, next)),
            _ => malformed("has no items"),
        }
    }

    /// What an API group serves, asked once.
    async fn group(&self, group: &str) -> Result<Group, Unknown> {
        let cell = {
            let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(groups.entry(group.to_owned()).or_default())
        };
        let ask = || async {
            let versions = self
                .discover(&format!("/apis/{group}"), "APIGroup", "versions", "version")
                .await?;
            Ok(versions.map_or(Group::Absent, Group::Served))
        };
        cell.get_or_init(ask).await.clone()
    }

    /// Whether the list of all groups has this one.
    async fn lists_group(&self, group: &str) -> Result<bool, Unknown> {
        let all = self.discover("/apis", "APIGroupList", "groups", "name").await?;
        match all {
            Some(all) => Ok(all.iter().any(|one| one == group)),
            None => Err(not_there("get /apis")),
        }
    }

    /// Whether this version of the group has the kind.
    async fn serves_kind(&self, resource: &Resource<'_>) -> Result<bool, Unknown> {
        let path = format!("/apis/{}/{}", resource.group(), resource.version());
        let names = self
            .discover(&path, "APIResourceList", "resources", "name")
            .await?;
        Ok(names.is_some_and(|names| names.iter().any(|name| name == resource.plural())))
    }

    /// The names in a document of the API server's discovery; none where it serves no such path.
    async fn discover(
        &self,
        path: &str,
        kind: &str,
        list: &str,
        name: &str,
    ) -> Result<Option<Vec<String>>, Unknown> {
        let grant = Grant::Rbac {
            verb: "get".to_owned(),
            group: String::new(),
            resource: path.to_owned(),
            namespace: None,
            name: None,
        };
        let value = match self.send(Method::GET, path, &[], &grant).await {
            Ok(value) => value,
            Err(Refusal::NotServed | Refusal::NotFound(_)) => return Ok(None),
            Err(refusal) => return Err(refusal.unknown(&grant.action())),
        };
        let malformed = || {
            Unknown::new(
                Why::Malformed,
                format!("the answer to get {path} is not a whole {kind}"),
            )
        };
        if value.get("kind").and_then(Value::as_str) != Some(kind) {
            return Err(malformed());
        }
        let items = value.get(list).and_then(Value::as_array).ok_or_else(malformed)?;
        items
            .iter()
            .map(|item| item.get(name).and_then(Value::as_str).map(str::to_owned))
            .collect::<Option<_>>()
            .map(Some)
            .ok_or_else(malformed)
    }

    async fn send(&self, method: Method, path: &str, body: &[u8], grant: &Grant) -> Result<Value, Refusal> {
        if let Some(lost) = self.contact.as_ref().and_then(|contact| contact.lost()) {
            return Err(Refusal::Unknown(lost.clone()));
        }
        let work = Box::pin(self.send_with_retries(method, path, body, grant));
        let outcome = self
            .limits
            .run(&grant.action(), work)
            .await
            .unwrap_or_else(|unknown| Err(Refusal::Unknown(unknown)));
        if let Some(contact) = &self.contact {
            contact.note(&outcome);
        }
        outcome
    }

    async fn send_with_retries(
        &self,
        method: Method,
        path: &str,
        body: &[u8],
        grant: &Grant,
    ) -> Result<Value, Refusal> {
        let mut pause = Duration::from_millis(200);
        let mut attempt = 1;
        loop {
            let mut request = Request::builder()
                .method(method.clone())
                .uri(path)
                .header("accept", "application/json");
            if !body.is_empty() {
                // JSON is YAML.
                let kind = match method {
                    Method::PATCH => "application/apply-patch+yaml",
                    _ => "application/json",
                };
                request = request.header("content-type", kind);
            }
            let request = request
                .body(Body::from(body.to_vec()))
                .map_err(|error| Refusal::Unknown(Unknown::new(Why::Unusable, error.to_string())))?;
            let response = self
                .client
                .send(request)
                .await
                .map_err(|error| Refusal::Unknown(not_sent(&error, grant)))?;
            let status = response.status();
            let again = matches!(
                status,
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
            );
            if again && attempt < 3 {
                let asked = response
                    .headers()
                    .get("retry-after")
                    .and_then(|value| value.to_str().ok())
                    .and_then(|value| value.parse::<u64>().ok())
                    .map(Duration::from_secs);
                tokio::time::sleep(asked.unwrap_or(pause)).await;
                pause *= 2;
                attempt += 1;
                continue;
            }
            let html = response
                .headers()
                .get("content-type")
                .and_then(|value| value.to_str().ok())
                .is_some_and(|value| value.contains("html"));
            let body = http_body_util::Limited::new(response.into_body(), MAX_ANSWER);
            let bytes = match body.collect().await {
                Ok(collected) => collected.to_bytes(),
                Err(error) => {
                    return Err(Refusal::Unknown(Unknown::new(
                        Why::Unusable,
                        format!("the answer to {} broke off: {error}", grant.action()),
                    )));
                }
            };
            return read(status, html, &bytes, grant);
        }
    }
}

/// What an answer means. Pure.
fn read(status: StatusCode, html: bool, bytes: &[u8], grant: &Grant) -> Result<Value, Refusal> {
    let parsed: Option<Value> = serde_json::from_slice(bytes).ok();
    if status.is_success() {
        return match parsed {
            Some(value) if value.is_object() => Ok(value),
            _ => Err(Refusal::Unknown(Unknown::new(
                Why::Unusable,
                not_kubernetes(status, html, bytes, grant),
            ))),
        };
    }
    let is_status = parsed
        .as_ref()
        .and_then(|value| value.get("kind"))
        .and_then(Value::as_str)
        == Some("Status");
    let text = |key: &str| {
        parsed
            .as_ref()
            .and_then(|value| value.get(key))
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    if status == StatusCode::NOT_FOUND && bytes.trim_ascii() == b"404 page not found" {
        return Err(Refusal::NotServed);
    }
    if !is_status {
        let why = match status {
            StatusCode::TOO_MANY_REQUESTS => Why::Throttled,
            status if status.is_server_error() && !html => Why::ServiceFailed,
            _ => Why::Unusable,
        };
        return Err(Refusal::Unknown(Unknown::new(
            why,
            not_kubernetes(status, html, bytes, grant),
        )));
    }
    let message = text("message");
    Err(match status {
        StatusCode::NOT_FOUND if text("reason") == "NotFound" => {
            // A NotFound status that names no object is the aggregator's word for "no such resource type". The name stands in
            // the details, and where something in between leaves those out, in the message: `configmaps "aws-auth" not found`.
            let named = parsed
                .as_ref()
                .and_then(|v| v.pointer("/details/name"))
                .and_then(Value::as_str)
                .filter(|name| !name.is_empty())
                .or_else(|| {
                    message
                        .strip_suffix("\" not found")?
                        .rsplit_once('"')
                        .map(|(_, name)| name)
                });
            match named {
                Some(name) => Refusal::NotFound(Some(name.to_owned())),
                None => Refusal::NotServed,
            }
        }
        StatusCode::GONE => Refusal::Gone,
        StatusCode::FORBIDDEN => Refusal::Unknown(Unknown::denied(DeniedBy::Rbac, message, grant.clone())),
        StatusCode::UNAUTHORIZED => Refusal::Unknown(Unknown::new(
            Why::TokenRefused,
            "the cluster does not accept the token (401 Unauthorized): the principal is not mapped in aws-auth or an access entry, or the token has expired",
        )),
        StatusCode::TOO_MANY_REQUESTS => Refusal::Unknown(Unknown::new(
            Why::Throttled,
            format!("{}: {message}", grant.action()),
        )),
        status => Refusal::Unknown(Unknown::new(
            Why::ServiceFailed,
            format!("{}: HTTP {}: {message}", grant.action(), status.as_u16()),
        )),
    })
}

fn not_kubernetes(status: StatusCode, html: bool, bytes: &[u8], grant: &Grant) -> String {
    let head: Vec<u8> = bytes
        .trim_ascii_start()
        .iter()
        .take(15)
        .map(u8::to_ascii_lowercase)
        .collect();
    let html = html || head.starts_with(b"<!doctype html") || head.starts_with(b"<html");
    let what = if html {
        "an HTML page, not Kubernetes' JSON: is a proxy in between?"
    } else {
        "not Kubernetes' JSON"
    };
    format!(
        "the answer to {} was HTTP {}, {what}",
        grant.action(),
        status.as_u16()
    )
}

fn not_sent(error: &kube::Error, grant: &Grant) -> Unknown {
    let text = crate::aws::root(error);
    let lower = text.to_lowercase();
    let why = if lower.contains("timed out") || lower.contains("deadline") {
        Why::TimedOut
    } else {
        Why::Unreachable
    };
    let hint =
        if lower.contains("dns") || lower.contains("lookup") || lower.contains("name or service not known") {
            " (the name does not resolve: a private endpoint, a deleted cluster, or no network)"
        } else if lower.contains("certificate") {
            " (TLS: the kubeconfig's certificate authority does not match the server)"
        } else {
            ""
        };
    // The connector's own clock says no more than this.
    let text = match text.as_str() {
        "deadline has elapsed" => "no connection to the API server was made in time",
        text => text,
    };
    Unknown::new(why, format!("{}: {text}{hint}", grant.action()))
}

impl Refusal {
    /// Why nothing is known where the answer should have been there.
    fn unknown(self, call: &str) -> Unknown {
        match self {
            Self::Unknown(unknown) => unknown,
            Self::Gone => Unknown::new(
                Why::Incomplete,
                format!("{call}: the list expired while it was read"),
            ),
            Self::NotFound(_) | Self::NotServed => not_there(call),
        }
    }
}

/// A 404 for what every Kubernetes API serves, or for what this one says that it serves.
fn not_there(call: &str) -> Unknown {
    Unknown::new(
        Why::Incomplete,
        format!("the answer to {call} was 404 for what a Kubernetes API serves: is a proxy in between?"),
    )
}

/// Authentication of the kubeconfig's user, ready to be put into a client.
#[derive(Clone)]
pub enum Authentication {
    /// As the kubeconfig has it: token, certificate, token file.
    AsConfigured,
    /// A bearer token made here or printed by a plugin. Secret.
    Token(String),
    /// A client certificate printed by a plugin (PEM). The key is secret.
    Certificate {
        /// PEM certificate chain.
        certificate: String,
        /// PEM key.
        key: String,
        /// A token beside it, when the plugin gave both.
        token: Option<String>,
    },
}

impl std::fmt::Debug for Authentication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::AsConfigured => "AsConfigured",
            Self::Token(_) => "Token(<secret>)",
            Self::Certificate { .. } => "Certificate(<secret>)",
        })
    }
}

/// Puts the authentication into a kube configuration.
///
/// # Errors
/// A token that cannot stand in an HTTP header.
pub fn authenticate(config: &mut kube::Config, authentication: &Authentication) -> Result<(), Unknown> {
    use base64::Engine as _;
    let bearer = |config: &mut kube::Config, token: &str| -> Result<(), Unknown> {
        let mut value = http::HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
            Unknown::new(
                Why::Unauthenticated,
                "the token has characters that no header can carry",
            )
        })?;
        value.set_sensitive(true);
        config.headers.push((http::header::AUTHORIZATION, value));
        Ok(())
    };
    match authentication {
        Authentication::AsConfigured => Ok(()),
        Authentication::Token(token) => {
            config.auth_info.exec = None;
            bearer(config, token)
        }
        Authentication::Certificate {
            certificate,
            key,
            token,
        } => {
            config.auth_info.exec = None;
            let encode = |pem: &str| base64::engine::general_purpose::STANDARD.encode(pem);
            let info: BTreeMap<&str, String> = BTreeMap::from([
                ("client-certificate-data", encode(certificate)),
                ("client-key-data", encode(key)),
            ]);
            // The key's type is not exported; its deserializer is.
            let parsed: kube::config::AuthInfo = serde_json::to_value(info)
                .and_then(serde_json::from_value)
                .map_err(|error| Unknown::new(Why::Unauthenticated, error.to_string()))?;
            config.auth_info.client_certificate_data = parsed.client_certificate_data;
            config.auth_info.client_key_data = parsed.client_key_data;
            token.as_ref().map_or(Ok(()), |token| bearer(config, token))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant() -> Grant {
        Grant::Rbac {
            verb: "get".into(),
            group: String::new(),
            resource: "configmaps".into(),
            namespace: Some("kube-system".into()),
            name: Some("aws-auth".into()),
        }
    }

    fn why(result: Result<Value, Refusal>) -> Option<Why> {
        match result {
            Err(Refusal::Unknown(unknown)) => Some(unknown.why),
            _ => None,
        }
    }

    /// A server that has an answer for each path, query included, and counts what it was asked. Anything else is not served.
    fn server(answers: &'static [(&'static str, u16, &'static str)]) -> kube::Config {
        use std::io::{BufRead as _, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let serve = move |stream: std::net::TcpStream| {
            let mut lines = std::io::BufReader::new(stream.try_clone().expect("a handle")).lines();
            let mut path = String::new();
            while let Some(Ok(line)) = lines.next() {
                if let Some(rest) = line.strip_prefix("GET ") {
                    path = rest.split(' ').next().unwrap_or_default().to_owned();
                }
                if !line.is_empty() {
                    continue;
                }
                let found = answers.iter().find(|(known, _, _)| *known == path);
                let (status, body) = found.map_or((404, "404 page not found\n"), |(_, status, body)| {
                    (*status, *body)
                });
                let answer = format!(
                    "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                if (&stream).write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || serve(stream));
            }
        });
        kube::Config::new(format!("http://{address}").parse().expect("a URL"))
    }

    fn api(answers: &'static [(&'static str, u16, &'static str)]) -> Api {
        let minute = Duration::from_secs(60);
        Api::new(server(answers), Limits::start(minute, minute), &Calls::default()).expect("a client")
    }

    /// A fact in a word.
    fn word(fact: &Fact<u64>) -> String {
        match &fact.observed {
            Observed::Known(count) => count.to_string(),
            Observed::Absent => "absent".to_owned(),
            Observed::Unknown(unknown) => unknown.to_string(),
        }
    }

    const DENIED: &str = r#"{"kind":"Status","reason":"Forbidden","message":"no"}"#;
    const NONE: &str = r#"{"kind":"PodList","metadata":{},"items":[]}"#;
    const POOLS: &str = r#"{"kind":"NodePoolList","metadata":{"continue":""},"items":[{},{}]}"#;
    const GROUP: &str = r#"{"kind":"APIGroup","versions":[{"version":"v1"},{"version":"v1beta1"}]}"#;
    const OLD_GROUP: &str = r#"{"kind":"APIGroup","versions":[{"version":"v1beta1"}]}"#;
    const HAS_POOLS: &str = r#"{"kind":"APIResourceList","resources":[{"name":"nodepools"}]}"#;
    const HAS_NONE: &str = r#"{"kind":"APIResourceList","resources":[]}"#;
    const NO_GROUPS: &str = r#"{"kind":"APIGroupList","groups":[{"name":"apps"}]}"#;
    const GROUPS: &str = r#"{"kind":"APIGroupList","groups":[{"name":"karpenter.sh"}]}"#;

    #[tokio::test]
    async fn a_list_is_complete_or_not_known() {
        const PATH: &str = "/api/v1/pods?limit=500";
        const ASKED: &str = "the answer to list pods";
        type Answers = &'static [(&'static str, u16, &'static str)];
        let rows: &[(Answers, &str)] = &[
            (&[(PATH, 200, NONE)], "0"),
            (
                &[(PATH, 200, r#"{"kind":"PodList","items":null}"#)],
                "malformed: ASKED has no items",
            ),
            (
                &[(PATH, 200, r#"{"kind":"PodList"}"#)],
                "malformed: ASKED has no items",
            ),
            (
                &[(PATH, 200, r#"{"kind":"NodeList","items":[]}"#)],
                "malformed: ASKED is not a PodList",
            ),
            (
                &[(PATH, 200, r#"{"items":[]}"#)],
                "malformed: ASKED is not a PodList",
            ),
            (
                &[(
                    PATH,
                    200,
                    r#"{"kind":"PodList","metadata":{"continue":7},"items":[]}"#,
                )],
                "malformed: ASKED has a page token that is not text",
            ),
            (
                &[],
                "incomplete: ASKED was 404 for what a Kubernetes API serves: is a proxy in between?",
            ),
            (
                &[(
                    PATH,
                    200,
                    r#"{"kind":"PodList","metadata":{"continue":"b"},"items":[{}]}"#,
                )],
                "incomplete: ASKED was 404 for what a Kubernetes API serves: is a proxy in between?",
            ),
            (
                &[
                    (
                        PATH,
                        200,
                        r#"{"kind":"PodList","metadata":{"continue":"a"},"items":[{}]}"#,
                    ),
                    (
                        "/api/v1/pods?limit=500&continue=a",
                        200,
                        r#"{"kind":"PodList","metadata":{"continue":"b"},"items":[{}]}"#,
                    ),
                    (
                        "/api/v1/pods?limit=500&continue=b",
                        200,
                        r#"{"kind":"PodList","metadata":{"continue":"a"},"items":[{}]}"#,
                    ),
                ],
                "incomplete: ASKED repeats a page token",
            ),
            (
                &[
                    (
                        PATH,
                        200,
                        r#"{"kind":"PodList","metadata":{"continue":"a/b"},"items":[{}]}"#,
                    ),
                    ("/api/v1/pods?limit=500&continue=a%2Fb", 200, NONE),
                ],
                "1",
            ),
            (
                &[
                    (
                        PATH,
                        200,
                        r#"{"kind":"PodList","metadata":{"continue":"a"},"items":[{}]}"#,
                    ),
                    (
                        "/api/v1/pods?limit=500&continue=a",
                        410,
                        r#"{"kind":"Status","reason":"Expired"}"#,
                    ),
                ],
                "incomplete: list pods: the list expired while it was read",
            ),
        ];
        for (answers, want) in rows {
            let pods = Resource::core("Pod", "pods");
            let fact = api(answers).list(&pods, || 0, |count, _| *count += 1).await;
            assert_eq!(word(&fact), want.replace("ASKED", ASKED), "{answers:?}");
        }
    }

    #[tokio::test]
    async fn a_kind_is_absent_where_discovery_agrees() {
        const NEW: &str = "/apis/karpenter.sh/v1/nodepools?limit=500";
        const OLD: &str = "/apis/karpenter.sh/v1beta1/nodepools?limit=500";
        const DISCOVERY: &str = "/apis/karpenter.sh";
        const V1: &str = "/apis/karpenter.sh/v1";
        const OLD_V1: &str = "/apis/karpenter.sh/v1beta1";
        const REFUSED: &str = "list nodepools.karpenter.sh denied by the cluster's RBAC: no";
        const BOTH: &str = "incomplete: the answer to list nodepools.karpenter.sh was 404 for what a Kubernetes API serves: is a proxy in between?";
        type Answers = &'static [(&'static str, u16, &'static str)];
        let rows: &[(&str, Answers, &str)] = &[
            ("nothing of it", &[], "absent"),
            ("served", &[(NEW, 200, POOLS), (DISCOVERY, 200, GROUP)], "2"),
            ("served, discovery says nothing", &[(NEW, 200, POOLS)], "2"),
            (
                "an older version",
                &[(OLD, 200, POOLS), (DISCOVERY, 200, OLD_GROUP)],
                "2",
            ),
            (
                "404, and the group has it",
                &[(DISCOVERY, 200, GROUP), (V1, 200, HAS_POOLS)],
                BOTH,
            ),
            (
                "404, and the group has not got the kind",
                &[
                    (DISCOVERY, 200, GROUP),
                    (V1, 200, HAS_NONE),
                    (OLD_V1, 200, HAS_NONE),
                ],
                "absent",
            ),
            (
                "404, and discovery is broken",
                &[(DISCOVERY, 200, "{}")],
                "malformed: the answer to get /apis/karpenter.sh is not a whole APIGroup",
            ),
            ("denied", &[(NEW, 403, DENIED), (DISCOVERY, 200, GROUP)], REFUSED),
            (
                "denied before it was looked for",
                &[(NEW, 403, DENIED), ("/apis", 200, NO_GROUPS)],
                "absent",
            ),
            (
                "denied, and discovery contradicts itself",
                &[(NEW, 403, DENIED), ("/apis", 200, GROUPS)],
                REFUSED,
            ),
            (
                "denied, an older version is served",
                &[(NEW, 403, DENIED), (OLD, 200, POOLS), (DISCOVERY, 200, OLD_GROUP)],
                "2",
            ),
        ];
        for (name, answers, want) in rows {
            let pools = |version| Resource::new("karpenter.sh", version, "NodePool", "nodepools");
            let versions = [pools("v1"), pools("v1beta1")];
            let fact = api(answers)
                .list_served(&versions, || 0, |count, _, _| *count += 1)
                .await;
            assert_eq!(word(&fact), *want, "{name}");
        }
    }

    #[tokio::test]
    async fn an_object_is_that_very_object() {
        const PATH: &str = "/api/v1/namespaces/kube-system/configmaps/aws-auth";
        const ASKED: &str = "the answer to get configmaps/aws-auth in kube-system";
        let rows: &[(u16, &'static str, &str)] = &[
            (200, r#"{"kind":"ConfigMap","metadata":{"name":"aws-auth"}}"#, "1"),
            (
                200,
                r#"{"kind":"Secret","metadata":{"name":"aws-auth"}}"#,
                "malformed: ASKED is a Secret",
            ),
            (
                200,
                r#"{"kind":"ConfigMap","metadata":{"name":"other"}}"#,
                "malformed: ASKED is not aws-auth",
            ),
            (200, "{}", "malformed: ASKED names no kind"),
            (
                404,
                r#"{"kind":"Status","reason":"NotFound","details":{"name":"aws-auth"}}"#,
                "absent",
            ),
            (
                404,
                r#"{"kind":"Status","reason":"NotFound","details":{"name":"other"}}"#,
                "incomplete: ASKED was 404 for what a Kubernetes API serves: is a proxy in between?",
            ),
        ];
        for (status, body, want) in rows {
            let answers = Box::leak(Box::new([(PATH, *status, *body)]));
            let config_maps = Resource::core("ConfigMap", "configmaps").within("kube-system");
            let fact = api(answers).get(&config_maps, "aws-auth", |_| Ok(1)).await;
            assert_eq!(word(&fact), want.replace("ASKED", ASKED), "{body}");
        }
    }

    #[test]
    fn only_the_api_servers_own_word_means_absent() {
        let status = |reason: &str, name: &str| {
            serde_json::json!({"kind": "Status", "reason": reason, "message": "m", "details": {"name": name}})
                .to_string()
        };
        let ask = |code: u16, html: bool, body: &str| {
            read(
                StatusCode::from_u16(code).expect("a status"),
                html,
                body.as_bytes(),
                &grant(),
            )
        };
        assert_eq!(
            ask(404, false, &status("NotFound", "aws-auth")),
            Err(Refusal::NotFound(Some("aws-auth".to_owned())))
        );
        assert_eq!(
            ask(
                404,
                false,
                r#"{"kind":"Status","reason":"NotFound","message":"configmaps \"aws-auth\" not found"}"#
            ),
            Err(Refusal::NotFound(Some("aws-auth".to_owned()))),
            "the message names the object, too"
        );
        assert_eq!(
            ask(
                404,
                false,
                r#"{"kind":"Status","reason":"NotFound","message":"the server could not find the requested resource"}"#
            ),
            Err(Refusal::NotServed)
        );
        assert_eq!(ask(404, false, "404 page not found\n"), Err(Refusal::NotServed));
        assert_eq!(
            why(ask(404, true, "<html><body>404 Not Found</body></html>")),
            Some(Why::Unusable)
        );
        assert_eq!(why(ask(404, false, "{}")), Some(Why::Unusable));
        assert_eq!(why(ask(404, false, "")), Some(Why::Unusable));
        assert_eq!(why(ask(200, true, "<html>")), Some(Why::Unusable));
        assert_eq!(why(ask(200, false, "{\"kind\":\"Conf")), Some(Why::Unusable));
        assert_eq!(
            why(ask(403, false, &status("Forbidden", ""))),
            Some(Why::Denied { by: DeniedBy::Rbac })
        );
        assert_eq!(
            why(ask(401, false, &status("Unauthorized", ""))),
            Some(Why::TokenRefused)
        );
        assert_eq!(why(ask(429, false, "slow down")), Some(Why::Throttled));
        assert_eq!(
            why(ask(500, false, &status("InternalError", ""))),
            Some(Why::ServiceFailed)
        );
        assert_eq!(why(ask(503, false, "upstream")), Some(Why::ServiceFailed));
        assert_eq!(why(ask(503, true, "<html>")), Some(Why::Unusable));
        assert_eq!(ask(410, false, &status("Expired", "")), Err(Refusal::Gone));
        assert!(ask(200, false, "{\"kind\":\"ConfigMap\"}").is_ok());
    }

    #[test]
    fn a_secret_is_not_printed() {
        let shown = format!("{:?}", Authentication::Token("k8s-aws-v1.abc".to_owned()));
        assert!(!shown.contains("abc"), "{shown}");
    }
}
