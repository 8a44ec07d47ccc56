//! `version`: which program this is. Nobody is asked anything, but with `--check` the project's page of releases.

use serde_json::json;

use crate::aws;
use crate::cli::{Global, Version};
use crate::commands::{self, CliError};
use crate::model::Exit;
use crate::report::json::{pretty, to_yaml};
use crate::terminal;
use crate::text::Output;

/// What the build says of itself; packaging/dist.py and the release workflow set both variables.
const COMMIT: Option<&str> = option_env!("CAPT_SPOT_COMMIT");
const BUILD_DATE: Option<&str> = option_env!("CAPT_SPOT_BUILD_DATE");

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// It redirects to the page of the newest release.
const LATEST: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/releases/latest");

/// Runs it.
///
/// # Errors
/// Another format than text, json or yaml; with `--check`, the newest release could not be found out.
pub async fn run(args: &Version, global: &Global) -> Result<Exit, CliError> {
    commands::text_json_or_yaml(global, "version")?;
    let newest = match args.check {
        true => Some(newest(global).await?),
        false => None,
    };
    let mut value = json!({
        "name": "kubectl-capt-spot",
        "version": VERSION,
        "commit": COMMIT,
        "buildDate": BUILD_DATE,
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    });
    if let Some(newest) = &newest {
        value["newest"] = json!({"version": newest.version, "url": newest.url, "isNewer": newest.is_newer()});
    }
    let text = match global.output {
        Output::Json => pretty(&value),
        Output::Yaml => to_yaml(&value),
        _ => {
            let build: Vec<&str> = [COMMIT, BUILD_DATE].into_iter().flatten().collect();
            let mut text = match build.as_slice() {
                [] => format!("capt-spot {VERSION}\n"),
                known => format!("capt-spot {VERSION} ({})\n", known.join(", ")),
            };
            if let Some(newest) = &newest {
                text.push_str(&match newest.is_newer() {
                    true => format!("{} is out: {}\n", newest.version, newest.url),
                    false => format!("no newer release; the newest is {}\n", newest.version),
                });
            }
            text
        }
    };
    terminal::out(&text)?;
    Ok(Exit::Done)
}

/// A release, by its page.
#[derive(Debug, PartialEq, Eq)]
struct Release {
    version: String,
    url: String,
}

impl Release {
    /// From where the page of the newest one redirects to: `.../releases/tag/v1.2.3`.
    fn from_address(url: &str) -> Option<Self> {
        let tag = url.strip_prefix(concat!(env!("CARGO_PKG_REPOSITORY"), "/releases/tag/v"))?;
        numbers(tag)?;
        Some(Self {
            version: tag.to_owned(),
            url: url.to_owned(),
        })
    }

    fn is_newer(&self) -> bool {
        numbers(&self.version) > numbers(VERSION)
    }
}

/// `1.2.3`; a release that is offered as the newest has no suffix.
fn numbers(version: &str) -> Option<[u32; 3]> {
    let parts: Vec<u32> = version
        .split('.')
        .map(|part| part.parse().ok())
        .collect::<Option<_>>()?;
    parts.try_into().ok()
}

async fn newest(global: &Global) -> Result<Release, CliError> {
    let not_known = |why: String| {
        CliError::failed(format!(
            "the newest release is not known: {why}\n  fix: look at {LATEST}; behind a proxy set HTTPS_PROXY"
        ))
    };
    let address = aws::redirect_of(LATEST, global.request_timeout)
        .await
        .map_err(not_known)?;
    Release::from_address(&address)
        .ok_or_else(|| not_known(format!("{LATEST} does not lead to a release of this project")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_known_by_its_address_alone() {
        let page = concat!(env!("CARGO_PKG_REPOSITORY"), "/releases");
        for (tail, want) in [
            ("/tag/v0.0.1", Some(false)),
            (concat!("/tag/v", env!("CARGO_PKG_VERSION")), Some(false)),
            ("/tag/v999.0.0", Some(true)),
            ("/tag/v0.10.0", Some(true)),
            // None so far: the page leads to the list.
            ("", None),
            ("/tag/v1.0", None),
            ("/tag/v1.0.0-rc.1", None),
            ("/tag/v1.0.0\u{1b}[31m", None),
        ] {
            let release = Release::from_address(&format!("{page}{tail}"));
            assert_eq!(release.map(|release| release.is_newer()), want, "{tail}");
        }
        assert_eq!(
            Release::from_address("https://example.com/releases/tag/v999.0.0"),
            None
        );
    }
}
