//! The report as a browser shows it: on a phone and on a screen, light and dark.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use lab::system::{
    command,
    scratch::Scratch,
    tools::{self, Tool},
};
use serde::Deserialize;

use crate::{
    program::{logged, xtask},
    suite::{MINUTES, Suite},
};

const BROWSER: Tool = Tool::program("chromium", "chromium");
/// Pixels across: of a phone, and of a screen.
const WIDTHS: [u32; 2] = [360, 1280];
/// Of text to what is behind it (WCAG 2, level AA).
const CONTRAST: f64 = 4.5;
/// Looks at a page that is in a frame of this one, of the width wanted.
const PROBE: &str = include_str!("browser.html");

pub(crate) fn add(suite: &mut Suite) {
    suite.test("the report in a browser, on a phone, light and dark", MINUTES, |log| {
        tools::require("looking at the report", &[BROWSER])?;
        let report = log.with_extension("report");
        let mut migrate = xtask()?;
        migrate.args(["migrate", "--lab", "local", "--nic", "e1000e", "--seconds", "2"]);
        migrate.arg("--report").arg(&report);
        let status = logged(&mut migrate, log, "Migrating", |_| String::new())?;
        ensure!(status.success(), "the migration ended with {status}");
        let result = report.join("result.json");
        let both = report.join("both.html");
        let mut compare = xtask()?;
        command::run(compare.arg("compare").args([&result, &result]).arg("--page").arg(&both))?;
        let mut looked_at = 0;
        for page in [report.join("index.html"), both] {
            for (width, is_dark) in WIDTHS.into_iter().flat_map(|w| [(w, false), (w, true)]) {
                let scene = format!("{} at {width} px, dark: {is_dark}", page.display());
                looked_at += check(&look(&page, width, is_dark)?).context(scene)?;
            }
        }
        Ok(format!("{looked_at} texts"))
    });
}

/// What the probe says.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Seen {
    width: u32,
    scroll_width: u32,
    is_dark: bool,
    texts: Vec<Text>,
    #[serde(skip)]
    console: String,
}

#[derive(Deserialize)]
struct Text {
    said: String,
    contrast: f64,
    /// Of its letters, in pixels.
    size: f64,
}

/// Returns how many texts there were.
fn check(seen: &Seen) -> Result<usize> {
    ensure!(seen.console.is_empty(), "the browser complains: {}", seen.console);
    ensure!(
        seen.scroll_width <= seen.width,
        "the page is {} px wide, in a window of {}",
        seen.scroll_width,
        seen.width
    );
    for Text { said, contrast, size } in &seen.texts {
        ensure!(*contrast >= CONTRAST, "{said:?} has a contrast of {contrast:.1} only");
        ensure!(*size >= 8.0, "{said:?} has letters of {size:.1} px");
    }
    ensure!(seen.texts.len() > 50, "there are {} texts only", seen.texts.len());
    Ok(seen.texts.len())
}

fn look(page: &Path, width: u32, is_dark: bool) -> Result<Seen> {
    let directory = Scratch::new()?;
    let probe = directory.join("probe.html");
    let content = serde_json::to_string(&fs::read_to_string(page)?)?.replace("</", "<\\/");
    fs::write(&probe, PROBE.replace("PAGE", &content).replace("WIDTH", &width.to_string()))?;
    let browser = tools::find_program("chromium").context("chromium")?;
    let mut chromium = Command::new(browser);
    let profile: PathBuf = directory.join("profile");
    chromium
        // Without a sandbox it runs as root as well; the page is ours.
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("--blink-settings=preferredColorScheme={}", u8::from(!is_dark)))
        .args(["--window-size=1400,1000", "--virtual-time-budget=5000", "--dump-dom"])
        .arg(format!("file://{}", probe.display()));
    let output = command::run(&mut chromium)?;
    let dom = String::from_utf8_lossy(&output.stdout);
    let said = dom.split_once("<pre id=\"seen\">").and_then(|(_, rest)| rest.split_once("</pre>"));
    let (said, _) = said.with_context(|| format!("the probe did not answer: {dom:.300}"))?;
    let said = said.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    let mut seen: Seen = serde_json::from_str(&said).with_context(|| said.clone())?;
    ensure!(seen.is_dark == is_dark, "the browser takes dark for {}", seen.is_dark);
    let words = String::from_utf8_lossy(&output.stderr);
    let complaints = words.lines().filter(|line| line.contains("CONSOLE"));
    seen.console = complaints.collect::<Vec<_>>().join("\n");
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_can_be_found_wrong() {
        let good = || Seen {
            width: 360,
            scroll_width: 360,
            is_dark: false,
            texts: (0..60)
                .map(|n| Text { said: n.to_string(), contrast: 7.0, size: 12.0 })
                .collect(),
            console: String::new(),
        };
        assert_eq!(check(&good()).unwrap(), 60);
        let wrong = |change: fn(&mut Seen)| {
            let mut seen = good();
            change(&mut seen);
            check(&seen).unwrap_err().to_string()
        };
        assert!(wrong(|seen| seen.scroll_width = 400).contains("400 px wide"));
        assert!(wrong(|seen| seen.texts[3].contrast = 3.9).contains("contrast of 3.9"));
        assert!(wrong(|seen| seen.texts[3].size = 4.0).contains("letters"));
        assert!(wrong(|seen| seen.console = "an error".into()).contains("complains"));
        assert!(wrong(|seen| seen.texts.truncate(3)).contains("3 texts"));
    }
}
