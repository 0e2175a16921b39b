//! What the operating system says of this process.

/// Has the system give memory in pages of 4 KiB, where it gives more at once to those who ask for it, as the allocator does: with pages
/// of 2 MiB a short run has a third more memory resident, all of which the system clears first.
pub fn use_small_pages() {
    // SAFETY: the call takes numbers only, and changes nothing but how memory is given from now on.
    #[cfg(target_os = "linux")]
    unsafe {
        let [no, yes]: [libc::c_ulong; 2] = [0, 1];
        libc::prctl(libc::PR_SET_THP_DISABLE, yes, no, no, no)
    };
}

/// The most memory that the process has had resident, in bytes; 0 where the system does not say.
pub fn peak_bytes() -> u64 {
    status("VmHWM:")
}

/// The memory that the process has resident, in bytes; 0 where the system does not say.
pub fn resident_bytes() -> u64 {
    status("VmRSS:")
}

fn status(key: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix(key));
    line.and_then(|l| l.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// CPU seconds that the process has used, over all threads; 0 where the system does not say.
pub fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Fields after the command's closing parenthesis; utime and stime are the 12th and 13th of them.
    let Some((_, rest)) = text.rsplit_once(')') else { return 0.0 };
    let ticks: f64 = rest.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok()).sum();
    ticks / 100.0
}

/// CPU nanoseconds that the calling thread has used; 0 where the system does not say.
pub fn thread_cpu_nanos() -> u64 {
    #[cfg(unix)]
    {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the call writes to a place that is ours, and nothing else.
        let outcome = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
        if outcome == 0 {
            return (time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64);
        }
    }
    0
}
