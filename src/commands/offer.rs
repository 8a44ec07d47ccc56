//! Read, judge, and offer to create the missing role: what preflight, install, upgrade and gate have in common.

use crate::aws::Session;
use crate::checks::Status;
use crate::cli::Global;
use crate::cluster::resolve::Request;
use crate::commands::{self, CliError};
use crate::facts::{Ask, Facts};
use crate::model::Calls;
use crate::report::{self, Report, Selection};
use crate::spot_role::{self, Created, Plan, Refusal, Todo};
use crate::terminal::{self, Ui};

/// Whether the missing role may be created on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MayCreate {
    /// No, and nothing is asked.
    Never,
    /// After a person agreed, if one is there.
    AfterAsking,
    /// `--yes`.
    WithoutAsking,
}

/// One read of AWS and the cluster, and what is made of it.
pub(crate) struct Run<'a> {
    pub(crate) global: &'a Global,
    pub(crate) request: &'a Request,
    pub(crate) ask: &'a Ask,
    pub(crate) selection: &'a Selection,
    pub(crate) ui: &'a Ui,
    pub(crate) may_create: MayCreate,
    /// Puts the report before the person's eyes, before the question about it.
    pub(crate) show: &'a dyn Fn(&Report) -> Result<(), CliError>,
}

/// What was read, and what is made of it.
pub(crate) struct Judged {
    pub(crate) facts: Facts,
    pub(crate) report: Report,
    /// This very report was shown before a question that was answered with no.
    pub(crate) shown: bool,
}

impl Run<'_> {
    /// Reads and judges; then offers to create the missing role, where it is missing, could be created, and a person (or
    /// `--yes`) is there, and reads and judges again.
    pub(crate) async fn judge(&self) -> Result<Judged, CliError> {
        let (facts, session, calls) = self.read().await?;
        let report = report::judge(&facts, self.selection);
        let plan = self.plan(&facts, &report)?;
        let Some(plan) = plan else {
            return Ok(Judged {
                facts,
                report,
                shown: false,
            });
        };
        if self.may_create == MayCreate::AfterAsking {
            (self.show)(&report)?;
            terminal::err("");
            terminal::err(&describe(&plan));
            if !self.ui.consents("Create it now?").await? {
                terminal::err("Nothing was created.");
                return Ok(Judged {
                    facts,
                    report,
                    shown: true,
                });
            }
        }
        let created = try_to_create(self.ui, &plan, &facts, &session, &calls)
            .await
            .map_err(|refusal| CliError::failed(refusal.judgement.to_string()))?;
        terminal::note(&format!("{}: {}", done(&created), created.role.arn));
        terminal::note("");
        let (facts, _, _) = self.read().await?;
        let report = report::judge(&facts, self.selection);
        Ok(Judged {
            facts,
            report,
            shown: false,
        })
    }

    async fn read(&self) -> Result<(Facts, Session, Calls), CliError> {
        let work = commands::gather(self.global, self.request, self.ask);
        let read = self.ui.progress("reading AWS and the cluster", work).await?;
        if self.global.verbose > 0 {
            commands::print_calls(&read.0);
        }
        Ok(read)
    }

    /// What would be created, if the role is missing and may be created here.
    fn plan(&self, facts: &Facts, report: &Report) -> Result<Option<Plan>, CliError> {
        let without_asking = self.may_create == MayCreate::WithoutAsking;
        if !without_asking && (self.may_create == MayCreate::Never || !self.ui.person) {
            return Ok(None);
        }
        let missing = report.checks.iter().any(|finding| {
            finding.id == "spot-role-exists" && matches!(finding.status, Status::Fail | Status::Warn)
        });
        // What the caller may not do is not offered.
        let refused = crate::checks::spot_role_creatable::caller_is_refused(facts);
        if !missing || (refused && !without_asking) {
            return Ok(None);
        }
        match spot_role::plan(facts, None) {
            Ok(Todo::Create(plan)) => Ok(Some(plan)),
            Ok(Todo::Nothing(_)) => Ok(None),
            Err(refusal) if without_asking => Err(CliError::failed(refusal.judgement.to_string())),
            Err(_) => Ok(None),
        }
    }
}

/// Creates what was planned, and waits until IAM shows it.
pub(crate) async fn try_to_create(
    ui: &Ui,
    plan: &Plan,
    facts: &Facts,
    session: &Session,
    calls: &Calls,
) -> Result<Created, Refusal> {
    let session = session.restarted();
    let work = spot_role::create(plan, facts, &session, calls);
    ui.progress("creating the role and waiting until IAM shows it", work)
        .await
}

/// What would be created, where, and by whom.
pub(crate) fn describe(plan: &Plan) -> String {
    format!(
        "The role to create: {}, for all clusters of the account\n  account  {}\n  cluster  {} ({})\n  caller   {}",
        crate::model::SPOT_ROLE,
        plan.account,
        plan.cluster,
        plan.region,
        plan.caller
    )
}

/// How the role came about.
pub(crate) fn done(created: &Created) -> &'static str {
    match created.how {
        spot_role::How::Created => "the role was created",
        spot_role::How::Meanwhile => "the role is there: it was created in the meantime",
        spot_role::How::AnswerLost => "the role was created; IAM's answer was lost",
    }
}
