//! What came out, for CI systems: JUnit's XML.

use std::{
    fs,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::restarts;
use anyhow::{Context, Result};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

/// The tests that were run so far, in their order.
static TESTS: Mutex<Vec<TestCase>> = Mutex::new(Vec::new());

/// How a test came out.
pub(crate) enum Outcome<'a> {
    Passed(&'a str),
    Skipped(&'a str),
    Failed(&'a str),
}

/// Notes a test that was run.
pub(crate) fn note(name: &str, length: Duration, outcome: &Outcome<'_>) {
    let status = match outcome {
        Outcome::Passed(_) => TestCaseStatus::success(),
        Outcome::Skipped(why) => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(*why);
            status
        }
        Outcome::Failed(why) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(*why);
            status
        }
    };
    let mut test = TestCase::new(name, status);
    test.set_classname("godwit").set_time(length);
    if let Outcome::Passed(remark) = outcome {
        test.set_system_out(*remark);
    }
    TESTS.lock().unwrap_or_else(PoisonError::into_inner).push(test);
}

/// Writes them all.
pub(crate) fn write(path: &Path) -> Result<()> {
    let tests = TESTS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut suite = TestSuite::new("end-to-end");
    suite.add_property(("lab_restarts", restarts::count().to_string().as_str()));
    suite.add_test_cases(tests.iter().cloned());
    let mut report = Report::new("godwit");
    report.add_test_suite(suite);
    fs::write(path, report.to_string()?).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_test_is_a_case_with_its_outcome() {
        let second = Duration::from_secs(1);
        note("a", second, &Outcome::Passed("0 of 2048 stale"));
        note("b", second, &Outcome::Skipped("no <tun>"));
        note("c", second, &Outcome::Failed("3 stale"));
        let path = tempfile::NamedTempFile::new().unwrap();
        write(path.path()).unwrap();
        let text = fs::read_to_string(path.path()).unwrap();
        let report = Report::deserialize_from_str(&text).unwrap();
        let suite = &report.test_suites[0];
        // Other tests' are there as well.
        let ours = suite.test_cases.iter().filter(|test| ["a", "b", "c"].contains(&&*test.name));
        let outcomes: Vec<_> = ours.map(|test| &test.status).collect();
        assert!(
            matches!(
                outcomes[..],
                [
                    TestCaseStatus::Success { .. },
                    TestCaseStatus::Skipped { .. },
                    TestCaseStatus::NonSuccess { .. }
                ]
            ),
            "{text}"
        );
    }
}
