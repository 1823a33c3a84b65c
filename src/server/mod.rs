//! Builds the whole server; start and stop order.

mod external_url;
mod listen;
