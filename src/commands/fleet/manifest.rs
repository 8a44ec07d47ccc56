//! `fleet manifest`: the Job that judges an inventory in shards, or the cluster that it runs in.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::cli::Global;
use crate::cli::fleet::{Manifest, NAME};
use crate::commands::hook::with_cluster;
use crate::commands::pod::{Pod, cluster_words, name, plain, renamed, service_account};
use crate::commands::{self, CliError};
use crate::fleet::inventory::{Entry, Inventory};
use crate::model::{Exit, permission};
use crate::report::json::{pretty, to_yaml};
use crate::terminal;
use crate::text::Output;

/// Where the inventory is in the Pod.
const FOLDER: &str = "/etc/capt-spot";
const FILE: &str = "inventory.json";
/// What a ConfigMap holds, less its metadata.
const MOST_BYTES: usize = 1_000_000;
/// Clusters of a shard, where nobody says how many shards.
const CLUSTERS: usize = 50;
/// What its names are built of may be so long: a Pod of a CronJob has 25 characters more, and they make a label.
const LONGEST_NAME: usize = 38;

/// Runs it. Offline.
///
/// # Errors
/// An inventory that cannot be read or is too large; a value that can't be what it is for.
pub(crate) fn run(args: &Manifest, global: &Global) -> Result<Exit, CliError> {
    commands::text_json_or_yaml(global, "fleet manifest")?;
    let (inventory, global) = match &args.clusters {
        Some(path) => (
            Some(Inventory::load(path).map_err(CliError::failed)?),
            global.clone(),
        ),
        None => (None, with_cluster(global)?),
    };
    if !args.image.contains("@sha256:") {
        terminal::note(&format!(
            "The image is named by its tag, which can be moved; by its digest it cannot: --image {}@sha256:...",
            args.image.split(':').next().unwrap_or_default()
        ));
    }
    let objects = objects(args, &global, inventory.as_ref())?;
    let text = match global.output {
        Output::Json => pretty(&json!({"apiVersion": "v1", "kind": "List", "items": objects})),
        _ => objects.iter().map(to_yaml).collect::<Vec<_>>().join("---\n"),
    };
    terminal::out(&text)?;
    Ok(Exit::Done)
}

/// The objects, in the order in which they are needed.
fn objects(args: &Manifest, global: &Global, inventory: Option<&Inventory>) -> Result<Vec<Value>, CliError> {
    let namespace = global.namespace.as_deref().unwrap_or(NAME);
    let account = args.service_account.as_deref().unwrap_or(&args.name);
    name("--namespace", namespace)?;
    name("--service-account", account)?;
    name("--name", &args.name)?;
    if args.name.len() > LONGEST_NAME {
        return Err(CliError::usage(format!(
            "--name {}: at most {LONGEST_NAME} characters",
            args.name
        )));
    }
    plain("--image", &args.image)?;
    let subject = json!({"kind": "ServiceAccount", "namespace": namespace, "name": account});
    let mut objects = vec![service_account(account, namespace, args.role_arn.as_deref())?];
    // Clusters of an inventory are reached by the role's access entries, not by this one's RBAC.
    let mut rules = match inventory {
        Some(_) => Vec::new(),
        None => permission::rbac_objects(&subject),
    };
    if args.publish {
        rules.extend(permission::publish_objects(&subject, namespace));
    }
    objects.extend(renamed(rules, &args.name));
    let map = format!("{}-inventory", args.name);
    if let Some(inventory) = inventory {
        let text = compact(inventory);
        if text.len() > MOST_BYTES {
            return Err(CliError::usage(format!(
                "the inventory has {} bytes, and a ConfigMap holds {MOST_BYTES}\n  fix: divide it, and print a manifest for each part with a --name of its own",
                text.len()
            )));
        }
        objects.push(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": map, "namespace": namespace},
            "data": {FILE: text}
        }));
    }
    let shards = inventory.map_or(1, |inventory| args.shards.unwrap_or_else(|| shards(inventory)));
    let mut words = vec!["preflight".to_owned(), "--no-input".to_owned()];
    match inventory {
        Some(_) => {
            words.push(format!("--clusters={FOLDER}/{FILE}"));
            // Kubernetes fills it in.
            words.push(format!("--shard=$(JOB_COMPLETION_INDEX)/{shards}"));
        }
        None => words.extend(cluster_words(global)?),
    }
    words.push("--output=ndjson".to_owned());
    if args.publish {
        words.push("--publish".to_owned());
    }
    words.extend(args.flags.iter().cloned());
    let pod = Pod {
        container: NAME,
        image: &args.image,
        args: words,
        service_account: account,
        labels: labels(&args.name),
        memory: ("64Mi", "512Mi"),
        token: inventory.is_none() || args.publish,
        files: inventory.map(|_| (map.as_str(), FOLDER)),
    };
    objects.push(job(args, namespace, shards, &pod));
    for object in &mut objects {
        object["metadata"]["labels"] = labels(&args.name);
    }
    Ok(objects)
}

fn labels(name: &str) -> Value {
    json!({
        "app.kubernetes.io/name": NAME,
        "app.kubernetes.io/instance": name,
        "app.kubernetes.io/component": "fleet",
        "app.kubernetes.io/managed-by": "capt-spot",
    })
}

fn job(args: &Manifest, namespace: &str, shards: usize, pod: &Pod<'_>) -> Value {
    let spec = json!({
        "completionMode": "Indexed",
        "completions": shards,
        "parallelism": args.parallelism.min(shards),
        "backoffLimitPerIndex": args.retries,
        "activeDeadlineSeconds": args.deadline,
        "podFailurePolicy": {"rules": [
            // A node that goes away costs no try.
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            // It came to its end: not ready, wrong usage, undecided. Asking again gives the same answer.
            {"action": "FailIndex", "onExitCodes": {"containerName": pod.container, "operator": "In", "values": [1, 2, 3]}},
        ]},
        "template": pod.template(),
    });
    let metadata = json!({"name": args.name, "namespace": namespace});
    match &args.schedule {
        None => {
            let mut job =
                json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec});
            // A Job cannot be changed, only made again.
            job["metadata"]["annotations"] =
                json!({"argocd.argoproj.io/sync-options": "Replace=true,Force=true"});
            job
        }
        Some(schedule) => json!({
            "apiVersion": "batch/v1", "kind": "CronJob",
            "metadata": metadata,
            "spec": {
                "schedule": schedule,
                "timeZone": "Etc/UTC",
                "concurrencyPolicy": "Forbid",
                "startingDeadlineSeconds": 600,
                "successfulJobsHistoryLimit": 1,
                "failedJobsHistoryLimit": 1,
                "jobTemplate": {"metadata": {"labels": labels(&args.name)}, "spec": spec},
            }
        }),
    }
}

/// An account is read in one shard, so there are no more of these than accounts.
fn shards(inventory: &Inventory) -> usize {
    let keys: BTreeSet<String> = inventory.clusters.iter().map(Entry::shard_key).collect();
    inventory.clusters.len().div_ceil(CLUSTERS).min(keys.len()).max(1)
}

/// A line for each cluster, so that a change is a line in a pull request.
fn compact(inventory: &Inventory) -> String {
    let line = |value: &Value| value.to_string();
    let mut head = json!(inventory);
    let lines = |list: Option<Value>| -> Vec<String> {
        let list = list.and_then(|list| list.as_array().cloned()).unwrap_or_default();
        list.iter().map(line).collect()
    };
    let object = head.as_object_mut();
    let (clusters, problems) = object.map_or((None, None), |object| {
        (object.shift_remove("clusters"), object.shift_remove("problems"))
    });
    let head = head.to_string();
    format!(
        "{},\"clusters\":[\n{}\n],\"problems\":[\n{}\n]}}\n",
        head.strip_suffix('}').unwrap_or(&head),
        lines(clusters).join(",\n"),
        lines(problems).join(",\n")
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::fleet::inventory::Source;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        manifest: Manifest,
        #[command(flatten)]
        global: Global,
    }

    const IMAGE: &str = "registry.example/capt-spot@sha256:0123";

    fn inventory(accounts: usize, clusters: usize) -> Inventory {
        let clusters = (0..clusters)
            .map(|n| {
                let account = format!("{:012}", n % accounts);
                Entry::new(Some(&account), "eu-west-1", &format!("c{n}"), Source::Given)
            })
            .collect();
        Inventory::new(clusters, Vec::new(), jiff::Timestamp::UNIX_EPOCH)
    }

    fn made(line: &[&str], inventory: Option<&Inventory>) -> Result<Vec<Value>, String> {
        let words = ["manifest", "--image", IMAGE].iter().chain(line);
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        objects(&line.manifest, &line.global, inventory).map_err(|stop| stop.message)
    }

    fn text(objects: &[Value]) -> String {
        let text: Vec<String> = objects.iter().map(to_yaml).collect();
        text.join("---\n").replace(env!("CARGO_PKG_VERSION"), "VERSION")
    }

    #[test]
    fn an_inventory_in_shards() {
        let objects = made(
            &[
                "--clusters=x",
                "--role-arn=arn:aws:iam::111122223333:role/capt-spot",
                "--",
                "--only=spot-role",
            ],
            Some(&inventory(2, 3)),
        );
        insta::assert_snapshot!(text(&objects.expect("valid")));
    }

    #[test]
    fn one_cluster_on_a_schedule() {
        let objects = made(
            &[
                "--cluster-name=demo",
                "--region=eu-west-1",
                "--schedule=*/15 * * * *",
                "--publish",
                "--name=alarm",
            ],
            None,
        );
        let mut objects = objects.expect("valid");
        // What lies between is what `policy rbac --publish` prints.
        let rbac: Vec<Value> = objects.drain(1..objects.len() - 1).collect();
        let mut printed = permission::rbac_objects(&json!({}));
        printed.extend(permission::publish_objects(&json!({}), "capt-spot"));
        let rules = |objects: &[Value]| -> Vec<Value> {
            objects.iter().map(|object| object["rules"].clone()).collect()
        };
        assert_eq!(rules(&rbac), rules(&printed));
        assert!(rbac.iter().all(|object| {
            object["metadata"]["name"]
                .as_str()
                .is_some_and(|name| name.starts_with("alarm"))
        }));
        insta::assert_snapshot!(text(&objects));
    }

    #[test]
    fn the_inventory_in_the_manifest_is_the_inventory() {
        for inventory in [inventory(2, 3), inventory(1, 0)] {
            let text = compact(&inventory);
            assert_eq!(Inventory::parse(&text).as_ref(), Ok(&inventory), "{text}");
        }
    }

    #[test]
    fn how_many_shards() {
        for (accounts, clusters, want) in [(1, 0, 1), (1, 1000, 1), (50, 1000, 20), (3, 1000, 3), (50, 40, 1)]
        {
            assert_eq!(
                shards(&inventory(accounts, clusters)),
                want,
                "{accounts} {clusters}"
            );
        }
    }

    #[test]
    fn values_that_cannot_be_meant() {
        let many = inventory(50, 20_000);
        let few = inventory(1, 1);
        let error = |line: &[&str], inventory| made(line, inventory).expect_err("refused");
        assert!(error(&["--clusters=x"], Some(&many)).contains("a ConfigMap holds 1000000"));
        for (line, word) in [
            (&["--name", "Upper"][..], "is not a Kubernetes name"),
            (&["--name", &"x".repeat(39)], "at most 38"),
            (&["--clusters=x", "--shards=0"], "from 1 to 100000"),
            (&["--shards=2"], "--clusters"),
            (&["--role-arn", "x"], "is not a role's ARN"),
            (
                &["--cluster-name", "a\nb"],
                "--cluster-name has an unusable value",
            ),
        ] {
            let inventory = line.contains(&"--clusters=x").then_some(&few);
            let error = error(line, inventory);
            assert!(error.contains(word), "{line:?}: {error}");
        }
    }
}
