//! Properties (MQTT 5.0, section 2.2.2.2): what each is and where it may be.

use alloc::vec::Vec;
use core::num::{NonZeroU16, NonZeroU32};

use super::fields::{Fields, INTEGER_BITS};
use super::rule::{self, Checked};
use super::text::{FIELD_LIMIT, Text, Topic};
use super::{PacketType, Qos, Role};
use crate::wire::varint;

/// An identifier of a subscription: 1 to 268,435,455.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(NonZeroU32);

impl SubscriptionId {
    /// The identifier with this number, if it is in the range.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) if number.get() >> INTEGER_BITS == 0 => Some(Self(number)),
            _ => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

const TOPIC_ALIAS: u8 = 0x23;

/// In place of a packet's bit, that of the properties of a will.
const WILL: u16 = 1;

/// The properties: number, name, value, what it says, and the types of packets in which a client and a server may send it.
macro_rules! properties {
    ($($id:literal $name:ident($type:ty) $words:literal: $($client:ident)*; $($server:ident)*.)*) => {
        /// One property.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Property<'a> {
            $(#[doc = $words] $name($type),)*
        }

        impl<'a> Property<'a> {
            /// The number of the standard for it.
            #[must_use]
            pub const fn id(&self) -> u8 {
                match self {
                    $(Self::$name(_) => $id,)*
                }
            }

            pub(super) fn read(fields: &mut Fields<'a>) -> Checked<Self> {
                let id = fields.byte()?;
                let property = match id {
                    $($id => Field::read(fields).map(Self::$name),)*
                    _ => Err(&rule::PROPERTY_UNKNOWN),
                };
                // The one value for which the standard has a reason code of its own.
                property.map_err(|broken| match id {
                    TOPIC_ALIAS if *broken == rule::PROPERTY_VALUE => &rule::TOPIC_ALIAS_ZERO,
                    _ => broken,
                })
            }

            pub(super) fn write(&self, out: &mut Vec<u8>) -> Checked<()> {
                out.push(self.id());
                match self {
                    $(Self::$name(value) => value.write(out),)*
                }
            }

            /// The types of packets in which a sender of this role may use it, a bit for each.
            const fn places(&self, sender: Role) -> u16 {
                match (self, sender) {
                    $((Self::$name(_), Role::Client) => 0 $(| place!($client))*,
                    (Self::$name(_), Role::Server) => 0 $(| place!($server))*,)*
                }
            }
        }
    };
}

macro_rules! place {
    (Will) => {
        WILL
    };
    ($packet:ident) => {
        PacketType::$packet.bit()
    };
}

properties! {
    0x01 PayloadFormatIndicator(bool) "Whether the payload is UTF-8.": Publish Will; Publish.
    0x02 MessageExpiryInterval(u32) "How long the message is of use, in seconds.": Publish Will; Publish.
    0x03 ContentType(Text<'a>) "What kind of content the payload is.": Publish Will; Publish.
    0x08 ResponseTopic(Topic<'a>) "Where an answer is to be published.": Publish Will; Publish.
    0x09 CorrelationData(&'a [u8]) "To what an answer is the answer; at most 65,535 bytes.": Publish Will; Publish.
    0x0B SubscriptionIdentifier(SubscriptionId) "The subscription made, or for which a message comes.": Subscribe; Publish.
    0x11 SessionExpiryInterval(u32) "How long the session outlives the connection, in seconds.": Connect Disconnect; ConnAck.
    0x12 AssignedClientIdentifier(Text<'a>) "The client identifier that the server made up.":; ConnAck.
    0x13 ServerKeepAlive(u16) "The keep-alive that holds in place of the client's, in seconds.":; ConnAck.
    0x15 AuthenticationMethod(Text<'a>) "The method of the enhanced authentication.": Connect Auth; ConnAck Auth.
    0x16 AuthenticationData(&'a [u8]) "What the method says; at most 65,535 bytes.": Connect Auth; ConnAck Auth.
    0x17 RequestProblemInformation(bool) "Whether reason strings are wanted.": Connect;.
    0x18 WillDelayInterval(u32) "How long the server waits before it publishes the will, in seconds.": Will;.
    0x19 RequestResponseInformation(bool) "Whether response information is wanted.": Connect;.
    0x1A ResponseInformation(Text<'a>) "From what the client can make response topics.":; ConnAck.
    0x1C ServerReference(Text<'a>) "Which server to use instead.":; ConnAck Disconnect.
    0x1F ReasonString(Text<'a>) "One line for a person to read.": PubAck PubRec PubRel PubComp Disconnect Auth; ConnAck PubAck PubRec PubRel PubComp SubAck UnsubAck Disconnect Auth.
    0x21 ReceiveMaximum(NonZeroU16) "How many messages of QoS 1 and 2 may be under way to the sender of this.": Connect; ConnAck.
    0x22 TopicAliasMaximum(u16) "The highest topic alias that the sender of this takes.": Connect; ConnAck.
    0x23 TopicAlias(NonZeroU16) "A number that stands for the topic.": Publish; Publish.
    0x24 MaximumQos(Qos) "The highest QoS that the server takes, at most 1.":; ConnAck.
    0x25 RetainAvailable(bool) "Whether the server retains messages.":; ConnAck.
    0x26 UserProperty((Text<'a>, Text<'a>)) "A name and a value of the application.": Connect Publish Will PubAck PubRec PubRel PubComp Subscribe Unsubscribe Disconnect Auth; ConnAck Publish PubAck PubRec PubRel PubComp SubAck UnsubAck Disconnect Auth.
    0x27 MaximumPacketSize(NonZeroU32) "The largest packet that the sender of this takes, in bytes.": Connect; ConnAck.
    0x28 WildcardSubscriptionAvailable(bool) "Whether the server takes wildcards in filters.":; ConnAck.
    0x29 SubscriptionIdentifierAvailable(bool) "Whether the server takes identifiers of subscriptions.":; ConnAck.
    0x2A SharedSubscriptionAvailable(bool) "Whether the server takes shared subscriptions.":; ConnAck.
}

/// Which properties are asked for.
#[derive(Clone, Copy)]
pub(super) struct Place {
    bit: u16,
    sender: Role,
}

impl Place {
    pub(super) const fn packet(packet: PacketType, sender: Role) -> Self {
        Self { bit: packet.bit(), sender }
    }

    pub(super) const WILL: Self = Self { bit: WILL, sender: Role::Client };
}

/// Properties that were found, a bit for each number.
#[derive(Default)]
pub(super) struct Found(u64);

impl Found {
    /// Takes one more; `place` is `None` where it is not known yet.
    #[inline]
    pub(super) fn add(&mut self, property: &Property<'_>, place: Option<Place>) -> Checked<()> {
        if let Some(Place { bit, sender }) = place
            && property.places(sender) & bit == 0
        {
            // A packet of a type that has no such property is malformed. What only the other side may say breaks the protocol.
            let is_of_type = (property.places(Role::Client) | property.places(Role::Server)) & bit != 0;
            return Err(if is_of_type { &rule::PROPERTY_SIDE } else { &rule::PROPERTY_PLACE });
        }
        // A message that comes may be for several subscriptions.
        let for_messages = place.is_none_or(|place| place.bit == PacketType::Publish.bit());
        let may_repeat = match property {
            Property::UserProperty(_) => true,
            Property::SubscriptionIdentifier(_) => for_messages,
            _ => false,
        };
        let bit = 1 << property.id();
        if self.0 & bit != 0 && !may_repeat {
            return Err(&rule::PROPERTY_TWICE);
        }
        self.0 |= bit;
        Ok(())
    }

    pub(super) const fn has_topic_alias(&self) -> bool {
        self.has(TOPIC_ALIAS)
    }

    pub(super) const fn has_authentication_method(&self) -> bool {
        self.has(0x15)
    }

    pub(super) const fn has_authentication_data(&self) -> bool {
        self.has(0x16)
    }

    const fn has(&self, id: u8) -> bool {
        self.0 >> id & 1 == 1
    }
}

/// The value of a property.
trait Field<'a>: Sized {
    fn read(fields: &mut Fields<'a>) -> Checked<Self>;

    fn write(&self, out: &mut Vec<u8>) -> Checked<()>;
}

impl Field<'_> for bool {
    fn read(fields: &mut Fields<'_>) -> Checked<Self> {
        match fields.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(&rule::PROPERTY_VALUE),
        }
    }

    fn write(&self, out: &mut Vec<u8>) -> Checked<()> {
        out.push((*self).into());
        Ok(())
    }
}

impl Field<'_> for Qos {
    fn read(fields: &mut Fields<'_>) -> Checked<Self> {
        bool::read(fields).map(|one| if one { Self::AtLeastOnce } else { Self::AtMostOnce })
    }

    fn write(&self, out: &mut Vec<u8>) -> Checked<()> {
        out.push(*self as u8);
        if *self > Self::AtLeastOnce { Err(&rule::PROPERTY_VALUE) } else { Ok(()) }
    }
}

macro_rules! numbers {
    ($($number:ident $nonzero:ident $read:ident)*) => {$(
        impl Field<'_> for $number {
            fn read(fields: &mut Fields<'_>) -> Checked<Self> {
                fields.$read()
            }

            fn write(&self, out: &mut Vec<u8>) -> Checked<()> {
                out.extend_from_slice(&self.to_be_bytes());
                Ok(())
            }
        }

        impl Field<'_> for $nonzero {
            fn read(fields: &mut Fields<'_>) -> Checked<Self> {
                Self::new(fields.$read()?).ok_or(&rule::PROPERTY_VALUE)
            }

            fn write(&self, out: &mut Vec<u8>) -> Checked<()> {
                self.get().write(out)
            }
        }
    )*};
}

numbers! { u16 NonZeroU16 short u32 NonZeroU32 long }

impl Field<'_> for SubscriptionId {
    fn read(fields: &mut Fields<'_>) -> Checked<Self> {
        Self::new(fields.integer()?).ok_or(&rule::PROPERTY_VALUE)
    }

    fn write(&self, out: &mut Vec<u8>) -> Checked<()> {
        let (bytes, count) = varint::bytes(self.get().into());
        out.extend_from_slice(bytes.get(..count).unwrap_or_default());
        Ok(())
    }
}

impl<'a> Field<'a> for &'a [u8] {
    fn read(fields: &mut Fields<'a>) -> Checked<Self> {
        fields.binary()
    }

    fn write(&self, out: &mut Vec<u8>) -> Checked<()> {
        if self.len() > FIELD_LIMIT {
            return Err(&rule::TOO_LONG);
        }
        out.extend_from_slice(&(self.len() as u16).to_be_bytes());
        out.extend_from_slice(self);
        Ok(())
    }
}

impl<'a> Field<'a> for Text<'a> {
    fn read(fields: &mut Fields<'a>) -> Checked<Self> {
        fields.text()
    }

    fn write(&self, out: &mut Vec<u8>) -> Checked<()> {
        self.as_str().as_bytes().write(out)
    }
}

impl<'a> Field<'a> for Topic<'a> {
    fn read(fields: &mut Fields<'a>) -> Checked<Self> {
        Topic::read(fields.binary()?)
    }

    fn write(&self, out: &mut Vec<u8>) -> Checked<()> {
        self.as_str().as_bytes().write(out)
    }
}

impl<'a> Field<'a> for (Text<'a>, Text<'a>) {
    fn read(fields: &mut Fields<'a>) -> Checked<Self> {
        Ok((fields.text()?, fields.text()?))
    }

    fn write(&self, out: &mut Vec<u8>) -> Checked<()> {
        self.0.write(out)?;
        self.1.write(out)
    }
}
