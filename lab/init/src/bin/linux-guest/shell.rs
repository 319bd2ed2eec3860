//! A shell on the second serial port, for tests that have this guest do things.

use std::{
    fs::{self, File},
    process::Command,
    thread,
};

use anyhow::{Context, Result, ensure};

use crate::programs::program;

const PORT: &str = "/dev/ttyS1";
/// `0` where there is no such port (Linux `drivers/tty/serial/serial_core.c`, PORT_UNKNOWN).
const PORT_TYPE: &str = "/sys/class/tty/ttyS1/type";
/// Commands a line each. What they print goes back, then, on a line of its own, `status NUMBER`.
const LOOP: &str =
    r#"while read -r line; do eval "$line" < /dev/null 2>&1; printf '\nstatus %d\n' $?; done"#;

/// Starts it, if there is such a port.
pub(crate) fn serve() -> Result<()> {
    if fs::read_to_string(PORT_TYPE).map_or(true, |kind| kind.trim_end() == "0") {
        return Ok(());
    }
    // Neither echo nor line ends of the terminal's own.
    let stty = ["stty", "-F", PORT, "raw", "-echo"];
    let status = Command::new(program("busybox")).args(stty).status().context("start busybox")?;
    ensure!(status.success(), "`{}` failed ({status})", stty.join(" "));
    let port = File::options().read(true).write(true).open(PORT).context(PORT)?;
    let mut shell = Command::new(program("busybox"));
    shell.args(["sh", "-c", LOOP]).stdin(port.try_clone()?).stdout(port.try_clone()?).stderr(port);
    let mut shell = shell.spawn().context("start a shell")?;
    thread::spawn(move || println!("linux: the shell ended: {:?}", shell.wait()));
    Ok(())
}
