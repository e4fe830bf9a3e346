//! Step 6, batch: requests are appended to open chunks, sealed chunks are frames, and frames line up in batches.

mod frame;

pub use frame::{Digest, Frame, KeyCounts, RequestNote};
