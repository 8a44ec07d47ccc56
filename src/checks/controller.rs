//! Whether Karpenter's controller gets AWS credentials.

use serde_json::json;

use super::karpenter::{auto_mode, is_there};
use super::{Check, Group, Judgement, Status, lost_cluster};
use crate::facts::Facts;
use crate::facts::controller::identity_facts;
use crate::karpenter::identity::{
    self, IdentityFacts, IdentityFinding, IdentityProblem, Mechanism, Seen, Severity,
};
use crate::karpenter::objects::Deployment;
use crate::model::{Observed, Unknown};

/// The audience of IRSA's tokens where the service account names none.
const AUDIENCE: &str = "sts.amazonaws.com";

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

/// Why something could not be read, with the permission that lifts it: the judgement on identities knows the words only.
fn unknown_behind<'a>(facts: &'a Facts, why: &str) -> Option<&'a Unknown> {
    let controller = &facts.controller;
    let why = why.trim_end_matches('…');
    [
        controller.service_account.observed.unknown(),
        controller.associations.observed.unknown(),
        controller.oidc_provider.observed.unknown(),
        controller.role.observed.unknown(),
        controller.agent_pods.observed.unknown(),
        controller.addon.observed.unknown(),
    ]
    .into_iter()
    .flatten()
    .find(|unknown| unknown.to_string().starts_with(why))
}

fn controller_identity(facts: &Facts) -> Judgement {
    if let Some(reason) = lost_cluster(facts) {
        return Judgement::ground_lost(reason);
    }
    let controller = &facts.controller;
    let Some(subject) = controller.subject(&facts.ask) else {
        return nobody(facts);
    };
    let cluster = match &facts.cluster.observed {
        Observed::Unknown(unknown) => {
            return Judgement::unknown("the cluster (its account and OIDC issuer)", unknown)
                .from(&facts.cluster);
        }
        Observed::Known(cluster) => cluster,
        Observed::Absent => return Judgement::undecided("the cluster was not found").from(&facts.cluster),
    };
    let Some(identity) = identity_facts(
        &facts.target,
        &facts.ask,
        &facts.cluster,
        controller,
        &facts.traces.nodes,
    ) else {
        return Judgement::undecided("the controller's Deployment could not be understood")
            .from(&controller.deployments);
    };
    let deployment = subject
        .planned
        .map_or(subject.running, |planned| Some(&planned.deployment));
    let judged = identity::judge(&identity);
    let mut findings = judged.findings;
    if let Some(other) = other_cluster(deployment, &cluster.name, subject.planned.is_some()) {
        findings.insert(0, other);
    }
    if let Some(audience) = audience_missing(facts, &identity, &judged.mechanism) {
        findings.push(audience);
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let what = format!(
        "service account {}/{}: {}",
        identity.namespace, identity.service_account_name, judged.mechanism
    );
    let mut judgement = put_together(facts, &identity, &judged.mechanism, &findings, &what);
    if let Some(running) = subject
        .running
        .filter(|running| running.ready_replicas == 0 && running.replicas > 0)
    {
        judgement.message.push_str(&format!(
            "; the Deployment {}/{} has no ready pod now",
            running.namespace, running.name
        ));
    }
    let others = controller.deployments.known().map_or(0, |list| list.items.len());
    if others > 1 {
        judgement = judgement.evidence("deployments", others);
    }
    judgement
        .evidence("namespace", identity.namespace.as_str())
        .evidence("serviceAccount", identity.service_account_name.as_str())
        .evidence("mechanism", json!(judged.mechanism))
        .evidence(
            "findings",
            json!(
                findings
                    .iter()
                    .map(|finding| &finding.problem)
                    .collect::<Vec<_>>()
            ),
        )
        .from(&controller.deployments)
        .from(&controller.service_account)
        .from(&controller.associations)
        .from(&controller.role)
}

/// No controller is known: Auto Mode, nothing installed, not readable, or hidden.
fn nobody(facts: &Facts) -> Judgement {
    let fact = &facts.controller.deployments;
    let auto = auto_mode(facts);
    match &fact.observed {
        _ if facts.ask.installing => {
            // The pods' manifest is not known, or isn't Karpenter's.
            Judgement::skip("the chart about to be installed holds no Karpenter controller, or is not known")
        }
        Observed::Unknown(unknown) if !auto && (is_there(facts) || !not_served(facts)) => {
            Judgement::unknown("Karpenter's Deployment", unknown)
        }
        _ if auto => Judgement::skip(
            "EKS Auto Mode runs Karpenter inside EKS with the cluster's own role: there is no controller of your own to judge",
        )
        .evidence("autoMode", true),
        _ if is_there(facts) => Judgement::warn(
            "there are node pools, but no Deployment labelled app.kubernetes.io/name=karpenter in any namespace: nothing launches nodes, or the controller is installed in another way and can't be judged",
        )
        .remedy(
            "See what runs the controller.",
            ["kubectl get deployments -A -l app.kubernetes.io/name=karpenter".to_owned()],
        ),
        _ => Judgement::skip("Karpenter is not installed yet"),
    }
    .from(fact)
}

/// The cluster itself says that it does not know Karpenter's kinds.
fn not_served(facts: &Facts) -> bool {
    facts.pools.node_pools.observed.is_absent() && facts.traces.claims.observed.is_absent()
}

/// The controller works on another cluster than the one it runs in.
fn other_cluster(deployment: Option<&Deployment>, cluster: &str, planned: bool) -> Option<IdentityFinding> {
    let deployment = deployment?;
    // While installing, cluster-matches-chart says it.
    let named = deployment
        .settings
        .cluster_name
        .as_deref()
        .filter(|named| *named != cluster && !planned)?;
    Some(IdentityFinding {
        problem: IdentityProblem::OtherCluster {
            named: named.to_owned(),
            cluster: cluster.to_owned(),
        },
        severity: Severity::Fail,
        message: format!(
            "the controller is set to work on cluster {named} (CLUSTER_NAME), but runs in {cluster}"
        ),
        remedy: "Set settings.clusterName of the chart to this cluster.".to_owned(),
        commands: Vec::new(),
    })
}

/// IAM's provider is there, but does not take tokens for the audience that the controller's token is for.
fn audience_missing(
    facts: &Facts,
    identity: &IdentityFacts,
    mechanism: &Mechanism,
) -> Option<IdentityFinding> {
    let provider = facts.controller.oidc_provider.known()?;
    if !matches!(mechanism, Mechanism::Irsa { .. }) {
        return None;
    }
    let audience = match &identity.service_account {
        Seen::Known(account) => account.audience.clone(),
        Seen::Absent | Seen::Unknown(_) => None,
    };
    let audience = audience.unwrap_or_else(|| AUDIENCE.to_owned());
    if provider.audiences.contains(&audience) {
        return None;
    }
    Some(IdentityFinding {
        problem: IdentityProblem::ProviderAudience {
            found: provider.audiences.clone(),
            wanted: audience.clone(),
        },
        severity: Severity::Fail,
        message: format!(
            "the OIDC provider {} takes tokens for {} only, the controller's token is for {audience}",
            provider.arn,
            match provider.audiences.as_slice() {
                [] => "nobody".to_owned(),
                some => some.join(", "),
            }
        ),
        remedy: "Add the audience to the provider.".to_owned(),
        commands: vec![format!(
            "aws iam add-client-id-to-open-id-connect-provider --open-id-connect-provider-arn {} --client-id {}",
            crate::text::quote(&provider.arn),
            crate::text::quote(&audience)
        )],
    })
}

fn status_of(severity: Severity) -> Status {
    match severity {
        Severity::Note => Status::Pass,
        Severity::Warn => Status::Warn,
        Severity::Unknown => Status::Unknown,
        Severity::Fail => Status::Fail,
    }
}

fn put_together(
    facts: &Facts,
    identity: &IdentityFacts,
    mechanism: &Mechanism,
    findings: &[IdentityFinding],
    what: &str,
) -> Judgement {
    if *mechanism == Mechanism::Neither
        && identity.cluster.auto_mode
        && findings
            .iter()
            .any(|finding| finding.problem == IdentityProblem::AutoMode)
    {
        return Judgement::skip("EKS Auto Mode runs Karpenter inside EKS with the cluster's own role")
            .evidence("autoMode", true);
    }
    let worst = findings
        .iter()
        .map(|finding| status_of(finding.severity))
        .find(|status| *status != Status::Pass)
        .unwrap_or(Status::Pass);
    let said: Vec<&str> = findings.iter().map(|finding| finding.message.as_str()).collect();
    let message = match worst {
        Status::Pass if said.is_empty() => what.to_owned(),
        Status::Pass => format!("{what}; {}", said.join("; ")),
        _ => said.join("; "),
    };
    let judgement = match worst {
        Status::Fail => Judgement::fail(message),
        Status::Warn => Judgement::warn(message),
        Status::Unknown => {
            let behind = findings.iter().find_map(|finding| match &finding.problem {
                IdentityProblem::Unread { what, why } if finding.severity == Severity::Unknown => {
                    let own = match &facts.controller.association.observed {
                        Observed::Unknown(unknown) if what.starts_with("which role") => Some(unknown),
                        _ => None,
                    };
                    Some((what, own.or_else(|| unknown_behind(facts, why))?))
                }
                _ => None,
            });
            match behind {
                Some((what, unknown)) => return Judgement::unknown(what, unknown),
                None => Judgement::undecided(message),
            }
        }
        Status::Pass | Status::Skip => return Judgement::pass(message),
    };
    // The same remedy stands at several findings of one policy.
    let (mut texts, mut commands): (Vec<&str>, Vec<String>) = (Vec::new(), Vec::new());
    for finding in findings
        .iter()
        .filter(|finding| finding.severity != Severity::Note)
    {
        if !finding.remedy.is_empty() && !texts.contains(&finding.remedy.as_str()) {
            texts.push(&finding.remedy);
        }
        for command in &finding.commands {
            if !commands.contains(command) {
                commands.push(command.clone());
            }
        }
    }
    if texts.is_empty() && commands.is_empty() {
        return judgement;
    }
    judgement.remedy(texts.join(" "), commands)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fixture::{absent, controller_role, denied, healthy, known, node, with_karpenter};
    use crate::facts::install::{Chart, PlannedController};
    use crate::facts::{controller::AgentPods, controller::ControllerPods, karpenter::List};
    use crate::karpenter::identity::Association;
    use crate::karpenter::objects::ServiceAccount;
    use crate::karpenter::traces::NodeFold;

    type Damage = fn(&mut Facts);

    fn retrust(facts: &mut Facts, from: &str, to: &str) {
        let mut role = controller_role();
        role.trust = role.trust.replace(from, to);
        facts.controller.role = known("iam:GetRole demo-karpenter", role);
    }

    fn no_annotation(facts: &mut Facts) {
        if let Observed::Known(account) = &mut facts.controller.service_account.observed {
            account.role_arn = None;
        }
    }

    fn pod_identity(facts: &mut Facts) {
        no_annotation(facts);
        let own = Association {
            namespace: "kube-system".into(),
            service_account: "karpenter".into(),
            id: Some("a-0123456789abcdef0".into()),
            role_arn: Some(controller_role().arn),
            session_tags_disabled: None,
        };
        facts.controller.associations = known(
            "eks:ListPodIdentityAssociations demo",
            vec![Association {
                role_arn: None,
                ..own.clone()
            }],
        );
        facts.controller.association = known("eks:DescribePodIdentityAssociation", own);
        facts.controller.addon = known("eks:DescribeAddon", "ACTIVE".to_owned());
        facts.controller.agent_pods = known("get daemonsets", AgentPods { desired: 2, ready: 2 });
        let mut role = controller_role();
        role.trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"pods.eks.amazonaws.com"},"Action":["sts:AssumeRole","sts:TagSession"]}]}"#.into();
        facts.controller.role = known("iam:GetRole demo-karpenter", role);
    }

    fn chart(facts: &mut Facts, makes_account: bool) {
        let deployment = facts.controller.running().expect("it runs").clone();
        facts.controller.deployments = known("list deployments.apps", List::default());
        facts.ask.installing = true;
        facts.ask.chart = Some(Chart {
            controller: Some(PlannedController {
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

    #[test]
    fn each_mistake_by_itself() {
        let rows: &[(&str, Damage, Status, &str)] = &[
            (
                "IRSA",
                |_| {},
                Status::Pass,
                "service account kube-system/karpenter: IRSA, role arn:aws:iam::111122223333:role/demo-karpenter",
            ),
            (
                "Pod Identity",
                pod_identity,
                Status::Pass,
                "Pod Identity, role arn",
            ),
            (
                "not installed",
                |f| *f = healthy(),
                Status::Skip,
                "not installed yet",
            ),
            (
                "subject of another namespace",
                |f| retrust(f, "serviceaccount:kube-system", "serviceaccount:karpenter"),
                Status::Fail,
                "has the subject",
            ),
            (
                "another audience",
                |f| retrust(f, r#":aud":"sts.amazonaws.com"#, r#":aud":"sts"#),
                Status::Fail,
                "has the audience",
            ),
            (
                "another cluster's issuer",
                |f| retrust(f, "id/ABC", "id/OLD"),
                Status::Fail,
                "not this cluster's issuer",
            ),
            (
                "the provider is missing",
                |f| f.controller.oidc_provider = absent("iam:GetOpenIDConnectProvider"),
                Status::Fail,
                "IAM has no OIDC provider",
            ),
            (
                "the provider takes another audience",
                |f| {
                    if let Observed::Known(provider) = &mut f.controller.oidc_provider.observed {
                        provider.audiences = vec!["other".into()];
                    }
                },
                Status::Fail,
                "takes tokens for other only",
            ),
            (
                "the role is missing",
                |f| f.controller.role = absent("iam:GetRole"),
                Status::Fail,
                "does not exist",
            ),
            (
                "the role is denied",
                |f| f.controller.role = denied("iam:GetRole"),
                Status::Unknown,
                "could not be read: iam:GetRole denied",
            ),
            (
                "the service account is missing",
                |f| f.controller.service_account = absent("get serviceaccounts"),
                Status::Fail,
                "does not exist, so its pods can't start",
            ),
            (
                "the service account is denied",
                |f| f.controller.service_account = denied("get serviceaccounts"),
                Status::Unknown,
                "get serviceaccounts denied",
            ),
            (
                "neither way, running",
                no_annotation,
                Status::Warn,
                "no annotation eks.amazonaws.com/role-arn and no Pod Identity association",
            ),
            (
                "neither way, not running",
                |f| {
                    no_annotation(f);
                    if let Observed::Known(list) = &mut f.controller.deployments.observed {
                        list.items[0].ready_replicas = 0;
                    }
                },
                Status::Fail,
                "has no ready pod now",
            ),
            (
                "no agent",
                |f| {
                    pod_identity(f);
                    f.controller.addon = absent("eks:DescribeAddon");
                    f.controller.agent_pods = absent("get daemonsets");
                },
                Status::Fail,
                "no Pod Identity agent",
            ),
            (
                "an agent without the add-on",
                |f| {
                    pod_identity(f);
                    f.controller.addon = denied("eks:DescribeAddon");
                },
                Status::Pass,
                "Pod Identity",
            ),
            (
                "the agent does not run",
                |f| {
                    pod_identity(f);
                    f.controller.agent_pods = known("get daemonsets", AgentPods { desired: 2, ready: 0 });
                },
                Status::Fail,
                "0 of 2 pods are ready",
            ),
            (
                "the controller on Fargate with Pod Identity",
                |f| {
                    pod_identity(f);
                    f.controller.pods = known(
                        "list pods",
                        ControllerPods {
                            total: 2,
                            on_fargate: 2,
                        },
                    );
                },
                Status::Fail,
                "the controller runs on Fargate, where no agent runs",
            ),
            (
                "a Fargate-only cluster with Pod Identity",
                |f| {
                    pod_identity(f);
                    let mut nodes = NodeFold::default();
                    let mut fargate = node("x", "x");
                    fargate["metadata"]["labels"] = json!({"eks.amazonaws.com/compute-type": "fargate"});
                    nodes.add_json(&fargate);
                    f.traces.nodes = known("list nodes", nodes);
                },
                Status::Fail,
                "this cluster has Fargate nodes only",
            ),
            (
                "no TagSession",
                |f| {
                    pod_identity(f);
                    if let Observed::Known(role) = &mut f.controller.role.observed {
                        role.trust = role.trust.replace(r#","sts:TagSession""#, "");
                    }
                },
                Status::Fail,
                "sts:TagSession; Pod Identity needs both",
            ),
            (
                "the association's role denied",
                |f| {
                    pod_identity(f);
                    f.controller.association = denied("eks:DescribePodIdentityAssociation");
                },
                Status::Unknown,
                "eks:DescribePodIdentityAssociation denied",
            ),
            (
                "another cluster's name",
                |f| {
                    if let Observed::Known(list) = &mut f.controller.deployments.observed {
                        list.items[0].settings.cluster_name = Some("prod".into());
                    }
                },
                Status::Fail,
                "set to work on cluster prod (CLUSTER_NAME), but runs in demo",
            ),
            (
                "Deployments denied",
                |f| f.controller.deployments = denied("list deployments.apps"),
                Status::Unknown,
                "list deployments.apps denied",
            ),
            (
                "pools, but no Deployment",
                |f| f.controller.deployments = known("list deployments.apps", List::default()),
                Status::Warn,
                "no Deployment labelled",
            ),
            (
                "the cluster denied",
                |f| f.cluster = denied("eks:DescribeCluster"),
                Status::Unknown,
                "eks:DescribeCluster denied",
            ),
            (
                "Auto Mode",
                |f| {
                    f.controller.deployments = known("list deployments.apps", List::default());
                    if let Observed::Known(cluster) = &mut f.cluster.observed {
                        cluster.auto_mode = true;
                    }
                },
                Status::Skip,
                "EKS Auto Mode runs Karpenter",
            ),
            (
                "the chart's account",
                |f| chart(f, true),
                Status::Pass,
                "IRSA, role",
            ),
            (
                "the chart's account, in another namespace than the trust has",
                |f| {
                    chart(f, true);
                    if let Some(controller) = f.ask.chart.as_mut().and_then(|chart| chart.controller.as_mut())
                    {
                        controller.deployment.namespace = "karpenter".into();
                    }
                },
                Status::Fail,
                "the controller's is `system:serviceaccount:karpenter:karpenter`",
            ),
            (
                "the chart makes no account and there is none",
                |f| {
                    chart(f, false);
                    f.controller.service_account = absent("get serviceaccounts");
                },
                Status::Fail,
                "does not exist, so its pods can't start",
            ),
            (
                "a chart without Karpenter",
                |f| {
                    chart(f, true);
                    f.ask.chart = None;
                },
                Status::Skip,
                "holds no Karpenter controller",
            ),
        ];
        for (name, damage, status, says) in rows {
            let mut facts = with_karpenter();
            damage(&mut facts);
            let judgement = controller_identity(&facts);
            assert_eq!(judgement.status, *status, "{name}: {}", judgement.message);
            assert!(judgement.message.contains(says), "{name}: {}", judgement.message);
            if *status == Status::Fail && !judgement.message.contains("CLUSTER_NAME") {
                let remedy = judgement.remedy.unwrap_or_default();
                assert!(!remedy.text.is_empty() && !remedy.commands.is_empty(), "{name}");
            }
        }
    }

    #[test]
    fn an_unread_thing_names_its_grant() {
        let mut facts = with_karpenter();
        facts.controller.role = denied("iam:GetRole");
        let judgement = controller_identity(&facts);
        assert_eq!(judgement.evidence.get("denied"), Some(&json!("iam:GetRole")));
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
        if let Observed::Known(cluster) = &mut auto.cluster.observed {
            cluster.auto_mode = true;
        }
        assert!(!needed(&auto));
    }
}
