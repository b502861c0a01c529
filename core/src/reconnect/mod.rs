//! When to try again?
//!
//! [`Reconnect`] decides when the next connection attempt starts, and when to stop trying. It opens nothing itself: it is
//! told what happened to the connection and answers with a [`ReconnectAction`]. It knows no protocol, so it also serves
//! those who have their own.
//!
//! | file | what it holds |
//! |---|---|
//! | `config` | [`ReconnectConfig`]: the numbers, their relations, presets |
//! | `backoff` | [`Shape`] and the length of one wait |
//! | `retry` | [`Retry`]: what the end of a connection says about the next attempt |
//! | `machine` | [`Reconnect`]: one link, its waits and its limits |
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use keepbeat_core::reconnect::{Reconnect, ReconnectAction, ReconnectConfig, ReconnectState, Retry};
//! use keepbeat_core::time::Timestamp;
//!
//! let config = ReconnectConfig::builder().cap(Duration::from_secs(20)).build()?;
//! // Every link needs a seed of its own: links with the same seed try again at the same moments.
//! let mut link = Reconnect::new(Arc::new(config), 0x5EED);
//!
//! let mut now = Timestamp::ZERO;
//! link.open(now);
//! assert_eq!(link.poll_action(), Some(ReconnectAction::Connect { attempt: 1 }));
//!
//! // The attempt fails. The next one comes between 100 ms and 1.1 s later.
//! link.lost(now, Retry::Retry { after: None });
//! let Some(ReconnectAction::ScheduleReconnect { at, attempt: 2 }) = link.poll_action() else { unreachable!() };
//! assert!(at >= Timestamp::from_millis(100) && at <= Timestamp::from_millis(1100));
//!
//! now = link.poll_timeout().map_or(now, |deadline| deadline.at);
//! link.handle_timeout(now);
//! assert_eq!(link.poll_action(), Some(ReconnectAction::Connect { attempt: 2 }));
//! link.connected(now);
//! assert_eq!(link.state(), ReconnectState::Connected);
//! # Ok::<(), keepbeat_core::reconnect::ReconnectConfigError>(())
//! ```

mod backoff;
mod config;
mod machine;
mod retry;
#[cfg(test)]
mod tests;

pub use backoff::Shape;
pub use config::{LONGEST_WAIT, ReconnectConfig, ReconnectConfigBuilder, ReconnectConfigError};
pub use machine::{CONFLICT_AFTER, GiveUpCause, HINT_GAP, Hint, Reconnect, ReconnectAction, ReconnectState};
pub use retry::{Retry, Wait};
