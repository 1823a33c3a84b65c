//! Prometheus's chunks: what is read is written, and reads the same again.
//!
//! The first byte says the encoding, as in Prometheus's protocol.

use narthex_storage::{
    ChunkEncoding, ChunkWriter, Histogram, HistogramColumns, HistogramCounts, PrometheusChunk,
    internals::{ChunkSamples, decode_chunk},
};

pub(super) fn check(bytes: &[u8]) -> bool {
    let (encoding, chunk) = match bytes {
        [1, chunk @ ..] => (ChunkEncoding::Xor, chunk),
        [2, chunk @ ..] => (ChunkEncoding::Histogram, chunk),
        [3, chunk @ ..] => (ChunkEncoding::FloatHistogram, chunk),
        _ => return false,
    };
    let Ok(samples) = decode_chunk(encoding, chunk) else {
        return false;
    };
    let mut writer = ChunkWriter::new();
    let mut chunks: Vec<PrometheusChunk> = Vec::new();
    match &samples {
        ChunkSamples::Floats(floats) => {
            for sample in floats {
                chunks.extend(writer.float(sample.time, sample.value));
            }
        }
        ChunkSamples::Histograms(times, columns) => {
            assert_eq!(times.len(), columns.len());
            for (index, time) in times.iter().enumerate() {
                chunks.extend(writer.histogram(*time, columns, index));
            }
        }
    }
    chunks.extend(writer.finish());
    let mut again = Vec::new();
    for chunk in &chunks {
        let samples = decode_chunk(chunk.encoding, &chunk.bytes);
        texts(&samples.expect("what is written is read"), &mut again);
    }
    let mut expected = Vec::new();
    texts(&samples, &mut expected);
    assert_eq!(again, expected);
    true
}

/// Each sample as text, bit for bit but for its hint.
fn texts(samples: &ChunkSamples, out: &mut Vec<String>) {
    match samples {
        ChunkSamples::Floats(floats) => {
            let texts = floats
                .iter()
                .map(|one| format!("{} {:x}", one.time, one.value.to_bits()));
            out.extend(texts);
        }
        ChunkSamples::Histograms(times, columns) => {
            let texts = times.iter().enumerate();
            out.extend(texts.map(|(index, time)| format!("{time} {}", text(columns, index))));
        }
    }
}

fn text(columns: &HistogramColumns, index: usize) -> String {
    let Histogram {
        layout,
        sum,
        counts,
        ..
    } = columns.get(index);
    // The sign of a zero is not kept in these two.
    let bits = |value: &f64| (value + 0.0).to_bits();
    let layout = format!(
        "{} {:x} {:?} {:?} {:x?}",
        layout.schema,
        bits(&layout.zero_threshold),
        layout.positive_spans,
        layout.negative_spans,
        layout.custom_bounds.iter().map(bits).collect::<Vec<_>>(),
    );
    let counts = match counts {
        HistogramCounts::Integer(counts) => format!("{counts:?}"),
        HistogramCounts::Float(counts) => {
            let buckets = counts.positive.iter().chain(&counts.negative);
            let all = [&counts.count, &counts.zero].into_iter().chain(buckets);
            format!(
                "{:x?}",
                all.map(|count| count.to_bits()).collect::<Vec<_>>()
            )
        }
    };
    format!("{layout} {:x} {counts}", sum.to_bits())
}
