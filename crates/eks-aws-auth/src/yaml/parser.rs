//! Tokens to events: the grammar of goyaml.v2's `parserc.go` as a state machine, so that nesting costs no stack.

use super::scanner::{Scanner, TokenKind};
use super::{Mark, YamlError};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    StreamEnd,
    DocumentStart,
    DocumentEnd,
    Alias(Vec<u8>),
    /// `implicit`: written plain and without a tag (or with the tag `!`).
    Scalar {
        anchor: Option<Vec<u8>>,
        tag: Vec<u8>,
        value: Vec<u8>,
        implicit: bool,
    },
    SequenceStart {
        anchor: Option<Vec<u8>>,
    },
    SequenceEnd,
    MappingStart {
        anchor: Option<Vec<u8>>,
    },
    MappingEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    ImplicitDocumentStart,
    DocumentStart,
    DocumentContent,
    DocumentEnd,
    BlockSequenceFirstEntry,
    BlockSequenceEntry,
    IndentlessSequenceEntry,
    BlockMappingFirstKey,
    BlockMappingKey,
    BlockMappingValue,
    BlockNode,
    FlowSequenceFirstEntry,
    FlowSequenceEntry,
    FlowSequenceEntryMappingKey,
    FlowSequenceEntryMappingValue,
    FlowSequenceEntryMappingEnd,
    FlowMappingFirstKey,
    FlowMappingKey,
    FlowMappingValue,
    FlowMappingEmptyValue,
    End,
}

pub(super) struct Parser<'a> {
    scanner: Scanner<'a>,
    started: bool,
    state: State,
    states: Vec<State>,
    tag_directives: Vec<(Vec<u8>, Vec<u8>)>,
}

type Parse<T = (Event, Mark)> = Result<T, YamlError>;

const DEFAULT_TAGS: [(&[u8], &[u8]); 2] = [(b"!", b"!"), (b"!!", super::resolve::LONG_TAG_PREFIX)];

impl<'a> Parser<'a> {
    pub(super) fn new(input: &'a str) -> Self {
        Self {
            scanner: Scanner::new(input),
            started: false,
            state: State::ImplicitDocumentStart,
            states: Vec::new(),
            tag_directives: Vec::new(),
        }
    }

    fn peek(&mut self) -> Parse<(TokenKind, Mark, Mark)> {
        let token = self.scanner.peek()?;
        Ok((token.kind.clone(), token.start, token.end))
    }

    fn kind(&mut self) -> Parse<&TokenKind> {
        Ok(&self.scanner.peek()?.kind)
    }

    fn mark(&mut self) -> Parse<Mark> {
        Ok(self.scanner.peek()?.start)
    }

    fn pop_state(&mut self) {
        self.state = self.states.pop().unwrap_or(State::End);
    }

    /// The next event. After the end of the stream there is no next one.
    pub(super) fn next(&mut self) -> Parse {
        if !self.started {
            self.started = true;
            self.kind()?;
            self.scanner.skip();
        }
        match self.state {
            State::ImplicitDocumentStart => self.document_start(true),
            State::DocumentStart => self.document_start(false),
            State::DocumentContent => self.document_content(),
            State::DocumentEnd => self.document_end(),
            State::BlockNode => self.node(true, false),
            State::BlockSequenceFirstEntry => self.block_sequence_entry(true),
            State::BlockSequenceEntry => self.block_sequence_entry(false),
            State::IndentlessSequenceEntry => self.indentless_sequence_entry(),
            State::BlockMappingFirstKey => self.block_mapping_key(true),
            State::BlockMappingKey => self.block_mapping_key(false),
            State::BlockMappingValue => self.block_mapping_value(),
            State::FlowSequenceFirstEntry => self.flow_sequence_entry(true),
            State::FlowSequenceEntry => self.flow_sequence_entry(false),
            State::FlowSequenceEntryMappingKey => self.flow_sequence_entry_mapping_key(),
            State::FlowSequenceEntryMappingValue => self.flow_sequence_entry_mapping_value(),
            State::FlowSequenceEntryMappingEnd => {
                let mark = self.mark()?;
                self.state = State::FlowSequenceEntry;
                Ok((Event::MappingEnd, mark))
            }
            State::FlowMappingFirstKey => self.flow_mapping_key(true),
            State::FlowMappingKey => self.flow_mapping_key(false),
            State::FlowMappingValue => self.flow_mapping_value(false),
            State::FlowMappingEmptyValue => self.flow_mapping_value(true),
            State::End => Ok((Event::StreamEnd, Mark::default())),
        }
    }

    fn document_start(&mut self, implicit: bool) -> Parse {
        if !implicit {
            while matches!(self.kind()?, TokenKind::DocumentEnd) {
                self.scanner.skip();
            }
        }
        let (kind, start, _) = self.peek()?;
        match kind {
            TokenKind::StreamEnd => {
                self.state = State::End;
                self.scanner.skip();
                return Ok((Event::StreamEnd, start));
            }
            TokenKind::VersionDirective { .. }
            | TokenKind::TagDirective { .. }
            | TokenKind::DocumentStart => {}
            _ if implicit => {
                self.process_directives()?;
                self.states.push(State::DocumentEnd);
                self.state = State::BlockNode;
                return Ok((Event::DocumentStart, start));
            }
            _ => {}
        }
        self.process_directives()?;
        let (kind, mark, _) = self.peek()?;
        if kind != TokenKind::DocumentStart {
            return Err(YamlError::new(
                mark.byte,
                "did not find expected <document start>",
            ));
        }
        self.states.push(State::DocumentEnd);
        self.state = State::DocumentContent;
        self.scanner.skip();
        Ok((Event::DocumentStart, start))
    }

    fn process_directives(&mut self) -> Parse<()> {
        let mut versioned = false;
        loop {
            let (kind, mark, _) = self.peek()?;
            match kind {
                TokenKind::VersionDirective { major, minor } => {
                    if versioned {
                        return Err(YamlError::new(mark.byte, "found duplicate %YAML directive"));
                    }
                    if (major, minor) != (1, 1) {
                        return Err(YamlError::new(
                            mark.byte,
                            format!(
                                "found incompatible YAML document (%YAML {major}.{minor}; only 1.1 is read)"
                            ),
                        ));
                    }
                    versioned = true;
                }
                TokenKind::TagDirective { handle, prefix } => {
                    if self.tag_directives.iter().any(|(known, _)| *known == handle) {
                        return Err(YamlError::new(mark.byte, "found duplicate %TAG directive"));
                    }
                    self.tag_directives.push((handle, prefix));
                }
                _ => break,
            }
            self.scanner.skip();
        }
        for (handle, prefix) in DEFAULT_TAGS {
            if !self.tag_directives.iter().any(|(known, _)| known == handle) {
                self.tag_directives.push((handle.to_vec(), prefix.to_vec()));
            }
        }
        Ok(())
    }

    fn document_content(&mut self) -> Parse {
        let (kind, mark, _) = self.peek()?;
        match kind {
            TokenKind::VersionDirective { .. }
            | TokenKind::TagDirective { .. }
            | TokenKind::DocumentStart
            | TokenKind::DocumentEnd
            | TokenKind::StreamEnd => {
                self.pop_state();
                Ok(empty_scalar(mark))
            }
            _ => self.node(true, false),
        }
    }

    fn document_end(&mut self) -> Parse {
        let (kind, mark, _) = self.peek()?;
        if kind == TokenKind::DocumentEnd {
            self.scanner.skip();
        }
        self.tag_directives.clear();
        self.state = State::DocumentStart;
        Ok((Event::DocumentEnd, mark))
    }

    fn node(&mut self, block: bool, indentless_sequence: bool) -> Parse {
        let (kind, start, _) = self.peek()?;
        if let TokenKind::Alias(name) = kind {
            self.pop_state();
            self.scanner.skip();
            return Ok((Event::Alias(name), start));
        }
        let (mut anchor, mut tag_parts) = (None, None);
        match kind {
            TokenKind::Anchor(name) => {
                anchor = Some(name);
                self.scanner.skip();
                let (kind, mark, _) = self.peek()?;
                if let TokenKind::Tag { handle, suffix } = kind {
                    tag_parts = Some((handle, suffix, mark));
                    self.scanner.skip();
                }
            }
            TokenKind::Tag { handle, suffix } => {
                tag_parts = Some((handle, suffix, start));
                self.scanner.skip();
                let (kind, _, _) = self.peek()?;
                if let TokenKind::Anchor(name) = kind {
                    anchor = Some(name);
                    self.scanner.skip();
                }
            }
            _ => {}
        }
        let mut tag = Vec::new();
        if let Some((handle, suffix, mark)) = tag_parts {
            if handle.is_empty() {
                tag = suffix;
            } else {
                if let Some((_, prefix)) = self.tag_directives.iter().find(|(known, _)| *known == handle) {
                    tag.extend_from_slice(prefix);
                    tag.extend_from_slice(&suffix);
                }
                if tag.is_empty() {
                    return Err(YamlError::new(mark.byte, "found undefined tag handle"));
                }
            }
        }

        let (kind, here, _) = self.peek()?;
        match kind {
            TokenKind::BlockEntry if indentless_sequence => {
                self.state = State::IndentlessSequenceEntry;
                Ok((Event::SequenceStart { anchor }, start))
            }
            TokenKind::Scalar { value, plain } => {
                let implicit = (tag.is_empty() && plain) || tag == b"!";
                self.pop_state();
                self.scanner.skip();
                Ok((
                    Event::Scalar {
                        anchor,
                        tag,
                        value,
                        implicit,
                    },
                    start,
                ))
            }
            TokenKind::FlowSequenceStart => {
                self.state = State::FlowSequenceFirstEntry;
                Ok((Event::SequenceStart { anchor }, start))
            }
            TokenKind::FlowMappingStart => {
                self.state = State::FlowMappingFirstKey;
                Ok((Event::MappingStart { anchor }, start))
            }
            TokenKind::BlockSequenceStart if block => {
                self.state = State::BlockSequenceFirstEntry;
                Ok((Event::SequenceStart { anchor }, start))
            }
            TokenKind::BlockMappingStart if block => {
                self.state = State::BlockMappingFirstKey;
                Ok((Event::MappingStart { anchor }, start))
            }
            _ if anchor.is_some() || !tag.is_empty() => {
                self.pop_state();
                let implicit = tag.is_empty();
                Ok((
                    Event::Scalar {
                        anchor,
                        tag,
                        value: Vec::new(),
                        implicit,
                    },
                    start,
                ))
            }
            _ => Err(YamlError::new(here.byte, "did not find expected node content")),
        }
    }

    fn block_sequence_entry(&mut self, first: bool) -> Parse {
        if first {
            self.kind()?;
            self.scanner.skip();
        }
        let (kind, start, end) = self.peek()?;
        match kind {
            TokenKind::BlockEntry => {
                self.scanner.skip();
                if matches!(self.kind()?, TokenKind::BlockEntry | TokenKind::BlockEnd) {
                    self.state = State::BlockSequenceEntry;
                    Ok(empty_scalar(end))
                } else {
                    self.states.push(State::BlockSequenceEntry);
                    self.node(true, false)
                }
            }
            TokenKind::BlockEnd => {
                self.pop_state();
                self.scanner.skip();
                Ok((Event::SequenceEnd, start))
            }
            _ => Err(YamlError::new(
                start.byte,
                "while parsing a block collection, did not find expected '-' indicator",
            )),
        }
    }

    fn indentless_sequence_entry(&mut self) -> Parse {
        let (kind, start, end) = self.peek()?;
        if kind != TokenKind::BlockEntry {
            self.pop_state();
            return Ok((Event::SequenceEnd, start));
        }
        self.scanner.skip();
        if matches!(
            self.kind()?,
            TokenKind::BlockEntry | TokenKind::Key | TokenKind::Value | TokenKind::BlockEnd
        ) {
            self.state = State::IndentlessSequenceEntry;
            return Ok(empty_scalar(end));
        }
        self.states.push(State::IndentlessSequenceEntry);
        self.node(true, false)
    }

    fn block_mapping_key(&mut self, first: bool) -> Parse {
        if first {
            self.kind()?;
            self.scanner.skip();
        }
        let (kind, start, end) = self.peek()?;
        match kind {
            TokenKind::Key => {
                self.scanner.skip();
                if matches!(
                    self.kind()?,
                    TokenKind::Key | TokenKind::Value | TokenKind::BlockEnd
                ) {
                    self.state = State::BlockMappingValue;
                    Ok(empty_scalar(end))
                } else {
                    self.states.push(State::BlockMappingValue);
                    self.node(true, true)
                }
            }
            TokenKind::BlockEnd => {
                self.pop_state();
                self.scanner.skip();
                Ok((Event::MappingEnd, start))
            }
            _ => Err(YamlError::new(
                start.byte,
                "while parsing a block mapping, did not find expected key",
            )),
        }
    }

    fn block_mapping_value(&mut self) -> Parse {
        let (kind, start, end) = self.peek()?;
        if kind != TokenKind::Value {
            self.state = State::BlockMappingKey;
            return Ok(empty_scalar(start));
        }
        self.scanner.skip();
        if matches!(
            self.kind()?,
            TokenKind::Key | TokenKind::Value | TokenKind::BlockEnd
        ) {
            self.state = State::BlockMappingKey;
            return Ok(empty_scalar(end));
        }
        self.states.push(State::BlockMappingKey);
        self.node(true, true)
    }

    fn flow_sequence_entry(&mut self, first: bool) -> Parse {
        if first {
            self.kind()?;
            self.scanner.skip();
        }
        let (mut kind, mut start, _) = self.peek()?;
        if kind != TokenKind::FlowSequenceEnd {
            if !first {
                if kind != TokenKind::FlowEntry {
                    return Err(YamlError::new(
                        start.byte,
                        "while parsing a flow sequence, did not find expected ',' or ']'",
                    ));
                }
                self.scanner.skip();
                (kind, start, _) = self.peek()?;
            }
            if kind == TokenKind::Key {
                self.state = State::FlowSequenceEntryMappingKey;
                self.scanner.skip();
                return Ok((Event::MappingStart { anchor: None }, start));
            }
            if kind != TokenKind::FlowSequenceEnd {
                self.states.push(State::FlowSequenceEntry);
                return self.node(false, false);
            }
        }
        self.pop_state();
        self.scanner.skip();
        Ok((Event::SequenceEnd, start))
    }

    fn flow_sequence_entry_mapping_key(&mut self) -> Parse {
        let (kind, _, end) = self.peek()?;
        if matches!(
            kind,
            TokenKind::Value | TokenKind::FlowEntry | TokenKind::FlowSequenceEnd
        ) {
            // The token is taken even when it is not the key's own.
            self.scanner.skip();
            self.state = State::FlowSequenceEntryMappingValue;
            return Ok(empty_scalar(end));
        }
        self.states.push(State::FlowSequenceEntryMappingValue);
        self.node(false, false)
    }

    fn flow_sequence_entry_mapping_value(&mut self) -> Parse {
        let (kind, mark, _) = self.peek()?;
        if kind == TokenKind::Value {
            self.scanner.skip();
            if !matches!(self.kind()?, TokenKind::FlowEntry | TokenKind::FlowSequenceEnd) {
                self.states.push(State::FlowSequenceEntryMappingEnd);
                return self.node(false, false);
            }
        }
        self.state = State::FlowSequenceEntryMappingEnd;
        Ok(empty_scalar(mark))
    }

    fn flow_mapping_key(&mut self, first: bool) -> Parse {
        if first {
            self.kind()?;
            self.scanner.skip();
        }
        let (mut kind, mut start, _) = self.peek()?;
        if kind != TokenKind::FlowMappingEnd {
            if !first {
                if kind != TokenKind::FlowEntry {
                    return Err(YamlError::new(
                        start.byte,
                        "while parsing a flow mapping, did not find expected ',' or '}'",
                    ));
                }
                self.scanner.skip();
                (kind, start, _) = self.peek()?;
            }
            if kind == TokenKind::Key {
                self.scanner.skip();
                let (kind, mark, _) = self.peek()?;
                if matches!(
                    kind,
                    TokenKind::Value | TokenKind::FlowEntry | TokenKind::FlowMappingEnd
                ) {
                    self.state = State::FlowMappingValue;
                    return Ok(empty_scalar(mark));
                }
                self.states.push(State::FlowMappingValue);
                return self.node(false, false);
            }
            if kind != TokenKind::FlowMappingEnd {
                self.states.push(State::FlowMappingEmptyValue);
                return self.node(false, false);
            }
        }
        self.pop_state();
        self.scanner.skip();
        Ok((Event::MappingEnd, start))
    }

    fn flow_mapping_value(&mut self, empty: bool) -> Parse {
        let (kind, mark, _) = self.peek()?;
        if !empty && kind == TokenKind::Value {
            self.scanner.skip();
            if !matches!(self.kind()?, TokenKind::FlowEntry | TokenKind::FlowMappingEnd) {
                self.states.push(State::FlowMappingKey);
                return self.node(false, false);
            }
        }
        self.state = State::FlowMappingKey;
        Ok(empty_scalar(mark))
    }
}

fn empty_scalar(mark: Mark) -> (Event, Mark) {
    (
        Event::Scalar {
            anchor: None,
            tag: Vec::new(),
            value: Vec::new(),
            implicit: true,
        },
        mark,
    )
}
