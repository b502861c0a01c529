//! An MQTT 5.0 server of a few lines, made of the codec: it lets everybody in, answers what asks for an answer, and hands every packet
//! to the test. It publishes what the test says, and nothing of what it hears.
#![allow(dead_code, unreachable_pub, reason = "every test file uses a part of it")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use keepbeat_core::session::{Change, Message, SessionStore, StoreError, StoreKey};
use keepbeat_core::wire::Tx;
use keepbeat_core::wire::mqtt::{
    Ack, ConnAck, Filter, Incoming, Outgoing, Packet, PacketId, Properties, Publish, Qos, ReasonCode, Role, SubAck,
    Subscribe, Subscription, Topic, Version,
};

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(14);

/// It has threads of its own. When it is dropped, nobody listens there any more, and all connections are cut.
pub struct Broker {
    pub address: SocketAddr,
    heard: Arc<Mutex<Receiver<Packet<'static>>>>,
    shared: Arc<Shared>,
    accepting: Option<thread::JoinHandle<()>>,
}

struct Shared {
    over: AtomicBool,
    /// Whether publications are acknowledged.
    acknowledges: AtomicBool,
    /// It knows the client from before.
    known: AtomicBool,
    /// What everybody is told who wants in.
    greeting: ReasonCode,
    newest: Mutex<Option<TcpStream>>,
}

impl Broker {
    pub fn start() -> Self {
        Self::of("127.0.0.1:0".parse().unwrap(), ReasonCode::SUCCESS)
    }

    /// It listens there.
    pub fn at(address: SocketAddr) -> Self {
        Self::of(address, ReasonCode::SUCCESS)
    }

    /// It lets nobody in.
    pub fn refusing(reason: ReasonCode) -> Self {
        Self::of("127.0.0.1:0".parse().unwrap(), reason)
    }

    fn of(address: SocketAddr, greeting: ReasonCode) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            over: AtomicBool::new(false),
            acknowledges: AtomicBool::new(true),
            known: AtomicBool::new(false),
            greeting,
            newest: Mutex::default(),
        });
        let (tell, heard) = channel();
        let accepting = {
            let shared = shared.clone();
            thread::spawn(move || {
                while let Ok((stream, _)) = listener.accept() {
                    if shared.over.load(Ordering::SeqCst) {
                        return;
                    }
                    *shared.newest.lock().unwrap() = Some(stream.try_clone().unwrap());
                    let (shared, tell) = (shared.clone(), tell.clone());
                    thread::spawn(move || serve(stream, &shared, &tell));
                }
            })
        };
        Self { address, heard: Arc::new(Mutex::new(heard)), shared, accepting: Some(accepting) }
    }

    /// From now on publications are acknowledged, or not.
    pub fn acknowledge(&self, does: bool) {
        self.shared.acknowledges.store(does, Ordering::SeqCst);
    }

    /// Waits for the next packet.
    pub fn hear(&self) -> Packet<'static> {
        (self.hearing())()
    }

    /// The same, for another thread.
    pub fn hearing(&self) -> impl FnOnce() -> Packet<'static> + Send + use<> {
        let heard = self.heard.clone();
        move || heard.lock().unwrap().recv_timeout(LIMIT).expect("nothing comes")
    }

    /// To whoever came last.
    pub fn say(&self, packet: &Packet<'_>) {
        write(self.shared.newest.lock().unwrap().as_mut().expect("nobody has come"), packet);
    }

    /// Publishes at QoS 1 or 2.
    pub fn publish(&self, number: u16, topic: &str, payload: &str, qos: Qos) {
        let publish = Publish::new(Topic::new(topic).unwrap(), payload);
        self.say(&Packet::Publish(Publish { qos, packet_id: Some(id(number)), ..publish }));
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // So that its thread sees it.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            drop(accepting.join());
        }
        if let Some(newest) = self.shared.newest.lock().unwrap().take() {
            drop(newest.shutdown(Shutdown::Both));
        }
    }
}

fn serve(mut stream: TcpStream, shared: &Shared, tell: &Sender<Packet<'static>>) {
    let mut incoming = Incoming::server(1 << 20);
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        let mut input = &buffer[..count];
        while let Some(packet) = incoming.next(&mut input).expect("a link keeps to the protocol") {
            let packet = packet.into_owned();
            if let Some(answer) = answer(&packet, shared) {
                let _newest = shared.newest.lock().unwrap();
                write(&mut stream, &answer);
            }
            // The test may be over.
            drop(tell.send(packet));
        }
    }
}

fn answer(packet: &Packet<'_>, shared: &Shared) -> Option<Packet<'static>> {
    Some(match packet {
        Packet::Connect(_) => {
            let reason = shared.greeting;
            let session_present = reason == ReasonCode::SUCCESS && shared.known.swap(true, Ordering::SeqCst);
            Packet::ConnAck(ConnAck { session_present, reason, properties: Properties::NONE })
        }
        Packet::PingReq => Packet::PingResp,
        Packet::Publish(publish) if shared.acknowledges.load(Ordering::SeqCst) => match publish.qos {
            Qos::AtMostOnce => return None,
            Qos::AtLeastOnce => Packet::PubAck(Ack::new(publish.packet_id?)),
            Qos::ExactlyOnce => Packet::PubRec(Ack::new(publish.packet_id?)),
        },
        Packet::PubRec(ack) => Packet::PubRel(Ack::new(ack.packet_id)),
        Packet::PubRel(ack) => Packet::PubComp(Ack::new(ack.packet_id)),
        Packet::Subscribe(packet) => {
            let granted = packet.subscriptions.iter().map(|one| granted(one.qos)).collect();
            Packet::SubAck(SubAck::new(packet.packet_id, granted))
        }
        Packet::Unsubscribe(packet) => {
            Packet::UnsubAck(SubAck::new(packet.packet_id, vec![ReasonCode::SUCCESS; packet.filters.len()]))
        }
        _ => return None,
    })
}

const fn granted(qos: Qos) -> ReasonCode {
    match qos {
        Qos::AtMostOnce => ReasonCode::SUCCESS,
        Qos::AtLeastOnce => ReasonCode::GRANTED_QOS_1,
        Qos::ExactlyOnce => ReasonCode::GRANTED_QOS_2,
    }
}

fn write(stream: &mut TcpStream, packet: &Packet<'_>) {
    let mut tx = Tx::default();
    Outgoing::new(Role::Server, Version::V5).send(packet, &mut tx).unwrap();
    while !tx.is_empty() {
        // Whoever has hung up does not hear it.
        drop(stream.write_all(tx.chunk()));
        tx.consume(tx.chunk().len());
    }
}

// What the tests say and hear.

pub fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

pub fn publication(topic: &str, payload: &'static str, qos: Qos) -> Message {
    Publish { qos, ..Publish::new(Topic::new(topic).unwrap(), payload) }.into_message().unwrap()
}

pub fn subscription(filter: &str, qos: Qos) -> Message {
    Subscribe::to(vec![Subscription::new(Filter::new(filter).unwrap(), qos)]).into_message().unwrap()
}

/// What a link took from a topic.
pub fn payload(message: &Message) -> String {
    String::from_utf8(Publish::of(message).expect("it is a publication").payload.to_vec()).unwrap()
}

/// A packet in short: its name, and what of it a test asks for.
pub fn word(packet: &Packet<'_>) -> String {
    match packet {
        Packet::Publish(publish) => {
            let payload = String::from_utf8_lossy(&publish.payload);
            format!("PUBLISH {payload} {}{}", publish.qos as u8, if publish.dup { " again" } else { "" })
        }
        Packet::PubAck(ack) => format!("PUBACK {}", ack.packet_id),
        other => other.packet_type().to_string(),
    }
}

/// A directory that goes when the test is over.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("keepbeat-mqtt-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A store that keeps nothing from the moment on at which it is told to fail.
#[derive(Clone, Default)]
pub struct Failing {
    pub now: Arc<AtomicBool>,
    /// What it kept.
    pub kept: Arc<Mutex<Vec<Change>>>,
}

impl SessionStore for Failing {
    fn load(&mut self) -> Result<Vec<(StoreKey, bytes::Bytes)>, StoreError> {
        Ok(Vec::new())
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        if self.now.load(Ordering::SeqCst) {
            return Err(StoreError::new("the disk is full"));
        }
        self.kept.lock().unwrap().extend_from_slice(changes);
        Ok(())
    }
}
