//! The flags of `helm install` and `helm upgrade`, as far as they must be understood.
//!
//! The table holds what `helm install|upgrade|template --help` of 3.17, 3.19 and 4.2 list, and the flags that they
//! accept but hide (klog's, and in Helm 4 the deprecated names). A flag that is not in it is taken from the help text
//! of the helm that will run ([`FlagTable::learn`]); one that is in neither is passed on and its next word is never
//! interpreted.

use std::collections::BTreeMap;

/// Which of helm's two installing commands is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// `helm install`
    Install,
    /// `helm upgrade`, with or without `--install`
    Upgrade,
}

impl Verb {
    /// The word on helm's command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Upgrade => "upgrade",
        }
    }
}

/// Whether a flag takes the next word as its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// Never: a boolean, or a flag whose value is optional and then needs `=` (`--dry-run`, Helm 4's `--wait`).
    Alone,
    /// `--flag value` or `--flag=value`.
    Value,
}

/// What is known about a flag of helm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flag {
    pub(super) arity: Arity,
    /// `helm template` knows it too, and it bears on what is rendered or on where the chart comes from.
    pub(super) renders: bool,
    /// Says which cluster to talk to, and how: every command of helm knows it.
    pub(super) connects: bool,
}

const fn flag(arity: Arity, renders: bool, connects: bool) -> Flag {
    Flag {
        arity,
        renders,
        connects,
    }
}

/// Bears on the rendered text.
const RENDER: Flag = flag(Arity::Alone, true, false);
const RENDER_VALUE: Flag = flag(Arity::Value, true, false);
/// Bears on the connection.
const CONNECT: Flag = flag(Arity::Alone, true, true);
const CONNECT_VALUE: Flag = flag(Arity::Value, true, true);
/// Bears on the installing only. `helm template` either doesn't know it or does nothing with it.
const ACT: Flag = flag(Arity::Alone, false, false);
const ACT_VALUE: Flag = flag(Arity::Value, false, false);

/// Every flag with a long name: (long, shorthand, what it is).
const FLAGS: &[(&str, Option<char>, Flag)] = &[
    // Where the chart comes from.
    ("ca-file", None, RENDER_VALUE),
    ("cert-file", None, RENDER_VALUE),
    ("content-cache", None, RENDER_VALUE),
    ("dependency-update", None, RENDER),
    ("devel", None, RENDER),
    ("insecure-skip-tls-verify", None, RENDER),
    ("key-file", None, RENDER_VALUE),
    ("keyring", None, RENDER_VALUE),
    ("pass-credentials", None, RENDER),
    ("password", None, RENDER_VALUE),
    ("plain-http", None, RENDER),
    ("registry-config", None, RENDER_VALUE),
    ("repo", None, RENDER_VALUE),
    ("repository-cache", None, RENDER_VALUE),
    ("repository-config", None, RENDER_VALUE),
    ("username", None, RENDER_VALUE),
    ("verify", None, RENDER),
    ("version", None, RENDER_VALUE),
    // What is rendered.
    ("disable-openapi-validation", None, RENDER),
    ("enable-dns", None, RENDER),
    ("generate-name", Some('g'), RENDER),
    ("name-template", None, RENDER_VALUE),
    ("no-hooks", None, RENDER),
    ("post-renderer", None, RENDER_VALUE),
    ("post-renderer-args", None, RENDER_VALUE),
    ("set", None, RENDER_VALUE),
    ("set-file", None, RENDER_VALUE),
    ("set-json", None, RENDER_VALUE),
    ("set-literal", None, RENDER_VALUE),
    ("set-string", None, RENDER_VALUE),
    ("skip-crds", None, RENDER),
    ("skip-schema-validation", None, RENDER),
    ("values", Some('f'), RENDER_VALUE),
    // Which cluster, and how to talk to it.
    ("burst-limit", None, CONNECT_VALUE),
    ("debug", None, CONNECT),
    ("kube-apiserver", None, CONNECT_VALUE),
    ("kube-as-group", None, CONNECT_VALUE),
    ("kube-as-user", None, CONNECT_VALUE),
    ("kube-ca-file", None, CONNECT_VALUE),
    ("kube-context", None, CONNECT_VALUE),
    ("kube-insecure-skip-tls-verify", None, CONNECT),
    ("kube-tls-server-name", None, CONNECT_VALUE),
    ("kube-token", None, CONNECT_VALUE),
    ("kubeconfig", None, CONNECT_VALUE),
    ("namespace", Some('n'), CONNECT_VALUE),
    ("qps", None, CONNECT_VALUE),
    // What is done with it.
    ("atomic", None, ACT),
    ("cleanup-on-fail", None, ACT),
    ("color", None, ACT_VALUE),
    ("colour", None, ACT_VALUE),
    ("create-namespace", None, ACT),
    ("description", None, ACT_VALUE),
    ("dry-run", None, ACT),
    ("force", None, ACT),
    ("force-conflicts", None, ACT),
    ("force-replace", None, ACT),
    ("help", Some('h'), ACT),
    ("hide-notes", None, ACT),
    ("hide-secret", None, ACT),
    ("history-max", None, ACT_VALUE),
    ("install", Some('i'), ACT),
    ("labels", Some('l'), ACT_VALUE),
    ("output", Some('o'), ACT_VALUE),
    ("render-subchart-notes", None, ACT),
    ("replace", None, ACT),
    ("reset-then-reuse-values", None, ACT),
    ("reset-values", None, ACT),
    ("reuse-values", None, ACT),
    ("rollback-on-failure", None, ACT),
    ("take-ownership", None, ACT),
    ("timeout", None, ACT_VALUE),
    ("wait", None, ACT),
    ("wait-for-jobs", None, ACT),
    // klog's, accepted by helm and hidden.
    ("add-dir-header", None, ACT),
    ("alsologtostderr", None, ACT),
    ("legacy-stderr-threshold-behavior", None, ACT),
    ("log-backtrace-at", None, ACT_VALUE),
    ("log-dir", None, ACT_VALUE),
    ("log-file", None, ACT_VALUE),
    ("log-file-max-size", None, ACT_VALUE),
    ("logtostderr", None, ACT),
    ("one-output", None, ACT),
    ("skip-headers", None, ACT),
    ("skip-log-headers", None, ACT),
    ("stderrthreshold", None, ACT_VALUE),
    ("v", Some('v'), ACT_VALUE),
    ("vmodule", None, ACT_VALUE),
];

/// Longest flag name that is learned from a help text.
const MAX_NAME: usize = 64;
/// Most flags that are learned from one help text.
const MAX_LEARNED: usize = 500;

/// What is known about the flags of one verb: the table, and what was learned from this helm's own help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagTable {
    verb: Verb,
    long: BTreeMap<String, Flag>,
    short: BTreeMap<char, String>,
}

impl FlagTable {
    /// The flags of Helm 3.17 to 4.2.
    pub fn new(verb: Verb) -> Self {
        let mut table = Self {
            verb,
            long: BTreeMap::new(),
            short: BTreeMap::new(),
        };
        for (long, short, flag) in FLAGS {
            table.add(long, *short, *flag);
        }
        // The one flag that takes a value with one verb and none with the other (Helm 4).
        table.add(
            "server-side",
            None,
            match verb {
                Verb::Install => ACT,
                Verb::Upgrade => ACT_VALUE,
            },
        );
        table
    }

    /// The verb whose flags these are.
    pub fn verb(&self) -> Verb {
        self.verb
    }

    fn add(&mut self, long: &str, short: Option<char>, flag: Flag) {
        self.long.insert(long.to_owned(), flag);
        if let Some(short) = short {
            self.short.insert(short, long.to_owned());
        }
    }

    /// Adds the flags that this helm knows and the table doesn't: `verb_help` is what `helm install --help` (or
    /// upgrade) prints, `template_help` what `helm template --help` prints. What the table says stands.
    #[must_use]
    pub fn learn(mut self, verb_help: &str, template_help: &str) -> Self {
        let template: BTreeMap<String, HelpLine> = help_lines(template_help)
            .map(|line| (line.long.clone(), line))
            .collect();
        for line in help_lines(verb_help).take(MAX_LEARNED) {
            if self.long.contains_key(&line.long) {
                continue;
            }
            let renders = template
                .get(&line.long)
                .is_some_and(|other| other.arity == line.arity);
            let short = line.short.filter(|short| !self.short.contains_key(short));
            self.add(&line.long, short, flag(line.arity, renders, false));
        }
        self
    }

    pub(super) fn long(&self, name: &str) -> Option<Flag> {
        self.long.get(name).copied()
    }

    /// The long name behind a shorthand, and what it is.
    pub(super) fn short(&self, name: char) -> Option<(&str, Flag)> {
        let long = self.short.get(&name)?;
        Some((long, self.long(long)?))
    }
}

/// One line of pflag's usage text.
struct HelpLine {
    long: String,
    short: Option<char>,
    arity: Arity,
}

/// The flags that a help text lists. pflag writes `  -f, --values strings   text`, with the type left out for a
/// boolean and followed by `[=...]` where the value is optional (spf13/pflag, FlagUsagesWrapped).
fn help_lines(text: &str) -> impl Iterator<Item = HelpLine> + '_ {
    text.lines().filter_map(|line| {
        let line = line.strip_prefix("  ")?;
        let (short, rest) = match line.strip_prefix('-') {
            Some(rest) if !rest.starts_with('-') => {
                let mut chars = rest.chars();
                let short = chars.next()?;
                (Some(short), chars.as_str().strip_prefix(", --")?)
            }
            _ => (None, line.trim_start().strip_prefix("--")?),
        };
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.'))
            .unwrap_or(rest.len());
        let (long, rest) = rest.split_at(end);
        if long.is_empty() || long.len() > MAX_NAME {
            return None;
        }
        // Name and type are one space apart, the text follows after two at least.
        let kind = match rest.strip_prefix(' ') {
            Some(rest) if !rest.starts_with(' ') => rest.split("  ").next().unwrap_or_default(),
            Some(_) | None => "",
        };
        let arity = if kind.is_empty() || kind.contains("[=") || rest.starts_with("[=") {
            Arity::Alone
        } else {
            Arity::Value
        };
        Some(HelpLine {
            long: long.to_owned(),
            short,
            arity,
        })
    })
}

#[cfg(test)]
pub(super) fn help_flags(text: &str) -> Vec<(String, Option<char>, Arity)> {
    help_lines(text)
        .map(|line| (line.long, line.short, line.arity))
        .collect()
}
