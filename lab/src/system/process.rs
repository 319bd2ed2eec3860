//! Child processes that cannot outlive their owner.

use std::{
    ffi::OsStr,
    io,
    ops::{Deref, DerefMut},
    process::{Child, Command},
};

/// A child that is killed when its guard is dropped, and by the kernel when this process dies in
/// a way that drops nothing.
#[derive(Debug)]
pub struct Guard(Child);

impl Guard {
    /// A command to be given arguments and standard streams, then to [`Guard::spawn`].
    ///
    /// The child dies with the *thread* that spawns it (`PR_SET_PDEATHSIG` in prctl(2)).
    pub fn command(program: impl AsRef<OsStr>) -> Command {
        // util-linux is on every Debian machine, and sets this without any unsafe code here.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command
    }

    /// Starts it.
    ///
    /// # Errors
    /// The program could not be started.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        command.spawn().map(Self)
    }
}

impl Deref for Guard {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Guard {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Both fail only for a child that is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        path::PathBuf,
        process::Stdio,
        thread,
        time::{Duration, Instant},
    };

    use super::*;

    fn sleeper() -> (Guard, PathBuf) {
        let guard = Guard::spawn(Guard::command("sleep").arg("60").stdout(Stdio::null())).unwrap();
        let place = PathBuf::from(format!("/proc/{}", guard.id()));
        (guard, place)
    }

    #[test]
    fn a_child_dies_with_its_guard() {
        let (guard, place) = sleeper();
        assert!(place.exists());
        drop(guard);
        assert!(!place.exists());
    }

    #[test]
    fn a_child_dies_with_its_owner_whose_guard_is_never_dropped() {
        let place = thread::spawn(|| {
            let (guard, place) = sleeper();
            // Time for setpriv to have become the program.
            thread::sleep(Duration::from_millis(300));
            std::mem::forget(guard);
            place
        })
        .join()
        .unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        let state = || std::fs::read_to_string(place.join("stat")).unwrap_or_default();
        // Nobody waits for it, so it stays as a zombie.
        while !state().contains(") Z ") && place.exists() {
            assert!(Instant::now() < deadline, "it still runs: {}", state());
            thread::sleep(Duration::from_millis(20));
        }
    }
}
