//! What a process holds, from outside.

use std::fmt;
use std::path::PathBuf;

/// A process to look at.
pub struct Gauge {
    proc: PathBuf,
}

/// One look.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Resident memory in KiB.
    pub resident: u64,
    /// Open files and sockets.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
}

impl Gauge {
    pub fn of(pid: u32) -> Self {
        Self {
            proc: PathBuf::from(format!("/proc/{pid}")),
        }
    }

    pub fn read(&self) -> Reading {
        let status = std::fs::read_to_string(self.proc.join("status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            let number = line.split_whitespace().nth(1).unwrap();
            number.parse::<u64>().unwrap()
        };
        Reading {
            resident: field("VmRSS:"),
            threads: usize::try_from(field("Threads:")).unwrap(),
            descriptors: std::fs::read_dir(self.proc.join("fd")).unwrap().count(),
        }
    }
}

/// The middle of the resident memory, in KiB.
pub fn median(readings: &[Reading]) -> u64 {
    let mut resident: Vec<u64> = readings.iter().map(|reading| reading.resident).collect();
    resident.sort_unstable();
    resident[resident.len() / 2]
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mib, tenths) = (self.resident / 1024, self.resident % 1024 * 10 / 1024);
        write!(
            f,
            "{mib}.{tenths} MiB, {} descriptors, {} threads",
            self.descriptors, self.threads
        )
    }
}
