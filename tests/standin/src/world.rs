//! What exists: accounts, identities, roles, clusters, quotas. Plain data, changed at any time while the servers run.
//!
//! Nothing here knows HTTP. Names, ARNs and ids have the shapes AWS gives them; account ids in examples are AWS's
//! documentation accounts (111122223333 and the like).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::kubernetes::Kubernetes;

/// The secret that goes with every access key the stand-in knows: it is AWS's documentation example, and signatures
/// of EKS tokens are verified with it.
pub const SECRET_ACCESS_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// Everything that the stand-ins answer from.
#[derive(Clone, Debug)]
pub struct World {
    /// The AWS accounts.
    pub accounts: Vec<Account>,
    /// The Kubernetes API servers: each gets a listener of its own when the stand-in starts.
    pub kubernetes: Vec<Kubernetes>,
    /// The most entries that one page of an AWS list holds, whatever the caller asks for.
    pub page_size: usize,
    /// Whether the AWS services speak TLS (read when the stand-in starts): [`crate::Standin::ca_pem`] then is what
    /// AWS_CA_BUNDLE has to hold.
    pub aws_tls: bool,
    /// How many sessions `sts:AssumeRole` has handed out; the next access key id is made from it.
    pub(crate) sessions: u64,
}

impl Default for World {
    fn default() -> Self {
        Self {
            accounts: Vec::new(),
            kubernetes: Vec::new(),
            page_size: 100,
            aws_tls: false,
            sessions: 0,
        }
    }
}

impl World {
    /// The account with this id. Panics when there is none: a test that names a wrong account should stop there.
    #[track_caller]
    pub fn account(&mut self, id: &str) -> &mut Account {
        match self.accounts.iter_mut().find(|account| account.id == id) {
            Some(account) => account,
            None => panic!("the world has no account {id}"),
        }
    }

    /// The cluster of this name, in whichever account and region holds one. Panics when there is none.
    #[track_caller]
    pub fn cluster(&mut self, name: &str) -> &mut Cluster {
        let found = self
            .accounts
            .iter_mut()
            .flat_map(|account| &mut account.clusters)
            .find(|c| c.name == name);
        match found {
            Some(cluster) => cluster,
            None => panic!("the world has no cluster {name}"),
        }
    }

    /// The Kubernetes API of this name. Panics when there is none.
    #[track_caller]
    pub fn kubernetes(&mut self, name: &str) -> &mut Kubernetes {
        match self.kubernetes.iter_mut().find(|api| api.name == name) {
            Some(api) => api,
            None => panic!("the world has no Kubernetes API {name}"),
        }
    }

    /// The identity behind an access key, with its account's index.
    pub(crate) fn caller(&self, access_key: &str) -> Option<(usize, &Identity)> {
        self.accounts.iter().enumerate().find_map(|(index, account)| {
            account
                .access_keys
                .get(access_key)
                .map(|identity| (index, identity))
        })
    }
}

/// An AWS account.
#[derive(Clone, Debug)]
pub struct Account {
    /// Twelve digits.
    pub id: String,
    /// `aws`, `aws-cn`, `aws-us-gov`, ...
    pub partition: String,
    /// Who signs with which access key id.
    pub access_keys: BTreeMap<String, Identity>,
    /// The IAM roles, service-linked ones included.
    pub roles: Vec<Role>,
    /// The instance profiles, by name.
    pub instance_profiles: BTreeMap<String, InstanceProfile>,
    /// The IAM OpenID Connect providers.
    pub oidc_providers: Vec<OidcProvider>,
    /// The EKS clusters of every region.
    pub clusters: Vec<Cluster>,
    /// The service quotas of every region.
    pub quotas: Vec<Quota>,
    /// KMS keys of every region.
    pub kms_keys: Vec<KmsKey>,
    /// How IAM words it when a service-linked role is already there.
    pub taken: TakenError,
    /// How many `iam:GetRole` calls after `iam:CreateServiceLinkedRole` still answer NoSuchEntity: IAM is eventually
    /// consistent.
    pub reads_until_visible: u32,
    /// What `iam:SimulatePrincipalPolicy` decides: the first entry that matches.
    pub simulation: Vec<Simulated>,
    /// What it decides where no entry matches.
    pub simulation_default: Decision,
}

impl Account {
    /// An empty account in partition `aws`.
    pub fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            partition: "aws".to_owned(),
            access_keys: BTreeMap::new(),
            roles: Vec::new(),
            instance_profiles: BTreeMap::new(),
            oidc_providers: Vec::new(),
            clusters: Vec::new(),
            quotas: Vec::new(),
            kms_keys: Vec::new(),
            taken: TakenError::default(),
            reads_until_visible: 0,
            simulation: Vec::new(),
            simulation_default: Decision::Allowed,
        }
    }

    /// `arn:PARTITION:iam::ACCOUNT:RESOURCE`.
    pub fn iam_arn(&self, resource: &str) -> String {
        format!("arn:{}:iam::{}:{resource}", self.partition, self.id)
    }

    /// A role's ARN, path included.
    pub fn role_arn(&self, role: &Role) -> String {
        self.iam_arn(&format!("role{}{}", role.path, role.name))
    }

    /// Adds an IAM user of this name who signs with this access key.
    pub fn add_user(&mut self, access_key: &str, name: &str) -> &mut Identity {
        let identity = Identity::new(&self.iam_arn(&format!("user/{name}")), &unique_id("AIDA", name));
        self.access_keys
            .entry(access_key.to_owned())
            .insert_entry(identity)
            .into_mut()
    }

    /// Adds a session of a role (which need not exist here) that signs with this access key.
    pub fn add_session(&mut self, access_key: &str, role: &str, session: &str) -> &mut Identity {
        let arn = format!(
            "arn:{}:sts::{}:assumed-role/{role}/{session}",
            self.partition, self.id
        );
        let role_id = self
            .role(role)
            .map_or_else(|| unique_id("AROA", role), |role| role.role_id.clone());
        let identity = Identity::new(&arn, &format!("{role_id}:{session}"));
        self.access_keys
            .entry(access_key.to_owned())
            .insert_entry(identity)
            .into_mut()
    }

    /// The role of this name; IAM compares names without case.
    pub fn role(&self, name: &str) -> Option<&Role> {
        self.roles
            .iter()
            .find(|role| role.name.eq_ignore_ascii_case(name))
    }

    /// The role of this name, to change it. Panics when there is none.
    #[track_caller]
    pub fn role_mut(&mut self, name: &str) -> &mut Role {
        match self
            .roles
            .iter_mut()
            .find(|role| role.name.eq_ignore_ascii_case(name))
        {
            Some(role) => role,
            None => panic!("account {} has no role {name}", self.id),
        }
    }

    /// Adds `AWSServiceRoleForEC2Spot` as AWS makes it.
    pub fn add_spot_role(&mut self) -> &mut Role {
        self.roles.retain(|role| role.name != SPOT_ROLE);
        self.roles.push(Role::ec2_spot());
        self.role_mut(SPOT_ROLE)
    }
}

/// The name of EC2 Spot's service-linked role.
pub const SPOT_ROLE: &str = "AWSServiceRoleForEC2Spot";

/// Which of two errors IAM gives for a service-linked role that exists already. Real accounts answer `InvalidInput`;
/// CAPTEP-0023 names `EntityAlreadyExists`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TakenError {
    /// 400 `InvalidInput`, "Service role name ... has been taken in this account, please try a different suffix."
    #[default]
    InvalidInput,
    /// 409 `EntityAlreadyExists`, the same text.
    EntityAlreadyExists,
}

/// Who a request is signed by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The ARN that `sts:GetCallerIdentity` shows: a user's, or a role session's.
    pub arn: String,
    /// `AIDA...`, or `AROA...:SESSION`.
    pub user_id: String,
    /// What this identity may not do. Everything else is allowed.
    pub denied: Vec<Denial>,
    /// The session token has run out: every call answers ExpiredToken.
    pub expired: bool,
}

impl Identity {
    /// An identity that may do everything.
    pub fn new(arn: &str, user_id: &str) -> Self {
        Self {
            arn: arn.to_owned(),
            user_id: user_id.to_owned(),
            denied: Vec::new(),
            expired: false,
        }
    }

    /// Denies an action (`iam:GetRole`, `iam:*`) because no identity-based policy allows it.
    pub fn deny(&mut self, action: &str) -> &mut Self {
        self.deny_because(action, Because::NoIdentityPolicy)
    }

    /// Denies an action with the tail that AWS prints for this reason.
    pub fn deny_because(&mut self, action: &str, because: Because) -> &mut Self {
        self.denied.push(Denial {
            action: action.to_owned(),
            resource: None,
            because,
        });
        self
    }

    /// Denies an action on the resources (ARNs, or the short form that IAM prints) that match this pattern.
    pub fn deny_on(&mut self, action: &str, resource: &str, because: Because) -> &mut Self {
        let denial = Denial {
            action: action.to_owned(),
            resource: Some(resource.to_owned()),
            because,
        };
        self.denied.push(denial);
        self
    }

    /// AWS's text if this identity may not do it.
    pub(crate) fn refusal(&self, action: &str, resource: &str) -> Option<String> {
        let denial = self.denied.iter().find(|denial| {
            crate::glob(&denial.action, action)
                && denial
                    .resource
                    .as_deref()
                    .is_none_or(|pattern| crate::glob(pattern, resource))
        })?;
        let tail = denial.because.tail(action);
        Some(format!(
            "User: {} is not authorized to perform: {action} on resource: {resource}{tail}",
            self.arn
        ))
    }
}

/// An action that an identity may not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// `iam:GetRole`; `*` stands for any text.
    pub action: String,
    /// Limits the denial to the resources that match; none: all.
    pub resource: Option<String>,
    /// Which policy is to blame.
    pub because: Because,
}

/// The reason in an AccessDenied message. The wording is that of IAM's user guide, "Troubleshoot access denied error
/// messages".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Because {
    /// Older services and some calls name no reason.
    Unsaid,
    /// `because no identity-based policy allows the ACTION action`
    NoIdentityPolicy,
    /// `with an explicit deny in an identity-based policy`
    IdentityPolicy,
    /// `with an explicit deny in a service control policy`, since 2026 optionally `: POLICY-ARN`
    ServiceControlPolicy(Option<String>),
    /// `because no service control policy allows the ACTION action`
    NoServiceControlPolicy,
    /// `with an explicit deny in a permissions boundary`
    PermissionsBoundary,
    /// `because no permissions boundary allows the ACTION action`
    NoPermissionsBoundary,
    /// `because no session policy allows the ACTION action`
    NoSessionPolicy,
    /// `with an explicit deny in a resource-based policy`: what a VPC endpoint or a resource policy gives
    ResourcePolicy,
}

impl Because {
    fn tail(&self, action: &str) -> String {
        let none = |kind: &str| format!(" because no {kind} allows the {action} action");
        match self {
            Self::Unsaid => String::new(),
            Self::NoIdentityPolicy => none("identity-based policy"),
            Self::IdentityPolicy => " with an explicit deny in an identity-based policy".to_owned(),
            Self::ServiceControlPolicy(None) => {
                " with an explicit deny in a service control policy".to_owned()
            }
            Self::ServiceControlPolicy(Some(arn)) => {
                format!(" with an explicit deny in a service control policy: {arn}")
            }
            Self::NoServiceControlPolicy => none("service control policy"),
            Self::PermissionsBoundary => " with an explicit deny in a permissions boundary".to_owned(),
            Self::NoPermissionsBoundary => none("permissions boundary"),
            Self::NoSessionPolicy => none("session policy"),
            Self::ResourcePolicy => " with an explicit deny in a resource-based policy".to_owned(),
        }
    }
}

/// An IAM role.
#[derive(Clone, Debug)]
pub struct Role {
    /// The name, without path.
    pub name: String,
    /// `/`, or `/one/two/`.
    pub path: String,
    /// `AROA...`
    pub role_id: String,
    /// When it was made.
    pub create_date: Timestamp,
    /// The trust policy.
    pub trust: Value,
    /// The text of the trust policy as it is sent; none: the policy, URL-encoded as IAM does it.
    pub trust_as_sent: Option<String>,
    /// The description, where there is one.
    pub description: Option<String>,
    /// Seconds.
    pub max_session_duration: u32,
    /// The boundary policy's ARN.
    pub permissions_boundary: Option<String>,
    /// ARNs of the managed policies.
    pub attached_policies: Vec<String>,
    /// Names of the inline policies.
    pub inline_policies: Vec<String>,
    /// The tags.
    pub tags: Vec<(String, String)>,
    /// What sessions of this role may not do.
    pub session_denied: Vec<Denial>,
    /// How many more `iam:GetRole` calls don't see it yet.
    pub hidden_reads: u32,
}

impl Role {
    /// A role with path `/`, made on 2024-05-01.
    pub fn new(name: &str, trust: Value) -> Self {
        Self {
            name: name.to_owned(),
            path: "/".to_owned(),
            role_id: unique_id("AROA", name),
            create_date: date("2024-05-01T10:00:00Z"),
            trust,
            trust_as_sent: None,
            description: None,
            max_session_duration: 3600,
            permissions_boundary: None,
            attached_policies: Vec::new(),
            inline_policies: Vec::new(),
            tags: Vec::new(),
            session_denied: Vec::new(),
            hidden_reads: 0,
        }
    }

    /// EC2 Spot's service-linked role, as AWS makes it.
    pub fn ec2_spot() -> Self {
        Self {
            path: "/aws-service-role/spot.amazonaws.com/".to_owned(),
            description: Some("Default EC2 Spot Service Linked Role".to_owned()),
            attached_policies: vec![
                "arn:aws:iam::aws:policy/aws-service-role/AWSEC2SpotServiceRolePolicy".to_owned(),
            ],
            ..Self::new(SPOT_ROLE, service_trust("spot.amazonaws.com"))
        }
    }

    /// A node role: EC2 may assume it, the usual policies are attached.
    pub fn node(name: &str) -> Self {
        let attached = [
            "AmazonEKSWorkerNodePolicy",
            "AmazonEKS_CNI_Policy",
            "AmazonEC2ContainerRegistryPullOnly",
        ];
        Self {
            attached_policies: attached
                .iter()
                .map(|policy| format!("arn:aws:iam::aws:policy/{policy}"))
                .collect(),
            ..Self::new(name, service_trust("ec2.amazonaws.com"))
        }
    }

    /// The same role under a path.
    pub fn with_path(mut self, path: &str) -> Self {
        self.path = path.to_owned();
        self
    }
}

/// The trust policy that lets a service assume the role.
pub fn service_trust(service: &str) -> Value {
    trust(json!({ "Effect": "Allow", "Principal": { "Service": service }, "Action": "sts:AssumeRole" }))
}

/// The trust policy that lets an AWS principal (an ARN, or twelve digits) assume the role.
pub fn principal_trust(principal: &str) -> Value {
    trust(json!({ "Effect": "Allow", "Principal": { "AWS": principal }, "Action": "sts:AssumeRole" }))
}

/// The trust policy of a role for service accounts (IRSA): `issuer` without `https://`.
pub fn irsa_trust(provider_arn: &str, issuer: &str, namespace: &str, service_account: &str) -> Value {
    trust(json!({
        "Effect": "Allow",
        "Principal": { "Federated": provider_arn },
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": { "StringEquals": {
            format!("{issuer}:sub"): format!("system:serviceaccount:{namespace}:{service_account}"),
            format!("{issuer}:aud"): "sts.amazonaws.com",
        }}
    }))
}

/// The trust policy of a role for EKS Pod Identity.
pub fn pod_identity_trust() -> Value {
    trust(json!({
        "Effect": "Allow",
        "Principal": { "Service": "pods.eks.amazonaws.com" },
        "Action": ["sts:AssumeRole", "sts:TagSession"]
    }))
}

/// A policy document with this one statement.
pub fn trust(statement: Value) -> Value {
    json!({ "Version": "2012-10-17", "Statement": [statement] })
}

/// An instance profile.
#[derive(Clone, Debug)]
pub struct InstanceProfile {
    /// `/`, or `/one/two/`.
    pub path: String,
    /// The name of its role; none: an empty profile.
    pub role: Option<String>,
    /// When it was made.
    pub create_date: Timestamp,
}

impl InstanceProfile {
    /// A profile with path `/` that holds this role.
    pub fn of(role: &str) -> Self {
        Self {
            path: "/".to_owned(),
            role: Some(role.to_owned()),
            create_date: date("2024-05-01T10:00:00Z"),
        }
    }
}

/// An IAM OpenID Connect provider.
#[derive(Clone, Debug)]
pub struct OidcProvider {
    /// The issuer without `https://`: `oidc.eks.eu-west-1.amazonaws.com/id/...`
    pub url: String,
    /// The audiences.
    pub client_ids: Vec<String>,
    /// SHA-1 fingerprints of the issuer's certificate, hexadecimal.
    pub thumbprints: Vec<String>,
    /// When it was made.
    pub create_date: Timestamp,
}

impl OidcProvider {
    /// The provider that IRSA needs for this issuer (with or without `https://`).
    pub fn irsa(issuer: &str) -> Self {
        Self {
            url: issuer.trim_start_matches("https://").to_owned(),
            client_ids: vec!["sts.amazonaws.com".to_owned()],
            thumbprints: vec!["9e99a48a9960b14926bb7f3b02e22da2b0ab7280".to_owned()],
            create_date: date("2024-05-01T10:00:00Z"),
        }
    }
}

/// What the policy simulator decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// `allowed`
    Allowed,
    /// `explicitDeny`
    ExplicitDeny,
    /// `implicitDeny`
    ImplicitDeny,
}

impl Decision {
    /// The API's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::ExplicitDeny => "explicitDeny",
            Self::ImplicitDeny => "implicitDeny",
        }
    }
}

/// One answer of the policy simulator.
#[derive(Clone, Debug)]
pub struct Simulated {
    /// The principal it is about (`PolicySourceArn`, `*` for any text).
    pub source: String,
    /// The action (`*` for any text).
    pub action: String,
    /// The resource (`*` for any text).
    pub resource: String,
    /// The decision.
    pub decision: Decision,
    /// `OrganizationsDecisionDetail.AllowedByOrganizations`; absent where the account is in no organization.
    pub allowed_by_organizations: Option<bool>,
    /// `PermissionsBoundaryDecisionDetail.AllowedByPermissionsBoundary`; absent without a boundary.
    pub allowed_by_boundary: Option<bool>,
    /// `MissingContextValues`.
    pub missing_context: Vec<String>,
    /// The names of the policies whose statements decided.
    pub matched: Vec<String>,
}

impl Simulated {
    /// This decision for this action, whoever asks about whatever resource.
    pub fn new(action: &str, decision: Decision) -> Self {
        Self {
            source: "*".to_owned(),
            action: action.to_owned(),
            resource: "*".to_owned(),
            decision,
            allowed_by_organizations: None,
            allowed_by_boundary: None,
            missing_context: Vec::new(),
            matched: Vec::new(),
        }
    }

    /// Limits it to this principal.
    pub fn for_source(mut self, source: &str) -> Self {
        self.source = source.to_owned();
        self
    }
}

/// A KMS key.
#[derive(Clone, Debug)]
pub struct KmsKey {
    /// The region it is in.
    pub region: String,
    /// `1234abcd-12ab-34cd-56ef-1234567890ab`
    pub id: String,
    /// `alias/nodes`
    pub alias: Option<String>,
    /// `Enabled`, `Disabled`, `PendingDeletion`, ...
    pub state: String,
    /// `CUSTOMER` or `AWS`.
    pub manager: String,
    /// Its policy.
    pub policy: Value,
    /// Its grants, as ListGrants shows them.
    pub grants: Vec<Value>,
}

impl KmsKey {
    /// A customer-managed key whose policy leaves everything to the account's IAM policies, as the console makes it.
    pub fn new(region: &str, id: &str, account: &str) -> Self {
        Self {
            region: region.to_owned(),
            id: id.to_owned(),
            alias: None,
            state: "Enabled".to_owned(),
            manager: "CUSTOMER".to_owned(),
            policy: json!({ "Version": "2012-10-17", "Statement": [{
                "Effect": "Allow", "Principal": { "AWS": format!("arn:aws:iam::{account}:root") },
                "Action": "kms:*", "Resource": "*",
            }] }),
            grants: Vec::new(),
        }
    }

    /// Its ARN.
    pub fn arn(&self, partition: &str, account: &str) -> String {
        format!("arn:{partition}:kms:{}:{account}:key/{}", self.region, self.id)
    }
}

/// A service quota.
#[derive(Clone, Debug)]
pub struct Quota {
    /// The region it holds in.
    pub region: String,
    /// `ec2`
    pub service: String,
    /// `L-34B43A08`
    pub code: String,
    /// What the console calls it.
    pub name: String,
    /// The applied value; none: the account has AWS's default.
    pub value: Option<f64>,
    /// AWS's default.
    pub default: f64,
}

impl Quota {
    /// `All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests`, in vCPUs.
    pub fn standard_spot(region: &str, vcpus: f64) -> Self {
        Self {
            region: region.to_owned(),
            service: "ec2".to_owned(),
            code: "L-34B43A08".to_owned(),
            name: "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests".to_owned(),
            value: Some(vcpus),
            default: 5.0,
        }
    }

    /// Another EC2 quota, whose default is 0.
    pub fn ec2(region: &str, code: &str, name: &str, vcpus: f64) -> Self {
        Self {
            region: region.to_owned(),
            service: "ec2".to_owned(),
            code: code.to_owned(),
            name: name.to_owned(),
            value: Some(vcpus),
            default: 0.0,
        }
    }
}

/// How EKS decides who a caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthenticationMode {
    /// aws-auth only; access entries don't exist.
    ConfigMap,
    /// Both; an entry hides the aws-auth line of the same principal.
    ApiAndConfigMap,
    /// Access entries only.
    Api,
}

impl AuthenticationMode {
    /// The API's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConfigMap => "CONFIG_MAP",
            Self::ApiAndConfigMap => "API_AND_CONFIG_MAP",
            Self::Api => "API",
        }
    }
}

/// What DescribeCluster shows as the endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// The stand-in's Kubernetes API of the same name.
    Standin,
    /// This text.
    Is(String),
    /// None: the cluster is being created.
    Absent,
}

/// An EKS cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The name.
    pub name: String,
    /// The region.
    pub region: String,
    /// `ACTIVE`, `CREATING`, `DELETING`, `FAILED`, `UPDATING`
    pub status: String,
    /// The API server's address.
    pub endpoint: Endpoint,
    /// `certificateAuthority.data`: base64 of a PEM. The stand-in's own where its API speaks TLS.
    pub ca_data: Option<String>,
    /// `1.34`
    pub version: String,
    /// `eks.9`
    pub platform_version: String,
    /// The cluster role's ARN.
    pub role_arn: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// `https://oidc.eks.REGION.amazonaws.com/id/...`
    pub oidc_issuer: Option<String>,
    /// `accessConfig.authenticationMode`; none: no `accessConfig` in the answer, as on old clusters and in moto.
    pub authentication_mode: Option<AuthenticationMode>,
    /// `accessConfig.bootstrapClusterCreatorAdminPermissions`: DescribeCluster leaves it out on most clusters.
    pub creator_admin: Option<bool>,
    /// EKS Auto Mode: `computeConfig.enabled`, with its node role.
    pub auto_mode: Option<AutoMode>,
    /// Whether the API server can be reached from outside the VPC.
    pub public_access: bool,
    /// The access entries.
    pub access_entries: Vec<AccessEntry>,
    /// The pod identity associations.
    pub pod_identities: Vec<PodIdentity>,
    /// The Fargate profiles.
    pub fargate_profiles: Vec<FargateProfile>,
    /// The managed node groups.
    pub nodegroups: Vec<Nodegroup>,
    /// The add-ons.
    pub addons: Vec<Addon>,
    /// Fields that replace or extend those of DescribeCluster's answer; `null` removes one.
    pub extra: Map<String, Value>,
}

/// EKS Auto Mode.
#[derive(Clone, Debug)]
pub struct AutoMode {
    /// `computeConfig.enabled`
    pub enabled: bool,
    /// `general-purpose`, `system`
    pub node_pools: Vec<String>,
    /// `computeConfig.nodeRoleArn`
    pub node_role_arn: Option<String>,
}

impl Cluster {
    /// An active cluster, made on 2024-05-02, whose endpoint is the stand-in's Kubernetes API of the same name.
    pub fn new(name: &str, region: &str, mode: AuthenticationMode) -> Self {
        Self {
            name: name.to_owned(),
            region: region.to_owned(),
            status: "ACTIVE".to_owned(),
            endpoint: Endpoint::Standin,
            ca_data: Some("LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg==".to_owned()),
            version: "1.34".to_owned(),
            platform_version: "eks.9".to_owned(),
            role_arn: String::new(),
            created_at: date("2024-05-02T08:00:00Z"),
            oidc_issuer: Some(format!(
                "https://oidc.eks.{region}.amazonaws.com/id/{}",
                issuer_id(&format!("{region}/{name}"))
            )),
            authentication_mode: Some(mode),
            creator_admin: None,
            auto_mode: None,
            public_access: true,
            access_entries: Vec::new(),
            pod_identities: Vec::new(),
            fargate_profiles: Vec::new(),
            nodegroups: Vec::new(),
            addons: Vec::new(),
            extra: Map::new(),
        }
    }

    /// `arn:PARTITION:eks:REGION:ACCOUNT:RESOURCE`
    pub(crate) fn eks_arn(&self, partition: &str, account: &str, resource: &str) -> String {
        format!("arn:{partition}:eks:{}:{account}:{resource}", self.region)
    }
}

/// An access entry.
#[derive(Clone, Debug)]
pub struct AccessEntry {
    /// The IAM principal, path included.
    pub principal_arn: String,
    /// The Kubernetes user name.
    pub username: String,
    /// The Kubernetes groups.
    pub groups: Vec<String>,
    /// `STANDARD`, `EC2_LINUX`, `EC2_WINDOWS`, `FARGATE_LINUX`, `EC2`, `HYBRID_LINUX`
    pub kind: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// The associated access policies.
    pub policies: Vec<AccessPolicy>,
}

impl AccessEntry {
    /// An entry with the user name and groups that EKS gives this type (`STANDARD`, `EC2_LINUX`, ...).
    pub fn new(principal_arn: &str, kind: &str) -> Self {
        let (username, groups) = match kind {
            "EC2_LINUX" | "EC2_WINDOWS" => (
                "system:node:{{EC2PrivateDNSName}}".to_owned(),
                vec!["system:nodes".to_owned()],
            ),
            "FARGATE_LINUX" | "HYBRID_LINUX" => (
                "system:node:{{SessionName}}".to_owned(),
                vec!["system:nodes".to_owned()],
            ),
            "EC2" => ("{{SessionName}}".to_owned(), Vec::new()),
            _ => (standard_username(principal_arn), Vec::new()),
        };
        Self {
            principal_arn: principal_arn.to_owned(),
            username,
            groups,
            kind: kind.to_owned(),
            created_at: date("2024-05-02T08:10:00Z"),
            policies: Vec::new(),
        }
    }

    /// With AmazonEKSClusterAdminPolicy for the whole cluster.
    pub fn cluster_admin(principal_arn: &str) -> Self {
        Self {
            policies: vec![AccessPolicy {
                policy_arn: "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy".to_owned(),
                namespaces: Vec::new(),
            }],
            ..Self::new(principal_arn, "STANDARD")
        }
    }
}

/// What EKS calls a principal of a STANDARD entry: a user's ARN, or the role's session ARN without the role's path.
fn standard_username(principal_arn: &str) -> String {
    let mut parts = principal_arn.splitn(6, ':');
    let (Some(_), Some(partition), _, _, Some(account), Some(resource)) = (
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
    ) else {
        return principal_arn.to_owned();
    };
    match resource.strip_prefix("role/") {
        Some(path) => {
            let name = path.rsplit('/').next().unwrap_or(path);
            format!("arn:{partition}:sts::{account}:assumed-role/{name}/{{{{SessionName}}}}")
        }
        None => principal_arn.to_owned(),
    }
}

/// An access policy associated with an entry.
#[derive(Clone, Debug)]
pub struct AccessPolicy {
    /// `arn:aws:eks::aws:cluster-access-policy/...`
    pub policy_arn: String,
    /// The namespaces it is limited to; none: the whole cluster.
    pub namespaces: Vec<String>,
}

/// A pod identity association.
#[derive(Clone, Debug)]
pub struct PodIdentity {
    /// `a-abcdefghijklmnop1`
    pub id: String,
    /// The service account's namespace.
    pub namespace: String,
    /// The service account.
    pub service_account: String,
    /// The role.
    pub role_arn: String,
    /// `targetRoleArn`, for another account's role.
    pub target_role_arn: Option<String>,
}

impl PodIdentity {
    /// An association of this service account with this role.
    pub fn new(namespace: &str, service_account: &str, role_arn: &str) -> Self {
        let id = unique_id("", &format!("{namespace}/{service_account}")).to_ascii_lowercase();
        Self {
            id: format!("a-{id}"),
            namespace: namespace.to_owned(),
            service_account: service_account.to_owned(),
            role_arn: role_arn.to_owned(),
            target_role_arn: None,
        }
    }
}

/// A Fargate profile.
#[derive(Clone, Debug)]
pub struct FargateProfile {
    /// The name.
    pub name: String,
    /// `podExecutionRoleArn`
    pub pod_execution_role_arn: String,
    /// The pods that it takes: namespace and labels.
    pub selectors: Vec<(String, BTreeMap<String, String>)>,
    /// `ACTIVE`, `CREATING`, ...
    pub status: String,
}

impl FargateProfile {
    /// An active profile for one namespace.
    pub fn new(name: &str, pod_execution_role_arn: &str, namespace: &str) -> Self {
        Self {
            name: name.to_owned(),
            pod_execution_role_arn: pod_execution_role_arn.to_owned(),
            selectors: vec![(namespace.to_owned(), BTreeMap::new())],
            status: "ACTIVE".to_owned(),
        }
    }
}

/// A managed node group.
#[derive(Clone, Debug)]
pub struct Nodegroup {
    /// The name.
    pub name: String,
    /// The node role's ARN.
    pub node_role: String,
    /// `ACTIVE`, `CREATING`, ...
    pub status: String,
    /// `ON_DEMAND` or `SPOT`
    pub capacity_type: String,
    /// Fields that replace or extend those of DescribeNodegroup's answer; `null` removes one.
    pub extra: Map<String, Value>,
}

impl Nodegroup {
    /// An active on-demand node group.
    pub fn new(name: &str, node_role: &str) -> Self {
        Self {
            name: name.to_owned(),
            node_role: node_role.to_owned(),
            status: "ACTIVE".to_owned(),
            capacity_type: "ON_DEMAND".to_owned(),
            extra: Map::new(),
        }
    }
}

/// An add-on.
#[derive(Clone, Debug)]
pub struct Addon {
    /// `eks-pod-identity-agent`
    pub name: String,
    /// `v1.3.8-eksbuild.2`
    pub version: String,
    /// `ACTIVE`, `DEGRADED`, ...
    pub status: String,
}

impl Addon {
    /// An active add-on.
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            status: "ACTIVE".to_owned(),
        }
    }
}

/// A timestamp written as text. Panics on anything else: it is only given literals.
#[track_caller]
pub fn date(text: &str) -> Timestamp {
    match text.parse() {
        Ok(timestamp) => timestamp,
        Err(error) => panic!("{text} is no timestamp: {error}"),
    }
}

/// An id as IAM makes them (`AROA` and 17 characters), the same for the same name in every run.
pub fn unique_id(prefix: &str, name: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut state = fnv(name);
    let mut id = String::from(prefix);
    for _ in 0..17 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        id.push(char::from(ALPHABET[(state >> 59) as usize]));
    }
    id
}

/// The 32 hexadecimal digits in an issuer and an endpoint.
fn issuer_id(name: &str) -> String {
    format!("{:016X}{:016X}", fnv(name), fnv(&format!("{name}#")))
}

fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
