//! A file that appears under its name only when it is whole.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Fewer, larger writes.
const BUFFER_BYTES: usize = 256 * 1024;

/// A file in the making: `.<name>.part` beside `<name>`. It is removed when it is dropped unkept.
pub(super) struct Part {
    file: BufWriter<File>,
    here: PathBuf,
    target: PathBuf,
    bytes: u64,
    kept: bool,
}

impl Part {
    /// Begins a file, in place of what an interrupted export left behind.
    pub(super) fn create(target: &Path) -> io::Result<Self> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let here = target.with_file_name(format!(".{name}.part"));
        match fs::remove_file(&here) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = BufWriter::with_capacity(BUFFER_BYTES, private(&here)?);
        Ok(Self { file, here, target: target.to_owned(), bytes: 0, kept: false })
    }

    /// Puts the file on the disk and under its name; returns its length.
    pub(super) fn keep(mut self) -> io::Result<u64> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        fs::rename(&self.here, &self.target)?;
        self.kept = true;
        // The new name is on the disk once the folder is. Windows has no such call.
        #[cfg(unix)]
        if let Some(folder) = self.target.parent() {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            File::open(folder)?.sync_all()?;
        }
        Ok(self.bytes)
    }
}

/// A new file that only its owner may read: it holds what the vault keeps encrypted.
fn private(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

impl Write for Part {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.kept {
            // Whoever dropped it has the reason; a leftover is replaced by the next export.
            let _ = fs::remove_file(&self.here);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn names(folder: &TempDir) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_when_it_is_kept() {
        let folder = TempDir::new().unwrap();
        let target = folder.path().join("teams.csv");
        fs::write(folder.path().join(".teams.csv.part"), "a leftover that is longer").unwrap();
        let mut part = Part::create(&target).unwrap();
        part.write_all(b"a,b\r\n").unwrap();
        assert_eq!(names(&folder), [".teams.csv.part"]);
        assert_eq!(part.keep().unwrap(), 5);
        assert_eq!(names(&folder), ["teams.csv"]);
        assert_eq!(fs::read(&target).unwrap(), b"a,b\r\n");
    }

    #[test]
    fn a_file_that_is_given_up_leaves_nothing_and_spoils_nothing() {
        let folder = TempDir::new().unwrap();
        let target = folder.path().join("teams.csv");
        fs::write(&target, "of yesterday").unwrap();
        let mut part = Part::create(&target).unwrap();
        part.write_all(b"half").unwrap();
        drop(part);
        assert_eq!(names(&folder), ["teams.csv"]);
        assert_eq!(fs::read(&target).unwrap(), b"of yesterday");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_the_way_is_not_followed() {
        let folder = TempDir::new().unwrap();
        let elsewhere = folder.path().join("elsewhere");
        fs::write(&elsewhere, "untouched").unwrap();
        std::os::unix::fs::symlink(&elsewhere, folder.path().join(".teams.csv.part")).unwrap();
        let mut part = Part::create(&folder.path().join("teams.csv")).unwrap();
        part.write_all(b"new").unwrap();
        part.keep().unwrap();
        assert_eq!(fs::read(&elsewhere).unwrap(), b"untouched");
    }
}
