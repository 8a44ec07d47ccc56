//! Which clusters there are: in a kubeconfig, in the accounts of an organization, on a Cluster API management cluster. What could not
//! be listed is part of the answer.

use std::collections::BTreeMap;

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use futures_util::future;
use futures_util::stream::{self, StreamExt as _};
use iam_policy::arn::Partition;
use kube::config::Kubeconfig;
use serde_json::Value;

use super::engine::{Asked, SESSION_NAME};
use super::inventory::{Entry, Problem, ProblemKind, Source};
use crate::aws::organizations::{self, MemberAccount};
use crate::aws::{Identity, Limits, Session, Sessions, TakenRole, eks, sts};
use crate::cluster::clues::{self, About, Flags};
use crate::cluster::resolve::Request;
use crate::cluster::{self, TargetError, kubeconfig};
use crate::facts::management;
use crate::kube::Api;
use crate::model::{Calls, Clue, Fact, Observed, Unknown};

/// What was found, and what was not.
#[derive(Debug, Default)]
pub struct Found {
    /// The clusters.
    pub clusters: Vec<Entry>,
    /// What could not be listed.
    pub problems: Vec<Problem>,
}

impl Found {
    fn add(&mut self, other: Self) {
        self.clusters.extend(other.clusters);
        self.problems.extend(other.problems);
    }
}

/// How it is asked.
#[derive(Debug)]
pub struct Lister {
    /// The one HTTP client towards AWS.
    pub http: SharedHttpClient,
    /// The flags.
    pub request: Request,
    /// The bounds of time of one account or context.
    pub limits: Limits,
    /// How many accounts or contexts are asked at a time.
    pub parallel: usize,
    /// What they share.
    pub sessions: Sessions,
    /// Every call.
    pub calls: Calls,
}

/// How accounts are entered and looked through.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// The role to take on in every account but the caller's own.
    pub role_name: Option<String>,
    /// The external id for it.
    pub external_id: Option<String>,
    /// The session tags for it.
    pub session_tags: BTreeMap<String, String>,
    /// Only these regions; empty: those that the account has switched on.
    pub regions: Vec<String>,
    /// Where the accounts are from.
    pub source: Source,
}

impl Lister {
    fn identity(&self) -> Identity {
        Identity {
            profile_flag: self.request.flags.profile.clone(),
            ..Identity::default()
        }
    }

    /// The session of the person's own credentials.
    pub async fn own_session(&self, region: &str) -> Session {
        self.sessions
            .open(
                &self.identity(),
                region,
                &self.http,
                self.limits.restarted(),
                &self.calls,
            )
            .await
    }

    /// The accounts of the organization.
    ///
    /// # Errors
    /// Why they could not be listed.
    pub async fn organization(&self, region: &str) -> Result<Vec<MemberAccount>, Unknown> {
        let session = self.own_session(region).await;
        match organizations::list_accounts(&session).await.observed {
            Observed::Known(accounts) => Ok(accounts),
            Observed::Absent => Ok(Vec::new()),
            Observed::Unknown(unknown) => Err(unknown),
        }
    }

    /// The clusters of these accounts, a bounded number of accounts at a time. `region` is where the regions are asked for.
    pub async fn accounts(&self, accounts: Vec<MemberAccount>, search: &Search, region: &str) -> Found {
        let own = sts::caller(&self.own_session(region).await).await;
        let own = own.known().map(|caller| caller.account.clone());
        let mut all = stream::iter(accounts)
            .map(|account| Box::pin(self.account(account, search, region, own.as_deref())))
            .buffered(self.parallel.max(1));
        let mut found = Found::default();
        while let Some(of_account) = all.next().await {
            found.add(of_account);
        }
        found
    }

    async fn account(
        &self,
        account: MemberAccount,
        search: &Search,
        region: &str,
        own: Option<&str>,
    ) -> Found {
        let name = match account.name.as_str() {
            "" => account.id.clone(),
            name => format!("{} ({name})", account.id),
        };
        let problem = |kind, place: &str, reason: String| Problem {
            account: Some(account.id.clone()),
            ..Problem::new(kind, format!("account {name}{place}"), reason, search.source)
        };
        let one = |problem| Found {
            clusters: Vec::new(),
            problems: vec![problem],
        };
        if account.state != "ACTIVE" {
            let state = account.state.to_lowercase().replace('_', " ");
            return one(problem(
                ProblemKind::Suspended,
                "",
                format!("the account is {state}"),
            ));
        }
        let here = own == Some(account.id.as_str());
        let role = match (&search.role_name, here) {
            (_, true) => None,
            (Some(role), false) => Some(TakenRole {
                arn: format!(
                    "arn:{}:iam::{}:role/{role}",
                    Partition::of_region(region),
                    account.id
                ),
                session_name: SESSION_NAME.to_owned(),
                external_id: search.external_id.clone(),
                tags: search.session_tags.clone(),
            }),
            (None, false) => {
                return one(problem(
                    ProblemKind::Unread,
                    "",
                    "no role is named to take on in it\n  fix: name one with --role-name".to_owned(),
                ));
            }
        };
        let limits = self.limits.restarted();
        let session = async |region: &str| {
            let identity = self.identity();
            let session = self
                .sessions
                .open(&identity, region, &self.http, limits, &self.calls)
                .await;
            match &role {
                Some(role) => self.sessions.taken(role, &identity, session).await,
                None => session,
            }
        };
        let first = session(region).await;
        if let Err(unknown) = &first.credentials {
            return one(problem(ProblemKind::Unread, "", unknown.to_string()));
        }
        let regions = match search.regions.is_empty() {
            false => search.regions.clone(),
            true => match organizations::regions(&first).await.observed {
                Observed::Known(regions) => regions,
                Observed::Absent => Vec::new(),
                Observed::Unknown(unknown) => {
                    return one(problem(
                        ProblemKind::Unread,
                        "",
                        format!(
                            "which regions it has switched on could not be read: {unknown}\n  fix: name them with --regions"
                        ),
                    ));
                }
            },
        };
        let session = &session;
        let lists = regions.iter().map(|region| async move {
            let listed = eks::list_clusters(&session(region).await).await;
            (region, listed)
        });
        let mut found = Found::default();
        for (region, listed) in future::join_all(lists).await {
            match listed.observed {
                Observed::Known(mut names) => {
                    names.sort_unstable();
                    found.clusters.extend(names.iter().map(|name| Entry {
                        role_arn: role.as_ref().map(|role| role.arn.clone()),
                        external_id: role.as_ref().and_then(|role| role.external_id.clone()),
                        session_tags: role.as_ref().map(|role| role.tags.clone()).unwrap_or_default(),
                        ..Entry::new(Some(&account.id), region, name, search.source)
                    }));
                }
                Observed::Absent => {}
                Observed::Unknown(unknown) => found.problems.push(Problem {
                    region: Some(region.clone()),
                    ..problem(
                        ProblemKind::Unread,
                        &format!(" in {region}"),
                        format!("its clusters could not be listed: {unknown}"),
                    )
                }),
            }
        }
        found
    }

    /// The EKS clusters that the contexts of a kubeconfig lead to. `file` is what the entries say about where they are from.
    pub async fn contexts(&self, config: &Kubeconfig, names: &[String], file: Option<&str>) -> Found {
        let mut all = stream::iter(names)
            .map(|name| Box::pin(self.context(config, name, file)))
            .buffered(self.parallel.max(1));
        let mut found = Found::default();
        while let Some(of_context) = all.next().await {
            found.add(of_context);
        }
        found
    }

    async fn context(&self, config: &Kubeconfig, name: &str, file: Option<&str>) -> Found {
        let mut found = Found::default();
        let Asked::Context { kubeconfig: own, .. } = Asked::context(config, name, false) else {
            return found;
        };
        let request = Request {
            loaded: Some(*own),
            context: Some(name.to_owned()),
            ..self.request.clone()
        };
        let limits = self.limits.restarted();
        let resolved = match cluster::resolve(&request, &self.http, limits, &self.calls).await {
            Ok(resolved) => resolved,
            Err(error) => {
                let kind = match error {
                    TargetError::NotEks { .. } => ProblemKind::NotEks,
                    _ => ProblemKind::Unread,
                };
                found.problems.push(Problem {
                    context: Some(name.to_owned()),
                    ..Problem::new(
                        kind,
                        format!("context {name}"),
                        error.to_string(),
                        Source::Kubeconfig,
                    )
                });
                return found;
            }
        };
        let target = &resolved.target;
        let account = match &target.account {
            Some(account) => Some(account.clone()),
            None => {
                let session = self
                    .sessions
                    .open(
                        &resolved.identity,
                        &target.region,
                        &self.http,
                        limits,
                        &self.calls,
                    )
                    .await;
                account_of(&session, &target.cluster).await
            }
        };
        found.clusters.push(Entry {
            context: Some(name.to_owned()),
            kubeconfig: file.map(str::to_owned),
            ..Entry::new(
                account.as_deref(),
                &target.region,
                &target.cluster,
                Source::Kubeconfig,
            )
        });
        found
    }

    /// The EKS clusters of a Cluster API management cluster, all namespaces or one.
    ///
    /// # Errors
    /// Why its Clusters could not be listed.
    pub async fn cluster_api(&self, api: &Api, namespace: Option<&str>) -> Result<Found, String> {
        let (clusters, capt, capa) = futures_util::join!(
            management::clusters(api, namespace),
            management::control_planes(api, namespace),
            management::capa_control_planes(api, namespace),
        );
        let clusters = match clusters.observed {
            Observed::Known(clusters) => clusters,
            Observed::Absent => return Err("it does not serve Cluster API's Clusters".to_owned()),
            Observed::Unknown(unknown) => return Err(unknown.to_string()),
        };
        let mut all = stream::iter(&clusters)
            .map(|cluster| Box::pin(self.of_cluster_api(api, cluster, &capt, &capa)))
            .buffered(self.parallel.max(1));
        let mut found = Found::default();
        while let Some(one) = all.next().await {
            found.add(one);
        }
        Ok(found)
    }

    async fn of_cluster_api(
        &self,
        api: &Api,
        cluster: &Value,
        capt: &Fact<Vec<Value>>,
        capa: &Fact<Vec<Value>>,
    ) -> Found {
        let text = |pointer| {
            cluster
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
        let kind = text("/spec/controlPlaneRef/kind");
        let problem = |kind, reason: String| Found {
            clusters: Vec::new(),
            problems: vec![Problem::new(
                kind,
                format!("Cluster {namespace}/{name}"),
                reason,
                Source::ClusterApi,
            )],
        };
        let planes = match kind {
            "CAPTControlPlane" => capt,
            "AWSManagedControlPlane" => capa,
            "" => return problem(ProblemKind::NotEks, "it names no control plane".to_owned()),
            other => {
                return problem(
                    ProblemKind::NotEks,
                    format!("its control plane is a {other}, which is not EKS's"),
                );
            }
        };
        let planes = match &planes.observed {
            Observed::Known(planes) => planes.as_slice(),
            Observed::Absent => &[],
            Observed::Unknown(unknown) => {
                return problem(ProblemKind::Unread, format!("{}: {unknown}", planes.call));
            }
        };
        let of_namespace: Vec<Value> = planes
            .iter()
            .filter(|plane| plane.pointer("/metadata/namespace").and_then(Value::as_str) == Some(namespace))
            .cloned()
            .collect();
        let referred = of_namespace.iter().find(|plane| {
            let own = plane.pointer("/metadata/name").and_then(Value::as_str);
            own == Some(text("/spec/controlPlaneRef/name"))
        });
        let plane = referred.or_else(|| management::of_cluster(&of_namespace, name));
        let mut told: Vec<Clue> = plane.map(management::told).unwrap_or_default();
        let believed = |told: &[Clue], about| {
            let clue = told.iter().find(|clue| clue.about == about);
            clue.map(|clue| clue.value.clone())
        };
        let complete = |told: &[Clue]| {
            believed(told, About::Cluster).is_some() && believed(told, About::Region).is_some()
        };
        if !complete(&told) {
            // The kubeconfig that Cluster API keeps tells what the control plane does not.
            match management::kubeconfig(api, namespace, name).await {
                Observed::Known(Ok((_, context))) => {
                    told.extend(clues::collect(&context, &Flags::default(), None).all);
                }
                Observed::Known(Err(_)) | Observed::Absent => {}
                Observed::Unknown(unknown) if !complete(&told) => {
                    return problem(
                        ProblemKind::Unread,
                        format!(
                            "its control plane does not tell the EKS cluster, and its kubeconfig could not be read: {unknown}"
                        ),
                    );
                }
                Observed::Unknown(_) => {}
            }
        }
        let (Some(eks_name), Some(region)) =
            (believed(&told, About::Cluster), believed(&told, About::Region))
        else {
            let progress = plane
                .map(management::progress)
                .unwrap_or_else(|| format!("there is no {kind} {}", text("/spec/controlPlaneRef/name")));
            return problem(
                ProblemKind::Unread,
                format!("which EKS cluster it is could not be told: {progress}"),
            );
        };
        let account = match believed(&told, About::Account) {
            Some(account) => Some(account),
            None => account_of(&self.own_session(&region).await, &eks_name).await,
        };
        Found {
            clusters: vec![Entry::new(
                account.as_deref(),
                &region,
                &eks_name,
                Source::ClusterApi,
            )],
            problems: Vec::new(),
        }
    }
}

/// The account of a cluster, as EKS says it; none where it does not.
async fn account_of(session: &Session, cluster: &str) -> Option<String> {
    let described = eks::describe_cluster(session, cluster).await;
    described.known()?.account().map(str::to_owned)
}

/// The accounts of `--accounts FILE`: what `aws organizations list-accounts` prints, or a line an account, its id first.
///
/// # Errors
/// In words.
pub fn accounts_of_text(text: &str) -> Result<Vec<MemberAccount>, String> {
    let account = |id: &str, name: &str, state: &str| {
        id.parse::<iam_policy::arn::AccountId>()
            .map_err(|error| error.to_string())
            .map(|id| MemberAccount {
                id: id.to_string(),
                name: name.to_owned(),
                state: state.to_owned(),
            })
    };
    let mut accounts = Vec::new();
    if text.trim_start().starts_with(['{', '[']) {
        let value: Value = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
        let list = value
            .get("Accounts")
            .unwrap_or(&value)
            .as_array()
            .ok_or("it has no list Accounts")?;
        for one in list {
            let field = |name: &str| one.get(name).and_then(Value::as_str);
            let id = field("Id").or_else(|| one.as_str()).unwrap_or_default();
            let state = field("State").or_else(|| field("Status")).unwrap_or("ACTIVE");
            accounts.push(account(id, field("Name").unwrap_or_default(), state)?);
        }
    } else {
        for (n, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let (id, name) = line
                .split_once(|c: char| c.is_whitespace() || c == ',')
                .unwrap_or((line, ""));
            let one =
                account(id, name.trim(), "ACTIVE").map_err(|error| format!("line {}: {error}", n + 1))?;
            accounts.push(one);
        }
    }
    if accounts.is_empty() {
        return Err("it names no account".to_owned());
    }
    for (n, one) in accounts.iter().enumerate() {
        if accounts[..n].iter().any(|before| before.id == one.id) {
            return Err(format!("it names the account {} twice", one.id));
        }
    }
    Ok(accounts)
}

/// The contexts' kubeconfig, for [`Lister::contexts`].
///
/// # Errors
/// It cannot be read, or there is none here.
pub fn kubeconfig_here(request: &Request) -> Result<Kubeconfig, TargetError> {
    let sources = kubeconfig::Sources {
        in_pod: false,
        ..kubeconfig::Sources::from_env(request.kubeconfig.as_deref())
    };
    kubeconfig::load(&sources).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_from_a_file() {
        let ids = |text: &str| {
            accounts_of_text(text).map(|all| {
                let all = all.into_iter();
                all.map(|one| [one.id, one.name, one.state].join("|"))
                    .collect::<Vec<_>>()
            })
        };
        let good = [
            "111122223333\n# a comment\n\n123456789012 payments team  # more\n",
            "111122223333,payments",
            r#"{"Accounts":[{"Id":"111122223333","Name":"a","Status":"SUSPENDED","State":"PENDING_CLOSURE"}]}"#,
            r#"["111122223333"]"#,
        ];
        let bad = [
            "",
            "1234",
            "111122223333\nx",
            "{",
            "{}",
            "[]",
            "[1]",
            "111122223333\n111122223333",
        ];
        insta::assert_snapshot!(
            good.into_iter()
                .chain(bad)
                .map(|text| format!("{text:?}\n  {:?}\n", ids(text)))
                .collect::<String>()
        );
    }
}
