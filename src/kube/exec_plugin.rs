//! Running an exec credential plugin as configured (client-go credential plugins, `client.authentication.k8s.io`).
//!
//! Only for plugins whose token this program cannot make itself. kube's own runner waits without a bound; this one has
//! one, says what happened, and never shows what the plugin printed on stdout.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::process::Stdio;
use std::time::Duration;

use kube::config::{Cluster, ExecConfig, ExecInteractiveMode};
use serde_json::{Value, json};

use crate::aws::Limits;
use crate::kube::Authentication;
use crate::model::{Unknown, Why};

/// A person who logs in at a terminal gets this long.
const INTERACTIVE: Duration = Duration::from_secs(120);

/// Runs the plugin and reads the credential it prints.
///
/// # Errors
/// Not installed, failing, hanging, or printing something that is no `ExecCredential`.
pub async fn run(exec: &ExecConfig, cluster: &Cluster, limits: Limits) -> Result<Authentication, Unknown> {
    let fail = |detail: String| Unknown::new(Why::Unauthenticated, detail);
    let command = exec
        .command
        .as_deref()
        .filter(|command| !command.is_empty())
        .ok_or_else(|| fail("the kubeconfig's exec entry names no command".to_owned()))?;
    let api_version = exec
        .api_version
        .as_deref()
        .unwrap_or("client.authentication.k8s.io/v1beta1");
    let wants_person = !matches!(exec.interactive_mode, Some(ExecInteractiveMode::Never));
    let interactive = wants_person && std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    let mut spec = json!({"interactive": interactive});
    if exec.provide_cluster_info {
        spec["cluster"] = json!({
            "server": cluster.server,
            "certificate-authority-data": cluster.certificate_authority_data,
            "insecure-skip-tls-verify": cluster.insecure_skip_tls_verify,
            "tls-server-name": cluster.tls_server_name,
            "proxy-url": cluster.proxy_url,
        });
    }
    let info = json!({"apiVersion": api_version, "kind": "ExecCredential", "spec": spec});
    let mut child = tokio::process::Command::new(command);
    child
        .args(exec.args.iter().flatten())
        .envs(env_of(exec))
        .env("KUBERNETES_EXEC_INFO", info.to_string())
        .stdin(if interactive {
            Stdio::inherit()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(if interactive {
            Stdio::inherit()
        } else {
            Stdio::piped()
        })
        .kill_on_drop(true);
    for name in exec.drop_env.iter().flatten() {
        child.env_remove(name);
    }
    let limits = if interactive {
        Limits::start(INTERACTIVE, INTERACTIVE)
    } else {
        limits
    };
    let child = child.spawn().map_err(|error| {
        let hint = exec
            .install_hint
            .as_deref()
            .map(|hint| format!("; {}", first_line(hint)))
            .unwrap_or_default();
        let what = if error.kind() == std::io::ErrorKind::NotFound {
            "is not installed or not on PATH".to_owned()
        } else {
            error.to_string()
        };
        fail(format!("the kubeconfig's exec plugin {command}: {what}{hint}"))
    })?;
    let what = format!("the kubeconfig's exec plugin {command}");
    let output = limits
        .run(&what, child.wait_with_output())
        .await?
        .map_err(|error| fail(format!("{what}: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = first_line(&said);
        let said = if said.is_empty() {
            String::new()
        } else {
            format!(": {said}")
        };
        return Err(fail(format!(
            "the kubeconfig's exec plugin {command} failed ({}){said}",
            output.status
        )));
    }
    credential(&output.stdout).map_err(|what| fail(format!("the kubeconfig's exec plugin {command} {what}")))
}

/// What a plugin says first, without what looks like a secret.
fn first_line(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    let line: String = line.unwrap_or_default().chars().take(200).collect();
    crate::text::secrets::masked(&line)
}

/// Reads an `ExecCredential`. Pure; what the plugin printed never gets into the error.
fn credential(stdout: &[u8]) -> Result<Authentication, String> {
    let value: Value = serde_json::from_slice(stdout)
        .map_err(|_| "printed no JSON: expected an ExecCredential".to_owned())?;
    if value.get("kind").and_then(Value::as_str) != Some("ExecCredential") {
        return Err("printed JSON that is not an ExecCredential".to_owned());
    }
    let status = value
        .get("status")
        .ok_or("printed an ExecCredential without a status")?;
    let text = |key: &str| {
        status
            .get(key)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    match (
        text("token"),
        text("clientCertificateData"),
        text("clientKeyData"),
    ) {
        (token, Some(certificate), Some(key)) => Ok(Authentication::Certificate {
            certificate,
            key,
            token,
        }),
        (Some(token), None, None) => Ok(Authentication::Token(token)),
        (_, Some(_), None) | (_, None, Some(_)) => {
            Err("printed only half of a client certificate and key".to_owned())
        }
        (None, None, None) => {
            Err("printed an ExecCredential with neither a token nor a certificate".to_owned())
        }
    }
}

/// The environment an exec entry sets.
pub fn env_of(exec: &ExecConfig) -> BTreeMap<String, String> {
    exec.env
        .iter()
        .flatten()
        .filter_map(|pair| {
            Some((
                pair.get("name")?.clone(),
                pair.get("value").cloned().unwrap_or_default(),
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_plugins_print() {
        let ok = br#"{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","status":{"token":"t"}}"#;
        assert!(matches!(credential(ok), Ok(Authentication::Token(token)) if token == "t"));
        let rows: [(&[u8], &str); 6] = [
            (b"", "printed no JSON: expected an ExecCredential"),
            (b"sekrit rubbish", "printed no JSON: expected an ExecCredential"),
            (br#"{"kind":"Pod"}"#, "printed JSON that is not an ExecCredential"),
            (
                br#"{"kind":"ExecCredential"}"#,
                "printed an ExecCredential without a status",
            ),
            (
                br#"{"kind":"ExecCredential","status":{"token":""}}"#,
                "printed an ExecCredential with neither a token nor a certificate",
            ),
            (
                br#"{"kind":"ExecCredential","status":{"clientKeyData":"k"}}"#,
                "printed only half of a client certificate and key",
            ),
        ];
        for (printed, want) in rows {
            assert_eq!(credential(printed).err().as_deref(), Some(want));
        }
    }
}
