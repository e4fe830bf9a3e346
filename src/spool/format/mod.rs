//! The bytes of a batch file; [`crate::spool`] describes them.

pub(crate) mod frame;
pub(crate) mod note;
pub(crate) mod record;
pub(crate) mod wire;
