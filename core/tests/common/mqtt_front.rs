//! What stands between the rig of MQTT and its client: a server of WebSocket whose ends have nothing to do with those of packets.

use keepbeat_core::entropy::Prng;
use keepbeat_core::wire::Tx;
#[cfg(feature = "deflate")]
use keepbeat_core::wire::websocket::deflate::DeflateConfig;
use keepbeat_core::wire::websocket::upgrade::{Agreed, Offer, ServerUpgrade};
use keepbeat_core::wire::websocket::{Close, Control, Incoming, Item, Limits, Outgoing, Role};

/// How the request is answered.
#[derive(Debug, Clone)]
pub(crate) enum Upgrade {
    /// With this sub-protocol.
    Agree(Option<&'static str>),
    /// With `mqtt`, and these bytes behind it.
    AgreeAndSay(Vec<u8>),
    /// With these bytes.
    Bytes(Vec<u8>),
}

pub(crate) struct Front {
    answer: Upgrade,
    upgrade: ServerUpgrade,
    pub(crate) offer: Option<Offer>,
    incoming: Option<Incoming>,
    outgoing: Outgoing,
    /// Where messages and frames are cut. `None`: what is said together is one message of one frame.
    cuts: Option<Prng>,
    /// How many bytes came and were said, but for packets that were said one by one.
    pub(crate) bytes: usize,
    pub(crate) said: usize,
    /// The length of each message that came.
    pub(crate) messages: Vec<usize>,
    pub(crate) pongs: Vec<Control>,
    pub(crate) close: Option<Close>,
}

impl Front {
    pub(crate) fn new(answer: Upgrade, cuts: Option<u64>) -> Self {
        Self {
            answer,
            upgrade: ServerUpgrade::new(),
            offer: None,
            incoming: None,
            outgoing: Outgoing::server(),
            cuts: cuts.map(Prng::new),
            bytes: 0,
            said: 0,
            messages: Vec::new(),
            pongs: Vec::new(),
            close: None,
        }
    }

    /// Takes what came: the packets in it. What is answered at once goes to `out`.
    pub(crate) fn unwrap(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Vec<u8> {
        let mut packets = Vec::new();
        self.bytes += bytes.len();
        if self.offer.is_none()
            && let Some(request) = self.upgrade.receive(&mut bytes).unwrap()
        {
            self.be_asked(request.into_offer().unwrap(), out);
        }
        let Some(incoming) = &mut self.incoming else {
            assert!(bytes.is_empty(), "nothing is said before the WebSocket is open");
            return packets;
        };
        while let Some(item) = incoming.next(&mut bytes).expect("our own side keeps to the protocol") {
            match item {
                Item::Message(message) => {
                    assert!(!message.is_text());
                    self.messages.push(message.len());
                    packets.extend_from_slice(&message);
                }
                Item::Pong(pong) => self.pongs.push(pong),
                Item::Close(close) => self.close = Some(close),
                Item::Ping(_) => panic!("beats are pings of MQTT"),
            }
        }
        packets
    }

    fn be_asked(&mut self, offer: Offer, out: &mut Vec<u8>) {
        match self.answer.clone() {
            Upgrade::Agree(subprotocol) => self.agree(&offer, subprotocol, out),
            Upgrade::AgreeAndSay(bytes) => {
                self.agree(&offer, Some("mqtt"), out);
                out.extend(bytes);
            }
            Upgrade::Bytes(bytes) => out.extend(bytes),
        }
        self.offer = Some(offer);
    }

    fn agree(&mut self, offer: &Offer, subprotocol: Option<&str>, out: &mut Vec<u8>) {
        let mut agreed = Agreed::default();
        agreed.subprotocol = subprotocol.map(Into::into);
        let incoming = Incoming::new(Role::Server, Limits::of_message(1 << 24));
        self.incoming = Some(incoming);
        #[cfg(feature = "deflate")]
        if let Some(agreement) = offer.deflate(&DeflateConfig::default()) {
            self.incoming = self.incoming.take().map(|incoming| incoming.with_deflate(&agreement));
            self.outgoing = Outgoing::server().with_deflate(&agreement);
            agreed.deflate = Some(agreement);
        }
        out.extend(offer.accept(&agreed).unwrap());
    }

    /// These bytes in messages.
    pub(crate) fn wrap(&mut self, mut packets: &[u8], out: &mut Vec<u8>) {
        let Some(cuts) = &mut self.cuts else {
            frame(0x82, packets, out);
            return;
        };
        let pinged = cuts.between(0, 7);
        while !packets.is_empty() {
            let (mut message, behind) = packets.split_at(cuts.between(1, packets.len() as u64) as usize);
            packets = behind;
            let mut opcode = 2;
            loop {
                let (part, rest) = message.split_at(cuts.between(0, message.len() as u64) as usize);
                let fin = if rest.is_empty() { 0x80 } else { 0 };
                frame(opcode | fin, part, out);
                if pinged == 0 && opcode == 2 && packets.is_empty() {
                    frame(0x89, b"?", out);
                }
                if rest.is_empty() {
                    break;
                }
                (opcode, message) = (0, rest);
            }
        }
    }

    pub(crate) fn say(&mut self, item: &Item, out: &mut Vec<u8>) {
        let mut tx = Tx::default();
        match item {
            Item::Message(message) => self.outgoing.message(message, &mut tx),
            Item::Ping(payload) => self.outgoing.ping(payload, &mut tx),
            Item::Pong(payload) => self.outgoing.pong(payload, &mut tx),
            Item::Close(close) => self.outgoing.close(close, &mut tx),
        }
        while !tx.is_empty() {
            out.extend_from_slice(tx.chunk());
            self.said += tx.chunk().len();
            tx.consume(tx.chunk().len());
        }
    }
}

/// A frame of a server.
pub(crate) fn frame(first: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(first);
    match payload.len() {
        length @ 0..=125 => out.push(length as u8),
        length @ 126..=65_535 => out.extend([&[126], &(length as u16).to_be_bytes()[..]].concat()),
        length => out.extend([&[127], &(length as u64).to_be_bytes()[..]].concat()),
    }
    out.extend_from_slice(payload);
}
