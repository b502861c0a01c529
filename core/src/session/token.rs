//! The secret of a session.

use core::fmt;

/// The secret that resumes a session: 128 random bits. Its `Debug` shows nothing of it.
#[derive(Clone, Copy)]
pub struct Token([u8; 16]);

impl Token {
    /// A token of these bytes, which must come from a strong generator.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes, to put on the wire.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl PartialEq for Token {
    /// Takes the same time wherever the two differ.
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }
}

impl Eq for Token {}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn a_token_does_not_show_itself() {
        assert_eq!(format!("{:?}", Token::new([7; 16])), "Token(..)");
        assert_ne!(Token::new([7; 16]), Token::new([8; 16]));
        assert_eq!(Token::new([7; 16]), Token::new([7; 16]));
    }
}
