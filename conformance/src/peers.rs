//! The scripted other side: its connections, and what was seen on each.

use std::net::SocketAddr;
use std::time::Duration;

use keepbeat_core::session::{Message, Token};
use keepbeat_core::wire::beat::MESSAGE_LIMIT_MAX;
use keepbeat_core::wire::mqtt::Packet;
use keepbeat_core::wire::websocket::upgrade::UpgradeRequest;
use keepbeat_core::wire::websocket::{Close, CloseCode, Item, SUBPROTOCOL};
use keepbeat_core::wire::{Credentials, Frame, Goodbye, Hello, Reason, Role, Welcome};

use crate::ledger::{Ledger, Parted, is_chatter, matches, text, wanted_line};
use crate::network::{Network, Order, Seen, Way};
use crate::packets::{in_words_of, packet_bytes};
use crate::speaker::{frame_bytes, item_bytes, wrapped};
use crate::{CALM, INTERVAL, MOST, PATIENCE, REPLY_TIMEOUT, clock, device};

/// A connection of the scripted side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line(usize);

/// The scripted side.
pub(crate) struct Peers {
    network: Box<dyn Network>,
    way: Way,
    role: Role,
    ledgers: Vec<Ledger>,
    /// A broker has acknowledged the messages up to this one.
    settled: u64,
}

impl Peers {
    pub(crate) fn new(mut network: Box<dyn Network>, way: Way, role: Role) -> Self {
        network.speak(way);
        Self { network, way, role, ledgers: Vec::new(), settled: 0 }
    }

    /// What both ends speak.
    pub(crate) const fn way(&self) -> Way {
        self.way
    }

    // A server of the script.

    pub(crate) fn reserve(&mut self) -> SocketAddr {
        self.network.reserve()
    }

    pub(crate) fn listen(&mut self, address: SocketAddr) {
        self.network.listen(address);
    }

    /// Accepts a connection. If it is to be a WebSocket with another protocol in it, it is from then on.
    #[track_caller]
    pub(crate) fn accept(&mut self, address: SocketAddr) -> Line {
        let line = self.accept_raw(address);
        if let Some(subprotocol) = self.way.subprotocol() {
            self.pass(line, "GET /");
            self.order(line, Order::Agree(Some(subprotocol.to_owned())));
        }
        line
    }

    /// Accepts a connection, of which nothing was read.
    #[track_caller]
    pub(crate) fn accept_raw(&mut self, address: SocketAddr) -> Line {
        match self.network.accept(address, PATIENCE) {
            Ok(number) => self.add(number),
            Err(_) => self.fail("no connection came"),
        }
    }

    /// Accepts a connection and lets it in, with a welcome if there is one on this way.
    #[track_caller]
    pub(crate) fn let_in_anyhow(&mut self, address: SocketAddr, welcome: Welcome) -> Line {
        if self.way != Way::Foreign {
            return self.let_in(address, welcome);
        }
        let line = self.accept_raw(address);
        self.pass(line, "GET /");
        self.order(line, Order::Agree(None));
        line
    }

    /// Accepts a connection, and lets it in when it has said hello.
    #[track_caller]
    pub(crate) fn let_in(&mut self, address: SocketAddr, welcome: Welcome) -> Line {
        let line = self.accept(address);
        self.hello(line);
        self.say(line, &Frame::Welcome(Box::new(welcome)));
        line
    }

    #[track_caller]
    pub(crate) fn hello(&mut self, line: Line) {
        self.until(line, "HELLO");
    }

    // Devices of the script.

    /// Connects. If it is to be a WebSocket, it is from then on.
    #[track_caller]
    pub(crate) fn connect(&mut self, server: SocketAddr) -> Line {
        let line = self.connect_raw(server);
        if self.way != Way::Tcp {
            let request = match self.way {
                Way::WebSocket => asking("/").subprotocol(SUBPROTOCOL).unwrap_or_else(|error| panic!("{error}")),
                _ => asking("/"),
            };
            self.order(line, Order::Ask(Some(request)));
            self.pass(line, "101");
        }
        line
    }

    /// Connects, and says nothing yet.
    pub(crate) fn connect_raw(&mut self, server: SocketAddr) -> Line {
        let number = self.network.connect(server);
        self.add(number)
    }

    /// Connects, asks for this, and is answered so.
    #[track_caller]
    pub(crate) fn ask(&mut self, server: SocketAddr, request: UpgradeRequest, answer: &str) -> Line {
        let line = self.connect_raw(server);
        self.order(line, Order::Ask(Some(request)));
        self.until(line, answer);
        line
    }

    /// Connects, says hello, and returns the welcome.
    #[track_caller]
    pub(crate) fn get_in(&mut self, server: SocketAddr, hello: Hello) -> (Line, Welcome) {
        let line = self.connect(server);
        self.say(line, &Frame::Hello(Box::new(hello)));
        (line, self.welcome(line))
    }

    /// Connects, and asks for something else, with this line first.
    pub(crate) fn ask_raw(&mut self, server: SocketAddr, head: &str) -> Line {
        let line = self.connect_raw(server);
        self.order(line, Order::Ask(None));
        self.write(line, format!("{head}\r\nHost: suite.example\r\n\r\n").into_bytes());
        line
    }

    #[track_caller]
    pub(crate) fn welcome(&mut self, line: Line) -> Welcome {
        match self.until(line, "WELCOME") {
            Seen::Frame(Frame::Welcome(welcome)) => *welcome,
            _ => self.fail("no welcome came"),
        }
    }

    // What both say.

    /// A frame as it goes over the wire.
    pub(crate) fn bytes(&self, frame: &Frame) -> Vec<u8> {
        frame_bytes(self.way, self.role, frame)
    }

    /// What goes over a WebSocket, as it goes over the wire.
    pub(crate) fn item_bytes(&self, item: &Item) -> Vec<u8> {
        item_bytes(self.role, item)
    }

    pub(crate) fn say(&mut self, line: Line, frame: &Frame) {
        match frame {
            // A broker acknowledges every message by itself.
            Frame::Ack { seq } if self.way.is_mqtt() => {
                let news = self.settled + 1..=*seq;
                self.settled = self.settled.max(*seq);
                news.for_each(|seq| self.write(line, self.bytes(&Frame::Ack { seq })));
            }
            _ => self.write(line, self.bytes(frame)),
        }
        if matches!(frame, Frame::Goodbye(_) | Frame::Refuse(_)) {
            self.part(line);
        }
    }

    /// A packet as it goes over the wire.
    pub(crate) fn packet_bytes(&self, packet: &Packet<'_>) -> Vec<u8> {
        packet_bytes(self.way, packet)
    }

    pub(crate) fn say_packet<'a>(&mut self, line: Line, packet: impl Into<Packet<'a>>) {
        let packet = packet.into();
        self.write(line, self.packet_bytes(&packet));
        let is_last = match packet {
            Packet::ConnAck(ack) => ack.reason.is_failure(),
            Packet::Disconnect(_) => true,
            _ => false,
        };
        if is_last {
            self.part(line);
        }
    }

    /// Writes what should be packets, and need not be.
    pub(crate) fn write_packets(&mut self, line: Line, bytes: &[u8]) {
        self.write(line, wrapped(self.way, self.role, bytes.to_vec()));
    }

    /// Behind our last word comes a close, if this is a WebSocket with another protocol in it.
    fn part(&mut self, line: Line) {
        if self.way.subprotocol().is_some() {
            self.ledgers[line.0].parted = Some(Parted::ByUs);
            self.order(line, Order::Close(close(1000)));
        }
    }

    pub(crate) fn say_item(&mut self, line: Line, item: &Item) {
        let bytes = self.item_bytes(item);
        self.write(line, bytes);
    }

    pub(crate) fn write(&mut self, line: Line, bytes: Vec<u8>) {
        self.order(line, Order::Say(vec![bytes]));
    }

    /// Writes every byte by itself.
    pub(crate) fn write_one_by_one(&mut self, line: Line, bytes: &[u8]) {
        self.order(line, Order::Say(bytes.iter().map(|byte| vec![*byte]).collect()));
    }

    pub(crate) fn order(&mut self, line: Line, order: Order) {
        self.network.order(line.0, order);
    }

    /// Says something, and returns when it is on its way.
    pub(crate) fn say_now(&mut self, line: Line, frame: &Frame) {
        self.say(line, frame);
        self.network.flush(line.0);
    }

    /// Answers no BEAT that comes from now on.
    pub(crate) fn mute(&mut self, line: Line) {
        self.order(line, Order::Echo(false));
        self.network.flush(line.0);
    }

    /// From now on neither reads nor writes, as a machine that has lost its power.
    pub(crate) fn vanish(&mut self, line: Line) {
        self.order(line, Order::Quiet);
        self.order(line, Order::Echo(false));
        self.order(line, Order::Read(false));
    }

    /// Ends our side, and waits until the other has ended its own.
    #[track_caller]
    pub(crate) fn hang_up(&mut self, line: Line) {
        self.order(line, Order::HangUp);
        self.until(line, "end of file");
    }

    // What both see.

    /// Notes what comes until this does. A BEAT, ECHO or ACK is noted only where it is waited for; the others are checked.
    #[track_caller]
    pub(crate) fn until(&mut self, line: Line, wanted: &str) -> Seen {
        let wanted = &in_words_of(self.way, wanted);
        let begun = clock();
        for _ in (0..MOST).take_while(|_| begun.elapsed() < 2 * PATIENCE) {
            let Ok(seen) = self.network.seen(line.0, PATIENCE) else { break };
            let text = text(&seen);
            let found = matches(&text, wanted);
            let ledger = &mut self.ledgers[line.0];
            match ledger.check(&seen, self.way) {
                Some(complaint) => ledger.lines.push(complaint),
                None if found => ledger.lines.push(wanted_line(&seen, text)),
                None if is_chatter(&seen) || ledger.is_farewell(&seen) => {}
                None => ledger.lines.push(text),
            }
            if found {
                return seen;
            }
            if matches!(seen, Seen::EndOfFile | Seen::Reset) {
                self.fail(&format!("connection {} ended before {wanted:?} came", line.0));
            }
        }
        self.fail(&format!("waited in vain for {wanted:?} on connection {}", line.0))
    }

    /// This comes next, and is not noted.
    #[track_caller]
    fn pass(&mut self, line: Line, wanted: &str) {
        match self.network.seen(line.0, PATIENCE) {
            Ok(seen) if matches(&text(&seen), wanted) => {}
            Ok(seen) => self.fail(&format!("{:?} instead of {wanted:?} on connection {}", text(&seen), line.0)),
            Err(_) => self.fail(&format!("waited in vain for {wanted:?} on connection {}", line.0)),
        }
    }

    /// Waits until messages up to `seq` are acknowledged, if they are not yet.
    #[track_caller]
    pub(crate) fn acknowledged(&mut self, line: Line, seq: u64) {
        let ledger = &mut self.ledgers[line.0];
        if ledger.acknowledged == seq {
            ledger.lines.push(in_words_of(self.way, &format!("ACK {seq}")));
        } else {
            self.until(line, &format!("ACK {seq}"));
        }
    }

    /// Nothing may be acknowledged until now, as far as it was seen.
    #[track_caller]
    pub(crate) fn unacknowledged(&mut self, line: Line) {
        let ledger = &mut self.ledgers[line.0];
        assert_eq!(ledger.acknowledged, 0, "on connection {}", line.0);
        ledger.lines.push("nothing acknowledged".to_owned());
    }

    /// Waits until the other side has ended the connection. Where it has not read everything we said, it depends on time
    /// whether that is an end of file or a reset.
    #[track_caller]
    pub(crate) fn gone(&mut self, line: Line) {
        loop {
            match self.network.seen(line.0, PATIENCE) {
                Ok(Seen::EndOfFile | Seen::Reset) => break,
                Ok(seen) if is_chatter(&seen) => {}
                Ok(seen) => self.ledgers[line.0].lines.push(text(&seen)),
                Err(_) => self.fail(&format!("waited in vain for the end of connection {}", line.0)),
            }
        }
        self.ledgers[line.0].lines.push("gone".to_owned());
    }

    /// Waits for this many beats.
    #[track_caller]
    pub(crate) fn beats(&mut self, line: Line, count: usize) {
        for _ in 0..count {
            self.until(line, "BEAT");
        }
    }

    /// The traces of all connections, in the order in which the script got them.
    pub(crate) fn trace(&self) -> Vec<String> {
        let numbered = self.ledgers.iter().enumerate();
        numbered.flat_map(|(number, ledger)| ledger.lines.iter().map(move |line| format!("{number}: {line}"))).collect()
    }

    fn add(&mut self, number: usize) -> Line {
        assert_eq!(number, self.ledgers.len(), "connections are numbered in order");
        self.ledgers.push(Ledger::default());
        Line(number)
    }

    #[track_caller]
    fn fail(&self, problem: &str) -> ! {
        panic!("{problem}; until then:\n{}", self.trace().join("\n"))
    }
}

// What the scripted side says.

pub(crate) fn hello(name: &str) -> Hello {
    Hello {
        version: 1,
        device: device(name),
        instance: 0,
        attempt: 0,
        interval_ms: INTERVAL.as_millis() as u32,
        reply_timeout_ms: REPLY_TIMEOUT.as_millis() as u32,
        message_limit: MESSAGE_LIMIT_MAX as u64,
        token: None,
        received: 0,
        credentials: Credentials::default(),
    }
}

pub(crate) fn welcome() -> Welcome {
    Welcome {
        version: 1,
        token: Token::new([7; 16]),
        resumed: false,
        interval_ms: INTERVAL.as_millis() as u32,
        reply_timeout_ms: REPLY_TIMEOUT.as_millis() as u32,
        message_limit: MESSAGE_LIMIT_MAX as u64,
        received: 0,
    }
}

/// The same with calm terms, which have to be asked for.
pub(crate) fn calm_welcome() -> Welcome {
    Welcome { interval_ms: CALM, reply_timeout_ms: CALM, ..welcome() }
}

/// The same with calm terms.
pub(crate) fn calm_hello(name: &str) -> Hello {
    Hello { interval_ms: CALM, reply_timeout_ms: CALM, ..hello(name) }
}

/// The session goes on; the scripted server has this many of its messages.
pub(crate) fn resumed(received: u64) -> Welcome {
    Welcome { resumed: true, received, ..welcome() }
}

pub(crate) fn data(seq: u64, message: impl Into<Message>) -> Frame {
    Frame::Data { seq, message: message.into() }
}

pub(crate) const fn ack(seq: u64) -> Frame {
    Frame::Ack { seq }
}

pub(crate) fn goodbye(reason: Reason) -> Frame {
    Frame::Goodbye(Box::new(Goodbye::new(reason, "")))
}

/// A request for this path.
pub(crate) fn asking(path: &str) -> UpgradeRequest {
    UpgradeRequest::new(path).unwrap_or_else(|error| panic!("{error}"))
}

/// A close with this code, or without one if it is 1005.
pub(crate) fn close(code: u16) -> Close {
    CloseCode::new(code).and_then(|code| Close::new(code, "")).unwrap_or(Close::EMPTY)
}

/// Frequent enough that the other side hears from us in every beat interval.
pub(crate) const OFTEN: Duration = Duration::from_millis(60);
