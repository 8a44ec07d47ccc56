//! `explain`: a check's page. Offline.

use serde_json::{Value, json};

use crate::checks::pages::page_of;
use crate::checks::{self, Check, Group, REGISTRY};
use crate::cli::{Explain, Global};
use crate::commands::CliError;
use crate::model::Exit;
use crate::report::docs_url;
use crate::report::json::{pretty, to_yaml};
use crate::terminal::{self, Ui};
use crate::text::Output;
use crate::text::style::{Style, bold};

/// Runs it.
///
/// # Errors
/// No such check.
pub fn run(args: &Explain, global: &Global) -> Result<Exit, CliError> {
    super::text_json_or_yaml(global, "explain")?;
    let style = Ui::new(global.color, global.verbose, true).style;
    let chosen: Vec<&Check> = match &args.check {
        None => REGISTRY.to_vec(),
        Some(name) => {
            let by_group: Vec<&Check> = REGISTRY
                .iter()
                .copied()
                .filter(|check| check.group.id() == name)
                .collect();
            match checks::find(name) {
                Some(check) => vec![check],
                None if !by_group.is_empty() => by_group,
                None => {
                    return Err(CliError::usage(format!(
                        "there is no check or group \"{name}\"\n  fix: {}",
                        checks::instead_of(name)
                    )));
                }
            }
        }
    };
    let text = match global.output {
        Output::Text if args.check.is_some() => chosen
            .iter()
            .map(|check| in_full(check, style))
            .collect::<Vec<_>>()
            .join("\n"),
        Output::Text => table(&chosen, style),
        Output::Yaml => to_yaml(&as_json(&chosen)),
        _ => pretty(&as_json(&chosen)),
    };
    terminal::out_as(global.output, &text)?;
    Ok(Exit::Done)
}

/// The page as it is, its headings set apart.
fn in_full(check: &Check, style: Style) -> String {
    let page = page_of(check.id).unwrap_or_default();
    let mut in_code = false;
    let mut out = String::with_capacity(page.len() + 256);
    for line in page.lines() {
        in_code ^= line.starts_with("```");
        if line.starts_with('#') && !in_code {
            out.push_str(&style.paint(bold(), line));
        } else {
            out.push_str(line);
        }
        out.push('\n');
    }
    out.push_str(&format!("\n{}\n", docs_url(&format!("checks/{}.md", check.id))));
    out
}

fn table(chosen: &[&Check], style: Style) -> String {
    let mut out = String::new();
    for group in Group::ALL {
        let of_group: Vec<&&Check> = chosen.iter().filter(|check| check.group == group).collect();
        if of_group.is_empty() {
            continue;
        }
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&format!(
            "{}  ({})\n",
            style.paint(bold(), group.title()),
            group.id()
        ));
        for check in of_group {
            out.push_str(&format!("  {:<22} {}\n", check.id, check.title));
        }
    }
    out
}

fn as_json(chosen: &[&Check]) -> Value {
    let checks: Vec<Value> = chosen
        .iter()
        .map(|check| {
            json!({
                "id": check.id, "group": check.group.id(), "title": check.title,
                "explanation": page_of(check.id), "docs": docs_url(&format!("checks/{}.md", check.id))
            })
        })
        .collect();
    json!({"apiVersion": crate::report::API_VERSION, "kind": "CheckList", "checks": checks})
}
