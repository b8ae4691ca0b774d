//! The terminal: taken whole at the start, and given back however it ends: by a key, a signal or a panic.

use std::io::{self, IsTerminal, Stdout, Write};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use tokio::sync::mpsc;

use crate::tasks;

/// Keys that wait to be taken.
const KEYS_MAX: usize = 64;

/// The terminal while it is ours.
#[derive(Debug)]
pub(super) struct Screen {
    pub(super) terminal: Terminal<CrosstermBackend<Stdout>>,
    _taken: Taken,
}

/// Gives it back, also where it could be taken half only.
#[derive(Debug)]
struct Taken;

impl Screen {
    /// Takes it.
    pub(super) fn take() -> io::Result<Self> {
        if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            return Err(io::Error::other("standard input or output is no terminal"));
        }
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panicked| {
            // First: else nobody sees what it says.
            give_back(&mut io::stdout());
            before(panicked);
        }));
        let taken = Taken;
        TAKEN.store(true, Ordering::Relaxed);
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen)?;
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout()))?;
        Ok(Self { terminal, _taken: taken })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        give_back(&mut io::stdout());
    }
}

/// Whether it is ours. A panic gives it back before what the panic says, and must not do so again behind that: the
/// cursor would go back to where it was at the start.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Twice is as once. What fails here can be told nowhere.
fn give_back(out: &mut impl Write) {
    if !TAKEN.swap(false, Ordering::Relaxed) {
        return;
    }
    drop(disable_raw_mode());
    drop(execute!(out, LeaveAlternateScreen, Show));
}

/// Reads keys, and changes of the size, by a thread of their own. It ends with the process, or with the terminal.
pub(super) fn keys() -> io::Result<mpsc::Receiver<Event>> {
    let (keys, taken) = mpsc::channel(KEYS_MAX);
    let reading = move || {
        while let Ok(event) = event::read() {
            if keys.blocking_send(event).is_err() {
                return;
            }
        }
    };
    tasks::thread("keys", reading).map(|_| taken)
}
