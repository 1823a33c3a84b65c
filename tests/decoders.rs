//! The decoders of outside bytes: the corpus of the fuzz targets, and seeded mutations of it.
//!
//! A file of the corpus whose name begins with `good` is accepted, any other refused. Then inputs are
//! damaged at random, `NARTHEX_FUZZ_ITERATIONS` times a target, from the seed `NARTHEX_FUZZ_SEED`; a
//! failure prints seed, iteration and input.

#[path = "fuzz/checks/mod.rs"]
mod checks;

use std::{env, fs, panic, path::Path};

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    let text = env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The corpus of a target: names and contents.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(target);
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn the_fuzz_corpus_is_accepted_and_refused_as_its_names_say() {
    let mut wrong = Vec::new();
    for (target, _) in checks::CHECKS {
        let files = corpus(target);
        for (name, bytes) in &files {
            if checks::run(target, bytes) != name.starts_with("good") {
                wrong.push(format!("{target}/{name}"));
            }
        }
        let good = files.iter().filter(|(name, _)| name.starts_with("good"));
        let good = good.count();
        assert!(
            good >= 2 && files.len() - good >= 2,
            "{target} has few files"
        );
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn damaged_inputs_break_no_invariant() {
    let iterations = setting("NARTHEX_FUZZ_ITERATIONS", 60);
    let seed = setting("NARTHEX_FUZZ_SEED", 20_261_121);
    let only = env::var("NARTHEX_FUZZ_TARGET").ok();
    for (target, _) in checks::CHECKS {
        if only.as_deref().is_some_and(|only| only != *target) {
            continue;
        }
        let seeds: Vec<Vec<u8>> = corpus(target).into_iter().map(|(_, bytes)| bytes).collect();
        let mut random = Random(seed);
        let mut accepted = 0;
        for iteration in 0..iterations {
            let input = random.damaged(&seeds);
            let good = panic::catch_unwind(|| checks::run(target, &input)).unwrap_or_else(|_| {
                panic!(
                    "{target}, seed {seed}, iteration {iteration}: {}",
                    input.escape_ascii()
                )
            });
            accepted += u64::from(good);
        }
        println!("{target}: seed {seed}, {iterations} inputs, {accepted} accepted");
    }
}

/// The generator `SplitMix64`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// One of the inputs with one to four places changed.
    fn damaged(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = inputs[self.below(inputs.len())].clone();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.below(16)).min(bytes.len());
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => {
                    let edges = [0, 1, 0x7f, 0x80, 0xff, b'\n', b'"', b'\\'];
                    bytes[at] = edges[self.below(edges.len())];
                }
                2 => bytes.insert(at, self.next() as u8),
                3 => drop(bytes.drain(at..end)),
                4 => {
                    let piece = bytes[at..end].to_vec();
                    let to = self.below(bytes.len() + 1);
                    bytes.splice(to..to, piece);
                }
                _ => {
                    let other = &inputs[self.below(inputs.len())];
                    let from = self.below(other.len() + 1);
                    let to = (from + self.below(32)).min(other.len());
                    bytes.splice(at..end, other[from..to].iter().copied());
                }
            }
        }
        bytes
    }
}
