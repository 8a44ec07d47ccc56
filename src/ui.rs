//! The terminal: the one door to stdout, the one to stderr, the question, the spinner.
//!
//! The report goes to stdout, everything else to stderr. Nothing is drawn and nothing is asked where nobody is.

use std::future::Future;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use crate::cli::{Global, When};
use crate::report::sanitize;
use crate::report::text::Style;

/// Longer than this, and a person wants to see that something happens.
const MOMENT: Duration = Duration::from_millis(400);

/// What the terminal can do.
#[derive(Debug, Clone, Copy)]
pub struct Ui {
    /// How to print the report on stdout.
    pub style: Style,
    /// Whether a person can be asked.
    pub person: bool,
    progress: bool,
}

impl Ui {
    /// Looks at the flags, the environment and the terminals.
    pub fn new(global: &Global, no_input: bool) -> Self {
        let stdout = io::stdout();
        let color = match global.color {
            When::Always => true,
            When::Never => false,
            When::Auto => matches!(
                anstream::AutoStream::choice(&stdout),
                anstream::ColorChoice::Always | anstream::ColorChoice::AlwaysAnsi
            ),
        };
        let width = if stdout.is_terminal() {
            terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0))
        } else {
            std::env::var("COLUMNS")
                .ok()
                .and_then(|columns| columns.parse().ok())
                .unwrap_or(80)
        };
        let stderr = io::stderr().is_terminal();
        Self {
            style: Style {
                color,
                unicode: utf8(),
                width,
                verbose: global.verbose > 0,
            },
            person: !no_input && stderr && io::stdin().is_terminal(),
            progress: stderr && global.verbose == 0 && std::env::var_os("CI").is_none(),
        }
    }

    /// The same, for a report that goes to stderr because stdout belongs to another program.
    #[must_use]
    pub fn with_report_on_stderr(mut self, global: &Global) -> Self {
        let stderr = io::stderr();
        self.style.color = match global.color {
            When::Always => true,
            When::Never => false,
            When::Auto => matches!(
                anstream::AutoStream::choice(&stderr),
                anstream::ColorChoice::Always | anstream::ColorChoice::AlwaysAnsi
            ),
        };
        self
    }

    /// Asks a question; no is the default.
    ///
    /// The question waits on a thread of its own, so that Ctrl-C and a signal from outside end the program; the terminal
    /// is then put back as it was.
    ///
    /// # Errors
    /// The terminal went away, or Ctrl-C.
    pub async fn ask(&self, question: &str) -> io::Result<bool> {
        let question = sanitize::line(question).into_owned();
        let _restored = terminal::Saved::new();
        let answer = tokio::task::spawn_blocking(move || {
            dialoguer::Confirm::new()
                .with_prompt(question)
                .default(false)
                .wait_for_newline(true)
                .interact()
        });
        match answer.await {
            Ok(Ok(yes)) => Ok(yes),
            Ok(Err(dialoguer::Error::IO(error))) => Err(error),
            Err(_) => Err(io::ErrorKind::Interrupted.into()),
        }
    }

    /// Waits for `work`; when it takes longer than a moment and a person is there, shows that it goes on.
    pub async fn progress<T>(&self, what: &str, work: impl Future<Output = T>) -> T {
        if !self.progress {
            return work.await;
        }
        let mut work = std::pin::pin!(work);
        if let Ok(done) = tokio::time::timeout(MOMENT, &mut work).await {
            return done;
        }
        let spinner = indicatif::ProgressBar::new_spinner().with_message(sanitize::line(what).into_owned());
        spinner.enable_steady_tick(Duration::from_millis(120));
        let done = work.await;
        spinner.finish_and_clear();
        done
    }
}

/// The terminal's settings, put back when this goes away.
mod terminal {
    #[cfg(unix)]
    pub(super) struct Saved(Option<rustix::termios::Termios>);

    #[cfg(unix)]
    impl Saved {
        pub(super) fn new() -> Self {
            Self(rustix::termios::tcgetattr(std::io::stdin()).ok())
        }
    }

    #[cfg(unix)]
    impl Drop for Saved {
        fn drop(&mut self) {
            if let Some(settings) = &self.0 {
                // Nothing can be done about a terminal that is gone.
                let _ = rustix::termios::tcsetattr(
                    std::io::stdin(),
                    rustix::termios::OptionalActions::Now,
                    settings,
                );
            }
            let _ = dialoguer::console::Term::stderr().show_cursor();
        }
    }

    #[cfg(not(unix))]
    pub(super) struct Saved;

    #[cfg(not(unix))]
    impl Saved {
        pub(super) fn new() -> Self {
            Self
        }
    }

    #[cfg(not(unix))]
    impl Drop for Saved {
        fn drop(&mut self) {
            let _ = dialoguer::console::Term::stderr().show_cursor();
        }
    }
}

/// Whether the locale says UTF-8, or the system is one where every terminal does.
fn utf8() -> bool {
    if cfg!(any(target_os = "macos", windows)) {
        return true;
    }
    ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .is_some_and(|value| {
            let value = value.to_ascii_lowercase();
            value.contains("utf-8") || value.contains("utf8")
        })
}

/// Prints to stdout, the one door to it. A reader that went away (`| head`) is no error.
///
/// # Errors
/// Anything else, a full disk for instance.
pub fn out(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Prints a rendered report to stderr: it is clean already, and its colours are to stay.
pub fn err_rendered(text: &str) {
    let mut stderr = io::stderr().lock();
    // Where even stderr is gone there is nobody left to tell.
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// Prints lines to stderr, cleaned; the one door to it.
pub fn err(text: &str) {
    let mut stderr = io::stderr().lock();
    // Where even stderr is gone there is nobody left to tell.
    let _ = writeln!(stderr, "{}", sanitize::lines(text));
}
