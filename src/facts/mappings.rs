//! What `whois` reads: how the cluster maps principals, and what IAM says about them. Nothing of Karpenter's.

use super::*;

/// Whom it is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// The identity that the cluster's token has.
    pub me: bool,
    /// Roles, by their names without path.
    pub roles: BTreeSet<String>,
    /// Every principal of the cluster.
    pub everyone: bool,
}

/// What was read.
#[derive(Debug)]
pub struct Mappings {
    /// The AWS credentials.
    pub caller: Fact<sts::Caller>,
    /// The identity of the cluster's token, where it is another one and was asked for.
    pub token_caller: Option<Fact<sts::Caller>>,
    /// The access key id of that identity.
    pub access_key_id: Option<String>,
    /// The cluster.
    pub cluster: Fact<eks::Cluster>,
    /// Its access entries.
    pub access_entries: Fact<Vec<AccessEntry>>,
    /// kube-system/aws-auth.
    pub aws_auth: Fact<aws_auth::AwsAuth>,
    /// EKS's webhook that checks changes of aws-auth.
    pub validation_webhook: Fact<aws_auth::Webhook>,
    /// Who the cluster takes the token's identity for.
    pub kubernetes_user: Fact<access::KubernetesUser>,
    /// The roles that IAM was asked about, by name.
    pub roles: BTreeMap<String, Fact<crate::model::Role>>,
    /// Every call that was made.
    pub calls: Vec<Call>,
}

/// Reads them, concurrently.
pub async fn gather(
    resolved: &Resolved,
    about: &About,
    http: &SharedHttpClient,
    options: &Options,
    calls: &Calls,
) -> Mappings {
    let (session, token_session) = sessions(resolved, http, options, calls).await;
    let api = connect_resolved(resolved, &token_session, options, calls);
    let read = Roles::default();
    let aws = Aws {
        session: &session,
        target: &resolved.target,
        timeout: options.timeout,
        calls,
        roles: &read,
    };
    // The exec entry's role, or its own profile: then the token is not the credentials'.
    let another = resolved.target.role_arn.is_some() || resolved.identity != resolved.token_identity;
    let token_aws = Aws {
        session: &token_session,
        ..aws
    };
    let caller = async {
        match about.me {
            true if another => {
                let (caller, token_caller) = join!(aws.caller(), token_aws.caller());
                let role = role_behind(&aws, &token_caller).await;
                (caller, Some(token_caller), role)
            }
            true => {
                let caller = aws.caller().await;
                let role = role_behind(&aws, &caller).await;
                (caller, None, role)
            }
            false => (aws.caller().await, None, None),
        }
    };
    let asked = aws.roles(about.roles.iter().cloned());
    let entries = async {
        let entries = aws.access_entries().await;
        let roles = match about.everyone {
            true => roles_of(&aws, entries.known().map(Vec::as_slice).unwrap_or_default()).await,
            false => BTreeMap::new(),
        };
        (entries, roles)
    };
    let kubernetes = async {
        match api.await {
            Ok(api) => join!(
                access::whoami(&api, calls),
                aws_auth::read(&api, calls),
                aws_auth::webhook(&api, calls)
            ),
            Err(unknown) => (
                unread(access::grant().action(), &unknown),
                unread(aws_auth::grant().action(), &unknown),
                unread(aws_auth::webhook_grant().action(), &unknown),
            ),
        }
    };
    let (
        (caller, token_caller, mine),
        asked,
        cluster,
        (mut access_entries, of_entries),
        (kubernetes_user, aws_auth, validation_webhook),
    ) = join!(caller, asked, aws.cluster(), entries, kubernetes);
    // Asked beside DescribeCluster and not after it; in mode CONFIG_MAP there are none, whatever the answer was.
    if cluster
        .known()
        .is_some_and(|cluster| !cluster.authentication_mode.uses_entries())
    {
        access_entries.observed = Observed::Absent;
    }
    Mappings {
        access_key_id: token_session
            .credentials
            .as_ref()
            .ok()
            .map(|credentials| credentials.access_key_id().to_owned()),
        caller,
        token_caller,
        cluster,
        access_entries,
        aws_auth,
        validation_webhook,
        kubernetes_user,
        roles: mine.into_iter().chain(asked).chain(of_entries).collect(),
        calls: calls.sorted(),
    }
}

async fn role_behind(
    aws: &Aws<'_>,
    caller: &Fact<sts::Caller>,
) -> Option<(String, Fact<crate::model::Role>)> {
    let name = arn::assumed_role_name(&caller.known()?.arn)?;
    let role = aws.role(&name).await;
    Some((name, role))
}

/// The roles that access entries name, each read once; an entry outlives its role without a sign.
async fn roles_of(aws: &Aws<'_>, entries: &[AccessEntry]) -> BTreeMap<String, Fact<crate::model::Role>> {
    aws.roles(
        entries
            .iter()
            .filter(|entry| entry.principal_arn.contains(":role/"))
            .map(|entry| arn::role_name(&entry.principal_arn)),
    )
    .await
}
