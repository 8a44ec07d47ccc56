//! Saved facts: written whole or not at all, readable by their owner only, and read to a bound.

use std::io::Write as _;
use std::path::Path;

use serde_json::Value;

use super::{FORMAT, Facts};
use crate::text::read_bounded;

/// The largest file of facts that is read: a cluster of ten thousand nodes leaves some MiB.
const MOST: usize = 256 * 1024 * 1024;

/// Writes the facts to a file of mode 0600. What was there is replaced at once; a symbolic link is refused, as it would lead to a
/// file that nobody named.
///
/// # Errors
/// In words.
pub fn save(facts: &Facts, path: &Path) -> Result<(), String> {
    let failed =
        |why: &dyn std::fmt::Display| format!("saving the facts to {} failed: {why}", path.display());
    let mut text = serde_json::to_string_pretty(facts).map_err(|error| failed(&error))?;
    text.push('\n');
    match std::fs::symlink_metadata(path) {
        Ok(there) if there.is_symlink() => {
            return Err(failed(&"it is a symbolic link\n  fix: name the file itself"));
        }
        // A pipe or a device keeps being one.
        Ok(there) if !there.is_file() => return std::fs::write(path, text).map_err(|error| failed(&error)),
        _ => {}
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file =
        tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).map_err(|error| failed(&error))?;
    file.write_all(text.as_bytes()).map_err(|error| failed(&error))?;
    file.persist(path).map_err(|error| failed(&error.error))?;
    Ok(())
}

/// Reads saved facts; `-` is standard input.
///
/// # Errors
/// In words.
pub fn load(path: &Path) -> Result<Facts, String> {
    let name = if path == Path::new("-") {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    };
    let text =
        read_bounded(path, MOST).map_err(|error| format!("reading the facts from {name} failed: {error}"))?;
    let value: Value = serde_json::from_str(&text).map_err(|error| {
        format!(
            "{name} holds no saved facts: {error}\n  fix: such a file is written by kubectl capt-spot preflight --save FILE"
        )
    })?;
    match value.get("format").and_then(Value::as_str) {
        Some(FORMAT) => {}
        Some(other) => {
            return Err(format!(
                "{name} has the format {}, this program reads {FORMAT}",
                crate::text::sanitize::line(other)
            ));
        }
        None => return Err(format!("{name} holds no saved facts: it names no format")),
    }
    serde_json::from_value(value).map_err(|error| format!("{name} holds no usable facts: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fixture::healthy;

    #[cfg(unix)]
    #[test]
    fn whole_private_and_no_link_is_followed() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("facts.json");
        std::fs::write(&file, "before").expect("written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("set");
        save(&healthy(), &file).expect("saved");
        assert_eq!(load(&file).expect("facts"), healthy());
        let mode = std::fs::metadata(&file).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let (link, secret) = (folder.path().join("link"), folder.path().join("secret"));
        std::fs::write(&secret, "mine").expect("written");
        symlink(&secret, &link).expect("a link");
        let why = save(&healthy(), &link).expect_err("a link");
        assert!(why.contains("it is a symbolic link"), "{why}");
        assert_eq!(std::fs::read_to_string(&secret).expect("there"), "mine");
        // Nothing is left behind.
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 3);
        save(&healthy(), Path::new("/dev/null")).expect("a device");
        assert!(!std::fs::metadata("/dev/null").expect("there").is_file());
    }

    #[test]
    fn a_device_without_an_end_is_no_file_of_facts() {
        #[cfg(unix)]
        assert!(
            load(Path::new("/dev/zero"))
                .expect_err("endless")
                .ends_with("it is larger than 256 MiB")
        );
    }
}
