//! Reads a recording: its messages in their order, one line at a time.
//!
//! A line that is no message is left out and counted: half of one, where a recorder was killed, among them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::LINE_BYTES_MAX;
use super::file::all_of;
use super::line::Message;
use crate::text::from_path;

/// Bytes that are read at once.
const READ_BYTES: usize = 64 * 1024;

/// A recording that is read.
#[derive(Debug)]
pub struct Recording {
    /// The files that are still to be read, the last one first.
    files: Vec<PathBuf>,
    file: BufReader<File>,
    text: Vec<u8>,
    left_out: u64,
}

impl Recording {
    /// The recording of which the last file is at this path.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut files = all_of(path);
        files.reverse();
        let first = files.pop().unwrap_or_else(|| path.to_owned());
        Ok(Self { files, file: opened(&first)?, text: Vec::new(), left_out: 0 })
    }

    /// The next message; `None` at the end.
    pub fn read(&mut self) -> io::Result<Option<Message>> {
        while self.line()? {
            match Message::read(&self.text) {
                Some(message) => return Ok(Some(message)),
                None => self.left_out += 1,
            }
        }
        Ok(None)
    }

    /// Lines that are no message, so far.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Reads a line, and nothing of one that is too long. False at the end of the last file.
    fn line(&mut self) -> io::Result<bool> {
        self.text.clear();
        let most = LINE_BYTES_MAX as u64;
        while (&mut self.file).take(most).read_until(b'\n', &mut self.text)? == 0 {
            let Some(path) = self.files.pop() else { return Ok(false) };
            self.file = opened(&path)?;
        }
        if self.text.len() == LINE_BYTES_MAX && !self.text.ends_with(b"\n") {
            self.text.clear();
            self.file.skip_until(b'\n')?;
        }
        Ok(true)
    }
}

fn opened(path: &Path) -> io::Result<BufReader<File>> {
    let about =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", from_path(path)));
    File::open(path).map(|it| BufReader::with_capacity(READ_BYTES, it)).map_err(about)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::file::with_suffix;

    fn line(topic: &str) -> String {
        format!(r#"{{"receivedAt":"2025-11-22T07:30:50Z","topic":"{topic}","payload":"x"}}"#)
    }

    #[test]
    fn the_oldest_file_is_first_and_what_is_no_message_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let long = format!("{}\n{}\n", line(&"x".repeat(LINE_BYTES_MAX)), line("b"));
        let half = format!("{}\n{}", line("c"), line("torn").trim_end_matches('}'));
        for (suffix, text) in
            [(".2", format!("{}\n\nrubbish\n", line("a"))), (".1", long), ("", half)]
        {
            std::fs::write(with_suffix(&path, suffix), text).unwrap();
        }
        let mut recording = Recording::open(&path).unwrap();
        let mut topics = Vec::new();
        while let Some(message) = recording.read().unwrap() {
            topics.push(message.topic.to_string());
        }
        assert_eq!((topics, recording.left_out()), (vec!["a".into(), "b".into(), "c".into()], 4));
        let error = Recording::open(&folder.path().join("none")).unwrap_err().to_string();
        assert!(error.contains("none: "), "{error}");
    }
}
