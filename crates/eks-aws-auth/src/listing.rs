//! Every principal that a cluster maps, or seems to.

use crate::decide::{Cluster, Existence, Source, stale};
use crate::document::{Mapping, Mistake, Problem};
use crate::entries::AssociatedPolicy;
use crate::gostr;
use crate::principal::without_path;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Whether a mapping is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "state")]
pub enum State {
    /// It counts.
    InForce,
    /// An access entry hides it.
    Hidden {
        /// The entry's principal.
        by: String,
    },
    /// A later entry for the same principal displaces it.
    Displaced {
        /// The later entry's line.
        by_line: usize,
    },
    /// The same principal is in mapRoles, which is looked at first.
    Later {
        /// The line there.
        by_line: usize,
    },
    /// Another entry for the same principal, but for case: chance decides.
    Chance {
        /// The other entry's line.
        other_line: usize,
    },
    /// The authentication mode leaves it out.
    Ignored,
    /// It is bound to an earlier principal of that name.
    Stale {
        /// Why that is known.
        why: String,
    },
    /// It matches nobody.
    NeverMatches {
        /// Why.
        why: String,
    },
    /// It is left out for a mistake in it.
    Dropped {
        /// The mistake.
        why: String,
    },
}

/// A principal in aws-auth or an access entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// The ARN, account or permission set as it is written; empty for an entry without one.
    pub principal: String,
    /// Where.
    pub source: Source,
    /// Username with its placeholders; none where it was not read, or where it is the caller's ARN (accounts).
    pub username: Option<String>,
    /// Groups with their placeholders.
    pub groups: Vec<String>,
    /// Access policies of an entry, if they were read.
    pub policies: Option<Vec<AssociatedPolicy>>,
    /// Whether it counts.
    #[serde(flatten)]
    pub state: State,
}

/// Lists every principal: access entries first, then aws-auth, each in its own order. `existence` tells what IAM says about
/// a principal, where it was asked.
pub fn list_all(cluster: &Cluster<'_>, existence: impl Fn(&str) -> Existence) -> Vec<Listed> {
    let mut listed = Vec::new();
    let mut entry_of: HashMap<String, &str> = HashMap::new();
    for (index, entry) in cluster.entries.unwrap_or_default().iter().enumerate() {
        let state = if !cluster.mode.uses_entries() {
            State::Ignored
        } else if let Some(why) = stale(entry, None, existence(&entry.principal_arn)) {
            State::Stale { why }
        } else {
            entry_of.insert(
                gostr::fold_text(&without_path(&entry.principal_arn)),
                &entry.principal_arn,
            );
            State::InForce
        };
        listed.push(Listed {
            principal: entry.principal_arn.clone(),
            source: Source::entry(entry, index),
            username: entry.username.clone(),
            groups: entry.kubernetes_groups.clone(),
            policies: entry.policies.clone(),
            state,
        });
    }
    let Some(aws_auth) = cluster.aws_auth else {
        return listed;
    };

    let never_matching: HashMap<(&str, usize), &Problem> = aws_auth
        .problems
        .iter()
        .filter(|problem| {
            matches!(
                problem.mistake,
                Some(
                    Mistake::RolePath
                        | Mistake::SsoRolePath
                        | Mistake::NotARole
                        | Mistake::NotAnArn
                        | Mistake::Unsubstituted
                        | Mistake::StrayCharacters
                        | Mistake::Wildcard
                        | Mistake::Sso
                )
            )
        })
        .filter_map(|problem| Some(((problem.key.as_deref()?, problem.index?), problem)))
        .collect();

    // Per key: where each principal is kept last, and who else has it but for case.
    let mut in_roles: HashMap<String, usize> = HashMap::new();
    for mappings in [&aws_auth.roles, &aws_auth.users] {
        let mut last: HashMap<String, &Mapping> = HashMap::new();
        for mapping in mappings {
            last.insert(mapping.store_key(), mapping);
        }
        let mut same_but_case: HashMap<String, Vec<&Mapping>> = HashMap::new();
        for mapping in last.values() {
            same_but_case
                .entry(gostr::fold_text(&mapping.arn))
                .or_default()
                .push(mapping);
        }
        for mapping in mappings {
            let folded = gostr::fold_text(&mapping.arn);
            let winner = last.get(&mapping.store_key()).copied().unwrap_or(mapping);
            let never = never_matching.get(&(mapping.key.as_str(), mapping.index));
            let state = if !cluster.mode.uses_aws_auth() {
                State::Ignored
            } else if let Some(problem) = never {
                State::NeverMatches {
                    why: problem.message.clone(),
                }
            } else if winner.index != mapping.index {
                State::Displaced { by_line: winner.line }
            } else if let Some(by) = entry_of.get(&folded) {
                State::Hidden { by: (*by).to_owned() }
            } else if let Some(&by_line) = in_roles.get(&folded) {
                State::Later { by_line }
            } else if let Some(other) = same_but_case
                .get(&folded)
                .and_then(|same| same.iter().find(|other| other.index != mapping.index))
            {
                State::Chance {
                    other_line: other.line,
                }
            } else {
                State::InForce
            };
            let source = Source::mapping(mapping);
            listed.push(Listed {
                principal: source.arn.clone(),
                source,
                username: Some(mapping.username.clone()),
                groups: mapping.groups.clone(),
                policies: None,
                state,
            });
        }
        for mapping in mappings {
            in_roles.insert(gostr::fold_text(&mapping.arn), mapping.line);
        }
    }
    for dropped in &aws_auth.dropped {
        listed.push(Listed {
            principal: String::new(),
            source: Source::line(dropped.key, dropped.index, dropped.line, String::new(), aws_auth),
            username: None,
            groups: Vec::new(),
            policies: None,
            state: State::Dropped {
                why: dropped.why.clone(),
            },
        });
    }
    for account in &aws_auth.accounts {
        let state = if cluster.mode.uses_aws_auth() {
            State::InForce
        } else {
            State::Ignored
        };
        let key = crate::document::MapKey::MapAccounts;
        listed.push(Listed {
            principal: account.account.clone(),
            source: Source::line(
                key,
                account.index,
                account.line,
                account.account.clone(),
                aws_auth,
            ),
            username: None,
            groups: Vec::new(),
            policies: None,
            state,
        });
    }
    listed
}
