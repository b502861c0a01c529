//! `Sec-WebSocket-Extensions` (RFC 6455, section 9.1).

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use nom::branch::alt;
use nom::bytes::complete::{tag, take, take_while, take_while1};
use nom::combinator::{all_consuming, opt, verify};
use nom::multi::{fold_many0, many0, separated_list0};
use nom::sequence::{delimited, preceded};
use nom::{IResult, Parser};

use super::{is_token, is_token_byte};

/// An extension, offered or agreed on, with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    name: String,
    parameters: Vec<(String, Option<String>)>,
}

impl Extension {
    /// Its registered name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Names and values of its parameters, in their order, without quotes.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.parameters.iter().map(|(name, value)| (name.as_str(), value.as_deref()))
    }
}

/// A list of extensions is not written as the specification says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sec-WebSocket-Extensions is not a list of extensions")
    }
}

impl core::error::Error for Malformed {}

/// Reads all lines of the header.
pub(in super::super) fn parse<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Extension>, Malformed> {
    let mut extensions = Vec::new();
    for line in lines {
        // Elements of a list may be empty (RFC 9110, section 5.6.1).
        let element = delimited(space, opt(extension), space);
        let (_, found) = all_consuming(separated_list0(tag(&b","[..]), element)).parse(line).map_err(|_| Malformed)?;
        extensions.extend(found.into_iter().flatten());
    }
    Ok(extensions)
}

fn extension(input: &[u8]) -> IResult<&[u8], Extension> {
    let (input, name) = token(input)?;
    let (input, parameters) = many0(preceded((space, tag(&b";"[..]), space), parameter)).parse(input)?;
    Ok((input, Extension { name, parameters }))
}

fn parameter(input: &[u8]) -> IResult<&[u8], (String, Option<String>)> {
    (token, opt(preceded((space, tag(&b"="[..]), space), alt((token, quoted))))).parse(input)
}

fn token(input: &[u8]) -> IResult<&[u8], String> {
    take_while1(is_token_byte).map(text).parse(input)
}

/// A quoted string, which must be a token when the quotes are taken away.
fn quoted(input: &[u8]) -> IResult<&[u8], String> {
    let plain = verify(take(1_usize), |byte: &[u8]| byte != b"\"" && byte != b"\\");
    let escaped = preceded(tag(&b"\\"[..]), take(1_usize));
    let content = fold_many0(alt((plain, escaped)), Vec::new, |mut content, byte: &[u8]| {
        content.extend_from_slice(byte);
        content
    });
    let content = delimited(tag(&b"\""[..]), content, tag(&b"\""[..]));
    verify(content, |content: &Vec<u8>| is_token(content)).map(|content| text(&content)).parse(input)
}

fn space(input: &[u8]) -> IResult<&[u8], &[u8]> {
    take_while(|byte| matches!(byte, b' ' | b'\t')).parse(input)
}

fn text(token: &[u8]) -> String {
    String::from_utf8_lossy(token).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn shown(lines: &[&str]) -> Result<Vec<String>, Malformed> {
        let extensions = parse(lines.iter().map(|line| line.as_bytes()))?;
        let shown = |extension: &Extension| {
            extension.parameters().fold(extension.name().into(), |shown: String, (name, value)| match value {
                Some(value) => format!("{shown};{name}={value}"),
                None => format!("{shown};{name}"),
            })
        };
        Ok(extensions.iter().map(shown).collect())
    }

    #[test]
    fn lists_are_read_over_all_lines() {
        assert_eq!(shown(&[]).unwrap(), Vec::<String>::new());
        assert_eq!(shown(&["foo"]).unwrap(), ["foo"]);
        assert_eq!(shown(&["foo, bar; baz=2"]).unwrap(), ["foo", "bar;baz=2"]);
        assert_eq!(shown(&[" a ;\tb = \"c\" ; d , e", ",, f,"]).unwrap(), ["a;b=c;d", "e", "f"]);
        assert_eq!(shown(&[r#"x; y="1\0""#]).unwrap(), ["x;y=10"]);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for line in [
            "a b",
            "a;",
            "a;;b",
            "a;b=",
            "a;b=\"",
            "a;b=\"\"",
            "a;b=\"c d\"",
            "a;b=\"c,d\"",
            "a=b",
            ";",
            "a;b=c=d",
            "ä",
            "\"a\"",
        ] {
            assert_eq!(shown(&["fine", line]), Err(Malformed), "{line}");
        }
    }
}
