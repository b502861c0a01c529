//! The fields of a packet, one behind the other (MQTT 5.0, section 1.5).

use nom::Err;

use super::rule::{self, Checked};
use super::text::Text;
use super::{PacketId, Version};
use crate::wire::varint::varint;

/// How many bits a variable byte integer has: four bytes of seven.
pub(super) const INTEGER_BITS: u32 = 28;

/// What of a packet was not read.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn are(&self, bytes: &[u8]) -> bool {
        self.0 == bytes
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Checked<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk().ok_or(&rule::FIELD_MISSING)?;
        self.0 = rest;
        Ok(*array)
    }

    pub(super) fn byte(&mut self) -> Checked<u8> {
        self.array().map(|[byte]| byte)
    }

    #[inline]
    pub(super) fn short(&mut self) -> Checked<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn long(&mut self) -> Checked<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn integer(&mut self) -> Checked<u32> {
        match varint(INTEGER_BITS, self.0) {
            Ok((rest, value)) => {
                self.0 = rest;
                Ok(value as u32)
            }
            Err(Err::Incomplete(_)) => Err(&rule::FIELD_MISSING),
            Err(_) => Err(&rule::INTEGER_FORM),
        }
    }

    #[inline]
    pub(super) fn take(&mut self, count: usize) -> Checked<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(&rule::FIELD_MISSING)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// Bytes behind their length.
    #[inline]
    pub(super) fn binary(&mut self) -> Checked<&'a [u8]> {
        let length = self.short()?;
        self.take(length.into())
    }

    pub(super) fn text(&mut self) -> Checked<Text<'a>> {
        Text::read(self.binary()?)
    }

    #[inline]
    pub(super) fn packet_id(&mut self) -> Checked<PacketId> {
        PacketId::new(self.short()?).ok_or(&rule::PACKET_ID_ZERO)
    }

    /// Properties without the length before them; of MQTT 3.1.1, which has none, nothing.
    #[inline]
    pub(super) fn properties(&mut self, version: Version) -> Checked<&'a [u8]> {
        match version {
            Version::V3 => Ok(&[]),
            Version::V5 => {
                let length = self.integer()?;
                self.take(length as usize)
            }
        }
    }

    /// All that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.0)
    }

    /// Nothing is left.
    pub(super) const fn end(&self) -> Checked<()> {
        if self.0.is_empty() { Ok(()) } else { Err(&rule::BYTES_LEFT) }
    }
}
