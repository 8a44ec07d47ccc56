//! Reading a file that a person named, to a bound: a device without an end has one, too.

use std::io::{self, Read as _};
use std::path::Path;

/// The text of a file, of at most `most` bytes; `-` is standard input.
///
/// # Errors
/// It can't be read, is larger, or is not UTF-8.
pub fn read_bounded(path: &Path, most: usize) -> io::Result<String> {
    let limit = most as u64 + 1;
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
    } else {
        std::fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    }
    if bytes.len() > most {
        let size = match most >> 20 {
            0 => format!("{} KiB", most >> 10),
            mib => format!("{mib} MiB"),
        };
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is larger than {size}"),
        ));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn to_the_bound_and_no_further() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "x".repeat(2048)).expect("written");
        let read = |most| read_bounded(&file, most).map_err(|error| error.to_string());
        assert_eq!(read(2048).map(|text| text.len()), Ok(2048));
        assert_eq!(read(2047), Err("it is larger than 1 KiB".to_owned()));
        std::fs::write(&file, b"\xff").expect("written");
        assert_eq!(read(9), Err("it is not UTF-8 text".to_owned()));
        #[cfg(unix)]
        assert_eq!(
            read_bounded(Path::new("/dev/zero"), 1 << 20)
                .expect_err("it has no end")
                .to_string(),
            "it is larger than 1 MiB"
        );
    }
}
