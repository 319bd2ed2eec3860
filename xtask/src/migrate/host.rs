//! What `--lab host` is given of this machine, and what has to be there first.

use anyhow::{Result, bail, ensure};
use lab::{
    choices::{GuestKind, LabKind, Strategy, TrafficKind},
    guest::MigrationNic,
    hardware::Hardware,
    host::Machines,
    parts::NicModel,
    rehearsal::parts,
};

use crate::{cli::Migrate, doctor};

/// What a command line gives to the machines, if it is one of `--lab host`.
///
/// # Errors
/// It does not go together.
pub(super) fn machines(options: &Migrate) -> Result<Option<Machines>> {
    let nics = match (&options.nic, options.lab) {
        (MigrationNic::Functions(nics), LabKind::Host) => nics.clone(),
        (MigrationNic::Functions(_), _) => {
            bail!("`--nic vfio:SOURCE,DESTINATION` goes with `--lab host`")
        }
        (MigrationNic::Model(_), LabKind::Host) => bail!(
            "`--lab host` needs `--nic vfio:SOURCE,DESTINATION`, two NICs of this machine; `cargo \
             xtask doctor` lists them"
        ),
        (MigrationNic::Model(_), _) => {
            ensure!(options.source.is_none(), "`--source` goes with `--lab host`");
            ensure!(options.take.is_empty(), "`--take` goes with `--lab host`");
            check_destination(options)?;
            return Ok(None);
        }
    };
    let Some(source) = options.source.clone() else {
        bail!(
            "`--lab host` needs `--source INTERFACE`: traffic comes by an interface of this \
             machine that has a wire to both NICs"
        )
    };
    ensure!(
        options.traffic == TrafficKind::Udp,
        "`--lab host` goes with `--traffic udp`: what else there is joins segments on its way in, \
         and the wire takes frames"
    );
    ensure!(
        !options.standby && !options.compare && options.strategy != Strategy::Failover,
        "`--lab host` goes without a standby, and so without `--standby`, `--compare` and \
         `--strategy failover`"
    );
    ensure!(options.nics == 1, "`--lab host` goes with one NIC for each machine");
    for taken in &options.take {
        ensure!(
            nics.contains(taken) || *taken == source,
            "`--take {taken}` goes with a NIC that `--nic` names as well, or an interface that \
             `--source` does"
        );
    }
    Ok(Some(Machines {
        nics,
        taken: options.take.clone(),
        source,
        destination: options.destination.clone(),
    }))
}

/// Whether the second machine of a lab that has no NICs can be elsewhere.
fn check_destination(options: &Migrate) -> Result<()> {
    if options.destination.is_none() {
        return Ok(());
    }
    ensure!(
        options.lab == LabKind::Local,
        "`--destination` goes with `--lab host` and `--lab local`"
    );
    ensure!(
        options.nic == MigrationNic::Model(NicModel::E1000e),
        "`--lab local --destination` goes with `--nic e1000e`: others are processes of this machine"
    );
    ensure!(
        !options.standby && !options.compare && options.strategy != Strategy::Failover,
        "`--destination` goes without a standby, and so without `--standby`, `--compare` and \
         `--strategy failover`"
    );
    ensure!(
        options.guest == GuestKind::Godwit,
        "`--destination` goes without `--guest linux`: only one file is copied there as the guest"
    );
    Ok(())
}

/// Whether guests can run here, by what `doctor` looks at. QEMU is fetched or built if need be,
/// once nothing else is in the way.
///
/// # Errors
/// What is missing, each with the command that helps; or QEMU cannot be had.
pub(super) fn require(options: &Migrate, machines: &Machines) -> Result<()> {
    refuse(&doctor::missing_of_machine())?;
    machines.check(&Hardware::here())?;
    let qemu = parts::host_qemu(options.qemu, machines)?;
    refuse(&doctor::missing_of_qemu(&qemu, options.image.as_deref(), options.qemu))
}

fn refuse(missing: &[String]) -> Result<()> {
    ensure!(
        missing.is_empty(),
        "this machine cannot run the two machines yet (`cargo xtask doctor` has all of it):\n{}",
        missing.join("\n")
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn what_cannot_go_to_another_machine_is_refused() {
        let refused = |more: &str| {
            let line = "xtask migrate --destination ssh:root@other ".to_owned() + more;
            let Command::Migrate(options) = Cli::parse_from(line.split_whitespace()).command else {
                panic!()
            };
            machines(&options).err().map(|error| error.to_string())
        };
        let local = "--lab local --nic e1000e";
        assert_eq!(refused(local), None);
        for (more, why) in [
            ("", "and `--lab local`"),
            ("--lab local --nic ixgbe", "with `--nic e1000e`"),
            (&format!("{local} --standby"), "without a standby"),
            (&format!("{local} --strategy failover"), "without a standby"),
            (&format!("{local} --compare"), "without a standby"),
            (&format!("{local} --guest linux --strategy cold"), "without `--guest linux`"),
        ] {
            let error = refused(more).unwrap_or_default();
            assert!(error.contains(why), "{more}: {error}");
        }
    }
}
