//! `fleet merge`: the results of shards, put together again. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Shard;
use super::inventory::{Entry, Inventory};
use crate::model::Exit;
use crate::report::{API_VERSION, Item, PreflightReportList, PreflightShard, Report, Unresolved};

/// What a file holds.
#[derive(Debug, Default)]
pub struct Part {
    /// The file, as it was named.
    name: String,
    items: Vec<Item>,
    shards: Vec<PreflightShard>,
    /// Lines of a Pod's log that are no JSON, and the first of them.
    other_lines: Option<(usize, String)>,
    /// The last line that is cut off: its Pod was killed while it wrote.
    cut_off: Option<usize>,
}

/// All of it.
#[derive(Debug)]
pub struct Merged {
    /// One entry a cluster, and one for everything that is missing.
    pub items: Vec<Item>,
    /// What a person should know: what was there twice, what is missing.
    pub notes: Vec<String>,
    /// The worst of all.
    pub exit: Exit,
}

impl Part {
    /// Reads what `preflight` printed as JSON, or as NDJSON: a file, or the log of a Pod with other lines between.
    ///
    /// # Errors
    /// In words, with the file and the line: it is damaged, of another version, or something else.
    pub fn read(name: &str, text: &str) -> Result<Self, String> {
        let mut part = Self {
            name: name.to_owned(),
            ..Self::default()
        };
        if let Ok(whole) = serde_json::from_str::<Value>(text) {
            part.add(whole).map_err(|why| format!("{name} {why}"))?;
            return Ok(part);
        }
        for (n, line) in text.lines().enumerate() {
            // `kubectl logs --prefix` says where a line is from.
            let line = match line.strip_prefix("[pod/").and_then(|rest| rest.split_once("] ")) {
                Some((_, rest)) => rest,
                None => line,
            };
            if line.trim().is_empty() {
                continue;
            }
            if !line.starts_with('{') {
                let (count, _) = part.other_lines.get_or_insert((0, line.to_owned()));
                *count += 1;
                continue;
            }
            let value: Value = match serde_json::from_str(line) {
                Ok(value) => value,
                Err(error) if error.is_eof() => {
                    part.cut_off = Some(n + 1);
                    continue;
                }
                Err(error) => return Err(format!("{name}, line {}, is damaged: {error}", n + 1)),
            };
            part.add(value)
                .map_err(|why| format!("{name}, line {}, {why}", n + 1))?;
        }
        if part.items.is_empty() && part.shards.is_empty() && part.cut_off.is_none() {
            return Err(format!(
                "{name} holds no results\n  fix: give it what preflight -o json or -o ndjson printed"
            ));
        }
        Ok(part)
    }

    fn add(&mut self, value: Value) -> Result<(), String> {
        let shown = iam_policy::arn::shown;
        let damaged = |error: serde_json::Error| format!("is damaged: {error}");
        let Some(kind) = value.get("kind").and_then(Value::as_str) else {
            // The line of a cluster that could not be judged.
            let item: Item = serde_json::from_value(value)
                .map_err(|_| "is not a result of preflight: it has no kind".to_owned())?;
            self.items.push(item);
            return Ok(());
        };
        match value.get("apiVersion").and_then(Value::as_str) {
            Some(API_VERSION) => {}
            other => {
                return Err(format!(
                    "is of the version {}, and this program reads {API_VERSION}",
                    shown(other.unwrap_or_default())
                ));
            }
        }
        match kind {
            "PreflightReport" => {
                let report: Report = serde_json::from_value(value).map_err(damaged)?;
                self.items.push(Item::Report(Box::new(report)));
            }
            "PreflightShard" => self.shards.push(serde_json::from_value(value).map_err(damaged)?),
            "PreflightReportList" => {
                let list: PreflightReportList = serde_json::from_value(value).map_err(damaged)?;
                if let Some(shard) = list.shard {
                    self.shards.push(PreflightShard {
                        envelope: list.envelope,
                        shard,
                        items: list.items.len(),
                    });
                }
                self.items.extend(list.items);
            }
            other => return Err(format!("is a {}, not a report of preflight", shown(other))),
        }
        Ok(())
    }
}

/// What one cluster is told from another by: account, region, cluster, context.
type Identity = (String, String, String, String);

fn identity(item: &Item) -> Identity {
    let known = |text: &Option<String>| text.clone().unwrap_or_default();
    match item {
        Item::Report(report) => (
            known(&report.target.account),
            report.target.region.clone(),
            report.target.cluster.clone(),
            report.target.context.clone(),
        ),
        Item::NotJudged { target, .. } => (
            known(&target.account),
            known(&target.region),
            known(&target.cluster),
            target.context.clone(),
        ),
    }
}

/// Newer is better, and being judged at all more than that. A Pod that was started again reports its clusters again.
fn rank(item: &Item) -> (bool, Option<jiff::Timestamp>) {
    match item {
        Item::Report(report) => (true, Some(report.envelope.generated_at)),
        Item::NotJudged { .. } => (false, None),
    }
}

fn exit_of(item: &Item) -> Exit {
    match item {
        Item::Report(report) => Exit::from(report.verdict),
        Item::NotJudged { .. } => Exit::Failed,
    }
}

/// Puts them together. With the inventory, whatever of it has no result is an entry that says so.
pub fn merge(parts: Vec<Part>, inventory: Option<&Inventory>) -> Merged {
    let mut notes = Vec::new();
    let mut exit = Exit::Done;
    let mut missing = Vec::new();
    let of = shards(&parts, &mut notes, &mut missing);
    let whole = of.is_some() && missing.is_empty();
    for (part, line) in parts.iter().filter_map(|part| Some((part, part.cut_off?))) {
        let error = format!("{}, line {line}, is cut off", part.name);
        notes.push(error.clone());
        // Where every shard came to its end, its Pod was started again and lacks nothing.
        if !whole {
            missing.push(not_judged(&part.name, error));
        }
    }
    let mut kept: BTreeMap<Identity, Item> = BTreeMap::new();
    let mut twice: BTreeSet<Identity> = BTreeSet::new();
    for part in parts {
        if let Some((count, first)) = &part.other_lines {
            notes.push(format!(
                "{}: {count} other lines were passed over, the first is: {first}",
                part.name
            ));
        }
        for item in part.items {
            let key = identity(&item);
            match kept.get_mut(&key) {
                None => {
                    kept.insert(key, item);
                }
                Some(there) => {
                    if rank(&item) > rank(there) {
                        *there = item;
                    }
                    twice.insert(key);
                }
            }
        }
    }
    if !twice.is_empty() {
        let names: Vec<&str> = twice
            .iter()
            .map(|(_, _, cluster, context)| either(cluster, context))
            .collect();
        notes.push(format!(
            "{} more than once, and the newest result counts: {}",
            count(twice.len(), "cluster is there", "clusters are there"),
            some(&names)
        ));
    }
    for item in kept.values() {
        exit = exit.worse(exit_of(item));
    }
    let mut items: Vec<Item> = Vec::new();
    if let Some(inventory) = inventory {
        items.extend(in_order(inventory, &mut kept, of, &mut missing));
    }
    items.extend(kept.into_values());
    if !missing.is_empty() {
        exit = exit.worse(Exit::Undecided);
    }
    items.extend(missing);
    if items.is_empty() {
        exit = exit.worse(Exit::Undecided);
        notes.push("the shards hold no cluster: nothing was judged".to_owned());
    }
    Merged { items, notes, exit }
}

/// Which shards are there; those that are not are `missing`. Returns how many there should be.
fn shards(parts: &[Part], notes: &mut Vec<String>, missing: &mut Vec<Item>) -> Option<usize> {
    let all = || parts.iter().flat_map(|part| &part.shards);
    let counts: BTreeSet<usize> = all().map(|shard| shard.shard.of).collect();
    if counts.len() > 1 {
        let counts: Vec<String> = counts.iter().map(ToString::to_string).collect();
        let error = format!("shards of {} are not shards of one run", counts.join(" and of "));
        notes.push(error.clone());
        missing.push(not_judged("shards of several runs", error));
        return None;
    }
    let of = *counts.first()?;
    let there: BTreeSet<usize> = all().map(|shard| shard.shard.index).collect();
    let absent: Vec<String> = (0..of)
        .filter(|index| !there.contains(index))
        .map(|index| Shard { index, of }.to_string())
        .collect();
    if !absent.is_empty() {
        let names: Vec<&str> = absent.iter().map(String::as_str).collect();
        notes.push(format!(
            "{} missing, or did not come to an end: {}",
            count(absent.len(), "shard is", "shards are"),
            some(&names)
        ));
        for shard in &absent {
            let error = format!("no result of the shard {shard} is here, or it did not come to its end");
            missing.push(not_judged(&format!("shard {shard}"), error));
        }
    }
    for part in parts {
        let said: usize = part.shards.iter().map(|shard| shard.items).sum();
        if part.items.len() < said {
            let error = format!(
                "{} has {} of the {said} results that its shards had",
                part.name,
                part.items.len()
            );
            notes.push(error.clone());
            missing.push(not_judged(&part.name, error));
        }
    }
    Some(of)
}

fn not_judged(what: &str, error: String) -> Item {
    Item::NotJudged {
        target: Unresolved {
            context: what.to_owned(),
            ..Unresolved::default()
        },
        error,
    }
}

/// The inventory's clusters in its order, each with its results, or missing.
fn in_order(
    inventory: &Inventory,
    kept: &mut BTreeMap<Identity, Item>,
    of: Option<usize>,
    missing: &mut Vec<Item>,
) -> Vec<Item> {
    let mut by_cluster: BTreeMap<(String, String), Vec<Identity>> = BTreeMap::new();
    for key in kept.keys() {
        let (_, region, cluster, _) = key.clone();
        by_cluster.entry((region, cluster)).or_default().push(key.clone());
    }
    let mut items = Vec::new();
    for entry in &inventory.clusters {
        let place = (entry.region.clone(), entry.name.clone());
        let found: Vec<Identity> = by_cluster
            .get(&place)
            .into_iter()
            .flatten()
            .filter(|(account, _, _, context)| is(entry, account, context))
            .cloned()
            .collect();
        let there: Vec<Item> = found.iter().filter_map(|key| kept.remove(key)).collect();
        if there.is_empty() {
            missing.push(no_result(entry, of));
        }
        items.extend(there);
    }
    items
}

/// Whether a result is that of an entry of this region and name. An account may be unknown to either.
fn is(entry: &Entry, account: &str, context: &str) -> bool {
    match &entry.account {
        Some(known) if !account.is_empty() => known == account,
        _ => entry.context.as_deref().is_none_or(|known| known == context),
    }
}

fn no_result(entry: &Entry, of: Option<usize>) -> Item {
    let shard = of.and_then(|of| {
        (0..of)
            .map(|index| Shard { index, of })
            .find(|shard| shard.holds(&entry.shard_key()))
    });
    let error = match shard {
        Some(shard) => format!("the inventory has it, and no result; it belongs to the shard {shard}"),
        None => "the inventory has it, and no result".to_owned(),
    };
    Item::NotJudged {
        target: Unresolved {
            context: entry.label(),
            cluster: Some(entry.name.clone()),
            region: Some(entry.region.clone()),
            account: entry.account.clone(),
        },
        error,
    }
}

fn either<'a>(first: &'a str, second: &'a str) -> &'a str {
    if first.is_empty() { second } else { first }
}

fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// The first few, and how many there are besides.
fn some(names: &[&str]) -> String {
    const NAMED: usize = 10;
    match names.len().saturating_sub(NAMED) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names[..NAMED].join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::facts::fixture::{absent, healthy};
    use crate::fleet::inventory::Source;
    use crate::report::{Envelope, Selection, judge};

    const ACCOUNT: &str = "111122223333";

    /// A line of `-o ndjson`.
    fn line(cluster: &str, at: i64, ready: bool) -> String {
        let mut facts = healthy();
        facts.gathered_at = Timestamp::from_second(at).expect("a time");
        facts.target.cluster = cluster.to_owned();
        facts.target.context = cluster.to_owned();
        if !ready {
            facts.spot_role = absent("iam:GetRole");
        }
        serde_json::to_string(&judge(&facts, &Selection::default())).expect("JSON")
    }

    fn end(index: usize, of: usize, items: usize) -> String {
        let shard = PreflightShard {
            envelope: Envelope::new("PreflightShard", "preflight-shard", Timestamp::UNIX_EPOCH),
            shard: Shard { index, of },
            items,
        };
        serde_json::to_string(&shard).expect("JSON")
    }

    fn part(name: &str, lines: &[String]) -> Part {
        Part::read(name, &lines.join("\n")).expect("results")
    }

    fn told(merged: &Merged) -> String {
        let mut out = format!("exit {}\n", merged.exit.code());
        for item in &merged.items {
            let _ = match item {
                Item::Report(report) => writeln!(
                    out,
                    "{} {} {}",
                    report.target.cluster,
                    report.verdict.word(),
                    report.envelope.generated_at
                ),
                Item::NotJudged { target, error } => writeln!(out, "{}: {error}", target.context),
            };
        }
        for note in &merged.notes {
            let _ = writeln!(out, "note: {note}");
        }
        out
    }

    #[test]
    fn shards_that_are_whole_twice_missing_and_cut_off() {
        let inventory = Inventory::new(
            ["b", "a", "lost"]
                .map(|name| Entry::new(Some(ACCOUNT), "eu-west-1", name, Source::Given))
                .to_vec(),
            Vec::new(),
            Timestamp::UNIX_EPOCH,
        );
        let unreadable = json!({"target": {"context": "c"}, "error": "no such context"}).to_string();
        let worlds = [
            (
                "whole",
                vec![
                    part("0", &[line("a", 0, true), end(0, 2, 1)]),
                    part("1", &[end(1, 2, 0)]),
                ],
                None,
            ),
            (
                "the worst counts",
                vec![part(
                    "0",
                    &[line("a", 0, true), line("b", 0, false), unreadable.clone()],
                )],
                None,
            ),
            (
                "a Pod that was started again",
                vec![
                    part("first", &[line("a", 0, false), line("b", 0, false)]),
                    part("again", &[line("a", 60, true), line("b", 60, true), end(0, 1, 2)]),
                ],
                None,
            ),
            (
                "a shard is missing and one is cut off",
                vec![
                    part("0", &[line("a", 0, true), end(0, 3, 2)]),
                    part("2", &[line("b", 0, true)]),
                ],
                Some(&inventory),
            ),
            (
                "killed in the middle of a line",
                vec![
                    part(
                        "first",
                        &[line("a", 0, true), line("b", 0, true)[..999].to_owned()],
                    ),
                    part("again", &[line("a", 60, true), line("b", 60, true), end(0, 1, 2)]),
                ],
                None,
            ),
            (
                "and not started again",
                vec![part(
                    "first",
                    &[line("a", 0, true), line("b", 0, true)[..999].to_owned()],
                )],
                None,
            ),
            (
                "shards of two runs",
                vec![part("0", &[end(0, 2, 0)]), part("1", &[end(1, 3, 0)])],
                None,
            ),
            (
                "the log of Pods",
                vec![part(
                    "log",
                    &[
                        "Warning: Use tokens".to_owned(),
                        format!("[pod/capt-spot-0-abcde/capt-spot] {}", line("a", 0, true)),
                        "reading".to_owned(),
                        end(0, 1, 1),
                    ],
                )],
                None,
            ),
        ];
        let mut out = String::new();
        for (name, parts, inventory) in worlds {
            let _ = writeln!(out, "== {name}\n{}", told(&merge(parts, inventory)));
        }
        insta::assert_snapshot!(out);
    }

    #[test]
    fn a_list_is_a_part_too() {
        let report: Report = serde_json::from_str(&line("a", 0, true)).expect("a report");
        let list = PreflightReportList {
            envelope: Envelope::new(
                "PreflightReportList",
                "preflight-report-list",
                Timestamp::UNIX_EPOCH,
            ),
            shard: Some(Shard { index: 0, of: 1 }),
            items: vec![Item::Report(Box::new(report))],
        };
        let text = serde_json::to_string_pretty(&list).expect("JSON");
        let merged = merge(vec![Part::read("list", &text).expect("a list")], None);
        assert_eq!(merged.items, list.items);
        assert_eq!((merged.exit, merged.notes.len()), (Exit::Done, 0));
    }

    #[test]
    fn what_is_no_result_is_refused() {
        let good = line("a", 0, true);
        let texts = [
            String::new(),
            "hello\nworld".to_owned(),
            "[]".to_owned(),
            json!({"apiVersion": API_VERSION, "kind": "TrustReport"}).to_string(),
            json!({"apiVersion": "capt-spot/v2", "kind": "PreflightReport"}).to_string(),
            json!({"kind": "PreflightReport"}).to_string(),
            json!({"apiVersion": API_VERSION, "kind": "PreflightReport"}).to_string(),
            format!("{good}\n{good}}}"),
            format!("{good}\n{{\"a\": 1}}"),
        ];
        let said: Vec<String> = texts
            .iter()
            .map(|text| Part::read("FILE", text).expect_err(text))
            .collect();
        insta::assert_snapshot!(said.join("\n"));
    }
}
