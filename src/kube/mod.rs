//! The rim towards the Kubernetes API: one client, bounded requests, and one place where an answer becomes "absent" or
//! "unknown, because".

pub mod exec_plugin;
mod log;

use std::collections::BTreeMap;
use std::time::Duration;

use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::Value;

use crate::model::{DeniedBy, Grant, Unknown, Why};

/// No single answer may be larger: a page of 500 objects of 1.5 MiB (etcd's limit) never comes in practice.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// Ten million objects, a page of 500 at a time: what never ends is not read on.
const MAX_PAGES: usize = 20_000;

/// A connection to one cluster's API server.
#[derive(Clone)]
pub struct Api {
    client: kube::Client,
    timeout: Duration,
    max_pages: usize,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// What the API server answered when it did not answer with the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The API server said that the object does not exist (a `NotFound` status).
    NotFound,
    /// The API group or version is not installed (the API server's plain `404 page not found`).
    NotInstalled,
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
    pub fn new(mut config: kube::Config, timeout: Duration) -> Result<Self, Unknown> {
        config.connect_timeout = crate::aws::connect_timeout(timeout);
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
            timeout,
            max_pages: MAX_PAGES,
        })
    }

    /// GET of a path (with its query).
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn get(&self, path: &str, grant: &Grant) -> Result<Value, Refusal> {
        self.send(Method::GET, path, Vec::new(), grant).await
    }

    /// POST of one of the review kinds, which the API server answers and does not store.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn review(&self, path: &str, body: &Value, grant: &Grant) -> Result<Value, Refusal> {
        self.send(Method::POST, path, body.to_string().into_bytes(), grant)
            .await
    }

    async fn send(&self, method: Method, path: &str, body: Vec<u8>, grant: &Grant) -> Result<Value, Refusal> {
        match tokio::time::timeout(self.timeout, self.send_with_retries(method, path, body, grant)).await {
            Ok(result) => result,
            Err(_) => Err(Refusal::Unknown(Unknown::new(
                Why::TimedOut,
                format!(
                    "no answer to {} within {} s (--request-timeout)",
                    grant.action(),
                    self.timeout.as_secs_f32()
                ),
            ))),
        }
    }

    async fn send_with_retries(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
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
                request = request.header("content-type", "application/json");
            }
            let request = request
                .body(Body::from(body.clone()))
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
        return Err(Refusal::NotInstalled);
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
                .is_some_and(|n| !n.is_empty());
            if named || message.ends_with("\" not found") {
                Refusal::NotFound
            } else {
                Refusal::NotInstalled
            }
        }
        StatusCode::GONE => Refusal::Gone,
        StatusCode::FORBIDDEN => Refusal::Unknown(Unknown::denied(DeniedBy::Rbac, message, grant.clone())),
        StatusCode::UNAUTHORIZED => Refusal::Unknown(Unknown::new(
            Why::Unauthenticated,
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

/// One page of a list.
#[derive(Debug)]
pub struct Page {
    /// The items.
    pub items: Vec<Value>,
    /// The token of the next page.
    pub next: Option<String>,
}

impl Api {
    /// Reads one page of a list.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn page(
        &self,
        path: &str,
        limit: usize,
        next: Option<&str>,
        grant: &Grant,
    ) -> Result<Page, Refusal> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let mut path = format!("{path}{separator}limit={limit}");
        if let Some(next) = next {
            path.push_str("&continue=");
            path.extend(percent_encoding::utf8_percent_encode(
                next,
                percent_encoding::NON_ALPHANUMERIC,
            ));
        }
        let mut value = self.get(&path, grant).await?;
        let next = value
            .pointer("/metadata/continue")
            .and_then(Value::as_str)
            .filter(|next| !next.is_empty())
            .map(str::to_owned);
        match value.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok(Page { items, next }),
            // The API server writes null for an empty list of some types.
            Some(Value::Null) => Ok(Page {
                items: Vec::new(),
                next,
            }),
            _ => Err(Refusal::Unknown(Unknown::new(
                Why::Unusable,
                format!(
                    "the answer to {} has no items: not a Kubernetes list",
                    grant.action()
                ),
            ))),
        }
    }

    /// Reads a list to its end, folding every item into `fold`, a page of memory at a time. An expired page token
    /// (410 Gone) starts once more from the beginning.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn fold<T>(
        &self,
        path: &str,
        limit: usize,
        grant: &Grant,
        start: impl Fn() -> T,
        mut fold: impl FnMut(&mut T, Value),
    ) -> Result<T, Refusal> {
        let mut restarted = false;
        'again: loop {
            let mut state = start();
            let mut next: Option<String> = None;
            for _ in 0..self.max_pages {
                let page = match self.page(path, limit, next.as_deref(), grant).await {
                    Ok(page) => page,
                    Err(Refusal::Gone) if !restarted => {
                        restarted = true;
                        continue 'again;
                    }
                    Err(refusal) => return Err(refusal),
                };
                for item in page.items {
                    fold(&mut state, item);
                }
                match page.next {
                    // The same token twice would never end.
                    Some(token) if next.as_deref() != Some(token.as_str()) => next = Some(token),
                    Some(_) => {
                        return Err(Refusal::Unknown(Unknown::new(
                            Why::Unusable,
                            format!("the answer to {} repeats its page token", grant.action()),
                        )));
                    }
                    None => return Ok(state),
                }
            }
            return Err(Refusal::Unknown(Unknown::new(
                Why::Unusable,
                format!(
                    "the answer to {} has no end: {} pages",
                    grant.action(),
                    self.max_pages
                ),
            )));
        }
    }
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

    /// A server whose every page names another page.
    fn endless_list() -> kube::Config {
        use std::io::{BufRead as _, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            let mut page = 0;
            // One client, one connection; the thread ends with it.
            let (stream, _) = listener.accept().expect("a connection");
            let mut lines = std::io::BufReader::new(stream.try_clone().expect("a handle")).lines();
            while let Some(Ok(line)) = lines.next() {
                if !line.is_empty() {
                    continue;
                }
                page += 1;
                let body = format!(r#"{{"kind":"List","metadata":{{"continue":"{page}"}},"items":[]}}"#);
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json";
                let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                if (&stream).write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
        });
        kube::Config::new(format!("http://{address}").parse().expect("a URL"))
    }

    #[tokio::test]
    async fn a_list_without_an_end_is_given_up() {
        let mut api = Api::new(endless_list(), Duration::from_secs(30)).expect("a client");
        api.max_pages = 20;
        let read = api
            .fold("/api/v1/events", 500, &grant(), || 0_u32, |_, _| ())
            .await;
        match read {
            Err(Refusal::Unknown(unknown)) => {
                assert_eq!(unknown.why, Why::Unusable);
                assert!(unknown.to_string().contains("has no end: 20 pages"), "{unknown}");
            }
            other => panic!("{other:?}"),
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
            Err(Refusal::NotFound)
        );
        assert_eq!(
            ask(
                404,
                false,
                r#"{"kind":"Status","reason":"NotFound","message":"configmaps \"aws-auth\" not found"}"#
            ),
            Err(Refusal::NotFound),
            "the message names the object, too"
        );
        assert_eq!(
            ask(
                404,
                false,
                r#"{"kind":"Status","reason":"NotFound","message":"the server could not find the requested resource"}"#
            ),
            Err(Refusal::NotInstalled)
        );
        assert_eq!(
            ask(404, false, "404 page not found\n"),
            Err(Refusal::NotInstalled)
        );
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
            Some(Why::Unauthenticated)
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
