//! Whether the cluster's admin roles are there, and who can assume them.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::karpenter::several;
use super::node_mapping::{mappings, mode_not_known};
use super::node_verdict::existence;
use super::{Check, Group, Judgement, lost_cluster, never};
use crate::facts::Facts;
use crate::facts::cluster_admins::{
    AdminBy, ClusterAdmin, MOST, MappedAdmin, get_token, identity_of, is_session_of, mapped_admins,
    policies_unread,
};
use crate::model::permission::{grant_commands, grant_remedy};
use crate::model::{Command, Grant, Observed, Role, Unknown, argv};
use eks_aws_auth::{AccessEntry, Cluster, Existence};
use iam_policy::arn::Arn;
use iam_policy::condition::ContextValue;
use iam_policy::document::{Effect, PolicyDocument, Principal, Who};
use iam_policy::evaluate::{ASSUME_ROLE, OwnSide, Request, admitted, evaluate};
use iam_policy::kleene::Tri;
use iam_policy::principal::{Identity, Requester, is_unique_id};

pub(crate) static MASTERS_TRUST: Check = Check {
    id: "masters-trust",
    group: Group::HelmAccess,
    title: "The cluster's admin roles exist, and the right principals can assume them",
    needed: never,
    judge: masters_trust,
};

/// How many roles a sentence names; all of them are in the evidence.
const NAMED: usize = 20;
const EC2: &str = "ec2.amazonaws.com";

fn masters_trust(facts: &Facts) -> Judgement {
    if let Some(reason) = lost_cluster(facts) {
        return Judgement::ground_lost(reason);
    }
    let Some(mappings) = mappings(facts) else {
        return mode_not_known(facts);
    };
    let cluster = mappings.cluster();
    let read: HashMap<(String, String), &ClusterAdmin> = facts
        .cluster_admins
        .iter()
        .filter_map(|admin| Some((key(&admin.arn.parse().ok()?)?, admin)))
        .collect();
    let of = |arn: &Arn| read.get(&key(arn)?).copied();
    let exists = |principal: &str| match principal.parse::<Arn>().ok().as_ref().and_then(of) {
        Some(admin) => existence(&admin.role.observed),
        None => Existence::Unknown,
    };
    let caller = facts
        .caller
        .known()
        .and_then(|caller| identity_of(caller, &facts.caller_role.observed));
    let mut told = Told::default();
    told.incomplete(facts, &cluster);
    let admins = mapped_admins(&cluster, exists);
    let sources: Vec<&ClusterAdmin> = admins.iter().filter_map(|admin| of(&admin.arn)).collect();
    for admin in &admins {
        told.judge(facts, admin, of(&admin.arn), caller.as_ref());
    }
    let judgement = told.judgement(admins.is_empty());
    sources
        .into_iter()
        .fold(judgement, |judgement, admin| judgement.from(&admin.role))
}

/// Account and name: aws-auth leaves the path out, and a name is unique in its account whatever the path is.
fn key(arn: &Arn) -> Option<(String, String)> {
    Some((arn.account.clone(), arn.role_name()?.to_owned()))
}

/// What there is to say, as it is put together.
#[derive(Default)]
struct Told {
    /// What is wrong, its headline first.
    wrong: Vec<(&'static str, String)>,
    unread: Vec<String>,
    good: Vec<String>,
    commands: Vec<Command>,
    grant: Option<Box<Grant>>,
    evidence: Vec<Value>,
}

impl Told {
    fn judge(
        &mut self,
        facts: &Facts,
        admin: &MappedAdmin,
        found: Option<&ClusterAdmin>,
        caller: Option<&Identity>,
    ) {
        let arn = admin.arn.to_string();
        let named = format!("{arn} ({})", admin.by);
        let not_read = Observed::Unknown(Unknown::not_asked(if facts.cluster_admins.len() >= MOST {
            "only the first hundred are read"
        } else {
            "these facts do not include it"
        }));
        let role = found.map_or(&not_read, |found| &found.role.observed);
        let may = found
            .zip(caller)
            .and_then(|(found, caller)| caller_may(found, caller));
        let mut evidence = json!({
            "arn": arn,
            "from": admin.by.to_string(),
            "exists": match role {
                Observed::Known(_) => json!(true),
                Observed::Absent => json!(false),
                Observed::Unknown(_) => Value::Null,
            },
            "assumableBy": [],
            "caller": match &may {
                None => "not asked",
                Some(May::IsIt) => "is the caller",
                Some(May::Verdict(Tri::True)) => "yes",
                Some(May::Verdict(Tri::False)) => "no",
                Some(May::Verdict(Tri::Unknown)) => "unknown",
            },
        });
        match role {
            Observed::Absent => {
                self.wrong.push((
                    "A cluster admin role does not exist: anyone who creates a role with its name administers the cluster",
                    format!(
                        "{named} does not exist: anyone who creates a role with this name becomes a cluster administrator"
                    ),
                ));
                self.commands.push(unmap(facts, admin));
            }
            Observed::Unknown(unknown) => {
                self.grant = self.grant.take().or_else(|| unknown.grant.clone());
                self.unread.push(format!("{named} could not be read: {unknown}"));
            }
            Observed::Known(role) => {
                // An access entry names the whole ARN, aws-auth the name alone.
                let moved = (admin.by == AdminBy::AccessEntry && role.arn != arn)
                    .then(|| format!("the role of that name is now {}", role.arn));
                if let Some(why) = moved.or_else(|| admin.stale.clone()) {
                    self.wrong.push((
                        "A cluster admin's access entry is for a role that is gone",
                        format!("{named} exists, and its access entry is not for it: {why}"),
                    ));
                    self.commands.push(unmap(facts, admin));
                } else {
                    let by = self.trust(facts, role, &named, may.as_ref());
                    evidence["assumableBy"] = json!(by);
                }
            }
        }
        self.evidence.push(evidence);
    }

    /// Asks whether anyone outside the account, anyone inside it, and an EC2 instance may assume the role.
    fn trust(&mut self, facts: &Facts, role: &Role, named: &str, may: Option<&May>) -> Vec<String> {
        let document = role
            .arn
            .parse::<Arn>()
            .map_err(|error| error.to_string())
            .and_then(|arn| {
                Ok((
                    arn,
                    PolicyDocument::parse(&role.trust).map_err(|error| error.to_string())?,
                ))
            });
        let (arn, document) = match document {
            Ok(found) => found,
            Err(why) => {
                self.unread.push(format!("{named}: {why}"));
                return Vec::new();
            }
        };
        let who = admitted(&document, &arn, &facts.gathered_at.to_string());
        let words: Vec<String> = who
            .iter()
            .map(|one| match one.may {
                Tri::True => one.who.to_string(),
                _ => format!("{} (under conditions)", one.who),
            })
            .collect();
        let those = |is: &dyn Fn(&Requester) -> bool| -> Vec<String> {
            let all = who.iter().zip(&words).filter(|(one, _)| is(&one.requester));
            all.map(|(_, words)| words.clone()).collect()
        };
        let outside = those(&|one| one.home().is_some_and(|(_, account)| account != arn.account));
        let instances = those(&|one| *one == Requester::Service(EC2.to_owned()));
        let look = facts.target.capt_spot(&["trust", &role.arn]);
        // A condition that only the request decides may hold; what IAM would refuse to store may mean anything.
        let odd = document.problems().next().is_some()
            || document.statements.iter().all(|one| one.conditions.is_empty());
        let certain = who.iter().any(|one| one.may == Tri::True);
        if odd && !certain && (!who.is_empty() || document.problems().next().is_some()) {
            self.unread.push(format!(
                "{named}: unknown who can assume it, its trust policy has statements that IAM would refuse"
            ));
        } else if who.is_empty() {
            let dead = deleted(&document);
            let dead = if dead.is_empty() {
                String::new()
            } else {
                format!(" (it names {}, deleted)", dead.join(", "))
            };
            self.wrong.push((
                "No principal can assume a cluster admin role",
                format!("{named} exists, and its trust policy admits no one{dead}"),
            ));
            self.commands.push(look);
        } else if !outside.is_empty() || !instances.is_empty() {
            let mut reasons = Vec::new();
            if !outside.is_empty() {
                reasons.push(format!(
                    "principals outside account {} ({})",
                    arn.account,
                    outside.join(", ")
                ));
            }
            if !instances.is_empty() {
                reasons.push("any EC2 instance that carries it, and everyone on that instance".to_owned());
            }
            self.wrong.push((
                if outside.is_empty() {
                    "An EC2 instance can assume a cluster admin role"
                } else {
                    "Principals outside the account can assume a cluster admin role"
                },
                format!("{named} can be assumed by {}", reasons.join(" and by ")),
            ));
            self.commands.push(look);
        } else {
            self.good.push(format!(
                "{named}{}",
                match may {
                    Some(May::IsIt) => ": the caller is a session of it",
                    Some(May::Verdict(Tri::True)) => ": it exists, and the caller may assume it",
                    Some(May::Verdict(Tri::False)) => ": it exists and can be assumed, but not by the caller",
                    Some(May::Verdict(Tri::Unknown)) =>
                        ": it exists and can be assumed; unknown whether by the caller",
                    None => ": it exists and can be assumed",
                }
            ));
        }
        words
    }

    /// What of the mappings could not be read, and may hide an admin role.
    fn incomplete(&mut self, facts: &Facts, cluster: &Cluster<'_>) {
        let entries = facts
            .access_entries
            .observed
            .unknown()
            .filter(|_| cluster.mode.uses_entries());
        let aws_auth = facts
            .aws_auth
            .observed
            .unknown()
            .filter(|_| cluster.mode.uses_aws_auth());
        for (what, unknown) in [("the access entries", entries), ("aws-auth", aws_auth)] {
            if let Some(unknown) = unknown {
                self.unread.push(format!("{what} could not be read: {unknown}"));
                self.grant = self.grant.take().or_else(|| unknown.grant.clone());
            }
        }
        for entry in policies_unread(cluster) {
            self.policies_unread(facts, entry);
        }
    }

    /// An entry whose policies were not read.
    fn policies_unread(&mut self, facts: &Facts, entry: &AccessEntry) {
        let unread = facts.entry_policies_unread.get(&entry.principal_arn);
        let why = unread.map(|unread| format!(": {unread}")).unwrap_or_default();
        self.unread.push(format!(
            "the policies of the access entry of {} could not be read{why}",
            entry.principal_arn
        ));
        self.grant = self.grant.take().or_else(|| unread?.grant.clone());
    }

    fn judgement(mut self, no_admins: bool) -> Judgement {
        const UNREAD: &str = "Which roles administer the cluster, or who can assume them, could not be read";
        if no_admins && self.unread.is_empty() {
            return Judgement::skip(
                "no role is mapped to system:masters, and no access entry has AmazonEKSClusterAdminPolicy for the whole cluster \
                 (in CONFIG_MAP mode the cluster's creator is an administrator that AWS does not show)",
            );
        }
        self.commands.dedup();
        self.commands.truncate(NAMED);
        let wrong: Vec<String> = self.wrong.iter().map(|(_, text)| text.clone()).collect();
        let judgement = match self.wrong.first() {
            Some((headline, _)) => Judgement::warn(sentences(&wrong, &self.unread))
                .headline(*headline)
                .fix(
                    "Remove dead mappings, or create the roles again; let each trust policy name the principals that are to \
                     administer the cluster, and no one else.",
                    self.commands,
                ),
            None if self.unread.is_empty() => Judgement::pass(sentences(&self.good, &[])),
            None => {
                let judgement = Judgement::undecided(sentences(&self.unread, &self.good)).headline(UNREAD);
                match &self.grant {
                    Some(grant) => judgement
                        .evidence("denied", grant.action())
                        .evidence("grant", grant.statement())
                        .fix(grant_remedy(grant), grant_commands(grant)),
                    None => judgement,
                }
            }
        };
        if no_admins {
            return judgement;
        }
        judgement.evidence("roles", self.evidence)
    }
}

/// The command that takes the mapping away.
fn unmap(facts: &Facts, admin: &MappedAdmin) -> Command {
    let target = &facts.target;
    match admin.by {
        AdminBy::AwsAuth { .. } => target.kubectl(&["edit", "configmap", "aws-auth", "-n", "kube-system"]),
        AdminBy::AccessEntry => target.aws(&argv(
            "eks delete-access-entry --cluster-name {} --principal-arn {}",
            &[&target.cluster, &admin.arn.to_string()],
        )),
    }
}

/// The ids of deleted principals that the policy allows.
fn deleted(document: &PolicyDocument) -> Vec<&str> {
    let allows = document
        .statements
        .iter()
        .filter(|one| one.effect == Some(Effect::Allow));
    let mut ids: Vec<&str> = allows
        .flat_map(|one| match &one.who {
            Who::Principal(who) => who.as_slice(),
            Who::NotPrincipal(_) | Who::Unsaid => &[],
        })
        .filter_map(|who| match who {
            Principal::Aws(id) if is_unique_id(id) => Some(id.as_str()),
            _ => None,
        })
        .collect();
    ids.dedup();
    ids
}

/// Whether the caller may assume the role.
enum May {
    /// The caller is a session of it.
    IsIt,
    /// What trust policy and own policies say together.
    Verdict(Tri),
}

/// None where the role could not be read.
fn caller_may(found: &ClusterAdmin, caller: &Identity) -> Option<May> {
    let role = found.role.known()?;
    if is_session_of(caller, role) {
        return Some(May::IsIt);
    }
    let (arn, document) = (
        role.arn.parse::<Arn>().ok()?,
        PolicyDocument::parse(&role.trust).ok()?,
    );
    let requester = Requester::from(caller.clone());
    let request = Request {
        requester: &requester,
        action: ASSUME_ROLE,
        resource: &arn,
        context: &|key: &str| -> Option<ContextValue> { get_token(key) },
    };
    let own = match &found.may_assume.observed {
        Observed::Known(simulation) => simulation.decided.own_side(),
        Observed::Absent => OwnSide::Stops,
        Observed::Unknown(_) => OwnSide::Unknown,
    };
    let same_account = caller.arn.arn().account == arn.account;
    Some(May::Verdict(
        evaluate(&document, &request).with_own_side(&own, same_account),
    ))
}

fn sentences(first: &[String], then: &[String]) -> String {
    several(first.iter().chain(then), NAMED, "; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::{Damage, told_of};
    use crate::facts::fixture::{absent, denied, healthy, known, known_cluster, role};
    use crate::model::Fact;
    use eks_aws_auth::{AuthenticationMode, EntryType};

    fn trust(facts: &mut Facts, statements: Value) {
        let mut admin = role("Admin");
        admin.trust = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
        facts.cluster_admins[0].role = known("iam:GetRole Admin", admin);
    }

    fn allow(principal: Value, condition: Value) -> Value {
        json!({"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole", "Condition": condition})
    }

    #[test]
    fn each_way_things_can_be() {
        let cases: &[(&str, Damage)] = &[
            ("the account is trusted", |f| {
                trust(f, allow(json!({"AWS": "111122223333"}), json!({})))
            }),
            ("another account is trusted", |f| {
                trust(
                    f,
                    allow(json!({"AWS": ["111122223333", "444455556666"]}), json!({})),
                )
            }),
            ("everyone is trusted, of this organization", |f| {
                trust(
                    f,
                    allow(json!("*"), json!({"StringEquals": {"aws:PrincipalOrgID": "o-1"}})),
                );
            }),
            ("everyone is trusted, of this account", |f| {
                trust(
                    f,
                    allow(
                        json!("*"),
                        json!({"StringEquals": {"aws:PrincipalAccount": "111122223333"}}),
                    ),
                );
            }),
            ("EC2 is trusted", |f| {
                trust(
                    f,
                    allow(
                        json!({"Service": "ec2.amazonaws.com", "AWS": "111122223333"}),
                        json!({}),
                    ),
                );
            }),
            ("another service is trusted", |f| {
                trust(f, allow(json!({"Service": "codebuild.amazonaws.com"}), json!({})));
            }),
            ("a Deny covers all that is allowed", |f| {
                let deny = json!({"Effect": "Deny", "Principal": "*", "Action": "sts:AssumeRole"});
                trust(f, json!([allow(json!({"AWS": "111122223333"}), json!({})), deny]));
            }),
            ("only a deleted principal", |f| {
                trust(f, allow(json!({"AWS": "AROAEXAMPLEEXAMPLE99"}), json!({})));
            }),
            ("a Deny that IAM would refuse", |f| {
                let deny = json!({"Effect": "Deny", "Principal": "111122223333", "Action": "*"});
                trust(f, json!([allow(json!({"AWS": "111122223333"}), json!({})), deny]));
            }),
            ("a trust policy that is not one", |f| {
                let mut admin = role("Admin");
                admin.trust = "<html>".to_owned();
                f.cluster_admins[0].role = known("iam:GetRole Admin", admin);
            }),
            ("the role is gone", |f| {
                f.cluster_admins[0].role = absent("iam:GetRole Admin")
            }),
            ("the role is denied", |f| {
                f.cluster_admins[0].role = denied("iam:GetRole")
            }),
            ("aws-auth is denied", |f| f.aws_auth = denied("get configmaps")),
            ("an access entry's policies are denied", |f| {
                known_cluster(f).authentication_mode = AuthenticationMode::Api;
                let arn = "arn:aws:iam::111122223333:role/Ops";
                let entry = AccessEntry {
                    policies: None,
                    ..AccessEntry::new(arn, EntryType::Standard, "ops", &[])
                };
                f.access_entries = known("eks:ListAccessEntries demo", vec![entry]);
                let denied: Fact<()> = denied("eks:ListAssociatedAccessPolicies");
                let unknown = denied.observed.unknown().cloned();
                f.entry_policies_unread
                    .extend(unknown.map(|unknown| (arn.to_owned(), unknown)));
            }),
        ];
        insta::assert_snapshot!(told_of(healthy, masters_trust, cases));
    }
}
