//! The bootable image: `cargo build --release -p net-app --target x86_64-unknown-none`.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

#[cfg(target_os = "none")]
mod boot;

/// The image is a guest's kernel; on a host there is only this to say.
#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!(
        "net-app boots as a virtual machine: `cargo xtask run`, or build it with \
         `--target x86_64-unknown-none` and give the result to QEMU's `-kernel`"
    );
    std::process::exit(2);
}
