//! Samples that are pushed to us.
