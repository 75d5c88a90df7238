//! The thread of the doors and of what forwards.
//!
//! The doors are open to the internet: whoever likes may have handshakes made and signatures verified
//! here. On a thread of its own that costs one processor at most, and webhooks alone are slow then:
//! requests have their workers, and keepers, admin and watchdog the control thread. Memory is bounded by
//! the doors' places and bodies.

use std::io;
use std::thread::JoinHandle;

use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const NAME: &str = "webhook-doors";

/// Looking up where applications are blocks, one lookup a forwarder at most.
const LOOKUPS: usize = 4;

/// Has `begin` start tasks on a runtime of its own, and runs them until `stop` and their end, or
/// until `cut`.
pub(super) fn start(
    begin: impl FnOnce() + Send + 'static,
    tasks: TaskTracker,
    stop: CancellationToken,
    cut: CancellationToken,
) -> io::Result<JoinHandle<()>> {
    let runtime = Builder::new_current_thread()
        .max_blocking_threads(LOOKUPS)
        .enable_all()
        .build()?;
    let work = async move {
        begin();
        stop.cancelled().await;
        tasks.close();
        tasks.wait().await;
    };
    std::thread::Builder::new()
        .name(NAME.to_owned())
        .spawn(move || {
            let _ = runtime.block_on(cut.run_until_cancelled(work));
            // A lookup that hangs is not waited for.
            runtime.shutdown_background();
        })
}
