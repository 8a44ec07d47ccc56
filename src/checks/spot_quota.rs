//! The quotas on the vCPUs of running Spot instances.

use serde_json::json;

use super::karpenter::{SpotDemand, launch_paths, spot_demand};
use super::parts::together;
use super::{Check, Group, Judgement, lost_ground, never};
use crate::facts::Facts;
use crate::karpenter::instances::{SpotQuota, spot_needs, spot_needs_of};
use crate::karpenter::requirements::SpotVerdict;
use crate::model::{Command, Observed, argv};

pub(crate) static CHECK: Check = Check {
    id: "spot-quota",
    group: Group::SpotRole,
    title: "The Spot quotas leave room for the pools' instances",
    needed: never,
    judge,
};

/// What to ask for: room for a small cluster, or four of the smallest instance that fits.
fn desired(least: u32) -> u32 {
    least.saturating_mul(4).max(32)
}

/// The command that asks for a higher quota.
pub(super) fn request(facts: &Facts, quota: SpotQuota, vcpus: u32) -> Command {
    facts.target.aws(&argv(
        "service-quotas request-service-quota-increase --service-code ec2 --quota-code {} --desired-value {}",
        &[quota.code(), &vcpus.to_string()],
    ))
}

fn judge(facts: &Facts) -> Judgement {
    if let Some(reason) = lost_ground(facts) {
        return Judgement::ground_lost(reason);
    }
    if let SpotDemand::No(why) = spot_demand(facts) {
        return Judgement::skip(why);
    }
    let paths = launch_paths(facts);
    let needs = spot_needs_of(paths.spot().map(|path| path.pool));
    // Pools that launch nothing at all without that quota.
    let only_spot: Vec<SpotQuota> = paths
        .spot()
        .filter(|path| matches!(path.spot, SpotVerdict::CanLaunchSpot { must: true, .. }))
        .filter_map(|path| match spot_needs(path.pool).quotas.as_slice() {
            [one] => Some(one.quota),
            _ => None,
        })
        .collect();
    let region = &facts.target.region;
    let mut parts = Vec::new();
    for fact in &facts.spot_quotas {
        let quota = fact.quota;
        let least = needs
            .quotas
            .iter()
            .find(|need| need.quota == quota)
            .map_or(1, |need| need.smallest_vcpus);
        let part = match &fact.vcpus.observed {
            Observed::Unknown(unknown) => Judgement::unknown(&format!("the quota {quota}"), unknown)
                .headline("A Spot quota could not be read"),
            Observed::Absent => Judgement::undecided(format!(
                "Service Quotas has no value for {quota} in {region}; AWS's default is {} vCPUs",
                quota.default_vcpus()
            ))
            .headline("A Spot quota has no value"),
            Observed::Known(vcpus) if *vcpus < f64::from(least) => {
                let text =
                    format!("{quota} is {vcpus} vCPUs in {region}, less than one instance needs ({least})");
                let part = match only_spot.contains(&quota) {
                    true => Judgement::fail(format!(
                        "{text}: a pool that launches nothing but Spot launches nothing"
                    )),
                    false => {
                        Judgement::warn(format!("{text}: no Spot instance of these families is launched"))
                    }
                };
                part.headline("A Spot quota is too small for a single instance")
                    .fix(
                        "Ask for more; it takes minutes to days.",
                        [request(facts, quota, desired(least))],
                    )
            }
            Observed::Known(vcpus)
                if quota == SpotQuota::Standard && *vcpus <= f64::from(quota.default_vcpus()) =>
            {
                Judgement::warn(format!(
                    "{quota} is {vcpus} vCPUs in {region}, as in a new account: one small node fits"
                ))
                .headline(format!("The Spot quota is {vcpus} vCPUs, about one small node"))
                .fix(
                    "Ask for more; it takes minutes to days.",
                    [request(facts, quota, desired(least))],
                )
            }
            Observed::Known(vcpus) => Judgement::pass(format!("{quota}: {vcpus} vCPUs in {region}")),
        };
        parts.push(part.from(&fact.vcpus));
    }
    if let Some(part) = without_quota(&needs.without_quota, parts.is_empty()) {
        parts.push(part);
    }
    let mut judgement = together(parts);
    if needs.assumed || paths.spot().next().is_none() {
        judgement
            .message
            .push_str(" (no pool names instance families: Standard is assumed)");
    }
    let known = facts.spot_quotas.iter().filter_map(|fact| {
        let vcpus = fact.vcpus.known()?;
        Some(json!({"code": fact.quota.code(), "name": fact.quota.name(), "vcpus": vcpus}))
    });
    judgement
        .evidence("region", region.as_str())
        .evidence("quotas", known.collect::<Vec<_>>())
}

/// What the pools name and no Spot quota is known for; where there is nothing else, that is all there is to say.
fn without_quota(families: &[String], alone: bool) -> Option<Judgement> {
    // Families that EC2 offers on demand only (EC2 user guide, "Spot Instances").
    let never_spot = |family: &str| {
        ["hpc", "mac", "u-", "u7"]
            .iter()
            .any(|start| family.starts_with(start))
    };
    let (none, unknown): (Vec<&str>, Vec<&str>) = families
        .iter()
        .map(String::as_str)
        .partition(|family| never_spot(family));
    let mut said = Vec::new();
    if !none.is_empty() {
        said.push(format!("EC2 has no Spot for {}", none.join(", ")));
    }
    if !unknown.is_empty() {
        said.push(format!("no Spot quota is known for {}", unknown.join(", ")));
    }
    let part =
        match (alone, said.is_empty(), unknown.is_empty()) {
            (false, true, _) => return None,
            (true, true, _) => {
                Judgement::warn("the instance categories and families that the pools name exclude each other")
                    .headline("No instance type meets a pool's requirements")
            }
            (true, false, true) => Judgement::warn(said.join("; "))
                .headline("The pools name only instance families without Spot"),
            (true, false, false) => Judgement::undecided(said.join("; "))
                .headline("No Spot quota is known for the pools' families"),
            (false, false, _) => Judgement::pass(said.join("; ")),
        };
    Some(part.evidence("withoutQuota", json!(families)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::told_of;
    use crate::facts::fixture::{
        absent, capacity_type, denied, healthy, node_pool, quota, with_karpenter, with_pools,
    };
    use crate::facts::quotas::QuotaFact;

    fn families(facts: &mut Facts, families: &[&str]) {
        let families =
            json!([{"key": "karpenter.k8s.aws/instance-family", "operator": "In", "values": families}]);
        with_pools(facts, vec![node_pool("general", families)]);
    }

    #[test]
    fn quotas_of_every_size() {
        use SpotQuota::{GAndVt, Standard};
        insta::assert_snapshot!(told_of(
            with_karpenter,
            judge,
            &[
                ("enough", |_| {}),
                ("before Karpenter", |f| *f = healthy()),
                ("a new account", |f| f.spot_quotas = vec![quota(Standard, 5.0)]),
                ("nothing", |f| f.spot_quotas = vec![quota(Standard, 0.0)]),
                ("nothing, and nothing but Spot", |f| {
                    with_pools(f, vec![node_pool("spot", capacity_type(&["spot"]))]);
                    f.spot_quotas = vec![quota(Standard, 0.0)];
                }),
                ("another family", |f| {
                    families(f, &["m5", "g5"]);
                    f.spot_quotas = vec![quota(Standard, 64.0), quota(GAndVt, 0.0)];
                }),
                ("families without Spot", |f| {
                    families(f, &["hpc7g", "u-6tb1"]);
                    f.spot_quotas = Vec::new();
                }),
                ("a family beside one without Spot", |f| families(
                    f,
                    &["m5", "hpc7g"]
                )),
                ("families that exclude each other", |f| {
                    with_pools(
                        f,
                        vec![node_pool(
                            "general",
                            json!([
                    {"key": "karpenter.k8s.aws/instance-family", "operator": "In", "values": ["m5"]},
                    {"key": "karpenter.k8s.aws/instance-category", "operator": "In", "values": ["c"]}]),
                        )],
                    );
                    f.spot_quotas = Vec::new();
                }),
                ("one denied, the other low", |f| {
                    families(f, &["m5", "g5"]);
                    f.spot_quotas = vec![
                        QuotaFact {
                            quota: Standard,
                            vcpus: denied("servicequotas:GetServiceQuota"),
                        },
                        quota(GAndVt, 0.0),
                    ];
                }),
                ("no such quota", |f| f.spot_quotas = vec![QuotaFact {
                    quota: Standard,
                    vcpus: absent("servicequotas:GetServiceQuota")
                }]),
                ("nothing wants Spot", |f| with_pools(
                    f,
                    vec![node_pool("a", capacity_type(&["on-demand"]))]
                )),
            ]
        ));
    }
}
