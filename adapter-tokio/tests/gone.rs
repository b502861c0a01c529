//! What a link and a listener do when tokio is gone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod runtime;

#[path = "../../adapter-shared/tests-on-a-runtime/support.rs"]
mod support;

use runtime::adapter::{LinkState, SendError};
use runtime::block_on;
use support::*;

#[test]
fn a_link_whose_runtime_is_gone_ends() {
    let (link, listener) = block_on(async {
        let listener = listen(server()).await;
        let link = link(&listener, client("a"));
        up(&link).await;
        (link, listener)
    });
    block_on(async {
        while within(link.next_event()).await.is_some() {}
        while within(listener.next_event()).await.is_some() {}
        assert!(!listener.is_connected(&device("a")) && listener.connections() == 0);
        within(link.closed()).await;
        assert_eq!(link.state(), LinkState::Closed);
        assert!(matches!(link.try_send("never sent"), Err(SendError::Closed { .. })));
        assert!(matches!(within(link.send("never sent")).await, Err(SendError::Closed { .. })));
    });
}
