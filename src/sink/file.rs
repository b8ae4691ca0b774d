//! `[output.file]`: batches as lines of a file, or of standard output.
//!
//! A batch is a line; with `format = "ndjson"` each record is one. Dead letters are lines of a file of their
//! own. What has come while the disk was busy is written together and synced once; only then is it
//! answered as taken. So a line that was answered is on the disk, and after a crash the batches without an
//! answer are written again, with the same ids.
//!
//! - A line that could not be written whole is taken back. One that a crash tore is ended with a line break, for
//!   there is no telling whether it is ours.
//! - A file that was renamed or removed (as `logrotate` does) is made anew before the next write. Above
//!   `rotate_bytes` the file is renamed by this sink: `.1` is the youngest of `files_max` older ones.
//! - A write that fails is the end of a connection: nothing behind it is written before it, the engine gives all
//!   that has no answer again, in order, and health says why. A disk that is full for a large batch may take a
//!   small one: answered one by one, they would change their order.

use std::future::pending;
use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;

use self::appended::Appended;
use super::routing::Routing;
use super::{Answer, Declared, Event, Measure, Number, Publication, ReadBack, Start, Surroundings};
use crate::backoff::Backoff;
use crate::clock;
use crate::limits::RECONNECT_PAUSE;
use crate::phase::{Phase, PhaseReceiver};
use crate::queue::Reports;
use crate::repeat::Repeated;
use crate::sealed::Sealed;
use crate::state::metrics::Metrics;
use crate::state::standing::Standing;
use crate::tasks::Tasks;
use crate::units::DiskSize;
use crate::unusable::{Patience, Unusable};

pub(crate) use self::appended::rename_all;

mod appended;

/// `[output.file]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The file that batches are appended to; `-` is standard output.
    pub path: PathBuf,
    /// The file that dead letters are appended to. Unless set, `path` with `.dead-letters` behind it; standard
    /// output where that is `-`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter_path: Option<PathBuf>,
    /// A file that is larger is renamed, and a new one begun. Unless set, the file grows without end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotate_bytes: Option<DiskSize>,
    /// Renamed files that are kept. The oldest is removed.
    #[serde(default = "files_max")]
    pub files_max: NonZeroU32,
}

/// Bytes of a line, at most: what reads it has to hold it.
const BATCH_BYTES_MOST: usize = 1 << 30;

fn files_max() -> NonZeroU32 {
    NonZeroU32::new(8).expect("8 is not zero")
}

impl Settings {
    /// Where dead letters go.
    pub fn dead_letters(&self) -> PathBuf {
        match &self.dead_letter_path {
            Some(path) => path.clone(),
            None if is_standard_output(&self.path) => self.path.clone(),
            None => with_suffix(&self.path, ".dead-letters"),
        }
    }
}

impl Declared for Settings {
    fn measure(&self, _around: &Surroundings<'_>) -> Arc<dyn Measure> {
        let shown = |path: &Path| path.display().to_string();
        let (batches, dead_letters) = (shown(&self.path), shown(&self.dead_letters()));
        Arc::new(Lines { batches, dead_letters })
    }

    fn batch_bytes_most(&self) -> usize {
        BATCH_BYTES_MOST
    }

    /// Files are written from the window, without a copy.
    fn bytes_max(&self, _batch_bytes: u64, _around: &Surroundings<'_>) -> u64 {
        0
    }

    fn destination(&self, _around: &Surroundings<'_>) -> String {
        let (path, dead_letters) = (self.path.display(), self.dead_letters());
        format!("batches are appended to {path}, dead letters to {}", dead_letters.display())
    }

    fn start(&self, start: Start<'_>, tasks: &mut Tasks<()>) {
        let Start { channel_max, reports, standing, metrics, phase, seed, start_grace, .. } = start;
        let sink = FileSink::new(self, channel_max, reports, standing, seed).patient(start_grace);
        tasks.start(async move { sink.run(&metrics, phase).await });
    }

    fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if self.path.as_os_str().is_empty() {
            problems.push(("path", "is empty: write a path, or \"-\" for standard output".into()));
        }
        if !is_standard_output(&self.path) && self.path == self.dead_letters() {
            let text = "is the same as output.file.path: write another, for others read it";
            problems.push(("dead_letter_path", text.into()));
        }
        problems
    }

    /// A folder that is missing is not created: the user does that.
    fn unusable(&self) -> Vec<(&'static str, String)> {
        let paths = [("path", self.path.clone()), ("dead_letter_path", self.dead_letters())];
        let folder = |path: &Path| match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let missing = paths.into_iter().filter(|(_, path)| !folder(path).is_dir());
        let problem = |(key, path): (&'static str, PathBuf)| {
            (key, format!("{}: there is no such folder: make it", folder(&path).display()))
        };
        // A problem that follows from the other path is reported with that one.
        missing.map(problem).take(1 + usize::from(self.dead_letter_path.is_some())).collect()
    }

    fn read_back(&self) -> ReadBack<'_> {
        if is_standard_output(&self.path) {
            return ReadBack::Nowhere;
        }
        ReadBack::Files { batches: &self.path, dead_letters: self.dead_letters() }
    }

    fn is_of_lines(&self) -> bool {
        true
    }

    fn is_standard_output(&self) -> bool {
        is_standard_output(&self.path) || is_standard_output(&self.dead_letters())
    }
}

fn is_standard_output(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// A path with more behind its name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A batch as a line. There is no largest one.
#[derive(Debug)]
pub struct Lines {
    batches: String,
    dead_letters: String,
}

impl Routing for Lines {}

impl Measure for Lines {
    fn bytes(&self, sealed: &Sealed) -> usize {
        sealed.text.len() + 1
    }

    fn text_bytes_max(&self, _like: &Sealed, bytes_max: usize) -> Option<usize> {
        bytes_max.checked_sub(1)
    }

    fn overhead_bytes(&self, _gateway: &str, _letters: bool) -> usize {
        1
    }

    fn destination<'a>(&'a self, sealed: &'a Sealed) -> &'a str {
        if sealed.is_letters() { &self.dead_letters } else { &self.batches }
    }
}

/// The sink of files.
#[derive(Debug)]
pub struct FileSink {
    files: Files,
    channel_max: usize,
    reports: Reports<Event>,
    standing: Arc<Standing>,
    backoff: Backoff,
    rng: SmallRng,
    said: Repeated,
    patience: Patience,
    /// What a thread is doing with the files.
    working: Option<JoinHandle<()>>,
}

impl FileSink {
    /// A sink that takes `channel_max` batches at a time.
    pub fn new(
        settings: &Settings,
        channel_max: usize,
        reports: Reports<Event>,
        standing: &Arc<Standing>,
        seed: u64,
    ) -> Self {
        let appended = |path| Appended::new(path, settings);
        let dead_letters = appended(settings.dead_letters());
        let files = Files { batches: appended(settings.path.clone()), dead_letters };
        let (first, longest) = RECONNECT_PAUSE;
        let (backoff, rng) = (Backoff::new(first, longest), SmallRng::seed_from_u64(seed));
        let (standing, said) = (Arc::clone(standing), Repeated::default());
        let patience = Patience::new(Some(Duration::ZERO));
        let working = None;
        Self { files, channel_max, reports, standing, backoff, rng, said, patience, working }
    }

    /// Sets how long it goes on while its files cannot be opened and never could be; `None`: for ever.
    #[must_use]
    pub fn patient(self, start_grace: Option<Duration>) -> Self {
        Self { patience: Patience::new(start_grace), ..self }
    }

    /// Writes until the gateway closes. It has not ended before its thread has left the files alone, however long the disk
    /// takes: another sink may open them next, and what that wrote would be cut off with what this one takes back.
    pub async fn run(mut self, metrics: &Metrics, mut phase: PhaseReceiver) {
        tokio::select! {
            biased;
            () = phase.reached(Phase::Closing) => {}
            error = self.write_on(metrics) => self.reports.send(Event::Failed(error)),
        }
        if let Some(working) = self.working.take() {
            // It says only that it has ended.
            drop(working.await);
        }
    }

    /// Opens and writes, again and again. What one time has not answered is given again to the next, in
    /// order. Why it gives up, where that is refused and has never worked.
    async fn write_on(&mut self, metrics: &Metrics) -> Unusable {
        let mut epoch = 0;
        loop {
            let failed = match self.blocking(Files::open).await {
                Ok(()) => {
                    epoch += 1;
                    self.patience.worked();
                    self.standing.connected(epoch);
                    metrics.connections.one();
                    let failed = self.serve(epoch == 1).await;
                    self.reports.send(Event::Disconnected { over: None });
                    metrics.disconnections.one();
                    failed
                }
                Err(error) => error,
            };
            let now = clock::now().instant;
            self.standing.lost(now, &failed);
            if self.patience.failed(now, is_refusal(&failed)) {
                let reason =
                    format!("the output cannot be opened: {failed}; mend that, or output.file");
                return Unusable { reason, may_mend: true };
            }
            if let Some(left_out) = self.said.due(now) {
                tracing::warn!(left_out, "the output cannot be written: {failed}");
            }
            sleep(self.backoff.pause(&mut self.rng)).await;
        }
    }

    /// Writes what comes until that fails. After a failure only what was written shows that it is over.
    async fn serve(&mut self, first: bool) -> io::Error {
        if first {
            self.standing.usable(clock::now().instant);
        }
        let (channel, mut publications) = mpsc::channel(self.channel_max);
        let in_flight_max = self.channel_max;
        self.reports.send(Event::Connected { channel, bytes_max: None, in_flight_max });
        loop {
            let mut group = Vec::new();
            if publications.recv_many(&mut group, in_flight_max).await == 0 {
                // The engine holds the other end until it hears of the end, or ends: and this with it.
                return pending().await;
            }
            let written = self.blocking(move |files| files.write(&group)).await;
            for number in written.taken {
                self.reports.send(Event::Answered { number, answer: Answer::Taken });
            }
            if let Some(error) = written.failed {
                return error;
            }
            self.backoff.reset();
            self.standing.usable(clock::now().instant);
        }
    }

    /// Lets a thread that may wait for a disk do this.
    async fn blocking<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Files) -> T + Send + 'static,
    ) -> T {
        let mut files = self.files.clone();
        let (tell, told) = oneshot::channel();
        self.working = Some(spawn_blocking(move || {
            let done = work(&mut files);
            // Nobody may wait for it any more.
            drop(tell.send((done, files)));
        }));
        let (done, files) = told.await.expect("what writes does not panic");
        (self.files, self.working) = (files, None);
        done
    }
}

/// Whether a file cannot be opened for its path or its owner, and not for want of room.
fn is_refusal(error: &io::Error) -> bool {
    use io::ErrorKind::{
        InvalidInput, NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem,
    };
    let kinds = [InvalidInput, NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem];
    kinds.contains(&error.kind())
}

/// What became of a group of batches: what is on the disk, and why the rest is not.
struct Written {
    taken: Vec<Number>,
    failed: Option<io::Error>,
}

/// Where batches go, and dead letters.
#[derive(Debug, Clone)]
struct Files {
    batches: Appended,
    dead_letters: Appended,
}

impl Files {
    fn open(&mut self) -> io::Result<()> {
        self.batches.open()?;
        self.dead_letters.open()
    }

    /// Writes these batches: those of a file all, or none.
    fn write(&mut self, group: &[Publication]) -> Written {
        let (mut taken, mut failed) = (Vec::new(), None);
        for (file, letters) in [(&mut self.batches, false), (&mut self.dead_letters, true)] {
            let of_file = || group.iter().filter(move |it| it.sealed.is_letters() == letters);
            match file.append(of_file().map(|it| &*it.sealed.text)) {
                Ok(()) => taken.extend(of_file().map(|it| it.number)),
                Err(error) => failed = Some(error),
            }
        }
        Written { taken, failed }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::mpsc as threads;
    use std::task::{Context, Waker};

    use super::*;
    use crate::phase;
    use crate::queue::{Queue, Settings as Places};

    /// A disk that hangs when another sink is to come: with two of them one would cut off what the other has written.
    #[tokio::test]
    async fn a_sink_has_not_ended_while_its_thread_waits_for_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            path: folder.path().join("out"),
            dead_letter_path: None,
            rotate_bytes: None,
            files_max: files_max(),
        };
        let outlet = Queue::new(Places::default()).outlet();
        let standing = Arc::new(Standing::new(clock::now().instant));
        let mut sink = FileSink::new(&settings, 1, outlet.reports(), &standing, 1);
        let (free, disk) = threads::sync_channel::<()>(1);
        let mut job = Box::pin(sink.blocking(move |_| disk.recv()));
        assert!(job.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(job);
        let (lead, phase) = phase::start();
        lead.enter(Phase::Closing);
        let metrics = Metrics::default();
        let mut run = pin!(sink.run(&metrics, phase));
        assert!(run.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        free.send(()).unwrap();
        run.await;
    }
}
