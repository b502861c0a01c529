use alloc::vec;

use super::*;
use crate::entropy::{Entropy, Prng};

const LIMIT: usize = 1 << 20;

const fn side(takeover: bool, window_bits: u8) -> Side {
    Side { takeover, window_bits }
}

/// What a message of these pieces inflates to.
fn inflated(inflater: &mut Inflater, pieces: &[&[u8]], limit: usize) -> Result<Vec<u8>, Violation> {
    let mut body = Vec::new();
    for piece in pieces {
        inflater.inflate(piece, &mut body, limit)?;
    }
    inflater.finish(&mut body, limit)?;
    Ok(body)
}

fn message(prng: &mut Prng, most: u64) -> Vec<u8> {
    let letters = prng.between(1, 40);
    (0..prng.between(0, most)).map(|_| prng.between(0, letters) as u8).collect()
}

#[test]
fn the_examples_of_section_7_2_3_are_inflated() {
    let mut fresh = Inflater::new(side(false, 15));
    let first: &[u8] = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    // One block; two fragments; one block, not compressed; the last block of a stream; two blocks; empty.
    for (pieces, text) in [
        (&[first][..], &b"Hello"[..]),
        (&[&[0xf2, 0x48, 0xcd], &[0xc9, 0xc9, 0x07, 0x00]], b"Hello"),
        (&[&[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00]], b"Hello"),
        (&[&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00]], b"Hello"),
        (&[&[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00]], b"Hello"),
        (&[&[0x00]], b""),
    ] {
        assert_eq!(inflated(&mut fresh, pieces, LIMIT).unwrap(), text, "{pieces:02x?}");
    }
    let second: &[u8] = &[0xf2, 0x00, 0x11, 0x00, 0x00];
    let mut knowing = Inflater::new(side(true, 15));
    assert_eq!(inflated(&mut knowing, &[first], LIMIT).unwrap(), b"Hello");
    assert_eq!(inflated(&mut knowing, &[second], LIMIT).unwrap(), b"Hello", "by what came before");
    assert_eq!(inflated(&mut fresh, &[second], LIMIT), Err(Violation::Deflate), "which this one does not know");
}

#[test]
fn what_is_compressed_is_inflated_however_it_is_cut() {
    for seed in 0..60 {
        let mut prng = Prng::new(seed);
        let side = side(seed % 2 == 0, 8 + prng.between(0, 7) as u8);
        let (mut deflater, mut inflater) = (Deflater::new(side, prng.between(1, 9) as u8), Inflater::new(side));
        let mut compressed_some = false;
        for _ in 0..6 {
            let message = message(&mut prng, 50_000);
            let Some(compressed) = deflater.compress(&message) else { continue };
            compressed_some = true;
            let most = [1, 50, 5000][prng.between(0, 2) as usize];
            let pieces: Vec<&[u8]> = compressed.chunks(most).collect();
            assert!(inflated(&mut inflater, &pieces, LIMIT) == Ok(message), "seed {seed}");
        }
        assert!(compressed_some);
        assert!(inflater.stream.is_none());
        assert!(inflater.history.len() <= if side.takeover { 1 << side.window_bits } else { 0 });
        assert_eq!(deflater.stream.is_some(), side.takeover);
    }
}

#[test]
fn no_reference_reaches_further_back_than_agreed() {
    let mut prng = Prng::new(1);
    for bits in 8..=15 {
        let window = 1 << bits;
        // What cannot be compressed, and again: the second one shrinks only by references of exactly this length.
        let mut size = |length: usize| {
            let mut block = vec![0; length];
            prng.fill(&mut block);
            Deflater::new(side(true, bits), 9).compress(&block.repeat(2)).map_or(0, |compressed| compressed.len())
        };
        for length in [window + 1, window + 2, window + 100, window + 261, 2 * window] {
            assert!(size(length) >= 2 * length, "{bits} bits, {length} bytes");
        }
        let near = if bits == 8 { 200 } else { (window - LOOKAHEAD) * 3 / 4 };
        assert!(size(near) < near * 3 / 2, "{bits} bits: {near} bytes are not found again");
    }
}

#[test]
fn the_limit_holds_while_inflating() {
    let bomb = Deflater::new(side(false, 15), 9).compress(&vec![0; 10 << 20]).unwrap();
    assert!(bomb.len() < 11_000, "{} bytes", bomb.len());
    for limit in [0, 1, 1000, 4095, 4096, 4097, 100_000] {
        for piece in [1, 100, usize::MAX] {
            let (mut inflater, mut body) = (Inflater::new(side(true, 15)), Vec::new());
            let too_large = Err(Violation::TooLarge { length: limit as u64 + 1, limit: limit as u64 });
            let verdict = bomb.chunks(piece).try_for_each(|piece| inflater.inflate(piece, &mut body, limit));
            assert_eq!(verdict, too_large);
            assert!(body.capacity() <= limit + STAGE, "{} for {limit}", body.capacity());
        }
    }
    for (length, expected) in [(9999, true), (10_000, true), (10_001, false)] {
        let compressed = Deflater::new(side(false, 15), 6).compress(&vec![7; length]).unwrap();
        assert_eq!(inflated(&mut Inflater::new(side(false, 15)), &[&compressed], 10_000).is_ok(), expected);
    }
}

#[test]
fn what_is_not_compressed_as_it_says_is_refused() {
    let right =
        Deflater::new(side(false, 15), 6).compress(&b"to be or not to be, that is the question. ".repeat(10)).unwrap();
    assert!(inflated(&mut Inflater::new(side(false, 15)), &[&right], LIMIT).is_ok());
    for cut in 0..right.len() {
        let verdict = inflated(&mut Inflater::new(side(false, 15)), &[&right[..cut]], LIMIT);
        assert_eq!(verdict, Err(Violation::Deflate), "{cut} of {} bytes", right.len());
    }
    // A block of the reserved kind; a length and its complement that differ; a reference to before the beginning.
    for wrong in [&[0x06][..], &[0x00, 0x05, 0x00, 0x00, 0x00], &[0x02, 0x01]] {
        assert_eq!(
            inflated(&mut Inflater::new(side(false, 15)), &[wrong], LIMIT),
            Err(Violation::Deflate),
            "{wrong:02x?}"
        );
    }
}

#[test]
fn streams_that_end_are_followed_by_few_others() {
    let ended = |count: usize| [&[3, 0].repeat(count)[..], &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]].concat();
    let mut inflater = Inflater::new(side(false, 15));
    for _ in 0..2 {
        assert_eq!(inflated(&mut inflater, &[&ended(usize::from(STREAMS))], LIMIT).unwrap(), b"Hello");
    }
    assert_eq!(inflated(&mut inflater, &[&ended(usize::from(STREAMS) + 1)], LIMIT), Err(Violation::Deflate));
    // The second stream refers to the first.
    let first = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let second = [0xf2, 0x00, 0x11, 0x00, 0x00];
    let mut inflater = Inflater::new(side(false, 15));
    assert_eq!(inflated(&mut inflater, &[&first, &second], LIMIT).unwrap(), b"HelloHello");
}

#[test]
fn what_would_not_shrink_goes_as_it_is() {
    let mut random = vec![0; 1000];
    Prng::new(1).fill(&mut random);
    assert_eq!(Deflater::new(side(false, 15), 6).compress(&random), None);
    for (takeover, worthwhile) in [(false, WORTHWHILE), (true, WORTHWHILE_AGAIN)] {
        let mut deflater = Deflater::new(side(takeover, 15), 6);
        assert_eq!(deflater.compress(&vec![1; worthwhile - 1]), None);
        assert!(deflater.compress(&vec![1; worthwhile]).is_some_and(|bytes| bytes.len() < worthwhile));
    }
}
