//! The only way to read from AWS: [`Session::ask`] for one thing, [`Session::list`] for all pages of a list.
//!
//! They own the bounds of time and size, the record of the call, the permission that lifts a denial, and completeness: *absent*
//! comes only from the service's own whole "not found", *empty* only from a list whose field is there to its last page. The SDK
//! reads a missing field, an empty body and a document that was cut off as "nothing there", so what came over the wire is looked at
//! itself.

use std::cell::RefCell;
use std::error::Error as StdError;
use std::rc::Rc;

use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use futures_util::stream::{self, StreamExt as _};
use serde_json::Value;

use super::pages::Pages;
use super::{Failure, Session, failure};
use crate::model::{Fact, Grant, Observed, Unknown, Why};

/// Something to ask a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The call as a person would write it: `iam:GetRole demo-node`.
    pub call: String,
    /// The permission it needs.
    pub grant: Grant,
    /// What tells it from others about the same account, where the answer is the same for every cluster of that account.
    shared_as: Option<String>,
}

impl Question {
    /// `action` on `resource` (an ARN pattern, or `*`); `subject` says in the call what it is about.
    pub fn new(action: &str, subject: &str, resource: impl Into<String>) -> Self {
        Self {
            call: format!("{action} {subject}").trim_end().to_owned(),
            grant: Grant::Iam {
                action: action.to_owned(),
                resource: resource.into(),
            },
            shared_as: None,
        }
    }

    /// The answer is the same for every cluster of the account (and region, where the service has regions): a run over many
    /// clusters asks once. `more` is what else the answer depends on, beside the call and the resource of its permission.
    #[must_use]
    pub fn of_account(mut self, more: &str) -> Self {
        let resource = match &self.grant {
            Grant::Iam { resource, .. } => resource.as_str(),
            Grant::Rbac { .. } => "",
        };
        self.shared_as = Some([self.call.as_str(), resource, more].join(" "));
        self
    }

    /// What an answer that is shared is found again by.
    pub(super) fn shared_as(&self) -> Option<&str> {
        self.shared_as.as_deref()
    }

    /// The service: `iam`.
    pub(super) fn service(&self) -> &str {
        self.call.split(':').next().unwrap_or_default()
    }

    fn malformed(&self, what: &str) -> Unknown {
        Unknown::new(Why::Malformed, format!("the answer to {} {what}", self.call))
    }
}

/// One page of a list: its items, and the token of the next page.
pub type Page<T> = (Vec<T>, Option<String>);

impl Session {
    /// Asks for one thing. `required` are the fields that every whole answer has, as `Role.Arn` (of the `...Result` element where
    /// the service speaks XML), with `[]` at the end where it must be a list. `take` makes the value; its error goes on after
    /// "the answer to CALL".
    pub async fn ask<O, E, T, Sent>(
        &self,
        question: &Question,
        required: &[&str],
        send: impl FnOnce() -> Sent,
        take: impl FnOnce(O) -> Result<T, String>,
    ) -> Fact<T>
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
        T: Clone + Send + Sync + 'static,
        Sent: Future<Output = Result<O, SdkError<E, Response>>>,
    {
        let read = async |session: &Self| match session.send(question, required, send).await {
            Ok(answer) => match take(answer) {
                Ok(value) => Observed::Known(value),
                Err(what) => Observed::Unknown(question.malformed(&what)),
            },
            Err(failure) => failure.observed(),
        };
        let observed = self.once(question, read).await;
        self.record(question, &observed, || "found".to_owned());
        Fact::new(question.call.clone(), observed)
    }

    /// Reads a list to its last page. `field` is the list's field, as in [`Session::ask`] without the `[]`; `page` asks for the page
    /// of a token. Absent: the service says that what the list belongs to is not there.
    pub async fn list<O, E, T, Sent>(
        &self,
        question: &Question,
        field: &str,
        page: impl Fn(Option<String>) -> Sent,
        take: impl Fn(O) -> Result<Page<T>, String>,
    ) -> Fact<Vec<T>>
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
        T: Clone + Send + Sync + 'static,
        Sent: Future<Output = Result<O, SdkError<E, Response>>>,
    {
        let required = format!("{field}[]");
        let read = async |session: &Self| {
            let mut all = Vec::new();
            let mut pages = Pages::default();
            loop {
                let token = pages.token().map(str::to_owned);
                let (items, next) = match session.send(question, &[&required], || page(token)).await {
                    Ok(answer) => match take(answer) {
                        Ok(page) => page,
                        Err(what) => break Observed::Unknown(question.malformed(&what)),
                    },
                    Err(failure) if pages.is_first() => break failure.observed(),
                    // What the list belongs to was there a page ago.
                    Err(failure) => break Observed::Unknown(failure.unknown),
                };
                all.extend(items);
                match pages.turn(next, &question.call) {
                    Ok(true) => {}
                    Ok(false) => break Observed::Known(all),
                    Err(unknown) => break Observed::Unknown(unknown),
                }
            }
        };
        let observed = self.once(question, read).await;
        self.record(question, &observed, || {
            format!("{} items", observed.known().map_or(0, Vec::len))
        });
        Fact::new(question.call.clone(), observed)
    }

    /// What `read` observes; where the answer is shared, what it observed for whoever asked first.
    async fn once<T: Clone + Send + Sync + 'static>(
        &self,
        question: &Question,
        read: impl AsyncFnOnce(&Self) -> Observed<T>,
    ) -> Observed<T> {
        let cell = self
            .shared
            .as_ref()
            .and_then(|shared| shared.cell(question, self));
        let Some(cell) = cell else { return read(self).await };
        let first = async || {
            // The time that one cluster has left must not decide for the others.
            read(&self.restarted()).await
        };
        cell.get_or_init(first).await.clone()
    }

    /// Without credentials nothing is sent, and there is no call to write down.
    fn record<T>(&self, question: &Question, observed: &Observed<T>, found: impl FnOnce() -> String) {
        if self.credentials.is_ok() {
            let answer = match observed {
                Observed::Known(_) => found(),
                Observed::Absent => "absent".to_owned(),
                Observed::Unknown(unknown) => unknown.to_string(),
            };
            self.calls.record(&question.call, answer);
        }
    }

    /// Sends one request, and takes its answer only when it is whole. [`crate::spot_role`] writes with it, too.
    pub(crate) async fn send<O, E, Sent>(
        &self,
        question: &Question,
        required: &[&str],
        send: impl FnOnce() -> Sent,
    ) -> Result<O, Failure>
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
        Sent: Future<Output = Result<O, SdkError<E, Response>>>,
    {
        if let Err(unknown) = &self.credentials {
            return Err(Failure::from(unknown.clone()));
        }
        if let Some(shared) = &self.shared {
            shared.pace(question, &self.region).await;
        }
        let kept = Kept::default();
        // The SDK's futures are some ten KiB each, and many of them run at once.
        let work = Box::pin(KEPT.scope(kept.clone(), send()));
        let answer = self
            .limits
            .run(&question.grant.action(), work)
            .await
            .map_err(Failure::from)?;
        let body = kept.0.take().unwrap_or_default();
        match answer {
            Ok(answer) => match incomplete(&body, required) {
                None => Ok(answer),
                Some(what) => Err(Failure::from(question.malformed(&what))),
            },
            Err(error) => {
                let mut failure = failure(&error, question.grant.clone(), self.limits.request);
                // Half of a "not found" may be the half of something else.
                if failure.is_not_found()
                    && let Some(what) = incomplete(&body, &[])
                {
                    failure = Failure::from(question.malformed(&what));
                }
                if failure.unknown.why == Why::Unauthenticated {
                    failure.unknown = failure.unknown.of_credentials(self.identity.source().await);
                }
                Err(failure)
            }
        }
    }
}

/// How many of a list are described at a time: EKS's and IAM's read rates are shared by the whole account.
const AT_ONCE: usize = 16;

/// What a list of names tells only when each is asked about. One that cannot be read makes the whole unknown, one that is gone
/// too: what it was could be what decides.
pub async fn describe_each<T, Described>(
    listed: Fact<Vec<String>>,
    describe: impl Fn(String) -> Described,
) -> Fact<Vec<T>>
where
    Described: Future<Output = Fact<T>>,
{
    let names = match listed.observed {
        Observed::Known(names) => names,
        Observed::Absent => return Fact::new(listed.call, Observed::Absent),
        Observed::Unknown(unknown) => return Fact::new(listed.call, Observed::Unknown(unknown)),
    };
    let mut answers = stream::iter(names).map(describe).buffered(AT_ONCE);
    let mut all = Vec::new();
    while let Some(Fact { call, observed }) = answers.next().await {
        match observed {
            Observed::Known(one) => all.push(one),
            Observed::Absent => {
                let detail = format!("{} named it, and {call} did not find it: read again", listed.call);
                return Fact::new(call, Observed::Unknown(Unknown::new(Why::Incomplete, detail)));
            }
            Observed::Unknown(unknown) => return Fact::new(call, Observed::Unknown(unknown)),
        }
    }
    Fact::new(listed.call, Observed::Known(all))
}

/// The body of the last answer, kept by the HTTP client (see [`super::http`]) for whoever asked.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept(Rc<RefCell<Option<Vec<u8>>>>);

tokio::task_local! {
    static KEPT: Kept;
}

/// Keeps the body of an answer; outside of [`Session::send`] nobody looks at it.
pub(super) fn keep(body: &[u8]) {
    let _ = KEPT.try_with(|kept| kept.0.replace(Some(body.to_vec())));
}

/// What is missing in an answer, to go on after "the answer to CALL"; none: it is whole.
fn incomplete(body: &[u8], required: &[&str]) -> Option<String> {
    let text = match std::str::from_utf8(body) {
        Ok(text) => text.trim(),
        Err(_) => return Some("is not text".to_owned()),
    };
    let missing = |there: &dyn Fn(&str, bool) -> bool| {
        let missing = required.iter().find(|field| {
            let (path, list) = match field.strip_suffix("[]") {
                Some(path) => (path, true),
                None => (**field, false),
            };
            !there(path, list)
        });
        missing.map(|field| format!("has no {}", field.trim_end_matches("[]")))
    };
    match text.as_bytes().first() {
        None => Some("is empty".to_owned()),
        Some(b'<') => match elements(text) {
            Some(paths) => missing(&|path, _| paths.iter().any(|found| found == path)),
            None => Some("is not whole XML".to_owned()),
        },
        _ => match serde_json::from_str::<Value>(text) {
            Ok(value) if value.is_object() => missing(&|path, list| {
                let found = path.split('.').try_fold(&value, |value, key| value.get(key));
                found.is_some_and(|found| if list { found.is_array() } else { !found.is_null() })
            }),
            _ => Some("is not whole JSON".to_owned()),
        },
    }
}

/// The elements below `<XResponse><XResult>`, as `Role.Arn`. None: the document is not well-formed.
fn elements(text: &str) -> Option<Vec<String>> {
    use xmlparser::{ElementEnd, Token, Tokenizer};
    let mut open: Vec<&str> = Vec::new();
    let mut paths = Vec::new();
    let mut roots = 0;
    for token in Tokenizer::from(text) {
        match token.ok()? {
            Token::ElementStart { local, .. } => {
                roots += usize::from(open.is_empty());
                open.push(local.as_str());
                if let Some(below @ [_, ..]) = open.get(2..) {
                    paths.push(below.join("."));
                }
            }
            Token::ElementEnd { end, .. } => match end {
                ElementEnd::Open => {}
                ElementEnd::Empty => drop(open.pop()?),
                ElementEnd::Close(_, local) => {
                    if open.pop()? != local.as_str() {
                        return None;
                    }
                }
            },
            _ => {}
        }
    }
    (open.is_empty() && roots == 1).then_some(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let role = "<GetRoleResponse xmlns='x'><GetRoleResult><Role><Arn>a</Arn><Tags/></Role></GetRoleResult></GetRoleResponse>";
        let cut = &role[..role.len() - 20];
        let rows: &[(&str, &[&str], Option<&str>)] = &[
            ("", &[], Some("is empty")),
            (" \n", &[], Some("is empty")),
            ("{}", &[], None),
            ("{}", &["items[]"], Some("has no items")),
            (r#"{"items":null}"#, &["items[]"], Some("has no items")),
            (r#"{"items":{}}"#, &["items[]"], Some("has no items")),
            (r#"{"items":[]}"#, &["items[]"], None),
            (r#"{"a":{"b":1}}"#, &["a.b"], None),
            (r#"{"a":{"b":null}}"#, &["a.b"], Some("has no a.b")),
            (r#"{"items":["#, &[], Some("is not whole JSON")),
            ("[]", &[], Some("is not whole JSON")),
            ("busy", &[], Some("is not whole JSON")),
            (role, &["Role.Arn", "Role.Tags[]"], None),
            (role, &["Role.RoleId"], Some("has no Role.RoleId")),
            (role, &["Arn"], Some("has no Arn")),
            (cut, &["Role.Arn"], Some("is not whole XML")),
            ("<a><b></a></b>", &[], Some("is not whole XML")),
            ("<a/><b/>", &[], Some("is not whole XML")),
            ("<html><body><p>hello", &[], Some("is not whole XML")),
        ];
        for (body, required, says) in rows {
            assert_eq!(incomplete(body.as_bytes(), required).as_deref(), *says, "{body}");
        }
        assert_eq!(incomplete(b"\xff", &[]).as_deref(), Some("is not text"));
    }
}
