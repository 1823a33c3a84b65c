use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    sync::Arc,
};

use proptest::prelude::*;
use roaring::RoaringBitmap;

use super::*;
use crate::{MatchOp, index::Delta, test_support::proptest_cases};

/// Series by their labels, with their ids.
type Sets = BTreeMap<Labels, u32>;

fn sections(sets: &Sets, with_lookup: bool) -> Vec<(SectionKind, Vec<u8>)> {
    let mut builder = IndexBuilder::new(with_lookup);
    for (expected, (labels, id)) in (0..).zip(sets) {
        assert_eq!(builder.add(*id, labels), expected);
    }
    builder.finish()
}

/// Puts sections behind each other, and opens them.
fn open(sections: &[(SectionKind, Vec<u8>)]) -> Result<BlockIndex, CodecError> {
    let mut file = b"before".to_vec();
    let mut ranges = Vec::new();
    for (kind, bytes) in sections {
        ranges.push((*kind, file.len()..file.len() + bytes.len()));
        file.extend_from_slice(bytes);
    }
    BlockIndex::open(Arc::new(Mapped::memory(file)), &ranges)
}

fn index(sets: &Sets, with_lookup: bool) -> BlockIndex {
    open(&sections(sets, with_lookup)).unwrap()
}

fn delta(sets: &Sets) -> Delta {
    let mut delta = Delta::default();
    // In another order than that of labels.
    let mut by_id: Vec<(&Labels, u32)> = sets.iter().map(|(labels, id)| (labels, *id)).collect();
    by_id.sort_by_key(|(_, id)| *id);
    for (labels, id) in by_id {
        delta.insert(id, labels);
    }
    delta
}

/// Up to sixty sets of few names and values, so that many pairs are shared.
fn some_sets() -> impl Strategy<Value = Sets> {
    let pair = ("[a-d]", "[a-c]{1,3}|[0-9]{1,4}");
    let set = prop::collection::vec(pair, 0..6);
    prop::collection::vec((set, any::<u32>()), 0..60).prop_map(|sets| {
        let mut known = RoaringBitmap::new();
        (sets.into_iter())
            .filter(|(_, id)| known.insert(*id))
            .map(|(pairs, id)| (Labels::from_pairs(pairs), id))
            .collect()
    })
}

fn some_matchers() -> impl Strategy<Value = Vec<Matcher>> {
    let op = prop::sample::select(vec![
        MatchOp::Equal,
        MatchOp::NotEqual,
        MatchOp::Regex,
        MatchOp::NotRegex,
    ]);
    let value = "|[a-c]{1,2}|[0-9]{1,2}|a.*|.*b.*|.+|.*|[ab]|a\\|b|[0-4]+|\\|c|1.*[2-5]";
    let matcher = ("[a-e]", op, value).prop_filter_map("invalid", |(name, op, value)| {
        Matcher::new(name, op, value).ok()
    });
    prop::collection::vec(matcher, 0..4)
}

/// Ids of the series that pass, by a look at every one.
fn filtered(sets: &Sets, matchers: &[Matcher]) -> RoaringBitmap {
    let pass = |labels: &Labels| {
        matchers
            .iter()
            .all(|matcher| matcher.matches_labels(labels))
    };
    let found = sets.iter().filter(|(labels, _)| pass(labels));
    found.map(|(_, id)| *id).collect()
}

fn texts(walk: impl FnOnce(&mut dyn Texts)) -> Vec<String> {
    let mut texts = Vec::new();
    walk(&mut |text: &str| {
        texts.push(text.to_owned());
        ControlFlow::Continue(())
    });
    texts
}

/// Texts that need no series.
struct Known(BTreeSet<String>);

impl Known {
    /// The other texts that are handed on.
    fn others(&self, walk: impl FnOnce(&mut dyn Texts)) -> Vec<String> {
        let mut others = Others(&self.0, Vec::new());
        walk(&mut others);
        others.1
    }
}

struct Others<'a>(&'a BTreeSet<String>, Vec<String>);

impl Texts for Others<'_> {
    fn has(&mut self, text: &str) -> bool {
        self.0.contains(text)
    }

    fn put(&mut self, text: &str) -> ControlFlow<()> {
        if !self.has(text) {
            self.1.push(text.to_owned());
        }
        ControlFlow::Continue(())
    }
}

/// Label names, and values by name, of the series whose id is in `among`.
fn names_and_values(sets: &Sets, among: &RoaringBitmap) -> BTreeMap<String, Vec<String>> {
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (labels, _) in sets.iter().filter(|(_, id)| among.contains(**id)) {
        for (name, value) in labels.iter() {
            names
                .entry(name.to_owned())
                .or_default()
                .push(value.to_owned());
        }
    }
    for values in names.values_mut() {
        values.sort();
        values.dedup();
    }
    names
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(proptest_cases(48)))]

    #[test]
    fn selection_equals_a_filter_over_all_series(
        sets in some_sets(),
        matchers in some_matchers(),
        with_lookup in any::<bool>(),
    ) {
        let index = index(&sets, with_lookup);
        let expected = filtered(&sets, &matchers);
        let ordinals = index.select(&matchers).unwrap();
        let found: RoaringBitmap = ordinals.iter().map(|ordinal| index.id(ordinal)).collect();
        prop_assert_eq!(&found, &expected, "{:?}", matchers);
        prop_assert_eq!(&delta(&sets).select(&matchers), &expected, "{:?}", matchers);
    }

    #[test]
    fn every_series_is_found_and_read_back(sets in some_sets(), with_lookup in any::<bool>()) {
        let index = index(&sets, with_lookup);
        let delta = delta(&sets);
        prop_assert_eq!((index.len() as usize, delta.len()), (sets.len(), sets.len()));
        let mut reader = index.labels();
        for ((labels, id), ordinal) in sets.iter().zip(0..) {
            prop_assert_eq!(index.find(labels), Ok(Some(ordinal)));
            prop_assert_eq!(index.id(ordinal), *id);
            prop_assert_eq!(delta.find(labels), Some(*id));
            prop_assert_eq!(delta.labels(*id), Some(labels.clone()));
            prop_assert_eq!(&reader.get(ordinal).unwrap(), labels);
            let other = labels.to_builder().set("a", "none").build();
            prop_assert_eq!(index.find(&other), Ok(None));
            prop_assert_eq!(delta.find(&other), None);
        }
        for (labels, ordinal) in sets.keys().zip(0..).collect::<Vec<_>>().into_iter().rev() {
            prop_assert_eq!(&reader.get(ordinal).unwrap(), labels);
        }
        prop_assert!(reader.get(index.len()).is_err());
        let all: Sets = delta.iter().map(|(id, labels)| (labels, id)).collect();
        prop_assert_eq!(&all, &sets);
        let mut copy = IndexBuilder::new(with_lookup);
        for ordinal in 0..index.len() {
            copy.add(index.id(ordinal), &reader.get(ordinal).unwrap());
        }
        prop_assert_eq!(copy.finish(), sections(&sets, with_lookup));
    }

    #[test]
    fn label_queries_equal_a_walk_over_all_series(
        sets in some_sets(),
        matchers in some_matchers(),
    ) {
        let (index, delta) = (index(&sets, false), delta(&sets));
        let ids = filtered(&sets, &matchers);
        let ordinals = index.select(&matchers).unwrap();
        let all = sets.values().copied().collect();
        for (ids, ordinals, among) in [(&all, None, None), (&ids, Some(&ordinals), Some(&ids))] {
            let expected = names_and_values(&sets, ids);
            let names: Vec<String> = expected.keys().cloned().collect();
            let (mut ordinals, mut among) = (Among::of(ordinals), Among::of(among));
            let of_index = texts(|each| index.label_names(&mut ordinals, each).unwrap());
            prop_assert_eq!(&of_index, &names);
            prop_assert_eq!(&texts(|each| delta.label_names(&mut among, each)), &names);
            for name in ["a", "b", "c", "d", "e"] {
                let values = expected.get(name).cloned().unwrap_or_default();
                let of_index = texts(|each| index.label_values(name, &mut ordinals, each).unwrap());
                prop_assert_eq!(&of_index, &values);
                prop_assert_eq!(&texts(|each| delta.label_values(name, &mut among, each)), &values);
            }
        }
        // Only some of the selected series count, and some texts are known.
        let known = Known(["a".to_owned(), "b".to_owned()].into());
        for (selected, ordinals, among) in [(&all, None, None), (&ids, Some(&ordinals), Some(&ids))] {
            let counting: RoaringBitmap = selected.iter().filter(|id| id % 3 == 0).collect();
            let expected = names_and_values(&sets, &counting);
            let mut of_index = |ordinal| index.id(ordinal).is_multiple_of(3);
            let mut of_delta = |id: u32| id.is_multiple_of(3);
            let mut ordinals = Among { selected: ordinals, counts: Some(&mut of_index) };
            let mut among = Among { selected: among, counts: Some(&mut of_delta) };
            let unknown = |texts: Vec<&String>| -> Vec<String> {
                let texts = texts.into_iter().filter(|text| !known.0.contains(*text));
                texts.cloned().collect()
            };
            let names = unknown(expected.keys().collect());
            let found = known.others(|texts| index.label_names(&mut ordinals, texts).unwrap());
            prop_assert_eq!(&found, &names);
            let found = known.others(|texts| delta.label_names(&mut among, texts));
            prop_assert_eq!(&found, &names);
            for name in ["a", "b", "c", "d", "e"] {
                let values = unknown(expected.get(name).into_iter().flatten().collect());
                let found = known.others(|texts| {
                    index.label_values(name, &mut ordinals, texts).unwrap();
                });
                prop_assert_eq!(&found, &values);
                let found = known.others(|texts| delta.label_values(name, &mut among, texts));
                prop_assert_eq!(&found, &values);
            }
        }
        // Those that were selected are hidden.
        let mut expected: BTreeMap<(String, String), u64> = BTreeMap::new();
        for (labels, _) in sets.iter().filter(|(_, id)| !ids.contains(**id)) {
            for (name, value) in labels.iter() {
                *expected.entry((name.to_owned(), value.to_owned())).or_default() += 1;
            }
        }
        let expected: Vec<_> = expected.into_iter().collect();
        let (mut of_index, mut of_delta) = (Vec::new(), Vec::new());
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut each = |name: &str, value: &str, count| of_index.push((pair(name, value), count));
        index.each_pair(&ordinals, &mut each).unwrap();
        delta.each_pair(&ids, &mut |name, value, count| of_delta.push((pair(name, value), count)));
        prop_assert_eq!(&of_index, &expected);
        prop_assert_eq!(&of_delta, &expected);
    }

    /// Sections whose checksum is right and whose content is hostile.
    #[test]
    fn changed_sections_are_read_or_refused(
        sets in some_sets(),
        matchers in some_matchers(),
        changes in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()),
            1..4,
        ),
    ) {
        let mut sections = sections(&sets, true);
        for (section, at, byte) in changes {
            let count = sections.len();
            let (_, bytes) = &mut sections[section.index(count)];
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        walk(&sections, &sets, &matchers);
    }
}

/// Asks everything of an index that may be damaged. Any answer will do.
fn walk(sections: &[(SectionKind, Vec<u8>)], sets: &Sets, matchers: &[Matcher]) {
    let Ok(index) = open(sections) else {
        return;
    };
    let mut reader = index.labels();
    for ordinal in 0..index.len().min(100) {
        index.id(ordinal);
        drop(reader.get(ordinal));
    }
    for labels in sets.keys() {
        index.find(labels).ok();
    }
    let among = index.select(matchers).ok();
    if let Some(among) = &among {
        assert!(among.max().is_none_or(|max| max < index.len()));
    }
    let mut each = |_: &str| ControlFlow::Continue(());
    for among in [None, among.as_ref()] {
        index.label_names(&mut Among::of(among), &mut each).ok();
        index
            .label_values("a", &mut Among::of(among), &mut each)
            .ok();
    }
    for hidden in [RoaringBitmap::new(), among.unwrap_or_default()] {
        index.each_pair(&hidden, &mut |_, _, _| {}).ok();
    }
}

/// Enough series that postings are bitmaps, and value lists longer than a group.
#[test]
fn many_series_are_found_by_every_kind_of_postings() {
    let mut sets = Sets::new();
    for series in 0..5000_u32 {
        let labels = Labels::from_pairs([
            ("__name__", format!("metric_{}", series % 7)),
            ("all", "same".to_owned()),
            ("odd", (series % 2).to_string()),
            ("own", format!("value-{series}")),
            (
                "rare",
                if series % 1000 == 0 { "yes" } else { "" }.to_owned(),
            ),
        ]);
        sets.insert(labels, series * 3);
    }
    let index = index(&sets, true);
    let delta = delta(&sets);
    for matchers in [
        vec![("all", MatchOp::Equal, "same")],
        vec![("odd", MatchOp::Equal, "1")],
        vec![
            ("odd", MatchOp::Equal, "1"),
            ("__name__", MatchOp::Equal, "metric_3"),
        ],
        vec![
            ("odd", MatchOp::Equal, "1"),
            ("__name__", MatchOp::Regex, "metric_[1-4]"),
        ],
        vec![("own", MatchOp::Regex, ".*77.*")],
        vec![
            ("own", MatchOp::Regex, "value-1[0-3].*"),
            ("odd", MatchOp::NotEqual, "0"),
        ],
        vec![
            ("own", MatchOp::NotRegex, "value-.*[1-9]"),
            ("odd", MatchOp::Equal, "0"),
        ],
        vec![
            ("rare", MatchOp::NotEqual, ""),
            ("own", MatchOp::NotRegex, "value-[123].*"),
        ],
        vec![("rare", MatchOp::Equal, "")],
        vec![
            ("own", MatchOp::Regex, "value-17|value-4999|value-5000"),
            ("odd", MatchOp::Equal, "1"),
        ],
    ] {
        let matchers: Vec<Matcher> = matchers
            .into_iter()
            .map(|(name, op, value)| Matcher::new(name, op, value).unwrap())
            .collect();
        let expected = filtered(&sets, &matchers);
        let ordinals = index.select(&matchers).unwrap();
        let found: RoaringBitmap = ordinals.iter().map(|ordinal| index.id(ordinal)).collect();
        assert_eq!(found, expected, "{matchers:?}");
        assert_eq!(delta.select(&matchers), expected, "{matchers:?}");
    }
    for (labels, id) in &sets {
        assert_eq!(
            index.find(labels).unwrap().map(|ordinal| index.id(ordinal)),
            Some(*id)
        );
    }
}

/// The jobs of instances are told by them, where that takes less room.
#[test]
fn a_pair_whose_series_are_those_of_others_is_told_by_them() {
    let mut sets = Sets::new();
    for series in 0..4000_u32 {
        let (metric, instance) = (series / 40, series % 40);
        let labels = Labels::from_pairs([
            ("__name__", format!("metric_{metric:02}")),
            ("instance", format!("host-{instance:02}")),
            ("job", format!("job-{}", instance % 3)),
            ("zone", format!("zone-{}", instance % 7 % 2)),
        ]);
        sets.insert(labels, series);
    }
    let postings = |sections: Vec<(SectionKind, Vec<u8>)>| {
        let found = sections
            .into_iter()
            .find(|(kind, _)| *kind == SectionKind::Postings);
        found.unwrap().1.len()
    };
    // A bitmap of 4,000 series takes 500 bytes or two bytes a series.
    let of_instances: BTreeMap<Labels, u32> = (sets.iter())
        .map(|(labels, id)| {
            let labels = labels.to_builder().remove("job").remove("zone").build();
            (labels, *id)
        })
        .collect();
    let more = postings(sections(&sets, false)) - postings(sections(&of_instances, false));
    assert!(more < 150, "five pairs take {more} bytes");
    let index = index(&sets, false);
    let any_instance = Matcher::new("instance", MatchOp::Regex, "host-.[0-4]").unwrap();
    for (name, value) in [("job", "job-0"), ("job", "job-2"), ("zone", "zone-1")] {
        for matchers in [
            vec![Matcher::equal(name, value)],
            vec![Matcher::equal(name, value), any_instance.clone()],
            vec![
                Matcher::equal(name, value),
                Matcher::equal("__name__", "metric_07"),
            ],
            vec![Matcher::new(name, MatchOp::NotEqual, value).unwrap()],
        ] {
            let expected = filtered(&sets, &matchers);
            let ordinals = index.select(&matchers).unwrap();
            let found: RoaringBitmap = ordinals.iter().map(|ordinal| index.id(ordinal)).collect();
            assert_eq!(found, expected, "{matchers:?}");
        }
    }
    let among = index.select(&[any_instance]).unwrap();
    let mut among = Among::of(Some(&among));
    let jobs = texts(|each| index.label_values("job", &mut among, each).unwrap());
    assert_eq!(jobs, ["job-0", "job-1", "job-2"]);
}

const UNORDERED: CodecError = CodecError {
    expected: "series in the order of their label sets, each set once",
};

/// An index of the series with `job` from "a" to `last`, with a byte of a section set to another.
fn with_another_byte(last: char, kind: SectionKind, from: u8, to: u8) -> BlockIndex {
    let values = 'a'..=last;
    let sets: Sets = (values.zip(0..))
        .map(|(value, id)| (Labels::from_pairs([("job", value.to_string())]), id))
        .collect();
    let mut sections = sections(&sets, false);
    let section = sections.iter_mut().find(|(found, _)| *found == kind);
    let bytes = &mut section.unwrap().1;
    *bytes.iter_mut().rfind(|byte| **byte == from).unwrap() = to;
    open(&sections).unwrap()
}

/// Right checksums may be around wrong sets: whoever reads series in order gets none twice.
#[test]
fn series_that_are_not_in_label_order_are_damage() {
    let expected = UNORDERED;
    // A byte of a section, and the first ordinal whose set does not come after the one before.
    for (last, kind, from, to, wrong) in [
        // The one item of a set, twice the number of its pair: ordinal 2 has the pair of 1.
        ('d', SectionKind::Series, 4, 2, 2),
        ('d', SectionKind::Series, 4, 0, 2),
        ('d', SectionKind::Series, 6, 0, 3),
        // Where a group ends: two numbers for one pair, and numbers that are not in the order of values.
        ('q', SectionKind::Pairs, b'q', b'p', 16),
        ('q', SectionKind::Pairs, b'q', b'a', 16),
        ('q', SectionKind::Pairs, b'p', b'x', 16),
    ] {
        let index = with_another_byte(last, kind, from, to);
        let mut reader = index.labels();
        for ordinal in 0..wrong {
            reader.get(ordinal).unwrap();
        }
        let case = format!("{kind:?} {from} {to}");
        assert_eq!(reader.get(wrong), Err(expected), "{case}");
        // Alone it is read, then backwards it is not.
        let alone = reader.get(wrong).unwrap();
        assert_eq!(reader.get(wrong).as_ref(), Ok(&alone), "{case}");
        assert_eq!(reader.get(wrong - 1), Err(expected), "{case}");
    }
}

/// The values of a group of pairs are read together, so that all of its series are damaged.
#[test]
fn values_of_a_group_that_are_not_in_order_are_damage() {
    for (from, to) in [(b'c', b'b'), (b'c', b'a'), (b'b', b'x'), (b'd', b'a')] {
        let index = with_another_byte('d', SectionKind::Pairs, from, to);
        let mut reader = index.labels();
        for ordinal in [0, 1, 2, 3, 3, 0] {
            assert_eq!(reader.get(ordinal), Err(UNORDERED), "{from} {to} {ordinal}");
        }
    }
}

#[test]
fn names_that_are_not_there_or_not_in_order_are_damage() {
    let sets = Sets::from([(Labels::from_pairs([("a", "1"), ("b", "2")]), 7)]);
    for names in [&b"ba"[..], b"aa", b"a", b""] {
        let mut sections = sections(&sets, false);
        let symbols = sections
            .iter_mut()
            .find(|(kind, _)| *kind == SectionKind::Symbols);
        let symbols = &mut symbols.unwrap().1;
        let texts = symbols.split_off(symbols.len() - 2);
        assert_eq!(texts, b"ab");
        symbols.extend_from_slice(names);
        let expected = CodecError {
            expected: "a table of label names",
        };
        assert_eq!(open(&sections).err(), Some(expected), "{names:?}");
    }
}

/// The bytes of every section as `docs/index.md` has them, built by hand.
#[test]
fn sections_are_as_drawn() {
    let mut builder = IndexBuilder::new(true);
    let sets = [
        Labels::from_pairs([("__name__", "up"), ("instance", "a:1"), ("job", "x")]),
        Labels::from_pairs([("__name__", "up"), ("instance", "b:1"), ("job", "x")]),
        Labels::from_pairs([
            ("__name__", "up"),
            ("instance", "b:1"),
            ("job", "x"),
            ("le", "1"),
        ]),
    ];
    for (id, labels) in [7, 3, 4].into_iter().zip(&sets) {
        builder.add(id, labels);
    }
    let u32s = |numbers: &[u32]| -> Vec<u8> {
        numbers.iter().copied().flat_map(u32::to_le_bytes).collect()
    };
    // Four names: where the text begins, the first pair; then the end of both.
    let symbols = [
        &u32s(&[4, 0, 0, 8, 1, 16, 3, 19, 4, 21, 5])[..],
        b"__name__instancejoble",
    ];
    // Five values in one group.
    let pairs = [
        &u32s(&[5, 4, 0, 20])[..],
        b"\x00\x02up\x00\x03a:1\x00\x03b:1\x00\x01x\x00\x011",
    ];
    let series = [
        &u32s(&[3, 4, 0, 7])[..],
        // Two items: tail 0, then pair 1, one above the tail's first pair.
        &[0x80, 1, 0],
        // One pair shared at the begin, one at the end; between them pair 2.
        &[0x40 | 1 << 3 | 1, 1 << 1],
        // Three pairs shared at the begin; pair 4.
        &[0x40 | 3, 0],
    ];
    // Pairs 0 and 3: whatever is called `up` has the job `x`.
    let tails = [&u32s(&[1, 4, 0, 3])[..], &[2, 0, 2]];
    // Runs: of three from 0, one from 0, two from 1, three from 0, one from 2.
    let postings = [
        &u32s(&[5, 4, 0, 10])[..],
        &[
            3 << 2 | 1,
            0,
            1 << 2 | 1,
            0,
            2 << 2 | 1,
            1,
            3 << 2 | 1,
            0,
            1 << 2 | 1,
            2,
        ],
    ];
    // Four slots for three series, whose number takes two bits.
    let mut slots = [0; 4];
    for (labels, slot) in sets.iter().zip(1..) {
        let mut bytes = Vec::new();
        for (name, value) in labels.iter() {
            for text in [name, value] {
                bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
                bytes.extend_from_slice(text.as_bytes());
            }
        }
        let hash = xxhash_rust::xxh3::xxh3_64(&bytes);
        let mut at = (hash >> 62) as usize;
        while slots[at] != 0 {
            at = (at + 1) % 4;
        }
        slots[at] = (hash as u32) << 2 | slot;
    }
    assert_eq!(
        builder.finish(),
        [
            (SectionKind::Symbols, symbols.concat()),
            (SectionKind::Pairs, pairs.concat()),
            (SectionKind::Series, series.concat()),
            (SectionKind::Postings, postings.concat()),
            (SectionKind::Lookup, u32s(&slots)),
            (SectionKind::Ids, u32s(&[7, 3, 4])),
            (SectionKind::Tails, tails.concat()),
        ]
    );
}
