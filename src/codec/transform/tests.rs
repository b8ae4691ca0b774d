//! Tests of programs: what they mean, and what no program and no message makes them do.

use super::meter::{BYTES_MAX, Meter, STEPS_MAX};
use super::*;
use crate::clock::Timestamp;

mod limits;
mod meaning;

/// What a program makes of a document: JSON texts with their tags behind, or why there is none.
fn made(program: &str, json: &str) -> Vec<Result<String, String>> {
    run(&program.to_owned().try_into().unwrap(), json).0
}

fn run(transform: &Transform, json: &str) -> (Vec<Result<String, String>>, u32) {
    run_within(Meter::new(STEPS_MAX, BYTES_MAX), transform, json)
}

/// The same, with so many steps and bytes.
fn run_within(
    meter: Meter,
    transform: &Transform,
    json: &str,
) -> (Vec<Result<String, String>>, u32) {
    let levels = (&["device".to_owned()][..], &["d1"][..]);
    let received = Timestamp::from_millis(1_795_332_650_692);
    let scene = Scene { json, levels, entry: "boiler", received };
    let mut all = Vec::new();
    let (steps, flow) = transform.run_within(meter, scene, &mut |made| {
        all.push(match made {
            Ok(Object { json, tags }) => {
                Ok(tags.iter().fold(json.to_owned(), |it, tag| format!("{it} {}={}", tag.0, tag.1)))
            }
            Err(malformed) => {
                assert_eq!(malformed.reason, Reason::Transform);
                Err(malformed.detail)
            }
        });
        ControlFlow::Continue(())
    });
    assert!(flow.is_continue() || all.last().is_some_and(Result::is_err));
    (all, steps)
}
