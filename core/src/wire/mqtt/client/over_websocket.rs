//! Packets in the binary messages of a WebSocket (MQTT 5.0, section 6).
//!
//! ```text
//!   bytes ── WebSocket ──> message ── packets of `Mqtt` ──> frames of the link
//!   bytes <── WebSocket ── message <── `staged` <────────── frames of the link
//! ```

use alloc::boxed::Box;

use bytes::Bytes;

use super::Mqtt;
use crate::wire::websocket::opening::{Asking, agree};
use crate::wire::websocket::{
    Close, CloseCode, Control, Incoming, Item, Limits, MaskKeys, Outgoing, Violation, WebSocketConfig, meaning,
};
use crate::wire::{Frame, Opening, Role, Tx, WireError};

/// What a client offers and a server must agree to.
pub(super) const SUBPROTOCOL: &str = "mqtt";

/// Until the link is up, pings are answered while fewer bytes than this wait to leave.
const PONGS_WAITING: u64 = 4096;

/// The client's end of a WebSocket with packets in it.
pub(super) struct OverWebSocket {
    config: WebSocketConfig,
    /// Until the server has answered the request.
    asking: Option<Box<Asking<()>>>,
    incoming: Incoming,
    outgoing: Outgoing,
    /// Packets that are to leave, in one message. CONNECT waits here for the answer.
    staged: Tx,
    /// Of the message that came last, what was not looked at yet.
    message: Bytes,
    /// The unfinished packet is the one that was unfinished when this was last asked.
    seen: bool,
    established: bool,
    /// The newest ping of the server, which is to be answered.
    ping: Option<Control>,
    /// We broke the connection off: for this.
    failed: Option<CloseCode>,
    /// Both sides have said their last word.
    closed: bool,
}

impl OverWebSocket {
    /// `limit` is that of packets, in bytes.
    pub(super) fn new(config: &WebSocketConfig, limit: u32, opening: Opening<'_>) -> Self {
        let Opening { server, secure, entropy, .. } = opening;
        let mut seed = [0; 32];
        entropy.fill(&mut seed);
        let asking = Asking::new(server.cloned(), secure, entropy);
        // A message may have several packets in it.
        let limits = Limits::of_message(config.message_limit().max(limit as usize));
        Self {
            config: config.clone(),
            asking: Some(Box::new(asking)),
            incoming: Incoming::new(Role::Client, limits),
            outgoing: Outgoing::client(MaskKeys::new(seed)),
            staged: Tx::default(),
            message: Bytes::new(),
            seen: false,
            established: false,
            ping: None,
            failed: None,
            closed: false,
        }
    }

    /// Where packets are written to; then they are to be sent.
    pub(super) const fn staged(&mut self) -> &mut Tx {
        &mut self.staged
    }

    /// Sends the packets that were written, if the WebSocket is open.
    pub(super) fn send(&mut self, tx: &mut Tx) {
        if self.asking.is_none() {
            self.outgoing.binary_of(&mut self.staged, tx);
        }
    }

    /// Does with a frame of the link what concerns the WebSocket itself. Its packets were sent.
    pub(super) fn encode(&mut self, frame: &Frame, tx: &mut Tx) {
        match frame {
            Frame::Hello(_) => {
                if let Some(asking) = &mut self.asking {
                    tx.put(&asking.ask(self.config.request(), ()));
                }
            }
            Frame::Echo { .. } => {
                if let Some(ping) = self.ping.take() {
                    self.outgoing.pong(&ping, tx);
                }
            }
            Frame::Goodbye(goodbye) if self.asking.is_none() => {
                self.outgoing.close(&meaning::close(goodbye, Role::Client, self.failed), tx);
            }
            _ => {}
        }
    }

    /// Hands what came to whoever reads packets, until there is a frame for the link.
    pub(super) fn decode(
        &mut self,
        input: &mut &[u8],
        packets: &mut Mqtt,
        tx: &mut Tx,
    ) -> Result<Option<Frame>, WireError> {
        if self.failed.is_some() {
            *input = &[];
            return Ok(None);
        }
        if self.asking.is_some()
            && let Some(refusal) = self.be_answered(input, tx)?
        {
            return Ok(Some(refusal));
        }
        if !self.mid_frame(packets) {
            self.seen = false;
        }
        loop {
            if !self.message.is_empty() {
                let message = core::mem::take(&mut self.message);
                let mut rest = &message[..];
                let frame = self.hear(&mut rest, packets, tx)?;
                self.message = message.slice_ref(rest);
                if frame.is_some() {
                    return Ok(frame);
                }
            }
            // It takes no memory of the heap.
            if let Some((message, behind)) = self.incoming.peek_short_binary(input) {
                *input = behind;
                let mut rest = message.as_slice();
                let frame = self.hear(&mut rest, packets, tx)?;
                self.message = Bytes::copy_from_slice(rest);
                if frame.is_some() {
                    return Ok(frame);
                }
                continue;
            }
            match self.incoming.next(input).map_err(|violation| self.fail(violation))? {
                None => return Ok(None),
                Some(Item::Message(message)) if message.is_text() => {
                    self.failed = Some(CloseCode::UNSUPPORTED_DATA);
                    let problem = "a message is text, where MQTT has binary ones";
                    return Err(WireError::Malformed { frame: "frame of WebSocket", problem });
                }
                Some(Item::Message(message)) => self.message = message.into_payload(),
                Some(Item::Ping(ping)) if self.established => {
                    // Of several, the newest is answered (RFC 6455, section 5.5.3).
                    self.ping = Some(ping);
                    return Ok(Some(Frame::Beat { seq: 0 }));
                }
                // Nobody answers beats yet.
                Some(Item::Ping(ping)) if tx.len() < PONGS_WAITING => self.outgoing.pong(&ping, tx),
                Some(Item::Ping(_) | Item::Pong(_)) => {}
                Some(Item::Close(close)) => {
                    self.outgoing.close(&close.answer(), tx);
                    self.closed = true;
                    return Ok(Some(Frame::Goodbye(Box::new(meaning::of_close(&close, self.config.close_codes())))));
                }
            }
        }
    }

    pub(super) const fn established(&mut self) {
        self.established = true;
    }

    pub(super) fn mid_frame(&self, packets: &Mqtt) -> bool {
        self.incoming.is_unfinished() || packets.incoming.is_unfinished()
    }

    /// Whether what is unfinished was when this was last asked, whatever pings came in between.
    pub(super) const fn is_same_frame(&mut self) -> bool {
        core::mem::replace(&mut self.seen, true)
    }

    pub(super) const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Reads the answer to the request. `None` if the WebSocket is open, or all was used.
    fn be_answered(&mut self, input: &mut &[u8], tx: &mut Tx) -> Result<Option<Frame>, WireError> {
        let Some(asking) = &mut self.asking else { return Ok(None) };
        match asking.receive(input) {
            Ok(None) => Ok(None),
            Ok(Some((agreed, ()))) => {
                agree(&agreed, &mut self.incoming, &mut self.outgoing);
                self.asking = None;
                if agreed.subprotocol.is_none() {
                    self.failed = Some(CloseCode::PROTOCOL_ERROR);
                    self.staged = Tx::default();
                    let problem = "it does not agree to the sub-protocol mqtt";
                    return Err(WireError::Malformed { frame: "answer to the upgrade", problem });
                }
                self.send(tx);
                Ok(None)
            }
            Err(problem) => {
                // No other answer comes.
                (self.failed, self.closed) = (Some(CloseCode::PROTOCOL_ERROR), true);
                problem.map(|refusal| Some(Frame::Refuse(Box::new(meaning::of_refusal(&refusal)))))
            }
        }
    }

    /// Hands on part of a message. What is answered to packets in it leaves in one.
    fn hear(&mut self, bytes: &mut &[u8], packets: &mut Mqtt, tx: &mut Tx) -> Result<Option<Frame>, WireError> {
        let frame = packets.read(bytes, &mut self.staged);
        self.send(tx);
        if matches!(frame, Ok(Some(_))) || !packets.incoming.is_unfinished() {
            self.seen = false;
        }
        if let Ok(Some(Frame::Goodbye(_) | Frame::Refuse(_))) = frame {
            // A close follows; ours need not wait for it.
            self.outgoing.close(&Close::new(CloseCode::NORMAL, "").unwrap_or(Close::EMPTY), tx);
            self.closed = true;
        }
        frame
    }

    fn fail(&mut self, violation: Violation) -> WireError {
        self.failed = Some(violation.code());
        meaning::error(violation)
    }
}
