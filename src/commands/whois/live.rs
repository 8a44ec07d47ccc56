//! `whois`: the cluster.

use super::{hidden_creator, own_account, policies, print, remedy, unread, with_flags};
use crate::access::{Asked, Unmapped, caller_of, role_in, whois_fix};
use crate::aws;
use crate::cli::{Global, Whois as Args};
use crate::cluster;
use crate::commands::{self, CliError};
use crate::facts::mappings::{self, About, Mappings};
use crate::model::{Calls, Exit, Observed, Role, Why};
use crate::report::whois::{AskedCluster, Ground, ServersWord, Unread, Whois};
use crate::terminal::{self, Ui};
use eks_aws_auth::{
    AccessEntry, Alternative, AuthenticationMode, AwsAuth, Caller, Cluster, Decision, Existence,
    IdentityError, Outcome, PrincipalKind, Settings, SourceKind, decide,
};
use iam_policy::arn::Arn;

pub(super) async fn run(args: &Args, global: &Global, asked: &[Asked]) -> Result<Exit, CliError> {
    let ui = Ui::new(global.color, global.verbose, true);
    let http = aws::http_client().map_err(CliError::failed)?;
    let calls = Calls::default();
    let options = commands::options(global);
    let about = About {
        me: asked.contains(&Asked::Me),
        roles: asked.iter().filter_map(role_of).collect(),
        everyone: false,
        lines: false,
    };
    let request = commands::request(global);
    let work = async {
        let resolved = cluster::resolve(&request, &http, options.limits, &calls).await?;
        let read = mappings::gather(&resolved, &about, &http, &options, &calls).await;
        Ok::<_, CliError>((resolved.target, read))
    };
    let (target, read) = ui.progress("reading AWS and the cluster", work).await?;
    if global.verbose > 0 {
        for call in &read.calls {
            terminal::err(&format!("  {} -> {}", call.call, call.answer));
        }
    }
    let place = Place::new(args, &target, &read)?;
    let answers = asked
        .iter()
        .map(|asked| place.whois(asked))
        .collect::<Result<Vec<_>, _>>()?;
    print(answers, args, global, &ui)
}

/// The role whose existence IAM is asked about.
fn role_of(asked: &Asked) -> Option<String> {
    match asked {
        Asked::Arn(arn) => role_in(arn),
        Asked::Name { kind: "role", name } => Some(iam_policy::arn::role_name(name)),
        Asked::Name { .. } | Asked::Me => None,
    }
}

fn account_in(arn: &str) -> Option<String> {
    arn.parse::<Arn>().ok().map(|arn| arn.account)
}

/// The cluster as it was read.
struct Place<'a> {
    args: &'a Args,
    target: &'a cluster::Target,
    read: &'a Mappings,
    account: Option<String>,
    aws_auth: Option<AwsAuth>,
    asked_at: jiff::Timestamp,
}

impl<'a> Place<'a> {
    /// # Errors
    /// No such cluster, or credentials of another account.
    fn new(args: &'a Args, target: &'a cluster::Target, read: &'a Mappings) -> Result<Self, CliError> {
        let credentials = read.caller.known().map(|caller| caller.account.as_str());
        let of_cluster = own_account(target, &read.cluster, &read.caller)?;
        Ok(Self {
            args,
            target,
            read,
            account: of_cluster.or_else(|| credentials.map(str::to_owned)),
            aws_auth: match &read.aws_auth.observed {
                Observed::Known(map) => Some(map.taken_in().clone()),
                Observed::Absent => Some(AwsAuth::default()),
                Observed::Unknown(_) => None,
            },
            asked_at: jiff::Timestamp::now(),
        })
    }

    fn modes(&self) -> Vec<AuthenticationMode> {
        use AuthenticationMode::{Api, ApiAndConfigMap, ConfigMap};
        let known = self
            .read
            .cluster
            .known()
            .map(|cluster| cluster.authentication_mode);
        match self.args.authentication_mode.or(known) {
            Some(mode) => vec![mode],
            None => vec![ApiAndConfigMap, ConfigMap, Api],
        }
    }

    fn cluster(&self, mode: AuthenticationMode) -> Cluster<'_> {
        Cluster {
            mode,
            aws_auth: self.aws_auth.as_ref(),
            entries: self.entries(),
            settings: Settings::default(),
        }
    }

    fn entries(&self) -> Option<&[AccessEntry]> {
        match &self.read.access_entries.observed {
            Observed::Known(entries) => Some(entries.as_slice()),
            Observed::Absent => Some(&[]),
            Observed::Unknown(_) => None,
        }
    }

    fn ground(&self, unread: Vec<Unread>) -> Ground {
        let mode = match self.modes().as_slice() {
            [one] => Some(*one),
            _ => None,
        };
        Ground {
            authentication_mode: mode,
            target: Some(AskedCluster {
                context: self.target.context.clone(),
                cluster: self.target.cluster.clone(),
                region: self.target.region.clone(),
                account: self.account.clone(),
            }),
            validation_webhook: match &self.read.validation_webhook.observed {
                Observed::Known(_) => Some(true),
                Observed::Absent => Some(false),
                Observed::Unknown(_) => None,
            },
            unread,
            asked_at: self.asked_at,
        }
    }

    /// What the mode makes count and could not be read.
    fn missing(&self, mode: AuthenticationMode) -> Vec<Unread> {
        let entries = self
            .read
            .access_entries
            .observed
            .unknown()
            .filter(|_| mode.uses_entries());
        let aws_auth = self
            .read
            .aws_auth
            .observed
            .unknown()
            .filter(|_| mode.uses_aws_auth());
        entries
            .map(|unknown| unread("the access entries", unknown))
            .into_iter()
            .chain(aws_auth.map(|unknown| unread("the ConfigMap kube-system/aws-auth", unknown)))
            .collect()
    }

    fn mode_caveat(&self) -> Option<String> {
        let asked = self.args.authentication_mode?;
        let real = self.read.cluster.known()?.authentication_mode;
        (asked != real).then(|| format!("judged as if the mode were {asked}; the cluster's is {real}"))
    }

    fn mode_unread(&self) -> Option<Unread> {
        let unknown = self.read.cluster.observed.unknown()?;
        self.args
            .authentication_mode
            .is_none()
            .then(|| unread("the cluster's authentication mode", unknown))
    }

    /// What IAM says of a principal: nothing, for those of other accounts.
    fn existence(&self, arn: &str) -> Existence {
        let Some((name, account)) = role_in(arn).zip(account_in(arn)) else {
            return Existence::Unknown;
        };
        let same_account = self
            .read
            .caller
            .known()
            .is_some_and(|caller| caller.account == account);
        match self.read.roles.get(&name).map(|role| &role.observed) {
            Some(Observed::Known(role)) if account_in(&role.arn).is_some_and(|own| own == account) => {
                role.created.map_or(Existence::Unknown, Existence::Since)
            }
            Some(Observed::Absent) if same_account => Existence::Deleted,
            _ => Existence::Unknown,
        }
    }

    /// The ARN that is asked about, and the caller behind it.
    fn principal(&self, asked: &Asked) -> Result<(String, Result<Caller, IdentityError>), CliError> {
        match asked {
            Asked::Me => {
                let fact = self.read.token_caller.as_ref().unwrap_or(&self.read.caller);
                match &fact.observed {
                    Observed::Known(me) => {
                        let caller = caller_of(&me.arn).map(|caller| {
                            caller
                                .with_access_key_id(self.read.access_key_id.clone())
                                .with_principal_id(Some(me.user_id.clone()).filter(|id| !id.is_empty()))
                        });
                        Ok((me.arn.clone(), caller))
                    }
                    Observed::Unknown(unknown) => Err(CliError {
                        message: format!(
                            "who you are to AWS could not be read: {unknown}{}",
                            unknown.how_to_log_in(self.target).unwrap_or_default()
                        ),
                        exit: Exit::Undecided,
                    }),
                    Observed::Absent => Err(CliError::failed("AWS does not say who you are")),
                }
            }
            Asked::Arn(arn) => Ok((arn.clone(), caller_of(arn))),
            Asked::Name { kind, name } => {
                let known = self
                    .read
                    .roles
                    .get(&iam_policy::arn::role_name(name))
                    .and_then(|role| role.known())
                    .map(|role| role.arn.clone());
                let arn = match (known, self.account.as_deref()) {
                    (Some(arn), _) => arn,
                    (None, Some(account)) => {
                        format!("arn:{}:iam::{account}:{kind}/{name}", self.target.partition)
                    }
                    (None, None) => {
                        return Err(CliError {
                            message:
                                "which account the name is in could not be read\n  fix: write the whole ARN"
                                    .to_owned(),
                            exit: Exit::Undecided,
                        });
                    }
                };
                let caller = caller_of(&arn);
                Ok((arn, caller))
            }
        }
    }

    /// The role in IAM behind a principal of this account.
    fn role(&self, arn: &str) -> Option<&Observed<Role>> {
        let name = role_in(arn)?;
        self.read.roles.get(&name).map(|role| &role.observed)
    }

    fn whois(&self, asked: &Asked) -> Result<Whois, CliError> {
        let (arn, caller) = self.principal(asked)?;
        let mut caller = match caller {
            Ok(caller) => with_flags(caller, self.args),
            Err(error) => {
                let decision = Decision::refused(&arn, &error);
                return Ok(Whois::new(decision, self.ground(Vec::new()), &|_, _| None));
            }
        };
        let role = self
            .role(&arn)
            .and_then(Observed::known)
            .filter(|role| account_in(&role.arn).as_ref() == Some(&caller.account));
        if let Some(role) = role
            && caller.role_arn.is_none()
        {
            caller = caller.with_role_arn(&role.arn);
        }
        let existence = self.existence(&arn);
        let modes = self.modes();
        let mode = modes
            .first()
            .copied()
            .unwrap_or(AuthenticationMode::ApiAndConfigMap);
        let mut ways: Vec<Decision> = Vec::new();
        let mut open: Vec<Unread> = Vec::new();
        for mode in &modes {
            let decision = decide(&self.cluster(*mode), &caller, existence);
            for one in self.missing_for(*mode, &decision, asked, &arn, &caller) {
                if !open.contains(&one) {
                    open.push(one);
                }
            }
            if !ways.iter().any(|other| same(other, &decision)) {
                ways.push(decision);
            }
        }
        if ways.len() > 1 {
            open.extend(self.mode_unread());
        }
        let others: Vec<Alternative> = ways.iter().map(alternative).collect();
        let mut decision = ways.swap_remove(0);
        decision.caveats.extend(self.mode_caveat());
        if modes.len() > 1 && others.len() == 1 {
            decision
                .caveats
                .push("the authentication mode could not be read; it makes no difference here".to_owned());
        }
        decision.caveats.extend(hidden_creator(&decision, mode));
        self.about_the_role(&arn, &caller, existence, &mut decision);
        let entries = self.entries().unwrap_or_default();
        let of = Unmapped {
            target: self.target,
            mode,
            aws_auth: self.aws_auth.as_ref(),
            entries,
            caller: &caller,
            role,
        };
        let fix = whois_fix(&decision, &of);
        let policies = policies(&decision, entries);
        let mut user = None;
        if asked == &Asked::Me && self.servers_word(&mut decision, &mut user) {
            open.clear();
        }
        let undecided = !open.is_empty();
        if undecided {
            decision = without(decision, &open, others);
        }
        let mut whois = Whois::new(decision, self.ground(open), &|_, _| None);
        whois.undecided = undecided;
        whois.remedy = fix.filter(|_| whois.outcome == Outcome::NotMapped).map(remedy);
        whois.policies = policies.filter(|_| !undecided);
        whois.kubernetes_user = user;
        Ok(whois)
    }

    /// What could not be read and may change this decision.
    fn missing_for(
        &self,
        mode: AuthenticationMode,
        decision: &Decision,
        asked: &Asked,
        arn: &str,
        caller: &Caller,
    ) -> Vec<Unread> {
        let by_entry = decision
            .source
            .as_ref()
            .is_some_and(|source| source.kind == SourceKind::AccessEntry);
        if !by_entry || self.entries().is_none() {
            return self.missing(mode);
        }
        // aws-auth is not looked at after an entry. A live session proves which role the entry is bound to; for anybody else
        // it may be bound to an earlier role of the name.
        match self.role(arn) {
            Some(Observed::Unknown(unknown)) if asked != &Asked::Me && self.of_this_account(caller) => {
                vec![unread(
                    "whether the role is still the one that the entry was made for",
                    unknown,
                )]
            }
            _ => Vec::new(),
        }
    }

    fn of_this_account(&self, caller: &Caller) -> bool {
        self.read
            .caller
            .known()
            .is_none_or(|me| me.account == caller.account)
    }

    /// What IAM answered about the role, where it matters.
    fn about_the_role(&self, arn: &str, caller: &Caller, existence: Existence, decision: &mut Decision) {
        let Some(name) = role_in(arn) else { return };
        if !self.of_this_account(caller) {
            decision.caveats.push(format!(
                "{name} is a role of account {}, which these credentials cannot read: whether it still exists is not known",
                caller.account
            ));
            return;
        }
        if existence == Existence::Deleted {
            decision.caveats.push(format!(
                "IAM has no role {name}, so it has no sessions. aws-auth maps by name: anyone who creates a role with this name gets what is mapped"
            ));
        }
        if let Some(role) = self.read.roles.get(&name).and_then(|role| role.known())
            && caller.kind == PrincipalKind::Role
            && role.arn != arn
        {
            decision.caveats.push(format!("IAM has the role as {}", role.arn));
        }
    }

    /// Puts the API server's answer above the decision; whether it gave one.
    fn servers_word(&self, decision: &mut Decision, user: &mut Option<ServersWord>) -> bool {
        match &self.read.kubernetes_user.observed {
            Observed::Known(known) => {
                *user = Some(ServersWord {
                    username: known.username.clone(),
                    groups: known.groups.clone(),
                });
                let mut groups = known.groups.clone();
                groups.retain(|group| group != "system:authenticated");
                if decision.outcome == Outcome::Mapped && decision.username.as_ref() == Some(&known.username)
                {
                    return true;
                }
                let by_mappings = match decision.outcome {
                    Outcome::Mapped => format!(
                        "by the mappings it would be {:?}",
                        decision.username.as_deref().unwrap_or_default()
                    ),
                    _ => decision.reason.clone(),
                };
                *decision = Decision {
                    outcome: Outcome::Mapped,
                    username: Some(known.username.clone()),
                    groups,
                    source: None,
                    reason: format!(
                        "the API server answers so (SelfSubjectReview), although {by_mappings}: the kubeconfig may not authenticate by \
                         IAM, or this is the principal that created the cluster, whose access AWS may not show"
                    ),
                    alternatives: Vec::new(),
                    ..decision.clone()
                };
                true
            }
            Observed::Unknown(unknown)
                if unknown.why == Why::TokenRefused && decision.outcome == Outcome::Mapped =>
            {
                decision.caveats.push(format!(
                    "the API server refused the token anyway ({unknown}): it may have expired or be another cluster's, or the mapping is younger than a minute"
                ));
                false
            }
            _ => false,
        }
    }
}

fn same(a: &Decision, b: &Decision) -> bool {
    (a.outcome, &a.username, &a.groups) == (b.outcome, &b.username, &b.groups)
}

/// A decision that rests on what could not be read.
fn without(decision: Decision, open: &[Unread], alternatives: Vec<Alternative>) -> Decision {
    let what: Vec<&str> = open.iter().map(|unread| unread.what.as_str()).collect();
    Decision {
        outcome: Outcome::Ambiguous,
        username: None,
        groups: Vec::new(),
        source: None,
        reason: format!(
            "unknown without {}; by what could be read: {}",
            what.join(" and "),
            decision.reason
        ),
        alternatives,
        ..decision
    }
}

fn alternative(decision: &Decision) -> Alternative {
    Alternative {
        outcome: decision.outcome,
        username: decision.username.clone(),
        groups: decision.groups.clone(),
        source: decision.source.clone(),
        reason: decision.reason.clone(),
    }
}
