//! The clients of all servers, on one thread: they connect, beat each at its own moment of the interval, and count what
//! comes back.

use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use keepbeat_mio::clock::Clock;
use keepbeat_mio::core::wire::beat::{Beat, BeatConfig};
use keepbeat_mio::core::wire::{Credentials, Frame, Hello, PROTOCOL_VERSION, Wire};
use keepbeat_mio::{DeviceId, Timestamp};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Socket, Type};

use crate::native;

/// So many clients share an address of their own, so that none runs out of ports.
const LINKS_PER_ADDRESS: u32 = 20_000;

/// What is due within one tick leaves together.
const TICK: Duration = Duration::from_millis(1);

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
    /// WebSocket. The server pings, the clients answer.
    WebSocket,
}

/// All clients of one server.
pub(crate) struct Fleet {
    poll: Poll,
    events: Events,
    server: SocketAddr,
    protocol: Protocol,
    interval: Duration,
    links: Vec<Link>,
    count: u32,
    /// When it began. Every link has its moment in each interval: in the first to connect, in later ones to beat.
    start: Timestamp,
    /// How many moments for beats were dealt with, of all links together.
    beats: u64,
    told: Told,
}

/// What the clients have seen.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Told {
    pub(crate) up: u32,
    /// Round trips.
    pub(crate) beats: u64,
    /// Beats that had no echo when the next one was due.
    pub(crate) unanswered: u64,
    /// Beats of a server that took a client for late.
    pub(crate) probes: u64,
    /// Links that were refused or lost.
    pub(crate) lost: u32,
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

/// How far what came in was understood.
enum Speech {
    Native(Beat),
    WebSocket(Vec<u8>),
}

impl Fleet {
    pub(crate) fn new(server: SocketAddr, protocol: Protocol, count: u32, interval: Duration) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            server,
            protocol,
            interval,
            links: Vec::with_capacity(count as usize),
            count,
            start: Clock::now(),
            beats: 0,
            told: Told::default(),
        })
    }

    pub(crate) const fn told(&self) -> Told {
        self.told
    }

    /// Until all links are up and every one has beaten at least once.
    pub(crate) fn settle(&mut self) -> Result<(), Box<dyn Error>> {
        self.start = Clock::now();
        let limit = self.start.after(3 * self.interval).after(GUARD);
        let mut beaten = None;
        while beaten.is_none_or(|until| Clock::now() < until) {
            self.turn()?;
            if beaten.is_none() && self.told.up == self.count {
                beaten = Some(Clock::now().after(self.interval));
            }
            if self.told.lost > 0 || Clock::now() > limit {
                return Err(
                    format!("{} of {} links came up, {} failed", self.told.up, self.count, self.told.lost).into()
                );
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
        let nanos = self.interval.as_nanos() * u128::from(number) / u128::from(self.count);
        self.start.after(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    fn turn(&mut self) -> io::Result<()> {
        let next = self.next_beat().min(self.next_connect().unwrap_or(Timestamp::MAX));
        let wait = next.since(Clock::now()).min(LONGEST_WAIT);
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &self.events {
            if let Some(link) = self.links.get_mut(event.token().0) {
                link.on_ready(event, &mut self.told);
            }
        }
        let now = Clock::now();
        while self.next_beat() <= now {
            let number = (self.beats % u64::from(self.count)) as usize;
            self.beats += 1;
            if let Some(link) = self.links.get_mut(number) {
                link.beat(&mut self.told);
            }
        }
        while self.next_connect().is_some_and(|due| due <= now) {
            self.connect(self.links.len())?;
        }
        Ok(())
    }

    fn next_beat(&self) -> Timestamp {
        tick_after(self.moment(u64::from(self.count) + self.beats))
    }

    /// `None` if all are connected, or the server is behind: a full queue would delay whoever comes then by a second.
    fn next_connect(&self) -> Option<Timestamp> {
        let begun = self.links.len() as u32;
        let is_next = begun < self.count && begun - self.told.up - self.told.lost < MOST_GREETING;
        is_next.then(|| tick_after(self.moment(u64::from(begun))))
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
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
                return Err(error);
            }
            _ => {}
        }
        let mut stream = TcpStream::from_std(socket.into());
        self.poll.registry().register(&mut stream, Token(number), Interest::READABLE | Interest::WRITABLE)?;
        let (speech, greeting) = match self.protocol {
            Protocol::Native => (Speech::Native(Beat::new(&BeatConfig::default())), hello(number, self.interval)?),
            Protocol::WebSocket => (Speech::WebSocket(Vec::new()), UPGRADE.to_vec()),
        };
        self.links.push(Link { stream, speech, state: State::Connecting { greeting }, seq: 0, answered: true });
        Ok(())
    }
}

impl Link {
    fn beat(&mut self, told: &mut Told) {
        if self.state != State::Up || !matches!(self.speech, Speech::Native(_)) {
            return;
        }
        told.unanswered += u64::from(!std::mem::replace(&mut self.answered, false));
        self.seq += 1;
        let beat = native::encoded(&Frame::Beat { seq: self.seq });
        self.say(&beat, told);
    }

    fn on_ready(&mut self, event: &Event, told: &mut Told) {
        if event.is_writable()
            && let State::Connecting { greeting } = &mut self.state
        {
            let greeting = std::mem::take(greeting);
            self.state = State::Greeted;
            self.say(&greeting, told);
        }
        if event.is_readable() || event.is_error() {
            self.on_readable(told);
        }
    }

    fn on_readable(&mut self, told: &mut Told) {
        let mut buffer = [0; 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return self.lose(told),
                Ok(count) => {
                    let Some(answer) = self.hear(&buffer[..count], told) else { return self.lose(told) };
                    if !answer.is_empty() {
                        self.say(&answer, told);
                    }
                    if count < buffer.len() {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.lose(told),
            }
        }
    }

    /// What there is to say to these bytes. `None` if the link is at its end.
    fn hear(&mut self, bytes: &[u8], told: &mut Told) -> Option<Vec<u8>> {
        let mut answer = Vec::new();
        match &mut self.speech {
            Speech::Native(wire) => {
                let mut input = bytes;
                while let Some(frame) = wire.decode(&mut input).ok()? {
                    match frame {
                        Frame::Welcome(_) => {
                            wire.established();
                            self.state = State::Up;
                            told.up += 1;
                            answer.extend(native::encoded(&Frame::Ack { seq: 0 }));
                        }
                        Frame::Echo { seq } if seq == self.seq => {
                            self.answered = true;
                            told.beats += 1;
                        }
                        Frame::Beat { seq } => {
                            told.probes += 1;
                            answer.extend(native::encoded(&Frame::Echo { seq }));
                        }
                        Frame::Ack { .. } => {}
                        _ => return None,
                    }
                }
            }
            Speech::WebSocket(kept) => {
                kept.extend_from_slice(bytes);
                if self.state == State::Greeted {
                    let Some(end) = kept.windows(4).position(|window| window == b"\r\n\r\n") else {
                        return Some(answer);
                    };
                    if !kept.starts_with(b"HTTP/1.1 101 ") {
                        return None;
                    }
                    kept.drain(..end + 4);
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
                    kept.drain(..2 + length);
                }
            }
        }
        Some(answer)
    }

    /// So few bytes wait at a time that a socket which does not take them all is as good as lost.
    fn say(&mut self, bytes: &[u8], told: &mut Told) {
        if !self.stream.write(bytes).is_ok_and(|count| count == bytes.len()) {
            self.lose(told);
        }
    }

    fn lose(&mut self, told: &mut Told) {
        if self.state != State::Lost {
            self.state = State::Lost;
            told.lost += 1;
        }
    }
}

fn hello(number: usize, interval: Duration) -> io::Result<Vec<u8>> {
    let millis = u32::try_from(interval.as_millis()).unwrap_or(u32::MAX);
    Ok(native::encoded(&Frame::Hello(Box::new(Hello {
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
    }))))
}

/// The end of the tick in which this moment is.
const fn tick_after(moment: Timestamp) -> Timestamp {
    let tick = TICK.as_nanos() as u64;
    Timestamp::from_nanos(moment.as_nanos().next_multiple_of(tick))
}
