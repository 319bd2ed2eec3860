//! What a host that has fallen silent was doing, as far as its emulator can tell.

use std::{fmt::Write, fs, path::Path, thread, time::Duration};

use anyhow::Result;

use crate::qmp::{HumanMonitorCommand, InjectNmi, Qmp};

/// Looks at the processors. One that spins is elsewhere in the same loop each time, one that is
/// halted is not.
const LOOKS: u32 = 3;
/// From one look to the next.
const PAUSE: Duration = Duration::from_secs(1);

/// The unit of proc(5)'s times: `HZ` of Linux' include/uapi/asm-generic/param.h.
const TICKS_PER_S: u64 = 100;

/// Describes what the QEMU with this monitor and process id emulates, then has the host's kernel
/// say on its console where its first processor is (`unknown_nmi_panic`), which is the end of it.
pub(super) fn describe(monitor: &mut Qmp, process: u32) -> String {
    let mut text = String::new();
    let answer = look(monitor, process, &mut text);
    if let Err(error) = answer {
        // Writing to a string does not fail.
        let _ = writeln!(text, "QEMU's monitor: {error:#}\n{}", threads(process));
    }
    text
}

fn look(monitor: &mut Qmp, process: u32, text: &mut String) -> Result<()> {
    for number in 1..=LOOKS {
        writeln!(text, "Look {number} of {LOOKS}\n\nThreads of QEMU\n{}", threads(process))?;
        for command in ["info cpus", "info registers -a"] {
            let said = monitor.execute(&HumanMonitorCommand { command_line: command.into() })?;
            writeln!(text, "{command}\n{}", said.replace('\r', ""))?;
        }
        thread::sleep(PAUSE);
    }
    monitor.execute(&InjectNmi {})?;
    // Time for the kernel to write it.
    thread::sleep(PAUSE);
    Ok(())
}

/// A line for each thread: its name, and the start of its stat (proc(5)), which has its state and
/// the time it used.
fn threads(process: u32) -> String {
    let line = |stat: String| stat.split(' ').take(18).collect::<Vec<_>>().join(" ") + "\n";
    stats(process).map(line).collect()
}

/// The time that the threads have used which are the emulated processors: `CPU 0/TCG` and so on.
pub(super) fn processors<const N: usize>(process: u32) -> Option<[Duration; N]> {
    let mut used: Vec<(String, Duration)> = stats(process)
        .filter_map(|stat| {
            let (name, fields) = stat.split_once('(')?.1.rsplit_once(") ")?;
            let fields: Vec<&str> = fields.split(' ').collect();
            // utime and stime, the fields 14 and 15; the state, the first here, is the third.
            let ticks =
                fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
            let time = Duration::from_millis(ticks * 1000 / TICKS_PER_S);
            (name.starts_with("CPU ") && name.ends_with("/TCG")).then(|| (name.to_owned(), time))
        })
        .collect();
    used.sort();
    used.into_iter().map(|(_, time)| time).collect::<Vec<_>>().try_into().ok()
}

/// `/proc/PID/task/TID/stat` of every thread.
fn stats(process: u32) -> impl Iterator<Item = String> {
    let tasks = fs::read_dir(Path::new("/proc").join(process.to_string()).join("task"));
    let tasks = tasks.into_iter().flatten().flatten();
    tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{BufRead, BufReader, Write},
        net::Shutdown,
        os::unix::net::UnixStream,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering::Relaxed},
        },
        time::Instant,
    };

    #[test]
    fn a_monitor_that_answers_is_asked_for_everything() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let qemu = thread::spawn(move || {
            let mut writer = theirs.try_clone().unwrap();
            writer.write_all(b"{\"QMP\": {}}\n").unwrap();
            let mut asked = Vec::new();
            for line in BufReader::new(theirs).lines().map_while(Result::ok) {
                let returned = if line.contains("human") { "\"RIP=1\\r\\n\"" } else { "{}" };
                writeln!(writer, "{{\"return\": {returned}}}").unwrap();
                asked.push(line);
            }
            asked
        });
        let mut monitor = Qmp::connect("lab's host", ours).unwrap();
        let text = describe(&mut monitor, std::process::id());
        assert!(text.contains("Look 3 of 3") && text.contains("RIP=1\n"), "{text}");
        assert!(text.contains(&format!("{} (", std::process::id())), "{text}");
        // It reads until there is nobody to ask.
        drop(monitor);
        let asked = qemu.join().unwrap();
        assert!(asked.last().unwrap().contains("inject-nmi"), "{asked:?}");
    }

    #[test]
    fn processors_are_threads_by_name() {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = ["CPU 1/TCG", "CPU 0/TCG", "CPU 0/KVM"].map(|name| {
            let stop = stop.clone();
            let spin = move || while !stop.load(Relaxed) {};
            thread::Builder::new().name(name.into()).spawn(spin).unwrap()
        });
        let deadline = Instant::now() + Duration::from_secs(30);
        let used = || processors::<2>(std::process::id()).unwrap_or_default();
        while used().iter().any(Duration::is_zero) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
        let (two, three) = (used(), processors::<3>(std::process::id()));
        stop.store(true, Relaxed);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(two.iter().all(|time| !time.is_zero()), "{two:?}");
        assert_eq!(three, None);
    }

    #[test]
    fn a_monitor_that_is_gone_is_said_to_be() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"{\"QMP\": {}}\n{\"return\": {}}\n").unwrap();
        let mut monitor = Qmp::connect("lab's host", ours).unwrap();
        theirs.shutdown(Shutdown::Write).unwrap();
        assert!(describe(&mut monitor, 0).contains("closed its monitor"));
    }
}
