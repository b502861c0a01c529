//! A listener without file descriptors. Alone in its process, because it takes them all.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod support;

use std::fs::File;
use std::net::TcpStream;

use keepbeat_mio::Event;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::*;

#[test]
fn a_listener_without_descriptors_serves_those_it_has_and_does_not_spin() {
    let mut bench = Bench::new();
    let (listener, address) = bench.listen(server().liveness(beats(100, 100)));
    let link = bench.open(address, client("a").liveness(beats(100, 100)));
    bench.up(link);
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(100), ..limit }).unwrap();
    let mut files: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    drop(files.pop());
    // The operating system connects it, and the listener cannot accept it.
    let waiting = TcpStream::connect(address).unwrap();
    assert!(File::open("/dev/null").is_err());
    let before = bench.driver().traffic().wakes;
    for number in 0..20_u32 {
        bench.link_until(link, |event| match event {
            Event::Rtt(_) => Some(()),
            Event::Down { report, .. } => panic!("{report}"),
            _ => None,
        });
        bench.link(link).send(number.to_be_bytes().to_vec()).unwrap();
        assert_eq!(bench.server_message(listener), number);
    }
    let wakes = bench.driver().traffic().wakes - before;
    assert!(wakes < 600, "{wakes} wakes in two seconds");
    assert_eq!(bench.listener(listener).connections(), 1);
    drop(files);
    // No further event comes for it.
    bench.turn_until(|bench| (bench.listener(listener).connections() == 2).then_some(()));
    drop(waiting);
}
