//! The future behind a listener. The numbers are those of the driver contract in the docs of [`keepbeat_core`].

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::task::Context;

use super::turn::{ListenerDriver, ListenerTurn};
use crate::alarm::Alarm;
use crate::stream::Stream;

/// Takes a connection that waits, as the runtime does it.
pub type Accept<L, S> = fn(&mut Context<'_>, &L) -> io::Result<(S, SocketAddr)>;

/// Drives a listener until it is dropped or aborted. Every turn bounds its own work.
pub fn drive<L: Send + 'static, S: Stream, A: Alarm>(
    listener: ListenerDriver<L, S>,
    accept: Accept<L, S>,
) -> impl Future<Output = ()> + Send {
    let mut alarm = A::default();
    poll_fn(move |cx| {
        let mut turn = listener.begin(cx);
        take_turn(cx, &mut turn, accept);
        arm(cx, &turn, &mut alarm);
        turn.finish()
    })
}

fn take_turn<L: Send, S: Stream>(cx: &mut Context<'_>, turn: &mut ListenerTurn<'_, L, S>, accept: Accept<L, S>) {
    // 2. Input before timeouts.
    turn.accept(cx, accept);
    turn.on_woken(cx);
    turn.drain();
    // 3. The clock decides, not the alarm.
    turn.on_due();
    // 4. and 5. What came of it.
    turn.drain();
}

fn arm<L, S: Stream>(cx: &mut Context<'_>, turn: &ListenerTurn<'_, L, S>, alarm: &mut impl Alarm) {
    if turn.resumed() {
        alarm.disarm();
    }
    alarm.arm(cx, turn.now(), turn.deadline());
}
