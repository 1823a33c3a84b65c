//! `narthex promql test FILE…`: scripts in the language of Prometheus's own PromQL tests.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use narthex_query::testscript::{RunOptions, run};

/// The exit code for a wrong command line.
const USAGE: u8 = 2;

/// Runs every script and writes to `out`: a line a file, `FILE: passed/total`, then each failure
/// with file, line, query, expected and got. Exits with 0 when all passed, with 1 when anything
/// failed or a file cannot be read, with 2 without files.
pub(super) fn test(files: &[String], out: &mut impl Write) -> io::Result<ExitCode> {
    if files.is_empty() {
        writeln!(out, "usage: narthex promql test FILE…")?;
        return Ok(ExitCode::from(USAGE));
    }
    let mut all_passed = true;
    let mut reports = Vec::new();
    for file in files {
        match std::fs::read_to_string(file) {
            Ok(text) => {
                let report = run(&text, file, &RunOptions::default());
                writeln!(out, "{report}")?;
                reports.push(report);
            }
            Err(error) => {
                writeln!(out, "{file}: {error}")?;
                all_passed = false;
            }
        }
    }
    for report in &reports {
        for failure in &report.failures {
            all_passed = false;
            writeln!(
                out,
                "\n{}:{}: {}\n  expected: {}\n  got: {}",
                report.name, failure.line, failure.query, failure.expected, failure.got
            )?;
        }
    }
    Ok(if all_passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_has_a_line_and_each_failure_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (good, bad) = (path("good.test"), path("bad.test"));
        std::fs::write(&good, "eval instant at 0 1+1\n  2\n").unwrap();
        std::fs::write(&bad, "# a comment\neval instant at 0 1+1\n  3\n").unwrap();
        let mut out = Vec::new();
        let code = test(&[good.clone(), bad.clone()], &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!(
                "{good}: 1/1\n{bad}: 0/1\n\n{bad}:2: 1+1\n  \
                 expected: the scalar 3 was expected\n  got: 2\n"
            )
        );
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::FAILURE));
        let code = test(&[good], &mut Vec::new()).unwrap();
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::SUCCESS));
        let code = test(&[path("missing")], &mut Vec::new()).unwrap();
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::FAILURE));
    }
}
