//! TLS and proxies.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod runtime {
    use std::future::Future;

    pub(crate) use keepbeat_tokio as adapter;
    pub(crate) use tokio::time::sleep;

    pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }
}

#[path = "../../adapter-shared/tests-on-a-runtime/tunnel.rs"]
mod tunnel;
