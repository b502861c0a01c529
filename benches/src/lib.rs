//! What keepbeat costs, beside what a user would otherwise pick: work and peers that the benches share.

pub mod frames;
pub mod peers;
