//! Markdown, for pull requests, issues and the summary of a GitHub step: problems first, what passed folded.

use super::block::{self, Block};
use super::{Finding, Page};
use crate::checks::{Remedy, Status};
use crate::model::Language;
use crate::text::sanitize::line;

/// The document; several clusters with a table of them first.
pub(crate) fn render(pages: &[Page]) -> String {
    let mut out = String::new();
    if pages.len() > 1 {
        out.push_str("## EC2 Spot preflight\n\n| cluster | verdict | what |\n|---|---|---|\n");
        for page in pages {
            out.push_str(&format!(
                "| {} | {} | {} |\n",
                text(&page.subject),
                word(page),
                text(&page.closing)
            ));
        }
        out.push('\n');
    }
    let pages: Vec<String> = pages.iter().map(one).collect();
    out.push_str(&pages.join("\n"));
    out
}

fn word(page: &Page) -> String {
    match page.status {
        Status::Pass => text(&page.word),
        _ => format!("**{}**", text(&page.word)),
    }
}

fn one(page: &Page) -> String {
    let mut out = format!("## {}: {}\n\n", text(&page.word), text(&page.subject));
    let about = page.notes.iter().chain(&page.about).map(|one| text(one));
    let fields = page
        .fields
        .iter()
        .map(|(name, value)| format!("{}: {}", text(name), text(value)));
    let about: Vec<String> = about.chain(fields).collect();
    if !about.is_empty() {
        out.push_str(&format!("{}\n\n", about.join("  \n")));
    }
    if !page.closing.is_empty() {
        out.push_str(&format!("{}: {}\n", word(page), text(&page.closing)));
    }
    for block in block::problems(&page.findings) {
        problem(page, &block, &mut out);
    }
    let rest: Vec<&Finding> = page
        .findings
        .iter()
        .filter(|finding| matches!(finding.status, Status::Pass | Status::Skip))
        .collect();
    if !rest.is_empty() {
        out.push_str(&format!(
            "\n<details><summary>{}</summary>\n\n| | check | finding |\n|---|---|---|\n",
            page.folded()
        ));
        for finding in rest {
            out.push_str(&format!(
                "| {} | {} | {} |\n",
                finding.status.word(),
                link(finding),
                text(&finding.message)
            ));
        }
        out.push_str("\n</details>\n");
    }
    out
}

fn link(finding: &Finding) -> String {
    format!("[{}]({})", text(&finding.id), finding.docs)
}

fn problem(page: &Page, block: &Block<'_>, out: &mut String) {
    let word = match block.status {
        Status::Fail => "FAIL",
        Status::Warn if page.strict => "FAIL (a warning, --strict)",
        status => status.word(),
    };
    out.push_str(&format!("\n### {word}: {}\n\n", text(&block.headline)));
    let links: Vec<String> = block.findings.iter().map(|finding| link(finding)).collect();
    out.push_str(&format!("{} ({})\n", text(&block.message), links.join(", ")));
    if let Some(remedy) = &block.remedy {
        fix(remedy, out);
    }
}

fn fix(remedy: &Remedy, out: &mut String) {
    if !remedy.text.is_empty() {
        out.push_str(&format!("\nFix: {}\n", text(&remedy.text)));
    }
    let commands = (!remedy.commands.is_empty()).then(|| ("sh", remedy.commands.join("\n")));
    let snippets = remedy.snippets.iter().map(|snippet| {
        let language = match snippet.language {
            Language::Yaml => "yaml",
            Language::Json => "json",
            Language::Hcl => "hcl",
        };
        (language, snippet.text.clone())
    });
    for (language, code) in commands.into_iter().chain(snippets) {
        let code: Vec<String> = code.lines().map(|one| line(one).into_owned()).collect();
        let fence = fence_for(&code);
        out.push_str(&format!("\n{fence}{language}\n{}\n{fence}\n", code.join("\n")));
    }
}

/// A fence that no line of the block can end: a hostile name may hold backticks.
fn fence_for(lines: &[String]) -> String {
    let longest = lines
        .iter()
        .flat_map(|one| one.split(|c| c != '`'))
        .map(str::len)
        .max()
        .unwrap_or(0);
    "`".repeat(longest.max(2) + 1)
}

/// Text from elsewhere, with nothing in it that Markdown or HTML would take for its own.
pub(crate) fn text(from: &str) -> String {
    let mut out = String::with_capacity(from.len());
    for c in line(from).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '!' | '~' => {
                out.push('\\');
                out.push(c);
            }
            // A mention or an issue reference would call people.
            '@' => out.push_str("&#64;"),
            c => out.push(c),
        }
    }
    out
}
