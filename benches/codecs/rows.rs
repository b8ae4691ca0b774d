//! What is measured: each codec, packed or not, and mappings of JSON.

use serde_json::{Map, Value, json};
use sluicegate::codec::compression::Compression;

use crate::by_hand::{self, Out};
use crate::ours::Ours;
use crate::payloads;

/// Reads a payload into what it keeps of it.
type Reads<T> = Box<dyn FnMut(&[u8], &mut T)>;

/// A payload, and who reads it.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) ours: Ours,
    pub(crate) by_hand: Reads<Out>,
    pub(crate) tree: Option<Reads<Vec<u8>>>,
}

type ByHand = fn(&[u8], &mut Out);

/// All rows, in the order in which they are printed.
pub(crate) fn all() -> Vec<Row> {
    let mut rows = Vec::new();
    codecs(&mut rows);
    sparkplug(&mut rows);
    mappings(&mut rows);
    rows
}

fn codecs(rows: &mut Vec<Row>) {
    let many = payloads::MANY;
    let codecs: [(String, &str, Vec<u8>, ByHand); 8] = [
        ("json".to_owned(), "json", payloads::JSON.into(), by_hand::json),
        (format!("ndjson, {many} lines"), "ndjson", payloads::lines(), by_hand::lines),
        ("text".to_owned(), "text", payloads::TEXT.into(), by_hand::text),
        ("raw".to_owned(), "raw", payloads::RAW.into(), by_hand::raw),
        ("cbor".to_owned(), "cbor", payloads::cbor(), by_hand::cbor),
        ("messagepack".to_owned(), "messagepack", payloads::messagepack(), by_hand::messagepack),
        (format!("senml in JSON, {many} records"), "senml", payloads::senml(), by_hand::senml),
        (
            format!("senml in CBOR, {many} records"),
            "senml",
            payloads::senml_cbor(),
            by_hand::senml_cbor,
        ),
    ];
    for (name, codec, payload, by_hand) in codecs {
        let keys = json!({ "payload": codec });
        let mut row = |packed: &str, payload, compression, by_hand| {
            rows.push(Row {
                name: format!("{name}{packed}"),
                payload,
                ours: Ours::new(&keys, compression),
                by_hand,
                tree: None,
            });
        };
        row("", payload.clone(), None, Box::new(by_hand));
        let (gzip, zstd) = (payloads::gzip(&payload), payloads::zstd(&payload));
        row(", gzip", gzip, Some(Compression::Gzip), Box::new(by_hand::gzip(by_hand)));
        row(", zstd", zstd, Some(Compression::Zstd), Box::new(by_hand::zstd(by_hand)));
    }
}

fn sparkplug(rows: &mut Vec<Row>) {
    for metrics in [1, payloads::MANY] {
        let birth = payloads::birth(metrics);
        rows.push(Row {
            name: format!("sparkplug_b, {metrics} metrics"),
            payload: payloads::metrics(metrics),
            ours: Ours::behind(&birth),
            by_hand: Box::new(by_hand::sparkplug(&birth)),
            tree: None,
        });
    }
}

fn mappings(rows: &mut Vec<Row>) {
    let shapes: [(usize, ByHand, ByHand); 3] = [
        (1, by_hand::one::message, by_hand::one::elements),
        (5, by_hand::five::message, by_hand::five::elements),
        (20, by_hand::twenty::message, by_hand::twenty::elements),
    ];
    for (values, message, _) in shapes {
        let pointers = pointers("/data", values);
        let keys = json!({ "values": named(&pointers) });
        rows.push(Row {
            name: format!("json, {values} values"),
            payload: payloads::message(values),
            ours: Ours::new(&keys, None),
            by_hand: Box::new(message),
            tree: Some(Box::new(move |payload, out| by_hand::tree(payload, &pointers, out))),
        });
    }
    rows.push(Row {
        name: "json, 1 value by transform".to_owned(),
        payload: payloads::message(1),
        ours: Ours::new(&json!({ "transform": "{'value': {'v00': msg.data.v00}}" }), None),
        by_hand: Box::new(by_hand::one::message),
        tree: None,
    });
    let many = payloads::MANY;
    for (values, _, elements) in shapes {
        let pointers = pointers("", values);
        let keys = json!({ "each": "/points", "values": named(&pointers) });
        rows.push(Row {
            name: format!("json, each of {many}, {values} values"),
            payload: payloads::elements(values),
            ours: Ours::new(&keys, None),
            by_hand: Box::new(elements),
            tree: Some(Box::new(move |payload, out| {
                by_hand::tree_of_each(payload, &pointers, out);
            })),
        });
    }
}

fn pointers(under: &str, values: usize) -> Vec<String> {
    (0..values).map(|at| format!("{under}/v{at:02}")).collect()
}

/// The key `values` for these.
fn named(pointers: &[String]) -> Map<String, Value> {
    let name = |it: &String| it.rsplit('/').next().unwrap().to_owned();
    pointers.iter().map(|it| (name(it), json!(it))).collect()
}
