//! A listener without file descriptors. Alone in its process, because it takes them all.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod support;

use std::fs::File;
use std::net::TcpStream;

use keepbeat_tokio::Event;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::*;

#[tokio::test]
async fn a_listener_without_descriptors_serves_those_it_has_and_does_not_spin() {
    let listener = listen(server().liveness(beats(100, 100))).await;
    let link = link(&listener, client("a").liveness(beats(100, 100)));
    up(&link).await;
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(100), ..limit }).unwrap();
    let mut files: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    drop(files.pop());
    // The operating system connects it, and the listener cannot accept it.
    let waiting = TcpStream::connect(listener.local_addr()).unwrap();
    assert!(File::open("/dev/null").is_err());
    let before = listener.traffic().wakes;
    for number in 0..20_u32 {
        until(&link, |event| match event {
            Event::Rtt(_) => Some(()),
            Event::Down { report, .. } => panic!("{report}"),
            _ => None,
        })
        .await;
        link.send(number.to_be_bytes().to_vec()).await.unwrap();
        assert_eq!(server_message(&listener).await, number);
    }
    let wakes = listener.traffic().wakes - before;
    assert!(wakes < 400, "{wakes} wakes in two seconds");
    assert_eq!(listener.connections(), 1);
    drop(files);
    within(async {
        while listener.connections() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(waiting);
}
