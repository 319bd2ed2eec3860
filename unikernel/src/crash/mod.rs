//! How the machine ends when something is wrong: with words on the console.

mod exception;
mod nmi;
mod panic;

pub(crate) use exception::on_exception;
