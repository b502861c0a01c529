//! A tunnel through a SOCKS5 proxy (RFC 1928), with user name and password (RFC 1929) if there is a login.

use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::error::{ProxyError, ProxyReply};
use super::url::Login;
use crate::tunnel::host::HostPort;

const VERSION: u8 = 5;
const LOGIN_VERSION: u8 = 1;

const NO_LOGIN: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const NO_METHOD: u8 = 0xFF;

const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// Says which ways to log in we know (RFC 1928, section 3).
pub(super) fn greeting(login: Option<&Login>) -> Vec<u8> {
    match login {
        Some(_) => vec![VERSION, 2, NO_LOGIN, USER_AND_PASSWORD],
        None => vec![VERSION, 1, NO_LOGIN],
    }
}

/// Follows the proxy through greeting, login and request.
pub(super) struct Talk {
    phase: Phase,
    /// What has come of the current frame.
    frame: Vec<u8>,
    /// The login to send if the proxy asks for it.
    login: Option<Vec<u8>>,
    /// The request to send when the proxy is content with us.
    request: Vec<u8>,
}

/// The frame that is awaited.
#[derive(Clone, Copy)]
enum Phase {
    Method,
    Login,
    Reply,
}

impl Talk {
    pub(super) fn new(server: &HostPort, login: Option<&Login>) -> Self {
        Self { phase: Phase::Method, frame: Vec::new(), login: login.map(login_frame), request: request_frame(server) }
    }

    /// See [`ProxyHandshake::receive`](super::ProxyHandshake::receive). Appends to `out` what to answer.
    pub(super) fn receive(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<bool, ProxyError> {
        loop {
            let length = match self.phase {
                Phase::Method | Phase::Login => 2,
                Phase::Reply => reply_length(&self.frame)?,
            };
            let missing = length - self.frame.len();
            if missing > 0 {
                if input.is_empty() {
                    return Ok(false);
                }
                let (now, rest) = input.split_at(missing.min(input.len()));
                self.frame.extend_from_slice(now);
                *input = rest;
                continue;
            }
            match (self.phase, &self.frame[..]) {
                (Phase::Method, [VERSION, NO_LOGIN]) => self.send_request(out),
                (Phase::Method, [VERSION, USER_AND_PASSWORD]) => {
                    out.append(self.login.as_mut().ok_or(ProxyError::NotSocks5)?);
                    self.phase = Phase::Login;
                }
                (Phase::Method, [VERSION, NO_METHOD]) if self.login.is_some() => return Err(ProxyError::LoginMethod),
                (Phase::Method, [VERSION, NO_METHOD]) => return Err(ProxyError::LoginMissing),
                (Phase::Method, _) => return Err(ProxyError::NotSocks5),
                // Some proxies give the version of SOCKS here, not that of the login. Only the status counts.
                (Phase::Login, [_, 0]) => self.send_request(out),
                (Phase::Login, _) => return Err(ProxyError::LoginRefused),
                (Phase::Reply, _) => return Ok(true),
            }
            self.frame.clear();
        }
    }

    fn send_request(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.request);
        self.phase = Phase::Reply;
    }
}

/// User name and password (RFC 1929, section 2). Both have at most 255 bytes.
fn login_frame(Login { user, password }: &Login) -> Vec<u8> {
    [&[LOGIN_VERSION, user.len() as u8], &user[..], &[password.len() as u8], password].concat()
}

/// Asks for a connection to `server` (RFC 1928, section 4). A scope has a meaning on this machine only and is left out.
fn request_frame(server: &HostPort) -> Vec<u8> {
    let mut frame = vec![VERSION, CONNECT, 0];
    match server.ip() {
        Some(IpAddr::V4(ip)) => {
            frame.push(IPV4);
            frame.extend(ip.octets());
        }
        Some(IpAddr::V6(ip)) => {
            frame.push(IPV6);
            frame.extend(ip.octets());
        }
        None => {
            // At most `NAME_LIMIT` bytes.
            frame.extend([NAME, server.host().len() as u8]);
            frame.extend(server.host().bytes());
        }
    }
    frame.extend(server.port().to_be_bytes());
    frame
}

/// How long a reply is (RFC 1928, section 6), as far as `frame`, its beginning, tells; always more than is there, until it
/// is whole. A refusal counts at once: not every proxy sends an address with it.
fn reply_length(frame: &[u8]) -> Result<usize, ProxyError> {
    match *frame {
        [] | [_] => Ok(2),
        [VERSION, 0] => Ok(5),
        [VERSION, 0, _, IPV4, ..] => Ok(4 + 4 + 2),
        [VERSION, 0, _, NAME, length, ..] => Ok(4 + 1 + usize::from(length) + 2),
        [VERSION, 0, _, IPV6, ..] => Ok(4 + 16 + 2),
        [VERSION, 0, _] | [VERSION, 0, _, NAME] => Ok(5),
        [VERSION, code, ..] if code != 0 => Err(refusal(code)),
        _ => Err(ProxyError::NotSocks5),
    }
}

fn refusal(code: u8) -> ProxyError {
    let reply = ProxyReply::Socks5(code);
    match code {
        2 => ProxyError::NotAllowed(reply),
        3..=6 => ProxyError::Unreachable(reply),
        7 | 8 => ProxyError::Unsupported(reply),
        _ => ProxyError::Failed(reply),
    }
}
