//! The question at a terminal: a pseudo-terminal, a screen, and keys.

use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::sync::mpsc;
use std::time::Duration;

use portable_pty::{CommandBuilder, PtySize, native_pty_system};

use crate::support::program::{BINARY, Stage};

const ROWS: NonZeroU16 = NonZeroU16::new(200).expect("not zero");
const COLUMNS: NonZeroU16 = NonZeroU16::new(80).expect("not zero");

/// How long a screen may take to show something: generous, only a hanging program reaches it.
const LIMIT: Duration = Duration::from_secs(60);

/// A run at a terminal of 80 columns.
struct Terminal {
    screen: vt100::Parser,
    raw: Vec<u8>,
    output: mpsc::Receiver<Vec<u8>>,
    keys: Box<dyn std::io::Write + Send>,
    child: Box<dyn portable_pty::Child + Send + Sync>,
    _master: Box<dyn portable_pty::MasterPty + Send>,
}

impl Terminal {
    fn run(stage: &Stage, args: &[&str], more_env: &[(&str, &str)]) -> Self {
        let size = PtySize {
            rows: ROWS.get(),
            cols: COLUMNS.get(),
            pixel_width: 0,
            pixel_height: 0,
        };
        let pair = native_pty_system().openpty(size).expect("a pseudo-terminal");
        let mut command = CommandBuilder::new(BINARY);
        command.args(args);
        command.env_clear();
        command.env("PATH", "/usr/bin:/bin");
        command.env("TERM", "xterm-256color");
        for (name, value) in stage.environment() {
            command.env(name, value);
        }
        for (name, value) in more_env {
            command.env(name, value);
        }
        let child = pair.slave.spawn_command(command).expect("the program starts");
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader().expect("a reader");
        let keys = pair.master.take_writer().expect("a writer");
        let (sender, output) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0_u8; 4096];
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            screen: vt100::Parser::new(ROWS, COLUMNS, 0),
            raw: Vec::new(),
            output,
            keys,
            child,
            _master: pair.master,
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.raw.extend_from_slice(bytes);
        self.screen.process(bytes);
    }

    /// Waits until the screen shows this.
    #[track_caller]
    fn wait_for(&mut self, text: &str) {
        while !self.screen.screen().contents().contains(text) {
            match self.output.recv_timeout(LIMIT) {
                Ok(bytes) => self.take(&bytes),
                Err(_) => panic!("never shown: {text}\n{}", self.screen.screen().contents()),
            }
        }
    }

    fn press(&mut self, keys: &str) {
        self.keys
            .write_all(keys.as_bytes())
            .and_then(|()| self.keys.flush())
            .expect("keys");
    }

    /// Waits for the end: exit code and what the screen shows then.
    fn end(mut self) -> (u32, String, Vec<u8>) {
        loop {
            match self.output.recv_timeout(LIMIT) {
                Ok(bytes) => self.take(&bytes),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    let _ = self.child.kill();
                    panic!("it does not end:\n{}", self.screen.screen().contents());
                }
            }
        }
        let status = self.child.wait().expect("the end");
        (status.exit_code(), self.screen.screen().contents(), self.raw)
    }
}

#[test]
fn yes_creates_and_judges_again() {
    let stage = Stage::fresh();
    let mut terminal = Terminal::run(&stage, &["preflight"], &[]);
    terminal.wait_for("Create it now?");
    let shown = terminal.screen.screen().contents();
    assert!(
        shown.contains("account  111122223333") && shown.contains("cluster  demo (eu-west-1)"),
        "{shown}"
    );
    assert!(
        shown.contains("caller   arn:aws:iam::111122223333:user/platform-admin"),
        "{shown}"
    );
    assert!(
        shown.contains("not ready"),
        "the report comes before the question\n{shown}"
    );
    assert_eq!(stage.writes(), [""; 0], "nothing is written before the answer");
    terminal.press("y\r");
    let (code, shown, _) = terminal.end();
    assert!(
        shown.contains("Created arn:aws:iam::111122223333:role/aws-service-role/"),
        "{shown}"
    );
    assert!(
        shown.contains("ready: Karpenter can get spot capacity"),
        "{shown}"
    );
    assert_eq!(code, 0);
    assert_eq!(stage.writes(), ["iam:CreateServiceLinkedRole"]);
}

#[test]
fn no_and_return_leave_everything_as_it_is() {
    for keys in ["n\r", "\r"] {
        let stage = Stage::fresh();
        let mut terminal = Terminal::run(&stage, &["preflight"], &[]);
        terminal.wait_for("Create it now?");
        terminal.press(keys);
        let (code, shown, _) = terminal.end();
        assert_eq!(code, 1, "{shown}");
        assert_eq!(stage.writes(), [""; 0]);
        let mut terminal = Terminal::run(&stage, &["create-role"], &[]);
        terminal.wait_for("Create it now?");
        terminal.press(keys);
        let (code, shown, _) = terminal.end();
        assert_eq!(code, 1, "{shown}");
        assert!(shown.contains("Nothing was created"), "{shown}");
        assert_eq!(stage.writes(), [""; 0]);
    }
}

#[test]
fn ctrl_c_in_the_question_is_130_and_shows_the_cursor_again() {
    let stage = Stage::fresh();
    let mut terminal = Terminal::run(&stage, &["create-role"], &[]);
    terminal.wait_for("Create it now?");
    terminal.press("\u{3}");
    let (code, shown, raw) = terminal.end();
    assert_eq!(code, 130, "{shown}");
    assert_eq!(stage.writes(), [""; 0]);
    let text = String::from_utf8_lossy(&raw).into_owned();
    let (hidden, visible) = (text.rfind("\u{1b}[?25l"), text.rfind("\u{1b}[?25h"));
    assert!(hidden.is_none() || visible > hidden, "{text:?}");
}

#[test]
fn a_signal_from_outside_ends_the_question_and_puts_the_terminal_back() {
    let stage = Stage::fresh();
    let mut terminal = Terminal::run(&stage, &["create-role"], &[]);
    terminal.wait_for("Create it now?");
    let pid = terminal.child.process_id().expect("a pid").to_string();
    let killed = std::process::Command::new("kill")
        .args(["-INT", &pid])
        .status()
        .expect("kill");
    assert!(killed.success());
    let (code, shown, raw) = terminal.end();
    assert_eq!(code, 130, "{shown}");
    assert!(String::from_utf8_lossy(&raw).contains("\u{1b}[?25h"));
    assert_eq!(stage.writes(), [""; 0]);
}

#[test]
fn ctrl_c_while_reading_is_130() {
    let stage = Stage::fresh();
    stage.standin.fault("*", capt_spot_standin::Fault::Hang);
    let mut terminal = Terminal::run(&stage, &["preflight"], &[]);
    // The spinner: a person sees that something goes on.
    terminal.wait_for("reading AWS and the cluster");
    terminal.press("\u{3}");
    let (code, shown, _) = terminal.end();
    assert_eq!(code, 130, "{shown}");
}

#[test]
fn no_input_never_asks() {
    let stage = Stage::fresh();
    let (code, shown, _) = Terminal::run(&stage, &["preflight", "--no-input"], &[]).end();
    assert_eq!(code, 1);
    assert!(!shown.contains("Create it now?"), "{shown}");
    let (code, shown, _) = Terminal::run(&stage, &["create-role", "--no-input"], &[]).end();
    assert_eq!(code, 2);
    assert!(shown.contains("--yes"), "{shown}");
    assert_eq!(stage.writes(), [""; 0]);
}

#[test]
fn colour_on_a_terminal_unless_no_color() {
    let stage = Stage::healthy();
    let has_colour = |args: &[&str], env: &[(&str, &str)]| {
        let (code, shown, raw) = Terminal::run(&stage, args, env).end();
        assert_eq!(code, 0, "{shown}");
        raw.windows(2).any(|pair| pair == b"\x1b[")
    };
    assert!(has_colour(&["preflight"], &[]));
    assert!(!has_colour(&["preflight"], &[("NO_COLOR", "1"), ("CI", "1")]));
    assert!(!has_colour(&["preflight", "--color", "never"], &[("CI", "1")]));
    assert!(
        stage
            .run(&["preflight", "--color", "always"])
            .stdout
            .contains("\u{1b}[")
    );
    assert!(!stage.run(&["preflight"]).stdout.contains('\u{1b}'));
}
