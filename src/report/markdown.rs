//! Markdown, for pull requests, issues and the summary of a GitHub step: problems first, what passed folded.

use super::block::{self, Block};
use super::page::{Section, Table};
use super::{Finding, Page};
use crate::checks::{Remedy, Status};
use crate::model::Language;
use crate::text::sanitize::line;

/// The document; several answers with a table of them first.
pub(crate) fn render(pages: &[Page]) -> String {
    let mut out = String::new();
    if pages.len() > 1 {
        out.push_str(&format!("## EC2 Spot {}\n\n", pages[0].verb));
        row(&["of", "answer", "what"].map(str::to_owned), &mut out);
        out.push_str("|---|---|---|\n");
        for page in pages {
            row(&[text(&page.subject), word(page), text(&page.closing)], &mut out);
        }
        out.push('\n');
    }
    let pages: Vec<String> = pages.iter().map(one).collect();
    out.push_str(&pages.join("\n"));
    out
}

fn row(cells: &[String], out: &mut String) {
    out.push_str(&format!("| {} |\n", cells.join(" | ")));
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
    if let Some(list) = &page.table {
        table(list, &mut out);
    }
    for block in block::problems(&page.findings) {
        problem(page, &block, &mut out);
    }
    for one in &page.sections {
        section(one, &mut out);
    }
    let rest: Vec<&Finding> = page
        .findings
        .iter()
        .filter(|finding| matches!(finding.status, Status::Pass | Status::Skip))
        .collect();
    // One finding alone is the answer itself.
    if !rest.is_empty() && page.findings.len() > 1 {
        out.push_str(&format!(
            "\n<details><summary>{}</summary>\n\n| | check | finding |\n|---|---|---|\n",
            page.folded()
        ));
        for finding in rest {
            let status = finding.status.word().to_owned();
            row(&[status, link(finding), text(&finding.message)], &mut out);
        }
        out.push_str("\n</details>\n");
    }
    out
}

fn table(table: &Table, out: &mut String) {
    out.push('\n');
    row(&table.head.iter().map(|name| text(name)).collect::<Vec<_>>(), out);
    out.push_str(&format!("|{}\n", "---|".repeat(table.head.len())));
    for (cells, why) in &table.rows {
        let mut cells: Vec<String> = cells.iter().map(|cell| text(cell)).collect();
        if let (Some(first), Some(why)) = (cells.first_mut(), why) {
            first.push_str(&format!(": {}", text(why)));
        }
        row(&cells, out);
    }
}

fn section(section: &Section, out: &mut String) {
    let title = text(&section.title);
    match &section.folded {
        Some(_) => out.push_str(&format!("\n<details><summary>{title}</summary>\n\n")),
        None => out.push_str(&format!("\n### {title}\n\n")),
    }
    for row in &section.rows {
        let mark = row
            .status
            .map_or_else(String::new, |status| format!("{}: ", status.word()));
        out.push_str(&format!("- {mark}{}\n", text(&row.text)));
        if !row.code.is_empty() {
            code("", &row.code, "  ", out);
        }
    }
    if section.folded.is_some() {
        out.push_str("\n</details>\n");
    }
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
    for (language, lines) in commands.into_iter().chain(snippets) {
        code(language, &lines, "", out);
    }
}

/// A block of code; within a list, `indent` holds it to its item.
fn code(language: &str, text: &str, indent: &str, out: &mut String) {
    let lines: Vec<String> = text.lines().map(|one| line(one).into_owned()).collect();
    let fence = fence_for(&lines);
    let first = format!("{fence}{language}");
    let all = [first.as_str()]
        .into_iter()
        .chain(lines.iter().map(String::as_str))
        .chain([fence.as_str()]);
    out.push('\n');
    for one in all {
        out.push_str(format!("{indent}{one}").trim_end());
        out.push('\n');
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
fn text(from: &str) -> String {
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
