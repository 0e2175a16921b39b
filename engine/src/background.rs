//! Threads whose work can wait: what they write is not what anybody waits for, so where cores are short they go behind
//! those that take events and write results.

/// As `nice` counts; the system gives such a thread a tenth of what it gives others that want the same core.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// Has the calling thread go behind others from now on, and threads that it starts. Where the system does not allow
/// that, it goes on as it was.
pub fn go_behind() {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: a call without pointers; 0 is the calling thread.
        let outcome = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS) };
        if outcome != 0 {
            tracing::debug!(error = %std::io::Error::last_os_error(), "a thread in the background goes on as others do");
        }
    }
}
