//! What `trust` reads: the caller, the role, the principal's own role; for CDK's question also how the cluster maps roles.
//! Nothing of Karpenter's, and nothing of the cluster where only IAM is asked.

use super::*;
use iam_policy::arn::PrincipalArn;

#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The role's name, without path.
    pub role: &'a str,
    /// Its account, where an ARN was given; else it is the credentials' own.
    pub account: Option<&'a str>,
    pub who: Who<'a>,
    /// Also how the cluster maps roles.
    pub mappings: bool,
}

/// Who is to assume the role.
#[derive(Debug, Clone, Copy)]
pub enum Who<'a> {
    Caller,
    Named(&'a PrincipalArn),
    /// A role that is not there yet.
    Nobody,
}

#[derive(Debug)]
pub struct Assume {
    pub target: Target,
    /// The AWS session it was read with.
    pub session: Session,
    /// The AWS credentials.
    pub caller: Fact<Caller>,
    /// The role that is to be assumed.
    pub role: Observed<Role>,
    /// The role of whoever is to assume it, or the role behind that session.
    pub own_role: Observed<Role>,
    /// The cluster; not asked where only IAM is.
    pub cluster: Fact<Cluster>,
    pub access_entries: Fact<Vec<AccessEntry>>,
    /// kube-system/aws-auth.
    pub aws_auth: Fact<aws_auth::AwsAuth>,
}

/// Reads it, concurrently.
pub async fn gather(
    resolved: &Resolved,
    about: &About<'_>,
    http: &SharedHttpClient,
    options: &Options,
    calls: &Calls,
) -> Assume {
    let ask = Ask::default();
    let read = Reading::open(resolved, &ask, http, options, calls).await;
    let (role, own_role, (cluster, access_entries, aws_auth)) = join!(
        of_account(&read, about.account, about.role).boxed_local(),
        own_role(&read, about.who).boxed_local(),
        mappings(&read, about).boxed_local(),
    );
    Assume {
        target: resolved.target.clone(),
        caller: read.caller().await.clone(),
        role,
        own_role,
        cluster,
        access_entries,
        aws_auth,
        session: read.session,
    }
}

/// Why IAM can't be asked about that account: it answers for the credentials' own only.
pub fn cannot_ask(session: &Session, caller: &Fact<Caller>, account: Option<&str>) -> Option<Unknown> {
    if let Err(unknown) = &session.credentials {
        return Some(unknown.clone());
    }
    match (&caller.observed, account) {
        (Observed::Unknown(unknown), _) => Some(unknown.clone()),
        (Observed::Known(caller), Some(account)) if caller.account != account => {
            Some(Unknown::not_asked(format!(
                "it is in account {account}, the credentials are of {}: ask with --profile of that account",
                caller.account
            )))
        }
        _ => None,
    }
}

/// A role of that account. It is read beside the question who the caller is where the accounts are likely the same: by a
/// name alone they are.
async fn of_account(read: &Reading<'_>, account: Option<&str>, name: &str) -> Observed<Role> {
    let likely = account.is_none() || account == read.target.account.as_deref();
    let (caller, early) = join!(read.caller(), async {
        match likely {
            true => Some(read.role(name).await),
            false => None,
        }
    });
    if let Some(unknown) = cannot_ask(&read.session, caller, account) {
        return Observed::Unknown(unknown);
    }
    match early {
        Some(role) => role.observed,
        None => read.role(name).await.observed,
    }
}

async fn own_role(read: &Reading<'_>, who: Who<'_>) -> Observed<Role> {
    match who {
        Who::Caller => read.caller_role().await.observed,
        Who::Nobody => Observed::Unknown(Unknown::not_asked("it is not there yet")),
        Who::Named(who) => match who.role_name() {
            Some(name) => of_account(read, Some(&who.arn().account), name).await,
            None => Observed::Unknown(Unknown::not_asked("it is not a role")),
        },
    }
}

async fn mappings(
    read: &Reading<'_>,
    about: &About<'_>,
) -> (Fact<Cluster>, Fact<Vec<AccessEntry>>, Fact<aws_auth::AwsAuth>) {
    if !about.mappings {
        const WHY: &str = "only IAM is asked";
        return (
            Fact::not_asked("eks:DescribeCluster", WHY),
            Fact::not_asked("eks:ListAccessEntries", WHY),
            Fact::not_asked(aws_auth::call(), WHY),
        );
    }
    let (cluster, entries, map) = join!(read.cluster(), read.access_entries(), read.aws_auth());
    (cluster.clone(), entries.clone(), map.clone())
}
