//! The files of a release, and the repository at its tag.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::support::program::BINARY;
use crate::support::testbed::{output, succeed};

/// The version of all that is released.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The top of the sources.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder that packaging/dist.py makes out of the binary under test, made once; or the one that the rehearsal of a release
/// names in CAPT_SPOT_DIST.
pub fn dist() -> &'static Path {
    static MADE: OnceLock<tempfile::TempDir> = OnceLock::new();
    static DIST: OnceLock<PathBuf> = OnceLock::new();
    DIST.get_or_init(|| {
        std::env::var_os("CAPT_SPOT_DIST").map_or_else(
            || {
                let folder = MADE.get_or_init(|| tempfile::tempdir().expect("a folder"));
                let out = folder.path().join("dist");
                make_dist(&stripped(folder.path()), &out);
                out
            },
            PathBuf::from,
        )
    })
}

/// The binary under test without its debug information, which takes most of the time to pack.
fn stripped(folder: &Path) -> PathBuf {
    let copy = folder.join("stripped");
    let strip = Command::new("strip").arg("-o").arg(&copy).arg(BINARY).status();
    if strip.is_ok_and(|status| status.success()) {
        copy
    } else {
        PathBuf::from(BINARY)
    }
}

/// Runs packaging/dist.py for this platform.
pub fn make_dist(program: &Path, out: &Path) {
    let mut command = Command::new("python3");
    command
        .arg(root().join("packaging/dist.py"))
        .arg("--binary")
        .arg(format!("{}={}", platform("/"), program.display()))
        .arg("--out")
        .arg(out)
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .env("CAPT_SPOT_GZIP_LEVEL", "1");
    succeed(output(command));
}

/// This platform, as releases name it: `linux_amd64`.
pub fn platform(between: &str) -> String {
    let system = if cfg!(target_os = "macos") {
        "darwin"
    } else {
        "linux"
    };
    let arch = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    };
    format!("{system}{between}{arch}")
}

/// The archive for this platform.
pub fn archive() -> PathBuf {
    dist().join(format!("kubectl-capt_spot_v{VERSION}_{}.tar.gz", platform("_")))
}

/// Git in no one's configuration.
pub fn git(folder: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_NAME"), "release")))
        .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_EMAIL"), "release@example.com")));
    command
}

/// Makes a Git repository with what is installed from it, at the release's tag: the source and what the release commits on top.
pub fn make_repository(folder: &Path) {
    std::fs::create_dir_all(folder).expect("a folder");
    for name in [
        ".gitignore",
        ".pre-commit-hooks.yaml",
        "LICENSE",
        "action.yml",
        "plugin.complete",
        "plugin.yaml",
    ] {
        std::fs::copy(root().join(name), folder.join(name)).expect(name);
    }
    copy_folder(&root().join("packaging"), &folder.join("packaging"));
    copy_folder(&dist().join("repository"), folder);
    let tag = format!("v{VERSION}");
    for line in [
        &["init", "--quiet", "--initial-branch=main"][..],
        &["add", "."],
        &["commit", "--quiet", "--message=release"],
        &["tag", &tag],
    ] {
        let mut command = git(folder);
        command.args(line);
        succeed(output(command));
    }
}

/// Copies a folder with all that is in it.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).expect("copied");
        }
    }
}
