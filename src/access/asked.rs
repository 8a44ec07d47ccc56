//! Whom a question is about.

use std::collections::BTreeSet;

use crate::text::sanitize;
use eks_aws_auth::{AccessEntry, AwsAuth, Caller, IdentityError, PrincipalKind};
use iam_policy::arn::Arn;

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// `me`
    Me,
    /// An ARN.
    Arn(String),
    /// A name, perhaps with a path, of a role or user whose account is not given.
    Name { kind: &'static str, name: String },
}

impl Asked {
    /// # Errors
    /// What it is instead, and what to write.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text == "me" {
            return Ok(Self::Me);
        }
        let wrong = |what: &str| {
            format!(
                "\"{}\" is {what}\n  fix: write arn:aws:iam::111122223333:role/NAME, arn:aws:sts::111122223333:assumed-role/NAME/SESSION, \
                 arn:aws:iam::111122223333:user/NAME, the name of a role, or me",
                sanitize::short_line(text)
            )
        };
        if text
            .get(..4)
            .is_some_and(|start| start.eq_ignore_ascii_case("arn:"))
        {
            return match text.starts_with("arn:") && text.splitn(6, ':').count() == 6 {
                true => Ok(Self::Arn(text.to_owned())),
                false => Err(wrong(
                    "not an ARN (arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE)",
                )),
            };
        }
        let (kind, name) = match text.split_once('/') {
            Some(("role", name)) => ("role", name),
            Some(("user", name)) => ("user", name),
            _ => ("role", text.trim_start_matches('/')),
        };
        // IAM's names: letters, digits and +=,.@_-
        let last = name.rsplit('/').next().unwrap_or_default();
        let good = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-/".contains(c);
        if last.is_empty() || last.len() > 64 || name.len() > 576 || !name.chars().all(good) {
            return Err(wrong("neither an ARN nor the name of a role"));
        }
        Ok(Self::Name {
            kind,
            name: name.to_owned(),
        })
    }
}

/// The identity that an ARN stands for; a role's own ARN for any session of it.
pub(crate) fn caller_of(arn: &str) -> Result<Caller, IdentityError> {
    let caller = Caller::parse(arn)?;
    match caller.kind {
        PrincipalKind::Role => Caller::of_role(arn, None),
        _ => Ok(caller),
    }
}

/// The name of the role that an ARN is about.
pub(crate) fn role_in(arn: &str) -> Option<String> {
    arn.parse::<Arn>().ok()?.role_name().map(str::to_owned)
}

/// The partition and account of everything that files name, if it is one.
///
/// # Errors
/// Why a name alone is not enough.
pub(crate) fn account_of_files(
    aws_auth: &AwsAuth,
    entries: &[AccessEntry],
) -> Result<(String, String), String> {
    let of_lines = aws_auth
        .roles
        .iter()
        .chain(&aws_auth.users)
        .map(|mapping| mapping.arn.as_str());
    let of_entries = entries.iter().map(|entry| entry.principal_arn.as_str());
    let arns: Vec<Arn> = of_lines
        .chain(of_entries)
        .filter_map(|arn| arn.parse().ok())
        .collect();
    let of_arns = arns.iter().filter_map(Arn::account_id);
    let listed = aws_auth
        .accounts
        .iter()
        .filter_map(|account| account.account.parse().ok());
    let accounts: BTreeSet<String> = of_arns
        .chain(listed)
        .map(|account| account.as_str().to_owned())
        .collect();
    let partitions: BTreeSet<&str> = arns.iter().map(|arn| arn.partition.as_str()).collect();
    let partition = match partitions.len() {
        0 => Some("aws"),
        1 => partitions.first().copied(),
        _ => None,
    };
    if let (Some(partition), 1, Some(account)) = (partition, accounts.len(), accounts.first()) {
        return Ok((partition.to_owned(), account.clone()));
    }
    let seen: Vec<&str> = accounts.iter().map(String::as_str).take(5).collect();
    let seen = match seen.as_slice() {
        [] => "the files name no account".to_owned(),
        seen => format!("the files name several: {}", seen.join(", ")),
    };
    Err(format!(
        "which account the name is in is not known: {seen}\n  fix: write the whole ARN, arn:aws:iam::ACCOUNT:role/NAME"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for() {
        let name = |kind, name: &str| Asked::Name {
            kind,
            name: name.to_owned(),
        };
        for (text, want) in [
            ("me", Some(Asked::Me)),
            (
                " arn:aws:iam::111122223333:role/Dev\n",
                Some(Asked::Arn("arn:aws:iam::111122223333:role/Dev".to_owned())),
            ),
            ("Dev", Some(name("role", "Dev"))),
            ("role/team/Dev", Some(name("role", "team/Dev"))),
            ("/team/Dev", Some(name("role", "team/Dev"))),
            ("user/alice", Some(name("user", "alice"))),
            ("arn:aws:iam", None),
            ("ARN:aws:iam::111122223333:role/Dev", None),
            ("arn:", None),
            ("", None),
            ("two words", None),
            ("a\u{1b}[31m", None),
            ("role/", None),
            (&"x".repeat(65), None),
        ] {
            assert_eq!(Asked::read(text).ok(), want, "{text:?}");
        }
    }
}
