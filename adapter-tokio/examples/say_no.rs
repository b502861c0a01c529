//! A WebSocket server that says no in every way there is, to any client: before the WebSocket is open, and after.
//!
//! ```sh
//! cargo run -p keepbeat-tokio --example say_no -- 127.0.0.1:4880
//! ```
//!
//! At the path `/busy` it answers 503 with `Retry-After: 1`. Everywhere else it sends back what it hears, except `busy`, for
//! which it closes with 1013, `restart` with 1012, and `leave` with 1001.

use std::error::Error;
use std::time::Duration;

use keepbeat_tokio::core::wire::{Goodbye, Reason};
use keepbeat_tokio::{Admission, Listener, ServerConfig, ServerEvent, WebSocketConfig};

const SOON: Duration = Duration::from_secs(1);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let Some(address) = std::env::args().nth(1) else {
        return Err("usage: say_no ADDRESS:PORT".into());
    };
    // To be asked about every client is what lets us answer in HTTP.
    let config = ServerConfig::builder().wire(WebSocketConfig::builder().build()?).authenticate().build()?;
    let listener = Listener::bind(address, config).await?;
    println!("listening {}", listener.local_addr().port());
    while let Some(event) = listener.next_event().await {
        match event {
            ServerEvent::Authenticate { connection, offer, .. } => {
                let busy = offer.is_some_and(|offer| offer.path() == "/busy");
                let busy = busy.then_some(Admission::Busy { retry_after: SOON, spread: Duration::ZERO });
                listener.answer(connection, busy.unwrap_or(Admission::Accept));
            }
            ServerEvent::Message { device, message } => match goodbye(&message) {
                Some(goodbye) => listener.disconnect(&device, goodbye),
                // Without a session there is nobody to send to.
                None => drop(listener.try_send(&device, message)),
            },
            ServerEvent::Offline { report, .. } => println!("offline {}", report.cause),
            _ => {}
        }
    }
    Ok(())
}

/// How to end the connection, if that is what the message asks for. What a WebSocket closes with follows from the reason, and
/// from whether there is a time to come back at.
fn goodbye(message: &[u8]) -> Option<Goodbye> {
    match message {
        b"busy" => Some(Goodbye::new(Reason::Busy, "no room")),
        b"restart" => Some(Goodbye { retry_after_ms: 1000, ..Goodbye::new(Reason::GoingAway, "back soon") }),
        b"leave" => Some(Goodbye::new(Reason::GoingAway, "not back soon")),
        _ => None,
    }
}
