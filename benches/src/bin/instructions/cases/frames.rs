//! Streams of frames, per frame: ours beside other parsers. `keepbeat_benches::frames` says what the work is.
//!
//! A short copy is a few wide moves; a long one is a single `rep movsb`, of which valgrind counts every byte as an instruction,
//! though the processor moves many at a time. So counts compare where the same bytes are copied by as many copies of about
//! the same size, and do not between 1 KiB and 64 KiB, or between whole messages and the pieces that others gather.

use keepbeat_benches::frames::{Feed, Load, Stream};
use keepbeat_benches::peers::{ByHand, CopyOnly, Delimited, Ours, Parser, run};

use super::{Case, counted_operation};

const WORK: [(Load, Feed); 10] = [
    (Load::Beats, Feed::Pieces),
    (Load::Beats, Feed::Random(1)),
    (Load::Small, Feed::Whole),
    (Load::Small, Feed::Pieces),
    (Load::Medium, Feed::Whole),
    (Load::Medium, Feed::Pieces),
    (Load::Large, Feed::Whole),
    (Load::Large, Feed::Pieces),
    (Load::Mixed, Feed::Pieces),
    (Load::Mixed, Feed::Random(1)),
];

pub(super) fn cases() -> Vec<Case> {
    WORK.into_iter()
        .flat_map(|(load, feed)| {
            [
                case::<Ours>(load, feed),
                case::<CopyOnly>(load, feed),
                case::<ByHand>(load, feed),
                case::<Delimited>(load, feed),
            ]
        })
        .collect()
}

fn case<P: Parser>(load: Load, feed: Feed) -> Case {
    let name = format!("frames/{}/{}/{}", load.name(), feed.name(), P::NAME);
    Case::new(name, load.frames(), 2, move |times| parse::<P>(load, feed, times))
}

fn parse<P: Parser>(load: Load, feed: Feed, times: u32) -> Result<(), String> {
    let stream = Stream::new(load);
    let pieces = stream.pieces(P::FORMAT, feed);
    let mut parser = P::new(&stream);
    for _ in 0..times {
        let found = counted_operation(|| run(&mut parser, &pieces));
        if found != P::all(&stream) {
            return Err(format!("{found:?} is not all: {:?}", P::all(&stream)));
        }
    }
    Ok(())
}
