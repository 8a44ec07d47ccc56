//! `account`: the account's side alone, before there is a cluster.

use crate::aws::{self, Identity};
use crate::cli::{Account, Global};
use crate::cluster::environment_region;
use crate::commands::{self, CliError};
use crate::facts;
use crate::model::{Calls, Exit, Target};
use crate::report::account::AccountReport;
use crate::terminal::Ui;
use iam_policy::arn::partition_of_region;

/// Runs it.
///
/// # Errors
/// No region is known, or the output could not be written.
pub async fn run(args: &Account, global: &Global) -> Result<Exit, CliError> {
    let ui = Ui::new(global.color, global.verbose, true);
    let identity = Identity {
        profile_flag: global.profile.clone(),
        ..Identity::default()
    };
    let region = match global.region.clone() {
        Some(region) => Some(region),
        None => environment_region(&identity).await,
    };
    let region = region.filter(|region| !region.is_empty()).ok_or_else(|| {
        CliError::usage(
            "no AWS region is known\n  fix: give --region, or set AWS_REGION or the profile's region",
        )
    })?;
    let target = Target {
        context: String::new(),
        cluster: String::new(),
        partition: partition_of_region(&region).to_owned(),
        region,
        account: None,
        server: String::new(),
        profile: global.profile.clone(),
        role_arn: None,
        certificate_authority_sha256: None,
        insecure: false,
        scope: Default::default(),
        clues: Vec::new(),
        disagreements: Vec::new(),
    };
    let http = aws::http_client().map_err(CliError::failed)?;
    let calls = Calls::default();
    let work = facts::account::gather(
        &target,
        &identity,
        &http,
        commands::options(global).limits,
        &calls,
    );
    let facts = ui.progress("reading AWS", work).await;
    if global.verbose > 0 {
        commands::print_calls(&facts);
    }
    let report = AccountReport::new(&facts, args.strict);
    commands::answer(&[report.page(args.strict)], &report, &args.reporting, global, &ui)?;
    Ok(report.verdict.into())
}
