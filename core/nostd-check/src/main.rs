//! A program without std around `keepbeat-core` with its default features.
//!
//! It brings its own panic handler. A program can have only one, and std brings one too: as soon as any dependency
//! links std, the build fails with E0152 (duplicate lang item). `scripts/check-no-std` builds it, and builds it once
//! more with the feature `prove-it-fails` to see that failure happen. The program is built and never run.

#![no_std]
#![no_main]

use core::alloc::{GlobalAlloc, Layout};
use core::ffi::c_int;
use core::hint;
use core::panic::PanicInfo;
use core::ptr;

use keepbeat_core::time::Timestamp;

#[unsafe(no_mangle)]
extern "C" fn main() -> c_int {
    c_int::from(Timestamp::ZERO.as_nanos() != 0)
}

/// Has no memory to give. `alloc` needs an allocator to link, not to have one that works.
struct NoMemory;

#[global_allocator]
static ALLOCATOR: NoMemory = NoMemory;

// SAFETY: a null pointer is the documented answer for "no memory", and nothing that was handed out can come back.
unsafe impl GlobalAlloc for NoMemory {
    unsafe fn alloc(&self, _layout: Layout) -> *mut u8 {
        ptr::null_mut()
    }

    unsafe fn dealloc(&self, _pointer: *mut u8, _layout: Layout) {}
}

#[panic_handler]
fn panic(_info: &PanicInfo<'_>) -> ! {
    loop {
        hint::spin_loop();
    }
}

// The precompiled `core` and `alloc` were built to unwind and name these two symbols. With panic = "abort" nothing
// calls them; they only have to exist.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    loop {
        hint::spin_loop();
    }
}

// The entry point, memcpy and their like. std would have linked it.
#[link(name = "c")]
unsafe extern "C" {}
