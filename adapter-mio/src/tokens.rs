//! Which tokens are ours, and what they say.

use mio::Token;

use crate::slab::Key;

/// Bits of a token for the tag; the rest is shared between the generation (above) and the index of a slot.
const TAG_BITS: u32 = 8;
const INDEX_BITS: u32 = if usize::BITS >= 64 { 28 } else { 16 };
const GENERATION_BITS: u32 = usize::BITS - TAG_BITS - INDEX_BITS;

/// The part of a `Poll`'s tokens that a [`Driver`](crate::Driver) may use: those whose highest 8 bits are one tag.
///
/// Everybody else who registers with the same `Poll` takes tokens with other highest bits. Small numbers, as most programs
/// use them, have 0 there. In its tokens, the driver names a slot for a socket (28 bits; on 32-bit machines 16) and how
/// often that slot was used before, so that a late event of a closed socket is not taken for one of its successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tokens {
    tag: u8,
}

impl Tokens {
    /// The tokens whose highest 8 bits are `tag`.
    #[must_use]
    pub const fn tagged(tag: u8) -> Self {
        Self { tag }
    }

    /// Whether a token is one of them.
    #[must_use]
    pub const fn contains(self, token: Token) -> bool {
        token.0 >> (usize::BITS - TAG_BITS) == self.tag as usize
    }

    /// The token of a socket. `None` if there are too many sockets.
    pub(crate) fn token(self, key: Key) -> Option<Token> {
        let (index, generation) = (key.index as usize, key.generation as usize);
        let generation = generation & low(GENERATION_BITS);
        let tag = (self.tag as usize) << (usize::BITS - TAG_BITS);
        (index <= low(INDEX_BITS)).then_some(Token(tag | generation << INDEX_BITS | index))
    }

    /// The index of a socket's slot.
    pub(crate) const fn index(token: Token) -> u32 {
        (token.0 & low(INDEX_BITS)) as u32
    }
}

const fn low(bits: u32) -> usize {
    (1 << bits) - 1
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn a_token_differs_by_tag_slot_and_generation() {
        let tokens = Tokens::tagged(0xA5);
        let key = Key { index: 7, generation: 3 };
        let token = tokens.token(key).unwrap();
        assert!(tokens.contains(token) && !Tokens::tagged(0xA4).contains(token));
        assert!(!tokens.contains(Token(7)) && Tokens::tagged(0).contains(Token(7)));
        assert_eq!(Tokens::index(token), 7);
        assert_ne!(tokens.token(Key { generation: 4, ..key }), Some(token));
        assert_ne!(tokens.token(Key { index: 8, ..key }), Some(token));
        assert!(tokens.contains(tokens.token(Key { generation: u32::MAX, ..key }).unwrap()));
    }

    #[test]
    fn more_sockets_than_tokens_are_refused() {
        let last = low(INDEX_BITS) as u32;
        assert!(Tokens::tagged(1).token(Key { index: last, generation: 0 }).is_some());
        assert_eq!(Tokens::tagged(1).token(Key { index: last + 1, generation: 0 }), None);
    }
}
