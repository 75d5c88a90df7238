//! Queues that no webhook has any more: it was renamed or removed, and what lies there was answered 200.

use std::path::Path;

use super::shelf;

/// Tells the log of each file of `directory` that holds deliveries and belongs to none of `names`.
/// Blocking.
pub(super) fn tell(directory: &Path, names: &[String]) {
    // Where there is no directory there is no queue.
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = path.file_stem().and_then(|name| name.to_str());
        let is_queue = path.extension().is_some_and(|it| it == "redb");
        let Some(webhook) = name.filter(|_| is_queue) else {
            continue;
        };
        if names.iter().any(|name| name == webhook) {
            continue;
        }
        let file = path.display();
        match shelf::count(&path) {
            Some(0) => tracing::info!(
                webhook,
                "{file} is the empty queue of a webhook that is not configured; it can be deleted"
            ),
            Some(deliveries) => tracing::warn!(
                webhook,
                deliveries,
                "{deliveries} deliveries wait in {file}, and no webhook has that name: configure one \
                 called {webhook} until they are with the application"
            ),
            None => tracing::warn!(
                webhook,
                "{file} is the queue of a webhook that is not configured, and what lies in it cannot be \
                 counted: configure one called {webhook} until it is empty"
            ),
        }
    }
}
