//! The model as QEMU uses it: a vfio-user client, memory that both map, an event file, a peer, and
//! the control socket.

use std::{
    fs::File,
    io::{Read, Write},
    os::{
        fd::AsRawFd,
        unix::{fs::FileExt, net::UnixStream},
    },
    path::Path,
    time::{Duration, Instant},
};

use ixgbe_model::{
    Fault, Model, Options, Pages, Peer,
    control::{Command, Reply},
};
use rustix::event::{EventfdFlags, eventfd};
use vfio_bindings::bindings::vfio::{
    VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_IRQ_SET_DATA_EVENTFD, VFIO_PCI_BAR0_REGION_INDEX,
    VFIO_PCI_CONFIG_REGION_INDEX, VFIO_PCI_MSIX_IRQ_INDEX,
};
use vfio_user::Client;

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x67, 0x6f, 1];
const MEMORY: u64 = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(10);

// Where the driver has its rings and buffers.
const RECEIVE_RING: u64 = 0x1000;
const TRANSMIT_RING: u64 = 0x2000;
const RECEIVE_BUFFERS: u64 = 0x1_0000;
const TRANSMIT_BUFFER: u64 = 0x2_0000;

/// A model with a client that is a small driver, and its peer.
struct Bench {
    client: Client,
    memory: File,
    interrupt: File,
    peer: UnixStream,
    control: ixgbe_model::control::Client,
    _model: Model,
    _directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let model = Model::start(Options {
            socket: path("vfio"),
            peer: Peer::Listen(path("wire")),
            mac: MAC,
            control: Some(path("control")),
            virtual_function: false,
            may_exit: false,
        })
        .unwrap();
        let peer = UnixStream::connect(path("wire")).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        let control = ixgbe_model::control::Client::connect(&path("control")).unwrap();
        let (client, memory, interrupt) = attach(&path("vfio"));
        Self { client, memory, interrupt, peer, control, _model: model, _directory: directory }
    }

    fn read(&mut self, offset: u64) -> u32 {
        let mut value = [0; 4];
        self.client.region_read(VFIO_PCI_BAR0_REGION_INDEX, offset, &mut value).unwrap();
        u32::from_le_bytes(value)
    }

    fn write(&mut self, offset: u64, value: u32) {
        let value = value.to_le_bytes();
        self.client.region_write(VFIO_PCI_BAR0_REGION_INDEX, offset, &value).unwrap();
    }

    fn store(&self, at: u64, values: &[u64]) {
        for (index, value) in values.iter().enumerate() {
            self.memory.write_all_at(&value.to_le_bytes(), at + 8 * index as u64).unwrap();
        }
    }

    fn load(&self, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.memory.read_exact_at(&mut bytes, at).unwrap();
        bytes
    }

    /// Starts queue 0 both ways, with its reception on vector 1.
    fn start(&mut self) {
        // Memory space and bus mastering.
        self.client.region_write(VFIO_PCI_CONFIG_REGION_INDEX, 4, &[6, 0]).unwrap();
        for index in 0..4 {
            self.store(RECEIVE_RING + 16 * index, &[RECEIVE_BUFFERS + 0x1000 * index, 0]);
        }
        for (offset, value) in [
            (0x0898, 1 << 4), // GPIE: a vector for each cause
            (0x0810, 0xFFFF), // EIAC
            (0x0900, 0x81),   // IVAR: queue 0's reception on vector 1
            (0x0880, 0xFFFF), // EIMS
            (0x2F00, 1 << 1), // RDRXCTL: without check sequence
            (0x1000, RECEIVE_RING as u32),
            (0x1008, 128),
            (0x1014, 1 << 25 | 2), // SRRCTL: advanced, 2 KiB
            (0x1028, 1 << 25),     // RXDCTL
            (0x3000, 1),           // RXCTRL
            (0x1018, 4),           // RDT
            (0x4A80, 1),           // DMATXCTL
            (0x6000, TRANSMIT_RING as u32),
            (0x6008, 128),
            (0x6028, 1 << 25), // TXDCTL
        ] {
            self.write(offset, value);
        }
    }

    fn send_to_guest(&mut self, frame: &[u8]) {
        self.peer.write_all(&(frame.len() as u32).to_be_bytes()).unwrap();
        self.peer.write_all(frame).unwrap();
    }

    /// Waits for the interrupt.
    fn interrupted(&mut self) {
        self.interrupt.read_exact(&mut [0; 8]).unwrap();
    }

    fn ask(&mut self, command: Command) -> Reply {
        self.control.send(&command).unwrap()
    }
}

/// A client whose memory the device may use, and its vector 1.
fn attach(path: &Path) -> (Client, File, File) {
    let mut client = Client::new(path).unwrap();
    let memory = tempfile::tempfile().unwrap();
    memory.set_len(MEMORY).unwrap();
    client.dma_map(0, 0, MEMORY, memory.as_raw_fd()).unwrap();
    let interrupt = File::from(eventfd(0, EventfdFlags::CLOEXEC).unwrap());
    let flags = VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_EVENTFD;
    client.set_irqs(VFIO_PCI_MSIX_IRQ_INDEX, flags, 1, 1, &[interrupt.as_raw_fd()]).unwrap();
    (client, memory, interrupt)
}

/// A frame for the model's port.
fn frame(number: u8) -> Vec<u8> {
    let mut frame = MAC.to_vec();
    frame.extend([2, 0, 0, 0, 0, 9, 0x88, 0xb5]);
    frame.resize(200, number);
    frame
}

#[test]
fn it_is_an_82599() {
    let mut bench = Bench::new();
    let mut ids = [0; 4];
    bench.client.region_read(VFIO_PCI_CONFIG_REGION_INDEX, 0, &mut ids).unwrap();
    assert_eq!(ids, [0x86, 0x80, 0xFB, 0x10]);
    assert_eq!(bench.client.region(VFIO_PCI_BAR0_REGION_INDEX).unwrap().size, 0x2_0000);
    assert_eq!(bench.client.get_irq_info(VFIO_PCI_MSIX_IRQ_INDEX).unwrap().count, 64);
    assert_eq!(bench.read(0x5400), u32::from_le_bytes([0x52, 0x54, 0, 0x67]));
}

#[test]
fn frames_go_both_ways_and_what_was_written_is_known() {
    let mut bench = Bench::new();
    bench.start();
    for number in 0..2 {
        bench.send_to_guest(&frame(number));
        bench.interrupted();
        let at = RECEIVE_BUFFERS + 0x1000 * u64::from(number);
        assert_eq!(bench.load(at, 200), frame(number));
    }
    bench.memory.write_all_at(&frame(7), TRANSMIT_BUFFER).unwrap();
    // Advanced data, end of packet, report status.
    let command = 200 | 3 << 20 | 1 << 24 | 1 << 27 | 1 << 29;
    bench.store(TRANSMIT_RING, &[TRANSMIT_BUFFER, command]);
    bench.write(0x6018, 1);
    let mut sent = vec![0; 204];
    bench.peer.read_exact(&mut sent).unwrap();
    assert_eq!(sent[4..], frame(7));
    assert_eq!(bench.read(0x6010), 1, "TDH");
    assert_eq!(bench.load(TRANSMIT_RING + 12, 4), [1, 0, 0, 0], "done");

    // Both rings, which are neighbours, and two buffers.
    let expected =
        vec![Pages { iova: RECEIVE_RING, pages: 2 }, Pages { iova: RECEIVE_BUFFERS, pages: 2 }];
    assert_eq!(bench.ask(Command::RecordStop).record, Some(expected.clone()));
    bench.send_to_guest(&frame(2));
    bench.interrupted();
    assert_eq!(bench.ask(Command::Record).record, Some(expected), "stopped");
    bench.ask(Command::RecordStart);
    assert_eq!(bench.ask(Command::Record).record, Some(Vec::new()));
}

#[test]
fn the_record_outlives_the_client_and_the_next_finds_a_fresh_device() {
    let mut bench = Bench::new();
    bench.start();
    bench.send_to_guest(&frame(0));
    bench.interrupted();
    let record = bench.ask(Command::Record).record.unwrap();
    assert_eq!(record.len(), 2);
    bench.client.shutdown().unwrap();
    let socket = bench._directory.path().join("vfio");
    let (client, memory, interrupt) = attach(&socket);
    (bench.client, bench.memory, bench.interrupt) = (client, memory, interrupt);
    assert_eq!(bench.read(0x3000), 0, "RXCTRL");
    assert_eq!(bench.ask(Command::Record).record, Some(record));
    bench.start();
    bench.send_to_guest(&frame(1));
    bench.interrupted();
    assert_eq!(bench.load(RECEIVE_BUFFERS, 200), frame(1));
}

#[test]
fn the_cable_is_pulled_and_plugged() {
    let mut bench = Bench::new();
    bench.start();
    let link = |bench: &mut Bench| bench.read(0x42A4) >> 30 & 1;
    let deadline = Instant::now() + PATIENCE;
    while link(&mut bench) == 0 {
        assert!(Instant::now() < deadline, "no link");
    }
    bench.ask(Command::Cable { plugged: false });
    assert_eq!(link(&mut bench), 0);
    bench.read(0x0800);
    bench.ask(Command::Flap { times: 2, down_ms: 1, up_ms: 1 });
    assert_eq!(link(&mut bench), 1);
    assert_eq!(bench.read(0x0800) >> 20 & 1, 1, "EICR.LSC");
    let status = bench.ask(Command::Status).status.unwrap();
    // Up, down, and what flapping changed: the first pull found the cable pulled.
    assert_eq!((status.link, status.link_changes), (true, 5));
}

#[test]
fn it_misbehaves_on_command() {
    let mut bench = Bench::new();
    bench.start();
    bench.ask(Command::Interrupt { vector: 1, times: 3 });
    bench.interrupted();
    bench.ask(Command::Fault { fault: Fault::Oversized, frames: 1 });
    bench.send_to_guest(&frame(0));
    bench.interrupted();
    assert_eq!(bench.load(RECEIVE_RING + 12, 2), [0xFF, 0xFF], "length");
    bench.ask(Command::Fault { fault: Fault::Death, frames: 1 });
    bench.send_to_guest(&frame(1));
    let deadline = Instant::now() + PATIENCE;
    while bench.read(8) != u32::MAX {
        assert!(Instant::now() < deadline, "still alive");
    }
    assert!(bench.ask(Command::Status).status.unwrap().dead);
    let error = bench.control.send(&Command::Exit).unwrap_err().to_string();
    assert!(error.contains("part of a process"), "{error}");
}

#[test]
fn a_socket_that_cannot_be_made_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("no/vfio");
    let result = Model::start(Options {
        socket: socket.clone(),
        peer: Peer::Connect(directory.path().join("wire")),
        mac: MAC,
        control: None,
        virtual_function: false,
        may_exit: false,
    });
    let error = format!("{:#}", result.err().unwrap());
    assert!(error.contains(socket.to_str().unwrap()), "{error}");
}
