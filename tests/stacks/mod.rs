//! Five monitoring stacks that Narthex has to carry from end to end: Chimera, ZeroState, metald,
//! Sidepanel and Butterfly. Each folder has the stack's `prometheus.yml` and rule files as its people
//! write them, a unit-test file for `promtool test rules`, the queries of its dashboards and the
//! script of its exporters.
//!
//! This module checks the folders themselves, without a server. With the environment variable
//! `NARTHEX_PROMTOOL=/path/to/promtool` the same checks run that program as well. `set_clock` plays
//! the scripts to a server on set time, `live` to the real binary.

/// One test a stack for each of these checks: a failure names its stack, and they run side by side.
macro_rules! for_each_stack {
    ($($check:ident),*) => {
        $(
            mod $check {
                #[test]
                fn butterfly() {
                    super::$check("butterfly");
                }

                #[test]
                fn chimera() {
                    super::$check("chimera");
                }

                #[test]
                fn metald() {
                    super::$check("metald");
                }

                #[test]
                fn sidepanel() {
                    super::$check("sidepanel");
                }

                #[test]
                fn zerostate() {
                    super::$check("zerostate");
                }
            }
        )*
    };
}

mod exporter;
mod live;
mod live_answers;
mod live_history;
mod live_operations;
mod live_time;
mod queries;
mod rule_tests;
mod scene;
mod script_tests;
mod set_clock;
mod set_clock_stage;

use std::path::{Path, PathBuf};

use crate::harness::{Outcome, binary, run_program};

/// A promtool: ours, or the one that the environment names.
#[derive(Debug)]
struct Promtool {
    program: PathBuf,
    /// What comes before promtool's own arguments.
    prefix: &'static [&'static str],
}

impl Promtool {
    /// Ours, and the one that the environment names.
    fn all() -> Vec<Self> {
        let ours = Self {
            program: binary(),
            prefix: &["promtool"],
        };
        std::iter::once(ours).chain(Self::peers()).collect()
    }

    /// The one that the environment names.
    fn peers() -> Vec<Self> {
        let named = std::env::var_os("NARTHEX_PROMTOOL");
        let peer = named.map(|program| Self {
            program: program.into(),
            prefix: &[],
        });
        peer.into_iter().collect()
    }

    /// Runs it to its end in `folder`.
    fn run(&self, folder: &Path, args: &[&str]) -> Outcome {
        run_program(&self.program, &[self.prefix, args].concat(), folder)
    }
}
