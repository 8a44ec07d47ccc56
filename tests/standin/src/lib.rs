//! Loopback stand-ins of AWS (IAM, STS, EKS, Service Quotas) and of the Kubernetes API, in process.
//!
//! They say only what the real services say: shapes, headers, status codes and texts. What they say comes from a
//! [`World`]: plain data that a test builds (or takes from [`scenario`]) and changes while the servers run.
//!
//! ```no_run
//! use capt_spot_standin::{Fault, Standin, scenario};
//!
//! let standin = Standin::start(scenario::fresh_account_karpenter_on_fargate())?;
//! standin.fault("iam:GetRole*", Fault::Throttled).times(2);
//! // ... run the program with standin.env() and a kubeconfig from standin.kubeconfig() ...
//! assert!(standin.writes().is_empty());
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! * [`Standin`] starts one listener for AWS and one for each Kubernetes API of the world, on free ports of 127.0.0.1,
//!   on a thread of its own, so that tests without an async runtime can use it. Dropping it closes everything.
//! * Which AWS service is meant, and who asks, is read from the SigV4 credential scope. Signatures are not checked,
//!   except those of EKS tokens.
//! * Plain HTTP, unless [`World::aws_tls`] or [`Kubernetes::tls`] say otherwise: real kubectl and helm send credentials
//!   over TLS only.
//! * Every request is recorded ([`Call`]), faults ([`Fault`]) strike by pattern, and a delay can be added to every
//!   answer.
//!
//! Real kubectl and the real AWS CLI work against them (`aws eks get-token` included: every identity's secret is
//! [`SECRET_ACCESS_KEY`]). Not there: watches, writes (405), tables, protobuf bodies (415: `kubectl auth can-i`).
//!
//! Texts and resources that could not be checked against a real answer: DescribePodIdentityAssociation of an unknown id,
//! Service Quotas' NoSuchResourceException, CreateServiceLinkedRole of an unknown service, and which ARN a denied
//! DescribeAccessEntry, DescribeFargateProfile, DescribeNodegroup or DescribeAddon names.

mod aws;
mod eks_token;
mod fault;
mod http;
mod kubeconfig;
mod kubernetes;
pub mod oracle;
mod record;
pub mod scenario;
mod selector;
mod server;
#[cfg(test)]
mod tests;
mod tls;
mod world;

use std::io;
use std::time::Duration;

pub use eks_token::EksToken;
pub use fault::Fault;
pub use kubeconfig::{Exec, Kubeconfig};
pub use kubernetes::{Access, Attributes, Kubernetes, Resource, Rule, User};
pub use record::{Call, longest_chain};
pub use tls::server_config;
pub use world::*;

/// The running stand-ins.
pub struct Standin {
    servers: server::Servers,
}

impl std::fmt::Debug for Standin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Standin")
            .field("aws", &self.servers.shared.aws)
            .finish_non_exhaustive()
    }
}

impl Standin {
    /// Starts the servers of this world.
    ///
    /// # Errors
    /// When a port of 127.0.0.1 can't be had, or a thread.
    pub fn start(world: World) -> io::Result<Self> {
        server::Servers::start(world).map(|servers| Self { servers })
    }

    /// Reads or changes the world while the servers run. Requests wait meanwhile: don't make one from in here.
    pub fn world<R>(&self, work: impl FnOnce(&mut World) -> R) -> R {
        work(&mut self.servers.shared.world())
    }

    /// The address of the AWS services: `http://127.0.0.1:PORT` (`https:` as the world has it).
    pub fn aws_url(&self) -> String {
        self.servers.shared.aws.clone()
    }

    /// The address of the Kubernetes API of this cluster. Panics when the world started without one.
    #[track_caller]
    pub fn kubernetes_url(&self, cluster: &str) -> String {
        match self
            .servers
            .shared
            .kubernetes
            .iter()
            .find(|(name, _)| name == cluster)
        {
            Some((_, url)) => url.clone(),
            None => panic!("the world started without a Kubernetes API {cluster}"),
        }
    }

    /// The certificate authority of the listeners that speak TLS, as PEM; none: there are none.
    pub fn ca_pem(&self) -> Option<&str> {
        self.servers.shared.tls.as_ref().map(|tls| tls.ca_pem.as_str())
    }

    /// The environment of a program that is to meet these stand-ins and nothing else of AWS: endpoint, credentials of
    /// [`scenario::ACCESS_KEY`], region, and no configuration files, metadata service or proxies.
    pub fn env(&self) -> Vec<(String, String)> {
        self.env_as(scenario::ACCESS_KEY, scenario::REGION)
    }

    /// The same for another access key id and region.
    pub fn env_as(&self, access_key: &str, region: &str) -> Vec<(String, String)> {
        let aws = self.aws_url();
        let mut env: Vec<(String, String)> = [
            ("AWS_ENDPOINT_URL", aws.as_str()),
            ("AWS_ACCESS_KEY_ID", access_key),
            ("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY),
            ("AWS_REGION", region),
            ("AWS_DEFAULT_REGION", region),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_CONFIG_FILE", "/nonexistent/config"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent/credentials"),
            ("NO_PROXY", "127.0.0.1"),
            ("no_proxy", "127.0.0.1"),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
        if access_key.starts_with("ASIA") {
            env.push((
                "AWS_SESSION_TOKEN".to_owned(),
                format!("IQoJb3JpZ2luX2VjSTANDIN{access_key}"),
            ));
        }
        env
    }

    /// The AWS variables that a program must not inherit, because they would lead it elsewhere.
    pub fn env_to_remove() -> &'static [&'static str] {
        &[
            "AWS_PROFILE",
            "AWS_DEFAULT_PROFILE",
            "AWS_SESSION_TOKEN",
            "AWS_ROLE_ARN",
            "AWS_ROLE_SESSION_NAME",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "AWS_ENDPOINT_URL_IAM",
            "AWS_ENDPOINT_URL_STS",
            "AWS_ENDPOINT_URL_EKS",
            "AWS_ENDPOINT_URL_SERVICE_QUOTAS",
            "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
            "AWS_CA_BUNDLE",
            "AWS_MAX_ATTEMPTS",
            "AWS_RETRY_MODE",
            "AWS_USE_FIPS_ENDPOINT",
            "AWS_USE_DUALSTACK_ENDPOINT",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
            "http_proxy",
            "https_proxy",
            "all_proxy",
            "KUBECONFIG",
        ]
    }

    /// A kubeconfig for this cluster's API. See [`Kubeconfig`] for its kinds.
    #[track_caller]
    pub fn kubeconfig(&self, cluster: &str) -> Kubeconfig {
        let url = self.kubernetes_url(cluster);
        let config = Kubeconfig::new(cluster, scenario::REGION, scenario::ACCOUNT, &url);
        match self.ca_pem() {
            Some(pem) if url.starts_with("https:") => config.ca_pem(pem),
            _ => config,
        }
    }

    /// Adds this much to every answer; answers wait side by side.
    pub fn delay(&self, delay: Duration) {
        self.servers.shared.faults().delay = delay;
    }

    /// Makes this fault strike the calls whose action (`iam:GetRole`, `kubernetes:list nodepools.karpenter.sh`) or whose
    /// action and object (`iam:GetRole demo-node`, `kubernetes:get configmaps kube-system/aws-auth`), or action and account or
    /// cluster (`iam:GetRole of 111122223333`, `kubernetes:* of demo`) match the pattern; `*` stands for any text. The fault that was set first wins. Limit it on what this returns.
    pub fn fault(&self, pattern: &str, fault: Fault) -> FaultSetting<'_> {
        FaultSetting {
            standin: self,
            pattern: pattern.to_owned(),
            fault: Some(fault),
            skip: 0,
            times: None,
        }
    }

    /// Changes the world right before the `nth` call from now that matches the pattern (as in [`Standin::fault`]) is
    /// answered: for what happens between two reads of a program.
    pub fn change_on(&self, pattern: &str, nth: usize, work: impl FnOnce(&mut World) + Send + 'static) {
        self.servers.shared.change_on(pattern, nth, Box::new(work));
    }

    /// Ends all faults; the delay stays.
    pub fn clear_faults(&self) {
        self.servers.shared.faults().clear();
    }

    /// Every request so far, in order of arrival.
    pub fn calls(&self) -> Vec<Call> {
        self.servers.shared.calls().clone()
    }

    /// The actions of every request so far.
    pub fn actions(&self) -> Vec<String> {
        self.servers
            .shared
            .calls()
            .iter()
            .map(|call| call.action.clone())
            .collect()
    }

    /// The requests that would have changed something in the real services.
    pub fn writes(&self) -> Vec<Call> {
        self.servers
            .shared
            .calls()
            .iter()
            .filter(|call| call.is_write())
            .cloned()
            .collect()
    }

    /// Forgets the requests so far, and the EKS tokens.
    pub fn clear_calls(&self) {
        self.servers.shared.calls().clear();
        for api in &mut self.servers.shared.world().kubernetes {
            api.eks_tokens.clear();
        }
    }

    /// The requests that have no answer yet. A fault that hangs or resets leaves its request here for good.
    pub fn unanswered(&self) -> Vec<Call> {
        self.servers
            .shared
            .calls()
            .iter()
            .filter(|call| call.ended.is_none())
            .cloned()
            .collect()
    }
}

/// A fault being set: it is in force when this is dropped, at the end of the statement.
#[derive(Debug)]
pub struct FaultSetting<'a> {
    standin: &'a Standin,
    pattern: String,
    fault: Option<Fault>,
    skip: usize,
    times: Option<usize>,
}

impl FaultSetting<'_> {
    /// Strikes this many calls, then no more.
    pub fn times(mut self, times: usize) -> Self {
        self.times = Some(times);
        self
    }

    /// Lets this many calls pass first.
    pub fn after(mut self, calls: usize) -> Self {
        self.skip = calls;
        self
    }
}

impl Drop for FaultSetting<'_> {
    fn drop(&mut self) {
        if let Some(fault) = self.fault.take() {
            self.standin
                .servers
                .shared
                .faults()
                .add(&self.pattern, fault, self.skip, self.times);
        }
    }
}

/// Whether the text matches the pattern, in which `*` stands for any text.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}
