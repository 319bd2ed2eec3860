//! The capture that the demo writes, read by somebody else's program.

use net_app::pcapng;
use pcap_file::pcapng::PcapNgReader;
use pcap_file::pcapng::blocks::Block;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;

use crate::steps::{input, steps};

/// Frames with comments: the control byte says how many characters a comment has.
pub(crate) fn write(input: &[u8]) {
    let said = String::from_utf8_lossy(input);
    let comment = |len: u8| said.chars().take(len.into()).collect::<String>();
    let mut file = Vec::new();
    pcapng::header(&mut file, ["nic", "nic1"]);
    for step in steps(input) {
        let at = u64::from(step.control) << 40 | 7;
        let said = comment(step.control);
        let comments = if said.is_empty() { vec![] } else { vec![&*said, "second"] };
        pcapng::frame(&mut file, u32::from(step.control & 1), at, step.bytes, &comments);
    }

    let mut reader = PcapNgReader::new(&file[..]).expect("a file");
    let mut written = steps(input);
    while let Some(block) = reader.next_block() {
        let Block::EnhancedPacket(packet) = block.expect("a block") else { continue };
        let step = written.next().expect("as many as were written");
        assert_eq!(packet.data, step.bytes);
        assert_eq!(packet.interface_id, u32::from(step.control & 1));
        let comments = packet.options.iter().filter_map(|option| match option {
            EnhancedPacketOption::Comment(text) => Some(&**text),
            _ => None,
        });
        let said = comment(step.control);
        let expected = if said.is_empty() { vec![] } else { vec![&*said, "second"] };
        assert_eq!(comments.collect::<Vec<_>>(), expected);
    }
    assert!(written.next().is_none(), "a frame is missing");
}

/// Frames of all lengths that matter.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    vec![
        input([(0, &[1; 60][..]), (1, &[2; 61]), (5, &[3; 62]), (200, &[4; 1514])]),
        input([(3, &b"hello"[..]), (255, b""), (0, b"")]),
    ]
}
