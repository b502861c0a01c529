//! Randomness for the core: the operating system's.

use std::hash::{BuildHasher, RandomState};
use std::io;

/// A number that differs from process to process and from call to call: the seed of a link or listener.
#[must_use]
pub fn seed() -> u64 {
    getrandom::u64().unwrap_or_else(|_| RandomState::new().hash_one(0))
}

/// The operating system's generator. Once it has worked it goes on working; should it not, keyed hashes that began with
/// its numbers take its place.
///
/// # Errors
/// The operating system has no random numbers.
pub fn entropy() -> io::Result<impl FnMut(&mut [u8]) + Send> {
    getrandom::fill(&mut [0; 16])?;
    let (keys, mut drawn) = (RandomState::new(), 0_u64);
    Ok(move |target: &mut [u8]| {
        if getrandom::fill(target).is_err() {
            for chunk in target.chunks_mut(8) {
                drawn = drawn.wrapping_add(1);
                chunk.copy_from_slice(&keys.hash_one(drawn).to_le_bytes()[..chunk.len()]);
            }
        }
    })
}
