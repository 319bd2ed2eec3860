//! What `--help` ends with: command lines to begin with. A test has each parsed.

pub(crate) const DEMO: &str = "Examples:
  cargo xtask demo                                 from nothing to a report
  cargo xtask demo --nic igb --seconds 5           with another NIC, and less of it
  cargo xtask demo --clock virtual --json a.json   figures of a quiet machine";

pub(crate) const TEST: &str = "Examples:
  cargo xtask test                 all of it
  cargo xtask test --quick         without the nested lab
  cargo xtask test 'local lab'     those with this in their name
  cargo xtask test --list          their names";

pub(crate) const RUN: &str = "Examples:
  cargo xtask run --forward 5201:5201 --forward 8080:80   then: iperf3 -c 127.0.0.1
  cargo xtask run --nic virtio --append 'log=debug'
  cargo xtask run --app examples/http --forward 8080:80 --timeout 60";

pub(crate) const MIGRATE: &str = "Examples:
  cargo xtask migrate --lab local --nic e1000e --seconds 2    two QEMUs here, half a minute
  cargo xtask migrate --marking never                         see what is lost then
  cargo xtask migrate --standby --compare                     warm, failover and cold in one page
  cargo xtask migrate --compare --guest linux                 beside what Linux does
  cargo xtask migrate --standby --times 10 --rate 60          to and fro
  cargo xtask migrate --cancel-at warmup,quiesce              give up, then migrate
  cargo xtask migrate --traffic client --port 80 --client 'curl -f http://{host}:{port}/'
  cargo xtask migrate --lab host --nic vfio:03:00.0,04:00.0 --source eth2   two NICs of this machine
  cargo xtask migrate --pcap migration.pcapng --verbose       every frame, every command line";

pub(crate) const SOAK: &str = "Examples:
  cargo xtask soak                                       each event once, in the nested lab
  cargo xtask soak --migrations 100 --seed 7             a hundred, and the same ones again
  cargo xtask soak --lab local --nic ixgbe               with memory compared from outside
  cargo xtask soak --marking never                       see that it can fail";

pub(crate) const COMPARE: &str = "Examples:
  cargo xtask compare before.json report/result.json
  cargo xtask compare before.json report/result.json --page both.html";

pub(crate) const IMAGE: &str = "Examples:
  cargo xtask image                                             a PVH ELF, for -kernel
  cargo xtask image --format disk --append 'ip=dhcp' --out g.img
  cargo xtask image --format iso
  cargo xtask image --format oci --out godwit.tar               then: skopeo copy oci-archive:…
  cargo xtask image --app examples/http --sbom http.cdx.json";

pub(crate) const KUBEVIRT_VM: &str = "Examples:
  cargo xtask kubevirt-vm --image registry.example/godwit:1 | kubectl apply -f -
  cargo xtask kubevirt-vm --image registry.example/godwit:1 --sriov fast";

pub(crate) const PROXMOX_QM: &str = "Examples:
  cargo xtask proxmox-qm --disk /root/godwit.img
  cargo xtask proxmox-qm --disk /root/godwit.img --nic 0000:03:00.0 --vmid 120";

pub(crate) const BENCH: &str = "Examples:
  cargo xtask bench dma
  cargo xtask bench instructions --nic igb --json counts.json";

pub(crate) const FUZZ: &str = "Examples:
  cargo xtask fuzz                         each reader for a minute
  cargo xtask fuzz dns dhcp --seconds 600  these two for ten";

/// All of them.
#[cfg(test)]
pub(crate) const ALL: [&str; 11] =
    [DEMO, TEST, RUN, MIGRATE, SOAK, COMPARE, IMAGE, BENCH, KUBEVIRT_VM, PROXMOX_QM, FUZZ];
