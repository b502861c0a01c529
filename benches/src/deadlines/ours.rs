//! [`Liveness`] for each link, and one [`Timers`] for all.

use std::sync::Arc;

use keepbeat_core::liveness::{Judgement, Liveness, LivenessAction, LivenessConfig};
use keepbeat_core::time::{Deadline, Timestamp};
use keepbeat_core::timers::{Filed, Timers};

use super::{Deadlines, Expire, INTERVAL, Rearm, SILENCE, START};

/// What a server of one's own would hold for each connection: the machine that judges the peer, and its place in the heap.
pub struct Ours {
    links: Vec<(Liveness, Option<Filed>)>,
    timers: Timers<u32>,
}

impl Ours {
    /// The earliest deadline filed.
    #[must_use]
    pub fn first(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| at)
    }

    /// What one link is waiting for.
    #[must_use]
    pub fn poll_timeout(&self, link: usize) -> Option<Deadline> {
        self.links[link].0.poll_timeout()
    }

    /// Wakes one link.
    pub fn handle_timeout(&mut self, link: usize, now: Timestamp) {
        self.links[link].0.handle_timeout(now);
    }
}

impl Deadlines for Ours {
    fn new(links: usize) -> Self {
        // No probes: who is late is dead, as with a bare timer.
        let config = LivenessConfig::builder().interval(INTERVAL).reply_timeout(SILENCE - INTERVAL).probes(0);
        let config = Arc::new(config.build().unwrap());
        let mut timers = Timers::new();
        let link = |link| {
            let liveness = Liveness::new(config.clone(), Judgement::OneWay, START, u64::from(link));
            let mut filed = None;
            timers.file(link, &mut filed, liveness.poll_timeout().map(|due| due.at));
            (liveness, filed)
        };
        Self { links: (0..links as u32).map(link).collect(), timers }
    }

    fn touch(&mut self, link: usize, now: Timestamp) {
        let (liveness, filed) = &mut self.links[link];
        liveness.received(now);
        self.timers.file(link as u32, filed, liveness.poll_timeout().map(|due| due.at));
    }
}

impl Rearm for Ours {
    fn nearer(&mut self, link: usize, due: Timestamp) {
        self.timers.file(link as u32, &mut self.links[link].1, Some(due));
    }

    fn put(&mut self, link: usize, due: Timestamp) {
        self.timers.remove(&mut self.links[link].1);
        self.nearer(link, due);
    }
}

impl Expire for Ours {
    fn turn(&mut self, now: Timestamp) -> usize {
        let mut expired = 0;
        while let Some((at, &link)) = self.timers.first()
            && at <= now
        {
            let (liveness, filed) = &mut self.links[link as usize];
            liveness.handle_timeout(now);
            while let Some(action) = liveness.poll_action() {
                expired += usize::from(matches!(action, LivenessAction::DeclareDead(_)));
            }
            self.timers.refile(filed, liveness.poll_timeout().map(|due| due.at));
        }
        expired
    }
}
