//! What `whois` reads: how the cluster maps principals, and what IAM says about them. Nothing of Karpenter's.

use super::bindings::Binding;
use super::*;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// The identity that the cluster's token has.
    pub me: bool,
    /// Roles, by their names without path.
    pub roles: BTreeSet<String>,
    /// Every principal of the cluster.
    pub everyone: bool,
    /// The roles that aws-auth names, too, and what groups are bound to.
    pub lines: bool,
}

#[derive(Debug)]
pub struct Mappings {
    /// The AWS credentials.
    pub caller: Fact<Caller>,
    /// The identity of the cluster's token, where it is another one and was asked for.
    pub token_caller: Option<Fact<Caller>>,
    /// The access key id of that identity.
    pub access_key_id: Option<String>,
    pub cluster: Fact<Cluster>,
    pub access_entries: Fact<Vec<AccessEntry>>,
    /// kube-system/aws-auth.
    pub aws_auth: Fact<aws_auth::AwsAuth>,
    /// EKS's webhook that checks changes of aws-auth.
    pub validation_webhook: Fact<aws_auth::Webhook>,
    /// Who the cluster takes the token's identity for.
    pub kubernetes_user: Fact<access::KubernetesUser>,
    /// The roles that IAM was asked about, by name.
    pub roles: BTreeMap<String, Fact<Role>>,
    /// What groups are bound to, where it was asked.
    pub bindings: Option<Fact<Vec<Binding>>>,
    pub calls: Vec<Call>,
}

/// The most roles of aws-auth that IAM is asked about.
pub const MOST_ROLES: usize = 500;

/// Reads them, concurrently.
pub async fn gather(
    resolved: &Resolved,
    about: &About,
    http: &SharedHttpClient,
    options: &Options,
    calls: &Calls,
) -> Mappings {
    let ask = Ask::default();
    let read = Reading::open(resolved, &ask, http, options, calls).await;
    // The exec entry's role, or its own profile: then the token is not the credentials'.
    let another = resolved.target.role_arn.is_some() || resolved.identity != resolved.token_identity;
    let caller = async {
        let mine = read.caller().await.clone();
        match about.me {
            true if another => {
                let token_caller = sts::caller(&read.token_session).await;
                let role = role_behind(&read, &token_caller).await;
                (mine, Some(token_caller), role)
            }
            true => {
                let role = role_behind(&read, &mine).await;
                (mine, None, role)
            }
            false => (mine, None, None),
        }
    };
    let asked = read.roles(about.roles.iter().cloned());
    let entries = async {
        let entries = read.access_entries().await;
        match about.everyone {
            true => {
                let entries = entries.known().into_iter().flatten();
                // Each read once; an entry outlives its role without a sign.
                let roles = entries
                    .filter(|entry| entry.principal_arn.contains(":role/"))
                    .map(|entry| arn::role_name(&entry.principal_arn));
                read.roles(roles).await
            }
            false => BTreeMap::new(),
        }
    };
    let of_lines = async {
        let aws_auth = match about.lines {
            true => read.aws_auth().await.known(),
            false => None,
        };
        // IAM tells of its own account's roles.
        let own = read.caller().await.known().map(|caller| caller.account.as_str());
        let lines = aws_auth
            .into_iter()
            .flat_map(|map| map.taken_in().roles.iter().chain(&map.taken_in().users));
        let names: BTreeSet<String> = lines
            .filter_map(|line| line.principal())
            .filter(|arn| own.is_none_or(|own| arn.split(':').nth(4) == Some(own)))
            .filter(|arn| arn.contains(":role/"))
            .map(|arn| arn::role_name(&arn))
            .take(MOST_ROLES)
            .collect();
        read.roles(names.into_iter()).await
    };
    let bindings = async {
        match about.lines {
            true => Some(bindings::read(&read).await),
            false => None,
        }
    };
    let (
        (caller, token_caller, mine),
        asked,
        of_entries,
        of_lines,
        bindings,
        aws_auth,
        validation_webhook,
        kubernetes_user,
    ) = join!(
        caller.boxed_local(),
        asked.boxed_local(),
        entries.boxed_local(),
        of_lines.boxed_local(),
        bindings.boxed_local(),
        read.aws_auth().boxed_local(),
        aws_auth::validation_webhook(&read).boxed_local(),
        access::of_caller(&read).boxed_local(),
    );
    Mappings {
        access_key_id: read
            .token_session
            .credentials
            .as_ref()
            .ok()
            .map(|credentials| credentials.access_key_id().to_owned()),
        caller,
        token_caller,
        cluster: read.cluster().await.clone(),
        access_entries: read.access_entries().await.clone(),
        aws_auth: aws_auth.clone(),
        validation_webhook,
        kubernetes_user,
        roles: mine
            .into_iter()
            .chain(asked)
            .chain(of_entries)
            .chain(of_lines)
            .collect(),
        bindings,
        calls: calls.sorted(),
    }
}

async fn role_behind(read: &Reading<'_>, caller: &Fact<Caller>) -> Option<(String, Fact<Role>)> {
    let name = arn::assumed_role_name(&caller.known()?.arn)?;
    let role = read.role(&name).await;
    Some((name, role))
}
