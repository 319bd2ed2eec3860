use crate::intel::Faults;
use crate::intel::model::MAC;
use crate::intel::starting::probe;
use drivers::Error;

#[test]
fn the_station_address_may_come_from_nvm() {
    let no_mac = Faults { no_mac: true, ..Faults::default() };
    let (nic, _) = probe(no_mac, |_| {});
    assert_eq!(nic.unwrap().mac(), MAC);
    for words in [[0, 0, 0], [0x0001, 0, 0], [0xffff; 3]] {
        let (nic, taken) = probe(no_mac, |model| model.state().nvm = words);
        assert!(matches!(nic.err(), Some(Error::NoAddress(..))), "{words:x?}");
        assert_eq!(taken, 0);
    }
}
