//! `cargo xtask compare`.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use lab::{
    report,
    result::{Migration, SCHEMA_VERSION},
};

use crate::{
    cli::Compare,
    ending::{Ending, Usage},
};

pub(crate) fn main(options: &Compare) -> Result<Ending> {
    let [first, second] = [&options.first, &options.second].map(|path| read(path));
    let runs = [&first.map_err(Usage::wrap)?, &second.map_err(Usage::wrap)?];
    let [first, second] = [&options.first, &options.second].map(|path| path.display().to_string());
    let names = [first.as_str(), second.as_str()];
    print!("{}", report::side_by_side(names, runs));
    if let Some(page) = &options.page {
        fs::write(page, report::page_of_two(names, runs)?)
            .with_context(|| format!("cannot write {}", page.display()))?;
        println!("\n{}", page.display());
    }
    Ok(Ending::AsAsked)
}

/// A result of `demo` or `migrate`.
fn read(path: &Path) -> Result<Migration> {
    let name = || path.display().to_string();
    let text = fs::read_to_string(path).with_context(name)?;
    let value: serde_json::Value = serde_json::from_str(&text)
        .with_context(|| format!("{} is no result of `demo` or `migrate`", name()))?;
    if let Some(error) = value.get("error").filter(|_| value.get("outcome").is_none()) {
        anyhow::bail!("{} has no result: {error}", name());
    }
    let version = value["schema_version"].as_u64().unwrap_or(1);
    ensure!(
        version <= SCHEMA_VERSION.into(),
        "{} is of a later version of this tool (schema_version {version})",
        name()
    );
    serde_json::from_value(value)
        .with_context(|| format!("{} is no result of `demo` or `migrate`", name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_result_is_said() {
        let directory = lab::system::scratch::Scratch::new().unwrap();
        let path = directory.join("a.json");
        let said = |content: &str| {
            fs::write(&path, content).unwrap();
            format!("{:#}", read(&path).unwrap_err())
        };
        assert!(said("{").contains("no result"));
        assert!(said("{}").contains("no result"));
        assert!(said(r#"{"schema_version": 99}"#).contains("later version"));
        assert!(said(r#"{"error": "no route", "exit_status": 1}"#).contains("no route"));
        assert!(format!("{:#}", read(Path::new("/nonexistent")).unwrap_err()).contains("exist"));
    }
}
