//! PID 1 of the lab's virtual host.
fn main() {}
