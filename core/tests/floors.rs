//! Keeps the floors of the core: a room may name the rooms below it, never one above or beside it.
//!
//! A room is a file or a folder directly under `src`. The test reads the sources as text and looks at every path that
//! starts at the root of the crate (`crate::room`, enough `super::`, and groups of both). Comments, strings and
//! `#[cfg(test)] mod` blocks may name anything; `lib.rs` is above all floors.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// The rooms from the ground up. Rooms of one line are on one level and may not name each other.
const FLOORS: &[&[&str]] = &[
    &["time"],
    &["entropy", "timers"],
    &["liveness"],
    &["reconnect"],
    &["session"],
    &["tunnel"],
    &["wire"],
    &["connection"],
    &["client", "server"],
    &["sim"],
    &["fuzzing"],
];

/// Rooms that may name less than everything below them.
const NARROWER: &[(&str, &[&str])] = &[("reconnect", &["time", "entropy"])];

#[test]
fn no_room_names_a_room_above_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut complaints = Vec::new();
    let mut files = 0;
    for path in sources(&src).expect("the sources are readable") {
        let text = fs::read_to_string(&path).expect("a source is UTF-8");
        let path = path.strip_prefix(&src).expect("it was found under src");
        complaints.extend(check(path, &text));
        files += 1;
    }
    assert!(files > 3, "only {files} files under {}: the test looks in the wrong place", src.display());
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn rooms_below_may_be_named() {
    for (file, text) in [
        ("entropy.rs", "use crate::time::nanos;"),
        ("liveness/mod.rs", "use super::time::Timestamp; mod deadline { use super::super::entropy::Prng; }"),
        ("reconnect/backoff.rs", "use crate::{entropy::{self, Prng}, time::{Deadline, Timestamp}};"),
        (
            "wire/beat/mod.rs",
            "use crate::reconnect::Cause; use super::super::super::session::Outbox; use super::Frame;",
        ),
        ("client.rs", "pub(crate) fn new() -> Self { crate::connection::open(crate::wire::beat::Beat) }"),
        ("sim/mod.rs", "use crate::{client::Client, server::Server, sim::link::Link};"),
        ("lib.rs", "pub mod sim; pub use crate::client::Client;"),
    ] {
        assert_eq!(check(Path::new(file), text), Vec::<String>::new(), "{file}: {text}");
    }
}

#[test]
fn a_room_above_or_beside_is_a_violation() {
    for (file, text, named) in [
        ("time.rs", "use crate::entropy::Prng;", "entropy"),
        ("time.rs", "use super::wire::Frame;", "wire"),
        ("liveness/cadence.rs", "use super::super::reconnect::Backoff;", "reconnect"),
        ("liveness/cadence.rs", "mod inner { use super::super::super::session::Inbox; }", "session"),
        ("session/mod.rs", "use crate::{\n    time::{self, Deadline},\n    wire::Frame,\n};", "wire"),
        ("session/mod.rs", "use super::{time::Deadline, sim};", "sim"),
        ("wire/mod.rs", "fn f(c: &crate::client::Client) {}", "client"),
        ("wire/mod.rs", "fn f() { let quote = '\"'; crate :: server :: open(quote) }", "server"),
        ("client.rs", "use crate::server::Accepted;", "server"),
        ("server.rs", "use crate::client::Client;", "client"),
        ("reconnect/mod.rs", "use crate::liveness::Death;", "liveness"),
        ("reconnect/mod.rs", "pub(in crate::wire) struct Odd;", "wire"),
    ] {
        let complaints = check(Path::new(file), text);
        assert_eq!(complaints.len(), 1, "{file}: {text}: {complaints:?}");
        assert!(complaints[0].contains(&format!("names `{named}`")), "{complaints:?}");
    }
}

#[test]
fn a_violation_is_reported_with_its_line() {
    let complaints =
        check(Path::new("session/mod.rs"), "//! Doc.\n\nuse crate::{\n    time::Timestamp,\n    wire::Frame,\n};");
    assert!(complaints[0].starts_with("src/session/mod.rs:5: "), "{complaints:?}");
}

#[test]
fn comments_strings_and_test_modules_may_name_anything() {
    for text in [
        "//! See [`Client`](crate::client::Client).\n/// And crate::server.\n// crate::sim\n",
        "/* crate::client /* nested */ crate::server */ fn f() {} // crate::sim",
        r##"const A: &str = "crate::client \" crate::server"; const B: &[u8] = br#"crate::sim " "#;"##,
        "#[cfg(test)]\nmod tests { use crate::client::Client; mod inner { use crate::sim; } }",
        "#[cfg(test)]\n#[allow(dead_code, reason = \"x\")]\npub(crate) mod tests { use crate::client::Client; }",
    ] {
        assert_eq!(check(Path::new("time.rs"), text), Vec::<String>::new(), "{text}");
    }
    assert!(check(Path::new("time/tests.rs"), "use crate::client::Client;").is_empty());
}

#[test]
fn only_a_module_is_excused_by_cfg_test_and_only_up_to_its_end() {
    for text in [
        "#[cfg(test)] mod tests { fn f() {} } use crate::client::Client;",
        "#[cfg(test)] use crate::client::Client;",
        "#[cfg(test)] extern crate std; mod m { use crate::client::Client; }",
        "#[cfg(any(test, feature = \"sim\"))] mod m { use crate::client::Client; }",
        "fn f<'a>(x: &'a u8) { let (y, z) = ('\\'', b'x'); } use crate::client::Client;",
    ] {
        assert_eq!(check(Path::new("time.rs"), text).len(), 1, "{text}");
    }
}

#[test]
fn an_unknown_room_and_a_path_that_hides_its_room_are_reported() {
    for (file, text, part) in [
        ("attic/mod.rs", "fn f() {}", "add it to FLOORS"),
        ("sim/mod.rs", "use crate::attic::Box;", "add it to FLOORS"),
        ("sim/mod.rs", "use crate::*;", "spell out"),
        ("sim/mod.rs", "use crate::{self as root};", "spell out"),
        ("sim/mod.rs", "use crate as root;", "spell out"),
    ] {
        let complaints = check(Path::new(file), text);
        assert_eq!(complaints.len(), 1, "{file}: {text}: {complaints:?}");
        assert!(complaints[0].contains(part), "{complaints:?}");
    }
}

/// What is wrong with the file at `path` (relative to `src`); one line for each fault.
fn check(path: &Path, text: &str) -> Vec<String> {
    let modules = module_path(path);
    let is_test = modules.iter().any(|name| name == "tests");
    let Some(room) = modules.first().filter(|_| !is_test) else { return Vec::new() };
    let Some(floor) = floor(room) else {
        return vec![format!(
            "src/{}: the room `{room}` is new: add it to FLOORS in core/tests/floors.rs",
            path.display()
        )];
    };
    let narrower = NARROWER.iter().find(|(name, _)| name == room).map(|(_, may)| *may);

    let mut complaints = Vec::new();
    for (line, named) in names_from_root(&tokens(text), modules.len()) {
        let complaint = match self::floor(&named) {
            _ if named == *room => continue,
            None if ["self", "*", ""].contains(&named.as_str()) => {
                format!("`{room}` names the crate's root: spell out the room")
            }
            None => format!(
                "`{room}` names `{named}`, which is no known room: name the room of an item (crate::room::item); \
                 if it is a new room, add it to FLOORS in core/tests/floors.rs"
            ),
            Some(other) if other >= floor => format!("`{room}` names `{named}`, which is not below it"),
            Some(_) => match narrower {
                Some(may) if !may.contains(&named.as_str()) => {
                    format!("`{room}` names `{named}`; it may name only {}", may.join(", "))
                }
                _ => continue,
            },
        };
        complaints.push(format!("src/{}:{line}: {complaint}", path.display()));
    }
    complaints
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// `wire/beat/mod.rs` is `[wire, beat]`; `lib.rs` is `[]`.
fn module_path(path: &Path) -> Vec<String> {
    let names = path.with_extension("");
    let names = names.iter().map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| name != "mod" && name != "lib").collect()
}

/// Every name that follows the root of the crate in a path, with its line. `depth` is the file's own module depth.
fn names_from_root(tokens: &[Token], depth: usize) -> Vec<(usize, String)> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut found = Vec::new();
    // The brace depth at which each open inline module began.
    let (mut modules, mut braces) = (Vec::new(), 0_usize);
    let mut at = 0;
    while at < tokens.len() {
        match text(at) {
            "#" => {
                if let Some(after) = test_module(tokens, at) {
                    at = after;
                    continue;
                }
            }
            "mod" if text(at + 2) == "{" => modules.push(braces),
            "{" => braces += 1,
            "}" => {
                braces = braces.saturating_sub(1);
                if modules.last() == Some(&braces) {
                    modules.pop();
                }
            }
            "crate" if text(at + 1) == "::" => root_names(tokens, at + 2, &mut found),
            "crate" if text(at + 1) == "as" => found.push((tokens[at].line, String::new())),
            "super" => {
                let mut supers = 1;
                while text(at + 1) == "::" && text(at + 2) == "super" {
                    supers += 1;
                    at += 2;
                }
                if supers == depth + modules.len() && text(at + 1) == "::" {
                    root_names(tokens, at + 2, &mut found);
                }
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// The names at `at`, which follows the root of the crate: one, or the first of each branch of a group.
fn root_names(tokens: &[Token], at: usize, found: &mut Vec<(usize, String)>) {
    let Some(first) = tokens.get(at) else { return };
    if first.text != "{" {
        found.push((first.line, first.text.clone()));
        return;
    }
    let (mut depth, mut starts) = (1, true);
    for token in &tokens[at + 1..] {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," if depth == 1 => {
                starts = true;
                continue;
            }
            _ if starts => found.push((token.line, token.text.clone())),
            _ => {}
        }
        starts = false;
        if depth == 0 {
            return;
        }
    }
}

/// If `#[cfg(test)]` and then a module with a body start at `at`: where that body ends.
fn test_module(tokens: &[Token], mut at: usize) -> Option<usize> {
    let is = |at: usize, text: &str| tokens.get(at).is_some_and(|token| token.text == text);
    if !["#", "[", "cfg", "(", "test", ")", "]"].iter().enumerate().all(|(i, text)| is(at + i, text)) {
        return None;
    }
    while is(at, "#") {
        at = closing(tokens, at + 1, "[", "]")?;
    }
    if is(at, "pub") {
        at += 1;
        if is(at, "(") {
            at = closing(tokens, at, "(", ")")?;
        }
    }
    if is(at, "mod") && is(at + 2, "{") { closing(tokens, at + 2, "{", "}") } else { None }
}

/// The token after the one that closes what opens at `at`.
fn closing(tokens: &[Token], at: usize, open: &str, close: &str) -> Option<usize> {
    let mut depth = 0;
    for (i, token) in tokens.iter().enumerate().skip(at) {
        if token.text == open {
            depth += 1;
        } else if token.text == close {
            depth -= 1;
        }
        if depth == 0 {
            return Some(i + 1);
        }
    }
    None
}

struct Token {
    line: usize,
    text: String,
}

/// The words and signs of a source, without comments, strings and characters. `::` is one sign.
fn tokens(text: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let raw = tokens.last().is_some_and(|token| ["r", "br", "cr"].contains(&token.text.as_str()));
        let hashes = rest.len() - rest.trim_start_matches('#').len();
        let (length, is_token) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), false)
        } else if rest.starts_with("/*") {
            (block_comment(rest), false)
        } else if raw && rest[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let body = &rest[hashes + 1..];
            (hashes + 1 + body.find(&end).map_or(body.len(), |found| found + end.len()), false)
        } else if first == '"' {
            (quoted(rest, '"'), false)
        } else if first == '\'' && (rest[1..].starts_with('\\') || rest.chars().nth(2) == Some('\'')) {
            (quoted(rest, '\''), false)
        } else if rest.starts_with("::") {
            (2, true)
        } else if first.is_alphanumeric() || first == '_' {
            (rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len()), true)
        } else {
            (first.len_utf8(), !first.is_whitespace())
        };
        if is_token {
            tokens.push(Token { line, text: rest[..length].to_owned() });
        }
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

/// The length of the quoted text that `text` starts with, both quotes included.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == quote && !escaped {
            return at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    text.len()
}

/// The length of the comment, with the comments nested in it, that `text` starts with.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text.as_bytes()[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if text.as_bytes()[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// Every Rust file under `folder`, in the order of names.
fn sources(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries = fs::read_dir(folder)?.map(|entry| entry.map(|e| e.path())).collect::<io::Result<Vec<_>>>()?;
    entries.sort();
    let mut files = Vec::new();
    for path in entries {
        if path.is_dir() {
            files.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}
