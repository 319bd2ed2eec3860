//! Migrations of a fake guest between fake QEMUs, which say what real ones say.

mod by_hand;

use super::*;
use crate::choices::{Bridge, Chipset, QemuKind};
use crate::migration::machine::{NICS, Pair, Profile};
use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// What the pair of machines is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Mishap {
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

struct World {
    /// Where the guest is.
    home: Machine,
    capability: bool,
    /// The NIC is taken and given by commands.
    by_hand: bool,
    interfaces: usize,
    /// As `query-migrate` has it.
    status: Option<&'static str>,
    downtime_limit: u64,
    bandwidth: u64,
    /// What it was when the NIC was asked for.
    bandwidth_then: Option<u64>,
    /// When the guest gives its first NIC, if it is late.
    gives_at: Option<Instant>,
    /// Before the switchover, until told to go on.
    pauses: bool,
    phase: &'static str,
    commands: Vec<String>,
    stopped: Vec<Machine>,
    mishap: Mishap,
    ended: Option<Machine>,
    consoles: [Option<UnixStream>; 2],
    monitors: [Option<UnixStream>; 2],
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
            } else if self.downtime_limit > super::super::run::HELD_STOCK {
                self.advance();
            }
        }
        let ram = json!({
            "transferred": 1 << 20, "remaining": 2 << 20, "total": 1 << 28,
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

struct FakeLab {
    world: Arc<Mutex<World>>,
    profile: Profile,
    /// Our ends: consoles, monitors.
    ends: [[UnixStream; 2]; 2],
}

impl FakeLab {
    fn new(pair: Pair, interfaces: usize, mishap: Mishap) -> Self {
        let mut world = World {
            home: Machine::Source,
            capability: pair.capability,
            by_hand: pair.is_moved_by_hand(),
            interfaces,
            status: None,
            downtime_limit: 0,
            bandwidth: 0,
            bandwidth_then: None,
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
            std::thread::spawn(move || monitor(world, machine, stream));
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

/// Traffic that arrives, and how often it was looked at.
#[derive(Default)]
struct Flows(AtomicU32);

impl Traffic for Flows {
    fn flows_since(&self, _: Instant) -> bool {
        self.0.fetch_add(1, Relaxed);
        true
    }
}

fn plan(strategy: Strategy, cancel_at: Option<CancelAt>) -> Plan {
    let warmup = Duration::from_millis(100);
    Plan {
        strategy,
        before: Duration::ZERO,
        warmup,
        after: Duration::ZERO,
        bandwidth: 1 << 20,
        cancel_at,
    }
}

fn migrate(mishap: Mishap, plans: &[Plan]) -> (Vec<Record>, Arc<Mutex<World>>) {
    migrate_pair(pair(false, true), mishap, plans)
}

fn migrate_pair(pair: Pair, mishap: Mishap, plans: &[Plan]) -> (Vec<Record>, Arc<Mutex<World>>) {
    let interfaces = if mishap == Mishap::GivesLate { 2 } else { 1 };
    let logs = tempfile::tempdir().unwrap();
    let mut lab = FakeLab::new(pair, interfaces, mishap);
    let world = lab.world.clone();
    let mut say = |_: &str| {};
    let mut session = Session::boot(&mut lab, "", logs.path(), &mut say).unwrap();
    let records = plans.iter().map(|plan| session.migrate(plan, &[&Flows::default()]).unwrap());
    (records.collect(), world)
}

fn pair(standby: bool, capability: bool) -> Pair {
    Pair {
        standby,
        capability,
        chipset: Chipset::Q35,
        bridge: Bridge::PcieRootPort,
        qemu: QemuKind::Patched,
        native: !capability,
    }
}

#[test]
fn warm_is_held_then_let_go() {
    let plan = plan(Strategy::Warm, None);
    let (records, world) = migrate(Mishap::None, std::slice::from_ref(&plan));
    let [record] = &records[..] else { panic!() };
    assert_eq!((record.outcome, &record.error), (Outcome::Completed, &None));
    let timeline = record.timeline;
    assert!(timeline.detached.unwrap() - timeline.start >= plan.warmup);
    assert!(timeline.resumed.unwrap() - timeline.start >= plan.warmup);
    assert!(timeline.logging_on.unwrap() < timeline.detached.unwrap());
    let check = record.check.unwrap();
    assert_eq!((check.checked, check.stale, check.while_logging), (4000, 0, Some(1200)));
    assert_eq!(record.dma.unwrap().pages_caught_up, 8);
    assert_eq!(record.ports[0]["phase"], "quiesced");
    assert_eq!(world.lock().unwrap().stopped, [Machine::Source]);
}

#[test]
fn cold_takes_the_nic_first_and_holds_nothing() {
    let (records, world) = migrate(Mishap::None, &[plan(Strategy::Cold, None)]);
    assert_eq!(records[0].outcome, Outcome::Completed);
    assert!(records[0].timeline.detached.unwrap() < records[0].timeline.logging_on.unwrap());
    let world = world.lock().unwrap();
    let at = |name: &str| world.commands.iter().position(|command| command == name).unwrap();
    assert!(at("device_del") < at("migrate"));
}

#[test]
fn a_cancelled_guest_stays_and_migrates_later() {
    for at in [CancelAt::Setup, CancelAt::Warmup, CancelAt::Quiesce, CancelAt::Quiesced] {
        let plans = [plan(Strategy::Warm, Some(at)), plan(Strategy::Warm, None)];
        let (records, world) = migrate(Mishap::None, &plans);
        assert_eq!(
            records.iter().map(|r| r.outcome).collect::<Vec<_>>(),
            [Outcome::Cancelled, Outcome::Completed]
        );
        let timeline = records[0].timeline;
        assert!(timeline.cancelled.is_some() && timeline.logging_off.is_some(), "{at:?}");
        assert_eq!(records[0].check.unwrap().checked, 4000);
        let left = matches!(at, CancelAt::Quiesce | CancelAt::Quiesced);
        assert_eq!((timeline.detached.is_some(), timeline.attached.is_some()), (left, left));
        assert_eq!(world.lock().unwrap().stopped, [Machine::Destination, Machine::Source]);
    }
}

#[test]
fn what_qemu_refuses_or_fails_is_a_result() {
    let plans = [plan(Strategy::Warm, None)];
    let (records, _) = migrate(Mishap::Fails, &plans);
    assert_eq!(
        (records[0].outcome, records[0].error.as_deref()),
        (Outcome::Failed, Some("it broke"))
    );
    let (records, _) = migrate(Mishap::Refused, &plans);
    assert_eq!(
        (records[0].outcome, records[0].error.as_deref()),
        (Outcome::Failed, Some("MARKING is clear"))
    );
    assert_eq!(records[0].check, None);
}

#[test]
fn a_guest_that_dies_is_the_reason_for_what_comes_of_it() {
    let logs = tempfile::tempdir().unwrap();
    let mut lab = FakeLab::new(pair(false, true), 1, Mishap::Dies);
    let mut say = |_: &str| {};
    let mut session = Session::boot(&mut lab, "", logs.path(), &mut say).unwrap();
    let plan = plan(Strategy::Warm, None);
    let died = "the source's guest died: panicked at src/irq.rs:70:5: boom (its console is in ";
    for start in ["", "migration 2 of the guest, from the machine `source` to `destination`: "] {
        let error = format!("{:#}", session.migrate(&plan, &[]).unwrap_err());
        assert!(error.starts_with(&format!("{start}{died}")), "{error}");
        assert!(error.contains("the source's QEMU has ended (exit status: 0)"), "{error}");
    }
}

#[test]
fn a_reset_is_told_from_a_guest_that_said_why() {
    for (mishap, silent) in [(Mishap::IsReset, true), (Mishap::Dies, false)] {
        let logs = tempfile::tempdir().unwrap();
        let mut lab = FakeLab::new(pair(false, true), 1, mishap);
        let mut say = |_: &str| {};
        let mut session = Session::boot(&mut lab, "", logs.path(), &mut say).unwrap();
        let error = session.migrate(&plan(Strategy::Warm, None), &[]).unwrap_err();
        assert_eq!(error.downcast_ref::<ResetInSilence>().is_some(), silent, "{error:#}");
    }
}

#[test]
fn failover_has_its_warm_up_without_the_nic() {
    let plan = plan(Strategy::Failover, None);
    let pair = pair(true, false);
    let (records, _) = migrate_pair(pair, Mishap::None, std::slice::from_ref(&plan));
    let timeline = records[0].timeline;
    assert_eq!(records[0].outcome, Outcome::Completed);
    assert!(timeline.detached.unwrap() - timeline.start < plan.warmup);
    assert!(timeline.resumed.unwrap() - timeline.start >= plan.warmup);
    assert_eq!(records[0].check, None);
    assert!(records[0].ports[0].is_empty());
}

#[test]
fn a_guest_goes_to_and_fro() {
    let plans = vec![plan(Strategy::Warm, None); 3];
    let (records, world) = migrate(Mishap::None, &plans);
    assert!(records.iter().all(|record| record.outcome == Outcome::Completed));
    let stopped = [Machine::Source, Machine::Destination, Machine::Source];
    assert_eq!(world.lock().unwrap().stopped, stopped);
}

/// All of them are waited for: none but the last to leave or to come back would do.
#[test]
fn two_nics_leave_and_come_back_together() {
    for strategy in [Strategy::Warm, Strategy::Cold] {
        let logs = tempfile::tempdir().unwrap();
        let pair = pair(false, true);
        let mut lab = FakeLab::new(pair, 2, Mishap::None);
        let world = lab.world.clone();
        let mut say = |_: &str| {};
        let mut session = Session::boot(&mut lab, "", logs.path(), &mut say).unwrap();
        let flows = [Flows::default(), Flows::default()];
        let traffic = [&flows[0] as &dyn Traffic, &flows[1]];
        let record = session.migrate(&plan(strategy, None), &traffic).unwrap();
        assert_eq!((record.outcome, record.ports.len()), (Outcome::Completed, 2));
        assert!(flows.iter().all(|flows| flows.0.load(Relaxed) > 0));
        let said = session.source.console.since(0);
        let attached = |interface| {
            let wanted = Some(Said::NicAttached { interface });
            said.iter().find(|line| line.said == wanted).unwrap().at
        };
        assert_eq!(record.timeline.attached, Some(attached(0).max(attached(1))));
        let asked = world.lock().unwrap().commands.iter().filter(|c| *c == "device_del").count();
        assert_eq!(asked, if strategy == Strategy::Cold { 2 } else { 0 });
    }
}

#[test]
fn an_interface_that_receives_nothing_is_named() {
    struct Silence;
    impl Traffic for Silence {
        fn flows_since(&self, _: Instant) -> bool {
            false
        }
    }
    let flows = Flows::default();
    let wait = |second| {
        wait_for_traffic(&Clock::real(), &[&flows, second], Instant::now(), Duration::ZERO)
    };
    assert!(wait(&flows).is_ok());
    let error = wait(&Silence).unwrap_err().to_string();
    assert!(error.contains("no traffic by nic1 for"), "{error}");
}
