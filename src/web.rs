//! Routes outside `/api/v1`.
