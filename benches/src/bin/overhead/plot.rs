//! The ratios as bars, in SVG. Shorter is better.

use std::fmt::Write;

use crate::report::{Row, Table};
use crate::servers::Server;

const WIDTH: f64 = 860.0;
/// Where bars begin, and how long the longest is.
const LEFT: f64 = 290.0;
const LONGEST: f64 = 480.0;
const BAR: f64 = 22.0;
const STEP: f64 = 32.0;
/// Room for the title of a group of bars.
const HEAD: f64 = 52.0;

const OURS: &str = "#0b7a75";
const FLOOR: &str = "#8d99a6";
const OTHERS: &str = "#c9653a";

/// Two groups of bars: processor time and memory, as multiples of the bare loop's, or of the least where that was not
/// measured.
pub(crate) fn svg(table: &Table) -> String {
    let has_floor = table.floor().is_some();
    let time = |row: &Row| if has_floor { table.ratio(row) } else { row.nanos_per_beat() };
    let groups =
        [("Processor time per beat", bars(table, time)), ("Memory per idle link", bars(table, Row::bytes_per_link))];
    let height = groups.iter().map(|(_, (_, bars))| HEAD + STEP * bars.len() as f64).sum::<f64>() + 48.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    let mut top = 0.0;
    for (title, (unit, bars)) in &groups {
        text(&mut svg, 24.0, top + 32.0, 17, "#1f2933", "start", title);
        let caption = format!("multiples of the {unit}; shorter is better");
        text(&mut svg, LEFT, top + 32.0, 13, "#616e7c", "start", &caption);
        top += HEAD;
        let scale = LONGEST / bars.iter().map(|bar| bar.ratio).fold(1.0, f64::max);
        for bar in bars {
            let (length, middle) = ((bar.ratio * scale).max(1.0), top + BAR * 0.72);
            text(&mut svg, LEFT - 10.0, middle, 13, "#323f4b", "end", bar.title);
            put(
                &mut svg,
                format_args!(
                    "<rect x=\"{LEFT}\" y=\"{top}\" width=\"{length:.1}\" height=\"{BAR}\" rx=\"3\" fill=\"{}\"/>\n",
                    bar.color
                ),
            );
            let label = format!("{:.2}x", bar.ratio);
            text(&mut svg, LEFT + length + 8.0, middle, 13, "#323f4b", "start", &label);
            top += STEP;
        }
    }
    let rhythm = format!("{} links, a beat per link and {:?}; keepbeat in green", table.links, table.interval);
    text(&mut svg, 24.0, top + 30.0, 12, "#616e7c", "start", &rhythm);
    svg.push_str("</svg>\n");
    svg
}

struct Bar {
    title: &'static str,
    color: &'static str,
    ratio: f64,
}

/// The rows that have this figure, as multiples of the bare loop's, or of the least where that was not measured; and which
/// of both.
fn bars(table: &Table, figure: impl Fn(&Row) -> Option<f64>) -> (&'static str, Vec<Bar>) {
    let known: Vec<(Server, f64)> = table
        .rows
        .iter()
        .filter_map(|row| Some((row.server, figure(row)?)))
        .filter(|(_, value)| *value > 0.0)
        .collect();
    let floor = known.iter().find(|(server, _)| *server == Server::BareMio);
    let (unit, one) = match floor {
        Some((_, value)) => ("bare loop's", *value),
        None => ("least", known.iter().map(|(_, value)| *value).fold(f64::INFINITY, f64::min)),
    };
    let mut bars: Vec<Bar> = known
        .into_iter()
        .map(|(server, value)| Bar {
            title: server.title(),
            color: match server {
                Server::BareMio => FLOOR,
                server if server.is_ours() => OURS,
                _ => OTHERS,
            },
            ratio: value / one,
        })
        .collect();
    bars.sort_by(|one, other| one.ratio.total_cmp(&other.ratio));
    (unit, bars)
}

fn text(svg: &mut String, x: f64, y: f64, size: u32, color: &str, anchor: &str, text: &str) {
    put(
        svg,
        format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" fill=\"{color}\" text-anchor=\"{anchor}\">{text}</text>\n"
        ),
    );
}

/// A string takes all that is written to it.
fn put(svg: &mut String, what: std::fmt::Arguments<'_>) {
    let _taken = svg.write_fmt(what).is_ok();
}
