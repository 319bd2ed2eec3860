//! What several commands take alike.

use std::path::{Path, PathBuf};

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use lab::{addresses::INTERFACES, build::application::Application, parts::NicModel};

/// What the lab's virtual host is made of; common to everything that starts the lab.
#[derive(Debug, Clone, Args)]
pub(crate) struct Host {
    /// Kernel of the lab's virtual host: a linux-image .deb, a directory unpacked from one, or a
    /// vmlinuz with its modules beside it [default: the distribution's newest 6.12]
    #[arg(long, value_name = "PATH")]
    pub(crate) host_kernel: Option<PathBuf>,
}

impl Host {
    /// The kernel that was given.
    pub(crate) fn kernel(&self) -> Option<&Path> {
        self.host_kernel.as_deref()
    }
}

/// The application, of this repository or not; common to everything that boots one.
#[derive(Debug, Clone, Args)]
pub(crate) struct App {
    /// Folder of the application [default: the one in the current directory, else net-app]
    #[arg(long, value_name = "PATH")]
    app: Option<PathBuf>,
}

impl App {
    /// The application that was named, or is the default here.
    pub(crate) fn find(&self) -> anyhow::Result<Application> {
        Application::find(self.app.as_deref())
    }
}

pub(super) fn at_least_one() -> impl TypedValueParser<Value = u32> {
    clap::value_parser!(u32).range(1..)
}

/// As many as the lab has addresses for.
pub(super) fn nics() -> impl TypedValueParser<Value = u8> {
    clap::value_parser!(u8).range(1..=INTERFACES as i64)
}

/// The models that a lab can pass through; which lab has which is told when one is asked for.
pub(super) fn lab_nic() -> impl TypedValueParser<Value = NicModel> {
    let named = |name: String| {
        NicModel::OF_LABS.into_iter().find(|model| model.name() == name).ok_or("no such model")
    };
    PossibleValuesParser::new(NicModel::OF_LABS.map(NicModel::name)).try_map(named)
}
