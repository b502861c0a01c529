//! Heads of HTTP/1 messages: read piece by piece, and looked at.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use httparse::{EMPTY_HEADER, Header, Status};

/// The longest head, in bytes, with empty lines and interim answers before it: 16 KiB.
pub const HEAD_LIMIT: usize = 16 << 10;

/// The most header lines of a head.
pub const HEADERS_LIMIT: usize = 96;

/// Why there is no head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadError {
    /// This is not HTTP.
    NotHttp,
    /// This is HTTP, but not 1.0 or 1.1.
    Version,
    /// It is above [`HEAD_LIMIT`] or [`HEADERS_LIMIT`].
    TooLarge,
}

/// A parser of a head that may not be complete: what it found, and how many bytes that took.
type Parse<T> = fn(&[u8]) -> Result<Option<(T, usize)>, HeadError>;

/// Gathers a head.
pub(super) struct Reader<T> {
    parse: Parse<T>,
    bytes: Vec<u8>,
    /// Bytes of heads and empty lines before this one.
    spent: usize,
}

impl<T> Reader<T> {
    pub(super) const fn new(parse: Parse<T>) -> Self {
        Self { parse, bytes: Vec::new(), spent: 0 }
    }

    /// Takes a head from the front of `input`; `None` if it is not complete, and all of `input` was taken.
    pub(super) fn receive(&mut self, input: &mut &[u8]) -> Result<Option<T>, HeadError> {
        if self.bytes.is_empty() {
            // Empty lines before a head are to be ignored (RFC 9112, section 2.2).
            let empty = input.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            self.spent += empty;
            *input = input.get(empty..).unwrap_or_default();
        }
        let had = self.bytes.len();
        let room = HEAD_LIMIT.saturating_sub(self.spent + had);
        let (piece, _) = input.split_at(input.len().min(room));
        self.bytes.extend_from_slice(piece);
        let is_full = piece.len() == room;
        // Once per line, so that a head that comes byte by byte is cheap; and at first, so that other protocols fail at once.
        if had == 0 || is_full || piece.contains(&b'\n') {
            if let Some((head, length)) = (self.parse)(&self.bytes)? {
                *input = input.get(length.saturating_sub(had)..).unwrap_or_default();
                self.spent += length;
                self.bytes = Vec::new();
                return Ok(Some(head));
            }
            if is_full {
                return Err(HeadError::TooLarge);
            }
        }
        *input = &[];
        Ok(None)
    }
}

impl<T> fmt::Debug for Reader<T> {
    /// Leaves out the bytes, which may be credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("have", &self.bytes.len()).field("spent", &self.spent).finish_non_exhaustive()
    }
}

/// The first line and the fields of a request.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct RequestHead {
    pub(super) method: String,
    pub(super) target: String,
    /// Of HTTP/1.
    pub(super) minor: u8,
    pub(super) fields: Fields,
}

impl RequestHead {
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, HeadError> {
        let mut headers = [EMPTY_HEADER; HEADERS_LIMIT];
        let mut request = httparse::Request::new(&mut headers);
        let Some(length) = verdict(request.parse(bytes))? else { return Ok(None) };
        let head = Self {
            method: request.method.unwrap_or_default().into(),
            target: request.path.unwrap_or_default().into(),
            minor: request.version.unwrap_or_default(),
            fields: Fields::new(request.headers),
        };
        Ok(Some((head, length)))
    }
}

/// The first line and the fields of an answer.
pub(super) struct AnswerHead {
    pub(super) status: u16,
    pub(super) reason: String,
    /// Of HTTP/1.
    pub(super) minor: u8,
    pub(super) fields: Fields,
}

impl AnswerHead {
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, HeadError> {
        let mut headers = [EMPTY_HEADER; HEADERS_LIMIT];
        let mut answer = httparse::Response::new(&mut headers);
        let Some(length) = verdict(answer.parse(bytes))? else { return Ok(None) };
        let head = Self {
            status: answer.code.unwrap_or_default(),
            reason: answer.reason.unwrap_or_default().into(),
            minor: answer.version.unwrap_or_default(),
            fields: Fields::new(answer.headers),
        };
        Ok(Some((head, length)))
    }
}

fn verdict(parsed: httparse::Result<usize>) -> Result<Option<usize>, HeadError> {
    match parsed {
        Ok(Status::Complete(length)) => Ok(Some(length)),
        Ok(Status::Partial) => Ok(None),
        Err(httparse::Error::TooManyHeaders) => Err(HeadError::TooLarge),
        Err(httparse::Error::Version) => Err(HeadError::Version),
        Err(_) => Err(HeadError::NotHttp),
    }
}

/// Header lines: names and values, in their order.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Fields(Vec<(String, Vec<u8>)>);

/// There are several lines where one is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Repeated;

impl Fields {
    fn new(headers: &[Header<'_>]) -> Self {
        Self(headers.iter().map(|header| (header.name.into(), header.value.trim_ascii().into())).collect())
    }

    /// The values of all lines with this name.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.0.iter().filter(move |(ours, _)| ours.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_slice())
    }

    /// The value of the only line with this name, if there is one.
    pub(super) fn one(&self, name: &str) -> Result<Option<&[u8]>, Repeated> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            _ => Err(Repeated),
        }
    }

    /// The elements of a list, over all its lines (RFC 9110, sections 5.3 and 5.6.1).
    pub(super) fn list(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.all(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|element| !element.is_empty())
    }

    /// Whether a list has this token in it, in any case.
    pub(super) fn has_token(&self, name: &str, token: &str) -> bool {
        self.list(name).any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
    }
}
