//! Links the bootable example.

#[path = "../images/link.rs"]
mod link;

fn main() {
    link::bootable("examples");
}
