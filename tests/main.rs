//! What Sluicegate promises, tested from outside: the built program beside real and scripted
//! brokers. One file for each promise; what the tests stand on is in `support`.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on stops"
)]

mod api;
mod backpressure;
mod circles;
mod conformance;
mod connecting;
mod dead_letters;
mod delivery;
mod device;
mod devices;
mod doctor;
mod edge_node;
mod entries;
mod exec;
mod explain;
mod faults;
mod file_output;
mod floods;
mod footguns;
mod formats;
mod fuzz;
mod hang_ups;
mod layout;
mod limits;
mod manual;
mod many;
mod monitoring;
mod notices;
mod one_for_all;
mod openapi;
mod operations;
mod outage;
mod output_formats;
mod outside;
mod page;
mod pages;
mod policies;
mod protocol;
mod quiet;
mod readings;
mod recalled;
mod record;
mod reload;
mod reload_output;
mod renewal;
mod routes;
mod scene;
mod schema;
mod security;
mod sessions;
mod settings;
mod shedding;
mod silent;
mod simulate;
mod sparkplug;
#[path = "../src/fuzz.rs"]
mod spoil;
mod spool;
mod stalled;
mod start;
mod stdin;
mod stopping;
mod subscriptions;
mod support;
mod tail;
mod takeover;
mod tls;
mod top;
mod verify;
mod websocket;
#[cfg(feature = "embedded-broker")]
mod zero_setup;
