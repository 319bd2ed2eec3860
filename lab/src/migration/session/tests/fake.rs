//! Two QEMUs with a guest in one of them, which say what real ones say.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    addresses::interface_name,
    init::Channel,
    migration::{
        machine::{Lab, Machine, NICS, Pair, Profile},
        run::HELD_STOCK,
    },
};

/// How long a guest that is late takes.
const LATE: Duration = Duration::from_millis(200);

/// What the pair of machines is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Mishap {
    #[default]
    None,
    /// QEMU refuses to migrate.
    Refused,
    /// The migration fails in the warm-up.
    Fails,
    /// The guest dies when it hears of the migration, and its machine ends.
    Dies,
    /// The machine's processor is reset.
    IsReset,
    /// The migration fails when the NIC has been taken.
    FailsLate,
    /// The NIC cannot be taken.
    KeepsNic,
    /// The second NIC cannot be taken, and the first one is given only once nobody wants it any
    /// more.
    GivesLate,
}

pub(super) struct World {
    /// Where the guest is.
    pub(super) home: Machine,
    pub(super) capability: bool,
    /// The NIC is taken and given by commands.
    pub(super) by_hand: bool,
    pub(super) interfaces: usize,
    /// As `query-migrate` has it.
    pub(super) status: Option<&'static str>,
    pub(super) downtime_limit: u64,
    pub(super) bandwidth: u64,
    /// What it was when the NIC was asked for.
    pub(super) bandwidth_then: Option<u64>,
    /// When the guest gives its first NIC, if it is late.
    pub(super) gives_at: Option<Instant>,
    /// Bytes to be sent, of which a look finds an eighth of a second's gone.
    pub(super) remaining: u64,
    /// Before the switchover, until told to go on.
    pub(super) pauses: bool,
    pub(super) phase: &'static str,
    pub(super) commands: Vec<String>,
    pub(super) stopped: Vec<Machine>,
    pub(super) mishap: Mishap,
    pub(super) ended: Option<Machine>,
    pub(super) consoles: [Option<UnixStream>; 2],
    pub(super) monitors: [Option<UnixStream>; 2],
}

impl World {
    fn guest_says(&mut self, machine: Machine, text: &str) {
        let console = self.consoles[machine as usize].as_mut().unwrap();
        console.write_all(text.as_bytes()).unwrap();
    }

    /// What becomes of the NICs, one after the other.
    fn nics_are(&mut self, machine: Machine, what: &str) {
        for interface in 0..self.interfaces {
            self.guest_says(machine, &format!("{}: {what}\n", interface_name(interface)));
        }
    }

    fn answer(
        &mut self,
        machine: usize,
        command: &str,
        arguments: &Value,
    ) -> Result<Value, &'static str> {
        self.commands.push(command.into());
        match command {
            "migrate" if self.mishap == Mishap::Refused => return Err("MARKING is clear"),
            "migrate" if self.mishap == Mishap::Dies => {
                self.status = Some("active");
                self.ended = Some(self.home);
                self.guest_says(self.home, "panicked at src/irq.rs:70:5:\nboom\n");
            }
            "migrate" if self.mishap == Mishap::IsReset => {
                self.event(self.home, "SHUTDOWN", json!({ "reason": "guest-reset" }));
            }
            "migrate" => {
                self.status = Some("active");
                self.remaining = 2 << 20;
                if self.by_hand {
                    self.phase = "there";
                } else if self.capability {
                    self.phase = "acknowledged";
                    self.guest_says(self.home, "agent: logging on epoch=2 caught-up=9\n");
                } else {
                    self.phase = "quiesced";
                    self.nics_are(self.home, "detached");
                }
            }
            "migrate-set-parameters" => {
                self.downtime_limit = arguments["downtime-limit"].as_u64().unwrap();
                self.bandwidth = arguments["max-bandwidth"].as_u64().unwrap();
            }
            "device_del" if self.mishap == Mishap::GivesLate && arguments["id"] == NICS[0] => {}
            "device_del" if matches!(self.mishap, Mishap::KeepsNic | Mishap::GivesLate) => {
                return Err("not hot-pluggable");
            }
            "device_add" => {
                self.phase = "there";
                let there = if machine == 0 { Machine::Source } else { Machine::Destination };
                self.nics_are(there, "attached e1000e");
            }
            "device_del" => {
                self.phase = "quiesced";
                self.bandwidth_then = Some(self.bandwidth);
                let id = &arguments["id"];
                let index = NICS.iter().position(|nic| id == nic).unwrap();
                let name = interface_name(index);
                self.guest_says(self.home, &format!("{name}: detached\n"));
                self.event(self.home, "DEVICE_DELETED", json!({ "path": "/x" }));
                self.event(self.home, "DEVICE_DELETED", json!({ "device": id, "path": "/nic" }));
            }
            "migrate_cancel" => {
                self.status = Some("cancelled");
                self.guest_says(self.home, "agent: logging off epoch=3\n");
                match self.phase {
                    _ if self.mishap == Mishap::GivesLate => self.give_late(),
                    _ if self.by_hand => {}
                    "quiesced" => self.nics_are(self.home, "attached e1000e"),
                    // It had stopped it already, and starts it again.
                    "quiescing" => {
                        self.nics_are(self.home, "detached");
                        self.nics_are(self.home, "attached e1000e");
                    }
                    _ => {}
                }
                self.check(self.home);
            }
            "migrate-set-capabilities" if machine == self.home as usize => {
                let pauses = json!({ "capability": "pause-before-switchover", "state": true });
                self.pauses = arguments["capabilities"].as_array().unwrap().contains(&pauses);
            }
            "query-migrate" => return Ok(self.progress()),
            "qom-get" if self.has_given(&arguments["path"]) => return Err("no such device"),
            "qom-list" if !self.capability => return Ok(json!([{ "name": "type" }])),
            "qom-get" if self.by_hand && self.phase == "there" => return Ok("vfio-pci".into()),
            "qom-get" if !self.capability => return Err("no such property"),
            "qom-list" => return Ok(json!([{ "name": "type" }, { "name": "dirty-log-phase" }])),
            "qom-get" => return Ok(self.phase.into()),
            _ => {}
        }
        Ok(json!({}))
    }

    fn progress(&mut self) -> Value {
        if self.status == Some("active") {
            if self.mishap == Mishap::Fails {
                self.status = Some("failed");
                self.check(self.home);
            } else if self.mishap == Mishap::FailsLate && self.phase == "quiesced" {
                self.status = Some("failed");
            } else if self.downtime_limit > HELD_STOCK || self.remaining == 0 {
                self.advance();
            }
            self.remaining = self.remaining.saturating_sub(self.bandwidth / 8);
        }
        let ram = json!({
            "transferred": 1 << 20, "remaining": self.remaining, "total": 1 << 28,
            "dirty-sync-count": 3
        });
        json!({
            "status": self.status, "total-time": 100, "downtime": 20, "ram": ram,
            "error-desc": "it broke"
        })
    }

    /// One step of detach and switchover for each look.
    fn advance(&mut self) {
        match self.phase {
            "acknowledged" => self.phase = "quiescing",
            "quiescing" => {
                self.phase = "quiesced";
                self.nics_are(self.home, "detached");
            }
            "quiesced" if self.pauses => self.status = Some("pre-switchover"),
            "quiesced" => {
                self.status = Some("completed");
                let there = self.home.other();
                self.event(there, "RESUME", json!({}));
                if self.by_hand {
                    return;
                }
                self.guest_says(there, "agent: moved epoch=3\n");
                self.nics_are(there, "attached e1000e");
                self.check(there);
            }
            _ => {}
        }
    }

    fn check(&mut self, machine: Machine) {
        self.guest_says(
            machine,
            "dma: marked 7 caught-up 8 received 9\n\
             recorder: while-logging 1200\nrecorder: checked 4000 stale 0\n",
        );
    }

    fn event(&mut self, machine: Machine, name: &str, data: Value) {
        let line = format!("{}\n", json!({ "event": name, "data": data }));
        self.monitors[machine as usize].as_mut().unwrap().write_all(line.as_bytes()).unwrap();
    }

    /// Gives the first NIC, in a while.
    fn give_late(&mut self) {
        self.gives_at = Some(Instant::now() + LATE);
        let mut monitor = self.monitors[self.home as usize].as_ref().unwrap().try_clone().unwrap();
        let gone = json!({ "event": "DEVICE_DELETED", "data": { "device": NICS[0] } });
        thread::spawn(move || {
            thread::sleep(LATE);
            writeln!(monitor, "{gone}").unwrap();
        });
    }

    /// Whether that is the NIC that the guest has given late.
    fn has_given(&self, path: &Value) -> bool {
        let is_first = path.as_str().is_some_and(|path| path.ends_with(&format!("/{}", NICS[0])));
        is_first && self.gives_at.is_some_and(|at| Instant::now() >= at)
    }
}

/// Serves a machine's monitor.
fn monitor(world: Arc<Mutex<World>>, machine: usize, stream: UnixStream) {
    let mut writer = stream.try_clone().unwrap();
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let command: Value = serde_json::from_str(&line).unwrap();
        let mut world = world.lock().unwrap();
        let name = command["execute"].as_str().unwrap();
        let answer = match world.answer(machine, name, &command["arguments"]) {
            Ok(value) => json!({ "return": value }),
            Err(text) => json!({ "error": { "class": "GenericError", "desc": text } }),
        };
        if writeln!(writer, "{answer}").is_err() {
            break;
        }
    }
}

pub(super) struct FakeLab {
    pub(super) world: Arc<Mutex<World>>,
    pub(super) profile: Profile,
    /// Our ends: consoles, monitors.
    pub(super) ends: [[UnixStream; 2]; 2],
}

impl FakeLab {
    pub(super) fn new(pair: Pair, interfaces: usize, mishap: Mishap) -> Self {
        let mut world = World {
            home: Machine::Source,
            capability: pair.capability,
            by_hand: pair.is_moved_by_hand(),
            interfaces,
            status: None,
            downtime_limit: 0,
            bandwidth: 0,
            bandwidth_then: None,
            remaining: 0,
            gives_at: None,
            pauses: false,
            phase: "idle",
            commands: Vec::new(),
            stopped: Vec::new(),
            mishap,
            ended: None,
            consoles: [None, None],
            monitors: [None, None],
        };
        let ends = [0, 1].map(|machine| {
            let (console, guest) = UnixStream::pair().unwrap();
            let (ours, qemu) = UnixStream::pair().unwrap();
            world.consoles[machine] = Some(guest);
            world.monitors[machine] = Some(qemu);
            [console, ours]
        });
        let world = Arc::new(Mutex::new(world));
        for machine in [0, 1] {
            let stream =
                world.lock().unwrap().monitors[machine].as_ref().unwrap().try_clone().unwrap();
            let world = world.clone();
            thread::spawn(move || monitor(world, machine, stream));
        }
        let nics = [(); 2].map(|()| vec!["0000:01:00.0"; interfaces]);
        Self { world, profile: Profile::nested(nics, pair), ends }
    }
}

impl Lab for FakeLab {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn start(&mut self, machine: Machine, arguments: &[String]) -> Result<()> {
        let mut world = self.world.lock().unwrap();
        let greeting = b"{\"QMP\": {}}\n";
        world.monitors[machine as usize].as_mut().unwrap().write_all(greeting)?;
        if arguments.contains(&"-incoming".into()) {
            world.home = machine.other();
        } else {
            world.home = machine;
            let ready = "godwit: ready ip=10.0.2.15/24 nic=e1000e mac=52:54:00:67:6f:01\n";
            world.guest_says(machine, ready);
            for interface in 1..world.interfaces {
                let name = interface_name(interface);
                world.guest_says(machine, &format!("godwit: ready {name} ip=10.0.2.16/24\n"));
            }
            if self.profile.pair.standby {
                world.guest_says(machine, "nic: attached e1000e\n");
            }
        }
        Ok(())
    }

    fn stop(&mut self, machine: Machine) -> Result<()> {
        self.world.lock().unwrap().stopped.push(machine);
        Ok(())
    }

    fn ended(&mut self, machine: Machine) -> Option<String> {
        let ended = self.world.lock().unwrap().ended;
        ended.filter(|ended| *ended == machine).map(|_| "exit status: 0".into())
    }

    fn channel(&self, machine: Machine, channel: Channel) -> Result<UnixStream> {
        let [console, monitor] = &self.ends[machine as usize];
        Ok(if channel == Channel::Console { console } else { monitor }.try_clone()?)
    }

    fn said(&mut self) -> String {
        "fake: nothing".into()
    }
}
