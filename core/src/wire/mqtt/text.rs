//! Strings: any (MQTT 5.0, section 1.5.4), topic names and topic filters (section 4.7).

use alloc::borrow::Cow;
use core::fmt;

use super::rule::{self, Checked, Rule};

/// The longest string or binary field, in bytes: its length has 16 bits.
pub const FIELD_LIMIT: usize = 0xFFFF;

/// A level of a filter that matches any one level.
const ONE_LEVEL: &str = "+";

/// A last level of a filter that matches any number of levels.
const ALL_LEVELS: &str = "#";

/// What a shared subscription begins with.
const SHARE: &str = "$share/";

/// A string that MQTT can carry: at most [`FIELD_LIMIT`] bytes, without U+0000.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<'a>(Cow<'a, str>);

/// The name of a topic, to which messages are published: a [`Text`] that is not empty and has no `+` and no `#`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic<'a>(
    /// UTF-8. What came is not turned into a string, which would look at every byte by itself.
    Cow<'a, [u8]>,
);

/// Which topics a subscription is for: a [`Text`] that is not empty, in which `+` stands for a level and `#` at the end for any
/// number of them. With `$share/NAME/` in front, whoever says the same name shares the messages (MQTT 5.0, section 4.8.2; to many
/// servers of 3.1.1 it means the same, though the standard does not say so). In MQTT 5.0, nothing else can begin with `$share/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Filter<'a>(Cow<'a, str>);

macro_rules! strings {
    ($($name:ident $check:ident)*) => {$(
        impl<'a> $name<'a> {
            /// Checks a string.
            ///
            /// # Errors
            /// The rule that it breaks.
            pub fn new(text: impl Into<Cow<'a, str>>) -> Result<Self, &'static Rule> {
                let text = text.into();
                $check(&text)?;
                Ok(Self(text))
            }

            /// Checks what came.
            pub(super) fn read(bytes: &'a [u8]) -> Checked<Self> {
                let text = core::str::from_utf8(bytes).map_err(|_| &rule::NOT_UTF8)?;
                $check(text)?;
                Ok(Self(Cow::Borrowed(text)))
            }

            /// The string.
            #[must_use]
            #[inline]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The same, borrowed from this one.
            #[must_use]
            pub fn borrowed(&self) -> $name<'_> {
                $name(Cow::Borrowed(&self.0))
            }

            /// The same, with a copy of what was borrowed.
            #[must_use]
            pub fn into_owned(self) -> $name<'static> {
                $name(Cow::Owned(self.0.into_owned()))
            }
        }

        impl AsRef<str> for $name<'_> {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

strings! { Text check_text Filter check_filter }

impl Filter<'_> {
    /// Of a shared subscription: its share name, and the filter that is compared with topics.
    #[must_use]
    pub fn share(&self) -> Option<(&str, &str)> {
        let (name, filter) = self.0.strip_prefix(SHARE)?.split_once('/')?;
        let is_whole = !name.is_empty() && !filter.is_empty() && !name.contains(['+', '#']);
        is_whole.then_some((name, filter))
    }

    /// Checks what MQTT 5.0 asks of a filter: if it begins as a shared subscription, it is one.
    pub(super) fn check_share(&self) -> Checked<()> {
        if self.0.starts_with(SHARE) && self.share().is_none() { Err(&rule::FILTER_SHARE) } else { Ok(()) }
    }

    /// Whether messages to this topic are for this subscription (MQTT 5.0, section 4.7). Wildcards do not stand for a first level
    /// that begins with `$`.
    #[must_use]
    pub fn matches(&self, topic: &Topic<'_>) -> bool {
        let filter = self.share().map_or(self.as_str(), |(_, filter)| filter);
        let topic = topic.as_bytes();
        if topic.starts_with(b"$") && filter.starts_with(['+', '#']) {
            return false;
        }
        let (mut wanted, mut levels) = (filter.split('/'), topic.split(|byte| *byte == b'/'));
        loop {
            match (wanted.next(), levels.next()) {
                (Some(ALL_LEVELS), _) | (None, None) => return true,
                (Some(ONE_LEVEL), Some(_)) => {}
                (Some(wanted), Some(level)) if wanted.as_bytes() == level => {}
                _ => return false,
            }
        }
    }
}

impl<'a> Topic<'a> {
    /// Checks a string.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn new(text: impl Into<Cow<'a, str>>) -> Result<Self, &'static Rule> {
        let text = text.into();
        check_topic(&text)?;
        Ok(Self(match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        }))
    }

    /// Checks what came.
    #[inline]
    pub(super) fn read(bytes: &'a [u8]) -> Checked<Self> {
        if !is_plain(bytes) {
            check_unusual(bytes)?;
        }
        Ok(Self(Cow::Borrowed(bytes)))
    }

    /// What was checked.
    pub(super) const fn unchecked(bytes: &'a [u8]) -> Self {
        Self(Cow::Borrowed(bytes))
    }

    /// The string. Every call looks at all of it: to compare it, or to take it apart, [`Topic::as_bytes`] is faster.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // It was checked.
        core::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The bytes of the string.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same, borrowed from this one.
    #[must_use]
    pub fn borrowed(&self) -> Topic<'_> {
        Topic(Cow::Borrowed(&self.0))
    }

    /// The same, with a copy of what was borrowed.
    #[must_use]
    pub fn into_owned(self) -> Topic<'static> {
        Topic(Cow::Owned(self.0.into_owned()))
    }
}

impl AsRef<str> for Topic<'_> {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for Topic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Topic").field(&self.as_str()).finish()
    }
}

impl fmt::Display for Topic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether there is a wildcard; refuses U+0000.
fn check_signs(text: &str) -> Checked<bool> {
    if text.len() > FIELD_LIMIT {
        return Err(&rule::TOO_LONG);
    }
    if is_plain(text.as_bytes()) || !text.contains(['\0', '#', '+']) {
        return Ok(false);
    }
    if text.contains('\0') { Err(&rule::NULL_CHARACTER) } else { Ok(true) }
}

// Kept out of line, so that the path of what mostly comes is small.
#[inline(never)]
fn check_unusual(topic: &[u8]) -> Checked<()> {
    check_topic(core::str::from_utf8(topic).map_err(|_| &rule::NOT_UTF8)?)
}

/// Whether there is something, and nothing but ASCII without wildcards and U+0000.
#[inline]
fn is_plain(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some((word, behind)) = rest.split_first_chunk() {
        if is_special(*word) {
            return false;
        }
        rest = behind;
    }
    if rest.is_empty() {
        return !bytes.is_empty();
    }
    match bytes.last_chunk() {
        // Some of its bytes are looked at again.
        Some(word) => !is_special(*word),
        None => !rest.iter().any(|byte| matches!(byte, 0 | b'#' | b'+' | 0x80..)),
    }
}

/// Whether one of the bytes is a wildcard, U+0000 or no ASCII.
#[inline]
const fn is_special(word: [u8; 8]) -> bool {
    let word = u64::from_ne_bytes(word);
    zeros(word) | zeros((word | DIFFERENCE) ^ PLUSES) | word & HIGHEST != 0
}

/// Every byte of it is 1.
const ONES: u64 = u64::MAX / 0xFF;

/// The highest bit of every byte.
const HIGHEST: u64 = ONES << 7;

/// In which bit `#` and `+` differ.
const DIFFERENCE: u64 = ONES * 0x08;

/// Every byte of it is `+`.
const PLUSES: u64 = ONES * 0x2B;

/// Not 0 if a byte of the word is.
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHEST
}

fn check_text(text: &str) -> Checked<()> {
    check_signs(text).map(|_| ())
}

fn check_topic(text: &str) -> Checked<()> {
    match check_signs(text)? {
        true => Err(&rule::TOPIC_WILDCARD),
        false if text.is_empty() => Err(&rule::TOPIC_EMPTY),
        false => Ok(()),
    }
}

fn check_filter(text: &str) -> Checked<()> {
    let wildcard = check_signs(text)?;
    if text.is_empty() {
        return Err(&rule::TOPIC_EMPTY);
    }
    if !wildcard {
        return Ok(());
    }
    let mut levels = text.split('/').peekable();
    while let Some(level) = levels.next() {
        let alone = level == ONE_LEVEL || (level == ALL_LEVELS && levels.peek().is_none());
        if !alone && level.contains(['+', '#']) {
            return Err(&rule::FILTER_WILDCARD);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_has_no_null_and_at_most_65535_bytes() {
        assert!(Text::new("a".repeat(FIELD_LIMIT)).is_ok());
        assert_eq!(Text::new("a".repeat(FIELD_LIMIT + 1)), Err(&rule::TOO_LONG));
        assert_eq!(Text::new("a\0b"), Err(&rule::NULL_CHARACTER));
        assert_eq!(Text::read(b"a\0b"), Err(&rule::NULL_CHARACTER));
        // Section 1.5.4.1 has U+2A6D4 as an example, section 1.5.4 the mark that is no mark here.
        for text in ["", "A\u{2A6D4}", "\u{FEFF}a", "\u{1}\u{FFFF}", "+#"] {
            assert_eq!(Text::read(text.as_bytes()).unwrap().as_str(), text);
        }
        for bytes in [&b"\xED\xA0\x80"[..], b"\xED\xBF\xBF", b"\xC0\x80", b"\xF4\x90\x80\x80", b"\x80", b"a\xC3"] {
            assert_eq!(Text::read(bytes), Err(&rule::NOT_UTF8), "{bytes:02x?}");
        }
    }

    #[test]
    fn a_topic_has_a_character_and_no_wildcard() {
        for topic in ["a", "/", "/finance", "a//b", "ACCOUNTS payable", "$SYS/x", " ", "$share/x"] {
            assert!(Topic::new(topic).is_ok(), "{topic}");
        }
        assert_eq!(Topic::new(""), Err(&rule::TOPIC_EMPTY));
        for topic in ["+", "a/#", "sport+", "a/+/b"] {
            assert_eq!(Topic::new(topic), Err(&rule::TOPIC_WILDCARD), "{topic}");
        }
        assert_eq!(Topic::new("#\0"), Err(&rule::NULL_CHARACTER));
    }

    /// Sections 4.7.1.2 and 4.7.1.3.
    #[test]
    fn wildcards_of_a_filter_are_levels_of_their_own() {
        for filter in
            ["sport/tennis/#", "#", "+", "+/tennis/#", "sport/+/player1", "/+", "+/+", "//", "$share", "$share/a/#"]
        {
            assert!(Filter::new(filter).is_ok(), "{filter}");
        }
        for filter in ["sport/tennis#", "sport/tennis/#/ranking", "sport+", "##", "+#", "a/++", "#/"] {
            assert_eq!(Filter::new(filter), Err(&rule::FILTER_WILDCARD), "{filter}");
        }
        assert_eq!(Filter::new(""), Err(&rule::TOPIC_EMPTY));
    }

    /// Section 4.8.2.
    #[test]
    fn a_shared_subscription_has_a_name_and_a_filter() {
        for (filter, share) in
            [("$share/a/b/+", ("a", "b/+")), ("$share/a//", ("a", "/")), ("$share/$a/$share/b/c", ("$a", "$share/b/c"))]
        {
            let filter = Filter::new(filter).unwrap();
            assert_eq!((filter.share(), filter.check_share()), (Some(share), Ok(())), "{filter}");
        }
        for filter in ["$share/", "$share/a", "$share//b", "$share/a/", "$share/+/b"] {
            let filter = Filter::new(filter).unwrap();
            assert_eq!((filter.share(), filter.check_share()), (None, Err(&rule::FILTER_SHARE)), "{filter}");
        }
        for filter in ["$share", "$shared/a", "a/$share/b"] {
            let filter = Filter::new(filter).unwrap();
            assert_eq!((filter.share(), filter.check_share()), (None, Ok(())), "{filter}");
        }
        assert_eq!(Filter::new("$share/a#/b"), Err(&rule::FILTER_WILDCARD));
    }

    #[test]
    fn a_sign_is_found_wherever_it_is() {
        for length in 1..40 {
            for at in 0..length {
                let with = |sign: &str| ["a".repeat(at).as_str(), sign, &"\u{AB}".repeat(length - at)].concat();
                for (sign, error) in [
                    ("\0", Err(&rule::NULL_CHARACTER)),
                    ("+", Err(&rule::TOPIC_WILDCARD)),
                    ("#", Err(&rule::TOPIC_WILDCARD)),
                    ("+\0", Err(&rule::NULL_CHARACTER)),
                ] {
                    let topic = with(sign);
                    assert_eq!(Topic::read(topic.as_bytes()), error, "{topic:?}");
                    assert_eq!(Topic::new(topic.as_str()), error, "{topic:?}");
                }
                // Their neighbours are none, nor is what has one bit more.
                for sign in ["\u{1}", "\"", "$", "*", ",", "\u{7F}", "\u{A3}", "\u{AB}"] {
                    let topic = with(sign);
                    assert_eq!(Topic::read(topic.as_bytes()).unwrap().as_str(), topic);
                    assert!(Topic::new(topic.as_str()).is_ok(), "{topic:?}");
                }
            }
        }
        for (bytes, error) in
            [(&b""[..], &rule::TOPIC_EMPTY), (b"a\xC3", &rule::NOT_UTF8), (b"longer topics\xC3", &rule::NOT_UTF8)]
        {
            assert_eq!(Topic::read(bytes), Err(error));
        }
    }

    #[test]
    fn filters_match_as_the_standard_says() {
        for (filter, yes, no) in [
            (
                "sport/tennis/player1/#",
                &["sport/tennis/player1", "sport/tennis/player1/score/wimbledon"][..],
                &["sport/tennis"][..],
            ),
            (
                "sport/tennis/+",
                &["sport/tennis/player1", "sport/tennis/"],
                &["sport/tennis", "sport/tennis/player1/ranking"],
            ),
            ("sport/+", &["sport/"], &["sport"]),
            ("+/+", &["/finance"], &["a", "$SYS/a"]),
            ("/+", &["/finance"], &["finance", "//"]),
            ("+", &["a"], &["/finance", "$SYS"]),
            ("#", &["a", "/a/b"], &["$SYS/monitor/Clients"]),
            ("$SYS/#", &["$SYS", "$SYS/monitor/Clients"], &["$SYSX"]),
            ("$SYS/monitor/+", &["$SYS/monitor/Clients"], &["$SYS/monitor"]),
            ("$share/consumer1/sport/#", &["sport", "sport/tennis"], &["$share/consumer1/sport/x"]),
            ("$share/c/#", &["a"], &["$SYS/a"]),
            ("a", &["a"], &["A", "/a", "a/"]),
        ] {
            let filter = Filter::new(filter).unwrap();
            for topic in yes {
                assert!(filter.matches(&Topic::new(*topic).unwrap()), "{filter} and {topic}");
            }
            for topic in no {
                assert!(!filter.matches(&Topic::new(*topic).unwrap()), "{filter} and {topic}");
            }
        }
    }

    #[test]
    fn what_is_borrowed_can_be_owned() {
        let bytes = alloc::vec::Vec::from("a/b");
        let topic = Topic::read(&bytes).unwrap();
        let (owned, seen) = (topic.clone().into_owned(), topic.borrowed());
        assert_eq!((owned.as_str(), &seen), ("a/b", &topic));
    }
}
