//! The helm that renders and installs: finding it, asking it, and handing over to it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::env::HelmEnv;
use crate::helm::chart;

/// Most of helm's standard error that is kept. helm's own error stands at the end, so the end is kept.
const KEPT_STDERR: usize = 64 * 1024;

/// A helm to call, with what its environment gets beyond ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Helm {
    program: PathBuf,
    env: Vec<(OsString, OsString)>,
}

/// Why helm could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum HelmError {
    /// HELM_BIN names something that isn't there.
    #[error("HELM_BIN says {}, and there is no such program\n  fix: set HELM_BIN to helm's path, or unset it to use the helm on PATH", .0.display())]
    BadHelmBin(PathBuf),
    /// There is no helm.
    #[error("no helm on PATH\n  fix: install helm, or set HELM_BIN to its path")]
    NoHelm,
    /// It could not be started.
    #[error("{} could not be started: {source}", program.display())]
    NotStarted {
        /// The program.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It ended with an error, which it has said in its own words.
    #[error("helm {command} ended with {}", code.map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}")))]
    Failed {
        /// `template`, `get values`.
        command: String,
        /// What it wrote to standard error.
        stderr: String,
        /// Its exit code; `None`: a signal.
        code: Option<i32>,
    },
    /// What an upgrade builds upon could not be read, and the chart does not render without it.
    #[error(
        "the release {release} could not be read, and the chart does not render without its values: {why}\n  fix: helm upgrade needs get and list on secrets in the release's namespace; give all values with -f or --set to be judged without"
    )]
    ReleaseUnreadable {
        /// The release.
        release: String,
        /// helm's words.
        why: String,
    },
    /// It printed more than can be looked at.
    #[error("helm {command} printed more than {} MiB", chart::MAX_BYTES / (1024 * 1024))]
    TooLarge {
        /// The command.
        command: String,
    },
    /// It printed something that isn't text.
    #[error("helm {command} printed something that is not UTF-8")]
    NotText {
        /// The command.
        command: String,
    },
    /// The pipes to it broke, or a temporary file could not be written.
    #[error("talking to helm failed: {0}")]
    Io(#[from] io::Error),
}

impl Helm {
    /// Finds helm: HELM_BIN, which may be relative to the working directory or a bare name, or `helm` on PATH.
    ///
    /// # Errors
    /// There is none. A HELM_BIN that leads nowhere is never replaced by another helm.
    pub fn locate(env: &HelmEnv, path: Option<&OsStr>) -> Result<Self, HelmError> {
        let program = match &env.bin {
            None => on_path(OsStr::new("helm"), path).ok_or(HelmError::NoHelm)?,
            Some(bin) => {
                let bin_path = Path::new(bin);
                let found =
                    if bin_path.components().count() > 1 || bin_path.is_absolute() || has_separator(bin) {
                        executable(bin_path)
                    } else {
                        on_path(bin, path)
                    };
                found.ok_or_else(|| HelmError::BadHelmBin(bin_path.to_owned()))?
            }
        };
        Ok(Self {
            program,
            env: Vec::new(),
        })
    }

    /// The same helm with a variable in its environment.
    #[must_use]
    pub fn with_env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Runs helm and gives what it prints. `command` names it in errors.
    ///
    /// # Errors
    /// It could not be started, failed, or printed too much or no text.
    pub async fn ask(
        &self,
        command: &str,
        args: &[OsString],
        stdin: Option<&[u8]>,
    ) -> Result<String, HelmError> {
        let mut child = Command::new(&self.program)
            .args(args)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(if stdin.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| HelmError::NotStarted {
                program: self.program.clone(),
                source,
            })?;
        let (pipe, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async {
            if let (Some(mut pipe), Some(bytes)) = (pipe, stdin) {
                // A helm that has failed already reads no further; its own error is the one to show.
                let _ = pipe.write_all(bytes).await;
            }
        };
        let stdout = async {
            match out {
                Some(out) => head(out, chart::MAX_BYTES).await,
                None => Ok(Some(Vec::new())),
            }
        };
        let stderr = async {
            match err {
                Some(err) => tail(err, KEPT_STDERR).await,
                None => Ok(Vec::new()),
            }
        };
        let read = async {
            let both = async { tokio::try_join!(stdout, stderr) };
            let ((), both) = tokio::join!(feed, both);
            both
        };
        let (stdout, stderr) = read.await?;
        let Some(stdout) = stdout else {
            child.kill().await?;
            return Err(HelmError::TooLarge {
                command: command.to_owned(),
            });
        };
        let status = child.wait().await?;
        if !status.success() {
            return Err(HelmError::Failed {
                command: command.to_owned(),
                stderr: String::from_utf8_lossy(&stderr).into_owned(),
                code: status.code(),
            });
        }
        String::from_utf8(stdout).map_err(|_| HelmError::NotText {
            command: command.to_owned(),
        })
    }

    /// Hands over: helm runs with these words, our standard streams and our terminal, and its exit code is ours.
    ///
    /// On Unix the program becomes helm (exec), so that signals, job control and exit code are helm's own and nothing
    /// of ours stays behind. Elsewhere helm is started, Ctrl-C is left to it, and its exit code is returned.
    ///
    /// `stdin` is what was read of standard input already (values from `-f -`).
    ///
    /// # Errors
    /// helm could not be started. On Unix it returns only then.
    pub fn hand_over(&self, args: &[OsString], stdin: Option<&[u8]>) -> Result<u8, HelmError> {
        let mut command = std::process::Command::new(&self.program);
        command
            .args(args)
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(bytes) = stdin {
            command.stdin(replay(bytes)?);
        }
        become_it(command, &self.program)
    }
}

#[cfg(unix)]
fn become_it(mut command: std::process::Command, program: &Path) -> Result<u8, HelmError> {
    use std::os::unix::process::CommandExt as _;
    Err(HelmError::NotStarted {
        program: program.to_owned(),
        source: command.exec(),
    })
}

#[cfg(not(unix))]
fn become_it(mut command: std::process::Command, program: &Path) -> Result<u8, HelmError> {
    // The console sends Ctrl-C to helm too; tokio's handler, installed when the program started to wait for it, keeps
    // us alive until helm has cleaned up.
    let status = command.status().map_err(|source| HelmError::NotStarted {
        program: program.to_owned(),
        source,
    })?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1))
}

/// Standard input again, as an unnamed file that needs no cleaning up.
fn replay(bytes: &[u8]) -> io::Result<Stdio> {
    use std::io::{Seek as _, Write as _};
    let mut file = tempfile::tempfile()?;
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

/// Everything up to `limit` bytes; `None` when there is more.
async fn head(source: impl AsyncRead + Unpin, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let more = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    source.take(more).read_to_end(&mut bytes).await?;
    Ok((bytes.len() <= limit).then_some(bytes))
}

/// The last `limit` bytes.
async fn tail(mut source: impl AsyncRead + Unpin, limit: usize) -> io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let mut buffer = vec![0; 8 * 1024];
    loop {
        let read = source.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        kept.extend_from_slice(buffer.get(..read).unwrap_or_default());
        if kept.len() > limit * 2 {
            kept.drain(..kept.len() - limit);
        }
    }
    kept.drain(..kept.len().saturating_sub(limit));
    Ok(kept)
}

fn has_separator(name: &OsStr) -> bool {
    name.to_string_lossy().contains(std::path::is_separator)
}

fn on_path(name: &OsStr, path: Option<&OsStr>) -> Option<PathBuf> {
    std::env::split_paths(path?)
        .filter(|folder| !folder.as_os_str().is_empty())
        .find_map(|folder| executable(&folder.join(name)))
}

/// The program behind a path, `.exe` added where the system wants one.
fn executable(path: &Path) -> Option<PathBuf> {
    if is_executable(path) {
        return Some(path.to_owned());
    }
    if cfg!(windows) {
        let mut with_exe = path.as_os_str().to_owned();
        with_exe.push(".exe");
        let with_exe = PathBuf::from(with_exe);
        return is_executable(&with_exe).then_some(with_exe);
    }
    None
}

#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(path: &Path) -> bool {
    path.is_file()
}

/// Writes an executable script for tests. A shell does the writing: a file that this process has open for writing may
/// be inherited by a process that another test is just starting, and can't be run as long as that has it (ETXTBSY).
#[cfg(all(test, unix))]
pub(crate) fn write_script(path: &Path, text: &str) {
    let status = std::process::Command::new("sh")
        .args(["-c", "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\""])
        .arg(path)
        .arg(text)
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "{} was not written",
        path.display()
    );
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn script(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        write_script(&path, &format!("#!/bin/sh\n{text}\n"));
        path
    }

    fn helm(program: PathBuf) -> Helm {
        Helm {
            program,
            env: Vec::new(),
        }
    }

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    fn wait<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(work)
    }

    #[test]
    fn helm_bin_is_followed_and_never_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let here = folder.path().join("a folder");
        std::fs::create_dir(&here).expect("made");
        let program = script(&here, "helm", "exit 0");
        std::fs::write(here.join("plain"), "").expect("written");
        let path = here.clone().into_os_string();
        let locate = |bin: Option<OsString>, path: Option<&OsStr>| {
            let env = HelmEnv {
                bin,
                ..HelmEnv::default()
            };
            Helm::locate(&env, path).map(|helm| helm.program)
        };
        assert_eq!(locate(None, Some(&path)).ok(), Some(program.clone()));
        assert_eq!(
            locate(Some("helm".into()), Some(&path)).ok(),
            Some(program.clone())
        );
        assert_eq!(locate(Some(program.clone().into()), None).ok(), Some(program));
        for (bin, path, want) in [
            (None, None, "no helm on PATH"),
            (None, Some(OsStr::new("/nowhere")), "no helm on PATH"),
            (
                Some(here.join("plain").into()),
                Some(path.as_os_str()),
                "there is no such program",
            ),
            (
                Some(here.join("none").into()),
                Some(path.as_os_str()),
                "there is no such program",
            ),
            (
                Some("./helm".into()),
                Some(path.as_os_str()),
                "HELM_BIN says ./helm",
            ),
            (
                Some("helm9".into()),
                Some(path.as_os_str()),
                "HELM_BIN says helm9",
            ),
        ] {
            let error = locate(bin.clone(), path)
                .map(|_| ())
                .expect_err("none there")
                .to_string();
            assert!(error.contains(want), "{bin:?}: {error}");
        }
    }

    #[test]
    fn helm_is_asked_with_its_input_and_its_environment() {
        let folder = tempfile::tempdir().expect("a folder");
        let program = script(folder.path(), "helm", "echo \"$1 $EXTRA\"; cat; echo noise >&2");
        let helm = helm(program).with_env("EXTRA", "x y");
        let out = wait(helm.ask("template", &words("template r"), Some(b"from stdin")));
        assert_eq!(out.expect("it works"), "template x y\nfrom stdin");
        let out = wait(helm.ask("template", &words("template r"), None));
        assert_eq!(out.expect("no input is an empty one"), "template x y\n");
    }

    #[test]
    fn helms_failure_keeps_its_words_and_its_code() {
        let folder = tempfile::tempdir().expect("a folder");
        let program = script(folder.path(), "helm", "echo 'Error: chart is odd' >&2; exit 7");
        let large = vec![b'x'; 300_000];
        match wait(helm(program).ask("template", &words("template"), Some(&large))) {
            Err(HelmError::Failed { stderr, code, .. }) => {
                assert_eq!((stderr.as_str(), code), ("Error: chart is odd\n", Some(7)));
            }
            other => panic!("{other:?}"),
        }
        let program = script(folder.path(), "dies", "kill -9 $$");
        let error = wait(helm(program).ask("template", &[], None)).expect_err("it died");
        assert_eq!(error.to_string(), "helm template ended with a signal");
        let program = script(folder.path(), "bytes", "printf '\\377'");
        let error = wait(helm(program).ask("template", &[], None)).expect_err("no text");
        assert_eq!(
            error.to_string(),
            "helm template printed something that is not UTF-8"
        );
        let error = wait(helm(folder.path().to_owned()).ask("template", &[], None)).expect_err("a folder");
        assert!(matches!(error, HelmError::NotStarted { .. }), "{error}");
    }

    #[test]
    fn too_much_is_refused_and_of_errors_the_end_is_kept() {
        assert_eq!(wait(head(&b"abcd"[..], 4)).expect("read"), Some(b"abcd".to_vec()));
        assert_eq!(wait(head(&b"abcde"[..], 4)).expect("read"), None);
        let long: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        assert_eq!(
            wait(tail(&long[..], 1000)).expect("read"),
            long[long.len() - 1000..]
        );
        assert_eq!(wait(tail(&b"ab"[..], 4)).expect("read"), b"ab");
    }
}
