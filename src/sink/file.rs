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
//! - What cannot be written is answered as refused: the engine keeps it and tries again, one at a time, and
//!   health says why.

use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use self::appended::Appended;
use super::{Answer, Event, Measure, Number, Publication, Refusal};
use crate::backoff::Backoff;
use crate::clock;
use crate::limits::RECONNECT_PAUSE;
use crate::metrics::Metrics;
use crate::phase::{Phase, Watch};
use crate::queue::Post;
use crate::repeat::Repeated;
use crate::sealed::Sealed;
use crate::standing::Standing;
use crate::units::DiskSize;

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

fn files_max() -> NonZeroU32 {
    NonZeroU32::new(8).expect("8 is not zero")
}

impl Settings {
    /// Whether batches or dead letters go to standard output.
    pub fn is_standard_output(&self) -> bool {
        is_standard_output(&self.path) || is_standard_output(&self.dead_letters())
    }

    /// What is wrong with them: key and remedy.
    pub fn problems(&self) -> Vec<(&'static str, &'static str)> {
        let mut problems = Vec::new();
        if self.path.as_os_str().is_empty() {
            problems.push(("path", "is empty: write a path, or \"-\" for standard output"));
        }
        if !is_standard_output(&self.path) && self.path == self.dead_letters() {
            let text = "is the same as output.file.path: write another, for others read it";
            problems.push(("dead_letter_path", text));
        }
        problems
    }

    /// Where dead letters go.
    pub fn dead_letters(&self) -> PathBuf {
        match &self.dead_letter_path {
            Some(path) => path.clone(),
            None if is_standard_output(&self.path) => self.path.clone(),
            None => with_suffix(&self.path, ".dead-letters"),
        }
    }

    /// How large this sink makes a batch.
    pub fn measure(&self) -> Lines {
        let shown = |path: &Path| path.display().to_string();
        Lines { batches: shown(&self.path), dead_letters: shown(&self.dead_letters()) }
    }
}

fn is_standard_output(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
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

    fn destination(&self, sealed: &Sealed) -> &str {
        if sealed.is_letters() { &self.dead_letters } else { &self.batches }
    }
}

/// The sink of files.
#[derive(Debug)]
pub struct FileSink {
    files: Files,
    lane_max: usize,
    post: Post<Event>,
    standing: Arc<Standing>,
    seed: u64,
}

impl FileSink {
    /// A sink that takes `lane_max` batches at a time.
    pub fn new(
        settings: &Settings,
        lane_max: usize,
        post: Post<Event>,
        standing: &Arc<Standing>,
        seed: u64,
    ) -> Self {
        let appended = |path| Appended::new(path, settings);
        let dead_letters = appended(settings.dead_letters());
        let files = Files { batches: appended(settings.path.clone()), dead_letters };
        Self { files, lane_max, post, standing: Arc::clone(standing), seed }
    }

    /// Writes until the gateway closes.
    pub async fn run(mut self, metrics: &Metrics, mut phase: Watch) {
        tokio::select! {
            biased;
            () = phase.reached(Phase::Closing) => return,
            () = self.open() => {}
        }
        metrics.connections.one();
        self.standing.connected(1);
        self.standing.usable(clock::now().instant);
        let (lane, mut publications) = mpsc::channel(self.lane_max);
        let in_flight_max = self.lane_max;
        self.post.send(Event::Connected { lane, bytes_max: None, in_flight_max });
        loop {
            let mut group = Vec::new();
            tokio::select! {
                biased;
                () = phase.reached(Phase::Closing) => return,
                came = publications.recv_many(&mut group, in_flight_max) => if came == 0 { return },
            }
            for (number, answer) in self.blocking(move |files| files.write(&group)).await {
                self.post.send(Event::Answered { number, answer });
            }
        }
    }

    /// Opens both files, as often as it takes.
    async fn open(&mut self) {
        let (first, longest) = RECONNECT_PAUSE;
        let mut backoff = Backoff::new(first, longest);
        let mut rng = SmallRng::seed_from_u64(self.seed);
        let mut said = Repeated::default();
        while let Err(error) = self.blocking(Files::open).await {
            let now = clock::now().instant;
            self.standing.lost(now, &error);
            if let Some(left_out) = said.due(now) {
                tracing::warn!(left_out, "the output cannot be opened: {error}");
            }
            sleep(backoff.pause(&mut rng)).await;
        }
    }

    /// Lets a thread that may wait for a disk do this.
    async fn blocking<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Files) -> T + Send + 'static,
    ) -> T {
        let mut files = self.files.clone();
        let done = spawn_blocking(move || (work(&mut files), files)).await;
        let (done, files) = done.expect("what writes does not panic");
        self.files = files;
        done
    }
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

    /// Writes these batches; what is to be said of each.
    fn write(&mut self, group: &[Publication]) -> Vec<(Number, Answer)> {
        let lines = |letters: bool| {
            let of_file = group.iter().filter(move |it| it.sealed.is_letters() == letters);
            of_file.map(|it| &*it.sealed.text)
        };
        let batches = answer(self.batches.append(lines(false)));
        let dead_letters = answer(self.dead_letters.append(lines(true)));
        let of = |it: &Publication| if it.sealed.is_letters() { &dead_letters } else { &batches };
        group.iter().map(|it| (it.number, of(it).clone())).collect()
    }
}

fn answer(written: io::Result<()>) -> Answer {
    match written {
        Ok(()) => Answer::Taken,
        Err(error) => {
            let reason = error.to_string();
            Answer::Refused(Refusal { reason, too_large: false, permanent: false })
        }
    }
}
