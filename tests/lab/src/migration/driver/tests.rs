//! Migrations of a fake guest between fake QEMUs, which say what real ones say.

use super::*;
use crate::migration::machine::Profile;
use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
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
}

#[derive(Default)]
struct World {
    /// As `query-migrate` has it.
    status: Option<&'static str>,
    downtime_limit: u64,
    phase: &'static str,
    commands: Vec<String>,
    stopped: Vec<Machine>,
    mishap: Mishap,
    consoles: [Option<UnixStream>; 2],
    monitors: [Option<UnixStream>; 2],
}

impl World {
    fn guest_says(&mut self, machine: Machine, text: &str) {
        let console = self.consoles[machine as usize].as_mut().unwrap();
        console.write_all(text.as_bytes()).unwrap();
    }

    fn answer(&mut self, command: &str, arguments: &Value) -> Result<Value, &'static str> {
        self.commands.push(command.into());
        match command {
            "migrate" if self.mishap == Mishap::Refused => return Err("MARKING is clear"),
            "migrate" => {
                self.status = Some("active");
                self.phase = "acknowledged";
                self.guest_says(Machine::Source, "agent: logging on epoch=2 caught-up=9\n");
            }
            "migrate-set-parameters" => {
                self.downtime_limit = arguments["downtime-limit"].as_u64().unwrap();
            }
            "device_del" => {
                self.guest_says(Machine::Source, "nic: detached\n");
                self.event(Machine::Source, "DEVICE_DELETED", json!({ "path": "/x" }));
                self.event(
                    Machine::Source,
                    "DEVICE_DELETED",
                    json!({ "device": "nic0", "path": "/nic0" }),
                );
            }
            "migrate_cancel" => {
                self.status = Some("cancelled");
                self.guest_says(Machine::Source, "agent: logging off epoch=3\n");
                if self.phase == "detached" {
                    self.guest_says(Machine::Source, "nic: attached e1000e\n");
                }
                self.check(Machine::Source);
            }
            "query-migrate" => return Ok(self.progress()),
            "qom-list" => return Ok(json!([{ "name": "type" }, { "name": "migration-phase" }])),
            "qom-get" => return Ok(self.phase.into()),
            _ => {}
        }
        Ok(json!({}))
    }

    fn progress(&mut self) -> Value {
        if self.status == Some("active") {
            if self.mishap == Mishap::Fails {
                self.status = Some("failed");
                self.check(Machine::Source);
            } else if self.downtime_limit > HELD {
                self.advance();
            }
        }
        let ram = json!({ "transferred": 1 << 20, "remaining": 0, "total": 1 << 28, "dirty-sync-count": 3 });
        json!({
            "status": self.status, "total-time": 100, "downtime": 20, "ram": ram, "error-desc": "it broke"
        })
    }

    /// One step of detach and switchover for each look.
    fn advance(&mut self) {
        match self.phase {
            "acknowledged" => self.phase = "detaching",
            "detaching" => {
                self.phase = "detached";
                self.guest_says(Machine::Source, "nic: detached\n");
            }
            "detached" => {
                self.status = Some("completed");
                self.event(Machine::Destination, "RESUME", json!({}));
                self.guest_says(
                    Machine::Destination,
                    "agent: moved epoch=3\nnic: attached e1000e\n",
                );
                self.check(Machine::Destination);
            }
            _ => {}
        }
    }

    fn check(&mut self, machine: Machine) {
        self.guest_says(machine, "dma: marked 7 caught-up 8 received 9\nrecorder: while-logging 1200\nrecorder: checked 4000 stale 0\n");
    }

    fn event(&mut self, machine: Machine, name: &str, data: Value) {
        let line = format!("{}\n", json!({ "event": name, "data": data }));
        self.monitors[machine as usize].as_mut().unwrap().write_all(line.as_bytes()).unwrap();
    }
}

/// Serves a machine's monitor.
fn monitor(world: Arc<Mutex<World>>, stream: UnixStream) {
    let mut writer = stream.try_clone().unwrap();
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let command: Value = serde_json::from_str(&line).unwrap();
        let mut world = world.lock().unwrap();
        let answer = match world.answer(command["execute"].as_str().unwrap(), &command["arguments"])
        {
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
    fn new(mishap: Mishap) -> Self {
        let mut world = World { mishap, phase: "idle", ..World::default() };
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
            std::thread::spawn(move || monitor(world, stream));
        }
        Self { world, profile: Profile::nested(["0000:01:00.0", "0000:02:00.0"]), ends }
    }
}

impl Lab for FakeLab {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn start(&mut self, machine: Machine, _: &[String]) -> Result<()> {
        let mut world = self.world.lock().unwrap();
        let greeting = b"{\"QMP\": {}}\n";
        world.monitors[machine as usize].as_mut().unwrap().write_all(greeting)?;
        if machine == Machine::Source {
            world.guest_says(
                machine,
                "godwit: ready ip=10.0.2.15/24 nic=e1000e mac=52:54:00:67:6f:01\n",
            );
        }
        Ok(())
    }

    fn stop(&mut self, machine: Machine) -> Result<()> {
        self.world.lock().unwrap().stopped.push(machine);
        Ok(())
    }

    fn channel(&self, machine: Machine, channel: Channel) -> Result<UnixStream> {
        let [console, monitor] = &self.ends[machine as usize];
        Ok(if channel == Channel::Console { console } else { monitor }.try_clone()?)
    }

    fn said(&mut self) -> String {
        "fake: nothing".into()
    }
}

struct Flows;

impl Traffic for Flows {
    fn flows_since(&self, _: Instant) -> bool {
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
    let logs = tempfile::tempdir().unwrap();
    let mut lab = FakeLab::new(mishap);
    let world = lab.world.clone();
    let mut say = |_: &str| {};
    let mut session = Session::boot(&mut lab, "", logs.path(), &mut say).unwrap();
    let records = plans.iter().map(|plan| session.migrate(plan, &Flows).unwrap()).collect();
    (records, world)
}

#[test]
fn warm_is_held_then_let_go() {
    let plan = plan(Strategy::Warm, None);
    let (records, world) = migrate(Mishap::None, std::slice::from_ref(&plan));
    let [record] = &records[..] else { panic!() };
    assert_eq!((record.outcome, &record.error), (Outcome::Completed, &None));
    let timeline = record.timeline;
    assert!(timeline.detached.unwrap() - timeline.start >= plan.warmup);
    assert!(timeline.resumed.unwrap() >= timeline.detached.unwrap());
    assert!(timeline.logging_on.unwrap() < timeline.detached.unwrap());
    let check = record.check.unwrap();
    assert_eq!((check.checked, check.stale, check.while_logging), (4000, 0, Some(1200)));
    assert_eq!(record.dma.unwrap().pages_caught_up, 8);
    assert_eq!(record.port["phase"], "detached");
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
    for at in [CancelAt::Warmup, CancelAt::Detach] {
        let plans = [plan(Strategy::Warm, Some(at)), plan(Strategy::Warm, None)];
        let (records, world) = migrate(Mishap::None, &plans);
        assert_eq!(
            records.iter().map(|r| r.outcome).collect::<Vec<_>>(),
            [Outcome::Cancelled, Outcome::Completed]
        );
        let timeline = records[0].timeline;
        assert!(timeline.cancelled.is_some() && timeline.logging_off.is_some(), "{at:?}");
        assert_eq!(records[0].check.unwrap().checked, 4000);
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
fn failover_is_refused_in_plain_words() {
    let logs = tempfile::tempdir().unwrap();
    let mut lab = FakeLab::new(Mishap::None);
    let mut say = |_: &str| {};
    let mut session = Session::boot(&mut lab, "", logs.path(), &mut say).unwrap();
    let error = session.migrate(&plan(Strategy::Failover, None), &Flows).unwrap_err().to_string();
    assert!(error.contains("not available yet"), "{error}");
}
