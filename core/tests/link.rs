//! A client and a server, wired together without a network.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

use std::sync::Arc;
use std::time::Duration;

use keepbeat_core::Failure;
use keepbeat_core::client::{Action, Client, ClientConfig, Event, Input, LinkState};
use keepbeat_core::entropy::Prng;
use keepbeat_core::reconnect::{GiveUpCause, Hint, ReconnectConfig};
use keepbeat_core::server::{Server, ServerAction, ServerConfig, ServerEvent, ServerInput};
use keepbeat_core::time::Timestamp;
use keepbeat_core::wire::DeviceId;
use keepbeat_core::wire::beat::Beat;

#[test]
fn a_link_on_hold_says_so_when_its_time_is_used_up() {
    let reconnect = ReconnectConfig::builder().max_elapsed(Duration::from_secs(10)).build().unwrap();
    let config = ClientConfig::builder(DeviceId::new("d").unwrap()).reconnect(reconnect).build().unwrap();
    let mut client: Client<Beat> = Client::new(Arc::new(config), 1);
    let mut now = Timestamp::from_millis(1);
    client.open(now);
    let Some(Action::Connect { epoch }) = client.poll_action() else { panic!("no attempt") };
    client.handle_input(now, Input::OpenFailed { epoch, failure: Failure::Refused });
    client.hint(now, Hint::NetworkDown);
    let mut gave_up = false;
    while let Some(deadline) = client.poll_timeout() {
        now = deadline.at;
        client.handle_timeout(now);
        while let Some(action) = client.poll_action() {
            assert!(!matches!(action, Action::Connect { .. }), "an attempt without a network");
        }
        while let Some(event) = client.poll_event(now) {
            gave_up |= matches!(event, Event::GaveUp { .. });
        }
    }
    assert!(gave_up);
    assert_eq!(
        (now, client.state()),
        (Timestamp::from_millis(10_001), LinkState::GaveUp(GiveUpCause::Elapsed(Duration::from_secs(10))))
    );
    assert!(client.send(now, "".into()).is_err());
}

#[test]
fn two_machines_shake_hands_and_exchange_messages() {
    let device = DeviceId::new("d").unwrap();
    let mut client: Client<Beat> = Client::new(Arc::new(ClientConfig::builder(device.clone()).build().unwrap()), 1);
    let mut server: Server<Beat> =
        Server::new(Arc::new(ServerConfig::builder().build().unwrap()), Box::new(Prng::new(2)), 3);
    let mut now = Timestamp::from_millis(5);
    client.open(now);
    client.send(now, b"up".into()).unwrap();
    let mut conn = None;
    let (mut client_events, mut server_events) = (vec![], vec![]);
    for _ in 0..200 {
        while let Some(action) = client.poll_action() {
            if let Action::Connect { epoch } = action {
                conn = Some((epoch, server.accept(now, None).unwrap()));
                client.handle_input(now, Input::Opened { epoch });
            }
        }
        while let Some(action) = server.poll_action() {
            assert!(!matches!(action, ServerAction::Disconnect(_)), "{action:?}");
        }
        let (epoch, id) = conn.unwrap();
        let bytes = client.transmit().to_vec();
        if !bytes.is_empty() {
            client.handle_input(now, Input::Written { epoch, count: bytes.len() });
            server.handle_input(now, id, ServerInput::Received(&bytes));
        }
        let bytes = server.transmit(id).to_vec();
        if !bytes.is_empty() {
            server.handle_input(now, id, ServerInput::Written(bytes.len()));
            client.handle_input(now, Input::Received { epoch, bytes: &bytes });
        }
        client.handle_timeout(now);
        server.handle_timeout(now);
        while let Some(event) = client.poll_event(now) {
            client_events.push(event);
        }
        while let Some(event) = server.poll_event(now) {
            if matches!(event, ServerEvent::Online { .. }) {
                server.send(now, &device, b"down".into()).unwrap();
            }
            server_events.push(event);
        }
        now = now.after(Duration::from_secs(1));
    }
    assert!(client_events.contains(&Event::Message(b"down".into())), "{client_events:#?}");
    assert!(
        server_events.contains(&ServerEvent::Message { device: device.clone(), message: b"up".into() }),
        "{server_events:#?}"
    );
    assert_eq!((client.unacknowledged(), server.unacknowledged(&device)), (0, 0));
    assert!(client.evidence(now).unwrap().beats_answered > 5);
}
