//! What lies between the socket and the protocol?

#[cfg(feature = "tls")]
#[cfg_attr(
    not(all(test, any(feature = "tls-ring", feature = "tls-aws-lc"))),
    expect(dead_code, unused_imports, reason = "connections do not use the machine yet")
)]
pub mod tls;
