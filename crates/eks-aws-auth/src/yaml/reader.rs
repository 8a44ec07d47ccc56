//! The character source of the scanner: what goyaml.v2's reader leaves in its buffer, byte for byte.
//!
//! The reader is part of the rules because it is lazy and because it works in chunks: a control character in the part
//! of a text that is never read (a second document, say) does no harm, and one odd look-behind (see
//! [`Reader::buffer_starts_with_bom`]) depends on where the buffer happens to start.

use super::{Mark, YamlError};

/// Raw bytes taken in at a time by goyaml.v2 (`input_raw_buffer_size`).
const RAW_CHUNK: usize = 512;
const BOM: &[u8] = b"\xEF\xBB\xBF";

/// A buffer of checked characters over a text, followed by NULs once the text has ended.
pub(super) struct Reader<'a> {
    input: &'a str,
    /// End of the part of `input` that has been taken into the raw chunk.
    taken: usize,
    /// The raw chunk is `input[raw..taken]`.
    raw: usize,
    /// Bytes of the raw chunk that are spent but still occupy room in it.
    raw_spent: usize,
    started: bool,
    eof: bool,
    buffer: Vec<u8>,
    pos: usize,
    /// Characters in the buffer that have not been consumed; NULs after the end count as they are asked for.
    unread: i64,
    pub(super) mark: Mark,
}

impl<'a> Reader<'a> {
    pub(super) fn new(input: &'a str) -> Self {
        Self {
            input,
            taken: 0,
            raw: 0,
            raw_spent: 0,
            started: false,
            eof: false,
            buffer: Vec::with_capacity(RAW_CHUNK * 3),
            pos: 0,
            unread: 0,
            mark: Mark::default(),
        }
    }

    /// Makes sure that `length` characters (NULs after the end) can be looked at.
    pub(super) fn need(&mut self, length: i64) -> Result<(), YamlError> {
        if self.unread >= length {
            return Ok(());
        }
        if !self.started {
            self.started = true;
            while !self.eof && self.taken - self.raw < 3 {
                self.take_chunk();
            }
            if self.input.as_bytes()[self.raw..self.taken].starts_with(BOM) {
                self.raw += BOM.len();
                self.raw_spent += BOM.len();
                self.mark.byte += BOM.len();
            }
        }
        self.buffer.drain(..self.pos.min(self.buffer.len()));
        self.pos = 0;

        let mut first = true;
        while self.unread < length {
            if !first || self.raw == self.taken {
                self.take_chunk();
            }
            first = false;
            self.decode_chunk()?;
            if self.eof {
                self.buffer.push(0);
                self.unread += 1;
                break;
            }
        }
        let wanted = usize::try_from(length).unwrap_or(0);
        while self.buffer.len() < wanted {
            self.buffer.push(0);
        }
        Ok(())
    }

    fn take_chunk(&mut self) {
        if self.raw_spent == 0 && self.taken - self.raw == RAW_CHUNK {
            return;
        }
        if self.eof {
            return;
        }
        self.raw_spent = 0;
        if self.taken == self.input.len() {
            self.eof = true;
            return;
        }
        let room = RAW_CHUNK - (self.taken - self.raw);
        self.taken = (self.taken + room).min(self.input.len());
    }

    fn decode_chunk(&mut self) -> Result<(), YamlError> {
        let bytes = self.input.as_bytes();
        while self.raw < self.taken {
            let width = width(bytes[self.raw]);
            if self.raw + width > self.taken {
                break;
            }
            let Some(c) = self.input[self.raw..].chars().next() else {
                break;
            };
            let allowed = matches!(c,
                '\t' | '\n' | '\r' | '\u{20}'..='\u{7E}' | '\u{85}' | '\u{A0}'..='\u{D7FF}'
                | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..='\u{10FFFF}');
            if !allowed {
                return Err(YamlError::new(
                    self.raw,
                    format!(
                        "control characters are not allowed (found U+{:04X})",
                        u32::from(c)
                    ),
                ));
            }
            self.buffer.extend_from_slice(&bytes[self.raw..self.raw + width]);
            self.raw += width;
            self.raw_spent += width;
            self.unread += 1;
        }
        Ok(())
    }

    /// The byte `ahead` bytes after the current position; NUL beyond what the text and its padding hold.
    pub(super) fn at(&self, ahead: usize) -> u8 {
        self.buffer.get(self.pos + ahead).copied().unwrap_or(0)
    }

    /// goyaml.v2 tests the *start of its buffer* for a byte order mark where it means the current position.
    pub(super) fn buffer_starts_with_bom(&self) -> bool {
        self.buffer.starts_with(BOM)
    }

    pub(super) fn is_end(&self) -> bool {
        self.at(0) == 0
    }
    pub(super) fn is_blank_at(&self, ahead: usize) -> bool {
        matches!(self.at(ahead), b' ' | b'\t')
    }
    pub(super) fn is_break_at(&self, ahead: usize) -> bool {
        self.break_width(ahead) > 0
    }
    pub(super) fn is_break_or_end_at(&self, ahead: usize) -> bool {
        self.at(ahead) == 0 || self.is_break_at(ahead)
    }
    pub(super) fn is_blank_break_or_end_at(&self, ahead: usize) -> bool {
        self.is_blank_at(ahead) || self.is_break_or_end_at(ahead)
    }
    /// A letter, digit, `_` or `-`: what anchors and tag handles are made of.
    pub(super) fn is_word(&self) -> bool {
        matches!(self.at(0), b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'-')
    }

    /// Width of one line-break character: CR, LF, NEL, LS or PS (CR LF is two of them here).
    fn break_width(&self, ahead: usize) -> usize {
        match (self.at(ahead), self.at(ahead + 1), self.at(ahead + 2)) {
            (b'\r' | b'\n', _, _) => 1,
            (0xC2, 0x85, _) => 2,
            (0xE2, 0x80, 0xA8 | 0xA9) => 3,
            _ => 0,
        }
    }

    /// Passes over one character.
    pub(super) fn skip(&mut self) {
        let width = width(self.at(0));
        self.mark.index += 1;
        self.mark.column += 1;
        self.mark.byte += width;
        self.unread -= 1;
        self.pos += width;
    }

    /// Passes over one line break, if there is one.
    pub(super) fn skip_line(&mut self) {
        let (chars, bytes) = match (self.at(0), self.at(1)) {
            (b'\r', b'\n') => (2, 2),
            _ => match self.break_width(0) {
                0 => return,
                width => (1, width),
            },
        };
        self.mark.index += chars;
        self.mark.column = 0;
        self.mark.line += 1;
        self.mark.byte += bytes;
        self.unread -= i64::try_from(chars).unwrap_or(0);
        self.pos += bytes;
    }

    /// Moves one character into `out`.
    pub(super) fn read(&mut self, out: &mut Vec<u8>) {
        let width = width(self.at(0));
        for ahead in 0..width {
            out.push(self.at(ahead));
        }
        self.skip();
    }

    /// Moves one line break into `out`: LF for every kind but LS and PS, which stay themselves.
    pub(super) fn read_line(&mut self, out: &mut Vec<u8>) {
        match self.break_width(0) {
            0 => return,
            3 => out.extend_from_slice(&[self.at(0), self.at(1), self.at(2)]),
            _ => out.push(b'\n'),
        }
        self.skip_line();
    }
}

/// Width in bytes of the UTF-8 character that starts with `byte`.
pub(super) fn width(byte: u8) -> usize {
    match byte {
        0x00..=0x7F => 1,
        0xC0..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF7 => 4,
        _ => 0,
    }
}
