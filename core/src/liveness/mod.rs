//! IS THE PEER ALIVE? Beats, replies, suspicion and the verdict, for one connection.
//!
//! [`Liveness`] keeps two clocks, one per direction. What we owe the peer (a beat every interval) depends only on what
//! we sent; what we think of the peer depends only on what we received. It knows no sockets and no frames: whoever
//! drives it says when bytes arrived, when a beat's bytes left and whether writes move, and it answers with
//! [`LivenessAction`]s.
//!
//! - Every byte received is life, also a byte of an unfinished frame, up to [`frame_time`](LivenessConfig::frame_time).
//! - A reply deadline runs from the moment the beat's bytes left, not from when they were queued.
//! - A late reply makes the peer a suspect. Quick probes follow, spaced by the round-trip estimate; silence until the
//!   end of that window is death, one byte is recovery.
//! - If we ourselves were late (a stall, a suspend), nobody is judged by the time we were away: one probe, then the
//!   verdict.
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use keepbeat_core::liveness::{Judgement, Liveness, LivenessAction, LivenessConfig};
//! use keepbeat_core::time::Timestamp;
//!
//! let config = LivenessConfig::builder()
//!     .interval(Duration::from_secs(5))
//!     .reply_timeout(Duration::from_secs(2))
//!     .build()?;
//! let bound = config.worst_case_detection();
//! let start = Timestamp::ZERO;
//! let mut liveness = Liveness::new(Arc::new(config), Judgement::RoundTrip, start, 42);
//!
//! // The peer never answers. Wake only when asked to.
//! let died_at = loop {
//!     let now = liveness.poll_timeout().expect("a living link always has a deadline").at;
//!     liveness.handle_timeout(now);
//!     match liveness.poll_action() {
//!         Some(LivenessAction::SendBeat { .. }) => liveness.beat_written(now),
//!         Some(LivenessAction::DeclareDead(_)) => break now,
//!         _ => {}
//!     }
//! };
//! assert!(died_at.since(start) <= bound);
//! # Ok::<(), keepbeat_core::liveness::LivenessConfigError>(())
//! ```

mod config;
mod machine;
mod report;
mod rtt;
#[cfg(test)]
mod tests;

pub use config::{LivenessConfig, LivenessConfigBuilder, LivenessConfigError, Proof};
pub use machine::{Judgement, Liveness, LivenessAction};
pub use report::{DeathCause, DeathReport, Evidence};
pub use rtt::Rtt;
