//! Our own metrics, under the names that known dashboards read.
