//! A message: text or binary.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Deref;

use bytes::Bytes;

/// A message, whole: binary, or a text. The payload of a text is UTF-8, always. Cheap to clone; derefs to its bytes.
/// The default is binary and empty.
///
/// Bytes and vectors become binary messages, strings become texts:
///
/// ```
/// use keepbeat_core::session::Message;
///
/// assert!(Message::from("21.5").is_text());
/// assert!(!Message::from(vec![0x15, 0x05]).is_text());
/// assert_eq!(Message::from("21.5").as_text(), Some("21.5"));
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Message {
    /// [`TEXT`], [`BINARY`], or what a protocol with more kinds of messages makes of it. In the spare values of a `bool`, every enum around a message would keep its tag, and to find out that
    /// a frame is a beat would take a third longer.
    kind: u8,
    payload: Bytes,
}

const BINARY: u8 = 0;
const TEXT: u8 = 1;

impl Message {
    /// A binary message.
    #[must_use]
    pub fn binary(payload: impl Into<Bytes>) -> Self {
        Self { kind: BINARY, payload: payload.into() }
    }

    /// A text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self { kind: TEXT, payload: Bytes::from(text.into()) }
    }

    /// A text, from bytes that are shared and not copied.
    ///
    /// # Errors
    /// The bytes are not UTF-8.
    pub fn text_from(payload: Bytes) -> Result<Self, NotUtf8> {
        match core::str::from_utf8(&payload) {
            Ok(_) => Ok(Self { kind: TEXT, payload }),
            Err(error) => Err(NotUtf8 { valid_up_to: error.valid_up_to() }),
        }
    }

    /// Without a check: for a payload whose UTF-8 was checked as it came.
    pub(crate) const fn checked(text: bool, payload: Bytes) -> Self {
        Self { kind: if text { TEXT } else { BINARY }, payload }
    }

    /// Of a kind that a protocol has beside these two, numbered from 2.
    pub(crate) const fn of_kind(kind: u8, payload: Bytes) -> Self {
        Self { kind, payload }
    }

    pub(crate) const fn kind(&self) -> u8 {
        self.kind
    }

    /// As a store keeps it: the kind, and the payload behind it.
    pub(crate) fn to_stored(&self) -> Bytes {
        [&[self.kind][..], &self.payload].concat().into()
    }

    /// As a store kept it. `None` if it is no message.
    pub(crate) fn restored(stored: &Bytes) -> Option<Self> {
        match *stored.first()? {
            TEXT => Self::text_from(stored.slice(1..)).ok(),
            kind => Some(Self { kind, payload: stored.slice(1..) }),
        }
    }

    /// Whether it is bytes or a text, and nothing that a protocol made of it.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        matches!(self.kind, BINARY | TEXT)
    }

    /// Whether it is a text.
    #[must_use]
    pub const fn is_text(&self) -> bool {
        self.kind == TEXT
    }

    /// The text; `None` if the message is binary.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        if self.is_text() { core::str::from_utf8(&self.payload).ok() } else { None }
    }

    /// The bytes.
    #[must_use]
    pub const fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The bytes, without a copy.
    #[must_use]
    pub fn into_payload(self) -> Bytes {
        self.payload
    }
}

impl Deref for Message {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.payload
    }
}

impl From<Bytes> for Message {
    fn from(payload: Bytes) -> Self {
        Self { kind: BINARY, payload }
    }
}

impl From<Vec<u8>> for Message {
    fn from(payload: Vec<u8>) -> Self {
        Self::binary(payload)
    }
}

impl From<&'static [u8]> for Message {
    fn from(payload: &'static [u8]) -> Self {
        Self::binary(payload)
    }
}

impl<const N: usize> From<&'static [u8; N]> for Message {
    fn from(payload: &'static [u8; N]) -> Self {
        Self::binary(&payload[..])
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl From<&'static str> for Message {
    fn from(text: &'static str) -> Self {
        Self { kind: TEXT, payload: Bytes::from_static(text.as_bytes()) }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_text() {
            Some(text) => text.fmt(f),
            None => self.payload.fmt(f),
        }
    }
}

/// Bytes that were to be a text are not UTF-8. Send them as a binary message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotUtf8 {
    /// So many bytes at the front are.
    pub valid_up_to: usize,
}

impl fmt::Display for NotUtf8 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the text is not UTF-8 from byte {} on; send it as a binary message", self.valid_up_to)
    }
}

impl core::error::Error for NotUtf8 {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_utf8() {
        let text = Message::text_from(Bytes::from_static("beat ❤".as_bytes())).unwrap();
        assert_eq!((text.is_text(), text.as_text()), (true, Some("beat ❤")));
        assert_eq!(text, Message::text("beat ❤"));
        assert_eq!(Message::text_from(Bytes::from_static(b"be\xFFt")), Err(NotUtf8 { valid_up_to: 2 }));
        let binary = Message::binary(&b"beat"[..]);
        assert_eq!((binary.is_text(), binary.as_text()), (false, None));
        assert_eq!(&binary.into_payload()[..], b"beat");
    }
}
