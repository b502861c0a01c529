//! What was seen on one connection of the script: the lines of its trace, and whether they may follow each other.

use keepbeat_core::wire::Frame;
use keepbeat_core::wire::mqtt::Packet;
use keepbeat_core::wire::websocket::Item;

use crate::network::{Seen, Way};
use crate::{packets, words};

/// What was seen on one connection.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) lines: Vec<String>,
    beat: u32,
    pub(crate) acknowledged: u64,
    echoed: u32,
    /// Somebody said goodbye in what is in the messages of a WebSocket: a close says nothing new.
    pub(crate) parted: Option<Parted>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parted {
    ByUs,
    ByThem,
    /// And closed, as it has to.
    AndClosed,
}

impl Ledger {
    /// Beats count up by one, acknowledgements never go back, echoes go up. Behind a goodbye in a WebSocket comes a close.
    pub(crate) fn check(&mut self, seen: &Seen, way: Way) -> Option<String> {
        match *seen {
            Seen::Frame(Frame::Goodbye(_) | Frame::Refuse(_)) | Seen::Packet(Packet::Disconnect(_))
                if way.subprotocol().is_some() =>
            {
                self.parted.get_or_insert(Parted::ByThem);
                None
            }
            Seen::EndOfFile if self.parted == Some(Parted::ByThem) => Some("end without a CLOSE".to_owned()),
            Seen::Frame(Frame::Beat { seq }) => {
                let before = std::mem::replace(&mut self.beat, seq);
                (seq != before + 1).then(|| format!("BEAT {seq} after {before}"))
            }
            Seen::Frame(Frame::Ack { seq }) => {
                let before = std::mem::replace(&mut self.acknowledged, seq);
                (seq < before).then(|| format!("ACK {seq} after {before}"))
            }
            // In the order of what they acknowledge (MQTT 5.0, section 4.6), which the script numbers from 1.
            Seen::Packet(Packet::PubAck(ref ack)) => {
                let seq = ack.packet_id.get().into();
                let before = std::mem::replace(&mut self.acknowledged, seq);
                (seq <= before).then(|| format!("PUBACK {seq} after {before}"))
            }
            Seen::Frame(Frame::Echo { seq }) => {
                let before = std::mem::replace(&mut self.echoed, seq);
                (seq < before).then(|| format!("ECHO {seq} after {before}"))
            }
            _ => None,
        }
    }

    /// Whether this is a close behind a goodbye.
    pub(crate) fn is_farewell(&mut self, seen: &Seen) -> bool {
        let farewell = self.parted.is_some() && matches!(seen, Seen::Item(Item::Close(_)));
        if farewell {
            self.parted = Some(Parted::AndClosed);
        }
        farewell
    }
}

/// How often they come depends on time.
pub(crate) fn is_chatter(seen: &Seen) -> bool {
    matches!(
        seen,
        Seen::Frame(Frame::Beat { .. } | Frame::Echo { .. } | Frame::Ack { .. })
            | Seen::Packet(Packet::PingReq | Packet::PubAck(_))
            | Seen::Item(Item::Ping(_) | Item::Pong(_))
    )
}

pub(crate) fn text(seen: &Seen) -> String {
    match seen {
        Seen::Frame(frame) => words::frame(frame),
        Seen::Packet(packet) => packets::line(packet),
        Seen::Request(line) => line.clone(),
        Seen::Answer { status, retry_after: None } => status.to_string(),
        Seen::Answer { status, retry_after: Some(wait) } => format!("{status}, back after {wait:?}"),
        Seen::Item(item) => words::item(item),
        Seen::Garbage => "garbage".to_owned(),
        Seen::EndOfFile => "end of file".to_owned(),
        Seen::Reset => "reset".to_owned(),
    }
}

/// How many beats came before the one waited for depends on time.
pub(crate) fn wanted_line(seen: &Seen, text: String) -> String {
    if let Seen::Frame(Frame::Beat { .. }) = seen { "BEAT".to_owned() } else { text }
}

/// Whether a line is what a script waits for, in full or by its first words.
pub(crate) fn matches(line: &str, wanted: &str) -> bool {
    line.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', ',', ':']))
}
