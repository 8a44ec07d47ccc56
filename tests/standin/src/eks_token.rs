//! EKS bearer tokens: `k8s-aws-v1.` and a presigned `sts:GetCallerIdentity` URL, judged as aws-iam-authenticator's
//! `pkg/token` judges them. Where STS would check the signature, it is checked here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest as _, Sha256};

use crate::http::{get, parse_form};
use crate::world::SECRET_ACCESS_KEY;

const RFC3986: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// The query parameters that the authenticator lets through.
const ALLOWED: &[&str] = &[
    "action",
    "version",
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-security-token",
    "x-amz-signature",
    "x-amz-signedheaders",
    "x-amz-user-agent",
];

/// A token that was presented, without its signature and session token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EksToken {
    /// The access key id that signed it.
    pub access_key: String,
    /// The region and service of its credential scope.
    pub region: String,
    /// `sts`
    pub service: String,
    /// `sts.eu-west-1.amazonaws.com`
    pub host: String,
    /// The headers that the signature covers: `host` and `x-k8s-aws-id`.
    pub signed_headers: Vec<String>,
    /// `X-Amz-Expires`, seconds.
    pub expires: String,
    /// Whether it carries a session token.
    pub has_session_token: bool,
    /// Whether the signature is right for this cluster's name in `x-k8s-aws-id`.
    pub signed_for_cluster: bool,
    /// What the authenticator would object to.
    pub problem: Option<String>,
}

impl EksToken {
    /// Reads a bearer token for this cluster; none: it is no EKS token. `own_sts` is an address (`http://127.0.0.1:1`)
    /// that counts as STS's.
    pub(crate) fn parse(token: &str, cluster: &str, own_sts: Option<&str>) -> Option<Self> {
        let encoded = token.strip_prefix("k8s-aws-v1.")?;
        let url = URL_SAFE_NO_PAD
            .decode(encoded)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())?;
        let (scheme, rest) = url.split_once("://")?;
        let (place, raw_query) = rest.split_once('?').unwrap_or((rest, ""));
        let (host, path) = place
            .split_once('/')
            .map_or((place, String::new()), |(h, p)| (h, format!("/{p}")));
        let query = parse_form(raw_query);
        let value = |name: &str| get(&query, name).unwrap_or_default();
        let scope: Vec<&str> = value("X-Amz-Credential").split('/').collect();
        let part = |index: usize| scope.get(index).copied().unwrap_or_default().to_owned();
        let signed_headers: Vec<String> = value("X-Amz-SignedHeaders")
            .split(';')
            .map(str::to_owned)
            .collect();
        let signature = signature(&query, host, &path, &scope, &signed_headers, cluster);
        let signed_for_cluster = signature.as_deref() == Some(value("X-Amz-Signature"));
        let mut parsed = Self {
            access_key: part(0),
            region: part(2),
            service: part(3),
            host: host.to_owned(),
            signed_headers,
            expires: value("X-Amz-Expires").to_owned(),
            has_session_token: get(&query, "X-Amz-Security-Token").is_some(),
            signed_for_cluster,
            problem: None,
        };
        let own = own_sts.is_some_and(|own| own.split_once("://") == Some((scheme, host)));
        parsed.problem = parsed.objection(scheme, own, &path, &query, token.len());
        Some(parsed)
    }

    /// Whether the authenticator, and STS behind it, would take it.
    pub fn is_valid(&self) -> bool {
        self.problem.is_none() && self.signed_for_cluster
    }

    fn objection(
        &self,
        scheme: &str,
        own: bool,
        path: &str,
        query: &[(String, String)],
        length: usize,
    ) -> Option<String> {
        let value = |name: &str| get(query, name).unwrap_or_default();
        if length > 4096 {
            return Some("token is too large".to_owned());
        }
        if !own && scheme != "https" {
            return Some(format!("unexpected scheme {scheme:?} in pre-signed URL"));
        }
        let known = self.host.strip_prefix("sts").is_some_and(|rest| {
            let suffixes = [".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu", ".api.aws"];
            (rest.starts_with('.') || rest.starts_with("-fips."))
                && suffixes.iter().any(|end| rest.ends_with(end))
        });
        if !own && !known {
            return Some(format!("unexpected hostname {:?} in pre-signed URL", self.host));
        }
        if path != "/" {
            return Some("unexpected path in pre-signed URL".to_owned());
        }
        let mut seen: Vec<String> = Vec::new();
        for (name, _) in query {
            let name = name.to_ascii_lowercase();
            if !ALLOWED.contains(&name.as_str()) {
                return Some(format!("non-whitelisted query parameter {name:?}"));
            }
            if seen.contains(&name) {
                return Some(format!(
                    "query parameter with multiple values not supported: {name:?}"
                ));
            }
            seen.push(name);
        }
        if value("Action") != "GetCallerIdentity" {
            return Some("unexpected action parameter in pre-signed URL".to_owned());
        }
        if !self.signed_headers.iter().any(|header| header == "x-k8s-aws-id") {
            return Some("client did not sign the x-k8s-aws-id header in the pre-signed URL".to_owned());
        }
        match self.expires.parse::<u32>() {
            Err(_) => {
                return Some(format!(
                    "invalid X-Amz-Expires parameter in pre-signed URL: {}",
                    self.expires
                ));
            }
            Ok(seconds) if seconds > 900 => {
                return Some(format!(
                    "invalid X-Amz-Expires parameter in pre-signed URL: {seconds}"
                ));
            }
            Ok(_) => {}
        }
        let date = format!("{} +0000", value("X-Amz-Date"));
        let Ok(signed_at) =
            jiff::fmt::strtime::parse("%Y%m%dT%H%M%SZ %z", date).and_then(|time| time.to_timestamp())
        else {
            return Some("error parsing X-Amz-Date parameter".to_owned());
        };
        // The server adds a quarter of an hour, whatever X-Amz-Expires says.
        let age = Timestamp::now().as_second() - signed_at.as_second();
        (!(-15 * 60..=15 * 60).contains(&age)).then(|| "X-Amz-Date parameter is expired".to_owned())
    }
}

/// The SigV4 signature that the URL must carry.
fn signature(
    query: &[(String, String)],
    host: &str,
    path: &str,
    scope: &[&str],
    signed_headers: &[String],
    cluster: &str,
) -> Option<String> {
    let [_key, date, region, service, "aws4_request"] = scope else {
        return None;
    };
    let encode = |text: &str| utf8_percent_encode(text, RFC3986).to_string();
    let mut pairs: Vec<String> = query
        .iter()
        .filter(|(name, _)| name != "X-Amz-Signature")
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    pairs.sort();
    let mut headers = String::new();
    for name in signed_headers {
        let value = match name.as_str() {
            "host" => host,
            "x-k8s-aws-id" => cluster,
            "x-amz-expires" => get(query, "X-Amz-Expires").unwrap_or_default(),
            _ => return None,
        };
        headers.push_str(&format!("{name}:{value}\n"));
    }
    let path = if path.is_empty() { "/" } else { path };
    let canonical = format!(
        "GET\n{path}\n{}\n{headers}\n{}\n{}",
        pairs.join("&"),
        signed_headers.join(";"),
        hex(&Sha256::digest(b""))
    );
    let stamp = get(query, "X-Amz-Date").unwrap_or_default();
    let text = format!(
        "AWS4-HMAC-SHA256\n{stamp}\n{date}/{region}/{service}/aws4_request\n{}",
        hex(&Sha256::digest(canonical.as_bytes()))
    );
    let mut key = format!("AWS4{SECRET_ACCESS_KEY}").into_bytes();
    for part in [*date, *region, *service, "aws4_request"] {
        key = mac(&key, part)?;
    }
    Some(hex(&mac(&key, &text)?))
}

fn mac(key: &[u8], text: &str) -> Option<Vec<u8>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(text.as_bytes());
    Some(mac.finalize().into_bytes().to_vec())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The token that `aws eks get-token` makes for these, with the stand-in's secret: for tests of the servers themselves.
#[cfg(test)]
pub(crate) fn make(access_key: &str, region: &str, cluster: &str, session_token: Option<&str>) -> String {
    make_for(
        &format!("https://sts.{region}.amazonaws.com"),
        access_key,
        region,
        cluster,
        session_token,
    )
}

/// The same for another STS.
#[cfg(test)]
pub(crate) fn make_for(
    sts: &str,
    access_key: &str,
    region: &str,
    cluster: &str,
    session_token: Option<&str>,
) -> String {
    let now = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let date = now.get(..8).unwrap_or_default().to_owned();
    let mut query = vec![
        ("Action".to_owned(), "GetCallerIdentity".to_owned()),
        ("Version".to_owned(), "2011-06-15".to_owned()),
        ("X-Amz-Algorithm".to_owned(), "AWS4-HMAC-SHA256".to_owned()),
        (
            "X-Amz-Credential".to_owned(),
            format!("{access_key}/{date}/{region}/sts/aws4_request"),
        ),
        ("X-Amz-Date".to_owned(), now),
        ("X-Amz-Expires".to_owned(), "60".to_owned()),
        ("X-Amz-SignedHeaders".to_owned(), "host;x-k8s-aws-id".to_owned()),
    ];
    if let Some(token) = session_token {
        query.push(("X-Amz-Security-Token".to_owned(), token.to_owned()));
    }
    let host = sts.split_once("://").map_or(sts, |(_, host)| host);
    let scope = [access_key, &date, region, "sts", "aws4_request"];
    let signed = ["host".to_owned(), "x-k8s-aws-id".to_owned()];
    let signature = signature(&query, host, "/", &scope, &signed, cluster).unwrap_or_default();
    query.push(("X-Amz-Signature".to_owned(), signature));
    let encode = |text: &str| utf8_percent_encode(text, RFC3986).to_string();
    let pairs: Vec<_> = query
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    let url = format!("{sts}/?{}", pairs.join("&"));
    format!("k8s-aws-v1.{}", URL_SAFE_NO_PAD.encode(url))
}
