//! Scraping: from targets to rows in the store.

pub mod exposition;
