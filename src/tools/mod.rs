//! Commands beside `run`: one file each, or one folder.

pub mod check;
pub mod doctor;
