//! The data workers: one thread each, with a runtime, pools and counts of its own.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::Clerk;
use crate::config::{self, LogFormat};
use crate::failpoint::{self, Part};
use crate::listener::Arrival;
use crate::proxy::{self, Serving, Shared, Worker};
use crate::telemetry::access::AccessLog;
use crate::telemetry::log::Sink;
use crate::telemetry::meter::Meter;
use crate::telemetry::pulse::Pulse;

/// What a client sends first arrives this long after its connection, on a machine of ours.
const ON_THE_WAY: Duration = Duration::from_millis(100);

/// Threads that may wait: four for bodies that are signed or verified (`proxy::jose`, which takes no
/// more), and four for names that are looked up (`upstream::resolve`, likewise). A resolver that hangs
/// keeps no answer to a payment from being verified.
const BLOCKING: usize = 8;

/// What one worker is made of. Everything here can be sent to its thread.
pub(crate) struct Plan {
    pub(crate) number: usize,
    pub(crate) shared: Shared,
    pub(crate) meter: Arc<Meter>,
    pub(crate) sink: Option<Sink>,
    pub(crate) format: LogFormat,
    pub(crate) clerk: Clerk,
    pub(crate) runtime: config::Runtime,
    pub(crate) arrivals: UnboundedReceiver<Arrival>,
    /// The first worker's: connections are accepted where they may be served.
    pub(crate) doors: Vec<Accepting>,
    /// No more arrivals come, and connections close when their request is done.
    pub(crate) drain: CancellationToken,
    /// The drain time is over at once.
    pub(crate) hurry: CancellationToken,
    /// Of all workers.
    pub(crate) pulses: Arc<[Pulse]>,
}

/// What takes a door's connections in; local to the thread that it is made on.
pub(crate) type Accepting = Box<dyn FnOnce() -> LocalBoxFuture<'static, io::Result<()>> + Send>;

/// Starts a worker's thread. It ends when `drain` was called and its connections are done, or the
/// drain time is over.
pub(crate) fn start(plan: Plan) -> io::Result<JoinHandle<Result<(), io::Error>>> {
    let name = format!("worker-{}", plan.number);
    std::thread::Builder::new().name(name).spawn(move || {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING)
            .build_local(LocalOptions::default())?;
        runtime.block_on(work(plan));
        // Nobody waits for a name that is being looked up.
        runtime.shutdown_background();
        Ok(())
    })
}

async fn work(plan: Plan) {
    let Plan {
        number,
        shared,
        meter,
        sink,
        format,
        clerk,
        runtime,
        mut arrivals,
        doors,
        drain,
        hurry,
        pulses,
    } = plan;
    let turned = |worker: &Worker| {
        failpoint::hold(Part::Worker(number));
        pulses[number].beat();
        worker.tick();
    };
    for accepting in doors {
        tokio::task::spawn_local(async move {
            if let Err(error) = accepting().await {
                tracing::error!(%error, "a door closed");
            }
        });
    }
    let access = AccessLog::new(sink, format, Arc::clone(&meter));
    let worker = Rc::new(Worker::new(shared, meter, access, clerk));
    let drain_timeout = runtime.drain_timeout;
    let last_call = CancellationToken::new();
    let serving = Rc::new(Serving {
        worker: Rc::clone(&worker),
        runtime,
        // Looked at on every turn of a connection, under a lock that is the worker's own.
        drain: drain.child_token(),
        last_call: last_call.clone(),
    });
    let connections = TaskTracker::new();
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut published = worker.subscribe();
    loop {
        tokio::select! {
            arrival = arrivals.recv() => {
                let Some(arrival) = arrival else { break };
                connections.spawn_local(proxy::serve(Rc::clone(&serving), arrival));
            }
            _ = tick.tick() => turned(&worker),
            // After a switch or a reload the first request should find a connection.
            Ok(()) = published.changed() => worker.tick(),
        }
    }
    connections.close();
    let drained = tokio::time::timeout(drain_timeout, connections.wait());
    let mut drained = std::pin::pin!(drained);
    let mut on_the_way = std::pin::pin!(tokio::time::sleep(ON_THE_WAY));
    let in_time = loop {
        tokio::select! {
            drained = drained.as_mut() => break drained.is_ok(),
            () = on_the_way.as_mut(), if !last_call.is_cancelled() => last_call.cancel(),
            () = hurry.cancelled() => break connections.is_empty(),
            _ = tick.tick() => turned(&worker),
        }
    };
    if !in_time {
        let open = connections.len();
        tracing::warn!(
            open,
            "connections were still open at the end of the drain time"
        );
    }
    worker.access.flush();
    worker.audit.flush();
    pulses[number].end();
}
