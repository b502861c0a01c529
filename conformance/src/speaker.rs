//! The mind of the script's end of one connection, without its socket: bytes to what is seen, orders to bytes.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use keepbeat_core::session::Message;
use keepbeat_core::wire::beat::{Beat, BeatConfig, MESSAGE_LIMIT_MAX};
use keepbeat_core::wire::websocket::upgrade::{
    Agreed, ClientUpgrade, Offer, ServerUpgrade, UpgradeError, UpgradeRequest,
};
use keepbeat_core::wire::websocket::{Incoming, Item, Limits, MaskKeys, Outgoing, Role, SUBPROTOCOL};
use keepbeat_core::wire::{Frame, Tx, Wire};

use crate::network::{Order, Seen, Way};

pub(crate) struct Speaker {
    role: Role,
    ear: Ear,
    pub(crate) reads: bool,
    echoes: bool,
    pub(crate) out: VecDeque<Vec<u8>>,
    pub(crate) repeat: Option<(Vec<u8>, Duration)>,
    hung_up: bool,
    /// We said a close of WebSocket.
    closed: bool,
}

/// What the next bytes are.
enum Ear {
    /// Frames of the native protocol.
    Frames(Box<Beat>),
    /// A request to upgrade.
    Request(Box<ServerUpgrade>),
    /// Nothing before our answer to it.
    Offered(Box<Offer>),
    /// The answer to ours.
    Answer(Box<ClientUpgrade>),
    /// A WebSocket; frames of the native protocol in its messages, if there is somebody to read them.
    WebSocket(Box<Incoming>, Option<Box<Beat>>),
    /// Nothing that is listened to.
    Nothing,
}

impl Speaker {
    /// A server, or a client, of the script.
    pub(crate) fn new(way: Way, role: Role) -> Self {
        let ear = match (way, role) {
            (Way::Tcp, _) => Ear::Frames(Box::new(Beat::new(&large_messages()))),
            (Way::WebSocket | Way::Foreign, Role::Server) => Ear::Request(Box::new(ServerUpgrade::new())),
            (Way::WebSocket | Way::Foreign, Role::Client) => Ear::Nothing,
        };
        Self { role, ear, reads: true, echoes: true, out: VecDeque::new(), repeat: None, hung_up: false, closed: false }
    }

    /// Takes an order; [`Order::Reset`] is for whoever has the socket.
    pub(crate) fn obey(&mut self, order: Order) {
        match order {
            Order::Say(pieces) => self.out.extend(pieces),
            Order::Read(reads) => self.reads = reads,
            Order::Echo(echoes) => self.echoes = echoes,
            Order::Repeat(bytes, every) => self.repeat = Some((bytes, every)),
            Order::Quiet => self.repeat = None,
            Order::HangUp => self.hang_up(),
            Order::Ask(request) => {
                let server = "suite.example:80".parse().expect("a name and a port");
                let said = request.is_some();
                let request = request.or_else(|| UpgradeRequest::new("/").ok()).expect("a request for /");
                let (upgrade, request) = request.begin(&server, false, [9; 16]);
                self.ear = Ear::Answer(Box::new(upgrade));
                self.out.extend(said.then_some(request));
            }
            Order::Agree(subprotocol) => {
                let Ear::Offered(offer) = &self.ear else { return };
                let native = subprotocol.as_deref() == Some(SUBPROTOCOL);
                let mut agreed = Agreed::default();
                agreed.subprotocol = subprotocol;
                self.out.push_back(offer.accept(&agreed).expect("a sub-protocol that was offered"));
                self.open(native);
            }
            Order::Close(close) => self.item(&Item::Close(close)),
            Order::Reset => {}
        }
    }

    fn open(&mut self, native: bool) {
        let frames = native.then(|| Box::new(Beat::new(&large_messages())));
        let limits = Limits::of_message(2 * MESSAGE_LIMIT_MAX);
        self.ear = Ear::WebSocket(Box::new(Incoming::new(self.role, limits)), frames);
    }

    fn hang_up(&mut self) {
        self.repeat = None;
        self.hung_up = true;
    }

    pub(crate) fn hear(&mut self, mut bytes: &[u8], mut seen: impl FnMut(Seen)) {
        while self.hear_next(&mut bytes, &mut seen).unwrap_or_else(|Garbage| {
            self.ear = Ear::Nothing;
            seen(Seen::Garbage);
            false
        }) {}
    }

    /// Takes the next thing from the front of `bytes`, if it is complete.
    fn hear_next(&mut self, bytes: &mut &[u8], seen: &mut impl FnMut(Seen)) -> Result<bool, Garbage> {
        match &mut self.ear {
            Ear::Frames(beat) => {
                let Some(frame) = next_frame(beat, bytes)? else { return Ok(false) };
                self.heed(&frame);
                seen(Seen::Frame(frame));
            }
            Ear::Request(upgrade) => {
                let Some(request) = upgrade.receive(bytes).map_err(|_| Garbage)? else { return Ok(false) };
                let line = format!("{} {}", request.method(), request.target());
                self.ear = Ear::Offered(Box::new(request.into_offer().map_err(|_| Garbage)?));
                seen(Seen::Request(line));
            }
            Ear::Offered(_) if !bytes.is_empty() => return Err(Garbage),
            Ear::Offered(_) | Ear::Nothing => return Ok(false),
            Ear::Answer(upgrade) => match upgrade.receive(bytes) {
                Ok(None) => return Ok(false),
                Ok(Some(agreed)) => {
                    self.open(agreed.subprotocol.as_deref() == Some(SUBPROTOCOL));
                    seen(Seen::Answer { status: 101, retry_after: None });
                }
                Err(UpgradeError::Refused(refusal)) => {
                    self.ear = Ear::Nothing;
                    seen(Seen::Answer { status: refusal.status, retry_after: refusal.retry_after });
                }
                Err(_) => return Err(Garbage),
            },
            Ear::WebSocket(incoming, frames) => {
                let Some(item) = incoming.next(bytes).map_err(|_| Garbage)? else { return Ok(false) };
                let (Some(beat), Item::Message(message)) = (frames, &item) else {
                    self.answer(&item);
                    seen(Seen::Item(item));
                    return Ok(true);
                };
                for frame in whole_frames(beat, message)? {
                    self.heed(&frame);
                    seen(Seen::Frame(frame));
                }
            }
        }
        Ok(true)
    }

    fn heed(&mut self, frame: &Frame) {
        if let Frame::Beat { seq } = *frame
            && self.echoes
            && !self.hung_up
        {
            let echo = self.bytes(&Frame::Echo { seq });
            self.out.push_back(echo);
        }
    }

    fn answer(&mut self, item: &Item) {
        if !self.echoes {
            return;
        }
        match item {
            Item::Ping(payload) if !self.hung_up => self.item(&Item::Pong(payload.clone())),
            Item::Close(close) => {
                self.item(&Item::Close(close.answer()));
                // The server hangs up first (RFC 6455, section 7.1.1).
                if self.role == Role::Server {
                    self.hang_up();
                }
            }
            _ => {}
        }
    }

    fn item(&mut self, item: &Item) {
        if !self.closed {
            self.out.push_back(item_bytes(self.role, item));
        }
        self.closed |= matches!(item, Item::Close(_));
    }

    fn bytes(&self, frame: &Frame) -> Vec<u8> {
        let way = if let Ear::WebSocket(..) = self.ear { Way::WebSocket } else { Way::Tcp };
        frame_bytes(way, self.role, frame)
    }

    /// What to write next.
    pub(crate) fn piece(&mut self) -> Option<&[u8]> {
        while self.out.front().is_some_and(Vec::is_empty) {
            self.out.pop_front();
        }
        self.out.front().map(Vec::as_slice)
    }

    pub(crate) fn wrote(&mut self, count: usize) {
        if let Some(piece) = self.out.front_mut() {
            piece.drain(..count);
        }
    }

    /// Whether our side is to end now.
    pub(crate) fn is_done(&mut self) -> bool {
        self.hung_up && self.piece().is_none()
    }
}

/// Bytes that are not what they should be. Nothing behind them is listened to.
struct Garbage;

fn next_frame(beat: &mut Beat, bytes: &mut &[u8]) -> Result<Option<Frame>, Garbage> {
    let frame = beat.decode(bytes).map_err(|_| Garbage)?;
    if matches!(frame, Some(Frame::Hello(_) | Frame::Welcome(_))) {
        beat.established();
    }
    Ok(frame)
}

/// The frames in a message: no frame spans two, and none is in a text.
fn whole_frames(beat: &mut Beat, message: &Message) -> Result<Vec<Frame>, Garbage> {
    let (mut rest, mut frames) = (&message[..], Vec::new());
    while let Some(frame) = next_frame(beat, &mut rest)? {
        frames.push(frame);
    }
    if message.is_text() || frames.is_empty() || beat.mid_frame() { Err(Garbage) } else { Ok(frames) }
}

/// The limits of a side that takes every message.
pub(crate) fn large_messages() -> BeatConfig {
    // The largest that can be built; if it could not be, the defaults would show it at once.
    BeatConfig::builder().message_limit(MESSAGE_LIMIT_MAX).build().unwrap_or_default()
}

/// `frame` as it goes over the wire from `role`.
pub(crate) fn frame_bytes(way: Way, role: Role, frame: &Frame) -> Vec<u8> {
    let mut tx = Tx::default();
    Beat::new(&BeatConfig::default()).encode(frame, &mut tx);
    let bytes = taken(&mut tx);
    if way == Way::Tcp { bytes } else { item_bytes(role, &Item::Message(Message::binary(Bytes::from(bytes)))) }
}

/// `item` as it goes over a WebSocket from `role`.
pub(crate) fn item_bytes(role: Role, item: &Item) -> Vec<u8> {
    let mut tx = Tx::default();
    let mut outgoing = match role {
        Role::Client => Outgoing::client(MaskKeys::new([7; 32])),
        Role::Server => Outgoing::server(),
    };
    match item {
        Item::Message(message) => {
            outgoing.message(message, &mut tx);
            while outgoing.rest(&mut tx) {}
        }
        Item::Ping(payload) => outgoing.ping(payload, &mut tx),
        Item::Pong(payload) => outgoing.pong(payload, &mut tx),
        Item::Close(close) => outgoing.close(close, &mut tx),
    }
    taken(&mut tx)
}

fn taken(tx: &mut Tx) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !tx.is_empty() {
        bytes.extend_from_slice(tx.chunk());
        tx.consume(tx.chunk().len());
    }
    bytes
}
