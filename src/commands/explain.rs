//! `explain`: what a check looks at, why it matters, how to mend it. Offline, from the registry.

use serde_json::{Value, json};

use crate::checks::{self, Check, Group, REGISTRY};
use crate::cli::{Explain, Global};
use crate::commands::CliError;
use crate::model::Exit;
use crate::report::json::{pretty, to_yaml};
use crate::terminal::{self, Ui};
use crate::text::Output;
use crate::text::style::{Style, bold, wrap};

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

fn in_full(check: &Check, style: Style) -> String {
    // What to do stands apart: that is what is looked for in a hurry.
    let at = check
        .explanation
        .rfind("To mend it")
        .unwrap_or(check.explanation.len());
    let (why, mend) = check.explanation.split_at(at);
    let paragraphs: Vec<&str> = [why.trim_end(), mend]
        .into_iter()
        .filter(|text| !text.is_empty())
        .collect();
    format!(
        "{}  ({})\n{}\n\n{}\n\ndocs: {}\n",
        style.paint(bold(), check.id),
        check.group.id(),
        check.title,
        paragraphs
            .iter()
            .map(|paragraph| wrap(style, 0, 0, paragraph))
            .collect::<Vec<_>>()
            .join("\n\n"),
        check.docs
    )
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
                "explanation": check.explanation, "docs": check.docs
            })
        })
        .collect();
    json!({"apiVersion": crate::report::API_VERSION, "kind": "CheckList", "checks": checks})
}
