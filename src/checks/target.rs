//! Which cluster, which account: what every other finding rests on.

use super::{Check, Group, Judgement, always, lost_ground, never};
use crate::cluster::Target;
use crate::cluster::clues::{host_of, region_of_eks_host};
use crate::cluster::resolve::same_endpoint;
use crate::facts::Facts;
use crate::model::Observed;

/// A status in which the API server answers.
pub(super) fn serves(status: &str) -> bool {
    matches!(status, "ACTIVE" | "UPDATING")
}

/// (credentials' account, cluster's account) when they are known to differ. The kubeconfig's own word counts too: a
/// cluster of the same name in the wrong account would otherwise look right.
pub(crate) fn account_mismatch(facts: &Facts) -> Option<(String, String)> {
    let caller = &facts.caller.known()?.account;
    let by_kubeconfig = facts.target.account.as_deref();
    let by_eks = facts.cluster.known().and_then(|cluster| cluster.account());
    [by_kubeconfig, by_eks]
        .into_iter()
        .flatten()
        .find(|account| *account != caller)
        .map(|account| (caller.clone(), account.to_owned()))
}

/// The flags that name the cluster and the identity in AWS CLI commands.
pub(crate) fn aws_flags(facts: &Facts) -> String {
    aws_flags_of(&facts.target)
}

/// The same, of a target alone.
pub(crate) fn aws_flags_of(target: &Target) -> String {
    let profile = target
        .profile
        .as_ref()
        .map(|profile| format!(" --profile {}", crate::text::quote(profile)));
    format!(
        " --region {}{}",
        crate::text::quote(&target.region),
        profile.unwrap_or_default()
    )
}

pub static CLUSTER_FOUND: Check = Check {
    id: "cluster-found",
    group: Group::Target,
    title: "The context is an EKS cluster, and the cluster is active",
    needed: always,
    judge: cluster_found,
};

fn cluster_found(facts: &Facts) -> Judgement {
    let target = &facts.target;
    let flags = aws_flags(facts);
    let name = &target.cluster;
    match &facts.cluster.observed {
        Observed::Known(cluster) => {
            let status = cluster.status.as_str();
            let version = cluster.version.as_deref().unwrap_or("of unknown version");
            let base = if serves(status) {
                if target.disagreements.is_empty() {
                    Judgement::pass(format!("{name} in {} is {status}, Kubernetes {version}", target.region))
                } else {
                    Judgement::warn(format!(
                        "{name} in {} is {status}, but the sources disagree: {}",
                        target.region,
                        target.disagreements.join("; ")
                    ))
                    .remedy(
                        "Check that this is the cluster you mean; name it with --context, or write the kubeconfig entry anew.",
                        [format!("aws eks update-kubeconfig --name {}{flags}", crate::text::quote(name))],
                    )
                }
            } else {
                let failed = Judgement::fail(format!("{name} in {} is {status}, not ACTIVE", target.region));
                match status {
                    "CREATING" | "PENDING" => failed.remedy(
                        "Wait until it is there, then run this again.",
                        [format!("aws eks wait cluster-active --name {}{flags}", crate::text::quote(name))],
                    ),
                    _ => failed.remedy(
                        "See what EKS says about it.",
                        [format!("aws eks describe-cluster --name {}{flags} --query cluster.health", crate::text::quote(name))],
                    ),
                }
            };
            base.evidence("status", status).evidence("arn", cluster.arn.as_str())
        }
        Observed::Absent => {
            let account = facts.caller.known().map_or("the credentials", |caller| caller.account.as_str());
            if account_mismatch(facts).is_some() {
                return Judgement::ground_lost(format!(
                    "{name} was looked for in account {account}, which is not the account that the kubeconfig names: see same-account"
                ))
                .from(&facts.cluster);
            }
            Judgement::fail(format!("EKS has no cluster {name} in {} of account {account}", target.region)).remedy(
                "Is it another region or profile? See which clusters there are, and name it with --region, --profile, \
                 --cluster-name or --context. A kubeconfig entry outlives its cluster.",
                [format!("aws eks list-clusters{flags}")],
            )
        }
        Observed::Unknown(unknown) => Judgement::unknown(&format!("the cluster {name}"), unknown),
    }
    .from(&facts.cluster)
}

pub static ENDPOINT_MATCHES: Check = Check {
    id: "endpoint-matches",
    group: Group::Target,
    title: "The kubeconfig's server and certificate authority are this cluster's",
    needed: always,
    judge: endpoint_matches,
};

fn endpoint_matches(facts: &Facts) -> Judgement {
    if let Some(reason) = lost_ground(facts) {
        return Judgement::ground_lost(reason);
    }
    let cluster = match &facts.cluster.observed {
        Observed::Known(cluster) => cluster,
        Observed::Absent => return Judgement::ground_lost("the cluster was not found: see cluster-found"),
        Observed::Unknown(unknown) => {
            return Judgement::unknown("the cluster's endpoint", unknown).from(&facts.cluster);
        }
    };
    let server = facts.target.server.as_str();
    let Some(endpoint) = cluster
        .endpoint
        .as_deref()
        .filter(|endpoint| !endpoint.is_empty())
    else {
        return Judgement::ground_lost(format!(
            "the cluster is {} and has no endpoint: see cluster-found",
            cluster.status
        ))
        .from(&facts.cluster);
    };
    let same_ca = match (
        &facts.target.certificate_authority_sha256,
        &cluster.certificate_authority_sha256,
    ) {
        (Some(ours), Some(theirs)) => Some(ours == theirs),
        _ => None,
    };
    let judgement = if same_ca == Some(false) {
        Judgement::fail(format!(
            "the kubeconfig's certificate authority is not {}'s: its server {server} is another cluster, or something in between",
            facts.target.cluster
        ))
        .remedy(
            "Write the kubeconfig entry anew, then run this again.",
            [format!("aws eks update-kubeconfig --name {}{}", crate::text::quote(&facts.target.cluster), aws_flags(facts))],
        )
    } else if facts.target.insecure {
        Judgement::warn(format!(
            "the kubeconfig does not verify the certificate of {server} (insecure-skip-tls-verify): whoever is on the way can read \
             and change everything"
        ))
        .remedy(
            "Write the kubeconfig entry anew: it then has the cluster's certificate authority.",
            [format!("aws eks update-kubeconfig --name {}{}", crate::text::quote(&facts.target.cluster), aws_flags(facts))],
        )
    } else if same_endpoint(server, endpoint) {
        Judgement::pass(format!("the server is the cluster's endpoint, {endpoint}"))
    } else if host_of(server)
        .as_deref()
        .is_some_and(|host| region_of_eks_host(host).is_some())
    {
        Judgement::fail(format!(
            "the kubeconfig's server {server} is another EKS endpoint; {}'s is {endpoint}: the cluster was created again \
             under its name, or this is a cluster of the same name elsewhere",
            facts.target.cluster
        ))
        .remedy(
            "Write the kubeconfig entry anew, then run this again.",
            [format!("aws eks update-kubeconfig --name {}{}", crate::text::quote(&facts.target.cluster), aws_flags(facts))],
        )
    } else if facts.target.context == "in-cluster" && same_ca == Some(true) {
        Judgement::pass("in the cluster: its certificate authority is the cluster's")
    } else {
        let ca = match same_ca {
            Some(true) => "; its certificate authority is the cluster's, so it is the same one",
            _ => "",
        };
        Judgement::warn(format!("the kubeconfig's server {server} is not the cluster's endpoint {endpoint}: a tunnel or proxy{ca}"))
            .remedy("Make sure that the tunnel ends at this cluster: compare its certificate authority with EKS's.", [format!(
                "aws eks describe-cluster --name {}{} --query cluster.certificateAuthority.data --output text",
                crate::text::quote(&facts.target.cluster),
                aws_flags(facts)
            )])
    };
    judgement
        .evidence("server", server)
        .evidence("endpoint", endpoint)
        .from(&facts.cluster)
}

pub static SAME_ACCOUNT: Check = Check {
    id: "same-account",
    group: Group::Target,
    title: "The AWS credentials belong to the cluster's account",
    needed: always,
    judge: same_account,
};

fn same_account(facts: &Facts) -> Judgement {
    let caller = match &facts.caller.observed {
        Observed::Known(caller) => caller,
        Observed::Absent => return Judgement::undecided("STS says there is no caller").from(&facts.caller),
        Observed::Unknown(unknown) => {
            return Judgement::unknown("who the AWS credentials are", unknown).from(&facts.caller);
        }
    };
    if let Some((credentials, cluster)) = account_mismatch(facts) {
        return Judgement::fail(format!(
            "the credentials are of account {credentials} ({}), the cluster {} is in account {cluster}",
            caller.arn, facts.target.cluster
        ))
        .evidence("credentials", credentials.as_str())
        .evidence("cluster", cluster.as_str())
        .remedy(
            format!("Use credentials of account {cluster}: name their profile with --profile or AWS_PROFILE. Nothing is written until then."),
            ["aws configure list-profiles".to_owned(), "aws sts get-caller-identity --profile PROFILE".to_owned()],
        )
        .from(&facts.caller)
        .from(&facts.cluster);
    }
    match &facts.cluster.observed {
        Observed::Known(cluster) => match cluster.account() {
            Some(account) => {
                Judgement::pass(format!("account {account}, as {}", caller.arn)).evidence("account", account)
            }
            None => Judgement::undecided(format!("the cluster's ARN {} names no account", cluster.arn)),
        },
        Observed::Absent => Judgement::ground_lost("the cluster was not found: see cluster-found"),
        Observed::Unknown(unknown) => Judgement::unknown("the cluster's account", unknown),
    }
    .from(&facts.caller)
    .from(&facts.cluster)
}

pub static CLUSTER_MATCHES_CHART: Check = Check {
    id: "cluster-matches-chart",
    group: Group::Target,
    title: "The chart names this cluster",
    needed: never,
    judge: cluster_matches_chart,
};

fn cluster_matches_chart(facts: &Facts) -> Judgement {
    if !facts.ask.installing {
        return Judgement::skip("no chart is being installed");
    }
    let Some(chart) = &facts.ask.chart_cluster else {
        return Judgement::skip(
            "the chart names no cluster (settings.clusterName is not set, or it is not Karpenter's chart)",
        );
    };
    let judgement = if *chart == facts.target.cluster {
        Judgement::pass(format!("the chart names {chart}"))
    } else {
        Judgement::fail(format!(
            "the chart names the cluster {chart}, the context is {}",
            facts.target.cluster
        ))
        .remedy(
            "Name this cluster in the chart's values, or install into the other one with --kube-context.",
            [format!(
                "--set settings.clusterName={}",
                crate::text::quote(&facts.target.cluster)
            )],
        )
    };
    judgement
        .evidence("chart", chart.as_str())
        .evidence("cluster", facts.target.cluster.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::{Skip, Status};
    use crate::facts::fixture::{ACCOUNT, absent, denied, healthy};

    type Damage = fn(&mut Facts);

    fn cluster(facts: &mut Facts) -> &mut crate::facts::eks::Cluster {
        match &mut facts.cluster.observed {
            Observed::Known(cluster) => cluster,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_check_on_each_way_things_can_be() {
        let rows: &[(&str, &Check, Damage, Status, &str)] = &[
            (
                "good",
                &CLUSTER_FOUND,
                |_| {},
                Status::Pass,
                "demo in eu-west-1 is ACTIVE, Kubernetes 1.34",
            ),
            (
                "updating",
                &CLUSTER_FOUND,
                |f| cluster(f).status = "UPDATING".into(),
                Status::Pass,
                "is UPDATING",
            ),
            (
                "creating",
                &CLUSTER_FOUND,
                |f| cluster(f).status = "CREATING".into(),
                Status::Fail,
                "is CREATING, not ACTIVE",
            ),
            (
                "deleting",
                &CLUSTER_FOUND,
                |f| cluster(f).status = "DELETING".into(),
                Status::Fail,
                "is DELETING",
            ),
            (
                "gone",
                &CLUSTER_FOUND,
                |f| f.cluster = absent("x"),
                Status::Fail,
                "no cluster demo in eu-west-1 of account 111122223333",
            ),
            (
                "denied",
                &CLUSTER_FOUND,
                |f| f.cluster = denied("eks:DescribeCluster"),
                Status::Unknown,
                "eks:DescribeCluster denied",
            ),
            (
                "sources disagree",
                &CLUSTER_FOUND,
                |f| f.target.disagreements.push("a names b".into()),
                Status::Warn,
                "a names b",
            ),
            (
                "good",
                &ENDPOINT_MATCHES,
                |_| {},
                Status::Pass,
                "is the cluster's endpoint",
            ),
            (
                "created again",
                &ENDPOINT_MATCHES,
                |f| f.target.server = "https://OLD.gr7.eu-west-1.eks.amazonaws.com".into(),
                Status::Fail,
                "another EKS endpoint",
            ),
            (
                "tunnel",
                &ENDPOINT_MATCHES,
                |f| f.target.server = "https://localhost:8443".into(),
                Status::Warn,
                "a tunnel or proxy",
            ),
            (
                "no endpoint yet",
                &ENDPOINT_MATCHES,
                |f| cluster(f).endpoint = None,
                Status::Skip,
                "has no endpoint",
            ),
            (
                "denied",
                &ENDPOINT_MATCHES,
                |f| f.cluster = denied("eks:DescribeCluster"),
                Status::Unknown,
                "denied",
            ),
            (
                "good",
                &SAME_ACCOUNT,
                |_| {},
                Status::Pass,
                "account 111122223333",
            ),
            (
                "cluster elsewhere",
                &SAME_ACCOUNT,
                |f| cluster(f).arn = "arn:aws:eks:eu-west-1:444455556666:cluster/demo".into(),
                Status::Fail,
                "the cluster demo is in account 444455556666",
            ),
            (
                "the kubeconfig names another account",
                &SAME_ACCOUNT,
                |f| f.target.account = Some("444455556666".into()),
                Status::Fail,
                "444455556666",
            ),
            (
                "unread cluster",
                &SAME_ACCOUNT,
                |f| f.cluster = denied("eks:DescribeCluster"),
                Status::Unknown,
                "denied",
            ),
            (
                "no identity",
                &SAME_ACCOUNT,
                |f| f.caller = denied("sts:GetCallerIdentity"),
                Status::Unknown,
                "who the AWS credentials are",
            ),
            (
                "no chart",
                &CLUSTER_MATCHES_CHART,
                |_| {},
                Status::Skip,
                "no chart",
            ),
            (
                "another cluster's chart",
                &CLUSTER_MATCHES_CHART,
                |f| {
                    f.ask.installing = true;
                    f.ask.chart_cluster = Some("other".into());
                },
                Status::Fail,
                "the chart names the cluster other",
            ),
        ];
        for (name, check, damage, status, says) in rows {
            let mut facts = healthy();
            damage(&mut facts);
            let judgement = (check.judge)(&facts);
            assert_eq!(
                judgement.status, *status,
                "{} / {name}: {}",
                check.id, judgement.message
            );
            assert!(
                judgement.message.contains(says),
                "{} / {name}: {}",
                check.id,
                judgement.message
            );
            if *status == Status::Fail {
                assert!(
                    judgement.remedy.is_some_and(|remedy| !remedy.commands.is_empty()),
                    "{} / {name}",
                    check.id
                );
            }
        }
    }

    #[test]
    fn what_rests_on_a_wrong_account_is_not_judged() {
        let mut facts = healthy();
        facts.target.account = Some("444455556666".to_owned());
        for check in crate::checks::REGISTRY {
            let judgement = (check.judge)(&facts);
            match check.id {
                "same-account" => assert_eq!(judgement.status, Status::Fail),
                "cluster-matches-chart" | "cluster-found" => {}
                id => assert_eq!(
                    judgement.skip,
                    Some(Skip::GroundLost),
                    "{id}: {}",
                    judgement.message
                ),
            }
        }
        assert!(crate::spot_role::plan(&facts, None).is_err());
    }

    #[test]
    fn a_hostile_name_stays_one_word_in_a_command() {
        let mut facts = healthy();
        facts.target.cluster = "$(reboot) x".to_owned();
        cluster(&mut facts).status = "CREATING".to_owned();
        let remedy = (CLUSTER_FOUND.judge)(&facts).remedy.expect("a remedy");
        let words = shlex::split(&remedy.commands[0]).expect("a command");
        assert!(words.contains(&"$(reboot) x".to_owned()), "{words:?}");
        assert_eq!(account_mismatch(&facts), None, "{ACCOUNT}");
    }
}
