//! `cargo xtask libvirt-xml`: a libvirt domain whose NIC stays until just before switchover.
//!
//! To libvirt it is an ordinary teaming pair, which it lets migrate. What it has no words for is
//! the port's capability (`qemu:override`, libvirt 8.2 and later) and native hot-plug
//! (`qemu:commandline`). The machines of the lab are started as libvirt starts these: see
//! [`lab::migration::Profile`].

use std::{fs, path::Path};

use anyhow::{Context, Result};
use lab::{
    build::{application, qemu},
    migration::{NICS, PORTS, STANDBY},
    parts::Qemu,
};
use minijinja::Environment;
use serde::Serialize;

use crate::{cli::LibvirtXml, ending::Ending};

pub(crate) fn main(options: &LibvirtXml) -> Result<Ending> {
    let mac = match &options.mac {
        Some(mac) => mac.clone(),
        None => mac_of(&options.nic)?,
    };
    let kernel = match &options.image {
        Some(image) => fs::canonicalize(image).with_context(|| image.display().to_string())?,
        None => application::ours()?,
    };
    println!("{}", domain(options, &mac, &kernel, &qemu::get()?)?);
    Ok(Ending::AsAsked)
}

#[derive(Serialize)]
struct Domain<'a> {
    name: &'a str,
    memory_mib: u32,
    kernel: &'a Path,
    append: &'a str,
    emulator: &'a Path,
    firmware: &'a [std::path::PathBuf],
    bridge: &'a str,
    mac: &'a str,
    host: Host<'a>,
    port: &'a str,
    nic: &'a str,
    standby: &'a str,
}

/// A PCI address in the parts that libvirt wants.
#[derive(Serialize)]
struct Host<'a> {
    domain: &'a str,
    bus: &'a str,
    slot: &'a str,
    function: &'a str,
}

fn domain(options: &LibvirtXml, mac: &str, kernel: &Path, qemu: &Qemu) -> Result<String> {
    let bdf = options.nic.as_str();
    let mut environment = Environment::new();
    // The name's end has minijinja escape what it puts in.
    environment.add_template("domain.xml", include_str!("domain.xml"))?;
    let xml = environment.get_template("domain.xml")?.render(minijinja::value::Serde(Domain {
        name: &options.name,
        memory_mib: options.mem,
        kernel,
        append: &options.append,
        emulator: &qemu.binary,
        firmware: &qemu.data,
        bridge: &options.bridge,
        mac,
        // DDDD:BB:DD.F, as the command line has checked.
        host: Host { domain: &bdf[..4], bus: &bdf[5..7], slot: &bdf[8..10], function: &bdf[11..] },
        port: PORTS[0],
        nic: NICS[0],
        standby: STANDBY,
    }))?;
    // minijinja escapes slashes too, which XML has no need of and a person reads paths by.
    Ok(xml.replace("&#x2f;", "/"))
}

/// The address of a NIC that this machine still has a driver on. A pair has one address.
fn mac_of(nic: &str) -> Result<String> {
    let interfaces = format!("/sys/bus/pci/devices/{nic}/net");
    let read = || -> Option<String> {
        let interface = fs::read_dir(&interfaces).ok()?.next()?.ok()?;
        Some(fs::read_to_string(interface.path().join("address")).ok()?.trim().to_owned())
    };
    read().with_context(|| {
        format!(
            "the MAC address of {nic} is not known here ({interfaces} is empty or missing): \
            give it with --mac"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> LibvirtXml {
        LibvirtXml {
            nic: "0000:03:00.1".into(),
            bridge: "br0".into(),
            mac: None,
            mem: 256,
            name: "a <b> & 'c'".into(),
            append: "ip=dhcp".into(),
            image: None,
        }
    }

    #[test]
    fn the_pair_names_each_other_and_nothing_breaks_out_of_its_place() {
        let qemu = Qemu { binary: "/q/bin/qemu".into(), data: vec!["/q/share".into()] };
        let xml = domain(&options(), "52:54:00:67:6f:01", Path::new("/k"), &qemu).unwrap();
        assert!(xml.contains("<name>a &lt;b&gt; &amp; &#x27;c&#x27;</name>"), "{xml}");
        for part in [
            "<model type='virtio'/>\n      <teaming type='persistent'/>\n      <alias \
            name='ua-standby0'/>",
            "<teaming type='transient' persistent='ua-standby0'/>",
            "<address domain='0x0000' bus='0x03' slot='0x00' function='0x1'/>",
            "<qemu:device alias='ua-port0'>",
            "<qemu:arg value='/q/share'/>",
            "<qemu:arg value='pvpanic-pci,",
        ] {
            assert!(xml.contains(part), "{part}: {xml}");
        }
        // libvirt lets a user name only what starts like this.
        assert!([PORTS[0], NICS[0], STANDBY].iter().all(|id| id.starts_with("ua-")));
    }

    #[test]
    fn a_nic_that_is_not_here_needs_its_address_given() {
        let error = mac_of("ffff:ff:1f.7").unwrap_err().to_string();
        assert!(error.contains("--mac"), "{error}");
    }
}
