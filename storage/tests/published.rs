//! What readers see of lists that one writer adds to, over every order in which its loads and stores may be
//! seen: the file of the head itself, made of loom's types. Weaken one of its orderings, and a test is red.

#[path = "../src/head/published.rs"]
mod published;

/// What the head takes from the standard library.
mod sync {
    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};

    use loom::sync::atomic::AtomicBool;

    /// A value that is written once; only the flag orders anything between threads here, as the state of the
    /// standard library's does.
    #[derive(Debug)]
    pub(crate) struct OnceLock<T> {
        is_set: AtomicBool,
        value: std::sync::OnceLock<T>,
    }

    impl<T> Default for OnceLock<T> {
        fn default() -> Self {
            Self::new()
        }
    }

    impl<T> OnceLock<T> {
        pub(crate) fn new() -> Self {
            Self {
                is_set: AtomicBool::new(false),
                value: std::sync::OnceLock::new(),
            }
        }

        pub(crate) fn get(&self) -> Option<&T> {
            let is_set = self.is_set.load(Ordering::Acquire);
            is_set.then(|| self.value.get()).flatten()
        }

        pub(crate) fn set(&self, value: T) -> Result<(), T> {
            self.value.set(value)?;
            self.is_set.store(true, Ordering::Release);
            Ok(())
        }

        pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
            let value = self.value.get_or_init(make);
            self.is_set.store(true, Ordering::Release);
            value
        }
    }
}

use std::sync::Arc;

use loom::{model::Builder, thread};
use published::{Slots, Visible};

/// The lists have so many before, so that a chunk ends with the first that is added.
const BEFORE: u64 = 7;

/// Two targets' rows, each with the commit that it came with.
struct Head {
    rows: [Slots<u64>; 2],
    visible: Visible,
}

impl Head {
    fn new() -> Arc<Self> {
        let head = Self {
            rows: [Slots::new(16), Slots::new(16)],
            visible: Visible::new(BEFORE),
        };
        for rows in &head.rows {
            (1..=BEFORE).for_each(|commit| rows.push(commit));
        }
        Arc::new(head)
    }

    /// One commit: a row of each target, or of the second alone, and then it is visible.
    fn commit(&self, number: u64) {
        if number.is_multiple_of(2) {
            self.rows[0].push(number);
        }
        self.rows[1].push(number);
        self.visible.show(number);
    }

    /// What a reader sees who begins now: of what was added, the rows of the commits that were visible then.
    fn check(&self) -> u64 {
        let visible = self.visible.newest();
        for (rows, is_all) in self.rows.iter().zip([false, true]) {
            let rows = (BEFORE as usize..rows.len())
                .map(|row| *rows.get(row).expect("it is below the length"));
            let seen: Vec<u64> = rows.filter(|commit| *commit <= visible).collect();
            let later = BEFORE + 1..=visible;
            let later = later.filter(|commit| is_all || commit.is_multiple_of(2));
            let whole: Vec<u64> = later.collect();
            assert_eq!(seen, whole, "up to commit {visible}");
        }
        visible
    }
}

/// Every order of the loads and stores of all threads.
fn in_every_order(test: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    // Enough for every weakened ordering to be found, and a second's work.
    builder.preemption_bound = Some(2);
    builder.check(test);
}

#[test]
fn readers_see_whole_commits_and_none_that_goes_again() {
    in_every_order(|| {
        let head = Head::new();
        let reader = {
            let head = Arc::clone(&head);
            thread::spawn(move || {
                let first = head.check();
                assert!(head.check() >= first);
            })
        };
        head.commit(BEFORE + 1);
        head.commit(BEFORE + 2);
        reader.join().expect("it saw what it should");
        assert_eq!(head.check(), BEFORE + 2);
    });
}
