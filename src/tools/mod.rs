//! Commands beside `run`: one file or folder each.

mod certificates;
pub mod check;
pub mod doctor;
pub mod explain;
mod listening;
pub mod record;
pub mod simulate;
pub mod tail;
pub mod verify;
