//! The report as a person reads it: the answer first and last, problems first, one block for one cause, the rest folded.
//!
//! Understandable without colour and without Unicode; commands are never wrapped, so that they can be pasted.

use anstyle::{AnsiColor, Style as Ansi};
use textwrap::core::display_width;

use super::block::{self, Block};
use super::page::{Section, Table};
use super::{Finding, Page, capitalized};
use crate::checks::{Group, Remedy, Status};
use crate::text::sanitize::{line, short_line};
use crate::text::style::{Style, bold, dim, wrap};

/// A line is read as one up to here, however wide the terminal is.
const WIDEST: usize = 100;

pub(crate) fn symbol(style: Style, status: Status) -> &'static str {
    match (status, style.unicode) {
        (Status::Pass, true) => "✓",
        (Status::Pass, false) => "+",
        (Status::Warn, _) => "!",
        (Status::Fail, true) => "✗",
        (Status::Fail, false) => "x",
        (Status::Unknown, _) => "?",
        (Status::Skip, _) => "-",
    }
}

pub(crate) fn ansi(status: Status) -> Ansi {
    // The eight basic colours follow the terminal's own theme, dark or light. Only what is wrong is bold.
    match status {
        Status::Pass => AnsiColor::Green.on_default(),
        Status::Warn => AnsiColor::Yellow.on_default(),
        Status::Fail => AnsiColor::Red.on_default().bold(),
        Status::Unknown => AnsiColor::Magenta.on_default(),
        Status::Skip => Ansi::new().dimmed(),
    }
}

/// The answers one after the other.
pub(crate) fn render(pages: &[Page], style: Style) -> String {
    let style = Style {
        width: style.width.clamp(40, WIDEST),
        ..style
    };
    let several = pages.len() > 1;
    let pages = pages.iter().map(|page| {
        let context = format!("context: {}", page.name);
        if several && page.name != page.subject && !page.notes.contains(&context) {
            one(&page.clone().note(context), style)
        } else {
            one(page, style)
        }
    });
    pages.collect::<Vec<_>>().join("\n")
}

fn one(page: &Page, style: Style) -> String {
    let mut out = String::new();
    header(page, style, &mut out);
    if let Some(list) = &page.table {
        out.push('\n');
        table(list, style, &mut out);
    }
    for problem in block::problems(&page.findings) {
        out.push('\n');
        block(&problem, style, &mut out);
    }
    let show_all = page.show_all || style.verbose;
    for shown in &page.sections {
        if show_all || shown.folded.is_none() {
            out.push('\n');
            section(shown, style, &mut out);
        }
    }
    if show_all {
        unfolded(page, style, &mut out);
    }
    let folded = page.folded();
    if !folded.is_empty() {
        let hint = if show_all { "" } else { " (--show-all lists them)" };
        out.push('\n');
        out.push_str(&style.paint(dim(), &wrap(style, 0, 0, &format!("{folded}{hint}"))));
        out.push('\n');
    } else if !page.closing.is_empty() {
        out.push('\n');
    }
    if !page.closing.is_empty() {
        let text = format!("{}: {}", page.word, short_line(&page.closing));
        answer(page, &wrap(style, 0, 2, &text), style, &mut out);
        out.push('\n');
    }
    out
}

/// The answer's word, in its colour, where the text begins with it.
fn answer(page: &Page, text: &str, style: Style, out: &mut String) {
    match text.strip_prefix(page.word.as_str()) {
        Some(rest) => {
            out.push_str(&style.paint(ansi(page.status), &page.word));
            out.push_str(rest);
        }
        None => out.push_str(text),
    }
}

fn header(page: &Page, style: Style, out: &mut String) {
    let first = format!("{}  {}", page.word, short_line(&page.subject));
    let mut column = display_width(&first);
    answer(page, &first, style, out);
    for note in &page.notes {
        let note = short_line(note);
        let width = display_width(&note);
        if column + 2 + width <= style.width {
            column += 2 + width;
            out.push_str("  ");
        } else {
            column = 2 + width;
            out.push_str("\n  ");
        }
        out.push_str(&style.paint(dim(), &note));
    }
    out.push('\n');
    for sentence in &page.about {
        out.push_str("  ");
        out.push_str(&style.paint(dim(), &wrap(style, 2, 2, &short_line(sentence))));
        out.push('\n');
    }
    let widest = page.fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in &page.fields {
        let column = widest + 4;
        out.push_str("  ");
        out.push_str(&style.paint(dim(), &format!("{name:<widest$}")));
        out.push_str("  ");
        out.push_str(&wrap(style, column, column, &short_line(value)));
        out.push('\n');
    }
}

/// The mark and a headline, with the id at the right: on the same line where it fits.
pub(crate) fn titled(status: Status, headline: &str, id: &str, style: Style, out: &mut String) {
    let text = wrap(style, 2, 2, &short_line(headline));
    out.push_str(&style.paint(ansi(status), symbol(style, status)));
    out.push(' ');
    let mut column = 0;
    for (n, part) in text.lines().enumerate() {
        if n > 0 {
            out.push_str("\n  ");
        }
        let part = part.trim_start();
        column = 2 + display_width(part);
        match status {
            Status::Fail => out.push_str(&style.paint(bold(), part)),
            _ => out.push_str(part),
        }
    }
    let id = line(id);
    let width = display_width(&id);
    if column + 2 + width > style.width {
        out.push('\n');
        column = 0;
    }
    out.push_str(&" ".repeat(style.width.saturating_sub(column + width)));
    out.push_str(&style.paint(dim(), &id));
    out.push('\n');
}

fn section(section: &Section, style: Style, out: &mut String) {
    out.push_str(&style.paint(bold(), &line(&section.title)));
    out.push('\n');
    for row in &section.rows {
        out.push_str("  ");
        match row.status {
            Some(status) => out.push_str(&style.paint(ansi(status), symbol(style, status))),
            None => out.push('-'),
        }
        out.push(' ');
        out.push_str(&wrap(style, 4, 4, &short_line(&row.text)));
        out.push('\n');
        pasted(&row.code, style, out);
    }
}

fn table(table: &Table, style: Style, out: &mut String) {
    // One long name must not push every other one off the screen.
    const MOST: usize = 72;
    let clean =
        |row: &[String]| -> Vec<String> { row.iter().map(|cell| short_line(cell).into_owned()).collect() };
    let head: Vec<String> = table.head.iter().map(|name| (*name).to_owned()).collect();
    let rows: Vec<(Vec<String>, Option<&String>)> = [(head, None)]
        .into_iter()
        .chain(table.rows.iter().map(|(row, why)| (clean(row), why.as_ref())))
        .collect();
    let widths: Vec<usize> = (0..table.head.len())
        .map(|column| {
            let cells = rows.iter().filter_map(|(row, _)| row.get(column));
            let widest = cells.map(|cell| display_width(cell)).max();
            widest.unwrap_or_default().min(MOST)
        })
        .collect();
    for (row, why) in rows {
        let mut text = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            text.push_str(cell);
            text.push_str(&" ".repeat(width.saturating_sub(display_width(cell)) + 2));
        }
        out.push_str(text.trim_end());
        out.push('\n');
        if let Some(why) = why {
            let why = wrap(style, 4, 4, &short_line(why));
            out.push_str(&format!("    {}\n", style.paint(dim(), &why)));
        }
    }
}

/// What is pasted, or stands in a file: never wrapped.
fn pasted(text: &str, style: Style, out: &mut String) {
    for part in text.lines() {
        out.push_str("    ");
        out.push_str(&style.paint(AnsiColor::Cyan.on_default(), &line(part)));
        out.push('\n');
    }
}

fn block(block: &Block<'_>, style: Style, out: &mut String) {
    let id = match block.findings.as_slice() {
        [one] => one.id.clone(),
        several => format!("{} checks", several.len()),
    };
    titled(block.status, &block.headline, &id, style, out);
    if let [Finding { file: Some(file), .. }] = block.findings.as_slice() {
        let place = format!("{}:{}", line(&file.file), file.line);
        out.push_str(&format!("  {}\n", style.paint(dim(), &place)));
    }
    if capitalized(&block.message) != block.headline {
        paragraph(&block.message, style, out);
    }
    if let Some(remedy) = &block.remedy {
        fix(remedy, style, out);
    }
    if style.verbose {
        block
            .findings
            .iter()
            .for_each(|finding| sources(finding, style, out));
    }
}

fn paragraph(text: &str, style: Style, out: &mut String) {
    if !text.is_empty() {
        out.push_str("  ");
        out.push_str(&wrap(style, 2, 2, &short_line(&sentence(text))));
        out.push('\n');
    }
}

/// A message as a sentence of its own: with a capital letter, unless it begins with a name, and a full stop.
fn sentence(text: &str) -> String {
    let mut text = capitalized(text);
    if !text.ends_with(['.', '!', '?', ':', '`', ')']) {
        text.push('.');
    }
    text
}

fn fix(remedy: &Remedy, style: Style, out: &mut String) {
    if !remedy.text.is_empty() {
        out.push_str("  ");
        out.push_str(&wrap(
            style,
            2,
            2,
            &format!("Fix: {}", short_line(&sentence(&remedy.text))),
        ));
        out.push('\n');
    }
    for command in &remedy.commands {
        pasted(command, style, out);
    }
    for (n, snippet) in remedy.snippets.iter().enumerate() {
        if n > 0 {
            out.push('\n');
        }
        pasted(&snippet.text, style, out);
    }
}

fn sources(finding: &Finding, style: Style, out: &mut String) {
    for (call, told) in &finding.sources {
        let text = format!("from {}: {}", short_line(call), short_line(told));
        out.push_str("  ");
        out.push_str(&style.paint(dim(), &wrap(style, 2, 4, &text)));
        out.push('\n');
    }
    if matches!(finding.status, Status::Fail | Status::Unknown | Status::Warn) {
        out.push_str("  ");
        out.push_str(&style.paint(dim(), &format!("docs {}", line(&finding.docs))));
        out.push('\n');
    }
}

/// What passed and what was not judged, by group.
fn unfolded(page: &Page, style: Style, out: &mut String) {
    for group in page.groups() {
        let of_group = page
            .findings
            .iter()
            .filter(|finding| finding.group == group)
            .filter(|finding| matches!(finding.status, Status::Pass | Status::Skip));
        let mut of_group = of_group.peekable();
        if of_group.peek().is_none() {
            continue;
        }
        let title = Group::ALL
            .iter()
            .find(|known| known.id() == group)
            .map(|known| known.title());
        out.push('\n');
        out.push_str(&style.paint(dim(), &line(title.unwrap_or(group))));
        out.push('\n');
        for finding in of_group {
            titled(finding.status, &finding.title, &finding.id, style, out);
            paragraph(&finding.message, style, out);
            if style.verbose {
                sources(finding, style, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_is_not_broken() {
        let narrow = Style {
            width: 40,
            ..Style::PLAIN
        };
        for (text, want) in [
            (
                "To fix it, once for the account: `kubectl capt-spot create-role`.",
                "To fix it, once for the account:\n`kubectl capt-spot create-role`.",
            ),
            // Longer than a line: broken as anything else is.
            (
                "see `- rolearn: arn:aws:iam::111122223333:role/demo-node`",
                "see `- rolearn:\narn:aws:iam::111122223333:role/demo-node`",
            ),
            // Never closed: nothing is quoted.
            (
                "a line that was cut off: `- rolearn: and more",
                "a line that was cut off: `- rolearn: and\nmore",
            ),
        ] {
            assert_eq!(wrap(narrow, 0, 0, text), want);
        }
    }
}
