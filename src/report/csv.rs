//! Comma-separated values, for spreadsheets: a list, or a row for each finding.

use super::Page;
use crate::text::sanitize::short_line;

pub(crate) fn render(pages: &[Page]) -> String {
    // A list that is the answer itself.
    if let [
        Page {
            table: Some(list), ..
        },
    ] = pages
    {
        let rows = list.rows.iter().map(|(cells, why)| {
            let why = why.clone().unwrap_or_default();
            cells.iter().cloned().chain([why]).collect()
        });
        return table(&[list.head.as_slice(), &["note"]].concat(), rows);
    }
    let rows = pages.iter().flat_map(|page| {
        page.findings.iter().map(|finding| {
            [
                &page.name,
                &finding.id,
                finding.status.word(),
                &finding.headline,
                &finding.message,
            ]
            .map(str::to_owned)
            .to_vec()
        })
    });
    table(&["subject", "check", "status", "headline", "message"], rows)
}

/// Rows under a head. A cell that begins like a formula is text to a spreadsheet.
fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let field = |text: &String| {
        let text = short_line(text);
        let formula = text.starts_with(['=', '+', '-', '@']);
        format!(
            "\"{}{}\"",
            if formula { "'" } else { "" },
            text.replace('"', "\"\"")
        )
    };
    let mut out = head.join(",") + "\n";
    for row in rows {
        let row: Vec<String> = row.iter().map(field).collect();
        out.push_str(&(row.join(",") + "\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_neither_a_formula_nor_a_second_cell() {
        let row = ["=1+1", "a \"b\", c", "x\ny\u{1b}"].map(str::to_owned).to_vec();
        insta::assert_snapshot!(table(&["a", "b", "c"], [row]));
    }
}
