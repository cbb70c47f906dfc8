//! The gradient through time.

use super::axis::Axis;
use super::canvas::{BLUE, GREEN, INK, ORANGE, PURPLE, SAND, Stroke, Titles, draw, legend_fits};
use super::lines::Line;

/// More lines cannot be told apart.
const STROKES: [Stroke; 6] = [BLUE, ORANGE, GREEN, PURPLE, INK, SAND];

/// The norm of the gradient by distance from the window's last row, one named curve a layer and direction, on a logarithmic
/// axis, as SVG. Norms that such an axis cannot show are gaps; of many curves the first, the last and some between are drawn, as many as can be told apart and named.
///
/// `of` names the loss.
pub fn gradient(of: &str, curves: &[(String, Vec<f64>)]) -> String {
    let shown = |value: f64| if value > 0.0 && value.is_finite() { value } else { f64::NAN };
    let line =
        |norms: &[f64]| -> Line { norms.iter().enumerate().map(|(at, &norm)| (at as f64, shown(norm))).collect() };
    let drawn: Vec<(&str, Line, Stroke)> = picked(curves)
        .zip(STROKES)
        .map(|(place, stroke)| (curves[place].0.as_str(), line(&curves[place].1), stroke))
        .collect();
    let points = || drawn.iter().flat_map(|(_, line, _)| line);
    let (x, y) = (Axis::exact(points().map(|point| point.0)), Axis::log(points().map(|point| point.1)));
    let y_title = format!("norm of ∂{of}/∂h");
    let titles = Titles { x: "rows back from the window's last row", y: &y_title, ..Titles::default() };
    draw(titles, x, y, |canvas| {
        canvas.frame(&x.whole_ticks());
        drawn.iter().for_each(|(_, line, stroke)| canvas.line(line, *stroke));
        let visible = drawn.iter().filter(|(_, line, _)| line.iter().any(|point| point.1.is_finite()));
        canvas.legend(&visible.map(|(name, _, stroke)| (name.to_string(), *stroke)).collect::<Vec<_>>());
    })
}

/// The places of as many curves as there are strokes and as the legend has room for, as evenly spread as they come.
fn picked(curves: &[(String, Vec<f64>)]) -> impl Iterator<Item = usize> {
    let places =
        |most: usize| (0..most).map(move |index| if most < 2 { 0 } else { index * (curves.len() - 1) / (most - 1) });
    let fits = |most: &usize| legend_fits(places(*most).map(|place| curves[place].0.as_str()));
    places((0..=curves.len().min(STROKES.len())).rev().find(fits).unwrap_or(0))
}
