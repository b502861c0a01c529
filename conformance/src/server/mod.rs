//! A server under test; the script plays its devices.

mod endings;
mod flow;
pub mod foreign;
mod silence;
mod suspend;

pub use endings::{
    back_within_the_grace, connect_then_close, drain, end_of_file_in_a_frame, refused, reset, restart, takeover,
};
pub use flow::{
    flood, frame_without_an_end, one_byte_reads, slow_application, slow_reader, slow_writer, texts_and_binaries,
};
pub use silence::{black_hole_away_from_us, black_hole_towards_us, half_open_peer};
pub use suspend::{suspend_in_the_handshake, suspend_with_a_dead_device, suspend_with_a_living_device};
