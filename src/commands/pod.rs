//! The Pods that run this program in a cluster, and what comes with them: for `hook` and `fleet manifest`.

use serde_json::{Value, json};

use crate::cli::Global;
use crate::commands::CliError;

/// A user that no image and no node has a name for.
const NOBODY: u32 = 65532;

/// What a Pod runs.
#[derive(Debug)]
pub(crate) struct Pod<'a> {
    /// The name of its one container.
    pub container: &'a str,
    /// The image.
    pub image: &'a str,
    /// The words after the program's name.
    pub args: Vec<String>,
    /// The service account that it runs as.
    pub service_account: &'a str,
    /// Its labels.
    pub labels: Value,
    /// Bytes of memory, as Kubernetes writes them: asked for, and at most.
    pub memory: (&'a str, &'a str),
    /// Whether the service account's token is mounted.
    pub token: bool,
    /// A ConfigMap to mount: its name, and where.
    pub files: Option<(&'a str, &'a str)>,
}

impl Pod<'_> {
    /// The template of a Job: not as root, from an image that nothing is written to.
    pub(crate) fn template(&self) -> Value {
        let (asked, most) = self.memory;
        let mut container = json!({
            "name": self.container,
            "image": self.image,
            "args": self.args,
            "env": [{"name": "NO_COLOR", "value": "1"}],
            // kubectl describe pod then shows the end of the report.
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "resources": {
                "requests": {"cpu": "50m", "memory": asked},
                "limits": {"memory": most}
            },
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]}
            }
        });
        let mut spec = json!({
            "restartPolicy": "Never",
            "serviceAccountName": self.service_account,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": NOBODY, "runAsGroup": NOBODY, "fsGroup": NOBODY,
                "seccompProfile": {"type": "RuntimeDefault"}
            },
            // Before Karpenter there may be nothing but the tainted nodes that it is to run on itself.
            "tolerations": [{"key": "CriticalAddonsOnly", "operator": "Exists"}],
        });
        if !self.token {
            spec["automountServiceAccountToken"] = json!(false);
        }
        if let Some((name, path)) = self.files {
            spec["volumes"] = json!([{"name": "files", "configMap": {"name": name}}]);
            container["volumeMounts"] = json!([{"name": "files", "mountPath": path, "readOnly": true}]);
        }
        spec["containers"] = json!([container]);
        json!({"metadata": {"labels": self.labels}, "spec": spec})
    }
}

/// A service account; with the role that it takes on by IRSA.
///
/// # Errors
/// The role is none.
pub(crate) fn service_account(name: &str, namespace: &str, role: Option<&str>) -> Result<Value, CliError> {
    let mut account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": name, "namespace": namespace},
    });
    if let Some(role) = role {
        let parts: Vec<_> = role.splitn(6, ':').collect();
        let is_role =
            matches!(parts.as_slice(), ["arn", _, "iam", "", _, resource] if resource.starts_with("role/"));
        if !is_role && !role.contains("{{") {
            return Err(CliError::usage(format!(
                "--role-arn {role} is not a role's ARN\n  fix: arn:aws:iam::111122223333:role/NAME"
            )));
        }
        plain("--role-arn", role)?;
        account["metadata"]["annotations"] = json!({"eks.amazonaws.com/role-arn": role});
    }
    Ok(account)
}

/// The RBAC objects of `policy rbac` by another name, so that who deletes these leaves those alone.
pub(crate) fn renamed(mut objects: Vec<Value>, name: &str) -> Vec<Value> {
    for object in &mut objects {
        for path in ["/metadata/name", "/roleRef/name"] {
            if let Some(place) = object.pointer_mut(path)
                && let Some(old) = place.as_str()
            {
                *place = json!(
                    old.replace("capt-spot-read", name)
                        .replace("capt-spot-publish", &format!("{name}-publish"))
                );
            }
        }
    }
    objects
}

/// The flags that name the EKS cluster to the program in the Pod.
pub(crate) fn cluster_words(global: &Global) -> Result<Vec<String>, CliError> {
    let flags = [
        ("--cluster-name", &global.cluster_name),
        ("--region", &global.region),
    ];
    let given = flags
        .into_iter()
        .filter_map(|(flag, value)| Some((flag, value.as_ref()?)));
    given
        .map(|(flag, value)| plain(flag, value).map(|()| format!("{flag}={value}")))
        .collect()
}

/// A DNS-1123 label or a Helm expression.
pub(crate) fn name(flag: &str, value: &str) -> Result<(), CliError> {
    plain(flag, value)?;
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good = value.len() <= 63
        && value.starts_with(inner)
        && value.ends_with(inner)
        && value.chars().all(|c| inner(c) || c == '-');
    if good || value.contains("{{") {
        Ok(())
    } else {
        Err(CliError::usage(format!(
            "{flag} {value} is not a Kubernetes name\n  fix: lower-case letters, digits and dashes, at most 63"
        )))
    }
}

/// Something on one line; spaces only in a Helm expression.
pub(crate) fn plain(flag: &str, value: &str) -> Result<(), CliError> {
    let odd = |c: char| c.is_control() || (c == ' ' && !value.contains("{{"));
    if value.is_empty() || value.contains(odd) {
        return Err(CliError::usage(format!(
            "{flag} has an unusable value: {value:?}"
        )));
    }
    Ok(())
}
