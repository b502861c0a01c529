//! What a driver owes its runtime: while it waits, everything that can concern it holds its newest waker, and it is woken
//! for nothing else.
//!
//! The check looks from outside: each poll of the driver gets a waker of its own, and afterwards the holders of that waker
//! are counted. A source that was forgotten, or that knows only an older waker, is missing from the count.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use futures_lite::future;

use crate::runtime::adapter::core::client::{ClientConfigBuilder, LinkState};
use crate::runtime::adapter::core::session::QueueLimits;
use crate::runtime::adapter::{Event, Link, Listener, Traffic};
use crate::runtime::{block_on, sleep};
use crate::support::*;

type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Wakes the check, if it is of the newest poll. Some runtimes wake a waker that they replace.
struct Bell {
    number: usize,
    desk: Arc<Desk>,
}

#[derive(Default)]
struct Desk {
    newest: AtomicUsize,
    rung: AtomicBool,
    check: Mutex<Option<Waker>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        if self.number == self.desk.newest.load(Ordering::SeqCst) {
            self.desk.rung.store(true, Ordering::SeqCst);
            if let Some(check) = &*self.desk.check.lock().unwrap() {
                check.wake_by_ref();
            }
        }
    }
}

/// Runs a driver, only when it was woken. After each poll, `look` is told how many hold the newest waker.
struct Watched<F> {
    driver: Driver,
    desk: Arc<Desk>,
    look: F,
}

fn watched<F: FnMut(usize) + Unpin>(driver: Driver, look: F) -> Watched<F> {
    let desk = Arc::<Desk>::default();
    desk.rung.store(true, Ordering::SeqCst);
    Watched { driver, desk, look }
}

impl<F: FnMut(usize) + Unpin> Future for Watched<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        *self.desk.check.lock().unwrap() = Some(cx.waker().clone());
        if !self.desk.rung.swap(false, Ordering::SeqCst) {
            return Poll::Pending;
        }
        let number = self.desk.newest.fetch_add(1, Ordering::SeqCst) + 1;
        let bell = Arc::new(Bell { number, desk: self.desk.clone() });
        let waker = Waker::from(bell.clone());
        let poll = self.driver.as_mut().poll(&mut Context::from_waker(&waker));
        drop(waker);
        if poll.is_pending() {
            (self.look)(Arc::strong_count(&bell) - 1);
        }
        poll
    }
}

/// How many sources must hold the waker: commands always; the alarm and what is waited for (name, connection, bytes) as the
/// link stands.
fn sources(state: LinkState) -> usize {
    match state {
        LinkState::Closed | LinkState::GaveUp(_) => 1,
        LinkState::Waiting { .. } => 2,
        _ => 3,
    }
}

/// Runs `driver` and `application` side by side in one task, and returns what was missing, if anything was.
async fn missing(link: &Link, driver: Driver, application: impl Future<Output = ()>) -> Vec<String> {
    let faults = Mutex::new(Vec::new());
    let watched = watched(driver, |held| {
        let state = link.state();
        if held < sources(state) {
            faults.lock().unwrap().push(format!("{state:?}: only {held} of {}", sources(state)));
        }
    });
    within(future::or(application, async {
        watched.await;
        std::future::pending().await
    }))
    .await;
    faults.into_inner().unwrap()
}

/// What a link goes through: up, messages, a server that is gone, one that does not answer, closed, open again.
async fn life(link: &Link, listener: Listener, relay: &Relay) {
    up(link).await;
    for number in 0..3_u32 {
        link.send(number.to_be_bytes().to_vec()).await.unwrap();
        assert_eq!(server_message(&listener).await, number);
        listener.send(&device("a"), number.to_be_bytes().to_vec()).await.unwrap();
        assert_eq!(message(link).await, number);
    }
    sleep(millis(500)).await;
    relay.swallow_everything();
    until(link, |event| matches!(event, Event::Down { was_up: true, .. }).then_some(())).await;
    until(link, |event| matches!(event, Event::Down { was_up: false, .. }).then_some(())).await;
    link.close();
    link.closed().await;
    link.reopen();
    until(link, |event| matches!(event, Event::Connecting { .. }).then_some(())).await;
}

fn quick() -> ClientConfigBuilder {
    client("a").liveness(beats(100, 100)).handshake_timeout(millis(300))
}

#[test]
fn whatever_a_link_waits_for_holds_its_newest_waker() {
    block_on(async {
        let listener = listen(server()).await;
        let relay = Relay::to(listener.local_addr(), 0);
        let config = quick().build().unwrap();
        let (link, driver) = Link::builder(relay.address.to_string(), config).build().unwrap();
        let faults = missing(&link, driver, life(&link, listener, &relay)).await;
        assert_eq!(faults, Vec::<String>::new());
        let Traffic { wakes, empty_turns, .. } = link.traffic();
        // The first turn, and what a runtime reports twice when a socket is new.
        assert!(empty_turns <= 3 + wakes / 5, "{empty_turns} of {wakes} turns had nothing to do");
    });
}

#[test]
fn a_link_that_cannot_write_waits_for_that_too() {
    block_on(async {
        let listener = listen(server().inbox(QueueLimits::new(1, 1).unwrap())).await;
        let config = client("a").outbox(QueueLimits::new(1000, 64 << 20).unwrap()).build().unwrap();
        let (link, driver) = Link::builder(listener.local_addr().to_string(), config).build().unwrap();
        let most = Mutex::new(0);
        let watched = watched(driver, |held| {
            let mut most = most.lock().unwrap();
            *most = held.max(*most);
        });
        let fill = async {
            up(&link).await;
            // The listener's application takes nothing, so the listener does not read.
            for _ in 0..200 {
                link.try_send(vec![0; 64 << 10]).unwrap();
            }
            while *most.lock().unwrap() < 4 {
                sleep(millis(5)).await;
            }
        };
        within(future::or(fill, watched)).await;
    });
}

#[test]
fn whatever_a_listener_waits_for_holds_its_newest_waker() {
    block_on(async {
        let mut builder = Listener::builder(server().build().unwrap());
        let (listener, driver) = builder.build("127.0.0.1:0").await.unwrap();
        let faults = Mutex::new(Vec::new());
        let watched = watched(driver, |held| {
            // Commands, the listening socket, the accepted ones together; and the alarm, if there are any.
            let needed = 3 + usize::from(listener.connections() > 0);
            if held < needed {
                faults.lock().unwrap().push(format!("only {held} of {needed}"));
            }
        });
        let application = async {
            let link = link(&listener, quick());
            up(&link).await;
            for number in 0..3_u32 {
                link.send(number.to_be_bytes().to_vec()).await.unwrap();
                assert_eq!(server_message(&listener).await, number);
            }
            assert_eq!(link.drain(GUARD).await, 0);
            while listener.connections() > 0 {
                sleep(millis(5)).await;
            }
        };
        within(future::or(application, watched)).await;
        assert_eq!(faults.into_inner().unwrap(), Vec::<String>::new());
        let Traffic { wakes, empty_turns, .. } = listener.traffic();
        // The first turn, and what a runtime reports twice when a socket is new.
        assert!(empty_turns <= 3 + wakes / 5, "{empty_turns} of {wakes} turns had nothing to do");
    });
}

/// Two turns for each beat: one sends it, one takes its answer. Nothing else wakes an idle link or its listener.
#[test]
fn an_idle_link_wakes_for_its_own_deadlines_only() {
    block_on(async {
        let listener = listen(server().liveness(beats(100, 100))).await;
        let link = link(&listener, client("a").liveness(beats(100, 100)));
        up(&link).await;
        sleep(millis(300)).await;
        let (before, beats) = (link.traffic(), link.evidence().unwrap().beats_sent);
        let listening = listener.traffic();
        sleep(millis(2000)).await;
        let (after, sent) = (link.traffic(), link.evidence().unwrap().beats_sent - beats);
        let turns = after.wakes - before.wakes;
        assert!(sent >= 15, "{sent} beats");
        assert!(turns <= 2 * u64::from(sent) + 2, "{turns} turns for {sent} beats");
        let empty = after.empty_turns - before.empty_turns;
        assert!(empty <= 2, "{empty} of {turns} turns were empty");
        // The listener hears a beat and answers it.
        let turns = listener.traffic().wakes - listening.wakes;
        assert!(turns <= 2 * u64::from(sent) + 4, "{turns} turns of the listener for {sent} beats");
    });
}

#[test]
fn a_driver_that_forgets_a_source_is_found_out() {
    block_on(async {
        let listener = listen(server()).await;
        let relay = Relay::to(listener.local_addr(), 0);
        let (link, mut driver) = Link::builder(relay.address.to_string(), quick().build().unwrap()).build().unwrap();
        // Polled with the first waker for ever: whoever asks for it again gets an old one.
        let mut first: Option<Waker> = None;
        let forgetful = Box::pin(poll_fn(move |cx| {
            let waker = first.get_or_insert_with(|| cx.waker().clone()).clone();
            driver.as_mut().poll(&mut Context::from_waker(&waker))
        }));
        let faults = missing(&link, forgetful, sleep(millis(500))).await;
        assert!(!faults.is_empty());
    });
}
