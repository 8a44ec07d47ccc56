//! The command line of `capt-spot install|upgrade`: our few flags taken out, helm's left as they are.
//!
//! helm's words are passed on unchanged and in their order. What has to be known of them (release, chart, namespace,
//! context, dry run, where the values come from) is read the way helm reads them: spf13/pflag's rules, which clap
//! doesn't follow (shorthand clusters with values, optional values that need `=`).

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use super::flags::{Arity, FlagTable, Verb};

/// Our own flags. None of them is a flag of helm 3.17 to 4.2, hidden ones included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OurFlags {
    /// `--force-install`: install in spite of what the checks say.
    pub force_install: bool,
    /// `--yes`: create the missing role without asking.
    pub yes: bool,
    /// `--no-input`: never ask.
    pub no_input: bool,
    /// `--strict`: a warning blocks as well.
    pub strict: bool,
    /// `--node-role NAME|ARN`
    pub node_role: Option<String>,
    /// `--only ID|GROUP`, several times or with commas.
    pub only: Vec<String>,
    /// `--skip ID|GROUP`, several times or with commas.
    pub skip: Vec<String>,
    /// `--profile NAME`: the AWS profile.
    pub profile: Option<String>,
    /// `--region REGION`
    pub region: Option<String>,
    /// `--cluster-name NAME`: the EKS cluster behind the context.
    pub cluster_name: Option<String>,
    /// `--context NAME`, kubectl's word for helm's `--kube-context`.
    pub context: Option<String>,
    /// `--nodepools FILE`: the NodePools that will be applied later.
    pub nodepools: Option<PathBuf>,
    /// `--request-timeout DURATION`, as written.
    pub request_timeout: Option<String>,
    /// `--report FILE`: the report goes there too.
    pub report: Option<PathBuf>,
}

/// The release's name in a chart that is rendered for a line with `--generate-name`, where helm makes up another name each time.
pub const PLACEHOLDER: &str = "capt-spot-placeholder";

/// The names and placeholders of [`OurFlags`], for usage texts, completion and tests.
pub const OUR_FLAGS: &[OurFlag] = &[
    OurFlag::new(
        "force-install",
        "",
        "Install despite failed checks, with a warning",
    ),
    OurFlag::new("yes", "", "Create the missing service-linked role without asking"),
    OurFlag::new("no-input", "", "Never ask anything"),
    OurFlag::new("strict", "", "A warning blocks the installation too"),
    OurFlag::new(
        "node-role",
        "NAME|ARN",
        "The role of the nodes that Karpenter will launch",
    ),
    OurFlag::new("only", "CHECK|GROUP", "Run only these checks; may be repeated"),
    OurFlag::new("skip", "CHECK|GROUP", "Leave these checks out; may be repeated"),
    OurFlag::new("profile", "NAME", "The AWS profile"),
    OurFlag::new("region", "REGION", "The AWS region of the cluster"),
    OurFlag::new(
        "cluster-name",
        "NAME",
        "The EKS cluster (default: from the context)",
    ),
    OurFlag::new(
        "context",
        "NAME",
        "The kubeconfig context; the same as --kube-context",
    ),
    OurFlag::new(
        "nodepools",
        "FILE",
        "NodePools that will be applied after the chart",
    ),
    OurFlag::new("request-timeout", "DURATION", "How long one request may take"),
    OurFlag::new("report", "FILE", "Write the report to this file too"),
];

/// One of our own flags, for usage texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OurFlag {
    /// The name without dashes.
    pub name: &'static str,
    /// What stands for the value in a usage text; empty for a switch.
    pub value: &'static str,
    /// What it does.
    pub help: &'static str,
}

impl OurFlag {
    const fn new(name: &'static str, value: &'static str, help: &'static str) -> Self {
        Self { name, value, help }
    }

    fn named(name: &str) -> Option<&'static Self> {
        OUR_FLAGS.iter().find(|flag| flag.name == name)
    }
}

/// A command line that can't be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// One of our flags stands without its value.
    #[error("--{flag} needs a value: --{flag} {placeholder}")]
    NoValue {
        /// The flag, without dashes.
        flag: &'static str,
        /// What the value is.
        placeholder: &'static str,
    },
    /// A value that our flag can't take.
    #[error("--{flag} {problem}")]
    BadValue {
        /// The flag, without dashes.
        flag: &'static str,
        /// Why not, as the end of a sentence.
        problem: String,
    },
    /// `--context` and `--kube-context` disagree.
    #[error(
        "--context {context} and --kube-context {kube_context} name different contexts; give one of them"
    )]
    TwoContexts {
        /// Our flag's value.
        context: String,
        /// helm's flag's value.
        kube_context: String,
    },
    /// Neither release nor chart.
    #[error("name the release and the chart: {} RELEASE CHART [flags]", .0.as_str())]
    NoChart(Verb),
}

/// Where `helm upgrade` takes the values from that the command line doesn't give.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OldValues {
    /// The chart's defaults only (`--reset-values`).
    Reset,
    /// The last release's computed values (`--reuse-values`).
    Reuse,
    /// The last release's given values over the new chart's defaults (`--reset-then-reuse-values`).
    ResetThenReuse,
    /// None of the three: the last release's given values if the command line gives none at all.
    #[default]
    ReuseIfNoneGiven,
}

/// What helm was told, as far as it matters to the preflight.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HelmView {
    /// The release. `None`: generated, not given, or hidden behind a flag that nobody knows.
    pub release: Option<String>,
    /// The chart, as written. `None` as for the release.
    pub chart: Option<OsString>,
    /// `-n`/`--namespace` on this line. (Under helm it comes through the environment.)
    pub namespace: Option<String>,
    /// `--kube-context` on this line.
    pub kube_context: Option<String>,
    /// `--kubeconfig` on this line.
    pub kubeconfig: Option<OsString>,
    /// `--kube-apiserver` on this line: helm will talk to another server than the context's.
    pub kube_apiserver: Option<String>,
    /// `--kube-as-user` on this line.
    pub as_user: Option<String>,
    /// `--kube-as-group` on this line.
    pub as_groups: Vec<String>,
    /// `--kube-token` is on this line. The token itself is never kept.
    pub has_token: bool,
    /// Some form of `--dry-run` that doesn't say `none` or `false`: nothing may be written, in AWS either.
    pub dry_run: bool,
    /// `upgrade --install`.
    pub install_if_missing: bool,
    /// `--create-namespace`.
    pub create_namespace: bool,
    /// `--skip-crds`.
    pub skip_crds: bool,
    /// `--no-hooks`.
    pub no_hooks: bool,
    /// `-g`/`--generate-name` or `--name-template`.
    pub generated_name: bool,
    /// `-g`/`--generate-name`: helm makes up another name each time.
    pub helm_names_it: bool,
    /// What happens to the last release's values.
    pub old_values: OldValues,
    /// The line gives values (`-f`, `--set*`).
    pub gives_values: bool,
    /// Something on the line is `-`: helm reads its standard input.
    pub reads_stdin: bool,
    /// `-h`/`--help`.
    pub help: bool,
    /// `--debug`.
    pub debug: bool,
    /// `--color`/`--colour`, a global flag of Helm 4 with the words that ours takes too.
    pub color: Option<String>,
    /// Flags that neither the table nor helm's help knows, as written (without their values).
    pub unknown_flags: Vec<String>,
}

/// The command line, split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// `install` or `upgrade`.
    pub verb: Verb,
    /// Our own flags.
    pub ours: OurFlags,
    /// helm's words, unchanged and in order, without our own and without the verb.
    pub helm: Vec<OsString>,
    /// What helm's words say.
    pub view: HelmView,
    items: Vec<Item>,
}

/// A group of helm's words that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    /// The words, as written.
    words: Vec<OsString>,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// A release, a chart, or something too much.
    Positional,
    /// `--`.
    Terminator,
    /// `--name`, `--name=value`, `--name value`.
    Long(Set),
    /// `-f value`, `-gf=value` and the like. `rest` is what comes from the first unknown shorthand on.
    Cluster {
        known: Vec<(char, Set)>,
        rest: Option<String>,
    },
    /// An unknown flag, and the next word, which is its value or isn't.
    Unknown,
}

/// A known flag that is given.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Set {
    long: String,
    value: Option<OsString>,
    renders: bool,
    connects: bool,
}

/// Splits the words that follow `install` or `upgrade`.
///
/// # Errors
/// Our own flags given wrongly, or no chart at all. What is wrong with helm's own flags is helm's to say.
pub fn parse(words: &[OsString], table: &FlagTable) -> Result<Invocation, UsageError> {
    let mut ours = OurFlags::default();
    let mut items = Vec::new();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let text = word.to_string_lossy();
        if text == "--" {
            items.push(Item {
                words: vec![word.clone()],
                what: What::Terminator,
            });
            items.extend(rest.by_ref().map(|word| Item {
                words: vec![word.clone()],
                what: What::Positional,
            }));
        } else if let Some(name) = text.strip_prefix("--") {
            let (name, value) = match name.split_once('=') {
                Some((name, _)) => (name, Some(after_equals(word))),
                None => (name, None),
            };
            if let Some(flag) = OurFlag::named(name) {
                take_ours(&mut ours, flag, value, &mut rest)?;
            } else {
                items.push(long(word, name, value, table, &mut rest));
            }
        } else if text.len() > 1 && text.starts_with('-') {
            items.push(cluster(word, table, &mut rest));
        } else {
            items.push(Item {
                words: vec![word.clone()],
                what: What::Positional,
            });
        }
    }
    let view = view(&items);
    if let (Some(context), Some(kube_context)) = (&ours.context, &view.kube_context)
        && context != kube_context
    {
        return Err(UsageError::TwoContexts {
            context: context.clone(),
            kube_context: kube_context.clone(),
        });
    }
    if !view.help && view.unknown_flags.is_empty() && !items.iter().any(|item| item.what == What::Positional)
    {
        return Err(UsageError::NoChart(table.verb()));
    }
    Ok(Invocation {
        verb: table.verb(),
        ours,
        helm: items.iter().flat_map(|item| item.words.iter().cloned()).collect(),
        view,
        items,
    })
}

/// What follows the first `=` of a word, bytes that aren't UTF-8 included.
fn after_equals(word: &OsStr) -> OsString {
    match word.to_str() {
        Some(text) => text
            .split_once('=')
            .map_or_else(OsString::new, |(_, value)| value.into()),
        None => {
            #[cfg(unix)]
            {
                use std::os::unix::ffi::{OsStrExt, OsStringExt};
                let bytes = word.as_bytes();
                let start = bytes
                    .iter()
                    .position(|b| *b == b'=')
                    .map_or(bytes.len(), |at| at + 1);
                OsString::from_vec(bytes[start..].to_vec())
            }
            #[cfg(not(unix))]
            {
                let text = word.to_string_lossy();
                text.split_once('=')
                    .map_or_else(OsString::new, |(_, value)| value.into())
            }
        }
    }
}

fn take_ours<'a>(
    ours: &mut OurFlags,
    flag: &'static OurFlag,
    value: Option<OsString>,
    rest: &mut std::slice::Iter<'a, OsString>,
) -> Result<(), UsageError> {
    if flag.value.is_empty() {
        let on = match value.as_deref().map(OsStr::to_string_lossy).as_deref() {
            None => true,
            Some(text) => parse_bool(text).ok_or_else(|| UsageError::BadValue {
                flag: flag.name,
                problem: "is a switch: it takes true, false, or nothing".to_owned(),
            })?,
        };
        match flag.name {
            "force-install" => ours.force_install = on,
            "yes" => ours.yes = on,
            "no-input" => ours.no_input = on,
            _ => ours.strict = on,
        }
        return Ok(());
    }
    let no_value = UsageError::NoValue {
        flag: flag.name,
        placeholder: flag.value,
    };
    let value = match value {
        Some(value) => value,
        None => match rest.as_slice().first() {
            // Most likely forgotten: a value of ours never begins with a dash.
            Some(next) if next.to_string_lossy().starts_with('-') => return Err(no_value),
            Some(_) => rest.next().cloned().unwrap_or_default(),
            None => return Err(no_value),
        },
    };
    if value.is_empty() {
        return Err(no_value);
    }
    match flag.name {
        "nodepools" => ours.nodepools = Some(value.into()),
        "report" => ours.report = Some(value.into()),
        name => {
            let text = value.into_string().map_err(|_| UsageError::BadValue {
                flag: flag.name,
                problem: "has a value that isn't UTF-8".to_owned(),
            })?;
            let list = || {
                text.split(',')
                    .map(str::trim)
                    .filter(|one| !one.is_empty())
                    .map(str::to_owned)
            };
            match name {
                "only" => ours.only.extend(list()),
                "skip" => ours.skip.extend(list()),
                "node-role" => ours.node_role = Some(text),
                "profile" => ours.profile = Some(text),
                "region" => ours.region = Some(text),
                "cluster-name" => ours.cluster_name = Some(text),
                "context" => ours.context = Some(text),
                _ => ours.request_timeout = Some(text),
            }
        }
    }
    Ok(())
}

/// One of helm's `--flags`.
fn long<'a>(
    word: &OsString,
    name: &str,
    value: Option<OsString>,
    table: &FlagTable,
    rest: &mut std::slice::Iter<'a, OsString>,
) -> Item {
    let mut words = vec![word.clone()];
    let Some(flag) = table.long(name) else {
        if value.is_none() {
            words.extend(uninterpreted(rest));
        }
        return Item {
            words,
            what: What::Unknown,
        };
    };
    let value = match (value, flag.arity) {
        (Some(value), _) => Some(value),
        (None, Arity::Alone) => None,
        (None, Arity::Value) => rest.next().inspect(|next| words.push((*next).clone())).cloned(),
    };
    let set = Set {
        long: name.to_owned(),
        value,
        renders: flag.renders,
        connects: flag.connects,
    };
    Item {
        words,
        what: What::Long(set),
    }
}

/// The word after an unknown flag: its value, or not. `--` is the exception: taking it for a value could make flags
/// of ours out of words that helm is to get as they are.
fn uninterpreted<'a>(rest: &mut std::slice::Iter<'a, OsString>) -> Option<OsString> {
    match rest.as_slice().first() {
        Some(next) if next != "--" => rest.next().cloned(),
        _ => None,
    }
}

/// One of helm's `-f`, `-fvalue`, `-f=value`, `-gf value`.
fn cluster<'a>(word: &OsString, table: &FlagTable, rest: &mut std::slice::Iter<'a, OsString>) -> Item {
    let mut words = vec![word.clone()];
    let text = word.to_string_lossy();
    let mut known = Vec::new();
    let mut left = text.get(1..).unwrap_or_default();
    while let Some(short) = left.chars().next() {
        let after = &left[short.len_utf8()..];
        let Some((name, flag)) = table.short(short) else {
            words.extend(uninterpreted(rest));
            let rest = Some(left.to_owned());
            return Item {
                words,
                what: What::Cluster { known, rest },
            };
        };
        let mut set = Set {
            long: name.to_owned(),
            value: None,
            renders: flag.renders,
            connects: flag.connects,
        };
        // pflag (parseSingleShortArg): `=` ends the cluster whatever the flag is, unless it is the last character.
        let equals = after.strip_prefix('=').filter(|value| !value.is_empty());
        if let Some(value) = equals {
            set.value = Some(tail(word, value));
        } else if flag.arity == Arity::Alone {
            known.push((short, set));
            left = after;
            continue;
        } else if after.is_empty() {
            set.value = rest.next().inspect(|next| words.push((*next).clone())).cloned();
        } else {
            set.value = Some(tail(word, after));
        }
        known.push((short, set));
        break;
    }
    Item {
        words,
        what: What::Cluster { known, rest: None },
    }
}

/// The end of `word` that reads `lossy`, with the bytes that were lost in it where there were any.
fn tail(word: &OsStr, lossy: &str) -> OsString {
    #[cfg(unix)]
    if word.to_str().is_none() {
        use std::os::unix::ffi::{OsStrExt, OsStringExt};
        // Shorthands are ASCII: what stands before the value is as long in bytes as it is in the lossy text.
        let start = word.to_string_lossy().len() - lossy.len();
        return OsString::from_vec(word.as_bytes().get(start..).unwrap_or_default().to_vec());
    }
    let _ = word;
    lossy.into()
}

/// Go's strconv.ParseBool.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

fn view(items: &[Item]) -> HelmView {
    let mut view = HelmView::default();
    let (mut reset, mut reuse, mut reset_then_reuse) = (false, false, false);
    let mut positionals = Vec::new();
    for item in items {
        let sets: &[_] = match &item.what {
            What::Positional => {
                positionals.extend(item.words.first());
                continue;
            }
            What::Terminator => continue,
            What::Unknown => {
                view.unknown_flags.push(flag_name(&item.words));
                suspect(&item.words, &mut view);
                continue;
            }
            What::Long(set) => std::slice::from_ref(set),
            What::Cluster { known, rest } => {
                if rest.is_some() {
                    view.unknown_flags.push(flag_name(&item.words));
                    suspect(&item.words, &mut view);
                }
                for (_, set) in known {
                    apply(set, &mut view, (&mut reset, &mut reuse, &mut reset_then_reuse));
                }
                continue;
            }
        };
        for set in sets {
            apply(set, &mut view, (&mut reset, &mut reuse, &mut reset_then_reuse));
        }
    }
    // The order of precedence of helm's `action.Upgrade.reuseValues`.
    view.old_values = if reset {
        OldValues::Reset
    } else if reuse {
        OldValues::Reuse
    } else if reset_then_reuse {
        OldValues::ResetThenReuse
    } else {
        OldValues::ReuseIfNoneGiven
    };
    // Behind an unknown flag nobody can tell a value from a release.
    if view.unknown_flags.is_empty() {
        match positionals.as_slice() {
            [chart] if view.generated_name => view.chart = Some((*chart).clone()),
            [release, chart, ..] => {
                view.release = Some(release.to_string_lossy().into_owned());
                view.chart = Some((*chart).clone());
            }
            _ => {}
        }
    }
    view
}

/// A flag's name without its value, for messages.
fn flag_name(words: &[OsString]) -> String {
    let word = words
        .first()
        .map(|word| word.to_string_lossy().into_owned())
        .unwrap_or_default();
    match word.split_once('=') {
        Some((name, _)) => name.to_owned(),
        None => word,
    }
}

/// The word after an unknown flag is not interpreted, but when in doubt nothing is written.
fn suspect(words: &[OsString], view: &mut HelmView) {
    for word in words.iter().skip(1) {
        let text = word.to_string_lossy();
        if text == "--dry-run" || text.strip_prefix("--dry-run=").is_some_and(is_dry) {
            view.dry_run = true;
        }
    }
}

/// `--dry-run=VALUE`. What helm would refuse counts as a dry run too.
fn is_dry(value: &str) -> bool {
    value != "none" && parse_bool(value) != Some(false)
}

fn apply(set: &Set, view: &mut HelmView, old: (&mut bool, &mut bool, &mut bool)) {
    let text = || {
        set.value
            .as_deref()
            .map(|value| value.to_string_lossy().into_owned())
    };
    let on = || text().is_none_or(|text| parse_bool(&text) != Some(false));
    match set.long.as_str() {
        "namespace" => view.namespace = text(),
        "kube-context" => view.kube_context = text(),
        "kubeconfig" => view.kubeconfig.clone_from(&set.value),
        "kube-apiserver" => view.kube_apiserver = text(),
        "kube-as-user" => view.as_user = text(),
        "kube-as-group" => view.as_groups.extend(text()),
        "kube-token" => view.has_token = true,
        "dry-run" => {
            let value = text();
            view.dry_run |= value.as_deref().is_none_or(is_dry);
        }
        "install" => view.install_if_missing = on(),
        "create-namespace" => view.create_namespace = on(),
        "skip-crds" => view.skip_crds = on(),
        "no-hooks" => view.no_hooks = on(),
        "generate-name" => {
            view.helm_names_it = on();
            view.generated_name |= view.helm_names_it;
        }
        "name-template" => view.generated_name = true,
        "reset-values" => *old.0 = on(),
        "reuse-values" => *old.1 = on(),
        "reset-then-reuse-values" => *old.2 = on(),
        "values" => {
            view.gives_values = true;
            view.reads_stdin |= text().is_some_and(|text| text.split(',').any(|one| one.trim() == "-"));
        }
        "set-file" => {
            view.gives_values = true;
            view.reads_stdin |= text().is_some_and(|text| text.split(',').any(|one| one.ends_with("=-")));
        }
        "set" | "set-json" | "set-literal" | "set-string" => view.gives_values = true,
        "help" => view.help = on(),
        "debug" => view.debug = on(),
        "color" | "colour" => view.color = text(),
        _ => {}
    }
}

/// What is asked of `helm template` beyond the given words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TemplateOptions {
    /// The release exists already: `.Release.IsUpgrade`, and helm won't touch CRDs.
    pub is_upgrade: bool,
    /// A values file that goes before those of the line: the last release's values.
    pub old_values: Option<PathBuf>,
    /// The cluster's version, for charts that ask for one. helm's own default is what it was built against.
    pub kube_version: Option<String>,
    /// API versions of the cluster beyond the built-in ones (`monitoring.coreos.com/v1`).
    pub api_versions: Vec<String>,
}

impl Invocation {
    /// The words for `helm template` that show what this line would install: the same, without the flags that
    /// `template` doesn't know or that bear on the installing only. `--dry-run=server` is among those: with it Helm 4's
    /// `template` fails where the cluster can't be reached, which the preflight explains better.
    pub fn template_args(&self, options: &TemplateOptions) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["template".into(), "--skip-tests".into()];
        if self.view.helm_names_it {
            args.push(PLACEHOLDER.into());
        }
        if !self.view.skip_crds && !options.is_upgrade {
            args.push("--include-crds".into());
        }
        if options.is_upgrade {
            args.push("--is-upgrade".into());
        }
        if let Some(version) = &options.kube_version {
            args.push(format!("--kube-version={version}").into());
        }
        args.extend(
            options
                .api_versions
                .iter()
                .map(|api| format!("--api-versions={api}").into()),
        );
        if let Some(file) = &options.old_values {
            args.push("--values".into());
            args.push(file.into());
        }
        // The chart rendered through our own gate would be a preflight inside the preflight.
        let ours = self.items.iter().any(|item| match &item.what {
            What::Long(set) => set.long == "post-renderer" && set.value.as_deref().is_some_and(is_our_gate),
            _ => false,
        });
        self.keep(&mut args, |set| {
            set.renders
                && !(ours && set.long.starts_with("post-renderer"))
                && !(self.view.helm_names_it && set.long == "generate-name")
        });
        args
    }

    /// The words that say which cluster to talk to and how, for other commands of helm.
    pub fn connection_args(&self) -> Vec<OsString> {
        let mut args = Vec::new();
        for item in &self.items {
            if matches!(item.what, What::Long(_) | What::Cluster { .. }) {
                keep_item(item, &mut args, &|set| set.connects, false);
            }
        }
        args
    }

    fn keep(&self, args: &mut Vec<OsString>, keep: impl Fn(&Set) -> bool) {
        for item in &self.items {
            keep_item(item, args, &keep, true);
        }
    }
}

fn keep_item(item: &Item, args: &mut Vec<OsString>, keep: &impl Fn(&Set) -> bool, unknown: bool) {
    match &item.what {
        What::Positional | What::Terminator => args.extend(item.words.iter().cloned()),
        What::Unknown => {
            if unknown {
                args.extend(item.words.iter().cloned());
            }
        }
        What::Long(set) => {
            if keep(set) {
                args.extend(item.words.iter().cloned());
            }
        }
        What::Cluster { known, rest } => {
            let kept = known.iter().filter(|(_, set)| keep(set)).count();
            let rest_kept = rest.is_none() || unknown;
            if kept == known.len() && rest_kept {
                args.extend(item.words.iter().cloned());
                return;
            }
            for (short, set) in known.iter().filter(|(_, set)| keep(set)) {
                let mut word = OsString::from(format!("-{short}"));
                match &set.value {
                    None => args.push(word),
                    Some(value) if value.is_empty() => args.extend([word, OsString::new()]),
                    Some(value) => {
                        word.push("=");
                        word.push(value);
                        args.push(word);
                    }
                }
            }
            if let (Some(rest), true) = (rest, unknown) {
                args.push(format!("-{rest}").into());
                args.extend(item.words.iter().skip(1).cloned());
            }
        }
    }
}

/// Whether a `--post-renderer` is this program: the binary by its path, or the Helm 4 plugin by its name.
fn is_our_gate(value: &OsStr) -> bool {
    let text = value.to_string_lossy();
    let name = text.rsplit(['/', '\\']).next().unwrap_or_default();
    name.starts_with("kubectl-capt_spot") || name.starts_with("capt-spot")
}

#[cfg(test)]
mod tests;
