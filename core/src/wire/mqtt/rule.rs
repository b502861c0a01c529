//! The rules of the standard that packets can break, each with its section and the reason code to disconnect with.

use core::fmt;

use super::{PacketType, ReasonCode};

/// A rule of MQTT that a packet broke.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    code: ReasonCode,
    section: &'static str,
    problem: &'static str,
}

impl Rule {
    /// What to disconnect with (MQTT 5.0, section 4.13). In MQTT 3.1.1 the connection is closed and nothing is said.
    #[must_use]
    pub const fn code(&self) -> ReasonCode {
        self.code
    }

    /// Where the rule is: the section of the OASIS Standard MQTT 5.0, or of 3.1.1 where that version alone has it.
    #[must_use]
    pub const fn section(&self) -> &'static str {
        self.section
    }

    /// What is wrong, in words for a person.
    #[must_use]
    pub const fn problem(&self) -> &'static str {
        self.problem
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (MQTT, section {})", self.problem, self.section)
    }
}

impl core::error::Error for Rule {}

/// How the peer broke the protocol, or our limit. The connection cannot be used further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// A packet breaks a rule.
    Broken {
        /// The type of the packet; `None` if there is no such type.
        packet: Option<PacketType>,
        /// The rule.
        rule: &'static Rule,
    },
    /// A packet is larger than the limit.
    TooLarge {
        /// All of it, in bytes.
        length: u32,
        /// The limit, in bytes.
        limit: u32,
    },
}

impl Violation {
    /// What to disconnect with, or to refuse a CONNECT with (MQTT 5.0, section 4.13).
    #[must_use]
    pub const fn code(&self) -> ReasonCode {
        match self {
            Self::Broken { rule, .. } => rule.code,
            Self::TooLarge { .. } => ReasonCode::PACKET_TOO_LARGE,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken { packet: Some(packet), rule } => write!(f, "the peer broke the protocol in {packet}: {rule}"),
            Self::Broken { packet: None, rule } => write!(f, "the peer broke the protocol: {rule}"),
            Self::TooLarge { length, limit } => {
                write!(f, "the peer sent a packet of {length} bytes; the limit is {limit}")
            }
        }
    }
}

impl core::error::Error for Violation {}

/// Why a packet cannot be sent. Nothing was written; the connection is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// It would break a rule: the caller's fault.
    Broken {
        /// The type of the packet.
        packet: PacketType,
        /// The rule.
        rule: &'static Rule,
    },
    /// It is larger than the peer takes (MQTT 5.0, sections 3.1.2.11.4 and 3.2.2.3.6), or than any packet may be.
    TooLarge {
        /// The type of the packet.
        packet: PacketType,
        /// All of it, in bytes.
        length: u64,
        /// What the peer takes, in bytes.
        limit: u32,
    },
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken { packet, rule } => write!(f, "this {packet} cannot be sent: {rule}; change the packet"),
            Self::TooLarge { packet, length, limit } => {
                write!(f, "this {packet} has {length} bytes, the peer takes {limit}: ")?;
                f.write_str("send less in it, or leave out its user properties and reason string")
            }
        }
    }
}

impl core::error::Error for EncodeError {}

/// A field, or whatever else, or the rule that it breaks.
pub(super) type Checked<T> = Result<T, &'static Rule>;

macro_rules! rules {
    ($all:ident: $($code:ident { $($name:ident $section:literal $problem:literal,)* })*) => {
        $($(pub(super) static $name: Rule =
            Rule { code: ReasonCode::$code, section: $section, problem: $problem };)*)*

        #[cfg(test)]
        pub(super) static $all: &[&Rule] = &[$($(&$name),*),*];
    };
}

// Of the packets themselves.
rules! { ALL:
    MALFORMED_PACKET {
        FIELD_MISSING "1.2" "it ends before its last field",
        BYTES_LEFT "2.1.4" "it goes on behind its last field",
        INTEGER_FORM "1.5.5" "a variable byte integer has more bytes than it needs, or more than four",
        NOT_UTF8 "1.5.4" "a string is not UTF-8",
        NULL_CHARACTER "1.5.4" "a string has the character U+0000",
        TOO_LONG "1.5.4" "a string or binary field has more than 65,535 bytes",
        NO_SUCH_TYPE "2.1.2" "there is no such packet type",
        FLAGS "2.1.3" "the flags of the fixed header are not those of its type",
        QOS_3 "3.3.1.2" "both bits of QoS are set",
        CONNECT_RESERVED "3.1.2.3" "the reserved connect flag is set",
        WILL_QOS_3 "3.1.2.6" "both bits of the will's QoS are set",
        CONNACK_FLAGS "3.2.2.1" "a reserved bit of the acknowledge flags is set",
        PROPERTY_UNKNOWN "2.2.2.2" "there is no such property",
        PROPERTY_PLACE "2.2.2.2" "it has a property that does not belong there",
        OPTION_RESERVED "3.8.3.1" "a reserved bit of the subscription options is set",
    }
    PROTOCOL_ERROR {
        DIRECTION "2.1.2" "packets of this type go the other way",
        NOT_CONNECTED "3.1" "the first packet of a client is not CONNECT",
        SECOND_CONNECT "3.1" "the client sent CONNECT already",
        OTHER_VERSION "3.1.2.2" "it is for another version of the protocol than was agreed on",
        PACKET_ID_ZERO "2.2.1" "its packet identifier is 0",
        PACKET_ID_MISSING "2.2.1" "with QoS 1 or 2 it needs a packet identifier",
        PACKET_ID_UNASKED "2.2.1" "with QoS 0 it has no packet identifier",
        DUP_QOS_0 "3.3.1.1" "with QoS 0 it is never a duplicate",
        TOPIC_EMPTY "4.7.3" "a topic name or filter is empty",
        TOPIC_MISSING "3.3.2.1" "it has neither a topic name nor a topic alias",
        TOPIC_WILDCARD "3.3.2.1" "a topic name has a wildcard",
        FILTER_WILDCARD "4.7.1" "a wildcard of a topic filter is not a level of its own, or not the last",
        FILTER_SHARE "4.8.2" "a shared subscription has no share name or no filter, or wildcards in its name",
        NO_LOCAL_SHARED "3.8.3.1" "a shared subscription has the option No Local",
        SUBSCRIPTION_QOS_3 "3.8.3.1" "both bits of a subscription's QoS are set",
        RETAIN_HANDLING_3 "3.8.3.1" "both bits of a subscription's retain handling are set",
        OPTIONS_V5_ONLY "3.1.1: 3.8.3.1" "a subscription has options that came with MQTT 5.0",
        LIST_EMPTY "3.8.3" "it lists nothing",
        LIST_UNASKED "3.1.1: 3.11" "it has reason codes, which came with MQTT 5.0",
        PROPERTIES_V5_ONLY "2.2.2" "it has properties, which came with MQTT 5.0",
        PROPERTY_SIDE "3.3.4, 3.14.2.2" "it has a property that only the other side may send in it",
        PROPERTY_TWICE "2.2.2.2" "it has a property twice that may be there once",
        PROPERTY_VALUE "2.2.2.2" "a property has a value out of its range",
        REASON_PLACE "2.4" "its reason code is none, or not one for it from this side",
        SESSION_REFUSED "3.2.2.1" "it refuses the connection and says that a session is present",
        WILL_FLAGS "3.1.2.5" "its connect flags describe a will, but there is none",
        PASSWORD_ALONE "3.1.1: 3.1.2.9" "it has a password and no user name",
        AUTHENTICATION_METHOD "4.12" "it has authentication data, or needs a method, and has no authentication method",
    }
    TOPIC_ALIAS_INVALID {
        TOPIC_ALIAS_ZERO "3.3.2.3.4" "its topic alias is 0",
    }
    UNSUPPORTED_PROTOCOL_VERSION {
        VERSION "3.1.2.2" "it is not for MQTT 3.1.1 or 5.0",
        OLDER_SERVER "3.1.1: 3.2.2.3" "the server says in 3.1.1 that it does not know 5.0",
    }
    CLIENT_IDENTIFIER_NOT_VALID {
        CLIENT_ID_EMPTY "3.1.1: 3.1.3.1" "its client identifier is empty, and it does not ask for a clean session",
    }
}

// Of packets at their place in a session.
rules! { OF_SESSIONS:
    PROTOCOL_ERROR {
        ANSWERS "3.9.3" "it has not one reason code for each filter that was asked for",
        NO_SESSION "3.2.2.1.1" "it goes on with a session although we asked for a new one",
        NO_AUTHENTICATION "4.12" "nobody asked for an enhanced authentication by this method",
    }
    RECEIVE_MAXIMUM_EXCEEDED {
        RECEIVE_MAXIMUM "3.3.4" "more messages of QoS 1 and 2 came without being acknowledged than we said may",
    }
    TOPIC_ALIAS_INVALID {
        TOPIC_ALIAS_UNKNOWN "3.3.2.3.4" "its topic alias is above what we take, or stands for no topic yet",
    }
}
