//! Builds the whole server; start and stop order.
