//! Remote write bodies: what is accepted is encoded and decoded again, native histograms apart, which are only
//! decoded.
//!
//! The first byte says whether the body follows, or the message that is compressed to a body here.

use narthex::ingest::{Batch, BatchSeries};
use narthex_storage::{Labels, MetricType};

pub(super) fn check(bytes: &[u8]) -> bool {
    let batch = match bytes.split_first() {
        None => return false,
        Some((0, body)) => Batch::decode(body),
        Some((_, message)) => Batch::decode(&compress(message)),
    };
    let Ok(batch) = batch else {
        return false;
    };
    let again = Batch::decode(&compress(&encode(&batch)));
    let again = again.expect("what is encoded is accepted");
    let bits = |batch: &Batch| -> Vec<(Labels, Vec<(i64, u64)>)> {
        let series = batch.series.iter();
        let bits = |series: &BatchSeries| {
            let samples = series.samples.iter();
            (
                series.labels.clone(),
                samples.map(|one| (one.time, one.value.to_bits())).collect(),
            )
        };
        series.map(bits).collect()
    };
    assert_eq!(bits(&again), bits(&batch));
    assert_eq!(again.metadata, batch.metadata);
    true
}

fn compress(message: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new()
        .compress_vec(message)
        .expect("messages are short")
}

fn encode(batch: &Batch) -> Vec<u8> {
    let mut request = Vec::new();
    for BatchSeries {
        labels, samples, ..
    } in &batch.series
    {
        let mut series = Vec::new();
        for (name, value) in labels.iter() {
            let mut label = Vec::new();
            field(&mut label, 1, name.as_bytes());
            field(&mut label, 2, value.as_bytes());
            field(&mut series, 1, &label);
        }
        for sample in samples {
            let mut wire = vec![1 << 3 | 1];
            wire.extend_from_slice(&sample.value.to_le_bytes());
            wire.push(2 << 3);
            varint(&mut wire, sample.time as u64);
            field(&mut series, 2, &wire);
        }
        field(&mut request, 1, &series);
    }
    for (family, metadata) in &batch.metadata {
        let mut numbers = 0..8;
        let is_its = |number: &u8| MetricType::from_number(*number) == Some(metadata.kind);
        let mut wire = vec![1 << 3, numbers.find(is_its).expect("a type has a number")];
        field(&mut wire, 2, family.as_bytes());
        field(&mut wire, 4, metadata.help.as_bytes());
        field(&mut wire, 5, metadata.unit.as_bytes());
        field(&mut request, 3, &wire);
    }
    request
}

fn field(out: &mut Vec<u8>, number: u8, content: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
