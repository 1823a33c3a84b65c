//! A remote-write 1.0 request, encoded by hand so that the tests do not lean on the code they test.

/// One series to push.
#[derive(Debug, Clone)]
pub(crate) struct Pushed {
    pub(crate) labels: Vec<(String, String)>,
    /// Milliseconds and value.
    pub(crate) samples: Vec<(i64, f64)>,
}

impl Pushed {
    pub(crate) fn new(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Self {
        Self {
            labels: labels
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect(),
            samples: samples.to_vec(),
        }
    }
}

/// The snappy-compressed `WriteRequest`.
pub(crate) fn encode(series: &[Pushed]) -> Vec<u8> {
    let mut request = Vec::new();
    for one in series {
        let mut body = Vec::new();
        for (name, value) in &one.labels {
            let mut label = Vec::new();
            bytes(&mut label, 1, name.as_bytes());
            bytes(&mut label, 2, value.as_bytes());
            bytes(&mut body, 1, &label);
        }
        for (time, value) in &one.samples {
            let mut sample = vec![1 << 3 | 1];
            sample.extend_from_slice(&value.to_le_bytes());
            sample.push(2 << 3);
            varint(&mut sample, *time as u64);
            bytes(&mut body, 2, &sample);
        }
        bytes(&mut request, 1, &body);
    }
    snap::raw::Encoder::new().compress_vec(&request).unwrap()
}

fn bytes(out: &mut Vec<u8>, field: u8, content: &[u8]) {
    out.push(field << 3 | 2);
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
