//! A request to a service of which one action is asked: signed here, and sent by the machinery of the SDK's clients, with its retries
//! and the one HTTP client. A client of its own for each such service would weigh more than the actions are worth.

use std::time::SystemTime;

use aws_runtime::retries::classifiers::AwsErrorCodeClassifier;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime::client::retries::classifiers::{HttpStatusCodeClassifier, TransientErrorClassifier};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::error::metadata::{ErrorMetadata, ProvideErrorMetadata};
use aws_smithy_types::retry::RetryConfig;
use serde_json::Value;

use super::Session;

/// What is asked.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// The service, as signatures name it: `ec2`.
    pub(super) service: &'static str,
    /// The region that it is signed for.
    pub(super) region: String,
    /// Its endpoint, where no variable names another.
    pub(super) endpoint: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

/// What the service answered when it did not answer with what was asked for.
#[derive(Debug)]
pub(super) struct Refused(ErrorMetadata);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Refused {}

impl ProvideErrorMetadata for Refused {
    fn meta(&self) -> &ErrorMetadata {
        &self.0
    }
}

/// Sends it; the answer's body.
pub(super) async fn send(
    session: &Session,
    request: Request,
) -> Result<String, SdkError<Refused, HttpResponse>> {
    let named = format!(
        "AWS_ENDPOINT_URL_{}",
        request.service.to_ascii_uppercase().replace('-', "_")
    );
    let endpoint = std::env::var(named)
        .ok()
        .filter(|url| !url.is_empty())
        .or_else(|| session.config.endpoint_url().map(str::to_owned))
        .unwrap_or_else(|| request.endpoint.clone());
    let endpoint = endpoint.trim_end_matches('/').to_owned();
    let Some(http) = session.config.http_client() else {
        return Err(SdkError::construction_failure("no HTTP client"));
    };
    let Ok(credentials) = session.credentials.clone() else {
        return Err(SdkError::construction_failure("no credentials"));
    };
    let retries = session
        .config
        .retry_config()
        .cloned()
        .unwrap_or_else(RetryConfig::standard);
    let mut operation = Operation::builder()
        .service_name(request.service)
        .operation_name("raw")
        .http_client(http)
        .endpoint_url(&endpoint)
        .no_auth()
        .standard_retry(&retries)
        .retry_classifier(TransientErrorClassifier::<Refused>::new())
        .retry_classifier(HttpStatusCodeClassifier::default())
        .retry_classifier(AwsErrorCodeClassifier::<Refused>::new());
    if let Some(timeouts) = session.config.timeout_config() {
        operation = operation.timeout_config(timeouts.clone());
    }
    if let Some(sleep) = session.config.sleep_impl() {
        operation = operation.sleep_impl(sleep);
    }
    operation
        .serializer(move |request: Request| {
            let url = format!("{endpoint}/");
            let identity = credentials.clone().into();
            let params = v4::SigningParams::builder()
                .identity(&identity)
                .region(&request.region)
                .name(request.service)
                .time(SystemTime::now())
                .settings(SigningSettings::default())
                .build()?
                .into();
            let headers = request
                .headers
                .iter()
                .map(|(name, value)| (*name, value.as_str()));
            let body = SignableBody::Bytes(request.body.as_bytes());
            let signable = SignableRequest::new("POST", &url, headers, body)?;
            let (instructions, _) = sign(signable, &params)?.into_parts();
            let mut signed = http::Request::builder().method("POST").uri("/");
            for (name, value) in &request.headers {
                signed = signed.header(*name, value);
            }
            let mut signed = signed.body(SdkBody::from(request.body.as_str()))?;
            instructions.apply_to_request_http1x(&mut signed);
            Ok(HttpRequest::try_from(signed)?)
        })
        .deserializer(|response: &HttpResponse| {
            let body = response.body().bytes().unwrap_or_default();
            let text = String::from_utf8_lossy(body).into_owned();
            match response.status().is_success() {
                true => Ok(text),
                false => Err(OrchestratorError::operation(Refused(refusal(&text)))),
            }
        })
        .build()
        .invoke(request)
        .await
}

/// Code and message of a refusal, in JSON or in EC2's XML.
fn refusal(body: &str) -> ErrorMetadata {
    let (code, message) = match serde_json::from_str::<Value>(body) {
        Ok(value) => {
            let text = |names: &[&str]| {
                let found = names.iter().find_map(|name| value.get(name)?.as_str());
                found.map(str::to_owned)
            };
            // `com.amazonaws.organizations#AccessDeniedException`
            let code =
                text(&["__type", "code"]).map(|code| code.rsplit('#').next().unwrap_or_default().to_owned());
            (code, text(&["message", "Message"]))
        }
        Err(_) => (first(body, "Code"), first(body, "Message")),
    };
    let mut builder = ErrorMetadata::builder();
    if let Some(code) = code.filter(|code| !code.is_empty()) {
        builder = builder.code(code);
    }
    if let Some(message) = message {
        builder = builder.message(message);
    }
    builder.build()
}

/// The text of the first element of this name.
fn first(body: &str, name: &str) -> Option<String> {
    texts(body, name).into_iter().next()
}

/// The texts of the elements of this name. None where it is not XML.
pub(super) fn texts(body: &str, name: &str) -> Vec<String> {
    use xmlparser::{ElementEnd, Token, Tokenizer};
    let mut found = Vec::new();
    let mut inside = false;
    for token in Tokenizer::from(body) {
        match token {
            Ok(Token::ElementStart { local, .. }) => inside = local.as_str() == name,
            Ok(Token::Text { text }) if inside => found.push(text.as_str().trim().to_owned()),
            Ok(Token::ElementEnd {
                end: ElementEnd::Close(..) | ElementEnd::Empty,
                ..
            }) => inside = false,
            Ok(_) => {}
            Err(_) => break,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_both_protocols() {
        let xml = "<?xml version=\"1.0\"?><Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>You are not authorized</Message></Error></Errors></Response>";
        for (body, code, message) in [
            (
                r#"{"__type":"AccessDeniedException","Message":"no"}"#,
                Some("AccessDeniedException"),
                Some("no"),
            ),
            (
                r#"{"__type":"com.amazonaws.organizations#AWSOrganizationsNotInUseException","message":"none"}"#,
                Some("AWSOrganizationsNotInUseException"),
                Some("none"),
            ),
            (xml, Some("UnauthorizedOperation"), Some("You are not authorized")),
            ("<html><body>busy", None, None),
            ("", None, None),
        ] {
            let meta = refusal(body);
            assert_eq!((meta.code(), meta.message()), (code, message), "{body}");
        }
        let regions = "<R><regionInfo><item><regionName>a</regionName><x/></item><item><regionName>b</regionName></item></regionInfo></R>";
        assert_eq!(texts(regions, "regionName"), ["a", "b"]);
    }
}
