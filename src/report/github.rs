//! Annotations of GitHub Actions: one workflow command for each problem (docs.github.com, "Workflow commands"). The Markdown
//! goes to the step's summary.

use super::{Finding, Page, block};
use crate::checks::Status;
use crate::text::sanitize::{line, short_line};

/// What a step prints: the annotations, and each answer as a plain line.
pub(crate) fn render(pages: &[Page]) -> String {
    let mut out = String::new();
    for page in pages {
        for block in block::problems(&page.findings) {
            let level = match block.status {
                Status::Fail => "error",
                Status::Warn if page.strict => "error",
                _ => "warning",
            };
            let ids: Vec<&str> = block.findings.iter().map(|finding| finding.id.as_str()).collect();
            let title = format!("{} ({})", line(&block.headline), line(&ids.join(", ")));
            let mut text = format!("{}: {}", short_line(&page.subject), short_line(&block.message));
            if let Some(remedy) = &block.remedy {
                let lines = [&remedy.text]
                    .into_iter()
                    .chain(&remedy.commands)
                    .chain(remedy.snippets.iter().map(|snippet| &snippet.text));
                for (n, part) in lines.flat_map(|text| text.lines()).enumerate() {
                    text.push_str(if n == 0 { "\nFix: " } else { "\n" });
                    text.push_str(&short_line(part));
                }
            }
            let place = match block.findings.as_slice() {
                [Finding { file: Some(at), .. }] => {
                    format!("file={},line={},", property(&line(&at.file)), at.line)
                }
                _ => String::new(),
            };
            out.push_str(&format!(
                "::{level} {place}title={}::{}\n",
                property(&title),
                data(&text)
            ));
        }
        let closing = short_line(&page.closing).into_owned();
        out.push_str(&format!(
            "{}  {}: {closing}\n",
            line(&page.word),
            short_line(&page.subject)
        ));
    }
    out
}

/// The text of a command (actions/toolkit, `escapeData`).
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property of a command (actions/toolkit, `escapeProperty`).
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_command_cannot_end_it() {
        assert_eq!(property("100%: a, b\r\nc"), "100%25%3A a%2C b%0D%0Ac");
        assert_eq!(data("100%: a, b\n::error::x"), "100%25: a, b%0A::error::x");
    }
}
