//! A copy of all frames for Wireshark, as a pcapng file. Its interfaces are the ports that the
//! frames came in by.

use super::frame::Frame;
use anyhow::{Context, Result};
use pcap_file::DataLink;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::{Block, PcapNgBlock, PcapNgWriter};
use std::borrow::Cow;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Times are in units of ten to the power of minus this, of a second.
const NANOSECONDS: u8 = 9;

/// Writes frames to a file, until a write fails: a full disk must not stop the traffic.
pub(super) struct Writer {
    path: PathBuf,
    file: Option<PcapNgWriter<BufWriter<File>>>,
    /// What is said of the next frame.
    remark: Option<String>,
}

impl Writer {
    pub(super) fn create(path: &Path) -> Result<Self> {
        let context = || format!("cannot write {}", path.display());
        let file = BufWriter::new(File::create(path).with_context(context)?);
        let file = PcapNgWriter::new(file).with_context(context)?;
        Ok(Self { path: path.into(), file: Some(file), remark: None })
    }

    /// Adds a port: those of the segment in their order.
    pub(super) fn port(&mut self, name: &str) {
        let options = vec![
            InterfaceDescriptionOption::IfName(Cow::Borrowed(name)),
            InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
        ];
        // No limit: frames are never cut off.
        let port = InterfaceDescriptionBlock { linktype: DataLink::ETHERNET, snaplen: 0, options };
        self.put(&port.into_block());
    }

    /// Says something of the next frame: pcapng has comments on frames, and Wireshark lists those.
    /// What is said before a frame comes is said of it together.
    pub(super) fn remark(&mut self, what: &str) {
        let remark = self.remark.get_or_insert_default();
        if !remark.is_empty() {
            remark.push_str("; ");
        }
        remark.push_str(what);
    }

    /// Adds a frame that came in by the port of this number.
    pub(super) fn frame(&mut self, port: usize, frame: &Frame) {
        let bytes = frame.ethernet();
        let remark = self.remark.take();
        let frame = EnhancedPacketBlock {
            interface_id: port as u32,
            timestamp: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            original_len: bytes.len() as u32,
            data: Cow::Borrowed(bytes),
            options: remark
                .map(|remark| EnhancedPacketOption::Comment(Cow::Owned(remark)))
                .into_iter()
                .collect(),
        };
        self.put(&frame.into_block());
    }

    fn put(&mut self, block: &Block<'_>) {
        if let Some(Err(error)) = self.file.as_mut().map(|file| file.write_block(block)) {
            eprintln!("{} is cut off here: {error}", self.path.display());
            self.file = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcap_file::pcapng::PcapNgReader;

    #[test]
    fn what_is_said_is_a_comment_on_the_next_frame_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tap.pcapng");
        let mut tap = Writer::create(&path).unwrap();
        tap.port("first");
        let frame = Frame::build(60, |bytes| bytes.resize(super::super::PREFIX + 60, 1));
        tap.frame(0, &frame);
        tap.remark("Measuring");
        tap.remark("Migrating");
        tap.frame(0, &frame);
        tap.frame(0, &frame);
        drop(tap);
        let mut capture = PcapNgReader::new(File::open(path).unwrap()).unwrap();
        let mut said = Vec::new();
        while let Some(block) = capture.next_block() {
            if let Block::EnhancedPacket(packet) = block.unwrap() {
                said.push(packet.into_owned().options);
            }
        }
        let comment = EnhancedPacketOption::Comment("Measuring; Migrating".into());
        assert_eq!(said, [vec![], vec![comment], vec![]]);
    }
}
