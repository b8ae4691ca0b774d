//! Commands beside `run`: one file each.

pub mod check;
