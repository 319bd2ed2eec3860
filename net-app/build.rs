//! Links the bootable image.

#[path = "../images/link.rs"]
mod link;

fn main() {
    link::bootable("bins");
}
