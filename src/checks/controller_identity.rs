//! Whether Karpenter's controller gets AWS credentials.
//!
//! Sources: EKS user guide `pod-id-role`, `pod-id-agent-setup` (built into Auto Mode), `fargate`,
//! `iam-roles-for-service-accounts`; aws/karpenter-provider-aws issues 1666, 1313, 2636, 5054, 5784, 6359;
//! terraform-aws-modules/terraform-aws-eks issue 3029.

use serde_json::{Value, json};

use super::karpenter::{auto_mode, is_there};
use super::parts::{severity, together};
use super::{Check, Group, Judgement, Status, lost_cluster};
use crate::facts::Facts;
use crate::facts::controller::{AGENT, Subject};
use crate::facts::eks::Cluster;
use crate::karpenter::identity::{Association, Mechanism};
use crate::model::{Command, Fact, Language, Observed, Target, Unknown, argv};
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
    judge.found.sort_by_key(|(_, one)| severity(one.status));
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
                .map(|(problem, _)| json!({"problem": problem}))
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

struct Judge<'a> {
    facts: &'a Facts,
    target: &'a Target,
    cluster: &'a Cluster,
    subject: Subject<'a>,
    mechanism: Mechanism,
    /// What is wrong, or worth knowing, each with its name for machines.
    found: Vec<(&'static str, Judgement)>,
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

fn show_trust(target: &Target, role_name: &str) -> Command {
    let query = ["--query", "Role.AssumeRolePolicyDocument"];
    target.aws(&["iam", "get-role", "--role-name", role_name, query[0], query[1]])
}

/// With the fix that adds a statement to the trust policy and keeps what is there.
fn fixed_trust(
    judgement: Judgement,
    target: &Target,
    role_name: &str,
    trust: &str,
    statement: &Value,
) -> Judgement {
    let (judgement, document) = match with_statement(trust, statement.clone()) {
        Some(document) => {
            let file = ["--policy-document", "file://trust-policy.json"];
            let words = [
                "iam",
                "update-assume-role-policy",
                "--role-name",
                role_name,
                file[0],
                file[1],
            ];
            let text = "Add a statement to the role's trust policy: save the document below, which keeps what is there, as \
                        trust-policy.json.";
            (judgement.fix(text, [target.aws(&words)]), document)
        }
        None => {
            let text = "Add the statement below to the role's trust policy by hand.";
            (
                judgement.fix(text, [show_trust(target, role_name)]),
                statement.clone(),
            )
        }
    };
    judgement.snippet(Language::Json, pretty(&document))
}

fn pretty(document: &Value) -> String {
    serde_json::to_string_pretty(document).unwrap_or_default()
}

fn not_admitted(message: String) -> Judgement {
    Judgement::fail(message)
        .headline("The controller cannot get its role: the trust policy does not admit it")
}

fn true_of<T: PartialEq>(fact: &Fact<T>, is: impl Fn(&T) -> bool) -> bool {
    fact.known().is_some_and(is)
}

impl<'a> Judge<'a> {
    fn add(&mut self, problem: &'static str, judgement: Judgement) {
        self.found.push((problem, judgement));
    }

    fn unread(&mut self, what: &str, why: &Unknown) {
        let headline = "What the controller's credentials depend on could not be read";
        self.add("unread", Judgement::unknown(what, why).headline(headline));
    }

    fn judgement(&self) -> Judgement {
        let good = self.found.iter().all(|(_, one)| one.status == Status::Pass);
        let what = good.then(|| {
            let account = self.account();
            Judgement::pass(format!("service account {account}: {}", self.mechanism))
        });
        let found = self.found.iter().map(|(_, one)| one.clone());
        together(what.into_iter().chain(found).collect())
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
        let (namespace, account) = (self.subject.namespace, self.subject.service_account);
        self.target.eksctl(&argv(
            "create iamserviceaccount --cluster {} --namespace {} --name {} --role-name {} \
             --attach-policy-arn {} --role-only --approve",
            &[&self.cluster.name, namespace, account, role_name, &policy],
        ))
    }

    fn associate_provider(&self) -> Command {
        self.target.eksctl(&argv(
            "utils associate-iam-oidc-provider --cluster {} --approve",
            &[&self.cluster.name],
        ))
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

    /// The helm values that name the role.
    fn annotate_by_helm(role_arn: &str) -> String {
        format!(
            "Give the role to the chart: --set 'serviceAccount.annotations.eks\\.amazonaws\\.com/role-arn={role_arn}'."
        )
    }

    // The ways.

    /// While installing, cluster-matches-chart says it.
    fn other_cluster(&mut self) {
        let named = self.subject.deployment.settings.cluster_name.as_deref();
        let named = named.filter(|named| *named != self.cluster.name && self.subject.planned.is_none());
        if let Some(named) = named {
            let message = format!(
                "the controller is set to work on cluster {named} (CLUSTER_NAME), but runs in {}",
                self.cluster.name
            );
            let judgement = Judgement::fail(message)
                .headline("The controller is set to work on another cluster")
                .fix("Set settings.clusterName of the chart to this cluster.", []);
            self.add("other-cluster", judgement);
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
            let command = self.target.kubectl(&argv(
                "-n {} create serviceaccount {}",
                &[self.subject.namespace, self.subject.service_account],
            ));
            let message =
                format!("the controller's service account {account} does not exist, so its pods can't start");
            let fix = "Install the chart with serviceAccount.create=true, or create the service account.";
            let judgement = Judgement::fail(message)
                .headline("The controller cannot start: its service account does not exist")
                .fix(fix, [command]);
            self.add("service-account-missing", judgement);
        }
        missing
    }

    /// The AWS SDK takes them before any role.
    fn by_environment(&mut self, variable: &str) {
        let message = format!(
            "the controller takes its credentials from {variable} in its environment; the AWS SDK uses them before any \
             role, and whose they are is not known here"
        );
        let headline = "The controller has AWS credentials in its environment, which cannot be judged here";
        self.add(
            "credentials-in-environment",
            Judgement::warn(message).headline(headline),
        );
    }

    /// What is in a ConfigMap or Secret is not read: it may hold credentials, so nothing fails for want of others.
    fn env_from(&mut self) {
        let mut doubtful = false;
        for (problem, one) in &mut self.found {
            let certain = matches!(*problem, "service-account-missing" | "other-cluster");
            if one.status == Status::Fail && !certain {
                one.status = Status::Unknown;
                doubtful = true;
            }
        }
        if doubtful {
            let message = "the controller has envFrom, which may hold AWS credentials and is not read";
            let headline = "Whether the controller gets AWS credentials is unknown: envFrom may hold them";
            self.found
                .insert(0, ("env-from", Judgement::undecided(message).headline(headline)));
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
            self.unread(&format!("the service account {}", self.account()), why);
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
            let judgement = Judgement::fail(message).headline(headline).fix(fix, commands);
            return self.add("no-identity", judgement);
        }
        let agent = controller.agent_pods.known().is_none() && !self.cluster.auto_mode;
        let commands = agent
            .then(|| self.create_agent())
            .into_iter()
            .chain([self.create_association(&role_arn)])
            .chain(self.restart());
        let deployment = self.subject.deployment;
        let runs = self.subject.planned.is_none() && deployment.ready_replicas > 0;
        if runs {
            message.push_str(
                "; the controller runs all the same, so it has other credentials, mostly the role of the instance it is on",
            );
        } else if deployment.host_network {
            message.push_str("; with hostNetwork it can take the role of the instance it is on");
        }
        let judgement = match runs || deployment.host_network {
            true => Judgement::warn(message)
                .headline("The controller has no role of its own, and uses other credentials"),
            false => Judgement::fail(message).headline(headline),
        };
        let fix = format!(
            "Use Pod Identity: give the controller role an association (here {role_arn}, as Karpenter's guide names it)."
        );
        let problem = if near.is_empty() {
            "no-identity"
        } else {
            "association-missing"
        };
        self.add(problem, judgement.fix(fix, commands));
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
            let message = format!("`{role_arn}` is not the ARN of a role (arn:aws:iam::ACCOUNT:role/NAME)");
            let judgement = Judgement::fail(message)
                .headline("The controller's service account names something that is not a role")
                .fix(Self::annotate_by_helm(&self.suggested_role()), []);
            self.add("role-arn-malformed", judgement);
            return None;
        };
        if arn.account != self.account_id() || arn.partition.as_str() != self.target.partition {
            let (partition, account) = (arn.partition, &arn.account);
            let message = format!(
                "the role {role_arn} is in account {account} ({partition}), the cluster in {} ({}): its trust policy \
                 can't be read from here",
                self.account_id(),
                self.target.partition
            );
            let fix = format!(
                "If that is intended, account {account} needs an OIDC provider for this cluster's issuer. If not, the \
                 account in the ARN is wrong."
            );
            let judgement = Judgement::undecided(message)
                .headline("The controller's role is in another account, and cannot be read from here")
                .fix(fix, []);
            self.add("role-in-other-account", judgement);
            return None;
        }
        let name = arn.role_name().unwrap_or_default();
        match &self.facts.controller.role.observed {
            Observed::Known(role) => match PolicyDocument::parse(&role.trust) {
                Ok(document) => return Some((arn, &role.trust, document)),
                Err(error) => {
                    let message =
                        format!("the trust policy of the role {name} could not be understood: {error}");
                    let judgement = Judgement::undecided(message)
                        .headline("The trust policy of the controller's role could not be understood")
                        .fix("Look at it as IAM has it.", [show_trust(self.target, name)]);
                    self.add("trust-unreadable", judgement);
                }
            },
            Observed::Absent => self.role_missing(role_arn, name),
            Observed::Unknown(why) => self.unread(&format!("the role {role_arn}"), why),
        }
        None
    }

    fn role_missing(&mut self, role_arn: &str, name: &str) {
        let pod_identity = matches!(self.mechanism, Mechanism::PodIdentity { .. }) && !self.on_fargate();
        let judgement = Judgement::fail(format!("the controller's role {role_arn} does not exist"))
            .headline("The controller's role does not exist");
        const FIX: &str = "Create it with Karpenter's controller policy, or correct the ARN.";
        let judgement = if pod_identity {
            let file = ["--assume-role-policy-document", "file://trust-policy.json"];
            let command = ["iam", "create-role", "--role-name", name, file[0], file[1]];
            let document = json!({"Version": "2012-10-17", "Statement": [pod_identity_statement()]});
            let fix = format!("{FIX} Save the document below as trust-policy.json first.");
            judgement
                .fix(fix, [self.target.aws(&command)])
                .snippet(Language::Json, pretty(&document))
        } else {
            judgement.fix(FIX, [self.create_service_account(name)])
        };
        self.add("role-missing", judgement);
    }

    // IRSA.

    fn irsa(&mut self, role_arn: &str) {
        let controller = &self.facts.controller;
        if let Some(why) = controller.associations.observed.unknown() {
            let message = format!(
                "the cluster's Pod Identity associations, which would overrule the annotation, could not be read: {why}"
            );
            self.add("associations-unread", Judgement::pass(message));
        }
        let Some(issuer) = self.issuer() else {
            let message = "DescribeCluster shows no OIDC issuer, so no trust policy can be compared with it";
            let headline = "The cluster shows no OIDC issuer to compare the role's trust policy with";
            return self.add("no-issuer", Judgement::undecided(message).headline(headline));
        };
        let provider = self.arn(&format!("oidc-provider/{issuer}"));
        match &controller.oidc_provider.observed {
            Observed::Known(found) if found.arn == provider => {
                self.audience_missing(&found.audiences, &provider)
            }
            Observed::Known(_) | Observed::Absent => {
                let message =
                    format!("IAM has no OIDC provider for this cluster's issuer: {provider} is missing");
                let judgement = Judgement::fail(message)
                    .headline(
                        "The controller cannot get its role: IAM does not know this cluster's OIDC issuer",
                    )
                    .fix(
                        "Create it. It grants nothing by itself.",
                        [self.associate_provider()],
                    );
                self.add("provider-missing", judgement);
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
        let command = self.target.aws(&argv(
            "iam add-client-id-to-open-id-connect-provider --open-id-connect-provider-arn {} --client-id {}",
            &[provider, &audience],
        ));
        let taken = match audiences {
            [] => "no audience".to_owned(),
            some => some.join(", "),
        };
        let message = format!(
            "the OIDC provider {provider} takes tokens for {taken} only, the controller's token is for {audience}"
        );
        let judgement = Judgement::fail(message)
            .headline("The account's OIDC provider does not take the controller's tokens")
            .fix("Add the audience to the provider.", [command]);
        self.add("provider-audience", judgement);
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
        let statement = json!({
            "Effect": "Allow",
            "Principal": {"Federated": provider},
            "Action": WEB_IDENTITY,
            "Condition": {"StringEquals": {&token.aud_key: &token.audience, &token.sub_key: &token.subject}},
        });
        let for_tokens: Vec<&Judged<'_>> = decision.allows().filter(|one| one.action != Tri::False).collect();
        // The nearest statement tells most; the others are counted.
        let nearest = for_tokens
            .iter()
            .rev()
            .max_by_key(|one| (one.is_about().rank(), std::cmp::Reverse(one.unmet.len())));
        let Some(nearest) = nearest else {
            return self.no_web_identity(role, trust, &statement, &decision);
        };
        let target = self.target;
        let fail = |message| fixed_trust(not_admitted(message), target, name, trust, &statement);
        if nearest.is_about() == Tri::False {
            let found = named(for_tokens.iter().copied());
            let message = format!(
                "the role {name} trusts {}, not this cluster's issuer ({provider}): another cluster, or one of this name that \
                 was deleted and created again",
                quoted(&found)
            );
            return self.add("other-issuer", fail(message));
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
            self.add(problem, fail(message));
        }
    }

    /// A Deny, or what can't be known, is said; false where an Allow is missing.
    fn not_decided(&mut self, role_name: &str, decision: &Decision<'_>) -> bool {
        if let Some(deny) = decision.denied_by().filter(|_| decision.deny == Tri::True) {
            let message = format!(
                "{} of the trust policy of {role_name} denies the controller",
                deny.statement.name()
            );
            let judgement = Judgement::fail(message)
                .headline("The controller cannot get its role: the trust policy denies it")
                .fix(
                    "Remove or narrow that Deny.",
                    [show_trust(self.target, role_name)],
                );
            self.add("denied", judgement);
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
        let message = format!(
            "unknown whether the role {role_name} admits the controller: {}",
            decision.unknown().join("; ")
        );
        let judgement = Judgement::undecided(message)
            .headline("Unknown whether the controller can get its role: only a real request shows it")
            .fix("See whether the controller's log has AccessDenied for sts.", logs);
        self.add("trust-undecided", judgement);
        true
    }

    fn no_web_identity(&mut self, role: &Arn, trust: &str, statement: &Value, decision: &Decision<'_>) {
        let name = role.role_name().unwrap_or_default();
        let trusts = named(decision.allows());
        let trusts_service = |service: &str| trusts.iter().any(|one| one.ends_with(&format!(" {service}")));
        let mut message = format!(
            "the role {name} admits no service account: no statement allows sts:AssumeRoleWithWebIdentity"
        );
        if !trusts.is_empty() {
            message.push_str(&format!("; it trusts {}", quoted(&trusts)));
        }
        let judgement = if trusts_service(PODS_SERVICE) && !self.on_fargate() {
            let association = self.create_association(&role.to_string());
            not_admitted(message).fix(
                "The role is made for Pod Identity: give it an association, and drop the annotation.",
                [association].into_iter().chain(self.restart()),
            )
        } else if trusts_service("ec2.amazonaws.com") {
            message.push_str(" - this is the role of the nodes, not of the controller");
            let fix = "Name the controller's own role in the annotation; the role of the nodes belongs in the EC2NodeClass.";
            not_admitted(message).fix(fix, [])
        } else {
            fixed_trust(not_admitted(message), self.target, name, trust, statement)
        };
        self.add("no-web-identity", judgement);
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
        let message = format!(
            "the role {role_name} works, but admits {who}, not only `{}`",
            token.subject
        );
        self.add("broad-trust", Judgement::pass(message));
    }

    // Pod Identity.

    fn pod_identity(&mut self, role_arn: Option<&str>) {
        let account = self.facts.controller.account(&self.subject);
        let annotated = account.known().and_then(|account| account.role_arn.as_deref());
        if let Some(annotated) = annotated.filter(|annotated| role_arn.is_some_and(|role| role != *annotated))
        {
            let message = format!(
                "the annotation with {annotated} has no effect on new pods: the Pod Identity association overrules it"
            );
            self.add("annotation-overruled", Judgement::pass(message));
        }
        self.agent(role_arn);
        let Some(role_arn) = role_arn else {
            let what = format!("which role the association of {} names", self.account());
            return match self.facts.controller.association.observed.unknown() {
                Some(why) => self.unread(&what, why),
                None => {
                    let headline = "Which role the controller's association names could not be read";
                    let message = format!("{what} was not in EKS's answer");
                    self.add("unread", Judgement::undecided(message).headline(headline));
                }
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
                let message = format!(
                    "there is an association, but no Pod Identity agent: neither the add-on {AGENT} nor its DaemonSet"
                );
                let commands = [self.create_agent()].into_iter().chain(self.restart());
                let judgement = Judgement::fail(message)
                    .headline("The controller gets no credentials: the Pod Identity agent is not installed")
                    .fix("Install the add-on.", commands);
                return self.add("agent-missing", judgement);
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
        let label = format!("app.kubernetes.io/name={AGENT}");
        let pods = ["-n", "kube-system", "get", "pods", "-l", &label, "-o", "wide"];
        let commands = [
            self.target.kubectl(&pods),
            self.eks(&["describe-addon"], &["--addon-name", AGENT]),
        ];
        let message = format!(
            "the Pod Identity agent does not run everywhere: {}",
            parts.join(", ")
        );
        let judgement = match somewhere {
            true => Judgement::warn(message),
            false => Judgement::fail(message),
        };
        let judgement = judgement
            .headline("The Pod Identity agent does not run everywhere")
            .fix("See why its pods don't run.", commands);
        self.add("agent-not-running", judgement);
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
        let fix = format!(
            "Use IRSA instead, and delete the association, which would overrule it. {}",
            Self::annotate_by_helm(&self.arn(&format!("role/{name}")))
        );
        let judgement = Judgement::fail(format!(
            "the controller's role comes from Pod Identity, but {why}"
        ))
        .headline("The controller gets no credentials: Pod Identity does not work on Fargate")
        .fix(fix, commands);
        self.add("fargate-without-agent", judgement);
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
        const HEADLINE: &str =
            "The controller cannot get its role: the trust policy does not admit Pod Identity";
        let target = self.target;
        let fail = |message| {
            let judgement = Judgement::fail(message).headline(HEADLINE);
            fixed_trust(judgement, target, name, trust, &pod_identity_statement())
        };
        let about = assume
            .allows()
            .find(|one| one.action == Tri::True && one.is_about() == Tri::True && !one.unmet.is_empty());
        match (assume.verdict, tag.verdict, about) {
            (Tri::True, Tri::True, _) => {}
            (Tri::True, ..) => {
                let message = format!(
                    "the role {name} allows {PODS_SERVICE} sts:AssumeRole but not sts:TagSession; Pod Identity needs both"
                );
                self.add("tag-session-missing", fail(message));
            }
            (_, _, Some(about)) => {
                let unmet: Vec<String> = about.unmet.iter().map(ToString::to_string).collect();
                let message = format!(
                    "the trust policy of {name} admits {PODS_SERVICE} only with {}, which is not so for {} on cluster {}",
                    quoted(&unmet),
                    self.account(),
                    self.cluster.name
                );
                self.add("condition-unmet", fail(message));
            }
            _ => {
                let message = format!(
                    "the association names the role {name}, which does not trust {PODS_SERVICE} but {}",
                    quoted(&named(assume.allows()))
                );
                self.add("no-pod-identity-trust", fail(message));
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

    use super::*;
    use crate::checks::testing::{Damage, told_of};
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
        insta::assert_snapshot!(told_of(with_karpenter, controller_identity, CASES));
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
