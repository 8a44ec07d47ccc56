//! From a command line to what it would install: the last release's values where helm would use them, and the chart
//! rendered with the same words. Everything here reads.

use std::ffi::OsString;
use std::io::Write as _;

use super::args::{Invocation, OldValues, TemplateOptions, UsageError, parse};
use super::flags::{FlagTable, Verb};
use super::program::{Helm, HelmError};

/// A rendered chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// What `helm template` printed.
    pub yaml: String,
    /// What was found of the release that is there.
    pub previous: Previous,
}

/// The release that an upgrade builds upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Previous {
    /// Nothing depends on it: an install, or an upgrade that brings all its values.
    NotAsked,
    /// There is none: `upgrade --install` will install.
    None,
    /// It is there, and its values were used as helm will use them.
    Used,
    /// It could not be read. What was rendered may lack values; a check that rests on one that is missing must not
    /// take it for absent. The text is helm's.
    Unreadable(String),
}

/// A line that can't be meant, or a helm that can't be asked.
#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    /// Wrong usage.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// helm was needed to understand a flag.
    #[error(transparent)]
    Helm(#[from] HelmError),
}

/// Splits the line. Where it has a flag that the table doesn't know, this helm's own help is asked for it.
///
/// # Errors
/// See [`parse`]; or helm's help could not be had.
pub async fn split(helm: &Helm, verb: Verb, words: &[OsString]) -> Result<Invocation, SplitError> {
    let table = FlagTable::new(verb);
    let first = parse(words, &table)?;
    if first.view.unknown_flags.is_empty() {
        return Ok(first);
    }
    let help = |command: &str| [command.into(), "--help".into()];
    let (of_verb, of_template) = (help(verb.as_str()), help("template"));
    let (of_verb, of_template) = tokio::try_join!(
        helm.ask(verb.as_str(), &of_verb, None),
        helm.ask("template", &of_template, None)
    )?;
    Ok(parse(words, &table.learn(&of_verb, &of_template))?)
}

/// Renders what the line would install. `stdin` is what standard input held, if the line has values from `-`.
///
/// `extra` is what is known of the cluster; its `is_upgrade` and `old_values` are found out here.
///
/// # Errors
/// helm can't be run, or the chart does not render: then helm's own words are in the error.
pub async fn render(
    helm: &Helm,
    invocation: &Invocation,
    stdin: Option<&[u8]>,
    extra: &TemplateOptions,
) -> Result<Rendered, HelmError> {
    let (previous, values) = previous(helm, invocation).await;
    // It may hold secrets: a file of our own that nobody else can read, gone when this returns.
    let file = match values {
        Some(values) => {
            let mut file = tempfile::Builder::new()
                .prefix("capt-spot-")
                .suffix(".yaml")
                .tempfile()?;
            file.write_all(values.as_bytes())?;
            file.flush()?;
            Some(file)
        }
        None => None,
    };
    let options = TemplateOptions {
        is_upgrade: invocation.verb == Verb::Upgrade && previous != Previous::None,
        old_values: file.as_ref().map(|file| file.path().to_owned()),
        ..extra.clone()
    };
    let yaml = helm
        .ask("template", &invocation.template_args(&options), stdin)
        .await
        .map_err(|error| match (&previous, error) {
            // What helm says of missing values only follows from it.
            (Previous::Unreadable(why), HelmError::Failed { .. }) => HelmError::ReleaseUnreadable {
                release: invocation.view.release.clone().unwrap_or_default(),
                why: why.clone(),
            },
            (_, error) => error,
        })?;
    Ok(Rendered { yaml, previous })
}

/// The release that is there, and those of its values that helm will use.
async fn previous(helm: &Helm, invocation: &Invocation) -> (Previous, Option<String>) {
    let view = &invocation.view;
    let (Verb::Upgrade, Some(release)) = (invocation.verb, &view.release) else {
        return (Previous::NotAsked, None);
    };
    // What `action.Upgrade.reuseValues` of helm takes from the release: computed values, given values, or none.
    let wanted = match view.old_values {
        OldValues::Reset => None,
        OldValues::Reuse => Some(true),
        OldValues::ResetThenReuse => Some(false),
        OldValues::ReuseIfNoneGiven => (!view.gives_values).then_some(false),
    };
    if wanted.is_none() && !view.install_if_missing {
        return (Previous::NotAsked, None);
    }
    let mut args: Vec<OsString> = ["get", "values", "--output=yaml"].map(OsString::from).to_vec();
    if wanted == Some(true) {
        args.push("--all".into());
    }
    args.extend(invocation.connection_args());
    args.extend(["--".into(), release.into()]);
    match helm.ask("get values", &args, None).await {
        Ok(values) => {
            let empty = matches!(values.trim(), "" | "null" | "{}");
            (Previous::Used, wanted.filter(|_| !empty).map(|_| values))
        }
        Err(HelmError::Failed { stderr, .. }) if stderr.contains("release: not found") => {
            (Previous::None, None)
        }
        Err(HelmError::Failed { stderr, .. }) => (Previous::Unreadable(stderr.trim().to_owned()), None),
        Err(other) => (Previous::Unreadable(other.to_string()), None),
    }
}

#[cfg(all(test, unix))]
mod tests;
