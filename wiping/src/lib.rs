//! A global allocator that wipes memory before it gives it back to the one that it is made of, so that a key which passed through the buffers of TLS and HTTP is not found
//! in the process afterwards.
//!
//! A type that wipes itself helps for memory that one owns. A presented key lies in memory of hyper, h2, rustls and bytes, who free it like everything else: only who frees
//! can wipe it. This takes unsafe code, in a crate of its own: otelgate forbids it.

use std::alloc::{GlobalAlloc, Layout};

/// The largest block that is wiped, in bytes. A buffer in which a request's header can lie is no larger (an HTTP/2 frame has at most 64 KiB, an HTTP/1.1 header 32), and
/// larger ones, columns and bodies, are touched no more than they were: much of them may never have been written.
pub const LARGEST: usize = 128 * 1024;

/// This allocator, which wipes first.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wiping<A>(pub A);

// SAFETY: each block comes from the allocator inside and goes back to it with the layout that it came with; what is written is within the block, which is the caller's until then.
#[expect(unsafe_code, reason = "an allocator is")]
unsafe impl<A: GlobalAlloc> GlobalAlloc for Wiping<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is the same.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is the same.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if layout.size() <= LARGEST {
            // SAFETY: the block is of this size, and nobody reads it any more.
            unsafe { wipe(block, layout.size()) };
        }
        // SAFETY: the caller's promise is the same.
        unsafe { self.0.dealloc(block, layout) }
    }

    /// The allocator inside would leave the old block as it was where it moves what is in it.
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if layout.size() > LARGEST {
            // SAFETY: the caller's promise is the same.
            return unsafe { self.0.realloc(block, layout, size) };
        }
        // SAFETY: the caller promises that the size, rounded up to the alignment, is none that overflows.
        let larger = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: the caller promises that the size is not zero.
        let moved = unsafe { self.0.alloc(larger) };
        if !moved.is_null() {
            // SAFETY: both are of this size at least, and the new one is nobody else's.
            unsafe { std::ptr::copy_nonoverlapping(block, moved, layout.size().min(size)) };
            // SAFETY: the caller gives the old one up where the new one is there.
            unsafe { self.dealloc(block, layout) };
        }
        moved
    }
}

/// Zeros that no compiler leaves out because nobody reads them.
///
/// # Safety
/// The block is `size` bytes that may be written.
#[expect(unsafe_code, reason = "the caller's block")]
unsafe fn wipe(block: *mut u8, size: usize) {
    #[cfg(target_os = "linux")]
    // SAFETY: the caller's promise.
    unsafe {
        libc::explicit_bzero(block.cast(), size);
    }
    #[cfg(not(target_os = "linux"))]
    {
        // SAFETY: the caller's promise.
        unsafe { std::ptr::write_bytes(block, 0, size) };
        std::hint::black_box(block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static ALLOCATOR: Wiping<std::alloc::System> = Wiping(std::alloc::System);

    #[test]
    fn what_grows_and_shrinks_keeps_what_is_in_it() {
        for most in [3, 1000, LARGEST - 1, LARGEST, LARGEST + 1, 3 * LARGEST] {
            let mut bytes = Vec::new();
            bytes.extend((0..most).map(|at| (at % 251) as u8));
            bytes.shrink_to_fit();
            let half = most / 2;
            assert!(bytes.iter().enumerate().all(|(at, byte)| *byte == (at % 251) as u8), "{most}");
            bytes.truncate(half);
            bytes.shrink_to_fit();
            assert!(bytes.len() == half && bytes.iter().enumerate().all(|(at, byte)| *byte == (at % 251) as u8));
            assert!(vec![0_u8; most].iter().all(|byte| *byte == 0), "{most}");
        }
    }

    #[test]
    #[expect(unsafe_code, reason = "the block is its own")]
    fn a_wiped_block_is_zeros() {
        let mut block = [7_u8; 100];
        // SAFETY: the array is of this size, and may be written.
        unsafe { wipe(block.as_mut_ptr(), 60) };
        assert!(block[..60].iter().all(|byte| *byte == 0) && block[60..].iter().all(|byte| *byte == 7));
    }
}
