//! The files in a module's folder, and what Helm makes of a chart among them.
use std::collections::BTreeMap;

use serde_json::Value;

use super::placeholder;
use super::yaml;

/// Text files by their path relative to the folder, with `/`.
#[derive(Debug, Default)]
pub struct Beside(BTreeMap<String, String>);

/// For modules whose folder is not known: standard input, an object of a cluster.
pub static NOTHING: Beside = Beside(BTreeMap::new());

impl Beside {
    pub fn new(files: BTreeMap<String, String>) -> Self {
        Self(files)
    }

    /// A file by the path that Terraform has for it, with the path as it is known here. What leads out of the folder is not
    /// there: a module from elsewhere must not show the rest of this machine in a report.
    pub fn file(&self, path: &str) -> Option<(&str, &str)> {
        let path = path.trim_start_matches("./");
        self.0.get_key_value(path).map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// `fileset(directory, pattern)`: paths relative to the directory.
    pub fn matching(&self, directory: &str, pattern: &str) -> Vec<String> {
        let under = directory.trim_start_matches("./").trim_end_matches('/');
        let inside = |path: &String| match under {
            "" | "." => Some(path.clone()),
            _ => path.strip_prefix(under)?.strip_prefix('/').map(str::to_owned),
        };
        let Ok(glob) = globset::GlobBuilder::new(pattern.trim_start_matches("./"))
            .literal_separator(true)
            .build()
        else {
            return Vec::new();
        };
        let glob = glob.compile_matcher();
        self.0
            .keys()
            .filter_map(inside)
            .filter(|p| glob.is_match(p))
            .collect()
    }

    /// The templates of a chart, by its folder or by the name in its Chart.yaml, with what Helm fills in as far as it is known.
    pub fn chart(&self, chart: &str, values: &[Value]) -> Option<Vec<Rendered>> {
        let folder = self.chart_folder(chart)?;
        let own = self.0.get(&format!("{folder}values.yaml"));
        let mut merged = own.and_then(|text| first(text)).unwrap_or(Value::Null);
        values.iter().for_each(|v| merge(&mut merged, v));
        let templates = format!("{folder}templates/");
        let is =
            |name: &str| name.starts_with(&templates) && name.ends_with(".yaml") || name.ends_with(".yml");
        Some(
            self.0
                .iter()
                .filter(|(name, _)| is(name))
                .map(|(_, text)| without_actions(text, &merged))
                .collect(),
        )
    }

    fn chart_folder(&self, chart: &str) -> Option<String> {
        let by_path = format!("{}/", chart.trim_start_matches("./").trim_end_matches('/'));
        if self.0.contains_key(&format!("{by_path}Chart.yaml")) {
            return Some(by_path);
        }
        self.0.iter().find_map(|(name, text)| {
            let folder = name.strip_suffix("Chart.yaml")?;
            let is = first(text)?.get("name").and_then(Value::as_str) == Some(chart);
            is.then(|| folder.to_owned())
        })
    }
}

fn first(text: &str) -> Option<Value> {
    yaml::json_documents(text).ok()?.into_iter().next()
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// A text of Helm's as YAML.
#[derive(Debug, PartialEq, Eq)]
pub struct Rendered {
    pub text: String,
    /// A condition or a loop stands around what decides about a NodePool, so that not all of it need be there.
    pub conditional: bool,
}

/// What decides about a NodePool.
const DECIDES: [&str; 4] = ["kind:", "requirements", "labels", "capacity-type"];

/// Replaces `{{ actions }}`: `.Values.a.b` by its value, control structures by nothing (all branches stay), everything else
/// by a mark for a value that is not known.
pub fn without_actions(text: &str, values: &Value) -> Rendered {
    let mut out = String::with_capacity(text.len());
    let (mut depth, mut conditional) = (0_usize, false);
    let mut rest = text;
    let mut line_has_control = false;
    let mut line_start = 0;
    loop {
        let Some((before, after)) = rest.split_once("{{") else {
            out.push_str(rest);
            break;
        };
        for part in before.split_inclusive('\n') {
            conditional |= depth > 0 && DECIDES.iter().any(|word| part.contains(word));
            out.push_str(part);
            if part.ends_with('\n') {
                if line_has_control && out[line_start..].trim().is_empty() {
                    out.truncate(line_start);
                }
                line_start = out.len();
                line_has_control = false;
            }
        }
        let Some((action, after)) = after.split_once("}}") else {
            break;
        };
        rest = after;
        let action = action.trim_matches('-').trim();
        match action.split_whitespace().next().unwrap_or_default() {
            "if" | "with" | "range" | "define" | "block" => depth += 1,
            "end" => depth = depth.saturating_sub(1),
            word if word == "else" || word == "fail" || word.starts_with("/*") || action.contains(":=") => {}
            _ => {
                out.push_str(&value_of(action, values));
                continue;
            }
        }
        line_has_control = true;
    }
    Rendered {
        text: out,
        conditional,
    }
}

/// `.Values.a.b`, `toYaml .Values.a | nindent 4`, `.Values.a | quote`; JSON is YAML on one line.
fn value_of(action: &str, values: &Value) -> String {
    let mut words = action
        .split(['|', ' '])
        .filter(|w| !w.is_empty() && !["toYaml", "quote"].contains(w));
    let path = words.next().and_then(|w| w.strip_prefix(".Values."));
    let only_layout = words.all(|w| w.ends_with("indent") || w.parse::<u8>().is_ok());
    let found = path.filter(|_| only_layout).and_then(|path| {
        let value = path.split('.').try_fold(values, |v, key| v.get(key))?;
        (!value.is_null()).then_some(value)
    });
    match found {
        Some(Value::String(text)) if !text.contains(['"', '\n', ':', '#']) => text.clone(),
        Some(value) => value.to_string(),
        None => placeholder::mark(placeholder::HELM),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn actions_become_values_marks_or_nothing() {
        let text = "{{- if not .Values.cluster -}}\n{{- fail \"no cluster\" -}}\n{{- end -}}\n---\nname: {{ .Values.name }}\n\
                    role: {{ .Values.role | default (printf \"%s-node\" .Values.cluster) | quote }}\n\
                    limits: {{ toYaml .Values.limits | nindent 4 }}\n{{- with .Values.budgets }}\nbudgets: {{ toYaml . | nindent 6 }}\n{{- end }}\n";
        let shown = without_actions(text, &json!({"name": "default", "limits": {"cpu": 1000}}));
        let text = shown
            .text
            .replace(placeholder::MARK, "<")
            .replace(placeholder::MARK_END, ">");
        insta::assert_snapshot!(text, @r#"
        ---
        name: default
        role: <{>
        limits: {"cpu":1000}
        budgets: <{>
        "#);
        assert!(!shown.conditional);
        let text = "kind: NodePool\nspec:\n{{ if .Values.od }}\n  requirements: [x]\n{{ end }}\n";
        assert!(without_actions(text, &Value::Null).conditional);
        for broken in ["{{", "a {{ b", "}}", "{{}}", "{{- -}}\n"] {
            without_actions(broken, &Value::Null);
        }
    }

    #[test]
    fn files_outside_the_folder_are_not_there() {
        let beside = Beside::new(BTreeMap::from([("pools/a.yaml".to_owned(), "x".to_owned())]));
        assert_eq!(beside.file("./pools/a.yaml"), Some(("pools/a.yaml", "x")));
        assert_eq!(beside.file("../pools/a.yaml"), None);
        assert_eq!(beside.file("/pools/a.yaml"), None);
        assert_eq!(beside.matching(".", "pools/*.yaml"), ["pools/a.yaml"]);
        assert_eq!(beside.matching("./pools", "*.yaml"), ["a.yaml"]);
        assert!(beside.matching(".", "*.yaml").is_empty());
    }
}
