//! A process that is killed while it writes to a store loses nothing of which it knew that it was written.
//!
//! It is this program, started again with a directory as its argument: it applies numbered batches and prints each number when it
//! is written.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

use std::io::{BufRead as _, BufReader, Write as _, stdout};
use std::path::Path;
use std::process::{Command, Stdio};

use keepbeat_adapter::store::{FileStore, FileStoreOptions, Fsync};
use keepbeat_core::entropy::Prng;
use keepbeat_core::session::{Change, Room, SessionStore as _, StoreKey};

/// So many of the last batches live.
const ALIVE: u64 = 30;

fn main() {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next(), arguments.next()) {
        (Some(word), Some(directory)) if word == "write-to" => write(Path::new(&directory)),
        // As every test: `--list` and the like.
        (Some(word), _) if word == "--list" => {}
        _ => a_killed_process_loses_nothing_that_it_knew_to_be_written(),
    }
}

fn a_killed_process_loses_nothing_that_it_knew_to_be_written() {
    let directory = std::env::temp_dir().join(format!("keepbeat-killed-{}", std::process::id()));
    let seed = std::env::var("KEEPBEAT_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("KEEPBEAT_SEED={seed}");
    let mut prng = Prng::new(seed);
    let (mut cuts, mut newest) = (0, 0);
    for _ in 0..40 {
        let told = kill_after(prng.between(0, 399), &directory);
        let store = open(&directory);
        cuts += u64::from(store.cut() > 0);
        let there = check(store);
        assert!(there >= told.unwrap_or(newest), "{there} is the last one there, and {told:?} was known to be written");
        newest = there;
    }
    std::fs::remove_dir_all(&directory).unwrap();
    println!("{newest} batches; {cuts} of 40 logs had a torn end");
}

/// Lets a process write, kills it when it has told of so many batches, and returns the last of which it told.
fn kill_after(lines: u64, directory: &Path) -> Option<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("write-to")
        .arg(directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let (mut line, mut told) = (String::new(), None);
    for count in 0.. {
        if count == lines {
            child.kill().unwrap();
        }
        line.clear();
        output.read_line(&mut line).unwrap();
        let Some(number) = line.strip_suffix('\n') else { break };
        told = Some(number.parse().unwrap());
    }
    let status = child.wait().unwrap();
    assert!(!status.success(), "it ends by itself only if it fails, and then without success: {status}");
    #[cfg(unix)]
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "it was killed, and did not fail");
    told
}

fn open(directory: &Path) -> FileStore {
    FileStoreOptions::new().fsync(Fsync::Never).open(directory).unwrap()
}

/// The last batch there. Those before it are there as well, as far as they are to live.
fn check(mut store: FileStore) -> u64 {
    let entries = store.load().unwrap();
    let last = entries.last().map_or(0, |(key, _)| key.number);
    let numbers: Vec<u64> = entries.iter().map(|(key, _)| key.number).collect();
    assert_eq!(numbers, (last.saturating_sub(ALIVE) + 1..=last).collect::<Vec<_>>());
    for (key, value) in entries {
        assert_eq!(value, body(key.number));
    }
    last
}

fn write(directory: &Path) {
    let mut store = open(directory);
    let first = store.load().unwrap().last().map_or(1, |(key, _)| key.number + 1);
    for number in first.. {
        let key = |number| StoreKey { room: Room::Message, number };
        let put = Change::Put { key: key(number), value: body(number).into() };
        store.apply(&[put, Change::RemoveThrough { key: key(number.saturating_sub(ALIVE)) }]).unwrap();
        // As one write: what is told is told as a whole.
        stdout().write_all(format!("{number}\n").as_bytes()).unwrap();
    }
}

fn body(number: u64) -> Vec<u8> {
    vec![number as u8; (number * 7919 % 6000) as usize]
}
