//! The least that a server can do which notices silence: one loop, no timer but a tick, eight bytes per link.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use keepbeat_adapter::socket;
use keepbeat_mio::Timestamp;
use keepbeat_mio::clock::Clock;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::native;

/// How often all links are looked at for silence.
const TICK: Duration = Duration::from_millis(100);

const LISTENER: Token = Token(usize::MAX - 1);

struct Loop {
    poll: Poll,
    listener: TcpListener,
    links: Vec<Option<TcpStream>>,
    last_seen: Vec<Timestamp>,
    /// Links that are gone.
    free: Vec<usize>,
    /// Beginnings of frames, of the few links that have one.
    kept: BTreeMap<usize, Vec<u8>>,
    welcome: Vec<u8>,
    answer: Vec<u8>,
}

pub(super) fn run(interval: Duration) -> Result<(), Box<dyn Error>> {
    let mut listener = TcpListener::from_std(socket::listen(&[super::anywhere()])?);
    println!("{}", listener.local_addr()?);
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut all = Loop {
        poll,
        listener,
        links: Vec::new(),
        last_seen: Vec::new(),
        free: Vec::new(),
        kept: BTreeMap::new(),
        welcome: native::welcome(interval),
        answer: Vec::new(),
    };
    let mut next_tick = Clock::now().after(TICK);
    loop {
        match all.poll.poll(&mut events, Some(next_tick.since(Clock::now()))) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        let now = Clock::now();
        for event in &events {
            match event.token() {
                LISTENER => all.accept(now)?,
                Token(index) => all.read(index, now),
            }
        }
        if next_tick <= now {
            all.close_silent(now, super::patience(interval));
            next_tick = now.after(TICK);
        }
    }
}

impl Loop {
    fn accept(&mut self, now: Timestamp) -> Result<(), Box<dyn Error>> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            stream.set_nodelay(true)?;
            let index = self.free.pop().unwrap_or(self.links.len());
            self.poll.registry().register(&mut stream, Token(index), Interest::READABLE)?;
            if index == self.links.len() {
                self.links.push(None);
                self.last_seen.push(now);
            }
            (self.links[index], self.last_seen[index]) = (Some(stream), now);
        }
    }

    fn read(&mut self, index: usize, now: Timestamp) {
        let Some(stream) = self.links.get_mut(index).and_then(Option::as_mut) else { return };
        let mut buffer = [0; 1024];
        let count = match stream.read(&mut buffer) {
            Ok(0) => return self.close(index),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(_) => return self.close(index),
        };
        self.last_seen[index] = now;
        self.answer.clear();
        let mut kept = self.kept.remove(&index);
        let input = match &mut kept {
            Some(kept) => {
                kept.extend_from_slice(&buffer[..count]);
                &kept[..]
            }
            None => &buffer[..count],
        };
        let Some(used) = native::answer(input, &self.welcome, &mut self.answer) else { return self.close(index) };
        if used < input.len() {
            self.kept.insert(index, input[used..].to_vec());
        }
        // An answer that does not fit into an empty socket is no case for the floor.
        if !self.answer.is_empty() && !stream.write(&self.answer).is_ok_and(|written| written == self.answer.len()) {
            self.close(index);
        }
    }

    fn close_silent(&mut self, now: Timestamp, patience: Duration) {
        for index in 0..self.links.len() {
            if now.since(self.last_seen[index]) > patience && self.links[index].is_some() {
                self.close(index);
            }
        }
    }

    fn close(&mut self, index: usize) {
        if self.links[index].take().is_some() {
            self.kept.remove(&index);
            self.free.push(index);
        }
    }
}
