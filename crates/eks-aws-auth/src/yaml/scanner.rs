//! Text to tokens, with the laxities and limits of goyaml.v2's scanner (itself a child of libyaml's).
//!
//! Written anew after the behaviour of `scannerc.go` of sigs.k8s.io/yaml/goyaml.v2; where that one is odd, so is this one, and
//! the differential test against the authenticator holds the two together.

use super::reader::{Reader, width};
use super::{Mark, YamlError};
use std::collections::{HashMap, VecDeque};

/// Nesting limit of flow collections (`max_flow_level`) and of block indentation (`max_indents`).
const MAX_DEPTH: usize = 10_000;
/// A key without `?` must be followed by its `:` within this many characters on the same line.
const SIMPLE_KEY_REACH: usize = 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    StreamStart,
    StreamEnd,
    VersionDirective { major: u8, minor: u8 },
    TagDirective { handle: Vec<u8>, prefix: Vec<u8> },
    DocumentStart,
    DocumentEnd,
    BlockSequenceStart,
    BlockMappingStart,
    BlockEnd,
    FlowSequenceStart,
    FlowSequenceEnd,
    FlowMappingStart,
    FlowMappingEnd,
    BlockEntry,
    FlowEntry,
    Key,
    Value,
    Alias(Vec<u8>),
    Anchor(Vec<u8>),
    Tag { handle: Vec<u8>, suffix: Vec<u8> },
    Scalar { value: Vec<u8>, plain: bool },
}

#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) start: Mark,
    pub(super) end: Mark,
}

#[derive(Clone, Copy, Default)]
struct SimpleKey {
    possible: bool,
    required: bool,
    token_number: usize,
    mark: Mark,
}

pub(super) struct Scanner<'a> {
    reader: Reader<'a>,
    tokens: VecDeque<Token>,
    tokens_parsed: usize,
    token_available: bool,
    started: bool,
    flow_level: usize,
    indent: i64,
    indents: Vec<i64>,
    simple_key_allowed: bool,
    simple_keys: Vec<SimpleKey>,
    simple_keys_by_token: HashMap<usize, usize>,
}

type Scan<T = ()> = Result<T, YamlError>;

fn column(mark: Mark) -> i64 {
    i64::try_from(mark.column).unwrap_or(i64::MAX)
}

impl<'a> Scanner<'a> {
    pub(super) fn new(input: &'a str) -> Self {
        Self {
            reader: Reader::new(input),
            tokens: VecDeque::new(),
            tokens_parsed: 0,
            token_available: false,
            started: false,
            flow_level: 0,
            indent: -1,
            indents: Vec::new(),
            simple_key_allowed: false,
            simple_keys: Vec::new(),
            simple_keys_by_token: HashMap::new(),
        }
    }

    /// The next token, left in place.
    pub(super) fn peek(&mut self) -> Scan<&Token> {
        if !self.token_available {
            self.fetch_more_tokens()?;
        }
        let mark = self.reader.mark;
        self.tokens
            .front()
            .ok_or_else(|| YamlError::new(mark.byte, "the text ended within a construct"))
    }

    /// Takes the token that was peeked at.
    pub(super) fn skip(&mut self) {
        self.token_available = false;
        self.tokens_parsed += 1;
        self.tokens.pop_front();
    }

    fn error<T>(&self, problem: impl Into<String>) -> Scan<T> {
        Err(YamlError::new(self.reader.mark.byte, problem))
    }

    fn fetch_more_tokens(&mut self) -> Scan {
        loop {
            if !self.tokens.is_empty() {
                // A simple key at the head may still turn out to be a key: then KEY goes in front of it.
                let Some(&level) = self.simple_keys_by_token.get(&self.tokens_parsed) else {
                    break;
                };
                if !self.simple_key_is_valid(level)? {
                    break;
                }
            }
            self.fetch_next_token()?;
        }
        self.token_available = true;
        Ok(())
    }

    fn fetch_next_token(&mut self) -> Scan {
        self.reader.need(1)?;
        if !self.started {
            self.started = true;
            self.simple_keys.push(SimpleKey::default());
            self.simple_key_allowed = true;
            self.push_here(TokenKind::StreamStart);
            return Ok(());
        }
        self.skip_to_token()?;
        self.unroll_indent(column(self.reader.mark));
        self.reader.need(4)?;

        if self.reader.is_end() {
            return self.fetch_stream_end();
        }
        let at_line_start = self.reader.mark.column == 0;
        let c = self.reader.at(0);
        if at_line_start && c == b'%' {
            return self.fetch_directive();
        }
        if at_line_start && self.at_document_indicator(b'-') {
            return self.fetch_document_indicator(TokenKind::DocumentStart);
        }
        if at_line_start && self.at_document_indicator(b'.') {
            return self.fetch_document_indicator(TokenKind::DocumentEnd);
        }
        let in_flow = self.flow_level > 0;
        let gap_follows = self.reader.is_blank_break_or_end_at(1);
        match c {
            b'[' => return self.fetch_flow_start(TokenKind::FlowSequenceStart),
            b'{' => return self.fetch_flow_start(TokenKind::FlowMappingStart),
            b']' => return self.fetch_flow_end(TokenKind::FlowSequenceEnd),
            b'}' => return self.fetch_flow_end(TokenKind::FlowMappingEnd),
            b',' => return self.fetch_flow_entry(),
            b'-' if gap_follows => return self.fetch_block_entry(),
            b'?' if in_flow || gap_follows => return self.fetch_key(),
            b':' if in_flow || gap_follows => return self.fetch_value(),
            b'*' => return self.fetch_anchor(true),
            b'&' => return self.fetch_anchor(false),
            b'!' => return self.fetch_tag(),
            b'|' if !in_flow => return self.fetch_block_scalar(true),
            b'>' if !in_flow => return self.fetch_block_scalar(false),
            b'\'' => return self.fetch_flow_scalar(true),
            b'"' => return self.fetch_flow_scalar(false),
            _ => {}
        }
        let indicator = matches!(
            c,
            b'-' | b'?'
                | b':'
                | b','
                | b'['
                | b']'
                | b'{'
                | b'}'
                | b'#'
                | b'&'
                | b'*'
                | b'!'
                | b'|'
                | b'>'
                | b'\''
                | b'"'
                | b'%'
                | b'@'
                | b'`'
        );
        if !(self.reader.is_blank_break_or_end_at(0) || indicator)
            || (c == b'-' && !self.reader.is_blank_at(1))
            || (!in_flow && matches!(c, b'?' | b':') && !gap_follows)
        {
            return self.fetch_plain_scalar();
        }
        match c {
            b'\t' => self.error("found a tab where indentation is expected (YAML allows only spaces there)"),
            _ => self.error(format!(
                "found character {:?} that cannot start any token",
                char::from(c)
            )),
        }
    }

    fn at_document_indicator(&self, c: u8) -> bool {
        (0..3).all(|i| self.reader.at(i) == c) && self.reader.is_blank_break_or_end_at(3)
    }

    fn push_here(&mut self, kind: TokenKind) {
        let mark = self.reader.mark;
        self.tokens.push_back(Token {
            kind,
            start: mark,
            end: mark,
        });
    }

    fn push(&mut self, kind: TokenKind, start: Mark) {
        let end = self.reader.mark;
        self.tokens.push_back(Token { kind, start, end });
    }

    /// Puts a token in front of the queued token of that number. If that one has left the queue already (the scanner forgets
    /// a key that is an empty flow collection), it goes to the end, as in goyaml.v2.
    fn insert(&mut self, token_number: usize, kind: TokenKind, mark: Mark) {
        let token = Token {
            kind,
            start: mark,
            end: mark,
        };
        match token_number.checked_sub(self.tokens_parsed) {
            Some(at) if at <= self.tokens.len() => self.tokens.insert(at, token),
            _ => self.tokens.push_back(token),
        }
    }

    fn simple_key_is_valid(&mut self, level: usize) -> Scan<bool> {
        let here = self.reader.mark;
        let Some(key) = self.simple_keys.get_mut(level) else {
            // goyaml.v2 would run off its stack here.
            return Err(YamlError::new(
                here.byte,
                "the keys of this text cannot be told apart",
            ));
        };
        if !key.possible {
            return Ok(false);
        }
        if key.mark.line < here.line || key.mark.index + SIMPLE_KEY_REACH < here.index {
            if key.required {
                return Err(YamlError::new(key.mark.byte, "could not find expected ':'"));
            }
            key.possible = false;
            return Ok(false);
        }
        Ok(true)
    }

    fn save_simple_key(&mut self) -> Scan {
        let required = self.flow_level == 0 && self.indent == column(self.reader.mark);
        if self.simple_key_allowed {
            let key = SimpleKey {
                possible: true,
                required,
                token_number: self.tokens_parsed + self.tokens.len(),
                mark: self.reader.mark,
            };
            self.remove_simple_key()?;
            let level = self.simple_keys.len() - 1;
            self.simple_keys[level] = key;
            self.simple_keys_by_token.insert(key.token_number, level);
        }
        Ok(())
    }

    fn remove_simple_key(&mut self) -> Scan {
        if let Some(key) = self.simple_keys.last_mut()
            && key.possible
        {
            if key.required {
                return Err(YamlError::new(key.mark.byte, "could not find expected ':'"));
            }
            key.possible = false;
            let number = key.token_number;
            self.simple_keys_by_token.remove(&number);
        }
        Ok(())
    }

    fn increase_flow_level(&mut self) -> Scan {
        self.simple_keys.push(SimpleKey {
            token_number: self.tokens_parsed + self.tokens.len(),
            mark: self.reader.mark,
            ..SimpleKey::default()
        });
        self.flow_level += 1;
        if self.flow_level > MAX_DEPTH {
            return self.error(format!("exceeded max depth of {MAX_DEPTH}"));
        }
        Ok(())
    }

    fn decrease_flow_level(&mut self) {
        if self.flow_level > 0 {
            self.flow_level -= 1;
            if let Some(key) = self.simple_keys.pop() {
                self.simple_keys_by_token.remove(&key.token_number);
            }
        }
    }

    /// Starts a block collection at `mark` if that is deeper than the current one. `token_number`: the queued token before
    /// which the start goes, or the end of the queue.
    fn roll_indent(&mut self, token_number: Option<usize>, kind: TokenKind, mark: Mark) -> Scan {
        if self.flow_level > 0 || self.indent >= column(mark) {
            return Ok(());
        }
        self.indents.push(self.indent);
        self.indent = column(mark);
        if self.indents.len() > MAX_DEPTH {
            return self.error(format!("exceeded max depth of {MAX_DEPTH}"));
        }
        match token_number {
            Some(number) => self.insert(number, kind, mark),
            None => self.tokens.push_back(Token {
                kind,
                start: mark,
                end: mark,
            }),
        }
        Ok(())
    }

    fn unroll_indent(&mut self, column: i64) {
        if self.flow_level > 0 {
            return;
        }
        while self.indent > column {
            self.push_here(TokenKind::BlockEnd);
            self.indent = self.indents.pop().unwrap_or(-1);
        }
    }

    fn fetch_stream_end(&mut self) -> Scan {
        if self.reader.mark.column != 0 {
            self.reader.mark.column = 0;
            self.reader.mark.line += 1;
        }
        self.unroll_indent(-1);
        self.remove_simple_key()?;
        self.simple_key_allowed = false;
        self.push_here(TokenKind::StreamEnd);
        Ok(())
    }

    fn fetch_directive(&mut self) -> Scan {
        self.unroll_indent(-1);
        self.remove_simple_key()?;
        self.simple_key_allowed = false;
        self.scan_directive()
    }

    fn fetch_document_indicator(&mut self, kind: TokenKind) -> Scan {
        self.unroll_indent(-1);
        self.remove_simple_key()?;
        self.simple_key_allowed = false;
        let start = self.reader.mark;
        for _ in 0..3 {
            self.reader.skip();
        }
        self.push(kind, start);
        Ok(())
    }

    fn fetch_flow_start(&mut self, kind: TokenKind) -> Scan {
        self.save_simple_key()?;
        self.increase_flow_level()?;
        self.simple_key_allowed = true;
        self.one_character(kind);
        Ok(())
    }

    fn fetch_flow_end(&mut self, kind: TokenKind) -> Scan {
        self.remove_simple_key()?;
        self.decrease_flow_level();
        self.simple_key_allowed = false;
        self.one_character(kind);
        Ok(())
    }

    fn fetch_flow_entry(&mut self) -> Scan {
        self.remove_simple_key()?;
        self.simple_key_allowed = true;
        self.one_character(TokenKind::FlowEntry);
        Ok(())
    }

    fn one_character(&mut self, kind: TokenKind) {
        let start = self.reader.mark;
        self.reader.skip();
        self.push(kind, start);
    }

    fn fetch_block_entry(&mut self) -> Scan {
        if self.flow_level == 0 {
            if !self.simple_key_allowed {
                return self.error("block sequence entries are not allowed in this context");
            }
            self.roll_indent(None, TokenKind::BlockSequenceStart, self.reader.mark)?;
        }
        self.remove_simple_key()?;
        self.simple_key_allowed = true;
        self.one_character(TokenKind::BlockEntry);
        Ok(())
    }

    fn fetch_key(&mut self) -> Scan {
        if self.flow_level == 0 {
            if !self.simple_key_allowed {
                return self.error("mapping keys are not allowed in this context");
            }
            self.roll_indent(None, TokenKind::BlockMappingStart, self.reader.mark)?;
        }
        self.remove_simple_key()?;
        self.simple_key_allowed = self.flow_level == 0;
        self.one_character(TokenKind::Key);
        Ok(())
    }

    fn fetch_value(&mut self) -> Scan {
        let level = self.simple_keys.len() - 1;
        if self.simple_key_is_valid(level)? {
            let key = self.simple_keys[level];
            self.insert(key.token_number, TokenKind::Key, key.mark);
            self.roll_indent(Some(key.token_number), TokenKind::BlockMappingStart, key.mark)?;
            self.simple_keys[level].possible = false;
            self.simple_keys_by_token.remove(&key.token_number);
            self.simple_key_allowed = false;
        } else {
            if self.flow_level == 0 {
                if !self.simple_key_allowed {
                    return self.error("mapping values are not allowed in this context");
                }
                self.roll_indent(None, TokenKind::BlockMappingStart, self.reader.mark)?;
            }
            self.simple_key_allowed = self.flow_level == 0;
        }
        self.one_character(TokenKind::Value);
        Ok(())
    }

    fn fetch_anchor(&mut self, alias: bool) -> Scan {
        self.save_simple_key()?;
        self.simple_key_allowed = false;
        let start = self.reader.mark;
        self.reader.skip();
        self.reader.need(1)?;
        let mut name = Vec::new();
        while self.reader.is_word() {
            self.reader.read(&mut name);
            self.reader.need(1)?;
        }
        let ended = self.reader.is_blank_break_or_end_at(0)
            || matches!(
                self.reader.at(0),
                b'?' | b':' | b',' | b']' | b'}' | b'%' | b'@' | b'`'
            );
        if name.is_empty() || !ended {
            return self.error(if alias {
                "while scanning an alias ('*'), did not find expected alphabetic or numeric character"
            } else {
                "while scanning an anchor ('&'), did not find expected alphabetic or numeric character"
            });
        }
        self.push(
            if alias {
                TokenKind::Alias(name)
            } else {
                TokenKind::Anchor(name)
            },
            start,
        );
        Ok(())
    }

    fn fetch_tag(&mut self) -> Scan {
        self.save_simple_key()?;
        self.simple_key_allowed = false;
        let start = self.reader.mark;
        self.reader.need(2)?;
        let (handle, suffix);
        if self.reader.at(1) == b'<' {
            self.reader.skip();
            self.reader.skip();
            handle = Vec::new();
            suffix = self.scan_tag_uri(&[])?;
            if self.reader.at(0) != b'>' {
                return self.error("while scanning a tag, did not find the expected '>'");
            }
            self.reader.skip();
        } else {
            let head = self.scan_tag_handle(false)?;
            if head.len() > 1 && head.last() == Some(&b'!') {
                suffix = self.scan_tag_uri(&[])?;
                handle = head;
            } else {
                let rest = self.scan_tag_uri(&head)?;
                if rest.is_empty() {
                    // The tag `!` alone.
                    handle = Vec::new();
                    suffix = b"!".to_vec();
                } else {
                    handle = b"!".to_vec();
                    suffix = rest;
                }
            }
        }
        self.reader.need(1)?;
        if !self.reader.is_blank_break_or_end_at(0) {
            return self.error("while scanning a tag ('!'), did not find expected whitespace or line break");
        }
        self.push(TokenKind::Tag { handle, suffix }, start);
        Ok(())
    }

    fn fetch_block_scalar(&mut self, literal: bool) -> Scan {
        self.remove_simple_key()?;
        self.simple_key_allowed = true;
        self.scan_block_scalar(literal)
    }

    fn fetch_flow_scalar(&mut self, single: bool) -> Scan {
        self.save_simple_key()?;
        self.simple_key_allowed = false;
        self.scan_flow_scalar(single)
    }

    fn fetch_plain_scalar(&mut self) -> Scan {
        self.save_simple_key()?;
        self.simple_key_allowed = false;
        self.scan_plain_scalar()
    }

    fn skip_to_token(&mut self) -> Scan {
        loop {
            self.reader.need(1)?;
            if self.reader.mark.column == 0 && self.reader.buffer_starts_with_bom() {
                self.reader.skip();
            }
            self.reader.need(1)?;
            while self.reader.at(0) == b' '
                || ((self.flow_level > 0 || !self.simple_key_allowed) && self.reader.at(0) == b'\t')
            {
                self.reader.skip();
                self.reader.need(1)?;
            }
            self.skip_comment()?;
            if !self.reader.is_break_at(0) {
                return Ok(());
            }
            self.reader.need(2)?;
            self.reader.skip_line();
            if self.flow_level == 0 {
                self.simple_key_allowed = true;
            }
        }
    }

    fn skip_comment(&mut self) -> Scan {
        if self.reader.at(0) == b'#' {
            while !self.reader.is_break_or_end_at(0) {
                self.reader.skip();
                self.reader.need(1)?;
            }
        }
        Ok(())
    }

    fn skip_blanks(&mut self) -> Scan {
        while self.reader.is_blank_at(0) {
            self.reader.skip();
            self.reader.need(1)?;
        }
        Ok(())
    }

    fn scan_directive(&mut self) -> Scan {
        let start = self.reader.mark;
        self.reader.skip();
        self.reader.need(1)?;
        let mut name = Vec::new();
        while self.reader.is_word() {
            self.reader.read(&mut name);
            self.reader.need(1)?;
        }
        if name.is_empty() {
            return self.error("while scanning a directive ('%'), could not find expected directive name");
        }
        if !self.reader.is_blank_break_or_end_at(0) {
            return self
                .error("while scanning a directive ('%'), found unexpected non-alphabetical character");
        }
        let (kind, end);
        match name.as_slice() {
            b"YAML" => {
                self.reader.need(1)?;
                self.skip_blanks()?;
                let major = self.scan_version_number()?;
                if self.reader.at(0) != b'.' {
                    return self.error(
                        "while scanning a %YAML directive, did not find expected digit or '.' character",
                    );
                }
                self.reader.skip();
                let minor = self.scan_version_number()?;
                kind = TokenKind::VersionDirective { major, minor };
                end = self.reader.mark;
            }
            b"TAG" => {
                self.reader.need(1)?;
                self.skip_blanks()?;
                let handle = self.scan_tag_handle(true)?;
                self.reader.need(1)?;
                if !self.reader.is_blank_at(0) {
                    return self.error("while scanning a %TAG directive, did not find expected whitespace");
                }
                self.skip_blanks()?;
                let prefix = self.scan_tag_uri(&[])?;
                self.reader.need(1)?;
                if !self.reader.is_blank_break_or_end_at(0) {
                    return self.error(
                        "while scanning a %TAG directive, did not find expected whitespace or line break",
                    );
                }
                kind = TokenKind::TagDirective { handle, prefix };
                end = self.reader.mark;
            }
            _ => return self.error("while scanning a directive, found unknown directive name"),
        }
        self.reader.need(1)?;
        self.skip_blanks()?;
        self.skip_comment()?;
        if !self.reader.is_break_or_end_at(0) {
            return self.error("while scanning a directive, did not find expected comment or line break");
        }
        if self.reader.is_break_at(0) {
            self.reader.need(2)?;
            self.reader.skip_line();
        }
        self.tokens.push_back(Token { kind, start, end });
        Ok(())
    }

    fn scan_version_number(&mut self) -> Scan<u8> {
        self.reader.need(1)?;
        let (mut value, mut length) = (0u8, 0);
        while self.reader.at(0).is_ascii_digit() {
            length += 1;
            if length > 2 {
                return self.error("while scanning a %YAML directive, found extremely long version number");
            }
            value = value * 10 + (self.reader.at(0) - b'0');
            self.reader.skip();
            self.reader.need(1)?;
        }
        if length == 0 {
            return self.error("while scanning a %YAML directive, did not find expected version number");
        }
        Ok(value)
    }

    fn scan_tag_handle(&mut self, directive: bool) -> Scan<Vec<u8>> {
        self.reader.need(1)?;
        if self.reader.at(0) != b'!' {
            return self.error("while parsing a tag, did not find expected '!'");
        }
        let mut handle = Vec::new();
        self.reader.read(&mut handle);
        self.reader.need(1)?;
        while self.reader.is_word() {
            self.reader.read(&mut handle);
            self.reader.need(1)?;
        }
        if self.reader.at(0) == b'!' {
            self.reader.read(&mut handle);
        } else if directive && handle != b"!" {
            return self.error("while parsing a %TAG directive, did not find expected '!'");
        }
        Ok(handle)
    }

    fn scan_tag_uri(&mut self, head: &[u8]) -> Scan<Vec<u8>> {
        let mut uri = head.get(1..).unwrap_or_default().to_vec();
        let mut found = !head.is_empty();
        self.reader.need(1)?;
        while self.reader.is_word()
            || matches!(
                self.reader.at(0),
                b';' | b'/'
                    | b'?'
                    | b':'
                    | b'@'
                    | b'&'
                    | b'='
                    | b'+'
                    | b'$'
                    | b','
                    | b'.'
                    | b'!'
                    | b'~'
                    | b'*'
                    | b'\''
                    | b'('
                    | b')'
                    | b'['
                    | b']'
                    | b'%'
            )
        {
            if self.reader.at(0) == b'%' {
                self.scan_uri_escapes(&mut uri)?;
            } else {
                self.reader.read(&mut uri);
            }
            self.reader.need(1)?;
            found = true;
        }
        if !found {
            return self.error("while parsing a tag, did not find expected tag URI");
        }
        Ok(uri)
    }

    fn scan_uri_escapes(&mut self, uri: &mut Vec<u8>) -> Scan {
        let mut left = None;
        while left != Some(0) {
            self.reader.need(3)?;
            let (high, low) = (hex(self.reader.at(1)), hex(self.reader.at(2)));
            let (b'%', Some(high), Some(low)) = (self.reader.at(0), high, low) else {
                return self.error("while parsing a tag, did not find URI escaped octet");
            };
            let octet = u8::try_from(high << 4 | low).unwrap_or(0);
            let remaining = match left {
                None => match width(octet) {
                    0 => return self.error("while parsing a tag, found an incorrect leading UTF-8 octet"),
                    width => width,
                },
                Some(_) if octet & 0xC0 != 0x80 => {
                    return self.error("while parsing a tag, found an incorrect trailing UTF-8 octet");
                }
                Some(remaining) => remaining,
            };
            uri.push(octet);
            for _ in 0..3 {
                self.reader.skip();
            }
            left = Some(remaining - 1);
        }
        Ok(())
    }

    fn scan_block_scalar(&mut self, literal: bool) -> Scan {
        let start = self.reader.mark;
        self.reader.skip();
        self.reader.need(1)?;

        #[derive(PartialEq)]
        enum Chomp {
            Strip,
            Clip,
            Keep,
        }
        let chomp_of = |c: u8| match c {
            b'+' => Some(Chomp::Keep),
            b'-' => Some(Chomp::Strip),
            _ => None,
        };
        let mut chomp = Chomp::Clip;
        let mut increment = 0;
        if let Some(found) = chomp_of(self.reader.at(0)) {
            chomp = found;
            self.reader.skip();
            self.reader.need(1)?;
            if self.reader.at(0).is_ascii_digit() {
                increment = self.scan_indentation_indicator()?;
            }
        } else if self.reader.at(0).is_ascii_digit() {
            increment = self.scan_indentation_indicator()?;
            self.reader.need(1)?;
            if let Some(found) = chomp_of(self.reader.at(0)) {
                chomp = found;
                self.reader.skip();
            }
        }
        self.reader.need(1)?;
        self.skip_blanks()?;
        self.skip_comment()?;
        if !self.reader.is_break_or_end_at(0) {
            return self.error("while scanning a block scalar, did not find expected comment or line break");
        }
        if self.reader.is_break_at(0) {
            self.reader.need(2)?;
            self.reader.skip_line();
        }
        let mut end = self.reader.mark;
        let mut indent = match increment {
            0 => 0,
            _ => self.indent.max(0) + increment,
        };
        let (mut text, mut leading_break, mut trailing_breaks) = (Vec::new(), Vec::new(), Vec::new());
        self.scan_block_scalar_breaks(&mut indent, &mut trailing_breaks, &mut end)?;
        self.reader.need(1)?;
        let mut leading_blank = false;
        while column(self.reader.mark) == indent && !self.reader.is_end() {
            let trailing_blank = self.reader.is_blank_at(0);
            if !literal && !leading_blank && !trailing_blank && leading_break.first() == Some(&b'\n') {
                if trailing_breaks.is_empty() {
                    text.push(b' ');
                }
            } else {
                text.append(&mut leading_break);
            }
            leading_break.clear();
            text.append(&mut trailing_breaks);
            leading_blank = self.reader.is_blank_at(0);
            while !self.reader.is_break_or_end_at(0) {
                self.reader.read(&mut text);
                self.reader.need(1)?;
            }
            self.reader.need(2)?;
            self.reader.read_line(&mut leading_break);
            self.scan_block_scalar_breaks(&mut indent, &mut trailing_breaks, &mut end)?;
        }
        if chomp != Chomp::Strip {
            text.append(&mut leading_break);
        }
        if chomp == Chomp::Keep {
            text.append(&mut trailing_breaks);
        }
        self.tokens.push_back(Token {
            kind: TokenKind::Scalar {
                value: text,
                plain: false,
            },
            start,
            end,
        });
        Ok(())
    }

    fn scan_indentation_indicator(&mut self) -> Scan<i64> {
        if self.reader.at(0) == b'0' {
            return self.error("while scanning a block scalar, found an indentation indicator equal to 0");
        }
        let increment = i64::from(self.reader.at(0) - b'0');
        self.reader.skip();
        Ok(increment)
    }

    /// Passes over indentation and empty lines. `indent` 0 means: to be found out here.
    fn scan_block_scalar_breaks(&mut self, indent: &mut i64, breaks: &mut Vec<u8>, end: &mut Mark) -> Scan {
        *end = self.reader.mark;
        let mut deepest = 0;
        loop {
            self.reader.need(1)?;
            while (*indent == 0 || column(self.reader.mark) < *indent) && self.reader.at(0) == b' ' {
                self.reader.skip();
                self.reader.need(1)?;
            }
            deepest = deepest.max(column(self.reader.mark));
            if (*indent == 0 || column(self.reader.mark) < *indent) && self.reader.at(0) == b'\t' {
                return self.error(
                    "while scanning a block scalar, found a tab character where an indentation space is expected",
                );
            }
            if !self.reader.is_break_at(0) {
                break;
            }
            self.reader.need(2)?;
            self.reader.read_line(breaks);
            *end = self.reader.mark;
        }
        if *indent == 0 {
            *indent = deepest.max(self.indent + 1).max(1);
        }
        Ok(())
    }

    fn scan_flow_scalar(&mut self, single: bool) -> Scan {
        let start = self.reader.mark;
        self.reader.skip();
        let (mut text, mut leading_break, mut trailing_breaks, mut blanks) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        loop {
            self.reader.need(4)?;
            if self.reader.mark.column == 0
                && (self.at_document_indicator(b'-') || self.at_document_indicator(b'.'))
            {
                return self.error("while scanning a quoted scalar, found unexpected document indicator");
            }
            if self.reader.is_end() {
                return Err(YamlError::new(
                    start.byte,
                    "a quote is opened here and never closed",
                ));
            }
            let mut leading_blanks = false;
            while !self.reader.is_blank_break_or_end_at(0) {
                let c = self.reader.at(0);
                if single && c == b'\'' && self.reader.at(1) == b'\'' {
                    text.push(b'\'');
                    self.reader.skip();
                    self.reader.skip();
                } else if c == if single { b'\'' } else { b'"' } {
                    break;
                } else if !single && c == b'\\' && self.reader.is_break_at(1) {
                    self.reader.need(3)?;
                    self.reader.skip();
                    self.reader.skip_line();
                    leading_blanks = true;
                    break;
                } else if !single && c == b'\\' {
                    self.scan_escape(&mut text)?;
                } else {
                    self.reader.read(&mut text);
                }
                self.reader.need(2)?;
            }
            self.reader.need(1)?;
            if self.reader.at(0) == if single { b'\'' } else { b'"' } {
                break;
            }
            while self.reader.is_blank_at(0) || self.reader.is_break_at(0) {
                self.scan_gap(
                    &mut leading_blanks,
                    &mut blanks,
                    &mut leading_break,
                    &mut trailing_breaks,
                )?;
            }
            if leading_blanks {
                fold(&mut text, &mut leading_break, &mut trailing_breaks);
            } else {
                text.append(&mut blanks);
            }
        }
        self.reader.skip();
        self.push(
            TokenKind::Scalar {
                value: text,
                plain: false,
            },
            start,
        );
        Ok(())
    }

    /// One blank or line break within a flow or plain scalar.
    fn scan_gap(
        &mut self,
        leading_blanks: &mut bool,
        blanks: &mut Vec<u8>,
        leading_break: &mut Vec<u8>,
        trailing_breaks: &mut Vec<u8>,
    ) -> Scan {
        if self.reader.is_blank_at(0) {
            if *leading_blanks {
                self.reader.skip();
            } else {
                self.reader.read(blanks);
            }
        } else {
            self.reader.need(2)?;
            if *leading_blanks {
                self.reader.read_line(trailing_breaks);
            } else {
                blanks.clear();
                self.reader.read_line(leading_break);
                *leading_blanks = true;
            }
        }
        self.reader.need(1)
    }

    fn scan_escape(&mut self, text: &mut Vec<u8>) -> Scan {
        let code_length = match self.reader.at(1) {
            b'x' => 2,
            b'u' => 4,
            b'U' => 8,
            other => {
                text.extend_from_slice(match other {
                    b'0' => b"\0",
                    b'a' => b"\x07",
                    b'b' => b"\x08",
                    b't' | b'\t' => b"\t",
                    b'n' => b"\n",
                    b'v' => b"\x0B",
                    b'f' => b"\x0C",
                    b'r' => b"\r",
                    b'e' => b"\x1B",
                    b' ' => b" ",
                    b'"' => b"\"",
                    b'\'' => b"'",
                    b'\\' => b"\\",
                    b'N' => "\u{85}".as_bytes(),
                    b'_' => "\u{A0}".as_bytes(),
                    b'L' => "\u{2028}".as_bytes(),
                    b'P' => "\u{2029}".as_bytes(),
                    _ => return self.error("while parsing a quoted scalar, found unknown escape character"),
                });
                0
            }
        };
        self.reader.skip();
        self.reader.skip();
        if code_length == 0 {
            return Ok(());
        }
        self.reader.need(code_length)?;
        let digits = usize::try_from(code_length).unwrap_or(0);
        let mut value = 0u32;
        for ahead in 0..digits {
            let Some(digit) = hex(self.reader.at(ahead)) else {
                return self.error("while parsing a quoted scalar, did not find expected hexadecimal number");
            };
            value = value << 4 | digit;
        }
        let Some(c) = char::from_u32(value) else {
            return self.error("while parsing a quoted scalar, found invalid Unicode character escape code");
        };
        text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        for _ in 0..digits {
            self.reader.skip();
        }
        Ok(())
    }

    fn scan_plain_scalar(&mut self) -> Scan {
        let start = self.reader.mark;
        let mut end = start;
        let indent = self.indent + 1;
        let (mut text, mut leading_break, mut trailing_breaks, mut blanks) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut leading_blanks = false;
        loop {
            self.reader.need(4)?;
            if self.reader.mark.column == 0
                && (self.at_document_indicator(b'-') || self.at_document_indicator(b'.'))
            {
                break;
            }
            if self.reader.at(0) == b'#' {
                break;
            }
            while !self.reader.is_blank_break_or_end_at(0) {
                let c = self.reader.at(0);
                if (c == b':' && self.reader.is_blank_break_or_end_at(1))
                    || (self.flow_level > 0 && matches!(c, b',' | b'?' | b'[' | b']' | b'{' | b'}'))
                {
                    break;
                }
                if leading_blanks {
                    fold(&mut text, &mut leading_break, &mut trailing_breaks);
                    leading_blanks = false;
                } else {
                    text.append(&mut blanks);
                }
                self.reader.read(&mut text);
                end = self.reader.mark;
                self.reader.need(2)?;
            }
            if !(self.reader.is_blank_at(0) || self.reader.is_break_at(0)) {
                break;
            }
            self.reader.need(1)?;
            while self.reader.is_blank_at(0) || self.reader.is_break_at(0) {
                if leading_blanks && column(self.reader.mark) < indent && self.reader.at(0) == b'\t' {
                    return self.error("found a tab character that violates indentation");
                }
                self.scan_gap(
                    &mut leading_blanks,
                    &mut blanks,
                    &mut leading_break,
                    &mut trailing_breaks,
                )?;
            }
            if self.flow_level == 0 && column(self.reader.mark) < indent {
                break;
            }
        }
        self.tokens.push_back(Token {
            kind: TokenKind::Scalar {
                value: text,
                plain: true,
            },
            start,
            end,
        });
        if leading_blanks {
            self.simple_key_allowed = true;
        }
        Ok(())
    }
}

/// Joins two lines of a scalar: one LF becomes a space, further breaks stay.
fn fold(text: &mut Vec<u8>, leading_break: &mut Vec<u8>, trailing_breaks: &mut Vec<u8>) {
    if leading_break.first() == Some(&b'\n') {
        if trailing_breaks.is_empty() {
            text.push(b' ');
        }
        leading_break.clear();
    }
    text.append(leading_break);
    text.append(trailing_breaks);
}

fn hex(c: u8) -> Option<u32> {
    char::from(c).to_digit(16)
}
