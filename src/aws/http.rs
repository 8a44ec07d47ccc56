//! The one HTTP client of the process towards AWS: rustls on ring, AWS_CA_BUNDLE, HTTPS_PROXY and NO_PROXY honoured, no answer
//! larger than [`MAX_ANSWER`], whoever asked for it (the SDK's own credential providers too).

use std::fmt;
use std::time::Duration;

use aws_smithy_http_client::{Builder, Connector, proxy::ProxyConfig, tls};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::retry::ErrorKind;
use http_body_util::{BodyExt as _, Limited};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// The largest answer of AWS's that is read; its longest pages have some hundred KiB.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// The client.
///
/// # Errors
/// AWS_CA_BUNDLE names a file that cannot be read or holds no certificate.
pub fn http_client() -> Result<SharedHttpClient, String> {
    let context = tls_context()?;
    let client = Builder::new()
        .build_with_connector_fn(move |settings, components| connector(&context, settings, components));
    Ok(http_client_fn(move |settings, components| {
        SharedHttpConnector::new(Bounded(client.http_connector(settings, components)))
    }))
}

/// Where a page of somebody other than AWS redirects to, by the same trust and proxy. Nothing of the page is read.
///
/// # Errors
/// It did not answer in time, or not with a redirect.
pub async fn redirect_of(url: &str, limit: Duration) -> Result<String, String> {
    let connector = connector(&tls_context()?, None, None);
    let mut request = HttpRequest::empty();
    request.set_uri(url).map_err(|error| error.to_string())?;
    let answer = tokio::time::timeout(limit, connector.call(request))
        .await
        .map_err(|_| format!("no answer within {} s (--request-timeout)", limit.as_secs()))?
        .map_err(|error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            format!("{error}{}", cause.unwrap_or_default())
        })?;
    match answer.headers().get("location") {
        Some(location) if (300..400).contains(&answer.status().as_u16()) => Ok(location.to_owned()),
        _ => Err(format!("{url} answered with status {}", answer.status().as_u16())),
    }
}

fn connector(
    context: &tls::TlsContext,
    settings: Option<&HttpConnectorSettings>,
    components: Option<&RuntimeComponents>,
) -> Connector {
    let mut connector = Connector::builder()
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
        .tls_context(context.clone())
        .proxy_config(ProxyConfig::from_env());
    if let Some(settings) = settings {
        connector = connector.connector_settings(settings.clone());
    }
    if let Some(sleep) = components.and_then(|components| components.sleep_impl()) {
        connector = connector.sleep_impl(sleep);
    }
    connector.build()
}

fn tls_context() -> Result<tls::TlsContext, String> {
    let mut trust = tls::TrustStore::default();
    if let Some(path) = std::env::var_os("AWS_CA_BUNDLE").filter(|path| !path.is_empty()) {
        let shown = path.to_string_lossy().into_owned();
        let pem = std::fs::read(&path)
            .map_err(|error| format!("AWS_CA_BUNDLE: {shown} cannot be read: {error}"))?;
        usable_certificates(&pem).map_err(|error| format!("AWS_CA_BUNDLE: {shown} {error}"))?;
        trust = tls::TrustStore::empty().with_pem_certificate(pem);
    }
    tls::TlsContext::builder()
        .with_trust_store(trust)
        .build()
        .map_err(|error| format!("AWS_CA_BUNDLE: {error}"))
}

/// A connector whose answers are read whole, up to [`MAX_ANSWER`], and kept for the asker.
#[derive(Debug)]
struct Bounded(SharedHttpConnector);

impl HttpConnector for Bounded {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let answer = self.0.call(request);
        HttpConnectorFuture::new(async move {
            let mut answer = answer.await?;
            let body = std::mem::replace(answer.body_mut(), SdkBody::taken());
            let body = Limited::new(body, MAX_ANSWER)
                .collect()
                .await
                .map_err(|error| {
                    let too_large = error.is::<http_body_util::LengthLimitError>();
                    let (error, kind) = match too_large {
                        true => (BadBody::TooLarge, None),
                        // As the SDK has it: worth another try.
                        false => (BadBody::CutOff, Some(ErrorKind::TransientError)),
                    };
                    ConnectorError::other(error.into(), kind)
                })?
                .to_bytes();
            super::ask::keep(&body);
            *answer.body_mut() = SdkBody::from(body);
            Ok(answer)
        })
    }
}

/// Why an answer's body is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadBody {
    CutOff,
    TooLarge,
}

impl fmt::Display for BadBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutOff => f.write_str("was cut off"),
            Self::TooLarge => write!(f, "is larger than {} MiB", MAX_ANSWER / 1024 / 1024),
        }
    }
}

impl std::error::Error for BadBody {}

/// Whether every certificate of a bundle can be a root: the SDK takes a bundle for granted, and panics on one that is damaged.
fn usable_certificates(pem: &[u8]) -> Result<(), String> {
    let mut roots = rustls::RootCertStore::empty();
    for (n, certificate) in CertificateDer::pem_slice_iter(pem).enumerate() {
        let n = n + 1;
        let certificate =
            certificate.map_err(|error| format!("is damaged at its certificate {n}: {error}"))?;
        roots
            .add(certificate)
            .map_err(|error| format!("holds something else than a certificate as its number {n}: {error}"))?;
    }
    if roots.is_empty() {
        return Err("holds no PEM certificate".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_bundle_is_named_and_not_handed_on() {
        let begin = "-----BEGIN CERTIFICATE-----\n";
        let end = "-----END CERTIFICATE-----\n";
        for (pem, says) in [
            (String::new(), "holds no PEM certificate"),
            ("<html>".to_owned(), "holds no PEM certificate"),
            (format!("{begin}AAAA\n"), "is damaged at its certificate 1"),
            (format!("{begin}!!!!\n{end}"), "is damaged at its certificate 1"),
            (
                format!("{begin}AAAA\n{end}"),
                "holds something else than a certificate as its number 1",
            ),
        ] {
            let error = usable_certificates(pem.as_bytes()).expect_err(&pem);
            assert!(error.contains(says), "{pem}: {error}");
        }
    }
}
