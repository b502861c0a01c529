//! Proof that the other end speaks WebSocket (RFC 6455, section 4.2.2, step 5.4).

use alloc::string::String;

use sha1::{Digest, Sha1};

use crate::tunnel::base64;

const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A key made of 16 random bytes.
pub(super) fn key(random: [u8; 16]) -> String {
    base64(&random)
}

/// The answer to a key.
pub(super) fn accept(key: &[u8]) -> String {
    base64(&Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

/// Whether a key is 16 bytes in base64: 22 digits and two signs of padding.
pub(super) fn is_key(key: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    matches!(key.split_at_checked(22), Some((digits, b"==")) if digits.iter().all(is_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification() {
        assert!(is_key(b"dGhlIHNhbXBsZSBub25jZQ=="));
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_key_is_16_bytes() {
        assert!(is_key(key([0xFF; 16]).as_bytes()) && is_key(key([0; 16]).as_bytes()));
        for key in [
            "",
            "dGhlIHNhbXBsZSBub25jZQ=",
            "dGhlIHNhbXBsZSBub25jZ===",
            "dGhlIHNhbXBsZSBub25jZQ===",
            "*GhlIHNhbXBsZSBub25jZQ==",
        ] {
            assert!(!is_key(key.as_bytes()), "{key}");
        }
    }
}
