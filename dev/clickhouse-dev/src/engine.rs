//! The one call into the shared library, and with the patch for replicas the project's only unsafe code.
#![allow(
    unsafe_code,
    reason = "ClickHouse is a C library here: it is loaded at run time and called through one function"
)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;

use anyhow::{Context, bail};

/// What `query_stable_v2` returns; the layout is chDB's `local_result_v2`.
#[repr(C)]
struct LocalResult {
    buf: *mut c_char,
    len: usize,
    vec: *mut c_void,
    elapsed: f64,
    rows_read: u64,
    bytes_read: u64,
    error_message: *mut c_char,
}

type QueryStable = unsafe extern "C" fn(c_int, *mut *mut c_char) -> *mut LocalResult;

/// Runs ClickHouse's "local" program with these arguments, as a replica where it has a port for others. It returns only when the engine stops.
///
/// # Errors
/// When the library cannot be loaded, or with what the engine says.
pub(crate) fn run(library: &Path, arguments: &[String], interserver_port: Option<u16>) -> anyhow::Result<()> {
    let arguments = arguments
        .iter()
        .map(|argument| CString::new(argument.as_str()))
        .collect::<Result<Vec<_>, _>>()
        .context("an argument holds a NUL byte")?;
    let mut argv: Vec<*mut c_char> = arguments.iter().map(|argument| argument.as_ptr().cast_mut()).collect();
    let argc = c_int::try_from(argv.len()).context("too many arguments")?;
    argv.push(std::ptr::null_mut());

    // SAFETY: loading runs the library's initialisers; the file is the one that this project's script fetched and checked,
    // or one that the person named.
    let library =
        unsafe { libloading::Library::new(library) }.with_context(|| format!("cannot load {}", library.display()))?;
    if let Some(port) = interserver_port {
        crate::replica::patch(port)?;
    }
    // SAFETY: the library exports this symbol with this signature since chDB 1.2.
    let query = unsafe { library.get::<QueryStable>(b"query_stable_v2\0") }
        .context("the library has no query_stable_v2: is it chDB's?")?;
    // SAFETY: argv holds argc pointers to NUL-terminated strings, which `arguments` keeps alive over the call, and a null
    // after them, as for a program's main.
    let result = unsafe { query(argc, argv.as_mut_ptr()) };
    // SAFETY: the function returns null or a result that stays ours; it is never freed, the process ends here.
    let Some(result) = (unsafe { result.as_ref() }) else {
        bail!("ClickHouse ended without saying why");
    };
    if result.error_message.is_null() {
        return Ok(());
    }
    // SAFETY: a non-null message is a NUL-terminated string that belongs to the result.
    let message = unsafe { CStr::from_ptr(result.error_message) };
    bail!("ClickHouse: {}", message.to_string_lossy())
}
