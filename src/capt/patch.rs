//! `template patch`: the same file, with the NodePools waiting for the role.
//!
//! Text is edited, not printed from a tree: what is not in an edit keeps its bytes. The module is parsed again after each
//! step, and what the last step wrote is judged by [`super::check`] before it is handed out.
use std::ops::Range;

use hcl_edit::expr::{Array, Expression, Traversal, TraversalOperator};
use hcl_edit::structure::{Attribute, Block};
use hcl_edit::visit::{Visit, visit_attr, visit_expr};

use super::beside::Beside;
use super::check;
use super::hcl::{BlockKind, Entry, Graph, address_of, references, span};
use super::module::{self, Facts};
use super::report::Severity;
use super::role::{Guard, How, Mode, PATH, ROLE, SERVICE};
use super::source::{Change, Format, Input, Unreadable};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PatchOptions {
    /// None: each module keeps what it is for. One that is there for the role alone creates it, every other one requires it.
    pub mode: Option<Mode>,
    /// Leave a `removed` block where an owned role was (Terraform and OpenTofu from 1.7).
    pub removed_block: bool,
    /// Hand out the account's documents apart instead of at the end of the file.
    pub account_apart: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patched {
    pub text: String,
    pub changed: bool,
    /// What the user should know, in sentences.
    pub notes: Vec<String>,
    /// The account's documents, when asked for apart.
    pub account: Option<String>,
}

/// Why a file was not patched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// It cannot be read: exit code 2.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// It has to be changed by hand: exit code 1. One sentence each.
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
}

/// The name of the account's WorkspaceTemplate and of its WorkspaceTemplateApply.
pub const ACCOUNT_NAME: &str = "ec2-spot-service-linked-role";
const VARIABLE: &str = "create_spot_service_linked_role";

/// What a module is, before anything is changed.
struct Purpose {
    concerned: bool,
    /// It has a block that owns the role.
    owns: bool,
    only_role: bool,
    /// Neither NodePools nor anything about the role.
    unrelated: bool,
}

/// Patches a file. The result is stable: patching it again changes nothing.
///
/// # Errors
/// [`PatchError`]; nothing is half done.
pub fn patch(input: &Input, options: PatchOptions, beside: &Beside) -> Result<Patched, PatchError> {
    let modules = &input.objects.modules;
    let mut purposes = Vec::new();
    for module in modules {
        let body = check::parse(&input.name, module)?;
        let graph = Graph::new(&[(&module.text, &body)], beside);
        let facts = Facts::of(&graph);
        let roles = &facts.roles;
        purposes.push(Purpose {
            concerned: concerns(&graph, &facts),
            owns: roles
                .makers
                .iter()
                .any(|m| m.how == How::Resource && m.guard != Guard::Never),
            only_role: facts.only_role(),
            unrelated: facts.scan.blocks.is_empty() && roles.makers.is_empty() && roles.requirers.is_empty(),
        });
    }
    let any = |is: &dyn Fn(&Purpose) -> bool| purposes.iter().any(is);
    let (any_work, any_owner, any_keeper) = (any(&|p| p.concerned), any(&|p| p.owns), any(&|p| p.only_role));
    let (mut notes, mut refused, mut changes) = (Vec::new(), Vec::new(), Vec::new());
    for (index, (module, purpose)) in modules.iter().zip(&purposes).enumerate() {
        let mode = match options.mode {
            None | Some(Mode::AccountTemplate) if purpose.only_role => Mode::Create,
            Some(Mode::Create) if any_owner && !purpose.owns => Mode::Require,
            Some(Mode::Create) => Mode::Create,
            None | Some(Mode::Require | Mode::AccountTemplate) => Mode::Require,
        };
        let work = Work {
            mode,
            removed_block: options.removed_block,
            // With nothing to go by, `create` is for the file's one module.
            insist: options.mode == Some(Mode::Create) && !any_work && modules.len() == 1,
            keeps_creating: purpose.only_role && mode == Mode::Create,
            passes: module.object.is_some(),
        };
        let label = module
            .object
            .as_ref()
            .map(|o| format!("{o}: "))
            .unwrap_or_default();
        if purpose.unrelated && !purpose.concerned && !work.insist {
            notes.push(format!(
                "{label}no NodePool and nothing about the role; left as it is"
            ));
            continue;
        }
        match fix(&module.text, work, beside) {
            Ok(fixed) => {
                notes.extend(fixed.notes.iter().map(|n| format!("{label}{n}")));
                if fixed.text != module.text {
                    notes.extend(module.form_note().map(|note| format!("{label}{note}")));
                    changes.push(Change {
                        index,
                        text: fixed.text,
                        pass: fixed.pass,
                    });
                }
            }
            Err(why) => refused.push(format!("{label}{why}")),
        }
    }
    for skipped in &input.objects.skipped {
        notes.push(format!("{} was skipped: {}", skipped.object, skipped.reason));
    }
    if !refused.is_empty() {
        return Err(PatchError::Refused(refused));
    }
    let mut text = input
        .with_modules(&changes)
        .map_err(|why| PatchError::Refused(vec![why]))?;
    let mut account = None;
    if options.mode == Some(Mode::AccountTemplate) {
        if any_keeper {
            notes.push(
                "a module of this file owns the role already, so no WorkspaceTemplate is added for it".into(),
            );
        } else if options.account_apart {
            account = Some(account_documents(input));
        } else {
            append_account(input, &mut text).map_err(|why| PatchError::Refused(vec![why]))?;
        }
    }
    Ok(Patched {
        changed: text != input.text,
        text,
        notes,
        account,
    })
}

/// Adds the account's documents to the end of a file.
fn append_account(input: &Input, text: &mut String) -> Result<(), String> {
    if input.format == Format::Hcl || input.name.to_ascii_lowercase().ends_with(".json") {
        return Err(format!(
            "{} cannot hold the account's WorkspaceTemplate: name a file for it with --account-file",
            input.name
        ));
    }
    let eol = if text.contains("\r\n") { "\r\n" } else { "\n" };
    if !text.ends_with('\n') {
        text.push_str(eol);
    }
    // A stream that ends with `---` needs no second mark.
    let last = text.trim_end().rsplit('\n').next();
    let ended = last.is_some_and(|l| l.trim_end() == "---");
    let documents = account_documents(input);
    let documents = if ended {
        documents.trim_start_matches("---\n")
    } else {
        &documents
    };
    text.push_str(&documents.replace('\n', eol));
    Ok(())
}

/// What to do to one module.
#[derive(Clone, Copy)]
struct Work {
    mode: Mode,
    removed_block: bool,
    /// Even where nothing asks for it.
    insist: bool,
    /// The module is there to create the role, and goes on doing so.
    keeps_creating: bool,
    /// Its variables are passed by the object around it.
    passes: bool,
}

struct Fixed {
    text: String,
    notes: Vec<String>,
    pass: Option<String>,
}

/// A module with NodePools that need the role, one that sets up Karpenter for NodePools elsewhere, or one with a block that
/// owns the role in a way the check finds fault with.
fn concerns(graph: &Graph<'_>, facts: &Facts) -> bool {
    let roles = &facts.roles;
    needy(facts).next().is_some()
        || facts.karpenter.is_some()
            && facts.scan.blocks.is_empty()
            && roles.makers.is_empty()
            && roles.requirers.is_empty()
        || !roles.ordinary.is_empty()
        || !roles.misnamed.is_empty()
        || roles.makers.iter().any(|m| {
            let owner = m.how == How::Resource
                && matches!(m.guard, Guard::Variable { on: false, .. })
                && m.prevent_destroy;
            !owner && m.guard != Guard::Never
        })
        || roles
            .requirers
            .iter()
            .any(|r| r.guard == Guard::Never && graph.entries[r.entry].kind == BlockKind::Data)
}

fn needy(facts: &Facts) -> impl Iterator<Item = usize> {
    facts
        .scan
        .blocks
        .iter()
        .filter(|b| b.pools.iter().any(|p| p.spot.needs_role()))
        .map(|b| b.entry)
}

fn fix(text: &str, work: Work, beside: &Beside) -> Result<Fixed, String> {
    let (concerned, other_makers) = with(text, beside, |graph, facts| {
        by_hand_first(graph, facts)?;
        Ok((work.insist || concerns(graph, facts), other_makers(graph, facts)?))
    })?;
    let mut fixed = Fixed {
        text: text.to_owned(),
        notes: Vec::new(),
        pass: None,
    };
    if !concerned {
        return Ok(fixed);
    }
    let targets = match (other_makers.first(), work.mode) {
        (None, Mode::Create) => create(&mut fixed, work, beside)?,
        (None, _) => require(&mut fixed, work.removed_block, beside)?,
        (Some(_), Mode::Create) => {
            return Err(format!(
                "{} creates the role already; there is nothing to create",
                other_makers.join(", ")
            ));
        }
        (Some(first), _) => {
            fixed.notes.push(format!(
                "{} creates the role, so the module does not require it before; the NodePools wait for that",
                other_makers.join(", ")
            ));
            vec![first.clone()]
        }
    };
    let edits = with(&fixed.text, beside, |graph, facts| {
        let mut edits = Vec::new();
        for index in needy(facts) {
            let entry = &graph.entries[index];
            let before = graph.waits_for(entry);
            let missing = targets.iter().filter(|t| !before.contains(*t));
            let missing: Vec<&str> = missing.map(String::as_str).collect();
            if !missing.is_empty() {
                edits.extend(depend(&fixed.text, entry, &missing)?);
            }
        }
        Ok(edits)
    })?;
    apply(&mut fixed.text, edits)?;
    // The form of the end belongs to the YAML around it.
    let ends = |t: &str| t.len() - t.trim_end_matches(['\n', '\r']).len();
    if !text.is_empty() && !work.insist {
        let end = fixed.text.len() - ends(&fixed.text);
        fixed.text.truncate(end);
        fixed.text.push_str(&text[text.len() - ends(text)..]);
    }
    // No false comfort: what is handed out was judged.
    let left = with(&fixed.text, beside, |graph, facts| Ok(faults(graph, facts)))?;
    match left.first() {
        Some(fault) => Err(format!("fix this by hand: {fault}")),
        None => Ok(fixed),
    }
}

/// What only a person can change, with the line and the steps.
fn by_hand_first(graph: &Graph<'_>, facts: &Facts) -> Result<(), String> {
    const AGAIN: &str = "then patch again";
    let roles = &facts.roles;
    let at = |index: usize| (&graph.entries[index].address, graph.entries[index].line);
    if let Some(index) = roles.ordinary.first() {
        let (address, line) = at(*index);
        return Err(format!(
            "{address} (line {line}) is an ordinary role named {ROLE}: remove it and every reference to it, {AGAIN}"
        ));
    }
    if let Some(wrong) = roles.misnamed.first() {
        let (address, line) = at(wrong.entry);
        return Err(format!(
            "{address} (line {line}) {}; correct or remove it, {AGAIN}",
            wrong.why
        ));
    }
    if let Some(block) = roles.forgotten.iter().find(|block| block.destroys) {
        return Err(format!(
            "the `removed` block on line {} deletes {}: set destroy = false in its lifecycle, {AGAIN}",
            at(block.entry).1,
            block.address
        ));
    }
    let owners = roles
        .makers
        .iter()
        .filter(|m| m.how == How::Resource && m.guard != Guard::Never);
    let owners: Vec<&Entry<'_>> = owners.map(|m| &graph.entries[m.entry]).collect();
    for owner in &owners {
        if let Some(each) = owner.attr("for_each") {
            let line = graph.line_in(owner, span(each).start);
            return Err(format!(
                "{0} (line {1}) creates roles with for_each: remove {SERVICE} from its list (line {line}); where a state has it, \
                 first run: terraform state rm '{0}[\"{SERVICE}\"]'; {AGAIN}",
                owner.address, owner.line
            ));
        }
    }
    for entry in &graph.entries {
        let what = entry.block.ident.as_str();
        if what != "import" && what != "moved" {
            continue;
        }
        let named: Vec<String> = entry
            .block
            .body
            .attributes()
            .flat_map(|a| references(&a.value))
            .collect();
        if let Some(owner) = owners.iter().find(|owner| named.contains(&owner.address)) {
            return Err(format!(
                "the `{what}` block on line {} names {}: apply once, so that the state has the role, remove the block, {AGAIN}",
                entry.line, owner.address
            ));
        }
    }
    Ok(())
}

/// What creates the role without being its resource.
fn other_makers(graph: &Graph<'_>, facts: &Facts) -> Result<Vec<String>, String> {
    let mut others = Vec::new();
    for maker in facts.roles.makers.iter().filter(|m| m.guard != Guard::Never) {
        let entry = &graph.entries[maker.entry];
        match maker.how {
            How::Resource => {}
            How::Command { tolerant: false, .. } => {
                return Err(format!(
                    "{} (line {}) creates the role with a command that fails where it exists, and commands are not edited: let it \
                     run `kubectl capt-spot create-role --yes`, or remove it, then patch again",
                    entry.address, entry.line
                ));
            }
            _ => others.push(entry.address.clone()),
        }
    }
    Ok(others)
}

/// What the check would still find.
fn faults(graph: &Graph<'_>, facts: &Facts) -> Vec<String> {
    module::faults(graph, facts)
        .into_iter()
        .filter(|f| f.severity > Severity::Note)
        .map(|f| format!("it would still have {}: {}", f.id, f.message))
        .collect()
}

/// Parses a module and looks at it.
fn with<T>(
    text: &str,
    beside: &Beside,
    look: impl FnOnce(&Graph<'_>, &Facts) -> Result<T, String>,
) -> Result<T, String> {
    let body = super::hcl::parse(text).map_err(|e| {
        format!(
            "not Terraform, line {}, column {}: {}",
            e.location().line(),
            e.location().column(),
            e.message()
        )
    })?;
    let graph = Graph::new(&[(text, &body)], beside);
    look(&graph, &Facts::of(&graph))
}

struct Edit {
    range: Range<usize>,
    text: String,
}

fn apply(text: &mut String, mut edits: Vec<Edit>) -> Result<(), String> {
    edits.sort_by_key(|e| (e.range.start, e.range.end));
    if edits.windows(2).any(|w| w[0].range.end > w[1].range.start) {
        return Err("two changes meet in one place; change it by hand".into());
    }
    for edit in edits.into_iter().rev() {
        text.replace_range(edit.range, &edit.text);
    }
    Ok(())
}

// --- the text of blocks ---

fn eol(text: &str) -> &'static str {
    if text.split('\n').next().is_some_and(|l| l.ends_with('\r')) {
        "\r\n"
    } else {
        "\n"
    }
}

const MESSAGE: &str = "This AWS account has no service-linked role AWSServiceRoleForEC2Spot, without which EC2 launches no Spot instances. \
Create it once per account, then apply again: kubectl capt-spot create-role (or: aws iam create-service-linked-role \
--aws-service-name spot.amazonaws.com).";

fn finder_text(name: &str) -> String {
    format!(
        "# Looks for the account's Spot role; finding none is not an error here.\n\
         data \"aws_iam_roles\" \"{name}\" {{\n\
        \x20 name_regex  = \"^{ROLE}$\"\n\
        \x20 path_prefix = \"{PATH}\"\n\
         }}\n"
    )
}

fn precondition(finder: &str) -> Vec<String> {
    vec![
        "precondition {".into(),
        format!("  condition     = length(data.aws_iam_roles.{finder}.names) > 0"),
        format!("  error_message = \"{MESSAGE}\""),
        "}".into(),
    ]
}

fn reader_text(name: &str, finder: &str, count: Option<&str>) -> String {
    let count = count.map(|c| format!("  count = {c}\n\n")).unwrap_or_default();
    let condition: String = precondition(finder)
        .iter()
        .map(|l| format!("    {l}\n"))
        .collect();
    format!(
        "# Requires the role and never owns it. Where it is missing, the plan ends with the message below.\n\
         data \"aws_iam_role\" \"{name}\" {{\n{count}\
        \x20 name = \"{ROLE}\"\n\n\
        \x20 lifecycle {{\n{condition}  }}\n\
         }}\n"
    )
}

/// What a module says to require the role.
pub fn require_text() -> String {
    format!("{}\n{}", finder_text("spot"), reader_text("spot", "spot", None))
}

fn variable_text(name: &str) -> String {
    format!(
        "variable \"{name}\" {{\n\
        \x20 description = \"Create the account's service-linked role for EC2 Spot here. True in the one workspace of an account that owns it.\"\n\
        \x20 type        = bool\n\
        \x20 default     = false\n\
         }}\n"
    )
}

fn owner_text(name: &str, variable: &str) -> String {
    format!(
        "resource \"aws_iam_service_linked_role\" \"{name}\" {{\n\
        \x20 count = var.{variable} ? 1 : 0\n\n\
        \x20 aws_service_name = \"{SERVICE}\"\n\n\
        \x20 lifecycle {{\n\
        \x20   prevent_destroy = true\n\
        \x20 }}\n\
         }}\n"
    )
}

fn free(graph: &Graph<'_>, prefix: &str, wanted: &str) -> String {
    let mut name = wanted.to_owned();
    let mut n = 1;
    while graph.get(&format!("{prefix}{name}")).is_some() {
        n += 1;
        name = format!("{wanted}_{n}");
    }
    name
}

/// Blocks at the end of a module.
fn append(text: &str, blocks: &[String]) -> Edit {
    let nl = eol(text);
    let end = text.trim_end_matches(['\n', '\r']).len();
    let before = if end == 0 {
        String::new()
    } else {
        format!("{nl}{nl}")
    };
    Edit {
        range: end..text.len(),
        text: before + &blocks.join("\n").replace('\n', nl),
    }
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |i| i + 1)
}

fn indent_at(text: &str, at: usize) -> &str {
    let line = &text[line_start(text, at)..at];
    &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
}

/// The braces of a block.
fn braces(text: &str, block: &Block) -> Option<(usize, usize)> {
    let whole = span(block);
    let head_end = block.labels.last().map_or_else(
        || span(&block.ident).end,
        |l| {
            use hcl_edit::Span;
            l.span().map_or(whole.start, |s| s.end)
        },
    );
    let open = head_end + text.get(head_end..whole.end)?.find('{')?;
    (text.as_bytes().get(whole.end.checked_sub(1)?) == Some(&b'}')).then_some((open, whole.end - 1))
}

/// Lines into a block, set off by a blank line: that keeps `terraform fmt` from aligning them with their neighbours.
fn insert(text: &str, block: &Block, lines: &[String], first: bool) -> Result<Edit, String> {
    let nl = eol(text);
    let (open, close) = braces(text, block).ok_or("a block without braces")?;
    let base = indent_at(text, span(block).start);
    let inner = block
        .body
        .iter()
        .next()
        .map(|s| indent_at(text, span(s).start))
        .filter(|i| text[open..close].contains('\n') && i.len() > base.len())
        .map_or_else(|| format!("{base}  "), str::to_owned);
    let new: String = lines.iter().map(|l| format!("{inner}{l}{nl}")).collect();
    let inside = &text[open + 1..close];
    if !inside.contains('\n') {
        let old = inside.trim();
        let old = if old.is_empty() {
            String::new()
        } else {
            format!("{inner}{old}{nl}")
        };
        let gap = if old.is_empty() { "" } else { nl };
        let body = if first {
            format!("{new}{gap}{old}")
        } else {
            format!("{old}{gap}{new}")
        };
        return Ok(Edit {
            range: open + 1..close,
            text: format!("{nl}{body}{base}"),
        });
    }
    if first {
        let at = open + text[open..].find('\n').map_or(1, |i| i + 1);
        let blank = text[at..]
            .lines()
            .next()
            .is_none_or(|l| l.trim().is_empty() || l.trim() == "}");
        return Ok(Edit {
            range: at..at,
            text: if blank { new } else { format!("{new}{nl}") },
        });
    }
    let start = line_start(text, close);
    if !text[start..close].trim().is_empty() {
        return Ok(Edit {
            range: close..close,
            text: format!("{nl}{nl}{new}{base}"),
        });
    }
    let above = text[..start].trim_end_matches(['\n', '\r']);
    let above = text[..start].lines().next_back().unwrap_or(above).trim();
    let gap = if above.is_empty() || above.ends_with('{') {
        ""
    } else {
        nl
    };
    Ok(Edit {
        range: start..start,
        text: format!("{gap}{new}"),
    })
}

/// The lines of a block, for replacing it whole.
fn whole_lines(text: &str, block: &Block) -> Range<usize> {
    let at = span(block);
    let start = line_start(text, at.start);
    let end = text[at.end..].find('\n').map_or(text.len(), |i| at.end + i + 1);
    let alone = text[start..at.start].trim().is_empty() && text[at.end..end].trim().is_empty();
    if alone { start..end } else { at }
}

/// Takes an attribute's line out, and keeps the `=` of its neighbours aligned as `terraform fmt` would have them.
fn remove_attribute(text: &str, block: &Block, name: &str) -> Vec<Edit> {
    let Some(attribute) = block.body.get_attribute(name) else {
        return Vec::new();
    };
    let one_line = |a: &Attribute| !text[span(a)].contains('\n');
    let line = |a: &Attribute| text[..span(a).start].matches('\n').count();
    let at = span(attribute);
    let start = line_start(text, at.start);
    let mut end = text[at.end..].find('\n').map_or(text.len(), |i| at.end + i + 1);
    let mut edits = Vec::new();
    let all: Vec<&Attribute> = block.body.attributes().collect();
    let mut run = Vec::new();
    if one_line(attribute)
        && let Some(index) = all.iter().position(|a| a.key.as_str() == name)
    {
        let (mut low, mut high) = (index, index);
        while low > 0 && one_line(all[low - 1]) && line(all[low - 1]) + 1 == line(all[low]) {
            low -= 1;
        }
        while high + 1 < all.len() && one_line(all[high + 1]) && line(all[high]) + 1 == line(all[high + 1]) {
            high += 1;
        }
        run = (low..=high).map(|i| all[i]).collect();
    }
    let equals = |a: &Attribute| {
        let key_end = span(&a.key).end;
        key_end..key_end + text[key_end..].find('=').unwrap_or(0)
    };
    let widest = run.iter().map(|a| a.key.as_str().len()).max().unwrap_or(0);
    let was_aligned = run
        .iter()
        .all(|a| a.key.as_str().len() + equals(a).len() == widest + 1);
    let rest: Vec<&&Attribute> = run.iter().filter(|a| a.key.as_str() != name).collect();
    if was_aligned {
        let widest = rest.iter().map(|a| a.key.as_str().len()).max().unwrap_or(0);
        for a in &rest {
            edits.push(Edit {
                range: equals(a),
                text: " ".repeat(widest + 1 - a.key.as_str().len()),
            });
        }
    }
    if rest.is_empty() {
        // It stood alone between blank lines; one of them goes with it.
        let after = text[end..].find('\n').map_or(text.len(), |i| end + i + 1);
        if text[end..after].trim().is_empty() {
            end = after;
        }
    }
    edits.push(Edit {
        range: start..end,
        text: String::new(),
    });
    edits
}

/// Sets `count`.
fn set_count(text: &str, block: &Block, value: &str) -> Result<Option<Edit>, String> {
    if block.body.get_attribute("for_each").is_some() {
        return Err("it has for_each: write it without, then patch again".into());
    }
    match block.body.get_attribute("count") {
        Some(count) if text[span(&count.value)].trim() == value => Ok(None),
        Some(count) => Ok(Some(Edit {
            range: span(&count.value),
            text: value.to_owned(),
        })),
        None => insert(text, block, &[format!("count = {value}")], true).map(Some),
    }
}

// --- require ---

/// Makes the module read the role and own none. Hands back what NodePools are to depend on.
fn require(fixed: &mut Fixed, removed_block: bool, beside: &Beside) -> Result<Vec<String>, String> {
    let (text, notes) = (&mut fixed.text, &mut fixed.notes);
    // The owners go; the reader takes the first one's place.
    let (edits, owners, reader) = with(text, beside, |graph, facts| {
        let makers = facts.roles.makers.iter();
        let owners: Vec<&Entry<'_>> = makers
            .filter(|m| m.how == How::Resource && m.guard != Guard::Never)
            .map(|m| &graph.entries[m.entry])
            .collect();
        let (reader, new) = readers(graph, facts, None);
        let mut edits = Vec::new();
        for (i, owner) in owners.iter().enumerate() {
            let mut blocks = Vec::new();
            if !removed_block {
                blocks.push(format!(
                    "# {0} stood here. A workspace whose state has it would delete the account's role with its next\n\
                     # apply; take it out there first: terraform state rm {0}\n",
                    owner.address
                ));
            }
            if removed_block {
                blocks.push(format!(
                    "removed {{\n  from = {}\n\n  lifecycle {{\n    destroy = false\n  }}\n}}\n",
                    owner.address
                ));
            } else {
                notes.push(format!(
                    "a workspace that has {0} in its state would delete the role with its next apply: run `terraform state rm {0}` there \
                     first, or patch with --removed-block where Terraform is 1.7 or later (Crossplane's provider-terraform has 1.5)",
                    owner.address
                ));
            }
            if i == 0 {
                blocks.extend(new.iter().cloned());
            }
            let range = whole_lines(text, owner.block);
            let mut put = blocks.join("\n");
            if range == span(owner.block) {
                put = put.trim_end().to_owned();
            }
            edits.push(Edit {
                range,
                text: put.replace('\n', eol(text)),
            });
        }
        if owners.is_empty() && !new.is_empty() {
            edits.push(append(text, &new));
        }
        Ok((
            edits,
            owners.iter().map(|o| o.address.clone()).collect::<Vec<_>>(),
            reader,
        ))
    })?;
    apply(text, edits)?;
    let target = format!("data.aws_iam_role.{reader}");
    let moves = owners
        .iter()
        .map(|o| Move {
            from: o.clone(),
            to: target.clone(),
            shape: Shape::Single,
            owner: true,
        })
        .collect();
    rewrite(text, beside, moves)?;
    fix_readers(text, beside, &reader, None)?;
    Ok(vec![target])
}

/// The data source that requires the role, by name: one that is there, or a new one with its text (and that of the data source
/// that looks for the role).
fn readers(graph: &Graph<'_>, facts: &Facts, count: Option<&str>) -> (String, Vec<String>) {
    if let Some(entry) = existing_reader(graph, facts) {
        return (entry.name().to_owned(), Vec::new());
    }
    let finder = existing_finder(graph);
    let finder_name = finder
        .clone()
        .unwrap_or_else(|| free(graph, "data.aws_iam_roles.", "spot"));
    let name = free(graph, "data.aws_iam_role.", "spot");
    let mut blocks = Vec::new();
    if finder.is_none() {
        blocks.push(finder_text(&finder_name));
    }
    blocks.push(reader_text(&name, &finder_name, count));
    (name, blocks)
}

fn existing_reader<'g, 'a>(graph: &'g Graph<'a>, facts: &Facts) -> Option<&'g Entry<'a>> {
    facts
        .roles
        .requirers
        .iter()
        .map(|r| &graph.entries[r.entry])
        .find(|e| e.kind == BlockKind::Data && e.type_name == "aws_iam_role")
}

/// A `data "aws_iam_roles"` that looks for exactly this role.
fn existing_finder(graph: &Graph<'_>) -> Option<String> {
    let is = |e: &Entry<'_>, name, value: &str| e.attr(name).and_then(|a| a.as_str()) == Some(value);
    let whole_name = format!("^{ROLE}$");
    let found = graph.entries.iter().find(|e| {
        e.kind == BlockKind::Data
            && e.type_name == "aws_iam_roles"
            && ["count", "for_each", "depends_on"]
                .iter()
                .all(|a| e.attr(a).is_none())
            && is(e, "name_regex", &whole_name)
            && is(e, "path_prefix", PATH)
    });
    found.map(|e| e.name().to_owned())
}

/// Gives the reader its message, and lets every reader of the role read (`count` as given, or none).
fn fix_readers(text: &mut String, beside: &Beside, reader: &str, count: Option<&str>) -> Result<(), String> {
    // The words.
    let edits = with(text, beside, |graph, facts| {
        let address = format!("data.aws_iam_role.{reader}");
        let Some(requirer) = facts
            .roles
            .requirers
            .iter()
            .find(|r| graph.entries[r.entry].address == address)
        else {
            return Ok(Vec::new());
        };
        if requirer.has_words {
            return Ok(Vec::new());
        }
        let entry = &graph.entries[requirer.entry];
        let finder = existing_finder(graph);
        let finder_name = finder
            .clone()
            .unwrap_or_else(|| free(graph, "data.aws_iam_roles.", "spot"));
        let mut edits = Vec::new();
        if finder.is_none() {
            let at = line_start(text, above_comments(text, span(entry.block).start));
            edits.push(Edit {
                range: at..at,
                text: format!("{}\n", finder_text(&finder_name)).replace('\n', eol(text)),
            });
        }
        let condition = precondition(&finder_name);
        let lifecycle = entry.block.body.get_blocks("lifecycle").next();
        edits.push(match lifecycle {
            Some(block) => insert(text, block, &condition, false)?,
            None => {
                let mut lines = vec!["lifecycle {".to_owned()];
                lines.extend(condition.iter().map(|l| format!("  {l}")));
                lines.push("}".into());
                insert(text, entry.block, &lines, false)?
            }
        });
        Ok(edits)
    })?;
    apply(text, edits)?;
    // Whether they read.
    let (edits, moves) = with(text, beside, |graph, facts| {
        let (mut edits, mut moves) = (Vec::new(), Vec::new());
        for requirer in &facts.roles.requirers {
            let entry = &graph.entries[requirer.entry];
            let this = entry.address == format!("data.aws_iam_role.{reader}");
            if entry.kind != BlockKind::Data || !this && requirer.guard != Guard::Never {
                continue;
            }
            let had = entry.attr("count").is_some();
            let shape = match count {
                Some(value) if this => {
                    edits.extend(
                        set_count(text, entry.block, value).map_err(|e| format!("{}: {e}", entry.address))?,
                    );
                    if had { None } else { Some(Shape::Counted) }
                }
                _ if requirer.guard == Guard::Always => None,
                _ => {
                    if entry.attr("for_each").is_some() {
                        return Err(format!(
                            "{} (line {}) has for_each: read the role once, without it, then patch again",
                            entry.address, entry.line
                        ));
                    }
                    edits.extend(remove_attribute(text, entry.block, "count"));
                    had.then_some(Shape::Single)
                }
            };
            if let Some(shape) = shape {
                moves.push(Move {
                    from: entry.address.clone(),
                    to: entry.address.clone(),
                    shape,
                    owner: false,
                });
            }
        }
        Ok((edits, moves))
    })?;
    apply(text, edits)?;
    rewrite(text, beside, moves)
}

/// The start of the comment lines directly above a place.
fn above_comments(text: &str, at: usize) -> usize {
    let mut start = line_start(text, at);
    while start > 0 {
        let previous = line_start(text, start - 1);
        let line = text[previous..start].trim();
        if line.starts_with('#') || line.starts_with("//") {
            start = previous;
        } else {
            break;
        }
    }
    start
}

// --- create ---

/// Makes the module create the role where a variable says so, and require it elsewhere.
fn create(fixed: &mut Fixed, work: Work, beside: &Beside) -> Result<Vec<String>, String> {
    let text = &mut fixed.text;
    let (edits, owner, condition, reader, counted) = with(text, beside, |graph, facts| {
        let owners: Vec<_> = facts
            .roles
            .makers
            .iter()
            .filter(|m| m.how == How::Resource)
            .collect();
        if owners.len() > 1 {
            let all: Vec<&str> = owners
                .iter()
                .map(|m| graph.entries[m.entry].address.as_str())
                .collect();
            return Err(format!(
                "{} all create the role: leave one of them, then patch again",
                all.join(", ")
            ));
        }
        let usable = |e: &&Entry<'_>| e.attr("default").and_then(Expression::as_bool) == Some(false);
        let wanted = format!("var.{VARIABLE}");
        let known = graph.get(&wanted).filter(usable).is_some();
        let variable = if known {
            VARIABLE.to_owned()
        } else {
            free(graph, "var.", VARIABLE)
        };
        let mut new = Vec::new();
        let mut edits = Vec::new();
        let mut own_condition = None;
        // How the owner changes: from unconditional to counted, or from another count.
        let mut counted = None;
        let owner = match owners.first() {
            None => {
                let name = free(graph, "aws_iam_service_linked_role.", "spot");
                new.push(owner_text(&name, &variable));
                format!("aws_iam_service_linked_role.{name}")
            }
            Some(maker) => {
                let entry = &graph.entries[maker.entry];
                let count = entry.attr("count");
                if matches!(maker.guard, Guard::Variable { on: false, .. })
                    && let Some(Expression::Conditional(c)) = count
                    && text[span(&c.true_expr)].trim() == "1"
                    && text[span(&c.false_expr)].trim() == "0"
                {
                    own_condition = Some(text[span(&c.cond_expr)].trim().to_owned());
                } else {
                    let value = format!("var.{variable} ? 1 : 0");
                    edits.extend(
                        set_count(text, entry.block, &value)
                            .map_err(|e| format!("{}: {e}", entry.address))?,
                    );
                    counted = Some(count.is_none());
                }
                entry.address.clone()
            }
        };
        let condition = own_condition.clone().unwrap_or_else(|| format!("var.{variable}"));
        if own_condition.is_none() && !known {
            new.insert(0, variable_text(&variable));
        }
        let (reader, blocks) = readers(graph, facts, Some(&format!("{condition} ? 0 : 1")));
        new.extend(blocks);
        if !new.is_empty() {
            edits.push(append(text, &new));
        }
        Ok((edits, owner, condition, reader, counted))
    })?;
    apply(text, edits)?;
    if counted.is_some() {
        fixed.notes.push(create_note(&owner, &condition, work));
        if work.keeps_creating && work.passes {
            fixed.pass = condition.strip_prefix("var.").map(str::to_owned);
        }
    }
    let edits = with(text, beside, |graph, _| {
        let Some(entry) = graph.get(&owner) else {
            return Ok(Vec::new());
        };
        let lifecycle = entry.block.body.get_blocks("lifecycle").next();
        Ok(
            match lifecycle.map(|l| (l, l.body.get_attribute("prevent_destroy"))) {
                Some((_, Some(a))) if a.value.as_bool() == Some(true) => vec![],
                Some((_, Some(a))) => vec![Edit {
                    range: span(&a.value),
                    text: "true".into(),
                }],
                Some((block, None)) => vec![insert(text, block, &["prevent_destroy = true".into()], true)?],
                None => {
                    let lines = ["lifecycle {", "  prevent_destroy = true", "}"].map(str::to_owned);
                    vec![insert(text, entry.block, &lines, false)?]
                }
            },
        )
    })?;
    apply(text, edits)?;
    if counted == Some(true) {
        rewrite(
            text,
            beside,
            vec![Move {
                from: owner.clone(),
                to: owner.clone(),
                shape: Shape::Counted,
                owner: false,
            }],
        )?;
    }
    fix_readers(text, beside, &reader, Some(&format!("{condition} ? 0 : 1")))?;
    Ok(vec![owner, format!("data.aws_iam_role.{reader}")])
}

/// What changes for workspaces that have the role in their state.
fn create_note(owner: &str, condition: &str, work: Work) -> String {
    let variable = condition.trim_start_matches("var.");
    let set = match (work.keeps_creating, work.passes) {
        (true, true) => {
            format!("the object passes {variable} = \"true\", so that it goes on creating the role")
        }
        (true, false) => format!("set {variable} = true where it is to go on creating the role"),
        (false, _) => format!("set {variable} = true in the one workspace that is to own the role"),
    };
    format!(
        "{owner} is created only where {condition} is true (default: false): {set}. Any other workspace that has the role in its \
         state cannot be applied (prevent_destroy): run `terraform state rm {owner}` there first"
    )
}

// --- references ---

/// What references to a block have to look like now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// It has no count: `x.y.arn`.
    Single,
    /// It has a count of 0 or 1: `one(x.y[*].arn)`.
    Counted,
}

struct Move {
    from: String,
    to: String,
    shape: Shape,
    /// The owner gave way to the reader, whose attributes are not all the same.
    owner: bool,
}

struct Rewriter<'t> {
    text: &'t str,
    moves: Vec<Move>,
    edits: Vec<Edit>,
    problems: Vec<String>,
    in_depends_on: bool,
}

/// Follows up on blocks that moved or changed their count.
fn rewrite(text: &mut String, beside: &Beside, moves: Vec<Move>) -> Result<(), String> {
    if moves.is_empty() {
        return Ok(());
    }
    let edits = with(text, beside, |graph, _| {
        let mut rewriter = Rewriter {
            text,
            moves,
            edits: Vec::new(),
            problems: Vec::new(),
            in_depends_on: false,
        };
        for entry in &graph.entries {
            // Addresses of the state, not references.
            if ["removed", "moved", "import"].contains(&entry.block.ident.as_str()) {
                continue;
            }
            rewriter.visit_block(entry.block);
        }
        for name in graph.local_expressions() {
            rewriter.visit_expr(name);
        }
        match rewriter.problems.into_iter().next() {
            Some(problem) => Err(problem),
            None => Ok(rewriter.edits),
        }
    })?;
    apply(text, edits)
}

impl Visit for Rewriter<'_> {
    fn visit_attr(&mut self, node: &Attribute) {
        match node.key.as_str() {
            "depends_on" => {
                if let Some(list) = node.value.as_array() {
                    self.dependencies(list);
                }
            }
            "replace_triggered_by" if self.names(&node.value) => {
                self.problems.push(
                    "replace_triggered_by names the role's resource: remove it, then patch again".into(),
                );
            }
            _ => visit_attr(self, node),
        }
    }

    fn visit_expr(&mut self, node: &Expression) {
        if let Expression::Traversal(traversal) = node {
            self.reference(traversal);
        }
        visit_expr(self, node);
    }
}

impl Rewriter<'_> {
    fn names(&self, expr: &Expression) -> bool {
        let all = references(expr);
        self.moves.iter().any(|m| m.owner && all.contains(&m.from))
    }

    fn address(&self, item: &Expression) -> Option<String> {
        match item {
            Expression::Traversal(t) => address_of(t).map(|(a, _)| a),
            Expression::String(s) => references(&s.value().parse().ok()?).into_iter().next(),
            _ => None,
        }
    }

    fn dependencies(&mut self, list: &Array) {
        let mut there: Vec<String> = list.iter().filter_map(|i| self.address(i)).collect();
        there.retain(|a| !self.moves.iter().any(|m| m.owner && m.from == *a));
        for item in list.iter() {
            let Some(address) = self.address(item) else {
                continue;
            };
            let Some(found) = self.moves.iter().find(|m| m.owner && m.from == address) else {
                continue;
            };
            let at = span(item);
            if there.contains(&found.to) {
                self.edits.push(Edit {
                    range: item_with_comma(self.text, list, &at),
                    text: String::new(),
                });
            } else {
                there.push(found.to.clone());
                self.edits.push(Edit {
                    range: at,
                    text: found.to.clone(),
                });
            }
        }
    }

    fn reference(&mut self, traversal: &Traversal) {
        if self.in_depends_on {
            return;
        }
        let Some((address, used)) = address_of(traversal) else {
            return;
        };
        let Some(found) = self.moves.iter().find(|m| m.from == address) else {
            return;
        };
        let start = span(&traversal.expr).start;
        let end_of = |i: usize| {
            i.checked_sub(1)
                .and_then(|i| traversal.operators.get(i))
                .map_or(start, |o| span(o).end)
        };
        let head = start..end_of(used);
        let next = traversal.operators.get(used).map(|o| o.value());
        let attribute = |o: Option<&TraversalOperator>| match o {
            Some(TraversalOperator::GetAttr(name)) => Some(name.as_str().to_owned()),
            _ => None,
        };
        let to = found.to.clone();
        match found.shape {
            Shape::Counted => match next {
                Some(TraversalOperator::GetAttr(name)) => {
                    let text = format!("one({to}[*].{})", name.as_str());
                    self.edits.push(Edit {
                        range: start..end_of(used + 1),
                        text,
                    });
                }
                None => self.edits.push(Edit {
                    range: head,
                    text: format!("one({to}[*])"),
                }),
                Some(_) => {}
            },
            Shape::Single => {
                let zero = match next {
                    Some(TraversalOperator::Index(e)) => e.as_number().is_some_and(|n| n.as_u64() == Some(0)),
                    Some(TraversalOperator::LegacyIndex(n)) => *n.value() == 0,
                    _ => false,
                };
                let splat = matches!(
                    next,
                    Some(TraversalOperator::FullSplat(_) | TraversalOperator::AttrSplat(_))
                );
                let skip = usize::from(zero || splat);
                if next.is_some() && !zero && !splat && attribute(next).is_none() {
                    self.problems.push(format!(
                        "`{}` picks an instance of it: change that, then patch again",
                        &self.text[span(traversal)]
                    ));
                    return;
                }
                let range = start..end_of(used + usize::from(zero));
                if !found.owner && range.end == head.end {
                    return;
                }
                self.edits.push(Edit { range, text: to });
                if found.owner
                    && let Some(name) = attribute(traversal.operators.get(used + skip).map(|o| o.value()))
                {
                    match name.as_str() {
                        // The resource's id is the ARN, the data source's is the name.
                        "id" => {
                            let at = span(&traversal.operators[used + skip]);
                            self.edits.push(Edit {
                                range: at,
                                text: ".arn".into(),
                            });
                        }
                        "arn" | "name" | "path" | "unique_id" | "create_date" | "description" | "tags" => {}
                        other => self.problems.push(format!(
                            "`{}` uses {other}, which only the resource has: change that, then patch again",
                            &self.text[span(traversal)]
                        )),
                    }
                }
            }
        }
    }
}

/// A list item with the comma and space that go with it, or its whole line.
fn item_with_comma(text: &str, list: &Array, item: &Range<usize>) -> Range<usize> {
    let whole = span(list);
    let after = &text[item.end..whole.end];
    let comma = after.len() - after.trim_start().len();
    let mut end = item.end;
    if after[comma..].starts_with(',') {
        end += comma + 1;
        let line = line_start(text, item.start);
        let line_end = text[end..].find('\n').map(|i| end + i + 1);
        if text[line..item.start].trim().is_empty()
            && let Some(line_end) = line_end
            && text[end..line_end].trim().is_empty()
        {
            return line..line_end;
        }
        end += text[end..whole.end].len() - text[end..whole.end].trim_start_matches(' ').len();
        return item.start..end;
    }
    // The last one: the comma before it goes.
    let before = text[whole.start..item.start].trim_end();
    let start = if before.ends_with(',') {
        whole.start + before.len() - 1
    } else {
        item.start
    };
    start..end
}

// --- depends_on ---

/// Adds addresses to a block's `depends_on`.
fn depend(text: &str, entry: &Entry<'_>, missing: &[&str]) -> Result<Vec<Edit>, String> {
    let nl = eol(text);
    let Some(attribute) = entry.block.body.get_attribute("depends_on") else {
        let line = format!("depends_on = [{}]", missing.join(", "));
        return Ok(vec![insert(text, entry.block, &[line], false)?]);
    };
    let Some(list) = attribute.value.as_array() else {
        return Err(format!(
            "the depends_on of {} (line {}) is not a list: add {} to it, then patch again",
            entry.address,
            entry.line,
            missing.join(", ")
        ));
    };
    let whole = span(list);
    let close = whole.end - 1;
    let Some(last) = list.iter().last() else {
        return Ok(vec![Edit {
            range: whole,
            text: format!("[{}]", missing.join(", ")),
        }]);
    };
    let last = span(last);
    let comma = text[last.end..close].trim_start().starts_with(',');
    let bracket_line = line_start(text, close);
    if bracket_line > last.end && text[bracket_line..close].trim().is_empty() {
        // One item a line: a line each, and the comma that the last one lacked.
        let indent = indent_at(text, last.start);
        let lines: String = missing.iter().map(|m| format!("{indent}{m},{nl}")).collect();
        let mut edits = vec![Edit {
            range: bracket_line..bracket_line,
            text: lines,
        }];
        if !comma {
            // `terraform fmt` aligns a comment behind the item; the comma takes one of its spaces.
            let spare =
                usize::from(text[last.end..].starts_with("  #") || text[last.end..].starts_with("  //"));
            edits.push(Edit {
                range: last.end..last.end + spare,
                text: ",".into(),
            });
        }
        return Ok(edits);
    }
    let at = if comma {
        last.end + text[last.end..close].find(',').map_or(0, |i| i + 1)
    } else {
        last.end
    };
    let lead = if comma { " " } else { ", " };
    Ok(vec![Edit {
        range: at..at,
        text: format!("{lead}{}", missing.join(", ")),
    }])
}

// --- the account's own template ---

/// The WorkspaceTemplate that owns the role, and its WorkspaceTemplateApply. Namespace and provider are those of the
/// file's first template.
fn account_documents(input: &Input) -> String {
    let first = input.objects.modules.iter().find(|m| m.object.is_some());
    let namespace = first
        .and_then(|m| m.object.as_ref())
        .and_then(|o| o.namespace.as_deref())
        .unwrap_or("default");
    let namespace = scalar(namespace);
    let provider = match first.and_then(|m| m.provider_config.as_deref()) {
        Some(name) => format!("      providerConfigRef:\n        name: {}\n", scalar(name)),
        None => String::new(),
    };
    let module = [
        variable_text(VARIABLE),
        owner_text("spot", VARIABLE),
        finder_text("spot"),
        reader_text("spot", "spot", Some(&format!("var.{VARIABLE} ? 0 : 1"))),
        format!(
            "output \"role_arn\" {{\n\
            \x20 description = \"The account's service-linked role for EC2 Spot.\"\n\
            \x20 value       = var.{VARIABLE} ? one(aws_iam_service_linked_role.spot[*].arn) : one(data.aws_iam_role.spot[*].arn)\n\
             }}\n"
        ),
    ]
    .join("\n");
    let module: String = module
        .lines()
        .map(|l| {
            if l.is_empty() {
                "\n".to_owned()
            } else {
                format!("          {l}\n")
            }
        })
        .collect();
    format!(
        "---\n\
         # The account's service-linked role for EC2 Spot, owned in one place: apply this once per AWS account, not once per cluster.\n\
         # Where the account has the role already, leave it alone: set {VARIABLE} to \"false\" below.\n\
         apiVersion: infrastructure.cluster.x-k8s.io/v1beta1\n\
         kind: WorkspaceTemplate\n\
         metadata:\n\
        \x20 name: {ACCOUNT_NAME}\n\
        \x20 namespace: {namespace}\n\
         spec:\n\
        \x20 template:\n\
        \x20   metadata:\n\
        \x20     description: The account's service-linked role for EC2 Spot\n\
        \x20   spec:\n\
         {provider}\
        \x20     forProvider:\n\
        \x20       source: Inline\n\
        \x20       vars:\n\
        \x20         - key: {VARIABLE}\n\
        \x20           value: \"true\"\n\
        \x20       module: |\n\
         {module}\
         ---\n\
         apiVersion: infrastructure.cluster.x-k8s.io/v1beta1\n\
         kind: WorkspaceTemplateApply\n\
         metadata:\n\
        \x20 name: {ACCOUNT_NAME}\n\
        \x20 namespace: {namespace}\n\
         spec:\n\
        \x20 templateRef:\n\
        \x20   name: {ACCOUNT_NAME}\n\
        \x20   namespace: {namespace}\n\
        \x20 # Deleting this object must not destroy what every cluster of the account needs.\n\
        \x20 retainWorkspaceOnDelete: true\n"
    )
}

/// A name as a YAML scalar.
fn scalar(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.')
        && !["null", "true", "false", "yes", "no", "on", "off", "y", "n"].contains(&name);
    if plain {
        name.to_owned()
    } else {
        serde_json::Value::from(name).to_string()
    }
}
