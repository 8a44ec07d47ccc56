//! How to print for a person: colour, width, Unicode.

use anstyle::Style as Ansi;

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Colours, as ANSI escapes.
    pub color: bool,
    /// Symbols beyond ASCII.
    pub unicode: bool,
    /// Columns to wrap at.
    pub width: usize,
    /// Where each value came from.
    pub verbose: bool,
}

impl Style {
    /// No colour, ASCII, 80 columns: what a pipe gets, but for Unicode.
    pub const PLAIN: Self = Self {
        color: false,
        unicode: false,
        width: 80,
        verbose: false,
    };

    /// Wraps text in a style.
    pub fn paint(self, ansi: Ansi, text: &str) -> String {
        if self.color {
            format!("{}{text}{}", ansi.render(), ansi.render_reset())
        } else {
            text.to_owned()
        }
    }
}

/// Bold.
pub fn bold() -> Ansi {
    Ansi::new().bold()
}

/// Faint, for what may be passed over.
pub fn dim() -> Ansi {
    Ansi::new().dimmed()
}

/// Wraps `text` at the style's width, the first line after `first`, the others after `indent` blanks.
pub fn wrap(style: Style, first: usize, indent: usize, text: &str) -> String {
    let width = style.width.clamp(40, 140);
    let initial = " ".repeat(first);
    let rest = " ".repeat(indent);
    let options = textwrap::Options::new(width)
        .initial_indent(&initial)
        .subsequent_indent(&rest)
        .break_words(false)
        .word_separator(textwrap::WordSeparator::AsciiSpace)
        .word_splitter(textwrap::WordSplitter::NoHyphenation);
    textwrap::fill(&held_together(text, width.saturating_sub(indent)), options)
        .trim_start()
        .replace(HOLD, " ")
}

/// A blank that nothing is wrapped at.
const HOLD: char = '\u{a0}';

/// What stands between backquotes is quoted or pasted: it goes to the next line as a whole, where a line can hold it.
fn held_together(text: &str, room: usize) -> std::borrow::Cow<'_, str> {
    if !text.contains('`') {
        return text.into();
    }
    let last = text.matches('`').count();
    let parts = text.split('`').enumerate().map(|(i, part)| {
        // Behind a backquote that is never closed nothing is quoted.
        let quoted = i % 2 == 1 && i < last;
        if quoted && part.chars().count() + 4 < room {
            part.replace(' ', "\u{a0}")
        } else {
            part.to_owned()
        }
    });
    parts.collect::<Vec<_>>().join("`").into()
}
