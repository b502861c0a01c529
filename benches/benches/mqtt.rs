//! MQTT packets: read and written by a client.
//!
//! `cargo bench -p keepbeat-benches --bench mqtt [-- FILTER]`. Ids are `mqtt/reads/WHO/LOAD` and `mqtt/writes/WHO/LOAD`. What the
//! loads are (`ping` are the answers read, and the pings written), what the contenders do and in what they differ is told in
//! `keepbeat_benches::mqtt`. `mqtt/session/WHO/WORK` are rounds of whole sessions: `keepbeat_benches::mqtt_session`. Streams are read in pieces of 16 KiB. Criterion's times are those of all packets of a load, its throughput
//! is in packets; the ratios are per packet.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a measurement may fail loudly")]

use std::time::Duration;

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use keepbeat_benches::mqtt::{
    Copied, CoreReading, CoreWriting, Load, MqttbytesReading, MqttbytesWriting, OursBorrowing, OursReading,
    OursSending, OursWriting, Reader, RumqttcReading, RumqttcWriting, Stream, Writer,
};
use keepbeat_benches::mqtt_session::{CoreSession, OursSession, Pair, RumqttcSession, Session, Work};
use keepbeat_benches::process::ProcessorTime;
use keepbeat_benches::ratios::Ratios;

type Group<'a> = BenchmarkGroup<'a, ProcessorTime>;

fn main() {
    let ratios = Ratios::begin("mqtt");
    let criterion =
        Criterion::default().with_measurement(ProcessorTime).warm_up_time(Duration::from_millis(200)).nresamples(5_000);
    let mut criterion = criterion.measurement_time(Duration::from_millis(600)).sample_size(20).configure_from_args();
    let mut group = criterion.benchmark_group("mqtt/reads");
    for load in Load::ALL {
        group.throughput(Throughput::Elements(load.packets()));
        reads::<OursReading>(&mut group, load);
        reads::<MqttbytesReading>(&mut group, load);
        reads::<RumqttcReading>(&mut group, load);
        reads::<CoreReading>(&mut group, load);
        if load.payload().is_some() {
            reads::<OursBorrowing>(&mut group, load);
            reads::<Copied>(&mut group, load);
        }
    }
    group.finish();
    let mut group = criterion.benchmark_group("mqtt/writes");
    for load in Load::ALL {
        group.throughput(Throughput::Elements(load.packets()));
        writes::<OursWriting>(&mut group, load);
        writes::<OursSending>(&mut group, load);
        writes::<MqttbytesWriting>(&mut group, load);
        writes::<RumqttcWriting>(&mut group, load);
        writes::<CoreWriting>(&mut group, load);
    }
    group.finish();
    let mut group = criterion.benchmark_group("mqtt/session");
    for work in Work::ALL {
        group.throughput(Throughput::Elements(1));
        session::<OursSession>(&mut group, work);
        session::<RumqttcSession>(&mut group, work);
        session::<CoreSession>(&mut group, work);
    }
    group.finish();
    criterion.final_summary();
    ratios.print(&["ours"]);
}

fn reads<R: Reader>(group: &mut Group<'_>, load: Load) {
    let stream = Stream::new(load);
    let all = stream.found();
    let mut reader = R::new(stream);
    assert_eq!(reader.read(), all, "{} finds every packet", R::NAME);
    let id = BenchmarkId::new(R::NAME.replace(' ', "-"), load.name());
    group.bench_function(id, |bencher| bencher.iter(|| reader.read()));
}

fn session<S: Session>(group: &mut Group<'_>, work: Work) {
    let mut pair = Pair::<S>::new().unwrap();
    assert_eq!(pair.round(work).sent, work.seen(1).sent, "{} does the work", S::NAME);
    let id = BenchmarkId::new(S::NAME, work.name().replace(' ', "-"));
    group.bench_function(id, |bencher| bencher.iter(|| pair.round(work)));
}

fn writes<W: Writer>(group: &mut Group<'_>, load: Load) {
    let mut writer = W::new(load);
    let id = BenchmarkId::new(W::NAME.replace(' ', "-"), load.name());
    group.bench_function(id, |bencher| bencher.iter(|| writer.write(load.packets())));
}
