//! A virtual function, and the host at the other end of its mailbox.

use super::*;

const CTRL: u32 = 0x0000;
const LINKS: u32 = 0x0010;
const EICS: u32 = 0x0104;
const IVAR_MISC: u32 = 0x0140;
const BUFFER: u32 = 0x0200;
const MAILBOX: u32 = 0x02FC;
const BAR0_SIZE: u32 = 0x4000;

const REQUEST: u32 = 1 << 0;
const OURS: u32 = 1 << 2;
const MESSAGE: u32 = 1 << 4;
const READ: u32 = 1 << 5;
const GRANTED: u32 = 1 << 31;
const REFUSED: u32 = 1 << 30;
const CLEAR_TO_SEND: u32 = 1 << 29;

const RESET: u32 = 0x01;
const SET_ADDRESS: u32 = 0x02;
const SET_GROUPS: u32 = 0x03;
const SET_VLAN: u32 = 0x04;
const SET_LONGEST: u32 = 0x05;
const SET_CAST: u32 = 0x0C;
const EVERY_GROUP: u32 = 2;
const PING: u32 = 0x100;

const MAC: [u8; 6] = [2, 0, 0, 3, 4, 5];

/// Asks, and returns the first words of the answer.
fn ask(device: &mut Device, request: &[u32]) -> [u32; 3] {
    device.write(MAILBOX, OURS);
    for (index, &word) in request.iter().enumerate() {
        device.write(BUFFER + 4 * index as u32, word);
    }
    device.write(MAILBOX, REQUEST);
    assert_eq!(device.read(MAILBOX), MESSAGE | READ);
    assert_eq!(device.read(MAILBOX), 0, "reading clears");
    [0, 1, 2].map(|word| device.read(BUFFER + 4 * word))
}

fn device() -> Device {
    let mut device = Device::of_function(MAC);
    device.write(IVAR_MISC, reg::IVAR_VALID | 2);
    device
}

#[test]
fn nothing_is_granted_before_a_reset_is_told() {
    let mut device = device();
    assert_eq!(ask(&mut device, &[SET_LONGEST, 1518])[0], SET_LONGEST | REFUSED);
    assert_eq!(ask(&mut device, &[RESET]), [RESET | GRANTED, 0x0300_0002, 0x0504]);
    assert_eq!(device.read(EICS), 1 << 2, "the mailbox' own entry");
    let granted = GRANTED | CLEAR_TO_SEND;
    assert_eq!(ask(&mut device, &[SET_LONGEST, 1518])[0], SET_LONGEST | granted);
    device.write(CTRL, reg::CTRL_RST);
    assert_eq!(ask(&mut device, &[SET_LONGEST, 1518])[0], SET_LONGEST | REFUSED);
}

#[test]
fn the_address_is_the_hosts_to_choose() {
    let mut device = device();
    ask(&mut device, &[RESET]);
    let refused = REFUSED | CLEAR_TO_SEND;
    assert_eq!(ask(&mut device, &[SET_ADDRESS, 2, 0])[0], SET_ADDRESS | refused);
}

#[test]
fn what_it_is_asked_for_is_set_in_the_device() {
    let mut device = device();
    ask(&mut device, &[RESET]);
    // Two groups, in one word.
    ask(&mut device, &[SET_GROUPS | 2 << 16, 0x21 | 0x40 << 16]);
    assert_eq!([1, 2].map(|word| device.read_physical(reg::MTA + 4 * word)), [1 << 1, 1]);
    ask(&mut device, &[SET_GROUPS]);
    assert_eq!(device.read_physical(reg::MTA + 4), 0);
    ask(&mut device, &[SET_VLAN | 1 << 16, 35]);
    assert_eq!(device.read_physical(reg::VFTA + 4), 1 << 3);
    ask(&mut device, &[SET_VLAN, 35]);
    assert_eq!(device.read_physical(reg::VFTA + 4), 0);
    ask(&mut device, &[SET_LONGEST, 9022]);
    assert_eq!(device.read_physical(reg::MAXFRS) >> 16, 9022);
    ask(&mut device, &[SET_CAST, EVERY_GROUP]);
    assert_ne!(device.read_physical(reg::FCTRL) & reg::FCTRL_MULTICAST_PROMISCUOUS, 0);
}

#[test]
fn no_register_of_it_breaks_the_model() {
    let mut device = device();
    for value in [0, u32::MAX, 0x8000_0001] {
        for offset in (0..BAR0_SIZE).step_by(4) {
            device.write(offset, value);
            device.read(offset);
        }
    }
}

#[test]
fn the_link_is_told_by_mailbox() {
    let mut device = device();
    ask(&mut device, &[RESET]);
    device.connect(Some(UnixStream::pair().unwrap().0));
    assert_eq!(device.read(MAILBOX), MESSAGE);
    assert_eq!(device.read(BUFFER), PING | CLEAR_TO_SEND);
    assert_ne!(device.read(LINKS) & reg::LINKS_UP, 0);
}
