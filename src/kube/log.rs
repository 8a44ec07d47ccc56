//! The log of a container: text, and not JSON as everything else is.

use http::{Method, Request};
use http_body_util::BodyExt as _;
use kube::client::Body;

use super::{Api, Refusal, not_sent, read};
use crate::model::{Grant, Unknown, Why};

impl Api {
    /// The last lines of a container's log; what is longer than `most` bytes is cut.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub(crate) async fn log(&self, path: &str, most: usize, grant: &Grant) -> Result<String, Refusal> {
        let unusable = |error: String| Refusal::Unknown(Unknown::new(Why::Unusable, error));
        let request = Request::builder()
            .method(Method::GET)
            .uri(path)
            .body(Body::empty())
            .map_err(|error| unusable(error.to_string()))?;
        let answer = async {
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
            if status.is_success() {
                return Ok(String::from_utf8_lossy(&bytes).into_owned());
            }
            match read(status, false, &bytes, grant) {
                Err(refusal) => Err(refusal),
                Ok(_) => Err(unusable(format!("{}: HTTP {}", grant.action(), status.as_u16()))),
            }
        };
        match tokio::time::timeout(self.timeout, answer).await {
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
}
