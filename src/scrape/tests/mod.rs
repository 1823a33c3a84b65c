//! Scraping as a whole: a store that remembers, a target that answers what it is told, set time.

mod fixture;
mod http;
mod rows;
mod store;
mod whole;
