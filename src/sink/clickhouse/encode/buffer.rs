//! What is done to the memory of lists and columns: used again, and repeated at its end.

use crate::otlp::steps;

/// An empty list with another's memory, unless that is much.
pub(super) fn emptied<T, U>(mut list: Vec<T>) -> Vec<U> {
    const KEEP: usize = 4096;
    list.clear();
    list.shrink_to(KEEP);
    // Nothing is mapped: the list is empty. Collecting in place keeps its memory.
    list.into_iter().filter_map(|_| None).collect()
}

/// Appends what lies from `start` on so many times more; returns where the last of them begins.
pub(super) fn repeat_tail<T: Copy>(buffer: &mut Vec<T>, start: usize, times: usize) -> usize {
    let piece = buffer.len() - start;
    steps::count(piece * times);
    let end = buffer.len() + piece * times;
    buffer.reserve(end - buffer.len());
    while buffer.len() < end {
        let some = (end - buffer.len()).min(buffer.len() - start);
        buffer.extend_from_within(start..start + some);
    }
    end - piece
}
