//! [`Liveness`] against plain rules, woken at deadlines and woken every millisecond.
//!
//! | byte | meaning |
//! |---|---|
//! | 0 | bit 0: a server's judgement; bit 1: replies only; bits 2 to 6: quick probes, up to 16 |
//! | 1 to 4 | reply timeout; how much longer than it are the interval and the write stall; jitter |
//! | 2 each | what happens, and after how many milliseconds |

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::fuzzing::script::Script;
use crate::liveness::{DeathCause, Judgement, Liveness, LivenessAction, LivenessConfig, Proof};
use crate::time::{Deadline, DeadlineCause, Timestamp};

/// So much happens, at most.
const MOST_STEPS: usize = 64;

pub(super) fn check(mut script: Script<'_>) {
    let options = script.byte();
    let reply = 10 + u32::from(script.byte());
    let (interval, stall) = (reply + u32::from(script.byte()) * 2, reply + u32::from(script.byte()));
    let config = LivenessConfig::builder()
        .interval(MS * interval)
        .reply_timeout(MS * reply)
        .write_stall(MS * stall)
        .stall_limit(MS * stall * 2)
        .frame_time(MS * reply * 3)
        .probes((options >> 2 & 31).min(16))
        .jitter_percent(script.byte() % 51)
        .proof(if options & 2 == 0 { Proof::AnyBytes } else { Proof::ReplyOnly });
    let judgement = if options & 1 == 0 { Judgement::RoundTrip } else { Judgement::OneWay };
    let config = Arc::new(config.build().unwrap());
    let steps: Vec<(u8, u8)> =
        core::iter::from_fn(|| (!script.is_over()).then(|| (script.byte(), script.byte()))).take(MOST_STEPS).collect();

    let mut lazy = Run::new(&config, judgement);
    lazy.play(&steps, |liveness, _| round_up(liveness.poll_timeout()));
    let mut eager = Run::new(&config, judgement);
    eager.play(&steps, |_, now| Some(now.after(MS)));
    assert_eq!(lazy.trace, eager.trace, "woken at deadlines, and woken every millisecond");
    lazy.fall_silent();
}

const MS: Duration = Duration::from_millis(1);

fn round_up(due: Option<Deadline>) -> Option<Timestamp> {
    due.map(|due| Timestamp::from_millis(due.at.as_nanos().div_ceil(1_000_000)))
}

/// One connection, and what the rules need to know of it.
struct Run {
    config: Arc<LivenessConfig>,
    judgement: Judgement,
    liveness: Liveness,
    now: Timestamp,
    trace: Vec<(Timestamp, LivenessAction)>,
    /// When the peer last proved to be alive.
    proved: Timestamp,
    /// The last beat asked for, and whether it waits to leave.
    seq: u32,
    unwritten: bool,
    /// While a server does not read: since when its device heard nothing of it.
    unheard: Option<Timestamp>,
    suspect: bool,
    dead: bool,
}

impl Run {
    fn new(config: &Arc<LivenessConfig>, judgement: Judgement) -> Self {
        let now = Timestamp::from_millis(1000);
        Self {
            config: config.clone(),
            judgement,
            liveness: Liveness::new(config.clone(), judgement, now, 7),
            now,
            trace: Vec::new(),
            proved: now,
            seq: 0,
            unwritten: false,
            unheard: None,
            suspect: false,
            dead: false,
        }
    }

    fn play(&mut self, steps: &[(u8, u8)], next: impl Fn(&Liveness, Timestamp) -> Option<Timestamp>) {
        for (what, gap) in steps {
            let at = self.now.after(MS * u32::from(*gap));
            // Now and then we ourselves are away.
            let away = what & 0xE0 == 0xE0;
            while !away && let Some(wake) = next(&self.liveness, self.now).filter(|wake| *wake < at) {
                self.now = wake;
                self.turn();
            }
            self.now = at;
            // Both look at what is due before they hand over the input.
            self.turn();
            self.happen(*what);
            self.turn();
        }
    }

    fn happen(&mut self, what: u8) {
        let now = self.now;
        match what & 0x0F {
            0 => {}
            1 | 2 => self.receive(),
            3 => {
                self.receive();
                self.echo(self.seq);
            }
            4 => {
                self.receive();
                self.echo(u32::from(what >> 4));
            }
            5 | 6 => self.leave(),
            7 => self.liveness.write_pending(now),
            8 => self.liveness.write_progressed(now, what & 0x10 == 0),
            9 => self.liveness.frame_unfinished(now, what & 0x10 == 0),
            10 => self.liveness.frame_finished(),
            11 => {
                self.liveness.pause_reading(now);
                self.unheard = self.unheard.or((self.judgement == Judgement::OneWay).then_some(now));
            }
            12 => self.resume(),
            13 => self.liveness.probe_now(now),
            14 => {
                self.leave();
                self.receive();
                self.echo(self.seq);
            }
            _ => self.liveness.handle_timeout(Timestamp::ZERO),
        }
    }

    fn receive(&mut self) {
        self.liveness.received(self.now);
        if self.config.proof == Proof::AnyBytes {
            self.proved = self.now;
        }
    }

    fn echo(&mut self, seq: u32) {
        let answered = self.liveness.beats_answered();
        self.liveness.echo_received(self.now, seq);
        if self.liveness.beats_answered() > answered {
            assert!(seq <= self.seq, "an answer to a beat that was never asked for");
            if seq == self.seq {
                self.left();
            }
            if self.config.proof == Proof::ReplyOnly {
                self.proved = self.now;
            }
        }
    }

    fn leave(&mut self) {
        self.liveness.beat_written(self.now);
        self.left();
    }

    /// The beat that was asked for waits no longer.
    fn left(&mut self) {
        if core::mem::take(&mut self.unwritten) {
            self.show();
        }
    }

    fn resume(&mut self) {
        self.liveness.resume_reading(self.now);
        self.unheard = None;
    }

    /// The peer hears of us.
    fn show(&mut self) {
        self.unheard = self.unheard.map(|_| self.now);
    }

    fn turn(&mut self) {
        self.liveness.handle_timeout(self.now);
        while let Some(action) = self.liveness.poll_action() {
            assert!(!self.dead, "{action:?} after death");
            match &action {
                LivenessAction::SendBeat { seq } => {
                    assert!(!self.unwritten, "a beat behind one that has not left");
                    assert_eq!(*seq, self.seq + 1);
                    (self.seq, self.unwritten) = (*seq, true);
                }
                LivenessAction::Suspect { .. } => assert!(!core::mem::replace(&mut self.suspect, true)),
                LivenessAction::Recovered => assert!(core::mem::take(&mut self.suspect)),
                LivenessAction::DeclareDead(report) => {
                    self.dead = true;
                    self.check_verdict(report.cause);
                }
                LivenessAction::ShowLife => {
                    assert_eq!(self.judgement, Judgement::OneWay);
                    self.show();
                }
                LivenessAction::Measured => assert!(self.liveness.rtt().is_some()),
            }
            self.trace.push((self.now, action));
        }
        let due = self.liveness.poll_timeout();
        assert!(due.is_none_or(|due| due.at > self.now), "{due:?} is due after the turn at {:?}", self.now);
        assert_eq!(due.is_none(), self.dead, "the living have a deadline, the dead have none: {:?}", self.liveness);
        self.check_life();
    }

    /// Who does not read answers no beats, and yet shows its life in time. What waits behind a beat that does not leave would
    /// not leave either.
    fn check_life(&self) {
        if let Some(since) = self.unheard.filter(|_| !self.dead && !self.unwritten) {
            let unheard = self.now.since(since);
            assert!(unheard <= self.liveness.reply_timeout(), "unheard for {unheard:?}: {:?}", self.liveness);
        }
    }

    /// Nobody who was heard within a reply timeout is dead for silence.
    fn check_verdict(&self, cause: DeathCause) {
        let silence = self.now.since(self.proved);
        match cause {
            DeathCause::NoReply => assert_eq!(self.judgement, Judgement::RoundTrip),
            DeathCause::Silent => assert_eq!(self.judgement, Judgement::OneWay),
            _ => return,
        }
        assert!(silence >= self.liveness.reply_timeout(), "{cause:?} after {silence:?}");
    }

    /// From now on nothing comes, and whatever we write leaves at once: the verdict is inside the published bound.
    fn fall_silent(&mut self) {
        self.resume();
        self.liveness.write_progressed(self.now, true);
        self.leave();
        self.turn();
        let end = self.now.after(self.config.worst_case_detection()).after(MS * 4);
        while !self.dead {
            if self.unwritten {
                self.leave();
            }
            let due = self.liveness.poll_timeout().unwrap();
            assert_ne!(due.cause, DeadlineCause::ReadPause);
            self.now = round_up(Some(due)).unwrap();
            assert!(self.now <= end, "no verdict until {:?}, the bound is {end:?}", self.now);
            self.turn();
        }
    }
}
