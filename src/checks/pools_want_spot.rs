//! Whether anything asks for Spot.

use serde_json::{Value, json};

use super::karpenter::{auto_mode, count, launch_paths, names, none_can, several};
use super::{Check, Group, Judgement, lost_cluster, never};
use crate::facts::Facts;
use crate::karpenter::launch_paths::{LaunchPath, LaunchPaths, Source};
use crate::karpenter::requirements::{SpotVerdict, refusals};
use crate::karpenter::traces::NodeFold;
use crate::model::{Command, FilePlace, Language, Observed, Target};

pub(crate) static CHECK: Check = Check {
    id: "pools-want-spot",
    group: Group::Karpenter,
    title: "Node pools can launch Spot",
    needed: never,
    judge,
};

/// Most pools that the evidence lists one by one.
const LISTED: usize = 1000;

/// What belongs into a pool that is to launch Spot.
const REQUIREMENT: &str =
    "- key: karpenter.sh/capacity-type\n  operator: In\n  values: [\"spot\", \"on-demand\"]";

fn judge(facts: &Facts) -> Judgement {
    if let Some(reason) = lost_cluster(facts) {
        return Judgement::ground_lost(reason);
    }
    let fact = &facts.pools.node_pools;
    if let Observed::Unknown(unknown) = &fact.observed {
        return Judgement::unknown("the node pools", unknown)
            .headline("The node pools could not be read")
            .from(fact);
    }
    let paths = launch_paths(facts);
    let judgement = if paths.paths.is_empty() && paths.broken.is_empty() {
        no_pools(facts)
    } else {
        judged(facts, &paths)
    };
    let mut judgement = with_evidence(judgement, &paths, facts.traces.nodes.known()).from(fact);
    if auto_mode(facts) {
        judgement = judgement.evidence("autoMode", true);
    }
    judgement
}

fn no_pools(facts: &Facts) -> Judgement {
    let what = match &facts.ask.nodepools {
        Some(file) => format!("{} holds no node pool, and the cluster has none", file.file),
        None if facts.pools.node_pools.observed.is_absent() => "Karpenter is not installed yet".to_owned(),
        None => "there is no node pool yet".to_owned(),
    };
    Judgement::pass(format!(
        "{what}; a pool without a capacity-type requirement can launch Spot, so Spot is assumed"
    ))
    .evidence("assumed", true)
}

fn judged(facts: &Facts, paths: &LaunchPaths<'_>) -> Judgement {
    let target = &facts.target;
    let all = &paths.paths;
    if let Some(file) = facts
        .ask
        .nodepools
        .as_ref()
        .filter(|file| !file.placeholders.is_empty())
    {
        return placeholders(&file.file, &file.placeholders);
    }
    let refused: Vec<(&LaunchPath<'_>, String)> = all
        .iter()
        .filter(|path| path.source != Source::Cluster)
        .flat_map(|path| refusals(path.pool).into_iter().map(move |why| (path, why)))
        .collect();
    if !refused.is_empty() {
        return Judgement::fail(told(&refused))
            .headline("A node pool would be refused, or never get ready")
            .fix(
                "Correct what is named.",
                edits(target, refused.iter().map(|(path, _)| *path)),
            )
            .in_file(place(facts, &refused));
    }
    let of = |wanted: fn(&SpotVerdict) -> bool| -> Vec<(&LaunchPath<'_>, String)> {
        all.iter()
            .filter(|path| wanted(&path.spot))
            .map(|path| (path, path.spot.why().to_owned()))
            .collect()
    };
    let nothing = of(|spot| {
        matches!(
            spot,
            SpotVerdict::NeverMatches { .. } | SpotVerdict::CanLaunchNothing { .. }
        )
    });
    let can = of(SpotVerdict::can_launch_spot);
    let cannot = of(|spot| matches!(spot, SpotVerdict::CannotLaunchSpot { .. }));
    if !nothing.is_empty() {
        return Judgement::fail(format!("launches nothing: {}", told(&nothing)))
            .headline("The requirements of a node pool admit no instance at all")
            .fix(
                "Correct the requirement. The capacity types are spot, on-demand and reserved.",
                edits(target, nothing.iter().map(|(path, _)| *path)),
            )
            .in_file(place(facts, &nothing))
            .evidence(
                "neverMatching",
                json!(
                    nothing
                        .iter()
                        .map(|(path, _)| &path.pool.name)
                        .take(50)
                        .collect::<Vec<_>>()
                ),
            );
    }
    if let Some(broken) = paths.broken.first() {
        return Judgement::undecided(format!(
            "{} could not be understood: {broken}",
            count(paths.broken.len(), "node pool", "node pools")
        ))
        .headline("A node pool could not be understood");
    }
    if can.is_empty() {
        return Judgement::warn(format!("{}; {}", none_can(all.len()), told(&cannot)))
            .headline("No node pool can launch Spot")
            .fix(
                "If you want Spot, add spot to the values of karpenter.sh/capacity-type, or leave the requirement out.",
                edits(target, cannot.iter().map(|(path, _)| *path)),
            )
            .snippet(Language::Yaml, REQUIREMENT)
            .in_file(place(facts, &cannot));
    }
    let must = all
        .iter()
        .filter(|path| matches!(path.spot, SpotVerdict::CanLaunchSpot { must: true, .. }))
        .count();
    let must = match must {
        0 => String::new(),
        must if must == can.len() => ", and nothing else".to_owned(),
        must => format!(", {must} of them nothing else"),
    };
    let mut text = format!(
        "{} of {} can launch Spot{must}: {}",
        can.len(),
        count(all.len(), "node pool", "node pools"),
        names(can.iter().map(|(path, _)| path.pool.name.as_str()))
    );
    if let [(_, why)] = can.as_slice() {
        text.push_str(&format!(" ({why})"));
    }
    if !cannot.is_empty() {
        text.push_str(&format!("; cannot: {}", told(&cannot)));
    }
    let ignored = all.iter().find_map(|path| match &path.spot {
        SpotVerdict::CanLaunchSpot { ignored, .. } | SpotVerdict::CannotLaunchSpot { ignored, .. }
            if !ignored.is_empty() =>
        {
            Some((path, ignored))
        }
        _ => None,
    });
    match ignored {
        None => Judgement::pass(text),
        Some((path, values)) => Judgement::warn(format!(
            "{text}; node pool {} lists {}, which is not a capacity type and does nothing",
            path.pool.name,
            names(values.iter().map(String::as_str))
        ))
        .headline("A node pool lists something that is not a capacity type")
        .fix(
            "The values are spot, on-demand and reserved, in lower case.",
            edits(target, [path]),
        ),
    }
}

/// The values of a template that nobody has filled in.
fn placeholders(file: &str, found: &[String]) -> Judgement {
    let mut variables: Vec<&str> = found
        .iter()
        .filter_map(|one| one.split("${").nth(1)?.split('}').next())
        .collect();
    variables.sort_unstable();
    variables.dedup();
    let assignments: Vec<String> = variables
        .iter()
        .take(5)
        .map(|name| format!("{name}=VALUE"))
        .collect();
    let words: Vec<&str> = ["env"]
        .into_iter()
        .chain(assignments.iter().map(String::as_str))
        .chain(["envsubst"])
        .collect();
    Judgement::fail(format!("{file} has values that are not filled in: {}", names(found.iter().map(String::as_str))))
        .headline("The pools file is a template with variables that are not filled in")
        .fix(
            "Fill them in first: envsubst reads standard input, clusterctl generate does it for cluster templates. Then check what comes out.",
            [Command::local(&["cat", file]).piped(Command::local(&words)).into_file("filled-in.yaml")],
        )
        .evidence("placeholders", json!(found.iter().take(50).collect::<Vec<_>>()))
}

/// `NAME: why`, for a few of them.
/// Where the first of them stands in the file of `--nodepools`.
fn place(facts: &Facts, some: &[(&LaunchPath<'_>, String)]) -> Option<FilePlace> {
    let given = facts.ask.nodepools.as_ref()?;
    let mut names = some
        .iter()
        .filter(|(path, _)| path.source == Source::File(&given.file))
        .map(|(path, _)| &path.pool.name);
    let (name, line) = names.find_map(|name| Some((name, given.lines.get(name)?)))?;
    // Standard input is no file that anybody could open.
    (given.file != "stdin").then(|| FilePlace {
        file: given.file.clone(),
        line: usize::try_from(*line).unwrap_or(1).max(1),
        key: format!("NodePool/{name}"),
    })
}

fn told(some: &[(&LaunchPath<'_>, String)]) -> String {
    let all = some
        .iter()
        .map(|(path, why)| format!("{}: {why}", path.pool.name));
    several(all, 3, "; ")
}

/// What opens the pools in an editor; a chart is not a file of this machine.
pub(super) fn edits<'a>(
    target: &Target,
    paths: impl IntoIterator<Item = &'a LaunchPath<'a>>,
) -> Vec<Command> {
    let mut commands: Vec<Command> = Vec::new();
    for path in paths {
        let command = match path.source {
            Source::Cluster => target.kubectl(&["edit", &path.pool.kind().to_lowercase(), &path.pool.name]),
            Source::File("the chart" | "stdin") => continue,
            Source::File(file) => Command::local(&["vi", file]),
        };
        if commands.len() < 3 && !commands.contains(&command) {
            commands.push(command);
        }
    }
    commands
}

fn with_evidence(judgement: Judgement, paths: &LaunchPaths<'_>, nodes: Option<&NodeFold>) -> Judgement {
    let all = &paths.paths;
    if all.is_empty() {
        return judgement;
    }
    let can = paths.spot().count();
    let must = paths
        .spot()
        .filter(|path| matches!(path.spot, SpotVerdict::CanLaunchSpot { must: true, .. }))
        .count();
    let pools: Vec<Value> = all
        .iter()
        .take(LISTED)
        .map(|path| {
            let mut entry = json!({"pool": path.pool.name, "kind": path.pool.kind(), "verdict": &path.spot});
            if let (Source::File(file), Some(map)) = (path.source, entry.as_object_mut()) {
                map.insert("file".to_owned(), json!(file));
            }
            let nodes = nodes.and_then(|nodes| nodes.pools.get(&path.pool.name));
            if let (Some(nodes), Some(map)) = (nodes, entry.as_object_mut()) {
                map.insert("nodes".to_owned(), json!(nodes));
            }
            entry
        })
        .collect();
    let judgement = match all.len().saturating_sub(LISTED) {
        0 => judgement,
        omitted => judgement.evidence("omitted", omitted),
    };
    judgement
        .evidence("total", all.len())
        .evidence("canLaunchSpot", can)
        .evidence("mustLaunchSpot", must)
        .evidence("pools", pools)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::told_of;
    use crate::facts::PoolsFile;
    use crate::facts::fixture::{
        absent, capacity_type, denied, healthy, node_pool, with_karpenter, with_pools,
    };
    use crate::karpenter::nodepools_file;

    fn file(facts: &mut Facts, text: &str) {
        let manifests = nodepools_file::read(text).expect("manifests");
        facts.ask.nodepools = Some(PoolsFile::new("pools.yaml", manifests));
    }

    fn pool_file(name: &str, requirement: &str) -> String {
        format!(
            "apiVersion: karpenter.sh/v1\nkind: NodePool\nmetadata: {{name: \"{name}\"}}\nspec:\n  template:\n    spec:\n      nodeClassRef: {{group: karpenter.k8s.aws, kind: EC2NodeClass, name: default}}\n      requirements:\n      - {requirement}\n"
        )
    }

    const ON_DEMAND: &str = "{key: karpenter.sh/capacity-type, operator: In, values: [on-demand]}";

    #[test]
    fn pools_of_every_kind() {
        insta::assert_snapshot!(told_of(
            with_karpenter,
            judge,
            &[
                ("nothing restricts it", |_| {}),
                ("before Karpenter", |f| *f = healthy()),
                ("three kinds", |f| with_pools(
                    f,
                    vec![
                        node_pool("spot", capacity_type(&["spot"])),
                        node_pool("mixed", capacity_type(&["spot", "on-demand"])),
                        node_pool("plain", capacity_type(&["on-demand"])),
                    ]
                )),
                ("none can", |f| with_pools(
                    f,
                    vec![node_pool("plain", capacity_type(&["on-demand"]))]
                )),
                ("a word that is none", |f| with_pools(
                    f,
                    vec![node_pool("typo", capacity_type(&["spott"]))]
                )),
                ("a word too many", |f| with_pools(
                    f,
                    vec![node_pool("typo", capacity_type(&["spot", "Spot"]))]
                )),
                ("zones of another region", |f| with_pools(
                    f,
                    vec![node_pool(
                        "moved",
                        json!([
                {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["us-east-1a"]}])
                    )]
                )),
                ("a capacity reservation", |f| with_pools(
                    f,
                    vec![node_pool(
                        "reserved",
                        json!([
                {"key": "karpenter.k8s.aws/capacity-reservation-id", "operator": "In", "values": ["cr-1"]}])
                    )]
                )),
                ("five that can launch nothing", |f| with_pools(
                    f,
                    ["a", "b", "c", "d", "e"]
                        .map(|name| node_pool(name, capacity_type(&["x"])))
                        .to_vec()
                )),
                ("a pool that is broken", |f| {
                    if let Observed::Known(list) = &mut f.pools.node_pools.observed {
                        list.broken
                            .push("NodePool odd: spec is a string, not an object".into());
                    }
                }),
                ("denied", |f| f.pools.node_pools =
                    denied("list nodepools.karpenter.sh")),
                ("the file wins", |f| file(f, &pool_file("general", ON_DEMAND))),
                ("a file before Karpenter", |f| {
                    *f = healthy();
                    file(f, &pool_file("new", ON_DEMAND));
                }),
                ("a file that would be refused", |f| file(
                    f,
                    &pool_file(
                        "general",
                        "{key: karpenter.sh/capacity-type, operator: in, values: [spot]}"
                    )
                )),
                ("a file without pools", |f| {
                    *f = healthy();
                    file(f, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n");
                }),
                ("a template", |f| file(
                    f,
                    &pool_file(
                        "${POOL_NAME}",
                        "{key: topology.kubernetes.io/region, operator: In, values: [\"${REGION}\"]}"
                    )
                )),
                ("no such cluster", |f| f.cluster =
                    absent("eks:DescribeCluster demo")),
            ]
        ));
    }
}
