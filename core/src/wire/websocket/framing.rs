//! One connection as the rest of the crate sees it: the upgrade, then frames of ours in messages, or messages of a foreigner.

use alloc::boxed::Box;
use core::fmt;
use core::time::Duration;

use super::close::{Close, CloseCode};
use super::config::{Beats, SUBPROTOCOL, WebSocketConfig};
use super::foreign::Foreign;
use super::incoming::Work;
use super::native::Native;
use super::opening::{Asking, Listening};
use super::upgrade::{Agreed, Offer};
use super::{Control, Incoming, Item, Limits, MaskKeys, Outgoing, Role, Violation, control, meaning, opening};
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
    stage: Stage,
    /// What [`Incoming`] keeps.
    work: Option<Box<Work>>,
    outgoing: Outgoing,
    role: Role,
    /// A ping was answered, and nobody has asked for that yet.
    ponged: bool,
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
    Foreign(Box<Foreign>),
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
                self.agree(&agreed);
                if agreed.subprotocol.as_deref() != Some(SUBPROTOCOL) {
                    self.stage = Stage::Foreign(Box::default());
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
        self.agree(&agreed);
    }

    fn agree(&mut self, agreed: &Agreed) {
        let mut incoming = Incoming::with_work(self.role, self.limits(), self.work.take());
        opening::agree(agreed, &mut incoming, &mut self.outgoing);
        self.work = incoming.into_work();
    }

    fn become_native(&mut self, offer: Option<Box<Offer>>) {
        self.stage = Stage::Native(Native::new(offer));
    }

    /// Takes what came of the WebSocket itself, until there is a frame.
    #[inline]
    fn next(&mut self, input: &mut &[u8], tx: &mut Tx) -> Result<Option<Frame>, WireError> {
        loop {
            if let Stage::Native(native) = &mut self.stage
                && let Some(frame) = native.next_of_rest(&self.config.settings().frames)
            {
                return self.mind(frame, tx).map(Some);
            }
            if let Stage::Foreign(foreign) = &mut self.stage
                && let Some(ack) = foreign.take_acknowledgement()
            {
                return Ok(Some(ack));
            }
            let item = match self.read(input) {
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
                    if tx.len() < PONGS_WAITING {
                        self.outgoing.pong(&ping, tx);
                        self.ponged = true;
                    } else {
                        self.outgoing.owe(ping);
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

    // Kept out of line, so that the path of a beat is small enough to be inlined.
    #[inline(never)]
    fn decode_any(&mut self, input: &mut &[u8], tx: &mut Tx) -> Result<Option<Frame>, WireError> {
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

    /// Whether a frame of the native protocol in a message of its own can be next.
    #[inline]
    fn is_at_rest(&self) -> bool {
        matches!(&self.stage, Stage::Native(native) if native.is_at_rest())
            && self.work.as_ref().is_none_or(|work| work.is_at_rest())
            && self.failed.is_none()
    }

    /// A beat or its answer, if that is next.
    #[inline]
    fn next_usual(&mut self, input: &mut &[u8]) -> Option<Frame> {
        let Stage::Native(native) = &mut self.stage else { return None };
        let (message, behind) = control::read_short_binary(self.role, input)?;
        let frame = native.usual(message.as_slice())?;
        *input = behind;
        Some(frame)
    }

    fn read(&mut self, input: &mut &[u8]) -> Result<Option<Item>, Violation> {
        let mut incoming = Incoming::with_work(self.role, self.limits(), self.work.take());
        let item = incoming.next(input);
        self.work = incoming.into_work();
        item
    }

    fn limits(&self) -> Limits {
        let frames = &self.config.settings().frames;
        Limits::of_message(match &self.stage {
            Stage::Native(native) if native.is_established() => Native::room_for(frames.message_limit()),
            Stage::Native(_) => Native::room_for(frames.hello_limit()),
            _ => frames.message_limit(),
        })
    }

    /// Whether the peer has said its last word in the WebSocket.
    fn is_over(&self) -> bool {
        self.work.as_ref().is_some_and(|work| work.is_over())
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
        self.closed |= self.outgoing.is_closed() && self.is_over();
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
            Stage::Listening(listening) => {
                let (refused, random) = (listening.refused(), listening.random());
                self.refuse(goodbye, refused, random, tx);
            }
            Stage::Offered(offered) => {
                let random = offered.random;
                self.refuse(goodbye, None, random, tx);
            }
            Stage::Native(native) => {
                native.say(frame, &self.config.settings().frames, &mut self.outgoing, tx);
                self.outgoing.close(&meaning::close(goodbye, self.role, self.failed), tx);
            }
            Stage::Foreign(_) => self.outgoing.close(&meaning::close(goodbye, self.role, self.failed), tx),
            Stage::Asking(_) | Stage::Refused => self.closed = true,
        }
        // Nobody answers our close with a second one.
        self.closed |= self.is_over();
    }

    /// Answers a request with a status of HTTP: this one, or what the goodbye means.
    fn refuse(&mut self, goodbye: &Goodbye, status: Option<u16>, random: u64, tx: &mut Tx) {
        let (usual, retry_after) = meaning::status(goodbye, random);
        tx.put(&super::upgrade::refuse(status.unwrap_or(usual), retry_after));
        (self.stage, self.closed) = (Stage::Refused, !self.talks_on);
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
                let stage = core::mem::replace(&mut self.stage, Stage::Foreign(Box::default()));
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
        let (stage, outgoing) = match role {
            Role::Client => {
                let mut seed = [0; 32];
                entropy.fill(&mut seed);
                let asking = Asking::new(server.cloned(), secure, entropy);
                (Stage::Asking(Box::new(asking)), Outgoing::client(MaskKeys::new(seed)))
            }
            Role::Server => (Stage::Listening(Box::new(Listening::new(entropy))), Outgoing::server()),
        };
        let (config, work, failed) = (config.clone(), None, None);
        Self { config, stage, work, outgoing, role, ponged: false, failed, closed: false, talks_on: false }
    }

    #[inline]
    fn decode(&mut self, input: &mut &[u8], tx: &mut Tx) -> Result<Option<Frame>, WireError> {
        if self.is_at_rest() {
            if input.is_empty() {
                return Ok(None);
            }
            if let Some(frame) = self.next_usual(input) {
                return Ok(Some(frame));
            }
        }
        self.decode_any(input, tx)
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
        self.work.as_mut().is_some_and(|work| work.is_same_message()) || !others
    }

    fn holds_beat(&self) -> bool {
        matches!(&self.stage, Stage::Foreign(foreign) if foreign.owes_request())
    }

    fn mid_frame(&self) -> bool {
        self.work.as_ref().is_some_and(|work| work.is_unfinished())
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
            && (core::mem::take(&mut self.ponged) | self.outgoing.pay(tx))
        {
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
        }
    }

    fn acknowledges(&self) -> bool {
        !matches!(self.stage, Stage::Foreign(_)) || matches!(self.config.settings().beats, Beats::Ping)
    }

    fn left(&mut self) -> Option<u64> {
        let acknowledges = self.acknowledges();
        match &mut self.stage {
            Stage::Foreign(foreign) if !acknowledges => Some(foreign.take_left(&self.outgoing)),
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
            Stage::Native(native) => native.take_offer(),
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
            .field("mid_frame", &self.mid_frame())
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
