//! Connections: the processor time of one beat and its answer, both ends together.
//!
//! `cargo bench -p keepbeat-benches --bench connection [-- FILTER]`. Ids are `connection/GROUP/CONTENDER/LINKS`.
//!
//! | group | what is timed |
//! |---|---|
//! | `core` | a beat round trip without sockets: `ours` is `Client` and `Server` woken at their deadlines; `websocket` is tungstenite's ping and pong through two buffers in memory, without any deadline |
//! | `loopback` | the processor time, user and kernel, that a process with both ends uses, per beat answered; see `keepbeat_benches::loopback` for the contenders |
//!
//! In `loopback` the links are idle but for beats: they wait for most of the time, so the wall clock would say nothing. A
//! single link beats every 10 ms; of many, each beats every 100 ms, and beats may share a wake-up. Bytes per link are
//! measured by the bench `memory`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a measurement may fail loudly")]

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::mpsc::channel;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, SamplingMode};
use keepbeat_benches::loopback::{Clients, Contender};
use keepbeat_benches::process::{ProcessorTime, is_smoke, processor_time, raise_descriptor_limit};
use keepbeat_benches::ratios::Ratios;
use keepbeat_benches::town::Town;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket};
use tokio_tungstenite::tungstenite::{Error, Message};

fn main() {
    raise_descriptor_limit().unwrap();
    let ratios = Ratios::begin("connection");
    let criterion =
        Criterion::default().with_measurement(ProcessorTime).warm_up_time(Duration::from_millis(200)).nresamples(5_000);
    let mut criterion = criterion.sample_size(20).measurement_time(Duration::from_millis(600)).configure_from_args();
    core(&mut criterion);
    loopback(&mut criterion);
    criterion.final_summary();
    // Only `core` has `ours`.
    ratios.print(&["ours", "echo"]);
}

fn core(criterion: &mut Criterion<ProcessorTime>) {
    let mut group = criterion.benchmark_group("connection/core");
    let sizes: &[usize] = if is_smoke() { &[1, 1000] } else { &[1, 1000, 100_000] };
    for &links in sizes {
        let mut town = None;
        group.bench_function(BenchmarkId::new("ours", links), |bencher| {
            let town = town.get_or_insert_with(|| Town::new(links));
            bencher.iter(|| town.beat());
        });
    }
    for links in [1, 1000] {
        let mut pairs = None;
        group.bench_function(BenchmarkId::new("websocket", links), |bencher| {
            let (pairs, next) = pairs.get_or_insert_with(|| ((0..links).map(|_| Pair::new()).collect::<Vec<_>>(), 0));
            bencher.iter(|| {
                pairs[*next].beat();
                *next = (*next + 1) % links;
            });
        });
    }
    group.finish();
}

/// Both ends of a WebSocket.
struct Pair {
    client: WebSocket<Buffers>,
    server: WebSocket<Buffers>,
}

/// What the other end has written, and what this end has.
#[derive(Default)]
struct Buffers {
    incoming: VecDeque<u8>,
    outgoing: VecDeque<u8>,
}

impl Pair {
    fn new() -> Self {
        let end = |role| WebSocket::from_raw_socket(Buffers::default(), role, None);
        Self { client: end(Role::Client), server: end(Role::Server) }
    }

    fn beat(&mut self) {
        self.client.send(Message::Ping("beat".into())).unwrap();
        self.server.get_mut().incoming.append(&mut self.client.get_mut().outgoing);
        assert!(matches!(self.server.read(), Ok(Message::Ping(_))));
        self.server.flush().unwrap();
        self.client.get_mut().incoming.append(&mut self.server.get_mut().outgoing);
        assert!(matches!(self.client.read(), Ok(Message::Pong(_))));
        assert!(matches!(self.client.read(), Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock));
    }
}

impl Read for Buffers {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        if self.incoming.is_empty() { Err(ErrorKind::WouldBlock.into()) } else { self.incoming.read(target) }
    }
}

impl Write for Buffers {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn loopback(criterion: &mut Criterion<ProcessorTime>) {
    let mut group = criterion.benchmark_group("connection/loopback");
    // In processor time, of which there is little in each second.
    group.sampling_mode(SamplingMode::Flat).sample_size(10).warm_up_time(Duration::from_millis(5));
    for (links, interval) in [(1_u32, Duration::from_millis(10)), (400, Duration::from_millis(100))] {
        group.measurement_time(Duration::from_millis(if links == 1 { 15 } else { 200 }));
        // Small buffers are a matter of memory.
        for contender in Contender::ALL.into_iter().filter(|contender| *contender != Contender::Tungstenite4k) {
            let mut clients = None;
            group.bench_function(BenchmarkId::new(contender.name(), links), |bencher| {
                let clients = clients.get_or_insert_with(|| open(contender, links as usize, interval));
                bencher.iter_custom(|iterations| per_beat(&mut **clients, iterations, interval / links));
            });
        }
    }
    group.finish();
}

fn open(contender: Contender, links: usize, interval: Duration) -> Box<dyn Clients> {
    let (sender, address) = channel();
    // It lives as long as the process. Without clients it does nothing.
    std::thread::spawn(move || contender.serve(&sender));
    let mut clients = contender.open(address.recv().unwrap(), links, interval);
    // The first beats come early.
    clients.run_for(2 * interval);
    clients
}

/// The processor time of so many beats, of which one comes every `pause`.
///
/// The links run through, because whoever stops and starts a runtime wakes it once more.
fn per_beat(clients: &mut dyn Clients, beats: u64, pause: Duration) -> Duration {
    let (begin, before) = (processor_time(), clients.answered());
    let mut answered = 0;
    while answered < beats {
        clients.run_for(pause.mul_f64((beats - answered).max(10) as f64));
        answered = clients.answered() - before;
    }
    (processor_time() - begin).mul_f64(beats as f64 / answered as f64)
}
