//! A pseudo-terminal with a screen that can be read and keys that can be pressed.

use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use portable_pty::{CommandBuilder, PtySize, native_pty_system};

const ROWS: NonZeroU16 = NonZeroU16::new(200).expect("not zero");
const COLUMNS: NonZeroU16 = NonZeroU16::new(80).expect("not zero");

/// How long a screen may take to show something: generous, only a hanging program reaches it.
const LIMIT: Duration = Duration::from_secs(60);

fn settings(master: &dyn portable_pty::MasterPty) -> String {
    format!("{:?}", master.get_termios().expect("the terminal's settings"))
}

/// A run of a program at a terminal of 80 columns.
pub struct Terminal {
    screen: vt100::Parser,
    raw: Vec<u8>,
    output: mpsc::Receiver<Vec<u8>>,
    keys: Box<dyn std::io::Write + Send>,
    child: Box<dyn portable_pty::Child + Send + Sync>,
    master: Box<dyn portable_pty::MasterPty + Send>,
    settings: String,
}

impl Terminal {
    /// Starts a command there, in the environment that it names and no other.
    pub fn run(run: &Command) -> Self {
        Self::run_after_typing(run, "")
    }

    /// The same, with keys that were pressed before it started.
    pub fn run_after_typing(run: &Command, typed_ahead: &str) -> Self {
        let size = PtySize {
            rows: ROWS.get(),
            cols: COLUMNS.get(),
            pixel_width: 0,
            pixel_height: 0,
        };
        let pair = native_pty_system().openpty(size).expect("a pseudo-terminal");
        let mut command = CommandBuilder::new(run.get_program());
        command.args(run.get_args());
        command.env_clear();
        for (name, value) in run.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        command.env("TERM", "xterm-256color");
        if let Some(folder) = run.get_current_dir() {
            command.cwd(folder);
        }
        let settings = settings(pair.master.as_ref());
        let mut keys = pair.master.take_writer().expect("a writer");
        keys.write_all(typed_ahead.as_bytes()).expect("keys");
        let child = pair.slave.spawn_command(command).expect("the program starts");
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader().expect("a reader");
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
            master: pair.master,
            settings,
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.raw.extend_from_slice(bytes);
        self.screen.process(bytes);
    }

    /// What the screen shows now.
    pub fn shown(&self) -> String {
        self.screen.screen().contents()
    }

    /// The process at it.
    pub fn pid(&self) -> u32 {
        self.child.process_id().expect("a pid")
    }

    /// Waits until the screen shows this.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        while !self.screen.screen().contents().contains(text) {
            match self.output.recv_timeout(LIMIT) {
                Ok(bytes) => self.take(&bytes),
                Err(_) => panic!("never shown: {text}\n{}", self.screen.screen().contents()),
            }
        }
    }

    /// Types.
    pub fn press(&mut self, keys: &str) {
        self.keys
            .write_all(keys.as_bytes())
            .and_then(|()| self.keys.flush())
            .expect("keys");
    }

    /// Sends a signal: INT, TERM, HUP.
    pub fn signal(&self, name: &str) {
        let killed = Command::new("kill")
            .args(["-s", name, &self.pid().to_string()])
            .status()
            .expect("kill");
        assert!(killed.success());
    }

    /// Whether the terminal's settings (echo, line by line) are those that the program found.
    pub fn is_as_it_was(&self) -> bool {
        self.settings == settings(self.master.as_ref())
    }

    /// Waits for the end: exit code and what the screen shows then.
    pub fn end(mut self) -> (u32, String, Vec<u8>) {
        let code = self.wait();
        (code, self.screen.screen().contents(), self.raw)
    }

    /// Waits for the end, and keeps the terminal to be looked at.
    pub fn wait(&mut self) -> u32 {
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
        self.child.wait().expect("the end").exit_code()
    }
}
