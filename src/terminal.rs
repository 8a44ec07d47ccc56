//! The terminal: the one door to stdout, the one to stderr, the question, the spinner.
//!
//! The report goes to stdout, everything else to stderr. Nothing is drawn and nothing is asked where nobody is.

use std::borrow::Cow;
use std::future::Future;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use crate::text::sanitize;
use crate::text::style::Style;
use crate::text::{Output, When};

/// How the program is called as a plugin of kubectl, and how all texts name it.
pub const KUBECTL: &str = "kubectl capt-spot";

/// A text for people, by the prefix that works here: who has the Helm plugin need not have the kubectl plugin.
pub fn said(text: &str) -> Cow<'_, str> {
    said_by(text, std::env::var_os("HELM_PLUGIN_NAME").is_some())
}

fn said_by(text: &str, helm: bool) -> Cow<'_, str> {
    if helm && text.contains(KUBECTL) {
        Cow::Owned(text.replace(KUBECTL, "helm capt-spot"))
    } else {
        Cow::Borrowed(text)
    }
}

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
    pub fn new(color: When, verbose: u8, no_input: bool) -> Self {
        let stdout = io::stdout();
        let color = match color {
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
                verbose: verbose > 0,
            },
            person: !no_input && stderr && io::stdin().is_terminal(),
            progress: stderr && verbose == 0 && std::env::var_os("CI").is_none(),
        }
    }

    /// The same, for a report that goes to stderr because stdout belongs to another program.
    #[must_use]
    pub fn with_report_on_stderr(mut self, color: When) -> Self {
        let stderr = io::stderr();
        self.style.color = match color {
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
        let mut restored = terminal::Saved::new();
        let answer = tokio::task::spawn_blocking(move || {
            dialoguer::Confirm::new()
                .with_prompt(question)
                .default(false)
                .wait_for_newline(true)
                .interact()
        });
        let answer = answer.await;
        restored.answered = matches!(answer, Ok(Ok(_)));
        match answer {
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
        let mut look = indicatif::ProgressStyle::default_spinner();
        if !self.style.unicode {
            look = look.tick_chars("|/-\\ ");
        }
        // Cleared also when Ctrl-C takes the work away.
        let spinner = indicatif::ProgressBar::new_spinner()
            .with_style(look)
            .with_message(sanitize::line(what).into_owned())
            .with_finish(indicatif::ProgressFinish::AndClear);
        spinner.enable_steady_tick(Duration::from_millis(120));
        let done = work.await;
        spinner.finish_and_clear();
        done
    }
}

/// The terminal's settings, put back when this goes away.
mod terminal {
    pub(super) struct Saved {
        #[cfg(unix)]
        settings: Option<rustix::termios::Termios>,
        /// Otherwise the shell's prompt would follow on the question's line.
        pub(super) answered: bool,
    }

    impl Saved {
        pub(super) fn new() -> Self {
            Self {
                #[cfg(unix)]
                settings: rustix::termios::tcgetattr(std::io::stdin()).ok(),
                answered: false,
            }
        }
    }

    impl Drop for Saved {
        fn drop(&mut self) {
            // Nothing can be done about a terminal that is gone.
            #[cfg(unix)]
            if let Some(settings) = &self.settings {
                let _ = rustix::termios::tcsetattr(
                    std::io::stdin(),
                    rustix::termios::OptionalActions::Now,
                    settings,
                );
            }
            let terminal = dialoguer::console::Term::stderr();
            let _ = terminal.show_cursor();
            if !self.answered {
                let _ = terminal.write_line("");
            }
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

/// Prints what was rendered in a format to stdout; text is for people ([`said`]), every other format for programs.
///
/// # Errors
/// As [`out`].
pub fn out_as(output: Output, text: &str) -> io::Result<()> {
    match output {
        Output::Text => out(&said(text)),
        _ => out(text),
    }
}

/// Prints a rendered report to stderr: it is clean already, and its colours are to stay.
pub fn err_rendered(output: Output, text: &str) {
    let text = match output {
        Output::Text => said(text),
        _ => Cow::Borrowed(text),
    };
    let mut stderr = io::stderr().lock();
    // Where even stderr is gone there is nobody left to tell.
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// Prints lines to stderr, cleaned; the one door to it.
pub fn err(text: &str) {
    let mut stderr = io::stderr().lock();
    // Where even stderr is gone there is nobody left to tell.
    let _ = writeln!(stderr, "{}", sanitize::lines(&said(text)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_the_one_that_works_here() {
        let text = "fix: kubectl capt-spot create-role --context a; kubectl get nodes";
        assert_eq!(said_by(text, false), text);
        assert_eq!(
            said_by(text, true),
            "fix: helm capt-spot create-role --context a; kubectl get nodes"
        );
    }
}
