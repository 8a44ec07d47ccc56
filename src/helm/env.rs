//! What Helm tells a plugin through the environment, and what helm itself would read there.

use std::ffi::OsString;
use std::path::PathBuf;

use super::args::Invocation;

/// Helm's part of the environment. `HELM_KUBETOKEN` is a secret: only whether it is set is known here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HelmEnv {
    /// `HELM_BIN`: argv\[0\] of the helm that called, maybe relative.
    pub bin: Option<OsString>,
    /// `HELM_PLUGIN_DIR`.
    pub plugin_dir: Option<PathBuf>,
    /// `HELM_NAMESPACE`. Under helm it is always set, so nothing says whether the user chose it.
    pub namespace: Option<String>,
    /// `HELM_KUBECONTEXT`; empty means the current context and is `None` here.
    pub kube_context: Option<String>,
    /// `KUBECONFIG`, a list of files.
    pub kubeconfig: Option<OsString>,
    /// `HELM_KUBEAPISERVER`: another server than the context's.
    pub kube_apiserver: Option<String>,
    /// `HELM_KUBEASUSER`.
    pub as_user: Option<String>,
    /// `HELM_KUBEASGROUPS`.
    pub as_groups: Vec<String>,
    /// `HELM_KUBETOKEN` is set: helm will be somebody else than the context says.
    pub has_token: bool,
    /// `HELM_DEBUG`.
    pub debug: bool,
    /// The helm that called is Helm 4: it alone has a content cache (`HELM_CONTENT_CACHE`).
    pub helm4: bool,
}

/// The cluster that helm will talk to, as far as flags and environment say: the flag stands over the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterChoice {
    /// The kubeconfig context; `None`: the current one.
    pub context: Option<String>,
    /// The kubeconfig file; `None`: KUBECONFIG or the default.
    pub kubeconfig: Option<OsString>,
    /// The release's namespace; `None`: the context's.
    pub namespace: Option<String>,
    /// Another server than the context's.
    pub kube_apiserver: Option<String>,
    /// helm acts as this user.
    pub as_user: Option<String>,
    /// helm acts as these groups.
    pub as_groups: Vec<String>,
    /// helm uses a bearer token of its own.
    pub has_token: bool,
}

impl HelmEnv {
    /// Reads it from `variable`, which is `std::env::var_os` outside tests.
    pub fn read(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let raw = |name: &str| variable(name).filter(|value| !value.is_empty());
        let text = |name: &str| raw(name).and_then(|value| value.into_string().ok());
        Self {
            bin: raw("HELM_BIN"),
            plugin_dir: raw("HELM_PLUGIN_DIR").map(PathBuf::from),
            namespace: text("HELM_NAMESPACE"),
            kube_context: text("HELM_KUBECONTEXT"),
            kubeconfig: raw("KUBECONFIG"),
            kube_apiserver: text("HELM_KUBEAPISERVER"),
            as_user: text("HELM_KUBEASUSER"),
            as_groups: text("HELM_KUBEASGROUPS")
                .map(|groups| {
                    groups
                        .split(',')
                        .filter(|group| !group.is_empty())
                        .map(str::to_owned)
                        .collect()
                })
                .unwrap_or_default(),
            has_token: raw("HELM_KUBETOKEN").is_some(),
            debug: text("HELM_DEBUG")
                .is_some_and(|value| matches!(value.as_str(), "1" | "t" | "T" | "true" | "TRUE" | "True")),
            helm4: raw("HELM_CONTENT_CACHE").is_some(),
        }
    }
}

impl ClusterChoice {
    /// What this line and the environment choose.
    pub fn of(invocation: &Invocation, env: &HelmEnv) -> Self {
        let view = &invocation.view;
        let ours = &invocation.ours;
        Self {
            context: ours
                .context
                .clone()
                .or_else(|| view.kube_context.clone())
                .or_else(|| env.kube_context.clone()),
            kubeconfig: view.kubeconfig.clone(),
            namespace: view.namespace.clone().or_else(|| env.namespace.clone()),
            kube_apiserver: view.kube_apiserver.clone().or_else(|| env.kube_apiserver.clone()),
            as_user: view.as_user.clone().or_else(|| env.as_user.clone()),
            as_groups: if view.as_groups.is_empty() {
                env.as_groups.clone()
            } else {
                view.as_groups.clone()
            },
            has_token: view.has_token || env.has_token,
        }
    }

    /// Why the preflight can't speak for what helm will do: it would talk to another server, or be somebody else, than
    /// the context says. Worded as the end of a sentence.
    pub fn departs_from_context(&self) -> Option<&'static str> {
        if self.kube_apiserver.is_some() {
            Some("helm is given another server than the context's (--kube-apiserver)")
        } else if self.has_token {
            Some(
                "helm is given its own token (--kube-token), so it acts as another identity than the context's",
            )
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::args::parse;
    use super::super::flags::{FlagTable, Verb};
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> HelmEnv {
        HelmEnv::read(|name| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.into())
        })
    }

    fn choice(line: &str, pairs: &[(&str, &str)]) -> ClusterChoice {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let split = parse(&words, &FlagTable::new(Verb::Install)).expect("valid");
        ClusterChoice::of(&split, &env(pairs))
    }

    #[test]
    fn flags_stand_over_the_environment() {
        let from_helm = [
            ("HELM_NAMESPACE", "karpenter"),
            ("HELM_KUBECONTEXT", "demo"),
            ("KUBECONFIG", "a:b"),
        ];
        let chosen = choice("r c", &from_helm);
        assert_eq!(chosen.context.as_deref(), Some("demo"));
        assert_eq!(chosen.namespace.as_deref(), Some("karpenter"));
        assert_eq!(chosen.kubeconfig, None, "KUBECONFIG is read as such");
        let chosen = choice(
            "r c --kube-context other -n kube-system --kubeconfig f",
            &from_helm,
        );
        assert_eq!(chosen.context.as_deref(), Some("other"));
        assert_eq!(chosen.namespace.as_deref(), Some("kube-system"));
        assert_eq!(chosen.kubeconfig, Some("f".into()));
        assert_eq!(
            choice("r c --context mine", &from_helm).context.as_deref(),
            Some("mine")
        );
        assert_eq!(choice("r c", &[("HELM_KUBECONTEXT", "")]).context, None);
    }

    #[test]
    fn variables_of_helm() {
        assert!(env(&[("HELM_DEBUG", "true")]).debug);
        assert!(env(&[("HELM_DEBUG", "1")]).debug);
        assert!(!env(&[("HELM_DEBUG", "false")]).debug);
        assert!(env(&[("HELM_CONTENT_CACHE", "/c")]).helm4);
    }

    #[test]
    fn the_token_is_never_kept() {
        let read = env(&[("HELM_KUBETOKEN", "sesame")]);
        assert!(read.has_token);
        assert!(!format!("{read:?}").contains("sesame"));
    }

    #[test]
    fn somebody_else_than_the_context_says() {
        assert_eq!(choice("r c", &[]).departs_from_context(), None);
        for (line, word) in [
            ("r c --kube-apiserver https://x", "another server"),
            ("r c --kube-token t", "token"),
        ] {
            assert!(
                choice(line, &[])
                    .departs_from_context()
                    .is_some_and(|why| why.contains(word)),
                "{line}"
            );
        }
        // The preflight asks as they do.
        let other = choice("r c --kube-as-user u", &[("HELM_KUBEASGROUPS", "a,b")]);
        assert_eq!(
            (other.as_user.as_deref(), other.as_groups.join(" ")),
            (Some("u"), "a b".to_owned())
        );
        assert_eq!(other.departs_from_context(), None);
    }
}
