//! Links the bootable example like any image; host builds need nothing.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let manifest = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let script = Path::new(&manifest).with_file_name("images").join("pvh.ld");
    println!("cargo:rerun-if-changed={}", script.display());
    println!("cargo:rustc-link-arg-examples=-T{}", script.display());
    println!("cargo:rustc-link-arg-examples=--no-pie");
    println!("cargo:rustc-link-arg-examples=-zmax-page-size=4096");
}
