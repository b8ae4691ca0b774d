//! What the keys choose: the part that is shown, how far it is scrolled, which sensors. Pure.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// Bytes of what is searched for, at most.
const SEARCH_BYTES_MAX: usize = 128;

/// Pages of sensors that can be gone back.
const PAGES_MAX: usize = 10_000;

/// A part of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Tab {
    #[default]
    All,
    Limits,
    Brokers,
    Sensors,
    DeadLetters,
    Warnings,
}

impl Tab {
    pub(super) const ALL: [Self; 6] =
        [Self::All, Self::Limits, Self::Brokers, Self::Sensors, Self::DeadLetters, Self::Warnings];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::All => "All",
            Self::Limits => "Limits",
            Self::Brokers => "Brokers",
            Self::Sensors => "Sensors",
            Self::DeadLetters => "Dead letters",
            Self::Warnings => "Warnings",
        }
    }

    /// So many parts on.
    fn by(self, steps: usize) -> Self {
        let at = Self::ALL.iter().position(|it| *it == self).unwrap_or_default();
        Self::ALL.into_iter().cycle().nth(at + steps).unwrap_or_default()
    }
}

/// Which states of sensors are shown.
const STATES: [&str; 4] = ["", "silent", "late", "online"];

/// What was chosen.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    pub(super) tab: Tab,
    /// Lines that are scrolled over. Whoever draws lowers it to what there is.
    pub(super) scroll: usize,
    /// What a sensor's id has in it; empty: anything.
    pub(super) search: String,
    /// Keys write into `search`.
    pub(super) is_searching: bool,
    /// The state of sensors; empty: any.
    pub(super) state: &'static str,
    pub(super) help: bool,
    pub(super) is_over: bool,
    /// The `after` of the pages of sensors up to this one, but for the first.
    pages: Vec<String>,
    /// The `next` of this page.
    pub(super) next: Option<String>,
}

impl Chosen {
    /// The path of the sensors that are wanted: what was chosen of them counts where they are alone.
    pub(super) fn path(&self) -> String {
        if self.tab != Tab::Sensors {
            return "/api/sensors?sort=silence".to_owned();
        }
        let all = [
            ("sort", "silence"),
            ("state", self.state),
            ("search", &self.search),
            ("after", self.pages.last().map_or("", String::as_str)),
        ];
        let set: Vec<_> = all.into_iter().filter(|it| !it.1.is_empty()).collect();
        let query = serde_urlencoded::to_string(set).expect("names and texts can be written");
        format!("/api/sensors?{query}")
    }

    /// The number of the page of sensors, from 1.
    pub(super) fn page(&self) -> usize {
        self.pages.len() + 1
    }

    /// Takes a key.
    pub(super) fn key(&mut self, key: KeyEvent) {
        if key.kind == KeyEventKind::Release {
            return;
        }
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c' | 'd') if is_control => self.is_over = true,
            code if self.is_searching => self.search_key(code),
            _ if self.help => self.help = false,
            code => self.plain_key(code),
        }
    }

    fn search_key(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.is_searching = false,
            KeyCode::Esc => {
                self.is_searching = false;
                self.search.clear();
            }
            KeyCode::Backspace => drop(self.search.pop()),
            KeyCode::Char(c) if self.search.len() < SEARCH_BYTES_MAX => self.search.push(c),
            _ => {}
        }
        self.begin_anew();
    }

    fn plain_key(&mut self, code: KeyCode) {
        match code {
            KeyCode::Char('q') | KeyCode::Esc => self.is_over = true,
            KeyCode::Char('?' | 'h') => self.help = true,
            KeyCode::Char('/') => {
                self.go(Tab::Sensors);
                self.is_searching = true;
            }
            KeyCode::Char('s') => {
                self.go(Tab::Sensors);
                let at = STATES.iter().position(|it| *it == self.state).unwrap_or_default();
                self.state = STATES.into_iter().cycle().nth(at + 1).unwrap_or_default();
                self.begin_anew();
            }
            KeyCode::Tab | KeyCode::Right => self.go(self.tab.by(1)),
            KeyCode::BackTab | KeyCode::Left => self.go(self.tab.by(Tab::ALL.len() - 1)),
            KeyCode::Char(digit @ '1'..='6') => {
                let at = digit.to_digit(10).unwrap_or(1) as usize - 1;
                self.go(Tab::All.by(at));
            }
            KeyCode::Down | KeyCode::Char('j') => self.scroll += 1,
            KeyCode::Up | KeyCode::Char('k') => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::PageDown | KeyCode::Char(' ') => self.scroll += 10,
            KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(10),
            KeyCode::Home | KeyCode::Char('g') => self.begin_anew(),
            KeyCode::End | KeyCode::Char('G') => self.scroll = usize::MAX,
            KeyCode::Char('n') => self.next_page(),
            KeyCode::Char('p') => self.page_before(),
            _ => {}
        }
    }

    fn go(&mut self, tab: Tab) {
        (self.tab, self.scroll) = (tab, 0);
    }

    /// Shows the first ones.
    fn begin_anew(&mut self) {
        self.scroll = 0;
        self.pages.clear();
        self.next = None;
    }

    fn next_page(&mut self) {
        if self.tab == Tab::Sensors
            && self.pages.len() < PAGES_MAX
            && let Some(next) = self.next.take()
        {
            self.pages.push(next);
            self.scroll = 0;
        }
    }

    fn page_before(&mut self) {
        if self.tab == Tab::Sensors && self.pages.pop().is_some() {
            (self.next, self.scroll) = (None, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(chosen: &mut Chosen, keys: &str) {
        for c in keys.chars() {
            let code = match c {
                '\t' => KeyCode::Tab,
                '\n' => KeyCode::Enter,
                '\u{1b}' => KeyCode::Esc,
                '\u{8}' => KeyCode::Backspace,
                '<' => KeyCode::Left,
                c => KeyCode::Char(c),
            };
            chosen.key(KeyEvent::new(code, KeyModifiers::NONE));
        }
    }

    #[test]
    fn keys_go_through_the_parts_and_round() {
        let mut chosen = Chosen::default();
        let mut at = |keys: &str| {
            press(&mut chosen, keys);
            chosen.tab
        };
        assert_eq!([at("\t"), at("\t\t"), at("<<<")], [Tab::Limits, Tab::Sensors, Tab::All]);
        assert_eq!([at("<"), at("\t"), at("5")], [Tab::Warnings, Tab::All, Tab::DeadLetters]);
        press(&mut chosen, "?q");
        assert!(!chosen.is_over && !chosen.help, "a key closes the help");
        press(&mut chosen, "q");
        assert!(chosen.is_over);
        let mut chosen = Chosen { is_searching: true, ..Chosen::default() };
        chosen.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert!(chosen.is_over, "also in a search");
    }

    #[test]
    fn a_search_takes_each_key_until_it_ends() {
        let mut chosen = Chosen::default();
        press(&mut chosen, "/q x?\u{8}ü");
        assert!((chosen.is_searching, chosen.tab) == (true, Tab::Sensors) && !chosen.is_over);
        assert_eq!(chosen.path(), "/api/sensors?sort=silence&search=q+x%C3%BC");
        press(&mut chosen, "\ns");
        assert_eq!(chosen.path(), "/api/sensors?sort=silence&state=silent&search=q+x%C3%BC");
        press(&mut chosen, "/\u{1b}");
        assert_eq!(chosen.path(), "/api/sensors?sort=silence&state=silent");
        press(&mut chosen, &"/".repeat(500));
        assert_eq!(chosen.search.len(), SEARCH_BYTES_MAX);
    }

    #[test]
    fn pages_go_on_and_back() {
        let mut chosen =
            Chosen { tab: Tab::Sensors, next: Some("a/b".into()), ..Chosen::default() };
        press(&mut chosen, "nn");
        assert_eq!(
            (chosen.path().as_str(), chosen.page()),
            ("/api/sensors?sort=silence&after=a%2Fb", 2)
        );
        chosen.next = Some("c".into());
        press(&mut chosen, "np");
        assert_eq!(chosen.page(), 2);
        press(&mut chosen, "ppp");
        assert_eq!((chosen.path().as_str(), chosen.page()), ("/api/sensors?sort=silence", 1));
    }
}
