//! Copies of the live directory, as `tar` makes them: file by file, in any order, between any two
//! operations of the store. A copy that took no longer than ten minutes opens to everything that was
//! acknowledged before it began, and to nothing that was not there meanwhile.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use narthex_storage::{Clock, Db, DbOptions, WalFsync};

use crate::support::{
    EXEMPLARS_MAX, FaultyFs, ROOT, Random, SetClock, content, options, setting,
    workload::{WINDOW_MS, workloads},
    world::{History, Step, World, exemplars},
};

const MINUTE: Duration = Duration::from_mins(1);
/// Copies that are made at the same time.
const AT_ONCE: usize = 40;

/// A copy in the making.
struct Copy {
    begun_at: Duration,
    /// A file is copied once in so many operations of the store.
    pace: usize,
    /// What had been acknowledged.
    begun_with: usize,
    /// … and of exemplars.
    begun_with_exemplars: u64,
    /// A folder is listed when it is first looked into.
    unlisted: Vec<PathBuf>,
    /// What is still to be copied of the folder.
    files: Vec<PathBuf>,
    to: FaultyFs,
}

impl Copy {
    /// Copies one file, unless it is gone; `false` when nothing is left.
    fn go_on(&mut self, from: &FaultyFs, random: &mut Random) -> bool {
        while self.files.is_empty() {
            let Some(folder) = self.unlisted.pop() else {
                return false;
            };
            self.files = from.paths();
            self.files.retain(|path| path.parent() == Some(&folder));
        }
        let chosen = random.below(self.files.len());
        from.copy_to(&self.to, &self.files.swap_remove(chosen));
        true
    }
}

/// Who makes copies.
struct Copier {
    random: Random,
    copies: Vec<Copy>,
    options: DbOptions,
    clock: Arc<SetClock>,
    history: Arc<Mutex<History>>,
    opened: usize,
}

impl Copier {
    /// Begins a copy now and then, and goes on with the others.
    fn look(&mut self, from: &FaultyFs) {
        let random = &mut self.random;
        if self.copies.len() < AT_ONCE && random.below(2) == 0 {
            let mut unlisted = ["narthex/wal", "narthex/blocks", "narthex"]
                .map(|folder| Path::new(ROOT).join(folder))
                .to_vec();
            let (first, second) = (random.below(3), random.below(2));
            unlisted.swap(0, first);
            unlisted.swap(1, 1 + second);
            let (begun_with, begun_with_exemplars) = {
                let history = self.history.lock().unwrap();
                (history.acknowledged, history.exemplars)
            };
            self.copies.push(Copy {
                begun_at: self.clock.monotonic(),
                pace: 1 + random.below(20),
                begun_with,
                begun_with_exemplars,
                unlisted,
                files: Vec::new(),
                to: FaultyFs::default(),
            });
        }
        for mut copy in std::mem::take(&mut self.copies) {
            let goes_on = self.random.below(copy.pace) != 0 || copy.go_on(from, &mut self.random);
            if goes_on {
                self.copies.push(copy);
            } else {
                self.open(&copy);
            }
        }
    }

    /// Ends the copies that would take too long if a minute passed.
    fn before_a_minute(&mut self, from: &FaultyFs) {
        let now = self.clock.monotonic();
        for mut copy in std::mem::take(&mut self.copies) {
            if now + MINUTE < copy.begun_at + 10 * MINUTE {
                self.copies.push(copy);
                continue;
            }
            while copy.go_on(from, &mut self.random) {}
            self.open(&copy);
        }
    }

    /// Ends all copies.
    fn end(&mut self, from: &FaultyFs) {
        for mut copy in std::mem::take(&mut self.copies) {
            while copy.go_on(from, &mut self.random) {}
            self.open(&copy);
        }
    }

    fn open(&mut self, copy: &Copy) {
        let options = DbOptions {
            fs: Arc::new(copy.to.clone()),
            ..self.options.clone()
        };
        let (db, report) = Db::open(&options).unwrap();
        let found = content(&db);
        let history = self.history.lock().unwrap();
        let states = &history.states[copy.begun_with..];
        let began = states[0].content().keys();
        let needed = began.filter(|key| states.iter().all(|state| state.needs(key)));
        let missing: Vec<_> = needed.filter(|key| !found.contains_key(*key)).collect();
        let was_there = |(key, bits)| {
            let mut states = states.iter();
            states.any(|state| state.content().get(key) == Some(bits))
        };
        let surplus: Vec<_> = found.iter().filter(|sample| !was_there(*sample)).collect();
        let exemplars = exemplars(&db);
        let last = history.exemplars;
        let mut newest = (last.saturating_sub(EXEMPLARS_MAX) + 1)..=copy.begun_with_exemplars;
        assert!(
            newest.all(|number| exemplars.contains(&number))
                && exemplars.iter().all(|number| *number <= last + 1),
            "exemplars {exemplars:?}, begun with {}, now {last}: {report:?}",
            copy.begun_with_exemplars
        );
        assert!(
            missing.is_empty() && surplus.is_empty(),
            "missing {missing:?}, surplus {surplus:?}, begun at {:?}, now {:?}: {report:?}\n{:?}",
            copy.begun_at,
            self.clock.monotonic(),
            copy.to.paths()
        );
        self.opened += 1;
    }
}

#[test]
fn a_copy_of_the_live_directory_opens_to_what_was_there_when_it_began() {
    for (name, steps) in workloads() {
        let (seeds, mut opened) = (setting("NARTHEX_COPY_SEEDS", 10), 0);
        for seed in 0..seeds {
            println!("{name}, copies by {seed}");
            let fs = FaultyFs::default();
            let clock = Arc::new(SetClock::default());
            let options = DbOptions {
                out_of_order_window_ms: WINDOW_MS,
                ..options(&fs, &clock, WalFsync::default())
            };
            let mut world = World::new(options.clone(), &clock);
            world.open().unwrap();
            let copier = Arc::new(Mutex::new(Copier {
                random: Random::new(seed),
                copies: Vec::new(),
                options,
                clock,
                history: Arc::clone(&world.history),
                opened: 0,
            }));
            let looks_on = Arc::clone(&copier);
            fs.watch(move |fs| looks_on.lock().unwrap().look(fs));
            for step in steps.iter().flat_map(by_minutes) {
                if let Step::Wait(_) = step {
                    copier.lock().unwrap().before_a_minute(&fs);
                }
                world.run(&step).unwrap();
            }
            let mut copier = copier.lock().unwrap();
            copier.end(&fs);
            opened += copier.opened;
        }
        assert!(opened as u64 > 40 * seeds, "{opened} copies");
    }
}

/// Time passes in minutes.
fn by_minutes(step: &Step) -> Vec<Step> {
    match step {
        Step::Wait(minutes) => vec![Step::Wait(1); *minutes as usize],
        other => vec![other.clone()],
    }
}
