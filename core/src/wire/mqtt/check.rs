//! What a packet may say: the same for those that came and those that are to be sent.

use super::Role;
use super::packet::{Connect, Packet, Publish, Subscription};
use super::properties::Properties;
use super::property::{Found, Place};
use super::reason::ReasonCode;
use super::rule::{self, Checked};
use super::text::{FIELD_LIMIT, Filter};
use super::types::{PacketType, Qos, Version};

/// Who sends a packet, and in which version.
#[derive(Clone, Copy)]
pub(super) struct Sent {
    pub(super) by: Role,
    pub(super) version: Version,
}

/// Checks what the types do not.
#[inline]
pub(super) fn packet(packet: &Packet<'_>, sent: Sent) -> Checked<()> {
    if let Packet::Publish(packet) = packet { publish(packet, sent) } else { other(packet, sent) }
}

/// Checks what the types of a PUBLISH do not.
#[inline]
pub(super) fn publish(publish: &Publish<'_>, sent: Sent) -> Checked<()> {
    let found = properties(PacketType::Publish, &publish.properties, sent)?;
    match (publish.qos, publish.packet_id) {
        (Qos::AtMostOnce, _) if publish.dup => return Err(&rule::DUP_QOS_0),
        (Qos::AtMostOnce, Some(_)) => return Err(&rule::PACKET_ID_UNASKED),
        (Qos::AtLeastOnce | Qos::ExactlyOnce, None) => return Err(&rule::PACKET_ID_MISSING),
        _ => {}
    }
    if publish.topic.is_some() || found.has_topic_alias() {
        return Ok(());
    }
    Err(if sent.version == Version::V3 { &rule::TOPIC_EMPTY } else { &rule::TOPIC_MISSING })
}

// Kept out of line, so that the path of a message is small.
#[inline(never)]
fn other(packet: &Packet<'_>, sent: Sent) -> Checked<()> {
    let packet_type = packet.packet_type();
    if !packet_type.is_from(sent.by, sent.version) {
        return Err(&rule::DIRECTION);
    }
    match packet {
        Packet::Connect(packet) => connect(packet, sent),
        Packet::ConnAck(packet) => {
            reason(packet_type, packet.reason, sent)?;
            if packet.session_present && packet.reason != ReasonCode::SUCCESS {
                return Err(&rule::SESSION_REFUSED);
            }
            properties(packet_type, &packet.properties, sent).map(drop)
        }
        Packet::Publish(packet) => publish(packet, sent),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            reason(packet_type, ack.reason, sent)?;
            properties(packet_type, &ack.properties, sent).map(drop)
        }
        Packet::Subscribe(packet) => {
            list(packet.subscriptions.is_empty())?;
            packet.subscriptions.iter().try_for_each(|one| subscription(one, sent))?;
            properties(packet_type, &packet.properties, sent).map(drop)
        }
        Packet::Unsubscribe(packet) => {
            list(packet.filters.is_empty())?;
            packet.filters.iter().try_for_each(|one| filter(one, sent))?;
            properties(packet_type, &packet.properties, sent).map(drop)
        }
        Packet::SubAck(ack) | Packet::UnsubAck(ack) => {
            if packet_type == PacketType::UnsubAck && sent.version == Version::V3 {
                if !ack.reasons.is_empty() {
                    return Err(&rule::LIST_UNASKED);
                }
            } else {
                list(ack.reasons.is_empty())?;
            }
            ack.reasons.iter().try_for_each(|code| reason(packet_type, *code, sent))?;
            properties(packet_type, &ack.properties, sent).map(drop)
        }
        Packet::PingReq | Packet::PingResp => Ok(()),
        Packet::Disconnect(packet) => {
            reason(packet_type, packet.reason, sent)?;
            properties(packet_type, &packet.properties, sent).map(drop)
        }
        Packet::Auth(packet) => {
            reason(packet_type, packet.reason, sent)?;
            let found = properties(packet_type, &packet.properties, sent)?;
            // The shortest form says success and has no room for a method.
            let is_short = packet.reason == ReasonCode::SUCCESS && packet.properties.is_empty();
            authentication(&found, !is_short)
        }
    }
}

fn connect(connect: &Connect<'_>, sent: Sent) -> Checked<()> {
    if connect.version != sent.version {
        return Err(&rule::OTHER_VERSION);
    }
    authentication(&properties(PacketType::Connect, &connect.properties, sent)?, false)?;
    if let Some(will) = &connect.will {
        checked(&will.properties, Place::WILL, sent)?;
        field(&will.payload)?;
    }
    connect.password.as_deref().map_or(Ok(()), field)?;
    if sent.version == Version::V3 {
        if connect.password.is_some() && connect.user_name.is_none() {
            return Err(&rule::PASSWORD_ALONE);
        }
        if connect.client_id.as_str().is_empty() && !connect.clean_start {
            return Err(&rule::CLIENT_ID_EMPTY);
        }
    }
    Ok(())
}

fn subscription(subscription: &Subscription<'_>, sent: Sent) -> Checked<()> {
    filter(&subscription.filter, sent)?;
    let Subscription { filter, no_local, retain_as_published, retain_handling, .. } = subscription;
    if sent.version == Version::V3 && (*no_local || *retain_as_published || *retain_handling != Default::default()) {
        return Err(&rule::OPTIONS_V5_ONLY);
    }
    if *no_local && filter.share().is_some() { Err(&rule::NO_LOCAL_SHARED) } else { Ok(()) }
}

fn filter(filter: &Filter<'_>, sent: Sent) -> Checked<()> {
    match sent.version {
        Version::V3 => Ok(()),
        Version::V5 => filter.check_share(),
    }
}

#[inline]
fn properties(packet: PacketType, properties: &Properties<'_>, sent: Sent) -> Checked<Found> {
    checked(properties, Place::packet(packet, sent.by), sent)
}

#[inline]
fn checked(properties: &Properties<'_>, place: Place, sent: Sent) -> Checked<Found> {
    if sent.version == Version::V3 && !properties.is_empty() {
        return Err(&rule::PROPERTIES_V5_ONLY);
    }
    properties.check(place)
}

/// Authentication data needs a method (section 3.1.2.11.10), and an AUTH cannot do without one (section 3.15.2.2.2).
const fn authentication(found: &Found, is_needed: bool) -> Checked<()> {
    if (is_needed || found.has_authentication_data()) && !found.has_authentication_method() {
        return Err(&rule::AUTHENTICATION_METHOD);
    }
    Ok(())
}

const fn reason(packet: PacketType, reason: ReasonCode, sent: Sent) -> Checked<()> {
    if reason.is_for(packet, sent.by, sent.version) { Ok(()) } else { Err(&rule::REASON_PLACE) }
}

const fn list(is_empty: bool) -> Checked<()> {
    if is_empty { Err(&rule::LIST_EMPTY) } else { Ok(()) }
}

const fn field(bytes: &[u8]) -> Checked<()> {
    if bytes.len() > FIELD_LIMIT { Err(&rule::TOO_LONG) } else { Ok(()) }
}
