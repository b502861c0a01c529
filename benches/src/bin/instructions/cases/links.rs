//! Established links: what a driver calls, without sockets.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use keepbeat_core::client::{Action, Client, ClientConfig, Epoch, Event, Input};
use keepbeat_core::entropy::Prng;
use keepbeat_core::server::{ConnectionId, Server, ServerAction, ServerConfig, ServerEvent, ServerInput};
use keepbeat_core::session::Message;
use keepbeat_core::sim::{Setup, Sim, Traffic};
use keepbeat_core::time::Timestamp;
use keepbeat_core::wire::websocket::{SUBPROTOCOL, WebSocketConfig};
use keepbeat_core::wire::{AnyConfig, DeviceId};

use super::{Case, counted_operation};

const MANY: usize = 10_000;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new("client/echo received", 1, 200, echo_received),
        Case::new("client/beat sent", 1, 200, beat_sent),
        Case::new("client/idle timeout", 1, 1000, client_idle),
        Case::new("sim/second of three links", 1, 5, simulated_second),
    ];
    for (links, name) in [(1, "one link"), (MANY, "10,000 links")] {
        let times = if links == 1 { 200 } else { MANY as u32 };
        for (way, over) in [(Way::Beat, ""), (Way::Native, " over WebSocket")] {
            cases.push(Case::new(format!("server/{name}{over}/beat received"), 1, times, move |times| {
                beat_received(way, links, times)
            }));
            cases.push(Case::new(format!("server/{name}{over}/beat received and answered"), 1, times, move |times| {
                beat_answered(way, links, times)
            }));
        }
        cases.push(Case::new(format!("server/{name}/idle timeout"), 1, 1000, move |times| server_idle(links, times)));
    }
    cases.push(Case::new("server/one foreign WebSocket/ping sent and pong received", 1, 200, ping_and_pong));
    for (bytes, name) in [(64, "64B"), (1 << 10, "1KiB")] {
        cases.push(Case::new(format!("message/{name} to the server and back its ACK"), 1, 200, move |times| {
            message(bytes, times)
        }));
    }
    cases
}

/// The answer to a beat: parsed, judged, and nothing to do.
fn echo_received(times: u32) -> Result<(), String> {
    let mut town = Town::new(1)?;
    for _ in 0..times {
        town.until_the_client_beats();
        town.carry_up();
        let Town { now, clients, server, buffer, .. } = &mut town;
        let (client, epoch, id) = &mut clients[0];
        let echo = take(server.transmit(*id), buffer);
        server.handle_input(*now, *id, ServerInput::Written(echo.len()));
        let action = counted_operation(|| {
            client.handle_input(*now, Input::Received { epoch: *epoch, bytes: echo });
            client.poll_action()
        });
        expect(action.is_none() && !echo.is_empty(), "an echo and nothing to do")?;
        let _rtt = client.poll_event(*now);
    }
    Ok(())
}

/// A beat is due, is handed to the driver, and leaves.
fn beat_sent(times: u32) -> Result<(), String> {
    let mut town = Town::new(1)?;
    for _ in 0..times {
        town.now = town.clients[0].0.poll_timeout().map_or(town.now, |due| due.at);
        let (client, epoch, id) = &mut town.clients[0];
        let (now, epoch) = (town.now, *epoch);
        let mut beat = [0; 16];
        let mut length = 0;
        counted_operation(|| {
            client.handle_timeout(now);
            while client.poll_action().is_some() {}
            length = take(client.transmit(), &mut beat).len();
            client.handle_input(now, Input::Written { epoch, count: length });
            while client.poll_action().is_some() {}
            client.poll_timeout()
        });
        expect(length > 0, "a beat")?;
        town.server.handle_input(now, *id, ServerInput::Received(&beat[..length]));
        town.carry_down();
    }
    Ok(())
}

fn client_idle(times: u32) -> Result<(), String> {
    let mut town = Town::new(1)?;
    let now = town.now;
    let client = &mut town.clients[0].0;
    counted_operation(|| {
        for _ in 0..times {
            client.handle_timeout(black_box(now));
            black_box(client.poll_timeout());
        }
    });
    expect(client.poll_action().is_none(), "nothing to do")
}

fn server_idle(links: usize, times: u32) -> Result<(), String> {
    let mut town = Town::new(links)?;
    let (now, server) = (town.now, &mut town.server);
    counted_operation(|| {
        for _ in 0..times {
            server.handle_timeout(black_box(now));
            black_box(server.poll_timeout());
        }
    });
    expect(server.poll_action().is_none(), "nothing to do")
}

/// A beat comes, until its echo is ready. What follows is not counted.
fn beat_received(way: Way, links: usize, times: u32) -> Result<(), String> {
    beats(way, links, times, |server, now, id, beat| {
        counted_operation(|| server.handle_input(now, id, ServerInput::Received(beat)));
        answer(server, now, id)
    })
}

/// The same with what follows: the echo is handed to the driver, and leaves, and the next deadline is asked for.
fn beat_answered(way: Way, links: usize, times: u32) -> Result<(), String> {
    beats(way, links, times, |server, now, id, beat| {
        counted_operation(|| {
            server.handle_input(now, id, ServerInput::Received(beat));
            answer(server, now, id)
        })
    })
}

/// Links that beat in turn, each once in 25 s. `take` has the server take a beat, and says how long the echo was.
fn beats(
    way: Way,
    links: usize,
    times: u32,
    take: impl Fn(&mut Server, Timestamp, ConnectionId, &[u8]) -> usize,
) -> Result<(), String> {
    let mut town = Town::over(way, links)?;
    // A binary message under a mask of zeros; its answer has none.
    let (front, front_of_answer): (&[u8], usize) = match way {
        Way::Beat => (&[], 0),
        Way::Native | Way::Foreign => (&[0x82, 0x83, 0, 0, 0, 0], 2),
    };
    for turn in 0..times as usize {
        town.now = town.now.after(Duration::from_secs(25) / links as u32);
        let beat = [front, &[0x10, 1, (turn / links % 128) as u8]].concat();
        let length = take(&mut town.server, town.now, town.clients[turn % links].2, &beat);
        expect(length == front_of_answer + 3, "an echo")?;
    }
    Ok(())
}

/// A ping of the server is due and leaves, its pong comes, and the next deadline is asked for.
fn ping_and_pong(times: u32) -> Result<(), String> {
    let mut town = Town::over(Way::Foreign, 1)?;
    let (server, id) = (&mut town.server, town.clients[0].2);
    for _ in 0..times {
        town.now = server.poll_timeout().map_or(town.now, |due| due.at);
        let now = town.now;
        let mut ping = [0; 16];
        let mut length = 0;
        counted_operation(|| {
            server.handle_timeout(now);
            while server.poll_action().is_some() {}
            length = take(server.transmit(id), &mut ping).len();
            server.handle_input(now, id, ServerInput::Written(length));
            while server.poll_action().is_some() {}
            black_box(server.poll_timeout());
        });
        expect(length > 2 && ping[0] == 0x89, "a ping")?;
        // Under a mask of zeros.
        let pong = [&[0x8A, 0x80 | ping[1], 0, 0, 0, 0], &ping[2..length]].concat();
        counted_operation(|| {
            server.handle_input(now, id, ServerInput::Received(&pong));
            while server.poll_action().is_some() {}
            black_box(server.poll_timeout());
        });
    }
    Ok(())
}

/// What a driver does when the server has taken something: how many bytes left.
fn answer(server: &mut Server, now: Timestamp, id: ConnectionId) -> usize {
    while server.poll_action().is_some() {}
    let length = black_box(server.transmit(id)).len();
    server.handle_input(now, id, ServerInput::Written(length));
    while server.poll_action().is_some() {}
    black_box(server.poll_timeout());
    length
}

/// A message is sent, carried, delivered and acknowledged; both applications hear of it.
fn message(bytes: usize, times: u32) -> Result<(), String> {
    let mut town = Town::new(1)?;
    let message = Message::from(vec![7; bytes]);
    for _ in 0..times {
        let (sent, delivered, acknowledged) = counted_operation(|| {
            let sent = town.clients[0].0.send(town.now, message.clone());
            town.carry_up();
            let delivered = town.server.poll_event(town.now);
            town.carry_down();
            (sent, delivered, town.clients[0].0.poll_event(town.now))
        });
        let delivered = matches!(delivered, Some(ServerEvent::Message { message: got, .. }) if got == message);
        let acknowledged = matches!(acknowledged, Some(Event::Acknowledged { .. }));
        expect(sent.is_ok() && delivered && acknowledged, "a message that arrives")?;
    }
    Ok(())
}

/// One second of the whole simulator: three links that beat every second, with small messages in both directions.
fn simulated_second(times: u32) -> Result<(), String> {
    let mut setup = Setup::quick(1, 3);
    (setup.up, setup.down) = (Traffic::small(100_000), Traffic::small(100_000));
    let mut sim = Sim::new(setup);
    sim.run_for(Duration::from_secs(2));
    for _ in 0..times {
        counted_operation(|| sim.run_for(Duration::from_secs(1)));
    }
    expect((0..3).all(|link| sim.is_up(link)), "links that stay up")
}

/// How the links of a [`Town`] speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Beat,
    /// The same inside a WebSocket.
    Native,
    /// A WebSocket, and nothing inside.
    Foreign,
}

impl Way {
    fn wire(self, subprotocol: Option<&str>) -> Result<AnyConfig, String> {
        if self == Self::Beat {
            return Ok(AnyConfig::default());
        }
        let builder = WebSocketConfig::builder();
        let builder = if let Some(name) = subprotocol { builder.subprotocol(name) } else { builder };
        builder.build().map(AnyConfig::from).map_err(|error| error.to_string())
    }
}

/// Clients and a server, all links up, and no network between them.
struct Town {
    now: Timestamp,
    clients: Vec<(Client, Epoch, ConnectionId)>,
    server: Server,
    buffer: Vec<u8>,
    way: Way,
}

impl Town {
    fn new(links: usize) -> Result<Self, String> {
        Self::over(Way::Beat, links)
    }

    fn over(way: Way, links: usize) -> Result<Self, String> {
        let config = ServerConfig::builder().max_connections(links).max_sessions(links).max_handshakes(1);
        let config = config.wire(way.wire(None)?);
        let config = Arc::new(config.build().map_err(|error| error.to_string())?);
        let server = Server::new(config, Box::new(Prng::new(2)), 3);
        let mut town =
            Self { now: Timestamp::from_millis(1000), clients: Vec::new(), server, buffer: vec![0; 128 << 10], way };
        for index in 0..links {
            town.open(index)?;
        }
        while town.server.poll_event(town.now).is_some() {}
        Ok(town)
    }

    fn open(&mut self, index: usize) -> Result<(), String> {
        let device = DeviceId::new(&format!("device-{index:05}")).map_err(|error| error.to_string())?;
        let wire = self.way.wire((self.way == Way::Native).then_some(SUBPROTOCOL))?;
        let config = ClientConfig::builder(device).wire(wire).build().map_err(|error| error.to_string())?;
        let server = "localhost:80".parse().map_err(|error| format!("{error}"))?;
        let mut client = Client::new(Arc::new(config), index as u64).to_server(server);
        client.open(self.now);
        let Some(Action::Connect { epoch }) = client.poll_action() else { return Err("no attempt".to_owned()) };
        client.handle_input(self.now, Input::Opened { epoch });
        let id = self.server.accept(self.now, None).map_err(|error| format!("{error:?}"))?;
        self.clients.push((client, epoch, id));
        // Here HELLO, then WELCOME, then the ACK of it, behind the upgrade if there is one: carried by the last client.
        self.clients.swap(0, index);
        for _ in 0..if self.way == Way::Beat { 1 } else { 2 } {
            self.carry_up();
            self.carry_down();
        }
        self.carry_up();
        let client = &mut self.clients[0].0;
        while client.poll_event(self.now).is_some() {}
        let up = client.evidence(self.now).is_some();
        self.clients.swap(0, index);
        expect(up, "a link that is up")
    }

    fn until_the_client_beats(&mut self) {
        let client = &mut self.clients[0].0;
        self.now = client.poll_timeout().map_or(self.now, |due| due.at);
        client.handle_timeout(self.now);
    }

    /// Carries all that the first client has to say.
    fn carry_up(&mut self) {
        let Self { now, clients, server, buffer, .. } = self;
        let (client, epoch, id) = &mut clients[0];
        while client.poll_action().is_some() {}
        while !client.transmit().is_empty() {
            let bytes = take(client.transmit(), buffer);
            client.handle_input(*now, Input::Written { epoch: *epoch, count: bytes.len() });
            server.handle_input(*now, *id, ServerInput::Received(bytes));
        }
        while let Some(action) = server.poll_action() {
            black_box::<ServerAction>(action);
        }
    }

    /// Carries all that the server has to say to the first client.
    fn carry_down(&mut self) {
        let Self { now, clients, server, buffer, .. } = self;
        let (client, epoch, id) = &mut clients[0];
        while !server.transmit(*id).is_empty() {
            let bytes = take(server.transmit(*id), buffer);
            server.handle_input(*now, *id, ServerInput::Written(bytes.len()));
            client.handle_input(*now, Input::Received { epoch: *epoch, bytes });
        }
        while client.poll_action().is_some() {}
    }
}

/// Copies what is to be written, as the operating system does.
fn take<'a>(bytes: &[u8], buffer: &'a mut [u8]) -> &'a [u8] {
    let count = bytes.len().min(buffer.len());
    buffer[..count].copy_from_slice(&bytes[..count]);
    &buffer[..count]
}

fn expect(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{what} was expected")) }
}
