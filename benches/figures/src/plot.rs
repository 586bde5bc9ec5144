//! A plot as SVG: text that needs nothing else, in an HTML page or as a file of its own. Its colours follow those that its
//! reader prefers, lines differ in their dashes and marks as well, and a screen reader reads out the points.

use crate::{Plot, Series, thousands};
use std::fmt::{self, Write as _};

const WIDTH: f64 = 680.0;
const HEIGHT: f64 = 400.0;
/// What the area of the lines leaves free, for title, legend, ticks and names of the axes.
const LEFT: f64 = 72.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 76.0;
const BOTTOM: f64 = 56.0;
/// From this on the largest is so many times the smallest that only a logarithmic axis shows both.
const WIDE: f64 = 50.0;

/// Standing alone the picture has the reader's colours; in a page `currentColor` is that of the page.
const STYLE: &str = "\
.figures-plot{font:13px system-ui,-apple-system,'Segoe UI',sans-serif;font-variant-numeric:tabular-nums}\
svg.figures-plot:root{color:#1f2328}\
.figures-plot text{fill:currentColor}\
.figures-plot .name{font-size:16px;font-weight:600}\
.figures-plot .grid{stroke:currentColor;stroke-opacity:.15}\
.figures-plot .axis{stroke:currentColor;stroke-opacity:.6}\
.figures-plot .line{fill:none;stroke-width:2}\
.figures-plot .s0{color:#0969da}.figures-plot .s1{color:#bc4c00}.figures-plot .s2{color:#1a7f37}.figures-plot .s3{color:#8250df}\
.figures-plot .line,.figures-plot .mark{stroke:currentColor}.figures-plot .mark{fill:currentColor}\
@media(prefers-color-scheme:dark){svg.figures-plot:root{color:#e6edf3}\
.figures-plot .s0{color:#58a6ff}.figures-plot .s1{color:#f0883e}.figures-plot .s2{color:#3fb950}.figures-plot .s3{color:#bc8cff}}";
const COLOURS: usize = 4;
const DASHES: [&str; COLOURS] = ["none", "7 4", "2 3", "9 3 2 3"];

impl Plot {
    /// The plot as SVG.
    pub fn svg(&self) -> String {
        let x = Axis::of(self.values(|point| point.0), LEFT, WIDTH - RIGHT);
        let y = Axis::of(self.values(|point| point.1), HEIGHT - BOTTOM, TOP);
        let mut svg = String::new();
        let drawn = self.draw(&mut svg, &x, &y);
        drawn.expect("a string can be written to");
        svg
    }

    fn values(&self, of: impl Fn(&(f64, f64)) -> f64) -> Vec<f64> {
        let points = self.series.iter().flat_map(|series| &series.points);
        points.map(of).filter(|value| value.is_finite()).collect()
    }

    fn draw(&self, svg: &mut String, x: &Axis, y: &Axis) -> fmt::Result {
        let id = id(&self.title);
        writeln!(
            svg,
            r#"<svg xmlns="http://www.w3.org/2000/svg" class="figures-plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{id}-title {id}-desc">"#
        )?;
        writeln!(
            svg,
            r#"<title id="{id}-title">{}</title>"#,
            escaped(&self.title)
        )?;
        writeln!(
            svg,
            r#"<desc id="{id}-desc">{}</desc>"#,
            escaped(&self.in_words())
        )?;
        writeln!(svg, "<style>{STYLE}</style>")?;
        writeln!(
            svg,
            r#"<text class="name" x="{LEFT}" y="24">{}</text>"#,
            escaped(&self.title)
        )?;
        self.legend(svg)?;
        self.grid(svg, x, y)?;
        for (n, series) in self.series.iter().enumerate() {
            line(svg, n, series, x, y)?;
        }
        writeln!(svg, "</svg>")
    }

    /// What a screen reader says.
    fn in_words(&self) -> String {
        let mut words = format!("{} against {}.", self.y, self.x);
        for Series { name, points } in &self.series {
            let points = known(points).map(|(x, y)| format!("{} at {}", number(y), number(x)));
            let points: Vec<_> = points.collect();
            let _ = write!(words, " {name}: {}.", points.join(", "));
        }
        words
    }

    fn legend(&self, svg: &mut String) -> fmt::Result {
        const LETTER: f64 = 7.5;
        let mut at = LEFT;
        for (n, Series { name, .. }) in self.series.iter().enumerate() {
            let (class, dash) = (n % COLOURS, DASHES[n % COLOURS]);
            let (end, text) = (at + 28.0, at + 36.0);
            writeln!(
                svg,
                r#"<path class="line s{class}" stroke-dasharray="{dash}" d="M{at:.1} 47H{end:.1}"/>"#
            )?;
            mark(svg, n, at + 14.0, 47.0)?;
            writeln!(
                svg,
                r#"<text x="{text:.1}" y="51">{}</text>"#,
                escaped(name)
            )?;
            at = text + LETTER * name.chars().count() as f64 + 18.0;
        }
        Ok(())
    }

    fn grid(&self, svg: &mut String, x: &Axis, y: &Axis) -> fmt::Result {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for tick in y.ticks() {
            let (at, text) = (y.at(tick), number(tick));
            writeln!(svg, r#"<path class="grid" d="M{LEFT} {at:.1}H{right}"/>"#)?;
            let (left, base) = (LEFT - 8.0, at + 4.5);
            writeln!(
                svg,
                r#"<text text-anchor="end" x="{left}" y="{base:.1}">{text}</text>"#
            )?;
        }
        for tick in x.ticks() {
            let (at, text) = (x.at(tick), number(tick));
            writeln!(svg, r#"<path class="grid" d="M{at:.1} {TOP}V{bottom}"/>"#)?;
            let base = bottom + 19.0;
            writeln!(
                svg,
                r#"<text text-anchor="middle" x="{at:.1}" y="{base}">{text}</text>"#
            )?;
        }
        writeln!(
            svg,
            r#"<path class="axis" fill="none" d="M{LEFT} {TOP}V{bottom}H{right}"/>"#
        )?;
        let (middle, base) = ((LEFT + right) / 2.0, HEIGHT - 12.0);
        let name = escaped(&self.x);
        writeln!(
            svg,
            r#"<text text-anchor="middle" x="{middle}" y="{base}">{name}</text>"#
        )?;
        let (middle, name) = ((TOP + bottom) / 2.0, escaped(&self.y));
        writeln!(
            svg,
            r#"<text text-anchor="middle" transform="translate(16 {middle}) rotate(-90)">{name}</text>"#
        )
    }
}

/// The points that have a place.
fn known(points: &[(f64, f64)]) -> impl Iterator<Item = (f64, f64)> {
    let points = points.iter().copied();
    points.filter(|(x, y)| x.is_finite() && y.is_finite())
}

fn line(svg: &mut String, n: usize, series: &Series, x: &Axis, y: &Axis) -> fmt::Result {
    let points = known(&series.points).map(|(px, py)| (x.at(px), y.at(py)));
    let points: Vec<_> = points.collect();
    let path: Vec<_> = points
        .iter()
        .map(|(x, y)| format!("{x:.1} {y:.1}"))
        .collect();
    if path.is_empty() {
        return Ok(());
    }
    writeln!(
        svg,
        r#"<path class="line s{}" stroke-dasharray="{}" d="M{}"/>"#,
        n % COLOURS,
        DASHES[n % COLOURS],
        path.join("L")
    )?;
    points.iter().try_for_each(|(x, y)| mark(svg, n, *x, *y))
}

/// A disc, a square, a triangle or a rhombus.
fn mark(svg: &mut String, n: usize, x: f64, y: f64) -> fmt::Result {
    let shape = match n % COLOURS {
        0 => "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
        1 => "m-3.5 -3.5h7v7h-7z",
        2 => "m0 -5l4.5 8h-9z",
        _ => "m0 -5l5 5l-5 5l-5 -5z",
    };
    let class = n % COLOURS;
    writeln!(
        svg,
        r#"<path class="mark s{class}" d="M{x:.1} {y:.1}{shape}"/>"#
    )
}

/// From values to places.
struct Axis {
    from: f64,
    to: f64,
    is_logarithmic: bool,
    /// Between the ticks, or what each is times the one before.
    step: f64,
    /// Where it begins and ends on the picture.
    places: (f64, f64),
}

impl Axis {
    fn of(values: Vec<f64>, begin: f64, end: f64) -> Self {
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let is_logarithmic = least > 0.0 && most / least >= WIDE;
        let (from, to, step) = if is_logarithmic {
            let whole = |value: f64| 10_f64.powf(value);
            (
                whole(least.log10().floor()),
                whole(most.log10().ceil()),
                10.0,
            )
        } else {
            let most = if most > 0.0 { most } else { 1.0 };
            let least = least.min(0.0);
            let step = round_step((most - least) / 5.0);
            (
                (least / step).floor() * step,
                (most / step).ceil() * step,
                step,
            )
        };
        Self {
            from,
            to,
            is_logarithmic,
            step,
            places: (begin, end),
        }
    }

    fn at(&self, value: f64) -> f64 {
        let part = if self.is_logarithmic {
            (value / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        let (begin, end) = self.places;
        begin + part * (end - begin)
    }

    fn ticks(&self) -> Vec<f64> {
        let mut ticks = vec![self.from];
        // Less than a step short of the end is the end, however it was rounded.
        while let Some(&last) = ticks.last() {
            let next = if self.is_logarithmic {
                last * self.step
            } else {
                self.from + ticks.len() as f64 * self.step
            };
            if next > self.to + self.step / 1e6 {
                break;
            }
            ticks.push(next);
        }
        ticks
    }
}

/// One, two or five times a power of ten, and no less than that.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|of| of * power);
    steps
        .into_iter()
        .find(|step| *step >= least)
        .unwrap_or(least)
}

/// `1,000`, `0.25`: as short as it can be told, with thousands.
fn number(value: f64) -> String {
    if value.abs() >= 10.0 {
        let sign = if value < 0.0 { "-" } else { "" };
        return format!("{sign}{}", thousands(value.abs().round() as usize));
    }
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// In a page each plot needs ids of its own.
fn id(title: &str) -> String {
    let letters = title.chars().filter(|letter| letter.is_ascii());
    let letters = letters.map(|letter| match letter.to_ascii_lowercase() {
        letter @ ('a'..='z' | '0'..='9') => letter,
        _ => '-',
    });
    format!("plot-{}", letters.collect::<String>())
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(points: &[(f64, f64)]) -> Plot {
        Plot {
            title: "Calls <of> \"AWS\" & co".into(),
            x: "services".into(),
            y: "calls".into(),
            series: vec![Series {
                name: "push".into(),
                points: points.to_vec(),
            }],
        }
    }

    #[test]
    fn what_grows_a_hundredfold_is_drawn_on_logarithmic_axes_and_what_does_not_from_zero() {
        let axis = Axis::of(vec![1.0, 10.0, 1000.0], 0.0, 300.0);
        assert_eq!(axis.ticks(), [1.0, 10.0, 100.0, 1000.0]);
        assert_eq!(
            [1.0, 10.0, 1000.0].map(|at| axis.at(at).round()),
            [0.0, 100.0, 300.0]
        );
        let axis = Axis::of(vec![30.0, 45.0], 400.0, 0.0);
        assert_eq!(axis.ticks(), [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]);
        assert_eq!(axis.at(25.0), 200.0);
    }

    #[test]
    fn a_plot_of_one_point_of_equal_points_or_of_none_has_no_place_that_is_no_number() {
        for points in [
            &[][..],
            &[(1.0, 0.0)],
            &[(5.0, 7.0), (5.0, 7.0)],
            &[(1.0, f64::NAN)],
        ] {
            let svg = plot(points).svg();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn a_screen_reader_hears_every_point_and_no_text_becomes_markup() {
        let svg = plot(&[(1.0, 38.0), (1000.0, 38_400.0)]).svg();
        assert!(svg.contains("push: 38 at 1, 38,400 at 1,000."), "{svg}");
        assert!(
            svg.contains("Calls &lt;of&gt; &quot;AWS&quot; &amp; co</title>"),
            "{svg}"
        );
        let mut plot = plot(&[(1.0, 38.0), (10.0, 380.0)]);
        let name = &mut plot.series[0].name;
        for text in [&mut plot.title, &mut plot.x, &mut plot.y, name] {
            *text = "<script>".into();
        }
        let svg = plot.svg();
        assert!(!svg.contains("<script"), "{svg}");
        assert!(svg.matches("&lt;script&gt;").count() >= 4, "{svg}");
    }

    #[test]
    fn numbers_are_short_and_have_thousands() {
        for (value, text) in [
            (1.0, "1"),
            (0.25, "0.25"),
            (12_345.6, "12,346"),
            (-1000.0, "-1,000"),
            (100.0, "100"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
