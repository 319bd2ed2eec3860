/// Ethernet header, and the shortest thing that can be called a frame.
pub(crate) const HEADER: usize = 14;

/// Neither all zeroes nor a group address.
pub(crate) fn is_station_address(mac: [u8; 6]) -> bool {
    mac != [0; 6] && mac[0] & 1 == 0
}
