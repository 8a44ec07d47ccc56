//! Whether Karpenter's controller gets AWS credentials.
//!
//! Sources: EKS user guide `pod-id-role`, `pod-id-agent-setup` (built into Auto Mode), `fargate`,
//! `iam-roles-for-service-accounts`; aws/karpenter-provider-aws issues 1666, 1313, 2636, 5054, 5784, 6359;
//! terraform-aws-modules/terraform-aws-eks issue 3029.

use serde_json::{Value, json};

use super::karpenter::{auto_mode, is_there};
use super::{Check, Group, Judgement, Status, lost_cluster};
use crate::facts::Facts;
use crate::facts::controller::{AGENT, Subject};
use crate::facts::eks::Cluster;
use crate::karpenter::identity::{Association, Mechanism};
use crate::model::{Command, Fact, Language, Observed, Target, Unknown};
use iam_policy::arn::Arn;
use iam_policy::condition::ContextValue;
use iam_policy::document::{Condition, PolicyDocument, Who, with_statement};
use iam_policy::evaluate::{ASSUME_ROLE, Decision, Judged, Request, WEB_IDENTITY, evaluate};
use iam_policy::kleene::Tri;
use iam_policy::principal::Requester;

/// The service that takes a role for Pod Identity, in every partition.
const PODS_SERVICE: &str = "pods.eks.amazonaws.com";
const TAG_SESSION: &str = "sts:TagSession";
/// The audience of IRSA's tokens where the service account names none.
const AUDIENCE: &str = "sts.amazonaws.com";
/// How many names a message quotes.
const QUOTED: usize = 5;

pub static CONTROLLER_IDENTITY: Check = Check {
    id: "controller-identity",
    group: Group::Karpenter,
    title: "Karpenter's controller can get the credentials of its role",
    needed,
    judge: controller_identity,
};

/// Once Karpenter is there, or about to be.
fn needed(facts: &Facts) -> bool {
    let own = facts.controller.running().is_some();
    own || facts.ask.installing || (is_there(facts) && !auto_mode(facts))
}

fn controller_identity(facts: &Facts) -> Judgement {
    if let Some(reason) = lost_cluster(facts) {
        return Judgement::ground_lost(reason);
    }
    let controller = &facts.controller;
    let Some(subject) = controller.subject(&facts.ask) else {
        return no_controller(facts);
    };
    if subject.planned.is_some_and(|planned| planned.name_is_generated) {
        return Judgement::undecided(
            "helm makes up the release's name when it installs, and the service account's name with it, so no association \
             and no trust policy can be looked up for it",
        )
        .headline("The controller's service account has no name yet")
        .fix("Name the release, or set serviceAccount.name.", []);
    }
    let cluster = match &facts.cluster.observed {
        Observed::Known(cluster) => cluster,
        Observed::Absent => return Judgement::ground_lost("the cluster was not found: see cluster-found"),
        Observed::Unknown(unknown) => {
            return Judgement::unknown("the cluster (its account and OIDC issuer)", unknown)
                .headline("The cluster could not be read, so the controller's role cannot be judged")
                .from(&facts.cluster);
        }
    };
    let mut judge = Judge {
        facts,
        target: &facts.target,
        cluster,
        mechanism: controller.mechanism(&subject),
        subject,
        found: Vec::new(),
    };
    judge.other_cluster();
    judge.identity();
    let running = judge.subject.running;
    let mut judgement = judge.judgement();
    if let Some(idle) = running.filter(|running| running.ready_replicas == 0 && running.replicas > 0) {
        judgement.message.push_str(&format!(
            "; the Deployment {}/{} has no ready pod now",
            idle.namespace, idle.name
        ));
    }
    let others = controller.deployments.known().map_or(0, |list| list.items.len());
    if others > 1 {
        judgement = judgement.evidence("deployments", others);
    }
    judgement
        .evidence("namespace", judge.subject.namespace)
        .evidence("serviceAccount", judge.subject.service_account)
        .evidence("mechanism", json!(judge.mechanism))
        .evidence(
            "findings",
            judge
                .found
                .iter()
                .map(|one| json!({"problem": one.problem}))
                .collect::<Vec<_>>(),
        )
        .from(&controller.deployments)
        .from(&controller.service_account)
        .from(&controller.associations)
        .from(&controller.role)
}

/// No controller is known: Auto Mode, nothing installed, not readable, or hidden.
fn no_controller(facts: &Facts) -> Judgement {
    let fact = &facts.controller.deployments;
    let auto = auto_mode(facts);
    // The cluster itself says that it does not know Karpenter's kinds.
    let not_served = facts.pools.node_pools.observed.is_absent() && facts.traces.claims.observed.is_absent();
    match &fact.observed {
        _ if facts.ask.installing => {
            // The pods' manifest is not known, or isn't Karpenter's.
            Judgement::skip("the chart about to be installed holds no Karpenter controller, or is not known")
        }
        Observed::Unknown(unknown) if !auto && (is_there(facts) || !not_served) => {
            Judgement::unknown("Karpenter's Deployment", unknown)
                .headline("Karpenter's Deployment could not be read")
        }
        _ if auto => Judgement::skip(
            "EKS Auto Mode runs Karpenter inside EKS with the cluster's own role: there is no controller of your own to judge",
        )
        .evidence("autoMode", true),
        _ if is_there(facts) => Judgement::warn(
            "there are node pools, but no Deployment labelled app.kubernetes.io/name=karpenter in any namespace: nothing launches \
             nodes, or the controller is installed in another way and can't be judged",
        )
        .headline("There are node pools, but no Karpenter controller was found")
        .fix(
            "See what runs the controller.",
            [facts.target.kubectl(&["get", "deployments", "-A", "-l", "app.kubernetes.io/name=karpenter"])],
        ),
        _ => Judgement::skip("Karpenter is not installed yet"),
    }
    .from(fact)
}

/// One thing that is wrong, or worth knowing.
#[derive(Default)]
struct Found<'a> {
    /// Kebab-case, for machines.
    problem: &'static str,
    status: Option<Status>,
    headline: &'static str,
    message: String,
    fix: String,
    commands: Vec<Command>,
    document: Option<Value>,
    /// Why it could not be read.
    unread: Option<(String, &'a Unknown)>,
}

struct Judge<'a> {
    facts: &'a Facts,
    target: &'a Target,
    cluster: &'a Cluster,
    subject: Subject<'a>,
    mechanism: Mechanism,
    found: Vec<Found<'a>>,
}

/// Quotes a few names for a message.
fn quoted(names: &[String]) -> String {
    let mut shown: Vec<String> = names
        .iter()
        .take(QUOTED)
        .map(|name| format!("`{name}`"))
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

/// Whom these statements name, each once.
fn named<'d>(statements: impl Iterator<Item = &'d Judged<'d>>) -> Vec<String> {
    let mut names: Vec<String> = statements
        .flat_map(|one| match &one.statement.who {
            Who::Principal(who) => who.iter().map(ToString::to_string).collect(),
            Who::NotPrincipal(_) | Who::Unsaid => Vec::new(),
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

fn true_of<T: PartialEq>(fact: &Fact<T>, is: impl Fn(&T) -> bool) -> bool {
    fact.known().is_some_and(is)
}

impl<'a> Judge<'a> {
    fn add(&mut self, status: Status, found: Found<'a>) {
        self.found.push(Found {
            status: Some(status),
            ..found
        });
    }

    fn unread(&mut self, what: impl Into<String>, why: &'a Unknown) {
        let what = what.into();
        self.add(
            Status::Unknown,
            Found {
                problem: "unread",
                headline: "What the controller's credentials depend on could not be read",
                message: format!("{what} could not be read: {why}"),
                unread: Some((what, why)),
                ..Found::default()
            },
        );
    }

    /// The findings as one judgement: the worst decides, and a note is only said.
    fn judgement(&mut self) -> Judgement {
        let rank = |status: Option<Status>| match status {
            Some(Status::Fail) => 0,
            Some(Status::Unknown) => 1,
            Some(Status::Warn) => 2,
            _ => 3,
        };
        self.found.sort_by_key(|one| rank(one.status));
        let what = format!(
            "service account {}/{}: {}",
            self.subject.namespace, self.subject.service_account, self.mechanism
        );
        let Some(worst) = self.found.first() else {
            return Judgement::pass(what);
        };
        let said: Vec<&str> = self.found.iter().map(|one| one.message.as_str()).collect();
        let said = said.join("; ");
        let judgement = match worst.status {
            Some(Status::Fail) => Judgement::fail(said),
            Some(Status::Warn) => Judgement::warn(said),
            Some(Status::Unknown) => match &worst.unread {
                Some((what, unknown)) => return Judgement::unknown(what, unknown).headline(worst.headline),
                None => Judgement::undecided(said),
            },
            _ => return Judgement::pass(format!("{what}; {said}")),
        };
        // The same fix stands at several findings of one policy.
        let (mut texts, mut commands, mut documents) = (Vec::new(), Vec::new(), Vec::new());
        for one in self.found.iter().filter(|one| rank(one.status) < 3) {
            if !one.fix.is_empty() && !texts.contains(&one.fix.as_str()) {
                texts.push(&one.fix);
                commands.extend(one.commands.iter().cloned());
                documents.extend(&one.document);
            }
        }
        let judgement = judgement.headline(worst.headline);
        if texts.is_empty() {
            return judgement;
        }
        documents
            .into_iter()
            .fold(judgement.fix(texts.join(" "), commands), |judgement, document| {
                let text = serde_json::to_string_pretty(document).unwrap_or_default();
                judgement.snippet(Language::Json, text)
            })
    }

    // What is known of the controller.

    /// `NAMESPACE/NAME` of the service account.
    fn account(&self) -> String {
        format!("{}/{}", self.subject.namespace, self.subject.service_account)
    }

    fn account_id(&self) -> &str {
        self.cluster.account().unwrap_or_default()
    }

    fn arn(&self, resource: &str) -> String {
        format!(
            "arn:{}:iam::{}:{resource}",
            self.target.partition,
            self.account_id()
        )
    }

    /// The role that Karpenter's guide makes, for fixes where none is known.
    fn suggested_role(&self) -> String {
        self.arn(&format!("role/{}-karpenter", self.cluster.name))
    }

    fn on_fargate(&self) -> bool {
        self.fargate_only()
            || true_of(&self.facts.controller.pods, |pods| {
                pods.total > 0 && pods.on_fargate == pods.total
            })
    }

    fn fargate_only(&self) -> bool {
        true_of(&self.facts.traces.nodes, |nodes| {
            nodes.is_fargate_only() == Some(true)
        })
    }

    /// The issuer without its scheme: what the condition keys begin with and the provider's ARN ends with.
    fn issuer(&self) -> Option<&'a str> {
        let issuer = self.cluster.oidc_issuer.as_deref()?;
        let issuer = issuer
            .strip_prefix("https://")
            .unwrap_or(issuer)
            .trim_end_matches('/');
        (!issuer.is_empty()).then_some(issuer)
    }

    fn audience(&self) -> String {
        let account = self.facts.controller.account(&self.subject);
        let named = account.known().and_then(|account| account.audience.clone());
        named.unwrap_or_else(|| AUDIENCE.to_owned())
    }

    fn association(&self) -> Option<&'a Association> {
        self.facts.controller.own_association(&self.subject)
    }

    // Commands.

    fn eks(&self, words: &[&str], more: &[&str]) -> Command {
        let words: Vec<&str> = ["eks"]
            .iter()
            .chain(words)
            .chain(&["--cluster-name", &self.cluster.name])
            .chain(more)
            .copied()
            .collect();
        self.target.aws(&words)
    }

    fn create_service_account(&self, role_name: &str) -> Command {
        let policy = self.arn(&format!("policy/KarpenterControllerPolicy-{}", self.cluster.name));
        self.target.eksctl(&[
            "create",
            "iamserviceaccount",
            "--cluster",
            &self.cluster.name,
            "--namespace",
            self.subject.namespace,
            "--name",
            self.subject.service_account,
            "--role-name",
            role_name,
            "--attach-policy-arn",
            &policy,
            "--role-only",
            "--approve",
        ])
    }

    fn associate_provider(&self) -> Command {
        self.target.eksctl(&[
            "utils",
            "associate-iam-oidc-provider",
            "--cluster",
            &self.cluster.name,
            "--approve",
        ])
    }

    /// The IRSA role and, where it is missing, the provider.
    fn irsa_commands(&self, role_name: &str) -> Vec<Command> {
        let missing = self.facts.controller.oidc_provider.known().is_none();
        let provider = missing.then(|| self.associate_provider());
        provider
            .into_iter()
            .chain([self.create_service_account(role_name)])
            .collect()
    }

    fn create_association(&self, role_arn: &str) -> Command {
        self.eks(
            &["create-pod-identity-association"],
            &[
                "--namespace",
                self.subject.namespace,
                "--service-account",
                self.subject.service_account,
                "--role-arn",
                role_arn,
            ],
        )
    }

    fn create_agent(&self) -> Command {
        self.eks(&["create-addon"], &["--addon-name", AGENT])
    }

    /// Pods get their kind of credentials when they are made, so a running controller has to be made anew.
    fn restart(&self) -> Option<Command> {
        let running = self.subject.running?;
        let deployment = format!("deployment/{}", running.name);
        Some(
            self.target
                .kubectl(&["-n", &running.namespace, "rollout", "restart", &deployment]),
        )
    }

    fn show_trust(&self, role_name: &str) -> Command {
        let query = ["--query", "Role.AssumeRolePolicyDocument"];
        self.target
            .aws(&["iam", "get-role", "--role-name", role_name, query[0], query[1]])
    }

    /// The helm values that name the role.
    fn annotate_by_helm(role_arn: &str) -> String {
        format!(
            "Give the role to the chart: --set 'serviceAccount.annotations.eks\\.amazonaws\\.com/role-arn={role_arn}'."
        )
    }

    /// Adds a statement to the trust policy, keeping what is there.
    fn trust_fix(
        &self,
        role_name: &str,
        trust: &str,
        statement: Value,
    ) -> (String, Vec<Command>, Option<Value>) {
        match with_statement(trust, statement.clone()) {
            Some(document) => (
                "Add a statement to the role's trust policy: save the document below, which keeps what is there, as \
                 trust-policy.json."
                    .to_owned(),
                vec![self.target.aws(&[
                    "iam",
                    "update-assume-role-policy",
                    "--role-name",
                    role_name,
                    "--policy-document",
                    "file://trust-policy.json",
                ])],
                Some(document),
            ),
            None => (
                "Add the statement below to the role's trust policy by hand.".to_owned(),
                vec![self.show_trust(role_name)],
                Some(statement),
            ),
        }
    }

    // The ways.

    /// While installing, cluster-matches-chart says it.
    fn other_cluster(&mut self) {
        let named = self.subject.deployment.settings.cluster_name.as_deref();
        let named = named.filter(|named| *named != self.cluster.name && self.subject.planned.is_none());
        if let Some(named) = named {
            self.add(
                Status::Fail,
                Found {
                    problem: "other-cluster",
                    headline: "The controller is set to work on another cluster",
                    message: format!(
                        "the controller is set to work on cluster {named} (CLUSTER_NAME), but runs in {}",
                        self.cluster.name
                    ),
                    fix: "Set settings.clusterName of the chart to this cluster.".to_owned(),
                    ..Found::default()
                },
            );
        }
    }

    fn identity(&mut self) {
        let missing = self.account_missing();
        match self.mechanism.clone() {
            Mechanism::Environment { variable } => self.by_environment(&variable),
            Mechanism::PodIdentity { role_arn } => self.pod_identity(role_arn.as_deref()),
            Mechanism::Irsa { role_arn, .. } => self.irsa(&role_arn),
            // One cause is reported once.
            Mechanism::Neither if missing => {}
            Mechanism::Neither => self.neither(),
        }
        if self.subject.deployment.settings.env_from {
            self.env_from();
        }
    }

    /// Whether the service account is missing where it should be there.
    fn account_missing(&mut self) -> bool {
        let made = self
            .subject
            .planned
            .is_some_and(|planned| planned.service_account.is_some());
        let missing = !made && self.facts.controller.account(&self.subject).is_absent();
        if missing {
            let account = self.account();
            let command = self.target.kubectl(&[
                "-n",
                self.subject.namespace,
                "create",
                "serviceaccount",
                self.subject.service_account,
            ]);
            self.add(
                Status::Fail,
                Found {
                    problem: "service-account-missing",
                    headline: "The controller cannot start: its service account does not exist",
                    message: format!(
                        "the controller's service account {account} does not exist, so its pods can't start"
                    ),
                    fix: "Install the chart with serviceAccount.create=true, or create the service account."
                        .to_owned(),
                    commands: vec![command],
                    ..Found::default()
                },
            );
        }
        missing
    }

    /// The AWS SDK takes them before any role.
    fn by_environment(&mut self, variable: &str) {
        self.add(
            Status::Warn,
            Found {
                problem: "credentials-in-environment",
                headline: "The controller has AWS credentials in its environment, which cannot be judged here",
                message: format!(
                    "the controller takes its credentials from {variable} in its environment; the AWS SDK uses them before any \
                     role, and whose they are is not known here"
                ),
                ..Found::default()
            },
        );
    }

    /// What is in a ConfigMap or Secret is not read: it may hold credentials, so nothing fails for want of others.
    fn env_from(&mut self) {
        let mut doubtful = false;
        for one in &mut self.found {
            let certain = matches!(one.problem, "service-account-missing" | "other-cluster");
            if one.status == Some(Status::Fail) && !certain {
                one.status = Some(Status::Unknown);
                doubtful = true;
            }
        }
        if doubtful {
            self.found.insert(
                0,
                Found {
                    problem: "env-from",
                    status: Some(Status::Unknown),
                    headline: "Whether the controller gets AWS credentials is unknown: envFrom may hold them",
                    message: "the controller has envFrom, which may hold AWS credentials and is not read"
                        .to_owned(),
                    ..Found::default()
                },
            );
        }
    }

    fn neither(&mut self) {
        let controller = &self.facts.controller;
        let planned = self
            .subject
            .planned
            .is_some_and(|planned| planned.service_account.is_some());
        let account = controller.service_account.observed.unknown().filter(|_| !planned);
        let unread = account.is_some() || controller.associations.observed.unknown().is_some();
        if let Some(why) = account {
            self.unread(format!("the service account {}", self.account()), why);
        }
        if let Some(why) = controller.associations.observed.unknown() {
            self.unread("the cluster's Pod Identity associations", why);
        }
        if unread {
            return;
        }
        let near = self.near_associations();
        let mut message = format!(
            "the service account {} has no annotation eks.amazonaws.com/role-arn and no Pod Identity association",
            self.account()
        );
        if !near.is_empty() {
            message.push_str(&format!("; there are associations for {}", quoted(&near)));
        }
        let role_arn = self.suggested_role();
        let headline = "The controller gets no AWS credentials: neither IRSA nor Pod Identity";
        if self.on_fargate() {
            message.push_str("; on Fargate there is no instance role to fall back to");
            let commands = self.irsa_commands(&format!("{}-karpenter", self.cluster.name));
            let fix = format!(
                "Use IRSA: on Fargate no Pod Identity agent runs. The commands create the role with the controller policy of \
                 Karpenter's CloudFormation. {}",
                Self::annotate_by_helm(&role_arn)
            );
            return self.add(
                Status::Fail,
                Found {
                    problem: "no-identity",
                    headline,
                    message,
                    fix,
                    commands,
                    ..Found::default()
                },
            );
        }
        let agent = controller.agent_pods.known().is_none() && !self.cluster.auto_mode;
        let commands = agent
            .then(|| self.create_agent())
            .into_iter()
            .chain([self.create_association(&role_arn)])
            .chain(self.restart())
            .collect();
        let deployment = self.subject.deployment;
        let runs = self.subject.planned.is_none() && deployment.ready_replicas > 0;
        if runs {
            message.push_str(
                "; the controller runs all the same, so it has other credentials, mostly the role of the instance it is on",
            );
        } else if deployment.host_network {
            message.push_str("; with hostNetwork it can take the role of the instance it is on");
        }
        let works = runs || deployment.host_network;
        self.add(
            if works { Status::Warn } else { Status::Fail },
            Found {
                problem: if near.is_empty() { "no-identity" } else { "association-missing" },
                headline: if works {
                    "The controller has no role of its own, and uses other credentials"
                } else {
                    headline
                },
                message,
                fix: format!(
                    "Use Pod Identity: give the controller role an association (here {role_arn}, as Karpenter's guide names it)."
                ),
                commands,
                ..Found::default()
            },
        );
    }

    /// Associations that were probably meant for this controller.
    fn near_associations(&self) -> Vec<String> {
        let all = self
            .facts
            .controller
            .associations
            .known()
            .map_or(&[][..], Vec::as_slice);
        let near = all.iter().filter(|one| {
            (one.namespace == self.subject.namespace || one.service_account == self.subject.service_account)
                && (one.service_account.contains("karpenter") || one.namespace.contains("karpenter"))
        });
        near.map(|one| format!("{}/{}", one.namespace, one.service_account))
            .take(QUOTED + 1)
            .collect()
    }

    /// The role's ARN, and its trust policy as text and read, if there is one to judge.
    fn role(&mut self, role_arn: &str) -> Option<(Arn, &'a str, PolicyDocument)> {
        let arn = role_arn
            .parse::<Arn>()
            .ok()
            .filter(|arn| arn.service == "iam" && arn.account_id().is_some() && arn.role_name().is_some());
        let Some(arn) = arn else {
            self.add(
                Status::Fail,
                Found {
                    problem: "role-arn-malformed",
                    headline: "The controller's service account names something that is not a role",
                    message: format!(
                        "`{role_arn}` is not the ARN of a role (arn:aws:iam::ACCOUNT:role/NAME)"
                    ),
                    fix: Self::annotate_by_helm(&self.suggested_role()),
                    ..Found::default()
                },
            );
            return None;
        };
        if arn.account != self.account_id() || arn.partition.as_str() != self.target.partition {
            let (partition, account) = (arn.partition, &arn.account);
            self.add(
                Status::Unknown,
                Found {
                    problem: "role-in-other-account",
                    headline: "The controller's role is in another account, and cannot be read from here",
                    message: format!(
                        "the role {role_arn} is in account {account} ({partition}), the cluster in {} ({}): its trust policy \
                         can't be read from here",
                        self.account_id(),
                        self.target.partition
                    ),
                    fix: format!(
                        "If that is intended, account {account} needs an OIDC provider for this cluster's issuer. If not, the \
                         account in the ARN is wrong."
                    ),
                    ..Found::default()
                },
            );
            return None;
        }
        let name = arn.role_name().unwrap_or_default();
        match &self.facts.controller.role.observed {
            Observed::Known(role) => match PolicyDocument::parse(&role.trust) {
                Ok(document) => return Some((arn, &role.trust, document)),
                Err(error) => {
                    let commands = vec![self.show_trust(name)];
                    self.add(
                        Status::Unknown,
                        Found {
                            problem: "trust-unreadable",
                            headline: "The trust policy of the controller's role could not be understood",
                            message: format!(
                                "the trust policy of the role {name} could not be understood: {error}"
                            ),
                            fix: "Look at it as IAM has it.".to_owned(),
                            commands,
                            ..Found::default()
                        },
                    );
                }
            },
            Observed::Absent => self.role_missing(role_arn, name),
            Observed::Unknown(why) => self.unread(format!("the role {role_arn}"), why),
        }
        None
    }

    fn role_missing(&mut self, role_arn: &str, name: &str) {
        let pod_identity = matches!(self.mechanism, Mechanism::PodIdentity { .. }) && !self.on_fargate();
        let (more, commands, document) = if pod_identity {
            let command = self.target.aws(&[
                "iam",
                "create-role",
                "--role-name",
                name,
                "--assume-role-policy-document",
                "file://trust-policy.json",
            ]);
            let document = json!({"Version": "2012-10-17", "Statement": [pod_identity_statement()]});
            (
                " Save the document below as trust-policy.json first.",
                vec![command],
                Some(document),
            )
        } else {
            ("", vec![self.create_service_account(name)], None)
        };
        self.add(
            Status::Fail,
            Found {
                problem: "role-missing",
                headline: "The controller's role does not exist",
                message: format!("the controller's role {role_arn} does not exist"),
                fix: format!("Create it with Karpenter's controller policy, or correct the ARN.{more}"),
                commands,
                document,
                ..Found::default()
            },
        );
    }

    // IRSA.

    fn irsa(&mut self, role_arn: &str) {
        let controller = &self.facts.controller;
        if let Some(why) = controller.associations.observed.unknown() {
            self.found.push(Found {
                problem: "associations-unread",
                message: format!(
                    "the cluster's Pod Identity associations, which would overrule the annotation, could not be read: {why}"
                ),
                ..Found::default()
            });
        }
        let Some(issuer) = self.issuer() else {
            return self.add(
                Status::Unknown,
                Found {
                    problem: "no-issuer",
                    headline: "The cluster shows no OIDC issuer to compare the role's trust policy with",
                    message:
                        "DescribeCluster shows no OIDC issuer, so no trust policy can be compared with it"
                            .to_owned(),
                    ..Found::default()
                },
            );
        };
        let provider = self.arn(&format!("oidc-provider/{issuer}"));
        match &controller.oidc_provider.observed {
            Observed::Known(found) if found.arn == provider => {
                self.audience_missing(&found.audiences, &provider)
            }
            Observed::Known(_) | Observed::Absent => {
                let commands = vec![self.associate_provider()];
                self.add(
                    Status::Fail,
                    Found {
                        problem: "provider-missing",
                        headline: "The controller cannot get its role: IAM does not know this cluster's OIDC issuer",
                        message: format!("IAM has no OIDC provider for this cluster's issuer: {provider} is missing"),
                        fix: "Create it. It grants nothing by itself.".to_owned(),
                        commands,
                        ..Found::default()
                    },
                );
            }
            Observed::Unknown(why) => self.unread("the account's OIDC provider for this cluster", why),
        }
        if let Some((role, trust, document)) = self.role(role_arn) {
            self.web_identity(&role, trust, &document, issuer, provider);
        }
    }

    /// IAM's provider is there, but does not take tokens for the audience that the controller's token is for.
    fn audience_missing(&mut self, audiences: &[String], provider: &str) {
        let audience = self.audience();
        if audiences.contains(&audience) {
            return;
        }
        let command = self.target.aws(&[
            "iam",
            "add-client-id-to-open-id-connect-provider",
            "--open-id-connect-provider-arn",
            provider,
            "--client-id",
            &audience,
        ]);
        self.add(
            Status::Fail,
            Found {
                problem: "provider-audience",
                headline: "The account's OIDC provider does not take the controller's tokens",
                message: format!(
                    "the OIDC provider {provider} takes tokens for {} only, the controller's token is for {audience}",
                    if audiences.is_empty() { "no audience".to_owned() } else { audiences.join(", ") }
                ),
                fix: "Add the audience to the provider.".to_owned(),
                commands: vec![command],
                ..Found::default()
            },
        );
    }

    fn web_identity(
        &mut self,
        role: &Arn,
        trust: &str,
        document: &PolicyDocument,
        issuer: &str,
        provider: String,
    ) {
        let name = role.role_name().unwrap_or_default();
        let subject = format!(
            "system:serviceaccount:{}:{}",
            self.subject.namespace, self.subject.service_account
        );
        let token = Token {
            sub_key: format!("{issuer}:sub"),
            aud_key: format!("{issuer}:aud"),
            audience: self.audience(),
            subject,
        };
        let (sub, aud) = (token.sub_key.to_lowercase(), token.aud_key.to_lowercase());
        let requester = Requester::Federated(provider.clone());
        let request = Request {
            requester: &requester,
            action: WEB_IDENTITY,
            resource: role,
            context: &|key| match key {
                _ if key == sub => Some(ContextValue::one(&token.subject)),
                _ if key == aud => Some(ContextValue::one(&token.audience)),
                "aws:currenttime" => Some(ContextValue::one(self.facts.gathered_at.to_string())),
                _ => None,
            },
        };
        let decision = evaluate(document, &request);
        if decision.verdict == Tri::True {
            return self.note_broad_trust(name, &decision, &token);
        }
        if self.not_decided(name, &decision) {
            return;
        }
        let fix = self.trust_fix(
            name,
            trust,
            json!({
                "Effect": "Allow",
                "Principal": {"Federated": provider},
                "Action": WEB_IDENTITY,
                "Condition": {"StringEquals": {&token.aud_key: &token.audience, &token.sub_key: &token.subject}},
            }),
        );
        let for_tokens: Vec<&Judged<'_>> = decision.allows().filter(|one| one.action != Tri::False).collect();
        // The nearest statement tells most; the others are counted.
        let nearest = for_tokens
            .iter()
            .rev()
            .max_by_key(|one| (one.is_about().rank(), std::cmp::Reverse(one.unmet.len())));
        let Some(nearest) = nearest else {
            return self.no_web_identity(role, &decision, fix);
        };
        let fail = |problem, message| Found {
            problem,
            headline: "The controller cannot get its role: the trust policy does not admit it",
            message,
            fix: fix.0.clone(),
            commands: fix.1.clone(),
            document: fix.2.clone(),
            ..Found::default()
        };
        if nearest.is_about() == Tri::False {
            let found = named(for_tokens.iter().copied());
            let message = format!(
                "the role {name} trusts {}, not this cluster's issuer ({provider}): another cluster, or one of this name that \
                 was deleted and created again",
                quoted(&found)
            );
            return self.add(Status::Fail, fail("other-issuer", message));
        }
        let among = match for_tokens.len() {
            1 => String::new(),
            several => format!(
                " (the nearest of {several} statements, number {})",
                nearest.statement.index + 1
            ),
        };
        for condition in &nearest.unmet {
            let (problem, message) = token.explain(condition, &format!("the trust policy of {name}{among}"));
            self.add(Status::Fail, fail(problem, message));
        }
    }

    /// A Deny, or what can't be known, is said; false where an Allow is missing.
    fn not_decided(&mut self, role_name: &str, decision: &Decision<'_>) -> bool {
        if let Some(deny) = decision.denied_by().filter(|_| decision.deny == Tri::True) {
            let commands = vec![self.show_trust(role_name)];
            self.add(
                Status::Fail,
                Found {
                    problem: "denied",
                    headline: "The controller cannot get its role: the trust policy denies it",
                    message: format!(
                        "{} of the trust policy of {role_name} denies the controller",
                        deny.statement.name()
                    ),
                    fix: "Remove or narrow that Deny.".to_owned(),
                    commands,
                    ..Found::default()
                },
            );
            return true;
        }
        if decision.verdict != Tri::Unknown {
            return false;
        }
        let logs = self.subject.running.map(|running| {
            let deployment = format!("deployment/{}", running.name);
            self.target
                .kubectl(&["-n", &running.namespace, "logs", &deployment, "--tail", "50"])
        });
        self.add(
            Status::Unknown,
            Found {
                problem: "trust-undecided",
                headline: "Unknown whether the controller can get its role: only a real request shows it",
                message: format!(
                    "unknown whether the role {role_name} admits the controller: {}",
                    decision.unknown().join("; ")
                ),
                fix: "See whether the controller's log has AccessDenied for sts.".to_owned(),
                commands: logs.into_iter().collect(),
                ..Found::default()
            },
        );
        true
    }

    fn no_web_identity(
        &mut self,
        role: &Arn,
        decision: &Decision<'_>,
        (fix, commands, document): (String, Vec<Command>, Option<Value>),
    ) {
        let name = role.role_name().unwrap_or_default();
        let trusts = named(decision.allows());
        let trusts_service = |service: &str| trusts.iter().any(|one| one.ends_with(&format!(" {service}")));
        let mut message = format!(
            "the role {name} admits no service account: no statement allows sts:AssumeRoleWithWebIdentity"
        );
        if !trusts.is_empty() {
            message.push_str(&format!("; it trusts {}", quoted(&trusts)));
        }
        let (fix, commands, document) = if trusts_service(PODS_SERVICE) && !self.on_fargate() {
            let commands = [self.create_association(&role.to_string())]
                .into_iter()
                .chain(self.restart());
            (
                "The role is made for Pod Identity: give it an association, and drop the annotation."
                    .to_owned(),
                commands.collect(),
                None,
            )
        } else if trusts_service("ec2.amazonaws.com") {
            message.push_str(" - this is the role of the nodes, not of the controller");
            (
                "Name the controller's own role in the annotation; the role of the nodes belongs in the EC2NodeClass.".to_owned(),
                Vec::new(),
                None,
            )
        } else {
            (fix, commands, document)
        };
        self.add(
            Status::Fail,
            Found {
                problem: "no-web-identity",
                headline: "The controller cannot get its role: the trust policy does not admit it",
                message,
                fix,
                commands,
                document,
                ..Found::default()
            },
        );
    }

    fn note_broad_trust(&mut self, role_name: &str, decision: &Decision<'_>, token: &Token) {
        let Some(allow) = decision.nearest() else { return };
        let on_subject = || {
            let all = allow.statement.conditions.iter();
            all.filter(|one| one.key.eq_ignore_ascii_case(&token.sub_key))
        };
        if on_subject().any(|one| one.values.iter().all(|value| !value.contains(['*', '?']))) {
            return;
        }
        let patterns: Vec<String> = on_subject().flat_map(|one| one.values.clone()).collect();
        let who = match patterns.as_slice() {
            [] => "every service account of the cluster".to_owned(),
            patterns => format!("every service account that matches {}", quoted(patterns)),
        };
        self.found.push(Found {
            problem: "broad-trust",
            message: format!(
                "the role {role_name} works, but admits {who}, not only `{}`",
                token.subject
            ),
            ..Found::default()
        });
    }

    // Pod Identity.

    fn pod_identity(&mut self, role_arn: Option<&str>) {
        let account = self.facts.controller.account(&self.subject);
        let annotated = account.known().and_then(|account| account.role_arn.as_deref());
        if let Some(annotated) = annotated.filter(|annotated| role_arn.is_some_and(|role| role != *annotated))
        {
            self.found.push(Found {
                problem: "annotation-overruled",
                message: format!(
                    "the annotation with {annotated} has no effect on new pods: the Pod Identity association overrules it"
                ),
                ..Found::default()
            });
        }
        self.agent(role_arn);
        let Some(role_arn) = role_arn else {
            let what = format!("which role the association of {} names", self.account());
            return match self.facts.controller.association.observed.unknown() {
                Some(why) => self.unread(what, why),
                None => self.add(
                    Status::Unknown,
                    Found {
                        problem: "unread",
                        headline: "Which role the controller's association names could not be read",
                        message: format!("{what} was not in EKS's answer"),
                        ..Found::default()
                    },
                ),
            };
        };
        if let Some((role, trust, document)) = self.role(role_arn) {
            self.pod_identity_trust(&role, trust, &document);
        }
    }

    fn agent(&mut self, role_arn: Option<&str>) {
        if self.on_fargate() {
            return self.agent_on_fargate(role_arn);
        }
        if self.cluster.auto_mode {
            return;
        }
        // The agent runs as that DaemonSet, whoever installed it.
        let (addon, pods) = (&self.facts.controller.addon, &self.facts.controller.agent_pods);
        let status = addon.known().map(String::as_str);
        let (ready, desired) = match (&pods.observed, status) {
            (Observed::Known(pods), _) => (Some(pods.ready), Some(pods.desired)),
            (_, Some(_)) => (None, None),
            (Observed::Absent, None) => {
                let commands = [self.create_agent()].into_iter().chain(self.restart()).collect();
                return self.add(
                    Status::Fail,
                    Found {
                        problem: "agent-missing",
                        headline: "The controller gets no credentials: the Pod Identity agent is not installed",
                        message: format!(
                            "there is an association, but no Pod Identity agent: neither the add-on {AGENT} nor its DaemonSet"
                        ),
                        fix: "Install the add-on.".to_owned(),
                        commands,
                        ..Found::default()
                    },
                );
            }
            (Observed::Unknown(why), None) => return self.unread("whether the Pod Identity agent runs", why),
        };
        let none_ready = ready == Some(0);
        let failed = status.is_some_and(|status| status.contains("FAILED"));
        let degraded = status.is_some_and(|status| status != "ACTIVE");
        if !(none_ready || failed || degraded || ready < desired) {
            return;
        }
        let mut parts: Vec<String> = status
            .map(|status| format!("the add-on is {status}"))
            .into_iter()
            .collect();
        parts.extend(
            ready
                .zip(desired)
                .map(|(ready, desired)| format!("{ready} of {desired} pods are ready")),
        );
        // With a ready pod somewhere, the controller's node may be a good one.
        let somewhere = ready.is_some_and(|ready| ready > 0) || !(none_ready || failed);
        let commands = vec![
            self.target.kubectl(&[
                "-n",
                "kube-system",
                "get",
                "pods",
                "-l",
                &format!("app.kubernetes.io/name={AGENT}"),
                "-o",
                "wide",
            ]),
            self.eks(&["describe-addon"], &["--addon-name", AGENT]),
        ];
        self.add(
            if somewhere { Status::Warn } else { Status::Fail },
            Found {
                problem: "agent-not-running",
                headline: "The Pod Identity agent does not run everywhere",
                message: format!(
                    "the Pod Identity agent does not run everywhere: {}",
                    parts.join(", ")
                ),
                fix: "See why its pods don't run.".to_owned(),
                commands,
                ..Found::default()
            },
        );
    }

    fn agent_on_fargate(&mut self, role_arn: Option<&str>) {
        let role = role_arn.map_or_else(|| self.suggested_role(), str::to_owned);
        let name = format!("{}-irsa", iam_policy::arn::role_name(&role));
        let mut commands = self.irsa_commands(&name);
        if let Some(id) = self.association().and_then(|own| own.id.as_deref()) {
            commands.push(self.eks(&["delete-pod-identity-association"], &["--association-id", id]));
        }
        commands.extend(self.restart());
        let why = if self.fargate_only() {
            "this cluster has Fargate nodes only, where no agent runs"
        } else {
            "the controller runs on Fargate, where no agent runs"
        };
        self.add(
            Status::Fail,
            Found {
                problem: "fargate-without-agent",
                headline: "The controller gets no credentials: Pod Identity does not work on Fargate",
                message: format!("the controller's role comes from Pod Identity, but {why}"),
                fix: format!(
                    "Use IRSA instead, and delete the association, which would overrule it. {}",
                    Self::annotate_by_helm(&self.arn(&format!("role/{name}")))
                ),
                commands,
                ..Found::default()
            },
        );
    }

    /// What the request of the Pod Identity agent carries (EKS user guide, `pod-id-abac`).
    fn pod_identity_context(&self, key: &str) -> Option<ContextValue> {
        let untagged = self
            .association()
            .is_some_and(|one| one.session_tags_disabled == Some(true));
        let value = match key.strip_prefix("aws:requesttag/") {
            Some(
                "eks-cluster-arn"
                | "eks-cluster-name"
                | "kubernetes-namespace"
                | "kubernetes-service-account",
            ) if untagged => {
                return Some(ContextValue::Absent);
            }
            Some("eks-cluster-arn") => self.cluster.arn.clone(),
            Some("eks-cluster-name") => self.cluster.name.clone(),
            Some("kubernetes-namespace") => self.subject.namespace.to_owned(),
            Some("kubernetes-service-account") => self.subject.service_account.to_owned(),
            _ => match key {
                "aws:sourceaccount" => self.account_id().to_owned(),
                "aws:sourcearn" => self.cluster.arn.clone(),
                "aws:currenttime" => self.facts.gathered_at.to_string(),
                _ => return None,
            },
        };
        Some(ContextValue::one(value))
    }

    fn pod_identity_trust(&mut self, role: &Arn, trust: &str, document: &PolicyDocument) {
        let name = role.role_name().unwrap_or_default();
        let requester = Requester::Service(PODS_SERVICE.to_owned());
        let ask = |action| {
            evaluate(
                document,
                &Request {
                    requester: &requester,
                    action,
                    resource: role,
                    context: &|key| self.pod_identity_context(key),
                },
            )
        };
        let (assume, tag) = (ask(ASSUME_ROLE), ask(TAG_SESSION));
        if self.not_decided(name, &assume) || (assume.verdict == Tri::True && self.not_decided(name, &tag)) {
            return;
        }
        let (fix, commands, snippet) = self.trust_fix(name, trust, pod_identity_statement());
        let fail = |problem, message| Found {
            problem,
            headline: "The controller cannot get its role: the trust policy does not admit Pod Identity",
            message,
            fix: fix.clone(),
            commands: commands.clone(),
            document: snippet.clone(),
            ..Found::default()
        };
        let about = assume
            .allows()
            .find(|one| one.action == Tri::True && one.is_about() == Tri::True && !one.unmet.is_empty());
        match (assume.verdict, tag.verdict, about) {
            (Tri::True, Tri::True, _) => {}
            (Tri::True, ..) => self.add(
                Status::Fail,
                fail(
                    "tag-session-missing",
                    format!(
                        "the role {name} allows {PODS_SERVICE} sts:AssumeRole but not sts:TagSession; Pod Identity needs both"
                    ),
                ),
            ),
            (_, _, Some(about)) => {
                let unmet: Vec<String> = about.unmet.iter().map(ToString::to_string).collect();
                let message = format!(
                    "the trust policy of {name} admits {PODS_SERVICE} only with {}, which is not so for {} on cluster {}",
                    quoted(&unmet),
                    self.account(),
                    self.cluster.name
                );
                self.add(Status::Fail, fail("condition-unmet", message));
            }
            _ => {
                let message = format!(
                    "the association names the role {name}, which does not trust {PODS_SERVICE} but {}",
                    quoted(&named(assume.allows()))
                );
                self.add(Status::Fail, fail("no-pod-identity-trust", message));
            }
        }
    }
}

/// What the controller's token says of itself, and the condition keys for it.
struct Token {
    sub_key: String,
    subject: String,
    aud_key: String,
    audience: String,
}

impl Token {
    /// Why a condition does not hold for it.
    fn explain(&self, condition: &Condition, policy: &str) -> (&'static str, String) {
        let Condition {
            operator,
            key,
            values,
        } = condition;
        let found = quoted(values);
        if key.eq_ignore_ascii_case(&self.sub_key) {
            let mut message = format!(
                "{policy} has the subject {found}, the controller's is `{}`",
                self.subject
            );
            if operator.name.ends_with("Equals") && values.iter().any(|value| value.contains(['*', '?'])) {
                message.push_str(&format!(
                    "; {operator} takes * and ? literally, StringLike would not"
                ));
            }
            return ("sub-mismatch", message);
        }
        if key.eq_ignore_ascii_case(&self.aud_key) {
            let message = format!(
                "{policy} has the audience {found}, the controller's token is for `{}`",
                self.audience
            );
            return ("aud-mismatch", message);
        }
        let wanted = match key.to_ascii_lowercase().rsplit(':').next() {
            Some("sub") => &self.sub_key,
            Some("aud") => &self.aud_key,
            _ => {
                let message = format!(
                    "{policy} has a condition that does not hold: {operator} on `{key}` with {found}"
                );
                return ("condition-unmet", message);
            }
        };
        let message = format!(
            "{policy} has a condition on `{key}`, a key that this cluster's tokens don't have: it has to be `{wanted}`"
        );
        ("wrong-key-prefix", message)
    }
}

/// The statement that Pod Identity needs (EKS user guide, `pod-id-role`).
fn pod_identity_statement() -> Value {
    json!({
        "Effect": "Allow",
        "Principal": {"Service": PODS_SERVICE},
        "Action": [ASSUME_ROLE, TAG_SESSION],
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Damage;
    use super::*;
    use crate::facts::controller::{AgentPods, ControllerPods};
    use crate::facts::fixture::{absent, controller_role, denied, healthy, known, node, with_karpenter};
    use crate::facts::install::{Chart, PlannedController};
    use crate::facts::karpenter::List;
    use crate::karpenter::objects::{Deployment, ServiceAccount};
    use crate::karpenter::traces::NodeFold;

    fn trust(facts: &mut Facts, statements: Value) {
        let mut role = controller_role();
        role.trust = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
        facts.controller.role = known("iam:GetRole demo-karpenter", role);
    }

    fn retrust(facts: &mut Facts, from: &str, to: &str) {
        let mut role = controller_role();
        role.trust = role.trust.replace(from, to);
        facts.controller.role = known("iam:GetRole demo-karpenter", role);
    }

    fn web_identity(condition: Value) -> Value {
        json!({"Effect": "Allow", "Action": WEB_IDENTITY, "Condition": condition, "Principal":
            {"Federated": "arn:aws:iam::111122223333:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/ABC"}})
    }

    fn annotate(facts: &mut Facts, role_arn: Option<&str>) {
        if let Observed::Known(account) = &mut facts.controller.service_account.observed {
            account.role_arn = role_arn.map(str::to_owned);
        }
    }

    fn deployment(facts: &mut Facts) -> &mut Deployment {
        let Observed::Known(list) = &mut facts.controller.deployments.observed else {
            panic!("it runs");
        };
        &mut list.items[0]
    }

    fn pod_identity(facts: &mut Facts) {
        annotate(facts, None);
        let own = Association {
            namespace: "kube-system".into(),
            service_account: "karpenter".into(),
            id: Some("a-0123456789abcdef0".into()),
            role_arn: Some(controller_role().arn),
            session_tags_disabled: None,
        };
        let listed = Association {
            role_arn: None,
            ..own.clone()
        };
        facts.controller.associations = known("eks:ListPodIdentityAssociations demo", vec![listed]);
        facts.controller.association = known("eks:DescribePodIdentityAssociation", own);
        facts.controller.addon = known("eks:DescribeAddon", "ACTIVE".to_owned());
        facts.controller.agent_pods = known("get daemonsets", AgentPods { desired: 2, ready: 2 });
        trust(facts, json!([pod_identity_statement()]));
    }

    fn for_pods(facts: &mut Facts, action: Value, condition: Value) {
        pod_identity(facts);
        let one = json!({"Effect": "Allow", "Principal": {"Service": PODS_SERVICE}, "Action": action, "Condition": condition});
        trust(facts, json!([one]));
    }

    fn fargate_only(facts: &mut Facts) {
        let mut nodes = NodeFold::default();
        let mut fargate = node("x", "x");
        fargate["metadata"]["labels"] = json!({"eks.amazonaws.com/compute-type": "fargate"});
        nodes.add_json(&fargate);
        facts.traces.nodes = known("list nodes", nodes);
    }

    fn chart(facts: &mut Facts, makes_account: bool) {
        let deployment = facts.controller.running().expect("it runs").clone();
        facts.controller.deployments = known("list deployments.apps", List::default());
        facts.ask.installing = true;
        facts.ask.chart = Some(Chart {
            controller: Some(PlannedController {
                name_is_generated: false,
                deployment,
                service_account: makes_account.then(|| ServiceAccount {
                    namespace: "kube-system".into(),
                    name: "karpenter".into(),
                    role_arn: Some(controller_role().arn),
                    audience: None,
                }),
            }),
            ..Chart::default()
        });
    }

    fn auto_mode(facts: &mut Facts) {
        if let Observed::Known(cluster) = &mut facts.cluster.observed {
            cluster.auto_mode = true;
        }
    }

    const CASES: &[(&str, Damage)] = &[
        ("IRSA", |_| {}),
        ("Pod Identity", pod_identity),
        ("Pod Identity and an annotation", |f| {
            pod_identity(f);
            annotate(f, Some("arn:aws:iam::111122223333:role/old"));
        }),
        ("not installed", |f| *f = healthy()),
        ("the subject of another namespace", |f| {
            retrust(f, "serviceaccount:kube-system", "serviceaccount:karpenter")
        }),
        ("a wildcard under StringEquals", |f| {
            retrust(f, "kube-system:karpenter", "kube-system:*")
        }),
        ("another audience", |f| {
            retrust(f, r#":aud":"sts.amazonaws.com"#, r#":aud":"sts"#)
        }),
        ("another cluster's issuer", |f| retrust(f, "id/ABC", "id/OLD")),
        ("a key of another issuer", |f| {
            retrust(f, "id/ABC:sub", "id/OLD:sub")
        }),
        ("a trust for every service account", |f| {
            trust(f, json!([web_identity(json!({}))]))
        }),
        ("ForAnyValue with a negation and a missing key", |f| {
            let condition = json!({"ForAnyValue:StringNotEquals": {"accounts.google.com:aud": "x"}});
            trust(f, json!([web_identity(condition)]));
        }),
        ("a condition that only the request decides", |f| {
            trust(
                f,
                json!([web_identity(
                    json!({"StringEquals": {"aws:PrincipalOrgID": "o-1"}})
                )]),
            );
        }),
        ("a Deny", |f| {
            let deny = json!({"Effect": "Deny", "Principal": "*", "Action": "sts:*"});
            trust(f, json!([web_identity(json!({})), deny]));
        }),
        ("the nodes' role", |f| {
            let one = json!({"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"});
            trust(f, json!([one]));
        }),
        ("a role for Pod Identity in the annotation", |f| {
            trust(f, json!([pod_identity_statement()]))
        }),
        ("a trust policy that is not one", |f| {
            let mut role = controller_role();
            role.trust = "<html>".into();
            f.controller.role = known("iam:GetRole demo-karpenter", role);
        }),
        ("a trust policy with a repeated key", |f| {
            retrust(f, r#""Effect":"Allow""#, r#""Effect":"Deny","Effect":"Allow""#)
        }),
        ("the provider is missing", |f| {
            f.controller.oidc_provider = absent("iam:GetOpenIDConnectProvider")
        }),
        ("the provider takes another audience", |f| {
            if let Observed::Known(provider) = &mut f.controller.oidc_provider.observed {
                provider.audiences = vec!["other".into()];
            }
        }),
        ("the role is missing", |f| {
            f.controller.role = absent("iam:GetRole")
        }),
        ("the role is denied", |f| {
            f.controller.role = denied("iam:GetRole")
        }),
        ("not a role", |f| annotate(f, Some("demo-karpenter"))),
        ("a role of another account", |f| {
            annotate(f, Some("arn:aws:iam::444455556666:role/demo-karpenter"))
        }),
        ("a role of another partition", |f| {
            annotate(f, Some("arn:aws-cn:iam::111122223333:role/demo-karpenter"))
        }),
        ("the service account is missing", |f| {
            f.controller.service_account = absent("get serviceaccounts")
        }),
        ("the service account is denied", |f| {
            f.controller.service_account = denied("get serviceaccounts")
        }),
        ("neither way, running", |f| annotate(f, None)),
        ("neither way, not running", |f| {
            annotate(f, None);
            deployment(f).ready_replicas = 0;
        }),
        ("neither way, on Fargate", |f| {
            annotate(f, None);
            fargate_only(f);
        }),
        ("an association of another namespace", |f| {
            annotate(f, None);
            deployment(f).ready_replicas = 0;
            let other = Association {
                namespace: "karpenter".into(),
                service_account: "karpenter".into(),
                id: None,
                role_arn: None,
                session_tags_disabled: None,
            };
            f.controller.associations = known("eks:ListPodIdentityAssociations demo", vec![other]);
        }),
        ("keys in the environment", |f| {
            annotate(f, None);
            deployment(f).settings.credentials_from = Some("AWS_ACCESS_KEY_ID".into());
        }),
        ("envFrom and a trust that does not hold", |f| {
            retrust(f, "id/ABC", "id/OLD");
            deployment(f).settings.env_from = true;
        }),
        ("hostNetwork and neither way, not running", |f| {
            annotate(f, None);
            deployment(f).ready_replicas = 0;
            deployment(f).host_network = true;
        }),
        ("no agent", |f| {
            pod_identity(f);
            f.controller.addon = absent("eks:DescribeAddon");
            f.controller.agent_pods = absent("get daemonsets");
        }),
        ("an agent without the add-on", |f| {
            pod_identity(f);
            f.controller.addon = denied("eks:DescribeAddon");
        }),
        ("an agent that does not run", |f| {
            pod_identity(f);
            f.controller.agent_pods = known("get daemonsets", AgentPods { desired: 2, ready: 0 });
        }),
        ("the controller on Fargate with Pod Identity", |f| {
            pod_identity(f);
            f.controller.pods = known(
                "list pods",
                ControllerPods {
                    total: 2,
                    on_fargate: 2,
                },
            );
        }),
        ("a Fargate-only cluster with Pod Identity", |f| {
            pod_identity(f);
            fargate_only(f);
        }),
        ("no sts:TagSession", |f| {
            for_pods(f, json!("sts:AssumeRole"), json!({}))
        }),
        ("Pod Identity of this cluster only", |f| {
            let condition =
                json!({"ArnEquals": {"aws:SourceArn": "arn:aws:eks:eu-west-1:111122223333:cluster/demo"}});
            for_pods(f, json!("sts:*"), condition);
        }),
        ("Pod Identity of another account only", |f| {
            for_pods(
                f,
                json!("sts:*"),
                json!({"StringEquals": {"aws:SourceAccount": "444455556666"}}),
            )
        }),
        ("an IRSA trust under Pod Identity", |f| {
            pod_identity(f);
            f.controller.role = known("iam:GetRole demo-karpenter", controller_role());
        }),
        ("the association's role denied", |f| {
            pod_identity(f);
            f.controller.association = denied("eks:DescribePodIdentityAssociation");
        }),
        ("another cluster's name", |f| {
            deployment(f).settings.cluster_name = Some("prod".into());
        }),
        ("Deployments denied", |f| {
            f.controller.deployments = denied("list deployments.apps")
        }),
        ("pools, but no Deployment", |f| {
            f.controller.deployments = known("list deployments.apps", List::default())
        }),
        ("the cluster denied", |f| {
            f.cluster = denied("eks:DescribeCluster")
        }),
        ("Auto Mode", |f| {
            f.controller.deployments = known("list deployments.apps", List::default());
            auto_mode(f);
        }),
        ("the chart's account", |f| chart(f, true)),
        (
            "the chart's account, in another namespace than the trust has",
            |f| {
                chart(f, true);
                if let Some(controller) = f.ask.chart.as_mut().and_then(|chart| chart.controller.as_mut()) {
                    controller.deployment.namespace = "karpenter".into();
                }
            },
        ),
        ("the chart makes no account and there is none", |f| {
            chart(f, false);
            f.controller.service_account = absent("get serviceaccounts");
        }),
        ("a chart without Karpenter", |f| {
            chart(f, true);
            f.ask.chart = None;
        }),
    ];

    #[test]
    fn each_cause_by_itself() {
        insta::assert_snapshot!(super::super::told_of(with_karpenter, controller_identity, CASES));
    }

    #[test]
    fn a_fixed_trust_is_good() {
        for base in [(|_| {}) as Damage, pod_identity] {
            for mistake in [
                json!([]),
                json!([web_identity(json!({"StringEquals": {"a.b:sub": "x"}}))]),
            ] {
                let mut facts = with_karpenter();
                base(&mut facts);
                trust(&mut facts, mistake);
                let before = controller_identity(&facts);
                assert_eq!(before.status, Status::Fail, "{}", before.message);
                let fixed = before.remedy.unwrap_or_default().snippets.remove(0).text;
                let document: Value = serde_json::from_str(&fixed).expect("a document");
                trust(&mut facts, document["Statement"].clone());
                let after = controller_identity(&facts);
                assert_eq!(after.status, Status::Pass, "{}", after.message);
            }
        }
    }

    #[test]
    fn needed_once_karpenter_is_there() {
        assert!(!needed(&healthy()));
        assert!(needed(&with_karpenter()));
        let mut facts = healthy();
        facts.ask.installing = true;
        assert!(needed(&facts));
        let mut auto = with_karpenter();
        auto.controller.deployments = known("list deployments.apps", List::default());
        assert!(needed(&auto));
        auto_mode(&mut auto);
        assert!(!needed(&auto));
    }

    proptest! {
        /// A trust policy that could not be read, or that says nothing for this controller, is never good.
        #[test]
        fn no_false_comfort(text in "[\\[\\]{}\",:a-zA-Z*]{0,80}") {
            for base in [(|_| {}) as Damage, pod_identity] {
                let mut facts = with_karpenter();
                base(&mut facts);
                let mut role = controller_role();
                role.trust = text.clone();
                facts.controller.role = known("iam:GetRole demo-karpenter", role);
                prop_assert_ne!(controller_identity(&facts).status, Status::Pass);
            }
        }
    }
}
