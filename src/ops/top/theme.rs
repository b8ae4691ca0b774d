//! How things are marked: by colour, and without colours by weight. No mark stands alone: a word says the same.

use ratatui::style::{Color, Modifier, Style};

/// What a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    /// Beside the matter.
    Dim,
    Title,
    Chosen,
    Good,
    /// It needs a look soon.
    Near,
    /// It needs a look now.
    Bad,
}

/// Whether there are colours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Theme {
    pub(super) colours: bool,
}

impl Theme {
    pub(super) fn style(self, tone: Tone) -> Style {
        let (colour, weight) = match tone {
            Tone::Plain => (None, Modifier::empty()),
            Tone::Dim => (Some(Color::DarkGray), Modifier::empty()),
            Tone::Title => (Some(Color::Cyan), Modifier::BOLD),
            Tone::Chosen => (None, Modifier::REVERSED),
            Tone::Good => (Some(Color::Green), Modifier::BOLD),
            Tone::Near => (Some(Color::Yellow), Modifier::BOLD),
            Tone::Bad => (Some(Color::Red), Modifier::BOLD),
        };
        let style = Style::new().add_modifier(weight);
        match colour.filter(|_| self.colours) {
            Some(colour) => style.fg(colour),
            None => style,
        }
    }
}
