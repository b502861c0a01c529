//! What people see while it runs: a table on a terminal, plain lines elsewhere.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::stage::{Phase, Stage};
use super::summary::{Spread, millis};
use super::watch::{Line, State, Watch};

/// Between two looks.
const REDRAW: Duration = Duration::from_millis(200);
/// The last events under the table.
const RECENT: usize = 8;
/// Links in one row of the table.
const ROW: usize = 50;

/// Where to write, and what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// A table that is drawn again and again, on stdout.
    Table,
    /// A line for each thing that happens, on stdout.
    Lines,
    /// Only what makes the run fail, on stderr.
    Problems,
}

pub(super) struct Screen {
    mode: Mode,
    seconds: u32,
    colours: bool,
    /// Rows of the table that is on the terminal now.
    drawn: usize,
    recent: VecDeque<Line>,
    next_status: u64,
}

impl Screen {
    pub(super) fn new(mode: Mode, seconds: u32) -> Self {
        let colours = mode == Mode::Table && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { mode, seconds, colours, drawn: 0, recent: VecDeque::new(), next_status: 1 }
    }

    /// Until the run is over. What cannot be written is not worth the run.
    pub(super) async fn run(mut self, stage: Arc<Stage>) {
        let mut ticks = tokio::time::interval(REDRAW);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut phases = stage.phase();
        while *phases.borrow_and_update() != Phase::Over {
            tokio::select! {
                _ = phases.changed() => {}
                _ = ticks.tick() => {}
            }
            drop(self.show(&stage));
        }
    }

    fn show(&mut self, stage: &Stage) -> io::Result<()> {
        let lines: Vec<Line> = {
            let mut watch = stage.watch();
            std::iter::from_fn(|| watch.take_line()).collect()
        };
        match self.mode {
            Mode::Table => {
                self.recent.extend(lines);
                self.recent.drain(..self.recent.len().saturating_sub(RECENT));
                let table = self.table(stage);
                let mut out = io::stdout().lock();
                // Back to the first row; no line may wrap; each is cleared behind its text.
                if self.drawn > 0 {
                    write!(out, "\x1b[{}A", self.drawn)?;
                }
                write!(out, "\x1b[?7l{}\x1b[?7h", table.replace('\n', "\x1b[K\n"))?;
                self.drawn = table.matches('\n').count();
                out.flush()
            }
            Mode::Lines => {
                let mut out = io::stdout().lock();
                for line in &lines {
                    writeln!(out, "{}", plain(line))?;
                }
                let elapsed = stage.elapsed();
                if elapsed.as_secs() >= self.next_status {
                    self.next_status = elapsed.as_secs() + 1;
                    writeln!(out, "{}", status(stage, elapsed))?;
                }
                out.flush()
            }
            Mode::Problems => {
                let mut err = io::stderr().lock();
                lines.iter().filter(|line| line.problem).try_for_each(|line| writeln!(err, "{}", plain(line)))
            }
        }
    }

    fn table(&self, stage: &Stage) -> String {
        let totals = stage.totals();
        let watch = stage.watch();
        let (census, counts) = (watch.census(), &watch.counts);
        let (detection, recovery) = (Spread::of(&counts.detection), Spread::of(&counts.recovery));
        let elapsed = stage.elapsed().as_secs_f64();
        let what = if elapsed < f64::from(self.seconds) { "faults come" } else { "the last messages arrive" };
        let mut rows = vec![format!("keepbeat demo  {elapsed:.1} of {} s, {what}", self.seconds)];
        let mut row = |name: &str, value: String| rows.push(format!("  {name:<11}{value}"));
        for (index, strip) in self.strips(&watch).into_iter().enumerate() {
            row(if index == 0 { "links" } else { "" }, strip);
        }
        row(
            "",
            format!(
                "{} up, {} suspect, {} down; {} with a fault",
                census.up, census.suspect, census.down, census.in_fault
            ),
        );
        let faults = counts.faults.iter().map(|(kind, count)| format!("{} {count}", kind.name().replace('_', " ")));
        for (index, kinds) in faults.collect::<Vec<_>>().chunks(5).enumerate() {
            row(if index == 0 { "faults" } else { "" }, kinds.join("   "));
        }
        row(
            "detection",
            format!(
                "{} found out   half in {:.0} ms, all in {:.0} ms, bound {:.0} ms   {} late   {} false deaths",
                counts.detected,
                detection.p50,
                detection.max,
                millis(counts.bound),
                counts.late,
                counts.false_deaths
            ),
        );
        row(
            "recovery",
            format!(
                "{} up again   half in {:.0} ms, all in {:.0} ms   {} gave up",
                counts.recovered, recovery.p50, recovery.max, counts.gave_up
            ),
        );
        row(
            "messages",
            format!(
                "{} sent   {} delivered   {} under way   {} duplicated   {} repeated",
                totals.sent, totals.delivered, totals.lost, totals.duplicated, totals.repeated
            ),
        );
        row("beats", format!("{}   bytes {}", watch.beats(), stage.bytes()));
        for index in 0..RECENT {
            let line = self.recent.get(index);
            let text = line.map(plain).unwrap_or_default();
            let text =
                if line.is_some_and(|line| line.problem) { self.paint("31;1", &text) } else { self.paint("2", &text) };
            rows.push(text);
        }
        rows.push(String::new());
        rows.join("\n")
    }

    /// A sign for each link: `+` up, `?` suspect, `-` down; on a grey ground while a fault is in force.
    fn strips(&self, watch: &Watch) -> Vec<String> {
        let signs: Vec<_> = watch
            .states()
            .map(|(state, in_fault)| {
                let (sign, colour) = match state {
                    State::Up => ("+", "32"),
                    State::Suspect => ("?", "33;1"),
                    State::Down => ("-", "31;1"),
                };
                self.paint(&if in_fault { format!("{colour};100") } else { colour.to_owned() }, sign)
            })
            .collect();
        signs.chunks(ROW).map(|row| row.concat()).collect()
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colours && !text.is_empty() { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn plain(line: &Line) -> String {
    let (seconds, problem) = (line.at.as_secs_f64(), if line.problem { "PROBLEM: " } else { "" });
    match line.link {
        Some(link) => format!("{seconds:7.3} s  link {link:03}  {problem}{}", line.text),
        None => format!("{seconds:7.3} s  all links {problem}{}", line.text),
    }
}

fn status(stage: &Stage, elapsed: Duration) -> String {
    let totals = stage.totals();
    let watch = stage.watch();
    let (census, counts) = (watch.census(), &watch.counts);
    format!(
        "{:7.3} s  {} up, {} suspect, {} down; {} faults, {} found out, {} up again; {} sent, {} delivered; {} beats",
        elapsed.as_secs_f64(),
        census.up,
        census.suspect,
        census.down,
        counts.faults.values().sum::<u64>(),
        counts.detected,
        counts.recovered,
        totals.sent,
        totals.delivered,
        watch.beats()
    )
}
