//! What to measure, and how to show it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::servers::Server;

/// What one connection that only beats costs its server, for keepbeat and for what a user would otherwise write.
#[derive(Debug, Parser)]
#[command(name = "overhead")]
pub(crate) struct Args {
    /// Connections that each server holds.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) links: u32,
    /// How often each connection beats: a number and ms or s.
    #[arg(long, default_value = "1s", value_parser = interval)]
    pub(crate) interval: Duration,
    /// Beats leave in bursts, those of each millisecond together, so that a server finds several at a time. Without this,
    /// each leaves at its own moment.
    #[arg(long)]
    pub(crate) burst: bool,
    /// How long each server is measured in each round, in seconds.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) seconds: u64,
    /// How often all servers are measured, one after the other. Medians are shown.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// Measure this server only; may be given several times. Ratios need bare-mio.
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<Server>,
    /// Print rows for a machine.
    #[arg(long)]
    pub(crate) json: bool,
    /// Draw the ratios.
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,
    /// The server's process.
    #[arg(long, hide = true)]
    pub(crate) serve: Option<Server>,
}

fn interval(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let number: u64 = digits.parse().map_err(|_| format!("{text:?} does not begin with a number"))?;
    let interval = match &text[digits.len()..] {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        unit => return Err(format!("{unit:?} is no unit; give ms or s")),
    };
    if interval < Duration::from_millis(100) || interval > Duration::from_secs(600) {
        return Err("the interval is between 100ms and 600s".to_owned());
    }
    Ok(interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_has_a_number_and_a_unit() {
        assert_eq!(interval("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(interval("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["", "s", "1", "1m", "99ms", "601s", "-1s"] {
            assert!(interval(wrong).is_err(), "{wrong}");
        }
    }
}
