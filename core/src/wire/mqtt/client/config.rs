//! What a link that speaks MQTT is told once.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::num::{NonZeroU16, NonZeroU32};
use core::time::Duration;

use super::authentication::Authentication;
use super::over_websocket::SUBPROTOCOL;
use super::receiving::Limits;
use crate::session::Message;
use crate::wire::Credentials;
use crate::wire::mqtt::message;
use crate::wire::mqtt::rule::{EncodeError, Rule};
use crate::wire::mqtt::{
    Connect, FIELD_LIMIT, Outgoing, PACKET_LIMIT, Packet, Payload, Properties, Property, Qos, Role, Text, Topic,
    Version, Will,
};
use crate::wire::websocket::WebSocketConfig;
use crate::wire::websocket::upgrade::RequestError;

/// The largest packets that a link accepts unless it is told otherwise.
const MESSAGE_LIMIT: u32 = 1 << 20;

/// A session that outlives every connection (MQTT 5.0, section 3.1.2.11.2).
const FOR_EVER: u32 = u32::MAX;

/// The settings of MQTT for the links of a client. Made by [`MqttConfig::builder`]. Cheap to clone.
#[derive(Debug, Clone)]
pub struct MqttConfig(Arc<Settings>);

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) version: Version,
    pub(super) clean_start: bool,
    pub(super) session_expiry: u32,
    pub(super) user_name: Option<Text<'static>>,
    pub(super) will: Option<Will<'static>>,
    pub(super) properties: Properties<'static>,
    pub(super) assigned_client_id: bool,
    pub(super) topic: Option<(Topic<'static>, Qos)>,
    pub(super) message_limit: u32,
    pub(super) receive_maximum: u16,
    pub(super) topic_aliases: u16,
    pub(super) manual: bool,
    pub(super) authentication: Option<Arc<dyn Authentication>>,
    pub(super) websocket: Option<WebSocketConfig>,
}

impl MqttConfig {
    /// Starts from MQTT 5.0, a session that outlives connections by a day, and packets of up to 1 MiB.
    pub const fn builder() -> MqttConfigBuilder {
        MqttConfigBuilder {
            settings: Settings {
                version: Version::V5,
                clean_start: false,
                session_expiry: 24 * 60 * 60,
                user_name: None,
                will: None,
                properties: Properties::NONE,
                assigned_client_id: false,
                topic: None,
                message_limit: MESSAGE_LIMIT,
                receive_maximum: 256,
                topic_aliases: 16,
                manual: false,
                authentication: None,
                websocket: None,
            },
            user_name: String::new(),
        }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.0
    }

    /// Whether a password goes with what is configured.
    pub(super) fn takes(&self, credentials: &Credentials) -> bool {
        let settings = self.settings();
        let length = credentials.as_bytes().len();
        length == 0 || length <= FIELD_LIMIT && (settings.version == Version::V5 || settings.user_name.is_some())
    }
}

impl Default for MqttConfig {
    fn default() -> Self {
        Self(Arc::new(Self::builder().settings))
    }
}

impl Settings {
    pub(super) const fn limits(&self) -> Limits {
        Limits { version: self.version, receive_maximum: self.receive_maximum, aliases: self.topic_aliases }
    }

    /// How surely a message is to arrive.
    pub(super) fn qos(&self, message: &Message) -> Qos {
        match &self.topic {
            Some((_, qos)) if message.is_plain() => *qos,
            _ => message::qos_of(message),
        }
    }

    /// What asks for a connection.
    pub(super) fn connect<'a>(&'a self, client_id: &'a str, was_connected: bool, keep_alive: u16) -> Connect<'a> {
        Connect {
            clean_start: self.begins_anew(was_connected),
            keep_alive,
            properties: self.connect_properties(),
            will: self.will.clone(),
            user_name: self.user_name.as_ref().map(Text::borrowed),
            ..Connect::new(self.version, Text::new(client_id).unwrap_or_default())
        }
    }

    /// Whether the server is to forget the session it may hold. In the older version a session is clean or outlives connections; in the
    /// newer one it may be clean at the beginning only.
    pub(super) fn begins_anew(&self, was_connected: bool) -> bool {
        self.clean_start && (self.version == Version::V3 || !was_connected)
    }

    fn connect_properties(&self) -> Properties<'static> {
        if self.version == Version::V3 {
            return Properties::NONE;
        }
        let ours = [
            (self.session_expiry > 0).then_some(Property::SessionExpiryInterval(self.session_expiry)),
            NonZeroU16::new(self.receive_maximum).map(Property::ReceiveMaximum),
            NonZeroU32::new(self.message_limit).map(Property::MaximumPacketSize),
            (self.topic_aliases > 0).then_some(Property::TopicAliasMaximum(self.topic_aliases)),
        ];
        let all = ours.into_iter().flatten();
        all.fold(self.properties.clone(), |properties, property| {
            properties.clone().with(&property).unwrap_or(properties)
        })
    }
}

/// Builds an [`MqttConfig`].
#[must_use]
#[derive(Debug, Clone)]
pub struct MqttConfigBuilder {
    settings: Settings,
    user_name: String,
}

impl MqttConfigBuilder {
    /// Which version is spoken. Default: [`Version::V5`].
    pub const fn version(mut self, version: Version) -> Self {
        self.settings.version = version;
        self
    }

    /// Begins with a new session, and lets the server forget one that it holds for this client. With MQTT 3.1.1, every connection
    /// does so, and nothing outlives it but our own queue and subscriptions. Default: goes on with a session that the server
    /// holds.
    pub const fn clean_start(mut self) -> Self {
        self.settings.clean_start = true;
        self
    }

    /// How long the server keeps the session when there is no connection, in whole seconds; `None`: for ever. MQTT 5.0 only.
    /// Default: a day.
    pub fn session_expiry(mut self, expiry: Option<Duration>) -> Self {
        let seconds = |expiry: Duration| u32::try_from(expiry.as_secs()).unwrap_or(FOR_EVER);
        self.settings.session_expiry = expiry.map_or(FOR_EVER, seconds);
        self
    }

    /// Who the client is. The password is the credentials of the link. Default: not said.
    pub fn user_name(mut self, name: impl Into<String>) -> Self {
        self.user_name = name.into();
        self
    }

    /// What the server publishes if the link ends without a word; see [`Property::WillDelayInterval`] for when. Default: nothing.
    pub fn will(mut self, will: Will<'_>) -> Self {
        self.settings.will = Some(will.into_owned());
        self
    }

    /// Properties of CONNECT beside those that follow from other settings: [`Property::UserProperty`],
    /// [`Property::RequestResponseInformation`], [`Property::RequestProblemInformation`]. Default: none.
    pub fn properties(mut self, properties: Properties<'_>) -> Self {
        self.settings.properties = properties.into_owned();
        self
    }

    /// Lets the server make up the client identifier, and keeps what it made up. MQTT 5.0 only. Default: the link's device id is
    /// the client identifier.
    pub const fn assigned_client_id(mut self) -> Self {
        self.settings.assigned_client_id = true;
        self
    }

    /// Where messages are published that are bytes or a text, and no [`Publish`](crate::wire::mqtt::Publish). Default: nowhere;
    /// they are not accepted.
    pub fn topic(mut self, topic: Topic<'_>, qos: Qos) -> Self {
        self.settings.topic = Some((topic.into_owned(), qos));
        self
    }

    /// The largest packet accepted, in bytes, 64 to [`PACKET_LIMIT`]; servers that speak MQTT 5.0 are told. Default: 1 MiB.
    pub const fn message_limit(mut self, bytes: u32) -> Self {
        self.settings.message_limit = bytes;
        self
    }

    /// How many messages of QoS 1 and 2 a server may send without an acknowledgement, at least 1. MQTT 5.0 only. Default: 256.
    pub const fn receive_maximum(mut self, messages: u16) -> Self {
        self.settings.receive_maximum = messages;
        self
    }

    /// How many topics may be said by a number, in either direction: the first of each connection. Servers may allow fewer. 0: none.
    /// MQTT 5.0 only. Default: 16.
    pub const fn topic_aliases(mut self, topics: u16) -> Self {
        self.settings.topic_aliases = topics;
        self
    }

    /// Messages are acknowledged, whatever their QoS, one by one in their order, when the application says so
    /// ([`Client::acknowledge`](crate::client::Client::acknowledge)). Default: when the application takes them from the link.
    pub const fn manual_acknowledgements(mut self) -> Self {
        self.settings.manual = true;
        self
    }

    /// How client and server prove who they are, beside a password or in its place (MQTT 5.0, section 4.12). Default: not.
    pub fn authentication(mut self, authentication: Arc<dyn Authentication>) -> Self {
        self.settings.authentication = Some(authentication);
        self
    }

    /// Packets in the binary messages of a WebSocket (MQTT 5.0, section 6), whose sub-protocol `mqtt` is offered by itself. The
    /// credentials of the link stay the password, and do not go into the request; beats stay pings of MQTT. A message of the server
    /// may be as large as either limit says, that of packets or that of `websocket`. Default: over TCP, or TLS.
    pub fn over_websocket(mut self, websocket: WebSocketConfig) -> Self {
        self.settings.websocket = Some(websocket);
        self
    }

    /// Checks all values.
    ///
    /// # Errors
    /// The first value that cannot be.
    pub fn build(mut self) -> Result<MqttConfig, MqttConfigError> {
        if !self.user_name.is_empty() {
            self.settings.user_name = Some(Text::new(self.user_name).map_err(MqttConfigError::UserName)?);
        }
        if let Some(websocket) = &self.settings.websocket {
            if websocket.request().subprotocols().any(|name| name != SUBPROTOCOL) {
                return Err(MqttConfigError::WebSocket { setting: "subprotocol" });
            }
            if !websocket.beats_by_itself() {
                return Err(MqttConfigError::WebSocket { setting: "beats" });
            }
            self.settings.websocket = Some(websocket.offering(SUBPROTOCOL).map_err(MqttConfigError::Request)?);
        }
        let settings = self.settings;
        if !(64..=PACKET_LIMIT).contains(&settings.message_limit) || settings.receive_maximum == 0 {
            let (message_limit, receive_maximum) = (settings.message_limit, settings.receive_maximum);
            return Err(MqttConfigError::Limits { message_limit, receive_maximum });
        }
        if settings.version == Version::V3 {
            if settings.assigned_client_id {
                return Err(MqttConfigError::Version { setting: "assigned_client_id" });
            }
            if settings.authentication.is_some() {
                return Err(MqttConfigError::Version { setting: "authentication" });
            }
            if !settings.properties.is_empty() {
                return Err(MqttConfigError::Version { setting: "properties" });
            }
        }
        for property in settings.properties.iter() {
            let setting = match property {
                Property::SessionExpiryInterval(_) => "session_expiry",
                Property::ReceiveMaximum(_) => "receive_maximum",
                Property::MaximumPacketSize(_) => "message_limit",
                Property::TopicAliasMaximum(_) => "topic_aliases",
                Property::AuthenticationMethod(_) | Property::AuthenticationData(_) => "authentication",
                _ => continue,
            };
            return Err(MqttConfigError::Property { setting });
        }
        let connect = settings.connect("client", false, 60);
        Outgoing::new(Role::Client, settings.version)
            .length(&Packet::Connect(connect.into()))
            .map_err(MqttConfigError::Connect)?;
        Ok(MqttConfig(Arc::new(settings)))
    }
}

/// An impossible [`MqttConfig`]: a fault of the configuration. Nothing was built.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MqttConfigError {
    /// MQTT cannot carry the user name.
    UserName(&'static Rule),
    /// CONNECT cannot say this: its will or its properties.
    Connect(EncodeError),
    /// The setting came with MQTT 5.0.
    Version {
        /// The setting.
        setting: &'static str,
    },
    /// The property follows from a setting.
    Property {
        /// The setting.
        setting: &'static str,
    },
    /// The setting of the WebSocket is for other protocols than MQTT in it.
    WebSocket {
        /// The setting.
        setting: &'static str,
    },
    /// The request for the WebSocket cannot be made.
    Request(RequestError),
    /// A limit is out of its bounds.
    Limits {
        /// The limit of packets, in bytes.
        message_limit: u32,
        /// The limit of messages without an acknowledgement.
        receive_maximum: u16,
    },
}

impl fmt::Display for MqttConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UserName(rule) => write!(f, "the user name cannot be: {rule}; give another"),
            Self::Connect(error) => error.fmt(f),
            Self::Version { setting } => {
                write!(f, "{setting} came with MQTT 5.0, and the version is 3.1.1; leave it out, or take version 5.0")
            }
            Self::Property { setting } => {
                write!(f, "among the properties is the one that {setting} says; leave it out there")
            }
            Self::WebSocket { setting } => {
                write!(f, "over WebSocket, MQTT has its own sub-protocol and beats; leave out its setting {setting}")
            }
            Self::Request(error) => error.fmt(f),
            Self::Limits { message_limit, receive_maximum } => write!(
                f,
                "message_limit {message_limit} or receive_maximum {receive_maximum} is out of its bounds; give packets \
                 64 to {PACKET_LIMIT} bytes, and at least 1 message"
            ),
        }
    }
}

impl core::error::Error for MqttConfigError {}

/// The password in a CONNECT.
pub(super) fn password(credentials: &Credentials) -> Option<Payload<'_>> {
    let bytes = credentials.as_bytes();
    (!bytes.is_empty()).then(|| Payload::from(bytes))
}
