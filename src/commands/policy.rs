//! `policy read|create|rbac`: the permissions the program needs, ready to apply.

use serde_json::json;

use crate::cli::{Global, Policy, PolicyScope, Rbac, RbacSubject, WhichPolicy};
use crate::commands::CliError;
use crate::model::Exit;
use crate::model::permission::{self, Scope};
use crate::report::json::{pretty, to_yaml};
use crate::terminal;
use crate::text::Output;

/// Runs it. Offline.
///
/// # Errors
/// A service account without a namespace.
pub fn run(args: &Policy, global: &Global) -> Result<Exit, CliError> {
    super::text_json_or_yaml(global, "policy")?;
    let text = match &args.which {
        WhichPolicy::Read(scope) => print(&permission::read_policy(&scope_of(scope, global)), global),
        WhichPolicy::Create(scope) => print(&permission::create_policy(&scope_of(scope, global)), global),
        WhichPolicy::Rbac(Rbac { subject, publish }) => {
            let bound = subject_of(subject)?;
            let mut objects = permission::rbac_objects(&bound);
            if *publish {
                let namespace = global.namespace.as_deref().or(bound["namespace"].as_str());
                let namespace = namespace.ok_or_else(|| {
                    CliError::usage("--publish needs the namespace of the reports\n  fix: name it with -n")
                })?;
                objects.extend(permission::publish_objects(&bound, namespace));
            }
            match global.output {
                Output::Json => pretty(&json!({"apiVersion": "v1", "kind": "List", "items": objects})),
                // kubectl apply -f - takes YAML documents.
                _ => objects.iter().map(to_yaml).collect::<Vec<_>>().join("---\n"),
            }
        }
    };
    terminal::out(&text)?;
    Ok(Exit::Done)
}

fn print(policy: &serde_json::Value, global: &Global) -> String {
    match global.output {
        // IAM takes JSON only.
        Output::Yaml => to_yaml(policy),
        _ => pretty(policy),
    }
}

fn scope_of(scope: &PolicyScope, global: &Global) -> Scope {
    let mut out = Scope::default();
    if let Some(region) = &global.region {
        out.region.clone_from(region);
        out.partition = iam_policy::arn::partition_of_region(region).to_owned();
    }
    if let Some(partition) = &scope.partition {
        out.partition.clone_from(partition);
    }
    if let Some(account) = &scope.account {
        out.account.clone_from(account);
    }
    if let Some(cluster) = &global.cluster_name {
        out.cluster.clone_from(cluster);
    }
    out
}

fn subject_of(subject: &RbacSubject) -> Result<serde_json::Value, CliError> {
    const API: &str = "rbac.authorization.k8s.io";
    if let Some(user) = &subject.user {
        return Ok(json!({"apiGroup": API, "kind": "User", "name": user}));
    }
    if let Some(account) = &subject.service_account {
        let Some((namespace, name)) = account
            .split_once('/')
            .filter(|(ns, name)| !ns.is_empty() && !name.is_empty())
        else {
            return Err(CliError::usage(format!(
                "--service-account {account}: write NAMESPACE/NAME"
            )));
        };
        return Ok(json!({"kind": "ServiceAccount", "namespace": namespace, "name": name}));
    }
    let group = subject.group.as_deref().unwrap_or("capt-spot");
    Ok(json!({"apiGroup": API, "kind": "Group", "name": group}))
}
