//! What it costs a machine to be left: an exit to the hypervisor and back.

use std::{
    io::Read,
    process::Stdio,
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    parts::{Accelerator, Qemu},
    system::{process::Guard, scratch::Scratch},
};

/// The least that a firmware's image may be.
const ROM: usize = 64 << 10;
/// Where the processor begins (Intel SDM 3, 10.1.4): 16 bytes below the end, in real mode.
const RESET: usize = ROM - 16;
/// Where the program is.
const PROGRAM: usize = ROM - 256;
/// Exits of a round: CPUID, which both vendors' processors always leave a guest for, so often, and
/// one for the port that tells about the round.
const ROUND: u32 = 64 + 1;
/// For QEMU to start, on a busy machine.
const START: Duration = Duration::from_secs(10);
/// How long rounds are counted.
const COUNTED: Duration = Duration::from_millis(300);

/// How long an exit takes, on the average of some hundred milliseconds.
///
/// # Errors
/// QEMU, or its accelerator, does not run even this.
pub(super) fn cost(qemu: &Qemu, accelerator: Accelerator) -> Result<Duration> {
    let scratch = Scratch::new()?;
    let rom = scratch.join("rom");
    std::fs::write(&rom, image()).with_context(|| rom.display().to_string())?;
    let (accelerator, cpu) = match accelerator {
        Accelerator::Kvm => ("kvm", "host"),
        Accelerator::Tcg => ("tcg", "max"),
    };
    let line = qemu.command_line();
    let options = format!(
        "-nodefaults -no-user-config -display none -M q35 -accel {accelerator} -cpu {cpu} -m 16 \
         -chardev stdio,id=rounds -device isa-debugcon,iobase=0xe9,chardev=rounds"
    );
    let mut command = Guard::command(&line[0]);
    command.args(&line[1..]).args(options.split(' ')).arg("-bios").arg(&rom);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut machine = Guard::spawn(&mut command).context("cannot start QEMU")?;
    let rounds = listen(machine.stdout.take().context("standard output")?);
    if rounds.recv_timeout(START).is_err() {
        let is_over = machine.kill().is_ok();
        let mut said = String::new();
        if let (true, Some(mut errors)) = (is_over, machine.stderr.take()) {
            let _ = errors.read_to_string(&mut said);
        }
        let said = said.trim_start_matches("qemu-system-x86_64: ");
        bail!("not one exit: {}", said.lines().next().unwrap_or("QEMU said nothing"));
    }
    let started = Instant::now();
    let (mut count, mut last) = (0, started);
    // At least one, however long it takes.
    while count == 0 || started.elapsed() < COUNTED {
        let (bytes, at) = rounds.recv_timeout(START).context("the exits have ended")?;
        (count, last) = (count + bytes, at);
    }
    Ok((last - started) / (count * ROUND))
}

/// Hears of rounds: how many, and when.
fn listen(mut output: impl Read + Send + 'static) -> Receiver<(u32, Instant)> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = output.read(&mut bytes) {
            if sender.send((count as u32, Instant::now())).is_err() {
                break;
            }
        }
    });
    receiver
}

/// A firmware that does nothing but to leave its machine.
fn image() -> Vec<u8> {
    #[rustfmt::skip]
    let program = [
        0xbe, (ROUND - 1) as u8, 0x00, // round: mov si, 64
        0x66, 0x31, 0xc0,              // exit:  xor eax, eax
        0x0f, 0xa2,                    //        cpuid
        0x4e,                          //        dec si
        0x75, 0xf8,                    //        jnz exit
        0xba, 0xe9, 0x00,              //        mov dx, 0xe9
        0xb0, 0x2e,                    //        mov al, '.'
        0xee,                          //        out dx, al
        0xeb, 0xed,                    //        jmp round
    ];
    let mut rom = vec![0; ROM];
    rom[PROGRAM..PROGRAM + program.len()].copy_from_slice(&program);
    // A near jump, whose distance counts from behind it.
    let distance = (PROGRAM as i32 - (RESET as i32 + 3)) as i16;
    rom[RESET] = 0xe9;
    rom[RESET + 1..RESET + 3].copy_from_slice(&distance.to_le_bytes());
    rom
}
