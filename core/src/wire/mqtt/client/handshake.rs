//! CONNECT and what the server makes of it: CONNACK, and the steps of an authentication before it.

use alloc::boxed::Box;
use alloc::string::String;

use super::publishing::{Publishing, Takes};
use super::receiving::Receiving;
use super::sending::{AROUND, Sending, acknowledge};
use super::{Mqtt, Open, Stage, config, meaning};
use crate::session::Token;
use crate::wire::mqtt::{
    ConnAck, Notice, PACKET_LIMIT, Packet, PacketType, Properties, Property, Qos, ReasonCode, Text, Version, rule,
};
use crate::wire::{Frame, Hello, PROTOCOL_VERSION, Reason, Tx, Welcome, Wire as _, WireError};

impl Mqtt {
    /// The server lets us in, or does not.
    pub(super) fn be_answered(&mut self, ack: &ConnAck<'_>, tx: &mut Tx) -> Result<Frame, WireError> {
        if ack.reason != ReasonCode::SUCCESS {
            self.memory.refused();
            self.end();
            return Ok(Frame::Refuse(Box::new(meaning::of_reason(ack.reason, &ack.properties))));
        }
        let settings = self.config.settings();
        if ack.session_present && settings.begins_anew(self.memory.was_connected) {
            return Err(self.fail(PacketType::ConnAck, &rule::NO_SESSION));
        }
        let Stage::Asking(asking) = &mut self.stage else { return Ok(Frame::Unknown) };
        let terms = Terms::of(ack, settings.version);
        if let Some(exchange) = &mut asking.exchange
            && !exchange.finish(terms.authentication)
        {
            self.failed = Some(ReasonCode::NOT_AUTHORIZED);
            return Err(WireError::NotAllowed {
                reason: Reason::Unauthorized,
                problem: "the server did not prove who it is",
            });
        }
        let (wish_ms, reply_timeout_ms) = (asking.interval_ms, asking.reply_timeout_ms);
        if let Some(id) = terms.client_id.filter(|_| settings.assigned_client_id) {
            self.memory.name(&id);
        }
        self.outgoing.limit(terms.packet_limit);
        self.memory.connected(asking.server.as_ref(), ack.session_present);
        let publishing = Publishing::new(self.config.clone(), terms.takes);
        let mut sending = Sending::new(publishing, terms.receive_maximum);
        sending.renew(&self.memory, &self.outgoing, tx);
        let received = self.memory.told;
        self.stage = Stage::Open(Box::new(Open { sending, receiving: Receiving::default() }));
        let longest_ms = terms.keep_alive.map_or(u32::MAX, |seconds| u32::from(seconds) * 1000);
        Ok(Frame::Welcome(Box::new(Welcome {
            version: PROTOCOL_VERSION,
            token: Token::new([0; 16]),
            resumed: ack.session_present,
            interval_ms: wish_ms.min(longest_ms),
            reply_timeout_ms,
            message_limit: u64::from(terms.packet_limit).saturating_sub(AROUND),
            received,
        })))
    }

    /// A step of the enhanced authentication.
    pub(super) fn be_challenged(&mut self, notice: &Notice<'_>, tx: &mut Tx) -> Result<(), WireError> {
        let settings = self.config.settings();
        let method = settings.authentication.as_ref().map(|authentication| authentication.method());
        let said = notice.properties.iter().find_map(|property| match property {
            Property::AuthenticationMethod(method) => Some(method),
            _ => None,
        });
        let Stage::Asking(asking) = &mut self.stage else { return Ok(()) };
        let (Some(method), Some(exchange)) = (method, &mut asking.exchange) else {
            return Err(self.fail(PacketType::Auth, &rule::NO_AUTHENTICATION));
        };
        if said.as_ref().map(|said| said.as_str()) != Some(method)
            || notice.reason != ReasonCode::CONTINUE_AUTHENTICATION
        {
            return Err(self.fail(PacketType::Auth, &rule::NO_AUTHENTICATION));
        }
        let challenge = notice.properties.iter().find_map(|property| match property {
            Property::AuthenticationData(data) => Some(data),
            _ => None,
        });
        let answer = exchange.answer(challenge.unwrap_or_default());
        let answer = answer.and_then(|answer| authenticate(Properties::NONE, method, &answer));
        let Some(properties) = answer else {
            self.failed = Some(ReasonCode::NOT_AUTHORIZED);
            let problem = "the server's challenge is none that our method can answer";
            return Err(WireError::NotAllowed { reason: Reason::Unauthorized, problem });
        };
        let reason = ReasonCode::CONTINUE_AUTHENTICATION;
        acknowledge(Packet::Auth(Notice { reason, properties }), &self.outgoing, tx);
        Ok(())
    }

    /// Asks for the connection.
    pub(super) fn ask(&mut self, hello: &Hello, tx: &mut Tx) {
        let settings = self.config.settings();
        let Stage::Asking(asking) = &mut self.stage else { return };
        self.memory.ask();
        (asking.interval_ms, asking.reply_timeout_ms) = (hello.interval_ms, hello.reply_timeout_ms);
        // The server waits half as long again; and a beat leaves at the interval at the latest.
        let keep_alive = u16::try_from(hello.interval_ms.div_ceil(1000)).unwrap_or(u16::MAX);
        let client_id = match settings.assigned_client_id {
            true => self.memory.names.client_id.as_str(),
            false => hello.device.as_str(),
        };
        let mut connect = settings.connect(client_id, self.memory.was_connected, keep_alive);
        connect.password = config::password(&hello.credentials);
        if let Some(authentication) = &settings.authentication {
            let mut exchange = authentication.begin(&hello.credentials);
            let first = exchange.first();
            let Some(properties) = authenticate(connect.properties.clone(), authentication.method(), &first) else {
                // Nothing leaves, so the attempt fails.
                return;
            };
            connect.properties = properties;
            // The credentials are the method's.
            connect.password = None;
            asking.exchange = Some(exchange);
        }
        // All of it was checked with the configuration.
        self.outgoing.send(&Packet::Connect(Box::new(connect)), tx).ok();
    }
}

/// So many messages of QoS 1 and 2 are under way in MQTT 3.1.1, whose servers cannot say how many they take: what mosquitto takes unless
/// it is told otherwise. Of QoS 2, it would refuse more by a PUBREC that means success there.
const AT_ONCE_UNSAID: u16 = 20;

/// What a CONNACK says for the connection; what it does not say is as the standard has it (MQTT 5.0, section 3.2.2.3).
struct Terms<'a> {
    takes: Takes,
    receive_maximum: u16,
    packet_limit: u32,
    keep_alive: Option<u16>,
    client_id: Option<String>,
    authentication: &'a [u8],
}

impl<'a> Terms<'a> {
    fn of(ack: &'a ConnAck<'_>, version: Version) -> Self {
        let mut terms = Self {
            takes: Takes { qos: Qos::ExactlyOnce, retain: true, aliases: 0, wildcards: true, ids: true, shared: true },
            receive_maximum: if version == Version::V3 { AT_ONCE_UNSAID } else { u16::MAX },
            packet_limit: PACKET_LIMIT,
            keep_alive: None,
            client_id: None,
            authentication: &[],
        };
        for property in ack.properties.iter() {
            match property {
                Property::MaximumQos(qos) => terms.takes.qos = qos,
                Property::RetainAvailable(retain) => terms.takes.retain = retain,
                Property::TopicAliasMaximum(aliases) => terms.takes.aliases = aliases,
                Property::WildcardSubscriptionAvailable(wildcards) => terms.takes.wildcards = wildcards,
                Property::SubscriptionIdentifierAvailable(ids) => terms.takes.ids = ids,
                Property::SharedSubscriptionAvailable(shared) => terms.takes.shared = shared,
                Property::ReceiveMaximum(messages) => terms.receive_maximum = messages.get(),
                Property::MaximumPacketSize(bytes) => terms.packet_limit = bytes.get().min(PACKET_LIMIT),
                // 0: the server does not care.
                Property::ServerKeepAlive(seconds) => terms.keep_alive = Some(seconds).filter(|seconds| *seconds > 0),
                Property::AssignedClientIdentifier(id) => terms.client_id = Some(id.as_str().into()),
                Property::AuthenticationData(data) => terms.authentication = data,
                _ => {}
            }
        }
        terms
    }
}

/// These properties, and what the method says.
fn authenticate(properties: Properties<'_>, method: &str, data: &[u8]) -> Option<Properties<'static>> {
    let method = Text::new(method).ok()?;
    let properties = properties.into_owned().with(&Property::AuthenticationMethod(method)).ok()?;
    if data.is_empty() { Some(properties) } else { properties.with(&Property::AuthenticationData(data)).ok() }
}
