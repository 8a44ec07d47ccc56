//! Karpenter's objects from manifests: `--nodepools FILE`, and the text of a rendered chart.
//!
//! YAML or JSON, several documents, lists (`kind: List`, `NodePoolList`) included; other kinds are passed over and
//! counted. What is broken is reported with its line and does not hide the rest. A text that is no YAML at all is an
//! error, because nothing in it can be trusted.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_yaml::{Options, Spanned};

use super::json::{BrokenObject, clip};
use super::objects::{Deployment, NodeClass, NodeClassKind, NodePool, ServiceAccount};

/// Largest text that is read, in bytes. Karpenter's chart renders to about 20 KiB.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;
/// The stack to read on, in bytes.
const STACK: usize = 16 * 1024 * 1024;
/// How many broken objects are kept; all are counted.
pub const KEPT_BROKEN: usize = 100;

/// Something from a manifest and the line it begins on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    /// The line, from 1.
    pub line: u64,
    pub value: T,
}

/// What a text of manifests holds, in the order written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifests {
    /// `NodePool` and `Provisioner`.
    pub pools: Vec<Located<NodePool>>,
    /// `EC2NodeClass`, `AWSNodeTemplate` and Auto Mode's `NodeClass`.
    pub node_classes: Vec<Located<NodeClass>>,
    /// Deployments with the label `app.kubernetes.io/name: karpenter`.
    pub deployments: Vec<Located<Deployment>>,
    /// Every ServiceAccount; the Deployment tells which one counts.
    pub service_accounts: Vec<Located<ServiceAccount>>,
    /// Objects of these kinds that could not be read, each with the line of the field that is wrong, and documents that
    /// are no Kubernetes objects. At most [`KEPT_BROKEN`].
    pub broken: Vec<Located<BrokenObject>>,
    pub broken_count: u64,
    /// Values of pools and classes with a variable in them that nobody filled in: `${CLUSTER_NAME}`. At most [`KEPT_BROKEN`].
    pub placeholders: Vec<Located<String>>,
    /// How many objects of other kinds there are.
    pub others: u64,
}

/// The text as a whole can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Larger than [`MAX_BYTES`].
    #[error("the text is larger than {} MiB", MAX_BYTES / (1024 * 1024))]
    TooLarge,
    /// Not YAML, or YAML made to exhaust memory.
    #[error("line {line}, column {column}: {problem}")]
    NotYaml {
        /// The line, from 1; 0 where the parser can't tell.
        line: u64,
        /// The column, from 1; 0 where the parser can't tell.
        column: u64,
        problem: String,
    },
}

/// Reads manifests. One document at a time is held in memory.
pub fn read(text: &str) -> Result<Manifests, ManifestError> {
    if text.len() > MAX_BYTES {
        return Err(ManifestError::TooLarge);
    }
    // Reading recurses with the depth of the text. The depth is limited, but in a build without optimization 64 levels
    // take more than the 2 MiB of stack that a thread has.
    std::thread::scope(|scope| {
        let reader = std::thread::Builder::new()
            .stack_size(STACK)
            .spawn_scoped(scope, || parse(text));
        match reader.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(read)) => read,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(_) => parse(text),
        }
    })
}

fn parse(text: &str) -> Result<Manifests, ManifestError> {
    serde_yaml::from_str_multiple_with_options::<Tree, Manifests>(text, options()).map_err(|error| {
        let (line, column) = error
            .location()
            .map_or((0, 0), |location| (location.line(), location.column()));
        let text = error
            .without_snippet()
            .render_with_formatter(&serde_yaml::UserMessageFormatter);
        let place = format!(" at line {line}, column {column}");
        ManifestError::NotYaml {
            line,
            column,
            problem: clip(text.strip_suffix(&place).unwrap_or(&text)),
        }
    })
}

/// Limits for text from anywhere: 1,000 pools fit many times over, a bomb of aliases does not.
fn options() -> Options {
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_documents: 10_000,
            max_nodes: 2_000_000,
            max_events: 4_000_000,
            max_depth: 64,
            max_aliases: 10_000,
            max_anchors: 10_000,
            max_merge_keys: 10_000,
        },
        alias_limits: serde_yaml::alias_limits! {
            max_total_replayed_events: 200_000,
            max_replay_stack_depth: 16,
        },
        // Go's YAML refuses a key given twice, and so does kubectl.
        duplicate_keys: serde_yaml::options::DuplicateKeyPolicy::Error,
        with_snippet: false,
    }
}

/// YAML with the line of every value.
struct Tree {
    line: u64,
    node: Node,
}

enum Node {
    Scalar(Value),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

impl Tree {
    fn field(&self, name: &str) -> Option<&Tree> {
        match &self.node {
            Node::Map(fields) => fields.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            Node::Scalar(_) | Node::List(_) => None,
        }
    }

    fn text(&self) -> Option<&str> {
        match &self.node {
            Node::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    fn to_json(&self) -> Value {
        match &self.node {
            Node::Scalar(value) => value.clone(),
            Node::List(items) => Value::Array(items.iter().map(Tree::to_json).collect()),
            Node::Map(fields) => Value::Object(
                fields
                    .iter()
                    .map(|(key, value)| (key.clone(), value.to_json()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }

    /// The line of the value at a path as in `spec.requirements[2].key`, or of the nearest value above that is there.
    fn line_of(&self, path: &str) -> u64 {
        let mut here = self;
        for part in path.split('.') {
            let (name, indexes) = part.split_once('[').unwrap_or((part, ""));
            let Some(next) = here.field(name) else { break };
            here = next;
            let index = indexes.trim_end_matches(']');
            if let (Node::List(items), Ok(index)) = (&here.node, index.parse::<usize>()) {
                let Some(next) = items.get(index) else { break };
                here = next;
            }
        }
        here.line
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Node>::deserialize(deserializer)?;
        Ok(Self {
            line: spanned.referenced.line(),
            node: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyNode;

        impl<'de> Visitor<'de> for AnyNode {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("YAML")
            }

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Scalar(Value::Null))
            }

            fn visit_none<E>(self) -> Result<Node, E> {
                Ok(Node::Scalar(Value::Null))
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
                Node::deserialize(deserializer)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
                Ok(Node::Scalar(Value::Bool(value)))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
                Ok(Node::Scalar(Value::from(value)))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
                Ok(Node::Scalar(Value::from(value)))
            }

            fn visit_i128<E>(self, value: i128) -> Result<Node, E> {
                Ok(Node::Scalar(Value::String(value.to_string())))
            }

            fn visit_u128<E>(self, value: u128) -> Result<Node, E> {
                Ok(Node::Scalar(Value::String(value.to_string())))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
                let number =
                    Number::from_f64(value).map_or_else(|| Value::from(value.to_string()), Value::Number);
                Ok(Node::Scalar(number))
            }

            fn visit_str<E>(self, value: &str) -> Result<Node, E> {
                Ok(Node::Scalar(Value::from(value)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = access.next_element()? {
                    items.push(item);
                }
                Ok(Node::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = access.next_entry()? {
                    fields.push(field);
                }
                Ok(Node::Map(fields))
            }
        }

        deserializer.deserialize_any(AnyNode)
    }
}

/// The variable in a value that nobody filled in: `${CLUSTER_NAME}`, as envsubst and clusterctl write it.
pub(crate) fn placeholder(text: &str) -> Option<&str> {
    text.match_indices("${").find_map(|(at, _)| {
        let name = text.get(at + 2..)?.split_once('}')?.0;
        // `${NAME:=default}`
        let variable = name.split(':').next().unwrap_or(name);
        let good = !variable.is_empty() && variable.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        good.then_some(variable)
    })
}

impl Extend<Tree> for Manifests {
    fn extend<I: IntoIterator<Item = Tree>>(&mut self, documents: I) {
        for document in documents {
            self.take(&document);
        }
    }
}

impl Manifests {
    /// Takes one object, or the objects of a list.
    fn take(&mut self, object: &Tree) {
        let kind = match (&object.node, object.field("kind").and_then(Tree::text)) {
            (Node::Scalar(Value::Null), _) => return,
            (Node::Map(_), Some(kind)) => kind,
            _ => {
                self.break_at(
                    object.line,
                    BrokenObject {
                        kind: "document".to_owned(),
                        name: None,
                        field: "kind".to_owned(),
                        problem: "is missing: this is not a Kubernetes object".to_owned(),
                    },
                );
                return;
            }
        };
        if kind.ends_with("List")
            && let Some(Tree {
                node: Node::List(items),
                ..
            }) = object.field("items")
        {
            for item in items {
                self.take(item);
            }
            return;
        }
        let version = object.field("apiVersion").and_then(Tree::text);
        let group = version.map(|version| version.split_once('/').map_or("", |(group, _)| group));
        let of = |wanted: &str| group.is_none_or(|group| group == wanted);
        match kind {
            "NodePool" | "Provisioner" if of("karpenter.sh") => {
                self.note_placeholders(object);
                let read = NodePool::from_json(&object.to_json(), None);
                self.keep(object, read, |all| &mut all.pools);
            }
            "EC2NodeClass" if of("karpenter.k8s.aws") => self.take_class(object, NodeClassKind::Ec2NodeClass),
            "AWSNodeTemplate" if of("karpenter.k8s.aws") => {
                self.take_class(object, NodeClassKind::AwsNodeTemplate)
            }
            "NodeClass" if group == Some("eks.amazonaws.com") => {
                self.take_class(object, NodeClassKind::EksNodeClass)
            }
            "ServiceAccount" if of("") => {
                let read = ServiceAccount::from_json(&object.to_json());
                self.keep(object, read, |all| &mut all.service_accounts);
            }
            "Deployment" if of("apps") => {
                let json = object.to_json();
                if Deployment::is_karpenter(&json) {
                    self.keep(object, Deployment::from_json(&json), |all| &mut all.deployments);
                } else {
                    self.others += 1;
                }
            }
            _ => self.others += 1,
        }
    }

    /// Notes the variables in an object's values. User data is a script, which has variables of its own.
    fn note_placeholders(&mut self, tree: &Tree) {
        if self.placeholders.len() >= KEPT_BROKEN {
            return;
        }
        match &tree.node {
            Node::Scalar(Value::String(text)) => {
                if placeholder(text).is_some() {
                    self.placeholders.push(Located {
                        line: tree.line,
                        value: clip(text),
                    });
                }
            }
            Node::Scalar(_) => {}
            Node::List(items) => items.iter().for_each(|item| self.note_placeholders(item)),
            Node::Map(fields) => fields
                .iter()
                .filter(|(key, _)| key != "userData" && key != "annotations")
                .for_each(|(_, value)| self.note_placeholders(value)),
        }
    }

    fn take_class(&mut self, object: &Tree, kind: NodeClassKind) {
        self.note_placeholders(object);
        let read = NodeClass::from_json(&object.to_json(), kind);
        self.keep(object, read, |all| &mut all.node_classes);
    }

    fn keep<T>(
        &mut self,
        object: &Tree,
        read: Result<T, BrokenObject>,
        list: impl Fn(&mut Self) -> &mut Vec<Located<T>>,
    ) {
        match read {
            Ok(value) => list(self).push(Located {
                line: object.line,
                value,
            }),
            Err(broken) => self.break_at(object.line_of(&broken.field), broken),
        }
    }

    fn break_at(&mut self, line: u64, value: BrokenObject) {
        self.broken_count += 1;
        if self.broken.len() < KEPT_BROKEN {
            self.broken.push(Located { line, value });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::karpenter::objects::Api;
    use crate::karpenter::requirements::spot_verdict;

    /// Karpenter's getting-started manifests, one list, one old provisioner, and things to pass over.
    const MANIFESTS: &str = r#"# a comment
apiVersion: karpenter.sh/v1
kind: NodePool
metadata:
  name: default
spec:
  template:
    metadata:
      labels:
        team: "1"
    spec:
      requirements:
        - key: kubernetes.io/arch
          operator: In
          values: ["amd64"]
        - key: karpenter.sh/capacity-type
          operator: In
          values: ["on-demand"]
        - key: karpenter.k8s.aws/instance-generation
          operator: Gt
          values: ["2"]
      nodeClassRef:
        group: karpenter.k8s.aws
        kind: EC2NodeClass
        name: default
      expireAfter: 720h # 30 * 24h = 720h
  limits:
    cpu: 1000
---
apiVersion: karpenter.k8s.aws/v1
kind: EC2NodeClass
metadata:
  name: default
spec:
  role: "KarpenterNodeRole-demo"
  amiSelectorTerms:
    - alias: "windows2022@latest"
---
---
apiVersion: v1
kind: List
items:
  - apiVersion: karpenter.sh/v1beta1
    kind: NodePool
    metadata: {name: listed}
    spec: {template: {spec: {nodeClassRef: {name: default}}}}
  - apiVersion: v1
    kind: ConfigMap
    metadata: {name: other}
---
apiVersion: karpenter.sh/v1alpha5
kind: Provisioner
metadata:
  name: old
spec:
  providerRef:
    name: default
"#;

    #[test]
    fn documents_and_lists() {
        let read = read(MANIFESTS).expect("good YAML");
        let pools: Vec<_> = read
            .pools
            .iter()
            .map(|pool| (pool.line, pool.value.name.as_str(), pool.value.api))
            .collect();
        assert_eq!(
            pools,
            [
                (2, "default", Api::V1),
                (43, "listed", Api::V1Beta1),
                (51, "old", Api::V1Alpha5)
            ]
        );
        let can: Vec<_> = read
            .pools
            .iter()
            .map(|pool| spot_verdict(&pool.value).can_launch_spot())
            .collect();
        assert_eq!(can, [false, true, false]);
        assert_eq!(
            read.pools[0].value.limits.get("cpu").map(String::as_str),
            Some("1000")
        );
        assert_eq!(
            read.node_classes[0].value.role.as_deref(),
            Some("KarpenterNodeRole-demo")
        );
        assert_eq!((read.others, read.broken_count), (1, 0));
    }

    #[test]
    fn json_is_yaml() {
        let json = r#"{"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "one"},
             "spec": {"template": {"spec": {}}}}]}"#;
        let read = read(json).expect("good JSON");
        assert_eq!(
            (read.pools[0].line, read.pools[0].value.name.as_str()),
            (2, "one")
        );
    }

    #[test]
    fn what_is_broken_has_its_line_and_hides_nothing() {
        let text = "kind: NodePool\napiVersion: karpenter.sh/v1\nmetadata: {name: one}\nspec:\n  template:\n    spec:\n      \
                    requirements:\n        - key: a\n          operator: Exists\n        - operator: In\n          values: [x]\n---\n\
                    just text\n---\nkind: NodePool\nmetadata: {name: two}\n---\nkind: NodePool\napiVersion: karpenter.sh/v9\n\
                    metadata: {name: three}\n---\nkind: EC2NodeClass\napiVersion: karpenter.k8s.aws/v1\nmetadata: {name: good}\n";
        let read = read(text).expect("good YAML");
        let broken: Vec<_> = read
            .broken
            .iter()
            .map(|one| format!("{}: {}", one.line, one.value))
            .collect();
        insta::assert_snapshot!(broken.join("\n"), @r#"
        10: NodePool one: spec.template.spec.requirements[1].key is missing
        13: document (without a name): kind is missing: this is not a Kubernetes object
        15: NodePool two: apiVersion is missing
        19: NodePool three: apiVersion is "karpenter.sh/v9", a version that is not known here (known: v1, v1beta1, v1alpha5)
        "#);
        assert_eq!(read.node_classes.len(), 1);
    }

    #[test]
    fn a_rendered_chart_gives_the_controller() {
        let chart = r#"---
# Source: karpenter/templates/serviceaccount.yaml
apiVersion: v1
kind: ServiceAccount
metadata:
  name: karpenter
  namespace: kube-system
  annotations:
    eks.amazonaws.com/role-arn: arn:aws:iam::111122223333:role/demo-karpenter
---
# Source: karpenter/templates/deployment.yaml
apiVersion: apps/v1
kind: Deployment
metadata:
  name: karpenter
  namespace: kube-system
  labels:
    app.kubernetes.io/name: karpenter
    app.kubernetes.io/version: "1.5.0"
spec:
  replicas: 2
  template:
    spec:
      serviceAccountName: karpenter
      containers:
        - name: controller
          image: public.ecr.aws/karpenter/controller:1.5.0@sha256:339aef3f5ecdf6f94d1c7cc9d0e1d359c281b4f9b842877bdbf2acd3fa360521
          env:
            - name: CLUSTER_NAME
              value: "demo"
            - name: ISOLATED_VPC
              value: "true"
            - name: MEMORY_LIMIT
              valueFrom: {resourceFieldRef: {resource: limits.memory}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: other}
"#;
        let read = read(chart).expect("good YAML");
        let deployment = &read.deployments[0].value;
        assert_eq!(
            deployment.version.map(|version| version.to_string()).as_deref(),
            Some("1.5.0")
        );
        assert_eq!(deployment.settings.cluster_name.as_deref(), Some("demo"));
        assert_eq!(
            (deployment.service_account.as_str(), deployment.replicas),
            ("karpenter", 2)
        );
        let account = &read.service_accounts[0].value;
        assert_eq!(
            account.role_arn.as_deref(),
            Some("arn:aws:iam::111122223333:role/demo-karpenter")
        );
        assert_eq!(read.others, 1);
    }

    #[test]
    fn text_that_is_no_yaml_names_the_line() {
        let error = read("kind: NodePool\nmetadata:\n\tname: tab\n").expect_err("a tab indents nothing");
        assert!(
            matches!(error, ManifestError::NotYaml { line: 3, .. }),
            "{error:?}"
        );
        let error = read("kind: A\nkind: B\n").expect_err("a key twice");
        assert_eq!(
            error.to_string(),
            "line 2, column 1: duplicate mapping key `kind` is not allowed here"
        );
        assert!(
            matches!(error, ManifestError::NotYaml { line: 2, .. }),
            "{error:?}"
        );
        assert_eq!(read(""), Ok(Manifests::default()));
        assert_eq!(read("# nothing\n---\n"), Ok(Manifests::default()));
    }

    #[test]
    fn bombs_are_refused() {
        let mut aliases = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let before = vec![format!("*a{}", level - 1); 9].join(", ");
            aliases.push_str(&format!("a{level}: &a{level} [{before}]\n"));
        }
        let deep = format!("kind: {}", "[".repeat(100_000));
        let deep_block: String = (0..5_000)
            .map(|level| format!("{}a:\n", " ".repeat(level)))
            .collect();
        let documents = "---\na: 1\n".repeat(200_000);
        for text in [aliases, deep, deep_block, documents] {
            assert!(
                matches!(read(&text), Err(ManifestError::NotYaml { .. })),
                "{}",
                &text[..40]
            );
        }
        assert_eq!(read(&" ".repeat(MAX_BYTES + 1)), Err(ManifestError::TooLarge));
    }

    #[test]
    fn deep_but_honest_text_is_read_on_any_thread() {
        // CRDs nest about 35 levels. Threads have 2 MiB of stack, test threads and tokio's among them.
        let deep: String = (0..60)
            .map(|level| format!("{}a:\n", " ".repeat(level)))
            .collect();
        assert_eq!(
            read(&format!("kind: CustomResourceDefinition\nspec:\n{deep}")).map(|read| read.others),
            Ok(1)
        );
    }

    #[test]
    fn a_thousand_pools() {
        let one = MANIFESTS.split("---\n").next().unwrap_or_default();
        let text = vec![one; 1_000].join("---\n");
        assert_eq!(read(&text).expect("good YAML").pools.len(), 1_000);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[ -~\\n\\t\u{80}-\u{100}]{0,200}") {
            let _ = read(&text).map_err(|error| error.to_string());
        }

        /// A piece of real text, damaged.
        #[test]
        fn damaged_manifests_do_not_panic(at in 0..MANIFESTS.len(), cut in 0usize..40, put in "[\\[\\]{}:&*!|>'\"\\t\\n-]{0,3}") {
            let end = (at + cut).min(MANIFESTS.len());
            let text = format!("{}{put}{}", &MANIFESTS[..at], &MANIFESTS[end..]);
            if let Ok(read) = read(&text) {
                let lines = text.lines().count() as u64;
                for broken in &read.broken {
                    prop_assert!((1..=lines).contains(&broken.line), "line {} of {lines}", broken.line);
                }
            }
        }
    }
}
