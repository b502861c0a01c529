//! What keepbeat's adapters share. To use keepbeat, take the adapter of your runtime; to write an adapter, read on.
//!
//! The core decides, an adapter waits, and everything in between that is the same on every runtime is in here: the clock,
//! options and errors of sockets, the loops that move bytes, and the handles that an async application holds.
//!
//! | room | what it holds | for |
//! |---|---|---|
//! | [`clock`] | [`clock::Clock`], which counts suspend | every adapter |
//! | [`socket`], [`random`] | sockets, seeds and entropy | every adapter |
//! | [`pump`] | moves bytes between a socket and a machine of the core | every adapter |
//! | [`store`] | a store of files for what a link must not forget | every adapter |
//! | [`suspend`] | wakes drivers after the machine was suspended | async adapters |
//! | `network` | hints when the network changes, with the feature `netwatch` | every adapter |
//! | [`link`] | [`Link`], its builder, and the turns of its driver | async adapters |
//! | [`listener`] | [`Listener`], its builder, and the turns of its driver | async adapters |

#![forbid(unsafe_code)]

mod alarm;
pub mod clock;
pub mod link;
pub mod listener;
#[cfg(feature = "netwatch")]
pub mod network;
pub mod pump;
pub mod random;
pub mod socket;
pub mod store;
mod stream;
pub mod suspend;

pub use alarm::Alarm;
pub use link::Link;
pub use listener::Listener;
pub use stream::Stream;
