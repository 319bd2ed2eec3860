//! Part of build scripts: links what boots with the PVH linker script; host builds need nothing.

use std::env;
use std::path::Path;

/// Links the package's targets of `kind`, as in `cargo:rustc-link-arg-KIND`.
pub(crate) fn bootable(kind: &str) {
    let images = Path::new("../images");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={}", images.join("link.rs").display());
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let script = images.join("pvh.ld").canonicalize().expect("images/pvh.ld beside the package");
    println!("cargo:rerun-if-changed={}", script.display());
    println!("cargo:rustc-link-arg-{kind}=-T{}", script.display());
    // The image runs where it is linked: nothing relocates it.
    println!("cargo:rustc-link-arg-{kind}=--no-pie");
    println!("cargo:rustc-link-arg-{kind}=-zmax-page-size=4096");
}
