//! Sends Ethernet frames back where they came from, with no stack in between: the far end of a
//! frame generator. `cargo xtask run --app examples/reflect`
//!
//! Frames to the interface's own address are sent back with their addresses swapped, and otherwise
//! as they are. ARP goes to the interface's stack, so that the machine is found by its IP address,
//! as do broadcast and multicast. Give it that address with `ip=`: in some networks the answers of
//! DHCP's server are frames as all others.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::rc::Rc;
use core::cell::Cell;

use godwit::net::Error;
use godwit::{Mac, System};

const ARP: [u8; 2] = [0x08, 0x06];

#[godwit::main]
async fn main(system: System) -> Result<(), Error> {
    let net = system.interface(0).await;
    let mut watcher = net.watcher();
    let mac = Rc::new(Cell::new(net.wait_for_nic(|_| true).await.mac));
    let filter = {
        let mac = mac.clone();
        move |frame: &[u8]| is_reflected(frame, mac.get())
    };
    let _reflection = net.reflect(filter, swap_addresses);
    loop {
        watcher.changed().await;
        // The NIC may be another than before.
        if let Some(nic) = net.nic() {
            mac.set(nic.mac);
        }
    }
}

/// Whether a frame is for `mac`, and none of ARP's.
fn is_reflected(frame: &[u8], mac: Mac) -> bool {
    frame.starts_with(&mac.0) && frame.get(12..14).is_some_and(|kind| kind != ARP)
}

/// Makes the sender the receiver.
fn swap_addresses(frame: &mut [u8]) {
    let (receiver, rest) = frame.split_at_mut(6);
    receiver.swap_with_slice(&mut rest[..6]);
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn frame(receiver: [u8; 6], kind: [u8; 2]) -> Vec<u8> {
        [&receiver[..], &[2, 0, 0, 0, 0, 9], &kind, b"payload"].concat()
    }

    #[test]
    fn what_is_for_this_machine_is_sent_back() {
        let ip = [0x08, 0x00];
        assert!(is_reflected(&frame(MAC.0, ip), MAC));
        assert!(!is_reflected(&frame(MAC.0, ARP), MAC));
        assert!(!is_reflected(&frame([0xff; 6], ip), MAC));
        assert!(!is_reflected(&frame([2, 0, 0, 0, 0, 2], ip), MAC));
        assert!(!is_reflected(&MAC.0, MAC));
    }

    #[test]
    fn addresses_change_places_and_nothing_else_does() {
        let mut reflected = frame(MAC.0, [0x08, 0x00]);
        swap_addresses(&mut reflected);
        assert_eq!(reflected, [&[2, 0, 0, 0, 0, 9][..], &MAC.0, &[8, 0], b"payload"].concat());
    }
}
