//! A WebSocket server that is no keepbeat: it answers pings and closes, and says nothing else unless it is told to.
#![allow(dead_code, unreachable_pub, reason = "every test file uses a part of it")]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use keepbeat_adapter::clock::Clock;
use keepbeat_core::session::Message;
use keepbeat_core::time::Timestamp;
use keepbeat_core::wire::Tx;
use keepbeat_core::wire::websocket::upgrade::{Agreed, ServerUpgrade};
use keepbeat_core::wire::websocket::{Incoming, Item, Limits, Outgoing, Role};
use socket2::SockRef;

/// It takes no more than so many bytes ahead, so that what is written moves on steadily.
const BUFFER: usize = 64 << 10;

/// As large as on Ethernet.
#[cfg(unix)]
const SEGMENT: u32 = 1400;

/// So much it reads and writes at once.
const PIECE: usize = 16 << 10;

/// So much is made good at once.
const SLACK: Duration = Duration::from_millis(50);

/// It has threads of its own, which end with the process of the tests.
pub struct Plain {
    pub address: SocketAddr,
    /// The messages that came.
    pub heard: Receiver<Message>,
}

impl Plain {
    /// It reads and writes `rate` bytes per second, or as fast as it goes if that is 0. The text `send N` makes it send a
    /// binary message of N bytes; until that is written, it reads nothing.
    pub fn start(rate: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // What it accepts inherits this.
        let socket = SockRef::from(&listener);
        socket.set_recv_buffer_size(BUFFER).unwrap();
        socket.set_send_buffer_size(BUFFER).unwrap();
        // On loopback, a segment may be as large as the whole buffer, and then waits until all of it is free.
        #[cfg(unix)]
        socket.set_tcp_mss(SEGMENT).unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, heard) = channel();
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let tell = tell.clone();
                // How it ends is for the other side to tell.
                thread::spawn(move || drop(serve(stream, rate, &tell)));
            }
        });
        Self { address, heard }
    }
}

fn serve(mut stream: TcpStream, rate: usize, heard: &Sender<Message>) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    let mut pace = Pace { rate, due: Clock::now() };
    let mut upgrade = ServerUpgrade::new();
    let offer = loop {
        let count = stream.read(&mut buffer)?;
        assert!(count > 0, "the client hung up before its request was whole");
        if let Some(request) = upgrade.receive(&mut &buffer[..count]).unwrap() {
            break request.into_offer().unwrap();
        }
    };
    stream.write_all(&offer.accept(&Agreed::default()).unwrap())?;
    let mut incoming = Incoming::new(Role::Server, Limits::of_message(64 << 20));
    let (mut outgoing, mut tx) = (Outgoing::server(), Tx::default());
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        pace.moved(count);
        let mut input = &buffer[..count];
        while let Some(item) = incoming.next(&mut input).unwrap() {
            match item {
                Item::Message(message) => {
                    if let Some(length) = message.as_text().and_then(|text| text.strip_prefix("send ")) {
                        outgoing.message(&Message::from(vec![7; length.parse().unwrap()]), &mut tx);
                    }
                    // The test may be over.
                    drop(heard.send(message));
                }
                Item::Ping(ping) => outgoing.pong(&ping, &mut tx),
                Item::Pong(_) => {}
                Item::Close(close) => outgoing.close(&close.answer(), &mut tx),
            }
        }
        while !tx.is_empty() {
            let piece = tx.chunk().len().min(PIECE);
            stream.write_all(&tx.chunk()[..piece])?;
            tx.consume(piece);
            pace.moved(piece);
        }
        if outgoing.is_closed() {
            return Ok(());
        }
    }
}

/// Makes bytes move at a rate. What a busy machine oversleeps is made good.
struct Pace {
    rate: usize,
    /// When all that has moved should have.
    due: Timestamp,
}

impl Pace {
    fn moved(&mut self, bytes: usize) {
        if self.rate == 0 {
            return;
        }
        let now = Clock::now();
        self.due = self.due.max(now.before(SLACK)).after(Duration::from_secs_f64(bytes as f64 / self.rate as f64));
        let ahead = self.due.since(now);
        if !ahead.is_zero() {
            #[expect(clippy::disallowed_methods, reason = "it makes the path slow; nothing is waited for")]
            thread::sleep(ahead);
        }
    }
}
