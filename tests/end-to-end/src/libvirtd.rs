//! Two libvirt daemons on this machine, each the only one that its QEMU knows of: a virtual machine
//! is migrated from the one to the other as between two hosts.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use lab::system::{
    backports::Backports,
    command, debian, lock,
    process::Guard,
    scratch::Scratch,
    tools::{self, Missing, Tool},
};

use crate::{
    migrations::path,
    namespace::{Inside, Namespace, ip},
};

/// The first release that has a libvirt for the patched QEMU, in its backports: `migrate` has had
/// no argument `detach` since QEMU 11.0 (docs/about/removed-features.rst there), which libvirt 11.3
/// still gives it.
const RELEASE: &str = "trixie";
/// Of libvirt, with what they need.
const PACKAGES: [&str; 3] = ["libvirt-clients", "libvirt-daemon-common", "libvirt0"];
/// The same without: what they need is a whole QEMU, and a service manager.
const ALONE: [&str; 2] = ["libvirt-daemon", "libvirt-daemon-driver-qemu"];

/// The network that both are on, and this machine's address there.
pub(crate) const BRIDGE: &str = "br0";
const ADDRESS: &str = "10.0.2.2/24";

const PATIENCE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(50);

/// What a daemon sees of this machine: newer libraries and libvirt, all state its own, no process
/// but those it starts. It gets a name, and what its files are in. The shell is there to wait for
/// orphans, as nobody else would: a QEMU that has ended is one, and libvirt waits until it is gone.
const SCRIPT: &str = "set -e
    mount -t overlay overlay -o lowerdir=$2/usr:/usr /usr
    mount -t overlay overlay -o lowerdir=$3/etc:/etc /etc
    for state in run var/lib var/log var/cache; do mount --bind $3/$state /$state; done
    hostname $1
    libvirtd & wait";

/// Its settings. There is no service manager, and no other user.
const QEMU_CONF: &str = "user = \"root\"
group = \"root\"
security_driver = \"none\"
namespaces = []
cgroup_controllers = []
stdio_handler = \"file\"
remember_owner = 0
dynamic_ownership = 0
";

/// A user that libvirt looks for when it starts, and has no use for here.
const USER: &str = "libvirt-qemu:x:64055:64055::/:/bin/false\n";
const GROUP: &str = "libvirt-qemu:x:64055:\n";

/// Two of them, on one network, in which this thread is as long as they are.
pub(crate) struct Pair {
    pub(crate) daemons: [Daemon; 2],
    // Left before it goes.
    _inside: Inside,
    _namespace: Namespace,
}

impl Pair {
    /// With a network of that name.
    pub(crate) fn start(network: &str) -> Result<Self> {
        let tree = tree()?;
        let namespace = Namespace::new(network)?;
        let inside = namespace.enter()?;
        for words in [
            "link set lo up".into(),
            format!("link add {BRIDGE} type bridge"),
            format!("addr add {ADDRESS} dev {BRIDGE}"),
            format!("link set {BRIDGE} up"),
        ] {
            command::run(&mut ip(&words))?;
        }
        let daemons = [Daemon::start("one", 1, &tree)?, Daemon::start("other", 2, &tree)?];
        Ok(Self { daemons, _inside: inside, _namespace: namespace })
    }
}

/// One of them. It ends with the thread that started it, and its machines with it.
pub(crate) struct Daemon {
    // Dropped in this order: it writes there until it has ended.
    process: Guard,
    directory: Scratch,
}

impl Daemon {
    fn start(name: &str, number: u32, tree: &Path) -> Result<Self> {
        let directory = Scratch::new()?;
        for place in ["etc/libvirt", "run/lock", "var/lib", "var/log", "var/cache"] {
            fs::create_dir_all(directory.join(place))?;
        }
        let with = |file: &str, more| Ok::<_, anyhow::Error>(fs::read_to_string(file)? + more);
        // Without it two daemons of a machine take each other for one.
        let identity = format!(
            "host_uuid = \"00000000-0000-4000-8000-{number:012}\"\nauth_unix_rw = \"none\"\n"
        );
        for (file, text) in [
            ("etc/passwd", with("/etc/passwd", USER)?),
            ("etc/group", with("/etc/group", GROUP)?),
            ("etc/libvirt/libvirtd.conf", identity),
            ("etc/libvirt/qemu.conf", QEMU_CONF.into()),
        ] {
            fs::write(directory.join(file), text)?;
        }
        let mut command = Guard::command("unshare");
        command.args(["--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
        command.args(["sh", "-c", SCRIPT, "sh", name]).arg(tree).arg(&*directory);
        let said = fs::File::create(directory.join("said"))?;
        command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
        let process = Guard::spawn(&mut command)?;
        let mut daemon = Self { process, directory };
        let deadline = Instant::now() + PATIENCE;
        while !daemon.socket().exists() {
            let ended = daemon.process.try_wait()?;
            let said = || fs::read_to_string(daemon.directory.join("said")).unwrap_or_default();
            ensure!(ended.is_none(), "libvirtd has ended: {}", said());
            ensure!(Instant::now() < deadline, "libvirtd does not listen: {}", said());
            thread::sleep(TICK);
        }
        Ok(daemon)
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("run/libvirt/libvirt-sock")
    }

    /// Where it is reached.
    pub(crate) fn uri(&self) -> String {
        format!("qemu+unix:///system?socket={}", self.socket().display())
    }

    /// A file for the console of a machine there.
    pub(crate) fn console(&self) -> PathBuf {
        self.directory.join("console")
    }

    /// A new file of that name and content.
    pub(crate) fn file(&self, name: &str, content: &str) -> Result<PathBuf> {
        let file = self.directory.join(name);
        fs::write(&file, content)?;
        Ok(file)
    }

    /// What QEMU said.
    pub(crate) fn log(&self, domain: &str) -> String {
        let log = self.directory.join(format!("var/log/libvirt/qemu/{domain}.log"));
        fs::read_to_string(log).unwrap_or_default()
    }

    /// virsh, asking it.
    pub(crate) fn virsh(&self, words: &[&str]) -> Result<String> {
        let mut virsh = Command::new("nsenter");
        virsh.args(["--target", &self.process.id().to_string(), "--mount", "--"]);
        virsh.args(["virsh", "--quiet", "--connect", &self.uri()]).args(words);
        Ok(String::from_utf8_lossy(&command::run(&mut virsh)?.stdout).into_owned())
    }
}

/// libvirt and the libraries that it needs, unpacked, in the cache.
fn tree() -> Result<PathBuf> {
    tools::require("libvirt", &[Tool::program("dpkg-deb", "dpkg")])?;
    let place = debian::place(&format!("libvirt-{RELEASE}"))?;
    let _lock = lock::wait("libvirt")?;
    if place.exists() {
        return Ok(place);
    }
    let cannot = |error: anyhow::Error| {
        Missing::new(format!("libvirt is not in the cache, and cannot be had:\n{error:#}"))
    };
    let lists = Backports::of(RELEASE).map_err(cannot)?;
    let needed = lists.with_needed(&PACKAGES).map_err(cannot)?;
    // This machine has programs of its own, which do with newer libraries.
    let is_wanted = |name: &String| name.starts_with("lib");
    let mut packages: Vec<String> = needed.into_iter().filter(is_wanted).collect();
    packages.extend(ALONE.map(str::to_owned));
    let files = Scratch::new()?;
    lists.download_all(&packages, &files).map_err(cannot)?;
    let scratch = debian::scratch_beside(&place)?;
    let tree = scratch.join("tree");
    for file in fs::read_dir(&*files)? {
        command::run(Command::new("dpkg-deb").arg("--extract").arg(file?.path()).arg(&tree))?;
    }
    fs::rename(&tree, &place).with_context(|| path(&place).unwrap_or_default().to_owned())?;
    Ok(place)
}
