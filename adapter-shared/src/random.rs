//! Randomness for the core: the operating system's.

use std::hash::{BuildHasher, RandomState};
use std::io;

use keepbeat_core::entropy::Entropy;

/// A number that differs from process to process and from call to call: the seed of a link or listener.
#[must_use]
pub fn seed() -> u64 {
    getrandom::u64().unwrap_or_else(|_| RandomState::new().hash_one(0))
}

/// The operating system's generator. Once it has worked it goes on working; should it not, hashes under keys that nobody else
/// knows take its place. It holds nothing, so that every link can have one.
///
/// # Errors
/// The operating system has no random numbers.
pub fn entropy() -> io::Result<impl FnMut(&mut [u8]) + Send> {
    getrandom::fill(&mut [0; 16])?;
    Ok(|target: &mut [u8]| {
        if getrandom::fill(target).is_err() {
            let keys = RandomState::new();
            for (number, chunk) in target.chunks_mut(8).enumerate() {
                chunk.copy_from_slice(&keys.hash_one(number).to_le_bytes()[..chunk.len()]);
            }
        }
    })
}

/// The same, boxed for a machine of the core. If the operating system has no random numbers, `None`.
#[must_use]
pub fn boxed_entropy() -> Option<Box<dyn Entropy + Send>> {
    entropy().ok().map(|entropy| Box::new(entropy) as _)
}
