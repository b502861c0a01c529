//! With a peer that is no keepbeat: pings and pongs for beats, numbers that only we know.

use super::config::Beats;
use super::{Control, Outgoing};
use crate::session::Message;
use crate::wire::{Frame, Tx};

/// What a ping of ours says: the newest beat and the newest message that left before it. The pong proves both.
const MARK: usize = 4 + 8;

/// A WebSocket without the native protocol.
#[derive(Default)]
pub(super) struct Foreign {
    /// The newest beat that left, and the newest that was answered.
    beat: u32,
    answered: u32,
    /// The number of the newest message that came.
    received: u64,
    /// The newest message that has arrived, so many behind it the newest that a ping asks for, and the newest that began to leave.
    arrived: u64,
    asked: u32,
    begun: u32,
    /// Whoever asks has not been told of the newest that has arrived.
    news: bool,
    /// The peer sent the beat that is a message, and one of ours is due: messages, which do not go between the fragments of
    /// another.
    owes_reply: bool,
    owes_request: bool,
}

impl Foreign {
    /// A message came: of the application, or a beat in its place.
    pub(super) fn hear(&mut self, message: Message, beats: &Beats) -> Frame {
        if let Beats::Message { request, reply } = beats {
            if message == *reply && (self.answered != self.beat || request != reply) {
                self.answered = self.beat;
                return Frame::Echo { seq: self.beat };
            }
            if message == *request {
                self.owes_reply = true;
                return Frame::Beat { seq: 0 };
            }
        }
        self.received += 1;
        Frame::Data { seq: self.received, message }
    }

    /// A pong came: perhaps the answer to one of ours.
    pub(super) fn be_ponged(&mut self, pong: &Control, beats: &Beats, outgoing: &mut Outgoing, tx: &mut Tx) -> Frame {
        let Some((beat, message)) = read_mark(pong.as_slice()) else { return Frame::Unknown };
        if beat > self.beat || message > self.asked() {
            return Frame::Unknown;
        }
        if message > self.arrived {
            let more = (message - self.arrived) as u32;
            (self.asked, self.begun) = (self.asked - more, self.begun.saturating_sub(more));
            (self.arrived, self.news) = (message, true);
        }
        self.has_left(beats, outgoing, tx);
        if beat > self.answered {
            self.answered = beat;
            return Frame::Echo { seq: beat };
        }
        self.take_acknowledgement().unwrap_or(Frame::Unknown)
    }

    /// What has arrived, if that was not told yet.
    #[inline]
    pub(super) fn take_acknowledgement(&mut self) -> Option<Frame> {
        core::mem::take(&mut self.news).then_some(Frame::Ack { seq: self.arrived })
    }

    pub(super) const fn owes_reply(&self) -> bool {
        self.owes_reply
    }

    pub(super) fn say(&mut self, frame: &Frame, beats: &Beats, outgoing: &mut Outgoing, tx: &mut Tx) {
        match (frame, beats) {
            (Frame::Beat { seq }, Beats::Ping) => {
                self.beat = *seq;
                self.ping(outgoing, tx);
            }
            (Frame::Beat { seq }, Beats::Message { .. }) => {
                self.beat = *seq;
                self.owes_request = true;
                self.pay(beats, outgoing, tx);
            }
            (Frame::Echo { .. }, _) => self.pay(beats, outgoing, tx),
            (Frame::Data { seq, message }, _) => {
                outgoing.message(message, tx);
                self.begun = u32::try_from(seq.saturating_sub(self.arrived)).unwrap_or(u32::MAX);
                self.has_left(beats, outgoing, tx);
            }
            _ => {}
        }
    }

    /// The newest message that a ping asks for.
    const fn asked(&self) -> u64 {
        self.arrived.saturating_add(self.asked as u64)
    }

    /// The newest message of which nothing is left to write, behind the newest that has arrived.
    fn left(&self, outgoing: &Outgoing) -> u32 {
        self.begun.saturating_sub(outgoing.has_rest().into())
    }

    /// Where nobody is asked: all that has left counts as arrived. The newest that has.
    pub(super) fn take_left(&mut self, outgoing: &Outgoing) -> u64 {
        let left = self.left(outgoing);
        self.begun -= left;
        self.arrived += u64::from(left);
        self.arrived
    }

    /// Pings, to be told of all that has left.
    fn ping(&mut self, outgoing: &mut Outgoing, tx: &mut Tx) {
        self.asked = self.left(outgoing);
        outgoing.ping(&mark(self.beat, self.asked()), tx);
    }

    /// Part of a message has left, or the last of it.
    pub(super) fn has_left(&mut self, beats: &Beats, outgoing: &mut Outgoing, tx: &mut Tx) {
        match beats {
            Beats::Ping => self.ask(outgoing, tx),
            Beats::Message { .. } => self.pay(beats, outgoing, tx),
            Beats::None => {}
        }
    }

    /// Whether a beat waits for the last fragment of a message.
    pub(super) const fn owes_request(&self) -> bool {
        self.owes_request
    }

    /// Writes the beats that are messages and due, unless a message is half written.
    fn pay(&mut self, beats: &Beats, outgoing: &mut Outgoing, tx: &mut Tx) {
        let Beats::Message { request, reply } = beats else { return };
        if outgoing.has_rest() {
            return;
        }
        if core::mem::take(&mut self.owes_reply) {
            outgoing.message(reply, tx);
        }
        if core::mem::take(&mut self.owes_request) {
            outgoing.message(request, tx);
        }
    }

    /// Asks what has arrived, unless that is asked already.
    fn ask(&mut self, outgoing: &mut Outgoing, tx: &mut Tx) {
        if self.asked == 0 && self.left(outgoing) > 0 {
            self.ping(outgoing, tx);
        }
    }
}

fn mark(beat: u32, message: u64) -> Control {
    let mut payload = [0; MARK];
    let (front, back) = payload.split_at_mut(4);
    front.copy_from_slice(&beat.to_be_bytes());
    back.copy_from_slice(&message.to_be_bytes());
    Control::new(&payload).unwrap_or(Control::EMPTY)
}

fn read_mark(payload: &[u8]) -> Option<(u32, u64)> {
    let (beat, message) = payload.split_first_chunk()?;
    Some((u32::from_be_bytes(*beat), u64::from_be_bytes(message.try_into().ok()?)))
}
