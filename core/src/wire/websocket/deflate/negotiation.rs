//! Offers and answers (RFC 7692, section 7.1).

use alloc::format;
use alloc::string::String;
use core::fmt;

use super::{Side, WINDOW_BITS_MAX, WINDOW_BITS_MIN};
use crate::wire::websocket::Role;
use crate::wire::websocket::upgrade::Extension;

const NAME: &str = "permessage-deflate";
const SERVER_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_BITS: &str = "server_max_window_bits";
const CLIENT_BITS: &str = "client_max_window_bits";

/// What one side wants of compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeflateConfig {
    client: Side,
    server: Side,
    level: u8,
}

impl Default for DeflateConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl DeflateConfig {
    /// No context takeover, windows of any size, level 6.
    pub const DEFAULT: Self = {
        let side = Side { takeover: false, window_bits: WINDOW_BITS_MAX };
        Self { client: side, server: side, level: 6 }
    };

    /// Whether messages that come from `sender` may refer to the ones before. If not, the sender is told so; if yes, the
    /// other side may still refuse it.
    #[must_use]
    pub const fn context_takeover(mut self, sender: Role, allowed: bool) -> Self {
        self.side(sender).takeover = allowed;
        self
    }

    /// How far back `sender` may refer: 2 to the power of `bits`, in bytes. A server that limits clients by this compresses
    /// nothing with those that did not say that they can be limited.
    ///
    /// # Errors
    /// `bits` is not 8 to 15.
    pub const fn max_window_bits(mut self, sender: Role, bits: u8) -> Result<Self, DeflateConfigError> {
        if bits < WINDOW_BITS_MIN || bits > WINDOW_BITS_MAX {
            return Err(DeflateConfigError::WindowBits { bits });
        }
        self.side(sender).window_bits = bits;
        Ok(self)
    }

    /// How hard to try when we compress: 1 is fast, 9 is small.
    ///
    /// # Errors
    /// `level` is not 1 to 9.
    pub const fn level(mut self, level: u8) -> Result<Self, DeflateConfigError> {
        if level < 1 || level > 9 {
            return Err(DeflateConfigError::Level { level });
        }
        self.level = level;
        Ok(self)
    }

    const fn side(&mut self, sender: Role) -> &mut Side {
        match sender {
            Role::Client => &mut self.client,
            Role::Server => &mut self.server,
        }
    }

    /// What a client offers.
    pub(in super::super) fn offer(&self) -> String {
        let Self { client, server, .. } = self;
        let server_bits = (server.window_bits < WINDOW_BITS_MAX).then_some(server.window_bits);
        let client_bits = (client.window_bits < WINDOW_BITS_MAX).then_some(client.window_bits);
        Terms {
            server_fresh: !server.takeover,
            client_fresh: !client.takeover,
            server_bits,
            // To say that the server may limit it is to say that we are able to.
            client_bits: Some(client_bits),
        }
        .written()
    }

    /// What a server agrees to: the first offer that it can accept. Offers that break a rule are declined (section 7).
    pub(in super::super) fn choose(&self, offers: &[Extension]) -> Option<Agreement> {
        offers.iter().find_map(|offer| self.accept(&Terms::read(offer, true)?))
    }

    fn accept(&self, offer: &Terms) -> Option<Agreement> {
        let Self { client, server, level } = *self;
        let client_bits = match offer.client_bits {
            None if client.window_bits < WINDOW_BITS_MAX => return None,
            None => WINDOW_BITS_MAX,
            Some(bits) => client.window_bits.min(bits.unwrap_or(WINDOW_BITS_MAX)),
        };
        let server_bits = server.window_bits.min(offer.server_bits.unwrap_or(WINDOW_BITS_MAX));
        Some(Agreement {
            server: Side { takeover: server.takeover && !offer.server_fresh, window_bits: server_bits },
            client: Side { takeover: client.takeover && !offer.client_fresh, window_bits: client_bits },
            level,
            names_server_bits: offer.server_bits.is_some() || server_bits < WINDOW_BITS_MAX,
        })
    }

    /// What a client makes of the server's answer to its offer; `None` if the server wants no compression.
    pub(in super::super) fn agree(&self, answer: &[Extension]) -> Result<Option<Agreement>, &'static str> {
        let extension = match answer {
            [] => return Ok(None),
            [extension] if extension.name() == NAME => extension,
            _ => return Err("the server chose an extension that we did not offer, or one twice"),
        };
        let Some(terms) = Terms::read(extension, false) else {
            return Err("the server's answer has parameters of permessage-deflate that are not allowed");
        };
        let Self { client, server, level } = *self;
        if !server.takeover && !terms.server_fresh {
            return Err("the server did not agree to server_no_context_takeover");
        }
        if terms.server_bits.unwrap_or(WINDOW_BITS_MAX) > server.window_bits {
            return Err("the server did not agree to server_max_window_bits");
        }
        let client_bits = terms.client_bits.flatten().unwrap_or(client.window_bits);
        if client_bits > client.window_bits {
            return Err("the server chose larger client_max_window_bits than we offered");
        }
        Ok(Some(Agreement {
            server: Side {
                takeover: server.takeover && !terms.server_fresh,
                window_bits: terms.server_bits.unwrap_or(WINDOW_BITS_MAX),
            },
            client: Side { takeover: client.takeover && !terms.client_fresh, window_bits: client_bits },
            level,
            names_server_bits: terms.server_bits.is_some(),
        }))
    }
}

/// How both ends compress, as they agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreement {
    client: Side,
    server: Side,
    level: u8,
    /// The server's answer says [`SERVER_BITS`], as it must if the offer did.
    names_server_bits: bool,
}

impl Agreement {
    /// Whether messages that come from `sender` may refer to the ones before.
    #[must_use]
    pub const fn context_takeover(&self, sender: Role) -> bool {
        self.side(sender).takeover
    }

    /// How far back `sender` may refer: 2 to the power of this, in bytes.
    #[must_use]
    pub const fn window_bits(&self, sender: Role) -> u8 {
        self.side(sender).window_bits
    }

    pub(in super::super) const fn side(&self, sender: Role) -> Side {
        match sender {
            Role::Client => self.client,
            Role::Server => self.server,
        }
    }

    pub(in super::super) const fn level(&self) -> u8 {
        self.level
    }

    /// What the server answers.
    pub(in super::super) fn answer(&self) -> String {
        let Self { client, server, .. } = self;
        Terms {
            server_fresh: !server.takeover,
            client_fresh: !client.takeover,
            server_bits: self.names_server_bits.then_some(server.window_bits),
            client_bits: (client.window_bits < WINDOW_BITS_MAX).then_some(Some(client.window_bits)),
        }
        .written()
    }
}

/// The parameters of an offer or answer.
#[derive(Debug, Default)]
struct Terms {
    /// Without context takeover.
    server_fresh: bool,
    client_fresh: bool,
    server_bits: Option<u8>,
    /// In an offer, it may be there without a value.
    client_bits: Option<Option<u8>>,
}

impl Terms {
    /// `None` if it is another extension, or a rule of section 7.1 is broken: a parameter is unknown, there twice, or has a
    /// value that it cannot have.
    fn read(extension: &Extension, is_offer: bool) -> Option<Self> {
        if extension.name() != NAME {
            return None;
        }
        let mut terms = Self::default();
        for (name, value) in extension.parameters() {
            let is_new = match (name, value) {
                (SERVER_TAKEOVER, None) => !core::mem::replace(&mut terms.server_fresh, true),
                (CLIENT_TAKEOVER, None) => !core::mem::replace(&mut terms.client_fresh, true),
                (SERVER_BITS, Some(value)) => terms.server_bits.replace(bits(value)?).is_none(),
                (CLIENT_BITS, Some(value)) => terms.client_bits.replace(Some(bits(value)?)).is_none(),
                (CLIENT_BITS, None) if is_offer => terms.client_bits.replace(None).is_none(),
                _ => return None,
            };
            if !is_new {
                return None;
            }
        }
        Some(terms)
    }

    fn written(&self) -> String {
        let mut text = String::from(NAME);
        let mut put = |parameter: &str| text.extend(["; ", parameter]);
        if self.server_fresh {
            put(SERVER_TAKEOVER);
        }
        if self.client_fresh {
            put(CLIENT_TAKEOVER);
        }
        if let Some(bits) = self.server_bits {
            put(&format!("{SERVER_BITS}={bits}"));
        }
        match self.client_bits {
            Some(Some(bits)) => put(&format!("{CLIENT_BITS}={bits}")),
            Some(None) => put(CLIENT_BITS),
            None => {}
        }
        text
    }
}

/// 8 to 15, in decimal digits without a zero in front.
fn bits(value: &str) -> Option<u8> {
    match value.as_bytes() {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

/// An impossible value: a fault of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeflateConfigError {
    /// The window is too small or too large.
    WindowBits {
        /// What was asked for.
        bits: u8,
    },
    /// The level is unknown.
    Level {
        /// What was asked for.
        level: u8,
    },
}

impl fmt::Display for DeflateConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WindowBits { bits } => write!(f, "a window of {bits} bits was asked for; choose 8 to 15"),
            Self::Level { level } => write!(f, "compression of level {level} was asked for; choose 1 to 9"),
        }
    }
}

impl core::error::Error for DeflateConfigError {}

#[cfg(test)]
mod tests;
