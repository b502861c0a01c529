//! Very many reconnects hold no more memory than one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use common::{Acceptor, Answer, Dialer, client, data, encoded, hello, message, server, welcome};
use keepbeat_core::Failure;
use keepbeat_core::client::LinkState;
use keepbeat_core::wire::{Frame, Hello};

thread_local! {
    /// Bytes that this thread holds. Tests run on a thread each.
    static HELD: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.with(|held| held.set(held.get() + layout.size() as isize));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.with(|held| held.set(held.get() - layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn held() -> isize {
    HELD.with(Cell::get)
}

#[test]
fn a_hundred_thousand_reconnects_of_a_client_leak_nothing() {
    let hello = encoded(&Frame::Welcome(Box::new(welcome())));
    let mut rig = Dialer::new(client());
    rig.client.open(rig.now);
    rig.turn();
    let round = |rig: &mut Dialer, number: u32| {
        if number.is_multiple_of(2) {
            rig.say_bytes(&hello);
        }
        rig.cut(Failure::Reset);
        if number.is_multiple_of(3) {
            rig.answer = Answer::Refuse;
            rig.client.retry_now(rig.now);
            rig.turn();
            rig.answer = Answer::Open;
        }
        rig.client.retry_now(rig.now);
        rig.turn();
        (rig.actions, rig.events) = (Vec::new(), Vec::new());
        rig.heard();
    };
    for number in 0..100 {
        round(&mut rig, number);
    }
    let before = held();
    for number in 0..100_000 {
        round(&mut rig, number);
    }
    assert!((held() - before).abs() < 4096, "{} bytes more than after the first hundred", held() - before);
    assert_eq!((rig.client.missed_events(), rig.client.stale_inputs(), rig.client.has_event()), (0, 0, false));
    rig.client.close(rig.now);
    rig.turn();
    rig.advance(1000);
    assert_eq!((rig.client.state(), rig.client.poll_timeout()), (LinkState::Closed, None));
    drop(rig);
}

#[test]
fn thousands_of_comings_and_goings_leave_a_server_as_it_was() {
    let mut rig = Acceptor::new(server().grace(keepbeat_core::liveness::LivenessConfig::SHORTEST));
    let round = |rig: &mut Acceptor, number: usize| {
        let name = ["a", "b", "c", "d", "e"][number % 5];
        let (id, first) = rig.welcomed(&hello(name));
        rig.say(id, &data(1, "m"));
        rig.server.send(rig.now, &common::device(name), message("for you")).unwrap();
        let (second, _) = rig.welcomed(&Hello { token: Some(first.token), received: 0, ..hello(name) });
        let stranger = rig.dial();
        rig.say_bytes(stranger, b"GET /");
        if number.is_multiple_of(2) {
            rig.hang_up(second, Failure::Reset);
        }
        rig.advance(1000);
        rig.events.clear();
        rig.forget_closed();
    };
    for number in 0..500 {
        round(&mut rig, number);
    }
    let before = held();
    for number in 500..5000 {
        round(&mut rig, number);
    }
    assert!((held() - before).abs() < 16_384, "{} bytes more than after the first hundreds", held() - before);
    rig.advance(1_000_000);
    rig.events.clear();
    assert_eq!((rig.server.connections(), rig.server.poll_timeout(), rig.server.has_event()), (0, None, false));
}

#[test]
fn what_is_dropped_gives_everything_back() {
    let before = held();
    let mut rig = Dialer::up(client());
    for _ in 0..500 {
        rig.client.send(rig.now, vec![7; 1000].into()).unwrap();
    }
    rig.say_bytes(&encoded(&Frame::Data { seq: 1, message: vec![7; 100_000].into() })[..60_000]);
    assert!(held() - before > 500_000);
    drop(rig);
    assert_eq!(held(), before);
}
