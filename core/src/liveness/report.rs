//! What is known when a peer is declared dead.

use core::fmt;
use core::time::Duration;

use super::Rtt;
use crate::time::Timestamp;

/// Why the peer was declared dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeathCause {
    /// A beat of ours was not answered, nor were the quick probes after it.
    NoReply,
    /// The peer's own beats stopped, and it did not answer our probes.
    Silent,
    /// Our bytes did not move, and nothing was heard from the peer meanwhile; or they did not move for
    /// [`stall_limit`](super::LivenessConfig::stall_limit), whatever was heard.
    WriteStalled,
    /// The peer took longer than [`frame_time`](super::LivenessConfig::frame_time) for one frame.
    FrameTooSlow,
    /// Our own application did not take what had arrived for
    /// [`stall_limit`](super::LivenessConfig::stall_limit). The peer is not to blame.
    ReadPaused,
}

impl fmt::Display for DeathCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoReply => "no reply to our beats",
            Self::Silent => "the peer fell silent",
            Self::WriteStalled => "our bytes did not move",
            Self::FrameTooSlow => "the peer took too long for one frame",
            Self::ReadPaused => "our application did not read",
        })
    }
}

/// What was seen of a peer on one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// How long nothing had been received.
    pub silent_for: Duration,
    /// When the last byte was received; the opening of the connection if none was.
    pub last_received: Timestamp,
    /// How long bytes of ours had been waiting without any of them leaving, if they were.
    pub stalled_for: Option<Duration>,
    /// Beats of ours that left on this connection.
    pub beats_sent: u32,
    /// How many of them were answered.
    pub beats_answered: u32,
    /// The round-trip estimate, if a beat was answered.
    pub rtt: Option<Rtt>,
    /// How often we ourselves woke late on this connection (a stall, a suspend).
    pub local_stalls: u8,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "silent for {:?}, {} of {} beats answered", self.silent_for, self.beats_answered, self.beats_sent)?;
        if let Some(rtt) = self.rtt {
            write!(f, ", round trip {:?}", rtt.smoothed())?;
        }
        if let Some(stalled) = self.stalled_for {
            write!(f, ", writes stalled for {stalled:?}")?;
        }
        if self.local_stalls > 0 {
            write!(f, ", {} local stalls", self.local_stalls)?;
        }
        Ok(())
    }
}

/// The verdict and its evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeathReport {
    /// The cause.
    pub cause: DeathCause,
    /// What was seen until then.
    pub evidence: Evidence,
}

impl fmt::Display for DeathReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.cause, self.evidence)
    }
}
