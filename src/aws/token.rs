//! The EKS token, made in process: a presigned STS GetCallerIdentity with the cluster's name in a signed header.
//!
//! The same as `aws eks get-token` and `aws-iam-authenticator token` print (aws-iam-authenticator, `pkg/token/token.go`):
//! `k8s-aws-v1.` and the URL in base64url without padding; the header `x-k8s-aws-id` is signed, so that a token for one
//! cluster is refused by another; the URL is valid for 60 seconds, EKS accepts it for 15 minutes.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4;
use base64::Engine as _;

use iam_policy::arn;

/// What AWS CLI puts into `X-Amz-Expires`, in seconds.
const EXPIRES: Duration = Duration::from_secs(60);

/// The session name `aws eks get-token --role-arn` uses.
pub const AWS_CLI_SESSION_NAME: &str = "EKSGetTokenAuth";

/// Makes the bearer token for `cluster` (its name, or its id on Outposts).
///
/// The STS host is always the region's own: EKS accepts no other, so AWS_ENDPOINT_URL_STS does not count here.
///
/// # Errors
/// When the parts do not make a request that can be signed (a cluster name with control characters).
pub fn eks_token(
    credentials: &Credentials,
    region: &str,
    cluster: &str,
    now: SystemTime,
) -> Result<String, String> {
    let url = format!(
        "https://sts.{region}.{suffix}/?Action=GetCallerIdentity&Version=2011-06-15",
        suffix = arn::dns_suffix(arn::partition_of_region(region)),
    );
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(EXPIRES);
    let identity = credentials.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("sts")
        .time(now)
        .settings(settings)
        .build()
        .map_err(|error| error.to_string())?
        .into();
    let headers = [("x-k8s-aws-id", cluster)];
    let signable = SignableRequest::new("GET", &url, headers.into_iter(), SignableBody::Bytes(&[]))
        .map_err(|error| error.to_string())?;
    let (instructions, _) = sign(signable, &params)
        .map_err(|error| error.to_string())?
        .into_parts();
    let mut request = http::Request::builder()
        .uri(&url)
        .body(())
        .map_err(|error| error.to_string())?;
    instructions.apply_to_request_http1x(&mut request);
    Ok(format!(
        "k8s-aws-v1.{}",
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(request.uri().to_string())
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_a_presigned_url_for_this_cluster() {
        let credentials = Credentials::new("AKIDEXAMPLE", "secret", Some("session".to_owned()), None, "test");
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let token = eks_token(&credentials, "eu-west-1", "demo", now).expect("a token");
        let encoded = token.strip_prefix("k8s-aws-v1.").expect("the prefix");
        let url = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(encoded)
            .expect("base64url");
        let url = String::from_utf8(url).expect("text");
        assert!(url.starts_with("https://sts.eu-west-1.amazonaws.com/?"), "{url}");
        for part in [
            "Action=GetCallerIdentity",
            "Version=2011-06-15",
            "X-Amz-Algorithm=AWS4-HMAC-SHA256",
            "X-Amz-Credential=AKIDEXAMPLE%2F20231114%2Feu-west-1%2Fsts%2Faws4_request",
            "X-Amz-Date=20231114T221320Z",
            "X-Amz-Expires=60",
            "X-Amz-SignedHeaders=host%3Bx-k8s-aws-id",
            "X-Amz-Security-Token=session",
            "X-Amz-Signature=",
        ] {
            assert!(url.contains(part), "{part} in {url}");
        }
        assert!(!url.contains("secret"));
        let other = eks_token(&credentials, "eu-west-1", "other", now).expect("a token");
        assert_ne!(token, other, "the cluster's name is signed");
    }

    #[test]
    fn china_has_its_own_host() {
        let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "test");
        let token = eks_token(&credentials, "cn-north-1", "demo", SystemTime::UNIX_EPOCH).expect("a token");
        let url = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(token.trim_start_matches("k8s-aws-v1."))
            .expect("base64url");
        assert!(String::from_utf8_lossy(&url).starts_with("https://sts.cn-north-1.amazonaws.com.cn/"));
    }
}
