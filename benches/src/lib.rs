//! What keepbeat costs, beside what a user would otherwise pick: work and peers that the benches share.

#![forbid(unsafe_code)]

pub mod deadlines;
pub mod frames;
pub mod loopback;
pub mod mqtt;
pub mod mqtt_session;
pub mod peers;
pub mod process;
pub mod ratios;
pub mod town;
pub mod websocket;
