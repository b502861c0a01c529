//! Links and listeners on an executor of the application, instead of smol's own threads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod runtime;

#[path = "../../adapter-shared/tests-on-a-runtime/support.rs"]
mod support;

use keepbeat_smol::{Link, Listener};
use runtime::block_on;
use smol::LocalExecutor;
use support::*;

#[test]
fn a_link_whose_executor_is_gone_ends() {
    let executor = LocalExecutor::new();
    let (link, listener) = block_on(executor.run(async {
        let config = server().build().unwrap();
        let (listener, accepting) = Listener::builder(config).build("127.0.0.1:0").await.unwrap();
        executor.spawn(accepting).detach();
        let config = client("a").build().unwrap();
        let (link, driver) = Link::builder(listener.local_addr().to_string(), config).build().unwrap();
        executor.spawn(driver).detach();
        up(&link).await;
        link.send(7_u32.to_be_bytes().to_vec()).await.unwrap();
        assert_eq!(server_message(&listener).await, 7);
        (link, listener)
    }));
    drop(executor);
    block_on(async {
        while within(link.next_event()).await.is_some() {}
        while within(listener.next_event()).await.is_some() {}
        within(link.closed()).await;
    });
}
