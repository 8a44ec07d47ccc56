//! The quotas on the vCPUs of running spot instances.

use serde_json::json;

use super::failures::request_command;
use super::karpenter::{Wanted, spot_pools, spot_wanted};
use super::{Check, Group, Judgement, lost_ground, never};
use crate::facts::Facts;
use crate::karpenter::instances::{SpotQuota, spot_needs_of};
use crate::model::Observed;

pub(crate) static SPOT_QUOTA: Check = Check {
    id: "spot-quota",
    group: Group::SpotRole,
    title: "The Spot quotas leave room for the pools' instances",
    needed: never,
    judge: spot_quota,
};

/// What to ask for: room for a small cluster, or four of the smallest instance that fits.
fn desired(least: u32) -> u32 {
    least.saturating_mul(4).max(32)
}

fn spot_quota(facts: &Facts) -> Judgement {
    if let Some(reason) = lost_ground(facts) {
        return Judgement::ground_lost(reason);
    }
    if let Wanted::No(why) = spot_wanted(facts) {
        return Judgement::skip(why);
    }
    let needs = spot_needs_of(spot_pools(facts));
    let least = |quota: SpotQuota| {
        needs
            .quotas
            .iter()
            .find(|need| need.quota == quota)
            .map_or(1, |need| need.smallest_vcpus)
    };
    let region = &facts.target.region;
    let (mut low, mut good, mut evidence, mut commands) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut unread = None;
    for fact in &facts.spot_quotas {
        let (quota, least) = (fact.quota, least(fact.quota));
        let Observed::Known(vcpus) = &fact.vcpus.observed else {
            unread.get_or_insert(fact);
            continue;
        };
        evidence.push(
            json!({"code": quota.code(), "name": quota.name(), "vcpus": vcpus, "smallestInstance": least}),
        );
        let fresh = quota == SpotQuota::Standard && *vcpus <= f64::from(quota.default_vcpus());
        if *vcpus < f64::from(least) {
            low.push(format!(
                "{quota} is {vcpus} vCPUs in {region}, less than one instance needs ({least})"
            ));
        } else if fresh {
            low.push(format!(
                "{quota} is {vcpus} vCPUs in {region}, what a fresh account has: one small node, and the rest is on-demand"
            ));
        } else {
            good.push(format!("{quota}: {vcpus} vCPUs"));
            continue;
        }
        commands.push(request_command(facts, quota, desired(least)));
    }
    let assumed = match needs.assumed || needs.quotas.is_empty() {
        true => " (Standard families are assumed: no pool narrows them)",
        false => "",
    };
    let mut judgement = if !low.is_empty() {
        Judgement::warn(low.join("; ")).remedy(
            "Ask for more; beyond the quota Karpenter falls back to on-demand in silence.",
            commands,
        )
    } else if let Some(fact) = unread {
        match &fact.vcpus.observed {
            Observed::Unknown(unknown) => Judgement::unknown(&format!("the quota {}", fact.quota), unknown),
            _ => Judgement::undecided(format!(
                "Service Quotas has no value for {} in {region}; AWS's default is {} vCPUs",
                fact.quota,
                fact.quota.default_vcpus()
            )),
        }
    } else if good.is_empty() {
        Judgement::undecided(format!(
            "no spot quota is known for what the pools name: {}",
            needs.without_quota.join(", ")
        ))
    } else {
        Judgement::pass(format!("{} in {region}{assumed}", good.join("; ")))
    };
    if !needs.without_quota.is_empty() {
        judgement = judgement.evidence("withoutQuota", json!(needs.without_quota));
    }
    judgement = judgement
        .evidence("region", region.as_str())
        .evidence("quotas", json!(evidence));
    for fact in &facts.spot_quotas {
        judgement = judgement.from(&fact.vcpus);
    }
    judgement
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Status;
    use crate::facts::fixture::{
        absent, capacity_type, denied, healthy, node_pool, quota, with_karpenter, with_pools,
    };
    use crate::facts::quotas::QuotaFact;

    type Damage = fn(&mut Facts);

    fn gpu(facts: &mut Facts) {
        let families =
            json!([{"key": "karpenter.k8s.aws/instance-family", "operator": "In", "values": ["m5", "g5"]}]);
        with_pools(facts, vec![node_pool("general", families)]);
    }

    #[test]
    fn quotas_of_every_size() {
        use SpotQuota::{GAndVt, Standard};
        let rows: &[(&str, Damage, Status, &[&str])] = &[
            (
                "enough",
                |_| {},
                Status::Pass,
                &["(L-34B43A08): 32 vCPUs in eu-west-1 (Standard families are assumed"],
            ),
            (
                "before Karpenter",
                |f| *f = healthy(),
                Status::Pass,
                &["32 vCPUs", "assumed"],
            ),
            (
                "fresh account",
                |f| f.spot_quotas = vec![quota(Standard, 5.0)],
                Status::Warn,
                &["5 vCPUs in eu-west-1, what a fresh account has"],
            ),
            (
                "nothing",
                |f| f.spot_quotas = vec![quota(Standard, 0.0)],
                Status::Warn,
                &["0 vCPUs in eu-west-1, less than one instance needs (1)"],
            ),
            (
                "another family",
                |f| {
                    gpu(f);
                    f.spot_quotas = vec![quota(Standard, 64.0), quota(GAndVt, 0.0)];
                },
                Status::Warn,
                &[
                    "All G and VT Spot Instance Requests (L-3819A6DF) is 0 vCPUs",
                    "less than one instance needs (4)",
                ],
            ),
            (
                "another family, enough",
                |f| {
                    gpu(f);
                    f.spot_quotas = vec![quota(Standard, 64.0), quota(GAndVt, 4.0)];
                },
                Status::Pass,
                &["64 vCPUs; All G and VT"],
            ),
            (
                "denied",
                |f| {
                    f.spot_quotas = vec![QuotaFact {
                        quota: Standard,
                        vcpus: denied("servicequotas:GetServiceQuota"),
                    }]
                },
                Status::Unknown,
                &["servicequotas:GetServiceQuota denied"],
            ),
            (
                "one denied, the other low",
                |f| {
                    gpu(f);
                    f.spot_quotas = vec![
                        QuotaFact {
                            quota: Standard,
                            vcpus: denied("servicequotas:GetServiceQuota"),
                        },
                        quota(GAndVt, 0.0),
                    ];
                },
                Status::Warn,
                &["0 vCPUs"],
            ),
            (
                "no such quota",
                |f| {
                    f.spot_quotas = vec![QuotaFact {
                        quota: Standard,
                        vcpus: absent("servicequotas:GetServiceQuota"),
                    }]
                },
                Status::Unknown,
                &["has no value"],
            ),
            (
                "nothing wants spot",
                |f| with_pools(f, vec![node_pool("a", capacity_type(&["on-demand"]))]),
                Status::Skip,
                &["cannot launch spot"],
            ),
        ];
        for (name, damage, status, says) in rows {
            let mut facts = with_karpenter();
            damage(&mut facts);
            let judgement = spot_quota(&facts);
            assert_eq!(judgement.status, *status, "{name}: {}", judgement.message);
            for text in *says {
                assert!(judgement.message.contains(text), "{name}: {}", judgement.message);
            }
            if *status == Status::Warn {
                let commands = judgement.remedy.map(|remedy| remedy.commands).unwrap_or_default();
                assert!(
                    commands.iter().all(|command| command
                        .contains("request-service-quota-increase --service-code ec2 --quota-code L-")
                        && command.ends_with("--region eu-west-1"))
                        && !commands.is_empty(),
                    "{name}: {commands:?}"
                );
            }
        }
        assert!(!(SPOT_QUOTA.needed)(&with_karpenter()));
    }
}
