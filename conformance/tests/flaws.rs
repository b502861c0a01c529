//! A driver that breaks the contract does not pass: for every rule, a scenario that notices.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

use keepbeat_conformance::simulated::{Flaw, Simulated};
use keepbeat_conformance::{ClientStage, ServerStage, client, play, server};

/// The scenario must fail, with this complaint.
macro_rules! found_out {
    ($($test:ident: $side:ident::$scenario:ident on $stage:ident, $flaw:expr, $complaint:literal;)*) => { $(
        #[test]
        #[should_panic(expected = $complaint)]
        fn $test() {
            play($side::$scenario, || $stage::new(Simulated::flawed($flaw)));
        }
    )* };
}

found_out! {
    a_driver_that_judges_before_it_reads_is_found_out:
        client::suspend_in_the_handshake on ClientStage, Flaw::TimeoutsFirst, "HandshakeTimeout";
    a_server_that_judges_before_it_reads_is_found_out:
        server::suspend_in_the_handshake on ServerStage, Flaw::TimeoutsFirst, "GOODBYE TimedOut";
    a_driver_that_reads_unasked_is_found_out:
        client::slow_application on ClientStage, Flaw::ReadsUnasked, "ACK 2";
    a_server_that_reads_unasked_is_found_out:
        server::slow_application on ServerStage, Flaw::ReadsUnasked, "ACK 2";
    a_driver_whose_timers_starve_is_found_out:
        client::flood on ClientStage, Flaw::TimersStarve, "waited in vain for \"BEAT\"";
    a_server_whose_timers_starve_is_found_out:
        server::flood on ServerStage, Flaw::TimersStarve, "waited in vain for \"offline silent\"";
    a_driver_that_writes_by_halves_is_found_out:
        client::slow_reader on ClientStage, Flaw::WritesByHalves, "ended before \"DATA 3\"";
    a_server_that_writes_by_halves_is_found_out:
        server::slow_reader on ServerStage, Flaw::WritesByHalves, "ended before \"DATA 3\"";
    a_driver_that_keeps_ends_to_itself_is_found_out:
        client::reset on ClientStage, Flaw::KeepsEndsToItself, "dead WriteStalled";
    a_server_that_keeps_ends_to_itself_is_found_out:
        server::reset on ServerStage, Flaw::KeepsEndsToItself, "dead Silent";
    a_driver_that_mixes_connections_up_is_found_out:
        client::late_words on ClientStage, Flaw::MixesConnectionsUp, "message late";
    a_driver_that_never_disconnects_is_found_out:
        client::forbidden on ClientStage, Flaw::NeverDisconnects, "waited in vain for \"end of file\"";
    a_server_that_never_disconnects_is_found_out:
        server::drain on ServerStage, Flaw::NeverDisconnects, "waited in vain for \"end of file\"";
    a_driver_that_forgets_texts_is_found_out:
        client::texts_and_binaries on ClientStage, Flaw::ForgetsTexts, "DATA 1: binary twin";
    a_server_that_forgets_texts_is_found_out:
        server::texts_and_binaries on ServerStage, Flaw::ForgetsTexts, "DATA 1: binary twin";
}
