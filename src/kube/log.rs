//! The log of a container: text, and not JSON as everything else is.

use http::{Method, Request};
use http_body_util::BodyExt as _;
use kube::client::Body;

use super::{Api, Refusal, Resource, not_sent, read};
use crate::model::{Grant, Unknown, Why};

impl Api {
    /// The last lines of a container's log, `None` where there is none: a container that has not started, a Pod that is gone.
    /// `query` chooses them; what is longer than `most` bytes is cut.
    ///
    /// # Errors
    /// Why it could not be read.
    pub(crate) async fn log(
        &self,
        pods: &Resource<'_>,
        pod: &str,
        query: &str,
        most: usize,
        grant: &Grant,
    ) -> Result<Option<String>, Unknown> {
        let unusable = |error: String| Refusal::Unknown(Unknown::new(Why::Unusable, error));
        let work = async {
            let request = Request::builder()
                .method(Method::GET)
                .uri(format!("{}/log?{query}", pods.path(Some(pod))))
                .body(Body::empty())
                .map_err(|error| unusable(error.to_string()))?;
            let response = self
                .client
                .send(request)
                .await
                .map_err(|error| Refusal::Unknown(not_sent(&error, grant)))?;
            let status = response.status();
            let mut body = response.into_body();
            let mut bytes = Vec::new();
            while bytes.len() < most {
                match body.frame().await {
                    None => break,
                    Some(Ok(frame)) => bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
                    Some(Err(error)) => {
                        return Err(unusable(format!("{} broke off: {error}", grant.action())));
                    }
                }
            }
            bytes.truncate(most);
            match status.is_success() {
                true => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
                // There is no such container, or none before it.
                false if status == http::StatusCode::BAD_REQUEST => Ok(None),
                false => match read(status, false, &bytes, grant) {
                    Err(refusal) => Err(refusal),
                    Ok(_) => Err(unusable(format!("{}: HTTP {}", grant.action(), status.as_u16()))),
                },
            }
        };
        match self.limits.run(&grant.action(), Box::pin(work)).await? {
            Ok(text) => Ok(text),
            Err(Refusal::Unknown(unknown)) => Err(unknown),
            Err(Refusal::NotFound(_) | Refusal::NotServed | Refusal::Gone) => Ok(None),
        }
    }
}
