//! The driver in virtual time passes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod client {
    use keepbeat_conformance::simulated::Simulated;

    keepbeat_conformance::client_scenarios!(Simulated::new());
    keepbeat_conformance::client_suspend_scenarios!(Simulated::new());
}

mod server {
    use keepbeat_conformance::simulated::Simulated;

    keepbeat_conformance::server_scenarios!(Simulated::new());
    keepbeat_conformance::server_suspend_scenarios!(Simulated::new());
}
