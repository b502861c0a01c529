//! The mind of the script's end of one connection, without its socket: bytes to what is seen, orders to bytes.

use std::collections::VecDeque;
use std::time::Duration;

use keepbeat_core::session::Message;
use keepbeat_core::wire::beat::{Beat, BeatConfig, MESSAGE_LIMIT_MAX};
use keepbeat_core::wire::mqtt::{Incoming as Packets, PACKET_LIMIT, Packet};
use keepbeat_core::wire::websocket::upgrade::{
    Agreed, ClientUpgrade, Offer, ServerUpgrade, UpgradeError, UpgradeRequest,
};
use keepbeat_core::wire::websocket::{Incoming, Item, Limits, MaskKeys, Outgoing, Role};
use keepbeat_core::wire::{Frame, Tx, Wire};

use crate::network::{Order, Seen, Way};
use crate::packets::{of_frame, packet_bytes};

pub(crate) struct Speaker {
    way: Way,
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
    /// Frames or packets.
    Words(Words),
    /// A request to upgrade.
    Request(Box<ServerUpgrade>),
    /// Nothing before our answer to it.
    Offered(Box<Offer>),
    /// The answer to ours.
    Answer(Box<ClientUpgrade>),
    /// A WebSocket; frames or packets in its messages, if there is somebody to read them.
    WebSocket(Box<Incoming>, Option<Words>),
    /// Nothing that is listened to.
    Nothing,
}

/// What reads what a link says, whatever is below.
enum Words {
    /// Frames of the native protocol.
    Frames(Box<Beat>),
    /// Packets of MQTT.
    Packets(Box<Packets>),
}

impl Speaker {
    /// A server, or a client, of the script.
    pub(crate) fn new(way: Way, role: Role) -> Self {
        let ear = match (way, role) {
            (Way::Tcp | Way::Mqtt, _) => Ear::Words(Words::of(way)),
            (_, Role::Server) => Ear::Request(Box::new(ServerUpgrade::new())),
            (_, Role::Client) => Ear::Nothing,
        };
        Self {
            way,
            role,
            ear,
            reads: true,
            echoes: true,
            out: VecDeque::new(),
            repeat: None,
            hung_up: false,
            closed: false,
        }
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
                let mut agreed = Agreed::default();
                agreed.subprotocol = subprotocol;
                self.out.push_back(offer.accept(&agreed).expect("a sub-protocol that was offered"));
                self.open(agreed.subprotocol.as_deref());
            }
            Order::Close(close) => self.item(&Item::Close(close)),
            Order::Reset => {}
        }
    }

    fn open(&mut self, subprotocol: Option<&str>) {
        let words = subprotocol.filter(|agreed| Some(*agreed) == self.way.subprotocol()).map(|_| Words::of(self.way));
        let limits = Limits::of_message(2 * MESSAGE_LIMIT_MAX);
        self.ear = Ear::WebSocket(Box::new(Incoming::new(self.role, limits)), words);
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
            Ear::Words(words) => {
                let Some(heard) = words.next(bytes)? else { return Ok(false) };
                self.heed(&heard);
                seen(heard);
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
                    self.open(agreed.subprotocol.as_deref());
                    seen(Seen::Answer { status: 101, retry_after: None });
                }
                Err(UpgradeError::Refused(refusal)) => {
                    self.ear = Ear::Nothing;
                    seen(Seen::Answer { status: refusal.status, retry_after: refusal.retry_after });
                }
                Err(_) => return Err(Garbage),
            },
            Ear::WebSocket(incoming, words) => {
                let Some(item) = incoming.next(bytes).map_err(|_| Garbage)? else { return Ok(false) };
                let (Some(words), Item::Message(message)) = (words, &item) else {
                    self.answer(&item);
                    seen(Seen::Item(item));
                    return Ok(true);
                };
                for heard in words.all(message)? {
                    self.heed(&heard);
                    seen(heard);
                }
            }
        }
        Ok(true)
    }

    fn heed(&mut self, heard: &Seen) {
        let echo = match *heard {
            Seen::Frame(Frame::Beat { seq }) => Frame::Echo { seq },
            Seen::Packet(Packet::PingReq) => Frame::Echo { seq: 0 },
            _ => return,
        };
        if self.echoes && !self.hung_up {
            self.out.push_back(frame_bytes(self.way, self.role, &echo));
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

impl Words {
    fn of(way: Way) -> Self {
        if way.is_mqtt() {
            Self::Packets(Box::new(Packets::server(PACKET_LIMIT)))
        } else {
            Self::Frames(Box::new(Beat::new(&large_messages())))
        }
    }

    fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Seen>, Garbage> {
        match self {
            Self::Frames(beat) => {
                let frame = beat.decode(bytes).map_err(|_| Garbage)?;
                if matches!(frame, Some(Frame::Hello(_) | Frame::Welcome(_))) {
                    beat.established();
                }
                Ok(frame.map(Seen::Frame))
            }
            Self::Packets(packets) => {
                let packet = packets.next(bytes).map_err(|_| Garbage)?;
                Ok(packet.map(|packet| Seen::Packet(packet.into_owned())))
            }
        }
    }

    /// What is in a message: nothing spans two, and nothing is in a text.
    fn all(&mut self, message: &Message) -> Result<Vec<Seen>, Garbage> {
        let (mut rest, mut all) = (&message[..], Vec::new());
        while let Some(heard) = self.next(&mut rest)? {
            all.push(heard);
        }
        let is_unfinished = match self {
            Self::Frames(beat) => beat.mid_frame(),
            Self::Packets(packets) => packets.is_unfinished(),
        };
        if message.is_text() || all.is_empty() || is_unfinished { Err(Garbage) } else { Ok(all) }
    }
}

/// The limits of a side that takes every message.
pub(crate) fn large_messages() -> BeatConfig {
    // The largest that can be built; if it could not be, the defaults would show it at once.
    BeatConfig::builder().message_limit(MESSAGE_LIMIT_MAX).build().unwrap_or_default()
}

/// `frame` as it goes over the wire from `role`.
pub(crate) fn frame_bytes(way: Way, role: Role, frame: &Frame) -> Vec<u8> {
    if way.is_mqtt() {
        return packet_bytes(way, &of_frame(frame));
    }
    let mut tx = Tx::default();
    Beat::new(&BeatConfig::default()).encode(frame, &mut tx);
    wrapped(way, role, taken(&mut tx))
}

/// Frames or packets as they go over the wire from `role`.
pub(crate) fn wrapped(way: Way, role: Role, bytes: Vec<u8>) -> Vec<u8> {
    if way.subprotocol().is_none() { bytes } else { item_bytes(role, &Item::Message(Message::binary(bytes))) }
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

pub(crate) fn taken(tx: &mut Tx) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !tx.is_empty() {
        bytes.extend_from_slice(tx.chunk());
        tx.consume(tx.chunk().len());
    }
    bytes
}
