//! The proxy under an allocator that counts, and how the test asks it for its count.

use std::alloc::System;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Sub;
use std::process::{Command, ExitCode};

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use crate::house::{House, Site};

/// In the test's own process too, where nobody asks it.
#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What the proxy says first.
const ADDRESS: &str = "counts are told on ";

/// Whether this process was called as the proxy is: no test harness takes these words.
pub fn is_asked_for() -> bool {
    std::env::args().skip(1).take(2).eq(["run", "--config"])
}

/// Runs the proxy, with a thread beside it that tells whoever connects how much was asked for.
pub fn proxy() -> ExitCode {
    let asked = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    eprintln!("{ADDRESS}{}", asked.local_addr().unwrap());
    std::thread::spawn(move || {
        for caller in asked.incoming() {
            let now = COUNTING.stats();
            let calls = now.allocations + now.reallocations;
            write!(caller.unwrap(), "{calls} {}", now.bytes_allocated).unwrap();
        }
    });
    wise_auth_proxy::cli::main()
}

/// Starts this program as the proxy of a site.
pub async fn start(site: &Site) -> House {
    let proxy = site.run();
    let mut counted = Command::new(std::env::current_exe().unwrap());
    counted
        .args(proxy.get_args())
        .env_clear()
        .envs(
            proxy
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .current_dir(site.directory.path());
    site.start_as(counted).await
}

/// What a process has asked its allocator for since its start.
#[derive(Clone, Copy, Debug)]
pub struct Count {
    /// `realloc` included.
    pub calls: u64,
    pub bytes: u64,
}

impl Count {
    pub fn of(house: &House) -> Self {
        let log = house.log();
        let address = log.lines().find_map(|line| line.strip_prefix(ADDRESS));
        let address: SocketAddr = address.unwrap().parse().unwrap();
        let mut text = String::new();
        let mut answer = TcpStream::connect(address).unwrap();
        answer.read_to_string(&mut text).unwrap();
        let (calls, bytes) = text.split_once(' ').unwrap();
        Self {
            calls: calls.parse().unwrap(),
            bytes: bytes.parse().unwrap(),
        }
    }
}

impl Sub for Count {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            calls: self.calls - before.calls,
            bytes: self.bytes - before.bytes,
        }
    }
}
