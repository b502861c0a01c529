//! What is counted.

mod frames;
mod gauge;
mod links;
mod machines;
mod mqtt;
mod websocket;

use std::hint::black_box;

/// One thing that is counted.
pub(crate) struct Case {
    /// `what/...`, as in the baseline.
    pub(crate) name: String,
    /// How many operations one repetition has.
    pub(crate) operations: u64,
    /// How many repetitions are few; many are three times as many.
    pub(crate) times: u32,
    /// Sets the case up and repeats it so often.
    pub(crate) body: Body,
}

type Body = Box<dyn Fn(u32) -> Result<(), String> + Send + Sync>;

impl Case {
    fn new(
        name: impl Into<String>,
        operations: u64,
        times: u32,
        body: impl Fn(u32) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), operations, times, body: Box::new(body) }
    }

    /// Whether the case counts the machine and not us.
    pub(crate) fn is_gauge(&self) -> bool {
        is_gauge(&self.name)
    }
}

/// Whether a case of this name counts the machine and not us.
pub(crate) fn is_gauge(name: &str) -> bool {
    name.starts_with("gauge/")
}

/// Whether a case of this name counts what others, or a plain copy, take for the same work: to be shown, not to be judged.
pub(crate) fn is_for_comparison(name: &str) -> bool {
    ["frames/", "mqtt/", "websocket/"].iter().any(|what| name.starts_with(what)) && !name.contains("/ours")
}

/// All cases.
pub(crate) fn all() -> Vec<Case> {
    [gauge::cases(), frames::cases(), links::cases(), machines::cases(), mqtt::cases(), websocket::cases()]
        .into_iter()
        .flatten()
        .collect()
}

/// Does something that is counted: valgrind knows this function by its name, and counts while it runs.
#[inline(never)]
fn counted_operation<T>(operation: impl FnOnce() -> T) -> T {
    black_box(operation())
}
