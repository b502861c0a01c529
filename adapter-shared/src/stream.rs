//! A connected socket of a runtime, in the terms of the standard library.

use std::io;
use std::task::Context;

use crate::socket::SocketOptions;

/// A connected socket that does not block. [`io::ErrorKind::WouldBlock`] means: nothing now, and `cx` will be woken when
/// there is.
pub trait Stream: Send + 'static {
    /// Reads what the runtime knows to be there.
    ///
    /// # Errors
    /// The operating system's.
    fn read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes what the operating system takes.
    ///
    /// # Errors
    /// The operating system's.
    fn write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<usize>;

    /// Sets the options of a link's sockets.
    fn apply(&self, options: &SocketOptions);

    /// Reads what the operating system has, whatever the runtime knows; wakes nobody.
    ///
    /// # Errors
    /// The operating system's.
    fn read_now(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
}
