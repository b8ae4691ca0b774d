//! `sluicegate explain --entry`: entries that read lines, and simulated ones; and which time a record has.

use serde_json::{Value, json};

use super::{explain, explain_file, record};

const RADIO: &str = r#"
[sensors.radio.exec]
command = ["rtl_433", "-F", "json"]
value = "/temperature_C"
sensor = "{/model}-{/id}"
missing = "skip"
timestamp = { from = "/time", zone = "Europe/Berlin" }
[sensors.pipe.stdin]
payload = "text"
[sensors.T.simulated]
payload = '{"t":{value},"of":"{sensor}"}'
[sensors.fleet.mqtt]
topic = "sensors/{sensor}/reading"
value = "/t"
"#;

/// What it says to standard output and error, and the exit code.
fn told(arguments: &[&str], input: &[u8]) -> (String, i32) {
    let output = explain_file(RADIO, arguments, input);
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8(text).unwrap(), output.status.code().unwrap())
}

#[test]
fn a_text_that_was_cut_is_said_to_end_early_and_where() {
    let (text, code) = told(&["--dead-letter"], b" {\"topic\":\"a\",\"payload\":\"{\\\"va\n");
    let words =
        "no line of a recording: the text ends early, at byte 29: EOF while parsing a string";
    assert!(code == 64 && text.contains(words), "{text}");
    let (text, code) = told(&["--dead-letter"], b"{\"topic\":\"a\",}");
    assert!(code == 64 && !text.contains("ends early"), "{text}");
    let (text, code) = told(&["--entry", "radio"], b"{\"model\":\"N\",\"id\":1");
    let words = "malformed: the text ends early, at byte 19: EOF while parsing an object";
    assert!(code == 1 && text.contains(words), "{text}");
}

#[test]
fn each_line_is_read_as_the_entry_would_read_it_and_told_by_its_number() {
    let lines =
        b"{\"time\":\"2026-11-03 10:00:00\",\"model\":\"N\",\"id\":1,\"temperature_C\":2}\n\n\
        {\"model\":\"N\",\"battery_ok\":1}\r\n{\"model\":\"N\",\n";
    let (text, code) = told(&["--entry", "radio"], lines);
    assert_eq!(code, 1, "{text}");
    let parts = [
        "sensors.radio\nline 1, record\n",
        "\n  time of the sensor, from /time; read as local time in Europe/Berlin\nline 3, no reading: ",
        "\nline 4, dead letter, malformed: the text ends early, at byte 13: EOF",
        "\nits settings\n  command = [\"rtl_433\", \"-F\", \"json\"]",
    ];
    let mut rest = &*text;
    for part in parts {
        (_, rest) = rest.split_once(part).unwrap_or_else(|| panic!("{part}: {text}"));
    }
    let (text, _) = told(&["--entry", "radio", "--json"], lines);
    let told_json: Value = serde_json::from_str(&text).unwrap();
    assert!(told_json.get("topic").is_none(), "{text}");
    let entry = &told_json["entries"][0];
    let numbers = [&entry["recordLines"], &entry["skippedLines"], &entry["deadLetters"][0]["line"]];
    assert_eq!(numbers, [&json!([1]), &json!([3]), &json!(4)]);
    let record: Value = serde_json::from_str(entry["records"][0].as_str().unwrap()).unwrap();
    let own = ["sensorId", "value", "timestamp"].map(|it| record[it].clone());
    assert_eq!(own, [json!("N-1"), json!(2), json!("2026-11-03T09:00:00Z")]);
    let time = json!({"at": "/time", "sent": "\"2026-11-03 10:00:00\"", "readAs": "local time in Europe/Berlin"});
    assert_eq!(entry["times"], json!([time]));
    // Standard input is an entry as well, and the payload may be given as text.
    let (text, code) = told(&["--entry", "pipe", "--payload", "21.5\n22.5"], b"");
    assert!(code == 0 && text.contains(r#""sequence":2,"value":"22.5""#), "{text}");
    let (text, code) = told(&["--entry", "pipe"], b"\n \n");
    assert!(code == 2 && text.contains("no reading: there is no line with a word"), "{text}");
}

#[test]
fn a_dead_letter_of_a_line_is_explained_by_its_entry() {
    let letter = json!({
        "gateway": "gw", "reason": "malformed", "detail": "EOF", "sensorId": "radio", "entry": "radio",
        "topic": "", "receivedAt": "2026-11-22T11:21:04.260Z",
        "payload": "{\"model\":\"N\",\"id\":7,\"temperature_C\":2}",
    });
    let (text, code) = told(&["--dead-letter"], letter.to_string().as_bytes());
    assert!(code == 0 && text.contains(r#""sensorId":"N-7""#), "{text}");
}

#[test]
fn a_simulated_entry_reads_nothing_and_says_what_it_publishes() {
    // Nobody writes to its standard input, and nobody is waited for.
    let (text, code) = told(&["--entry", "T"], b"");
    assert_eq!(code, 2, "{text}");
    assert!(text.starts_with("`sluicegate simulate` publishes\n  {\"t\":"), "{text}");
    assert!(
        text.contains("\nno reading: it is simulated: its readings are made in this"),
        "{text}"
    );
    let (text, code) = told(&["--entry", "T", "--topic", "sensors/T/reading", "--json"], b"");
    let it: Value = serde_json::from_str(&text).unwrap();
    let record = it["entries"][0]["records"][0].as_str().unwrap();
    assert!(code == 0 && record.contains(r#""extra":{"of":"T"}"#), "{text}");
    assert!(it["payload"].as_str().unwrap().starts_with("{\"t\":"), "{text}");
}

#[test]
fn what_does_not_fit_the_kind_of_an_entry_is_refused_with_the_remedy() {
    for (arguments, words) in [
        (
            &["--entry", "x"][..],
            "no entry is called x: the configuration has T, fleet, pipe, radio",
        ),
        (&["--entry", "fleet"], "sensors.fleet takes messages: say on which topic"),
        (&["--entry", "radio", "--topic", "a"], "sensors.radio reads lines, which have neither"),
        (&["--entry", "pipe", "--retained"], "leave --topic, --retained and --property out"),
        (&["--entry", "T", "--payload", "1"], "sensors.T is simulated and reads nothing"),
        (&[], "--topic <TOPIC>"),
    ] {
        let (text, code) = told(arguments, b"1");
        assert!(code == 64 && text.contains(words), "{arguments:?}: {text}");
    }
}

#[test]
fn only_the_entry_that_is_asked_answers() {
    let settings = "topic = \"a/#\"\n[sensors.y.mqtt]\ntopic = \"a/+\"";
    let entries = |arguments: &[&str]| {
        let all = [&["--json", "--topic", "a/b", "--payload", "1"], arguments].concat();
        let output = explain(settings, &all, b"");
        let it: Value = serde_json::from_slice(&output.stdout).unwrap();
        let names = it["entries"].as_array().unwrap().iter().map(|it| it["entry"].clone());
        (names.collect::<Vec<_>>(), output.status.code())
    };
    assert_eq!(entries(&[]), (vec![json!("x"), json!("y")], Some(0)));
    assert_eq!(entries(&["--entry", "y"]), (vec![json!("y")], Some(0)));
    let output = explain(settings, &["--topic", "a/b/c", "--entry", "y", "--payload", "1"], b"");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("the nearest: sensors.y") && !text.contains("sensors.x"), "{text}");
}

#[test]
fn a_record_says_which_time_it_has_and_why() {
    let settings = "topic = \"t\"\ntimestamp = [\"/at\", \"/ts\"]";
    let time = |payload: &str| {
        let output = explain(settings, &["--topic", "t", "--payload", payload], b"");
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find(|it| it.starts_with("  time ")).unwrap().trim().to_owned();
        let used = record(settings, "t", payload).get("receivedAt").is_some();
        assert_eq!(line.starts_with("time of the sensor"), used, "{text}");
        line
    };
    for (payload, expected) in [
        ("21.5", "time of receipt: nothing is at /at or /ts"),
        (
            r#"{"value":1,"ts":1732269000123}"#,
            "time of the sensor, from /ts; read as epoch milliseconds, told by its magnitude",
        ),
        (
            r#"{"value":1,"at":"soon","ts":1732269000123}"#,
            "time of receipt: at /at is \"soon\", and it is no time that can be read",
        ),
        (
            r#"{"value":1,"at":"1970-01-01T00:00:12Z"}"#,
            "time of receipt: at /at is \"1970-01-01T00:00:12Z\", and 1970-01-01T00:00:12Z is not plausible: before \
             2000-01-01 (timestamp.plausible.since); read as RFC 3339",
        ),
    ] {
        assert_eq!(time(payload), expected, "{payload}");
    }
    let late = time(r#"{"value":1,"at":4102444800}"#);
    assert!(
        late.contains("2100-01-01T00:00:00Z is not plausible: later than its receipt, "),
        "{late}"
    );
    assert!(
        late.contains("by more than 1day (timestamp.plausible.ahead_max); read as epoch"),
        "{late}"
    );
}

/// A time of the message stands for all of its readings; a reading's own goes before it.
#[test]
fn each_reading_of_a_message_says_its_own_time() {
    let settings = "topic = \"t\"\neach = \"/r\"\nvalue = \"/v\"";
    let payload =
        r#"{"timestamp":1732269000,"r":[{"v":1,"timestamp":"2026-11-03T19:34:28Z"},{"v":2},{}]}"#;
    let output = explain(settings, &["--json", "--topic", "t", "--payload", payload], b"");
    let it: Value = serde_json::from_slice(&output.stdout).unwrap();
    let entry = &it["entries"][0];
    let at = |n: usize| entry["times"][n]["at"].as_str().unwrap();
    assert_eq!((at(0), at(1)), ("/timestamp", "$/timestamp"), "{entry}");
    let counts = ["times", "records", "deadLetters"].map(|it| entry[it].as_array().unwrap().len());
    assert_eq!(counts, [2, 2, 1]);
}

/// Replayed as a message it would be another dead letter, which misleads.
#[test]
fn a_dead_letter_of_a_part_says_that_the_whole_message_is_needed() {
    let letter = |settings: &str, detail: &str, payload: &str| {
        let letter = json!({"topic": "t", "entry": "x", "detail": detail, "payload": payload});
        let settings = format!("topic = \"t\"\n{settings}");
        let output = explain(&settings, &["--dead-letter"], letter.to_string().as_bytes());
        let text = [output.stdout, output.stderr].concat();
        (String::from_utf8(text).unwrap(), output.status.code().unwrap())
    };
    let settings = "each = \"/r\"\nvalue = \"/v\"";
    // As it is published.
    let output = explain(
        &format!("topic = \"t\"\n{settings}"),
        &["--json", "--topic", "t"],
        br#"{"r":[{"v":1},{"w":2}]}"#,
    );
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let published = &told["entries"][0]["deadLetters"][0]["published"];
    let published: Value = serde_json::from_str(published.as_str().unwrap()).unwrap();
    let [detail, payload] = ["detail", "payload"].map(|it| published[it].as_str().unwrap());
    let (text, code) = letter(settings, detail, payload);
    assert_eq!(code, 64, "{text}");
    for words in [
        "shows number 2 of each = \"/r\", which cannot be read without the rest",
        "because of this: no value at /v",
        "Give the whole message, with --topic and --payload or --file",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let senml = "payload = \"senml\"";
    let (text, code) = letter(senml, "v is no number", r#"{"n":"t","v":"x"}"#);
    assert!(code == 64 && text.contains("one record of a pack of SenML"), "{text}");
    let (text, code) = letter(senml, "record 2 of the pack: it is no object", "7");
    assert!(code == 64 && text.contains("one record of a pack of SenML"), "{text}");
    let packed = "payload = \"ndjson\"\ncompression = \"gzip\"";
    let (text, code) = letter(packed, "EOF while parsing", "{");
    assert!(code == 64 && text.contains("what was unpacked (compression = \"gzip\")"), "{text}");
    // What is whole is read again.
    for (settings, detail, payload) in [
        (senml, "no SenML: a pack is an array", "{}"),
        (packed, "no gzip: a wrong header", "1"),
        ("payload = \"ndjson\"", "EOF while parsing", "{"),
    ] {
        let (text, code) = letter(settings, detail, payload);
        assert!(code == 1 && text.contains("dead letter, "), "{text}");
    }
}
