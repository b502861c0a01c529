//! A link comes up, and messages go both ways.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

use keepbeat_tokio::{ClientConfig, DeviceId, Event, Link, Listener, ServerConfig, ServerEvent};

#[tokio::test]
async fn smoke() {
    let listener = Listener::bind("127.0.0.1:0", ServerConfig::builder().build().unwrap()).await.unwrap();
    let device = DeviceId::new("a").unwrap();
    let link = Link::open(listener.local_addr().to_string(), ClientConfig::builder(device.clone()).build().unwrap());
    link.send("hello").await.unwrap();
    loop {
        match listener.next_event().await.unwrap() {
            ServerEvent::Message { payload, .. } => {
                assert_eq!(&payload[..], b"hello");
                break;
            }
            other => println!("{other:?}"),
        }
    }
    listener.send(&device, "back").await.unwrap();
    loop {
        match link.next_event().await.unwrap() {
            Event::Message(payload) => {
                assert_eq!(&payload[..], b"back");
                break;
            }
            other => println!("{other:?}"),
        }
    }
    assert_eq!(link.drain(std::time::Duration::from_secs(5)).await, 0);
}
