//! The promises of the simulated links hold over TLS. rustls draws its own randomness, so a seed gives the same faults, but
//! not the same run to the byte.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use common::pki::Authority;
use common::{MS, SECOND, device};
use keepbeat_core::client::ClientConfig;
use keepbeat_core::entropy::Prng;
use keepbeat_core::liveness::LivenessConfig;
use keepbeat_core::reconnect::ReconnectConfig;
use keepbeat_core::server::ServerConfig;
use keepbeat_core::sim::{
    Delivery, Direction, Fault, FaultKind, SERVER_NAME, Setup, Sim, Traffic, for_each_seed_of, random_schedule,
};
use keepbeat_core::tunnel::tls::{TlsClient, TlsServer};

/// So long after the last fault everything has been delivered and acknowledged. A handshake of 3 KB takes its time where 300
/// bytes pass in a round trip.
const RECOVERY: Duration = Duration::from_secs(40);

/// Keys and certificates take longer to make than a run.
static TLS: LazyLock<(TlsClient, TlsServer)> = LazyLock::new(|| {
    let authority = Authority::new("Test CA");
    let name = SERVER_NAME.split(':').next().unwrap();
    (authority.client().build().unwrap(), authority.identity(name).server().build().unwrap())
});

/// The same with TLS, and with more time for the handshake.
fn with_tls(setup: Setup) -> Setup {
    let (tls, tls_server) = &*TLS;
    let quick = LivenessConfig::builder().interval(SECOND).reply_timeout(300 * MS).stall_limit(3 * SECOND);
    let quick = quick.build().unwrap();
    let reconnect = ReconnectConfig::builder().base(50 * MS).cap(400 * MS).floor(20 * MS);
    let reconnect = reconnect.first_spread(50 * MS).stable(2 * SECOND).build().unwrap();
    let client = |index: usize| {
        let config = ClientConfig::builder(device(&format!("device-{index}"))).tls(tls.clone());
        let config = config.liveness(quick.clone()).reconnect(reconnect.clone());
        let config = config.connect_timeout(SECOND).handshake_timeout(6 * SECOND).close_timeout(250 * MS);
        Arc::new(config.build().unwrap())
    };
    let server = ServerConfig::builder().tls(tls_server.clone()).liveness(quick.clone());
    let server = server.intervals(10 * MS, 600 * SECOND).handshake_timeout(6 * SECOND).close_timeout(250 * MS);
    let clients = (0..setup.clients.len()).map(client).collect();
    Setup { clients, server: Arc::new(server.build().unwrap()), ..setup }
}

fn assert_perfect(delivery: &Delivery, sent: u64) {
    let perfect = Delivery::perfect(sent);
    assert_eq!(*delivery, perfect);
}

#[test]
fn nothing_is_lost_or_duplicated_or_falsely_dead_over_tls_by_any_schedule_of_faults() {
    for_each_seed_of("KEEPBEAT_TLS_SCHEDULES", 600, |seed| {
        let prng = &mut Prng::new(seed);
        let setup = with_tls(Setup::random(seed));
        let (links, up, down) = (setup.clients.len(), setup.up.messages, setup.down.messages);
        let mut sim = Sim::new(setup);
        let faults = random_schedule(prng, links, 6 * SECOND, 4 * SECOND);
        let last = faults.iter().map(Fault::end).max().unwrap();
        sim.add_faults(faults);
        sim.run_for(last.since(sim.now()));
        assert!(sim.run_until(RECOVERY, Sim::is_settled), "not settled: {:?}", sim.counts());
        for link in 0..links {
            assert_perfect(&sim.up(link), up);
            assert_perfect(&sim.down(link), down);
            assert!(sim.client(link).tls().is_some());
        }
        assert_eq!(sim.counts().late, 0, "{:?}", sim.verdicts());
        assert!(!sim.verdicts().iter().any(|verdict| verdict.is_false()), "{:?}", sim.verdicts());
    });
}

#[test]
fn nobody_is_woken_in_vain_over_tls() {
    for_each_seed_of("KEEPBEAT_TLS_SCHEDULES", 100, |seed| {
        let mut setup = with_tls(Setup::quick(seed, 2));
        (setup.up, setup.down) = (Traffic::NONE, Traffic::NONE);
        let mut sim = Sim::new(setup);
        sim.run_for(60 * SECOND);
        assert_eq!(sim.counts().empty_wakes, 0, "{:?}", sim.counts());
        assert!(sim.is_settled() && sim.counts().downs == 0);
    });
}

#[test]
fn a_cut_at_any_byte_of_the_tls_handshake_costs_nothing() {
    for_each_seed_of("KEEPBEAT_CUTS", 500, |case| {
        let direction = if case % 2 == 0 { Direction::Up } else { Direction::Down };
        let burst = |messages| Traffic { messages, pause: (Duration::ZERO, SECOND / 100), size: (0, 30) };
        let mut sim = Sim::new(with_tls(Setup { up: burst(12), down: burst(12), ..Setup::quick(case, 1) }));
        // Hello, certificate, finished and what follows are about 1.5 KB in either direction.
        sim.add_fault(Fault::new(0, 900, FaultKind::CutAtByte(0, direction, case / 2 * 6)));
        sim.run_until(2 * SECOND, |sim| sim.counts().downs > 0);
        assert!(sim.run_until(RECOVERY, Sim::is_settled), "not settled: {:?}", sim.counts());
        assert!(sim.counts().downs >= 1 || case / 2 * 6 > 600, "nothing was cut");
        assert_perfect(&sim.up(0), 12);
        assert_perfect(&sim.down(0), 12);
    });
}
