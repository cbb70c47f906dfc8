use super::axis::{number, row_labels};
use super::canvas::text_width;
use super::lines::{MOST_POINTS, thin};
use super::*;

/// The text of `tag`'s attribute `name`, for each such tag.
fn attributes<'a>(svg: &'a str, tag: &str, name: &str) -> Vec<&'a str> {
    let start = format!(" {name}=\"");
    svg.split(&format!("<{tag}"))
        .skip(1)
        .filter_map(|rest| rest.split_once('>')?.0.split_once(&start)?.1.split_once('"'))
        .map(|(value, _)| value)
        .collect()
}

/// What a browser would stumble over: open tags, bare ampersands, numbers that are none, points off the page.
fn fault(svg: &str) -> Option<String> {
    let mut open = Vec::new();
    for part in svg.split('<').skip(1) {
        let Some((tag, text)) = part.split_once('>') else { return Some(format!("<{tag} has no end", tag = part)) };
        if text.contains('>') || text.chars().any(|c| c.is_control() && c != '\n') {
            return Some(format!("{text:?} is not escaped"));
        }
        let word = tag.split(' ').next().unwrap_or("");
        match word.strip_prefix('/') {
            Some(name) if open.pop() != Some(name) => return Some(format!("{tag} closes another tag")),
            None if !tag.ends_with('/') => open.push(word),
            _ => {}
        }
        let entities = ["amp;", "lt;", "gt;", "quot;", "apos;"];
        if part.split('&').skip(1).any(|rest| !entities.iter().any(|entity| rest.starts_with(entity))) {
            return Some(format!("bare & in {part:?}"));
        }
    }
    let off =
        |text: &&str| !text.split([' ', ',']).all(|n| n.parse::<f64>().is_ok_and(|n| (0.0..=6400.0).contains(&n)));
    let numbers = [
        ("polyline", "points"),
        ("polygon", "points"),
        ("circle", "cx"),
        ("circle", "cy"),
        ("text", "x"),
        ("text", "y"),
    ];
    let mut numbers = numbers.iter().flat_map(|(tag, name)| attributes(svg, tag, name));
    numbers.find(off).map(|text| format!("{text} is off the page")).or(open.pop().map(|tag| format!("{tag} is open")))
}

fn checked(svg: String) -> String {
    assert_eq!(fault(&svg), None, "{svg}");
    svg
}

fn figure(truth: &[f64]) -> Forecast {
    let labels = (0..truth.len()).map(|row| row.to_string()).collect();
    Forecast { title: "t".into(), unit: "u".into(), labels, truth: truth.to_vec(), ..Forecast::default() }
}

fn point(epoch: usize, train: f64, validation: Option<f64>) -> LossPoint {
    LossPoint { epoch, train, validation }
}

#[test]
fn the_check_of_svgs_finds_faults() {
    let good = forecast(&figure(&[1.0, 2.0]));
    assert_eq!(fault(&good), None);
    for (from, to) in
        [("</svg>", ""), (">t<", "> a & b <"), (">t<", "> a > b <"), (" x=\"", " x=\"NaN"), (" y=\"", " y=\"9999")]
    {
        assert!(good.contains(from), "{from} in {good}");
        assert!(fault(&good.replacen(from, to, 1)).is_some(), "{from} → {to}");
    }
}

#[test]
fn values_of_every_size_are_drawn() {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let series: [&[f64]; 14] = [
        &[],
        &[3.0],
        &[0.0, 0.0, 0.0],
        &[-7.5; 40],
        &[nan, nan],
        &[nan, 1.0, nan, inf, 2.0, 3.0, -inf],
        &[1e308, -1e308, f64::MAX, -f64::MAX],
        &[f64::MAX; 3],
        &[5e-324, 1e-323],
        &[1e-300, 2e-300, -1e-300],
        &[1e15, 1e15 + 1.0],
        &[1.0, 1.0 + 1e-15],
        &[1e-9, 1e9],
        &[123_456.0, 999_999.0],
    ];
    for values in series {
        let mut given = figure(values);
        checked(forecast(&given));
        given.split = Some(values.len() + 5);
        given.model = vec![vec![], values.iter().copied().enumerate().collect()];
        given.ahead = vec![(values.len() + 3, 1.0), (usize::MAX, nan)];
        checked(forecast(&given));
        let points: Vec<_> =
            values.iter().enumerate().map(|(i, &v)| point(i, v, (i % 2 == 0).then_some(v.abs()))).collect();
        checked(loss(&points));
    }
    let tiny = f64::MIN_POSITIVE;
    checked(loss(&[point(0, tiny, Some(f64::MAX)), point(usize::MAX, 1.0, None)]));
    checked(loss(&[point(7, 0.25, None)]));
    assert!(checked(loss(&[])).contains("no values to show"));
    assert!(checked(forecast(&figure(&[]))).contains("no values to show"));
}

#[test]
fn words_from_a_file_stay_words() {
    let mut given = figure(&[1.0, 2.0, 3.0]);
    let nasty = "<i>\"a\" & 'b'</i>\u{0}\u{1b}";
    given.title = nasty.into();
    given.unit = nasty.into();
    given.labels = vec![nasty.into(); 3];
    let svg = checked(forecast(&given));
    assert!(svg.contains("&lt;i&gt;&quot;a&quot; &amp; &apos;b&apos;"), "{svg}");
    assert!(!svg.contains("<i>"));
    given.title = "wide ".repeat(1000);
    given.labels = vec!["wide ".repeat(1000); 3];
    assert!(checked(forecast(&given)).len() < 20_000);
}

#[test]
fn a_million_points_are_thinned_and_spikes_stay() {
    let mut truth: Vec<f64> = (0..1_000_000).map(|row| (row as f64 / 9e4).sin()).collect();
    truth[123_456] = 40.0;
    truth[765_432] = -30.0;
    let line: Line = truth.iter().enumerate().map(|(row, &value)| (row as f64, value)).collect();
    let thinned = thin(&line);
    assert!(thinned.len() <= MOST_POINTS, "{}", thinned.len());
    assert!(thinned.contains(&line[123_456]) && thinned.contains(&line[765_432]));
    assert!(thinned.is_sorted_by(|a, b| a.0 < b.0));

    let mut given = figure(&truth);
    given.model = (0..80_000).map(|w| (0..12).map(|k| (w * 12 + k, truth[w * 12 + k])).collect()).collect();
    let svg = checked(forecast(&given));
    assert!(attributes(&svg, "polyline", "points").iter().all(|points| points.split(' ').count() <= MOST_POINTS));
    assert!(svg.len() < 200_000, "{}", svg.len());
}

#[test]
fn missing_values_are_gaps_before_and_after_thinning() {
    for scale in [1, 100_000] {
        let mut truth = vec![1.0; 10 * scale];
        truth[3 * scale..6 * scale].fill(f64::NAN);
        let svg = checked(forecast(&figure(&truth)));
        let observed = svg.lines().filter(|line| line.starts_with("<polyline") && line.contains("\"#24292F\"")).count();
        // Two stretches and the legend's sample.
        assert_eq!(observed, 3);
    }
}

#[test]
fn windows_of_one_row_make_one_line() {
    assert_eq!(windows(&[vec![(2, 1.0)], vec![(1, 3.0)]]), [vec![(1.0, 3.0), (2.0, 1.0)]]);
    assert_eq!(windows(&[vec![(0, 1.0), (1, 1.0)], vec![(1, 2.0), (2, 2.0)]]).len(), 2);
}

#[test]
fn the_lowest_validation_loss_is_named() {
    let svg = loss(&[
        point(1, 0.5, Some(0.4)),
        point(2, 0.4, Some(0.123_456)),
        point(3, 0.3, Some(f64::NAN)),
        point(4, 0.2, Some(0.2)),
    ]);
    assert!(svg.contains("lowest validation loss: 0.1235 at epoch 2\n"), "{svg}");
    assert!(!loss(&[point(1, 0.5, None)]).contains("validation loss:"));
}

#[test]
fn row_labels_are_round_and_apart() {
    let months: Vec<String> = (0..600).map(|m| format!("{}-{:02}", 1949 + m / 12, 1 + m % 12)).collect();
    let hours: Vec<String> = (0..72).map(|h| format!("2024-03-{:02} {:02}:00", 1 + h / 24, h % 24)).collect();
    let rows: Vec<String> = (0..1000).map(|row| row.to_string()).collect();
    let few: Vec<String> = (7..10).map(|row| row.to_string()).collect();
    let cases = [(&months, "1950-01 1960-01 1970-01 1980-01 1990-01"), (&rows, "0 200 400 600 800"), (&few, "7 8 9")];
    for (labels, want) in cases {
        let got: Vec<String> =
            row_labels(labels, 550.0 / labels.len() as f64).into_iter().map(|(_, label)| label).collect();
        assert_eq!(got.join(" "), want);
    }
    let shown = row_labels(&hours, 550.0 / 72.0);
    assert_eq!(shown.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [0.0, 24.0, 48.0]);
    for width in [0.0, 0.01, 1.0, 30.0, 550.0] {
        let shown = row_labels(&months, width);
        assert!(shown.len() <= 6);
        assert!(shown.windows(2).all(|pair| (pair[1].0 - pair[0].0) * width > text_width(&pair[0].1)), "{shown:?}");
    }
}

#[test]
fn every_colour_has_one_for_dark_pages() {
    let mut given = figure(&[1.0, f64::NAN, 2.0, 3.0]);
    given.split = Some(2);
    given.model = vec![vec![(2, 1.0), (3, 2.0)]];
    given.naive = given.model.clone();
    given.ahead = vec![(4, 2.0), (5, 2.0)];
    for svg in [forecast(&given), loss(&[point(1, 1.0, Some(1.0)), point(2, 0.5, Some(0.6))])] {
        for name in ["stroke", "fill"] {
            for tag in ["polyline", "circle", "text", "rect"] {
                for colour in attributes(&svg, tag, name).into_iter().filter(|colour| *colour != "none") {
                    assert!(svg.contains(&format!("[{name}=\"{colour}\"]{{{name}:#")), "{tag} {name} {colour}");
                }
            }
        }
    }
}

#[test]
fn numbers_are_short() {
    let cases =
        [(0.0, "0"), (0.123_456, "0.1235"), (12.0, "12"), (99_999.6, "100000"), (1.5e7, "1.5×10⁷"), (1e-8, "10⁻⁸")];
    for (value, want) in cases {
        assert_eq!(number(value), want);
    }
}

#[test]
fn the_same_values_give_the_same_file() {
    let given = figure(&[1.0, 3.0, 2.0]);
    assert_eq!(forecast(&given), forecast(&given));
}

#[test]
fn an_interval_is_an_area_and_stays_on_the_page() {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let bands = [
        vec![(1, 0.5, 2.0), (2, -3.0, 9.0)],
        vec![(0, nan, 1.0), (1, 0.0, inf)],
        vec![(2, 0.5, 1.5)],
        vec![],
        vec![(0, 1.0, 2.0), (1, nan, 2.0), (2, 1.0, 3.0)],
    ];
    for (band, polygons) in bands.into_iter().zip([1, 0, 0, 0, 1]) {
        let shown = band.iter().any(|point| point.1.is_finite() || point.2.is_finite());
        let figure = Forecast { bands: vec![band], interval: "80 %".into(), ..figure(&[1.0, 2.0, 3.0]) };
        let svg = checked(forecast(&figure));
        assert_eq!((svg.matches("<polygon").count(), svg.contains("80 %")), (polygons, shown), "{figure:?}");
    }
    let rows = Forecast { bands: vec![vec![(0, 1.0, 2.0)], vec![(1, 1.0, 3.0)]], ..figure(&[1.0, 2.0]) };
    assert_eq!(checked(forecast(&rows)).matches("<polygon").count(), 1, "bands of one row are one");
    assert!(!checked(forecast(&figure(&[1.0, 2.0]))).contains("<polygon"));
}

#[test]
fn gradients_of_every_size_are_drawn() {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let named = |norms: &[&[f64]]| -> Vec<(String, Vec<f64>)> {
        norms.iter().enumerate().map(|(layer, norms)| (format!("layer {layer}"), norms.to_vec())).collect()
    };
    for norms in [&[][..], &[0.0, 0.0], &[nan], &[1.0, nan, inf, 0.0, 1e-320, 1e-40], &[f64::MAX, 1e-300], &[0.5]] {
        checked(gradient("loss", &named(&[norms, &[1.0; 7]])));
        checked(gradient("loss", &named(&[norms])));
    }
    assert!(checked(gradient("loss", &[])).contains("no values to show"));
    assert!(
        !checked(gradient("loss", &named(&[&[1.0, 0.5], &[0.0, 0.0]]))).contains("layer 1"),
        "nothing to see of it"
    );
}

#[test]
fn many_layers_are_picked_from_and_each_line_has_its_look() {
    let layers = |count: usize, suffix: &str| -> Vec<(String, Vec<f64>)> {
        (0..count).map(|layer| (format!("layer {layer}{suffix}"), vec![1.0, 0.5 + layer as f64])).collect()
    };
    let svg = checked(gradient("loss", &layers(1000, "")));
    assert!(svg.contains("layer 0\n") && svg.contains("layer 999\n"), "{svg}");
    let lines = |svg: &str| -> Vec<String> {
        let looks = attributes(svg, "polyline", "stroke").into_iter().map(str::to_owned);
        looks.filter(|colour| colour != "#E4E7EB" && colour != "#57606A").collect()
    };
    for (count, suffix, most) in [(1000, "", 5), (6, "", 6), (6, " ←", 5), (2, " of a very long name", 2)] {
        let svg = checked(gradient("loss", &layers(count, suffix)));
        let mut drawn = lines(&svg);
        drawn.sort_unstable();
        // Each once as a curve and once in the legend.
        assert!(drawn.chunks(2).all(|pair| pair[0] == pair[1]), "{drawn:?}");
        drawn.dedup();
        assert_eq!(drawn.len(), most, "{count} {suffix}");
        for colour in drawn {
            assert!(svg.contains(&format!("[stroke=\"{colour}\"]{{stroke:#")), "{colour}");
        }
    }
}
