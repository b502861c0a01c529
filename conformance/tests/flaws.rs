//! A driver that breaks the contract does not pass: for every rule, a scenario that notices.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

use keepbeat_conformance::simulated::{Flaw, Simulated};
use keepbeat_conformance::{
    ClientStage, ServerStage, Way, brokers, client, foreign_clients, foreign_servers, play, server,
};

/// The scenario must fail, with this complaint.
macro_rules! found_out {
    ($way:ident: $($test:ident: $side:ident::$scenario:ident on $stage:ident, $flaw:expr, $complaint:literal;)*) => { $(
        #[test]
        #[should_panic(expected = $complaint)]
        fn $test() {
            play($side::$scenario, || $stage::on(Way::$way, Simulated::flawed($flaw)));
        }
    )* };
}

found_out! { Tcp:
    a_driver_that_judges_before_it_reads_is_found_out:
        client::suspend_in_the_handshake on ClientStage, Flaw::TimeoutsFirst, "HandshakeTimeout";
    a_server_that_judges_before_it_reads_is_found_out:
        server::suspend_in_the_handshake on ServerStage, Flaw::TimeoutsFirst, "GOODBYE TimedOut";
    a_driver_that_reads_unasked_is_found_out:
        client::slow_application on ClientStage, Flaw::ReadsUnasked, "ended before \"BEAT\"";
    a_server_that_reads_unasked_is_found_out:
        server::slow_application on ServerStage, Flaw::ReadsUnasked, "ended before \"ACK 2\"";
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

// What sees no frames of ours is as sharp.

found_out! { WebSocket:
    a_driver_that_mixes_websockets_up_is_found_out:
        client::late_words on ClientStage, Flaw::MixesConnectionsUp, "message late";
    a_server_that_never_disconnects_a_websocket_is_found_out:
        server::drain on ServerStage, Flaw::NeverDisconnects, "waited in vain for \"end of file\"";
    a_driver_that_never_disconnects_a_refused_websocket_is_found_out:
        client::refused_for_now on ClientStage, Flaw::NeverDisconnects, "waited in vain for \"end of file\"";
}

found_out! { Foreign:
    a_driver_that_keeps_the_end_of_a_foreign_server_to_itself_is_found_out:
        client::closed_for_now on ClientStage, Flaw::KeepsEndsToItself, "down: dead";
    a_server_that_keeps_the_end_of_a_foreign_client_to_itself_is_found_out:
        foreign_clients::closes on ServerStage, Flaw::KeepsEndsToItself, "dead NoReply";
    a_driver_that_forgets_texts_for_a_foreign_server_is_found_out:
        foreign_servers::texts_and_binaries on ClientStage, Flaw::ForgetsTexts, "MESSAGE binary twin";
    a_server_that_never_disconnects_a_foreign_client_is_found_out:
        foreign_clients::violations on ServerStage, Flaw::NeverDisconnects, "waited in vain for \"end of file\"";
}

found_out! { Mqtt:
    a_driver_that_judges_before_it_reads_mqtt_is_found_out:
        client::suspend_in_the_handshake on ClientStage, Flaw::TimeoutsFirst, "HandshakeTimeout";
    a_driver_that_reads_mqtt_unasked_is_found_out:
        brokers::slow_application on ClientStage, Flaw::ReadsUnasked, "ended before \"PINGREQ\"";
    a_driver_whose_timers_starve_in_mqtt_is_found_out:
        client::flood on ClientStage, Flaw::TimersStarve, "waited in vain for \"PINGREQ\"";
    a_driver_that_writes_mqtt_by_halves_is_found_out:
        client::slow_reader on ClientStage, Flaw::WritesByHalves, "ended before \"PUBLISH 3\"";
    a_driver_that_sleeps_when_a_message_is_taken_is_found_out:
        brokers::publications on ClientStage, Flaw::SleepsThroughTakes, "waited in vain for \"PUBACK 1\"";
    a_driver_that_keeps_the_end_of_a_broker_to_itself_is_found_out:
        client::reset on ClientStage, Flaw::KeepsEndsToItself, "dead";
    a_driver_that_mixes_connections_to_brokers_up_is_found_out:
        client::late_words on ClientStage, Flaw::MixesConnectionsUp, "message late";
    a_driver_that_never_disconnects_from_a_broker_is_found_out:
        brokers::violations on ClientStage, Flaw::NeverDisconnects, "waited in vain for \"end of file\"";
    a_driver_that_forgets_what_a_message_is_is_found_out:
        brokers::publications on ClientStage, Flaw::ForgetsTexts, "PUBLISH 1: [12 bytes, damaged]";
}

found_out! { MqttWebSocket:
    a_driver_that_writes_mqtt_in_websocket_by_halves_is_found_out:
        client::slow_reader on ClientStage, Flaw::WritesByHalves, "ended before \"PUBLISH 3\"";
    a_driver_that_keeps_the_end_of_a_broker_in_websocket_to_itself_is_found_out:
        client::closed_for_now on ClientStage, Flaw::KeepsEndsToItself, "down: dead";
}
