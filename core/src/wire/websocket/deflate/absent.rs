//! What stands here without the feature `deflate`: nobody can make these.

use alloc::vec::Vec;

use super::Violation;

#[derive(Debug)]
pub(super) enum Deflater {}

impl Deflater {
    pub(super) const fn compress(&mut self, _: &[u8]) -> Option<Vec<u8>> {
        match *self {}
    }
}

#[derive(Debug)]
pub(super) enum Inflater {}

impl Inflater {
    pub(super) const fn inflate(&mut self, _: &[u8], _: &mut Vec<u8>, _: usize) -> Result<(), Violation> {
        match *self {}
    }

    pub(super) const fn finish(&mut self, _: &mut Vec<u8>, _: usize) -> Result<(), Violation> {
        match *self {}
    }
}
