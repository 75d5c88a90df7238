use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a process has open before its first connection, where that cannot be counted.
const BASE: u64 = 64;

/// Raises the limit of open files to what this process may have, and returns how many connections
/// that carries, at most `wanted`.
///
/// A third of the files stays for connections to Wise, the store and logs: a proxy whose every file
/// is an application's connection can serve none of them.
pub(crate) fn affordable(wanted: usize) -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    // Refused where the soft limit is the last word; then that one counts.
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(_) => current,
    };
    let Some(limit) = limit else {
        return wanted;
    };
    let open = std::fs::read_dir("/proc/self/fd").map_or(BASE, |open| open.count() as u64);
    let most = carried(limit.saturating_sub(open));
    if most < wanted {
        tracing::warn!(
            limit,
            connections = most,
            "too few files may be open for runtime.max_connections; raise `ulimit -n` (LimitNOFILE)"
        );
    }
    most.min(wanted)
}

/// How many connections so many free files carry, with the spare places beside them.
fn carried(free: u64) -> usize {
    let all = usize::try_from(free / 3 * 2).unwrap_or(usize::MAX);
    let spare = (all / 5).min(super::limit::SPARE);
    (all - spare).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_third_of_the_files_is_never_a_connections() {
        for free in [0, 1, 10, 30, 1_000, 20_000, 1 << 40] {
            let most = carried(free);
            let spare = most.div_ceil(4).min(crate::listener::limit::SPARE);
            let taken = (most + spare) as u64;
            assert!(most >= 1);
            assert!(free < 10 || taken <= free / 3 * 2 + 1, "{free}: {taken}");
        }
    }
}
