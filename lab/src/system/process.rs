//! Child processes that cannot outlive their owner.

use std::{
    ffi::OsStr,
    fs, io,
    ops::{Deref, DerefMut},
    process::{Child, Command},
};

use rustix::process::{Pid, Signal, kill_process};

use super::detail;

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
        detail::started(command);
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

/// Kills every process that threads of this name started, and those that they started. A thread has
/// the name of the one that started it, unless it was given one of its own.
///
/// # Errors
/// Linux does not say what threads and processes there are.
pub fn kill_started_by(threads: &str) -> io::Result<()> {
    let mut started = Vec::new();
    for thread in fs::read_dir("/proc/self/task")? {
        let thread = thread?.path();
        // Of a thread that has just ended there is nothing to read.
        let read = |name: &str| fs::read_to_string(thread.join(name)).unwrap_or_default();
        if read("comm").trim_end() == threads {
            let children = read("children");
            started.extend(children.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
        }
    }
    signal(&with_descendants(alive()?, started), Signal::KILL);
    Ok(())
}

/// Sends a signal to every process that this one started, and those that they started, and says how
/// many there were.
pub(super) fn signal_descendants(number: Signal) -> io::Result<usize> {
    let all = descendants()?;
    signal(&all, number);
    Ok(all.len())
}

fn signal(processes: &[Descendant], number: Signal) {
    for pid in processes.iter().filter_map(|process| Pid::from_raw(process.pid)) {
        // One that has ended meanwhile is as it should be.
        let _ = kill_process(pid, number);
    }
}

/// A process that another one may have started.
pub(super) struct Descendant {
    pid: i32,
    parent: i32,
    /// What proc(5) says of it: PID (NAME) STATE PARENT …
    pub(super) stat: String,
}

/// All that are alive.
pub(super) fn descendants() -> io::Result<Vec<Descendant>> {
    let all = alive()?;
    let ours = std::process::id() as i32;
    let children = all.iter().filter(|process| process.parent == ours).map(|child| child.pid);
    let children = children.collect();
    Ok(with_descendants(all, children))
}

/// Of `all`, these and those that they started.
fn with_descendants(mut all: Vec<Descendant>, mut these: Vec<i32>) -> Vec<Descendant> {
    let mut next = 0;
    while let Some(&parent) = these.get(next) {
        these.extend(all.iter().filter(|process| process.parent == parent).map(|child| child.pid));
        next += 1;
    }
    all.retain(|process| these.contains(&process.pid));
    all
}

/// All processes of this machine that are no zombies.
fn alive() -> io::Result<Vec<Descendant>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let Some(Ok(pid)) = path.file_name().and_then(|name| Some(name.to_str()?.parse())) else {
            continue;
        };
        // Of a process that has just ended there is nothing to read.
        let stat = fs::read_to_string(path.join("stat")).unwrap_or_default();
        // A name may have blanks and parentheses.
        let mut rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
        // A zombie is as dead as can be.
        let is_alive = rest.next().is_some_and(|state| state != "Z");
        let parent = rest.next().filter(|_| is_alive);
        if let Some(Ok(parent)) = parent.map(str::parse) {
            all.push(Descendant { pid, parent, stat });
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::{
        path::PathBuf,
        process::Stdio,
        sync::Barrier,
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
    fn what_threads_of_a_name_started_is_killed_and_nothing_else() {
        let [started, done] = [(); 2].map(|()| Barrier::new(3));
        // Started by a thread that has its name from another.
        let child_of = |name: &str| -> bool {
            let work = || {
                let (mut child, _) = sleeper();
                started.wait();
                done.wait();
                // It takes a moment to die.
                thread::sleep(Duration::from_millis(300));
                child.try_wait().unwrap().is_none()
            };
            thread::scope(|scope| {
                let named = thread::Builder::new().name(name.into());
                let inner = || thread::scope(|inner| inner.spawn(work).join().unwrap());
                named.spawn_scoped(scope, inner).unwrap().join().unwrap()
            })
        };
        thread::scope(|scope| {
            let [these, others] = ["these", "others"].map(|name| scope.spawn(|| child_of(name)));
            started.wait();
            kill_started_by("these").unwrap();
            done.wait();
            assert!(!these.join().unwrap(), "what these have started lives on");
            assert!(others.join().unwrap(), "what others have started is dead");
        });
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
