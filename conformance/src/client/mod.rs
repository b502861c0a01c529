//! A link under test; the script plays its servers.

mod endings;
mod flow;
pub mod foreign;
pub mod mqtt;
mod silence;
mod suspend;
mod websocket;

pub use endings::{
    accept_then_close, drain, end_of_file_in_a_frame, forbidden, going_away, late_words, refused, reset,
    server_restart, takeover,
};
pub use flow::{
    flood, frame_without_an_end, one_byte_reads, slow_application, slow_reader, slow_writer, texts_and_binaries,
};
pub use silence::{black_hole_away_from_us, black_hole_towards_us, half_open_peer};
pub use suspend::{suspend_in_the_handshake, suspend_with_a_dead_peer, suspend_with_a_living_peer};
pub use websocket::{closed_for_good, closed_for_now, greeting, refused_for_good, refused_for_now};
