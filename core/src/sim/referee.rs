//! The referee: was every verdict right, and did every one come in time?

use core::time::Duration;

use super::Sim;
use super::fault::{Fault, Node};
use super::report::{Verdict, death};
use crate::connection::DownReport;
use crate::liveness::DeathCause;
use crate::time::Timestamp;

impl Sim {
    /// Notices silence that nobody judged.
    pub(super) fn audit(&mut self) {
        for index in 0..self.links.len() {
            self.audit_client(index);
            self.audit_server(index);
        }
    }

    /// How long a client that is up has been given nothing, and how long that may be.
    fn client_silence(&self, index: usize) -> Option<(Duration, Duration)> {
        let link = &self.links[index];
        let since = link.down_read?;
        let config = &link.client.config().liveness;
        let reply_timeout = config.reply_timeout();
        Some((self.now.since(since), link.bound.saturating_add(link.host.allowance(since, reply_timeout))))
    }

    pub(super) fn audit_client(&mut self, index: usize) {
        let reading = self.links[index].host.paused.is_none() && self.links[index].client.wants_read();
        if self.is_up(index) && reading && !self.links[index].host.is_asleep(self.now) {
            self.audit_silence(self.client_silence(index));
        }
    }

    fn audit_silence(&mut self, silence: Option<(Duration, Duration)>) {
        if silence.is_some_and(|(silent, allowed)| silent > allowed) {
            self.counts.late += 1;
        }
    }

    fn server_silence(&self, index: usize) -> Option<(Duration, Duration)> {
        let since = self.links[index].up_read?;
        let (wish, config) = (&self.links[index].client.config().liveness, &self.setup.server);
        let interval = wish.interval().clamp(config.shortest_interval, config.longest_interval);
        let bound = config.liveness.bound_for(interval, wish.reply_timeout().min(interval));
        let allowance = self.server_host.allowance(since, wish.reply_timeout());
        Some((self.now.since(since), bound.saturating_add(allowance)))
    }

    pub(super) fn audit_server(&mut self, index: usize) {
        let device = self.links[index].client.config().device();
        let connected = self.server.as_ref().is_some_and(|server| server.is_connected(device));
        if connected && self.server_host.paused.is_none() && !self.server_host.is_asleep(self.now) {
            self.audit_silence(self.server_silence(index));
        }
    }

    /// Notes the verdict in a report, if there is one.
    pub(super) fn judge(&mut self, judge: Node, link: usize, report: &DownReport) {
        let Some(cause) = death(&report.cause) else { return };
        let silence = match judge {
            Node::Client(index) => self.client_silence(index),
            Node::Server => self.server_silence(link),
        };
        let (silent_for, allowed) = silence.unwrap_or((Duration::ZERO, Duration::MAX));
        if matches!(cause, DeathCause::NoReply | DeathCause::Silent) && silent_for > allowed {
            self.counts.late += 1;
        }
        // The judge's own connection may have been silent for longer than the link, on which another one began.
        let silence = report.evidence.as_ref().map_or(silent_for, |evidence| evidence.silent_for);
        let window = allowed.max(silence);
        let from = Timestamp::ZERO.after(self.now.since(Timestamp::ZERO).saturating_sub(window));
        // A machine that was away and missed its deadline by a hair cannot know. A round trip gets a second chance all
        // the same, unless that was spent on an absence before; writes get none. The server's alarm may have been another
        // connection's.
        let reply_timeout = self.links[link].client.config().liveness.reply_timeout();
        let now = self.now;
        let chances = if cause == DeathCause::WriteStalled { 1 } else { 2 };
        let host = self.host(judge);
        let unnoticed = judge == Node::Server || host.is_punctual(now, reply_timeout);
        let away = unnoticed && host.absences(now, 2 * reply_timeout) >= chances;
        let begun = self.faults.iter().filter(|fault| fault.at <= now && fault.end() >= from);
        let excuses = |fault: &&Fault| fault.excuses(judge, link) || (away && fault.excuses(judge.other(link), link));
        let excuse = begun.filter(excuses).min_by_key(|fault| fault.at);
        let excuse = excuse.map(|fault| (fault.kind, fault.at));
        self.verdicts.push(Verdict { at: self.now, judge, link, cause, excuse, silent_for, allowed });
    }
}
