//! One connection of either side, from its opening to its end: wire, liveness and the messages that pass.
//!
//! [`Client`](crate::client::Client) and [`Server`](crate::server::Server) own connections and decide about handshakes,
//! sessions and what follows an end. Everything that judges a connection lives in here and dies with it.

mod cause;
mod events;

pub use cause::{DownCause, DownReport, Failure};
pub(crate) use events::{EventQueue, Outdated};

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;
use core::num::NonZeroU32;
use core::time::Duration;

use bytes::{Buf as _, Bytes};

use crate::liveness::{DeathCause, Evidence, Judgement, Liveness, LivenessAction};
use crate::session::{Dropped, Inbox, Message, SequenceError, Session, Ticket};
use crate::time::{Deadline, DeadlineCause, Timestamp};
use crate::tunnel::{Layers, Stage};
use crate::wire::websocket::upgrade::Offer;
use crate::wire::{Frame, Opening, Tx, Wire, WireError};

/// Messages are handed to the wire while fewer bytes than this wait, so that a beat never waits behind more.
const HIGH_WATER: u64 = 64 << 10;

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

/// What came of the peer behind the message that filled the inbox.
#[derive(Default)]
struct Unread {
    bytes: Bytes,
    /// The end that came behind them.
    end: Option<DownCause>,
    /// They are being decoded.
    open: bool,
    /// Nothing follows: the inbox makes room for them.
    last: bool,
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
    ) -> Self {
        Self {
            wire: W::new(wire, opening),
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

    /// Bytes arrived. They are to be decoded next; if there are layers, what [`Connection::through_layers`] makes of them.
    #[inline]
    pub(crate) fn received(&mut self, now: Timestamp) {
        if let Phase::Established(liveness) = &mut self.phase {
            liveness.received(now);
        }
    }

    #[inline]
    pub(crate) const fn has_layers(&self) -> bool {
        self.layers.is_some()
    }

    /// Whether what comes waits behind what was not decoded.
    #[inline]
    pub(crate) const fn has_unread(&self) -> bool {
        self.unread.is_some()
    }

    /// The inbox is full: what is behind the last frame waits for [`Connection::open_unread`], and nothing more is decoded. But
    /// behind the last bytes of a connection there will be no other moment: `false` if decoding goes on.
    #[inline(never)]
    pub(crate) fn leave_unread(&mut self, heard: &Heard<'_>, inbox: &Inbox) -> bool {
        if self.unread.as_ref().is_some_and(|unread| unread.last) && !inbox.is_overfull() {
            return false;
        }
        if let Some(liveness) = self.liveness_mut() {
            liveness.frame_finished();
        }
        let unread = self.unread.get_or_insert_default();
        if mem::take(&mut unread.open) {
            unread.bytes.advance(unread.bytes.len().saturating_sub(heard.rest.len()));
        } else {
            unread.bytes = Bytes::copy_from_slice(heard.rest);
        }
        true
    }

    /// Of the last bytes, those for which not even an inbox that is full twice has room: what the peer said at their end. The
    /// messages come again, if the peer keeps a session.
    pub(crate) fn last_word(&mut self) -> Option<DownCause> {
        let unread = self.unread.take()?;
        let mut rest = &unread.bytes[..];
        loop {
            match self.wire.decode(&mut rest, &mut self.tx) {
                Ok(Some(Frame::Goodbye(goodbye))) => return Some(DownCause::Goodbye(*goodbye)),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// What came meanwhile waits behind it.
    pub(crate) fn add_unread(&mut self, bytes: &[u8], end: Option<DownCause>) {
        let Some(unread) = &mut self.unread else { return };
        if !bytes.is_empty() {
            unread.bytes = [&unread.bytes, bytes].concat().into();
        }
        unread.end = unread.end.take().or(end);
    }

    /// There is room again: what is to be decoded next. If not all of it fits, [`Connection::leave_unread`] is called again.
    pub(crate) fn open_unread(&mut self) -> Option<Bytes> {
        let unread = self.unread.as_mut()?;
        unread.open = true;
        Some(unread.bytes.clone())
    }

    /// The connection is over: the same, for which room is made.
    pub(crate) fn open_last(&mut self, inbox: &Inbox) -> Option<Bytes> {
        if inbox.is_overfull() {
            return None;
        }
        self.unread.as_mut()?.last = true;
        self.open_unread()
    }

    /// All that [`Connection::open_unread`] gave was decoded, or the inbox is full again: then there is no end yet.
    pub(crate) fn close_unread(&mut self) -> Option<DownCause> {
        self.unread.take_if(|unread| unread.open)?.end
    }

    /// What arrived behind the layers. When it is decoded comes the end, if there was one.
    pub(crate) fn through_layers(&mut self, bytes: &[u8]) -> (Vec<u8>, Option<DownCause>) {
        let mut plain = Vec::new();
        let Some(layers) = &mut self.layers else { return (plain, None) };
        let end = match layers.receive(bytes, &mut plain) {
            Err(error) => Some(error.into()),
            Ok(()) if layers.peer_closed() => Some(DownCause::Network(Failure::Eof)),
            Ok(()) => None,
        };
        if layers.is_none() {
            self.layers = None;
        }
        (plain, end)
    }

    /// Bytes arrived in which nobody is interested any more, but for the peer's last word. And a farewell cannot leave before
    /// the layers are open.
    pub(crate) fn received_while_closing(&mut self, bytes: &[u8]) {
        let (mut plain, mut rest) = (Vec::new(), bytes);
        if let Some(layers) = &mut self.layers {
            // If it fails, there is no farewell; the close timeout runs.
            let failed = layers.receive(bytes, &mut plain).is_err();
            rest = if failed { &[] } else { &plain };
        }
        self.skim(rest);
    }

    /// Looks for the peer's last word.
    fn skim(&mut self, mut bytes: &[u8]) {
        while let Ok(Some(_)) = self.wire.decode(&mut bytes, &mut self.tx) {}
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

    /// Puts what is due and what waits in the outbox on its way, as far as there is room; while `greeting`, nothing new but
    /// greetings. Drops go to `dropped`. Returns the newest
    /// message that is settled because it has left, where the peer acknowledges nothing.
    pub(crate) fn pump(
        &mut self,
        now: Timestamp,
        session: &mut Session,
        greeting: bool,
        mut dropped: impl FnMut(Dropped),
    ) -> Option<Ticket> {
        if !self.is_established() {
            return None;
        }
        let settled = if self.tx.is_empty() && !self.wire.acknowledges() { session.outbox.settle_sent() } else { None };
        // A peer that does not read gets one answer when it reads again, not one for each of its frames.
        if self.tx.len() < HIGH_WATER {
            self.answer(now, session.inbox.received());
        }
        while self.tx.len() < HIGH_WATER {
            if self.wire.encode_rest(&mut self.tx) {
                if self.beat_waits {
                    self.note_beat();
                }
                continue;
            }
            if let Some(too_large) = session.outbox.refuse_larger_than(self.peer_limit.into()) {
                dropped(too_large);
                continue;
            }
            let next = if greeting { session.outbox.next_greeting() } else { session.outbox.next_to_send() };
            let Some((seq, message)) = next else { break };
            self.wire.encode(&Frame::Data { seq, message }, &mut self.tx);
        }
        self.note_writes(now);
        settled
    }

    /// The wire was given a beat, or has written what the beat waits for.
    fn note_beat(&mut self) {
        self.beat_waits = self.wire.holds_beat();
        if !self.beat_waits {
            self.beat_behind = NonZeroU32::new(self.tx.len() as u32);
        }
    }

    #[inline]
    fn answer(&mut self, now: Timestamp, received: u64) {
        if mem::take(&mut self.echo_due) {
            self.wire.encode(&Frame::Echo { seq: self.echo_seq }, &mut self.tx);
        }
        if self.ack_due && self.is_feedback_due(now) {
            self.ack_due = false;
            self.last_feedback = now;
            if mem::take(&mut self.life_due) {
                self.wire.show_life(&mut self.tx);
            }
            self.wire.encode(&Frame::Ack { seq: received }, &mut self.tx);
        }
    }

    /// One answer for all that came in one read, unless it takes us long to look at it.
    #[inline]
    fn is_feedback_due(&self, now: Timestamp) -> bool {
        let Some(unread) = &self.unread else { return true };
        let reply_timeout = self.liveness().map_or(Duration::ZERO, Liveness::reply_timeout);
        unread.bytes.is_empty() || self.life_due || now.since(self.last_feedback) >= reply_timeout / 4
    }

    /// Tells the peer with the next pump what has arrived, even if nothing new has.
    pub(crate) const fn acknowledge(&mut self) {
        self.ack_due = true;
    }

    /// Whether there are bytes to write that the driver was not told of.
    pub(crate) fn take_transmit(&mut self) -> bool {
        if let Some(layers) = &mut self.layers {
            layers.load(self.tx.chunk(), matches!(self.phase, Phase::Closing { .. }));
            return layers.announce();
        }
        self.tx.take_news()
    }

    /// The next bytes to write.
    pub(crate) fn transmit(&self) -> &[u8] {
        match &self.layers {
            Some(layers) => layers.transmit(),
            None => self.tx.chunk(),
        }
    }

    /// Encodes a frame of the handshake.
    pub(crate) fn say(&mut self, now: Timestamp, frame: &Frame) {
        self.wire.encode(frame, &mut self.tx);
        self.note_writes(now);
    }

    /// Tells the peer with a last frame, if it would understand one, why this is the end. Whether anything of it, or of what
    /// else must not be cut off, waits to leave.
    pub(crate) fn say_last(&mut self, farewell: Option<&Frame>, cause: &DownCause) -> bool {
        if let Some(farewell) = farewell {
            self.wire.encode(farewell, &mut self.tx);
        }
        let said = farewell.is_some() || self.wire.is_closed();
        (said && !self.tx.is_empty()) || cause.leaves_alert(self.transmit())
    }

    /// What the peer still sends is thrown away until it hangs up, or until `timeout`.
    pub(crate) fn close(&mut self, now: Timestamp, timeout: Duration) {
        // While they are decoded, what is behind the cause is not looked at.
        if let Some(unread) = self.unread.take_if(|unread| !unread.open) {
            self.skim(&unread.bytes);
        }
        self.phase = Phase::Closing { until: now.after(timeout) };
    }

    /// The peer, which keeps no session, found a message too large: the culprit, as far as that can be told. Without
    /// acknowledgements, what left before counts as settled, and of what has not only a long message can be known to the peer.
    pub(crate) fn take_too_large(&self, session: &mut Session) -> Option<Dropped> {
        if self.wire.keeps_session() {
            return None;
        }
        let at_least = if self.wire.acknowledges() { 0 } else { HIGH_WATER as usize };
        session.outbox.drop_largest_sent(at_least)
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

    /// The driver reports that the first `count` bytes to write have left.
    pub(crate) fn written(&mut self, now: Timestamp, count: usize) {
        let left = match &mut self.layers {
            Some(layers) => layers.written(count),
            None => count,
        };
        if self.layers.as_ref().is_some_and(|layers| layers.is_none()) {
            self.layers = None;
        }
        let mut taken = 0;
        while left > taken {
            match self.tx.consume(left - taken) {
                0 => break,
                more => taken += more,
            }
        }
        let Phase::Established(liveness) = &mut self.phase else { return };
        if count > 0 {
            liveness.write_progressed(now, self.tx.is_empty());
            if self.beat_waits {
                liveness.beat_held(now);
            }
        }
        if let Some(behind) = self.beat_behind {
            self.beat_behind = NonZeroU32::new(behind.get().saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX)));
            if self.beat_behind.is_none() {
                liveness.beat_written(now);
            }
        }
    }

    fn note_writes(&mut self, now: Timestamp) {
        if let Phase::Established(liveness) = &mut self.phase
            && !self.tx.is_empty()
        {
            liveness.write_pending(now);
        }
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
