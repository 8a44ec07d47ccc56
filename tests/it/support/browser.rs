//! Headless Chromium, on a page from disk.

use std::path::Path;
use std::process::Command;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::testbed::{Server, Testbed};

/// The browser. Dropped, it ends.
pub struct Browser(Server);

impl Browser {
    /// Starts it (a second), for a test bed that has `chromium`, `chromedriver` and `moto` (whose Python runs the helper).
    pub fn start(bed: &Testbed, folder: &Path) -> Self {
        let mut command = Command::new(bed.path("moto").with_file_name("python"));
        command
            .env_clear()
            .env("HOME", folder)
            .env("TMPDIR", folder)
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testbed/python/browser.py"))
            .arg(bed.path("chromium"))
            .arg(bed.path("chromedriver"));
        let server = Server::start(command, folder.join("browser.log"));
        let ready: Value = server.next();
        assert!(ready["error"].is_null(), "{ready}");
        Self(server)
    }

    fn ask(&mut self, command: &Value) -> Value {
        self.0.tell(&command.to_string());
        let mut answer: Value = self.0.next();
        assert!(answer["error"].is_null(), "{command}: {answer}");
        answer["ok"].take()
    }

    /// Opens a file.
    pub fn open(&mut self, path: &Path) {
        self.ask(&json!(["open", format!("file://{}", path.display())]));
    }

    /// Clicks an element, as a person does: it has to be seen.
    pub fn click(&mut self, selector: &str) {
        self.ask(&json!(["click", selector]));
    }

    /// Types into an element that is empty or whose text is replaced.
    pub fn type_into(&mut self, selector: &str, text: &str) {
        self.ask(&json!(["type", selector, text]));
    }

    /// The value of an expression of JavaScript.
    pub fn value<T: DeserializeOwned>(&mut self, expression: &str) -> T {
        let value = self.ask(&json!(["script", format!("return {expression}")]));
        serde_json::from_value(value).unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    /// What was copied.
    pub fn clipboard(&mut self) -> String {
        let value = self.ask(&json!(["clipboard"]));
        value.as_str().expect("text").to_owned()
    }

    /// Whether the person prefers dark pages.
    pub fn prefers_dark(&mut self, dark: bool) {
        self.ask(&json!(["dark", dark]));
    }

    /// Errors of scripts and refusals of the Content-Security-Policy.
    pub fn messages(&mut self) -> Value {
        self.ask(&json!(["messages"]))
    }
}
