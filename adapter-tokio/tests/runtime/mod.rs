//! tokio, as the tests of `adapter-shared/tests-on-a-runtime` want it: one runtime in each thread that blocks.
#![allow(dead_code, unreachable_pub, reason = "every test file uses a part of it")]

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

pub use keepbeat_tokio as adapter;

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

pub struct Task<T>(tokio::task::JoinHandle<T>);

pub fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Task<T> {
    Task(tokio::spawn(future))
}

impl<T> Task<T> {
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.0).poll(cx).map(|result| result.expect("the task panicked"))
    }
}

pub async fn sleep(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Runs `work` in a thread of its own.
pub async fn unblock<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("the thread panicked")
}
