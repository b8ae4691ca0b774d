//! Medians with their range, and the table at the end.

use std::fmt;

/// Several measurements of the same thing.
#[derive(Clone, Default)]
pub(crate) struct Spread(Vec<f64>);

impl Spread {
    /// Adds one.
    pub(crate) fn add(&mut self, value: f64) {
        self.0.push(value);
        self.0.sort_by(f64::total_cmp);
    }

    /// The one that so much of the rest (0 to 1) lies below.
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        self.0.get((last as f64 * part).round() as usize).copied().unwrap_or(f64::NAN)
    }

    /// The median.
    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }
}

impl FromIterator<f64> for Spread {
    fn from_iter<T: IntoIterator<Item = f64>>(values: T) -> Self {
        let mut all: Vec<f64> = values.into_iter().collect();
        all.sort_by(f64::total_cmp);
        Self(all)
    }
}

/// `median [min..max]`, with as many digits as the precision says.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(0);
        let [median, min, max] = [0.5, 0.0, 1.0].map(|part| self.quantile(part));
        let text = format!("{median:.digits$} [{min:.digits$}..{max:.digits$}]");
        f.pad_integral(true, "", &text)
    }
}

/// What a figure has to be.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// So much or more.
    AtLeast(f64),
    /// So much or less.
    AtMost(f64),
    /// Shown for its own sake.
    None,
}

struct Figure {
    name: String,
    absolute: bool,
    measured: f64,
    digits: usize,
    unit: &'static str,
    target: Target,
}

/// The figures of a run.
#[derive(Default)]
pub(crate) struct Figures(Vec<Figure>);

impl Figures {
    /// Notes a figure, to be shown with so many digits and its unit. Its target holds anywhere.
    pub(crate) fn note(
        &mut self,
        name: impl Into<String>,
        measured: f64,
        (digits, unit): (usize, &'static str),
        target: Target,
    ) {
        let name = name.into();
        self.0.push(Figure { name, absolute: false, measured, digits, unit, target });
    }

    /// Notes a figure whose target depends on the machine: a goal, set on one of ours.
    pub(crate) fn goal(
        &mut self,
        name: impl Into<String>,
        measured: f64,
        shown: (usize, &'static str),
        target: Target,
    ) {
        self.note(name, measured, shown, target);
        if let Some(figure) = self.0.last_mut() {
            figure.absolute = true;
        }
    }

    /// Prints all of them.
    pub(crate) fn print(&self) {
        println!(
            "\nA goal depends on the machine: it was set on one of ours, with two processors."
        );
        println!("\n{:<62}{:>16}{:>18}", "figure", "measured", "target");
        for Figure { name, absolute, measured, digits, unit, target } in &self.0 {
            let shown = format!("{measured:.digits$} {unit}");
            let (target, met) = match *target {
                Target::AtLeast(target) => {
                    (format!(">= {target:.digits$} {unit}"), Some(*measured >= target))
                }
                Target::AtMost(target) => {
                    (format!("<= {target:.digits$} {unit}"), Some(*measured <= target))
                }
                Target::None => (String::new(), None),
            };
            let met = match (met, absolute) {
                (None, _) => "",
                (Some(true), false) => "  met",
                (Some(false), false) => "  missed",
                (Some(true), true) => "  goal met",
                (Some(false), true) => "  goal missed",
            };
            println!("{name:<62}{:>16}{:>18}{met}", shown.trim_end(), target.trim_end());
        }
    }
}
