//! Tells the engine its own address among servers, which the "local" program never does.
//!
//! Two places of the library's code are changed in memory, after the bytes that stand there were compared: `Context::getInterserverIOAddress`
//! answers 127.0.0.1 and the given port, and the fetching of a part takes empty credentials where the program has none at all. Nothing but
//! this one build of the library can be changed so; for a server that people use there is no need to.
#![allow(unsafe_code, reason = "code of the loaded library is changed, for tests with replicas only")]

use std::fs;
use std::slice;

use anyhow::{Context, bail, ensure};
use rustix::mm::{MprotectFlags, mprotect};

/// `Context::getInterserverIOAddress` of libchdb 26.7.3-stable.1, from the library's first byte.
const ADDRESS: usize = 0x1417_c9c0;
/// Its first instructions: push r14; push rbx; sub rsp, 0x48; mov r14, \[rsi\].
const ADDRESS_BEGINS: [u8; 10] = [0x41, 0x56, 0x53, 0x48, 0x83, 0xec, 0x48, 0x4c, 0x8b, 0x36];
/// Where the fetching of a part takes the credentials: mov rax, \[rbx + 0xc0\].
const CREDENTIALS: usize = 0x179c_6000;
const CREDENTIALS_BEGIN: [u8; 7] = [0x48, 0x8b, 0x83, 0xc0, 0, 0, 0];
/// Behind the new code: two empty strings, which serve as credentials.
const EMPTY: usize = 0x80;
const PAGE: usize = 4096;

/// Lets the engine, which must be loaded and not yet run, answer that other replicas reach it at `port` of 127.0.0.1.
///
/// # Errors
/// It is not the one build whose code is known.
pub(crate) fn patch(port: u16) -> anyhow::Result<()> {
    ensure!(cfg!(all(target_arch = "x86_64", target_os = "linux")), "a replica takes Linux on x86-64");
    let base = base()?;
    let (address, credentials) = (base + ADDRESS, base + CREDENTIALS);
    let offset = i64::try_from(address + EMPTY)? - i64::try_from(credentials + CREDENTIALS_BEGIN.len())?;
    let offset = i32::try_from(offset)?;
    // lea rax, [rip + offset]
    let lea = [&[0x48, 0x8d, 0x05], &offset.to_le_bytes()[..]].concat();
    replace(credentials, &CREDENTIALS_BEGIN, &lea)?;
    replace(address, &ADDRESS_BEGINS, &answer(port)?)
}

/// The new function: fills the structure behind rdi (a string and a port), sets the scheme "http" in the shared context, returns rdi.
fn answer(port: u16) -> anyhow::Result<Vec<u8>> {
    const HOST: &[u8] = b"127.0.0.1";
    // A short string of libc++: 23 bytes of text, then its length.
    let mut string = [0; 24];
    string[..HOST.len()].copy_from_slice(HOST);
    string[23] = u8::try_from(HOST.len())?;
    let mut code = Vec::new();
    for (word, at) in string.chunks(8).zip([0, 8, 16]) {
        // mov rax, word; mov [rdi + at], rax
        code.extend([&[0x48, 0xb8], word, &[0x48, 0x89, 0x47, at]].concat());
    }
    // mov word [rdi + 24], port
    code.extend([&[0x66, 0xc7, 0x47, 0x18], &port.to_le_bytes()[..]].concat());
    // mov rcx, [rsi]; mov dword [rcx + 0x170], "http"; mov byte [rcx + 0x174], 0; mov byte [rcx + 0x187], 4
    code.extend([0x48, 0x8b, 0x0e]);
    code.extend([&[0xc7, 0x81, 0x70, 0x01, 0, 0], &b"http"[..]].concat());
    code.extend([0xc6, 0x81, 0x74, 0x01, 0, 0, 0, 0xc6, 0x81, 0x87, 0x01, 0, 0, 4]);
    // mov rax, rdi; ret
    code.extend([0x48, 0x89, 0xf8, 0xc3]);
    ensure!(code.len() <= EMPTY, "the new code is too long");
    code.resize(EMPTY, 0xcc);
    code.extend([0; 48]);
    Ok(code)
}

/// Where the library lies.
fn base() -> anyhow::Result<usize> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let starts = maps.lines().filter(|line| line.ends_with("libchdb.so")).filter_map(|line| line.split('-').next());
    let starts = starts.map(|start| usize::from_str_radix(start, 16)).collect::<Result<Vec<_>, _>>()?;
    starts.into_iter().min().context("libchdb.so is not loaded under this name")
}

fn replace(at: usize, old: &[u8], new: &[u8]) -> anyhow::Result<()> {
    let page = at & !(PAGE - 1);
    let size = (at + new.len() - page).next_multiple_of(PAGE);
    // SAFETY: the library is loaded and never unloaded; `at` lies in its code if it is the known build, and if it is another one the
    // offset is far below its size of 500 MB: the bytes can be read.
    let found = unsafe { slice::from_raw_parts(at as *const u8, old.len()) };
    if found != old {
        bail!(
            "this is another build of libchdb.so than the one whose code is known; a replica needs libchdb-26.7.3-stable.1"
        );
    }
    let writable = MprotectFlags::READ | MprotectFlags::WRITE | MprotectFlags::EXEC;
    // SAFETY: whole pages of the library's code, which was just compared; the engine does not run yet, so nothing executes there.
    unsafe {
        mprotect(page as *mut _, size, writable)?;
        std::ptr::copy_nonoverlapping(new.as_ptr(), at as *mut u8, new.len());
        mprotect(page as *mut _, size, MprotectFlags::READ | MprotectFlags::EXEC)?;
    }
    Ok(())
}
