//! The inventory: which clusters there are, how each is reached, and what could not be listed. `fleet list` writes it, people may
//! write one by hand, and `preflight --clusters` reads it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use iam_policy::arn::{AccountId, Arn, Partition};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Shard;
use crate::report::{API_VERSION, Envelope};
use crate::text::read_bounded;
use crate::text::sanitize::short_line;
use crate::text::style::{Style, wrap};

/// Its `kind`.
pub const KIND: &str = "ClusterInventory";

/// The largest file that is read.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// The most clusters of one inventory.
const MOST_CLUSTERS: usize = 100_000;

/// The clusters of many accounts, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Inventory {
    /// `ClusterInventory`.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// The clusters, each once.
    pub clusters: Vec<Entry>,
    /// What could not be listed, or holds no clusters to judge.
    #[serde(default)]
    pub problems: Vec<Problem>,
}

/// A cluster, and how it is reached. Endpoint and certificate authority are not here: EKS is asked for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The account, twelve digits. Null: not known.
    #[serde(default)]
    pub account: Option<String>,
    /// AWS partition. Left out: the region's.
    #[serde(default)]
    pub partition: String,
    /// AWS region.
    pub region: String,
    /// EKS cluster name.
    pub name: String,
    /// The cluster's ARN. Null: the account is not known.
    #[serde(default)]
    pub arn: Option<String>,
    /// The kube context that led to it. Where the kubeconfig at hand has it, the cluster is reached by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// The kubeconfig file that the context was found in, for people: no file is read because an inventory names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<String>,
    /// The role to take on, to read the account and the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// The external id for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The session tags for it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub session_tags: BTreeMap<String, String>,
    /// Where it was found.
    #[serde(default)]
    pub source: Source,
}

/// Where a cluster, or a problem, was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Written by hand.
    #[default]
    Given,
    /// A context of a kubeconfig.
    Kubeconfig,
    /// An account of the AWS organization.
    Organizations,
    /// An account of `--accounts FILE`.
    Accounts,
    /// A Cluster of a Cluster API management cluster.
    ClusterApi,
}

/// Something that the inventory does not cover.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// What kind of problem it is.
    pub kind: ProblemKind,
    /// What it is about, in words: `account 111122223333 (payments) in eu-west-1`, `context kind-dev`.
    pub subject: String,
    /// Why, in one sentence.
    pub reason: String,
    /// The account, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The region, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The kube context, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Where it was found.
    #[serde(default)]
    pub source: Source,
}

/// What a problem means for whoever counts on the inventory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// Clusters may be missing: it could not be read.
    Unread,
    /// The account is suspended or being closed: nothing runs there.
    Suspended,
    /// It is not an EKS cluster (a kind context, another provider's Cluster).
    NotEks,
    /// Another entry leads to the same cluster.
    Duplicate,
}

/// What a cluster is told from others by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Identity<'a> {
    account: Option<&'a str>,
    region: &'a str,
    name: &'a str,
    /// Two contexts of unknown accounts may lead to two clusters of one name.
    context: Option<&'a str>,
}

impl Entry {
    /// A cluster that is reached with the credentials at hand.
    pub fn new(account: Option<&str>, region: &str, name: &str, source: Source) -> Self {
        let partition = Partition::of_region(region).as_str();
        Self {
            account: account.map(str::to_owned),
            partition: partition.to_owned(),
            region: region.to_owned(),
            name: name.to_owned(),
            arn: account.map(|account| format!("arn:{partition}:eks:{region}:{account}:cluster/{name}")),
            context: None,
            kubeconfig: None,
            role_arn: None,
            external_id: None,
            session_tags: BTreeMap::new(),
            source,
        }
    }

    /// What people call it: its ARN, or region and name.
    pub fn label(&self) -> String {
        match (&self.context, &self.arn) {
            (Some(context), _) => context.clone(),
            (None, Some(arn)) => arn.clone(),
            (None, None) => format!("{}/{}", self.region, self.name),
        }
    }

    /// What decides the shard it is in.
    pub fn shard_key(&self) -> String {
        match &self.account {
            Some(account) => account.clone(),
            None => format!("{}/{}", self.region, self.name),
        }
    }

    fn identity(&self) -> Identity<'_> {
        Identity {
            account: self.account.as_deref(),
            region: &self.region,
            name: &self.name,
            context: self.context.as_deref().filter(|_| self.account.is_none()),
        }
    }

    /// Fills in what follows from the rest, and looks whether it makes sense.
    fn completed(mut self) -> Result<Self, String> {
        let shown = iam_policy::arn::shown;
        let plain = |text: &str, more: &str| {
            text.len() <= 100
                && text.starts_with(|c: char| c.is_ascii_alphanumeric())
                && text
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        if !plain(&self.name, "-_") {
            return Err(format!("{} is not the name of an EKS cluster", shown(&self.name)));
        }
        if !plain(&self.region, "-") {
            return Err(format!("{} is not an AWS region", shown(&self.region)));
        }
        let partition = Partition::of_region(&self.region);
        if self.partition.is_empty() {
            self.partition = partition.as_str().to_owned();
        }
        let told: Partition = self.partition.parse().map_err(|_| {
            let known = Partition::ALL.map(Partition::as_str).join(", ");
            format!("{} is not a partition of AWS ({known})", shown(&self.partition))
        })?;
        if told != partition {
            return Err(format!(
                "the region {} is in the partition {partition}, not {told}",
                self.region
            ));
        }
        if let Some(account) = &self.account {
            account.parse::<AccountId>().map_err(|error| error.to_string())?;
        }
        if let Some(arn) = &self.arn {
            let parsed: Arn = arn.parse().map_err(|_| format!("{} is not an ARN", shown(arn)))?;
            let resource = arn.splitn(6, ':').nth(5).unwrap_or_default();
            let account = parsed.account_id().map(String::from);
            if self.account.is_none() {
                self.account.clone_from(&account);
            }
            let same = arn.split(':').nth(1) == Some(self.partition.as_str())
                && parsed.service == "eks"
                && arn.split(':').nth(3) == Some(self.region.as_str())
                && account.is_some()
                && account == self.account
                && resource == format!("cluster/{}", self.name);
            if !same {
                return Err(format!("its ARN {} is another cluster's", shown(arn)));
            }
        } else {
            let made = Self::new(self.account.as_deref(), &self.region, &self.name, self.source);
            self.arn = made.arn;
        }
        if let Some(role) = &self.role_arn {
            let parsed: Option<Arn> = role.parse().ok();
            let account = match &parsed {
                Some(arn) if arn.service == "iam" && arn.role_name().is_some() => arn.account_id(),
                _ => return Err(format!("its roleArn {} is not a role's ARN", shown(role))),
            };
            if let (Some(account), Some(own)) = (account, &self.account)
                && account.as_str() != own
            {
                return Err(format!(
                    "its roleArn is of the account {account}, the cluster of {own}: the Spot role of the wrong account would be judged"
                ));
            }
        } else if self.external_id.is_some() || !self.session_tags.is_empty() {
            return Err("externalId and sessionTags go with a roleArn".to_owned());
        }
        Ok(self)
    }
}

impl Problem {
    /// A problem of nothing narrower than its subject.
    pub fn new(
        kind: ProblemKind,
        subject: impl Into<String>,
        reason: impl Into<String>,
        source: Source,
    ) -> Self {
        Self {
            kind,
            subject: subject.into(),
            reason: reason.into(),
            account: None,
            region: None,
            context: None,
            source,
        }
    }

    fn shard_key(&self) -> &str {
        self.account.as_deref().unwrap_or(&self.subject)
    }
}

impl Inventory {
    /// Puts one together: a cluster that is there twice stays once, and the second is a problem that says so.
    pub fn new(clusters: Vec<Entry>, mut problems: Vec<Problem>, now: Timestamp) -> Self {
        let mut first: HashMap<(Option<String>, String, String, Option<String>), String> = HashMap::new();
        let mut kept: Vec<Entry> = Vec::new();
        for entry in clusters {
            let Identity {
                account,
                region,
                name,
                context,
            } = entry.identity();
            let key = (
                account.map(str::to_owned),
                region.to_owned(),
                name.to_owned(),
                context.map(str::to_owned),
            );
            match first.get(&key) {
                None => {
                    first.insert(key, entry.label());
                    kept.push(entry);
                }
                Some(there) => problems.push(Problem {
                    account: entry.account.clone(),
                    region: Some(entry.region.clone()),
                    context: entry.context.clone(),
                    ..Problem::new(
                        ProblemKind::Duplicate,
                        entry.label(),
                        format!("leads to the same cluster as {there}"),
                        entry.source,
                    )
                }),
            }
        }
        Self {
            envelope: Envelope::new(KIND, "cluster-inventory", now),
            clusters: kept,
            problems,
        }
    }

    /// Reads one; `-` is standard input.
    ///
    /// # Errors
    /// In words: it cannot be read, is damaged, of another version, or contradicts itself.
    pub fn load(path: &Path) -> Result<Self, String> {
        let name = if path == Path::new("-") {
            "standard input".to_owned()
        } else {
            path.display().to_string()
        };
        let text = read_bounded(path, MOST_BYTES)
            .map_err(|error| format!("reading the inventory {name} failed: {error}"))?;
        Self::parse(&text).map_err(|error| format!("the inventory {name} {error}"))
    }

    /// Reads one from its text.
    ///
    /// # Errors
    /// To go on after "the inventory FILE".
    pub fn parse(text: &str) -> Result<Self, String> {
        const FIX: &str = "\n  fix: write it with kubectl capt-spot fleet list -o json";
        let mut value: Value =
            serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}{FIX}"))?;
        let Some(document) = value.as_object_mut() else {
            return Err(format!("is not a JSON object{FIX}"));
        };
        let shown = iam_policy::arn::shown;
        match document.get("kind").and_then(Value::as_str) {
            Some(KIND) => {}
            Some(other) => return Err(format!("is a {}, not a {KIND}{FIX}", shown(other))),
            None => return Err(format!("has no kind, {KIND}{FIX}")),
        }
        match document.get("apiVersion").and_then(Value::as_str) {
            Some(API_VERSION) => {}
            Some(other) => {
                return Err(format!(
                    "is of the version {}, and this program reads {API_VERSION}{FIX}",
                    shown(other)
                ));
            }
            None => return Err(format!("has no apiVersion, {API_VERSION}{FIX}")),
        }
        // Written by hand, it needs none of these.
        let envelope = Envelope::new(KIND, "cluster-inventory", Timestamp::UNIX_EPOCH);
        for (field, default) in [
            ("$schema", json!(envelope.schema)),
            ("generatedAt", json!(envelope.generated_at)),
            ("tool", json!(envelope.tool)),
        ] {
            document.entry(field).or_insert(default);
        }
        let damaged = |error: serde_json::Error| format!("is damaged: {error}");
        // One by one, so that an error says at which.
        let clusters = match document.remove("clusters") {
            Some(Value::Array(clusters)) => clusters,
            _ => return Err("has no list of clusters".to_owned()),
        };
        if clusters.len() > MOST_CLUSTERS {
            return Err(format!(
                "has {} clusters, more than {MOST_CLUSTERS}",
                clusters.len()
            ));
        }
        document.insert("clusters".to_owned(), json!([]));
        let mut inventory: Self = serde_json::from_value(value).map_err(damaged)?;
        let mut seen: HashMap<Identity<'_>, usize> = HashMap::new();
        for (n, cluster) in clusters.into_iter().enumerate() {
            let wrong = |why: &str| format!("has a cluster that cannot be used, number {}: {why}", n + 1);
            let entry: Entry = serde_json::from_value(cluster).map_err(|error| wrong(&error.to_string()))?;
            inventory
                .clusters
                .push(entry.completed().map_err(|why| wrong(&why))?);
        }
        for (n, entry) in inventory.clusters.iter().enumerate() {
            if let Some(first) = seen.insert(entry.identity(), n) {
                return Err(format!(
                    "has the same cluster twice, as number {} and {}: {}",
                    first + 1,
                    n + 1,
                    entry.label()
                ));
            }
        }
        Ok(inventory)
    }

    /// As a person reads it.
    pub fn text(&self, style: Style) -> String {
        let mut out = String::new();
        let cells: Vec<[&str; 4]> = self
            .clusters
            .iter()
            .map(|entry| {
                let account = entry.account.as_deref().unwrap_or("unknown account");
                let context = entry
                    .context
                    .as_deref()
                    .filter(|name| Some(*name) != entry.arn.as_deref());
                [
                    account,
                    entry.region.as_str(),
                    entry.name.as_str(),
                    context.unwrap_or_default(),
                ]
            })
            .collect();
        let width = |at: usize| cells.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
        let widths = [width(0), width(1), width(2), 0];
        for row in &cells {
            let line: Vec<String> = row
                .iter()
                .zip(widths)
                .map(|(cell, width)| format!("{:<width$}", short_line(cell)))
                .collect();
            out.push_str(line.join("  ").trim_end());
            out.push('\n');
        }
        let mark = |kind| match kind {
            ProblemKind::Unread => '?',
            _ => '-',
        };
        for problem in &self.problems {
            let text = format!("{}: {}", problem.subject, problem.reason);
            for (n, line) in text.lines().enumerate() {
                match n {
                    0 => out.push_str(&format!("{} ", mark(problem.kind))),
                    _ => out.push_str("  "),
                }
                out.push_str(&wrap(style, 2, 2, &short_line(line.trim_start())));
                out.push('\n');
            }
        }
        let accounts: std::collections::BTreeSet<&str> = self
            .clusters
            .iter()
            .filter_map(|entry| entry.account.as_deref())
            .collect();
        let plural = |n: usize, word: &str| match n {
            1 => format!("1 {word}"),
            n => format!("{n} {word}s"),
        };
        let unread = self
            .problems
            .iter()
            .filter(|problem| problem.kind == ProblemKind::Unread)
            .count();
        let missing = match unread {
            0 => String::new(),
            n => format!("; {} could not be listed", plural(n, "place")),
        };
        out.push_str(&format!(
            "{} of {}{missing}\n",
            plural(self.clusters.len(), "cluster"),
            plural(accounts.len(), "account")
        ));
        out
    }

    /// The part of it that a shard judges: its accounts' clusters and problems.
    #[must_use]
    pub fn shard(mut self, shard: Shard) -> Self {
        self.clusters.retain(|entry| shard.holds(&entry.shard_key()));
        self.problems.retain(|problem| shard.holds(problem.shard_key()));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(clusters: &Value) -> Value {
        json!({"apiVersion": API_VERSION, "kind": KIND, "clusters": clusters})
    }

    fn demo(more: &Value) -> Value {
        let mut cluster = json!({"account": "111122223333", "region": "eu-west-1", "name": "demo"});
        let fields = cluster.as_object_mut().expect("an object");
        fields.extend(more.as_object().expect("an object").clone());
        cluster
    }

    #[test]
    fn a_short_one_is_completed() {
        let text =
            document(&json!([demo(&json!({})), {"region": "cn-north-1", "name": "other"}])).to_string();
        let inventory = Inventory::parse(&text).expect("an inventory");
        assert_eq!(
            inventory.clusters[0],
            Entry::new(Some("111122223333"), "eu-west-1", "demo", Source::Given)
        );
        assert_eq!(
            inventory.clusters[0].label(),
            "arn:aws:eks:eu-west-1:111122223333:cluster/demo"
        );
        assert_eq!(inventory.clusters[1].partition, "aws-cn");
        assert_eq!(inventory.clusters[1].label(), "cn-north-1/other");
        let again = serde_json::to_string(&inventory).expect("JSON");
        assert_eq!(Inventory::parse(&again).expect("an inventory"), inventory);
    }

    #[test]
    fn bad_ones_say_what_is_wrong() {
        let with = |more: Value| document(&json!([demo(&more)])).to_string();
        let mut other_version = document(&json!([]));
        other_version["apiVersion"] = json!("capt-spot/v2");
        let mut other_kind = document(&json!([]));
        other_kind["kind"] = json!("PreflightReportList");
        let many = vec![demo(&json!({})); MOST_CLUSTERS + 1];
        let texts = [
            String::new(),
            "clusters: []".to_owned(),
            "[]".to_owned(),
            "{}".to_owned(),
            with(json!({})).replace("demo\"}]}", "demo\""),
            other_version.to_string(),
            other_kind.to_string(),
            json!({"kind": KIND}).to_string(),
            json!({"apiVersion": API_VERSION, "kind": KIND}).to_string(),
            document(&json!({})).to_string(),
            document(&json!(["demo"])).to_string(),
            document(&json!([{"name": "demo"}])).to_string(),
            document(&json!(many)).to_string(),
            document(&json!([
                demo(&json!({})),
                demo(&json!({"name": "b"})),
                demo(&json!({}))
            ]))
            .to_string(),
            with(json!({"partition": "aws-moon"})),
            with(json!({"partition": "aws-cn"})),
            with(json!({"account": "1234"})),
            with(json!({"account": 111122223333_u64})),
            with(json!({"region": "../x"})),
            with(json!({"name": "a/b"})),
            with(json!({"name": ""})),
            with(json!({"arn": "demo"})),
            with(json!({"arn": "arn:aws:eks:eu-west-1:123456789012:cluster/demo"})),
            with(json!({"roleArn": "reader"})),
            with(json!({"roleArn": "arn:aws:iam::123456789012:role/reader"})),
            with(json!({"externalId": "x"})),
            with(json!({"source": "moon"})),
        ];
        let said: Vec<String> = texts
            .iter()
            .map(|text| Inventory::parse(text).expect_err(text))
            .collect();
        insta::assert_snapshot!(said.join("\n"));
    }

    #[test]
    fn what_is_there_twice_is_listed_once() {
        let entry = |context: &str, account| Entry {
            context: Some(context.to_owned()),
            ..Entry::new(account, "eu-west-1", "demo", Source::Kubeconfig)
        };
        let account = Some("111122223333");
        let inventory = Inventory::new(
            vec![
                entry("a", account),
                entry("b", account),
                entry("c", None),
                entry("d", None),
            ],
            Vec::new(),
            Timestamp::UNIX_EPOCH,
        );
        let kept: Vec<String> = inventory.clusters.iter().map(Entry::label).collect();
        assert_eq!(kept, ["a", "c", "d"]);
        assert_eq!(inventory.problems.len(), 1);
        assert_eq!(inventory.problems[0].reason, "leads to the same cluster as a");
    }

    #[test]
    fn shards_lose_nothing_and_double_nothing() {
        let clusters = (0..40)
            .map(|n| {
                Entry::new(
                    Some(&format!("{:012}", n % 7)),
                    "eu-west-1",
                    &format!("c{n}"),
                    Source::Given,
                )
            })
            .collect();
        let problems = (0..9)
            .map(|n| {
                Problem::new(
                    ProblemKind::Unread,
                    format!("account {n}"),
                    "denied",
                    Source::Organizations,
                )
            })
            .collect();
        let whole = Inventory::new(clusters, problems, Timestamp::UNIX_EPOCH);
        let parts: Vec<Inventory> = (0..4)
            .map(|index| whole.clone().shard(Shard { index, of: 4 }))
            .collect();
        let count = |of: fn(&Inventory) -> usize| parts.iter().map(of).sum::<usize>();
        assert_eq!(count(|part| part.clusters.len()), 40);
        assert_eq!(count(|part| part.problems.len()), 9);
        assert_eq!(whole.clone().shard(Shard::WHOLE), whole);
    }
}
