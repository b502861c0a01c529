//! `keepbeat connect mqtt://`: what is asked of a broker, and what comes from it.

use std::path::PathBuf;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use keepbeat_core::session::Message;
use keepbeat_core::wire::mqtt::{
    Answer, Filter, MqttConfig, MqttConfigBuilder, MqttConfigError, Publish, Qos, Rule, Subscribe, Subscription, Topic,
    Version, Will,
};
use keepbeat_core::wire::{AnyConfig, websocket::WebSocketConfig};

use crate::endpoint::{Endpoint, Protocol};

/// What a client says over MQTT.
#[derive(Debug, Args)]
pub(crate) struct MqttArgs {
    /// mqtt://: print the messages of these topics, which may have the wildcards + and #; may be given several times
    #[arg(long, value_name = "TOPIC")]
    pub(crate) subscribe: Vec<String>,
    /// mqtt://: publish each line of stdin to this topic. Without it, stdin is not read
    #[arg(long, value_name = "TOPIC")]
    pub(crate) publish: Option<String>,
    /// mqtt://: how surely messages arrive, in both directions: 0 at most once, 1 at least once, 2 exactly once [default: 1]
    #[arg(long, value_name = "N", value_enum)]
    pub(crate) qos: Option<QosArg>,
    /// mqtt://: the version, 3.1.1 or 5.0 [default: 5]. At ws:// and wss://, speak MQTT inside WebSocket
    #[arg(long, value_name = "VERSION", value_enum)]
    pub(crate) mqtt: Option<VersionArg>,
    /// mqtt://: the user name; the password is --token
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// mqtt://: what the broker publishes, at --qos, if the link ends without a goodbye
    #[arg(long, value_name = "TOPIC=TEXT")]
    pub(crate) will: Option<String>,
    /// mqtt://: begin a new session, and let the broker forget the old one of this --id
    #[arg(long)]
    pub(crate) clean: bool,
    /// mqtt://: keep in this directory what was accepted and not acknowledged, so that it leaves after a crash, too. Give --id
    /// with it: the next process must have the same
    #[arg(long, value_name = "DIR", requires = "id")]
    pub(crate) store: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(clippy::enum_variant_names, reason = "the standard's words")]
pub(crate) enum QosArg {
    #[value(name = "0")]
    AtMostOnce,
    #[value(name = "1")]
    AtLeastOnce,
    #[value(name = "2")]
    ExactlyOnce,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum VersionArg {
    #[value(name = "3", alias = "3.1.1")]
    V3,
    #[value(name = "5", alias = "5.0")]
    V5,
}

impl MqttArgs {
    /// Whether MQTT is spoken there.
    pub(crate) fn is_spoken_at(&self, endpoint: &Endpoint) -> bool {
        endpoint.protocol() == Protocol::Mqtt || endpoint.protocol() == Protocol::WebSocket && self.mqtt.is_some()
    }

    /// An option that makes no difference where MQTT is not spoken.
    pub(crate) fn first_given(&self) -> Option<&'static str> {
        let given = [
            ("--subscribe", !self.subscribe.is_empty()),
            ("--publish", self.publish.is_some()),
            ("--qos", self.qos.is_some()),
            ("--mqtt", self.mqtt.is_some()),
            ("--user", self.user.is_some()),
            ("--will", self.will.is_some()),
            ("--clean", self.clean),
            ("--store", self.store.is_some()),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(option, _)| option)
    }

    /// What the link speaks; over `websocket`, if there is one.
    pub(crate) fn config(&self, max_message: usize, websocket: Option<WebSocketConfig>) -> Result<AnyConfig, String> {
        let version = if self.mqtt == Some(VersionArg::V3) { Version::V3 } else { Version::V5 };
        let limit = u32::try_from(max_message).unwrap_or(u32::MAX);
        let mut builder = MqttConfig::builder().version(version).message_limit(limit);
        if let Some(topic) = &self.publish {
            builder = builder.topic(Topic::new(topic).map_err(|rule| refused("--publish", rule))?, self.qos());
        }
        if let Some(user) = &self.user {
            builder = builder.user_name(user);
        }
        if let Some(will) = &self.will {
            builder = self.with_will(builder, will)?;
        }
        if self.clean {
            builder = builder.clean_start();
        }
        if let Some(websocket) = websocket {
            builder = builder.over_websocket(websocket);
        }
        builder.build().map(AnyConfig::from).map_err(|error| explain(&error))
    }

    /// What to ask for first.
    pub(crate) fn subscriptions(&self) -> Result<Option<Message>, String> {
        if self.subscribe.is_empty() {
            return Ok(None);
        }
        let filter = |text| Filter::new(text).map_err(|rule| refused("--subscribe", rule));
        let subscriptions: Result<Vec<_>, String> =
            self.subscribe.iter().map(|text| Ok(Subscription::new(filter(text)?, self.qos()))).collect();
        let message = Subscribe::to(subscriptions?).into_message();
        message.map(Some).map_err(|error| format!("--subscribe: {error}"))
    }

    fn qos(&self) -> Qos {
        match self.qos {
            Some(QosArg::AtMostOnce) => Qos::AtMostOnce,
            Some(QosArg::AtLeastOnce) | None => Qos::AtLeastOnce,
            Some(QosArg::ExactlyOnce) => Qos::ExactlyOnce,
        }
    }

    fn with_will(&self, builder: MqttConfigBuilder, will: &str) -> Result<MqttConfigBuilder, String> {
        let Some((topic, text)) = will.split_once('=') else {
            return Err(format!("--will: {will:?} has no =; give for example --will pump/7/state=gone"));
        };
        let topic = Topic::new(topic).map_err(|rule| refused("--will", rule))?;
        Ok(builder.will(Will { qos: self.qos(), ..Will::new(topic, text) }))
    }
}

fn refused(option: &str, rule: &Rule) -> String {
    format!("{option}: {rule}")
}

/// Names the option that is at fault.
fn explain(error: &MqttConfigError) -> String {
    let option = match error {
        MqttConfigError::UserName(_) => "--user",
        MqttConfigError::Limits { .. } => "--max-message",
        MqttConfigError::Connect(_) => "--will and --user",
        MqttConfigError::WebSocket { .. } => "--subprotocol and --beat",
        _ => "--mqtt",
    };
    format!("{option}: {error}")
}

/// Why a password cannot be sent.
pub(crate) const PASSWORD: &str = "MQTT has room for a password of 65535 bytes, and in version 3.1.1 beside a user name only: give --user, too, or --mqtt 5";

/// What a message says, without its topic.
pub(crate) fn payload(message: &Message) -> Bytes {
    Publish::of(message).map_or_else(|| message.payload().clone(), |publish| publish.payload.into_bytes())
}

/// What became of each filter that was asked for: its code, and the words for that.
pub(crate) fn results(answer: &Message) -> Vec<(String, u8, &'static str)> {
    let results = Answer::of(answer).map(|answer| answer.results).unwrap_or_default();
    results.into_iter().map(|(filter, reason)| (filter.to_string(), reason.get(), reason.name())).collect()
}

/// Whether something that was asked for is refused.
pub(crate) fn is_refusal(answer: &Message) -> bool {
    Answer::of(answer).is_some_and(|answer| answer.results.iter().any(|(_, reason)| reason.is_failure()))
}
