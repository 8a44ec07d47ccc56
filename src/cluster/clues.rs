//! What the flags, the exec entry, the names and the server's host tell about the cluster. Pure.

pub use crate::model::{About, Clue, ClueSource};

use super::exec::{self, KnownExec};
use super::kubeconfig::KubeContext;
use iam_policy::arn::Arn;

#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--cluster-name`
    pub cluster: Option<String>,
    /// `--region`
    pub region: Option<String>,
    /// `--profile`
    pub profile: Option<String>,
}

/// Everything the kubeconfig and the flags tell, before anything was asked.
#[derive(Debug, Clone)]
pub struct Clues {
    /// In the order of [`ClueSource`].
    pub all: Vec<Clue>,
    /// The exec entry, when it runs one of the two known plugins.
    pub exec: Option<KnownExec>,
    /// The known plugin inside a wrapper's arguments: a clue only, the wrapper runs as configured.
    pub wrapped: Option<KnownExec>,
    /// Whether the server's host is an EKS endpoint.
    pub eks_host: bool,
}

/// Collects what the context and the flags tell.
pub fn collect(context: &KubeContext, flags: &Flags, chart_cluster: Option<&str>) -> Clues {
    let mut all = Vec::new();
    let mut add = |about: About, value: Option<&str>, source: ClueSource| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            all.push(Clue {
                about,
                value: value.to_owned(),
                source,
            });
        }
    };
    add(About::Cluster, flags.cluster.as_deref(), ClueSource::Flag);
    add(About::Region, flags.region.as_deref(), ClueSource::Flag);
    if context.in_cluster {
        add(About::Cluster, chart_cluster, ClueSource::Chart);
    }
    let exec = context.user.exec.as_ref().and_then(exec::known);
    let wrapped = match &exec {
        Some(_) => None,
        None => context.user.exec.as_ref().and_then(exec::wrapped),
    };
    if let Some(known) = exec.as_ref().or(wrapped.as_ref()) {
        add(About::Cluster, known.cluster.as_deref(), ClueSource::Exec);
        add(About::Region, known.region(), ClueSource::Exec);
    }
    for (name, source) in [
        (Some(context.cluster_name.as_str()), ClueSource::ClusterArn),
        (Some(context.name.as_str()), ClueSource::ContextArn),
        (context.user_name.as_deref(), ClueSource::UserArn),
    ] {
        if let Some(found) = name.and_then(cluster_arn) {
            add(About::Cluster, Some(&found.cluster), source);
            add(About::Region, Some(&found.region), source);
            add(About::Account, Some(&found.account), source);
        }
    }
    let eksctl = [
        Some(context.cluster_name.as_str()),
        Some(context.name.as_str()),
        context.user_name.as_deref(),
    ]
    .into_iter()
    .flatten()
    .find_map(eksctl_name);
    if let Some((name, region)) = eksctl {
        add(About::Cluster, Some(name), ClueSource::Eksctl);
        add(About::Region, Some(region), ClueSource::Eksctl);
    }
    let host = context.cluster.server.as_deref().and_then(host_of);
    let host_region = host.as_deref().and_then(region_of_eks_host);
    add(About::Region, host_region, ClueSource::Host);
    Clues {
        all,
        exec,
        wrapped,
        eks_host: host_region.is_some(),
    }
}

impl Clues {
    /// The value to believe: the first source that has one.
    pub fn believed(&self, about: About) -> Option<&Clue> {
        self.all.iter().find(|clue| clue.about == about)
    }

    /// A sentence for each matter on which the sources disagree.
    pub fn disagreements(&self) -> Vec<String> {
        disagreements(&self.all)
    }
}

/// A sentence for each matter on which the sources disagree.
pub fn disagreements(clues: &[Clue]) -> Vec<String> {
    let mut sentences = Vec::new();
    for about in [About::Cluster, About::Region, About::Account] {
        let mut of_it = clues
            .iter()
            .filter(|clue| clue.about == about && clue.source != ClueSource::Environment);
        let Some(believed) = of_it.next() else { continue };
        for other in of_it {
            if other.value != believed.value {
                sentences.push(format!(
                    "{} names the {} {}, {} names {}; {} is believed",
                    believed.source.words(),
                    about.word(),
                    believed.value,
                    other.source.words(),
                    other.value,
                    believed.source.words(),
                ));
            }
        }
    }
    sentences
}

struct ClusterArn {
    cluster: String,
    region: String,
    account: String,
}

/// `arn:aws:eks:eu-west-1:111122223333:cluster/demo`, as `aws eks update-kubeconfig` names its entries.
fn cluster_arn(name: &str) -> Option<ClusterArn> {
    let arn: Arn = name.parse().ok()?;
    let cluster = arn.resource.strip_prefix("cluster/")?;
    (arn.service == "eks" && !arn.region.is_empty() && !cluster.is_empty() && !cluster.contains('/')).then(
        || ClusterArn {
            cluster: cluster.to_owned(),
            region: arn.region.clone(),
            account: arn.account.clone(),
        },
    )
}

/// eksctl's names: `demo.eu-west-1.eksctl.io`, for users and contexts with `USER@` before it.
fn eksctl_name(name: &str) -> Option<(&str, &str)> {
    let name = name.rsplit('@').next().unwrap_or(name);
    let rest = name.strip_suffix(".eksctl.io")?;
    let (cluster, region) = rest.rsplit_once('.')?;
    (!cluster.is_empty() && looks_like_region(region)).then_some((cluster, region))
}

/// `https://HOST:443/path` -> `host`, lower-cased, without user information.
pub fn host_of(server: &str) -> Option<String> {
    let uri: http::Uri = server.parse().ok()?;
    Some(uri.host()?.trim_matches(['[', ']']).to_ascii_lowercase())
}

/// The region in an EKS endpoint's host: `HASH.gr7.eu-west-1.eks.amazonaws.com`, the other partitions' suffixes, and
/// the dual-stack form `HASH.gr7.eks-cluster.eu-west-1.api.aws`. None for any other host.
pub fn region_of_eks_host(host: &str) -> Option<&str> {
    const SUFFIXES: &[&str] = &[
        ".eks.amazonaws.com",
        ".eks.amazonaws.com.cn",
        ".eks.amazonaws.eu",
        ".eks.c2s.ic.gov",
        ".eks.sc2s.sgov.gov",
        ".eks.cloud.adc-e.uk",
        ".eks.csp.hci.ic.gov",
    ];
    for suffix in SUFFIXES {
        if let Some(rest) = host.strip_suffix(suffix) {
            let (before, region) = rest.rsplit_once('.')?;
            return (!before.is_empty() && looks_like_region(region)).then_some(region);
        }
    }
    for suffix in [".api.aws", ".api.amazonwebservices.com.cn"] {
        if let Some(rest) = host.strip_suffix(suffix) {
            let (before, region) = rest.rsplit_once('.')?;
            return (before.ends_with(".eks-cluster") && looks_like_region(region)).then_some(region);
        }
    }
    None
}

/// `eu-west-1`, `us-gov-west-1`, `us-iso-east-1`, `eusc-de-east-1`: two to four parts, a number last.
pub fn looks_like_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    (3..=5).contains(&parts.len())
        && parts.iter().all(|part| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        })
        && parts
            .last()
            .is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
        && parts
            .first()
            .is_some_and(|first| first.bytes().all(|b| b.is_ascii_lowercase()))
}

/// What a context that is not EKS looks like, when its names or host say so.
pub fn not_eks(context: &KubeContext) -> Option<String> {
    let host = context
        .cluster
        .server
        .as_deref()
        .and_then(host_of)
        .unwrap_or_default();
    // Whatever the entries are called.
    if region_of_eks_host(&host).is_some() {
        return None;
    }
    let command = context
        .user
        .exec
        .as_ref()
        .and_then(|exec| exec.command.as_deref())
        .unwrap_or_default();
    let names = [context.name.as_str(), context.cluster_name.as_str()];
    let named = |prefix: &str| names.iter().any(|name| name.starts_with(prefix));
    let is = |exact: &str| names.contains(&exact);
    let kind = if named("kind-") {
        "a kind cluster"
    } else if named("k3d-") {
        "a k3d cluster"
    } else if is("minikube") || named("minikube-") {
        "a minikube cluster"
    } else if is("docker-desktop") {
        "Docker Desktop's cluster"
    } else if is("rancher-desktop") {
        "Rancher Desktop's cluster"
    } else if is("orbstack") || is("colima") || is("microk8s") {
        "a local cluster"
    } else if named("gke_") || command.contains("gke-gcloud-auth-plugin") || host.ends_with(".gke.goog") {
        "a GKE cluster"
    } else if host.ends_with(".azmk8s.io") || command.contains("kubelogin") {
        "an AKS cluster"
    } else if host.ends_with(".k8s.ondigitalocean.com") || command.contains("doctl") {
        "a DigitalOcean cluster"
    } else {
        return None;
    };
    Some(format!(
        "it is {kind} (server {})",
        if host.is_empty() { "not set" } else { &host }
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_of_hosts() {
        for (host, region) in [
            ("abc.gr7.eu-west-1.eks.amazonaws.com", Some("eu-west-1")),
            ("abc.yl4.us-gov-west-1.eks.amazonaws.com", Some("us-gov-west-1")),
            ("abc.sk1.cn-north-1.eks.amazonaws.com.cn", Some("cn-north-1")),
            ("abc.gr7.eks-cluster.eu-central-1.api.aws", Some("eu-central-1")),
            ("eks.eu-west-1.amazonaws.com", None),
            ("eu-west-1.eks.amazonaws.com", None),
            ("abc.gr7.eu-west-1.eks.amazonaws.com.evil.example", None),
            ("localhost", None),
            ("", None),
        ] {
            assert_eq!(region_of_eks_host(host), region, "{host}");
        }
    }

    #[test]
    fn names_that_tell() {
        assert_eq!(
            eksctl_name("demo.eu-west-1.eksctl.io"),
            Some(("demo", "eu-west-1"))
        );
        assert_eq!(
            eksctl_name("alice@my.demo.eu-west-1.eksctl.io"),
            Some(("my.demo", "eu-west-1"))
        );
        assert_eq!(eksctl_name("demo.eksctl.io"), None);
        let found = cluster_arn("arn:aws-cn:eks:cn-north-1:111122223333:cluster/demo").expect("an ARN");
        assert_eq!(
            (
                found.cluster.as_str(),
                found.region.as_str(),
                found.account.as_str()
            ),
            ("demo", "cn-north-1", "111122223333")
        );
        assert!(cluster_arn("arn:aws:eks:eu-west-1:111122223333:nodegroup/demo/x/y").is_none());
        assert!(cluster_arn("arn:aws:iam::111122223333:role/demo").is_none());
    }

    #[test]
    fn hosts_without_their_user_information() {
        assert_eq!(
            host_of("https://user:secret@ABC.gr7.eu-west-1.eks.amazonaws.com:443/x").as_deref(),
            Some("abc.gr7.eu-west-1.eks.amazonaws.com")
        );
        assert_eq!(host_of("https://[::1]:6443").as_deref(), Some("::1"));
        assert_eq!(host_of("not a url"), None);
    }
}
