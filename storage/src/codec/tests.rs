//! Round trips, hostile bytes and golden bytes of the codec.

use proptest::prelude::*;

use super::*;
use crate::{STALE_MARKER_BITS, Timestamp, test_support::proptest_cases};

fn page(values: &[f64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_values(values, &mut bytes);
    bytes
}

fn column(times: &[Timestamp]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_times(times, &mut bytes);
    bytes
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Decodes the whole page and a stretch of it, and compares bit for bit.
fn check_page(values: &[f64]) -> usize {
    let bytes = page(values);
    let parsed = ValuePage::parse(&bytes).unwrap();
    assert_eq!(parsed.len(), values.len());
    assert_eq!(
        bytes[1] & 0x80 != 0,
        bits(values).contains(&STALE_MARKER_BITS)
    );
    let mut out = vec![0.5; values.len()];
    parsed.decode_range(0, &mut out).unwrap();
    assert_eq!(bits(&out), bits(values));
    for skip in [1, values.len() / 3, values.len() / 2, values.len() - 1] {
        let skip = skip.min(values.len() - 1);
        let mut part = vec![0.5; (values.len() - skip).div_ceil(2)];
        parsed.decode_range(skip, &mut part).unwrap();
        assert_eq!(bits(&part), bits(&values[skip..skip + part.len()]));
    }
    let mut beyond = vec![0.5; values.len() + 1];
    assert!(parsed.decode_range(0, &mut beyond).is_err());
    bytes.len()
}

/// Values as series have them: one class a page, some of it replaced by specials.
fn values() -> impl Strategy<Value = Vec<f64>> {
    let counter =
        (0_u64..1 << 50, prop::collection::vec(0_u32..5000, 1..1024)).prop_map(|(start, steps)| {
            let mut value = start;
            steps
                .iter()
                .map(|step| {
                    value = if *step == 17 {
                        0
                    } else {
                        value + u64::from(*step)
                    };
                    value as f64
                })
                .collect()
        });
    let decimals = (
        0_u32..17,
        prop::collection::vec(-1_000_000_i64..10_000_000, 1..1024),
    )
        .prop_map(|(digits, integers)| {
            integers
                .iter()
                .map(|integer| format!("{integer}e-{digits}").parse().unwrap())
                .collect()
        });
    let raw = prop::collection::vec(any::<u64>().prop_map(f64::from_bits), 1..300);
    let few = prop::collection::vec(
        prop::sample::select(vec![
            0.0,
            -0.0,
            1.0,
            0.1,
            1e15,
            1e300,
            f64::MIN_POSITIVE,
            5e-324,
        ]),
        1..200,
    );
    let constant =
        (any::<u64>(), 1_usize..1024).prop_map(|(bits, len)| vec![f64::from_bits(bits); len]);
    let large = prop::collection::vec(
        (-9_007_199_254_740_993_i64..=9_007_199_254_740_993).prop_map(|x| x as f64),
        1..300,
    );
    // Sums of decimals stray from decimals.
    let near = (
        -1000_i32..1000,
        1_u32..10,
        prop::collection::vec(-500_i32..1000, 1..1024),
    )
        .prop_map(|(start, digits, steps)| {
            let unit = 10_f64.powi(-(digits as i32));
            let mut sum = f64::from(start) * 0.37;
            let mut add = |step: i32| {
                sum += f64::from(step) * unit;
                sum
            };
            steps.iter().map(|step| add(*step)).collect()
        });
    let class: BoxedStrategy<Vec<f64>> =
        prop_oneof![counter, decimals, raw, few, constant, large, near].boxed();
    let special = prop::sample::select(vec![
        STALE_MARKER_BITS,
        0x7ff8_0000_0000_0001,
        0xfff0_dead_beef_0001,
        f64::INFINITY.to_bits(),
        f64::NEG_INFINITY.to_bits(),
        (-0.0_f64).to_bits(),
        0.1_f64.sqrt().to_bits(),
    ]);
    (
        class,
        prop::collection::vec((any::<prop::sample::Index>(), special), 0..20),
    )
        .prop_map(|(mut values, specials)| {
            for (index, bits) in specials {
                let len = values.len();
                values[index.index(len)] = f64::from_bits(bits);
            }
            values
        })
}

fn times() -> impl Strategy<Value = Vec<Timestamp>> {
    let regular = (any::<i32>(), 1_i64..100_000, 1_usize..500).prop_map(|(start, step, len)| {
        (0..len as i64)
            .map(|index| i64::from(start) * 1000 + index * step)
            .collect()
    });
    let wild = prop::collection::btree_set(any::<i64>(), 1..300)
        .prop_map(|times| times.into_iter().collect());
    let jittery =
        (any::<i32>(), prop::collection::vec(1_i64..20, 1..500)).prop_map(|(start, steps)| {
            let mut time = i64::from(start);
            steps
                .iter()
                .map(|step| {
                    time += 15_000 + step;
                    time
                })
                .collect()
        });
    prop_oneof![regular, wild, jittery]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(proptest_cases(96)))]

    #[test]
    fn values_come_back_bit_for_bit(values in values()) {
        check_page(&values);
    }

    #[test]
    fn times_come_back(times in times()) {
        let mut out = vec![7];
        decode_times(&column(&times), &mut out).unwrap();
        prop_assert_eq!(&out[1..], &times[..]);
    }

    #[test]
    fn damaged_pages_end_in_an_answer_or_an_error(
        values in values(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = page(&values);
        for (index, byte) in damage {
            let len = bytes.len();
            bytes[index.index(len)] = byte;
        }
        replay_page(&bytes);
        replay_page(&bytes[..cut.index(bytes.len())]);
    }

    #[test]
    fn hostile_bytes_end_in_an_answer_or_an_error(
        head in prop::sample::select(vec![0x10_u8, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17]),
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        bytes.insert(0, head);
        replay_page(&bytes);
        replay_times(&bytes);
    }
}

/// What the fuzz target of pages does.
fn replay_page(bytes: &[u8]) {
    let Ok(values) = decoded(bytes) else {
        return;
    };
    assert!(values.len() <= VALUES_MAX);
    assert_eq!(bits(&decoded(&page(&values)).unwrap()), bits(&values));
    // A part of it is the same, and so is each value alone.
    let parsed = ValuePage::parse(bytes).unwrap();
    let (skip, len) = (values.len() / 3, values.len().div_ceil(2));
    let mut part = vec![0.5; len];
    parsed.decode_range(skip, &mut part).unwrap();
    assert_eq!(bits(&part), bits(&values[skip..skip + len]));
    for index in [0, skip, values.len() - 1] {
        let mut value = [0.5];
        parsed.decode_range(index, &mut value).unwrap();
        assert_eq!(bits(&value), bits(&values[index..=index]));
    }
}

fn decoded(bytes: &[u8]) -> Result<Vec<f64>, CodecError> {
    let page = ValuePage::parse(bytes)?;
    let mut out = vec![0.0; page.len()];
    page.decode_range(0, &mut out)?;
    Ok(out)
}

/// What the fuzz target of time columns does.
fn replay_times(bytes: &[u8]) {
    let mut out = Vec::new();
    if decode_times(bytes, &mut out).is_ok() {
        assert!(out.len() <= TIMES_MAX && out.is_sorted_by(|a, b| a < b));
    } else {
        assert_eq!(out, Vec::<Timestamp>::new());
    }
}

/// The fuzz targets' corpus, file by file: does it decode?
#[test]
fn the_fuzz_corpus_replays() {
    use crate::{Fs, RealFs};
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus");
    let mut verdicts = String::new();
    for kind in ["page", "times"] {
        for entry in RealFs.list(&corpus.join(kind)).unwrap() {
            let bytes = RealFs.read(&corpus.join(kind).join(&entry.name)).unwrap();
            let verdict = if kind == "page" {
                replay_page(&bytes);
                decoded(&bytes).map(|values| values.len())
            } else {
                replay_times(&bytes);
                let mut out = Vec::new();
                decode_times(&bytes, &mut out).map(|()| out.len())
            };
            let verdict = match verdict {
                Ok(len) => len.to_string(),
                Err(error) => error.to_string(),
            };
            verdicts += &[kind, " ", &entry.name, ": ", &verdict, "\n"].concat();
        }
    }
    assert_eq!(verdicts, CORPUS);
}

const CORPUS: &str = "\
page bad-divisor-zero: expected a positive divisor
page bad-near-decimals-too-long: expected a column of decimals
page bad-near-mode: expected known modes of a page of near decimals
page bad-patch-outside: expected a patch behind the one before, within its block and 64 bits
page bad-special-outside: expected specials within their page
page bad-width-over-64: expected a block's width of at most 64 bits
page good-constant-decimal: 2
page good-constant-integer: 3
page good-constant-stale: 1
page good-near: 3
page good-near-specials: 4
page good-near-without-decimals: 3
page good-patched: 9
page good-raw: 1
page good-specials: 4
page good-steps: 5
page good-wide: 2
times bad-falling: expected strictly rising timestamps
times bad-too-many: expected a time column of 1 to 65536 timestamps
times bad-zero-steps: expected strictly rising timestamps
times good-own-steps: 3
times good-regular: 4
";

#[test]
fn extremes_come_back() {
    let max = i64::MAX;
    for times in [
        vec![0],
        vec![i64::MIN, max],
        vec![i64::MIN, -1, 0, max],
        vec![i64::MIN, i64::MIN + 1],
        vec![0, max],
    ] {
        let mut out = Vec::new();
        decode_times(&column(&times), &mut out).unwrap();
        assert_eq!(out, times);
    }
    let stale = f64::from_bits(STALE_MARKER_BITS);
    check_page(&[stale]);
    check_page(&[0.0, -0.0]);
    check_page(&[stale, 1.5, stale]);
    check_page(&[f64::NAN; 1024]);
    check_page(&[f64::MAX, f64::MIN, 5e-324, -5e-324, 0.1 + 0.2, -0.1 - 0.2]);
    check_page(&[9_007_199_254_740_992.0, -9_007_199_254_740_992.0, 0.1]);
    check_page(
        &(0..1024)
            .map(|index| f64::from(index).sqrt())
            .collect::<Vec<_>>(),
    );
    let mut only_one_integer = vec![f64::NAN; 300];
    only_one_integer[200] = 3.0;
    check_page(&only_one_integer);
}

/// The layout of `docs/format.md`, by hand.
#[test]
fn golden_bytes() {
    // Version 1 kind 1, exponent 0, count 3 - 1, zigzag(7).
    assert_eq!(page(&[7.0; 3]), [0x11, 0x00, 2, 14]);
    // Exponent 2: 0.25 is 25 / 10^2.
    assert_eq!(page(&[0.25; 2]), [0x11, 0x02, 1, 50]);
    // Version 1 kind 0: a staleness marker alone.
    assert_eq!(
        page(&[f64::from_bits(STALE_MARKER_BITS)]),
        [0x10, 0x80, 0, 2, 0, 0, 0, 0, 0, 0xf0, 0x7f]
    );
    // Kind 4 + 1 (steps): first 100, divisor 10, base 1, one block of width 1 with 4 steps
    // 1, 2, 1, 2 stored as 0, 1, 0, 1.
    assert_eq!(
        page(&[100.0, 110.0, 130.0, 140.0, 160.0]),
        [0x15, 0x00, 4, 200, 1, 10, 2, 1, 0b1010]
    );
    // A staleness marker (gap 2, code 0) in the place of a repeated integer.
    assert_eq!(
        page(&[1.0, 2.0, f64::from_bits(STALE_MARKER_BITS), 4.0]),
        [0x14, 0xc0, 3, 0, 2 << 2, 2, 1, 2, 2, 0b10_00_00]
    );
    // Two raw floats.
    let raw = [0.1_f64.sqrt(), 0.2_f64.sqrt()];
    let mut expected = vec![0x12, 0x00, 1];
    expected.extend(raw.iter().flat_map(|value| value.to_le_bytes()));
    assert_eq!(page(&raw), expected);
    // Kind 3, exponent 1: 3, 4, 5 in 4 bytes as steps of 1, and one double above, at, one below.
    assert_eq!(
        page(&[0.1 + 0.2, 0.4, 0.5_f64.next_down()]),
        [0x13, 0x01, 2, 0x11, 4, 6, 1, 2, 0, 2, 1, 1, 0]
    );
    // The same with a staleness marker, which repeats both integers: offsets 1, 1, 2 above a base
    // of 1, and -1, -1, -2 above one of -2.
    let stale = f64::from_bits(STALE_MARKER_BITS);
    assert_eq!(
        page(&[0.1 + 0.2, 0.4, stale, 0.5_f64.next_down()]),
        [
            0x13, 0xc1, 3, 0, 8, 0x00, 5, 6, 1, 2, 1, 0b100, 2, 1, 3, 1, 0b011
        ]
    );
    // No decimals: three neighbours, as many doubles above 0 as their bits say.
    let pi = std::f64::consts::PI;
    let mut expected = vec![0x13, 0x00, 2, 0xf1];
    put_zigzag(pi.to_bits() as i64, &mut expected);
    expected.extend([1, 2, 0]);
    assert_eq!(page(&[pi, pi.next_up(), pi.next_up().next_up()]), expected);
    // Times: steps of 15,000 are the divisor, the base is 1, the block has no bits.
    assert_eq!(
        column(&[0, 15_000, 30_000, 45_000]),
        [0x11, 4, 0, 0x98, 0x75, 2, 0]
    );
    // One number of 7 bits among 2-bit ones is a patch: index 4, 100 >> 2 = 25.
    let mut bytes = Vec::new();
    bitpack::write(&[1, 2, 3, 0, 100, 1, 1, 1], 2, &mut bytes);
    assert_eq!(bytes, [0x82, 0b00_11_10_01, 0b01_01_01_00, 1, 4, 25]);
    let mut numbers = [9_i64; 8];
    assert_eq!(read_block(&mut Cursor::new(&bytes), &mut numbers), Ok(7));
    assert_eq!(numbers, [1, 2, 3, 0, 100, 1, 1, 1]);
}

#[test]
fn blocks_are_planned_to_take_the_fewest_bytes() {
    let mut random = 1_u64;
    let mut next = || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        random >> 32
    };
    for len in [1, 2, 5, 40, 127, 128] {
        for most in [0, 1, 3, 8, 20, 50, 51, 52, 64] {
            // Few of most bits, and all with some zeros in front.
            for shape in 0..3 {
                let numbers: Vec<u64> = (0..len)
                    .map(|_| {
                        let bits = match shape {
                            0 => most.min(next() % 65),
                            1 if next() % 8 != 0 => most / 4,
                            _ => most,
                        };
                        let number = next() << 32 | next();
                        if bits == 0 { 0 } else { number >> (64 - bits) }
                    })
                    .collect();
                let size = |width: u32| {
                    let mut bytes = Vec::new();
                    bitpack::write(&numbers, width, &mut bytes);
                    bytes.len()
                };
                let patches = |width: u32| {
                    let wide = numbers.iter().filter(|n| width < 64 && *n >> width != 0);
                    wide.count()
                };
                let widths = (0..=64).filter(|width| patches(*width) <= numbers.len() / 4);
                let fewest = widths.map(size).min().unwrap();
                let (width, planned) = bitpack::plan(&numbers, usize::MAX).unwrap();
                assert_eq!((planned, size(width)), (fewest, fewest), "{numbers:?}");
                assert_eq!(bitpack::plan(&numbers, fewest + 1), Some((width, fewest)));
                assert_eq!(bitpack::plan(&numbers, fewest), None);
            }
        }
    }
}

fn read_block(cursor: &mut Cursor<'_>, out: &mut [i64]) -> Result<u32, CodecError> {
    let block = bitpack::Block::read(cursor, out.len())?;
    block.numbers(cursor, out)
}

#[test]
fn blocks_of_every_width_come_back() {
    for width in 0..=64 {
        for len in [1, 7, 64, 127, 128] {
            let top = if width == 0 {
                0
            } else {
                u64::MAX >> (64 - width)
            };
            let numbers: Vec<u64> = (0..len as u64)
                .map(|index| index.wrapping_mul(0x9e37_79b9_7f4a_7c15) & top)
                .collect();
            for stored in [width, width / 2] {
                let mut bytes = Vec::new();
                bitpack::write(&numbers, stored, &mut bytes);
                let signed: Vec<i64> = numbers.iter().map(|number| *number as i64).collect();
                // With and without bytes behind the block.
                let mut longer = bytes.clone();
                longer.extend([0xa5; 80]);
                for (bytes, behind) in [(&bytes, 0), (&longer, 80)] {
                    let mut out = vec![-1_i64; len];
                    let mut cursor = Cursor::new(bytes);
                    let bits = read_block(&mut cursor, &mut out).unwrap();
                    assert_eq!((&out, cursor.rest().len()), (&signed, behind));
                    assert!(numbers.iter().all(|n| 64 - n.leading_zeros() <= bits));
                }
                let mut cursor = Cursor::new(&bytes);
                bitpack::skip(&mut cursor, len).unwrap();
                assert_eq!(cursor.rest(), &[]);
                if len == bitpack::BLOCK {
                    let mut cursor = Cursor::new(&longer);
                    let sum = bitpack::sum(&mut cursor).unwrap();
                    let added = numbers.iter().fold(0, |sum: u64, n| sum.wrapping_add(*n));
                    // Where it is not told the cursor stays.
                    let (expected, behind) = if stored <= 8 {
                        (Some(added), 80)
                    } else {
                        (None, longer.len())
                    };
                    assert_eq!((sum, cursor.rest().len()), (expected, behind));
                }
            }
        }
    }
}

/// Devops-like series take about what the design foresaw; loose bounds, for a change that breaks an
/// encoding.
#[test]
fn common_series_are_small() {
    let per_value = |values: Vec<f64>| check_page(&values) as f64 / values.len() as f64;
    let noise = |index: u64| index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    assert!(per_value(vec![42.0; 120]) < 0.04);
    assert!(per_value((0..480).map(|index| f64::from(index * 15)).collect()) < 0.03);
    let mut total = 0;
    let counter = (0..480).map(|index| {
        total += 1000 + noise(index) % 128;
        total as f64
    });
    assert!(per_value(counter.collect()) < 1.0);
    let ratio = (0..480).map(|index| (noise(index) % 10_000) as f64 / 10_000.0);
    assert!(per_value(ratio.collect()) < 1.9);
    let mut seconds = 1.0;
    let sum_of_decimals = (0..480).map(|index| {
        seconds += (noise(index) % 100) as f64 / 1000.0;
        seconds
    });
    assert!(per_value(sum_of_decimals.collect()) < 1.5);
    // Numbers in one binade share twelve bits.
    let ratio = (0..480).map(|index| 1.0 + (noise(index) as f64).sqrt() / 8192.0);
    assert!(per_value(ratio.collect()) < 6.7);
}
