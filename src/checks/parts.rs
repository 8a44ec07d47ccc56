//! One finding made of several: what a check found, each with its own cause and fix.

use super::{Judgement, Status};

pub(super) fn severity(status: Status) -> u8 {
    match status {
        Status::Fail => 0,
        Status::Unknown => 1,
        Status::Warn => 2,
        Status::Pass | Status::Skip => 3,
    }
}

/// Puts them together: the worst decides and gives the headline, all are said, and every fix is given.
pub(super) fn together(mut parts: Vec<Judgement>) -> Judgement {
    parts.sort_by_key(|part| severity(part.status));
    let mut parts = parts.into_iter();
    let Some(mut all) = parts.next() else {
        return Judgement::pass("");
    };
    for part in parts {
        all.message = format!("{}; {}", all.message, part.message);
        all.evidence.extend(part.evidence);
        for source in part.sources {
            if !all.sources.contains(&source) {
                all.sources.push(source);
            }
        }
        let Some(fix) = part.remedy else { continue };
        let into = all.remedy.get_or_insert_default();
        if !into.text.contains(&fix.text) {
            into.text = format!("{} {}", into.text, fix.text).trim().to_owned();
        }
        for command in fix.commands {
            if !into.commands.contains(&command) {
                into.commands.push(command);
            }
        }
        for snippet in fix.snippets {
            if !into.snippets.contains(&snippet) {
                into.snippets.push(snippet);
            }
        }
    }
    all
}
