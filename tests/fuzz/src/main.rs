//! libFuzzer, on the target that `GODWIT_FUZZ` names; without it, what there is to begin with is
//! written to the directory `GODWIT_FUZZ_INPUTS`, a folder for each target.
#![no_main]

use std::path::Path;
use std::process::exit;
use std::sync::LazyLock;
use std::{env, fs, io};

use fuzz::{TARGETS, Target};

static TARGET: LazyLock<Option<Target>> = LazyLock::new(|| {
    let name = env::var("GODWIT_FUZZ").ok()?;
    Some(Target::named(&name).unwrap_or_else(|| panic!("there is no target {name:?}")))
});

libfuzzer_sys::fuzz_target!(
    init: {
        if TARGET.is_none() {
            let place = env::var_os("GODWIT_FUZZ_INPUTS").expect("a target, or a directory");
            write_inputs(Path::new(&place)).expect("a directory to write to");
            exit(0);
        }
    },
    |input: &[u8]| (TARGET.expect("it was checked").read)(input)
);

fn write_inputs(place: &Path) -> io::Result<()> {
    for target in TARGETS {
        let folder = place.join(target.name);
        fs::create_dir_all(&folder)?;
        for (number, input) in target.inputs()?.iter().enumerate() {
            fs::write(folder.join(number.to_string()), input)?;
        }
    }
    Ok(())
}
