//! The driver of `examples/blocking.rs`, in a file of its own because the conformance suite drives it too.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use keepbeat_core::Failure;
use keepbeat_core::client::{Action, Client, Epoch, Input};
use keepbeat_core::time::Timestamp;

pub(crate) struct Driver {
    pub(crate) client: Client,
    pub(crate) address: SocketAddr,
    pub(crate) stream: Option<(Epoch, TcpStream)>,
    pub(crate) started: Instant,
}

impl Driver {
    /// One turn: input, then timers, then output. Afterwards the application looks at the events, and if it does nothing
    /// that calls for another turn, `arm` waits.
    pub(crate) fn turn(&mut self) {
        let now = self.now(); // Rule 1.
        self.read(now); // Rule 2.
        self.write(now);
        self.client.handle_timeout(now); // Rule 3: safe if it is early.
        self.drain(now); // Rule 4.
    }

    /// Rule 1. The standard library's clock stands still while the machine is suspended; a product reads CLOCK_BOOTTIME.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::ZERO.after(self.started.elapsed())
    }

    /// Hands over what is already here, without waiting, and only if the link wants it. From a peer that says more than
    /// we can read, only so much, because timers have their turn next.
    fn read(&mut self, now: Timestamp) {
        let mut buffer = [0; 4096];
        for _ in 0..64 {
            let Some((epoch, stream)) = self.stream.as_mut().filter(|_| self.client.wants_read()) else { return };
            let epoch = *epoch;
            let input = match stream.read(&mut buffer) {
                Ok(0) => Input::Ended { epoch, failure: Failure::Eof },
                Ok(count) => Input::Received { epoch, bytes: &buffer[..count] },
                Err(error) if is_passing(&error) => return,
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
                Err(error) if is_passing(&error) => return,
                Err(error) => Input::Ended { epoch, failure: failure(&error) },
            };
            self.client.handle_input(now, input);
        }
    }

    /// Waits for input or the next deadline, rounded up, at most `cap`; with bytes still to write, at most 5 ms.
    pub(crate) fn arm(&mut self, cap: Duration) -> io::Result<()> {
        let now = self.now();
        let deadline = self.client.poll_timeout().map_or(Duration::MAX, |deadline| deadline.at.since(now));
        let blocked = !self.client.transmit().is_empty();
        let wait = deadline.min(if blocked { Duration::from_millis(5) } else { cap });
        let (epoch, stream) = match &self.stream {
            Some((epoch, stream)) if self.client.wants_read() => (*epoch, stream),
            _ => {
                std::thread::park_timeout(wait);
                return Ok(());
            }
        };
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(wait + Duration::from_millis(1)))?;
        let peeked = stream.peek(&mut [0]); // Only to wait: what it finds, the next turn reads.
        stream.set_nonblocking(true)?;
        let waited = |error: &io::Error| is_passing(error) || cfg!(windows) && error.kind() == ErrorKind::TimedOut;
        if let Some(error) = peeked.err().filter(|error| !waited(error)) {
            // An error is told once, and this was it.
            self.client.handle_input(self.now(), Input::Ended { epoch, failure: failure(&error) });
        }
        if blocked {
            self.write(self.now());
        }
        Ok(())
    }
}

/// Nothing now, but later.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn failure(error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::ConnectionRefused => Failure::Refused,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => Failure::Reset,
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Failure::TimedOut,
        _ => Failure::Other,
    }
}
