//! The terminal: the one door to stdout, the one to stderr, the question, the spinner.
//!
//! The report goes to stdout, everything else to stderr. Nothing is drawn and nothing is asked where nobody is.

use std::borrow::Cow;
use std::future::Future;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dialoguer::theme::{SimpleTheme, Theme as _};

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

/// `--quiet`: no text for people but errors.
static QUIET: AtomicBool = AtomicBool::new(false);

/// From now on, only errors and documents for programs are printed.
pub fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

fn quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Longer than this, and a person wants to see that something happens.
const MOMENT: Duration = Duration::from_millis(400);

/// What the terminal can do.
#[derive(Debug, Clone, Copy)]
pub struct Ui {
    /// How to print the report on stdout.
    pub style: Style,
    /// Whether a person can be asked: standard input and standard error are terminals, and no flag forbids it.
    pub person: bool,
    /// Whether a person reads what goes to standard output.
    pub reads_stdout: bool,
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
            reads_stdout: stdout.is_terminal(),
            person: !no_input && stderr && io::stdin().is_terminal(),
            progress: stderr && verbose == 0 && !quiet() && std::env::var_os("CI").is_none(),
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

    /// Asks for consent: only a whole line `y` or `yes`, typed after the question was shown, is it. Everything else is no, the
    /// end of input too.
    ///
    /// dialoguer's own prompts read keys one by one, in a terminal without echo; here the terminal stays as it is, so that
    /// nothing is left to put back however the program ends. The line is read on a thread of its own, so that a signal ends
    /// the question.
    ///
    /// # Errors
    /// The question could not be shown.
    pub async fn consents(&self, question: &str) -> io::Result<bool> {
        let mut prompt = String::new();
        SimpleTheme
            .format_confirm_prompt(&mut prompt, &sanitize::line(question), Some(false))
            .map_err(io::Error::other)?;
        // Before the question is shown: what comes after that is an answer to it.
        #[cfg(unix)]
        rustix::termios::tcflush(io::stdin(), rustix::termios::QueueSelector::IFlush)?;
        let mut stderr = io::stderr();
        stderr.write_all(prompt.as_bytes())?;
        stderr.flush()?;
        let mut line = QuestionLine { open: true };
        let answer = tokio::task::spawn_blocking(|| {
            let mut answer = Vec::new();
            let read = io::stdin()
                .lock()
                .take(LONGEST_ANSWER)
                .read_until(b'\n', &mut answer);
            // A terminal that went away has no consent to give.
            read.map(|_| answer).unwrap_or_default()
        })
        .await
        .unwrap_or_default();
        line.open = !answer.ends_with(b"\n");
        Ok(is_consent(&answer))
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
        let spinner = self.spinner(what);
        let done = work.await;
        spinner.finish_and_clear();
        done
    }
}

/// Shows how far many things are, where a person is.
#[derive(Debug)]
pub struct Counted(Option<indicatif::ProgressBar>);

impl Ui {
    /// Begins to count; shown from the first [`Counted::line`] on.
    pub fn counted(&self, what: &str) -> Counted {
        Counted(self.progress.then(|| self.spinner(what)))
    }

    fn spinner(&self, what: &str) -> indicatif::ProgressBar {
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
        spinner
    }
}

impl Counted {
    /// One more is done: its line, and how far all are.
    pub fn line(&self, line: &str, so_far: &str) {
        if let Some(spinner) = &self.0 {
            spinner.println(sanitize::line(line));
            spinner.set_message(sanitize::line(so_far).into_owned());
        }
    }

    /// Takes the count away; the lines stay.
    pub fn end(&self) {
        if let Some(spinner) = &self.0 {
            spinner.finish_and_clear();
        }
    }
}

/// More than a terminal hands over as one line.
const LONGEST_ANSWER: u64 = 4096;

fn is_consent(line: &[u8]) -> bool {
    let Some(answer) = line.strip_suffix(b"\n") else {
        return false;
    };
    let answer = answer.trim_ascii();
    answer.eq_ignore_ascii_case(b"y") || answer.eq_ignore_ascii_case(b"yes")
}

/// The line with the question: left open, what follows would stand on it.
struct QuestionLine {
    open: bool,
}

impl Drop for QuestionLine {
    fn drop(&mut self) {
        if self.open {
            err("");
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
        Output::Text if quiet() => Ok(()),
        Output::Text => out(&said(text)),
        _ => out(text),
    }
}

/// Prints a rendered report to stderr: it is clean already, and its colours are to stay.
pub fn err_rendered(output: Output, text: &str) {
    if output == Output::Text && quiet() {
        return;
    }
    let text = match output {
        Output::Text => said(text),
        _ => Cow::Borrowed(text),
    };
    let mut stderr = io::stderr().lock();
    // Where even stderr is gone there is nobody left to tell.
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// Prints to stderr what a person may want to know, and what is no error.
pub fn note(text: &str) {
    if !quiet() {
        err(text);
    }
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
    fn consent_is_a_whole_line() {
        for line in ["y\n", "Y\n", "yes\n", "YeS\r\n", " y \n"] {
            assert!(is_consent(line.as_bytes()), "{line:?}");
        }
        for line in [
            "",
            "\n",
            "y",
            "yes",
            "yy\n",
            "ye\n",
            "no\n",
            "y n\n",
            "not yet\n",
            "\u{1b}y\n",
            "\u{ff59}\n",
        ] {
            assert!(!is_consent(line.as_bytes()), "{line:?}");
        }
        assert!(!is_consent(b"\xffy\n"));
    }

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
