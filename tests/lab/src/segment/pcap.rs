//! A copy of all frames for Wireshark, in the classic pcap format (draft-ietf-opsawg-pcap, section 4).

use super::frame::Frame;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Magic number of files with nanosecond timestamps.
const MAGIC: u32 = 0xa1b2_3c4d;
const VERSION: [u16; 2] = [2, 4];
const SNAPLEN: u32 = 65535;
/// LINKTYPE_ETHERNET.
const ETHERNET: u32 = 1;

/// Writes frames to a file, until a write fails: a full disk must not stop the traffic.
pub(super) struct Writer {
    file: Option<BufWriter<File>>,
}

impl Writer {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(&MAGIC.to_le_bytes())?;
        for part in VERSION {
            file.write_all(&part.to_le_bytes())?;
        }
        file.write_all(&[0; 8])?;
        file.write_all(&SNAPLEN.to_le_bytes())?;
        file.write_all(&ETHERNET.to_le_bytes())?;
        Ok(Self { file: Some(file) })
    }

    pub(super) fn write(&mut self, frame: &Frame) {
        let Some(file) = &mut self.file else { return };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let bytes = frame.ethernet();
        let kept = &bytes[..bytes.len().min(SNAPLEN as usize)];
        let header =
            [now.as_secs() as u32, now.subsec_nanos(), kept.len() as u32, bytes.len() as u32];
        let write = |file: &mut BufWriter<File>| {
            for field in header {
                file.write_all(&field.to_le_bytes())?;
            }
            file.write_all(kept)
        };
        if write(file).is_err() {
            self.file = None;
        }
    }
}
