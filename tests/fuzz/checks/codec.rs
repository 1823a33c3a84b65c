//! Value pages and time columns, and the parts of a block: what decodes is encoded and decoded again.

pub(super) use narthex_storage::internals::{
    check_bitmap, check_directory, check_page, check_presence, check_times,
};
