//! Devices by their ids: as hashes, which take a third of the room.

use alloc::collections::BTreeSet;
use core::fmt;

use siphasher::sip::SipHasher13;

use super::presence::DeviceKey;
use crate::entropy::Entropy;
use crate::wire::DeviceId;

/// Which keys there are under the hash of an id. Two ids may have the same: whoever asks looks at the devices.
pub(super) struct Index {
    /// Keyed in secret, so that nobody can choose ids with the same hash.
    hasher: SipHasher13,
    keys: BTreeSet<(u32, DeviceKey)>,
}

impl Index {
    pub(super) fn new(entropy: &mut dyn Entropy) -> Self {
        let mut key = [0; 16];
        entropy.fill(&mut key);
        Self { hasher: SipHasher13::new_with_key(&key), keys: BTreeSet::new() }
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

    fn hash(&self, id: &DeviceId) -> u32 {
        self.hasher.hash(id.as_str().as_bytes()) as u32
    }
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

        // Two that have the same hash are both found.
        let hash = index.hash(&ids[0]);
        index.keys.extend([(hash, 3), (hash, 5), (hash.wrapping_add(1), 7)]);
        assert_eq!(index.find(&ids[0]).collect::<Vec<_>>(), [3, 5]);
    }
}
