//! keepbeat's own parser.

use std::mem;

use keepbeat_core::wire::beat::{Beat, BeatConfig};
use keepbeat_core::wire::{Frame, Wire};

use super::{Format, Parser};
use crate::frames::{Found, Stream};

/// [`Beat::decode`] on an established connection.
pub struct Ours(Beat);

impl Parser for Ours {
    const FORMAT: Format = Format::Native;
    const NAME: &'static str = "ours";

    fn new(_: &Stream) -> Self {
        let mut beat = Beat::new(&BeatConfig::default());
        beat.established();
        Self(beat)
    }

    fn feed(&mut self, mut piece: &[u8], found: &mut Found) {
        loop {
            let decoded = self.0.decode(&mut piece);
            match decoded {
                Ok(Some(Frame::Beat { seq })) => {
                    found.beat(seq);
                    // As a connection does: there is nothing in it to drop, and to find that out takes a call.
                    mem::forget(decoded);
                }
                Ok(Some(Frame::Data { message, .. })) => found.message(message.into_payload()),
                Ok(None) => return,
                Ok(Some(_)) | Err(_) => {
                    found.faults += 1;
                    return;
                }
            }
        }
    }
}
