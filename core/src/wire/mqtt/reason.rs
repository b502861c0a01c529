//! Reason codes (MQTT 5.0, section 2.4), and what is left of them in MQTT 3.1.1.

use core::fmt;

use super::{PacketType, Role, Version};

/// What became of something, or why a connection ends. From 0x80 on it is a failure.
///
/// The return codes of MQTT 3.1.1 are the reason codes of the same meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReasonCode(u8);

/// The codes: number, name, words, and the types of packets in which a client and a server may send it.
macro_rules! codes {
    ($($number:literal $name:ident $words:literal: $($client:ident)*; $($server:ident)*.)*) => {
        impl ReasonCode {
            $(#[doc = concat!(stringify!($number), ": ", $words, ".")]
            pub const $name: Self = Self($number);)*

            /// The words of the standard for it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self.0 {
                    $($number => $words,)*
                    _ => "a code that the standard does not have",
                }
            }

            /// The types of packets in which a sender of this role may use it, a bit for each.
            const fn places(self, sender: Role) -> u16 {
                match (self.0, sender) {
                    $(($number, Role::Client) => 0 $(| PacketType::$client.bit())*,
                    ($number, Role::Server) => 0 $(| PacketType::$server.bit())*,)*
                    _ => 0,
                }
            }
        }

        #[cfg(test)]
        pub(super) const ALL: &[ReasonCode] = &[$(ReasonCode::$name),*];
    };
}

codes! {
    0x00 SUCCESS "success": PubAck PubRec PubRel PubComp Disconnect; ConnAck PubAck PubRec PubRel PubComp SubAck UnsubAck Auth Disconnect.
    0x01 GRANTED_QOS_1 "granted QoS 1":; SubAck.
    0x02 GRANTED_QOS_2 "granted QoS 2":; SubAck.
    0x04 DISCONNECT_WITH_WILL "disconnect with will message": Disconnect;.
    0x10 NO_MATCHING_SUBSCRIBERS "no matching subscribers":; PubAck PubRec.
    0x11 NO_SUBSCRIPTION_EXISTED "no subscription existed":; UnsubAck.
    0x18 CONTINUE_AUTHENTICATION "continue authentication": Auth; Auth.
    0x19 REAUTHENTICATE "re-authenticate": Auth;.
    0x80 UNSPECIFIED_ERROR "unspecified error": PubAck PubRec Disconnect; ConnAck PubAck PubRec SubAck UnsubAck Disconnect.
    0x81 MALFORMED_PACKET "malformed packet": Disconnect; ConnAck Disconnect.
    0x82 PROTOCOL_ERROR "protocol error": Disconnect; ConnAck Disconnect.
    0x83 IMPLEMENTATION_SPECIFIC_ERROR "implementation specific error": PubAck PubRec Disconnect; ConnAck PubAck PubRec SubAck UnsubAck Disconnect.
    0x84 UNSUPPORTED_PROTOCOL_VERSION "unsupported protocol version":; ConnAck.
    0x85 CLIENT_IDENTIFIER_NOT_VALID "client identifier not valid":; ConnAck.
    0x86 BAD_USER_NAME_OR_PASSWORD "bad user name or password":; ConnAck.
    0x87 NOT_AUTHORIZED "not authorized": PubAck PubRec; ConnAck PubAck PubRec SubAck UnsubAck Disconnect.
    0x88 SERVER_UNAVAILABLE "server unavailable":; ConnAck.
    0x89 SERVER_BUSY "server busy":; ConnAck Disconnect.
    0x8A BANNED "banned":; ConnAck.
    0x8B SERVER_SHUTTING_DOWN "server shutting down":; Disconnect.
    0x8C BAD_AUTHENTICATION_METHOD "bad authentication method":; ConnAck Disconnect.
    0x8D KEEP_ALIVE_TIMEOUT "keep alive timeout":; Disconnect.
    0x8E SESSION_TAKEN_OVER "session taken over":; Disconnect.
    0x8F TOPIC_FILTER_INVALID "topic filter invalid":; SubAck UnsubAck Disconnect.
    0x90 TOPIC_NAME_INVALID "topic name invalid": PubAck PubRec Disconnect; ConnAck PubAck PubRec Disconnect.
    0x91 PACKET_IDENTIFIER_IN_USE "packet identifier in use": PubAck PubRec; PubAck PubRec SubAck UnsubAck.
    0x92 PACKET_IDENTIFIER_NOT_FOUND "packet identifier not found": PubRel PubComp; PubRel PubComp.
    0x93 RECEIVE_MAXIMUM_EXCEEDED "receive maximum exceeded": Disconnect; Disconnect.
    0x94 TOPIC_ALIAS_INVALID "topic alias invalid": Disconnect; Disconnect.
    0x95 PACKET_TOO_LARGE "packet too large": Disconnect; ConnAck Disconnect.
    0x96 MESSAGE_RATE_TOO_HIGH "message rate too high": Disconnect; Disconnect.
    0x97 QUOTA_EXCEEDED "quota exceeded": PubAck PubRec Disconnect; ConnAck PubAck PubRec SubAck Disconnect.
    0x98 ADMINISTRATIVE_ACTION "administrative action": Disconnect; Disconnect.
    0x99 PAYLOAD_FORMAT_INVALID "payload format invalid": PubAck PubRec Disconnect; ConnAck PubAck PubRec Disconnect.
    0x9A RETAIN_NOT_SUPPORTED "retain not supported":; ConnAck Disconnect.
    0x9B QOS_NOT_SUPPORTED "QoS not supported":; ConnAck Disconnect.
    0x9C USE_ANOTHER_SERVER "use another server":; ConnAck Disconnect.
    0x9D SERVER_MOVED "server moved":; ConnAck Disconnect.
    0x9E SHARED_SUBSCRIPTIONS_NOT_SUPPORTED "shared subscriptions not supported":; SubAck Disconnect.
    0x9F CONNECTION_RATE_EXCEEDED "connection rate exceeded":; ConnAck Disconnect.
    0xA0 MAXIMUM_CONNECT_TIME "maximum connect time":; Disconnect.
    0xA1 SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED "subscription identifiers not supported":; SubAck Disconnect.
    0xA2 WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED "wildcard subscriptions not supported":; SubAck Disconnect.
}

/// The return codes of a CONNACK (MQTT 3.1.1, section 3.2.2.3), by their number.
const V3_CONNACK: [ReasonCode; 6] = [
    ReasonCode::SUCCESS,
    ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
    ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
    ReasonCode::SERVER_UNAVAILABLE,
    ReasonCode::BAD_USER_NAME_OR_PASSWORD,
    ReasonCode::NOT_AUTHORIZED,
];

impl ReasonCode {
    /// The code with this number, if the standard has it.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        let code = Self(number);
        if code.places(Role::Client) | code.places(Role::Server) == 0 { None } else { Some(code) }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Whether it says that something failed: 0x80 and above.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        self.0 >= 0x80
    }

    /// Whether a sender of this role may use it in packets of this type and version.
    #[must_use]
    pub const fn is_for(self, packet: PacketType, sender: Role, version: Version) -> bool {
        match version {
            Version::V5 => self.places(sender) & packet.bit() != 0,
            Version::V3 => self.v3(packet).is_some(),
        }
    }

    /// The code that is this byte on the wire; `None` if there is none.
    pub(super) fn read(byte: u8, packet: PacketType, version: Version) -> Option<Self> {
        match (version, packet) {
            (Version::V3, PacketType::ConnAck) => V3_CONNACK.get(usize::from(byte)).copied(),
            _ => Self::new(byte),
        }
    }

    /// The byte on the wire.
    pub(super) const fn write(self, packet: PacketType, version: Version) -> u8 {
        match (version, self.v3(packet)) {
            (Version::V3, Some(byte)) => byte,
            _ => self.0,
        }
    }

    /// The byte in MQTT 3.1.1, in which most packets have none: there, only success is said, by the packet itself.
    const fn v3(self, packet: PacketType) -> Option<u8> {
        match (packet, self) {
            (PacketType::ConnAck, _) => {
                let mut byte = 0;
                while byte < V3_CONNACK.len() {
                    if V3_CONNACK[byte].0 == self.0 {
                        return Some(byte as u8);
                    }
                    byte += 1;
                }
                None
            }
            (
                PacketType::SubAck,
                Self::SUCCESS | Self::GRANTED_QOS_1 | Self::GRANTED_QOS_2 | Self::UNSPECIFIED_ERROR,
            )
            | (_, Self::SUCCESS) => Some(self.0),
            _ => None,
        }
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#04x} {}", self.0, self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec::Vec;

    #[test]
    fn the_standard_has_43_codes_and_no_other_is_one() {
        assert_eq!(ALL.len(), 43);
        let known: Vec<ReasonCode> = (0..=255).filter_map(ReasonCode::new).collect();
        assert_eq!(known, ALL, "in ascending order");
        assert_eq!(ReasonCode::SERVER_MOVED.to_string(), "0x9d server moved");
        assert!(ReasonCode::UNSPECIFIED_ERROR.is_failure() && !ReasonCode::REAUTHENTICATE.is_failure());
    }

    /// Sections 3.2.2.2, 3.4.2.1, 3.6.2.1, 3.9.3, 3.11.3, 3.14.2.1 and 3.15.2.1: how many codes each packet may carry.
    #[test]
    fn every_packet_has_as_many_codes_as_its_section_lists() {
        let count = |packet, sender, version| ALL.iter().filter(|code| code.is_for(packet, sender, version)).count();
        for (packet, client, server) in [
            (PacketType::Connect, 0, 0),
            (PacketType::ConnAck, 0, 22),
            (PacketType::PubAck, 8, 9),
            (PacketType::PubRec, 8, 9),
            (PacketType::PubRel, 2, 2),
            (PacketType::PubComp, 2, 2),
            (PacketType::SubAck, 0, 12),
            (PacketType::UnsubAck, 0, 7),
            (PacketType::Auth, 2, 2),
            (PacketType::Disconnect, 14, 29),
        ] {
            assert_eq!(count(packet, Role::Client, Version::V5), client, "{packet} of a client");
            assert_eq!(count(packet, Role::Server, Version::V5), server, "{packet} of a server");
        }
        assert_eq!(count(PacketType::ConnAck, Role::Server, Version::V3), 6);
        assert_eq!(count(PacketType::SubAck, Role::Server, Version::V3), 4);
        assert_eq!(count(PacketType::PubAck, Role::Server, Version::V3), 1);
    }

    #[test]
    fn a_connack_of_the_older_version_has_numbers_of_its_own() {
        let read = |byte| ReasonCode::read(byte, PacketType::ConnAck, Version::V3);
        for byte in 0..6 {
            assert_eq!(read(byte).unwrap().write(PacketType::ConnAck, Version::V3), byte);
        }
        assert_eq!(read(5), Some(ReasonCode::NOT_AUTHORIZED));
        assert_eq!(read(6), None);
        assert_eq!(ReasonCode::NOT_AUTHORIZED.write(PacketType::ConnAck, Version::V5), 0x87);
    }
}
