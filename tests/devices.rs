//! The recipes of `docs/devices/`, run: a page's configuration is that of its file in `config/examples/`, and each of
//! its messages comes out as the page says. After a change run this with `RENEW=1` and look at what it wrote.
//!
//! A page has the lines for a file in its `toml` block, and of each message its topic (`` Topic: `…` ``), the payload in
//! the next block (bytes in a `hex` block), and below that what comes of it: records, dead letters, no reading.

use std::fs;
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::scene::drained;
use crate::support::client::{Collection, Collector, Options, Session};
use crate::support::gateway::Gateway;
use crate::support::mosquitto::{Mosquitto, NO_DROP};
use crate::support::{SOON, number_from_environment};

/// Stands on each page for the time of receipt.
const RECEIVED: &str = "2026-11-30T12:00:00.000Z";

/// Columns of a record on a page.
const COLUMNS: usize = 110;

/// Pages whose messages a real broker carries, together in one gateway: their topics do not overlap.
const CARRIED: [&str; 10] = [
    "chirpstack",
    "dsmr",
    "homeassistant",
    "openmqttgateway",
    "rtl_433",
    "shelly-gen2",
    "tasmota",
    "telegraf",
    "the-things-stack",
    "zigbee2mqtt",
];

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The names of the files in a folder, without their ending.
fn names(folder: &str, ending: &str) -> Vec<String> {
    let files = fs::read_dir(at(folder)).unwrap().map(|it| it.unwrap().file_name());
    let names = files.filter_map(|it| Some(it.to_str()?.strip_suffix(ending)?.to_owned()));
    let mut names: Vec<_> = names.filter(|it| it != "README").collect();
    names.sort_unstable();
    names
}

fn families() -> Vec<String> {
    let families = names("docs/devices", ".md");
    assert!(families.len() > 15, "the test looks at the pages");
    families
}

fn page_of(family: &str) -> PathBuf {
    at(&format!("docs/devices/{family}.md"))
}

fn example_of(family: &str) -> PathBuf {
    at(&format!("config/examples/{family}.toml"))
}

/// What an example has of its own: the part that a page shows.
fn entries_of(family: &str) -> String {
    let path = example_of(family);
    let text = fs::read_to_string(&path).unwrap_or_else(|it| panic!("{}: {it}", path.display()));
    let (head, _) =
        text.split_once("[sensors.").unwrap_or_else(|| panic!("{} has no entry", path.display()));
    text.strip_prefix(head).unwrap().to_owned()
}

/// A message of a page.
struct Message {
    topic: String,
    payload: Vec<u8>,
    /// Where on the page it is told what comes of it.
    told: Range<usize>,
}

/// The next block of a page: its language, and where its text is.
fn block(page: &str, from: usize) -> Option<(&str, Range<usize>)> {
    let (_, behind) = page.split_at(from).1.split_once("\n```")?;
    let (language, behind) = behind.split_once('\n')?;
    let (text, behind) = behind.split_once("```\n")?;
    let end = page.len() - behind.len() - "```\n".len();
    Some((language, end - text.len()..end))
}

fn messages(page: &str) -> Vec<Message> {
    let topics = page.match_indices("\nTopic: `");
    let message = |(at, marker): (usize, &str)| {
        let (_, behind) = page.split_at(at + marker.len());
        let (topic, _) = behind.split_once('`').expect("a topic ends with `");
        let (language, place) = block(page, at).expect("a payload is in a block");
        let payload = page.get(place.clone()).unwrap().trim_end_matches('\n');
        let payload = match language {
            "hex" => bytes(payload),
            _ => payload.as_bytes().to_vec(),
        };
        Message { topic: topic.to_owned(), payload, told: told(page, place.end + "```\n".len()) }
    };
    topics.map(message).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        hex.chars().filter_map(|it| it.to_digit(16)).map(|it| it.try_into().unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// The lines from here that tell what comes of a message.
fn told(page: &str, from: usize) -> Range<usize> {
    let beginnings = ["```", "Record:", "Records:", "Dead letter, ", "No reading: "];
    let (mut at, mut end, mut is_code) = (from, from, false);
    for line in page.split_at(from).1.split_inclusive('\n') {
        let is_told = beginnings.iter().any(|it| line.starts_with(it));
        if !(is_code || is_told || line == "\n") {
            break;
        }
        is_code ^= line.starts_with("```");
        at += line.len();
        end = if line == "\n" { end } else { at };
    }
    from..end
}

fn run(arguments: &[&str], file: &Path, input: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluicegate"));
    command.args(arguments).arg("--config").arg(file);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// What comes of a message, as a page tells it.
fn explained(family: &str, Message { topic, payload, .. }: &Message) -> String {
    let output = run(&["explain", "--json", "--topic", topic], &example_of(family), payload);
    let text = String::from_utf8_lossy(&output.stdout);
    let told: Value = serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{family}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    let [entry] = &told["entries"].as_array().unwrap()[..] else {
        panic!("{family}: one entry takes {topic}: {text}")
    };
    let texts = |name: &str| entry[name].as_array().unwrap().clone();
    let records: Vec<_> =
        texts("records").iter().map(|it| laid_out(&unstamped(it.as_str().unwrap()))).collect();
    let mut page = match &records[..] {
        [] => String::new(),
        [record] => format!("\nRecord:\n\n```json\n{record}\n```\n"),
        records => format!("\nRecords:\n\n```json\n{}\n```\n", records.join("\n")),
    };
    for letter in texts("deadLetters") {
        let [reason, detail] = ["reason", "detail"].map(|it| letter[it].as_str().unwrap());
        page.extend(["\nDead letter, ", reason, ": ", detail, "\n"]);
    }
    if let Some(why) = entry["skipped"].as_str() {
        page.extend(["\nNo reading: ", why, "\n"]);
    }
    assert!(!page.is_empty(), "{family}: {text}");
    page
}

/// A record with the fixed time of receipt.
fn unstamped(record: &str) -> String {
    let members: Value = serde_json::from_str(record).unwrap();
    let received = members.get("receivedAt").unwrap_or(&members["timestamp"]);
    assert_eq!(received.as_str().unwrap().len(), RECEIVED.len(), "{record}");
    record.replace(&received.to_string(), &format!("{RECEIVED:?}"))
}

/// A record on several lines, which break behind commas.
fn laid_out(record: &str) -> String {
    let (mut text, mut columns) = (String::new(), 0);
    for piece in pieces(record) {
        let width = piece.chars().count();
        if columns + width > COLUMNS {
            text += "\n ";
            columns = 1;
        }
        text += piece;
        columns += width;
    }
    text
}

/// JSON text, divided behind each comma that is in no string.
fn pieces(json: &str) -> Vec<&str> {
    let (mut is_string, mut is_escaped) = (false, false);
    let is_end = |c: char| {
        is_string ^= c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        c == ',' && !is_string
    };
    json.split_inclusive(is_end).collect()
}

/// A page as it should be.
fn renewed(family: &str, page: &str) -> String {
    let (_, entries) = block(page, 0).filter(|it| it.0 == "toml").unwrap_or_else(|| {
        panic!("{family}: the first block of the page is its configuration, in `toml`")
    });
    let mut renewed = String::new();
    let mut from = 0;
    let mut put = |place: &Range<usize>, text: &str| {
        renewed.extend([page.get(from..place.start).unwrap(), text]);
        from = place.end;
    };
    put(&entries, &entries_of(family));
    for message in messages(page) {
        put(&message.told, &explained(family, &message));
    }
    renewed + page.split_at(from).1
}

#[test]
fn each_page_has_the_lines_of_its_file_and_tells_what_comes_of_each_message() {
    let mut wrong = Vec::new();
    for family in families() {
        let path = page_of(&family);
        let page = fs::read_to_string(&path).unwrap();
        let renewed = renewed(&family, &page);
        if renewed == page {
        } else if number_from_environment::<u8>("RENEW").is_some() {
            fs::write(&path, renewed).unwrap();
        } else {
            let differs = page.lines().zip(renewed.lines()).find(|(page, now)| page != now);
            wrong.push((family, differs.map(|(page, now)| [page.to_owned(), now.to_owned()])));
        }
    }
    assert!(wrong.is_empty(), "run this test with RENEW=1: {wrong:#?}");
}

#[test]
fn each_page_has_a_file_a_message_and_a_source_and_the_index_has_each_page() {
    let families = families();
    assert_eq!(families, names("config/examples", ".toml"));
    let index = fs::read_to_string(at("docs/devices/README.md")).unwrap();
    for family in families {
        let page = fs::read_to_string(page_of(&family)).unwrap();
        assert!(!messages(&page).is_empty(), "{family} has no message");
        let source = page.lines().find(|it| it.starts_with("Source: "));
        assert!(source.is_some_and(|it| it.contains("](https://")), "{family} has no source");
        assert!(index.contains(&format!("]({family}.md)")), "the index lacks {family}");
    }
}

#[test]
fn each_example_is_accepted_without_a_warning() {
    for family in families() {
        let output = run(&["check"], &example_of(&family), b"");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert_eq!(output.status.code(), Some(0), "{family}: {text}");
        assert!(!text.contains("# Warnings"), "{family}: {text}");
    }
}

/// The records that came, with the fixed time of receipt.
fn came(collection: &Collection) -> Vec<String> {
    let texts = collection.batches.iter().map(|it| String::from_utf8(it.payload.clone()).unwrap());
    texts.flat_map(|it| it.lines().map(unstamped).collect::<Vec<_>>()).collect()
}

/// The records of a block, each on a line of its own again.
fn on_one_line(block: &str) -> Vec<String> {
    let lines = block.replace("\n ", "");
    lines.lines().map(str::to_owned).collect()
}

#[test]
fn what_explain_tells_of_a_message_leaves_a_gateway_beside_a_real_broker() {
    let mosquitto = Mosquitto::start(NO_DROP);
    let collector = Collector::start(mosquitto.port());
    let head = format!("broker.url = \"{}\"\noutput.format = \"ndjson\"\n", mosquitto.url());
    let entries: Vec<_> = CARRIED.iter().map(|family| entries_of(family)).collect();
    let entries = entries.join("\n");
    let mut gateway = Gateway::start(&(head + &entries));
    gateway.wait_for_line("ready: readings are delivered", SOON);
    let mut device = Session::open(&Options::new(mosquitto.port(), "device")).unwrap();
    let mut expected = Vec::new();
    for family in CARRIED {
        // The first message of each sensor: `explain` knows of none before it.
        let page = fs::read_to_string(page_of(family)).unwrap();
        let message = messages(&page).into_iter().next().unwrap();
        let told = explained(family, &message);
        let (_, records) = block(&told, 0).unwrap_or_else(|| panic!("{family}: {told}"));
        expected.extend(on_one_line(told.get(records).unwrap()));
        device.write_publish(&message.topic, message.payload, 1);
        device.flush().unwrap();
    }
    let count = expected.len() as u64;
    collector.wait_until("the records", SOON, |all| came(all).len() >= expected.len());
    let mut came = collector.look(came);
    came.sort_unstable();
    expected.sort_unstable();
    assert_eq!(came, expected);
    let balance = drained(&mut gateway);
    assert_eq!((balance.received, balance.delivered), (count, count));
}
