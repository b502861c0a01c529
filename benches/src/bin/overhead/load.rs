//! The clients of all servers, on one thread: they connect, beat each at its own moment of the interval, and count what
//! comes back.

use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use keepbeat_mio::clock::Clock;
use keepbeat_mio::core::entropy::Prng;
use keepbeat_mio::core::wire::websocket::{SUBPROTOCOL, WebSocketConfig};
use keepbeat_mio::core::wire::{Any, AnyConfig, Credentials, Frame, Hello, Opening, PROTOCOL_VERSION, Role, Tx, Wire};
use keepbeat_mio::{DeviceId, Timestamp};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};

use crate::args::Args;

/// So many clients share an address of their own, so that none runs out of ports.
const LINKS_PER_ADDRESS: u32 = 20_000;

/// What is due within one of these leaves together, in a burst.
const BURST: Duration = Duration::from_millis(1);

/// Whoever leaves so long after its moment is late.
const LATE: Duration = Duration::from_millis(2);

/// However far the next beat is, whoever waits for the end of something is asked so often.
const LONGEST_WAIT: Duration = Duration::from_millis(50);

/// So many links at most wait for the server's welcome.
const MOST_GREETING: u32 = 256;

/// Nobody waits longer for all links to be up.
const GUARD: Duration = Duration::from_secs(60);

const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;
const MASKED: u8 = 0x80;

/// What a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// keepbeat's own. The clients beat, the server echoes.
    Native,
    /// The same in the messages of a WebSocket.
    NativeOverWebSocket,
    /// WebSocket. The server pings, the clients answer.
    WebSocket,
}

/// All clients of one server.
pub(crate) struct Fleet {
    poll: Poll,
    events: Events,
    server: SocketAddr,
    protocol: Protocol,
    /// Beats leave in bursts, and not each at its moment.
    bursts: bool,
    links: Vec<Link>,
    count: u32,
    /// When it began. Every link has its moment in each interval: in the first to connect, in later ones to beat.
    start: Timestamp,
    /// How many moments for beats were dealt with, of all links together.
    beats: u64,
    log: Log,
}

/// What links tell, and what they need to know for it.
struct Log {
    told: Told,
    now: Timestamp,
    interval: Duration,
}

/// What the clients have seen.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Told {
    pub(crate) up: u32,
    /// Round trips.
    pub(crate) beats: u64,
    /// Beats that had no echo when the next one was due, or pings that did not come.
    pub(crate) unanswered: u64,
    /// Beats that left too late, because this process was behind.
    pub(crate) late: u64,
    /// Beats of a server that took a client for late.
    pub(crate) probes: u64,
    /// Links that were refused or lost.
    pub(crate) lost: u32,
}

impl Told {
    /// What was seen since; links that came up or were lost are those of all time.
    pub(crate) const fn since(self, earlier: Self) -> Self {
        Self {
            beats: self.beats - earlier.beats,
            unanswered: self.unanswered - earlier.unanswered,
            late: self.late - earlier.late,
            probes: self.probes - earlier.probes,
            ..self
        }
    }
}

struct Link {
    stream: TcpStream,
    speech: Speech,
    state: State,
    seq: u32,
    /// The newest beat was answered.
    answered: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Connecting { greeting: Vec<u8> },
    Greeted,
    Up,
    Lost,
}

/// A client of keepbeat's protocol, over whatever it goes.
struct Ours {
    wire: Any,
    /// What there is to say.
    tx: Tx,
}

impl Ours {
    fn new(protocol: Protocol, server: SocketAddr) -> io::Result<Self> {
        let config = match protocol {
            Protocol::NativeOverWebSocket => {
                WebSocketConfig::builder().subprotocol(SUBPROTOCOL).build().map_err(io::Error::other)?.into()
            }
            _ => AnyConfig::default(),
        };
        let (server, mut entropy) = (server.to_string().parse().map_err(io::Error::other)?, Prng::new(1));
        let server = Some(&server);
        let opening = Opening { role: Role::Client, server, secure: false, durable: false, entropy: &mut entropy };
        Ok(Self { wire: Any::new(&config, opening, None), tx: Tx::default() })
    }

    fn say(&mut self, frame: &Frame) {
        self.wire.encode(frame, &mut self.tx);
    }

    /// What was said since this was last asked.
    fn words(&mut self) -> Vec<u8> {
        let mut words = Vec::new();
        while !self.tx.is_empty() {
            words.extend_from_slice(self.tx.chunk());
            self.tx.consume(self.tx.chunk().len());
        }
        words
    }
}

/// How far what came in was understood.
enum Speech {
    Native(Box<Ours>),
    WebSocket {
        kept: Vec<u8>,
        /// When the newest ping came.
        pinged: Timestamp,
    },
}

impl Fleet {
    /// The clients of `args`. So many of them, because not every measurement takes all.
    pub(crate) fn new(server: SocketAddr, protocol: Protocol, count: u32, args: &Args) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            server,
            protocol,
            bursts: args.burst,
            links: Vec::with_capacity(count as usize),
            count,
            start: Clock::now(),
            beats: 0,
            log: Log { told: Told::default(), now: Clock::now(), interval: args.interval },
        })
    }

    /// Up to now.
    pub(crate) fn told(&self) -> Told {
        let now = Clock::now();
        let overdue = self.links.iter().map(|link| match &link.speech {
            Speech::WebSocket { pinged, .. } if link.state == State::Up => {
                missed(now.since(*pinged), self.log.interval)
            }
            _ => 0,
        });
        Told { unanswered: self.log.told.unanswered + overdue.sum::<u64>(), ..self.log.told }
    }

    /// Links that are not up.
    pub(crate) fn missing(&self) -> u32 {
        self.count - self.links.iter().filter(|link| link.state == State::Up).count() as u32
    }

    /// Until all links are up and every one has beaten at least once.
    pub(crate) fn settle(&mut self) -> Result<(), Box<dyn Error>> {
        self.start = Clock::now();
        let limit = self.start.after(3 * self.log.interval).after(GUARD);
        let mut beaten = None;
        while beaten.is_none_or(|until| Clock::now() < until) {
            self.turn()?;
            let Log { told, now, interval } = self.log;
            if beaten.is_none() && told.up == self.count {
                beaten = Some(now.after(interval));
            }
            if told.lost > 0 || now > limit {
                return Err(format!("{} of {} links came up, {} failed", told.up, self.count, told.lost).into());
            }
        }
        Ok(())
    }

    /// Beats until `done` says so.
    pub(crate) fn beat_until(&mut self, mut done: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
        while !done()? {
            self.turn()?;
        }
        Ok(())
    }

    /// When the connects and beats of all links are due: evenly spread over the interval.
    fn moment(&self, number: u64) -> Timestamp {
        let nanos = self.log.interval.as_nanos() * u128::from(number) / u128::from(self.count);
        let moment = self.start.after(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)));
        if self.bursts {
            Timestamp::from_nanos(moment.as_nanos().next_multiple_of(BURST.as_nanos() as u64))
        } else {
            moment
        }
    }

    fn turn(&mut self) -> io::Result<()> {
        let next = self.next_beat().min(self.next_connect().unwrap_or(Timestamp::MAX));
        let wait = next.since(Clock::now()).min(LONGEST_WAIT);
        // mio waits in whole milliseconds.
        let wait = Timespec::try_from(wait).map_err(io::Error::other)?;
        match rustix::event::poll(&mut [PollFd::new(self.poll.registry(), PollFlags::IN)], Some(&wait)) {
            Err(error) if error != Errno::INTR => return Err(error.into()),
            _ => {}
        }
        match self.poll.poll(&mut self.events, Some(Duration::ZERO)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let now = Clock::now();
        self.log.now = now;
        for event in &self.events {
            if let Some(link) = self.links.get_mut(event.token().0) {
                link.on_ready(event, &mut self.log);
            }
        }
        while self.next_beat() <= now {
            let number = (self.beats % u64::from(self.count)) as usize;
            self.log.told.late += u64::from(now.since(self.next_beat()) > LATE);
            self.beats += 1;
            if let Some(link) = self.links.get_mut(number) {
                link.beat(&mut self.log);
            }
        }
        while self.next_connect().is_some_and(|due| due <= now) {
            self.connect(self.links.len())?;
        }
        Ok(())
    }

    fn next_beat(&self) -> Timestamp {
        self.moment(u64::from(self.count) + self.beats)
    }

    /// `None` if all are connected, or the server is behind: a full queue would delay whoever comes then by a second.
    fn next_connect(&self) -> Option<Timestamp> {
        let begun = self.links.len() as u32;
        let is_next = begun < self.count && begun - self.log.told.up - self.log.told.lost < MOST_GREETING;
        is_next.then(|| self.moment(u64::from(begun)))
    }

    fn connect(&mut self, number: usize) -> io::Result<()> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        let own = Ipv4Addr::new(127, 0, 0, 1 + (number as u32 / LINKS_PER_ADDRESS) as u8);
        socket.bind(&SocketAddr::from((own, 0)).into())?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        // The next server's clients want the ports at once.
        socket.set_linger(Some(Duration::ZERO))?;
        match socket.connect(&self.server.into()) {
            Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => {
                return Err(error);
            }
            _ => {}
        }
        let mut stream = TcpStream::from_std(socket.into());
        self.poll.registry().register(&mut stream, Token(number), Interest::READABLE | Interest::WRITABLE)?;
        let (speech, greeting) = match self.protocol {
            Protocol::Native | Protocol::NativeOverWebSocket => {
                let mut ours = Ours::new(self.protocol, self.server)?;
                ours.say(&hello(number, self.log.interval)?);
                let greeting = ours.words();
                (Speech::Native(Box::new(ours)), greeting)
            }
            Protocol::WebSocket => (Speech::WebSocket { kept: Vec::new(), pinged: self.log.now }, UPGRADE.to_vec()),
        };
        self.links.push(Link { stream, speech, state: State::Connecting { greeting }, seq: 0, answered: true });
        Ok(())
    }
}

impl Link {
    fn beat(&mut self, log: &mut Log) {
        let (State::Up, Speech::Native(ours)) = (&self.state, &mut self.speech) else { return };
        log.told.unanswered += u64::from(!std::mem::replace(&mut self.answered, false));
        self.seq += 1;
        ours.say(&Frame::Beat { seq: self.seq });
        let beat = ours.words();
        self.say(&beat, log);
    }

    fn on_ready(&mut self, event: &Event, log: &mut Log) {
        if event.is_writable()
            && let State::Connecting { greeting } = &mut self.state
        {
            let greeting = std::mem::take(greeting);
            self.state = State::Greeted;
            self.say(&greeting, log);
        }
        if event.is_readable() || event.is_error() {
            self.on_readable(log);
        }
    }

    fn on_readable(&mut self, log: &mut Log) {
        let mut buffer = [0; 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return self.lose(log),
                Ok(count) => {
                    let Some(answer) = self.hear(&buffer[..count], log) else { return self.lose(log) };
                    if !answer.is_empty() {
                        self.say(&answer, log);
                    }
                    if count < buffer.len() {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.lose(log),
            }
        }
    }

    /// What there is to say to these bytes. `None` if the link is at its end.
    fn hear(&mut self, bytes: &[u8], log: &mut Log) -> Option<Vec<u8>> {
        let Log { told, now, interval } = log;
        let mut answer = Vec::new();
        match &mut self.speech {
            Speech::Native(ours) => {
                let mut input = bytes;
                while let Some(frame) = ours.wire.decode(&mut input, &mut ours.tx).ok()? {
                    match frame {
                        Frame::Welcome(_) => {
                            ours.wire.established();
                            self.state = State::Up;
                            told.up += 1;
                            ours.say(&Frame::Ack { seq: 0 });
                        }
                        Frame::Echo { seq } if seq == self.seq => {
                            self.answered = true;
                            told.beats += 1;
                        }
                        Frame::Beat { seq } => {
                            told.probes += 1;
                            ours.say(&Frame::Echo { seq });
                        }
                        Frame::Ack { .. } => {}
                        _ => return None,
                    }
                }
                answer = ours.words();
            }
            Speech::WebSocket { kept, pinged } => {
                kept.extend_from_slice(bytes);
                if self.state == State::Greeted {
                    let Some(end) = kept.windows(4).position(|window| window == b"\r\n\r\n") else {
                        return Some(answer);
                    };
                    if !kept.starts_with(b"HTTP/1.1 101 ") {
                        return None;
                    }
                    kept.drain(..end + 4);
                    *pinged = *now;
                    self.state = State::Up;
                    told.up += 1;
                }
                while let [kind, length, rest @ ..] = &kept[..] {
                    let length = usize::from(*length);
                    if *kind != PING || length > 125 {
                        return None;
                    }
                    let Some(payload) = rest.get(..length) else { break };
                    // Under a mask of zeros.
                    answer.extend([PONG, MASKED | length as u8, 0, 0, 0, 0]);
                    answer.extend_from_slice(payload);
                    told.beats += 1;
                    told.unanswered += missed(now.since(*pinged), *interval);
                    *pinged = *now;
                    kept.drain(..2 + length);
                }
            }
        }
        Some(answer)
    }

    /// So few bytes wait at a time that a socket which does not take them all is as good as lost.
    fn say(&mut self, bytes: &[u8], log: &mut Log) {
        if !self.stream.write(bytes).is_ok_and(|count| count == bytes.len()) {
            self.lose(log);
        }
    }

    fn lose(&mut self, log: &mut Log) {
        if self.state != State::Lost {
            self.state = State::Lost;
            log.told.lost += 1;
        }
    }
}

fn hello(number: usize, interval: Duration) -> io::Result<Frame> {
    let millis = u32::try_from(interval.as_millis()).unwrap_or(u32::MAX);
    Ok(Frame::Hello(Box::new(Hello {
        version: PROTOCOL_VERSION,
        device: DeviceId::new(&format!("device-{number}")).map_err(io::Error::other)?,
        instance: 0,
        attempt: 0,
        interval_ms: millis,
        reply_timeout_ms: millis,
        message_limit: 0,
        token: None,
        received: 0,
        credentials: Credentials::default(),
    })))
}

/// How many pings did not come in so long a pause, which may be half an interval too long.
fn missed(pause: Duration, interval: Duration) -> u64 {
    let intervals = (pause + interval / 2).as_nanos() / interval.as_nanos();
    u64::try_from(intervals.saturating_sub(1)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_is_missed_when_the_pause_is_half_an_interval_too_long() {
        for (millis, count) in [(0, 0), (1000, 0), (1499, 0), (1500, 1), (2499, 1), (2500, 2)] {
            assert_eq!(missed(Duration::from_millis(millis), Duration::from_secs(1)), count, "{millis} ms");
        }
    }
}
