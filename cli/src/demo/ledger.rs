//! Who sent what, and what arrived: lost, delivered, duplicated.

/// Bytes before the padding: the link and the number.
const HEADER: usize = 12;

/// The messages of one direction of one link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    sent: u64,
    /// The number that comes next if nothing is lost.
    expected: u64,
    delivered: u64,
    duplicated: u64,
    /// Whether one may come again.
    at_least_once: bool,
    /// So many did.
    repeated: u64,
    /// Not what was sent.
    garbled: u64,
}

/// Sums over ledgers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) sent: u64,
    pub(super) delivered: u64,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    pub(super) repeated: u64,
    pub(super) garbled: u64,
}

impl Ledger {
    /// Of messages that may come again.
    pub(super) fn at_least_once() -> Self {
        Self { at_least_once: true, ..Self::default() }
    }

    /// Whether no message may come again.
    pub(super) const fn is_exactly_once(&self) -> bool {
        !self.at_least_once
    }

    /// The next message of `link`, of at least `length` bytes. It counts as sent: nobody may find all delivered while it
    /// is handed over.
    pub(super) fn next_message(&mut self, link: usize, length: usize) -> Vec<u8> {
        let mut message = Vec::with_capacity(length.max(HEADER));
        message.extend_from_slice(&(link as u32).to_be_bytes());
        message.extend_from_slice(&self.sent.to_be_bytes());
        message.resize(length.max(HEADER), padding(self.sent));
        self.sent += 1;
        message
    }

    /// The link did not take the last one.
    pub(super) const fn not_accepted(&mut self) {
        self.sent -= 1;
    }

    /// A message arrived. One that comes behind its successor counts as lost where it should have been, and as
    /// duplicated, or repeated, where it came. Says what is wrong with it.
    pub(super) fn arrived(&mut self, link: usize, message: &[u8]) -> Option<String> {
        let Some(number) = read(link, message) else {
            self.garbled += 1;
            return Some("a message came that was not sent so".to_owned());
        };
        let expected = self.expected;
        if number < expected && self.at_least_once {
            self.repeated += 1;
            return None;
        }
        if number < expected {
            self.duplicated += 1;
            return Some(format!("message {number} came after {}", expected - 1));
        }
        self.expected = number + 1;
        self.delivered += 1;
        (number > expected).then(|| format!("message {number} came, and not {expected}"))
    }

    /// Messages that are under way, or lost.
    pub(super) const fn missing(&self) -> u64 {
        self.sent.saturating_sub(self.delivered)
    }
}

impl Totals {
    pub(super) fn of<'a>(ledgers: impl IntoIterator<Item = &'a Ledger>) -> Self {
        ledgers.into_iter().fold(Self::default(), |sum, ledger| Self {
            sent: sum.sent + ledger.sent,
            delivered: sum.delivered + ledger.delivered,
            lost: sum.lost + ledger.missing(),
            duplicated: sum.duplicated + ledger.duplicated,
            repeated: sum.repeated + ledger.repeated,
            garbled: sum.garbled + ledger.garbled,
        })
    }
}

const fn padding(number: u64) -> u8 {
    number as u8 ^ 0xA5
}

/// The number of a message of this link; `None` if it is not one.
fn read(link: usize, message: &[u8]) -> Option<u64> {
    let (of, rest) = message.split_first_chunk::<4>()?;
    let (number, rest) = rest.split_first_chunk::<8>()?;
    let number = u64::from_be_bytes(*number);
    let intact = u32::from_be_bytes(*of) as usize == link && rest.iter().all(|&byte| byte == padding(number));
    intact.then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ledger that sent this many, and the messages.
    fn sent(count: u64) -> (Ledger, Vec<Vec<u8>>) {
        let mut ledger = Ledger::default();
        let messages = (0..count).map(|_| ledger.next_message(3, 20)).collect();
        (ledger, messages)
    }

    #[test]
    fn what_arrives_in_order_is_delivered() {
        let (mut ledger, messages) = sent(3);
        for message in &messages {
            assert_eq!(ledger.arrived(3, message), None);
        }
        let totals = Totals::of([&ledger, &ledger]);
        assert_eq!(totals, Totals { sent: 6, delivered: 6, ..Totals::default() });
    }

    #[test]
    fn what_was_not_accepted_was_not_sent() {
        let (mut ledger, mut messages) = sent(2);
        ledger.not_accepted();
        messages[1] = ledger.next_message(3, 40);
        for message in &messages {
            assert_eq!(ledger.arrived(3, message), None);
        }
        assert_eq!(Totals::of([&ledger]), Totals { sent: 2, delivered: 2, ..Totals::default() });
    }

    #[test]
    fn a_gap_is_a_loss_and_a_repetition_a_duplicate() {
        let (mut ledger, messages) = sent(4);
        for index in [0, 2, 2, 3] {
            drop(ledger.arrived(3, &messages[index]));
        }
        let totals = Totals::of([&ledger]);
        assert_eq!((totals.delivered, totals.lost, totals.duplicated), (3, 1, 1));
    }

    #[test]
    fn what_may_come_again_is_no_duplicate_but_may_not_be_lost() {
        let (_, messages) = sent(4);
        let mut ledger = Ledger { sent: 4, ..Ledger::at_least_once() };
        for index in [0, 1, 0, 1, 3] {
            drop(ledger.arrived(3, &messages[index]));
        }
        let totals = Totals::of([&ledger]);
        assert_eq!((totals.delivered, totals.lost, totals.duplicated, totals.repeated), (3, 1, 0, 2));
    }

    #[test]
    fn a_late_message_counts_as_lost_and_as_duplicated() {
        let (mut ledger, messages) = sent(3);
        for index in [0, 2, 1] {
            drop(ledger.arrived(3, &messages[index]));
        }
        let totals = Totals::of([&ledger]);
        assert_eq!((totals.delivered, totals.lost, totals.duplicated), (2, 1, 1));
    }

    #[test]
    fn what_is_not_a_message_of_this_link_is_garbled() {
        let (mut ledger, mut messages) = sent(2);
        assert!(ledger.arrived(4, &messages[0]).is_some());
        messages[1][19] ^= 1;
        assert!(ledger.arrived(3, &messages[1]).is_some());
        assert!(ledger.arrived(3, b"short").is_some());
        assert_eq!(Totals::of([&ledger]).garbled, 3);
    }
}
