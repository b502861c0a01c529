//! What the C library and the processor contribute. Where these differ, other counts differ, too, and say nothing about us.

use std::hint::black_box;

use bytes::Bytes;

use super::{Case, counted_operation};

pub(super) fn cases() -> Vec<Case> {
    [64, 1 << 10, 64 << 10]
        .map(|bytes| Case::new(format!("gauge/own a copy of {bytes} bytes"), 1, 100, move |times| own(bytes, times)))
        .into()
}

/// Memory is asked for, filled and given back.
fn own(bytes: usize, times: u32) -> Result<(), String> {
    let source = vec![7; bytes];
    counted_operation(|| {
        for _ in 0..times {
            drop(black_box(Bytes::copy_from_slice(black_box(&source))));
        }
    });
    Ok(())
}
