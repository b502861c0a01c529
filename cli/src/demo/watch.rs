//! What was done to the links against what their ends said: detection, false deaths, recovery.
//!
//! Pure: every call brings its time. Faults are announced before they take hold and their ends before they are undone, so
//! no end can be ahead of its cause.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use keepbeat_core::DownCause;
use keepbeat_core::liveness::{DeathCause, Evidence};
use keepbeat_core::time::Timestamp;

use super::schedule::{Act, Kind};

/// How much later than the bound a verdict may come: for a machine that has other things to do.
pub(super) const MARGIN: Duration = Duration::from_millis(50);

/// So long after its end a fault still explains the loss of a connection.
const AFTERMATH: Duration = Duration::from_millis(300);

/// An end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

impl Side {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// How an end says that its connection is over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loss<'a> {
    pub(super) cause: &'a DownCause,
    pub(super) evidence: Option<&'a Evidence>,
    /// When the relay last passed a byte on to this end.
    pub(super) silent_since: Timestamp,
}

/// What goes on on all links.
#[derive(Debug)]
pub(super) struct Watch {
    start: Timestamp,
    bound: Duration,
    links: Vec<Watched>,
    pub(super) counts: Counts,
    lines: VecDeque<Line>,
}

/// What is counted.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) faults: BTreeMap<Kind, u64>,
    /// Silences that the end concerned found out by itself.
    pub(super) detected: u64,
    /// Silent connections that ended otherwise in time: the client came back and took over.
    pub(super) overtaken: u64,
    /// Verdicts that came too late, or not at all.
    pub(super) late: u64,
    pub(super) false_deaths: u64,
    /// Other losses without a fault that explains them, and sessions that were not resumed.
    pub(super) unexplained: u64,
    /// Up again after a loss.
    pub(super) recovered: u64,
    /// TLS handshakes of connections that were up.
    pub(super) tls_handshakes: u64,
    /// Those among them that resumed a TLS session.
    pub(super) tls_resumed: u64,
    pub(super) gave_up: u64,
    pub(super) suspects: u64,
    pub(super) beats: u64,
    /// How often liveness found that this process itself was late.
    pub(super) local_stalls: u64,
    pub(super) detection: Vec<Duration>,
    pub(super) recovery: Vec<Duration>,
    /// The longest bound that a link published.
    pub(super) bound: Duration,
}

/// How a link looks from its client's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Up,
    Suspect,
    Down,
}

/// How many links are where.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Census {
    pub(super) up: usize,
    pub(super) suspect: usize,
    pub(super) down: usize,
    pub(super) in_fault: usize,
}

/// Something that happened, for people.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) at: Duration,
    pub(super) link: Option<usize>,
    pub(super) text: String,
    /// What makes the run fail.
    pub(super) problem: bool,
}

/// One link.
#[derive(Debug, Default)]
struct Watched {
    was_up: bool,
    client_up: bool,
    client_suspect: bool,
    beats: u32,
    server_online: bool,
    lost_at: Option<Timestamp>,
    /// The bound that the link published; that of the configuration before.
    bound: Option<Duration>,
    fault: Option<Fault>,
}

/// The fault in force, or the last one.
#[derive(Debug, Clone, Copy)]
struct Fault {
    act: Act,
    from: Timestamp,
    to: Option<Timestamp>,
    /// The end that must find out, until it has.
    due: Option<Side>,
}

impl Act {
    /// The end to which this is nothing but silence.
    const fn silences(self) -> Option<Side> {
        match self {
            Self::BlackHoleDown | Self::ServerLost | Self::ServerStop => Some(Side::Client),
            Self::BlackHoleUp | Self::ClientLost | Self::ClientGone => Some(Side::Server),
            _ => None,
        }
    }

    /// Whether a connection may break by it.
    const fn breaks(self) -> bool {
        !matches!(self, Self::Stall | Self::SlowTrickle)
    }

    /// Whether its silence explains a death.
    const fn kills(self) -> bool {
        self.silences().is_some()
    }

    /// Whether there is no way to the server while it lasts.
    const fn blocks(self) -> bool {
        matches!(
            self,
            Self::BlackHoleUp
                | Self::BlackHoleDown
                | Self::ClientGone
                | Self::Refuse
                | Self::AcceptThenClose
                | Self::ServerRestart
                | Self::ServerStop
        )
    }

    fn describe(self, lasts: Duration) -> String {
        let what = match self {
            Self::BlackHoleUp => "black hole up",
            Self::BlackHoleDown => "black hole down",
            Self::Cut => return "fault: cut".to_owned(),
            Self::ServerLost => return "fault: half-open, the server's side is lost".to_owned(),
            Self::ClientLost => return "fault: half-open, the client's side is lost".to_owned(),
            Self::ClientGone => "half-open, the client is away",
            Self::Stall => "stall",
            Self::SlowTrickle => "slow trickle",
            Self::Refuse => "refuse",
            Self::AcceptThenClose => "accept, then close",
            Self::ServerRestart => "server restart",
            Self::ServerStop => "server stopped",
        };
        format!("fault: {what} for {} ms", lasts.as_millis())
    }
}

impl Watch {
    pub(super) fn new(start: Timestamp, links: usize, bound: Duration, kinds: &[Kind]) -> Self {
        Self {
            start,
            bound,
            links: std::iter::repeat_with(Watched::default).take(links).collect(),
            counts: Counts { bound, faults: kinds.iter().map(|&kind| (kind, 0)).collect(), ..Counts::default() },
            lines: VecDeque::new(),
        }
    }

    // What is done to the links.

    pub(super) fn fault_begins(&mut self, now: Timestamp, link: Option<usize>, act: Act, lasts: Duration) {
        *self.counts.faults.entry(act.kind()).or_default() += 1;
        self.say(now, link, act.describe(lasts));
        for watched in concerned(&mut self.links, link) {
            let due = act.silences().filter(|side| match side {
                Side::Client => watched.client_up,
                Side::Server => watched.server_online,
            });
            watched.fault = Some(Fault { act, from: now, to: None, due });
        }
    }

    /// By then, who had to find out must have.
    pub(super) fn fault_ends(&mut self, now: Timestamp, link: Option<usize>) {
        let mut missed = Vec::new();
        for (index, watched) in self.links.iter_mut().enumerate() {
            if link.is_none_or(|link| link == index)
                && let Some(fault) = &mut watched.fault
            {
                fault.to = Some(now);
                missed.extend(fault.due.take().map(|side| (index, side)));
            }
        }
        for (index, side) in missed {
            self.counts.late += 1;
            self.complain(now, Some(index), format!("the {} did not find out", side.name()));
        }
    }

    // What the client's end says.

    pub(super) fn client_up(&mut self, now: Timestamp, link: usize, resumed: bool, bound: Duration) {
        self.counts.bound = self.counts.bound.max(bound);
        let Some(watched) = self.links.get_mut(link) else { return };
        (watched.client_up, watched.client_suspect, watched.bound) = (true, false, Some(bound));
        let again = std::mem::replace(&mut watched.was_up, true);
        if let Some(lost_at) = watched.lost_at.take() {
            let usable = watched.fault.filter(|fault| fault.act.blocks()).and_then(|fault| fault.to);
            let took = now.since(usable.map_or(lost_at, |usable| usable.max(lost_at)));
            self.counts.recovered += 1;
            self.counts.recovery.push(took);
            self.say(now, Some(link), format!("up again {} ms after the way was free", took.as_millis()));
        }
        if again && !resumed {
            self.counts.unexplained += 1;
            self.complain(now, Some(link), "the session was not resumed".to_owned());
        }
    }

    pub(super) fn tls_handshake(&mut self, resumed: bool) {
        self.counts.tls_handshakes += 1;
        self.counts.tls_resumed += u64::from(resumed);
    }

    pub(super) fn client_down(&mut self, now: Timestamp, link: usize, loss: Loss<'_>) {
        let Some(watched) = self.links.get_mut(link) else { return };
        if !std::mem::replace(&mut watched.client_up, false) {
            // Only another attempt that failed.
            return;
        }
        (watched.client_suspect, watched.beats) = (false, 0);
        watched.lost_at = Some(now);
        self.judge(now, link, Side::Client, loss);
    }

    pub(super) fn client_suspect(&mut self, link: usize, suspect: bool) {
        let Some(watched) = self.links.get_mut(link) else { return };
        watched.client_suspect = suspect;
        self.counts.suspects += u64::from(suspect);
    }

    /// Beats that left on the client's current connection.
    pub(super) fn client_beats(&mut self, link: usize, beats: u32) {
        if let Some(watched) = self.links.get_mut(link) {
            watched.beats = beats;
        }
    }

    pub(super) fn gave_up(&mut self, now: Timestamp, link: usize, cause: &str) {
        self.counts.gave_up += 1;
        self.complain(now, Some(link), format!("gave up: {cause}"));
    }

    // What the server's end says.

    pub(super) fn server_online(&mut self, link: usize) {
        if let Some(watched) = self.links.get_mut(link) {
            watched.server_online = true;
        }
    }

    pub(super) fn server_offline(&mut self, now: Timestamp, link: usize, loss: Loss<'_>) {
        if let Some(watched) = self.links.get_mut(link) {
            watched.server_online = false;
            self.judge(now, link, Side::Server, loss);
        }
    }

    /// The device is back on another connection before the first was found dead. It was online all the time.
    pub(super) fn server_replaced(&mut self, now: Timestamp, link: usize, loss: Loss<'_>) {
        self.judge(now, link, Side::Server, loss);
    }

    pub(super) fn server_suspect(&mut self) {
        self.counts.suspects += 1;
    }

    /// Something else that must not be.
    pub(super) fn broke(&mut self, now: Timestamp, link: usize, text: &str) {
        self.counts.unexplained += 1;
        self.complain(now, Some(link), text.to_owned());
    }

    /// What an end has counted on a connection that is over, or still is at the end of the run.
    pub(super) fn tally(&mut self, evidence: &Evidence) {
        self.counts.beats += u64::from(evidence.beats_sent);
        self.counts.local_stalls += u64::from(evidence.local_stalls);
    }

    // What anybody may ask.

    /// Each link, and whether a fault is in force on it.
    pub(super) fn states(&self) -> impl Iterator<Item = (State, bool)> {
        self.links.iter().map(|watched| {
            let state = match (watched.client_up, watched.client_suspect) {
                (true, false) => State::Up,
                (true, true) => State::Suspect,
                (false, _) => State::Down,
            };
            (state, watched.fault.is_some_and(|fault| fault.to.is_none()))
        })
    }

    pub(super) fn census(&self) -> Census {
        let mut census = Census::default();
        for (state, in_fault) in self.states() {
            *match state {
                State::Up => &mut census.up,
                State::Suspect => &mut census.suspect,
                State::Down => &mut census.down,
            } += 1;
            census.in_fault += usize::from(in_fault);
        }
        census
    }

    /// Beats so far, those of the clients' current connections among them.
    pub(super) fn beats(&self) -> u64 {
        self.counts.beats + self.links.iter().map(|watched| u64::from(watched.beats)).sum::<u64>()
    }

    pub(super) fn take_line(&mut self) -> Option<Line> {
        self.lines.pop_front()
    }

    // The inside.

    /// A connection is over: did somebody have to find out, and may it have happened at all?
    fn judge(&mut self, now: Timestamp, link: usize, side: Side, loss: Loss<'_>) {
        if let Some(evidence) = loss.evidence {
            self.tally(evidence);
        }
        let Some(watched) = self.links.get_mut(link) else { return };
        let by_silence =
            matches!(loss.cause, DownCause::Dead(DeathCause::NoReply | DeathCause::Silent | DeathCause::WriteStalled));
        let bound = watched.bound.unwrap_or(self.bound);
        let due = watched.fault.as_mut().filter(|fault| fault.due == Some(side)).map(|fault| {
            fault.due = None;
            fault.from
        });
        let dead = matches!(loss.cause, DownCause::Dead(_));
        let explained = watched.fault.is_some_and(|fault| {
            let relevant = if dead { fault.act.kills() } else { fault.act.breaks() };
            relevant && fault.to.is_none_or(|to| now.since(to) <= AFTERMATH)
        });
        match due {
            Some(_) if by_silence => {
                let silent = now.since(loss.silent_since);
                let late = silent > bound + MARGIN;
                self.counts.detected += 1;
                self.counts.detection.push(silent);
                self.counts.late += u64::from(late);
                let text = format!("the {} found out after {} ms: {}", side.name(), silent.as_millis(), loss.cause);
                if late {
                    self.complain(now, Some(link), format!("late: {text}"))
                } else {
                    self.say(now, Some(link), text)
                }
            }
            Some(from) => {
                self.counts.overtaken += 1;
                let text = format!("the {} did not have to find out: {}", side.name(), loss.cause);
                if now.since(from) > bound + MARGIN {
                    self.counts.late += 1;
                    self.complain(now, Some(link), format!("late: {text}"));
                } else {
                    self.say(now, Some(link), text);
                }
            }
            None if !explained => {
                *(if dead { &mut self.counts.false_deaths } else { &mut self.counts.unexplained }) += 1;
                let evidence = loss.evidence.map(|evidence| format!(" ({evidence})")).unwrap_or_default();
                let text = format!("no fault explains the {}'s loss: {}{evidence}", side.name(), loss.cause);
                self.complain(now, Some(link), text);
            }
            None if side == Side::Client => self.say(now, Some(link), format!("down: {}", loss.cause)),
            None => {}
        }
    }

    fn say(&mut self, now: Timestamp, link: Option<usize>, text: String) {
        self.lines.push_back(Line { at: now.since(self.start), link, text, problem: false });
    }

    /// Says what makes the run fail, which is counted elsewhere.
    pub(super) fn complain(&mut self, now: Timestamp, link: Option<usize>, text: String) {
        self.lines.push_back(Line { at: now.since(self.start), link, text, problem: true });
    }
}

fn concerned(links: &mut [Watched], link: Option<usize>) -> &mut [Watched] {
    match link {
        None => links,
        Some(link) => links.get_mut(link).map_or(&mut [], std::slice::from_mut),
    }
}

#[cfg(test)]
mod tests;
