use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use keepbeat_core::entropy::Prng;
use keepbeat_core::session::{MemoryStore, Room};

use super::log::{Damage, HEAD, read};
use super::*;

/// A directory that goes when the test is over.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("keepbeat-store-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(name))
    }

    fn open(&self) -> FileStore {
        self.try_open().unwrap()
    }

    fn try_open(&self) -> Result<FileStore, StoreError> {
        FileStoreOptions::new().fsync(Fsync::Never).open(&self.0)
    }

    fn log(&self) -> PathBuf {
        self.0.join(LOG)
    }

    /// With a log of these bytes.
    fn of(log: &[u8]) -> Self {
        let scratch = Self::new();
        fs::create_dir(&scratch.0).unwrap();
        fs::write(scratch.log(), log).unwrap();
        scratch
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn key(number: u64) -> StoreKey {
    StoreKey { room: Room::Message, number }
}

fn put(number: u64, value: impl Into<Bytes>) -> Change {
    Change::Put { key: key(number), value: value.into() }
}

fn contents(store: &mut impl SessionStore) -> Vec<(StoreKey, Bytes)> {
    store.load().unwrap()
}

/// What an outbox and its neighbours do, in short.
fn few_batches() -> Vec<Vec<Change>> {
    let name = StoreKey { room: Room::Name, number: 0 };
    vec![
        vec![put(1, "first")],
        vec![put(2, "second"), put(3, ""), Change::Put { key: name, value: "client-7".into() }],
        vec![Change::RemoveThrough { key: key(2) }],
        vec![put(3, "third, again"), put(4, "fourth")],
        vec![Change::Remove { key: name }, Change::Remove { key: key(99) }],
        vec![put(5, vec![0; 40])],
        vec![put(6, "last")],
    ]
}

/// The log of these batches; where each of them ends, and what is in the store then.
fn log_of(batches: &[Vec<Change>]) -> (Vec<u8>, Vec<(usize, MemoryStore)>) {
    let scratch = Scratch::new();
    let (mut store, mut model) = (scratch.open(), MemoryStore::default());
    let mut ends = vec![(store.length as usize, model.clone())];
    for batch in batches {
        store.apply(batch).unwrap();
        model.apply(batch).unwrap();
        ends.push((store.length as usize, model.clone()));
    }
    (fs::read(scratch.log()).unwrap(), ends)
}

#[test]
fn what_was_applied_is_there_when_it_is_opened_again() {
    for fsync in [Fsync::Always, Fsync::Never] {
        let (scratch, mut prng, mut model) = (Scratch::new(), Prng::new(7), MemoryStore::default());
        let nested = scratch.0.join("made/by/itself");
        for _ in 0..8 {
            let mut store = FileStoreOptions::new().fsync(fsync).open(&nested).unwrap();
            assert_eq!((contents(&mut store), store.cut()), (contents(&mut model), 0));
            for _ in 0..60 {
                let batch: Vec<Change> = (0..=prng.between(0, 2)).map(|_| any_change(&mut prng)).collect();
                store.apply(&batch).unwrap();
                model.apply(&batch).unwrap();
                let length = fs::metadata(nested.join(LOG)).unwrap().len();
                assert_eq!(length, store.length);
                assert!(length <= 2 * store.bytes().max(store.entries.bytes) + SLACK + 60_000, "{length} bytes");
            }
            assert_eq!(contents(&mut store), contents(&mut model));
        }
    }
}

fn any_change(prng: &mut Prng) -> Change {
    let rooms = [Room::Message, Room::Received, Room::Taken, Room::Subscription, Room::Name];
    let key = StoreKey { room: rooms[prng.between(0, 4) as usize], number: prng.between(0, 19) };
    match prng.between(0, 3) {
        0 => Change::Remove { key },
        1 => Change::RemoveThrough { key },
        _ => Change::Put { key, value: vec![7; prng.between(0, 7999) as usize].into() },
    }
}

#[test]
fn wherever_the_log_is_cut_there_is_what_was_whole_before() {
    let (log, ends) = log_of(&few_batches());
    for length in HEAD..=log.len() {
        let scratch = Scratch::of(&log[..length]);
        let (whole, model) = ends.iter().rev().find(|(end, _)| *end <= length).unwrap();
        let mut store = scratch.open();
        assert_eq!(store.cut(), (length - whole) as u64);
        assert_eq!(contents(&mut store), contents(&mut model.clone()), "{length} bytes");
        // And it goes on from there.
        store.apply(&[put(7, "after")]).unwrap();
        drop(store);
        let mut model = model.clone();
        model.apply(&[put(7, "after")]).unwrap();
        let mut store = scratch.open();
        assert_eq!((contents(&mut store), store.cut()), (contents(&mut model), 0));
    }
    for length in 0..HEAD {
        assert_eq!(read(&log[..length]).unwrap_err(), Damage::NotOurs);
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let (log, ends) = log_of(&few_batches());
    let last = ends[ends.len() - 2].0;
    for place in 0..log.len() {
        for bit in 0..8 {
            let mut log = log.clone();
            log[place] ^= 1 << bit;
            match read(&log) {
                Err(Damage::NotOurs) => assert!(place < HEAD),
                Err(Damage::Middle { broken, whole }) => {
                    assert!(broken <= place && place < whole && place < last, "{place}: {broken}, {whole}");
                }
                Err(Damage::Unknown { .. }) => panic!("{place}: it was taken for whole"),
                // As if it had not been written as a whole.
                Ok(read) => assert!(place >= last && read.whole == last, "{place} is not noticed"),
            }
        }
    }
}

#[test]
fn damage_in_the_middle_is_an_error_that_says_what_to_do() {
    let (mut log, ends) = log_of(&few_batches());
    let (broken, whole) = (ends[1].0, ends[2].0);
    log[broken + 20] ^= 1;
    let scratch = Scratch::of(&log);
    let problem = scratch.try_open().unwrap_err().to_string();
    assert!(problem.contains(&format!("at byte {broken}, and goes on at byte {whole}")), "{problem}");
    assert_eq!(fs::read(scratch.log()).unwrap(), log, "nothing was changed");
    // As it advises.
    fs::write(scratch.log(), &log[..broken]).unwrap();
    assert_eq!(contents(&mut scratch.open()), contents(&mut ends[1].1.clone()));
}

#[test]
fn a_message_that_looks_like_a_log_is_none() {
    let (log, _) = log_of(&few_batches());
    let (outer, ends) = log_of(&[vec![put(1, "one")], vec![put(2, log)]]);
    let torn = read(&outer[..outer.len() - 1]).unwrap();
    assert_eq!(torn.whole, ends[1].0);
}

/// A log that is written anew before the next batch. Three entries live in it.
fn overgrown() -> (Vec<u8>, Vec<(usize, MemoryStore)>) {
    let batches: Vec<Vec<Change>> = (0..23).map(|number| vec![put(number % 3, vec![number as u8; 4000])]).collect();
    let (log, ends) = log_of(&batches);
    assert!(log.len() > 23 * 4000 && log.len() as u64 > 2 * 3 * 4026 + SLACK);
    (log, ends)
}

#[test]
fn a_log_that_is_written_anew_may_be_interrupted_at_each_step() {
    let (old, ends) = overgrown();
    let model = contents(&mut ends.last().unwrap().1.clone());
    let new = {
        let scratch = Scratch::of(&old);
        scratch.open().compact().unwrap();
        fs::read(scratch.log()).unwrap()
    };
    assert!(new.len() < old.len() / 2);
    // While it is written; before it is renamed; after that.
    let before = (0..=new.len()).step_by(499).chain([new.len()]).map(|length| (&old, Some(&new[..length])));
    for (log, next) in before.chain([(&new, None)]) {
        let scratch = Scratch::of(log);
        if let Some(next) = next {
            fs::write(scratch.0.join(NEXT), next).unwrap();
        }
        let mut store = scratch.open();
        assert_eq!((contents(&mut store), store.cut()), (model.clone(), 0));
        assert!(!scratch.0.join(NEXT).exists());
        store.apply(&[put(9, "after")]).unwrap();
        drop(store);
        assert_eq!(contents(&mut scratch.open()).len(), 4);
    }
}

#[test]
fn a_log_that_cannot_be_written_anew_stays_as_it_is() {
    let (old, _) = overgrown();
    let scratch = Scratch::of(&old);
    let mut store = scratch.open();
    fs::create_dir(scratch.0.join(NEXT)).unwrap();
    let problem = store.apply(&[put(9, "refused")]).unwrap_err().to_string();
    assert!(problem.contains("log.new cannot be removed"), "{problem}");
    assert_eq!(fs::read(scratch.log()).unwrap(), old);
    fs::remove_dir(scratch.0.join(NEXT)).unwrap();
    store.apply(&[put(9, "taken")]).unwrap();
    assert_eq!(contents(&mut store).len(), 4);
    assert!(store.length < SLACK);
}

#[test]
fn what_cannot_be_written_is_not_there_and_nothing_is_written_behind_it() {
    let scratch = Scratch::new();
    let mut store = scratch.open();
    store.apply(&[put(1, "one")]).unwrap();
    // Neither can it be written nor cut.
    store.file = File::open(scratch.log()).unwrap();
    let problem = store.apply(&[put(2, "two"), Change::Remove { key: key(1) }]).unwrap_err();
    assert!(problem.to_string().contains("log cannot be written"), "{problem}");
    assert_eq!(contents(&mut store), [(key(1), "one".into())]);
    assert_eq!(store.apply(&[put(3, "three")]).unwrap_err(), problem);
    drop(store);
    assert_eq!(contents(&mut scratch.open()), [(key(1), "one".into())]);
}

#[test]
fn more_than_its_bound_is_refused_and_less_is_not() {
    let scratch = Scratch::new();
    let limited = |bytes| FileStoreOptions::new().max_bytes(bytes).open(&scratch.0).unwrap();
    let mut store = limited(2 * 26 + 8);
    store.apply(&[put(1, "four"), put(2, "four")]).unwrap();
    assert_eq!(store.bytes(), 2 * 26 + 8);
    let problem = store.apply(&[put(2, "fives")]).unwrap_err().to_string();
    assert!(problem.contains("61 bytes would live in it, and max_bytes is 60"), "{problem}");
    assert_eq!(contents(&mut store), [(key(1), "four".into()), (key(2), "four".into())]);
    store.apply(&[put(3, "four"), Change::Remove { key: key(1) }]).unwrap();
    drop(store);
    // One that is above its bound may shrink.
    let mut store = limited(10);
    assert!(store.apply(&[put(4, "")]).is_err());
    store.apply(&[put(3, "3")]).unwrap();
    store.apply(&[Change::Remove { key: key(2) }]).unwrap();
    assert_eq!(contents(&mut store), [(key(3), "3".into())]);
}

#[test]
fn only_one_has_it_open_at_a_time() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let problem = scratch.try_open().unwrap_err().to_string();
    assert!(problem.contains("another link has it open"), "{problem}");
    drop(store);
    scratch.open();
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let scratch = Scratch::of(b"");
    let problem = FileStore::open(scratch.log().join("below")).unwrap_err().to_string();
    assert!(problem.contains("log/below"), "{problem}");
    // And what is no log is left alone.
    assert!(scratch.try_open().unwrap_err().to_string().contains("does not begin as a log"));
}

#[cfg(unix)]
#[test]
fn nobody_else_reads_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let scratch = Scratch::new();
    scratch.open();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&scratch.log()), mode(&scratch.0.join(LOCK))), (0o600, 0o600));
}
