//! What is made for other people's systems, as their own definitions have it: KubeVirt's and
//! Proxmox's machines, a container image, a bill of materials.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use lab::system::{
    command, download,
    scratch::Scratch,
    tools::{self, Tool},
};
use serde_json::{Map, Value, json};

use crate::{
    migrations::path,
    program::xtask,
    suite::{MINUTES, Skipped, Suite},
};

const SKOPEO: Tool = Tool::program("skopeo", "skopeo");

/// KubeVirt's API as types, made of its OpenAPI description; Proxmox's, of its own description of
/// its API; and what checks whether a machine is of such a type.
const PACKAGES: [Package; 3] = [
    Package {
        name: "@kubevirt-ui-ext/kubevirt-api",
        version: "1.7.0",
        sha256: "f9ab3bf5247c266e92c4ed1afeb9bc8e34f1af48987c84951f6cf5e156efc418",
        folder: "kubevirt",
    },
    Package {
        name: "proxmox-api",
        version: "1.1.1",
        sha256: "2d52fbb7bf52ffc25e775c667fb15acef265d86b9407cd7936dc3664acf675c7",
        folder: "proxmox",
    },
    Package {
        name: "typescript",
        version: "5.9.3",
        sha256: "10e108c9cf7d5f2879053dff18515fb405abf2ccef63eaaf017d9c571687a1d3",
        folder: "typescript",
    },
];
/// CycloneDX's own library, with its schemas.
const CYCLONEDX: &str = include_str!("cyclonedx.txt");
/// What pip says of a package that is not the one of the list.
const NOT_THE_SAME: &str = "DO NOT MATCH THE HASHES";

/// A package of node's, and where it is unpacked.
struct Package {
    name: &'static str,
    version: &'static str,
    /// Of its archive.
    sha256: &'static str,
    folder: &'static str,
}

pub(crate) fn add(suite: &mut Suite) {
    suite.test("KubeVirt's and Proxmox's types have the machines made for them", MINUTES, machines);
    suite.test("CycloneDX's schema has the bill of an image", MINUTES, bill);
    suite.test("skopeo reads the image for KubeVirt", MINUTES, container);
}

/// Each wrong one is refused by the run of the compiler that takes the right ones.
fn machines(log: &Path) -> Result<String> {
    for program in ["node", "npm"] {
        if tools::find_program(program).is_none() {
            bail!(Skipped(format!("it lacks {program}")));
        }
    }
    let scratch = Scratch::new()?;
    for package in &PACKAGES {
        unpack(&scratch, package)?;
    }
    let said = |arguments: &[&str]| -> Result<String> {
        Ok(String::from_utf8(command::run(xtask()?.args(arguments))?.stdout)?)
    };
    let image = ["kubevirt-vm", "--image", "registry.example/godwit:1"];
    let pod = said(&image)?;
    let function = said(&[&image[..], &["--sriov", "fast"]].concat())?;
    let disk = ["proxmox-qm", "--disk", "/root/godwit.img"];
    let bridge = said(&disk)?;
    let nic = said(&[&disk[..], &["--nic", "0000:03:00.0"]].concat())?;

    // Name, type, and whether it is one.
    let mut cases: Vec<(String, &str, String, bool)> = Vec::new();
    for (name, machine) in [("pod", &pod), ("function", &function)] {
        cases.push((name.into(), "V1VirtualMachine", machine.clone(), true));
    }
    let wrong = [("\"bus\"", "\"buss\""), ("\"secureBoot\": false", "\"secureBoot\": \"no\"")];
    for (number, (right, wrong)) in wrong.into_iter().enumerate() {
        let machine = replaced(&pod, right, wrong)?;
        cases.push((format!("wrong_pod{number}"), "V1VirtualMachine", machine, false));
    }
    let network = replaced(&function, "\"multus\"", "\"multis\"")?;
    cases.push(("wrong_function".into(), "V1VirtualMachine", network, false));
    for (name, line) in [("bridge", &bridge), ("nic", &nic)] {
        cases.push((name.into(), "Qemu", options(line)?, true));
    }
    for (number, (right, wrong)) in
        [("--bios ovmf", "--bios uefi"), ("--efidisk0 ", "--efidisk9 ")].into_iter().enumerate()
    {
        let line = replaced(&bridge, right, wrong)?;
        cases.push((format!("wrong_bridge{number}"), "Qemu", options(&line)?, false));
    }
    for (name, kind, value, _) in &cases {
        fs::write(scratch.join(format!("{name}.ts")), source(kind, value))?;
    }
    let mut tsc = Command::new("node");
    tsc.arg(scratch.join("typescript/lib/tsc.js")).current_dir(&*scratch);
    tsc.args("--noEmit --strict --skipLibCheck --target es2022 --module nodenext".split(' '));
    tsc.args(cases.iter().map(|(name, ..)| format!("{name}.ts")));
    let said = String::from_utf8(tsc.output()?.stdout)?;
    fs::write(log, &said)?;
    for (name, kind, _, is_one) in &cases {
        let is_refused = said.lines().any(|line| line.starts_with(&format!("{name}.ts(")));
        ensure!(is_refused != *is_one, "{name}: {kind}, refused: {is_refused}\n{said}");
    }
    let properties = properties(&scratch, &[&bridge, &nic])?;
    Ok(format!("{} machines, {properties} properties", cases.len()))
}

/// A package of the registry of node's.
fn unpack(scratch: &Path, package: &Package) -> Result<()> {
    let Package { name, version, sha256, folder } = package;
    let mut npm = Command::new("npm");
    npm.args(["pack", "--silent", &format!("{name}@{version}")]).current_dir(scratch);
    let said = command::run(&mut npm)
        .map_err(|error| Skipped(format!("{name} cannot be fetched: {error:#}")))?;
    let archive = String::from_utf8(said.stdout)?;
    let archive = archive.lines().last().context("npm names no file")?;
    let digest = download::sha256(&scratch.join(archive))?;
    ensure!(digest == *sha256, "{name} {version} has the SHA-256 {digest}, and not {sha256}");
    fs::create_dir(scratch.join(folder))?;
    let mut tar = Command::new("tar");
    tar.args(["-xzf", archive, "--strip-components=1", "-C", folder]).current_dir(scratch);
    command::run(&mut tar)?;
    Ok(())
}

fn replaced(text: &str, right: &str, wrong: &str) -> Result<String> {
    ensure!(text.contains(right), "there is no {right} in {text}");
    Ok(text.replacen(right, wrong, 1))
}

/// A program that is right if the value is of the type.
fn source(kind: &str, value: &str) -> String {
    let import = match kind {
        "Qemu" => {
            "import type { Proxmox } from './proxmox/esm/model.js';\n\
             type Qemu = Parameters<ReturnType<Proxmox.Api['nodes']['$']>['qemu']['$post']>[0];"
        }
        _ => "import type { V1VirtualMachine } from './kubevirt/dist/kubevirt/index.js';",
    };
    format!("{import}\nexport const machine: {kind} = {value};\n")
}

/// The options of a `qm create`, with their values.
fn words(line: &str) -> Result<Vec<(String, String)>> {
    let line = line.replace("\\\n", " ");
    let words: Vec<&str> = line.split_whitespace().collect();
    let options = words.strip_prefix(&["qm", "create"]).context("no qm create")?;
    let (number, options) = options.split_first().context("no number")?;
    let mut pairs = vec![("vmid".to_owned(), (*number).to_owned())];
    for pair in options.chunks(2) {
        let name = pair[0].strip_prefix("--").with_context(|| pair[0].to_owned())?;
        pairs.push((name.into(), (*pair.get(1).context("no value")?).into()));
    }
    Ok(pairs)
}

/// The same as the API takes them, where memory is a text and other numbers are numbers.
fn options(line: &str) -> Result<String> {
    let pairs = words(line)?.into_iter().map(|(name, value)| {
        let number = value.parse::<u64>().ok().filter(|_| name != "memory");
        let value = number.map_or(Value::from(value), Value::from);
        (name, value)
    });
    Ok(Value::Object(pairs.collect::<Map<_, _>>()).to_string())
}

/// Proxmox describes what is within an option as a schema, which stands in a comment above the
/// option's type: each property has to be in it, with one of its values. How many there were.
fn properties(scratch: &Path, lines: &[&str]) -> Result<usize> {
    let model = fs::read_to_string(scratch.join("proxmox/src/model.ts"))?;
    let schema = |option: &str| -> Result<Value> {
        let kind = format!("export type T{option} = ");
        let at = model.find(&kind).with_context(|| format!("no {kind}"))?;
        let format = model[..at].rfind("@format {").context("no format")?;
        let text = model[format..at].trim_start_matches("@format ").lines().next();
        Ok(serde_json::from_str(text.unwrap_or_default())?)
    };
    let has = |schema: &Value, property: &str| -> bool {
        let (name, value) = property.split_once('=').unwrap_or(("", property));
        let is_default = |(_, of): &(&String, &Value)| of["default_key"] == 1;
        let of = match name {
            "" => schema.as_object().and_then(|all| Some(all.iter().find(is_default)?.1)),
            name => schema.get(name),
        };
        of.is_some_and(|of| {
            of["enum"].as_array().is_none_or(|all| all.iter().any(|one| one == value))
        })
    };
    let mut count = 0;
    for line in lines {
        for (name, value) in words(line)? {
            let option = match name.as_str() {
                "efidisk0" => "efidisk0",
                "virtio0" => "virtio",
                "net0" => "net",
                _ => continue,
            };
            let schema = schema(option)?;
            for property in value.split(',') {
                // `virtio,bridge=…` is short for `model=virtio`.
                ensure!(has(&schema, property), "Proxmox knows no {property} in --{name}");
                count += 1;
            }
            ensure!(!has(&schema, "efitipe=4m"), "anything is a property of --{name}");
        }
    }
    ensure!(count > 5, "only {count} properties");
    Ok(count)
}

fn bill(log: &Path) -> Result<String> {
    let scratch = Scratch::new()?;
    let python = scratch.join("python");
    let mut pip = Command::new(tools::PYTHON);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]);
    let list = scratch.join("cyclonedx.txt");
    fs::write(&list, CYCLONEDX)?;
    pip.arg(&python).args(["--require-hashes", "--requirement"]).arg(&list);
    if let Err(error) = command::run(&mut pip) {
        let error = format!("CycloneDX's library cannot be fetched: {error:#}");
        ensure!(!error.contains(NOT_THE_SAME), "{error}");
        return Err(Skipped(error).into());
    }
    let bill = |format: &str| -> Result<Value> {
        let file = scratch.join("bill.json");
        let mut image = xtask()?;
        image.args(["image", "--format", format, "--out", path(&scratch.join("image"))?]);
        command::run(image.arg("--sbom").arg(&file))?;
        Ok(serde_json::from_slice(&fs::read(&file)?)?)
    };
    let of_disk = bill("disk")?;
    let is_valid = |bill: &Value| -> Result<bool> {
        let file = scratch.join("checked.json");
        fs::write(&file, bill.to_string())?;
        let mut check = Command::new(tools::PYTHON);
        check.env("PYTHONPATH", &python).args(["-c", CHECK]).arg(&file);
        let output = check.output()?;
        fs::write(log, [output.stdout, output.stderr].concat())?;
        match output.status.code() {
            Some(0) => Ok(true),
            Some(9) => Ok(false),
            _ => bail!("the check broke: {}", fs::read_to_string(log)?),
        }
    };
    ensure!(is_valid(&of_disk)?, "{}", fs::read_to_string(log)?);
    for (place, wrong) in [
        ("/components/0/type", json!("crate")),
        ("/components/0/hashes/0/alg", json!("SHA-255")),
        ("/specVersion", json!(1.5)),
    ] {
        let mut other = of_disk.clone();
        *other.pointer_mut(place).with_context(|| place.to_owned())? = wrong;
        ensure!(!is_valid(&other)?, "another {place} is said to be valid: the test cannot fail");
    }
    let names = |bill: &Value| -> Vec<String> {
        let all = bill["components"].as_array().into_iter().flatten();
        all.filter_map(|one| Some(one["name"].as_str()?.to_owned())).collect()
    };
    let (disk, elf) = (names(&of_disk), names(&bill("elf")?));
    for name in ["godwit", "unikernel", "smoltcp", "rust"] {
        ensure!(elf.iter().any(|one| one == name), "{name} is not in {elf:?}");
    }
    // What firmware starts is in what boots by firmware, and nothing that only tests or builds.
    let has = |all: &[String], name: &str| all.iter().any(|one| one == name);
    ensure!(has(&disk, "uefi") && !has(&elf, "uefi"), "the loader: {disk:?}");
    for name in ["syn", "proptest", "clap", "lab"] {
        ensure!(!has(&disk, name), "{name} is no part of an image");
    }
    Ok(format!("{} crates in the ELF file, {} on a disk", elf.len() - 1, disk.len() - 1))
}

/// Ends with 9 if the schema refuses it.
const CHECK: &str = "
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
error = JsonStrictValidator(SchemaVersion.V1_5).validate_str(open(sys.argv[1]).read())
print(error)
sys.exit(9 if error else 0)
";

fn container(log: &Path) -> Result<String> {
    tools::require("this test", &[SKOPEO])?;
    let scratch = Scratch::new()?;
    let (archive, copy) = (scratch.join("godwit.tar"), scratch.join("copy"));
    let image = ["image", "--format", "oci", "--append", "log=debug", "--out", path(&archive)?];
    command::run(xtask()?.args(image))?;
    let from = |archive: &Path| format!("oci-archive:{}", archive.display());
    let skopeo = |archive: &Path, to: &Path| {
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["copy", "--quiet", "--insecure-policy", &from(archive)]);
        let output = skopeo.arg(format!("dir:{}", to.display())).output()?;
        fs::write(log, [output.stdout, output.stderr].concat())?;
        Ok::<_, anyhow::Error>(output.status.success())
    };
    ensure!(skopeo(&archive, &copy)?, "{}", fs::read_to_string(log)?);
    // A copy by digests: with one byte of the layer wrong there is none.
    let damaged: PathBuf = scratch.join("damaged.tar");
    let mut bytes = fs::read(&archive)?;
    let middle = bytes.len() * 3 / 4;
    bytes[middle] ^= 1;
    fs::write(&damaged, bytes)?;
    ensure!(!skopeo(&damaged, &scratch.join("none"))?, "a damaged image is copied");
    let files = fs::read_dir(&copy)?.count();
    Ok(format!("{files} files"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_qm_becomes_what_the_api_takes() {
        let line = "qm create 7 --memory 256 --cores 1 \\\n    --net0 virtio,bridge=vmbr0\n";
        let options: Value = serde_json::from_str(&options(line).unwrap()).unwrap();
        let net = "virtio,bridge=vmbr0";
        assert_eq!(options, json!({ "vmid": 7, "memory": "256", "cores": 1, "net0": net }));
        assert!(words("qm create 7 --memory").is_err());
    }
}
