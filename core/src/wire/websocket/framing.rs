//! One connection as the rest of the crate sees it: the upgrade, then frames of ours in messages, or messages of a foreigner.

use alloc::boxed::Box;
use core::fmt;
use core::time::Duration;

use super::close::{Close, CloseCode};
use super::config::{Beats, SUBPROTOCOL, WebSocketConfig};
use super::foreign::Foreign;
use super::native::Native;
use super::opening::{Asking, Listening};
use super::upgrade::{Agreed, Offer};
use super::{Control, Incoming, Item, Limits, MaskKeys, Outgoing, Role, Violation, meaning, opening};
use crate::wire::{Credentials, Frame, Goodbye, Hello, Opening, Tx, Wire, WireError};

/// Foreign peers that send a long message may hear nothing from us for so long: some find a pong odd that they did not ask for,
/// but all that give up on whoever is silent wait longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// While fewer bytes than this wait to leave, every ping has a pong of its own. A peer that pings and does not read gets a
/// pong for the newest only (RFC 6455, section 5.5.3).
const PONGS_WAITING: u64 = 4096;

/// The framing of one WebSocket connection, for either side.
///
/// Two keepbeats that agree on [`SUBPROTOCOL`] send the frames of the native protocol in binary messages. With anybody else,
/// beats are pings (or what [`Beats`] says), messages are messages, and what arrived is known by the pongs behind it. Such a
/// peer has no session: on the next connection, what it has not acknowledged is sent again.
pub struct WebSocket {
    config: WebSocketConfig,
    incoming: Incoming,
    outgoing: Outgoing,
    role: Role,
    stage: Stage,
    /// The newest ping of the peer, which is to be answered. If too many answers wait to leave, it stands for those before it.
    ping: Option<Control>,
    /// We broke the connection off: for this.
    failed: Option<CloseCode>,
    /// Both sides have said their last word.
    closed: bool,
    /// More than a head came of who wants no WebSocket, and perhaps more follows.
    talks_on: bool,
}

enum Stage {
    /// A client's, until it was answered.
    Asking(Box<Asking<Box<Hello>>>),
    /// A server's, until it has a request.
    Listening(Box<Listening>),
    /// A foreigner's request waits for our answer.
    Offered(Box<Offered>),
    Native(Native),
    Foreign(Foreign),
    /// There was no WebSocket.
    Refused,
}

struct Offered {
    offer: Offer,
    random: u64,
}

impl WebSocket {
    /// A client reads the answer to its request.
    fn be_answered(&mut self, input: &mut &[u8], tx: &mut Tx) -> Result<Option<Frame>, WireError> {
        let Stage::Asking(asking) = &mut self.stage else { return Ok(None) };
        match asking.receive(input) {
            Ok(None) => Ok(None),
            Ok(Some((agreed, hello))) => {
                opening::agree(&agreed, &mut self.incoming, &mut self.outgoing);
                if agreed.subprotocol.as_deref() != Some(SUBPROTOCOL) {
                    self.stage = Stage::Foreign(Foreign::default());
                    let beats = self.config.settings().beats != Beats::None;
                    return Ok(Some(Frame::Welcome(Box::new(opening::welcome(&hello, beats)))));
                }
                self.become_native(None);
                self.encode(&Frame::Hello(hello), tx);
                Ok(None)
            }
            Err(Ok(refusal)) => {
                (self.stage, self.closed) = (Stage::Refused, true);
                Ok(Some(Frame::Refuse(Box::new(meaning::of_refusal(&refusal)))))
            }
            Err(Err(error)) => {
                (self.stage, self.closed) = (Stage::Refused, true);
                Err(error)
            }
        }
    }

    /// A server reads a request.
    fn be_asked(&mut self, input: &mut &[u8], tx: &mut Tx) -> Result<Option<Frame>, WireError> {
        let Stage::Listening(listening) = &mut self.stage else { return Ok(None) };
        let request = listening.receive(input);
        self.talks_on = !input.is_empty() || matches!(&request, Ok(Some(request)) if request.has_body());
        let Some(request) = request? else { return Ok(None) };
        let settings = self.config.settings();
        if !request.wants_upgrade()
            && let Some(page) = settings.pages.iter().find(|page| page.is_asked_for(&request))
        {
            tx.put(&page.head());
            tx.put_payload(&page.body);
            (self.stage, self.closed) = (Stage::Refused, !self.talks_on);
            return Ok(Some(Frame::Goodbye(Box::new(Goodbye::new(crate::wire::Reason::Closed, "")))));
        }
        let offer = listening.admit(request, settings)?;
        if offer.select(&[SUBPROTOCOL]).is_none() {
            let hello = listening.hello_of(&offer, settings.beats != Beats::None);
            let random = listening.random();
            self.stage = Stage::Offered(Box::new(Offered { offer, random }));
            return Ok(Some(Frame::Hello(Box::new(hello))));
        }
        self.answer(&offer, Some(SUBPROTOCOL), tx);
        self.become_native(Some(Box::new(offer)));
        Ok(None)
    }

    /// Writes the answer that opens the WebSocket.
    fn answer(&mut self, offer: &Offer, subprotocol: Option<&str>, tx: &mut Tx) {
        let agreed = Agreed {
            subprotocol: subprotocol.map(Into::into),
            #[cfg(feature = "deflate")]
            deflate: self.config.settings().deflate.as_ref().and_then(|config| offer.deflate(config)),
        };
        if let Ok(answer) = offer.accept(&agreed) {
            tx.put(&answer);
        }
        opening::agree(&agreed, &mut self.incoming, &mut self.outgoing);
    }

    fn become_native(&mut self, offer: Option<Box<Offer>>) {
        let frames = &self.config.settings().frames;
        self.incoming.limit(Limits::of_message(Native::room_for(frames.hello_limit())));
        self.stage = Stage::Native(Native::new(offer));
    }

    /// Takes what came of the WebSocket itself, until there is a frame.
    #[inline]
    fn next(&mut self, input: &mut &[u8], tx: &mut Tx) -> Result<Option<Frame>, WireError> {
        loop {
            if let Stage::Native(native) = &mut self.stage
                && native.has_rest()
                && let Some(frame) = native.next_of_rest(&self.config.settings().frames)
            {
                return self.mind(frame, tx).map(Some);
            }
            if let Stage::Native(native) = &mut self.stage
                && let Some((message, behind)) = self.incoming.peek_short_binary(input)
                && let Some(frame) = native.usual(message.as_slice())
            {
                *input = behind;
                return Ok(Some(frame));
            }
            if let Stage::Foreign(foreign) = &mut self.stage
                && let Some(ack) = foreign.take_acknowledgement()
            {
                return Ok(Some(ack));
            }
            let item = match self.incoming.next(input) {
                Ok(Some(item)) => item,
                Ok(None) => return Ok(None),
                Err(violation) => return Err(self.fail(violation)),
            };
            match (item, &mut self.stage) {
                (Item::Ping(ping), Stage::Native(native)) if !native.is_established() => {
                    // Nobody answers beats yet.
                    if tx.is_empty() {
                        self.outgoing.pong(&ping, tx);
                    }
                }
                (Item::Ping(ping), stage) => {
                    if let Some(earlier) = self.ping.replace(ping)
                        && tx.len() < PONGS_WAITING
                    {
                        self.outgoing.pong(&earlier, tx);
                    }
                    let seq = if let Stage::Native(native) = stage { native.last_beat() } else { 0 };
                    return Ok(Some(Frame::Beat { seq }));
                }
                (Item::Close(close), _) => return Ok(Some(self.be_closed(&close, tx))),
                (Item::Message(message), Stage::Native(native)) => {
                    if message.is_text() {
                        self.failed = Some(CloseCode::UNSUPPORTED_DATA);
                        let problem = "a message is text, where keepbeat.1 has binary ones";
                        return Err(WireError::Malformed { frame: "frame of WebSocket", problem });
                    }
                    let limits = &self.config.settings().frames;
                    let frame = native.first_of(message.into_payload(), limits);
                    return self.mind(frame, tx).map(Some);
                }
                (Item::Message(message), Stage::Foreign(foreign)) => {
                    return Ok(Some(foreign.hear(message, &self.config.settings().beats)));
                }
                (Item::Pong(pong), Stage::Foreign(foreign)) => {
                    return Ok(Some(foreign.be_ponged(&pong, &self.config.settings().beats, &mut self.outgoing, tx)));
                }
                (Item::Pong(_), _) => return Ok(Some(Frame::Unknown)),
                (Item::Message(_), _) => {}
            }
        }
    }

    /// Looks at a frame of the native protocol on its way to whoever asked for it.
    fn mind(&mut self, frame: Result<Frame, WireError>, tx: &mut Tx) -> Result<Frame, WireError> {
        match &frame {
            Ok(Frame::Goodbye(_) | Frame::Refuse(_)) => {
                // A close follows; ours need not wait for it.
                self.outgoing.close(&close_of(CloseCode::NORMAL), tx);
                self.closed = true;
            }
            Err(error) => self.failed = Some(code_of(error)),
            Ok(_) => {}
        }
        frame
    }

    fn be_closed(&mut self, close: &Close, tx: &mut Tx) -> Frame {
        self.outgoing.close(&close.answer(), tx);
        self.closed = true;
        Frame::Goodbye(Box::new(meaning::of_close(close, &self.config.settings().close_codes)))
    }

    fn fail(&mut self, violation: Violation) -> WireError {
        self.failed = Some(violation.code());
        // What was to be the answer to our close is none, and no other comes.
        self.closed |= self.outgoing.is_closed() && self.incoming.is_over();
        meaning::error(violation)
    }

    /// Whether this begins like a close of the peer's. It is a guess: we are out of step with its frames.
    fn begins_close(&self, input: &[u8]) -> bool {
        let masked = self.role == Role::Server;
        match input {
            [0x88] => true,
            [0x88, second, ..] => (second & 0x80 != 0) == masked,
            _ => false,
        }
    }

    /// Says goodbye, in whatever way the peer understands at this point.
    fn part(&mut self, goodbye: &Goodbye, frame: &Frame, tx: &mut Tx) {
        match &mut self.stage {
            Stage::Listening(_) | Stage::Offered(_) => {
                let (refused, random) = match &self.stage {
                    Stage::Listening(listening) => (listening.refused(), listening.random()),
                    Stage::Offered(offered) => (None, offered.random),
                    _ => (None, 0),
                };
                let (status, retry_after) = meaning::status(goodbye, random);
                tx.put(&super::upgrade::refuse(refused.unwrap_or(status), retry_after));
                (self.stage, self.closed) = (Stage::Refused, !self.talks_on);
            }
            Stage::Native(native) => {
                native.say(frame, &self.config.settings().frames, &mut self.outgoing, tx);
                self.outgoing.close(&meaning::close(goodbye, self.role, self.failed), tx);
            }
            Stage::Foreign(_) => self.outgoing.close(&meaning::close(goodbye, self.role, self.failed), tx),
            Stage::Asking(_) | Stage::Refused => self.closed = true,
        }
        // Nobody answers our close with a second one.
        self.closed |= self.incoming.is_over();
    }

    #[inline(never)]
    fn encode_other(&mut self, frame: &Frame, tx: &mut Tx) {
        match (frame, &mut self.stage) {
            (Frame::Goodbye(goodbye) | Frame::Refuse(goodbye), _) => self.part(goodbye, frame, tx),
            (Frame::Hello(hello), Stage::Asking(asking)) => {
                // The credentials were checked before an attempt began.
                if let Ok(request) = self.config.settings().authorized(&hello.credentials) {
                    tx.put(&asking.ask(&request, hello.clone()));
                }
            }
            (Frame::Welcome(_), Stage::Offered(_)) => {
                let stage = core::mem::replace(&mut self.stage, Stage::Foreign(Foreign::default()));
                if let Stage::Offered(offered) = stage {
                    let subprotocol = self.config.settings().select(&offered.offer);
                    self.answer(&offered.offer, subprotocol.as_deref(), tx);
                }
            }
            (_, Stage::Native(native)) => native.say(frame, &self.config.settings().frames, &mut self.outgoing, tx),
            (_, Stage::Foreign(foreign)) => {
                foreign.say(frame, &self.config.settings().beats, &mut self.outgoing, tx);
            }
            _ => {}
        }
    }
}

impl Wire for WebSocket {
    type Config = WebSocketConfig;
    type Memory = ();

    fn new(config: &WebSocketConfig, opening: Opening<'_>, (): ()) -> Self {
        let Opening { role, server, secure, entropy, .. } = opening;
        let limit = config.settings().frames.message_limit();
        let (stage, outgoing) = match role {
            Role::Client => {
                let mut seed = [0; 32];
                entropy.fill(&mut seed);
                let asking = Asking::new(server.cloned(), secure, entropy);
                (Stage::Asking(Box::new(asking)), Outgoing::client(MaskKeys::new(seed)))
            }
            Role::Server => (Stage::Listening(Box::new(Listening::new(entropy))), Outgoing::server()),
        };
        let incoming = Incoming::new(role, Limits::of_message(limit));
        let (config, talks_on) = (config.clone(), false);
        Self { config, incoming, outgoing, role, stage, ping: None, failed: None, closed: false, talks_on }
    }

    #[inline]
    fn decode(&mut self, input: &mut &[u8], tx: &mut Tx) -> Result<Option<Frame>, WireError> {
        if self.failed.is_some() {
            // We have said why, and read no more. What comes may have been on its way: if we hung up before all of it has come,
            // TCP would take back what we said (RFC 1122, section 4.2.2.13).
            self.closed |= self.outgoing.is_closed() && self.begins_close(input);
            *input = &[];
            return Ok(None);
        }
        loop {
            let frame = match &self.stage {
                Stage::Native(_) | Stage::Foreign(_) => return self.next(input, tx),
                Stage::Asking(_) => self.be_answered(input, tx)?,
                Stage::Listening(_) => self.be_asked(input, tx)?,
                Stage::Offered(_) if !input.is_empty() => {
                    self.talks_on = true;
                    let expected = "nothing before the answer to the request";
                    return Err(WireError::Unexpected { frame: "frame of WebSocket", expected });
                }
                Stage::Offered(_) | Stage::Refused => {
                    *input = &[];
                    return Ok(None);
                }
            };
            if frame.is_some() || matches!(self.stage, Stage::Asking(_) | Stage::Listening(_)) {
                return Ok(frame);
            }
        }
    }

    fn encode_rest(&mut self, tx: &mut Tx) -> bool {
        let more = self.outgoing.rest(tx);
        if more && let Stage::Foreign(foreign) = &mut self.stage {
            foreign.has_left(&self.config.settings().beats, &mut self.outgoing, tx);
        }
        more
    }

    fn is_same_frame(&mut self, others: bool) -> bool {
        // Control frames may have ended between its fragments.
        self.incoming.is_same_message() == Some(true) || !others
    }

    fn holds_beat(&self) -> bool {
        matches!(&self.stage, Stage::Foreign(foreign) if foreign.owes_request())
    }

    fn mid_frame(&self) -> bool {
        self.incoming.is_unfinished()
    }

    fn patience(&self) -> Duration {
        if let Stage::Foreign(_) = self.stage { PATIENCE } else { Duration::ZERO }
    }

    fn show_life(&mut self, tx: &mut Tx) {
        if let Stage::Foreign(_) = self.stage {
            self.outgoing.pong(&Control::EMPTY, tx);
        }
    }

    #[inline]
    fn encode(&mut self, frame: &Frame, tx: &mut Tx) {
        if let Frame::Echo { .. } = frame
            && let Some(ping) = self.ping.take()
        {
            self.outgoing.pong(&ping, tx);
            let owes_more = match &self.stage {
                Stage::Native(native) => native.owes_echo(),
                Stage::Foreign(foreign) => foreign.owes_reply(),
                _ => false,
            };
            if !owes_more {
                return;
            }
        }
        self.encode_other(frame, tx);
    }

    fn established(&mut self) {
        if let Stage::Native(native) = &mut self.stage {
            native.establish();
            let limit = self.config.settings().frames.message_limit();
            self.incoming.limit(Limits::of_message(Native::room_for(limit)));
        }
    }

    fn acknowledges(&self) -> bool {
        !matches!(self.stage, Stage::Foreign(_)) || matches!(self.config.settings().beats, Beats::Ping)
    }

    fn left(&mut self) -> Option<u64> {
        match &self.stage {
            Stage::Foreign(foreign) if !self.acknowledges() => Some(foreign.left(&self.outgoing)),
            _ => None,
        }
    }

    fn beats(&self) -> bool {
        !matches!(self.stage, Stage::Foreign(_)) || self.config.settings().beats != Beats::None
    }

    fn keeps_session(&self) -> bool {
        !matches!(self.stage, Stage::Foreign(_))
    }

    fn is_closed(&self) -> bool {
        self.closed
    }

    fn offer(&mut self) -> Option<Box<Offer>> {
        match &mut self.stage {
            Stage::Offered(offered) => Some(Box::new(offered.offer.clone())),
            Stage::Native(native) => native.offer.take(),
            _ => None,
        }
    }

    fn message_limit(config: &WebSocketConfig) -> usize {
        config.settings().frames.message_limit()
    }

    fn needs_server_name(_: &WebSocketConfig) -> bool {
        true
    }

    fn idle_limit(config: &WebSocketConfig) -> Option<Duration> {
        let settings = config.settings();
        if settings.beats == Beats::None && !settings.offers_native() { None } else { settings.idle_limit }
    }

    fn takes_credentials(config: &WebSocketConfig, credentials: &Credentials) -> bool {
        config.settings().authorized(credentials).is_ok()
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("role", &self.role)
            .field("incoming", &self.incoming)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

fn close_of(code: CloseCode) -> Close {
    Close::new(code, "").unwrap_or(Close::EMPTY)
}

const fn code_of(error: &WireError) -> CloseCode {
    match error {
        WireError::TooLarge { .. } => CloseCode::MESSAGE_TOO_BIG,
        _ => CloseCode::PROTOCOL_ERROR,
    }
}
