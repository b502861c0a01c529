//! Enhanced authentication (MQTT 5.0, section 4.12): challenges and answers before the server lets a client in.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use crate::wire::Credentials;

/// A method of authentication, such as SCRAM: what an application brings, because MQTT defines none.
pub trait Authentication: Send + Sync + fmt::Debug {
    /// Its name, as the server knows it.
    fn method(&self) -> &str;

    /// A connection begins, with the credentials that the link has for it.
    fn begin(&self, credentials: &Credentials) -> Box<dyn Exchange>;
}

/// The steps of one connection's authentication.
pub trait Exchange: Send {
    /// What to say first, in CONNECT. Default: nothing.
    fn first(&mut self) -> Vec<u8> {
        Vec::new()
    }

    /// The answer to what the server said in AUTH. `None` if that cannot be: the connection ends.
    fn answer(&mut self, challenge: &[u8]) -> Option<Vec<u8>>;

    /// The server lets us in, and said this last. `false` if it did not prove who it is: the connection ends.
    fn finish(&mut self, last: &[u8]) -> bool;
}
