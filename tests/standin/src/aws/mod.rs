//! The AWS side: which service and operation a request is for, who signed it, and what that service answers.

mod eks;
mod iam;
mod kms;
mod quotas;
mod sts;

use serde_json::{Value, json};

use crate::http::{Reply, Request, either, get, parse_form};
use crate::world::{Identity, World};

/// An AWS service that the stand-in speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aws {
    Iam,
    Sts,
    Eks,
    Kms,
    Quotas,
    Unknown,
}

impl Aws {
    /// The prefix of its IAM actions.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Iam => "iam",
            Self::Sts => "sts",
            Self::Eks => "eks",
            Self::Kms => "kms",
            Self::Quotas => "servicequotas",
            Self::Unknown => "aws",
        }
    }
}

/// The scope of a SigV4 credential: `KEY/DATE/REGION/SERVICE/aws4_request`.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    pub(crate) access_key: String,
    pub(crate) region: String,
    pub(crate) service: String,
}

/// A request, told apart.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) service: Aws,
    /// `GetRole`
    pub(crate) name: String,
    pub(crate) scope: Option<Scope>,
    /// The parameters, wherever the protocol carries them. Nothing of a signature is among them.
    pub(crate) parameters: Vec<(String, String)>,
    /// EKS's path segments; the JSON body of Service Quotas and KMS.
    pub(crate) segments: Vec<String>,
    pub(crate) json: Value,
}

impl Operation {
    pub(crate) fn of(request: &Request) -> Self {
        let scope = scope(request);
        let target = request.header("x-amz-target").unwrap_or_default().to_owned();
        let body = std::str::from_utf8(&request.body).unwrap_or_default();
        let is_form = request
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        let unsigned_query = request
            .query
            .iter()
            .filter(|(name, _)| !name.to_ascii_lowercase().starts_with("x-amz-"));
        let mut parameters: Vec<(String, String)> = unsigned_query.cloned().collect();
        if is_form {
            parameters.extend(parse_form(body));
        }
        let segments = request.segments();
        let json = if is_form {
            Value::Null
        } else {
            serde_json::from_str(body).unwrap_or(Value::Null)
        };
        let service = match scope.as_ref().map(|scope| scope.service.as_str()) {
            Some("iam") => Aws::Iam,
            Some("sts") => Aws::Sts,
            Some("eks") => Aws::Eks,
            Some("servicequotas") => Aws::Quotas,
            Some("kms") => Aws::Kms,
            Some(_) => Aws::Unknown,
            // Unsigned: the protocol tells.
            None if target.starts_with("ServiceQuotas") => Aws::Quotas,
            None if segments.first().is_some_and(|first| first == "clusters") => Aws::Eks,
            None if get(&parameters, "Version") == Some("2010-05-08") => Aws::Iam,
            None if get(&parameters, "Version") == Some("2011-06-15") => Aws::Sts,
            None => Aws::Unknown,
        };
        let name = match service {
            Aws::Eks => {
                let (name, more) = eks::operation(&request.method, &segments);
                parameters.extend(more);
                name
            }
            Aws::Quotas | Aws::Kms => {
                for (key, value) in json.as_object().into_iter().flatten() {
                    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    parameters.push((key.clone(), text));
                }
                target.rsplit('.').next().unwrap_or_default().to_owned()
            }
            _ => get(&parameters, "Action").unwrap_or_default().to_owned(),
        };
        parameters.retain(|(key, _)| key != "Action" && key != "Version");
        Self {
            service,
            name,
            scope,
            parameters,
            segments,
            json,
        }
    }

    /// `iam:GetRole`
    pub(crate) fn action(&self) -> String {
        format!("{}:{}", self.service.prefix(), self.name)
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        get(&self.parameters, name)
    }

    /// The values of `NAME.member.1`, `NAME.member.2`, ...
    fn members(&self, name: &str) -> Vec<&str> {
        (1..)
            .map_while(|index| self.parameter(&format!("{name}.member.{index}")))
            .collect()
    }
}

/// The credential that signed the request, in the header or (presigned) in the query.
fn scope(request: &Request) -> Option<Scope> {
    let header = request.header("authorization");
    let credential = match header.and_then(|value| value.split_once("Credential=")) {
        Some((_, rest)) => rest.split([',', ' ']).next().unwrap_or_default().to_owned(),
        None => request.query("X-Amz-Credential")?.to_owned(),
    };
    let mut parts = credential.split('/');
    let (access_key, _date, region, service) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    Some(Scope {
        access_key: access_key.to_owned(),
        region: region.to_owned(),
        service: service.to_owned(),
    })
}

/// Who asks, and where.
pub(crate) struct Caller {
    pub(crate) account: usize,
    pub(crate) identity: Identity,
    pub(crate) region: String,
}

impl Caller {
    /// Refuses what a denial covers, in the words of the service.
    pub(crate) fn may(&self, service: Aws, action: &str, resource: &str) -> Result<(), Reply> {
        match self.identity.refusal(action, resource) {
            None => Ok(()),
            Some(message) => Err(access_denied(service, &message)),
        }
    }
}

/// The URL and the certificate authority (PEM, where it speaks TLS) of a cluster's Kubernetes API.
pub(crate) type EndpointOf<'a> = &'a dyn Fn(&str) -> Option<(String, Option<String>)>;

/// Answers a request.
pub(crate) fn answer(
    world: &mut World,
    operation: &Operation,
    request: &Request,
    endpoint_of: EndpointOf<'_>,
) -> (Option<Identity>, Reply) {
    let caller = match caller(world, operation, request) {
        Ok(caller) => caller,
        Err(refusal) => return (None, refusal),
    };
    let identity = caller.identity.clone();
    let answer = match operation.service {
        Aws::Iam => iam::answer(world, &caller, operation),
        Aws::Sts => sts::answer(world, &caller, operation),
        Aws::Eks => eks::answer(world, &caller, operation, endpoint_of),
        Aws::Kms => kms::answer(world, &caller, operation),
        Aws::Quotas => quotas::answer(world, &caller, operation),
        Aws::Unknown => Err(Reply::new(
            404,
            "text/html",
            "<html><body><h1>404 Not Found</h1></body></html>",
        )),
    };
    (Some(identity), either(answer))
}

fn caller(world: &World, operation: &Operation, request: &Request) -> Result<Caller, Reply> {
    let service = operation.service;
    let Some(scope) = &operation.scope else {
        return Err(match service {
            Aws::Eks => json_error(
                403,
                "MissingAuthenticationTokenException",
                "Missing Authentication Token",
            ),
            Aws::Quotas | Aws::Kms => amz_json_error(
                400,
                "MissingAuthenticationTokenException",
                "Missing Authentication Token",
            ),
            _ => query_error(
                service,
                403,
                "MissingAuthenticationToken",
                "Request is missing Authentication Token",
            ),
        });
    };
    let has_session =
        request.header("x-amz-security-token").is_some() || request.query("X-Amz-Security-Token").is_some();
    let found = world.caller(&scope.access_key);
    // A temporary key without its session token is as good as no key.
    match found.filter(|_| has_session || !scope.access_key.starts_with("ASIA")) {
        None => Err(invalid_key(service)),
        Some((_, identity)) if identity.expired => Err(expired(service)),
        Some((account, identity)) => Ok(Caller {
            account,
            identity: identity.clone(),
            region: scope.region.clone(),
        }),
    }
}

fn invalid_key(service: Aws) -> Reply {
    const TEXT: &str = "The security token included in the request is invalid.";
    match service {
        Aws::Eks => json_error(403, "UnrecognizedClientException", TEXT),
        Aws::Quotas | Aws::Kms => amz_json_error(400, "UnrecognizedClientException", TEXT),
        _ => query_error(service, 403, "InvalidClientTokenId", TEXT),
    }
}

fn expired(service: Aws) -> Reply {
    const TEXT: &str = "The security token included in the request is expired";
    match service {
        Aws::Eks => json_error(403, "ExpiredTokenException", TEXT),
        Aws::Quotas | Aws::Kms => amz_json_error(400, "ExpiredTokenException", TEXT),
        _ => query_error(service, 403, "ExpiredToken", TEXT),
    }
}

fn access_denied(service: Aws, message: &str) -> Reply {
    match service {
        Aws::Eks => json_error(403, "AccessDeniedException", message),
        Aws::Quotas | Aws::Kms => amz_json_error(400, "AccessDeniedException", message),
        _ => query_error(service, 403, "AccessDenied", message),
    }
}

/// How each service says that it is asked too often.
pub(crate) fn throttled(service: Aws) -> Reply {
    match service {
        Aws::Eks => json_error(429, "TooManyRequestsException", "Too Many Requests"),
        Aws::Quotas | Aws::Kms => amz_json_error(400, "TooManyRequestsException", "Rate exceeded"),
        _ => query_error(service, 400, "Throttling", "Rate exceeded"),
    }
}

/// How each service says that it is broken (500) or not there (503).
pub(crate) fn broken(service: Aws, status: u16) -> Reply {
    let unavailable = status == 503;
    match service {
        Aws::Eks if unavailable => json_error(503, "ServiceUnavailableException", "Service Unavailable"),
        Aws::Eks => json_error(status, "ServerException", "Internal Server Error"),
        Aws::Quotas | Aws::Kms => amz_json_error(status, "ServiceException", "Internal Server Error"),
        _ if unavailable => query_error(service, 503, "ServiceUnavailable", "Service Unavailable"),
        _ => query_error(service, status, "InternalFailure", "Internal Failure"),
    }
}

/// The error body of the query protocol.
pub(crate) fn query_error(service: Aws, status: u16, code: &str, message: &str) -> Reply {
    let kind = if status >= 500 { "Receiver" } else { "Sender" };
    let body = format!(
        "<ErrorResponse xmlns=\"{}\">\n  <Error>\n    <Type>{kind}</Type>\n    <Code>{code}</Code>\n    \
         <Message>{}</Message>\n  </Error>\n  <RequestId>{REQUEST_ID}</RequestId>\n</ErrorResponse>\n",
        namespace(service),
        escape(message),
    );
    xml(status, body)
}

/// The answer of the query protocol: `<NameResponse><NameResult>...`.
pub(crate) fn query_result(service: Aws, name: &str, result: &str) -> Reply {
    let result = if result.is_empty() {
        format!("<{name}Result/>")
    } else {
        format!("<{name}Result>{result}</{name}Result>")
    };
    let body = format!(
        "<{name}Response xmlns=\"{}\">{result}<ResponseMetadata><RequestId>{REQUEST_ID}</RequestId>\
         </ResponseMetadata></{name}Response>",
        namespace(service),
    );
    xml(200, body)
}

/// No operation of this name.
fn unknown_operation(service: Aws, name: &str) -> Reply {
    let version = if service == Aws::Sts {
        "2011-06-15"
    } else {
        "2010-05-08"
    };
    query_error(
        service,
        400,
        "InvalidAction",
        &format!("Could not find operation {name} for version {version}"),
    )
}

/// The error body of AWS JSON 1.1, which names the error in `__type`.
pub(crate) fn amz_json_error(status: u16, code: &str, message: &str) -> Reply {
    let body = json!({ "__type": code, "Message": message });
    Reply::new(status, "application/x-amz-json-1.1", body.to_string()).with("x-amzn-requestid", REQUEST_ID)
}

/// The error body of REST-JSON, which names the error in a header.
pub(crate) fn json_error(status: u16, code: &str, message: &str) -> Reply {
    json_error_with(status, code, &json!({ "message": message }))
}

fn json_error_with(status: u16, code: &str, body: &Value) -> Reply {
    Reply::json(status, body)
        .with("x-amzn-errortype", code)
        .with("x-amzn-requestid", REQUEST_ID)
}

const REQUEST_ID: &str = "01234567-89ab-cdef-0123-456789abcdef";

fn xml(status: u16, body: String) -> Reply {
    Reply::new(status, "text/xml", body).with("x-amzn-requestid", REQUEST_ID)
}

fn namespace(service: Aws) -> &'static str {
    match service {
        Aws::Sts => "https://sts.amazonaws.com/doc/2011-06-15/",
        _ => "https://iam.amazonaws.com/doc/2010-05-08/",
    }
}

/// `<name>text</name>`
fn element(name: &str, text: &str) -> String {
    format!("<{name}>{}</{name}>", escape(text))
}

/// Text inside XML. Characters that XML 1.0 can't hold are left out, as AWS never stores them.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' => {}
            other => out.push(other),
        }
    }
    out
}

/// One page of a list: the entries, and the token of the next page. Tokens are opaque; a made-up one is refused by
/// the caller (`None`).
fn page<'a, T>(all: &'a [T], token: Option<&str>, size: usize) -> Option<(&'a [T], Option<String>)> {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::STANDARD;
    let start = match token {
        None => 0,
        Some(token) => {
            let text = String::from_utf8(engine.decode(token).ok()?).ok()?;
            text.strip_prefix("page:")?.parse::<usize>().ok()?
        }
    };
    let rest = all.get(start..)?;
    let (now, later) = rest.split_at(rest.len().min(size.max(1)));
    let next = (!later.is_empty()).then(|| engine.encode(format!("page:{}", start + now.len())));
    Some((now, next))
}
