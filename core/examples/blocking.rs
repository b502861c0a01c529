//! The reference driver at work: one client link on the standard library alone, in less than 100 lines
//! (`blocking/driver.rs`).
//!
//! It keeps the driver contract of the crate docs, rule by rule. This file is an application, and somebody for it to talk
//! to: an echo server that goes away after three messages and comes back, on loopback.
//!
//! `cargo run -p keepbeat-core --example blocking`

#[path = "blocking/driver.rs"]
mod driver;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keepbeat_core::Failure;
use keepbeat_core::client::{Client, ClientConfig, Event};
use keepbeat_core::entropy::Prng;
use keepbeat_core::server::{Server, ServerAction, ServerConfig, ServerEvent, ServerInput};
use keepbeat_core::time::Timestamp;
use keepbeat_core::wire::DeviceId;

use self::driver::Driver;

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
        driver.client.send(now, format!("message {number}").into())?;
    }
    let mut echoes = 0;
    loop {
        driver.turn();
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
            echoes += 1;
            driver.client.close(now);
        } else {
            driver.arm(Duration::from_secs(15))?;
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
                ServerEvent::Message { device, message } => {
                    echoed += 1;
                    server.send(now(), &device, message)?;
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
