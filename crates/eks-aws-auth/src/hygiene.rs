//! The usual mistakes in aws-auth: what is read without complaint and still does not do what it seems to.

use crate::document::{AwsAuth, Loss, Mapping, Mistake, Problem, Severity, shown};
use crate::gostr;
use crate::principal::{Arn, PARTITIONS};
use std::collections::HashMap;

const PLACEHOLDERS: [&str; 5] = [
    "{{EC2PrivateDNSName}}",
    "{{AccountID}}",
    "{{SessionName}}",
    "{{SessionNameRaw}}",
    "{{AccessKeyID}}",
];

/// Looks for them in what the authenticator took in.
pub(crate) fn look(aws_auth: &AwsAuth) -> Vec<Problem> {
    let mut found = Vec::new();
    for mapping in aws_auth.roles.iter().chain(&aws_auth.users) {
        principal(mapping, &mut found);
        username(mapping, &mut found);
        groups(mapping, &mut found);
    }
    duplicates(&aws_auth.roles, &mut found);
    duplicates(&aws_auth.users, &mut found);
    found
}

fn note(
    found: &mut Vec<Problem>,
    mapping: &Mapping,
    mistake: Mistake,
    message: String,
    lost: &str,
    fix: impl Into<String>,
) {
    let line = match mistake {
        Mistake::Duplicate | Mistake::Groups | Mistake::Template => mapping.line,
        _ => mapping.arn_line,
    };
    found.push(Problem {
        key: Some(mapping.key.to_string()),
        line: Some(line),
        index: Some(mapping.index),
        message,
        lost: lost.to_owned(),
        loss: match (mistake, lost) {
            (_, "") => Loss::Nothing,
            (Mistake::Duplicate, BY_CHANCE) => Loss::Chance,
            _ => Loss::Part,
        },
        fix: fix.into(),
        severity: Severity::Warning,
        mistake: Some(mistake),
    });
}

impl Problem {
    fn is_about(&self, mapping: &Mapping) -> bool {
        (self.key.as_deref(), self.index) == (Some(mapping.key.as_str()), Some(mapping.index))
    }
}

const NEVER: &str = "this entry: it never matches anybody";
const BY_CHANCE: &str = "by chance, this entry or the other";

fn principal(mapping: &Mapping, found: &mut Vec<Problem>) {
    if mapping.sso.is_some() {
        note(
            found,
            mapping,
            Mistake::Sso,
            format!(
                "entry {} maps a permission set (sso): that needs a feature gate, which EKS is not known to set",
                mapping.index
            ),
            NEVER,
            "map the role itself: arn:aws:iam::ACCOUNT:role/AWSReservedSSO_NAME_SUFFIX, without its path",
        );
        return;
    }
    let written = &mapping.arn;
    if written.contains("${") {
        note(
            found,
            mapping,
            Mistake::Unsubstituted,
            format!("{} has a placeholder that is not filled in", shown(written)),
            "this entry: as it stands it matches nobody",
            "fill it in before applying (CloudFormation, Terraform and envsubst do)",
        );
        return;
    }
    let stray = |c: char| {
        c.is_whitespace()
            || c.is_control()
            || matches!(c, '"' | '\'' | '`' | '\u{200B}'..='\u{201F}' | '\u{FEFF}' | '#')
    };
    if let Some(c) = written.chars().find(|&c| stray(c)) {
        note(
            found,
            mapping,
            Mistake::StrayCharacters,
            format!(
                "the ARN {} contains U+{:04X}, and is compared as it is",
                shown(written),
                u32::from(c)
            ),
            NEVER,
            "write the ARN alone, on one line, without blanks; put a blank before a comment's #",
        );
        return;
    }
    // Letter case does not matter, not in the fixed parts either.
    let folded = || Arn::parse(&gostr::fold_text(written));
    let Some(arn) = Arn::parse(written).or_else(folded) else {
        note(
            found,
            mapping,
            Mistake::NotAnArn,
            format!("{} is not an ARN", shown(written)),
            NEVER,
            "write it as arn:aws:iam::111122223333:role/NAME (or user/NAME)",
        );
        return;
    };
    if written.contains(['*', '?']) {
        note(
            found,
            mapping,
            Mistake::Wildcard,
            format!("{} has a wildcard: ARNs are compared as they are", shown(written)),
            NEVER,
            "name each role or user, or list the account in mapAccounts",
        );
        return;
    }
    let lower = |text: &str| gostr::to_lower(text);
    if !PARTITIONS.contains(&lower(&arn.partition).as_str()) {
        note(
            found,
            mapping,
            Mistake::NotAnArn,
            format!(
                "{} is in partition {}, which does not exist",
                shown(written),
                shown(&arn.partition)
            ),
            NEVER,
            "use the cluster's partition: aws, aws-cn, aws-us-gov, ...",
        );
        return;
    }
    let kind = lower(arn.kind());
    match (lower(&arn.service).as_str(), kind.as_str()) {
        ("iam", "role") if !arn.path().is_empty() => {
            let sso = lower(arn.path()).starts_with("aws-reserved/sso.amazonaws.com/");
            let (mistake, what) = if sso {
                (
                    Mistake::SsoRolePath,
                    "the role of a permission set with its path aws-reserved/...",
                )
            } else {
                (Mistake::RolePath, "a role with a path")
            };
            note(
                found,
                mapping,
                mistake,
                format!("{} is {what}: sessions come without it", shown(written)),
                NEVER,
                format!(
                    "aws-auth never matches role paths; write arn:{}:iam::{}:role/{}, or make an access entry with the full ARN",
                    arn.partition,
                    arn.account,
                    arn.name()
                ),
            );
        }
        ("iam", "role" | "user" | "root") | ("sts", "federated-user") => {}
        ("iam", "instance-profile") => note(
            found,
            mapping,
            Mistake::NotARole,
            format!(
                "{} is an instance profile: instances call as its role",
                shown(written)
            ),
            NEVER,
            format!(
                "use the ARN of the role that `aws iam get-instance-profile --instance-profile-name {}` shows",
                arn.name()
            ),
        ),
        ("sts", "assumed-role") => note(
            found,
            mapping,
            Mistake::NotARole,
            format!(
                "{} is a session of a role: callers are compared by their role",
                shown(written)
            ),
            NEVER,
            format!(
                "use the role: arn:{}:iam::{}:role/{}",
                arn.partition,
                arn.account,
                arn.resource.split('/').nth(1).unwrap_or_default()
            ),
        ),
        _ => note(
            found,
            mapping,
            Mistake::NotARole,
            format!(
                "{} is not a role, user, root or federated user: no caller has this name",
                shown(written)
            ),
            NEVER,
            "use the ARN that `aws iam get-role` or `aws iam get-user` shows",
        ),
    }
    if arn.account.len() != 12 || !arn.account.bytes().all(|c| c.is_ascii_digit()) {
        note(
            found,
            mapping,
            Mistake::NotAnArn,
            format!("the account {} in the ARN is not 12 digits", shown(&arn.account)),
            NEVER,
            "write the account with all its 12 digits",
        );
    }
    if mapping.principal().is_none() && found.last().is_none_or(|last| !last.is_about(mapping)) {
        note(
            found,
            mapping,
            Mistake::NotAnArn,
            format!("no principal has the ARN {}", shown(written)),
            NEVER,
            "use the ARN that `aws iam get-role` or `aws iam get-user` shows",
        );
        return;
    }
    if kind == "root" {
        note(
            found,
            mapping,
            Mistake::Root,
            format!(
                "{} maps the account's root user alone, not everybody in the account",
                shown(written)
            ),
            "",
            "name the roles and users, or list the account in mapAccounts",
        );
    }
}

fn username(mapping: &Mapping, found: &mut Vec<Problem>) {
    let username = &mapping.username;
    if username.is_empty() {
        note(
            found,
            mapping,
            Mistake::Template,
            format!(
                "entry {} has no username: the cluster authenticates its principal as the user \"\"",
                mapping.index
            ),
            "",
            "give it a username",
        );
    }
    for template in std::iter::once(username).chain(&mapping.groups) {
        if let Some(braces) = unknown_placeholder(template) {
            note(
                found,
                mapping,
                Mistake::Template,
                format!("{} is not a placeholder and stays as it is", shown(braces)),
                "",
                format!("the placeholders are {}, exactly so", PLACEHOLDERS.join(", ")),
            );
            break;
        }
    }
    let node = mapping.groups.iter().any(|group| group == "system:nodes");
    if node
        && username.contains("{{SessionName}}")
        && !mapping.groups.iter().any(|group| group == "system:node-proxier")
    {
        note(
            found,
            mapping,
            Mistake::Template,
            format!(
                "entry {} names nodes by {{{{SessionName}}}}, which is the instance id for EC2",
                mapping.index
            ),
            "",
            "EC2 nodes: {{EC2PrivateDNSName}}; Fargate, hybrid nodes and nodes named by instance id: {{SessionName}}",
        );
    }
}

/// The first `{{...}}` that nothing replaces.
fn unknown_placeholder(template: &str) -> Option<&str> {
    let mut rest = template;
    while let Some(at) = rest.find("{{") {
        let tail = &rest[at..];
        let end = tail.find("}}").map_or(tail.len(), |end| end + 2);
        let braces = &tail[..end];
        if !PLACEHOLDERS.contains(&braces) {
            return Some(braces);
        }
        rest = &tail[end..];
    }
    None
}

fn groups(mapping: &Mapping, found: &mut Vec<Problem>) {
    for group in &mapping.groups {
        let what = match group {
            group if group.trim().is_empty() => "is empty",
            group if group.contains(" - ") => {
                "is two lines run together: the second '- ' stands too far right"
            }
            group if group.contains(',') => "is one group with a comma",
            group if group.trim() != group => "has blanks around it",
            _ => continue,
        };
        note(
            found,
            mapping,
            Mistake::Groups,
            format!("the group {} of entry {} {what}", shown(group), mapping.index),
            "the groups that were meant",
            "groups must be a YAML list, one '- ' for each, all in one column",
        );
    }
    let node_name = mapping.username.starts_with("system:node:");
    if node_name && !mapping.groups.iter().any(|group| group == "system:nodes") {
        note(
            found,
            mapping,
            Mistake::Groups,
            format!(
                "entry {} names a node but does not give it the group system:nodes",
                mapping.index
            ),
            "its nodes: they cannot register",
            "give it the groups system:bootstrappers and system:nodes",
        );
    }
}

fn duplicates(mappings: &[Mapping], found: &mut Vec<Problem>) {
    let mut last: HashMap<String, &Mapping> = HashMap::new();
    for mapping in mappings {
        if let Some(earlier) = last.insert(mapping.store_key(), mapping) {
            note(
                found,
                earlier,
                Mistake::Duplicate,
                format!(
                    "entries {} and {} name the same principal; the last one wins",
                    earlier.index, mapping.index
                ),
                "this entry: the later one displaces it",
                format!("keep one (the other begins at line {})", mapping.line),
            );
        }
    }
    let mut folded: HashMap<String, &Mapping> = HashMap::new();
    let mut left: Vec<&Mapping> = last
        .into_values()
        .filter(|mapping| mapping.sso.is_none())
        .collect();
    left.sort_by_key(|mapping| mapping.index);
    for mapping in left {
        if let Some(other) = folded.insert(gostr::fold_text(&mapping.arn), mapping) {
            note(
                found,
                other,
                Mistake::Duplicate,
                format!(
                    "entries {} and {} name the same principal but for case: which one counts depends on chance",
                    other.index, mapping.index
                ),
                BY_CHANCE,
                format!("keep one (the other begins at line {})", mapping.line),
            );
        }
    }
}
