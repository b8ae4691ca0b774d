//! What one run of a program may do: steps, and bytes of the values that it makes.
//!
//! A step is a node of the program that is run, or a few bytes that are read or copied, so that steps are time. Bytes
//! are counted when a value is made, and not given back before the run ends.

/// Steps of a program over one document. At the limit the run ends in a dead letter (`transform`).
pub const STEPS_MAX: u32 = 100_000;

/// Bytes of the values and objects that a program makes of one document. At the limit the run ends in a dead letter
/// (`transform`).
pub const BYTES_MAX: usize = 1024 * 1024;

/// Bytes that are read or copied in one step.
const STEP_BYTES: usize = 16;

/// Bytes that a value has beside its content.
const VALUE_BYTES: usize = 32;

/// What is left of one run.
#[derive(Debug)]
pub(super) struct Meter {
    steps: u32,
    bytes: usize,
}

impl Default for Meter {
    fn default() -> Self {
        Self { steps: STEPS_MAX, bytes: BYTES_MAX }
    }
}

impl Meter {
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
        self.read(bytes)?;
        self.spend(bytes.saturating_add(VALUE_BYTES))
    }

    fn spend(&mut self, bytes: usize) -> Result<(), String> {
        let Some(left) = self.bytes.checked_sub(bytes) else {
            self.steps = 0;
            return Err(format!("it makes more than {BYTES_MAX} bytes: take less of the message"));
        };
        self.bytes = left;
        Ok(())
    }

    /// So many bytes are about to be appended to an object.
    pub(super) fn write(&mut self, bytes: usize) -> Result<(), String> {
        self.read(bytes)?;
        self.spend(bytes)
    }

    fn take(&mut self, steps: u32) -> Result<(), String> {
        let Some(left) = self.steps.checked_sub(steps) else {
            self.steps = 0;
            return Err(format!(
                "it needs more than {STEPS_MAX} steps: go over less of the message"
            ));
        };
        self.steps = left;
        Ok(())
    }

    /// Whether it is used up: nothing more can be run.
    pub(super) const fn is_spent(&self) -> bool {
        self.steps == 0
    }

    /// Steps that were done.
    pub(super) const fn steps(&self) -> u32 {
        STEPS_MAX - self.steps
    }
}
