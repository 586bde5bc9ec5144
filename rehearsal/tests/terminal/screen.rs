//! A terminal: the kernel's end of it, and what a person sees on it.

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};
use vt100::Parser;

/// So high that nothing scrolls away.
const ROWS: u16 = 300;
/// A play takes seconds, and may have to wait for cargo, which another test has compile the functions.
const LIMIT: Duration = Duration::from_secs(600);

fn extent(characters: u16) -> NonZero<u16> {
    NonZero::new(characters).expect("a terminal is not empty")
}

/// A command that runs on a terminal of its own.
pub(crate) struct Screen {
    pub(crate) child: Child,
    keyboard: File,
    output: Receiver<Vec<u8>>,
    drawn: Parser,
    /// How long something may take that has to happen.
    pub(crate) patience: Duration,
    /// Everything that was written.
    pub(crate) raw: Vec<u8>,
}

impl Screen {
    pub(crate) fn of(mut command: Command, columns: u16) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&controller).expect("it is ours");
        unlockpt(&controller).expect("it can be opened");
        let size = Winsize {
            ws_row: ROWS,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&controller, size).expect("it has a size");
        let path = ptsname(&controller, Vec::new()).expect("it has a name");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let terminal = rustix::fs::open(path, flags, Mode::empty()).expect("it opens");
        command
            .stdin(terminal.try_clone().expect("a descriptor"))
            .stdout(terminal.try_clone().expect("a descriptor"))
            .stderr(terminal);
        let child = command.spawn().expect("it starts");
        // It holds the other end of the terminal: without it reading ends with the child.
        drop(command);
        let keyboard = File::from(controller);
        let mut display = keyboard.try_clone().expect("a descriptor");
        let (sender, output) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = display.read(&mut buffer) {
                if sender.send(buffer[..read].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            keyboard,
            output,
            patience: LIMIT,
            drawn: Parser::new(extent(ROWS), extent(columns), 0),
            raw: Vec::new(),
        }
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.keyboard
            .write_all(keys.as_bytes())
            .expect("it takes keys");
    }

    /// What is on it, without the empty rows below.
    pub(crate) fn text(&self) -> String {
        self.drawn.screen().contents()
    }

    pub(crate) fn rows(&self) -> Vec<String> {
        self.text().lines().map(str::to_owned).collect()
    }

    pub(crate) fn hides_its_cursor(&self) -> bool {
        self.drawn.screen().hide_cursor()
    }

    /// Waits until what is on it is as `enough` says; with a look at everything that was on it in between.
    pub(crate) fn until(&mut self, mut enough: impl FnMut(&Self) -> bool) {
        let begin = Instant::now();
        while !enough(self) {
            assert!(
                begin.elapsed() < self.patience,
                "it never came:\n{}",
                self.text()
            );
            match self.output.recv_timeout(Duration::from_millis(100)) {
                Ok(bytes) => {
                    self.drawn.process(&bytes);
                    self.raw.extend(bytes);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    assert!(enough(self), "it never came:\n{}", self.text());
                    return;
                }
            }
        }
    }

    /// Waits for the end; `look` is called for everything that was on it in between.
    pub(crate) fn end(&mut self, mut look: impl FnMut(&Self)) -> ExitStatus {
        let begin = Instant::now();
        while let Ok(bytes) = self.output.recv_timeout(LIMIT) {
            self.drawn.process(&bytes);
            self.raw.extend(bytes);
            look(self);
            assert!(begin.elapsed() < LIMIT, "no end:\n{}", self.text());
        }
        self.child.wait().expect("it ends")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // It has ended already where the test has waited for it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
