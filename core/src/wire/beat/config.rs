//! The limits of the native protocol's frames.

use core::fmt;

/// The longest frame body that the format can say, in bytes: a length has 28 bits.
pub(super) const LONGEST_BODY: u32 = (1 << 28) - 1;

/// The bytes that a message's number takes at most.
pub(super) const SEQ_ROOM: u32 = crate::wire::varint::LONGEST as u32;

/// The largest message that the format can carry, in bytes: 256 MiB less 11 bytes.
pub const MESSAGE_LIMIT_MAX: usize = (LONGEST_BODY - SEQ_ROOM) as usize;

/// The lowest limit for handshake frames, in bytes: a HELLO without credentials always fits.
///
/// Magic and version 5, device id 2 + 128, instance 8, attempt 5, interval and reply timeout 5 each, message limit 10, token 1 + 16,
/// received 10, credentials 1.
pub const HELLO_LIMIT_MIN: usize = 5 + (2 + 128) + 8 + 5 + 5 + 5 + 10 + (1 + 16) + 10 + 1;

/// The largest limit for handshake frames that the format can use, in bytes.
pub const HELLO_LIMIT_MAX: usize = LONGEST_BODY as usize;

/// The limits that one side sets for the frames of the other. See [`Beat`](super::Beat).
///
/// ```
/// use keepbeat_core::wire::beat::{BeatConfig, BeatConfigError};
///
/// let config = BeatConfig::builder().message_limit(64 * 1024).build()?;
/// assert_eq!((config.hello_limit(), config.message_limit()), (4096, 65_536));
///
/// let error = BeatConfig::builder().hello_limit(10).build();
/// assert_eq!(error, Err(BeatConfigError::HelloLimitTooLow { hello_limit: 10, lowest: 196 }));
/// # Ok::<(), BeatConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BeatConfig {
    hello_limit: u32,
    message_limit: u32,
}

impl BeatConfig {
    /// Starts from the defaults: handshake frames of 4 KiB, messages of 1 MiB.
    pub const fn builder() -> BeatConfigBuilder {
        BeatConfigBuilder { hello_limit: 4 << 10, message_limit: 1 << 20 }
    }

    /// The longest body of a frame before the connection is established, in bytes.
    #[must_use]
    pub const fn hello_limit(&self) -> usize {
        self.hello_limit as usize
    }

    /// The largest message accepted, in bytes.
    #[must_use]
    pub const fn message_limit(&self) -> usize {
        self.message_limit as usize
    }
}

impl Default for BeatConfig {
    fn default() -> Self {
        let BeatConfigBuilder { hello_limit, message_limit } = Self::builder();
        Self { hello_limit: hello_limit as u32, message_limit: message_limit as u32 }
    }
}

/// Makes a [`BeatConfig`]. See [`BeatConfig::builder`].
#[derive(Debug, Clone, Copy)]
#[must_use = "a builder does nothing until build is called"]
pub struct BeatConfigBuilder {
    hello_limit: usize,
    message_limit: usize,
}

impl BeatConfigBuilder {
    /// The longest body of a frame before the connection is established, in bytes: [`HELLO_LIMIT_MIN`] to
    /// [`HELLO_LIMIT_MAX`]. This much memory a peer may occupy without having said who it is. Default: 4 KiB.
    pub const fn hello_limit(mut self, bytes: usize) -> Self {
        self.hello_limit = bytes;
        self
    }

    /// The largest message accepted, in bytes: 1 to [`MESSAGE_LIMIT_MAX`]. Default: 1 MiB.
    pub const fn message_limit(mut self, bytes: usize) -> Self {
        self.message_limit = bytes;
        self
    }

    /// Checks the limits.
    ///
    /// # Errors
    /// A limit is out of its range. Nothing is clamped.
    pub const fn build(self) -> Result<BeatConfig, BeatConfigError> {
        let Self { hello_limit, message_limit } = self;
        if hello_limit < HELLO_LIMIT_MIN {
            return Err(BeatConfigError::HelloLimitTooLow { hello_limit, lowest: HELLO_LIMIT_MIN });
        }
        if hello_limit > HELLO_LIMIT_MAX {
            return Err(BeatConfigError::HelloLimitTooHigh { hello_limit, highest: HELLO_LIMIT_MAX });
        }
        if message_limit == 0 {
            return Err(BeatConfigError::MessageLimitZero);
        }
        if message_limit > MESSAGE_LIMIT_MAX {
            return Err(BeatConfigError::MessageLimitTooHigh { message_limit, highest: MESSAGE_LIMIT_MAX });
        }
        Ok(BeatConfig { hello_limit: hello_limit as u32, message_limit: message_limit as u32 })
    }
}

/// Why limits are not a [`BeatConfig`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BeatConfigError {
    /// A HELLO without credentials would not fit.
    HelloLimitTooLow {
        /// The limit asked for, in bytes.
        hello_limit: usize,
        /// The lowest limit possible, [`HELLO_LIMIT_MIN`].
        lowest: usize,
    },
    /// The format cannot say such a length.
    HelloLimitTooHigh {
        /// The limit asked for, in bytes.
        hello_limit: usize,
        /// The highest limit possible, [`HELLO_LIMIT_MAX`].
        highest: usize,
    },
    /// No message but the empty one would fit.
    MessageLimitZero,
    /// The format cannot carry such a message.
    MessageLimitTooHigh {
        /// The limit asked for, in bytes.
        message_limit: usize,
        /// The highest limit possible, [`MESSAGE_LIMIT_MAX`].
        highest: usize,
    },
}

impl fmt::Display for BeatConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HelloLimitTooLow { hello_limit, lowest } => {
                write!(f, "hello_limit is {hello_limit} bytes; a HELLO may need {lowest} without credentials")
            }
            Self::HelloLimitTooHigh { hello_limit, highest } => {
                write!(f, "hello_limit is {hello_limit} bytes; a frame has at most {highest}")
            }
            Self::MessageLimitZero => f.write_str("message_limit is 0 bytes; it must be at least 1"),
            Self::MessageLimitTooHigh { message_limit, highest } => {
                write!(f, "message_limit is {message_limit} bytes; a frame carries at most {highest}")
            }
        }
    }
}

impl core::error::Error for BeatConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_what_the_builder_starts_from() {
        assert_eq!(BeatConfig::builder().build(), Ok(BeatConfig::default()));
        assert_eq!(size_of::<BeatConfig>(), 8);
    }

    #[test]
    fn limits_hold_on_both_sides() {
        let hello = |bytes| BeatConfig::builder().hello_limit(bytes).build();
        let message = |bytes| BeatConfig::builder().message_limit(bytes).build();
        assert!(matches!(hello(195), Err(BeatConfigError::HelloLimitTooLow { hello_limit: 195, lowest: 196 })));
        assert!(hello(196).is_ok() && hello(HELLO_LIMIT_MAX).is_ok());
        assert!(matches!(hello(HELLO_LIMIT_MAX + 1), Err(BeatConfigError::HelloLimitTooHigh { .. })));
        assert_eq!(message(0), Err(BeatConfigError::MessageLimitZero));
        assert!(message(1).is_ok() && message(MESSAGE_LIMIT_MAX).is_ok());
        assert!(matches!(message(MESSAGE_LIMIT_MAX + 1), Err(BeatConfigError::MessageLimitTooHigh { .. })));
        assert!(matches!(message(usize::MAX), Err(BeatConfigError::MessageLimitTooHigh { .. })));
    }
}
