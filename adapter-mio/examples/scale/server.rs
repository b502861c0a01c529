//! The second process: one listener, which takes whatever comes.

use std::error::Error;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use keepbeat_mio::core::liveness::LivenessConfig;
use keepbeat_mio::{DriverEvent, EventLoop, ServerConfig, ServerEvent};

use crate::process;

/// Messages, suspects and losses.
type Counts = Arc<[AtomicU64; 3]>;

pub(crate) fn run(address: &str) -> Result<(), Box<dyn Error>> {
    process::raise_descriptor_limit()?;
    let config = ServerConfig::builder().liveness(LivenessConfig::data_center()).build()?;
    let mut event_loop = EventLoop::new()?;
    let listener = event_loop.driver().listen(address, config)?;
    let listening = event_loop.driver().listener(listener).and_then(|listener| listener.local_addr());
    println!("{}", listening.ok_or("the listener is gone")?);
    let counts = Counts::default();
    let reported = counts.clone();
    std::thread::spawn(move || report(&reported));
    loop {
        event_loop.turn(None)?;
        while let Some(event) = event_loop.driver().next_event() {
            if let DriverEvent::Listener(_, event) = event {
                let place = match event {
                    ServerEvent::Message { .. } => 0,
                    ServerEvent::Suspect { .. } => 1,
                    ServerEvent::Offline { .. } | ServerEvent::Replaced { .. } | ServerEvent::Rejected { .. } => 2,
                    _ => continue,
                };
                counts[place].fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Every line of input is a question for the counts. The process ends with its input.
fn report(counts: &[AtomicU64; 3]) {
    for line in io::stdin().lines() {
        let [messages, suspects, lost] = counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        if line.is_err() || writeln!(io::stdout(), "{messages} {suspects} {lost}").is_err() {
            break;
        }
    }
    std::process::exit(0);
}
