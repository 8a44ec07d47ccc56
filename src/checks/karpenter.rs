//! Karpenter's own objects: whether anything asks for spot.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Check, Group, Judgement, Status, lost_cluster, never};
use crate::facts::Facts;
use crate::karpenter::objects::NodePool;
use crate::karpenter::requirements::{SpotVerdict, spot_verdict};
use crate::model::Observed;
use crate::text::quote;

/// Whether anything in the cluster asks for spot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// At least one pool can launch spot.
    Yes,
    /// There are pools, and none can; the reason as a clause.
    No(String),
    /// No pools are known: spot is assumed.
    Assumed,
}

/// A node pool that is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    /// The pool.
    pub(super) pool: &'a NodePool,
    /// The file it comes from; none: the cluster.
    pub(super) file: Option<&'a str>,
}

impl Seen<'_> {
    /// What changes it.
    fn edit(&self) -> String {
        match self.file {
            Some(file) => format!("${{EDITOR:-vi}} {}", quote(file)),
            None => format!(
                "kubectl edit {} {}",
                self.pool.kind().to_lowercase(),
                quote(&self.pool.name)
            ),
        }
    }
}

/// The pools that are or will be there: the cluster's, and those of `--nodepools`, which win over the cluster's of the
/// same name. Pools that are being deleted are left out.
#[derive(Debug, Clone, Default)]
pub(super) struct View<'a> {
    /// The pools.
    pub(super) pools: Vec<Seen<'a>>,
    /// A sentence for each that could not be understood.
    pub(super) broken: Vec<String>,
}

/// Puts the pools together, as far as they are known.
pub(super) fn view(facts: &Facts) -> View<'_> {
    let mut view = View::default();
    let filed = facts.ask.nodepools.as_ref();
    let replaced: BTreeSet<&str> = filed
        .iter()
        .flat_map(|file| file.pools.iter().map(|pool| pool.name.as_str()))
        .collect();
    if let Some(list) = facts.pools.node_pools.known() {
        let there = list
            .items
            .iter()
            .filter(|pool| !pool.deleting && !replaced.contains(pool.name.as_str()));
        view.pools.extend(there.map(|pool| Seen { pool, file: None }));
        view.broken.extend(list.broken.iter().cloned());
    }
    if let Some(file) = filed {
        view.pools.extend(file.pools.iter().map(|pool| Seen {
            pool,
            file: Some(&file.file),
        }));
        view.broken.extend(
            file.broken
                .iter()
                .map(|broken| format!("{}, {broken}", file.file)),
        );
    }
    view
}

/// The pools that can launch spot.
pub(super) fn spot_pools(facts: &Facts) -> Vec<&NodePool> {
    view(facts)
        .pools
        .into_iter()
        .map(|seen| seen.pool)
        .filter(|pool| spot_verdict(pool).can_launch_spot())
        .collect()
}

/// Judged by the pools that are there, and those of `--nodepools`.
pub fn spot_wanted(facts: &Facts) -> Wanted {
    let view = view(facts);
    if view
        .pools
        .iter()
        .any(|seen| spot_verdict(seen.pool).can_launch_spot())
    {
        return Wanted::Yes;
    }
    // A pool that could not be read or understood may want spot.
    let all_known = facts.pools.node_pools.observed.unknown().is_none() && view.broken.is_empty();
    if view.pools.is_empty() || !all_known {
        return Wanted::Assumed;
    }
    Wanted::No(none_can(view.pools.len()))
}

/// That no pool can launch spot.
fn none_can(pools: usize) -> String {
    match pools {
        1 => "the only node pool cannot launch spot".to_owned(),
        many => format!("none of the {many} node pools can launch spot"),
    }
}

/// Whether anything of Karpenter's is in the cluster: its controller, a pool, or a claim.
pub(crate) fn is_there(facts: &Facts) -> bool {
    facts.controller.running().is_some()
        || facts
            .pools
            .node_pools
            .known()
            .is_some_and(|list| !list.items.is_empty() || !list.broken.is_empty())
        || facts
            .traces
            .claims
            .known()
            .is_some_and(|claims| claims.seen + claims.broken.count > 0)
}

/// Whether EKS runs Karpenter itself here.
pub(super) fn auto_mode(facts: &Facts) -> bool {
    facts.cluster.known().is_some_and(|cluster| cluster.auto_mode)
}

/// What is wrong with the mapping of the node role, as the check that tells it has it, when that fails: that is why
/// instances don't join. None: none of them fails.
pub(super) fn mapping_problem(facts: &Facts) -> Option<Judgement> {
    let judge = |id: &str| super::find(id).map(|check| (check.judge)(facts));
    let mapped = judge("node-role-mapped")?;
    match mapped.status {
        Status::Fail => Some(mapped),
        // Skipped where another check has told the cause.
        Status::Skip => [judge("node-role-current"), judge("aws-auth-parses")]
            .into_iter()
            .flatten()
            .find(|judgement| judgement.status == Status::Fail),
        Status::Pass | Status::Warn | Status::Unknown => {
            judge("node-role-current").filter(|judgement| judgement.status == Status::Fail)
        }
    }
}

/// `1 node pool`, `3 node pools`.
pub(super) fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// The first few names, and how many more there are.
pub(super) fn names<'a>(all: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 5;
    let all: Vec<&str> = all.into_iter().collect();
    let shown = all.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    match all.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{shown} and {more} more"),
        _ => shown,
    }
}

pub(crate) static POOLS_WANT_SPOT: Check = Check {
    id: "pools-want-spot",
    group: Group::Karpenter,
    title: "Node pools can launch Spot",
    needed: never,
    judge: pools_want_spot,
};

/// Most pools that the evidence lists one by one.
const LISTED: usize = 1000;

fn pools_want_spot(facts: &Facts) -> Judgement {
    if let Some(reason) = lost_cluster(facts) {
        return Judgement::ground_lost(reason);
    }
    let fact = &facts.pools.node_pools;
    if let Observed::Unknown(unknown) = &fact.observed {
        return Judgement::unknown("the node pools", unknown).from(fact);
    }
    let view = view(facts);
    if view.pools.is_empty() && view.broken.is_empty() {
        let what = match &facts.ask.nodepools {
            Some(file) => format!("{} holds no node pool, and the cluster has none", file.file),
            None if fact.observed.is_absent() => "Karpenter is not installed yet".to_owned(),
            None => "there is no node pool yet".to_owned(),
        };
        return Judgement::pass(format!(
            "{what}; a pool without a capacity-type requirement can launch spot, so spot is assumed"
        ))
        .evidence("assumed", true)
        .from(fact);
    }
    let mut pools = Pools::default();
    for seen in &view.pools {
        pools.take(*seen);
    }
    let total = view.pools.len();
    let all = count(total, "node pool", "node pools");
    let judgement = if let Some((seen, why)) = pools.never.first() {
        let more = match pools.never.len() {
            1 => String::new(),
            several => format!(
                " ({several} pools: {})",
                names(pools.never.iter().map(|(seen, _)| seen.pool.name.as_str()))
            ),
        };
        Judgement::fail(format!(
            "node pool {} can never launch anything: {why}{more}",
            seen.pool.name
        ))
        .remedy(
            "Mend the requirement on karpenter.sh/capacity-type: the values are spot, on-demand and reserved.",
            unique(pools.never.iter().take(5).map(|(seen, _)| seen.edit())),
        )
        .evidence(
            "neverMatching",
            json!(pools.never.iter().map(|(seen, _)| &seen.pool.name).take(50).collect::<Vec<_>>()),
        )
    } else if let Some(broken) = view.broken.first() {
        Judgement::undecided(format!(
            "{} could not be understood: {broken}",
            count(view.broken.len(), "node pool", "node pools")
        ))
    } else if pools.can.is_empty() {
        let text = format!("{}; {}", none_can(total), pools.whys(&pools.cannot));
        Judgement::warn(text).remedy(
            "If spot is wanted, add spot to the values of karpenter.sh/capacity-type, or leave the requirement out.",
            unique(pools.cannot.iter().take(3).map(|(seen, _)| seen.edit())),
        )
    } else {
        let must = match pools.must {
            0 => String::new(),
            all_of_them if all_of_them == pools.can.len() => ", and nothing else".to_owned(),
            some => format!(", {some} of them nothing else"),
        };
        let mut text = format!(
            "{} of {all} can launch spot{must}: {}",
            pools.can.len(),
            names(pools.can.iter().map(|(seen, _)| seen.pool.name.as_str()))
        );
        if let [(_, why)] = pools.can.as_slice() {
            text.push_str(&format!(" ({why})"));
        }
        if !pools.cannot.is_empty() {
            text.push_str(&format!("; can't: {}", pools.whys(&pools.cannot)));
        }
        match pools.typos.first() {
            None => Judgement::pass(text),
            Some((seen, values)) => Judgement::warn(format!(
                "{text}; node pool {} lists {}, which is no capacity type and does nothing",
                seen.pool.name,
                values.join(", ")
            ))
            .remedy(
                "The values are spot, on-demand and reserved, in lower case.",
                unique(pools.typos.iter().take(3).map(|(seen, _)| seen.edit())),
            ),
        }
    };
    let mut judgement = judgement;
    if !pools.idle.is_empty() {
        let text = pools
            .idle
            .iter()
            .take(3)
            .map(|(name, why)| format!("{name} launches nothing for now ({why})"))
            .collect::<Vec<_>>()
            .join(", ");
        judgement.message.push_str(&format!("; {text}"));
        if pools.idle.len() > 3 {
            judgement
                .message
                .push_str(&format!(" and {} more", pools.idle.len() - 3));
        }
    }
    if auto_mode(facts) {
        judgement = judgement.evidence("autoMode", true);
    }
    if pools.evidence.len() < total {
        judgement = judgement.evidence("omitted", total - pools.evidence.len());
    }
    judgement
        .evidence("total", total)
        .evidence("canLaunchSpot", pools.can.len())
        .evidence("mustLaunchSpot", pools.must)
        .evidence("pools", Value::Array(pools.evidence))
        .from(fact)
}

/// Commands, each once.
fn unique(commands: impl Iterator<Item = String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for command in commands {
        if !all.contains(&command) {
            all.push(command);
        }
    }
    all
}

/// The pools by what they can launch, each with the reason.
#[derive(Default)]
struct Pools<'a> {
    can: Vec<(Seen<'a>, String)>,
    /// How many of these can launch nothing else.
    must: usize,
    cannot: Vec<(Seen<'a>, String)>,
    never: Vec<(Seen<'a>, String)>,
    /// Pools with values beside the good ones that are no capacity type.
    typos: Vec<(Seen<'a>, Vec<String>)>,
    idle: Vec<(String, String)>,
    evidence: Vec<Value>,
}

impl<'a> Pools<'a> {
    fn take(&mut self, seen: Seen<'a>) {
        let pool = seen.pool;
        let verdict = spot_verdict(pool);
        let why = verdict.why().to_owned();
        let idle = pool.idle_reason();
        if self.evidence.len() < LISTED {
            let mut entry = json!({"pool": pool.name, "kind": pool.kind(), "verdict": &verdict});
            if let Some(map) = entry.as_object_mut() {
                if let Some(file) = seen.file {
                    map.insert("file".to_owned(), json!(file));
                }
                if let Some(idle) = &idle {
                    map.insert("idle".to_owned(), json!(idle));
                }
            }
            self.evidence.push(entry);
        }
        if let Some(idle) = idle {
            self.idle.push((pool.name.clone(), idle));
        }
        match verdict {
            SpotVerdict::CanLaunchSpot { must, ignored, .. } => {
                self.must += usize::from(must);
                self.can.push((seen, why));
                self.typo(seen, ignored);
            }
            SpotVerdict::CannotLaunchSpot { ignored, .. } => {
                self.cannot.push((seen, why));
                self.typo(seen, ignored);
            }
            SpotVerdict::NeverMatches { .. } | SpotVerdict::CanLaunchNothing { .. } => {
                self.never.push((seen, why));
            }
        }
    }

    fn typo(&mut self, seen: Seen<'a>, ignored: Vec<String>) {
        if !ignored.is_empty() {
            self.typos.push((seen, ignored.into_iter().take(5).collect()));
        }
    }

    /// `NAME: why`, for a few of them.
    fn whys(&self, some: &[(Seen<'_>, String)]) -> String {
        const SHOWN: usize = 3;
        let shown = some
            .iter()
            .take(SHOWN)
            .map(|(seen, why)| format!("{}: {why}", seen.pool.name))
            .collect::<Vec<_>>()
            .join("; ");
        match some.len().checked_sub(SHOWN) {
            Some(more @ 1..) => format!("{shown}; and {more} more"),
            _ => shown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::PoolsFile;
    use crate::facts::fixture::{
        absent, capacity_type, denied, healthy, node_pool, with_karpenter, with_pools,
    };
    use crate::karpenter::nodepools_file;

    type Damage = fn(&mut Facts);

    fn file(facts: &mut Facts, text: &str) {
        let manifests = nodepools_file::read(text).expect("manifests");
        facts.ask.nodepools = Some(PoolsFile::new("pools.yaml", manifests));
    }

    const ON_DEMAND_FILE: &str = "apiVersion: karpenter.sh/v1\nkind: NodePool\nmetadata: {name: general}\nspec:\n  template:\n    spec:\n      requirements:\n      - {key: karpenter.sh/capacity-type, operator: In, values: [on-demand]}\n";

    #[test]
    fn pools_of_every_kind() {
        let rows: &[(&str, Damage, Status, &[&str])] = &[
            (
                "absent requirement",
                |_| {},
                Status::Pass,
                &["1 of 1 node pool can launch spot: general (no requirement on karpenter.sh/capacity-type"],
            ),
            (
                "before Karpenter",
                |f| *f = healthy(),
                Status::Pass,
                &["not installed yet", "spot is assumed"],
            ),
            (
                "no pool yet",
                |f| with_pools(f, vec![]),
                Status::Pass,
                &["there is no node pool yet"],
            ),
            (
                "denied",
                |f| f.pools.node_pools = denied("list nodepools"),
                Status::Unknown,
                &["list nodepools denied"],
            ),
            (
                "no cluster",
                |f| f.cluster = absent("eks:DescribeCluster"),
                Status::Skip,
                &["not found"],
            ),
            (
                "must, can and can't",
                |f| {
                    with_pools(
                        f,
                        vec![
                            node_pool("a", capacity_type(&["spot"])),
                            node_pool("b", capacity_type(&["spot", "on-demand"])),
                            node_pool("c", capacity_type(&["on-demand"])),
                        ],
                    );
                },
                Status::Pass,
                &[
                    "2 of 3 node pools can launch spot, 1 of them nothing else: a, b",
                    "can't: c: spec.template.spec.requirements[0]",
                ],
            ),
            (
                "none can",
                |f| {
                    with_pools(
                        f,
                        vec![
                            node_pool("a", capacity_type(&["on-demand"])),
                            node_pool("b", capacity_type(&["reserved"])),
                        ],
                    )
                },
                Status::Warn,
                &[
                    "none of the 2 node pools can launch spot; a: spec.template.spec.requirements[0] (karpenter.sh/capacity-type In [on-demand]) leaves spot out",
                ],
            ),
            (
                "values that never match",
                |f| {
                    with_pools(
                        f,
                        vec![
                            node_pool("a", capacity_type(&["spott"])),
                            node_pool("b", capacity_type(&["spot"])),
                        ],
                    )
                },
                Status::Fail,
                &["node pool a can never launch anything", "spott"],
            ),
            (
                "a value that does nothing",
                |f| with_pools(f, vec![node_pool("a", capacity_type(&["spot", "Spot"]))]),
                Status::Warn,
                &["node pool a lists Spot, which is no capacity type"],
            ),
            (
                "switched off",
                |f| {
                    let mut pool = node_pool("a", json!([]));
                    pool.limits = [("cpu".to_owned(), "0".to_owned())].into();
                    with_pools(f, vec![pool]);
                },
                Status::Pass,
                &["a launches nothing for now (its limit on cpu is 0)"],
            ),
            (
                "being deleted",
                |f| {
                    let mut pool = node_pool("a", capacity_type(&["spot"]));
                    pool.deleting = true;
                    with_pools(f, vec![pool, node_pool("b", capacity_type(&["on-demand"]))]);
                },
                Status::Warn,
                &["the only node pool cannot launch spot; b"],
            ),
            (
                "one that could not be understood",
                |f| {
                    if let Observed::Known(list) = &mut f.pools.node_pools.observed {
                        list.broken
                            .push("NodePool x: spec is a string, not an object".into());
                    }
                },
                Status::Unknown,
                &["NodePool x: spec"],
            ),
            (
                "a file before Karpenter",
                |f| {
                    *f = healthy();
                    file(f, ON_DEMAND_FILE);
                },
                Status::Warn,
                &["the only node pool cannot launch spot; general"],
            ),
            (
                "a file wins over the cluster's pool of that name",
                |f| file(f, ON_DEMAND_FILE),
                Status::Warn,
                &["the only node pool cannot launch spot"],
            ),
            (
                "a file with a broken pool",
                |f| {
                    *f = healthy();
                    file(
                        f,
                        "apiVersion: karpenter.sh/v1\nkind: NodePool\nmetadata: {name: x}\nspec: oops\n",
                    );
                },
                Status::Unknown,
                &["pools.yaml, line 4: NodePool x: spec is a string"],
            ),
            (
                "a file without pools",
                |f| {
                    *f = healthy();
                    file(f, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n");
                },
                Status::Pass,
                &["pools.yaml holds no node pool"],
            ),
        ];
        for (name, damage, status, says) in rows {
            let mut facts = with_karpenter();
            damage(&mut facts);
            let judgement = pools_want_spot(&facts);
            assert_eq!(judgement.status, *status, "{name}: {}", judgement.message);
            for text in *says {
                assert!(judgement.message.contains(text), "{name}: {}", judgement.message);
            }
            if matches!(status, Status::Fail | Status::Warn) {
                assert!(
                    judgement.remedy.is_some_and(|remedy| !remedy.commands.is_empty()),
                    "{name}"
                );
            }
        }
    }

    /// What the missing spot role is judged by.
    #[test]
    fn whether_spot_is_wanted() {
        let of = |damage: Damage| {
            let mut facts = with_karpenter();
            damage(&mut facts);
            spot_wanted(&facts)
        };
        assert_eq!(of(|_| {}), Wanted::Yes);
        assert_eq!(of(|f| *f = healthy()), Wanted::Assumed);
        assert_eq!(
            of(|f| f.pools.node_pools = denied("list nodepools")),
            Wanted::Assumed
        );
        assert!(matches!(of(|f| file(f, ON_DEMAND_FILE)), Wanted::No(_)));
        let denied_with_file = of(|f| {
            f.pools.node_pools = denied("list nodepools");
            file(f, ON_DEMAND_FILE);
        });
        assert_eq!(denied_with_file, Wanted::Assumed);
        let one_broken = of(|f| {
            with_pools(f, vec![node_pool("a", capacity_type(&["on-demand"]))]);
            if let Observed::Known(list) = &mut f.pools.node_pools.observed {
                list.broken.push("x".into());
            }
        });
        assert_eq!(one_broken, Wanted::Assumed);
    }

    /// Every pool stands in the evidence, however many there are, and the message stays short.
    #[test]
    fn a_thousand_pools() {
        let mut facts = with_karpenter();
        let pools = (0..1000).map(|n| node_pool(&format!("p{n}"), capacity_type(&["on-demand"])));
        with_pools(&mut facts, pools.collect());
        let judgement = pools_want_spot(&facts);
        assert_eq!(judgement.evidence["pools"].as_array().map(Vec::len), Some(1000));
        assert!(judgement.message.len() < 1000, "{}", judgement.message);
        assert!(
            judgement.message.contains("and 997 more"),
            "{}",
            judgement.message
        );
    }
}
