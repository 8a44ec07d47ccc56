//! How long reading may take: each request, and the whole run.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::{Unknown, Why};

/// The bounds of time that every read keeps.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// `--request-timeout`
    pub request: Duration,
    /// The flag that sets it, where one does.
    flag: &'static str,
    overall: Duration,
    deadline: Instant,
}

impl Limits {
    /// The clock of the whole run starts now.
    pub fn start(request: Duration, overall: Duration) -> Self {
        let now = Instant::now();
        // A person may write a duration that no clock can add.
        let deadline = now
            .checked_add(overall)
            .unwrap_or_else(|| now + Duration::from_secs(86_400));
        Self {
            request,
            flag: " (--request-timeout)",
            overall,
            deadline,
        }
    }

    /// The clock anew: a person may think about a question for longer than reading may take.
    #[must_use]
    pub fn restarted(self) -> Self {
        Self {
            flag: self.flag,
            ..Self::start(self.request, self.overall)
        }
    }

    /// The same run with a shorter bound of one request, which no flag sets.
    pub fn with_request(self, request: Duration) -> Self {
        match request < self.request {
            true => Self {
                request,
                flag: "",
                ..self
            },
            false => self,
        }
    }

    /// `work` within the bound of one request; `what` names it in the reason.
    ///
    /// # Errors
    /// Neither was it done in time.
    pub async fn run<T>(&self, what: &str, work: impl Future<Output = T>) -> Result<T, Unknown> {
        let ends = Instant::now() + self.request.min(Duration::from_secs(86_400));
        let (ends, detail) = if ends <= self.deadline {
            (
                ends,
                format!(
                    "no answer to {what} within {} s{}",
                    self.request.as_secs_f32(),
                    self.flag
                ),
            )
        } else {
            (
                self.deadline,
                format!(
                    "{what} was not answered when the time for everything was up, {} s (--overall-timeout)",
                    self.overall.as_secs_f32()
                ),
            )
        };
        tokio::time::timeout_at(ends, work)
            .await
            .map_err(|_| Unknown::new(Why::TimedOut, detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_shorter_bound_ends_the_work_and_is_named() {
        let millis = Duration::from_millis;
        for (request, overall, shorter, named) in [
            (1, 60_000, None, "within 0.001 s (--request-timeout)"),
            (60_000, 1, None, "0.001 s (--overall-timeout)"),
            (60_000, 0, None, "0 s (--overall-timeout)"),
            (60_000, 60_000, Some(1), "within 0.001 s"),
            (1, 60_000, Some(60_000), "within 0.001 s (--request-timeout)"),
        ] {
            let mut limits = Limits::start(millis(request), millis(overall));
            if let Some(shorter) = shorter {
                limits = limits.with_request(millis(shorter));
            }
            let unknown = limits
                .run("x", std::future::pending::<()>())
                .await
                .expect_err("it never ends");
            assert!(unknown.detail.ends_with(named), "{unknown}");
            assert_eq!(unknown.why, Why::TimedOut);
        }
    }
}
