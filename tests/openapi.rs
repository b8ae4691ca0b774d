//! The document of HTTP says what HTTP answers: each answer of a running gateway is what the schema of its path allows, and
//! has nothing that is not in it.

use boon::{Compiler, Schemas};
use serde_json::{Map, Value, json};

use crate::scene::{drained, fleet, message, output, reading};
use crate::support::broker::Broker;
use crate::support::gateway::Gateway;
use crate::support::http::Http;
use crate::support::stream::Stream;
use crate::support::{SOON, eventually};

const SCHEMAS: &str = "/components/schemas";

/// The document, with schemas that allow no member that they do not name.
struct Document {
    said: Value,
    closed: Value,
}

impl Document {
    fn of(http: Http) -> Self {
        let said = http.json("/api/openapi.json");
        let mut closed = said.clone();
        for schema in closed.pointer_mut(SCHEMAS).unwrap().as_object_mut().unwrap().values_mut() {
            *schema = closed_of(schema, &said);
        }
        Self { said, closed }
    }

    /// The answer with this status at this path.
    fn answer(&self, path: &str, status: u16) -> &Value {
        let answer = &self.said["paths"][path]["get"]["responses"][status.to_string()];
        assert!(answer.is_object(), "{path} does not say {status}");
        answer
    }

    #[track_caller]
    fn allows(&self, schema: &str, answer: &Value) {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource("http://document", self.closed.clone()).unwrap();
        let place = format!("http://document#{SCHEMAS}/{schema}");
        let index = compiler.compile(&place, &mut schemas).unwrap();
        let problem = schemas.validate(answer, index).err().map(|it| format!("{it:#}"));
        assert_eq!(problem, None, "{schema}: {answer:#}");
    }
}

/// The name of a component that is referred to.
fn name(reference: &Value) -> &str {
    reference["$ref"].as_str().unwrap().rsplit('/').next().unwrap()
}

/// Members and required ones of a schema of an object, with those of all parts that it is made of.
fn members(schema: &Value, document: &Value) -> (Map<String, Value>, Vec<Value>) {
    if schema.get("$ref").is_some() {
        return members(&document.pointer(SCHEMAS).unwrap()[name(schema)], document);
    }
    let parts = schema["allOf"].as_array().into_iter().flatten().map(|it| members(it, document));
    let own = schema["properties"].as_object().cloned().unwrap_or_default();
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    parts.fold((own, required), |(mut all, mut required), (more, more_required)| {
        all.extend(more);
        required.extend(more_required);
        (all, required)
    })
}

fn closed_of(schema: &Value, document: &Value) -> Value {
    match schema {
        Value::Array(items) => items.iter().map(|it| closed_of(it, document)).collect(),
        Value::Object(it) if it.contains_key("allOf") || it.contains_key("properties") => {
            let (members, required) = members(schema, document);
            let members: Map<_, _> =
                members.iter().map(|(name, it)| (name.clone(), closed_of(it, document))).collect();
            json!({"type": "object", "properties": members, "required": required, "additionalProperties": false})
        }
        Value::Object(it) => {
            it.iter().map(|(name, it)| (name.clone(), closed_of(it, document))).collect()
        }
        other => other.clone(),
    }
}

/// A path of the document, and one that is asked for.
const ASKED: [(&str, &str); 12] = [
    ("/healthz", "/healthz"),
    ("/readyz", "/readyz"),
    ("/api/status", "/api/status"),
    ("/api/entries", "/api/entries"),
    ("/api/sensors", "/api/sensors?sort=rate&state=online&limit=1000&search=a"),
    ("/api/sensors/{entry}/{id}", "/api/sensors/fleet/a"),
    ("/api/sensors/{entry}/{id}", "/api/sensors/fleet/first"),
    ("/api/sensors/{entry}/{id}", "/api/sensors/fleet/bad"),
    ("/api/dead-letters", "/api/dead-letters"),
    ("/api/warnings", "/api/warnings"),
    ("/api/history", "/api/history"),
    ("/metrics", "/metrics"),
];

#[test]
fn every_answer_is_what_the_document_says() {
    let (input, sink) = (Broker::start(), Broker::start());
    let config = fleet(&input.url(), &[&output(&sink.url())]);
    let launch = Gateway::with_config(&config).env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0");
    let mut gateway = launch.start();
    gateway.wait_for_line("subscribed", SOON);
    let http = Http::of(&gateway);
    let bad = |sensor: &str| message(&format!("sensors/{sensor}/reading"), "{", 1);
    input.publish_all([reading("a", 1, 1), reading("a", 2, 1), bad("first")]);
    // So many that the first one leaves the list.
    input.publish_all((0..100).map(|_| bad("bad")).collect::<Vec<_>>());
    eventually("all dead letters", SOON, || http.json("/api/dead-letters")["total"] == 101);
    eventually("a step of the history", SOON, || {
        http.json("/api/history")["steps"].as_array().is_some_and(|it| !it.is_empty())
    });
    eventually("a warning", SOON, || http.json("/api/warnings")["total"] != 0);
    let document = Document::of(http);
    assert_eq!(document.said["openapi"].as_str().map(|it| it.split('.').next()), Some(Some("3")));
    for (path, asked) in ASKED {
        let answer = http.get(asked);
        let said = &document.answer(path, answer.status)["content"];
        let kinds: Vec<_> = said.as_object().unwrap().keys().cloned().collect();
        let is_one = |it: &String| answer.head.contains(&format!("content-type: {it}"));
        assert!(kinds.iter().any(is_one), "{asked}: {kinds:?}, {}", answer.head);
        if let Some(schema) = said.get("application/json") {
            let body = serde_json::from_str(&answer.body).unwrap();
            document.allows(name(&schema["schema"]), &body);
        }
    }
    let first = http.json("/api/sensors/fleet/first")["lastDeadLetter"].clone();
    assert_eq!((&first["reason"], first.get("payload")), (&"malformed".into(), None), "{first}");

    for (path, asked, status) in [
        ("/api/sensors", "/api/sensors?limit=0", 400),
        ("/api/sensors", "/api/sensors?limit=1001", 400),
        ("/api/sensors", "/api/sensors?state=asleep", 400),
        ("/metrics/sensors", "/metrics/sensors?limit=1001", 400),
        ("/metrics/sensors", "/metrics/sensors?limit=1000", 200),
        ("/api/sensors/{entry}/{id}", "/api/sensors/fleet/none", 404),
        ("/assets/{path}", "/assets/page.js", 200),
        ("/assets/{path}", "/assets/none.js", 404),
        ("/", "/", 200),
    ] {
        assert_eq!(http.get(asked).status, status, "{asked}");
        document.answer(path, status);
    }
    assert!(http.get("/api/none").body.contains("/api/openapi.json"));

    let mut stream = Stream::open(http);
    document.allows("Status", &stream.next().unwrap().data);
    input.publish_all([bad("again")]);
    document.allows("DeadLetter", &stream.wait("dead_letter", |_| true));
    document.allows("Step", &stream.wait("history", |_| true));
    drained(&mut gateway);
}

/// The bounds of what may be asked for are those of the document.
#[test]
fn a_sensor_is_asked_for_with_the_words_and_bounds_of_the_document() {
    let (input, sink) = (Broker::start(), Broker::start());
    let config = fleet(&input.url(), &[&output(&sink.url())]);
    let launch = Gateway::with_config(&config).env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0");
    let mut gateway = launch.start();
    gateway.wait_for_line("subscribed", SOON);
    let http = Http::of(&gateway);
    let said = http.json("/api/openapi.json")["paths"]["/api/sensors"]["get"].clone();
    let parameter = |name: &str| {
        let all = said["parameters"].as_array().unwrap();
        all.iter().find(|it| it["name"] == name).unwrap()["schema"].clone()
    };
    let words = |schema: &Value| {
        let words = schema["enum"].as_array().unwrap().iter();
        words.map(|it| it.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(words(&parameter("state")), ["online", "late", "silent"]);
    for word in words(&parameter("sort")) {
        assert_eq!(http.get(&format!("/api/sensors?sort={word}")).status, 200, "{word}");
    }
    let limit = parameter("limit");
    for (bound, beside) in [("minimum", -1), ("maximum", 1)] {
        let bound = limit[bound].as_i64().unwrap();
        assert_eq!(http.get(&format!("/api/sensors?limit={bound}")).status, 200);
        assert_eq!(http.get(&format!("/api/sensors?limit={}", bound + beside)).status, 400);
    }
    drained(&mut gateway);
}
