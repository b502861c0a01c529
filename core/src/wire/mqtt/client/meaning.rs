//! What reason codes mean to a link, and how a link says what it means.

use alloc::format;
use alloc::string::{String, ToString as _};

use crate::wire::mqtt::{PacketType, Properties, Property, ReasonCode, Role, Version, Violation};
use crate::wire::{Goodbye, Reason, WireError};

/// What a server says by not letting us in, or by ending the connection.
pub(super) fn of_reason(code: ReasonCode, properties: &Properties<'_>) -> Goodbye {
    let reason = match code {
        ReasonCode::UNSUPPORTED_PROTOCOL_VERSION => Reason::UnsupportedVersion,
        ReasonCode::BAD_USER_NAME_OR_PASSWORD | ReasonCode::NOT_AUTHORIZED => Reason::Unauthorized,
        ReasonCode::CLIENT_IDENTIFIER_NOT_VALID | ReasonCode::BANNED | ReasonCode::BAD_AUTHENTICATION_METHOD => {
            Reason::Forbidden
        }
        ReasonCode::SERVER_UNAVAILABLE
        | ReasonCode::SERVER_BUSY
        | ReasonCode::QUOTA_EXCEEDED
        | ReasonCode::CONNECTION_RATE_EXCEEDED => Reason::Busy,
        ReasonCode::SESSION_TAKEN_OVER => Reason::Replaced,
        ReasonCode::KEEP_ALIVE_TIMEOUT => Reason::TimedOut,
        ReasonCode::PACKET_TOO_LARGE => Reason::TooLarge,
        ReasonCode::MESSAGE_RATE_TOO_HIGH => Reason::Flood,
        ReasonCode::MALFORMED_PACKET
        | ReasonCode::PROTOCOL_ERROR
        | ReasonCode::RECEIVE_MAXIMUM_EXCEEDED
        | ReasonCode::TOPIC_ALIAS_INVALID
        | ReasonCode::TOPIC_FILTER_INVALID
        | ReasonCode::TOPIC_NAME_INVALID
        | ReasonCode::PAYLOAD_FORMAT_INVALID => Reason::Malformed,
        ReasonCode::RETAIN_NOT_SUPPORTED
        | ReasonCode::QOS_NOT_SUPPORTED
        | ReasonCode::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED
        | ReasonCode::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED
        | ReasonCode::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED => Reason::NotHere,
        ReasonCode::SUCCESS
        | ReasonCode::SERVER_SHUTTING_DOWN
        | ReasonCode::USE_ANOTHER_SERVER
        | ReasonCode::SERVER_MOVED
        | ReasonCode::MAXIMUM_CONNECT_TIME => Reason::GoingAway,
        _ => Reason::Failed,
    };
    Goodbye { code: Some(code.get().into()), ..Goodbye::new(reason, words(code, properties)) }
}

fn words(code: ReasonCode, properties: &Properties<'_>) -> String {
    let mut words = code.name().to_string();
    for property in properties.iter() {
        match property {
            Property::ReasonString(text) => words = format!("{words}: {text}"),
            Property::ServerReference(server) => words = format!("{words}; it says to go to {server}"),
            _ => {}
        }
    }
    words
}

/// With which code a client says goodbye. `None` if the version has no word for it: then the end of the connection says it, and
/// the will is published.
pub(super) fn farewell(goodbye: &Goodbye, failed: Option<ReasonCode>, version: Version) -> Option<ReasonCode> {
    if version == Version::V3 {
        return (goodbye.reason == Reason::Closed).then_some(ReasonCode::SUCCESS);
    }
    let given = goodbye.code.and_then(|code| u8::try_from(code).ok()).and_then(ReasonCode::new);
    let given = given.filter(|code| code.is_for(PacketType::Disconnect, Role::Client, version));
    Some(given.or(failed).unwrap_or(match goodbye.reason {
        Reason::Closed => ReasonCode::SUCCESS,
        Reason::Malformed => ReasonCode::PROTOCOL_ERROR,
        Reason::TooLarge => ReasonCode::PACKET_TOO_LARGE,
        Reason::Flood => ReasonCode::MESSAGE_RATE_TOO_HIGH,
        Reason::GoingAway => ReasonCode::DISCONNECT_WITH_WILL,
        _ => ReasonCode::UNSPECIFIED_ERROR,
    }))
}

/// How the server broke the protocol, in the words that all wires share.
pub(super) fn error(violation: Violation) -> WireError {
    match violation {
        Violation::Broken { packet, rule } => {
            WireError::Malformed { frame: packet.map_or("packet", PacketType::name), problem: rule.problem() }
        }
        Violation::TooLarge { length, limit } => WireError::TooLarge { length: length.into(), limit: limit.into() },
    }
}
