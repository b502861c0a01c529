//! Everything that fuzzing found worth keeping, and noise, through the fuzz targets, without a fuzzer.
//!
//! `fuzz/corpus/TARGET` are inputs that reach different code, `fuzz/regressions/TARGET` those that once failed. See
//! `docs/fuzzing.md`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::{fs, io};

use keepbeat_core::entropy::Prng;
use keepbeat_core::fuzzing::{TARGETS, Target};
use keepbeat_core::sim::for_each_seed_of;

/// The files of one kind for one target.
fn inputs(kind: &str, target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(kind).join(target);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => panic!("{}: {error}", folder.display()),
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn replay(target: Target, path: &Path, input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
        eprintln!("{} failed", path.display());
        resume_unwind(panic);
    }
}

#[test]
fn what_the_corpus_holds_passes() {
    for (name, target) in TARGETS {
        let corpus = inputs("corpus", name);
        assert!(corpus.len() >= 20, "{} inputs of {name}: the test looks in the wrong place", corpus.len());
        corpus.iter().for_each(|(path, input)| replay(target, path, input));
    }
}

/// As long as an input may be: work that grows with its square shows here.
#[test]
fn long_streams_pass() {
    const REPEATED: u8 = 0b1110_0000;
    for (kind, name) in [(0x20, "a message of 112 KiB"), (0x22, "a text of 112 KiB")] {
        let message = [&[REPEATED | 0b1101, 7, kind, 0x80, 0x80, 7, 1][..], &[b'm'; 2000]].concat();
        replay(keepbeat_core::fuzzing::frame, Path::new(name), &message);
    }
    for (path, mut input) in inputs("corpus", "frame") {
        if let Some(options) = input.first_mut() {
            *options |= REPEATED;
        }
        replay(keepbeat_core::fuzzing::frame, &path, &input);
    }
}

#[test]
fn what_once_failed_passes() {
    for (name, target) in TARGETS {
        inputs("regressions", name).iter().for_each(|(path, input)| replay(target, path, input));
    }
}

#[test]
fn every_folder_of_inputs_belongs_to_a_target() {
    for kind in ["corpus", "regressions"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(kind);
        for entry in fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name();
            assert!(TARGETS.iter().any(|(target, _)| name == *target), "nothing replays fuzz/{kind}/{name:?}");
        }
    }
}

#[test]
fn noise_passes() {
    for (name, target) in TARGETS {
        eprintln!("{name}");
        for_each_seed_of("KEEPBEAT_NOISE", 200, |seed| {
            let prng = &mut Prng::new(seed);
            let mut input = vec![0; prng.between(0, 300) as usize];
            keepbeat_core::entropy::Entropy::fill(prng, &mut input);
            target(&input);
        });
    }
}

#[test]
fn mixtures_of_what_the_corpus_holds_pass() {
    for (name, target) in TARGETS {
        let corpus = inputs("corpus", name);
        for_each_seed_of("KEEPBEAT_NOISE", 200, |seed| {
            let prng = &mut Prng::new(seed);
            let one = |prng: &mut Prng| &corpus[prng.between(0, corpus.len() as u64 - 1) as usize].1;
            let (front, back) = (one(prng), one(prng));
            let mut input = front[..prng.between(0, front.len() as u64) as usize].to_vec();
            input.extend_from_slice(&back[prng.between(0, back.len() as u64) as usize..]);
            for _ in 0..prng.between(0, 4) {
                let at = prng.between(0, input.len() as u64) as usize;
                if let Some(byte) = input.get_mut(at) {
                    *byte = prng.next_u64() as u8;
                }
            }
            target(&input);
        });
    }
}
