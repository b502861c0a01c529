//! One connection of either side, from its opening to its end: wire, liveness and the messages that pass.
//!
//! [`Client`](crate::client::Client) and [`Server`](crate::server::Server) own connections and decide about handshakes,
//! sessions and what follows an end. Everything that judges a connection lives in here and dies with it.

mod cause;
mod events;
mod sending;
mod unread;

pub use cause::{DownCause, DownReport, Failure};
pub(crate) use events::{EventQueue, Outdated};

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;
use core::num::NonZeroU32;
use core::time::Duration;

use bytes::Bytes;

use self::unread::Unread;
use crate::liveness::{DeathCause, Evidence, Judgement, Liveness, LivenessAction};
use crate::session::{Change, Message, SequenceError, Session, Ticket};
use crate::time::{Deadline, DeadlineCause, Timestamp};
use crate::tunnel::{Layers, Stage};
use crate::wire::websocket::upgrade::Offer;
use crate::wire::{Frame, Opening, Tx, Wire, WireError};

/// A peer may send this many beats at once, and then one more per 1/20 of the interval, or ten a second if that is more.
/// Sixteen quick probes and a regular beat per interval stay below that, and so does a foreigner with a timer of its own.
const BEAT_BURST: u32 = 32;
const BEATS_PER_INTERVAL: u32 = 20;
const BEAT_PRICE_MAX: Duration = Duration::from_millis(100);

pub(crate) struct Connection<W> {
    wire: W,
    tx: Tx,
    /// Between the socket and `tx`, if anything is.
    layers: Option<Box<Layers>>,
    phase: Phase,
    /// How many bytes must leave until the beat that waits among them has left.
    beat_behind: Option<NonZeroU32>,
    /// The wire keeps the beat back until the message that is leaving has left.
    beat_waits: bool,
    /// The answer that is due goes to this beat.
    echo_seq: u32,
    echo_due: bool,
    ack_due: bool,
    /// The peer is to hear from us, whether there is anything to acknowledge or not.
    life_due: bool,
    last_feedback: Timestamp,
    /// When the peer's beats, at the agreed rate, would have reached the number that came.
    beats_paid_until: Timestamp,
    /// The largest message that the peer accepts. Ours are never as large as the largest number.
    peer_limit: u32,
    unread: Option<Box<Unread>>,
}

enum Phase {
    Handshake { until: Timestamp },
    Established(Liveness),
    Closing { until: Timestamp },
}

/// One input, as far as it was decoded.
pub(crate) struct Heard<'a> {
    rest: &'a [u8],
    /// A frame ended in it.
    frames: bool,
    /// [`Connection::decode`] has acted on a beat or on the answer to one.
    beats: bool,
}

impl<'a> Heard<'a> {
    pub(crate) const fn nothing_of(input: &'a [u8]) -> Self {
        Self { rest: input, frames: false, beats: false }
    }

    /// Whether beats or answers were acted on since this was last asked.
    pub(crate) const fn take_beats(&mut self) -> bool {
        mem::replace(&mut self.beats, false)
    }
}

/// What a frame of an established connection meant.
pub(crate) enum Meaning {
    /// Nothing for the owner.
    Nothing,
    /// A message to deliver.
    Message(Message),
    /// Messages up to this one are settled.
    Acknowledged(Ticket),
    /// The peer says this to one of our messages, or to what the wire asked by itself.
    Answered { ticket: Option<Ticket>, answer: Message },
}

/// What liveness says to the owner.
pub(crate) enum Verdict {
    Suspect { silent_for: Duration },
    Recovered,
    Measured,
    Dead(DeathCause),
}

impl<W: Wire> Connection<W> {
    pub(crate) fn open(
        wire: &W::Config,
        opening: Opening<'_>,
        layers: Option<Box<Layers>>,
        now: Timestamp,
        handshake_timeout: Duration,
        memory: W::Memory,
    ) -> Self {
        Self {
            wire: W::new(wire, opening, memory),
            tx: Tx::default(),
            layers,
            phase: Phase::Handshake { until: now.after(handshake_timeout) },
            beat_behind: None,
            beat_waits: false,
            echo_seq: 0,
            echo_due: false,
            ack_due: false,
            life_due: false,
            last_feedback: now,
            beats_paid_until: now,
            peer_limit: u32::MAX,
            unread: None,
        }
    }

    /// The handshake is done.
    pub(crate) fn establish(&mut self, now: Timestamp, liveness: Liveness, peer_limit: u64) {
        self.wire.established();
        self.phase = Phase::Established(liveness);
        self.peer_limit = u32::try_from(peer_limit).unwrap_or(u32::MAX);
        self.note_writes(now);
    }

    /// The largest message that the peer accepts, in bytes.
    pub(crate) const fn peer_limit(&self) -> u32 {
        self.peer_limit
    }

    pub(crate) const fn is_established(&self) -> bool {
        matches!(self.phase, Phase::Established(_))
    }

    pub(crate) const fn liveness(&self) -> Option<&Liveness> {
        match &self.phase {
            Phase::Established(liveness) => Some(liveness),
            Phase::Handshake { .. } | Phase::Closing { .. } => None,
        }
    }

    pub(crate) const fn liveness_mut(&mut self) -> Option<&mut Liveness> {
        match &mut self.phase {
            Phase::Established(liveness) => Some(liveness),
            Phase::Handshake { .. } | Phase::Closing { .. } => None,
        }
    }

    pub(crate) fn evidence(&self, now: Timestamp) -> Option<Evidence> {
        self.liveness().map(|liveness| liveness.evidence(now))
    }

    /// Bytes arrived. They are to be decoded next, or what [`Connection::take_in`] makes of them.
    #[inline]
    pub(crate) fn received(&mut self, now: Timestamp) {
        if let Phase::Established(liveness) = &mut self.phase {
            liveness.received(now);
        }
    }

    /// Decodes the next frame that is more than a beat or the answer to one, and acts on those before it.
    #[inline]
    pub(crate) fn decode(&mut self, now: Timestamp, heard: &mut Heard<'_>) -> Result<Option<Frame>, DownCause> {
        loop {
            let decoded = self.wire.decode(&mut heard.rest, &mut self.tx);
            match (&decoded, &mut self.phase) {
                (Ok(None), _) => return Ok(None),
                (Ok(Some(Frame::Echo { seq })), Phase::Established(liveness)) => liveness.echo_received(now, *seq),
                (Ok(Some(Frame::Beat { seq })), Phase::Established(liveness)) => {
                    let interval = liveness.interval();
                    self.charge_beat(now, interval)?;
                    (self.echo_seq, self.echo_due) = (*seq, true);
                }
                _ => {
                    heard.frames = true;
                    return decoded.map_err(DownCause::Protocol);
                }
            }
            (heard.frames, heard.beats) = (true, true);
            // There is nothing in it to drop, and to find that out takes as long as to decode it.
            mem::forget(decoded);
        }
    }

    /// All of one input was decoded.
    #[inline]
    pub(crate) fn decoded(&mut self, now: Timestamp, heard: &Heard<'_>) {
        let unfinished = self.wire.mid_frame() || self.layers.as_ref().is_some_and(|layers| layers.mid_record());
        let Phase::Established(liveness) = &mut self.phase else { return };
        if unfinished { self.decoded_a_part(now, heard.frames) } else { liveness.frame_finished() }
    }

    #[inline(never)]
    fn decoded_a_part(&mut self, now: Timestamp, frames: bool) {
        let Phase::Established(liveness) = &mut self.phase else { return };
        liveness.frame_unfinished(now, !self.wire.is_same_frame(frames));
        // The sender of a long frame hears nothing else from us until it has arrived.
        let overdue = now.since(self.last_feedback) >= liveness.reply_timeout() / 4;
        if overdue && liveness.frame_age(now) >= self.wire.patience() {
            (self.ack_due, self.life_due) = (true, true);
        }
    }

    /// Acts on a frame of an established connection that [`Connection::decode`] left over.
    pub(crate) fn act_on(&mut self, frame: Frame, session: &mut Session) -> Result<Meaning, DownCause> {
        match frame {
            Frame::Data { seq, message } => {
                self.ack_due = true;
                let new = session.inbox.offer(seq, message.len()).map_err(|error| out_of_sequence("DATA", error))?;
                if new {
                    return Ok(Meaning::Message(message));
                }
            }
            Frame::Ack { seq } => {
                let settled = session.outbox.acknowledge(seq).map_err(|error| out_of_sequence("ACK", error))?;
                if let Some(ticket) = settled {
                    return Ok(Meaning::Acknowledged(ticket));
                }
            }
            Frame::Answer { seq, answer } => {
                return Ok(Meaning::Answered { ticket: session.outbox.ticket_of(seq), answer });
            }
            Frame::Goodbye(goodbye) => return Err(DownCause::Goodbye(*goodbye)),
            Frame::Hello(_) | Frame::Welcome(_) | Frame::Refuse(_) => {
                return Err(DownCause::Protocol(WireError::Unexpected {
                    frame: frame.name(),
                    expected: "a frame of an established connection",
                }));
            }
            // [`Connection::decode`] has acted on beats.
            Frame::Beat { .. } | Frame::Echo { .. } | Frame::Unknown => {}
        }
        Ok(Meaning::Nothing)
    }

    fn charge_beat(&mut self, now: Timestamp, interval: Duration) -> Result<(), DownCause> {
        let price = (interval / BEATS_PER_INTERVAL).min(BEAT_PRICE_MAX);
        let paid_until = self.beats_paid_until.max(now).after(price);
        if paid_until.since(now) > price * BEAT_BURST {
            return Err(DownCause::Flood);
        }
        self.beats_paid_until = paid_until;
        Ok(())
    }

    /// What the peer still sends is thrown away until it hangs up, or until `timeout`.
    pub(crate) fn close(&mut self, now: Timestamp, timeout: Duration) {
        self.last_word();
        self.phase = Phase::Closing { until: now.after(timeout) };
    }

    /// The application is done with the peer's messages up to this number.
    #[inline]
    pub(crate) fn taken(&mut self, now: Timestamp, through: u64) {
        self.wire.taken(through, &mut self.tx);
        self.note_writes(now);
    }

    /// What has changed of what must survive the process.
    pub(crate) fn take_changes(&mut self, changes: &mut Vec<Change>) {
        self.wire.take_changes(changes);
    }

    /// What the next connection must know.
    pub(crate) fn remember(&mut self) -> W::Memory {
        self.wire.remember()
    }

    /// By what the peer is to be judged that need not beat by itself.
    pub(crate) fn judgement(&self) -> Judgement {
        if self.wire.beats() { Judgement::RoundTrip } else { Judgement::OneWay }
    }

    /// Whether both sides have said their last word, and ours has left.
    pub(crate) fn is_finished(&self) -> bool {
        self.wire.is_closed() && self.tx.is_empty() && self.transmit().is_empty()
    }

    /// What a client asked a server for with the protocol.
    pub(crate) fn offer(&mut self) -> Option<Box<Offer>> {
        self.wire.offer()
    }

    pub(crate) fn handle_timeout(&mut self, now: Timestamp) {
        if let Phase::Established(liveness) = &mut self.phase {
            liveness.handle_timeout(now);
        }
    }

    /// Whether the handshake or the closing took too long.
    pub(crate) fn expired(&self, now: Timestamp) -> bool {
        match self.phase {
            Phase::Handshake { until } | Phase::Closing { until } => until <= now,
            Phase::Established(_) => false,
        }
    }

    /// Why the handshake took too long.
    pub(crate) fn handshake_timeout(&self) -> DownCause {
        match self.layers.as_ref().map_or(Stage::Open, |layers| layers.stage()) {
            Stage::Proxy => DownCause::ProxyTimeout,
            #[cfg(feature = "tls")]
            Stage::Tls => DownCause::TlsTimeout,
            Stage::Open => DownCause::HandshakeTimeout,
        }
    }

    /// What the TLS handshake agreed on.
    #[cfg(feature = "tls")]
    pub(crate) fn tls_info(&self) -> Option<crate::tunnel::tls::TlsInfo> {
        self.layers.as_ref().and_then(|layers| layers.tls_info())
    }

    /// The certificate that the peer proved to own, in DER.
    pub(crate) fn peer_certificate(&self) -> Option<Bytes> {
        #[cfg(feature = "tls")]
        return self.tls_info().and_then(|info| info.peer_certificate);
        #[cfg(not(feature = "tls"))]
        None
    }

    /// Whether the last input leaves nothing to do: no verdict to hear, and nothing to say to the peer.
    #[inline]
    pub(crate) fn is_at_rest(&self) -> bool {
        !self.echo_due && !self.ack_due && !self.tx.has_news() && self.is_established() && !self.has_action()
    }

    /// Whether [`Connection::poll_verdict`] has something to do.
    #[inline]
    pub(crate) fn has_action(&self) -> bool {
        self.liveness().is_some_and(Liveness::has_action)
    }

    /// Sends the beats that liveness asks for, and hands on the rest.
    #[inline]
    pub(crate) fn poll_verdict(&mut self, now: Timestamp) -> Option<Verdict> {
        if self.has_action() { self.next_verdict(now) } else { None }
    }

    #[inline(never)]
    fn next_verdict(&mut self, now: Timestamp) -> Option<Verdict> {
        loop {
            return Some(match self.liveness_mut()?.poll_action()? {
                LivenessAction::SendBeat { seq } => {
                    self.wire.encode(&Frame::Beat { seq }, &mut self.tx);
                    self.note_beat();
                    if !self.beat_waits
                        && self.beat_behind.is_none()
                        && let Some(liveness) = self.liveness_mut()
                    {
                        // The wire has no beats, and nothing that waits.
                        liveness.beat_written(now);
                    }
                    self.note_writes(now);
                    continue;
                }
                LivenessAction::ShowLife => {
                    (self.ack_due, self.life_due) = (true, true);
                    continue;
                }
                LivenessAction::Suspect { silent_for } => Verdict::Suspect { silent_for },
                LivenessAction::Recovered => Verdict::Recovered,
                LivenessAction::Measured => Verdict::Measured,
                LivenessAction::DeclareDead(report) => Verdict::Dead(report.cause),
            });
        }
    }

    #[inline]
    pub(crate) fn poll_timeout(&self) -> Option<Deadline> {
        match &self.phase {
            Phase::Handshake { until } => Some(Deadline::new(*until, DeadlineCause::Handshake)),
            Phase::Closing { until } => Some(Deadline::new(*until, DeadlineCause::Close)),
            Phase::Established(liveness) => liveness.poll_timeout(),
        }
    }
}

const fn out_of_sequence(frame: &'static str, error: SequenceError) -> DownCause {
    DownCause::Protocol(WireError::Sequence { frame, got: error.got, expected: error.highest })
}
