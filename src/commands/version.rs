//! `version`: which program this is. Nothing is asked of anybody.

use serde_json::json;

use crate::cli::Global;
use crate::commands::{self, CliError};
use crate::model::Exit;
use crate::report::json::{pretty, to_yaml};
use crate::terminal;
use crate::text::Output;

/// What the build says of itself; packaging/dist.py and the release workflow set both variables.
const COMMIT: Option<&str> = option_env!("CAPT_SPOT_COMMIT");
const BUILD_DATE: Option<&str> = option_env!("CAPT_SPOT_BUILD_DATE");

/// Runs it.
///
/// # Errors
/// Another format than text, json or yaml.
pub fn run(global: &Global) -> Result<Exit, CliError> {
    commands::text_json_or_yaml(global, "version")?;
    let version = env!("CARGO_PKG_VERSION");
    let value = json!({
        "name": "kubectl-capt-spot",
        "version": version,
        "commit": COMMIT,
        "buildDate": BUILD_DATE,
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    });
    let text = match global.output {
        Output::Json => pretty(&value),
        Output::Yaml => to_yaml(&value),
        _ => {
            let build: Vec<&str> = [COMMIT, BUILD_DATE].into_iter().flatten().collect();
            match build.as_slice() {
                [] => format!("capt-spot {version}\n"),
                known => format!("capt-spot {version} ({})\n", known.join(", ")),
            }
        }
    };
    terminal::out(&text)?;
    Ok(Exit::Done)
}
