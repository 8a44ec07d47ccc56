//! The NodePools that a module would make, and whether each can launch Spot instances.
use hcl_edit::expr::Expression;
use hcl_edit::structure::{Body, Structure};
use serde_json::{Value, json};

use super::beside::{Beside, NOTHING, without_actions};
use super::hcl::{BlockKind, Entry, Evaluator, Graph, Val, Vars, elements, to_json};
use super::placeholder::{self, MARK};
use super::source::Manifest;
use super::yaml;
use crate::karpenter::objects::NodePool;
use crate::karpenter::requirements::spot_verdict;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spot {
    Yes(String),
    No(String),
    /// What decides is not in the files: counts as "it can", and the report says so.
    Unknown(String),
}

impl Spot {
    /// Whether the module has to take care of the role for this pool.
    pub fn needs_role(&self) -> bool {
        !matches!(self, Self::No(_))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    pub name: Option<String>,
    pub spot: Spot,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolBlock {
    pub entry: usize,
    /// The pools, never empty.
    pub pools: Vec<Pool>,
}

/// A block whose manifests could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unseen {
    pub entry: usize,
    pub why: String,
    /// The block's one purpose is to apply a manifest, so a NodePool may well be in it.
    pub manifest: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scan {
    pub blocks: Vec<PoolBlock>,
    pub unseen: Vec<Unseen>,
}

#[derive(Default)]
struct Found {
    pools: Vec<Pool>,
    unreadable: Option<String>,
}

impl Found {
    fn unknown(&mut self, why: String) {
        self.pools.push(Pool {
            name: None,
            spot: Spot::Unknown(why),
        });
    }
}

/// What a Kubernetes object outside a module brings to a cluster.
#[derive(Debug, Default)]
pub struct Outside {
    pub pools: Vec<Pool>,
    /// It installs Karpenter itself.
    pub karpenter: bool,
}

/// Reads a NodePool, the values of a chart's installation (HelmChartProxy, HelmRelease, Application), or manifests in a
/// ConfigMap.
pub fn outside(manifest: &Manifest, beside: &Beside) -> Outside {
    let graph = Graph::new(&[], &NOTHING);
    let eval = Evaluator::new(&graph, Vars::Open);
    let mut json = manifest.value.clone();
    placeholder::marked(&mut json);
    let at = |path: &str| json.pointer(path).cloned().unwrap_or(Value::Null);
    let text = |path: &str| at(path).as_str().map(str::to_owned);
    let mut found = Found::default();
    let charts: Vec<(Option<String>, Value)> = match manifest.object.kind.as_str() {
        "HelmChartProxy" => vec![(text("/spec/chartName"), at("/spec/valuesTemplate"))],
        "HelmRelease" => {
            let chart = text("/spec/chart/spec/chart").or_else(|| text("/spec/chartRef/name"));
            vec![(chart, at("/spec/values"))]
        }
        "Application" => {
            let sources = at("/spec/sources");
            let several = sources.as_array().into_iter().flatten().cloned();
            let all = several.chain([at("/spec/source")]).filter(Value::is_object);
            all.map(|source| {
                let part = |path: &str| source.pointer(path).filter(|v| !v.is_null()).cloned();
                let chart = source.get("chart").and_then(Value::as_str).map(str::to_owned);
                let values = part("/helm/valuesObject").or_else(|| part("/helm/values"));
                (chart, values.unwrap_or(Value::Null))
            })
            .collect()
        }
        kind => {
            examine_json(&json, &eval, &mut found, kind == "ConfigMap", 0);
            Vec::new()
        }
    };
    let mut karpenter = false;
    for (chart, values) in charts {
        let values = match values {
            Value::String(text) => {
                let shown = without_actions(&text, &Value::Null).text;
                yaml::json_documents(&shown).unwrap_or_else(|_| vec![Value::String(shown)])
            }
            other => vec![other],
        };
        for value in &values {
            examine_json(value, &eval, &mut found, true, 0);
        }
        if let Some(chart) = chart {
            karpenter |= installs_karpenter(&chart);
            of_chart(&chart, &values, beside, &eval, &mut found);
        }
    }
    Outside {
        pools: found.pools,
        karpenter,
    }
}

/// Karpenter's own chart, which makes no NodePool, whatever its values.
pub fn installs_karpenter(chart: &str) -> bool {
    chart == "karpenter" || chart.ends_with("/karpenter")
}

/// The NodePools of a chart's templates, where the chart is beside the module; else of a chart with such a name.
fn of_chart(chart: &str, values: &[Value], beside: &Beside, eval: &Evaluator<'_, '_>, found: &mut Found) {
    if let Some(templates) = beside.chart(chart, values) {
        for template in templates {
            let before = found.pools.len();
            examine_text(&template.text, eval, found, true, 0);
            if template.conditional {
                for pool in found.pools.iter_mut().skip(before) {
                    pool.spot =
                        Spot::Unknown(format!("a condition in the chart {chart} shapes its manifest"));
                }
            }
        }
        return;
    }
    let plain = chart.to_ascii_lowercase().replace(['_', '-'], "");
    if plain.contains("nodepool") && found.pools.is_empty() {
        found.unknown(format!(
            "the chart {chart} makes it, and charts from elsewhere are not read"
        ));
    }
}

/// Finds the NodePools of a module: `kubectl_manifest`, `kubernetes_manifest`, `helm_release`, and manifests anywhere in
/// another block (a module's arguments, a command's here-document).
pub fn scan(graph: &Graph<'_>, eval: &Evaluator<'_, '_>) -> Scan {
    let mut scan = Scan::default();
    for (index, entry) in graph.entries.iter().enumerate() {
        if !matches!(entry.kind, BlockKind::Resource | BlockKind::Module) {
            continue;
        }
        let body = &entry.block.body;
        if entry.attr("count").is_some_and(|c| eval.eval(c) == Val::Num(0.0)) {
            continue;
        }
        let mut found = Found::default();
        let mut manifest = true;
        let all = each_value(entry, eval);
        eval.directives.set(false);
        match entry.type_name {
            "kubectl_manifest" => attribute(body, "yaml_body", &all, eval, &mut found),
            "kubernetes_manifest" | "kubernetes_manifest_v1" | "kustomization_resource" => {
                attribute(body, "manifest", &all, eval, &mut found);
            }
            "k8s_manifest" => attribute(body, "content", &all, eval, &mut found),
            "helm_release" => {
                manifest = false;
                helm(body, &all, graph.beside, eval, &mut found);
            }
            _ => {
                manifest = false;
                anywhere(body, &all, eval, &mut found, 0);
                found.unreadable = None;
            }
        }
        if eval.directives.get() {
            for pool in &mut found.pools {
                pool.spot =
                    Spot::Unknown("a template directive (%{ if } or %{ for }) shapes its manifest".into());
            }
        }
        if let Some(why) = found.unreadable.take().filter(|_| found.pools.is_empty()) {
            let named = |s: &str| {
                let s = s.to_ascii_lowercase().replace(['_', '-'], "");
                s.contains("nodepool") && !s.contains("nodeclass")
            };
            if manifest && (named(&entry.address) || named(&why)) {
                found.unknown(format!("its manifest is {why}; by its name it is a NodePool"));
            } else {
                scan.unseen.push(Unseen {
                    entry: index,
                    why,
                    manifest,
                });
            }
        }
        if !found.pools.is_empty() {
            scan.blocks.push(PoolBlock {
                entry: index,
                pools: found.pools,
            });
        }
    }
    scan
}

/// The elements of a block's `for_each`, as far as they are known.
fn each_value(entry: &Entry<'_>, eval: &Evaluator<'_, '_>) -> Vec<(String, Val)> {
    let Some(for_each) = entry.attr("for_each") else {
        return Vec::new();
    };
    let all = elements(&eval.eval(for_each)).unwrap_or_default();
    all.into_iter()
        .map(|(key, value)| match key {
            Val::Str(k) => (k, value),
            // A set's key is its value.
            _ => (
                if let Val::Str(s) = &value {
                    s.clone()
                } else {
                    String::new()
                },
                value,
            ),
        })
        .collect()
}

fn values_of(expr: &Expression, all: &[(String, Val)], eval: &Evaluator<'_, '_>) -> Vec<Val> {
    if all.is_empty() {
        vec![eval.eval(expr)]
    } else {
        all.iter().map(|(k, v)| eval.eval_each(expr, k, v)).collect()
    }
}

fn attribute(body: &Body, name: &str, all: &[(String, Val)], eval: &Evaluator<'_, '_>, found: &mut Found) {
    if let Some(attribute) = body.get_attribute(name) {
        for value in values_of(&attribute.value, all, eval) {
            examine(&value, eval, found, false, 0);
        }
    }
}

fn helm(body: &Body, all: &[(String, Val)], beside: &Beside, eval: &Evaluator<'_, '_>, found: &mut Found) {
    let mut known = Vec::new();
    if let Some(values) = body.get_attribute("values") {
        for value in values_of(&values.value, all, eval) {
            let items = match value {
                Val::List(items) => items,
                other => vec![other],
            };
            for item in &items {
                examine(item, eval, found, true, 0);
                match item {
                    Val::Str(text) => known.extend(yaml::json_documents(text).unwrap_or_default()),
                    other => known.extend(to_json(other)),
                }
            }
        }
    }
    if let Some(Val::Str(chart)) = body.get_attribute("chart").map(|c| eval.eval(&c.value)) {
        of_chart(&chart, &known, beside, eval, found);
        if installs_karpenter(&chart) || chart == "karpenter-crd" {
            found.unreadable = None;
        }
    }
}

fn anywhere(body: &Body, all: &[(String, Val)], eval: &Evaluator<'_, '_>, found: &mut Found, depth: usize) {
    for structure in body.iter() {
        match structure {
            Structure::Attribute(a) => {
                if ![
                    "depends_on",
                    "count",
                    "for_each",
                    "source",
                    "version",
                    "provider",
                    "providers",
                ]
                .contains(&a.key.as_str())
                {
                    for value in values_of(&a.value, all, eval) {
                        examine(&value, eval, found, true, 0);
                    }
                }
            }
            Structure::Block(b) if depth < 8 && !b.has_ident("lifecycle") => {
                anywhere(&b.body, all, eval, found, depth + 1);
            }
            Structure::Block(_) => {}
        }
    }
}

/// Looks for NodePools in a value. `deep`: the value is not a manifest itself but may carry some.
fn examine(value: &Val, eval: &Evaluator<'_, '_>, found: &mut Found, deep: bool, depth: usize) {
    if depth > 16 {
        return;
    }
    match value {
        Val::Str(text) => examine_text(text, eval, found, deep, depth),
        Val::Any(options) => {
            let mut inner = Found::default();
            options
                .iter()
                .for_each(|o| examine(o, eval, &mut inner, deep, depth + 1));
            if inner.pools.is_empty() && options.iter().all(|o| matches!(o, Val::Unknown(_))) {
                found.unreadable = found.unreadable.take().or(inner.unreadable);
            }
            found.pools.append(&mut inner.pools);
        }
        Val::Unknown(i) => found.unreadable = Some(eval.reason(*i)),
        Val::List(items) if deep => items
            .iter()
            .for_each(|i| examine(i, eval, found, deep, depth + 1)),
        _ => {
            if let Some(json) = to_json(value) {
                examine_json(&json, eval, found, deep, depth);
            }
        }
    }
}

fn examine_text(text: &str, eval: &Evaluator<'_, '_>, found: &mut Found, deep: bool, depth: usize) {
    let mentions = text.contains("NodePool") || text.contains("Provisioner");
    if deep && !mentions {
        if !text.contains('\n') && text.starts_with(MARK) {
            found.unreadable = eval.reason_in(text);
        }
        return;
    }
    match yaml::json_documents(text) {
        Ok(documents) if documents.iter().any(|d| !d.is_string()) => {
            let before = found.pools.len();
            documents
                .iter()
                .for_each(|d| examine_json(d, eval, found, deep, depth + 1));
            if found.pools.len() == before && mentions_pool(text) && documents.iter().any(Value::is_string) {
                found.unknown("its manifest could not be read".into());
            }
        }
        Ok(documents) if !mentions_pool(text) => {
            if let Some(why) = documents
                .iter()
                .filter_map(Value::as_str)
                .find_map(|d| eval.reason_in(d))
            {
                found.unreadable = Some(why);
            }
        }
        other => {
            let why = match other {
                Err(e) => format!("its manifest could not be read as YAML ({e})"),
                Ok(_) => "its manifest stands in a command".into(),
            };
            if mentions_pool(text) {
                found.unknown(why);
            } else if !deep {
                found.unreadable = Some(why);
            }
        }
    }
}

/// A text that is not YAML but holds a NodePool's manifest.
fn mentions_pool(text: &str) -> bool {
    text.contains("karpenter.sh/")
        && text.match_indices("NodePool").any(|(at, _)| {
            let before = text[..at].trim_end_matches([' ', '"', '\'', '\\', '\t']);
            let after = text[at + "NodePool".len()..].chars().next();
            before.ends_with(':')
                && before
                    .trim_end_matches([':', '"', '\'', '\\', ' '])
                    .ends_with("kind")
                && after.is_none_or(|c| !c.is_alphanumeric())
        })
}

fn examine_json(json: &Value, eval: &Evaluator<'_, '_>, found: &mut Found, deep: bool, depth: usize) {
    if depth > 16 {
        return;
    }
    match json {
        Value::Object(map) => {
            let field = |key: &str| map.get(key).and_then(Value::as_str);
            let (api, kind) = (
                field("apiVersion").unwrap_or_default(),
                field("kind").unwrap_or_default(),
            );
            let karpenter = api.starts_with("karpenter.sh/");
            if (kind == "NodePool" && (karpenter || api.contains(MARK) || api.is_empty()))
                || (kind == "Provisioner" && karpenter)
            {
                found.pools.push(pool(json, eval));
            } else if kind.contains(MARK) && karpenter {
                let why = eval.reason_in(kind).unwrap_or_default();
                found.pools.push(Pool {
                    name: name(json),
                    spot: Spot::Unknown(format!("its kind is {why}")),
                });
            } else if kind.contains(MARK) || map.keys().any(|k| k.contains(MARK)) && !deep {
                found.unreadable = map
                    .keys()
                    .chain(std::iter::once(&kind.to_owned()))
                    .find_map(|k| eval.reason_in(k));
            } else if kind == "List" || deep {
                map.values()
                    .for_each(|v| examine_json(v, eval, found, deep, depth + 1));
            }
        }
        Value::Array(items) => items
            .iter()
            .for_each(|i| examine_json(i, eval, found, deep, depth + 1)),
        Value::String(text) if deep || text.contains(MARK) => {
            examine_text(text, eval, found, deep, depth + 1)
        }
        _ => {}
    }
}

fn name(pool: &Value) -> Option<String> {
    let name = pool.pointer("/metadata/name")?.as_str()?;
    (!name.contains(MARK)).then(|| name.to_owned())
}

fn pool(json: &Value, eval: &Evaluator<'_, '_>) -> Pool {
    let reason = |v: &Value| -> Option<String> {
        let text = v.to_string();
        text.contains(MARK)
            .then(|| eval.reason_in(&text).unwrap_or_default())
    };
    let mut known = json.clone();
    let mut why = None;
    let alpha = is_provisioner(json);
    let place = if alpha { "/spec" } else { "/spec/template/spec" };
    // Requirements only narrow, so what is not known can be left out: if the rest already excludes Spot, it is excluded.
    match known.pointer_mut(&format!("{place}/requirements")) {
        Some(Value::Array(items)) => items.retain(|item| match reason(item) {
            Some(r) => {
                let key = item.get("key").and_then(Value::as_str).unwrap_or_default();
                if key.is_empty() || key.contains(MARK) || key == CAPACITY_TYPE {
                    why.get_or_insert(r);
                    false
                } else {
                    true
                }
            }
            None => true,
        }),
        Some(other) => {
            why = reason(other);
            if why.is_some() {
                *other = Value::Array(vec![]);
            }
        }
        None => {}
    }
    let labels = if alpha {
        "/spec/labels"
    } else {
        "/spec/template/metadata/labels"
    };
    if let Some(label) = known.pointer_mut(labels).and_then(|l| l.get_mut(CAPACITY_TYPE))
        && let Some(r) = reason(label)
    {
        why.get_or_insert(r);
        *label = Value::Null;
    }
    // Something merged over the pool could replace what was seen.
    let overlaid = ["", "/spec", "/spec/template", place].iter().find_map(|p| {
        let at = if p.is_empty() { Some(json) } else { json.pointer(p) };
        match at? {
            Value::Object(map) => map.keys().find_map(|k| eval.reason_in(k)),
            Value::String(s) => eval.reason_in(s),
            _ => None,
        }
    });
    let spot = match (can_launch_spot(&known), overlaid, why) {
        (_, Some(r), _) => Spot::Unknown(format!("part of it is {r}")),
        (Err(broken), None, _) => Spot::Unknown(format!("its requirements could not be judged: {broken}")),
        (Ok((false, no)), None, _) => Spot::No(no),
        (Ok((true, _)), None, Some(r)) => {
            Spot::Unknown(format!("its {CAPACITY_TYPE} requirement depends on {r}"))
        }
        (Ok((true, yes)), None, None) => Spot::Yes(yes),
    };
    Pool {
        name: name(json),
        spot,
    }
}

const CAPACITY_TYPE: &str = "karpenter.sh/capacity-type";

/// Whether a pool with these requirements can launch Spot, and why, by Karpenter's algebra. Only what decides is handed over:
/// the rest of a manifest may be incomplete here.
///
/// # Errors
/// Why that is not known: a requirement that the API server would refuse.
fn can_launch_spot(pool: &Value) -> Result<(bool, String), String> {
    let alpha = is_provisioner(pool);
    let part = |path: &str| pool.pointer(path).cloned().unwrap_or(Value::Null);
    let api = match pool.get("apiVersion").and_then(Value::as_str) {
        Some(api) if !api.contains(MARK) && !api.is_empty() => api,
        _ => "karpenter.sh/v1",
    };
    let spec = if alpha {
        json!({ "requirements": part("/spec/requirements"), "labels": part("/spec/labels") })
    } else {
        json!({ "template": {
            "metadata": { "labels": part("/spec/template/metadata/labels") },
            "spec": { "requirements": part("/spec/template/spec/requirements") },
        } })
    };
    let known = json!({ "apiVersion": api, "metadata": { "name": "pool" }, "spec": spec });
    let pool = NodePool::from_json(&known, None).map_err(|e| e.to_string())?;
    let verdict = spot_verdict(&pool);
    Ok((verdict.can_launch_spot(), verdict.why().to_owned()))
}

fn is_provisioner(pool: &Value) -> bool {
    pool.get("kind").and_then(Value::as_str) == Some("Provisioner")
}

#[cfg(test)]
mod tests {
    use super::super::hcl::parse;
    use super::*;

    /// What a module makes: address, name, `yes`/`no`/`unknown`; unseen blocks as `address: unseen`.
    fn seen(text: &str) -> Vec<String> {
        let body = parse(text).expect("parses");
        let graph = Graph::new(&[(text, &body)], &NOTHING);
        let found = scan(&graph, &Evaluator::new(&graph, Vars::Open));
        let mut out = Vec::new();
        for block in found.blocks {
            for pool in block.pools {
                let spot = match pool.spot {
                    Spot::Yes(_) => "yes".to_owned(),
                    Spot::No(_) => "no".to_owned(),
                    Spot::Unknown(why) => format!("unknown: {why}"),
                };
                let name = pool.name.unwrap_or_else(|| "?".into());
                out.push(format!("{} {name} {spot}", graph.entries[block.entry].address));
            }
        }
        for unseen in found.unseen {
            out.push(format!(
                "{}: unseen, {}",
                graph.entries[unseen.entry].address, unseen.why
            ));
        }
        out
    }

    const ON_DEMAND: &str =
        "{ key = \"karpenter.sh/capacity-type\", operator = \"In\", values = [\"on-demand\"] }";

    #[test]
    fn heredocs() {
        let text = r#"
resource "kubectl_manifest" "bare" {
  yaml_body = <<-YAML
    apiVersion: karpenter.sh/v1
    kind: NodePool
    metadata:
      name: default
    spec:
      template:
        spec:
          nodeClassRef: { group: karpenter.k8s.aws, kind: EC2NodeClass, name: ${kubectl_manifest.class.name} }
          expireAfter: ${var.expire}
  YAML
}
resource "kubectl_manifest" "class" {
  yaml_body = <<YAML
apiVersion: karpenter.k8s.aws/v1
kind: EC2NodeClass
metadata:
  name: default
YAML
}
resource "kubectl_manifest" "two" {
  yaml_body = <<EOF
apiVersion: karpenter.sh/v1
kind: NodePool
metadata: {name: od}
spec:
  template:
    spec:
      requirements:
        - key: karpenter.sh/capacity-type
          operator: In
          values: ["on-demand"]
---
apiVersion: karpenter.sh/v1
kind: NodePool
metadata: {name: by-var}
spec:
  template:
    spec:
      requirements:
        - key: karpenter.sh/capacity-type
          operator: In
          values: ["${var.capacity_type}"]
EOF
}
resource "kubectl_manifest" "lists" {
  yaml_body = <<EOF
apiVersion: karpenter.sh/v1
kind: NodePool
metadata: {name: enc}
spec:
  template:
    spec:
      requirements: ${jsonencode(local.requirements)}
EOF
}
resource "kubectl_manifest" "gone" {
  count     = 0
  yaml_body = "apiVersion: karpenter.sh/v1\nkind: NodePool\n"
}
resource "kubectl_manifest" "directive" {
  yaml_body = <<EOF
apiVersion: karpenter.sh/v1
kind: NodePool
metadata: {name: dir}
spec:
  template:
    spec:
      requirements:
%{ if var.on_demand }
        - {key: karpenter.sh/capacity-type, operator: In, values: [on-demand]}
%{ endif }
EOF
}
locals { requirements = [REQ] }
"#
        .replace("REQ", ON_DEMAND);
        insta::assert_snapshot!(seen(&text).join("\n"), @r#"
        kubectl_manifest.bare default yes
        kubectl_manifest.two od no
        kubectl_manifest.two by-var unknown: its karpenter.sh/capacity-type requirement depends on var.capacity_type (set from outside)
        kubectl_manifest.lists enc no
        kubectl_manifest.directive dir unknown: a template directive (%{ if } or %{ for }) shapes its manifest
        "#);
    }

    #[test]
    fn other_carriers() {
        let text = r#"
locals {
  pool = {
    apiVersion = "karpenter.sh/v1"
    kind       = "NodePool"
    metadata   = { name = "shared" }
    spec       = { template = { spec = { requirements = concat([REQ], var.more) } } }
  }
  many = {
    a = { requirements = [] }
    b = { requirements = [REQ] }
  }
}
resource "kubectl_manifest" "encoded" { yaml_body = yamlencode(local.pool) }
resource "kubernetes_manifest" "object" {
  manifest = merge(local.pool, { metadata = { name = "merged" } }, { spec = { template = { spec = { requirements = var.all } } } })
}
resource "kubectl_manifest" "each" {
  for_each  = local.many
  yaml_body = yamlencode({ apiVersion = "karpenter.sh/v1", kind = "NodePool", metadata = { name = each.key }, spec = { template = { spec = each.value } } })
}
resource "kubectl_manifest" "template" { yaml_body = templatefile("${path.module}/nodepool.yaml.tpl", {}) }
resource "kubectl_manifest" "other_template" { yaml_body = file("${path.module}/x.yaml") }
data "kubectl_file_documents" "docs" { content = "apiVersion: karpenter.sh/v1\nkind: NodePool\nmetadata: {name: from-docs}\n" }
resource "kubectl_manifest" "docs" {
  for_each  = data.kubectl_file_documents.docs.manifests
  yaml_body = each.value
}
resource "kubectl_manifest" "set" {
  for_each  = toset(["x", "y"])
  yaml_body = <<-Y
    apiVersion: karpenter.sh/v1
    kind: NodePool
    metadata:
      name: pool-${each.key}
  Y
}
resource "helm_release" "extra" {
  chart  = "karpenter"
  values = [yamlencode({ extraObjects = [local.pool] }), <<-Y
    replicas: 1
    extraDeploy:
      - |
        apiVersion: karpenter.sh/v1
        kind: NodePool
        metadata:
          name: in-text
  Y
  ]
}
resource "helm_release" "pools" { chart = "oci://example.com/charts/default-nodepool" }
resource "helm_release" "unread" {
  chart  = "things"
  values = [file("values.yaml")]
}
resource "null_resource" "apply" {
  provisioner "local-exec" {
    command = <<-SH
      kubectl apply -f - <<EOF
      apiVersion: karpenter.sh/v1
      kind: NodePool
      EOF
    SH
  }
}
module "karpenter_resources" {
  source    = "./x"
  manifests = [local.pool]
}
resource "kubectl_manifest" "provisioner" {
  yaml_body = "apiVersion: karpenter.sh/v1alpha5\nkind: Provisioner\nmetadata: {name: old}\nspec: {}\n"
}
resource "kubectl_manifest" "conditional" {
  yaml_body = var.x ? yamlencode(local.pool) : "apiVersion: v1\nkind: ConfigMap\n"
}
"#
        .replace("REQ", ON_DEMAND);
        insta::assert_snapshot!(seen(&text).join("\n"), @r#"
        kubectl_manifest.encoded shared no
        kubernetes_manifest.object merged unknown: its karpenter.sh/capacity-type requirement depends on var.all (set from outside)
        kubectl_manifest.each a yes
        kubectl_manifest.each b no
        kubectl_manifest.template ? unknown: its manifest is templatefile("./nodepool.yaml.tpl"), which is not read; by its name it is a NodePool
        kubectl_manifest.docs from-docs yes
        kubectl_manifest.set pool-x yes
        kubectl_manifest.set pool-y yes
        helm_release.extra shared no
        helm_release.extra in-text yes
        helm_release.pools ? unknown: the chart oci://example.com/charts/default-nodepool makes it, and charts from elsewhere are not read
        null_resource.apply ? unknown: its manifest could not be read as YAML (mapping values are not allowed in this context)
        module.karpenter_resources shared no
        kubectl_manifest.provisioner old no
        kubectl_manifest.conditional shared no
        kubectl_manifest.other_template: unseen, file("./x.yaml"), which is not read
        helm_release.unread: unseen, file("values.yaml"), which is not read
        "#);
    }
}
