//! Reading kubeconfig files: `--kubeconfig`, else every file of `KUBECONFIG`, else `~/.kube/config`, else the pod's
//! own service account. Merged as kubectl does: missing files are passed over, the first file to set a name wins.

use std::path::{Path, PathBuf};

use kube::config::{AuthInfo, Cluster, Kubeconfig, NamedAuthInfo};

use super::TargetError;
use crate::text::read_bounded;

/// The largest kubeconfig that is read: some thousand contexts.
const MOST: usize = 16 * 1024 * 1024;

/// One context of the kubeconfig with what it names, looked up.
#[derive(Debug, Clone)]
pub struct KubeContext {
    /// Name of the context; `in-cluster` inside a pod.
    pub name: String,
    pub cluster_name: String,
    pub cluster: Cluster,
    pub user_name: Option<String>,
    /// The user entry, empty when the context names none.
    pub user: AuthInfo,
    pub namespace: Option<String>,
    /// Whether this is the pod's own service account.
    pub in_cluster: bool,
}

/// Where kubeconfig files are looked for.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// `--kubeconfig`.
    pub flag: Option<PathBuf>,
    /// `KUBECONFIG`, a list of files.
    pub env: Option<std::ffi::OsString>,
    pub home: Option<PathBuf>,
    /// Whether the pod's own service account may stand in (KUBERNETES_SERVICE_HOST is set).
    pub in_pod: bool,
}

impl Sources {
    /// From the flag and this process's environment.
    pub fn from_env(flag: Option<&Path>) -> Self {
        Self {
            flag: flag.map(Path::to_path_buf),
            env: std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty()),
            home: std::env::home_dir(),
            in_pod: std::env::var_os("KUBERNETES_SERVICE_HOST").is_some(),
        }
    }

    /// The files to read, in order.
    pub fn paths(&self) -> Vec<PathBuf> {
        if let Some(path) = &self.flag {
            return vec![path.clone()];
        }
        if let Some(list) = &self.env {
            return std::env::split_paths(list)
                .filter(|path| !path.as_os_str().is_empty())
                .collect();
        }
        self.home
            .iter()
            .map(|home| home.join(".kube").join("config"))
            .collect()
    }
}

/// The merged kubeconfig, or nothing when no file exists and the pod's own account stands in.
///
/// # Errors
/// A file that cannot be read or parsed, or no file at all outside a pod.
pub fn load(sources: &Sources) -> Result<Option<Kubeconfig>, TargetError> {
    let paths = sources.paths();
    let mut merged: Option<Kubeconfig> = None;
    for path in &paths {
        // kubectl passes over missing files of the KUBECONFIG list, but not a missing --kubeconfig.
        if !path.exists() {
            continue;
        }
        let bad = |detail: String| TargetError::BadKubeconfig {
            path: path.display().to_string(),
            detail,
        };
        let text = read_bounded(path, MOST).map_err(|error| bad(error.to_string()))?;
        if text.trim().is_empty() {
            continue;
        }
        let mut config = Kubeconfig::read_from(path).map_err(|error| bad(one_line(&error)))?;
        plain_servers(&mut config);
        merged = Some(match merged {
            None => config,
            Some(before) => before.merge(config).map_err(|error| bad(one_line(&error)))?,
        });
    }
    match merged {
        Some(config) => Ok(Some(config)),
        None if sources.in_pod && sources.flag.is_none() => Ok(None),
        None => {
            let tried: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
            Err(TargetError::NoKubeconfig {
                tried: if tried.is_empty() {
                    "~/.kube/config".to_owned()
                } else {
                    tried.join(", ")
                },
            })
        }
    }
}

/// Takes user information, query and fragment off the servers: no API server is named by them, and a secret may be in them.
pub fn plain_servers(config: &mut Kubeconfig) {
    let clusters = config
        .clusters
        .iter_mut()
        .filter_map(|named| named.cluster.as_mut());
    for server in clusters.filter_map(|cluster| cluster.server.as_mut()) {
        *server = plain_server(server);
    }
}

fn plain_server(server: &str) -> String {
    let server = server.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = server.split_once("://") else {
        return server.to_owned();
    };
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

/// An error chain as one line; the YAML parser's picture of the place is cut down to its first line.
fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let more = inner.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = inner.source();
    }
    let text = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or("unreadable")
        .to_owned();
    // A secret could stand on the line the parser complains about; only its first line, the message, is kept.
    text.chars().take(300).collect()
}

/// Looks a context up, with its cluster and user.
///
/// # Errors
/// The context, its cluster or its user does not exist.
pub fn context(config: &Kubeconfig, wanted: Option<&str>) -> Result<KubeContext, TargetError> {
    let known = || {
        let names: Vec<&str> = config.contexts.iter().map(|c| c.name.as_str()).take(20).collect();
        if names.is_empty() {
            "no contexts at all".to_owned()
        } else {
            names.join(", ")
        }
    };
    let name = match wanted
        .map(str::to_owned)
        .or_else(|| config.current_context.clone())
    {
        Some(name) if !name.is_empty() => name,
        _ => return Err(TargetError::NoCurrentContext { known: known() }),
    };
    let entry = config
        .contexts
        .iter()
        .find(|c| c.name == name)
        .and_then(|c| c.context.clone())
        .ok_or_else(|| TargetError::NoSuchContext {
            context: name.clone(),
            known: known(),
        })?;
    let cluster = config
        .clusters
        .iter()
        .find(|c| c.name == entry.cluster)
        .and_then(|c| c.cluster.clone())
        .ok_or_else(|| TargetError::Dangling {
            context: name.clone(),
            kind: "cluster",
            name: entry.cluster.clone(),
        })?;
    let user_name = entry.user.clone().filter(|user| !user.is_empty());
    let user = match &user_name {
        None => AuthInfo::default(),
        Some(user) => config
            .auth_infos
            .iter()
            .find(|u| u.name == *user)
            .map(|u| u.auth_info.clone().unwrap_or_default())
            .ok_or_else(|| TargetError::Dangling {
                context: name.clone(),
                kind: "user",
                name: user.clone(),
            })?,
    };
    Ok(KubeContext {
        name,
        cluster_name: entry.cluster,
        cluster,
        user_name,
        user,
        namespace: entry.namespace,
        in_cluster: false,
    })
}

/// What the flags put in the place of what the context names: `--cluster`, `--user`, `--as`, `--as-group`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    pub cluster: Option<String>,
    pub user: Option<String>,
    /// The user to impersonate.
    pub as_user: Option<String>,
    /// The groups to impersonate, beside a user.
    pub as_groups: Vec<String>,
}

impl Overrides {
    /// The flags again, for another command of this program.
    pub fn words(&self) -> Vec<String> {
        let one = |flag: &str, value: &Option<String>| value.clone().map(|value| [flag.to_owned(), value]);
        [
            one("--cluster", &self.cluster),
            one("--user", &self.user),
            one("--as", &self.as_user),
        ]
        .into_iter()
        .flatten()
        .chain(
            self.as_groups
                .iter()
                .map(|group| ["--as-group".to_owned(), group.clone()]),
        )
        .flatten()
        .collect()
    }

    /// The kubeconfig in which the wanted context (or the current one) names these. A context that is not there is left to
    /// [`context`].
    #[must_use]
    pub fn applied(&self, mut config: Kubeconfig, wanted: Option<&str>) -> Kubeconfig {
        if *self == Self::default() {
            return config;
        }
        let name = wanted
            .map(str::to_owned)
            .or_else(|| config.current_context.clone());
        let entry = config
            .contexts
            .iter_mut()
            .find(|entry| Some(&entry.name) == name.as_ref())
            .and_then(|entry| entry.context.as_mut());
        let Some(entry) = entry else {
            return config;
        };
        if let Some(cluster) = &self.cluster {
            entry.cluster.clone_from(cluster);
        }
        if self.user.is_some() {
            entry.user.clone_from(&self.user);
        }
        if self.as_user.is_some() {
            if entry.user.as_deref().unwrap_or_default().is_empty() {
                // Somebody without credentials, through a proxy that has them.
                entry.user = Some("nobody".to_owned());
                config.auth_infos.push(NamedAuthInfo {
                    name: "nobody".to_owned(),
                    ..NamedAuthInfo::default()
                });
            }
            if let Some(user) = config
                .auth_infos
                .iter_mut()
                .rfind(|one| Some(&one.name) == entry.user.as_ref())
            {
                self.impersonate(user.auth_info.get_or_insert_default());
            }
        }
        config
    }

    /// Puts the user and the groups to impersonate into an entry.
    pub fn impersonate(&self, user: &mut AuthInfo) {
        if self.as_user.is_some() {
            user.impersonate.clone_from(&self.as_user);
            user.impersonate_groups = Some(self.as_groups.clone());
        }
    }
}

/// The pod's own service account as a context.
pub fn in_cluster_context() -> KubeContext {
    KubeContext {
        name: "in-cluster".to_owned(),
        cluster_name: "in-cluster".to_owned(),
        cluster: Cluster::default(),
        user_name: None,
        user: AuthInfo::default(),
        namespace: None,
        in_cluster: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_scheme_host_and_path() {
        for (server, want) in [
            ("https://a.example:443/k8s/c-1", "https://a.example:443/k8s/c-1"),
            ("https://user:pa@ss@a.example/x?token=t#f", "https://a.example/x"),
            ("https://a.example?token=t", "https://a.example"),
            ("https://a.example/x@y", "https://a.example/x@y"),
            ("https://[::1]:6443", "https://[::1]:6443"),
            ("a.example?x", "a.example"),
            ("", ""),
        ] {
            assert_eq!(plain_server(server), want);
        }
    }

    const TWO: &str = "\
current-context: a
contexts:
- {name: a, context: {cluster: ca, user: ua}}
- {name: b, context: {cluster: cb, user: ub}}
clusters:
- {name: ca, cluster: {server: 'https://a'}}
- {name: cb, cluster: {server: 'https://b'}}
users:
- {name: ua, user: {token: a}}
- {name: ub, user: {token: b}}
";

    #[test]
    fn flags_take_the_place_of_what_the_context_names() {
        let text = |value: &str| Some(value.to_owned());
        let seen = |wanted: Option<&str>, overrides: Overrides| {
            let config = Kubeconfig::from_yaml(TWO).expect("a kubeconfig");
            context(&overrides.applied(config, wanted), wanted).map_err(|error| error.to_string())
        };
        let plain = seen(None, Overrides::default()).expect("there");
        assert_eq!((plain.cluster_name.as_str(), plain.user_name), ("ca", text("ua")));
        let other = Overrides {
            cluster: text("cb"),
            user: text("ub"),
            as_user: text("pipeline"),
            as_groups: vec!["deployers".to_owned()],
        };
        assert_eq!(
            other.words().join(" "),
            "--cluster cb --user ub --as pipeline --as-group deployers"
        );
        let found = seen(None, other).expect("there");
        assert_eq!((found.name.as_str(), found.cluster_name.as_str()), ("a", "cb"));
        assert_eq!(found.cluster.server, text("https://b"));
        assert_eq!(found.user.impersonate, text("pipeline"));
        assert_eq!(found.user.impersonate_groups, Some(vec!["deployers".to_owned()]));
        for overrides in [
            Overrides {
                cluster: text("none"),
                ..Overrides::default()
            },
            Overrides {
                user: text("none"),
                ..Overrides::default()
            },
        ] {
            assert!(seen(Some("b"), overrides).is_err_and(|error| error.contains("none")));
        }
    }
}
