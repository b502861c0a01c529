//! Devices by their ids: as hashes, which take a third of the room.

use alloc::collections::BTreeSet;
use core::fmt;

use super::presence::DeviceKey;
use crate::entropy::Entropy;
use crate::wire::DeviceId;

/// Which keys there are under the hash of an id. Two ids may have the same: whoever asks looks at the devices.
pub(super) struct Index {
    /// Secret, so that nobody can choose ids with the same hash.
    point: u64,
    keys: BTreeSet<(u32, DeviceKey)>,
}

impl Index {
    pub(super) fn new(entropy: &mut dyn Entropy) -> Self {
        let mut point = [0; 8];
        entropy.fill(&mut point);
        Self { point: u64::from_le_bytes(point) & PRIME, keys: BTreeSet::new() }
    }

    pub(super) fn insert(&mut self, id: &DeviceId, key: DeviceKey) {
        self.keys.insert((self.hash(id), key));
    }

    pub(super) fn remove(&mut self, id: &DeviceId, key: DeviceKey) {
        self.keys.remove(&(self.hash(id), key));
    }

    /// The keys that may be those of this id: mostly one or none.
    pub(super) fn find(&self, id: &DeviceId) -> impl Iterator<Item = DeviceKey> {
        let hash = self.hash(id);
        // Two ends would be looked for twice.
        self.keys.range((hash, 0)..).take_while(move |(other, _)| *other == hash).map(|(_, key)| *key)
    }

    /// The polynomial whose coefficients are the id, at the secret point (Carter and Wegman 1979): of two ids that were chosen
    /// without knowing the point, the hashes are the same with a probability below 2^-26.
    fn hash(&self, id: &DeviceId) -> u32 {
        let id = id.as_str().as_bytes();
        let words = id.chunks(7).map(|word| word.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)));
        words.fold(id.len() as u64, |hash, word| times(hash, self.point) + word) as u32
    }
}

/// A prime of Mersenne's: to divide by it takes a shift and an addition.
const PRIME: u64 = (1 << 61) - 1;

/// The product modulo [`PRIME`], or that and [`PRIME`]. Both factors have at most 62 bits.
const fn times(one: u64, other: u64) -> u64 {
    let product = one as u128 * other as u128;
    let sum = (product as u64 & PRIME) + (product >> 61) as u64;
    (sum & PRIME) + (sum >> 61)
}

impl fmt::Debug for Index {
    /// Leaves out the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").field("len", &self.keys.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Prng;
    use alloc::format;
    use alloc::vec::Vec;

    #[test]
    fn an_id_is_found_among_many_and_hardly_ever_another_one() {
        let mut index = Index::new(&mut Prng::new(1));
        let ids: Vec<_> = (0..10_000).map(|number| DeviceId::new(&format!("device-{number}")).unwrap()).collect();
        for (key, id) in ids.iter().enumerate() {
            index.insert(id, key as DeviceKey);
        }
        let found: usize = ids.iter().map(|id| index.find(id).count()).sum();
        assert!((10_000..10_010).contains(&found), "{found}");
        for (key, id) in ids.iter().enumerate() {
            assert!(index.find(id).any(|found| found == key as DeviceKey));
            index.remove(id, key as DeviceKey);
            assert!(index.find(id).all(|found| found != key as DeviceKey));
        }
        assert!(index.keys.is_empty());
    }

    #[test]
    fn ids_that_have_the_same_hash_are_both_found() {
        // At this point, the hash is the sum of the words and the length.
        let mut index = Index { point: 1, keys: BTreeSet::new() };
        let (one, other) = (DeviceId::new("abcdefgABCDEFG").unwrap(), DeviceId::new("ABCDEFGabcdefg").unwrap());
        index.insert(&one, 3);
        index.insert(&other, 5);
        assert_eq!((index.find(&one).collect::<Vec<_>>(), index.find(&other).count()), (alloc::vec![3, 5], 2));
    }

    #[test]
    fn the_product_is_that_of_the_prime_field() {
        let mut prng = Prng::new(7);
        for _ in 0..1000 {
            let (one, other) = (prng.next_u64() >> 2, prng.next_u64() >> 2);
            let expected = (u128::from(one) * u128::from(other) % u128::from(PRIME)) as u64;
            assert_eq!(times(one, other) % PRIME, expected);
            assert!(times(one, other) < PRIME + 4);
        }
    }
}
