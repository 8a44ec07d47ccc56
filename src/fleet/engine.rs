//! Judging many clusters in one process: a bounded number at a time, each as a preflight of its own, with what belongs to an account
//! read once ([`Sessions`]). Nothing is ever asked of a person or created here.

use std::collections::HashMap;
use std::future::Future;

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use futures_util::stream::{self, StreamExt as _};
use kube::config::Kubeconfig;

use super::inventory::{Entry, Problem, ProblemKind};
use crate::aws::{Limits, Sessions, TakenRole};
use crate::cluster::resolve::{Request, Resolved};
use crate::cluster::{self, TargetError, kubeconfig};
use crate::facts::{self, Ask, Facts, Options};
use crate::model::Calls;
use crate::report::{self, Report, Selection, Unresolved};

/// `RoleSessionName` of the roles that are taken on: what CloudTrail shows.
pub const SESSION_NAME: &str = "capt-spot";

/// One cluster that was asked for.
#[derive(Debug, Clone)]
pub enum Asked {
    /// A context of the kubeconfig.
    Context {
        /// Its name.
        name: String,
        /// It with its cluster and user, and nothing of the others.
        kubeconfig: Box<Kubeconfig>,
        /// A context that is not EKS's was not meant (`--all-contexts`).
        any_kind: bool,
        /// What the inventory says that it leads to.
        entry: Option<Box<Entry>>,
    },
    /// A cluster of an inventory.
    Entry(Box<Entry>),
    /// Clusters that could not be listed.
    Unlisted(Problem),
}

impl Asked {
    /// The context of this name, without what a kubeconfig holds beside it: many contexts of one large file stay small.
    pub fn context(config: &Kubeconfig, name: &str, any_kind: bool) -> Self {
        let mut one = Kubeconfig {
            current_context: Some(name.to_owned()),
            ..Kubeconfig::default()
        };
        one.contexts = config
            .contexts
            .iter()
            .filter(|known| known.name == name)
            .cloned()
            .collect();
        let named = one.contexts.first().and_then(|known| known.context.as_ref());
        let (cluster, user) = match named {
            Some(context) => (context.cluster.as_str(), context.user.as_deref()),
            None => ("", None),
        };
        one.clusters = config
            .clusters
            .iter()
            .filter(|known| known.name == cluster)
            .cloned()
            .collect();
        one.auth_infos = config
            .auth_infos
            .iter()
            .filter(|known| Some(known.name.as_str()) == user)
            .cloned()
            .collect();
        Self::Context {
            name: name.to_owned(),
            kubeconfig: Box::new(one),
            any_kind,
            entry: None,
        }
    }

    /// The clusters of an inventory, and what it says that it could not list. An entry's own context is taken where `config` has it.
    pub fn of_inventory(
        entries: Vec<Entry>,
        problems: Vec<Problem>,
        config: Option<&Kubeconfig>,
    ) -> Vec<Self> {
        let entries = entries.into_iter().map(|entry| {
            let here = entry.context.as_deref().and_then(|name| {
                let config = config?;
                config
                    .contexts
                    .iter()
                    .any(|known| known.name == name)
                    .then(|| Self::context(config, name, false))
            });
            match here {
                Some(Self::Context {
                    name,
                    kubeconfig,
                    any_kind,
                    ..
                }) => Self::Context {
                    name,
                    kubeconfig,
                    any_kind,
                    entry: Some(Box::new(entry)),
                },
                _ => Self::Entry(Box::new(entry)),
            }
        });
        let unlisted = problems
            .into_iter()
            .filter(|problem| problem.kind == ProblemKind::Unread)
            .map(Self::Unlisted);
        entries.chain(unlisted).collect()
    }

    /// What is known of it before anything is read.
    pub fn unresolved(&self) -> Unresolved {
        let of_entry = |entry: &Entry, context: String| Unresolved {
            context,
            cluster: Some(entry.name.clone()),
            region: Some(entry.region.clone()),
            account: entry.account.clone(),
        };
        match self {
            Self::Context {
                name,
                entry: Some(entry),
                ..
            } => of_entry(entry, name.clone()),
            Self::Context { name, .. } => Unresolved {
                context: name.clone(),
                ..Unresolved::default()
            },
            Self::Entry(entry) => of_entry(entry, entry.label()),
            Self::Unlisted(problem) => Unresolved {
                context: problem.subject.clone(),
                cluster: None,
                region: problem.region.clone(),
                account: problem.account.clone(),
            },
        }
    }

    /// Whose requests it adds to.
    fn account(&self) -> Option<&str> {
        match self {
            Self::Context { entry, .. } => entry.as_ref()?.account.as_deref(),
            Self::Entry(entry) => entry.account.as_deref(),
            Self::Unlisted(_) => None,
        }
    }
}

/// What became of one cluster.
#[derive(Debug)]
pub enum Outcome {
    /// It was judged.
    Judged(Box<(Facts, Report)>),
    /// It could not be judged at all, and why.
    NotJudged(String),
    /// It is not an EKS cluster, and nobody asked for it by name.
    NotMeant(String),
}

/// How every cluster is read and judged.
#[derive(Debug)]
pub struct Engine {
    /// The one HTTP client towards AWS.
    pub http: SharedHttpClient,
    /// The flags, as far as they are the same for every cluster.
    pub request: Request,
    /// `--request-timeout` and `--overall-timeout`; the latter is each cluster's own.
    pub limits: Limits,
    /// `--use-exec`
    pub use_exec: bool,
    /// What is asked of each.
    pub ask: Ask,
    /// Which checks.
    pub selection: Selection,
    /// What the clusters share.
    pub sessions: Sessions,
}

impl Engine {
    /// Reads and judges all of them, `parallel` at a time, and hands on each as soon as it is judged, with its place among `asked`.
    /// Ends early when `stop` does: with what `stop` says.
    pub async fn run<S>(
        &self,
        asked: &[Asked],
        parallel: usize,
        stop: impl Future<Output = S>,
        mut each: impl FnMut(usize, Outcome),
    ) -> Option<S> {
        let mut stop = std::pin::pin!(stop);
        let mut outcomes = stream::iter(interleaved(asked))
            .map(|place| async move {
                // Boxed: many run at once, and one is large.
                let outcome = Box::pin(self.one(&asked[place])).await;
                (place, outcome)
            })
            .buffer_unordered(parallel.max(1));
        loop {
            tokio::select! {
                biased;
                stopped = &mut stop => return Some(stopped),
                next = outcomes.next() => match next {
                    Some((place, outcome)) => each(place, outcome),
                    None => return None,
                },
            }
        }
    }

    async fn one(&self, asked: &Asked) -> Outcome {
        // The clock of one cluster starts when it is its turn.
        let options = Options {
            limits: self.limits.restarted(),
            use_exec: self.use_exec,
            sessions: Some(self.sessions.clone()),
        };
        let calls = Calls::default();
        let resolved = match asked {
            Asked::Unlisted(problem) => return Outcome::NotJudged(problem.reason.clone()),
            Asked::Entry(entry) => self.by_name(entry),
            Asked::Context {
                name,
                kubeconfig,
                any_kind,
                entry,
            } => {
                let request = Request {
                    loaded: Some((**kubeconfig).clone()),
                    context: Some(name.clone()),
                    ..self.request.clone()
                };
                let resolved = cluster::resolve(&request, &self.http, options.limits, &calls).await;
                match resolved {
                    Ok(resolved) => match entry.as_deref().and_then(|entry| another(&resolved, entry)) {
                        Some(why) => return Outcome::NotJudged(why),
                        None => resolved,
                    },
                    Err(error) if *any_kind && is_not_eks(kubeconfig, name, &error) => {
                        return Outcome::NotMeant(error.to_string());
                    }
                    Err(error) => return Outcome::NotJudged(error.to_string()),
                }
            }
        };
        let (facts, _) = facts::gather(&resolved, &self.ask, &self.http, &options, &calls).await;
        let report = report::judge(&facts, &self.selection);
        Outcome::Judged(Box::new((facts, report)))
    }

    fn by_name(&self, entry: &Entry) -> Resolved {
        let role = entry.role_arn.as_ref().map(|arn| TakenRole {
            arn: arn.clone(),
            session_name: SESSION_NAME.to_owned(),
            external_id: entry.external_id.clone(),
            tags: entry.session_tags.clone(),
        });
        Resolved::by_name(
            &entry.name,
            &entry.region,
            entry.account.as_deref(),
            role,
            &self.request,
        )
    }
}

/// The places, one of each account in turn: many clusters of one account, which is asked at its pace, then keep none of the others
/// waiting.
fn interleaved(asked: &[Asked]) -> Vec<usize> {
    let mut turns: HashMap<&str, usize> = HashMap::new();
    let mut places: Vec<(usize, usize)> = asked
        .iter()
        .enumerate()
        .map(|(place, one)| {
            let turn = match one.account() {
                Some(account) => {
                    let turn = turns.entry(account).or_default();
                    *turn += 1;
                    *turn
                }
                None => 0,
            };
            (turn, place)
        })
        .collect();
    places.sort_unstable();
    places.into_iter().map(|(_, place)| place).collect()
}

/// That a context leads elsewhere by now than the inventory says.
fn another(resolved: &Resolved, entry: &Entry) -> Option<String> {
    let target = &resolved.target;
    let account = target.account.as_ref().zip(entry.account.as_ref());
    let same = target.cluster == entry.name
        && target.region == entry.region
        && account.is_none_or(|(ours, theirs)| ours == theirs);
    (!same).then(|| {
        format!(
            "the context \"{}\" leads to the cluster {} in {}, and the inventory says {} in {}\n  fix: list the clusters again: kubectl capt-spot fleet list",
            target.context, target.cluster, target.region, entry.name, entry.region
        )
    })
}

fn is_not_eks(config: &Kubeconfig, name: &str, error: &TargetError) -> bool {
    match kubeconfig::context(config, Some(name)) {
        Ok(context) => {
            matches!(error, TargetError::NotEks { .. }) && cluster::clues::not_eks(&context).is_some()
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::inventory::Source;
    use super::*;

    #[test]
    fn accounts_take_turns() {
        let entry = |account: &str, name: &str| {
            let account = Some(account).filter(|account| !account.is_empty());
            Asked::Entry(Box::new(Entry::new(account, "eu-west-1", name, Source::Given)))
        };
        let asked = [
            entry("111122223333", "a"),
            entry("111122223333", "b"),
            entry("111122223333", "c"),
            entry("123456789012", "d"),
            entry("", "e"),
            entry("123456789012", "f"),
        ];
        assert_eq!(interleaved(&asked), [4, 0, 3, 1, 5, 2]);
    }
}
