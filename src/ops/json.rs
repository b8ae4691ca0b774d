//! Bodies of answers.

use serde::Serialize;

/// One line of JSON.
pub(super) fn written(body: &impl Serialize) -> String {
    serde_json::to_string(body).expect("numbers and text can be written") + "\n"
}
