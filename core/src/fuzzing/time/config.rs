//! Configurations whose spans are at their extremes. Byte 0 leaves a span as it is.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt::Display;
use core::num::NonZeroU32;
use core::time::Duration;

use crate::client::{ClientConfig, ClientConfigBuilder};
use crate::fuzzing::script::Script;
use crate::liveness::{LivenessConfig, Proof};
use crate::reconnect::{ReconnectConfig, Shape};
use crate::server::{ServerConfig, ServerConfigBuilder};
use crate::session::{Overflow, QueueLimits};
use crate::wire::DeviceId;

/// The configuration; none if it is impossible, which must have been said in words.
fn built<T, E: Display>(result: Result<T, E>) -> Option<T> {
    result.inspect_err(|error| assert!(error.to_string().len() > 10, "{error}")).ok()
}

/// Sets a span of a builder, unless the script leaves it as it is.
fn set<B>(script: &mut Script<'_>, builder: B, with: impl FnOnce(B, Duration) -> B) -> B {
    match script.byte() {
        0 => builder,
        byte => with(builder, Script::new(&[byte - 1]).span()),
    }
}

pub(super) fn liveness(script: &mut Script<'_>) -> Option<LivenessConfig> {
    let mut builder = LivenessConfig::builder();
    builder = set(script, builder, |builder, span| builder.interval(span));
    builder = set(script, builder, |builder, span| builder.reply_timeout(span));
    builder = set(script, builder, |builder, span| builder.write_stall(span));
    builder = set(script, builder, |builder, span| builder.stall_limit(span));
    builder = set(script, builder, |builder, span| builder.frame_time(span));
    builder = set(script, builder, |builder, span| builder.initial_rtt(span));
    builder = builder.jitter_percent(script.byte() % 64).probes(script.byte() % 20);
    if script.flag() {
        builder = builder.proof(Proof::ReplyOnly);
    }
    built(builder.build())
}

pub(super) fn reconnect(script: &mut Script<'_>) -> Option<ReconnectConfig> {
    let mut builder = ReconnectConfig::builder();
    builder = set(script, builder, |builder, span| builder.base(span));
    builder = set(script, builder, |builder, span| builder.cap(span));
    builder = set(script, builder, |builder, span| builder.floor(span));
    builder = set(script, builder, |builder, span| builder.first_spread(span));
    builder = set(script, builder, |builder, span| builder.stable(span));
    builder = set(script, builder, |builder, span| builder.max_wait_hint(span));
    builder = set(script, builder, |builder, span| builder.max_elapsed(span));
    if let Some(most) = NonZeroU32::new(script.byte().into()) {
        builder = builder.max_attempts(most);
    }
    builder = match script.below(6) {
        0 => builder,
        1 => builder.shape(Shape::EqualJitter),
        2 => builder.shape(Shape::DecorrelatedJitter),
        3 => builder.shape(Shape::Fixed),
        4 => builder.shape(Shape::FullJitter),
        _ => {
            let steps: Vec<Duration> = (0..script.byte() % 5).map(|_| script.span()).collect();
            builder.shape(Shape::Ladder(steps.into()))
        }
    };
    built(builder.build())
}

fn queue(script: &mut Script<'_>) -> Option<QueueLimits> {
    let sizes = [1000, 0, 1, 2, 100, usize::MAX];
    let mut limits = built(QueueLimits::new(script.one_of(&sizes), script.one_of(&sizes)))?;
    limits = set(script, limits, QueueLimits::max_age);
    Some(if script.flag() { limits.overflow(Overflow::DropOldest) } else { limits })
}

pub(super) fn client(script: &mut Script<'_>) -> Option<ClientConfig> {
    let mut builder: ClientConfigBuilder = ClientConfig::builder(DeviceId::new("d").unwrap());
    builder = builder.liveness(liveness(script)?).reconnect(reconnect(script)?);
    builder = builder.outbox(queue(script)?).inbox(queue(script)?);
    builder = set(script, builder, |builder, span| builder.connect_timeout(span));
    builder = set(script, builder, |builder, span| builder.handshake_timeout(span));
    builder = set(script, builder, |builder, span| builder.credentials_timeout(span));
    builder = set(script, builder, |builder, span| builder.close_timeout(span));
    if script.flag() {
        builder = builder.credentials_from_provider();
    }
    built(builder.build())
}

pub(super) fn server(script: &mut Script<'_>) -> Option<ServerConfig> {
    let mut builder: ServerConfigBuilder = ServerConfig::builder();
    builder = builder.liveness(liveness(script)?).outbox(queue(script)?).inbox(queue(script)?);
    match script.byte() {
        0 => {}
        _ => builder = builder.intervals(script.span(), script.span()),
    }
    builder = set(script, builder, |builder, span| builder.handshake_timeout(span));
    builder = set(script, builder, |builder, span| builder.close_timeout(span));
    builder = set(script, builder, |builder, span| builder.grace(span));
    builder = set(script, builder, |builder, span| builder.session_lifetime(span));
    let limits = [8, 0, 1, 2, usize::MAX];
    builder = builder.max_connections(script.one_of(&limits)).max_handshakes(script.one_of(&limits));
    builder = builder.max_connections_per_address(script.one_of(&limits)).max_sessions(script.one_of(&limits));
    if script.flag() {
        builder = builder.authenticate();
    }
    built(builder.build())
}
