//! What a run over many clusters shares: credentials are resolved once for each identity and role, what belongs to an account is read
//! once, and the requests to one account keep a pace.
//!
//! It goes by identity, not by account id: what one identity may read, another may not, and an answer of the one is no answer to the
//! other.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::retry::RetryConfig;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::sts::{self, AssumeRole, RoleSession};
use super::{Identity, Limits, Question, Session, resolved_credentials};
use crate::model::{Calls, Observed, Unknown, Why};

/// Sessions of roles end after an hour, STS's default; what is older than this is taken on anew.
const RENEWED_AFTER: Duration = Duration::from_secs(45 * 60);

/// A role that is taken on for everything that is read, AWS's side and the cluster's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TakenRole {
    /// Its ARN.
    pub(crate) arn: String,
    /// `RoleSessionName`
    pub(crate) session_name: String,
    /// `ExternalId`
    pub(crate) external_id: Option<String>,
    /// `Tags`
    pub(crate) tags: BTreeMap<String, String>,
}

impl TakenRole {
    /// Takes it on; without credentials, and with the reason, when that fails.
    pub(crate) async fn on(&self, session: Session) -> Session {
        match self.credentials(&session).await {
            Ok(credentials) => session.with_credentials(credentials),
            Err(unknown) => Session {
                credentials: Err(unknown),
                ..session
            },
        }
    }

    async fn credentials(&self, session: &Session) -> Result<Credentials, Unknown> {
        let assumed = sts::assume_role(
            session,
            AssumeRole {
                role: &self.arn,
                session_name: &self.session_name,
                external_id: self.external_id.as_deref(),
                seconds: None,
                tags: Some(&self.tags).filter(|tags| !tags.is_empty()),
            },
        )
        .await;
        match assumed.observed {
            Observed::Known(RoleSession { credentials, .. }) => Ok(credentials),
            Observed::Absent => Err(Unknown::new(
                Why::Unauthenticated,
                format!("the role {} does not exist", self.arn),
            )),
            Observed::Unknown(unknown) => Err(unknown),
        }
    }
}

/// The sessions of a run over many clusters.
#[derive(Debug, Clone)]
pub struct Sessions {
    all: Arc<Mutex<BTreeMap<Key, Arc<Who>>>>,
    started: Instant,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            all: Arc::default(),
            started: Instant::now(),
        }
    }
}

/// Whose, with which role, and how often they were renewed.
type Key = (Identity, Option<TakenRole>, u64);

#[derive(Debug, Default)]
struct Who {
    credentials: OnceCell<Result<Credentials, Unknown>>,
    regions: Mutex<BTreeMap<String, Arc<OnceCell<Session>>>>,
    shared: Shared,
}

impl Sessions {
    fn who(&self, identity: &Identity, role: Option<&TakenRole>) -> Arc<Who> {
        let renewed = self.started.elapsed().as_secs() / RENEWED_AFTER.as_secs();
        let key = (identity.clone(), role.cloned(), renewed);
        Arc::clone(locked(&self.all).entry(key).or_default())
    }

    /// As [`Session::open`], with what was resolved and read before.
    pub(crate) async fn open(
        &self,
        identity: &Identity,
        region: &str,
        http: &SharedHttpClient,
        limits: Limits,
        calls: &Calls,
    ) -> Session {
        let who = self.who(identity, None);
        let cell = Arc::clone(locked(&who.regions).entry(region.to_owned()).or_default());
        let limits_of_all = limits.restarted();
        let open = async || {
            let credentials = who
                .credentials
                .get_or_init(|| resolved_credentials(identity, region, http, limits_of_all))
                .await
                .clone();
            let session = Session::with(identity, region, http, limits_of_all, calls, credentials).await;
            Session {
                // An account with many clusters is asked often enough to be throttled.
                config: session
                    .config
                    .to_builder()
                    .retry_config(
                        RetryConfig::standard()
                            .with_max_attempts(5)
                            .with_initial_backoff(Duration::from_millis(300)),
                    )
                    .build(),
                shared: Some(who.shared.clone()),
                ..session
            }
        };
        Session {
            limits,
            calls: calls.clone(),
            ..cell.get_or_init(open).await.clone()
        }
    }

    /// The session of `identity` in a role, which is taken on once.
    pub(crate) async fn taken(&self, role: &TakenRole, identity: &Identity, session: Session) -> Session {
        let who = self.who(identity, Some(role));
        let first = session.restarted();
        let credentials = who.credentials.get_or_init(|| role.credentials(&first)).await;
        let session = match credentials {
            Ok(credentials) => session.with_credentials(credentials.clone()),
            Err(unknown) => Session {
                credentials: Err(unknown.clone()),
                ..session
            },
        };
        Session {
            shared: Some(who.shared.clone()),
            ..session
        }
    }
}

/// What one identity read of its account, and how fast it may read on.
#[derive(Debug, Clone, Default)]
pub(super) struct Shared {
    answers: Arc<Mutex<BTreeMap<String, Answer>>>,
    pace: Arc<Mutex<BTreeMap<String, Pace>>>,
}

/// An `OnceCell<Observed<T>>` of the question's own T.
type Answer = Arc<dyn Any + Send + Sync>;

impl Shared {
    /// The cell of a question whose answer is the account's.
    pub(super) fn cell<T: Send + Sync + 'static>(
        &self,
        question: &Question,
        session: &Session,
    ) -> Option<Arc<OnceCell<Observed<T>>>> {
        let place = place(question.service(), session.partition(), &session.region);
        let key = format!("{place} {}", question.shared_as()?);
        let mut answers = locked(&self.answers);
        let answer = answers
            .entry(key)
            .or_insert_with(|| Arc::new(OnceCell::<Observed<T>>::new()));
        Arc::clone(answer).downcast().ok()
    }

    /// Waits until it is this request's turn.
    pub(super) async fn pace(&self, question: &Question, region: &str) {
        let service = question.service();
        let key = format!("{service} {}", place(service, "", region));
        let wait = locked(&self.pace)
            .entry(key)
            .or_insert_with(|| Pace::of(service, Instant::now()))
            .turn(Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

/// Where a service's answers hold: IAM is one endpoint a partition, and a caller is the same everywhere in it.
fn place<'a>(service: &str, partition: &'a str, region: &'a str) -> &'a str {
    match service {
        "iam" | "sts" => partition,
        _ => region,
    }
}

/// How fast one service of an account is asked: a bucket of `most` requests that fills again with `rate` requests a second.
#[derive(Debug)]
struct Pace {
    rate: f64,
    most: f64,
    left: f64,
    at: Instant,
}

impl Pace {
    /// AWS throttles each account by such buckets and publishes the size of one: STS, 600 requests a second (IAM user guide, "IAM and
    /// STS quotas"). The others are a fraction of what accounts are seen to take, so that others who ask the same account still get
    /// through.
    fn of(service: &str, now: Instant) -> Self {
        let (rate, most) = match service {
            "sts" => (100.0, 200.0),
            "servicequotas" => (5.0, 10.0),
            _ => (20.0, 100.0),
        };
        Self {
            rate,
            most,
            left: most,
            at: now,
        }
    }

    /// Takes a turn: how long it is until then.
    fn turn(&mut self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * self.rate).min(self.most) - 1.0;
        self.at = now;
        match self.left < 0.0 {
            true => Duration::from_secs_f64(-self.left / self.rate),
            false => Duration::ZERO,
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_lets_a_burst_through_and_then_its_rate() {
        let start = Instant::now();
        let mut pace = Pace::of("iam", start);
        let waits: Vec<Duration> = (0..140).map(|_| pace.turn(start)).collect();
        assert!(waits[..100].iter().all(Duration::is_zero));
        assert_eq!(waits[100], Duration::from_millis(50));
        assert_eq!(waits[139], Duration::from_secs(2));
        // Two seconds pay for what was taken in advance, five more fill the bucket and no more.
        assert_eq!(
            pace.turn(start + Duration::from_secs(2)),
            Duration::from_millis(50)
        );
        let later = start + Duration::from_secs(1000);
        let free = (0..200).filter(|_| pace.turn(later).is_zero()).count();
        assert_eq!(free, 100);
    }
}
