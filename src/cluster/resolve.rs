//! Putting the clues together, asking EKS only where the kubeconfig alone does not tell.

use std::path::PathBuf;

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use futures_util::stream::{self, StreamExt as _};
use hyper_util::client::proxy::matcher::Matcher;
use kube::config::{KubeConfigOptions, Kubeconfig};

use super::clues::{self, About, Clue, ClueSource, Clues, Flags};
use super::exec::KnownExec;
use super::kubeconfig::{self, KubeContext, Overrides, Sources};
use super::{Target, TargetError};
use crate::aws::eks::{self, sha256_hex};
use crate::aws::{self, Identity, Limits, Session, TakenRole};
use crate::model::{Calls, CommandScope, Observed};
use iam_policy::arn;

/// What to resolve, as the flags have it.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `--kubeconfig`
    pub kubeconfig: Option<PathBuf>,
    /// A kubeconfig given in memory instead of a file (`--capt`).
    pub in_memory: Option<InMemory>,
    /// What the kubeconfig files hold about the context, where they were read before.
    pub loaded: Option<Kubeconfig>,
    /// `--capt`: the cluster to go on to from the management cluster that the context names.
    pub capt: Option<CaptCluster>,
    /// `--context`
    pub context: Option<String>,
    /// `--cluster`, `--user`, `--as`, `--as-group`
    pub overrides: Overrides,
    /// `--cluster-name`, `--region`, `--profile`
    pub flags: Flags,
    /// The cluster that the chart names; believed only where nothing else tells (inside a pod).
    pub chart_cluster: Option<String>,
}

/// A cluster as Cluster API names it on its management cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptCluster {
    /// `metadata.name` of the Cluster.
    pub name: String,
    /// `-n`; the management context's namespace otherwise.
    pub namespace: Option<String>,
}

/// A kubeconfig that came from elsewhere than a file.
#[derive(Debug, Clone)]
pub struct InMemory {
    pub kubeconfig: Kubeconfig,
    pub context: String,
    /// The words with which this program finds it again.
    pub own: Vec<String>,
    /// What its giver knows about the cluster; believed after the kubeconfig's own words.
    pub told: Vec<Clue>,
    /// Where it is from, for an error: `the Secret prod/demo-kubeconfig on the management cluster (context kind-capt)`.
    pub origin: String,
    /// What its giver could not read that might have told more.
    pub unread: Option<String>,
}

/// A context as it stands, whatever kind of cluster it is: what it takes to talk to its API server.
#[derive(Debug, Clone)]
pub struct Plain {
    pub context: KubeContext,
    /// kube's own reading of the context; authentication not yet filled in.
    pub config: Option<kube::Config>,
    /// Why there is no [`Plain::config`].
    pub config_error: Option<String>,
    /// The exec entry, when it runs a known plugin.
    pub exec: Option<KnownExec>,
    /// Whose credentials the cluster's token uses: the exec entry's own.
    pub token_identity: Identity,
    /// The region that the token of a known plugin is made for, where the context tells one.
    pub region: Option<String>,
    /// How printed commands reach it.
    pub scope: CommandScope,
}

/// What a context alone says, without a question to anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub context: String,
    pub cluster: String,
    pub region: String,
}

/// The kubeconfig, if there is one, with the flags laid over it, and the context.
fn opened(request: &Request) -> Result<(Option<Kubeconfig>, KubeContext), TargetError> {
    let (kubeconfig, wanted) = match &request.in_memory {
        Some(given) => (Some(given.kubeconfig.clone()), Some(given.context.as_str())),
        None if request.loaded.is_some() => (request.loaded.clone(), request.context.as_deref()),
        None => {
            let kubeconfig = match &request.loaded {
                Some(loaded) => Some(loaded.clone()),
                None => kubeconfig::load(&Sources::from_env(request.kubeconfig.as_deref()))?,
            };
            (kubeconfig, request.context.as_deref())
        }
    };
    let kubeconfig = kubeconfig.map(|config| request.overrides.applied(config, wanted));
    let context = match &kubeconfig {
        Some(config) => kubeconfig::context(config, wanted)?,
        None => kubeconfig::in_cluster_context(),
    };
    Ok((kubeconfig, context))
}

/// The cluster and region that the flags and the context name.
///
/// # Errors
/// No such context, or one that does not name both.
pub fn named_by_context(request: &Request) -> Result<Named, TargetError> {
    let (_, context) = opened(request)?;
    let clues = clues::collect(&context, &request.flags, None);
    let believed = |about| clues.believed(about).map(|clue| clue.value.clone());
    match (believed(About::Cluster), believed(About::Region)) {
        (Some(cluster), Some(region)) => Ok(Named {
            context: context.name,
            cluster,
            region,
        }),
        _ => Err(TargetError::NotTold {
            why: "it names no EKS cluster and region".to_owned(),
            flags: "--cluster-name NAME --region REGION".to_owned(),
            context: context.name,
        }),
    }
}

/// The context without asking which EKS cluster it is: a management cluster need not be one.
///
/// # Errors
/// See [`TargetError`]; never [`TargetError::NotEks`] or [`TargetError::NotTold`].
pub async fn plain(request: &Request) -> Result<Plain, TargetError> {
    let (kubeconfig, context) = opened(request)?;
    // --cluster-name, --region and --profile are about the EKS cluster that is asked for, not about this one.
    let clues = clues::collect(&context, &Flags::default(), None);
    let token_identity = exec_identity(clues.exec.as_ref().or(clues.wrapped.as_ref()));
    let mut region = clues.believed(About::Region).map(|clue| clue.value.clone());
    if region.is_none() && clues.exec.is_some() {
        region = environment_region(&token_identity).await;
    }
    let (config, config_error) = client_config(kubeconfig.as_ref(), &context, &request.overrides).await;
    let bare = Request {
        flags: Flags::default(),
        ..request.clone()
    };
    Ok(Plain {
        scope: scope(&bare, &context),
        context,
        config,
        config_error,
        exec: clues.exec,
        token_identity,
        region,
    })
}

/// kube's reading of the context, or why there is none.
async fn client_config(
    kubeconfig: Option<&Kubeconfig>,
    context: &KubeContext,
    overrides: &Overrides,
) -> (Option<kube::Config>, Option<String>) {
    let result = match kubeconfig {
        Some(all) => {
            let options = KubeConfigOptions {
                context: Some(context.name.clone()),
                cluster: None,
                user: None,
            };
            kube::Config::from_custom_kubeconfig(all.clone(), &options)
                .await
                .map_err(|error| aws::chain(&error))
        }
        None => kube::Config::incluster()
            .map(|mut config| {
                overrides.impersonate(&mut config.auth_info);
                config
            })
            .map_err(|error| aws::chain(&error)),
    };
    match result.and_then(|config| proxied(config, context)) {
        Ok(config) => (Some(config), None),
        Err(error) => (None, Some(error)),
    }
}

/// The proxy on the way as kubectl has it: the cluster entry's whatever NO_PROXY says, else the environment's, where NO_PROXY lets the
/// server pass and loopback always does. kube holds NO_PROXY against the proxy's own address.
pub(crate) fn proxied(mut config: kube::Config, context: &KubeContext) -> Result<kube::Config, String> {
    let variable = || {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        set("HTTPS_PROXY").or_else(|| set("https_proxy"))
    };
    let own = context.cluster.proxy_url.clone().filter(|url| !url.is_empty());
    let host = config
        .cluster_url
        .host()
        .unwrap_or_default()
        .trim_matches(['[', ']']);
    let loopback = host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    let proxy = match own {
        Some(own) => Some(own),
        None if loopback || Matcher::from_env().intercept(&config.cluster_url).is_none() => None,
        None => variable(),
    };
    config.proxy_url = proxy
        .map(|proxy| {
            let parsed = proxy.parse::<http::Uri>().ok();
            parsed
                .filter(|url| url.scheme().is_some())
                .ok_or_else(|| format!("the proxy {} is not a URL", crate::text::secrets::masked(&proxy)))
        })
        .transpose()?;
    Ok(config)
}

/// A target and what it takes to reach it.
#[derive(Debug, Clone)]
pub struct Resolved {
    pub target: Target,
    pub context: KubeContext,
    /// kube's own reading of the context, with certificates and proxy; authentication not yet filled in.
    pub config: Option<kube::Config>,
    /// Why there is no [`Resolved::config`].
    pub config_error: Option<String>,
    /// The exec entry, when it runs a known plugin.
    pub exec: Option<KnownExec>,
    /// Whose credentials the AWS reads use.
    pub identity: Identity,
    /// Whose credentials the cluster's token uses: the exec entry's own.
    pub token_identity: Identity,
    /// The kubeconfig is not the person's: it came from a Secret.
    pub foreign: bool,
    /// There is no kubeconfig: endpoint and certificate authority are what EKS says.
    pub endpoint_by_eks: bool,
    /// The role in which everything is read.
    pub(crate) taken: Option<TakenRole>,
}

impl Resolved {
    /// A cluster that is known by name, region and account alone. `role` is taken on for everything that is read.
    pub(crate) fn by_name(
        cluster: &str,
        region: &str,
        account: Option<&str>,
        role: Option<TakenRole>,
        request: &Request,
    ) -> Self {
        let identity = Identity {
            profile_flag: request.flags.profile.clone(),
            ..Identity::default()
        };
        let partition = arn::partition_of_region(region);
        // As `aws eks update-kubeconfig` would name it.
        let name = match account {
            Some(account) => format!("arn:{partition}:eks:{region}:{account}:cluster/{cluster}"),
            None => format!("{cluster}.{region}"),
        };
        let mut context = KubeContext {
            name: name.clone(),
            cluster_name: name.clone(),
            ..kubeconfig::in_cluster_context()
        };
        context.in_cluster = false;
        request.overrides.impersonate(&mut context.user);
        Self {
            target: Target {
                context: name,
                cluster: cluster.to_owned(),
                region: region.to_owned(),
                partition: partition.to_owned(),
                account: account.map(str::to_owned),
                server: String::new(),
                // Whoever pastes a command has a profile for the account, or none: their own credentials are another account's.
                profile: match (&role, account) {
                    (Some(_), Some(account)) => Some(format!("PROFILE_OF_{account}")),
                    _ => identity.profile(),
                },
                role_arn: None,
                certificate_authority_sha256: None,
                insecure: false,
                scope: CommandScope::default(),
                clues: Vec::new(),
                disagreements: Vec::new(),
            },
            context,
            config: None,
            config_error: None,
            exec: None,
            token_identity: identity.clone(),
            identity,
            foreign: false,
            endpoint_by_eks: true,
            taken: role,
        }
    }
}

/// Resolves the context.
///
/// # Errors
/// See [`TargetError`].
pub async fn resolve(
    request: &Request,
    http: &SharedHttpClient,
    limits: Limits,
    calls: &Calls,
) -> Result<Resolved, TargetError> {
    let (kubeconfig, context) = opened(request)?;
    let mut clues = clues::collect(&context, &request.flags, request.chart_cluster.as_deref());
    if let Some(given) = &request.in_memory {
        clues.all.extend(given.told.iter().cloned());
    }
    let token_identity = exec_identity(clues.exec.as_ref().or(clues.wrapped.as_ref()));
    let identity = match &request.flags.profile {
        Some(profile) => Identity {
            profile_flag: Some(profile.clone()),
            env: token_identity.env.clone(),
            credentials_by: None,
        },
        None => token_identity.clone(),
    };
    if clues.believed(About::Region).is_none()
        && let Some(region) = environment_region(&identity).await
    {
        clues.all.push(Clue {
            about: About::Region,
            value: region,
            source: ClueSource::Environment,
        });
    }
    let server = context.cluster.server.clone();
    let named = clues.believed(About::Cluster).is_some();
    if !named && !clues.eks_host {
        if let Some(why) = clues::not_eks(&context) {
            return Err(TargetError::NotEks {
                context: context.name.clone(),
                why,
            });
        }
        if clues.believed(About::Region).is_none() || context.in_cluster {
            return Err(not_told(&context, &clues, server.as_deref()));
        }
    }
    let Some(region) = clues.believed(About::Region).map(|clue| clue.value.clone()) else {
        return Err(TargetError::NotTold {
            context: context.name.clone(),
            why: "no region in the flags, the exec entry, the names, the server's host, AWS_REGION or the profile".to_owned(),
            flags: "--region REGION".to_owned(),
        });
    };
    if !named {
        let found = find_by_endpoint(
            &context,
            &region,
            server.as_deref(),
            &identity,
            http,
            limits,
            calls,
        )
        .await;
        match found {
            Ok(clue) => clues.all.push(clue),
            Err(why) => return Err(not_found(&context, &clues, server.as_deref(), &region, why)),
        }
    }
    let cluster = clues
        .believed(About::Cluster)
        .map(|clue| clue.value.clone())
        .unwrap_or_default();
    let (config, config_error) = client_config(kubeconfig.as_ref(), &context, &request.overrides).await;
    let server = match (&server, &config) {
        (Some(server), _) => server.clone(),
        (None, Some(config)) => config.cluster_url.to_string(),
        (None, None) => String::new(),
    };
    let mut disagreements = clues.disagreements();
    if let (Some(chart), false) = (&request.chart_cluster, context.in_cluster)
        && *chart != cluster
    {
        disagreements.push(format!(
            "the chart names the cluster {chart}, the context resolves to {cluster}"
        ));
    }
    let target = Target {
        context: context.name.clone(),
        cluster,
        partition: arn::partition_of_region(&region).to_owned(),
        region,
        account: clues.believed(About::Account).map(|clue| clue.value.clone()),
        server,
        profile: identity.profile(),
        role_arn: clues.exec.as_ref().and_then(|exec| exec.role_arn.clone()),
        certificate_authority_sha256: ca_sha256(&context),
        scope: scope(request, &context),
        disagreements,
        insecure: context.cluster.insecure_skip_tls_verify == Some(true),
        clues: clues.all,
    };
    Ok(Resolved {
        target,
        context,
        config,
        config_error,
        exec: clues.exec,
        identity,
        token_identity,
        foreign: request.in_memory.is_some(),
        endpoint_by_eks: false,
        taken: None,
    })
}

fn exec_identity(exec: Option<&KnownExec>) -> Identity {
    exec.map(|exec| Identity {
        profile_flag: exec.profile_flag.clone(),
        env: exec.env.clone(),
        credentials_by: exec.credentials_by.clone(),
    })
    .unwrap_or_default()
}

/// AWS_REGION, AWS_DEFAULT_REGION, else the profile's region.
pub(crate) async fn environment_region(identity: &Identity) -> Option<String> {
    for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
        if let Some(region) = std::env::var(name).ok().filter(|region| !region.is_empty()) {
            return Some(region);
        }
    }
    use aws_config::meta::region::ProvideRegion as _;
    let mut provider = aws_config::profile::ProfileFileRegionProvider::builder();
    if let Some(profile) = identity.profile() {
        provider = provider.profile_name(profile);
    }
    provider
        .build()
        .region()
        .await
        .map(|region| region.as_ref().to_owned())
}

/// How printed commands reach the target: by the context, and by whatever was given beside it.
fn scope(request: &Request, context: &KubeContext) -> CommandScope {
    let flags = [
        ("--cluster-name", request.flags.cluster.as_deref()),
        ("--region", request.flags.region.as_deref()),
        ("--profile", request.flags.profile.as_deref()),
    ];
    let flags = flags
        .into_iter()
        .filter_map(|(flag, value)| value.map(|value| [flag.to_owned(), value.to_owned()]))
        .flatten();
    // A context in memory is reached as its giver says; its name means nothing to another command.
    let given = request.in_memory.as_ref();
    // Neither does a context with another cluster entry than its own.
    let here = given.is_none() && !context.in_cluster && request.overrides.cluster.is_none();
    let mut overrides = request.overrides.words();
    if request.overrides.cluster.is_some() {
        overrides.extend(["--context".to_owned(), context.name.clone()]);
    }
    CommandScope {
        context: here.then(|| context.name.clone()),
        kubeconfig: request
            .kubeconfig
            .as_ref()
            .filter(|_| here)
            .map(|path| path.display().to_string()),
        own: given
            .map(|given| given.own.clone())
            .unwrap_or_default()
            .into_iter()
            .chain(overrides)
            .chain(flags)
            .collect(),
    }
}

/// In a pod the certificate authority is where the service account is.
const POD_CA: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";

/// SHA-256 of the context's certificate authority, where it has one.
pub fn ca_sha256(context: &KubeContext) -> Option<String> {
    use base64::Engine as _;
    if context.in_cluster {
        return std::fs::read(POD_CA).ok().map(|pem| sha256_hex(&pem));
    }
    let pem = match (
        &context.cluster.certificate_authority_data,
        &context.cluster.certificate_authority,
    ) {
        (Some(data), _) => base64::engine::general_purpose::STANDARD
            .decode(data.trim())
            .ok()?,
        (None, Some(path)) => std::fs::read(path).ok()?,
        (None, None) => return None,
    };
    Some(sha256_hex(&pem))
}

/// No cluster of the region has the context's endpoint.
fn not_found(
    context: &KubeContext,
    clues: &Clues,
    server: Option<&str>,
    region: &str,
    why: String,
) -> TargetError {
    let context = context.name.clone();
    if clues.eks_host || clues.exec.is_some() || clues.wrapped.is_some() {
        let flags = format!("--cluster-name NAME --region {region}");
        return TargetError::NotTold { context, why, flags };
    }
    let server = server.unwrap_or("is not set");
    let why = format!(
        "its server {server} is not an EKS endpoint, nothing in it names a cluster, and {why}\n  fix: if it is EKS behind a tunnel or proxy, name it: --cluster-name NAME --region REGION"
    );
    TargetError::NotEks { context, why }
}

fn not_told(context: &KubeContext, clues: &Clues, server: Option<&str>) -> TargetError {
    let exec = match (
        &clues.exec,
        context
            .user
            .exec
            .as_ref()
            .and_then(|exec| exec.command.as_deref()),
    ) {
        (Some(_), _) => "its exec entry names no cluster",
        (None, Some(_)) => "its exec entry is neither aws eks get-token nor aws-iam-authenticator",
        (None, None) => "it has no exec entry",
    };
    let server = server.unwrap_or("not set");
    if context.in_cluster {
        return TargetError::NotTold {
            context: context.name.clone(),
            why: "a pod's service account does not name its cluster".to_owned(),
            flags: "--cluster-name NAME and --region REGION (or AWS_REGION)".to_owned(),
        };
    }
    TargetError::NotEks {
        context: context.name.clone(),
        why: format!(
            "its server {server} is not an EKS endpoint, {exec}, and no name in it is an EKS cluster's ARN\n  fix: if it is EKS behind a tunnel or proxy, name it: --cluster-name NAME --region REGION"
        ),
    }
}

/// Looks for the cluster whose endpoint is the kubeconfig's server: the names at hand first, then the whole list.
async fn find_by_endpoint(
    context: &KubeContext,
    region: &str,
    server: Option<&str>,
    identity: &Identity,
    http: &SharedHttpClient,
    limits: Limits,
    calls: &Calls,
) -> Result<Clue, String> {
    let server = server.ok_or_else(|| "its cluster entry has no server".to_owned())?;
    let session = Session::open(identity, region, http, limits, calls).await;
    let listed = eks::list_clusters(&session).await;
    let names = match listed.observed {
        Observed::Known(names) => names,
        Observed::Absent => Vec::new(),
        Observed::Unknown(unknown) => return Err(format!("EKS could not be asked for it: {unknown}")),
    };
    // A name that the context already has is the likely one; asked first, it spares the rest.
    let likely = |name: &String| !(context.cluster_name == *name || context.name.contains(name.as_str()));
    let mut ordered = names.clone();
    ordered.sort_by_key(likely);
    let mut unread: Option<String> = None;
    let session = &session;
    let mut answers = stream::iter(ordered)
        .map(|name| async move {
            let fact = eks::describe_cluster(session, &name).await;
            (name, fact)
        })
        .buffered(8);
    while let Some((name, fact)) = answers.next().await {
        match (fact.known(), fact.observed.unknown()) {
            (Some(cluster), _) if same_endpoint(server, cluster.endpoint.as_deref().unwrap_or_default()) => {
                return Ok(Clue {
                    about: About::Cluster,
                    value: name,
                    source: ClueSource::Endpoint,
                });
            }
            (None, Some(unknown)) => unread = Some(format!("{name}: {unknown}")),
            _ => {}
        }
    }
    Err(match unread {
        Some(what) => format!("not every cluster of {region} could be read ({what})"),
        None => format!(
            "none of the {} clusters of {region} has that endpoint",
            names.len()
        ),
    })
}

/// Whether two URLs name the same server: scheme's default port filled in, letter case of the host ignored.
pub fn same_endpoint(a: &str, b: &str) -> bool {
    let parts = |url: &str| {
        let uri: http::Uri = url.trim_end_matches('/').parse().ok()?;
        let https = uri.scheme_str() != Some("http");
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        Some((uri.host()?.to_ascii_lowercase(), port))
    };
    match (parts(a), parts(b)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_compared_as_servers() {
        for (a, b, same) in [
            (
                "https://ABC.gr7.eu-west-1.eks.amazonaws.com",
                "https://abc.gr7.eu-west-1.eks.amazonaws.com:443/",
                true,
            ),
            (
                "https://abc.gr7.eu-west-1.eks.amazonaws.com",
                "https://abd.gr7.eu-west-1.eks.amazonaws.com",
                false,
            ),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8081", false),
            ("", "", false),
        ] {
            assert_eq!(same_endpoint(a, b), same, "{a} {b}");
        }
    }
}
