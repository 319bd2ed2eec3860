//! What a host that has fallen silent was doing, as far as its emulator can tell.

use std::{fmt::Write, fs, os::unix::net::UnixStream, path::Path, thread, time::Duration};

use anyhow::Result;

use crate::migration::qmp::{HumanMonitorCommand, InjectNmi, Qmp};

/// Looks at the processors. One that spins is elsewhere in the same loop each time, one that is halted is not.
const LOOKS: u32 = 3;
/// From one look to the next.
const PAUSE: Duration = Duration::from_secs(1);

/// Describes what the QEMU with this monitor and process id emulates, then has the host's kernel say on its console where its
/// first processor is (`unknown_nmi_panic`), which is the end of it.
pub(super) fn describe(monitor: UnixStream, process: u32) -> String {
    let mut text = String::new();
    let answer = look(monitor, process, &mut text);
    if let Err(error) = answer {
        // Writing to a string does not fail.
        let _ = writeln!(text, "QEMU's monitor: {error:#}\n{}", threads(process));
    }
    text
}

fn look(monitor: UnixStream, process: u32, text: &mut String) -> Result<()> {
    let mut monitor = Qmp::connect("lab's host", monitor)?;
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

/// A line for each thread: its name, and the start of its stat (proc(5)), which has its state and the time it used.
fn threads(process: u32) -> String {
    let tasks = fs::read_dir(Path::new("/proc").join(process.to_string()).join("task"));
    tasks
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("stat")).ok())
        .map(|stat| stat.split(' ').take(18).collect::<Vec<_>>().join(" ") + "\n")
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};

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
        let text = describe(ours, std::process::id());
        assert!(text.contains("Look 3 of 3") && text.contains("RIP=1\n"), "{text}");
        assert!(text.contains(&format!("{} (", std::process::id())), "{text}");
        let asked = qemu.join().unwrap();
        assert!(asked.last().unwrap().contains("inject-nmi"), "{asked:?}");
    }

    #[test]
    fn a_monitor_that_is_gone_is_said_to_be() {
        let (ours, _) = UnixStream::pair().unwrap();
        assert!(describe(ours, 0).contains("closed its monitor"));
    }
}
