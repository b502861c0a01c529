//! Holds a link and says what happens to it, line by line. Change the network meanwhile.
//!
//! ```sh
//! cargo run -p keepbeat-tokio --features netwatch --example watch_network -- gateway.example:7411 phone
//! ```
//!
//! With `deaf` as the third argument it does not watch the network, for comparison. Its beats and waits are slow, so that
//! whatever comes soon comes from a hint.

use std::error::Error;
use std::time::Duration;

use keepbeat_tokio::core::liveness::LivenessConfig;
use keepbeat_tokio::core::reconnect::{ReconnectConfig, Shape};
use keepbeat_tokio::network::NetworkWatch;
use keepbeat_tokio::{ClientConfig, DeviceId, Event, Link};

const BEAT: Duration = Duration::from_secs(60);
const WAIT: Duration = Duration::from_secs(60);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(device)) = (arguments.next(), arguments.next()) else {
        return Err("usage: watch_network HOST:PORT DEVICE [deaf]".into());
    };
    let watched = arguments.next().is_none();

    // Every wait lasts 30 s to 60 s, unless something cuts it.
    let reconnect = ReconnectConfig::builder().shape(Shape::EqualJitter).base(WAIT).cap(WAIT).stable(2 * WAIT);
    let liveness = LivenessConfig::builder().interval(BEAT).reply_timeout(Duration::from_secs(20));
    let config =
        ClientConfig::builder(DeviceId::new(&device)?).reconnect(reconnect.build()?).liveness(liveness.build()?);
    let builder = Link::builder(address, config.build()?);
    let link = if watched { builder.watch_network().open()? } else { builder.open()? };

    // Made after the link, so it is called after the link has heard the hint.
    let (sender, mut hints) = tokio::sync::mpsc::unbounded_channel();
    let _watch = NetworkWatch::watch(move |hint| sender.send(hint).unwrap_or_default())?;

    loop {
        tokio::select! {
            Some(hint) = hints.recv() => println!("hint {hint:?}{}", wait(&link)),
            event = link.next_event() => match event {
                Some(Event::Connecting { attempt }) => println!("connecting {attempt}"),
                Some(Event::Up { .. }) => println!("up"),
                Some(Event::Rtt(_)) => println!("probed"),
                Some(Event::Down { report, .. }) => println!("down {}{}", report.cause, wait(&link)),
                Some(_) => {}
                None => return Ok(()),
            },
        }
    }
}

fn wait(link: &Link) -> String {
    link.next_attempt_in().map(|wait| format!("; attempt in {:.3} s", wait.as_secs_f64())).unwrap_or_default()
}
