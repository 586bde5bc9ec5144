//! What a person sees: progress on standard error, the play itself on standard output. Colour only on a terminal and
//! without `NO_COLOR`; `anstream` sees to that. On a terminal the last line says what is under way; it is drawn anew as time
//! passes, and everything else is written above it. Elsewhere each line is written once.

use anstream::ColorChoice;
use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use std::fmt::{self, Display};
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const GREEN: Style = AnsiColor::Green.on_default();
pub(crate) const RED: Style = AnsiColor::Red.on_default();
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default();

/// On the wall: how often the last line is drawn anew. Braille is in the fonts of every terminal that people use.
const TICK: Duration = Duration::from_millis(100);
const TICKS: &str = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ";
/// Nobody wants to know how long something took that was over sooner.
const WORTH_TELLING: Duration = Duration::from_secs(1);

/// Told once nobody reads what is written, as after `cargo rehearse | head`.
static CLOSED: Notify = Notify::const_new();
/// Set once the play is written to standard error.
static ASIDE: OnceLock<()> = OnceLock::new();
/// The last line, once [`live`] has been called on a terminal.
static BOTTOM: OnceLock<Bottom> = OnceLock::new();

/// Waits until nobody reads the output any more.
pub async fn closed() {
    CLOSED.notified().await;
}

/// From now on the last line says what is under way, if standard error is a terminal that can rewrite a line (`TERM=dumb`
/// cannot). Only a program that has the terminal for itself calls this: tests run side by side.
pub fn live() {
    let target = ProgressDrawTarget::stderr();
    if !target.is_hidden() {
        BOTTOM.get_or_init(|| Bottom::on(target));
    }
}

/// What is drawn in front of what is under way: a clock that goes on by itself.
type Clock = Arc<dyn Fn() -> String + Send + Sync>;

struct Bottom {
    bar: ProgressBar,
    /// What is under way, and in the midst of what. The last is drawn.
    doing: Arc<Mutex<Vec<Doing>>>,
}

struct Doing {
    id: usize,
    text: String,
    clock: Clock,
}

impl Bottom {
    fn on(target: ProgressDrawTarget) -> Self {
        let doing = Arc::new(Mutex::new(Vec::<Doing>::new()));
        let shown = Arc::clone(&doing);
        let clock = move |_: &ProgressState, line: &mut dyn fmt::Write| {
            // Not while the lock is held: a clock may take its time.
            let clock = lock(&shown).last().map(|doing| Arc::clone(&doing.clock));
            // Nothing can go wrong with a line in memory.
            let _ = line.write_str(&clock.map_or_else(String::new, |clock| clock()));
        };
        let style = ProgressStyle::with_template("{spinner} {clock:>7}  {wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner())
            .tick_chars(TICKS)
            .with_key("clock", clock);
        let bar = ProgressBar::with_draw_target(None, target).with_style(style);
        Self { bar, doing }
    }

    fn begin(&self, text: &str, clock: Clock) -> usize {
        let mut doing = lock(&self.doing);
        let id = doing.last().map_or(0, |last| last.id + 1);
        let text = text.to_owned();
        doing.push(Doing { id, text, clock });
        drop(doing);
        self.draw();
        id
    }

    fn change(&self, id: usize, change: impl FnOnce(&mut Doing)) {
        if let Some(doing) = lock(&self.doing).iter_mut().find(|doing| doing.id == id) {
            change(doing);
        }
        self.draw();
    }

    fn end(&self, id: usize) {
        lock(&self.doing).retain(|doing| doing.id != id);
        self.draw();
    }

    fn draw(&self) {
        let text = lock(&self.doing).last().map(|doing| doing.text.clone());
        let Some(text) = text else {
            self.bar.finish_and_clear();
            return;
        };
        if self.bar.is_finished() {
            self.bar.reset();
        }
        self.bar.enable_steady_tick(TICK);
        self.bar.set_message(match colourful() {
            true => format!("{DIM}{text}{DIM:#}"),
            false => text,
        });
    }
}

fn lock(doing: &Mutex<Vec<Doing>>) -> MutexGuard<'_, Vec<Doing>> {
    doing.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether standard error has colours.
pub(crate) fn colourful() -> bool {
    anstream::stderr().current_choice() != ColorChoice::Never
}

/// Something that takes its time. The last line says so until this is dropped.
#[must_use = "it is over when it is dropped"]
pub struct Busy {
    /// `None` where there is no last line.
    id: Option<usize>,
    /// What is left on the terminal when it is over, and since when it has gone on.
    remains: Option<(String, Instant)>,
}

impl Busy {
    fn with(text: &str, clock: Clock) -> Self {
        Self {
            id: BOTTOM.get().map(|bottom| bottom.begin(text, clock)),
            remains: None,
        }
    }

    /// Whether anybody sees it.
    pub(crate) fn is_live(&self) -> bool {
        self.id.is_some()
    }

    /// What of it is under way.
    pub(crate) fn says(&self, text: impl Display) {
        if let (Some(bottom), Some(id)) = (BOTTOM.get(), self.id) {
            bottom.change(id, |doing| doing.text = text.to_string());
        }
    }

    /// From now on this clock stands in front of it, and goes on by itself.
    pub(crate) fn goes_by(&self, clock: impl Fn() -> String + Send + Sync + 'static) {
        if let (Some(bottom), Some(id)) = (BOTTOM.get(), self.id) {
            bottom.change(id, |doing| doing.clock = Arc::new(clock));
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let (Some(bottom), Some(id)) = (BOTTOM.get(), self.id) else {
            return;
        };
        bottom.end(id);
        if let Some((text, since)) = self.remains.take() {
            match since.elapsed() {
                took if took < WORTH_TELLING => progress(text),
                took => progress(format_args!("{text}, {} s", took.as_secs())),
            }
        }
    }
}

/// Progress that takes its time: one line, written before it begins, or on a terminal when it is over, with how long it took.
pub(crate) fn busy(text: impl Display) -> Busy {
    let (text, since) = (text.to_string(), Instant::now());
    // On the wall, unlike the clocks of AWS.
    let stopwatch = move || format!("{} s", since.elapsed().as_secs());
    let mut busy = Busy::with(&text, Arc::new(stopwatch));
    if busy.is_live() {
        busy.remains = Some((text, since));
    } else {
        progress(text);
    }
    busy
}

/// Something that only a terminal is told of, as long as it goes on.
pub(crate) fn meanwhile(text: impl Display) -> Busy {
    Busy::with(&text.to_string(), Arc::new(String::new))
}

/// A play of several acts; the last line says which one it is while nothing else is under way.
pub fn playing() -> Busy {
    meanwhile("the play begins")
}

/// Writes something above the last line.
fn above(write: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    match BOTTOM.get() {
        Some(bottom) => bottom.bar.suspend(write),
        None => write(),
    }
}

/// Writes a line that somebody else may be waiting for.
fn told(write: impl FnOnce() -> io::Result<()>) {
    if above(write).is_err() {
        CLOSED.notify_one();
    }
}

/// One line of the play.
pub fn line(text: impl Display) {
    told(|| match ASIDE.get() {
        Some(()) => writeln!(anstream::stderr(), "{text}"),
        None => writeln!(anstream::stdout(), "{text}"),
    });
}

/// From now on the play is written to standard error: standard output is for a [`document`].
pub fn play_on_standard_error() {
    ASIDE.get_or_init(|| ());
}

/// A document that another program reads, on standard output.
pub fn document(text: &str) {
    told(|| writeln!(io::stdout(), "{text}"));
}

/// One line of progress.
pub fn progress(text: impl Display) {
    told(|| writeln!(anstream::stderr(), "{DIM}· {text}{DIM:#}"));
}

/// What another program has to say, as it said it.
pub(crate) fn quote(text: &str) {
    told(|| writeln!(anstream::stderr(), "{text}"));
}

/// The beginning of an act.
pub fn heading(text: impl Display) {
    line(format_args!("\n{BOLD}{text}{BOLD:#}"));
    if let Some(bottom) = BOTTOM.get() {
        let playing = lock(&bottom.doing).first().map(|doing| doing.id);
        if let Some(id) = playing {
            bottom.change(id, |doing| doing.text = text.to_string());
        }
    }
}

/// Why nothing more happens.
pub fn error(error: &dyn Display) {
    let text = format_args!("{RED}{BOLD}error:{BOLD:#}{RED:#} {error}");
    // This is the last word in any case.
    let _ = above(|| writeln!(anstream::stderr(), "{text}"));
}

/// A notification, as its reader sees it on a phone.
pub(crate) fn notification(subject: Option<&str>, message: &str) {
    let subject = subject.unwrap_or_default();
    line(format_args!("           ┌ {BOLD}{subject}{BOLD:#}"));
    for paragraph in message.lines() {
        for wrapped in wrapped(paragraph) {
            line(
                format_args!("           │ {wrapped}")
                    .to_string()
                    .trim_end(),
            );
        }
    }
    line("           └");
}

/// A paragraph in lines that are easy to read. A command stays whole, to be copied.
fn wrapped(paragraph: &str) -> Vec<String> {
    const WIDTH: usize = 80;
    if paragraph.starts_with("aws ") || paragraph.is_empty() {
        return vec![paragraph.to_owned()];
    }
    let mut lines: Vec<String> = Vec::new();
    for word in paragraph.split(' ') {
        match lines.last_mut() {
            Some(last) if last.chars().count() + 1 + word.chars().count() <= WIDTH => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A duration as `0:45`, `12:03` or `1:02:03`.
pub(crate) fn clock(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_is_wrapped_between_words_and_a_command_is_not() {
        let text = "It runs again. ".repeat(8);
        let lines = wrapped(text.trim());
        assert!(
            lines.len() > 1 && lines.iter().all(|line| line.len() <= 80),
            "{lines:?}"
        );
        assert_eq!(lines.join(" "), text.trim());
        let command = format!("aws {}", "x ".repeat(100));
        assert_eq!(wrapped(&command), [command]);
        assert_eq!(wrapped(""), [""]);
    }

    #[test]
    fn a_duration_is_shown_as_a_clock_would() {
        assert_eq!(clock(0.4), "0:00");
        assert_eq!(clock(45.0), "0:45");
        assert_eq!(clock(723.2), "12:03");
        assert_eq!(clock(3723.0), "1:02:03");
    }
}
