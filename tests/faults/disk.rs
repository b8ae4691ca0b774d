//! What happens to the spool's disk: slow, failing, read-only. A disk that is full is in `spool`.

use crate::faults::Trial;
use crate::scene::LONG;
use crate::support::SOON;
use crate::support::gateway::Gateway;
use crate::support::proxy::Cut;

/// With the output away and the spool's disk as `inject` makes it (see strace(1)).
fn with_disk(name: &str, inject: &'static str, says: &[&str]) {
    let trial = Trial::new(name, 2500, 0);
    trial.launched(move |config| Gateway::with_faulty_calls(config, inject)).run(|stage| {
        stage.to_sink.refuse();
        stage.to_sink.cut(Cut::Reset);
        for words in says {
            stage.gateway.wait_for_line(words, SOON);
        }
        stage.wait(500..1000);
        stage.to_sink.accept();
        stage.gateway.wait_for_line("the spool is empty", LONG);
    });
}

#[test]
fn slow_sync() {
    let inject = "inject=fsync,fdatasync:delay_enter=200ms";
    with_disk("each sync of the disk takes 0.2 s", inject, &["batches go to the spool"]);
}

#[test]
fn failing_writes() {
    let inject = "inject=pwrite64:error=EIO:when=100..103";
    let says = ["the spool's disk fails", "the spool's disk works again"];
    with_disk("spool's disk fails, I/O error", inject, &says);
}

#[test]
fn read_only() {
    let inject = "inject=pwrite64,ftruncate,fdatasync:error=EROFS:when=100..103";
    let says = ["the spool's disk fails", "the spool's disk works again"];
    with_disk("spool's disk becomes read-only", inject, &says);
}
