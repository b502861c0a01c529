//! Frames: bytes in, beats and messages out.
//!
//! `cargo bench -p keepbeat-benches --bench frame [-- FILTER]`. Ids are `frame/FEED/PARSER/LOAD`: how the stream is cut
//! (`whole`, `16KiB`, or at `random`), who parses it, and what it holds (`beats`, messages of `64B`, `1KiB` or `64KiB`, or
//! all of them `mixed`). Criterion's times are those of a whole stream, its throughput is in frames; the ratios are per frame.
//!
//! Every parser finds the same frames, which is asserted, and yields messages that own their bytes. `copy-only` knows where
//! the payloads are, and copies each once into memory of its own: the limit. What the others are is told in
//! `keepbeat_benches::peers`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a measurement may fail loudly")]

use std::time::Duration;

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use keepbeat_benches::frames::{Feed, Load, Stream};
use keepbeat_benches::peers::{ByHand, CopyOnly, Delimited, Ours, Parser, run};
use keepbeat_benches::process::ProcessorTime;
use keepbeat_benches::ratios::Ratios;

fn main() {
    let ratios = Ratios::begin("frame");
    let criterion =
        Criterion::default().with_measurement(ProcessorTime).warm_up_time(Duration::from_millis(200)).nresamples(5_000);
    let mut criterion = criterion.measurement_time(Duration::from_millis(600)).sample_size(20).configure_from_args();
    for feed in Feed::ALL {
        let mut group = criterion.benchmark_group(format!("frame/{}", feed.name()));
        for load in Load::ALL {
            let stream = Stream::new(load);
            group.throughput(Throughput::Elements(load.frames()));
            parse::<Ours>(&mut group, load, &stream, feed);
            parse::<ByHand>(&mut group, load, &stream, feed);
            parse::<Delimited>(&mut group, load, &stream, feed);
            parse::<CopyOnly>(&mut group, load, &stream, feed);
        }
        group.finish();
    }
    criterion.final_summary();
    ratios.print(&["ours"]);
}

fn parse<P: Parser>(group: &mut BenchmarkGroup<'_, ProcessorTime>, load: Load, stream: &Stream, feed: Feed) {
    let pieces = stream.pieces(P::FORMAT, feed);
    let mut parser = P::new(stream);
    assert_eq!(run(&mut parser, &pieces), P::all(stream), "{} finds every frame", P::NAME);
    let name = P::NAME.replace(' ', "-");
    group.bench_function(BenchmarkId::new(name, load.name()), |bencher| bencher.iter(|| run(&mut parser, &pieces)));
}
