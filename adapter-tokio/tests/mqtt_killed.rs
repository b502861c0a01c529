//! A process that is killed while it publishes loses nothing that it had accepted at QoS 1 or 2.
//!
//! It is this program, started again: it publishes numbered messages and prints each number when the link has accepted it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

#[path = "../../adapter-shared/tests-on-a-runtime/broker.rs"]
mod broker;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _, stdout};
use std::process::{Command, Stdio};
use std::time::Duration;

use broker::{Broker, Scratch};
use keepbeat_tokio::core::entropy::Prng;
use keepbeat_tokio::core::reconnect::ReconnectConfig;
use keepbeat_tokio::core::session::QueueLimits;
use keepbeat_tokio::core::wire::mqtt::{Packet, Publish, Qos, Topic};
use keepbeat_tokio::{ClientConfig, DeviceId, FileStoreOptions, Fsync, Link, MqttConfig};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [word, address, directory, from] if word == "publish" => publish(address, directory, from.parse().unwrap()),
        [word, ..] if word == "--list" => {}
        _ => a_killed_process_loses_nothing_that_it_had_accepted(),
    }
}

fn a_killed_process_loses_nothing_that_it_had_accepted() {
    let (broker, directory) = (Broker::start(), Scratch::new());
    let seed = std::env::var("KEEPBEAT_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("KEEPBEAT_SEED={seed}");
    let mut prng = Prng::new(seed);
    let (mut accepted, mut heard) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..20 {
        // In some, nothing is acknowledged.
        broker.acknowledge(prng.between(0, 2) > 0);
        accepted.extend(kill_after(prng.between(0, 300), &broker, &directory, round * 1_000_000));
    }
    broker.acknowledge(true);
    let (last, mut again) = (20_000_000, 0);
    accepted.extend(kill_after(1, &broker, &directory, last));
    // What was accepted last is sent when all before it was.
    let mut child = start(&broker, &directory, last + 1, Stdio::null());
    while !heard.contains(&(last + 1)) {
        if let Packet::Publish(publish) = broker.hear() {
            again += u64::from(publish.dup);
            heard.insert(std::str::from_utf8(&publish.payload).unwrap().parse().unwrap());
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let lost: Vec<&u64> = accepted.difference(&heard).collect();
    assert!(lost.is_empty(), "of {} messages that were accepted, these never came: {lost:?}", accepted.len());
    println!("{} messages were accepted, and came, {again} of them again; 22 processes were killed", accepted.len());
    assert!(again > 0, "some must have been on their way when their process was killed");
}

/// Lets a process publish, kills it when it has told of so many messages, and returns those of which it told.
fn kill_after(lines: u64, broker: &Broker, directory: &Scratch, from: u64) -> Vec<u64> {
    let mut child = start(broker, directory, from, Stdio::piped());
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let (mut line, mut told) = (String::new(), Vec::new());
    for count in 0.. {
        if count == lines {
            child.kill().unwrap();
        }
        line.clear();
        output.read_line(&mut line).unwrap();
        let Some(number) = line.strip_suffix('\n') else { break };
        told.push(number.parse().unwrap());
    }
    let status = child.wait().unwrap();
    #[cfg(unix)]
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "it was killed, and did not fail");
    told
}

fn start(broker: &Broker, directory: &Scratch, from: u64, output: Stdio) -> std::process::Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("publish").arg(broker.address.to_string()).arg(&directory.0).arg(from.to_string());
    command.stdout(output).spawn().unwrap()
}

fn publish(address: &str, directory: &str, from: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let reconnect = ReconnectConfig::data_center().to_builder().base(Duration::from_millis(20)).build().unwrap();
        let wire = MqttConfig::builder().build().unwrap();
        let config = ClientConfig::builder(DeviceId::new("pump").unwrap()).reconnect(reconnect).wire(wire);
        // So that nobody waits for room while nothing is acknowledged.
        let config = config.outbox(QueueLimits::new(1_000_000, 64 << 20).unwrap());
        let store = FileStoreOptions::new().fsync(Fsync::Never).open(directory).unwrap();
        let link = Link::builder(address, config.build().unwrap()).store(store).open().unwrap();
        let link = std::sync::Arc::new(link);
        let events = link.clone();
        tokio::spawn(async move { while events.next_event().await.is_some() {} });
        for number in from.. {
            let qos = if number % 2 == 0 { Qos::AtLeastOnce } else { Qos::ExactlyOnce };
            let payload = number.to_string();
            let message = Publish { qos, ..Publish::new(Topic::new("a").unwrap(), payload.as_str()) };
            link.send(message.into_message().unwrap()).await.unwrap();
            // As one write: what is told is told as a whole.
            stdout().write_all(format!("{number}\n").as_bytes()).unwrap();
            // The link is driven by the same thread.
            tokio::task::yield_now().await;
        }
    });
}
