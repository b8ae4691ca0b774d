//! What one run of a program may do: steps, and bytes of the values that it makes.
//!
//! A step is a node of the program that is run, or a few bytes that are read or copied, so that steps are time. Bytes
//! are counted when a value is made, and not given back before the run ends. At a limit everything fails that asks for
//! more, for the same reason: a program cannot go on beside it.

/// Steps of a program over one document. At the limit the run ends in a dead letter (`transform`).
pub const STEPS_MAX: u32 = 100_000;

/// Bytes of the values and objects that a program makes of one document. At the limit the run ends in a dead letter
/// (`transform`).
pub const BYTES_MAX: usize = 1024 * 1024;

/// Bytes that are read or copied in one step.
const STEP_BYTES: usize = 16;

/// Bytes that a value has beside its content.
const VALUE_BYTES: usize = 32;

/// What one run has done, and may do.
#[derive(Debug)]
pub(super) struct Meter {
    steps: u32,
    steps_max: u32,
    bytes: usize,
    bytes_max: usize,
    /// What has ended the run.
    ended: Option<Limit>,
}

/// What ends a run.
#[derive(Debug, Clone, Copy)]
enum Limit {
    Steps,
    Bytes,
}

impl Meter {
    /// Of a run that may do so many steps, and make so many bytes.
    pub(super) const fn new(steps_max: u32, bytes_max: usize) -> Self {
        Self { steps: 0, steps_max, bytes: 0, bytes_max, ended: None }
    }

    /// One node of the program.
    #[inline]
    pub(super) fn step(&mut self) -> Result<(), String> {
        self.take(1)
    }

    /// So many bytes are looked at.
    #[inline]
    pub(super) fn read(&mut self, bytes: usize) -> Result<(), String> {
        self.take(u32::try_from(bytes / STEP_BYTES).unwrap_or(u32::MAX))
    }

    /// A value of so many bytes is about to be made.
    pub(super) fn make(&mut self, bytes: usize) -> Result<(), String> {
        self.write(bytes)?;
        self.spend(VALUE_BYTES)
    }

    /// So many bytes are about to be appended to an object.
    pub(super) fn write(&mut self, bytes: usize) -> Result<(), String> {
        self.read(bytes)?;
        self.spend(bytes)
    }

    fn take(&mut self, steps: u32) -> Result<(), String> {
        let steps = self.steps.saturating_add(steps);
        if steps > self.steps_max || self.ended.is_some() {
            return Err(self.end(Limit::Steps));
        }
        self.steps = steps;
        Ok(())
    }

    fn spend(&mut self, bytes: usize) -> Result<(), String> {
        let bytes = self.bytes.saturating_add(bytes);
        if bytes > self.bytes_max {
            return Err(self.end(Limit::Bytes));
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Why it ends: for what ended it first.
    fn end(&mut self, limit: Limit) -> String {
        match self.ended.get_or_insert(limit) {
            Limit::Steps => {
                format!("it needs more than {STEPS_MAX} steps: go over less of the message")
            }
            Limit::Bytes => {
                format!("it makes more than {BYTES_MAX} bytes: take less of the message")
            }
        }
    }

    /// Whether a limit has ended the run.
    pub(super) const fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Steps that were done.
    pub(super) const fn steps(&self) -> u32 {
        self.steps
    }
}
