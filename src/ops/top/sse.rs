//! Reads server-sent events (HTML Living Standard §9.2) out of the pieces in which they come, in bounded memory.

use serde_json::Value;

/// Bytes of an event, at most. The gateway's own are smaller: a status of a thousand entries has half of it.
pub(super) const EVENT_BYTES_MAX: usize = 4 << 20;

/// The event that has not ended.
#[derive(Debug, Default)]
pub(super) struct Events {
    text: Vec<u8>,
}

impl Events {
    /// The events that end in this piece: their names and what they say. What is no JSON is left out. An error: one is
    /// too long.
    pub(super) fn take(&mut self, piece: &[u8]) -> Result<Vec<(String, Value)>, TooLong> {
        let mut from = self.text.len().saturating_sub(1);
        self.text.extend_from_slice(piece);
        let (mut events, mut begin) = (Vec::new(), 0);
        while let Some(at) = end(&self.text, from) {
            events.extend(self.text.get(begin..at).and_then(event));
            (begin, from) = (at + 2, at + 2);
        }
        self.text.drain(..begin);
        if self.text.len() > EVENT_BYTES_MAX { Err(TooLong) } else { Ok(events) }
    }
}

/// An event is longer than [`EVENT_BYTES_MAX`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event has more than {EVENT_BYTES_MAX} bytes")]
pub(super) struct TooLong;

/// Where the empty line is that ends an event.
fn end(text: &[u8], from: usize) -> Option<usize> {
    let rest = text.get(from..)?;
    rest.windows(2).position(|it| it == b"\n\n").map(|at| from + at)
}

fn event(text: &[u8]) -> Option<(String, Value)> {
    let text = std::str::from_utf8(text).ok()?;
    let (mut name, mut data) = ("message", String::new());
    for line in text.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => name = value,
            "data" => data = if data.is_empty() { value.to_owned() } else { data + "\n" + value },
            _ => {}
        }
    }
    Some((name.to_owned(), serde_json::from_str(&data).ok()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_the_same_however_they_are_cut() {
        let text = b": still here\n\nid: 1\nevent: status\ndata: {\"a\":\ndata: \"\xc3\xa9\"}\n\ndata: 7\n\nevent: x\n\
                     data: no JSON\n\nevent: half\ndata: 1";
        let expected = [("status".to_owned(), json!({"a": "é"})), ("message".to_owned(), json!(7))];
        for size in 1..text.len() {
            let mut events = Events::default();
            let all: Vec<_> = text.chunks(size).flat_map(|it| events.take(it).unwrap()).collect();
            assert_eq!(all, expected, "pieces of {size}");
        }
    }

    #[test]
    fn an_event_without_an_end_is_no_event() {
        let mut events = Events::default();
        for _ in 0..4 {
            assert_eq!(events.take(&vec![b'x'; 1 << 20]), Ok(Vec::new()));
        }
        assert_eq!(events.take(b"x"), Err(TooLong));
    }
}
