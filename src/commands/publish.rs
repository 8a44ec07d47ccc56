//! `--publish`: the results as OpenReports objects, in the cluster of the context or the one that this runs in.

use futures_util::stream::{self, StreamExt as _};
use serde_json::Value;

use crate::cli::Global;
use crate::cluster;
use crate::commands::{self, CliError};
use crate::facts::management;
use crate::kube::Resource;
use crate::model::permission::rule;
use crate::model::{Calls, Unknown};
use crate::report::openreports;
use crate::terminal;

/// How many are applied at a time.
const AT_ONCE: usize = 8;

/// Applies the objects of [`openreports::objects`].
///
/// # Errors
/// The cluster could not be asked, or did not take one.
pub(crate) async fn publish(objects: Vec<Value>, global: &Global) -> Result<(), CliError> {
    let calls = Calls::default();
    let plain = cluster::plain(&commands::request(global)).await?;
    let failed = |unknown: &Unknown| {
        let grant = unknown.grant.as_ref();
        let fix = grant.map(|grant| {
            format!(
                "\n  fix: kubectl capt-spot policy rbac --publish, which has {}",
                rule(grant)
            )
        });
        CliError::failed(format!(
            "publishing the results failed: {unknown}{}",
            fix.unwrap_or_default()
        ))
    };
    let api = management::connect(&plain, &commands::options(global), &calls)
        .await
        .map_err(|unknown| failed(&unknown))?;
    let namespace = plain
        .config
        .as_ref()
        .map_or("default", |config| config.default_namespace.as_str());
    let resource = Resource::new(
        openreports::GROUP,
        openreports::VERSION,
        openreports::KIND,
        "reports",
    )
    .within(namespace);
    let total = objects.len();
    let results: Vec<Result<(), Unknown>> = stream::iter(objects)
        .map(|object| {
            let api = &api;
            async move {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                api.apply(&resource, name, &object, openreports::SOURCE).await
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    if global.verbose > 0 {
        for call in calls.sorted() {
            terminal::err(&format!("  {} -> {}", call.call, call.answer));
        }
    }
    let refused: Vec<&Unknown> = results
        .iter()
        .filter_map(|result| result.as_ref().err())
        .collect();
    match refused.first() {
        None => {
            terminal::note(&format!("published {total} reports in the namespace {namespace}"));
            Ok(())
        }
        Some(unknown) if refused.len() == 1 && total == 1 => Err(failed(unknown)),
        Some(unknown) => {
            let error = failed(unknown);
            Err(CliError::failed(format!(
                "{} of {total} reports: {}",
                refused.len(),
                error.message
            )))
        }
    }
}
