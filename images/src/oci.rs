//! A disk in a container image, as KubeVirt takes it from a registry (`containerDisk`).
//!
//! The image has one layer with one file, `disk/godwit.img`, which belongs to the user that
//! KubeVirt runs QEMU as. It is an OCI image layout in a tar file (OCI Image Format Specification
//! 1.1), as `skopeo copy oci-archive:FILE docker://…` and `podman load` read it. Nothing in it
//! tells the time, so that the same disk makes the same file.

use std::io::Write;

use anyhow::Result;
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// The user and group of QEMU in KubeVirt's containers (its user guide, "containerDisk").
const QEMU: u64 = 107;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The container image of a disk.
///
/// # Errors
/// The disk is too large for a tar file.
pub fn container_disk(disk: &[u8]) -> Result<Vec<u8>> {
    let mut layer = Builder::new(Vec::new());
    append(&mut layer, "disk/", EntryType::Directory, &[])?;
    append(&mut layer, "disk/godwit.img", EntryType::Regular, disk)?;
    let layer = layer.into_inner()?;
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(&layer)?;
    let packed = packed.finish()?;

    let config = serde_json::to_vec(&json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": [name(&layer)] },
    }))?;
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, &config),
        "layers": [descriptor(LAYER, &packed)],
    }))?;
    let index = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [descriptor(MANIFEST, &manifest)],
    }))?;

    let mut archive = Builder::new(Vec::new());
    let version = br#"{"imageLayoutVersion":"1.0.0"}"#;
    append(&mut archive, "oci-layout", EntryType::Regular, version)?;
    append(&mut archive, "index.json", EntryType::Regular, &index)?;
    for blob in [&config, &manifest, &packed] {
        let path = format!("blobs/{}", name(blob).replace(':', "/"));
        append(&mut archive, &path, EntryType::Regular, blob)?;
    }
    Ok(archive.into_inner()?)
}

/// What a blob is called: by what is in it.
fn name(blob: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(blob))
}

fn descriptor(kind: &str, blob: &[u8]) -> Value {
    json!({ "mediaType": kind, "digest": name(blob), "size": blob.len() })
}

fn append(to: &mut Builder<Vec<u8>>, path: &str, kind: EntryType, data: &[u8]) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(if kind == EntryType::Directory { 0o555 } else { 0o444 });
    header.set_uid(QEMU);
    header.set_gid(QEMU);
    header.set_mtime(0);
    header.set_size(data.len() as u64);
    Ok(to.append_data(&mut header, path, data)?)
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, io::Read};

    use flate2::read::GzDecoder;
    use tar::Archive;

    use super::*;

    fn files(tar: &[u8]) -> HashMap<String, Vec<u8>> {
        let mut archive = Archive::new(tar);
        let files = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut data = Vec::new();
            entry.read_to_end(&mut data).unwrap();
            assert_eq!(entry.header().uid().unwrap(), QEMU);
            (entry.path().unwrap().display().to_string(), data)
        });
        files.collect()
    }

    #[test]
    fn a_disk_is_found_by_way_of_index_manifest_and_layer() {
        let disk: Vec<u8> = (0..100_000_u32).map(|n| (n / 3) as u8).collect();
        let archive = container_disk(&disk).unwrap();
        assert!(container_disk(&disk).unwrap() == archive, "the same disk makes another file");
        let files_of = files(&archive);
        // Whatever is named is there, whole and of that size.
        let blob = |of: &Value| {
            let digest = of["digest"].as_str().unwrap();
            let data = &files_of[&format!("blobs/{}", digest.replace(':', "/"))];
            assert_eq!(name(data), digest);
            assert_eq!(of["size"].as_u64().unwrap(), data.len() as u64);
            data
        };
        let index: Value = serde_json::from_slice(&files_of["index.json"]).unwrap();
        let manifest: Value = serde_json::from_slice(blob(&index["manifests"][0])).unwrap();
        let config: Value = serde_json::from_slice(blob(&manifest["config"])).unwrap();
        let mut layer = Vec::new();
        let packed = blob(&manifest["layers"][0]);
        GzDecoder::new(&packed[..]).read_to_end(&mut layer).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], name(&layer));
        assert!(files(&layer)["disk/godwit.img"] == disk);
    }
}
