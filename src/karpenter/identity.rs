//! Can Karpenter's controller take its role? (Issue 5, check `controller-identity`.)
//!
//! There are two ways. With **Pod Identity** an association of the cluster names namespace, service account and role,
//! and an agent on the pod's node hands out credentials: so it does not work on Fargate. With **IRSA** an annotation
//! on the service account names the role, whose trust policy names the cluster's OIDC issuer and the service account.
//! Where both are there, the association wins: EKS's webhook gives the pod one kind of credentials, and asks for
//! associations first (aws/amazon-eks-pod-identity-webhook `pkg/handler/handler.go`).
//!
//! Sources: EKS user guide `pod-id-role`, `pod-id-agent-setup` (built into Auto Mode), `fargate`,
//! `iam-roles-for-service-accounts`; aws/karpenter-provider-aws issues 1666, 1313, 2636, 5054, 5784, 6359;
//! terraform-aws-modules/terraform-aws-eks issue 3029.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::json::clip;
use super::objects::ServiceAccount;
use super::role_trust::{
    ContextValue, NearMiss, PrincipalKind, TrustCondition, TrustError, TrustPolicy, TrustRequest, Trusted,
};

/// The service that takes a role for Pod Identity, in every partition.
const PODS_SERVICE: &str = "pods.eks.amazonaws.com";
/// The audience of IRSA's tokens where the service account names none.
const DEFAULT_AUDIENCE: &str = "sts.amazonaws.com";
/// How many names a message quotes.
const QUOTED: usize = 5;

/// One thing read: known, absent, or unknown with the reason. Unknown never counts as absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen<T> {
    /// It was read.
    Known(T),
    /// It was asked for and is not there.
    Absent,
    /// It could not be read, and why.
    Unknown(String),
}

impl<T> Seen<T> {
    fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Absent | Self::Unknown(_) => None,
        }
    }
}

impl Seen<bool> {
    fn is_true(&self) -> bool {
        self.known() == Some(&true)
    }
}

/// The cluster, as far as identities go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterIdentity {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// The account it is in.
    pub account: String,
    /// `aws`, `aws-cn`, `aws-us-gov`, ...
    pub partition: String,
    /// The OIDC issuer's URL from DescribeCluster.
    pub issuer: Option<String>,
    /// EKS Auto Mode is on: EKS runs a Karpenter of its own, and the agent of Pod Identity is built in.
    pub auto_mode: bool,
}

impl ClusterIdentity {
    fn arn(&self) -> String {
        format!(
            "arn:{}:eks:{}:{}:cluster/{}",
            self.partition, self.region, self.account, self.name
        )
    }

    /// The issuer without its scheme: what the condition keys begin with and the provider's ARN ends with.
    fn issuer_id(&self) -> Option<&str> {
        let issuer = self.issuer.as_deref()?;
        let issuer = issuer
            .strip_prefix("https://")
            .unwrap_or(issuer)
            .trim_end_matches('/');
        (!issuer.is_empty()).then_some(issuer)
    }

    fn provider_arn(&self, issuer: &str) -> String {
        format!(
            "arn:{}:iam::{}:oidc-provider/{issuer}",
            self.partition, self.account
        )
    }
}

/// A Pod Identity association of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Association {
    /// The namespace.
    pub namespace: String,
    /// The service account.
    pub service_account: String,
    /// Its id, as in `a-0123456789abcdef0`.
    pub id: Option<String>,
    /// The role, from DescribePodIdentityAssociation; ListPodIdentityAssociations leaves it out.
    pub role_arn: Option<String>,
    /// Whether EKS leaves its session tags out.
    pub session_tags_disabled: Option<bool>,
}

/// The agent of Pod Identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    /// The status of the add-on `eks-pod-identity-agent`, as in `ACTIVE`; `None` where it is no add-on.
    pub addon_status: Option<String>,
    /// `status.desiredNumberScheduled` of the DaemonSet `eks-pod-identity-agent`, if that was read.
    pub desired: Option<i64>,
    /// `status.numberReady` of it.
    pub ready: Option<i64>,
}

/// Everything that [`judge`] looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityFacts {
    /// The cluster.
    pub cluster: ClusterIdentity,
    /// The namespace of the controller.
    pub namespace: String,
    /// The name of its service account.
    pub service_account_name: String,
    /// The name of the running Deployment; `None` where Karpenter is only about to be installed.
    pub deployment: Option<String>,
    /// The Deployment has a ready pod, so the controller has some credentials that work.
    pub ready: bool,
    /// Its pods use the host's network and so can reach the instance's own role.
    pub host_network: bool,
    /// `AWS_ROLE_ARN`, where somebody set it by hand on the Deployment.
    pub env_role_arn: Option<String>,
    /// The service account.
    pub service_account: Seen<ServiceAccount>,
    /// The ARNs of the account's OIDC providers (iam:ListOpenIDConnectProviders).
    pub oidc_providers: Seen<Vec<String>>,
    /// The cluster's associations.
    pub associations: Seen<Vec<Association>>,
    /// The agent: absent where there is neither the add-on nor the DaemonSet.
    pub agent: Seen<Agent>,
    /// The controller's pods run on Fargate.
    pub controller_on_fargate: Seen<bool>,
    /// The cluster has no node but Fargate's.
    pub fargate_only: Seen<bool>,
    /// The trust policy of the role that [`role_to_read`] names, URL-encoded or not; absent where IAM has no such role.
    pub role_trust: Seen<String>,
}

/// How the controller gets a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "way", rename_all = "kebab-case")]
pub enum Mechanism {
    /// By an association.
    PodIdentity {
        /// The role, where it was read.
        role_arn: Option<String>,
    },
    /// By a token of the cluster's issuer.
    Irsa {
        /// The role.
        role_arn: String,
        /// It comes from `AWS_ROLE_ARN` on the Deployment and not from the annotation.
        by_environment: bool,
    },
    /// In neither way.
    Neither,
    /// That could not be read.
    Undetermined,
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PodIdentity { role_arn: Some(role) } => write!(f, "Pod Identity, role {}", clip(role)),
            Self::PodIdentity { role_arn: None } => write!(f, "Pod Identity"),
            Self::Irsa {
                role_arn,
                by_environment: false,
            } => write!(f, "IRSA, role {}", clip(role_arn)),
            Self::Irsa {
                role_arn,
                by_environment: true,
            } => write!(f, "AWS_ROLE_ARN {}", clip(role_arn)),
            Self::Neither => write!(f, "neither IRSA nor Pod Identity"),
            Self::Undetermined => write!(f, "not to be told"),
        }
    }
}

/// Which way the controller goes, as far as the association and the annotation tell.
pub fn mechanism(facts: &IdentityFacts) -> Mechanism {
    if let Seen::Known(associations) = &facts.associations
        && let Some(own) = associations.iter().find(|one| is_own(facts, one))
    {
        return Mechanism::PodIdentity {
            role_arn: own.role_arn.clone(),
        };
    }
    let annotated = facts
        .service_account
        .known()
        .and_then(|account| account.role_arn.clone());
    if let Some(role_arn) = annotated {
        return Mechanism::Irsa {
            role_arn,
            by_environment: false,
        };
    }
    if let Some(role_arn) = facts.env_role_arn.clone() {
        return Mechanism::Irsa {
            role_arn,
            by_environment: true,
        };
    }
    match (&facts.associations, &facts.service_account) {
        (Seen::Unknown(_), _) | (_, Seen::Unknown(_)) => Mechanism::Undetermined,
        _ => Mechanism::Neither,
    }
}

fn is_own(facts: &IdentityFacts, association: &Association) -> bool {
    association.namespace == facts.namespace && association.service_account == facts.service_account_name
}

/// The parts of a role's ARN.
struct RoleArn<'a> {
    account: &'a str,
    /// With its path.
    path_and_name: &'a str,
}

impl<'a> RoleArn<'a> {
    fn parse(arn: &'a str) -> Option<Self> {
        let mut parts = arn.splitn(6, ':');
        let is_arn =
            parts.next() == Some("arn") && parts.next().is_some_and(|partition| partition.starts_with("aws"));
        let is_iam = parts.next() == Some("iam") && parts.next() == Some("");
        let account = parts
            .next()
            .filter(|id| id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_digit()))?;
        let path_and_name = parts
            .next()?
            .strip_prefix("role/")
            .filter(|name| !name.is_empty())?;
        let clean = |c: char| c.is_ascii_graphic();
        (is_arn && is_iam && path_and_name.chars().all(clean) && !path_and_name.ends_with('/')).then_some(
            Self {
                account,
                path_and_name,
            },
        )
    }

    fn name(&self) -> &'a str {
        self.path_and_name
            .rsplit('/')
            .next()
            .unwrap_or(self.path_and_name)
    }
}

/// The name of the role whose trust policy is needed (for `iam:GetRole`). `None`: there is none, or it lies in another
/// account, where a role of the same name here would mislead.
pub fn role_to_read(facts: &IdentityFacts) -> Option<String> {
    let arn = match mechanism(facts) {
        Mechanism::PodIdentity { role_arn } => role_arn?,
        Mechanism::Irsa { role_arn, .. } => role_arn,
        Mechanism::Neither | Mechanism::Undetermined => return None,
    };
    let role = RoleArn::parse(&arn)?;
    (role.account == facts.cluster.account).then(|| role.name().to_owned())
}

/// What is wrong with, or worth knowing about, the controller's identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "problem", rename_all = "kebab-case")]
pub enum IdentityProblem {
    /// EKS Auto Mode runs its own Karpenter and no other is there: nothing to judge.
    AutoMode,
    /// The Deployment names a service account that is not there.
    ServiceAccountMissing,
    /// Neither an annotation nor an association.
    NoIdentity {
        /// The controller runs, or can only run, on Fargate.
        fargate: bool,
    },
    /// What names the role is no role's ARN.
    RoleArnMalformed {
        /// As written.
        value: String,
    },
    /// The role lies in another account than the cluster.
    RoleInOtherAccount {
        /// That account.
        account: String,
    },
    /// IAM has no such role.
    RoleMissing {
        /// Its ARN.
        role_arn: String,
    },
    /// The cluster has no OIDC issuer.
    NoIssuer,
    /// IAM has no OIDC provider for the cluster's issuer.
    ProviderMissing {
        /// The ARN that it would have.
        provider_arn: String,
    },
    /// The trust policy can't be read.
    TrustUnreadable {
        /// Why.
        why: String,
    },
    /// No statement allows `sts:AssumeRoleWithWebIdentity`.
    NoWebIdentity {
        /// Who may take the role instead.
        trusts: Vec<String>,
        /// Pod Identity may: the association is what is missing.
        trusts_pod_identity: bool,
    },
    /// The trust is for other providers: another cluster's issuer, mostly one that was deleted and made again.
    OtherIssuer {
        /// The providers that it names.
        found: Vec<String>,
        /// The one of this cluster.
        wanted: String,
    },
    /// A condition's key begins with something else than this cluster's issuer, so it never holds.
    WrongKeyPrefix {
        /// The key, as written.
        key: String,
        /// The key that it has to be.
        wanted: String,
    },
    /// The subject is another service account.
    SubMismatch {
        /// What the policy has.
        found: Vec<String>,
        /// What the token has.
        wanted: String,
        /// It has wildcards under an operator that takes them literally.
        literal_wildcard: bool,
    },
    /// The audience is another one.
    AudMismatch {
        /// What the policy has.
        found: Vec<String>,
        /// What the token has.
        wanted: String,
    },
    /// Another condition does not hold.
    ConditionUnmet {
        /// Its operator.
        operator: String,
        /// Its key.
        key: String,
        /// Its values.
        values: Vec<String>,
    },
    /// A `Deny` keeps the controller out.
    Denied {
        /// The statement, from 0.
        statement: usize,
    },
    /// It depends on conditions that can't be known from outside.
    TrustUndecided {
        /// Their keys.
        keys: Vec<String>,
    },
    /// The trust holds for more service accounts than this one. It works.
    BroadTrust {
        /// The patterns; empty where there is no condition on the subject at all.
        patterns: Vec<String>,
    },
    /// No statement lets Pod Identity take the role.
    NoPodIdentityTrust {
        /// Who may take it instead.
        trusts: Vec<String>,
    },
    /// `sts:AssumeRole` is allowed for Pod Identity, `sts:TagSession` is not.
    TagSessionMissing,
    /// No annotation, and the cluster's associations are for other service accounts of Karpenter than this one.
    AssociationMissing {
        /// They: the same service account elsewhere, or another one here, as `NAMESPACE/NAME`.
        near: Vec<String>,
    },
    /// There is no agent.
    AgentMissing,
    /// The agent is there and does not run everywhere it should.
    AgentNotRunning {
        /// The add-on's status.
        status: Option<String>,
        /// Ready pods.
        ready: Option<i64>,
        /// Wanted pods.
        desired: Option<i64>,
    },
    /// The association exists, but the controller is on Fargate, where no agent runs.
    FargateWithoutAgent,
    /// The annotation has no effect: the association wins.
    AnnotationOverruled {
        /// The role in the annotation.
        role_arn: String,
    },
    /// The controller is set to work on another cluster than the one it runs in.
    OtherCluster {
        /// `CLUSTER_NAME`.
        named: String,
        /// The cluster.
        cluster: String,
    },
    /// The account's OIDC provider does not take tokens for the audience of the controller's.
    ProviderAudience {
        /// What it takes.
        found: Vec<String>,
        /// What the token has.
        wanted: String,
    },
    /// Something needed could not be read.
    Unread {
        /// What, as the end of "could not read".
        what: String,
        /// Why.
        why: String,
    },
}

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing; it works.
    Note,
    /// It may work.
    Warn,
    /// It could not be judged.
    Unknown,
    /// The controller gets no credentials.
    Fail,
}

/// One finding with its remedy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityFinding {
    /// What it is.
    pub problem: IdentityProblem,
    /// How much it matters.
    pub severity: Severity,
    /// One or two sentences that name the things found.
    pub message: String,
    /// What to do, in words; empty where there is nothing to do.
    pub remedy: String,
    /// Commands that can be pasted into a shell, in order.
    pub commands: Vec<String>,
}

/// The judgement on the controller's identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityJudgement {
    /// How the controller gets its role.
    pub mechanism: Mechanism,
    /// What was found, the worst first. Empty, or with notes only: it is good.
    pub findings: Vec<IdentityFinding>,
}

impl IdentityJudgement {
    /// The worst severity; `None` where there is nothing to say.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }

    /// Whether the controller can take its role.
    pub fn is_good(&self) -> bool {
        self.worst().is_none_or(|worst| worst == Severity::Note)
    }
}

/// Judges the controller's identity.
pub fn judge(facts: &IdentityFacts) -> IdentityJudgement {
    let mechanism = mechanism(facts);
    let mut judge = Judge {
        facts,
        findings: Vec::new(),
    };
    let account_missing = judge.service_account();
    match &mechanism {
        Mechanism::PodIdentity { role_arn } => judge.pod_identity(role_arn.as_deref()),
        Mechanism::Irsa { role_arn, .. } => judge.irsa(role_arn),
        // One cause is reported once.
        Mechanism::Neither if account_missing => {}
        Mechanism::Neither => judge.neither(),
        Mechanism::Undetermined => judge.undetermined(),
    }
    let mut findings = judge.findings;
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    IdentityJudgement { mechanism, findings }
}

/// Whether a condition key (in lower case) is one of an OIDC provider: its prefix is a host, those of AWS have no dot.
fn is_provider_key(key: &str) -> bool {
    key.starts_with("http")
        || key
            .split(':')
            .next()
            .is_some_and(|name| name.contains(['.', '/']))
}

/// A word for a POSIX shell: as it is where that is safe, else in single quotes.
fn quote(word: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_./:@=,+%".contains(c);
    if !word.is_empty() && word.chars().all(safe) {
        return word.to_owned();
    }
    // A control character has no business in a command that somebody pastes.
    let clean: String = word.chars().filter(|c| !c.is_control()).collect();
    format!("'{}'", clean.replace('\'', "'\\''"))
}

fn command<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(quote).collect::<Vec<_>>().join(" ")
}

/// Quotes a few names for a message.
fn quoted(names: &[String]) -> String {
    let mut shown: Vec<String> = names
        .iter()
        .take(QUOTED)
        .map(|name| format!("`{}`", clip(name)))
        .collect();
    if names.len() > QUOTED {
        shown.push(format!("{} more", names.len() - QUOTED));
    }
    match shown.as_slice() {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

struct Judge<'a> {
    facts: &'a IdentityFacts,
    findings: Vec<IdentityFinding>,
}

impl Judge<'_> {
    fn add(
        &mut self,
        problem: IdentityProblem,
        severity: Severity,
        message: impl Into<String>,
        remedy: impl Into<String>,
        commands: Vec<String>,
    ) {
        self.findings.push(IdentityFinding {
            problem,
            severity,
            message: message.into(),
            remedy: remedy.into(),
            commands,
        });
    }

    fn unread(&mut self, what: impl Into<String>, why: &str) {
        let what = what.into();
        let message = format!("could not read {what}: {}", clip(why));
        self.add(
            IdentityProblem::Unread { what, why: clip(why) },
            Severity::Unknown,
            message,
            "",
            Vec::new(),
        );
    }

    /// `NAMESPACE/NAME` of the service account.
    fn account(&self) -> String {
        format!(
            "{}/{}",
            clip(&self.facts.namespace),
            clip(&self.facts.service_account_name)
        )
    }

    /// The subject of the token.
    fn subject(&self) -> String {
        format!(
            "system:serviceaccount:{}:{}",
            self.facts.namespace, self.facts.service_account_name
        )
    }

    fn audience(&self) -> String {
        let named = self
            .facts
            .service_account
            .known()
            .and_then(|account| account.audience.clone());
        named.unwrap_or_else(|| DEFAULT_AUDIENCE.to_owned())
    }

    /// The role that Karpenter's guide makes, for remedies where none is known.
    fn suggested_role(&self) -> String {
        let cluster = &self.facts.cluster;
        format!(
            "arn:{}:iam::{}:role/{}-karpenter",
            cluster.partition, cluster.account, cluster.name
        )
    }

    fn on_fargate(&self) -> bool {
        self.facts.controller_on_fargate.is_true() || self.facts.fargate_only.is_true()
    }

    // Commands.

    fn create_service_account(&self, role_name: &str) -> String {
        let cluster = &self.facts.cluster;
        let policy = format!(
            "arn:{}:iam::{}:policy/KarpenterControllerPolicy-{}",
            cluster.partition, cluster.account, cluster.name
        );
        command([
            "eksctl",
            "create",
            "iamserviceaccount",
            "--cluster",
            &cluster.name,
            "--region",
            &cluster.region,
            "--namespace",
            &self.facts.namespace,
            "--name",
            &self.facts.service_account_name,
            "--role-name",
            role_name,
            "--attach-policy-arn",
            &policy,
            "--role-only",
            "--approve",
        ])
    }

    fn associate_provider(&self) -> String {
        let cluster = &self.facts.cluster;
        command([
            "eksctl",
            "utils",
            "associate-iam-oidc-provider",
            "--cluster",
            &cluster.name,
            "--region",
            &cluster.region,
            "--approve",
        ])
    }

    fn update_trust(&self, role_name: &str, document: &Value) -> String {
        command([
            "aws",
            "iam",
            "update-assume-role-policy",
            "--role-name",
            role_name,
            "--policy-document",
            &document.to_string(),
        ])
    }

    fn create_association(&self, role_arn: &str) -> String {
        let cluster = &self.facts.cluster;
        command([
            "aws",
            "eks",
            "create-pod-identity-association",
            "--cluster-name",
            &cluster.name,
            "--region",
            &cluster.region,
            "--namespace",
            &self.facts.namespace,
            "--service-account",
            &self.facts.service_account_name,
            "--role-arn",
            role_arn,
        ])
    }

    fn create_agent(&self) -> String {
        let cluster = &self.facts.cluster;
        command([
            "aws",
            "eks",
            "create-addon",
            "--cluster-name",
            &cluster.name,
            "--region",
            &cluster.region,
            "--addon-name",
            "eks-pod-identity-agent",
        ])
    }

    /// Pods get their kind of credentials when they are made, so a running controller has to be made anew.
    fn restart(&self) -> Option<String> {
        let deployment = format!("deployment/{}", self.facts.deployment.as_deref()?);
        Some(command([
            "kubectl",
            "-n",
            &self.facts.namespace,
            "rollout",
            "restart",
            &deployment,
        ]))
    }

    /// The helm values that name the role.
    fn annotate_by_helm(role_arn: &str) -> String {
        format!(
            "Give the role to the chart: --set 'serviceAccount.annotations.eks\\.amazonaws\\.com/role-arn={}'.",
            clip(role_arn)
        )
    }

    // The service account.

    /// Whether it is missing where it should be there.
    fn service_account(&mut self) -> bool {
        let missing = self.facts.deployment.is_some() && self.facts.service_account == Seen::Absent;
        if missing {
            let account = self.account();
            self.add(
                IdentityProblem::ServiceAccountMissing,
                Severity::Fail,
                format!("the controller's service account {account} does not exist, so its pods can't start"),
                "Install the chart with serviceAccount.create=true, or create the service account.",
                vec![command([
                    "kubectl",
                    "-n",
                    &self.facts.namespace,
                    "create",
                    "serviceaccount",
                    &self.facts.service_account_name,
                ])],
            );
        }
        missing
    }

    // Neither.

    fn undetermined(&mut self) {
        if let Seen::Unknown(why) = self.facts.service_account.clone() {
            let account = self.account();
            self.unread(format!("the service account {account}"), &why);
        }
        if let Seen::Unknown(why) = self.facts.associations.clone() {
            self.unread("the cluster's Pod Identity associations", &why);
        }
    }

    fn neither(&mut self) {
        let facts = self.facts;
        if facts.cluster.auto_mode && facts.deployment.is_none() {
            self.add(
                IdentityProblem::AutoMode,
                Severity::Note,
                "EKS Auto Mode runs Karpenter inside EKS, with the cluster role: there is no controller of your own to judge",
                "",
                Vec::new(),
            );
            return;
        }
        let near = self.near_associations();
        let account = self.account();
        let fargate = self.on_fargate();
        let role_arn = self.suggested_role();
        let role_name = format!("{}-karpenter", facts.cluster.name);
        let mut message = format!(
            "the service account {account} has no annotation eks.amazonaws.com/role-arn and no Pod Identity association"
        );
        if !near.is_empty() {
            message.push_str(&format!("; there are associations for {}", quoted(&near)));
        }
        if fargate {
            let mut commands = Vec::new();
            if !self.provider_is_there() {
                commands.push(self.associate_provider());
            }
            commands.push(self.create_service_account(&role_name));
            let remedy = format!(
                "Use IRSA: on Fargate no Pod Identity agent runs. The commands make the role with the controller policy \
                 of Karpenter's CloudFormation. {}",
                Self::annotate_by_helm(&role_arn)
            );
            message.push_str("; on Fargate there is no instance role to fall back to");
            self.add(
                IdentityProblem::NoIdentity { fargate },
                Severity::Fail,
                message,
                remedy,
                commands,
            );
            return;
        }
        let mut commands = Vec::new();
        if facts.agent.known().is_none() && !facts.cluster.auto_mode {
            commands.push(self.create_agent());
        }
        commands.push(self.create_association(&role_arn));
        commands.extend(self.restart());
        let works = facts.deployment.is_some() && (facts.ready || facts.host_network);
        if works {
            message.push_str(
                "; the controller runs all the same, so it has other credentials, mostly the role of the instance it is on",
            );
        }
        let severity = if works { Severity::Warn } else { Severity::Fail };
        let problem = match near.is_empty() {
            true => IdentityProblem::NoIdentity { fargate },
            false => IdentityProblem::AssociationMissing { near },
        };
        self.add(
            problem,
            severity,
            message,
            format!(
                "Use Pod Identity: give the controller role an association (here {}, as Karpenter's guide names it).",
                clip(&role_arn)
            ),
            commands,
        );
    }

    /// Associations that were probably meant for this controller.
    fn near_associations(&self) -> Vec<String> {
        let Seen::Known(associations) = &self.facts.associations else {
            return Vec::new();
        };
        let near = |one: &&Association| {
            (one.namespace == self.facts.namespace || one.service_account == self.facts.service_account_name)
                && (one.service_account.contains("karpenter") || one.namespace.contains("karpenter"))
                && !is_own(self.facts, one)
        };
        let near = associations.iter().filter(near);
        near.map(|one| format!("{}/{}", one.namespace, one.service_account))
            .take(QUOTED + 1)
            .collect()
    }

    fn provider_is_there(&self) -> bool {
        let wanted = self
            .facts
            .cluster
            .issuer_id()
            .map(|issuer| self.facts.cluster.provider_arn(issuer));
        match (&self.facts.oidc_providers, wanted) {
            (Seen::Known(providers), Some(wanted)) => providers.contains(&wanted),
            _ => false,
        }
    }

    // The role.

    /// The role's name and trust policy, if there is one to judge.
    fn role(&mut self, role_arn: &str) -> Option<(String, TrustPolicy)> {
        let Some(role) = RoleArn::parse(role_arn) else {
            self.add(
                IdentityProblem::RoleArnMalformed {
                    value: clip(role_arn),
                },
                Severity::Fail,
                format!(
                    "`{}` is not the ARN of a role (arn:aws:iam::ACCOUNT:role/NAME)",
                    clip(role_arn)
                ),
                Self::annotate_by_helm(&self.suggested_role()),
                Vec::new(),
            );
            return None;
        };
        let name = role.name().to_owned();
        if role.account != self.facts.cluster.account {
            let account = role.account.to_owned();
            let message = format!(
                "the role {} is in account {account}, the cluster in {}: its trust policy can't be read from here",
                clip(role_arn),
                self.facts.cluster.account
            );
            let remedy = format!(
                "If that is meant, account {account} needs an OIDC provider for this cluster's issuer. If not, the \
                 account in the ARN is wrong."
            );
            self.add(
                IdentityProblem::RoleInOtherAccount { account },
                Severity::Unknown,
                message,
                remedy,
                Vec::new(),
            );
            return None;
        }
        match self.facts.role_trust.clone() {
            Seen::Known(text) => match TrustPolicy::parse(&text) {
                Ok(policy) => Some((name, policy)),
                Err(error) => {
                    self.unreadable_trust(&name, &error);
                    None
                }
            },
            Seen::Absent => {
                let commands = match self.on_fargate() || !self.is_pod_identity() {
                    true => vec![self.create_service_account(&name)],
                    false => vec![command([
                        "aws",
                        "iam",
                        "create-role",
                        "--role-name",
                        &name,
                        "--assume-role-policy-document",
                        &json!({"Version": "2012-10-17", "Statement": [pod_identity_statement()]})
                            .to_string(),
                    ])],
                };
                self.add(
                    IdentityProblem::RoleMissing {
                        role_arn: clip(role_arn),
                    },
                    Severity::Fail,
                    format!("the controller's role {} does not exist", clip(role_arn)),
                    "Create it with Karpenter's controller policy, or correct the ARN.",
                    commands,
                );
                None
            }
            Seen::Unknown(why) => {
                self.unread(format!("the role {}", clip(role_arn)), &why);
                None
            }
        }
    }

    fn is_pod_identity(&self) -> bool {
        matches!(mechanism(self.facts), Mechanism::PodIdentity { .. })
    }

    fn unreadable_trust(&mut self, role_name: &str, error: &TrustError) {
        let why = error.to_string();
        self.add(
            IdentityProblem::TrustUnreadable { why: why.clone() },
            Severity::Unknown,
            format!("the role {}: {why}", clip(role_name)),
            "Look at it yourself.",
            vec![command([
                "aws",
                "iam",
                "get-role",
                "--role-name",
                role_name,
                "--query",
                "Role.AssumeRolePolicyDocument",
            ])],
        );
    }

    // IRSA.

    fn irsa(&mut self, role_arn: &str) {
        if let Seen::Unknown(why) = self.facts.associations.clone() {
            // An association would win over the annotation.
            self.unread(
                "the cluster's Pod Identity associations, which would overrule the annotation",
                &why,
            );
            if let Some(last) = self.findings.last_mut() {
                last.severity = Severity::Note;
            }
        }
        let cluster = &self.facts.cluster;
        let Some(issuer) = cluster.issuer_id().map(str::to_owned) else {
            self.add(
                IdentityProblem::NoIssuer,
                Severity::Unknown,
                "DescribeCluster shows no OIDC issuer, so no trust policy can be compared with it",
                "",
                Vec::new(),
            );
            return;
        };
        let provider = cluster.provider_arn(&issuer);
        match self.facts.oidc_providers.clone() {
            Seen::Known(providers) if providers.contains(&provider) => {}
            Seen::Known(_) | Seen::Absent => {
                let commands = vec![self.associate_provider()];
                self.add(
                    IdentityProblem::ProviderMissing {
                        provider_arn: provider.clone(),
                    },
                    Severity::Fail,
                    format!("IAM has no OIDC provider for this cluster's issuer: {provider} is missing"),
                    "Create it. It grants nothing by itself.",
                    commands,
                );
            }
            Seen::Unknown(why) => self.unread("the account's OIDC providers", &why),
        }
        let Some((role_name, policy)) = self.role(role_arn) else {
            return;
        };
        self.web_identity(&role_name, &policy, &issuer, &provider);
    }

    fn web_identity(&mut self, role_name: &str, policy: &TrustPolicy, issuer: &str, provider: &str) {
        let (subject, audience) = (self.subject(), self.audience());
        let (sub_key, aud_key) = (format!("{issuer}:sub"), format!("{issuer}:aud"));
        let prefix = format!("{}:", issuer.to_ascii_lowercase());
        let context = |key: &str| match key.strip_prefix(prefix.as_str()) {
            Some("sub") => ContextValue::Known(subject.clone()),
            Some("aud") => ContextValue::Known(audience.clone()),
            Some(_) => ContextValue::Unknown,
            // A key of another provider, or a slip in this one's name. Keys of AWS have no dot in their prefix.
            None if is_provider_key(key) => ContextValue::Absent,
            None if matches!(key, "sub" | "aud") => ContextValue::Absent,
            None => ContextValue::Unknown,
        };
        let request = TrustRequest {
            action: "sts:AssumeRoleWithWebIdentity",
            kind: PrincipalKind::Federated,
            principal: provider,
            context: &context,
        };
        let judged = policy.judge(&request);
        let mended = policy.with(json!({
            "Effect": "Allow",
            "Principal": {"Federated": provider},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": {(aud_key.as_str()): audience.as_str(), (sub_key.as_str()): subject.as_str()}},
        }));
        let commands = vec![self.update_trust(role_name, &mended)];
        let keeps =
            "Add a statement for this service account to the trust policy; the command keeps what is there.";
        match judged {
            Trusted::Yes { conditions, .. } => {
                self.note_broad_trust(role_name, &conditions, &sub_key, &subject)
            }
            Trusted::Denied { index } => self.denied(role_name, index),
            Trusted::Unknown { conditions } => self.undecided(role_name, &conditions),
            Trusted::No { near } if near.is_empty() => {
                let trusts = policy.principals_for("sts:AssumeRole");
                let trusts_pod_identity = trusts.iter().any(|name| name == PODS_SERVICE);
                let mut message = format!(
                    "the role {} lets no service account in: no statement allows sts:AssumeRoleWithWebIdentity",
                    clip(role_name)
                );
                if !trusts.is_empty() {
                    message.push_str(&format!("; it trusts {}", quoted(&trusts)));
                }
                let (remedy, commands) = if trusts_pod_identity && !self.on_fargate() {
                    let mut commands = vec![self.create_association(&self.role_arn_in_account(role_name))];
                    commands.extend(self.restart());
                    (
                        "The role is made for Pod Identity: give it an association, and drop the annotation.",
                        commands,
                    )
                } else if trusts.iter().any(|name| name == "ec2.amazonaws.com") {
                    message.push_str(" - this is the role of the nodes, not of the controller");
                    (
                        "Name the controller's own role in the annotation; the role of the nodes belongs into the EC2NodeClass.",
                        Vec::new(),
                    )
                } else {
                    (keeps, commands)
                };
                self.add(
                    IdentityProblem::NoWebIdentity {
                        trusts,
                        trusts_pod_identity,
                    },
                    Severity::Fail,
                    message,
                    remedy,
                    commands,
                );
            }
            Trusted::No { near } => self.near_misses(
                role_name,
                &near,
                provider,
                (&sub_key, &subject),
                (&aud_key, &audience),
                (keeps, &commands),
            ),
        }
    }

    fn role_arn_in_account(&self, role_name: &str) -> String {
        match mechanism(self.facts) {
            Mechanism::Irsa { role_arn, .. } => role_arn,
            _ => format!(
                "arn:{}:iam::{}:role/{role_name}",
                self.facts.cluster.partition, self.facts.cluster.account
            ),
        }
    }

    /// Tells apart why statements for web identities don't let this service account in.
    fn near_misses(
        &mut self,
        role_name: &str,
        near: &[NearMiss],
        provider: &str,
        (sub_key, subject): (&str, &str),
        (aud_key, audience): (&str, &str),
        (remedy, commands): (&str, &Vec<String>),
    ) {
        let role = clip(role_name);
        // The nearest statement tells most; the others are counted.
        let Some(nearest) = near.first() else { return };
        let among = match near.len() {
            1 => String::new(),
            several => format!(
                " (the nearest of {several} statements, number {})",
                nearest.index + 1
            ),
        };
        if !nearest.names_requester {
            let mut found: Vec<String> = near.iter().flat_map(|miss| miss.principals.clone()).collect();
            found.sort();
            found.dedup();
            let message = format!(
                "the role {role} trusts {}, not this cluster's issuer ({provider}): another cluster, or one of this name \
                 that was deleted and made again",
                quoted(&found)
            );
            self.add(
                IdentityProblem::OtherIssuer {
                    found,
                    wanted: provider.to_owned(),
                },
                Severity::Fail,
                message,
                remedy,
                commands.clone(),
            );
            return;
        }
        for condition in &nearest.unmet {
            let (problem, message) =
                Self::explain(condition, &role, &among, (sub_key, subject), (aud_key, audience));
            self.add(problem, Severity::Fail, message, remedy, commands.clone());
        }
    }

    fn explain(
        condition: &TrustCondition,
        role: &str,
        among: &str,
        (sub_key, subject): (&str, &str),
        (aud_key, audience): (&str, &str),
    ) -> (IdentityProblem, String) {
        let TrustCondition {
            operator,
            key,
            values,
        } = condition;
        let values_text = quoted(values);
        if key.eq_ignore_ascii_case(sub_key) {
            let literal = operator.to_ascii_lowercase().contains("equals")
                && values.iter().any(|v| v.contains(['*', '?']));
            let mut message = format!(
                "the trust policy of {role}{among} has the subject {values_text}, the controller's is `{}`",
                clip(subject)
            );
            if literal {
                message.push_str(&format!(
                    "; {} takes * and ? literally, StringLike would not",
                    clip(operator)
                ));
            }
            let problem = IdentityProblem::SubMismatch {
                found: values.iter().map(|value| clip(value)).collect(),
                wanted: subject.to_owned(),
                literal_wildcard: literal,
            };
            return (problem, message);
        }
        if key.eq_ignore_ascii_case(aud_key) {
            let message = format!(
                "the trust policy of {role}{among} has the audience {values_text}, the controller's token is for `{}`",
                clip(audience)
            );
            let problem = IdentityProblem::AudMismatch {
                found: values.iter().map(|value| clip(value)).collect(),
                wanted: audience.to_owned(),
            };
            return (problem, message);
        }
        let lower = key.to_ascii_lowercase();
        let wanted = match lower.rsplit(':').next() {
            Some("sub") => Some(sub_key),
            Some("aud") => Some(aud_key),
            _ => None,
        };
        if let Some(wanted) = wanted {
            let message = format!(
                "the trust policy of {role}{among} has a condition on `{}`, a key that this cluster's tokens don't have: \
                 it has to be `{wanted}`",
                clip(key)
            );
            return (
                IdentityProblem::WrongKeyPrefix {
                    key: clip(key),
                    wanted: wanted.to_owned(),
                },
                message,
            );
        }
        let message = format!(
            "the trust policy of {role}{among} has a condition that does not hold: {} on `{}` with {values_text}",
            clip(operator),
            clip(key)
        );
        let problem = IdentityProblem::ConditionUnmet {
            operator: clip(operator),
            key: clip(key),
            values: values.iter().take(QUOTED).map(|value| clip(value)).collect(),
        };
        (problem, message)
    }

    fn note_broad_trust(
        &mut self,
        role_name: &str,
        conditions: &[TrustCondition],
        sub_key: &str,
        subject: &str,
    ) {
        let on_subject: Vec<&TrustCondition> = conditions
            .iter()
            .filter(|condition| condition.key.eq_ignore_ascii_case(sub_key))
            .collect();
        let exact = on_subject
            .iter()
            .any(|condition| condition.values.iter().all(|value| !value.contains(['*', '?'])));
        if exact {
            return;
        }
        let patterns: Vec<String> = on_subject
            .iter()
            .flat_map(|condition| condition.values.iter().map(|value| clip(value)))
            .collect();
        let who = match patterns.as_slice() {
            [] => "every service account of the cluster".to_owned(),
            patterns => format!("every service account that matches {}", quoted(patterns)),
        };
        self.add(
            IdentityProblem::BroadTrust { patterns },
            Severity::Note,
            format!(
                "the role {} works, but lets {who} in, not only `{}`",
                clip(role_name),
                clip(subject)
            ),
            "",
            Vec::new(),
        );
    }

    fn denied(&mut self, role_name: &str, statement: usize) {
        self.add(
            IdentityProblem::Denied { statement },
            Severity::Fail,
            format!(
                "statement {} of the trust policy of {} denies the controller",
                statement + 1,
                clip(role_name)
            ),
            "Remove or narrow that Deny.",
            vec![command([
                "aws",
                "iam",
                "get-role",
                "--role-name",
                role_name,
                "--query",
                "Role.AssumeRolePolicyDocument",
            ])],
        );
    }

    fn undecided(&mut self, role_name: &str, conditions: &[TrustCondition]) {
        let mut keys: Vec<String> = conditions.iter().map(|condition| clip(&condition.key)).collect();
        keys.sort();
        keys.dedup();
        let message = format!(
            "whether the role {} lets the controller in depends on {}, which can't be known from here",
            clip(role_name),
            quoted(&keys)
        );
        self.add(
            IdentityProblem::TrustUndecided { keys },
            Severity::Unknown,
            message,
            "See whether the controller's log has AccessDenied for sts.",
            self.facts
                .deployment
                .iter()
                .map(|deployment| {
                    let deployment = format!("deployment/{deployment}");
                    command([
                        "kubectl",
                        "-n",
                        &self.facts.namespace,
                        "logs",
                        &deployment,
                        "--tail=50",
                    ])
                })
                .collect(),
        );
    }

    // Pod Identity.

    fn pod_identity(&mut self, role_arn: Option<&str>) {
        if let Some(annotated) = self
            .facts
            .service_account
            .known()
            .and_then(|account| account.role_arn.clone())
            && role_arn.is_some_and(|role| role != annotated)
        {
            self.add(
                IdentityProblem::AnnotationOverruled { role_arn: clip(&annotated) },
                Severity::Note,
                format!(
                    "the annotation with {} has no effect on new pods: the Pod Identity association overrules it",
                    clip(&annotated)
                ),
                "",
                Vec::new(),
            );
        }
        self.agent(role_arn);
        let Some(role_arn) = role_arn else {
            let account = self.account();
            self.unread(
                format!("which role the association of {account} names"),
                "DescribePodIdentityAssociation was not answered",
            );
            return;
        };
        let Some((role_name, policy)) = self.role(role_arn) else {
            return;
        };
        self.pod_identity_trust(&role_name, &policy);
    }

    fn own_association(&self) -> Option<&Association> {
        self.facts
            .associations
            .known()?
            .iter()
            .find(|one| is_own(self.facts, one))
    }

    fn agent(&mut self, role_arn: Option<&str>) {
        let facts = self.facts;
        if self.on_fargate() {
            let role_arn = role_arn.map_or_else(|| self.suggested_role(), str::to_owned);
            let name = RoleArn::parse(&role_arn)
                .map_or("karpenter", |role| role.name())
                .to_owned();
            let mut commands = Vec::new();
            if !self.provider_is_there() {
                commands.push(self.associate_provider());
            }
            commands.push(self.create_service_account(&format!("{name}-irsa")));
            if let Some(id) = self.own_association().and_then(|own| own.id.as_deref()) {
                let cluster = &facts.cluster;
                commands.push(command([
                    "aws",
                    "eks",
                    "delete-pod-identity-association",
                    "--cluster-name",
                    &cluster.name,
                    "--region",
                    &cluster.region,
                    "--association-id",
                    id,
                ]));
            }
            commands.extend(self.restart());
            let made = format!(
                "arn:{}:iam::{}:role/{name}-irsa",
                facts.cluster.partition, facts.cluster.account
            );
            let why = if facts.fargate_only.is_true() {
                "this cluster has Fargate nodes only, where no agent runs"
            } else {
                "the controller runs on Fargate, where no agent runs"
            };
            self.add(
                IdentityProblem::FargateWithoutAgent,
                Severity::Fail,
                format!("the controller's role comes from Pod Identity, but {why}"),
                format!(
                    "Use IRSA instead, and delete the association, which would overrule it. {}",
                    Self::annotate_by_helm(&made)
                ),
                commands,
            );
            return;
        }
        if facts.cluster.auto_mode {
            return;
        }
        match &facts.agent {
            Seen::Absent => {
                let mut commands = vec![self.create_agent()];
                commands.extend(self.restart());
                self.add(
                    IdentityProblem::AgentMissing,
                    Severity::Fail,
                    "there is an association, but no Pod Identity agent: neither the add-on eks-pod-identity-agent nor its \
                     DaemonSet",
                    "Install the add-on.",
                    commands,
                );
            }
            Seen::Unknown(why) => self.unread("whether the Pod Identity agent runs", why),
            Seen::Known(agent) => {
                let none_ready = agent.ready == Some(0);
                let short =
                    matches!((agent.ready, agent.desired), (Some(ready), Some(desired)) if ready < desired);
                let failed = agent
                    .addon_status
                    .as_deref()
                    .is_some_and(|status| status.contains("FAILED"));
                let degraded = agent
                    .addon_status
                    .as_deref()
                    .is_some_and(|status| status != "ACTIVE");
                if !(none_ready || short || failed || degraded) {
                    return;
                }
                let mut parts = Vec::new();
                if let Some(status) = &agent.addon_status {
                    parts.push(format!("the add-on is {}", clip(status)));
                }
                if let (Some(ready), Some(desired)) = (agent.ready, agent.desired) {
                    parts.push(format!("{ready} of {desired} pods are ready"));
                }
                // With a ready pod somewhere, the controller's node may be a good one.
                let runs_somewhere = agent.ready.is_some_and(|ready| ready > 0);
                let severity = if runs_somewhere || !(none_ready || failed) {
                    Severity::Warn
                } else {
                    Severity::Fail
                };
                self.add(
                    IdentityProblem::AgentNotRunning {
                        status: agent.addon_status.as_deref().map(clip),
                        ready: agent.ready,
                        desired: agent.desired,
                    },
                    severity,
                    format!(
                        "the Pod Identity agent does not run everywhere: {}",
                        parts.join(", ")
                    ),
                    "See why its pods don't run.",
                    vec![
                        command([
                            "kubectl",
                            "-n",
                            "kube-system",
                            "get",
                            "pods",
                            "-l",
                            "app.kubernetes.io/name=eks-pod-identity-agent",
                            "-o",
                            "wide",
                        ]),
                        command([
                            "aws",
                            "eks",
                            "describe-addon",
                            "--cluster-name",
                            &facts.cluster.name,
                            "--region",
                            &facts.cluster.region,
                            "--addon-name",
                            "eks-pod-identity-agent",
                        ]),
                    ],
                );
            }
        }
    }

    fn pod_identity_trust(&mut self, role_name: &str, policy: &TrustPolicy) {
        let facts = self.facts;
        let tags = self.own_association().and_then(|one| one.session_tags_disabled);
        let context = |key: &str| match key {
            "aws:sourceaccount" => ContextValue::Known(facts.cluster.account.clone()),
            "aws:sourcearn" => ContextValue::Known(facts.cluster.arn()),
            _ => match (key.strip_prefix("aws:requesttag/"), tags) {
                (
                    Some(
                        "eks-cluster-arn"
                        | "eks-cluster-name"
                        | "kubernetes-namespace"
                        | "kubernetes-service-account",
                    ),
                    Some(true),
                ) => ContextValue::Absent,
                (Some("eks-cluster-arn"), _) => ContextValue::Known(facts.cluster.arn()),
                (Some("eks-cluster-name"), _) => ContextValue::Known(facts.cluster.name.clone()),
                (Some("kubernetes-namespace"), _) => ContextValue::Known(facts.namespace.clone()),
                (Some("kubernetes-service-account"), _) => {
                    ContextValue::Known(facts.service_account_name.clone())
                }
                _ => ContextValue::Unknown,
            },
        };
        let judge = |action| {
            policy.judge(&TrustRequest {
                action,
                kind: PrincipalKind::Service,
                principal: PODS_SERVICE,
                context: &context,
            })
        };
        let mended = policy.with(pod_identity_statement());
        let commands = vec![self.update_trust(role_name, &mended)];
        let remedy = "Add Pod Identity to the trust policy; the command keeps what is there.";
        let role = clip(role_name);
        let (assume, tag) = (judge("sts:AssumeRole"), judge("sts:TagSession"));
        match (assume, tag) {
            (Trusted::Yes { .. }, Trusted::Yes { .. }) => {}
            (Trusted::Denied { index }, _) | (_, Trusted::Denied { index }) => self.denied(role_name, index),
            (Trusted::Yes { .. }, Trusted::No { .. }) => self.add(
                IdentityProblem::TagSessionMissing,
                Severity::Fail,
                format!(
                    "the role {role} lets {PODS_SERVICE} do sts:AssumeRole but not sts:TagSession; Pod Identity needs both"
                ),
                remedy,
                commands,
            ),
            (Trusted::No { near }, _) => {
                let unmet = near.into_iter().find(|miss| miss.names_requester);
                match unmet {
                    Some(miss) => {
                        for condition in &miss.unmet {
                            let TrustCondition { operator, key, values } = condition;
                            self.add(
                                IdentityProblem::ConditionUnmet {
                                    operator: clip(operator),
                                    key: clip(key),
                                    values: values.iter().take(QUOTED).map(|value| clip(value)).collect(),
                                },
                                Severity::Fail,
                                format!(
                                    "the trust policy of {role} lets {PODS_SERVICE} in only with {} on `{}` and {}, which \
                                     is not so for {} on cluster {}",
                                    clip(operator),
                                    clip(key),
                                    quoted(values),
                                    self.account(),
                                    clip(&self.facts.cluster.name),
                                ),
                                remedy,
                                commands.clone(),
                            );
                        }
                    }
                    None => {
                        let mut trusts = policy.principals_for("sts:AssumeRole");
                        trusts.extend(policy.principals_for("sts:AssumeRoleWithWebIdentity"));
                        trusts.sort();
                        trusts.dedup();
                        let message = format!(
                            "the association names the role {role}, which does not trust {PODS_SERVICE} but {}",
                            quoted(&trusts)
                        );
                        self.add(
                            IdentityProblem::NoPodIdentityTrust { trusts },
                            Severity::Fail,
                            message,
                            remedy,
                            commands,
                        );
                    }
                }
            }
            (Trusted::Unknown { conditions }, _) | (_, Trusted::Unknown { conditions }) => {
                self.undecided(role_name, &conditions);
            }
        }
    }
}

/// The statement that Pod Identity needs (EKS user guide, `pod-id-role`).
fn pod_identity_statement() -> Value {
    json!({
        "Effect": "Allow",
        "Principal": {"Service": PODS_SERVICE},
        "Action": ["sts:AssumeRole", "sts:TagSession"],
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ISSUER: &str = "oidc.eks.eu-west-1.amazonaws.com/id/AAAA";
    const ROLE: &str = "arn:aws:iam::111122223333:role/demo-karpenter";

    fn provider(issuer: &str) -> String {
        format!("arn:aws:iam::111122223333:oidc-provider/{issuer}")
    }

    fn cluster() -> ClusterIdentity {
        ClusterIdentity {
            name: "demo".into(),
            region: "eu-west-1".into(),
            account: "111122223333".into(),
            partition: "aws".into(),
            issuer: Some(format!("https://{ISSUER}")),
            auto_mode: false,
        }
    }

    fn web_identity(provider: &str, condition: Value) -> Value {
        json!({"Effect": "Allow", "Principal": {"Federated": provider},
               "Action": "sts:AssumeRoleWithWebIdentity", "Condition": condition})
    }

    fn equals(sub: &str) -> Value {
        json!({"StringEquals": {(format!("{ISSUER}:sub")): sub, (format!("{ISSUER}:aud")): "sts.amazonaws.com"}})
    }

    const SUB: &str = "system:serviceaccount:kube-system:karpenter";

    fn policy(statements: Value) -> Seen<String> {
        Seen::Known(json!({"Version": "2012-10-17", "Statement": statements}).to_string())
    }

    /// IRSA as it should be.
    fn irsa() -> IdentityFacts {
        IdentityFacts {
            cluster: cluster(),
            namespace: "kube-system".into(),
            service_account_name: "karpenter".into(),
            deployment: Some("karpenter".into()),
            ready: true,
            host_network: false,
            env_role_arn: None,
            service_account: Seen::Known(ServiceAccount {
                namespace: "kube-system".into(),
                name: "karpenter".into(),
                role_arn: Some(ROLE.into()),
                audience: None,
            }),
            oidc_providers: Seen::Known(vec![
                provider("oidc.eks.eu-west-1.amazonaws.com/id/ZZZZ"),
                provider(ISSUER),
            ]),
            associations: Seen::Known(Vec::new()),
            agent: Seen::Absent,
            controller_on_fargate: Seen::Known(false),
            fargate_only: Seen::Known(false),
            role_trust: policy(json!([web_identity(&provider(ISSUER), equals(SUB))])),
        }
    }

    fn association(namespace: &str, name: &str) -> Association {
        Association {
            namespace: namespace.into(),
            service_account: name.into(),
            id: Some("a-0123456789abcdef0".into()),
            role_arn: Some(ROLE.into()),
            session_tags_disabled: None,
        }
    }

    /// Pod Identity as it should be.
    fn pod_identity() -> IdentityFacts {
        let mut facts = irsa();
        if let Seen::Known(account) = &mut facts.service_account {
            account.role_arn = None;
        }
        facts.oidc_providers = Seen::Known(Vec::new());
        facts.associations = Seen::Known(vec![
            association("kube-system", "other"),
            association("kube-system", "karpenter"),
        ]);
        facts.agent = Seen::Known(Agent {
            addon_status: Some("ACTIVE".into()),
            desired: Some(2),
            ready: Some(2),
        });
        facts.role_trust = policy(json!([pod_identity_statement()]));
        facts
    }

    /// Neither.
    fn bare() -> IdentityFacts {
        let mut facts = pod_identity();
        facts.associations = Seen::Known(Vec::new());
        facts.agent = Seen::Absent;
        facts.role_trust = Seen::Unknown("not asked".into());
        facts.ready = false;
        facts
    }

    /// The findings as `severity kind`, for tables.
    fn short(judgement: &IdentityJudgement) -> String {
        let kind = |finding: &IdentityFinding| {
            let value = serde_json::to_value(&finding.problem).expect("serializes");
            let severity = serde_json::to_value(finding.severity).expect("serializes");
            format!(
                "{} {}",
                severity.as_str().unwrap_or_default(),
                value["problem"].as_str().unwrap_or_default()
            )
        };
        judgement.findings.iter().map(kind).collect::<Vec<_>>().join(", ")
    }

    fn with(base: fn() -> IdentityFacts, change: impl FnOnce(&mut IdentityFacts)) -> IdentityJudgement {
        let mut facts = base();
        change(&mut facts);
        judge(&facts)
    }

    #[test]
    fn what_is_good_is_good() {
        for facts in [irsa(), pod_identity()] {
            let judgement = judge(&facts);
            assert!(judgement.is_good(), "{judgement:?}");
            assert_eq!(judgement.findings, []);
            assert_eq!(role_to_read(&facts).as_deref(), Some("demo-karpenter"));
        }
    }

    /// IRSA: each mistake told apart.
    #[test]
    fn irsa_mistakes() {
        let trust = |statements: Value| with(irsa, move |facts| facts.role_trust = policy(statements));
        let one = |condition: Value| trust(web_identity(&provider(ISSUER), condition));
        let other = "oidc.eks.eu-west-1.amazonaws.com/id/ZZZZ";
        let cases = [
            (one(equals(SUB)), ""),
            (
                one(equals("system:serviceaccount:karpenter:karpenter")),
                "fail sub-mismatch",
            ),
            (
                one(equals("system:serviceaccount:kube-system:*")),
                "fail sub-mismatch",
            ),
            (
                one(json!({"StringLike": {(format!("{ISSUER}:sub")): "system:serviceaccount:*:karpenter"}})),
                "note broad-trust",
            ),
            (
                one(json!({"StringLike": {(format!("{ISSUER}:sub")): "system:serviceaccount:karpenter:*"}})),
                "fail sub-mismatch",
            ),
            (one(json!({"StringLike": {(format!("{ISSUER}:sub")): SUB}})), ""),
            (
                one(json!({"StringEquals": {(format!("{ISSUER}:aud")): "sts.amazonaws.com"}})),
                "note broad-trust",
            ),
            (
                one(
                    json!({"StringEquals": {(format!("{ISSUER}:aud")): "sts.amazonaws.com.cn", (format!("{ISSUER}:sub")): SUB}}),
                ),
                "fail aud-mismatch",
            ),
            (
                one(
                    json!({"StringEquals": {(format!("{ISSUER}:aud")): "x", (format!("{ISSUER}:sub")): "y"}}),
                ),
                "fail aud-mismatch, fail sub-mismatch",
            ),
            (
                one(
                    json!({"StringEquals": {(format!("{other}:sub")): SUB, (format!("{ISSUER}:aud")): "sts.amazonaws.com"}}),
                ),
                "fail wrong-key-prefix",
            ),
            (
                one(json!({"StringEquals": {(format!("https://{ISSUER}:sub")): SUB}})),
                "fail wrong-key-prefix",
            ),
            (
                one(json!({"StringEquals": {"sub": SUB}})),
                "fail wrong-key-prefix",
            ),
            (
                one(json!({"StringEquals": {(format!("{}:SUB", ISSUER.to_uppercase())): SUB}})),
                "",
            ),
            (
                one(json!({"Bool": {"aws:SecureTransport": "true"}})),
                "unknown trust-undecided",
            ),
            (
                one(json!({"ForAnyValue:StringEquals": {"oidc.other.example/x:amr": "a"}})),
                "fail condition-unmet",
            ),
            (
                trust(web_identity(&provider(other), json!({}))),
                "fail other-issuer",
            ),
            (
                trust(json!([
                    web_identity(&provider(other), equals(SUB)),
                    web_identity(&provider(ISSUER), equals("x"))
                ])),
                "fail sub-mismatch",
            ),
            (
                trust(json!([
                    web_identity(&provider(ISSUER), equals("x")),
                    web_identity(&provider(ISSUER), equals(SUB))
                ])),
                "",
            ),
            (
                trust(
                    json!({"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}),
                ),
                "fail no-web-identity",
            ),
            (trust(pod_identity_statement()), "fail no-web-identity"),
            (trust(json!([])), "fail no-web-identity"),
            (
                trust(
                    json!([web_identity(&provider(ISSUER), equals(SUB)), {"Effect": "Deny", "Principal": "*", "Action": "*"}]),
                ),
                "fail denied",
            ),
            (
                with(irsa, |facts| facts.role_trust = Seen::Known(String::new())),
                "unknown trust-unreadable",
            ),
            (
                with(irsa, |facts| facts.role_trust = Seen::Absent),
                "fail role-missing",
            ),
            (
                with(irsa, |facts| {
                    facts.role_trust = Seen::Unknown("iam:GetRole denied".into())
                }),
                "unknown unread",
            ),
            (
                with(irsa, |facts| facts.oidc_providers = Seen::Known(Vec::new())),
                "fail provider-missing",
            ),
            (
                with(irsa, |facts| {
                    facts.oidc_providers = Seen::Unknown("denied".into())
                }),
                "unknown unread",
            ),
            (
                with(irsa, |facts| facts.associations = Seen::Unknown("denied".into())),
                "note unread",
            ),
            (
                with(irsa, |facts| facts.cluster.issuer = None),
                "unknown no-issuer",
            ),
            (
                with(irsa, |facts| facts.service_account = Seen::Absent),
                "fail service-account-missing",
            ),
            (
                with(irsa, |facts| {
                    facts.service_account = Seen::Unknown("denied".into())
                }),
                "unknown unread",
            ),
        ];
        for (index, (judgement, expected)) in cases.iter().enumerate() {
            assert_eq!(short(judgement), *expected, "case {index}: {judgement:#?}");
        }
    }

    #[test]
    fn roles_named_wrongly() {
        let named = |arn: &str| {
            let arn = arn.to_owned();
            with(irsa, move |facts| {
                if let Seen::Known(account) = &mut facts.service_account {
                    account.role_arn = Some(arn);
                }
            })
        };
        let cases = [
            ("demo-karpenter", "fail role-arn-malformed"),
            (
                "arn:aws:iam::111122223333:instance-profile/demo",
                "fail role-arn-malformed",
            ),
            ("arn:aws:iam::111122223333:role/", "fail role-arn-malformed"),
            (" arn:aws:iam::111122223333:role/demo", "fail role-arn-malformed"),
            ("arn:aws:iam::111122223333:role/demo ", "fail role-arn-malformed"),
            (
                "arn:aws:iam::444455556666:role/demo-karpenter",
                "unknown role-in-other-account",
            ),
            ("arn:aws:iam::111122223333:role/a/path/demo-karpenter", ""),
        ];
        for (arn, expected) in cases {
            assert_eq!(short(&named(arn)), expected, "{arn}");
        }
    }

    #[test]
    fn a_custom_audience_is_compared_with_the_trust() {
        let judgement = with(irsa, |facts| {
            if let Seen::Known(account) = &mut facts.service_account {
                account.audience = Some("other".into());
            }
        });
        assert_eq!(short(&judgement), "fail aud-mismatch");
    }

    /// Pod Identity: each mistake told apart.
    #[test]
    fn pod_identity_mistakes() {
        let trust =
            |statements: Value| with(pod_identity, move |facts| facts.role_trust = policy(statements));
        let allow = |action: Value, condition: Value| json!({"Effect": "Allow", "Principal": {"Service": "pods.eks.amazonaws.com"}, "Action": action, "Condition": condition});
        let both = || json!(["sts:AssumeRole", "sts:TagSession"]);
        let agent = |status: Option<&str>, desired, ready| {
            let agent = Agent {
                addon_status: status.map(str::to_owned),
                desired,
                ready,
            };
            with(pod_identity, move |facts| facts.agent = Seen::Known(agent))
        };
        let cases = [
            (
                trust(json!([
                    allow(json!("sts:AssumeRole"), json!({})),
                    allow(json!("sts:TagSession"), json!({}))
                ])),
                "",
            ),
            (trust(allow(json!("sts:*"), json!({}))), ""),
            (
                trust(allow(json!("sts:AssumeRole"), json!({}))),
                "fail tag-session-missing",
            ),
            (
                trust(web_identity(&provider(ISSUER), equals(SUB))),
                "fail no-pod-identity-trust",
            ),
            (trust(json!([])), "fail no-pod-identity-trust"),
            (
                trust(allow(
                    both(),
                    json!({"StringEquals": {"aws:SourceAccount": "111122223333"}, "ArnEquals": {"aws:SourceArn": "arn:aws:eks:eu-west-1:111122223333:cluster/demo"}}),
                )),
                "",
            ),
            (
                trust(allow(
                    both(),
                    json!({"StringEquals": {"aws:SourceAccount": "444455556666"}}),
                )),
                "fail condition-unmet",
            ),
            (
                trust(allow(
                    both(),
                    json!({"StringEquals": {"aws:RequestTag/kubernetes-namespace": "karpenter"}}),
                )),
                "fail condition-unmet",
            ),
            (
                trust(allow(
                    both(),
                    json!({"StringEquals": {"aws:RequestTag/kubernetes-namespace": "kube-system"}}),
                )),
                "",
            ),
            (
                trust(allow(
                    both(),
                    json!({"StringEquals": {"aws:PrincipalOrgID": "o-1"}}),
                )),
                "unknown trust-undecided",
            ),
            (
                with(pod_identity, |facts| facts.agent = Seen::Absent),
                "fail agent-missing",
            ),
            (
                with(pod_identity, |facts| facts.agent = Seen::Unknown("denied".into())),
                "unknown unread",
            ),
            (
                with(pod_identity, |facts| {
                    facts.agent = Seen::Absent;
                    facts.cluster.auto_mode = true;
                }),
                "",
            ),
            (agent(Some("ACTIVE"), None, None), ""),
            (agent(None, Some(3), Some(3)), ""),
            (agent(Some("ACTIVE"), Some(3), Some(2)), "warn agent-not-running"),
            (
                agent(Some("DEGRADED"), Some(3), Some(0)),
                "fail agent-not-running",
            ),
            (agent(Some("CREATE_FAILED"), None, None), "fail agent-not-running"),
            (agent(Some("CREATING"), None, None), "warn agent-not-running"),
            (
                with(pod_identity, |facts| facts.fargate_only = Seen::Known(true)),
                "fail fargate-without-agent",
            ),
            (
                with(pod_identity, |facts| {
                    facts.controller_on_fargate = Seen::Known(true)
                }),
                "fail fargate-without-agent",
            ),
            (
                with(pod_identity, |facts| facts.role_trust = Seen::Absent),
                "fail role-missing",
            ),
            (
                with(pod_identity, |facts| {
                    facts.associations = Seen::Known(vec![Association {
                        role_arn: None,
                        ..association("kube-system", "karpenter")
                    }])
                }),
                "unknown unread",
            ),
            (
                with(pod_identity, |facts| {
                    if let Seen::Known(account) = &mut facts.service_account {
                        account.role_arn = Some(format!("{ROLE}-old"))
                    }
                }),
                "note annotation-overruled",
            ),
        ];
        for (index, (judgement, expected)) in cases.iter().enumerate() {
            assert_eq!(short(judgement), *expected, "case {index}: {judgement:#?}");
        }
    }

    #[test]
    fn neither_says_which_to_do() {
        let first = |judgement: &IdentityJudgement| judgement.findings[0].commands.join("\n");
        let plain = judge(&bare());
        assert_eq!(short(&plain), "fail no-identity");
        assert!(
            first(&plain).contains("create-addon")
                && first(&plain).contains("create-pod-identity-association")
        );
        let fargate = with(bare, |facts| facts.fargate_only = Seen::Known(true));
        assert_eq!(short(&fargate), "fail no-identity");
        assert!(
            first(&fargate).contains("eksctl create iamserviceaccount"),
            "{fargate:#?}"
        );
        assert!(!first(&fargate).contains("pod-identity"));
        let cases = [
            (with(bare, |facts| facts.ready = true), "warn no-identity"),
            (with(bare, |facts| facts.host_network = true), "warn no-identity"),
            (
                with(bare, |facts| {
                    facts.ready = true;
                    facts.fargate_only = Seen::Known(true);
                }),
                "fail no-identity",
            ),
            (
                with(bare, |facts| {
                    facts.associations = Seen::Known(vec![association("karpenter", "karpenter")])
                }),
                "fail association-missing",
            ),
            (
                with(bare, |facts| {
                    facts.associations = Seen::Known(vec![association("default", "web")])
                }),
                "fail no-identity",
            ),
            (
                with(bare, |facts| facts.associations = Seen::Absent),
                "fail no-identity",
            ),
            (
                with(bare, |facts| facts.associations = Seen::Unknown("denied".into())),
                "unknown unread",
            ),
            (
                with(bare, |facts| {
                    facts.cluster.auto_mode = true;
                    facts.deployment = None;
                }),
                "note auto-mode",
            ),
            (
                with(bare, |facts| facts.cluster.auto_mode = true),
                "fail no-identity",
            ),
            (
                with(bare, |facts| {
                    facts.env_role_arn = Some(ROLE.into());
                    facts.oidc_providers = Seen::Known(vec![provider(ISSUER)]);
                    facts.role_trust = policy(web_identity(&provider(ISSUER), equals(SUB)));
                }),
                "",
            ),
        ];
        for (index, (judgement, expected)) in cases.iter().enumerate() {
            assert_eq!(short(judgement), *expected, "case {index}: {judgement:#?}");
        }
    }

    /// What a person reads, for the mistakes made most often.
    #[test]
    fn messages_and_commands() {
        let other = "oidc.eks.eu-west-1.amazonaws.com/id/ZZZZ";
        let judgements = [
            with(irsa, |facts| {
                facts.role_trust = policy(web_identity(
                    &provider(ISSUER),
                    equals("system:serviceaccount:karpenter:*"),
                ))
            }),
            with(irsa, |facts| {
                facts.role_trust = policy(web_identity(&provider(other), equals(SUB)))
            }),
            with(irsa, |facts| facts.role_trust = policy(pod_identity_statement())),
            with(irsa, |facts| facts.oidc_providers = Seen::Known(Vec::new())),
            with(pod_identity, |facts| {
                facts.role_trust = policy(
                    json!({"Effect": "Allow", "Principal": {"Service": "pods.eks.amazonaws.com"}, "Action": "sts:AssumeRole"}),
                )
            }),
            with(pod_identity, |facts| facts.fargate_only = Seen::Known(true)),
            judge(&bare()),
        ];
        let text: Vec<String> = judgements
            .iter()
            .flat_map(|judgement| &judgement.findings)
            .map(|finding| {
                format!(
                    "{}\n  {}\n  $ {}",
                    finding.message,
                    finding.remedy,
                    finding.commands.join("\n  $ ")
                )
            })
            .collect();
        insta::assert_snapshot!(text.join("\n\n"));
    }

    #[test]
    fn the_mended_trust_is_good() {
        // Whatever was wrong with the trust, the document in the command is accepted.
        let mistakes = [
            policy(json!([])),
            policy(web_identity(&provider(ISSUER), equals("x"))),
            policy(json!([
                web_identity(&provider("elsewhere.example/id/1"), equals(SUB)),
                pod_identity_statement()
            ])),
        ];
        for base in [irsa as fn() -> IdentityFacts, pod_identity] {
            for mistake in &mistakes {
                let mut facts = base();
                facts.role_trust = mistake.clone();
                let before = judge(&facts);
                let Some(finding) = before.findings.first() else {
                    continue;
                };
                let Some(command) = finding
                    .commands
                    .iter()
                    .find(|one| one.contains("update-assume-role-policy"))
                else {
                    continue;
                };
                let document = command
                    .split_once("--policy-document ")
                    .map(|(_, document)| document.trim_matches('\''));
                facts.role_trust = Seen::Known(document.unwrap_or_default().to_owned());
                assert!(judge(&facts).is_good(), "{:#?}", judge(&facts));
            }
        }
    }

    #[test]
    fn hostile_names_stay_words() {
        let judgement = with(bare, |facts| {
            facts.cluster.name = "demo; $(reboot) '\u{1b}[31m".into();
            facts.namespace = "-n".into();
        });
        let commands = &judgement.findings[0].commands;
        assert!(
            commands[0].contains("--cluster-name 'demo; $(reboot) '\\''[31m' --region"),
            "{}",
            commands[0]
        );
        assert!(commands.iter().all(|one| !one.contains('\u{1b}')));
    }

    #[test]
    fn facts_can_be_saved_and_loaded() {
        for facts in [irsa(), pod_identity(), bare()] {
            let text = serde_json::to_string(&facts).expect("serializes");
            let loaded: IdentityFacts = serde_json::from_str(&text).expect("deserializes");
            assert_eq!(judge(&loaded), judge(&facts));
            assert_eq!(loaded, facts);
        }
    }

    proptest! {
        /// A trust policy that could not be read, or that says nothing for this controller, is never good.
        #[test]
        fn no_false_comfort(text in "[\\[\\]{}\",:a-zA-Z*]{0,80}") {
            for base in [irsa as fn() -> IdentityFacts, pod_identity] {
                let judgement = with(base, |facts| facts.role_trust = Seen::Known(text.clone()));
                prop_assert!(!judgement.is_good());
            }
        }
    }
}
