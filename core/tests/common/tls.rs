//! What the tests of links over TLS share: both ends with certificates of one authority.

use keepbeat_core::DownCause;
use keepbeat_core::client::{ClientConfigBuilder, LinkState};
use keepbeat_core::reconnect::GiveUpCause;
use keepbeat_core::server::{ServerConfigBuilder, ServerEvent};
use keepbeat_core::wire::beat::Beat;

use super::pki::{ADDRESS, Authority};
use super::{Link, client, server};

/// Both ends, with certificates of one authority.
pub(crate) fn configs() -> (ClientConfigBuilder<Beat>, ServerConfigBuilder<Beat>) {
    let authority = Authority::new("Test CA");
    (client().tls(authority.client().build().unwrap()), server().tls(authority.server().build().unwrap()))
}

pub(crate) fn link() -> Link {
    let (client, server) = configs();
    Link::to(ADDRESS, client, server)
}

pub(crate) fn up(mut link: Link) -> Link {
    link.client.open(link.now);
    link.turn();
    assert!(matches!(link.client.state(), LinkState::Up { .. }), "{:?}", link.events);
    link.forget();
    link
}

/// Why the client gave up, in words.
pub(crate) fn gave_up(link: &Link) -> (DownCause, String) {
    assert_eq!(link.client.state(), LinkState::GaveUp(GiveUpCause::Fatal), "{:?}", link.events);
    let (_, report) = link.downs().pop().unwrap();
    let words = report.to_string();
    (report.cause, words)
}

pub(crate) fn rejected(link: &Link) -> Vec<DownCause> {
    let causes = link.server_events.iter().filter_map(|(_, event)| match event {
        ServerEvent::Rejected { cause, .. } => Some(cause.clone()),
        _ => None,
    });
    causes.collect()
}
