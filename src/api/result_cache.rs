//! The answers of range queries that later ones go on from, and what is told of them.

use std::sync::Arc;

use narthex_query::ResultCache;

use crate::self_metrics::Registry;

/// An answer is kept when so many samples or more were read for each point of it: below that reading them again is
/// as quick.
const READ_MIN: u64 = 4;

/// A cache of so many bytes for a server, with its metrics.
pub fn result_cache(bytes_max: u64, registry: &Registry) -> Arc<ResultCache> {
    let cache = Arc::new(ResultCache::new(bytes_max, READ_MIN));
    let continued = registry.counter_gauge(
        "narthex_query_cache_continued_total",
        "Range queries that took steps from the answer of an earlier one.",
    );
    let evaluated = registry.counter_gauge(
        "narthex_query_cache_evaluated_total",
        "Range queries that could have taken steps from the answer of an earlier one, and were evaluated whole.",
    );
    let answers = registry.gauge(
        "narthex_query_cache_answers",
        "Answers of range queries that are kept for later ones.",
    );
    let bytes = registry.gauge(
        "narthex_query_cache_bytes",
        "What answers of range queries that are kept for later ones take in memory.",
    );
    let told = Arc::clone(&cache);
    registry.collect_with(move || {
        let stats = told.stats();
        continued.set(stats.continued as f64);
        evaluated.set(stats.evaluated as f64);
        answers.set(stats.answers as f64);
        bytes.set(stats.bytes as f64);
    });
    cache
}
