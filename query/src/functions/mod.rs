//! PromQL's functions: one table of signatures, one file a family.

mod table;

pub use table::{FUNCTIONS, Function, FunctionId};
