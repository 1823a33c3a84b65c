//! `prometheus.yml`: load, defaults, validation.
