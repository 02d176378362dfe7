//! The shares as bars, in SVG.

use std::fmt::Write as _;

use crate::point::Point;
use crate::trial::Measured;

const LABEL_WIDTH: f64 = 190.0;
const BAR_WIDTH: f64 = 480.0;
const ROW_HEIGHT: f64 = 26.0;

/// One bar for each row: its median, a line from the lowest to the highest pair, a mark where a target is.
pub(crate) fn svg(measured: &[Measured]) -> String {
    let rows: Vec<&Measured> = measured.iter().filter(|measured| !measured.ratios.is_empty()).collect();
    let most = rows.iter().flat_map(|row| row.ratios.iter().copied()).fold(1.0, f64::max);
    let x = |share: f64| LABEL_WIDTH + share / most * BAR_WIDTH;
    let height = 40.0 + ROW_HEIGHT * rows.len() as f64;
    let width = LABEL_WIDTH + BAR_WIDTH + 60.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"{LABEL_WIDTH}\" y=\"16\" fill=\"#555\">share of redis-benchmark's rate in the same minute; the mark is the target</text>\n"
    );
    let whole = x(1.0);
    let _ = writeln!(
        svg,
        "<line x1=\"{whole:.1}\" x2=\"{whole:.1}\" y1=\"24\" y2=\"{height}\" stroke=\"#bbb\" stroke-dasharray=\"3 3\"/>"
    );
    for (index, row) in rows.iter().enumerate() {
        let top = 28.0 + ROW_HEIGHT * index as f64;
        let middle = top + ROW_HEIGHT / 2.0 - 3.0;
        let is_stoker = row.contestant == "stoker";
        let name = if is_stoker { row.point.clone() } else { row.contestant.clone() };
        let color = if is_stoker { "#2b7a78" } else { "#b08968" };
        let ratio = row.ratio();
        let lowest = row.ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = row.ratios.iter().copied().fold(0.0, f64::max);
        let bar = ROW_HEIGHT - 8.0;
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>\
             <rect x=\"{LABEL_WIDTH}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{bar:.1}\" fill=\"{color}\"/>\
             <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\" stroke=\"#000\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{ratio:.2}</text>",
            LABEL_WIDTH - 8.0,
            middle + 4.0,
            x(ratio) - LABEL_WIDTH,
            x(lowest),
            x(highest),
            x(highest.max(ratio)) + 6.0,
            middle + 4.0,
        );
        let point = Point::all().into_iter().find(|point| point.name == row.point && is_stoker);
        if let Some(target) = point.and_then(|point| point.target) {
            let (at, bottom) = (x(target), top + bar);
            let _ = writeln!(
                svg,
                "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{top:.1}\" y2=\"{bottom:.1}\" stroke=\"#d1495b\" stroke-width=\"3\"/>"
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}
