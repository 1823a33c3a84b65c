//! Logging the way Prometheus logs.
