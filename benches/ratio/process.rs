//! What a process has used, as Linux counts it: <https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>.

/// Processor time of a process, all of its threads, in µs. Counted in ticks of 10 ms.
pub(crate) fn cpu_us(pid: u32) -> f64 {
    cpu_us_in(&std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default())
}

/// The same of those threads of a process whose names begin so.
pub(crate) fn cpu_us_of_threads(pid: u32, names: &[&str]) -> f64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let stats = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
    let is_named = |stat: &String| {
        let name = stat.split_once('(').map_or("", |(_, behind)| behind);
        names.iter().any(|wanted| name.starts_with(wanted))
    };
    stats.filter(is_named).map(|stat| cpu_us_in(&stat)).sum()
}

/// What a `stat` says.
fn cpu_us_in(stat: &str) -> f64 {
    /// `getconf CLK_TCK`: 100 on every Linux that this runs on.
    const TICKS_PER_SECOND: f64 = 100.0;
    // The name, in parentheses, may hold blanks.
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 =
        behind_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    ticks / TICKS_PER_SECOND * 1e6
}

/// The same of several processes.
pub(crate) fn cpu_us_of(pids: &[u32]) -> f64 {
    pids.iter().map(|pid| cpu_us(*pid)).sum()
}

/// The most memory that was ever resident, MB.
pub(crate) fn peak_mb(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: f64 = kib.and_then(|kib| kib.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0.0);
    kib * 1024.0 / 1e6
}

/// The processes below that one, itself included: a peer may be started by a shell or a wrapper.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    std::iter::once(pid).chain(children.flat_map(family)).collect()
}
