//! The drawing itself, by `plotters`, and what its SVG lacks: dashes, fonts, and colours that follow the page.

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Axis, split_at_gaps, thin};

/// The picture's size: at 400 pixels its text is still readable, at 1000 not yet coarse.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 350.0;
/// `plotters` draws on whole pixels; a finer grid keeps curves smooth.
const GRAIN: f64 = 10.0;

const FONT: &str = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif";
const SIZE: f64 = 13.0;
const TITLE: f64 = 16.0;
/// How much wider bold text runs.
const BOLD: f64 = 1.15;
const DOT: f64 = 4.5;
const NEVER: &str = "a string takes every drawing";
const RIGHT: f64 = WIDTH - 18.0;
/// Longer labels on the x axis are cut.
pub(super) const WIDEST_LABEL: f64 = 160.0;

#[derive(Clone, Copy, PartialEq)]
enum Type {
    Plain,
    Title,
    Upwards,
}

/// How something is drawn. The colours are Okabe and Ito's, which colour-blind people tell apart; widths and dashes tell
/// them apart without any.
#[derive(Clone, Copy)]
pub(super) struct Stroke {
    colour: RGBColor,
    /// The same on a dark page.
    dark: &'static str,
    width: f64,
    dash: &'static [f64],
    dot: bool,
    opacity: f64,
}

impl Stroke {
    fn hex(&self) -> String {
        format!("#{:02X}{:02X}{:02X}", self.colour.0, self.colour.1, self.colour.2)
    }
}

const fn stroke(colour: (u8, u8, u8), dark: &'static str, width: f64, dash: &'static [f64]) -> Stroke {
    Stroke { colour: RGBColor(colour.0, colour.1, colour.2), dark, width, dash, dot: false, opacity: 1.0 }
}

pub(super) const INK: Stroke = stroke((0x24, 0x29, 0x2F), "#E4E7EB", 1.0, &[]);
pub(super) const BLUE: Stroke = stroke((0x00, 0x72, 0xB2), "#56B4E9", 2.4, &[]);
pub(super) const ORANGE: Stroke = stroke((0xD5, 0x5E, 0x00), "#FF9A52", 1.8, &[6.0, 3.0]);
// A shade of its own, since dashes and dark colours go by colour.
pub(super) const AHEAD: Stroke = stroke((0xD5, 0x5E, 0x01), "#FF9A53", 3.0, &[9.0, 3.0]);
pub(super) const NAIVE: Stroke = stroke((0x80, 0x87, 0x90), "#8B939D", 1.2, &[2.0, 2.0]);
pub(super) const MARK: Stroke = Stroke { dot: true, ..stroke((0xB0, 0x3A, 0x00), "#FFC28F", 0.0, &[]) };
pub(super) const BAND: Stroke = Stroke { opacity: 0.25, ..stroke((0x00, 0x72, 0xB1), "#56B4EA", 9.0, &[]) };
pub(super) const GREEN: Stroke = stroke((0x00, 0x86, 0x61), "#3FCFA5", 1.8, &[10.0, 3.0, 2.0, 3.0]);
pub(super) const PURPLE: Stroke = stroke((0xA8, 0x4A, 0x82), "#E08FBE", 2.0, &[2.0, 3.0]);
pub(super) const SAND: Stroke = stroke((0x94, 0x6A, 0x00), "#E6B333", 1.8, &[12.0, 4.0]);
const MUTED: Stroke = stroke((0x57, 0x60, 0x6A), "#A9B1BA", 1.0, &[]);
const GRID: Stroke = stroke((0xE4, 0xE7, 0xEB), "#32383F", 1.0, &[]);
const SPLIT: Stroke = stroke((0x6E, 0x77, 0x81), "#98A1AB", 1.0, &[5.0, 4.0]);
const STROKES: [Stroke; 13] = [INK, BLUE, ORANGE, GREEN, PURPLE, SAND, AHEAD, NAIVE, MARK, BAND, MUTED, GRID, SPLIT];
const PAPER: (&str, &str) = ("#FFFFFF", "#16191D");

type Page<'a> = DrawingArea<SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// The words around a picture; an empty one takes no room.
#[derive(Clone, Copy, Default)]
pub(super) struct Titles<'a> {
    pub(super) title: &'a str,
    pub(super) x: &'a str,
    pub(super) y: &'a str,
}

/// A page with two axes. Points given to it are in the axes' units.
pub(super) struct Canvas<'a> {
    page: Page<'a>,
    x: Axis,
    y: Axis,
    left: f64,
    top: f64,
    bottom: f64,
}

/// The SVG of what `body` draws.
pub(super) fn draw(titles: Titles, x: Axis, y: Axis, body: impl FnOnce(&Canvas)) -> String {
    let mut svg = String::new();
    let grains = ((WIDTH * GRAIN) as u32, (HEIGHT * GRAIN) as u32);
    let pixels = (0..grains.0 as i32, 0..grains.1 as i32);
    let page = SVGBackend::with_string(&mut svg, grains).into_drawing_area().apply_coord_spec(Cartesian2d::new(
        0.0..WIDTH,
        0.0..HEIGHT,
        pixels,
    ));
    let widest = y.ticks().iter().map(|(_, text)| text_width(text)).fold(0.0, f64::max);
    let canvas = Canvas {
        page,
        x,
        y,
        left: 16.0 + widest + if titles.y.is_empty() { 0.0 } else { 22.0 },
        top: if titles.title.is_empty() { 42.0 } else { 82.0 },
        bottom: HEIGHT - if titles.x.is_empty() { 36.0 } else { 54.0 },
    };
    canvas.titles(titles);
    body(&canvas);
    drop(canvas);
    dress(&svg, titles)
}

impl Canvas<'_> {
    /// The width of the part that has data.
    pub(super) fn plot_width(&self) -> f64 {
        RIGHT - self.left
    }

    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let up = self.y.fraction(y).clamp(0.0, 1.0);
        (
            self.left + self.x.fraction(x).clamp(0.0, 1.0) * self.plot_width(),
            self.bottom - up * (self.bottom - self.top),
        )
    }

    fn titles(&self, titles: Titles) {
        self.text((14.0, 20.0), &fit(titles.title, (WIDTH - 28.0) * SIZE / TITLE / BOLD), INK, HPos::Left, Type::Title);
        let middle = (self.top + self.bottom) / 2.0;
        self.text((17.0, middle), &fit(titles.y, self.bottom - self.top + 50.0), MUTED, HPos::Center, Type::Upwards);
        self.text(((self.left + RIGHT) / 2.0, HEIGHT - 14.0), titles.x, MUTED, HPos::Center, Type::Plain);
    }

    /// Grid, axes and their numbers.
    pub(super) fn frame(&self, x_ticks: &[(f64, String)]) {
        for (value, label) in self.y.ticks() {
            let y = self.at((0.0, value)).1;
            self.path(vec![(self.left, y), (RIGHT, y)], GRID);
            self.text((self.left - 8.0, y), &label, MUTED, HPos::Right, Type::Plain);
        }
        self.path(vec![(self.left, self.bottom), (RIGHT, self.bottom)], MUTED);
        for (value, label) in x_ticks {
            let x = self.at((*value, 0.0)).0;
            self.path(vec![(x, self.bottom), (x, self.bottom + 5.0)], MUTED);
            let label = fit(label, WIDEST_LABEL);
            let half = text_width(&label) / 2.0;
            let x = x.min(WIDTH - 4.0 - half).max(4.0 + half);
            self.text((x, self.bottom + 17.0), &label, MUTED, HPos::Center, Type::Plain);
        }
    }

    /// A line with gaps where values are missing; a value between two gaps is a dot.
    pub(super) fn line(&self, points: &[(f64, f64)], stroke: Stroke) {
        for stretch in split_at_gaps(&thin(points)) {
            match stretch {
                &[point] => self.circle(self.at(point), stroke.width.max(2.0), stroke),
                _ => self.path(stretch.iter().map(|&point| self.at(point)).collect(), stroke),
            }
        }
    }

    /// The area between two edges over the same x, where both are known; over a single x a line.
    pub(super) fn band(&self, low: &[(f64, f64)], high: &[(f64, f64)], stroke: Stroke) {
        let known: Vec<_> =
            low.iter().zip(high).filter(|(low, high)| low.1.is_finite() && high.1.is_finite()).collect();
        let there = known.iter().map(|(low, _)| self.at(**low));
        let round: Vec<_> = there.chain(known.iter().rev().map(|(_, high)| self.at(**high))).collect();
        match known.len() {
            0 => {}
            1 => self.path(round, stroke),
            _ => {
                let style = stroke.colour.mix(stroke.opacity).filled();
                self.page.draw(&Polygon::new(round, style)).expect(NEVER);
            }
        }
    }

    /// A mark on one point.
    pub(super) fn dot(&self, point: (f64, f64), stroke: Stroke) {
        self.circle(self.at(point), DOT, stroke);
    }

    /// A vertical line at `x` with its meaning above the plot.
    pub(super) fn split(&self, x: f64, meaning: &str) {
        let x = self.at((x, 0.0)).0;
        self.path(vec![(x, self.top - 6.0), (x, self.bottom)], SPLIT);
        let (side, shift) = if x + text_width(meaning) + 4.0 < WIDTH { (HPos::Left, 5.0) } else { (HPos::Right, -5.0) };
        self.text((x + shift, self.top - 8.0), meaning, MUTED, side, Type::Plain);
    }

    /// The meaning of every stroke, above the plot; without strokes, that there is nothing to see.
    pub(super) fn legend(&self, entries: &[(String, Stroke)]) {
        let y = if self.top < 80.0 { 20.0 } else { 50.0 };
        let length = legend_length(entries.iter().map(|(name, _)| name.as_str()));
        let mut x = self.left.min(WIDTH - length).max(14.0);
        if entries.is_empty() {
            self.text((x, y), "no values to show", MUTED, HPos::Left, Type::Plain);
        }
        for (name, stroke) in entries {
            if stroke.dot {
                self.circle((x + DOT, y), DOT, *stroke);
                x += 2.0 * DOT + 6.0;
            } else {
                self.path(vec![(x, y), (x + 26.0, y)], *stroke);
                x += 32.0;
            }
            self.text((x, y), name, INK, HPos::Left, Type::Plain);
            x += text_width(name) + 14.0;
        }
    }

    fn path(&self, points: Vec<(f64, f64)>, stroke: Stroke) {
        let style = stroke.colour.mix(stroke.opacity).stroke_width((stroke.width * GRAIN) as u32);
        self.page.draw(&PathElement::new(points, style)).expect(NEVER);
    }

    fn circle(&self, at: (f64, f64), radius: f64, stroke: Stroke) {
        self.page.draw(&Circle::new(at, (radius * GRAIN) as u32, stroke.colour.filled())).expect(NEVER);
    }

    fn text(&self, at: (f64, f64), text: &str, stroke: Stroke, side: HPos, kind: Type) {
        if text.is_empty() {
            return;
        }
        // `plotters` divides sizes by 1.24.
        let size = 1.24 * GRAIN * if kind == Type::Title { TITLE } else { SIZE };
        let font = FontDesc::new(
            FontFamily::SansSerif,
            size,
            if kind == Type::Title { FontStyle::Bold } else { FontStyle::Normal },
        );
        let font = if kind == Type::Upwards { font.transform(FontTransform::Rotate270) } else { font };
        let style = font.color(&stroke.colour).pos(Pos::new(side, VPos::Center));
        self.page.draw(&Text::new(clean(text), at, style)).expect(NEVER);
    }
}

/// Adds what `plotters` does not write. Text from outside cannot look like an attribute: its quotes are escaped.
fn dress(svg: &str, titles: Titles) -> String {
    let body = svg.split_once('\n').map_or("", |(_, body)| body);
    let rules: String = STROKES
        .iter()
        .map(|stroke| (stroke.hex(), stroke.dark))
        .chain([(PAPER.0.to_string(), PAPER.1)])
        .map(|(light, dark)| format!("[stroke=\"{light}\"]{{stroke:{dark}}}[fill=\"{light}\"]{{fill:{dark}}}"))
        .collect();
    let mut body =
        body.replace(" opacity=\"1\"", "").replace(" font-family=\"sans-serif\"", "").replace(" \"/>", "\"/>");
    for stroke in STROKES.iter().filter(|stroke| !stroke.dash.is_empty()) {
        let dash: Vec<String> = stroke.dash.iter().map(|length| (length * GRAIN).to_string()).collect();
        let colour = format!(" stroke=\"{}\"", stroke.hex());
        body = body.replace(&colour, &format!("{colour} stroke-dasharray=\"{}\"", dash.join(" ")));
    }
    let name = if titles.title.is_empty() { titles.y } else { titles.title };
    let name = clean(name).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {} {}\" \
         role=\"img\" font-family=\"{FONT}\" stroke-linejoin=\"round\">\n<title>{name}</title>\n\
         <style>@media screen and (prefers-color-scheme: dark) {{{rules}}}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"{}\"/>\n{body}",
        WIDTH * GRAIN,
        HEIGHT * GRAIN,
        PAPER.0,
    )
}

/// Whether a legend with these names stays on the page.
pub(super) fn legend_fits<'a>(names: impl Iterator<Item = &'a str>) -> bool {
    legend_length(names) <= WIDTH - 14.0
}

fn legend_length<'a>(names: impl Iterator<Item = &'a str>) -> f64 {
    names.map(|name| 46.0 + text_width(name)).sum()
}

/// About as wide as `text` is in the fonts that people have; the widest of these are meant.
pub(super) fn text_width(text: &str) -> f64 {
    text.chars().map(char_width).sum()
}

fn char_width(c: char) -> f64 {
    let ems = match c {
        'i' | 'j' | 'l' | 't' | 'f' | 'r' | ' ' | ':' | '.' | ',' | '-' | '⁰'..='⁹' => 0.4,
        'm' | 'w' | 'M' | 'W' | '−' | '×' => 0.9,
        _ if c < '\u{1100}' => 0.62,
        _ => 1.0,
    };
    ems * SIZE
}

/// `text`, cut to `width`.
fn fit(text: &str, width: f64) -> String {
    if text_width(text) <= width {
        return text.to_string();
    }
    let mut used = SIZE;
    let kept = text.chars().take_while(|&c| {
        used += char_width(c);
        used <= width
    });
    format!("{}…", kept.collect::<String>().trim_end())
}

/// Without the characters that XML cannot hold.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}') { ' ' } else { c }).collect()
}
