//! Whether the kubeconfig's server is the cluster that AWS talks about.

use super::{Check, Group, Judgement, always, lost_ground};
use crate::cluster::clues::{host_of, region_of_eks_host};
use crate::cluster::resolve::same_endpoint;
use crate::facts::Facts;
use crate::model::{Command, Observed};

pub(crate) static ENDPOINT_MATCHES: Check = Check {
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
    let server = facts.target.server.as_str();
    let same_ca = facts
        .target
        .certificate_authority_sha256
        .as_ref()
        .zip(cluster.certificate_authority_sha256.as_ref())
        .map(|(ours, theirs)| ours == theirs);
    let of_eks = host_of(server).is_some_and(|host| region_of_eks_host(&host).is_some());
    let judgement = match (same_endpoint(server, endpoint), same_ca) {
        (false, _) if of_eks => another(
            facts,
            format!(
                "the kubeconfig's server {server} is another EKS endpoint; {}'s is {endpoint}: the cluster was created again \
                 under its name, or this is a cluster of the same name elsewhere",
                facts.target.cluster
            ),
        ),
        (_, Some(false)) => another(
            facts,
            format!(
                "the kubeconfig's certificate authority is not {}'s (server {server}): the cluster was created again under its \
                 name, or something else answers there",
                facts.target.cluster
            ),
        ),
        (true, _) if facts.target.insecure => Judgement::warn(format!(
            "the kubeconfig does not verify the certificate of {server} (insecure-skip-tls-verify): whoever is on the way can read \
             and change everything"
        ))
        .headline("The kubeconfig does not verify the server's certificate")
        .fix(
            "Write the kubeconfig entry again: it then has the cluster's certificate authority.",
            [rewrite_entry(facts)],
        ),
        (true, _) => Judgement::pass(format!("the server is the cluster's endpoint, {endpoint}")),
        (false, Some(true)) if facts.target.context == "in-cluster" => {
            Judgement::pass("in the cluster: its certificate authority is the cluster's")
        }
        (false, ca) => {
            let ca = match ca {
                Some(true) => "; its certificate authority is the cluster's, so the same cluster answers",
                _ => "; the kubeconfig names no certificate authority to compare",
            };
            let describe = [
                "eks",
                "describe-cluster",
                "--name",
                &facts.target.cluster,
                "--query",
                "cluster.certificateAuthority.data",
                "--output",
                "text",
            ];
            Judgement::warn(format!(
                "the kubeconfig's server {server} is not the cluster's endpoint {endpoint}: a tunnel or proxy{ca}"
            ))
            .headline("The kubeconfig's server is a tunnel or a proxy")
            .fix(
                "Make sure that the tunnel ends at this cluster: compare its certificate authority with EKS's.",
                [facts.target.aws(&describe)],
            )
        }
    };
    judgement
        .evidence("server", server)
        .evidence("endpoint", endpoint)
        .from(&facts.cluster)
}

fn another(facts: &Facts, message: String) -> Judgement {
    Judgement::fail(message)
        .headline("The kubeconfig leads to another cluster")
        .fix(
            "Write the kubeconfig entry again, then run this again.",
            [rewrite_entry(facts)],
        )
}

/// `aws eks update-kubeconfig` into the same file, under the same context's name.
fn rewrite_entry(facts: &Facts) -> Command {
    let target = &facts.target;
    let mut words = vec!["eks", "update-kubeconfig", "--name", &target.cluster];
    let scope = &target.scope;
    words.extend(
        scope
            .context
            .iter()
            .flat_map(|context| ["--alias", context.as_str()]),
    );
    words.extend(
        scope
            .kubeconfig
            .iter()
            .flat_map(|file| ["--kubeconfig", file.as_str()]),
    );
    target.aws(&words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::told_of;
    use crate::facts::fixture::{denied, healthy, known_cluster};

    fn with_ca(facts: &mut Facts, ours: Option<&str>) {
        known_cluster(facts).certificate_authority_sha256 = Some("aa".into());
        facts.target.certificate_authority_sha256 = ours.map(str::to_owned);
    }

    #[test]
    fn each_way_it_can_be() {
        let said = told_of(
            healthy,
            ENDPOINT_MATCHES.judge,
            &[
                ("good", |_| {}),
                ("the certificate is not verified", |f| f.target.insecure = true),
                ("good, with its certificate authority", |f| with_ca(f, Some("aa"))),
                ("another certificate authority behind the endpoint", |f| {
                    with_ca(f, Some("bb"))
                }),
                ("created again", |f| {
                    f.target.server = "https://OLD.gr7.eu-west-1.eks.amazonaws.com".into()
                }),
                (
                    "another EKS endpoint with the cluster's certificate authority",
                    |f| {
                        f.target.server = "https://OLD.gr7.eu-west-1.eks.amazonaws.com".into();
                        with_ca(f, Some("aa"));
                    },
                ),
                ("a tunnel", |f| f.target.server = "https://localhost:8443".into()),
                ("a tunnel to this cluster", |f| {
                    f.target.server = "https://localhost:8443".into();
                    with_ca(f, Some("aa"));
                }),
                ("a tunnel to another cluster", |f| {
                    f.target.server = "https://localhost:8443".into();
                    with_ca(f, Some("bb"));
                }),
                ("in the cluster", |f| {
                    f.target.server = "https://10.100.0.1".into();
                    f.target.context = "in-cluster".into();
                    with_ca(f, Some("aa"));
                }),
                ("no endpoint yet", |f| known_cluster(f).endpoint = None),
                ("denied", |f| f.cluster = denied("eks:DescribeCluster")),
            ],
        );
        insta::assert_snapshot!(said);
    }
}
