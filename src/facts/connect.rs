//! The AWS sessions of a target, and the connection to its API server.
//!
//! A token that is made here is worth the caller's rights in the cluster: it goes to the endpoint that EKS gives for that cluster, or
//! to what proves with that cluster's certificate authority to be it (a tunnel), and to nothing else.

use std::collections::BTreeMap;

use aws_credential_types::Credentials;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use futures_util::join;

use super::{Options, Reading};
use crate::aws::{Identity, Session, TakenRole, eks, sts, token};
use crate::cluster::Resolved;
use crate::cluster::clues::{host_of, region_of_eks_host};
use crate::cluster::exec::KnownExec;
use crate::cluster::kubeconfig::KubeContext;
use crate::cluster::resolve::{Plain, ca_sha256, same_endpoint};
use crate::kube::{Api, Authentication, exec_plugin};
use crate::model::{Calls, Cluster, Fact, Observed, Unknown, Why};

/// Opens the AWS sessions of a target: the one for reading (and writing), and the one whose identity the token has.
pub(super) async fn sessions(
    resolved: &Resolved,
    http: &SharedHttpClient,
    options: &Options,
    calls: &Calls,
) -> (Session, Session) {
    let region = &resolved.target.region;
    let token_region = resolved
        .exec
        .as_ref()
        .and_then(|exec| exec.region())
        .unwrap_or(region);
    let (base, token) = if resolved.identity == resolved.token_identity && token_region == region {
        let session = options.open(&resolved.identity, region, http, calls).await;
        (session.clone(), session)
    } else {
        join!(
            options.open(&resolved.identity, region, http, calls),
            options.open(&resolved.token_identity, token_region, http, calls)
        )
    };
    if let Some(role) = &resolved.taken {
        let session = options.taken(role, &resolved.identity, base).await;
        return (session.clone(), session);
    }
    let Some(role) = &resolved.target.role_arn else {
        return (base, token);
    };
    let taken = role_of_exec(role, resolved.exec.as_ref());
    let (caller, assumed) = join!(
        sts::caller(&base),
        options.taken(&taken, &resolved.token_identity, token)
    );
    // The exec entry's role in another account than the credentials': that role is what reaches the cluster's account.
    // In the same account the credentials themselves stay, which are the ones with rights in IAM.
    let elsewhere = match (caller.known(), role.split(':').nth(4)) {
        (Some(caller), Some(account)) => caller.account != account,
        _ => false,
    };
    let explicit_profile = resolved.identity != resolved.token_identity;
    if elsewhere && !explicit_profile && assumed.credentials.is_ok() {
        (assumed.clone(), assumed)
    } else {
        (base, assumed)
    }
}

/// The role that the exec entry takes on for the cluster's token.
fn role_of_exec(role: &str, exec: Option<&KnownExec>) -> TakenRole {
    TakenRole {
        arn: role.to_owned(),
        session_name: exec
            .and_then(|exec| exec.session_name.clone())
            .unwrap_or_else(|| token::AWS_CLI_SESSION_NAME.to_owned()),
        external_id: exec.and_then(|exec| exec.external_id.clone()),
        tags: BTreeMap::new(),
    }
}

impl Options {
    /// Opens a session; in a run over many clusters, with what is known of its identity.
    pub(super) async fn open(
        &self,
        identity: &Identity,
        region: &str,
        http: &SharedHttpClient,
        calls: &Calls,
    ) -> Session {
        match &self.sessions {
            Some(sessions) => sessions.open(identity, region, http, self.limits, calls).await,
            None => Session::open(identity, region, http, self.limits, calls).await,
        }
    }

    /// The session in a role.
    async fn taken(&self, role: &TakenRole, identity: &Identity, session: Session) -> Session {
        match &self.sessions {
            Some(sessions) => sessions.taken(role, identity, session).await,
            None => role.on(session).await,
        }
    }
}

/// A context's own words about how to reach its API server.
#[derive(Clone, Copy)]
struct Entry<'a> {
    context: &'a KubeContext,
    /// It is not the person's own: it came from a Secret.
    foreign: bool,
    config: Option<&'a ::kube::Config>,
    config_error: Option<&'a str>,
}

impl Entry<'_> {
    fn config(&self) -> Result<::kube::Config, Unknown> {
        self.config.cloned().ok_or_else(|| {
            Unknown::new(
                Why::Unreachable,
                format!(
                    "the kubeconfig entry cannot be used: {}",
                    self.config_error.unwrap_or("no configuration")
                ),
            )
        })
    }

    /// With the authentication that the kubeconfig itself has: a token, a certificate, a plugin.
    async fn as_configured(self, options: &Options, calls: &Calls) -> Result<Api, Unknown> {
        let mut config = self.config()?;
        let authentication = match &self.context.user.exec {
            None => Authentication::AsConfigured,
            Some(exec) => {
                let call = format!("exec {}", exec.command.as_deref().unwrap_or("(no command)"));
                let result = exec_plugin::run(exec, &self.context.cluster, options.limits).await;
                calls.record(
                    &call,
                    result
                        .as_ref()
                        .map_or_else(ToString::to_string, |_| "a credential".to_owned()),
                );
                result?
            }
        };
        crate::kube::authenticate(&mut config, &authentication)?;
        Api::new(config, options.limits, calls)
    }

    /// With a token made here for `cluster`, where the server is that cluster's as EKS knows it.
    fn with_token(
        self,
        cluster: &str,
        credentials: &Credentials,
        region: &str,
        eks: &Fact<Cluster>,
        options: &Options,
        calls: &Calls,
    ) -> Result<Api, Unknown> {
        if let Err(why) = may_have_token(self.context, self.foreign, eks) {
            calls.record("the token for the cluster", format!("not sent: {}", why.detail));
            return Err(why);
        }
        self.as_whoever(cluster, credentials, region, options, calls)
    }

    /// With a token made here, where the server is known to be the cluster's.
    fn as_whoever(
        self,
        cluster: &str,
        credentials: &Credentials,
        region: &str,
        options: &Options,
        calls: &Calls,
    ) -> Result<Api, Unknown> {
        let mut config = self.config()?;
        let token = token::eks_token(credentials, region, cluster, std::time::SystemTime::now()).map_err(
            |error| {
                Unknown::new(
                    Why::Unauthenticated,
                    format!("the EKS token could not be made: {error}"),
                )
            },
        )?;
        // Whatever else the kubeconfig's user has would be taken in the token's place; whom it acts as stays (`--as`).
        let user = std::mem::take(&mut config.auth_info);
        config.auth_info = ::kube::config::AuthInfo {
            impersonate: user.impersonate,
            impersonate_uid: user.impersonate_uid,
            impersonate_groups: user.impersonate_groups,
            impersonate_user_extra: user.impersonate_user_extra,
            ..::kube::config::AuthInfo::default()
        };
        crate::kube::authenticate(&mut config, &Authentication::Token(token))?;
        Api::new(config, options.limits, calls)
    }
}

/// Whether the context's server may have a token for this cluster.
fn may_have_token(context: &KubeContext, foreign: bool, cluster: &Fact<Cluster>) -> Result<(), Unknown> {
    let server = context.cluster.server.as_deref().unwrap_or_default();
    let host = host_of(server).unwrap_or_default();
    let verified = context.cluster.insecure_skip_tls_verify != Some(true);
    let refuse = |detail: String| Unknown::new(Why::NotAsked, detail);
    if foreign && !verified {
        return Err(refuse(format!(
            "{host} gets no token: a kubeconfig that is not your own says not to verify its certificate (insecure-skip-tls-verify)"
        )));
    }
    let cluster = match &cluster.observed {
        Observed::Known(cluster) => cluster,
        Observed::Absent => {
            return Err(refuse(format!(
                "{host} gets no token: EKS does not know the cluster"
            )));
        }
        // Names below EKS's own domains are AWS's to give: what answers there with TLS is some cluster's API server.
        Observed::Unknown(_) if region_of_eks_host(&host).is_some() && verified => return Ok(()),
        Observed::Unknown(unknown) => {
            return Err(Unknown {
                detail: format!(
                    "{host} gets no token: whether it is the cluster's endpoint could not be read ({})",
                    unknown.detail
                ),
                ..unknown.clone()
            });
        }
    };
    let ours = ca_sha256(context);
    let theirs = cluster.certificate_authority_sha256.as_deref();
    let other_authority = matches!((&ours, theirs), (Some(ours), Some(theirs)) if ours != theirs);
    let same_authority =
        ours.is_some() && ours.as_deref() == theirs && verified && server.starts_with("https:");
    let endpoint = cluster.endpoint.as_deref().unwrap_or_default();
    if other_authority {
        Err(refuse(format!(
            "{host} gets no token: the kubeconfig's certificate authority is not that of the cluster {}",
            cluster.name
        )))
    } else if same_endpoint(server, endpoint) || same_authority {
        Ok(())
    } else {
        Err(refuse(format!(
            "{host} gets no token: it is not the endpoint of the cluster {} ({}), and nothing proves that it leads there",
            cluster.name,
            host_of(endpoint).unwrap_or_else(|| "EKS shows none".to_owned())
        )))
    }
}

/// The cluster that a token can be made for here, without running the plugin.
fn token_cluster<'a>(exec: Option<&'a KnownExec>, options: &Options) -> Option<&'a str> {
    exec.filter(|exec| exec.not_reproducible.is_none() && !options.use_exec)?
        .cluster
        .as_deref()
}

fn entry(resolved: &Resolved) -> Entry<'_> {
    Entry {
        context: &resolved.context,
        foreign: resolved.foreign,
        config: resolved.config.as_ref(),
        config_error: resolved.config_error.as_deref(),
    }
}

fn token_region(resolved: &Resolved) -> &str {
    resolved
        .exec
        .as_ref()
        .and_then(KnownExec::region)
        .unwrap_or(&resolved.target.region)
}

/// A connection to the resolved target, its token made here where that is possible.
pub(super) async fn resolved(read: &Reading<'_>) -> Result<Api, Unknown> {
    let (resolved, calls) = (read.resolved, &read.session.calls);
    if resolved.endpoint_by_eks {
        return by_eks(read).await;
    }
    let Some(cluster) = token_cluster(resolved.exec.as_ref(), read.options) else {
        return entry(resolved).as_configured(read.options, calls).await;
    };
    let credentials = read.token_session.credentials.as_ref().map_err(Clone::clone)?;
    let described = read.cluster().await;
    entry(resolved).with_token(
        cluster,
        credentials,
        token_region(resolved),
        described,
        read.options,
        calls,
    )
}

/// A connection to the cluster without a kubeconfig: endpoint and certificate authority are what EKS says.
async fn by_eks(read: &Reading<'_>) -> Result<Api, Unknown> {
    let cluster = match &read.cluster().await.observed {
        Observed::Known(cluster) => cluster,
        Observed::Absent => return Err(Unknown::not_asked("EKS does not know the cluster")),
        Observed::Unknown(unknown) => return Err(unknown.clone()),
    };
    let Some(endpoint) = cluster
        .endpoint
        .as_deref()
        .filter(|endpoint| !endpoint.is_empty())
    else {
        return Err(Unknown::not_asked(format!(
            "the cluster is {} and has no endpoint",
            cluster.status
        )));
    };
    let unusable = |what: String| {
        Unknown::new(
            Why::Unusable,
            format!("the answer to eks:DescribeCluster {} {what}", cluster.name),
        )
    };
    let url = endpoint
        .parse()
        .map_err(|_| unusable(format!("has the endpoint {endpoint}, which is not a URL")))?;
    let mut config = ::kube::Config::new(url);
    if endpoint.starts_with("https:") {
        let authority = cluster.certificate_authority().ok_or_else(|| {
            unusable(
                "has no certificate authority that can be used, so nothing would prove the server".to_owned(),
            )
        })?;
        config.root_cert = Some(authority);
    }
    config.auth_info = read.resolved.context.user.clone();
    let config = crate::cluster::resolve::proxied(config, &read.resolved.context).map_err(unusable)?;
    let credentials = read.token_session.credentials.as_ref().map_err(Clone::clone)?;
    let entry = Entry {
        config: Some(&config),
        ..entry(read.resolved)
    };
    entry.as_whoever(
        &read.target.cluster,
        credentials,
        &read.target.region,
        read.options,
        &read.session.calls,
    )
}

/// A connection to the resolved target as whoever has these credentials.
///
/// # Errors
/// The target is not the cluster's endpoint, or no client can be made for it.
pub fn connect_as(
    credentials: &Credentials,
    resolved: &Resolved,
    described: &Fact<Cluster>,
    options: &Options,
    calls: &Calls,
) -> Result<Api, Unknown> {
    let exec = resolved.exec.as_ref();
    let cluster = exec
        .and_then(|exec| exec.cluster.as_deref())
        .unwrap_or(&resolved.target.cluster);
    let region = token_region(resolved);
    entry(resolved).with_token(cluster, credentials, region, described, options, calls)
}

/// A connection to a cluster that need not be EKS's, as its context says: static token, certificate, exec plugin, or a token of EKS
/// that is made here.
///
/// # Errors
/// The context cannot be used, its plugin failed, or AWS gave no credentials for the token.
pub async fn connect_plain(plain: &Plain, options: &Options, calls: &Calls) -> Result<Api, Unknown> {
    let entry = Entry {
        context: &plain.context,
        foreign: false,
        config: plain.config.as_ref(),
        config_error: plain.config_error.as_deref(),
    };
    let exec = plain.exec.as_ref();
    let (Some(cluster), Some(region)) = (token_cluster(exec, options), &plain.region) else {
        return entry.as_configured(options, calls).await;
    };
    let http = crate::aws::http_client().map_err(|error| Unknown::new(Why::Unusable, error))?;
    let mut session = Session::open(&plain.token_identity, region, &http, options.limits, calls).await;
    if let Some(role) = exec.and_then(|exec| exec.role_arn.as_deref()) {
        session = role_of_exec(role, exec).on(session).await;
    }
    let credentials = session.credentials.as_ref().map_err(Clone::clone)?;
    let described = eks::describe_cluster(&session, cluster).await;
    entry.with_token(cluster, credentials, region, &described, options, calls)
}
