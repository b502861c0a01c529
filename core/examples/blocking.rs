//! The reference driver: one client link on the standard library alone, in less than 100 lines (`struct Driver`).
//!
//! It keeps the driver contract of the crate docs, rule by rule. The rest of the file is somebody to talk to: an echo
//! server that goes away after three messages and comes back, on loopback.
//!
//! `cargo run -p keepbeat-core --example blocking`

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use keepbeat_core::Failure;
use keepbeat_core::client::{Action, Client, ClientConfig, Epoch, Event, Input};
use keepbeat_core::entropy::Prng;
use keepbeat_core::server::{Server, ServerAction, ServerConfig, ServerEvent, ServerInput};
use keepbeat_core::time::Timestamp;
use keepbeat_core::wire::DeviceId;

struct Driver {
    client: Client,
    address: SocketAddr,
    stream: Option<(Epoch, TcpStream)>,
    started: Instant,
}

impl Driver {
    /// One turn: input, then timers, then output. Then it waits for input or the next deadline.
    fn turn(&mut self) -> io::Result<()> {
        let now = self.now(); // Rule 1.
        self.read(now); // Rule 2.
        self.client.handle_timeout(now); // Rule 3: safe if it is early.
        self.drain(now); // Rule 4.
        self.arm(now)
    }

    /// Rule 1. The standard library's clock stands still while the machine is suspended; a product reads CLOCK_BOOTTIME.
    fn now(&self) -> Timestamp {
        Timestamp::ZERO.after(self.started.elapsed())
    }

    /// Hands over what is already here, without waiting, and only if the link wants it.
    fn read(&mut self, now: Timestamp) {
        let mut buffer = [0; 4096];
        while let Some((epoch, stream)) = &mut self.stream
            && self.client.wants_read()
        {
            let epoch = *epoch;
            let input = match stream.read(&mut buffer) {
                Ok(0) => Input::Ended { epoch, failure: Failure::Eof },
                Ok(count) => Input::Received { epoch, bytes: &buffer[..count] },
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return,
                Err(error) => Input::Ended { epoch, failure: failure(&error) }, // Rule 6.
            };
            if matches!(input, Input::Ended { .. }) {
                self.stream = None;
            }
            self.client.handle_input(now, input);
        }
    }

    /// Does what the link asks for, until it asks for nothing more.
    fn drain(&mut self, now: Timestamp) {
        loop {
            match self.client.poll_action() {
                Some(Action::Connect { epoch }) => {
                    // While an attempt is under way this link has no other timer, so it may be waited for.
                    let opened = TcpStream::connect_timeout(&self.address, Duration::from_secs(1)).and_then(|stream| {
                        stream.set_nodelay(true)?;
                        stream.set_nonblocking(true).map(|()| stream)
                    });
                    let input = match &opened {
                        Ok(_) => Input::Opened { epoch },
                        Err(error) => Input::OpenFailed { epoch, failure: failure(error) },
                    };
                    self.stream = opened.ok().map(|stream| (epoch, stream)); // Rule 7.
                    self.client.handle_input(now, input);
                }
                Some(Action::Disconnect { .. }) => self.stream = None,
                Some(Action::Transmit { .. }) => self.write(now),
                Some(Action::FetchCredentials { epoch, .. }) => {
                    self.client.handle_input(now, Input::CredentialsFailed { epoch });
                }
                None => return,
            }
        }
    }

    /// Rule 5: reports what the operating system took, and waits for nothing.
    fn write(&mut self, now: Timestamp) {
        while let Some((epoch, stream)) = &mut self.stream
            && !self.client.transmit().is_empty()
        {
            let epoch = *epoch;
            let input = match stream.write(self.client.transmit()) {
                Ok(count) => Input::Written { epoch, count },
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => Input::Ended { epoch, failure: failure(&error) },
            };
            self.client.handle_input(now, input);
        }
    }

    /// Waits for input or the next deadline, rounded up, at most 15 s; with bytes still to write, at most 5 ms.
    fn arm(&mut self, now: Timestamp) -> io::Result<()> {
        let deadline = self.client.poll_timeout().map_or(Duration::MAX, |deadline| deadline.at.since(now));
        let blocked = !self.client.transmit().is_empty();
        let wait = deadline.min(Duration::from_millis(if blocked { 5 } else { 15_000 }));
        let stream = match &self.stream {
            Some((_, stream)) if self.client.wants_read() => stream,
            _ => {
                std::thread::park_timeout(wait);
                return Ok(());
            }
        };
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(wait + Duration::from_millis(1)))?;
        drop(stream.peek(&mut [0])); // Only to wait: what it finds, the next turn reads.
        stream.set_nonblocking(true)?;
        if blocked {
            self.write(self.now());
        }
        Ok(())
    }
}

fn failure(error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::ConnectionRefused => Failure::Refused,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => Failure::Reset,
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Failure::TimedOut,
        _ => Failure::Other,
    }
}

#[expect(clippy::disallowed_methods, reason = "an example owns its clock")]
fn main() -> Result<(), Box<dyn core::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let started = Instant::now();
    let server = std::thread::spawn(move || {
        // A product makes tokens from the operating system's generator, not from a clock.
        let mut server = Server::new(
            Arc::new(ServerConfig::builder().build()?),
            Box::new(Prng::new(started.elapsed().as_nanos() as u64)),
            1,
        );
        for life in [3, usize::MAX] {
            serve(&mut server, &listener, started, life)?;
        }
        Ok::<_, Box<dyn core::error::Error + Send + Sync>>(())
    });

    let config = ClientConfig::builder(DeviceId::new("example")?).build()?;
    let mut driver = Driver { client: Client::new(Arc::new(config), 7), address, stream: None, started };
    driver.client.open(driver.now());
    for number in 1..=10 {
        let now = driver.now();
        driver.client.send(now, Bytes::from(format!("message {number}")))?;
    }
    let mut echoes = 0;
    loop {
        driver.turn()?;
        let now = driver.now();
        while let Some(event) = driver.client.poll_event(now) {
            match event {
                Event::Message(text) => {
                    echoes += 1;
                    println!("echo {echoes}: {}", String::from_utf8_lossy(&text));
                }
                Event::Down { report, .. } => println!("down: {report}"),
                Event::Up { resumed, took, .. } => println!("up after {took:?}, session resumed: {resumed}"),
                Event::Closed { unacknowledged } => {
                    println!("closed, {unacknowledged} messages not acknowledged");
                    drop(driver);
                    return server
                        .join()
                        .map_err(|_| "the server thread died")?
                        .map_err(|error| error.to_string().into());
                }
                _ => {}
            }
        }
        if echoes == 10 {
            driver.client.close(now);
        }
    }
}

/// Echoes `life` messages on one connection, then drops it; or ends when the device says goodbye.
fn serve(
    server: &mut Server,
    listener: &TcpListener,
    started: Instant,
    life: usize,
) -> Result<(), Box<dyn core::error::Error + Send + Sync>> {
    let (mut stream, peer) = listener.accept()?;
    stream.set_read_timeout(Some(Duration::from_millis(10)))?;
    let now = || Timestamp::ZERO.after(started.elapsed());
    let id = server.accept(now(), Some(peer.ip()))?;
    let (mut buffer, mut echoed) = ([0; 4096], 0);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => server.handle_input(now(), id, ServerInput::Ended(Failure::Eof)),
            Ok(count) => server.handle_input(now(), id, ServerInput::Received(&buffer[..count])),
            Err(_) => {}
        }
        server.handle_timeout(now());
        while let Some(event) = server.poll_event(now()) {
            match event {
                ServerEvent::Message { device, payload } => {
                    echoed += 1;
                    server.send(now(), &device, payload)?;
                }
                ServerEvent::SessionEnded { .. } => return Ok(()),
                _ => {}
            }
        }
        if echoed >= life {
            server.handle_input(now(), id, ServerInput::Ended(Failure::Reset));
            return Ok(());
        }
        while let Some(action) = server.poll_action() {
            match action {
                ServerAction::Transmit(_) => {
                    while !server.transmit(id).is_empty() {
                        let count = stream.write(server.transmit(id))?;
                        server.handle_input(now(), id, ServerInput::Written(count));
                    }
                }
                ServerAction::Disconnect(closed) if closed == id => return Ok(()),
                ServerAction::Disconnect(_) | ServerAction::Read(_) => {}
            }
        }
    }
}
