//! What must be waited for before a connection is open.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use keepbeat_core::Failure;
use keepbeat_core::client::Epoch;
use tokio::net::TcpStream;

use super::connect::connect;
use crate::io::SocketOptions;

pub(super) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Gives credentials for an attempt.
pub(super) type Provider = Arc<dyn Fn(bool) -> BoxFuture<Option<Bytes>> + Send + Sync>;

/// The part of an attempt that takes time. Dropping it gives it up.
pub(super) struct Attempt {
    epoch: Epoch,
    work: BoxFuture<Outcome>,
}

/// How it went.
pub(super) enum Outcome {
    Credentials(Option<Bytes>),
    Connected(TcpStream),
    NotConnected(Failure),
}

impl Attempt {
    /// Asks for credentials. The provider runs when this is polled, not before.
    pub(super) fn fetch(epoch: Epoch, provider: Option<Provider>, refresh: bool) -> Self {
        let work = async move {
            Outcome::Credentials(match provider {
                Some(provider) => provider(refresh).await,
                None => None,
            })
        };
        Self { epoch, work: Box::pin(work) }
    }

    /// Looks `address` up and opens a connection.
    pub(super) fn connect(epoch: Epoch, address: String, options: SocketOptions) -> Self {
        let work = async move {
            match connect(&address).await {
                Ok(stream) => {
                    options.apply(&stream);
                    Outcome::Connected(stream)
                }
                Err(failure) => Outcome::NotConnected(failure),
            }
        };
        Self { epoch, work: Box::pin(work) }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Epoch, Outcome)> {
        self.work.as_mut().poll(cx).map(|outcome| (self.epoch, outcome))
    }
}
