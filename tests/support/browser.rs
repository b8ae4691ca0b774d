//! A real browser, Debian's chromium, driven through chromedriver. It has a port, a profile and a process of its own, and
//! ends with the test.
//!
//! What that protocol does not have (the colour scheme, the size of the screen, the console) is Chromium's own protocol.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder};
use hyper::Method;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::{eventually, ignore, kill, within};

/// Long enough for anything of a page, also on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Nothing is asked of anybody but the page's own host.
const ARGUMENTS: [&str; 10] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
];

/// A colour scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Light,
    Dark,
}

/// A browser with one page.
#[derive(Debug)]
pub(crate) struct Browser {
    driver: Child,
    _profile: TempDir,
    runtime: Runtime,
    client: Option<Client>,
}

impl Browser {
    #[track_caller]
    pub(crate) fn start() -> Self {
        let mut command = Command::new("chromedriver");
        // A group of its own: whatever it has started ends with it.
        command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut driver = command.spawn().unwrap_or_else(|error| {
            panic!("chromedriver ({error}) is needed: apt-get install chromium chromium-driver");
        });
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines.by_ref().find_map(|line| {
            let line = line.unwrap();
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        let port = port.expect("chromedriver says its port");
        let profile = tempfile::tempdir().unwrap();
        let arguments = ARGUMENTS.iter().map(|it| (*it).to_owned());
        let folder = format!("--user-data-dir={}", profile.path().display());
        let options = json!({"args": arguments.chain([folder]).collect::<Vec<_>>()});
        let wanted = json!({
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": options,
        });
        let Value::Object(wanted) = wanted else { unreachable!("it is one") };
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let client = runtime
            .block_on(ClientBuilder::new(HttpConnector::new()).capabilities(wanted).connect(&url));
        let client = client.unwrap_or_else(|error| panic!("chromium does not start: {error}"));
        Self { driver, _profile: profile, runtime, client: Some(client) }
    }

    fn client(&self) -> &Client {
        self.client.as_ref().expect("it is there until the end")
    }

    #[track_caller]
    pub(crate) fn open(&self, url: &str) {
        self.runtime.block_on(self.client().goto(url)).unwrap();
    }

    /// What the body of a function returns in the page.
    #[track_caller]
    pub(crate) fn run(&self, script: &str, arguments: Vec<Value>) -> Value {
        let answer = self.runtime.block_on(self.client().execute(script, arguments));
        answer.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// What a function resolves to that is given a callback as its last argument.
    #[track_caller]
    pub(crate) fn wait_for(&self, script: &str, arguments: Vec<Value>) -> Value {
        let answer = self.runtime.block_on(self.client().execute_async(script, arguments));
        answer.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// The text of the first node of this kind; nothing where there is none.
    #[track_caller]
    pub(crate) fn text(&self, selector: &str) -> String {
        let script = "return document.querySelector(arguments[0])?.textContent ?? ''";
        self.run(script, vec![selector.into()]).as_str().unwrap().to_owned()
    }

    /// Waits until the text of a node is so.
    #[track_caller]
    pub(crate) fn wait_text(&self, selector: &str, is_so: impl Fn(&str) -> bool) -> String {
        let mut text = String::new();
        let came = within(PATIENCE, || {
            text = self.text(selector);
            is_so(&text)
        });
        assert!(came, "{selector} is {text:?}; the page:\n{}", self.text("body"));
        text
    }

    #[track_caller]
    pub(crate) fn click(&self, selector: &str) {
        self.run("document.querySelector(arguments[0]).click()", vec![selector.into()]);
    }

    /// Gives a field this value, as a person does.
    #[track_caller]
    pub(crate) fn choose(&self, selector: &str, text: &str) {
        let script = "const field = document.querySelector(arguments[0]); field.value = arguments[1]; \
                      field.dispatchEvent(new Event('input', { bubbles: true }))";
        self.run(script, vec![selector.into(), text.into()]);
    }

    /// The size of the screen, in pixels.
    pub(crate) fn resize(&self, width: u32, height: u32) {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.chromium("Emulation.setDeviceMetricsOverride", &size);
    }

    pub(crate) fn prefer(&self, scheme: Scheme) {
        let value = if scheme == Scheme::Dark { "dark" } else { "light" };
        let feature = json!({"name": "prefers-color-scheme", "value": value});
        self.chromium("Emulation.setEmulatedMedia", &json!({"features": [feature]}));
    }

    /// What is on the screen, as PNG.
    pub(crate) fn screenshot(&self) -> Vec<u8> {
        let answer = self.chromium("Page.captureScreenshot", &json!({"format": "png"}));
        STANDARD.decode(answer["data"].as_str().unwrap()).unwrap()
    }

    /// Lines of the console that came since it was asked the last time.
    pub(crate) fn console(&self) -> Vec<String> {
        let lines = self.ask("se/log", json!({"type": "browser"}));
        let lines = lines.as_array().unwrap().iter();
        lines.map(|it| format!("{} {}", it["level"], it["message"])).collect()
    }

    fn chromium(&self, command: &str, parameters: &Value) -> Value {
        self.ask("goog/cdp/execute", json!({"cmd": command, "params": parameters}))
    }

    #[track_caller]
    fn ask(&self, path: &'static str, body: Value) -> Value {
        let answer = self.runtime.block_on(self.client().issue_cmd(Own { path, body }));
        answer.unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            ignore(self.runtime.block_on(client.close()), "its process is ended anyway");
        }
        let pid = self.driver.id();
        kill(pid, "TERM");
        eventually("chromedriver ends", PATIENCE, || self.driver.try_wait().unwrap().is_some());
    }
}

/// A command of Chromium's own.
#[derive(Debug)]
struct Own {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Own {
    fn endpoint(
        &self,
        base: &url::Url,
        session: Option<&str>,
    ) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.expect("there is one"), self.path))
    }

    fn method_and_body(&self, _: &url::Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.body.to_string()))
    }
}
