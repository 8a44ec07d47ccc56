//! The rim towards AWS: one session (credentials resolved once, one HTTP client, one TLS provider) and one place where
//! an SDK error becomes "absent" or "unknown, because".
//!
//! The session holds no state beyond credentials; the calls themselves stand in [`crate::facts`] (reads) and
//! [`crate::spot_role`] (the one write).

mod ask;
pub mod eks;
mod http;
pub mod iam;
mod limits;
pub mod organizations;
mod pages;
mod raw;
mod sessions;
pub mod sts;
pub mod token;

pub use ask::{Question, describe_each};
pub use http::{http_client, redirect_of};
pub use limits::Limits;
pub use pages::Pages;
pub use sessions::Sessions;
pub(crate) use sessions::TakenRole;

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::time::Duration;

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::model::{Calls, Clues, CredentialSource, DeniedBy, Grant, Observed, Unknown, Why};

/// Whose credentials to take.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// A profile named by a flag (ours or the exec entry's): its credentials win over the environment's keys, as in
    /// the AWS CLI.
    pub profile_flag: Option<String>,
    /// The exec entry's environment; it is laid over this process's.
    pub env: BTreeMap<String, String>,
    /// The words of the program that gives the exec entry its credentials: `aws-vault exec prod --`.
    pub credentials_by: Option<Vec<String>>,
}

impl Identity {
    fn var(&self, name: &str) -> Option<String> {
        self.env
            .get(name)
            .cloned()
            .or_else(|| std::env::var(name).ok())
            .filter(|value| !value.is_empty())
    }

    /// The profile that is in force, when one is named at all.
    pub fn profile(&self) -> Option<String> {
        self.profile_flag
            .clone()
            .or_else(|| self.var("AWS_PROFILE"))
            .or_else(|| self.var("AWS_DEFAULT_PROFILE"))
    }
}

/// An open AWS session in one region.
#[derive(Debug, Clone)]
pub struct Session {
    /// The SDK's configuration with the credentials in it.
    pub config: SdkConfig,
    /// The credentials, or why there are none: then no request is sent at all.
    pub credentials: Result<Credentials, Unknown>,
    /// The region.
    pub region: String,
    /// Whose they are.
    pub identity: Identity,
    /// The bounds of time.
    pub limits: Limits,
    /// Where every call is written down.
    pub calls: Calls,
    /// What is shared with the other clusters of a run.
    shared: Option<sessions::Shared>,
}

impl Session {
    /// Resolves the credentials once and prepares the clients.
    pub async fn open(
        identity: &Identity,
        region: &str,
        http: &SharedHttpClient,
        limits: Limits,
        calls: &Calls,
    ) -> Self {
        let credentials = resolved_credentials(identity, region, http, limits).await;
        Self::with(identity, region, http, limits, calls, credentials).await
    }

    /// The same with credentials that were resolved before.
    async fn with(
        identity: &Identity,
        region: &str,
        http: &SharedHttpClient,
        limits: Limits,
        calls: &Calls,
        credentials: Result<Credentials, Unknown>,
    ) -> Self {
        let timeouts = TimeoutConfig::builder().operation_timeout(limits.request);
        let timeouts = match connect_timeout(limits.request) {
            Some(connect) => timeouts.connect_timeout(connect),
            None => timeouts.disable_connect_timeout(),
        }
        .build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(region.to_owned()))
            .http_client(http.clone())
            .retry_config(
                RetryConfig::standard()
                    .with_max_attempts(3)
                    .with_initial_backoff(Duration::from_millis(200)),
            )
            .timeout_config(timeouts)
            .profile_files(profile_files(identity));
        if let Some(profile) = identity.profile() {
            loader = loader.profile_name(profile);
        }
        loader = match &credentials {
            Ok(credentials) => loader.credentials_provider(credentials.clone()),
            Err(_) => loader.no_credentials(),
        };
        Self {
            config: loader.load().await,
            credentials,
            identity: identity.clone(),
            region: region.to_owned(),
            limits,
            calls: calls.clone(),
            shared: None,
        }
    }

    /// The same session, with a shorter bound of one request.
    pub fn with_request_timeout(&self, request: Duration) -> Self {
        Self {
            limits: self.limits.with_request(request),
            ..self.clone()
        }
    }

    /// The same session, its clock started anew.
    pub fn restarted(&self) -> Self {
        Self {
            limits: self.limits.restarted(),
            ..self.clone()
        }
    }

    /// The region's partition.
    pub fn partition(&self) -> &'static str {
        iam_policy::arn::partition_of_region(&self.region)
    }

    /// The ARN pattern of something of EKS in the region, in whichever account.
    pub fn eks_arn(&self, resource: &str) -> String {
        format!("arn:{}:eks:{}:*:{resource}", self.partition(), self.region)
    }

    /// IAM.
    pub fn iam(&self) -> aws_sdk_iam::Client {
        aws_sdk_iam::Client::new(&self.config)
    }

    /// EKS.
    pub fn eks(&self) -> aws_sdk_eks::Client {
        aws_sdk_eks::Client::new(&self.config)
    }

    /// STS.
    pub fn sts(&self) -> aws_sdk_sts::Client {
        aws_sdk_sts::Client::new(&self.config)
    }

    /// KMS.
    pub fn kms(&self) -> aws_sdk_kms::Client {
        aws_sdk_kms::Client::new(&self.config)
    }

    /// Service Quotas.
    pub fn service_quotas(&self) -> aws_sdk_servicequotas::Client {
        aws_sdk_servicequotas::Client::new(&self.config)
    }

    /// The same session with other credentials.
    pub fn with_credentials(&self, credentials: Credentials) -> Self {
        let config = self
            .config
            .to_builder()
            .credentials_provider(aws_credential_types::provider::SharedCredentialsProvider::new(
                credentials.clone(),
            ))
            .build();
        Self {
            config,
            credentials: Ok(credentials),
            ..self.clone()
        }
    }
}

async fn resolved_credentials(
    identity: &Identity,
    region: &str,
    http: &SharedHttpClient,
    limits: Limits,
) -> Result<Credentials, Unknown> {
    let work = Box::pin(credentials(identity, region, http));
    limits
        .run("the question for AWS credentials", work)
        .await
        .and_then(|result| result)
}

/// How long a connection may take to be made: five seconds, so that a retry still fits in, where the request may take
/// longer than that; else nothing of its own. Two clocks that end together would race for the error's text.
pub(crate) fn connect_timeout(request: Duration) -> Option<Duration> {
    const CONNECT: Duration = Duration::from_secs(5);
    (request > CONNECT).then_some(CONNECT)
}

fn profile_files(identity: &Identity) -> aws_runtime::env_config::file::EnvConfigFiles {
    use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
    let config = identity.env.get("AWS_CONFIG_FILE");
    let credentials = identity.env.get("AWS_SHARED_CREDENTIALS_FILE");
    if config.is_none() && credentials.is_none() {
        return EnvConfigFiles::default();
    }
    let mut files = EnvConfigFiles::builder();
    files = match config {
        Some(path) => files.with_file(EnvConfigFileKind::Config, path),
        None => files.include_default_config_file(true),
    };
    files = match credentials {
        Some(path) => files.with_file(EnvConfigFileKind::Credentials, path),
        None => files.include_default_credentials_file(true),
    };
    files.build()
}

async fn credentials(
    identity: &Identity,
    region: &str,
    http: &SharedHttpClient,
) -> Result<Credentials, Unknown> {
    if let (None, Some(key), Some(secret)) = (
        &identity.profile_flag,
        identity.env.get("AWS_ACCESS_KEY_ID"),
        identity.env.get("AWS_SECRET_ACCESS_KEY"),
    ) {
        let token = identity.env.get("AWS_SESSION_TOKEN").cloned();
        return Ok(Credentials::new(key, secret, token, None, "exec-entry"));
    }
    let files = profile_files(identity);
    let provider_config = ProviderConfig::without_region()
        .with_region(Some(Region::new(region.to_owned())))
        .with_http_client(http.clone());
    let environment_has_keys =
        identity.profile_flag.is_none() && std::env::var_os("AWS_ACCESS_KEY_ID").is_some();
    let profile = identity.profile();
    if let (Some(name), false, None) = (&profile, environment_has_keys, &identity.credentials_by)
        && let Err(unknown) = profile_exists(name, &files).await
    {
        return Err(unknown.of_credentials(identity.source().await));
    }
    let result = match (&identity.profile_flag, &profile) {
        (Some(name), _) => {
            let provider = ProfileFileCredentialsProvider::builder()
                .configure(&provider_config)
                .profile_name(name)
                .profile_files(files)
                .build();
            provider.provide_credentials().await
        }
        (None, name) => {
            // aws-config's default chain: the environment, the profile, web identity, ECS and Pod Identity, IMDS.
            let mut builder = aws_config::default_provider::credentials::DefaultCredentialsChain::builder()
                .configure(provider_config.clone())
                .region(Region::new(region.to_owned()));
            if let Some(name) = name {
                builder = builder.profile_name(name);
            }
            if identity.env.contains_key("AWS_CONFIG_FILE")
                || identity.env.contains_key("AWS_SHARED_CREDENTIALS_FILE")
            {
                let mut provider = ProfileFileCredentialsProvider::builder()
                    .configure(&provider_config)
                    .profile_files(files);
                if let Some(name) = name {
                    provider = provider.profile_name(name);
                }
                provider.build().provide_credentials().await
            } else {
                builder.build().await.provide_credentials().await
            }
        }
    };
    match result {
        Ok(credentials) => Ok(credentials),
        Err(error) => {
            let source = identity.source().await;
            Err(no_credentials(&error, profile.as_deref(), &source).of_credentials(source))
        }
    }
}

/// The profile is there, or nothing names one.
async fn profile_exists(
    name: &str,
    files: &aws_runtime::env_config::file::EnvConfigFiles,
) -> Result<(), Unknown> {
    let set = match aws_config::profile::load(&Default::default(), &Default::default(), files, None).await {
        Ok(set) => set,
        Err(error) => {
            return Err(Unknown::new(
                Why::Unauthenticated,
                format!("the AWS configuration files cannot be read: {}", chain(&error)),
            ));
        }
    };
    if set.get_profile(name).is_some() {
        return Ok(());
    }
    let mut known: Vec<&str> = set.profiles().collect();
    known.sort_unstable();
    known.truncate(20);
    let known = match known.as_slice() {
        [] => "none".to_owned(),
        known => known.join(", "),
    };
    Err(Unknown::new(
        Why::Unauthenticated,
        format!("there is no AWS profile \"{name}\" (known: {known})"),
    ))
}

impl Identity {
    /// Where its credentials come from, for the one who has to get new ones.
    async fn source(&self) -> CredentialSource {
        let files = profile_files(self);
        let set = aws_config::profile::load(&Default::default(), &Default::default(), &files, None)
            .await
            .unwrap_or_default();
        let profiles: Vec<String> = set.profiles().map(str::to_owned).collect();
        CredentialSource::of(&Clues {
            profile: self.profile().as_deref().unwrap_or("default"),
            by_flag: self.profile_flag.is_some(),
            wrapper: self.credentials_by.as_deref(),
            var: &|name| self.var(name),
            key: &|profile, key| set.get_profile(profile)?.get(key).map(str::to_owned),
            profiles: &profiles,
        })
    }
}

fn no_credentials(
    error: &aws_credential_types::provider::error::CredentialsError,
    profile: Option<&str>,
    source: &CredentialSource,
) -> Unknown {
    use aws_credential_types::provider::error::CredentialsError;
    // What the SDK's layers say of each other helps nobody: the innermost cause, or that there are none.
    const NONE: &str =
        "none in the environment, the default profile, web identity, the container or the instance";
    let lower = chain(error).to_lowercase();
    let sso = lower.contains("sso") || lower.contains("token") && lower.contains("expired");
    let text = match (error, profile) {
        (CredentialsError::CredentialsNotLoaded(_), None) => NONE.to_owned(),
        // The instance's metadata service is the last that is asked, and on most machines it is not there.
        (_, None) if lower.contains("imds") => NONE.to_owned(),
        (CredentialsError::CredentialsNotLoaded(_), Some(profile)) => {
            format!("the profile \"{profile}\" has none")
        }
        (_, Some(profile)) if sso => format!("the SSO session of the profile \"{profile}\" is not valid"),
        (_, None) if sso => "the SSO session is not valid".to_owned(),
        (other, _) if *source == CredentialSource::WebIdentity => {
            format!(
                "the token of AWS_WEB_IDENTITY_TOKEN_FILE was of no use: {}",
                plain(&root(other))
            )
        }
        (other, _) => plain(&root(other)),
    };
    let why = if lower.contains("timed out") || lower.contains("timeout") {
        Why::TimedOut
    } else {
        Why::Unauthenticated
    };
    Unknown::new(why, format!("no AWS credentials: {text}"))
}

/// What the SDK shows of an error of its own, without the wrapping.
fn plain(text: &str) -> String {
    let message = text
        .split_once("message: \"")
        .and_then(|(_, rest)| rest.split_once('"'));
    let text = message.map_or(text, |(message, _)| message);
    let text = text
        .strip_prefix("Error retrieving credentials: ")
        .unwrap_or(text);
    text.strip_suffix(". Stderr:").unwrap_or(text).to_owned()
}

/// What an AWS call answered when it did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The service's own error code, when it answered in its protocol.
    pub code: Option<String>,
    /// The service's own message.
    pub message: String,
    /// The HTTP status, when there was one.
    pub status: Option<u16>,
    /// The reason for not knowing; also for codes that a caller may read as "absent".
    pub unknown: Unknown,
}

impl From<Unknown> for Failure {
    /// Nothing was heard of the service itself.
    fn from(unknown: Unknown) -> Self {
        Self {
            code: None,
            message: String::new(),
            status: None,
            unknown,
        }
    }
}

impl Failure {
    /// What is known after it: that the thing is not there, where the service itself says so.
    pub fn observed<T>(self) -> Observed<T> {
        match self.is_not_found() {
            true => Observed::Absent,
            false => Observed::Unknown(self.unknown),
        }
    }

    /// Whether the service itself said, in its own protocol, that the thing does not exist. A 404 alone is not enough:
    /// a proxy's page has that too.
    pub fn is_not_found(&self) -> bool {
        matches!(
            self.code.as_deref(),
            Some(
                "NoSuchEntity"
                    | "NoSuchEntityException"
                    | "ResourceNotFoundException"
                    | "NoSuchResourceException"
            )
        )
    }
}

/// Turns an SDK error into what it means. `grant` is the permission that the call needs.
pub fn failure<E>(error: &SdkError<E, Response>, grant: Grant, timeout: Duration) -> Failure
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    let status = error.raw_response().map(|raw| raw.status().as_u16());
    match error {
        SdkError::ServiceError(inner) => {
            let meta = inner.err().meta();
            let code = meta.code().map(str::to_owned);
            let message = meta.message().unwrap_or_default().trim().to_owned();
            let unknown = service_unknown(code.as_deref(), &message, status, inner.raw(), grant);
            Failure {
                code,
                message,
                status,
                unknown,
            }
        }
        SdkError::TimeoutError(_) => Failure::from(Unknown::new(
            Why::TimedOut,
            format!(
                "no answer to {} within {} s (--request-timeout)",
                grant.action(),
                timeout.as_secs_f32()
            ),
        )),
        SdkError::ResponseError(inner) => Failure {
            code: None,
            message: String::new(),
            status,
            unknown: Unknown::new(Why::Unusable, unusable(&grant, status, inner.raw())),
        },
        SdkError::DispatchFailure(inner) => {
            let source = inner.as_connector_error().and_then(StdError::source);
            if let Some(bad) = source.and_then(|source| source.downcast_ref::<http::BadBody>()) {
                let detail = format!("the answer to {} {bad}", grant.action());
                return Failure::from(Unknown::new(Why::Malformed, detail));
            }
            let why = if inner.is_timeout() {
                Why::TimedOut
            } else {
                Why::Unreachable
            };
            let text = inner
                .as_connector_error()
                .map_or_else(|| "the request was not sent".to_owned(), |e| root(e));
            Failure {
                code: None,
                message: String::new(),
                status,
                unknown: Unknown::new(why, format!("{}: {text}", grant.action())),
            }
        }
        other => Failure {
            code: None,
            message: String::new(),
            status,
            unknown: Unknown::new(Why::Unreachable, format!("{}: {}", grant.action(), chain(other))),
        },
    }
}

fn service_unknown(
    code: Option<&str>,
    message: &str,
    status: Option<u16>,
    raw: &Response,
    grant: Grant,
) -> Unknown {
    let said = |what: &str| {
        if message.is_empty() {
            what.to_owned()
        } else {
            message.to_owned()
        }
    };
    match code {
        Some("AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" | "NotAuthorized") => {
            Unknown::denied(DeniedBy::from_aws_message(message), message, grant)
        }
        Some(
            code @ ("ExpiredToken"
            | "ExpiredTokenException"
            | "InvalidClientTokenId"
            | "UnrecognizedClientException"
            | "SignatureDoesNotMatch"
            | "InvalidSignatureException"
            | "RequestExpired"
            | "IncompleteSignature"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "InvalidAccessKeyId"
            | "AuthFailure"
            | "OptInRequired"),
        ) => Unknown::new(
            Why::Unauthenticated,
            format!("AWS refuses the credentials ({code}): {}", said("no message")),
        ),
        Some(code) if is_throttling(code) => Unknown::new(
            Why::Throttled,
            format!(
                "{} was throttled until the retries were used up ({code})",
                grant.action()
            ),
        ),
        Some(code) if status.is_some_and(|status| status >= 500) => Unknown::new(
            Why::ServiceFailed,
            format!(
                "{}: HTTP {} {code}: {}",
                grant.action(),
                status.unwrap_or_default(),
                said("no message")
            ),
        ),
        Some(code) => Unknown::new(
            Why::ServiceFailed,
            format!("{}: {code}: {}", grant.action(), said("no message")),
        ),
        None if status == Some(429) => Unknown::new(
            Why::Throttled,
            format!(
                "{} was throttled until the retries were used up (HTTP 429)",
                grant.action()
            ),
        ),
        None if status.is_some_and(|status| status >= 500) && !looks_like_html(raw) => Unknown::new(
            Why::ServiceFailed,
            format!("{}: HTTP {}", grant.action(), status.unwrap_or_default()),
        ),
        None => Unknown::new(Why::Unusable, unusable(&grant, status, raw)),
    }
}

/// The SDK's own list is private; these are the codes of its standard retry mode.
fn is_throttling(code: &str) -> bool {
    const CODES: &[&str] = &[
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottledException",
        "TooManyRequestsException",
        "ProvisionedThroughputExceededException",
        "TransactionInProgressException",
        "RequestLimitExceeded",
        "BandwidthLimitExceeded",
        "LimitExceededException",
        "RequestThrottled",
        "SlowDown",
        "PriorRequestNotComplete",
        "EC2ThrottledException",
    ];
    CODES.contains(&code)
}

fn looks_like_html(raw: &Response) -> bool {
    let type_is = raw
        .headers()
        .get("content-type")
        .is_some_and(|value| value.contains("html"));
    let starts = raw.body().bytes().is_some_and(|bytes| {
        let head: Vec<u8> = bytes
            .iter()
            .copied()
            .skip_while(u8::is_ascii_whitespace)
            .take(15)
            .collect();
        let head = head.to_ascii_lowercase();
        head.starts_with(b"<!doctype html") || head.starts_with(b"<html")
    });
    type_is || starts
}

fn unusable(grant: &Grant, status: Option<u16>, raw: &Response) -> String {
    let what = if looks_like_html(raw) {
        "an HTML page, not AWS's protocol: is a proxy in between (HTTPS_PROXY)?"
    } else {
        "not in AWS's protocol, or cut off"
    };
    let status = status
        .map(|status| format!("HTTP {status}, "))
        .unwrap_or_default();
    format!("the answer to {} was {status}{what}", grant.action())
}

/// An error and its causes on one line, each said once.
pub fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut parts: Vec<String> = vec![error.to_string()];
    let mut source = error.source();
    while let Some(inner) = source {
        let text = inner.to_string();
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        source = inner.source();
    }
    one_line(&parts.join(": "))
}

/// The innermost cause of an error: what the system said, without the layers that handed it on.
pub fn root(error: &(dyn StdError + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    one_line(&innermost.to_string())
}

/// A library's text on one line, cut where it gets long, without a secret (a proxy's password).
fn one_line(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text: String = text.chars().take(400).collect();
    crate::text::secrets::masked(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_metadata_service_has_no_credentials() {
        use aws_credential_types::provider::error::CredentialsError;
        let refused = CredentialsError::provider_error("request forbidden: IMDS is disabled");
        let said = no_credentials(&refused, None, &CredentialSource::Environment).to_string();
        assert!(!said.contains("IMDS"), "{said}");
        assert!(said.contains("none in the environment"), "{said}");
    }

    #[test]
    fn the_connection_s_clock_never_ends_together_with_the_request_s() {
        let seconds = Duration::from_secs;
        assert_eq!(connect_timeout(seconds(2)), None);
        assert_eq!(connect_timeout(seconds(5)), None);
        assert_eq!(connect_timeout(seconds(30)), Some(seconds(5)));
    }
}
