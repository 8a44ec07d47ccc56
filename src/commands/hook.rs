//! `hook`: prints the Job that makes the preflight in the cluster before the chart is installed, for GitOps.
//!
//! Helm runs it as a `pre-install,pre-upgrade` hook, Argo CD as PreSync. What it needs to read the cluster comes with it
//! (the same rules as `policy rbac`), under names of its own, because a hook's objects are deleted with it.

use serde_json::{Value, json};

use crate::cli::Global;
use crate::cli::hook::{Hook, NAME};
use crate::cluster::resolve;
use crate::commands::CliError;
use crate::commands::pod::{Pod, cluster_words, name, plain, renamed, service_account};
use crate::model::Exit;
use crate::model::permission;
use crate::report::json::{pretty, to_yaml};
use crate::terminal;
use crate::text::Output;

/// Where Karpenter's documentation installs it.
const NAMESPACE: &str = "kube-system";

/// Runs it. Offline.
///
/// # Errors
/// A value that can't be what it is for.
pub fn run(args: &Hook, global: &Global) -> Result<Exit, CliError> {
    super::text_json_or_yaml(global, "hook")?;
    let objects = objects(args, &with_cluster(global)?)?;
    let text = match global.output {
        Output::Json => pretty(&json!({"apiVersion": "v1", "kind": "List", "items": objects})),
        _ => objects.iter().map(to_yaml).collect::<Vec<_>>().join("---\n"),
    };
    terminal::out(&text)?;
    Ok(Exit::Done)
}

/// In the cluster nothing tells the Job which EKS cluster it is in: the name is given here, or taken from the context.
pub(crate) fn with_cluster(global: &Global) -> Result<Global, CliError> {
    if global.cluster_name.is_some() {
        return Ok(global.clone());
    }
    let named = resolve::named_by_context(&super::request(global)).map_err(|error| {
        CliError::usage(format!(
            "the Job needs the name of its cluster, and the kubeconfig does not give it: {error}\n  fix: name it with --cluster-name and --region"
        ))
    })?;
    terminal::note(&format!(
        "The Job is for the cluster {} ({}), by the context {}; --cluster-name and --region name another one.",
        named.cluster, named.region, named.context
    ));
    Ok(Global {
        cluster_name: Some(named.cluster),
        region: Some(named.region),
        ..global.clone()
    })
}

/// When an object of the hook goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Before the Job, which needs it.
    Ground,
    Job,
}

impl Stage {
    fn annotations(self) -> Value {
        let weight = if self == Self::Ground { "-20" } else { "-10" };
        // Helm deletes what succeeded after the last hook. A failed Job stays, for its log. Argo CD counts an object
        // that is no Job as succeeded at once, so the ground stays there until the next sync replaces it.
        let argo = if self == Self::Ground {
            "BeforeHookCreation"
        } else {
            "BeforeHookCreation,HookSucceeded"
        };
        json!({
            "helm.sh/hook": "pre-install,pre-upgrade",
            "helm.sh/hook-weight": weight,
            "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
            "argocd.argoproj.io/hook": "PreSync",
            "argocd.argoproj.io/hook-delete-policy": argo,
            "argocd.argoproj.io/sync-wave": weight,
        })
    }
}

/// The objects, in the order in which they are needed.
///
/// # Errors
/// A value that can't be what it is for.
pub fn objects(args: &Hook, global: &Global) -> Result<Vec<Value>, CliError> {
    let namespace = global.namespace.as_deref().unwrap_or(NAMESPACE);
    name("--namespace", namespace)?;
    name("--service-account", &args.service_account)?;
    plain("--image", &args.image)?;
    let account = json!({"kind": "ServiceAccount", "namespace": namespace, "name": args.service_account});
    let mut ground = vec![service_account(
        &args.service_account,
        namespace,
        args.role_arn.as_deref(),
    )?];
    // Names of its own: a hook's objects are deleted and made again, and those that `policy rbac` made must not be.
    ground.extend(renamed(permission::rbac_objects(&account), NAME));
    for object in &mut ground {
        dress(object, Stage::Ground);
    }
    let mut job = job(args, global, namespace)?;
    dress(&mut job, Stage::Job);
    ground.push(job);
    Ok(ground)
}

fn labels() -> Value {
    json!({"app.kubernetes.io/name": NAME, "app.kubernetes.io/managed-by": "capt-spot"})
}

fn dress(object: &mut Value, stage: Stage) {
    let Some(Value::Object(metadata)) = object.get_mut("metadata") else {
        return;
    };
    metadata.insert("labels".to_owned(), labels());
    let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
    if let (Value::Object(annotations), Value::Object(more)) = (annotations, stage.annotations()) {
        annotations.extend(more);
    }
}

fn job(args: &Hook, global: &Global, namespace: &str) -> Result<Value, CliError> {
    let mut words = vec!["preflight".to_owned(), "--no-input".to_owned()];
    words.extend(cluster_words(global)?);
    words.extend(args.flags.iter().cloned());
    let pod = Pod {
        container: "preflight",
        image: &args.image,
        args: words,
        service_account: &args.service_account,
        labels: labels(),
        memory: ("32Mi", "128Mi"),
        token: true,
        files: None,
    };
    Ok(json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": NAME, "namespace": namespace},
        "spec": {
            // The answer doesn't change by asking again; --wait among the flags is the way to wait for something.
            "backoffLimit": 0,
            "activeDeadlineSeconds": args.deadline,
            "template": pod.template(),
        }
    }))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        hook: Hook,
        #[command(flatten)]
        global: Global,
    }

    fn made(line: &[&str]) -> Result<Vec<Value>, String> {
        let line = Line::try_parse_from(["hook"].iter().chain(line)).map_err(|error| error.to_string())?;
        objects(&line.hook, &line.global).map_err(|stop| stop.message)
    }

    fn text(objects: &[Value]) -> String {
        objects
            .iter()
            .map(to_yaml)
            .collect::<Vec<_>>()
            .join("---\n")
            .replace(env!("CARGO_PKG_VERSION"), "VERSION")
    }

    #[test]
    fn the_service_account_and_the_job() {
        let mut objects = made(&[
            "--cluster-name",
            "demo",
            "--region=eu-west-1",
            "--role-arn=arn:aws:iam::111122223333:role/capt-spot-preflight",
            "--",
            "--strict",
            "--node-role=KarpenterNodeRole-demo",
        ])
        .expect("valid");
        // What lies between is what `policy rbac` prints.
        let rbac: Vec<_> = objects.drain(1..objects.len() - 1).collect();
        assert_eq!(
            rbac.iter().map(|object| &object["rules"]).collect::<Vec<_>>(),
            permission::rbac_objects(&json!({}))
                .iter()
                .map(|object| &object["rules"])
                .collect::<Vec<_>>()
        );
        insta::assert_snapshot!(text(&objects));
    }

    #[test]
    fn every_object_is_a_hook_of_both_and_the_job_comes_last() {
        let objects = made(&["-n", "karpenter", "--service-account", "other"]).expect("valid");
        let places: std::collections::BTreeSet<_> = objects
            .iter()
            .map(|object| format!("{} {}", object["kind"], object["metadata"]["name"]))
            .collect();
        assert_eq!(
            places.len(),
            objects.len(),
            "none takes another one's place: {places:?}"
        );
        let kinds: Vec<_> = objects
            .iter()
            .filter_map(|object| object["kind"].as_str())
            .collect();
        assert_eq!(kinds[0], "ServiceAccount");
        assert_eq!(kinds.last(), Some(&"Job"));
        let weight = |object: &Value| {
            object["metadata"]["annotations"]["helm.sh/hook-weight"]
                .as_str()
                .and_then(|weight| weight.parse::<i32>().ok())
                .expect("a weight")
        };
        let job = weight(&objects[objects.len() - 1]);
        for object in &objects {
            let annotations = &object["metadata"]["annotations"];
            assert_eq!(annotations["helm.sh/hook"], "pre-install,pre-upgrade");
            assert_eq!(annotations["argocd.argoproj.io/hook"], "PreSync");
            assert!(object["kind"] == "Job" || weight(object) < job);
            // Nothing of `policy rbac`, which a hook's deletion would take away.
            assert!(!object.to_string().contains("capt-spot-read"));
            for subject in object["subjects"].as_array().into_iter().flatten() {
                assert_eq!(subject["namespace"], "karpenter");
                assert_eq!(subject["name"], "other");
            }
        }
        let spec = &objects[objects.len() - 1]["spec"]["template"]["spec"];
        assert_eq!(spec["serviceAccountName"], "other");
        assert_eq!(objects[objects.len() - 1]["metadata"]["namespace"], "karpenter");
    }

    #[test]
    fn helm_expressions_are_values() {
        let objects = made(&[
            "-n",
            "{{ .Release.Namespace }}",
            "--cluster-name",
            "{{ .Values.settings.clusterName }}",
        ])
        .expect("valid");
        let text = text(&objects);
        assert!(
            text.contains("--cluster-name={{ .Values.settings.clusterName }}"),
            "{text}"
        );
        assert!(
            text.contains("namespace: \"{{ .Release.Namespace }}\"")
                || text.contains("namespace: '{{ .Release.Namespace }}'"),
            "{text}"
        );
    }

    #[test]
    fn values_that_cannot_be_meant() {
        for (line, word) in [
            (
                &["-n", "Kube_System"][..],
                "--namespace Kube_System is not a Kubernetes name",
            ),
            (&["--service-account", "-x"], "value"),
            (&["--image", "a b"], "--image has an unusable value"),
            (&["--image", ""], "--image has an unusable value"),
            (
                &["--cluster-name", "a\nb"],
                "--cluster-name has an unusable value",
            ),
            (&["--role-arn", "KarpenterRole"], "is not a role's ARN"),
            (
                &["--role-arn", "arn:aws:iam::111122223333:user/x"],
                "is not a role's ARN",
            ),
            (&["--deadline", "0"], "0 is not in 1..=86400"),
        ] {
            let error = made(line).expect_err("refused");
            assert!(error.contains(word), "{line:?}: {error}");
        }
    }
}
