//! Writing cpio archives in the "newc" format, the one Linux unpacks as its initramfs
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::Path,
};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

/// An archive being written. Directories come by themselves.
pub(super) struct Archive<W> {
    out: W,
    written: u64,
    inode: u32,
    directories: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, written: 0, inode: 0, directories: BTreeSet::new() }
    }

    /// A file at an absolute path. Everything may be executed: nobody else lives there.
    pub(super) fn file(&mut self, path: &str, contents: &[u8]) -> io::Result<()> {
        let mut parents: Vec<&Path> = Path::new(path).ancestors().skip(1).collect();
        parents.reverse();
        for parent in parents.into_iter().filter_map(Path::to_str) {
            if parent != "/" && self.directories.insert(parent.into()) {
                self.entry(parent, DIRECTORY, &[])?;
            }
        }
        self.entry(path, PROGRAM, contents)
    }

    /// Ends the archive, padded so that another may follow.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn entry(&mut self, path: &str, mode: u32, contents: &[u8]) -> io::Result<()> {
        let name = path.trim_start_matches('/');
        let too_long =
            || io::Error::new(io::ErrorKind::InvalidInput, format!("{path} is too long"));
        let size = u32::try_from(contents.len()).map_err(|_| too_long())?;
        let name_size = u32::try_from(name.len() + 1).map_err(|_| too_long())?;
        self.inode += 1;
        let fields = [
            self.inode, mode, /* uid, gid */ 0, 0, /* links */ 1, /* mtime */ 0,
            size, /* device */ 0, 0, /* represented device */ 0, 0, name_size,
            /* checksum */ 0,
        ];
        let mut header = String::from("070701");
        for field in fields {
            header.push_str(&format!("{field:08x}"));
        }
        self.put(header.as_bytes())?;
        self.put(name.as_bytes())?;
        self.put(&[0])?;
        self.align()?;
        self.put(contents)?;
        self.align()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn align(&mut self) -> io::Result<()> {
        let padding = self.written.next_multiple_of(4) - self.written;
        self.put(&[0; 3][..padding as usize])
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn entries_are_aligned_and_directories_come_first_and_once() {
        let mut archive = Archive::new(Vec::new());
        archive.file("/a/b/one", b"12345").unwrap();
        archive.file("/a/two", b"").unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let names: Vec<usize> = bytes
            .windows(6)
            .enumerate()
            .filter(|(_, window)| *window == b"070701")
            .map(|(at, _)| at)
            .collect();
        assert_eq!(names.len(), 5, "a, a/b, a/b/one, a/two, the trailer");
        assert!(names.iter().all(|at| at % 4 == 0));
        assert_eq!(&bytes[110..112], b"a\0");
    }

    /// The standard tool is the judge; `cargo xtask test` installs it.
    #[test]
    fn cpio_reads_it() {
        let mut archive = Archive::new(Vec::new());
        archive.file("/lib/modules.list", b"text").unwrap();
        let bytes = archive.finish().unwrap();
        let mut cpio = Command::new("cpio")
            .args(["--list", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cpio, of Debian's package of that name");
        cpio.stdin.take().unwrap().write_all(&bytes).unwrap();
        let listed = String::from_utf8(cpio.wait_with_output().unwrap().stdout).unwrap();
        assert_eq!(listed, "lib\nlib/modules.list\n");
    }
}
