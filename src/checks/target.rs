//! The flags that name the target in AWS CLI commands which are strings: on its way out, for [`crate::model::Command`].

use crate::cluster::Target;
use crate::facts::Facts;

/// `--region REGION --profile PROFILE`, with a blank before.
pub(crate) fn aws_flags(facts: &Facts) -> String {
    aws_flags_of(&facts.target)
}

/// The same, of a target alone.
pub(crate) fn aws_flags_of(target: &Target) -> String {
    let profile = target
        .profile
        .as_ref()
        .map(|profile| format!(" --profile {}", crate::text::quote(profile)));
    format!(
        " --region {}{}",
        crate::text::quote(&target.region),
        profile.unwrap_or_default()
    )
}
