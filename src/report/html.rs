//! A page to look at: one file without anything from elsewhere, for a browser, from disk or as a CI artifact.
//!
//! All of it is in the markup; a script of its own only sorts, filters and copies, so that the page is whole where a CI system
//! forbids scripts. Text from elsewhere is escaped, and the Content-Security-Policy admits this style and this script by their
//! hashes and nothing else.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use sha2::Digest as _;

use super::block::{self, Block};
use super::{Finding, Page, docs_url};
use crate::checks::{Group, Remedy, Status};
use crate::text::sanitize::line;

const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");

/// Clusters of a problem that are named one by one.
const NAMED: usize = 20;

/// The page.
pub(crate) fn render(pages: &[Page]) -> String {
    let title = match pages {
        [one] => format!("{}: {}", one.word, one.subject),
        several => format!("EC2 Spot preflight of {} clusters", several.len()),
    };
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src '{}'; script-src '{}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n",
        hash(STYLE),
        hash(SCRIPT),
        text(&title)
    );
    match pages {
        [one] => {
            let _ = write!(
                out,
                "<main>\n<h1><span class=\"{}\">{}</span> {}</h1>\n",
                class(one.status),
                text(&one.word),
                text(&one.subject)
            );
            report(one, true, &mut out);
            out.push_str("</main>\n");
        }
        several => {
            let _ = write!(out, "<main>\n<h1>{}</h1>\n", text(&title));
            clusters(several, &mut out);
            out.push_str("</main>\n");
        }
    }
    let _ = write!(
        out,
        "<footer><p><small>{}kubectl-capt-spot {}</small></p></footer>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
        made_at(pages),
        env!("CARGO_PKG_VERSION")
    );
    out
}

fn made_at(pages: &[Page]) -> String {
    let times = || pages.iter().filter_map(|page| page.about_cluster.at);
    match (times().min(), times().max()) {
        (Some(first), Some(last)) if first == last => format!("{first}, "),
        (Some(first), Some(last)) => format!("{first} to {last}, "),
        _ => String::new(),
    }
}

/// As a source of a Content-Security-Policy.
fn hash(source: &str) -> String {
    let digest = sha2::Sha256::digest(source.as_bytes());
    format!(
        "sha256-{}",
        base64::engine::general_purpose::STANDARD.encode(digest)
    )
}

fn class(status: Status) -> &'static str {
    status.word()
}

fn clusters(pages: &[Page], out: &mut String) {
    let count = |status: Status| pages.iter().filter(|page| page.status == status).count();
    let words: Vec<String> = [
        (Status::Fail, "not ready"),
        (Status::Unknown, "undecided"),
        (Status::Pass, "ready"),
    ]
    .into_iter()
    .filter(|(status, _)| count(*status) > 0)
    .map(|(status, word)| {
        format!(
            "<span class=\"{} word\">{} {word}</span>",
            class(status),
            count(status)
        )
    })
    .collect();
    let _ = write!(
        out,
        "<p>{} <a class=\"soft\" href=\"#problems\">Problems by account</a></p>\n<h2>Clusters</h2>\n",
        words.join(", ")
    );
    let accounts: std::collections::BTreeSet<&str> = pages.iter().map(account).collect();
    let options = |values: &[(&str, String)]| -> String {
        let option = |(value, shown): &(&str, String)| {
            format!("<option value=\"{}\">{}</option>", text(value), text(shown))
        };
        values.iter().map(option).collect()
    };
    let verdicts = options(&[
        ("", "any".to_owned()),
        ("fail", "not ready".to_owned()),
        ("unknown", "undecided".to_owned()),
        ("pass", "ready".to_owned()),
    ]);
    let any = [("", "any".to_owned())];
    let each: Vec<(&str, String)> = any
        .into_iter()
        .chain(accounts.iter().map(|account| (*account, (*account).to_owned())))
        .collect();
    let _ = writeln!(
        out,
        "<div class=\"tools scripted\"><label>Filter <input id=\"filter\" type=\"search\" autocomplete=\"off\"></label>\
         <label>Verdict <select id=\"verdict\">{verdicts}</select></label>\
         <label>Account <select id=\"account\">{}</select></label>\
         <span class=\"soft\" role=\"status\"><span id=\"shown\"></span> shown</span></div>",
        options(&each)
    );
    out.push_str("<table class=\"clusters\">\n<thead><tr>");
    for header in ["Verdict", "Cluster", "Account", "Region", "Problems", "What"] {
        let _ = write!(
            out,
            "<th scope=\"col\"><button type=\"button\">{header}</button></th>"
        );
    }
    out.push_str("</tr></thead>\n");
    for (n, page) in pages.iter().enumerate() {
        row(n, page, out);
    }
    out.push_str("</table>\n");
    problems(pages, out);
}

fn account(page: &Page) -> &str {
    page.about_cluster.account.as_deref().unwrap_or("unknown")
}

/// What a cluster is called in the table.
fn name(page: &Page) -> &str {
    page.about_cluster.cluster.as_deref().unwrap_or(&page.name)
}

/// So that ascending is worst first.
fn rank(status: Status) -> u8 {
    match status {
        Status::Fail => 0,
        Status::Unknown => 1,
        Status::Warn => 2,
        Status::Pass | Status::Skip => 3,
    }
}

fn row(n: usize, page: &Page, out: &mut String) {
    let problems = page
        .findings
        .iter()
        .filter(|finding| !matches!(finding.status, Status::Pass | Status::Skip))
        .count();
    let region = page.about_cluster.region.as_deref().unwrap_or("unknown");
    let _ = write!(
        out,
        "<tbody class=\"cluster\" id=\"c{n}\" data-verdict=\"{}\" data-account=\"{}\"><tr>\
         <td data-key=\"{}\"><span class=\"{} word\">{}</span></td><td>{}</td><td>{}</td><td>{}</td><td>{problems}</td><td>{}</td></tr>\n\
         <tr><td class=\"report\" colspan=\"6\"><details><summary>Report</summary>\n",
        class(page.status),
        text(account(page)),
        rank(page.status),
        class(page.status),
        text(&page.word),
        text(name(page)),
        text(account(page)),
        text(region),
        text(&page.closing)
    );
    report(page, false, out);
    out.push_str("</details></td></tr></tbody>\n");
}

/// A page's report. Among many, what passed has no sentences.
fn report(page: &Page, alone: bool, out: &mut String) {
    let fields = page.fields.iter().map(|(name, value)| format!("{name}: {value}"));
    let about: Vec<String> = page
        .notes
        .iter()
        .chain(&page.about)
        .cloned()
        .chain(fields)
        .collect();
    for one in &about {
        let _ = writeln!(out, "<p class=\"soft\">{}</p>", text(one));
    }
    if alone && !page.closing.is_empty() {
        let _ = writeln!(
            out,
            "<p><span class=\"{} word\">{}</span>: {}</p>",
            class(page.status),
            text(&page.word),
            text(&page.closing)
        );
    }
    for block in block::problems(&page.findings) {
        problem(page, &block, out);
    }
    let rest: Vec<&Finding> = page
        .findings
        .iter()
        .filter(|finding| matches!(finding.status, Status::Pass | Status::Skip))
        .collect();
    if rest.is_empty() {
        return;
    }
    if !alone {
        let _ = writeln!(out, "<p class=\"soft\">{}</p>", text(&page.folded()));
        return;
    }
    let _ = writeln!(
        out,
        "<details><summary>{}</summary>\n<table><tbody>",
        text(&page.folded())
    );
    for finding in rest {
        let _ = writeln!(
            out,
            "<tr><td class=\"{}\">{}</td><td>{}</td><td>{}</td></tr>",
            class(finding.status),
            finding.status.word(),
            link(finding),
            text(&finding.message)
        );
    }
    out.push_str("</tbody></table>\n</details>\n");
}

/// To the check's page. Only there: a document of somebody else, merged, may say anything.
fn link(finding: &Finding) -> String {
    if finding.docs.starts_with(&docs_url("")) {
        format!(
            "<a href=\"{}\" rel=\"noreferrer\">{}</a>",
            text(&finding.docs),
            text(&finding.id)
        )
    } else {
        text(&finding.id)
    }
}

fn problem(page: &Page, block: &Block<'_>, out: &mut String) {
    let word = match block.status {
        Status::Warn if page.strict => "fail (a warning, --strict)",
        status => status.word(),
    };
    let links: Vec<String> = block.findings.iter().map(|finding| link(finding)).collect();
    let _ = writeln!(
        out,
        "<section class=\"problem {}\">\n<h3><span class=\"{}\">{word}</span> {}</h3>\n<p>{} <small>{}</small></p>",
        class(block.status),
        class(block.status),
        text(&block.headline),
        text(&block.message),
        links.join(", ")
    );
    if let Some(remedy) = &block.remedy {
        fix(remedy, out);
    }
    out.push_str("</section>\n");
}

fn fix(remedy: &Remedy, out: &mut String) {
    if !remedy.text.is_empty() {
        let _ = writeln!(out, "<p>Fix: {}</p>", text(&remedy.text));
    }
    let snippets = remedy.snippets.iter().map(|snippet| &snippet.text);
    for code in remedy.commands.iter().chain(snippets) {
        let lines: Vec<String> = code.lines().map(text).collect();
        let _ = writeln!(
            out,
            "<div class=\"code\"><pre>{}</pre><button type=\"button\" class=\"copy scripted\">Copy</button></div>",
            lines.join("\n")
        );
    }
}

/// What is wrong where: by account, each problem once, with the clusters that have it.
fn problems(pages: &[Page], out: &mut String) {
    /// A check's headline; its clusters, by their number, and the first one's fix where it is the account's.
    type Problems<'a> = BTreeMap<(u8, &'a str, String), (Vec<usize>, Option<Remedy>)>;
    let mut by_account: BTreeMap<&str, Problems<'_>> = BTreeMap::new();
    for (n, page) in pages.iter().enumerate() {
        for block in block::problems(&page.findings) {
            let first = block.findings.first();
            let id = first.map_or("", |finding| finding.id.as_str());
            let of_account = first.is_some_and(|finding| finding.group == Group::SpotRole.id());
            let key = (rank(block.status), id, block.headline);
            let (clusters, _) = by_account
                .entry(account(page))
                .or_default()
                .entry(key)
                .or_insert_with(|| (Vec::new(), block.remedy.filter(|_| of_account)));
            clusters.push(n);
        }
    }
    if by_account.is_empty() {
        return;
    }
    out.push_str("<h2 id=\"problems\">Problems by account</h2>\n");
    for (account, problems) in by_account {
        let open = if pages.len() > 50 { "" } else { " open" };
        let of_account = pages.iter().filter(|page| self::account(page) == account).count();
        let count = |n: usize, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
        let _ = writeln!(
            out,
            "<details class=\"account\"{open}><summary>Account {}: {} in {}</summary>\n<ul>",
            text(account),
            count(problems.len(), "problem"),
            count(of_account, "cluster")
        );
        for ((rank, id, headline), (clusters, remedy)) in problems {
            let status = match rank {
                0 => Status::Fail,
                1 => Status::Unknown,
                _ => Status::Warn,
            };
            let links: Vec<String> = clusters
                .iter()
                .take(NAMED)
                .map(|n| format!("<a href=\"#c{n}\">{}</a>", text(name(&pages[*n]))))
                .collect();
            let more = match clusters.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let _ = writeln!(
                out,
                "<li><span class=\"{} word\">{}</span> {} <small>{}</small>: {}{more}",
                class(status),
                status.word(),
                text(&headline),
                text(id),
                links.join(", ")
            );
            if let Some(remedy) = remedy {
                fix(&remedy, out);
            }
            out.push_str("</li>\n");
        }
        out.push_str("</ul>\n</details>\n");
    }
}

/// Text from elsewhere, on one line, with nothing in it that HTML would take for its own.
fn text(from: &str) -> String {
    let mut out = String::with_capacity(from.len());
    for c in line(from).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fixture::{absent, healthy, with_karpenter};
    use crate::report::{Selection, judge};

    fn body(pages: &[Page]) -> String {
        let html = render(pages).replace(env!("CARGO_PKG_VERSION"), "VERSION");
        let from = html.find("<body>").expect("a body");
        let to = html.find("<script>").expect("a script");
        html[from..to].to_owned()
    }

    fn page(facts: &crate::facts::Facts) -> Page {
        judge(facts, &Selection::default()).page(false)
    }

    #[test]
    fn one_cluster_and_several() {
        let mut fresh = healthy();
        fresh.spot_role = absent("iam:GetRole");
        let one = page(&fresh);
        insta::assert_snapshot!("html_one", body(std::slice::from_ref(&one)));
        let several = [
            page(&with_karpenter()),
            one,
            Page::unresolved("preflight", "gone", "no such context"),
        ];
        insta::assert_snapshot!("html_several", body(&several));
    }

    #[test]
    fn style_and_script_cannot_end_their_elements_and_are_admitted_by_their_hashes() {
        for source in [STYLE, SCRIPT] {
            assert!(!source.contains("</") && source.is_ascii());
        }
        let html = render(&[page(&healthy())]);
        assert!(html.contains(&format!(
            "style-src '{}'; script-src '{}'",
            hash(STYLE),
            hash(SCRIPT)
        )));
    }

    /// What an attacker may name is escaped wherever it stands: no markup but ours is in the page.
    #[test]
    fn hostile_names_add_no_markup() {
        const HOSTILE: &str =
            "\"'><img src=x onerror=alert(1)></pre></script><script>alert(1)</script>\u{202e}\u{1b}[31m&lt;";
        let mut facts = healthy();
        facts.spot_role = absent("iam:GetRole");
        let mut hostile = page(&facts);
        let tame = |page: &Page| {
            let html = render(&[page.clone(), page.clone()]);
            (html.matches('<').count(), html.matches('"').count())
        };
        let before = tame(&hostile);
        hostile.name = HOSTILE.to_owned();
        hostile.subject = HOSTILE.to_owned();
        hostile.word = HOSTILE.to_owned();
        hostile.closing = HOSTILE.to_owned();
        hostile.about_cluster.cluster = Some(HOSTILE.to_owned());
        hostile.about_cluster.region = Some(HOSTILE.to_owned());
        hostile.about_cluster.account = Some(HOSTILE.to_owned());
        for (n, finding) in hostile.findings.iter_mut().enumerate() {
            finding.message = HOSTILE.to_owned();
            finding.id = HOSTILE.to_owned();
            finding.headline = format!("{HOSTILE}{n}");
        }
        assert_eq!(tame(&hostile), before);
        assert!(!render(&[hostile]).contains(['\u{202e}', '\u{1b}']));
    }
}
