//! keepbeat on mio.

use std::net::SocketAddr;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use keepbeat_core::client::LinkState;
use keepbeat_mio::{EventLoop, LinkId};

use super::{Clients, client_config, run_until, server_config};

pub(super) fn serve(address: &Sender<SocketAddr>) -> ! {
    let mut event_loop = EventLoop::new().unwrap();
    let listener = event_loop.driver().listen("127.0.0.1:0", server_config()).unwrap();
    address.send(event_loop.driver().listener(listener).unwrap().local_addr().unwrap()).unwrap();
    loop {
        turn(&mut event_loop, None);
    }
}

fn turn(event_loop: &mut EventLoop, longest: Option<Duration>) {
    event_loop.turn(longest).unwrap();
    while event_loop.driver().next_event().is_some() {}
}

pub(super) struct OnMio {
    event_loop: EventLoop,
    links: Vec<LinkId>,
}

impl OnMio {
    pub(super) fn open(server: SocketAddr, links: usize, interval: Duration) -> Self {
        let mut event_loop = EventLoop::new().unwrap();
        let open = |link| event_loop.driver().open(server.to_string(), client_config(link, interval));
        let links = (0..links).map(open).collect();
        let mut clients = Self { event_loop, links };
        run_until(&mut clients, "all links are up", Self::all_up);
        clients
    }

    fn all_up(&mut self) -> bool {
        let driver = self.event_loop.driver();
        self.links.iter().all(|link| matches!(driver.link(*link).unwrap().state(), LinkState::Up { .. }))
    }
}

impl Clients for OnMio {
    #[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
    fn run_for(&mut self, span: Duration) {
        let end = Instant::now() + span;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            turn(&mut self.event_loop, Some(left));
        }
    }

    fn answered(&mut self) -> u64 {
        let driver = self.event_loop.driver();
        let evidence = |link: &LinkId| driver.link(*link).unwrap().evidence().expect("a link went down");
        self.links.iter().map(evidence).map(|evidence| u64::from(evidence.beats_answered)).sum()
    }
}
