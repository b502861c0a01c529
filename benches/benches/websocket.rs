//! WebSocket frames: read and written by both roles.
//!
//! `cargo bench -p keepbeat-benches --bench websocket [-- FILTER]`. Ids are `websocket/ROLE-reads/WHO/LOAD` and
//! `websocket/ROLE-writes/WHO/LOAD`. What the loads are (`control` are pongs read, and pings written), what the contenders do and
//! in what they differ is told in `keepbeat_benches::websocket`. Streams are read in pieces of 16 KiB. Criterion's times are those
//! of all frames of a load, its throughput is in frames; the ratios are per frame.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a measurement may fail loudly")]

use std::time::Duration;

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use keepbeat_benches::process::ProcessorTime;
use keepbeat_benches::ratios::Ratios;
use keepbeat_benches::websocket::{
    Copied, FastReading, FastWriting, Load, OursReading, OursWriting, Reader, Stream, TungsteniteReading,
    TungsteniteWriting, Writer,
};
use keepbeat_core::wire::Role;

type Group<'a> = BenchmarkGroup<'a, ProcessorTime>;

fn main() {
    let ratios = Ratios::begin("websocket");
    let criterion =
        Criterion::default().with_measurement(ProcessorTime).warm_up_time(Duration::from_millis(200)).nresamples(5_000);
    let mut criterion = criterion.measurement_time(Duration::from_millis(600)).sample_size(20).configure_from_args();
    for (role, name) in [(Role::Client, "client"), (Role::Server, "server")] {
        let mut group = criterion.benchmark_group(format!("websocket/{name}-reads"));
        for load in Load::ALL {
            group.throughput(Throughput::Elements(load.frames()));
            reads::<OursReading>(&mut group, load, role);
            reads::<TungsteniteReading>(&mut group, load, role);
            reads::<FastReading>(&mut group, load, role);
            if load != Load::Control {
                reads::<Copied>(&mut group, load, role);
            }
        }
        group.finish();
        let mut group = criterion.benchmark_group(format!("websocket/{name}-writes"));
        for load in Load::ALL {
            group.throughput(Throughput::Elements(load.frames()));
            writes::<OursWriting>(&mut group, load, role);
            writes::<TungsteniteWriting>(&mut group, load, role);
            writes::<FastWriting>(&mut group, load, role);
        }
        group.finish();
    }
    criterion.final_summary();
    ratios.print(&["ours"]);
}

fn reads<R: Reader>(group: &mut Group<'_>, load: Load, role: Role) {
    let stream = Stream::new(load, role);
    let all = R::all(&stream);
    let mut reader = R::new(stream);
    assert_eq!(reader.read(), all, "{} finds every frame", R::NAME);
    let id = BenchmarkId::new(R::NAME.replace(' ', "-"), load.name());
    group.bench_function(id, |bencher| bencher.iter(|| reader.read()));
}

fn writes<W: Writer>(group: &mut Group<'_>, load: Load, role: Role) {
    let mut writer = W::new(role, load.unit());
    let id = BenchmarkId::new(W::NAME.replace(' ', "-"), load.name());
    group.bench_function(id, |bencher| bencher.iter(|| writer.write(load.frames())));
}
