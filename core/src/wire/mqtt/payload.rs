//! Bytes of the application.

use bytes::Bytes;
use core::fmt;
use core::ops::Deref;

/// Bytes that are borrowed, such as from what came, or shared.
#[derive(Clone)]
pub enum Payload<'a> {
    /// [`Payload::into_bytes`] copies them.
    Borrowed(&'a [u8]),
    /// Nobody copies them.
    Shared(Bytes),
}

impl Payload<'_> {
    /// None.
    pub const EMPTY: Self = Payload::Borrowed(&[]);

    /// The bytes, copied if they are borrowed.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            Self::Shared(bytes) => bytes,
        }
    }

    /// The same, with a copy of what was borrowed.
    #[must_use]
    pub fn into_owned(self) -> Payload<'static> {
        Payload::Shared(self.into_bytes())
    }
}

impl Default for Payload<'_> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Deref for Payload<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl PartialEq for Payload<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Payload<'_> {}

impl fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<'a> From<&'a [u8]> for Payload<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Borrowed(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Payload<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::Borrowed(bytes)
    }
}

impl<'a> From<&'a str> for Payload<'a> {
    fn from(text: &'a str) -> Self {
        Self::Borrowed(text.as_bytes())
    }
}

impl From<Bytes> for Payload<'_> {
    fn from(bytes: Bytes) -> Self {
        Self::Shared(bytes)
    }
}
